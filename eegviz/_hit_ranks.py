"""Ranks, hits and candidates of chord progressions, from plain arrays (public in `eegviz.hits`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz import _checks, chords
from eegviz._class_scores import Hits
from eegviz.errors import DataError, ParameterError

SEGMENT = 4  # seconds (paper)
DISTRACTORS = 100  # unpublished; our choice
_DIGITS = 9  # of a score: less is rounding, and must not break ties


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the true candidate comes: `rank` (n,), 1 the best, the mean rank for ties; `tied` (n,), others as good."""

    rank: np.ndarray
    tied: np.ndarray
    n_candidates: int


def ranks(scores, *, true=0) -> Ranks:
    """Rank of the true candidate of each segment.

    Parameters
    ----------
    scores : array_like, shape (n, n_candidates)
        Higher is better.
    true : int or array_like of int, shape (n,)
        Column of the true candidate.

    Returns
    -------
    Ranks

    Raises
    ------
    ParameterError
        For shapes that do not fit.
    DataError
        For NaN.

    Examples
    --------
    >>> found = ranks([[0.3, 0.9, 0.1], [0.5, 0.5, 0.1]])
    >>> found.rank.tolist(), found.tied.tolist()
    ([2.0, 1.5], [0, 1])
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or not scores.size:
        raise ParameterError(f"scores have shape {scores.shape}, expected (n, n_candidates).")
    true = np.broadcast_to(np.asarray(true), (len(scores),))
    if true.dtype.kind not in "iu" or true.min() < 0 or true.max() >= scores.shape[1]:
        raise ParameterError(f"true must hold columns from 0 to {scores.shape[1] - 1}.")
    if np.isnan(scores).any():
        row = int(np.argmax(np.isnan(scores).any(1)))
        raise DataError(f"scores of segment {row} hold NaN: a NaN has no rank. Look for a diverged training.")
    own = np.take_along_axis(scores, true[:, None], axis=1)
    above, tied = (scores > own).sum(1), (scores == own).sum(1) - 1
    return Ranks(1 + above + tied / 2, tied, scores.shape[1])


def hits(rank, ks, n_candidates, *, tied=0) -> list[Hits]:
    """Hits@k of ranks: the share of true candidates among the k best.

    Parameters
    ----------
    rank : array_like, shape (n,)
        Of the true candidate, 1 the best; the mean rank where others are as good.
    ks : sequence of int
        Each from 1 to `n_candidates`.
    n_candidates : int
        The true one among them.
    tied : int or array_like of int, shape (n,)
        Others that are as good as the true one; they are put before and after it by lot, in expectation.

    Returns
    -------
    list of eegviz.identification.Hits
        One for each k: ``value``, ``k``, ``n_candidates``, ``chance`` (k/N), ``n``.

    Raises
    ------
    ParameterError
        For a k below 1 or above the candidates, or ranks that cannot be.

    Examples
    --------
    >>> for one in hits([1, 3, 40, 101], (1, 20), 101):
    ...     print(one)
    Hits@1 0.250 (chance 1/101 = 0.010, n = 4)
    Hits@20 0.500 (chance 20/101 = 0.198, n = 4)
    """
    values = hit_values(rank, ks, n_candidates, tied=tied)
    n = len(values)
    return [
        Hits(value=float(values[:, i].mean()), k=int(k), n_candidates=int(n_candidates), chance=k / n_candidates, n=n)
        for i, k in enumerate(ks)
    ]


def hit_values(rank, ks, n_candidates, *, tied=0):
    """Expected hits of each segment: ``(n, len(ks))``, 0 to 1; parameters and errors are those of `hits`."""
    size, rank = _checks.count(n_candidates, "n_candidates"), _checks.finite(rank, "ranks")
    ks = [_checks.count(k, "k") for k in ks]
    if not ks:
        raise ParameterError("ks is empty: name one k or more, such as (1, 3, 5, 10, 20).")
    if max(ks) > size:
        raise ParameterError(f"k={max(ks)} is larger than the number of candidates ({size}): all would be hits.")
    tied = np.broadcast_to(np.asarray(tied), rank.shape)
    above = rank - 1 - tied / 2
    if tied.min() < 0 or above.min() < 0 or (above + tied).max() > size - 1:
        raise ParameterError(
            f"ranks run from {rank.min():g} to {rank.max():g} with up to {tied.max()} ties: among {size} candidates they lie "
            f"from 1 to {size}."
        )
    return np.clip((np.array(ks) - above[:, None]) / (tied[:, None] + 1), 0, 1)


@dataclass(frozen=True, eq=False)
class Segments:
    """Segments of recordings: a `table` with a row each, and the positions of their windows, `rows` (n, n_windows)."""

    table: pd.DataFrame
    rows: np.ndarray
    seconds: int

    def __len__(self):
        return len(self.table)


def segments(table, *, seconds=SEGMENT, duration=1) -> Segments:
    """Join the windows of a table to segments that begin at multiples of their length.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a window: ``recording``, ``second``, and what else belongs to it.
    seconds : int
        Of a segment.
    duration : int
        Seconds of a window; segments hold a whole number of windows.

    Returns
    -------
    Segments
        Sorted by recording and second; only those of which the table has every window. `rows` are positions in `table`.

    Raises
    ------
    ParameterError
        When windows do not fill segments, or there is no whole segment.

    Examples
    --------
    >>> found = segments(pd.DataFrame({"recording": "r", "second": [0, 1, 2, 3, 4, 5]}), seconds=2)
    >>> found.table["second"].tolist(), found.rows.tolist()
    ([0, 2, 4], [[0, 1], [2, 3], [4, 5]])
    """
    seconds, duration = _checks.count(seconds, "seconds"), _checks.count(duration, "duration")
    if seconds % duration:
        raise ParameterError(
            f"windows of {duration} s do not fill segments of {seconds} s: choose a multiple of {duration} s."
        )
    parts, starts, n_windows = [], [], seconds // duration
    for _, places in sorted(table.reset_index(drop=True).groupby("recording", sort=True).indices.items()):
        where = dict(zip(table["second"].to_numpy()[places].tolist(), places.tolist(), strict=True))
        for start in sorted(second for second in where if second % seconds == 0):
            wanted = [where.get(start + i * duration) for i in range(n_windows)]
            if None not in wanted:
                parts.append(wanted)
                starts.append(start)
    if not parts:
        raise ParameterError(
            f"no recording has {seconds} seconds in a row that begin at a multiple of {seconds}: a progression needs a whole "
            "segment. Take a split that keeps neighbouring seconds together, such as subject, repeat or blocked."
        )
    rows = np.array(parts)
    return Segments(table.iloc[rows[:, 0]].assign(second=starts).reset_index(drop=True), rows, seconds)


def pool(progressions, *, transposed=True):
    """The distinct progressions among `progressions` (n, n_steps), in all twelve transpositions or as they are.

    Parameters
    ----------
    progressions : array_like of int, shape (n, n_steps)
        Those without any chord are left out.
    transposed : bool

    Returns
    -------
    ndarray of int, shape (m, n_steps)
        Sorted.

    Examples
    --------
    >>> pool([[0, 0], [0, 0], [24, 24]]).tolist()[:3], len(pool([[0, 0]])), len(pool([[0, 7], [2, 9]]))
    ([[0, 0], [1, 1], [2, 2]], 12, 12)
    """
    rows = np.atleast_2d(np.asarray(progressions, int))
    rows = rows[(rows != chords.NONE).any(1)]
    every = [chords.transpose(rows, semitones) for semitones in range(12 if transposed else 1)]
    return np.unique(np.concatenate(every), axis=0)


def candidates(true, pool, *, n_distractors=DISTRACTORS, seed=0):
    """The true progression of each segment and its distractors.

    Parameters
    ----------
    true : array_like of int, shape (n, n_steps)
        Chord numbers.
    pool : array_like of int, shape (m, n_steps)
        Distinct progressions to draw from (`pool`).
    n_distractors : int
        1 or more; drawn without replacement, never equal to the true one.
    seed : int
        The distractors of a progression depend on it, on the pool and on nothing else.

    Returns
    -------
    ndarray of int, shape (n, 1 + n_distractors, n_steps)
        The true one first.

    Raises
    ------
    ParameterError
        When the pool is too small, or shapes do not fit.

    Examples
    --------
    >>> candidates([[0, 7]], pool([[0, 7], [0, 5]]), n_distractors=3).shape
    (1, 4, 2)
    """
    n_distractors = _checks.count(n_distractors, "n_distractors")
    true, pool = np.asarray(true, int), np.asarray(pool, int)
    if true.ndim != 2 or pool.ndim != 2 or true.shape[1] != pool.shape[1]:
        raise ParameterError(f"true {true.shape} and pool {pool.shape}: expected (n, n_steps) and (m, n_steps).")
    distinct, which = np.unique(true, axis=0, return_inverse=True)
    drawn = np.empty((len(distinct), 1 + n_distractors, true.shape[1]), int)
    for i, one in enumerate(distinct):
        others = pool[(pool != one).any(1)]
        if len(others) < n_distractors:
            raise ParameterError(
                f"the training gives {len(pool)} distinct progressions to draw from, {len(others)} beside a true one: too "
                f"few for n_distractors={n_distractors}. Ask for fewer, or train on more music."
            )
        rng = np.random.default_rng([seed, *one.tolist()])
        drawn[i, 0], drawn[i, 1:] = one, others[rng.choice(len(others), n_distractors, replace=False)]
    return drawn[which.ravel()]


def scores(like, candidates):
    """Score of each candidate: the mean over the steps of the likeness to its chord.

    Parameters
    ----------
    like : array_like, shape (n, n_steps, 25)
        Likeness of each step to the 25 chords (`eegviz.chords.likeness`, or its `log_probability`).
    candidates : array_like of int, shape (n, n_candidates, n_steps)

    Returns
    -------
    ndarray, shape (n, n_candidates)
    """
    like, candidates = np.asarray(like, float), np.asarray(candidates).astype(int)
    if like.ndim != 3 or candidates.ndim != 3 or candidates.shape[::2] != like.shape[:2]:
        raise ParameterError(
            f"likeness {like.shape} and candidates {candidates.shape}: expected (n, n_steps, 25) and (n, n_candidates, "
            "n_steps)."
        )
    taken = np.take_along_axis(like, candidates.transpose(0, 2, 1), axis=2)  # (n, n_steps, n_candidates)
    return taken.mean(1).round(_DIGITS)
