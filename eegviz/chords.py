"""Chords: how much of each pitch class a sound or a picture holds, and which of 25 chords that is most like.

Conventions
-----------
* A chord is a number from 0 to 24: 0 … 11 are the major triads of C, C#, … B, 12 … 23 the minor ones, 24 (`NONE`) is no
  chord. `LABELS` has their names as in MIREX and `mir_eval.chord`: ``C:maj``, ``A:min``, ``N``.
* A *chroma* is ``(…, 12)``, the share of each pitch class from C to B; it sums to 1, or is all zeros in silence.
* A *step* is the time that one chord is given to, one second unless told otherwise; a *progression* is the chords of a
  segment's steps. No source publishes either for emotional music from EEG (Hits@k of chord progressions,
  https://doi.org/10.3389/fnbot.2024.1437737): steps, the 25 labels and the templates are our choice.

What chroma of a picture can and cannot tell
--------------------------------------------
Mel filters lie 26 Hz apart below 1 kHz: a semitone is that wide at A4 (440 Hz), and half as wide an octave lower, so that
neighbouring notes below A4 share a filter. Which note it was then shows in its overtones only. `picture_chroma` therefore
explains each picture by notes with overtones (as NNLS chroma does, Mauch & Dixon 2010), which needs tones that have some:
of pure sinusoids below C5 it tells a third of the triads. Chroma of the sound itself (`sound_chroma`) is better throughout.
Measured on known chords, sound and picture: triads with overtones from C3 up 1.00 and 1.00, the demonstration in the design of
DEAP .99 and .88, the ten pieces of `eegviz.music` (seventh chords under drums and melody) .94 and .74. Sevenths, suspensions
and inversions are all called by the nearest triad.

Functions: `sound_chroma`, `picture_chroma`, `likeness` (of a chroma to the 25 chords), `log_probability`, `recognise` (the
best), `sound_progression`, `picture_progression`, `templates`, `names`, `numbers`, `transpose`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from eegviz import features
from eegviz.errors import DataError, ParameterError

PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLATS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#"}
LABELS = (*(f"{one}:maj" for one in PITCHES), *(f"{one}:min" for one in PITCHES), "N")
FORMAT = 1  # raise when other chords are recognised in the same sound
NONE = 24  # the number of no chord
STEP = 1.0  # seconds of one chord; our choice
TRIADS = {"maj": (0, 4, 7), "min": (0, 3, 7)}
NO_CHORD = 0.45  # correlation with a triad below which a step has no chord; our choice
FLAT = 0.25  # contrast of a chroma, |less its mean| / |itself|, below which a step has no chord (noise has .02 to .15, music
# .36 and more); our choice
SHARPNESS = 8.0  # of `log_probability`: a correlation higher by .1 is exp(.8), about twice, as likely; our choice
SILENT_DB = 60.0  # below full scale (root mean square): a step of sound that has no chord; our choice
FLOOR_DB = 20.0  # (doubled) decibels above a picture's lowest level, under which a step has no chord; our choice
LOWEST, HIGHEST = 45, 96  # MIDI numbers of the notes that explain a picture, A2 to C7; our choice
PARTIALS, DECAY = 10, 0.65  # overtones of these notes, and the amplitude of each over the one before; our choice
NOISES = 20  # broad triangles along the bins that explain drums and breath; our choice
COMPRESSION = 0.25  # of power: overtones, which tell low notes apart, are weak; our choice, made on known chords
ROUNDS = 60  # multiplicative updates; our choice
_BLOCK = 64  # pictures at a time
_EPS = 1e-12


def templates():
    """Pitch classes of the 24 triads: ``(24, 12)``, 1 where the pitch class is in the chord.

    >>> templates()[LABELS.index("A:min")].astype(int).tolist()
    [1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]
    """
    rows = np.zeros((24, 12))
    for i, intervals in enumerate(TRIADS.values()):
        for root in range(12):
            rows[12 * i + root, [(root + step) % 12 for step in intervals]] = 1
    return rows


def names(labels):
    """Names of chord numbers: nested lists of the same shape.

    >>> names([[0, 21], [24, 7]])
    [['C:maj', 'A:min'], ['N', 'G:maj']]
    """
    return np.array(LABELS)[_numbers(labels)].tolist()


def numbers(labels):
    """Numbers of chord names, with sharps or flats: an int array of the same shape.

    Raises
    ------
    ParameterError
        For an unknown name; the message lists the known ones.

    >>> numbers(["C:maj", "Bb:min", "N"]).tolist()
    [0, 22, 24]
    """
    asked = np.asarray(labels)
    known = {name: i for i, name in enumerate(LABELS)}
    known |= {f"{flat}:{kind}": known[f"{sharp}:{kind}"] for flat, sharp in FLATS.items() for kind in TRIADS}
    unknown = sorted(set(asked.ravel().tolist()) - set(known), key=str)
    if unknown:
        raise ParameterError(f"unknown chord {unknown[0]!r}; known are {', '.join(LABELS)}.")
    return np.array([known[name] for name in asked.ravel().tolist()], int).reshape(asked.shape)


def transpose(labels, semitones):
    """Chord numbers moved up by `semitones` (an int, or an array that broadcasts); no chord stays no chord.

    >>> names(transpose([0, 21, 24], 2))
    ['D:maj', 'B:min', 'N']
    """
    labels = _numbers(labels)
    return np.where(labels == NONE, NONE, labels // 12 * 12 + (labels % 12 + np.asarray(semitones)) % 12)


def sound_chroma(y, *, sr=features.SR, step=STEP):
    """Chroma of a sound, one a step, from librosa's constant-Q transform.

    Parameters
    ----------
    y : ndarray, shape (n_samples,)
        Mono sound, full scale ±1.
    sr : int
        Hertz.
    step : float
        Seconds. What is left after the last whole step is left out.

    Returns
    -------
    ndarray, shape (n_steps, 12)
        All zeros where the step is silent.

    Raises
    ------
    ParameterError
        A sound that is not mono, or shorter than one step.
    DataError
        For NaN or infinite samples.

    Examples
    --------
    >>> t = np.arange(2 * 22050) / 22050
    >>> y = sum(0.2 * np.sin(2 * np.pi * f * t) for f in (261.63, 329.63, 392.0))
    >>> names(recognise(sound_chroma(y)))
    ['C:maj', 'C:maj']
    """
    import librosa

    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind != "f":
        raise ParameterError(f"the sound has shape {y.shape} and type {y.dtype}, expected mono samples, (n_samples,).")
    if not step > 0 or len(y) < round(step * sr):
        raise ParameterError(f"a sound of {len(y) / sr:g} s has no step of {step:g} s: chords need one or more.")
    if not np.isfinite(y).all():
        raise DataError(
            f"the sound holds NaN or infinity at sample {int(np.argmin(np.isfinite(y)))}: it has no chords."
        )
    n_steps = int(len(y) / (step * sr) + 1e-9)
    # a step is heard from a little after its beginning: the transform of low notes reaches back into the chord before
    found = librosa.feature.chroma_cqt(
        y=y, sr=sr, hop_length=features.HOP_LENGTH, norm=None, tuning=0.0, fmin=65.406, n_octaves=6
    )
    times = np.arange(found.shape[1]) * features.HOP_LENGTH / sr
    rows = np.stack([found[:, (times >= i * step) & (times < (i + 1) * step)].mean(1) for i in range(n_steps)])
    whole = y[: round(n_steps * step * sr)].astype(float)
    level = np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(whole, n_steps)])
    return _shares(np.where(level[:, None] > 10 ** (-SILENT_DB / 20), rows, 0.0))


def picture_chroma(pictures, *, kind="mel-db", step=STEP, ref_db=None, max_db=features.MAX_DB):
    """Chroma of normalised spectrograms, one a step, from the notes that explain them.

    A picture is brought back to power; the mean of its power, compressed (`COMPRESSION`), over the frames of a step is written as a sum, without
    negative parts, of notes with overtones and of broad noises (Kullback-Leibler divergence, multiplicative updates [2]_);
    the notes' parts are added up by pitch class, as in NNLS chroma [1]_.

    Parameters
    ----------
    pictures : array_like, shape (n, n_frames, n_bins)
        Normalised, true or predicted; `n_frames` those of whole steps, such as 176 for four seconds of mel-db.
    kind : str
        One of `eegviz.features.AUDIO_KINDS`.
    step : float
        Seconds.
    ref_db, max_db : float
        As in `eegviz.features.denormalise`. Chroma does not depend on `ref_db`.

    Returns
    -------
    ndarray, shape (n, n_steps, 12)
        All zeros where a step is silent.

    Raises
    ------
    ParameterError
        Pictures of another kind, or whose frames are not whole steps.
    DataError
        For NaN or infinite values.

    References
    ----------
    .. [1] Mauch & Dixon, "Approximate note transcription for the improved identification of difficult chords", ISMIR 2010.
    .. [2] Lee & Seung, "Algorithms for non-negative matrix factorization", NIPS 2000.

    Examples
    --------
    >>> picture_chroma(np.zeros((3, 176, 128))).shape
    (3, 4, 12)
    """
    layout = features.layout(kind)
    pictures = pictures if isinstance(pictures, np.ndarray) else np.asarray(pictures)
    if pictures.ndim != 3 or pictures.shape[2] != layout.n_bins:
        raise ParameterError(
            f"pictures have shape {pictures.shape}, expected (n, n_frames, {layout.n_bins}) for {kind}."
        )
    frames = layout.n_frames * step
    if frames < 1 or abs(frames - round(frames)) > 1e-9 or pictures.shape[1] % round(frames) or not pictures.shape[1]:
        raise ParameterError(
            f"pictures of {pictures.shape[1]} frames do not hold whole steps of {step:g} s: {kind} has {layout.n_frames} "
            "frames a second. Choose a step that divides the pictures, such as 1."
        )
    n_steps = pictures.shape[1] // round(frames)
    ref_db = features.default_ref_db(kind) if ref_db is None else float(ref_db)
    bases = _bases(kind)
    out = np.empty((len(pictures), n_steps, 12))
    for start in range(0, len(pictures), _BLOCK):
        block = np.asarray(pictures[start : start + _BLOCK], np.float32)
        if not np.isfinite(block).all():
            bad = start + int(np.argmin(np.isfinite(block).all(axis=(1, 2))))
            raise DataError(f"picture {bad} holds NaN or infinity: it has no chords. Look for a diverged training.")
        power = features.denormalise(block, kind=kind, ref_db=ref_db, max_db=max_db)
        power = features.from_db(power) if kind.endswith("-db") else power
        floor = 10 ** ((ref_db - max_db) / 20)
        steps = power.reshape(len(block) * n_steps, round(frames), -1)
        amplitude = (np.maximum(steps - floor, 0) ** COMPRESSION).mean(1)
        silent = steps.mean(1).max(1) < floor * 10 ** (FLOOR_DB / 20)
        amplitude[silent] = 0
        out[start : start + len(block)] = _notes_of(amplitude, bases).reshape(len(block), n_steps, 12)
    return _shares(out)


def likeness(chroma, *, no_chord=NO_CHORD):
    """How like a chroma is to each of the 25 chords.

    Parameters
    ----------
    chroma : array_like, shape (…, 12)
    no_chord : float
        Likeness of no chord to anything that is not silent.

    Returns
    -------
    ndarray, shape (…, 25)
        Pearson's correlation with the template of each triad (the cosine of both less their means), 0 where all pitch
        classes are alike; then `no_chord`, or 1 where they are nearly alike (`FLAT`), as in noise and silence.

    Raises
    ------
    ParameterError
        For another last axis.
    DataError
        For NaN, infinite or negative values.

    Examples
    --------
    >>> likeness(templates()[0])[[0, 21, 24]].round(3).tolist()
    [1.0, 0.556, 0.45]
    """
    chroma = np.asarray(chroma, float)
    if chroma.ndim < 1 or chroma.shape[-1] != 12:
        raise ParameterError(f"chroma has shape {chroma.shape}, expected (…, 12).")
    if not np.isfinite(chroma).all() or (chroma.size and chroma.min() < 0):
        raise DataError("chroma holds NaN, infinite or negative values: shares of pitch classes are 0 or more.")
    centred, shape = chroma - chroma.mean(-1, keepdims=True), templates() - 0.25
    size, whole = (np.linalg.norm(one, axis=-1, keepdims=True) for one in (centred, chroma))
    centred = np.divide(centred, size, out=np.zeros_like(centred), where=size > 1e-9 * whole)
    out = np.empty((*chroma.shape[:-1], 25))
    out[..., :NONE] = centred @ (shape / np.linalg.norm(shape, axis=1, keepdims=True)).T
    out[..., NONE] = np.where(size < FLAT * whole + _EPS, 1.0, no_chord)[..., 0]
    return out


def log_probability(like, *, sharpness=SHARPNESS):
    """Logarithm of the probability of each of the 25 chords: ``log softmax(sharpness · likeness)``, (…, 25).

    >>> round(float(np.exp(log_probability(likeness(templates()[0]))).sum()), 6)
    1.0
    """
    scaled = sharpness * np.asarray(like, float)
    scaled = scaled - scaled.max(-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))


def recognise(chroma, *, no_chord=NO_CHORD, sounding=False):
    """The chord that each chroma is most like: numbers (…,); parameters and errors are those of `likeness`.

    With ``sounding``, no chord is for silence alone: what is blurred, such as a predicted picture, has the triad that it is
    most like, however little.

    >>> names(recognise([[1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0], [0] * 12, [1] * 12]))
    ['C:maj', 'N', 'N']
    >>> names(recognise([[3, 2, 2, 2, 3, 2, 2, 3, 2, 2, 2, 2], [0] * 12], sounding=True))
    ['C:maj', 'N']
    """
    like = likeness(chroma, no_chord=no_chord).round(9)
    if sounding:
        silent = np.asarray(chroma, float).sum(-1) <= _EPS
        return np.where(silent, NONE, like[..., :NONE].argmax(-1))
    return like.argmax(-1)


def sound_progression(y, *, sr=features.SR, step=STEP):
    """Chords of a sound, one a step: ``(n_steps,)``; parameters and errors are those of `sound_chroma`."""
    return recognise(sound_chroma(y, sr=sr, step=step))


def picture_progression(pictures, *, kind="mel-db", step=STEP, sounding=False):
    """Chords of pictures, one a step: ``(n, n_steps)``; parameters and errors as of `picture_chroma` and `recognise`."""
    return recognise(picture_chroma(pictures, kind=kind, step=step), sounding=sounding)


# --- helpers -----------------------------------------------------------------------------------------------------


def _numbers(labels):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or (labels.size and (labels.min() < 0 or labels.max() > NONE)):
        raise ParameterError(
            f"chords are whole numbers from 0 to {NONE}; found {labels.dtype}. Names go through numbers()."
        )
    return labels.astype(int)


def _shares(rows):
    total = rows.sum(-1, keepdims=True)
    return np.divide(rows, total, out=np.zeros_like(rows, dtype=float), where=total > _EPS)


def _notes_of(amplitude, bases):
    """Parts of the pitch classes in amplitudes ``(n, n_bins)``: ``(n, 12)``."""
    amplitude = amplitude.astype(float)
    total = amplitude.sum(1, keepdims=True)
    amplitude = np.divide(amplitude, total, out=np.zeros_like(amplitude), where=total > 0)
    parts = np.full((len(amplitude), len(bases)), 1 / len(bases))
    for _ in range(ROUNDS):  # each base sums to 1, so that the denominator of the update is 1
        parts *= (amplitude / (parts @ bases + _EPS)) @ bases.T
    notes = np.where(total > 0, parts[:, : HIGHEST - LOWEST + 1], 0.0)
    out = np.zeros((len(amplitude), 12))
    for i in range(notes.shape[1]):
        out[:, (LOWEST + i) % 12] += notes[:, i]
    return out


@lru_cache(maxsize=8)
def _bases(kind):
    """Amplitudes of the notes and noises of a kind of picture: ``(n_notes + NOISES, n_bins)``, each summing to 1."""
    layout = features.layout(kind)
    time, window = np.arange(layout.n_fft) / features.SR, np.hanning(layout.n_fft + 1)[:-1]
    bank = features.mel_basis(kind).astype(float) if layout.n_mels else np.eye(layout.n_bins)
    rows = []
    for midi in range(LOWEST, HIGHEST + 1):
        pitch, power = 440.0 * 2 ** ((midi - 69) / 12), np.zeros(layout.n_fft // 2 + 1)
        for k in range(1, PARTIALS + 1):
            if k * pitch < features.SR / 2:
                spectrum = np.fft.fft(window * np.exp(2j * np.pi * k * pitch * time))[: len(power)]
                power += DECAY ** (2 * (k - 1)) * np.abs(spectrum) ** 2
        rows.append(np.sqrt(bank @ power))
    centres, bins = np.linspace(0, layout.n_bins - 1, NOISES), np.arange(layout.n_bins)
    rows += [np.maximum(0, 1 - np.abs(bins - centre) / (centres[1] - centres[0])) for centre in centres]
    rows = np.stack(rows)
    return rows / rows.sum(1, keepdims=True)
