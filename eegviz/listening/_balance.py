"""Which examples a listening test plays, against which foils, in which order: balanced as far as the data allow.

Everything here is choice by rule and seed; no sound, no file. The aims, in this order: as many trials of every song; as
many of the beginning, middle and end within each song; examples that no other version plays; as many of every EEG listener.
Within a version every reconstruction is heard twice, once as the answer and once as the foil: how often a sound is heard
then tells nothing about it.

Functions: `choose`, `set_aside`, `apart`, `unevenness`, `mix_kinds`, `pair_foils`, `sides`, `order`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from eegviz.errors import ParameterError

POSITIONS = ("beginning", "middle", "end")  # thirds of the seconds of a song that the run has
OTHER_SONG, SAME_SONG = "other song", "same song"
_FORBIDDEN = 1e6
_WEIGHTS = (
    1e5,
    1e4,
    1e3,
    10.0,
    1.0,
    0.1,
)  # of song, song and position, position, EEG listener, moment, song and EEG listener
_REUSE = 100.0  # of an example that another version plays
_ORDERS = 64  # random orders of which the best is taken (our choice)


@dataclass(frozen=True, order=True)
class Example:
    """A stretch of a song as one recording of EEG heard it.

    Attributes
    ----------
    song, listener, recording : str
        `listener` is the person whose EEG it is, not the one who takes the test.
    start : int
        First second of the song.
    position : {"beginning", "middle", "end"}
        Third of the song that holds the example's middle.
    """

    song: str
    listener: str
    recording: str
    start: int
    position: str

    @property
    def moment(self):
        """Song and second: examples of one moment have the same original."""
        return self.song, self.start


def choose(pool, sizes, *, used=(), rng):
    """Choose examples for several lists at a time, none twice within a list.

    Parameters
    ----------
    pool : sequence of Example
    sizes : sequence of int
        Length of each list; the lists are filled in turn, so that none gets what the others left.
    used : iterable of Example
        What is played elsewhere already and better not again.
    rng : numpy.random.Generator

    Returns
    -------
    list of list of Example

    Raises
    ------
    ParameterError
        A list is longer than the pool.
    """
    pool, lists, seen = sorted(set(pool)), [_Chosen() for _ in sizes], Counter(used)
    if sizes and max(sizes) > len(pool):
        raise ParameterError(
            f"{max(sizes)} trials need as many different examples, and the test seconds hold {len(pool)}. Ask for fewer "
            "trials or shorter clips, or take a run that holds out more."
        )
    for step in range(max(sizes, default=0)):
        for chosen, size in zip(lists, sizes, strict=True):
            if step < size:
                seen[chosen.add(pool, seen, rng)] += 1
    for chosen in lists:
        chosen.even_out(pool, seen)
    return [chosen.examples for chosen in lists]


class _Chosen:
    """A list that grows by the example that its balance lacks most."""

    def __init__(self):
        self.examples, self.count = [], Counter()

    def add(self, pool, seen, rng):
        count, taken = self.count, set(self.examples)
        jitter = rng.random(len(pool))

        def lack(i):
            one = pool[i]
            return (
                count["song", one.song], count["cell", one.song, one.position], count["position", one.position], seen[one],
                count["listener", one.listener], count["moment", *one.moment], count["pair", one.song, one.listener], jitter[i],
            )  # fmt: skip

        best = pool[min((i for i, one in enumerate(pool) if one not in taken), key=lack)]
        self.examples.append(best)
        self._tally(best, 1)
        return best

    def even_out(self, pool, seen):
        """Exchange examples within their song for as long as that makes the balance better."""
        songs = {}
        for one in pool:
            songs.setdefault(one.song, []).append(one)
        changed = True
        while changed:
            changed = False
            for i, old in enumerate(self.examples):
                taken = set(self.examples)
                better = [
                    (self._change(old, new) + _REUSE * (seen[new] - seen[old] + 1), new)
                    for new in songs[old.song] if new not in taken
                ]  # fmt: skip
                change, new = min(better, default=(0.0, old))
                if change < -1e-9:
                    self.examples[i] = new
                    for one, by in ((old, -1), (new, 1)):
                        self._tally(one, by)
                        seen[one] += by
                    changed = True

    def _change(self, old, new):
        """How much the sum of squared counts grows, by weight, when `new` takes the place of `old`."""
        pairs = zip(_keys(old), _keys(new), strict=True)
        return sum(
            weight * (self.count[b] - self.count[a] + 1)
            for weight, (a, b) in zip(_WEIGHTS, pairs, strict=True)
            if a != b
        )

    def _tally(self, one, by):
        for key in _keys(one):
            self.count[key] += by


def _keys(one):
    """What an example counts for, in the order of `_WEIGHTS`."""
    return (
        ("song", one.song), ("cell", one.song, one.position), ("position", one.position), ("listener", one.listener),
        ("moment", *one.moment), ("pair", one.song, one.listener),
    )  # fmt: skip


def set_aside(pool, n, *, duration, rng):
    """Moments that some trials can leave to others: of different songs and thirds, and the last of no third where that can be.

    Returns
    -------
    list of (str, int)
        Song and second, at most `n`, the best first; none shares a second with another.
    """
    left = sorted({(*one.moment, one.position) for one in pool})
    made, count = [], Counter()
    while left and len(made) < n:
        room = Counter((song, position) for song, _, position in left)
        jitter = rng.random(len(left))

        def cost(i, left=left, room=room, jitter=jitter):
            song, _, position = left[i]
            there = room[song, position]
            return there == 1, count[song], count[song, position], count[position], -there, jitter[i]

        song, start, position = left[min(range(len(left)), key=cost)]
        made.append((song, start))
        count.update([song, (song, position), position])
        left = [one for one in left if one[0] != song or abs(one[1] - start) >= duration]
    return made


def apart(pool, moments, *, duration):
    """The examples of a pool that share no second of music with any of the moments."""
    starts = {}
    for song, start in moments:
        starts.setdefault(song, set()).add(start)
    return [one for one in pool if all(abs(one.start - start) >= duration for start in starts.get(one.song, ()))]


def unevenness(targets, foils, pool):
    """How far a version is from even, smaller is better.

    Returns
    -------
    tuple of int
        Difference of the largest and smallest number of trials over songs, thirds of songs, thirds, EEG listeners of the
        pool; how often the most frequent foil is heard; foils from the EEG listener of their target.
    """
    sizes = []
    for of in (
        lambda one: one.song, lambda one: (one.song, one.position), lambda one: one.position, lambda one: one.listener
    ):  # fmt: skip
        count = Counter(of(one) for one in targets)
        sizes.append([count[key] for key in {of(one) for one in pool}])
    alike = sum(one.listener == other.listener for one, other in zip(targets, foils, strict=True))
    return *(max(one) - min(one) for one in sizes), max(Counter(foils).values()), alike


def mix_kinds(targets, n_same, *, duration, rng):
    """Which trials get a foil of the same song: `n_same` of them, spread evenly over songs and positions.

    Only trials of songs that have a second example `duration` seconds away can.

    Returns
    -------
    np.ndarray of bool [shape=(len(targets),)]

    Raises
    ------
    ParameterError
        Fewer than `n_same` can.
    """
    jitter = rng.random(len(targets))
    can = [
        i for i, one in enumerate(targets)
        if any(one.song == other.song and abs(one.start - other.start) >= duration for other in targets)
    ]  # fmt: skip
    if len(can) < n_same:
        raise ParameterError(
            f"{n_same} of {len(targets)} trials are to have a foil of the same song, and only {len(can)} have another example of "
            f"their song {duration:g} s or more away in the same version. Ask for more trials, shorter clips or same_song=0."
        )
    ranked = np.array(sorted(can, key=lambda i: (targets[i].song, targets[i].position, jitter[i])), int)
    steps = np.floor(np.arange(len(can) + 1) * n_same / max(1, len(can)) + rng.random())
    same = np.zeros(len(targets), bool)
    same[ranked[np.diff(steps) > 0]] = True
    return same


def pair_foils(targets, same, *, duration, rng):
    """A foil for each target, out of the targets themselves, each once where that can be.

    A foil never overlaps the target's own seconds; it comes from another EEG listener, and a foil of another song from
    the same third of its song, where that can be.

    Parameters
    ----------
    targets : sequence of Example
    same : array_like of bool
        Which trials get a foil of the same song.
    duration : float
        Seconds of an example.
    rng : numpy.random.Generator

    Returns
    -------
    list of Example

    Raises
    ------
    ParameterError
        There is no second song.
    """
    from scipy.optimize import linear_sum_assignment

    n = len(targets)
    cost = 0.1 * rng.random((n, n))
    for i, one in enumerate(targets):
        for j, other in enumerate(targets):
            if (one.song == other.song) != bool(same[i]) or (same[i] and abs(one.start - other.start) < duration):
                cost[i, j] = _FORBIDDEN
            else:
                cost[i, j] += (one.listener == other.listener) + 0.3 * (not same[i] and one.position != other.position)
    for i in np.flatnonzero(cost.min(axis=1, initial=np.inf) >= _FORBIDDEN):
        raise ParameterError(
            f"all examples are of song {targets[i].song}: a foil of another song needs two songs. Ask for same_song=1."
        )
    for copies in range(1, n + 1):  # a foil is heard twice only where once cannot be
        rows, columns = linear_sum_assignment(np.hstack([cost + 10 * k for k in range(copies)]))
        if cost[rows, columns % n].max() < _FORBIDDEN:
            break
    return [targets[j] for j in columns % n]


def sides(trials, *, rng):
    """The side of the right answer of each trial: as often A as B over all, and within each kind of foil and song.

    Parameters
    ----------
    trials : sequence of (str, str)
        Kind of foil and song.

    Returns
    -------
    list of {"A", "B"}
    """
    jitter = rng.random(len(trials))
    ranked = sorted(range(len(trials)), key=lambda i: (*trials[i], jitter[i]))
    made, first = [""] * len(trials), int(rng.integers(2))
    for place, i in enumerate(ranked):
        made[i] = "AB"[(place + first) % 2]
    return made


def order(features, *, rng):
    """The best of some random orders: neighbours that share a feature are few, and no long row has one.

    Parameters
    ----------
    features : sequence of sequence
        Of each trial, such as song, EEG listener and side of the right answer; the last one counts in long rows only.
    rng : numpy.random.Generator

    Returns
    -------
    np.ndarray of int
    """
    n = len(features)
    if n < 3:
        return rng.permutation(n)
    known = [{value: k for k, value in enumerate(dict.fromkeys(column))} for column in zip(*features, strict=True)]
    codes = np.array([[known[k][value] for k, value in enumerate(one)] for one in features])
    orders = rng.permuted(np.tile(np.arange(n), (_ORDERS, 1)), axis=1)
    same = np.diff(codes[orders], axis=1) == 0  # (n_orders, n - 1, n_features)
    rows = same[:, 2:] & same[:, 1:-1] & same[:, :-2]  # four alike in a row
    return orders[np.argmin(same[..., :-1].sum(axis=(1, 2)) + 4 * rows.sum(axis=(1, 2)))]
