"""An unknown recording in the form that a run was trained on: the same channels, rate, unit and reference.

The recordings of a store are used as `eegviz.windowing.signal` gives them: volts, bad channels interpolated, **no filter**
beyond the run's own band. An unknown recording is brought there, in this order, and every step that was needed is told:

1. channels by name (`eegviz.channels`); those that the file marks as bad, that are flat or wild
   (`eegviz.datasets._common`) count as missing;
2. missing channels are interpolated with spherical splines (Perrin et al. 1989,
   https://doi.org/10.1016/0013-4694(89)90180-6; MNE), up to `MAX_MISSING` of the model's and where the store knows
   their places; beyond that the file is refused;
3. the offset of each channel is taken off where the training recordings have none, and the average of all channels where
   they are referenced to it: both are measured on the first recordings of the store, for no store says it;
4. the rate, by MNE's resampling.

Functions: `match`. The class `Matched` holds the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eegviz import channels, windowing
from eegviz import store as stores
from eegviz.datasets import _common
from eegviz.errors import DataError

MAX_MISSING = 0.10  # of the model's channels
AVERAGE = 0.05  # the mean of all channels is this small beside one channel: they are referenced to their average
OFFSET = 1.0  # a channel's mean is smaller than this many of its own standard deviations: it has no offset
N_TRAINING = 3  # recordings on which reference and offset are measured
BLOCK_SECONDS = 60  # of interpolation at a time; bounds the memory of the float64 copies


@dataclass(frozen=True)
class Matched:
    """EEG as a run wants it.

    Attributes
    ----------
    eeg : np.ndarray [shape=(n_channels, n_times)], float32
        Volts, in the order of the run's channels, at its rate.
    settings : dict
        ``Windows.settings`` of the run.
    name : str
        Of the file.
    interpolated : tuple of str
        Channels that the file lacks, or has in a bad state.
    notes : tuple of str
        What was found, done and assumed; one line each.
    """

    eeg: np.ndarray
    settings: dict
    name: str
    interpolated: tuple
    notes: tuple

    @property
    def sfreq(self):
        """Rate in hertz."""
        return self.settings["sfreq"]

    @property
    def seconds(self):
        """Length."""
        return self.eeg.shape[1] / self.sfreq


def match(recording, run, *, store=None, settings=None):
    """Bring a recording into the form that a run was trained on.

    Parameters
    ----------
    recording : eegviz.eeg_files.Recording
    run : eegviz.runs.Run
    store : eegviz.store.Store, optional
        That of the run, when it is at hand.
    settings : dict, optional
        ``Windows.settings`` of the run, when they are at hand.

    Returns
    -------
    Matched

    Raises
    ------
    DataError
        Too many channels are missing, two could be the same one, the values are no volts, or the file is too short.
    """
    opened = run.store() if store is None else store
    settings = windowing.settings(opened, **run.config["features"]) if settings is None else settings
    wanted, sfreq = settings["ch_names"], settings["sfreq"]
    _check_length(recording, settings)
    try:
        paired = channels.pair(recording.ch_names, wanted, net=_net(opened.montage))
    except DataError as error:
        raise DataError(f"{recording.name}: {error}") from error
    notes = [*recording.notes, _found(paired, recording, wanted)]
    montage = None if opened.montage is None else stores.make_montage(opened.montage)
    places = {name.lower() for name in montage.ch_names} if montage else set()
    missing = list(paired.missing)
    _refuse_missing(recording, wanted, missing, paired, places)
    present = [name for name in wanted if name in paired.found]
    eeg = recording.eeg[[paired.found[name] for name in present]]  # a copy
    marked = {name for name in present if recording.ch_names[paired.found[name]] in recording.bads}
    marked |= set(_bads(eeg, present, recording))
    bads = [name for name in present if name in marked]
    if bads:
        _refuse_missing(recording, wanted, missing + bads, paired, places, bads=bads)
        notes.append(f"channels that are flat, wild or marked as bad: {_some(bads)}")
    has_offset, is_average = _training_facts(opened, settings)
    if not has_offset and _has_offset(eeg):
        eeg -= eeg.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        notes.append("each channel's mean taken off, as the training recordings have none")
    gone = tuple(name for name in wanted if name in {*missing, *bads})
    eeg = _resampled(eeg, recording.sfreq, sfreq, notes)
    eeg = _complete(eeg, present, wanted, gone, montage, sfreq)
    if gone:
        notes.append(f"{len(gone)} of {len(wanted)} channels interpolated from the others: {_some(gone)}")
    if is_average and not _is_average(eeg):
        eeg -= eeg.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        notes.append("referenced to the average of all channels, as the training recordings are")
    elif not is_average:
        notes.append("the file's own reference is kept: the training recordings are not referenced to the average")
    band = settings.get("band")
    notes.append(
        "no filter beyond the model's own"
        + (f" ({band[0]:g} to {band[1]:g} Hz)" if band else " (none)")
        + ": filters that the training recordings went through before the store are not repeated"
    )
    return Matched(np.ascontiguousarray(eeg, np.float32), settings, recording.name, gone, tuple(notes))


def _check_length(recording, settings):
    length = settings.get("duration", 1)
    if recording.seconds + 0.5 / recording.sfreq < length:
        raise DataError(
            f"{recording.name}: expected at least {length} s of EEG, the length of one window of this run, found "
            f"{recording.seconds:.2f} s. Send a longer recording."
        )


def _net(montage):
    """Electrodes of an EGI net, from the name of its montage."""
    return (
        int(montage.rpartition("-")[2].partition("_")[0]) if montage and montage.startswith("GSN-HydroCel-") else None
    )


def _found(paired, recording, wanted):
    n = len(paired.found)
    renamed = [f"{new} is its {old[:40]}" for new, old in paired.renamed.items()]
    return f"{n} of the model's {len(wanted)} channels found by name among the file's {len(recording.ch_names)}" + (
        f" ({'; '.join(renamed[:3])}{' …' if len(renamed) > 3 else ''})" if renamed else ""
    )


def _refuse_missing(recording, wanted, missing, paired, places, *, bads=()):
    if not missing:
        return
    most = int(MAX_MISSING * len(wanted) + 1e-9)
    lost = [name for name in missing if name.lower() not in places]
    if len(missing) <= most and not lost:
        return
    state = f" (of these {len(bads)} are flat, wild or marked as bad: {_some(bads, 6)})" if bads else ""
    why = (
        f"at most {most} ({MAX_MISSING:.0%}) can be interpolated"
        if len(missing) > most
        else f"the place of {_some(lost, 3)} on the head is not known, so nothing can be interpolated"
    )
    raise DataError(
        f"{recording.name} lacks {len(missing)} of the {len(wanted)} channels that the run was trained on "
        f"({_some(missing, 64)}){state}; {why}. It has {_some(recording.ch_names)}, of which {len(paired.found)} were found by "
        "name. Rename the channels, or choose a run that was trained on these."
    )


def _bads(eeg, present, recording):
    """Flat or wild channels; values that cannot be volts are refused."""
    uv = _common.spread(eeg, recording.sfreq)
    median = float(np.median(uv))
    low, high = _common.PLAUSIBLE_UV
    if not low <= median <= high:
        constant = int(np.count_nonzero(uv == 0))
        what = f"found {constant} of {len(uv)} channels constant" if median == 0 else f"found {median:.3g} µV"
        raise DataError(
            f"{recording.name}: expected a median channel standard deviation of {low:g} to {high:g} µV in the model's "
            f"channels, {what}. Is it EEG? If so name the unit of the values (unit, --unit)."
        )
    flat = (uv < _common.FLAT_UV) | (uv < _common.FLAT_RATIO * median)
    wild = uv > _common.WILD_RATIO * median
    return [name for name, bad in zip(present, flat | wild, strict=True) if bad]


def _training_facts(opened, settings):
    """Whether the training recordings have an offset, and whether they are referenced to their average."""
    rows = windowing.recordings(opened, settings["condition"])["recording"].head(N_TRAINING)
    signals = [windowing.signal(opened, row)[:, : round(60 * settings["sfreq"])] for row in rows]
    return any(_has_offset(one) for one in signals), all(_is_average(one) for one in signals)


def _has_offset(eeg):
    mean, spread = _moments(eeg)
    alive = spread > 0
    return bool(alive.any() and np.median(np.abs(mean[alive]) / spread[alive]) > OFFSET)


def _is_average(eeg):
    one = np.median(_moments(eeg)[1])
    return bool(len(eeg) > 1 and one > 0 and eeg.mean(axis=0, dtype=np.float64).std() < AVERAGE * one)


def _moments(eeg):
    """Mean and standard deviation of each channel, one at a time: no float64 copy of everything."""
    rows = [(row.mean(dtype=np.float64), row.std(dtype=np.float64)) for row in eeg]
    return np.array(rows).T


def _resampled(eeg, rate, sfreq, notes):
    if abs(rate - sfreq) < 1e-6:
        return eeg
    import mne

    ratio = sfreq / rate
    n_times = max(1, round(eeg.shape[1] * ratio))
    out = np.empty((len(eeg), n_times), np.float32)
    for at in range(0, len(eeg), 16):  # as above
        block = mne.filter.resample(
            eeg[at : at + 16].astype(np.float64),
            up=sfreq,
            down=rate,
            npad="auto",
            pad="reflect_limited",
            verbose="error",
        )
        out[at : at + 16] = block[:, :n_times]
    notes.append(f"resampled from {rate:g} to {sfreq:g} Hz")
    if rate < sfreq:
        notes[-1] += f": nothing lies above {rate / 2:g} Hz, where the training recordings may hold something"
    return out


def _complete(eeg, present, wanted, gone, montage, sfreq):
    """All of the model's channels, in its order; those in `gone` interpolated by MNE."""
    if not gone:
        return eeg  # all of them are there, in this order
    import mne

    out = np.zeros((len(wanted), eeg.shape[1]), np.float32)
    out[[wanted.index(name) for name in present]] = eeg
    known = [name for name in wanted if name.lower() in {one.lower() for one in montage.ch_names}]
    rows, step = [wanted.index(name) for name in known], max(1, round(BLOCK_SECONDS * sfreq))
    info = mne.create_info(known, sfreq, "eeg", verbose="error")
    info.set_montage(montage, match_case=False, verbose="error")
    info["bads"] = list(gone)
    for at in range(0, out.shape[1], step):
        part = slice(at, at + step)
        raw = mne.io.RawArray(out[rows, part].astype(np.float64), info, verbose="error")
        out[rows, part] = raw.interpolate_bads(verbose="error").get_data()
    return out


def _some(items, most=10):
    items = [str(item)[:40] for item in items]
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
