"""The HTML of a listening grid: every text escaped, sounds and pictures embedded or by address.

Without script a cell is a picture, the browser's own player and lines of text. With it (`assets`) the element
``eegviz-grid`` takes over: its class is defined once for a page, however many grids carry the script.

Functions: `assets`, `style`, `grid`, `figure`, `embedded`, `file_name`.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import unicodedata
from functools import cache
from html import escape
from importlib import resources

from eegviz import scripts

_DOT = '<span class="eg-dot"> · </span>'
SOUND, PICTURE = "audio/ogg", "image/png"
FAR_DB = 15  # a clip that was raised by more is said to be far softer than its original (our choice)


@cache
def assets():
    """Style sheet and script of the grid, as markup; both marked so that a page can keep the first of many."""
    return f"{style()}{scripts.element('listening')}\n"


def style():
    """The style sheet alone, as markup."""
    return f'<style data-once="listening">\n{_text("grid.css")}</style>\n'


def embedded(data, mime, name):
    """The data address of bytes, whatever their name.

    >>> embedded(b"abc", "image/png", "a.png")
    'data:image/png;base64,YWJj'
    """
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def grid(shown, media, *, lazy=False):
    """The markup of a `Grid`.

    Parameters
    ----------
    shown : Grid
    media : callable
        ``media(data, mime, name) -> address``.
    lazy : bool
        Pictures and sounds are loaded when they are needed.
    """
    used, rows = set(), []
    for label, clips in shown.rows:
        cells = "".join(
            figure(column, one, media=media, lazy=lazy, used=used)
            for column, one in zip(shown.columns, clips, strict=True)
        )
        rows.append(
            f'<div class="eg-row" role="group" aria-label="{escape(label)}"><p class="eg-label"><b>{escape(label)}</b></p>'
            f'<div class="eg-cells">{cells}</div></div>'
        )
    caption = f'<p class="eg-caption">{escape(shown.caption)}</p>' if shown.caption else ""
    return (
        f'<eegviz-grid class="eegviz-grid" data-key="{_key(shown)}" style="--columns:{len(shown.columns)}">'
        f"{caption}{''.join(rows)}{_legend(shown)}</eegviz-grid>"
    )


def figure(column, one, *, media=embedded, lazy=False, used=None):
    """The HTML of one clip under the name of its column; nothing where there is none."""
    if one is None:
        return ""
    name = file_name(one, column, used=set() if used is None else used)
    sound, picture = media(one.ogg, SOUND, f"{name}.ogg"), media(one.png, PICTURE, f"{name}.png")
    facts = {
        "song": one.song, "listener": one.listener, "condition": one.condition, "score": _number(one.score),
        "chance": _number(one.chance), "gain": _number(one.gain_db or None), "seconds": _number(one.seconds or None),
        "file": f"{name}.ogg",
    }  # fmt: skip
    data = "".join(f' data-{key}="{escape(value)}"' for key, value in facts.items() if value)
    lines = [
        f'<span class="eg-score">{escape(score_text(one))}</span>' if one.score is not None else "",
        f"<span>{escape(one.note)}</span>" if one.note else "",
        f'<span class="eg-gain">{escape(gain_text(one.gain_db))}</span>' if one.gain_db else "",
    ]
    late, preload = (' loading="lazy"', "none") if lazy else ("", "metadata")
    return (
        f'<figure{data}><div class="eg-picture"><img src="{escape(picture)}" alt="{escape(one.alt)}"{late}></div>'
        f'<audio controls preload="{preload}" src="{escape(sound)}" aria-label="{escape(one.title)}">'
        f'</audio><figcaption><b class="eg-name">{escape(column)}</b><br>{_DOT.join(filter(None, lines))}</figcaption></figure>'
    )


def score_text(one):
    """The score of a clip with its chance level.

    >>> from eegviz.listening import Clip
    >>> score_text(Clip("a", b"", b"", "", score=0.625, chance=0.5, score_name="retrieval"))
    'retrieval .62 (chance .50)'
    """
    chance = "" if one.chance is None else f" (chance {_short(one.chance)})"
    return f"{one.score_name or 'score'} {_short(one.score)}{chance}"


def gain_text(gain_db):
    """What matching the level has added to a clip; why, where it is so much that it makes another sound of it.

    >>> gain_text(-6.2), gain_text(25.3)
    ('level matched, −6 dB', 'raised by 25 dB: far softer than the original, as nearly flat pictures are')
    """
    if gain_db > FAR_DB:
        return f"raised by {gain_db:.0f} dB: far softer than the original, as nearly flat pictures are"
    return f"level matched, {_decibels(gain_db)}"


def file_name(one, column, *, used):
    """A name for the files of a clip, without suffix, unlike those in `used` (which it joins).

    >>> from eegviz.listening import Clip
    >>> one, used = Clip("Étude / 21, reconstruction", b"", b"", "", song="song21"), set()
    >>> file_name(one, "Listener 1", used=used), file_name(one, "Listener 1", used=used)
    ('etude-21-reconstruction-listener-1', 'etude-21-reconstruction-listener-1-2')
    """
    parts = [one.title] if column.lower() in one.title.lower() else [one.title, column]
    plain = unicodedata.normalize("NFKD", " ".join(parts)).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80].rstrip("-") or "clip"
    name, count = base, 1
    while name in used:
        count += 1
        name = f"{base}-{count}"
    used.add(name)
    return name


def _legend(shown):
    """What the axes of the pictures are, as a line below the grid; empty where that is not known."""
    clips = [one for _, clips in shown.rows for one in clips if one is not None and one.bins and one.seconds]
    if not clips:
        return ""
    lengths = sorted({round(one.seconds, 1) for one in clips})
    time = f"{lengths[0]:g}" + (f" to {lengths[-1]:g}" if len(lengths) > 1 else "")
    kinds = " or ".join(dict.fromkeys(one.bins for one in clips))
    text = f"Pictures: time to the right, {time} s; upwards {kinds}, low at the bottom; bright is loud."
    return f'<p class="eg-caption eg-legend">{escape(text)}</p>'


def _key(shown):
    """Names a grid in the address of its page: the same texts, the same key."""
    titles = [one.title for _, clips in shown.rows for one in clips if one is not None]
    texts = (shown.caption, *shown.columns, *(label for label, _ in shown.rows), *titles)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:6]


def _number(value):
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _short(value):
    """``.62``, as scores between 0 and 1 are printed.

    >>> _short(0.5), _short(-0.25), _short(1.0), _short(12.346)
    ('.50', '-.25', '1.00', '12.35')
    """
    text = f"{value:.2f}"
    return re.sub(r"^(-?)0\.", r"\1.", text)


def _decibels(value):
    """A change of level in whole decibels.

    >>> _decibels(2.6), _decibels(-11.8), _decibels(-0.2)
    ('+3 dB', '−12 dB', '±0 dB')
    """
    whole = round(value)
    return f"{'+' if whole > 0 else '−' if whole else '±'}{abs(whole)} dB"


@cache
def _text(name):
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
