"""Speed of the permutation tests at demonstration size: 6 listeners × 5 songs × 40 test windows of 44 × 128, 1000 orders.

The whole retrieval test (retrieval, orders and null) takes at most 5 s. Run it as a script (prints all figures) or with
pytest (asserts the bars too), on one thread::

    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_nulls.py -s
"""

import time

import numpy as np
import pandas as pd
import pytest

from eegviz import identification, metrics, nulls, stats

WHOLE, SSI, OTHERS, LARGE = 5.0, 3.0, 1.0, 2.0  # seconds


def windows(n_listeners=6, n_songs=5, n_seconds=40):
    rows = [
        (f"S{i}_{k}", f"S{i}", f"song{k}", s)
        for i in range(n_listeners)
        for k in range(n_songs)
        for s in range(n_seconds)
    ]
    return pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "second"])


def timed(function, *args, **options):
    start = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - start, result


def measure():
    """Seconds of each test."""
    table, rng = windows(), np.random.default_rng(0)
    songs = rng.random((5, 40, 44, 128), dtype=np.float32)
    target = songs[table["stimulus"].str[-1].astype(int), table["second"]]
    prediction = (0.05 * target + 0.95 * rng.random(target.shape, dtype=np.float32)).astype(np.float32)
    listeners = table["subject"].to_numpy()
    labels = {"recordings": table["recording"], "songs": table["stimulus"], "seconds": table["second"]}

    def retrieval():
        found = identification.retrieval(prediction, target, **labels)
        null = nulls.retrieval(found, nulls.orders(table), listeners)
        return stats.permutation_p(nulls.listener_mean(found.percentile, listeners), null)

    took = {"retrieval, whole test": timed(retrieval)[0]}
    took["orders, 12 000 windows"] = timed(nulls.orders, windows(10, 10, 120))[0]
    orders = nulls.orders(table)
    for name in ("cosine", "correlation", "mse", "psnr", "ssi"):
        took[name] = timed(nulls.pairs, getattr(metrics, name), prediction, target, orders, listeners)[0]
    took["by bin, 128 bins"] = timed(nulls.by_bin, prediction, target, orders, listeners)[0]
    return took


@pytest.mark.filterwarnings("error")
def test_permutation_tests_are_fast():
    took = measure()
    print("\n" + "\n".join(f"{name:<24} {seconds:6.2f} s" for name, seconds in took.items()))
    assert took["retrieval, whole test"] <= WHOLE
    assert took["orders, 12 000 windows"] <= LARGE
    assert took["ssi"] <= SSI
    assert max(took[name] for name in ("cosine", "correlation", "mse", "psnr", "by bin, 128 bins")) <= OTHERS


if __name__ == "__main__":
    for name, seconds in measure().items():
        print(f"{name:<24} {seconds:6.2f} s")
