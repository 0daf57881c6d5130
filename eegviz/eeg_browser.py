"""The raw browser: traces of a whole recording to pan and zoom, over a small map of it that shows where one is.

Drawn by bokeh only, in the app and in JupyterLab. Functions: `traces`, `envelope`.
"""

from __future__ import annotations

from functools import cache

import holoviews as hv
import numpy as np

from eegviz import plots
from eegviz._drawing import backends

COLUMNS = 4000  # points of each channel, minima and maxima in pairs: finer is not seen (our choice)
MAP_COLUMNS = 600
TRACE = "#3a8fc7"  # at least 3.5:1 on white and on the app's dark ground (WCAG asks 3:1 of lines)


def traces(signal, sfreq, ch_names, *, title="", start=0.0, shown=10.0, height=420):
    """Traces in microvolts above a map of all of them, with a box that is dragged to move in time.

    Parameters
    ----------
    signal : np.ndarray [shape=(n_channels, n_times)]
        Microvolts; see `envelope` for long recordings.
    sfreq : float
        Hertz.
    ch_names : sequence of str
    title : str
    start, shown : float
        Second at which one begins to look, and how many seconds are seen at first.
    height : int
        Pixels of the traces.

    Returns
    -------
    holoviews.Layout
    """
    from bokeh.models import WheelZoomTool

    backends()
    signal = np.asarray(signal)
    seconds = signal.shape[1] / sfreq
    seen = (min(start, max(0.0, seconds - shown)), min(start + shown, seconds))
    zoom = WheelZoomTool(dimensions="width", modifiers={"ctrl": True})  # the wheel alone scrolls the page
    lines = plots.traces(signal, sfreq, ch_names, title=title)
    for line in lines:
        line.opts(tools=[], color=TRACE, line_width=0.9, backend="bokeh")
    lines = lines.opts(
        height=height, responsive=True, default_tools=["xpan", zoom, "xbox_zoom", "reset"], active_tools=["xpan"],
        xlim=seen, show_legend=False, hooks=[_plain], backend="bokeh",
    )  # fmt: skip
    step = max(1, signal.shape[1] // MAP_COLUMNS)
    level = np.abs(signal - signal.mean(1, keepdims=True))[:, : signal.shape[1] // step * step]
    level = level.reshape(len(signal), -1, step).max(2)
    level /= np.maximum(np.median(level, axis=1, keepdims=True), 1e-9)
    whole = hv.Image(
        level[::-1], bounds=(0, -0.5, seconds, len(signal) - 0.5), kdims=["Time (s)", "Channels"], vdims="Level"
    )
    small = whole.opts(
        height=95, responsive=True, cmap="Greys", clim=(0, 4), toolbar=None, default_tools=[], yaxis=None, title="",
        backend="bokeh",
    )  # fmt: skip
    _box_link()(small, next(iter(lines)), axes=["x"], boundsx=seen, inverted=False)
    return (lines + small).cols(1).opts(shared_axes=False, toolbar="above", backend="bokeh")


def _plain(plot, element):
    """Names are names: Bokeh would read those between dollar signs as formulas."""
    from bokeh.models import PlainText

    figure = plot.state
    if isinstance(figure.title.text, str):
        figure.title.text = PlainText(text=figure.title.text)
    for axis in figure.yaxis:
        axis.major_label_overrides = {
            at: PlainText(text=name) if isinstance(name, str) else name
            for at, name in axis.major_label_overrides.items()
        }


@cache
def _box_link():
    """HoloViews' link of a map to what it is a map of, with a box that is seen on every ground."""
    from holoviews.plotting.bokeh.links import RangeToolLinkCallback
    from holoviews.plotting.links import RangeToolLink

    class BoxLink(RangeToolLink):
        pass

    class BoxLinkCallback(RangeToolLinkCallback):
        def __init__(self, root_model, link, source_plot, target_plot=None):
            super().__init__(root_model, link, source_plot, target_plot)
            for tool in source_plot.state.toolbar.tools:
                if type(tool).__name__ == "RangeTool":
                    tool.overlay.update(fill_color=TRACE, fill_alpha=0.3, line_color=TRACE, line_alpha=1, line_width=2)

    BoxLink.register_callback("bokeh", BoxLinkCallback)
    return BoxLink


def envelope(signal, sfreq, *, columns=COLUMNS):
    """A signal ``(n_channels, n_times)`` as at most `columns` points a channel that keep every peak: signal, rate.

    Each step gives its minimum and its maximum, in the order of time, so that what is drawn at a smaller scale looks as the
    whole signal would.

    >>> envelope(np.array([[0, 5, 1, -3]]), 4.0, columns=2)
    (array([[ 5, -3]]), 2.0)
    """
    n_channels, n_times = signal.shape
    step = -(-2 * n_times // columns)
    if step <= 2:
        return signal, sfreq
    whole = signal[:, : n_times // step * step].reshape(n_channels, -1, step)
    first = whole.argmin(2) < whole.argmax(2)
    low, high = whole.min(2), whole.max(2)
    pairs = np.stack([np.where(first, low, high), np.where(first, high, low)], axis=2)
    return pairs.reshape(n_channels, -1), 2 * sfreq / step
