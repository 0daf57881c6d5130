"""The level that each song of a run is played at: chosen once, kept beside the run, used by every reconstruction.

The papers give one ref_dB a song. ``ref_db.json`` in the run's folder holds it: what was chosen, on which scale, with
which range and iterations, how, and when. The run's config, and with it the folder's name, does not change: a level is a
matter of listening and not of training, and no score rests on it.

Functions: `kept` (all of a run), `keep` (one more), `of` (the one of a song, for a scale), `forget`.

`eegviz.tuning.propose` finds values from training clips; `eegviz.widgets.ref_db_tuner` lets a person choose.
"""

from __future__ import annotations

import json
import math
import numbers
import threading
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from eegviz import runs
from eegviz.errors import DataError, ParameterError
from eegviz.features import MAX_DB
from eegviz.inversion import N_ITER, SCALES

FILE = "ref_db.json"
FORMAT = 1
LOWEST, HIGHEST = -100.0, 200.0  # dB: beyond it is a slip of the keyboard (our choice)
_writing = threading.Lock()  # sessions of one server add to one file


@dataclass(frozen=True)
class Level:
    """How a song is turned to sound.

    Attributes
    ----------
    ref_db : float
        (Doubled) decibels of the picture's 1.
    scale : {"power", "published"}
    max_db : float
        Range of the picture, dB.
    n_iter : int
        Iterations of Griffin–Lim.
    chosen : str
        How, in words, such as "matched to the level of 4 training clips" or "by ear".
    clips : tuple of (str, int)
        Recording and first second of the clips that it was chosen from, where there were any.
    time : str
        When, ISO 8601.
    """

    ref_db: float
    scale: str = "power"
    max_db: float = MAX_DB
    n_iter: int = N_ITER
    chosen: str = "by ear"
    clips: tuple = ()
    time: str = ""

    def __post_init__(self):
        for name, low, high in (("ref_db", LOWEST, HIGHEST), ("max_db", 0.0, HIGHEST)):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and low <= value <= high and (name == "ref_db" or value > 0)):
                raise ParameterError(f"{name} must be a number of dB from {low:g} to {high:g}; found {value!r}.")
        if self.scale not in SCALES:
            raise ParameterError(f"unknown scale {self.scale!r}; known: {', '.join(SCALES)}.")
        if isinstance(self.n_iter, bool) or not isinstance(self.n_iter, int) or self.n_iter < 1:
            raise ParameterError(f"n_iter must be a whole number above 0; found {self.n_iter!r}.")


def kept(run) -> dict[str, Level]:
    """The levels that are kept in a run's folder, by stimulus; empty where none are.

    Raises
    ------
    DataError
        The file is damaged; the message says what to do.
    """
    path = run.path / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise _damaged(path, "bytes that are not text") from None
    try:
        read = json.loads(text)
    except json.JSONDecodeError as error:
        raise _damaged(path, f"no JSON ({error})") from None
    if not isinstance(read, dict) or read.get("format") != FORMAT or not isinstance(read.get("songs"), dict):
        raise _damaged(path, f"no table of songs in format {FORMAT}")
    known = {field.name for field in fields(Level)}
    found = {}
    for song, entry in read["songs"].items():
        if not isinstance(entry, dict) or "ref_db" not in entry:
            raise _damaged(path, f"no ref_db for {song!r}")
        try:
            clips = tuple((str(recording), int(start)) for recording, start in entry.get("clips", ()))
            own = {key: value for key, value in entry.items() if key in known - {"clips"}}
            found[song] = Level(**own, clips=clips)
        except (ParameterError, TypeError, ValueError) as error:
            raise _damaged(path, f"for {song!r}: {error}") from None
    return found


def keep(run, stimulus, level: Level | float, *, chosen=None) -> Level:
    """Keep the level of one song in the run's folder; the file is replaced as a whole or not at all.

    Parameters
    ----------
    run : eegviz.runs.Run
    stimulus : str
    level : Level or float
        A number is a ref_db on the power scale with the settings of the published code.
    chosen : str, optional
        How, where `level` is a number.

    Returns
    -------
    Level
        As it was kept, with its time.

    Raises
    ------
    ParameterError
        A value that cannot be a level, or a stimulus without a name.
    DataError
        The file that is there already is damaged; nothing was written.
    """
    if not stimulus or not isinstance(stimulus, str):
        raise ParameterError(f"a level belongs to a stimulus of the run; found {stimulus!r}.")
    if not isinstance(level, Level):
        number = isinstance(level, numbers.Real) and not isinstance(level, bool)  # NumPy's too
        level = Level(float(level) if number else level, chosen=chosen or "by ear")
    level = Level(**{**asdict(level), "time": level.time or datetime.now(UTC).isoformat(timespec="seconds")})
    with _writing:
        songs = kept(run) | {stimulus: level}
        _write(run, songs)
    return level


def forget(run, stimulus=None) -> None:
    """Drop the level of one song, or of all: the level of training is used again."""
    with _writing:
        songs = {} if stimulus is None else {k: v for k, v in kept(run).items() if k != stimulus}
        if songs:
            _write(run, songs)
        else:
            (run.path / FILE).unlink(missing_ok=True)


def of(run, stimulus, *, scale="power") -> Level | None:
    """The level that is kept for a song on a scale; None where none is, or one for the other scale."""
    found = kept(run).get(stimulus)
    return found if found is not None and found.scale == scale else None


def _write(run, songs):
    runs.write_json(run.path / FILE, {"format": FORMAT, "songs": {song: asdict(one) for song, one in songs.items()}})


def _damaged(path, found):
    return DataError(
        f"{path} is damaged: expected the levels that were kept for songs, found {found}. Delete the file (the level of "
        "training is used then) and choose again, as in notebook 05; the run itself is not affected."
    )
