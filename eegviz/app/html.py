"""Pieces of HTML that the sections are made of. Every text is escaped here, and nowhere twice.

Panel puts text into the page as markup, in `HTML`, `Str`, `StaticText`, titles of cards and notifications alike: what comes
from a user, a file or a store therefore goes through one of these functions, or through a Material select or slider, whose
script sets it as text.
"""

from __future__ import annotations

from html import escape
from numbers import Number

VERDICTS = {"the eeg contributed": "ok", "no evidence": "none", "this split cannot tell": "cannot"}


def text(value):
    """Any value as text that is safe inside an element and inside a quoted attribute.

    >>> text("<b>"), text(0.5), text(None)
    ('&lt;b&gt;', '0.5', '—')
    """
    return "—" if value is None else escape(str(value), quote=True)


def heading(title, question="", *, level=2):
    """A heading, and a line below it."""
    under = f'<p class="question">{text(question)}</p>' if question else ""
    return f"<h{level}>{text(title)}</h{level}>{under}"


def paragraph(words, *, kind=""):
    return f'<p class="{text(kind)}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def alert(words, *, kind="error"):
    """A box; an error is read out at once by a screen reader."""
    role = "alert" if kind == "error" else "status"
    lines = "".join(f"<p>{text(line)}</p>" for line in str(words).split("\n") if line.strip())
    return f'<div class="alert {text(kind)}" role="{role}">{lines}</div>'


def banner(words):
    """What must be known of all that follows, such as that the data are simulated."""
    return f'<p class="banner">{text(words)}</p>'


def picture(address, alt, *, width=0, height=0):
    """A picture by its address; width and height in pixels keep its place while it loads."""
    size = f' width="{int(width)}" height="{int(height)}"' if width and height else ""
    return f'<figure class="picture" tabindex="0"><img loading="lazy" src="{text(address)}" alt="{text(alt)}"{size}></figure>'


def sound(address, name, *, plays=""):
    """A player; `plays` is what its starts are counted under, in a sheet that counts them."""
    counted = f' data-plays="{text(plays)}"' if plays else ""
    return f'<audio controls preload="none" src="{text(address)}" aria-label="{text(name)}"{counted}></audio>'


def table(rows, *, columns=None, caption, head="", verdict=""):
    """A table in a box that scrolls.

    Parameters
    ----------
    rows : pandas.DataFrame or list of dict
    columns : dict of str to str, optional
        Key to what the column is called; default all, by their own names.
    caption : str
    head : str
        Key of the column that names a row; default the first.
    verdict : str
        Key of a column that holds verdicts, which get their colour.
    """
    if hasattr(rows, "to_dict"):
        columns = columns or {name: str(name) for name in rows.columns}
        rows = rows.to_dict("records")
    columns = columns or {name: name for name in (rows[0] if rows else {})}
    head = head or next(iter(columns), "")
    numbers = {key for key in columns if rows and all(_is_number(row.get(key)) for row in rows)}
    kinds = {key: ' class="number"' if key in numbers else "" for key in columns}
    names = "".join(f'<th scope="col"{kinds[key]}>{text(name)}</th>' for key, name in columns.items())
    body = "".join(
        "<tr>" + "".join(_cell(row.get(key), key, kinds[key], head=head, verdict=verdict) for key in columns) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pill(words):
    """A verdict in its colour."""
    kind = next((kind for start, kind in VERDICTS.items() if str(words).lower().startswith(start)), "other")
    return f'<span class="pill {kind}">{text(words)}</span>'


def cards(found):
    """What stands side by side: name, verdict, sentence of each."""
    shown = (f"<li><b>{text(name)}</b>{pill(verdict)}<p>{text(words)}</p></li>" for name, verdict, words in found)
    return f'<ul class="cards">{"".join(shown)}</ul>'


def checks(reasons):
    """Reasons that hold and that do not: ``{"holds": bool, "text": str}``."""
    rows = "".join(
        f'<li class="{"holds" if one["holds"] else "fails"}"><b>{"holds" if one["holds"] else "does not hold"}</b> '
        f"{text(one['text'])}</li>"
        for one in reasons
    )
    return f'<ul class="checks">{rows}</ul>'


def items(lines):
    return "<ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def printed(words, *, name):
    """Plain text in columns."""
    return f'<pre tabindex="0" role="region" aria-label="{text(name)}">{text(words)}</pre>'


def more(summary, inside_html):
    """Something folded."""
    return f"<details><summary>{text(summary)}</summary>{inside_html}</details>"


def progress(words, share):
    """How far long work is."""
    return (
        f'<div class="progress" role="status"><progress max="1" value="{float(share):.2f}" aria-label="{text(words)}"></progress>'
        f"<span>{text(words)}</span></div>"
    )


def _cell(value, key, kind, *, head, verdict):
    if key == verdict:
        return f"<td>{pill(value) if value else 'not scored'}</td>"
    words = f"{value:g}" if isinstance(value, float) else text(value)
    return f'<th scope="row"{kind}>{words}</th>' if key == head else f"<td{kind}>{words}</td>"


def _is_number(value):
    return value is None or (isinstance(value, Number) and not isinstance(value, bool))
