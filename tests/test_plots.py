import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from eegviz import calibration, plots
from eegviz.errors import ParameterError

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3.0, 2, 1], "validation_loss": [2.0, 1.5, 1.2]})
SIDES = pd.DataFrame(
    {"second": [0, 1, 2] * 2, "recording": ["a"] * 3 + ["b"] * 3, "side": ["train", "test", "validation"] * 2}
)
SHIFTS = pd.DataFrame(
    {"seconds": [2, -2, 0], "score": [0.5, 0.5, 0.8], "low": [0.45, 0.44, 0.7], "high": [0.6, 0.6, 0.9]}
)
ELEMENTS = {
    "waveform": lambda: plots.waveform(RNG.standard_normal(22050), 22050, title="a title"),
    "spectrogram": lambda: plots.spectrogram(RNG.random((5, 44, 128)), title="a title"),
    "raw": lambda: plots.eeg_image(RNG.standard_normal((125, 8)), kind="raw", sfreq=125, title="a title"),
    "psd": lambda: plots.eeg_image(RNG.random((63, 8)), kind="periodogram", sfreq=125, title="a title"),
    "traces": lambda: plots.traces(RNG.standard_normal((3, 500)), 125, ["x", "y", "z"], title="a title"),
    "spectrum": lambda: plots.spectrum(np.arange(1, 63), RNG.random(62), marks=[(10, "10 Hz")], title="a title"),
    "curves": lambda: plots.curves(TABLE, "epoch", ["train_loss", "validation_loss"], markers=[2], title="a title"),
    "boxes": lambda: plots.bin_boxes(RNG.random((50, 128)), title="a title"),
    "histogram": lambda: plots.histogram({"a": RNG.random(99), "b": RNG.random(99)}, title="a title"),
    "intervals": lambda: plots.intervals([("a", 0.6, 0.5, 0.7), ("b", 0.4, None, None)], chance=0.5, title="a title"),
    "shift": lambda: plots.shift_curve(SHIFTS, title="a title"),
    "timeline": lambda: plots.timeline(SIDES, title="a title"),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_every_element_is_drawn_by_both_backends(name):
    import holoviews as hv

    element = ELEMENTS[name]()
    made = plots.picture(element, alt="what it shows")
    assert made.png.startswith(b"\x89PNG")
    assert len(made.png) > 3000
    data, metadata = made._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "what it shows" == data["text/plain"]
    figure = hv.render(element, backend="bokeh")
    assert figure.title.text == "a title"


@pytest.mark.parametrize(
    "word", ["$\\foo$", "$$\\href{javascript:x}{y}$$", "5 $ to 6 $", "{x}", "{0}", "<b>&", "a_b^2", "%s"]
)
def test_words_are_drawn_as_they_are(word):
    sides = SIDES.assign(recording=[f"{word}a"] * 3 + [f"{word}b"] * 3)
    figure = Figure()
    figure.subplots().set_title(word)
    for one in (
        [plots.spectrogram(RNG.random((2, 44, 128)), title=word), plots.traces(RNG.random((2, 99)), 99, [word, "b"], title=word)],
        plots.intervals([(word, 0.6, 0.5, 0.7)], title=word, xlabel=word), plots.timeline(sides, title=word),
        plots.histogram({word: RNG.random(9)}), plots.curves(TABLE, "epoch", ["train_loss"], labels=[word], title=word),
        plots.spectrum(np.arange(1, 9), RNG.random(8), marks=[(3, word)], title=word), figure,
    ):  # fmt: skip
        assert plots.picture(one, alt="x").png
    import holoviews as hv

    assert hv.render(plots.waveform(RNG.random(99), 99, title=word), backend="bokeh").title.text == word
    assert figure.axes[0].title.get_text() == word
    assert not figure.axes[0].title.get_parse_math()


def test_powers_of_ten_of_a_logarithmic_axis_stay_formulas():
    figure = Figure()
    axis = figure.subplots()
    axis.loglog([1, 1000], [1, 1000])
    plots.picture(figure, alt="x")
    labels = [tick.label1 for tick in axis.yaxis.get_major_ticks()]
    assert labels
    assert all(label.get_parse_math() for label in labels)


def test_a_picture_needs_alt_text():
    with pytest.raises(ParameterError, match="alt text"):
        plots.picture(ELEMENTS["waveform"](), alt=" ")


def test_rows_of_different_lengths_share_a_figure():
    one = plots.picture(ELEMENTS["waveform"](), alt="x")
    grid = plots.picture([[ELEMENTS["waveform"]()], [ELEMENTS["psd"](), ELEMENTS["raw"]()]], alt="x")
    height = [int.from_bytes(p.png[20:24], "big") for p in (one, grid)]
    assert height[1] == 2 * height[0]


def test_spectrogram_keeps_time_and_bins():
    pictures = np.zeros((2, 44, 128))
    pictures[1, :, 100] = 1  # second 1, bin 100
    image = plots.spectrogram(pictures, start=7)
    assert image.bounds.lbrt() == (7, -0.5, 9, 127.5)
    assert image[8.5, 100] == 1
    assert image[7.5, 100] == 0
    assert image[8.5, 99] == 0


def test_eeg_image_has_low_frequencies_below():
    values = np.full((63, 4), 0.01)
    values[10] = 100.0
    image = plots.eeg_image(values, kind="periodogram", sfreq=125)
    assert image[0, 10.5] == pytest.approx(2)
    assert image[0, 40.5] == pytest.approx(-2)


def test_waveform_keeps_the_peaks():
    sound = np.zeros(44100)
    sound[30000] = 0.9
    area = plots.waveform(sound, 22050)
    assert area.dimension_values("to").max() == pytest.approx(0.9)


def test_histogram_labels_say_mean_and_n():
    overlay = plots.histogram({"mel": np.full(7, 0.25)}, span=(0, 1))
    assert "mel (mean 0.25, n = 7)" in [e.label for e in overlay]


def test_boxes_are_quartiles():
    values = np.tile(np.arange(101.0)[:, None], (1, 2))
    boxes = next(e for e in plots.bin_boxes(values) if type(e).__name__ == "Rectangles")
    first = boxes.iloc[0].array()[0]
    assert first[1] == 25
    assert first[3] == 75


def test_head_maps(tiny_store):
    info = tiny_store.raw("S01_song21_r1").info
    for figure in (
        plots.topographies([np.arange(8.0)] * 2, info, titles=["a", "b"], unit="µV²"),
        plots.topographies([np.arange(8.0)], info, titles=["a"], unit="µV²", clim=(0, 8)),
        plots.sensors(info, title="electrodes"),
    ):
        assert isinstance(figure, Figure)
        assert plots.picture(figure, alt="x").png.startswith(b"\x89PNG")


def test_a_grid_cannot_be_shown_live():
    grid = plots.picture([[ELEMENTS["psd"](), ELEMENTS["raw"]()]], alt="x")
    with pytest.raises(ParameterError, match="one HoloViews element"):
        plots.live(grid)


def calibrated(n=20):
    """A calibration with exactly uniform p-values, a protocol a row."""
    rng = np.random.default_rng(0)
    honest = ["repeat", "subject", "song", "subject_song"]
    p = (np.arange(n) + 0.5) / n
    null = pd.DataFrame(
        [(i, name, 0.5, p[i], 9) for i in range(n) for name in honest], columns=["set", "protocol", "score", "p", "n"]
    )
    leak = []
    for i in range(3):
        for name in ["random", "interleaved", "blocked", *honest]:
            leaky, unseen = name not in honest, "song" in name
            accuracy = np.nan if unseen else (0.9 if leaky else 0.25) + 0.01 * i
            chance = np.nan if unseen else 0.25
            label = "cannot separate song from recording" if leaky else "separates song from recording"
            leak.append((i, name, label, not leaky, accuracy, accuracy, accuracy, chance, 0.5, 9, 2))
    names = [
        "set",
        "protocol",
        "label",
        "can_separate",
        "accuracy",
        "votes",
        "kappa",
        "chance",
        "retrieval",
        "n",
        "n_recordings",
    ]
    coupling = [
        (i, c, name, 0.5 + 0.3 * c + 0.02 * rng.random(), 9) for i in range(3) for c in (0.0, 1.0) for name in honest
    ]
    settings = {"n_sets": n, "n_permutations": 99, "n_leak": 3, "n_coupling": 3, "couplings": [0, 1], "seed": 0}
    slow = [(i, name, 0.65, 0.001, 0.63, True, False) for i in range(3) for name in honest]
    return calibration.Calibration(
        null, pd.DataFrame(leak, columns=names),
        pd.DataFrame(slow, columns=["set", "protocol", "score", "p", "away", "four", "contributed"]),
        pd.DataFrame(coupling, columns=["set", "coupling", "protocol", "score", "n"]), settings,
    )  # fmt: skip


def test_calibration_is_drawn_by_both_backends():
    import holoviews as hv

    result = calibrated()
    panels = plots.calibration(result)
    made = plots.picture([[panel] for panel in panels], alt=result.summary(), width=4.4, height=3.5)
    assert "SIMULATED" in made.alt
    assert int.from_bytes(made.png[16:20], "big") == round(4.4 * plots.DPI)
    for panel in panels:
        assert "simulated" in hv.render(panel, backend="bokeh").title.text


def test_calibration_panels_hold_the_numbers():
    null, leak, coupling = plots.calibration(calibrated())
    labels = [element.label for element in null]
    assert "repeat 1/20, KS p 1" in labels
    texts = [element.data[2] for element in leak if type(element).__name__ == "Text"]
    assert texts.count("n/a: the test songs are unseen") == 2
    assert any("cannot separate" in text for text in texts)
    points = [element for element in leak if type(element).__name__ == "Scatter"]
    assert points[0].dimension_values(0).tolist() == pytest.approx([0.91] * 3)  # the leaky ones
    assert points[1].dimension_values(0).tolist() == pytest.approx([0.26] * 2)
    assert [element.label for element in coupling if element.label] == ["repeat", "subject", "song", "subject_song"]


def test_areas_have_the_colour_that_they_are_given():
    figure = plots._figure([[plots.waveform(RNG.standard_normal(22050), 22050, colour="#ff0000")]], 4, 3)
    assert figure.axes[0].collections[0].get_facecolor()[0].tolist() == [1, 0, 0, 1]


def test_shifts_are_drawn_in_their_order():
    curve = next(e for e in plots.shift_curve(SHIFTS) if type(e).__name__ == "Curve")
    assert curve.dimension_values(0).tolist() == [-2, 0, 2]
    assert curve.dimension_values(1).tolist() == [0.5, 0.8, 0.5]


@pytest.mark.timeout(120)
def test_live_pictures_in_a_notebook(tmp_path):
    """In a kernel, as a person has it open: the live element comes as bokeh's HTML, offline."""
    import nbformat

    from eegviz import headless

    source = (
        "import numpy as np\nfrom eegviz import plots\n"
        "shown = plots.picture(plots.waveform(np.zeros(22050), 22050), alt='x')\nplots.live(shown)"
    )
    parameters = nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    path = tmp_path / "live.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(source)]), path)
    run = headless.execute(path, timeout=100)
    assert run.message is None
    outputs = run.notebook.cells[-1].outputs
    assert any("application/vnd.holoviews_exec.v0+json" in o.get("data", {}) for o in outputs)
