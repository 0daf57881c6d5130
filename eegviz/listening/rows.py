"""Rows of a grid from runs: the original of a song beside its reconstructions, from several listeners or conditions.

Functions: `listeners_grid`, `unseen_grid`, `conditions_grid`, `segments_grid`, `picture_clip`; `common_seconds` and
`shared_seconds` (how long their clips can be), `holds_out_songs`, `stretch`, `title_of`, `simulated`.
"""

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
        held = [_seconds(test.loc[test["recording"] == r, "second"], windows.duration) for r in of_song["recording"]]
        start, n = stretch(sorted(set.intersection(*held)), duration)
        options["start"] = start if n == duration else None  # else each from where its own test seconds are
        drawn = [made(run, r, ref_db=(ref_db or {}).get(song), **options) for r in of_song["recording"]]
        original, true = _original(run, store, windows, drawn[0], duration, sr)
        clips = [_drawn(run, store, one, true, duration) for one in drawn]
        rows.append((title_of(store, song), (original, *clips, *[None] * (n_listeners - len(drawn)))))
    columns = ("Original", *(f"Listener {i + 1}" for i in range(n_listeners)))
    how = f", windows overlapping by {overlap:.0%}" if overlap else ""
    caption = f"{simulated(store)}{duration} s of test seconds{how}, split {split.spec}: {split.label}"
    return Grid(columns, tuple(rows), caption)


def unseen_grid(run, store, *, n_listeners=5, duration=5, overlap=0.0, sr=None):
    """A row for each song that the run never met: the original, and reconstructions from several listeners.

    Parameters
    ----------
    run : Run
        Of a split that holds out songs.
    store : Store
    n_listeners : int
        The demo page has five.
    duration, overlap, sr
        As in `listeners_grid`.

    Returns
    -------
    Grid

    Raises
    ------
    ParameterError
        The run has met every song.
    """
    if not holds_out_songs(run):
        raise ParameterError(
            f"run {run.path.name} has split {run.config['split']['spec']}, which holds out no song; give a run of "
            "split song or subject_song."
        )
    made = listeners_grid(run, store, n_listeners=n_listeners, duration=duration, overlap=overlap, sr=sr)
    rows = tuple((f"{label} (unseen song)", clips) for label, clips in made.rows)
    return Grid(made.columns, rows, made.caption)


def holds_out_songs(run):
    """Whether the split of a run keeps whole songs from training."""
    return run.config["split"]["spec"].partition(":")[0] in ("song", "subject_song")


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
        No second of a song is in the test side of all runs, for any listener.
    """
    beside, rows = _Beside(found, store), []
    for song in beside.songs if songs is None else songs:
        recordings, seconds = beside.held(song)
        start, n = stretch(seconds, duration)
        if n:
            clips = beside.clips(recordings, start=start, duration=n, overlap=overlap, sr=sr)
            rows.append((title_of(store, song) + (f", {n} s" if n < duration else ""), clips))
    caption = (
        f"{simulated(store)}up to {duration} s of test seconds, windows overlapping by {overlap:.0%}; {beside.specs}"
    )
    return Grid(("Original", *found), _some(rows), caption)


def segments_grid(found, store, *, songs=None, n_songs=3, n_segments=3, duration=5, sr=None):
    """A grid as on the demo page of latent diffusion: rows of segments of each song, the original, and a column a run.

    Parameters
    ----------
    found, store, songs
        As in `conditions_grid`; without `songs` the first `n_songs` of them.
    n_songs, n_segments : int
        At most so many; the segments of a song do not overlap and lie evenly over the seconds that all runs hold out.
    duration : int
        Seconds of each clip; the demo page's have 5.12 s.
    sr : int, optional
        See `eegviz.reconstruction.reconstruct`.

    Returns
    -------
    Grid

    Raises
    ------
    ParameterError
        No segment is in the test side of all runs, for any listener.
    """
    beside, rows = _Beside(found, store), []
    for song in beside.songs[:n_songs] if songs is None else songs:
        recordings, seconds = beside.held(song)
        starts = _segments(seconds, duration)
        chosen = np.unique(np.linspace(0, len(starts) - 1, min(n_segments, len(starts))).round().astype(int))
        for start in (starts[i] for i in chosen):
            clips = beside.clips(recordings, start=start, duration=duration, overlap=0.0, sr=sr)
            rows.append((f"{title_of(store, song)}, from second {start}", clips))
    caption = f"{simulated(store)}{duration} s of test seconds; {beside.specs}"
    return Grid(("Original", *found), _some(rows), caption)


class _Beside:
    """Runs of one store that stand beside each other, and the test seconds that they share."""

    def __init__(self, found, store):
        self.found, self.store = found, store
        self.windows = {name: run.windows(store) for name, run in found.items()}
        self.splits = {name: run.split(self.windows[name]) for name, run in found.items()}
        self.tests = {name: self.windows[name].table.iloc[self.splits[name].test] for name in found}
        pairs = (set(zip(test["stimulus"], test["subject"], strict=True)) for test in self.tests.values())
        self._shared = set.intersection(*pairs)

    @property
    def songs(self):
        """Those that one listener's test windows hold in all runs."""
        return sorted({song for song, _ in self._shared})

    @property
    def specs(self):
        """Model, training and split of each column."""
        return "; ".join(
            f"{name}: {run.config['model']['name']}, {run.recipe}, {_epochs(run)}trained on {len(split.train):,} windows, "
            f"split {split.spec}"
            for (name, split), run in zip(self.splits.items(), self.found.values(), strict=True)
        )

    def held(self, song):
        """The first listener whom all runs hold out: a recording of each run, and the seconds that all of them hold."""
        who, recordings, seconds = min((own[1] for own in self._shared if own[0] == song), default=None), {}, []
        for name, test in self.tests.items():
            mine = test[(test["stimulus"] == song) & (test["subject"] == who)]
            recordings[name] = mine["recording"].min()
            seconds.append(
                _seconds(mine.loc[mine["recording"] == recordings[name], "second"], self.windows[name].duration)
            )
        return recordings, sorted(set.intersection(*seconds))

    def clips(self, recordings, *, start, duration, overlap, sr):
        """The original and what each run draws of it."""
        clips = []
        for name, run in self.found.items():
            one = reconstruction.reconstruct(
                run, recordings[name], start=start, duration=duration, overlap=overlap, sr=sr,
                windows=self.windows[name], split=self.splits[name], store=self.store,
            )  # fmt: skip
            if not clips:
                original, true = _original(run, self.store, self.windows[name], one, duration, sr)
                clips.append(original)
            clips.append(_drawn(run, self.store, one, true, duration, condition=name))
        return tuple(clips)


def common_seconds(run, store, *, wanted, n_listeners):
    """Length of the clips of a `listeners_grid` that all its listeners can have: `wanted` seconds, or the most there are.

    Returns
    -------
    int
    """
    windows = run.windows(store)
    test = windows.table.iloc[run.split(windows).test]
    lengths = [
        stretch(sorted(_seconds(test.loc[test["recording"] == one, "second"], windows.duration)), wanted)[1]
        for _, of_song in test.groupby("stimulus")
        for one in of_song.drop_duplicates("subject").head(n_listeners)["recording"]
    ]
    return min(lengths)


def shared_seconds(found, store, *, wanted):
    """Length of the clips of a `conditions_grid` or `segments_grid` that all rows can have, as in `common_seconds`."""
    beside = _Beside(found, store)
    lengths = [n for song in beside.songs if (n := stretch(beside.held(song)[1], wanted)[1])]
    return min(_some(lengths))


def picture_clip(title, picture, windows, *, note="", seed=0):
    """A `Clip` of one normalised spectrogram ``(n_frames, n_bins)`` of the windows' kind, through their sound step.

    White is the picture's own largest value, so that a faint one can be seen too.
    """
    settings = windows.settings
    level = float(np.mean(list(settings["ref_db"].values())))
    picture = np.asarray(picture)[None]
    sound = inversion.reconstruct(picture, audio=settings["audio"], ref_db=level, max_db=settings["max_db"], seed=seed)
    return clip(title, sound, features.SR, picture, note=note, clim=(0, max(float(picture.max()), 1e-3)))


def _epochs(run):
    """How long a run was trained, as a part of a list; empty for a model that is solved in one go."""
    n = len(run.history)
    return "" if run.config["model"]["name"] == "ridge" else f"{n} epoch{'s' * (n != 1)}, "


def _seconds(begins, length):
    """All seconds of windows of some length."""
    return set(np.add.outer(np.asarray(begins, int), np.arange(length)).ravel().tolist())


def stretch(seconds, wanted):
    """First second and number of the seconds in a row among sorted `seconds`: `wanted`, or else the most there are.

    >>> stretch([2, 3, 4, 5, 6, 7], 5), stretch([0, 6, 7, 8], 5), stretch([], 5)
    ((2, 5), (6, 3), (0, 0))
    """
    best, run = (0, 0), 0
    for i, second in enumerate(seconds):
        run = run + 1 if i and second == seconds[i - 1] + 1 else 1
        if run > best[1]:
            best = second - run + 1, run
        if run == wanted:
            break
    return best


def _segments(seconds, length):
    """Where segments of some length begin that lie in sorted `seconds`, one after another.

    >>> _segments([0, 1, 2, 3, 4, 9, 10], 2)
    [0, 2, 9]
    """
    starts, left = [], set(seconds)
    for second in seconds:
        own = set(range(second, second + length))
        if own <= left:
            starts.append(second)
            left -= own
    return starts


def _some(rows):
    if not rows:
        raise ParameterError(
            "no seconds that a listener heard are in the test side of all runs; give runs of one store, and shorter clips."
        )
    return tuple(rows)


def _original(run, store, windows, drawn, duration, sr):
    """The clip of the true sound of the seconds of a reconstruction, and the sound itself."""
    song, start = drawn.stimulus, drawn.start
    true, rate = reconstruction.original(run, song, start=start, duration=duration, opened=store, sr=sr)
    pictures = windows.picture(song, np.arange(start, start + duration), duration=1)
    return clip(f"{song}, original", true, rate, pictures, note=f"from second {start}", song=song), true


def _drawn(run, store, drawn, true, duration, *, condition=None):
    """The clip of a reconstruction, under its recording's own condition where it is given no other."""
    row = store.row(drawn.recording)
    who = str(row["subject"])
    score, n = _score(run, drawn, duration)
    scored = f"n = {n} s".replace(" ", "\u00a0") if n else "not scored"
    note = f"listener {who}, from second {drawn.start}, {scored}"
    return clip(
        f"{drawn.stimulus}, reconstruction from {who}", drawn.sound, drawn.sr, drawn.pictures, reference=true, note=note,
        song=drawn.stimulus, listener=who, condition=str(row["condition"]) if condition is None else condition,
        **({"score": score, "chance": 0.5, "score_name": "retrieval"} if n else {}),
    )  # fmt: skip


def title_of(store, song):
    """Name and title of a stimulus."""
    titles = store.stimuli.set_index("stimulus")["title"]
    return f"{song} {titles.get(song, '')}".strip()


def simulated(store):
    """What a caption begins with."""
    return "SIMULATED EEG; " if store.manifest["simulated"] else ""


def _score(run, made, duration):
    """Mean retrieval percentile of the clip's windows, and how many there are."""
    scores = run.scores
    inside = (scores["recording"] == made.recording) & scores["second"].between(made.start, made.start + duration - 1)
    n = int(inside.sum())
    return (float(scores.loc[inside, "retrieval"].mean()) if n else None), n
