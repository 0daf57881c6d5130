"""The section *Models*: every run in a table, and some of them beside each other."""

from __future__ import annotations

import panel as pn

from eegviz._state_models import LISTED, MAX_COMPARED
from eegviz.app import html
from eegviz.app.listen import run_names
from eegviz.app.sheet import Sheet

TITLE = "Models"
QUESTION = "What was trained, how did it learn, and what do two runs differ in?"
LOSS = (
    "Losses of different models are not on one scale: look at the shape of each curve, and at the gap between its two."
)


class ModelsView(pn.viewable.Viewer):
    """Runs listed and compared."""

    def __init__(self, state, media):
        super().__init__()
        self.state, self.media = state, media
        fields = {
            "model": {"kind": "select"}, "split": {"kind": "select"},
            "compared": {
                "kind": "checks", "names": run_names(state.catalogue), "folded": f"Choose runs to compare (at most {MAX_COMPARED})",
                "most": MAX_COMPARED,
            },
        }  # fmt: skip
        self.sheet = Sheet(state, fields, head=html.heading(TITLE, QUESTION))
        state.param.watch(self._update, list(state.SHARED))
        self._update()

    def _update(self, *_):
        self.sheet.start(self._steps())

    def _steps(self):
        state = self.state
        listed = self._listed()
        if not state.compared:
            return listed
        yield 0.1, "reading the runs"
        called = state.called()
        names = "; ".join(called.values())
        table, n = state.parameters()
        scores = html.table(
            state.scores().rename_axis("metric").reset_index(), columns={"metric": "Metric", **called},
            caption="Scores, 95 % intervals in brackets, chance, and the best answer without EEG",
        )  # fmt: skip
        yield 0.5, "drawing the curves"
        parts = [html.heading("Side by side", level=3), html.cards(state.verdicts())]
        beside, curves = state.beside(), state.curves()
        parts += [self._picture(beside)] if beside is not None else []
        parts.append(scores)
        if curves is not None:
            parts += [html.heading("How they learned", LOSS, level=3), self._picture(curves)]
        table = table.rename_axis("setting").reset_index()
        parts.append(html.heading("What they differ in", level=3))
        columns = {"setting": "Setting", **called}
        if n:
            parts.append(html.table(table.head(n), columns=columns, caption=f"{n} settings differ"))
        alike = html.table(table.iloc[n:], columns=columns, caption=f"Settings that are alike: {names}")
        parts.append(html.more(f"{len(table) - n} settings are alike", alike))
        return "".join(parts) + listed

    def _listed(self):
        rows = self.state.listed()
        unfinished = self.state.catalogue.unfinished
        more = f"; {unfinished} unfinished left out" if unfinished else ""
        return html.heading("All runs", level=3) + html.table(
            rows,
            columns=LISTED,
            caption=f"{len(rows)} of {len(self.state.catalogue.table)} runs{more}",
            verdict="verdict",
        )

    def _picture(self, picture):
        return html.picture(self.media(picture.png, "image/png", "picture.png"), picture.alt)

    def __panel__(self):
        return self.sheet.form
