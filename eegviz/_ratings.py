"""Ratings, and the linear predictor of ratings (public in `eegviz.emotion`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError

RATINGS = ("valence", "arousal")
SCALE = (1.0, 9.0)  # self-assessment manikins of DEAP
MIDDLE = 5.0  # above it a rating is high; at it, low (our choice)
QUADRANTS = ("HVHA", "LVHA", "HVLA", "LVLA")  # high or low valence, high or low arousal
ALPHAS = tuple(10.0**k for k in range(-1, 6))  # strengths of the ridge; our choice


def quadrants(valence, arousal, *, middle=MIDDLE):
    """Names of the quadrants of ratings: array of `QUADRANTS`, shape (n,).

    >>> quadrants([8, 2, 2, 8], [8, 8, 2, 2]).tolist()
    ['HVHA', 'LVHA', 'LVLA', 'HVLA']
    """
    high = [np.where(np.asarray(one, float) > middle, "H", "L") for one in (valence, arousal)]
    return np.char.add(np.char.add(high[0], "V"), np.char.add(high[1], "A"))


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
