"""Five seconds of mel to sound, beside librosa in the same run: time, error of the mel, and a new ref_db.

Run it as a script (prints a table) or with pytest (asserts the bars), on one thread::

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_inversion.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

import numpy as np
import pytest

from eegviz import features, inversion

SR = features.SR
SECONDS = 5


def music_clips(seconds=SECONDS):
    """Synthetic music in full scale: chords, drums, both with a little noise, coloured noise."""
    from scipy.signal import lfilter

    n = round(seconds * SR)
    rng = np.random.default_rng(7)
    clips = {
        "chords": _chords(1, n, bpm=120),
        "drums": _drums(2, n, bpm=120),
        "band": _chords(3, n, bpm=100) + _drums(3, n, bpm=100) + 0.005 * rng.standard_normal(n),
        "noisy band": 0.6 * _chords(5, n, bpm=140) + _drums(6, n, bpm=140) + 0.02 * rng.standard_normal(n),
        "noise": lfilter([1], [1, -0.9], rng.standard_normal(n)),
    }
    return {name: (0.8 * y / np.abs(y).max()).astype(np.float32) for name, y in clips.items()}


def _chords(seed, n, *, bpm):
    rng = np.random.default_rng(seed)
    y = np.zeros(n)
    for start in range(0, n, round(60 / bpm * SR)):
        t = np.arange(min(n - start, round(0.9 * SR))) / SR
        root = 110 * 2 ** (rng.integers(12) / 12)
        for f in root * 2 ** (np.array([0, 4, 7, 12]) / 12):
            tone = sum(np.sin(2 * np.pi * f * k * t + rng.uniform(0, 6.28)) / k for k in range(1, 12))
            y[start : start + len(t)] += 0.12 * tone * np.exp(-2 * t) * np.minimum(1, t / 0.01)
    return y


def _drums(seed, n, *, bpm):
    rng = np.random.default_rng(seed)
    y = np.zeros(n)
    for beat, start in enumerate(range(0, n, round(30 / bpm * SR))):
        t = np.arange(min(n - start, SR // 5)) / SR
        hit = 0.12 * np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-80 * t)
        if beat % 4 == 0:
            hit += 0.8 * np.sin(2 * np.pi * (50 * t + 8 * (1 - np.exp(-30 * t)))) * np.exp(-12 * t)
        if beat % 4 == 2:
            hit += 0.4 * rng.standard_normal(len(t)) * np.exp(-25 * t)
        y[start : start + len(t)] += hit
    return y


def mel_power(y):
    """Mel power, (n_frames, 128)."""
    return features.spectrogram(y[None], kind="mel")[0]


def mel_errors(y, power):
    """Relative L2 error of the mel power of `y`, and the mean absolute error of its (doubled) decibels."""
    found = mel_power(y)
    l2 = np.linalg.norm(found - power) / np.linalg.norm(power)
    return float(l2), float(np.abs(features.to_db(found) - features.to_db(power)).mean())


def measure(rounds=3):
    """One row a clip: name, librosa seconds, our seconds, and L2 and dB errors of librosa, us, and us from windows.

    Times are the medians of `rounds` runs that alternate; the errors are means over the same runs' seeds.
    """
    import librosa

    rows = []
    for name, y in music_clips().items():
        picture = features.normalise(features.to_db(mel_power(y)))
        target = features.from_db(features.denormalise(picture)).astype(np.float32)
        seconds = y.reshape(SECONDS, SR)
        windows = features.normalise(features.to_db(features.spectrogram(seconds, kind="mel")))
        inversion.reconstruct(picture, n_iter=1)
        if not rows:
            librosa.feature.inverse.mel_to_audio(target[:9].T, sr=SR, n_iter=1)
        times, errors = [], []
        for seed in range(rounds):
            np.random.seed(seed)  # noqa: NPY002 (mel_to_audio takes no seed)
            start = time.perf_counter()
            theirs = librosa.feature.inverse.mel_to_audio(target.T, sr=SR, n_iter=32, length=len(y))
            middle = time.perf_counter()
            ours = inversion.reconstruct(picture, n_iter=32, seed=seed)
            times.append((middle - start, time.perf_counter() - middle))
            joined = inversion.reconstruct(windows, n_iter=32, seed=seed)
            errors.append([*mel_errors(theirs, target), *mel_errors(ours, target), *mel_errors(joined, target)])
        rows.append((name, *np.median(times, axis=0), *np.mean(errors, axis=0)))
    return rows


def measure_new_level():
    """Seconds that five seconds of sound need at a new ref_db."""
    inverted = inversion.invert(np.full((SECONDS, 44, 128), 0.5, np.float32), n_iter=1)
    times = []
    for ref_db in range(40, 61):
        start = time.perf_counter()
        inverted.at(ref_db)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def show(rows):
    head = "   L2: librosa  ours  windows   dB: librosa  ours  windows"
    print(f"\n{'clip':<11} {'librosa':>8} {'ours':>6} {'ratio':>6}{head}")
    for name, theirs, ours, *errors in rows:
        l2, db = errors[0::2], errors[1::2]
        print(
            f"{name:<11} {theirs:7.3f}s {ours:5.3f}s {theirs / ours:5.1f}x       "
            f"{l2[0]:.3f} {l2[1]:.3f}  {l2[2]:.3f}           {db[0]:.2f}  {db[1]:.2f}  {db[2]:.2f}"
        )


@pytest.mark.slow
def test_faster_than_librosa_at_no_larger_mel_error():
    rows = measure()
    show(rows)
    for name, theirs, ours, l2_theirs, db_theirs, l2_ours, db_ours, *_ in rows:
        assert theirs / ours >= 5, name
        assert l2_ours <= l2_theirs, name
        assert db_ours <= db_theirs, name


@pytest.mark.slow
def test_a_new_level_takes_at_most_20_ms():
    seconds = measure_new_level()
    print(f"\na new ref_db: {1e3 * seconds:.3f} ms")
    assert seconds <= 0.020


if __name__ == "__main__":
    show(measure())
    print(f"a new ref_db: {1e3 * measure_new_level():.3f} ms")
