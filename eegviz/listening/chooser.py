"""One of several clips at a time, chosen by a slider: the offline twin of a control whose every position is a new sound.

Without script, in a notebook that nobody trusted, all clips stand below each other, each under its value.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from eegviz import scripts
from eegviz.errors import ParameterError
from eegviz.listening import markup
from eegviz.listening.grid import Clip


@dataclass(frozen=True)
class Chooser:
    """A slider over clips; Jupyter and the reports show it as HTML.

    Attributes
    ----------
    name : str
        What the slider sets, such as "guidance".
    values : sequence of str
        What it is set to, one for each clip.
    clips : sequence of Clip
    caption : str
    start : int
        Position at first.
    """

    name: str
    values: tuple
    clips: tuple[Clip, ...]
    caption: str = ""
    start: int = 0

    def __post_init__(self):
        if len(self.values) != len(self.clips) or not self.clips:
            raise ParameterError(
                f"{len(self.values)} values for {len(self.clips)} clips: expected one each, at least one."
            )
        if not 0 <= self.start < len(self.clips):
            raise ParameterError(f"start={self.start}: expected a position from 0 to {len(self.clips) - 1}.")

    def _repr_html_(self):
        name = html.escape(self.name)
        cells = "".join(
            f'<div data-value="{html.escape(value)}">{markup.figure(f"{self.name} {value}", one)}</div>'
            for value, one in zip(self.values, self.clips, strict=True)
        )
        bar = (
            f'<label hidden>{name} <input type="range" min="0" max="{len(self.clips) - 1}" step="1" value="{self.start}" '
            f'aria-label="{name}" style="width:50%"> <output></output></label>'
        )
        caption = f"<p>{html.escape(self.caption)}</p>" if self.caption else ""
        script = scripts.element("chooser")
        return f'{markup.style()}<div class="eegviz-grid eegviz-chooser">{caption}{bar}{cells}</div>{script}'
