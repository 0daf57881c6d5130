"""An executed notebook as a page for readers: the story first, the code folded, nothing from the network.

Markdown goes through nbconvert's renderer, code through Pygments; the rest is markup of our own, so that a page loads
neither require.js nor MathJax (formulas in the notebooks are plain text), and no script runs but this package's own. In
order of preference an output is shown as picture, HTML, markdown or text. What only lives beside a kernel (ipywidgets,
HoloViews with Bokeh, JavaScript) is left out when its cell also holds a picture, and otherwise replaced by a note.

Alternative text is read from the output's metadata, ``{"image/png": {"alt": …}}``; a table's caption from
``{"text/html": {"caption": …}}``. Cell tags: ``remove-input``, ``remove-output`` and ``remove-cell`` hide a part.

Functions: `render`, `title`, `question`, `pictures`, `impossibilities`, `not_possible`.
"""

import base64
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import markup, page
from .headless import IMPOSSIBLE
from .page import escape

if TYPE_CHECKING:
    import bs4
    import nbformat

LIVE = (
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.holoviews_exec.v0+json",
    "application/vnd.bokehjs_exec.v0+json",
    "application/javascript",
)
LOADERS = ("application/vnd.holoviews_load.v0+json", "application/vnd.bokehjs_load.v0+json")
LIVE_NOTE = "An interactive view stands here in JupyterLab. It needs a running notebook, so this page leaves it out."
MAX_TEXT = 20_000  # characters of one text output; the rest stays in the notebook


def not_possible(reason: str) -> None:
    """Say, in a notebook, that the data cannot support a section; the report shows it as a note.

    Parameters
    ----------
    reason : str
        The rest of the sentence "not possible on this data because …".

    Examples
    --------
    >>> not_possible("nobody imagined music in it")
    not possible on this data because nobody imagined music in it
    """
    print(f"{IMPOSSIBLE} {reason}")


def title(notebook: "nbformat.NotebookNode", *, name: str = "") -> str:
    """The text of the first heading; without one, `name` made readable."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = markup.parse(_prose(cell)).find(re.compile("^h[1-6]$"))
            if heading is not None:
                return heading.get_text(" ", strip=True)
    return name.replace("_", " ").strip().capitalize() or "Untitled"


_INLINE_PNG = re.compile("^data:image/png;base64,")


def question(notebook: "nbformat.NotebookNode") -> str:
    """The first paragraph of prose, as text: by the series' convention, the notebook's question."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            paragraph = markup.parse(_prose(cell)).find("p")
            if paragraph is not None:
                return " ".join(paragraph.get_text().split())
    return ""


def pictures(notebook: "nbformat.NotebookNode") -> Iterator[tuple[bytes, str]]:
    """The PNG pictures of the outputs in order, each with its alternative text."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if _announcement(data):
                continue
            if "image/png" in data:
                yield base64.b64decode(data["image/png"]), _alt(output, "image/png")
            for image in markup.parse(str(data.get("text/html", ""))).find_all("img", src=_INLINE_PNG):
                yield base64.b64decode(image["src"].partition(",")[2]), image.get("alt") or _alt(output, "image/png")


def impossibilities(notebook: "nbformat.NotebookNode") -> list[str]:
    """The reasons of every "not possible on this data because …" among the outputs."""
    reasons = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
            for line in text.splitlines():
                reason = _reason(line)
                if reason and reason not in reasons:
                    reasons.append(reason)
    return reasons


def render(
    notebook: "nbformat.NotebookNode",
    *,
    name: str = "",
    folder: str | Path = ".",
    home: page.Link | None = None,
    previous: page.Link | None = None,
    following: page.Link | None = None,
    facts: Mapping[str, Any] | None = None,
    failure: tuple[int | None, str] | None = None,
) -> str:
    """The page of one executed notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
    name : str
        Its name, for a title where it has no heading.
    folder : path
        Where the notebook's relative pictures lie; they are embedded.
    home, previous, following : (str, str), optional
        Address and text of the links to the index and to the neighbours.
    facts : mapping, optional
        What made the page; ``simulated`` adds a banner: True, or in words which part.
    failure : (int or None, str), optional
        Cell number and message, stamped on top.

    Returns
    -------
    str
        A complete HTML document.
    """
    heading = title(notebook, name=name)
    body = _Body(Path(folder), failed_cell=failure[0] if failure else None)
    cells = body.html_of(notebook.cells)
    top = ""
    if failure is not None:
        cell, message = failure
        link = (f"#cell-{cell}", f"Go to cell {cell}.") if cell else None
        where = f"in cell {cell}: " if cell else ""
        top += page.banner("FAILED", f"{where}{message}", kind="failed", link=link)
    if facts and facts.get("simulated"):
        real = any("real eeg" in text.lower() for _, _, text in body.headings)
        but = ", except under a heading that says real EEG" if real else ""
        if facts["simulated"] is True:
            text = f"No brain was recorded for the numbers below{but}."
            top += page.banner("Simulated data.", text, kind="simulated")
            facts = {**facts, "simulated": f"yes{but}"}
        else:
            text = "No brain was recorded for some of the numbers below: the foot of the page names the data sets."
            top += page.banner("Partly simulated data.", text, kind="simulated")
    if not body.has_title:
        top += f"<h1>{escape(heading)}</h1>\n"
    return page.shell(
        top + cells,
        title=heading,
        description=question(notebook),
        home=home,
        previous=previous,
        following=following,
        contents=body.headings,
        facts=facts,
    )


@dataclass
class _Fold:
    """Code of one or more cells in one fold, and what the cell `number`, the last that shows anything, put out."""

    number: int
    codes: list[str]
    outputs: str = ""
    failed: bool = False

    def html(self) -> str:
        state, kind = (" open", ' class="failure"') if self.failed else ("", "")
        name = f'code<span class="hidden"> of cell {self.number}</span>'
        codes = "".join(self.codes)
        fold = f'<details class="code"{state}><summary>{name}</summary>{codes}</details>\n' if codes else ""
        return f'<div id="cell-{self.number}"{kind}>\n{fold}{self.outputs}</div>\n'


class _Body:
    """Turns cells into HTML one after the other; counts what must be unique or numbered on a page."""

    def __init__(self, folder: Path, *, failed_cell: int | None) -> None:
        self.folder = folder
        self.failed_cell = failed_cell
        self.used = {"main"}
        self.headings: list[tuple[int, str, str]] = []
        self.has_title = False
        self.code_cells = self.tables = self.sounds = 0
        self.once: set[tuple[str, str]] = set()  # style sheets and scripts that the page has already
        self.section = "this notebook"
        self.parts: list[str | _Fold] = []
        self.waiting: list[str] = []  # code of cells that show nothing: it is folded with a neighbour's
        self.shown: _Fold | None = None  # the last fold since the last prose

    def html_of(self, cells: "list[nbformat.NotebookNode]") -> str:
        for cell in cells:
            if cell.cell_type == "markdown" and "remove-cell" not in cell.metadata.get("tags", []):
                self.close()
                html = markup.markdown(cell.source, folder=self.folder, attachments=cell.get("attachments"))
                self.parts.append(self.prose(html))
            elif cell.cell_type == "code":
                self.code(cell)
        self.close()
        return "".join(part if isinstance(part, str) else part.html() for part in self.parts)

    def code(self, cell: "nbformat.NotebookNode") -> None:
        tags = cell.metadata.get("tags", [])
        self.code_cells += 1
        number, failed = self.code_cells, self.code_cells == self.failed_cell
        if "remove-cell" in tags and not failed:
            return
        if failed:
            self.close()
        if cell.source.strip() and ("remove-input" not in tags or failed):
            name = "parameters of this run" if "injected-parameters" in tags else ""
            name = "parameters" if "parameters" in tags else name
            self.waiting.append(markup.code(cell.source, number=number, name=name))
        outputs = self.outputs(cell.get("outputs", [])) if "remove-output" not in tags or failed else ""
        if outputs or failed:
            self.shown = _Fold(number, self.waiting, outputs=outputs, failed=failed)
            self.parts.append(self.shown)
            self.waiting = []
        if failed:
            self.shown = None  # what follows never ran

    def close(self) -> None:
        """Fold the code that still waits with the last that shows something, else by itself."""
        if self.waiting and self.shown is not None:
            self.shown.codes += self.waiting
        elif self.waiting:
            self.parts.append(_Fold(self.code_cells, self.waiting))
        self.waiting, self.shown = [], None

    def prose(self, html: str) -> str:
        soup = markup.parse(html)
        for heading in soup.find_all(re.compile("^h[1-6]$")):
            self.heading(heading, soup)
        return self.finish(soup)

    def heading(self, heading: "bs4.Tag", soup: "bs4.BeautifulSoup") -> None:
        text = heading.get_text(" ", strip=True)
        if not self.has_title:
            self.has_title, heading.name = True, "h1"
            return
        heading.name = "h2" if heading.name == "h1" else heading.name
        level, name = int(heading.name[1]), page.slug(text, used=self.used)
        heading["id"], self.section = name, text
        self.headings.append((level, name, text))
        anchor = soup.new_tag("a", attrs={"class": "anchor", "href": f"#{name}", "aria-label": f"Link to {text}"})
        anchor.string = "#"
        heading.append(anchor)

    def outputs(self, outputs: list[Any]) -> str:
        pictured = any(_has_picture(output) for output in outputs)
        html, noted = [], False
        for output in outputs:
            kind, data = output.output_type, output.get("data", {})
            if kind == "stream":
                html.append(_stream(output.text, errors=output.name == "stderr"))
            elif kind == "error":
                html.append(f'<pre tabindex="0">{escape(_terminal(chr(10).join(output.traceback)))}</pre>\n')
            elif _announcement(data):
                continue  # a library announcing itself: nothing to read
            elif not _has_picture(output) and any(live in data for live in LIVE):
                if not pictured and not noted:
                    html.append(f'<p class="live">{LIVE_NOTE}</p>\n')
                    noted = True
            else:
                html.append(self.bundle(output))
        return "".join(html)

    def bundle(self, output: Any) -> str:
        """One output, in the richest form that a page can keep."""
        data = output.data
        for mime in ("image/svg+xml", "image/png", "image/jpeg"):
            if mime in data:
                return self.picture(data[mime], mime, output)
        if "text/html" in data:
            return self.html(data["text/html"], output)
        if "text/markdown" in data:
            return (
                f'<div class="result">{self.prose(markup.markdown(data["text/markdown"], folder=self.folder))}</div>\n'
            )
        text = data.get("text/plain") or data.get("text/latex") or ""
        return _stream(text) if text else ""

    def picture(self, content: str, mime: str, output: Any) -> str:
        if mime == "image/svg+xml":
            content, size = base64.b64encode(content.encode()).decode(), None
        else:
            content, size = "".join(content.split()), _size(output, content, mime)
        alt = _alt(output, mime) or f"Figure in the section “{self.section}”; its text says what it shows."
        caption = output.get("metadata", {}).get(mime, {}).get("caption", "")
        shape = f' width="{size[0]}" height="{size[1]}"' if size else ""
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        return f'<figure class="picture"><img src="data:{mime};base64,{content}" alt="{escape(alt)}"{shape}>{below}</figure>\n'

    def html(self, html: str, output: Any) -> str:
        soup = markup.parse(html)
        if any(live in output.data for live in LIVE):  # keep the still picture of a live view
            stills = "".join(str(image) for image in soup.find_all("img", src=re.compile("^data:image/")))
            soup = markup.parse(stills)
        for image in soup.find_all("img"):
            image["alt"] = image.get("alt") or _alt(output, "image/png") or f"Figure in “{self.section}”"
        alone = soup.find_all(True)
        if len(alone) == 1 and alone[0].name == "img":
            alone[0].attrs.pop("style", None)
            alone[0].wrap(soup.new_tag("figure", attrs={"class": "picture"}))
        caption = output.get("metadata", {}).get("text/html", {}).get("caption", "")
        return f'<div class="result">{self.finish(soup, caption=caption)}</div>\n'

    def finish(self, soup: "bs4.BeautifulSoup", *, caption: str = "") -> str:
        """What holds for all markup: tables scroll and have headers, sounds have names, nothing is fetched or there twice."""
        for tag in soup.find_all(["style", "script"], attrs={"data-once": True}):
            mark = (tag.name, tag["data-once"])
            if mark in self.once:
                tag.decompose()
            self.once.add(mark)
        for table in soup.find_all("table"):
            if table.find_parent("table") is None:
                self.tables += 1
                made = f"Table {self.tables}, {self.section}"
                markup.accessible_table(table, soup, caption=caption, otherwise=made)
        for sound in soup.find_all("audio"):
            self.sounds += 1
            if not sound.get("aria-label") and not sound.get("aria-labelledby"):
                sound["aria-label"] = f"Sound {self.sounds}, {self.section}"
            sound.attrs.setdefault("preload", "metadata")
        for block in soup.find_all("pre"):
            block["tabindex"] = "0"
        markup.only_own_scripts(soup)
        markup.no_network(soup, self.folder)
        return soup.decode(formatter="html5") + "\n"


def _stream(text: str, *, errors: bool = False) -> str:
    """Text output: notes stand out, messages on the error stream are folded away."""
    text = _terminal(text)
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}\n… {len(text) - MAX_TEXT} more characters in the notebook"
    html, plain = [], []

    def flush() -> None:
        block = "\n".join(plain).strip("\n")
        plain.clear()
        if block.strip():
            kind = "" if re.search(r"\S {2,}\S|^ ", block, re.MULTILINE) else ' class="wrap"'  # columns stay aligned
            pre = f'<pre tabindex="0"{kind}>{escape(block)}</pre>'
            folded = f'<details class="more"><summary>messages</summary>{pre}</details>'
            html.append(f"{folded if errors else pre}\n")

    for line in text.split("\n"):
        reason = _reason(line)
        if reason:
            flush()
            said = f"<strong>Not possible on this data</strong> because {escape(reason)}"
            html.append(f'<div class="note impossible"><p>{said}</p></div>\n')
        else:
            plain.append(line)
    flush()
    return "".join(html)


def _reason(line: str) -> str:
    line = line.strip().strip("'\"")
    return line[len(IMPOSSIBLE) :].strip() if line.lower().startswith(IMPOSSIBLE) else ""


def _terminal(text: str) -> str:
    """What a terminal would show at the end: no colours, and of an overwritten line only its last state."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def _announcement(data: Mapping[str, Any]) -> bool:
    """A plotting library's own start: its scripts, its logo."""
    return any(loader in data for loader in LOADERS) or 'class="logo-block"' in data.get("text/html", "")


def _has_picture(output: Any) -> bool:
    data = output.get("data", {})
    return any(mime in data for mime in ("image/png", "image/svg+xml", "image/jpeg")) or bool(
        re.search(r"<img[^>]*src=[\"']data:image/", data.get("text/html", ""))
    )


def _alt(output: Any, mime: str) -> str:
    return str(output.get("metadata", {}).get(mime, {}).get("alt", "") or "")


def _size(output: Any, content: str, mime: str) -> tuple[int, int] | None:
    """Width and height in CSS pixels, from the metadata or the PNG's own header."""
    stated = output.get("metadata", {}).get(mime, {})
    if stated.get("width") and stated.get("height"):
        return int(stated["width"]), int(stated["height"])
    if mime != "image/png":
        return None
    head = base64.b64decode(content[:48])
    return struct.unpack(">II", head[16:24]) if head[:8] == b"\x89PNG\r\n\x1a\n" else None


def _prose(cell: "nbformat.NotebookNode") -> str:
    return markup.markdown(cell.source, attachments=cell.get("attachments"))
