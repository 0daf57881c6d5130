"""MATLAB files, read in a child process.

SciPy and HDF5 can die on a damaged file (SIGSEGV), which must not take a notebook with it; and a MATLAB v5 array can
only be read whole, which must not stay in memory. So a child process opens the file and sends what is asked for
through a pipe, one slice of the last axis at a time; whatever happens to the child becomes one :class:`DataError`.

Both formats look alike from here: v5 (``scipy.io``) and v7.3 (HDF5, ``h5py``), always in MATLAB's order of axes.

Functions: :func:`variables`, :func:`read`, :class:`Slices`. The file is also the child's program.
"""

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from eegviz.errors import DataError, ParameterError

TIMEOUT = 600.0  # seconds without any answer from the child; a 700 MB file on a slow disk takes about 60
MAX_SMALL_BYTES = 2**26  # what read() accepts; longer arrays go through Slices
PIECE_BYTES = 2**25  # largest message of the child, so that neither side holds much twice

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LENGTH = struct.Struct("<Q")
_NUMERIC_CLASSES = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


# ---------------------------------------------------------------- public


def variables(path, *, timeout=TIMEOUT):
    """List the variables of a MATLAB file.

    Parameters
    ----------
    path : str or Path
    timeout : float
        Seconds without an answer after which the file counts as damaged.

    Returns
    -------
    dict of str to tuple of int
        Shape of each variable in MATLAB's order.

    Raises
    ------
    DataError
        When it is no MATLAB file or is damaged.
    """
    with _Child(path, {"task": "variables"}, timeout) as child:
        return {name: tuple(shape) for name, shape in child.message()["variables"].items()}


def read(path, names, *, timeout=TIMEOUT):
    """Read small variables.

    Parameters
    ----------
    path : str or Path
    names : sequence of str
    timeout : float

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
    with _Child(path, {"task": "read", "names": names}, timeout) as child:
        present = child.message()["variables"]
        _require(path, names, present)
        return {name: _decode(child.message()["value"]) for name in names}


class Slices:
    """A numeric array that arrives in slices of its last (MATLAB) axis, as float32. A context manager.

    Parameters
    ----------
    path : str or Path
    name : str
        Variable.
    ndim : int
        Number of axes expected; MATLAB drops trailing axes of length 1, they are given back.
    small : sequence of str
        Further variables to read by the same child, as :func:`read` does.
    timeout : float

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

    def __init__(self, path, name, *, ndim, small=(), timeout=TIMEOUT):
        self.path, self.name, self.ndim, self._small = Path(path), name, ndim, list(small)
        request = {"task": "slices", "name": name, "ndim": ndim, "names": self._small}
        self._child = _Child(path, request, timeout)

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
        """Yield ``array[..., start:stop]`` for each (start, stop), as float32 in C order.

        It can be asked once; a slice that is not taken from the iterator is not read.
        """
        ranges = [(int(start), int(stop)) for start, stop in ranges]
        for start, stop in ranges:
            if not 0 <= start < stop <= self.shape[-1]:
                raise ParameterError(f"slice {start}:{stop} does not lie in the last axis of {self.shape}")
        self._child.send({"ranges": ranges})
        for start, stop in ranges:
            out = np.empty((*self.shape[:-1], stop - start), np.float32)
            at = 0
            while at < stop - start:  # a long range arrives in pieces of the last axis
                width = self._child.message()["width"]
                piece = np.empty((*self.shape[:-1], width), np.float32) if width < stop - start else out
                self._child.read_into(memoryview(piece).cast("B"))
                if piece is not out:
                    out[..., at : at + width] = piece
                at += width
            yield out


# ---------------------------------------------------------------- parent's side


class _Child:
    """The reading process: requests go to its stdin, messages come from its stdout, its death is a DataError."""

    def __init__(self, path, request, timeout):
        self.path, self.request, self.timeout = Path(path), request, timeout
        self.expired = False

    def __enter__(self):
        version = _matlab_version(self.path)
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "eegviz.datasets._matlab"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"},
        )
        self.last_words = b""
        self._drain = threading.Thread(target=self._keep_stderr, daemon=True)
        self._drain.start()
        self.send({**self.request, "path": str(self.path.resolve()), "version": version})
        return self

    def __exit__(self, *error):
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.process.wait()
        self._drain.join()
        self.process.stderr.close()

    def send(self, message):
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            self._fail()

    def message(self):
        head = bytearray(_LENGTH.size)
        self.read_into(memoryview(head))
        (length,) = _LENGTH.unpack(head)
        body = bytearray(length)
        self.read_into(memoryview(body))
        message = json.loads(bytes(body))
        if "error" in message:
            raise DataError(
                f"{self.path} is damaged or incomplete: expected a readable MATLAB file, found: {message['error']}; "
                "download or copy it again and compare its size and checksum with the original's"
            )
        return message

    def read_into(self, view):
        timer = threading.Timer(self.timeout, self._expire)
        timer.daemon = True
        timer.start()
        try:
            done = 0
            while done < len(view):
                count = self.process.stdout.readinto(view[done:])
                if not count:
                    self._fail()
                done += count
        finally:
            timer.cancel()

    def _expire(self):
        self.expired = True
        self.process.kill()

    def _keep_stderr(self):
        for line in self.process.stderr:
            self.last_words = line.strip() or self.last_words

    def _fail(self):
        code = self.process.wait()
        self._drain.join()
        if self.expired:
            found = f"no answer of the reading process within {self.timeout:g} s"
        elif code < 0:
            found = f"the reading process died of signal {-code}"
        else:
            found = f"the reading process ended with code {code} {self.last_words.decode(errors='replace')}".strip()
        raise DataError(
            f"{self.path} is damaged or incomplete: expected a readable MATLAB file, found: {found}; "
            "download or copy it again and compare its size and checksum with the original's"
        )


def _matlab_version(path):
    """Return "5" or "7.3", told from the first bytes; anything else is a DataError."""
    advice = "download or copy it again"
    try:
        with path.open("rb") as handle:
            head = handle.read(8 * 1024 + 8)
            size = os.fstat(handle.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: expected a MATLAB file, found none that can be opened ({error.strerror})") from error
    if not size:
        raise DataError(f"{path}: expected a MATLAB file (v5 or v7.3), found an empty file; {advice}")
    if any(head[at : at + 8] == _HDF5_SIGNATURE for at in (0, 512, 1024, 2048, 4096, 8192)):
        return "7.3"
    if head[:6] == b"MATLAB" and head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        return "5"
    shown = head[:24].decode("ascii", errors="replace").strip()
    raise DataError(f"{path}: expected a MATLAB file (v5 or v7.3), found {size} bytes that begin {shown!r}; {advice}")


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
    rows = [{name: _decode(item) for name, item in row.items()} for row in value["rows"]]
    return rows[0] if value["single"] else rows


# ---------------------------------------------------------------- child's side


def _main():
    """Answer one request; stdout carries messages only."""
    import warnings

    warnings.simplefilter("ignore")
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    request = json.loads(sys.stdin.buffer.readline())
    try:
        reader = _V5(request["path"]) if request["version"] == "5" else _V73(request["path"])
        present = reader.variables()
        _send(pipe, {"variables": present})
        small = request.get("names", [])
        if any(name not in present for name in [*small, request.get("name", next(iter(present), None))]):
            return
        for name in small:
            _send(pipe, {"value": reader.value(name)})
        if request["task"] == "slices":
            _send_slices(pipe, reader, request["name"], request["ndim"])
    except BrokenPipeError:
        return
    except Exception as error:  # whatever it is, the parent raises it as a DataError
        text = " ".join(str(error).split()) or "no details"
        _send(pipe, {"error": f"{type(error).__name__}: {text[:300]}"})


def _send_slices(pipe, reader, name, ndim):
    _send(pipe, reader.open_array(name, ndim))
    line = sys.stdin.buffer.readline()
    if not line:
        return
    shape = reader.shape
    column = max(1, 4 * int(np.prod(shape[:-1])))
    for start, stop in json.loads(line)["ranges"]:
        step = stop - start if reader.whole else max(1, PIECE_BYTES // column)
        for at in range(start, stop, step):
            width = min(step, stop - at)
            with np.errstate(over="ignore"):
                piece = np.ascontiguousarray(reader.part(at, at + width), dtype="<f4")
            _send(pipe, {"width": width})
            _write_all(pipe, memoryview(piece).cast("B"))


def _send(pipe, message):
    body = json.dumps(message).encode()
    _write_all(pipe, memoryview(_LENGTH.pack(len(body)) + body))


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

    def part(self, start, stop):
        if self.array is None:  # not before it is asked for: a resumed ingest may want none
            array = self._load(self.name)
            if array.dtype.kind not in "fiu":
                raise ValueError(f"{self.name} holds {array.dtype}, expected real numbers")
            self.array = array.reshape(self.shape, order="F")
        return self.array[..., start:stop]

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

    def __init__(self, path):
        import h5py

        self.h5py, self.file = h5py, h5py.File(path, "r")

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

    def part(self, start, stop):
        if len(self.shape) > self.array.ndim:  # the last axis is one that MATLAB dropped
            return self.array[()].T.reshape(self.shape)
        return self.array[start:stop].T

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


if __name__ == "__main__":
    _main()
