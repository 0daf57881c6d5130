"""Bootstrap intervals over listeners (public as `eegviz.stats.Interval` and `eegviz.stats.bootstrap_interval`)."""

from dataclasses import dataclass

import numpy as np

from eegviz import _checks
from eegviz import _time_blocks as time_blocks
from eegviz.errors import ParameterError

BLOCK = 5.0  # seconds; the chunk of EEG2Mel's split


@dataclass(frozen=True)
class Interval:
    """A score and its bootstrap interval.

    Attributes
    ----------
    estimate, low, high : float
    level : float
        Confidence level, such as .95.
    n_groups : int
        Units that were drawn: listeners, or blocks of the only listener.
    unit : str
        What was drawn, in words.
    n : int
        Values (windows) in all.
    """

    estimate: float
    low: float
    high: float
    level: float
    n_groups: int
    unit: str
    n: int

    def __str__(self):
        return (
            f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] "
            f"({100 * self.level:g} % bootstrap over {self.n_groups} {self.unit}; n = {self.n})"
        )


def bootstrap_interval(
    values,
    groups,
    *,
    windows=None,
    block=BLOCK,
    statistic=np.mean,
    n_boot=2000,
    level=0.95,
    unit="listeners",
    seed=0,
):
    """Percentile bootstrap interval over listeners, expanded for their small number.

    Parameters
    ----------
    values : array_like, shape (n,)
        A score of each window. They are averaged within each listener first, so that every listener counts
        alike; the estimate is the statistic of these averages.
    groups : array_like of n labels
        Listener of each window.
    windows : pandas.DataFrame or array_like of n seconds, optional
        Where each window lies in time, as `blocks` takes it; needed with one listener only.
    block : float
        Length of the blocks in seconds, for one listener.
    statistic : callable
        ``statistic(array, axis=-1)``, such as `numpy.mean` or `numpy.median`.
    n_boot : int
        Bootstrap samples.
    level : float
        Confidence level.
    unit : str
        What `groups` are, in words.
    seed : int or numpy.random.Generator

    Returns
    -------
    Interval

    Raises
    ------
    ParameterError
        When the arrays do not fit, or there is one listener and `windows` is not given.
    DataError
        For NaN or infinite values.

    Notes
    -----
    The plain percentile interval is too narrow for few listeners by about √((n − 1)/n)·z/t. As Hesterberg
    proposes [1]_, its tails are α'/2 = Φ(−√(n/(n − 1))·t) with the upper α/2 quantile t of Student's
    distribution with n − 1 degrees of freedom. Coverage of a nominal 95 % in simulation (normal listeners):
    .95 for n = 10, .92 for n = 6, .88 for n = 4 and .75 for n = 3, where no resampling can go beyond the
    listeners' range: still too narrow for a handful, so print n.

    References
    ----------
    .. [1] Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015.
       doi:10.1080/00031305.2015.1089789

    Examples
    --------
    >>> values, listeners = [0.52, 0.56, 0.61, 0.55, 0.58, 0.54], ["A", "B", "C", "D", "E", "F"]
    >>> print(bootstrap_interval(values, listeners))
    0.560 [0.533, 0.592] (95 % bootstrap over 6 listeners; n = 6)
    """
    from scipy import stats

    values = _checks.finite(values, "values")
    groups = _checks.labels(groups, len(values), "groups")
    _checks.share(level, "level", "share between 0 and 1, such as 0.95")
    n_boot = _checks.count(n_boot, "n_boot")
    code = np.unique(groups, return_inverse=True)[1]
    if code.max() == 0:
        if windows is None:
            raise ParameterError(
                f"all {len(values)} values are of one of the {unit}: an interval over {unit} needs two or more. Pass "
                "windows=table (recording, second) for an interval over blocks of time."
            )
        code = time_blocks.number_blocks(*time_blocks.times(windows), block)
        if len(code) != len(values):
            raise ParameterError(f"windows has {len(code)} rows, expected {len(values)}.")
        if code.max() == 0:
            raise ParameterError(f"all values lie in one block of {block:g} s: an interval needs two or more.")
        one = unit.removesuffix("s")
        unit = f"blocks of {block:g} s, one {one}: no interval over {unit}"
    sizes = np.bincount(code)
    means = np.bincount(code, weights=values) / sizes
    n = len(means)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            np.atleast_1d(statistic(means[rng.integers(n, size=(min(256, n_boot - start), n))], axis=-1))
            for start in range(0, n_boot, 256)
        ]
    )
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(statistic(means, axis=-1)), float(low), float(high), level, n, unit, len(values))
