"""From EEG to sound: a trained run listens to a stretch of EEG and its pictures become a waveform.

Functions: `reconstruct` (a recording of the run's store), `reconstruct_file` (any EEG file that MNE reads), `original`
(the true sound of the same seconds).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eegviz import features, fitting, inversion, runs, windowing
from eegviz.datasets import own
from eegviz.errors import DataError, ParameterError


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed sound and what it was made from.

    Attributes
    ----------
    sound : np.ndarray [shape=(n_samples,)], float32
    sr : int
        Hertz.
    pictures : np.ndarray [shape=(n_seconds, n_frames, n_bins)], float32
        Predicted spectrograms, normalised.
    start : int
        First second of the stimulus (of the file, when one was given).
    recording, stimulus : str
        Empty for a file.
    seen : dict of str to int
        How many of the seconds the run trained on, validated on, tested on, or never met.
    ref_db : float
    """

    sound: np.ndarray
    sr: int
    pictures: np.ndarray
    start: int
    recording: str
    stimulus: str
    seen: dict
    ref_db: float

    def describe(self):
        """One line: what this is, and whether the run had seen these seconds."""
        of = f"recording {self.recording} (hearing {self.stimulus})" if self.recording else "the given file"
        parts = ", ".join(f"{n} {side}" for side, n in self.seen.items() if n)
        return (
            f"{len(self.pictures)} s of {of} from second {self.start}, ref_db {self.ref_db:g}; "
            f"for this run these seconds are: {parts}"
        )


def reconstruct(
    run: runs.Run,
    recording,
    *,
    start=None,
    duration=5.0,
    ref_db=None,
    scale="power",
    seed=0,
    windows=None,
    split=None,
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
    ref_db : float, optional
        Level of the pictures' 1.0; default the value that the pictures were made with.
    scale : {"power", "published"}
        See `eegviz.inversion`.
    seed : int
        Of the phase.
    windows, split : optional
        Those of the run, when they are at hand.

    Returns
    -------
    Reconstruction
    """
    _check_regression(run)
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
    seconds = table["second"].to_numpy()[rows]
    n = _whole(duration, "duration")
    start = (
        _first_test_stretch(recording, seconds, np.isin(rows, split.test), n)
        if start is None
        else _whole(start, "start")
    )
    chosen = rows[(seconds >= start) & (seconds < start + n)]
    if len(chosen) != n:
        raise ParameterError(
            f"recording {recording} has windows from second {seconds.min()} to {seconds.max() + 1}; "
            f"{n} s from second {start} are not all there. Choose another --start or --duration."
        )
    side = np.full(len(table), "not used", dtype=object)
    for name in ("train", "validation", "test"):
        side[getattr(split, name)] = name
    stimulus = str(table["stimulus"].iloc[chosen[0]])
    made_with = features.ref_db_of(windows.settings["ref_db"], stimulus)
    pictures = _pictures(run, windows.eeg[chosen])
    names, counts = np.unique(side[chosen].astype(str), return_counts=True)
    return _reconstruction(
        run, pictures, recording, stimulus, start, dict(zip(names.tolist(), counts.tolist(), strict=True)),
        made_with if ref_db is None else ref_db, scale, seed,
    )  # fmt: skip


def reconstruct_file(run: runs.Run, path, *, start=0, duration=5.0, ref_db=None, scale="power", seed=0, windows=None):
    """Reconstruct sound from any EEG file that MNE reads, by channel name, resampled to the run's rate.

    Where the run's pictures are filtered, the whole file is, and then cut.

    Raises
    ------
    DataError
        The file lacks channels of the run, or cannot be read.
    """
    _check_regression(run)
    settings = (run.windows() if windows is None else windows).settings
    signal, sfreq = _file_signal(path, settings["ch_names"], settings["sfreq"])
    n, start = _whole(duration, "duration"), _whole(start, "start")
    have = signal.shape[1] / sfreq
    if start + n > have + 1e-6:
        raise ParameterError(
            f"{path} has {have:.1f} s; {n} s from second {start} are not all there. "
            "Choose another --start or --duration."
        )
    eeg = windowing.recording_pictures(signal, {"start": 0.0}, range(start, start + n), settings)
    pictures = _pictures(run, eeg)
    levels = settings["ref_db"].values()
    default = float(np.mean(list(levels)))
    return _reconstruction(
        run, pictures, "", "", start, {"not used": n}, default if ref_db is None else ref_db, scale, seed
    )


def original(run: runs.Run, stimulus, *, start, duration=5.0, opened=None):
    """The true sound of whole seconds of a stimulus: ``(n_samples,)`` float32, and its rate."""
    sound, sr = (opened or run.store()).audio(stimulus)
    return sound[int(start * sr) : int(round((start + duration) * sr))], sr


def _pictures(run, eeg):
    compute = fitting.Compute.choose("cpu", run.provenance["precision"])
    blocks = fitting.predict(run.network(), lambda i: (eeg[i], None), np.arange(len(eeg)), compute=compute)
    return np.concatenate(list(blocks))


def _reconstruction(run, pictures, recording, stimulus, start, seen, ref_db, scale, seed):
    settings = run.config["features"]
    sound = inversion.reconstruct(
        pictures, audio=settings["audio"], ref_db=ref_db, max_db=settings["max_db"], scale=scale, seed=seed
    )
    return Reconstruction(sound, features.SR, pictures, int(start), recording, stimulus, seen, float(ref_db))


def _file_signal(path, wanted, sfreq):
    """Channels `wanted` of an EEG file in volts at `sfreq`, the run's rate."""
    raw, names = own.open_raw(Path(path))
    known = {name.lower(): name for name in names}
    missing = [name for name in wanted if name.lower() not in known]
    if missing:
        raise DataError(
            f"{path} lacks {len(missing)} of the {len(wanted)} channels that the run was trained on "
            f"({', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}); it has {', '.join(names[:10])}"
            f"{' …' if len(names) > 10 else ''}. Rename or interpolate the channels in MNE and save the file again."
        )
    raw.pick([known[name.lower()] for name in wanted]).reorder_channels([known[name.lower()] for name in wanted])
    if abs(raw.info["sfreq"] - sfreq) > 1e-6:
        raw.load_data(verbose="error").resample(sfreq, verbose="error")
    signal = own.read_eeg(raw, raw.ch_names, 0, raw.n_times, path)
    broken = [name for name, row in zip(raw.ch_names, signal, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise DataError(
            f"{path}: expected finite numbers, found NaN or infinity in {', '.join(broken[:10])}. Repair or interpolate "
            "these channels and save the file again."
        )
    return signal, sfreq


def _first_test_stretch(recording, seconds, is_test, n):
    held_out, longest, run = set(seconds[is_test].tolist()), 0, 0
    for second in range(int(seconds.min()), int(seconds.max()) + 1):
        run = run + 1 if second in held_out else 0
        longest = max(longest, run)
        if run == n:
            return second - n + 1
    raise ParameterError(
        f"recording {recording} has no {n} held-out seconds in a row (longest stretch: {longest}). Ask for a shorter "
        "duration, or name a start; seconds that the run was trained on are then called so."
    )


def _whole(value, name):
    if value != int(value) or value < 0 or (name == "duration" and value < 1):
        least = 1 if name == "duration" else 0
        raise ParameterError(
            f"{name} must be a whole number of seconds, {least} or more; found {value:g}. Windows are one second long."
        )
    return int(value)


def _check_regression(run):
    if run.config["model"]["name"] == "classifier":
        raise ParameterError(
            f"run {run.path.name} is a classifier: it names songs and reconstructs nothing. Choose a regression run."
        )
