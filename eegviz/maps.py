"""Maps: points of an embedding in a plane, and labelled tables of numbers as colours.

HoloViews elements like those of `eegviz.plots`, whose `picture` draws them.

Elements: `plane` (embeddings of EEG and music), `heat` (a table as colours), `levels` (scores beside their chance).
"""

from __future__ import annotations

import itertools

import holoviews as hv
import numpy as np

from eegviz._drawing import BLUE, CYCLE, DIVERGING_COLOURS, GREY, ORANGE, styled, ticked

MAX_POINTS = 400  # of each kind in a plane: more would hide each other (our choice)


def plane(eeg, music, groups, *, title="", explained=None):
    """Embeddings of EEG (dots) and of music (squares) in two dimensions, a colour a group.

    Parameters
    ----------
    eeg, music : np.ndarray [shape=(n, 2)]
        Of the same windows. Windows that share their music share its square. Of more than `MAX_POINTS` dots, evenly taken
        ones are shown.
    groups : sequence of str [shape=(n,)]
        Such as the song.
    title : str
    explained : sequence of float, optional
        Share of the variance on each axis.
    """
    shares = ["", ""] if explained is None else [f" ({100 * one:.0f} % of the variance)" for one in explained]
    axes = [f"Axis {i + 1}{share}" for i, share in enumerate(shares)]
    eeg, music, groups = np.asarray(eeg), np.asarray(music), np.asarray(groups, str)
    shown = np.zeros(len(eeg), bool)
    shown[:: max(1, -(-len(eeg) // MAX_POINTS))] = True
    layers = []
    for i, group in enumerate(np.unique(groups)):
        mine, colour = groups == group, CYCLE[i % 7]
        dots = hv.Scatter(eeg[mine & shown], axes[0], axes[1], label=f"{group}, EEG")
        squares = hv.Scatter(np.unique(music[mine], axis=0), axes[0], axes[1], label=f"{group}, music")
        layers.append(styled(dots, "Scatter", title, color=colour, s=9, alpha=0.35))
        layers.append(
            styled(squares, "Scatter", title, color=colour, s=30, marker="s", edgecolor="black", linewidth=0.6)
        )
    return hv.Overlay(layers)


def heat(values, *, rows, columns=None, title="", xlabel="", ylabel="", unit="", limit=None, diverging=True):
    """A table of numbers as colours.

    Parameters
    ----------
    values : np.ndarray [shape=(n_rows, n_columns)]
        The first row is drawn on top.
    rows : sequence of str
    columns : np.ndarray [shape=(2,)], optional
        First and last value of the x axis; default the numbers of the columns.
    title, xlabel, ylabel, unit : str
    limit : float, optional
        Value of the strongest colour; default the 99th percentile of the absolute values.
    diverging : bool
        Colours of both signs around 0.
    """
    values = np.asarray(values, float)
    n_rows, n_columns = values.shape
    left, right = (-0.5, n_columns - 0.5) if columns is None else columns
    limit = limit or float(np.percentile(np.abs(values), 99)) or 1.0
    image = hv.Image(
        values,
        bounds=(left, -0.5, right, n_rows - 0.5),
        kdims=[xlabel or "Column", ylabel or "Row"],
        vdims=[unit or "Value"],
    )
    clim = (-limit, limit) if diverging else (0, limit)
    image = styled(image, "Image", title, cmap=DIVERGING_COLOURS if diverging else "viridis", clim=clim)
    step = max(1, n_rows // 16)  # as many names as can be read
    ticks = [(n_rows - 1 - i, rows[i]) for i in range(0, n_rows, step)]
    return ticked(image, yticks=ticks)


def levels(rows, *, title="", xlabel="k", ylabel="Hits@k"):
    """Curves of scores at several k beside their chance.

    Parameters
    ----------
    rows : dict of str to (sequence of float, sequence of float)
        By label: k and the score. A label that begins with "chance" is drawn grey and dashed.
    title, xlabel, ylabel : str
    """
    layers, colours = [], itertools.cycle((BLUE, ORANGE, *CYCLE[2:]))
    for label, (k, score) in rows.items():
        curve = hv.Curve((k, score), xlabel, ylabel, label=label)
        chance = label.startswith("chance")
        style = {"color": GREY, "linestyle": "--"} if chance else {"color": next(colours), "linewidth": 1.8}
        layers.append(styled(curve, "Curve", title, **style))
    return hv.Overlay(layers)
