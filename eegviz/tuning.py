"""Choosing ref_dB, the level that a reconstruction is played at, from training clips only.

The paper chose one value per song by ear, between 40 and 60 dB. On the correct power scale ref_dB is a pure gain
(`eegviz.inversion.Inverted.at`), so "least jarring" can be measured: the value at which the reconstructions of
**training** clips are as loud as their originals.

Functions: `match_level` (a value per song), `level_range`, `compare_scales` (the published defect, measured).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from eegviz import features, inversion, metrics, reconstruction
from eegviz.errors import ParameterError

LOW, HIGH = 40.0, 60.0  # dB, the range that the paper listened to
# The same range for linear pictures; for mel-80 as far below and above its default level as the paper's for mel.
RANGES = {"mel": (LOW, HIGH), "linear": (LOW, HIGH), "mel-80": (28.0, 48.0)}
CLIP_S = 5  # seconds


def match_level(run, store, *, windows=None, split=None, n_clips=4, seed=0) -> pd.DataFrame:
    """The ref_dB per song at which reconstructions of training clips are as loud as the originals.

    Parameters
    ----------
    run : Run
    store : Store
    windows, split : optional
        Those of the run, when they are at hand.
    n_clips : int
        Training clips of five seconds per song.
    seed : int
        Which clips, and the phase.

    Returns
    -------
    pd.DataFrame
        stimulus, ref_db (rounded to half a decibel and held in the kind's `RANGES`), unlimited_ref_db, n_clips, peak (largest sample
        at that level; above 1 it would clip).
    """
    windows = run.windows(store) if windows is None else windows
    split = run.split(windows) if split is None else split
    rng = np.random.default_rng(seed)
    limits = level_range(windows.settings["audio"])
    rows = []
    for stimulus in np.unique(windows.table["stimulus"].to_numpy(str)[split.train]):
        clips = _training_clips(windows.table, split.train, stimulus)
        chosen = rng.permutation(len(clips))[:n_clips]
        changes, sounds = [], []
        made_with = features.ref_db_of(windows.settings["ref_db"], stimulus)
        for recording, start in (clips[i] for i in sorted(chosen)):
            made = reconstruction.reconstruct(
                run, recording, start=start, duration=CLIP_S, seed=seed, windows=windows, split=split
            )
            true, _ = reconstruction.original(run, stimulus, start=start, duration=CLIP_S, opened=store)
            sounds.append(made.sound)
            changes.append(40 * np.log10(_rms(true) / _rms(made.sound)))
        if not changes:
            continue
        free = made_with + float(np.median(changes))
        ref_db = float(np.clip(round(2 * free) / 2, *limits))
        gain = 10 ** ((ref_db - made_with) / 40)
        rows.append(
            {
                "stimulus": stimulus,
                "ref_db": ref_db,
                "unlimited_ref_db": round(free, 2),
                "n_clips": len(changes),
                "peak": round(gain * max(float(np.abs(s).max()) for s in sounds), 3),
            }
        )
    if not rows:
        raise ParameterError(
            f"run {run.path.name} has no {CLIP_S} training seconds in a row in any recording, so no level can be matched."
        )
    return pd.DataFrame(rows)


def level_range(audio):
    """Lowest and highest ref_dB that is tuned over, for a kind of spectrogram.

    >>> level_range("mel-db"), level_range("mel-80-db")
    ((40.0, 60.0), (28.0, 48.0))
    """
    features.check_kind(audio)
    return RANGES[audio.removesuffix("-db")]


def compare_scales(pictures, *, audio="mel-db", ref_db=None, max_db=features.MAX_DB, seed=0):
    """Invert true pictures on the correct and on the published scale, and compare the mel of the sounds with them.

    Parameters
    ----------
    pictures : np.ndarray [shape=(n_seconds, n_frames, n_bins)]
        Normalised pictures.
    audio : {"mel-db", "linear-db", "mel-80-db"}
        Their kind.
    ref_db : float, optional
        Their level of 1.0; default that of the kind.

    Returns
    -------
    (pd.DataFrame, dict of np.ndarray)
        Per scale: SSI, PSNR (dB) and correlation of the pictures after a round trip through sound; and the sounds.
    """
    ref_db = features.default_ref_db(audio) if ref_db is None else ref_db
    level = {"ref_db": ref_db, "max_db": max_db}
    rows, sounds = [], {}
    for scale in inversion.SCALES:
        sound = inversion.reconstruct(pictures, audio=audio, scale=scale, seed=seed, **level)
        again = features.spectrogram(sound.reshape(len(pictures), features.SR), kind=audio.removesuffix("-db"))
        # The published scale has another level altogether: it is given the level that fits best.
        db = features.to_db(again)
        shift = float(np.median(features.denormalise(pictures, kind=audio, **level) - db))
        back = features.normalise(db + shift, kind=audio, **level)
        rows.append(
            {
                "scale": scale,
                "SSI": float(metrics.ssi(back, pictures).mean()),
                "PSNR (dB)": float(metrics.psnr(back, pictures).mean()),
                "correlation": float(metrics.correlation(back, pictures).mean()),
                "level shift (dB)": shift,
            }
        )
        sounds[scale] = sound
    return pd.DataFrame(rows), sounds


def _training_clips(table, train, stimulus):
    """``(recording, start)`` of every five training seconds in a row of a stimulus, without overlap."""
    rows = table.iloc[train]
    rows = rows[rows["stimulus"] == stimulus]
    clips = []
    for recording, seconds in rows.groupby("recording")["second"]:
        values = sorted(seconds)
        i = 0
        while i + CLIP_S <= len(values):
            if values[i + CLIP_S - 1] - values[i] == CLIP_S - 1:
                clips.append((recording, int(values[i])))
                i += CLIP_S
            else:
                i += 1
    return clips


def _rms(sound):
    return max(float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))), 1e-9)
