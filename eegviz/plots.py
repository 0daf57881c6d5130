"""Pictures: HoloViews elements that matplotlib draws in reports and bokeh in JupyterLab, from one definition.

A function here takes arrays or tables and returns a HoloViews object; `picture` turns it into a PNG with alt text, for
reports, and `live` shows the same object with bokeh, for JupyterLab. Nothing is computed here that a score rests on.

Elements: `waveform`, `spectrogram`, `eeg_image`, `traces`, `spectrum`, `curves`, `bin_boxes`, `histogram`, `intervals`,
`timeline`, `shift_curve`, `calibration`. Figures drawn by MNE: `sensors`, `topographies`.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field

import holoviews as hv
import numpy as np
import pandas as pd

from eegviz import features
from eegviz._drawing import (
    BLUE,
    CYCLE,
    DIVERGING_COLOURS,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    SKY,
    SPECTRUM_COLOURS,
    backends,
    logy,
    styled,
    ticked,
)
from eegviz.errors import ParameterError

DPI = 110


@dataclass(frozen=True)
class Picture:
    """A PNG with alt text; Jupyter and the reports show it, and `element` can be shown live."""

    png: bytes = field(repr=False)
    alt: str
    element: object = field(default=None, repr=False)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/png": self.png, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def picture(element, alt, *, width=9.0, height=3.2):
    """Draw an element (or a list of them, side by side) with matplotlib as a PNG with alt text.

    Parameters
    ----------
    element : HoloViews object, list of them, or matplotlib Figure
        A list of lists gives rows.
    alt : str
        What a person who cannot see the picture should know, with the numbers.
    width, height : float
        Inches of one whole row.

    Returns
    -------
    Picture
    """
    if not str(alt).strip():
        raise ParameterError("a picture needs an alt text that says what it shows, with its numbers.")
    from matplotlib.figure import Figure

    if isinstance(element, Figure):
        return Picture(_png(element), alt)
    rows = element if isinstance(element, list) else [element]
    rows = [row if isinstance(row, list) else [row] for row in (rows if isinstance(rows[0], list) else [rows])]
    return Picture(_png(_figure(rows, width, height)), alt, element)


def live(shown):
    """The element of a `Picture`, to zoom and pan, drawn by bokeh: for a notebook that a person has open.

    Raises
    ------
    ParameterError
        The picture is a matplotlib figure, or several elements in rows.
    """
    if not isinstance(shown.element, hv.core.Dimensioned):
        raise ParameterError(
            "only a picture of one HoloViews element can be shown live; this one is a figure or a grid."
        )
    hv.extension("bokeh", inline=True, logo=False)
    return shown.element


def waveform(sound, sr, *, title="", colour=BLUE, label="", start=0.0):
    """A sound as its envelope of minima and maxima in about 800 columns; x in seconds, y in full scale."""
    sound = np.asarray(sound)
    step = max(1, len(sound) // 800)
    columns = sound[: len(sound) // step * step].reshape(-1, step)
    time = start + np.arange(len(columns)) * step / sr
    area = hv.Area((time, columns.min(1), columns.max(1)), "Time (s)", ["Amplitude", "to"], label=label)
    area = area.redim.range(Amplitude=(-1, 1))  # before the style, which redim would drop
    return styled(area, "Area", title, facecolor=colour, edgecolor=colour, linewidth=0.3)


def spectrogram(
    pictures, *, title="", kind="mel-db", seconds=None, clim=(0, 1), start=0.0, bins=None, cmap=SPECTRUM_COLOURS
):
    """Spectrogram pictures ``(n_frames, n_bins)`` or ``(n, n_frames, n_bins)``, joined in time.

    The y axis is the mel bin or the linear bin; brightness is the normalised level of `eegviz.features.normalise`. Frames
    of one continuous spectrogram count as `kind` has them, ``(n, …)`` as n seconds.
    """
    pictures, layout = np.asarray(pictures), features.layout(kind)
    joined = pictures.reshape(-1, pictures.shape[-1])
    n = len(pictures) if pictures.ndim == 3 else max(1, round((len(pictures) - 1) * layout.hop_length / features.SR))
    end = start + (seconds or n)
    low, high = bins or (0, joined.shape[1])
    bounds = (start, low - 0.5, end, high - 0.5)
    name = "Mel bin" if layout.n_mels else f"Frequency bin ({features.SR / layout.n_fft:.1f} Hz each)"
    image = hv.Image(joined.T[::-1], bounds=bounds, kdims=["Time (s)", name], vdims="Level")
    return styled(image, "Image", title, cmap=cmap, clim=clim)


def eeg_image(values, *, kind, sfreq, title=""):
    """One EEG picture as the models see it: rows are time, frequency or band, columns are channels."""
    values = np.asarray(values)
    n_rows, n_channels = values.shape
    if kind == "raw":
        limit = float(np.percentile(np.abs(values), 99)) or 1.0
        bounds, name, unit = (-0.5, 0, n_channels - 0.5, n_rows / sfreq), "Time (s)", "Voltage (µV)"
        shown, colours, clim = values, DIVERGING_COLOURS, (-limit, limit)
    elif kind == "de":
        bounds, name, unit = (-0.5, -0.5, n_channels - 0.5, n_rows - 0.5), "Band", "Differential entropy (nats)"
        shown, colours, clim = values, "viridis", tuple(np.percentile(values, [1, 99]).tolist())
    else:
        shown = np.log10(np.maximum(values, 1e-4))
        bounds, name, unit = (-0.5, 0, n_channels - 0.5, sfreq / 2), "Frequency (Hz)", "log10 µV²/Hz"
        colours, clim = "viridis", tuple(np.percentile(shown[1:], [1, 99]).tolist())
    image = hv.Image(shown[::-1], bounds=bounds, kdims=["Channel", name], vdims=unit)
    return styled(image, "Image", title, cmap=colours, clim=clim)


def traces(signal, sfreq, ch_names, *, title="", start=0.0, spacing=None):
    """EEG in microvolts ``(n_channels, n_times)``, one line a channel, spaced apart; the spacing is in the y label."""
    signal = np.asarray(signal) - np.mean(signal, axis=-1, keepdims=True)
    spacing = spacing or float(np.ceil(4 * np.median(signal.std(-1))))
    time = start + np.arange(signal.shape[1]) / sfreq
    lines = [
        styled(
            hv.Curve((time, row - i * spacing), "Time (s)", f"Channel ({spacing:.0f} µV apart)"),
            "Curve", title, color=BLUE, linewidth=0.7,
        )
        for i, row in enumerate(signal)
    ]  # fmt: skip
    ticks = [(-i * spacing, name) for i, name in enumerate(ch_names)]
    return ticked(hv.Overlay(lines), yticks=ticks)


def spectrum(freqs, densities, *, title="", labels=None, marks=(), xlabel="Frequency (Hz)", ylabel="µV²/Hz", log=True):
    """Spectra over frequency: `densities` is ``(n_freqs,)`` or a list of them; `marks` are ``(hertz, label)``."""
    densities = [densities] if np.ndim(densities[0]) == 0 else densities
    labels = labels or [""] * len(densities)
    lines = [
        styled(hv.Curve((freqs, d), xlabel, ylabel, label=label), "Curve", title, color=CYCLE[i % 7], linewidth=1.1)
        for i, (d, label) in enumerate(zip(densities, labels, strict=True))
    ]
    for hertz, _ in marks:
        lines.append(styled(hv.VLine(hertz), "VLine", title, color=RED, linewidth=0.9, linestyle="--"))
    for hertz, label in marks:
        if label:
            top = max(float(np.max(d)) for d in densities)
            lines.append(hv.Text(hertz, top, f" {label}", halign="left", valign="top"))
    overlay = hv.Overlay(lines)
    return logy(ticked(overlay, show_legend=any(labels)), log)


def curves(table, x, columns, *, title="", ylabel="", labels=None, log=False, markers=()):
    """Columns of a table over `x`; `markers` are x values for dashed vertical lines."""
    labels = labels or columns
    lines = [
        styled(hv.Curve((table[x], table[c]), x, ylabel or "Value", label=name), "Curve", title, color=CYCLE[i % 7])
        for i, (c, name) in enumerate(zip(columns, labels, strict=True))
    ]
    lines += [styled(hv.VLine(m), "VLine", title, color=GREY, linestyle="--", linewidth=0.9) for m in markers]
    return logy(hv.Overlay(lines), log)


def bin_boxes(values, *, title="", ylabel="SSI", colour=BLUE):
    """Quartile boxes of ``(n_windows, n_bins)`` values, one a bin, whiskers at the 5th and 95th percentile.

    Drawn as spans, not as 128 box glyphs, so that the picture stays light and the zoom fast.
    """
    low, first, middle, third, high = np.nanpercentile(values, [5, 25, 50, 75, 95], axis=0)
    bins = np.arange(values.shape[1])
    whiskers = hv.Segments((bins, low, bins, high), ["Mel bin", ylabel, "x1", "y1"])
    boxes = hv.Rectangles((bins - 0.35, first, bins + 0.35, third), ["Mel bin", ylabel, "x1", "y1"])
    medians = hv.Scatter((bins, middle), "Mel bin", ylabel)
    layers = (
        styled(whiskers, "Segments", title, color=GREY, linewidth=0.5)
        * styled(boxes, "Rectangles", title, facecolor=colour, linewidth=0)
        * styled(medians, "Scatter", title, color="black", s=5)
    )
    return ticked(layers, xlim=(-1, values.shape[1]))


def histogram(groups, *, title="", xlabel="Score", bins=40, span=None):
    """Overlaid histograms of several groups, ``{label: values}``, with the mean of each as a dashed line."""
    every = np.concatenate([np.asarray(v)[np.isfinite(v)] for v in groups.values()])
    edges = np.linspace(*(span or (every.min(), every.max())), bins + 1)
    layers = []
    for i, (label, values) in enumerate(groups.items()):
        values = np.asarray(values)[np.isfinite(values)]
        share = np.histogram(values, edges)[0] / max(1, len(values)) * 100
        name = f"{label} (mean {values.mean():.3g}, n = {len(values)})"
        step = hv.Histogram((edges, share), kdims=xlabel, vdims="Windows (%)", label=name)
        layers.append(styled(step, "Histogram", title, facecolor=CYCLE[i % 7], alpha=0.55, linewidth=0))
        layers.append(
            styled(hv.VLine(float(values.mean())), "VLine", title, color=CYCLE[i % 7], linestyle="--", linewidth=1.2)
        )
    return hv.Overlay(layers)


def intervals(rows, *, title="", xlabel="Score", chance=None):
    """Scores as points with their intervals: `rows` are ``(label, estimate, low, high)``; chance is a dashed line."""
    labels = [r[0] for r in rows][::-1]
    heights = np.arange(len(rows))
    values = np.array([[np.nan if v is None else v for v in r[1:4]] for r in rows], float)[::-1]
    bars = hv.Segments((values[:, 1], heights, values[:, 2], heights), [xlabel, " ", "x1", "y1"])
    points = hv.Scatter((values[:, 0], heights), xlabel, " ")
    layers = [
        styled(bars, "Segments", title, color=BLUE, linewidth=2.2),
        styled(points, "Scatter", title, color=BLUE, s=36),
    ]
    if chance is not None:
        layers.append(styled(hv.VLine(chance), "VLine", title, color=RED, linestyle="--", linewidth=1.1))
    ticks = list(zip(heights.tolist(), labels, strict=True))
    return ticked(hv.Overlay(layers).redim.range(**{" ": (-0.6, len(rows) - 0.4)}), yticks=ticks)


def timeline(table, *, title=""):
    """Which seconds are train, validation and test: `table` has ``second``, ``recording`` and ``side``."""
    order = {name: i for i, name in enumerate(pd.unique(table["recording"])[::-1])}
    layers = []
    for side, colour in (("train", BLUE), ("validation", ORANGE), ("test", RED)):
        part = table[table["side"] == side]
        y = part["recording"].map(order).to_numpy(float)
        x = part["second"].to_numpy(float)
        boxes = hv.Rectangles(
            (x, y - 0.4, x + 1, y + 0.4), ["Time (s)", " ", "x1", "y1"], label=f"{side} ({len(part)})"
        )
        layers.append(styled(boxes, "Rectangles", title, facecolor=colour, linewidth=0))
    ticks = [(i, name) for name, i in order.items()]
    return ticked(hv.Overlay(layers), yticks=ticks, legend_position="right")


def shift_curve(table, *, title="", ylabel="Retrieval percentile", chance=0.5, ylim=None):
    """Score against a time shift between EEG and music, with its interval as a band and chance as a dashed line.

    Parameters
    ----------
    table : pandas.DataFrame
        ``seconds`` of the shift, ``score``, ``low``, ``high``.
    title, ylabel : str
    chance : float
    ylim : tuple of float, optional
        So that several curves can be compared; by default what the band and chance need.
    """
    table = table.sort_values("seconds")
    x, score, low, high = (table[c].to_numpy(float) for c in ("seconds", "score", "low", "high"))
    layers = [
        styled(
            hv.Area((x, low, high), "Shift (s)", [ylabel, "to"]), "Area", title, facecolor=SKY, linewidth=0, alpha=0.45
        ),
        styled(hv.HLine(chance), "HLine", title, color=GREY, linestyle="--", linewidth=1.1),
        styled(hv.Curve((x, score), "Shift (s)", ylabel), "Curve", title, color=BLUE, linewidth=1.6),
        styled(hv.Scatter((x, score), "Shift (s)", ylabel), "Scatter", title, color=BLUE, s=30),
    ]
    bottom, top = min(chance, np.nanmin(low)), max(chance, np.nanmax(high))
    room = 0.08 * (top - bottom) + 0.01
    return ticked(hv.Overlay(layers), ylim=ylim or (bottom - room, top + room))


# colour and line of the four honest protocols: told apart without colour too
_PROTOCOLS = {"repeat": (BLUE, "-"), "subject": (ORANGE, "--"), "song": (GREEN, ":"), "subject_song": (PINK, "-.")}


def calibration(result):
    """The three panels of `eegviz.calibration`: a list of elements for ``picture([[a], [b], [c]], alt)``.

    Drawn one under the other at a width of 5 inches they are readable on a telephone; ``picture([[a, b, c]], alt,
    width=15, height=4)`` puts them side by side.

    Parameters
    ----------
    result : eegviz.calibration.Calibration

    Returns
    -------
    list of three HoloViews overlays
        p-values of null data; songs that drifting electrodes name; score against coupling.
    """
    return [_null_panel(result), _leak_panel(result), _coupling_panel(result)]


def _null_panel(result):
    from scipy.stats import kstwo

    found, n = result.uniformity(), result.settings["n_sets"]
    title = f"1  Nothing to find: {n} simulated null sets\na valid test stays in the grey 95 % band"
    labels = "p-value (legend: sets with p ≤ .05)", "Share of sets with p this small"
    x, width = np.linspace(0, 1, 201), float(kstwo.ppf(0.95, n))
    band = hv.Area((x, np.clip(x - width, 0, 1), np.clip(x + width, 0, 1)), labels[0], [labels[1], "to"])
    layers = [
        styled(band, "Area", title, facecolor="#dedede", linewidth=0),
        styled(hv.Curve(([0, 1], [0, 1]), *labels), "Curve", title, color=GREY, linewidth=1),
    ]
    for _, row in found.iterrows():
        own = np.sort(result.null.loc[result.null["protocol"] == row["protocol"], "p"])
        steps = np.concatenate([[0], np.repeat(own, 2), [1]]), np.repeat(np.arange(len(own) + 1) / len(own), 2)
        label = f"{row['protocol']} {row['rejections']}/{row['sets']}, KS p {row['KS p']:.2g}"
        layers.append(_line(hv.Curve(steps, *labels, label=label), row["protocol"], title))
    return _panel(layers, labels, legend_position="bottom_right", xlim=(0, 1), ylim=(0, 1))


def _leak_panel(result):
    found = result.leakage()[::-1].reset_index(drop=True)
    chance, n = found["chance"].dropna().iloc[0], result.settings["n_leak"]
    title = f"2  Nothing but drifting electrodes (simulated)\n{n} sets, 95 % intervals, chance {chance:.2f}"
    labels = "Songs named from EEG power (accuracy)", " "
    leaky = found.index[~found["can_separate"]]
    box = hv.Rectangles([(0, leaky.min() - 0.5, 1.03, leaky.max() + 0.5)], [*labels, "x1", "y1"])
    layers = [styled(box, "Rectangles", title, facecolor="#fbe3d6", linewidth=0)]
    layers.append(styled(hv.VLine(chance), "VLine", title, color=GREY, linestyle="--", linewidth=1.2))
    for separates, colour, marker in ((False, RED, "s"), (True, BLUE, "o")):
        own = found[(found["can_separate"] == separates) & found["accuracy"].notna()]
        bars = hv.Segments((own["low"], own.index, own["high"], own.index), [*labels, "x1", "y1"])
        points = hv.Scatter((own["accuracy"], own.index), *labels)
        layers.append(styled(bars, "Segments", title, color=colour, linewidth=2.6))
        layers.append(styled(points, "Scatter", title, color=colour, s=28, marker=marker))
    for height, row in found.iterrows():
        if np.isnan(row["accuracy"]):
            layers.append(hv.Text(chance + 0.03, height, "n/a: the test songs are unseen", 8, halign="left"))
    words = "cannot separate\nsong from recording"
    layers.append(hv.Text(chance + 0.03, float(leaky.to_numpy().mean()), words, 9, halign="left"))
    ticks = list(zip(found.index.tolist(), found["protocol"], strict=True))
    return _panel(layers, labels, yticks=ticks, xlim=(0, 1.03), ylim=(-0.6, len(found) - 0.4))


def _coupling_panel(result):
    found, n = result.sensitivity(), result.settings["n_coupling"]
    title = f"3  Something to find: simulated responses\nmean score of {n} sets, 95 % interval, chance .5"
    labels = "Coupling of EEG to music (0: none)", "Retrieval percentile"
    layers = [styled(hv.HLine(0.5), "HLine", title, color=GREY, linestyle="--", linewidth=1.2)]
    step = 0.014 * found["coupling"].max()
    for i, (name, own) in enumerate(found.groupby("protocol", sort=False)):
        x = own["coupling"] + step * (i - 1.5)  # side by side
        bars = hv.Segments((x, own["low"], x, own["high"]), [*labels, "x1", "y1"])
        layers.append(styled(bars, "Segments", title, color=_PROTOCOLS[name][0], linewidth=1.6))
        layers.append(_line(hv.Curve((x, own["score"]), *labels, label=name), name, title))
        points = hv.Scatter((x, own["score"]), *labels)
        layers.append(styled(points, "Scatter", title, color=_PROTOCOLS[name][0], s=26))
    top = max(0.75, float(np.nanmax(found["high"]))) + 0.04
    return _panel(layers, labels, legend_position="top_left", ylim=(0.45, top))


def _line(curve, protocol, title):
    colour, dash = _PROTOCOLS[protocol]
    return styled(curve, "Curve", title, color=colour, linestyle=dash, linewidth=1.8)


def _panel(layers, labels, **options):
    sizes = {"title": 10, "labels": 10, "ticks": 9, "legend": 8.5}  # points that stay readable on a telephone
    return ticked(hv.Overlay(layers), xlabel=labels[0], ylabel=labels[1], fontsize=sizes, **options)


def sensors(info, *, title=""):
    """Positions of the electrodes on a head seen from above, by MNE; a matplotlib Figure."""
    import mne
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    axis = figure.subplots()
    readable = len(info["ch_names"]) <= 70 and max(map(len, info["ch_names"])) <= 12  # else names hide each other
    with mne.utils.use_log_level("error"):
        mne.viz.plot_sensors(info, axes=axis, show=False, title="", pointsize=14, show_names=readable)
    axis.set_title(title, fontsize=10)
    return figure


def topographies(values, info, *, titles, unit, clim=None, suptitle="", cmap="viridis"):
    """Head maps by MNE: `values` is a list of ``(n_channels,)`` arrays in the order of `info`; a matplotlib Figure."""
    import mne
    from matplotlib.figure import Figure

    columns = min(3, len(values))  # more in a row would be too small to read on a page
    rows = -(-len(values) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.4, 2.7 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(values) :]:
        axis.set_axis_off()
    axes = axes[: len(values)]
    image = None
    for axis, value, title in zip(axes, values, titles, strict=True):
        vlim = clim or (float(np.min(value)), float(np.max(value)))
        image, _ = mne.viz.plot_topomap(
            np.asarray(value, float), info, axes=axis, show=False, cmap=cmap, vlim=vlim, contours=4, sensors=True
        )
        axis.set_title(title, fontsize=9)
        if clim is None:
            figure.colorbar(image, ax=axis, shrink=0.65, label=unit)
    if clim is not None:
        figure.colorbar(image, ax=list(axes), shrink=0.65, label=unit)
    figure.suptitle(suptitle, fontsize=10)
    return figure


def _figure(rows, width, height):
    """A matplotlib figure with the elements of each row side by side."""
    from matplotlib.figure import Figure

    backends()
    figure = Figure(figsize=(width, height * len(rows)), layout="constrained")
    columns = math.lcm(*map(len, rows))  # rows of different lengths share one grid
    grid = figure.add_gridspec(len(rows), columns)
    for i, row in enumerate(rows):
        step = columns // len(row)
        for j, element in enumerate(row):
            _draw(element, figure.add_subplot(grid[i, j * step : (j + 1) * step]))
    return figure


def _draw(element, axis):
    from holoviews.plotting.mpl import MPLRenderer

    renderer = MPLRenderer.instance(dpi=DPI)
    plot = renderer.plotting_class(element)(
        element, renderer=renderer, fig=axis.figure, axis=axis, **_plot_options(element)
    )
    plot.initialize_plot()
    if axis.images:  # HoloViews would place the bar over the picture
        axis.figure.colorbar(axis.images[0], ax=axis, pad=0.02).set_label(str(element.vdims[0]), fontsize=9)


def _plot_options(element):
    options = hv.Store.lookup_options("matplotlib", element, "plot").kwargs
    return {"aspect": "auto", "fontsize": {"title": 10, "labels": 9, "ticks": 8, "legend": 8}, **options}


def _png(figure):
    _letter_by_letter(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _letter_by_letter(figure):
    """Show every text as it is: matplotlib takes what stands between dollars for a formula, and fails if it is none.

    Titles, channels and listeners are other people's words. Only the powers of ten of a logarithmic axis are formulas.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    for axis in (one for axes in figure.axes for one in (axes.xaxis, axes.yaxis)):
        for formatter, ticks in (
            (axis.get_major_formatter(), axis.get_major_ticks()),
            (axis.get_minor_formatter(), axis.get_minor_ticks()),
        ):
            for tick in ticks if isinstance(formatter, LogFormatter) else ():
                tick.label1.set_parse_math(True)
                tick.label2.set_parse_math(True)
