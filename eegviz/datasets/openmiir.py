"""OpenMIIR: ten people hear and imagine twelve short pieces, with and without a cue.

Source: Stober, Sternin, Owen, Grahn (2015), "Towards music imagery information retrieval: introducing the OpenMIIR
dataset of EEG recordings from music perception and imagination", ISMIR; https://github.com/sstober/openmiir, PDDL.

``PXX-raw.fif``: 64 channels at 512 Hz, uncleaned, in volts. The channel ``STI 014`` holds an event for each trial,
``stimulus × 10 + condition``; where the next event of a condition with sound (1 and 2) is 1000, the sound began there, and
that moment is taken. Other codes of four digits (noise, feedback) are passed over.

=  ======================  =========  ===========================================================
n  task                    condition  kept
=  ======================  =========  ===========================================================
1  perception              listening  the whole sound, with its cue clicks
2  imagery with cue        imagery    from the end of the clicks on, for the clicks were heard
3  imagery without cue     imagery    from the event on, where the imagined music begins
4  imagery with feedback   imagery    the same
=  ======================  =========  ===========================================================

A sound begins with cue clicks, and **the music begins before the last click has died away**: the clicks alone
(``S01_…_cue.wav``) last 1.8913 s where the music of stimulus 1 begins at second 1.632. So there are two numbers. Where the
music begins (`MUSIC_AT`, or ``offsets``) is the second of the sound to which the EEG of conditions 3 and 4 belongs; the
length of the clicks' file is the point from which the EEG of condition 2 is kept, and only that condition needs the file.

The sounds are in the authors' repository, under ``audio/``, for use within the copyright law of your country. They are
named like ``S01_Chim Chim Cheree_lyrics.wav``, and there are two versions, told by the folder's name: ``full.v1``,
``cues.v1`` (P01 to P08) and ``full.v2``, ``cues.v2`` (from P09 on). Five sounds differ between them; the other seven are
the same file (``full.v1`` links to it), hence **one stimulus**: ``stim21``, beside ``stim01_v1`` and ``stim01_v2``. Sounds
in other folders stand for both versions. With lyrics or without, in v1 or v2, a song is the same ``piece``.

Recordings are called ``P01_stim21_c3_r2``; ``repeat`` counts a stimulus' trials of "listening" or "imagery" in time.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sys import modules

import numpy as np

from eegviz.datasets import _audio, _common, _nmed, own
from eegviz.errors import DataError

NAME = "openmiir"
TITLE = "OpenMIIR: music heard and imagined"
LICENCE = "PDDL-1.0"
CITATION = (
    "Stober, S., Sternin, A., Owen, A. M., Grahn, J. A. (2015). Towards music imagery information retrieval: introducing "
    "the OpenMIIR dataset of EEG recordings from music perception and imagination. ISMIR. "
    "https://github.com/sstober/openmiir"
)
WHERE = "https://github.com/sstober/openmiir"
TITLES = {
    1: "Chim Chim Cheree (lyrics)", 2: "Take Me Out To The Ballgame (lyrics)", 3: "Jingle Bells (lyrics)",
    4: "Mary Had A Little Lamb (lyrics)", 11: "Chim Chim Cheree", 12: "Take Me Out To The Ballgame", 13: "Jingle Bells",
    14: "Mary Had A Little Lamb", 21: "Emperor Waltz", 22: "Harry Potter Theme", 23: "Star Wars Theme",
    24: "Eine kleine Nachtmusik",
}  # fmt: skip
TASKS = {1: "perception", 2: "imagery with cue", 3: "imagery without cue", 4: "imagery with feedback"}
WITH_SOUND = (1, 2)  # conditions: in the others nothing is played, and an event 1000 behind them is not theirs
STIM_CHANNEL = "STI 014"
MUSIC_AT = {  # second of the sound at which the music begins: of v1 and v2, or of the one file that both share
    1: (1.65, 1.632), 2: (1.867, 1.831), 3: (2.317,), 4: (2.988,), 11: (1.669, 1.653), 12: (1.9, 1.869), 13: (2.364,),
    14: (2.975,), 21: (1.995,), 22: (2.046, 2.182), 23: (2.307,), 24: (3.365,),
}  # fmt: skip
# Source: "# offset of cue", the first line of meta/beats.v1/1_beats.txt … and meta/beats.v2/… in the authors' repository.
VERSIONS = ("v1", "v2")
AUDIO_ONSET, SPECIAL = 1000, 1000  # the sound began; codes from here on are no trials
LAST_OF_V1 = 8  # participant
MIN_SECONDS = 1.0
SOUND_ADVICE = (
    f"the sounds are in {WHERE}, folder audio (full.v1 holds five, the others are those of full.v2; clicks alone in cues.v1 "
    "and cues.v2): keep the folders' names and pass the folder above them as --audio"
)


def ingest(source, store_path, *, audio=None, unit="V", offsets=None, overwrite=False):
    """Read OpenMIIR into a store.

    Parameters
    ----------
    source : str or Path
        Folder of the ``PXX-raw.fif`` (or one such file), at any depth.
    store_path : str or Path
    audio : str or Path, optional
        Folder of the sounds and cues; ``source`` when not given.
    unit : {"V", "uV", "mV", "nV"}
        MNE gives volts; name another unit when a file states its unit wrongly.
    offsets : str, Path or dict, optional
        CSV ``stimulus,offset`` (stim01 … stim24): second of the sound at which the music begins, instead of
        `MUSIC_AT`.
    overwrite : bool

    Returns
    -------
    eegviz.datasets.IngestReport

    Raises
    ------
    DataError
        When nothing could be read.
    """
    source, settings, identity = _nmed.open_source(
        source, audio=audio, unit=unit, max_mismatch=0.0, offsets=offsets,
        known=[f"stim{number:02d}" for number in TITLES], where_to_get=WHERE,
    )  # fmt: skip
    files, doubles = _nmed.find_files(source, r"P(\d+)-raw\.fif(\.gz)?")
    if not files:
        raise _nmed.nothing_found(source, "files named P01-raw.fif (P01 to P14)", WHERE)
    jobs = [partial(_nmed.complain, line) for line in doubles]
    placed = {}
    for path, match in files:
        jobs.append(partial(_ingest_file, path, int(match[1]), placed, settings))
    return _common.run(
        store_path, jobs, module=modules[__name__], identity=identity, overwrite=overwrite,
        montage=own.montage_of_files([path for path, _ in files], lambda path: own.open_raw(path)[1]),
    )  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """A trial: what was heard or imagined, the samples from which on and before which the EEG belongs to it."""

    stimulus: int
    condition: int
    onset: int
    end: int


def trials(events, *, n_times):
    """The trials of a list of events.

    Parameters
    ----------
    events : array of int [shape=(n, 2)]
        Sample and code of each event, in time.
    n_times : int
        Samples of the file.

    Returns
    -------
    trials : list of Trial
    unknown : list of int
        Codes below 1000 that are no stimulus × 10 + condition.

    Examples
    --------
    >>> found, _ = trials([[100, 211], [150, 1000], [900, 14]], n_times=2000)
    >>> [(one.stimulus, one.condition, one.onset, one.end) for one in found]
    [(21, 1, 150, 900), (1, 4, 900, 2000)]
    """
    found, unknown = [], []
    events = [(int(at), int(code)) for at, code in events]
    starts = [at for at, code in events if code < SPECIAL or code == 1111] + [n_times]
    for index, (at, code) in enumerate(events):
        if code >= SPECIAL:
            continue
        stimulus, condition = divmod(code, 10)
        if stimulus not in TITLES or condition not in TASKS:
            unknown.append(code)
            continue
        onset = at
        if condition in WITH_SOUND and index + 1 < len(events) and events[index + 1][1] == AUDIO_ONSET:
            onset = events[index + 1][0]
        found.append(Trial(stimulus, condition, onset, min(start for start in starts if start > at)))
    return found, unknown


def _ingest_file(path, number, placed, settings, writer, notes):
    with notes.python_warnings(path):
        raw, names = own.open_raw(path)
        events = _events(raw, path)
        found, unknown = trials(events, n_times=len(raw.times))
        if unknown:
            notes.warn(
                f"{path}: {STIM_CHANNEL}: {len(unknown)} events of unknown code ({sorted(set(unknown))[:8]}), passed over"
            )
        if not found:
            raise DataError(
                f"{path}: expected events stimulus × 10 + condition (11 to 244) in {STIM_CHANNEL}, found "
                f"{sorted({int(code) for _, code in events})[:10]}; use the original file"
            )
        version = "v1" if number <= LAST_OF_V1 else "v2"
        counts, by_condition = {}, {}
        for trial in found:
            key, condition = (trial.stimulus, trial.condition), "listening" if trial.condition == 1 else "imagery"
            counts[key] = counts.get(key, 0) + 1
            by_condition[trial.stimulus, condition] = by_condition.get((trial.stimulus, condition), 0) + 1
            stimulus = f"stim{trial.stimulus:02d}"
            name = f"P{number:02d}_{stimulus}_c{trial.condition}_r{counts[key]}"
            sound = _place(trial.stimulus, version, placed, settings, notes)
            if sound is None:
                continue
            with notes.keep_going(f"{path}, {name}"):
                _add(
                    raw, names, trial, sound, writer, notes, path=path, name=name, subject=f"P{number:02d}",
                    condition=condition, repeat=by_condition[trial.stimulus, condition], settings=settings,
                )  # fmt: skip


def _add(raw, names, trial, sound, writer, notes, *, path, name, subject, condition, repeat, settings):
    where = f"{path}, {name}"
    sfreq = float(raw.info["sfreq"])
    start = sound.begins(trial.condition, where)
    first = trial.onset + (round(start * sfreq) if trial.condition == 2 else 0)
    last = min(trial.end, first + int((sound.seconds - start) * sfreq + 1e-6))
    if last - first < MIN_SECONDS * sfreq:
        raise DataError(
            f"{where}: expected at least {MIN_SECONDS:g} s of EEG before the next trial, found "
            f"{max(0, last - first) / sfreq:.2f} s; the recording was cut short"
        )
    stamp = f"{_common.stamp(path)}|{sound.stamp}|{start!r}"
    if writer.has_recording(name, stamp=stamp):
        return
    eeg = own.read_eeg(raw, names, first, last, path)
    eeg *= np.float32(settings.factor)
    found = _common.check_channels(eeg, ch_names=names, sfreq=sfreq, where=where, unit=settings.unit)
    if found:
        notes.warn(_common.note_bads(found, where))
    sound.add(writer)
    writer.add_recording(
        name, eeg, subject=subject, stimulus=sound.stimulus, condition=condition, repeat=repeat, sfreq=sfreq, start=start,
        ch_names=names, bads=[one for one in names if one in {*raw.info["bads"], *found}], stamp=stamp,
        task=TASKS[trial.condition],
    )  # fmt: skip


@dataclass(frozen=True)
class _Sound:
    """The sound of a stimulus in one version: where its music begins, and how long its clicks alone are, if that is known."""

    stimulus: str
    title: str
    path: Path
    seconds: float
    music_at: float
    clicks: float | None
    stamp: str

    def begins(self, condition, where):
        """The second of the sound to which the first sample that is kept of a trial belongs."""
        if condition == 1:
            return 0.0
        if condition != 2:
            return self.music_at
        if self.clicks is None:
            raise DataError(
                f"{where}: expected the cue clicks as a sound file {self.path.stem}_cue.wav, found none, so it is unknown "
                f"until when they were heard in this trial; {SOUND_ADVICE}"
            )
        return max(self.clicks, self.music_at)

    def add(self, writer):
        """Add the sound unless it is there already."""
        if not writer.has_stimulus(self.stimulus, stamp=self.stamp):
            writer.add_stimulus(
                self.stimulus, _audio.read(self.path), sr=_audio.SR, title=self.title, stamp=self.stamp,
                audio_file=self.path.name, music_at=self.music_at, piece=self.title.removesuffix(" (lyrics)"),
            )  # fmt: skip


def _place(number, version, placed, settings, notes):
    """The sound of a stimulus in a version, or None; what is missing is one problem, not one for each trial."""
    if (number, version) not in placed:
        placed[number, version] = None
        with notes.keep_going():
            placed[number, version] = _find(number, version, settings, notes)
    return placed[number, version]


def _find(number, version, settings, notes):
    pattern = rf"S?0*{number}(?P<rest>[ _-].*)?"
    files = [(file, match["rest"] or "") for file, match in settings.library.matching(pattern)]
    shared = len(MUSIC_AT[number]) == 1
    versions = ("v2", "v1", "") if shared else (version, "")  # of a sound that differs, never the other version's
    sounds = _of_versions([file for file, rest in files if not rest.lower().endswith("cue")], versions)
    cues = _of_versions([file for file, rest in files if rest.lower().endswith("cue")], versions)
    if not sounds:
        settings.library.find((f"S{number:02d}_{TITLES[number]} ({version})",), advice=SOUND_ADVICE)
    path, stimulus = sounds[0], f"stim{number:02d}"
    seconds = _audio.duration(path)
    music_at = settings.offsets.get(stimulus)
    if music_at is None:
        music_at = _music_at(number, path, notes)
    clicks = _audio.duration(cues[0]) if cues else None
    for what, value in (("music begins at", music_at), ("clicks alone last", clicks or 0.0)):
        if not value < seconds:
            raise DataError(
                f"{path}: the {what} {value:g} s and the sound has {seconds:g} s; expected a longer sound: use the "
                "authors' files, or say with --offsets where the music begins"
            )
    if _version(path) and not shared:
        stimulus = f"{stimulus}_{version}"
    return _Sound(stimulus, TITLES[number], path, seconds, music_at, clicks, f"{_common.stamp(path)}|{music_at!r}")


def _music_at(number, path, notes):
    """The authors' number for a sound; in a folder without version it is taken as the second version, with a note."""
    known, version = MUSIC_AT[number], _version(path)
    if len(known) > 1 and version not in VERSIONS:
        notes.warn(
            f"{path}: the folder names no version, so the music is taken to begin at second {known[1]:g}, as in v2 (in v1 it "
            f"is {known[0]:g}); call the folder full.v1 or full.v2, or give the second by --offsets"
        )
        return known[1]
    return known[VERSIONS.index(version)] if len(known) > 1 else known[0]


def _of_versions(files, versions):
    """Files in folders of these versions, the first of them first."""
    return sorted(
        (file for file in files if _version(file) in versions),
        key=lambda file: (versions.index(_version(file)), str(file)),
    )


def _version(file):
    match = re.search(r"\.(v\d)$", file.parent.name, flags=re.IGNORECASE)
    return match[1].lower() if match else ""


def _events(raw, path):
    """Sample (from the file's beginning) and code of each event."""
    import mne

    if STIM_CHANNEL not in raw.ch_names:
        others = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
        raise DataError(
            f"{path}: expected the channel {STIM_CHANNEL} with the events, found {', '.join(others) or 'no such channel'}; "
            "use the original file"
        )
    try:
        events = mne.find_events(raw, stim_channel=STIM_CHANNEL, shortest_event=0, verbose="error")
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: the events in {STIM_CHANNEL} cannot be read: {text}; copy the file again") from error
    return np.stack([events[:, 0] - raw.first_samp, events[:, 2]], axis=1)
