"""DEAP's tables: who rated which video how (``participant_ratings``), and what the videos are (``video_list``).

Functions: :func:`find`, :func:`read_ratings`, :func:`read_videos`; :class:`Ratings`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz.errors import DataError, MissingDependencyError

SCALES = ("valence", "arousal", "dominance", "liking")  # the columns of "labels", in this order
RANGE = (1.0, 9.0)  # of the four scales; familiarity goes from 1 to 5
FAMILIARITY = (1.0, 5.0)
COLUMNS = ("participant_id", "trial", "experiment_id", *SCALES)
N_SUBJECTS, N_VIDEOS = 32, 40


@dataclass(frozen=True)
class Ratings:
    """``participant_ratings``: a row a listener and video, by (participant, experiment id)."""

    path: Path
    table: pd.DataFrame

    def row(self, subject, video):
        """The row of a listener and video as a dict, or None."""
        key = (subject, video)
        return self.table.loc[key].to_dict() if key in self.table.index else None

    def order(self, subject):
        """The videos of a listener in the order of presentation.

        Raises
        ------
        DataError
            When the listener is not in the table, or the trials are not 1, 2, 3 …
        """
        if subject not in self.table.index.get_level_values(0):
            raise DataError(f"{self.path}: expected rows of participant {subject}, found none; use the original file")
        rows = self.table.loc[subject].sort_values("trial")
        if rows["trial"].tolist() != list(range(1, len(rows) + 1)):
            raise DataError(
                f"{self.path}: participant {subject}: expected the trials 1 to {len(rows)} once each, found "
                f"{rows['trial'].astype(int).tolist()[:8]} …; use the original file"
            )
        return [int(video) for video in rows.index]


def find(name, source, *, given=None):
    """Return the path of a table (``name.csv``, else ``.xls``), or None.

    Looked for at any depth below ``source``, then beside it and in the folders beside it, where DEAP's own layout has
    ``metadata_csv``.
    """
    if given is not None:
        if not Path(given).is_file():
            raise DataError(f"{given}: expected the file {name}.csv, found {_found(Path(given))}")
        return Path(given)
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    for ending in (".csv", ".xls"):
        files = sorted(folder.rglob(f"{name}{ending}")) or sorted(folder.resolve().parent.glob(f"{name}{ending}"))
        files = files or sorted(folder.resolve().parent.glob(f"*/{name}{ending}"))
        if files:
            return files[0]
    return None


def read_ratings(path):
    """Read ``participant_ratings.csv`` (or ``.xls``).

    Parameters
    ----------
    path : Path

    Returns
    -------
    Ratings
        ``table`` has the columns trial, valence, arousal, dominance, liking and familiarity (NaN where it is missing).

    Raises
    ------
    DataError
        When columns are missing, a number is out of range, or a listener rated a video twice.
    MissingDependencyError
        When it is an Excel file and pandas cannot read such.
    """
    table = _read(path)
    advice = "use the original participant_ratings.csv"
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise DataError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, found no {', '.join(missing)} among "
            f"{', '.join(table.columns)}; {advice}"
        )
    if "familiarity" not in table.columns:
        table["familiarity"] = np.nan
    kept = {}
    for column in (*COLUMNS, "familiarity"):
        kept[column] = pd.to_numeric(table[column], errors="coerce")
    table = pd.DataFrame(kept)
    limits = dict.fromkeys(SCALES, RANGE) | {
        "participant_id": (1, N_SUBJECTS), "trial": (1, N_VIDEOS), "experiment_id": (1, N_VIDEOS),
    }  # fmt: skip
    for column, (low, high) in limits.items():
        wrong = ~table[column].between(low, high)
        if column not in SCALES:
            wrong |= table[column] != table[column].round()
        if wrong.any():
            line = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{path}, line {line + 2}: expected {column} from {low:g} to {high:g}, found {table[column][line]}; {advice}"
            )
    known = table["familiarity"].dropna()
    if not known.between(*FAMILIARITY).all():
        raise DataError(
            f"{path}: expected familiarity from 1 to 5 or nothing, found {known.min():g} to {known.max():g}"
        )
    table = table.astype({"participant_id": int, "trial": int, "experiment_id": int})
    table = table.set_index(["participant_id", "experiment_id"]).sort_index()
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise DataError(f"{path}: participant {twice[0]} rated video {twice[1]} twice; {advice}")
    return Ratings(Path(path), table)


def read_videos(path):
    """Read ``video_list.csv``: the videos' artists and titles.

    Parameters
    ----------
    path : Path

    Returns
    -------
    videos : dict of int to (str, str)
        Experiment id to artist and title; empty when the columns are not those (assumed: Experiment_id, Artist, Title).
    """
    table = _read(path)
    if not {"experiment_id", "artist", "title"} <= set(table.columns):
        return {}
    found = {}
    for row in table.to_dict("records"):
        number = pd.to_numeric(row["experiment_id"], errors="coerce")
        if 1 <= number <= N_VIDEOS:
            found[int(number)] = (_plain(row["artist"]), _plain(row["title"]))
    return found


def check_labels(labels, n_videos, path):
    """Return ``labels`` as floats (n_videos, 4), or say what is wrong with them.

    Examples
    --------
    >>> check_labels(np.full((2, 4), 5.0), 2, "s01.dat").shape
    (2, 4)
    """
    labels = np.asarray(labels)
    if labels.shape != (n_videos, len(SCALES)) or labels.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: expected labels as numbers ({n_videos}, {len(SCALES)}), {', '.join(SCALES)} a video, found "
            f"{labels.dtype} {labels.shape}; use the original file"
        )
    labels = labels.astype(float)
    low, high = RANGE
    wrong = ~((labels >= low) & (labels <= high))
    if wrong.any():
        video, scale = (int(index) for index in np.argwhere(wrong)[0])
        raise DataError(
            f"{path}: expected labels from {low:g} to {high:g}, found {labels[video, scale]} ({SCALES[scale]} of video "
            f"{video + 1}); download the file again"
        )
    return labels


def _read(path):
    path = Path(path)
    expected = "a table with a row of column names"
    if path.suffix.lower() in (".xls", ".xlsx"):
        try:
            table = pd.read_excel(path, dtype=str)
        except ImportError as error:
            raise MissingDependencyError(
                f"{path}: pandas needs another package to read Excel files ({error}); take the .csv that DEAP offers "
                "beside it, or save it as CSV"
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: expected {expected}, found: {error}; take the .csv beside it") from error
    else:
        try:
            data = path.read_bytes()
            try:
                data.decode("utf-8")
                encoding = "utf-8-sig"
            except UnicodeDecodeError:
                encoding = "latin1"  # titles of songs have accents
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=encoding)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: expected {expected}, found: {error}; use the original file") from error
    table.columns = [str(column).strip().casefold() for column in table.columns]
    return table


def _plain(text):
    return "".join(letter for letter in str(text) if letter.isprintable()).strip()


def _found(path):
    return "a folder" if path.is_dir() else "nothing"
