"""Rows of a grid from runs: the original of a song beside its reconstructions, from several listeners or conditions."""

from __future__ import annotations

import numpy as np

from eegviz import features, inversion, reconstruction
from eegviz.errors import ParameterError
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
    made = reconstruction.reconstruct
    options = {"duration": duration, "overlap": overlap, "sr": sr, "windows": windows, "split": split, "store": store}
    rows = []
    for song in songs:
        of_song = test[test["stimulus"] == song].drop_duplicates("subject").head(n_listeners)
        drawn = [made(run, r, ref_db=(ref_db or {}).get(song), **options) for r in of_song["recording"]]
        original, true = _original(run, store, windows, drawn[0], duration, sr)
        clips = [_drawn(run, one, true, who, duration) for one, who in zip(drawn, of_song["subject"], strict=True)]
        rows.append((_title(store, song), (original, *clips, *[None] * (n_listeners - len(drawn)))))
    columns = ("Original", *(f"Listener {i + 1}" for i in range(n_listeners)))
    return Grid(
        columns, tuple(rows), f"{_simulated(store)}{duration} s of test seconds, split {split.spec}: {split.label}"
    )


def conditions_grid(found, store, *, songs=None, duration=10, overlap=0.5, sr=16000):
    """A grid as on the demo page of imagined music: a row a song, the original, and one listener under each condition.

    Parameters
    ----------
    found : dict of str to Run
        Runs by the name of their column, such as ``{"perceived": …, "imagined": …}``.
    store : Store
    songs : sequence of str, optional
        Stimuli; default those in the test side of all runs.
    duration : int
        Seconds of each clip.
    overlap, sr
        See `eegviz.reconstruction.reconstruct`; the defaults are the demo page's clips.

    Returns
    -------
    Grid

    Raises
    ------
    ParameterError
        No song and listener is in the test side of all runs.
    """
    windows = {name: run.windows(store) for name, run in found.items()}
    splits = {name: run.split(windows[name]) for name, run in found.items()}
    tests = {name: windows[name].table.iloc[splits[name].test] for name in found}
    shared = set.intersection(*(set(zip(t["stimulus"], t["subject"], strict=True)) for t in tests.values()))
    if not shared:
        raise ParameterError("no listener and song is in the test side of all runs; give runs of one store and split.")
    rows = []
    for song in sorted({song for song, _ in shared}) if songs is None else songs:
        who = min(subject for own, subject in shared if own == song)
        clips, start = [], None
        for name, run in found.items():
            mine = tests[name][(tests[name]["stimulus"] == song) & (tests[name]["subject"] == who)]
            one = reconstruction.reconstruct(
                run, mine["recording"].iloc[0], start=start, duration=duration, overlap=overlap, sr=sr,
                windows=windows[name], split=splits[name], store=store,
            )  # fmt: skip
            start = one.start
            if not clips:
                original, true = _original(run, store, windows[name], one, duration, sr)
                clips.append(original)
            clips.append(_drawn(run, one, true, who, duration))
        rows.append((_title(store, song), tuple(clips)))
    specs = ", ".join(dict.fromkeys(f"{name}: split {split.spec}" for name, split in splits.items()))
    caption = f"{_simulated(store)}{duration} s of test seconds, windows overlapping by {overlap:.0%}; {specs}"
    return Grid(("Original", *found), tuple(rows), caption)


def picture_clip(title, picture, windows, *, note="", seed=0):
    """A `Clip` of one normalised spectrogram ``(n_frames, n_bins)`` of the windows' kind, through their sound step.

    White is the picture's own largest value, so that a faint one can be seen too.
    """
    settings = windows.settings
    level = float(np.mean(list(settings["ref_db"].values())))
    picture = np.asarray(picture)[None]
    sound = inversion.reconstruct(picture, audio=settings["audio"], ref_db=level, max_db=settings["max_db"], seed=seed)
    return clip(title, sound, features.SR, picture, note=note, clim=(0, max(float(picture.max()), 1e-3)))


def _original(run, store, windows, drawn, duration, sr):
    """The clip of the true sound of the seconds of a reconstruction, and the sound itself."""
    song, start = drawn.stimulus, drawn.start
    true, rate = reconstruction.original(run, song, start=start, duration=duration, opened=store, sr=sr)
    pictures = windows.picture(song, np.arange(start, start + duration))
    return clip(f"{song}, original", true, rate, pictures, note=f"from second {start}"), true


def _drawn(run, drawn, true, who, duration):
    note = f"listener {who}, {_score(run, drawn, duration)}"
    name = f"{drawn.stimulus}, reconstruction from {who}"
    return clip(name, drawn.sound, drawn.sr, drawn.pictures, reference=true, note=note)


def _title(store, song):
    titles = store.stimuli.set_index("stimulus")["title"]
    return f"{song} {titles.get(song, '')}".strip()


def _simulated(store):
    return "SIMULATED EEG; " if store.manifest["simulated"] else ""


def _score(run, made, duration):
    """Mean retrieval percentile of the clip's windows, with chance."""
    scores = run.scores
    inside = (scores["recording"] == made.recording) & scores["second"].between(made.start, made.start + duration - 1)
    if not inside.any():
        return "not scored"
    return f"retrieval {scores.loc[inside, 'retrieval'].mean():.2f} (chance .50, n = {int(inside.sum())} s)"
