"""Scores of named classes and candidates, with chance levels (public in `eegviz.identification`)."""

from dataclasses import dataclass

import numpy as np

from eegviz import _checks
from eegviz.errors import DataError, ParameterError


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
    k, size = _checks.count(k, "k"), scores.shape[1]
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
