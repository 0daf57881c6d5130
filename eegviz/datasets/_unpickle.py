"""Pickles of arrays, read without trusting them (for the child process of ``_matlab``).

A pickle is a program: :mod:`pickle` calls whatever the file names. The files that are wanted here hold one dict of
numeric arrays by name, as Python 2 wrote them (protocol 2, text in latin1) or a newer Python (protocols 0 to 5). So

1. the instructions are walked first, none is followed: those that make other objects are refused, and so is a length
   that is longer than the file, before anything is reserved for it;
2. the names that such a file needs (:data:`ADMITTED`) stand for small classes of this module, never for NumPy's own
   callables: a shape, a type and bytes are checked against each other before an array is made of them;
3. everything else is a :class:`Refused`, and what is cut short or makes no sense a :class:`Damaged`;
4. the process may not write files, start others, take more memory than a few times the file or compute for long
   (:mod:`._limits`).

Python's own advice: https://docs.python.org/3/library/pickle.html#restricting-globals.

Functions: :func:`load`; :class:`Reader` is what the child process asks.
"""

import math
import os
import pickle
import pickletools
import re
import struct

import numpy as np

from eegviz.datasets._limits import limit

ADMITTED = {  # what pickles of arrays name, and the stand-in for it
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",  # NumPy 1, Python 2 too
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",  # NumPy 2
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",  # protocol 5
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",  # bytes in protocol 2 of Python 3
    ("__builtin__", "bytes"): "bytes",  # no bytes, in protocols 0 to 2 of Python 3
    ("builtins", "bytes"): "bytes",
}
INSTRUCTIONS = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT",
    "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT",
    "DICT", "SETITEM", "SETITEMS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
))  # fmt: skip
MAX_INSTRUCTIONS = 10_000  # two arrays take about 100
NUMBERS = re.compile(r"f[248]|[iu][1248]|b1")  # types that are admitted
NAMES = re.compile(r"[A-Za-z][A-Za-z0-9_ .-]{0,63}")  # of arrays
SPARE_BYTES = 2**28  # beside a few times the file
SECONDS, BYTES_A_SECOND = 10, 10_000_000  # of computing: ten, and one each 10 MB (which take a hundredth of that)
_COUNTED = {  # instructions behind which a length and as many bytes follow
    "BINSTRING": "<i", "BINBYTES": "<I", "BINUNICODE": "<I", "BINBYTES8": "<Q", "BINUNICODE8": "<Q", "BYTEARRAY8": "<Q",
    "LONG4": "<i", "SHORT_BINSTRING": "<B", "SHORT_BINBYTES": "<B", "SHORT_BINUNICODE": "<B", "LONG1": "<B",
}  # fmt: skip
_LINES = {"STRING": 1, "UNICODE": 1, "INT": 1, "LONG": 1, "PUT": 1, "GET": 1, "GLOBAL": 2}
_FIXED = {
    "PROTO": "<B", "FRAME": "<Q", "BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINPUT": "<B", "LONG_BINPUT": "<I",
    "BINGET": "<B", "LONG_BINGET": "<I",
}  # fmt: skip


class Damaged(ValueError):
    """The pickle is cut short or makes no sense."""


class Refused(Damaged):
    """The pickle holds something else than arrays. Nothing of it was run."""

    refused = True


def load(path):
    """Return the arrays of a pickle.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    arrays : dict of str to ndarray
        Read-only, of kind f, i, u or b.

    Raises
    ------
    Refused
        When it holds, or asks for, anything else than a dict of numeric arrays by name.
    Damaged
        When it is cut short or makes no sense.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".dat") as file:
    ...     pickle.dump({"labels": np.arange(8.0).reshape(2, 4)}, file, protocol=2)
    ...     file.flush()
    ...     load(file.name)["labels"].shape
    (2, 4)
    """
    with open(path, "rb") as stream:
        walk(stream)
        stream.seek(0)
        try:
            found = _Unpickler(stream).load()
        except Damaged:
            raise
        except MemoryError as error:
            raise Refused("a pickle that takes more memory than a file of its size can need") from error
        except Exception as error:  # an odd order of instructions fails in as many ways as there are instructions
            raise Damaged(f"{type(error).__name__}: {error}") from error
    if type(found) is not dict:
        raise Refused(f"{_kind(found)} instead of a dict")
    arrays = {}
    for key, value in found.items():
        name = _text(key, "a name")
        if not NAMES.fullmatch(name):
            raise Refused(f"the name {_shown(name)} for an array")
        if not isinstance(value, _Array):
            raise Refused(f"{_kind(value)} under the name {_shown(name)}")
        if value.array is None:
            raise Damaged(f"an array without content under the name {_shown(name)}")
        arrays[name] = value.array
    return arrays


class Reader:
    """What the child process asks: variables, small values, and an array in slices."""

    whole = True

    def __init__(self, path, *, numbers):
        size = os.path.getsize(path)
        limit(4 * size + SPARE_BYTES, SECONDS + size // BYTES_A_SECOND)
        self.arrays, self.numbers = load(path), numbers

    def variables(self):
        """Shapes by name."""
        return {name: list(array.shape) for name, array in self.arrays.items()}

    def value(self, name):
        """A small array, ready to be sent."""
        return self.numbers(self.arrays[name])

    def open_array(self, name, ndim):
        """Choose the array whose parts are asked for."""
        self.array = self.arrays[name]
        self.shape = list(self.array.shape)
        return {"shape": self.shape, "numeric": self.array.dtype.kind in "fiu"}

    def part(self, start, stop, *, first):
        """A slice of the first or the last axis."""
        return self.array[start:stop] if first else self.array[..., start:stop]


# ---------------------------------------------------------------- walking the instructions


def walk(stream):
    """Go through the instructions without following one; refuse those that arrays do not need.

    Parameters
    ----------
    stream : binary file
        At its beginning, seekable.

    Raises
    ------
    Refused, Damaged
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    for _ in range(MAX_INSTRUCTIONS):
        at = stream.tell()
        code = stream.read(1)
        if not code:
            raise Damaged(f"the file ends at byte {size} before the pickle does")
        known = pickletools.code2op.get(code.decode("latin1"))
        if known is None:
            raise Damaged(f"byte {at} ({code!r}) is no instruction of a pickle")
        name = known.name
        if name not in INSTRUCTIONS:
            raise Refused(f"the instruction {name} at byte {at}, which arrays do not need")
        if name in _COUNTED:
            length = _number(stream, _COUNTED[name], at, size)
            left = size - stream.tell()
            if not 0 <= length <= left:
                raise Damaged(f"{length} bytes are announced at byte {at}, and {left} are left")
            stream.seek(length, os.SEEK_CUR)
        elif name in _LINES:
            lines = [_line(stream, at) for _ in range(_LINES[name])]
            if name == "GLOBAL":
                _standin(*lines)
            elif name == "PUT":
                _check_place(lines[0], at)
        elif name in _FIXED:
            value = _number(stream, _FIXED[name], at, size)
            if name == "FRAME" and value > size - stream.tell():
                raise Damaged(f"{value} bytes are announced at byte {at}, and {size - stream.tell()} are left")
            if name == "PROTO" and value > 5:
                raise Damaged(f"protocol {value}, expected 0 to 5")
            if name == "LONG_BINPUT":
                _check_place(str(value), at)
        elif name == "STOP":
            return
    raise Refused(f"more than {MAX_INSTRUCTIONS} instructions, which arrays do not need")


def _number(stream, form, at, size):
    data = stream.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise Damaged(f"the file ends at byte {size} within the instruction at byte {at}")
    return struct.unpack(form, data)[0]


def _line(stream, at):
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise Damaged(f"the line of the instruction at byte {at} does not end")
    return line[:-1].decode("latin1")


def _check_place(place, at):
    """The memo is a list: a pickle that notes something at place 2**31 would have that much reserved."""
    if not (place.isascii() and place.isdigit() and len(place) < 6 and int(place) <= MAX_INSTRUCTIONS):
        raise Refused(f"a note kept at place {_shown(place)} (byte {at}), which arrays do not need")


# ---------------------------------------------------------------- following them


class _Unpickler(pickle.Unpickler):
    """Follows the instructions with stand-ins. Text of Python 2 stays bytes, which is latin1 without the detour."""

    def __init__(self, stream):
        super().__init__(stream, fix_imports=False, encoding="bytes")

    def find_class(self, module, name):
        return _standin(module, name)

    def persistent_load(self, pid):
        raise Refused(f"a reference to something outside, {_shown(pid)}")


class _Standin:
    """Stands for a name. It can be called and nothing else: it takes no state."""

    __slots__ = ()

    def __setstate__(self, state):
        raise Refused("a state for something that has none")


class _Ndarray(_Standin):
    __slots__ = ()


class _Dtype(_Standin):
    """``numpy.dtype("f8", False, True)``: gives a type, whose byte order comes as its state."""

    __slots__ = ()

    def __call__(self, code, align=False, copy=True):
        code = _text(code, "a type")
        if code.startswith(("O", "|O")):
            raise Refused("an array of Python objects")
        if not NUMBERS.fullmatch(code):
            raise Refused(f"an array of type {_shown(code)}, which is no real number")
        return _Type(code)


class _Type:
    """A number's type and byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code):
        self.code, self.order = code, "="

    def __setstate__(self, state):
        if not (isinstance(state, tuple) and len(state) == 8 and state[0] == 3 and state[2:5] == (None, None, None)):
            raise Refused("a type with fields, parts or notes")
        order = _text(state[1], "a byte order")
        if order not in ("<", ">", "=", "|"):
            raise Damaged(f"the byte order {_shown(order)}")
        self.order = order

    def numpy(self):
        """The type as NumPy's."""
        return np.dtype(self.order + self.code)


class _Reconstruct(_Standin):
    """``numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), b"b")``: an empty array; its content is its state."""

    __slots__ = ()

    def __call__(self, kind, shape, code):
        if not isinstance(kind, _Ndarray):
            raise Refused("an array of another class than numpy.ndarray")
        return _Array()


class _Array:
    """An array once its state (version, shape, type, order of axes, bytes) has come."""

    __slots__ = ("array",)

    def __init__(self):
        self.array = None

    def __setstate__(self, state):
        if not (isinstance(state, tuple) and len(state) == 5 and state[0] == 1):
            raise Damaged("an array whose state is not that of NumPy's version 1")
        _, shape, kind, is_fortran, data = state
        self.array = _made(data, kind, shape, "F" if is_fortran else "C")


class _FromBuffer(_Standin):
    """``numpy._core.numeric._frombuffer(bytes, type, shape, order)``, of protocol 5."""

    __slots__ = ()

    def __call__(self, data, kind, shape, order):
        made = _Array()
        made.array = _made(data, kind, shape, "F" if order == "F" else "C")
        return made


class _Scalar(_Standin):
    """``numpy.core.multiarray.scalar(type, bytes)``: an array without axes."""

    __slots__ = ()

    def __call__(self, kind, data):
        made = _Array()
        made.array = _made(data, kind, (), "C")
        return made


class _Encode(_Standin):
    """``_codecs.encode(text, "latin1")``: how protocol 2 of Python 3 keeps bytes."""

    __slots__ = ()

    def __call__(self, text, encoding):
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise Refused("an encoding of something else than text to latin1")
        return text.encode("latin1")


class _Bytes(_Standin):
    """``bytes()``, of an array without values."""

    __slots__ = ()

    def __call__(self):
        return b""


_STANDINS = {
    "ndarray": _Ndarray(), "dtype": _Dtype(), "reconstruct": _Reconstruct(), "frombuffer": _FromBuffer(),
    "scalar": _Scalar(), "encode": _Encode(), "bytes": _Bytes(),
}  # fmt: skip


def _standin(module, name):
    if (module, name) not in ADMITTED:
        raise Refused(f"the name {_shown(f'{module}.{name}')}, which is not admitted")
    return _STANDINS[ADMITTED[module, name]]


def _made(data, kind, shape, order):
    """The array, when bytes, type and shape belong together."""
    if not isinstance(kind, _Type):
        raise Damaged("an array without a type")
    if isinstance(data, list):
        raise Refused("an array of Python objects")
    if not isinstance(data, bytes | bytearray):
        raise Damaged(f"an array whose content is {_kind(data)} instead of bytes")
    if not (isinstance(shape, tuple) and len(shape) <= 8 and all(type(n) is int and 0 <= n < 2**48 for n in shape)):
        raise Damaged(f"an array of the shape {_shown(shape)}")
    kind = kind.numpy()
    if math.prod(shape) * kind.itemsize != len(data):
        raise Damaged(f"an array of the shape {_shown(shape)} and type {kind} with {len(data)} bytes")
    array = np.frombuffer(data, kind).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _text(value, what):
    if isinstance(value, bytes):
        value = value.decode("latin1")
    if not isinstance(value, str):
        raise Refused(f"{_kind(value)} as {what}")
    return value


def _kind(value):
    if isinstance(value, _Array):
        return "an array"
    return "a stand-in" if isinstance(value, _Standin | _Type) else f"a Python {type(value).__name__}"


def _shown(value):
    """For messages: nothing that a terminal would act on, not long, and no walk through what is nested."""
    if isinstance(value, tuple) and len(value) <= 8 and all(type(item) is int for item in value):
        text = str(value)
    elif isinstance(value, str | bytes | int):
        text = ascii(value)
    else:
        text = _kind(value)
    return text if len(text) <= 80 else text[:77] + "..."
