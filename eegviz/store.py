"""The store: every data set on disk in one form.

A store is a folder that is written once and then only read::

    manifest.json      format version, data set, licence, citation, sha-256 and size of every file
    recordings.csv     one row a recording (:data:`RECORDING_COLUMNS`, then extras)
    stimuli.csv        one row a stimulus (:data:`STIMULUS_COLUMNS`, then extras)
    events.csv …       optional further tables
    channels.json      montage, channel layouts, bad channels
    eeg/<recording>.npy      float32, volts, (n_channels, n_times), memory-mapped when read
    audio/<stimulus>.flac    16 bit, mono

It is written to the sibling folder ``<path>.partial`` and renamed at the end. Every file goes to a temporary
name beside its place, is fsynced and moved by ``os.replace``; ``journal.jsonl`` then notes it as done. A killed
writer therefore leaves no half store, and the next writer of the same store skips what the journal holds.

Functions: :func:`open` (read), :func:`create` (write), :func:`verify` (compare with the checksums).
Shown in notebook 01 (data tour).
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from eegviz._store_files import (
    CONDITIONS,
    EVENT_COLUMNS,
    FORMAT_VERSION,
    JOURNAL,
    RECORDING_COLUMNS,
    STIMULUS_COLUMNS,
    WriteError,
    fingerprint,
    json_ready,
    manifest_sha256,
    parse_table,
    read_manifest,
    sha256,
    unknown,
)
from eegviz._store_writer import Writer
from eegviz.errors import DataError, ParameterError

__all__ = [
    "CACHE", "CONDITIONS", "EVENT_COLUMNS", "FORMAT_VERSION", "RECORDING_COLUMNS", "STIMULUS_COLUMNS",
    "Store", "WriteError", "Writer", "create", "make_montage", "open", "verify",
]  # fmt: skip

CACHE = "cache"  # folder of features made from the store; not part of it


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
    eegviz.errors.DataError: no/such/folder is not a store: expected a folder with manifest.json, found...
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
        self.manifest = read_manifest(self.path)
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
        return fingerprint(self.manifest["files"])

    def table(self, name):
        """Return a table (``events``, ``participants`` …) as a new DataFrame; text stays text."""
        return self._table(name).copy()

    def row(self, recording):
        """Return one row of :attr:`recordings` as a dict."""
        table = self._table("recordings")
        found = np.flatnonzero(table["recording"].to_numpy() == recording)
        if not len(found):
            raise ParameterError(unknown("recording", recording, table["recording"], self.path))
        row = table.iloc[int(found[0])].to_dict()
        return {key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()}

    def eeg(self, recording):
        """Return the EEG as a read-only memory map, float32 volts, shape (n_channels, n_times)."""
        row = self.row(recording)
        file = self.path / "eeg" / f"{recording}.npy"
        try:
            eeg = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{file} cannot be read ({error}); check the store with eegviz info --verify, and ingest the data again"
            ) from error
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
            raise ParameterError(unknown("stimulus", stimulus, known, self.path))
        file = self.path / "audio" / f"{stimulus}.flac"
        try:
            return soundfile.read(file, dtype="float32")
        except (OSError, soundfile.SoundFileError) as error:
            raise DataError(
                f"{file} cannot be read ({error}); check the store with eegviz info --verify, and ingest the data again"
            ) from error

    def has_table(self, name):
        """Say whether the store holds a table of this name."""
        return name in self.manifest["tables"]

    def _table(self, name):
        if not self.has_table(name):
            raise ParameterError(unknown("table", name, self.manifest["tables"], self.path))
        if name not in self._tables:
            text = self._read_text(f"{name}.csv")
            self._tables[name] = parse_table(text, self.manifest["tables"][name], self.path / f"{name}.csv")
        return self._tables[name]

    def _channel_row(self, recording):
        rows = self._channels["recordings"]
        if recording not in rows:
            raise ParameterError(unknown("recording", recording, rows, self.path))
        return rows[recording]

    def _read_text(self, name):
        """Read a table or the channels; they are small, so their checksum is compared every time."""
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.path / name} cannot be read ({error}); ingest the data again") from error
        if hashlib.sha256(data).hexdigest() != self.manifest["files"].get(name, {}).get("sha256"):
            raise DataError(
                f"{self.path / name} is damaged: it is not the file that the manifest describes; ingest the data again"
            )
        return data.decode()


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
        manifest = read_manifest(path)
    except DataError as error:
        return [str(error)]
    if manifest.get("sha256") != manifest_sha256(manifest):
        return [f"manifest.json was changed after it was written (in {path}), so its checksums mean nothing"]
    problems = []
    for name, entry in sorted(manifest["files"].items()):
        file = path / name
        if not file.is_file():
            problems.append(f"{name} is missing")
        elif file.stat().st_size != entry["bytes"]:
            problems.append(f"{name} has {file.stat().st_size} bytes, expected {entry['bytes']}")
        elif sha256(file) != entry["sha256"]:
            problems.append(f"{name} was changed: its sha-256 differs from the manifest's")
    known = {*manifest["files"], "manifest.json", JOURNAL}
    present = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    strange = {name for name in present - known if not name.startswith(f"{CACHE}/")}
    problems.extend(f"{name} does not belong to the store" for name in sorted(strange))
    return problems


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
        What makes this ingest what it is (source, options; JSON). It is kept only while writing: an
        interrupted ``<path>.partial`` of another identity is thrown away rather than mixed with this one.
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
    ...         "S01_song01", np.zeros((2, 125)), sfreq=125, ch_names=["Cz", "Pz"], subject="S01", stimulus="song01"
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
            "about": json_ready(about or {}, "about"),
        },
        montage=montage,
        identity=json_ready(identity or {}, "identity"),
        overwrite=overwrite,
    )
