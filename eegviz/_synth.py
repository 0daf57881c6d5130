"""Sounds of the demonstration's music: notes, drums, a room, a limiter and the loudness filter.

`eegviz.music` writes the scores and plays them with these. Every function computes an array: mono, float32,
``(n,)``.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage, signal

_TABLE = 4096  # samples of one period


@dataclass(frozen=True)
class Voice:
    """A voice: a wavetable (odd, tilt) or frequency modulation (ratio, index), and its envelope in seconds."""

    gain: float
    attack: float
    decay: float  # e-folding time of the level; 0 = held
    release: float
    tilt: float = 1.0  # harmonic k has amplitude k ** -tilt
    odd: bool = False
    bright: int = 24  # harmonics at the beginning of a note …
    dark: int = 4  # … and at its end
    sweep: float = 0.2  # e-folding time from bright to dark, seconds
    detune: tuple[float, ...] = (0.0,)  # cents
    vibrato: float = 0.0  # cents
    ratio: float = 0.0  # > 0: frequency modulation with this ratio
    index: float = 0.0


VOICES = {
    "sub": Voice(1.25, 0.008, 0.0, 0.06, tilt=2.0, bright=4, dark=2),
    "round": Voice(1.1, 0.006, 0.5, 0.05, tilt=1.5, bright=8, dark=3, sweep=0.15),
    "fuzz": Voice(0.8, 0.004, 0.7, 0.04, tilt=0.9, odd=True, bright=22, dark=7, sweep=0.3),
    "pick": Voice(1.1, 0.003, 0.3, 0.04, tilt=1.1, bright=16, dark=3, sweep=0.06),
    "slap": Voice(0.95, 0.002, 0.25, 0.03, tilt=0.8, bright=30, dark=5, sweep=0.05),
    "acid": Voice(0.75, 0.002, 0.4, 0.02, tilt=0.7, bright=36, dark=5, sweep=0.09),
    "glass": Voice(0.5, 0.02, 1.6, 0.2, ratio=3.0, index=1.4, sweep=0.5),
    "bell": Voice(0.5, 0.003, 0.7, 0.25, ratio=3.5, index=2.2, sweep=0.25),
    "keys": Voice(0.6, 0.004, 0.9, 0.12, ratio=1.0, index=1.6, sweep=0.3, detune=(-4.0, 4.0)),
    "wood": Voice(0.75, 0.002, 0.16, 0.05, ratio=4.0, index=1.0, sweep=0.03),
    "organ": Voice(0.42, 0.012, 0.0, 0.05, tilt=0.6, odd=True, bright=7, dark=5, vibrato=7.0),
    "strings": Voice(0.4, 0.12, 0.0, 0.25, tilt=1.1, bright=20, dark=9, sweep=0.8, detune=(-9.0, 0.0, 8.0)),
    "saw": Voice(0.42, 0.015, 1.2, 0.12, tilt=1.0, bright=30, dark=8, sweep=0.35, detune=(-11.0, 1.0, 12.0)),
    "pluck": Voice(0.6, 0.002, 0.28, 0.06, tilt=1.0, bright=20, dark=3, sweep=0.08),
    "sitar": Voice(0.55, 0.002, 0.6, 0.08, tilt=0.45, bright=26, dark=9, sweep=0.25, vibrato=9.0),
    "flute": Voice(0.62, 0.05, 0.0, 0.1, tilt=1.9, bright=6, dark=4, vibrato=16.0),
    "whistle": Voice(0.5, 0.03, 0.0, 0.08, tilt=2.6, odd=True, bright=5, dark=3, vibrato=22.0),
    "square": Voice(0.45, 0.006, 0.9, 0.06, tilt=1.0, odd=True, bright=21, dark=7, sweep=0.25, vibrato=6.0),
    "chip": Voice(0.42, 0.002, 0.35, 0.03, tilt=0.8, odd=True, bright=31, dark=15, sweep=0.2),
}


def tone(voice: Voice, freq: float, *, seconds: float, sr: int) -> np.ndarray:
    """One note: (n,) float32 with attack, decay and release, bright at its start and dark at its end."""
    n = int((seconds + voice.release) * sr)
    t = np.arange(n) / sr
    vibrato = 0.0
    if voice.vibrato:
        depth = (2 ** (voice.vibrato / 1200) - 1) * freq / (2 * np.pi * 5.3)
        vibrato = depth * np.minimum(t / 0.3, 1.0) * np.sin(2 * np.pi * 5.3 * t)
    colour = np.exp(-t / voice.sweep).astype(np.float32)
    y = np.zeros(n, np.float32)
    for i, cents in enumerate(voice.detune):
        cycles = freq * 2 ** (cents / 1200) * t + vibrato + 0.31 * i
        if voice.ratio:
            index = voice.index * min(1.0, 0.12 * sr / freq / (voice.ratio + 1)) * (0.25 + 0.75 * colour)
            modulator = index * np.sin(2 * np.pi * (voice.ratio * cycles % 1))
            y += np.sin(2 * np.pi * (cycles % 1) + modulator).astype(np.float32)
            continue
        limit = max(1, int(0.45 * sr / freq))
        at = (cycles * _TABLE).astype(np.int64) % _TABLE
        dark = _wavetable(voice, min(voice.dark, limit))[at]
        y += dark + colour * (_wavetable(voice, min(voice.bright, limit))[at] - dark)
    level = np.exp(-t / voice.decay) if voice.decay else np.ones(n)
    level *= np.clip(t / voice.attack, 0, 1)
    left = np.clip((n / sr - t) / voice.release, 0, 1)
    return y * (voice.gain / len(voice.detune) * level * left * left * (3 - 2 * left)).astype(np.float32)


def _wavetable(voice: Voice, n_harmonics: int) -> np.ndarray:
    k = np.arange(1, n_harmonics + 1)
    amplitude = k**-voice.tilt * (k % 2 if voice.odd else 1) * np.cos(np.pi / 2 * (k - 1) / (n_harmonics + 1))
    spectrum = np.zeros(_TABLE // 2 + 1, complex)
    spectrum[1 : n_harmonics + 1] = -0.5j * _TABLE * amplitude
    table = np.fft.irfft(spectrum)
    return (table / np.sqrt(2 * np.mean(table**2))).astype(np.float32)


def drum_kit(sr: int, *, rng: np.random.Generator, slow: bool) -> dict[str, np.ndarray]:
    """The drum sounds of a piece: its tuning and decay times vary from piece to piece."""
    tune = rng.uniform(0.9, 1.2)

    def time(seconds):
        return np.arange(int(seconds * sr)) / sr

    def noise(seconds, decay, band, attack=0.001):
        t = time(seconds)
        band = [min(edge, 0.46 * sr) for edge in band]
        band[0] = min(band[0], 0.8 * band[1])
        y = signal.sosfilt(signal.butter(2, band, "bandpass", fs=sr, output="sos"), rng.normal(size=t.size))
        return y / np.sqrt(np.mean(y**2)) * np.exp(-t / decay) * np.clip(t / attack, 0, 1)

    def drop(seconds, decay, low, high, fall):
        t = time(seconds)
        cycles = low * t + (high - low) * fall * (1 - np.exp(-t / fall))
        return np.sin(2 * np.pi * cycles) * np.exp(-t / decay) * np.clip(t / 0.002, 0, 1)

    snare = 0.3 * noise(0.3, 0.09 * tune, (900, 8000))
    snare[: int(0.2 * sr)] += 0.45 * drop(0.2, 0.06, 180 * tune, 260 * tune, 0.02)[: int(0.2 * sr)]
    clap = 0.25 * noise(0.3, 0.1, (900, 4500))
    for late in (0.011, 0.023):
        at = int(late * sr)
        burst = 0.25 * noise(0.1, 0.012, (900, 4500))
        clap[at : at + burst.size] += burst
    long = 1.6 if slow else 1.0
    kit = {
        "kick": 0.95 * drop(0.4 * long, 0.11 * long, 47 * tune, 170 * tune, 0.028),
        "snare": snare,
        "clap": clap,
        "hat": 0.16 * noise(0.12, 0.028, (6500, 10500)),
        "open": 0.16 * noise(0.4, 0.11, (5500, 10000)),
        "shaker": 0.13 * noise(0.14, 0.035, (3500, 8000), attack=0.02),
        "rim": 0.4 * drop(0.1, 0.02, 850 * tune, 1300 * tune, 0.01) + 0.06 * noise(0.1, 0.015, (1500, 6000)),
        "tom": 0.7 * drop(0.35, 0.12, 105 * tune, 190 * tune, 0.04),
        "tom low": 0.7 * drop(0.4, 0.14, 75 * tune, 140 * tune, 0.04),
        "crash": 0.13 * noise(1.4, 0.4, (3500, 10500), attack=0.004),
    }
    return {name: _tail(sound, sr) for name, sound in kit.items()}


def _tail(y: np.ndarray, sr: int) -> np.ndarray:
    """Take the last 10 ms of a sound to zero, so that it ends without a click."""
    n = min(y.size, int(0.01 * sr))
    y[y.size - n :] *= np.linspace(1, 0, n)
    return y.astype(np.float32)


def room_and_tilt(y, wet, *, sr: int, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """Add a room of .9 s and tilt the spectrum, both in one pass through the frequency domain."""
    length = int(0.9 * sr)
    t = np.arange(length) / sr
    room = rng.normal(size=length) * np.exp(-t / 0.17) * np.clip(t / 0.01, 0, 1)
    room /= np.sqrt(np.sum(room**2))
    size = fft.next_fast_len(y.size + length, real=True)
    spectrum = fft.rfft(wet.astype(np.float32), size) * fft.rfft(0.22 * room.astype(np.float32), size)
    spectrum += fft.rfft(y.astype(np.float32), size)
    frequency = np.maximum(np.arange(spectrum.size) * (sr / size), 30.0)
    octaves = np.log2(frequency / 1000.0)
    spectrum *= (10 ** (tilt * octaves / 20)).astype(np.float32)
    return fft.irfft(spectrum, size)[: y.size].astype(np.float32)


def limit(y, *, sr: int, ceiling: float) -> np.ndarray:
    """Look-ahead limiter: the gain's moving minimum over 8 ms, smoothed by a mean of the same width."""
    width = 2 * int(0.004 * sr) + 1
    gain = np.minimum(1.0, ceiling / np.maximum(np.abs(y), 1e-9)).astype(np.float32)
    if gain.min() == 1.0:
        return y
    gain = ndimage.minimum_filter1d(gain, width, mode="nearest")
    return y * ndimage.uniform_filter1d(gain, width, mode="nearest")


def k_weighting(sr: int) -> np.ndarray:
    """Second-order sections of the K-weighting for any rate (bilinear transform of the standard's two filters)."""
    k = np.tan(np.pi * 1681.974450955533 / sr)
    gain, q = 10 ** (3.999843853973347 / 20), 0.7071752369554196
    middle = gain**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = [(gain + middle * k / q + k * k) / a0, 2 * (k * k - gain) / a0, (gain - middle * k / q + k * k) / a0]
    shelf += [1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    k, q = np.tan(np.pi * 38.13547087602444 / sr), 0.5003270373238773
    a0 = 1 + k / q + k * k
    high_pass = [1, -2, 1, 1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    return np.array([shelf, high_pass])
