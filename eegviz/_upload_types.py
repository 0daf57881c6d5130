"""What an uploaded file is, told from its content; the name that came with it is only text to show.

Functions: `kind_of` (the type, or a refusal that says what the file looks like), `shown` (a name made harmless), `expect`
(what the name would have promised).
"""

from __future__ import annotations

import struct
import unicodedata
from dataclasses import dataclass

from eegviz.errors import DataError

HEAD_BYTES = 9 * 1024  # of a file; MATLAB 7.3 keeps its mark behind a block of 512 bytes, HDF5 behind up to 8192
NAME_LENGTH = 80  # characters that are shown
KINDS = {  # suffix under which each is stored, and its name
    "fif": ("_raw.fif", "FIF"),
    "edf": (".edf", "EDF"),
    "bdf": (".bdf", "BDF"),
    "matlab": (".mat", "MATLAB"),
    "zip": (".zip", "zip"),
}
ACCEPTED = "FIF, EDF, BDF, a zip of BrainVision (.vhdr with its .eeg and .vmrk), or an NMED .mat"
_NAMED = {
    ".fif": "fif", ".edf": "edf", ".bdf": "bdf", ".mat": "matlab", ".zip": "zip", ".vhdr": "zip", ".eeg": "zip",
    ".vmrk": "zip",
}  # fmt: skip
_HDF5 = b"\x89HDF\r\n\x1a\n"
_AGAIN = "Export the recording again."
_BRAINVISION = "Send .vhdr, .eeg and .vmrk together as one zip."
_SOUND = "The EEG is wanted here."
_OTHERS = (  # first bytes of what people send by mistake, what it is, what to do
    (b"Brain Vision Data Exchange", "one file of a BrainVision recording", _BRAINVISION),
    (b"BrainVision Data Exchange", "one file of a BrainVision recording", _BRAINVISION),
    (b"\x1f\x8b", "a file packed with gzip", "Unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Pack the files as zip."),
    (b"Rar!", "a RAR archive", "Pack the files as zip."),
    (b"RIFF", "a sound or video (RIFF)", _SOUND),
    (b"OggS", "a sound (Ogg)", _SOUND),
    (b"fLaC", "a sound (FLAC)", _SOUND),
    (b"ID3", "a sound (MP3)", _SOUND),
    (b"\x89PNG", "a picture (PNG)", _SOUND),
    (b"\xff\xd8\xff", "a picture (JPEG)", _SOUND),
    (b"GIF8", "a picture (GIF)", _SOUND),
    (b"%PDF", "a PDF", _SOUND),
    (b"\x93NUMPY", "a NumPy array", "Export the recording as FIF."),
    (b"\x80", "a pickle, which could run a program", "Export the recording as FIF."),
    (b"\x7fELF", "a program", _SOUND),
    (b"MZ", "a program", _SOUND),
    (b"<", "text with tags (HTML or XML)", _SOUND),
)


@dataclass(frozen=True)
class Kind:
    """A type that is accepted."""

    key: str

    @property
    def suffix(self):
        """How a file of this type is stored."""
        return KINDS[self.key][0]

    @property
    def title(self):
        """Its name."""
        return KINDS[self.key][1]


def kind_of(head, *, name, size):
    """The type of a file from its first bytes.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` of the file.
    name : str
        As it is shown.
    size : int
        Bytes of the whole file.

    Returns
    -------
    Kind

    Raises
    ------
    DataError
        No such type; the message says what it looks like instead.

    Examples
    --------
    >>> kind_of(b"\\xffBIOSEMI", name="a.bdf", size=8).title
    'BDF'
    >>> kind_of(b"RIFF....WAVE", name="a.edf", size=12)
    Traceback (most recent call last):
    eegviz.errors.DataError: a.edf: expected FIF, EDF, ..., found a sound or video (RIFF), although its name says EDF. The ...
    """
    head = bytes(head)
    if len(head) >= 16 and struct.unpack(">3i", head[:12]) == (100, 31, 20):
        return Kind("fif")
    if head[:8] == b"\xffBIOSEMI":
        return Kind("bdf")
    if head[:8] == b"0       ":
        return Kind("edf")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return Kind("zip")
    if head[:6] == b"MATLAB" and head[124:128] in (b"\x00\x01IM", b"\x01\x00MI", b"\x00\x02IM", b"\x02\x00MI"):
        return Kind("matlab")
    if any(head[at : at + 8] == _HDF5 for at in (0, 512, 1024, 2048, 4096, 8192)):
        return Kind("matlab")
    promised = expect(name)
    although = f", although its name says {promised.title}" if promised else ""
    what, advice = _looks_like(head, size)
    raise DataError(f"{name}: expected {ACCEPTED}, found {what}{although}. {advice}")


def expect(name):
    """The type that a name promises, or None."""
    suffix = "." + name.rpartition(".")[2].lower()
    return Kind(_NAMED[suffix]) if suffix in _NAMED else None


def shown(name):
    """A name from elsewhere as short text without control characters: never a path, and still to be escaped in HTML.

    Examples
    --------
    >>> shown("../../etc/pass\\x00wd"), shown("C:\\\\data\\\\P01.edf"), shown("\\u202egnp.edf"), shown("")
    ('passwd', 'P01.edf', 'gnp.edf', 'unnamed')
    """
    text = str(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    # letters, marks, numbers, punctuation, symbols and plain spaces; no control, format (direction), private or half characters
    text = "".join(
        one for one in text[: 8 * NAME_LENGTH] if one == " " or unicodedata.category(one)[0] in "LMNPS"
    ).strip()
    if len(text) > NAME_LENGTH:
        text = text[: NAME_LENGTH - 13] + "…" + text[-12:]
    return "unnamed" if text in ("", ".", "..") else text


def _looks_like(head, size):
    """What a file of no accepted type is, and what to do."""
    if not size:
        return "an empty file", _AGAIN
    for mark, what, advice in _OTHERS:
        if head.startswith(mark):
            return what, advice
    if not any(head):
        return f"{size} bytes that begin with zeros", _AGAIN
    text = head[:64].decode("ascii", errors="ignore")
    if len(text) == len(head[:64]) and all(one.isprintable() or one.isspace() for one in text):
        return f"text that begins {' '.join(text.split())[:32]!r}", _AGAIN
    return f"{size} bytes of no type that is known here", _AGAIN
