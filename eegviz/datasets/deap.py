"""DEAP: 32 people watch a minute of each of 40 music videos and rate what they felt.

Source: Koelstra et al. (2012), "DEAP: A Database for Emotion Analysis using Physiological Signals", IEEE Transactions on
Affective Computing 3, 18-31, https://doi.org/10.1109/T-AFFC.2011.15; https://www.eecs.qmul.ac.uk/mmv/datasets/deap/, under
an agreement that each user signs. Nothing of it is shipped here.

Three layouts are read (``layout``; the first that is there):

- **python**: ``data_preprocessed_python/s01.dat`` …, Python-2 pickles of ``data`` (40 videos, 40 channels, 8064 samples) and
  ``labels`` (40, 4). A pickle may hold anything: only a dict of arrays is admitted (`._unpickle`).
- **matlab**: ``data_preprocessed_matlab/s01.mat`` …, the same.
- **raw**: ``data_original/s01.bdf`` …, BioSemi, 512 Hz (`._deap_raw`).

The preprocessed files have 128 Hz, 4 to 45 Hz, average reference; videos are in the order of their number
(Experiment_id); the first 32 channels are EEG in Geneva's order (:data:`CHANNELS`); the first 384 samples (3 s) come from
before the video and are cut off, or kept as recordings of "silence" (``baseline``). They do not state a unit: µV is
**assumed**. In the raw files listeners 1 to 22 (Twente) and 23 to 32 (Geneva) have another order of channels: they are taken
by name.

Recordings are called ``S01_video01``. Their columns ``valence, arousal, dominance, liking`` (1 to 9) are what that listener
rated that video; ``familiarity`` (1 to 5, missing for listeners 2, 15 and 23) and ``trial`` (place in the order of
presentation) are there where ``participant_ratings.csv`` is. ``site`` is Twente or Geneva.

The sound is **not distributed** (links to videos): name yours ``video01.wav``, ``video01.mp4``, ``01.flac`` …; where the minute
begins in a longer file is said by ``offsets`` (Highlight_start of DEAP's video_list). What may be separated from it says
`eegviz.soundtrack`; nothing is, unless asked for.
"""

import contextlib
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sys import modules

import numpy as np

from eegviz import soundtrack
from eegviz.datasets import _audio, _common, _deap_raw, _deap_sound, _deap_tables, _matlab, _nmed
from eegviz.datasets._deap_raw import CHANNELS
from eegviz.errors import DataError, ParameterError

NAME = "deap"
TITLE = "DEAP: emotions while watching music videos"
LICENCE = "DEAP end user licence agreement (signed by each user; not to be passed on)"
CITATION = (
    "Koelstra, S., Mühl, C., Soleymani, M., Lee, J.-S., Yazdani, A., Ebrahimi, T., Pun, T., Nijholt, A., Patras, I. (2012). "
    "DEAP: A database for emotion analysis using physiological signals. IEEE Transactions on Affective Computing, 3(1), "
    "18-31. https://doi.org/10.1109/T-AFFC.2011.15"
)
WHERE = "https://www.eecs.qmul.ac.uk/mmv/datasets/deap/"
MONTAGE = "biosemi32"
SFREQ = 128.0  # Hz, preprocessed
BASELINE = 384  # samples before the video, preprocessed
SECONDS = 60.0  # of each video
SHAPE = (40, 40, 8064)  # videos, channels, samples of a preprocessed file
PERIPHERAL = ("hEOG", "vEOG", "zEMG", "tEMG", "GSR", "Resp", "Pleth", "Temp")  # channels 33 to 40, not kept
LAYOUTS = {"python": "dat", "matlab": "mat", "raw": "bdf"}


def ingest(
    source,
    store_path,
    *,
    audio=None,
    layout=None,
    unit=None,
    missing="refuse",
    baseline=False,
    ratings=None,
    vocals="keep",
    harmonic=False,
    dereverberate=False,
    max_mismatch=_audio.MAX_MISMATCH,
    offsets=None,
    overwrite=False,
):
    """Read DEAP into a store.

    Parameters
    ----------
    source : str or Path
        Folder of the data set, of one layout, or one file; files are found at any depth.
    store_path : str or Path
    audio : str or Path, optional
        Folder of the videos' sounds (or the videos, where ffmpeg is installed); ``source`` when not given.
    layout : {"python", "matlab", "raw"}, optional
        Which files; the first of these that is there when not given.
    unit : {"uV", "V", "mV", "nV"}, optional
        Of the values; "uV" (assumed) for the preprocessed files, "V" for the raw ones, as MNE gives them.
    missing : {"refuse", "skip"}
        What to do when videos have no sound: name them and stop, or go on with the others.
    baseline : bool
        Keep the 3 s before each video as a recording of condition "silence", with the column ``before``.
    ratings : str or Path, optional
        ``participant_ratings.csv``; looked for in and beside ``source`` when not given. The raw files need it.
    vocals, harmonic, dereverberate
        How the sound is prepared, see `eegviz.soundtrack.prepare`.
    max_mismatch : float
        Seconds by which EEG and sound may differ in length.
    offsets : str, Path or dict, optional
        CSV ``stimulus,offset``: second of a sound file at which the video's minute begins; what follows it is cut off.
    overwrite : bool

    Returns
    -------
    eegviz.datasets.IngestReport

    Raises
    ------
    DataError
        When nothing could be read, or videos have no sound.
    MissingDependencyError
        When a video file needs ffmpeg and there is none.
    """
    if not isinstance(baseline, bool):
        raise ParameterError(f"baseline={baseline!r}: expected true or false")
    options = {"vocals": vocals, "harmonic": harmonic, "dereverberate": dereverberate}
    prepared = soundtrack.check_options(**options)
    layout, files, doubles = _find_files(Path(source), layout)
    unit = unit or ("V" if layout == "raw" else "uV")
    source, settings, identity = _nmed.open_source(
        source, audio=audio, unit=unit, max_mismatch=max_mismatch, offsets=offsets,
        known=[_deap_sound.stimulus(number) for number in range(1, _deap_tables.N_VIDEOS + 1)], where_to_get=WHERE,
    )  # fmt: skip
    folder = source if source.is_dir() else source.parent
    simulated = _common.is_simulated(folder) or _common.is_simulated(folder.resolve().parent)
    path = _deap_tables.find("participant_ratings", source, given=ratings)
    rated = None if path is None else _deap_tables.read_ratings(path)
    listed = None if simulated else _deap_tables.find("video_list", source)
    if layout == "raw" and rated is None:
        raise DataError(
            f"{source}: expected participant_ratings.csv beside the .bdf files, found none; it says which video each trial "
            f"showed: get it from {WHERE} (metadata) or name it (--set ratings=FILE)"
        )
    identity |= {"layout": layout, "missing": missing, "baseline": baseline, **options, "ratings": str(path or "")}
    about = {
        "layout": layout,
        "unit": f"values taken as {unit}" + ("" if layout == "raw" else " (assumed: the files do not state it)"),
        "sound": prepared or "as given",
    }
    with tempfile.TemporaryDirectory(prefix="eegviz-deap-") as taken_out:
        sounds = _deap_sound.Sounds(
            settings, _videos(layout, files, rated, simulated), titles=_deap_tables.read_videos(listed) if listed else {},
            options=options, missing=missing, folder=taken_out, simulated=simulated,
        )  # fmt: skip
        plan = Plan(layout, settings, sounds, rated, baseline, simulated)
        jobs = [partial(_nmed.complain, line) for line in doubles]
        if sounds.skipped:
            jobs.append(partial(_note, sounds.skipped))
        read = _deap_raw.ingest_file if layout == "raw" else _ingest_file
        for file, number in files:
            if not 1 <= number <= _deap_tables.N_SUBJECTS:
                line = (
                    f"{file}: expected a listener from 1 to {_deap_tables.N_SUBJECTS}, found {number}; rename the file"
                )
                jobs.append(partial(_nmed.complain, line))
            else:
                jobs.append(partial(read, file, number, plan))
        return _common.run(
            store_path, jobs, module=modules[__name__], montage=MONTAGE, identity=identity, overwrite=overwrite,
            simulated=simulated, about=about,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What an ingest does with each file."""

    layout: str
    settings: _nmed.Settings
    sounds: _deap_sound.Sounds
    ratings: _deap_tables.Ratings | None
    baseline: bool
    simulated: bool

    def columns(self, number, video, labels=None):
        """The extra columns of a recording: ratings, place in the order of presentation, site."""
        row = self.ratings.row(number, video) if self.ratings else None
        found = {} if labels is None else dict(zip(_deap_tables.SCALES, map(float, labels), strict=True))
        if row is not None:
            found = {scale: float(row[scale]) for scale in _deap_tables.SCALES} | found
            if self.ratings.table["familiarity"].notna().any():
                found["familiarity"] = float(row["familiarity"])
            found["trial"] = int(row["trial"])
        return found | {"site": "simulated" if self.simulated else _deap_raw.site(number)}

    def add(self, writer, eeg, *, number, video, placed, sfreq, bads, stamp, columns, before=None):
        """Add a recording, and the seconds before it where they are kept (and given)."""
        name = f"S{number:02d}_{_deap_sound.stimulus(video)}"
        shared = {"subject": f"S{number:02d}", "sfreq": sfreq, "ch_names": CHANNELS, "bads": bads, "stamp": stamp}
        if self.baseline and before is not None and before.shape[1] >= sfreq:
            columns_before = columns | {"before": _deap_sound.stimulus(video)}
            if not writer.has_recording(f"{name}_silence", stamp=stamp):
                writer.add_recording(f"{name}_silence", before, condition="silence", **shared, **columns_before)
        placed.add(writer, self.sounds.options, self.simulated)
        more = columns | ({"before": ""} if self.baseline else {})
        writer.add_recording(name, eeg, stimulus=_deap_sound.stimulus(video), **shared, **more)


def _ingest_file(path, number, plan, writer, notes):
    """Add the recordings of a preprocessed file, one video at a time."""
    kind = "pickle" if plan.layout == "python" else "matlab"
    bad_in = {}
    with _matlab.Slices(path, "data", ndim=3, small=("labels",), first=True, kind=kind) as slices:
        check_shape(slices.shape, path, simulated=plan.simulated)
        n_videos = slices.shape[0]
        labels = _deap_tables.check_labels(slices.values["labels"], n_videos, path)
        _compare(labels, number, plan, path, notes)
        seconds = min(SECONDS, (slices.shape[2] - BASELINE) / SFREQ)
        todo = []
        for video in range(1, n_videos + 1):
            placed = None
            with notes.keep_going():
                placed = plan.sounds.place(video, seconds, writer, notes)
            if placed is None:
                continue
            stamp = f"{_common.stamp(path)}|{placed.stamp}"
            if not writer.has_recording(f"S{number:02d}_{_deap_sound.stimulus(video)}", stamp=stamp):
                todo.append((video, placed, stamp))
        parts = slices.ranges([(video - 1, video) for video, *_ in todo])
        for (video, placed, stamp), part in zip(todo, parts, strict=True):
            where = f"{path}, {_deap_sound.stimulus(video)}"
            with notes.keep_going(where):
                both = part[0, : len(CHANNELS), : BASELINE + round(placed.seconds * SFREQ)]
                both = both * np.float32(plan.settings.factor)
                eeg = both[:, BASELINE:]
                bads = _common.check_channels(eeg, ch_names=CHANNELS, sfreq=SFREQ, where=where, unit=plan.settings.unit)
                for name in bads:
                    bad_in.setdefault(name, []).append(video)
                plan.add(
                    writer, eeg, number=number, video=video, placed=placed, sfreq=SFREQ, bads=bads, stamp=stamp,
                    columns=plan.columns(number, video, labels[video - 1]), before=both[:, :BASELINE],
                )  # fmt: skip
    notes.warn(_common.note_bad_counts(bad_in, path))


def check_shape(shape, path, *, simulated=False):
    """Refuse an array that is not video × channel × time; simulated files may have fewer and shorter videos.

    Examples
    --------
    >>> check_shape((40, 40, 8064), "s01.dat")
    """
    shape = tuple(shape)
    if shape == SHAPE:
        return
    if simulated and 1 <= shape[0] <= SHAPE[0] and shape[1] == SHAPE[1] and shape[2] >= BASELINE + SFREQ:
        return
    turned = " (axes in another order)" if sorted(shape) == sorted(SHAPE) else ""
    raise DataError(
        f"{path}: expected data as video × channel × time {SHAPE}, found {shape}{turned}; use the original file"
    )


def _find_files(source, layout):
    """The layout, its files with the listeners' numbers, and a problem for each double."""
    if layout is not None and layout not in LAYOUTS:
        raise ParameterError(f"layout={layout!r}: expected one of {', '.join(LAYOUTS)}")
    if not source.exists():
        raise DataError(f"{source}: expected the folder of the data set, found nothing; get it from {WHERE}")
    for name in [layout] if layout else LAYOUTS:
        found, doubles = _nmed.find_files(source, rf"s(\d+)\.{LAYOUTS[name]}")
        if found:
            return name, [(file, int(match[1])) for file, match in found], doubles
    expected = " or ".join(f"s01.{LAYOUTS[name]} …" for name in ([layout] if layout else LAYOUTS))
    raise _nmed.nothing_found(source, f"files named {expected}", WHERE)


def _videos(layout, files, ratings, simulated):
    """The numbers of the videos: 40, or as many as simulated files have."""
    if not simulated:
        return list(range(1, _deap_tables.N_VIDEOS + 1))
    if ratings is not None:
        return sorted(set(ratings.table.index.get_level_values(1)))
    numbers = 0
    for file, _ in files:
        with (
            contextlib.suppress(DataError),  # what is wrong with a file is said when its turn comes
            _matlab.Slices(
                file, "data", ndim=3, first=True, kind="pickle" if layout == "python" else "matlab"
            ) as slices,
        ):
            numbers = max(numbers, min(slices.shape[0], _deap_tables.N_VIDEOS))
            break
    return list(range(1, max(numbers, 1) + 1))


def _compare(labels, number, plan, path, notes):
    """Say so when the table's ratings are not those of the file: then one of them belongs to other data."""
    rows = [plan.ratings.row(number, video + 1) if plan.ratings else None for video in range(len(labels))]
    other = [
        video + 1
        for video, row in enumerate(rows)
        if row is not None
        and not np.allclose([row[scale] for scale in _deap_tables.SCALES], labels[video], rtol=0, atol=0.011)
    ]
    if other:
        notes.warn(
            f"{path}: labels differ from {plan.ratings.path.name} in {len(other)} videos (first: video {other[0]}); those of "
            "the file are kept"
        )


def _note(lines, writer, notes):
    for line in lines:
        notes.warn(line)
