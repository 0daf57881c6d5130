"""`eegviz evaluate` at demonstration size (6 listeners × 5 pieces × 2 hearings × 40 s): seconds and memory.

Each run is scored afresh by the command line, as a process of its own, on two threads. Run it as a script (prints the
figures) or with pytest (asserts the bars too)::

    python -m pytest tests/benchmarks/bench_evaluation.py -s
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from eegviz import recipes, store, training
from eegviz.datasets import demo

SECONDS, BYTES = 10.0, 2e9
RECIPES = {"ridge": ("ridge-repeat", {}), "cnn": ("main", {"epochs": 1})}


def evaluate(run):
    """Seconds and peak resident memory of ``eegviz evaluate RUN`` in a fresh process."""
    (run / "metrics.json").unlink(missing_ok=True)
    start, peak = time.perf_counter(), 0
    child = subprocess.Popen(
        [sys.executable, "-m", "eegviz.cli", "evaluate", run], stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    watched = psutil.Process(child.pid)
    while child.poll() is None:
        try:
            info = watched.memory_info()
        except psutil.Error:
            break
        peak = max(peak, getattr(info, "peak_wset", info.rss))
        time.sleep(0.01)
    assert child.wait() == 0
    return time.perf_counter() - start, peak


def measure(folder):
    """Seconds and bytes of every model, by its name: the lower of two evaluations that keep nothing of each other."""
    opened = store.open(demo.make_store(folder / "store", progress=False))
    found = {}
    for name, (recipe, settings) in RECIPES.items():
        options = recipes.recipe(opened, recipe)
        config = training.configure(opened, **options | {"settings": (options.get("settings") or {}) | settings})
        run = training.train(opened, config, out=folder / "runs", progress=False).path
        tries = []
        for _ in range(2):
            for kept in opened.path.rglob("ceiling-*.npy"):
                kept.unlink()
            tries.append(evaluate(run))
        found[name] = tuple(min(values) for values in zip(*tries, strict=True))
    return found


def figures(found):
    """One line a model."""
    return "\n".join(
        f"eegviz evaluate, {name:<6} {seconds:5.1f} s (bar {SECONDS:g})  {size / 1e6:5.0f} MB (bar {BYTES / 1e6:g})"
        for name, (seconds, size) in found.items()
    )


@pytest.mark.timeout(300)
def test_an_evaluation_takes_ten_seconds_and_two_gigabytes(tmp_path):
    found = measure(tmp_path)
    print("\n" + figures(found))
    assert max(seconds for seconds, _ in found.values()) <= SECONDS
    assert max(size for _, size in found.values()) < BYTES


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(figures(measure(Path(folder))))
