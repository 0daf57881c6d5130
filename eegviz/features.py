"""Features of EEG and of sound, one second at a time.

Conventions
-----------
- EEG is in microvolts here (stores hold volts): of volts, a power spectrum is about 1e-12, which the ``eps`` of batch
  normalisation flattens to nothing.
- EEG pictures are ``(n, n_times or n_freqs, n_channels)`` as in the papers; spectrograms ``(n, n_frames, n_bins)``.
- Decibels follow the published code: ``20 * log10(max(1e-5, power))`` **of power**, a scale doubled on purpose.

Functions
---------
EEG: `raw`, `periodogram`, `welch`, `differential_entropy`, `band_weights`, `eeg_picture`, `n_rows`, `bandpass`, `settling`.
Sound: `layout` (frames and bins of a kind), `frame_times`, `spectrogram`, `mel_basis`, `to_db`, `from_db`, `normalise`,
`denormalise`, `default_ref_db`, `ref_db_of`.
`eegviz.windowing` applies them to a store.

Sources: Ramirez-Aristizabal & Kello, EEG2Mel (2022), https://doi.org/10.48550/arXiv.2207.13845; see notebook 02. The
layout of `mel-80` is that of NeuroTalk (Lee et al. 2023), https://doi.org/10.48550/arXiv.2301.07173, see `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal

from eegviz import _bands
from eegviz._bands import BANDS, DE_FLOOR, band_weights, bandpass, check_band, differential_entropy, settling
from eegviz.errors import ParameterError

__all__ = [
    "AMIN",
    "AUDIO_KINDS",
    "BANDS",
    "DE_FLOOR",
    "EEG_KINDS",
    "HOP_LENGTH",
    "LAYOUTS",
    "MAX_DB",
    "MICROVOLT",
    "N_FFT",
    "N_FRAMES",
    "N_LINEAR",
    "N_MELS",
    "REF_DB",
    "REF_DB_LINEAR",
    "REF_DB_MEL_80",
    "SR",
    "WELCH_NOVERLAP",
    "WELCH_NPERSEG",
    "Layout",
    "band_weights",
    "bandpass",
    "check_band",
    "check_kind",
    "default_ref_db",
    "denormalise",
    "differential_entropy",
    "eeg_picture",
    "frame_times",
    "from_db",
    "layout",
    "mel_basis",
    "n_rows",
    "normalise",
    "periodogram",
    "raw",
    "ref_db_of",
    "settling",
    "spectrogram",
    "to_db",
    "unknown",
    "welch",
]

EEG_KINDS = ("raw", "periodogram", "welch", "de")
AUDIO_KINDS = ("mel", "mel-db", "linear", "linear-db", "mel-80", "mel-80-db")

SR = 22050  # Hz, rate of the sound
N_FFT = 2048  # samples
HOP_LENGTH = 512  # samples
N_MELS = 128
N_FRAMES = 44  # frames of one centred second
N_LINEAR = N_FFT // 2 + 1
AMIN = 1e-5  # floor of the power under the logarithm (published code)
MAX_DB = 100.0  # dB, range of the normalised picture (paper, equation 1)
REF_DB = 46.0  # dB, level of a mel picture's 1.0 (published code; the paper tunes one value per song)
# A mel filter sums its bins with weights of area 1 / 10.8, so linear bins lie about 20 (doubled) dB higher. No source
# publishes a level for linear pictures; at 46 music would be cut off at the top. This one is our choice.
REF_DB_LINEAR = 66.0
# Shorter frames and wider filters put mel-80 about 12 dB lower: 34.1 dB is the level that as large a share (0.6 %) of the
# demonstration's ten pieces exceeds in mel-80 as exceeds 46 dB in mel. No source publishes one; this is our choice.
REF_DB_MEL_80 = 34.0
MICROVOLT = 1e6  # volts → microvolts
# SciPy's default Welch on 125 samples is one Hann segment, nearly the periodogram. The replication
# study does not say what it used: two half-overlapping half-second segments are our choice.
WELCH_NPERSEG = 62
WELCH_NOVERLAP = 31


@dataclass(frozen=True)
class Layout:
    """Frames and bins of a kind of spectrogram; frames are centred.

    Attributes
    ----------
    n_fft, hop_length : int
        Samples at 22 050 Hz.
    n_mels : int or None
        None for a linear spectrogram.
    ref_db : float
        Default level of a picture's 1.0, in (doubled) decibels.
    fmax : float or None
        Upper edge of the mel filters in hertz; None = half the sampling rate.
    """

    n_fft: int
    hop_length: int
    n_mels: int | None
    ref_db: float
    fmax: float | None = None

    @property
    def n_bins(self):
        """Bins of a frame."""
        return self.n_mels or self.n_fft // 2 + 1

    @property
    def n_frames(self):
        """Frames of one centred second at 22 050 Hz."""
        return 1 + SR // self.hop_length


# EEG2Mel's two, and the one of EEG2Mel-GAN's likely ancestor: the page publishes no settings, so that its spectrograms are
# NeuroTalk's is inferred. Frames, hop and mels are in NeuroTalk's config, 8 kHz in its script for mels (and half the rate
# of the page's sounds). NeuroTalk takes the logarithm of amplitudes; ours has the decibels of power of every kind here.
LAYOUTS = {
    "mel": Layout(N_FFT, HOP_LENGTH, N_MELS, REF_DB),
    "linear": Layout(N_FFT, HOP_LENGTH, None, REF_DB_LINEAR),
    "mel-80": Layout(1024, 256, 80, REF_DB_MEL_80, fmax=8000.0),
}


def layout(kind) -> Layout:
    """The layout of a kind of spectrogram, in decibels or not.

    >>> layout("mel-db").n_frames, layout("mel-db").n_bins, layout("linear").n_bins
    (44, 128, 1025)
    >>> layout("mel-80-db").n_frames, layout("mel-80-db").n_bins
    (87, 80)
    """
    check_kind(kind)
    return LAYOUTS[kind.removesuffix("-db")]


def frame_times(n_frames):
    """Seconds at which the frames of a picture are centred, by their number.

    Of one second, the hop is the longest of any layout by which so many frames lie within it; more frames are those of
    several seconds, one after another.

    >>> [(n, round(float(frame_times(n)[1]), 4)) for n in (44, 87)]
    [(44, 0.0232), (87, 0.0116)]
    >>> frame_times(4 * 44)[[0, 44, 88, 132]].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    hops = [one.hop_length for one in LAYOUTS.values() if n_frames <= one.n_frames]
    if hops:
        return np.arange(n_frames) * max(hops) / SR
    whole = [one.n_frames for one in LAYOUTS.values() if n_frames % one.n_frames == 0]
    if not whole:
        each = " or ".join(str(n) for n in sorted({one.n_frames for one in LAYOUTS.values()}))
        raise ParameterError(f"a picture of several seconds has {each} frames for each; found {n_frames}.")
    return (np.arange(n_frames // whole[0])[:, None] + frame_times(whole[0])).ravel()


# ---------------------------------------------------------------------------------------------- EEG


def raw(eeg):
    """Raw voltage pictures, time × channel.

    Parameters
    ----------
    eeg : np.ndarray [shape=(n, n_channels, n_times)]
        EEG in microvolts.

    Returns
    -------
    np.ndarray [shape=(n, n_times, n_channels)], float32
        EEG in microvolts.
    """
    eeg = _bands.check_eeg(eeg)
    return np.ascontiguousarray(eeg.swapaxes(-1, -2), dtype=np.float32)


def periodogram(eeg, *, sfreq):
    """Power spectral density of each window and channel, as ``scipy.signal.periodogram`` with its defaults.

    Parameters
    ----------
    eeg : np.ndarray [shape=(n, n_channels, n_times)]
        EEG in microvolts.
    sfreq : float > 0
        Sampling rate in hertz.

    Returns
    -------
    np.ndarray [shape=(n, n_times // 2 + 1, n_channels)], float32
        Density in µV²/Hz; the row of 0 Hz is zero, because the mean of each window is removed.

    Examples
    --------
    A 10 Hz sinusoid of 2 µV amplitude holds 2 µV², all of it in the row of 10 Hz:

    >>> import numpy as np
    >>> time = np.arange(125) / 125
    >>> psd = periodogram(2 * np.sin(2 * np.pi * 10 * time)[None, None], sfreq=125)
    >>> psd.shape, int(psd[0, :, 0].argmax()), round(float(psd.sum()), 3)
    ((1, 63, 1), 10, 2.0)
    """
    eeg = _bands.check_eeg(eeg, sfreq)
    n, n_channels, n_times = eeg.shape
    weights = _bands.one_sided(n_times) / (sfreq * n_times)
    out = np.empty((n, len(weights), n_channels), np.float32)
    for i in range(0, n, 8):  # eight windows stay in the processor's cache
        block = eeg[i : i + 8].astype(np.float32, copy=True)
        block -= block.mean(-1, keepdims=True)
        _power_into(out[i : i + 8], block, n_times, weights)
    out[:, 0] = 0
    return out


def welch(eeg, *, sfreq, nperseg=WELCH_NPERSEG, noverlap=WELCH_NOVERLAP, nfft=None):
    """Welch's power spectral density of each window and channel, as ``scipy.signal.welch`` with a Hann window.

    Parameters
    ----------
    eeg : np.ndarray [shape=(n, n_channels, n_times)]
        EEG in microvolts.
    sfreq : float > 0
        Sampling rate in hertz.
    nperseg, noverlap : int
        Segment length and overlap in samples. The replication study does not publish them; these are our choice.
    nfft : int, optional
        Length of the transform; default ``n_times``, so that the picture has the periodogram's rows.

    Returns
    -------
    np.ndarray [shape=(n, nfft // 2 + 1, n_channels)], float32
        Density in µV²/Hz.
    """
    eeg = _bands.check_eeg(eeg, sfreq)
    n, n_channels, n_times = eeg.shape
    nfft = n_times if nfft is None else nfft
    if not 0 <= noverlap < nperseg <= min(n_times, nfft):
        raise ParameterError(
            f"welch needs 0 <= noverlap < nperseg <= n_times and nfft; got noverlap={noverlap}, nperseg={nperseg}, "
            f"n_times={n_times}, nfft={nfft}. Choose a shorter segment."
        )
    hann = scipy.signal.get_window("hann", nperseg)
    starts = range(0, n_times - nperseg + 1, nperseg - noverlap)
    weights = _bands.one_sided(nfft) / (sfreq * float((hann**2).sum()) * len(starts))
    hann = hann.astype(np.float32)
    out = np.zeros((n, len(weights), n_channels), np.float32)
    part = np.empty((8, len(weights), n_channels), np.float32)
    for i in range(0, n, 8):
        block = eeg[i : i + 8].astype(np.float32, copy=False)
        for start in starts:
            segment = block[..., start : start + nperseg]
            segment = (segment - segment.mean(-1, keepdims=True)) * hann
            _power_into(part[: len(block)], segment, nfft, weights)
            out[i : i + 8] += part[: len(block)]
    return out


def eeg_picture(eeg, *, kind, sfreq):
    """EEG windows in microvolts to the pictures called `kind` (see `EEG_KINDS`); "de" has a row a band of `BANDS`."""
    if kind == "raw":
        return raw(eeg)
    if kind == "periodogram":
        return periodogram(eeg, sfreq=sfreq)
    if kind == "welch":
        # half-second segments at any rate: 62 and 31 samples at the papers' 125 Hz
        nperseg = min(int(sfreq // 2), eeg.shape[-1])
        return welch(eeg, sfreq=sfreq, nperseg=nperseg, noverlap=nperseg // 2)
    if kind == "de":
        return np.ascontiguousarray(differential_entropy(eeg, sfreq=sfreq).swapaxes(1, 2))
    raise unknown("EEG features", kind, EEG_KINDS)


def n_rows(kind, n_times):
    """Rows of the pictures called `kind` of windows of `n_times` samples.

    >>> [n_rows(kind, 125) for kind in EEG_KINDS]
    [125, 63, 63, 5]
    """
    return {"raw": n_times, "de": len(BANDS)}.get(kind, n_times // 2 + 1)


# -------------------------------------------------------------------------------------------- sound


def spectrogram(seconds, *, kind="mel"):
    """Power spectrograms of sounds, by librosa with the settings of the kind's `layout`.

    Parameters
    ----------
    seconds : np.ndarray [shape=(n, n_samples)]
        Sound at 22 050 Hz.
    kind : {"mel", "linear", "mel-80"}

    Returns
    -------
    np.ndarray [shape=(n, n_frames, n_bins)], float32
        Power; one second gives 44 frames of 128 or 1025 bins, or 87 of 80.
    """
    import librosa

    if kind not in LAYOUTS:
        raise unknown("power spectrogram", kind, LAYOUTS)
    n_fft, hop_length = LAYOUTS[kind].n_fft, LAYOUTS[kind].hop_length
    seconds = np.asarray(seconds, np.float32)
    if seconds.ndim != 2 or seconds.shape[1] < n_fft // 2:
        raise ParameterError(
            f"spectrogram expects sounds of shape (n, n_samples >= {n_fft // 2}); found {seconds.shape}. "
            "Give one sound as y[None]."
        )
    out = []
    for i in range(0, len(seconds), 32):  # bounds the memory of the complex transform
        transform = librosa.stft(seconds[i : i + 32], n_fft=n_fft, hop_length=hop_length)
        power = transform.real**2 + transform.imag**2  # (n, n_freqs, n_frames)
        if LAYOUTS[kind].n_mels:
            power = np.einsum("mf,nft->nmt", mel_basis(kind), power, optimize=True)
        out.append(np.ascontiguousarray(power.swapaxes(1, 2), np.float32))
    return np.concatenate(out)


def mel_basis(kind="mel", *, sr=SR, n_mels=None):
    """librosa's mel filters of a kind, from 0 Hz: ``(n_mels, n_fft // 2 + 1)``, float32; 128 up to 11 025 Hz for mel.

    `sr` and `n_mels` are those of the layout unless they are given; no filter lies above half of `sr`.
    """
    import librosa

    found = layout(kind)
    fmax = min(found.fmax or sr / 2, sr / 2)
    return librosa.filters.mel(sr=sr, n_fft=found.n_fft, n_mels=n_mels or found.n_mels, fmin=0.0, fmax=fmax)


def to_db(power):
    """Decibels of power as the published code has them: ``20 * log10(max(1e-5, power))``.

    The factor is 20 although the input is power: the scale is doubled, and `from_db` undoes exactly that.

    >>> float(to_db(100.0)), float(from_db(to_db(100.0)))
    (40.0, 100.0)
    """
    return 20.0 * np.log10(np.maximum(AMIN, power))


def from_db(db):
    """Power of the doubled decibels, ``10 ** (db / 20)``: the exact inverse of `to_db` above its floor."""
    return 10.0 ** (np.asarray(db) / 20.0)


def normalise(power_or_db, *, kind="mel-db", ref_db=REF_DB, max_db=MAX_DB):
    """Spectrograms to the scale that models predict.

    Decibel kinds: ``clip((dB - ref_db + max_db) / max_db, 0, 1)``, the inverse of the paper's equation 1 (the forward
    direction is unpublished). Power kinds: ``power / 10 ** (ref_db / 20)``, not clipped (unpublished; our choice), so
    that the same `ref_db` is the level of 1.0 on both.

    Parameters
    ----------
    power_or_db : np.ndarray
        Decibels for the ``-db`` kinds, power for the others.
    kind : {"mel", "mel-db", "linear", "linear-db", "mel-80", "mel-80-db"}
    ref_db, max_db : float
        Level of 1.0, and range of the picture, in (doubled) decibels.

    Returns
    -------
    np.ndarray, same shape, float32

    Examples
    --------
    >>> db = np.array([-54.0, -4.0, 46.0, 60.0])
    >>> normalise(db).tolist()
    [0.0, 0.5, 1.0, 1.0]
    >>> denormalise(normalise(db)).tolist()
    [-54.0, -4.0, 46.0, 46.0]
    """
    check_kind(kind)
    if not max_db > 0:
        raise ParameterError(f"max_db must be positive; found {max_db}. The paper uses 100.")
    values = np.asarray(power_or_db, np.float32)
    if kind.endswith("-db"):
        return np.clip((values - np.float32(ref_db) + np.float32(max_db)) / np.float32(max_db), 0, 1)
    return values / np.float32(10 ** (ref_db / 20))


def denormalise(picture, *, kind="mel-db", ref_db=REF_DB, max_db=MAX_DB):
    """The exact inverse of `normalise` inside its range: equation 1 of EEG2Mel for decibels, power for the others."""
    check_kind(kind)
    picture = np.asarray(picture, np.float32)
    if kind.endswith("-db"):
        return np.clip(picture, 0, 1) * np.float32(max_db) - np.float32(max_db) + np.float32(ref_db)
    return np.maximum(picture, 0) * np.float32(10 ** (ref_db / 20))


def default_ref_db(kind):
    """The level of 1.0 for a kind of spectrogram: 46 dB for mel (published), 66 for linear, 34 for mel-80 (our choices)."""
    return layout(kind).ref_db


def ref_db_of(ref_db, stimulus):
    """The ref_db of one stimulus: `ref_db` is a number for all, or a table with one value per stimulus."""
    if isinstance(ref_db, Mapping):
        if stimulus in ref_db:
            return float(ref_db[stimulus])
        raise ParameterError(
            f"ref_db has no value for stimulus {stimulus!r}; it has {', '.join(sorted(ref_db))}. "
            "Give one value per stimulus, or one number for all."
        )
    return float(ref_db)


def _power_into(out, block, nfft, weights):
    spectrum = scipy.fft.rfft(block, nfft)
    parts = spectrum.view(np.float32)
    np.square(parts, out=parts)
    power = parts[..., ::2] + parts[..., 1::2]  # (n, n_channels, n_freqs)
    np.multiply(power.swapaxes(-1, -2), weights[:, None].astype(np.float32), out=out)


def check_kind(kind):
    """Refuse an unknown kind of spectrogram; the message lists the known ones."""
    if kind not in AUDIO_KINDS:
        raise unknown("audio features", kind, AUDIO_KINDS)


def unknown(what, name, known):
    """The error for a name that is not among the known ones, which it lists."""
    return ParameterError(f"unknown {what} {name!r}; known are {', '.join(known)}.")
