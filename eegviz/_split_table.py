"""The table of windows and the options of a split, read and refused (for :mod:`eegviz.splits`)."""

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError

CHUNK = 5.0  # seconds; EEG2Mel's unit (every 4th chunk is test)
EPS = 1e-9  # seconds; for comparisons of times


def canonical(table, name, window):
    """The columns that matter, sorted by recording and second, with the row position in `table`.

    Added are ``work`` (what the column piece of the table says: stimuli of one work are versions of the same music; the
    stimulus where it says nothing), ``piece`` (the stimulus, or the recording where there is none: seconds count along it),
    ``since`` (seconds from the first of the piece) and ``chunk`` (number of the 5-s chunk of the piece).
    """
    if not isinstance(table, pd.DataFrame):
        raise DataError(f"expected a table of windows (pandas.DataFrame), found {type(table).__name__}.")
    needed = ["recording", "stimulus", "second"]
    needed += {
        "repeat": ["subject", "repeat"],
        "condition": ["subject", "condition"],
        "subject": ["subject"],
        "subject_song": ["subject"],
    }.get(name, [])
    missing = [column for column in needed if column not in table]
    if missing:
        raise DataError(f"the table of windows lacks {', '.join(missing)}: {name} needs {', '.join(needed)}.")
    if not len(table):
        raise DataError("the table of windows is empty: there is nothing to split.")
    frame = pd.DataFrame({"row": np.arange(len(table))})
    for column in ("recording", "subject", "stimulus", "condition", "session", "piece"):
        values = table[column] if column in table else pd.Series([""] * len(table))
        frame[column] = np.where(values.isna(), "", values.astype(str))
    frame["work"] = np.where(frame["piece"] == "", frame["stimulus"], frame["piece"])
    second = pd.to_numeric(table["second"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if not np.isfinite(second).all():
        row = int(np.flatnonzero(~np.isfinite(second))[0])
        raise DataError(f"row {row}: second is {table['second'].iloc[row]!r}, expected a number of seconds.")
    frame["second"] = second
    if name == "repeat":
        frame["repeat"] = _repeats(table["repeat"])
    alone = frame["stimulus"] == ""
    if alone.any() and name in ("repeat", "condition", "song", "subject_song"):
        row = int(np.flatnonzero(alone)[0])
        raise ParameterError(f"{name}: row {row} has no stimulus. Leave out windows without music first.")
    frame["piece"] = np.where(alone, "recording " + frame["recording"], "stimulus " + frame["stimulus"])
    frame = frame.sort_values(["recording", "second"], kind="stable", ignore_index=True)
    step = np.diff(frame["second"])[(frame["recording"].to_numpy()[1:] == frame["recording"].to_numpy()[:-1])]
    if len(step) and step.min() <= EPS:
        twice = frame[frame.duplicated(["recording", "second"])].iloc[0]
        raise DataError(
            f"recording {twice['recording']} has second {twice['second']:g} twice: expected one row a window."
        )
    if name == "random" and len(step) and step.min() < window - EPS:
        raise ParameterError(
            f"random: windows of {window:g} s start {step.min():g} s apart, so they straddle each other and would be on "
            "two sides. Take windows that do not overlap, or a split by recording (subject, song, repeat)."
        )
    frame["since"] = frame["second"] - frame.groupby("piece")["second"].transform("min")
    frame["chunk"] = np.floor((frame["since"] + EPS) / CHUNK).astype(int)
    return frame


def _repeats(column):
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(numbers) | (numbers != np.round(numbers))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"row {row}: repeat is {column.iloc[row]!r}, expected a whole number (1 = first hearing).")
    return numbers.astype(int)


def distance(starts, others):
    """Seconds from each start to the nearest of the other starts."""
    others = np.concatenate([[-np.inf], np.unique(others), [np.inf]])
    place = np.searchsorted(others, starts)
    return np.minimum(others[place] - starts, starts - others[place - 1])


def units_of(frame, column, name):
    """The listeners or songs of the table, sorted; two or more."""
    units = sorted(set(frame[column]))
    what = "listener" if column == "subject" else "song"
    if "" in units:
        raise ParameterError(f"{name}: some windows have no {what}. Leave them out first.")
    if len(units) < 2:
        raise ParameterError(
            f"{name}: the table has only one {what} ({units[0]}); one must stay for the training. Use another split."
        )
    return units


def together(frame, column, name):
    """Units that go to one side together: each listener alone, or all songs of one work; two lists of names or more."""
    wholes = frame["work" if column == "stimulus" else column]
    groups = [sorted(set(units)) for _, units in frame[column].groupby(wholes.to_numpy())]
    if len(groups) < 2:
        raise ParameterError(
            f"{name}: all songs of the table ({', '.join(groups[0])}) are versions of one piece; another piece must stay for "
            "the training. Use another split."
        )
    return groups


def whole_number(value, what, *, low):
    """An int, `low` or more, from a number or its text."""
    try:
        number = int(value)
        exact = float(value) == number
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or number < low:
        raise ParameterError(f"{what}={value!r}: expected a whole number, {low} or more.")
    return number


def seconds_above_0(value, what):
    """A finite float above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise ParameterError(f"{what}={value!r}: expected a number of seconds above 0.")
    return number


def percentage(text, spec):
    """``"20"`` or ``"20%"`` → 20.0, between 0 and 100."""
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = np.nan
    if not 0 < number < 100:
        raise ParameterError(f"{spec}: {text!r} is not a percentage between 0 and 100 (expected e.g. 20).")
    return number


def three_percentages(options):
    """``"80/10/10"`` → [80.0, 10.0, 10.0]."""
    parts = options.split("/")
    if len(parts) != 3:
        raise ParameterError(f"random:{options}: expected three percentages, e.g. random:80/10/10.")
    percent = [percentage(part, f"random:{options}") for part in parts]
    if abs(sum(percent) - 100) > 1e-6:
        raise ParameterError(f"random:{options}: the percentages sum to {sum(percent):g}, expected 100.")
    return percent


def percent_or_names(options, units, name):
    """``"20"`` or ``"20%"`` → (20.0, []); ``"S03,S07"`` → (nan, names)."""
    text = options.strip()
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and text.removesuffix("%").replace(".", "", 1).isdigit():
        if text in units:
            raise ParameterError(f"{name}:{text} is a percentage and a name: write {name}:{text}% or {name}:{text},")
        return percentage(text, f"{name}:{text}"), []
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


def listed(names):
    """Names as the options of a spec; one name that looks like a percentage has a comma behind it."""
    alone = len(names) == 1 and names[0].removesuffix("%").replace(".", "", 1).isdigit()
    return ",".join(names) + ("," if alone else "")
