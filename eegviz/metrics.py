"""Scores of reconstructed spectrograms: structure, noise, likeness, identification.

Conventions
-----------
* Predictions and targets are ``(n, n_frames, n_bins)``, one row a window, in the normalised scale [0, 1] (so
  ``data_range`` is 1); any float type. Arithmetic is in double precision, in small batches: memory is flat in
  the number of windows, and memory-mapped arrays are read a batch at a time.
* Every picture score is per window (and mel bin), never averaged over windows: averages, intervals and
  p-values over listeners are made in `eegviz.stats`.
* A NaN or an infinite value in a prediction raises `DataError`: it must never score.
* Labels (recordings, songs, classes) are arrays of n strings or integers.

Functions
---------
* pictures: `ssi`, `psnr`, `ssi_per_bin`, `psnr_per_bin`, `mse`, `cosine`, `correlation`
* which second of the song: `retrieval`, `retrieval_percentile`
* which class or candidate: `accuracy`, `kappa`, `chance_accuracy`, `hits_at_k`

Definitions in print: SSI is the structural similarity of Wang et al. 2004 (doi:10.1109/TIP.2003.819861)
with a uniform window of 7, sample covariances, K1 = .01, K2 = .03, mean over the valid area, as in
`skimage.metrics.structural_similarity`; EEG2Mel publishes neither window nor data range: 7 and 1 are our
choice.
"""

from dataclasses import dataclass

import numpy as np

from eegviz.errors import DataError, ParameterError

SSI_WINDOW = 7  # frames (and bins); scikit-image's default
PSNR_CAP = 100.0  # dB; a root-mean-square error of 1e-5, below what the float32 pictures hold
_BATCH = 4  # windows; the buffers of a batch then fit a processor's second-level cache
_K1, _K2 = 0.01, 0.03


def ssi(prediction, target, *, window=SSI_WINDOW, data_range=1.0):
    """Structural similarity of whole pictures.

    Parameters
    ----------
    prediction, target : array_like, shape (n, n_frames, n_bins)
        Normalised scale.
    window : int, odd, ≤ n_frames and ≤ n_bins
        Side of the square that statistics are taken over.
    data_range : float
        Largest minus smallest possible value.

    Returns
    -------
    ndarray, shape (n,)
        1 for equal pictures.

    Raises
    ------
    ParameterError
        For shapes, a window or a scale that do not fit.
    DataError
        For NaN or infinite values.

    Notes
    -----
    Equal to `skimage.metrics.structural_similarity(..., win_size=window, data_range=data_range)`.

    Examples
    --------
    >>> picture = np.linspace(0, 1, 44 * 128).reshape(1, 44, 128)
    >>> float(ssi(picture, picture)[0])
    1.0
    """
    prediction, target = _pair(prediction, target)
    _odd(window, min(target.shape[1:]), "the smaller side of the pictures")
    scores = np.empty(len(target))
    for rows, p, t in _batches(prediction, target, data_range):
        scores[rows] = _structure(p, t, window, (1, 2), data_range).mean(axis=(1, 2))
    return scores


def ssi_per_bin(prediction, target, *, window=SSI_WINDOW, data_range=1.0):
    """Structural similarity of every mel bin, over its one-dimensional row of frames (EEG2Mel).

    Parameters
    ----------
    prediction, target : array_like, shape (n, n_frames, n_bins)
        Normalised scale.
    window : int, odd, ≤ n_frames
        Frames that statistics are taken over (at most 43 for the 44 frames of one second).
    data_range : float
        Largest minus smallest possible value.

    Returns
    -------
    ndarray, shape (n, n_bins)

    Raises
    ------
    ParameterError, DataError
        As in `ssi`.

    Notes
    -----
    Equal to a loop of `skimage.metrics.structural_similarity` over windows and bins in double precision, more
    than fifty times faster (in single precision that loop's own rounding reaches 5e-6 in steady rows). With the
    sum p and the difference m of the two pictures, the two factors of the index are
    (E[p]² − E[m]² + 2C₁)/(E[p]² + E[m]² + 2C₁) and (var p − var m + 2C₂)/(var p + var m + 2C₂), which needs
    four moving sums.
    Two rows that are constant and equal score 1, which a floor of the decibel scale makes frequent.

    Examples
    --------
    >>> picture = np.linspace(0, 1, 44 * 128).reshape(1, 44, 128)
    >>> ssi_per_bin(picture, picture).shape
    (1, 128)
    """
    prediction, target = _pair(prediction, target)
    _odd(window, target.shape[1], "the number of frames")
    scores = np.empty((len(target), target.shape[2]))
    for rows, p, t in _batches(prediction, target, data_range):
        scores[rows] = _structure(p, t, window, (1,), data_range).mean(axis=1)
    return scores


def psnr(prediction, target, *, data_range=1.0, cap=PSNR_CAP):
    """Peak signal-to-noise ratio of whole pictures in dB: 10·log10(data_range² / MSE).

    Parameters
    ----------
    prediction, target : array_like, shape (n, n_frames, n_bins)
        Normalised scale.
    data_range : float
        Largest minus smallest possible value.
    cap : float or None
        Largest value that is returned, so that a mean over windows stays finite where a picture is met
        exactly. None: infinity there, as scikit-image has it.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ParameterError, DataError
        As in `ssi`.

    Examples
    --------
    >>> picture = np.full((1, 44, 128), 0.5)
    >>> psnr(picture + 0.1, picture).round(6)
    array([20.])
    >>> psnr(picture, picture), psnr(picture, picture, cap=None)
    (array([100.]), array([inf]))
    """
    return _decibels(_mean_square(prediction, target, (1, 2), data_range), data_range, cap)


def psnr_per_bin(prediction, target, *, data_range=1.0, cap=PSNR_CAP):
    """Peak signal-to-noise ratio of every mel bin over its row of frames, in dB.

    Parameters, errors and the cap are those of `psnr`.

    Returns
    -------
    ndarray, shape (n, n_bins)

    Examples
    --------
    >>> picture = np.full((1, 44, 128), 0.5)
    >>> float(psnr_per_bin(picture + 0.1, picture)[0, 3].round(6))
    20.0
    """
    return _decibels(_mean_square(prediction, target, (1,), data_range), data_range, cap)


def mse(prediction, target):
    """Mean squared error of each picture, shape (n,).

    Examples
    --------
    >>> mse(np.ones((1, 2, 3)), np.zeros((1, 2, 3)))
    array([1.])
    """
    return _mean_square(prediction, target, (1, 2), None)


def cosine(prediction, target):
    """Cosine of the angle between the flattened pictures of each window.

    Parameters
    ----------
    prediction, target : array_like, shape (n, n_frames, n_bins)

    Returns
    -------
    ndarray, shape (n,)
        In [-1, 1]; 0 where a picture is all zeros.

    Raises
    ------
    ParameterError, DataError
        As in `ssi`.

    Examples
    --------
    >>> cosine(np.ones((1, 2, 2)), [[[1, 0], [0, 0]]])
    array([0.5])
    """
    prediction, target = _pair(prediction, target)
    scores = np.empty(len(target))
    for rows, p, t in _batches(prediction, target, None, 64):
        scores[rows] = _cosine(_flat(p), _flat(t))
    return scores


def correlation(prediction, target, *, recordings=None):
    """Pearson's correlation between the flattened pictures of each window.

    Parameters
    ----------
    prediction, target : array_like, shape (n, n_frames, n_bins)
    recordings : array_like of n labels, optional
        *Centred* correlation: each recording's mean prediction and mean target are taken away first, so that
        what all its windows have in common (the song's spectrum, say) no longer counts. This uses the test
        recording's own mean (transductive); say so beside the score.

    Returns
    -------
    ndarray, shape (n,)
        In [-1, 1]; 0 where a picture does not vary, and for centred predictions that are the same in every
        window of the recording.

    Raises
    ------
    ParameterError, DataError
        As in `ssi`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> target = rng.random((3, 4, 5))
    >>> correlation(0.1 + 0.5 * target, target).round(6)
    array([1., 1., 1.])
    """
    prediction, target = _pair(prediction, target)
    scores = np.empty(len(target))
    if recordings is None:
        for rows, p, t in _batches(prediction, target, None, 64):
            scores[rows] = np.einsum("nd,nd->n", _unit(_flat(p)), _unit(_flat(t)))
        return scores
    for rows in _groups(_labels(recordings, len(target), "recordings")):
        means = _mean_picture(prediction, rows), _mean_picture(target, rows)
        for part in np.array_split(rows, -(-len(rows) // 256)):
            p = _unit(_read(prediction, part), means[0])
            scores[part] = np.einsum("nd,nd->n", p, _unit(_read(target, part), means[1]))
    return scores


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Where the true second of each window comes among all test seconds of its song.

    Attributes
    ----------
    percentile : ndarray, shape (n,)
        Share of the other candidates that are less like the prediction than the true one, ties at half;
        chance .5. This is also the expected accuracy of a two-way forced choice against a random other second, and the
        rank accuracy 1 − (rank − 1)/(n_candidates − 1).
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
        """Probability that the true second is among the k best when ties are broken at random, shape (n,).

        The chance level is ``self.chance_top_k(k)``.
        """
        k = _count(k, "k")
        return np.clip((k - self.above) / (self.tied + 1), 0, 1)

    def chance_top_k(self, k=1):
        """k/N of every window, at most 1, shape (n,)."""
        return np.minimum(_count(k, "k") / self.n_candidates, 1)

    def reassigned(self, order):
        """Percentiles as if row i had the true second of row ``order[i]``: the null of a permutation test.

        Parameters
        ----------
        order : array_like of int, shape (n,)
            Row whose second each row is given; both must be of the same recording
            (`eegviz.stats.permute_within`).

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

    Window i has the candidates ``percentiles[start[i] : start[i] + n_candidates[i]]``; ``column[i]`` is its true
    one and ``recording[i]`` the number of its recording.
    """

    percentiles: np.ndarray
    start: np.ndarray
    column: np.ndarray
    recording: np.ndarray


def retrieval(prediction, target, *, recordings, songs, seconds, centred=True):
    """Within-song retrieval: which second of its song is each prediction most like?

    The candidates of a window are the true pictures of all distinct test seconds of its song. Each recording's
    mean prediction is taken from its predictions (**transductive**: the mean is over the test windows
    themselves), the candidates' mean from the candidates; likeness is Pearson's correlation of the flattened
    pictures. What marks the song or the recording is the same for all candidates and cannot help.

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
    A prediction counts as the same for all windows when what centring leaves is below 1e-6 of its size, the
    rounding of single precision.

    Examples
    --------
    >>> target = np.random.default_rng(0).random((6, 4, 5))
    >>> found = retrieval(target, target, recordings=["r"] * 6, songs=["a"] * 6, seconds=range(6))
    >>> found.percentile
    array([1., 1., 1., 1., 1., 1.])
    """
    prediction, target = _pair(prediction, target)
    n = len(target)
    recordings, songs = _labels(recordings, n, "recordings"), _labels(songs, n, "songs")
    seconds = _labels(seconds, n, "seconds")
    if seconds.dtype.kind not in "iuf" or not np.isfinite(seconds).all():
        raise ParameterError("seconds must be finite numbers: the second of the song at which each window begins.")
    percentile, counts = np.empty(n), np.empty((3, n), dtype=int)
    place = np.empty((3, n), dtype=int)  # start, column, recording
    shares, filled, number = [], 0, 0
    for song_rows in _groups(songs):
        times, first, column = np.unique(seconds[song_rows], return_index=True, return_inverse=True)
        if len(times) < 2:
            raise DataError(
                f"song {songs[song_rows[0]]} has one test second only: retrieval needs two or more candidates."
            )
        candidates = _read(target, song_rows[first])
        _same_targets(target, song_rows, candidates, column, songs, seconds)
        candidates = _unit(candidates, candidates.mean(axis=0) if centred else None)
        # Equal pictures (silence) must tie exactly: each is compared once and shares its likeness.
        distinct, copy = _distinct(candidates)
        for own in _groups(recordings[song_rows]):
            rows, columns = song_rows[own], column[own]
            mean = _mean_picture(prediction, rows) if centred else None
            share = np.empty((len(rows), len(times)), dtype=np.float32)
            for start in range(0, len(rows), 256):
                part = slice(start, start + 256)
                like = (_unit(_read(prediction, rows[part]), mean) @ distinct.T)[:, copy]
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


# --- arithmetic --------------------------------------------------------------------------------------------------


def _structure(p, t, window, axes, data_range):
    """Map of the structural similarity index over the valid area; `p` and `t` are (n, n_frames, n_bins)."""
    total = window ** len(axes)
    plus, minus = np.add(p, t, dtype=np.float64), np.subtract(p, t, dtype=np.float64)
    sum_plus, sum_minus = _moving_sum(plus, window, axes), _moving_sum(minus, window, axes)
    plus *= plus
    minus *= minus
    var_plus, var_minus = _moving_sum(plus, window, axes), _moving_sum(minus, window, axes)
    for sums, var in ((sum_plus, var_plus), (sum_minus, var_minus)):
        sums *= sums
        sums *= 1 / total
        var -= sums  # (total − 1) × the sample variance
        var *= 0.5 / (total - 1)
        sums *= 0.5 / total  # half the squared mean
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    top, below = sum_plus - sum_minus, var_plus - var_minus
    top += c1
    below += c2
    top *= below  # (2·μp·μt + C1)·(2·σpt + C2)
    sum_plus += sum_minus
    sum_plus += c1
    var_plus += var_minus
    var_plus += c2
    sum_plus *= var_plus  # (μp² + μt² + C1)·(σp² + σt² + C2)
    top /= sum_plus
    return top


def _moving_sum(x, window, axes):
    """Sums over every full window along `axes`, by doubling: log2(window) additions and no cancellation."""
    for axis in axes:
        n = x.shape[axis] - window + 1
        total, used, size, rest = None, 0, 1, window
        while True:
            if rest & 1:
                part = _cut(x, axis, used, used + n)
                total, used = part if total is None else total + part, used + size
            rest >>= 1
            if not rest:
                break
            length = x.shape[axis]
            x = _cut(x, axis, 0, length - size) + _cut(x, axis, size, length)  # sums over 2·size
            size *= 2
        x = total
    return x


def _cut(x, axis, start, stop):
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _mean_square(prediction, target, axes, data_range):
    prediction, target = _pair(prediction, target)
    scores = np.empty((len(target), *(target.shape[2:] if axes == (1,) else ())))
    for rows, p, t in _batches(prediction, target, data_range, 8):
        difference = np.subtract(p, t, dtype=np.float64)
        difference *= difference
        scores[rows] = difference.mean(axis=axes)
    return scores


def _decibels(error, data_range, cap):
    if cap is not None and not np.isfinite(cap):
        raise ParameterError(f"cap={cap}: expected a number of dB, or None for infinity where pictures are equal.")
    with np.errstate(divide="ignore"):  # equal pictures: the cap, or infinity when it is None
        values = 10 * np.log10(data_range**2 / error)
    return values if cap is None else np.minimum(values, cap)


def _cosine(p, t):
    size = np.linalg.norm(p, axis=1) * np.linalg.norm(t, axis=1)
    return np.divide(np.einsum("nd,nd->n", p, t), size, out=np.zeros(len(p)), where=size > 0)


def _unit(rows, mean=None):
    """Rows less `mean` and less their own mean, at length 1; zeros where nothing but rounding is left."""
    before = np.linalg.norm(rows, axis=1)
    if mean is not None:
        rows = rows - mean
    rows = rows - rows.mean(axis=1, keepdims=True)
    size = np.linalg.norm(rows, axis=1)
    alive = size > 1e-6 * before
    return np.divide(rows, size[:, None], out=np.zeros_like(rows), where=alive[:, None])


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
    for start in range(0, len(rows), 256):
        part = slice(start, start + 256)
        apart = np.abs(_read(target, rows[part]) - candidates[column[part]]).max(axis=1) > 1e-4
        if apart.any():
            row = rows[part][int(np.argmax(apart))]
            raise DataError(
                f"windows of song {songs[row]}, second {seconds[row]:g} have different targets: "
                "are songs and seconds in the order of the rows?"
            )


# --- reading and refusing ------------------------------------------------------------------------------------------


def _pair(prediction, target):
    """Both as arrays (n, n_frames, n_bins); the message guesses what went wrong."""
    prediction, target = (
        array if isinstance(array, np.ndarray) else np.asarray(array, dtype=float) for array in (prediction, target)
    )
    for name, array in (("prediction", prediction), ("target", target)):
        if array.dtype.kind not in "fiu":
            raise ParameterError(f"{name} holds {array.dtype}, expected real numbers.")
        if array.ndim != 3:
            hint = " Add the first axis to a single window: array[None]." if array.ndim == 2 else ""
            raise ParameterError(f"{name} has shape {array.shape}, expected (n, n_frames, n_bins).{hint}")
    if prediction.shape != target.shape:
        hint = ""
        if prediction.shape == (target.shape[0], target.shape[2], target.shape[1]):
            hint = " Is the prediction (n, n_bins, n_frames)? Swap its last two axes."
        elif prediction.shape[1:] == target.shape[1:]:
            hint = " Are both of the same windows?"
        raise ParameterError(f"prediction {prediction.shape} and target {target.shape} differ in shape.{hint}")
    if target.shape[2] == 44 and target.shape[1] in (80, 128, 1025):
        raise ParameterError(
            f"shape {target.shape} looks like (n, n_bins, n_frames), expected (n, n_frames, n_bins): "
            "swap the last two axes of both."
        )
    if not target.size:
        raise ParameterError(f"no windows to score: the arrays have shape {target.shape}.")
    return prediction, target


def _batches(prediction, target, data_range, size=_BATCH):
    """Rows and both batches, checked; with a `data_range` the target must fit it."""
    if data_range is not None and not (np.isfinite(data_range) and data_range > 0):
        raise ParameterError(f"data_range={data_range}: expected a number above 0 (1 for the normalised scale).")
    for start in range(0, len(target), size):
        rows = slice(start, start + size)
        p, t = np.asarray(prediction[rows]), np.asarray(target[rows])
        _finite(p, start, "prediction")
        _finite(t, start, "target")
        if data_range is not None and t.max() - t.min() > 1.001 * data_range:
            raise ParameterError(
                f"targets run from {t.min():g} to {t.max():g} with data_range={data_range:g}: "
                "are they decibels or power? "
                "Normalise them to [0, 1], or pass the data_range of their scale."
            )
        yield rows, p, t


def _finite(batch, start, name, rows=None):
    if not (np.isfinite(batch.min()) and np.isfinite(batch.max())):  # a NaN is both
        first = int(np.argmin(np.isfinite(batch.reshape(len(batch), -1)).all(axis=1)))
        row = start + first if rows is None else rows[first]
        raise DataError(
            f"the {name} of window {row} holds NaN or infinity: it has no score. Look for a diverged training "
            "or a damaged file."
        )


def _read(array, rows):
    """Chosen windows as float64 (len(rows), n_frames · n_bins)."""
    part = np.asarray(array[rows], dtype=np.float64)
    _finite(part, 0, "picture", rows)
    return part.reshape(len(part), -1)


def _flat(batch):
    return np.asarray(batch, dtype=np.float64).reshape(len(batch), -1)


def _mean_picture(array, rows):
    total = sum(_read(array, part).sum(axis=0) for part in np.array_split(rows, -(-len(rows) // 256)))
    return total / len(rows)


def _labels(labels, n, name):
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ParameterError(f"{name} has shape {labels.shape}, expected one label for each of the {n} windows.")
    return labels


def _groups(labels):
    """Row numbers of each distinct label, in the order of the sorted labels."""
    _, code = np.unique(labels, return_inverse=True)
    return np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code))[:-1])


def _classes(predicted, true):
    predicted, true = np.asarray(predicted), np.asarray(true)
    if predicted.ndim != 1 or predicted.shape != true.shape or not len(true):
        hint = " Are these class scores? Take their argmax first." if predicted.ndim == 2 else ""
        raise ParameterError(f"predicted {predicted.shape} and true {true.shape}: expected n labels each.{hint}")
    if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
        raise DataError("predicted labels hold NaN or infinity: a NaN is no class.")
    return predicted, true


def _odd(window, limit, what):
    if window != int(window) or window < 3 or window % 2 == 0 or window > limit:
        raise ParameterError(f"window={window}: expected an odd number from 3 to {what} ({limit}).")


def _count(value, name):
    if value != int(value) or value < 1:
        raise ParameterError(f"{name}={value}: expected a whole number, 1 or more.")
    return int(value)
