"""Uploads: a person hands over an EEG file and hears what a run makes of it, and what that is worth.

A file from elsewhere is never trusted: its size, number and type are checked here, whatever a browser checked; its name is
text to show and never a path; it is read by a child process that may take only so much memory and time
(`eegviz.eeg_files`); a refusal leaves nothing on the disk; and nothing is kept after the session::

    with Session() as session:
        upload = session.receive("P01.edf", data)
        matched = match(read(upload), run)
        made = reconstruct(matched, run, duration=5)
        print(unknown_listener(run, "runs").text)

Functions: `receive`, `read`, `match`, `reconstruct`, `unknown_listener` (the verdict that applies), `discard`, `sweep`.
Classes: `Limits`, `Session`, `Arrival` (a file that comes in parts), `Upload`, `Verdict`.
"""

from __future__ import annotations

import os
import shutil
import weakref
from dataclasses import dataclass

from eegviz import _upload_folders, eeg_files, matching, reconstruction, runs, verdict
from eegviz._upload_arrival import Arrival, Limits, Upload, blocks
from eegviz._upload_folders import default_root, discard, sweep, usage
from eegviz.errors import DataError

__all__ = [
    "Arrival", "Limits", "Session", "Upload", "Verdict", "default_root", "discard", "match", "read", "receive", "reconstruct",
    "remove", "sweep", "unknown_listener", "usage",
]  # fmt: skip

UNMET = ("subject_song", "subject")  # splits that hold out listeners; the first also holds out the music


@dataclass(frozen=True)
class Verdict:
    """What is known about a run's worth for a listener it never met.

    Attributes
    ----------
    text : str
        Sentences to print beside the sound.
    run : Run or None
        The run whose verdict applies: the one asked about, or another of the same model.
    is_own : bool
        Whether it is the one asked about.
    """

    text: str
    run: runs.Run | None
    is_own: bool


class Session:
    """The uploads of one person, on the disk only as long as this is open. A context manager.

    Parameters
    ----------
    root : path, optional
        Folder of all sessions; default one of this user's among the temporary files.
    limits : Limits

    Attributes
    ----------
    folder : Path
    limits : Limits

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root, Session(root) as session:
    ...     session.receive("notes.edf", b"Dear diary")
    Traceback (most recent call last):
    eegviz.errors.DataError: notes.edf: expected FIF, EDF, ..., found text that begins 'Dear diary', although its name says EDF.
    Export the recording again.
    """

    def __init__(self, root=None, *, limits=None):
        self.limits = limits or Limits()
        self.folder = _upload_folders.make(root or default_root())
        # also when the session is forgotten, and when the interpreter ends
        self._tidy = weakref.finalize(self, _discard_own, self.folder, os.getpid())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def receive(self, name, data):
        """See `receive`."""
        return receive(self.folder, name, data, limits=self.limits)

    def begin(self, name):
        """An `Arrival`, for a file that comes in parts."""
        return Arrival(self.folder, name, limits=self.limits)

    def close(self):
        """Remove all files of this session. It can be called again."""
        self._tidy()


def receive(folder, name, data, *, limits=None):
    """Take a file into a session's folder.

    Parameters
    ----------
    folder : path
        Of the session: ``Session.folder``.
    name : str
        The name that the person's machine gave it; kept only as text to show.
    data : bytes, or a file opened to read bytes, or an iterable of bytes
        A stream is counted while it arrives and stopped at the limit.
    limits : Limits, optional

    Returns
    -------
    Upload

    Raises
    ------
    DataError
        Too large, too many, of no known type, or a zip that is refused. Nothing of it is left on the disk then.
    """
    with Arrival(folder, name, limits=limits) as arrival:
        for block in blocks(data):
            arrival.write(block)
        return arrival.finish()


def remove(upload):
    """Remove one upload's files; those that are gone already are fine."""
    place = upload.path.parent
    _upload_folders.check(place.parent)
    if place.exists():
        shutil.rmtree(place)


def read(upload, *, unit="auto", listener=None, stop=None):
    """Read an upload in a child process; a file that is refused is removed.

    Parameters
    ----------
    upload : Upload
    unit : {"auto", "V", "mV", "uV", "nV"}
    listener : str, optional
        Of an NMED file of several listeners; default the first.
    stop : threading.Event, optional
        Once it is set the reading ends with an error; the file stays.

    Returns
    -------
    eegviz.eeg_files.Recording

    Raises
    ------
    DataError
        See `eegviz.eeg_files.read`.
    """
    limits = upload.limits
    try:
        found = eeg_files.read(
            upload.path, name=upload.name, unit=unit, listener=listener,
            bounds=eeg_files.Bounds(memory=limits.memory, cpu_s=limits.cpu_s, wall_s=limits.wall_s, stop=stop),
            max_channels=limits.channels, max_seconds=limits.seconds, max_bytes=limits.array_bytes,
        )  # fmt: skip
    except DataError:
        if stop is None or not stop.is_set():
            remove(upload)
        raise
    return found


def match(recording, run, *, store=None):
    """Bring a recording into the form that a run was trained on: see `eegviz.matching.match`."""
    return matching.match(recording, run, store=store)


def reconstruct(matched, run, **options):
    """Sound, rate and pictures of matched EEG: see `eegviz.reconstruction.reconstruct_matched` for the options.

    Returns
    -------
    eegviz.reconstruction.Reconstruction
    """
    return reconstruction.reconstruct_matched(run, matched, **options)


def unknown_listener(run, folder=None):
    """The verdict that applies to a listener whom the run never met.

    Only splits that hold out listeners (subject, subject_song) say something about one. When the run was judged on another
    split, other runs of the same model, features and data are looked for.

    Parameters
    ----------
    run : eegviz.runs.Run
    folder : path, optional
        Of runs; default the folder that the run lies in.

    Returns
    -------
    Verdict
    """
    if _holds_out(run.config) and _is_judged(run):
        return Verdict(f"For listeners it never met, this run was judged: {_sentence(run)}", run, True)
    own = (
        f"This run was judged on the split {run.config['split']['spec']}, where the listeners of the test are also in training: "
        "its scores say nothing about an unknown listener."
        if not _holds_out(run.config)
        else "This run holds out listeners, but it was not scored yet (eegviz evaluate)."
    )
    others = _others(run, folder or run.path.parent)
    if not others:
        return Verdict(
            f"{own} No run of the same model on the split subject is at hand: whether what you hear has anything to do with this "
            "EEG is not known.",
            None,
            False,
        )
    other, same = others[0]
    what = "The same model" if same else "The same kind of model with other settings"
    return Verdict(f"{own} {what}, judged on listeners it never met: {_sentence(other)}", other, False)


def _discard_own(folder, pid):
    if os.getpid() == pid:  # not in a process that was forked from the server
        discard(folder)


# ---------------------------------------------------------------- the verdict


def _holds_out(config):
    return config["split"]["spec"].partition(":")[0] in UNMET


def _is_judged(run):
    return (run.path / "metrics.json").exists()


def _sentence(run):
    result = run.metrics
    music = (
        "music it never met either"
        if result["split"]["spec"].startswith("subject_song")
        else "for music it was trained on; for other music nothing is known"
    )
    return f"{verdict.sentence(result)} ({music[0].upper()}{music[1:]}.)"


def _others(run, folder):
    """Judged runs of the same model, features and data that hold out listeners: (run, whether its settings are the same)."""
    asked, found = runs.facts(run.config), []
    for other in runs.listing(folder):
        has = runs.facts(other.config)
        alike = (has["model"], other.config["features"]["eeg"], other.config["features"]["audio"]) == (
            asked["model"], asked["eeg"], asked["audio"],
        )  # fmt: skip
        if not alike or not _holds_out(other.config) or not _is_judged(other):
            continue
        if other.config["data"]["fingerprint"] != run.config["data"]["fingerprint"]:
            continue
        same = (has["preset"], has["settings"], other.config["features"]) == (
            asked["preset"], asked["settings"], run.config["features"],
        )  # fmt: skip
        rank = UNMET[::-1].index(other.config["split"]["spec"].partition(":")[0])
        found.append((not same, rank, other.path.name, other, same))
    return [(other, same) for *_, other, same in sorted(found, key=lambda one: one[:3])]
