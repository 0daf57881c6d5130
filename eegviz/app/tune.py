"""The section *Tune*: how loud is a reconstruction, and is it the least jarring?"""

from __future__ import annotations

import panel as pn

from eegviz.app import html
from eegviz.app.listen import run_names
from eegviz.app.sheet import Sheet

TITLE = "Tune"
QUESTION = "How loud should a reconstruction be? The paper chose ref dB by ear, between 40 and 60; here its effect is measured too."
ABOUT = (
    "On the power scale ref dB is a pure gain: the least jarring value is the one at which reconstructions of training clips "
    "are as loud as their originals, and nothing clips. The published scale takes decibels for power; there ref dB also "
    "changes how peaky and how noise-like the sound is. The last column is what the song's training clips are like."
)
HINTS = {
    "max_db": "How many dB the picture's darkest value lies below its brightest: wider is quieter between the notes. The paper has 100.",
    "n_iter": "A picture holds no phase; Griffin–Lim looks for one in rounds. More rounds sound less metallic and take longer. The published code has 32.",
    "scale": "How decibels become sound. The published code takes them for power, so that ref dB also changes how noise-like it is.",
}
SCALES = {"power": "Correct decibels", "published": "As in the published code"}
NO_CLIPS = "There are no training clips of this song: its split holds the song out, so nothing may be matched to it."


class TuneView(pn.viewable.Viewer):
    """One reconstruction at four settings."""

    def __init__(self, state, media):
        super().__init__()
        self.state, self.media = state, media
        self._names = run_names(state.catalogue)
        self.sheet = Sheet(state, self._fields(), head=html.heading(TITLE, QUESTION), show=self._show)
        state.param.watch(self._update, list(state.SHARED))
        self._update()

    def _fields(self):
        kept = self.state.kept
        level = {"hint": f"kept for this song: {kept.ref_db:g} dB, {kept.chosen}"} if kept is not None else {}
        fields = {
            "run": {"kind": "select", "names": self._names}, "recording": {"kind": "select"},
            "ref_db": {"kind": "range", "unit": "dB"} | level,
            "max_db": {"kind": "range", "unit": "dB", "hint": HINTS["max_db"]},
            "n_iter": {"kind": "range", "hint": HINTS["n_iter"]},
        }  # fmt: skip
        if len(self.state.param.scale.objects) > 1:
            fields["scale"] = {"kind": "choice", "names": SCALES, "hint": HINTS["scale"]}
        return fields

    def _update(self, *_):
        self.sheet.controls(self._fields(), {})
        if self.state.run is not None and self.state.ready:
            self._show(self.state.shown())
        else:
            self.sheet.start(self.state.steps())

    def _show(self, made):
        png = self.media(made.png, "image/png", "spectrogram.png")
        sound = self.media(made.ogg, "audio/ogg", "sound.ogg")
        rows = [{"measure": name, "here": own, "clips": other or "—"} for name, own, other in made.rows]
        lacking = "" if any(other for *_, other in made.rows) else html.paragraph(NO_CLIPS, kind="muted wide")
        columns = {"measure": "Measure", "here": f"At {made.ref_db:g} dB", "clips": "Training clips"}
        self.sheet.put(
            html.heading(made.title, level=3)
            + f'<div class="tuned">{html.picture(png, made.alt)}{made.waveform}{html.sound(sound, made.title)}</div>'
            + html.table(rows, columns=columns, caption=f"How {made.title} sounds beside the song's training clips")
            + lacking
            + html.paragraph(ABOUT, kind="muted wide")
        )

    def __panel__(self):
        return self.sheet.form
