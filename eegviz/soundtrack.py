"""The sound of a video made ready: taken out of it, vocals and reverberation separated, harmonic part kept.

The work on emotional music from EEG (https://doi.org/10.3389/fnbot.2024.1437737) separates the music from the stimulus
videos, isolates "the reverberation components" and separates "vocals from background rhythmic music", and says neither
how nor with what. The methods here are published ones and **our choice**; every number is a parameter:

- **vocals**: what repeats is accompaniment, what does not is voice: REPET-SIM (Rafii and Pardo 2012, ISMIR) by
  librosa's nearest-neighbour filter, with a soft mask. It separates any non-repeating melody, sung or not.
- **harmonic and percussive**: median filtering of the spectrogram (Fitzgerald 2010, DAFx), librosa.
- **reverberation**: spectral subtraction of the late reverberation (Lebart, Boucher and Denbigh 2001, Acta Acustica 87,
  359-366): what decays as a room of a given reverberation time does is taken off. The reverberation time is given, not
  estimated.

Conventions: a sound is mono ``(n,)`` at ``sr`` hertz; every part has the length of the whole, float32. Whether a step
helps a decoder is for the comparison to show: none is done unless it is asked for.

Functions: `prepare` (all steps), `separate_vocals`, `harmonic_and_percussive`, `dereverberate`, `extract` (a video's
sound through ffmpeg), `check_options`.
"""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np

from eegviz.errors import DataError, MissingDependencyError, ParameterError

VIDEO_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
VOCALS = ("keep", "remove", "only")
N_FFT, HOP = 2048, 512  # samples of the spectrograms
T60 = 0.6  # seconds in which reverberation falls by 60 dB; our choice, an ordinary room
EARLY = 0.05  # seconds after which reflections count as late (the usual border of early reflections)
FLOOR = 0.1  # smallest gain of a bin (-20 dB), against musical noise; our choice
EXTRACT_TIMEOUT = 300.0  # seconds for one video


def prepare(sound, sr, *, vocals="keep", harmonic=False, dereverberate=False):
    """Do what is asked for, in this order: reverberation, vocals, harmonic part.

    Parameters
    ----------
    sound : np.ndarray [shape=(n,)]
    sr : int
        Hertz.
    vocals : {"keep", "remove", "only"}
        What to do with what does not repeat, see `separate_vocals`.
    harmonic : bool
        Keep the harmonic part alone, see `harmonic_and_percussive`.
    dereverberate : bool or float
        Take off late reverberation, see `dereverberate`; a number is the reverberation time in seconds, True is .6.

    Returns
    -------
    prepared : np.ndarray, float32 [shape=(n,)]
        The sound itself when nothing was asked for. Divided by its peak where that exceeds 1.

    Raises
    ------
    ParameterError
        For an unknown option, or a sound that is not mono or shorter than a spectrogram's window.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=22050).astype(np.float32) * 0.1
    >>> bool(np.array_equal(prepare(noise, 22050), noise))
    True
    >>> prepare(noise, 22050, harmonic=True).shape
    (22050,)
    """
    check_options(vocals=vocals, harmonic=harmonic, dereverberate=dereverberate)
    y = _checked(sound, sr)
    if dereverberate:
        y = _dry(y, sr, t60=T60 if dereverberate is True else float(dereverberate), early=EARLY, floor=FLOOR)
    if vocals != "keep":
        y = separate_vocals(y, sr)[vocals == "remove"]
    if harmonic:
        y = harmonic_and_percussive(y, sr)[0]
    peak = float(np.max(np.abs(y)))
    return y / np.float32(peak) if peak > 1 else y


def check_options(*, vocals="keep", harmonic=False, dereverberate=False):
    """Refuse options that `prepare` does not know; return them as text for a table.

    Examples
    --------
    >>> check_options(vocals="remove", harmonic=True)
    'vocals removed, harmonic part'
    >>> check_options()
    ''
    """
    if vocals not in VOCALS:
        raise ParameterError(f"vocals={vocals!r}: expected one of {', '.join(VOCALS)}")
    if not isinstance(harmonic, bool):
        raise ParameterError(f"harmonic={harmonic!r}: expected true or false")
    if not isinstance(dereverberate, bool):
        _check_t60(dereverberate)
    said = []
    if dereverberate:
        said.append(f"late reverberation of {T60 if dereverberate is True else dereverberate:g} s taken off")
    said += {"keep": [], "remove": ["vocals removed"], "only": ["vocals alone"]}[vocals]
    said += ["harmonic part"] if harmonic else []
    return ", ".join(said)


def separate_vocals(sound, sr, *, width=2.0, margin=2.0, power=2.0):
    """Separate what does not repeat (voice) from what does (accompaniment).

    Each moment of the spectrogram is compared with moments that are like it and at least ``width`` seconds away; their
    median is what repeats. What exceeds it by ``margin`` is voice, through a soft mask.

    Parameters
    ----------
    sound : np.ndarray [shape=(n,)]
    sr : int
    width : float
        Seconds around a moment that are not compared with it (librosa's example: 2).
    margin : float
        How many times what repeats the rest must be to count as voice; ours, between the 2 and 10 of that example.
    power : float
        Of the soft mask.

    Returns
    -------
    vocals, accompaniment : np.ndarray, float32 [shape=(n,)]
        They add up to the sound.

    Raises
    ------
    ParameterError
        When the sound is not mono or lasts less than twice ``width``.

    Notes
    -----
    Rafii, Z. and Pardo, B. (2012), Music/voice separation using the similarity matrix, ISMIR; the steps are those of
    librosa's example "Vocal separation".

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=5 * 22050).astype(np.float32) * 0.1
    >>> vocals, rest = separate_vocals(noise, 22050)
    >>> bool(np.allclose(vocals + rest, noise, atol=1e-6))
    True
    """
    import librosa

    y = _checked(sound, sr)
    if not (width > 0 and margin > 0 and power > 0):
        raise ParameterError(f"width={width}, margin={margin}, power={power}: expected numbers above 0")
    if len(y) < 2 * width * sr:
        raise ParameterError(
            f"separate_vocals: {len(y) / sr:.2f} s of sound, expected {2 * width:g} s or more, for each moment is "
            f"compared with others {width:g} s away; give a longer sound or a smaller width"
        )
    spectrum = librosa.stft(y, n_fft=N_FFT, hop_length=HOP)
    whole = np.abs(spectrum)
    if not whole.any():
        return np.zeros_like(y), y
    apart = max(1, int(librosa.time_to_frames(width, sr=sr, hop_length=HOP)))
    apart = min(apart, (whole.shape[1] - 1) // 2)
    # silent moments are like nothing, which the cosine does not define: a floor far below hearing makes them alike
    like = np.maximum(whole, 1e-7 * float(whole.max()))
    repeating = librosa.decompose.nn_filter(like, aggregate=np.median, metric="cosine", width=apart)
    repeating = np.minimum(whole, repeating)
    mask = librosa.util.softmask(whole - repeating, margin * repeating, power=power)
    vocals = librosa.istft(spectrum * mask, hop_length=HOP, length=len(y)).astype(np.float32)
    return vocals, y - vocals


def harmonic_and_percussive(sound, sr, *, margin=1.0):
    """Separate tones (smooth in time) from clicks (smooth in frequency).

    Parameters
    ----------
    sound : np.ndarray [shape=(n,)]
    sr : int
    margin : float
        1 or more; above 1 a rest belongs to neither part.

    Returns
    -------
    harmonic, percussive : np.ndarray, float32 [shape=(n,)]
        With ``margin=1`` they add up to the sound.

    Notes
    -----
    Fitzgerald, D. (2010), Harmonic/percussive separation using median filtering, DAFx; `librosa.decompose.hpss`.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050).astype(np.float32)
    >>> harmonic, percussive = harmonic_and_percussive(tone, 22050)
    >>> bool(np.mean(harmonic**2) > 100 * np.mean(percussive**2))
    True
    """
    import librosa

    y = _checked(sound, sr)
    if not margin >= 1:
        raise ParameterError(f"margin={margin!r}: expected 1 or more")
    spectrum = librosa.stft(y, n_fft=N_FFT, hop_length=HOP)
    parts = librosa.decompose.hpss(spectrum, margin=margin)
    return tuple(librosa.istft(part, hop_length=HOP, length=len(y)).astype(np.float32) for part in parts)


def dereverberate(sound, sr, *, t60=T60, early=EARLY, floor=FLOOR):
    """Take off late reverberation by spectral subtraction.

    A room that loses 60 dB in ``t60`` seconds leaves, of the power P of a moment, exp(-2 δ T) after T seconds, with
    δ = 3 ln 10 / t60. So that part of the power T = ``early`` seconds ago is the estimate R of the late reverberation
    now, and each bin is multiplied by the gain max(1 - √(R / P), ``floor``).

    Parameters
    ----------
    sound : np.ndarray [shape=(n,)]
    sr : int
    t60 : float
        Reverberation time in seconds, .05 to 20.
    early : float
        Seconds after a sound that are kept, .01 to .5. Rounded to whole hops of 512 samples.
    floor : float
        Smallest gain, 0 to 1.

    Returns
    -------
    dry : np.ndarray, float32 [shape=(n,)]

    Notes
    -----
    Lebart, K., Boucher, J. M. and Denbigh, P. N. (2001), A new method based on spectral subtraction for speech
    dereverberation, Acta Acustica united with Acustica 87, 359-366. A steady tone is lowered too, by the same gain
    1 - exp(-δ T) all along: the method hears no difference between a held note and its echo.

    Examples
    --------
    >>> decaying = 10 ** (-3 * np.arange(22050) / 22050 / 0.6) * np.random.default_rng(0).normal(size=22050)
    >>> dry = dereverberate(decaying, 22050)
    >>> late = slice(11025, None)
    >>> bool(np.mean(dry[late] ** 2) < 0.2 * np.mean(decaying[late] ** 2))
    True
    """
    y = _checked(sound, sr)
    _check_t60(t60)
    if not (0.01 <= early <= 0.5 and 0 <= floor <= 1):
        raise ParameterError(f"early={early!r}, floor={floor!r}: expected .01 to .5 s and a gain from 0 to 1")
    return _dry(y, sr, t60=t60, early=early, floor=floor)


def extract(video, out, *, timeout=EXTRACT_TIMEOUT, ffmpeg=None):
    """Write the first sound track of a video as a WAV file (16 bit), through ffmpeg.

    Parameters
    ----------
    video : str or Path
        A file on this computer.
    out : str or Path
        WAV file to write.
    timeout : float
        Seconds after which ffmpeg is stopped.
    ffmpeg : str or Path, optional
        The program; looked for on the search path when not given.

    Returns
    -------
    out : Path

    Raises
    ------
    MissingDependencyError
        When ffmpeg is not installed.
    DataError
        When there is no such file, no sound in it, or ffmpeg does not finish.
    """
    video, out = Path(video), Path(out)
    if not video.is_file():
        raise DataError(f"{video}: expected a video file, found {'a folder' if video.is_dir() else 'nothing'}")
    program = find_ffmpeg(video.name) if ffmpeg is None else str(ffmpeg)
    command = [
        program, "-nostdin", "-v", "error", "-y", "-protocol_whitelist", "file", "-i", f"file:{video.resolve()}",
        "-map", "0:a:0", "-vn", "-c:a", "pcm_s16le", "-f", "wav", f"file:{out.resolve()}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"{video}: ffmpeg did not finish within {timeout:g} s; convert the file by hand to {video.stem}.wav"
        ) from error
    except OSError as error:
        raise MissingDependencyError(f"{program}: expected the program ffmpeg, found: {error.strerror}") from error
    if done.returncode or not out.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines()
        text = "".join(letter for letter in (said[-1] if said else "") if letter.isprintable())[:200]
        raise DataError(
            f"{video}: expected a video with sound, found: ffmpeg ended with code {done.returncode} "
            f"{f'({text})' if text else ''}; convert it by hand to {video.stem}.wav, or leave it out"
        )
    return out


def find_ffmpeg(video="a video"):
    """Return where ffmpeg lies.

    Raises
    ------
    MissingDependencyError
        When it is not installed.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise MissingDependencyError(
            f"the sound of {video} is taken out by the program ffmpeg, which is not installed: install it (Debian and "
            "Ubuntu: apt install ffmpeg; conda install ffmpeg; https://ffmpeg.org), or convert the video to a .wav, .flac "
            "or .mp3 of the same name"
        )
    return program


def _dry(y, sr, *, t60, early, floor):
    import librosa

    spectrum = librosa.stft(y, n_fft=N_FFT, hop_length=HOP)
    delay = max(1, round(early * sr / HOP))
    power = np.square(np.abs(spectrum))
    # the power of single frames jumps about: both sides are the mean of as many frames as the delay has
    power = np.stack([_moving_mean(row, delay) for row in power])
    late = np.zeros_like(power)
    late[:, delay:] = power[:, :-delay] * math.exp(-6 * math.log(10) / t60 * delay * HOP / sr)
    gain = 1 - np.sqrt(late / np.maximum(power, np.finfo(np.float32).tiny))
    gain = np.maximum(gain, floor)
    return librosa.istft(spectrum * gain, hop_length=HOP, length=len(y)).astype(np.float32)


def _moving_mean(row, width):
    """Mean of the last ``width`` values, fewer at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(row, dtype=float)])
    start = np.maximum(np.arange(len(row)) + 1 - width, 0)
    stop = np.arange(len(row)) + 1
    return np.maximum((total[stop] - total[start]) / (stop - start), 0)


def _checked(sound, sr):
    y = np.asarray(sound)
    if y.ndim != 1 or y.dtype.kind != "f" or len(y) < N_FFT:
        raise ParameterError(
            f"expected a mono sound (n,) of floats with n ≥ {N_FFT}, found {y.dtype} of shape {y.shape}"
        )
    if not (np.isfinite(sr) and sr > 0):
        raise ParameterError(f"sr={sr!r}: expected hertz above 0")
    if not np.isfinite(y).all():
        raise DataError("the sound holds NaN or infinite samples; export it again")
    return y.astype(np.float32, copy=False)


def _check_t60(t60):
    if isinstance(t60, bool) or not isinstance(t60, int | float) or not 0.05 <= t60 <= 20:
        raise ParameterError(f"dereverberate={t60!r}: expected true, false or a reverberation time of .05 to 20 s")
