"""Spectrogram → sound: against librosa, closed forms, lengths, seams, levels and files."""

import io
import os
import re

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from eegviz import features, inversion
from eegviz.errors import DataError, ParameterError
from tests.benchmarks.bench_inversion import mel_errors, mel_power, music_clips

SR = 22050


@pytest.fixture(scope="module")
def clips():
    return music_clips()


def picture_of(y, *, kind="mel-db"):
    """One continuous normalised spectrogram (n_frames, n_bins)."""
    power = features.spectrogram(y[None], kind=kind.removesuffix("-db"))[0]
    return features.normalise(features.to_db(power) if kind.endswith("-db") else power, kind=kind)


def windows_of(y, *, kind="mel-db"):
    """Normalised spectrograms of whole seconds (n, 44, n_bins)."""
    power = features.spectrogram(y[: len(y) // SR * SR].reshape(-1, SR), kind=kind.removesuffix("-db"))
    return features.normalise(features.to_db(power) if kind.endswith("-db") else power, kind=kind)


# ------------------------------------------------------------------------------------------- scales


def test_denormalise_is_equation_1_and_clips():
    x = np.array([-0.2, 0.0, 0.25, 1.0, 1.7])
    assert inversion.denormalise(x).tolist() == pytest.approx([-54, -54, -29, 46, 46])
    assert inversion.denormalise(x, ref_db=52.0, max_db=80.0).tolist() == pytest.approx([-28, -28, -8, 52, 52])


def test_db_to_power_undoes_the_doubled_decibels():
    assert inversion.db_to_power(np.array([-20.0, 0.0, 46.0])) == pytest.approx([0.1, 1, 199.526231])


def test_a_zero_is_the_floor_and_not_silence():
    low, high = (inversion.reconstruct(np.full((1, 44, 128), x, np.float32), n_iter=4) for x in (0.0, 0.5))
    # 50 doubled decibels are 25 dB of power
    assert 20 * np.log10(high.std() / low.std()) == pytest.approx(25, abs=0.01)
    assert low.std() > 0


def test_a_new_reference_level_is_only_a_gain(clips):
    picture = picture_of(clips["band"][: 2 * SR])
    at_46 = inversion.reconstruct(picture, ref_db=46.0)
    at_52 = inversion.reconstruct(picture, ref_db=52.0)
    gain = 10 ** (6 / 40)
    assert np.linalg.norm(at_52 - gain * at_46) <= 1e-4 * np.linalg.norm(at_52)
    inverted = inversion.invert(picture)
    assert np.array_equal(inverted.at(52.0), at_52)
    assert np.array_equal(inverted.at(46.0), at_46)


@pytest.mark.parametrize("factor", [4.0, 10 ** (6 / 20)])
def test_two_separate_inversions_of_power_and_a_multiple_differ_by_a_gain(clips, factor):
    """The proof behind `Inverted.at`: nothing in the inversion depends on the absolute level."""
    power = mel_power(clips["noisy band"][: 2 * SR])
    sounds = [
        inversion.griffin_lim(inversion.mel_to_magnitude(p), mel=p, n_samples=2 * SR, n_iter=8)
        for p in (power, np.float32(factor) * power)
    ]
    difference = np.linalg.norm(sounds[1] - factor**0.5 * sounds[0]) / np.linalg.norm(sounds[1])
    assert difference <= 1e-4


def test_the_published_scale_is_clearly_worse_than_the_right_one(clips):
    for name in ("chords", "band", "noisy band"):
        y = clips[name]
        wanted = picture_of(y)
        scores = {}
        for scale in inversion.SCALES:
            # the published sound has no level of its own, so both are compared at the original's
            sound = inversion.match_loudness(inversion.reconstruct(wanted, scale=scale), y)
            found = picture_of(sound)
            scores[scale] = (
                structural_similarity(wanted, found, data_range=1.0),
                peak_signal_noise_ratio(wanted, found, data_range=1.0),
                np.corrcoef(wanted.ravel(), found.ravel())[0, 1],
            )
        right, published = scores["power"], scores["published"]
        assert right[0] > published[0] + 0.15, (name, scores)
        assert right[1] > published[1] + 5, (name, scores)
        assert right[2] > published[2] + 0.05, (name, scores)


def test_the_published_scale_hands_over_decibels_and_silences_the_negative_ones():
    quiet = np.full((1, 44, 128), 0.5, np.float32)  # -4 dB at ref_db 46
    assert not inversion.reconstruct(quiet, scale="published").any()
    louder = inversion.reconstruct(quiet, scale="published", ref_db=60.0, n_iter=4)  # 10 dB, used as a power of 10
    same = inversion.reconstruct(np.full((1, 44, 128), 10.0, np.float32), audio="mel", ref_db=0.0, n_iter=4)
    assert np.allclose(louder, same, rtol=0, atol=1e-3 * same.std())


# ------------------------------------------------------------------------------ against librosa


class _SameAngles(np.random.Generator):
    """A generator that hands librosa the initial phases that `griffin_lim` draws."""

    def random(self, size=None):
        return np.random.default_rng(3).random(size, dtype=np.float32)


def test_griffin_lim_is_librosas(clips):
    y = clips["band"][: 2 * SR]
    magnitude = np.abs(librosa.stft(y))
    theirs = librosa.griffinlim(
        magnitude, n_iter=6, length=len(y), random_state=_SameAngles(np.random.PCG64(0)), hop_length=512
    )
    ours = inversion.griffin_lim(magnitude.T, n_samples=len(y), n_iter=6, seed=3)
    assert ours.dtype == np.float32
    assert np.linalg.norm(ours - theirs) <= 1e-3 * np.linalg.norm(theirs)


def test_mel_to_magnitude_leaves_a_smaller_residual_than_librosa(clips):
    power = mel_power(clips["band"][:SR])
    basis = features.mel_basis()
    residuals = [
        np.linalg.norm(basis @ magnitude**2 - power.T) / np.linalg.norm(power)
        for magnitude in (
            inversion.mel_to_magnitude(power, n_steps=20).T,
            librosa.feature.inverse.mel_to_stft(power.T, sr=SR),
        )
    ]
    assert residuals[0] <= residuals[1]
    assert (inversion.mel_to_magnitude(power) >= 0).all()


@pytest.mark.parametrize("name", ["chords", "drums", "noise"])
def test_the_mel_error_is_no_larger_than_librosas(clips, name):
    y = clips[name][: 3 * SR]
    picture = picture_of(y)
    target = features.from_db(features.denormalise(picture)).astype(np.float32)
    np.random.seed(0)  # noqa: NPY002 (mel_to_audio takes no seed)
    theirs = mel_errors(librosa.feature.inverse.mel_to_audio(target.T, sr=SR, length=len(y)), target)
    ours = mel_errors(inversion.reconstruct(picture), target)
    assert ours[0] <= theirs[0]
    assert ours[1] <= theirs[1]


@pytest.mark.parametrize("kind", ["mel", "mel-db", "linear", "linear-db"])  # mel-80: see test_layouts.py
def test_every_kind_gives_the_sound_back(clips, kind):
    y = 0.02 * clips["noisy band"][: 3 * SR]  # soft enough for 46 dB to hold the linear bins, too
    power = mel_power(y)
    assert mel_errors(inversion.reconstruct(picture_of(y, kind=kind), audio=kind), power)[0] < 0.2
    assert mel_errors(inversion.reconstruct(windows_of(y, kind=kind), audio=kind), power)[0] < 0.25


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_mel_to_magnitude_is_non_negative_and_scales_with_the_root(n_frames, seed, factor):
    power = np.random.default_rng(seed).exponential(size=(n_frames, 128)).astype(np.float32)
    magnitude = inversion.mel_to_magnitude(power)
    assert magnitude.shape == (n_frames, 1025)
    assert (magnitude >= 0).all()
    assert np.allclose(inversion.mel_to_magnitude(np.float32(factor) * power), factor**0.5 * magnitude, rtol=1e-3)


def test_silence_stays_silence():
    assert not inversion.reconstruct(np.zeros((2, 44, 128), np.float32), audio="mel").any()
    assert not inversion.reconstruct(np.full((2, 44, 1025), -1.0), audio="linear").any()


def test_same_seed_same_bytes_and_another_seed_another_sound(clips):
    pictures = windows_of(clips["band"][: 2 * SR])
    first, again, other = (inversion.reconstruct(pictures, seed=seed, n_iter=4) for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)


def test_the_callers_pictures_are_not_changed(clips):
    for kind in features.AUDIO_KINDS:
        pictures = windows_of(clips["band"][: 2 * SR], kind=kind)
        before = pictures.copy()
        inversion.reconstruct(pictures, audio=kind, n_iter=2)
        assert np.array_equal(pictures, before)


# ---------------------------------------------------------------------------------- length and seams


@pytest.mark.parametrize("seconds", range(1, 21))
def test_windows_give_a_sound_as_long_as_the_original(seconds):
    sound = inversion.reconstruct(np.full((seconds, 44, 128), 0.5, np.float32), n_iter=1)
    assert sound.shape == (seconds * SR,)
    assert np.isfinite(sound).all()


def test_other_lengths():
    half = np.full((5, 44, 128), 0.5, np.float32)
    assert inversion.reconstruct(half, n_iter=1, n_samples=100_001).shape == (100_001,)
    longer = inversion.reconstruct(half, n_iter=1, n_samples=5 * SR + 300)
    assert longer.shape == (5 * SR + 300,)
    assert not longer[-300:].any()
    assert inversion.reconstruct(half[:, 0], n_iter=1).shape == (4 * 512,)  # five frames, not a whole second
    assert inversion.reconstruct(np.full((216, 128), 0.5), n_iter=1).shape == (5 * SR,)
    assert inversion.reconstruct(np.full((3, 32, 128), 0.5), n_iter=1, sr=16_000).shape == (3 * 16_000,)


def onsets(y, *, spacing):
    """Second of the energy's centre around each multiple of `spacing`, from the second one on."""
    half = round(spacing * SR / 2)
    centres = np.arange(round(spacing * SR), len(y) - half, round(spacing * SR))
    offsets = np.arange(-half, half)
    return np.array([np.sum(offsets * y[c + offsets] ** 2) / np.sum(y[c + offsets] ** 2) for c in centres]) / SR


@pytest.mark.parametrize("spacing", [0.25, 0.4])
def test_the_beat_stays_in_time(spacing):
    """Frames laid end to end would be 17 ms a second too late, 80 ms after five seconds."""
    y = np.zeros(6 * SR, np.float32)
    t = np.arange(round(0.02 * SR))
    tick = np.random.default_rng(0).standard_normal(len(t)) * np.hanning(len(t))
    for c in range(round(spacing * SR), len(y) - SR // 8, round(spacing * SR)):
        y[c - len(t) // 2 : c - len(t) // 2 + len(t)] += 0.2 * tick
    drift = onsets(inversion.reconstruct(windows_of(y)), spacing=spacing) - onsets(y, spacing=spacing)
    assert np.abs(drift).max() < 0.010
    assert np.abs(drift[-4:].mean() - drift[:4].mean()) < 0.003


def test_join_is_close_to_the_continuous_spectrogram(clips):
    for name, y in clips.items():
        whole = mel_power(y)
        windows = features.spectrogram(y.reshape(5, SR), kind="mel")
        joined = inversion.join(windows)
        assert joined.shape == whole.shape == (216, 128)
        error = np.linalg.norm(joined - whole) / np.linalg.norm(whole)
        end_to_end = np.linalg.norm(windows.reshape(-1, 128)[:216] - whole) / np.linalg.norm(whole)
        assert error < 0.16, name
        assert error < 0.2 * end_to_end, name


def test_join_leaves_one_window_as_it_is():
    power = np.random.default_rng(0).exponential(size=(1, 44, 128)).astype(np.float32)
    assert np.allclose(inversion.join(power), power[0], rtol=1e-5)


def test_join_takes_away_what_cutting_a_tone_sprays():
    t = np.arange(3 * SR) / SR
    y = (0.4 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    far = slice(60, 128)  # filters far above the tone
    windows = features.spectrogram(y.reshape(3, SR), kind="mel")
    cut = features.to_db(windows[0, -1, far] + windows[1, 0, far]).mean()
    seam = features.to_db(inversion.join(windows)[41:46, far]).max(0).mean()
    assert cut - seam > 20  # doubled decibels


def test_the_seams_are_not_louder_or_softer_than_the_rest(clips):
    y = clips["noise"]
    sound = inversion.reconstruct(windows_of(y))
    level = sound[: len(sound) // 735 * 735].reshape(-1, 735).std(1)  # 30 a second: rows at 0, 30, … begin at seams
    at_seams = np.concatenate([level[29:-1:30], level[30::30]])
    assert at_seams.max() <= level.max()
    assert at_seams.mean() == pytest.approx(level.mean(), rel=0.1)


def test_long_sounds_are_inverted_in_overlapping_parts(clips, monkeypatch):
    y = clips["noise"]
    monkeypatch.setattr(inversion, "MAX_FRAMES", 100)
    sound = inversion.reconstruct(windows_of(y), n_iter=16)
    assert sound.shape == y.shape
    level = sound.reshape(-1, 2205).std(1)
    assert level.min() > 0.6 * level.mean()
    assert level.max() < 1.5 * level.mean()
    assert mel_errors(sound, mel_power(y))[0] < 0.45  # whole: 0.17


# --------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        (np.zeros((2, 128, 44)), {}, "transposed"),
        (np.zeros((128, 216)), {}, "transposed"),
        (np.zeros((2, 40, 128)), {}, r"expected .*\(n_windows, 44, 128\).*found float64 \(2, 40, 128\)"),
        (np.zeros((2, 44, 1025)), {}, "1025 bins belong to audio='linear"),
        (np.zeros(44), {}, "expected spectrograms of shape"),
        (np.zeros((0, 44, 128)), {}, "expected spectrograms of shape"),
        (np.zeros((2, 44, 128), complex), {}, "complex128"),
        (np.zeros((2, 44, 128)), {"audio": "cqt"}, "known: mel, mel-db, linear, linear-db"),
        (np.zeros((2, 44, 128)), {"scale": "db"}, "known: power, published"),
        (np.zeros((2, 44, 128)), {"audio": "mel", "scale": "published"}, "holds power"),
        (np.zeros((2, 44, 128)), {"n_iter": 0}, "n_iter"),
        (np.zeros((2, 44, 128)), {"max_db": 0}, "max_db must be positive"),
        (np.zeros((2, 44, 128)), {"n_samples": 5 * SR}, "n_samples"),
        (np.zeros((2, 44, 128)), {"n_samples": 0}, "n_samples"),
    ],
)
def test_a_users_mistakes_are_named(pictures, options, message):
    with pytest.raises(ParameterError, match=message):
        inversion.reconstruct(pictures, **options)


def test_nan_is_refused():
    pictures = np.zeros((2, 44, 128))
    pictures[0, 3, 5] = np.nan
    with pytest.raises(DataError, match="1 values of 11264"):
        inversion.reconstruct(pictures)


def test_a_new_level_on_the_published_scale_needs_a_new_inversion():
    inverted = inversion.invert(np.full((1, 44, 128), 0.9), scale="published", n_iter=1)
    assert inverted.at(46.0).shape == (SR,)
    with pytest.raises(ParameterError, match="is not a gain"):
        inverted.at(52.0)


def test_griffin_lim_names_a_wrong_length():
    with pytest.raises(ParameterError, match=r"= \(44, 1025\); found \(40, 1025\)"):
        inversion.griffin_lim(np.ones((40, 1025)), n_samples=SR)


def test_join_names_a_wrong_shape():
    with pytest.raises(ParameterError, match=r"\(n_windows, 44, n_bins\)"):
        inversion.join(np.ones((3, 40, 128)))


# ------------------------------------------------------------------------------------- sound files


@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 2e-5), (".flac", 2e-5), (".ogg", 0.1), (".OGG", 0.1)])
def test_files_hold_the_sound(tmp_path, clips, suffix, tolerance):
    y = clips["chords"]
    written = inversion.write_sound(tmp_path / f"sound{suffix}", y, SR)
    assert written == inversion.Written(tmp_path / f"sound{suffix}", 0.0, 5.0)
    found, sr = soundfile.read(written.path)
    assert sr == SR
    assert found.shape == y.shape
    assert np.abs(found - y).max() < tolerance
    assert [path.name for path in tmp_path.iterdir()] == [f"sound{suffix}"]


def test_a_loud_sound_is_reduced_and_never_clipped(tmp_path):
    y = 3 * np.sin(2 * np.pi * 440 * np.arange(SR) / SR)
    written = inversion.write_sound(tmp_path / "loud.wav", y, SR)
    assert written.gain_db == pytest.approx(20 * np.log10(0.99 / 3), abs=1e-3)
    found, _ = soundfile.read(written.path)
    assert np.abs(found).max() == pytest.approx(0.99, abs=1e-3)
    assert np.allclose(found, y * 0.33, atol=1e-4)


def test_full_scale_itself_is_left_alone(tmp_path):
    assert inversion.write_sound(tmp_path / "full.flac", np.array([1.0, -1.0, 0.5]), SR).gain_db == 0


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "sound.wav"
    inversion.write_sound(path, np.zeros(100), SR)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        inversion.write_sound(path, np.ones(100), SR)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sound_with_nan_is_refused_and_leaves_no_file(tmp_path, bad):
    with pytest.raises(DataError, match="1 samples of 3"):
        inversion.write_sound(tmp_path / "x.wav", np.array([0.0, bad, 0.0]), SR)
    assert not list(tmp_path.iterdir())


def test_file_mistakes_are_named(tmp_path):
    with pytest.raises(ParameterError, match=re.escape(".wav, .flac, .ogg; found '.mp4'")):
        inversion.write_sound(tmp_path / "x.mp4", np.zeros(3), SR)
    with pytest.raises(ParameterError, match="no suffix"):
        inversion.check_sound_path("song21")
    with pytest.raises(ParameterError, match="does not exist"):
        inversion.write_sound(tmp_path / "none" / "x.wav", np.zeros(3), SR)
    with pytest.raises(ParameterError, match="Channels"):
        inversion.write_sound(tmp_path / "x.wav", np.zeros((2, 3)), SR)
    with pytest.raises(ParameterError, match="floating point"):
        inversion.write_sound(tmp_path / "x.wav", np.zeros(3, np.int16), SR)
    with pytest.raises(ParameterError, match="sr must be"):
        inversion.write_sound(tmp_path / "x.wav", np.zeros(3), 0)
    with pytest.raises(ParameterError, match="known: wav, flac, ogg"):
        inversion.encode_sound(np.zeros(3), SR, format="aiff")


def test_encode_sound_holds_the_sound_and_long_ones_are_written_in_blocks():
    y = (0.1 * np.random.default_rng(0).standard_normal(90 * SR)).astype(np.float32)
    for name in ("ogg", "flac"):
        found, sr = soundfile.read(io.BytesIO(inversion.encode_sound(y, SR, format=name)), dtype="float32")
        assert (len(found), sr) == (len(y), SR)
    assert np.abs(found - y).max() < 2e-5
    assert inversion.encode_sound(y, SR, format="wav") == inversion.encode_sound(y, SR, format="wav")


def test_match_loudness():
    rng = np.random.default_rng(0)
    y, reference = 0.01 * rng.standard_normal(5000), 0.1 * rng.standard_normal(4000)
    assert inversion.match_loudness(y, reference).std() == pytest.approx(reference.std(), rel=1e-2)
    limited = inversion.match_loudness(y, reference, max_gain_db=6.0)
    assert limited.std() / y.std() == pytest.approx(10 ** (6 / 20), rel=1e-4)
    assert np.abs(inversion.match_loudness(y, 100 * reference)).max() == pytest.approx(0.99)
    assert not inversion.match_loudness(np.zeros(5), reference).any()
    assert np.allclose(inversion.match_loudness(y, np.zeros(5)), y)
    with pytest.raises(ParameterError, match="max_gain_db"):
        inversion.match_loudness(y, reference, max_gain_db=-1)
