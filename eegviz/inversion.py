"""From a spectrogram back to sound.

A picture in [0, 1] becomes power, power becomes the magnitude of a short-time Fourier transform (STFT), and
Griffin–Lim finds a phase for it. Three facts shape this module.

- **The power scale.** The papers' decibels are ``20 * log10(power)``; only ``10 ** (dB / 20)`` undoes them.
  The published code hands decibels to the inversion as though they were power, which squashes 100 dB into a
  ratio of 46 and silences everything below 0 dB: ``scale="published"`` repeats that for comparison,
  ``scale="power"`` is right.
- **A new ref_db is a gain.** On the power scale, `ref_db` multiplies all power by one number, so a sound is
  inverted once and `Inverted.at` scales it by ``10 ** (change / 40)``.
- **A picture's 0 means "at the floor or below it"**: power ``10 ** ((ref_db - max_db) / 20)``. It is inverted
  as that power, 100 (doubled) dB below the picture's 1, not as silence.

Spectrograms are ``(n_frames, n_bins)``, time first, as in the papers; frames are centred and lie where the kind's
`eegviz.features.layout` puts them: 2048 samples long and one each 512 (mel, linear), or 1024 and 256 (mel-80).
One-second windows have 44 of them, at samples 0, 512, …, 22 016 of the second, while the next second begins at
22 050: `join` puts windows on one common grid, without which five seconds would be 80 ms too long.

Functions: `invert` and `reconstruct` (pictures → sound), `mel_to_magnitude`, `griffin_lim`; from
`eegviz.joining`, `join` (windows → one spectrogram); and, from `eegviz.sound`, `write_sound`, `encode_sound`, `match_loudness`,
`check_sound_path`.

Sources: Ramirez-Aristizabal & Kello (2022), https://doi.org/10.48550/arXiv.2207.13845; Griffin & Lim (1984),
https://doi.org/10.1109/TASSP.1984.1164317; Perraudin, Balazs & Søndergaard (2013, momentum),
https://doi.org/10.1109/WASPAA.2013.6701851; Lee & Seung (2001), Algorithms for non-negative matrix
factorization. Notebooks 05 and 06 show it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
import scipy.signal
import scipy.sparse

from eegviz.errors import DataError, ParameterError
from eegviz.features import AUDIO_KINDS, LAYOUTS, MAX_DB, REF_DB, SR, denormalise, layout, mel_basis
from eegviz.features import from_db as db_to_power
from eegviz.joining import join
from eegviz.sound import Written, check_sound_path, encode_sound, match_loudness, write_sound

__all__ = ["SCALES", "Inverted", "Written", "check_sound_path", "db_to_power", "denormalise", "encode_sound"]
__all__ += ["griffin_lim", "invert", "join", "match_loudness", "mel_to_magnitude", "reconstruct", "write_sound"]

FORMAT = 1  # raise when the sound of the same pictures changes
SCALES = ("power", "published")
N_ITER = 32  # iterations of Griffin–Lim (published code)
MOMENTUM = 0.99  # librosa's default
SOLVER_STEPS = 10  # multiplicative steps from mel to STFT power; our choice, 3 ms for five seconds
MEL_SHARE = 1 / 3  # the last third of the iterations fits the mel itself; our choice, see griffin_lim
MAX_FRAMES = 2600  # about a minute (mel-80: half) at a time bounds the memory at about 150 MB
OVERLAP_FRAMES = 44  # the parts of a longer sound cross-fade over one second (mel-80: half)


@dataclass(frozen=True, eq=False)
class Inverted:
    """A sound whose reference level can still be chosen.

    Attributes
    ----------
    sound : np.ndarray [shape=(n_samples,)], float32
        The sound at `ref_db`.
    ref_db : float
        (Doubled) decibels; 0 on the power scale.
    sr : int
        Hertz.
    scale : {"power", "published"}
    """

    sound: np.ndarray = field(repr=False)
    ref_db: float
    sr: int
    scale: str = "power"

    def at(self, ref_db):
        """The sound at another reference level: a gain of ``10 ** (change / 40)``, without a new inversion.

        40 and not 20, because decibels are doubled **and** amplitude is the root of power.

        >>> y = Inverted(np.ones(2, np.float32), ref_db=0.0, sr=SR)
        >>> y.at(40).tolist()
        [10.0, 10.0]
        """
        if self.scale != "power" and ref_db != self.ref_db:
            raise ParameterError(
                f"on the {self.scale} scale a new ref_db ({ref_db:g}, was {self.ref_db:g}) is not a gain; "
                'call invert(..., scale="published", ref_db=...) again.'
            )
        return self.sound * np.float32(10 ** ((ref_db - self.ref_db) / 40))


def reconstruct(
    pictures,
    *,
    audio="mel-db",
    ref_db=REF_DB,
    max_db=MAX_DB,
    scale="power",
    n_iter=N_ITER,
    seed=0,
    sr=SR,
    n_samples=None,
):
    """Turn normalised spectrograms into sound.

    Parameters
    ----------
    pictures : np.ndarray [shape=(n_windows, 44, n_bins) or (n_frames, n_bins)]
        Consecutive one-second windows, joined by `join`; or one continuous spectrogram. Frames and bins of
        the kind's layout: here 44 of 128 mel or 1025 linear bins, 87 of 80 for mel-80. Decibel kinds are clipped to [0, 1], power kinds to non-negative.
    audio : {"mel-db", "mel", "linear-db", "linear", "mel-80-db", "mel-80"}
        Kind of the spectrogram. Power kinds hold ``power / 10 ** (ref_db / 20)``.
    ref_db : float
        (Doubled) decibels of the picture's 1: the papers choose it by ear, one value per song, within 40–60.
    max_db : float > 0
        Range of the picture in (doubled) decibels.
    scale : {"power", "published"}
        ``"power"`` is right; ``"published"`` repeats the published code's defect (decibel kinds only).
    n_iter : int > 0
        Iterations of Griffin–Lim.
    seed : int
        Of the initial phase; the same seed gives the same bytes.
    sr : int
        Sampling rate of the sound that the spectrogram describes, in hertz.
    n_samples : int, optional
        Length of the result. Default: the windows' seconds, or the length that the frames describe.

    Returns
    -------
    np.ndarray [shape=(n_samples,)], float32
        Not limited to ±1: `write_sound` reduces the level where needed.

    Raises
    ------
    ParameterError
        For an unknown kind or scale, or a shape that is not a spectrogram's (transposed, for example).
    DataError
        For NaN or infinite values.

    Examples
    --------
    >>> pictures = np.full((2, 44, 128), 0.5, np.float32)
    >>> sound = reconstruct(pictures, n_iter=2)
    >>> sound.shape, sound.dtype
    ((44100,), dtype('float32'))
    """
    settings = {
        "max_db": max_db,
        "scale": scale,
        "n_iter": n_iter,
        "seed": seed,
        "sr": sr,
        "n_samples": n_samples,
    }
    return invert(pictures, audio=audio, ref_db=ref_db, **settings).at(ref_db)


def invert(
    pictures,
    *,
    audio="mel-db",
    ref_db=REF_DB,
    max_db=MAX_DB,
    scale="power",
    n_iter=N_ITER,
    seed=0,
    sr=SR,
    n_samples=None,
):
    """Like `reconstruct`, but the reference level of the result can still be chosen, at no cost.

    `ref_db` matters here for ``scale="published"`` only. Parameters and errors as in `reconstruct`.

    Returns
    -------
    Inverted

    Examples
    --------
    >>> inverted = invert(np.full((44, 128), 0.5, np.float32), n_iter=2)
    >>> sounds = {ref_db: inverted.at(ref_db) for ref_db in (43, 46, 52)}
    >>> round(float(sounds[52].std() / sounds[46].std()), 4) == round(10 ** (6 / 40), 4)
    True
    """
    _check_settings(audio, scale, max_db, n_iter)
    pictures = _check_pictures(pictures, audio, sr)
    if audio.endswith("-db"):
        power = db_to_power(denormalise(pictures, ref_db=0.0, max_db=max_db))  # 1 where the picture is 1
    else:
        power = np.maximum(pictures, 0)
    if power.ndim == 3:
        natural = round(len(power) * sr)
        power = join(power, sr=sr, kind=audio)
    else:
        natural = _natural_length(len(power), sr, layout(audio).hop_length)
    if scale == "published":
        power = np.maximum(20 * np.log10(np.maximum(power, 1e-30)) + ref_db, 0)
    length = natural if n_samples is None else _check_length(n_samples, natural, sr)
    n = min(length, natural)
    sound = _sound_of(power[: 1 + n // layout(audio).hop_length], n, audio, n_iter, seed, sr)
    sound = np.pad(sound, (0, length - n))
    return Inverted(sound, 0.0 if scale == "power" else float(ref_db), int(sr), scale)


def mel_to_magnitude(power, *, sr=SR, n_steps=SOLVER_STEPS, kind="mel"):
    """Non-negative STFT magnitude whose mel spectrogram is the given one.

    Multiplicative updates for the Kullback–Leibler divergence, ``X ← X · Bᵀ(M / BX) / Bᵀ1``, with the mel
    filters B as sparse matrices (two filters a bin). They keep X non-negative, start at each bin's weighted
    mean of its filters, treat loud and soft bins alike, and need no random start. About 100 times faster than
    the least squares of ``librosa.feature.inverse.mel_to_stft``, at a smaller residual.

    Parameters
    ----------
    power : np.ndarray [shape=(n_frames, n_mels)], non-negative
        Mel power spectrogram.
    sr : int
        Hertz.
    n_steps : int >= 0
    kind : {"mel", "mel-80"}

    Returns
    -------
    np.ndarray [shape=(n_frames, n_fft // 2 + 1)], float32
        0 at 0 Hz and at sr / 2 (mel-80: from 8 kHz), which no filter covers.
    """
    mel = np.ascontiguousarray(np.asarray(power, np.float32).T)
    peak = np.float32(mel.max(initial=0) or 1)
    mel = mel / peak
    basis, share = _mel_filters(sr, len(mel), kind)
    power = share @ (mel / np.asarray(basis.sum(1), np.float32))
    for _ in range(n_steps):
        power *= share @ (mel / (basis @ power + np.float32(1e-15)))
    return np.sqrt(peak * power).T


def griffin_lim(magnitude, *, n_samples, mel=None, n_iter=N_ITER, momentum=MOMENTUM, seed=0, sr=SR, kind="mel"):
    """Sound whose STFT has the given magnitude: fast Griffin–Lim from a random phase.

    The same algorithm as ``librosa.griffinlim`` in single precision, a third of its time: a sound is kept as
    a matrix of a row for each sample within a hop and one column a hop, so that framing and overlap-add are
    slices.

    With `mel`, the last third of the iterations replaces the magnitude by the current sound's own, scaled bin
    by bin so that its mel spectrogram becomes `mel`: the mel is all that is known, and a magnitude that
    solves it need not be that of any sound. On music this nearly halves the error of the mel, in L2 and in
    decibels; doing so from the first iteration lowers it further but makes the spectrum between the filters
    rougher than the original's.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(n_frames, n_fft // 2 + 1)], non-negative
    n_samples : int
        Length of the sound, with ``n_frames == 1 + n_samples // hop_length``.
    mel : np.ndarray [shape=(n_frames, n_mels)], optional
        Mel power spectrogram that the sound shall have.
    n_iter : int
    momentum : float in [0, 1]
        0.99 as in librosa; 0 is the algorithm of 1984.
    seed : int
    sr : int
        Hertz; matters for `mel` only.
    kind : str
        Whose frames they are; see `eegviz.features.layout`.

    Returns
    -------
    np.ndarray [shape=(n_samples,)], float32
    """
    magnitude = np.ascontiguousarray(np.asarray(magnitude, np.float32).T)
    n_frames = magnitude.shape[1]
    n_fft, hop_length = layout(kind).n_fft, layout(kind).hop_length
    n_bins = n_fft // 2 + 1
    if len(magnitude) != n_bins or n_frames != 1 + n_samples // hop_length:
        raise ParameterError(
            f"griffin_lim expects a magnitude of shape (1 + n_samples // {hop_length}, {n_bins}) = "
            f"({1 + n_samples // hop_length}, {n_bins}); found {magnitude.T.shape}."
        )
    peak = float(magnitude.max(initial=0))
    if peak == 0:
        return np.zeros(n_samples, np.float32)
    magnitude = magnitude / np.float32(peak)
    filters = None
    if mel is not None:
        mel = np.ascontiguousarray(np.asarray(mel, np.float32).T) / np.float32(peak) ** 2
        filters = _mel_filters(sr, len(mel), kind)
    fit_mel_from = n_iter if mel is None else n_iter - round(n_iter * MEL_SHARE)
    frames = _Frames(n_frames, n_samples, n_fft=n_fft, hop_length=hop_length)
    inertia = np.float32(momentum / (1 + momentum))

    angle = np.random.default_rng(seed).random(magnitude.shape, dtype=np.float32) * np.float32(2 * np.pi)
    spectrum = np.empty(magnitude.shape, np.complex64)
    np.multiply(magnitude, np.cos(angle), out=spectrum.real)
    np.multiply(magnitude, np.sin(angle), out=spectrum.imag)
    previous = None
    gain = np.empty_like(magnitude)
    for i in range(n_iter):
        rebuilt = frames.analyse(frames.synthesise(spectrum))
        if previous is None:
            spectrum = rebuilt.copy()
        else:  # rebuilt - inertia * previous, in the memory of `previous`
            previous *= -inertia
            previous += rebuilt
            spectrum = previous
        np.abs(spectrum, out=gain)
        gain += np.float32(1e-20)
        target = magnitude if i < fit_mel_from else np.sqrt(_fit_mel(rebuilt, mel, filters))
        np.divide(target, gain, out=gain)
        spectrum *= gain
        previous = rebuilt
    return frames.samples(frames.synthesise(spectrum)) * np.float32(peak)


# ------------------------------------------------------------------------------------------ private


class _Frames:
    """Centred STFT and its inverse on a sound kept as a matrix ``(hop, n_frames + 3)``, padding included."""

    def __init__(self, n_frames, n_samples, *, n_fft, hop_length):
        self.n_frames, self.n_samples, self.n_fft = n_frames, n_samples, n_fft
        self.overlap = overlap = n_fft // hop_length  # frames that cover one sample
        hann = scipy.signal.get_window("hann", n_fft).astype(np.float32)
        self.window = hann.reshape(overlap, hop_length, 1)
        self.sound = np.empty((hop_length, n_frames + overlap - 1), np.float32)
        self.frames = np.empty((overlap, hop_length, n_frames), np.float32)
        # least-squares synthesis divides by the windows' summed squares; samples outside the sound are zero
        inside = np.zeros(self.sound.size, np.float32)
        inside[n_fft // 2 : n_fft // 2 + n_samples] = 1
        weight = np.zeros_like(self.sound)
        for k in range(overlap):
            weight[:, k : k + n_frames] += self.window[k] ** 2
        self.weight = inside.reshape(-1, hop_length).T / np.maximum(weight, 1e-6)

    def synthesise(self, spectrum):
        """STFT (n_fft // 2 + 1, n_frames), which is overwritten → sound matrix."""
        frames = scipy.fft.irfft(spectrum, n=self.n_fft, axis=0, overwrite_x=True, workers=1)
        frames = frames.reshape(self.overlap, -1, self.n_frames)
        frames *= self.window
        self.sound.fill(0)
        for k in range(self.overlap):
            self.sound[:, k : k + self.n_frames] += frames[k]
        self.sound *= self.weight
        return self.sound

    def analyse(self, sound):
        """Sound matrix → STFT (n_fft // 2 + 1, n_frames)."""
        for k in range(self.overlap):
            np.multiply(sound[:, k : k + self.n_frames], self.window[k], out=self.frames[k])
        return scipy.fft.rfft(self.frames.reshape(self.n_fft, self.n_frames), axis=0, workers=1)

    def samples(self, sound):
        """Sound matrix → (n_samples,)."""
        return sound.T.reshape(-1)[self.n_fft // 2 : self.n_fft // 2 + self.n_samples].copy()


@functools.lru_cache(maxsize=4)
def _mel_filters(sr, n_mels, kind):
    """The mel filters B (n_mels, n_freqs) and Bᵀ with each bin's weights divided by their sum, both sparse."""
    basis = mel_basis(kind, sr=sr, n_mels=n_mels)
    total = basis.sum(0)
    share = np.divide(basis, total, out=np.zeros_like(basis), where=total > 0)
    return scipy.sparse.csr_matrix(basis), scipy.sparse.csr_matrix(share.T)


def _fit_mel(spectrum, mel, filters):
    """Power of `spectrum`, scaled bin by bin towards the mel spectrogram: one multiplicative step."""
    basis, share = filters
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    power *= share @ (mel / (basis @ power + np.float32(1e-15)))
    return power


def _sound_of(power, n_samples, audio, n_iter, seed, sr):
    """Power spectrogram (n_frames, n_bins) → sound; a minute at a time, cross-faded at equal power."""
    is_mel, hop_length = bool(layout(audio).n_mels), layout(audio).hop_length
    sound = np.zeros(n_samples, np.float32)
    fade = np.sin(np.pi / 2 * (np.arange(OVERLAP_FRAMES * hop_length) + 0.5) / (OVERLAP_FRAMES * hop_length))
    fade = fade.astype(np.float32)
    for start in range(0, max(1, len(power) - OVERLAP_FRAMES), MAX_FRAMES - OVERLAP_FRAMES):
        part = power[start : start + MAX_FRAMES]
        first = start * hop_length
        last = min(n_samples, first + len(part) * hop_length - 1)
        magnitude = mel_to_magnitude(part, sr=sr, kind=audio) if is_mel else np.sqrt(part)
        mel = part if is_mel else None
        piece = griffin_lim(magnitude, n_samples=last - first, mel=mel, n_iter=n_iter, seed=seed, sr=sr, kind=audio)
        if start > 0:
            piece[: len(fade)] *= fade[: len(piece)]
        if start + MAX_FRAMES < len(power):
            piece[-len(fade) :] *= fade[::-1]
        sound[first:last] += piece
    return sound


def _natural_length(n_frames, sr, hop_length):
    """Samples that a continuous spectrogram describes: whole seconds where its frames fit them."""
    seconds = round((n_frames - 1) * hop_length / sr)
    whole = round(seconds * sr)
    return whole if seconds and 1 + whole // hop_length == n_frames else max(1, (n_frames - 1) * hop_length)


def _check_settings(audio, scale, max_db, n_iter):
    if audio not in AUDIO_KINDS:
        raise ParameterError(f"unknown spectrogram kind {audio!r}; known: {', '.join(AUDIO_KINDS)}.")
    if scale not in SCALES:
        raise ParameterError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}.")
    if scale == "published" and not audio.endswith("-db"):
        raise ParameterError(
            f'scale="published" hands decibels over as power; {audio!r} holds power. Use scale="power".'
        )
    if not max_db > 0:
        raise ParameterError(f"max_db must be positive; found {max_db}. The paper uses 100.")
    if int(n_iter) != n_iter or n_iter < 1:
        raise ParameterError(f"n_iter must be a whole number above 0; found {n_iter!r}. The published code uses 32.")


def _check_pictures(pictures, audio, sr):
    pictures = np.asarray(pictures)
    n_bins = layout(audio).n_bins
    n_frames = 1 + round(sr) // layout(audio).hop_length
    shape = pictures.shape
    expected = f"(n_windows, {n_frames}, {n_bins}) or (n_frames, {n_bins}) for {audio!r} at {sr:g} Hz"
    fits = len(shape) in (2, 3) and shape[-1] == n_bins and 0 not in shape and (len(shape) == 2 or shape[1] == n_frames)
    if not fits or pictures.dtype.kind not in "fiu":
        hint = ""
        if len(shape) in (2, 3) and shape[-2] == n_bins:
            hint = " Is it transposed? Frames come before bins: use np.swapaxes(pictures, -1, -2)."
        elif len(shape) in (2, 3) and shape[-1] != n_bins and shape[-1] in {one.n_bins for one in LAYOUTS.values()}:
            (kind,) = (name for name, one in LAYOUTS.items() if one.n_bins == shape[-1])
            hint = f" {shape[-1]} bins belong to audio='{kind}' or '{kind}-db'."
        raise ParameterError(f"expected spectrograms of shape {expected}; found {pictures.dtype} {shape}.{hint}")
    bad = int(pictures.size - np.isfinite(pictures).sum())
    if bad:
        raise DataError(
            f"the spectrogram holds {bad} values of {pictures.size} that are NaN or infinite; "
            "check the model that made it."
        )
    return pictures.astype(np.float32, copy=False)


def _check_length(n_samples, natural, sr):
    if int(n_samples) != n_samples or not 0 < n_samples <= natural + sr:
        raise ParameterError(
            f"n_samples must be from 1 to one second more than the {natural} samples that the pictures "
            f"describe; found {n_samples!r}."
        )
    return int(n_samples)
