"""EEG in bands of frequency: the zero-phase filter of a recording, and the entropy of each band of a window.

`eegviz.features` offers all of it under the same names.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.signal

from eegviz.errors import ParameterError

FILTER_ORDER = 3  # Butterworth, run forwards and backwards
SETTLED = 0.01  # of the peak of a filter's impulse response: below it, the filter has settled (our choice)
# Hz, each without its upper edge. DEAP as it is distributed holds 4 to 45 Hz: its delta is what the filter left over.
BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
DE_FLOOR = 1e-3  # µV², the least variance of a band: silence has a finite entropy (our choice)


def differential_entropy(eeg_uv, *, sfreq, bands=BANDS):
    """Differential entropy of each window, channel and band: ``½ ln(2πe σ²)``, that of a Gaussian signal.

    ``σ²`` is the variance of the signal in the band: the power of the window's frequencies from the low edge up to, and
    without, the high one, after a Hann taper (our choice, so that slow drifts do not leak into fast bands), and
    `DE_FLOOR` or more. DEAP's own preprocessing keeps 4 to 45 Hz; there, delta says nothing.

    Parameters
    ----------
    eeg_uv : np.ndarray [shape=(n, n_channels, n_times)]
        EEG in microvolts.
    sfreq : float > 0
        Sampling rate in hertz.
    bands : dict of str to tuple of float
        Low and high edge of each band in hertz.

    Returns
    -------
    np.ndarray [shape=(n, n_channels, n_bands)], float32
        In nats, of microvolts.

    Raises
    ------
    ParameterError
        A band above half the sampling rate, or one in which so short a window has no frequency.

    References
    ----------
    Duan, Zhu & Lu 2013, https://doi.org/10.1109/NER.2013.6695876: the entropy is the logarithm of the band's energy.

    Examples
    --------
    A sinusoid of 10 Hz and 2 µV has a variance of 2 µV², all of it in alpha:

    >>> import numpy as np
    >>> time = np.arange(256) / 128
    >>> de = differential_entropy(2 * np.sin(2 * np.pi * 10 * time)[None, None], sfreq=128)[0, 0]
    >>> dict(zip(BANDS, de.astype(float).round(2).tolist()))
    {'delta': -2.03, 'theta': -2.03, 'alpha': 1.77, 'beta': -2.03, 'gamma': -2.03}
    >>> round(0.5 * float(np.log(2 * np.pi * np.e * 2)), 2)
    1.77
    """
    eeg = check_eeg(eeg_uv, sfreq)
    n, n_channels, n_times = eeg.shape
    taper, weights = band_weights(n_times, sfreq=sfreq, bands=bands)
    out = np.empty((n, n_channels, len(weights)), np.float32)
    weights = weights.repeat(2, axis=1).T  # real and imaginary parts lie side by side
    for i in range(0, n, 8):
        block = eeg[i : i + 8].astype(np.float32, copy=True)
        block -= block.mean(-1, keepdims=True)
        block *= taper
        parts = scipy.fft.rfft(block).view(np.float32)
        np.square(parts, out=parts)
        np.matmul(parts, weights, out=out[i : i + 8])
    np.maximum(out, np.float32(DE_FLOOR), out=out)
    np.log(out, out=out)
    out += np.float32(np.log(2 * np.pi * np.e))
    out *= np.float32(0.5)
    return out


def band_weights(n_times, *, sfreq, bands=BANDS):
    """What makes the variances of bands of a window's transform: a taper, and the weight of each squared coefficient.

    Parameters
    ----------
    n_times : int
    sfreq : float
    bands : dict of str to tuple of float

    Returns
    -------
    taper : np.ndarray [shape=(n_times,)], float32
        Hann.
    weights : np.ndarray [shape=(n_bands, n_times // 2 + 1)], float32
        ``σ² = weights @ |rfft(taper * x)|²``.

    Raises
    ------
    ParameterError
        As of `differential_entropy`.
    """
    freqs = np.fft.rfftfreq(n_times, 1 / sfreq)
    taper = scipy.signal.get_window("hann", n_times)
    scale = one_sided(n_times) / (n_times * max(float((taper**2).sum()), 1e-30))
    weights = np.zeros((len(bands), len(freqs)), np.float32)
    for row, (name, band) in zip(weights, bands.items(), strict=True):
        low, high = check_band(band, sfreq=sfreq)
        inside = (freqs >= low - 1e-9) & (freqs < high - 1e-9)
        if not inside.any():
            raise ParameterError(
                f"the band {name} ({low:g} to {high:g} Hz) has no frequency in a window of {n_times / sfreq:g} s, whose "
                f"frequencies are {sfreq / n_times:g} Hz apart. Use longer windows, or leave the band out."
            )
        row[inside] = scale[inside]
    return taper.astype(np.float32), weights


def bandpass(eeg, *, band, sfreq):
    """Zero-phase band-pass along time: a third-order Butterworth filter, forwards and backwards.

    Filter a whole recording and cut it afterwards: the ends of what is filtered ring for `settling` seconds.

    Parameters
    ----------
    eeg : np.ndarray [shape=(…, n_times)]
    band : tuple of float
        Low and high edge in hertz (each at half the power once, a quarter after both directions).
    sfreq : float

    Returns
    -------
    np.ndarray [shape=(…, n_times)], float32

    Raises
    ------
    ParameterError
        Edges that do not rise, or lie outside 0 and half the sampling rate.

    Examples
    --------
    >>> time = np.arange(1250) / 125
    >>> inside, outside = (bandpass(np.sin(2 * np.pi * hz * time), band=(0.5, 15), sfreq=125) for hz in (6, 40))
    >>> round(float(np.ptp(inside[250:-250])), 1), round(float(np.ptp(outside[250:-250])), 1)
    (2.0, 0.0)
    """
    eeg = np.asarray(eeg)
    sos = _band_filter(band, sfreq)
    pad = min(3 * (2 * len(sos) + 1), eeg.shape[-1] - 1)  # SciPy's own padding, less for very short signals
    flat = eeg.reshape(-1, eeg.shape[-1])
    out = np.empty(flat.shape, np.float32)
    for i in range(0, len(flat), 16):  # bounds the memory of the float64 copies
        out[i : i + 16] = scipy.signal.sosfiltfilt(sos, flat[i : i + 16].astype(np.float64), axis=-1, padlen=pad)
    return out.reshape(eeg.shape)


def settling(band, *, sfreq):
    """Seconds until the impulse response of `bandpass` stays below 1 % of its peak, on either side; measured.

    >>> round(settling((0.5, 15), sfreq=125), 2)
    0.7
    """
    n = int(np.ceil(20 * sfreq / min(band[0], 1.0)))  # twenty periods of the low edge, or of 1 Hz
    impulse = np.zeros(2 * n + 1)
    impulse[n] = 1
    response = np.abs(scipy.signal.sosfiltfilt(_band_filter(band, sfreq), impulse, padlen=0))
    return float(np.abs(np.flatnonzero(response >= SETTLED * response.max()) - n).max() / sfreq)


def check_band(band, *, sfreq):
    """The band as a tuple of two floats, or one clear error."""
    try:
        low, high = (float(edge) for edge in band)
    except (TypeError, ValueError):
        raise ParameterError(f"band must be two frequencies in hertz, low and high; found {band!r}.") from None
    if not 0 < low < high < sfreq / 2:
        raise ParameterError(
            f"band {low:g}–{high:g} Hz: expected 0 < low < high < {sfreq / 2:g} Hz, half the sampling rate of {sfreq:g} Hz."
        )
    return low, high


def _band_filter(band, sfreq):
    return scipy.signal.butter(FILTER_ORDER, check_band(band, sfreq=sfreq), "bandpass", fs=sfreq, output="sos")


def check_eeg(eeg, sfreq=None):
    """The windows as an array, or one clear error."""
    eeg = np.asarray(eeg)
    if eeg.ndim != 3:
        raise ParameterError(
            f"expected EEG windows of shape (n, n_channels, n_times); found {eeg.shape}. Give one window as eeg[None]."
        )
    if sfreq is not None and not sfreq > 0:
        raise ParameterError(f"sfreq must be positive, in hertz; found {sfreq}.")
    return eeg


def one_sided(nfft):
    """Twice every frequency that has a mirror image: all but 0 Hz and, for an even length, Nyquist."""
    weights = np.full(nfft // 2 + 1, 2.0)
    weights[0] = 1
    if nfft % 2 == 0:
        weights[-1] = 1
    return weights
