"""Scores of what a prediction names: the second of the song, the class, the candidate; each with its chance level.

Conventions
-----------
* Predictions and targets are ``(n, n_frames, n_bins)``, one row a window, in the normalised scale [0, 1]; any float
  type, memory maps too. A NaN or an infinite value raises `DataError`: it must never score.
* Labels (recordings, songs, classes) are arrays of n strings or integers.
* Ties of `retrieval` and `hits_at_k` count at their expectation: what is the same for all windows gets exactly chance.

Functions
---------
* which second of the song: `retrieval`, `retrieval_percentile`, `match_mismatch`
* which class or candidate: `accuracy`, `kappa`, `chance_accuracy`, `hits_at_k`
"""

from dataclasses import dataclass

import numpy as np

from eegviz import _checks
from eegviz._class_scores import Hits, accuracy, chance_accuracy, hits_at_k, kappa
from eegviz._pictures import check_labels, check_pair, groups, mean_picture, read_rows, unit
from eegviz.errors import DataError, ParameterError

__all__ = [
    "Hits",
    "MatchMismatch",
    "Retrieval",
    "RetrievalTable",
    "accuracy",
    "chance_accuracy",
    "hits_at_k",
    "kappa",
    "match_mismatch",
    "retrieval",
    "retrieval_percentile",
]


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
        What every candidate would get if it were the true one; `candidates` and `reassigned` read it.
    chance : float
        Exact chance level of `percentile`, `rank_accuracy` and `two_way`: one half.
    """

    percentile: np.ndarray
    above: np.ndarray
    tied: np.ndarray
    n_candidates: np.ndarray
    centred: bool
    table: "RetrievalTable"
    chance: float = 0.5

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
        """Probability that the true second is among the k best, ties broken at random, shape (n,); see `chance_top_k`.

        Raises
        ------
        ParameterError
            When a window has fewer than k candidates.
        """
        k = self._k(k)
        return np.clip((k - self.above) / (self.tied + 1), 0, 1)

    def chance_top_k(self, k=1):
        """Chance level of `top_k`: k/n_candidates, shape (n,); errors as in `top_k`."""
        return self._k(k) / self.n_candidates

    def candidates(self, *, k=None):
        """What every candidate of every window would score as the true one, in the layout of `RetrievalTable`.

        Parameters
        ----------
        k : int, optional
            Score `top_k`; otherwise the percentile.

        Returns
        -------
        ndarray, shape (n_candidates.sum(),)
        """
        k = None if k is None else self._k(k)
        table, scores = self.table, np.empty(len(self.table.percentiles))
        for size in np.unique(self.n_candidates):
            own = np.flatnonzero(self.n_candidates == size)
            for rows in np.array_split(own, -(-len(own) // 1024)):
                places = table.start[rows, None] + np.arange(size)
                # 2·(N − 1)·percentile is a whole number: single precision is undone.
                doubled = np.rint(2.0 * (size - 1) * table.percentiles[places])
                scores[places] = doubled / (2 * (size - 1)) if k is None else _hits(doubled, k)
        return scores

    def reassigned(self, order, *, k=None):
        """Scores as if row i had the true second of row ``order[i]``: the null of a permutation test.

        Parameters
        ----------
        order : array_like of int, shape (n,)
            Row whose second each row is given; both of the same recording (`eegviz.stats.permute_within`).
        k : int, optional
            Score `top_k`; otherwise the percentile.

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
        return self.candidates(k=k)[self.table.start + self.table.column[order]]

    def _k(self, k):
        k, least = _checks.count(k, "k"), int(self.n_candidates.min())
        if k > least:
            raise ParameterError(
                f"top-{k} needs {k} candidates, and a song has only {least} test seconds: take a smaller k or longer tests."
            )
        return k


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


@dataclass(frozen=True, eq=False)
class MatchMismatch:
    """Answers of a match–mismatch test.

    Attributes
    ----------
    right : ndarray of bool, shape (n,)
        Whether the true second was chosen.
    side : ndarray of int, shape (n,)
        Where the true second was presented: 0 the first, 1 the second.
    imposter : ndarray, shape (n,)
        Second of the song that was the other candidate.
    column : ndarray of int, shape (n,)
        Its place among the song's test seconds (`eegviz.nulls.match_mismatch` reads it).
    apart : float
        Least distance of the imposter in seconds.
    chance : float
        One half.
    """

    right: np.ndarray
    side: np.ndarray
    imposter: np.ndarray
    column: np.ndarray
    apart: float
    chance: float = 0.5

    @property
    def accuracy(self):
        """Share of right answers over all windows."""
        return float(self.right.mean())

    def __str__(self):
        return (
            f"match–mismatch {self.accuracy:.3f} (chance 0.5; imposter of the same song, {self.apart:g} s away or more; "
            f"n = {len(self.right)})"
        )


def match_mismatch(prediction, target, *, recordings, songs, seconds, apart=2.0, seed=0, found=None):
    """Which of two seconds was heard: the true one or an imposter from the same song [1]_?

    The imposter is a random other test second of the song. The two are presented in random order, each recording having
    the true one first in half of its windows (the odd one by lot), and the answer is the candidate with the larger
    centred correlation, as in `retrieval`; of equal ones the first. A decoder that answers by side gets chance.

    Parameters
    ----------
    prediction, target, recordings, songs, seconds
        As in `retrieval`.
    apart : float
        Least distance between the starts of the two candidates. With windows of 1 s, 2 s leave a second between them, so
        that the imposter is no neighbour that sounds on (our choice).
    seed : int or numpy.random.Generator
        Draws imposters and sides; the result does not depend on the order of the rows.
    found : Retrieval, optional
        ``retrieval(prediction, target, ...)`` of the same windows, when it is at hand.

    Returns
    -------
    MatchMismatch

    Raises
    ------
    DataError, ParameterError
        As in `retrieval`; also when a window has no other test second of its song that is far enough.

    Notes
    -----
    Over all imposters the expected accuracy is the retrieval percentile: this is the task listeners and other papers
    have, with one imposter, and is noisier.

    References
    ----------
    .. [1] de Cheveigné et al. 2021, "Auditory stimulus-response modeling with a match-mismatch task",
       doi:10.1088/1741-2552/abf771.

    Examples
    --------
    >>> target = np.random.default_rng(0).random((6, 4, 5))
    >>> print(match_mismatch(target, target, recordings=["r"] * 6, songs=["a"] * 6, seconds=range(6)))
    match–mismatch 1.000 (chance 0.5; imposter of the same song, 2 s away or more; n = 6)
    """
    if not (np.isfinite(apart) and apart > 0):
        raise ParameterError(f"apart={apart}: expected a number of seconds above 0.")
    if found is None:
        found = retrieval(prediction, target, recordings=recordings, songs=songs, seconds=seconds)
    n = len(found.percentile)
    recordings, songs, seconds = (
        check_labels(x, n, name) for x, name in ((recordings, "recordings"), (songs, "songs"), (seconds, "seconds"))
    )
    order = np.lexsort((seconds, songs, recordings))  # by lot in this order, whatever the order of the rows
    rng = np.random.default_rng(seed)
    lot, coin = np.empty(n), np.empty(n)
    lot[order], coin[order] = rng.random((2, n))
    imposter, column, side = np.empty(n), np.empty(n, dtype=int), np.empty(n, dtype=int)
    for rows in groups(songs):
        times = np.unique(seconds[rows])
        near = (
            np.searchsorted(times, seconds[rows] - apart + 1e-9),
            np.searchsorted(times, seconds[rows] + apart - 1e-9),
        )
        n_far = near[0] + len(times) - near[1]
        if not n_far.all():
            row = rows[int(np.argmin(n_far))]
            raise DataError(
                f"song {songs[row]} has no test second {apart:g} s or more away from second {seconds[row]:g}: "
                "match–mismatch needs an imposter. Take longer tests or a smaller apart."
            )
        drawn = (lot[rows] * n_far).astype(int)
        column[rows] = np.where(drawn < near[0], drawn, drawn - near[0] + near[1])
        imposter[rows] = times[column[rows]]
    for rows in groups(recordings):
        head = int(coin[rows].max() < 0.5 ** (1 / len(rows)))  # a fair coin that knows nothing of the ranks
        side[rows[np.argsort(coin[rows])]] = (np.arange(len(rows)) + head) % 2
    table = found.table
    true, other = (table.percentiles[table.start + place] for place in (table.column, column))
    right = (true > other) | ((true == other) & (side == 0))
    return MatchMismatch(right, side, imposter, column, float(apart))


def _percentiles(like):
    """For each row, the share of the other values below each value, ties at half."""
    from scipy.stats import rankdata

    return (rankdata(like, axis=1) - 1) / (like.shape[1] - 1)


def _hits(doubled, k):
    """Probability of being among the k best for each column, from twice the number below plus the ties."""
    order = np.sort(doubled, axis=1)
    n = doubled.shape[1]
    scores = np.empty(doubled.shape)
    for row, (own, ranked) in enumerate(zip(doubled, order, strict=True)):
        left, right = np.searchsorted(ranked, own, "left"), np.searchsorted(ranked, own, "right")
        scores[row] = np.clip((k - (n - right)) / (right - left), 0, 1)
    return scores


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
