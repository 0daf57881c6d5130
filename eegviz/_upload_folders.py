"""Where uploads lie: one folder a session, which says whose it is, and is gone when the session or its server is.

``<root>/session-<random>/owner.json`` names the process that made the folder. A server that is killed cannot tidy up; the next
one does, with `sweep`: a folder goes when its process is gone (or another took its number), or when it is too old.

Functions: `make`, `discard`, `sweep`, `usage` (bytes and files), `default_root`.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from pathlib import Path

from eegviz.errors import DataError, ParameterError

OWNER = "owner.json"
MAX_AGE_S = 24 * 3600.0
_NAME = re.compile(r"session-[0-9a-f]{32}")


def default_root():
    """A folder for uploads among the temporary files of this user."""
    user = os.getuid() if hasattr(os, "getuid") else re.sub(r"\W", "_", getpass.getuser())
    return Path(tempfile.gettempdir()) / f"eegviz-uploads-{user}"


def make(root):
    """Make a session's folder below `root`, readable by this user only.

    Raises
    ------
    ParameterError
        The root belongs to someone else, or is a link.
    """
    root = Path(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        raise ParameterError(
            f"{root}: expected a folder of one's own for uploads, found a link or someone else's; choose another"
        )
    folder = root / f"session-{secrets.token_hex(16)}"
    folder.mkdir(mode=0o700)
    owner = {"pid": os.getpid(), "started": _started(os.getpid()), "host": socket.gethostname(), "made": time.time()}
    (folder / OWNER).write_text(json.dumps(owner), encoding="utf-8")
    return folder


def check(folder):
    """Refuse a folder that `make` did not make: nothing else is ever written to or removed."""
    folder = Path(folder)
    if not _NAME.fullmatch(folder.name) or folder.is_symlink() or not (folder / OWNER).is_file():
        raise DataError(
            f"{folder}: expected the folder of an upload session, found none; it may have ended. Start a new one."
        )
    return folder


def discard(folder):
    """Remove a session's folder and all in it; one that is gone already is fine.

    Raises
    ------
    DataError
        It is no session's folder.
    """
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        shutil.rmtree(check(folder))


def sweep(root, *, max_age_s=MAX_AGE_S):
    """Remove what ended servers left behind.

    Parameters
    ----------
    root : str or Path
    max_age_s : float
        A folder older than this goes in any case.

    Returns
    -------
    int
        Folders removed.
    """
    root, count = Path(root), 0
    for folder in sorted(root.glob("session-*")) if root.is_dir() else ():
        if (
            _NAME.fullmatch(folder.name)
            and folder.is_dir()
            and not folder.is_symlink()
            and _is_stale(folder, max_age_s)
        ):
            shutil.rmtree(folder, ignore_errors=True)  # another server may be sweeping too
            count += not folder.exists()
    return count


def usage(folder):
    """Bytes and number of the files in a folder, its own note left out.

    Returns
    -------
    n_bytes, n_files : int
    """
    n_bytes = n_files = 0
    for where, _, names in os.walk(folder):
        for name in names:
            if name == OWNER:
                continue
            try:
                n_bytes += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # another session ended meanwhile
                continue
            n_files += 1
    return n_bytes, n_files


def _is_stale(folder, max_age_s):
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        pid, started, host, made = int(owner["pid"]), owner["started"], owner["host"], float(owner["made"])
    except (OSError, ValueError, KeyError, TypeError):  # killed before it could write it, or damaged
        try:
            return time.time() - folder.stat().st_mtime > 60
        except FileNotFoundError:
            return False
    if time.time() - made > max_age_s:
        return True
    if host != socket.gethostname():
        return False  # a shared disk: only its age tells
    return not _is_alive(pid) or (started is not None and _started(pid) != started)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
    return _state(pid) != "Z"


def _started(pid):
    """When a process began, in ticks since the machine did; None where the system does not tell."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _state(pid):
    fields = _stat(pid)
    return fields[0] if fields else None


def _stat(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
