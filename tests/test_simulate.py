"""The simulator's truth: null, latencies, tonotopy, drift, and what each dial does."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import music, simulate
from eegviz.errors import ParameterError
from eegviz.simulate import Dials

SR, SFREQ = 22050, 125.0
QUIET = {"gamma": 0, "beta": 0, "alpha": 0, "background": 0, "sensor": 0}  # the evoked response alone


@pytest.fixture(scope="module")
def person():
    return simulate.listeners(1)[0]


@pytest.fixture(scope="module")
def sounds():
    return {name: music.piece(name, duration=20.0) for name in ("song24", "song30")}


@pytest.fixture(scope="module")
def drives(sounds):
    return {name: simulate.drive(y, SR) for name, y in sounds.items()}


def impulse(band, at=1.0, seconds=3.0):
    """A drive with one unit onset in one band."""
    n = int(seconds * SFREQ)
    onset = np.zeros((6, n))
    onset[band, int(at * SFREQ)] = 1
    return simulate.Drive(SFREQ, onset, np.zeros((6, n)), np.zeros(n), np.zeros(n))


# ------------------------------------------------------------------ the null


def test_coupling_zero_does_not_depend_on_the_music(drives, person):
    first, second = (
        simulate.respond(drives[name], person, stimulus="x", dials=Dials(coupling=0, strength="strong"))
        for name in drives
    )
    np.testing.assert_array_equal(first, second)
    assert first.std() > 0


def test_coupling_one_does(drives, person):
    first, second = (simulate.respond(drives[name], person, stimulus="x") for name in drives)
    assert not np.allclose(first, second, atol=1e-7)


def test_a_dial_leaves_the_noise_of_the_others(drives, person):
    sound = drives["song24"]
    base = simulate.respond(sound, person, dials=Dials(coupling=0))
    louder = simulate.respond(sound, person, dials=Dials(coupling=0, sensor=2))
    sensor = simulate.respond(sound, person, dials=Dials(coupling=0, **QUIET | {"sensor": 1}))
    np.testing.assert_allclose(louder - base, sensor, atol=3e-11)


def test_deterministic_and_every_key_gives_other_noise(drives, person):
    sound, other = drives["song24"], simulate.listeners(2)[1]
    one = simulate.respond(sound, person, stimulus="a")
    np.testing.assert_array_equal(one, simulate.respond(sound, person, stimulus="a"))
    variants = [
        simulate.respond(sound, person, stimulus="a", hearing=2),
        simulate.respond(sound, person, stimulus="b"),
        simulate.respond(sound, person, stimulus="a", seed=1),
        simulate.respond(sound, other, stimulus="a"),
    ]
    for variant in variants:
        r = np.corrcoef(one[100], variant[100])[0, 1]
        assert abs(r) < 0.35
    sessions = [simulate.respond(sound, person, stimulus="a", session=name) for name in "xy"]
    np.testing.assert_array_equal(*sessions)


# ------------------------------------------------------------------ evoked responses


@pytest.mark.parametrize("number", range(6))
def test_impulse_response_peaks_at_the_stated_latencies(number):
    listener = simulate.listeners(6)[number]
    eeg = simulate.respond(impulse(5), listener, dials=Dials(**QUIET))  # the highest band has no delay
    vertex = eeg[simulate.NMED_CHANNELS.index("Cz"), 125:] * 1e6
    p50, n100, p190 = (int(np.rint(latency * SFREQ)) for latency in listener.latencies)
    assert abs(vertex[: n100 - 2].argmax() - p50) <= 1
    assert abs(vertex.argmin() - n100) <= 1
    assert abs(n100 + vertex[n100:].argmax() - p190) <= 1
    assert np.all(eeg[:, :125] == 0)  # nothing before the sound


def test_response_function_is_the_sum_of_its_three_gaussians(person):
    times, weights = simulate.response(person, sfreq=1000)
    for latency, gain, amplitude in zip(person.latencies, person.gains, simulate.AMPLITUDES, strict=True):
        at = int(round(latency * 1000))
        assert weights[5, at] / person.band_gains[5] == pytest.approx(amplitude * gain, abs=0.1)  # neighbours overlap
    assert times[weights[0].argmin()] - times[weights[5].argmin()] == pytest.approx(simulate.BAND_DELAY, abs=0.0015)


def test_evoked_is_linear_in_coupling_and_in_the_dial(person):
    one = simulate.respond(impulse(2), person, dials=Dials(**QUIET))
    np.testing.assert_allclose(
        simulate.respond(impulse(2), person, dials=Dials(coupling=2, **QUIET)), 2 * one, rtol=1e-5
    )
    np.testing.assert_allclose(simulate.respond(impulse(2), person, dials=Dials(evoked=6, **QUIET)), 2 * one, rtol=1e-5)


def test_tonotopy_low_and_high_bands_have_other_places_and_patterns(person):
    head = simulate.head()
    for side, sign in ((slice(0, 6), -1), (slice(6, 12), 1)):
        x = sign * head.positions[side, 0]
        assert np.all(x > 0)
        assert np.all(np.diff(x) < 0)  # from lateral (low) to medial (high)
        r = np.corrcoef(head.auditory[:, side].T)
        assert r[0, 5] < r[0, 3] < r[0, 1]
        assert r[0, 5] < 0.8
    low, high = (simulate.respond(impulse(band), person, dials=Dials(**QUIET)) for band in (0, 5))
    pattern = [eeg[:, np.abs(eeg).sum(axis=0).argmax()] for eeg in (low, high)]
    assert abs(np.corrcoef(pattern)[0, 1]) < 0.8


def test_n100_is_negative_over_the_front_and_inverts_at_the_mastoids(person):
    eeg = simulate.respond(impulse(3), person, dials=Dials(**QUIET))
    pattern = eeg[:, 125 + int(np.rint((person.latencies[1] + 0.005) * SFREQ))]
    names = simulate.NMED_CHANNELS
    frontocentral, mastoid = ([names.index(name) for name in group] for group in (("E6", "E11", "Cz"), ("E57", "E100")))
    assert np.all(pattern[frontocentral] < 0)
    assert np.all(pattern[mastoid] > 0)


# ------------------------------------------------------------------ the head


def test_head_is_average_referenced_mirrored_and_scaled():
    head = simulate.head()
    for patterns in (head.auditory, head.background, head.occipital):
        np.testing.assert_allclose(patterns.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(np.abs(patterns).max(axis=0), 1, rtol=1e-6)
    assert head.auditory.shape == (125, 12)
    np.testing.assert_allclose(head.positions[:6] * [-1, 1, 1], head.positions[6:], atol=2e-3)
    left, right = (simulate.NMED_CHANNELS.index(name) for name in ("E57", "E100"))
    np.testing.assert_allclose(head.auditory[left, :6], head.auditory[right, 6:], atol=0.05)


def test_alpha_is_occipital():
    patterns = np.sqrt(np.square(simulate.head().occipital).sum(axis=1))
    back, front = (simulate.NMED_CHANNELS.index(name) for name in ("E75", "E15"))
    assert patterns[back] > 2 * patterns[front]


def test_head_with_another_montage():
    head = simulate.head(("Fz", "Cz", "Pz", "T7", "T8", "Oz"), montage="biosemi64")
    assert head.auditory.shape == (6, 12)
    with pytest.raises(ParameterError, match=r"unknown: \['E999'\]"):
        simulate.head(("Cz", "E999"))


# ------------------------------------------------------------------ what drives it


def test_drive_of_a_tone_is_in_its_band():
    t = np.arange(4 * SR) / SR
    edges = np.geomspace(60, 10000, 7)
    for band in range(1, 6):
        tone = np.sin(2 * np.pi * np.sqrt(edges[band] * edges[band + 1]) * t) * ((t > 1) & (t < 2))
        sound = simulate.drive(tone, SR)
        assert sound.level.shape == (6, 500)
        inside = sound.onset[:, 110:150].sum(axis=1)
        assert inside.argmax() == band
        assert sound.loudness[140:240].mean() > 1
        assert abs(int(sound.onset[band].argmax()) - 125) <= 4  # within the 46 ms window


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 1.0), st.integers(0, 50))
def test_drive_does_not_depend_on_the_volume(gain, seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=2 * SR) * np.repeat(rng.uniform(0.1, 1, 8), SR // 4 + 1)[: 2 * SR] * 0.2
    loud, soft = simulate.drive(y, SR), simulate.drive(gain * y, SR)
    np.testing.assert_allclose(soft.level, loud.level, atol=2e-3)
    np.testing.assert_allclose(soft.onset, loud.onset, atol=2e-3)


def test_a_constant_sound_and_silence_drive_nothing():
    for y in (np.zeros(2 * SR), np.sin(2 * np.pi * 441 * np.arange(2 * SR) / SR)):
        sound = simulate.drive(y, SR)
        middle = slice(20, 220)
        assert np.all(np.isfinite(sound.level))
        assert np.abs(sound.onset[:, middle]).max() < 0.5
    assert np.abs(simulate.drive(np.zeros(SR), SR).level).max() == 0


# ------------------------------------------------------------------ induced power, magnitude, drift


def power(eeg, low, high):
    """Power of every second in a band, (n_seconds, n_channels)."""
    seconds = eeg[:, : eeg.shape[1] // 125 * 125].reshape(len(eeg), -1, 125)
    spectrum = np.abs(np.fft.rfft(seconds - seconds.mean(axis=-1, keepdims=True))) ** 2
    return spectrum[..., low : high + 1].mean(axis=-1).T


def mean_correlation(eeg, feature, low, high, channels):
    x = np.log(power(eeg, low, high)[:, channels]).mean(axis=1)
    return np.corrcoef(x, feature.reshape(-1, 125).mean(axis=1))[0, 1]


@pytest.fixture(scope="module")
def swell():
    """Noise that is loud and soft by turns of two seconds."""
    rng = np.random.default_rng(0)
    return simulate.drive(0.1 * rng.normal(size=40 * SR) * np.repeat(np.tile([1.0, 0.05], 10), 2 * SR), SR)


def test_gamma_rises_and_alpha_falls_with_loudness(swell, person):
    eeg = simulate.respond(swell, person, dials=Dials(strength="strong", evoked=0))
    ears = [simulate.NMED_CHANNELS.index(name) for name in ("E57", "E100", "E45", "E108")]
    back = [simulate.NMED_CHANNELS.index(name) for name in ("E75", "E70", "E83")]
    assert mean_correlation(eeg, swell.loudness, 31, 49, ears) > 0.8
    assert mean_correlation(eeg, swell.loudness, 9, 11, back) < -0.15


def test_rising_coupling_raises_the_correlation_with_loudness(swell):
    """Evoked and induced together, mean over listeners: strictly rising from about 0."""
    ears = [simulate.NMED_CHANNELS.index(name) for name in ("E57", "E100", "E45", "E108")]
    people = simulate.listeners(6)
    scores = [
        np.mean([
            mean_correlation(simulate.respond(swell, one, dials=Dials(coupling=c)), swell.loudness, 31, 49, ears)
            for one in people
        ])
        for c in (0.0, 0.3, 0.6, 1.0)
    ]  # fmt: skip
    assert abs(scores[0]) < 0.15
    assert np.all(np.diff(scores) > 0)
    assert scores[-1] > 0.6


@pytest.mark.parametrize("strength", ["base", "strong"])
def test_magnitudes_are_those_of_eeg(drives, strength):
    for listener in simulate.listeners(3):
        eeg = simulate.respond(drives["song30"], listener, dials=Dials(strength=strength))
        assert eeg.dtype == np.float32
        assert eeg.shape == (125, 2500)
        assert np.all(np.isfinite(eeg))
        deviation = eeg.std(axis=1) * 1e6
        assert deviation.min() > 2
        assert 5 < np.median(deviation) < 40
        assert deviation.max() < 100


def test_background_falls_with_frequency(drives, person):
    eeg = simulate.respond(drives["song24"], person, dials=Dials(coupling=0, gamma=0, beta=0, alpha=0, sensor=0))
    bands = [power(eeg, low, high).mean() for low, high in ((1, 3), (5, 7), (14, 18), (35, 45))]
    slope = np.polyfit(np.log([2, 6, 16, 40]), np.log(bands), 1)[0]
    assert slope == pytest.approx(-1.2, abs=0.15)
    assert eeg.std(axis=1).max() * 1e6 == pytest.approx(8, rel=0.25)


@pytest.mark.parametrize(("dial", "size"), [("drift", 0.1), ("drift", 0.02), ("session_drift", 0.1)])
def test_drift_is_a_slow_gain_of_the_stated_size(drives, person, dial, size):
    quiet = Dials(coupling=0)
    before = simulate.respond(drives["song24"], person, dials=quiet).astype(float)
    after = simulate.respond(drives["song24"], person, dials=dataclasses.replace(quiet, **{dial: size})).astype(float)
    used = np.abs(before) > 1e-6
    gain = np.where(used, after / np.where(used, before, 1), np.nan)
    assert np.sqrt(np.nanmean(np.log(gain) ** 2)) == pytest.approx(size, rel=0.25)
    steps = np.nanmax(np.abs(np.diff(np.log(gain), axis=1)))
    assert steps < 0.01 * size * 10
    assert np.abs(np.corrcoef(np.nanmean(gain, axis=1), np.arange(125))[0, 1]) < 0.3


def test_drift_belongs_to_the_recording_and_session_drift_to_the_session(drives, person):
    def gain(dial, **keys):
        still = simulate.respond(drives["song24"], person, dials=Dials(coupling=0), **keys)
        moved = simulate.respond(drives["song24"], person, dials=Dials(coupling=0, **{dial: 0.1}), **keys)
        return np.log(np.sqrt(np.mean(moved.astype(float) ** 2, 1)) / np.sqrt(np.mean(still.astype(float) ** 2, 1)))

    def alike(a, b):
        return np.corrcoef(a, b)[0, 1]

    assert abs(alike(gain("drift", hearing=1), gain("drift", hearing=2))) < 0.35
    same = [gain("session_drift", hearing=hearing, session="monday") for hearing in (1, 2)]
    assert alike(*same) > 0.95
    assert abs(alike(same[0], gain("session_drift", hearing=1, session="tuesday"))) < 0.35


# ------------------------------------------------------------------ any sound, listeners, failures


def test_simulate_takes_any_sound_and_a_lead_in(person):
    y = 0.1 * np.random.default_rng(0).normal(size=3 * 44100)
    eeg = simulate.simulate(y, 44100, listener=person, lead_in=2.0, dials=Dials(**QUIET))
    assert eeg.shape == (125, 625)
    assert np.all(eeg[:, :250] == 0)
    assert np.any(eeg[:, 250:] != 0)
    for sfreq in (50.0, 64.0, 500.0):  # gamma lies above half of the first
        other = simulate.simulate(y, 44100, listener=person, sfreq=sfreq)
        assert other.shape == (125, int(3 * sfreq))
        assert np.all(np.isfinite(other))
    assert np.all(np.isfinite(simulate.simulate(y[:44100], 44100, listener=person)))  # one second


def test_listeners_differ_and_are_stable():
    few, many = simulate.listeners(3), simulate.listeners(30)
    assert few == many[:3]
    assert len({one.latencies for one in many}) == 30
    assert simulate.listeners(3, seed=1) != few
    for one in many:
        assert one.latencies[0] < one.latencies[1] < one.latencies[2]


def test_strengths_fill_the_dials():
    assert (Dials().gamma, Dials().beta, Dials().depth) == (2, 2, 6)
    strong = Dials(strength="strong")
    assert (strong.gamma, strong.beta, strong.depth) == (6, 4, 8)
    assert Dials(strength="strong", gamma=1).gamma == 1
    assert "not physiological" in " ".join(Dials.__doc__.replace("*", "").split())
    assert "imulated" in simulate.__doc__


def test_failures(person):
    with pytest.raises(ParameterError, match="unknown strength 'huge'; expected one of base, strong"):
        Dials(strength="huge")
    with pytest.raises(ParameterError, match="coupling must be a finite number ≥ 0"):
        Dials(coupling=-1)
    with pytest.raises(ParameterError, match="drift must be a finite number"):
        Dials(drift=np.nan)
    with pytest.raises(ParameterError, match="n must be at least 1"):
        simulate.listeners(0)
    with pytest.raises(ParameterError, match="at least one second of mono sound"):
        simulate.drive(np.zeros((2, SR)), SR)
    with pytest.raises(ParameterError, match="NaN or infinite"):
        simulate.drive(np.full(SR, np.nan), SR)
    with pytest.raises(ParameterError, match="lead_in must be at least 0"):
        simulate.respond(impulse(0), person, lead_in=-1)


def test_importing_loads_nothing_heavy():
    import subprocess
    import sys

    heavy = "{'mne', 'librosa', 'torch', 'sklearn'}"
    code = f"import sys, eegviz.simulate, eegviz.music; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
