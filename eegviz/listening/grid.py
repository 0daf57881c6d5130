"""A grid of sounds: one row a song, one cell a listener or condition, each a player under its spectrogram.

Cells wrap where the page is narrow, so that nothing is cut off and a phone shows them one below the other.

The grid is plain HTML with the sounds (OGG) and pictures (PNG) inside: it plays offline, in a notebook that nobody
trusted and in a report. Every text is escaped. Levels are matched to the original of the row, because the louder of
two sounds is taken for the better one; the gain stands under each player.
"""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field

import numpy as np

from eegviz import inversion
from eegviz._drawing import SPECTRUM_COLOURS
from eegviz.errors import ParameterError

STYLE = """<style>
.eegviz-grid{margin:.5rem 0}
.eegviz-grid p{margin:.2rem 0}
.eegviz-row{margin:1rem 0 1.4rem}
.eegviz-cells{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(14.5rem,100%),1fr))}
.eegviz-grid figure{margin:0;min-width:0}
.eegviz-grid img{width:100%;height:6.5rem;object-fit:fill;border-radius:4px;display:block}
.eegviz-grid audio{display:block;width:100%;max-width:none;margin:.3rem 0 .2rem}
.eegviz-grid figcaption{margin:0;padding:0;font-size:.85em;line-height:1.35}
</style>"""


@dataclass(frozen=True)
class Clip:
    """One cell of a grid: an OGG sound, a PNG picture, and what to say about them."""

    title: str
    ogg: bytes = field(repr=False)
    png: bytes = field(repr=False)
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """Rows of clips, each cell named by its column; Jupyter and the reports show it as HTML.

    Attributes
    ----------
    columns : sequence of str
        What each cell of a row is, such as a listener; it stands under the player.
    rows : sequence of (str, sequence of Clip or None)
        A row's label and its clips; None leaves a cell out.
    caption : str
        What is compared, on which data, with how many listeners.
    """

    columns: tuple
    rows: tuple
    caption: str

    def __post_init__(self):
        for label, clips in self.rows:
            if len(clips) != len(self.columns):
                raise ParameterError(
                    f"row {label!r} of the grid has {len(clips)} clips for {len(self.columns)} columns; "
                    "give None where a cell is left out."
                )

    def _repr_html_(self):
        rows = "".join(
            f'<div class="eegviz-row" role="group" aria-label="{html.escape(label)}"><p><b>{html.escape(label)}</b></p>'
            f'<div class="eegviz-cells">{"".join(map(cell, self.columns, clips))}</div></div>'
            for label, clips in self.rows
        )
        return f'{STYLE}<div class="eegviz-grid"><p>{html.escape(self.caption)}</p>{rows}</div>'


def clip(title, sound, sr, pictures, *, reference=None, note="", clim=(0, 1)):
    """Make a `Clip` of a sound and its spectrogram.

    Parameters
    ----------
    title : str
    sound : np.ndarray [shape=(n_samples,)]
    sr : int
        Hertz.
    pictures : np.ndarray [shape=(n_frames, n_bins) or (n, n_frames, n_bins)]
        Normalised spectrogram, joined in time.
    reference : np.ndarray, optional
        Sound whose level this one is matched to.
    note : str
        A line below the player, such as a score with its chance level.
    clim : (float, float)
        Levels that are black and white.
    """
    gain = ""
    if reference is not None:
        matched = inversion.match_loudness(sound, reference)
        change = 20 * np.log10(max(np.abs(matched).max(), 1e-9) / max(np.abs(sound).max(), 1e-9))
        sound, gain = matched, f"level matched ({change:+.0f} dB)"
    pictures = np.asarray(pictures)
    joined = pictures.reshape(-1, pictures.shape[-1])
    seconds = len(sound) / sr
    alt = (
        f"Spectrogram of {title}: {seconds:.0f} s, {joined.shape[1]} bins, mean level {joined.mean():.2f}, "
        f"standard deviation {joined.std():.2f} on the scale 0 to 1"
    )
    notes = " · ".join(part for part in (note, gain) if part)
    return Clip(title, inversion.encode_sound(sound, sr), spectrogram_png(joined, clim), alt, notes)


def cell(column, clip_):
    """The HTML of one clip under the name of its column; nothing where there is none."""
    if clip_ is None:
        return ""
    sound = base64.b64encode(clip_.ogg).decode()
    picture = base64.b64encode(clip_.png).decode()
    column, title, alt, note = map(html.escape, (column, clip_.title, clip_.alt, clip_.note))
    return (
        f'<figure><img src="data:image/png;base64,{picture}" alt="{alt}">'
        f'<audio controls preload="metadata" src="data:audio/ogg;base64,{sound}" aria-label="{title}"></audio>'
        f"<figcaption><b>{column}</b><br>{note}</figcaption></figure>"
    )


def spectrogram_png(joined, clim=(0, 1)):
    """A spectrogram ``(n_frames, n_bins)`` as a PNG without axes, low bins at the bottom."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.clip(joined.T[::-1], *clim), cmap=SPECTRUM_COLOURS, vmin=clim[0], vmax=clim[1], format="png")
    return buffer.getvalue()
