"""The reading process: a file from elsewhere is opened where nothing else is lost.

SciPy, HDF5 and readers of EEG can die on a damaged file (SIGSEGV), take all memory, or never end. So a child process opens
the file; requests go to its standard input, messages come from its standard output (``_matlab_child`` is its program), and
whatever happens to it becomes one `DataError`. With `Bounds` it also may use only so much memory and time, and can write
no file at all, a core dump included.

Memory, processor time and file size are bounded where the system knows such limits (not on Windows); the time by the clock
everywhere.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from eegviz.datasets._matlab_child import LENGTH
from eegviz.errors import DataError, ParameterError

TIMEOUT = 600.0  # seconds without any answer from the child; a 700 MB file on a slow disk takes about 60
MAX_MESSAGE = 2**30  # bytes; the longest small value takes a quarter of that
KINDS = {  # of file: what is expected
    "matlab": "a readable MATLAB file",
    "hdf5": "an HDF5 file",
    "pickle": "a pickle of a dict of numeric arrays and nothing else",
    "eeg": "an EEG file that MNE reads (.fif .edf .bdf .vhdr .set …)",
}

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Bounds:
    """What a reading process may use.

    Attributes
    ----------
    memory : int
        Bytes of address space beyond the bare interpreter's, the reading libraries included.
    cpu_s : int
        Seconds of processor time.
    wall_s : float
        Seconds by the clock, from its start to its end.
    stop : threading.Event, optional
        Once it is set the process is ended.
    """

    memory: int = 2 * 2**30
    cpu_s: int = 60
    wall_s: float = 120.0
    stop: threading.Event | None = None

    def __post_init__(self):
        for name, value in self.numbers.items():
            if not value > 0:
                raise ParameterError(f"{name} of a reading process must be more than 0, found {value!r}.")

    @property
    def numbers(self):
        """What the child is told."""
        return {name: getattr(self, name) for name in ("memory", "cpu_s", "wall_s")}


class Child:
    """The reading process. A context manager.

    Parameters
    ----------
    path : str or Path
    request : dict
        JSON-ready; the path and the format are added.
    timeout : float
        Seconds without an answer.
    kind : {"matlab", "hdf5", "pickle", "eeg"}
    bounds : Bounds, optional

    Raises
    ------
    DataError
        From every method: the file is no such file, or the process died, ran out of what it may use, or found damage.
    """

    def __init__(self, path, request, timeout, *, kind="matlab", bounds=None):
        self.path, self.request, self.timeout, self.bounds = Path(path), request, timeout, bounds
        self.kind, self.expected = kind, KINDS[kind]
        self.expired = 0.0

    def __enter__(self):
        version = _VERSIONS[self.kind](self.path)
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        # one thread each: the stacks of many would count as memory
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.ends = time.monotonic() + (self.bounds.wall_s if self.bounds else float("inf"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "eegviz.datasets._matlab_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                **(threads if self.bounds else {}),
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONWARNINGS": "ignore",
            },
        )
        self.last_words = b""
        self._drain = threading.Thread(target=self._keep_stderr, daemon=True)
        self._drain.start()
        if self.bounds and self.bounds.stop:
            threading.Thread(target=self._obey, args=(self.bounds.stop,), daemon=True).start()
        bounds = self.bounds.numbers if self.bounds else None
        self.send({**self.request, "path": str(self.path.resolve()), "version": version, "bounds": bounds})
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
        """Send a request."""
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            self._fail()

    def message(self):
        """The next message, a dict."""
        head = bytearray(LENGTH.size)
        self.read_into(memoryview(head))
        (length,) = LENGTH.unpack(head)
        if length > MAX_MESSAGE:
            self._damaged(f"an answer of {length} bytes from the reading process")
        body = bytearray(length)
        self.read_into(memoryview(body))
        message = json.loads(bytes(body))
        if message.get("refused"):
            raise DataError(
                f"{self.path}: expected {self.expected}, found: {message['error']}; nothing in it was run: use the "
                "original file, and do not open this one by other means unless you know where it comes from"
            )
        if message.get("memory"):
            raise DataError(self._too_much(f"more than {_megabytes(self.bounds)} of memory"))
        if message.get("plain"):
            raise DataError(f"{self.path}: {message['error']}")
        if "error" in message:
            self._damaged(message["error"])
        return message

    def read_into(self, view):
        """Fill a buffer with the bytes that come next."""
        seconds = min(self.timeout, max(0.0, self.ends - time.monotonic()))
        timer = threading.Timer(seconds, self._expire, (seconds,))
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

    def _expire(self, seconds):
        self.expired = self.timeout if seconds == self.timeout else self.bounds.wall_s
        self.process.kill()

    def _obey(self, stop):
        while self.process.poll() is None:
            if stop.wait(0.1):
                self.process.kill()
                return

    def _keep_stderr(self):
        for line in self.process.stderr:
            self.last_words = line.strip() or self.last_words

    def _fail(self):
        code = self.process.wait()
        self._drain.join()
        if self.bounds and self.bounds.stop and self.bounds.stop.is_set():
            raise DataError(f"{self.path}: reading it was stopped.")
        if self.expired:
            self._damaged(f"no answer of the reading process within {self.expired:g} s")
        if self.bounds and -code == getattr(signal, "SIGXCPU", None):
            raise DataError(self._too_much(f"more than {self.bounds.cpu_s} s of processor time"))
        if code < 0:
            self._damaged(f"the reading process died of signal {-code}")
        self._damaged(f"the reading process ended with code {code} {self.last_words.decode(errors='replace')}".strip())

    def _damaged(self, found):
        raise DataError(
            f"{self.path} is damaged or incomplete: expected {self.expected}, found: {found}; "
            "download or copy it again and compare its size and checksum with the original's"
        )

    def _too_much(self, what):
        return (
            f"{self.path} cannot be read here: reading it took {what}; cut it to the minutes that are needed, or lower "
            "its sampling rate, and save it again"
        )


def _megabytes(bounds):
    return f"{bounds.memory / 2**20:.0f} MB" if bounds else "there is"


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


def _require_hdf5(path):
    head = _head(path, "hdf5")
    if head != _HDF5_SIGNATURE:
        raise DataError(
            f"{path}: expected an HDF5 file, found {path.stat().st_size} other bytes; download or copy it again"
        )
    return "hdf5"


def _require_content(path):
    if not _head(path, "pickle"):
        raise DataError(f"{path}: expected {KINDS['pickle']}, found an empty file; download or copy it again")
    return "pickle"


def _require_eeg(path):
    if not _head(path, "eeg"):
        raise DataError(f"{path}: expected {KINDS['eeg']}, found an empty file; download or copy it again")
    return "eeg"


def _head(path, kind):
    try:
        with path.open("rb") as handle:
            return handle.read(8)
    except OSError as error:
        raise DataError(f"{path}: expected {KINDS[kind]}, found none that can be opened ({error.strerror})") from error


_VERSIONS = {"matlab": _matlab_version, "hdf5": _require_hdf5, "pickle": _require_content, "eeg": _require_eeg}
