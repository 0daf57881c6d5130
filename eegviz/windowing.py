"""Windows: a store cut into seconds, each with its EEG picture and its spectrogram.

A window is one second that begins at a whole second **of the stimulus**; a recording that starts at second 3.25 of its
stimulus gives its first window at second 4. Windows of several seconds (``duration=4``) begin at its multiples, and their
spectrograms are those of their seconds, one after another. EEG pictures lie in one memory-mapped file; spectrograms are stored once per
stimulus second and looked up, however many listeners heard it. Files are cached under the hash of what made them.

Rows are sorted by subject, stimulus, hearing and recording, so that nothing depends on the order of files. Where the store
says of which piece its stimuli are versions, the table has a column ``piece``, by which splits keep them together.

Functions: `windows` (cut a store), `settings` (what they would be made with), `gap` (between the sides of a split), `signal`
(a recording as it is used here), `recording_pictures` (any signal as the pictures of a recording), `sound_seconds`, `kept`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import _arrays, features
from eegviz.errors import DataError, ParameterError
from eegviz.store import CACHE, Store

TABLE_COLUMNS = ["recording", "subject", "stimulus", "condition", "repeat", "session", "second"]
ORDER = ["subject", "stimulus", "repeat", "recording"]
_FORMAT = 3  # raise when the bytes of cached features change


@dataclass(frozen=True)
class Windows:
    """Windows of a store: a table, EEG pictures on disk, and one spectrogram per stimulus second.

    Attributes
    ----------
    table : pd.DataFrame
        One row a window: recording, subject, stimulus, condition, repeat, session, second (in which it begins).
    eeg : np.ndarray [shape=(n, n_rows, n_channels)], float32, memory-mapped
        EEG pictures; µV (raw), µV²/Hz (spectra) or nats (entropies).
    sounds : dict of np.ndarray [shape=(n_seconds, n_frames, n_bins)], float32, memory-mapped
        Spectrogram of each stimulus, once, however many listeners heard it: decibels or power.
    settings : dict
        What made them: eeg, audio, condition, tmin, tmax, ref_db, max_db, sfreq, ch_names; band, context and duration
        where they are set.
    """

    table: pd.DataFrame
    eeg: np.ndarray
    sounds: dict[str, np.ndarray]
    settings: dict = field(repr=False)

    def __len__(self):
        return len(self.table)

    @property
    def in_shape(self):
        """Shape of one EEG picture."""
        return tuple(self.eeg.shape[1:])

    @property
    def duration(self):
        """Length of a window in seconds."""
        return self.settings.get("duration", 1)

    @property
    def out_shape(self):
        """Shape of one window's spectrogram: the frames of its seconds, one after another."""
        n_frames, n_bins = next(iter(self.sounds.values())).shape[1:]
        return self.duration * n_frames, n_bins

    @property
    def songs(self):
        """Stimulus names, sorted: the classes of song identification."""
        return sorted(self.table["stimulus"].unique())

    @cached_property
    def data_range(self):
        """Range of the normalised spectrograms: 1 for decibels, which are clipped; for power the largest value here."""
        if self.settings["audio"].endswith("-db"):
            return 1.0
        spans = self.table.groupby("stimulus")["second"].agg(["min", "max"]).to_dict("index")
        peaks = [
            self.picture(s, np.arange(span["min"], span["max"] + self.duration), duration=1).max()
            for s, span in spans.items()
        ]
        return max(1.0, float(max(peaks)))

    def pictures(self, index):
        """EEG pictures of the windows `index`: ``(len(index), n_rows, n_channels)``, float32, read and not mapped."""
        return _arrays.read_rows(self.eeg.filename, index)

    def target(self, index):
        """Normalised spectrograms of the windows `index`: ``(len(index), *out_shape)``, float32, looked up by second."""
        index = np.asarray(index)
        out = np.empty((len(index), *self.out_shape), np.float32)
        stimuli = self.table["stimulus"].to_numpy()[index]
        seconds = self.table["second"].to_numpy()[index]
        for stimulus in np.unique(stimuli):
            here = stimuli == stimulus
            out[here] = self.picture(stimulus, seconds[here])
        return out

    def picture(self, stimulus, seconds, *, duration=None):
        """Normalised spectrograms of a stimulus from whole `seconds` on: ``(len(seconds), n_frames, n_bins)``.

        Each holds the seconds of a window, or as many as `duration` says.
        """
        duration = self.duration if duration is None else duration
        made = features.normalise(
            self.sounds[stimulus][(np.asarray(seconds, int)[:, None] + np.arange(duration)).ravel()],
            kind=self.settings["audio"],
            ref_db=features.ref_db_of(self.settings["ref_db"], stimulus),
            max_db=self.settings["max_db"],
        )
        return made.reshape(len(seconds), -1, made.shape[-1])


def windows(
    store: Store,
    *,
    eeg="periodogram",
    audio="mel-db",
    condition="listening",
    tmin=0.0,
    tmax=None,
    ref_db=None,
    max_db=features.MAX_DB,
    band=None,
    context=0.0,
    duration=1,
    cache=None,
):
    """Cut a store into windows with their EEG pictures and spectrograms.

    Results are cached under the hash of what made them, in ``<store>/cache`` (or `cache`, or the folder that the
    environment variable ``EEGVIZ_CACHE`` names); memory does not grow with the number of listeners.

    Parameters
    ----------
    store : Store
    eeg : {"raw", "periodogram", "welch", "de"}
    audio : {"mel", "mel-db", "linear", "linear-db", "mel-80", "mel-80-db"}
    condition : str
        Recordings of this condition; several separated by commas.
    tmin, tmax : float
        Seconds of the stimulus; EEG2Mel uses the first 240 s, its replication 270 s.
    ref_db : float or dict, optional
        Level of 1.0 in the pictures, one for all or one per stimulus; see `eegviz.features.default_ref_db`.
    max_db : float
    band : tuple of float, optional
        Low and high edge in hertz of a zero-phase filter (`features.bandpass`) over each whole recording, before it is
        cut. Raw pictures only.
    context : float
        Seconds of EEG after the end of its window that a raw picture also holds: ``round((duration + context) · sfreq)``
        rows. Past the end of a recording there are zeros.
    duration : int
        Whole seconds of a window, which begins at a multiple of them.
    cache : path, optional

    Returns
    -------
    Windows

    Raises
    ------
    ParameterError
        An unknown kind, a condition without recordings, an empty range of time, or a band, context or duration that cannot
        be.
    DataError
        Recordings that cannot stand in one table: different rates or channels.
    """
    table, settings = _plan(store, eeg, audio, condition, tmin, tmax, ref_db, max_db, band, context, duration)
    folder = Path(cache or os.environ.get("EEGVIZ_CACHE") or store.path / CACHE)
    pictures = _cached_eeg(store, table, settings, folder)
    sounds = {s: _cached_sound(store, s, audio, folder) for s in settings["ref_db"]}
    return Windows(table, pictures, sounds, settings)


def settings(
    store: Store,
    *,
    eeg="periodogram",
    audio="mel-db",
    condition="listening",
    tmin=0.0,
    tmax=None,
    ref_db=None,
    max_db=features.MAX_DB,
    band=None,
    context=0.0,
    duration=1,
):
    """What `windows` of the same options would be made with, without making them: ``Windows.settings``."""
    return _plan(store, eeg, audio, condition, tmin, tmax, ref_db, max_db, band, context, duration)[1]


def gap(settings):
    """Seconds without windows that a split needs between its sides: one window, its context and the filter's settling.

    Parameters
    ----------
    settings : dict
        ``Windows.settings``: band, context, duration and sfreq count.

    Returns
    -------
    float
        1.0 for pictures of single seconds; otherwise rounded up to a tenth.

    Examples
    --------
    >>> gap({"sfreq": 125.0}), gap({"sfreq": 125.0, "duration": 4})
    (1.0, 4.0)
    >>> gap({"sfreq": 125.0, "band": [0.5, 15.0], "context": 0.4})
    2.1
    """
    band = settings.get("band")
    filter_s = 0.0 if band is None else features.settling(band, sfreq=settings["sfreq"])
    return math.ceil(round(10 * (settings.get("duration", 1) + settings.get("context", 0.0) + filter_s), 6)) / 10


def signal(store: Store, recording):
    """EEG of a recording as windows are cut from it: ``(n_channels, n_times)``, volts, bad channels interpolated.

    Where no positions are known, bad channels are silent.
    """
    if not store.bads(recording):
        return store.eeg(recording)
    if store.montage is None:
        eeg = np.array(store.eeg(recording))
        eeg[np.isin(store.ch_names(recording), store.bads(recording))] = 0
        return eeg
    raw_ = store.raw(recording)
    raw_.interpolate_bads(verbose="error")
    return raw_.get_data().astype(np.float32)


def recording_pictures(volts, row, seconds, settings):
    """EEG pictures of any signal, made exactly as those of a recording: filtered whole, then cut at `seconds`.

    A second may begin anywhere; its first EEG sample is the nearest one.

    Parameters
    ----------
    volts : np.ndarray [shape=(n_channels, n_times)]
        What `signal` gives, or something else in its place: noise, silence, another listener.
    row : dict
        With ``start``, the second of the stimulus at which the signal begins: ``store.row(recording)``.
    seconds : sequence of float
        Seconds of the stimulus at which the pictures begin.
    settings : dict
        ``Windows.settings``: eeg, sfreq, and band, context and duration where they are set.

    Returns
    -------
    np.ndarray [shape=(n, n_rows, n_channels)], float32
        µV (raw), µV²/Hz (spectra) or nats (entropies).

    Raises
    ------
    ParameterError
        A second that the signal does not hold.
    """
    sfreq, band = settings["sfreq"], settings.get("band")
    n_window, n_times = (_picture_samples(settings | extra) for extra in ({"context": 0.0}, {}))
    first = np.array([int(round((second - row["start"]) * sfreq)) for second in seconds], int)
    outside = (first < 0) | (first + n_window > volts.shape[1] + 1)  # one sample: the rounding of both ends
    if outside.any():
        length = settings.get("duration", 1)
        what = f"second {np.asarray(seconds)[outside][0]:g}"
        what += "" if length == 1 else f" and the {length - 1} after it"
        raise ParameterError(
            f"{what} {'does' if length == 1 else 'do'} not lie in the signal, which holds "
            f"{volts.shape[1] / sfreq:g} s from second {row['start']:g}."
        )
    if band is not None:
        volts = features.bandpass(volts, band=band, sfreq=sfreq)
    cut = np.zeros((len(first), len(volts), n_times), np.float32)
    for picture, i in zip(cut, first, strict=True):
        part = volts[:, i : i + n_times]
        picture[:, : part.shape[1]] = part
    return features.eeg_picture(cut * np.float32(features.MICROVOLT), kind=settings["eeg"], sfreq=sfreq)


def sound_seconds(store: Store, stimulus):
    """A stimulus cut into whole seconds at 22 050 Hz: ``(n_seconds, 22050)``, float32."""
    sound, sr = store.audio(stimulus)
    if sr != features.SR:
        raise DataError(
            f"{store.path}: the sound of {stimulus} has {sr} Hz, expected {features.SR} Hz. Ingest the store again."
        )
    n = len(sound) // features.SR
    return sound[: n * features.SR].reshape(n, features.SR)


def recordings(store: Store, condition):
    """Rows of the store's recordings of one condition (or several, separated by commas) that have a stimulus."""
    rows = store.recordings
    wanted = [c.strip() for c in condition.split(",")]
    known = sorted(rows["condition"].unique())
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ParameterError(
            f"{store.path} has no recordings of condition {', '.join(unknown)}; it has {', '.join(known)}. "
            "Choose with condition= or --condition."
        )
    rows = rows[rows["condition"].isin(wanted) & (rows["stimulus"] != "")].sort_values(ORDER, kind="stable")
    if rows.empty:
        raise ParameterError(
            f"{store.path}: no recording of condition {condition!r} has a stimulus, so there is no sound to "
            "reconstruct. Choose another with condition= or --condition."
        )
    return rows


def _plan(store, eeg, audio, condition, tmin, tmax, ref_db, max_db, band, context, duration):
    """The table of windows, and what they are made with."""
    if eeg not in features.EEG_KINDS:
        raise features.unknown("EEG features", eeg, features.EEG_KINDS)
    features.check_kind(audio)
    rows = recordings(store, condition)
    sfreq, ch_names = _common_layout(store, rows)
    extent = _extent(eeg, band, context, duration, sfreq)
    table = _table(store, rows, tmin, tmax, extent.get("duration", 1))
    # a number stays a number; a table is cut to the stimuli at hand
    ref_db = features.default_ref_db(audio) if ref_db is None else ref_db
    refs = {s: features.ref_db_of(ref_db, s) for s in sorted(table["stimulus"].unique())}
    settings = {
        "eeg": eeg, "audio": audio, "condition": condition, "tmin": tmin, "tmax": tmax,
        "ref_db": refs, "max_db": float(max_db), "sfreq": sfreq, "ch_names": ch_names, **extent,
    }  # fmt: skip
    return table, settings


def _common_layout(store, rows):
    rates = sorted(rows["sfreq"].unique())
    if len(rates) > 1:
        raise DataError(
            f"{store.path}: recordings have different rates ({', '.join(f'{r:g} Hz' for r in rates)}), expected one. "
            "Choose recordings of one kind with --condition, or resample before ingesting."
        )
    names = {}
    for recording in rows["recording"]:
        names.setdefault(tuple(store.ch_names(recording)), recording)
    if len(names) > 1:
        (a, first), (b, second) = list(names.items())[:2]
        odd = sorted(set(a) ^ set(b)) or ["the same names in another order"]
        raise DataError(
            f"{store.path}: recordings {first} ({len(a)} channels) and {second} ({len(b)}) have different channels "
            f"({', '.join(odd[:8])}). Choose recordings of one kind with --condition."
        )
    return float(rates[0]), list(next(iter(names)))


def _table(store, rows, tmin, tmax, length):
    duration = dict(zip(store.stimuli["stimulus"], store.stimuli["duration"], strict=True))
    parts = []
    for row in rows.to_dict("records"):
        end = min(row["start"] + row["n_times"] / row["sfreq"], duration[row["stimulus"]], tmax or math.inf)
        first, last = math.ceil(max(row["start"], tmin) / length) * length, math.floor(end + 1e-6)
        seconds = np.arange(first, max(first, last - length + 1), length)
        part = pd.DataFrame({"second": seconds})
        for column in TABLE_COLUMNS[:-1]:
            part[column] = row[column]
        parts.append(part[TABLE_COLUMNS])
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        what = "whole second" if length == 1 else f"window of {length} s from a multiple of {length} on"
        raise ParameterError(
            f"{store.path}: no {what} lies between tmin={tmin:g} and {'the end' if tmax is None else f'tmax={tmax:g}'}; "
            f"the longest stimulus has {max(duration.values()):.1f} s. Choose another range with tmin= and tmax=, or --tmin and --tmax."
        )
    return _with_pieces(table, store.stimuli)


def _with_pieces(table, stimuli):
    if "piece" not in stimuli:
        return table
    return table.assign(piece=table["stimulus"].map(dict(zip(stimuli["stimulus"], stimuli["piece"], strict=True))))


def _extent(eeg, band, context, duration, sfreq):
    """The settings band, context and duration, only where they are set, so that the hash of other runs stays as it was."""
    context = float(context)
    if duration != int(duration) or duration < 1:
        raise ParameterError(f"duration must be a whole number of seconds, 1 or more; found {duration:g}.")
    if not (math.isfinite(context) and context >= 0):
        raise ParameterError(f"context must be a number of seconds, 0 or more; found {context:g}.")
    if (band is not None or context) and eeg != "raw":
        raise ParameterError(
            f"band and context belong to raw EEG; found eeg={eeg!r}, whose pictures are spectra of single seconds. "
            "Use eeg='raw' (--eeg raw), or leave them out."
        )
    found = {} if band is None else {"band": list(features.check_band(band, sfreq=sfreq))}
    return found | ({"context": context} if context else {}) | ({"duration": int(duration)} if duration != 1 else {})


def _picture_samples(settings):
    return int(round((settings.get("duration", 1) + settings.get("context", 0.0)) * settings["sfreq"]))


def _cached_eeg(store, table, settings, folder):
    kind = settings["eeg"]
    seconds = table.groupby("recording", sort=False)["second"].agg(["min", "max"]).to_dict("index")
    extent = {key: settings[key] for key in ("band", "context", "duration") if key in settings}
    made_of = {"format": _FORMAT, "store": store.fingerprint, "eeg": kind, "seconds": seconds, **extent}
    path = folder / f"eeg-{kind}-{_hash(made_of)}.npy"
    if not path.exists():

        def blocks():
            for recording in table["recording"].unique():
                span = seconds[recording]
                wanted = range(span["min"], span["max"] + 1, settings.get("duration", 1))
                yield recording_pictures(signal(store, recording), store.row(recording), wanted, settings)

        n_times = _picture_samples(settings)
        n_rows = features.n_rows(kind, n_times)
        _arrays.write(path, (len(table), n_rows, len(settings["ch_names"])), blocks())
    return np.load(path, mmap_mode="r")


def _cached_sound(store, stimulus, kind, folder):
    made_of = {"format": _FORMAT, "sound": store.manifest["files"][f"audio/{stimulus}.flac"]["sha256"], "audio": kind}
    path = folder / f"sound-{kind}-{_hash(made_of)}.npy"
    if not path.exists():
        seconds = sound_seconds(store, stimulus)
        base = kind.removesuffix("-db")

        def blocks():
            for i in range(0, len(seconds), 32):
                power = features.spectrogram(seconds[i : i + 32], kind=base)
                yield features.to_db(power).astype(np.float32) if kind.endswith("-db") else power

        layout = features.layout(kind)
        _arrays.write(path, (len(seconds), layout.n_frames, layout.n_bins), blocks())
    return np.load(path, mmap_mode="r")


def kept(name, made_of, make, *, beside):
    """An array that follows from a stimulus: read from the folder of the cached spectrogram `beside`, else made and kept there.

    Parameters
    ----------
    name : str
    made_of : dict
        What it is made of beside the spectrogram; JSON-ready.
    make : callable
        ``make()`` → float32 array.
    beside : np.ndarray
        From ``Windows.sounds``. One that is not in a file leaves nothing to keep the array beside: it is made each time.
    """
    source = getattr(beside, "filename", None)
    if source is None:
        return make()
    source = Path(source)
    path = source.with_name(f"{name}-{_hash({**made_of, 'of': source.name})}.npy")
    if not path.exists():
        made = make()
        _arrays.write(path, made.shape, [made])
    return np.load(path)


def _hash(made_of):
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:16]
