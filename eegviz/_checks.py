"""Numbers and labels, read and refused (for `eegviz.stats`, `eegviz.identification` and `eegviz.nulls`)."""

import numpy as np

from eegviz.errors import DataError, ParameterError


def finite(values, name):
    """One or more finite floats, (n,)."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ParameterError(f"{name} have shape {values.shape}, expected (n,) with n ≥ 1.")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"{name}[{row}] is {values[row]}: a score must be finite. Leave out what is not defined (n/a).")
    return values


def labels(values, n, name):
    """An array of n labels."""
    values = np.asarray(values)
    if values.shape != (n,):
        raise ParameterError(f"{name} has shape {values.shape}, expected one label for each of the {n} values.")
    return values


def count(value, name):
    """A whole number, 1 or more."""
    if value != int(value) or value < 1:
        raise ParameterError(f"{name}={value}: expected a whole number, 1 or more.")
    return int(value)


def share(value, name, example):
    """A number between 0 and 1, both excluded."""
    if not 0 < value < 1:
        raise ParameterError(f"{name}={value}: expected a {example}.")
    return float(value)
