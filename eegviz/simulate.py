"""Music to simulated EEG: listeners whose brain answers are known, because a program made them.

Everything here is **simulated**. A sphere head model of MNE-Python with electrodes of the GSN-HydroCel-129 net
carries

- *evoked* responses of both auditory cortices: loudness rises and levels in six frequency bands, through a
  temporal response function of the listener (P50, N100, P190), each band at its own place and angle (tonotopy);
- *induced* power: gamma (30-50 Hz) follows the level of each band, beta (15-25 Hz) the brightness, and the
  occipital alpha rhythm falls when the music is loud;
- 1/f background activity of the whole brain, sensor noise, and, when asked for, a slow drift of the channels'
  gain.

Dials say how much of each. ``coupling=0`` is the null: the music leaves no trace, and the EEG is the same to
the byte whatever was played. ``drift`` marks recordings without any brain (electrode gels dry, amplifiers warm
up): with coupling 0 and drift it shows how protocols that share recordings between training and test invent a
result.

Two sets of amplitudes: *base* is near what is plausible, though still kinder than recordings (best
single-channel correlation with loudness around .2 to .3; recordings are nearer .02 to .1); *strong* is a
teaching setting and **not physiological**, so that small networks learn within minutes.

Conventions: EEG ``(n_channels, n_times)``, volts, float32; dials in microvolts; a positive latency means that
the brain follows the sound.

Functions: `simulate` (sound to EEG), `drive` (what of a sound drives the brain), `respond` (drive to EEG),
`listeners`, `response` (a listener's temporal response function), `head` (the forward model).
"""

import zlib
from dataclasses import dataclass

import numpy as np
from scipy import fft, signal

from eegviz._head import MONTAGE, N_BANDS, NMED_CHANNELS, SFREQ, Head, head
from eegviz.errors import ParameterError

__all__ = [
    "MONTAGE", "NMED_CHANNELS", "SFREQ", "Dials", "Drive", "Head", "Listener",
    "drive", "head", "listeners", "respond", "response", "simulate",
]  # fmt: skip

BAND_RANGE = (60.0, 10000.0)  # Hz, cut into N_BANDS on a logarithmic axis
Z_LIMIT = 2.5  # standard deviations at which levels are clipped; silence lies at the lower end
COMPONENTS = ("P50", "N100", "P190")
LATENCIES = (0.050, 0.100, 0.190)  # seconds
AMPLITUDES = (0.6, -1.0, 0.8)  # of an onset's response, relative
WIDTHS = (0.010, 0.016, 0.028)  # seconds, standard deviation of each component
BAND_DELAY = 0.012  # seconds by which the lowest band comes later than the highest
KERNEL_SECONDS = 0.45
LEVEL_SHARE = 0.25  # part of the sustained level beside the onsets in the evoked drive
INDUCED_DELAY = {"gamma": 0.06, "beta": 0.12, "alpha": 0.25}  # seconds from sound to power
FREQUENCIES = {"gamma": (30.0, 50.0), "beta": (15.0, 25.0)}  # Hz; alpha belongs to the listener
STRENGTHS = {  # microvolts; depth in decibels per standard deviation of the music's feature
    "base": {"evoked": 3.0, "gamma": 2.0, "beta": 2.0, "alpha": 6.0, "background": 8.0, "sensor": 1.0, "depth": 6.0},
    "strong": {"evoked": 3.0, "gamma": 6.0, "beta": 4.0, "alpha": 6.0, "background": 8.0, "sensor": 1.0, "depth": 8.0},
}  # fmt: skip


@dataclass(frozen=True)
class Dials:
    """How strongly the simulated brain answers, and what lies over it.

    Parameters
    ----------
    coupling : float
        Multiplies the evoked amplitude and the depth of the induced power: 0 = EEG independent of the music
        (the null), 1 = as the strength says.
    drift : float
        Root-mean-square relative deviation of each channel's gain, a random walk of its own in every recording.
    session_drift : float
        The same, shared by the recordings of one session (a listener's sitting): it leaks into a held-out
        hearing when both hearings of a piece belong to one session.
    strength : {"base", "strong"}
        Which set of amplitudes fills the dials below that are None. *strong* is a teaching setting, **not
        physiological**: induced power of this size is not seen in recordings.
    evoked, gamma, beta, alpha, background, sensor : float or None
        Microvolts: the evoked response to an onset, the rhythms and the background at their best electrode, the
        sensor noise.
    depth : float or None
        Decibels of induced amplitude per standard deviation of the music's feature.

    Examples
    --------
    >>> Dials(strength="strong").gamma
    6.0
    >>> Dials(background=4.5).background
    4.5
    """

    coupling: float = 1.0
    drift: float = 0.0
    session_drift: float = 0.0
    strength: str = "base"
    evoked: float | None = None
    gamma: float | None = None
    beta: float | None = None
    alpha: float | None = None
    background: float | None = None
    sensor: float | None = None
    depth: float | None = None

    def __post_init__(self):
        if self.strength not in STRENGTHS:
            raise ParameterError(
                f"simulate.Dials: unknown strength {self.strength!r}; expected one of {', '.join(STRENGTHS)}"
            )
        for name, value in STRENGTHS[self.strength].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("coupling", "drift", "session_drift", *STRENGTHS[self.strength]):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ParameterError(f"simulate.Dials: {name} must be a finite number ≥ 0, found {value!r}")


@dataclass(frozen=True)
class Listener:
    """One simulated listener; made by `listeners`.

    ``latencies`` (s) and ``gains`` belong to P50, N100 and P190; ``band_gains`` to the six bands; ``sides`` to
    the left and right auditory cortex.
    """

    id: str
    number: int
    latencies: tuple[float, ...]
    gains: tuple[float, ...]
    band_gains: tuple[float, ...]
    sides: tuple[float, float]
    induced: float
    alpha_hz: float
    alpha: float


@dataclass(frozen=True, eq=False)
class Drive:
    """What of a sound drives the simulated brain, at the EEG's rate.

    ``onset`` and ``level`` are (6, n_times): the rise of each band in units of its overall deviation, and the
    z-scored level; ``loudness`` and ``brightness`` are (n_times,), z-scored.
    """

    sfreq: float
    onset: np.ndarray
    level: np.ndarray
    loudness: np.ndarray
    brightness: np.ndarray

    @property
    def n_times(self) -> int:
        """Samples at ``sfreq``."""
        return self.loudness.size


def listeners(n: int, *, seed: int = 0) -> tuple[Listener, ...]:
    """Make simulated listeners; the first of many are the same as the first of few.

    Parameters
    ----------
    n : int
        At least 1.
    seed : int

    Returns
    -------
    listeners : tuple of Listener
        With ids S01, S02 …

    Examples
    --------
    >>> [one.id for one in listeners(3)]
    ['S01', 'S02', 'S03']
    >>> listeners(3)[0] == listeners(9)[0]
    True
    """
    if n < 1:
        raise ParameterError(f"simulate.listeners: n must be at least 1, found {n!r}")
    return tuple(_listener(number, seed) for number in range(1, n + 1))


def _listener(number: int, seed: int) -> Listener:
    rng = np.random.default_rng([seed, number, _key("listener")])
    spread = rng.uniform(-1, 1, 3) * (0.006, 0.010, 0.018)
    side = rng.uniform(-0.25, 0.25)
    return Listener(
        id=f"S{number:02d}",
        number=number,
        latencies=tuple(float(value) for value in np.round(np.add(LATENCIES, spread), 4)),
        gains=tuple(rng.uniform(0.75, 1.25, 3).tolist()),
        band_gains=tuple(rng.uniform(0.8, 1.2, N_BANDS).tolist()),
        sides=(1 - side, 1 + side),
        induced=float(rng.uniform(0.85, 1.15)),
        alpha_hz=float(rng.uniform(9.0, 11.0)),
        alpha=float(rng.uniform(0.6, 1.4)),
    )


def simulate(
    audio,
    sr: int,
    *,
    listener: Listener,
    hearing: int = 1,
    stimulus: str = "",
    session: str = "",
    seed: int = 0,
    dials: Dials | None = None,
    sfreq: float = SFREQ,
    lead_in: float = 0.0,
    model: Head | None = None,
) -> np.ndarray:
    """Simulate the EEG of a listener to any mono sound.

    Parameters
    ----------
    audio : array, shape (n_samples,)
    sr : int
        Rate of the sound in Hz.
    listener : Listener
        One of `listeners`.
    hearing : int
        Another hearing has other noise.
    stimulus, session : str
        Names that mark the noise of this recording and the drift of this session.
    seed : int
    dials : Dials, optional
        `Dials()` by default.
    sfreq : float
        Rate of the EEG in Hz.
    lead_in : float
        Seconds of silence before the sound.
    model : Head, optional
        `head()` by default: the 125 channels of NMED.

    Returns
    -------
    eeg : ndarray, shape (n_channels, n_times), float32
        Simulated EEG in volts; n_times = floor((lead_in + duration) · sfreq).

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=22050 * 2) * 0.1
    >>> eeg = simulate(noise, 22050, listener=listeners(1)[0])
    >>> eeg.shape, eeg.dtype
    ((125, 250), dtype('float32'))
    """
    return respond(
        drive(audio, sr, sfreq=sfreq), listener, hearing=hearing, stimulus=stimulus, session=session, seed=seed,
        dials=dials, lead_in=lead_in, model=model,
    )  # fmt: skip


def drive(audio, sr: int, *, sfreq: float = SFREQ) -> Drive:
    """Take from a sound what drives the simulated brain: band levels, their rises, loudness and brightness.

    Parameters
    ----------
    audio : array, shape (n_samples,)
        Mono, at least one second.
    sr : int
        Rate of the sound in Hz, at least 2000.
    sfreq : float
        Rate of the EEG in Hz.

    Returns
    -------
    drive : Drive
        floor(n_samples / sr · sfreq) samples.

    Raises
    ------
    ParameterError
        When the sound is not mono, not finite, or shorter than a second.

    Notes
    -----
    Levels are decibels in windows of 46 ms, not lower than 60 dB under the loudest band, z-scored over the
    whole sound and clipped at ±2.5. A constant level has z = 0.
    """
    audio = np.asarray(audio, dtype=np.float32)
    if audio.ndim != 1 or audio.size < sr or sr < 2000:
        raise ParameterError(
            f"simulate.drive: expected at least one second of mono sound (n_samples,) at 2000 Hz or more, "
            f"found shape {audio.shape} at sr={sr}"
        )
    if not np.all(np.isfinite(audio)):
        raise ParameterError("simulate.drive: the sound has NaN or infinite samples; expected finite numbers")
    n_times = int(audio.size / sr * sfreq + 1e-9)
    power, centroid = _bands(audio, sr, sfreq, n_times)
    floor = max(float(power.max()) * 1e-6, 1e-20)
    level = 10 * np.log10(np.maximum(power, floor))
    loudness = 10 * np.log10(np.maximum(power.sum(axis=0), floor))
    onset = np.maximum(np.diff(level, axis=1, prepend=level[:, :1]), 0)
    onset /= max(float(onset.std()), 1e-3)
    return Drive(float(sfreq), np.minimum(onset, 6.0), _z(level, 3.0), _z(loudness, 1.0), _z(centroid, 0.05))


def _bands(audio, sr, sfreq, n_times):
    """Power of each band (6, n_times) and the log2 centroid (n_times,), in blocks (flat memory)."""
    width = max(16, int(0.046 * sr))
    frequency = np.fft.rfftfreq(width, 1 / sr)
    edges = np.geomspace(BAND_RANGE[0], min(BAND_RANGE[1], 0.48 * sr), N_BANDS + 1)
    edges[0] = 0.5 * frequency[1]
    gather = np.array([(frequency >= low) & (frequency < high) for low, high in zip(edges, edges[1:], strict=False)])
    # the loudest band would drown the rest in the centroid: weigh by the root of the power
    padded = np.pad(audio, (width // 2, width))
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)
    starts = np.minimum(np.rint(np.arange(n_times) * sr / sfreq).astype(int), frames.shape[0] - 1)
    window = signal.windows.hann(width, sym=False).astype(np.float32)
    power, centroid = np.empty((N_BANDS, n_times)), np.empty(n_times)
    log_frequency = np.log2(np.maximum(frequency, frequency[1])).astype(np.float32)
    for at in range(0, n_times, 4096):
        magnitude = np.abs(fft.rfft(frames[starts[at : at + 4096]] * window))
        power[:, at : at + 4096] = gather.astype(np.float32) @ np.square(magnitude).T
        centroid[at : at + 4096] = magnitude @ log_frequency / np.maximum(magnitude.sum(axis=1), 1e-9)
    quiet = power.sum(axis=0) <= power.sum(axis=0).max() * 1e-6
    centroid[quiet] = centroid[~quiet].mean() if np.any(~quiet) else 0.0
    return power, centroid


def _z(x, smallest):
    """z-score along time with a least deviation, so that a constant stays 0."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.clip(centred / np.maximum(x.std(axis=-1, keepdims=True), smallest), -Z_LIMIT, Z_LIMIT)


def response(listener: Listener, *, sfreq: float = SFREQ) -> tuple[np.ndarray, np.ndarray]:
    """Temporal response function of a listener: the evoked answer to a unit onset in each band.

    Parameters
    ----------
    listener : Listener
    sfreq : float
        Hz.

    Returns
    -------
    times : ndarray, shape (n_lags,)
        Seconds after the onset, from 0.
    weights : ndarray, shape (6, n_lags)
        Sum of three Gaussians (P50, N100, P190); the lowest band is later than the highest by 12 ms.

    Examples
    --------
    >>> times, weights = response(listeners(1)[0], sfreq=1000)
    >>> weights.shape
    (6, 451)
    >>> bool(abs(times[weights[-1].argmin()] - listeners(1)[0].latencies[1]) < 0.005)
    True
    """
    times = np.arange(int(KERNEL_SECONDS * sfreq) + 1) / sfreq
    delays = np.linspace(BAND_DELAY, 0, N_BANDS)[:, None]
    weights = np.zeros((N_BANDS, times.size))
    for latency, gain, amplitude, width in zip(listener.latencies, listener.gains, AMPLITUDES, WIDTHS, strict=True):
        weights += amplitude * gain * np.exp(-0.5 * ((times - latency - delays) / width) ** 2)
    return times, weights * np.array(listener.band_gains)[:, None]


def respond(
    sound: Drive,
    listener: Listener,
    *,
    hearing: int = 1,
    stimulus: str = "",
    session: str = "",
    seed: int = 0,
    dials: Dials | None = None,
    lead_in: float = 0.0,
    model: Head | None = None,
) -> np.ndarray:
    """Simulate the EEG of a listener to a `drive`; see `simulate` for the parameters.

    Returns
    -------
    eeg : ndarray, shape (n_channels, n_times), float32
        Volts.

    Notes
    -----
    Every component has a random stream of its own, keyed by seed, listener, hearing and stimulus: turning one
    dial leaves the noise of the others as it was, and with ``coupling=0`` nothing of the music enters.
    """
    dials = Dials() if dials is None else dials
    model = head() if model is None else model
    if not lead_in >= 0:
        raise ParameterError(f"simulate.respond: lead_in must be at least 0 s, found {lead_in!r}")
    sfreq, before = sound.sfreq, round(lead_in * sound.sfreq)
    n = before + sound.n_times
    size = fft.next_fast_len(n, real=True)

    def rng(part):
        return np.random.default_rng([seed, listener.number, hearing, _key(stimulus), _key(part)])

    def rhythm(part, n_sources, low, high):
        return _noise(rng(part), n_sources, size, sfreq, low=low, high=high)[:, :n]

    def depth(feature, part):
        """Amplitude over time: 10 ** (coupling · depth · z / 20), after the delay of that rhythm."""
        if dials.coupling == 0:
            return np.float32(1.0)
        z = np.concatenate([np.full((*feature.shape[:-1], before), -Z_LIMIT), feature], axis=-1)
        exponent = dials.coupling * dials.depth * listener.induced / 20
        return (10 ** (exponent * _later(z, INDUCED_DELAY[part], sfreq))).astype(np.float32)

    sides = np.repeat(np.array(listener.sides, np.float32), N_BANDS)[:, None]  # (12, 1)
    sources = np.zeros((2 * N_BANDS, n), np.float32)
    if dials.coupling > 0 and dials.evoked > 0:
        driven = sound.onset + LEVEL_SHARE * sound.level
        weights = response(listener, sfreq=sfreq)[1]
        answer = np.array([signal.lfilter(taps, 1, band) for taps, band in zip(weights, driven, strict=True)])
        sources[:, before:] = dials.coupling * dials.evoked * np.tile(answer, (2, 1)) / N_BANDS
    gamma = np.tile(depth(sound.level, "gamma"), (2, 1)) if dials.coupling > 0 else np.float32(1.0)
    sources += dials.gamma * gamma * rhythm("gamma", 2 * N_BANDS, *FREQUENCIES["gamma"])
    beta = dials.beta / np.sqrt(N_BANDS) * depth(sound.brightness, "beta")
    sources += beta * rhythm("beta", 2 * N_BANDS, *FREQUENCIES["beta"])
    eeg = model.auditory @ (sides * sources)

    alpha = rhythm("alpha", model.occipital.shape[1], listener.alpha_hz - 1.2, listener.alpha_hz + 1.2)
    slow = _noise(rng("alpha waxing"), 1, size, sfreq, low=0.05, high=0.5)[:, :n]
    alpha *= 10 ** (np.clip(slow, -2, 2) * np.float32(0.15)) * depth(-0.5 * sound.loudness, "alpha")
    eeg += model.occipital @ (np.float32(dials.alpha * listener.alpha / _peak(model.occipital)) * alpha)

    n_sources = model.background.shape[1]
    background = _noise(rng("background"), n_sources, size, sfreq, low=0.3, high=50.0, slope=-0.6)[:, :n]
    eeg += model.background @ (np.float32(dials.background / _peak(model.background)) * background)
    eeg += np.float32(dials.sensor) * rng("sensor").standard_normal(eeg.shape, dtype=np.float32)
    if dials.drift > 0:
        eeg *= _gain(rng("drift"), eeg.shape, sfreq, dials.drift)
    if dials.session_drift > 0:
        shared = np.random.default_rng([seed, listener.number, _key(session), _key("session drift")])
        eeg *= _gain(shared, eeg.shape, sfreq, dials.session_drift)
    return eeg * np.float32(1e-6)


def _key(name) -> int:
    return zlib.crc32(str(name).encode())


def _peak(patterns) -> float:
    """Standard deviation at the best channel when every source has deviation 1."""
    return float(np.sqrt(np.square(patterns).sum(axis=1).max()))


def _later(z, delay, sfreq):
    """Delay and smooth along time with a Hann window that ends at twice the delay."""
    window = signal.windows.hann(max(3, int(2 * delay * sfreq) + 1))
    padded = np.concatenate([np.repeat(z[..., :1], window.size - 1, axis=-1), z], axis=-1)
    shape = (1,) * (z.ndim - 1) + (window.size,)
    return signal.fftconvolve(padded, (window / window.sum()).reshape(shape), mode="valid", axes=-1)


def _noise(rng, n_sources, size, sfreq, *, low, high, slope=0.0):
    """Gaussian noise (n_sources, size) of deviation 1; amplitude goes as frequency ** slope from low to high."""
    first, nyquist = max(1, int(np.ceil(low * size / sfreq))), (size - 1) // 2
    if first > nyquist:  # a rhythm above half the rate is not in the recording
        return np.zeros((n_sources, size), np.float32)
    last = int(np.clip(high * size / sfreq, first, nyquist))
    amplitude = (np.arange(first, last + 1) * sfreq / size) ** slope
    amplitude *= size / (2 * np.sqrt(np.sum(amplitude**2)))
    spectrum = np.zeros((n_sources, size // 2 + 1), np.complex64)
    parts = rng.standard_normal((n_sources, last + 1 - first, 2), dtype=np.float32)
    spectrum[:, first : last + 1] = parts.view(np.complex64)[..., 0] * amplitude.astype(np.float32)
    return fft.irfft(spectrum, size, axis=1)


def _gain(rng, shape, sfreq, size):
    """Gain (n_channels, n_times) = exp(size · walk): a start and a random walk in steps of a second, mean square 1."""
    n_channels, n_times = shape
    n_knots = int(np.ceil(n_times / sfreq)) + 1
    walk = np.cumsum(rng.standard_normal((n_channels, n_knots)), axis=1) / np.sqrt(n_knots)
    walk = (walk + rng.standard_normal((n_channels, 1))) / np.sqrt(1.5)
    at = np.arange(n_times) / sfreq
    knot = at.astype(int)
    part = (at - knot).astype(np.float32)
    walk = walk.astype(np.float32)
    return np.exp(np.float32(size) * (walk[:, knot] * (1 - part) + walk[:, knot + 1] * part))
