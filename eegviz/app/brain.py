"""The section *Is it the brain*: one run, every doubt about it."""

from __future__ import annotations

import panel as pn

from eegviz.app import html
from eegviz.app.listen import run_names
from eegviz.app.sheet import Sheet

TITLE = "Is it the brain?"
QUESTION = (
    "A reconstruction sounds like the song. Did the listener's EEG put anything into it, or would a mark of the recording, a "
    "mean picture or plain chance score as high?"
)
LADDER = (
    "Only the EEG changes from row to row. What the brain answers to this second is gone when the EEG is zero, noise with the "
    "same spectrum, or from another second. Other answers have no interval: a linear decoder of the same EEG, what can be said "
    "without EEG, and what knows the true sound (previous second, ceiling)."
)
SHIFTS = "If the score comes from this second's response, it falls off within a second or two on both sides."


class BrainView(pn.viewable.Viewer):
    """The verdict on a run and what it rests on."""

    def __init__(self, state, media):
        super().__init__()
        self.state, self.media = state, media
        self.sheet = Sheet(
            state, {"run": {"kind": "select", "names": run_names(state.catalogue)}}, head=html.heading(TITLE, QUESTION)
        )
        state.param.watch(self._update, "run")
        self._update()

    def _update(self, *_):
        self.sheet.start(self._steps())

    def _steps(self):
        state = self.state
        yield 0.1, "reading the scores"
        words, sentence, reasons = state.verdict()
        parts = [
            html.banner("Simulated data: no person was recorded.") if state.result["simulated"] else "",
            f'<div class="big">{html.pill(words)}</div>', html.paragraph(sentence, kind="wide"), html.checks(reasons),
        ]  # fmt: skip
        yield 0.2, "drawing what stands beside the score"
        parts += [html.heading("The same weights, other EEG", LADDER, level=3), self._picture(state.ladder())]
        yield 0.5, "drawing the shifts"
        shifts = state.shifts()
        if shifts is not None:
            parts += [html.heading("Earlier or later EEG", SHIFTS, level=3), self._picture(shifts)]
        yield 0.8, "reading the other splits"
        parts += [
            html.heading("The same model under every split", level=3),
            html.table(state.splits(), caption="Scored runs of this model and store", verdict="verdict"),
            html.heading("What the two sides share", level=3), html.items(state.shared_sides()),
            html.heading("How like the true picture", level=3), html.paragraph(state.likeness(), kind="wide"),
            html.more("The whole table, as eegviz evaluate prints it", html.printed(state.printed(), name="Table of scores")),
        ]  # fmt: skip
        return "".join(parts)

    def _picture(self, picture):
        return html.picture(self.media(picture.png, "image/png", "picture.png"), picture.alt)

    def __panel__(self):
        return self.sheet.form
