"""The section *Listen*: grids of players over pictures."""

from __future__ import annotations

import panel as pn

from eegviz._state_listen import LAYOUTS, MAX_BESIDE
from eegviz.app import html
from eegviz.app.sheet import Sheet

TITLE = "Listen"
QUESTION = "Original and reconstruction side by side: what can be heard, and would you have known the song?"


class ListenView(pn.viewable.Viewer):
    """A grid of one run, or of several runs beside each other."""

    def __init__(self, state, media):
        super().__init__()
        self.state, self.media = state, media
        self._names = run_names(state.catalogue)
        self.sheet = Sheet(state, self._fields(), head=html.heading(TITLE, QUESTION), show=self._show)
        state.param.watch(self._update, list(state.SHARED))
        self._update()

    def _fields(self):
        """The controls that have an effect in this layout."""
        fields = {
            "run": {"kind": "select", "names": self._names}, "layout": {"kind": "choice"}, "song": {"kind": "select"},
        }  # fmt: skip
        seconds = {"duration": {"kind": "range", "unit": "s"}}
        if self.state.layout == LAYOUTS[0]:
            return fields | {"n_listeners": {"kind": "range"}} | seconds
        folded = f"Runs beside it (at most {MAX_BESIDE - 1})"
        return fields | seconds | {
            "beside": {"kind": "checks", "names": self._names, "folded": folded, "open": True, "most": MAX_BESIDE - 1},
        }  # fmt: skip

    def _update(self, *_):
        self.sheet.controls(self._fields(), {})
        ready = self.state.ready
        if ready is not None:
            self._show(ready)
        else:
            self.sheet.start(self.state.steps())

    def _show(self, grid):
        self.sheet.put(grid.html(media=self.media))

    def __panel__(self):
        return self.sheet.form


def run_names(catalogue):
    """What a person reads for a run: data set, model, input, split, verdict, and what else tells it from the others."""
    return {row["run"]: row["label"] for row in catalogue.table}
