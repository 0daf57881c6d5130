"""What NMED-T offers beside the cleaned EEG: the raw recordings with their triggers, and the behavioural tables.

**Raw.** ``PP_R_raw.mat`` (v7.3): ``X`` is 129 channels × time, ``fs`` 1000, ``DIN_1`` a cell array whose first row
holds trigger codes and whose second row holds their samples (counted from 1, as MATLAB does). ``DI11`` opens a trial,
``DI21`` … ``DI30`` is a song's onset, ``D128`` ticks every 60 s. Each song becomes ``S02_song21_raw``, and the time
from ``DI11`` to its onset ``S02_song21_silence``.

Functions: :func:`ingest_raw`, :func:`read_ratings`, :func:`read_participants`, :func:`read_taps`.
"""

import numpy as np
import pandas as pd

from eegviz.datasets import _common, _matlab, _nmed
from eegviz.errors import DataError

RAW_CHANNELS = [f"E{index}" for index in range(1, 129)] + ["Cz"]
PARTICIPANTS = [f"S{n:02d}" for n in (*range(2, 18), 19, 20, 21, 23)]
TRIAL = "DI11"
MIN_SILENCE = 1.0  # seconds; anything shorter holds no window


def ingest_raw(path, subject, session, songs, settings, writer, notes):
    """Add the songs, and the silences before them, of a raw recording."""
    with _matlab.Slices(path, "X", ndim=2, small=("fs", "DIN_1")) as slices:
        sfreq = _nmed.read_rate(slices.values["fs"], path, usual=1000)
        codes, samples = read_triggers(slices.values["DIN_1"], path)
        if slices.shape[0] != len(RAW_CHANNELS):
            raise DataError(f"{path}: expected X as channel × time (129, time), found {slices.shape}")
        parts, placed = [], {}
        for trial in find_trials(codes, samples, slices.shape[1], path=path):
            if trial["song"] not in songs:
                notes.problems.append(f"{path}: trigger DI{trial['song']}: expected a song number from 21 to 30")
                continue
            song = songs[trial["song"]]
            with notes.keep_going():
                stimulus = _nmed.place_stimulus(
                    song,
                    (trial["stop"] - trial["onset"]) / sfreq,
                    settings,
                    writer,
                    notes,
                    where=f"{path}, {subject}",
                    may_be_longer=True,
                )
                placed[song.stimulus] = stimulus
                stop = min(trial["stop"], trial["onset"] + round(stimulus.seconds * sfreq))
                parts.append((song.stimulus, "raw", trial["onset"], stop))
            if trial["open"] is None or trial["onset"] - trial["open"] < MIN_SILENCE * sfreq:
                notes.warn(f"{path}, {song.stimulus}: no {TRIAL} a second or more before the song, so no silence")
            else:
                parts.append((song.stimulus, "silence", trial["open"], trial["onset"]))
        _add_parts(path, slices, parts, placed, codes, samples, sfreq, subject, session, settings, writer, notes)


def _add_parts(path, slices, parts, placed, codes, samples, sfreq, subject, session, settings, writer, notes):
    todo, file_stamp = [], _common.stamp(path)
    for song, condition, start, stop in parts:
        stamp = f"{file_stamp}|{placed[song].stamp}" if condition == "raw" else file_stamp
        name = f"{subject}_{song}_{condition}"
        if not writer.has_recording(name, stamp=stamp):
            todo.append((name, song, condition, start, stop, stamp))
    arrays = slices.ranges([item[3:5] for item in todo])
    for (name, song, condition, start, stop, stamp), eeg in zip(todo, arrays, strict=True):
        where = f"{path}, {name}"
        with notes.keep_going(where):
            eeg *= np.float32(settings.factor)
            bads = _common.check_channels(eeg, ch_names=RAW_CHANNELS, sfreq=sfreq, where=where, unit=settings.unit)
            if bads:
                notes.warn(_common.note_bads(bads, where))
            if condition == "raw":
                placed[song].add(writer)
            inside = (samples >= start) & (samples < stop)
            labels = [code for code, is_inside in zip(codes, inside, strict=True) if is_inside]
            writer.add_events(name, (samples[inside] - start) / sfreq, labels)
            writer.add_recording(
                name,
                eeg,
                subject=subject,
                stimulus=song if condition == "raw" else "",
                condition=condition,
                session=session,
                sfreq=sfreq,
                ch_names=RAW_CHANNELS,
                bads=bads,
                stamp=stamp,
                before="" if condition == "raw" else song,
            )


def read_triggers(cells, path):
    """Return the codes (list of str) and samples (ndarray, counted from 0) of ``DIN_1``, in order of time."""
    if isinstance(cells, np.ndarray) and cells.dtype == object and cells.ndim == 2 and 0 not in cells.shape:
        for table in (cells, cells.T):
            if table.shape[0] >= 2 and all(isinstance(item, str) for item in table[0]):
                onsets = [item for item in table[1] if isinstance(item, np.ndarray) and item.size == 1]
                if len(onsets) == table.shape[1]:
                    samples = np.array([round(float(item.item())) - 1 for item in onsets])
                    order = np.argsort(samples, kind="stable")
                    return [table[0][index].strip() for index in order], samples[order]
    found = f"cells of shape {cells.shape}" if isinstance(cells, np.ndarray) else type(cells).__name__
    raise DataError(
        f"{path}: expected DIN_1 as cells, codes in the first row and samples in the second, found {found} of another "
        "content; use the original file"
    )


def find_trials(codes, samples, n_times, *, path):
    """Return the trials of a recording: song number, sample of ``DI11``, of the onset and of the end.

    A trial ends where the next begins. When a song begins twice (a restart), the longer one counts.
    """
    numbers = [int(code[2:]) if code.startswith("DI") and code[2:].isdigit() else None for code in codes]
    starts = [index for index, number in enumerate(numbers) if number is not None and number >= 20]
    if not starts:
        raise DataError(f"{path}: expected triggers DI21 … DI30 in DIN_1, found {', '.join(sorted(set(codes))[:8])}")
    if samples[0] < 0 or samples[-1] >= n_times:
        raise DataError(
            f"{path}: expected the triggers within X ({n_times} samples), found samples {samples[0]} to {samples[-1]}"
        )
    trials, opened = {}, None
    for index, number in enumerate(numbers):
        if codes[index] == TRIAL:
            opened = int(samples[index])
        elif index in starts:
            ends = [at for at in range(index + 1, len(codes)) if codes[at] == TRIAL or at in starts]
            stop = int(samples[ends[0]]) if ends else n_times
            trial = {"song": number, "open": opened, "onset": int(samples[index]), "stop": stop}
            before = trials.get(number)
            if before is None or stop - trial["onset"] > before["stop"] - before["onset"]:
                trials[number] = trial
            opened = None
    return [trial for trial in trials.values() if trial["stop"] > trial["onset"]]


# ---------------------------------------------------------------- tables


def read_ratings(path, numbers, writer, notes):
    """Add the table ``ratings``: subject, stimulus, familiarity, enjoyment (1 to 9)."""
    shape = (len(PARTICIPANTS), len(numbers), 2)
    found = _matlab.variables(path)
    names = [name for name, its in found.items() if its == shape]
    if len(names) != 1:
        raise DataError(f"{path}: expected one variable of shape {shape} (familiarity, enjoyment), found {found}")
    values = _matlab.read(path, names)[names[0]]
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected {names[0]} as numbers, found {type(values).__name__}")
    rows = [
        (subject, f"song{number}", *map(float, values[i, j]))
        for i, subject in enumerate(PARTICIPANTS)
        for j, number in enumerate(numbers)
    ]
    writer.add_table("ratings", pd.DataFrame(rows, columns=["subject", "stimulus", "familiarity", "enjoyment"]))


def read_participants(path, numbers, writer, notes):
    """Add the table ``participants``: subject, then the fields of the struct (age, nYearsTraining …)."""
    found = _matlab.variables(path)
    structs = [value for value in _matlab.read(path, found).values() if isinstance(value, (dict, list))]
    rows = structs[0] if structs and isinstance(structs[0], list) else structs[:1]
    if len(rows) == 1 and all(np.size(value) == np.size(rows[0].get("id")) for value in rows[0].values()):
        rows = [
            dict(zip(rows[0], values, strict=True))
            for values in zip(*(np.ravel(np.asarray(value, object)) for value in rows[0].values()), strict=True)
        ]
    if not rows or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise DataError(
            f"{path}: expected a struct with the fields id, age, nYearsTraining, weeklyListening, found {found}"
        )
    table = pd.DataFrame([{key: _plain(value) for key, value in row.items()} for row in rows])
    subject = [f"S{int(value):02d}" if isinstance(value, float) else str(value) for value in table.pop("id")]
    table.insert(0, "subject", subject)
    writer.add_table("participants", table)


def read_taps(path, numbers, writer, notes):
    """Add the table ``taps``: subject, stimulus, n_taps (numbers in each cell of ``allTappedResponse``)."""
    cells = _matlab.read(path, ["allTappedResponse"])["allTappedResponse"]
    shape = (len(PARTICIPANTS), len(numbers))
    if not isinstance(cells, np.ndarray) or cells.dtype.kind != "O" or cells.shape != shape:
        raise DataError(f"{path}: expected allTappedResponse as {shape} cells, found {getattr(cells, 'shape', cells)}")
    rows = [
        (subject, f"song{number}", int(np.size(cells[i, j])))
        for i, subject in enumerate(PARTICIPANTS)
        for j, number in enumerate(numbers)
    ]
    writer.add_table("taps", pd.DataFrame(rows, columns=["subject", "stimulus", "n_taps"]))


def _plain(value):
    if isinstance(value, np.ndarray):
        items = [_plain(item) for item in value.ravel()] if value.dtype == object else value.ravel().tolist()
        return (
            items[0]
            if len(items) == 1 and isinstance(items[0], str)
            else float(items[0])
            if len(items) == 1
            else (np.nan if not items else "; ".join(map(str, items)))
        )
    return float(value) if isinstance(value, (int, float)) else str(value)


TABLES = {
    r"behaviou?ralRatings\.mat": read_ratings,
    r"participantInfo\.mat": read_participants,
    r"TapIt\.mat": read_taps,
}
