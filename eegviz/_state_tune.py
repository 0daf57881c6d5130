"""What the section *Tune* plays: one reconstruction at a level, range, number of iterations and scale that a person sets."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import param

from eegviz import features, inversion, levels, tuning
from eegviz._state_listen import offer_runs
from eegviz.catalogue import Shelf
from eegviz.errors import DataError
from eegviz.listening.grid import spectrogram_png
from eegviz.listening.tuner import waveform_svg

DURATION = 5  # seconds
OPEN_TUNERS, OPEN_SETTINGS = 8, 200  # kept for all sessions: a setting is some tens of kilobytes
MAX_DB, N_ITER = (60, 120), (4, 64)
_tuners = Shelf(OPEN_TUNERS)
_shown = Shelf(OPEN_SETTINGS)
_lock = threading.Lock()  # a tuner remembers what it made


@dataclass(frozen=True)
class Shown:
    """What a person hears and sees of one setting.

    `ogg` and `png` are bytes, `waveform` is SVG markup, `alt` the picture in words, `rows` the measures: name, here,
    training clips.
    """

    title: str
    ref_db: float
    ogg: bytes
    png: bytes
    alt: str
    waveform: str
    rows: list


class TuneState(param.Parameterized):
    """Which run and recording, and the four settings."""

    run = param.Selector(objects=[None], label="Run")
    recording = param.Selector(objects=[None], label="Test recording")
    ref_db = param.Number(46.0, bounds=(tuning.LOW, tuning.HIGH), step=0.5, label="ref dB")
    max_db = param.Number(features.MAX_DB, bounds=MAX_DB, step=5, label="Dynamic range")
    n_iter = param.Integer(inversion.N_ITER, bounds=N_ITER, step=4, label="Rounds of phase search")
    scale = param.Selector(objects=list(inversion.SCALES), default="power", label="Scale")
    SHARED = ("run", "recording", "ref_db", "max_db", "n_iter", "scale")

    def __init__(self, catalogue, **values):
        super().__init__(**values)
        self.catalogue = catalogue
        self._about = None  # run and song whose level was set
        offer_runs(self)

    @param.depends("run", watch=True)
    def _follow_run(self):
        audio = self.catalogue.run(self.run).config["features"]["audio"]
        self.param.ref_db.bounds = tuning.level_range(audio)
        names = self._test_recordings()
        self.param.recording.objects = names
        self.param.scale.objects = list(inversion.SCALES) if audio.endswith("-db") else ["power"]
        self.param.update(recording=names[0], scale="power")
        self._begin()

    @param.depends("recording", watch=True)
    def _begin(self):
        """Start at the level of the song: another recording of it leaves what a person has set."""
        about = self.run, self._song()
        if about != self._about:
            self._about = about
            self.param.update(**self.at_first)

    def _song(self):
        """The song of the recording; None where its store cannot be read, which is told when the sound is made."""
        try:
            return self.catalogue.store_of(self.run).row(self.recording)["stimulus"]
        except DataError:
            return None

    @property
    def kept(self):
        """The `eegviz.levels.Level` that the run has for the song on the scale, as reconstructions use it, or None."""
        return self._kept(self.scale)

    def _kept(self, scale):
        try:
            return levels.of(self.catalogue.run(self.run), self._song(), scale=scale) if self.run is not None else None
        except DataError:  # a damaged file; told when the sound is made
            return None

    @property
    def at_first(self):
        """The settings that this run and song begin with: those kept for the song, else those of training; a dict."""
        if self.run is None:
            return {}
        level = self._kept("power") or self._trained()
        asked = {name: getattr(level, name) for name in ("ref_db", "max_db", "n_iter")}
        bounds = {name: self.param[name].bounds for name in asked}
        return {name: min(max(value, bounds[name][0]), bounds[name][1]) for name, value in asked.items()}

    def _trained(self):
        """The level of training for the song."""
        settings = self.catalogue.run(self.run).config["features"]
        usual = features.default_ref_db(settings["audio"])
        own = settings.get("ref_db")
        own = own.get(self._song()) if isinstance(own, dict) else own
        return levels.Level(usual if own is None else float(own), max_db=settings.get("max_db", features.MAX_DB))

    def _test_recordings(self):
        scores = self.catalogue.run(self.run)
        if (scores.path / "scores.csv").exists():
            return sorted(scores.scores["recording"].unique())
        windows, split = self.catalogue.windows(self.run)
        return sorted(windows.table["recording"].iloc[split.test].unique())

    @property
    def key(self):
        """What makes the sound: the same key, the same sound."""
        return self.run, self.recording, float(self.ref_db), float(self.max_db), self.n_iter, self.scale

    @property
    def ready(self):
        """True where only the level has changed, on the power scale, or the setting was made before: it takes milliseconds."""
        if self.key in _shown:
            return True
        made = _tuners.get(self.key[:2], lambda: None) if self.key[:2] in _tuners else None
        return made is not None and self.scale == "power" and (self.max_db, self.n_iter) in made.known

    def steps(self):
        """Make the sound, see `eegviz._state_work.Work`: returns `shown`."""
        if self.run is None:
            raise DataError("No run here reconstructs sound: train one with eegviz train, or run eegviz demo.")
        run, recording, *setting = self.key
        if (run, recording) not in _tuners:
            yield 0.05, f"reconstructing {DURATION} s of {recording}, and the training clips beside it"
        tuner = self._tuner(run, recording)
        yield 0.8, "finding a phase for the sound"
        return self._at(tuner, (run, recording, *setting))

    def shown(self):
        """The setting as a `Shown`."""
        return self._at(self._tuner(self.run, self.recording), self.key)

    def _tuner(self, run, recording):
        def make():
            windows, split = self.catalogue.windows(run)
            made = tuning.tuner(
                self.catalogue.run(run), self.catalogue.store_of(run), recording, duration=DURATION, windows=windows,
                split=split, n_clips=2,
            )  # fmt: skip
            made.known = set()
            return made

        return _tuners.get((run, recording), make)

    def _at(self, tuner, key):
        def make():
            ref_db, max_db, n_iter, scale = key[2:]
            with _lock:
                made = tuner.at(ref_db, max_db=max_db, n_iter=n_iter, scale=scale)
                tuner.known.add((max_db, n_iter))
            return _shown_as(tuner.title, made)

        return _shown.get(key, make)


def _shown_as(title, tuned):
    alt = (
        f"Spectrogram of {title} at ref dB {tuned.ref_db:g}: {tuned.seconds:.0f} s, {tuned.spectrogram.shape[1]} bins, "
        f"mean level {tuned.spectrogram.mean():.2f} on the scale 0 to 1"
    )
    return Shown(
        title=title, ref_db=tuned.ref_db, ogg=inversion.encode_sound(tuned.heard, tuned.sr),
        png=spectrogram_png(tuned.spectrogram), alt=alt, waveform=waveform_svg(tuned, title=title), rows=tuned.rows(),
    )  # fmt: skip
