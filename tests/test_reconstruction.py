import shutil

import numpy as np
import pytest

from eegviz import listening, reconstruction, runs, training, verdict
from eegviz.errors import DataError, ParameterError
from tests import eeg_files
from tests.test_evaluation import trained


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    from eegviz import evaluation

    made = trained(tiny_store, tmp_path_factory.mktemp("runs"))
    evaluation.evaluate(made, store=tiny_store)
    return made


def test_held_out_seconds_are_the_default(run):
    made = reconstruction.reconstruct(run, "S01_song21_r2")
    assert made.seen == {"test": 5}
    assert made.sound.shape == (5 * 22050,)
    assert made.pictures.shape == (5, 44, 128)
    assert "5 test" in made.describe()


def test_trained_seconds_are_called_so(run):
    made = reconstruction.reconstruct(run, "S01_song21_r1", start=0, duration=20)
    assert made.seen["train"] > 0
    assert "train" in made.describe()


def test_the_pictures_are_the_runs_predictions(run, tiny_store):
    windows = run.windows(tiny_store)
    split = run.split(windows)
    made = reconstruction.reconstruct(run, "S02_song22_r2", start=3, duration=2)
    test = windows.table.iloc[split.test].reset_index(drop=True)
    rows = np.flatnonzero((test["recording"] == "S02_song22_r2") & test["second"].isin([3, 4]))
    np.testing.assert_allclose(made.pictures, run.predictions[rows], atol=1e-5)


def test_ref_db_is_a_gain(run):
    soft = reconstruction.reconstruct(run, "S01_song21_r2", ref_db=46)
    loud = reconstruction.reconstruct(run, "S01_song21_r2", ref_db=52)
    np.testing.assert_allclose(loud.sound, soft.sound * 10 ** (6 / 40), rtol=1e-3, atol=1e-5)


def test_any_file_gives_what_the_store_gives(run, tiny_store, tmp_path):
    path = tmp_path / "x_raw.fif"
    raw = tiny_store.raw("S01_song21_r2")
    raw.reorder_channels(raw.ch_names[::-1])
    raw.save(path, verbose="error")
    made = reconstruction.reconstruct_file(run, path, start=3, duration=2)
    same = reconstruction.reconstruct(run, "S01_song21_r2", start=3, duration=2)
    np.testing.assert_allclose(made.pictures, same.pictures, atol=2e-3)
    broken = raw.copy()
    broken._data[broken.ch_names.index("E5"), 7] = np.nan
    broken.save(tmp_path / "nan_raw.fif", verbose="error")
    with pytest.raises(DataError, match="NaN or infinity in E5"):
        reconstruction.reconstruct_file(run, tmp_path / "nan_raw.fif")
    raw.drop_channels(["E3"]).save(path, overwrite=True, verbose="error")
    with pytest.raises(DataError, match=r"lacks 1 of the 8 channels .*\(E3\)"):
        reconstruction.reconstruct_file(run, path)


def test_the_command_line_says_how_a_file_was_matched(run, tiny_store, tmp_path, capsys):
    from eegviz import cli

    path = tmp_path / "P01.edf"
    path.write_bytes(eeg_files.export(tiny_store, "S01_song21_r2", "edf"))
    cli.app(["reconstruct", str(run.path), "--eeg", str(path), "--out", str(tmp_path / "x.wav")], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "8 of the model's 8 channels found by name among the file's 8 (E1 is its EEG E1" in printed
    assert "whether the run was trained on this recording cannot be told from the file" in printed
    assert "not used" not in printed
    assert "The run was trained on SIMULATED EEG." in printed
    assert "its scores say nothing about an unknown listener" in printed
    assert "x.wav (5.000 s" in printed


def test_test_seconds_come_with_the_verdict_and_others_with_a_warning(run, tmp_path):
    def worth(of, recording, **options):
        return reconstruction.worth(of, reconstruction.reconstruct(run, recording, duration=2, **options))

    assert worth(run, "S01_song21_r2") == verdict.sentence(run.metrics)
    said = worth(run, "S01_song21_r1", start=3)
    assert said.startswith(
        "These seconds were trained on: the sound shows nothing about the EEG. Recordings with test seconds: S"
    )
    assert said.count("_r2") == min(5, len(run.scores["recording"].unique()))
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    assert (
        worth(runs.open(tmp_path / "run"), "S01_song21_r2") == f"Not evaluated yet: eegviz evaluate {tmp_path / 'run'}"
    )


def test_a_recording_outside_the_test_side_brings_the_names_of_some_inside(run):
    with pytest.raises(
        ParameterError, match=r"not in the test side of this run. Choose one that is: S01_song21_r2, S01_song22_r2"
    ):
        reconstruction.reconstruct(run, "S01_song21_r1")


def test_nobody_can_be_chosen_in_a_file_of_one_recording(run, tiny_store, tmp_path):
    path = tmp_path / "P01.edf"
    path.write_bytes(eeg_files.export(tiny_store, "S01_song21_r2", "edf"))
    with pytest.raises(DataError, match="P01.edf: no listener 'S09' can be chosen: it holds one recording"):
        reconstruction.reconstruct_file(run, path, listener="S09")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.csv", r"\.csv files are not an EEG format that is read; these are: FIF .* NMED's \.mat"),
        ("x.txt", r"\.txt files are not an EEG format"),
        ("x", "a file without an ending in its name is not an EEG format"),
        ("b.vmrk", "one of the three files of a BrainVision recording: name b.vhdr"),
    ],
)
def test_a_file_of_another_format_is_not_called_damaged(run, tmp_path, name, message):
    for one in (name, "b.vhdr"):
        (tmp_path / one).write_text("time,Cz\n0,1\n")
    with pytest.raises(DataError, match=message) as found:
        reconstruction.reconstruct_file(run, tmp_path / name)
    assert "damaged" not in str(found.value)


def test_the_linear_decoder_filters_a_file_and_then_cuts_it(tiny_store, tmp_path):
    config = training.configure(tiny_store, model="ridge", preset="fast", split="repeat", precision="float32")
    linear = training.train(tiny_store, config, out=tmp_path / "runs", progress=False)
    path = tmp_path / "x_raw.fif"
    tiny_store.raw("S01_song21_r2").save(path, verbose="error")
    for start in (3, 18):  # the last second's lags reach beyond the end
        made = reconstruction.reconstruct_file(linear, path, start=start, duration=2)
        same = reconstruction.reconstruct(linear, "S01_song21_r2", start=start, duration=2)
        np.testing.assert_allclose(made.pictures, same.pictures, atol=1e-4)
        assert made.sound.shape == (2 * 22050,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recording": "S99"}, "no recording 'S99'; it has S01_song21_r1"),
        ({"recording": "S01_song21_r1"}, "no 5 held-out seconds in a row .longest stretch: 0"),
        ({"recording": "S01_song21_r2", "duration": 21}, "longest stretch: 20"),
        ({"recording": "S01_song21_r1", "start": 18}, "windows from second 0 to 20"),
        ({"recording": "S01_song21_r2", "duration": 2.5}, "whole number"),
        ({"recording": "S01_song21_r2", "duration": 0}, "whole number"),
    ],
)
def test_bad_requests_say_what_is_there(run, options, message):
    recording = options.pop("recording")
    with pytest.raises(ParameterError, match=message):
        reconstruction.reconstruct(run, recording, **options)


def test_a_classifier_cannot_reconstruct(tiny_store, tmp_path):
    made = trained(tiny_store, tmp_path, model="classifier")
    with pytest.raises(ParameterError, match="names songs"):
        reconstruction.reconstruct(made, "S01_song21_r1")


def test_grid_shows_originals_and_listeners(run, tiny_store):
    page = listening.listeners_grid(run, tiny_store)._repr_html_()
    assert page.count("<audio") == 2 * 3
    assert page.count("<img") == 2 * 3
    assert "SIMULATED EEG" in page
    assert "chance .50" in page
    assert "http" not in page


def test_grid_of_the_demo_pages_clips(run, tiny_store):
    grid = listening.listeners_grid(run, tiny_store, songs=["song21"], duration=10, overlap=0.5, sr=16_000)
    page = grid._repr_html_()
    assert page.count("<audio") == 3
    assert page.count("10 s, 128 bins") == 3


def test_grid_of_conditions_has_a_column_a_run_and_one_listener_a_row(run, tiny_store):
    page = listening.conditions_grid(
        {"perceived": run, "imagined": run}, tiny_store, songs=["song21"], duration=4
    )._repr_html_()
    assert page.count("<audio") == 3
    assert page.count("listener S01") == 2
    for word in ("Original", "perceived", "imagined", "SIMULATED EEG", "4 s, 128 bins"):
        assert word in page


def test_a_grid_of_conditions_takes_seconds_that_all_runs_hold_out(run, tiny_store):
    page = listening.conditions_grid({"a": run, "b": run}, tiny_store, songs=["song21"], duration=50)._repr_html_()
    assert "20 s" in page


def test_a_grid_of_segments_has_rows_of_each_song(run, tiny_store):
    grid = listening.segments_grid(
        {"independent": run, "dependent": run}, tiny_store, n_songs=2, n_segments=3, duration=4
    )
    assert grid.columns == ("Original", "independent", "dependent")
    assert [title.partition(",")[2] for title, _ in grid.rows] == [
        " from second 0",
        " from second 8",
        " from second 16",
    ] * 2
    with pytest.raises(ParameterError, match="no seconds that a listener heard"):
        listening.segments_grid({"a": run}, tiny_store, duration=50)


def test_grid_escapes_hostile_text(run):
    sound = np.sin(np.arange(22050) * 0.1).astype(np.float32) * 0.5
    evil = '<script>alert("x")</script>'
    clip = listening.clip(evil, sound, 22050, np.random.default_rng(0).random((44, 128)), note=evil)
    page = listening.Grid((evil,), ((evil, (clip,)),), evil).html(assets=False)
    assert "<script" not in page
    with pytest.raises(ParameterError, match="2 clips for 1 columns"):
        listening.Grid(("a",), (("row", (clip, clip)),), "caption")
