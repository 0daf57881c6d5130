"""Scores of every test window of a run, and the same for everything that stands beside it in the verdict table.

The run's predictions, the answers without EEG, the oracle, the fingerprint and the same weights with other EEG go through
the same metrics, song by song, so that memory holds the pictures of one song.

Functions: `score_regressor`, `score_classifier`, `own_scores` (of a `Job`), `retrieval` (which second, for a table),
`spread` (how much predictions vary).
Class: `WhichSecond` (its scores for any pairing of predictions and seconds).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
import pandas as pd

from eegviz import baselines, controls, grading, identification, nulls, runs, scorecard, sides, splits, windowing
from eegviz.errors import DataError, ParameterError
from eegviz.scorecard import MIN_SHARE, PICTURE, TOP, WHICH_SECOND
from eegviz.store import Store

THREADS = 2  # songs scored at a time
BESIDE_VALUES = 4e6  # cells of pictures that each answer beside the run is scored on (our choice: 700 mel windows)


@dataclass(frozen=True)
class Job:
    """What is scored: a run, its store, windows and split, and the table of its test windows."""

    run: runs.Run
    store: Store
    windows: windowing.Windows
    split: splits.Split
    table: pd.DataFrame

    def target(self, rows):
        """True pictures of test windows."""
        return self.windows.target(self.split.test[rows])

    def prediction(self, rows):
        """Predictions of test windows."""
        return np.asarray(self.run.predictions[rows], np.float32)

    def likeness(self, prediction, target):
        """How like pictures are: values by metric."""
        metrics = scorecard.picture_metrics(self.windows.data_range)
        return {name: metric(prediction, target) for name, metric in metrics.items()}

    @cached_property
    def view(self):
        """The training side."""
        return sides.training_view(self.windows, self.split)

    @cached_property
    def substitute(self):
        """The run's answers to other EEG."""
        return controls.Substitute(self.run, self.windows, self.store)

    @cached_property
    def songs(self):
        """Rows of each test song."""
        return {song: np.sort(rows) for song, rows in sorted(self.table.groupby("stimulus").indices.items())}

    @cached_property
    def beside(self):
        """Which windows the answers beside the run are scored on: all, or whole recordings spread over listeners and songs.

        Where the test windows hold more than `BESIDE_VALUES` cells, each listener lends one recording in k, of another
        song than the listener before him.
        """
        table = self.table
        songs, who = (np.unique(table[c].to_numpy(str), return_inverse=True)[1] for c in ("stimulus", "subject"))
        cells = len(table) * np.prod(self.windows.out_shape)
        k = min(int(np.ceil(cells / BESIDE_VALUES)), songs.max() + 1)
        return (songs + who) % k == 0


@dataclass(frozen=True)
class Scored:
    """Rows of the verdict table, columns of the windows, and the primary score under each control and shift.

    ``spread`` is that of `spread`; None for names of songs.
    """

    rows: list
    columns: dict
    controls: list
    shifts: list
    spread: float | None = None


def score_regressor(job: Job) -> Scored:
    """Score a run that predicts pictures: which second, which song, how like."""
    table, values, notes = job.table, _Values(job.table), {}
    which = WhichSecond.of(job.run.predictions, job.target, table)
    blind, fingerprint, namer = baselines.NoEEG(job.view), _fingerprint(job), grading.namer(job.run)
    if namer is not None and fingerprint is not None:
        values.named["fingerprint"] = fingerprint
    job.substitute.zero(1)  # made once, before the songs are shared out
    with ThreadPoolExecutor(min(THREADS, len(job.songs))) as pool:  # songs fill rows of their own: any order will do
        tasks = [
            pool.submit(_score_song, job, song, rows, which, blind, fingerprint, namer, values)
            for song, rows in job.songs.items()
        ]
        for task in tasks:
            notes |= task.result()
    p = scorecard.p_values(
        table, named=values.named.get(""), found=which and which.found, matched=which and which.matched
    )
    p |= _picture_p(job, values)
    rows = [_second_row(name, values, table, which, p) for name in WHICH_SECOND]
    rows += scorecard.song_rows(values.named, table, p, "song accuracy")
    rows += [scorecard.row(name, values.own(name), table, p=p, beside=values.beside(name)) for name in PICTURE]
    columns = {name: values.own(name) for name in (*WHICH_SECOND, *PICTURE) if values.own(name) is not None}
    columns |= {f"retrieval | {c}": v for c in controls.CONTROLS if (v := values.get(c, "retrieval")) is not None}
    columns |= {"named_song": values.named[""]} if "" in values.named else {}
    shown = [
        scorecard.control(name, values.get(name, "retrieval"), table, notes.get(name, "")) for name in controls.CONTROLS
    ]
    varied = spread(job.prediction, job.target, len(table))
    return Scored(rows, columns, shown, [] if which is None else which.shifts(table, job.windows.duration), varied)


def spread(prediction, target, n) -> float | None:
    """How much predictions vary from window to window, as a share of the true pictures.

    The standard deviation over the windows, averaged over the cells of the picture; 0: one answer for all windows.

    Parameters
    ----------
    prediction, target : callable
        Positions of windows → pictures, float.
    n : int
        Windows.

    Returns
    -------
    float or None
        None where the true pictures do not vary.
    """
    own, true = _deviation(prediction, n), _deviation(target, n)
    return float(own / true) if true > 0 else None


def _deviation(pictures, n):
    """Mean over the cells of the standard deviation over `n` pictures, read in blocks (Chan, Golub & LeVeque 1983)."""
    mean = squares = 0.0
    for start in range(0, n, sides.BLOCK):
        block = pictures(np.arange(start, min(start + sides.BLOCK, n))).astype(float)
        here, moved = len(block), block.mean(0) - mean
        squares = squares + ((block - block.mean(0)) ** 2).sum(0) + moved**2 * (start * here / (start + here))
        mean = mean + moved * (here / (start + here))
    return np.sqrt(squares / n).mean()


def own_scores(job: Job) -> dict:
    """The scores of a run that predicts pictures, without anything beside them: by metric, None where not defined.

    The same numbers as in the rows of `score_regressor`.
    """
    table, values = job.table, _Values(job.table)
    which, namer = WhichSecond.of(job.run.predictions, job.target, table), grading.namer(job.run)
    for rows in job.songs.values():
        _score_own(job, rows, which, namer, values)
    rows = scorecard.song_rows(values.named, table, {}, "song accuracy")
    rows += [scorecard.row(name, values.own(name), table) for name in (*WHICH_SECOND, *PICTURE)]
    return {row["metric"]: row["score"] for row in rows}


def score_classifier(job: Job) -> Scored:
    """Score a run that names songs."""
    table, notes = job.table, {}
    classes = np.array(job.run.provenance["classes"])
    named = {"": classes[np.asarray(job.run.predictions).argmax(1)]}
    for name, answers in _other_eeg(job, table):
        try:
            named[name] = classes[answers().argmax(1)]
        except ParameterError as error:
            notes[name] = str(error)
    partner = controls.other_listener(table)
    named["other listener"] = np.where(partner >= 0, named[""][partner], "")
    notes["shuffled"] = "seconds of one recording are of one song, so their order says nothing about it"
    if (fingerprint := _fingerprint(job)) is not None:
        named["fingerprint"] = fingerprint
    rows = scorecard.song_rows(named, table, scorecard.p_values(table, named=named[""]), "accuracy")
    true, shown = table["stimulus"].to_numpy(str), []
    for name in controls.CONTROLS:
        who = named.get(name)
        right = None if who is None else np.where(who == "", np.nan, who == true)
        shown.append(scorecard.control(name, right, table, notes.get(name, "")))
    columns = {"named_song": named[""]}
    columns |= {f"accuracy | {c}": (named[c] == true).astype(float) for c in controls.CONTROLS[:2] if c in named}
    return Scored(rows, columns, shown, [])


def retrieval(prediction, target, table):
    """Within-song retrieval of the windows of a table; None where a song has one test second only.

    Parameters
    ----------
    prediction : array [shape=(n, n_frames, n_bins)]
    target : array of the same shape
    table : pandas.DataFrame
        recording, stimulus, second.
    """
    if table.groupby("stimulus")["second"].nunique().min() < 2:
        return None
    return identification.retrieval(prediction, target, **_labels(table))


class _Values:
    """Scores of windows by (name, metric), NaN where there is none; the run itself has the name ""."""

    def __init__(self, table):
        self._n, self._values, self.named, self._lock = len(table), {}, {}, Lock()
        self._recordings, self._listeners = (table[column].to_numpy(str) for column in ("recording", "subject"))

    def add(self, name, rows, scores):
        for metric, values in scores.items():
            with self._lock:
                own = self._values.setdefault((name, metric), np.full(self._n, np.nan))
            own[rows] = values

    def name(self, name, rows, songs):
        with self._lock:
            own = self.named.setdefault(name, np.full(self._n, "", dtype=object))
        own[rows] = songs

    def own(self, metric):
        return self._values.get(("", metric))

    def get(self, name, metric, *, least=MIN_SHARE):
        """None where fewer than a share `least` of the windows of the recordings that were scored have a score."""
        values = self._values.get((name, metric))
        if values is None:
            return None
        there = np.isfinite(values)
        asked = np.isin(self._recordings, self._recordings[there])
        return values if there.any() and there.sum() >= least * asked.sum() else None

    def beside(self, metric):
        """Listener means for the groups of a row of the table; the ceiling comes from some seconds only."""
        groups = {
            "baselines": (baselines.NO_EEG, MIN_SHARE),
            "oracle": (baselines.ORACLE, 0.0),
            "beside": (("fingerprint",), MIN_SHARE),
            "controls": (controls.CONTROLS, MIN_SHARE),
        }
        return {
            group: {n: self._mean(v) for n in names if (v := self.get(n, metric, least=least)) is not None}
            for group, (names, least) in groups.items()
        }

    def _mean(self, values):
        """Mean over listeners of their means, as the score itself."""
        there = np.isfinite(values)
        return nulls.listener_mean(values[there], self._listeners[there])


class WhichSecond:
    """Which second is it? Scores of any prediction for any true second of its song."""

    def __init__(self, found, matched):
        self.found, self.matched = found, matched
        self._tops = [k for k in TOP if k <= found.n_candidates.min()]
        self._shares = {"retrieval": found.candidates()} | {f"top-{k}": found.candidates(k=k) for k in self._tops}

    @classmethod
    def of(cls, prediction, target, table):
        """Of the windows of a table; None where a song has one test second only."""
        target = target(np.arange(len(table))) if callable(target) else target
        found = retrieval(prediction, target, table)
        if found is None:
            return None
        try:
            matched = identification.match_mismatch(prediction, target, found=found, **_labels(table))
        except DataError:  # seconds side by side leave no imposter; what is not finite was refused before
            matched = None
        return cls(found, matched)

    def scores(self):
        """Of each window's own second."""
        every = np.arange(len(self.found.percentile))
        own = self.scores_of(every, every)
        return own if self.matched is None else own | {"match-mismatch": self.matched.right.astype(float)}

    def scores_of(self, giver, taker):
        """Of the predictions of rows `giver` for the true seconds of rows `taker`, of the same song."""
        place = self.found.table.start[giver] + self.found.table.column[taker]
        return {name: shares[place] for name, shares in self._shares.items()}

    def shifts(self, table, length=1):
        """Retrieval with EEG from some seconds earlier or later, a row a shift; `table` of windows of `length` s as in `of`."""
        result = []
        for seconds in controls.shifts(length):
            giver = controls.shifted(table, seconds)
            taker = np.flatnonzero(giver >= 0)
            values = np.full(len(table), np.nan)
            values[taker] = self.scores_of(giver[taker], taker)["retrieval"]
            note = f"fewer than half of the test windows have a test second {seconds:+d} s away"
            told = scorecard.control("", values, table, note)
            result.append({"seconds": seconds} | {key: value for key, value in told.items() if key != "name"})
        return result

    def chance(self, name):
        """Chance level of a metric."""
        return 0.5 if name in ("retrieval", "match-mismatch") else float(
            np.mean(self.found.chance_top_k(int(name.removeprefix("top-"))))
        )  # fmt: skip

    def why_not(self, name):
        """Why a metric is not defined."""
        if name == "match-mismatch":
            return scorecard.NO_IMPOSTER
        return f"a song has {self.found.n_candidates.min()} test seconds only, fewer than {name.removeprefix('top-')}"


def _score_own(job, rows, which, namer, values):
    """Score the run itself on the test windows of one song; its predictions and the true pictures are returned."""
    prediction, target = job.prediction(rows), job.target(rows)
    values.add("", rows, job.likeness(prediction, target))
    if which is not None:
        values.add("", rows, {k: v[rows] for k, v in which.scores().items()})
    if namer is not None:
        values.name("", rows, namer(prediction))
    return prediction, target


def _score_song(job, song, rows, which, blind, fingerprint, namer, values):
    """Score the run and everything beside it on the test windows of one song; returns why controls are missing."""
    mine, notes = job.table.iloc[rows].reset_index(drop=True), {}
    prediction, target = _score_own(job, rows, which, namer, values)
    seconds, first, again = np.unique(mine["second"].to_numpy(), return_index=True, return_inverse=True)

    def name(who, where, pictures):
        if namer is not None and len(where):
            values.name(who, where, namer(pictures))

    def add(who, pictures, where):
        values.add(who, rows[where], job.likeness(pictures, target[where]))
        found = (
            None if which is None else WhichSecond.of(pictures, target[where], mine.iloc[where].reset_index(drop=True))
        )
        if found is not None:
            values.add(who, rows[where], found.scores())

    def add_by_second(who, pictures):  # one answer a second, or one for all: compared once a second
        values.add(who, rows, {k: v[again] for k, v in job.likeness(pictures[first], target[first]).items()})

    # one answer for all seconds of the song
    constant = {"zero EEG": job.substitute.zero(len(rows))} | blind.pictures(song, mine["second"])
    for who, pictures in constant.items():
        if who == "random second":
            continue
        add_by_second(who, pictures)
        if which is not None:
            values.add(who, rows, _one_answer(len(seconds)))
    name("zero EEG", rows, constant["zero EEG"])
    # the true music
    before = baselines.previous_second(job.windows, song, seconds)[again]
    add_by_second("previous second", before)
    if which is not None:
        once = WhichSecond.of(
            before[first], target[first], mine.iloc[first].assign(recording=song).reset_index(drop=True)
        )
        values.add("previous second", rows, {k: v[again] for k, v in once.scores().items()})
    taken, pictures = baselines.ceiling(job.windows, song, seconds)
    add("ceiling", pictures, first[np.isin(seconds, taken)])
    if song in blind.songs:
        values.add("song told", rows, job.likeness(blind.song_told(song, prediction), target))
    # other answers for every window, on a part of the recordings where there are many
    part = np.flatnonzero(job.beside[rows])
    some = mine.iloc[part].reset_index(drop=True)
    answers = dict(_other_eeg(job, some)[1:])
    if "random second" in constant:
        answers["random second"] = lambda: constant["random second"][part]
    if fingerprint is not None:
        answers["fingerprint"] = lambda: np.stack([blind.songs[one] for one in fingerprint[rows[part]]])
    for who, answer in answers.items() if len(part) else ():
        try:
            pictures = answer()
        except ParameterError as error:
            notes[who] = str(error)
        else:
            add(who, pictures, part)
            if who in controls.CONTROLS:
                name(who, rows[part], pictures)
    # the same predictions for other windows
    for who, giver in (("shuffled", controls.shuffled(mine)), ("other listener", controls.other_listener(mine))):
        taker = np.flatnonzero(giver >= 0)
        if not len(taker):
            notes[who] = _ALONE[who]
            continue
        if which is not None:
            values.add(who, rows[taker], which.scores_of(rows[giver[taker]], rows[taker]))
        if namer is not None:
            values.name(who, rows[taker], values.named[""][rows[giver[taker]]])
        taker = taker[job.beside[rows[taker]]]
        if len(taker):
            values.add(who, rows[taker], job.likeness(prediction[giver[taker]], target[taker]))
    return notes


_ALONE = {
    "shuffled": "a recording has one test window only",
    "other listener": "no other test listener has the same second of the same song and hearing",
}


def _other_eeg(job, table):
    """Controls that ask the network again: (name, function that answers)."""
    return (
        ("zero EEG", lambda: job.substitute.zero(len(table))),
        ("noise EEG", lambda: job.substitute.noise(table)),
        ("silence", lambda: job.substitute.silence(table)),
    )


def _one_answer(n_candidates):
    """Scores of one answer for all seconds: chance, to the digit."""
    return {"retrieval": 0.5, "match-mismatch": 0.5} | {f"top-{k}": k / n_candidates for k in TOP if k <= n_candidates}


def _labels(table):
    return {"recordings": table["recording"].to_numpy(str), "songs": table["stimulus"].to_numpy(str),
            "seconds": table["second"].to_numpy()}  # fmt: skip


def _picture_p(job, values):
    """p of the metrics of pictures, on the same part of the recordings as the answers beside the run."""
    part = np.flatnonzero(job.beside)
    p = scorecard.p_values(
        job.table.iloc[part].reset_index(drop=True), observed={name: values.own(name)[part] for name in PICTURE},
        prediction=lambda rows: job.prediction(part[rows]), target=lambda rows: job.target(part[rows]),
        data_range=job.windows.data_range,
    )  # fmt: skip
    if len(part) == len(job.table):
        return p
    return {name: (value, f"{unit}, on {len(part)} windows") for name, (value, unit) in p.items()}


def _fingerprint(job):
    """Songs that the fingerprint classifier names for the test windows; None where a test song cannot be named.

    Nor where every recording trains with one window only, which leaves no spread to tell them apart by.
    """
    table = job.view.table
    if not set(job.songs) <= set(table["stimulus"]) or len(table) == table["recording"].nunique() > 1:
        return None
    fitted = baselines.Fingerprint(job.view, kind=job.windows.settings["eeg"])
    blocks = np.array_split(job.split.test, -(-len(job.split.test) // sides.BLOCK))
    return np.concatenate([fitted.songs(job.windows.pictures(block)) for block in blocks])


def _second_row(name, values, table, which, p):
    if which is None:
        return scorecard.row(name, None, table, note=scorecard.ONE_SECOND)
    own = values.own(name)
    if own is None:
        return scorecard.row(name, None, table, note=which.why_not(name))
    return scorecard.row(name, own, table, chance=which.chance(name), p=p, beside=values.beside(name))
