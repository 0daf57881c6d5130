from types import SimpleNamespace

import numpy as np
import pytest

from eegviz import baselines, features, metrics, sides, splits, windowing
from eegviz.errors import ParameterError


@pytest.fixture(scope="module")
def windows(tiny_store):
    return windowing.windows(tiny_store)


@pytest.fixture(scope="module")
def split(windows):
    return splits.split(windows.table, "repeat")


def test_means_are_those_of_the_training_windows(windows, split):
    pictures = baselines.no_eeg(windows, split)
    train = windows.target(split.train)
    songs = windows.table["stimulus"].to_numpy(str)
    np.testing.assert_allclose(pictures["mean picture"][0], train.mean(0), atol=1e-5)
    i = int(np.flatnonzero(songs[split.test] == "song22")[0])
    own = train[songs[split.train] == "song22"]
    np.testing.assert_allclose(pictures["song mean"][i], own.mean(0), atol=1e-5)
    np.testing.assert_allclose(pictures["song spectrum"][i], np.broadcast_to(own.mean((0, 1)), (44, 128)), atol=1e-5)


def test_a_random_second_is_a_training_second_of_the_song(windows, split):
    random = baselines.no_eeg(windows, split)["random second"]
    table = windows.table
    for i in range(0, len(split.test), 17):
        song = table["stimulus"].iloc[split.test[i]]
        seconds = table["second"].to_numpy()[split.train][table["stimulus"].to_numpy()[split.train] == song]
        candidates = windows.picture(song, np.unique(seconds))
        assert np.abs(candidates - random[i]).max((1, 2)).min() < 1e-6
    again = baselines.no_eeg(windows, split)["random second"]
    np.testing.assert_array_equal(random, again)
    assert np.abs(random - baselines.no_eeg(windows, split, seed=1)["random second"]).max() > 0


def test_a_random_second_is_never_the_true_one(windows):
    split = splits.split(windows.table, "random")
    heard = windows.table[["stimulus", "second"]]
    assert len(heard.iloc[split.test].merge(heard.iloc[split.train].drop_duplicates())) > len(split.test) / 2
    random = baselines.no_eeg(windows, split)["random second"]
    assert metrics.psnr(random, windows.target(split.test)).max() < 60  # dB; the same picture has 100


def test_no_random_second_where_training_has_the_true_one_alone(windows):
    one = windows.table.index[windows.table["second"] == 3].to_numpy()
    view = sides.training_view(windows, SimpleNamespace(spec="own", train=one, validation=one[:0], test=one[:0]))
    blind = baselines.NoEEG(view)
    assert "random second" not in blind.pictures("song21", [3, 3])
    assert blind.pictures("song21", [4])["random second"].shape == (1, 44, 128)


def test_an_unseen_song_has_no_mean(windows):
    unseen = splits.split(windows.table, "song:song22")
    assert set(baselines.no_eeg(windows, unseen)) == {"mean picture"}


def test_only_the_training_side_is_fitted_on(windows):
    with pytest.raises(ParameterError, match="fitted on training windows only"):
        baselines.NoEEG(windows)
    with pytest.raises(ParameterError, match="fitted on training windows only"):
        baselines.Fingerprint(windows.table, kind="periodogram")


def test_the_fingerprint_finds_recordings_by_their_gain(windows):
    """A gain of its own marks each recording: on a split that shares recordings the song is named, without any music."""
    rng = np.random.default_rng(0)
    table = windows.table
    gains = {r: np.exp(0.5 * rng.standard_normal(8)) for r in table["recording"].unique()}

    class Marked:
        table = windows.table
        out_shape = windows.out_shape

        def pictures(self, index):
            noise = np.random.default_rng(index[0]).chisquare(2, (len(index), 63, 8))
            return (noise * [gains[r] for r in table["recording"].to_numpy()[index]][:1]).astype(np.float32) * np.stack(
                [
                    gains[r] / gains[table["recording"].to_numpy()[index][0]]
                    for r in table["recording"].to_numpy()[index]
                ]
            )[:, None]

        def target(self, index):
            return windows.target(index)

    marked = Marked()
    truth = table["stimulus"].to_numpy(str)
    shared = splits.split(table, "interleaved")
    fitted = baselines.Fingerprint(sides.training_view(marked, shared), kind="periodogram")
    assert (fitted.songs(marked.pictures(shared.test)) == truth[shared.test]).mean() > 0.95
    apart = splits.split(table, "repeat")
    fitted = baselines.Fingerprint(sides.training_view(marked, apart), kind="periodogram")
    assert (fitted.songs(marked.pictures(apart.test)) == truth[apart.test]).mean() < 0.9


def test_log_power_is_of_each_channel():
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((3, 1000, 2)) * [1.0, np.e]
    np.testing.assert_allclose(np.diff(baselines.log_power(raw, "raw")), 2, atol=0.2)
    np.testing.assert_allclose(baselines.log_power(np.full((1, 63, 2), np.e), "periodogram"), [[1, 1]])


def test_the_previous_second_is_true_music(windows):
    before = baselines.previous_second(windows, "song21", [0, 1, 7])
    np.testing.assert_array_equal(before, windows.picture("song21", [1, 0, 6]))


def test_the_ceiling_is_high_and_not_the_truth(windows):
    taken, pictures = baselines.ceiling(windows, "song21", np.arange(20))
    assert len(taken) == baselines.CEILING_SECONDS
    np.testing.assert_array_equal(np.diff(taken), 1)
    true = windows.picture("song21", taken)
    cosine = metrics.cosine(pictures, true)
    assert cosine.min() > 0.95
    assert cosine.max() < 1
    np.testing.assert_array_equal(baselines.ceiling(windows, "song21", [3])[0], [3])


def test_power_follows_from_entropies():
    rng = np.random.default_rng(0)
    eeg = rng.standard_normal((3, 2, 125)).astype(np.float32)
    one, louder = (baselines.log_power(features.eeg_picture(g * eeg, kind="de", sfreq=125), "de") for g in (1, 10))
    assert one.shape == (3, 2)
    np.testing.assert_allclose(louder - one, 2 * np.log(10), atol=1e-3)
