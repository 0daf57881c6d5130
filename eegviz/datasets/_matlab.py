"""MATLAB files, pickles of arrays and EEG files, read in a child process (:mod:`._child`).

SciPy and HDF5 can die on a damaged file (SIGSEGV), which must not take a notebook with it; a MATLAB v5 array can only be
read whole, which must not stay in memory; and a pickle may hold anything (:mod:`._unpickle`). So a child process opens
the file and sends what is asked for through a pipe, one slice of the last (or first) axis at a time; whatever happens to
the child becomes one :class:`DataError`.

Both formats look alike from here: v5 (``scipy.io``) and v7.3 (HDF5, ``h5py``), always in MATLAB's order of axes.

A cell array or struct that holds many arrays is outlined first and then sent array by array (:class:`Tree`; other HDF5
files too).

Functions: :func:`variables`, :func:`read`, :class:`Slices`, :class:`Tree`. The child's program is ``_matlab_child``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eegviz.datasets._child import TIMEOUT, Child
from eegviz.errors import DataError, ParameterError

# ---------------------------------------------------------------- public


def variables(path, *, timeout=TIMEOUT, bounds=None):
    """List the variables of a MATLAB file.

    Parameters
    ----------
    path : str or Path
    timeout : float
        Seconds without an answer after which the file counts as damaged.
    bounds : Bounds, optional
        What the child may use; see :mod:`._child`.

    Returns
    -------
    dict of str to tuple of int
        Shape of each variable in MATLAB's order.

    Raises
    ------
    DataError
        When it is no MATLAB file or is damaged.
    """
    with Child(path, {"task": "variables"}, timeout, bounds=bounds) as child:
        return {name: tuple(shape) for name, shape in child.message()["variables"].items()}


def read(path, names, *, timeout=TIMEOUT, bounds=None):
    """Read small variables.

    Parameters
    ----------
    path : str or Path
    names : sequence of str
    timeout : float
    bounds : Bounds, optional

    Returns
    -------
    dict
        Numbers are arrays of MATLAB's shape; text is a str (a list of str when it has several rows); a cell array is
        an object array of MATLAB's shape; a struct is a dict, a struct array a list of dicts.

    Raises
    ------
    DataError
        When a name is missing, or a variable has more than 64 MB.
    """
    names = list(names)
    with Child(path, {"task": "read", "names": names}, timeout, bounds=bounds) as child:
        present = child.message()["variables"]
        _require(path, names, present)
        return {name: _decode(child.message()["value"]) for name in names}


class Slices:
    """A numeric array that arrives in slices of its last (or first) axis, as float32. A context manager.

    Parameters
    ----------
    path : str or Path
    name : str
        Variable.
    ndim : int
        Number of axes expected; MATLAB drops trailing axes of length 1, they are given back.
    small : sequence of str
        Further variables to read by the same child, as :func:`read` does.
    first : bool
        Slice the first axis instead of the last.
    kind : {"matlab", "pickle", "eeg"}
        Of the file.
    timeout : float
    bounds : Bounds, optional

    Attributes
    ----------
    shape : tuple of int
        MATLAB's shape.
    values : dict
        The small variables.

    Raises
    ------
    DataError
        When the variable is missing, is not numeric or has another number of axes.

    Examples
    --------
    >>> import scipy.io, tempfile, os
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = os.path.join(folder.name, "song21_Imputed.mat")
    >>> scipy.io.savemat(file, {"data21": np.arange(24.0).reshape(2, 3, 4)})
    >>> with Slices(file, "data21", ndim=3) as slices:
    ...     print(slices.shape, [part[0, 0, 0].item() for part in slices.ranges([(1, 2), (3, 4)])])
    (2, 3, 4) [1.0, 3.0]
    >>> folder.cleanup()
    """

    def __init__(self, path, name, *, ndim, small=(), first=False, kind="matlab", timeout=TIMEOUT, bounds=None):
        self.path, self.name, self.ndim, self._small, self._first = Path(path), name, ndim, list(small), first
        request = {"task": "slices", "name": name, "ndim": ndim, "names": self._small, "first": first}
        self._child = Child(path, request, timeout, kind=kind, bounds=bounds)

    def __enter__(self):
        self._child.__enter__()
        try:
            head = self._child.message()
            _require(self.path, [self.name, *self._small], head["variables"])
            self.values = {name: _decode(self._child.message()["value"]) for name in self._small}
            found = self._child.message()
            shape = tuple(found["shape"])
            if not found["numeric"] or len(shape) > self.ndim:
                kind = "numbers" if found["numeric"] else "no real numbers"
                raise DataError(
                    f"{self.path}: expected {self.name} as a real array of {self.ndim} axes, "
                    f"found {kind} of shape {shape}; is it the original file of this data set?"
                )
            self.shape = shape
        except BaseException:
            self._child.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error):
        return self._child.__exit__(*error)

    def ranges(self, ranges):
        """Yield ``array[..., start:stop]`` (``first``: ``array[start:stop]``) for each (start, stop), as float32.

        Slices are in C order. It can be asked once; a slice that is not taken from the iterator is not read.
        """
        ranges = [(int(start), int(stop)) for start, stop in ranges]
        for start, stop in ranges:
            if not 0 <= start < stop <= self.shape[0 if self._first else -1]:
                which = "first" if self._first else "last"
                raise ParameterError(f"slice {start}:{stop} does not lie in the {which} axis of {self.shape}")
        self._child.send({"ranges": ranges})
        for start, stop in ranges:
            out = np.empty(self._shape_of(stop - start), np.float32)
            at = 0
            while at < stop - start:  # a long range arrives in pieces of that axis
                width = self._child.message()["width"]
                piece = np.empty(self._shape_of(width), np.float32) if width < stop - start else out
                self._child.read_into(memoryview(piece).cast("B"))
                if piece is not out:
                    out[(slice(at, at + width),) if self._first else (..., slice(at, at + width))] = piece
                at += width
            yield out

    def _shape_of(self, width):
        return (width, *self.shape[1:]) if self._first else (*self.shape[:-1], width)


@dataclass(frozen=True)
class Leaf:
    """An array in the outline of a :class:`Tree` that was not sent: its shape, and whether it holds real numbers."""

    shape: tuple
    numeric: bool = True


class Tree:
    """A cell array or struct of many arrays: its outline, then single arrays as float32. A context manager.

    Parameters
    ----------
    path : str or Path
    name : str
        Variable; "/" with ``hdf5``.
    small : sequence of str
        Further variables to read by the same child, as :func:`read` does.
    hdf5 : bool
        The file is plain HDF5, not MATLAB's: groups are dicts, axes stay as they are.
    timeout : float

    Attributes
    ----------
    tree
        As :func:`read` gives it, but an array of more than 4096 values is a :class:`Leaf`.
    values : dict
        The small variables.

    Raises
    ------
    DataError
        When the variable is missing or the file is damaged.

    Examples
    --------
    >>> import scipy.io, tempfile, os
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = os.path.join(folder.name, "dataSub1.mat")
    >>> trials = np.empty((1, 2), object)
    >>> trials[0, :] = [np.zeros((100, 64)), np.ones((100, 64))]
    >>> scipy.io.savemat(file, {"eeg": {"data": trials, "fs": 64.0}})
    >>> with Tree(file, "eeg") as tree:
    ...     print(tree.tree["fs"].item(), tree.tree["data"][0, 1].shape)
    ...     print([(path, array.mean().item()) for path, array in tree.take([("data", 1)])])
    64.0 (100, 64)
    [(('data', 1), 1.0)]
    >>> folder.cleanup()
    """

    def __init__(self, path, name, *, small=(), hdf5=False, timeout=TIMEOUT):
        self.path, self.name, self._small = Path(path), name, list(small)
        request = {"task": "tree", "name": name, "names": self._small}
        self._child = Child(path, request, timeout, kind="hdf5" if hdf5 else "matlab")

    def __enter__(self):
        self._child.__enter__()
        try:
            head = self._child.message()
            _require(self.path, [self.name, *self._small], head["variables"])
            self.values = {name: _decode(self._child.message()["value"]) for name in self._small}
            self.tree = _decode(self._child.message()["value"])
        except BaseException:
            self._child.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error):
        return self._child.__exit__(*error)

    def take(self, paths):
        """Yield (path, array) for the arrays at ``paths``, in the file's order. It can be asked once.

        A path is a tuple of fields (str) and positions (int, MATLAB's linear order from 0).
        """
        paths = [tuple(path) for path in paths]
        self._child.send({"paths": paths})
        for _ in paths:
            head = self._child.message()
            out = np.empty(head["shape"], np.float32)
            if out.size:
                self._child.read_into(memoryview(out).cast("B"))
            yield tuple(head["path"]), out


# ---------------------------------------------------------------- what the messages hold


def _require(path, names, present):
    if missing := [name for name in names if name not in present]:
        found = ", ".join(f"{name} {tuple(shape)}" for name, shape in present.items()) or "no variable at all"
        raise DataError(
            f"{path}: expected the variable {', '.join(missing)}, found {found}; is it the original file of this "
            "data set, under its original name?"
        )


def _decode(value):
    kind = value["kind"]
    if kind == "numbers":
        data = np.frombuffer(bytes.fromhex(value["hex"]), dtype=value["dtype"])
        return data.reshape(value["shape"], order="F").copy()
    if kind == "text":
        return value["text"]
    if kind == "cell":
        out = np.empty(len(value["items"]), dtype=object)
        for index, item in enumerate(value["items"]):
            out[index] = _decode(item)
        return out.reshape(value["shape"], order="F")
    if kind in ("array", "other"):
        return Leaf(tuple(value["shape"]), numeric=kind == "array")
    rows = [{name: _decode(item) for name, item in row.items()} for row in value["rows"]]
    return rows[0] if value["single"] else rows
