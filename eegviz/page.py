"""The shell of every page that eegviz writes: one HTML file that needs nothing else.

A page opens from ``file://`` without network: its style and script are inside (`page.css`, `page.js`), and its content
security policy forbids the browser to load anything that is not in the file. It has a language, a title, a skip
link, landmarks, a table of contents, light and dark colours, and it prints.

Functions: `shell`, `banner`, `definitions`, `escape`, `slug`, `address`. Every text argument is escaped here; arguments called
``*_html`` are markup already.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape as _escape
from importlib import resources
from typing import Any
from urllib.parse import quote

from . import scripts

# Nothing may be fetched: pictures and sounds are data, style and script stand in the page itself; of scripts only our own.
POLICY = (
    "default-src 'none'; img-src data: blob:; media-src data: blob:; font-src data:; connect-src data: blob:; "
    f"style-src 'unsafe-inline'; script-src {scripts.policy()}; base-uri 'none'; form-action 'none'"
)
Link = tuple[str, str]  # (address, text)


def escape(value: Any) -> str:
    """Text that is safe inside an element and inside a quoted attribute.

    Examples
    --------
    >>> escape('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return _escape(str(value), quote=True)


def slug(text: str, *, used: set[str]) -> str:
    """An id for a heading, unlike those in `used` (which it joins).

    Examples
    --------
    >>> used = {"main"}
    >>> [slug("What was found?", used=used), slug("What was found", used=used), slug("Main", used=used)]
    ['what-was-found', 'what-was-found-2', 'main-2']
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    base = re.sub(r"[^\w]+", "-", plain).strip("-") or "section"
    name, count = base, 1
    while name in used:
        count += 1
        name = f"{base}-{count}"
    used.add(name)
    return name


def address(name: str) -> str:
    """The address of a file beside the page, whatever its name: none that a browser takes for a scheme, query or place.

    Examples
    --------
    >>> address("03_training.html"), address("javascript:alert(1).html"), address("a#b?.html")
    ('03_training.html', 'javascript%3Aalert%281%29.html', 'a%23b%3F.html')
    """
    return quote(name)


def banner(title: str, text: str = "", *, kind: str, link: Link | None = None) -> str:
    """A box on top of a page.

    Parameters
    ----------
    title, text : str
    kind : str
        ``"failed"``, ``"simulated"`` or ``"note"``: the class that gives its colour.
    link : (str, str), optional
        Address and text of a link after the text.

    Returns
    -------
    str
        HTML.
    """
    anchor = f' <a href="{escape(link[0])}">{escape(link[1])}</a>' if link else ""
    tail = f" {escape(text)}" if text else ""
    return f'<div class="banner {escape(kind)}"><p><strong>{escape(title)}</strong>{tail}{anchor}</p></div>\n'


def definitions(facts: Mapping[str, Any]) -> str:
    """A description list of facts (seed, versions, commit …); nested mappings and lists become one line."""
    rows = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_line(value))}</dd></div>"
        for name, value in facts.items()
        if value is not None and value != ""
    )
    return f"<dl>{rows}</dl>" if rows else ""


def shell(
    main_html: str,
    *,
    title: str,
    description: str = "",
    home: Link | None = None,
    previous: Link | None = None,
    following: Link | None = None,
    contents: Sequence[tuple[int, str, str]] = (),
    facts: Mapping[str, Any] | None = None,
    wide: bool = False,
) -> str:
    """A whole page around `main_html`.

    Parameters
    ----------
    main_html : str
        The content, markup.
    title : str
        The browser's title.
    description : str
        One sentence for search and previews.
    home, previous, following : (str, str), optional
        Address and text of the links to the index and to the neighbours in the series.
    contents : sequence of (int, str, str)
        Level (2 or 3), id and text of each heading.
    facts : mapping, optional
        What made the page; stands in the footer.
    wide : bool
        Use the whole width (an index) and not a column for reading.

    Returns
    -------
    str
        A complete HTML document.
    """
    series = _series_links(home, previous, following)
    toc = _contents(contents)
    described = f'<meta name="description" content="{escape(description)}">\n' if description else ""
    layout = "page wide" if wide else ("page with-contents" if toc else "page")
    after = f'<nav class="series" aria-label="Series, end of page">{series}</nav>' if previous or following else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{described}<title>{escape(title)}</title>\n"
        f'<link rel="icon" href="data:,">\n<style>\n{_asset("page.css")}</style>\n</head>\n<body>\n'
        '<a class="skip" href="#main">Skip to the content</a>\n'
        + (f'<header class="top"><nav class="series" aria-label="Series">{series}</nav></header>\n' if series else "")
        + f'<div class="{layout}">\n{toc}<main id="main" tabindex="-1">\n{main_html}</main>\n</div>\n'
        f'<footer class="foot">{after}{definitions(facts or {})}</footer>\n'
        f"{scripts.element('page')}\n</body>\n</html>\n"
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _series_links(home: Link | None, previous: Link | None, following: Link | None) -> str:
    parts = []
    if home:
        parts.append(f'<a class="home" href="{escape(home[0])}">{escape(home[1])}</a>')
    if previous:
        parts.append(_neighbour("previous", previous, arrow="←", rel="prev"))
    if following:
        parts.append(_neighbour("next", following, arrow="→", rel="next"))
    return "".join(parts)


def _neighbour(name: str, link: Link, *, arrow: str, rel: str) -> str:
    sign = f'<span aria-hidden="true">{arrow}</span>'
    text = f'<span class="way">{name.capitalize()}<span class="what">: {escape(link[1])}</span></span>'
    inner = f"{sign} {text}" if name == "previous" else f"{text} {sign}"
    return f'<a class="{name}" rel="{rel}" href="{escape(link[0])}">{inner}</a>'


def _contents(headings: Sequence[tuple[int, str, str]]) -> str:
    if len(headings) < 2:
        return ""
    items = "".join(
        f'<li class="level-{level}"><a href="#{escape(name)}">{escape(text)}</a></li>'
        for level, name, text in headings
        if level in (2, 3)
    )
    return (
        '<nav class="contents" aria-label="On this page"><details open><summary>On this page</summary>'
        f"<ul>{items}</ul></details></nav>\n"
    )


def _line(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_line(item)}" for name, item in value.items())
    if isinstance(value, list | tuple | set):
        return ", ".join(_line(item) for item in value)
    return str(value)
