"""Errors that a user can cause, each with one message that says what to do.

A message names what is wrong, where, what was expected, what was found and what to do next.
The command line prints it without a traceback and exits with code 2.
"""


class EegvizError(Exception):
    """Base class of every error that eegviz raises on purpose."""


class ParameterError(EegvizError, ValueError):
    """A parameter has a value that cannot be used."""


class DataError(EegvizError):
    """A file or a folder does not hold what it should hold."""


class MissingDependencyError(EegvizError, ImportError):
    """An optional package is needed and not installed."""
