"""What the pictures of `eegviz.plots` and `eegviz.maps` share: colours, and styles that matplotlib and bokeh both draw."""

from __future__ import annotations

import holoviews as hv

# Okabe & Ito's colours, told apart by people with any colour vision
BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#666666",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY)
SPECTRUM_COLOURS = "magma"
DIVERGING_COLOURS = "RdBu_r"

LONGEST_TICK = {"xticks": 20, "yticks": 48}  # characters that leave room for the picture

# matplotlib style names on the left, bokeh's on the right, for the few where they differ
_BOKEH = {
    "linewidth": "line_width",
    "edgecolor": "line_color",
    "linestyle": "line_dash",
    "facecolor": "fill_color",
    "s": "size",
}
_DASH = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashdot"}


def styled(element, kind, title, **style):
    """An element with its title and style, named as in matplotlib, for both backends."""
    if kind == "Area":  # matplotlib's default colour would win over a face colour alone
        style = {"color": style.get("facecolor"), **style}
    title = title.replace("{", "{{").replace("}", "}}")  # HoloViews takes a title for a pattern with fields
    bokeh = {}
    for name, value in style.items():
        if name == "s":
            value = value**0.5
        if name == "linewidth" and value == 0:
            bokeh["line_alpha"] = 0
            continue
        bokeh[_BOKEH.get(name, name)] = _DASH.get(value, value) if isinstance(value, str) else value
    backends()
    element = element.opts(**_known(kind, "matplotlib", {**style, "title": title}), backend="matplotlib")
    return element.opts(**_known(kind, "bokeh", {**bokeh, "title": title, "responsive": True}), backend="bokeh")


def _known(kind, backend, options):
    """The options that this element has in this backend."""
    groups = hv.Store.options(backend=backend)[kind].groups
    allowed = set(groups["style"].allowed_keywords.values) | set(groups["plot"].allowed_keywords.values)
    return {k: v for k, v in options.items() if k in allowed}


def ticked(overlay, **options):
    """An element with options of the plot that both backends know; long names at the ticks lose their middle."""
    backends()
    for name, n in LONGEST_TICK.items():
        if name in options:
            options[name] = [(at, without_middle(text, n)) for at, text in options[name]]
    return overlay.opts(**options, backend="matplotlib").opts(**options, backend="bokeh")


def without_middle(text, n):
    """A text of at most `n` characters: of a longer one the beginning and the end, where names differ.

    >>> without_middle("sub-01_ses-02_task-listening_run-01", 20)
    'sub-01_ses…ng_run-01'
    """
    text = str(text)
    return text if len(text) <= n else f"{text[: n // 2]}…{text[-(n - n // 2 - 1) :]}"


def logy(overlay, log):
    """An element with a logarithmic y axis, where `log` says so."""
    return ticked(overlay, logy=True) if log else overlay


_loaded = []


def backends():
    """Load both backends once, without a word in the notebook."""
    if not _loaded:
        import holoviews.plotting.bokeh
        import holoviews.plotting.mpl  # noqa: F401

        _loaded.append(True)
