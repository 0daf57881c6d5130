"""The demonstration's music: loudness, tempo, key, variety, and no clicks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import _synth, music
from eegviz.errors import ParameterError

SR = 22050
IDS = [one.id for one in music.PIECES]
NMED_T = [55.97, 69.44, 74.26, 82.42, 91.46, 96.15, 108.70, 120.00, 128.21, 150.00]


@pytest.fixture(scope="module")
def sounds():
    return {one.id: music.piece(one) for one in music.PIECES}


@pytest.fixture(scope="module")
def pictures(sounds):
    """Normalised mel pictures of every second, (40, 44, 128) a piece: clip((dB - 46 + 100) / 100, 0, 1)."""
    import librosa

    result = {}
    for name, y in sounds.items():
        power = librosa.feature.melspectrogram(
            y=y.reshape(40, SR), sr=SR, n_fft=2048, hop_length=512, n_mels=128
        ).transpose(0, 2, 1)
        result[name] = np.clip((20 * np.log10(np.maximum(1e-5, power)) + 54) / 100, 0, 1)
    return result


def test_tempi_ids_and_titles():
    assert [one.bpm for one in music.PIECES] == NMED_T
    assert [f"song{n}" for n in range(21, 31)] == IDS
    assert len({one.title for one in music.PIECES}) == len({one.key for one in music.PIECES}) == 10
    assert len({(one.bass, one.pad, one.arpeggio, one.lead) for one in music.PIECES}) == 10


@pytest.mark.parametrize("name", IDS)
def test_length_level_and_peak(sounds, name):
    y = sounds[name]
    assert y.dtype == np.float32
    assert y.shape == (40 * SR,)
    assert np.all(np.isfinite(y))
    assert np.abs(y).max() < 1
    assert abs(y.mean()) < 1e-3


@pytest.mark.parametrize("name", IDS)
def test_integrated_loudness_agrees_with_pyloudnorm(sounds, name):
    import pyloudnorm

    reference = pyloudnorm.Meter(SR).integrated_loudness(sounds[name].astype(float))
    assert reference == pytest.approx(-16, abs=1)
    assert music.loudness(sounds[name], SR) == pytest.approx(reference, abs=0.2)


def test_k_weighting_is_the_standards_own_at_48_khz():
    # ITU-R BS.1770-4, tables 1 and 2
    expected = [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1, -1.99004745483398, 0.99007225036621],
    ]
    np.testing.assert_allclose(_synth.k_weighting(48000), expected, atol=1e-8)


def test_loudness_of_the_standards_sine_and_of_half_of_it():
    t = np.arange(2 * 48000) / 48000
    sine = np.sin(2 * np.pi * 997 * t)
    assert music.loudness(sine, 48000) == pytest.approx(-3.01, abs=0.01)
    assert music.loudness(0.5 * sine, 48000) == pytest.approx(-3.01 - 6.02, abs=0.01)


def test_loudness_gates_silence_out():
    sine = np.sin(2 * np.pi * 997 * np.arange(5 * SR) / SR)
    padded = np.concatenate([sine, np.zeros(20 * SR)])
    assert music.loudness(padded, SR) == pytest.approx(music.loudness(sine, SR), abs=0.2)
    assert music.loudness(np.zeros(SR), SR) == -np.inf


@settings(max_examples=20, deadline=None)
@given(st.floats(-30, -12), st.floats(1e-3, 3.0), st.integers(0, 100))
def test_normalise_reaches_any_loudness_below_the_ceiling(lufs, scale, seed):
    noise = scale * np.random.default_rng(seed).normal(size=SR)
    y = music.normalise_loudness(noise, SR, lufs=lufs)
    assert music.loudness(y, SR) == pytest.approx(lufs, abs=0.3)
    assert np.abs(y).max() <= music.CEILING * (1 + 1e-5)


def test_limiter_holds_the_ceiling_and_leaves_quiet_sound_alone():
    rng = np.random.default_rng(0)
    loud = rng.normal(size=SR).astype(np.float32)
    assert np.abs(_synth.limit(loud, sr=SR, ceiling=0.9)).max() <= 0.9 * (1 + 1e-5)
    quiet = (0.1 * np.tanh(loud)).astype(np.float32)
    np.testing.assert_array_equal(_synth.limit(quiet, sr=SR, ceiling=0.9), quiet)


def test_silence_stays_silence():
    np.testing.assert_array_equal(music.normalise_loudness(np.zeros(SR), SR), 0)


def test_same_seed_same_samples_and_another_seed_another_melody():
    first, again = (music.piece("song27", duration=12.0, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.corrcoef(first, music.piece("song27", duration=12.0, seed=4))[0, 1] < 0.9


def test_a_short_rendering_is_the_beginning_of_a_long_one():
    short, long = music.piece(26, duration=10.0), music.piece(26, duration=20.0)
    assert np.corrcoef(short[: 9 * SR], long[: 9 * SR])[0, 1] > 0.98


@pytest.mark.parametrize("name", IDS)
def test_onsets_repeat_at_the_tempo(sounds, name):
    """The onset envelope's autocorrelation is higher at a bar of four beats than 4.3 % beside it."""
    import librosa

    envelope = librosa.onset.onset_strength(y=sounds[name], sr=SR, hop_length=256)
    envelope = envelope - envelope.mean()
    beat = 60 / music.find(name).bpm * SR / 256
    lagged = np.correlate(envelope, envelope, "full")[envelope.size - 1 :]

    def at(beats):
        return np.interp(beats * beat, np.arange(lagged.size), lagged)

    bar = at(4.0)
    assert bar > 1.2 * max(at(4 * 1.043), at(4 * 0.957), 0)


@pytest.mark.parametrize("name", IDS)
def test_notes_belong_to_the_key(name):
    """Every note of bass, chords, arpeggio and lead is one of the scale's pitch classes."""
    one = music.find(name)
    render = music._Render(one, 12 * SR, SR, 0)
    render.mix()
    allowed = {(one.tonic + step) % 12 for step in one.scale}
    assert render.notes
    assert {midi % 12 for _, midi, _ in render.notes} <= allowed
    assert len({midi for _, midi, _ in render.notes}) >= 12


@pytest.mark.parametrize("voice", sorted(_synth.VOICES))
def test_a_note_has_the_pitch_it_is_asked_for(voice):
    """The spectrum of a note repeats at multiples of its frequency (of half of it for the bell's ratio of 3.5)."""
    freq = 220.0
    y = _synth.tone(_synth.VOICES[voice], freq, seconds=1.0, sr=SR)
    assert np.all(np.isfinite(y))
    assert y[0] == pytest.approx(0, abs=1e-6)
    assert abs(y[-1]) < 1e-3
    spectrum = np.abs(np.fft.rfft(y[:SR] * np.hanning(SR))) ** 2  # 1 Hz a bin
    step = freq / 2 if voice == "bell" else freq
    distance = np.abs(np.arange(spectrum.size) / step - np.rint(np.arange(spectrum.size) / step)) * step
    assert spectrum[distance <= 8].sum() > 0.97 * spectrum.sum()
    assert np.argmax(spectrum[100:400]) + 100 == pytest.approx(freq, abs=3)


def test_no_aliasing_from_high_notes():
    y = _synth.tone(_synth.VOICES["saw"], 3000.0, seconds=1.0, sr=SR)
    spectrum = np.abs(np.fft.rfft(y[:SR] * np.hanning(SR))) ** 2
    near = np.zeros(spectrum.size, bool)
    for k in (1, 2, 3):
        near[3000 * k - 80 : 3000 * k + 80] = True
    assert spectrum[~near].sum() < 1e-3 * spectrum.sum()


def jump(y):
    """Largest second difference against the 10 ms around it; a lone sample out of place gives up to 15."""
    surprise = np.abs(np.diff(y.astype(float), 2))
    around = np.sqrt(np.convolve(surprise**2, np.ones(221) / 221, "same"))
    return np.max(surprise / (around + 1e-3))


@pytest.mark.parametrize("name", IDS)
def test_no_clicks(sounds, name):
    """No sample jumps beyond what a sawtooth's own edge does, and both ends are silent."""
    y = sounds[name]
    assert jump(y) < 9.5
    assert np.abs(y[:20]).max() < 0.05
    assert abs(y[-1]) < 1e-3


def test_the_click_measure_sees_a_click(sounds):
    y = sounds["song21"].copy()
    y[5 * SR] += 0.5
    assert jump(y) > 9.5


def test_neighbouring_seconds_differ(pictures):
    for name, picture in pictures.items():
        flat = picture.reshape(len(picture), -1)
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        cosine = np.sum(unit[1:] * unit[:-1], axis=1)
        assert cosine.mean() < 0.98, name
        assert np.median(cosine) < 0.98, name


def test_one_second_tells_the_piece(pictures):
    """Blocked: every run of eight seconds is held out once; linear discriminant on mean mel dB."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x = np.concatenate([picture.mean(axis=1) for picture in pictures.values()])
    song, block = np.repeat(np.arange(10), 40), np.tile(np.arange(40) // 8, 10)
    scores = []
    for held_out in range(5):
        train = block != held_out
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x[train], song[train])
        scores.append(model.score(x[~train], song[~train]))
    assert np.mean(scores) >= 0.95
    assert min(scores) >= 0.9


def test_other_rates():
    for sr in (8000, 44100):
        y = music.piece(25, duration=3.0, sr=sr)
        assert y.shape == (3 * sr,)
        assert music.loudness(y, sr) == pytest.approx(-16, abs=0.3)


def test_failures_say_what_is_known():
    with pytest.raises(ParameterError, match="no piece 'song99'.*song21"):
        music.piece("song99")
    with pytest.raises(ParameterError, match="duration must lie between 1 and 3600"):
        music.piece(21, duration=0.5)
    with pytest.raises(ParameterError, match="sr must lie between"):
        music.piece(21, sr=100)
    with pytest.raises(ParameterError, match=r"at least 0\.4 s"):
        music.loudness(np.zeros(100), SR)


@pytest.mark.slow
def test_long_pieces_take_bounded_time():
    import time

    start = time.perf_counter()
    y = music.piece("song30", duration=270.0)
    assert time.perf_counter() - start < 10
    assert music.loudness(y, SR) == pytest.approx(-16, abs=0.2)
