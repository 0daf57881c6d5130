"""Which training clips of a run a level is chosen from (for `eegviz.tuning`): nothing of the test side gets here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from eegviz import features, reconstruction
from eegviz.errors import ParameterError

CLIP_S = 5  # seconds


@dataclass(frozen=True)
class Asked:
    """A run, its windows and split, and which training clips of which songs are listened to."""

    run: object
    store: object
    windows: object = field(repr=False)
    split: object = field(repr=False)
    songs: tuple
    n_clips: int
    seed: int

    @classmethod
    def of(cls, run, store, songs, windows, split, n_clips, seed):
        if int(n_clips) != n_clips or n_clips < 1:
            raise ParameterError(f"n_clips must be a whole number above 0; found {n_clips!r}.")
        windows = run.windows(store) if windows is None else windows
        split = run.split(windows) if split is None else split
        there = np.unique(windows.table["stimulus"].to_numpy(str)[split.train]).tolist()
        unknown = sorted(set(songs or ()) - set(windows.songs))
        if unknown:
            raise ParameterError(f"unknown songs {', '.join(unknown)}; the run has {', '.join(windows.songs)}.")
        chosen = tuple(song for song in there if songs is None or song in songs)
        return cls(run, store, windows, split, chosen, int(n_clips), seed)

    @property
    def audio(self):
        return self.windows.settings["audio"]

    def made_with(self, song):
        return features.ref_db_of(self.windows.settings["ref_db"], song)

    def clips(self):
        """Each song that has any with some of its training clips, by seed: ``(recording, start)``."""
        for song in self.songs:
            rng = np.random.default_rng([self.seed, *song.encode()])  # whatever other songs are asked for
            clips = training_clips(self.windows, self.split.train, song)
            chosen = rng.permutation(len(clips))[: self.n_clips]
            if len(chosen):
                yield song, [clips[i] for i in sorted(chosen)]

    def reconstruct(self, recording, start, *, ref_db):
        return reconstruction.reconstruct(
            self.run, recording, start=start, duration=CLIP_S, ref_db=ref_db, seed=self.seed, windows=self.windows,
            split=self.split, store=self.store,
        )  # fmt: skip

    def original(self, song, start):
        return reconstruction.original(self.run, song, start=start, duration=CLIP_S, opened=self.store)[0]


def training_clips(windows, train, stimulus):
    """The clips that a level may be chosen from: every five training seconds in a row of a stimulus, without overlap.

    Parameters
    ----------
    windows : Windows
    train : np.ndarray
        Rows of the training side, ``split.train``.
    stimulus : str

    Returns
    -------
    list of (str, int)
        Recording and first second.
    """
    rows = windows.table.iloc[train]
    rows = rows[rows["stimulus"] == stimulus]
    clips = []
    for recording, begins in rows.groupby("recording")["second"]:
        values = np.unique(np.add.outer(begins.to_numpy(), np.arange(windows.duration)))
        i = 0
        while i + CLIP_S <= len(values):
            if values[i + CLIP_S - 1] - values[i] == CLIP_S - 1:
                clips.append((str(recording), int(values[i])))
                i += CLIP_S
            else:
                i += 1
    return clips
