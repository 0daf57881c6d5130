"""The demonstration's own music: ten electronic pieces at the ten tempi of NMED-T.

Commercial songs are never shipped, so the demonstration makes its own. Every piece is written as a score
(drums, bass, chords, arpeggio and lead over chord progressions, arranged in sections with fills and filter
sweeps) and synthesised with NumPy and SciPy: wavetable, frequency-modulated and noise voices, a tempo echo, a
short room, a look-ahead limiter and loudness normalisation. The titles and tunes are this project's own
(BSD-3-Clause, like the code); only the tempi are those of NMED-T (Losorelli et al. 2017, ISMIR).

Conventions: mono float32, |y| < 1, integrated loudness -16 LUFS (ITU-R BS.1770-4); the same piece, duration,
rate and seed give the same samples. The score of a section depends on its number only, so a short rendering is
the beginning of a long one (apart from its last third of a second, which fades, and one overall gain).

Functions: `piece` renders one piece, `find` looks one up, `loudness` measures LUFS, `normalise_loudness` sets it.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from scipy import signal

from eegviz import _synth
from eegviz.errors import ParameterError

LOUDNESS = -16.0  # LUFS of every piece
CEILING = 0.97  # highest absolute sample after the limiter
FADE_IN, FADE_OUT = 0.01, 0.3  # seconds

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian dominant": (0, 1, 4, 5, 7, 8, 10),
}
TONICS = {name: number for number, name in enumerate(("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"))}


@dataclass(frozen=True)
class Piece:
    """One piece of the demonstration: what its score is made of.

    ``id`` and ``number`` follow NMED-T (song21 … song30); ``progression`` and ``lift`` are scale degrees (0 =
    tonic), one a bar; the other names pick drum patterns and voices of this module.
    """

    id: str
    number: int
    title: str
    bpm: float
    key: str
    progression: tuple[int, ...]
    lift: tuple[int, ...]
    drums: str
    bass: str
    pad: str
    arpeggio: str
    lead: str
    swing: float
    octave: int
    notes_per_bar: int
    tilt: float  # dB per octave around 1 kHz: the colour of the master
    bed: float  # Hz: centre of the soft noise under the piece, like rain or tape

    @property
    def tonic(self) -> int:
        """Pitch class of the tonic, 0 = C."""
        return TONICS[self.key.split(" ", 1)[0]]

    @property
    def scale(self) -> tuple[int, ...]:
        """Semitones above the tonic."""
        return SCALES[self.key.split(" ", 1)[1]]


def _pieces(*rows):
    return tuple(Piece(f"song{number}", number, *row) for number, row in enumerate(rows, start=21))


# fmt: off
PIECES = _pieces(
    ("Lanterns Under Ice", 55.97, "A minor", (0, 5, 2, 6), (3, 5, 0, 4),
     "drift", "sub", "glass", "bell", "flute", 0, 1, 5, 1.0, 700),
    ("Paper Orchard", 69.44, "Eb major", (0, 4, 5, 3), (1, 4, 2, 5),
     "boombap", "round", "keys", "pluck", "keys", 0.16, 0, 7, 0.5, 5200),
    ("Moth Radio", 74.26, "F# dorian", (0, 3, 0, 6), (5, 3, 1, 4),
     "trip", "fuzz", "organ", "wood", "whistle", 0.10, 1, 6, -0.5, 1800),
    ("Slow Carousel", 82.42, "C lydian", (0, 1, 4, 0), (2, 1, 5, 4),
     "waltzish", "round", "strings", "bell", "square", 0, 1, 8, 1.5, 3000),
    ("Copper Bazaar", 91.46, "D phrygian dominant", (0, 1, 0, 6), (3, 1, 6, 0),
     "dub", "fuzz", "organ", "sitar", "sitar", 0.06, 0, 9, 0, 1200),
    ("Leaf Canal", 96.15, "G mixolydian", (0, 6, 3, 0), (5, 3, 4, 6),
     "bossa", "pick", "keys", "wood", "flute", 0, 0, 8, 2.0, 6500),
    ("Elastic Morning", 108.70, "Bb major", (5, 3, 0, 4), (1, 5, 3, 4),
     "disco", "slap", "saw", "pluck", "square", 0, 1, 8, 1.0, 900),
    ("Harbour at Four", 120.00, "F minor", (0, 5, 3, 4), (5, 6, 0, 2),
     "house", "pick", "strings", "keys", "bell", 0.08, 0, 6, -0.5, 2300),
    ("Glass Corridor", 128.21, "C# minor", (0, 0, 5, 6), (3, 3, 5, 4),
     "techno", "acid", "saw", "glass", "saw", 0, 0, 10, 2.5, 4200),
    ("Runaway Signal", 150.00, "E dorian", (0, 3, 6, 0), (2, 3, 4, 6),
     "breaks", "sub", "glass", "chip", "chip", 0, 1, 11, 3.0, 7600),
)
# Sixteen steps a bar: x accent, o soft, . rest.
DRUMS = {
    "drift": {"kick": "x.........o.....", "rim": "........x.......", "shaker": "o...o...o...o.o."},
    "boombap": {"kick": "x.....o..ox.....", "snare": "....x.......x...",
        "hat": "x.o.x.o.x.o.x.oo"},
    "trip": {"kick": "x..o......x..o..", "snare": "....x..o.o..x...",
        "hat": "o.oxo.o.oxo.o.ox"},
    "waltzish": {"kick": "x.....x.....x...", "rim": "...o..x..o..x...", "shaker": "xo.xo.xo.xo.xo.o"},
    "dub": {"kick": "........x.......", "snare": "........x..o....",
        "hat": "..x...x...x.x.x.", "tom": "x......o......o."},
    "bossa": {"kick": "x..ox..ox..ox..o", "rim": "x..x..x...x..x..", "shaker": "xooxxooxxooxxoox"},
    "disco": {"kick": "x...x...x...x...", "clap": "....x.......x..o",
        "open": "..x...x...x...x.", "hat": "o.o.o.o.o.o.o.o."},
    "house": {"kick": "x...x...x...x..o", "clap": "....x.......x...",
        "open": "..x...x...x...x.", "shaker": "oxooxxooxxooxxoo"},
    "techno": {"kick": "x...x...x...x...", "rim": "..o..x....o..x.o",
        "hat": "xoxoxoxoxoxoxoxo", "clap": "............x..."},
    "breaks": {"kick": "x.x.......x..o..", "snare": "....x..o.o..x..o",
        "hat": "x.x.x.x.x.xox.x.", "open": "......x.......o."},
}
# Bass: digits are octaves above the bass register, f the fifth, . rest; a note lasts to the next one.
BASS = {
    "drift": "0.........f.....", "boombap": "0..0....f.0...1.", "trip": "0..0..1...f..0..",
    "waltzish": "0.....f.....1...",
    "dub": "0...0.f...0.1.0.", "bossa": "0..f...00..f..1.", "disco": "0.1.0.1.0.1.f.1.", "house": "..0..0..f.0..01.",
    "techno": "0010f0010010f101", "breaks": "0.....0..f....1.",
}
# fmt: on


@dataclass(frozen=True)
class _Section:
    """What plays in a section, and how the filter moves through it (0 = dark, 1 = open)."""

    layers: frozenset
    cutoff: tuple[float, float]
    lifted: bool  # second chord progression and the lead an octave higher
    lead: float  # share of the lead's notes that sound


SECTIONS = (
    _Section(frozenset({"drums", "bass", "pad", "lead"}), (0.5, 0.9), False, 0.6),
    _Section(frozenset({"drums", "bass", "pad", "lead", "arpeggio"}), (0.75, 1.0), False, 1.0),
    _Section(frozenset({"drums", "bass", "pad", "arpeggio"}), (0.95, 0.45), True, 0.0),
    _Section(frozenset({"drums", "bass", "pad", "lead", "arpeggio"}), (0.8, 1.0), True, 1.0),
    _Section(frozenset({"bass", "pad", "lead"}), (0.5, 0.8), False, 0.8),
    _Section(frozenset({"drums", "bass", "pad", "lead"}), (0.6, 1.0), True, 0.9),
)


def find(which) -> Piece:
    """Look a piece up by id (``"song21"``), number (21 … 30) or as it is.

    Raises
    ------
    ParameterError
        When there is no such piece.

    Examples
    --------
    >>> find("song28").bpm
    120.0
    """
    for one in PIECES:
        if which in (one, one.id, one.number, str(one.number)):
            return one
    raise ParameterError(
        f"music.find: no piece {which!r}; expected one of {', '.join(p.id for p in PIECES)} or a number from 21 to 30"
    )


def piece(which, *, duration: float = 40.0, sr: int = 22050, seed: int = 0) -> np.ndarray:
    """Render one of the ten pieces.

    Parameters
    ----------
    which : str | int | Piece
        ``"song21"`` … ``"song30"`` or 21 … 30.
    duration : float
        Seconds, at least 1.
    sr : int
        Sampling rate, 8000 to 96000 Hz.
    seed : int
        Another seed gives another melody, other fills and another arrangement of the same piece.

    Returns
    -------
    y : ndarray, shape (round(duration * sr),), float32
        Mono sound, |y| < 1, -16 LUFS.

    Raises
    ------
    ParameterError
        When there is no such piece, or duration or rate are out of range.

    Examples
    --------
    >>> y = piece("song28", duration=2.0)
    >>> y.shape, y.dtype
    ((44100,), dtype('float32'))
    """
    one = find(which)
    if not 1.0 <= duration <= 3600.0:
        raise ParameterError(f"music.piece: duration must lie between 1 and 3600 s, found {duration!r}")
    if not 8000 <= sr <= 96000:
        raise ParameterError(f"music.piece: sr must lie between 8000 and 96000 Hz, found {sr!r}")
    n = round(duration * sr)
    render = _Render(one, n, sr, seed)
    y = render.mix()
    fade = min(n, int(FADE_OUT * sr))
    y[n - fade :] *= 0.5 * (1 + np.cos(np.linspace(0, np.pi, fade, dtype=np.float32)))
    rise = int(FADE_IN * sr)
    y[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    return normalise_loudness(y, sr)


def loudness(y, sr: int) -> float:
    """Integrated loudness of a mono sound by ITU-R BS.1770-4 (K-weighting, 400 ms blocks, both gates).

    Parameters
    ----------
    y : array, shape (n,)
        At least .4 s of sound.
    sr : int
        Sampling rate in Hz.

    Returns
    -------
    lufs : float
        ``-inf`` for silence.

    Raises
    ------
    ParameterError
        When the sound is shorter than one block of 400 ms.

    Examples
    --------
    A full-scale sine at 997 Hz has -3.01 LUFS (the standard's own check).

    >>> t = np.arange(96000) / 48000
    >>> round(loudness(np.sin(2 * np.pi * 997 * t), 48000), 2)
    -3.01
    """
    y = np.asarray(y)
    block, hop = round(0.4 * sr), round(0.1 * sr)
    if y.size < block:
        raise ParameterError(f"music.loudness: needs at least 0.4 s ({block} samples), found {y.size} samples")
    energy = np.concatenate([[0.0], np.cumsum(np.square(signal.sosfilt(_synth.k_weighting(sr), y), dtype=float))])
    starts = np.arange(0, y.size - block + 1, hop)
    power = (energy[starts + block] - energy[starts]) / block
    kept = power[power > 10 ** ((-70 + 0.691) / 10)]
    if not kept.size:
        return float("-inf")
    kept = kept[kept > kept.mean() * 0.1]  # relative gate: 10 LU below the mean
    return float(-0.691 + 10 * np.log10(kept.mean()))


def normalise_loudness(y, sr: int, *, lufs: float = LOUDNESS, ceiling: float = CEILING) -> np.ndarray:
    """Bring a mono sound to a loudness; peaks are held below the ceiling by a look-ahead limiter.

    Parameters
    ----------
    y : array, shape (n,)
    sr : int
        Hz.
    lufs : float
        Integrated loudness wanted.
    ceiling : float
        Highest absolute sample.

    Returns
    -------
    y : ndarray, shape (n,), float32
        Silence stays silence.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=22050) * 0.01
    >>> abs(loudness(normalise_loudness(noise, 22050), 22050) + 16) < 0.1
    True
    """
    y = np.asarray(y, dtype=np.float32)
    level = loudness(y, sr)
    if not np.isfinite(level):
        return y.copy()
    out = y
    gain = 10 ** ((lufs - level) / 20)
    for _ in range(3):
        out = _synth.limit(y * np.float32(gain), sr=sr, ceiling=ceiling)
        error = lufs - loudness(out, sr)
        if abs(error) < 0.05:
            break
        gain *= 10 ** (error / 20)
    return out


class _Render:
    """The state of one rendering: buses, a cache of notes, and the score's position."""

    def __init__(self, one: Piece, n: int, sr: int, seed: int):
        self.piece, self.n, self.sr, self.seed = one, n, sr, seed
        self.step = 60.0 / one.bpm / 4
        self.bars_per_section = 2 if one.bpm < 100 else 4
        self.n_bars = int(np.ceil(n / sr / (16 * self.step)))
        self.bus = {name: np.zeros(n, np.float32) for name in ("drums", "bass", "pad", "lead")}
        self.notes: dict = {}
        self.kicks: list[int] = []
        self.kit = _synth.drum_kit(sr, rng=self.rng("kit"), slow=one.bpm < 85)
        self.motif = self._motif()

    def rng(self, *key) -> np.random.Generator:
        """A generator of its own for every part of the score, so that parts do not disturb each other."""
        return np.random.default_rng([self.seed, self.piece.number, *(zlib.crc32(str(part).encode()) for part in key)])

    def section(self, bar: int) -> _Section:
        number = bar // self.bars_per_section
        return SECTIONS[number % len(SECTIONS)]

    def mix(self) -> np.ndarray:
        for bar in range(self.n_bars):
            self._drums(bar)
            self._bass(bar)
            self._chords(bar)
            self._lead(bar)
        bus, sr = self.bus, self.sr
        ducked = self._duck()
        tonal = 0.9 * bus["pad"] * ducked + bus["lead"]
        tonal = self._filter_sweep(tonal)
        delay = int(3 * self.step * sr)
        for k, gain in ((1, 0.32), (2, 0.15), (3, 0.07)):
            if delay * k < self.n:
                tonal[delay * k :] += gain * bus["lead"][: self.n - delay * k]
        wet = tonal + 0.12 * bus["drums"]
        y = 0.95 * bus["drums"] + 0.6 * bus["bass"] * ducked + 0.7 * tonal + self._bed()
        return _synth.room_and_tilt(y, wet, sr=sr, tilt=self.piece.tilt, rng=self.rng("room"))

    def add(self, bus: str, start: float, sound: np.ndarray, gain: float) -> None:
        at = int(start * self.sr)
        stop = min(self.n, at + sound.size)
        if at < stop:
            self.bus[bus][at:stop] += np.float32(gain) * sound[: stop - at]

    def note(self, voice: str, midi: int, seconds: float) -> np.ndarray:
        key = (voice, midi, round(seconds, 3))
        if key not in self.notes:
            self.notes[key] = _synth.tone(
                _synth.VOICES[voice], 440.0 * 2 ** ((midi - 69) / 12), seconds=seconds, sr=self.sr
            )
        return self.notes[key]

    def at(self, bar: int, step: float) -> float:
        """Second of a sixteenth; off-beat sixteenths swing."""
        late = self.piece.swing * self.step if int(step) % 2 else 0.0
        return (16 * bar + step) * self.step + late

    def chord(self, bar: int) -> list[int]:
        """Degrees of the bar's seventh chord, from its root."""
        degrees = self.piece.lift if self.section(bar).lifted else self.piece.progression
        root = degrees[bar % len(degrees)]
        return [root, root + 2, root + 4, root + 6]

    def pitch(self, degree: int, base: int) -> int:
        """MIDI note of a scale degree above the tonic nearest below ``base`` + 12."""
        tonic = base + (self.piece.tonic - base) % 12
        octave, step = divmod(degree, 7)
        return tonic + 12 * octave + self.piece.scale[step]

    def _drums(self, bar: int) -> None:
        pattern, rng = DRUMS[self.piece.drums], self.rng("drums", bar)
        full = "drums" in self.section(bar).layers
        fill = bar % self.bars_per_section == self.bars_per_section - 1
        for name, steps in pattern.items():
            if not full and name not in ("shaker", "rim", "hat"):
                continue
            for step, mark in enumerate(steps):
                if mark == "." or (fill and step >= 12 and name != "kick"):
                    continue
                gain = (0.95 if mark == "x" else 0.5) * rng.uniform(0.85, 1.0) * (1.0 if full else 0.6)
                self.add("drums", self.at(bar, step), self.kit[name], gain)
                if name == "kick":
                    self.kicks.append(int(self.at(bar, step) * self.sr))
        if fill:
            sounds = ("snare", "tom", "tom low", "rim")
            for step in range(12, 16):
                if rng.random() < 0.8:
                    self.add("drums", self.at(bar, step), self.kit[sounds[rng.integers(4)]], 0.45 + 0.08 * (step - 12))
        if bar and bar % self.bars_per_section == 0:
            self.add("drums", self.at(bar, 0), self.kit["crash"], 0.5)

    def _bass(self, bar: int) -> None:
        if "bass" not in self.section(bar).layers:
            return
        steps = BASS[self.piece.drums]
        root = self.chord(bar)[0] % 7
        hits = [i for i, mark in enumerate(steps) if mark != "."]
        for i, step in enumerate(hits):
            until = hits[i + 1] if i + 1 < len(hits) else 16
            degree = root + 4 if steps[step] == "f" else root + 7 * int(steps[step])
            midi = self.pitch(degree, 31)
            seconds = min(until - step, 8) * self.step * 0.92
            self.add("bass", self.at(bar, step), self.note(self.piece.bass, midi, seconds), 0.9)

    def _chords(self, bar: int) -> None:
        section, one, rng = self.section(bar), self.piece, self.rng("chords", bar)
        degrees = self.chord(bar)
        voiced = sorted({self._near(self.pitch(degree, 48)) for degree in degrees})
        if "pad" in section.layers:
            half = 6 if one.bpm > 85 else 10
            whole = one.bpm < 70 or rng.random() < 0.45
            for start, steps in ((0, 16),) if whole else ((0, half), (half, 16 - half)):
                for midi in voiced:
                    self.add("pad", self.at(bar, start), self.note(one.pad, midi, steps * self.step), 0.5)
        if "arpeggio" in section.layers:
            order = rng.permutation(len(voiced)) if bar % 2 else np.arange(len(voiced))
            spacing = 1 if one.bpm < 75 or one.notes_per_bar > 9 else 2
            for i, step in enumerate(range(0, 16, spacing)):
                if rng.random() < 0.85:
                    midi = voiced[order[i % len(voiced)]] + 12 * (1 + (i // len(voiced)) % 2 * one.octave)
                    gain = 0.34 if step % 4 else 0.48
                    self.add("lead", self.at(bar, step), self.note(one.arpeggio, midi, spacing * self.step * 1.6), gain)

    def _near(self, midi: int) -> int:
        """Close voicing: fold a pitch into the octave from F#3."""
        return 54 + (midi - 54) % 12

    def _motif(self) -> list[tuple[int, int, int]]:
        """Two bars of melody: (step, length, movement in scale degrees)."""
        rng, one = self.rng("motif"), self.piece
        weights = np.tile([6, 1, 3, 1.5], 8) ** (1.0 if one.notes_per_bar < 9 else 0.5)
        steps = np.sort(rng.choice(32, size=2 * one.notes_per_bar, replace=False, p=weights / weights.sum()))
        lengths = np.diff(np.append(steps, 32))
        moves = rng.choice([-3, -2, -1, 1, 2, 4], size=steps.size, p=[0.08, 0.17, 0.27, 0.25, 0.15, 0.08])
        return list(zip(steps.tolist(), lengths.tolist(), moves.tolist(), strict=True))

    def _lead(self, bar: int) -> None:
        section, one = self.section(bar), self.piece
        if "lead" not in section.layers:
            return
        rng = self.rng("lead", bar)
        tones = self.chord(bar)
        degree = tones[rng.integers(3)] % 7
        for step, length, move in self.motif:
            if step // 16 != bar % 2:
                continue
            step %= 16
            degree += move if rng.random() < 0.75 else int(rng.integers(-2, 3))
            if step % 8 == 0:  # strong beats rest on the chord
                candidates = np.add.outer(tones, (-7, 0, 7)).ravel()
                degree = int(candidates[np.abs(candidates - degree).argmin()])
            degree = int(np.clip(degree, -3, 9))
            if rng.random() > section.lead:
                continue
            midi = self.pitch(degree, 60) + 12 * (one.octave + section.lifted if degree < 5 else one.octave)
            seconds = min(length, 6) * self.step * 0.9
            self.add("lead", self.at(bar, step), self.note(one.lead, midi, seconds), 0.62 * rng.uniform(0.8, 1.0))

    def _bed(self) -> np.ndarray:
        """Soft noise around one frequency that swells with the bars: the air of the piece."""
        noise = self.rng("bed").normal(size=self.n).astype(np.float32)
        centre = min(self.piece.bed, 0.35 * self.sr)
        sos = signal.butter(1, [0.7 * centre, 1.3 * centre], "bandpass", fs=self.sr, output="sos").astype(np.float32)
        swell = 1 + 0.5 * np.sin(2 * np.pi * np.arange(self.n, dtype=np.float32) / (16 * self.step * self.sr))
        return 0.02 * signal.sosfilt(sos, noise) * swell

    def _duck(self) -> np.ndarray:
        """Gain that dips at each kick, as a side-chain compressor does."""
        gain = np.ones(self.n, np.float32)
        length = int(min(0.22, 3 * self.step) * self.sr)
        rise = 1 - 0.5 * np.cos(np.linspace(0, np.pi / 2, length, dtype=np.float32)) ** 2
        attack = int(0.008 * self.sr)
        rise[:attack] = np.linspace(1, rise[attack], attack, dtype=np.float32)
        for at in (kick for kick in self.kicks if kick < self.n):
            stop = min(self.n, at + length)
            gain[at:stop] = np.minimum(gain[at:stop], rise[: stop - at])
        return gain

    def _filter_sweep(self, y: np.ndarray) -> np.ndarray:
        """Move between a dark, a middle and the open version of the tonal bus along the sections' automation."""
        times, values = [], []
        for bar in range(0, self.n_bars + 1, self.bars_per_section):
            start, stop = self.section(bar).cutoff
            at = self.at(bar, 0)
            times += [at, at + 16 * self.step * self.bars_per_section - 0.05]
            values += [start, stop]
        t = np.arange(self.n) / self.sr
        wobble = 0.12 * np.sin(2 * np.pi * t / (32 * self.step))
        amount = np.clip(np.interp(t, times, values) + wobble, 0, 1).astype(np.float32)
        dark, middle = (
            signal.sosfilt(signal.butter(2, cutoff, fs=self.sr, output="sos"), y).astype(np.float32)
            for cutoff in (500.0, 2200.0)
        )
        low, high = np.clip(2 * amount, 0, 1), np.clip(2 * amount - 1, 0, 1)
        return (dark * (1 - low) + middle * low) * (1 - high) + y * high
