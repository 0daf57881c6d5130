"""Sound out of the program: files, bytes for players, and level.

Conventions: a sound is mono, ``(n_samples,)``, floating point with full scale ±1; `sr` is its rate in hertz.

Functions: `check_sound_path`, `check_folder`, `write_sound` (a file, whole or not at all), `encode_sound` (bytes in memory),
`match_loudness`, `resample`, `check_rate`.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eegviz.errors import DataError, ParameterError

FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS")}
RATES = (8000, 48000)  # Hz, lowest and highest rate of a clip (our choice: telephone to studio)
PEAK = 0.99  # level that a sound louder than full scale is reduced to
_BLOCK = 65536  # samples a write: libsndfile's Vorbis encoder can overflow the stack on one long buffer


@dataclass(frozen=True)
class Written:
    """What `write_sound` did.

    Attributes
    ----------
    path : Path
    gain_db : float
        0 when the samples were written as given, negative when the level had to be reduced (20·log10 of
        amplitude).
    seconds : float
    """

    path: Path
    gain_db: float
    seconds: float


def check_sound_path(path):
    """The suffix of `path` without its dot, lower case, when it is one that `write_sound` knows.

    Raises
    ------
    ParameterError
        When it is another; the message lists the known ones.

    >>> check_sound_path("song21.WAV")
    'wav'
    """
    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ParameterError(
            f"cannot write sound to {str(path)!r}: expected a name that ends in one of "
            f"{', '.join('.' + name for name in FORMATS)}; found {Path(path).suffix or 'no suffix'!r}."
        )
    return suffix


def check_folder(path):
    """Refuse a file to write whose folder is not there: a misspelt path should not become folders.

    >>> check_folder("no/such/folder/page.html")
    Traceback (most recent call last):
    eegviz.errors.ParameterError: cannot write no/such/folder/page.html: the folder no/such/folder does not exist. Make it first.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise ParameterError(f"cannot write {path}: the folder {folder} does not exist. Make it first.")


def write_sound(path, y, sr):
    """Write a mono sound as WAV, FLAC (both 16 bit) or OGG Vorbis, by the suffix of `path`.

    Nothing is clipped: a sound that exceeds full scale is reduced as a whole to a peak of .99, and the return
    value says by how much. The file appears whole or not at all.

    Parameters
    ----------
    path : path-like
    y : np.ndarray [shape=(n_samples,)]
        Sound, full scale ±1.
    sr : int > 0
        Sampling rate in hertz.

    Returns
    -------
    Written

    Raises
    ------
    ParameterError
        For an unknown suffix, a missing folder, or an array that is not one mono sound.
    DataError
        For NaN or infinite samples.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> written = write_sound(Path(folder.name) / "loud.wav", 1.98 * np.sin(np.arange(22050.0)), 22050)
    >>> written.path.name, round(written.gain_db, 1), written.seconds
    ('loud.wav', -6.0, 1.0)
    >>> folder.cleanup()
    """
    path = Path(path)
    suffix = check_sound_path(path)
    check_folder(path)
    y, gain = _within_full_scale(_check_sound(y, sr))
    data = _encode(y, int(sr), suffix)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp gives 600; a result is as readable as any other file
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return Written(path, 0.0 if gain == 1 else 20 * float(np.log10(gain)), len(y) / int(sr))


def encode_sound(y, sr, *, format="ogg"):
    """Encode a mono sound in memory, for a player in a page: bytes of an OGG, FLAC or WAV file.

    Louder than full scale is reduced as in `write_sound`. WAV and FLAC give the same bytes for the same
    sound; an OGG stream carries a random serial number, so its bytes differ from call to call while the sound
    does not.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,)]
    sr : int > 0
        Hertz.
    format : {"ogg", "flac", "wav"}

    Returns
    -------
    bytes

    >>> encode_sound(np.zeros(22050), 22050)[:4], encode_sound(np.zeros(22050), 22050, format="wav")[:4]
    (b'OggS', b'RIFF')
    """
    if format not in FORMATS:
        raise ParameterError(f"unknown sound format {format!r}; known: {', '.join(FORMATS)}.")
    return _encode(_within_full_scale(_check_sound(y, sr))[0], int(sr), format)


def match_loudness(y, reference, *, max_gain_db=40.0, peak=PEAK):
    """Scale `y` to the root-mean-square level of `reference`: a comparison by ear is then not one of loudness.

    Parameters
    ----------
    y, reference : np.ndarray [shape=(n_samples,)]
        Two sounds; their lengths may differ.
    max_gain_db : float >= 0
        The level changes by at most this much in either direction (our choice).
    peak : float > 0
        The result's largest sample is at most this, even where the levels then stay apart.

    Returns
    -------
    np.ndarray [shape=(n_samples,)], float32
        A silent `y` stays silent; beside a silent `reference` the level is left as it is, except for `peak`.

    Examples
    --------
    >>> y = match_loudness(np.array([0.1, -0.1]), np.array([0.5, -0.5]))
    >>> y.round(3).tolist()
    [0.5, -0.5]
    """
    y, reference = _check_sound(y), _check_sound(reference)
    if not (max_gain_db >= 0 and peak > 0):
        raise ParameterError(f"expected max_gain_db >= 0 and peak > 0; found {max_gain_db} and {peak}.")
    level, wanted = (float(np.sqrt(np.mean(np.square(s, dtype=np.float64)))) for s in (y, reference))
    if level == 0:
        return y.copy()
    limit = 10 ** (max_gain_db / 20)
    gain = float(np.clip(wanted / level, 1 / limit, limit)) if wanted > 0 else 1.0
    return y * np.float32(min(gain, peak / float(np.abs(y).max())))


def check_rate(sr):
    """`sr` as an int, or a refusal: a rate is a whole number of hertz in `RATES`."""
    low, high = RATES
    if not (low <= sr <= high and int(sr) == sr):
        raise ParameterError(
            f"sr must be a whole number of hertz from {low} to {high}; found {sr!r}. The demo page's clips have 16000, "
            "spectrograms here 22050."
        )
    return int(sr)


def resample(y, sr, *, to):
    """A sound at another rate, with soxr's HQ filter, of exactly ``round(len(y) * to / sr)`` samples.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,)]
    sr, to : int
        Rate of the sound, and the wanted one, in hertz.

    Returns
    -------
    np.ndarray, float32

    Raises
    ------
    ParameterError
        A rate outside `RATES`.

    Examples
    --------
    >>> resample(np.zeros(22050), 22050, to=16000).shape
    (16000,)
    """
    y, to = _check_sound(y, sr), check_rate(to)
    if to == sr:
        return y
    import soxr

    made = soxr.resample(y, sr, to, quality="HQ")
    n = round(len(y) * to / sr)
    return np.pad(made[:n], (0, max(0, n - len(made))))


def _check_sound(y, sr=1):
    y = np.asarray(y)
    if y.ndim != 1 or not len(y) or y.dtype.kind not in "fiu":
        hint = " Channels? Average them first." if y.ndim == 2 else ""
        raise ParameterError(f"expected one mono sound of shape (n_samples,); found {y.dtype} {y.shape}.{hint}")
    if y.dtype.kind != "f":
        raise ParameterError(f"expected floating point samples, full scale ±1; found {y.dtype}. Divide integers first.")
    if not (sr > 0 and int(sr) == sr):
        raise ParameterError(f"sr must be a positive whole number of hertz; found {sr!r}.")
    bad = int(len(y) - np.isfinite(y).sum())
    if bad:
        raise DataError(f"the sound holds {bad} samples of {len(y)} that are NaN or infinite; nothing was written.")
    return y.astype(np.float32, copy=False)


def _within_full_scale(y):
    """The sound, reduced to `PEAK` if any sample exceeds full scale, and the gain that did it."""
    largest = float(np.abs(y).max())
    if largest <= 1:
        return y, 1.0
    gain = PEAK / largest
    return y * np.float32(gain), gain


def _encode(y, sr, name):
    import soundfile

    kind, subtype = FORMATS[name]
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", samplerate=sr, channels=1, format=kind, subtype=subtype) as file:
        for start in range(0, len(y), _BLOCK):
            block = y[start : start + _BLOCK]
            if subtype == "PCM_16":  # rounded here: libsndfile cuts the fraction off in WAV
                block = np.clip(np.rint(block * np.float32(32768)), -32768, 32767).astype(np.int16)
            file.write(block)
    return stream.getvalue()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
