"""The files of a store: ids, tables, checksums and the formats of EEG and sound (for :mod:`eegviz.store`).

A table is kept as CSV, and the kind of each column in the manifest, so that "01" comes back as text and 1.0 as a float.
"""

import difflib
import hashlib
import io
import json
import os
import unicodedata

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError

FORMAT_VERSION = 1
CONDITIONS = ("listening", "imagery", "silence", "raw")
RECORDING_COLUMNS = (
    "recording", "subject", "stimulus", "condition", "repeat", "session",
    "sfreq", "n_channels", "n_times", "start",
)  # fmt: skip
STIMULUS_COLUMNS = ("stimulus", "title", "sr", "n_samples", "duration")
EVENT_COLUMNS = ("recording", "onset", "duration", "label")
MAX_ID_BYTES = 200  # leaves room for a suffix below the 255 bytes of common file systems
_FORBIDDEN = set('/\\:*?"<>|')
JOURNAL = "journal.jsonl"
_KINDS = {
    "str": str, "int": "int64", "float": "float64", "bool": "bool",
}  # fmt: skip


class WriteError(DataError):
    """The disk does not take a file of the store (full, read-only): writing cannot go on."""


def read_manifest(path):
    found = "nothing" if not path.exists() else "a file" if path.is_file() else "a folder without it"
    file = path / "manifest.json"
    if not file.is_file():
        partial, old = (path.with_name(path.name + end) for end in (".partial", ".old"))
        if partial.is_dir() and path.name:
            hint = f"; {partial} is an unfinished ingest: run the same ingest again to finish it"
        elif old.is_dir() and path.name:
            hint = f"; {old} is the store that was being replaced: rename it back"
        else:
            hint = "; make one with `eegviz ingest` or `eegviz demo`"
        raise DataError(f"{path} is not a store: expected a folder with manifest.json, found {found}{hint}")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); ingest the data again") from error
    if version != FORMAT_VERSION:
        raise DataError(f"{file}: expected format version {FORMAT_VERSION}, found {version!r}; ingest the data again")
    if lost := {"dataset", "tables", "files"} - set(manifest):
        raise DataError(f"{file} is damaged (no {', '.join(sorted(lost))}); ingest the data again")
    return manifest


def fingerprint(files):
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def manifest_sha256(manifest):
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256(file):
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fsync_folder(folder):
    if os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class HashingStream:
    """A file to write to that keeps the checksum and the size of what went through."""

    def __init__(self, handle):
        self.handle, self.hash, self.size = handle, hashlib.sha256(), 0

    def write(self, data):
        self.handle.write(data)
        self.hash.update(data)
        self.size += memoryview(data).nbytes


def write_npy(stream, eeg, ch_names, where):
    shape = tuple(int(n) for n in eeg.shape)
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for name, channel in zip(ch_names, eeg, strict=True):
        with np.errstate(over="ignore"):
            channel = np.ascontiguousarray(channel, dtype="<f4")
        if not np.all(np.isfinite(channel)):
            bad = int(np.count_nonzero(~np.isfinite(channel)))
            raise ParameterError(f"{where}: channel {name} holds {bad} values that are not finite; repair or drop it")
        stream.write(channel.data)


def write_flac(stream, pcm, sr):
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sr, format="FLAC", subtype="PCM_16")
    stream.write(buffer.getvalue())


def format_table(table, name):
    """Return a DataFrame as CSV text and the kind of each column, from which it is read back exactly."""
    if not isinstance(table, pd.DataFrame) or not all(isinstance(column, str) for column in table.columns):
        raise ParameterError(f"table {name!r}: expected a DataFrame whose columns have names")
    if not table.columns.is_unique:
        raise ParameterError(f"table {name!r}: two columns have the same name")
    kinds, columns = {}, {}
    for column in table.columns:
        values = [value.item() if isinstance(value, np.generic) else value for value in table[column]]
        present = [value for value in values if not pd.isna(value)]
        if any(isinstance(value, str) for value in present) or not present and name in ("recordings", "stimuli"):
            kind = "str"
        elif present and all(isinstance(value, bool) for value in present) and len(present) == len(values):
            kind = "bool"
        elif present and all(type(value) is int for value in present) and len(present) == len(values):
            kind = "int"
        elif all(isinstance(value, (int, float)) for value in present):
            kind = "float"
        else:
            kind = "str"
        if kind == "str":
            columns[column] = ["" if pd.isna(value) else check_text(column, value) for value in values]
        elif kind == "float":
            columns[column] = ["" if pd.isna(value) else repr(float(value)) for value in values]
        else:
            columns[column] = [str(value) for value in values]
        kinds[column] = kind
    return pd.DataFrame(columns, columns=list(table.columns)).to_csv(index=False, lineterminator="\n"), kinds


def parse_table(text, kinds, file):
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        if list(table.columns) != list(kinds):
            raise ValueError(f"columns {list(table.columns)}")
        for column, kind in kinds.items():
            if kind == "bool":
                table[column] = table[column] == "True"
            elif kind == "float":
                table[column] = np.array([float(value or "nan") for value in table[column]])
            else:
                table[column] = table[column].astype(_KINDS[kind])
    except (ValueError, KeyError, pd.errors.ParserError) as error:
        raise DataError(
            f"{file} is damaged: expected the columns {', '.join(kinds)} ({error}); ingest the data again"
        ) from error
    return table


def check_id(kind, name):
    """Return an id that is also a file name everywhere: no path, not hidden, not too long."""
    if not isinstance(name, str):
        raise ParameterError(f"{kind} must be a str, found {type(name).__name__} {name!r}")
    check_text(kind, name)
    stem = name.split(".")[0].upper()
    reserved = stem in {"CON", "PRN", "AUX", "NUL"} or (stem[:3] in {"COM", "LPT"} and stem[3:].isdigit())
    if (
        not name or name != name.strip() or name[0] == "." or name[-1] == "." or reserved
        or set(name) & _FORBIDDEN or len(name.encode()) > MAX_ID_BYTES
    ):  # fmt: skip
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise ParameterError(
            f"{kind} {shown!r} cannot be used as an id: expected 1 to {MAX_ID_BYTES} bytes that are also a file name, "
            f"without {' '.join(sorted(_FORBIDDEN))}, without a dot or a space at either end"
        )
    return name


def check_text(kind, text):
    text = str(text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(f"{kind} {text!r} is not valid Unicode") from error
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ParameterError(f"{kind} {text!r} holds control characters; use letters, digits, '_' and '-'")
    return text


def check_columns(columns, taken, name):
    if clash := set(columns) & set(taken):
        raise ParameterError(f"{name!r}: the store fills the columns {', '.join(sorted(clash))} itself")
    row = {}
    for key, value in columns.items():
        value = value.item() if isinstance(value, np.generic) else value
        if value is not None and not isinstance(value, (str, bool, int, float)):
            raise ParameterError(f"{name!r}: column {key} must be text or a number, found {type(value).__name__}")
        row[check_text("column", key)] = check_text(key, value) if isinstance(value, str) else value
    return row


def columns(first, rows):
    return [*first, *dict.fromkeys(key for row in rows for key in row if key not in first)]


def json_ready(value, what):
    try:
        return json.loads(json.dumps(value, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{what} must hold only what JSON can hold: {error}") from error


def unknown(kind, name, known, path):
    known = [str(item) for item in known]
    near = difflib.get_close_matches(str(name), known, n=3) or known[:5]
    return f"{path} has no {kind} {name!r}; it has {len(known)}, such as {', '.join(near) or 'none'}"
