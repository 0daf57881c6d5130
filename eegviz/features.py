"""Features of EEG and of sound, one second at a time.

Conventions
-----------
- A window is one second that begins at a whole second **of the stimulus**; EEG of a recording that starts at second
  3.25 of its stimulus gives its first window at second 4.
- EEG is in microvolts here (stores hold volts): of volts, a power spectrum is about 1e-12, which the ``eps`` of batch
  normalisation flattens to nothing.
- EEG pictures are ``(n, n_times or n_freqs, n_channels)`` as in the papers; spectrograms ``(n, n_frames, n_bins)``.
- Decibels follow the published code: ``20 * log10(max(1e-5, power))`` **of power**, a scale doubled on purpose.

Functions
---------
EEG: `raw`, `periodogram`, `welch`. Sound: `spectrogram`, `to_db`, `from_db`, `normalise`, `denormalise`.
Both together: `windows`, which gives a `Windows` table backed by files.

Source: Ramirez-Aristizabal & Kello, EEG2Mel (2022), https://doi.org/10.48550/arXiv.2207.13845; see notebook 02.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.fft
import scipy.signal

from eegviz.errors import DataError, ParameterError
from eegviz.store import CACHE, Store

EEG_KINDS = ("raw", "periodogram", "welch")
AUDIO_KINDS = ("mel", "mel-db", "linear", "linear-db")

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
MICROVOLT = 1e6  # volts → microvolts
# SciPy's default Welch on 125 samples is one Hann segment, nearly the periodogram. The replication
# study does not say what it used: two half-overlapping half-second segments are our choice.
WELCH_NPERSEG = 62
WELCH_NOVERLAP = 31
TABLE_COLUMNS = ["recording", "subject", "stimulus", "condition", "repeat", "session", "second"]
_FORMAT = 2  # raise when the bytes of cached features change


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
    eeg = _check_eeg(eeg)
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
    eeg = _check_eeg(eeg, sfreq)
    n, n_channels, n_times = eeg.shape
    weights = _one_sided(n_times) / (sfreq * n_times)
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
    eeg = _check_eeg(eeg, sfreq)
    n, n_channels, n_times = eeg.shape
    nfft = n_times if nfft is None else nfft
    if not 0 <= noverlap < nperseg <= min(n_times, nfft):
        raise ParameterError(
            f"welch needs 0 <= noverlap < nperseg <= n_times and nfft; got noverlap={noverlap}, nperseg={nperseg}, "
            f"n_times={n_times}, nfft={nfft}. Choose a shorter segment."
        )
    hann = scipy.signal.get_window("hann", nperseg)
    starts = range(0, n_times - nperseg + 1, nperseg - noverlap)
    weights = _one_sided(nfft) / (sfreq * float((hann**2).sum()) * len(starts))
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
    """EEG windows in microvolts to the pictures called `kind` (see `EEG_KINDS`)."""
    if kind == "raw":
        return raw(eeg)
    if kind == "periodogram":
        return periodogram(eeg, sfreq=sfreq)
    if kind == "welch":
        # half-second segments at any rate: 62 and 31 samples at the papers' 125 Hz
        nperseg = min(int(sfreq // 2), eeg.shape[-1])
        return welch(eeg, sfreq=sfreq, nperseg=nperseg, noverlap=nperseg // 2)
    raise _unknown("EEG features", kind, EEG_KINDS)


def eeg_axis(kind, *, sfreq, n_times):
    """Values of an EEG picture's rows: seconds (raw) or hertz (spectra), and the axis label."""
    if kind == "raw":
        return np.arange(n_times) / sfreq, "Time (s)"
    return np.fft.rfftfreq(n_times, 1 / sfreq), "Frequency (Hz)"


# -------------------------------------------------------------------------------------------- sound


def spectrogram(seconds, *, kind="mel"):
    """Power spectrograms of sounds, by librosa with the published settings.

    Parameters
    ----------
    seconds : np.ndarray [shape=(n, n_samples)]
        Sound at 22 050 Hz.
    kind : {"mel", "linear"}

    Returns
    -------
    np.ndarray [shape=(n, n_frames, 128 or 1025)], float32
        Power; one second gives 44 frames.
    """
    import librosa

    if kind not in ("mel", "linear"):
        raise _unknown("power spectrogram", kind, ("mel", "linear"))
    seconds = np.asarray(seconds, np.float32)
    if seconds.ndim != 2 or seconds.shape[1] < N_FFT // 2:
        raise ParameterError(
            f"spectrogram expects sounds of shape (n, n_samples >= {N_FFT // 2}); found {seconds.shape}. "
            "Give one sound as y[None]."
        )
    out = []
    for i in range(0, len(seconds), 32):  # bounds the memory of the complex transform
        transform = librosa.stft(seconds[i : i + 32], n_fft=N_FFT, hop_length=HOP_LENGTH)
        power = transform.real**2 + transform.imag**2  # (n, 1025, n_frames)
        if kind == "mel":
            power = np.einsum("mf,nft->nmt", mel_basis(), power, optimize=True)
        out.append(np.ascontiguousarray(power.swapaxes(1, 2), np.float32))
    return np.concatenate(out)


def mel_basis():
    """librosa's 128 mel filters at 22 050 Hz, fmin 0, fmax 11 025 Hz: ``(128, 1025)``, float32."""
    import librosa

    return librosa.filters.mel(sr=SR, n_fft=N_FFT, n_mels=N_MELS, fmin=0.0, fmax=SR / 2)


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
    kind : {"mel", "mel-db", "linear", "linear-db"}
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
    _check_kind(kind)
    if not max_db > 0:
        raise ParameterError(f"max_db must be positive; found {max_db}. The paper uses 100.")
    values = np.asarray(power_or_db, np.float32)
    if kind.endswith("-db"):
        return np.clip((values - np.float32(ref_db) + np.float32(max_db)) / np.float32(max_db), 0, 1)
    return values / np.float32(10 ** (ref_db / 20))


def denormalise(picture, *, kind="mel-db", ref_db=REF_DB, max_db=MAX_DB):
    """The exact inverse of `normalise` inside its range: equation 1 of EEG2Mel for decibels, power for the others."""
    _check_kind(kind)
    picture = np.asarray(picture, np.float32)
    if kind.endswith("-db"):
        return np.clip(picture, 0, 1) * np.float32(max_db) - np.float32(max_db) + np.float32(ref_db)
    return np.maximum(picture, 0) * np.float32(10 ** (ref_db / 20))


def default_ref_db(kind):
    """The level of 1.0 for a kind of spectrogram: 46 dB for mel (published), 66 dB for linear (our choice)."""
    _check_kind(kind)
    return REF_DB_LINEAR if kind.startswith("linear") else REF_DB


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


# ------------------------------------------------------------------------------------------ windows


@dataclass(frozen=True)
class Windows:
    """One-second windows of a store: a table, EEG pictures on disk, and one spectrogram per stimulus second.

    Attributes
    ----------
    table : pd.DataFrame
        One row a window: recording, subject, stimulus, condition, repeat, session, second.
    eeg : np.ndarray [shape=(n, n_rows, n_channels)], float32, memory-mapped
        EEG pictures; µV (raw) or µV²/Hz (spectra).
    sounds : dict of np.ndarray [shape=(n_seconds, 44, n_bins)], float32, memory-mapped
        Spectrogram of each stimulus, once, however many listeners heard it: decibels or power.
    settings : dict
        What made them: eeg, audio, condition, tmin, tmax, ref_db, max_db, sfreq, ch_names.
    """

    table: pd.DataFrame
    eeg: np.ndarray
    sounds: dict[str, np.ndarray]
    settings: dict = field(repr=False)

    def __len__(self):
        return len(self.table)

    @property
    def in_shape(self):
        """Shape of one EEG picture."""
        return tuple(self.eeg.shape[1:])

    @property
    def out_shape(self):
        """Shape of one spectrogram."""
        return tuple(next(iter(self.sounds.values())).shape[1:])

    @property
    def songs(self):
        """Stimulus names, sorted: the classes of song identification."""
        return sorted(self.table["stimulus"].unique())

    def target(self, index):
        """Normalised spectrograms of the windows `index`: ``(len(index), 44, n_bins)``, float32, looked up by second."""
        index = np.asarray(index)
        out = np.empty((len(index), *self.out_shape), np.float32)
        stimuli = self.table["stimulus"].to_numpy()[index]
        seconds = self.table["second"].to_numpy()[index]
        for stimulus in np.unique(stimuli):
            here = stimuli == stimulus
            out[here] = self.picture(stimulus, seconds[here])
        return out

    def picture(self, stimulus, seconds):
        """Normalised spectrograms of a stimulus at whole `seconds`: ``(len(seconds), 44, n_bins)``."""
        ref_db = ref_db_of(self.settings["ref_db"], stimulus)
        return normalise(
            self.sounds[stimulus][np.asarray(seconds)],
            kind=self.settings["audio"],
            ref_db=ref_db,
            max_db=self.settings["max_db"],
        )


def windows(
    store: Store,
    *,
    eeg="periodogram",
    audio="mel-db",
    condition="listening",
    tmin=0.0,
    tmax=None,
    ref_db=None,
    max_db=MAX_DB,
    cache=None,
):
    """Cut a store into one-second windows with their EEG pictures and spectrograms.

    Results are cached under the hash of what made them, in ``<store>/cache`` (or `cache`, or the folder that the
    environment variable ``EEGVIZ_CACHE`` names); memory does not grow with the number of listeners.

    Parameters
    ----------
    store : Store
    eeg : {"raw", "periodogram", "welch"}
    audio : {"mel", "mel-db", "linear", "linear-db"}
    condition : str
        Recordings of this condition; several separated by commas.
    tmin, tmax : float
        Seconds of the stimulus; EEG2Mel uses the first 240 s, its replication 270 s.
    ref_db : float or dict, optional
        Level of 1.0 in the pictures, one for all or one per stimulus; see `default_ref_db`.
    max_db : float
    cache : path, optional

    Returns
    -------
    Windows

    Raises
    ------
    ParameterError
        An unknown kind, a condition without recordings, or an empty range of time.
    DataError
        Recordings that cannot stand in one table: different rates or channels.
    """
    if eeg not in EEG_KINDS:
        raise _unknown("EEG features", eeg, EEG_KINDS)
    _check_kind(audio)
    rows = _recordings(store, condition)
    sfreq, ch_names = _common_layout(store, rows)
    table = _table(store, rows, tmin, tmax)
    # a number stays a number; a table is cut to the stimuli at hand
    ref_db = default_ref_db(audio) if ref_db is None else ref_db
    refs = {s: ref_db_of(ref_db, s) for s in sorted(table["stimulus"].unique())}
    settings = {
        "eeg": eeg, "audio": audio, "condition": condition, "tmin": tmin, "tmax": tmax,
        "ref_db": refs, "max_db": float(max_db), "sfreq": sfreq, "ch_names": ch_names,
    }  # fmt: skip
    folder = Path(cache or os.environ.get("EEGVIZ_CACHE") or store.path / CACHE)
    pictures = _cached_eeg(store, table, eeg, sfreq, folder)
    sounds = {s: _cached_sound(store, s, audio, folder) for s in refs}
    return Windows(table, pictures, sounds, settings)


def sound_seconds(store: Store, stimulus):
    """A stimulus cut into whole seconds at 22 050 Hz: ``(n_seconds, 22050)``, float32."""
    sound, sr = store.audio(stimulus)
    if sr != SR:
        raise DataError(
            f"{store.path}: the sound of {stimulus} has {sr} Hz, expected {SR} Hz. Ingest the store again."
        )
    n = len(sound) // SR
    return sound[: n * SR].reshape(n, SR)


def _recordings(store, condition):
    rows = store.recordings
    wanted = [c.strip() for c in condition.split(",")]
    known = sorted(rows["condition"].unique())
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ParameterError(
            f"{store.path} has no recordings of condition {', '.join(unknown)}; it has {', '.join(known)}. "
            "Choose with condition= or --condition."
        )
    rows = rows[rows["condition"].isin(wanted) & (rows["stimulus"] != "")]
    if rows.empty:
        raise ParameterError(
            f"{store.path}: no recording of condition {condition!r} has a stimulus, so there is no sound to "
            "reconstruct. Choose another condition."
        )
    return rows


def _common_layout(store, rows):
    rates = sorted(rows["sfreq"].unique())
    if len(rates) > 1:
        raise DataError(
            f"{store.path}: recordings have different rates ({', '.join(f'{r:g} Hz' for r in rates)}), expected one. "
            "Choose recordings of one kind with --condition, or resample before ingesting."
        )
    names = {}
    for recording in rows["recording"]:
        names.setdefault(tuple(store.ch_names(recording)), recording)
    if len(names) > 1:
        (a, first), (b, second) = list(names.items())[:2]
        odd = sorted(set(a) ^ set(b)) or ["the same names in another order"]
        raise DataError(
            f"{store.path}: recordings {first} ({len(a)} channels) and {second} ({len(b)}) have different channels "
            f"({', '.join(odd[:8])}). Choose recordings of one kind with --condition."
        )
    return float(rates[0]), list(next(iter(names)))


def _table(store, rows, tmin, tmax):
    duration = dict(zip(store.stimuli["stimulus"], store.stimuli["duration"], strict=True))
    parts = []
    for row in rows.to_dict("records"):
        end = min(row["start"] + row["n_times"] / row["sfreq"], duration[row["stimulus"]], tmax or math.inf)
        first, last = math.ceil(max(row["start"], tmin)), math.floor(end + 1e-6)
        seconds = np.arange(first, max(first, last))
        part = pd.DataFrame({"second": seconds})
        for column in TABLE_COLUMNS[:-1]:
            part[column] = row[column]
        parts.append(part[TABLE_COLUMNS])
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise ParameterError(
            f"{store.path}: no whole second lies between tmin={tmin:g} and tmax={tmax if tmax is None else f'{tmax:g}'}; "
            f"the longest stimulus has {max(duration.values()):.1f} s. Choose another range."
        )
    return table


def _cached_eeg(store, table, kind, sfreq, folder):
    seconds = table.groupby("recording", sort=False)["second"].agg(["min", "max"]).to_dict("index")
    made_of = {"format": _FORMAT, "store": store.fingerprint, "eeg": kind, "seconds": seconds}
    path = folder / f"eeg-{kind}-{_hash(made_of)}.npy"
    if not path.exists():
        n_times = int(round(sfreq))

        def blocks():
            for recording in table["recording"].unique():
                yield _recording_pictures(store, recording, seconds[recording], kind, sfreq, n_times)

        n_rows = n_times if kind == "raw" else n_times // 2 + 1
        shape = (len(table), n_rows, len(store.ch_names(table["recording"].iloc[0])))
        write_npy(path, shape, blocks())
    return np.load(path, mmap_mode="r")


def _recording_pictures(store, recording, span, kind, sfreq, n_times):
    row = store.row(recording)
    signal = store.eeg(recording)
    if store.bads(recording):
        signal = _repaired(store, recording)
    first = [int(round((second - row["start"]) * sfreq)) for second in range(span["min"], span["max"] + 1)]
    cut = np.stack([signal[:, i : i + n_times] for i in first])  # (n, n_channels, n_times) volts
    return eeg_picture(cut * np.float32(MICROVOLT), kind=kind, sfreq=sfreq)


def _repaired(store, recording):
    """EEG in volts with the bad channels interpolated on the sphere, or silent where no positions are known."""
    if store.montage is None:
        signal = np.array(store.eeg(recording))
        bad = np.isin(store.ch_names(recording), store.bads(recording))
        signal[bad] = 0
        return signal
    raw_ = store.raw(recording)
    raw_.interpolate_bads(verbose="error")
    return raw_.get_data().astype(np.float32)


def _cached_sound(store, stimulus, kind, folder):
    made_of = {"format": _FORMAT, "sound": store.manifest["files"][f"audio/{stimulus}.flac"]["sha256"], "audio": kind}
    path = folder / f"sound-{kind}-{_hash(made_of)}.npy"
    if not path.exists():
        seconds = sound_seconds(store, stimulus)
        base = kind.removesuffix("-db")

        def blocks():
            for i in range(0, len(seconds), 32):
                power = spectrogram(seconds[i : i + 32], kind=base)
                yield to_db(power).astype(np.float32) if kind.endswith("-db") else power

        write_npy(path, (len(seconds), N_FRAMES, N_MELS if base == "mel" else N_LINEAR), blocks())
    return np.load(path, mmap_mode="r")


def write_npy(path, shape, blocks):
    """Write float32 blocks one after another as one .npy, through a temporary name beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    try:
        needed, free = 4 * math.prod(shape), shutil.disk_usage(path.parent).free
        if needed > free:
            raise DataError(
                f"{path.parent}: the features need {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free. "
                "Free some space, or name another folder in EEGVIZ_CACHE."
            )
        written = 0
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                block = np.ascontiguousarray(block, np.float32)
                written += len(block)
                file.write(block.data)
            file.flush()
            os.fsync(file.fileno())
        if written != shape[0]:
            raise DataError(f"{path}: expected {shape[0]} windows, made {written}. Check the store with eegviz info --verify.")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _power_into(out, block, nfft, weights):
    spectrum = scipy.fft.rfft(block, nfft)
    parts = spectrum.view(np.float32)
    np.square(parts, out=parts)
    power = parts[..., ::2] + parts[..., 1::2]  # (n, n_channels, n_freqs)
    np.multiply(power.swapaxes(-1, -2), weights[:, None].astype(np.float32), out=out)


def _one_sided(nfft):
    """Twice every frequency that has a mirror image: all but 0 Hz and, for an even length, Nyquist."""
    weights = np.full(nfft // 2 + 1, 2.0)
    weights[0] = 1
    if nfft % 2 == 0:
        weights[-1] = 1
    return weights


def _check_eeg(eeg, sfreq=None):
    eeg = np.asarray(eeg)
    if eeg.ndim != 3:
        raise ParameterError(
            f"expected EEG windows of shape (n, n_channels, n_times); found {eeg.shape}. Give one window as eeg[None]."
        )
    if sfreq is not None and not sfreq > 0:
        raise ParameterError(f"sfreq must be positive, in hertz; found {sfreq}.")
    return eeg


def _check_kind(kind):
    if kind not in AUDIO_KINDS:
        raise _unknown("audio features", kind, AUDIO_KINDS)


def _unknown(what, name, known):
    return ParameterError(f"unknown {what} {name!r}; known are {', '.join(known)}.")


def _hash(made_of):
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:16]
