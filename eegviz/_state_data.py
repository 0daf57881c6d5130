"""What the section *Data* shows: a store's recordings, and one of them as traces, as a browser, as spectrum, on the head."""

from __future__ import annotations

import numpy as np
import param

from eegviz import eeg_browser, exploration, plots
from eegviz.catalogue import Shelf
from eegviz.errors import DataError

VIEWS = ("Recordings", "Raw EEG", "Spectrum", "Head maps")
SPAN = 10  # seconds of the static picture
ROWS = 200  # of the table of recordings that are shown
MARKS = (2, 10, 25)  # hertz, named in the alternative text
_overviews = Shelf(64)
_pictures = Shelf(64)  # drawn once for all sessions


class DataState(param.Parameterized):
    """Which store, which recording, which view of it."""

    store = param.Selector(objects=[None])
    recording = param.Selector(objects=[None])
    view = param.Selector(objects=list(VIEWS), default=VIEWS[0])
    start = param.Integer(0, bounds=(0, None), label="From second")
    n_channels = param.Integer(10, bounds=(2, 24), label="Channels")
    SHARED = ("store", "recording", "view", "start", "n_channels")  # what a link says

    def __init__(self, catalogue, **values):
        super().__init__(**values)
        self.catalogue = catalogue
        names = list(catalogue.stores)
        if names:
            self.param.store.objects = names
            self.store = names[0]

    @param.depends("store", watch=True)
    def _follow_store(self):
        names = self.opened.recordings["recording"].tolist()
        self.param.recording.objects = names
        self.param.update(recording=names[0] if names else None, start=0)

    @param.depends("recording", watch=True)
    def _follow_recording(self):
        if self.recording is not None:
            last = max(0, int(self.seconds) - SPAN)
            self.param.start.bounds = (0, last)
            self.start = min(self.start, last)

    @property
    def opened(self):
        """The store."""
        return self.catalogue.store(self.store)

    @property
    def row(self):
        return self.opened.row(self.recording)

    @property
    def seconds(self):
        """Length of the recording."""
        return self.row["n_times"] / self.row["sfreq"]

    def overview(self):
        """One sentence on the store."""
        return _overviews.get(self.opened.fingerprint, lambda: exploration.overview(self.opened))

    def source(self):
        """Title and citation of the store."""
        return self.opened.manifest["title"], self.opened.manifest["citation"]

    def table(self):
        """The recordings, at most `ROWS`, and how many there are: a pandas.DataFrame, int."""
        opened = self.opened
        rows = opened.recordings
        shown = rows.head(ROWS)
        length = (shown["n_times"] / shown["sfreq"]).round(1)
        bad = [len(opened.bads(one)) for one in shown["recording"]]
        return shown.drop(columns=["n_times"]).assign(seconds=length, bad=bad), len(rows)

    def stimuli(self):
        """The stimuli: a pandas.DataFrame."""
        return self.opened.stimuli.round(3).head(ROWS)

    @property
    def key(self):
        """What makes the picture of the view: the same key, the same picture."""
        what = (self.start, self.n_channels) if self.view == VIEWS[0] else ()
        return self.view, self.opened.fingerprint, self.recording, *what

    @property
    def ready(self):
        """True where the picture of the view is made already."""
        return self.key in _pictures

    def picture(self):
        """Of the view: ten seconds of traces, the Welch spectrum, or band power over the head, as a `Picture`."""
        draw = {VIEWS[0]: self._traces, "Spectrum": self._spectrum, "Head maps": self._topographies}[self.view]
        return _pictures.get(self.key, draw)

    def browser(self):
        """The whole recording to pan and zoom: HoloViews elements of some channels, and of all as a small map of the time."""
        names, signal, sfreq = exploration.excerpt(
            self.opened, self.recording, tmin=0, tmax=int(self.seconds), n_channels=self.n_channels
        )
        return eeg_browser.traces(
            *eeg_browser.envelope(signal, sfreq), names, start=self.start, shown=SPAN,
            title=f"{self._simulated}EEG of {self.recording}: {len(names)} of {self.row['n_channels']} channels",
        )  # fmt: skip

    @property
    def _simulated(self):
        return "Simulated " if self.opened.manifest["simulated"] else ""

    def _traces(self):
        stop = min(self.start + SPAN, int(self.seconds))
        names, signal, sfreq = exploration.excerpt(
            self.opened, self.recording, tmin=self.start, tmax=stop, n_channels=self.n_channels
        )
        title = f"{self._simulated}EEG of {self.recording}: {len(names)} of {self.row['n_channels']} channels"
        shown = plots.traces(signal, sfreq, names, start=self.start, title=title)
        said = f"{title}, seconds {self.start} to {stop}; median standard deviation {np.median(signal.std(1)):.1f} µV."
        return plots.picture(shown, alt=said, height=4.2)

    def _spectrum(self):
        freqs, density = exploration.mean_spectrum(self.opened, self.recording)
        middle = np.median(density, axis=0)
        title = f"{self._simulated}EEG of {self.recording}: spectrum of {self.seconds:.0f} s, median over {len(density)} channels"
        shown = plots.spectrum(freqs, middle, title=title, marks=[(10, "10 Hz")])
        levels = (f"{middle[np.abs(freqs - f).argmin()]:.3g} µV²/Hz at {f} Hz" for f in MARKS if f <= freqs[-1])
        return plots.picture(shown, alt=f"{title}: {', '.join(levels)}.", height=3.6)

    def _topographies(self):
        if not self.opened.montage:
            raise DataError("These recordings have no positions of electrodes, so there is nothing to draw on a head.")
        power = exploration.band_power(*exploration.mean_spectrum(self.opened, self.recording))
        shown = plots.topographies(
            list(power.values()), self.opened.raw(self.recording).info, unit="dB re 1 µV²/Hz",
            titles=[f"{name}, {low:g} to {high:g} Hz" for name, (low, high) in exploration.BANDS.items()],
            suptitle=f"{self._simulated}EEG of {self.recording}: band power, {self.seconds:.0f} s",
        )  # fmt: skip
        said = ", ".join(f"{name} {value.min():.1f} to {value.max():.1f} dB" for name, value in power.items())
        return plots.picture(shown, alt=f"Head maps of band power of {self.recording}: {said}.")
