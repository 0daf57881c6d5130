"""EEG files through MNE, for the child process of ``_matlab``: the variable "eeg" is channels × time, in volts.

Some readers take no notice of a file cut short, or fill what is missing with zeros: so the lengths that a header states are
compared with the file first (EDF, BDF, BrainVision, FIF). Data come block by block and never lie in memory as a whole,
where the format allows it.
"""

import os
import re
import struct
from pathlib import Path

import numpy as np

MAX_TAGS = 2_000_000  # of a FIF file
FIF_FILE_ID, FIF_STRUCT = 100, 31
_SAMPLE_BYTES = {".edf": 2, ".bdf": 3}
_NO_EEG = (".txt", ".asc")  # MNE reads them as light or as gaze, and fails on tables without saying why
FORMATS = "FIF (.fif), EDF (.edf), BDF (.bdf), BrainVision (.vhdr), EEGLAB (.set), GDF (.gdf), Neuroscan (.cnt) or NMED's .mat"
_BINARY = {"int_16": 2, "uint_16": 2, "int_32": 4, "ieee_float_32": 4}


class Damaged(Exception):
    """The file ends before what it announces."""


class Unfit(Exception):
    """A readable file without what is wanted, or with more than its own content."""

    plain = True


class Reader:
    """What the child process asks: variables, small values, and the array in slices of time."""

    whole = False

    def __init__(self, path):
        self.path = Path(path)
        check = {".edf": _check_edf, ".bdf": _check_edf, ".fif": _check_fif, ".vhdr": _check_brainvision}
        if self.path.suffix.lower() in check:
            check[self.path.suffix.lower()](self.path)
        import mne

        _refuse_parts(self.path)
        try:
            self.raw = mne.io.read_raw(self.path, preload=False, verbose="error")
        except ValueError as error:
            if str(error).startswith("Unsupported file type"):
                raise _not_read(self.path) from error
            raise
        picks = mne.pick_types(self.raw.info, meg=False, eeg=True, exclude=[])
        if not len(picks):
            kinds = ", ".join(sorted(set(self.raw.get_channel_types())))
            raise Unfit(f"expected EEG channels, found only {kinds}: set the channel types and save it again")
        self.names = [self.raw.ch_names[pick] for pick in picks]
        self.shape = [len(picks), int(self.raw.n_times)]

    def refuse_other_files(self):
        """A split FIF file names the file that goes on: refuse that in a file from elsewhere."""
        inside = {self.path.resolve(), self.path.with_suffix(".eeg").resolve()}
        names = [Path(name).resolve() for name in self.raw.filenames if name is not None]
        if any(name not in inside for name in names):
            raise Unfit("it goes on in another file: save the recording as one file")

    def variables(self):
        """Shapes by name."""
        n = len(self.names)
        return {"eeg": self.shape, "ch_names": [n], "sfreq": [1], "bads": [len(self.raw.info["bads"])]}

    def value(self, name):
        """A small value, ready to be sent."""
        info = self.raw.info
        if name == "sfreq":
            value = np.array([float(info["sfreq"])])
            return {"kind": "numbers", "dtype": "<f8", "shape": [1], "hex": value.astype("<f8").tobytes().hex()}
        rows = self.names if name == "ch_names" else [one for one in info["bads"] if one in self.names]
        items = [{"kind": "text", "text": str(row)} for row in rows]
        return {"kind": "cell", "shape": [len(items)], "items": items}

    def open_array(self, name, ndim):
        """Choose the array whose parts are asked for."""
        return {"shape": self.shape, "numeric": True}

    def part(self, start, stop, *, first):
        """A stretch of time of all channels."""
        data = self.raw.get_data(self.names, start, stop, verbose="error")
        if data.shape[1] != stop - start:
            raise Damaged(f"the file ends at sample {start + data.shape[1]}, its header promises {self.shape[1]}")
        return data


def _refuse_parts(path):
    """Refuse by name what MNE would try and fail on without a reason."""
    suffix = path.suffix.lower()
    if suffix in _NO_EEG:
        raise _not_read(path)
    if suffix in (".eeg", ".vmrk") and (header := path.with_suffix(".vhdr")).exists():
        raise Unfit(f"it is one of the three files of a BrainVision recording: name {header.name}")


def _not_read(path):
    kind = f"{path.suffix[:12]} files are" if path.suffix else "a file without an ending in its name is"
    return Unfit(f"{kind} not an EEG format that is read; these are: {FORMATS}. Export the recording as one of them")


# ---------------------------------------------------------------- what a header promises


def _check_edf(path):
    """An EDF or BDF header states the number of records and the samples of each: compare them with the file's length."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(256)
        if len(head) < 256:
            raise Damaged(f"the header has {len(head)} bytes, expected 256 and more")
        n_signals = _whole(head[252:256], "number of signals")
        n_records = _whole(head[236:244], "number of records", least=-1)
        header_bytes = _whole(head[184:192], "length of the header")
        if n_signals < 1 or header_bytes != 256 * (n_signals + 1):
            raise Damaged(f"a header of {header_bytes} bytes does not fit {n_signals} signals")
        file.seek(256 + 216 * n_signals)
        samples = file.read(8 * n_signals)
    if len(samples) < 8 * n_signals:
        raise Damaged(f"the file ends at byte {size}, within its header")
    record = sum(_whole(samples[i : i + 8], "samples of a signal") for i in range(0, len(samples), 8))
    record *= _SAMPLE_BYTES[path.suffix.lower()]
    promised = header_bytes + max(n_records, 1) * record  # -1: the recording was not closed
    if promised > size:
        raise Damaged(
            f"the file is cut off: its header promises {n_records} records, {promised} bytes in all, the file has {size}"
        )


def _whole(text, what, *, least=0):
    try:
        value = int(text)
    except ValueError:
        raise Damaged(f"{what}: expected a whole number, found {text!r}") from None
    if value < least:
        raise Damaged(f"{what}: found {value}")
    return value


def _check_fif(path):
    """Follow the tags of a FIF file to its end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        for count in range(MAX_TAGS):
            file.seek(at)
            head = file.read(16)
            if len(head) < 16:
                raise Damaged(f"the file is cut off: expected a tag at byte {at}, the file ends at {size}")
            kind, type_, length, follows = struct.unpack(">iiii", head)
            if count == 0 and (kind, type_) != (FIF_FILE_ID, FIF_STRUCT):
                raise Damaged("the first tag is not that of a FIF file")
            if length < 0 or at + 16 + length > size:
                raise Damaged(f"the file is cut off: a tag at byte {at} ends at {at + 16 + length}, the file at {size}")
            if follows == -1 or (follows == 0 and at + 16 + length == size):
                return
            if 0 < follows <= at:
                raise Damaged(f"a tag at byte {at} leads back to byte {follows}")
            at = follows if follows > 0 else at + 16 + length
    raise Damaged(f"it has more than {MAX_TAGS} parts")


def _check_brainvision(path):
    """The data of a BrainVision file hold whole samples, and as many as the header may say."""
    text = path.read_bytes()[: 2**20].decode("latin-1")
    name = re.search(r"(?mi)^DataFile\s*=\s*(.+?)\s*$", text)
    channels = re.search(r"(?mi)^NumberOfChannels\s*=\s*(\d+)", text)
    if not name or not channels or int(channels[1]) < 1:
        raise Damaged("the header names no DataFile or no NumberOfChannels")
    data = path.parent / os.path.basename(name[1].replace("$b", path.stem))
    kind = re.search(r"(?mi)^BinaryFormat\s*=\s*(\w+)", text)
    if not data.is_file() or not kind or kind[1].lower() not in _BINARY:
        return  # MNE says what it misses
    column = int(channels[1]) * _BINARY[kind[1].lower()]
    size = data.stat().st_size
    points = re.search(r"(?mi)^DataPoints\s*=\s*(\d+)", text)
    promised = int(points[1]) * column if points else 0
    if not size or size % column or promised > size:
        more = f"; the header promises {promised}" if promised > size else ""
        raise Damaged(
            f"the data are cut off: {size} bytes are not whole samples of {channels[1]} channels ({column} bytes){more}"
        )
