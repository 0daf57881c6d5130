"""The leaks that each split must not have: a group on two sides, a gap too short (for :mod:`eegviz.splits`).

``CHECKS[name](frame, side, split)`` raises for the first one; `frame` is canonical
(:func:`eegviz._split_table.canonical`), `side` the name of each row's side, or "".
"""

import numpy as np
import pandas as pd

from eegviz._split_table import CHUNK, EPS, distance
from eegviz.errors import ParameterError

_WORDS = {
    "recording": "recording", "subject": "listener", "stimulus": "song", "work": "piece", "condition": "condition",
}  # fmt: skip


def refuse_empty(side, spec, parts):
    """Refuse a split without windows on one of the sides `parts`."""
    for part in parts:
        if not (side == part).any():
            raise ParameterError(
                f"{spec}: the {part} side is empty ({len(side)} windows in the table). "
                "Take longer or more recordings, other options, or a smaller gap."
            )


def _check_random(frame, side, split):
    _one_side(frame, np.where(side == "test", "", side), split, ["recording", "chunk"], "chunk")


def _check_interleaved(frame, side, split):
    over = frame["since"] - frame["chunk"] * CHUNK + split.window > CHUNK + EPS
    over = np.flatnonzero(over.to_numpy() & (side != ""))
    if len(over):
        row = frame.iloc[over[0]]
        raise ParameterError(
            f"{split.spec}: the window of {split.window:g} s at second {row['second']:g} of "
            f"{row['recording']} straddles the boundary between two chunks of {CHUNK:g} s. "
            "Take windows at whole seconds, or another split."
        )
    _one_side(frame, side, split, ["piece", "chunk"], "chunk")


def _check_blocked(frame, side, split):
    for pair in (("train", "test"), ("validation", "test"), ("train", "validation")):
        _far(frame, side, split, pair)


def _check_groups(*keys):
    """Test and training share no group of the columns of any key; a gap where recordings are in both others."""

    def test(frame, side, split):
        merged = np.where(side == "validation", "train", side)
        for columns in keys:
            _one_side(frame, merged, split, list(columns), _WORDS[columns[0]])
        both = set(frame["recording"][side == "train"]) & set(frame["recording"][side == "validation"])
        if both:  # the validation is runs of chunks
            pieces = frame["piece"][frame["recording"].isin(both)]
            _far(frame, np.where(frame["piece"].isin(pieces), side, ""), split)

    return test


def _one_side(frame, side, split, columns, word):
    """Refuse a group of `columns` that is on two sides."""
    used = frame[side != ""]
    sides = pd.Series(side[side != ""], index=used.index).groupby([used[column] for column in columns]).nunique()
    if (sides > 1).any():
        where = sides.index[int(np.argmax(sides.to_numpy() > 1))]
        where = " ".join(map(str, where)) if isinstance(where, tuple) else where
        raise ParameterError(
            f"{split.spec}: {word} {where} is on two sides. Put all its windows on one side, or use split() for it."
        )


def _far(frame, side, split, pair=("train", "validation")):
    """Refuse windows of a piece on both sides of `pair` with less than the gap between them."""
    since = frame["since"].to_numpy()
    for piece, rows in frame.groupby("piece").indices.items():
        first, second = (rows[side[rows] == part] for part in pair)
        if len(first) and len(second):
            away = distance(since[first], since[second])
            nearest = int(np.argmin(away))
            if away[nearest] < split.window + split.gap - EPS:
                apart = max(away[nearest] - split.window, 0)
                raise ParameterError(
                    f"{split.spec}: {pair[0]} and {pair[1]} are {apart:g} s apart at second "
                    f"{frame['second'].iloc[first[nearest]]:g} of {piece}: expected a gap of {split.gap:g} s."
                )


CHECKS = {
    "random": _check_random,
    "interleaved": _check_interleaved,
    "blocked": _check_blocked,
    "repeat": _check_groups(("recording",), ("subject", "stimulus", "condition", "repeat")),
    "condition": _check_groups(("condition",), ("recording",)),
    "subject": _check_groups(("subject",), ("recording",)),
    "song": _check_groups(("stimulus",), ("work",), ("recording",)),
    "subject_song": _check_groups(("subject",), ("stimulus",), ("work",), ("recording",)),
}
