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
``condition:imagery``        all recordings of a condition          yes
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
  - `blocked`, `repeat`, `condition`: one run of neighbouring chunks of every stimulus for all its listeners, with the gap
    on both sides, so that no music of the validation is in the training;
  - `subject`, `song`: whole listeners or songs where the training side has five or more of them, else
    runs of chunks as for `blocked`; `subject_song`: whole songs, else whole listeners, else runs.
* `condition` trains on the other conditions of the table (heard melodies) and tests on one (imagined ones). Without a
  name it holds out "imagery" where the table has it and one other condition.
* Under `repeat` and `condition` the same second of the same song is in the training (another hearing) and in the
  test: by design. The second-by-second mean of the training pictures is then the true music, a ceiling, no baseline.
* Songs that are versions of one piece (other lyrics, another take, the same scrambled) are named so by the column ``piece``
  of the table, which comes from the store's ``stimuli.csv``; `song` and `subject_song` hold them out together, so that
  ``song:A`` is ``song:A,B`` where B is the same piece. Where the column is missing, each stimulus is a piece of its own.
* The result depends on what the rows hold and on the seed, never on the order of the rows.

Functions: `split`, `folds`, `check`, `check_spec`, `untrained` (what is new to a model in its test seconds, in words).
"""

from dataclasses import dataclass

import numpy as np

from eegviz._split_checks import CHECKS, refuse_empty
from eegviz._split_sides import TESTS, VALIDATIONS, Job, open_gap
from eegviz._split_table import (
    EPS,
    canonical,
    listed,
    percent_or_names,
    seconds_above_0,
    together,
    units_of,
    whole_number,
)
from eegviz.errors import ParameterError

CANNOT_SEPARATE = "cannot separate song from recording"
NAMES = {
    "random": "windows drawn at random",
    "interleaved": "every N-th chunk of 5 s",
    "blocked": "the last part of every stimulus, with a gap",
    "repeat": "another hearing of songs that are in the training",
    "condition": "all recordings of a condition, such as imagery",
    "subject": "whole listeners",
    "song": "whole songs",
    "subject_song": "whole listeners and whole songs",
}
# what the model has not met of its test seconds, and what it has; a sentence that follows "All clips are of "
_UNTRAINED = {
    "random": "seconds that the model was not trained on; it knows their recordings from the seconds around them, and the "
    "music of those seconds from other listeners or hearings.",
    "interleaved": "seconds of music that the model was not trained on; it knows their recordings from the seconds around "
    "them.",
    "blocked": "seconds of music that the model was not trained on; it knows their recordings from earlier seconds.",
    "repeat": "recordings that the model was not trained on; the music itself it knows from other hearings.",
    "condition": "recordings of a condition that the model was not trained on; the music itself it knows from another "
    "condition.",
    "subject": "recordings, and of listeners, that the model was not trained on; the music itself it knows from other "
    "listeners.",
    "song": "songs that the model was not trained on, neither the recordings nor the music; the listeners it knows from "
    "other songs.",
    "subject_song": "songs and of listeners that the model was not trained on, neither the recordings nor the music.",
}
_OPTIONS = {
    "random": "80/10/10",
    "interleaved": "4",
    "blocked": "25",
    "repeat": "",
    "condition": "",
    "subject": "20",
    "song": "30",
    "subject_song": "20/30",
}
_EXAMPLES = {"repeat": "2", "condition": "imagery"}  # of protocols that need no options


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


def untrained(spec):
    """What the model has not met of the test seconds of a split, and what it has, as a sentence for listeners.

    >>> untrained("repeat")
    'All clips are of recordings that the model was not trained on; the music itself it knows from other hearings.'
    """
    return f"All clips are of {_UNTRAINED[spec.partition(':')[0]]}"


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
        too few repeats, conditions, listeners or songs, or a window that straddles a boundary.
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
    seed = whole_number(seed, "seed", low=0)
    window = seconds_above_0(window, "window")
    gap = seconds_above_0(gap, "gap")
    if gap < window - EPS:
        raise ParameterError(
            f"gap={gap:g} s is shorter than one window ({window:g} s): expected one window plus the longest "
            "filter or lag between the sides. Pass a larger gap."
        )
    if not 0 < float(validation) <= 0.5:
        raise ParameterError(f"validation={validation}: expected a share of the training side in (0, 0.5].")
    frame = canonical(table, name, window)
    job = Job(options, np.random.default_rng(seed), gap, window, float(validation))
    test, dropped, spec, held = TESTS[name](frame, job)
    side = np.full(len(frame), "train", dtype="<U10")
    side[dropped] = ""
    side[test] = "test"
    refuse_empty(side, spec, ("train", "test"))
    side[VALIDATIONS[name](frame, side, job)] = "validation"
    if name not in ("random", "interleaved"):
        open_gap(frame, side, job)
    refuse_empty(side, spec, ("train", "validation", "test"))

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
    ['subject:X', 'subject:Y', 'subject:Z']
    """
    name, options = _parse(spec)
    if name not in ("subject", "song", "repeat"):
        raise ParameterError(
            f"{spec!r} has no folds: expected subject, song or repeat. For {name} leave out --folds (in Python: split())."
        )
    window, given = seconds_above_0(window, "window"), ":" in str(spec)
    frame = canonical(table, name, window)
    if name == "repeat":
        heard = [int(options)] if given else sorted(set(frame["repeat"]))
        specs = [f"repeat:{number}" for number in heard]
    else:
        column = "subject" if name == "subject" else "stimulus"
        units = units_of(frame, column, name)
        percent, names = percent_or_names(options, units, name)
        groups = together(frame, column, name)
        if names:
            groups = [group for group in groups if set(group) & set(names)]
        elif given:
            count = min(max(2, round(100 / percent)), len(groups))
            order = np.random.default_rng(whole_number(seed, "seed", low=0)).permutation(len(groups))
            groups = [sorted(unit for i in part for unit in groups[i]) for part in np.array_split(order, count)]
        specs = [f"{name}:{listed(group)}" for group in groups]
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
    frame = canonical(table, split.name, split.window)
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
    CHECKS[split.name](frame, side, split)


def check_spec(spec):
    """Refuse the name of a split that is none, before there is a table; options are read with it.

    Examples
    --------
    >>> check_spec("song:30")
    >>> check_spec("thirds")
    Traceback (most recent call last):
    eegviz.errors.ParameterError: unknown split 'thirds': expected one of random, ...
    """
    _parse(spec)


def _parse(spec):
    """Name and options of a spec; the defaults stand in for missing options."""
    name, colon, options = str(spec).strip().partition(":")
    if name not in NAMES:
        raise ParameterError(f"unknown split {name!r}: expected one of {', '.join(NAMES)}.")
    if colon and not options.strip():
        raise ParameterError(f"{spec!r} has a colon and no options: expected e.g. {_example(name)!r}.")
    return name, options.strip() if colon else _OPTIONS[name]


def _example(name):
    return f"{name}:{_OPTIONS[name] or _EXAMPLES[name]}"


def _label(name, frame, side):
    if name in ("random", "interleaved", "blocked"):
        return CANNOT_SEPARATE
    versions = " (in any version)" if (frame["work"] != frame["stimulus"]).any() else ""
    if name not in ("repeat", "condition"):
        return {
            "subject": "separates song from recording: unseen listeners, songs known from training",
            "song": f"separates song from recording: unseen songs{versions}, listeners known from training",
            "subject_song": f"separates song from recording: unseen listeners and unseen songs{versions}",
        }[name]
    if (frame["session"] == "").all():
        caveat = "; sessions are not given, and drift of a shared one could still mark the song"
    else:
        visit = frame["subject"] + "\0" + frame["session"]
        shared = set(visit[side == "test"]) & set(visit[side == "train"])
        what = "hearings" if name == "repeat" else "conditions"
        caveat = f"; {what} share a session, whose drift could still mark the song" if shared else ""
    if name == "repeat":
        return f"separates song from recording: another hearing of songs known from training{caveat}"
    test, train = frame[side == "test"], frame[side == "train"]
    tested = ", ".join(sorted(set(test["condition"])))
    new = [
        word
        for word, column in (("songs", "stimulus"), ("listeners", "subject"))
        if set(test[column]) - set(train[column])
    ]
    known = f"some {' and '.join(new)} are not in training" if new else "songs and listeners known from training"
    return f"separates song from recording: another condition ({tested}), {known}{caveat}"
