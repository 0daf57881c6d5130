"""Speed of the per-mel-bin scores against the scikit-image loop: at least 50 times, difference at most 1e-6.

Both run in this process, on the same float32 pictures; the loop on a few windows, extrapolated per window.
Run it as a script (prints the ratio) or with pytest (asserts the bars too), on one thread::

    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_metrics.py -s    # add -m slow for more rounds
"""

import time

import numpy as np
import pytest

from eegviz import metrics

RATIO, DIFFERENCE = 50, 1e-6  # DESIGN: the numbers it must hold
N_WINDOWS, N_LOOP = 1200, 8


def pictures(n):
    """Music-like pictures in [0, 1]: smooth in time, floors and silence among them, 44 frames × 128 mels."""
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 0.08, (n, 44, 128)).cumsum(axis=1) + rng.normal(0.2, 0.3, (n, 1, 128))
    target = np.clip(steps, 0, 1).astype(np.float32)
    prediction = np.clip(0.7 * target + 0.1 + rng.normal(0, 0.05, target.shape), 0, 1).astype(np.float32)
    return prediction, target


def loop(prediction, target):
    """The scikit-image loop over windows and bins: SSI and PSNR."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    ssi, psnr = (np.empty((len(target), target.shape[2])) for _ in range(2))
    for row in range(len(target)):
        for b in range(target.shape[2]):
            p, t = prediction[row, :, b], target[row, :, b]
            ssi[row, b] = structural_similarity(t, p, win_size=metrics.SSI_WINDOW, data_range=1)
            psnr[row, b] = peak_signal_noise_ratio(t, p, data_range=1)
    return ssi, psnr


def vectorised(prediction, target):
    return metrics.ssi_per_bin(prediction, target), metrics.psnr_per_bin(prediction, target)


def seconds(function, *arrays):
    start = time.perf_counter()
    result = function(*arrays)
    return (time.perf_counter() - start) / len(arrays[0]), result


def measure(rounds=3):
    """Seconds a window of both, best of several interleaved rounds, and the largest differences."""
    prediction, target = pictures(N_WINDOWS)
    sample = prediction[:N_LOOP], target[:N_LOOP]
    vectorised(*sample), loop(*(part[:1] for part in sample))  # imports and caches
    slow, fast = [], []
    for _ in range(rounds):
        took, expected = seconds(loop, *sample)
        slow.append(took)
        took, found = seconds(vectorised, prediction, target)
        fast.append(took)
    double = loop(*(part.astype(np.float64) for part in sample))
    differences = {
        name: max(np.abs(a[:N_LOOP] - b).max() for a, b in zip(found, reference, strict=True))
        for name, reference in (("float32", expected), ("float64", double))
    }
    return min(slow), min(fast), differences


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_per_bin_scores_beat_the_scikit_image_loop(rounds):
    slow, fast, differences = measure(rounds)
    report(slow, fast, differences)
    assert differences["float64"] <= DIFFERENCE
    assert slow / fast >= RATIO


def report(slow, fast, differences):
    print(
        f"\nSSI and PSNR of 128 bins: scikit-image loop {1e3 * slow:.2f} ms a window, vectorised {1e3 * fast:.3f} ms "
        f"({13_500 * fast:.1f} s for 13 500 windows): {slow / fast:.0f} times faster (bar {RATIO}); largest difference "
        f"{differences['float64']:.1e} (loop in float64), {differences['float32']:.1e} (in float32)"
    )


if __name__ == "__main__":
    report(*measure())
