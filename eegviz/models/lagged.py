"""The linear decoder on arrays: ridge regression from EEG at several lags to an envelope or to mel bands.

A positive lag means that the brain follows the sound: what sounded at second ``t`` is decoded from the EEG between
``t + tmin`` and ``t + tmax``. All of it works on *sums* (`Sums`: sums of products of rows), which can be added: data are
read once and in pieces, folds of a cross-validation are differences of sums, and a held-out correlation or squared
error follows from sums too, without a prediction.

**Scale of the penalty.** `solve` and `cross_validate` minimise ``mean squared error + alpha · |weights|²`` (the
intercept is free), so that an alpha means the same for any number of rows; scikit-learn's ``Ridge`` has ``alpha · n``.
`fit` takes lambda as mTRFpy does: added to the mean over trials of X'X, times the sampling rate; per row that is
``lambda · sfreq / samples in a trial``. The same lambda and lags then give mTRFpy's weights (which it stores
multiplied by the sampling rate) and correlations.

Functions: `lag_samples`, `Sums.of`, `lagged_sums`, `solve`, `path`, `cross_validate`, `haufe`, `fit`.

Sources: Crosse et al. 2016 (mTRF), https://doi.org/10.3389/fnhum.2016.00604; Bialas, Dou & Lalor 2023 (mTRFpy),
https://doi.org/10.21105/joss.05657; patterns: Haufe et al. 2014, https://doi.org/10.1016/j.neuroimage.2013.10.067.
Notebook 11 shows it at work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from eegviz.errors import ParameterError
from eegviz.models._sums import (
    CRITERIA,
    CrossValidation,
    Sums,
    checked_alphas,
    cross_validate,
    haufe,
    path,
    solve,
    total_of,
)

__all__ = [
    "ALPHAS", "CRITERIA", "CrossValidation", "Decoder", "Sums", "cross_validate", "fit", "haufe", "lag_samples", "lagged_sums",
    "path", "solve", "total_of",
]  # fmt: skip

ALPHAS = tuple(10.0**k for k in range(8))  # lambda of `fit`: the grid of the reference values, 1 … 10⁷
BLOCKS = 5  # folds when there is one trial (our choice)


def lag_samples(tmin, tmax, *, sfreq, step=1):
    """Lags from `tmin` to `tmax` in samples, widened to whole samples as mTRFpy does.

    Parameters
    ----------
    tmin, tmax : float
        Seconds; positive lags look at the EEG after the sound.
    sfreq : float > 0
        Hertz.
    step : int ≥ 1
        Samples between lags.

    Returns
    -------
    np.ndarray of int [shape=(n_lags,)]

    Examples
    --------
    >>> lag_samples(0, 0.1, sfreq=64)
    array([0, 1, 2, 3, 4, 5, 6, 7])
    >>> lag_samples(-0.02, 0.04, sfreq=100, step=2)
    array([-2,  0,  2,  4])
    """
    if not sfreq > 0 or not math.isfinite(sfreq):
        raise ParameterError(f"sfreq must be positive, in hertz; found {sfreq}.")
    if not (math.isfinite(tmin) and math.isfinite(tmax) and tmin <= tmax):
        raise ParameterError(f"lags need tmin <= tmax, in seconds; found {tmin} and {tmax}.")
    if step != int(step) or step < 1:
        raise ParameterError(f"step must be a whole number of samples, 1 or more; found {step}.")
    first, last = math.floor(round(tmin * sfreq, 6)), math.ceil(round(tmax * sfreq, 6))
    return np.arange(first, last + 1, int(step))


def lagged_sums(eeg, target, lags) -> Sums:
    """`Sums` of one trial: features are the EEG at all lags, ``(n_lags × n_channels)`` with channels fastest.

    What lies before the beginning and after the end of the trial counts as zero, and every sample is a row. The lagged
    matrix is never made: its X'X is block-Toeplitz but for the ends, so ``n_lags`` products of channels do for
    ``n_lags²``.

    Parameters
    ----------
    eeg : np.ndarray [shape=(n_channels, n_times)]
    target : np.ndarray [shape=(n_times,) or (n_times, n_outputs)]
    lags : np.ndarray of int
        Samples, evenly spaced, from `lag_samples`.

    Returns
    -------
    Sums

    Raises
    ------
    ParameterError
        Shapes that do not match, or a trial not longer than the lags.
    DataError
        NaN or infinity.
    """
    eeg, target = np.asarray(eeg, np.float64), np.asarray(target, np.float64)
    target = target[:, None] if target.ndim == 1 else target
    if eeg.ndim != 2 or target.ndim != 2 or eeg.shape[1] != len(target):
        raise ParameterError(
            f"a trial needs EEG (n_channels, n_times) and a target (n_times,) or (n_times, n_outputs) of the same length; "
            f"found {eeg.shape} and {target.shape}."
        )
    n_channels, n_times = eeg.shape
    if n_times <= max(abs(lags[0]), abs(lags[-1]), lags[-1] - lags[0]):
        raise ParameterError(
            f"a trial of {n_times} samples is too short for lags from {lags[0]} to {lags[-1]} samples. "
            "Leave it out, or choose shorter lags."
        )
    n_lags, step = len(lags), int(lags[1] - lags[0]) if len(lags) > 1 else 1
    xx = np.empty((n_lags, n_channels, n_lags, n_channels))
    for k in range(n_lags):
        product = eeg[:, : n_times - k * step] @ eeg[:, k * step :].T  # Σ e(u) e(u + k step)ᵀ
        for i in range(n_lags - k):
            xx[i, :, i + k] = product
            xx[i + k, :, i] = product.T
    x, xy = np.zeros((n_lags, n_channels)), np.zeros((n_lags, n_channels, target.shape[1]))
    for i, lag in enumerate(lags):
        rows = slice(max(0, -lag), min(n_times, n_times - lag))
        part = eeg[:, rows.start + lag : rows.stop + lag]
        x[i], xy[i] = part.sum(1), part @ target[rows]
    p = n_lags * n_channels
    xx = xx.reshape(p, p)
    for rows in (range(-max(0, lags[-1]), 0), range(n_times, n_times + max(0, -lags[0]))):
        if len(rows):  # the products above also hold rows before the trial and after it
            outside = _lagged_rows(eeg, lags, rows)
            xx -= outside.T @ outside
    made = Sums(xx, xy.reshape(p, -1), np.einsum("nq,nq->q", target, target), x.ravel(), target.sum(0), n_times)
    return made.finite("EEG or target of a trial")


def _lagged_rows(eeg, lags, rows):
    """Rows of the lagged matrix at the samples `rows`, which may lie outside the trial; zero where the EEG is not."""
    at = np.asarray(rows)[:, None] + lags
    inside = (at >= 0) & (at < eeg.shape[1])
    return np.where(inside[..., None], eeg.T[np.where(inside, at, 0)], 0.0).reshape(len(at), -1)


# ------------------------------------------------------------------------------------------ trials


@dataclass(frozen=True, eq=False)
class Decoder:
    """A fitted lagged decoder.

    Attributes
    ----------
    weights : np.ndarray [shape=(n_channels, n_lags, n_outputs)]
        Per unit of EEG (mTRFpy stores them times the sampling rate, and lags in falling order).
    intercept : np.ndarray [shape=(n_outputs,)]
    patterns : np.ndarray [shape=(n_channels, n_lags, n_outputs)]
        Forward patterns (`haufe`) from the training covariance, for topographies.
    alpha : float
        The lambda that was used, on the scale of `fit`.
    lags : np.ndarray of int [shape=(n_lags,)]
        Samples.
    sfreq : float
    scores : dict of float to float
        Cross-validated correlation (or squared error, by the criterion) of each lambda; empty when one was given.
    """

    weights: np.ndarray = field(repr=False)
    intercept: np.ndarray = field(repr=False)
    patterns: np.ndarray = field(repr=False)
    alpha: float
    lags: np.ndarray = field(repr=False)
    sfreq: float
    scores: dict

    @property
    def times(self):
        """Lags in seconds."""
        return self.lags / self.sfreq

    def predict(self, eeg):
        """Decode one trial: EEG ``(n_channels, n_times)`` → ``(n_times, n_outputs)``; zeros stand beyond its ends."""
        eeg = np.asarray(eeg, np.float64)
        if eeg.ndim != 2 or len(eeg) != len(self.weights):
            raise ParameterError(
                f"the decoder was fitted on {len(self.weights)} channels: expected EEG ({len(self.weights)}, n_times), "
                f"found {eeg.shape}."
            )
        n_times = eeg.shape[1]
        out = np.tile(self.intercept, (n_times, 1))
        for i, lag in enumerate(self.lags):
            rows = slice(max(0, -lag), max(0, min(n_times, n_times - lag)))
            if rows.stop > rows.start:
                out[rows] += eeg[:, rows.start + lag : rows.stop + lag].T @ self.weights[:, i]
        return out

    def score(self, eeg, target):
        """Pearson's correlation of prediction and target for each trial: ``(n_trials, n_outputs)``."""
        eeg, target = _trials(eeg, target)
        return np.array([_correlation(self.predict(one), true) for one, true in zip(eeg, target, strict=True)])


def fit(
    eeg, target, *, sfreq, tmin=0.0, tmax=0.4, step=1, alphas=ALPHAS, folds=None, by=None, criterion="r"
) -> Decoder:
    """Fit a decoder to trials; lambda is chosen by cross-validation when there are several.

    Parameters
    ----------
    eeg : list of np.ndarray [shape=(n_channels, n_times)]
        One array a trial (or one array with trials first); lengths may differ.
    target : list of np.ndarray [shape=(n_times,) or (n_times, n_outputs)]
    sfreq : float
    tmin, tmax, step
        See `lag_samples`.
    alphas : float or sequence of float
        Lambda, as mTRFpy has it (module docstring). One value skips the cross-validation.
    folds : int ≥ 2, optional
        Default every trial by itself, or 5 blocks of time.
    by : {"trials", "blocks"}, optional
        What a fold holds: whole trials (the default when there are several), or the same contiguous part of every
        trial. **Where trials share a stimulus, folds of trials know the held-out stimulus**: take blocks.
    criterion : {"r", "mse"}

    Returns
    -------
    Decoder

    Raises
    ------
    ParameterError
        Numbers of trials, lengths or channels that do not match; a trial not longer than the lags; fewer than two folds.
    DataError
        NaN or infinity.

    Examples
    --------
    A brain that follows the sound by two samples:

    >>> rng = np.random.default_rng(0)
    >>> sound = rng.standard_normal(500)
    >>> eeg = np.stack([np.roll(sound, 2), rng.standard_normal(500)])
    >>> decoder = fit([eeg], [sound], sfreq=10, tmin=0, tmax=0.4, alphas=1e-6)
    >>> decoder.times[decoder.weights[0, :, 0].argmax()].item()
    0.2
    """
    eeg, target = _trials(eeg, target)
    lags = lag_samples(tmin, tmax, sfreq=sfreq, step=step)
    alphas = checked_alphas(alphas)
    parts = [lagged_sums(one, true, lags) for one, true in zip(eeg, target, strict=True)]
    total = total_of(parts)
    per_row = sfreq * len(parts) / total.n  # lambda · sfreq on the mean over trials of X'X
    chosen, scores = alphas[0], {}
    if len(alphas) > 1:
        held = _folds(eeg, target, parts, lags, folds, by)
        found = cross_validate(held, [a * per_row for a in alphas], criterion=criterion)
        chosen = alphas[int(np.flatnonzero(found.alphas == found.alpha)[0])]
        scores = dict(zip(alphas, (found.r if criterion == "r" else found.mse).tolist(), strict=True))
    weights, intercept = solve(total, chosen * per_row)
    shape = (len(lags), len(eeg[0]), -1)
    arrange = lambda matrix: np.ascontiguousarray(matrix.reshape(shape).swapaxes(0, 1))  # noqa: E731
    return Decoder(arrange(weights), intercept, arrange(haufe(total, weights)), chosen, lags, float(sfreq), scores)


def _folds(eeg, target, parts, lags, folds, by):
    by = by or ("trials" if len(parts) > 1 else "blocks")
    if by not in ("trials", "blocks"):
        raise ParameterError(f"unknown folds by={by!r}; known are trials, blocks.")
    count = folds if folds is not None else (len(parts) if by == "trials" else BLOCKS)
    if count != int(count) or count < 2 or (by == "trials" and count > len(parts)):
        most = f" and at most the {len(parts)} trials" if by == "trials" else ""
        raise ParameterError(f"cross-validation needs folds of 2 or more{most}; found {count}. Give one alpha instead.")
    if by == "trials":
        return [total_of([parts[i] for i in group]) for group in np.array_split(np.arange(len(parts)), int(count))]
    # a block is a trial of its own: no EEG of one fold is a lagged feature of another
    held = []
    for k in range(int(count)):
        spans = [slice(len(y) * k // int(count), len(y) * (k + 1) // int(count)) for y in target]
        held.append(total_of([lagged_sums(x[:, s], y[s], lags) for x, y, s in zip(eeg, target, spans, strict=True)]))
    return held


def _trials(eeg, target):
    eeg, target = [np.asarray(one) for one in eeg], [np.asarray(one) for one in target]
    if not eeg or len(eeg) != len(target):
        raise ParameterError(
            f"expected as many targets as EEG trials, one or more; found {len(target)} and {len(eeg)}. "
            "Give one trial as a list of one."
        )
    for i, (one, true) in enumerate(zip(eeg, target, strict=True)):
        if one.ndim != 2 or true.ndim not in (1, 2) or one.shape[1] != len(true):
            raise ParameterError(
                f"trial {i}: expected EEG (n_channels, n_times) and a target of the same n_times, found {one.shape} and "
                f"{true.shape}."
            )
        if len(one) != len(eeg[0]) or true.shape[1:] != target[0].shape[1:]:
            raise ParameterError(
                f"trial {i} has {len(one)} channels and a target of {true.shape[1:]}, trial 0 has {len(eeg[0])} and "
                f"{target[0].shape[1:]}; expected the same in all."
            )
    return eeg, target


def _correlation(predicted, true):
    true = true[:, None] if true.ndim == 1 else np.asarray(true, np.float64)
    a, b = predicted - predicted.mean(0), true - true.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), scale, out=np.zeros(len(scale)), where=scale > 0)
