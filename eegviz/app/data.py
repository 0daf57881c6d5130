"""The section *Data*: recordings, raw browser, spectrum, head maps."""

from __future__ import annotations

import panel as pn

from eegviz import _state_data
from eegviz.app import html
from eegviz.app.sheet import Sheet

TITLE = "Data"
QUESTION = "What was recorded, from whom, and what does it look like?"
ABOUT = {
    "Raw EEG": "Drag the traces to move in time, or the box in the small map below them; Ctrl and the wheel zoom, the buttons above "
    "them too. Each trace is drawn around its own mean, in microvolts. The map shows the whole recording, a row a channel; it "
    "is darker where a channel is larger than it mostly is.",
    "Spectrum": "Welch's method on segments of two seconds. In recordings power falls with frequency, with a bump near 10 Hz.",
    "Head maps": "Mean power of each band in decibels. Every map has its own colour scale.",
}

# columns of a store's tables, as a person reads them
CALLED = {
    "subject": "listener", "repeat": "hearing", "sfreq": "rate (Hz)", "sr": "rate (Hz)", "n_channels": "channels",
    "start": "start (s)", "seconds": "length (s)", "duration": "length (s)", "bad": "bad channels", "bpm": "beats a minute",
}  # fmt: skip
OF_TRACES = (_state_data.VIEWS[0], "Raw EEG")  # views of some seconds and some channels


class DataView(pn.viewable.Viewer):
    """Views of one recording of one store."""

    def __init__(self, state, media):
        super().__init__()
        self.state, self.media = state, media
        self.sheet = Sheet(state, self._fields(), show=self._show)
        self._view = None
        self._live = []
        state.param.watch(self._describe, "store")
        state.param.watch(self._update, ["recording", "view", "start", "n_channels"])
        self._describe()
        self._update()

    def _fields(self):
        state = self.state
        fields = {"store": {"kind": "select"}} if len(state.param.store.objects) > 1 else {}
        fields |= {"recording": {"kind": "select"}, "view": {"kind": "choice"}}
        if state.view in OF_TRACES:
            fields |= {"start": {"kind": "number"}, "n_channels": {"kind": "range"}}
        return fields

    def _describe(self, *_):
        if self.state.store is None:
            self.sheet.head(html.heading(TITLE, QUESTION))
            return
        title, citation = self.state.source()
        self.sheet.head(
            html.heading(TITLE, QUESTION)
            + html.banner(self.state.overview())
            + html.paragraph(f"{title}. Cite: {citation}", kind="muted wide")
        )

    def _update(self, *_):
        state = self.state
        self.sheet.controls(self._fields(), {})
        if state.recording is None:
            self.sheet.put(
                html.alert("No store is open here: name one, or a folder of some, eegviz app STORE …", kind="info")
            )
        elif state.ready:  # drawn for somebody else already
            self._show(self._made(state.view))
        else:
            self.sheet.start(self._steps(state.view))

    def _steps(self, view):
        yield 0.1, f"drawing {self.state.recording}"
        return self._made(view)

    def _made(self, view):
        """The content of a view: markup, or a HoloViews layout."""
        if view == "Raw EEG":
            return self.state.browser()
        if view == _state_data.VIEWS[0]:
            return self._recordings()
        return html.paragraph(ABOUT[view], kind="muted wide") + self._picture(self.state.picture())

    def _recordings(self):
        rows, n = self.state.table()
        stimuli = self.state.stimuli()
        more = f", the first {len(rows)} of {n} shown" if n > len(rows) else ""
        return (
            self._picture(self.state.picture())
            + html.table(rows, columns=_called(rows), caption=f"Recordings of {self.state.store}: {n}{more}")
            + html.table(stimuli, columns=_called(stimuli), caption=f"Stimuli of {self.state.store}")
        )

    def _picture(self, picture):
        return html.picture(self.media(picture.png, "image/png", "picture.png"), picture.alt)

    def _show(self, made):
        if isinstance(made, str):
            self._live[:] = []
            self.sheet.put(made)
        else:
            self.sheet.put(html.paragraph(ABOUT["Raw EEG"], kind="muted wide"))
            self._live[:] = [pn.pane.HoloViews(made, sizing_mode="stretch_width", linked_axes=False)]
        if self._view is not None:
            self._view[:] = [self.sheet, *self._live]

    def __panel__(self):
        if self._view is None:
            self._view = pn.Column(self.sheet, *self._live, sizing_mode="stretch_width", margin=0)
        return self._view


def _called(table):
    return {name: CALLED.get(name, str(name)) for name in table.columns if name != "n_samples"}
