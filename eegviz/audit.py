"""Leak audit: what the training side and the test side of a split have in common, and what that means for a score.

`eegviz.splits.check` refuses a split that breaks its own rule; the audit says what is shared even where the rule allows
it, in numbers and words, for any split, one made by hand too. Training and validation count as one side here: both have
been looked at before the test.

Statuses: ``leak`` (the score is not what it seems), ``caveat`` (it may not be), ``by design`` (what this protocol is
about), ``none`` (nothing is shared), ``n/a`` (the table cannot tell).

Function: `audit`.
"""

import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError

WIDTH = 76  # columns of `Audit.describe`
NAMED = 3  # shared units that are named
_EPS = 1e-9
_ONE = {
    "windows": "window",
    "recordings": "recording",
    "neighbouring seconds": "neighbouring second",
    "hearings of the same second": "hearing of the same second",
    "songs": "song",
    "pieces": "piece",
    "listeners": "listener",
    "sessions": "session",
}
_UNSEEN_SONG = ("song", "subject_song", "interleaved", "blocked")  # hold out the music of the test
_WHY = {
    ("windows", "leak"): "The answer has been seen in training: the score says nothing.",
    ("recordings", "leak"): (
        "Whatever marks a recording (drift, impedance, gain) names its song: song cannot be told from recording."
    ),
    ("neighbouring seconds", "leak"): (
        "A neighbouring second, whose EEG and music are nearly those of the test window, has been in training."
    ),
    ("songs", "leak"): "This protocol claims unseen songs, and the decoder has been trained on these.",
    ("songs", "by design"): "The decoder knows these songs; the score says nothing of unseen ones.",
    ("pieces", "leak"): (
        "This protocol claims unseen songs, and the decoder has been trained on other versions of these pieces."
    ),
    ("pieces", "by design"): "The decoder knows these pieces, in some version; the score says nothing of unseen ones.",
    ("listeners", "leak"): "This protocol claims unseen listeners, and the decoder has been trained on these.",
    ("listeners", "by design"): "The decoder knows these listeners; the score says nothing of unseen ones.",
    ("sessions", "leak"): "Drift of a session that is in training can mark the test's recordings.",
    ("sessions", "caveat"): "Slow drift of a session that both sides share could still mark the song.",
    ("sessions", "by design"): "The songs are new: drift of a shared session cannot name them.",
    ("hearings of the same second", "by design"): (
        "A decoder may have learnt this music: the second-by-second mean of the training pictures is the true music, a "
        "ceiling and no baseline. Read scores of pictures beside it, and shuffled EEG beside retrieval."
    ),
    ("hearings of the same second", "leak"): (
        "The true picture of the test window has been a training target: a decoder that has learnt the music by heart "
        "needs little EEG."
    ),
    ("hearings of the same second", "caveat"): (
        "The true picture of the test window has been a training target. Read the score beside the second-by-second mean "
        "of the training."
    ),
}
_ONE_SOUND = (
    "Every recording plays the same sound, so the test's whole stimulus has been the training target: anything that goes "
    "with the time in the trial gives it back. Hold out a part of the sound (blocked), or a sound (song)."
)


@dataclass(frozen=True, eq=False)
class Audit:
    """What a split's sides share; made by `audit`.

    Attributes
    ----------
    spec, label : str
        The split, and what is printed beside its scores.
    table : pandas.DataFrame
        One row a kind: ``kind``, ``status``, ``n_shared`` (units of the test that are shared), ``names`` (a few of them),
        ``n_test`` and ``share`` (of test windows that are touched), ``sides`` (what they are shared with) and ``why``.
        Kinds: the *windows* themselves; *recordings*; *neighbouring seconds*: test windows with another window of their
        recording nearer than one window and the gap; *hearings of the same second* of the song in another recording;
        *songs*; *pieces*, of which songs are versions (only where the table has the column ``piece``); *listeners*;
        *sessions* of a listener.
    n_training, n_test : int
        Windows of training and validation together, and of the test.
    """

    spec: str
    label: str
    table: pd.DataFrame
    n_training: int
    n_test: int

    @property
    def leaks(self):
        """Kinds that leak, a list of str."""
        return self.table["kind"][self.table["status"] == "leak"].tolist()

    @property
    def sentences(self):
        """Leaks, then caveats, then hearings that are shared by design: one str each, or one when nothing is to be said.

        That songs or listeners are known from training is in the split's label and in `describe`.
        """
        rank = {"leak": 0, "caveat": 1, "by design": 2}
        rows = [row for row in self.table.to_dict("records") if row["status"] in rank]
        rows = [row for row in rows if row["status"] != "by design" or row["kind"] == "hearings of the same second"]
        return [
            f"{row['status']}: {_touched(row, self.n_test)}. {row['why']}"
            for row in sorted(rows, key=lambda row: rank[row["status"]])
        ] or ["no leak: the test shares no recording, second or session with the training that the table tells of."]

    def describe(self):
        """The audit as text, at most 76 columns wide."""
        verdict = f"{len(self.leaks)} leak{'s' * (len(self.leaks) != 1)}"
        head = f"Leak audit of {self.spec}: {verdict}; {self.n_test} test windows, {self.n_training} of training and validation"
        lines = textwrap.wrap(head, WIDTH)
        for row in self.table.to_dict("records"):
            shared = row["kind"] + ": nothing shared" if row["status"] == "none" else _touched(row, self.n_test)
            if row["status"] == "n/a":
                shared = f"{row['kind']}: {row['why']}"
            lines += textwrap.wrap(f"{row['status'].upper():<10} {shared}", WIDTH, subsequent_indent=" " * 11)
            if row["status"] in ("leak", "caveat", "by design"):
                lines += textwrap.wrap(row["why"], WIDTH, initial_indent=" " * 11, subsequent_indent=" " * 11)
        return "\n".join(lines)

    def to_dict(self):
        """The audit for JSON: spec, label, n_training, n_test, leaks, rows (of `table`), text (`sentences`)."""
        return {
            "spec": self.spec,
            "label": self.label,
            "n_training": self.n_training,
            "n_test": self.n_test,
            "leaks": self.leaks,
            "rows": self.table.to_dict("records"),
            "text": self.sentences,
        }


def audit(table, split):
    """Say what the training side of a split shares with its test side.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a window: ``recording``, ``second`` and, as far as they are known, ``stimulus``, ``piece``, ``subject``,
        ``session``.
    split : Split
        Of this table: ``train``, ``validation``, ``test`` (row positions) are read, and ``name``, ``spec``, ``label``,
        ``window``, ``gap``. It may be one that `eegviz.splits.check` refuses.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        When the table lacks a column or holds seconds that are not numbers.
    ParameterError
        When the test side or the training side is empty, or rows are not of the table.

    Examples
    --------
    >>> from eegviz import splits
    >>> table = pd.DataFrame({"recording": "S1_a", "subject": "S1", "stimulus": "a", "repeat": 1, "second": range(40)})
    >>> found = audit(table, splits.split(table, "interleaved"))
    >>> found.leaks
    ['recordings', 'neighbouring seconds']
    >>> print(found.table.loc[2, "n_test"], "of", found.n_test)
    3 of 10
    """
    frame = _frame(table)
    sides = {name: _rows(split, name, len(frame)) for name in ("train", "validation", "test")}
    fitted = np.concatenate([sides["train"], sides["validation"]])
    for name, rows in (("test", sides["test"]), ("training", fitted)):
        if not len(rows):
            raise ParameterError(f"{_spec(split)}: the {name} side is empty, so there is nothing to audit.")
    protocol, window = getattr(split, "name", ""), float(getattr(split, "window", 1.0))
    near = window + float(getattr(split, "gap", 0.0))
    found = {
        "windows": _common(frame, ["row"], sides),
        "recordings": _common(frame, ["recording"], sides),
        "neighbouring seconds": _close(frame, "recording", near, sides, ["recording", "second"]),
        "hearings of the same second": _close(frame, "stimulus", window, sides, ["stimulus", "second"], elsewhere=True),
        "songs": _common(frame, ["stimulus"], sides),
        **({"pieces": _common(frame, ["piece"], sides)} if (frame["piece"] != frame["stimulus"]).any() else {}),
        "listeners": _common(frame, ["subject"], sides),
        "sessions": _common(frame, ["subject", "session"], sides),
    }
    one_sound = len(set(frame["stimulus"]) - {""}) == 1
    rows = []
    for kind, shared in found.items():
        status = _status(kind, shared, protocol, one_sound)
        if status == "n/a":
            why = f"the table does not say: its column {_COLUMN[kind]} is missing or empty."
        elif kind == "hearings of the same second" and status == "leak" and one_sound:
            why = _ONE_SOUND
        else:
            why = _WHY.get((kind, status), "")
        n_test = 0 if shared is None else int(shared.touched.sum())
        rows.append(
            {
                "kind": kind,
                "status": status,
                "n_shared": 0 if shared is None else shared.n,
                "names": "" if shared is None else shared.names,
                "n_test": n_test,
                "share": n_test / len(sides["test"]),
                "sides": "" if shared is None else shared.sides,
                "why": why,
            }
        )
    return Audit(_spec(split), str(getattr(split, "label", "")), pd.DataFrame(rows), len(fitted), len(sides["test"]))


# --- helpers -----------------------------------------------------------------------------------------------------

_COLUMN = {
    "hearings of the same second": "stimulus",
    "songs": "stimulus",
    "listeners": "subject",
    "sessions": "session",
}


@dataclass(frozen=True)
class _Shared:
    """Units on both sides: how many, a few names, which test windows they touch, with which side."""

    n: int
    names: str
    touched: np.ndarray
    sides: str


def _status(kind, shared, protocol, one_sound):
    if shared is None:
        return "n/a"
    if not shared.n:
        return "none"
    if kind in ("windows", "recordings", "neighbouring seconds"):
        return "leak"
    if kind == "hearings of the same second":
        if one_sound or protocol in (*_UNSEEN_SONG, "random"):
            return "leak"
        return "by design" if protocol in ("repeat", "condition", "subject") else "caveat"
    if kind in ("songs", "pieces"):
        return "leak" if protocol in ("song", "subject_song") else "by design"
    if kind == "listeners":
        return "leak" if protocol in ("subject", "subject_song") else "by design"
    if protocol in ("subject", "subject_song"):
        return "leak"
    return "by design" if protocol == "song" else "caveat"


def _common(frame, columns, sides):
    """Units of `columns` on both sides; None where the table does not name them."""
    values = frame[columns[-1]]
    if columns[-1] != "row" and (values == "").all():
        return None
    code = frame.groupby(columns, sort=True).ngroup().to_numpy()
    there = (values != "").to_numpy()
    test = sides["test"][there[sides["test"]]]
    own = {name: np.isin(code[test], code[sides[name]]) for name in ("train", "validation")}
    both = own["train"] | own["validation"]
    touched = np.isin(sides["test"], test[both])
    return _shared(frame, columns, test[both], touched, own)


def _close(frame, column, distance, sides, columns, elsewhere=False):
    """Test windows with a window of the other side less than `distance` away; None where `column` is not named.

    `elsewhere`: in another recording only.
    """
    if (frame[column] == "").all():
        return None
    code, second = frame.groupby(column, sort=True).ngroup().to_numpy(), frame["second"].to_numpy()
    second = second - second.min()
    key = code * (second.max() + 2 * distance + 1) + second
    recording = frame.groupby("recording", sort=True).ngroup().to_numpy()
    test = sides["test"][(frame[column] != "").to_numpy()[sides["test"]]]
    own = {}
    for name in ("train", "validation"):
        others = sides[name][np.argsort(key[sides[name]], kind="stable")]
        low, high = (
            np.searchsorted(key[others], key[test] + shift, side)
            for shift, side in ((-distance + _EPS, "left"), (distance - _EPS, "right"))
        )
        own[name] = _beyond(recording, others, test, low, high) if elsewhere else _but_itself(others, test, low, high)
    both = own["train"] | own["validation"]
    return _shared(frame, columns, test[both], np.isin(sides["test"], test[both]), own)


def _but_itself(others, test, low, high):
    """Whether others[low:high] holds a row that is not the test window itself."""
    return high - low > np.isin(test, others)


def _beyond(recording, others, test, low, high):
    """Whether others[low:high] holds a window of another recording than the test window's."""
    found = np.zeros(len(test), dtype=bool)
    own = recording[others]
    change = np.concatenate([[0], np.cumsum(np.diff(own) != 0)]) if len(own) else own
    some = np.flatnonzero(high > low)
    first, last = low[some], high[some] - 1
    found[some] = (own[first] != recording[test[some]]) | (change[first] != change[last])
    return found


def _shared(frame, columns, rows, touched, own):
    units = frame.iloc[rows][columns].drop_duplicates().sort_values(columns)
    names = [
        " ".join(f"{part:g} s" if isinstance(part, float) else str(part) for part in unit)
        for unit in units[:NAMED].to_numpy(object)
    ]
    more = ", …" if len(units) > NAMED else ""
    words = {"train": "training", "validation": "validation"}
    return _Shared(len(units), ", ".join(names) + more, touched, " and ".join(words[k] for k in words if own[k].any()))


def _touched(row, n_test):
    units = f"{row['n_shared']} {row['kind'] if row['n_shared'] != 1 else _ONE[row['kind']]}"
    return (
        f"{units} shared with {row['sides']} ({row['names']}), {row['n_test']} of {n_test} test windows "
        f"({100 * row['share']:.3g} %)"
    )


def _frame(table):
    """The columns that count, as text and numbers."""
    if not isinstance(table, pd.DataFrame):
        raise DataError(f"expected a table of windows (pandas.DataFrame), found {type(table).__name__}.")
    missing = [column for column in ("recording", "second") if column not in table]
    if missing:
        raise DataError(f"the table of windows lacks {', '.join(missing)}: the audit needs recording and second.")
    frame = pd.DataFrame({"row": np.arange(len(table))})
    for column in ("recording", "subject", "stimulus", "session", "piece"):
        values = table[column].to_numpy(object) if column in table else np.full(len(table), "", dtype=object)
        frame[column] = np.where(pd.isna(values), "", values).astype(str)
    frame["piece"] = np.where(frame["piece"] == "", frame["stimulus"], frame["piece"])
    second = pd.to_numeric(table["second"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if not np.isfinite(second).all():
        row = int(np.argmin(np.isfinite(second)))
        raise DataError(f"row {row}: second is {table['second'].iloc[row]}, expected a number of seconds.")
    frame["second"] = second
    return frame


def _rows(split, name, n):
    rows = np.asarray(getattr(split, name))
    if not len(rows):
        return np.empty(0, dtype=int)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
        raise ParameterError(
            f"{_spec(split)}: the {name} side must hold row positions from 0 to {n - 1}. Was the split made from another table?"
        )
    return np.unique(rows)


def _spec(split):
    return str(getattr(split, "spec", getattr(split, "name", "split")))
