"""Markup made safe for a page: tables that scroll and name their columns, sounds with names, nothing fetched.

Works on parsed HTML (Beautiful Soup), as it comes from markdown and from the outputs of notebooks.

Functions: `markdown`, `code`, `parse`, `accessible_table`, `no_network`, `only_own_scripts`.
"""

import base64
import mimetypes
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import scripts

if TYPE_CHECKING:
    import bs4

# attributes that a browser follows, or that an animation gives to one
ADDRESSES = (
    "href",
    "xlink:href",
    "src",
    "action",
    "formaction",
    "data",
    "poster",
    "ping",
    "from",
    "to",
    "by",
    "values",
)
LONG = 24  # characters; a cell with more is words, which get a column that is not one word wide


def markdown(source: str, *, folder: Path | None = None, attachments: Mapping[str, Any] | None = None) -> str:
    """Markdown as HTML; pictures from `folder` and from the cell's attachments are embedded."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    missing = {name: {"image/png": ""} for name in re.findall(r"attachment:([^)\s]+)", source)}
    renderer = IPythonRenderer(
        escape=False,
        exclude_anchor_links=True,
        embed_images=folder is not None,
        path=str(folder or ""),
        attachments={**missing, **(attachments or {})},
    )
    return MarkdownWithMath(renderer=renderer).render(source)


def code(source: str, *, number: int, name: str = "") -> str:
    """Python in colours, as the code of the cell `number`, under its `name` where it has one."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    marked = highlight(source.strip("\n"), get_lexer_by_name("python"), HtmlFormatter(nowrap=True))
    told = f'<p class="name">{escape(name)}</p>' if name else ""
    return f'{told}<pre class="pygments" tabindex="0" aria-label="Code of cell {number}"><code>{marked}</code></pre>'


def parse(html: str) -> "bs4.BeautifulSoup":
    """HTML as a tree; script and style keep their text as it is."""
    import bs4

    return bs4.BeautifulSoup(html, "html.parser")


def accessible_table(table: "bs4.Tag", soup: "bs4.BeautifulSoup", *, caption: str, otherwise: str) -> None:
    """Give a table a caption, scoped headers, aligned numbers and a box of its own to scroll in.

    Without a `caption` the table gets `otherwise` as one for screen readers: others see the heading above it.
    """
    for attribute in ("border", "align"):
        table.attrs.pop(attribute, None)
    for row in table.find_all("tr"):
        row.attrs.pop("style", None)
    _one_header_row(table)
    for style in table.find_previous_siblings("style", attrs={"scoped": True}):
        style.decompose()
    for head in table.find_all("th"):
        if not head.get_text(strip=True):
            head.name = "td"  # an empty header names nothing
        elif not head.get("scope"):
            across = head.get("colspan", "1") != "1"
            inside = head.find_parent("thead") is not None or head.find_parent("tr").find("td") is None
            head["scope"] = ("colgroup" if across else "col") if inside else "row"
    _align_numbers(table)
    for cell in table.find_all("td"):
        if len(cell.get_text(strip=True)) > LONG:
            cell["class"] = [*cell.get("class", []), "long"]
    if table.caption is None:
        made = soup.new_tag("caption", attrs={} if caption else {"class": "hidden"})
        made.string = caption or otherwise
        table.insert(0, made)
    parent = table.parent
    if not (parent.name == "div" and "scroll" in parent.get("class", [])):
        words = table.caption.get_text(" ", strip=True)
        table.wrap(
            soup.new_tag("div", attrs={"class": "scroll", "role": "region", "tabindex": "0", "aria-label": words})
        )


def no_network(soup: "bs4.BeautifulSoup", folder: Path) -> None:
    """Drop or replace whatever a browser would fetch; point links to notebooks at their pages."""
    for tag in soup.find_all(["script", "link", "iframe", "object", "embed", "base", "meta"]):
        address = tag.get("src") or tag.get("href") or tag.get("data") or ""
        if tag.name in ("link", "base", "meta") or (address and not address.startswith(("data:", "blob:"))):
            tag.decompose()
    for tag in soup.find_all(["img", "audio", "video", "source", "track", "image"]):
        tag.attrs.pop("srcset", None)
        address = tag.get("src", "")
        if address and not address.startswith(("data:", "blob:")):
            embedded = _embed(address, folder)
            if embedded:
                tag["src"] = embedded
            elif tag.name == "img":
                tag.name, tag.attrs = "em", {}
                tag.string = f"[a picture that is not part of this page: {address}]"
            else:
                del tag["src"]
    fetches = re.compile(r"@import[^;]*;?|url\(\s*['\"]?(?!data:|#)[^)]*\)", re.IGNORECASE)
    for style in soup.find_all("style"):
        style.string = fetches.sub("", style.get_text())
    for tag in soup.find_all(style=fetches):
        tag["style"] = fetches.sub("", tag["style"])
    for link in soup.find_all("a", href=True):
        if re.match(r"[a-z][\w+.-]*:", link["href"]):
            link["rel"] = "noopener noreferrer"
        else:
            link["href"] = re.sub(r"\.ipynb(?=$|#)", ".html", link["href"])


def only_own_scripts(soup: "bs4.BeautifulSoup") -> None:
    """Drop what would run: scripts that are not of this package, handlers, frames, and addresses that are script."""
    for tag in soup.find_all("script"):
        if tag.get("type") != "application/json" and not scripts.is_own(tag.get_text()):
            tag.decompose()
    for tag in soup.find_all(["iframe", "frame", "object", "embed", "applet", "portal"]):
        tag.decompose()
    for tag in soup.find_all(True):
        for name, value in list(tag.attrs.items()):
            said = re.sub(r"[\x00-\x20]", "", value).lower() if name.lower() in ADDRESSES else ""
            if name.lower().startswith("on") or said.startswith(("javascript:", "vbscript:", "data:text/html")):
                del tag[name]


def _one_header_row(table: "bs4.Tag") -> None:
    """Put the names of a data frame's index, which pandas prints in a row of their own, beside those of its columns."""
    rows = table.thead.find_all("tr") if table.thead else []
    if len(rows) != 2:
        return
    above, below = (row.find_all(["th", "td"], recursive=False) for row in rows)
    if len(above) != len(below) or any(cell.get("colspan", "1") != "1" for cell in above):
        return
    names = [cell.get_text(strip=True) for cell in above]
    index = [cell.get_text(strip=True) for cell in below]
    if any(index) and not any(name and inner for name, inner in zip(names, index, strict=True)):
        for cell, inner in zip(above, index, strict=True):
            cell.string = inner or cell.get_text(strip=True)
        rows[1].decompose()


def _align_numbers(table: "bs4.Tag") -> None:
    """Right-align the columns whose every filled body cell is a number."""
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.find_all("tr")]
    if any(cell.get("rowspan", "1") != "1" or cell.get("colspan", "1") != "1" for row in rows for cell in row):
        return
    for column in range(max((len(row) for row in rows), default=0)):
        cells = [row[column] for row in rows if len(row) > column]
        texts = [cell.get_text(strip=True) for cell in cells if cell.name == "td"]
        filled = [text for text in texts if text not in ("", "—", "n/a", "NaN", "nan")]
        if filled and all(re.fullmatch(r"[-−+±]?[\d.,\s]+(e[-+]?\d+)?\s?%?", text) for text in filled):
            for cell in cells:
                cell["class"] = [*cell.get("class", []), "number"]


def _embed(address: str, folder: Path) -> str:
    """A relative file as a data address; empty when it is no file inside the notebook's folder."""
    if re.match(r"[a-z][\w+.-]*:|//", address, re.IGNORECASE):
        return ""
    path = (folder / address).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return ""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
