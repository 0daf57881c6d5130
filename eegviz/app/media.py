"""Sounds and pictures as files by URL: named by their content, served with the right type, never part of a document.

A `Media` keeps bytes in a temporary folder under the SHA-256 of their content and removes the oldest beyond a bound; the
folder goes with the process. `Handler` serves it with byte ranges (to seek in a sound), a type by the ending, and headers
that let a browser keep a file for ever and run nothing of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from tornado.web import HTTPError, StaticFileHandler

from eegviz.errors import ParameterError

ROUTE = "media"
MAX_BYTES = 512 * 1024**2  # on disk; our choice
TYPES = {
    "ogg": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "png": "image/png", "csv": "text/csv; charset=utf-8",
    "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
}  # fmt: skip
NAME = re.compile(rf"[0-9a-f]{{64}}\.({'|'.join(TYPES)})")


class Media:
    """Bytes by the name of their content, on disk.

    Attributes
    ----------
    folder : Path
        Removed with the process.
    prefix : str
        What an address begins with, relative to the page.
    """

    def __init__(self, *, prefix=f"{ROUTE}/", max_bytes=MAX_BYTES):
        self.prefix, self.max_bytes = prefix, max_bytes
        self._temporary = tempfile.TemporaryDirectory(prefix="eegviz-app-")
        self.folder = Path(self._temporary.name)
        self._sizes = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()

    def __call__(self, data, mime, name=""):
        """Keep `data` and return its address; the same bytes have the same one."""
        ending = _ending(mime)
        file = f"{hashlib.sha256(data).hexdigest()}.{ending}"
        with self._lock:
            if file in self._sizes and (self.folder / file).exists():
                self._sizes.move_to_end(file)
                return self.prefix + file
            temporary = self.folder / f".{file}.{threading.get_ident()}"
            temporary.write_bytes(data)
            os.replace(temporary, self.folder / file)
            self._sizes[file] = len(data)
            self._total += len(data)
            while self._total > self.max_bytes and len(self._sizes) > 1:
                self._remove(next(iter(self._sizes)))
        return self.prefix + file

    def discard(self, address):
        """Remove what is behind an address, such as what was made from an upload."""
        with self._lock:
            self._remove(address.removeprefix(self.prefix))

    def close(self):
        """Remove the folder."""
        self._temporary.cleanup()

    def _remove(self, file):
        size = self._sizes.pop(file, None)
        if size is not None:
            self._total -= size
            (self.folder / file).unlink(missing_ok=True)


class Handler(StaticFileHandler):
    """Serves the files of a `Media`, and nothing else."""

    def validate_absolute_path(self, root, absolute_path):
        if not NAME.fullmatch(Path(absolute_path).name):
            raise HTTPError(404)
        return super().validate_absolute_path(root, absolute_path)

    def get_content_type(self):
        return TYPES[Path(self.absolute_path).suffix[1:]]

    def get_cache_time(self, path, modified, mime_type):
        return 365 * 24 * 3600

    def set_extra_headers(self, path):
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")


def data_address(data, mime, name=""):
    """The same as an address that holds the bytes, for a page whose server has no route of its own (Jupyter)."""
    import base64

    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _ending(mime):
    for ending, known in TYPES.items():
        if known.partition(";")[0] == mime:
            return ending
    raise ParameterError(f"no file of type {mime!r} is served; expected one of {', '.join(TYPES.values())}.")
