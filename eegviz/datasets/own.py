"""Your own recordings: any file that MNE reads, a sound file each, and a table that says who heard what.

The table is a CSV file, paths relative to it, one row a recording::

    recording,eeg,audio,subject,start,condition,repeat,session
    P01_waltz,eeg/P01.fif,sounds/waltz.wav,P01,-2.5,listening,1,
    P01_rest,eeg/P01_rest.vhdr,,P01,0,silence,1,

``start`` is the second of the sound at which the EEG file begins: 0 when both begin together, -2.5 when the sound began
2.5 s into the EEG (those 2.5 s are cut off), 30 when the EEG begins in the middle of the sound. EEG beyond the end of
the sound is cut off too. ``condition``, ``repeat`` and ``session`` may be left out; any further column is kept. The column
``piece`` names the music of which a sound is a version (another take, an arrangement): no split calls one version unseen
while another is in training. A row without a sound gives a recording without a stimulus. The stimulus' id is the name of
the sound file.

Only EEG channels are kept; recordings may differ in rate and channels. The store gets the smallest standard montage
whose names hold all channels of all recordings, or none.
"""

import math
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import store
from eegviz.datasets import _audio, _common
from eegviz.errors import DataError, ParameterError

NAME = "own"
TITLE = "Own recordings"
LICENCE = "not stated"
CITATION = "not stated"
WHERE = "your own files"
REQUIRED = ("recording", "eeg", "audio", "subject", "start")
OPTIONAL = {"condition": "listening", "repeat": "1", "session": ""}
MONTAGES = (  # smallest first: the first that holds every name is taken
    "biosemi16", "GSN-HydroCel-32", "biosemi32", "biosemi64", "standard_1020", "GSN-HydroCel-65_1.0", "biosemi128",
    "GSN-HydroCel-129", "GSN-HydroCel-257", "standard_1005",
)  # fmt: skip
MIN_SECONDS = 1.0


def ingest(
    source,
    store_path,
    *,
    audio=None,
    unit="V",
    title=TITLE,
    licence=LICENCE,
    citation=CITATION,
    overwrite=False,
):
    """Read own recordings into a store.

    Parameters
    ----------
    source : str or Path
        The table (CSV), or a folder that holds it as ``recordings.csv``.
    store_path : str or Path
    audio : str or Path, optional
        Folder to which the table's ``audio`` paths are relative; the table's own folder when not given.
    unit : {"V", "uV", "mV", "nV"}
        MNE gives volts; name another unit when a file states its unit wrongly.
    title, licence, citation : str
        Kept in the manifest.
    overwrite : bool

    Returns
    -------
    eegviz.datasets.IngestReport

    Raises
    ------
    DataError
        When the table is not one, or nothing could be read.
    """
    table_path = Path(source) / "recordings.csv" if Path(source).is_dir() else Path(source)
    rows = read_table(table_path)
    factor = _common.scale(unit)
    folder = table_path.parent
    sounds = folder if audio is None else Path(audio)
    if not sounds.is_dir():
        raise DataError(f"--audio {audio}: expected a folder of sound files, found {_found(sounds)}")
    plans = [_Plan(row, folder, sounds, index + 2, table_path) for index, row in enumerate(rows)]
    _refuse_doubles(plans)
    ingested = _Module(title, licence, citation)
    identity = {"source": str(table_path.resolve()), "audio": str(sounds.resolve()), "unit": unit}
    return _common.run(
        store_path,
        [partial(_ingest_row, plan, factor, unit) for plan in plans],
        module=ingested,
        montage=find_montage(plans),
        identity=identity,
        overwrite=overwrite,
    )


def read_table(path):
    """Return the rows of the table as dicts of text."""
    path = Path(path)
    expected = f"a CSV file with the columns {','.join(REQUIRED)}"
    if not path.is_file():
        raise DataError(f"{path}: expected {expected}, found {_found(path)}; write it with a spreadsheet or an editor")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected {expected}, found: {error}; save it as CSV in UTF-8") from error
    table.columns = [str(column).strip() for column in table.columns]
    if missing := [column for column in REQUIRED if column not in table.columns]:
        raise DataError(
            f"{path}: expected {expected}, found no column {', '.join(missing)} among {', '.join(table.columns)}"
        )
    if not len(table):
        raise DataError(f"{path}: expected one row a recording, found none")
    return [{key: str(value).strip() for key, value in row.items()} for row in table.to_dict("records")]


def find_montage(plans):
    """Return the name of the smallest standard montage that holds all channel names, or None."""
    wanted = set()
    for plan in plans:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are reported when the row is read
                wanted |= {name.lower() for name in open_raw(plan.eeg)[1]}
        except DataError:
            continue  # so is this
    return montage_of(wanted)


def montage_of(ch_names):
    """Return the name of the smallest standard montage that holds these channels, whatever their case, or None.

    Examples
    --------
    >>> montage_of(["Fp1", "AF7", "iz"])
    'biosemi64'
    """
    wanted = {name.lower() for name in ch_names}
    for name in MONTAGES if wanted else ():
        if wanted <= {channel.lower() for channel in store.make_montage(name).ch_names}:
            return name
    return None


def montage_of_files(paths, read_names):
    """Return the smallest standard montage that holds the channels of the first file that can be read, or None.

    Parameters
    ----------
    paths : sequence of Path
    read_names : callable
        From a path to its channel names; a file for which it raises DataError is passed over, because whoever reads the
        file reports that.
    """
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are reported when the file is read
                return montage_of(read_names(path))
        except DataError:
            continue  # so is this
    return None


class _Module:
    """What :func:`eegviz.datasets._common.run` asks of a data set, with the user's own title."""

    def __init__(self, title, licence, citation):
        self.NAME, self.WHERE = NAME, WHERE
        self.TITLE, self.LICENCE, self.CITATION = title, licence, citation


class _Plan:
    """A row of the table, with its files and its numbers."""

    def __init__(self, row, folder, sounds, line, table):
        self.row, self.where = row, f"{table}, line {line}"
        self.recording = row["recording"]
        self.eeg = folder / row["eeg"]
        self.sound = sounds / row["audio"] if row["audio"] else None
        self.stimulus = self.sound.stem if self.sound else ""
        self.piece = row.get("piece", "")

    def number(self, column, convert):
        text = self.row.get(column) or OPTIONAL.get(column, "0")
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            kind = "a whole number" if convert is int else "seconds"
            raise DataError(f"{self.where}: expected {kind} in the column {column}, found {text!r}")
        return value


def _refuse_doubles(plans):
    seen, sounds, pieces = {}, {}, {}
    for plan in plans:
        if plan.recording in seen:
            raise DataError(
                f"{plan.where}: the recording {plan.recording!r} was named in {seen[plan.recording]} already"
            )
        seen[plan.recording] = plan.where
        if plan.sound is not None:
            first = sounds.setdefault(plan.stimulus, plan.sound)
            if first.resolve() != plan.sound.resolve():
                raise DataError(
                    f"{plan.where}: {plan.sound} and {first} would both be the stimulus {plan.stimulus!r}; rename one"
                )
            if pieces.setdefault(plan.stimulus, plan.piece) != plan.piece:
                raise DataError(
                    f"{plan.where}: the sound {plan.stimulus!r} is of the piece {plan.piece!r} here and of "
                    f"{pieces[plan.stimulus]!r} before; expected one piece a sound"
                )


def _ingest_row(plan, factor, unit, writer, notes):
    try:
        _add_row(plan, factor, unit, writer, notes)
    except ParameterError as error:  # such as an id that cannot be a file name
        raise DataError(f"{plan.where}: {error}") from error


def _add_row(plan, factor, unit, writer, notes):
    if not plan.recording or not plan.row["subject"]:
        raise DataError(f"{plan.where}: expected a recording and a subject, found an empty field")
    start, repeat = plan.number("start", float), plan.number("repeat", int)
    for file, column in ((plan.eeg, "eeg"), (plan.sound, "audio")):
        if file is not None and not file.is_file():
            raise DataError(f"{plan.where}: {file}: expected the file of the column {column}, found {_found(file)}")
    stamp = _common.stamp(plan.eeg, *([plan.sound] if plan.sound else [])) + f"|{sorted(plan.row.items())}"
    if writer.has_recording(plan.recording, stamp=stamp):
        return
    with notes.python_warnings(plan.eeg):
        raw, names = open_raw(plan.eeg)
        sfreq = float(raw.info["sfreq"])
        first, last = 0, len(raw.times)
        if plan.sound is not None:
            first, last, start = _overlap(plan, start, sfreq, last, notes)
        elif start:
            raise DataError(f"{plan.where}: start={start:g}, but there is no sound; leave start at 0 or name the sound")
        if last - first < MIN_SECONDS * sfreq:
            raise DataError(
                f"{plan.where}: {plan.eeg}: expected at least {MIN_SECONDS:g} s of EEG while the sound plays, found "
                f"{max(0, last - first) / sfreq:.2f} s; check start"
            )
        eeg = read_eeg(raw, names, first, last, plan.eeg)
        onsets, durations, labels = _events(raw, first / sfreq, last / sfreq)
        stated_bads = [name for name in raw.info["bads"] if name in names]
        del raw
    eeg *= np.float32(factor)
    where = f"{plan.eeg} ({plan.recording})"
    found_bads = _common.check_channels(eeg, ch_names=names, sfreq=sfreq, where=where, unit=unit)
    if found_bads:
        notes.warn(_common.note_bads(found_bads, where))
    sound_stamp = f"{_common.stamp(plan.sound)}|{plan.piece}" if plan.sound is not None else ""
    if plan.sound is not None and not writer.has_stimulus(plan.stimulus, stamp=sound_stamp):
        y = _audio.read(plan.sound)
        writer.add_stimulus(
            plan.stimulus,
            y,
            sr=_audio.SR,
            title=plan.stimulus,
            stamp=sound_stamp,
            audio_file=plan.sound.name,
            **({"piece": plan.piece} if plan.piece else {}),
        )
    if labels:
        writer.add_events(plan.recording, onsets, labels, durations_s=durations)
    extra = {key: value for key, value in plan.row.items() if key not in (*REQUIRED, *OPTIONAL, "piece")}
    writer.add_recording(
        plan.recording,
        eeg,
        subject=plan.row["subject"],
        stimulus=plan.stimulus,
        condition=plan.row.get("condition") or OPTIONAL["condition"],
        repeat=repeat,
        session=plan.row.get("session", ""),
        sfreq=sfreq,
        start=start,
        ch_names=names,
        bads=[name for name in names if name in {*stated_bads, *found_bads}],
        stamp=stamp,
        eeg_file=plan.eeg.name,
        **extra,
    )


def _overlap(plan, start, sfreq, n_times, notes):
    """Return the samples during which the sound plays, and the second of the sound at the first of them."""
    seconds = _audio.duration(plan.sound)
    first = max(0, math.ceil(round(-start * sfreq, 6)))
    last = min(n_times, math.floor(round((seconds - start) * sfreq, 6)))
    for cut, part in ((first, "before the sound begins"), (n_times - last, "after the sound ends")):
        if 0 < cut < n_times and cut > _audio.TOLERANCE * sfreq:
            notes.warn(f"{plan.eeg} ({plan.recording}): {cut / sfreq:.2f} s {part} cut off")
    return first, last, start + first / sfreq


def open_raw(path):
    """Open any EEG file that MNE reads, without its data; return it and the names of its EEG channels."""
    import mne

    if not path.is_file():
        raise DataError(f"{path}: expected an EEG file, found {_found(path)}")
    try:
        raw = mne.io.read_raw(path, preload=False, verbose="error")
        picks = mne.pick_types(raw.info, meg=False, eeg=True, exclude=[])
    except Exception as error:  # each format fails in its own way; the message names file and cause
        text = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path}: expected an EEG file that mne.io.read_raw opens (.fif .bdf .edf .set .vhdr …), found: "
            f"{type(error).__name__}: {text}; export it again"
        ) from error
    if not len(picks):
        kinds = ", ".join(sorted(set(raw.get_channel_types())))
        raise DataError(f"{path}: expected EEG channels, found only {kinds}; set the channel types and save it again")
    return raw, [raw.ch_names[index] for index in picks]


def read_eeg(raw, names, first, last, path):
    """Read channels in blocks of time, so that the double-precision copy stays small."""
    eeg = np.empty((len(names), last - first), np.float32)
    step = max(1, 2**22 // len(names))
    try:
        for at in range(first, last, step):
            stop = min(at + step, last)
            eeg[:, at - first : stop - first] = raw.get_data(names, at, stop, verbose="error")
    except Exception as error:  # as above: a damaged file fails in the way of its format
        text = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} is damaged: expected {len(raw.times)} samples, found {type(error).__name__}: {text}; copy it again"
        ) from error
    return eeg


def _events(raw, begin, end):
    """Return onset, duration and label of the annotations between two seconds of the file."""
    rows = []
    for item in raw.annotations:
        onset = item["onset"] - (raw.first_time if raw.annotations.orig_time is not None else 0.0)
        if begin <= onset < end:
            duration = min(float(item["duration"]), end - onset)
            label = "".join(character for character in str(item["description"]) if character.isprintable())
            rows.append((onset - begin, duration, label))
    return tuple(map(list, zip(*rows, strict=True))) if rows else ([], [], [])


def _found(path):
    return "a folder" if path.is_dir() else "nothing" if not path.exists() else "another kind of file"
