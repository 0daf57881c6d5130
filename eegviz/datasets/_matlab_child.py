"""The child process of ``_matlab``: opens one file (MATLAB, HDF5, pickle, EEG) and sends what it is asked for over a pipe.

Messages are JSON behind their length (:data:`LENGTH`); slices are raw float32 behind one such message. Whatever goes
wrong with a file happens here, where nothing else is lost.
"""

import json
import os
import struct
import sys

import numpy as np

from eegviz.datasets import _limits, _mat5_stream

MAX_SMALL_BYTES = 2**26  # what read() accepts; longer arrays go through Slices
PIECE_BYTES = 2**25  # largest message of the child, so that neither side holds much twice
LENGTH = struct.Struct("<Q")
_NUMERIC_CLASSES = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def _main():
    """Answer one request; stdout carries messages only."""
    import warnings

    warnings.simplefilter("ignore")
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    request = json.loads(sys.stdin.buffer.readline())
    try:
        if request["bounds"]:
            _limits.limit(request["bounds"]["memory"], request["bounds"]["cpu_s"])
        reader = _READERS[request["version"]](request["path"])
        if request["bounds"] and hasattr(reader, "refuse_other_files"):
            reader.refuse_other_files()
        present = reader.variables()
        _send(pipe, {"variables": present})
        small = request.get("names", [])
        if any(name not in present for name in [*small, request.get("name", next(iter(present), None))]):
            return
        for name in small:
            _send(pipe, {"value": reader.value(name)})
        if request["task"] == "slices":
            _send_slices(pipe, reader, request["name"], request["ndim"], first=request["first"])
        if request["task"] == "tree":
            _send_tree(pipe, reader, request["name"])
    except BrokenPipeError:
        return
    except MemoryError:
        _send(pipe, {"memory": True})
    except Exception as error:  # whatever it is, the parent raises it as a DataError
        text = " ".join(str(error).split()) or "no details"
        if getattr(error, "refused", False):
            _send(pipe, {"error": text[:300], "refused": True})
        elif getattr(error, "plain", False):
            _send(pipe, {"error": text[:300], "plain": True})
        else:
            _send(pipe, {"error": f"{type(error).__name__}: {text[:300]}"})


def _send_slices(pipe, reader, name, ndim, *, first):
    _send(pipe, reader.open_array(name, ndim))
    line = sys.stdin.buffer.readline()
    if not line:
        return
    shape = reader.shape
    column = max(1, 4 * int(np.prod(shape[1:] if first else shape[:-1])))
    for start, stop in json.loads(line)["ranges"]:
        step = stop - start if reader.whole else max(1, PIECE_BYTES // column)
        for at in range(start, stop, step):
            width = min(step, stop - at)
            with np.errstate(over="ignore"):
                piece = np.ascontiguousarray(reader.part(at, at + width, first=first), dtype="<f4")
            _send(pipe, {"width": width})
            _write_all(pipe, memoryview(piece).cast("B"))


def _send_tree(pipe, reader, name):
    _send(pipe, {"value": reader.outline(name)})
    line = sys.stdin.buffer.readline()
    if not line:
        return
    paths = [tuple(path) for path in json.loads(line)["paths"]]

    def give(path, array):
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{name} {path} holds {array.dtype}, expected real numbers")
        with np.errstate(over="ignore"):
            piece = np.ascontiguousarray(array, dtype="<f4")
        _send(pipe, {"path": path, "shape": list(array.shape)})
        _write_all(pipe, memoryview(piece).cast("B"))

    reader.give(name, paths, give)


def _send(pipe, message):
    body = json.dumps(message).encode()
    _write_all(pipe, memoryview(LENGTH.pack(len(body)) + body))


def _write_all(pipe, view):
    while len(view):
        view = view[pipe.write(view[:PIECE_BYTES]) :]


def _pad(shape, ndim):
    """Return a shape with the trailing axes of length 1 that MATLAB drops."""
    return [int(n) for n in shape] + [1] * (ndim - len(shape))


def _numbers(array):
    array = np.asarray(array)
    if array.nbytes > MAX_SMALL_BYTES:
        raise ValueError(f"a variable that should be small has {array.nbytes} bytes, shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"values of type {array.dtype}, expected real numbers")
    array = array.astype(array.dtype.newbyteorder("<"))
    return {
        "kind": "numbers", "dtype": array.dtype.str, "shape": list(array.shape), "hex": array.tobytes(order="F").hex(),
    }  # fmt: skip


class _V5:
    """MATLAB v5 to v7, through SciPy. An array is read whole, then cut."""

    whole = True

    def __init__(self, path):
        import scipy.io

        self.io, self.path, self.array = scipy.io, path, None
        self._check_length()
        self.listing = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}

    def _check_length(self):
        """Follow the sizes of the variables to the end of the file: SciPy takes no notice of a file cut short."""
        with open(self.path, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(124)
            order = "<" if handle.read(4)[2:] == b"IM" else ">"
            at = 128
            while at < size:
                handle.seek(at)
                tag = handle.read(8)
                end = at + 8 + (struct.unpack(order + "II", tag)[1] if len(tag) == 8 else 0)
                if len(tag) < 8 or end > size:
                    raise ValueError(f"the file is cut off: a variable at byte {at} ends at {end}, the file at {size}")
                at = end

    def variables(self):
        return {name: [int(n) for n in shape] for name, (shape, _) in self.listing.items()}

    def _load(self, name):
        return self.io.loadmat(self.path, variable_names=[name], struct_as_record=True, squeeze_me=False)[name]

    def value(self, name):
        return self._encode(self._load(name))

    def open_array(self, name, ndim):
        shape, kind = self.listing[name]
        self.name, self.shape = name, _pad(shape, ndim)
        return {"shape": self.shape, "numeric": kind in _NUMERIC_CLASSES}

    def part(self, start, stop, *, first):
        if self.array is None:  # not before it is asked for: a resumed ingest may want none
            array = self._load(self.name)
            if array.dtype.kind not in "fiu":
                raise ValueError(f"{self.name} holds {array.dtype}, expected real numbers")
            self.array = array.reshape(self.shape, order="F")
        return self.array[start:stop] if first else self.array[..., start:stop]

    def outline(self, name):
        return _mat5_stream.Walk(self.path, name, numbers=_numbers).outline()

    def give(self, name, paths, give):
        walk = _mat5_stream.Walk(self.path, name, numbers=_numbers, wanted=paths, give=give)
        if paths:
            try:
                walk.outline()
            except _mat5_stream.Enough:
                return
            raise ValueError(f"{name} has no arrays at {sorted(walk.wanted, key=str)[:3]}")

    def _encode(self, value):
        if value.dtype.names is not None:
            cells = value.ravel(order="F")
            rows = [{key: self._encode(np.asarray(cell[key])) for key in value.dtype.names} for cell in cells]
            return {"kind": "struct", "rows": rows, "single": value.size == 1}
        if value.dtype.kind == "O":
            items = [self._encode(np.asarray(item)) for item in value.ravel(order="F")]
            return {"kind": "cell", "shape": list(value.shape), "items": items}
        if value.dtype.kind in "US":
            rows = [str(item) for item in value.ravel()]
            return {"kind": "text", "text": rows[0] if len(rows) == 1 else rows if rows else ""}
        return _numbers(value)


class _V73:
    """MATLAB v7.3, through h5py. Axes are stored in reverse; only what is asked for is read."""

    whole = False

    class Elsewhere(Exception):
        """Part of the file would come from another file."""

        refused = True

    def __init__(self, path):
        import h5py

        self.h5py, self.file = h5py, h5py.File(path, "r")
        self.longest = None  # values of an array that is sent whole; a longer one is only outlined

    def refuse_other_files(self):
        """HDF5 may take an array from any other file of this machine: refuse that in a file from elsewhere."""

        def check(name, link):  # what it returns ends the walk; an error must not pass through HDF5
            if isinstance(link, self.h5py.ExternalLink):
                return f"{name} is a link to another file"
            item = self.file.get(name) if isinstance(link, self.h5py.HardLink) else None
            if isinstance(item, self.h5py.Dataset) and (item.external or item.is_virtual):
                return f"{name} is stored in another file"
            return None

        if found := self.file.visititems_links(check):
            raise self.Elsewhere(found)

    def variables(self):
        names = [name for name in self.file if name not in ("#refs#", "#subsystem#")]
        return {name: [int(n) for n in getattr(self.file[name], "shape", (1, 1))][::-1] for name in names}

    def value(self, name):
        return self._encode(self.file[name])

    def open_array(self, name, ndim):
        self.array = self.file[name]
        self.shape = _pad(getattr(self.array, "shape", ())[::-1], ndim)
        numeric = isinstance(self.array, self.h5py.Dataset) and self.array.dtype.kind in "fiu"
        return {"shape": self.shape, "numeric": numeric and not self._is_empty(self.array)}

    def part(self, start, stop, *, first):
        if len(self.shape) > self.array.ndim:  # the last axis is one that MATLAB dropped
            whole = self.array[()].T.reshape(self.shape)
            return whole[start:stop] if first else whole
        return (self.array[..., start:stop] if first else self.array[start:stop]).T

    def outline(self, name):
        self.longest = _mat5_stream.SMALL
        return self._encode(self.file[name])

    def give(self, name, paths, give):
        for path in paths:
            item = self.file[name]
            row = None
            for step in path:
                if isinstance(step, str):
                    item = item[step] if row is None else self.file[np.asarray(item[step][()]).ravel()[row]]
                    row = None
                elif isinstance(item, self.h5py.Group):
                    row = step  # of a struct array: its field comes next
                else:
                    item = self.file[np.asarray(item[()]).ravel()[step]]
            give(path, item[()].T)

    @staticmethod
    def _is_empty(item):
        return bool(item.attrs.get("MATLAB_empty", 0))

    @staticmethod
    def _class(item):
        name = item.attrs.get("MATLAB_class", b"")
        return name.decode() if isinstance(name, bytes) else str(name)

    def _encode(self, item, depth=0):
        if depth > 8:
            raise ValueError("cells or structs nested more than 8 deep")
        if isinstance(item, self.h5py.Group):
            return self._encode_struct(item, depth)
        if item.dtype == self.h5py.ref_dtype:
            references = np.asarray(item[()]).T
            items = [self._encode(self.file[reference], depth + 1) for reference in references.ravel(order="F")]
            return {"kind": "cell", "shape": list(references.shape), "items": items}
        if self._class(item) == "char":
            if self._is_empty(item):
                return {"kind": "text", "text": ""}
            rows = ["".join(chr(code) for code in row) for row in np.atleast_2d(item[()].T)]
            return {"kind": "text", "text": rows[0] if len(rows) == 1 else rows}
        if self._is_empty(item):
            if self._class(item) == "cell":
                return {"kind": "cell", "shape": [0, 0], "items": []}
            return _numbers(np.zeros(tuple(int(n) for n in item[()]), np.float64))
        if self.longest is not None and item.size > self.longest:
            return {"kind": "array", "shape": list(item.shape[::-1])}
        if item.size * item.dtype.itemsize > MAX_SMALL_BYTES:
            raise ValueError(f"a variable that should be small has shape {item.shape[::-1]}")
        return _numbers(item[()].T)

    def _encode_struct(self, group, depth):
        fields = {key: group[key] for key in group}
        size = {
            value.shape[::-1]
            for value in fields.values()
            if isinstance(value, self.h5py.Dataset)
            and value.dtype == self.h5py.ref_dtype
            and not self._class(value)  # a field that is itself a cell carries the class "cell"
        }
        if len(size) != 1:
            row = {key: self._encode(value, depth + 1) for key, value in fields.items()}
            return {"kind": "struct", "rows": [row], "single": True}
        columns = {
            key: [self.file[reference] for reference in np.asarray(value[()]).ravel()] for key, value in fields.items()
        }
        rows = [
            {key: self._encode(column[index], depth + 1) for key, column in columns.items()}
            for index in range(int(np.prod(next(iter(size)))))
        ]
        return {"kind": "struct", "rows": rows, "single": len(rows) == 1}


class _HDF5:
    """An HDF5 file that no MATLAB wrote: groups in groups, axes as they are. The variable "/" is the whole file."""

    def __init__(self, path):
        import h5py

        self.h5py, self.file = h5py, h5py.File(path, "r")

    def variables(self):
        return {"/": [1, 1]}

    def outline(self, name):
        return self._encode(self.file[name])

    def give(self, name, paths, give):
        for path in paths:
            give(path, self.file["/".join(path)][()])

    def _encode(self, item, depth=0):
        if depth > 8:
            raise ValueError("groups nested more than 8 deep")
        if isinstance(item, self.h5py.Group):
            row = {key: self._encode(item[key], depth + 1) for key in item}
            return {"kind": "struct", "rows": [row], "single": True}
        numeric = item.dtype.kind in "fiu"
        return {"kind": "array" if numeric else "other", "shape": list(item.shape)}


def _pickle(path):
    from eegviz.datasets import _unpickle

    return _unpickle.Reader(path, numbers=_numbers)


def _eeg(path):
    from eegviz.datasets import _eeg_child

    return _eeg_child.Reader(path)


_READERS = {"5": _V5, "7.3": _V73, "hdf5": _HDF5, "pickle": _pickle, "eeg": _eeg}

if __name__ == "__main__":
    _main()
