"""Windows of several seconds, from training to sound: the linear decoder on windows of 4 s, and a split of them."""

import numpy as np
import pytest

from eegviz import evaluation, memorisation, nulls, reconstruction, store, training
from eegviz.errors import ParameterError
from tests.conftest import make_tiny_store


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return store.open(make_tiny_store(tmp_path_factory.mktemp("long") / "store", seconds=64, n_channels=4))


@pytest.fixture(scope="module")
def run(opened, tmp_path_factory):
    config = training.configure(opened, model="ridge", preset="fast", split="repeat")
    config["features"]["duration"] = 4
    made = training.train(opened, config, out=tmp_path_factory.mktemp("runs"), progress=False)
    evaluation.evaluate(made, store=opened)
    return made


def test_whole_windows_lie_on_one_side_with_a_gap(run, opened):
    windows = run.windows(opened)
    split = run.split(windows)
    assert run.predictions.shape == (len(split.test), 176, 128)
    assert split.window == 4
    assert split.gap >= 4
    assert set(windows.table["second"] % 4) == {0}


def test_its_scores_are_those_of_windows(run):
    found = {metric["metric"]: metric for metric in run.metrics["metrics"]}
    assert np.isfinite(found["retrieval"]["score"])  # a linear decoder finds nothing in powers
    assert found["cosine"]["oracle"]["ceiling"] > found["cosine"]["baselines"]["mean picture"]
    assert {row["seconds"] for row in run.metrics["shifts"]} == {-12, -8, -4, 0, 4, 8, 12}


def test_blocks_of_the_null_hold_whole_windows(run, opened):
    windows = run.windows(opened)
    table = windows.table.iloc[run.split(windows).test].reset_index(drop=True)
    assert nulls.orders(table, n=10).length == 8
    assert nulls.orders(table.assign(second=table["second"] // 4), n=10).length == 5


def test_any_seconds_are_reconstructed_from_the_windows_that_hold_them(run, opened):
    whole = reconstruction.reconstruct(run, "S01_song21_r2", start=8, duration=8)
    part = reconstruction.reconstruct(run, "S01_song21_r2", start=11, duration=3)
    np.testing.assert_array_equal(part.pictures, whole.pictures[3:6])
    assert whole.pictures.shape == (8, 44, 128)
    assert (whole.seconds, whole.seen) == (8, {"test": 8})
    with pytest.raises(ParameterError, match="windows of 4 s, and only windows of one second can overlap"):
        reconstruction.reconstruct(run, "S01_song21_r2", overlap=0.5)
    with pytest.raises(ParameterError, match="windows from second 0 to 64"):
        reconstruction.reconstruct(run, "S01_song21_r2", start=60, duration=8)


def test_the_nearest_training_windows_are_found(run, opened):
    windows = run.windows(opened)
    split = run.split(windows)
    table = memorisation.nearest(windows.target(split.test), windows, split)
    assert set(table["nearest_second"] % 4) == {0}
