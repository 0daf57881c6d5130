"""Controls: the same weights, other EEG. What does the trained network say when the brain signal is taken away?

- **zero EEG**: silence in every channel; what the network says by heart.
- **noise EEG**: noise with the spectrum of each recording and the same relations between its channels, by turning the
  phases of its transform at random, alike in all channels (Prichard & Theiler 1994, doi:10.1103/PhysRevLett.73.951).
- **shuffled**: EEG of another second of the same recording, in blocks (`eegviz.stats.permute_within`, no window keeps
  its place): all that marks song and recording stays, only the time is wrong.
- **other listener**: the EEG of another test listener for the same second of the same song. A decoder that works across
  listeners keeps its score; noise that belongs to one recording does not.
- **silence**: EEG from before the song, where the store has recordings of that condition.
- **time shift**: EEG from some seconds earlier or later. A score that comes from the second itself falls off on both
  sides of 0.

Functions: `shuffled`, `other_listener`, `shifted`, `Substitute` (zero, noise and silence).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from eegviz import fitting, stats, windowing
from eegviz.errors import ParameterError

CONTROLS = ("zero EEG", "noise EEG", "shuffled", "other listener", "silence")
SHIFTS = (-10, -5, -2, -1, 0, 1, 2, 5, 10)  # seconds; above 0: EEG from after the sound
BLOCKS = (stats.BLOCK, 2.0, 1.0)  # seconds; the longest that leaves every recording something to exchange


def shifts(length):
    """Shifts in seconds that windows of `length` seconds can have: `SHIFTS`, away from 0 to the next multiple.

    >>> shifts(4)
    (-12, -8, -4, 0, 4, 8, 12)
    """
    return tuple(sorted({int(np.sign(one) * -(-abs(one) // length) * length) for one in SHIFTS}))


def shuffled(table, *, seed=0):
    """Which window's EEG each window gets so that none keeps its own: positions ``(n,)``.

    Blocks of 5 s change places, or shorter ones where a recording has a single block; all -1 where a recording has one
    window only.
    """
    for length in BLOCKS:
        try:
            return stats.permute_within(table, length=length, derange=True, seed=seed)
        except ParameterError:
            continue
    return np.full(len(table), -1)


def other_listener(table):
    """The window of another listener for the same second of the same song, condition and hearing, where there is one.

    Listeners follow each other in a ring by name, so that each lends his EEG once.

    Parameters
    ----------
    table : pandas.DataFrame
        Test windows: subject, stimulus, repeat, second, and condition where there are several.

    Returns
    -------
    np.ndarray of int [shape=(n,)]
        Positions; -1 where no other listener has this second.
    """
    frame = table.reset_index(drop=True)
    partner = np.full(len(frame), -1)
    same = [column for column in ("stimulus", "condition", "repeat", "second") if column in frame]
    for rows in frame.groupby(same, sort=False).indices.values():
        people = frame["subject"].to_numpy(str)[rows]
        ring, first = np.unique(people, return_index=True)
        if len(ring) > 1:
            following = dict(zip(ring, np.roll(rows[first], -1), strict=True))
            partner[rows] = [following[one] for one in people]
    return partner


def shifted(table, seconds):
    """The window of the same recording whose EEG comes `seconds` later: positions ``(n,)``, -1 where there is none."""
    frame = table.reset_index(drop=True)
    own = pd.MultiIndex.from_frame(frame[["recording", "second"]])
    wanted = pd.MultiIndex.from_arrays([frame["recording"], frame["second"] + seconds])
    return own.get_indexer(wanted)


class Substitute:
    """Predictions of a trained run for EEG that its listeners never had.

    Parameters
    ----------
    run : Run
    windows : Windows
    opened : Store
    seed : int
        Of the noise.
    net : torch.nn.Module, optional
        What answers in place of the run's network, such as the part of it that embeds.
    """

    def __init__(self, run, windows, opened, *, seed=0, net=None):
        self._windows, self._store, self._seed = windows, opened, seed
        compute = fitting.Compute.choose("auto", run.provenance["precision"])
        self._blocks = fitting.predictor(run.network() if net is None else net, compute=compute)
        self._zero = None

    def predict(self, eeg):
        """Outputs of the run for EEG pictures ``(n, n_rows, n_channels)``."""
        return np.concatenate(list(self._blocks(lambda i: (eeg[i], None), np.arange(len(eeg)))))

    def zero(self, n):
        """The one answer to no signal at all, for `n` windows."""
        if self._zero is None:
            self._zero = self.predict(np.zeros((1, *self._windows.in_shape), np.float32))[0]
        return np.broadcast_to(self._zero, (n, *self._zero.shape))

    def noise(self, table):
        """Answers to noise with the spectrum of each window's recording."""
        parts, order = [], []
        for recording, rows in table.reset_index(drop=True).groupby("recording", sort=True).indices.items():
            row = self._store.row(recording)
            fake = phases_at_random(
                windowing.signal(self._store, recording), np.random.default_rng([self._seed, *recording.encode()])
            )
            seconds = table["second"].to_numpy()[rows]
            parts.append(self.predict(windowing.recording_pictures(fake, row, seconds, self._windows.settings)))
            order.append(rows)
        return np.concatenate(parts)[np.argsort(np.concatenate(order))]

    def silence(self, table):
        """Answers to the listener's EEG before the song, second after second and again from the start; None without any.

        Raises
        ------
        ParameterError
            With the reason why this store cannot say.
        """
        quiet = self._store.recordings
        quiet = quiet[quiet["condition"] == "silence"]
        if quiet.empty:
            raise ParameterError("the store has no recordings of silence")
        out = None
        for recording, rows in table.reset_index(drop=True).groupby("recording", sort=True).indices.items():
            row = self._store.row(recording)
            mine = quiet[quiet["subject"] == row["subject"]]
            if "before" in mine and (mine["before"] == row["stimulus"]).any():
                mine = mine[mine["before"] == row["stimulus"]]
            pictures = [self._quiet_pictures(name) for name in mine["recording"]]
            if not sum(map(len, pictures)):
                length = self._windows.duration
                whole = "whole second" if length == 1 else f"window of {length} s"
                raise ParameterError(f"listener {row['subject']} has no {whole} of silence")
            answers = self.predict(np.concatenate(pictures))
            if out is None:
                out = np.empty((len(table), *answers.shape[1:]), np.float32)
            out[rows] = answers[np.arange(len(rows)) % len(answers)]
        return out

    def _quiet_pictures(self, recording):
        settings = self._windows.settings
        names, row = self._store.ch_names(recording), self._store.row(recording)
        missing = sorted(set(settings["ch_names"]) - set(names))
        if missing:
            raise ParameterError(f"the silence {recording} lacks the channels {', '.join(missing[:5])}")
        picked = [names.index(name) for name in settings["ch_names"]]
        signal = windowing.signal(self._store, recording)[picked]
        if row["sfreq"] != settings["sfreq"]:
            from mne.filter import resample

            signal = resample(signal.astype(float), settings["sfreq"], row["sfreq"], verbose="error").astype(np.float32)
        length = self._windows.duration
        last = int(signal.shape[1] / settings["sfreq"]) - length + 1
        there = row | {"start": 0.0, "sfreq": settings["sfreq"], "n_times": signal.shape[1]}
        return windowing.recording_pictures(signal, there, np.arange(0, last, length), settings)


def phases_at_random(signal, rng):
    """A surrogate of ``(n_channels, n_times)`` with the same spectra and the same relations between the channels."""
    spectrum = np.fft.rfft(signal, axis=1)
    turn = np.exp(2j * np.pi * rng.random(spectrum.shape[1]))
    turn[0] = 1
    if signal.shape[1] % 2 == 0:
        turn[-1] = 1  # half the rate has no phase
    return np.fft.irfft(spectrum * turn, signal.shape[1], axis=1).astype(np.float32)
