"""The music of the DEAP-like demonstration: videos' sounds with a mood that is meant, and chords that are known.

Each stands in a quarter of the plane of valence and arousal. What the mood does to the music is **our choice**, along the
usual findings (major and bright for pleasant, fast and loud for excited: Eerola and Vuoskoski 2013,
https://doi.org/10.1525/mp.2012.30.3.307): mode and brightness follow valence, tempo, loudness and drums follow arousal.

A chord lasts two seconds from a whole second on, in every piece, so that each second has one chord. Chords are major and
minor triads, written as mir_eval does (``C:maj``, ``A:min``). The synthesis is the project's own (`eegviz._synth`).

Functions: :func:`compose`, :func:`render`.
"""

from dataclasses import dataclass

import numpy as np

from eegviz import _synth, music
from eegviz.errors import ParameterError

CHORD_SECONDS = 2
QUADRANTS = ("HVHA", "LVHA", "HVLA", "LVLA")  # high or low valence, high or low arousal
MAX_VIDEOS = 40
NAMES = tuple(music.TONICS)
STEPS = {  # chord (semitones above the tonic, kind) to those that may follow; triads of the key only
    "major": {
        (0, "maj"): ((5, "maj"), (7, "maj"), (9, "min"), (2, "min")),
        (2, "min"): ((7, "maj"), (5, "maj"), (9, "min")),
        (4, "min"): ((9, "min"), (5, "maj")),
        (5, "maj"): ((7, "maj"), (0, "maj"), (2, "min")),
        (7, "maj"): ((0, "maj"), (9, "min"), (5, "maj")),
        (9, "min"): ((5, "maj"), (2, "min"), (4, "min"), (7, "maj")),
    },
    "minor": {
        (0, "min"): ((5, "min"), (8, "maj"), (10, "maj"), (3, "maj")),
        (3, "maj"): ((8, "maj"), (10, "maj"), (5, "min")),
        (5, "min"): ((0, "min"), (10, "maj"), (7, "min")),
        (7, "min"): ((0, "min"), (8, "maj")),
        (8, "maj"): ((3, "maj"), (10, "maj"), (5, "min")),
        (10, "maj"): ((3, "maj"), (0, "min"), (8, "maj")),
    },
}
VOICES = {  # pad, bass, melody; two sets a quadrant
    "HVHA": (("strings", "pick", "pluck"), ("saw", "slap", "square")),
    "LVHA": (("organ", "fuzz", "saw"), ("saw", "acid", "square")),
    "HVLA": (("keys", "round", "flute"), ("strings", "round", "pluck")),
    "LVLA": (("organ", "sub", "flute"), ("strings", "sub", "whistle")),
}
TEMPI = {"H": (120, 150), "L": (60, 90)}  # beats a minute; a chord has 4, 5, 2 or 3 beats


@dataclass(frozen=True)
class Video:
    """A piece: its number, quadrant, the valence and arousal that are meant (1 to 9), tempo, key and chords."""

    number: int
    quadrant: str
    valence: float
    arousal: float
    bpm: int
    tonic: int
    mode: str
    chords: tuple
    seed: int

    @property
    def id(self):
        """Such as ``video01``."""
        return f"video{self.number:02d}"

    @property
    def key(self):
        """Such as ``"A minor"``."""
        return f"{NAMES[self.tonic]} {self.mode}"

    @property
    def labels(self):
        """One chord each two seconds, such as ``"A:min"``."""
        return tuple(f"{NAMES[(self.tonic + root) % 12]}:{kind}" for root, kind in self.chords)

    def chord_at(self, second):
        """The chord of a second."""
        return self.labels[int(second) // CHORD_SECONDS]


def compose(n_videos, *, duration, seed=0):
    """Write the scores.

    Parameters
    ----------
    n_videos : int
        1 to 40; the quadrants come in turn.
    duration : int
        Whole seconds.
    seed : int

    Returns
    -------
    videos : tuple of Video

    Examples
    --------
    >>> one = compose(2, duration=8)[1]
    >>> one.quadrant, one.mode, one.bpm, len(one.chords)
    ('LVHA', 'minor', 120, 4)
    """
    if not 1 <= n_videos <= MAX_VIDEOS:
        raise ParameterError(f"n_videos must lie between 1 and {MAX_VIDEOS}, found {n_videos!r}")
    return tuple(_compose(number, duration, seed) for number in range(1, n_videos + 1))


def _compose(number, duration, seed):
    rng = np.random.default_rng([seed, number, 1])
    quadrant = QUADRANTS[(number - 1) % 4]
    high_valence, high_arousal = quadrant[0] == "H", quadrant[2] == "H"
    mode = "major" if high_valence else "minor"
    away = rng.uniform(1.8, 3.0, 2)
    bpm = TEMPI["H" if high_arousal else "L"][(number - 1) // 4 % 2]
    chord = (0, "maj" if high_valence else "min")
    chords = []
    for _ in range(-(-duration // CHORD_SECONDS)):
        chords.append(chord)
        following = STEPS[mode][chord]
        chord = following[rng.integers(len(following))]
    return Video(
        number, quadrant, round(5 + float(away[0]) * (1 if high_valence else -1), 2),
        round(5 + float(away[1]) * (1 if high_arousal else -1), 2), bpm, int(rng.integers(12)), mode, tuple(chords), seed,
    )  # fmt: skip


def render(video, *, duration, sr):
    """Play a video's music.

    Parameters
    ----------
    video : Video
    duration : int
        Seconds.
    sr : int

    Returns
    -------
    y : ndarray, float32 [shape=(duration * sr,)]
        Mono, in (-1, 1); louder the more arousal is meant (-27 to -15 LUFS).
    """
    n = duration * sr
    high_arousal = video.quadrant[2] == "H"
    pad, bass, lead = VOICES[video.quadrant][(video.number - 1) // 4 % 2]
    rng = np.random.default_rng([video.seed, video.number, 2])
    notes, y = {}, np.zeros(n, np.float32)

    def play(voice, midi, start, seconds, gain):
        key = (voice, midi, seconds)
        if key not in notes:
            notes[key] = _synth.tone(_synth.VOICES[voice], 440.0 * 2 ** ((midi - 69) / 12), seconds=seconds, sr=sr)
        _add(y, notes[key], round(start * sr), gain)

    beats = video.bpm * CHORD_SECONDS // 60
    beat = CHORD_SECONDS / beats
    for index, (root, kind) in enumerate(video.chords):
        start = index * CHORD_SECONDS
        pitches = [(video.tonic + root + step) % 12 for step in (0, 4 if kind == "maj" else 3, 7)]
        for pitch in pitches:
            play(pad, 54 + (pitch - 54) % 12, start, 0.92 * CHORD_SECONDS, 0.55)
        low = 36 + (pitches[0] - 36) % 12
        for number in range(beats if high_arousal else 1):
            length = beat if high_arousal else CHORD_SECONDS
            play(bass, low, start + number * beat, round(0.85 * length, 3), 0.6)
        for number in range(beats):  # the melody: tones of the chord, on the beats
            for part in range(2 if high_arousal else 1):
                if rng.random() < 0.8:
                    midi = 66 + (pitches[rng.integers(3)] - 66) % 12
                    length = round(beat * (0.45 if high_arousal else 0.9), 3)
                    play(lead, midi, start + (number + part / 2) * beat, length, 0.4)
    wet = 0.5 * y
    if high_arousal:
        y = y + _drums(video, beat, n, sr)
    y = _synth.room_and_tilt(
        y, wet, sr=sr, tilt=0.6 * (video.valence - 5), rng=np.random.default_rng([video.number, 3])
    )
    fade = min(n, int(music.FADE_OUT * sr))
    y[n - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return music.normalise_loudness(y, sr, lufs=-21 + 2 * (video.arousal - 5))


def _drums(video, beat, n, sr):
    """Kick on the beats, snare in between, hats twice a beat."""
    kit = _synth.drum_kit(sr, rng=np.random.default_rng([video.number, 4]), slow=False)
    y = np.zeros(n, np.float32)
    for number in range(int(np.ceil(n / sr / beat))):
        _add(y, kit["kick" if number % 2 == 0 else "snare"], round(number * beat * sr), 0.5)
        for half in (0, 0.5):
            _add(y, kit["hat"], round((number + half) * beat * sr), 0.5)
    return y


def _add(y, sound, at, gain):
    if at < len(y):
        y[at : at + len(sound)] += np.float32(gain) * sound[: len(y) - at]
