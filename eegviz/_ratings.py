"""Ratings, entropies, and the linear predictor of ratings (public in `eegviz.emotion`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eegviz import features
from eegviz.errors import DataError, ParameterError

RATINGS = ("valence", "arousal")
SCALE = (1.0, 9.0)  # self-assessment manikins of DEAP
MIDDLE = 5.0  # above it a rating is high; at it, low (our choice)
QUADRANTS = ("V+A+", "V-A+", "V-A-", "V+A-")  # valence high or low, arousal high or low
BANDS = {
    "theta": (4, 8),
    "alpha": (8, 14),
    "beta": (14, 31),
    "gamma": (31, 45),
}  # Hz; DEAP's files hold 4 to 45; our choice
ALPHAS = tuple(10.0**k for k in range(-1, 6))  # strengths of the ridge; our choice
_FLOOR = 1e-12  # µV², so that a silent channel has a logarithm


def entropy(eeg, *, sfreq, bands=None):
    """Differential entropy of each channel in each band.

    Parameters
    ----------
    eeg : array_like, shape (n, n_channels, n_times)
        Segments in microvolts.
    sfreq : float
        Hertz.
    bands : dict of str to tuple of float, optional
        Low edge (in) and high edge (out) in hertz; default `BANDS`, without what lies above half of `sfreq`.

    Returns
    -------
    ndarray, shape (n, n_bands · n_channels)
        Nats, band after band.

    Raises
    ------
    ParameterError
        A band that holds no frequency.

    Examples
    --------
    The entropy of Gaussian noise that is 2 µV strong in one band is ½·ln(2πe·4):

    >>> time = np.arange(512) / 128
    >>> wave = np.sqrt(8) * np.sin(2 * np.pi * 10 * time)[None, None]
    >>> found = entropy(wave, sfreq=128, bands={"alpha": (8, 14)})
    >>> round(float(found[0, 0]), 3), round(float(0.5 * np.log(2 * np.pi * np.e * 4)), 3)
    (2.112, 2.112)
    """
    bands = {name: band for name, band in BANDS.items() if band[1] <= sfreq / 2} if bands is None else dict(bands)
    eeg = np.asarray(eeg)
    density = features.periodogram(eeg, sfreq=sfreq)  # (n, n_freqs, n_channels)
    frequency = np.fft.rfftfreq(eeg.shape[-1], 1 / sfreq)
    parts = []
    for name, (low, high) in bands.items():
        inside = (frequency >= low) & (frequency < high)
        if not inside.any():
            raise ParameterError(
                f"band {name} ({low:g}–{high:g} Hz) holds no frequency of {eeg.shape[-1] / sfreq:g} s at {sfreq:g} Hz: take "
                "longer segments or another band."
            )
        variance = density[:, inside].sum(1, dtype=float) * (frequency[1] - frequency[0])
        parts.append(0.5 * np.log(2 * np.pi * np.e * (variance + _FLOOR)))
    if not parts:
        raise ParameterError(f"no band lies below {sfreq / 2:g} Hz, half the sampling rate: name bands that do.")
    return np.concatenate(parts, axis=1)


def quadrants(valence, arousal, *, middle=MIDDLE):
    """Names of the quadrants of ratings: array of `QUADRANTS`, shape (n,).

    >>> quadrants([8, 2, 2, 8], [8, 8, 2, 2]).tolist()
    ['V+A+', 'V-A+', 'V-A-', 'V+A-']
    """
    high = [np.where(np.asarray(one, float) > middle, "+", "-") for one in (valence, arousal)]
    return np.char.add(np.char.add("V", high[0]), np.char.add("A", high[1]))


def check_ratings(table, *, where="the table"):
    """The rows of `table` that have both ratings.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a recording, with columns ``valence`` and ``arousal``.
    where : str
        What the table is, for the message.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        No such columns, no row with both ratings, or ratings outside `SCALE`.
    """
    missing = [name for name in RATINGS if name not in table]
    if missing:
        raise DataError(
            f"{where} has no ratings: its recordings lack the column{'s' * (len(missing) == 2)} {' and '.join(missing)}. "
            "Emotion needs a store whose listeners rated what they heard, such as one made from DEAP."
        )
    values = table[list(RATINGS)].apply(pd.to_numeric, errors="coerce")
    rated = table[values.notna().all(axis=1)]
    if rated.empty:
        raise DataError(f"{where} has the columns valence and arousal, but no recording with both ratings.")
    values = values.loc[rated.index]
    low, high = float(values.min().min()), float(values.max().max())
    if low < SCALE[0] or high > SCALE[1]:
        raise DataError(
            f"{where} has ratings from {low:g} to {high:g}; expected {SCALE[0]:g} to {SCALE[1]:g}. Rescale them before ingesting."
        )
    return rated.assign(**{name: values[name].astype(float) for name in RATINGS})


@dataclass(frozen=True, eq=False)
class Predictor:
    """A fitted predictor of valence, arousal and quadrant; made by `fit`.

    Attributes
    ----------
    listeners : tuple of str
        Whom it was fitted on.
    alphas : dict of str to float
        Strength of the ridge for valence, arousal and quadrant.
    within_listener : bool
        Whether features are standardised within each listener.
    """

    listeners: tuple
    alphas: dict
    within_listener: bool
    models: dict = field(repr=False)
    centre: np.ndarray = field(repr=False)
    spread: np.ndarray = field(repr=False)

    def predict(self, values, subjects):
        """Ratings of rows: ``(n, 2)``, valence and arousal, kept within `SCALE`.

        Parameters
        ----------
        values : array_like, shape (n, n_features)
        subjects : array_like of n labels
            Listener of each row; all rows of a listener are standardised together.
        """
        ready = self._ready(values, subjects)
        return np.stack([np.clip(np.ravel(self.models[name].predict(ready)), *SCALE) for name in RATINGS], axis=1)

    def name(self, values, subjects):
        """Quadrants of rows, array of str: the one whose regression is highest; parameters as in `predict`."""
        return np.array(QUADRANTS)[self.models["quadrant"].predict(self._ready(values, subjects)).argmax(1)]

    def _ready(self, values, subjects):
        return (_standardised(values, subjects, self.within_listener) - self.centre) / self.spread


def fit(values, table, *, within_listener=True, alphas=ALPHAS) -> Predictor:
    """Fit ridge regressions of valence, of arousal, and of each quadrant (1 in it, 0 out of it).

    Parameters
    ----------
    values : array_like, shape (n, n_features)
        Features of recordings of the training listeners.
    table : pandas.DataFrame
        One row each: ``subject``, ``valence``, ``arousal``.
    within_listener : bool
    alphas : sequence of float
        Strengths to choose from on folds of whole listeners, by the squared error or the share of right quadrants; the
        middle one is taken with a single listener.

    Returns
    -------
    Predictor

    Raises
    ------
    DataError, ParameterError
        Ratings that are missing, features that are not finite or do not fit.
    """
    from sklearn.model_selection import GroupKFold

    table = rated(table, values)
    subjects = table["subject"].to_numpy(str)
    ready, n_listeners = _standardised(values, subjects, within_listener), len(np.unique(subjects))
    alphas = np.array([float(alpha) for alpha in alphas])
    if not len(alphas) or not alphas.min() > 0:
        raise ParameterError(f"alphas={alphas.tolist()}: expected numbers above 0.")
    centre, spread = ready.mean(0), ready.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    ready = (ready - centre) / spread
    folds = list(GroupKFold(min(5, n_listeners)).split(ready, groups=subjects)) if n_listeners > 1 else []
    named = quadrants(table["valence"], table["arousal"])[:, None] == np.array(QUADRANTS)
    targets = {name: table[[name]].to_numpy() for name in RATINGS} | {"quadrant": named.astype(float)}
    chosen, models = {}, {}
    for name, target in targets.items():
        loss = _wrong if name == "quadrant" else _squared_error
        chosen[name] = _strength(ready, target, folds, alphas, loss)
        models[name] = _ridge(chosen[name]).fit(ready, target)
    return Predictor(tuple(np.unique(subjects).tolist()), chosen, bool(within_listener), models, centre, spread)


def _ridge(alpha):
    from sklearn.linear_model import Ridge

    return Ridge(alpha=alpha, solver="svd")


def _strength(values, target, folds, alphas, loss):
    """The strength with the least loss over all folds; every strength is fitted at once, as a target of its own."""
    if not folds:
        return float(alphas[len(alphas) // 2])
    width, total = target.shape[1], np.zeros(len(alphas))
    for train, held in folds:
        fitted = _ridge(np.repeat(alphas, width)).fit(values[train], np.tile(target[train], len(alphas)))
        predicted = fitted.predict(values[held]).reshape(len(held), len(alphas), width)
        total += [loss(predicted[:, i], target[held]) for i in range(len(alphas))]
    return float(alphas[int(np.argmin(total))])


def _squared_error(predicted, target):
    return float(((predicted - target) ** 2).sum())


def _wrong(predicted, target):
    return float((predicted.argmax(1) != target.argmax(1)).sum())


def rated(table, values):
    """The rows of a table of rows with features, all of them rated."""
    if "subject" not in table:
        raise ParameterError("the table lacks subject: which listener a row is of.")
    if np.ndim(values) != 2 or len(values) != len(table):
        raise ParameterError(
            f"features {np.shape(values)} and a table of {len(table)} rows: expected (n, n_features) and n."
        )
    there = check_ratings(table)
    if len(there) < len(table):
        raise DataError(
            f"{len(table) - len(there)} of {len(table)} rows have no rating: leave them out of features and table."
        )
    return there


def _standardised(values, subjects, within_listener):
    """Finite features, standardised within each listener where that is asked for."""
    values, subjects = np.array(values, float), np.asarray(subjects).astype(str)
    if values.ndim != 2 or subjects.shape != (len(values),):
        raise ParameterError(
            f"features {values.shape} and subjects {subjects.shape}: expected (n, n_features) and (n,)."
        )
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(1)))
        raise DataError(
            f"features of row {row} hold NaN or infinity: leave the row out, or look for a damaged recording."
        )
    for one in np.unique(subjects) if within_listener else ():
        mine = subjects == one
        spread = values[mine].std(0)
        values[mine] = (values[mine] - values[mine].mean(0)) / np.where(spread > 0, spread, 1)
    return values
