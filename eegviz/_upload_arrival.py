"""A file on its way into a session's folder: counted while it arrives, typed by its content when it is there.

Classes: `Limits`, `Upload` (a file that was received), `Arrival` (one that is being received). Function: `blocks`.
"""

from __future__ import annotations

import errno
import secrets
import shutil
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from eegviz import _upload_folders, _upload_zip
from eegviz._upload_types import HEAD_BYTES, expect, kind_of, shown
from eegviz.errors import DataError, ParameterError

MB = 2**20
BLOCK = MB  # of a stream
_LOCK = threading.Lock()  # two sessions at once must not both take the last free bytes


@dataclass(frozen=True)
class Limits:
    """What uploads may take. Everything is checked on the server.

    Attributes
    ----------
    file_bytes : int
        Of one file as it arrives, and of what a zip unpacks to.
    session_files : int
        Uploads that a session holds at a time.
    session_bytes, server_bytes : int
        Of all files on the disk, of one session and of all.
    zip_members : int
    zip_ratio : float
        Bytes that come out of a zip for each that is stored.
    memory : int
        Bytes of the reading process.
    cpu_s : int
        Seconds of its processor time.
    wall_s : float
        Seconds by the clock.
    seconds : float
        Of EEG.
    channels : int
    array_bytes : int
        Of the EEG in memory, float32.
    """

    file_bytes: int = 200 * MB
    session_files: int = 4
    session_bytes: int = 400 * MB
    server_bytes: int = 4096 * MB
    zip_members: int = 16
    zip_ratio: float = 100.0
    memory: int = 1536 * MB
    cpu_s: int = 60
    wall_s: float = 120.0
    seconds: float = 3600.0
    channels: int = 512
    array_bytes: int = 512 * MB

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise ParameterError(f"the limit {name} must be more than 0, found {value!r}.")

    @classmethod
    def of_files(cls, megabytes):
        """The limits for files of this size: a session may hold two such files, the server twenty, and reading one takes so much more.

        A cleaned file of NMED-T has about 700 MB and is read whole before a listener is taken out of it.

        >>> Limits.of_files(200) == Limits()
        True
        >>> Limits.of_files(800).memory // MB, Limits.of_files(800).session_bytes // MB
        (2912, 1600)
        """
        size, usual = round(megabytes * MB), cls()
        share = max(1.0, size / usual.file_bytes)
        return cls(
            file_bytes=size, session_bytes=max(usual.session_bytes, 2 * size), server_bytes=max(usual.server_bytes, 20 * size),
            memory=max(usual.memory, 3 * size + 512 * MB), cpu_s=round(usual.cpu_s * share), wall_s=usual.wall_s * share,
        )  # fmt: skip


@dataclass(frozen=True)
class Upload:
    """A file that was received.

    Attributes
    ----------
    path : Path
        What is read: the file itself, or the header of a BrainVision zip. Named by this module.
    name : str
        The name that came with it, as text to show; escape it.
    kind : str
        "FIF", "EDF", "BDF", "MATLAB" or "BrainVision".
    n_bytes : int
        As it arrived.
    notes : tuple of str
        What is worth knowing, such as a name that promised another type.
    limits : Limits
    """

    path: Path
    name: str
    kind: str
    n_bytes: int
    notes: tuple
    limits: Limits


class Arrival:
    """A file that comes in parts. A context manager: what was not finished is removed.

    Parameters
    ----------
    folder : path
        Of a session.
    name : str
        That came with it; kept only as text to show.
    limits : Limits, optional

    Raises
    ------
    DataError
        The session holds too many files, or has ended.
    """

    def __init__(self, folder, name, *, limits=None):
        self._limits, self._name, self._size = limits or Limits(), shown(name), 0
        self._folder = _upload_folders.check(folder)
        self._place = self._open_place()
        self._file = (self._place / "arrived").open("xb")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.cancel()

    def write(self, block):
        """Take the next bytes.

        Raises
        ------
        DataError
            Too many bytes, of this file, of the session or of the server. Nothing of the file is left then.
        """
        try:
            self._write(block)
        except BaseException:
            self.cancel()
            raise

    def finish(self):
        """Look at what arrived.

        Returns
        -------
        Upload

        Raises
        ------
        DataError
            No type that is accepted, or a zip that is refused. Nothing of the file is left then.
        """
        try:
            self._file.close()
            made = self._typed()
        except BaseException:
            self.cancel()
            raise
        self._place = None
        return made

    def cancel(self):
        """Remove what arrived; after `finish` this does nothing."""
        self._file.close()
        if self._place is not None and self._place.exists():
            shutil.rmtree(self._place)
        self._place = None

    def _open_place(self):
        with _LOCK:
            held, most = sum(1 for one in self._folder.iterdir() if one.is_dir()), self._limits.session_files
            if held >= most:
                raise DataError(
                    f"{self._name}: a session holds at most {most} files, found {held} already. Remove one, or reload the page "
                    "to start again."
                )
            place = self._folder / secrets.token_hex(16)
            place.mkdir(mode=0o700)
            return place

    def _write(self, block):
        limits, name = self._limits, self._name
        if self._place is None:
            raise DataError(f"{name}: this file was finished or refused already. Send it again from its beginning.")
        self._size += len(block)
        if self._size > limits.file_bytes:
            raise DataError(
                f"{name}: at most {_megabytes(limits.file_bytes)} a file are accepted, found {_megabytes(self._size)} or more. "
                "Cut the recording to the minutes that are needed, or lower its sampling rate; who runs the server can allow more "
                "(eegviz app --max-upload-mb)."
            )
        try:
            with _LOCK:  # room is taken before the bytes are written
                _check_room(self._folder, len(block), name, limits)
                self._file.truncate(self._size)
            self._file.write(block)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(f"{name}: the disk of the server is full. Try again later, or ask who runs it.") from error

    def _typed(self):
        place, name, limits = self._place, self._name, self._limits
        if place is None:
            raise DataError(f"{name}: this file was finished or refused already. Send it again from its beginning.")
        arrived = place / "arrived"
        with arrived.open("rb") as file:
            kind = kind_of(file.read(HEAD_BYTES), name=name, size=self._size)
        notes, path = _surprise(name, kind), place / f"recording{kind.suffix}"
        if kind.key != "zip":
            arrived.rename(path)
            return Upload(path, name, kind.title, self._size, notes, limits)
        path, more = _upload_zip.unpack(
            arrived, place, name=name, max_members=limits.zip_members, max_ratio=limits.zip_ratio,
            max_bytes=min(limits.file_bytes, _room(self._folder, limits)),
        )  # fmt: skip
        arrived.unlink()
        return Upload(path, name, "BrainVision", self._size, (*notes, *more), limits)


def blocks(data):
    """Bytes, a binary file or an iterable of bytes as blocks.

    Raises
    ------
    ParameterError
        Text.
    """
    if isinstance(data, str):
        raise ParameterError("an upload is bytes, a binary file or an iterable of bytes; found text.")
    if isinstance(data, bytes | bytearray | memoryview):
        return [data]
    return iter(lambda: data.read(BLOCK), b"") if hasattr(data, "read") else iter(data)


def _check_room(folder, more, name, limits):
    for where, limit, whose in (
        (folder, limits.session_bytes, "your session"),
        (folder.parent, limits.server_bytes, "all sessions of this server"),
    ):
        taken, _ = _upload_folders.usage(where)
        if taken + more > limit:
            raise DataError(
                f"{name}: {whose} may hold {_megabytes(limit)} of files, {_megabytes(taken)} are taken and {_megabytes(more)} are "
                "to come. Remove a file, or try again later."
            )


def _room(folder, limits):
    """Bytes that may still be written."""
    taken, of_all = _upload_folders.usage(folder)[0], _upload_folders.usage(folder.parent)[0]
    return max(0, min(limits.session_bytes - taken, limits.server_bytes - of_all))


def _surprise(name, kind):
    promised = expect(name)
    if promised == kind:
        return ()
    says = "does not say so" if promised is None else f"says {promised.title}"
    return (f"its name {says}, its content is {kind.title}: it was taken as {kind.title}",)


def _megabytes(n):
    return f"{n / MB:.3g} MB" if n >= MB / 10 else f"{n} bytes"
