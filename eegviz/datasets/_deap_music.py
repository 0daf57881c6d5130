"""The music of the DEAP-like demonstration: videos' sounds with a mood that is meant, and chords that are known.

Each stands in a quarter of the plane of valence and arousal. What the mood does to the music is **our choice**, along the
usual findings (major and bright for pleasant, fast and loud for excited: Eerola and Vuoskoski 2013,
https://doi.org/10.1525/mp.2012.30.3.307): mode and brightness follow valence, tempo, loudness and drums follow arousal.

A chord lasts two seconds from a whole second on, in every piece, so that each second has one chord; what is played on it
changes from second to second, so that seconds can be told apart. Chords are major and minor triads, written as mir_eval does (``C:maj``, ``A:min``). The synthesis is the project's own (`eegviz._synth`).

Functions: :func:`compose`, :func:`render`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import signal

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
    bpm, tonic = TEMPI["H" if high_arousal else "L"][(number - 1) // 4 % 2], int(rng.integers(12))
    chord = (0, "maj" if high_valence else "min")
    chords = []
    for _ in range(-(-duration // CHORD_SECONDS)):
        chords.append(chord)
        following = STEPS[mode][chord]
        chord = following[rng.integers(len(following))]
    return Video(
        number, quadrant, round(5 + float(away[0]) * (1 if high_valence else -1), 2),
        round(5 + float(away[1]) * (1 if high_arousal else -1), 2), bpm, tonic, mode, tuple(chords), seed,
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

    textures = [_texture(rng) for _ in range(len(video.chords) * CHORD_SECONDS)]
    beats = video.bpm * CHORD_SECONDS // 60
    beat = CHORD_SECONDS / beats
    parts = 2 if high_arousal else 1  # notes a beat
    for index, (root, kind) in enumerate(video.chords):
        pitches = [(video.tonic + root + step) % 12 for step in (0, 4 if kind == "maj" else 3, 7)]
        for second in range(index * CHORD_SECONDS, (index + 1) * CHORD_SECONDS):
            for pitch in pitches:
                play(pad, _from(textures[second].pad_from, pitch), second, 0.94, textures[second].pad)
        for number in range(beats * parts):
            at = index * CHORD_SECONDS + number * beat / parts
            texture = textures[int(at + 1e-9)]
            if number % parts == 0 and (high_arousal or number == 0):
                length = beat if high_arousal else CHORD_SECONDS
                play(bass, _from(36, pitches[0]), at, round(0.85 * length, 3), texture.bass)
            if rng.random() < texture.density:
                midi = _from(texture.lead_from, pitches[rng.integers(3)])
                play(lead, midi, at, round(0.9 * beat / parts, 3), 0.4)
    if high_arousal:
        y += _drums(video, beat, textures, n, sr)
    y = _coloured(y, sr, bright_db=3.0 * (video.valence - 5))
    fade = min(n, int(music.FADE_OUT * sr))
    y[n - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return music.normalise_loudness(y, sr, lufs=-21 + 2 * (video.arousal - 5))


@dataclass(frozen=True)
class _Texture:
    """How a second is played: gains, registers, how many notes the melody has, and which drums."""

    pad: float
    pad_from: int
    bass: float
    density: float
    lead_from: int
    drums: str


def _texture(rng):
    """Draw one: no second is like the one two seconds before, though chords and beat go on."""
    return _Texture(
        pad=float(rng.uniform(0.3, 0.75)), pad_from=int(rng.choice([54, 54, 66])),
        bass=float(rng.choice([0.0, 0.4, 0.7])), density=float(rng.choice([0.0, 0.4, 0.95])),
        lead_from=int(rng.choice([66, 78])), drums=str(rng.choice(["none", "hats", "beat", "beat", "fill"])),
    )  # fmt: skip


def _drums(video, beat, textures, n, sr):
    """Kick and snare on the beats, hats twice a beat, or a fill of snares."""
    kit = _synth.drum_kit(sr, rng=np.random.default_rng([video.number, 4]), slow=False)
    y = np.zeros(n, np.float32)
    for number in range(int(2 * n / sr / beat)):
        at = number * beat / 2
        played = textures[min(int(at + 1e-9), len(textures) - 1)].drums
        on_beat = number % 2 == 0
        if played == "beat" and on_beat:
            _add(y, kit["kick" if number % 4 == 0 else "snare"], round(at * sr), 0.5)
        if played in ("beat", "hats"):
            _add(y, kit["hat"], round(at * sr), 0.5)
        if played == "fill":
            _add(y, kit["snare"], round(at * sr), 0.4)
    return y


def _coloured(y, sr, *, bright_db):
    """Raise what lies above 1 kHz by so many decibels, and add three early echoes."""
    pole = np.float32(np.exp(-2 * np.pi * 1000 / sr))
    low = signal.lfilter([1 - pole], [1, -pole], y).astype(np.float32)
    y = low + np.float32(10 ** (bright_db / 20)) * (y - low)
    out = y.copy()
    for seconds, gain in ((0.031, 0.25), (0.053, 0.18), (0.083, 0.12)):
        _add(out, y, round(seconds * sr), gain)
    return out


def _from(lowest, pitch):
    """The note of a pitch class in the octave from ``lowest``."""
    return lowest + (pitch - lowest) % 12


def _add(y, sound, at, gain):
    if at < len(y):
        y[at : at + len(sound)] += np.float32(gain) * sound[: len(y) - at]
