"""One EEG file from elsewhere, read in a child process into an array that can be trusted to be EEG in volts.

Any file that MNE opens, and the MATLAB files of NMED (``dataNN`` with ``subsNN`` and ``fs``, or the raw ``X``). Whatever is
wrong with a file (damage that kills the reader, more than there is memory for, no end, not a number, no signal) becomes one
`DataError`.

**Unit.** MNE gives volts, NMED's files hold microvolts. With ``unit="auto"`` values that cannot be so are taken as the other
of the two when that is plausible, with a note: the spread of a channel (standard deviation after the mean of every second is
taken off) should lie between .5 and 500 µV in at least one channel.

Functions: `read`. `eegviz.matching` brings a `Recording` into the form that a run was trained on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eegviz.datasets import _child, _common, _matlab, _nmed, _nmed_t_extras
from eegviz.errors import DataError, ParameterError

Bounds = _child.Bounds
NMED = re.compile(r"data\d+(_[ab])?")  # variables of the cleaned files
UNITS = ("auto", *_common.UNITS)


@dataclass(frozen=True)
class Recording:
    """EEG of one file, checked: volts, finite, not silent.

    Attributes
    ----------
    eeg : np.ndarray [shape=(n_channels, n_times)], float32
        Volts.
    sfreq : float
        Hertz.
    ch_names : tuple of str
    bads : tuple of str
        Channels that the file marks as bad.
    name : str
        What to call the file in messages; text from elsewhere.
    listener : str
        Of a file of several listeners; else empty.
    listeners : tuple of str
        All of them.
    notes : tuple of str
        What was assumed.
    """

    eeg: np.ndarray
    sfreq: float
    ch_names: tuple
    bads: tuple = ()
    name: str = "the given file"
    listener: str = ""
    listeners: tuple = ()
    notes: tuple = ()

    @property
    def seconds(self):
        """Length."""
        return self.eeg.shape[1] / self.sfreq


def read(
    path,
    *,
    name=None,
    unit="auto",
    listener=None,
    bounds=None,
    max_channels=None,
    max_seconds=None,
    max_bytes=None,
):
    """Read an EEG file.

    Parameters
    ----------
    path : str or Path
    name : str, optional
        What to call the file in messages; default its path.
    unit : {"auto", "V", "mV", "uV", "nV"}
        Of the values as they are read; see the module's text.
    listener : str, optional
        Of a file of several listeners; default the first.
    bounds : Bounds, optional
        What the child may use. With them the file must also stand alone: links to other files are refused.
    max_channels : int, optional
    max_seconds : float, optional
    max_bytes : int, optional
        Of the array; checked, as the other two, before anything of it is read.

    Returns
    -------
    Recording

    Raises
    ------
    DataError
        A file that cannot be read, is too large, or holds no EEG.
    ParameterError
        An unknown unit.

    Examples
    --------
    >>> read("no_such_file.edf")
    Traceback (most recent call last):
    eegviz.errors.DataError: no_such_file.edf: expected an EEG file ..., found none that can be opened ...
    """
    path = Path(path)
    name = str(path) if name is None else name
    unit = str(unit).replace("µ", "u").replace("μ", "u")
    if unit not in UNITS:
        raise ParameterError(f"unit {unit!r}: expected one of {', '.join(UNITS)}.")
    limits = _Limits(max_channels, max_seconds, max_bytes)
    reader, usual = (_read_matlab, "uV") if path.suffix.lower() == ".mat" else (_read_eeg, "V")
    try:
        found = reader(path, listener, bounds, limits)
    except DataError as error:
        # a path of the server means nothing to who sent the file
        text = str(error)
        for shown in (str(path.resolve()), str(path)):
            text = text.replace(shown, name)
        raise DataError(text) from error
    return _checked(found, name, unit, usual)


@dataclass(frozen=True)
class _Limits:
    channels: int | None
    seconds: float | None
    bytes: int | None

    def check(self, path, n_channels, n_times, sfreq):
        """Refuse before anything is read."""
        if not (0 < sfreq < 1e6) or n_channels < 1 or n_times < 1:
            raise DataError(
                f"{path}: expected channels, samples and a rate, found {n_channels}, {n_times} and {sfreq:g} Hz"
            )
        advice = "cut it to the minutes that are needed, or lower its sampling rate, and save it again"
        if self.channels and n_channels > self.channels:
            raise DataError(
                f"{path}: expected at most {self.channels} channels, found {n_channels}; leave out the others"
            )
        if self.seconds and n_times > self.seconds * sfreq:
            raise DataError(f"{path}: expected at most {self.seconds:g} s, found {n_times / sfreq:.0f} s; {advice}")
        if self.bytes and 4 * n_channels * n_times > self.bytes:
            raise DataError(
                f"{path}: {n_channels} channels × {n_times} samples take {4 * n_channels * n_times / 2**20:.0f} MB, at most "
                f"{self.bytes / 2**20:.0f} MB are read; {advice}"
            )


def _read_eeg(path, listener, bounds, limits):
    _refuse_listener(path, listener)
    with _matlab.Slices(path, "eeg", ndim=2, small=("ch_names", "sfreq", "bads"), kind="eeg", bounds=bounds) as slices:
        n_channels, n_times = slices.shape
        sfreq = float(slices.values["sfreq"].item())
        limits.check(path, n_channels, n_times, sfreq)
        (eeg,) = slices.ranges([(0, n_times)])
        names = tuple(slices.values["ch_names"].tolist())
        return {"eeg": eeg, "sfreq": sfreq, "ch_names": names, "bads": tuple(slices.values["bads"].tolist())}


def _read_matlab(path, listener, bounds, limits):
    found = _matlab.variables(path, bounds=bounds)
    if keys := sorted(key for key in found if NMED.fullmatch(key)):
        return _read_cleaned(path, keys[0], found, listener, bounds, limits)
    if "X" in found and "fs" in found:
        _refuse_listener(path, listener)
        return _read_raw(path, found, bounds, limits)
    shown = ", ".join(f"{key} {tuple(shape)}" for key, shape in list(found.items())[:8]) or "no variable at all"
    raise DataError(
        f"{path}: expected a MATLAB file of NMED (dataNN with subsNN and fs, or X with fs), found {shown[:300]}; export the "
        "recording as FIF, EDF or BrainVision"
    )


def _read_cleaned(path, key, found, listener, bounds, limits):
    subs = key.replace("data", "subs")
    small = ("fs", subs) if subs in found else ("fs",)
    with _matlab.Slices(path, key, ndim=3, small=small, bounds=bounds) as slices:
        n_channels, n_times, n_listeners = slices.shape
        sfreq = _nmed.read_rate(slices.values["fs"], path)
        if n_channels != len(_nmed.CLEAN_CHANNELS):
            raise DataError(
                f"{path}: expected {key} as channel × time × listener ({len(_nmed.CLEAN_CHANNELS)}, time, listener), found "
                f"{slices.shape}; use the original file"
            )
        names = [str(one) for one in range(1, n_listeners + 1)]
        if subs in found:
            names = _nmed.read_names(slices.values[subs], path, subs)
            if len(names) != n_listeners:
                raise DataError(f"{path}: {subs} has {len(names)} names for the {n_listeners} listeners of {key}")
        chosen = names[0] if listener is None else listener
        if chosen not in names:
            raise DataError(f"{path}: no listener {chosen!r}; it has {', '.join(names[:30])}")
        limits.check(path, n_channels, n_times, sfreq)
        at = names.index(chosen)
        ((eeg),) = (part[..., 0] for part in slices.ranges([(at, at + 1)]))
    more = f"; it also has {', '.join(one for one in names if one != chosen)}" if n_listeners > 1 else ""
    return {
        "eeg": np.ascontiguousarray(eeg), "sfreq": sfreq, "ch_names": tuple(_nmed.CLEAN_CHANNELS), "listener": chosen,
        "listeners": tuple(names), "notes": (f"listener {chosen} of the file{more}",),
    }  # fmt: skip


def _refuse_listener(path, listener):
    """A file of one recording does not say whose it is, so nobody can be chosen in it."""
    if listener is not None:
        raise DataError(
            f"{path}: no listener {str(listener)[:40]!r} can be chosen: it holds one recording and does not say whose. Leave "
            "the listener out (listener, --listener)."
        )


def _read_raw(path, found, bounds, limits):
    with _matlab.Slices(path, "X", ndim=2, small=("fs",), bounds=bounds) as slices:
        n_channels, n_times = slices.shape
        sfreq = _nmed.read_rate(slices.values["fs"], path, usual=1000)
        if n_channels != len(_nmed_t_extras.RAW_CHANNELS):
            raise DataError(f"{path}: expected X as channel × time (129, time), found {slices.shape}")
        limits.check(path, n_channels, n_times, sfreq)
        (eeg,) = slices.ranges([(0, n_times)])
    return {"eeg": eeg, "sfreq": sfreq, "ch_names": tuple(_nmed_t_extras.RAW_CHANNELS)}


def _checked(found, name, unit, usual):
    """Volts, finite and not silent, or a DataError."""
    eeg, notes = found.pop("eeg"), list(found.pop("notes", ()))
    broken = [ch for ch, row in zip(found["ch_names"], eeg, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise DataError(
            f"{name}: expected finite numbers, found NaN or infinity in {_some(broken)}. Repair or interpolate these channels "
            "and save the file again."
        )
    spread = _common.spread(eeg, found["sfreq"])  # µV, were these volts
    if not spread.any():
        raise DataError(
            f"{name}: expected EEG, found all {len(eeg)} channels constant. Is this the file that was recorded?"
        )
    low, high = _common.PLAUSIBLE_UV
    fits = [
        one
        for one in ("V", "uV")
        if ((spread * _common.scale(one) >= low) & (spread * _common.scale(one) <= high)).any()
    ]
    taken = unit if unit != "auto" else usual if usual in fits or not fits else fits[0]
    moved = spread * _common.scale(taken)
    if not ((moved >= low) & (moved <= high)).any():
        raise DataError(
            f"{name}: expected channels that vary by {low:g} to {high:g} µV, found none: their median is "
            f"{np.median(moved):.3g} µV when the values are taken as {taken}. Is it EEG? If so name the unit (unit, --unit)."
        )
    if unit == "auto" and taken != usual:
        notes.append(
            f"values taken as {taken}: as {usual}, which such a file should hold, their median spread would be "
            f"{np.median(spread * _common.scale(usual)):.3g} µV"
        )
    elif usual != "V" and unit == "auto":
        notes.append(f"values taken as {taken}, as in the original files")
    if taken != "V":
        eeg *= np.float32(_common.scale(taken))
    return Recording(eeg, name=name, notes=tuple(notes), **found)


def _some(items, most=10):
    items = [str(item)[:40] for item in items]
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
