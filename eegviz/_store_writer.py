"""Writing a store (for :func:`eegviz.store.create`): a journal, whole files, one rename at the end."""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz._store_files import (
    CONDITIONS,
    EVENT_COLUMNS,
    JOURNAL,
    RECORDING_COLUMNS,
    STIMULUS_COLUMNS,
    HashingStream,
    WriteError,
    check_columns,
    check_id,
    check_text,
    columns,
    fingerprint,
    format_table,
    fsync_folder,
    manifest_sha256,
    sha256,
    unknown,
    write_flac,
    write_npy,
)
from eegviz.errors import DataError, ParameterError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None


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
                    f"{self.path} is already a store; choose another folder, or overwrite it (--overwrite, overwrite=True)"
                )
        elif self.path.exists() or self.path.is_symlink():
            raise ParameterError(
                f"{self.path} exists and is not a store; nothing in it is touched: choose another folder"
            )

    # -- the with block

    def __enter__(self):
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        journal = self.partial / JOURNAL
        if self.partial.exists() and not journal.exists() and any(self.partial.iterdir()):
            raise ParameterError(
                f"{self.partial} stands in the way and was not made by an ingest (it has no {JOURNAL}); move it away"
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
        fsync_folder(self.partial)
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
            raise ParameterError(unknown("stimulus", stimulus, self._entries["stimulus"], self.partial))
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
        row |= check_columns(columns, STIMULUS_COLUMNS, stimulus)
        pcm = audio.astype(np.float32)
        pcm *= 32768
        np.rint(pcm, out=pcm)
        pcm = np.minimum(pcm, 32767, out=pcm).astype(np.int16)
        file = f"audio/{stimulus}.flac"
        entry = self._write(file, lambda stream: write_flac(stream, pcm, int(sr)))
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
            "subject": check_id("subject", str(subject)),
            "stimulus": check_id("stimulus", stimulus) if stimulus != "" else "",
            "condition": condition,
            "repeat": int(repeat),
            "session": check_text("session", session),
            "sfreq": float(sfreq),
            "n_channels": int(eeg.shape[0]),
            "n_times": int(eeg.shape[1]),
            "start": float(start),
        }
        row |= check_columns(columns, RECORDING_COLUMNS, recording)
        file = f"eeg/{recording}.npy"
        entry = self._write(file, lambda stream: write_npy(stream, eeg, ch_names, where))
        self._done("recording", recording, row=row, file=file, stamp=stamp, ch_names=ch_names, bads=bads, **entry)

    def add_events(self, recording, onsets_s, labels, *, durations_s=None):
        """Note events of a recording: seconds from its beginning, and a label each. Replaces earlier ones."""
        check_id("recording", recording)
        onsets = np.asarray(onsets_s, dtype=float).ravel()
        durations = np.zeros(onsets.size) if durations_s is None else np.asarray(durations_s, float).ravel()
        labels = [check_text("label", label) for label in labels]
        if not onsets.size == durations.size == len(labels):
            raise ParameterError(
                f"events of {recording!r}: {onsets.size} onsets, {durations.size} durations, {len(labels)} labels"
            )
        if not (np.all(np.isfinite(onsets)) and np.all(onsets >= 0) and np.all(durations >= 0)):
            raise ParameterError(f"events of {recording!r}: expected finite seconds ≥ 0, found {onsets.tolist()}")
        self._done("events", recording, onset=onsets.tolist(), duration=durations.tolist(), label=labels)

    def add_table(self, name, table):
        """Add a table (DataFrame) as ``<name>.csv``; a table of the same name is replaced."""
        check_id("table", name)
        if name in ("recordings", "stimuli", "events"):
            raise ParameterError(f"the store writes the table {name!r} itself; choose another name")
        text, kinds = format_table(table, name)
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
        tables = {"recordings": pd.DataFrame(rows, columns=columns(RECORDING_COLUMNS, rows))}
        rows = [entry["row"] for entry in stimuli.values()]
        tables["stimuli"] = pd.DataFrame(rows, columns=columns(STIMULUS_COLUMNS, rows))
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
            text, kinds[name] = format_table(table, name)
            files[f"{name}.csv"] = self._write(f"{name}.csv", lambda stream, text=text: stream.write(text.encode()))
        channels = json.dumps(self._channels(), ensure_ascii=False, indent=1)
        files["channels.json"] = self._write("channels.json", lambda stream: stream.write(channels.encode()))
        for group in ("stimulus", "recording", "table"):
            for entry in self._entries[group].values():
                files[entry["file"]] = {"sha256": entry["sha256"], "bytes": entry["bytes"]}
                if group == "table":
                    kinds[entry["id"]] = entry["kinds"]
        manifest = {**self._head, "tables": kinds, "files": dict(sorted(files.items()))}
        manifest["fingerprint"] = fingerprint(files)
        manifest["sha256"] = manifest_sha256(manifest)
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
        fsync_folder(self.path.parent)
        (self.path / JOURNAL).unlink()
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
                elif item.name != JOURNAL:
                    item.unlink()
            return None
        latest = {(row["kind"], row["id"]): row for row in rows[1:]}
        kept = [row for row in latest.values() if "file" not in row or self._is_whole(row)]
        self._journal.truncate(0)
        self._log({"identity": self._identity}, *kept)
        return kept

    def _is_whole(self, entry):
        file = self.partial / entry["file"]
        return file.is_file() and file.stat().st_size == entry["bytes"] and sha256(file) == entry["sha256"]

    def _sweep(self):
        """Remove files of the partial store that the journal does not hold."""
        known = {entry["file"] for group in self._entries.values() for entry in group.values() if "file" in entry}
        for file in self.partial.rglob("*"):
            name = file.relative_to(self.partial).as_posix()
            if file.is_file() and name not in known and name != JOURNAL:
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
        check_id(kind, name)
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
                stream = HashingStream(handle)
                write(stream)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, file)
        except OSError as error:
            raise WriteError(f"{file} cannot be written ({error}); is the disk full or read-only?") from error
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(file.parent)
        return {"sha256": stream.hash.hexdigest(), "bytes": stream.size}
