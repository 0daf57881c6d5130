"""The store: every data set on disk in one form.

A store is a folder that is written once and then only read::

    manifest.json      format version, data set, licence, citation, sha-256 and size of every file
    recordings.csv     one row a recording (:data:`RECORDING_COLUMNS`, then extras)
    stimuli.csv        one row a stimulus (:data:`STIMULUS_COLUMNS`, then extras)
    events.csv …       optional further tables
    channels.json      montage, channel layouts, bad channels
    eeg/<recording>.npy      float32, volts, (n_channels, n_times), memory-mapped when read
    audio/<stimulus>.flac    16 bit, mono

It is written to the sibling folder ``<path>.partial`` and renamed at the end. Every file goes to a temporary name
beside its place, is fsynced and moved by ``os.replace``; ``journal.jsonl`` then notes it as done. A killed writer
therefore leaves no half store, and the next writer of the same store skips what the journal holds.

Functions: :func:`open` (read), :func:`create` (write), :func:`verify` (compare with the checksums).
Shown in notebook 01 (data tour).
"""

import difflib
import hashlib
import io
import json
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None

FORMAT_VERSION = 1
CONDITIONS = ("listening", "imagery", "silence", "raw")
RECORDING_COLUMNS = (
    "recording", "subject", "stimulus", "condition", "repeat", "session",
    "sfreq", "n_channels", "n_times", "start",
)  # fmt: skip
STIMULUS_COLUMNS = ("stimulus", "title", "sr", "n_samples", "duration")
EVENT_COLUMNS = ("recording", "onset", "duration", "label")
CACHE = "cache"  # folder of features made from the store; not part of it
MAX_ID_BYTES = 200  # leaves room for a suffix below the 255 bytes of common file systems

_FORBIDDEN = set('/\\:*?"<>|')
_JOURNAL = "journal.jsonl"
_KINDS = {
    "str": str, "int": "int64", "float": "float64", "bool": "bool",
}  # fmt: skip


class WriteError(DataError):
    """The disk does not take a file of the store (full, read-only): writing cannot go on."""


# ---------------------------------------------------------------- reading


def open(path):
    """Open a store for reading.

    Parameters
    ----------
    path : str or Path
        Folder of the store.

    Returns
    -------
    Store

    Raises
    ------
    DataError
        When the folder is not a finished store of this format version.

    Examples
    --------
    >>> open("no/such/folder")
    Traceback (most recent call last):
    eegviz.errors.DataError: no/such/folder is not a store: expected a folder with manifest.json, found nothing...
    """
    return Store(path)


class Store:
    """A finished store, read-only. Made by :func:`open`.

    Attributes
    ----------
    path : Path
    manifest : dict
        Data set, title, licence, citation, ``simulated``, ``about``, and the table of files.
    montage : str or None
        Name of the standard montage that gives the channels their places.
    fingerprint : str
        SHA-256 over the manifest's file table: two stores with the same content have the same one.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.manifest = _read_manifest(self.path)
        self._channels = json.loads(self._read_text("channels.json"))
        self._tables = {}

    def __repr__(self):
        return f"<Store {self.path} | {self.manifest['dataset']}: {len(self._table('recordings'))} recordings>"

    @property
    def recordings(self):
        """DataFrame, one row a recording (:data:`RECORDING_COLUMNS`, then extras)."""
        return self.table("recordings")

    @property
    def stimuli(self):
        """DataFrame, one row a stimulus (:data:`STIMULUS_COLUMNS`, then extras)."""
        return self.table("stimuli")

    @property
    def montage(self):
        return self._channels["montage"]

    @property
    def fingerprint(self):
        return _fingerprint(self.manifest["files"])

    def table(self, name):
        """Return a table (``events``, ``participants``, ``ratings`` …) as a new DataFrame; text stays text."""
        return self._table(name).copy()

    def row(self, recording):
        """Return one row of :attr:`recordings` as a dict."""
        table = self._table("recordings")
        found = np.flatnonzero(table["recording"].to_numpy() == recording)
        if not len(found):
            raise ParameterError(_unknown("recording", recording, table["recording"], self.path))
        row = table.iloc[int(found[0])].to_dict()
        return {key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()}

    def eeg(self, recording):
        """Return the EEG as a read-only memory map, float32 volts, shape (n_channels, n_times)."""
        row = self.row(recording)
        file = self.path / "eeg" / f"{recording}.npy"
        try:
            eeg = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read ({error}); run store.verify and ingest the data again") from error
        expected = (row["n_channels"], row["n_times"])
        if eeg.shape != expected or eeg.dtype != np.float32:
            raise DataError(
                f"{file}: expected float32 {expected} as recordings.csv says, found {eeg.dtype} {eeg.shape}; "
                "ingest the data again"
            )
        return eeg

    def ch_names(self, recording):
        """Return the channel names of a recording (list of str)."""
        return list(self._channels["layouts"][self._channel_row(recording)["layout"]])

    def bads(self, recording):
        """Return the names of the channels marked bad (list of str)."""
        return list(self._channel_row(recording)["bads"])

    def raw(self, recording):
        """Return a recording as an MNE object, with montage, bad channels and annotations.

        Returns
        -------
        mne.io.RawArray
            Volts (float64); ``info["bads"]`` and the montage are set, events are annotations.
        """
        import mne

        row = self.row(recording)
        info = mne.create_info(self.ch_names(recording), row["sfreq"], "eeg", verbose=False)
        raw = mne.io.RawArray(np.array(self.eeg(recording), dtype=np.float64), info, copy=None, verbose=False)
        if self.montage is not None:
            raw.set_montage(make_montage(self.montage), match_case=False, on_missing="ignore", verbose=False)
        raw.info["bads"] = self.bads(recording)
        if self.has_table("events"):
            events = self._table("events")
            events = events[(events["recording"] == recording).to_numpy()]
            inside = events[(events["onset"] < row["n_times"] / row["sfreq"]).to_numpy()]
            raw.set_annotations(
                mne.Annotations(inside["onset"].to_numpy(), inside["duration"].to_numpy(), inside["label"].to_list()),
                verbose=False,
            )
        return raw

    def audio(self, stimulus):
        """Return the sound of a stimulus.

        Returns
        -------
        y : ndarray, float32 [shape=(n,)]
            Mono, in [-1, 1].
        sr : int
        """
        import soundfile

        known = self._table("stimuli")["stimulus"]
        if stimulus not in set(known):
            raise ParameterError(_unknown("stimulus", stimulus, known, self.path))
        file = self.path / "audio" / f"{stimulus}.flac"
        try:
            return soundfile.read(file, dtype="float32")
        except (OSError, soundfile.SoundFileError) as error:
            raise DataError(f"{file} cannot be read ({error}); run store.verify and ingest the data again") from error

    def has_table(self, name):
        """Say whether the store holds a table of this name."""
        return name in self.manifest["tables"]

    def _table(self, name):
        if not self.has_table(name):
            raise ParameterError(_unknown("table", name, self.manifest["tables"], self.path))
        if name not in self._tables:
            text = self._read_text(f"{name}.csv")
            self._tables[name] = _parse_table(text, self.manifest["tables"][name], self.path / f"{name}.csv")
        return self._tables[name]

    def _channel_row(self, recording):
        rows = self._channels["recordings"]
        if recording not in rows:
            raise ParameterError(_unknown("recording", recording, rows, self.path))
        return rows[recording]

    def _read_text(self, name):
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self.path / name} cannot be read ({error}); run store.verify and ingest the data again"
            ) from error


def make_montage(name):
    """Return a standard montage by name.

    ``standard_1005`` and ``standard_1020`` are stable names here: MNE 1.13 began to call them ``colin27_…``.

    Returns
    -------
    mne.channels.DigMontage

    Examples
    --------
    >>> make_montage("GSN-HydroCel-129").ch_names[-1]
    'Cz'
    """
    import mne

    known = mne.channels.get_builtin_montages()
    newer = name.replace("standard_", "colin27_")
    if name not in known and newer not in known:
        raise ParameterError(f"unknown montage {name!r}; expected one of {', '.join(known)}")
    return mne.channels.make_standard_montage(newer if newer in known else name)


def verify(path):
    """Compare a store with its checksums.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    list of str
        One line a problem (missing, changed, extra or unreadable file); empty when all is well.
    """
    path = Path(path)
    try:
        manifest = _read_manifest(path)
    except DataError as error:
        return [str(error)]
    problems = []
    if manifest.get("sha256") != _manifest_sha256(manifest):
        problems.append(f"manifest.json was changed after it was written (in {path})")
    for name, entry in sorted(manifest["files"].items()):
        file = path / name
        if not file.is_file():
            problems.append(f"{name} is missing")
        elif file.stat().st_size != entry["bytes"]:
            problems.append(f"{name} has {file.stat().st_size} bytes, expected {entry['bytes']}")
        elif _sha256(file) != entry["sha256"]:
            problems.append(f"{name} was changed: its sha-256 differs from the manifest's")
    known = {*manifest["files"], "manifest.json", _JOURNAL}
    present = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    strange = {name for name in present - known if not name.startswith(f"{CACHE}/")}
    problems.extend(f"{name} does not belong to the store" for name in sorted(strange))
    return problems


# ---------------------------------------------------------------- writing


def create(
    path,
    *,
    dataset,
    title,
    licence,
    citation,
    montage=None,
    simulated=False,
    about=None,
    identity=None,
    overwrite=False,
):
    """Start a store, or go on with one that was interrupted. Use it in a ``with`` block.

    Parameters
    ----------
    path : str or Path
        Folder of the store; it appears when the block ends without an error.
    dataset, title, licence, citation : str
    montage : str or None
        A name that :func:`mne.channels.make_standard_montage` knows.
    simulated : bool
        Whether the EEG is made by a program.
    about : dict, optional
        Anything else worth keeping (JSON).
    identity : dict, optional
        What makes this ingest what it is (source, options; JSON). It is kept only while writing: an interrupted
        ``<path>.partial`` of another identity is thrown away rather than mixed with this one.
    overwrite : bool
        Replace a finished store, at the very end.

    Returns
    -------
    Writer

    Raises
    ------
    ParameterError
        When ``path`` is a finished store and ``overwrite`` is false, or is something else than a store.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with create(folder.name + "/s", dataset="x", title="X", licence="CC0", citation="none") as writer:
    ...     writer.add_stimulus("song01", np.zeros(22050), sr=22050, title="Silence")
    ...     writer.add_recording(
    ...         "S01_song01", np.zeros((2, 125)), subject="S01", stimulus="song01", sfreq=125, ch_names=["Cz", "Pz"]
    ...     )
    >>> open(folder.name + "/s").eeg("S01_song01").shape
    (2, 125)
    >>> verify(folder.name + "/s")
    []
    >>> folder.cleanup()
    """
    return Writer(
        path,
        {
            "format_version": FORMAT_VERSION,
            "dataset": str(dataset),
            "title": str(title),
            "licence": str(licence),
            "citation": str(citation),
            "simulated": bool(simulated),
            "about": _json_ready(about or {}, "about"),
        },
        montage=montage,
        identity=_json_ready(identity or {}, "identity"),
        overwrite=overwrite,
    )


class Writer:
    """Writes a store. Made by :func:`create`, used in a ``with`` block.

    Attributes
    ----------
    path, partial : Path
        Where the store will be, and where it is being written.
    resumed : bool
        Whether an interrupted store is being continued.
    """

    def __init__(self, path, head, *, montage, identity, overwrite):
        self.path = Path(os.path.abspath(path))
        if not self.path.name:
            raise ParameterError(f"{path!r} cannot be a store: expected the name of a folder to make")
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._old = self.path.with_name(self.path.name + ".old")
        self._head, self._montage, self._overwrite = head, montage, overwrite
        self._identity = {"head": head, "montage": montage, "identity": identity}
        self._entries = {"stimulus": {}, "recording": {}, "table": {}, "events": {}}
        self._new = set()
        self._discarded = False
        self.resumed = False
        if self._old.exists() and not self.path.exists():  # killed between the two renames of a replacement
            os.rename(self._old, self.path)
        self._check_target()

    def _check_target(self):
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        if (self.path / "manifest.json").is_file():
            if not self._overwrite:
                raise ParameterError(
                    f"{self.path} is already a store; choose another folder, or overwrite it (overwrite=True)"
                )
        elif self.path.exists() or self.path.is_symlink():
            raise ParameterError(
                f"{self.path} exists and is not a store; nothing in it is touched: choose another folder"
            )

    # -- the with block

    def __enter__(self):
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        journal = self.partial / _JOURNAL
        if self.partial.exists() and not journal.exists() and any(self.partial.iterdir()):
            raise ParameterError(
                f"{self.partial} stands in the way and was not made by an ingest (it has no {_JOURNAL}); move it away"
            )
        self.partial.mkdir(exist_ok=True)
        self._journal = journal.open("a+b")
        self._take_lock()
        entries = self._read_journal()
        self.resumed = entries is not None
        if not self.resumed:
            self._log({"identity": self._identity})
        for folder in ("eeg", "audio"):
            (self.partial / folder).mkdir(exist_ok=True)
        for entry in entries or []:
            self._entries[entry["kind"]][entry["id"]] = entry
        self._sweep()
        _fsync_folder(self.partial)
        return self

    def __exit__(self, kind, error, trace):
        try:
            if self._discarded:
                return
            if kind is None:
                self._finish()
            elif not any(self._entries.values()):
                self.discard()
        finally:
            self._journal.close()

    def discard(self):
        """Throw away what has been written of this store."""
        self._entries = {kind: {} for kind in self._entries}
        self._discarded = True
        shutil.rmtree(self.partial)

    # -- adding

    @property
    def n_recordings(self):
        """Recordings written so far."""
        return len(self._entries["recording"])

    def stimulus_row(self, stimulus):
        """Return the row of a stimulus that was added, as a dict."""
        if stimulus not in self._entries["stimulus"]:
            raise ParameterError(_unknown("stimulus", stimulus, self._entries["stimulus"], self.partial))
        return dict(self._entries["stimulus"][stimulus]["row"])

    def has_recording(self, recording, *, stamp=None):
        """Say whether a recording is there already (made from the same ``stamp``, where one is given)."""
        return self._has("recording", recording, stamp)

    def has_stimulus(self, stimulus, *, stamp=None):
        """Say whether a stimulus is there already (made from the same ``stamp``, where one is given)."""
        return self._has("stimulus", stimulus, stamp)

    def add_stimulus(self, stimulus, audio, *, sr, title="", stamp=None, **columns):
        """Add the sound of a stimulus.

        Parameters
        ----------
        stimulus : str
        audio : ndarray [shape=(n,)]
            Mono, in [-1, 1]; kept with 16 bit.
        sr : int
        title : str
        stamp : str or None
            Marks what it was made from; see :meth:`has_stimulus`.
        **columns : str, int, float or bool
            Extra columns of ``stimuli.csv``.
        """
        self._check_new("stimulus", stimulus)
        audio = np.asarray(audio)
        if audio.ndim != 1 or not audio.size or audio.dtype.kind not in "fiu":
            raise ParameterError(
                f"audio of {stimulus!r}: expected a mono array of real numbers (n,), found {audio.dtype} {audio.shape}"
            )
        if isinstance(sr, bool) or int(sr) != sr or not 1 <= sr <= 655350:
            raise ParameterError(f"audio of {stimulus!r}: expected a whole rate of 1 to 655350 Hz, found sr={sr!r}")
        peak = float(np.max(np.abs(audio)))
        if not peak <= 1.0:  # also refuses NaN
            raise ParameterError(
                f"audio of {stimulus!r}: expected values in [-1, 1], found a peak of {peak:.6g}; divide by the peak"
            )
        row = {
            "stimulus": stimulus, "title": str(title), "sr": int(sr), "n_samples": audio.size,
            "duration": audio.size / int(sr),
        }  # fmt: skip
        row |= _check_columns(columns, STIMULUS_COLUMNS, stimulus)
        pcm = np.clip(np.rint(audio.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
        file = f"audio/{stimulus}.flac"
        entry = self._write(file, lambda stream: _write_flac(stream, pcm, int(sr)))
        self._done("stimulus", stimulus, row=row, file=file, stamp=stamp, **entry)

    def add_recording(
        self,
        recording,
        eeg,
        *,
        subject,
        sfreq,
        ch_names,
        stimulus="",
        condition="listening",
        repeat=1,
        session="",
        start=0.0,
        bads=(),
        stamp=None,
        **columns,
    ):
        """Add a recording.

        Add its events before it (:meth:`add_events`), so that an interrupted ingest cannot lose them.

        Parameters
        ----------
        recording : str
            Such as ``S02_song21``.
        eeg : ndarray [shape=(n_channels, n_times)]
            Volts; kept as float32. Read channel by channel, so a memory map stays on disk.
        subject, stimulus, condition, session : str
            ``stimulus`` is "" when there was none; ``condition`` is one of :data:`CONDITIONS`.
        repeat : int
            1 for the first hearing.
        sfreq : float
        start : float
            Second of the stimulus at which the recording begins.
        ch_names, bads : sequence of str
        stamp : str or None
            Marks what it was made from; see :meth:`has_recording`.
        **columns : str, int, float or bool
            Extra columns of ``recordings.csv``.
        """
        self._check_new("recording", recording)
        where = f"recording {recording!r}"
        if not hasattr(eeg, "shape") or len(eeg.shape) != 2 or 0 in eeg.shape or eeg.dtype.kind not in "fiu":
            found = f"{getattr(eeg, 'dtype', type(eeg).__name__)} {getattr(eeg, 'shape', '')}"
            raise ParameterError(f"{where}: expected real numbers (n_channels, n_times), found {found}")
        ch_names, bads = [str(name) for name in ch_names], [str(name) for name in bads]
        if len(ch_names) != eeg.shape[0] or len(set(ch_names)) != len(ch_names):
            raise ParameterError(
                f"{where}: expected {eeg.shape[0]} different channel names, found {len(ch_names)} "
                f"({len(set(ch_names))} different)"
            )
        if not set(bads) <= set(ch_names):
            raise ParameterError(f"{where}: bads {sorted(set(bads) - set(ch_names))} are not among its channels")
        if condition not in CONDITIONS:
            raise ParameterError(f"{where}: unknown condition {condition!r}; expected one of {', '.join(CONDITIONS)}")
        if not (np.isfinite(sfreq) and sfreq > 0 and np.isfinite(start)):
            raise ParameterError(f"{where}: expected sfreq > 0 and a finite start, found {sfreq!r} and {start!r}")
        if isinstance(repeat, bool) or int(repeat) != repeat:
            raise ParameterError(f"{where}: expected a whole number as repeat, found {repeat!r}")
        row = {
            "recording": recording,
            "subject": _check_id("subject", str(subject)),
            "stimulus": _check_id("stimulus", stimulus) if stimulus != "" else "",
            "condition": condition,
            "repeat": int(repeat),
            "session": _check_text("session", session),
            "sfreq": float(sfreq),
            "n_channels": int(eeg.shape[0]),
            "n_times": int(eeg.shape[1]),
            "start": float(start),
        }
        row |= _check_columns(columns, RECORDING_COLUMNS, recording)
        file = f"eeg/{recording}.npy"
        entry = self._write(file, lambda stream: _write_npy(stream, eeg, ch_names, where))
        self._done("recording", recording, row=row, file=file, stamp=stamp, ch_names=ch_names, bads=bads, **entry)

    def add_events(self, recording, onsets_s, labels, *, durations_s=None):
        """Note events of a recording: seconds from its beginning, and a label each. Replaces earlier ones."""
        _check_id("recording", recording)
        onsets = np.asarray(onsets_s, dtype=float).ravel()
        durations = np.zeros(onsets.size) if durations_s is None else np.asarray(durations_s, float).ravel()
        labels = [_check_text("label", label) for label in labels]
        if not onsets.size == durations.size == len(labels):
            raise ParameterError(
                f"events of {recording!r}: {onsets.size} onsets, {durations.size} durations, {len(labels)} labels"
            )
        if not (np.all(np.isfinite(onsets)) and np.all(onsets >= 0) and np.all(durations >= 0)):
            raise ParameterError(f"events of {recording!r}: expected finite seconds ≥ 0, found {onsets.tolist()}")
        self._done("events", recording, onset=onsets.tolist(), duration=durations.tolist(), label=labels)

    def add_table(self, name, table):
        """Add a table (DataFrame) as ``<name>.csv``; a table of the same name is replaced."""
        _check_id("table", name)
        if name in ("recordings", "stimuli", "events"):
            raise ParameterError(f"the store writes the table {name!r} itself; choose another name")
        text, kinds = _format_table(table, name)
        file = f"{name}.csv"
        entry = self._write(file, lambda stream: stream.write(text.encode()))
        self._done("table", name, kinds=kinds, file=file, **entry)

    # -- the end

    def _finish(self):
        recordings, stimuli = self._entries["recording"], self._entries["stimulus"]
        if not recordings and not stimuli:
            self.discard()
            raise ParameterError(f"{self.path}: nothing was added, so no store was made")
        rows = [entry["row"] for entry in recordings.values()]
        if lost := sorted({row["stimulus"] for row in rows} - set(stimuli) - {""}):
            raise ParameterError(f"{self.path}: recordings name stimuli that were not added: {', '.join(lost)}")
        events = self._entries["events"]
        if lost := sorted(set(events) - set(recordings)):
            if any(("events", name) in self._new for name in lost):
                raise ParameterError(f"{self.path}: events of recordings that were not added: {', '.join(lost)}")
            events = {name: entry for name, entry in events.items() if name in recordings}
        tables = {"recordings": pd.DataFrame(rows, columns=_columns(RECORDING_COLUMNS, rows))}
        rows = [entry["row"] for entry in stimuli.values()]
        tables["stimuli"] = pd.DataFrame(rows, columns=_columns(STIMULUS_COLUMNS, rows))
        if events:
            tables["events"] = pd.DataFrame(
                [
                    (name, *event)
                    for name, entry in events.items()
                    for event in sorted(zip(entry["onset"], entry["duration"], entry["label"], strict=True))
                ],
                columns=EVENT_COLUMNS,
            )
        files, kinds = {}, {}
        for name, table in tables.items():
            text, kinds[name] = _format_table(table, name)
            files[f"{name}.csv"] = self._write(f"{name}.csv", lambda stream, text=text: stream.write(text.encode()))
        channels = json.dumps(self._channels(), ensure_ascii=False, indent=1)
        files["channels.json"] = self._write("channels.json", lambda stream: stream.write(channels.encode()))
        for group in ("stimulus", "recording", "table"):
            for entry in self._entries[group].values():
                files[entry["file"]] = {"sha256": entry["sha256"], "bytes": entry["bytes"]}
                if group == "table":
                    kinds[entry["id"]] = entry["kinds"]
        manifest = {**self._head, "tables": kinds, "files": dict(sorted(files.items()))}
        manifest["fingerprint"] = _fingerprint(files)
        manifest["sha256"] = _manifest_sha256(manifest)
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        self._write("manifest.json", lambda stream: stream.write(text.encode()))
        self._move_in_place()

    def _channels(self):
        layouts, rows = [], {}
        for name, entry in self._entries["recording"].items():
            if entry["ch_names"] not in layouts:
                layouts.append(entry["ch_names"])
            rows[name] = {"layout": layouts.index(entry["ch_names"]), "bads": entry["bads"]}
        return {"montage": self._montage, "layouts": layouts, "recordings": rows}

    def _move_in_place(self):
        self._check_target()
        if (self.path / "manifest.json").is_file():
            shutil.rmtree(self._old, ignore_errors=True)
            os.rename(self.path, self._old)
        elif self.path.is_dir():
            self.path.rmdir()
        os.rename(self.partial, self.path)
        _fsync_folder(self.path.parent)
        (self.path / _JOURNAL).unlink()
        if self._old.exists():
            shutil.rmtree(self._old)

    # -- the journal

    def _take_lock(self):
        if fcntl is None:
            return
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._journal.close()
            raise DataError(f"{self.partial} is being written by another process; wait for it to end") from error

    def _read_journal(self):
        """Return the entries whose files are whole, or None after clearing what belongs to another identity."""
        self._journal.seek(0)
        lines = self._journal.read().split(b"\n")[:-1]  # a torn last line has no end
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        if not rows or rows[0].get("identity") != self._identity:
            self._journal.truncate(0)
            for item in self.partial.iterdir():
                if item.is_dir():
                    shutil.rmtree(item)
                elif item.name != _JOURNAL:
                    item.unlink()
            return None
        latest = {(row["kind"], row["id"]): row for row in rows[1:]}
        kept = [row for row in latest.values() if "file" not in row or self._is_whole(row)]
        self._journal.truncate(0)
        self._log({"identity": self._identity}, *kept)
        return kept

    def _is_whole(self, entry):
        file = self.partial / entry["file"]
        return file.is_file() and file.stat().st_size == entry["bytes"] and _sha256(file) == entry["sha256"]

    def _sweep(self):
        """Remove files of the partial store that the journal does not hold."""
        known = {entry["file"] for group in self._entries.values() for entry in group.values() if "file" in entry}
        for file in self.partial.rglob("*"):
            name = file.relative_to(self.partial).as_posix()
            if file.is_file() and name not in known and name != _JOURNAL:
                file.unlink()

    def _log(self, *rows):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._journal.write(text.encode())
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def _done(self, kind, name, **entry):
        entry = {"kind": kind, "id": name, **entry}
        self._log(entry)
        self._entries[kind][name] = entry
        self._new.add((kind, name))

    def _has(self, kind, name, stamp):
        entry = self._entries[kind].get(name)
        return entry is not None and (stamp is None or entry["stamp"] == stamp)

    def _check_new(self, kind, name):
        _check_id(kind, name)
        if (kind, name) in self._new:
            raise ParameterError(f"{kind} {name!r} was added already")
        key = unicodedata.normalize("NFC", name).casefold()
        for other in self._entries[kind]:
            if other != name and unicodedata.normalize("NFC", other).casefold() == key:
                raise ParameterError(
                    f"{kind} {name!r} and {other!r} differ only in case, which some file systems do not tell apart"
                )

    def _write(self, name, write):
        """Write a file of the partial store whole or not at all; return its checksum and size."""
        file = self.partial / name
        temporary = file.with_name(file.name + ".tmp")
        try:
            with temporary.open("wb") as handle:
                stream = _HashingStream(handle)
                write(stream)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, file)
        except OSError as error:
            raise WriteError(f"{file} cannot be written ({error}); is the disk full or read-only?") from error
        finally:
            temporary.unlink(missing_ok=True)
        _fsync_folder(file.parent)
        return {"sha256": stream.hash.hexdigest(), "bytes": stream.size}


# ---------------------------------------------------------------- helpers


class _HashingStream:
    """A file to write to that keeps the checksum and the size of what went through."""

    def __init__(self, handle):
        self.handle, self.hash, self.size = handle, hashlib.sha256(), 0

    def write(self, data):
        self.handle.write(data)
        self.hash.update(data)
        self.size += memoryview(data).nbytes


def _write_npy(stream, eeg, ch_names, where):
    shape = tuple(int(n) for n in eeg.shape)
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for name, channel in zip(ch_names, eeg, strict=True):
        with np.errstate(over="ignore"):
            channel = np.ascontiguousarray(channel, dtype="<f4")
        if not np.all(np.isfinite(channel)):
            bad = int(np.count_nonzero(~np.isfinite(channel)))
            raise ParameterError(f"{where}: channel {name} holds {bad} values that are not finite; repair or drop it")
        stream.write(channel.data)


def _write_flac(stream, pcm, sr):
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sr, format="FLAC", subtype="PCM_16")
    stream.write(buffer.getvalue())


def _read_manifest(path):
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
        raise DataError(
            f"{file}: expected format version {FORMAT_VERSION}, found {version!r}; ingest the data again with this eegviz"
        )
    if lost := {"dataset", "tables", "files"} - set(manifest):
        raise DataError(f"{file} is damaged (no {', '.join(sorted(lost))}); ingest the data again")
    return manifest


def _fingerprint(files):
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _manifest_sha256(manifest):
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(file):
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fsync_folder(folder):
    if os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _json_ready(value, what):
    try:
        return json.loads(json.dumps(value, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{what} must hold only what JSON can hold: {error}") from error


def _unknown(kind, name, known, path):
    known = [str(item) for item in known]
    near = difflib.get_close_matches(str(name), known, n=3) or known[:5]
    return f"{path} has no {kind} {name!r}; it has {len(known)}, such as {', '.join(near) or 'none'}"


def _check_text(kind, text):
    text = str(text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(f"{kind} {text!r} is not valid Unicode") from error
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ParameterError(f"{kind} {text!r} holds control characters; use letters, digits, '_' and '-'")
    return text


def _check_id(kind, name):
    """Return an id that is also a file name everywhere: no path, not hidden, not too long."""
    if not isinstance(name, str):
        raise ParameterError(f"{kind} must be a str, found {type(name).__name__} {name!r}")
    _check_text(kind, name)
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


def _check_columns(columns, taken, name):
    if clash := set(columns) & set(taken):
        raise ParameterError(f"{name!r}: the store fills the columns {', '.join(sorted(clash))} itself")
    row = {}
    for key, value in columns.items():
        value = value.item() if isinstance(value, np.generic) else value
        if value is not None and not isinstance(value, (str, bool, int, float)):
            raise ParameterError(f"{name!r}: column {key} must be text or a number, found {type(value).__name__}")
        row[_check_text("column", key)] = _check_text(key, value) if isinstance(value, str) else value
    return row


def _columns(first, rows):
    return [*first, *dict.fromkeys(key for row in rows for key in row if key not in first)]


def _format_table(table, name):
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
            columns[column] = ["" if pd.isna(value) else _check_text(column, value) for value in values]
        elif kind == "float":
            columns[column] = ["" if pd.isna(value) else repr(float(value)) for value in values]
        else:
            columns[column] = [str(value) for value in values]
        kinds[column] = kind
    return pd.DataFrame(columns, columns=list(table.columns)).to_csv(index=False, lineterminator="\n"), kinds


def _parse_table(text, kinds, file):
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        if list(table.columns) != list(kinds):
            raise ValueError(f"columns {list(table.columns)}")
        for column, kind in kinds.items():
            if kind == "bool":
                table[column] = table[column] == "True"
            elif kind == "float":
                table[column] = pd.to_numeric(table[column].replace("", "nan"), errors="raise").astype(float)
            else:
                table[column] = table[column].astype(_KINDS[kind])
    except (ValueError, KeyError, pd.errors.ParserError) as error:
        raise DataError(
            f"{file} is damaged: expected the columns {', '.join(kinds)} ({error}); ingest the data again"
        ) from error
    return table
