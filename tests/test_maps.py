"""Maps are drawn by both backends, and the chooser stands without script."""

import numpy as np
import pytest

from eegviz import listening, maps, plots
from eegviz.errors import ParameterError

RNG = np.random.default_rng(0)
ELEMENTS = {
    "plane": lambda: maps.plane(
        RNG.random((900, 2)), RNG.random((900, 2)), np.repeat(["a", "b", "c"], 300), title="a title", explained=(0.5, 0.2)
    ),
    "heat": lambda: maps.heat(
        RNG.standard_normal((32, 40)), rows=[f"E{i}" for i in range(32)], title="a title", xlabel="Entry", ylabel="Channel"
    ),
    "levels": lambda: maps.levels({"ours": ([1, 5, 20], [0.1, 0.2, 0.4]), "chance": ([1, 5, 20], [0.01, 0.05, 0.2])}),
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTS)
def test_both_backends_draw_it(name):
    shown = plots.picture(ELEMENTS[name](), alt="what it says", width=5, height=4)
    assert shown.png[:4] == b"\x89PNG"
    import holoviews as hv

    assert plots.live(shown) is not None
    assert hv.render(plots.live(shown), backend="bokeh") is not None


def test_a_plane_shows_a_part_of_many_points():
    shown = ELEMENTS["plane"]()
    dots = [len(layer) for layer in shown if layer.label.endswith("EEG")]
    assert 200 < sum(dots) <= maps.MAX_POINTS


def clip(title):
    sound = np.sin(np.arange(22050) * 0.1).astype(np.float32) * 0.5
    return listening.clip(title, sound, 22050, RNG.random((44, 128)))


def test_a_chooser_stands_without_script_and_escapes_its_texts():
    evil = '"><script>alert(1)</script>'
    shown = listening.Chooser("guidance", ("0", evil), (clip("a"), clip(evil)), caption=evil)._repr_html_()
    assert shown.count("<audio") == 2
    assert shown.count("<script") == 1
    assert "hidden" not in shown.partition("<figure")[2].partition("<script")[0]
    assert "http" not in shown
    with pytest.raises(ParameterError, match="1 values for 2 clips"):
        listening.Chooser("guidance", ("0",), (clip("a"), clip("b")))
    with pytest.raises(ParameterError, match="start=2"):
        listening.Chooser("guidance", ("0", "1"), (clip("a"), clip("b")), start=2)


def test_the_live_slider_follows():
    from eegviz import widgets

    box = widgets.choice(listening.Chooser("guidance", ("0", "2"), (clip("a"), clip("b"))))
    slider, output = box.children
    slider.value = 1
    assert len(output.outputs) == 2
