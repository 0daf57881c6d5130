"""The melody of a sound: pitch contour by pYIN, cut into notes (public in `eegviz.melody`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eegviz.errors import DataError, ParameterError

SR = 22050
FMIN, FMAX = 130.8, 1046.5  # Hz, C3 to C6: the chorales lie between C4 and F#5; our choice
FRAME, HOP = 2048, 384  # samples: 93 and 17 ms at 22 050 Hz, 0.3 s for 10 s of sound; our choice
RESOLUTION = 0.2  # semitones between candidates: a fifth of the tolerance, a quarter of the time of librosa's 0.1
FLOOR = 40.0  # dB below the loudest frame, under which nothing has a pitch; our choice
SILENT = 1e-5  # of full scale: a sound whose loudest frame lies below has no pitch; our choice
LEAST_NOTE = 0.08  # s; our choice
JUMP = 0.6  # semitones between the medians before and after the boundary of two notes; our choice
RISE = 0.3  # how far an onset by energy stands out, of the strongest; our choice, made on the chorales


@dataclass(frozen=True, eq=False)
class Track:
    """The melody of a sound.

    Attributes
    ----------
    times : ndarray, shape (n_frames,)
        Seconds, evenly spaced from 0.
    frequency : ndarray, shape (n_frames,)
        Hertz: the most likely pitch, by YIN where the frame is not voiced; 0 in silence.
    voiced : ndarray of bool, shape (n_frames,)
        Whether the frame has a pitch.
    onsets : ndarray, shape (n_onsets,)
        Seconds: where the energy rises, or a note begins.
    starts, ends, pitches : ndarray, shape (n_notes,)
        Of the notes, in order: seconds, seconds, hertz. A note has a pitch.
    """

    times: np.ndarray
    frequency: np.ndarray
    voiced: np.ndarray
    onsets: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    pitches: np.ndarray

    @property
    def hop(self):
        """Seconds from frame to frame."""
        return float(self.times[1])


def track(y, *, sr=SR, fmin=FMIN, fmax=FMAX, frame_length=FRAME, hop_length=HOP, resolution=RESOLUTION) -> Track:
    """The pitch contour of a sound of one voice, and its notes.

    The pitch is that of pYIN (`librosa.pyin` [1]_), and where pYIN finds none, the guess of YIN (`librosa.yin`). A note
    begins where a pitch begins, where the pitch jumps, or where the energy rises while the pitch stays.

    Parameters
    ----------
    y : ndarray, shape (n_samples,)
        Mono sound, at least two frames long.
    sr : int
        Hertz.
    fmin, fmax : float
        Lowest and highest pitch, hertz.
    frame_length, hop_length : int
        Samples.
    resolution : float
        Semitones between candidates of the pitch, between 0 and 1.

    Returns
    -------
    Track

    Raises
    ------
    ParameterError
        When the sound is too short or not mono, or the range of pitches does not fit the frame and the rate.
    DataError
        For NaN or infinite values.

    References
    ----------
    .. [1] Mauch & Dixon, "pYIN: a fundamental frequency estimator using probabilistic threshold distributions", ICASSP
       2014. doi:10.1109/ICASSP.2014.6853678

    Examples
    --------
    >>> y = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    >>> found = track(y)
    >>> round(float(np.median(found.frequency[found.voiced]))), len(found.starts)
    (440, 1)
    >>> track(0 * y).voiced.any(), track(0 * y).onsets
    (np.False_, array([], dtype=float64))
    """
    import librosa

    y = _sound(y, sr, fmin, fmax, frame_length, hop_length, resolution)
    level = librosa.feature.rms(y=y, frame_length=frame_length, hop_length=hop_length)[0]
    times = np.arange(len(level)) * hop_length / sr
    if level.max() <= SILENT:
        none = np.empty(0)
        return Track(times, np.zeros(len(level)), np.zeros(len(level), bool), none, none, none, none)
    asked = {"fmin": fmin, "fmax": fmax, "sr": sr, "frame_length": frame_length, "hop_length": hop_length}
    pitch, voiced, _ = librosa.pyin(y, resolution=resolution, fill_na=0.0, **asked)
    frequency = np.where(voiced, pitch, librosa.yin(y, **asked))
    loud = level > level.max() * 10 ** (-FLOOR / 20)
    frequency, voiced = np.where(loud, frequency, 0.0), voiced & loud
    rises = [mark for mark in _rises(y, sr, hop_length) if mark < len(loud) and loud[mark]]
    least = max(3, round(LEAST_NOTE * sr / hop_length))
    starts, ends, pitches = _notes(frequency, voiced, times, rises, least)
    onsets = np.unique(np.concatenate([times[rises], starts]))
    return Track(times, frequency, voiced, onsets, starts, ends, pitches)


def _sound(y, sr, fmin, fmax, frame_length, hop_length, resolution):
    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "fiu":
        raise ParameterError(f"the sound has shape {y.shape} and type {y.dtype}, expected mono samples, (n_samples,).")
    if not (1 <= hop_length <= frame_length and 0 < resolution < 1):
        raise ParameterError(
            f"hop_length={hop_length}, frame_length={frame_length}, resolution={resolution}: expected a hop between 1 "
            "and the frame, and a resolution between 0 and 1 semitone."
        )
    if not 4 * sr / frame_length <= fmin < fmax <= sr / 4:
        raise ParameterError(
            f"pitches from {fmin:g} to {fmax:g} Hz do not fit frames of {frame_length} samples at {sr:g} Hz: expected "
            f"{4 * sr / frame_length:g} ≤ fmin < fmax ≤ {sr / 4:g} Hz."
        )
    if len(y) < 2 * frame_length:
        raise ParameterError(f"the sound has {len(y)} samples; a melody needs two frames, {2 * frame_length}, or more.")
    if not np.isfinite(y).all():
        raise DataError(
            f"the sound holds NaN or infinity at sample {int(np.argmin(np.isfinite(y)))}: it has no melody."
        )
    return y.astype(float)


def _rises(y, sr, hop_length):
    """Frames at which the energy rises."""
    import librosa

    strength = librosa.onset.onset_strength(y=y, sr=sr, hop_length=hop_length)
    if not strength.max() > 0:
        return []
    return librosa.onset.onset_detect(onset_envelope=strength, sr=sr, hop_length=hop_length, delta=RISE).tolist()


def _notes(frequency, voiced, times, rises, least):
    """Starts, ends and pitches of the notes of a contour."""
    marks = list(rises)
    for first, last in _stretches(voiced):
        new = [first, *(first + mark for mark in _jumps(frequency[first:last], least))]
        # a rise of energy is dated more finely than a jump of the pitch
        marks += [mark for mark in new if not any(abs(mark - other) < least for other in marks)]
    marks, found = sorted(marks), []
    for first, last in zip(marks, [*marks[1:], len(frequency)], strict=True):
        inside = first + np.flatnonzero(voiced[first:last])
        if len(inside) >= least:
            found.append((times[first], times[inside[-1]] + times[1], np.median(frequency[inside])))
    return tuple(np.array(found).T) if found else (np.empty(0),) * 3


def _jumps(frequency, least):
    """Frames at which the pitch of a voiced stretch moves to another that stays."""
    if len(frequency) < 2 * least:
        return []
    semitones = 12 * np.log2(frequency)
    middle = np.median(np.lib.stride_tricks.sliding_window_view(semitones, least), axis=1)
    jump = np.abs(middle[least:] - middle[:-least])
    return [least + first + int(np.argmax(jump[first:last])) for first, last in _stretches(jump > JUMP)]


def _stretches(mask):
    """(first, last + 1) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return edges.reshape(-1, 2).tolist()
