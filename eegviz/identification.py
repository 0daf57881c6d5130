"""Scores of what a prediction names: the second of the song, the class, the candidate; each with its chance level.

Conventions
-----------
* Predictions and targets are ``(n, n_frames, n_bins)``, one row a window, in the normalised scale [0, 1]; any float
  type, memory maps too. A NaN or an infinite value raises `DataError`: it must never score.
* Labels (recordings, songs, classes) are arrays of n strings or integers.
* Ties of `retrieval` and `hits_at_k` count at their expectation: what is the same for all windows gets exactly chance.

Functions
---------
* which second of the song: `retrieval`, `retrieval_percentile`
* which class or candidate: `accuracy`, `kappa`, `chance_accuracy`, `hits_at_k`
"""

from dataclasses import dataclass

import numpy as np

from eegviz._pictures import check_labels, check_pair, groups, mean_picture, read_rows, unit
from eegviz.errors import DataError, ParameterError


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Where the true second of each window comes among all test seconds of its song.

    Attributes
    ----------
    percentile : ndarray, shape (n,)
        Share of the other candidates that are less like the prediction than the true one, ties at half; chance .5.
        Equal to `two_way` and `rank_accuracy`.
    above, tied : ndarray of int, shape (n,)
        Other candidates that are more like the prediction, and as much like it.
    n_candidates : ndarray of int, shape (n,)
        Candidates, the true one among them.
    centred : bool
    table : RetrievalTable
        What every candidate would get if it were the true one; `reassigned` reads it.
    """

    percentile: np.ndarray
    above: np.ndarray
    tied: np.ndarray
    n_candidates: np.ndarray
    centred: bool
    table: "RetrievalTable"

    @property
    def rank(self):
        """Rank of the true second, 1 the best, the mean rank for ties, shape (n,)."""
        return 1 + self.above + self.tied / 2

    @property
    def rank_accuracy(self):
        """1 − (rank − 1)/(n_candidates − 1), shape (n,); chance .5."""
        return 1 - (self.rank - 1) / (self.n_candidates - 1)

    @property
    def two_way(self):
        """Expected accuracy of choosing between the true and a random other second, shape (n,); chance .5."""
        return self.percentile

    def top_k(self, k=1):
        """Probability that the true second is among the k best, ties broken at random, shape (n,); see `chance_top_k`."""
        k = _count(k, "k")
        return np.clip((k - self.above) / (self.tied + 1), 0, 1)

    def chance_top_k(self, k=1):
        """Chance level of `top_k`: k/n_candidates, at most 1, shape (n,)."""
        return np.minimum(_count(k, "k") / self.n_candidates, 1)

    def reassigned(self, order):
        """Percentiles as if row i had the true second of row ``order[i]``: the null of a permutation test.

        Parameters
        ----------
        order : array_like of int, shape (n,)
            Row whose second each row is given; both of the same recording (`eegviz.stats.permute_within`).

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        ParameterError
            When a row is given the second of another recording.
        """
        order = np.asarray(order)
        if order.shape != self.percentile.shape:
            raise ParameterError(f"order has shape {order.shape}, expected {self.percentile.shape}.")
        recording = self.table.recording
        if (recording[order] != recording).any():
            row = int(np.flatnonzero(recording[order] != recording)[0])
            raise ParameterError(
                f"row {row} is given the second of another recording (row {order[row]}): permute within recordings."
            )
        return self.table.percentiles[self.table.start + self.table.column[order]].astype(float)


@dataclass(frozen=True, eq=False)
class RetrievalTable:
    """Percentiles of all candidates of all windows, one window after another.

    Window i has the candidates ``percentiles[start[i] : start[i] + n_candidates[i]]``; ``column[i]`` is its true one
    and ``recording[i]`` the number of its recording.
    """

    percentiles: np.ndarray
    start: np.ndarray
    column: np.ndarray
    recording: np.ndarray


def retrieval(prediction, target, *, recordings, songs, seconds, centred=True):
    """Within-song retrieval: which second of its song is each prediction most like?

    The candidates of a window are the true pictures of all distinct test seconds of its song. Each recording's mean
    prediction is taken from its predictions (**transductive**: the mean is over the test windows themselves), the
    candidates' mean from the candidates; likeness is Pearson's correlation of the flattened pictures. What marks the
    song or the recording is the same for all candidates and cannot help.

    Parameters
    ----------
    prediction, target : array_like, shape (n, n_frames, n_bins)
        The test windows, in the normalised scale.
    recordings, songs : array_like of n labels
    seconds : array_like of n numbers
        Second of the song at which each window begins.
    centred : bool
        False leaves both means in, for comparison: it hides the effect behind the song's mean picture.

    Returns
    -------
    Retrieval
        Predictions that are the same for all windows of a recording (or its only one) get exactly .5.

    Raises
    ------
    DataError
        For NaN or infinite values, a song with one second only, or one second with different targets.
    ParameterError
        For shapes and labels that do not fit.

    Notes
    -----
    Predictions count as the same when what centring leaves is below 1e-6 of their size, the rounding of single precision.

    Examples
    --------
    >>> target = np.random.default_rng(0).random((6, 4, 5))
    >>> found = retrieval(target, target, recordings=["r"] * 6, songs=["a"] * 6, seconds=range(6))
    >>> found.percentile
    array([1., 1., 1., 1., 1., 1.])
    """
    prediction, target = check_pair(prediction, target)
    n = len(target)
    recordings, songs = check_labels(recordings, n, "recordings"), check_labels(songs, n, "songs")
    seconds = check_labels(seconds, n, "seconds")
    if seconds.dtype.kind not in "iuf" or not np.isfinite(seconds).all():
        raise ParameterError("seconds must be finite numbers: the second of the song at which each window begins.")
    percentile, counts = np.empty(n), np.empty((3, n), dtype=int)
    place = np.empty((3, n), dtype=int)  # start, column, recording
    shares, filled, number = [], 0, 0
    for song_rows in groups(songs):
        times, first, column = np.unique(seconds[song_rows], return_index=True, return_inverse=True)
        if len(times) < 2:
            song = songs[song_rows[0]]
            raise DataError(f"song {song} has one test second only: retrieval needs two or more candidates.")
        candidates = read_rows(target, song_rows[first])
        _same_targets(target, song_rows, candidates, column, songs, seconds)
        candidates = unit(candidates, candidates.mean(axis=0) if centred else None)
        # Equal pictures (silence) must tie exactly: each is compared once and shares its likeness.
        distinct, copy = _distinct(candidates)
        for own in groups(recordings[song_rows]):
            rows, columns = song_rows[own], column[own]
            mean = mean_picture(prediction, rows) if centred else None
            share = np.empty((len(rows), len(times)), dtype=np.float32)
            for start in range(0, len(rows), 256):
                part = slice(start, start + 256)
                like = (unit(read_rows(prediction, rows[part]), mean) @ distinct.T)[:, copy]
                true = np.take_along_axis(like, columns[part, None], axis=1)
                above, tied = (like > true).sum(axis=1), (like == true).sum(axis=1) - 1
                counts[:, rows[part]] = above, tied, np.full(len(above), len(times))
                percentile[rows[part]] = (len(times) - 1 - above - tied / 2) / (len(times) - 1)
                share[part] = _percentiles(like)
            place[:, rows] = filled + np.arange(len(rows)) * len(times), columns, np.full(len(rows), number)
            shares.append(share.ravel())
            filled, number = filled + share.size, number + 1
    return Retrieval(percentile, *counts, bool(centred), RetrievalTable(np.concatenate(shares), *place))


def retrieval_percentile(prediction, target, *, recordings, songs, seconds):
    """Mean within-song retrieval percentile of centred predictions: the primary metric; chance is .5.

    The mean over all windows of ``retrieval(...).percentile``; parameters and errors are those of `retrieval`.

    Returns
    -------
    float

    Examples
    --------
    >>> target = np.random.default_rng(0).random((6, 4, 5))
    >>> labels = dict(recordings=["r"] * 6, songs=["a"] * 6, seconds=range(6))
    >>> retrieval_percentile(np.full((6, 4, 5), 0.3), target, **labels)
    0.5
    """
    found = retrieval(prediction, target, recordings=recordings, songs=songs, seconds=seconds)
    return float(found.percentile.mean())


def _percentiles(like):
    """For each row, the share of the other values below each value, ties at half."""
    from scipy.stats import rankdata

    return (rankdata(like, axis=1) - 1) / (like.shape[1] - 1)


def _distinct(rows):
    """The different rows, and for each row the number of its like among them."""
    number = {}
    copy = np.array([number.setdefault(row.tobytes(), len(number)) for row in rows])
    return rows[np.unique(copy, return_index=True)[1]], copy


def _same_targets(target, rows, candidates, column, songs, seconds):
    """Refuse windows whose target is not the candidate of their second."""
    for start in range(0, len(rows), 256):
        part = slice(start, start + 256)
        apart = np.abs(read_rows(target, rows[part]) - candidates[column[part]]).max(axis=1) > 1e-4
        if apart.any():
            row = rows[part][int(np.argmax(apart))]
            raise DataError(
                f"windows of song {songs[row]}, second {seconds[row]:g} have different targets: "
                "are songs and seconds in the order of the rows?"
            )


def accuracy(predicted, true):
    """Share of windows whose class is right.

    Parameters
    ----------
    predicted, true : array_like of n labels

    Returns
    -------
    float

    Examples
    --------
    >>> accuracy(["a", "b", "b", "a"], ["a", "b", "a", "a"])
    0.75
    """
    predicted, true = _classes(predicted, true)
    return float((predicted == true).mean())


def kappa(predicted, true):
    """Cohen's κ: accuracy beyond what the two marginals agree on by chance, (p_o − p_e)/(1 − p_e).

    Parameters
    ----------
    predicted, true : array_like of n labels

    Returns
    -------
    float
        1 perfect, 0 chance, NaN where only one class occurs in both (κ is undefined).

    References
    ----------
    Cohen 1960, doi:10.1177/001316446002000104.

    Examples
    --------
    >>> kappa(["a", "b", "b", "a"], ["a", "b", "a", "a"])
    0.5
    """
    predicted, true = _classes(predicted, true)
    names, code = np.unique(np.concatenate([predicted, true]), return_inverse=True)
    p, t = (np.bincount(half, minlength=len(names)) / len(true) for half in np.split(code, 2))
    expected = float(p @ t)
    if len(names) == 1:
        return float("nan")
    return float(((predicted == true).mean() - expected) / (1 - expected))


def chance_accuracy(true, *, kind="largest"):
    """Chance level of accuracy, exact for the test windows at hand.

    Parameters
    ----------
    true : array_like of n labels
    kind : {"largest", "uniform"}
        ``"largest"``: always answering the most frequent class (what a classifier without EEG can reach);
        ``"uniform"``: one over the number of classes. They are equal for balanced classes.

    Returns
    -------
    float

    Examples
    --------
    >>> chance_accuracy(["a", "a", "a", "b"]), chance_accuracy(["a", "a", "a", "b"], kind="uniform")
    (0.75, 0.5)
    """
    true, _ = _classes(true, true)
    counts = np.unique(true, return_counts=True)[1]
    if kind == "largest":
        return float(counts.max() / len(true))
    if kind == "uniform":
        return float(1 / len(counts))
    raise ParameterError(f"unknown chance level {kind!r}: expected largest or uniform.")


@dataclass(frozen=True)
class Hits:
    """Hits@k with what it must be read beside: `value`, `k`, `n_candidates`, `chance` (k/N), `n` windows."""

    value: float
    k: int
    n_candidates: int
    chance: float
    n: int

    def __str__(self):
        chance = f"chance {self.k}/{self.n_candidates} = {self.chance:.3f}"
        return f"Hits@{self.k} {self.value:.3f} ({chance}, n = {self.n})"


def hits_at_k(scores, true, *, k):
    """Share of windows whose true candidate is among the k with the highest score.

    Parameters
    ----------
    scores : array_like, shape (n, n_candidates)
        Higher is more likely.
    true : array_like of int, shape (n,)
        Column of the true candidate.
    k : int, 1 ≤ k ≤ n_candidates

    Returns
    -------
    Hits
        Ties are broken at random, in expectation, so that constant scores get exactly k/N.

    Raises
    ------
    ParameterError
        For shapes or a k that do not fit.
    DataError
        For NaN scores.

    Examples
    --------
    >>> print(hits_at_k([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], [1, 1], k=1))
    Hits@1 0.500 (chance 1/3 = 0.333, n = 2)
    """
    scores, true = np.asarray(scores, dtype=float), np.asarray(true)
    if scores.ndim != 2 or true.shape != (len(scores),) or not len(true):
        raise ParameterError(f"scores {scores.shape} and true {true.shape}: expected (n, n_candidates) and (n,).")
    k, size = _count(k, "k"), scores.shape[1]
    if k > size:
        raise ParameterError(f"k={k} is larger than the number of candidates ({size}): all would be hits.")
    if true.dtype.kind not in "iu" or true.min() < 0 or true.max() >= size:
        raise ParameterError(f"true must hold columns from 0 to {size - 1}.")
    if np.isnan(scores).any():
        row = int(np.flatnonzero(np.isnan(scores).any(axis=1))[0])
        raise DataError(f"scores of window {row} hold NaN: a NaN has no rank. Look for a diverged training.")
    own = np.take_along_axis(scores, true[:, None], axis=1)
    above, tied = (scores > own).sum(axis=1), (scores == own).sum(axis=1) - 1
    value = np.clip((k - above) / (tied + 1), 0, 1).mean()
    return Hits(value=float(value), k=k, n_candidates=size, chance=k / size, n=len(true))


def _classes(predicted, true):
    predicted, true = np.asarray(predicted), np.asarray(true)
    if predicted.ndim != 1 or predicted.shape != true.shape or not len(true):
        hint = " Are these class scores? Take their argmax first." if predicted.ndim == 2 else ""
        raise ParameterError(f"predicted {predicted.shape} and true {true.shape}: expected n labels each.{hint}")
    if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
        raise DataError("predicted labels hold NaN or infinity: a NaN is no class.")
    return predicted, true


def _count(value, name):
    if value != int(value) or value < 1:
        raise ParameterError(f"{name}={value}: expected a whole number, 1 or more.")
    return int(value)
