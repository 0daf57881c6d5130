"""Trials of real EEG in a small research format, one file a listener, for checks of decoders.

A folder holds ``<listener>.npz`` files, each with ``eeg`` (n_trials, n_times, n_channels) in microvolts, ``envelope``
(n_times, 1) or (n_times,), the amplitude envelope of what was heard **in every trial**, and ``sfreq`` in hertz. All
trials share one envelope, so leaving out a trial holds out no stimulus: split by time.

Such data can be made from Fuglsang, Wong & Hjortkjær 2018, "EEG and audio dataset for auditory attention decoding"
(Technical University of Denmark), https://doi.org/10.5281/zenodo.1199011: resample EEG and envelope to 64 Hz, cut
trials, save with ``numpy.savez``. Notebook 11 takes the folder as a parameter.

Functions: `open_trials` (read a folder), `write_store` (turn it into a store, so that splits and models run on it).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from eegviz import store
from eegviz.errors import DataError

NAME = "trials"
TITLE = "Trials of EEG during speech"
LICENCE = "not stated in the files; the source is for research use"
CITATION = (
    "Fuglsang, Wong & Hjortkjær (2018): EEG and audio dataset for auditory attention decoding. "
    "https://doi.org/10.5281/zenodo.1199011"
)
WHERE = "https://doi.org/10.5281/zenodo.1199011"
SR = 22050  # Hz
KEYS = ("eeg", "envelope", "sfreq")


@dataclass(frozen=True, eq=False)
class Trials:
    """Trials of one listener.

    Attributes
    ----------
    name : str
        Of the file.
    eeg : np.ndarray [shape=(n_trials, n_channels, n_times)], float32
        Microvolts.
    envelope : np.ndarray [shape=(n_times,)], float32
        Of the sound, the same in every trial.
    sfreq : float
        Hertz, of both.
    """

    name: str
    eeg: np.ndarray = field(repr=False)
    envelope: np.ndarray = field(repr=False)
    sfreq: float


def open_trials(folder) -> list[Trials]:
    """Read all listeners of a folder, sorted by name.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of Trials

    Raises
    ------
    DataError
        No such folder, no files in it, a file that is none of these, a missing array, shapes that do not match, NaN.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of .npz files, found none. Such data: {WHERE}")
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise DataError(f"{folder}: expected .npz files, one a listener, found none. Such data: {WHERE}")
    return [_read(path) for path in paths]


def write_store(folder, path, *, seed=0, overwrite=False) -> Path:
    """Turn a folder of trials into a store: recordings are trials, ``repeat`` is the trial's number.

    The sound of the store is **noise that carries the envelope**, because the files hold no sound; the manifest says
    so. Listeners whose envelopes are equal to the byte share a stimulus. No electrode positions are known, so channels
    are numbered and there is no montage.

    Parameters
    ----------
    folder : str or Path
    path : str or Path
        Folder to make.
    seed : int
        Of the noise.
    overwrite : bool

    Returns
    -------
    Path
        Of the store.

    Raises
    ------
    DataError
        As `open_trials`.
    """
    found = open_trials(folder)
    about = {
        "sound": "noise that carries the envelope of the speech; the files hold no sound",
        "unit": "taken as microvolts; the files do not say",
    }
    envelopes = {}
    with store.create(
        path, dataset=NAME, title=TITLE, licence=LICENCE, citation=CITATION, montage=None, about=about,
        identity={"source": str(Path(folder).resolve()), "seed": seed}, overwrite=overwrite,
    ) as writer:  # fmt: skip
        for listener in found:
            key = (listener.sfreq, listener.envelope.tobytes())
            stimulus = envelopes.setdefault(key, f"speech{len(envelopes) + 1}")
            if not writer.has_stimulus(stimulus):
                writer.add_stimulus(
                    stimulus, carried(listener.envelope, sfreq=listener.sfreq, seed=seed), sr=SR, title=stimulus
                )
            for number, eeg in enumerate(listener.eeg, start=1):
                recording = f"{listener.name}_t{number:02d}"
                if not writer.has_recording(recording):
                    writer.add_recording(
                        recording, eeg * np.float32(1e-6), subject=listener.name, stimulus=stimulus, repeat=number,
                        sfreq=listener.sfreq, ch_names=[f"EEG{k + 1:03d}" for k in range(len(eeg))],
                    )  # fmt: skip
    return Path(path)


def carried(envelope, *, sfreq, seed=0):
    """White noise at 22 050 Hz that carries an envelope: ``(n_samples,)``, float32, peak .9.

    >>> y = carried(np.array([0.0, 0.0, 1.0, 1.0]), sfreq=2.0)
    >>> y.shape, bool(np.abs(y[:11025]).max() < 1e-6)
    ((44100,), True)
    """
    envelope = np.clip(np.asarray(envelope, float), 0, None)  # resampling leaves values just below zero
    n = int(round(len(envelope) / sfreq * SR))
    time = np.arange(n) / SR
    level = np.interp(time, np.arange(len(envelope)) / sfreq, envelope)
    noise = level * np.random.default_rng(seed).standard_normal(n)
    return (0.9 * noise / max(np.abs(noise).max(), 1e-12)).astype(np.float32)


def _read(path):
    expected = "a .npz file with eeg (n_trials, n_times, n_channels), envelope (n_times, 1) and sfreq"
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise DataError(f"{path}: expected {expected}; found no {', '.join(missing)} among {', '.join(file)}.")
            eeg, envelope, sfreq = (np.asarray(file[key]) for key in KEYS)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: expected {expected}; it cannot be read ({error}). Copy it again.") from error
    envelope = envelope[:, 0] if envelope.ndim == 2 and envelope.shape[1] == 1 else envelope
    if eeg.ndim != 3 or not eeg.size or envelope.ndim != 1 or len(envelope) != eeg.shape[1] or sfreq.size != 1:
        raise DataError(
            f"{path}: expected {expected}; found eeg {eeg.shape}, envelope {envelope.shape}, sfreq {sfreq.shape}."
        )
    if not all(np.issubdtype(a.dtype, np.number) and np.isrealobj(a) for a in (eeg, envelope, sfreq)):
        raise DataError(f"{path}: expected real numbers; found {eeg.dtype}, {envelope.dtype}, {sfreq.dtype}.")
    if not float(sfreq.item()) > 0:
        raise DataError(f"{path}: expected a positive sfreq in hertz, found {sfreq.item()}.")
    for name, values in (("eeg", eeg), ("envelope", envelope)):
        if not np.isfinite(values).all():
            raise DataError(
                f"{path}: expected finite numbers, found NaN or infinity in {name}. Leave these trials out."
            )
    trials = np.ascontiguousarray(eeg.swapaxes(1, 2), np.float32)
    return Trials(path.stem, trials, envelope.astype(np.float32), float(sfreq.item()))
