"""Where a melody of MOS begins in its sound file: the sound is longer (36.0 s) than the EEG (28.17 s).

The files begin with the metronome alone, and no public text gives the seconds. With the stimulus file of the CND layout
the place is found by its own 'Acoustic Envelope'; without one, by the melody's notes (`eegviz.chorales`): first the
place at which the sound has the right pitches, then, close to it, the one at which it rises with the notes' onsets.

Functions: `place` (find a melody's sound and its beginning), `envelope`, `offset_by_envelope`, `offset_by_notes`, `which_melody`.
"""

from dataclasses import dataclass

import numpy as np

from eegviz import chorales
from eegviz.datasets import _audio, _common
from eegviz.errors import DataError

MIN_R = {"envelope": 0.5, "notes": 0.3}  # below it the sound is another one; our choice
NEAR = 0.25  # seconds around the place of the pitches in which the onsets decide
N_FFT = 4096  # samples: 186 ms, semitones from c' upwards are told apart
MISSING = 0.25  # part of a melody that may be missing at a sound's end while its beginning is looked for
SPARSE = 0.1  # a vector of note onsets has at most this part of values that are not 0
SOUND_ADVICE = "the four sounds belong to the data set (stimuli/audio, or original_stim.zip at Dryad): pass their folder as --audio"


def envelope(y, *, sr, sfreq):
    """Mean absolute value of a sound in steps of an EEG sample: ``(n_times,)``.

    Examples
    --------
    >>> envelope(np.array([1.0, -1.0, 0.0, 2.0]), sr=4, sfreq=2).tolist()
    [1.0, 1.0]
    """
    n = int(len(y) / sr * sfreq)
    edges = np.floor(np.arange(n + 1) * sr / sfreq).astype(int)
    total = np.concatenate([[0.0], np.cumsum(np.abs(y), dtype=np.float64)])
    return np.diff(total[edges]) / np.diff(edges)


def offset_by_envelope(y, reference, *, sr, sfreq, slack=0.0):
    """Second of a sound at which an envelope fits it best, and the correlation there.

    Parameters
    ----------
    y : ndarray [shape=(n,)]
    reference : ndarray [shape=(n_times,)]
        At ``sfreq``.
    sr : int
    sfreq : float
    slack : float
        Seconds by which the sound may be too short.

    Returns
    -------
    seconds, r : float
    """
    r = _sliding(envelope(y, sr=sr, sfreq=sfreq)[None], np.ravel(reference)[None], round(slack * sfreq))
    best = int(np.argmax(r))
    return best / sfreq, float(r[best])


def offset_by_notes(y, melody, n_times, *, sr, sfreq, slack=0.0):
    """Second of a sound at which a melody begins, by its notes, and the correlation of pitches there.

    Parameters
    ----------
    y : ndarray [shape=(n,)]
    melody : str
    n_times : int
        Length of the EEG in samples of ``sfreq``.
    sr : int
    sfreq, slack : float

    Returns
    -------
    seconds, r : float
    """
    played = chorales.notes(melody, duration=n_times / sfreq)
    if not played:
        raise DataError(
            f"{melody}: expected EEG that lasts until its first note, found {n_times / sfreq:.2f} s; use the original file"
        )
    pitches = np.arange(min(note.pitch for note in played), max(note.pitch for note in played) + 1)
    roll, onsets = np.zeros((len(pitches), n_times)), np.zeros(n_times)
    for note in played:
        first, last = (round(at * sfreq) for at in (note.onset, note.onset + note.duration))
        roll[note.pitch - pitches[0], first:last] = 1
        onsets[min(first, n_times - 1)] = 1
    slack = round(slack * sfreq)
    r = _sliding(_pitch_levels(y, pitches, sr, sfreq), roll, slack)
    coarse = int(np.argmax(r))
    rise = np.maximum(np.diff(np.log(envelope(y, sr=sr, sfreq=sfreq) + 1e-3), prepend=np.log(1e-3)), 0)
    fit = _sliding(rise[None], onsets[None], slack)
    low = max(0, coarse - round(NEAR * sfreq))
    near = fit[low : coarse + round(NEAR * sfreq) + 1]
    return (low + int(np.argmax(near))) / sfreq, float(r[coarse])


def which_melody(vector, *, sfreq, where):
    """The id of the melody whose notes begin where a vector of onsets is not 0.

    Parameters
    ----------
    vector : ndarray [shape=(n_times,) or (n_times, n)]
        Expectation of each note at its onset, 0 elsewhere. Notes may be missing.
    sfreq : float
    where : str
        For messages.

    Raises
    ------
    DataError
        When it is not sparse, or fits no melody.

    Examples
    --------
    >>> vector = np.zeros(1803)
    >>> vector[[round(64 * note.onset) for note in chorales.notes("chor-038")[2:]]] = 2.5
    >>> which_melody(vector, sfreq=64, where="stim")
    'chor-038'
    """
    vector = np.asarray(vector)
    vector = vector.reshape(len(vector), -1) if vector.ndim == 2 and vector.shape[0] > 1 else vector.reshape(-1, 1)
    for column in vector.T:
        at = np.flatnonzero(column)
        if not 3 <= len(at) <= SPARSE * len(column):
            continue
        scores = {}
        for one in chorales.CHORALES:
            onsets = np.array([note.onset for note in chorales.notes(one, duration=None)])
            distance = np.abs(at[:, None] / sfreq - onsets).min(axis=1)
            inside = chorales.notes(one, duration=len(column) / sfreq)
            hit = np.mean(distance <= 1.01 / sfreq)
            scores[one.id] = (hit >= 0.95) * len(at) / len(inside)
        best = max(scores, key=scores.get)
        if scores[best] >= 0.5 and sum(score == scores[best] for score in scores.values()) == 1:
            return best
    raise DataError(
        f"{where}: expected a vector that is not 0 at the note onsets of one of {', '.join(c.id for c in chorales.CHORALES)}, "
        f"found {np.count_nonzero(vector)} of {vector.size} values that are not 0 and fit no melody; so it is unknown what "
        "was heard: use the original file, or the CND layout, whose dataStim.mat names the melodies"
    )


@dataclass
class Sound:
    """A melody lined up with its EEG: what to add to the store, once, and how long it is."""

    melody: chorales.Chorale
    path: object
    channel: int | None
    offset: float
    seconds: float
    stamp: str

    def add(self, writer):
        """Add the sound unless it is there already."""
        if writer.has_stimulus(self.melody.id, stamp=self.stamp):
            return
        y = _audio.read(self.path, lead_in=self.offset, channel=self.channel)
        writer.add_stimulus(
            self.melody.id, y[: round(self.seconds * _audio.SR)], sr=_audio.SR, title=self.melody.title, stamp=self.stamp,
            audio_file=self.path.name, lead_in=self.offset, bpm=chorales.BPM,
        )  # fmt: skip


def place(name, eeg_seconds, reference, sfreq, settings, notes):
    """Find a melody's sound and the second of it at which the EEG begins.

    Parameters
    ----------
    name : str
        Melody.
    eeg_seconds : float
    reference : ndarray or None
        The melody's envelope at ``sfreq``, of the CND layout.
    sfreq : float
    settings : eegviz.datasets._nmed.Settings
    notes : Notes

    Returns
    -------
    Sound

    Raises
    ------
    DataError
        When there is no such sound, it is another one, or it is too short.
    """
    import soundfile

    melody = chorales.find(name)
    sound = settings.library.find((name, name.replace("-", ""), melody.title), advice=SOUND_ADVICE)
    _audio.duration(sound)  # refuses what is no sound
    channel = 1 if soundfile.info(str(sound)).channels > 1 else None
    if channel is None:
        notes.warn(
            f"{sound}: one channel, taken as the melody; the original has two, left the metronome, right the melody"
        )
    y = _audio.read(sound, channel=channel)
    seconds = len(y) / _audio.SR
    if name in settings.offsets:
        offset = settings.offsets[name]
    else:
        offset = _find_offset(y, melody, eeg_seconds, reference, sfreq, settings, sound, notes)
    left, where = seconds - offset, f"{sound} from second {offset:.3f} on"
    length, warning = eeg_seconds, ""
    if left < eeg_seconds:
        length, warning = _audio.align(eeg_seconds, left, max_mismatch=settings.max_mismatch, where=where)
    notes.warn(warning)
    length = int(length * sfreq + 1e-6) / sfreq
    return Sound(melody, sound, channel, offset, length, f"{_common.stamp(sound)}|{offset!r}|{length!r}")


def _find_offset(y, melody, eeg_seconds, reference, sfreq, settings, sound, notes):
    where = {"sr": _audio.SR, "sfreq": sfreq, "slack": MISSING * eeg_seconds}
    at, r = offset_by_notes(y, melody.id, round(eeg_seconds * sfreq), **where)
    found = f"the pitches of {melody.id} fit best from second {at:.3f} on (r = {r:.2f})"
    by_notes = r >= MIN_R["notes"]
    if reference is not None:
        at_envelope, r_envelope = offset_by_envelope(y, reference, **where)
        text = f"the file's envelope fits best from second {at_envelope:.3f} on (r = {r_envelope:.2f})"
        if r_envelope >= MIN_R["envelope"]:
            differ = f", while {found}" if by_notes and abs(at - at_envelope) > 0.1 else ""
            notes.warn(f"{sound}: {text}{differ}")
            return at_envelope
        found = f"{text}; {found}"
    if not by_notes:
        raise DataError(
            f"{sound}: expected the melody {melody.id} in the right channel, found that {found}; use the original sound, or "
            "say with --offsets at which second the melody begins"
        )
    notes.warn(f"{sound}: {found}")
    return at


def _pitch_levels(y, pitches, sr, sfreq):
    """Magnitude around the pitches' fundamental frequencies: (n_pitches, n_times)."""
    n_times = int(len(y) / sr * sfreq)
    padded = np.pad(y, (N_FFT // 2, N_FFT))
    starts = np.floor(np.arange(n_times) * sr / sfreq).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)
    window = np.hanning(N_FFT).astype(np.float32)
    wanted = 440 * 2 ** ((pitches - 69) / 12)
    frequency = np.fft.rfftfreq(N_FFT, 1 / sr)
    gather = np.abs(12 * np.log2(np.maximum(frequency, 1)[None] / wanted[:, None])) <= 0.4
    levels = np.empty((len(pitches), n_times))
    for at in range(0, n_times, 512):
        levels[:, at : at + 512] = gather @ np.abs(np.fft.rfft(frames[starts[at : at + 512]] * window)).T
    return np.sqrt(levels)


def _sliding(signal, pattern, slack):
    """Correlation of a pattern (n_rows, n) with a signal (n_rows, m) from each place on: (m + slack − n + 1,)."""
    n_rows, n = pattern.shape
    signal = np.pad(signal, ((0, 0), (0, slack + max(0, n - signal.shape[1] - slack))))
    centred = pattern - pattern.mean()
    count = signal.shape[1] - n + 1
    total, square, product = np.zeros(count), np.zeros(count), np.zeros(count)
    for row, weights in zip(signal, centred, strict=True):
        parts = np.lib.stride_tricks.sliding_window_view(row, n)
        total += parts.sum(axis=1)
        square += np.square(row).cumsum()[n - 1 :] - np.concatenate([[0.0], np.square(row).cumsum()[: count - 1]])
        product += parts @ weights
    spread = np.sqrt(np.maximum(square - total**2 / (n * n_rows), 1e-20) * np.square(centred).sum())
    return product / spread
