"""Rows of a grid from a run: the original of a song beside its reconstructions from several listeners."""

from __future__ import annotations

import numpy as np

from eegviz import reconstruction
from eegviz.listening.grid import Grid, clip


def listeners_grid(
    run, store, *, songs=None, n_listeners=2, duration=5, overlap=0.0, sr=None, ref_db=None, windows=None, split=None
):
    """A grid as on the demo pages: a row a song, the original, and reconstructions from `n_listeners` listeners.

    Every reconstruction is of test seconds of the run, and its score stands below it with the chance level.

    Parameters
    ----------
    run : Run
    store : Store
    songs : sequence of str, optional
        Stimuli; default all in the test side.
    n_listeners : int
    duration : int
        Seconds of each clip.
    overlap, sr
        See `eegviz.reconstruction.reconstruct`; the demo page's clips are 10 s at 16 kHz.
    ref_db : dict, optional
        Level per stimulus, such as `eegviz.tuning.match_level` finds.
    windows, split : optional
        Those of the run, when they are at hand.

    Returns
    -------
    Grid
    """
    windows = run.windows(store) if windows is None else windows
    split = run.split(windows) if split is None else split
    test = windows.table.iloc[split.test]
    songs = sorted(test["stimulus"].unique()) if songs is None else list(songs)
    n_listeners = min(n_listeners, test["subject"].nunique())
    titles = store.stimuli.set_index("stimulus")["title"]
    options = {"overlap": overlap, "sr": sr, "windows": windows, "split": split, "store": store}
    rows = []
    for song in songs:
        of_song = test[test["stimulus"] == song]
        recordings = of_song.drop_duplicates("subject")["recording"].tolist()[:n_listeners]
        made = [
            reconstruction.reconstruct(run, r, duration=duration, ref_db=(ref_db or {}).get(song), **options)
            for r in recordings
        ]
        true, rate = reconstruction.original(run, song, start=made[0].start, duration=duration, opened=store, sr=sr)
        seconds = np.arange(made[0].start, made[0].start + duration)
        clips = [
            clip(f"{song}, original", true, rate, windows.picture(song, seconds), note=f"from second {seconds[0]}")
        ]
        for one in made:
            subject = of_song.loc[of_song["recording"] == one.recording, "subject"].iloc[0]
            note = f"listener {subject}, {_score(run, one, duration)}"
            name = f"{song}, reconstruction from {subject}"
            clips.append(clip(name, one.sound, one.sr, one.pictures, reference=true, note=note))
        clips += [None] * (1 + n_listeners - len(clips))
        rows.append((f"{song} {titles.get(song, '')}".strip(), tuple(clips)))
    columns = ("Original", *(f"Listener {i + 1}" for i in range(n_listeners)))
    simulated = "SIMULATED EEG; " if store.manifest["simulated"] else ""
    caption = f"{simulated}{duration} s of test seconds, split {split.spec}: {split.label}"
    return Grid(columns, tuple(rows), caption)


def _score(run, made, duration):
    """Mean retrieval percentile of the clip's windows, with chance."""
    scores = run.scores
    inside = (scores["recording"] == made.recording) & scores["second"].between(made.start, made.start + duration - 1)
    if not inside.any():
        return "not scored"
    return f"retrieval {scores.loc[inside, 'retrieval'].mean():.2f} (chance .50, n = {int(inside.sum())} s)"
