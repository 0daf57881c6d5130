"""What the section *Listen* plays: originals beside reconstructions, a row a song, as the field's demo pages have them."""

from __future__ import annotations

from dataclasses import replace

import param

from eegviz import listening
from eegviz.catalogue import Shelf
from eegviz.errors import DataError, ParameterError

LAYOUTS = ("Original and listeners", "Runs side by side")
MAX_BESIDE = 4  # runs beside each other
ALL_SONGS = "all songs"
_grids = Shelf(12)


class ListenState(param.Parameterized):
    """Which run (or runs), which songs, how many listeners, how long."""

    layout = param.Selector(objects=list(LAYOUTS), default=LAYOUTS[0], label="Layout")
    run = param.Selector(objects=[None], label="Run")
    beside = param.ListSelector(objects=[], default=[], label="Other runs")
    song = param.Selector(objects=[ALL_SONGS], default=ALL_SONGS, label="Song")
    n_listeners = param.Integer(2, bounds=(1, 5), label="Listeners")
    duration = param.Integer(5, bounds=(1, 10), label="Seconds")
    SHARED = ("layout", "run", "beside", "song", "n_listeners", "duration")

    def __init__(self, catalogue, **values):
        super().__init__(**values)
        self.catalogue = catalogue
        offer_runs(self)

    @param.depends("run", watch=True)
    def _follow_run(self):
        """Songs and runs that fit the run."""
        if self.run is None:
            return
        by_run = {row["run"]: row for row in self.catalogue.table}
        mine = by_run[self.run]
        store = self.catalogue.store_of(self.run)
        self.param.song.objects = [ALL_SONGS, *store.stimuli["stimulus"]]
        others = [r for r in self.param.run.objects if r != self.run and by_run[r]["store"] == mine["store"]]
        self.param.beside.objects = others
        self.param.update(song=ALL_SONGS, beside=[one for one in self.beside if one in others])

    @property
    def key(self):
        """What makes the grid: the same key, the same grid."""
        runs = (self.run, *(self.beside if self.layout == LAYOUTS[1] else ()))
        listeners = self.n_listeners if self.layout == LAYOUTS[0] else 0
        return self.layout, runs, self.song, listeners, self.duration

    @property
    def ready(self):
        """The grid when it is made already, else None."""
        return _grids.get(self.key, lambda: None) if self.key in _grids else None

    def steps(self):
        """Make the grid song by song, see `eegviz._state_work.Work`: returns a `Grid`."""
        key = self.key
        if self.run is None:
            raise DataError("No run here reconstructs sound: train one with eegviz train, or run eegviz demo.")
        yield 0.0, "reading the run"
        make = self._beside if self.layout == LAYOUTS[1] else self._listeners
        grid = yield from make(*key[1:])
        return _grids.get(key, lambda: grid)

    def _listeners(self, runs, song, n_listeners, duration):
        (name,) = runs
        run, store = self.catalogue.run(name), self.catalogue.store_of(name)
        windows, split = self.catalogue.windows(name)
        songs = _songs(sorted(windows.table["stimulus"].iloc[split.test].unique()), song, run)
        made = []
        for i, one in enumerate(songs):
            yield i / len(songs), f"reconstructing {one} ({i + 1} of {len(songs)})"
            made.append(
                listening.listeners_grid(
                    run, store, songs=[one], n_listeners=n_listeners, duration=duration, windows=windows, split=split
                )
            )
        return replace(made[0], rows=tuple(row for grid in made for row in grid.rows))

    def _beside(self, runs, song, _, duration):
        found = {self.catalogue.run(name).name: self.catalogue.run(name) for name in runs[:MAX_BESIDE]}
        store = self.catalogue.store_of(runs[0])
        tests = []
        for name in runs[:MAX_BESIDE]:
            windows, split = self.catalogue.windows(name)
            tests.append(set(windows.table["stimulus"].iloc[split.test]))
        songs = _songs(sorted(set.intersection(*tests)), song, self.catalogue.run(runs[0]))
        made, why = [], f"the runs {', '.join(runs)} have no test song in common"
        for i, one in enumerate(songs):
            yield i / len(songs), f"reconstructing {one} ({i + 1} of {len(songs)})"
            try:
                made.append(
                    listening.conditions_grid(found, store, songs=[one], duration=duration, overlap=0.0, sr=None)
                )
            except ParameterError as error:  # a song that they share no second of is left out
                why = f"{one}: {error}"
        if not made:
            raise ParameterError(why)
        return replace(made[0], rows=tuple(row for grid in made for row in grid.rows))


def offer_runs(state):
    """Let a state choose among the runs of its catalogue that reconstruct pictures, beginning with `first_choice`."""
    rows = playable(state.catalogue)
    if rows:
        state.param.run.objects = rows
        state.run = first_choice(state.catalogue, rows)


def playable(catalogue):
    """Hashes of the runs that reconstruct pictures, in the order of the catalogue."""
    return [row["run"] for row in catalogue.table if row["model"] != "classifier"]


def first_choice(catalogue, names):
    """A run to begin with: of those that were found to carry the listener's EEG, one tested on another hearing, of a network.

    Its split is the one that a person understands at once, and its test side holds every listener and song.
    """
    rows = {row["run"]: row for row in catalogue.table}

    def rank(name):
        row = rows[name]
        return (
            row["verdict"] != "The EEG contributed", not row["scored"], row["split"] != "repeat", not row["store"],
            row["model"] != "cnn", row["condition"] != "listening", -row["n_test"], name,
        )  # fmt: skip

    return min(names, key=rank)


def _songs(there, song, run):
    """The songs that are asked for, of those in the test side."""
    if song == ALL_SONGS:
        return there
    if song not in there:
        raise ParameterError(
            f"{song} is not in the test side of run {run.path.name} (split {run.config['split']['spec']}); there are: "
            f"{', '.join(there)}. Choose one of them, or {ALL_SONGS}."
        )
    return [song]
