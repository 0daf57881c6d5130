"""Scores of a run and of all that stands beside it: closed forms, small data, and a part of the recordings."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from eegviz import controls, evaluation, runs, scorecard, scoring, store, training
from eegviz.errors import DataError
from tests.conftest import make_tiny_store

RIDGE = {
    "model": "ridge",
    "preset": "fast",
    "settings": {"alphas": [1.0]},
    "classifier": "fast",
    "precision": "float32",
}


def trained(opened, out, **options):
    config = training.configure(opened, **RIDGE | {"split": "repeat"} | options)
    return training.train(opened, config, out=out, progress=False)


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def scored(run):
    return scoring.score_regressor(job_of(run))


def job_of(run, *, keep=None, predictions=None, folder=None):
    """The job of a run, of the test windows where ``keep(table)``, with other predictions where they are given."""
    opened = run.store()
    windows = run.windows(opened)
    split = run.split(windows)
    if keep is not None:
        there = keep(windows.table.iloc[split.test]).to_numpy()
        split = dataclasses.replace(split, test=split.test[there])
        predictions = predictions or (lambda target: run.predictions[there])
    if predictions is not None:
        shutil.copytree(run.path, folder / "copy")
        made = np.array(predictions(windows.target(split.test)), np.float32)
        np.save(folder / "copy" / "predictions.npy", made)
        run = runs.open(folder / "copy")
    table = windows.table.iloc[split.test].reset_index(drop=True)
    return scoring.Job(run, opened, windows, split, table)


def by_metric(scored):
    json.dumps([scored.rows, scored.controls, scored.shifts], allow_nan=False)
    return {row["metric"]: row for row in scored.rows}


def same(one, other, tolerance=0.0):
    """Two results hold the same, numbers to a tolerance."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return all(same(one[key], other[key], tolerance) for key in one)
    if isinstance(one, list):
        assert len(one) == len(other)
        return all(same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, float):
        return one == pytest.approx(other, abs=tolerance, rel=0)
    return one == other


# --- closed forms ----------------------------------------------------------------------------------------------------


def test_the_truth_is_perfect_and_gone_when_shuffled(run, tmp_path):
    scored = scoring.score_regressor(job_of(run, predictions=lambda target: target, folder=tmp_path))
    rows = by_metric(scored)
    for name in (*scoring.WHICH_SECOND, "cosine", "correlation", "SSI"):
        assert rows[name]["score"] == pytest.approx(1), name
        assert rows[name]["p"] == pytest.approx(1 / 1001), name
        if name != "match-mismatch":  # its imposters are drawn once for each window
            assert rows[name]["controls"]["other listener"] == pytest.approx(1), name  # all heard the same
    assert rows["MSE"]["score"] == 0
    assert rows["PSNR"]["score"] == 100  # the cap
    shown = {control["name"]: control for control in scored.controls}
    assert shown["shuffled"]["score"] == pytest.approx(0.5, abs=0.1)
    shifts = {shift["seconds"]: shift["score"] for shift in scored.shifts}
    assert shifts[0] == 1
    assert all(score < 0.7 for seconds, score in shifts.items() if seconds)


def test_the_negative_of_the_truth_is_below_chance(run, tmp_path):
    rows = by_metric(scoring.score_regressor(job_of(run, predictions=lambda target: 1 - target, folder=tmp_path)))
    assert rows["retrieval"]["score"] == 0
    assert rows["retrieval"]["p"] == 1
    assert rows["correlation"]["score"] == pytest.approx(-1)


@pytest.mark.parametrize("audio", ["mel", "linear"])
def test_power_pictures_are_scored_in_their_own_range(tiny_store, tmp_path, audio):
    job = job_of(
        trained(tiny_store, tmp_path / "runs", audio=audio), predictions=lambda target: target / 2, folder=tmp_path
    )
    rows, target = by_metric(scoring.score_regressor(job)), job.target(np.arange(len(job.table)))
    assert job.windows.data_range >= target.max()
    assert rows["cosine"]["score"] == pytest.approx(1)
    assert 0 < rows["SSI"]["score"] < 1
    decibels = 10 * np.log10(job.windows.data_range**2 / ((target / 2) ** 2).mean((1, 2)))
    assert rows["PSNR"]["score"] == pytest.approx(np.minimum(decibels, 100).mean())  # the cap


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_is_at_chance_to_the_digit(run, tmp_path, value):
    scored = scoring.score_regressor(
        job_of(run, predictions=lambda target: np.full_like(target, value), folder=tmp_path)
    )
    rows = by_metric(scored)
    for name, chance in {"retrieval": 0.5, "top-1": 1 / 20, "top-5": 5 / 20, "match-mismatch": 0.5}.items():
        row = rows[name]
        assert (row["score"], row["low"], row["high"], row["chance"]) == pytest.approx((chance,) * 4), name
        assert row["p"] == 1, name
        assert row["controls"].get("shuffled", chance) == pytest.approx(chance), name
    assert rows["song accuracy"]["score"] == 0.5
    assert rows["kappa"]["score"] == 0
    assert rows["correlation"]["score"] == 0


def test_one_answer_for_all_is_chance(scored):
    rows = by_metric(scored)
    for name in scoring.WHICH_SECOND:
        for blind in ("mean picture", "song mean", "song spectrum"):
            assert rows[name]["baselines"][blind] == pytest.approx(rows[name]["chance"]), (name, blind)
        assert rows[name]["controls"]["zero EEG"] == pytest.approx(rows[name]["chance"]), name


def test_the_true_music_is_an_oracle(scored):
    rows = by_metric(scored)
    assert rows["retrieval"]["oracle"]["ceiling"] > 0.95
    assert rows["cosine"]["oracle"]["ceiling"] > rows["cosine"]["score"]
    assert abs(rows["retrieval"]["oracle"]["previous second"] - 0.5) < 0.25  # the sounds of the seconds are independent


def test_the_scores_of_windows_are_those_of_the_rows(scored):
    rows = by_metric(scored)
    for name in (*scoring.WHICH_SECOND, *scoring.PICTURE):
        assert len(scored.columns[name]) == 120
        assert np.mean(scored.columns[name]) == pytest.approx(rows[name]["score"]), name  # listeners have equal parts
    for control in scored.controls:
        if control["score"] is not None:
            values = scored.columns[f"retrieval | {control['name']}"]
            assert np.nanmean(values) == pytest.approx(control["score"])


def test_own_scores_are_the_same_numbers(run, scored):
    assert scoring.own_scores(job_of(run)) == pytest.approx({row["metric"]: row["score"] for row in scored.rows})


# --- small data ------------------------------------------------------------------------------------------------------


def test_one_listener_and_one_song(tiny_store, tmp_path):
    opened = store.open(make_tiny_store(tmp_path / "s", n_subjects=1, n_songs=1))
    scored = scoring.score_regressor(job_of(trained(opened, tmp_path / "runs")))
    rows = by_metric(scored)
    assert (
        rows["retrieval"]["unit"]
        == "4 blocks of 5 s (few: covers about 87 %), one listener: no interval over listeners"
    )
    assert rows["retrieval"]["low"] < rows["retrieval"]["high"]
    assert 0 < rows["retrieval"]["p"] <= 1
    assert rows["song accuracy"]["note"] == rows["kappa"]["note"] == scorecard.NO_SONG
    notes = {control["name"]: control["note"] for control in scored.controls}
    assert "no other test listener" in notes["other listener"]
    assert notes["shuffled"] == ""


def test_two_recordings_of_other_songs(run, tmp_path):
    def keep(table):
        return table["recording"].isin(["S01_song21_r2", "S02_song22_r2"])

    scored = scoring.score_regressor(job_of(run, keep=keep, folder=tmp_path))
    rows = by_metric(scored)
    assert rows["retrieval"]["n"] == 40
    assert "2 listeners: no interval over listeners" in rows["retrieval"]["unit"]
    assert rows["song accuracy"]["score"] is not None
    notes = {control["name"]: control["note"] for control in scored.controls}
    assert "no other test listener has the same second" in notes["other listener"]


def test_one_test_second(run, tmp_path):
    scored = scoring.score_regressor(job_of(run, keep=lambda table: table["second"] == 7, folder=tmp_path))
    rows = by_metric(scored)
    for name in scoring.WHICH_SECOND:
        assert rows[name]["score"] is None
        assert rows[name]["note"] == scorecard.ONE_SECOND
    assert rows["cosine"]["score"] > 0
    assert rows["cosine"]["p"] is None
    assert len(rows["cosine"]["p_unit"]) > 20
    notes = {control["name"]: control["note"] for control in scored.controls}
    assert notes["shuffled"] == "a recording has one test window only"
    assert scored.shifts == []


def test_seconds_side_by_side_have_no_imposter(run, tmp_path):
    rows = by_metric(
        scoring.score_regressor(job_of(run, keep=lambda table: table["second"].isin([7, 8]), folder=tmp_path))
    )
    assert rows["match-mismatch"]["note"] == scorecard.NO_IMPOSTER
    assert rows["retrieval"]["score"] is not None
    assert rows["top-1"]["chance"] == 0.5
    assert rows["top-5"]["note"] == "a song has 2 test seconds only, fewer than 5"


def test_a_song_with_fewer_seconds_than_the_others_decides_the_k(run, tmp_path):
    def keep(table):
        return (table["stimulus"] == "song21") | (table["second"] < 4)

    rows = by_metric(scoring.score_regressor(job_of(run, keep=keep, folder=tmp_path)))
    assert rows["top-5"]["note"] == "a song has 4 test seconds only, fewer than 5"
    assert rows["top-1"]["chance"] == pytest.approx((60 / 20 + 12 / 4) / 72)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_scores(run, tmp_path, bad):
    def broken(target):
        target[33, 2, 5] = bad
        return target

    job = job_of(run, predictions=broken, folder=tmp_path)
    with pytest.raises(DataError, match="S01_song22_r2, second 13 holds NaN or infinite values"):
        evaluation.evaluate(job.run, store=job.store)
    with pytest.raises(DataError):
        scoring.retrieval(job.prediction(np.arange(120)), job.target(np.arange(120)), job.table)
    assert not (job.run.path / "metrics.json").exists()


# --- a part of the recordings ----------------------------------------------------------------------------------------


def test_a_part_is_whole_recordings_of_every_listener_and_song(run, monkeypatch):
    monkeypatch.setattr(scoring, "BESIDE_VALUES", 60 * 44 * 128)
    job = job_of(run)
    part = job.table[job.beside]
    assert len(part) == 60
    assert (part.groupby("recording").size() == 20).all()
    assert part["subject"].nunique() == 3
    assert part["stimulus"].nunique() == 2


def test_the_run_itself_scores_the_same_on_a_part(run, scored, monkeypatch):
    monkeypatch.setattr(scoring, "BESIDE_VALUES", 60 * 44 * 128)
    some = scoring.score_regressor(job_of(run))
    whole, part = by_metric(scored), by_metric(some)
    for name, row in whole.items():
        for key in ("score", "low", "high", "unit", "n", "chance", "note"):
            assert part[name][key] == row[key], (name, key)
        for group in ("baselines", "oracle", "beside", "controls"):
            assert part[name][group].keys() == row[group].keys(), (name, group)
            for beside, value in row[group].items():
                assert part[name][group][beside] == pytest.approx(value, abs=0.2 * max(1, abs(value))), (name, beside)
        if name in scoring.PICTURE:
            assert part[name]["p_unit"].endswith(", on 60 windows")
        else:
            assert (part[name]["p"], part[name]["p_unit"]) == (row["p"], row["p_unit"])
    notes = {control["name"]: control for control in some.controls}
    for control in scored.controls:
        assert notes[control["name"]]["note"] == control["note"]
        asked_again = control["name"] == "noise EEG"
        assert notes[control["name"]]["n"] == (60 if asked_again else control["n"])
    assert some.shifts == scored.shifts


def test_a_part_of_one_listener_may_leave_songs_out(tmp_path, monkeypatch):
    opened = store.open(make_tiny_store(tmp_path / "s", n_subjects=1, n_songs=3, seconds=12))
    made = trained(opened, tmp_path / "runs")
    monkeypatch.setattr(scoring, "BESIDE_VALUES", 12 * 44 * 128)
    job = job_of(made)
    assert job.table["stimulus"][job.beside].unique().tolist() == ["song21"]
    rows = by_metric(scoring.score_regressor(job))
    assert rows["retrieval"]["n"] == 36
    assert rows["cosine"]["controls"]["noise EEG"] is not None
    assert rows["cosine"]["p_unit"].endswith(", on 12 windows")


# --- classifiers and threads -----------------------------------------------------------------------------------------


def test_logits_of_a_classifier(tiny_store, tmp_path):
    made = trained(tiny_store, tmp_path / "runs", model="classifier", settings={"epochs": 1})
    classes = np.array(made.provenance["classes"])
    truth = job_of(made).table["stimulus"].to_numpy(str)
    for name, logits, accuracy, kappa in (
        ("right", (truth[:, None] == classes).astype(float), 1, 1),
        ("constant", np.zeros((120, 2)), 0.5, 0),
    ):
        folder = tmp_path / name
        folder.mkdir()
        job = job_of(made, predictions=lambda target, logits=logits: logits, folder=folder)
        rows = by_metric(scoring.score_classifier(job))
        assert (rows["accuracy"]["score"], rows["kappa"]["score"]) == (accuracy, kappa)
        assert rows["accuracy"]["p"] == (1 if name == "constant" else pytest.approx(rows["accuracy"]["p"]))
        assert rows["accuracy"]["controls"]["other listener"] == accuracy


def test_the_number_of_threads_changes_nothing(run, scored, monkeypatch):
    monkeypatch.setattr(scoring, "THREADS", 1)
    alone = scoring.score_regressor(job_of(run))
    assert same(alone.rows, scored.rows)
    assert same(alone.controls, scored.controls)
    assert same(alone.shifts, scored.shifts)
    assert alone.columns.keys() == scored.columns.keys()
    for name, values in scored.columns.items():
        np.testing.assert_array_equal(alone.columns[name], values)


def test_controls_are_all_named(scored):
    assert [control["name"] for control in scored.controls] == list(controls.CONTROLS)
    assert [shift["seconds"] for shift in scored.shifts] == list(controls.SHIFTS)


def test_spread_is_the_ratio_of_the_deviations_and_needs_true_pictures_that_vary():
    rng = np.random.default_rng(3)
    true = rng.normal(5, rng.uniform(0.1, 2, (4, 5)), (200, 4, 5))
    made = 0.3 * true + rng.normal(0, 0.1, (200, 4, 5))
    found = scoring.spread(made.__getitem__, true.__getitem__, 200)
    assert found == pytest.approx(made.std(0).mean() / true.std(0).mean(), rel=1e-12)
    assert scoring.spread(true.__getitem__, true.__getitem__, 200) == pytest.approx(1)
    assert scoring.spread(lambda rows: 1e3 + 0.0 * true[rows], true.__getitem__, 200) == 0
    assert scoring.spread(true.__getitem__, lambda rows: 0 * true[rows], 200) is None


def test_a_run_keeps_its_spread(run):
    result = evaluation.evaluate(run)
    windows = run.windows()
    target = windows.target(run.split(windows).test).astype(float)
    wanted = np.asarray(run.predictions, float).std(0).mean() / target.std(0).mean()
    assert result["spread"] == pytest.approx(wanted, rel=1e-6)
