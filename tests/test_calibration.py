import dataclasses
import json
import time

import numpy as np
import pandas as pd
import pytest

from eegviz import _calibration_sets as sets
from eegviz import calibration, sides, splits
from eegviz.errors import DataError, ParameterError

TINY = {"n_sets": 4, "n_permutations": 40, "n_leak": 2, "n_coupling": 2, "couplings": (0, 0.5, 1), "seed": 3}
CANNOT = "cannot separate song from recording"


@pytest.fixture(scope="module")
def shared():
    return sets.material()


@pytest.fixture(scope="module")
def tiny():
    return calibration.calibrate(**TINY)


def equal(one, other):
    return all(getattr(one, name).equals(getattr(other, name)) for name in ("null", "leak", "slow", "coupling"))


# --- what comes out ------------------------------------------------------------------------------------------------


def test_every_set_is_scored_under_every_protocol(tiny):
    assert list(tiny.null) == ["set", "protocol", "score", "p", "n"]
    assert len(tiny.null) == 4 * 4
    assert set(tiny.null["protocol"]) == {"repeat", "subject", "song", "subject_song"}
    assert tiny.null["p"].between(1 / 41, 1).all()
    assert len(tiny.leak) == 2 * 7
    assert len(tiny.coupling) == 2 * 3 * 4
    assert not tiny.null.isna().any(axis=None)


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_processes(tiny):
    assert equal(tiny, calibration.calibrate(**TINY, jobs=2))


def test_the_first_of_many_sets_are_those_of_few(tiny, shared):
    alone = sets.score_honest(shared, 2, seed=3, coupling=0.0, n_permutations=40)
    assert [row["score"] for row in alone] == tiny.null[tiny.null["set"] == 2]["score"].tolist()
    assert [row["p"] for row in alone] == tiny.null[tiny.null["set"] == 2]["p"].tolist()
    scores = tiny.null["score"].to_numpy().reshape(4, 4)
    assert len(np.unique(scores, axis=0)) == 4  # sets differ


def test_coupling_0_is_the_null(tiny):
    zero = tiny.coupling[tiny.coupling["coupling"] == 0]
    assert zero["score"].tolist() == tiny.null[tiny.null["set"] < 2]["score"].tolist()


def test_the_score_rises_with_coupling(tiny):
    mean = tiny.coupling.groupby("coupling")["score"].mean()
    assert mean.is_monotonic_increasing
    assert mean[0] == pytest.approx(0.5, abs=0.03)
    assert mean[1] > 0.65


def test_leaky_protocols_are_brilliant_and_flagged(tiny):
    found = tiny.leakage().set_index("protocol")
    for name in ("random", "interleaved", "blocked"):
        assert found.loc[name, "accuracy"] >= 0.8
        assert found.loc[name, "label"] == CANNOT
        assert not found.loc[name, "can_separate"]
    for name in ("repeat", "subject"):
        assert found.loc[name, "accuracy"] < 0.5
        assert found.loc[name, "can_separate"]
    assert found.loc[["song", "subject_song"], "accuracy"].isna().all()  # unseen songs cannot be named
    assert (found["chance"].dropna() == 0.25).all()
    assert found.loc[["repeat", "subject"], "recordings"].tolist() == [64, 64]  # every one was in the test once
    assert found["retrieval"].between(0.44, 0.56).all()  # drift does not say which second


def test_a_slow_change_of_all_recordings_is_not_believed(tiny):
    found = tiny.slow_change()
    assert found["sets"].tolist() == [2] * 4
    assert (found["score"] > 0.55).all()
    assert found["contributed without the condition"].sum() >= 6  # of 8: the four conditions are fooled
    assert found["contributed"].sum() == 0
    assert not tiny.slow["contributed"].any()


def test_the_summary_says_what_must_be_said(tiny):
    text = tiny.summary()
    assert text.startswith("SIMULATED")
    flat = text.replace("\n", " ")
    assert flat.count(CANNOT) == 3
    assert flat.count("n/a") == 2
    for words in ("4 null sets", "40 permutations of 5-s blocks", "KS p", "95 % interval", "chance 0.25", "chance .5"):
        assert words in flat
    assert max(map(len, text.splitlines())) <= 76


# --- the statistics of the panels ------------------------------------------------------------------------------------


def with_p(result, p):
    names = ("repeat", "subject")
    rows = [{"set": i, "protocol": name, "score": 0.5, "p": one, "n": 9} for i, one in enumerate(p) for name in names]
    return dataclasses.replace(result, null=pd.DataFrame(rows))


def test_uniform_p_values_pass(tiny):
    found = with_p(tiny, (np.arange(200) + 0.5) / 200).uniformity()
    assert found["KS"].tolist() == pytest.approx([1 / 400] * 2)
    assert (found["KS p"] > 0.999).all()
    assert found["rejections"].tolist() == [10, 10]
    assert found[["expected low", "expected high"]].to_numpy().tolist() == [[3, 19]] * 2  # binomial, exact


def test_a_test_that_rejects_too_often_is_found(tiny):
    found = with_p(tiny, ((np.arange(200) + 0.5) / 200) ** 2).uniformity()
    assert (found["KS p"] < 0.001).all()
    assert (found["rejections"] > found["expected high"]).all()


def test_votes_of_recordings():
    named = np.array(list("aab" + "bbb" + "ab"))
    true = np.array(list("aaa" + "aaa" + "aa"))
    recordings = np.array(list("xxx" + "yyy" + "zz"))
    assert sets._votes(named, true, recordings) == pytest.approx((1 + 0 + 0.5) / 3)


# --- the sets --------------------------------------------------------------------------------------------------------


def test_a_null_set_holds_nothing_of_the_music(shared):
    one = sets.make(shared, 5)
    silent = dataclasses.replace(
        shared,
        drives={k: dataclasses.replace(d, onset=0 * d.onset, level=0 * d.level) for k, d in shared.drives.items()},
    )
    assert np.array_equal(one.eeg, sets.make(silent, 5).eeg)
    heard = sets.make(shared, 5, coupling=1.0)
    assert not np.array_equal(heard.eeg, one.eeg)
    pd.testing.assert_frame_equal(heard.table, one.table)


def test_windows_and_pictures_fit(shared):
    made = sets.make(shared, 1)
    assert made.eeg.shape == (32, 25, 1920)
    assert made.pictures(np.arange(960)).shape == (960, 25, 64)
    assert np.array_equal(made.pictures([31])[0], made.eeg[1, :, 64:128])
    assert made.target([0]).shape == (1, 11, 16)
    assert sets.lagged_eeg(made).shape == (960, 11, 25 * 7)


def test_nothing_is_fitted_on_all_windows(shared):
    made = sets.make(shared, 1)
    seen = sets.lagged_eeg(made)
    with pytest.raises(ParameterError, match="TrainingView"):
        sets.fit_decoder((seen, made.truth), seen, made.truth)
    with pytest.raises(ParameterError, match="TrainingView"):
        sets.fit_song_classifier(made)


def test_the_test_side_cannot_change_what_is_fitted(shared):
    made = sets.make(shared, 1)
    split = splits.split(made.table, "repeat", gap=sets.GAP)
    seen = sets.lagged_eeg(made)
    changed = seen.copy()
    changed[split.test] += 5

    def predict(x):
        view = sides.training_view(made, split, pictures=lambda positions: x[split.train[positions]])
        return sets.fit_decoder(view, x[split.validation], made.target(split.validation))(seen[split.test])

    assert np.array_equal(predict(seen), predict(changed))


# --- files and mistakes ----------------------------------------------------------------------------------------------


def test_a_calibration_can_be_kept(tiny, tmp_path):
    path = tiny.save(tmp_path / "calibration.json")
    read = calibration.load(path)
    assert equal(read, tiny)
    assert read.settings == tiny.settings
    assert read.summary() == tiny.summary()
    assert "NaN" not in path.read_text(encoding="utf-8")


def test_a_damaged_file_is_refused(tiny, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        calibration.load(tmp_path / "none.json")
    path = tmp_path / "bad.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not a calibration"):
        calibration.load(path)
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match="not a calibration"):
        calibration.load(path)
    content = json.loads(tiny.save(path).read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"format": 99}), encoding="utf-8")
    with pytest.raises(DataError, match="format 99"):
        calibration.load(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_sets": 1}, "n_sets=1"),
        ({"n_permutations": 5}, "n_permutations=5"),
        ({"n_leak": 0}, "n_leak=0"),
        ({"n_coupling": 2.5}, "n_coupling=2.5"),
        ({"jobs": 0}, "jobs=0"),
        ({"seed": -1}, "seed=-1"),
        ({"n_sets": 4, "n_coupling": 5}, "more than n_sets=4"),
        ({"couplings": (0.5, 1)}, "begin with 0"),
        ({"couplings": (0, 1, 0.5)}, "rising"),
        ({"couplings": ()}, "rising"),
        ({"couplings": (0, float("nan"))}, "rising"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ParameterError, match=message):
        calibration.calibrate(**settings)


# --- the promise -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_evaluation_tells_the_truth_on_200_null_sets():
    start = time.monotonic()
    found = calibration.calibrate(**calibration.FULL, jobs=2)
    seconds = time.monotonic() - start
    print(f"\n{found.summary()}\n{seconds:.0f} s in two processes")
    assert seconds <= 300

    null = found.uniformity()
    assert (null["sets"] == 200).all()
    assert (null["KS p"] > 0.001).all()
    assert null["rejections"].between(2, 19).all()

    leak = found.leakage().set_index("protocol")
    leaky = leak[leak["label"] == CANNOT]
    assert list(leaky.index) == ["random", "interleaved", "blocked"]
    assert (leaky["accuracy"] >= 0.8).all()
    for name in ("repeat", "subject"):
        assert leak.loc[name, "low"] <= leak.loc[name, "chance"] <= leak.loc[name, "high"]

    slow = found.slow_change()
    assert slow["contributed without the condition"].sum() > slow["sets"].sum() / 2
    assert slow["contributed"].sum() <= 0.05 * slow["sets"].sum()

    for name, own in found.sensitivity().groupby("protocol"):
        assert own["score"].is_monotonic_increasing, name
        assert own["low"].iloc[0] <= 0.5 <= own["high"].iloc[0], name
        assert own["low"].iloc[-1] > 0.6, name
