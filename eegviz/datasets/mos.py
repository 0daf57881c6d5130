"""MOS, "The music of silence": 21 musicians hear and imagine four chorale melodies, eleven times each.

Source: Marion, Di Liberto and Shamma (2021), "The Music of Silence. Part I: Responses to Musical Imagery Encode Melodic
Expectations and Acoustics", J. Neurosci., https://doi.org/10.1523/JNEUROSCI.0183-21.2021; data
https://doi.org/10.5061/dryad.dbrv15f0j, CC0. 64 channels at 64 Hz, 1803 samples (28.17 s) a trial, 100 beats a minute.

Two layouts are read:

- **CND**: ``dataCND/dataStim.mat`` (``stim``: which melody and condition each trial is, and its envelope) and
  ``dataCND/dataSub1.mat`` … (``eeg``: ``data``, a cell each trial, **time × channel**; ``origTrialPosition``, the place in
  the order of presentation, **from 1**; ``chanlocs`` with labels like ``Fp1 (A1)``, of which ``Fp1`` is kept).
- **Dryad**: ``ImageryData.mat`` with the nested cells ``eeg{listener}{condition}{trial}`` and ``stim{…}``, ``downFs``.
  It does not name melodies: each trial's is told from the note onsets in ``stim`` (`._mos_sound`).

The sounds ``chor-019.wav`` … are stereo: **left the metronome, right the melody**, which alone is kept. They are longer
than the EEG; where the melody begins is found from the envelope or the notes, or given by ``offsets``.

Recordings are called ``S01_chor-019_imagery_r03``; ``repeat`` counts a melody's trials of a condition in the order of
presentation, and the column ``position`` is that order, from 1. Values are taken as µV. A public reader of the Dryad
file reports a median |x| of about 200, which would be the numbers of BioSemi's converter (31.25 nV a step): then a note
says so, and ``unit="biosemi"`` reads them as that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from sys import modules

import numpy as np

from eegviz import store
from eegviz.datasets import _audio, _common, _matlab, _mos_sound, _nmed, own
from eegviz.errors import DataError

NAME = "mos"
TITLE = "The music of silence (MOS): melodies heard and imagined"
LICENCE = "CC0-1.0"
CITATION = (
    "Marion, G., Di Liberto, G. M., Shamma, S. A. (2021). The music of silence. Part I: Responses to musical imagery "
    "encode melodic expectations and acoustics. Journal of Neuroscience. https://doi.org/10.1523/JNEUROSCI.0183-21.2021"
)
WHERE = "https://doi.org/10.5061/dryad.dbrv15f0j"
STIMULI = {1: "chor-096", 2: "chor-038", 3: "chor-101", 4: "chor-019"}  # stim.stimIdxs, checked against the envelopes
CONDITIONS = {"listen": "listening", "imag": "imagery"}  # beginnings of condNames
DRYAD_CONDITIONS = ("listening", "imagery")
BIOSEMI64 = "biosemi64"
UNITS = ("biosemi", "uV", "mV", "V", "nV")  # what a file may be in, the likeliest first
SFREQ = 64  # Hz, of the original files
LOUD_UV = 100.0  # µV: cleaned EEG with a larger spread is probably not in µV


def ingest(
    source, store_path, *, audio=None, unit="uV", max_mismatch=_audio.MAX_MISMATCH, offsets=None, overwrite=False
):
    """Read MOS into a store.

    Parameters
    ----------
    source : str or Path
        Folder of ``dataStim.mat`` and ``dataSub*.mat``, or of ``ImageryData.mat``; files are found at any depth.
    store_path : str or Path
    audio : str or Path, optional
        Folder of ``chor-019.wav`` …; when not given they are looked for in ``source`` and in ``stimuli/audio`` beside it.
    unit : {"uV", "V", "mV", "nV", "biosemi"}
    max_mismatch : float
        Seconds by which a sound may be shorter than the EEG.
    offsets : str, Path or dict, optional
        CSV ``stimulus,offset``: second of a sound at which the melody (and the EEG) begins, instead of finding it.
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
        source, audio=_sounds(source, audio), unit=unit, max_mismatch=max_mismatch, offsets=offsets,
        known=list(STIMULI.values()), where_to_get=WHERE,
    )  # fmt: skip
    subjects, doubles = _nmed.find_files(source, r"dataSub(\d+)\.mat")
    stims, more = _nmed.find_files(source, r"dataStim\.mat")
    whole, most = _nmed.find_files(source, r"ImageryData\.mat")
    doubles = doubles + more + most
    jobs = [partial(_nmed.complain, line) for line in doubles]
    if subjects and not stims:
        raise DataError(
            f"{source}: expected dataStim.mat beside {subjects[0][0].name}, found none; it says which melody and condition "
            f"each trial is: get it from {WHERE}"
        )
    if subjects:
        design = _read_design(stims[0][0])
        montage = own.montage_of_files([path for path, _ in subjects], _names_of)
        jobs.append(partial(_note_design, design, whole))
        placed = {}
        for path, match in sorted(subjects, key=lambda item: int(item[1][1])):
            jobs.append(partial(_ingest_subject, path, f"S{int(match[1]):02d}", design, placed, settings))
    elif whole:
        montage = BIOSEMI64
        jobs.append(partial(_ingest_dryad, whole[0][0], settings))
    else:
        raise _nmed.nothing_found(source, "dataStim.mat and dataSub1.mat …, or ImageryData.mat", WHERE)
    return _common.run(
        store_path, jobs, module=modules[__name__], montage=montage, identity=identity, overwrite=overwrite,
        simulated=_common.is_simulated(source if source.is_dir() else source.parent),
    )  # fmt: skip


# ---------------------------------------------------------------- the CND layout


@dataclass(frozen=True)
class Design:
    """What ``dataStim.mat`` says: the melody and condition of each trial, and one envelope a melody (or None)."""

    path: object
    stimuli: tuple
    conditions: tuple
    envelopes: dict
    seconds: dict
    sfreq: float


def _read_design(path):
    """Read ``stim``."""
    stim = _matlab.read(path, ["stim"])["stim"]
    if not isinstance(stim, dict):
        raise DataError(f"{path}: expected stim as a struct, found {type(stim).__name__}; use the original file")
    _need(stim, ("stimIdxs", "condIdxs", "condNames", "data", "fs"), "stim", path)
    names = [str(name) for name in np.ravel(stim["condNames"]).tolist()]
    conditions = [_condition(name, path) for name in names]
    stimuli = _indices(stim["stimIdxs"], list(STIMULI), "stim.stimIdxs", path)
    indices = _indices(stim["condIdxs"], range(1, len(names) + 1), "stim.condIdxs", path)
    if len(stimuli) != len(indices):
        raise DataError(
            f"{path}: {len(stimuli)} stim.stimIdxs and {len(indices)} stim.condIdxs; expected one each a trial"
        )
    sfreq = _nmed.read_rate(stim["fs"], path, name="stim.fs", usual=SFREQ)
    data = stim["data"]
    if not _is_cells(data) or data.ndim != 2 or data.shape[1] != len(stimuli):
        raise DataError(
            f"{path}: expected stim.data as cells (features, {len(stimuli)} trials), found {getattr(data, 'shape', data)}"
        )
    features = [str(name) for name in np.ravel(stim["names"]).tolist()] if "names" in stim else []
    row = next((i for i, name in enumerate(features) if "envelope" in name.casefold()), None)
    envelopes, seconds = {}, {}
    for trial, number in enumerate(stimuli):
        if (name := STIMULI[number]) not in seconds:
            seconds[name] = np.size(data[0, trial]) / sfreq
            envelopes[name] = None if row is None else np.ravel(data[row, trial]).astype(float)
    return Design(
        path, tuple(STIMULI[n] for n in stimuli), tuple(conditions[i - 1] for i in indices), envelopes, seconds, sfreq
    )


def _note_design(design, whole, writer, notes):
    if whole:
        notes.warn(f"{whole[0][0]}: not read, because dataSub*.mat hold the same recordings; read it alone to compare")
    for condition in DRYAD_CONDITIONS:
        if condition not in design.conditions:
            notes.warn(
                f"{design.path}: no trial of {condition}: expected Listening and Imagery in stim.condNames and "
                f"stim.condIdxs, found {', '.join(sorted(set(design.conditions)))} only; the store holds that"
            )


def _ingest_subject(path, subject, design, placed, settings, writer, notes):
    with _matlab.Tree(path, "eeg") as tree:
        eeg = tree.tree
        if not isinstance(eeg, dict):
            raise DataError(f"{path}: expected eeg as a struct, found {type(eeg).__name__}; use the original file")
        _need(eeg, ("data", "fs"), "eeg", path)
        sfreq = _nmed.read_rate(eeg["fs"], path, name="eeg.fs", usual=SFREQ)
        trials = np.ravel(eeg["data"], order="F") if _is_cells(eeg["data"]) else []
        if len(trials) != len(design.stimuli):
            raise DataError(
                f"{path}: expected eeg.data as {len(design.stimuli)} cells, one a trial of {design.path.name}, found "
                f"{len(trials)}; use files of the same version"
            )
        ch_names = channel_names(eeg.get("chanlocs"), path)
        positions = _positions(eeg.get("origTrialPosition"), len(trials), path, notes)
        for name in dict.fromkeys(design.stimuli):
            if name not in placed:
                placed[name] = None  # a melody without a sound is one problem, not one for each listener
                with notes.keep_going():
                    placed[name] = _mos_sound.place(
                        name, design.seconds[name], design.envelopes[name], design.sfreq, settings, notes
                    )
        plans = {}
        repeats = repeat_numbers(list(zip(design.stimuli, design.conditions, strict=True)), positions)
        for index, (name, condition) in enumerate(zip(design.stimuli, design.conditions, strict=True)):
            plans["data", index] = _Trial(
                subject,
                name,
                condition,
                repeats[index],
                positions[index],
                trials[index].shape,
                f"{path}, trial {index + 1}",
            )
        _ingest_trials(tree, _usable(plans, len(ch_names), notes), placed, ch_names, sfreq, settings, writer, notes)


# ---------------------------------------------------------------- the Dryad layout


def _ingest_dryad(path, settings, writer, notes):
    stim = _matlab.read(path, ["stim"])["stim"]
    with _matlab.Tree(path, "eeg", small=("downFs",)) as tree:
        sfreq = _nmed.read_rate(tree.values["downFs"], path, name="downFs", usual=SFREQ)
        plans, placed = {}, {}
        for p, (people, heard) in enumerate(_pairs(tree.tree, stim, "eeg", path)):
            cells = _pairs(people, heard, f"eeg{{{p + 1}}}", path)
            if len(cells) != len(DRYAD_CONDITIONS):
                notes.warn(
                    f"{path}: eeg{{{p + 1}}}: expected 2 conditions (listening, imagery), found {len(cells)}; the store "
                    "holds that"
                )
            if len(cells) > len(DRYAD_CONDITIONS):
                raise DataError(
                    f"{path}: eeg{{{p + 1}}}: expected 2 conditions, found {len(cells)}; use the original file"
                )
            for c, (trials, vectors) in enumerate(cells):
                found = {}
                for t, (trial, vector) in enumerate(_pairs(trials, vectors, f"eeg{{{p + 1}}}{{{c + 1}}}", path)):
                    where = f"{path}, eeg{{{p + 1}}}{{{c + 1}}}{{{t + 1}}}"
                    with notes.keep_going():
                        found[t] = (_mos_sound.which_melody(vector, sfreq=sfreq, where=where), trial.shape, where)
                repeats = repeat_numbers([(name, c) for name, *_ in found.values()], list(found))
                for repeat, (t, (name, shape, where)) in zip(repeats, found.items(), strict=True):
                    plans[p, c, t] = _Trial(
                        f"S{p + 1:02d}", name, DRYAD_CONDITIONS[c], repeat, t + 1, shape, where
                    )  # fmt: skip
        ch_names = store.make_montage(BIOSEMI64).ch_names
        notes.warn(f"{path} names no channels: taken in BioSemi's order, {ch_names[0]} (A1) to {ch_names[-1]} (B32)")
        plans = _usable(plans, len(ch_names), notes)
        for name, n_times in _usual_lengths(plans, notes).items():
            placed[name] = None
            with notes.keep_going():
                placed[name] = _mos_sound.place(name, n_times / sfreq, None, sfreq, settings, notes)
        _ingest_trials(tree, plans, placed, ch_names, sfreq, settings, writer, notes)


def _usual_lengths(plans, notes):
    """Samples of most trials of each melody: they decide how much of its sound is kept. Shorter trials are noted."""
    counts = {}
    for plan in plans.values():
        counts.setdefault(plan.stimulus, Counter())[plan.shape[0]] += 1
    usual = {name: max(count, key=lambda n: (count[n], n)) for name, count in counts.items()}
    for plan in plans.values():
        if plan.shape[0] < usual[plan.stimulus]:
            notes.warn(
                f"{plan.where}: {plan.shape[0]} samples, while most trials of {plan.stimulus} have {usual[plan.stimulus]}; "
                "kept as far as it goes"
            )
    return usual


def _pairs(cells, other, name, path):
    """The items of two cell arrays that go together."""
    both = [np.ravel(x, order="F") if _is_cells(x) else None for x in (cells, other)]
    if both[0] is None or both[1] is None or len(both[0]) != len(both[1]):
        found = [f"{len(x)} cells" if x is not None else "no cells" for x in both]
        raise DataError(
            f"{path}: expected {name} and stim as cells {{listener}}{{condition}}{{trial}} of the same number, found "
            f"{found[0]} and {found[1]}; use the original file"
        )
    return list(zip(*both, strict=True))


# ---------------------------------------------------------------- what both share


@dataclass(frozen=True)
class _Trial:
    subject: str
    stimulus: str
    condition: str
    repeat: int
    position: int
    shape: tuple
    where: str

    @property
    def recording(self):
        return f"{self.subject}_{self.stimulus}_{self.condition}_r{self.repeat:02d}"


def _usable(plans, n_channels, notes):
    """The trials that hold time × channel; what is wrong with the others is said."""
    fine = {}
    for path, plan in plans.items():
        if not all(plan.shape):
            notes.warn(f"{plan.where}: empty, left out")
            continue
        with notes.keep_going():
            _check_shape(plan, n_channels)
            fine[path] = plan
    return fine


def _ingest_trials(tree, plans, placed, ch_names, sfreq, settings, writer, notes):
    """Read the trials whose sound is there, one at a time."""
    todo, stamps = [], {}
    for path, plan in plans.items():
        sound = placed[plan.stimulus]
        if sound is None:
            continue
        stamps[path] = f"{_common.stamp(tree.path)}|{sound.stamp}"
        if not writer.has_recording(plan.recording, stamp=stamps[path]):
            todo.append(path)
    told = set()
    for path, array in tree.take(todo):
        plan, sound = plans[path], placed[plans[path].stimulus]
        with notes.keep_going(plan.where):
            eeg = np.ascontiguousarray(array[: round(sound.seconds * sfreq)].T)
            eeg *= np.float32(settings.factor)
            bads = _common.check_channels(
                eeg, ch_names=ch_names, sfreq=sfreq, where=plan.where, unit=settings.unit, units=UNITS
            )
            if plan.subject not in told:
                told.add(plan.subject)
                _note_loud(eeg, sfreq, plan, settings, notes)
            if bads:
                notes.warn(_common.note_bads(bads, plan.where))
            sound.add(writer)
            writer.add_recording(
                plan.recording, eeg, subject=plan.subject, stimulus=plan.stimulus, condition=plan.condition,
                repeat=plan.repeat, sfreq=sfreq, ch_names=ch_names, bads=bads, stamp=stamps[path], position=plan.position,
            )  # fmt: skip


def _check_shape(plan, n_channels):
    if len(plan.shape) != 2 or plan.shape[1] != n_channels:
        turned = len(plan.shape) == 2 and plan.shape[0] == n_channels
        raise DataError(
            f"{plan.where}: expected time × channel (time, {n_channels}), found {plan.shape}"
            f"{', which is channel × time' if turned else ''}; use the original file"
        )


def _note_loud(eeg, sfreq, plan, settings, notes):
    median = float(np.median(_common.spread(eeg, sfreq)))
    if median > LOUD_UV and settings.unit not in _common.BIOSEMI:
        as_steps = median * 1e-6 / settings.factor * _common.BIOSEMI["biosemi"] * 1e6
        notes.warn(
            f"{plan.where}: the median channel standard deviation is {median:.0f} µV when the values are taken as "
            f"{settings.unit}, much for cleaned EEG; as steps of BioSemi's converter it is {as_steps:.1f} µV (--unit biosemi)"
        )


def channel_names(chanlocs, path):
    """Names of the channels: of labels such as ``Fp1 (A1)`` what stands before the bracket.

    Examples
    --------
    >>> channel_names([{"labels": "Fp1 (A1)"}, {"labels": "AF7 (A2)"}], "dataSub1.mat")
    ['Fp1', 'AF7']
    """
    rows = [chanlocs] if isinstance(chanlocs, dict) else chanlocs
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("labels"), str) for row in rows
    ):
        raise DataError(
            f"{path}: expected eeg.chanlocs as a struct array with labels such as 'Fp1 (A1)', found "
            f"{type(chanlocs).__name__ if chanlocs is not None else 'none'}; use the original file"
        )
    names = [row["labels"].split("(")[0].strip() for row in rows]
    if "" in names or len(set(names)) != len(names):
        raise DataError(f"{path}: expected different channel names in eeg.chanlocs, found {', '.join(names[:70])}")
    return names


def repeat_numbers(kinds, positions):
    """Number the trials of each kind from 1, in the order of their positions.

    Examples
    --------
    >>> repeat_numbers(["a", "a", "b", "a"], [7, 2, 1, 9])
    [2, 1, 1, 3]
    """
    repeats, seen = [0] * len(kinds), {}
    for index in np.argsort(positions, kind="stable"):
        seen[kinds[index]] = repeats[index] = seen.get(kinds[index], 0) + 1
    return repeats


def _positions(value, n_trials, path, notes):
    """``origTrialPosition``, the places in the order of presentation from 1."""
    value = np.ravel(value) if isinstance(value, np.ndarray) else np.zeros(0)
    if not value.size:
        notes.warn(f"{path}: no eeg.origTrialPosition, so trials are numbered in the file's order")
        return list(range(1, n_trials + 1))
    whole = value.dtype.kind in "fiu" and np.all(np.isfinite(value)) and np.all(value == np.round(value))
    if len(value) != n_trials or not whole or value.min() < 1 or len(set(value.tolist())) != n_trials:
        hint = ", which is counted from 0" if value.dtype.kind in "fiu" and 0 in value.tolist() else ""
        raise DataError(
            f"{path}: expected eeg.origTrialPosition as {n_trials} different places counted from 1, found {len(value)} "
            f"({', '.join(f'{v:g}' for v in value.tolist()[:5])} …){hint}; use the original file"
        )
    return [int(v) for v in value]


def _names_of(path):
    """The channel names of a listener's file."""
    with _matlab.Tree(path, "eeg") as tree:
        names = tree.tree.get("chanlocs") if isinstance(tree.tree, dict) else None
    return channel_names(names, path)


def _sounds(source, audio):
    """The sounds' folder: the given one, else ``stimuli/audio`` beside ``dataCND``, else the source itself."""
    from pathlib import Path

    beside = Path(source).parent / "stimuli" / "audio"
    inside = Path(source).is_dir() and any(Path(source).rglob("chor-*"))
    return audio if audio is not None else beside if beside.is_dir() and not inside else None


def _is_cells(value):
    return isinstance(value, np.ndarray) and value.dtype == np.dtype(object)


def _need(value, fields, name, path):
    if missing := [field for field in fields if field not in value]:
        raise DataError(
            f"{path}: expected {name} with the fields {', '.join(fields)}, found no {', '.join(missing)} among "
            f"{', '.join(value)}; use the original file"
        )


def _indices(value, allowed, name, path):
    """Indices that MATLAB counts from 1."""
    value, allowed = np.ravel(value), list(allowed)
    if value.dtype.kind not in "fiu" or not np.all(np.isin(value, allowed)) or not value.size:
        odd = sorted(set(value.tolist()) - set(allowed), key=str)[:3]
        hint = " (0: counted from 0?)" if 0 in odd else ""
        raise DataError(f"{path}: expected {name} from 1 to {allowed[-1]}, found {odd}{hint}; use the original file")
    return [int(v) for v in value]


def _condition(name, path):
    for beginning, condition in CONDITIONS.items():
        if name.casefold().startswith(beginning):
            return condition
    raise DataError(f"{path}: expected the conditions Listening and Imagery in stim.condNames, found {name!r}")
