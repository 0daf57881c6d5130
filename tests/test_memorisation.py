"""The nearest training second beside each prediction: closed forms, blocks, and what each split makes of it."""

import dataclasses

import numpy as np
import pytest

from eegviz import memorisation, runs, splits, store, training, windowing
from eegviz.errors import DataError, ParameterError
from tests.conftest import make_tiny_store
from tests.test_bad_input import predicting, trained


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    opened = store.open(make_tiny_store(tmp_path_factory.mktemp("three") / "store", n_subjects=3, n_songs=3))
    return windowing.windows(opened)


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"), split="repeat")


def by_hand(pictures, windows, split):
    """Correlations with every distinct training second, one at a time: (n_test, n_candidates), and with the truth."""
    train = (
        windows.table.iloc[split.train][["stimulus", "second"]].drop_duplicates().sort_values(["stimulus", "second"])
    )
    keys = list(train.itertuples(index=False, name=None))
    true = np.stack([windows.picture(song, [second])[0] for song, second in keys]).astype(float)
    mean = true.mean(0)

    def like(a, b):
        return np.corrcoef((a - mean).ravel(), (b - mean).ravel())[0, 1]

    target = windows.target(split.test).astype(float)
    return (
        keys,
        np.array([[like(one, other) for other in true] for one in pictures]),
        np.array([like(one, other) for one, other in zip(pictures, target, strict=True)]),
    )


@pytest.mark.parametrize("spec", ["repeat", "song:song23", "blocked"])
@pytest.mark.parametrize("block", [7, 256])
def test_nearest_is_what_all_correlations_by_hand_say(windows, spec, block, monkeypatch):
    monkeypatch.setattr(memorisation, "BLOCK", block)
    split = splits.split(windows.table, spec)
    target = windows.target(split.test)
    made = 0.3 * target + np.random.default_rng(1).normal(0, 0.1, target.shape)
    found = memorisation.nearest(made, windows, split)
    some = np.arange(0, len(made), 9)
    keys, like, own = by_hand(made[some], windows, dataclasses.replace(split, test=split.test[some]))
    np.testing.assert_allclose(found["similarity"].to_numpy()[some], like.max(1), atol=1e-9)
    np.testing.assert_allclose(found["own"].to_numpy()[some], own, atol=1e-9)
    named = list(zip(found["nearest_stimulus"], found["nearest_second"], strict=True))
    assert [named[i] for i in some] == [keys[k] for k in like.argmax(1)]
    truth = [(row.stimulus, row.second) for row in windows.table.iloc[split.test[some]].itertuples()]
    others = np.array([[key != one for key in keys] for one in truth])
    np.testing.assert_array_equal(found["nearer"].to_numpy()[some], np.where(others, like, -1).max(1) > own)


def test_copies_of_training_pictures_are_found_and_named(windows):
    split = splits.split(windows.table, "song:song23")
    assert set(memorisation.nearest(windows.target(split.test), windows, split)["known"]) == {"new"}
    rng = np.random.default_rng(0)
    source = rng.choice(split.train, len(split.test))
    found = memorisation.nearest(windows.target(source), windows, split)
    wanted = windows.table.iloc[source]
    assert (found["nearest_stimulus"].to_numpy() == wanted["stimulus"].to_numpy()).all()
    assert (found["nearest_second"].to_numpy() == wanted["second"].to_numpy()).all()
    np.testing.assert_allclose(found["similarity"], 1)
    assert found["nearer"].all()
    assert not found["same_song"].any()


def test_the_truth_is_its_own_second_where_that_is_in_training(windows):
    split = splits.split(windows.table, "repeat")
    found = memorisation.nearest(windows.target(split.test), windows, split)
    known = found["known"] == "second"
    assert set(found["known"]) == {"second", "song"}  # validation seconds are not candidates
    assert found["same_second"].equals(known.rename("same_second"))
    assert (found["same_song"][known]).all()
    assert not found["nearer"].any()
    np.testing.assert_allclose(found["own"], 1)


def test_the_training_mean_is_like_nothing(windows):
    split = splits.split(windows.table, "song:song23")
    mean = memorisation._Candidates(windows, split).mean.reshape(windows.out_shape)
    found = memorisation.nearest(np.broadcast_to(mean, (len(split.test), *mean.shape)), windows, split)
    assert (found["nearest_stimulus"] == "").all()
    assert (found["nearest_second"] == -1).all()
    assert found[["similarity", "own"]].isna().all().all()
    assert not found[["same_song", "same_second", "nearer"]].any().any()


def test_a_run_says_which_case_applies_and_what_references_give(run):
    found = memorisation.check(run)
    counts = found.table["known"].value_counts()
    assert found.cases[0].startswith(f"{counts['second']} of 120 test windows: the true second is in the training too")
    assert f"{counts['song']} of 120 test windows: other seconds of the song" in found.cases[1]
    told = found.summary.set_index(["known", "source"])
    truth = told.loc[("second", "true pictures")]
    assert (truth["nearest"], truth["own"], truth["same_second"]) == pytest.approx((1, 1, 1))
    assert (truth["nearer"], truth["chance_second"]) == (0, 1 / found.n_candidates)
    assert told.loc[("second", "predictions"), "n"] == counts["second"]
    assert told.loc[("second", "song mean"), "same_song"] > 0.9
    mine = found.table[found.table["known"] == "second"]
    wanted = mine.groupby("subject")["similarity"].mean().mean()
    assert told.loc[("second", "predictions"), "nearest"] == pytest.approx(wanted)
    assert told.loc[("second", "predictions"), "unit"] == "3 listeners"
    text = found.describe()
    assert max(map(len, text.splitlines())) <= memorisation.WIDTH
    assert "nan" not in text.lower().split()


def test_a_good_decoder_finds_the_true_second_and_a_constant_finds_nothing_of_its_own(run, tmp_path):
    windows = run.windows()
    split = run.split(windows)
    target = windows.target(split.test)
    rng = np.random.default_rng(0)
    good = (target.mean(0) + 0.1 * (target - target.mean(0)) + rng.normal(0, 0.01, target.shape)).astype(np.float32)
    found = memorisation.check(runs.open(predicting(run, tmp_path, good)), windows=windows)
    told = found.summary.set_index(["known", "source"])
    assert told.loc[("second", "predictions"), "same_second"] > 0.95
    assert told.loc[("second", "centred"), "same_second"] > 0.95
    assert told.loc[("second", "predictions"), "nearer"] < 0.05
    flat = np.full_like(good, 0.3)
    np.save(tmp_path / "copy" / "predictions.npy", flat)
    found = memorisation.check(runs.open(tmp_path / "copy"), windows=windows)
    told = found.summary.set_index(["known", "source"])
    assert found.table["nearest_second"].nunique() == 1
    centred = told.loc[("second", "centred")]
    assert centred["n"] == 0
    assert centred["nearest"] is None
    assert "nothing but the mean picture" in centred["note"]
    assert "n/a" in found.describe()
    assert "nan" not in found.describe().lower().split()


def test_unseen_songs_are_called_so(tiny_store, tmp_path):
    made = trained(tiny_store, tmp_path, split="song:song22")
    found = memorisation.check(made)
    assert found.cases == ["120 of 120 test windows: " + memorisation.KNOWN["new"] + "."]
    told = found.summary.set_index("source")
    assert told.loc["true pictures", "nearest"] < 0.9
    assert told.loc["predictions", "chance"] == found.n_candidates / (found.n_candidates + 1)
    assert told.loc["song mean", "note"] == "no test song is in the training"
    assert "song mean: no test song is in the training" in found.describe()


def test_refuses_what_does_not_fit(run, tiny_store, tmp_path):
    windows = run.windows()
    split = run.split(windows)
    with pytest.raises(
        ParameterError, match=r"the pictures have shape \(3, 44, 128\), the test windows \(120, 44, 128\)"
    ):
        memorisation.nearest(np.zeros((3, 44, 128)), windows, split)
    other = runs.Run(run.path, run.config)
    other.__dict__["predictions"] = np.zeros((3, 44, 128), np.float32)
    with pytest.raises(ParameterError, match="the pictures have shape"):
        memorisation.check(other, windows=windows)
    broken = windows.target(split.test)
    broken[70, 3, 4] = np.nan
    with pytest.raises(DataError, match="the prediction of window 70 holds NaN"):
        memorisation.nearest(broken, windows, split)
    config = training.configure(
        tiny_store, model="classifier", preset="fast", settings={"epochs": 1}, split="repeat", precision="float32"
    )
    with pytest.raises(ParameterError, match="is a classifier: it predicts no pictures"):
        memorisation.check(training.train(tiny_store, config, out=tmp_path, progress=False))
