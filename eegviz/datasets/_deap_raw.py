"""DEAP's raw recordings: BioSemi files at 512 Hz with status codes, one a listener.

Codes (the data set's readme, https://www.eecs.qmul.ac.uk/mmv/datasets/deap/readme.html): 3 is the fixation screen (5 s)
before a trial, 4 the start of a video, 5 the fixation screen after it; 1 comes before ratings, 2 with synchronisation
screens, 7 at the end. Only the low byte of the status channel counts (**assumed**: BioSemi's upper bits say other things).
In some files that channel has no name; it is the last one then (assumed).

Which video a trial showed is said by ``participant_ratings.csv`` only. A file of 1.6 GB is read one minute at a time.

Functions: :func:`ingest_file`, :func:`video_onsets`, :func:`site`.
"""

import numpy as np

from eegviz.datasets import _common, _deap_sound, own
from eegviz.errors import DataError

CHANNELS = (  # Geneva's order, that of all preprocessed files
    "Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3", "P7", "PO3", "O1", "Oz", "Pz", "Fp2",
    "AF4", "Fz", "F4", "F8", "FC6", "FC2", "Cz", "C4", "T8", "CP6", "CP2", "P4", "P8", "PO4", "O2",
)  # fmt: skip
TWENTE = (
    "Fp1", "AF3", "F7", "F3", "FC1", "FC5", "T7", "C3", "CP1", "CP5", "P7", "P3", "Pz", "PO3", "O1", "Oz", "O2",
    "PO4", "P4", "P8", "CP6", "CP2", "C4", "T8", "FC6", "FC2", "F4", "F8", "AF4", "Fp2", "Fz", "Cz",
)  # fmt: skip
LAST_OF_TWENTE = 22  # listener
VIDEO = 4  # code of the start of a video
LOW_BYTE = 0xFF
SECONDS = 60.0
BEFORE = 3.0  # seconds of the fixation screen that are kept, as in the preprocessed files
BLOCK = 2**17  # samples of the status channel read at once


def site(number):
    """Return where a listener was recorded.

    Examples
    --------
    >>> site(22), site(23)
    ('Twente', 'Geneva')
    """
    return "Twente" if number <= LAST_OF_TWENTE else "Geneva"


def video_onsets(codes):
    """Return the samples at which videos begin.

    Parameters
    ----------
    codes : array of int [shape=(n_times,)]
        Status channel.

    Returns
    -------
    onsets : ndarray of int
        Where the low byte becomes 4.

    Examples
    --------
    >>> video_onsets([0, 3, 3, 4, 4, 5, 0, 65284, 65284]).tolist()
    [3, 7]
    """
    codes = np.asarray(codes).astype(np.int64) & LOW_BYTE
    is_video = codes == VIDEO
    return np.flatnonzero(is_video & ~np.concatenate([[False], is_video[:-1]]))


def ingest_file(path, number, plan, writer, notes):
    """Add the recordings of a raw file, one trial at a time."""
    with notes.python_warnings(path):
        raw, names, status = _open(path)
        picks = _channels(names, number, path, notes)
        onsets = video_onsets(_read_status(raw, status, path))
        videos = plan.ratings.order(number)
        if len(onsets) != len(videos):
            raise DataError(
                f"{path}: expected {len(videos)} starts of videos (code {VIDEO} in {status or 'the last channel'}), one a "
                f"trial of {plan.ratings.path.name}, found {len(onsets)}; use the original file"
            )
        bad_in = {}
        for onset, video in zip(onsets.tolist(), videos, strict=True):
            where = f"{path}, {_deap_sound.stimulus(video)}"
            with notes.keep_going(where):
                _add(raw, picks, onset, path, number, video, plan, writer, notes, bad_in, where)
    notes.warn(_common.note_bad_counts(bad_in, path))


def _add(raw, picks, onset, path, number, video, plan, writer, notes, bad_in, where):
    sfreq, n_times = float(raw.info["sfreq"]), len(raw.times)
    seconds = min(SECONDS, (n_times - onset) / sfreq)
    placed = plan.sounds.place(video, seconds, writer, notes, may_be_longer=plan.simulated)
    if placed is None:
        return
    stamp = f"{_common.stamp(path)}|{placed.stamp}"
    if writer.has_recording(f"S{number:02d}_{_deap_sound.stimulus(video)}", stamp=stamp):
        return
    first = max(0, onset - round(BEFORE * sfreq)) if plan.baseline else onset
    both = _read(raw, picks, first, onset + round(placed.seconds * sfreq), path)
    both *= np.float32(plan.settings.factor)
    eeg = both[:, onset - first :]
    bads = _common.check_channels(eeg, ch_names=CHANNELS, sfreq=sfreq, where=where, unit=plan.settings.unit)
    for name in bads:
        bad_in.setdefault(name, []).append(video)
    plan.add(
        writer, eeg, number=number, video=video, placed=placed, sfreq=sfreq, bads=bads, stamp=stamp,
        columns=plan.columns(number, video), before=both[:, : onset - first],
    )  # fmt: skip


def _open(path):
    """Open the file without its data; return it, the names of its channels and that of the status channel."""
    import mne

    raw, _ = own.open_raw(path)
    kinds = raw.get_channel_types()
    if "stim" not in kinds:
        try:
            raw = mne.io.read_raw_bdf(path, stim_channel=[len(raw.ch_names) - 1], preload=False, verbose="error")
        except (OSError, ValueError) as error:
            text = " ".join(str(error).split())[:200]
            raise DataError(
                f"{path}: expected a BioSemi file with a status channel, found: {text}; copy it again"
            ) from error
        kinds = raw.get_channel_types()
    status = raw.ch_names[kinds.index("stim")]
    return raw, [name for name, kind in zip(raw.ch_names, kinds, strict=True) if kind == "eeg"], status


def _channels(names, number, path, notes):
    """The file's own names of the 32 channels, in Geneva's order."""
    known = {name.strip().casefold(): name for name in names}
    if missing := [name for name in CHANNELS if name.casefold() not in known]:
        raise DataError(
            f"{path}: expected the 32 EEG channels of DEAP by name, found no {', '.join(missing[:8])}"
            f"{' …' if len(missing) > 8 else ''} among {', '.join(names[:40])}; use the original file"
        )
    wanted = {name.casefold() for name in CHANNELS}
    order = tuple(name.strip().casefold() for name in names if name.strip().casefold() in wanted)
    expected = TWENTE if site(number) == "Twente" else CHANNELS
    if order != tuple(name.casefold() for name in expected):
        notes.warn(
            f"{path}: the channels are not in the order of {site(number)}'s recordings; they are taken by name, but is this "
            f"listener {number}?"
        )
    return [known[name.casefold()] for name in CHANNELS]


def _read(raw, picks, first, last, path):
    """Channels in the order of ``picks``, whatever their order in the file."""
    in_file = sorted(picks, key=raw.ch_names.index)
    eeg = own.read_eeg(raw, in_file, first, last, path)
    return eeg[[in_file.index(name) for name in picks]]


def _read_status(raw, status, path):
    """The status channel, in blocks of time."""
    index, n_times = raw.ch_names.index(status), len(raw.times)
    codes = np.empty(n_times, np.int64)
    try:
        for at in range(0, n_times, BLOCK):
            codes[at : at + BLOCK] = raw[index, at : min(at + BLOCK, n_times)][0][0]
    except Exception as error:  # a damaged file fails in the way of its format
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is damaged: its status channel cannot be read: {text}; copy it again") from error
    return codes
