"""What a person asked to look at: stores, runs and listening tests by a short name, each opened when it is needed, few kept at a time.

`find` sorts folders into stores and runs; `Catalogue` opens them and finds the store that a run was trained on.
`Shelf` keeps results that many people ask for: each is made once, however many ask at the same time, and a bounded
number is kept.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from functools import cached_property
from pathlib import Path

from eegviz import runs, store
from eegviz.errors import DataError

DEMONSTRATION = Path("reports/demo")
MANIFEST, CONFIG, DESIGN = "manifest.json", "config.json", "design.json"
VERDICTS = {  # as `eegviz.verdict` says them, and in a label
    "The EEG contributed": "EEG contributed",
    "No evidence that the EEG contributed": "no evidence",
    "This split cannot tell": "cannot tell",
}
OPEN_RUNS, OPEN_WINDOWS = 12, 4  # kept open at a time; our choice


class Shelf:
    """Results by key: made once, kept until `size` others have been asked for since.

    Threads that ask for the same key wait for the first of them; if that one fails, it says why, and the next tries again.

    >>> shelf, made = Shelf(2), []
    >>> for key in "abaca":
    ...     _ = shelf.get(key, lambda: made.append(key))
    >>> made
    ['a', 'b', 'c']
    """

    def __init__(self, size):
        self.size = size
        self._kept = OrderedDict()
        self._busy = {}
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._kept)

    def __contains__(self, key):
        return key in self._kept

    def get(self, key, make):
        """The result of ``make()`` for `key`, made now or before."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            waiting = self._busy.setdefault(key, threading.RLock())
        with waiting:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            try:
                made = make()
                with self._lock:
                    self._kept[key] = made
                    while len(self._kept) > self.size:
                        self._kept.popitem(last=False)
            finally:
                with self._lock:
                    self._busy.pop(key, None)
        return made


class Catalogue:
    """Stores and runs by name. Made by `find`.

    Attributes
    ----------
    stores : dict of str to Store
        By the name of their folder; where two folders have the same, also by that of the folder above.
    run_paths : dict of str to Path
        Folders of complete runs by their hash, sorted by what they are.
    unfinished : int
        Runs that were found and are not complete.
    tests : dict of str to Path
        Folders of listening tests, by name.
    limits : eegviz.uploads.Limits or None
        What uploads may take; None: as usual.
    """

    def __init__(self, stores, run_paths, *, unfinished=0, tests=None, limits=None):
        self.stores = stores
        self.run_paths = run_paths
        self.tests = dict(tests or {})
        self.limits = limits
        self.unfinished = unfinished
        self._runs, self._windows = Shelf(OPEN_RUNS), Shelf(OPEN_WINDOWS)

    @cached_property
    def table(self):
        """One dict a run: run, name, label (short, and no other run's), what `eegviz.runs.facts` says, condition, store (its name
        here, or ""), dataset, scored, verdict, n_test.

        Scored runs come first, those of a data set together, and in it those whose EEG contributed.
        """
        by_fingerprint = {opened.fingerprint: name for name, opened in self.stores.items()}
        rows = []
        for run, path in self.run_paths.items():
            opened = runs.open(path)
            data = opened.config["data"]
            scored = (path / "metrics.json").exists()
            rows.append(
                {
                    "run": run, "name": opened.name, **runs.facts(opened.config), "dataset": data["dataset"],
                    "condition": opened.config["features"]["condition"],
                    "store": by_fingerprint.get(data["fingerprint"], ""), "scored": scored,
                    "verdict": opened.metrics["verdict"] if scored else "",
                    "n_test": opened.metrics["split"]["n_test"] if scored else 0,
                }
            )  # fmt: skip
        places = list(self.stores)
        rows.sort(
            key=lambda row: (
                not row["scored"], places.index(row["store"]) if row["store"] in places else len(places), row["dataset"],
                list(VERDICTS).index(row["verdict"]) if row["verdict"] in VERDICTS else len(VERDICTS), row["split"],
                row["model"], row["name"], row["run"],
            )
        )  # fmt: skip
        return [row | {"label": label} for row, label in zip(rows, labels(rows), strict=True)]

    def store(self, name):
        """A store by its name here."""
        if name not in self.stores:
            raise DataError(f"no store {name!r} is open here; there are: {', '.join(self.stores) or 'none'}.")
        return self.stores[name]

    def run(self, run):
        """A run by its hash."""
        if run not in self.run_paths:
            raise DataError(f"no run {run!r} is open here; {len(self.run_paths)} runs are.")
        return self._runs.get(run, lambda: runs.open(self.run_paths[run]))

    def store_of(self, run):
        """The store that a run was trained on: one that is open here and holds the same data, or else where it was then."""
        opened = self.run(run)
        for one in self.stores.values():
            if one.fingerprint == opened.config["data"]["fingerprint"]:
                return one
        return opened.store()

    def windows(self, run):
        """Windows and split of a run."""

        def make():
            opened = self.run(run)
            windows = opened.windows(self.store_of(run))
            return windows, opened.split(windows)

        return self._windows.get(run, make)


def labels(rows):
    """What a person reads for each run of `Catalogue.table`: data set, model, input, split, verdict.

    Where several runs are called the same, those also say what they were made of: settings, sound, and the hash where that
    is all they differ in.

    >>> row = {"dataset": "demo", "model": "cnn", "eeg": "raw", "split": "repeat", "verdict": "", "condition": "listening"}
    >>> row |= {"preset": "fast", "audio": "mel", "settings": ""}
    >>> labels([row | {"run": "1a"}, row | {"run": "2b", "settings": "width=2"}])
    ['demo · cnn · raw · repeat · not scored · fast', 'demo · cnn · raw · repeat · not scored · fast, width=2']
    """
    made = [" · ".join(_facts(row)) for row in rows]
    more = (
        lambda row: ", ".join(filter(None, (row["preset"], row["settings"]))),
        lambda row: row["audio"],
        lambda row: row["run"],
    )
    for said in more:
        groups = {}
        for i, label in enumerate(made):
            groups.setdefault(label, []).append(i)
        for alike in groups.values():
            words = [said(rows[i]) for i in alike]
            if len(set(words)) > 1:
                for i, word in zip(alike, words, strict=True):
                    made[i] += f" · {word}" if word else ""
    return made


def describe(found) -> str:
    """A line a run below a line of headings: its folder's name, data set, model, input, sound, split, verdict, settings."""
    lines = [("run", "data", "model", "input", "sound", "split", "verdict", "preset, settings of its own")]
    for row in found.table:
        data, model, heard, split, verdict = _facts(row)
        made = ", ".join(filter(None, [row["preset"], row["settings"]]))
        lines.append((row["run"], data, model, heard, row["audio"], split, verdict, made))
    widths = [max(map(len, column)) for column in zip(*(line[:-1] for line in lines), strict=True)]
    shown = [
        "  ".join([*(word.ljust(n) for word, n in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    ]
    unscored = sum(not row["scored"] for row in found.table)
    if unscored:
        shown.append(f"{unscored} of {len(found.table)} runs have no verdict yet: eegviz evaluate RUN scores one.")
    return "\n".join(shown)


def _facts(row):
    """Data set, model, input, split and verdict of a run in few words."""
    one = row["condition"] == "listening" or row["split"].startswith("condition")
    heard = row["eeg"] if one else f"{row['eeg']}, {row['condition']}"
    return (
        row["dataset"], row["model"], heard, row["split"],
        VERDICTS.get(row["verdict"], row["verdict"] or "not scored"),
    )  # fmt: skip


def find(paths=()):
    """Sort folders into stores and runs.

    Parameters
    ----------
    paths : sequence of path
        Each a store, a run, or a folder of either or of both, such as what ``eegviz demo`` made. None: the demonstration
        under ``reports/demo``.

    Returns
    -------
    Catalogue

    Raises
    ------
    DataError
        A folder that is neither, or no demonstration where none was given.

    Examples
    --------
    >>> find(["no/such/folder"])
    Traceback (most recent call last):
    eegviz.errors.DataError: no/such/folder is not there: expected the folder of a store, of a run, or of several of them.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        if not DEMONSTRATION.is_dir():
            raise DataError(
                f"there is no demonstration at {DEMONSTRATION}. Make it with eegviz demo, or name the folders of stores and "
                "runs: eegviz app STORE RUN …"
            )
        paths = [DEMONSTRATION]
    stores, run_paths, tests, unfinished = [], [], [], 0
    for path in paths:
        found = _inside(path)
        stores += [one for one in found if (one / MANIFEST).is_file()]
        tests += [one for one in found if (one / DESIGN).is_file()]
        for one in found:
            if (one / CONFIG).is_file():
                if runs.open(one).complete:
                    run_paths.append(one)
                else:
                    unfinished += 1
    if not stores and not run_paths and not tests:
        raise DataError(
            f"{', '.join(map(str, paths))}: the {unfinished} runs there are unfinished, and no store is there. Run the same "
            "eegviz train command again; it continues."
        )
    opened = sorted(map(runs.open, _unique(run_paths)), key=lambda run: (run.name, run.path.name))
    return Catalogue(
        _most_used_first({name: store.open(path) for name, path in _named(_unique(stores)).items()}, opened),
        {run.path.name: run.path for run in opened},
        unfinished=unfinished,
        tests=_named(_unique(tests)),
    )


def runs_of(path):
    """Folders of complete runs that a folder is or holds, also in its folder ``runs``; none where it is no folder."""
    there = {one.parent for depth in ("", "*/", "runs/*/") for one in Path(path).glob(depth + CONFIG)}
    return sorted(one for one in there if runs.open(one).complete)


def _inside(path):
    """The stores and runs that a folder is or holds, also in its folder ``runs``."""
    if not path.is_dir():
        raise DataError(
            f"{path} is not there: expected the folder of a store, of a run, or of several of them."
            if not path.exists()
            else f"{path} is a file: expected the folder of a store, of a run, or of several of them."
        )
    if any((path / name).is_file() for name in (MANIFEST, CONFIG, DESIGN)):
        return [path]
    found = [
        one.parent
        for name in (MANIFEST, CONFIG, DESIGN)
        for depth in ("*", "runs/*")
        for one in path.glob(f"{depth}/{name}")
    ]
    if not found:
        raise DataError(
            f"{path} holds no store ({MANIFEST}), no run ({CONFIG}) and no listening test ({DESIGN}). Name the folder that eegviz ingest or eegviz demo made, "
            "or the one that eegviz train printed."
        )
    return sorted(found)


def _most_used_first(stores, opened):
    """Stores in the order of the number of runs that were trained on them."""
    used = Counter(run.config["data"]["fingerprint"] for run in opened)
    return dict(sorted(stores.items(), key=lambda item: -used[item[1].fingerprint]))


def _unique(paths):
    return list({path.resolve(): path for path in paths}.values())


def _named(paths):
    """Paths by the name of their folder, with that of the folder above where two are the same."""
    names = [path.resolve().name for path in paths]
    full = [
        name if names.count(name) == 1 else f"{path.resolve().parent.name}/{name}"
        for name, path in zip(names, paths, strict=True)
    ]
    return {
        name if full.count(name) == 1 else f"{name} ({i + 1})": path
        for i, (name, path) in enumerate(zip(full, paths, strict=True))
    }
