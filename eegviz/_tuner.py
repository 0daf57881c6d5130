"""What stands behind every ref-dB slider: one picture, inverted once a setting, and measured (for `eegviz.tuning`)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from eegviz import features, inversion, loudness
from eegviz.errors import ParameterError
from eegviz.sound import PEAK

LOW, HIGH = 40.0, 60.0  # dB, the range that the paper listened to
# The same range for linear pictures; for mel-80 as far below and above its default level as the paper's for mel.
RANGES = {"mel": (LOW, HIGH), "linear": (LOW, HIGH), "mel-80": (28.0, 48.0)}
N_COLUMNS = 440  # of a waveform's envelope
SPAN_DB = 120.0  # of the spectrogram that is shown, below the highest level that is tuned over (our choice)
N_KEPT = 3  # inversions that a tuner remembers: three of five seconds are about 2 MB
DECIMALS = 6  # of the decibels that tell one setting from another


@dataclass(frozen=True)
class Reference:
    """What the originals of a song's training clips are like: what a reconstruction is held against.

    Attributes
    ----------
    level_db, crest_db, flatness : float
        Medians over the clips; see `eegviz.loudness`.
    clips : tuple of (str, int)
        Recording and first second of each.
    """

    level_db: float
    crest_db: float
    flatness: float
    clips: tuple = ()

    @property
    def n_clips(self):
        """How many clips the medians are of."""
        return len(self.clips)


@dataclass(frozen=True, eq=False)
class Tuned:
    """A picture as sound at one setting, and what stands beside the ear.

    Attributes
    ----------
    ref_db, max_db : float
        (Doubled) decibels.
    n_iter : int
    scale : {"power", "published"}
    sound : np.ndarray [shape=(n_samples,)], float32
        As it is: samples beyond ±1 are not cut off; `heard` is what a player gets.
    sr : int
        Hertz.
    spectrogram : np.ndarray [shape=(n_frames, n_bins)], float32
        Of the sound, 0 to 1: `SPAN_DB` (doubled) decibels up to the highest level that is tuned over, whatever the
        setting, so that a louder sound is a brighter picture.
    envelope : np.ndarray [shape=(2, n_columns)], float32
        Minimum and maximum of the sound in each of about `N_COLUMNS` columns.
    measures : eegviz.loudness.Measures
    reference : Reference or None
    """

    ref_db: float
    max_db: float
    n_iter: int
    scale: str
    sound: np.ndarray = field(repr=False)
    sr: int
    spectrogram: np.ndarray = field(repr=False)
    envelope: np.ndarray = field(repr=False)
    measures: loudness.Measures
    reference: Reference | None = None

    @property
    def seconds(self):
        """Length of the sound."""
        return len(self.sound) / self.sr

    @property
    def against_training_db(self):
        """Level beside that of the song's training clips, dB; None without a reference, or for silence."""
        silent = self.reference is None or self.measures.silent
        return None if silent else self.measures.level_db - self.reference.level_db

    @property
    def played_db(self):
        """What a player takes away, dB, 0 or less: so that nothing clips; on the published scale also down to training clips.

        The published scale has a level of its own that says nothing; beside a reference it is compared without it.
        """
        fits = 0.0 if self.measures.peak <= 1 else float(20 * np.log10(PEAK / self.measures.peak))
        if self.scale == "power" or self.against_training_db is None:
            return fits
        return min(fits, -self.against_training_db)

    @property
    def heard(self):
        """The sound as a player gets it: `sound` with `played_db`."""
        return self.sound * np.float32(10 ** (self.played_db / 20))

    def rows(self):
        """The measures in words: a list of ``(name, this sound, training clips)``, text all of it."""
        own, beside = self.measures, self.reference
        shift = self.against_training_db
        percent = f"{100 * own.clipped:.2f} % of samples" if own.peak > 1 else "none"
        if self.played_db < -0.05:
            percent += f"; played {-self.played_db:.1f} dB softer"
        level = "silent" if own.silent else f"{own.level_db:.1f} dB re full scale (RMS)"
        if shift is not None:
            level += f", {abs(shift):.1f} dB {'louder' if shift > 0 else 'softer'}"
        rows = [
            ("Level", level, f"{beside.level_db:.1f} dB" if beside else ""),
            ("Clipping", percent, ""),
            ("Crest factor", _number(own.crest_db, ".1f", " dB"), f"{beside.crest_db:.1f} dB" if beside else ""),
            ("Spectral flatness", _number(own.flatness, ".2g"), f"{beside.flatness:.2g}" if beside else ""),
        ]
        return rows

    def texts(self):
        """The same as ``(name, text)``, training clips in brackets."""
        return [(name, f"{own} (training clips {other})" if other else own) for name, own, other in self.rows()]

    def describe(self):
        """One line: the setting and its measures."""
        text = "; ".join(f"{name.lower()} {words}" for name, words in self.texts())
        return f"ref dB {self.ref_db:g}, range {self.max_db:g} dB, {self.n_iter} iterations, scale {self.scale}: {text}"


class Tuner:
    """One normalised picture whose sound follows four controls; a new level on the power scale costs milliseconds.

    Parameters
    ----------
    pictures : np.ndarray [shape=(n, n_frames, n_bins) or (n_frames, n_bins)]
        As `eegviz.inversion.invert` takes them.
    audio : str
        Their kind.
    title : str
        What a person reads beside the sliders.
    reference : Reference, optional
        See `eegviz.tuning.reference`.
    seed : int
        Of the phase.
    n_samples : int, optional
        Length of the sound; default what the pictures describe.
    n_kept : int
        Inversions that are remembered; the level is not part of what tells them apart on the power scale.
    stimulus : str
        The song, for what is kept; empty where it is none.
    start_ref_db : float, optional
        The level that a control begins at; default that of the kind, held in its range.

    Examples
    --------
    >>> tuner = Tuner(np.full((1, 44, 128), 0.6, np.float32))
    >>> soft, loud = tuner.at(46, n_iter=2), tuner.at(52, n_iter=2)
    >>> round(loud.measures.level_db - soft.measures.level_db, 3), tuner.n_inversions
    (3.0, 1)
    """

    def __init__(
        self, pictures, *, audio="mel-db", title="", reference=None, seed=0, n_samples=None, n_kept=N_KEPT, stimulus="",
        start_ref_db=None,
    ):  # fmt: skip
        features.check_kind(audio)
        self.pictures, self.audio, self.title, self.reference = np.asarray(pictures), audio, title, reference
        self.stimulus, self.n_inversions = stimulus, 0
        start = features.default_ref_db(audio) if start_ref_db is None else start_ref_db
        self.start_ref_db = float(np.clip(start, *self.range))
        self._seed, self._n_samples, self._n_kept = seed, n_samples, n_kept
        self._kept = OrderedDict()
        self._making = threading.Lock()  # sessions of one server share a tuner

    @property
    def scales(self):
        """The scales that this kind of picture has: power kinds have no published defect."""
        return inversion.SCALES if self.audio.endswith("-db") else ("power",)

    @property
    def range(self):
        """Lowest and highest ref_dB that is tuned over, for this kind of picture."""
        return level_range(self.audio)

    def at(self, ref_db, *, max_db=features.MAX_DB, n_iter=inversion.N_ITER, scale="power") -> Tuned:
        """The sound at a setting, with its spectrogram, envelope and measures.

        Parameters
        ----------
        ref_db, max_db : float
            (Doubled) decibels.
        n_iter : int
        scale : {"power", "published"}

        Raises
        ------
        ParameterError
            A value that cannot be, as of `eegviz.inversion.invert`.
        """
        if not np.isfinite(ref_db):
            raise ParameterError(f"ref_db must be a number of dB; found {ref_db!r}.")
        ref_db = float(ref_db)
        with self._making:
            base = self._base(ref_db, float(max_db), n_iter, scale)
        change = ref_db - base.ref_db  # 0 on the published scale
        gain = 10 ** (change / 40)
        top = max(self.range[1], features.default_ref_db(self.audio))
        shown = np.clip((base.db + np.float32(change - top + SPAN_DB)) / np.float32(SPAN_DB), 0, 1)
        return Tuned(
            ref_db, float(max_db), int(n_iter), scale, base.sound * np.float32(gain), base.sr, shown,
            base.envelope * np.float32(gain), loudness.at_gain(base.measures, base.sound, gain), self.reference,
        )  # fmt: skip

    def _base(self, ref_db, max_db, n_iter, scale):
        """The inversion behind a setting, made or remembered."""
        key = (round(max_db, DECIMALS), n_iter, scale, round(ref_db, DECIMALS) if scale == "published" else None)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = inversion.invert(
            self.pictures, audio=self.audio, ref_db=ref_db, max_db=max_db, scale=scale, n_iter=n_iter, seed=self._seed,
            n_samples=self._n_samples,
        )  # fmt: skip
        self.n_inversions += 1
        at = features.default_ref_db(self.audio) if scale == "power" else ref_db  # full scale is near, not at 0 dB
        sound = made.at(at)
        power = features.spectrogram(sound[None], kind=self.audio.removesuffix("-db"))[0]
        db = features.to_db(power).astype(np.float32)
        self._kept[key] = base = _Base(sound, made.sr, at, db, envelope(sound), loudness.measure(sound))
        while len(self._kept) > self._n_kept:
            self._kept.popitem(last=False)
        return base


@dataclass(frozen=True, eq=False)
class _Base:
    sound: np.ndarray
    sr: int
    ref_db: float
    db: np.ndarray
    envelope: np.ndarray
    measures: loudness.Measures


def envelope(sound, *, n_columns=N_COLUMNS):
    """Minimum and maximum of a sound in about `n_columns` columns: ``(2, n)``.

    >>> envelope(np.array([0.0, 1.0, -1.0, 0.5]), n_columns=2).tolist()
    [[0.0, -1.0], [1.0, 0.5]]
    """
    step = max(1, len(sound) // n_columns)
    columns = sound[: len(sound) // step * step].reshape(-1, step)
    return np.stack([columns.min(1), columns.max(1)])


def level_range(audio):
    """Lowest and highest ref_dB that is tuned over, for a kind of spectrogram.

    >>> level_range("mel-db"), level_range("mel-80-db")
    ((40.0, 60.0), (28.0, 48.0))
    """
    features.check_kind(audio)
    return RANGES[audio.removesuffix("-db")]


def _number(value, form, unit=""):
    return f"{value:{form}}{unit}" if np.isfinite(value) else "none (silent)"
