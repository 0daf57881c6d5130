"""The ref-dB slider's offline twin: one sound, one picture, a range input, a few lines of script, no server.

On the power scale a new ref_dB is only a gain, so the twin holds the sound at the highest level and lowers the
player's volume: what is heard is what `eegviz.inversion.Inverted.at` would give.
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass, field

import numpy as np

from eegviz import inversion
from eegviz.listening.grid import spectrogram_png

_PAGE = """<div class="eegviz-tuner" data-high="{high}" data-start="{start}">
<img src="data:image/png;base64,{png}" alt="{alt}" style="width:100%;height:7rem;border-radius:4px">
<audio controls src="data:audio/ogg;base64,{ogg}" aria-label="{title}" style="width:100%"></audio>
<label>ref dB <input type="range" min="{low}" max="{high}" step="0.5" value="{start}" aria-label="ref dB of {title}"
 style="width:60%"> <output>{start}</output> dB</label>
<script>(function(){{
const box=document.currentScript.parentElement,audio=box.querySelector("audio"),range=box.querySelector("input"),
text=box.querySelector("output"),high={high_json};
function follow(){{const ref=Number(range.value);audio.volume=Math.min(1,Math.pow(10,(ref-high)/40));
text.textContent=ref.toFixed(1);}}
range.addEventListener("input",follow);follow();}})();</script></div>"""


@dataclass(frozen=True)
class OfflineTuner:
    """A player with a ref-dB slider that needs no kernel; Jupyter and the reports show it as HTML."""

    page: str = field(repr=False)

    def _repr_html_(self):
        return self.page


def offline_tuner(inverted, pictures, *, title, start=46.0, low=40.0, high=60.0):
    """Make the offline twin of the ref-dB slider.

    Parameters
    ----------
    inverted : Inverted
        From `eegviz.inversion.invert` on the power scale.
    pictures : np.ndarray [shape=(n, n_frames, n_bins)]
        The normalised spectrogram that was inverted.
    title : str
    start, low, high : float
        Value at first, and range, in dB; `eegviz.tuning.level_range` has those of other kinds.
    """
    loudest = inverted.at(high)
    peak = float(np.abs(loudest).max())
    if peak > 1:  # the twin lowers the volume only, so its loudest sound must fit; the slider then ends below `high`
        high = float(np.floor(2 * (high - 40 * np.log10(peak))) / 2)
        loudest = inverted.at(high)
    start = min(start, high)
    joined = np.asarray(pictures).reshape(-1, np.asarray(pictures).shape[-1])
    page = _PAGE.format(
        png=base64.b64encode(spectrogram_png(joined)).decode(),
        ogg=base64.b64encode(inversion.encode_sound(loudest, inverted.sr)).decode(),
        alt=html.escape(f"Spectrogram of {title}, mean level {joined.mean():.2f}"),
        title=html.escape(title),
        low=f"{min(low, high - 20):g}",
        high=f"{high:g}",
        start=f"{start:g}",
        high_json=json.dumps(high),
    )
    return OfflineTuner(page)
