"""Uncertainty of scores: intervals over listeners, permutation and binomial tests.

Conventions
-----------
* The unit of an interval is the **listener**: windows of a listener are neighbours in time and say nothing about
  other people. With one listener an interval can only go over blocks of his time, and its `unit` says so.
* A permutation test states its unit: whole blocks of windows within recordings, because neighbouring seconds
  of music and EEG are alike and single windows are not exchangeable.
* A p-value counts the observed score among the permutations, (1 + #{null ≥ observed})/(1 + n), and is never 0.
* Randomness only through `seed` (an integer or a `numpy.random.Generator`).

Functions: `bootstrap_interval`, `paired`, `blocks`, `permute_within`, `permutation_p`, `fdr`, `binomial_p`,
`critical_accuracy`. Nulls of every score are in `eegviz.nulls`, chance levels in `eegviz.identification`.
"""

from dataclasses import dataclass

import numpy as np

from eegviz import _checks
from eegviz import _time_blocks as time_blocks
from eegviz._bootstrap import BLOCK, Interval, bootstrap_interval
from eegviz.errors import ParameterError

__all__ = [
    "BLOCK",
    "Interval",
    "Paired",
    "binomial_p",
    "blocks",
    "bootstrap_interval",
    "critical_accuracy",
    "fdr",
    "paired",
    "permutation_p",
    "permute_within",
]
_CHANCE = "probability between 0 and 1, such as 1/10"
_EXACT = 4096  # sign flips that are all made


@dataclass(frozen=True)
class Paired:
    """Two systems compared on the same listeners.

    Attributes
    ----------
    difference : Interval
        Mean difference a − b and its bootstrap interval over listeners, seeds averaged within each.
    p : float
        Two-sided p of random sign flips of the listeners' differences.
    n_flips : int
        Sign flips made: all 2ⁿ (exact), or drawn at random.
    exact : bool
    seed_spread : float or None
        Standard deviation over seeds of the mean difference; None with one seed.
    n_seeds, n_listeners, n_better : int
        ``n_better`` listeners have a larger score under a.
    """

    difference: Interval
    p: float
    n_flips: int
    exact: bool
    seed_spread: float | None
    n_seeds: int
    n_listeners: int
    n_better: int

    def __str__(self):
        kind = f"exact, all {self.n_flips}" if self.exact else f"{self.n_flips} random"
        spread = "one seed" if self.seed_spread is None else f"spread over {self.n_seeds} seeds {self.seed_spread:.3f}"
        low, high, unit = self.difference.low, self.difference.high, self.difference.unit
        return (
            f"{self.difference.estimate:+.3f} [{low:+.3f}, {high:+.3f}] "
            f"({100 * self.difference.level:g} % bootstrap over {self.n_listeners} {unit}), "
            f"better in {self.n_better} of {self.n_listeners}, p = {self.p:.3g} ({kind} sign flips), {spread}"
        )


def paired(a, b, *, level=0.95, n_boot=2000, n_flips=10_000, unit="listeners", seed=0):
    """Compare two systems listener by listener: is a better than b?

    Parameters
    ----------
    a, b : array_like, shape (n_seeds, n_listeners) or (n_listeners,)
        Score of each listener (mean over windows) under each training seed, in the same order. Seeds count as repeats
        of one system, never as further listeners: they are averaged first.
    level : float
        Confidence level of the interval.
    n_boot : int
        Bootstrap samples.
    n_flips : int
        Random sign flips where there are more than 4096 in all (13 listeners or more).
    unit : str
        What the last axis is, in words.
    seed : int or numpy.random.Generator

    Returns
    -------
    Paired

    Raises
    ------
    ParameterError
        For shapes that differ or fewer than two listeners.
    DataError
        For NaN or infinite scores.

    Notes
    -----
    Under the null a listener's difference is as likely to be of either sign [1]_. With n listeners p cannot be below
    2/2ⁿ: .03 for six.

    References
    ----------
    .. [1] Fisher, The design of experiments, 1935, section 21; Nichols & Holmes 2002, doi:10.1002/hbm.1058.

    Examples
    --------
    >>> print(paired([0.61, 0.58, 0.66, 0.57, 0.60, 0.63], [0.55, 0.56, 0.58, 0.56, 0.54, 0.57]))
    +0.048 [+0.018, +0.073] (95 % bootstrap over 6 listeners), better in 6 of 6, p = 0.0312 (exact, all 64 sign
    flips), one seed
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim not in (1, 2) or not a.size:
        raise ParameterError(f"a {a.shape} and b {b.shape}: expected both (n_listeners,) or (n_seeds, n_listeners).")
    gain = np.atleast_2d(a - b)
    _checks.finite(gain.ravel(), "differences")
    n_seeds, n = gain.shape
    if n < 2:
        raise ParameterError(f"one of the {unit} only: a paired comparison over {unit} needs two or more.")
    mean, rng = gain.mean(axis=0), np.random.default_rng(seed)
    interval = bootstrap_interval(mean, np.arange(n), n_boot=n_boot, level=level, unit=unit, seed=rng)
    observed, exact = abs(mean.mean()), 2**n <= _EXACT
    if exact:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = rng.choice([-1, 1], size=(_checks.count(n_flips, "n_flips"), n))
    near = 1e-12 * max(1.0, np.abs(mean).max())
    extreme = int((np.abs(signs @ mean) / n >= observed - near).sum())
    p = extreme / len(signs) if exact else (1 + extreme) / (1 + len(signs))
    spread = float(gain.mean(axis=1).std(ddof=1)) if n_seeds > 1 else None
    return Paired(interval, float(p), len(signs), exact, spread, n_seeds, n, int((mean > 0).sum()))


def blocks(windows, *, length=BLOCK):
    """Number the contiguous blocks of time that windows lie in.

    Parameters
    ----------
    windows : pandas.DataFrame or array_like
        A table with ``recording`` and ``second``, or the seconds of one recording.
    length : float
        Length of a block in seconds, counted from second 0 of the stimulus.

    Returns
    -------
    ndarray of int, shape (n,)
        Consecutive numbers from 0; no block holds windows of two recordings.

    Raises
    ------
    ParameterError
        When columns are missing, seconds are not finite, or the length is not above 0.

    Examples
    --------
    >>> blocks([0, 1, 4, 5, 9, 10])
    array([0, 0, 0, 1, 1, 2])
    """
    return time_blocks.number_blocks(*time_blocks.times(windows), length)


def permute_within(windows, *, length=BLOCK, derange=False, seed=0):
    """Shuffle windows within their recordings, in whole blocks: the null of "which second" questions.

    Parameters
    ----------
    windows : pandas.DataFrame or array_like
        A table with ``recording`` and ``second``, or the seconds of one recording.
    length : float
        Length of the blocks in seconds.
    derange : bool
        True: no window keeps its place (the control "within-song shuffle"). A permutation test needs False.
    seed : int or numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (n,)
        ``order``: window i gets what belongs to window ``order[i]``, always of the same recording
        (``prediction[order]``, `eegviz.identification.Retrieval.reassigned`).

    Raises
    ------
    ParameterError
        When a recording has one block only (nothing can be shuffled), or as in `blocks`.

    Notes
    -----
    This is one order, for a control; `eegviz.nulls.orders` makes the many of a permutation test.

    The blocks of a recording are put in random order and their windows dealt to its times one after another. Where
    blocks have different numbers of windows, a block may be dealt over a border; its windows stay neighbours.

    Examples
    --------
    >>> permute_within(range(10), length=5, derange=True)
    array([5, 6, 7, 8, 9, 0, 1, 2, 3, 4])
    """
    recording, second = time_blocks.times(windows)
    block = time_blocks.number_blocks(recording, second, length)
    rng = np.random.default_rng(seed)
    alone = np.flatnonzero(time_blocks.blocks_per_recording(recording, block) < 2)
    if len(alone):
        raise ParameterError(
            f"{len(alone)} of {recording.max() + 1} recordings have one block of {length:g} s only: "
            "nothing can be shuffled. Take longer recordings or a shorter length."
        )
    base = np.lexsort((second, recording))
    order = np.empty(len(base), dtype=int)
    order[base] = np.lexsort((second, rng.random(block.max() + 1)[block], recording))
    if derange:
        time_blocks.derange(order, base, recording, block, rng)
    return order


def permutation_p(observed, null, *, alternative="greater"):
    """p-value of an observed score among scores under the null hypothesis.

    Parameters
    ----------
    observed : float
    null : array_like, shape (n,)
        Scores of permuted data; 1000 or more for a report.
    alternative : {"greater", "less", "two-sided"}
        "two-sided" is twice the smaller of the other two, at most 1.

    Returns
    -------
    float
        (1 + #{null ≥ observed})/(1 + n): never 0, and valid at any n [1]_.

    Raises
    ------
    DataError
        For NaN or infinite scores.
    ParameterError
        For an unknown alternative or no null scores.

    References
    ----------
    .. [1] Phipson & Smyth 2010, doi:10.2202/1544-6115.1585.

    Examples
    --------
    >>> permutation_p(0.9, [0.1, 0.5, 0.9, 0.3])
    0.4
    """
    null = _checks.finite(null, "null")
    observed = float(_checks.finite([observed], "observed")[0])
    near = 1e-12 * max(1.0, abs(observed))  # sums in another order must not break ties
    above = float((1 + (null >= observed - near).sum()) / (1 + len(null)))
    below = float((1 + (null <= observed + near).sum()) / (1 + len(null)))
    sides = {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}
    if alternative not in sides:
        raise ParameterError(f"unknown alternative {alternative!r}: expected one of {', '.join(sides)}.")
    return sides[alternative]


def binomial_p(hits, n, *, chance, alternative="greater"):
    """Exact binomial p-value of a number of hits.

    Parameters
    ----------
    hits, n : int
        Right answers among n **independent** ones. Neighbouring windows are not independent: use one answer a
        recording, or `permutation_p`.
    chance : float
        Probability of a hit by chance.
    alternative : {"greater", "less", "two-sided"}

    Returns
    -------
    float

    Raises
    ------
    ParameterError
        When the numbers do not fit.

    Examples
    --------
    >>> binomial_p(10, 10, chance=0.5)
    0.0009765625
    """
    from scipy import stats

    n, chance = _checks.count(n, "n"), _checks.share(chance, "chance", _CHANCE)
    if hits != int(hits) or not 0 <= hits <= n:
        raise ParameterError(f"hits={hits}: expected a whole number from 0 to n={n}. Pass hits, not an accuracy.")
    if alternative not in ("greater", "less", "two-sided"):
        raise ParameterError(f"unknown alternative {alternative!r}: expected greater, less or two-sided.")
    return float(stats.binomtest(int(hits), n, chance, alternative=alternative).pvalue)


def critical_accuracy(n, *, chance, alpha=0.05):
    """Smallest accuracy of n independent answers that is above chance at level alpha (exact binomial).

    Chance itself is a limit for endless data: with 40 answers in 4 classes, 38 % is still chance [1]_.

    Parameters
    ----------
    n : int
        Independent answers.
    chance : float
        Probability of a right answer by chance (`eegviz.identification.chance_accuracy`).
    alpha : float

    Returns
    -------
    float
        Greater than 1 when even n right answers of n are not significant.

    References
    ----------
    .. [1] Combrisson & Jerbi 2015, doi:10.1016/j.jneumeth.2015.01.010.

    Examples
    --------
    >>> critical_accuracy(40, chance=0.25)
    0.4
    """
    from scipy import stats

    n, chance = _checks.count(n, "n"), _checks.share(chance, "chance", _CHANCE)
    _checks.share(alpha, "alpha", "probability between 0 and 1")
    hits = np.arange(n + 2)
    return float(hits[stats.binom.sf(hits - 1, n, chance) <= alpha][0] / n)


def fdr(p, *, method="bh"):
    """p-values adjusted for their number: rejecting those ≤ q keeps the expected share of false ones at q.

    Parameters
    ----------
    p : array_like, shape (n,)
        p-values of n tests, such as one a mel bin.
    method : {"bh", "by"}
        Benjamini & Hochberg [1]_, for independent or positively dependent tests (neighbouring mel bins);
        Benjamini & Yekutieli [2]_, for any dependence.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    DataError
        For NaN.
    ParameterError
        For numbers outside [0, 1], a shape that does not fit or an unknown method.

    References
    ----------
    .. [1] Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    .. [2] Benjamini & Yekutieli 2001, doi:10.1214/aos/1013699998.

    Examples
    --------
    >>> fdr([0.01, 0.04, 0.03, 0.5]).round(4)
    array([0.04  , 0.0533, 0.0533, 0.5   ])
    """
    from scipy import stats

    p = _checks.finite(p, "p")
    if p.min() < 0 or p.max() > 1:
        row = int(np.argmax((p < 0) | (p > 1)))
        raise ParameterError(f"p[{row}] is {p[row]:g}: expected probabilities from 0 to 1.")
    if method not in ("bh", "by"):
        raise ParameterError(f"unknown method {method!r}: expected bh or by.")
    return stats.false_discovery_control(p, method=method)
