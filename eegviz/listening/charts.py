"""Pictures of a listening test: what its design is balanced over, what luck does, who could tell.

HoloViews elements for `eegviz.plots.picture`, and a grid of trials to hear. They take what `eegviz.listening.abx`,
`ability` and `pretend` computed.

Functions: `balance`, `luck`, `power_curve`, `trial_grid`, `answers` (of its trials, folded).
"""

from __future__ import annotations

import html
import io
from dataclasses import replace

import holoviews as hv
import numpy as np

from eegviz import features
from eegviz._drawing import BLUE, GREY, ORANGE, RED, styled, ticked
from eegviz.listening import ability, abx, markup
from eegviz.listening.grid import Grid, clip, spectrogram_png
from eegviz.sound import resample


def balance(design):
    """What the main trials of a design are balanced over: three elements for one picture.

    Trials of each song in each third; with each kind of foil; and of each EEG listener, as the answer and as the foil.
    """
    main = design.table().query("block == 'main'")
    songs = sorted(main["song"].unique())
    thirds = {place: [_count(main, song=s, position=place) for s in songs] for place in abx.POSITIONS}
    kinds = {kind: [_count(main, song=s, foil_kind=kind) for s in songs] for kind in (abx.OTHER_SONG, abx.SAME_SONG)}
    who = sorted({*main["eeg_listener"], *main["foil_listener"]})
    heard = {
        "answer": [_count(main, eeg_listener=one) for one in who], "foil": [_count(main, foil_listener=one) for one in who]
    }  # fmt: skip
    return [
        _bars(songs, thirds, "Parts of the songs", "Song"), _bars(songs, kinds, "Foils", "Song of X"),
        _bars(who, heard, "Reconstructions", "EEG listener"),
    ]  # fmt: skip


def luck(calibrations):
    """Right answers of pretend listeners, a step line each ability, beside the exact binomial, and the number needed."""
    from scipy.stats import binom

    n, needed = calibrations[0].n_trials, calibrations[0].needed
    title = f"Right answers of {n}; {needed} are needed at 5 %"
    hits, layers = np.arange(n + 1), []
    for one, colour in zip(calibrations, (BLUE, ORANGE, GREY), strict=False):
        share = 100 * np.bincount(one.scores, minlength=n + 1) / one.n_listeners
        name = f"{one.n_listeners} SIMULATED, ability {one.ability:g}: {100 * one.share:.1f} % reach it"
        boxes = hv.Rectangles(
            (hits - 0.4, np.zeros(n + 1), hits + 0.4, share), ["Right answers", "Listeners (%)", "x1", "y1"], label=name
        )
        layers.append(styled(boxes, "Rectangles", title, facecolor=colour, alpha=0.6, linewidth=0))
        exact = hv.Scatter((hits, 100 * binom.pmf(hits, n, one.ability)), "Right answers", "Listeners (%)")
        layers.append(
            styled(
                exact.relabel("exact binomial") if one is calibrations[-1] else exact,
                "Scatter",
                title,
                color="black",
                s=8,
            )
        )
    layers.append(styled(hv.VLine(needed - 0.5), "VLine", title, color=RED, linestyle="--", linewidth=1.2))
    top = max(float(100 * binom.pmf(hits, n, one.ability).max()) for one in calibrations)
    return ticked(hv.Overlay(layers), legend_position="top_left", xlim=(-0.5, n + 0.5), ylim=(0, 1.7 * top))


def power_curve(trials=(12, 24, 48), *, alpha=ability.ALPHA):
    """Probability to be called able against ability, a line each number of trials; exact binomial."""
    title, x = f"Power of one listener's test at {100 * alpha:g} %", np.linspace(0.5, 1, 101)
    layers = []
    for n, colour in zip(trials, (ORANGE, BLUE, GREY, RED), strict=False):
        name = f"{n} trials, {ability.needed(n, alpha=alpha)} right needed"
        line = hv.Curve((x, ability.power(x, n=n, alpha=alpha)), "Ability (chance .5)", "Called able", label=name)
        layers.append(styled(line, "Curve", title, color=colour, linewidth=1.8))
    layers.append(styled(hv.HLine(alpha), "HLine", title, color=RED, linestyle="--", linewidth=1.0))
    return ticked(hv.Overlay(layers), legend_position="bottom_right", ylim=(0, 1.02))


def trial_grid(design, trials, *, caption=""):
    """Trials of a design to hear, a row each, without spectrograms, as in the test itself: one would look and not listen.

    Parameters
    ----------
    design : Design
        With the sounds of these trials.
    trials : sequence of (Planned, {"A", "B"})
        From `Design.playlist`.
    caption : str

    Returns
    -------
    Grid
    """
    rows = []
    for number, (planned, side) in enumerate(trials, 1):
        label = f"Trial {number}, foil: {planned.foil_kind}. {design.texts.question}"
        clips = (_clip(f"{name} of trial {number}", ogg) for name, ogg in _sounds(design, planned, side).items())
        rows.append((label, tuple(_unseen(one) for one in clips)))
    kind = "SIMULATED EEG; " if design.about.get("simulated") else ""
    return Grid(("X", "A", "B"), tuple(rows), kind + caption)


def answers(design, trials):
    """The answers of trials as HTML, folded away, with the spectrograms of their sounds where the design has any.

    Parameters
    ----------
    design, trials
        As in `trial_grid`; a design without sounds has no pictures.

    Returns
    -------
    str
    """
    parts = []
    for number, (planned, side) in enumerate(trials, 1):
        parts.append(f"<p>Trial {number}: {side}</p>")
        for name, ogg in _sounds(design, planned, side).items() if design.about else ():
            one = _clip(f"{name} of trial {number}", ogg)
            source = markup.embedded(one.png, markup.PICTURE, "")
            parts.append(
                f'<p>{name}<br><img src="{source}" alt="{html.escape(one.alt)}" style="width: 100%; max-width: 24rem; height: 5rem"></p>'
            )
    what = "The answers, and the pictures of these sounds" if design.about else "The answers"
    return f'<details class="more"><summary>{what}</summary>{"".join(parts)}</details>'


def _sounds(design, planned, side):
    """The three sounds of a trial by what the listener calls them."""
    x, right, wrong = planned.keys(design.task)
    keys = zip("XAB", (x, right, wrong) if side == "A" else (x, wrong, right), strict=True)
    return {name: design.sound(key) for name, key in keys}


def _unseen(one):
    """A clip whose picture is a line each second, which still takes a click to go somewhere."""
    frames = np.zeros((50 * max(round(one.seconds), 1), 8))
    frames[::50] = 1
    alt = f"A line each second of {one.title}: its spectrogram would give the answer away"
    return replace(one, png=spectrogram_png(frames), alt=alt, bins="")


def _clip(title, ogg):
    import soundfile

    y, sr = soundfile.read(io.BytesIO(ogg), dtype="float32")
    whole = resample(y, sr, to=features.SR)
    whole = whole[: len(whole) // features.SR * features.SR].reshape(-1, features.SR)
    return clip(
        title, y, sr, features.normalise(features.to_db(features.spectrogram(whole, kind="mel")), kind="mel-db")
    )


def _count(table, **wanted):
    return int(np.all([table[name] == value for name, value in wanted.items()], axis=0).sum())


def _bars(names, series, title, xlabel):
    """Bars in groups: a group a name, a colour a series ``{label: numbers}``."""
    x, width, layers = np.arange(len(names)), 0.8 / len(series), []
    for k, (label, numbers) in enumerate(series.items()):
        left = x - 0.4 + k * width
        boxes = hv.Rectangles(
            (left, np.zeros(len(x)), left + 0.92 * width, numbers), [xlabel, "Trials", "x1", "y1"], label=label
        )
        layers.append(styled(boxes, "Rectangles", title, facecolor=(BLUE, ORANGE, GREY)[k], linewidth=0))
    top = max(max(numbers) for numbers in series.values())
    ticks = list(zip(x.tolist(), names, strict=True))
    options = {
        "xticks": ticks,
        "xrotation": 60 if len(names) > 6 or max(map(len, names)) > 10 else 0,
        "legend_position": "top_left",
        "ylim": (0, 1.7 * top),
    }
    return ticked(hv.Overlay(layers), **options)
