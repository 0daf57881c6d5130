"""Four numbers that stand beside the ear: level, clipping, crest factor and spectral flatness of a sound.

Conventions: a sound is mono, ``(n_samples,)``, full scale ±1. Levels are ``20 · log10`` of amplitude, 0 dB = root mean
square of 1. Crest factor and flatness do not change with the level, so what is between two levels of one sound is a
gain, and what is between two *different* sounds shows in them:

- **crest factor**: the largest sample over the root mean square, in dB. 3 for a sine, about 13 for noise; clicks raise it.
- **spectral flatness**: geometric over arithmetic mean of the power of a frame, averaged over frames; 0 for a tone, .56
  for white noise (``exp(−γ)``, γ Euler's constant), 1 for a click.

Functions: `measure`, `at_gain`, `level_db`, `flatness`, `clipped`.

Sources: Johnston (1988), Transform coding of audio signals using perceptual noise criteria,
https://doi.org/10.1109/49.608 (spectral flatness measure). Notebook 05 shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
import scipy.signal

from eegviz.errors import DataError, ParameterError

FRAME, HOP = 2048, 512  # samples, as the spectrograms have them
QUIET = 1e-6  # of the largest power in the sound: 60 dB below it nothing is heard beside it (our choice)
SILENCE_DB = -180.0  # level of digital silence, so that it can be printed and compared


@dataclass(frozen=True)
class Measures:
    """Level, clipping, crest factor and flatness of one sound.

    Attributes
    ----------
    level_db : float
        Root mean square, dB; `SILENCE_DB` at least.
    peak : float
        Largest absolute sample; above 1 the sound would clip.
    clipped : float
        Share of samples beyond full scale, 0 to 1.
    crest_db, flatness : float
        NaN for silence.
    """

    level_db: float
    peak: float
    clipped: float
    crest_db: float
    flatness: float

    @property
    def silent(self):
        """True where there is nothing to hear."""
        return self.level_db <= SILENCE_DB


def measure(sound) -> Measures:
    """All four numbers of a sound.

    Parameters
    ----------
    sound : np.ndarray [shape=(n_samples,)]

    Returns
    -------
    Measures

    Raises
    ------
    ParameterError
        Not one mono sound.
    DataError
        NaN or infinite samples.

    Examples
    --------
    >>> tone = 0.5 * np.sin(2 * np.pi * 441 * np.arange(22050) / 22050)
    >>> found = measure(tone)
    >>> round(found.level_db, 1), round(found.crest_db, 1), found.clipped, found.flatness < 0.01
    (-9.0, 3.0, 0.0, True)
    """
    sound = _checked(sound)
    level, peak = level_db(sound), float(np.abs(sound).max())
    crest = 20 * float(np.log10(peak)) - level if level > SILENCE_DB else float("nan")
    return Measures(level, peak, clipped(sound), crest, flatness(sound))


def at_gain(measures: Measures, sound, gain) -> Measures:
    """The measures of ``gain * sound``, from those of `sound`: only level, peak and clipping change.

    Parameters
    ----------
    measures : Measures
        Of `sound`.
    sound : np.ndarray [shape=(n_samples,)]
    gain : float > 0

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal(22050) / 4
    >>> quiet, loud = measure(noise), at_gain(measure(noise), noise, 2.0)
    >>> round(loud.level_db - quiet.level_db, 2), loud.crest_db == quiet.crest_db
    (6.02, True)
    """
    if not (gain > 0 and np.isfinite(gain)):
        raise ParameterError(f"gain must be a positive number; found {gain!r}.")
    level = measures.level_db if measures.silent else measures.level_db + 20 * float(np.log10(gain))
    return replace(measures, level_db=level, peak=measures.peak * gain, clipped=clipped(sound, gain=gain))


def level_db(sound) -> float:
    """Root-mean-square level in dB; `SILENCE_DB` for silence.

    >>> level_db(np.ones(4)), level_db(np.zeros(4))
    (0.0, -180.0)
    """
    power = float(np.mean(np.square(sound, dtype=np.float64)))
    return max(SILENCE_DB, 10 * float(np.log10(power))) if power > 0 else SILENCE_DB


def clipped(sound, *, gain=1.0) -> float:
    """Share of the samples of ``gain * sound`` that lie beyond full scale.

    >>> clipped(np.array([0.5, -1.5, 1.0, 0.0])), clipped(np.array([0.5, -1.5, 1.0, 0.0]), gain=3)
    (0.25, 0.75)
    """
    return float(np.count_nonzero(np.abs(sound) > 1 / gain) / len(sound))


def flatness(sound) -> float:
    """Spectral flatness, the mean over frames of 2048 samples; NaN for silence.

    Frames without any power are left out: silence has no spectrum. A bin counts as at least `QUIET` of the sound's
    loudest, so that the result does not change with the level.
    """
    sound = np.asarray(sound, np.float32)
    sound = np.pad(sound, (0, max(0, FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP]
    window = scipy.signal.get_window("hann", FRAME).astype(np.float32)
    spectrum = scipy.fft.rfft(frames * window, axis=-1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    largest = float(power.max())
    if largest <= 0:
        return float("nan")
    power = power[power.max(-1) > QUIET * largest] / np.float32(largest)
    power = np.maximum(power, np.float32(QUIET))
    return float((np.exp(np.log(power).mean(-1)) / power.mean(-1)).mean())


def _checked(sound):
    sound = np.asarray(sound)
    if sound.ndim != 1 or not len(sound) or sound.dtype.kind != "f":
        raise ParameterError(
            f"expected one mono sound of floating point samples, (n_samples,); found {sound.dtype} {sound.shape}."
        )
    if not np.isfinite(sound).all():
        raise DataError("the sound holds samples that are NaN or infinite, so it has no level. Check what made it.")
    return sound
