"""Clips of one stretch of a test recording under other conditions: other EEG, other guidance, played chords."""

from __future__ import annotations

import numpy as np

from eegviz import controls, features, generation, inversion, reconstruction, synthesiser
from eegviz.listening.grid import Clip, Grid, clip
from eegviz.listening.rows import simulated, stretch, title_of


def other_eeg_clips(run, store, *, duration=5, seed=0) -> dict[str, Clip]:
    """What a run draws for the same seconds under its own and under other EEG, from the same noise.

    Parameters
    ----------
    run : Run
        A regression run.
    store : Store
    duration : int
        Seconds at most, of the first test recording that has them in a row.
    seed : int
        Of the noise EEG and of shuffling.

    Returns
    -------
    dict of str to Clip
        original, real EEG, zero EEG, noise EEG, shuffled.
    """
    part = _Part(run, store, duration)
    substitute = controls.Substitute(run, part.windows, store, seed=seed)
    giver = controls.shuffled(part.test, seed=seed)[part.rows]
    drawn = {
        "real EEG": run.predictions[part.rows], "zero EEG": substitute.zero(len(part.rows)),
        "noise EEG": substitute.noise(part.test.iloc[part.rows].reset_index(drop=True)),
    }  # fmt: skip
    drawn |= {"shuffled": run.predictions[giver]} if (giver >= 0).all() else {}
    return {"original": part.original()} | {name: part.clip(name, pictures) for name, pictures in drawn.items()}


def guidance_clips(run, store, *, guidances=generation.GUIDANCES, duration=5) -> dict[str, Clip]:
    """What a diffusion run draws for the same seconds and from the same noise at several strengths of guidance, by their names.

    Parameters
    ----------
    run : Run
        Of a model with guidance.
    store : Store
    guidances : sequence of float
    duration : int
        As in `other_eeg_clips`.
    """
    part = _Part(run, store, duration)
    eeg = part.windows.pictures(part.split.test[part.rows])
    return {f"{one:g}": part.clip(f"guidance {one:g}", generation.drawn(run, eeg, guidance=one)) for one in guidances}


def emotions_grid(run, felt, store, *, duration=8) -> Grid:
    """A row for each quadrant of valence and arousal: the original, what the run draws, and its chords as a synthesiser plays them.

    Parameters
    ----------
    run : Run
        Of windows of several seconds.
    felt : eegviz.emotion.Emotion
        The predicted ratings that the synthesiser follows.
    store : Store
    duration : int
        Seconds at most.
    """
    windows, rows = run.windows(store), []
    for quadrant, found in felt.table.groupby("quadrant", sort=True):
        row = found.iloc[0]
        part = _Part(run, store, duration, recording=row["recording"], windows=windows)
        valence, arousal = (float(np.clip(row[f"predicted_{name}"], 1, 9)) for name in ("valence", "arousal"))
        drawn = run.predictions[part.rows]
        _, played = synthesiser.from_pictures(
            drawn,
            kind=windows.settings["audio"],
            valence=np.full(len(drawn), valence),
            arousal=np.full(len(drawn), arousal),
        )
        note = (
            f"rated valence {row['valence']:.1f}, arousal {row['arousal']:.1f}; predicted from EEG {valence:.1f} and "
            f"{arousal:.1f}"
        )
        clips = (part.original(), part.clip("drawn", drawn), part.played("its chords", played, note=note))
        rows.append((f"{quadrant}: {title_of(store, row['stimulus'])}, listener {row['subject']}", clips))
    caption = f"{simulated(store)}{duration} s of test seconds; the synthesiser's rules are our choice"
    return Grid(("Original", "Drawn from EEG", "Its chords, played"), tuple(rows), caption)


class _Part:
    """Test windows in a row of one recording."""

    def __init__(self, run, store, duration, *, recording=None, windows=None):
        self.run, self.store = run, store
        self.windows = run.windows(store) if windows is None else windows
        self.split = run.split(self.windows)
        self.test = self.windows.table.iloc[self.split.test].reset_index(drop=True)
        best, length = (0, 0, ""), self.windows.duration
        for name in self.test["recording"].unique() if recording is None else [recording]:
            seconds = self.test.loc[self.test["recording"] == name, "second"].to_numpy() // length
            start, n = stretch(sorted(seconds.tolist()), max(1, duration // length))
            if n > best[1]:
                best = start * length, n, name
        self.start, n, self.recording = best
        mine = self.test["recording"] == self.recording
        self.rows = np.flatnonzero(mine & self.test["second"].between(self.start, self.start + (n - 1) * length))
        self.seconds = n * length
        self.stimulus, self.listener = (str(self.test[key].iloc[self.rows[0]]) for key in ("stimulus", "subject"))

    def original(self):
        """The clip of the true sound."""
        self._true, rate = reconstruction.original(
            self.run, self.stimulus, start=self.start, duration=self.seconds, opened=self.store
        )
        pictures = self.windows.target(self.split.test[self.rows])
        note = f"from second {self.start}"
        return clip(f"{self.stimulus}, original", self._true, rate, pictures, note=note, song=self.stimulus)

    def clip(self, name, pictures):
        """The clip of pictures of the windows, turned to sound."""
        settings = self.windows.settings
        each = np.asarray(pictures, np.float32).reshape(self.seconds, -1, pictures.shape[-1])
        level = {"ref_db": features.ref_db_of(settings["ref_db"], self.stimulus), "max_db": settings["max_db"]}
        sound = inversion.reconstruct(each, audio=settings["audio"], **level)
        return self._clip(name, sound, pictures)

    def played(self, name, sound, *, note):
        """The clip of a sound that was made otherwise."""
        power = features.spectrogram(sound[None], kind="mel")
        pictures = features.normalise(features.to_db(power), kind="mel-db")
        return self._clip(name, sound, pictures, note=note)

    def _clip(self, name, sound, pictures, *, note=""):
        if not hasattr(self, "_true"):
            self.original()
        return clip(
            f"{self.stimulus}, {name}", sound, features.SR, pictures, reference=self._true, note=note, song=self.stimulus,
            listener=self.listener, condition=name,
        )  # fmt: skip
