import json

import numpy as np
import pytest

from eegviz import evaluation, runs, training
from eegviz.errors import DataError

SMALL = {"width": 2, "units": 32, "epochs": 6, "batch_size": 16, "patience": 0, "lr": 2e-3}


def trained(store, out, **options):
    settings = SMALL if options.get("model", "cnn") == "cnn" else {}
    config = training.configure(
        store, **{"split": "repeat", "preset": "fast", "settings": settings, "precision": "float32"} | options
    )
    return training.train(store, config, out=out, progress=False)


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def result(run, tiny_store):
    return evaluation.evaluate(run, store=tiny_store)


def test_every_score_carries_what_it_needs(result):
    assert result["split"]["label"].startswith("separates song from recording")
    assert result["simulated"] is True
    for row in result["metrics"]:
        assert row["definition"]
        assert row["n"] == result["split"]["n_test"]
        if row["metric"] != "kappa":
            assert row["low"] <= row["score"] <= row["high"]
            assert row["unit"].endswith("listeners")
    by_name = {row["metric"]: row for row in result["metrics"]}
    assert by_name["retrieval"]["chance"] == 0.5
    assert by_name["top-1"]["chance"] == pytest.approx(1 / 20)
    assert by_name["song accuracy"]["chance"] == 0.5
    assert set(by_name["cosine"]["baselines"]) == {"mean picture", "song mean"}


def test_the_result_is_kept_and_reused(run, result, tiny_store):
    assert json.loads((run.path / "metrics.json").read_text()) == result
    before = (run.path / "metrics.json").stat().st_mtime_ns
    assert evaluation.evaluate(runs.open(run.path), store=tiny_store) == result
    assert (run.path / "metrics.json").stat().st_mtime_ns == before


def test_scores_csv_has_a_row_a_test_window(run, result):
    scores = runs.open(run.path).scores
    assert len(scores) == result["split"]["n_test"]
    row = next(r for r in result["metrics"] if r["metric"] == "cosine")
    assert scores.groupby("subject")["cosine"].mean().mean() == pytest.approx(row["score"])
    assert evaluation.by_listener(runs.open(run.path), "retrieval").index.tolist() == ["S01", "S02", "S03"]


def test_predicting_the_truth_scores_perfectly(run, tiny_store, tmp_path):
    copy = _with_predictions(run, tmp_path, lambda windows, test: windows.target(test), tiny_store)
    rows = {r["metric"]: r for r in evaluation.evaluate(copy, store=tiny_store)["metrics"]}
    assert rows["retrieval"]["score"] == 1
    assert rows["top-1"]["score"] == 1
    assert rows["cosine"]["score"] == pytest.approx(1)
    assert rows["MSE"]["score"] == 0


def test_a_constant_prediction_is_at_chance(run, tiny_store, tmp_path):
    copy = _with_predictions(run, tmp_path, lambda w, t: np.full((len(t), 44, 128), 0.3), tiny_store)
    row = evaluation.primary(evaluation.evaluate(copy, store=tiny_store))
    assert row["score"] == 0.5
    assert (row["low"], row["high"]) == (0.5, 0.5)


def test_nan_predictions_are_refused(run, tiny_store, tmp_path):
    copy = _with_predictions(run, tmp_path, lambda w, t: np.full((len(t), 44, 128), np.nan), tiny_store)
    with pytest.raises(DataError, match="NaN"):
        evaluation.evaluate(copy, store=tiny_store)


def test_unseen_songs_have_no_song_accuracy_nor_song_mean(tiny_store, tmp_path):
    result = evaluation.evaluate(trained(tiny_store, tmp_path, split="song:song22"), store=tiny_store)
    rows = {r["metric"]: r for r in result["metrics"]}
    assert rows["song accuracy"]["score"] is None
    assert "not in the training side" in rows["song accuracy"]["note"]
    assert set(rows["cosine"]["baselines"]) == {"mean picture"}
    assert "n/a" in evaluation.describe(result)


def test_one_listener_gets_an_interval_over_blocks(tmp_path):
    from eegviz import store
    from tests.conftest import make_tiny_store

    opened = store.open(make_tiny_store(tmp_path / "s", n_subjects=1, n_songs=1, seconds=60))
    result = evaluation.evaluate(trained(opened, tmp_path / "runs", split="blocked"), store=opened)
    row = evaluation.primary(result)
    assert "no interval over listeners" in row["unit"]
    assert row["low"] < row["high"]
    assert "cannot separate song from recording" in evaluation.describe(result)


def test_describe_says_all(result):
    text = evaluation.describe(result)
    for part in (
        "[simulated data]",
        "95 % interval",
        "chance",
        "mean picture",
        "bootstrap over 3 listeners",
        "split repeat",
    ):
        assert part in text
    sentence = evaluation.sentence(result)
    assert "chance (0.500)" in sentence
    assert "simulated data" in sentence


def test_baselines_are_the_training_means(run, tiny_store):
    windows = run.windows(tiny_store)
    split = run.split(windows)
    pictures = evaluation.baselines(windows, split)
    train = windows.target(split.train)
    np.testing.assert_allclose(pictures["mean picture"][0], train.mean(0), atol=1e-5)
    songs = windows.table["stimulus"].to_numpy(str)
    i = int(np.flatnonzero(songs[split.test] == "song22")[0])
    np.testing.assert_allclose(pictures["song mean"][i], train[songs[split.train] == "song22"].mean(0), atol=1e-5)


def test_classifier_is_graded_by_accuracy(tiny_store, tmp_path):
    result = evaluation.evaluate(trained(tiny_store, tmp_path, model="classifier"), store=tiny_store)
    assert [r["metric"] for r in result["metrics"]] == ["accuracy", "kappa"]
    assert evaluation.primary(result)["chance"] == 0.5


def test_runs_compare(run, result):
    table = runs.compare(runs.listing(run.path.parent))
    assert table["model"].tolist() == ["cnn"]
    assert table["retrieval"].iloc[0] == pytest.approx(evaluation.primary(result)["score"])
    assert [r.path for r in runs.find(run.path.parent, split="repeat")] == [run.path]
    assert runs.find(run.path.parent, split="song:30") == []


def _with_predictions(run, folder, make, store):
    """A copy of a run whose predictions are `make(windows, test)`."""
    import shutil

    target = folder / "copy"
    shutil.copytree(run.path, target)
    (target / "metrics.json").unlink(missing_ok=True)
    windows = run.windows(store)
    np.save(target / "predictions.npy", make(windows, run.split(windows).test).astype(np.float32))
    return runs.open(target)


def test_folds_are_pooled_over_all_listeners(tiny_store, tmp_path):
    from eegviz import recipes

    config = training.configure(
        tiny_store, split="subject", preset="fast", settings=SMALL | {"epochs": 1}, precision="float32"
    )
    folds = recipes.run_folds(tiny_store, config, out=tmp_path)
    assert [fold.config["split"]["spec"] for fold in folds] == ["subject:S01", "subject:S02", "subject:S03"]
    pooled = evaluation.pool(folds)
    assert pooled["split"]["n_listeners"] == 3
    assert pooled["split"]["n_test"] == len(tiny_store.recordings) * 20
    for i, row in enumerate(pooled["metrics"]):
        own = [fold.metrics["metrics"][i] for fold in folds]
        if row["metric"] != "kappa":
            assert row["score"] == pytest.approx(np.mean([o["score"] for o in own]))
            assert "3 listeners" in row["unit"]
        assert row["chance"] == pytest.approx(own[0]["chance"])
    assert "3 folds pooled" in evaluation.describe(pooled)


def test_two_listeners_are_too_few_for_an_interval_over_them(tmp_path):
    from eegviz import store
    from tests.conftest import make_tiny_store

    opened = store.open(make_tiny_store(tmp_path / "s", n_subjects=2, n_songs=1, seconds=30))
    row = evaluation.primary(evaluation.evaluate(trained(opened, tmp_path / "runs"), store=opened))
    assert "2 listeners: no interval over listeners" in row["unit"]


def test_what_a_picture_without_eeg_scores_is_said(result):
    said = evaluation.beside_baselines(result)
    assert "song mean without EEG" in said
    rows = {row["metric"]: row for row in result["metrics"]}
    better = said.split("not better")[0]
    assert ("cosine" in better) == (rows["cosine"]["score"] > rows["cosine"]["baselines"]["song mean"])
    assert ("MSE" in better) == (rows["MSE"]["score"] < rows["MSE"]["baselines"]["song mean"])
