import json

import numpy as np
import pytest

from eegviz import evaluation, runs, training, verdict
from eegviz.errors import DataError, ParameterError

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
    by_name = {row["metric"]: row for row in result["metrics"]}
    for row in result["metrics"]:
        assert row["definition"]
        assert row["n"] == result["split"]["n_test"]
        assert row["low"] <= row["score"] <= row["high"]
        assert row["unit"] == "3 listeners (few: covers about 76 %)"
        assert 0 < row["p"] <= 1
        assert "permutations" in row["p_unit"]
        assert {"zero EEG", "noise EEG", "shuffled", "other listener"} <= set(row["controls"]) | (
            {"shuffled", "other listener"} if row["metric"] == "match-mismatch" else set()
        )
        assert row["beside"]["fingerprint"] is not None
        assert row["beside"]["linear decoder"] is not None
    assert by_name["retrieval"]["chance"] == 0.5
    assert by_name["match-mismatch"]["chance"] == 0.5
    assert by_name["top-1"]["chance"] == pytest.approx(1 / 20)
    assert by_name["top-5"]["chance"] == pytest.approx(5 / 20)
    assert by_name["song accuracy"]["chance"] == 0.5
    assert set(by_name["cosine"]["baselines"]) == {"mean picture", "song mean", "song spectrum", "random second"}
    assert set(by_name["cosine"]["oracle"]) == {"previous second", "ceiling", "song told"}
    for name in ("mean picture", "song mean", "song spectrum"):
        assert by_name["retrieval"]["baselines"][name] == 0.5


def test_the_verdict_is_one_of_three_sentences_with_its_reasons(result):
    assert result["verdict"] in (verdict.CONTRIBUTED, verdict.NO_EVIDENCE)
    assert len(result["reasons"]) == 5
    assert (result["verdict"] == verdict.CONTRIBUTED) == all(r["holds"] for r in result["reasons"])


def test_controls_and_shifts_of_the_primary_score(result):
    shown = {control["name"]: control for control in result["controls"]}
    assert shown["zero EEG"]["score"] == 0.5
    assert shown["silence"]["score"] is None
    assert "no recordings of silence" in shown["silence"]["note"]
    shifts = {shift["seconds"]: shift for shift in result["shifts"]}
    assert shifts[0]["score"] == pytest.approx(evaluation.primary(result)["score"])
    assert shifts[0]["n"] == result["split"]["n_test"]
    assert shifts[5]["n"] == 15 * 6
    assert shifts[-5]["n"] == 15 * 6


def test_the_linear_decoder_is_trained_once_beside_the_run(run, result, tiny_store):
    (linear,) = runs.find(run.path.parent, model="ridge")
    beside = {row["metric"]: row["beside"]["linear decoder"] for row in result["metrics"]}
    full = evaluation.evaluate(linear, store=tiny_store)  # whether it was evaluated before makes no difference
    assert {row["metric"]: row["score"] for row in full["metrics"]} == pytest.approx(beside)
    assert evaluation.linear_scores(run, tiny_store) == pytest.approx(beside)
    assert "linear decoder" not in full["metrics"][0]["beside"]


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
    result = evaluation.evaluate(copy, store=tiny_store)
    row = evaluation.primary(result)
    assert result["verdict"] == verdict.NO_EVIDENCE
    assert row["score"] == 0.5
    assert (row["low"], row["high"]) == (0.5, 0.5)
    assert row["p"] == 1


def test_nan_predictions_are_refused(run, tiny_store, tmp_path):
    copy = _with_predictions(run, tmp_path, lambda w, t: np.full((len(t), 44, 128), np.nan), tiny_store)
    with pytest.raises(DataError, match="second 0 holds NaN or infinite values"):
        evaluation.evaluate(copy, store=tiny_store)
    short = _with_predictions(run, tmp_path / "short", lambda w, t: np.zeros((3, 44, 128)), tiny_store)
    with pytest.raises(DataError, match="holds 3 windows, the test side of its split 120"):
        evaluation.evaluate(short, store=tiny_store)


def test_unseen_songs_have_no_song_accuracy_nor_song_mean(tiny_store, tmp_path):
    result = evaluation.evaluate(trained(tiny_store, tmp_path, split="song:song22"), store=tiny_store)
    rows = {r["metric"]: r for r in result["metrics"]}
    assert rows["song accuracy"]["score"] is None
    assert "not in the training side" in rows["song accuracy"]["note"]
    assert set(rows["cosine"]["baselines"]) == {"mean picture"}
    assert "fingerprint" not in rows["cosine"]["beside"]
    assert "n/a" in verdict.describe(result)


def test_one_listener_gets_an_interval_over_blocks(tmp_path):
    from eegviz import store
    from tests.conftest import make_tiny_store

    opened = store.open(make_tiny_store(tmp_path / "s", n_subjects=1, n_songs=1, seconds=60))
    result = evaluation.evaluate(trained(opened, tmp_path / "runs", split="blocked"), store=opened)
    row = evaluation.primary(result)
    assert "no interval over listeners" in row["unit"]
    assert row["low"] < row["high"]
    assert "cannot separate song from recording" in verdict.describe(result)


def test_classifier_is_graded_by_accuracy(tiny_store, tmp_path):
    result = evaluation.evaluate(trained(tiny_store, tmp_path, model="classifier"), store=tiny_store)
    assert [r["metric"] for r in result["metrics"]] == ["accuracy", "kappa"]
    row = evaluation.primary(result)
    assert row["chance"] == 0.5
    assert {"zero EEG", "noise EEG", "other listener"} <= set(row["controls"])
    assert row["beside"]["fingerprint"] is not None
    assert "songs of recordings within listeners" in row["p_unit"]
    assert result["verdict"] in (verdict.CONTRIBUTED, verdict.NO_EVIDENCE)
    assert result["reasons"][-1]["text"].startswith("noise EEG")
    assert "order says nothing" in next(c["note"] for c in result["controls"] if c["name"] == "shuffled")


def test_runs_compare(run, result):
    table = runs.compare(runs.listing(run.path.parent))
    assert table["model"].tolist() == ["cnn", "ridge"]
    assert table["retrieval"].iloc[0] == pytest.approx(evaluation.primary(result)["score"])
    assert [r.path for r in runs.find(run.path.parent, split="repeat", model="cnn")] == [run.path]
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
    assert "3 folds pooled" in verdict.describe(pooled)


def test_two_listeners_are_too_few_for_an_interval_over_them(tmp_path):
    from eegviz import store
    from tests.conftest import make_tiny_store

    opened = store.open(make_tiny_store(tmp_path / "s", n_subjects=2, n_songs=1, seconds=30))
    row = evaluation.primary(evaluation.evaluate(trained(opened, tmp_path / "runs"), store=opened))
    assert "2 listeners: no interval over listeners" in row["unit"]


def test_two_systems_are_compared_over_listeners_and_seeds(run, result, tiny_store):
    linear = runs.find(run.path.parent, model="ridge")
    evaluation.evaluate(linear[0], store=tiny_store)
    found = evaluation.compare([run], linear)
    ours, theirs = evaluation.by_listener(run, "retrieval"), evaluation.by_listener(linear[0], "retrieval")
    assert found.difference.estimate == pytest.approx((ours - theirs).mean())
    with pytest.raises(ParameterError, match="as many runs of both systems"):
        evaluation.compare([run], [])


def test_mel_bins_are_corrected_for_their_number(run, tiny_store):
    found = evaluation.by_bin(run, windows=run.windows(tiny_store))
    assert len(found) == 128
    assert (found["p FDR"] >= found["p"] - 1e-12).all()


def test_a_split_that_cannot_separate_cannot_tell(tiny_store, tmp_path):
    result = evaluation.evaluate(trained(tiny_store, tmp_path, split="interleaved"), store=tiny_store)
    assert result["verdict"] == verdict.CANNOT_TELL
    assert any(row["kind"] == "recordings" and row["share"] == 1 for row in result["audit"]["rows"])
    assert "cannot separate song from recording" in verdict.describe(result)
    rows = {r["metric"]: r for r in result["metrics"]}
    assert rows["top-5"]["score"] is not None
    assert [s["score"] for s in result["shifts"] if s["seconds"] == 10] == [None]  # chunks of 5 s


def test_fewer_test_seconds_than_k_is_said(tmp_path):
    from eegviz import store
    from tests.conftest import make_tiny_store

    opened = store.open(make_tiny_store(tmp_path / "s", n_subjects=3, n_songs=2, seconds=15))
    result = evaluation.evaluate(trained(opened, tmp_path / "runs", split="blocked:20"), store=opened)
    row = next(r for r in result["metrics"] if r["metric"] == "top-5")
    assert row["score"] is None
    assert row["note"] == "a song has 3 test seconds only, fewer than 5"
    assert "top-5 is n/a: a song has 3 test seconds only" in verdict.describe(result)
