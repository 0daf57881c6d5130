"""Reading and refusing pictures and labels (for :mod:`eegviz.metrics` and :mod:`eegviz.identification`).

Pictures are ``(n, n_frames, n_bins)`` and may be memory maps: they are read a batch at a time, in double precision where
they are flattened, and a NaN or an infinity is refused with the number of its window.
"""

import numpy as np

from eegviz.errors import DataError, ParameterError

_BATCH = 4  # windows; the buffers of a batch then fit a processor's second-level cache


def check_pair(prediction, target):
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
    if target.shape[2] in (44, 87) and target.shape[1] in (80, 128, 1025):
        raise ParameterError(
            f"shape {target.shape} looks like (n, n_bins, n_frames), expected (n, n_frames, n_bins): "
            "swap the last two axes of both."
        )
    if not target.size:
        raise ParameterError(f"no windows to score: the arrays have shape {target.shape}.")
    return prediction, target


def batches(prediction, target, data_range, size=_BATCH):
    """Rows and both batches, checked; with a `data_range` the target must fit it."""
    if data_range is not None and not (np.isfinite(data_range) and data_range > 0):
        raise ParameterError(f"data_range={data_range}: expected a number above 0 (1 for the normalised scale).")
    for start in range(0, len(target), size):
        rows = slice(start, start + size)
        p, t = np.asarray(prediction[rows]), np.asarray(target[rows])
        check_finite(p, start, "prediction")
        check_finite(t, start, "target")
        if data_range is not None and t.max() - t.min() > 1.001 * data_range:
            raise ParameterError(
                f"targets run from {t.min():g} to {t.max():g} with data_range={data_range:g}: "
                "are they decibels or power? Normalise them to [0, 1], or pass the data_range of their scale."
            )
        yield rows, p, t


def check_finite(batch, start, name, rows=None):
    """Refuse NaN and infinity; the first row of the batch is window `start`, or they are the windows `rows`."""
    if not (np.isfinite(batch.min()) and np.isfinite(batch.max())):  # a NaN is both
        first = int(np.argmin(np.isfinite(batch.reshape(len(batch), -1)).all(axis=1)))
        row = start + first if rows is None else rows[first]
        raise DataError(
            f"the {name} of window {row} holds NaN or infinity: it has no score. "
            "Look for a diverged training or a damaged file."
        )


def read_rows(array, rows):
    """Chosen windows as float64 (len(rows), n_frames · n_bins)."""
    part = np.asarray(array[rows], dtype=np.float64)
    check_finite(part, 0, "picture", rows)
    return part.reshape(len(part), -1)


def flat(batch):
    """A batch as float64 (n, n_frames · n_bins)."""
    return np.asarray(batch, dtype=np.float64).reshape(len(batch), -1)


def mean_picture(array, rows):
    """Mean of the chosen windows as float64 (n_frames · n_bins,)."""
    total = sum(read_rows(array, part).sum(axis=0) for part in np.array_split(rows, -(-len(rows) // 256)))
    return total / len(rows)


def unit(rows, mean=None):
    """Rows less `mean` and less their own mean, at length 1; zeros where nothing but rounding is left."""
    before = np.linalg.norm(rows, axis=1)
    if mean is not None:
        rows = rows - mean
    rows = rows - rows.mean(axis=1, keepdims=True)
    size = np.linalg.norm(rows, axis=1)
    alive = size > 1e-6 * before
    return np.divide(rows, size[:, None], out=np.zeros_like(rows), where=alive[:, None])


def check_labels(labels, n, name):
    """Labels as an array of n."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ParameterError(f"{name} has shape {labels.shape}, expected one label for each of the {n} windows.")
    return labels


def groups(labels):
    """Row numbers of each distinct label, in the order of the sorted labels."""
    _, code = np.unique(labels, return_inverse=True)
    return np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code))[:-1])
