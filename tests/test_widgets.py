"""Explorers without a browser: a still picture first, and controls whose view follows."""

import re
import shutil
import statistics
import time

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from eegviz import exploration, inspection, levels, listening, runs, stills, tuning, widgets
from eegviz.errors import ParameterError
from tests.test_evaluation import SMALL, trained
from tests.test_tuning import picture

EVIL = '"><script>alert(1)</script><b'


@pytest.fixture(scope="module")
def scored(tiny_store, tmp_path_factory):
    """A run of three epochs, with a score for each test window as `eegviz evaluate` writes them."""
    made = trained(tiny_store, tmp_path_factory.mktemp("runs"), settings={**SMALL, "epochs": 3})
    windows = made.windows(tiny_store)
    test = windows.table.iloc[made.split(windows).test]
    runs.write_csv(made.path / "scores.csv", test.assign(retrieval=np.linspace(0, 1, len(test))))
    return made


@pytest.fixture(scope="module")
def recordings_view(tiny_store):
    return widgets.recording_explorer(tiny_store)


@pytest.fixture(scope="module")
def runs_view(scored, tiny_store):
    return widgets.run_explorer([scored, scored], store=tiny_store)


@pytest.fixture
def run(scored, tmp_path):
    return runs.open(shutil.copytree(scored.path, tmp_path / scored.path.name))


def tuner(**options):
    return tuning.Tuner(picture(seconds=1), title="band", stimulus="song21", **options)


def shown(explorer):
    """What a cell that ends in an explorer leaves in the notebook: the MIME types of its outputs, in order."""
    InteractiveShell.instance()
    with capture_output() as captured:
        explorer._ipython_display_()
    return [output.data for output in captured.outputs]


# --------------------------------------------------------------------------------------- the tuner


def test_the_view_follows_every_control():
    made = widgets.ref_db_tuner(tuner())
    seen = {made.view.value}
    for name, value in (("ref_db", 55.0), ("max_db", 80.0), ("n_iter", 8), ("scale", "published"), ("ref_db", 44.0)):
        made.controls[name].value = value
        assert made.view.value not in seen
        seen.add(made.view.value)
    assert all(text.count("<audio") == text.count("<img") == text.count("<svg") == 1 for text in seen)
    assert "at ref dB 44" in made.view.value
    assert made.controls["ref_db"].continuous_update is False  # on the published scale each step is an inversion
    made.controls["scale"].value = "power"
    assert made.controls["ref_db"].continuous_update is True


def test_only_the_level_changes_at_once():
    made = widgets.ref_db_tuner(tuner())
    made.controls["ref_db"].value = 41.0  # draws its first
    before = time.perf_counter()
    made.controls["n_iter"].value = 64
    full, times = time.perf_counter() - before, []
    for value in np.arange(42.0, 59.0):
        before = time.perf_counter()
        made.controls["ref_db"].value = value
        times.append(time.perf_counter() - before)
    assert statistics.median(times) <= max(0.1, full / 2)  # a busy machine slows both


def test_keep_stores_the_setting_in_the_run(run):
    made = widgets.ref_db_tuner(tuner(), run=run)
    assert levels.kept(run) == {}
    made.controls["ref_db"].value, made.controls["n_iter"].value = 53.5, 16
    made.controls["keep"].click()
    kept = levels.kept(run)["song21"]
    assert (kept.ref_db, kept.n_iter, kept.scale, kept.chosen) == (53.5, 16, "power", "by ear")
    assert "kept for song21: ref dB 53.5" in made.box.children[-1].value
    made.controls["ref_db"].value = 50.0
    assert made.box.children[-1].value == ""  # what it said is no longer what is shown


def test_a_damaged_file_is_said_beside_the_button(run):
    (run.path / levels.FILE).write_text("{")
    made = widgets.ref_db_tuner(tuner(), run=run)
    made.controls["keep"].click()
    assert "ref_db.json is damaged" in made.box.children[-1].value
    assert "role='alert'" in made.box.children[-1].value


def test_a_level_needs_a_song_to_be_kept_for(run):
    with pytest.raises(ParameterError, match="kept for a song"):
        widgets.ref_db_tuner(tuning.Tuner(picture(seconds=1)), run=run)


def test_texts_are_escaped():
    made = widgets.ref_db_tuner(tuner(), title=EVIL)
    assert "<script" not in made.view.value
    assert "<b" not in made.view.value
    assert made.still.alt.startswith(EVIL)  # alternative text is escaped where a page writes it


# -------------------------------------------------------------------------------- what stays in a page


@pytest.mark.parametrize("which", ["tuner", "recordings", "runs"])
def test_a_still_picture_comes_first_and_stays_without_a_kernel(which, request):
    made = widgets.ref_db_tuner(tuner()) if which == "tuner" else request.getfixturevalue(f"{which}_view")
    still, live = shown(made)
    assert still["image/png"]
    assert "application/vnd.jupyter.widget-view+json" not in still
    assert re.search(r"\d", still["text/plain"])
    assert "application/vnd.jupyter.widget-view+json" in live


# ------------------------------------------------------------------------------------- recordings


def test_the_recordings_view_follows(recordings_view):
    made = recordings_view
    assert "raw: standard deviation" in made.view.value
    kinds = made.controls["kind"].options
    assert {"raw", "periodogram", "welch", "de", "mel", "mel-db", "linear-db"} <= set(kinds)
    seen = {made.view.value}
    for name, value in (
        ("channel", "Cz"),
        ("second", 7),
        ("kind", "welch"),
        ("recording", "S02_song22_r1"),
        ("kind", "mel-db"),
    ):
        made.controls[name].value = value
        assert made.view.value not in seen
        seen.add(made.view.value)
    assert "mel-db of second 7 of song22" in made.view.value
    assert made.controls["channel"].value == "Cz"


def test_a_representation_is_what_the_models_see(tiny_store):
    from eegviz import windowing

    for kind in ("raw", "periodogram", "welch", "de"):
        cut = windowing.windows(tiny_store, eeg=kind)
        at = np.flatnonzero((cut.table["recording"] == "S01_song21_r1") & (cut.table["second"] == 3))[0]
        one = exploration.representation(tiny_store, "S01_song21_r1", kind=kind, channel="E5", second=3)
        np.testing.assert_allclose(one.values, cut.eeg[at][:, 4], rtol=1e-5)
        assert len(one.x) == len(one.values)
        assert stills.representation(one).alt.startswith("S01_song21_r1, channel E5, second 3 of song21")
    for kind in ("mel-db", "linear-db", "mel-80-db", "mel"):
        cut = windowing.windows(tiny_store, audio=kind)
        one = exploration.representation(tiny_store, "S01_song21_r1", kind=kind, second=3)
        np.testing.assert_allclose(one.values, cut.picture("song21", [3])[0], rtol=1e-4, atol=1e-5)
        assert len(one.x) == len(one.values)
    assert stills.representation(one).png


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "sound"}, "known are raw, periodogram, welch, de, mel"),
        ({"channel": "Oz"}, "no channel 'Oz'; it has E1"),
        ({"second": 20}, "holds the seconds 0 to 19"),
    ],
)
def test_what_a_recording_does_not_have_is_said(tiny_store, options, message):
    with pytest.raises(ParameterError, match=message):
        exploration.representation(tiny_store, "S01_song21_r1", **options)


# ------------------------------------------------------------------------------------------- runs


def test_the_runs_view_follows(runs_view):
    made = runs_view
    assert made.view.value.count("<audio") == 2
    assert made.view.value.count("<img") == 2
    assert "chance 0.50" in made.view.value
    seen = {made.view.value}
    for name, value in (("epoch", 1), ("window", 4)):
        made.controls[name].value = value
        assert made.view.value not in seen
        seen.add(made.view.value)
    assert "Losses of" in made.view.value
    assert "at epoch 1 of 3" in made.view.value
    made.controls["run"].value = 1
    assert made.controls["epoch"].value == 3


def test_a_held_out_window_is_the_runs_own(scored, tiny_store):
    one = inspection.held_out(scored, 3, store=tiny_store)
    windows = scored.windows(tiny_store)
    split = scored.split(windows)
    row = windows.table.iloc[split.test[3]]
    assert (one.recording, one.second) == (row["recording"], row["second"])
    np.testing.assert_array_equal(one.drawn, scored.predictions[3])
    np.testing.assert_array_equal(one.true, windows.target([split.test[3]])[0])
    assert one.true_sound.shape == one.drawn_sound.shape == (22050,)
    assert one.score == pytest.approx(scored.scores["retrieval"].iloc[3])


def test_a_run_without_scores_says_so(run, tiny_store):
    (run.path / "scores.csv").unlink()
    assert "not scored" in inspection.held_out(run, 0, store=tiny_store).describe()


@pytest.mark.parametrize("index", [-1, 10**6, 0.5, True])
def test_a_window_that_is_not_there_is_refused(scored, tiny_store, index):
    with pytest.raises(ParameterError, match="has test windows 0 to"):
        inspection.held_out(scored, index, store=tiny_store)


def test_without_a_run_there_is_nothing_to_explore():
    with pytest.raises(ParameterError, match="no run to explore"):
        widgets.run_explorer([])


# ----------------------------------------------------------------------------------- the offline twin


def test_the_twin_stands_without_script_and_escapes_its_texts():
    page = listening.offline_tuner(tuner(), title=EVIL)._repr_html_()
    alone = re.sub(r"(?s)<script.*?</script>", "", page)  # as in a notebook that nobody trusted
    assert alone.count("<audio") == alone.count("<img") == alone.count("<svg") == 1
    assert "Crest factor" in alone
    assert re.search(r"<div data-live hidden>.*type=\"range\"", alone)
    assert "alert(1)" in alone
    assert page.count("<script") == 2  # data and the tuner's own
    assert "<b<" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_twin_holds_the_texts_of_every_step():
    import json

    made = tuner(reference=tuning.Reference(-20.0, 14.0, 0.01, clips=(("a", 0), ("b", 5))))
    twin = listening.offline_tuner(made, published=(40.0, 60.0))
    data = json.loads(re.search(r'(?s)class="eegviz-tuner-data">(.*?)</script>', twin.html()).group(1))
    steps = data["scales"]["power"]["entries"]
    assert [one["ref_db"] for one in steps] == np.arange(40, 60.5, 0.5).tolist()
    assert len({one["sound"] for one in steps}) == 1
    for one in steps[::7]:
        tuned = made.at(one["ref_db"])
        assert one["text"] == [text for _, text in tuned.texts()]
        assert one["gain"] * max(data["sounds"][0]["high"]) / 1000 == pytest.approx(tuned.envelope[1].max(), abs=3e-3)
    quiet = [one for one in steps if made.at(one["ref_db"]).measures.peak < 0.9]
    for one, other in zip(quiet, quiet[1:], strict=False):
        assert other["volume"] / one["volume"] == pytest.approx(10 ** (0.5 / 40), rel=1e-6)
    assert max(one["volume"] for one in steps) == 1
    assert [one["ref_db"] for one in data["scales"]["published"]["entries"]] == [40, 60]
    assert len(data["sounds"]) == 3


def test_a_twin_of_power_pictures_has_one_scale():
    page = listening.offline_tuner(tuning.Tuner(np.ones((1, 44, 128), np.float32), audio="mel")).html()
    assert 'type="radio"' not in page
    with pytest.raises(ParameterError, match="low < high"):
        listening.offline_tuner(tuner(), low=60, high=40)
