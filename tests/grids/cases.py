"""Sounds and rows of grids to play in a browser, and what one does to them."""

import numpy as np

from eegviz import listening
from tests.browser import wait_until

SR = 22050
FRAME = 512 / SR  # seconds of a mel frame
GRID = "document.querySelector('eegviz-grid')"


def chirp(low, *, seconds=4.0, level=0.4):
    """A tone that rises all the time, so that every stretch of it is found at one place only."""
    time = np.arange(int(seconds * SR)) / SR
    return (level * np.sin(2 * np.pi * (low * time + 150 * time**2))).astype(np.float32)


def row(song, *, listeners, scores, reference, first=0):
    rng = np.random.default_rng(first)
    made = [listening.clip(f"{song}, original", reference, SR, rng.random((172, 128)), song=song)]
    for i, (who, score) in enumerate(zip(listeners, scores, strict=True)):
        sound = chirp(900 + 300 * i, level=0.1)
        note = {"listener": who, "condition": "listening", "score": score, "chance": 0.5, "score_name": "retrieval"}
        name = f"{song}, reconstruction from {who}"
        made.append(listening.clip(name, sound, SR, rng.random((172, 128)), reference=reference, song=song, **note))
    return f"{song} a title", tuple(made)


def state(shown, *, grid=0):
    """What a grid plays and shows."""
    return shown.evaluate(
        """i => { const g = document.querySelectorAll('eegviz-grid')[i], r = g.current, t = r.track;
        return {playing: r.playing, row: r.index, chosen: t.chosen, at: r.here, loop: t.loop, speed: g.speed,
        matched: g.matched, rows: g.ranked.filter(r => !r.node.hidden).map(r => r.index),
        shown: g.rows.map(r => r.node.hidden ? [] : r.shown.map(c => c.index))}; }""",
        grid,
    )


def press(shown, *keys):
    for key in keys:
        shown.keyboard.press(key)


def focus(shown, *, grid=0, row=0):
    shown.evaluate("([g, r]) => document.querySelectorAll('eegviz-grid')[g].rows[r].node.focus()", [grid, row])


def playing(shown, *, grid=0):
    wait_until(shown, f"document.querySelectorAll('eegviz-grid')[{grid}].current.playing")
    wait_until(shown, f"document.querySelectorAll('eegviz-grid')[{grid}].current.here > 0.3")
