"""Data that hardly carry an evaluation, from the command line: one clear message, or a table that says n/a and why."""

import shutil

import numpy as np
import pytest

from eegviz import runs, store, training
from tests.conftest import make_tiny_store
from tests.test_cli import eegviz

NETWORK = ("--preset", "fast", "--set", "width=1", "--epochs", 1)


def trained(opened, out, **options):
    settings = {"alphas": [1.0]}
    config = training.configure(opened, **{"model": "ridge", "preset": "fast", "settings": settings} | options)
    return training.train(opened, config, out=out, progress=False)


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"), split="repeat")


def refused(*arguments):
    """The one line that says what is wrong."""
    found = eegviz(*arguments, ok=False)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("eegviz: ")
    assert found.stderr.count("\n") == 1
    return found.stderr


def told(*arguments):
    """What is printed, as one line; no warning beside it."""
    found = eegviz(*arguments)
    assert found.stderr == ""
    assert "nan" not in found.stdout.lower().split()
    return " ".join(found.stdout.split())


def predicting(run, folder, predictions):
    shutil.copytree(run.path, folder / "copy")
    np.save(folder / "copy" / "predictions.npy", predictions)
    return folder / "copy"


def test_a_split_with_an_empty_side(tmp_path):
    path = make_tiny_store(tmp_path / "store", seconds=2)
    said = refused("train", path, "--split", "repeat", *NETWORK, "--out", tmp_path / "runs")
    assert "repeat: the validation side is empty (24 windows in the table). Take longer or more recordings" in said


def test_one_listener_only(tmp_path):
    path = make_tiny_store(tmp_path / "store", n_subjects=1)
    told_why = refused("train", path, "--split", "subject", *NETWORK, "--out", tmp_path / "runs")
    assert "only one listener (S01)" in told_why
    printed = told("evaluate", trained(store.open(path), tmp_path / "runs", split="repeat").path)
    assert "8 blocks of 5 s, one listener: no interval over listeners" in printed
    assert "other is n/a: no other test listener has the same second" in printed


def test_so_little_that_there_is_no_interval(tmp_path):
    path = make_tiny_store(tmp_path / "store", n_subjects=1, n_songs=1, n_hearings=1)
    printed = told("train", path, "--split", "blocked", *NETWORK, "--out", tmp_path / "runs")
    assert "no interval over 1 block of 5 s, one listener; chance (0.500)" in printed
    printed = told("evaluate", printed.split()[-1])
    assert "VERDICT: This split cannot tell" in printed
    assert "1 block of 5 s, one listener: no interval over listeners" in printed


def test_constant_predictions(run, tmp_path):
    printed = told("evaluate", predicting(run, tmp_path, np.full((120, 44, 128), 0.3, np.float32)))
    assert "VERDICT: No evidence that the EEG contributed" in printed
    assert "[ ] permutation p = 1.000" in printed
    assert "interval [0.500, 0.500] over 3 listeners (few: covers about 76 %); chance" in printed
    assert (
        "collapsed: the predictions vary 0 % as much from window to window as the true pictures (below 2 %)" in printed
    )


def test_predictions_of_nan(run, tmp_path):
    predictions = np.array(run.predictions)
    predictions[5, 0, 0] = np.nan
    copy = predicting(run, tmp_path, predictions)
    said = refused("evaluate", copy)
    assert "the prediction of S01_song21_r2, second 5 holds NaN or infinite values, which must never score" in said
    assert not (copy / "metrics.json").exists()


def test_fewer_windows_than_k(tmp_path):
    path = make_tiny_store(tmp_path / "store", seconds=20)
    made = trained(store.open(path), tmp_path / "runs", split="blocked:15")
    printed = told("evaluate", made.path)
    assert runs.open(made.path).metrics["metrics"][2]["score"] is None
    assert "top-5 is n/a: a song has 3 test seconds only, fewer than 5" in printed


def test_scores_belong_to_the_predictions_they_were_made_of(run, tmp_path):
    """Damaged scores are made again, scores of other predictions too; without predictions there is no verdict."""
    copy = predicting(run, tmp_path, np.array(run.predictions))
    first = told("evaluate", copy)
    (copy / "metrics.json").write_text("{")
    assert told("evaluate", copy) == first
    np.save(copy / "predictions.npy", np.full((120, 44, 128), 0.3, np.float32))
    assert "[ ] permutation p = 1.000" in told("evaluate", copy)
    (copy / "predictions.npy").unlink()
    assert "has lost its predictions.npy. Delete the folder and train the run again." in refused("evaluate", copy)


def test_a_run_without_a_learning_rate_is_not_told_to_lower_it(run, tmp_path):
    said = refused("evaluate", predicting(run, tmp_path, np.full((120, 44, 128), np.nan, np.float32)))
    assert "The file was changed: delete the run's folder and train it again." in said
