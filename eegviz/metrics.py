"""Scores of reconstructed spectrograms: how like the true picture is the predicted one?

Conventions
-----------
* Predictions and targets are ``(n, n_frames, n_bins)``, one row a window, in the normalised scale [0, 1] (so
  ``data_range`` is 1); any float type. Arithmetic is in double precision, in small batches: memory is flat in
  the number of windows, and memory-mapped arrays are read a batch at a time.
* Every score is per window (and mel bin), never averaged over windows: averages, intervals and p-values over
  listeners are made in `eegviz.stats`.
* A NaN or an infinite value in a prediction raises `DataError`: it must never score.

Functions: `ssi`, `psnr`, `ssi_per_bin`, `psnr_per_bin`, `mse`, `cosine`, `correlation`. Which second, class or candidate
a prediction names is scored in `eegviz.identification`.

SSI is the structural similarity of Wang et al. 2004 (doi:10.1109/TIP.2003.819861) with a uniform window of 7, sample
covariances, K1 = .01, K2 = .03, mean over the valid area, as in `skimage.metrics.structural_similarity`; EEG2Mel
publishes neither window nor data range: 7 and 1 are our choice.
"""

import numpy as np

from eegviz._pictures import batches, check_labels, check_pair, flat, groups, mean_picture, read_rows, unit
from eegviz.errors import ParameterError

SSI_WINDOW = 7  # frames (and bins); scikit-image's default
PSNR_CAP = 100.0  # dB; a root-mean-square error of 1e-5, below what the float32 pictures hold
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
    prediction, target = check_pair(prediction, target)
    _odd(window, min(target.shape[1:]), "the smaller side of the pictures")
    scores = np.empty(len(target))
    for rows, p, t in batches(prediction, target, data_range):
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
    Equal to a loop of `skimage.metrics.structural_similarity` over windows and bins in double precision, more than
    fifty times faster (in single precision that loop's own rounding reaches 5e-6 in steady rows). With the sum p and
    the difference m of the two pictures, the two factors of the index are
    (E[p]² − E[m]² + 2C₁)/(E[p]² + E[m]² + 2C₁) and (var p − var m + 2C₂)/(var p + var m + 2C₂): four moving sums.
    Two rows that are constant and equal score 1, which a floor of the decibel scale makes frequent.

    Examples
    --------
    >>> picture = np.linspace(0, 1, 44 * 128).reshape(1, 44, 128)
    >>> ssi_per_bin(picture, picture).shape
    (1, 128)
    """
    prediction, target = check_pair(prediction, target)
    _odd(window, target.shape[1], "the number of frames")
    scores = np.empty((len(target), target.shape[2]))
    for rows, p, t in batches(prediction, target, data_range):
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
    prediction, target = check_pair(prediction, target)
    scores = np.empty(len(target))
    for rows, p, t in batches(prediction, target, None, 64):
        scores[rows] = _cosine(flat(p), flat(t))
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
    prediction, target = check_pair(prediction, target)
    scores = np.empty(len(target))
    if recordings is None:
        for rows, p, t in batches(prediction, target, None, 64):
            scores[rows] = np.einsum("nd,nd->n", unit(flat(p)), unit(flat(t)))
        return scores
    for rows in groups(check_labels(recordings, len(target), "recordings")):
        means = mean_picture(prediction, rows), mean_picture(target, rows)
        for part in np.array_split(rows, -(-len(rows) // 256)):
            p = unit(read_rows(prediction, part), means[0])
            scores[part] = np.einsum("nd,nd->n", p, unit(read_rows(target, part), means[1]))
    return scores


# --- arithmetic ----------------------------------------------------------------------------------------------------


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
    prediction, target = check_pair(prediction, target)
    scores = np.empty((len(target), *(target.shape[2:] if axes == (1,) else ())))
    for rows, p, t in batches(prediction, target, data_range, 8):
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


def _odd(window, limit, what):
    if window != int(window) or window < 3 or window % 2 == 0 or window > limit:
        raise ParameterError(f"window={window}: expected an odd number from 3 to {what} ({limit}).")
