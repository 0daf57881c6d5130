"""The demonstration: simulate a data set, train the shared runs once, run the notebook series, write the pages.

Nothing is downloaded and nothing else is needed. The default takes minutes on two cores; ``full`` is the recipe at the
size of NMED-T, meant for a GPU, and says first what it will need.

Functions: `run`, `full_size_notice`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

from eegviz import report

# Two workers get about the same work, each training in a process of its own, whose memory is gone with it. Linear
# spectrograms are eight times larger than mel ones: both linear runs are in one share, so that they are never at once.
_SHARES = (
    ("main", "psd-linear", "raw-linear", "ridge-repeat", "ridge-interleaved", "ridge-random"),
    (
        "psd-mel", "raw-mel", "published", "unseen-song", "cnn-random", "cnn-blocked", "cnn-subject", "cnn-subject_song",
        "ridge-blocked", "ridge-subject", "ridge-song", "ridge-subject_song",
    ),
)  # fmt: skip
FULL = {"n_subjects": 20, "n_pieces": 10, "n_hearings": 2, "duration": 270.0}


def full_size_notice() -> str:
    """What the full-size recipe needs, from its own numbers."""
    n = FULL["n_subjects"] * FULL["n_pieces"] * FULL["n_hearings"]
    windows = int(n * FULL["duration"])
    store = n * 125 * FULL["duration"] * 125 * 4 / 1e9
    features = windows * (63 + 125) * 125 * 4 / 1e9
    steps = windows * 0.75 / 60
    networks = sum(not name.startswith("ridge") for share in _SHARES for name in share)
    pictures = (
        2 * windows * 44 * 1025 * 4 / 1e9
    )  # of both linear runs, predicted: test kept, training only while graded
    return (
        f"Full size: {n} simulated recordings of {FULL['duration']:.0f} s, {windows} windows. Disk: {store:.1f} GB for "
        f"the store, {features:.1f} GB for features, up to {pictures:.0f} GB for predictions. Memory: about 2 GB for each of "
        f"two trainings at a time. Time: {networks} networks of up to 100 epochs of {steps:.0f} steps; on two cores an epoch takes "
        f"{steps * 1.1 / 3600:.1f} hours (1.1 s a step), so use a GPU."
    )


def run(out, *, full=False, seed=0, jobs=2) -> Path:
    """Make the demonstration in the folder `out` and return its ``index.html``.

    What is there already (store, runs) is reused, so a stopped demonstration continues.

    Parameters
    ----------
    out : path
    full : bool
        NMED-T size.
    seed : int
        Of simulation and training.
    jobs : int
        Trainings and notebooks at a time.

    Returns
    -------
    Path

    Raises
    ------
    EegvizError
        A notebook failed; its page says where.
    """
    out = Path(out)
    store = out / "store"
    jobs = max(1, min(jobs, len(_SHARES)))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # read by glibc when a process starts: memory is what Binder lacks
    _say(1, "simulating music and EEG, making features", store)
    with _fresh_processes() as pool:
        pool.submit(_simulate, store, seed=seed, full=full).result()
    _say(2, f"training {sum(map(len, _SHARES))} models and the linear decoders beside them", out / "runs")
    shares = _SHARES if jobs > 1 else (sum(_SHARES, ()),)
    options = {"out": out / "runs", "fast": not full, "seed": seed, "threads": threads}
    with ExitStack() as stack:
        pools = [stack.enter_context(_fresh_processes()) for _ in shares]
        tasks = [
            pool.submit(_train, store, name, **options)
            for pool, share in zip(pools, shares, strict=True)
            for name in share
        ]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            for pool in pools:
                pool.shutdown(cancel_futures=True)
            raise
    _say(3, "running the notebooks", out)
    return report.report(None, [store], out=out, runs=out / "runs", fast=not full, seed=seed, jobs=jobs)


def _fresh_processes():
    """One worker at a time, replaced after every task; what all of them import is imported once where that is possible."""
    forkserver = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forkserver else "spawn")
    if forkserver:
        context.set_forkserver_preload(["eegviz.recipes"])
    return ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1)


def _say(step, what, where):
    print(f"{step}/3 {what} ({where})", file=sys.stderr, flush=True)


def _simulate(store, *, seed, full):
    from eegviz import store as stores
    from eegviz import windowing
    from eegviz.datasets import demo

    if not store.exists():
        demo.make_store(store, seed=seed, **(FULL if full else {}))
    # features once, here: also, numba compiles librosa's functions in this process and not in every later one
    for eeg, audio in (("periodogram", "mel-db"), ("raw", "linear-db")):
        windowing.windows(stores.open(store), eeg=eeg, audio=audio)


def _train(store, name, **options):
    from eegviz import recipes

    recipes.run_alone(store, name, **options)
