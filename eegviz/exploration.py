"""A first look at a store: excerpts, spectra, band power, and whether the EEG follows the beat.

Functions: `overview`, `describe`, `heard`, `excerpt`, `representation` (one second of a channel or of the sound, as models see
it), `mean_spectrum`, `band_power`, `tempo_spectra`, `tempo_table`.

The tempo analysis follows the authors of NMED-T (Losorelli et al. 2017, ISMIR): the listeners of a song are averaged,
and the spectrum of the average is searched at the tempo and its simple multiples. Notebook 01 shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.signal

from eegviz import features
from eegviz.errors import ParameterError
from eegviz.features import MICROVOLT
from eegviz.store import Store

BANDS = {"delta": (1, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 50)}  # Hz
TEMPO_MULTIPLES = (1, 2, 4)  # beats, eighths, sixteenths: those that the authors of NMED-T mark
NEIGHBOURS = (2, 8)  # bins at either side, nearest and farthest, that a peak is divided by (our choice)


def overview(store: Store) -> str:
    """One sentence on what a store holds, and whether its EEG is simulated."""
    rows = store.recordings
    hours = float((rows["n_times"] / rows["sfreq"]).sum() / 3600)
    kind = "SIMULATED EEG: no person was recorded." if store.manifest["simulated"] else "Recorded EEG."
    return (
        f"{kind} Recordings: {len(rows)}; listeners: {rows['subject'].nunique()}; stimuli: {len(store.stimuli)}; "
        f"{hours:.2f} hours; licence: {store.manifest['licence']}"
    )


def describe(store: Store) -> str:
    """What ``eegviz info`` prints: an overview, the source, and the tables of recordings and stimuli."""
    manifest = store.manifest
    recordings = store.recordings
    shown = recordings.drop(columns=["n_times"]).assign(
        seconds=(recordings["n_times"] / recordings["sfreq"]).round(2),
        bad=[len(store.bads(r)) for r in recordings["recording"]],
    )
    return "\n".join(
        [
            f"{manifest['title']} ({manifest['dataset']})",
            overview(store),
            f"cite: {manifest['citation']}",
            "",
            shown.to_string(index=False, max_rows=40),
            "",
            store.stimuli.round(3).to_string(index=False),
        ]
    )


def heard(store: Store):
    """The recordings with a sound, of the store's first condition that has any: a table."""
    rows = store.recordings
    rows = rows[rows["stimulus"] != ""]
    return rows[rows["condition"] == rows["condition"].iloc[0]]


def excerpt(store: Store, recording, *, tmin=0.0, tmax=10.0, n_channels=10):
    """Some channels of a recording, spread evenly over its list: names, microvolts ``(n_channels, n_times)``, rate."""
    row = store.row(recording)
    start, stop = int(tmin * row["sfreq"]), int(tmax * row["sfreq"])
    if not 0 <= start < min(stop, row["n_times"]):
        raise ParameterError(
            f"{recording} has {row['n_times'] / row['sfreq']:.1f} s; nothing lies between {tmin:g} and {tmax:g} s."
        )
    picks = np.unique(np.linspace(0, row["n_channels"] - 1, n_channels).astype(int))
    names = store.ch_names(recording)
    return [names[i] for i in picks], store.eeg(recording)[picks, start:stop] * MICROVOLT, row["sfreq"]


@dataclass(frozen=True)
class Representation:
    """One second as a model sees it: of one EEG channel, or of the sound.

    Attributes
    ----------
    kind : str
        One of `eegviz.features.EEG_KINDS` or `eegviz.features.AUDIO_KINDS`.
    x : np.ndarray or tuple of str
        Seconds from the start of the second (raw), hertz (spectra), names of bands (entropies), or seconds of the frames.
    values : np.ndarray
        µV, µV²/Hz or nats, one for each `x`; of a sound the normalised ``(n_frames, n_bins)``.
    unit : str
    recording, channel, stimulus : str
        `channel` is empty for a sound.
    second : int
        Of the stimulus.
    """

    kind: str
    x: object = field(repr=False)
    values: np.ndarray = field(repr=False)
    unit: str
    recording: str
    channel: str
    stimulus: str
    second: int

    @property
    def of_sound(self):
        """True for a spectrogram of the sound."""
        return self.kind in features.AUDIO_KINDS


def seconds_of(store: Store, recording):
    """First second of the stimulus that a recording holds as a whole, and the first that it does not: a range of seconds."""
    row = store.row(recording)
    first = int(np.ceil(row["start"]))
    end = row["start"] + row["n_times"] / row["sfreq"]
    if row["stimulus"]:
        durations = dict(zip(store.stimuli["stimulus"], store.stimuli["duration"], strict=True))
        end = min(end, durations[row["stimulus"]])
    return range(first, max(first, int(np.floor(end + 1e-6))))


def representation(store: Store, recording, *, kind="raw", channel=None, second=None) -> Representation:
    """One second of a recording in the representation called `kind`.

    Parameters
    ----------
    store : Store
    recording : str
    kind : str
        Of the EEG: raw, periodogram, welch, de; of the sound that was heard: mel, mel-db, linear, linear-db, mel-80,
        mel-80-db.
    channel : str, optional
        Default the first; of no matter for sound.
    second : int, optional
        Whole second of the stimulus; default the first that the recording holds.

    Returns
    -------
    Representation

    Raises
    ------
    ParameterError
        An unknown kind or channel, a second that is not there, or a sound where nothing was heard.
    """
    row, names, held = store.row(recording), store.ch_names(recording), seconds_of(store, recording)
    second = held.start if second is None else second
    if second not in held:
        raise ParameterError(
            f"{recording} holds the seconds {held.start} to {held.stop - 1} of its stimulus; found second {second!r}."
        )
    facts = {"recording": recording, "stimulus": row["stimulus"], "second": int(second)}
    if kind in features.AUDIO_KINDS:
        if not row["stimulus"]:
            raise ParameterError(f"{recording} has no stimulus, so there is no sound to show. Choose a kind of EEG.")
        sound, sr = store.audio(row["stimulus"])
        power = features.spectrogram(
            sound[int(second * sr) : int((second + 1) * sr)][None], kind=kind.removesuffix("-db")
        )
        shown = features.to_db(power) if kind.endswith("-db") else power
        picture = features.normalise(shown, kind=kind, ref_db=features.default_ref_db(kind))[0]
        return Representation(kind, features.frame_times(len(picture)), picture, "Level", channel="", **facts)
    if kind not in features.EEG_KINDS:
        raise features.unknown("representation", kind, (*features.EEG_KINDS, *features.AUDIO_KINDS))
    channel = names[0] if channel is None else channel
    if channel not in names:
        raise ParameterError(
            f"{recording} has no channel {channel!r}; it has {', '.join(names[:12])}"
            f"{f' and {len(names) - 12} more' if len(names) > 12 else ''}."
        )
    sfreq, n = row["sfreq"], round(row["sfreq"])
    first = int(round((second - row["start"]) * sfreq))
    volts = np.asarray(store.eeg(recording)[names.index(channel), first : first + n])
    values = features.eeg_picture((volts * np.float32(MICROVOLT))[None, None], kind=kind, sfreq=sfreq)[0, :, 0]
    x, unit = {
        "raw": (np.arange(len(values)) / sfreq, "µV"),
        "de": (tuple(features.BANDS), "nats"),
    }.get(kind, (np.arange(len(values)) * sfreq / n, "µV²/Hz"))
    return Representation(kind, x, values, unit, channel=channel, **facts)


def mean_spectrum(store: Store, recording):
    """Welch spectrum of a recording (2-s Hann segments): hertz ``(n_freqs,)`` from .5, µV²/Hz ``(n_channels, n_freqs)``."""
    row = store.row(recording)
    nperseg = min(int(2 * row["sfreq"]), row["n_times"])
    freqs, density = scipy.signal.welch(store.eeg(recording) * np.float32(MICROVOLT), row["sfreq"], nperseg=nperseg)
    keep = (freqs >= 0.5) & (freqs <= min(50, row["sfreq"] / 2))
    return freqs[keep], density[:, keep]


def band_power(freqs, density, *, bands=None):
    """Mean density of each band in dB re 1 µV²/Hz: a dict of ``(n_channels,)``; bands above Nyquist are left out."""
    result = {}
    for name, (low, high) in (bands or BANDS).items():
        inside = (freqs >= low) & (freqs < high)
        if inside.any():
            result[name] = 10 * np.log10(density[:, inside].mean(1) + 1e-12)
    return result


def tempo_spectra(store: Store, *, fmin=0.5, fmax=12.0):
    """Spectrum of the listeners' average for every stimulus with a known tempo, divided by its neighbours.

    Parameters
    ----------
    store : Store
        ``stimuli`` needs a column ``bpm``.
    fmin, fmax : float
        Hertz.

    Returns
    -------
    dict
        stimulus → (hertz, ratio): the mean over channels of power divided by that of the bins around (1 = no peak).
    """
    stimuli = store.stimuli
    if "bpm" not in stimuli:
        return {}
    rows, result = heard(store), {}
    for stimulus in stimuli.loc[stimuli["bpm"].notna(), "stimulus"]:
        mine = rows[rows["stimulus"] == stimulus]
        if mine.empty or mine["sfreq"].nunique() > 1 or mine["n_channels"].nunique() > 1 or mine["start"].nunique() > 1:
            continue
        n = int(mine["n_times"].min())
        average = sum(store.eeg(r)[:, :n].astype(np.float64) for r in mine["recording"]) * (MICROVOLT / len(mine))
        freqs, power = scipy.signal.periodogram(average, float(mine["sfreq"].iloc[0]), window="hann")
        ratio = (power / _around(power)).mean(0)
        keep = (freqs >= fmin) & (freqs <= fmax)
        result[stimulus] = (freqs[keep], ratio[keep])
    return result


def tempo_table(store: Store, spectra) -> pd.DataFrame:
    """Peaks at the tempo and its multiples, and how many of 100 other frequencies reach as high.

    ``other frequencies as high (%)`` is the share of all frequencies of the spectrum whose ratio is at least the best
    of the marked ones, corrected for looking at several: 100 means nothing special, below 5 is rare by chance.
    """
    stimuli = store.stimuli.set_index("stimulus")
    rows = []
    for stimulus, (freqs, ratio) in spectra.items():
        bpm = float(stimuli.loc[stimulus, "bpm"])
        marked = {m: float(ratio[np.abs(freqs - m * bpm / 60).argmin()]) for m in TEMPO_MULTIPLES}
        share = float((ratio >= max(marked.values())).mean())
        rows.append(
            {
                "stimulus": stimulus,
                "title": stimuli.loc[stimulus, "title"],
                "bpm": bpm,
                **{f"ratio at {m} × tempo": round(v, 2) for m, v in marked.items()},
                "other frequencies as high (%)": round(100 * (1 - (1 - share) ** len(marked)), 1),
            }
        )
    return pd.DataFrame(rows)


def _around(power):
    """Mean of the bins around each bin, without it and its next neighbours."""
    near, far = NEIGHBOURS
    kernel = np.ones(2 * far + 1)
    kernel[far - near + 1 : far + near] = 0
    padded = np.pad(power, ((0, 0), (far, far)), mode="reflect")
    return scipy.signal.fftconvolve(padded, (kernel / kernel.sum())[None], "valid", axes=1) + 1e-12
