"""Divide a table of windows into training, validation and test, and refuse leaks.

A *window* is one row of a table with at least ``recording, subject, stimulus, repeat, second``; it covers
the stimulus from ``second`` to ``second + window`` (one second unless told otherwise). ``split(table, spec)``
answers with row positions. What a split holds out decides what a score on it can claim:

============================ ====================================== ==================================
spec (options, defaults)     held out for the test                  separates song from recording?
============================ ====================================== ==================================
``random:80/10/10``          windows drawn at random                no
``interleaved:4``            every 4th 5-s chunk of the stimulus    no
``blocked:25``               the last 25 % of every stimulus        no
``repeat`` ``repeat:2``      the last (second) hearing of a song    yes
``subject:20`` ``subject:A,B``   20 % of the listeners (by name)    yes
``song:30`` ``song:A,B``     30 % of the songs (by name)            yes (unseen song)
``subject_song:20/30``       both; ``subject_song:A,B/X,Y`` by name yes (unseen song)
============================ ====================================== ==================================

Conventions
-----------
* Seconds count from the first second of the stimulus in the table, so a chunk, a block and its gap lie at
  the same music for every listener. Where a row has no stimulus, its recording stands in.
* The *gap* is empty time between the end of a window on one side and the start of a window on another; it
  must be at least one window plus the longest filter or lag. `random` and `interleaved` are the published
  protocols and have none. The windows in a gap belong to no side.
* Validation comes from whole 5-s chunks of the training side, never from the test:

  - `random`: chunks of single recordings, without their test windows, until the percentage is reached;
  - `interleaved`: chunks of a stimulus for all its listeners, spread over the stimuli;
  - `blocked`, `repeat`: one run of neighbouring chunks of every stimulus for all its listeners, with the gap
    on both sides, so that no music of the validation is in the training;
  - `subject`, `song`: whole listeners or songs where the training side has five or more of them, else
    runs of chunks as for `blocked`; `subject_song`: whole songs, else whole listeners, else runs.
* Under `repeat` the same second of the same song is in the training (another hearing) and in the test: by
  design. The second-by-second mean of the training pictures is then the true music, a ceiling, no baseline.
* The result depends on what the rows hold and on the seed, never on the order of the rows.

Functions: `split`, `folds`, `check`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError

CHUNK = 5.0  # seconds; EEG2Mel's unit (every 4th chunk is test)
WHOLE_UNITS = 5  # validation takes whole listeners or songs from this many on; our choice
CANNOT_SEPARATE = "cannot separate song from recording"
NAMES = {
    "random": "windows drawn at random",
    "interleaved": "every N-th chunk of 5 s",
    "blocked": "the last part of every stimulus, with a gap",
    "repeat": "another hearing of songs that are in the training",
    "subject": "whole listeners",
    "song": "whole songs",
    "subject_song": "whole listeners and whole songs",
}
_OPTIONS = {
    "random": "80/10/10",
    "interleaved": "4",
    "blocked": "25",
    "repeat": "",
    "subject": "20",
    "song": "30",
    "subject_song": "20/30",
}
_EPS = 1e-9  # seconds; for comparisons of times


@dataclass(frozen=True)
class _Job:
    """What one call of `split` passes to the functions that choose the sides."""

    options: str
    rng: np.random.Generator
    gap: float
    window: float
    share: float


@dataclass(frozen=True, eq=False)
class Split:
    """Row positions of the three sides, and what a score on this split may claim.

    Attributes
    ----------
    name, spec : str
        The protocol, and the text it was made from with all options filled in.
    train, validation, test : ndarray of int, sorted
        Positions of rows in the table (``table.iloc[split.train]``).
    seed : int
    can_separate : bool
        False for random, interleaved and blocked: song and recording are the same thing there.
    label : str
        What to print beside every score.
    holds_out : str
        What the test side holds, in words.
    gap, window : float
        Seconds (module docstring); what `check` tests with.
    """

    name: str
    spec: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    seed: int
    can_separate: bool
    label: str
    holds_out: str
    gap: float
    window: float


def split(table, spec, *, seed=0, gap=1.0, validation=0.1, window=1.0):
    """Divide the windows of a table into training, validation and test.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a window: ``recording``, ``second`` (s), ``stimulus`` and, as the protocol needs them,
        ``subject``, ``repeat``, ``condition``, ``session``.
    spec : str
        A protocol with its options, such as ``"interleaved"``, ``"random:70/10/20"`` or ``"song:30"``. One number
        is a percentage (``"subject:20"``); names are separated by commas, and one name that is a number is
        written with a comma behind it (``"subject:20,"``).
    seed : int, ≥ 0
    gap : float, ≥ window
        Seconds without windows between the sides; one window plus the longest filter or lag.
    validation : float, 0 < validation ≤ 0.5
        Share of the training side's chunks (or listeners, songs) that is taken for validation. `random` takes
        its own percentage instead.
    window : float, > 0
        Length of a window in seconds.

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        For an unknown name, options that cannot be read, percentages that do not sum to 100, an empty side,
        too few repeats, listeners or songs, or a window that straddles a boundary.
    DataError
        When the table lacks a column, holds a window twice, or its seconds are not numbers.

    Notes
    -----
    `interleaved` on four minutes a song gives EEG2Mel's 36 000/12 000 windows (20 listeners × 10 songs;
    training and validation together) and 8 640/2 880 (12 × 4) [1]_.

    References
    ----------
    .. [1] Ramirez-Aristizabal & Kello, "EEG2Mel: reconstructing sound from brain responses to music", 2022.
       doi:10.48550/arXiv.2207.13845

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"recording": "S02_song21", "subject": "S02", "stimulus": "song21",
    ...                       "repeat": 1, "second": range(40)})
    >>> parts = split(table, "interleaved")
    >>> parts.test
    array([15, 16, 17, 18, 19, 35, 36, 37, 38, 39])
    >>> parts.label
    'cannot separate song from recording'
    """
    name, options = _parse(spec)
    seed = _whole(seed, "seed", low=0)
    window = _positive(window, "window")
    gap = _positive(gap, "gap")
    if gap < window - _EPS:
        raise ParameterError(
            f"gap={gap:g} s is shorter than one window ({window:g} s): expected one window plus the longest "
            "filter or lag between the sides. Pass a larger gap."
        )
    if not 0 < float(validation) <= 0.5:
        raise ParameterError(f"validation={validation}: expected a share of the training side in (0, 0.5].")
    frame = _canonical(table, name, window)
    job = _Job(options, np.random.default_rng(seed), gap, window, float(validation))
    test, dropped, spec, held = _TESTS[name](frame, job)
    side = np.full(len(frame), "train", dtype="<U10")
    side[dropped] = ""
    side[test] = "test"
    _refuse_empty(side, spec, ("train", "test"))
    side[_VALIDATIONS[name](frame, side, job)] = "validation"
    if name not in ("random", "interleaved"):
        _open_gap(frame, side, job)
    _refuse_empty(side, spec, ("train", "validation", "test"))

    rows = {part: np.sort(frame["row"].to_numpy()[side == part]) for part in ("train", "validation", "test")}
    made = Split(
        name=name,
        spec=spec,
        **rows,
        seed=seed,
        can_separate=name not in ("random", "interleaved", "blocked"),
        label=_label(name, frame, side),
        holds_out=held,
        gap=gap,
        window=window,
    )
    check(table, made)
    return made


def folds(table, spec, *, seed=0, gap=1.0, validation=0.1, window=1.0):
    """Splits whose test sides together hold every unit once, for scores that are pooled over folds.

    With few listeners (five, say) one held-out listener says little: leave each out in turn, pool the scores.

    Parameters
    ----------
    table, seed, gap, validation, window
        As in `split`.
    spec : str
        ``"subject"`` or ``"song"``: leave one out, in turn. ``"subject:20"``: about 100/20 = 5 folds of whole
        listeners drawn by the seed. ``"subject:S03,S07"``: leave out these, one at a time.
        ``"repeat"``: each hearing in turn.

    Returns
    -------
    list of Split
        Each as `split` makes it when its units are named.

    Raises
    ------
    ParameterError
        For a protocol without units, and as in `split`.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame([(f"{who}_a", who, "a", 1, second) for who in "XYZ" for second in range(60)],
    ...                      columns=["recording", "subject", "stimulus", "repeat", "second"])
    >>> [fold.spec for fold in folds(table, "subject")]
    ['subject:X,', 'subject:Y,', 'subject:Z,']
    """
    name, options = _parse(spec)
    if name not in ("subject", "song", "repeat"):
        raise ParameterError(f"{spec!r} has no folds: expected subject, song or repeat. Use split() for {name}.")
    window, given = _positive(window, "window"), ":" in str(spec)
    frame = _canonical(table, name, window)
    if name == "repeat":
        heard = [int(options)] if given else sorted(set(frame["repeat"]))
        specs = [f"repeat:{number}" for number in heard]
    else:
        column = "subject" if name == "subject" else "stimulus"
        units = _units(frame, column, name)
        percent, names = _percent_or_names(options, units, name)
        if not given:
            groups = [[unit] for unit in units]
        elif names:
            groups = [[unit] for unit in names]
        else:
            count = min(max(2, round(100 / percent)), len(units))
            order = np.random.default_rng(_whole(seed, "seed", low=0)).permutation(len(units))
            groups = [sorted(units[i] for i in part) for part in np.array_split(order, count)]
        specs = [f"{name}:{_listed(group)}" for group in groups]
    return [split(table, one, seed=seed, gap=gap, validation=validation, window=window) for one in specs]


def check(table, split):
    """Refuse a split that leaks: a group on two sides, a window across a boundary, an empty side.

    Parameters
    ----------
    table : pandas.DataFrame
        The table that the split was made from.
    split : Split
        Made by `split`, or by hand.

    Raises
    ------
    ParameterError
        With the first leak found: the group or the window, and the sides it is on.

    Examples
    --------
    >>> import dataclasses, pandas as pd
    >>> table = pd.DataFrame({"recording": "r", "subject": "S", "stimulus": "a", "second": range(40)})
    >>> made = split(table, "blocked")
    >>> check(table, made)
    >>> check(table, dataclasses.replace(made, test=made.train))
    Traceback (most recent call last):
    ...
    eegviz.errors.ParameterError: blocked:25: row 0 is on two sides (train and test). ...
    """
    if split.name not in NAMES:
        raise ParameterError(f"unknown split {split.name!r}: expected one of {', '.join(NAMES)}.")
    frame = _canonical(table, split.name, split.window)
    side = np.full(len(frame), "", dtype="<U10")
    for part in ("train", "validation", "test"):
        rows = np.asarray(getattr(split, part))
        if not len(rows):
            raise ParameterError(f"{split.spec}: the {part} side is empty. Use a split that fills all three sides.")
        if rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(frame) or (np.diff(rows) <= 0).any():
            raise ParameterError(
                f"{split.spec}: the {part} side must hold sorted, different row positions from 0 to "
                f"{len(frame) - 1}. Was the split made from another table?"
            )
        taken = side[rows]
        if (taken != "").any():
            row = rows[taken != ""][0]
            raise ParameterError(
                f"{split.spec}: row {row} is on two sides ({side[row]} and {part}). Each window belongs to one side."
            )
        side[rows] = part
    side = side[frame["row"].to_numpy()]
    _CHECKS[split.name](frame, side, split)


# --- reading the spec and the table -------------------------------------------------------------------------


def _parse(spec):
    """Name and options of a spec; the defaults stand in for missing options."""
    name, colon, options = str(spec).strip().partition(":")
    if name not in NAMES:
        raise ParameterError(f"unknown split {name!r}: expected one of {', '.join(NAMES)}.")
    if colon and not options.strip():
        raise ParameterError(f"{spec!r} has a colon and no options: expected e.g. {_example(name)!r}.")
    return name, options.strip() if colon else _OPTIONS[name]


def _example(name):
    return f"{name}:{_OPTIONS[name] or '2'}"


def _canonical(table, name, window):
    """The columns that matter, sorted by recording and second, with the row position in `table`."""
    if not isinstance(table, pd.DataFrame):
        raise DataError(f"expected a table of windows (pandas.DataFrame), found {type(table).__name__}.")
    needed = ["recording", "stimulus", "second"]
    needed += {"repeat": ["subject", "repeat"], "subject": ["subject"], "subject_song": ["subject"]}.get(name, [])
    missing = [column for column in needed if column not in table]
    if missing:
        raise DataError(f"the table of windows lacks {', '.join(missing)}: {name} needs {', '.join(needed)}.")
    if not len(table):
        raise DataError("the table of windows is empty: there is nothing to split.")
    frame = pd.DataFrame({"row": np.arange(len(table))})
    for column in ("recording", "subject", "stimulus", "condition", "session"):
        values = table[column] if column in table else pd.Series([""] * len(table))
        frame[column] = np.where(values.isna(), "", values.astype(str))
    second = pd.to_numeric(table["second"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if not np.isfinite(second).all():
        row = int(np.flatnonzero(~np.isfinite(second))[0])
        raise DataError(f"row {row}: second is {table['second'].iloc[row]!r}, expected a number of seconds.")
    frame["second"] = second
    if name == "repeat":
        frame["repeat"] = _repeats(table["repeat"])
    alone = frame["stimulus"] == ""
    if alone.any() and name in ("repeat", "song", "subject_song"):
        row = int(np.flatnonzero(alone)[0])
        raise ParameterError(f"{name}: row {row} has no stimulus. Leave out windows without music first.")
    frame["piece"] = np.where(alone, "recording " + frame["recording"], "stimulus " + frame["stimulus"])
    frame = frame.sort_values(["recording", "second"], kind="stable", ignore_index=True)
    step = np.diff(frame["second"])[(frame["recording"].to_numpy()[1:] == frame["recording"].to_numpy()[:-1])]
    if len(step) and step.min() <= _EPS:
        twice = frame[frame.duplicated(["recording", "second"])].iloc[0]
        raise DataError(
            f"recording {twice['recording']} has second {twice['second']:g} twice: expected one row a window."
        )
    if name == "random" and len(step) and step.min() < window - _EPS:
        raise ParameterError(
            f"random: windows of {window:g} s start {step.min():g} s apart, so they straddle each "
            "other and would be on two sides. Take windows "
            "that do not overlap, or a split by recording (subject, song, repeat)."
        )
    frame["since"] = frame["second"] - frame.groupby("piece")["second"].transform("min")
    frame["chunk"] = np.floor((frame["since"] + _EPS) / CHUNK).astype(int)
    return frame


def _repeats(column):
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(numbers) | (numbers != np.round(numbers))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"row {row}: repeat is {column.iloc[row]!r}, expected a whole number (1 = first hearing).")
    return numbers.astype(int)


def _whole(value, what, *, low):
    try:
        number = int(value)
        exact = float(value) == number
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or number < low:
        raise ParameterError(f"{what}={value!r}: expected a whole number, {low} or more.")
    return number


def _positive(value, what):
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise ParameterError(f"{what}={value!r}: expected a number of seconds above 0.")
    return number


def _percent(text, spec):
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = np.nan
    if not 0 < number < 100:
        raise ParameterError(f"{spec}: {text!r} is not a percentage between 0 and 100 (expected e.g. 20).")
    return number


def _three_percentages(options):
    parts = options.split("/")
    if len(parts) != 3:
        raise ParameterError(f"random:{options}: expected three percentages, e.g. random:80/10/10.")
    percent = [_percent(part, f"random:{options}") for part in parts]
    if abs(sum(percent) - 100) > 1e-6:
        raise ParameterError(f"random:{options}: the percentages sum to {sum(percent):g}, expected 100.")
    return percent


def _listed(names):
    return ",".join(names) + ("," if len(names) == 1 else "")


def _units(frame, column, name):
    units = sorted(set(frame[column]))
    what = "listener" if column == "subject" else "song"
    if "" in units:
        raise ParameterError(f"{name}: some windows have no {what}. Leave them out first.")
    if len(units) < 2:
        raise ParameterError(
            f"{name}: the table has only one {what} ({units[0]}); one must stay for the training. Use another split."
        )
    return units


def _percent_or_names(options, units, name):
    """``"20"`` or ``"20%"`` → (20.0, []); ``"S03,S07"`` → (nan, names)."""
    text = options.strip()
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and text.removesuffix("%").replace(".", "", 1).isdigit():
        if text in units:
            raise ParameterError(f"{name}:{text} is a percentage and a name: write {name}:{text}% or {name}:{text},")
        return _percent(text, f"{name}:{text}"), []
    if len(parts) > 1 and parts[-1] == "":
        parts = parts[:-1]
    unknown = [part for part in parts if part not in units]
    if unknown:
        known = ", ".join(units[:12]) + (", …" if len(units) > 12 else "")
        raise ParameterError(
            f"{name}:{options}: unknown {', '.join(map(repr, unknown))}; expected a percentage or {known}."
        )
    if len(set(parts)) == len(units):
        raise ParameterError(f"{name}:{options} holds out all {len(units)} of them: the training side would be empty.")
    return np.nan, sorted(set(parts))


# --- the test side: (frame, job) → test mask, dropped mask, full spec, words --------------------------------


def _test_random(frame, job):
    percent = _three_percentages(job.options)
    test = np.zeros(len(frame), dtype=bool)
    test[job.rng.permutation(len(frame))[: round(len(frame) * percent[2] / 100)]] = True
    spec = "random:" + "/".join(f"{number:g}" for number in percent)
    return test, np.zeros_like(test), spec, f"{percent[2]:g} % of the windows, drawn at random"


def _test_interleaved(frame, job):
    every = _whole(job.options, "interleaved: N", low=2)
    test = (frame["chunk"] % every == every - 1).to_numpy()
    return test, np.zeros_like(test), f"interleaved:{every}", f"one chunk of {CHUNK:g} s in every {every}"


def _test_blocked(frame, job):
    percent = _percent(job.options, f"blocked:{job.options}")
    span = frame.groupby("piece")["since"].transform("max").to_numpy() + job.window
    cut = np.round(span * (1 - percent / 100))  # a whole second
    since = frame["since"].to_numpy()
    test = since >= cut - _EPS
    dropped = ~test & (since + job.window + job.gap > cut + _EPS)
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
    number = _whole(job.options, "repeat: N", low=0)
    chosen = repeat == number
    if not (chosen & several).any():
        heard = ", ".join(map(str, sorted(set(repeat[several]))))
        raise ParameterError(f"repeat:{number}: no such hearing beside another; expected one of {heard}.")
    # A hearing that has no other beside it is on neither side: its listener's training lacks the song.
    held = f"hearing {number} of every song that was heard again"
    return chosen & several, chosen & ~several, f"repeat:{number}", held


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
    """Mask of the units held out, the options in full, their names."""
    units = _units(frame, column, name)
    percent, names = _percent_or_names(options, units, name)
    if names:
        return frame[column].isin(names).to_numpy(), _listed(names), names
    count = min(max(1, round(len(units) * percent / 100)), len(units) - 1)
    names = sorted(units[i] for i in rng.permutation(len(units))[:count])
    return frame[column].isin(names).to_numpy(), f"{percent:g}", names


# --- the validation side: (frame, side, job) → mask ---------------------------------------------------------


def _validate_random(frame, side, job):
    """Chunks of recordings, less their test windows, up to the percentage (exactly where that is possible)."""
    wanted = round(len(frame) * _three_percentages(job.options)[1] / 100)
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
            inside = (since[rows] >= begin - _EPS) & (since[rows] + job.window <= end + _EPS)
            far = (since[rows] + job.window + job.gap <= begin + _EPS) | (since[rows] >= end + job.gap - _EPS)
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


def _open_gap(frame, side, job):
    """Take training windows out of `side` that lie in the gap round the validation's runs of chunks."""
    shared = set(frame["recording"][side == "validation"]) & set(frame["recording"][side == "train"])
    pieces = set(frame["piece"][frame["recording"].isin(shared)])
    since = frame["since"].to_numpy()
    for piece, rows in frame.groupby("piece").indices.items():
        if piece in pieces:
            train = rows[side[rows] == "train"]
            near = _distance(since[train], since[rows[side[rows] == "validation"]])
            side[train[near < job.window + job.gap - _EPS]] = ""


def _distance(starts, others):
    """Seconds from each start to the nearest of the other starts."""
    others = np.concatenate([[-np.inf], np.unique(others), [np.inf]])
    place = np.searchsorted(others, starts)
    return np.minimum(others[place] - starts, starts - others[place - 1])


# --- what check() tests: (frame, side, split) ---------------------------------------------------------------


def _check_random(frame, side, split):
    _one_side(frame, np.where(side == "test", "", side), split, ["recording", "chunk"], "chunk")


def _check_interleaved(frame, side, split):
    over = frame["since"] - frame["chunk"] * CHUNK + split.window > CHUNK + _EPS
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
    def test(frame, side, split):
        merged = np.where(side == "validation", "train", side)
        for columns in keys:
            _one_side(frame, merged, split, list(columns), _WORDS[columns[0]])
        both = set(frame["recording"][side == "train"]) & set(frame["recording"][side == "validation"])
        if both:
            _far(
                frame,
                np.where(frame["piece"].isin(frame["piece"][frame["recording"].isin(both)]), side, ""),
                split,
            )

    return test


_WORDS = {"recording": "recording", "subject": "listener", "stimulus": "song"}


def _one_side(frame, side, split, columns, word):
    used = frame[side != ""]
    sides = pd.Series(side[side != ""], index=used.index).groupby([used[column] for column in columns]).nunique()
    if (sides > 1).any():
        where = sides.index[int(np.argmax(sides.to_numpy() > 1))]
        where = " ".join(map(str, where)) if isinstance(where, tuple) else where
        raise ParameterError(
            f"{split.spec}: {word} {where} is on two sides. Put all its windows on one side, or use split() for it."
        )


def _far(frame, side, split, pair=("train", "validation")):
    since = frame["since"].to_numpy()
    for piece, rows in frame.groupby("piece").indices.items():
        first, second = (rows[side[rows] == part] for part in pair)
        if len(first) and len(second):
            away = _distance(since[first], since[second])
            nearest = int(np.argmin(away))
            if away[nearest] < split.window + split.gap - _EPS:
                apart = max(away[nearest] - split.window, 0)
                raise ParameterError(
                    f"{split.spec}: {pair[0]} and {pair[1]} are {apart:g} s apart at second "
                    f"{frame['second'].iloc[first[nearest]]:g} of {piece}: expected a gap of {split.gap:g} s."
                )


def _refuse_empty(side, spec, parts):
    for part in parts:
        if not (side == part).any():
            raise ParameterError(
                f"{spec}: the {part} side is empty ({len(side)} windows in the table). "
                "Take longer or more recordings, other options, or a smaller gap."
            )


def _label(name, frame, side):
    if name in ("random", "interleaved", "blocked"):
        return CANNOT_SEPARATE
    if name != "repeat":
        return {
            "subject": "separates song from recording: unseen listeners, songs known from training",
            "song": "separates song from recording: unseen songs, listeners known from training",
            "subject_song": "separates song from recording: unseen listeners and unseen songs",
        }[name]
    if (frame["session"] == "").all():
        caveat = "; sessions are not given, and drift of a shared one could still mark the song"
    else:
        visit = frame["subject"] + "\0" + frame["session"]
        shared = set(visit[side == "test"]) & set(visit[side == "train"])
        caveat = "; hearings share a session, whose drift could still mark the song" if shared else ""
    return f"separates song from recording: another hearing of songs known from training{caveat}"


_TESTS = {
    "random": _test_random,
    "interleaved": _test_interleaved,
    "blocked": _test_blocked,
    "repeat": _test_repeat,
    "subject": _test_subject,
    "song": _test_song,
    "subject_song": _test_subject_song,
}
_VALIDATIONS = {
    "random": _validate_random,
    "interleaved": _validate_chunks,
    "blocked": _validate_runs,
    "repeat": _validate_runs,
    "subject": _validate_units("subject"),
    "song": _validate_units("stimulus"),
    "subject_song": _validate_units("stimulus", "subject"),
}
_CHECKS = {
    "random": _check_random,
    "interleaved": _check_interleaved,
    "blocked": _check_blocked,
    "repeat": _check_groups(("recording",), ("subject", "stimulus", "condition", "repeat")),
    "subject": _check_groups(("subject",), ("recording",)),
    "song": _check_groups(("stimulus",), ("recording",)),
    "subject_song": _check_groups(("subject",), ("stimulus",), ("recording",)),
}
