"""A file of JSON lines that only grows: each line is on the disk before the next thing happens.

A process that is killed while it writes leaves a last line that is torn. The next one that opens the file keeps the torn
bytes where they are, ends their line, and adds a ``recovered`` record that says so; no whole line is ever changed.
Several processes may hold the same file: each sees what another added (`changed`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from eegviz.errors import DataError

try:
    import fcntl
except ImportError:  # not on Windows; there a test is given by one process
    fcntl = None

RECOVERED = "recovered"


class Journal:
    """Records of one file, in the order in which they were added.

    Parameters
    ----------
    path : Path
    create : bool
        True: make it, and fail with FileExistsError when it is there. False: open it.
    """

    def __init__(self, path, *, create=False):
        self.path, self._handle = Path(path), None
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if create else 0)
        self._handle = os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o600)
        self._seen = 0
        self.records = []
        if create:
            _sync_folder(self.path.parent)

    def changed(self):
        """True when the file holds more than was read or written here."""
        return os.fstat(self._handle).st_size != self._seen

    def load(self):
        """Read all records anew, mending a torn last line; returns the sentence that says so, or ''."""
        self._lock()
        try:
            data = self._bytes()
            self.records, torn = parse(data, self.path)
            if torn:
                self._write({"kind": RECOVERED, "torn": torn.decode("utf-8", "replace")}, before=b"\n")
            elif data and not data.endswith(b"\n"):  # a whole record whose line end was lost
                self._write_bytes(b"\n")
            self._seen = os.fstat(self._handle).st_size
        finally:
            self._unlock()
        return _sentence(self.path, torn) if torn else ""

    def append(self, record):
        """Add a record; it is on the disk when this returns."""
        self._lock()
        try:
            self._write(record)
            self._seen = os.fstat(self._handle).st_size
        finally:
            self._unlock()

    def close(self):
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self):
        self.close()

    def _write(self, record, *, before=b""):
        self._write_bytes(before + json.dumps(record).encode() + b"\n")
        self.records.append(record)

    def _write_bytes(self, data):
        while data:
            data = data[os.write(self._handle, data) :]
        os.fsync(self._handle)

    def _bytes(self):
        os.lseek(self._handle, 0, os.SEEK_SET)
        parts = iter(lambda: os.read(self._handle, 1 << 20), b"")
        return b"".join(parts)

    def _lock(self):
        if fcntl is not None:
            fcntl.flock(self._handle, fcntl.LOCK_EX)

    def _unlock(self):
        if fcntl is not None:
            fcntl.flock(self._handle, fcntl.LOCK_UN)


class Memory:
    """The same without a file: for pretend listeners, thousands of them."""

    path = None

    def __init__(self):
        self.records = []

    def changed(self):
        return False

    def load(self):
        return ""

    def append(self, record):
        self.records.append(record)

    def close(self):
        pass


def parse(data, path):
    """Records of a file's bytes, and the torn last line, or b'' when there is none.

    Raises
    ------
    DataError
        A line is damaged that is not the last one and was not mended.
    """
    records, lines = [], data.split(b"\n")
    torn, bad = b"", None
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        record = _record(line)
        if bad is not None and not (record and record.get("kind") == RECOVERED):
            raise DataError(
                f"{path}, line {bad}: expected a record of a listening test, found {lines[bad - 1][:60]!r}. The file was changed "
                "by hand or by a failing disk; restore it from a copy, or move it out of the folder."
            )
        bad = number if record is None else None
        torn = line if record is None else b""
        if record is not None:
            records.append(record)
    return records, torn


def _record(line):
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "kind" in found else None


def _sentence(path, torn):
    return (
        f"{path.name}: the last line was torn ({len(torn)} bytes without an end), as when a program is killed while it writes. "
        "All answers before it are kept; the torn one is kept as text and its trial is asked again."
    )


def _sync_folder(folder):
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
