"""A grid of sounds: one row a song, one column a listener or condition, each a player over its spectrogram.

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
from eegviz.errors import ParameterError
from eegviz.plots import SPECTRUM_COLOURS

_STYLE = """<style>
.eegviz-grid{width:100%;border-collapse:collapse}
.eegviz-grid th,.eegviz-grid td{padding:.4rem .5rem;vertical-align:top;text-align:left}
.eegviz-grid figure{margin:0;min-width:14.5rem}
.eegviz-grid th[scope=row]{min-width:6rem}
.eegviz-grid img{width:100%;height:6.5rem;object-fit:fill;image-rendering:auto;border-radius:4px;display:block}
.eegviz-grid audio{display:block;width:100%;max-width:none;margin:.3rem 0 .2rem}
.eegviz-grid figcaption{margin:0;padding:0;font-size:.85em;line-height:1.35}
.eegviz-scroll{overflow-x:auto;max-width:100%}
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
    """Rows of clips under column headings; Jupyter and the reports show it as HTML.

    Attributes
    ----------
    columns : sequence of str
        Headings.
    rows : sequence of (str, sequence of Clip or None)
        A row's label and its clips; None leaves a cell empty.
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
                    "give None where a cell is empty."
                )

    def _repr_html_(self):
        head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in ("", *self.columns))
        body = "".join(
            f'<tr><th scope="row">{html.escape(label)}</th>{"".join(map(_cell, clips))}</tr>'
            for label, clips in self.rows
        )
        return (
            f'{_STYLE}<div class="eegviz-scroll" tabindex="0" role="region" aria-label="{html.escape(self.caption)}">'
            f'<table class="eegviz-grid"><caption>{html.escape(self.caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


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


def _cell(clip_):
    if clip_ is None:
        return "<td></td>"
    sound = base64.b64encode(clip_.ogg).decode()
    picture = base64.b64encode(clip_.png).decode()
    title, alt, note = map(html.escape, (clip_.title, clip_.alt, clip_.note))
    return (
        f'<td><figure><img src="data:image/png;base64,{picture}" alt="{alt}">'
        f'<audio controls preload="metadata" src="data:audio/ogg;base64,{sound}" aria-label="{title}"></audio>'
        f"<figcaption>{note}</figcaption></figure></td>"
    )


def spectrogram_png(joined, clim=(0, 1)):
    """A spectrogram ``(n_frames, n_bins)`` as a PNG without axes, low bins at the bottom."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.clip(joined.T[::-1], *clim), cmap=SPECTRUM_COLOURS, vmin=clim[0], vmax=clim[1], format="png")
    return buffer.getvalue()
