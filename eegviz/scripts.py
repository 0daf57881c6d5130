"""The scripts of pages: files of this package, known by their content, and no others.

A page names the hash of each in its content security policy, so that a browser runs these and refuses any other: a script, a
handler such as ``onerror`` or a ``javascript:`` address that came with somebody's file names, titles or listeners.

Functions: `element` (a script as a tag), `policy` (what a page allows), `is_own`.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

# the files of each script, in the order in which they stand; ``{}`` is where they stand inside
_FILES = {
    "page": (("page.js",), "{}"),
    "listening": (
        ("listening/player.js", "listening/address.js", "listening/row.js", "listening/grid.js"),
        '(function () {{\n"use strict";\nif (customElements.get("eegviz-grid")) return;\n{}}})();\n',
    ),
    "tuner": (("listening/tuner.js",), "{}"),
    "chooser": (("listening/chooser.js",), "{}"),
}


def element(name: str) -> str:
    """A script of this package as a tag, marked so that a page can keep the first of many.

    >>> element("page")[:25], element("page")[-9:]
    ('<script data-once="page">', '</script>')
    """
    return f'<script data-once="{name}">{_text(name)}</script>'


@cache
def policy() -> str:
    """The sources of scripts that a page allows: the hash of each script of this package.

    >>> policy().count("'sha256-") == len(_FILES)
    True
    """
    return " ".join(f"'sha256-{_hash(_text(name))}'" for name in _FILES)


def is_own(text: str) -> bool:
    """Whether the content of a script element is a script of this package.

    >>> is_own(element("page").partition(">")[2].removesuffix("</script>")), is_own("alert(1)")
    (True, False)
    """
    return _hash(text) in policy()


@cache
def _text(name: str) -> str:
    files, frame = _FILES[name]
    folder = resources.files(__package__)
    return "\n" + frame.format("\n".join(folder.joinpath(file).read_text(encoding="utf-8") for file in files))


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
