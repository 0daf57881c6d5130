"""OpenMIIR: ten people hear and imagine twelve short pieces, with and without a cue.

Source: Stober, Sternin, Owen, Grahn (2015), "Towards music imagery information retrieval: introducing the OpenMIIR
dataset of EEG recordings from music perception and imagination", ISMIR; https://github.com/sstober/openmiir, PDDL.

``PXX-raw.fif``: 64 channels at 512 Hz, uncleaned, in volts. The channel ``STI 014`` holds an event for each trial,
``stimulus × 10 + condition``; where the next event is 1000, the sound began there, and that moment is taken. Other codes
of four digits (noise, feedback) are passed over.

=  ======================  =========  ===========================================================
n  task                    condition  kept
=  ======================  =========  ===========================================================
1  perception              listening  the whole sound, with its cue clicks
2  imagery with cue        imagery    from the end of the clicks on, for the clicks were heard
3  imagery without cue     imagery    from the event on, which is the second after the clicks
4  imagery with feedback   imagery    the same
=  ======================  =========  ===========================================================

The sounds are **not distributed** (ask the authors); they are named like ``S01_Chim Chim Cheree_lyrics.wav``, and the
clicks alone ``S01_…_cue.wav``, whose length is that of the cue; without that file give the cue's seconds by ``offsets``
(for conditions 2 to 4). There are two versions, told by the folder's name: ``full.v1``, ``cues.v1`` (P01 to P08) and
``full.v2``, ``cues.v2`` (from P09 on); sounds in other folders stand for both.

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
STIM_CHANNEL = "STI 014"
AUDIO_ONSET, SPECIAL = 1000, 1000  # the sound began; codes from here on are no trials
LAST_OF_V1 = 8  # participant
MIN_SECONDS = 1.0
SOUND_ADVICE = (
    "the sounds are not distributed with the data set: ask its authors, keep the folders full.v1, full.v2, cues.v1 and "
    "cues.v2, and pass the folder above them as --audio"
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
        CSV ``stimulus,offset`` (stim01 … stim24): seconds of cue clicks at the beginning of a sound, instead of the
        length of its cue file.
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
        store_path, jobs, module=modules[__name__], montage=_montage([path for path, _ in files]), identity=identity,
        overwrite=overwrite,
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
    >>> found, _ = trials([[100, 213], [150, 1000], [900, 14]], n_times=2000)
    >>> [(one.stimulus, one.condition, one.onset, one.end) for one in found]
    [(21, 3, 150, 900), (1, 4, 900, 2000)]
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
        if index + 1 < len(events) and events[index + 1][1] == AUDIO_ONSET:
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
    start = 0.0 if trial.condition == 1 else sound.cue(where)
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
    """The sound of a stimulus in one version, with its cue's length where that is known."""

    stimulus: str
    title: str
    path: Path
    seconds: float
    cue_seconds: float | None
    stamp: str

    def cue(self, where):
        """Seconds of the cue clicks."""
        if self.cue_seconds is None:
            raise DataError(
                f"{where}: expected the cue clicks as a sound file {self.path.stem}_cue.wav, found none, so it is unknown "
                "at which second of the sound the imagined music begins; add the file, or give the seconds by --offsets"
            )
        return self.cue_seconds

    def add(self, writer):
        """Add the sound unless it is there already."""
        if not writer.has_stimulus(self.stimulus, stamp=self.stamp):
            writer.add_stimulus(
                self.stimulus, _audio.read(self.path), sr=_audio.SR, title=self.title, stamp=self.stamp,
                audio_file=self.path.name, cue=-1.0 if self.cue_seconds is None else self.cue_seconds,
            )  # fmt: skip


def _place(number, version, placed, settings, notes):
    """The sound of a stimulus in a version, or None; what is missing is one problem, not one for each trial."""
    if (number, version) not in placed:
        placed[number, version] = None
        with notes.keep_going():
            placed[number, version] = _find(number, version, settings)
    return placed[number, version]


def _find(number, version, settings):
    pattern = rf"S?0*{number}(?P<rest>[ _-].*)?"
    files = [(file, match["rest"] or "") for file, match in settings.library.matching(pattern)]
    sounds = _of_version([file for file, rest in files if not rest.lower().endswith("cue")], version)
    cues = _of_version([file for file, rest in files if rest.lower().endswith("cue")], version)
    if not sounds:
        settings.library.find((f"S{number:02d}_{TITLES[number]} ({version})",), advice=SOUND_ADVICE)
    path, stimulus = sounds[0], f"stim{number:02d}"
    cue = settings.offsets.get(stimulus)
    seconds = _audio.duration(path)
    if cue is None and cues:
        cue = _audio.duration(cues[0])
    if cue is not None and not cue < seconds:
        raise DataError(f"{path}: the cue has {cue:g} s and the sound {seconds:g} s; expected a shorter cue")
    if _version(path):
        stimulus = f"{stimulus}_{version}"
    return _Sound(stimulus, TITLES[number], path, seconds, cue, f"{_common.stamp(path)}|{cue!r}")


def _of_version(files, version):
    """Files in a folder of this version first, then those whose folder names none; never another version's."""
    return sorted(
        (file for file in files if _version(file) in ("", version)),
        key=lambda file: (_version(file) != version, str(file)),
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


def _montage(paths):
    """The smallest standard montage that holds the channels of the first file that can be read, or None."""
    import warnings

    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are reported when the file is read
                return own.montage_of(own.open_raw(path)[1])
        except DataError:
            continue  # so is this
    return None
