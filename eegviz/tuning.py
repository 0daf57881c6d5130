"""Choosing ref_dB, the level that a reconstruction is played at, from training clips only.

The paper chose one value per song by ear, between 40 and 60 dB: the "least jarring" one. What that is can be measured:

- **power scale** (correct): ref_dB is a pure gain (`eegviz.inversion.Inverted.at`). The least jarring value is the one at
  which reconstructions of **training** clips are as loud as their originals and nothing clips: `match_level`.
- **published scale**: decibels are taken for power, so ref_dB also sets how far peaks stand out and how noise-like the
  spectrum is. The least jarring value is the one whose crest factor and spectral flatness lie nearest to those of the
  training clips' originals: `match_shape`.

`propose` picks the one that fits the scale and `keep` stores its values in the run's folder (`eegviz.levels`). Test
clips are not touched: neither their EEG nor the sound of a second that only they hold is used.

Functions: `propose`, `match_level`, `match_shape`, `keep` (store proposals), `training_clips` (what may be chosen from),
`reference` (what a song's training clips are like), `tuner` (a `Tuner` of a recording), `level_range`, `compare_levels` (the
measures over ref_dB), `compare_scales` (the published defect, measured).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from eegviz import features, inversion, levels, loudness, metrics, reconstruction
from eegviz._training_clips import CLIP_S, Asked, training_clips
from eegviz._tuner import HIGH, LOW, RANGES, Reference, Tuned, Tuner, envelope, level_range
from eegviz.errors import ParameterError

__all__ = [
    "CLIP_S", "HIGH", "LOW", "RANGES", "Reference", "Tuned", "Tuner", "compare_levels", "compare_scales", "envelope", "keep",
    "level_range", "match_level", "match_shape", "propose", "reference", "training_clips", "tuner",
]  # fmt: skip

STEP_DB = 0.5  # a proposal is a multiple of it
# tried on the published scale for mel, dB; each costs an inversion a clip (our choice)
SHAPE_VALUES = (40.0, 45.0, 50.0, 55.0, 60.0)


def propose(run, store, *, scale="power", songs=None, windows=None, split=None, n_clips=4, seed=0) -> pd.DataFrame:
    """A ref_dB for each song, from training clips only.

    Parameters
    ----------
    run : Run
    store : Store
    scale : {"power", "published"}
        Which measure of "least jarring" applies: `match_level` or `match_shape`.
    songs : sequence of str, optional
        Stimuli; default all in the training side.
    windows, split : optional
        Those of the run, when they are at hand.
    n_clips : int
        Training clips of five seconds per song.
    seed : int
        Which clips, and the phase.

    Returns
    -------
    pd.DataFrame
        At least stimulus, ref_db, scale, chosen (how, in words) and clips (recording and first second of each).

    Raises
    ------
    ParameterError
        An unknown scale, or no training clip of any song.
    """
    if scale not in inversion.SCALES:
        raise ParameterError(f"unknown scale {scale!r}; known: {', '.join(inversion.SCALES)}.")
    make = match_level if scale == "power" else match_shape
    return make(run, store, songs=songs, windows=windows, split=split, n_clips=n_clips, seed=seed)


def match_level(run, store, *, songs=None, windows=None, split=None, n_clips=4, seed=0) -> pd.DataFrame:
    """The ref_db per song at which reconstructions of training clips are as loud as the originals, and do not clip.

    Parameters
    ----------
    run, store, songs, windows, split, n_clips, seed
        As in `propose`.

    Returns
    -------
    pd.DataFrame
        stimulus, ref_db (a multiple of half a decibel, held in the kind's `RANGES`, and lowered until no sample of these
        clips is beyond full scale, but not below the range), unlimited_ref_db, n_clips, peak (largest sample at `ref_db`;
        above 1 it would clip), level_db (median level of the originals), scale, chosen, clips.
    """
    asked = Asked.of(run, store, songs, windows, split, n_clips, seed)
    low, high = level_range(asked.audio)
    rows = []
    for song, clips in asked.clips():
        made_with = asked.made_with(song)
        changes, peaks, originals = [], [], []
        for recording, start in clips:
            made = asked.reconstruct(recording, start, ref_db=made_with)
            true = asked.original(song, start)
            originals.append(loudness.level_db(true))
            changes.append(2 * (originals[-1] - loudness.level_db(made.sound)))  # 40 and not 20: decibels are doubled
            peaks.append(float(np.abs(made.sound).max()))
        free = made_with + float(np.median(changes))
        fits = made_with - 40 * np.log10(max([*peaks, 1e-9]))  # here the largest sample is 1
        level = round(free / STEP_DB) * STEP_DB
        guarded = min(level, np.floor(fits / STEP_DB) * STEP_DB)
        ref_db = float(np.clip(guarded, low, high))
        how = f"matched to the level of {len(clips)} training clips"
        how += ", lowered so that none of them clips" if ref_db < np.clip(level, low, high) else ""
        rows.append(
            {
                "stimulus": song,
                "ref_db": ref_db,
                "unlimited_ref_db": round(free, 2),
                "n_clips": len(clips),
                "peak": round(10 ** ((ref_db - made_with) / 40) * max(peaks), 3),
                "level_db": round(float(np.median(originals)), 2),
                "scale": "power",
                "chosen": how,
                "clips": tuple(clips),
            }
        )
    return _some(rows, run)


def match_shape(run, store, *, songs=None, windows=None, split=None, n_clips=2, seed=0, values=None) -> pd.DataFrame:
    """The ref_db per song at which the published scale's sounds are most like the originals of training clips.

    The distance is the mean over clips of the absolute differences in crest factor (dB) and in spectral flatness
    (``10 log10``, dB), added up: both in decibels, with equal weight (our choice; the paper listened).

    Parameters
    ----------
    run, store, songs, windows, split, n_clips, seed
        As in `propose`.
    values : sequence of float, optional
        ref_db to try, dB; default five over the kind's range.

    Returns
    -------
    pd.DataFrame
        stimulus, ref_db, n_clips, distance_db, crest_db and flatness there (medians), those of the originals
        (crest_db_original, flatness_original), level_db (of the originals), scale, chosen, clips.
    """
    asked = Asked.of(run, store, songs, windows, split, n_clips, seed)
    if not asked.audio.endswith("-db"):
        raise ParameterError(
            f"run {run.path.name} draws {asked.audio!r}, which holds power: the published scale is of decibels. Use scale='power'."
        )
    low, high = level_range(asked.audio)
    values = np.asarray(SHAPE_VALUES) - LOW + low if values is None else np.asarray(values, float)
    rows = []
    for song, clips in asked.clips():
        found = np.full((len(values), len(clips), 2), np.nan)
        true = []
        for j, (recording, start) in enumerate(clips):
            true.append(loudness.measure(asked.original(song, start)))
            pictures = asked.reconstruct(recording, start, ref_db=asked.made_with(song)).pictures
            for i, value in enumerate(values):
                own = loudness.measure(
                    inversion.reconstruct(
                        pictures, audio=asked.audio, ref_db=float(value), max_db=asked.windows.settings["max_db"],
                        scale="published", seed=seed,
                    )
                )  # fmt: skip
                found[i, j] = own.crest_db, own.flatness
        distances = np.array([[_distance(own, one) for own, one in zip(row, true, strict=True)] for row in found]).mean(
            1
        )
        best = int(np.argmin(np.where(np.isnan(distances), np.inf, distances)))
        rows.append(
            {
                "stimulus": song,
                "ref_db": float(values[best]),
                "n_clips": len(clips),
                "distance_db": round(float(distances[best]), 2),
                "crest_db": round(float(np.median(found[best, :, 0])), 2),
                "crest_db_original": round(float(np.median([one.crest_db for one in true])), 2),
                "flatness": round(float(np.median(found[best, :, 1])), 4),
                "flatness_original": round(float(np.median([one.flatness for one in true])), 4),
                "level_db": round(float(np.median([one.level_db for one in true])), 2),
                "scale": "published",
                "chosen": f"crest factor and flatness nearest to those of {len(clips)} training clips",
                "clips": tuple(clips),
            }
        )
    return _some(rows, run)


def keep(run, proposals) -> dict[str, levels.Level]:
    """Store what `propose` found in the run's folder, one value a song; see `eegviz.levels`.

    Parameters
    ----------
    run : Run
    proposals : pd.DataFrame
        Of `propose`, for this run.

    Returns
    -------
    dict of str to Level
        What is kept for these songs.
    """
    max_db = float(run.config["features"].get("max_db", features.MAX_DB))
    made = {}
    for row in proposals.to_dict("records"):
        level = levels.Level(
            float(row["ref_db"]), row["scale"], max_db=max_db, chosen=row["chosen"], clips=tuple(row["clips"])
        )
        made[row["stimulus"]] = levels.keep(run, row["stimulus"], level)
    return made


def reference(run, store, stimulus, *, windows=None, split=None, n_clips=4, seed=0) -> Reference | None:
    """What the originals of a song's training clips are like; None for a song without any (an unseen one).

    Parameters
    ----------
    run, store, windows, split, n_clips, seed
        As in `propose`.
    stimulus : str

    Returns
    -------
    Reference or None
    """
    asked = Asked.of(run, store, [stimulus], windows, split, n_clips, seed)
    for song, clips in asked.clips():
        found = [loudness.measure(asked.original(song, start)) for _, start in clips]
        medians = (
            float(np.nanmedian([getattr(one, name) for one in found])) for name in ("level_db", "crest_db", "flatness")
        )
        return Reference(*medians, clips=tuple(clips))
    return None


def tuner(
    run, store, recording, *, start=None, duration=5, start_ref_db=None, windows=None, split=None, n_clips=4, seed=0
) -> Tuner:
    """The `Tuner` of what a run draws for a stretch of a recording, with its song's training clips for reference.

    Parameters
    ----------
    run, store, windows, split, n_clips, seed
        As in `propose`.
    recording : str
    start, duration
        As in `eegviz.reconstruction.reconstruct`: by default test seconds.
    start_ref_db : float, optional
        The level that controls begin at; default what is kept for the song, else that of training.

    Returns
    -------
    Tuner
        Its ``stimulus`` is the song.
    """
    asked = Asked.of(run, store, None, windows, split, n_clips, seed)
    made = reconstruction.reconstruct(
        run, recording, start=start, duration=duration, seed=seed, windows=asked.windows, split=asked.split, store=store
    )
    beside = reference(run, store, made.stimulus, windows=asked.windows, split=asked.split, n_clips=n_clips, seed=seed)
    title = f"{made.stimulus}, reconstruction from {recording}, seconds {made.start} to {made.start + made.seconds}"
    return Tuner(
        made.pictures, audio=asked.audio, title=title, reference=beside, seed=seed, n_samples=len(made.sound),
        stimulus=made.stimulus, start_ref_db=made.ref_db if start_ref_db is None else start_ref_db,
    )  # fmt: skip


def compare_levels(made: Tuner, *, values=None, max_db=features.MAX_DB, n_iter=inversion.N_ITER) -> pd.DataFrame:
    """The measures of one picture over ref_dB, on each scale that it has.

    Parameters
    ----------
    made : Tuner
    values : sequence of float, optional
        ref_dB, dB; default five over the range. On the published scale each is an inversion.
    max_db, n_iter
        As in `Tuner.at`.

    Returns
    -------
    pd.DataFrame
        scale, ref_db, level (dB re full scale), clipped (%), crest factor (dB), flatness.
    """
    values = np.linspace(*made.range, len(SHAPE_VALUES)) if values is None else values
    rows = []
    for scale in made.scales:
        for value in values:
            own = made.at(float(value), max_db=max_db, n_iter=n_iter, scale=scale).measures
            rows.append((scale, float(value), own.level_db, 100 * own.clipped, own.crest_db, own.flatness))
    names = ["scale", "ref_db", "level (dB re full scale)", "clipped (%)", "crest factor (dB)", "flatness"]
    return pd.DataFrame(rows, columns=names)


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
        Per scale: SSI, PSNR (dB) and correlation of the pictures after a round trip through sound; crest factor (dB) and
        spectral flatness of the sounds, which a level cannot change; and the sounds.
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
        found = loudness.measure(sound)
        rows.append(
            {
                "scale": scale,
                "SSI": float(metrics.ssi(back, pictures).mean()),
                "PSNR (dB)": float(metrics.psnr(back, pictures).mean()),
                "correlation": float(metrics.correlation(back, pictures).mean()),
                "level shift (dB)": shift,
                "crest factor (dB)": found.crest_db,
                "flatness": found.flatness,
            }
        )
        sounds[scale] = sound
    return pd.DataFrame(rows), sounds


def _distance(own, true):
    """Differences in crest factor and in flatness, dB; NaN where one is silent."""
    crest, flatness = own
    if np.isnan([crest, flatness, true.crest_db, true.flatness]).any():
        return float("nan")
    return abs(crest - true.crest_db) + abs(10 * np.log10(max(flatness, 1e-10) / max(true.flatness, 1e-10)))


def _some(rows, run):
    if not rows:
        raise ParameterError(
            f"run {run.path.name} has no {CLIP_S} training seconds in a row in any recording, so no level can be matched."
        )
    return pd.DataFrame(rows)
