"""What NMED-T and NMED-H share: one MATLAB file a stimulus, channel × time × listener, and the user's own sound.

A file is read one listener at a time; the sound is read once a stimulus. Functions: :func:`find_files`,
:func:`open_source`, :func:`ingest_file`, :func:`place_stimulus`.
"""

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eegviz.datasets import _audio, _common, _matlab
from eegviz.errors import DataError

MONTAGE = "GSN-HydroCel-129"
CLEAN_CHANNELS = [f"E{index}" for index in range(1, 125)] + ["Cz"]
SFREQ_RANGE = (16.0, 20000.0)  # Hz; outside, "fs" is not a rate


@dataclass(frozen=True)
class Song:
    """A stimulus: its id, title, the names its sound file may have, and extra columns."""

    stimulus: str
    title: str
    sound_names: tuple
    columns: dict = field(default_factory=dict)


def stand_ins(songs):
    """The songs of simulated files: their numbers, but not the titles, artists and tempi of music that nobody played."""
    dropped = ("artist", "bpm", "piece")
    return {
        number: replace(song, title="simulated", columns={k: v for k, v in song.columns.items() if k not in dropped})
        for number, song in songs.items()
    }


@dataclass(frozen=True)
class SongFile:
    """A cleaned file: where it is, what it holds, and what its variables are called."""

    path: Path
    song: Song
    data_key: str
    subs_key: str
    repeat: int = 1
    session: str = ""


@dataclass
class Settings:
    """The options of an ingest, checked."""

    unit: str
    factor: float
    library: _audio.Library
    offsets: dict
    max_mismatch: float


def open_source(source, *, audio, unit, max_mismatch, offsets, known, where_to_get):
    """Check the options and the folders.

    Returns
    -------
    source : Path
    settings : Settings
    identity : dict
        For :func:`eegviz.store.create`.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: expected the folder of the data set, found nothing; get it from {where_to_get}")
    folder = source if source.is_dir() else source.parent
    settings = Settings(
        unit=str(unit),
        factor=_common.scale(unit),
        library=_audio.Library(folder if audio is None else audio),
        offsets=_audio.read_offsets(offsets, known=known),
        max_mismatch=_audio.check_mismatch(max_mismatch),
    )
    identity = {
        "source": str(source.resolve()),
        "audio": str(settings.library.folder.resolve()),
        "unit": unit,
        "max_mismatch": settings.max_mismatch,
        "offsets": settings.offsets,
    }
    return source, settings, identity


def find_files(source, pattern):
    """Return (path, match) of the files whose name matches, sorted by name, and a problem for each double."""
    files = [source] if source.is_file() else sorted(source.rglob("*"), key=lambda file: (file.name.lower(), file))
    found, problems = {}, []
    for file in files:
        match = re.fullmatch(pattern, file.name, flags=re.IGNORECASE)
        if match is None or not file.is_file():
            continue
        if file.name.lower() in found:
            first = found[file.name.lower()][0]
            problems.append(f"{file}: a file of this name was found already ({first}); keep one of them")
        else:
            found[file.name.lower()] = (file, match)
    return list(found.values()), problems


def nothing_found(source, expected, where_to_get):
    """Return the error for a source without any file of the data set."""
    files = [source] if source.is_file() else [file for file in sorted(source.rglob("*")) if file.is_file()]
    names = ", ".join(file.name for file in files[:5]) + (" …" if len(files) > 5 else "")
    return DataError(
        f"{source}: expected {expected}, found {f'{len(files)} other files ({names})' if files else 'no file'}; "
        f"get them from {where_to_get}"
    )


def ingest_file(file, settings, writer, notes):
    """Add the recordings of a cleaned file, those that are fine."""
    with _matlab.Slices(file.path, file.data_key, ndim=3, small=("fs", file.subs_key)) as slices:
        sfreq = read_rate(slices.values["fs"], file.path)
        subjects = read_names(slices.values[file.subs_key], file.path, file.subs_key)
        check_shape(slices.shape, len(subjects), file)
        stimulus = place_stimulus(file.song, slices.shape[1] / sfreq, settings, writer, notes, where=file.path)
        n_times = min(slices.shape[1], round(stimulus.seconds * sfreq))
        stamp = f"{_common.stamp(file.path)}|{stimulus.stamp}"
        suffix = f"_r{file.repeat}" if file.repeat > 1 else ""
        ids = [f"{subject}_{file.song.stimulus}{suffix}" for subject in subjects]
        todo = [index for index, name in enumerate(ids) if not writer.has_recording(name, stamp=stamp)]
        parts = slices.ranges([(index, index + 1) for index in todo])
        for index, part in zip(todo, parts, strict=True):
            where = f"{file.path}, {subjects[index]}"
            with notes.keep_going(where):
                eeg = part[:, :n_times, 0]
                eeg *= np.float32(settings.factor)
                bads = _common.check_channels(
                    eeg, ch_names=CLEAN_CHANNELS, sfreq=sfreq, where=where, unit=settings.unit
                )
                if bads:
                    notes.warn(_common.note_bads(bads, where))
                stimulus.add(writer)
                writer.add_recording(
                    ids[index],
                    eeg,
                    subject=subjects[index],
                    stimulus=file.song.stimulus,
                    repeat=file.repeat,
                    session=file.session,
                    sfreq=sfreq,
                    ch_names=CLEAN_CHANNELS,
                    bads=bads,
                    stamp=stamp,
                )


@dataclass
class Placed:
    """A stimulus lined up with its EEG: what to add to the store, once, and how long it is."""

    song: Song
    sound: Path
    lead_in: float
    seconds: float
    stamp: str

    def add(self, writer):
        """Add the sound unless it is there already."""
        if writer.has_stimulus(self.song.stimulus, stamp=self.stamp):
            return
        y = _audio.read(self.sound, lead_in=self.lead_in)
        writer.add_stimulus(
            self.song.stimulus,
            y[: math.ceil(self.seconds * _audio.SR)],
            sr=_audio.SR,
            title=self.song.title,
            stamp=self.stamp,
            audio_file=self.sound.name,
            lead_in=self.lead_in,
            **self.song.columns,
        )


def place_stimulus(song, eeg_seconds, settings, writer, notes, *, where, may_be_longer=False):
    """Find the sound of a song and line it up with EEG of a given length.

    The first file of a stimulus decides how much of the sound is kept; a second hearing is cropped to that.

    Parameters
    ----------
    song : Song
    eeg_seconds : float
    settings : Settings
    writer : eegviz.store.Writer
    notes : Notes
    where : str or Path
    may_be_longer : bool
        Raw EEG runs on after the song: it is cropped without a word, and only EEG that is too short is refused.

    Returns
    -------
    Placed
    """
    sound = settings.library.find(song.sound_names)
    lead_in = settings.offsets.get(song.stimulus, 0.0)
    stamp = f"{_common.stamp(sound)}|{lead_in!r}"
    audio_seconds = _audio.duration(sound) - lead_in
    if may_be_longer:
        eeg_seconds = min(eeg_seconds, max(audio_seconds, 0))
    place = f"{where}, {song.stimulus} ({sound.name})"
    seconds, warning = _audio.align(eeg_seconds, audio_seconds, max_mismatch=settings.max_mismatch, where=place)
    notes.warn(warning)
    if writer.has_stimulus(song.stimulus, stamp=stamp):
        seconds = min(seconds, writer.stimulus_row(song.stimulus)["duration"])
    elif may_be_longer:
        seconds = audio_seconds
    return Placed(song, sound, lead_in, seconds, stamp)


def read_rate(value, path, *, name="fs", usual=125):
    """Return a rate in Hz as a float; ``name`` and the ``usual`` value of the data set are for the message."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiu" or value.size != 1 or not SFREQ_RANGE[0] <= float(value.item()) <= SFREQ_RANGE[1]:
        shown = value.ravel()[:3].tolist()
        raise DataError(f"{path}: expected {name} as one rate in Hz ({usual:g}), found {shown} of shape {value.shape}")
    return float(value.item())


def read_names(value, path, key):
    """Return a cell array of strings as a list."""
    items = value.ravel().tolist() if isinstance(value, np.ndarray) and value.dtype == object else value
    items = [items] if isinstance(items, str) else items
    if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
        raise DataError(f"{path}: expected {key} as a cell array of strings such as 'S02', found {_kind(value)}")
    items = [item.strip() for item in items]
    if "" in items or len(set(items)) != len(items):
        raise DataError(f"{path}: expected different names in {key}, found {', '.join(items)}")
    return items


def check_shape(shape, n_subjects, file):
    """Refuse an array that is not channel × time × listener."""
    expected = (len(CLEAN_CHANNELS), "time", n_subjects)
    shown = f"({expected[0]}, time, {n_subjects})"
    if shape[0] != expected[0] or shape[2] != n_subjects or shape[1] < 1:
        reason = f"{n_subjects} names in {file.subs_key}" if shape[2] != n_subjects else "125 channels"
        raise DataError(
            f"{file.path}: expected {file.data_key} as channel × time × listener {shown}, found {shape}, which does "
            f"not fit {reason}; use the original file"
        )


def _kind(value):
    if isinstance(value, np.ndarray):
        return f"{'cells' if value.dtype == object else 'numbers'} of shape {value.shape}"
    return type(value).__name__


def complain(line, writer, notes):
    """A job that only says why a file is left out."""
    raise DataError(line)
