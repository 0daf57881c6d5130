"""The ref-dB tuner as HTML: what a kernel's sliders show, and an offline twin that needs no kernel and no server.

On the power scale a new ref_dB is only a gain, so the twin holds one sound and sets the player's volume: what is heard is
what `eegviz.inversion.Inverted.at` would give. On the published scale a new ref_dB is another sound, so the twin holds a
few of them. The measures of `eegviz.loudness` stand below as text and follow. Without script, in a notebook that nobody
trusted, player, picture, waveform and the measures at the first level remain.

Functions: `tuner_view` (one setting, for widgets and the app), `offline_tuner`, `tuner_assets`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import numpy as np

from eegviz import inversion, scripts
from eegviz.errors import ParameterError
from eegviz.listening.grid import spectrogram_png

STEP_DB = 0.5
PUBLISHED_VALUES = 3  # sounds of the published scale that a twin holds: the range's ends and its middle
NOTES = {
    "power": "On the power scale the slider is a gain: nothing but the level changes.",
    "published": (
        "The published scale takes decibels for power: each value is another sound, and this page holds {values} dB. "
        "They are played at the level of the training clips, so that the scales are compared and not their levels."
    ),
}


@dataclass(frozen=True)
class OfflineTuner:
    """A player with a ref-dB slider that needs no kernel; Jupyter and the reports show it as HTML.

    Attributes
    ----------
    page : str
        HTML of the tuner itself; it needs `tuner_assets` once on the page.
    """

    page: str = field(repr=False)

    def html(self):
        """The tuner without style and script."""
        return self.page

    def assets(self):
        """Style and script, which a page needs once; twice does no harm."""
        return tuner_assets()

    def _repr_html_(self):
        return self.page + self.assets()


def tuner_assets() -> str:
    """The style sheet and the script of tuners, as tags. A tuner that is live already is left alone."""
    return f'<style data-once="tuner">\n{_asset("tuner.css")}</style>\n{scripts.element("tuner")}'


def tuner_view(tuned, *, title, live=False, style=True) -> str:
    """One setting of a tuner as HTML: spectrogram, waveform, player and measures, every text escaped.

    Parameters
    ----------
    tuned : eegviz.tuning.Tuned
    title : str
    live : bool
        For a view that a kernel replaces: the player is a WAV, which is made in a tenth of an OGG's time.
    style : bool
        With the style sheet.

    Returns
    -------
    str
    """
    name = "wav" if live else "ogg"
    sound = _data(inversion.encode_sound(tuned.heard, tuned.sr, format=name), f"audio/{name}")
    return (
        (f"<style>{_asset('tuner.css')}</style>" if style else "")
        + f'<div class="eegviz-tuner">{_picture(tuned, title)}{waveform_svg(tuned, title=title)}'
        f'<audio controls preload="metadata" src="{sound}" aria-label="{html.escape(title)}"></audio>'
        f"{_measures(tuned)}</div>"
    )


def waveform_svg(tuned, *, title) -> str:
    """The envelope of a tuned sound as SVG between -1 and 1; what is beyond is cut off and counted under Clipping."""
    low, high = (48 * np.clip(side, -1, 1) for side in tuned.envelope)
    x = range(len(low))
    points = [f"{i},{50 - v:.1f}" for i, v in zip(x, high, strict=True)]
    points += [f"{i},{50 - v:.1f}" for i, v in zip(reversed(x), low[::-1], strict=True)]
    alt = html.escape(f"Waveform of {title}, largest sample {tuned.measures.peak:.2f} of full scale")
    return (
        f'<svg viewBox="0 0 {len(low)} 100" preserveAspectRatio="none" role="img" aria-label="{alt}">'
        f'<path d="M0,2H{len(low)}M0,98H{len(low)}" stroke="currentColor" stroke-opacity=".4" fill="none" '
        f'vector-effect="non-scaling-stroke"/><polygon points="{" ".join(points)}" fill="currentColor" '
        'stroke="currentColor" stroke-width="1" vector-effect="non-scaling-stroke"/></svg>'
    )


def offline_tuner(
    tuner, *, title=None, start=None, low=None, high=None, max_db=100.0, n_iter=inversion.N_ITER, published=None
):
    """Make the offline twin of the ref-dB tuner.

    Parameters
    ----------
    tuner : eegviz.tuning.Tuner
    title : str, optional
        Default the tuner's.
    start, low, high : float, optional
        Value at first, and range, in dB; default the tuner's.
    max_db : float
    n_iter : int
    published : sequence of float, optional
        ref_dB of the sounds of the published scale that the page holds; default the ends of the range and its middle,
        none where the kind of picture has no such scale. About 60 kB each for five seconds.

    Returns
    -------
    OfflineTuner
    """
    title = tuner.title if title is None else title
    low, high = (own if asked is None else float(asked) for own, asked in zip(tuner.range, (low, high), strict=True))
    if not low < high:
        raise ParameterError(f"a slider needs low < high; found {low:g} and {high:g} dB.")
    start = round(float(np.clip(tuner.start_ref_db if start is None else start, low, high)) / STEP_DB) * STEP_DB
    if published is None:
        published = np.linspace(low, high, PUBLISHED_VALUES) if "published" in tuner.scales else ()
    settings = {"max_db": max_db, "n_iter": n_iter}
    steps = np.arange(low, high + STEP_DB / 2, STEP_DB)
    sounds, scales = _power(tuner, steps, start, title, settings)
    if len(published):
        entries = []
        for value in published:
            tuned = tuner.at(float(value), scale="published", **settings)
            entries.append(
                {"ref_db": float(value), "sound": len(sounds), "volume": 1.0, "gain": 1.0, "text": _texts(tuned)}
            )
            sounds.append(_sound(tuned, f"{title}, published scale, ref dB {value:g}"))
        note = NOTES["published"].format(values=", ".join(f"{value:g}" for value in published))
        scales["published"] = {"entries": entries, "note": note}
    first = tuner.at(start, **settings)
    # `<` as an escape, so that no text can end the element; JSON reads it back as it was
    data = json.dumps({"title": title, "sounds": sounds, "scales": scales}).replace("<", "\\u003c")
    named, group = html.escape(title), f"scale-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
    choices = "".join(
        f'<label><input type="radio" name="{group}" value="{one}"{" checked" if one == "power" else ""}> {one}</label>'
        for one in scales
    )
    page = (
        f'<div class="eegviz-tuner eegviz-tuner-offline" role="group" aria-label="Tuner of {named}">'
        f"<p><b>{named}</b></p>{_picture(first, title)}{waveform_svg(first, title=title)}"
        f'<audio controls preload="metadata" src="{sounds[0]["src"]}" aria-label="{named}"></audio>'
        f'<div data-live hidden><label>ref dB <input type="range" min="{low:g}" max="{high:g}" step="{STEP_DB}" '
        f'value="{start:g}" aria-label="ref dB of {named}"> <output>{start:.1f}</output> dB</label>'
        + (f"<fieldset><legend>Scale</legend>{choices}</fieldset>" if len(scales) > 1 else "")
        + f'</div><p class="eegviz-tuner-note">At ref dB {start:g}, power scale.</p>{_measures(first)}'
        f'<script type="application/json" class="eegviz-tuner-data">{data}</script></div>'
    )
    return OfflineTuner(page)


def _power(tuner, steps, start, title, settings):
    """The one sound of the power scale, at the highest level that fits, and the volume and text of every step."""
    loudest = tuner.at(float(steps[-1]), **settings)
    peak = max(loudest.measures.peak, 1e-9)
    fits = float(steps[-1]) - max(
        0.0, 40 * float(np.log10(peak / 0.99))
    )  # louder would clip, so the player stays there
    entries = [
        {
            "ref_db": float(step),
            "sound": 0,
            "volume": min(1.0, 10 ** ((float(step) - fits) / 40)),
            "gain": 10 ** ((float(step) - fits) / 40),  # of the waveform, which shows what would clip
            "text": _texts(tuner.at(float(step), **settings)),
        }
        for step in steps
    ]
    sound = _sound(tuner.at(fits, **settings), title)
    first = tuner.at(start, **settings)
    sound |= {"picture": _png(first), "alt": _alt(first, title)}
    return [sound], {"power": {"entries": entries, "note": NOTES["power"]}}


def _sound(tuned, title):
    ogg = _data(inversion.encode_sound(tuned.heard, tuned.sr), "audio/ogg")
    low, high = np.rint(1000 * tuned.envelope).astype(int).tolist()  # thousandths of full scale
    return {"src": ogg, "picture": _png(tuned), "alt": _alt(tuned, title), "low": low, "high": high}


def _measures(tuned):
    """The measures as a list; the script replaces the text of each ``dd``."""
    return f"<dl>{''.join(f'<div><dt>{html.escape(n)}</dt><dd>{html.escape(t)}</dd></div>' for n, t in tuned.texts())}</dl>"


def _texts(tuned):
    return [text for _, text in tuned.texts()]


def _picture(tuned, title):
    return f'<img src="{_png(tuned)}" alt="{html.escape(_alt(tuned, title))}">'


def _png(tuned):
    return _data(spectrogram_png(tuned.spectrogram), "image/png")


def _alt(tuned, title):
    return (
        f"Spectrogram of {title} at ref dB {tuned.ref_db:g}: {tuned.seconds:.0f} s, {tuned.spectrogram.shape[1]} bins, mean "
        f"level {tuned.spectrogram.mean():.2f} on the scale 0 to 1"
    )


def _data(content, mime):
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


@cache
def _asset(name):
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
