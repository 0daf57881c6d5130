"""Overlapping windows: closed forms of the cross-fade, true music beside windows end to end, and clips of a run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eegviz import chorales, features, inversion, joining, music, reconstruction, sound, splits, training, windowing
from eegviz.errors import ParameterError
from tests.test_evaluation import trained

SR = 22050


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module", params=["piece", "chorale"])
def ten_seconds(request):
    if request.param == "piece":
        return music.piece(music.PIECES[0], duration=12.0, sr=SR, seed=0)[: 10 * SR]
    return chorales.render(19, duration=12.0)[: 10 * SR].astype(np.float32)


# ------------------------------------------------------------------------------------- closed forms


@given(st.integers(1, 40), st.floats(0.1, 0.9), st.sampled_from(["mel-db", "linear", "mel-80"]), st.integers(0, 2**31))
def test_windows_of_one_picture_give_it_back(seconds, overlap, kind, seed):
    """The weights are a partition of unity: whatever the windows share, they reproduce."""
    layout = features.layout(kind)
    first = joining.first_frames(seconds * SR, overlap=overlap, kind=kind)
    n_frames = 1 + seconds * SR // layout.hop_length
    assert first[0] == 0
    assert first[-1] + layout.n_frames == n_frames
    assert np.diff(first).max(initial=0) <= np.ceil((1 - overlap) * SR / layout.hop_length)
    whole = np.random.default_rng(seed).random((n_frames, 3)).astype(np.float32)
    windows = np.stack([whole[f : f + layout.n_frames] for f in first])
    np.testing.assert_allclose(joining.cross_fade(windows, first), whole, rtol=1e-6)


def test_constant_pictures_stay_constant():
    first = joining.first_frames(10 * SR, overlap=0.5)
    made = joining.cross_fade(np.full((len(first), 44, 2), 0.37, np.float32), first)
    assert made.shape == (431, 2)
    np.testing.assert_allclose(made, 0.37, rtol=1e-6)


def test_frames_that_saw_the_cut_count_at_the_ends_of_the_clip_only():
    first = joining.first_frames(3 * SR, overlap=0.5)
    windows = np.ones((len(first), 44, 1))
    windows[1:, :2] = windows[:-1, -2:] = 1e6
    np.testing.assert_allclose(joining.cross_fade(windows, first), 1)
    windows = np.ones((len(first), 44, 1))
    windows[0, :2] = windows[-1, -2:] = 7
    made = joining.cross_fade(windows, first)[:, 0]
    assert made[[0, 1, -2, -1]].tolist() == [7, 7, 7, 7]
    np.testing.assert_allclose(made[2:-2], 1)


def test_one_second_is_one_window():
    picture = np.random.default_rng(0).random((1, 44, 3)).astype(np.float32)
    assert joining.first_frames(SR, overlap=0.9).tolist() == [0]
    np.testing.assert_allclose(joining.cross_fade(picture, [0]), picture[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: joining.first_frames(SR, overlap=0.05), "0 .windows end to end. or from 0.1 to 0.9 .* found 0.05"),
        (lambda: joining.first_frames(SR, overlap=0.95), "found 0.95"),
        (lambda: joining.first_frames(SR, overlap=float("nan")), "found nan"),
        (lambda: joining.first_frames(SR, overlap=0), "put together by join"),
        (lambda: joining.first_frames(SR // 2, overlap=0.5), "a second of sound; found overlap=0.5 and 11025"),
        (lambda: joining.cross_fade(np.ones((44, 3)), [0]), r"found \(44, 3\)"),
        (lambda: joining.cross_fade(np.ones((2, 44, 3)), [0]), r"int64 \(1,\)"),
        (lambda: joining.cross_fade(np.ones((2, 44, 3)), [0, 41]), "from 1 to 40 frames"),
        (lambda: joining.cross_fade(np.ones((2, 44, 3)), [0, 0]), "from 1 to 40 frames"),
        (lambda: joining.cross_fade(np.ones((2, 44, 3)), [1, 20]), "begin at frame 0"),
    ],
)
def test_requests_that_cannot_be(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


# ---------------------------------------------------------------------------------------- true music


def true_pictures(y, starts, kind):
    """Normalised true pictures of the seconds that begin at the samples `starts`."""
    padded = np.pad(y, (0, SR))
    power = features.spectrogram(np.stack([padded[s : s + SR] for s in starts]), kind=kind.removesuffix("-db"))
    return features.normalise(features.to_db(power), kind=kind, ref_db=features.default_ref_db(kind))


def change_at_seams(y):
    """How fast the sound's mel changes within 35 ms of whole seconds, as a share of its change elsewhere."""
    change = np.abs(np.diff(features.to_db(features.spectrogram(y[None])[0]), axis=0)).mean(1)
    time = (np.arange(len(change)) + 0.5) * 512 / SR
    near = (np.abs(time - np.rint(time)) < 0.035) & (time > 0.5) & (time < len(y) / SR - 0.5)
    return change[near].mean() / change[~near].mean()


@pytest.mark.parametrize("kind", ["mel-db", "mel-80-db"])
def test_true_windows_give_the_continuous_spectrogram_and_no_seams(ten_seconds, kind):
    """Measured (mel-db): the seams change 1.82 (piece) and 2.84 (chorale) times as fast as the rest end to end; 1.10 and
    1.43 overlapping, which is what the continuous spectrogram itself gives."""
    y, level = ten_seconds, {"kind": kind, "ref_db": features.default_ref_db(kind)}
    hop = features.layout(kind).hop_length
    whole = features.spectrogram(y[None], kind=kind.removesuffix("-db"))[0]
    whole = features.normalise(features.to_db(whole), **level)
    first = joining.first_frames(len(y), overlap=0.5, kind=kind)
    faded = joining.cross_fade(true_pictures(y, first * hop, kind), first)
    assert faded.shape == whole.shape
    np.testing.assert_allclose(faded[:-2], whole[:-2], atol=2e-5)  # the last window ends 14 ms before the sound
    apart = true_pictures(y, np.arange(10) * SR, kind)

    def power(picture):
        return features.from_db(features.denormalise(picture, **level))

    def error(found):
        return np.linalg.norm(found - power(whole)) / np.linalg.norm(power(whole))

    joined = inversion.join(power(apart), kind=kind)
    assert error(power(faded)) < 0.02 < 0.04 < error(joined)

    sounds = {
        name: inversion.reconstruct(picture, audio=kind, ref_db=level["ref_db"], n_samples=len(y))
        for name, picture in {"whole": whole, "faded": faded, "apart": apart}.items()
    }
    seams = {name: change_at_seams(sound) for name, sound in sounds.items()}
    assert seams["faded"] == pytest.approx(seams["whole"], rel=0.02)
    assert seams["apart"] > 1.3 * seams["faded"], seams
    heard = {name: features.spectrogram(s[None], kind=kind.removesuffix("-db"))[0] for name, s in sounds.items()}
    decibels = {name: np.abs(features.to_db(h) - features.to_db(power(whole))).mean() for name, h in heard.items()}
    assert error(heard["faded"]) < error(heard["apart"])
    assert decibels["faded"] < decibels["apart"] - 0.2


# ------------------------------------------------------------------------------------- clips of a run


def test_overlapping_windows_are_predicted_from_the_eeg_at_their_place(run, tiny_store):
    made = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=10, overlap=0.5)
    assert made.sound.shape == (10 * SR,)
    assert made.pictures.shape == (431, 128)
    assert made.seen == {"test": 19}
    assert (made.seconds, made.overlap) == (10, 0.5)
    assert "10 s of recording" in made.describe()
    assert "19 windows (overlap 0.5; each called after its less held-out second) are: 19 test" in made.describe()
    windows = run.windows(tiny_store)
    first = joining.first_frames(10 * SR, overlap=0.5)
    volts = windowing.signal(tiny_store, "S01_song21_r2")
    at = np.rint((3 + first * 512 / SR) * 125).astype(int)
    cut = np.stack([volts[:, i : i + 125] for i in at]) * np.float32(1e6)
    expected = reconstruction._pictures(run, features.eeg_picture(cut, kind=windows.settings["eeg"], sfreq=125.0))
    np.testing.assert_allclose(made.pictures, joining.cross_fade(expected, first), atol=1e-5)


def test_the_windows_at_whole_seconds_are_those_that_were_scored(run):
    """At 125 Hz a window of the frame grid that lies within 4 ms of a whole second has the EEG of that second."""
    apart = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=4)
    first, begins = reconstruction._overlapping(run.windows().settings, 4, 0.5)
    pictures = reconstruction._pictures(
        run, windowing.recording_pictures(
            windowing.signal(run.store(), "S01_song21_r2"), run.store().row("S01_song21_r2"), 3 + begins,
            run.windows().settings,
        )
    )  # fmt: skip
    assert len(first) == 7
    assert np.abs(begins[[0, 2, 4]] - [0, 1, 2]).max() < 0.004
    np.testing.assert_allclose(pictures[[0, 2, 4]], apart.pictures[:3], atol=1e-5)


def test_no_overlap_stays_as_it_was(run):
    one = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=2)
    other = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=2, overlap=0)
    assert one.sound.tobytes() == other.sound.tobytes()
    assert other.sound.tobytes() == inversion.reconstruct(other.pictures).tobytes()
    assert "2 s of recording" in other.describe()
    assert "these seconds are: 2 test" in other.describe()


def test_a_window_is_test_only_if_both_seconds_are():
    sides = np.array(["test", "test", "train", "test", "not used", "test", "validation", "test"])
    begins = np.array([0, 0.5, 1, 1.5, 1.996, 2.5, 3.0, 3.003, 3.5, 4.5, 5.5, 6.5, 7.0])
    found = reconstruction._sides_of_windows(sides, begins, 125.0)
    assert found.tolist() == [
        "test", "test", "test", "train", "train", "train", "test", "test", "not used", "not used", "validation",
        "validation", "test",
    ]  # fmt: skip


def test_sides_are_counted_where_training_and_test_alternate(run, tiny_store):
    windows = run.windows(tiny_store)
    options = {"start": 0, "duration": 20, "windows": windows, "split": splits.split(windows.table, "interleaved")}
    apart = reconstruction.reconstruct(run, "S01_song21_r2", **options)
    faded = reconstruction.reconstruct(run, "S01_song21_r2", overlap=0.5, **options)
    assert sum(apart.seen.values()) == 20
    assert sum(faded.seen.values()) == 39
    assert faded.seen["test"] < 2 * apart.seen["test"]
    assert faded.seen["train"] > 2 * apart.seen["train"] - 2


def test_a_file_gives_what_the_store_gives(run, tiny_store, tmp_path):
    tiny_store.raw("S01_song21_r2").save(tmp_path / "x_raw.fif", verbose="error")
    options = {"start": 3, "duration": 4, "overlap": 0.75, "sr": 16_000}
    made = reconstruction.reconstruct_file(run, tmp_path / "x_raw.fif", **options)
    same = reconstruction.reconstruct(run, "S01_song21_r2", **options)
    np.testing.assert_allclose(made.pictures, same.pictures, atol=2e-3)
    assert made.sound.shape == same.sound.shape == (4 * 16_000,)
    assert made.seen == {}  # a file does not say whether it was in the training
    to_the_end = reconstruction.reconstruct_file(run, tmp_path / "x_raw.fif", start=4, duration=16, overlap=0.5)
    assert to_the_end.sound.shape == (16 * SR,)


def test_context_and_filter_are_those_of_training(tiny_store, tmp_path):
    config = training.configure(tiny_store, model="ridge", preset="fast", split="repeat", precision="float32")
    linear = training.train(tiny_store, config, out=tmp_path, progress=False)
    made = reconstruction.reconstruct(linear, "S01_song21_r2", start=14, duration=6, overlap=0.5)
    assert made.sound.shape == (6 * SR,)
    assert np.isfinite(made.pictures).all()


def test_another_rate_holds_the_same_music(run):
    at_22 = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=10, overlap=0.5)
    at_16 = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=10, overlap=0.5, sr=16_000)
    assert (at_16.sr, at_16.sound.shape, at_16.seconds) == (16_000, (160_000,), 10)
    below = 7000 * 10  # bins of a tenth of a hertz
    one, other = np.fft.rfft(at_22.sound)[:below] / SR, np.fft.rfft(at_16.sound)[:below] / 16_000
    assert np.linalg.norm(one - other) < 1e-3 * np.linalg.norm(one)
    at_48 = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=1, sr=48_000)
    assert at_48.sound.shape == (48_000,)


@pytest.mark.parametrize(("n", "to"), [(22050, 16000), (1001, 16000), (22051, 44100), (99_999, 8000)])
def test_resampled_sounds_have_the_exact_length(n, to):
    y = np.sin(np.arange(n) / 30).astype(np.float32)
    assert len(sound.resample(y, SR, to=to)) == round(n * to / SR)
    assert sound.resample(y, SR, to=SR).tobytes() == y.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 0.95}, "from 0.1 to 0.9 of a window; found 0.95"),
        ({"overlap": -0.5}, "found -0.5"),
        ({"overlap": 0.05}, "found 0.05"),
        ({"sr": 4000}, "from 8000 to 48000; found 4000"),
        ({"sr": 96_000}, "found 96000"),
        ({"sr": 16_000.5}, "whole number of hertz"),
        ({"overlap": 0.5, "duration": 21}, "longest stretch: 20"),
        ({"overlap": 0.5, "start": 15, "duration": 10}, "are not all there"),
        ({"overlap": 0.5, "duration": 2.5}, "whole number"),
    ],
)
def test_bad_requests_say_what_was_expected(run, options, message):
    with pytest.raises(ParameterError, match=message):
        reconstruction.reconstruct(run, "S01_song21_r2", **options)
