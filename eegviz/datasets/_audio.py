"""The sound of a stimulus: find the user's file, read it as mono at one rate, line it up with the EEG.

Commercial music is never distributed with EEG, so the user's file may be another edition: with a lead-in, or of
another length. Lengths that differ by up to ``max_mismatch`` seconds are cropped to the shorter, with a warning;
beyond that the stimulus is refused, because nobody can tell which part the listeners heard.

Functions: :class:`Library` (find), :func:`duration`, :func:`read`, :func:`read_offsets`, :func:`align`.
"""

import math
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError

SR = 22050  # Hz, the rate of every stimulus in a store
EXTENSIONS = (".wav", ".flac", ".aiff", ".aif", ".ogg", ".opus", ".mp3")  # the first found wins
MAX_MISMATCH = 2.0  # seconds
BLOCK = 2**18  # samples read at once
TOLERANCE = 0.05  # seconds by which lengths may differ without a word
MAX_OVERSHOOT = 16.0  # a decoded peak beyond this is a damaged file, not a loud one

NOT_DISTRIBUTED = "the sound is not distributed with the data set: get it, name it so and pass its folder as --audio"


class Library:
    """The sound files below a folder, found by name without regard to case, accents and kind of dash.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    DataError
        When the folder does not exist.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            found = "a file" if self.folder.exists() else "nothing"
            raise DataError(f"--audio {folder}: expected a folder of sound files, found {found}")
        self._files = {}
        for file in sorted(self.folder.rglob("*")):
            if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file():
                self._files.setdefault(_plain(file.stem), []).append(file)

    def __len__(self):
        return sum(map(len, self._files.values()))

    def matching(self, pattern):
        """Return (path, match) of the files whose stem matches a regular expression, sorted by path."""
        found = []
        for file in sorted(file for files in self._files.values() for file in files):
            if match := re.fullmatch(pattern, file.stem, flags=re.IGNORECASE):
                found.append((file, match))
        return found

    def find_any(self, names, *, more=()):
        """Return the sound file of one of these names, else a file of one of them that ends as in ``more``, or None."""
        for name in names:
            if files := self._files.get(_plain(name)):
                return min(files, key=_preference)
        wanted = {_plain(name): place for place, name in reversed(list(enumerate(names)))}
        others = [
            (wanted[_plain(file.stem)], more.index(file.suffix.lower()), len(file.parts), file)
            for file in (self.folder.rglob("*") if more else ())
            if file.suffix.lower() in more and _plain(file.stem) in wanted and file.is_file()
        ]
        return min(others)[-1] if others else None

    def find(self, names, *, advice=NOT_DISTRIBUTED):
        """Return the file whose stem is the first of ``names`` that exists; ``advice`` ends the message when none does.

        Raises
        ------
        DataError
            When there is none.
        """
        if (file := self.find_any(names)) is not None:
            return file
        have = ", ".join(file.name for files in list(self._files.values())[:4] for file in files)
        raise DataError(
            f"{self.folder}: expected a sound file named {' or '.join(f'{name}.wav' for name in names)} "
            f"({', '.join(kind[1:] for kind in EXTENSIONS)}), found {len(self)} sound files"
            f"{f' ({have} …)' if have else ''}; {advice}"
        )


def duration(path):
    """Return the length of a sound file in seconds, as its header states it."""
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(_unreadable(path, error)) from error
    if not info.frames or not info.samplerate:
        raise DataError(f"{path}: expected a sound, found an empty one; copy or export it again")
    return info.frames / info.samplerate


def read(path, *, sr=SR, lead_in=0.0, channel=None):
    """Read a sound file as mono.

    Parameters
    ----------
    path : str or Path
    sr : int
        Rate to convert to (once, with soxr's HQ filter).
    lead_in : float
        Seconds to cut from the beginning.
    channel : int, optional
        Take this channel (0 = left, 1 = right) alone.

    Returns
    -------
    y : ndarray, float32 [shape=(n,)]
        The channel, or the mean of all. Where decoding or the filter overshot 1, the whole is divided by its peak.

    Raises
    ------
    DataError
        When it is damaged, shorter than its header says, silent or holds values that are not finite.
    """
    import soundfile
    import soxr

    stated = duration(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            if channel is not None and not channel < file.channels:
                raise DataError(
                    f"{path}: expected {channel + 1} channels, found {file.channels}; use the original file"
                )
            rate, skip = file.samplerate, round(lead_in * file.samplerate)
            converter = soxr.ResampleStream(rate, sr, 1, dtype="float32", quality="HQ") if rate != sr else None
            parts, n_read = [], 0
            for block in file.blocks(blocksize=BLOCK, dtype="float32", always_2d=True):
                mono = (block.mean(axis=1, dtype=np.float32) if channel is None else block[:, channel])[
                    max(0, skip - n_read) :
                ]
                n_read += len(block)
                parts.append(mono if converter is None else converter.resample_chunk(mono))
            if converter is not None:
                parts.append(converter.resample_chunk(np.zeros(0, np.float32), last=True))
    except (OSError, soundfile.SoundFileError, ValueError) as error:
        raise DataError(_unreadable(path, error)) from error
    if n_read / rate < stated - 0.1:
        raise DataError(f"{path} is damaged: expected {stated:.1f} s, found {n_read / rate:.1f} s; copy it again")
    if n_read <= skip:
        raise DataError(f"{path}: the offset of {lead_in:g} s leaves nothing of its {stated:.1f} s; check --offsets")
    y = np.concatenate(parts)[: max(1, round((n_read - skip) * sr / rate))]
    del parts
    if not np.all(np.isfinite(y)):
        raise DataError(f"{path} holds values that are not finite; export it again")
    if not np.any(y):
        raise DataError(f"{path}: expected a sound, found {stated:.1f} s of silence; copy or export it again")
    peak = float(np.max(np.abs(y)))
    if peak > MAX_OVERSHOOT:
        raise DataError(f"{path}: expected values in [-1, 1], found a peak of {peak:.3g}; export it again")
    if peak > 1:
        y *= np.float32((1 - 2**-20) / peak)
    return y


def read_offsets(offsets, *, known):
    """Return the lead-in of each stimulus in seconds.

    Parameters
    ----------
    offsets : str, Path, dict or None
        A CSV file with the columns ``stimulus,offset``, or the same as a dict.
    known : sequence of str
        Stimuli of the data set.

    Returns
    -------
    dict of str to float
    """
    if offsets is None:
        return {}
    if isinstance(offsets, dict):
        rows, where = offsets.items(), "offsets"
    else:
        where = f"--offsets {offsets}"
        try:
            table = pd.read_csv(offsets, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise DataError(f"{where}: expected a CSV file with the columns stimulus,offset ({error})") from error
        table.columns = [column.strip() for column in table.columns]
        if not {"stimulus", "offset"} <= set(table.columns):
            raise DataError(f"{where}: expected the columns stimulus,offset, found {', '.join(table.columns)}")
        rows = zip(table["stimulus"], table["offset"], strict=True)
    result = {}
    for stimulus, value in rows:
        stimulus = str(stimulus).strip()
        if stimulus not in known:
            raise ParameterError(f"{where}: unknown stimulus {stimulus!r}; expected one of {', '.join(known)}")
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise ParameterError(
                f"{where}: {stimulus}: expected the seconds ≥ 0 to cut from the beginning of the sound, found {value!r}"
            )
        result[stimulus] = seconds
    return result


def check_mismatch(seconds):
    """Return ``max_mismatch`` as a float; refuse what would switch the comparison of lengths off, such as NaN."""
    try:
        number = float(seconds)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise ParameterError(f"--max-mismatch {seconds!r}: expected seconds ≥ 0")
    return number


def align(eeg_seconds, audio_seconds, *, max_mismatch, where, then="both cropped to"):
    """Return the length that both share, and a warning (or "") when they differ; ``then`` is what is done, in words.

    Raises
    ------
    DataError
        When they differ by more than ``max_mismatch`` seconds.

    Examples
    --------
    >>> align(278.36, 279.0, max_mismatch=2, where="song21")
    (278.36, 'song21: 278.36 s of EEG and 279.00 s of sound: both cropped to 278.36 s')
    """
    difference = abs(eeg_seconds - audio_seconds)
    both = f"{eeg_seconds:.2f} s of EEG and {audio_seconds:.2f} s of sound"
    if difference > max_mismatch:
        raise DataError(
            f"{where}: {both} differ by {difference:.2f} s, expected at most {max_mismatch:g} s; "
            "use the edition that was played, cut its lead-in with --offsets, or allow more with --max-mismatch"
        )
    length = min(eeg_seconds, audio_seconds)
    return length, f"{where}: {both}: {then} {length:.2f} s" if difference > TOLERANCE else ""


def _preference(file):
    return EXTENSIONS.index(file.suffix.lower()), len(file.parts), file.name


def _unreadable(path, error):
    return f"{path}: expected a sound file that libsndfile reads, found: {error}; copy or export it again"


def _plain(name):
    """Case, accents, dashes and spaces do not tell one song from another."""
    name = unicodedata.normalize("NFKD", str(name).casefold())
    name = "".join(character for character in name if not unicodedata.combining(character))
    for dash in "–—−_":
        name = name.replace(dash, "-" if dash != "_" else " ")
    return " ".join(name.split())
