"""From EEG to sound: a trained run listens to a stretch of EEG and its pictures become a waveform.

Windows lie end to end, as they are scored, or overlap: the EEG is then cut at the frames of one continuous spectrogram,
each window is predicted, and `eegviz.joining.cross_fade` makes one picture of them, which is inverted once. Longer clips
sound smoother so, because no frame is drawn from the edge of a window. Windows of several seconds lie end to end.

Functions: `reconstruct` (a recording of the run's store), `reconstruct_file` (any EEG file), `reconstruct_matched` (EEG from
elsewhere that has the form of the run), `worth` (what a reconstruction shows about the EEG), `original` (the true sound of the
same seconds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eegviz import eeg_files, features, fitting, inversion, joining, levels, matching, runs, verdict, windowing
from eegviz.errors import ParameterError
from eegviz.sound import check_rate, resample

# A window that touches two seconds is called after the side that comes first here: test only where both are.
SIDES = ("train", "validation", "not used", "test")
NAMED = 5  # recordings that a message names


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed sound and what it was made from.

    Attributes
    ----------
    sound : np.ndarray [shape=(n_samples,)], float32
    sr : int
        Hertz.
    pictures : np.ndarray [shape=(n_seconds, n_frames, n_bins) or (n_frames, n_bins)], float32
        Predicted spectrograms, normalised: the seconds, or where windows overlap the continuous one.
    start : int
        First second of the stimulus (of the file, when one was given).
    recording, stimulus : str
        Empty for a file.
    seen : dict of str to int
        How many of the windows (seconds, where they do not overlap) the run trained on, validated on, tested on, or never
        met. An overlapping window counts as test only if both of its seconds are test. Empty for a file, where nobody knows.
    ref_db : float
    level : str
        Where `ref_db` comes from, in words.
    overlap : float
        Of the windows that were asked for; 0 when they lie end to end.
    notes : tuple of str
        How a file from elsewhere was brought into the form of the run.
    held_out : tuple of str
        Recordings of the store with test seconds; empty for a file.
    """

    sound: np.ndarray
    sr: int
    pictures: np.ndarray
    start: int
    recording: str
    stimulus: str
    seen: dict
    ref_db: float
    level: str = ""
    overlap: float = 0.0
    notes: tuple = ()
    held_out: tuple = ()

    @property
    def seconds(self):
        """Length of the sound."""
        return round(len(self.sound) / self.sr)

    def describe(self):
        """One line: what this is, and whether the run had seen these seconds."""
        of = f"recording {self.recording} (hearing {self.stimulus})" if self.recording else "the given file"
        level = f"ref_db {self.ref_db:g}{f' ({self.level})' if self.level else ''}"
        if not self.recording:  # a file from elsewhere may be one of the store's under another name
            return (
                f"{self.seconds} s of {of} from second {self.start}, {level}; whether the run was trained on this recording "
                "cannot be told from the file"
            )
        parts = ", ".join(f"{n} {side}" for side, n in self.seen.items() if n)
        what = "seconds"
        if self.overlap:
            what = f"{sum(self.seen.values())} windows (overlap {self.overlap:g}; each called after its less held-out second)"
        return f"{self.seconds} s of {of} from second {self.start}, {level}; for this run these {what} are: {parts}"


def reconstruct(
    run: runs.Run,
    recording,
    *,
    start=None,
    duration=5.0,
    overlap=0.0,
    sr=None,
    ref_db=None,
    scale="power",
    seed=0,
    windows=None,
    split=None,
    store=None,
):
    """Reconstruct the sound that a recording of the run's store heard.

    Parameters
    ----------
    run : Run
    recording : str
    start : int, optional
        First whole second of the stimulus; default the first stretch of test seconds that is long enough.
    duration : float
        Whole seconds.
    overlap : float
        Share of each window that its neighbour also covers, 0.1 to 0.9; 0: seconds end to end, as they are scored.
    sr : int, optional
        Rate of the sound in hertz, 8000 to 48 000; default that of the spectrograms, 22 050. Another is resampled to.
    ref_db : float, optional
        Level of the pictures' 1.0; default what is kept for the song on this scale, with its range and iterations, else
        the value that the pictures were made with.
    scale : {"power", "published"}
        See `eegviz.inversion`.
    seed : int
        Of the phase.
    windows, split, store : optional
        Those of the run, when they are at hand.

    Returns
    -------
    Reconstruction

    Raises
    ------
    ParameterError
        Seconds that the recording does not have, or an overlap or rate that cannot be.
    """
    _check_request(run, overlap, sr)
    windows = run.windows() if windows is None else windows
    split = run.split(windows) if split is None else split
    table = windows.table
    rows = np.flatnonzero(table["recording"].to_numpy(str) == recording)
    if not len(rows):
        known = sorted(table["recording"].unique())
        raise ParameterError(
            f"run {run.path.name} has no recording {recording!r}; it has {', '.join(known[:12])}"
            f"{f' and {len(known) - 12} more' if len(known) > 12 else ''}."
        )
    rows = np.repeat(rows, windows.duration)  # one for each second, that of its window
    seconds = table["second"].to_numpy()[rows] + np.arange(len(rows)) % windows.duration
    n = _whole(duration, "duration")
    held_out = tuple(sorted(table["recording"].iloc[split.test].unique()))
    start = (
        _first_test_stretch(recording, seconds, np.isin(rows, split.test), n, held_out)
        if start is None
        else _whole(start, "start")
    )
    there = (seconds >= start) & (seconds < start + n)
    chosen = rows[there]
    if len(chosen) != n:
        raise ParameterError(
            f"recording {recording} has windows from second {seconds.min()} to {seconds.max() + 1}; "
            f"{n} s from second {start} are not all there. Choose another start or duration."
        )
    side = np.full(len(table), "not used", dtype=object)
    for name in ("train", "validation", "test"):
        side[getattr(split, name)] = name
    stimulus = str(table["stimulus"].iloc[chosen[0]])
    level, how = _level(run, windows.settings, stimulus, ref_db=ref_db, scale=scale)
    sides = side[chosen].astype(str)
    if overlap:
        first, begins = _overlapping(windows.settings, n, overlap)
        opened = run.store() if store is None else store
        volts, row = windowing.signal(opened, recording), opened.row(recording)
        pictures = _pictures(run, windowing.recording_pictures(volts, row, start + begins, windows.settings))
        pictures = joining.cross_fade(pictures, first)
        sides = _sides_of_windows(sides, begins, windows.settings["sfreq"])
    else:
        of, first = np.unique(chosen), int(np.argmax(there)) % windows.duration
        pictures = _seconds(_pictures(run, windows.eeg[of]), windows.duration)[first : first + n]
    names, counts = np.unique(sides, return_counts=True)
    return _reconstruction(
        run, pictures, n, recording=recording, stimulus=stimulus, start=start, overlap=overlap, sr=sr,
        seen=dict(zip(names.tolist(), counts.tolist(), strict=True)),
        level=level, how=how, seed=seed, held_out=held_out,
    )  # fmt: skip


def worth(run: runs.Run, made: Reconstruction) -> str:
    """What a reconstruction of a recording of the run's store shows about the EEG, in one sentence or two.

    For test seconds it is the run's verdict; other seconds show nothing, and recordings with test seconds are named.
    """
    if set(made.seen) == {"test"}:
        judged = (run.path / "metrics.json").exists()
        return verdict.sentence(run.metrics) if judged else f"Not evaluated yet: eegviz evaluate {run.path}"
    if "train" in made.seen:
        which = "These seconds" if set(made.seen) == {"train"} else "Some of these seconds"
        said = f"{which} were trained on: the sound shows nothing about the EEG."
    else:
        which = "Some of these" if "test" in made.seen else "These"
        said = f"{which} are no test seconds: the run's verdict is not about them."
    return f"{said} Recordings with test seconds: {_some(made.held_out)}."


def reconstruct_file(
    run: runs.Run,
    path,
    *,
    start=0,
    duration=5.0,
    overlap=0.0,
    sr=None,
    ref_db=None,
    scale="power",
    seed=0,
    unit="auto",
    listener=None,
    store=None,
):
    """Reconstruct sound from an EEG file from elsewhere: anything that MNE reads, or NMED's ``.mat``.

    The file is read in a child process (`eegviz.eeg_files`) and brought into the form that the run was trained on
    (`eegviz.matching`): channels by name, up to 10 % missing ones interpolated, the run's rate. Where the run's pictures are
    filtered, the whole file is, and then cut. Options as in `reconstruct`; ``unit`` and ``listener`` as in
    `eegviz.eeg_files.read`.

    Raises
    ------
    DataError
        The file lacks channels of the run, or cannot be read.
    ParameterError
        Seconds that the file does not have, or an overlap or rate that cannot be.
    """
    _check_request(run, overlap, sr)
    matched = matching.match(eeg_files.read(path, unit=unit, listener=listener), run, store=store)
    return reconstruct_matched(
        run, matched, start=start, duration=duration, overlap=overlap, sr=sr, ref_db=ref_db, scale=scale, seed=seed
    )


def reconstruct_matched(
    run: runs.Run,
    matched: matching.Matched,
    *,
    start=0,
    duration=5.0,
    overlap=0.0,
    sr=None,
    ref_db=None,
    scale="power",
    seed=0,
):
    """Reconstruct sound from EEG that `eegviz.matching.match` brought into the form of this run.

    Options as in `reconstruct`; ``start`` counts from the beginning of the file, and the level is the mean of those of the
    training pieces.

    Raises
    ------
    ParameterError
        Seconds that the file does not have, or an overlap or rate that cannot be.
    """
    _check_request(run, overlap, sr)
    settings = matched.settings
    length = settings.get("duration", 1)
    n, start = _whole(duration, "duration"), _whole(start, "start")
    have = matched.seconds
    if start + -(-n // length) * length > have + 1e-6:
        whole = "" if length == 1 else f" in windows of {length} s"
        raise ParameterError(
            f"{matched.name} has {have:.1f} s; {n} s from second {start}{whole} are not all there. "
            "Choose another start or duration."
        )
    first, begins = _overlapping(settings, n, overlap) if overlap else (None, np.arange(0, n, length))
    pictures = _pictures(run, windowing.recording_pictures(matched.eeg, {"start": 0.0}, start + begins, settings))
    pictures = joining.cross_fade(pictures, first) if overlap else _seconds(pictures, length)[:n]
    level, how = _level_of_any(run, settings, ref_db=ref_db, scale=scale)
    return _reconstruction(
        run, pictures, n, recording="", stimulus="", start=start, overlap=overlap, sr=sr, seen={},
        level=level, how=how, seed=seed, notes=matched.notes,
    )  # fmt: skip


def original(run: runs.Run, stimulus, *, start, duration=5.0, opened=None, sr=None):
    """The true sound of whole seconds of a stimulus: ``(n_samples,)`` float32, and its rate, `sr` when that is given."""
    sound, rate = (opened or run.store()).audio(stimulus)
    sound = sound[int(start * rate) : int(round((start + duration) * rate))]
    return (sound, rate) if sr is None else (resample(sound, rate, to=sr), sr)


def _overlapping(settings, n, overlap):
    """First frame of each overlapping window of `n` seconds, and the second at which it begins."""
    first = joining.first_frames(n * features.SR, overlap=overlap, kind=settings["audio"])
    return first, first * features.layout(settings["audio"]).hop_length / features.SR


def _sides_of_windows(sides, begins, sfreq):
    """The side of windows that begin `begins` seconds after the first of the `sides`: the least held-out one they touch."""
    rank = np.array([SIDES.index(side) for side in sides])
    at = np.rint(begins * sfreq) / sfreq  # where the EEG is cut
    before = np.clip(np.floor(at + 1e-9), 0, len(rank) - 1).astype(int)
    after = np.clip(np.ceil(at - 1e-9), 0, len(rank) - 1).astype(int)
    return np.array(SIDES)[np.minimum(rank[before], rank[after])]


def _seconds(pictures, length):
    """Pictures of windows of `length` seconds → those of their seconds."""
    return pictures.reshape(len(pictures) * length, -1, pictures.shape[-1])


def _pictures(run, eeg):
    compute = fitting.Compute.choose("cpu", run.provenance["precision"])
    blocks = fitting.predict(run.network(), lambda i: (eeg[i], None), np.arange(len(eeg)), compute=compute)
    return np.concatenate(list(blocks))


def _level(run, settings, stimulus, *, ref_db, scale):
    """The level of a song, and where it comes from: asked for, kept, or that of training."""
    training = {"scale": scale, "max_db": settings["max_db"]}
    if ref_db is not None:
        return levels.Level(float(ref_db), **training), "as asked for"
    found = levels.of(run, stimulus, scale=scale)
    if found is not None:
        return found, f"kept for this song: {found.chosen}"
    return levels.Level(features.ref_db_of(settings["ref_db"], stimulus), **training), "that of training"


def _level_of_any(run, settings, *, ref_db, scale):
    """The level of a file, whose song nobody knows: asked for, or the mean of the songs' own."""
    training = {"scale": scale, "max_db": settings["max_db"]}
    if ref_db is not None:
        return levels.Level(float(ref_db), **training), "as asked for"
    found = {song: one.ref_db for song, one in levels.kept(run).items() if one.scale == scale}
    found = {song: value for song, value in found.items() if song in settings["ref_db"]}
    mean = float(np.mean(list((settings["ref_db"] | found).values())))
    how = (
        f"mean of {len(settings['ref_db'])} songs, {len(found)} of them with a kept level"
        if found
        else "that of training"
    )
    return levels.Level(mean, **training), how


def _reconstruction(run, pictures, n, *, level, how, seed, sr, **facts):
    sound = inversion.reconstruct(
        pictures, audio=run.config["features"]["audio"], ref_db=level.ref_db, max_db=level.max_db, scale=level.scale,
        n_iter=level.n_iter, seed=seed, n_samples=n * features.SR,
    )  # fmt: skip
    sound = sound if sr is None else resample(sound, features.SR, to=sr)
    sr = features.SR if sr is None else int(sr)
    return Reconstruction(sound, sr, pictures, ref_db=float(level.ref_db), level=how, **facts)


def _first_test_stretch(recording, seconds, is_test, n, inside):
    held_out, longest, run = set(seconds[is_test].tolist()), 0, 0
    for second in range(int(seconds.min()), int(seconds.max()) + 1):
        run = run + 1 if second in held_out else 0
        longest = max(longest, run)
        if run == n:
            return second - n + 1
    found = f"recording {recording} has no {n} held-out seconds in a row (longest stretch: {longest})"
    if longest:
        raise ParameterError(
            f"{found}. Ask for a shorter duration, or name a start; seconds that the run was trained on are then called so."
        )
    raise ParameterError(
        f"{found}: it is not in the test side of this run. Choose one that is: {_some(inside)}; or name a start: seconds that "
        "the run was trained on are then called so."
    )


def _some(names):
    """Up to `NAMED` of them."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _whole(value, name):
    if value != int(value) or value < 0 or (name == "duration" and value < 1):
        least = 1 if name == "duration" else 0
        raise ParameterError(f"{name} must be a whole number of seconds, {least} or more; found {value:g}.")
    return int(value)


def _check_request(run, overlap, sr):
    joining.check_overlap(overlap)
    if overlap and run.config["features"].get("duration", 1) > 1:
        raise ParameterError(
            f"run {run.path.name} draws windows of {run.config['features']['duration']} s, and only windows of one second can "
            f"overlap; found overlap={overlap:g}. Leave --overlap out."
        )
    if sr is not None:
        check_rate(sr)
    if run.config["model"]["name"] == "classifier":
        raise ParameterError(
            f"run {run.path.name} is a classifier: it names songs and reconstructs nothing. Choose a regression run."
        )
