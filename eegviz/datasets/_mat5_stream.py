"""MATLAB v5 cells and structs, read as a stream: their outline first, then single arrays, without holding the whole.

SciPy reads a variable whole; a cell array of all recordings of a data set can have gigabytes. A variable of a v5 file is
one run of bytes (compressed or not), element after element, so it can be walked: small values are kept, large arrays are
stepped over or, when they are asked for, handed on one at a time. Used by the child process of ``_matlab`` only.

Format: MathWorks, "MAT-File Format" (level 5).
"""

import struct
import zlib

import numpy as np

SMALL = 4096  # values; a longer array is only outlined
CHUNK = 2**18  # bytes read at once
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _FIRST_NUMERIC, _LAST_NUMERIC = 1, 2, 4, 6, 15


class Enough(Exception):
    """All arrays that were asked for have been handed on."""


class Walk:
    """One walk through one variable.

    Parameters
    ----------
    path : str
    name : str
        Variable.
    numbers : callable
        Array to message (``_matlab_child._numbers``).
    wanted : dict
        Paths of the arrays to hand on; keys are tuples of fields (str) and positions (int, column by column).
    give : callable
        Called with (path, array) for each of them.
    """

    def __init__(self, path, name, *, numbers, wanted=(), give=None):
        self.path, self.name, self.numbers = path, name, numbers
        self.wanted, self.give = set(wanted), give

    def outline(self):
        """Walk to the end (or until nothing is wanted any more) and return the variable as a message."""
        with open(self.path, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(124)
            self.order = "<" if handle.read(4)[2:] == b"IM" else ">"
            at = 128
            while at < size:
                handle.seek(at)
                kind, length = struct.unpack(self.order + "II", handle.read(8))
                if self._is_it(handle, at, kind, length):
                    self._open(handle, at, kind, length)
                    return self._element(())
                at += 8 + length
        raise ValueError(f"no variable {self.name}")

    def _is_it(self, handle, at, kind, length):
        self._open(handle, at, kind, length)
        if self._tag()[0] != _MATRIX:
            return False
        self._data()  # flags
        self._data()  # shape
        return self._data()[1].tobytes().decode("latin1") == self.name

    def _open(self, handle, at, kind, length):
        self.handle, self.left, self.at, self.rest = handle, length, 0, b""
        self.unpack = zlib.decompressobj() if kind == _COMPRESSED else None
        handle.seek(at + 8)
        if self.unpack is None:  # the tag itself belongs to the element
            handle.seek(at)
            self.left += 8

    def _read(self, n):
        parts, missing = [], n
        while missing:
            if not self.rest:
                self.rest = self._more(missing)
            part, self.rest = self.rest[:missing], self.rest[missing:]
            parts.append(part)
            missing -= len(part)
        self.at += n
        return b"".join(parts)

    def _skip(self, n):
        while n > 0:
            step = min(n, CHUNK)
            self._read(step)
            n -= step

    def _more(self, wished):
        while True:
            if self.unpack is not None and self.unpack.unconsumed_tail:
                raw = self.unpack.unconsumed_tail
            else:
                raw = self.handle.read(min(self.left, CHUNK))
                self.left -= len(raw)
                if not raw:
                    raise ValueError("the file ends in the middle of a variable")
            found = raw if self.unpack is None else self.unpack.decompress(raw, max(CHUNK, wished))
            if found:
                return found

    def _tag(self):
        """Type and size of the next element, and its value when it is packed into the tag."""
        head = self._read(8)
        (first,) = struct.unpack(self.order + "I", head[:4])
        if first >> 16:
            return first & 0xFFFF, first >> 16, head[4 : 4 + (first >> 16)]
        return first, struct.unpack(self.order + "I", head[4:])[0], None

    def _data(self):
        kind, size, packed = self._tag()
        if packed is None:
            packed = self._read(size)
            self._skip(-size % 8)
        dtype = np.dtype(self.order + _TYPES.get(kind, "u1"))
        return kind, np.frombuffer(packed[: len(packed) // dtype.itemsize * dtype.itemsize], dtype)

    def _element(self, path):
        kind, size, _ = self._tag()
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where an array should be")
        if not size:
            return self.numbers(np.zeros((0, 0)))
        end = self.at + size
        flags = int(self._data()[1][0])
        shape = [int(n) for n in self._data()[1]]
        self._data()  # name; empty inside cells
        found = self._content(path, flags & 0xFF, flags >> 11 & 1, shape)
        self._skip(end - self.at)
        return found

    def _content(self, path, kind, is_complex, shape):
        count = int(np.prod(shape))
        if kind == _CELL:
            return {"kind": "cell", "shape": shape, "items": [self._element((*path, i)) for i in range(count)]}
        if kind == _STRUCT:
            width = int(self._data()[1][0])
            names = self._data()[1].tobytes()
            names = [names[at : at + width].split(b"\0")[0].decode() for at in range(0, len(names), width)]
            single = count == 1
            rows = [
                {name: self._element((*path, name) if single else (*path, row, name)) for name in names}
                for row in range(count)
            ]
            return {"kind": "struct", "rows": rows, "single": single}
        if kind == _CHAR:
            code, data = self._data()
            text = data.tobytes().decode(_TEXT.get(code, "latin1") + self._endian(code))
            rows = ["".join(text[row :: shape[0]]) for row in range(shape[0])] if count else [""]
            return {"kind": "text", "text": rows[0] if len(rows) == 1 else rows}
        if not _FIRST_NUMERIC <= kind <= _LAST_NUMERIC or is_complex:
            return {"kind": "other", "shape": shape}
        if path not in self.wanted and count > SMALL:
            return {"kind": "array", "shape": shape}
        array = self._data()[1].reshape(shape, order="F")
        if path in self.wanted:
            self.wanted.remove(path)
            self.give(path, array)
            if not self.wanted:
                raise Enough
        return self.numbers(array) if count <= SMALL else {"kind": "array", "shape": shape}

    def _endian(self, code):
        return ("-le" if self.order == "<" else "-be") if code in (4, 17, 18) else ""
