"""A zip of BrainVision unpacked without trusting it: three files of known names, never more bytes than allowed.

Nothing in the archive chooses where a file goes: the header, the data and the markers are written as ``recording.vhdr``,
``recording.eeg`` and ``recording.vmrk``, and the header is made to name these, for a header may name any file of the machine.
Refused are links, devices, encrypted members, other archives inside, names that lead elsewhere, the same file twice,
a directory of the archive that is too long, and sizes or ratios of a decompression bomb; what an archive states about itself
is checked before, and what comes out is counted while it is unpacked.

Function: `unpack`.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib

from eegviz._upload_types import shown
from eegviz.errors import DataError

DIRECTORY_BYTES = 2**18  # of the archive's list of members, and of one read while opening it
HEADER_BYTES = 2**20
BLOCK = 2**18
SUFFIXES = {"header": (".vhdr", ".ahdr"), "data": (".eeg", ".dat", ".avg"), "markers": (".vmrk", ".amrk")}
MARKS = (b"Brain Vision Data Exchange Header File", b"BrainVision Data Exchange Header File")
_JUNK = re.compile(r"(^|/)(__MACOSX(/|$)|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._)", re.IGNORECASE)
_ARCHIVES = (".zip", ".gz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz", ".zst")


def unpack(path, folder, *, name, max_members, max_ratio, max_bytes):
    """Unpack the one recording of a BrainVision zip.

    Parameters
    ----------
    path : Path
        Of the archive.
    folder : Path
        Where the three files go.
    name : str
        Of the archive, as it is shown.
    max_members : int
    max_ratio : float
        Bytes that come out for each that is stored, of any member and of all together.
    max_bytes : int
        Of all that comes out.

    Returns
    -------
    header : Path
    notes : list of str

    Raises
    ------
    DataError
        The archive is refused, or damaged.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(_Guarded(file)) as archive:
            members = _members(archive, name, max_members)
            _check_sizes(members, path.stat().st_size, name, max_ratio, max_bytes)
            header, data, notes = _choose(archive, members, name)
            text = _read_header(archive, header, name)
            data, more = _named_data(text, data, name)
            _copy(archive, data, folder / "recording.eeg", name, max_bytes)
    except _DAMAGE as error:
        raise DataError(
            f"{name}: expected a zip of a BrainVision recording, found a damaged or unusual one "
            f"({' '.join(str(error).split())[:120] or type(error).__name__}). Pack the three files again, as a plain zip."
        ) from error
    (folder / "recording.vmrk").write_bytes(
        b"Brain Vision Data Exchange Marker File, Version 1.0\r\n[Common Infos]\r\nDataFile=recording.eeg\r\n[Marker Infos]\r\n"
    )
    (folder / "recording.vhdr").write_bytes(_renamed(text))
    return folder / "recording.vhdr", notes + more


class _Unusual(Exception):
    """The archive leads where no archive of three files does."""


_DAMAGE = (  # how zipfile fails on damaged archives; an OSError is the disk's
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError,
    OverflowError, RuntimeError, _Unusual,
)  # fmt: skip


class _Guarded(io.BufferedIOBase):
    """A file of which no one can ask for much at once: the list of members is read whole, however long it says it is."""

    def __init__(self, file):
        self._file = file

    def read(self, n=-1):
        if n is None or n < 0 or n > DIRECTORY_BYTES:
            here = self._file.tell()
            left = self._file.seek(0, 2) - here
            self._file.seek(here)
            if (left if n is None or n < 0 else min(n, left)) > DIRECTORY_BYTES:
                raise _Unusual("its list of members is too long")
        return self._file.read(n)

    def seek(self, offset, whence=0):
        if offset < 0 and whence == 0:
            raise _Unusual("it leads to a place before its beginning")
        return self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()

    def seekable(self):
        return True

    def readable(self):
        return True


def _members(archive, name, most):
    """The files of an archive; folders and what systems add by themselves are passed over."""
    infos = archive.infolist()
    if len(infos) > 8 * most:
        raise DataError(
            f"{name}: expected at most {most} files in the zip, found {len(infos)}. Pack the recording alone."
        )
    found, seen = [], set()
    for info in infos:
        inner = shown(info.orig_filename)
        _check_member(info, inner, name)
        if info.is_dir() or _JUNK.search(info.filename):
            continue
        key = info.filename.lower()
        if key in seen:
            raise DataError(f"{name}: the zip holds the file {inner} twice. Pack the three files again.")
        seen.add(key)
        found.append(info)
    if len(found) > most:
        raise DataError(
            f"{name}: expected at most {most} files in the zip, found {len(found)}. Pack the recording alone."
        )
    return found


def _check_member(info, inner, name):
    raw = info.orig_filename
    parts = raw.replace("\\", "/").split("/")
    if "\0" in raw or ".." in parts or raw.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", raw):
        raise DataError(
            f"{name}: the zip holds a file whose name leads elsewhere ({inner}). Pack the three files again, without folders."
        )
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(
            f"{name}: the zip holds a link or device ({inner}), expected plain files. Pack the files themselves."
        )
    if info.flag_bits & 0x1:
        raise DataError(f"{name}: the zip is encrypted. Pack the files without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{name}: {inner} is packed in an unusual way. Pack the files as a plain zip (deflate).")
    if raw.lower().endswith(_ARCHIVES):
        raise DataError(
            f"{name}: the zip holds another archive ({inner}). Pack the three files of the recording themselves."
        )


def _check_sizes(members, stored, name, max_ratio, max_bytes):
    total = sum(info.file_size for info in members)
    if total > max_bytes:
        raise DataError(
            f"{name}: the zip would unpack to {total / 2**20:.0f} MB, at most {max_bytes / 2**20:.0f} MB are accepted. "
            "Cut the recording to the minutes that are needed."
        )
    worst = max((info.file_size / max(1, info.compress_size) for info in members), default=0)
    worst = max(worst, total / max(1, stored))
    if worst > max_ratio and total > 2**20:
        raise DataError(
            f"{name}: the zip would unpack to {worst:.0f} times its size, as no recording does (at most {max_ratio:g} are "
            "accepted). Pack the recording itself."
        )


def _choose(archive, members, name):
    """The header, and the files that may be its data."""
    by_part = {part: [one for one in members if one.filename.lower().endswith(ends)] for part, ends in SUFFIXES.items()}
    inside = ", ".join(shown(one.filename) for one in members[:6]) + (" …" if len(members) > 6 else "")
    if len(by_part["header"]) != 1 or not by_part["data"]:
        raise DataError(
            f"{name}: expected a zip of one BrainVision recording (.vhdr with its .eeg and .vmrk), found "
            f"{len(by_part['header'])} headers and {len(by_part['data'])} files of data"
            f"{f' ({inside})' if inside else ''}. Pack these three files; FIF, EDF and .mat are sent as they are."
        )
    notes = [] if by_part["markers"] else ["no .vmrk in the zip: markers are not needed here"]
    return by_part["header"][0], by_part["data"], notes


def _read_header(archive, header, name):
    if header.file_size > HEADER_BYTES:
        raise DataError(
            f"{name}: the header {shown(header.filename)} has {header.file_size} bytes, expected a short text"
        )
    with archive.open(header) as file:
        text = file.read(HEADER_BYTES + 1)
    if len(text) > HEADER_BYTES or not text.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(MARKS):
        raise DataError(
            f"{name}: {shown(header.filename)} is no BrainVision header, although its name says so: expected a text that begins "
            f"{MARKS[0].decode()!r}. Export the recording again."
        )
    return text


def _named_data(text, files, name):
    """The file of data that the header names, or the only one."""
    match = re.search(rb"(?mi)^[ \t]*DataFile[ \t]*=[ \t]*([^\r\n]*?)[ \t]*\r?$", text)
    if match is None:
        raise DataError(f"{name}: the header names no DataFile. Export the recording again.")
    wanted = match[1].decode("utf-8", errors="replace").replace("\\", "/").rpartition("/")[2].lower()
    for info in files:
        if info.filename.lower().rpartition("/")[2] == wanted:
            return info, []
    if len(files) > 1:
        raise DataError(
            f"{name}: the header names the data {shown(wanted)}, which is not in the zip; it has "
            f"{', '.join(shown(one.filename) for one in files[:4])}. Pack the file that the header names."
        )
    return files[0], [
        f"the header names the data {shown(wanted)}; {shown(files[0].filename)}, the only one in the zip, was taken"
    ]


def _copy(archive, info, target, name, max_bytes):
    """Unpack one member; count what comes out, whatever the archive says about it."""
    left = min(max_bytes, info.file_size)
    with archive.open(info) as source, target.open("xb") as out:
        while block := source.read(BLOCK):
            if out.tell() == 0 and block[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                raise DataError(f"{name}: the zip holds another zip under the name {shown(info.filename)}")
            left -= len(block)
            if left < 0:
                raise DataError(
                    f"{name}: {shown(info.filename)} unpacks to more than the zip says. Pack the files again."
                )
            out.write(block)


def _renamed(text):
    """The header with the names of our own files in place of any others."""
    text = re.sub(rb"(?mi)^[ \t]*DataFile[ \t]*[=:][^\r\n]*", b"DataFile=recording.eeg", text)
    return re.sub(rb"(?mi)^[ \t]*MarkerFile[ \t]*[=:][^\r\n]*", b"MarkerFile=recording.vmrk", text)
