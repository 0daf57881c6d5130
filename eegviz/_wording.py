"""How tables and sentences of scores say numbers, p-values and lists."""

from __future__ import annotations

import textwrap

WIDTH = 76  # columns of printed tables: what a page of the report shows without scrolling
_DIGITS = {"MSE": 4, "PSNR": 2}  # behind the point; else 3


def p_value(p) -> str:
    """A p with three decimals and no zero before the point; n/a where it is not defined.

    Examples
    --------
    >>> p_value(0.0421), p_value(0.000999), p_value(None)
    ('.042', '<.001', 'n/a')
    """
    return "n/a" if p is None else f"{p:.3f}".removeprefix("0") if p >= 0.001 else "<.001"


def relation(p):
    """``= .012`` or ``< .001``."""
    return f"= {p_value(p)}" if p >= 0.001 else "< .001"


def listed(names):
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def wrapped(text, indent=""):
    """Lines of at most `WIDTH` columns."""
    return "\n".join(textwrap.wrap(text, WIDTH, subsequent_indent=indent))


def number(value, metric="") -> str:
    """Three decimals (MSE four, PSNR two), or n/a.

    Examples
    --------
    >>> number(0.03042), number(0.03042, "MSE"), number(14.388, "PSNR"), number(None)
    ('0.030', '0.0304', '14.39', 'n/a')
    """
    return "n/a" if value is None else f"{value:.{_DIGITS.get(metric, 3)}f}"
