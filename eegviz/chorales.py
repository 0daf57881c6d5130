"""The four chorale melodies of "The music of silence": their notes, and the sound that the demonstration makes of them.

Marion, Di Liberto and Shamma (2021, https://doi.org/10.1523/JNEUROSCI.0183-21.2021) let musicians hear and imagine four
melodies of Bach's chorales (public domain) at 100 beats a minute. The notes are written out here as MIDI numbers with
their lengths in beats; the sound is this project's own synthesis (`eegviz._synth`). The recordings' EEG is 1803 samples
at 64 Hz long, 28.17 s, and so are the melodies here: what is left of a last note is cut.

Functions: `find` looks a melody up, `notes` lists its notes in seconds, `render` plays it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eegviz import _synth, music
from eegviz.errors import ParameterError

BPM = 100.0
BAR = 2.4  # seconds: four beats
DURATION = 1803 / 64  # seconds
VOICE = "keys"  # near the piano of the study
RELEASED = 0.94  # part of its length that a note is held
FADE_OUT = 0.08  # seconds


@dataclass(frozen=True)
class Chorale:
    """A melody: ``score`` holds a note each, ``MIDI number/beats``; a number alone lasts a beat, ``r`` is a rest."""

    id: str
    number: int
    title: str
    score: str


@dataclass(frozen=True)
class Note:
    """A note: onset and duration in seconds, pitch as MIDI number (69 = a' = 440 Hz)."""

    onset: float
    duration: float
    pitch: int

    @property
    def frequency(self) -> float:
        """Hertz, equal temperament."""
        return 440.0 * 2 ** ((self.pitch - 69) / 12)


CHORALES = (
    Chorale(
        "chor-019", 19, "O Haupt voll Blut und Wunden",
        "r/3 66 71 69 67 66 64/2 66 73 74 74 73/.5 71/.5 73 71/3 74 73/.5 71/.5 69 71 73 74/2 74 69 71 69 67 67 66/3 "
        "74 73/.5 74/.5 76 74 73 71/2 73 66 67 66 64 69/.5 67/.5 66/3",
    ),
    Chorale(
        "chor-038", 38, "Das walt' mein Gott",
        "r/3 65 65 64 65/2 69 72 70 69 67 67 67 60 62/.5 64/.5 65 65 64 65/2 r 65/.5 67/.5 69 67 69 70 72/2 "
        "67 67 67 67 67 67 69/2 69 65 64 62 62 61 62/3",
    ),
    Chorale(
        "chor-096", 96, "Ich dank' dir schon",
        "65 65 65 70/2 67 69/2 71 72/3 69 70 72 74/2 70 72/3 70/3 72 69/.5 70/.5 72 74/2 72 72/1.5 70/.5 69 67/3 "
        "72 72 72 70/2 69 69 67/2 65/3",
    ),
    Chorale(
        "chor-101", 101, "Jesu, der du meine Seele",
        "77 77 72 73 75 73/.5 72/.5 72 70 73 73 72 70 69 70 72/2 72 73 75/.5 73/.5 72 73 72/.5 70/.5 70 68 "
        "73 75 77/.5 75/.5 73 78 77 75 73 72 73 75 77 75 73 72/2 70 72 73 75/.5 73/.5 72/1.5 72/.5 70/2",
    ),
)  # fmt: skip


def find(which) -> Chorale:
    """Look a melody up by id (``"chor-019"``), number (19, 38, 96, 101) or as it is.

    Raises
    ------
    ParameterError
        When there is no such melody.

    Examples
    --------
    >>> find(38).title
    "Das walt' mein Gott"
    """
    for one in CHORALES:
        if which in (one, one.id, one.number, str(one.number), one.id.removeprefix("chor-")):
            return one
    known = ", ".join(one.id for one in CHORALES)
    raise ParameterError(f"unknown melody {which!r}; expected one of {known} (or 19, 38, 96, 101)")


def notes(which, *, duration: float | None = DURATION) -> tuple[Note, ...]:
    """The notes of a melody in seconds, in order.

    Parameters
    ----------
    which : str | int | Chorale
    duration : float or None
        Notes that begin later are left out, and the last one ends here; None: the whole score.

    Returns
    -------
    notes : tuple of Note

    Examples
    --------
    >>> [(note.onset, note.pitch) for note in notes(19)[:3]]
    [(1.8, 66), (2.4, 71), (3.0, 69)]
    >>> len(notes(101)), round(notes(101)[0].frequency, 1)
    (50, 698.5)
    """
    found, beats = [], 0.0
    for token in find(which).score.split():
        pitch, _, length = token.partition("/")
        length = float(length or 1)
        if pitch != "r":
            found.append(Note(_seconds(beats), _seconds(length), int(pitch)))
        beats += length
    if duration is None:
        return tuple(found)
    inside = [note for note in found if note.onset < duration - 1e-9]
    return tuple(Note(n.onset, min(n.duration, duration - n.onset), n.pitch) for n in inside)


def render(which, *, duration: float = DURATION, sr: int = 22050, voice: str = VOICE) -> np.ndarray:
    """Play a melody.

    Parameters
    ----------
    which : str | int | Chorale
    duration : float
        Seconds, at least 3 (two melodies begin with three beats of rest).
    sr : int
        Sampling rate, 8000 to 96000 Hz.
    voice : str
        A voice of `eegviz._synth.VOICES`.

    Returns
    -------
    y : ndarray, shape (round(duration * sr),), float32
        Mono sound, |y| < 1, -16 LUFS.

    Raises
    ------
    ParameterError
        When there is no such melody or voice, or duration or rate are out of range.

    Examples
    --------
    >>> y = render("chor-096", duration=3.0)
    >>> y.shape, y.dtype
    ((66150,), dtype('float32'))
    """
    played = notes(which, duration=None)
    if not 3.0 <= duration <= 60.0:
        raise ParameterError(f"chorales.render: duration must lie between 3 and 60 s, found {duration!r}")
    if not 8000 <= sr <= 96000:
        raise ParameterError(f"chorales.render: sr must lie between 8000 and 96000 Hz, found {sr!r}")
    if voice not in _synth.VOICES:
        raise ParameterError(f"chorales.render: unknown voice {voice!r}; expected one of {', '.join(_synth.VOICES)}")
    n = round(duration * sr)
    y = np.zeros(n, np.float32)
    for note in played:
        first = round(note.onset * sr)
        if first < n:
            tone = _synth.tone(_synth.VOICES[voice], note.frequency, seconds=RELEASED * note.duration, sr=sr)[
                : n - first
            ]
            y[first : first + len(tone)] += tone
    fade = min(n, int(FADE_OUT * sr))
    y[n - fade :] *= 0.5 * (1 + np.cos(np.linspace(0, np.pi, fade, dtype=np.float32)))
    return music.normalise_loudness(y, sr)


def _seconds(beats: float) -> float:
    return round(beats * 60 / BPM, 6)
