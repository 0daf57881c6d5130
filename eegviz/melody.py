"""Melody: does a reconstruction have the tune of the original? Pitch contour and note onsets, always beside chance.

For sounds of one voice, such as the melodies of "The music of silence". On a mix of instruments the tracker follows
whatever is loudest, and the scores mean little.

Conventions
-----------
* **raw pitch accuracy**: share of the frames in which the original has a pitch where the reconstruction's most likely
  pitch is the same to within a quarter tone (50 cents), whether or not the tracker is sure that there is a pitch.
  **raw chroma accuracy**: the same, octaves forgiven [1]_. Frames in which the original has no pitch do not count.
* **onset F**: F-measure of the onsets, matched within 50 ms: where the energy rises, or a note begins. **note F**:
  F-measure of the notes that have a pitch, start within 50 ms and pitch within 50 cents. All four come from mir_eval
  [2]_ and lie between 0 and 1.
* Where the original has no pitch, onset or note, a score is not defined (None, with a reason); a reconstruction
  without any scores 0. How much of a reconstruction has a pitch at all stands beside (*voiced*, mir_eval's voicing
  recall): a noisy one has little.
* **Chance** is what the same reconstruction scores against tunes that it is not of: *shifted*, the original moved
  round in a circle (the same notes at the wrong time), and *other*, other melodies (other notes). Who knows which song
  is playing, and nothing of its time, beats *other* and not *shifted*.
* **Ceiling** is what the true pictures score after the same way back to sound.

The metric is worth no more than its tracker. On the four chorale melodies as they are rendered here (28 s each), its
tracks have a raw pitch accuracy of at least .98 and an onset F of at least .95 against the score; the tests ask for
that. Range of pitches, frame, hop, floor and least note are our choices (`track`).

Functions: `track` (of a sound), `compare` (two sounds), `chance` (the same against foils), `score_run` (clips of a
run's test recordings), `summary` (means and intervals over listeners).

References
----------
.. [1] Salamon, Gómez, Ellis & Richard, "Melody extraction from polyphonic music signals", IEEE Signal Processing
   Magazine 31, 2014. doi:10.1109/MSP.2013.2271648
.. [2] Raffel et al., "mir_eval: a transparent implementation of common MIR metrics", ISMIR 2014.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eegviz import features, inversion, reconstruction, scorecard
from eegviz._pitch import FMAX, FMIN, FRAME, HOP, SR, Track, _stretches, track
from eegviz.errors import MissingDependencyError, ParameterError

__all__ = [
    "FMAX",
    "FMIN",
    "FRAME",
    "HOP",
    "METRICS",
    "Agreement",
    "Track",
    "chance",
    "compare",
    "score_run",
    "summary",
    "track",
]

CENTS = 50.0  # a quarter tone, as in MIREX
ONSET_WINDOW = 0.05  # s, as in MIREX
N_SHIFTS = 7  # foils by shift, evenly spread over the clip; our choice
METRICS = {
    "raw_pitch": "raw pitch accuracy: share of the original's voiced frames whose pitch is right to within 50 cents",
    "raw_chroma": "raw chroma accuracy: the same, octaves forgiven",
    "onset_f": "onset F: F-measure of note onsets within 50 ms",
    "note_f": "note F: F-measure of notes with onset within 50 ms and pitch within 50 cents",
}
BESIDE = ("shifted", "other", "ceiling")


@dataclass(frozen=True)
class Agreement:
    """How far a reconstruction has the tune of its original.

    Attributes
    ----------
    raw_pitch, raw_chroma, onset_f, note_f : float or None
        Between 0 and 1 (module docstring); None where not defined.
    voiced : float or None
        Share of the original's frames with a pitch where the reconstruction has some pitch.
    reasons : dict of str to str
        Why a score is None or 0, where it is for want of pitch or notes: by metric.
    n_foils : int
        Melodies that the scores are means over; 1 for `compare`.
    """

    raw_pitch: float | None
    raw_chroma: float | None
    onset_f: float | None
    note_f: float | None
    voiced: float | None = None
    reasons: dict = field(default_factory=dict)
    n_foils: int = 1


def compare(original, reconstruction, *, sr=SR) -> Agreement:
    """Score the tune of a reconstruction against that of the original.

    Parameters
    ----------
    original, reconstruction : ndarray, shape (n_samples,), or Track
        Sounds of the same rate, or their tracks where they are at hand. The longer one is cut.
    sr : int
        Hertz.

    Returns
    -------
    Agreement

    Raises
    ------
    ParameterError, DataError
        As `track`; or tracks with different hops.

    Examples
    --------
    >>> from eegviz import chorales
    >>> y = chorales.render("chor-096", duration=4.0)
    >>> found = compare(y, y)
    >>> found.raw_pitch, found.onset_f
    (1.0, 1.0)
    >>> compare(y, 0 * y).raw_pitch, compare(0 * y, y).reasons["raw_pitch"]
    (0.0, 'the original has no pitch')
    """
    return _agreement(*_same_length(_tracked(original, sr), _tracked(reconstruction, sr)))


def chance(original, reconstruction, *, others=(), n_shifts=N_SHIFTS, sr=SR) -> dict:
    """What the reconstruction scores against tunes that it is not of: the level to read `compare` beside.

    Parameters
    ----------
    original, reconstruction : ndarray, shape (n_samples,), or Track
    others : sequence of the same
        Other melodies.
    n_shifts : int
        The original is moved round by 1, …, n_shifts parts in n_shifts + 1 of its length.
    sr : int
        Hertz.

    Returns
    -------
    dict of str to Agreement
        ``shifted`` and ``other``: means over the foils for which a score is defined; ``n_foils`` is how many there are.
        Without other melodies the scores of ``other`` are None.

    Raises
    ------
    ParameterError, DataError
        As `compare`; or less than one shift.
    """
    if n_shifts != int(n_shifts) or n_shifts < 1:
        raise ParameterError(f"n_shifts={n_shifts}: expected a whole number, 1 or more.")
    true, made = _same_length(_tracked(original, sr), _tracked(reconstruction, sr))
    frames = [round(len(true.times) * i / (n_shifts + 1)) for i in range(1, int(n_shifts) + 1)]
    return {
        "shifted": _mean([_agreement(_shifted(true, k), made) for k in frames], "no shift"),
        "other": _mean([compare(other, made, sr=sr) for other in others], "there is no other melody"),
    }


def score_run(run, *, clips=1, seconds=8, overlap=0.5, seed=0, windows=None) -> pd.DataFrame:
    """Reconstruct clips of a run's test recordings and score their tunes, each beside chance and ceiling.

    Each melody, listener and condition of the test gives up to `clips` clips of test seconds in a row, at beginnings
    that the seed draws, the same ones for all where they have them. The other melodies are those of the run's store at
    the same seconds.

    Parameters
    ----------
    run : eegviz.runs.Run
        A regression run.
    clips : int
        At most, for each melody, listener and condition.
    seconds : int
        Whole seconds of a clip.
    overlap : float
        Of the windows, see `eegviz.reconstruction.reconstruct`; seconds end to end (0) leave seams that sound like onsets.
    seed : int
        Of the beginnings, and of the phase of the reconstruction.
    windows : Windows, optional
        Those of the run, when they are at hand.

    Returns
    -------
    pandas.DataFrame
        One row a clip: ``recording, subject, stimulus, condition, start`` (second), and of each metric of `METRICS` its
        score, and the same against foils and of the true pictures: ``raw_pitch, raw_pitch_shifted, raw_pitch_other,
        raw_pitch_ceiling``, …, and ``voiced``; empty where not defined, and ``note`` says why.

    Raises
    ------
    ParameterError
        For a classifier, or where no test recording has so many held-out seconds in a row.
    """
    for name, value in (("clips", clips), ("seconds", seconds)):
        if value != int(value) or value < 1:
            raise ParameterError(f"{name}={value}: expected a whole number, 1 or more.")
    opened = run.store()
    windows = run.windows(opened) if windows is None else windows
    split = run.split(windows)
    chosen = _clips(windows.table.iloc[split.test], int(clips), int(seconds), seed)
    true, ceilings, rows = {}, {}, []

    def heard(stimulus, start):
        if (stimulus, start) not in true:
            sound, sr = reconstruction.original(run, stimulus, start=start, duration=seconds, opened=opened)
            whole = len(sound) == round(seconds * sr)
            true[stimulus, start] = track(sound, sr=sr) if whole else None
        return true[stimulus, start]

    for clip in chosen:
        stimulus, start = clip["stimulus"], clip["start"]
        original = heard(stimulus, start)
        if (stimulus, start) not in ceilings:
            sound, _ = reconstruction.original(run, stimulus, start=start, duration=seconds, opened=opened)
            back = _true_way(windows, stimulus, start, seconds, seed, overlap=overlap, sound=sound)
            ceilings[stimulus, start] = compare(original, back)
        made = reconstruction.reconstruct(
            run,
            clip["recording"],
            start=start,
            duration=seconds,
            overlap=overlap,
            ref_db=features.ref_db_of(windows.settings["ref_db"], stimulus),  # a score rests on no kept level
            seed=seed,
            windows=windows,
            split=split,
            store=opened,
        )
        made = track(made.sound, sr=made.sr)
        others = [heard(other, start) for other in windows.songs if other != stimulus]
        beside = chance(original, made, others=[one for one in others if one is not None])
        own = compare(original, made)
        row = dict(clip)
        for metric in METRICS:
            row[metric] = getattr(own, metric)
            row |= {f"{metric}_{name}": getattr(beside[name], metric) for name in ("shifted", "other")}
            row[f"{metric}_ceiling"] = getattr(ceilings[stimulus, start], metric)
        row["voiced"] = own.voiced
        row["note"] = "; ".join(dict.fromkeys([*own.reasons.values(), *beside["other"].reasons.values()]))
        rows.append(row)
    table = pd.DataFrame(rows)
    scores = [column for column in table if column.startswith((*METRICS, "voiced"))]
    return table.astype(dict.fromkeys(scores, float))


def summary(table) -> pd.DataFrame:
    """Mean of each metric of `score_run` with its interval over listeners, beside chance and ceiling.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `score_run`, or a part of it (one condition).

    Returns
    -------
    pandas.DataFrame
        A row a metric: ``metric``, ``score``, ``low``, ``high``, ``shifted``, ``other``, ``ceiling`` (means over
        listeners), ``gain`` with ``gain_low``, ``gain_high`` (score less shifted: above 0 the tune is at the right
        time), ``n`` clips, ``unit`` (what the intervals are over), ``definition``. None where not defined.
    """
    rows = []
    for metric, definition in METRICS.items():
        own = table[table[metric].notna()]
        row = {"metric": metric} | dict.fromkeys(("score", "low", "high", *BESIDE, "gain", "gain_low", "gain_high"))
        row |= {"n": len(own), "unit": "", "definition": definition}
        if len(own):
            row |= _over_listeners(own, own[metric], ("score", "low", "high"), unit=True)
            row |= {name: _listener_mean(own, f"{metric}_{name}") for name in BESIDE}
            paired = own[own[f"{metric}_shifted"].notna()]
            if len(paired):
                gain = paired[metric] - paired[f"{metric}_shifted"]
                row |= _over_listeners(paired, gain, ("gain", "gain_low", "gain_high"))
        rows.append(row)
    return pd.DataFrame(rows).astype(object).where(lambda found: found.notna(), None)


# --- helpers -----------------------------------------------------------------------------------------------------


def _tracked(sound, sr):
    return sound if isinstance(sound, Track) else track(sound, sr=sr)


def _same_length(one, other):
    if abs(one.hop - other.hop) > 1e-9:
        raise ParameterError(f"the tracks have hops of {one.hop:g} and {other.hop:g} s; expected one hop and one rate.")
    n = min(len(one.times), len(other.times))
    return _cut(one, n), _cut(other, n)


def _cut(whole, n):
    if len(whole.times) == n:
        return whole
    end = whole.times[n - 1]
    notes, there = whole.starts < end, slice(n)
    return Track(
        whole.times[there], whole.frequency[there], whole.voiced[there], whole.onsets[whole.onsets < end],
        whole.starts[notes], whole.ends[notes], whole.pitches[notes],
    )  # fmt: skip


def _shifted(whole, n_frames):
    """The melody moved round in a circle."""
    length, late = len(whole.times) * whole.hop, n_frames * whole.hop
    starts = (whole.starts + late) % length
    order = np.argsort(starts, kind="stable")
    ends = starts + (whole.ends - whole.starts)
    return Track(
        whole.times, np.roll(whole.frequency, n_frames), np.roll(whole.voiced, n_frames),
        np.sort((whole.onsets + late) % length), starts[order], ends[order], whole.pitches[order],
    )  # fmt: skip


def _agreement(true, made):
    """mir_eval's scores of two tracks of the same frames; it is not asked about empty ones, of which it warns."""
    evaluate, values, reasons = _mir_eval(), dict.fromkeys(METRICS), {}
    for metrics, what, own, theirs in (
        (("raw_pitch", "raw_chroma"), "pitch", true.voiced.any(), made.frequency.any()),
        (("onset_f",), "onset", len(true.onsets), len(made.onsets)),
        (("note_f",), "note with a pitch", len(true.starts), len(made.starts)),
    ):
        if not own:
            reasons |= dict.fromkeys(metrics, f"the original has no {what}")
        elif not theirs:
            values |= dict.fromkeys(metrics, 0.0)
            reasons |= dict.fromkeys(metrics, f"the reconstruction has no {what}")
    guess = made.frequency > 0  # these metrics ask for the most likely pitch, voiced or not
    contours = [true.voiced, evaluate.melody.hz2cents(true.frequency), guess, evaluate.melody.hz2cents(made.frequency)]
    notes = [part for one in (true, made) for part in (np.stack([one.starts, one.ends], 1), one.pitches)]
    if "raw_pitch" not in reasons:
        values["raw_pitch"] = evaluate.melody.raw_pitch_accuracy(*contours, cent_tolerance=CENTS)
        values["raw_chroma"] = evaluate.melody.raw_chroma_accuracy(*contours, cent_tolerance=CENTS)
    if "onset_f" not in reasons:
        values["onset_f"] = evaluate.onset.f_measure(true.onsets, made.onsets, window=ONSET_WINDOW)[0]
    if "note_f" not in reasons:
        values["note_f"] = evaluate.transcription.precision_recall_f1_overlap(
            *notes, onset_tolerance=ONSET_WINDOW, pitch_tolerance=CENTS, offset_ratio=None
        )[2]
    values = {name: None if value is None else float(value) for name, value in values.items()}
    both = float(made.voiced[true.voiced].mean()) if true.voiced.any() else None
    return Agreement(**values, voiced=both, reasons=reasons)


def _mean(found, why_none):
    """The mean over foils, of the scores that are defined."""
    values, reasons = {}, {}
    for metric in METRICS:
        there = [value for one in found if (value := getattr(one, metric)) is not None]
        values[metric] = float(np.mean(there)) if there else None
        if not there:
            reasons[metric] = found[0].reasons[metric] if found else why_none
    return Agreement(**values, reasons=reasons, n_foils=len(found))


def _clips(test, clips, seconds, seed):
    """Recordings and beginnings, a dict each: whole stretches of test seconds."""
    rng, found, longest = np.random.default_rng(seed), [], 0
    for _, rows in test.groupby(["subject", "stimulus", "condition"], sort=True):
        there = []
        for recording, mine in rows.groupby("recording", sort=True):
            held = np.zeros(mine["second"].max() + 1, bool)
            held[mine["second"]] = True
            for first, last in _stretches(held):
                longest = max(longest, last - first)
                there += [(start, recording) for start in range(first, last - seconds + 1, seconds)]
        about = rows.iloc[0][["subject", "stimulus", "condition"]].to_dict()
        found.append((about, sorted(there)))
    starts = sorted({start for _, there in found for start, _ in there})
    if not starts:
        raise ParameterError(
            f"no test recording has {seconds} held-out seconds in a row (longest stretch: {longest}). "
            "Ask for fewer seconds, or take a split that holds out whole recordings."
        )
    rank = dict(zip(rng.permutation(starts).tolist(), range(len(starts)), strict=True))
    chosen = []
    for about, there in found:
        seen, order = {}, []  # each beginning once, before any comes again in another recording
        for start, recording in there:
            seen[start] = seen.get(start, -1) + 1
            order.append((seen[start], rank[start], start, recording))
        chosen += [{"recording": name} | about | {"start": start} for _, _, start, name in sorted(order)[:clips]]
    return chosen


def _true_way(windows, stimulus, start, seconds, seed, *, overlap, sound):
    """The true pictures of a clip as sound: seconds end to end, or where windows overlap what true ones are faded to.

    That is the continuous spectrogram of its `sound`, see `eegviz.joining`.
    """
    kind = windows.settings["audio"]
    level = {"ref_db": features.ref_db_of(windows.settings["ref_db"], stimulus), "max_db": windows.settings["max_db"]}
    if overlap:
        power = features.spectrogram(sound[None], kind=kind.removesuffix("-db"))[0]
        pictures = features.normalise(features.to_db(power) if kind.endswith("-db") else power, kind=kind, **level)
    else:
        pictures = windows.picture(stimulus, np.arange(start, start + seconds), duration=1)
    return inversion.reconstruct(pictures, audio=kind, seed=seed, n_samples=seconds * features.SR, **level)


def _over_listeners(table, values, names, *, unit=False):
    where = table.rename(columns={"start": "second"})
    found = scorecard.interval(values.to_numpy(float), where)
    told = dict(zip(names, (found.estimate, *map(scorecard.finite, (found.low, found.high))), strict=True))
    return told | ({"unit": f"{found.n_groups} {found.unit}"} if unit else {})


def _listener_mean(table, column):
    means = table.groupby("subject")[column].mean().dropna()
    return float(means.mean()) if len(means) else None


def _mir_eval():
    try:
        import mir_eval
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"melody scores need {error.name}, which is not installed. Install it with: "
            'python -m pip install "eegviz[train]"'
        ) from error
    return mir_eval
