"""What every ingest does: units, the check of the channels, and the loop that keeps what is fine.

**Channels.** The spread of a channel is its standard deviation after the mean of every second is taken off, so that
slow drift in unfiltered data does not count. A channel is *flat* when its spread is below .01 µV or below 1 % of the
recording's median, and *wild* above 10 times the median; both are marked bad. A recording with more than 20 % bad
channels is refused, and so is one whose median spread is not within .5 to 500 µV: then the unit is wrong.

Functions: :func:`scale`, :func:`check_channels`, :func:`stamp`, :func:`run`.
"""

import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from eegviz import store
from eegviz.datasets import IngestReport
from eegviz.errors import DataError, EegvizError, ParameterError

UNITS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
BIOSEMI = {"biosemi": 31.25e-9}  # V: one step of BioSemi's converter, for files that keep its numbers
_WORDS = {"biosemi": "steps of BioSemi's converter"}
FLAT_UV, FLAT_RATIO, WILD_RATIO = 0.01, 0.01, 10.0
MAX_BAD = 0.20
PLAUSIBLE_UV = (0.5, 500.0)


def scale(unit):
    """Return the factor from a unit to volts.

    Examples
    --------
    >>> scale("uV")
    1e-06
    """
    unit = str(unit).replace("µ", "u").replace("μ", "u")
    if unit in BIOSEMI:
        return BIOSEMI[unit]
    if unit not in UNITS:
        raise ParameterError(f"--unit {unit!r}: expected one of {', '.join([*UNITS, *BIOSEMI])}")
    return UNITS[unit]


def spread(eeg, sfreq):
    """Return each channel's spread in µV, from volts (n_channels, n_times); see the module's text."""
    second = max(1, round(sfreq))
    whole = eeg.shape[1] // second * second
    result = np.empty(eeg.shape[0])
    for index, channel in enumerate(eeg):
        channel = channel.astype(np.float64)
        blocks = channel[:whole].reshape(-1, second) if whole else channel[np.newaxis]
        result[index] = 1e6 * np.sqrt(blocks.var(axis=1).mean())
    return result


def check_channels(eeg, *, ch_names, sfreq, where, unit, units=tuple(UNITS)):
    """Return the names of the bad channels.

    Parameters
    ----------
    eeg : ndarray [shape=(n_channels, n_times)]
        Volts.
    ch_names : sequence of str
    sfreq : float
    where : str
        File and listener, for messages.
    unit : str
        The unit that was assumed.
    units : sequence of str
        Units that files of this data set may be in, the likeliest first: a message names those that would fit.

    Raises
    ------
    DataError
        When the recording cannot be used.
    """
    broken = [name for name, channel in zip(ch_names, eeg, strict=True) if not np.all(np.isfinite(channel))]
    if broken:
        raise DataError(
            f"{where}: expected finite numbers, found NaN or infinity in {_some(broken)}; "
            "the cleaned files hold none: download the file again or repair these channels"
        )
    uv = spread(eeg, sfreq)
    median = float(np.median(uv))
    if median == 0:
        raise DataError(f"{where}: expected EEG, found {np.count_nonzero(uv == 0)} of {len(uv)} channels constant")
    low, high = PLAUSIBLE_UV
    if not low <= median <= high:
        guess = [name for name in units if low <= median * scale(name) / scale(unit) <= high and name != unit]
        words = [_WORDS.get(name, name) for name in guess]
        hint = f"; if the file is in {' or '.join(words)}, pass --unit {guess[0]}" if guess else "; check --unit"
        raise DataError(
            f"{where}: expected a median channel standard deviation of {low:g} to {high:g} µV, found {median:.3g} µV "
            f"when the values are taken as {unit}{hint}"
        )
    flat = (uv < FLAT_UV) | (uv < FLAT_RATIO * median)
    wild = uv > WILD_RATIO * median
    bads = [name for name, is_bad in zip(ch_names, flat | wild, strict=True) if is_bad]
    if len(bads) > MAX_BAD * len(ch_names):
        raise DataError(
            f"{where}: expected at most {MAX_BAD:.0%} bad channels, found {len(bads)} of {len(ch_names)} "
            f"({np.count_nonzero(flat)} flat, {np.count_nonzero(wild)} with more than {WILD_RATIO:g} times the median "
            f"spread: {_some(bads)}); clean or leave out this recording"
        )
    return bads


def note_bads(bads, where):
    """Return the line that reports bad channels."""
    return f"{where}: marked bad (flat, or more than {WILD_RATIO:g} times the median spread): {_some(bads)}"


def note_bad_counts(bad_in, where):
    """Return one line for a file of many recordings, from {channel: recordings in which it is bad}; "" for none."""
    if not bad_in:
        return ""
    listed = ", ".join(f"{name} ({len(recordings)})" for name, recordings in sorted(bad_in.items()))
    return (
        f"{where}: channels marked bad (flat, or more than {WILD_RATIO:g} times the median spread), and in how many "
        f"recordings: {listed}"
    )


def stamp(*paths):
    """Return a text that changes when one of the files does (name, size, time of change)."""
    parts = []
    for path in paths:
        status = Path(path).stat()
        parts.append(f"{Path(path).name}:{status.st_size}:{status.st_mtime_ns}")
    return "|".join(parts)


class Notes:
    """Collects what went wrong and what is worth knowing."""

    def __init__(self):
        self.problems, self.warnings = [], []

    def warn(self, line):
        if line and line not in self.warnings:
            self.warnings.append(line)

    @contextmanager
    def keep_going(self, where=""):
        """Turn an error of the data into a problem; a store that cannot be written still ends the ingest."""
        try:
            yield
        except store.WriteError:
            raise
        except EegvizError as error:
            line = str(error)
            self.problems.append(line if str(where) in line else f"{where}: {line}")

    @contextmanager
    def python_warnings(self, where):
        """Collect the warnings of a library as notes."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for item in caught:
            self.warn(f"{where}: {' '.join(str(item.message).split())}")


def is_simulated(source):
    """Say whether a folder's README.txt begins "SIMULATED EEG", as :func:`eegviz.datasets.demo.write_nmed` writes it."""
    readme = Path(source) / "README.txt"
    return readme.is_file() and readme.read_bytes()[:64].startswith(b"SIMULATED EEG")


def run(store_path, jobs, *, module, montage, identity, overwrite, simulated=False, about=()):
    """Write a store by doing ``jobs``, keeping what is fine.

    Parameters
    ----------
    store_path : str or Path
    jobs : sequence of callable
        Each is called with (writer, notes); an error of the data skips the rest of that job only.
    module : module
        Of the data set: NAME, TITLE, LICENCE, CITATION, WHERE.
    montage : str or None
    identity : dict
        Source and options.
    overwrite : bool
    simulated : bool
        Files in the layout of a data set that a program made: the store then says so in its title too.
    about : dict
        More for the manifest's ``about``.

    Returns
    -------
    IngestReport

    Raises
    ------
    DataError
        When no recording at all was fine; no store is left.
    """
    from tqdm import tqdm

    notes = Notes()
    writer = store.create(
        store_path,
        dataset=module.NAME,
        title=f"Simulated EEG in the layout of: {module.TITLE}" if simulated else module.TITLE,
        licence="not stated" if simulated else module.LICENCE,
        citation="simulated, no person was recorded" if simulated else module.CITATION,
        simulated=simulated,
        montage=montage,
        about={**({} if simulated else {"where": module.WHERE}), **dict(about)},
        identity=identity,
        overwrite=overwrite,
    )
    with writer:
        for job in tqdm(jobs, desc=f"ingest {module.NAME}", unit="file", disable=None):
            with notes.keep_going():
                job(writer, notes)
        if not writer.n_recordings:
            writer.discard()
            lines = "\n".join(f"  {line}" for line in notes.problems)
            raise DataError(f"{module.NAME}: no recording could be read, so no store was made:\n{lines}")
    return IngestReport(writer.path, writer.n_recordings, len(notes.problems), notes.problems, notes.warnings)


def _some(items, most=6):
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
