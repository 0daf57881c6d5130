"""The demonstration: simulate three data sets, train the shared runs once, run the notebook series, write the pages.

Nothing is downloaded and nothing else is needed. The default takes minutes on two cores; ``full`` is the recipe at the
sizes of the studies, meant for a GPU, and says first what it will need.

Functions: `run`, `full_size_notice`.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import as_completed
from pathlib import Path

from eegviz import chorales, executors, recipes, report
from eegviz.errors import ParameterError

SONGS, MELODIES, EMOTIONS = "store", "melodies", "emotions"  # folders of the stores
# What a worker trains in one go: the linear decoders first, which stand beside the others, then the longest. Linear
# spectrograms are eight times larger than mel ones: both are one task, so that they are never at once.
_TASKS = (
    (SONGS, tuple(f"ridge-{protocol}" for protocol in recipes.PROTOCOL_SPECS)),
    (MELODIES, tuple(f"{which}-ridge" for which in recipes.CONDITIONS)),
    *((SONGS, (name,)) for name in recipes.ECHOES),
    (SONGS, ("raw-linear", "psd-linear")),
    (EMOTIONS, ("tokens ours",)),
    (SONGS, ("main",)),
    *((MELODIES, (f"{which}-gan",)) for which in ("transfer", "heard", "imagined")),
    *((SONGS, (name,)) for name in (
        "unseen-gan", "raw-mel", "published", "psd-mel", "unseen-song", "cnn-blocked", "cnn-subject",
    )),
    *((SONGS, (name,)) for name in recipes.STUDY),
    (MELODIES, ("heard-generator",)),
    (SONGS, ("cnn-subject_song",)),
)  # fmt: skip
FAST = {
    SONGS: {"n_pieces": 3, "duration": 30.0}, MELODIES: {"n_repeats": 3},
    EMOTIONS: {"n_subjects": 6, "n_videos": 8, "duration": 32},
}  # fmt: skip
FULL = {
    SONGS: {"n_subjects": 20, "n_pieces": 10, "n_hearings": 2, "duration": 270.0},  # NMED-T's size
    MELODIES: {"n_subjects": 21, "n_repeats": 11},  # that of "The music of silence"
    EMOTIONS: {"n_subjects": 32, "n_videos": 40, "duration": 60},  # DEAP's
}


def full_size_notice() -> str:
    """What the full-size recipe needs, from its own numbers."""
    songs, melodies = FULL[SONGS], FULL[MELODIES]
    n = songs["n_subjects"] * songs["n_pieces"] * songs["n_hearings"]
    heard = melodies["n_subjects"] * len(chorales.CHORALES) * melodies["n_repeats"]
    windows, trials = int(n * songs["duration"]), 2 * int(heard * int(chorales.DURATION))
    rated = FULL[EMOTIONS]["n_subjects"] * FULL[EMOTIONS]["n_videos"] * FULL[EMOTIONS]["duration"]  # seconds
    store = (n * 125 * songs["duration"] * 125 + 2 * heard * 64 * chorales.DURATION * 64 + rated * 128 * 32) * 4 / 1e9
    # periodogram, Welch and raw; the linear decoders' seconds with their context; melodies again for both conditions at once
    features = (
        (windows * (63 + 63 + 125 + 175) * 125 + 2 * trials * (64 + 90) * 64 + rated * (128 + 141) * 32) * 4 / 1e9
    )
    networks = [name for _, names in _tasks(fast=False) for name in names if "ridge" not in name]
    gans = sum("gan" in name or "generator" in name or "diffusion" in name for name in networks)
    steps = windows * 0.75 / 60
    pictures = 2 * windows * 44 * 1025 * 4 / 1e9  # of both linear runs: test kept, training only while graded
    return (
        f"Full size: {n} simulated recordings of {songs['duration']:.0f} s, {windows} windows, and {2 * heard} trials of "
        f"melodies heard or imagined, {trials} windows, and {rated // 60} minutes of rated music. Disk: {store:.1f} GB for the stores, {features:.1f} GB for features, "
        f"up to {pictures:.0f} GB for predictions. Memory: about 2 GB for each of two trainings at a time. Time: "
        f"{len(networks) - gans} networks of up to 100 epochs of {steps:.0f} steps, {gans} of 200; on two cores an epoch takes "
        f"{steps * 1.1 / 3600:.1f} hours (1.1 s a step), so use a GPU."
    )


def run(out, *, full=False, seed=0, jobs=2) -> Path:
    """Make the demonstration in the folder `out` and return its ``index.html``.

    What is there already (store, runs) is reused, so a stopped demonstration continues.

    Parameters
    ----------
    out : path
    full : bool
        The sizes of the studies.
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
    ParameterError
        The folder holds stores of another seed or size.
    """
    out = Path(out)
    jobs = max(1, jobs)
    for name, sizes in (FULL if full else FAST).items():
        _check_made(out / name, {**sizes, "seed": seed})
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, executors.cores() // jobs)))
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # read by glibc when a process starts: memory is what Binder lacks
    stores, tasks = [out / name for name in (SONGS, MELODIES, EMOTIONS)], _tasks(fast=not full)
    _say(1, "simulating music and EEG, making features", ", ".join(map(str, stores)))
    with executors.Processes(jobs) as pool:
        _all([pool.submit(_simulate, out, path.name, seed=seed, full=full) for path in stores])
        count = sum(len(names) for _, names in tasks)
        _say(2, f"training {count} models and the linear decoders beside them", out / "runs")
        options = {"out": out / "runs", "fast": not full, "seed": seed, "threads": pool.threads}
        _all([pool.submit(_train, out / store, names, **options) for store, names in tasks])
    _say(3, "running the notebooks", out)
    return report.report(None, stores, out=out, runs=out / "runs", fast=not full, seed=seed, jobs=jobs)


def _tasks(*, fast):
    """All that is trained: the tables of the token study too, some rows of them at a time."""
    rows = [name for name in recipes.tokens(fast) if name != "tokens ours"]
    return (*_TASKS, *((EMOTIONS, tuple(rows[i : i + 3])) for i in range(0, len(rows), 3)))


def _check_made(path, wanted):
    """Refuse a store that is there already and was made with another seed or size than `wanted`."""
    if not path.exists():
        return
    from eegviz import store as stores

    about = stores.open(path).manifest["about"]
    other = [f"{key} {about[key]}, not {value}" for key, value in wanted.items() if about.get(key, value) != value]
    if other:
        raise ParameterError(
            f"{path} is of another demonstration ({'; '.join(other)}). Choose another folder with --out, or delete this one."
        )


def _all(tasks):
    """Wait for tasks; the first that failed says so at once."""
    for task in as_completed(tasks):
        task.result()


def _say(step, what, where):
    print(f"{step}/3 {what} ({where})", file=sys.stderr, flush=True)


def _simulate(out, name, *, seed, full):
    from eegviz import store as stores
    from eegviz import windowing
    from eegviz.datasets import demo, demo_deap, demo_mos

    make = {SONGS: demo, MELODIES: demo_mos, EMOTIONS: demo_deap}[name].make_store
    if not (out / name).exists():
        make(out / name, seed=seed, **(FULL if full else FAST)[name])
    if name == SONGS:
        # features once, here: also, numba compiles librosa's functions in this process and not in every later one
        for eeg, audio in (("periodogram", "mel-db"), ("raw", "linear-db")):
            windowing.windows(stores.open(out / name), eeg=eeg, audio=audio)


def _train(store, names, **options):
    for name in names:  # of the token study's tables only the main row has a verdict table
        recipes.run_alone(store, name, score=name not in recipes.TOKENS or name == "tokens ours", **options)
