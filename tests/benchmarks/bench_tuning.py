"""A new ref_dB in the tuner beside a full inversion in the same run: sound, spectrogram, waveform, measures and page.

Run it as a script (prints a table) or with pytest (asserts the bars), on one thread::

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_tuning.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time

import numpy as np
import pytest

from eegviz import features, listening, tuning
from tests.benchmarks.bench_inversion import mel_power, music_clips

SECONDS = 5
BAR_MS, RATIO = 100, 3  # a new level with its page: at most so long, and so many times faster than a new inversion


def measure(rounds=5):
    """Median milliseconds of a full inversion, of a new level (power), of either with its page, and of a new published value."""
    picture = features.normalise(features.to_db(mel_power(music_clips(SECONDS)["band"])))
    tuner = tuning.Tuner(picture, title="band")
    show = lambda one: listening.tuner_view(one, title="band", live=True)  # noqa: E731
    show(tuner.at(46, n_iter=2))  # what is imported at first use
    times = {"full inversion": [], "full with page": [], "new level": [], "new level with page": [], "published": []}
    for i in range(rounds):
        fresh = tuning.Tuner(picture, title="band")
        marks = [time.perf_counter()]
        one = fresh.at(46)
        marks.append(time.perf_counter())
        show(one)
        marks.append(time.perf_counter())
        other = fresh.at(40.5 + i)
        marks.append(time.perf_counter())
        show(other)
        marks.append(time.perf_counter())
        fresh.at(50 + i / 2, scale="published")
        marks.append(time.perf_counter())
        full, page, level, drawn, published = np.diff(marks) * 1e3
        for name, value in zip(times, (full, full + page, level, level + drawn, published), strict=True):
            times[name].append(value)
    return {name: statistics.median(values) for name, values in times.items()}


@pytest.fixture(scope="module")
def times():
    found = measure()
    print("\n" + "\n".join(f"{name:>20}: {value:7.1f} ms" for name, value in found.items()))
    return found


def test_a_new_level_is_there_at_once(times):
    assert times["new level with page"] <= BAR_MS
    assert times["new level"] <= 20


def test_it_is_a_fraction_of_a_new_inversion(times):
    assert times["full with page"] >= RATIO * times["new level with page"]


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:>20}: {value:7.1f} ms")
