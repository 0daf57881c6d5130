"""The sounds of DEAP's videos: found by name, taken out of video files, lined up with the EEG, prepared when asked.

DEAP distributes links, not videos: the user supplies ``video01.wav`` (.flac, .mp3 …) or ``video01.mp4`` (.mkv, .webm …).

:class:`Sounds` finds and places them.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from eegviz import soundtrack
from eegviz.datasets import _audio, _common
from eegviz.errors import DataError, ParameterError

MISSING = ("refuse", "skip")
ADVICE = (
    "DEAP distributes no sound: put each video's minute there as video01.wav … (or .flac, .mp3, .mp4 and the like) and "
    "pass the folder as --audio, or go on with the videos that have one: --set missing=skip"
)


def stimulus(number):
    """Return the id of a video.

    Examples
    --------
    >>> stimulus(7)
    'video07'
    """
    return f"video{number:02d}"


@dataclass(frozen=True)
class Placed:
    """The sound of a video, lined up: how long it and the EEG are together."""

    number: int
    title: str
    artist: str
    original: Path
    path: Path
    lead_in: float
    seconds: float
    stamp: str

    def add(self, writer, options, simulated):
        """Add the sound to the store unless it is there already."""
        name = stimulus(self.number)
        if writer.has_stimulus(name, stamp=self.stamp):
            return
        y = _audio.read(self.path, lead_in=self.lead_in)[: math.ceil(self.seconds * _audio.SR)]
        y = soundtrack.prepare(y, _audio.SR, **options)
        more = {} if simulated else {"artist": self.artist}
        writer.add_stimulus(
            name, y, sr=_audio.SR, title=self.title, stamp=self.stamp, audio_file=self.original.name,
            lead_in=self.lead_in, prepared=soundtrack.check_options(**options), **more,
        )  # fmt: skip


class Sounds:
    """The sounds of the videos.

    Parameters
    ----------
    settings : eegviz.datasets._nmed.Settings
        With the library of sound files, the offsets and max_mismatch.
    videos : sequence of int
        Those of the data set.
    titles : dict of int to (str, str)
        Artist and title, where they are known.
    options : dict
        Of `eegviz.soundtrack.prepare`.
    missing : {"refuse", "skip"}
    folder : Path
        For the sounds taken out of videos.
    simulated : bool

    Raises
    ------
    DataError
        When a video has no sound, unless ``missing="skip"``; or when none has.
    MissingDependencyError
        When a sound has to be taken out of a video and ffmpeg is not installed.
    """

    def __init__(self, settings, videos, *, titles, options, missing, folder, simulated):
        if missing not in MISSING:
            raise ParameterError(f"missing={missing!r}: expected one of {', '.join(MISSING)}")
        self.settings, self.titles, self.options, self.simulated = settings, titles, options, simulated
        self.folder, self._extracted, self._told = Path(folder), {}, set()
        self.files = {number: self._find(number) for number in videos}
        lost = [number for number, file in self.files.items() if file is None]
        if lost and (missing == "refuse" or len(lost) == len(self.files)):
            raise DataError(
                f"{settings.library.folder}: expected a sound for each of the {len(self.files)} videos, found "
                f"{len(self.files) - len(lost)}: none for {_some([stimulus(number) for number in lost])}; {ADVICE}"
            )
        self.skipped = [f"{stimulus(number)}: no sound, so its recordings are left out" for number in lost]
        films = [file for file in self.files.values() if file is not None and _is_video(file)]
        if films:
            soundtrack.find_ffmpeg(f"{films[0].name} ({len(films)} videos)")

    def place(self, number, eeg_seconds, writer, notes, *, may_be_longer=False):
        """Line the sound of a video up with EEG of a length; None where there is no sound, or none that can be used.

        What is wrong with a sound is one problem, not one for each listener. ``may_be_longer``: the EEG runs on after
        the video and is cropped without a word.
        """
        if self.files.get(number) is None or number in self._told:
            return None
        try:
            return self._place(number, eeg_seconds, writer, notes, may_be_longer)
        except DataError:
            self._told.add(number)
            raise

    def _place(self, number, eeg_seconds, writer, notes, may_be_longer):
        original, name = self.files[number], stimulus(number)
        path = self._sound(original)
        stamp = f"{_common.stamp(original)}|{self.settings.offsets.get(name, 0.0)!r}|{sorted(self.options.items())}"
        lead_in = self.settings.offsets.get(name, 0.0)
        seconds = _audio.duration(path) - lead_in
        if name in self.settings.offsets:  # it was said where the minute begins: what comes after it does not count
            seconds = min(seconds, eeg_seconds)
        if may_be_longer:
            eeg_seconds = min(eeg_seconds, max(seconds, 0.0))
        where = f"{name} ({original.name})"
        shared, warning = _audio.align(eeg_seconds, seconds, max_mismatch=self.settings.max_mismatch, where=where)
        notes.warn(warning)
        if writer.has_stimulus(name, stamp=stamp):
            shared = min(shared, writer.stimulus_row(name)["duration"])
        artist, title = ("", "simulated") if self.simulated else self.titles.get(number, ("", ""))
        return Placed(number, title, artist, original, path, lead_in, shared, stamp)

    def _sound(self, original):
        if not _is_video(original):
            return original
        if original not in self._extracted:
            self._extracted[original] = soundtrack.extract(original, self.folder / f"{original.stem}.wav")
        return self._extracted[original]

    def _find(self, number):
        artist, title = self.titles.get(number, ("", ""))
        names = [stimulus(number), f"video{number}", f"{number:02d}", str(number)]
        names += [f"{artist} - {title}", f"{title} - {artist}", title] if artist and title else []
        return self.settings.library.find_any(names, more=soundtrack.VIDEO_EXTENSIONS)


def _is_video(file):
    return file.suffix.lower() in soundtrack.VIDEO_EXTENSIONS


def _some(items, most=12):
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
