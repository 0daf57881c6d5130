"""Permutation nulls: what every score would be if the order of the music had nothing to do with the predictions.

Conventions
-----------
* The statistic is the **listener mean**: the mean over listeners of each listener's mean over windows
  (`listener_mean`), for the observed score and for its null alike.
* What changes places are whole **blocks of time within a recording**: neighbouring seconds of music and EEG are alike, so
  single windows are not exchangeable. Recordings are turned round by whole blocks, all those of a song by as many, where
  that gives enough different orders; else their blocks are shuffled (`orders` has the rule and its false positives).
* Blocks change places with blocks that hold as many windows only, so that the orders form a group and p-values are exact
  for exchangeable blocks; a block without its like stays in place. A block has 5 s; 2 s or 1 s in recordings where fewer
  than half of the windows could move. `unit` says all of this in words, for printing beside p.
* The null of song identification permutes the songs of whole **recordings** (`labels`).
* Orders depend on what the rows are and on the seed, never on the order of the rows.
* p-values come from `eegviz.stats.permutation_p`.

Functions: `orders`, `retrieval`, `top_k`, `match_mismatch`, `pairs`, `by_bin`, `labels`, `listener_mean`.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz import _checks, stats
from eegviz._orders import LENGTHS, Orders, few, orders
from eegviz._pictures import check_finite, check_labels
from eegviz.errors import DataError, ParameterError

__all__ = [
    "LENGTHS",
    "MAX_PAIRS",
    "Labels",
    "Orders",
    "by_bin",
    "labels",
    "listener_mean",
    "match_mismatch",
    "orders",
    "pairs",
    "retrieval",
    "top_k",
]
MAX_PAIRS = 60_000  # pairs of pictures that `pairs` scores; our choice
_BATCH = 64  # pairs of pictures at a time


def listener_mean(values, listeners):
    """Mean over listeners of each listener's mean over windows.

    Parameters
    ----------
    values : array_like, shape (n_windows, ...)
    listeners : array_like of n_windows labels

    Returns
    -------
    float, or ndarray of the further axes

    Examples
    --------
    >>> listener_mean([0.0, 0.0, 0.0, 1.0], ["A", "A", "A", "B"])
    0.5
    """
    values = np.asarray(values, dtype=float)
    code, sizes = _listeners(listeners, len(values))
    sums = np.zeros((len(sizes), *values.shape[1:]))
    np.add.at(sums, code, values)
    return _mean(sums, sizes)


def retrieval(found, orders, listeners):
    """Null scores of the within-song retrieval percentile.

    Parameters
    ----------
    found : eegviz.identification.Retrieval
    orders : Orders
        Of the table that `found` was made from.
    listeners : array_like of n_windows labels

    Returns
    -------
    ndarray, shape (n,)
        Listener means under each order; compare with ``listener_mean(found.percentile, listeners)``.

    Examples
    --------
    >>> from eegviz import identification
    >>> target = np.random.default_rng(0).random((20, 4, 5))
    >>> table = pd.DataFrame({"recording": "r", "second": range(20)})
    >>> found = identification.retrieval(target, target, recordings=["r"] * 20, songs=["a"] * 20, seconds=range(20))
    >>> null = retrieval(found, orders(table, lengths=(1,)), ["S1"] * 20)
    >>> round(stats.permutation_p(found.percentile.mean(), null), 3)
    0.001
    """
    return _of_candidates(found, orders, listeners, _place(found.table, found.candidates()))


def top_k(found, orders, listeners, k):
    """Null scores of ``found.top_k(k)``; the other parameters, the result and the errors are those of `retrieval`."""
    return _of_candidates(found, orders, listeners, _place(found.table, found.candidates(k=k)))


def match_mismatch(matched, found, orders, listeners):
    """Null scores of a match–mismatch test: predictions change places, candidates and their sides stay.

    Parameters
    ----------
    found : eegviz.identification.Retrieval
    matched : eegviz.identification.MatchMismatch
        Of the same windows.
    orders : Orders
    listeners : array_like of n_windows labels

    Returns
    -------
    ndarray, shape (n,)
        Listener means; compare with ``listener_mean(matched.right, listeners)``.
    """
    table, shares = found.table, found.table.percentiles

    def right(own, other):
        start = table.start[other]
        true, imposter = shares[start + table.column[own]], shares[start + matched.column[own]]
        return (true > imposter) | ((true == imposter) & (matched.side[own] == 0))

    return _of_candidates(found, orders, listeners, right)


def pairs(score, prediction, target, orders, listeners, *, max_pairs=MAX_PAIRS):
    """Null scores of any score of a predicted and a true picture.

    Each pair of pictures that the orders make meet is scored once: with blocks of 5 s a prediction meets one true second
    a block. Memory holds the pictures of one recording.

    Parameters
    ----------
    score : callable
        ``score(prediction, target)`` → (m,) for m pictures each, such as `eegviz.metrics.ssi`.
    prediction, target : array_like, shape (n_windows, n_frames, n_bins), or callable
        Arrays or memory maps in the order of the table, or functions from row numbers to pictures.
    orders : Orders
    listeners : array_like of n_windows labels
    max_pairs : int
        Refuse more pairs than this.

    Returns
    -------
    ndarray, shape (n,)
        Listener means; compare with ``listener_mean(score(prediction, target), listeners)``.

    Raises
    ------
    ParameterError
        When there are more pairs than `max_pairs`, or the arguments do not fit.
    DataError
        When a score is not finite.

    Examples
    --------
    >>> from eegviz import metrics
    >>> target = np.random.default_rng(0).random((20, 4, 5))
    >>> table = pd.DataFrame({"recording": "r", "second": range(20)})
    >>> null = pairs(metrics.cosine, target, target, orders(table, lengths=(1,)), ["S1"] * 20)
    >>> round(stats.permutation_p(metrics.cosine(target, target).mean(), null), 3)
    0.001
    """
    met = [_met(cell) for cell in orders.cells]
    count = sum(len(own) * cell.rows.shape[1] for (own, _), cell in zip(met, orders.cells, strict=True))
    if count > max_pairs:
        raise ParameterError(
            f"the permutations pair {count} pictures, more than max_pairs={max_pairs}. Make the orders with "
            f"orders(table, max_pairs={max_pairs}), whose blocks trade places in small groups, or raise max_pairs."
        )
    code, sizes = _listeners(listeners, orders.n_windows)
    read_prediction, read_target = (_reader(array, orders.n_windows) for array in (prediction, target))
    sums = np.zeros((len(sizes), orders.n))
    for (own, other), cell in zip(met, orders.cells, strict=True):
        n_blocks, size = cell.rows.shape
        inside = np.arange(size)
        predicted, true = read_prediction(cell.rows.ravel()), read_target(cell.rows.ravel())
        i = (own[:, None] * size + inside).ravel()
        j = (other[:, None] * size + inside).ravel()
        values = np.empty(len(i))
        for start in range(0, len(i), _BATCH):
            part = slice(start, start + _BATCH)
            values[part] = score(predicted[j[part]], true[i[part]])
        if not np.isfinite(values).all():
            row = cell.rows.ravel()[i[int(np.argmin(np.isfinite(values)))]]
            raise DataError(f"the score of window {row} is not finite: a permutation test needs numbers.")
        blocks = np.zeros((n_blocks, n_blocks))
        blocks[own, other] = values.reshape(len(own), size).sum(axis=1)
        sums[code[cell.rows[0, 0]]] += _sums(blocks, cell.order)
    return _mean(sums, sizes)


def by_bin(prediction, target, orders, listeners, *, method="bh"):
    """Centred correlation of every mel bin, with its permutation p and the p adjusted for the number of bins.

    Each recording's mean prediction and mean target are taken away (as in `metrics.correlation` with recordings; it uses
    the test recording: transductive); the correlation of a bin goes over all windows and frames of a listener, and is
    averaged over listeners.

    Parameters
    ----------
    prediction, target : array_like, shape (n_windows, n_frames, n_bins), or callable
        As in `pairs`.
    orders : Orders
        `by_bin` scores all pairs of a recording's windows at no cost: orders without `max_pairs` are best.
    listeners : array_like of n_windows labels
    method : {"bh", "by"}
        How `stats.fdr` adjusts.

    Returns
    -------
    pandas.DataFrame
        One row a bin: ``bin``, ``correlation``, ``null mean``, ``p`` (greater), ``p FDR``. A bin whose prediction or
        target does not vary has a correlation of 0 and p = 1.

    Raises
    ------
    DataError
        For NaN or infinite pictures.
    ParameterError
        When the arguments do not fit.

    Examples
    --------
    >>> target = np.random.default_rng(0).random((20, 4, 3))
    >>> table = pd.DataFrame({"recording": "r", "second": range(20)})
    >>> found = by_bin(target, target, orders(table, lengths=(1,)), ["S1"] * 20)
    >>> found[["bin", "correlation"]].round(6).to_numpy().tolist()
    [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    """
    code, _ = _listeners(listeners, orders.n_windows)
    readers = [_reader(array, orders.n_windows) for array in (prediction, target)]
    own = {}  # cells of each recording of each listener
    for cell in orders.cells:
        own.setdefault(code[cell.rows[0, 0]], {}).setdefault(cell.recording, []).append(cell)
    observed, null = 0.0, 0.0
    for listener in sorted(own):
        power, total, sums = np.zeros(2)[:, None], 0.0, 0.0
        for cells in own[listener].values():
            rows = np.concatenate([cell.rows.ravel() for cell in cells])
            pictures = [_centred(read(rows)) for read in readers]
            power = power + [np.einsum("wfb,wfb->b", x, x) for x in pictures]
            p, t = (np.split(x, np.cumsum([cell.rows.size for cell in cells])[:-1]) for x in pictures)
            for cell, predicted, true in zip(cells, p, t, strict=True):
                blocks = _grams(true, predicted, len(cell.rows))
                total = total + np.trace(blocks, axis1=1, axis2=2)
                sums = sums + np.stack([_sums(one, cell.order) for one in blocks], axis=1)
        size = np.sqrt(power[0] * power[1])
        scale = np.divide(1 / len(own), size, out=np.zeros_like(size), where=size > 0)
        observed, null = observed + total * scale, null + sums * scale
    p = np.array([stats.permutation_p(o, column) for o, column in zip(observed, null.T, strict=True)])
    columns = {"bin": np.arange(len(p)), "correlation": observed, "null mean": null.mean(axis=0), "p": p}
    return pd.DataFrame(columns | {"p FDR": stats.fdr(p, method=method)})


@dataclass(frozen=True, eq=False)
class Labels:
    """Null of song identification: `accuracy` (listener means) and `kappa` (n,), the observed ones, and the `unit` in words."""

    accuracy: np.ndarray
    kappa: np.ndarray
    observed_accuracy: float
    observed_kappa: float
    unit: str


def labels(named, true, table, *, n=1000, seed=0):
    """Null of song identification: the songs of whole recordings are permuted.

    All windows of a recording have the same song, so that a recording is one answer. Songs are permuted among the
    recordings of each listener; where no listener has recordings of two songs, among all recordings.

    Parameters
    ----------
    named, true : array_like of n_windows labels
        Song that was named, and that was heard.
    table : pandas.DataFrame
        One row a window: ``recording`` and ``subject``.
    n : int
        Permutations.
    seed : int or numpy.random.Generator

    Returns
    -------
    Labels
        Accuracy is the listener mean, κ is that of all windows together.

    Raises
    ------
    ParameterError
        When all recordings are of one song, or labels do not fit.
    DataError
        When a recording has two songs.

    Examples
    --------
    >>> table = pd.DataFrame({"recording": list("aabbcc"), "subject": ["S1"] * 6})
    >>> found = labels(list("xxyyzz"), list("xxyyzz"), table, n=99)
    >>> found.unit
    'songs of recordings within listeners, 99 permutations (6 different orders)'
    >>> found.observed_accuracy
    1.0
    """
    n = _checks.count(n, "n")
    for column in ("recording", "subject"):
        if column not in table:
            raise ParameterError(f"the table of windows lacks {column}.")
    named, true = (np.asarray(check_labels(x, len(table), name)) for x, name in ((named, "named"), (true, "true")))
    subjects = table["subject"].astype(str).to_numpy(str)
    names, recording = np.unique(table["recording"].astype(str).to_numpy(str), return_inverse=True)
    first = np.unique(recording, return_index=True)[1]
    songs, code = np.unique(np.concatenate([true, named]), return_inverse=True)
    true_code, named_code = np.split(code, 2)
    if (true_code != true_code[first][recording]).any():
        row = int(np.argmax(true_code != true_code[first][recording]))
        raise DataError(f"recording {names[recording[row]]} has two songs ({true[row]} among them): expected one.")
    song, who = true_code[first], np.unique(subjects[first], return_inverse=True)[1]
    if len(set(song)) < 2:
        raise ParameterError(
            f"nothing can be permuted: all {len(names)} test recordings are of one song. "
            "A permutation p of song identification needs two songs."
        )
    teams = [np.flatnonzero(who == one) for one in range(who.max() + 1)]
    words = "within listeners"
    if all(len(set(song[team])) < 2 for team in teams):
        teams, words = [np.arange(len(names))], "among all recordings (no listener has two songs in the test)"
    rng = np.random.default_rng(seed)
    order = np.empty((n, len(names)), dtype=np.intp)
    ways = 0.0
    for team in teams:
        order[:, team] = team[rng.random((n, len(team))).argsort(axis=1)]
        counts = np.unique(song[team], return_counts=True)[1]
        ways += math.lgamma(len(team) + 1) - sum(math.lgamma(count + 1) for count in counts)
    given = song[np.concatenate([np.arange(len(names))[None], order])]  # the first row is what was heard
    size = len(songs)
    times = np.zeros((len(names), size))
    np.add.at(times, (recording, named_code), 1)
    listener, sizes = _listeners(subjects, len(table))
    weights = 1 / (sizes * len(sizes))[listener[first]]
    hits = times[np.arange(len(names)), given]
    accuracy = hits @ weights
    windows = np.bincount(recording).astype(float)
    marginal = np.stack([(windows * (given == one)).sum(axis=1) for one in range(size)], axis=1) / len(table)
    expected = marginal @ (np.bincount(named_code, minlength=size) / len(table))
    kappa = (hits.sum(axis=1) / len(table) - expected) / (1 - expected)
    unit = f"songs of recordings {words}, {n} permutations{few(ways, n)}"
    return Labels(accuracy[1:], kappa[1:], float(accuracy[0]), float(kappa[0]), unit)


# --- helpers -----------------------------------------------------------------------------------------------------


def _of_candidates(found, orders, listeners, score):
    """Null of ``score(own, other)``: rows `own` with the predictions of the rows `other`."""
    if len(found.percentile) != orders.n_windows:
        raise ParameterError(
            f"retrieval has {len(found.percentile)} windows, the orders {orders.n_windows}: make both from the same table."
        )
    (code, sizes), recording = _listeners(listeners, orders.n_windows), found.table.recording
    sums = np.zeros((len(sizes), orders.n))
    for cell in orders.cells:
        rows = cell.rows
        if (recording[rows] != recording[rows[0, 0]]).any():
            raise ParameterError(f"row {rows[0, 0]}: the orders join recordings that the retrieval keeps apart.")
        blocks = score(*np.broadcast_arrays(rows[:, None], rows[None])).sum(axis=2)
        sums[code[rows[0, 0]]] += _sums(blocks, cell.order)
    return _mean(sums, sizes)


def _place(table, scores):
    """Score of the true second of `own` for the prediction of `other`."""
    return lambda own, other: scores[table.start[other] + table.column[own]]


def _sums(blocks, order):
    """Σᵢ blocks[i, order[k, i]] for each permutation k."""
    return blocks[np.arange(len(blocks)), order].sum(axis=1)


def _met(cell):
    """Block pairs that the orders make meet: own and other block of each."""
    met = np.zeros((len(cell.rows), len(cell.rows)), dtype=bool)
    met[np.arange(len(cell.rows)), cell.order] = True
    return np.nonzero(met)


def _reader(array, n):
    """A function from row numbers to checked pictures."""
    if not callable(array):
        array = array if isinstance(array, np.ndarray) else np.asarray(array)
        if array.ndim != 3 or len(array) != n:
            raise ParameterError(f"pictures have shape {array.shape}, expected (n_windows={n}, n_frames, n_bins).")
    pictures = array if callable(array) else array.__getitem__

    def read(rows):
        part = np.asarray(pictures(rows))
        if part.ndim != 3 or len(part) != len(rows):
            raise ParameterError(f"{len(rows)} pictures have shape {part.shape}, expected (m, n_frames, n_bins).")
        check_finite(part, 0, "picture", rows)
        return part

    return read


def _centred(pictures):
    """Pictures less their mean, double precision; a bin where nothing but rounding is left becomes zeros."""
    pictures = pictures.astype(np.float64)
    before = np.einsum("wfb,wfb->b", pictures, pictures)
    pictures -= pictures.mean(axis=0)
    pictures[..., np.einsum("wfb,wfb->b", pictures, pictures) <= 1e-12 * before] = 0
    return pictures


def _grams(own, other, n_blocks):
    """Products of blocks of windows in every bin, (n_bins, n_blocks, n_blocks)."""
    own, other = (x.reshape(n_blocks, -1, x.shape[2]).transpose(2, 0, 1) for x in (own, other))
    return own @ other.transpose(0, 2, 1)


def _listeners(listeners, n):
    """Number of each window's listener, and windows of each."""
    code = np.unique(check_labels(listeners, n, "listeners"), return_inverse=True)[1]
    return code, np.bincount(code)


def _mean(sums, sizes):
    """Listener mean from each listener's sum over windows, (n_listeners, ...)."""
    mean = (sums / sizes.reshape(-1, *[1] * (sums.ndim - 1))).mean(axis=0)
    return float(mean) if mean.ndim == 0 else mean
