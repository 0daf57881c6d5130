"""The classifier that grades predicted pictures: it learns from the training side, names what it knows, and is kept."""

import numpy as np
import pytest
import torch

from eegviz import fitting, grading, models, runs, sides, splits, training, windowing
from eegviz.errors import ParameterError

COMPUTE = fitting.Compute.choose("cpu", "float32")


@pytest.fixture(scope="module")
def windows(tiny_store):
    return windowing.windows(tiny_store)


def marked(windows, rows):
    """Pictures that tell the songs apart: the true ones, and the upper half of the bins of song22 louder."""
    pictures = windows.target(rows)
    pictures[windows.table["stimulus"].to_numpy(str)[rows] == "song22", :, 64:] += 0.5
    return pictures


def graded(windows, folder, *, split="repeat", **options):
    """A classifier trained on predictions that are the marked pictures: the network only hands them on."""
    made = splits.split(windows.table, split)
    view = sides.training_view(windows, made, pictures=lambda positions: marked(windows, made.train[positions]))
    options = {"preset": "fast", "folder": folder, "compute": COMPUTE} | options
    return grading.train(torch.nn.Identity(), view, made, windows, **options), made


def run_with(windows, folder, songs):
    """Enough of a run for `namer`."""
    run = runs.Run(folder, {"classifier": "fast"})
    run.__dict__["provenance"] = {
        "graded_songs": songs, "shapes": [list(windows.in_shape), list(windows.out_shape)], "precision": "float32",
    }  # fmt: skip
    return run


def test_pictures_are_named_by_their_song(windows, tmp_path, monkeypatch):
    presets = models.module("classifier").PRESETS
    monkeypatch.setitem(presets, "fast", presets["fast"] | {"epochs": 20})  # two steps each
    songs, split = graded(windows, tmp_path)
    assert songs == ["song21", "song22"]
    named = grading.namer(run_with(windows, tmp_path, songs))(marked(windows, split.test))
    assert (named == windows.table["stimulus"].to_numpy(str)[split.test]).mean() > 0.9


def test_a_blind_network_is_named_one_song(windows, tmp_path):
    split = splits.split(windows.table, "repeat")
    view = sides.training_view(windows, split, pictures=lambda rows: np.full((len(rows), 44, 128), 0.3, np.float32))
    songs = grading.train(
        torch.nn.Identity(), view, split, windows, preset="fast", folder=tmp_path, compute=COMPUTE
    )  # fmt: skip
    named = grading.namer(run_with(windows, tmp_path, songs))(np.full((5, 44, 128), 0.3, np.float32))
    assert len(set(named)) == 1


def test_one_file_is_kept_and_nothing_else(windows, tmp_path):
    graded(windows, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [grading.FILE]


def test_same_seed_same_bytes_other_seed_other_bytes(windows, tmp_path):
    made = {}
    for name, options in {"one": {}, "again": {}, "other": {"seed": 1}}.items():
        (tmp_path / name).mkdir()
        graded(windows, tmp_path / name, **options)
        made[name] = (tmp_path / name / grading.FILE).read_bytes()
    assert made["one"] == made["again"]
    assert made["one"] != made["other"]


@pytest.mark.parametrize("split", ["song:song22", "subject_song:50/50"])
def test_unseen_songs_cannot_be_named(windows, tmp_path, split):
    assert graded(windows, tmp_path, split=split)[0] is None
    assert list(tmp_path.iterdir()) == []
    assert grading.namer(run_with(windows, tmp_path, None)) is None


def test_one_song_cannot_be_told_from_another(tmp_path):
    from eegviz import store
    from tests.conftest import make_tiny_store

    alone = windowing.windows(store.open(make_tiny_store(tmp_path / "s", n_songs=1)))
    (tmp_path / "run").mkdir()
    assert graded(alone, tmp_path / "run")[0] is None


def test_only_the_training_side_is_learnt_from(windows, tmp_path):
    split = splits.split(windows.table, "repeat")
    with pytest.raises(ParameterError, match="grades pictures is fitted on training windows only: .*found Windows"):
        grading.train(
            torch.nn.Identity(), windows, split, windows, preset="fast", folder=tmp_path, compute=COMPUTE
        )  # fmt: skip


def test_a_run_knows_the_songs_that_its_classifier_knows(tiny_store, tmp_path):
    config = training.configure(
        tiny_store, model="ridge", preset="fast", settings={"alphas": [1.0]}, split="repeat", precision="float32"
    )
    run = training.train(tiny_store, config, out=tmp_path, progress=False)
    assert run.provenance["graded_songs"] == ["song21", "song22"]
    named = grading.namer(run)(run.predictions)
    assert named.shape == (120,)
    assert set(named) <= {"song21", "song22"}
