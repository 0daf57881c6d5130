"""Speed and memory of EEG features, as ratios in one run: ``python -m pytest tests/benchmarks/bench_features.py -s``."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.signal

from eegviz import features

N = 1000  # windows of 125 channels × 125 samples


def best(function, n=7):
    times = []
    for _ in range(n):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="module")
def eeg():
    return np.random.default_rng(0).standard_normal((N, 125, 125)).astype(np.float32) * 10


def test_periodogram_costs_little_more_than_its_transform(eeg):
    bare = best(lambda: scipy.fft.rfft(eeg))
    ours = best(lambda: features.periodogram(eeg, sfreq=125))
    print(f"\nperiodogram {ours:.3f} s, bare rfft {bare:.3f} s: {ours / bare:.2f} × (bar 2.5)")
    assert ours <= 2.5 * bare


def test_welch_costs_little_more_than_its_transforms(eeg):
    segments = np.stack([eeg[..., s : s + 62] for s in (0, 31, 62)])
    bare = best(lambda: scipy.fft.rfft(segments, 125))
    ours = best(lambda: features.welch(eeg, sfreq=125))
    print(f"\nWelch {ours:.3f} s, bare rfft of its three segments {bare:.3f} s: {ours / bare:.2f} × (bar 2.5)")
    assert ours <= 2.5 * bare


def test_differential_entropy_costs_little_more_than_its_transform(eeg):
    bare = best(lambda: scipy.fft.rfft(eeg))
    ours = best(lambda: features.differential_entropy(eeg, sfreq=125))
    print(f"\ndifferential entropy {ours:.3f} s, bare rfft {bare:.3f} s: {ours / bare:.2f} × (bar 2.5)")
    assert ours <= 2.5 * bare


def test_periodogram_is_much_faster_than_a_loop_over_channels(eeg):
    few = eeg[:50]

    def papers_loop():
        return [[scipy.signal.periodogram(channel, fs=125)[1] for channel in window] for window in few]

    loop = best(papers_loop, 2) * len(eeg) / len(few)
    ours = best(lambda: features.periodogram(eeg, sfreq=125))
    print(f"\nloop over channels {loop:.2f} s, ours {ours:.3f} s: {loop / ours:.0f} × (bar 50)")
    assert loop >= 50 * ours


def test_memory_is_flat_in_the_number_of_listeners(tmp_path):
    peaks = {n: _peak(tmp_path, n) for n in (4, 16)}
    print(f"\npeak RSS of windowing: {peaks[4]:.0f} MB with 4 listeners, {peaks[16]:.0f} MB with 16")
    assert peaks[16] < 1.05 * peaks[4] + 5


def _peak(folder, n_subjects):
    """Peak RSS in MB of a process that makes the features of a store with so many listeners."""
    code = (
        "import sys\n"
        "from eegviz import store, windowing\n"
        "windowing.windows(store.open(sys.argv[1]))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )  # VmHWM and not ru_maxrss, which a child inherits from the process that started it
    path = folder / f"{n_subjects}"
    make = (
        "import sys\nfrom eegviz.datasets import demo\n"
        "demo.make_store(sys.argv[1], n_subjects=int(sys.argv[2]), n_pieces=1, n_hearings=1, duration=120.0)\n"
    )
    subprocess.run([sys.executable, "-c", make, path, str(n_subjects)], check=True)
    found = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    return float(found.stdout) / 1024


if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__)), "-s", "-q"]))
