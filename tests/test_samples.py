"""Clips of one stretch under other EEG and other guidance, and the grid of emotions."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eegviz import listening, store, training
from eegviz.errors import ParameterError
from eegviz.listening import samples
from tests.conftest import make_tiny_store
from tests.test_evaluation import trained


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"))


def test_clips_under_other_eeg_are_of_the_same_seconds(run, tiny_store):
    clips = listening.other_eeg_clips(run, tiny_store, duration=4)
    assert list(clips) == ["original", "real EEG", "zero EEG", "noise EEG", "shuffled"]
    assert len({one.png for one in clips.values()}) == 5
    part = samples._Part(run, tiny_store, 4)
    assert np.diff(part.test["second"].iloc[part.rows]).tolist() == [1, 1, 1]
    assert part.test["recording"].iloc[part.rows].nunique() == 1


def test_guidance_belongs_to_a_diffusion(run, tiny_store):
    with pytest.raises(ParameterError, match="has no guidance"):
        listening.guidance_clips(run, tiny_store, duration=2)


def test_the_grid_of_emotions_has_a_row_a_quadrant(tmp_path):
    opened = store.open(make_tiny_store(tmp_path / "store", seconds=48, n_channels=4))
    config = training.configure(opened, model="ridge", preset="fast", split="repeat", classifier="fast")
    config["features"]["duration"] = 4
    done = training.train(opened, config, out=tmp_path / "runs", progress=False)
    windows = done.windows(opened)
    test = windows.table.iloc[done.split(windows).test]
    first = test.drop_duplicates("recording").head(2)
    felt = pd.DataFrame({
        "recording": first["recording"].to_numpy(), "subject": first["subject"].to_numpy(),
        "stimulus": first["stimulus"].to_numpy(), "quadrant": ["HVHA", "LVLA"], "valence": 7.0, "arousal": 6.0,
        "predicted_valence": [9.7, 2.0], "predicted_arousal": [5.0, 0.2],
    })  # fmt: skip
    grid = listening.emotions_grid(done, SimpleNamespace(table=felt), opened, duration=4)
    assert [title.partition(":")[0] for title, _ in grid.rows] == ["HVHA", "LVLA"]
    assert "predicted from EEG 9.0 and 5.0" in grid.rows[0][1][2].note
    assert len(grid.rows[0][1]) == len(grid.columns) == 3
