"""How each split chooses its test and its validation side (for :mod:`eegviz.splits`).

All work on the canonical table of :func:`eegviz._split_table.canonical`; masks have one value a row of it.
"""

from dataclasses import dataclass

import numpy as np

from eegviz._split_table import (
    CHUNK,
    EPS,
    distance,
    listed,
    percent_or_names,
    percentage,
    three_percentages,
    together,
    units_of,
    whole_number,
)
from eegviz.errors import ParameterError

IMAGINED = "imagery"  # what `condition` holds out when it is not told
WHOLE_UNITS = 5  # validation takes whole listeners or songs from this many on; our choice


@dataclass(frozen=True)
class Job:
    """What one call of `split` passes to the functions that choose the sides."""

    options: str
    rng: np.random.Generator
    gap: float
    window: float
    share: float


# --- the test side: (frame, job) → test mask, dropped mask, full spec, words -----------------------------------------


def _test_random(frame, job):
    percent = three_percentages(job.options)
    test = np.zeros(len(frame), dtype=bool)
    test[job.rng.permutation(len(frame))[: round(len(frame) * percent[2] / 100)]] = True
    spec = "random:" + "/".join(f"{number:g}" for number in percent)
    return test, np.zeros_like(test), spec, f"{percent[2]:g} % of the windows, drawn at random"


def _test_interleaved(frame, job):
    every = whole_number(job.options, "interleaved: N", low=2)
    test = (frame["chunk"] % every == every - 1).to_numpy()
    return test, np.zeros_like(test), f"interleaved:{every}", f"one chunk of {CHUNK:g} s in every {every}"


def _test_blocked(frame, job):
    percent = percentage(job.options, f"blocked:{job.options}")
    span = frame.groupby("piece")["since"].transform("max").to_numpy() + job.window
    cut = np.round(span * (1 - percent / 100))  # a whole second
    since = frame["since"].to_numpy()
    test = since >= cut - EPS
    dropped = ~test & (since + job.window + job.gap > cut + EPS)
    held = f"the last {percent:g} % of every stimulus, after a gap of {job.gap:g} s"
    return test, dropped, f"blocked:{percent:g}", held


def _test_repeat(frame, job):
    group = frame.groupby(["subject", "stimulus", "condition"])["repeat"]
    several = (group.transform("nunique") > 1).to_numpy()
    if not several.any():
        raise ParameterError(
            "repeat: no listener heard a song twice in this table; one hearing must stay for the training. "
            "Use subject or song, which separate song from recording too."
        )
    repeat = frame["repeat"].to_numpy()
    if not job.options:
        test = several & (repeat == group.transform("max").to_numpy())
        return test, np.zeros_like(test), "repeat", "the last hearing of every song that was heard again"
    number = whole_number(job.options, "repeat: N", low=0)
    chosen = repeat == number
    if not (chosen & several).any():
        heard = ", ".join(map(str, sorted(set(repeat[several]))))
        raise ParameterError(f"repeat:{number}: no such hearing beside another; expected one of {heard}.")
    # A hearing that has no other beside it is on neither side: its listener's training lacks the song.
    held = f"hearing {number} of every song that was heard again"
    return chosen & several, chosen & ~several, f"repeat:{number}", held


def _test_condition(frame, job):
    units = sorted(set(frame["condition"]))
    if "" in units:
        raise ParameterError("condition: some windows have no condition. Leave them out first.")
    if len(units) < 2:
        raise ParameterError(
            f"condition: the table has only one condition ({units[0]}); one must stay for the training. Take several, "
            "with condition= or --condition, such as listening,imagery."
        )
    if not job.options and (len(units) > 2 or IMAGINED not in units):
        raise ParameterError(
            f"condition: which one is held out? The table has {', '.join(units)}: write e.g. condition:{units[0]}."
        )
    options = (job.options or IMAGINED).split(",")
    names = sorted({name.strip() for name in options if name.strip()})
    unknown = [name for name in names if name not in units]
    if unknown or not names:
        raise ParameterError(
            f"condition:{job.options}: unknown {', '.join(map(repr, unknown or options))}; "
            f"expected one of {', '.join(units)}."
        )
    if len(names) == len(units):
        raise ParameterError(
            f"condition:{job.options} holds out all {len(units)} of them: the training side would be empty."
        )
    test = frame["condition"].isin(names).to_numpy()
    return test, np.zeros_like(test), f"condition:{','.join(names)}", f"all recordings of {', '.join(names)}"


def _test_subject(frame, job):
    test, text, names = _hold_out(frame, "subject", "subject", job.options, job.rng)
    return test, np.zeros_like(test), f"subject:{text}", f"whole listeners: {', '.join(names)}"


def _test_song(frame, job):
    test, text, names = _hold_out(frame, "stimulus", "song", job.options, job.rng)
    return test, np.zeros_like(test), f"song:{text}", f"whole songs: {', '.join(names)}"


def _test_subject_song(frame, job):
    who, slash, what = job.options.partition("/")
    if not (slash and who.strip() and what.strip()) or "/" in what:
        raise ParameterError(f"subject_song:{job.options}: expected listeners/songs, e.g. subject_song:20/30.")
    subject, text, people = _hold_out(frame, "subject", "subject_song", who, job.rng)
    song, text2, songs = _hold_out(frame, "stimulus", "subject_song", what, job.rng)
    held = f"whole listeners ({', '.join(people)}) with whole songs ({', '.join(songs)})"
    # A held-out listener's other songs, and the held-out songs of other listeners, are on neither side.
    return subject & song, subject ^ song, f"subject_song:{text}/{text2}", held


def _hold_out(frame, column, name, options, rng):
    """Mask of the units held out, the options in full, their names; songs that are versions of one piece go together."""
    units = units_of(frame, column, name)
    percent, names = percent_or_names(options, units, name)
    groups = together(frame, column, name)
    if names:
        chosen = [group for group in groups if set(group) & set(names)]
        if len(chosen) == len(groups):
            raise ParameterError(
                f"{name}:{options} holds out all {len(groups)} pieces, for songs that are versions of one go together: the "
                "training side would be empty."
            )
    else:
        count = min(max(1, round(len(groups) * percent / 100)), len(groups) - 1)
        chosen = [groups[i] for i in rng.permutation(len(groups))[:count]]
    held = sorted(unit for group in chosen for unit in group)
    return frame[column].isin(held).to_numpy(), listed(held) if names else f"{percent:g}", held


TESTS = {
    "random": _test_random,
    "interleaved": _test_interleaved,
    "blocked": _test_blocked,
    "repeat": _test_repeat,
    "condition": _test_condition,
    "subject": _test_subject,
    "song": _test_song,
    "subject_song": _test_subject_song,
}


# --- the validation side: (frame, side, job) → mask ------------------------------------------------------------------


def _validate_random(frame, side, job):
    """Chunks of recordings, less their test windows, up to the percentage (exactly where that is possible)."""
    wanted = round(len(frame) * three_percentages(job.options)[1] / 100)
    rows = np.flatnonzero(side == "train")
    cells = frame.iloc[rows].groupby(["recording", "chunk"]).ngroup().to_numpy()
    size = np.bincount(cells)
    chosen, total = np.zeros(len(size), dtype=bool), 0
    for cell in job.rng.permutation(len(size)):
        if total + size[cell] <= wanted:
            chosen[cell], total = True, total + size[cell]
        if total == wanted:
            break
    mask = np.zeros(len(frame), dtype=bool)
    mask[rows[chosen[cells]]] = True
    return mask


def _validate_chunks(frame, side, job):
    """Chunks of a stimulus for all listeners, spread evenly; one chunk of each stays in training."""
    train = side == "train"
    cells = frame[train].groupby("piece")["chunk"].unique()
    place, owner = [], []
    for piece, chunks in cells.items():
        chunks = job.rng.permutation(np.sort(chunks))
        start = job.rng.random()  # systematic sampling: every stimulus gives its share, to within one chunk
        place += [(i + start) / len(chunks) for i in range(len(chunks) - 1)]
        owner += [(piece, chunk) for chunk in chunks[:-1]]
    count = max(1, round(job.share * sum(map(len, cells))))
    chosen = {owner[i] for i in np.argsort(place, kind="stable")[:count]}
    return train & np.array([cell in chosen for cell in zip(frame["piece"], frame["chunk"], strict=True)])


def _validate_runs(frame, side, job):
    """One run of neighbouring whole chunks of every stimulus, for all listeners of the training side."""
    train = side == "train"
    mask = np.zeros(len(frame), dtype=bool)
    since, chunk, recording = (frame[column].to_numpy() for column in ("since", "chunk", "recording"))
    for _, rows in sorted(frame.groupby("piece").indices.items()):
        rows = rows[np.isin(recording[rows], np.unique(recording[rows][train[rows]]))]
        have = np.unique(chunk[rows][train[rows]])
        if len(have) < 2:
            continue
        whole = np.setdiff1d(have, chunk[rows][~train[rows]])
        count = max(1, round(job.share * len(have)))
        starts = [first for first in whole if np.isin(np.arange(first, first + count), whole).all()]
        for first in job.rng.permutation(starts):
            begin, end = first * CHUNK, (first + count) * CHUNK
            inside = (since[rows] >= begin - EPS) & (since[rows] + job.window <= end + EPS)
            far = (since[rows] + job.window + job.gap <= begin + EPS) | (since[rows] >= end + job.gap - EPS)
            if (far & train[rows]).any() and inside.any():
                mask[rows[inside]] = True
                break
    return mask


def _validate_units(*columns):
    """Whole units of the first column that has enough of them in training; runs of chunks otherwise."""

    def choose(frame, side, job):
        for column in columns:
            units = sorted(set(frame[column][side == "train"]))
            if len(units) >= WHOLE_UNITS:
                count = max(1, round(job.share * len(units)))
                chosen = [units[i] for i in job.rng.permutation(len(units))[:count]]
                return frame[column].isin(chosen).to_numpy() & (side == "train")
        return _validate_runs(frame, side, job)

    return choose


VALIDATIONS = {
    "random": _validate_random,
    "interleaved": _validate_chunks,
    "blocked": _validate_runs,
    "repeat": _validate_runs,
    "condition": _validate_runs,
    "subject": _validate_units("subject"),
    "song": _validate_units("work"),
    "subject_song": _validate_units("work", "subject"),
}


def open_gap(frame, side, job):
    """Take training windows out of `side` that lie in the gap round the validation's runs of chunks."""
    shared = set(frame["recording"][side == "validation"]) & set(frame["recording"][side == "train"])
    pieces = set(frame["piece"][frame["recording"].isin(shared)])
    since = frame["since"].to_numpy()
    for piece, rows in frame.groupby("piece").indices.items():
        if piece in pieces:
            train = rows[side[rows] == "train"]
            near = distance(since[train], since[rows[side[rows] == "validation"]])
            side[train[near < job.window + job.gap - EPS]] = ""
