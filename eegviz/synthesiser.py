"""A simple synthesiser: chords become sound, and valence and arousal say how they are played.

The last step of emotional music from EEG (https://doi.org/10.3389/fnbot.2024.1437737): audio features go through a
synthesiser whose parameters follow the emotion in the EEG. The paper publishes no synthesiser and no parameters. All of this
one is our choice (`EXPRESSION`), after what listeners agree on (Juslin & Laukka 2003, doi:10.1037/0033-2909.129.5.770;
Eerola, Friberg & Bresin 2013, doi:10.3389/fpsyg.2013.00487): arousal is tempo and loudness, valence is colour and height.

=============== ============================= ==================================
parameter       follows                       from (rating 1) to (rating 9)
=============== ============================= ==================================
notes a second  arousal                       1 to 6
loudness        arousal                       -26 to -14 dB below full scale (rms)
length of notes arousal, the other way        1 to .55 of their time
colour          valence                       overtone k has k^-3 to k^-1.3
height          valence                       chord around A3 to around G4
=============== ============================= ==================================

Mode stays that of the chords: a minor chord is minor at any valence, so that what was predicted is what is heard. Each chord
has a pad that holds it, its root below, and notes that break it up; no chord is silence. Ratings are those of DEAP, 1 to 9.

Conventions: mono float32 at 22 050 Hz, |y| ≤ .9; the same chords, ratings and seed give the same samples; every note begins
and ends at zero inside its step.

Functions: `render` (chords to sound), `expression` (what ratings do), `of_run` (a recording's predicted chords), `from_pictures`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eegviz import _synth, chords, features, hits
from eegviz.errors import DataError, ParameterError

SCALE = (1.0, 9.0)  # of both ratings
MIDDLE = 5.0  # a listener of whom nothing is known
CEILING = 0.9  # highest absolute sample
EXPRESSION = {  # at rating 1 and at rating 9; our choice
    "notes_per_second": (1.0, 6.0),
    "level_db": (-26.0, -14.0),
    "length": (1.0, 0.55),
    "tilt": (3.0, 1.3),
    "height": (57.0, 67.0),
}
PAD, ROOT, NOTES = 0.5, 0.45, 0.6  # amplitudes of the parts; our choice
_ATTACK, _RELEASE = 0.012, 0.06  # seconds


@dataclass(frozen=True)
class Expression:
    """How a chord is played.

    Attributes
    ----------
    notes_per_second : float
        Of the broken chord.
    level_db : float
        Root mean square below full scale.
    length : float
        Share of its time that a note is held.
    tilt : float
        Overtone k has amplitude k^-tilt: a smaller one is brighter.
    height : float
        MIDI number in the middle of the chord.
    """

    notes_per_second: float
    level_db: float
    length: float
    tilt: float
    height: float


def expression(valence, arousal) -> Expression:
    """What ratings of valence and arousal (1 to 9) do; linear between the ends of `EXPRESSION`.

    >>> expression(5, 9)
    Expression(notes_per_second=6.0, level_db=-14.0, length=0.55, tilt=2.15, height=62.0)
    """
    low, high = SCALE
    if not (low <= valence <= high and low <= arousal <= high):
        raise ParameterError(f"valence {valence:g} and arousal {arousal:g}: expected ratings from {low:g} to {high:g}.")
    share = {"tilt": valence, "height": valence}
    made = {}
    for name, (first, last) in EXPRESSION.items():
        at = (share.get(name, arousal) - low) / (high - low)
        made[name] = float(first + (last - first) * at)
    return Expression(**made)


def render(labels, *, valence=MIDDLE, arousal=MIDDLE, step=chords.STEP, sr=features.SR, seed=0):
    """Play chords.

    Parameters
    ----------
    labels : array_like of int or str, shape (n_steps,)
        Chord numbers or names (`eegviz.chords`); no chord is silence.
    valence, arousal : float or array_like, shape (n_steps,)
        Ratings from 1 to 9, one for all or one a step.
    step : float
        Seconds of a chord, .25 or more.
    sr : int
        Hertz, 8000 to 48 000.
    seed : int
        Of the order of the broken chords' notes.

    Returns
    -------
    ndarray, shape (n_steps · round(step · sr),), float32
        |y| ≤ .9.

    Raises
    ------
    ParameterError
        For unknown chords, ratings outside 1 to 9, or a step or rate out of range.

    Examples
    --------
    >>> y = render(["C:maj", "A:min", "N"], valence=7, arousal=6)
    >>> y.shape, y.dtype, float(np.abs(y[-22050:]).max())
    ((66150,), dtype('float32'), 0.0)
    """
    numbers = _chords(labels)
    ratings = [_ratings(one, len(numbers), name) for one, name in ((valence, "valence"), (arousal, "arousal"))]
    if not 0.25 <= step <= 60:
        raise ParameterError(f"step={step!r}: a chord lasts .25 to 60 s.")
    if not 8000 <= sr <= 48000 or int(sr) != sr:
        raise ParameterError(f"sr={sr!r}: expected a whole number of hertz from 8000 to 48000.")
    size = round(step * sr)
    y, before = np.zeros(len(numbers) * size, np.float32), None
    for i, number in enumerate(numbers):
        if number == chords.NONE:
            before = None
            continue
        how = expression(ratings[0][i], ratings[1][i])
        before = _voicing(int(number), how.height, before)
        rng = np.random.default_rng([seed, i])
        y[i * size : (i + 1) * size] = _step(before, int(number) % 12, how, size, sr, rng)
    return _synth.limit(y, sr=sr, ceiling=CEILING)


def from_pictures(pictures, *, kind="mel-db", valence=MIDDLE, arousal=MIDDLE, step=chords.STEP, seed=0):
    """Play the chords of pictures, one after another.

    A blurred picture, as networks predict them, is played as the triad that it is most like (our choice): no chord, as
    `eegviz.chords` would call most of them, would be silence.

    Parameters
    ----------
    pictures : array_like, shape (n, n_frames, n_bins)
        Normalised spectrograms in the order of time, predicted or true.
    kind : str
        As in `eegviz.chords.picture_chroma`.
    valence, arousal : float or array_like, shape (n,)
        One for all or one a picture, from 1 to 9.
    step, seed
        As in `render`.

    Returns
    -------
    labels : ndarray of int, shape (n · n_steps,)
    y : ndarray, float32
        The sound, 22 050 Hz.
    """
    labels = chords.picture_progression(pictures, kind=kind, step=step, sounding=True)
    ratings = [
        _ratings(one, len(labels), name).repeat(labels.shape[1])
        for one, name in ((valence, "valence"), (arousal, "arousal"))
    ]
    return labels.ravel(), render(labels.ravel(), valence=ratings[0], arousal=ratings[1], step=step, seed=seed)


@dataclass(frozen=True, eq=False)
class Music:
    """What was made of a recording.

    Attributes
    ----------
    sound : ndarray, shape (n_samples,), float32
    sr : int
    labels : ndarray of int, shape (n_steps,)
        Predicted chords.
    seconds : ndarray, shape (n_segments,)
        Second of the stimulus at which each segment begins; gaps between them are not heard.
    recording, stimulus : str
    valence, arousal : float
    """

    sound: np.ndarray
    sr: int
    labels: np.ndarray
    seconds: np.ndarray
    recording: str
    stimulus: str
    valence: float
    arousal: float

    def describe(self):
        """One line: what is heard."""
        names = " ".join(name.replace(":maj", "").replace(":min", "m") for name in chords.names(self.labels))
        return (
            f"{len(self.sound) / self.sr:g} s of chords predicted from the EEG of {self.recording} (hearing {self.stimulus}), "
            f"played at valence {self.valence:.1f} and arousal {self.arousal:.1f} of 9: {names}"
        )


def of_run(
    run, recording, *, valence=MIDDLE, arousal=MIDDLE, segment=None, step=chords.STEP, seed=0, store=None, windows=None
) -> Music:
    """Play the chords that a run predicts for the test segments of a recording.

    Parameters
    ----------
    run : eegviz.runs.Run
        A regression run.
    recording : str
        With test segments.
    valence, arousal : float
        From 1 to 9, such as the prediction of `eegviz.emotion` for the recording; 5, the middle, where nothing is known.
    segment : int, optional
        Seconds; default the run's windows where they are longer than one second, else four.
    step : float
    seed : int
    store, windows : optional
        Those of the run, when they are at hand.

    Returns
    -------
    Music

    Raises
    ------
    ParameterError
        A recording without test segments, or ratings outside 1 to 9.
    """
    windows = run.windows(store) if windows is None else windows
    split, duration = run.split(windows), windows.duration
    test = windows.table.iloc[split.test].reset_index(drop=True)
    mine = np.flatnonzero((test["recording"] == recording).to_numpy())
    if not len(mine):
        known = ", ".join(sorted(test["recording"].unique())[:5])
        raise ParameterError(
            f"recording {recording!r} has no test windows in split {split.spec}; those that have: {known} …"
        )
    seconds = segment if segment is not None else (duration if duration > 1 else hits.SEGMENT)
    found = hits.segments(test.iloc[mine].reset_index(drop=True), seconds=seconds, duration=duration)
    rows = mine[found.rows]
    pictures = np.asarray(run.predictions[rows.ravel()], np.float32)
    if not np.isfinite(pictures).all():
        raise DataError(f"{run.path / 'predictions.npy'} holds NaN or infinite values: train the run again.")
    joined = pictures.reshape(len(rows), -1, pictures.shape[2])
    labels, sound = from_pictures(
        joined, kind=windows.settings["audio"], valence=valence, arousal=arousal, step=step, seed=seed
    )
    return Music(
        sound, features.SR, labels, found.table["second"].to_numpy(), recording, found.table["stimulus"].iloc[0],
        float(valence), float(arousal),
    )  # fmt: skip


# --- helpers -----------------------------------------------------------------------------------------------------


def _chords(labels):
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise ParameterError(f"chords have shape {labels.shape}, expected (n_steps,) with one step or more.")
    if labels.dtype.kind in "US":
        return chords.numbers(labels)
    return chords.transpose(labels, 0)


def _ratings(values, n, name):
    values = np.asarray(values, float)
    if values.shape not in ((), (n,)):
        raise ParameterError(f"{name} has shape {values.shape}, expected one number or one for each of the {n} parts.")
    if not np.isfinite(values).all():
        raise DataError(f"{name} holds NaN or infinity.")
    return np.broadcast_to(values, (n,))


def _voicing(number, height, before):
    """MIDI numbers of the triad nearest to the chord before, or to `height`; three, rising."""
    classes = (number % 12 + np.array(chords.TRIADS["maj" if number < 12 else "min"])) % 12
    options = []
    for first in range(3):  # root position and both inversions
        order = np.roll(classes, -first)
        for bottom in range(int(height) - 14, int(height) + 8):
            if bottom % 12 == order[0]:
                middle = bottom + (order[1] - order[0]) % 12
                options.append((bottom, middle, middle + (order[2] - order[1]) % 12))
    options = np.array(options)
    far = 2.0 * np.abs(options.mean(1) - height)
    if before is not None:
        far += np.abs(options - np.array(before)).sum(1)
    return tuple(int(note) for note in options[np.argmin(far)])


def _step(notes, root, how, size, sr, rng):
    """One chord: pad, root and broken chord, at the level asked for; it begins and ends at zero."""
    seconds, y = size / sr, np.zeros(size)
    held = _voice(how, sustained=True)
    for note in notes:
        _add(y, 0.0, _tone(held, note, seconds - _RELEASE - 0.005, sr), PAD / 3, sr)
    low = 36 + (root - 36) % 12
    _add(y, 0.0, _tone(held, low + 12 * (low < 40), seconds - _RELEASE - 0.005, sr), ROOT, sr)
    n = max(1, round(how.notes_per_second * seconds))
    order = np.concatenate([rng.permutation(3) for _ in range(n // 3 + 1)])[:n]
    each, voice = seconds / n, _voice(how, sustained=False)
    for i, which in enumerate(order):
        length = max(0.03, how.length * each - _RELEASE - 0.005)
        gain = NOTES * (1.0 if i == 0 else rng.uniform(0.7, 0.9))
        _add(y, i * each, _tone(voice, notes[which] + 12, length, sr), gain, sr)
    return (y * (10 ** (how.level_db / 20) / np.sqrt(np.mean(y**2)))).astype(np.float32)


def _voice(how, *, sustained):
    """A voice of the colour asked for; held, or dying away."""
    return _synth.Voice(
        gain=1.0, attack=_ATTACK if not sustained else 3 * _ATTACK, decay=0.0 if sustained else 0.4, release=_RELEASE,
        tilt=how.tilt, bright=16, dark=16,
    )  # fmt: skip


def _tone(voice, midi, seconds, sr):
    return _synth.tone(voice, 440.0 * 2 ** ((midi - 69) / 12), seconds=seconds, sr=sr)


def _add(y, start, sound, gain, sr):
    at = int(start * sr)
    sound = sound[: len(y) - at]
    y[at : at + len(sound)] += gain * sound
