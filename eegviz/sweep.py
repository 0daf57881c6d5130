"""A sweep: many runs from one short file, mapped over any `concurrent.futures` executor, and one table at the end.

A task is one run folder: configured, trained and scored (`eegviz.training`, `eegviz.evaluation`). All tasks are checked
before the first is trained; what is done is skipped, what was interrupted continues, a killed worker's task is done again,
and a task that cannot be done (a store too small for its split) is a row with its message and costs no other.

The file is YAML::

    store: stores/nmed-t            # beside this file, or absolute
    base: {preset: fast, split: repeat}
    grid:                           # every combination, in the order written; a list of grids: all of each
      model: [cnn, rcnn]
      settings.width: [1, 2, 4]
      seed: [0, 1, 2]
    also:                           # single tasks
      - {model: ridge, preset: eegviz}
    slurm: {timeout_min: 240, mem_gb: 16, partition: gpu}   # of the jobs of --executor slurm

Keys are the options of `eegviz.training.configure`; ``settings.NAME`` is one setting of the model.

Functions: `read`, `expand`, `configs`, `run`, `table`, `describe`, `refuse_failures`; `Grid` is what a file says.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from eegviz import _grid_file, evaluation, executors, runs, scoring, training
from eegviz import store as stores
from eegviz.errors import DataError, EegvizError, ParameterError
from eegviz.verdict import p_value

MAX_TASKS = 100_000  # more is a mistake in the file (our choice)
TIMES = ("training_s",)  # columns of the table that another run of the same tasks does not repeat
_TEXT, _NUMBER = (str,), (int, float)
_NONE = (type(None),)
_OPTIONS = {  # of `training.configure`, with the kinds of their values
    "model": _TEXT, "preset": _TEXT + _NONE, "settings": (dict, *_NONE), "eeg": _TEXT + _NONE, "audio": _TEXT + _NONE, "split": _TEXT,
    "seed": (int,), "split_seed": (int,), "condition": _TEXT, "tmin": _NUMBER, "tmax": _NUMBER + _NONE,
    "ref_db": (*_NUMBER, dict, *_NONE), "max_db": _NUMBER, "precision": _TEXT, "classifier": _TEXT + _NONE,
}  # fmt: skip
_KINDS = {str: "text", int: "a whole number", float: "a number", dict: "a mapping", type(None): "nothing"}
_ONE_AT_A_TIME = threading.Lock()  # training draws from torch's own generator, which the threads of a process share


@dataclass(frozen=True)
class Grid:
    """What a file of a sweep says.

    Attributes
    ----------
    store : Path or None
    tasks : list of dict
        Options of `eegviz.training.configure`.
    slurm : dict
        Options of SLURM's jobs.
    """

    store: Path | None
    tasks: list
    slurm: dict = field(default_factory=dict)

    def open(self, path=None) -> stores.Store:
        """The store, or the one at `path` instead."""
        if path is None and self.store is None:
            raise ParameterError(
                "no store: name one in the file (store: FOLDER, beside the file) or with --store FOLDER."
            )
        return stores.open(path or self.store)


def read(path) -> Grid:
    """Read the file of a sweep (its form is in the module's text).

    Raises
    ------
    ParameterError
        Not YAML (with the line), unknown keys or options, values of a wrong kind, an empty grid.
    """
    path = Path(path)
    content = _grid_file.load(path, keys=("store", "base", "grid", "also", "slurm"))
    try:
        store = content.get("store")
        if store is not None and not isinstance(store, str):
            raise ParameterError(f"store: expected the path of a store, found {store!r}.")
        slurm = _mapping(content.get("slurm") or {}, "slurm")
        tasks = expand(content.get("base"), content.get("grid"), content.get("also"))
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    return Grid(None if store is None else path.parent / Path(store).expanduser(), tasks, slurm)


def expand(base=None, grid=None, also=None) -> list[dict]:
    """The tasks of a grid: options of `eegviz.training.configure`.

    Parameters
    ----------
    base : dict, optional
        Options of all tasks.
    grid : dict of list, or list of them, optional
        Every combination of the values, the last option changing fastest; of a list, all of each.
    also : list of dict, optional
        Single tasks, each over `base`.

    Returns
    -------
    list of dict
        ``settings.NAME`` is put into ``settings``; neither repeated nor checked by a model: see `configs`.

    Raises
    ------
    ParameterError
        An unknown option, a value of a wrong kind, nothing to do.

    Examples
    --------
    >>> expand({"model": "ridge"}, {"settings.width": [1, 2]}, [{"seed": 3}])
    [{'model': 'ridge', 'settings': {'width': 1}},
     {'model': 'ridge', 'settings': {'width': 2}},
     {'model': 'ridge', 'seed': 3}]
    """
    base = _task({}, base or {}, "base")
    grids = grid if isinstance(grid, list) else [] if grid is None else [grid]
    tasks = []
    for i, one in enumerate(grids):
        where = "grid" if len(grids) == 1 else f"grid {i + 1}"
        for key, values in _mapping(one, where).items():
            if not isinstance(values, list) or not values:
                raise ParameterError(f"{where}: {key} expects a list of values, such as [1, 2]; found {values!r}.")
        if len(tasks) + math.prod(map(len, one.values())) > MAX_TASKS:
            raise ParameterError(f"{where}: more than {MAX_TASKS} tasks. Leave out values, or make several sweeps.")
        combinations = itertools.product(*one.values()) if one else ()
        tasks += [_task(base, dict(zip(one, values, strict=True)), where) for values in combinations]
    if also is not None and not isinstance(also, list):
        raise ParameterError(f"also expects a list of tasks (mappings); found {type(also).__name__}.")
    tasks += [_task(base, one, f"also, entry {i + 1}") for i, one in enumerate(also or [])]
    if not tasks:
        raise ParameterError(
            "nothing to do: give grid (a mapping of option to list of values), or also (a list of tasks)."
        )
    return tasks


def configs(store: stores.Store, tasks) -> dict:
    """The checked configs of all tasks by the name of their run folder; the same run asked for twice is one.

    Raises
    ------
    ParameterError
        A task that cannot be configured; the message names it.
    """
    found = {}
    for i, task in enumerate(tasks):
        try:
            config = training.configure(store, **_task({}, task, "its options"))
        except EegvizError as error:
            told = ", ".join(f"{key}: {value}" for key, value in task.items())
            raise ParameterError(f"task {i + 1} of {len(tasks)} ({told}): {error}") from None
        found.setdefault(runs.run_hash(config), config)
    return found


def run(store: stores.Store, tasks, *, out, executor=None, retries=2, progress=True, device="auto") -> pd.DataFrame:
    """Train and score all tasks, each in its run folder of `out`, and write the table to ``out/sweep.csv``.

    Parameters
    ----------
    store : Store
    tasks : list of dict
        Options of `eegviz.training.configure`; see `read` and `expand`.
    out : path
        The folder of runs. Workers on other machines must see it, and the store, at the same path.
    executor : concurrent.futures.Executor, callable or None
        None: in this process, one after another. `eegviz.executors.Processes`, a Dask client's ``get_executor()``, submitit's
        ``AutoExecutor``, or a function that makes one: see `eegviz.executors.outcomes`.
    retries : int
        How often a task is done again after its worker was lost.
    progress : bool
        One progress line with the time left, on terminals.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.

    Returns
    -------
    pandas.DataFrame
        See `table`.

    Raises
    ------
    ParameterError
        A task that cannot be configured, before anything is trained.

    Notes
    -----
    The tasks of one worker process come one after another, also where it has several threads. A run on the same machine
    with the same versions and threads has the same weights and scores wherever its task is done.
    """
    wanted = configs(store, tasks)
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    errors = {}
    todo = [name for name in wanted if not _is_done(out / name)]
    for name in wanted:
        (out / f"{name}.error.txt").unlink(missing_ok=True)  # of an earlier attempt
    shared = executor is not None
    calls = [(str(store.path.resolve()), wanted[name], str(out), device, shared) for name in todo]
    bar = tqdm(
        total=len(wanted), initial=len(wanted) - len(todo), desc="sweep", unit="run", disable=None if progress else True
    )  # None: quiet without a terminal
    with bar:
        for position, answer in executors.outcomes(_work, calls, executor=executor, retries=retries):
            name = todo[position]
            if isinstance(answer, executors.Failure):
                errors[name] = answer.message
                if answer.trace:
                    trace = out / f"{name}.error.txt"
                    trace.write_text(answer.trace, encoding="utf-8")
                    errors[name] += f" (see {trace})"
                bar.set_postfix(failed=len(errors))
            bar.update()
    made = table(out, wanted, errors)
    runs.write_csv(out / "sweep.csv", made)
    return made


def table(out, wanted, errors=None) -> pd.DataFrame:
    """A row a task, in the order of the tasks.

    Parameters
    ----------
    out : path
        The folder of runs.
    wanted : dict
        Of `configs`.
    errors : dict of str to str, optional
        What kept a task from being done, by the name of its run folder.

    Returns
    -------
    pandas.DataFrame
        run, model, preset, settings (what was changed of the preset), eeg, audio, split, seed; other options in which the
        tasks differ; n_test (windows), parameters, epochs, training_s; retrieval (a classifier's accuracy) and song
        accuracy with low, high (95 % interval over listeners), chance, p; cosine with its interval; beside them what knows
        no EEG, the ``mean picture`` of all training pictures and the ``song mean``; verdict, simulated; error, empty where
        there is none.
    """
    errors, rows = errors or {}, []
    differing = _differing(wanted.values())
    for name, config in wanted.items():
        row = {"run": name, **runs.facts(config)}
        row |= {key: _text(_flat(config)[key]) for key in differing}
        if name not in errors:
            found = runs.open(Path(out) / name)
            made = found.provenance
            row |= {"n_test": found.metrics["split"]["n_test"], "parameters": made["n_parameters"]}
            row |= {"epochs": made["epochs"], "training_s": made["training_s"]} | _scores(found.metrics)
            row |= {"verdict": found.metrics["verdict"], "simulated": found.metrics["simulated"]}
        rows.append(row | {"error": errors.get(name, "")})
    last = ["verdict", "simulated", "error"]
    made = pd.DataFrame(rows)
    for column in ("n_test", "parameters", "epochs"):
        if column in made:
            made[column] = made[column].astype("Int64")  # whole numbers stay whole beside a task without them
    return made[[c for c in made if c not in last] + [c for c in last if c in made]]


def describe(made: pd.DataFrame) -> str:
    """A table of `run` in plain text: what differs and the scores; what all tasks share is said once above."""
    asked = list(made.columns[1 : list(made.columns).index("n_test")]) if "n_test" in made else [
        c for c in made.columns[1:] if c != "error"
    ]  # fmt: skip
    shared = [c for c in asked if len(made) > 1 and made[c].nunique(dropna=False) == 1]
    lines = []
    if shared:
        lines.append("all: " + ", ".join(f"{c} {made[c].iloc[0]}" for c in shared if made[c].iloc[0] != ""))
    shown = made[["run", *[c for c in asked if c not in shared]]].copy()
    primary = [metric for metric in ("retrieval", "accuracy") if metric in made]  # a row has one of them
    shown = shown.join(made[[*primary, *(m for m in ("song accuracy", "cosine") if m in made)]].map(_number))
    if primary:
        one = {
            key: made[f"{primary[0]} {key}"].combine_first(made.get(f"{primary[-1]} {key}"))
            for key in ("low", "high", "chance", "p")
        }
        interval = [
            "n/a" if pd.isna(low) else f"{low:.3f}–{high:.3f}"
            for low, high in zip(one["low"], one["high"], strict=True)
        ]
        at = 1 + list(shown.columns).index(primary[-1])
        shown.insert(at, "p", [p_value(None if pd.isna(p) else p) for p in one["p"]])
        shown.insert(at, "chance", one["chance"].map(_number))
        shown.insert(at, "95 % interval", interval)
    if "cosine song mean" in made:
        shown["song mean's"] = made["cosine song mean"].map(_number)
    shown["verdict"] = made["verdict"].fillna("not done") if "verdict" in made else "not done"
    lines.append(shown.to_string(index=False, max_colwidth=None))
    if "simulated" in made and made["simulated"].eq(True).any():
        lines.append("Simulated data.")
    return "\n".join(lines)


def refuse_failures(made: pd.DataFrame):
    """Raise an `EegvizError` that names every task of a table that could not be done; nothing where all of it was."""
    failed = made[made["error"] != ""].to_dict("records")
    if failed:
        told = [
            f"  {row['run']} ({row['model']}, {row['split']}, seed {row['seed']}): {row['error']}" for row in failed
        ]
        raise EegvizError("\n".join([f"{len(failed)} of {len(made)} tasks could not be done:", *told]))


def _work(store_path, config, out, device, shared):
    """One task, in a worker: its answer is the run folder."""
    with _ONE_AT_A_TIME, _share(shared, executors.threads()):
        opened = stores.open(store_path)
        if opened.fingerprint != config["data"]["fingerprint"]:
            raise DataError(
                f"{store_path} holds other data for the worker than where the sweep was started. Workers must see the same "
                "folder at the same path."
            )
        done = training.train(opened, config, out=out, device=device, progress=False)
        evaluation.evaluate(done, store=opened)


def _is_done(folder):
    try:
        return (folder / "provenance.json").exists() and evaluation.is_scored(runs.open(folder))
    except DataError:  # a damaged folder is told when its task is done: it costs no other
        return False


@contextlib.contextmanager
def _share(shared, threads):
    """While workers share a machine: songs are scored one at a time, products of matrices take some threads only."""
    if not shared:
        yield
        return
    before = scoring.THREADS, torch.get_num_threads()
    scoring.THREADS = 1
    torch.set_num_threads(threads or before[1])
    try:
        with threadpool_limits(threads, user_api="blas"):
            yield
    finally:
        scoring.THREADS = before[0]
        torch.set_num_threads(before[1])


def _task(base, given, where):
    """Options `given` over those of `base`, checked; settings are merged one by one."""
    task = dict(base)
    settings = dict(base.get("settings") or {})
    for key, value in _mapping(given, where).items():
        name, dot, setting = str(key).partition(".")
        if name not in _OPTIONS or (dot and (name != "settings" or not setting)):
            raise ParameterError(f"{where}: unknown option {key!r}; known are {', '.join(_OPTIONS)}, settings.NAME.")
        if dot:
            settings[setting] = value
            continue
        kinds = _OPTIONS[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            words = [_KINDS[kind] for kind in kinds if not (kind is int and float in kinds)]
            expected = " or ".join(words)
            raise ParameterError(f"{where}: {key} expects {expected}; found {value!r}.")
        if name in ("seed", "split_seed") and value < 0:
            raise ParameterError(f"{where}: {key} expects a whole number, 0 or more; found {value!r}.")
        if name == "settings":  # nothing: none but those of the preset
            settings = {} if value is None else settings | _mapping(value, f"{where}: settings")
        else:
            task[name] = value
    task.pop("settings", None)
    return task | ({"settings": settings} if settings else {})


def _mapping(value, where):
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ParameterError(f"{where} expects a mapping (name: value); found {value!r}.")
    return value


def _flat(config):
    """What `runs.facts` leaves out, by the name of the option."""
    asked = config["features"]
    return {
        **{key: asked[key] for key in ("condition", "tmin", "tmax", "ref_db", "max_db")},
        **{key: config[key] for key in ("precision", "classifier")},
        "split_seed": config["split"]["seed"],
    }


def _differing(found):
    flat = [_flat(config) for config in found]
    return [key for key in flat[0] if any(one[key] != flat[0][key] for one in flat)]


def _text(value):
    return str(value) if isinstance(value, dict) else value


def _scores(result):
    """Columns of the metrics of a scored run: the primary one, song accuracy and cosine."""
    row = {}
    for i, metric in enumerate(result["metrics"]):
        name = metric["metric"]
        if i and name not in ("song accuracy", "cosine"):
            continue
        row[name] = metric["score"]
        row |= {
            f"{name} {key}": metric[key]
            for key in ("low", "high", "chance", "p")
            if name != "cosine" or key != "chance"
        }
        if name != "song accuracy":
            row |= {f"{name} {key}": metric["baselines"].get(key) for key in ("mean picture", "song mean")}
    return row


def _number(value):
    return "n/a" if pd.isna(value) else f"{value:.3f}"
