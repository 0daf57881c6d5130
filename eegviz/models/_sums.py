"""Ridge regression from sums of products: read once, added, taken away, solved and cross-validated.

The public names are those of `eegviz.models.lagged`, whose text says what an alpha means.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from eegviz.errors import DataError, ParameterError

CRITERIA = ("r", "mse")
_EIGEN_FROM = 12  # alphas; below, a Cholesky factor each is faster than one eigendecomposition (measured: equal at 16)


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over rows of features ``x`` (n, p) and targets ``y`` (n, q): all that ridge regression needs; float64.

    Attributes
    ----------
    xx : np.ndarray [shape=(p, p)]
    xy : np.ndarray [shape=(p, q)]
    yy : np.ndarray [shape=(q,)]
        Of squares: targets are predicted one by one.
    x : np.ndarray [shape=(p,)]
    y : np.ndarray [shape=(q,)]
    n : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
    >>> halves = Sums.of(x[:20], y[:20]) + Sums.of(x[20:], y[20:])
    >>> bool(np.allclose(halves.xx, Sums.of(x, y).xx)), halves.n
    (True, 50)
    """

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    x: np.ndarray
    y: np.ndarray
    n: int

    @classmethod
    def of(cls, x, y) -> Sums:
        """Sums of features `x` (n, p) and targets `y` (n, q) or (n,).

        Raises
        ------
        ParameterError
            Shapes that do not match.
        DataError
            NaN or infinity.
        """
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        y = y[:, None] if y.ndim == 1 else y
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ParameterError(
                f"sums need features (n, p) and targets (n, q) of the same rows; found {x.shape} and {y.shape}."
            )
        made = cls(x.T @ x, x.T @ y, np.einsum("nq,nq->q", y, y), x.sum(0), y.sum(0), len(x))
        return made.finite("features or targets")

    def __add__(self, other: Sums) -> Sums:
        return self._with(other, 1)

    def __sub__(self, other: Sums) -> Sums:
        return self._with(other, -1)

    def _with(self, other, sign):
        if self.xy.shape != other.xy.shape:
            raise ParameterError(
                f"sums of {self.xy.shape[0]} features and {self.xy.shape[1]} targets cannot be joined with sums of "
                f"{other.xy.shape[0]} and {other.xy.shape[1]}."
            )
        join = np.add if sign > 0 else np.subtract
        parts = [join(getattr(self, name), getattr(other, name)) for name in ("xx", "xy", "yy", "x", "y")]
        return Sums(*parts, self.n + sign * other.n)

    def finite(self, what):
        """Itself, or a `DataError` that names `what` when a sum is NaN or infinite."""
        if not (np.isfinite(self.xx).all() and np.isfinite(self.xy).all() and np.isfinite(self.yy).all()):
            raise DataError(
                f"{what}: expected finite numbers, found NaN or infinity. Repair the data or leave them out."
            )
        return self

    def centred(self):
        """Covariances without their ``1 / n``: of features (p, p), features × targets (p, q), targets (q,)."""
        mean = self.x / self.n
        xx = np.outer(mean, -self.x)
        xx += self.xx
        return xx, self.xy - np.outer(mean, self.y), self.yy - self.y**2 / self.n


def solve(sums: Sums, alpha):
    """Weights that minimise ``mean squared error + alpha · |weights|²``, and the intercept, which is free.

    Parameters
    ----------
    sums : Sums
    alpha : float ≥ 0

    Returns
    -------
    weights : np.ndarray [shape=(p, q)]
    intercept : np.ndarray [shape=(q,)]

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> weights, intercept = solve(Sums.of(x, 1 + 2 * x), 0.0)
    >>> weights.round(6).tolist(), intercept.round(6).tolist()
    ([[2.0]], [1.0])
    """
    weights = next(path(sums, [alpha]))
    return weights, (sums.y - sums.x @ weights) / sums.n


def path(sums: Sums, alphas) -> Iterator[np.ndarray]:
    """Weights for each of `alphas`, in turn: many come from one eigendecomposition, few from a Cholesky factor each.

    Directions in which the features do not vary get no weight, so a constant or doubled feature does no harm.

    Parameters
    ----------
    sums : Sums
    alphas : sequence of float ≥ 0

    Yields
    ------
    np.ndarray [shape=(p, q)]

    Raises
    ------
    ParameterError
        A negative or infinite alpha, or fewer than two rows.
    """
    alphas = checked_alphas(alphas)
    if sums.n < 2:
        raise ParameterError(f"a regression needs two rows or more, found {sums.n}.")
    xx, xy, _ = sums.centred()
    return _path(xx, xy, [sums.n * alpha for alpha in alphas])


def _path(xx, xy, penalties):
    largest = float(np.abs(np.diag(xx)).max(initial=0.0))
    tiny = largest * len(xx) * np.finfo(float).eps
    if len(penalties) >= _EIGEN_FROM or min(penalties) <= 1e3 * tiny:  # too small for a Cholesky factor
        values, vectors = scipy.linalg.eigh(xx, driver="evd", check_finite=False)
        projected = vectors.T @ xy
        keep = values > tiny
        for penalty in penalties:
            gain = np.zeros(len(values))
            gain[keep] = 1 / (values[keep] + penalty)
            yield vectors @ (gain[:, None] * projected)
        return
    diagonal = np.diag_indices(len(xx))
    for penalty in penalties:
        matrix = xx.copy()
        matrix[diagonal] += penalty
        factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        yield scipy.linalg.cho_solve(factor, xy, check_finite=False)


def checked_alphas(alphas) -> list[float]:
    """Alphas as a list of floats; refused when one is negative or infinite."""
    alphas = [float(a) for a in np.atleast_1d(alphas)]
    if not alphas or not all(math.isfinite(a) and a >= 0 for a in alphas):
        raise ParameterError(f"alphas must be finite and not negative, one or more; found {alphas}.")
    return alphas


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Held-out scores for each alpha.

    Attributes
    ----------
    alphas : np.ndarray [shape=(n_alphas,)]
    r, mse : np.ndarray [shape=(n_alphas,)]
        Means over folds and outputs of Pearson's correlation (0 where one side is constant) and of the squared error.
    alpha : float
        The best by `criterion`; of equals the larger, which shrinks more.
    criterion : str
    """

    alphas: np.ndarray
    r: np.ndarray
    mse: np.ndarray
    alpha: float
    criterion: str


def cross_validate(folds: Sequence[Sums], alphas, *, criterion="r") -> CrossValidation:
    """Score every alpha on each fold with the weights of the other folds, from sums alone.

    Parameters
    ----------
    folds : list of Sums
        Two or more: trials, blocks of time, songs, listeners.
    alphas : sequence of float ≥ 0
        As in `solve`.
    criterion : {"r", "mse"}
        What chooses: the largest mean correlation, or the smallest mean squared error.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ParameterError
        Fewer than two folds, an empty fold, an unknown criterion, a bad alpha.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((90, 4))
    >>> y = x[:, 0] + 0.1 * rng.standard_normal(90)
    >>> found = cross_validate([Sums.of(x[i::3], y[i::3]) for i in range(3)], [1e-3, 1e3])
    >>> found.alpha, bool(found.mse[0] < found.mse[1])
    (0.001, True)
    """
    if criterion not in CRITERIA:
        raise ParameterError(f"unknown criterion {criterion!r}; known are {', '.join(CRITERIA)}.")
    folds = list(folds)
    if len(folds) < 2:
        raise ParameterError(f"cross-validation needs two folds or more, found {len(folds)}. Give one alpha instead.")
    empty = [i for i, fold in enumerate(folds) if fold.n < 2]
    if empty:
        raise ParameterError(
            f"fold {empty[0]} has {folds[empty[0]].n} rows; cross-validation needs two or more in each."
        )
    alphas = checked_alphas(alphas)
    total = total_of(folds)
    r, mse = np.zeros((len(folds), len(alphas))), np.zeros((len(folds), len(alphas)))
    for i, held in enumerate(folds):
        rest, centred = total - held, held.centred()
        for j, weights in enumerate(path(rest, alphas)):
            r[i, j], mse[i, j] = _held_out(held, centred, weights, (rest.y - rest.x @ weights) / rest.n)
    r, mse = r.mean(0), mse.mean(0)
    score = r if criterion == "r" else -mse
    best = max(range(len(alphas)), key=lambda j: (score[j], alphas[j]))
    return CrossValidation(np.array(alphas), r, mse, alphas[best], criterion)


def total_of(folds) -> Sums:
    """The sum of sums, in their order."""
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total


def _held_out(held, centred, weights, intercept):
    """Mean over outputs of the correlation and the squared error of `weights` on the rows behind the sums `held`."""
    xx, xy, yy = centred
    predicted = np.einsum("pq,pq->q", weights, xx @ weights)  # Σ (prediction − its mean)²
    common = np.einsum("pq,pq->q", weights, xy)
    bias = (held.y - held.x @ weights) / held.n - intercept
    mse = (yy - 2 * common + predicted) / held.n + bias**2
    scale = np.sqrt(np.clip(predicted, 0, None) * np.clip(yy, 0, None))
    # constant targets or predictions are so to within the rounding of the sums
    flat = (yy <= held.yy * 1e-12) | (predicted <= 1e-12 * predicted.max(initial=0.0)) | (scale == 0)
    r = np.where(flat, 0.0, common / np.where(flat, 1.0, scale))
    return float(r.mean()), float(mse.mean())


def haufe(sums: Sums, weights):
    """Forward patterns of a decoder: what the EEG looks like when the decoded quantity rises by one.

    ``cov(x) · W · cov(prediction)⁻¹`` of Haufe et al. 2014. Weights answer how to decode, and are large on channels
    that only carry noise to be taken away; patterns show where the signal is.

    Parameters
    ----------
    sums : Sums
        Of the training rows.
    weights : np.ndarray [shape=(p, q)]

    Returns
    -------
    np.ndarray [shape=(p, q)]
        In units of x per unit of y.
    """
    xx, _, _ = sums.centred()
    common = xx @ weights
    return common @ np.linalg.pinv(weights.T @ common, hermitian=True)
