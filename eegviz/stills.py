"""The still picture of each explorer: what stands in a report, and what an explorer shows first.

A function takes what `eegviz.exploration`, `eegviz.inspection` or `eegviz.tuning` computed and returns a
`eegviz.plots.Picture` with alternative text that says the numbers. Nothing is computed here.

Functions: `tuned`, `representation`, `history`, `held_out`.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np

from eegviz import plots
from eegviz._drawing import BLUE, ORANGE, SPECTRUM_COLOURS, styled, ticked


def tuned(one, *, title, width=9.0):
    """Spectrogram and waveform of a `eegviz.tuning.Tuned`, and its measures in the alternative text."""
    picture = one.spectrogram
    image = hv.Image(
        picture.T[::-1], bounds=(0, -0.5, one.seconds, picture.shape[1] - 0.5), kdims=["Time (s)", "Bin"], vdims="Level"
    )
    image = styled(
        image, "Image", f"{title}\nref dB {one.ref_db:g}, scale {one.scale}", cmap=SPECTRUM_COLOURS, clim=(0, 1)
    )
    wave = plots.waveform(one.sound, one.sr, title=_short(one))
    return plots.picture([[image], [wave]], f"{title}: {one.describe()}", width=width, height=2.3)


def representation(one, *, width=9.0):
    """One second of a channel or of the sound: an `eegviz.exploration.Representation`."""
    where = f"second {one.second}" + (f" of {one.stimulus}" if one.stimulus else "")
    if one.of_sound:
        title = f"{one.kind} of {where}"
        shown = plots.spectrogram(one.values[None], kind=one.kind, start=one.second, title=title, clim=_limits(one))
        n_frames, n_bins = one.values.shape
        alt = f"{title}: {n_frames} frames of {n_bins} bins, mean level {one.values.mean():.2f}"
        return plots.picture(shown, alt, width=width)
    title = f"{one.recording}, channel {one.channel}, {where}: {one.kind}"
    if one.kind == "raw":
        shown = styled(
            hv.Curve((one.x, one.values), "Time (s)", "Voltage (µV)"), "Curve", title, color=BLUE, linewidth=0.9
        )
        alt = f"{title}: standard deviation {one.values.std():.1f} µV"
    elif one.kind == "de":
        at = np.arange(len(one.values))
        shown = styled(
            hv.Scatter((at, one.values), "Band", "Differential entropy (nats)"), "Scatter", title, color=BLUE, s=50
        )
        shown = ticked(shown, xticks=list(zip(at.tolist(), one.x, strict=True)))
        alt = f"{title}: " + ", ".join(
            f"{name} {value:.2f} nats" for name, value in zip(one.x, one.values, strict=True)
        )
    else:
        power = np.maximum(one.values, 1e-6)
        shown = plots.spectrum(one.x, power, title=title)
        inside = one.x > 0
        alt = (
            f"{title}: largest density {power[inside].max():.3g} µV²/Hz at {one.x[inside][power[inside].argmax()]:g} Hz"
        )
    return plots.picture(shown, alt, width=width)


def history(table, *, epoch=None, title="", width=9.0):
    """Losses over epochs (`eegviz.inspection.history`), with a mark at one of them."""
    epoch = table["epoch"].iloc[-1] if epoch is None else epoch
    columns = [name for name in table.columns if name != "epoch"]
    at = table.loc[table["epoch"] == epoch].iloc[-1]
    numbers = ", ".join(f"{name.replace('_', ' ')} {at[name]:.4g}" for name in columns)
    labels = [name.replace("_", " ") for name in columns]
    shown = plots.curves(table, "epoch", columns, labels=labels, ylabel="Loss", markers=(epoch,), title=title)
    return plots.picture(
        shown, f"Losses of {title}: at epoch {epoch:g} of {len(table)}, {numbers}", width=width, height=2.6
    )


def held_out(one, *, kind, title="", width=9.0):
    """True and drawn spectrogram of an `eegviz.inspection.HeldOut`, and both waveforms below."""
    top = [
        plots.spectrogram(
            p, kind=kind, start=one.second, seconds=len(one.true_sound) / one.sr, title=name, clim=(0, _top(one))
        )
        for p, name in ((one.true, "true"), (one.drawn, "drawn from EEG"))
    ]
    below = [
        plots.waveform(sound, one.sr, start=one.second, colour=colour)
        for sound, colour in ((one.true_sound, BLUE), (one.drawn_sound, ORANGE))
    ]
    return plots.picture([top, below], f"{title}: {one.describe()}", width=width, height=2.1)


def _short(one):
    shift = one.against_training_db
    level = "" if shift is None else f", {shift:+.1f} dB beside training clips"
    return f"largest sample {one.measures.peak:.2f}{level}"


def _limits(one):
    return (0, 1) if one.kind.endswith("-db") else (0, max(float(one.values.max()), 1e-6))


def _top(one):
    return max(1.0, float(one.true.max())) if one.true.max() > 1 else 1.0
