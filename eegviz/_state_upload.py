"""What the section *Upload* does: a person's own EEG file becomes sound, with the verdict that applies to an unknown listener."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import param

from eegviz import uploads
from eegviz._state_listen import offer_runs
from eegviz.errors import DataError, ParameterError
from eegviz.listening import grid

MAX_SECONDS = 30
LOOK_S = 0.2  # between two looks whether a file is read


@dataclass(frozen=True)
class Heard:
    """What became of an upload.

    Attributes
    ----------
    name : str
        The file's, as text to show.
    run : str
        Of the catalogue.
    facts : tuple of str
        What was read, and what was done to it.
    clip : eegviz.listening.Clip
    verdict : str
        What the sound is worth.
    """

    name: str
    run: str
    facts: tuple
    clip: grid.Clip = field(repr=False)
    verdict: str


class UploadState(param.Parameterized):
    """Which run hears the file, which seconds; and the files of this session, which nobody keeps."""

    run = param.Selector(objects=[None], label="Run that reconstructs")
    start = param.Integer(0, bounds=(0, 3600), label="From second")
    duration = param.Integer(5, bounds=(1, MAX_SECONDS), label="Seconds")
    SHARED = ("run",)

    def __init__(self, catalogue, *, limits=None, root=None, **values):
        super().__init__(**values)
        self.catalogue, self.limits, self._root = catalogue, limits or catalogue.limits or uploads.Limits(), root
        self._session = self._arriving = self._received = None
        offer_runs(self)

    @property
    def held(self):
        """The file that was received last, an `eegviz.uploads.Upload`, or None."""
        return self._received

    def arrive(self, name, data, *, first=False, last=False):
        """Take a part of a file that arrives in parts; what is too large is refused while it arrives.

        Returns
        -------
        eegviz.uploads.Upload or None
            None until the last part.

        Raises
        ------
        DataError
            See `eegviz.uploads.receive`. Nothing of the file is left on the disk then.
        """
        if first:
            self._drop()
            if self._session is None:
                self._session = uploads.Session(self._root, limits=self.limits)
            if self._received is not None:
                uploads.remove(self._received)
                self._received = None
            self._arriving = self._session.begin(name)
        if self._arriving is None:
            raise ParameterError("a part of a file came without its beginning: choose the file again.")
        try:
            self._arriving.write(data)
            if not last:
                return None
            self._received = self._arriving.finish()
        except DataError:
            self._arriving = None  # nothing of it is left
            raise
        self._arriving = None
        return self._received

    def steps(self):
        """Read the file and listen to it, see `eegviz._state_work.Work`: returns a `Heard`."""
        upload, name = self._received, self.run
        if upload is None:
            raise ParameterError("there is no file yet: choose one.")
        if name is None:
            raise DataError("No run here reconstructs sound: train one with eegviz train, or run eegviz demo.")
        run = self.catalogue.run(name)
        recording = yield from self._reading(upload)
        yield 0.5, "matching channels by name"
        matched = uploads.match(recording, run, store=self.catalogue.store_of(name))
        yield 0.7, "reconstructing"
        made = uploads.reconstruct(matched, run, start=self.start, duration=self.duration)
        verdict = uploads.unknown_listener(run)
        title = f"{upload.name}, seconds {made.start} to {made.start + made.seconds}"
        facts = (f"{upload.kind}, {upload.n_bytes / 1e6:.1f} MB", made.describe(), *upload.notes, *made.notes)
        clip = grid.clip(title, within(made.sound), made.sr, made.pictures)
        return Heard(upload.name, name, facts, clip, verdict.text)

    def _reading(self, upload):
        """Read the file; it ends with the generator, so that a person who cancels need not wait for a slow file."""
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(uploads.read, upload, stop=stop)
            try:
                while not reading.done():
                    yield 0.1, f"reading {upload.name} in a process of its own"
                    wait([reading], timeout=LOOK_S)
            finally:
                stop.set()
        try:
            return reading.result()
        except DataError:
            self._received = None  # it is removed
            raise

    def forget(self):
        """Remove the file now."""
        self.close()

    def close(self):
        """Remove all files of the session."""
        self._drop()
        if self._session is not None:
            self._session.close()
        self._session = self._received = None

    def _drop(self):
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None


def within(sound):
    """A sound, softer where it would clip."""
    peak = float(abs(sound).max()) if len(sound) else 0.0
    return sound if peak <= 1 else sound / peak
