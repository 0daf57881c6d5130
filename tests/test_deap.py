"""Tests of the reader of DEAP on small files in its layouts: what arrives, by whom, with which ratings, and what is refused."""

import pickle
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import typer.testing

from eegviz import cli, datasets, soundtrack, store
from eegviz.datasets import _audio, _deap_tables, deap, demo_deap
from eegviz.datasets._python2 import python2_pickle
from eegviz.errors import DataError, MissingDependencyError, ParameterError
from tests.test_cli import eegviz
from tests.test_soundtrack import COPY, fake_ffmpeg

SMALL = {"n_subjects": 2, "n_videos": 3, "duration": 5, "progress": False}
SCALES = list(_deap_tables.SCALES)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same simulation in both layouts, and as a store."""
    folder = tmp_path_factory.mktemp("deap")
    for layout in demo_deap.LAYOUTS:
        demo_deap.write_files(folder / layout, layout=layout, **SMALL)
    demo_deap.make_store(folder / "store", **SMALL)
    return folder


@pytest.fixture
def folder(files, tmp_path):
    """A copy of the Python layout to damage."""
    return shutil.copytree(files / "python", tmp_path / "deap")


def change(folder, change_values, *, subject=1):
    """Rewrite a listener's file with other values."""
    path = folder / "data_preprocessed_python" / f"s{subject:02d}.dat"
    values = pickle.loads(path.read_bytes(), encoding="latin1")
    path.write_bytes(python2_pickle(change_values(values)))
    return path


# ---------------------------------------------------------------- both layouts


@pytest.mark.parametrize("layout", demo_deap.LAYOUTS)
def test_each_layout_gives_the_data_of_the_simulation(files, tmp_path, layout):
    report = datasets.ingest("deap", files / layout, tmp_path / "s")
    assert (report.n_recordings, report.problems) == (6, [])
    made, read = store.open(files / "store"), store.open(report.store)
    assert store.verify(read.path) == []
    assert read.manifest["simulated"] is True
    assert "in the layout of: DEAP" in read.manifest["title"]
    assert read.manifest["about"]["unit"] == "values taken as uV (assumed: the files do not state it)"
    assert read.montage == "biosemi32"
    assert set(read.stimuli["title"]) == {"simulated"}
    rows = made.recordings.set_index("recording").loc[read.recordings["recording"]]
    found = read.recordings.set_index("recording")
    columns = [
        "subject",
        "stimulus",
        "condition",
        "repeat",
        "sfreq",
        "n_times",
        "start",
        *SCALES,
        "familiarity",
        "trial",
    ]
    pd.testing.assert_frame_equal(found[columns], rows[columns])
    for name in rows.index:
        assert tuple(read.ch_names(name)) == deap.CHANNELS
        np.testing.assert_allclose(read.eeg(name), made.eeg(name), rtol=1e-6, atol=1e-13)
    for name in read.stimuli["stimulus"]:
        np.testing.assert_array_equal(read.audio(name)[0], made.audio(name)[0])


def test_the_layout_can_be_chosen_and_the_first_is_taken(files, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(files / "python", both)
    shutil.copytree(files / "matlab" / "data_preprocessed_matlab", both / "data_preprocessed_matlab")
    one = store.open(datasets.ingest("deap", both, tmp_path / "a").store)
    other = store.open(datasets.ingest("deap", both, tmp_path / "b", layout="matlab").store)
    assert one.manifest["about"]["layout"] == "python"
    assert other.manifest["about"]["layout"] == "matlab"
    with pytest.raises(DataError, match=r"expected files named s01\.bdf"):
        datasets.ingest("deap", both, tmp_path / "c", layout="raw")


def test_a_single_file_and_a_single_folder(files, tmp_path):
    folder = files / "python" / "data_preprocessed_python"
    for source in (folder, folder / "s02.dat"):
        report = datasets.ingest("deap", source, tmp_path / source.stem, audio=files / "python" / "audio")
        opened = store.open(report.store)
        assert opened.manifest["simulated"] is True  # said by the README above
        assert opened.recordings["trial"].ge(1).all()  # the table is found beside the folder


def test_the_seconds_before_a_video_are_cut_off_or_kept_as_silence(files, tmp_path):
    plain = store.open(datasets.ingest("deap", files / "python", tmp_path / "a").store)
    assert set(plain.recordings["condition"]) == {"listening"}
    kept = store.open(datasets.ingest("deap", files / "python", tmp_path / "b", baseline=True).store)
    quiet = kept.recordings.set_index("recording").loc["S01_video02_silence"]
    assert (quiet["condition"], quiet["stimulus"], quiet["before"], quiet["n_times"]) == ("silence", "", "video02", 384)
    path = files / "python" / "data_preprocessed_python" / "s01.dat"
    values = pickle.loads(path.read_bytes(), encoding="latin1")["data"][1, :32]
    np.testing.assert_allclose(kept.eeg("S01_video02_silence"), values[:, :384] * 1e-6, rtol=1e-5)
    np.testing.assert_allclose(kept.eeg("S01_video02"), values[:, 384:] * 1e-6, rtol=1e-5)


def test_an_interrupted_ingest_continues(files, tmp_path, monkeypatch):
    whole = store.open(datasets.ingest("deap", files / "python", tmp_path / "a").store)
    original, calls = store.Writer.add_recording, []

    def stop(self, *args, **kwargs):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(args)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(store.Writer, "add_recording", stop)
    with pytest.raises(KeyboardInterrupt):
        datasets.ingest("deap", files / "python", tmp_path / "b")
    monkeypatch.undo()
    report = datasets.ingest("deap", files / "python", tmp_path / "b")
    assert report.n_recordings == 6
    assert store.open(report.store).fingerprint == whole.fingerprint


# ---------------------------------------------------------------- ratings


def test_ratings_without_the_table(folder, tmp_path):
    (folder / "metadata_csv" / "participant_ratings.csv").unlink()
    opened = store.open(datasets.ingest("deap", folder, tmp_path / "s").store)
    assert set(SCALES) <= set(opened.recordings)
    assert not {"familiarity", "trial"} & set(opened.recordings)


def test_familiarity_that_is_missing_is_nan(folder, tmp_path):
    path = folder / "metadata_csv" / "participant_ratings.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[table["Participant_id"] == "2", "Familiarity"] = "N/A"
    table.to_csv(path, index=False)
    rows = store.open(datasets.ingest("deap", folder, tmp_path / "s").store).recordings
    assert rows.loc[rows["subject"] == "S02", "familiarity"].isna().all()
    assert rows.loc[rows["subject"] == "S01", "familiarity"].notna().all()


def test_a_table_of_other_data_is_noticed(folder, tmp_path):
    path = folder / "metadata_csv" / "participant_ratings.csv"
    table = pd.read_csv(path)
    table["Valence"] = 10 - table["Valence"]
    table.to_csv(path, index=False)
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert any("labels differ from participant_ratings.csv in 3 videos" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.drop(columns="Arousal"), "found no arousal among participant_id, trial"),
        (lambda t: t.assign(Valence=0.5), "line 2: expected valence from 1 to 9, found 0.5"),
        (lambda t: t.assign(Trial=1.5), "expected trial from 1 to 40, found 1.5"),
        (lambda t: t.assign(Experiment_id="x"), "expected experiment_id from 1 to 40, found nan"),
        (lambda t: t.assign(Experiment_id=1), "participant 1 rated video 1 twice"),
        (lambda t: t.assign(Familiarity=7), "expected familiarity from 1 to 5 or nothing, found 7 to 7"),
    ],
)
def test_a_damaged_table(folder, tmp_path, edit, message):
    path = folder / "metadata_csv" / "participant_ratings.csv"
    edit(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(DataError, match=message):
        datasets.ingest("deap", folder, tmp_path / "s")


def test_a_table_in_excel_alone(folder, tmp_path):
    path = folder / "metadata_csv" / "participant_ratings.csv"
    path.with_suffix(".xls").write_bytes(b"\xd0\xcf\x11\xe0")
    assert datasets.ingest("deap", folder, tmp_path / "s").n_recordings == 6  # the CSV comes first
    path.unlink()
    with pytest.raises((MissingDependencyError, DataError), match=r"participant_ratings\.xls: .*\.csv"):
        datasets.ingest("deap", folder, tmp_path / "t")


# ---------------------------------------------------------------- sounds


def test_a_video_without_sound_is_named_and_may_be_left_out(folder, tmp_path):
    (folder / "audio" / "video02.wav").unlink()
    with pytest.raises(
        DataError, match=r"a sound for each of the 3 videos, found 2: none for video02; DEAP distributes no sound"
    ):
        datasets.ingest("deap", folder, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    report = datasets.ingest("deap", folder, tmp_path / "s", missing="skip")
    assert (report.n_recordings, report.problems) == (4, [])
    assert report.warnings == ["video02: no sound, so its recordings are left out"]
    assert store.open(report.store).stimuli["stimulus"].tolist() == ["video01", "video03"]
    with pytest.raises(DataError, match="found 0: none for video01, video02, video03"):
        datasets.ingest("deap", folder / "data_preprocessed_python", tmp_path / "t", missing="skip")


def test_a_damaged_sound_is_one_problem(folder, tmp_path):
    (folder / "audio" / "video02.wav").write_bytes(b"RIFF")
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert report.n_recordings == 4
    (line,) = report.problems
    assert "video02.wav: expected a sound file" in line


def test_names_of_sounds(folder, tmp_path):
    (folder / "audio" / "video02.wav").rename(folder / "audio" / "02.wav")
    (folder / "audio" / "video03.wav").rename(folder / "audio" / "Video3.WAV")
    assert datasets.ingest("deap", folder, tmp_path / "s").n_recordings == 6


def test_titles_of_the_video_list_find_sounds_too(tmp_path):
    path = tmp_path / "video_list.csv"
    path.write_bytes("Online_id,Experiment_id,Artist,Title\n7,2,Björk,Jóga\n9,,Nobody,Not shown\n".encode("latin1"))
    titles = _deap_tables.read_videos(path)
    assert titles == {2: ("Björk", "Jóga")}
    (tmp_path / "Bjork - Joga.mp3").write_bytes(b"")
    (tmp_path / "video01.MKV").write_bytes(b"")
    (tmp_path / "video03.mkv").write_bytes(b"")
    (tmp_path / "video03.flac").write_bytes(b"")
    library = _audio.Library(tmp_path)
    names = [["video01"], ["video02", "Björk – Jóga"], ["video03"], ["video04"]]
    found = [library.find_any(each, more=soundtrack.VIDEO_EXTENSIONS) for each in names]
    assert [file and file.name for file in found] == ["video01.MKV", "Bjork - Joga.mp3", "video03.flac", None]
    path.write_text("a,b\n1,2\n")
    assert _deap_tables.read_videos(path) == {}


def test_the_minute_in_a_longer_sound(folder, files, tmp_path):
    path = folder / "audio" / "video01.wav"
    y, sr = soundfile.read(path, dtype="int16")
    longer = np.concatenate([np.full(2 * sr, 7, np.int16), y, np.zeros(5 * sr, np.int16)])
    soundfile.write(path, longer, sr, subtype="PCM_16")
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert len(report.problems) == 1
    assert "5.00 s of EEG and 12.00 s of sound differ by 7.00 s" in report.problems[0]
    report = datasets.ingest("deap", folder, tmp_path / "t", offsets={"video01": 2.0})
    assert report.problems == report.warnings == []
    np.testing.assert_array_equal(
        store.open(report.store).audio("video01")[0], store.open(files / "store").audio("video01")[0]
    )


def test_the_sound_is_prepared_as_asked(files, tmp_path):
    options = {"dereverberate": 0.3}  # the shortest of the steps
    report = datasets.ingest("deap", files / "python", tmp_path / "s", **options)
    opened, plain = store.open(report.store), store.open(files / "store")
    y, sr = plain.audio("video01")
    np.testing.assert_allclose(opened.audio("video01")[0], soundtrack.prepare(y, sr, **options), atol=1e-4)
    assert set(opened.stimuli["prepared"]) == {"late reverberation of 0.3 s taken off"}
    assert opened.manifest["about"]["sound"] == "late reverberation of 0.3 s taken off"
    with pytest.raises(ParameterError, match="vocals='away': expected one of keep, remove, only"):
        datasets.ingest("deap", files / "python", tmp_path / "t", vocals="away")


def test_videos_through_ffmpeg(folder, files, tmp_path, monkeypatch):
    for path in (folder / "audio").glob("*.wav"):
        path.rename(path.with_suffix(".mp4"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MissingDependencyError, match=r"video01\.mp4 \(3 videos\) .*ffmpeg, which is not installed"):
        datasets.ingest("deap", folder, tmp_path / "s")
    fake_ffmpeg(tmp_path / "bin" / "ffmpeg", COPY)
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert report.problems == []
    opened = store.open(report.store)
    assert opened.stimuli["audio_file"].tolist() == ["video01.mp4", "video02.mp4", "video03.mp4"]
    np.testing.assert_array_equal(opened.audio("video03")[0], store.open(files / "store").audio("video03")[0])


# ---------------------------------------------------------------- what is refused


DAMAGES = (
    (lambda v: v | {"data": v["data"][:, :32]}, r"expected data as video × channel × time \(40, 40, 8064\), found"),
    (lambda v: v | {"data": v["data"][:, :, :400]}, r"found \(3, 40, 400\); use the original file"),
    (lambda v: v | {"data": v["data"][0]}, r"video × channel × time \(40, 40, 8064\), found \(40, 1024\)"),
    (lambda v: v | {"data": v["data"] > 0}, r"expected data as a real array of 3 axes, found no real numbers"),
    (lambda v: v | {"labels": v["labels"][:2]}, r"expected labels as numbers \(3, 4\).*found float64 \(2, 4\)"),
    (lambda v: v | {"labels": v["labels"] + 9}, r"expected labels from 1 to 9, found 1\d.*valence of video 1"),
    (lambda v: v | {"labels": v["labels"] * np.nan}, r"expected labels from 1 to 9, found nan"),
    (lambda v: {"labels": v["labels"], "eeg": v["data"]}, r"expected the variable data, found labels \(3, 4\), eeg"),
    (lambda v: v | {"data": v["data"] * 1e-6}, r"median channel standard deviation of 0.5 to 500 µV.*pass --unit V"),
    (lambda v: v | {"data": v["data"] * np.nan}, r"expected finite numbers, found NaN or infinity in Fp1"),
    (lambda v: v | {"data": v["data"] * 0}, r"32 of 32 channels constant"),
)


def test_damaged_files_are_named_and_the_rest_kept(folder, tmp_path):
    first = folder / "data_preprocessed_python" / "s01.dat"
    paths = []
    for number, (edit, _) in enumerate(DAMAGES, start=3):
        shutil.copy(first, first.with_name(f"s{number:02d}.dat"))
        paths.append(change(folder, edit, subject=number))
    shutil.copy(first, first.with_name("s33.dat"))
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert report.n_recordings == 6
    for path, (_, message) in zip(paths, DAMAGES, strict=True):
        said = [line for line in report.problems if path.name in line]
        assert 1 <= len(said) <= 3
        assert all(re.search(message, line) for line in said), said
    assert any("s33.dat: expected a listener from 1 to 32, found 33" in line for line in report.problems)


def test_files_that_no_one_should_open_otherwise(folder, tmp_path):
    import os

    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch '{canary}'",)

    path = folder / "data_preprocessed_python" / "s01.dat"
    path.write_bytes(pickle.dumps({"data": Evil()}, protocol=2))
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert report.n_recordings == 3
    (line,) = report.problems
    assert "s01.dat: expected a pickle of a dict of numeric arrays and nothing else, found: the name" in line
    assert "nothing in it was run" in line
    assert not canary.exists()


def test_real_files_must_have_the_published_shape(folder, tmp_path):
    (folder / "README.txt").unlink()
    for number in range(4, 41):
        shutil.copy(folder / "audio" / "video01.wav", folder / "audio" / f"video{number:02d}.wav")
    with pytest.raises(
        DataError, match=r"no recording could be read.*\n.*expected data as video × channel × time"
    ) as caught:
        datasets.ingest("deap", folder, tmp_path / "s")
    assert "(40, 40, 8064), found (3, 40, 1024)" in str(caught.value)
    with pytest.raises(DataError, match=r"found \(8064, 40, 40\) \(axes in another order\)"):
        deap.check_shape((8064, 40, 40), "s01.dat")


def test_bad_channels_are_one_line_a_file(folder, tmp_path):
    def flat(values):
        values["data"][0, 5] = values["data"][2, 5] = 0
        values["data"][1, 7] *= 100
        return values

    change(folder, flat)
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert report.problems == []
    (line,) = report.warnings
    assert line.endswith("in how many recordings: FC1 (2), T7 (1)")
    opened = store.open(report.store)
    assert opened.bads("S01_video01") == ["FC1"]
    assert opened.bads("S01_video02") == ["T7"]


def test_other_failures(files, tmp_path):
    folder = files / "python"
    for options, error, message in (
        ({"layout": "csv"}, ParameterError, "layout='csv': expected one of python, matlab, raw"),
        ({"missing": "zero"}, ParameterError, "missing='zero': expected one of refuse, skip"),
        ({"baseline": 3}, ParameterError, "baseline=3: expected true or false"),
        ({"offsets": {"video41": 1}}, ParameterError, "unknown stimulus 'video41'"),
        ({"ratings": "none.csv"}, DataError, "none.csv: expected the file participant_ratings.csv, found nothing"),
        ({"colour": 1}, ParameterError, "deap does not take colour; it takes audio, layout, unit"),
    ):
        with pytest.raises(error, match=message):
            datasets.ingest("deap", folder, tmp_path / "s", **options)
    with pytest.raises(DataError, match="expected the folder of the data set, found nothing; get it from https"):
        datasets.ingest("deap", tmp_path / "none", tmp_path / "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected files named s01\.dat … or s01\.mat … or s01\.bdf"):
        datasets.ingest("deap", tmp_path / "empty", tmp_path / "s")


@pytest.mark.slow
def test_files_of_the_published_size(tmp_path):
    """40 videos of 60 s, noise: nothing says that they are simulated, so everything is as for DEAP itself."""
    rng = np.random.default_rng(0)
    data = rng.normal(0, 10, deap.SHAPE).astype(np.float32)
    labels = rng.uniform(1, 9, (40, 4))
    (tmp_path / "data_preprocessed_python").mkdir()
    for number in (22, 23):
        path = tmp_path / "data_preprocessed_python" / f"s{number}.dat"
        path.write_bytes(python2_pickle({"labels": labels, "data": data}))
    (tmp_path / "audio").mkdir()
    for number in range(1, 41):
        soundfile.write(tmp_path / "audio" / f"video{number:02d}.flac", 0.1 * rng.normal(size=60 * 8000), 8000)
    (tmp_path / "video_list.csv").write_text("Experiment_id,Artist,Title\n1,Somebody,Something\n")
    report = datasets.ingest("deap", tmp_path, tmp_path / "s")
    assert (report.n_recordings, report.problems, report.warnings) == (80, [], [])
    opened = store.open(report.store)
    assert opened.manifest["simulated"] is False
    assert opened.manifest["licence"].startswith("DEAP end user licence")
    rows = opened.recordings.set_index("recording")
    assert (rows.loc["S22_video40", "site"], rows.loc["S23_video01", "site"]) == ("Twente", "Geneva")
    assert set(rows["n_times"]) == {60 * 128}
    np.testing.assert_allclose(rows.loc["S22_video07", SCALES].to_numpy(float), labels[6])
    np.testing.assert_allclose(opened.eeg("S23_video40"), data[39, :32, 384:] * 1e-6, rtol=1e-5)
    assert opened.stimuli.set_index("stimulus").loc["video01", ["title", "artist"]].tolist() == [
        "Something",
        "Somebody",
    ]


# ---------------------------------------------------------------- by command line


def test_from_files_to_a_store_by_command_line(files, tmp_path):
    folder = files / "python"
    said = command("ingest", "deap", folder, tmp_path / "s", "--set", "baseline=true", "--set", "missing=skip")
    assert "12 recordings, 0 left out" in said
    assert "SIMULATED" in command("info", tmp_path / "s", "--verify")
    with pytest.raises(ParameterError, match="--set unit: give it as --unit."):
        command("ingest", "deap", folder, tmp_path / "t", "--set", "unit=V")


@pytest.mark.slow
def test_from_files_to_a_verdict_by_command_line(tmp_path):
    """The seconds before the videos are one of the controls."""
    folder = demo_deap.write_files(tmp_path / "deap", n_subjects=2, n_videos=2, duration=16, progress=False)
    command("ingest", "deap", folder, tmp_path / "s", "--set", "baseline=true")
    arguments = ("--model", "ridge", "--preset", "fast", "--split", "subject", "--out", tmp_path / "runs")
    run = command("train", tmp_path / "s", *arguments).strip().splitlines()[-1]
    assert "EEG from before the song" in command("evaluate", run)


def test_a_missing_sound_by_command_line(folder, tmp_path):
    (folder / "audio" / "video02.wav").unlink()
    found = eegviz("ingest", "deap", folder, tmp_path / "s", ok=False)
    assert found.returncode == 2
    assert "none for video02" in found.stderr
    assert "--set missing=skip" in found.stderr
    assert (
        "4 recordings, 0 left out" in eegviz("ingest", "deap", folder, tmp_path / "s", "--set", "missing=skip").stdout
    )


def command(*arguments):
    """What a command prints; its error is raised."""
    done = typer.testing.CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if done.exception is not None:
        raise done.exception
    return done.output
