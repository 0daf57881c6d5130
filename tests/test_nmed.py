"""Tests of the NMED-T and NMED-H readers on small files in the exact layouts, whole and damaged."""

import shutil

import numpy as np
import pytest
import soundfile

from eegviz import datasets, store
from eegviz.datasets import _audio, _common, nmed_h, nmed_t
from eegviz.errors import DataError, ParameterError
from tests.test_matlab import cells, write_v5, write_v73

SECONDS, SR = 6, 8000
N_TIMES = SECONDS * 125


def eeg_uv(seed, *, n_channels=125, n_times=N_TIMES, n_subjects=2):
    return np.random.default_rng(seed).normal(0, 8, (n_channels, n_times, n_subjects))


def write_sound(path, *, seconds=SECONDS, sr=SR, seed=0, channels=1):
    path.parent.mkdir(exist_ok=True, parents=True)
    y = 0.1 * np.random.default_rng(seed).normal(size=(int(seconds * sr), channels)).clip(-4, 4)
    soundfile.write(path, y, sr)
    return path


def write_song(folder, number=21, *, write=write_v5, data=None, subs=("S02", "S03"), fs=125.0, hearing="", **other):
    """Write a cleaned file of NMED-T, or of NMED-H when ``hearing`` is "_a" or "_b"."""
    data = eeg_uv(number, n_subjects=len(subs)) if data is None else data
    values = {f"data{number}{hearing}": data, f"subs{number}{hearing}": cells(*subs), "fs": fs, **other}
    folder.mkdir(exist_ok=True, parents=True)
    return write(folder / f"song{number}{hearing}_Imputed.mat", {k: v for k, v in values.items() if v is not None})


def ingest(source, path, **options):
    return datasets.ingest(options.pop("dataset", "nmed-t"), source, path, **options)


def write_source(folder):
    """Two songs of two listeners, with their sounds."""
    for number in (21, 22):
        write_song(folder, number)
        write_sound(folder / "audio" / f"song{number}.wav", seed=number)
    return folder


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source")


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_nmed_t(tmp_path, write, capfd):
    data = eeg_uv(1)
    write_song(tmp_path / "source" / "deep", 21, data=data, write=write)
    write_sound(tmp_path / "audio" / "song21.wav", channels=2)
    report = ingest(tmp_path / "source", tmp_path / "s", audio=tmp_path / "audio")
    assert (report.n_recordings, report.n_skipped, report.problems, report.warnings) == (2, 0, [], [])
    opened = store.open(report.store)
    assert list(opened.recordings["recording"]) == ["S02_song21", "S03_song21"]
    row = opened.row("S03_song21")
    assert (row["subject"], row["stimulus"], row["condition"], row["repeat"]) == ("S03", "song21", "listening", 1)
    assert (row["sfreq"], row["n_channels"], row["n_times"], row["start"]) == (125.0, 125, N_TIMES, 0.0)
    np.testing.assert_allclose(opened.eeg("S03_song21"), data[:, :, 1] * 1e-6, rtol=1e-6)
    assert opened.ch_names("S03_song21") == [f"E{n}" for n in range(1, 125)] + ["Cz"]
    assert opened.montage == "GSN-HydroCel-129"
    assert opened.raw("S03_song21").get_montage().ch_names == opened.ch_names("S03_song21")
    song = opened.stimuli.iloc[0]
    assert (song["title"], song["artist"], song["bpm"]) == ("First Fires", "Bonobo", 55.97)
    assert (song["sr"], song["n_samples"], song["audio_file"]) == (22050, SECONDS * 22050, "song21.wav")
    assert opened.manifest["licence"] == "CC BY"
    assert opened.manifest["simulated"] is False
    assert "jn859kj8079" in opened.manifest["citation"]
    assert store.verify(report.store) == []
    assert capfd.readouterr() == ("", "")


def test_nmed_h_has_two_hearings_and_four_versions(tmp_path):
    for number in (21, 26):
        for hearing in ("_a", "_b"):
            write_song(tmp_path / "in", number, hearing=hearing, subs=("s1", "s2"))
    write_sound(tmp_path / "in" / "song21.wav")
    write_sound(tmp_path / "in" / "Daaru Desi (reversed).flac")
    report = ingest(tmp_path / "in", tmp_path / "s", dataset="nmed-h")
    assert report.problems == []
    opened = store.open(report.store)
    assert list(opened.recordings["recording"]) == [
        "s1_song21", "s2_song21", "s1_song21_r2", "s2_song21_r2", "s1_song26", "s2_song26", "s1_song26_r2",
        "s2_song26_r2",
    ]  # fmt: skip
    assert list(opened.recordings["repeat"]) == [1, 1, 2, 2] * 2
    assert list(opened.recordings["session"]) == list("aabb") * 2
    assert list(opened.stimuli["title"]) == ["Ainvayi Ainvayi", "Daaru Desi (reversed)"]
    assert list(opened.stimuli["version"]) == ["orig", "rev"]
    assert list(opened.stimuli["piece"]) == ["song21", "song22"]


@pytest.mark.parametrize(
    ("number", "version", "piece"),
    [(21, "orig", "song21"), (28, "rev", "song24"), (29, "phase", "song21"), (36, "meas", "song24")],
)
def test_numbers_of_nmed_h(number, version, piece):
    assert nmed_h.song(number).columns == {"version": version, "piece": piece}


def test_tempi_of_nmed_t():
    assert [nmed_t.song(number).columns["bpm"] for number in range(21, 31)] == [
        55.97, 69.44, 74.26, 82.42, 91.46, 96.15, 108.70, 120.00, 128.21, 150.00,
    ]  # fmt: skip


def test_the_demonstrations_files_can_be_read(tmp_path):
    demo = pytest.importorskip("eegviz.datasets.demo")
    for layout in ("nmed-t", "nmed-h"):
        folder = demo.write_nmed(
            tmp_path / layout, layout=layout, n_subjects=1, n_pieces=1, duration=4.0, progress=False
        )
        report = ingest(folder, tmp_path / f"{layout}.store", dataset=layout)
        assert report.problems == []
        assert report.n_recordings == (1 if layout == "nmed-t" else 2)
        manifest = store.open(report.store).manifest
        assert manifest["simulated"] is True  # it must never pass for a recording
        assert manifest["title"].startswith("Simulated EEG in the layout of")


def test_registry():
    assert datasets.get("NMED_T") is nmed_t
    with pytest.raises(ParameterError, match="unknown data set 'nmedt': expected one of .*did you mean nmed-t"):
        datasets.get("nmedt")
    with pytest.raises(ParameterError, match="nmed-t does not take colour; it takes audio, unit"):
        datasets.ingest("nmed-t", "x", "y", colour=1)


# ---------------------------------------------------------------- the sound


@pytest.mark.parametrize(
    "name",
    ["song21.wav", "SONG21.FLAC", "21.ogg", "song21.mp3", "First Fires.wav", "first fires - bonobo.flac",
     "First_Fires – Bonobo.ogg"],
)  # fmt: skip
def test_sounds_are_found_by_number_or_title(tmp_path, name):
    write_sound(tmp_path / name)
    write_sound(tmp_path / "song210.wav")
    assert _audio.Library(tmp_path).find(nmed_t.song(21).sound_names).name == name


def test_accents_do_not_matter(tmp_path):
    write_sound(tmp_path / "Canopee - Polo & Pan.wav")
    assert _audio.Library(tmp_path).find(nmed_t.song(26).sound_names).name == "Canopee - Polo & Pan.wav"


def test_lossless_sounds_come_first(tmp_path):
    for name in ("song21.mp3", "song21.flac", "First Fires.wav"):
        write_sound(tmp_path / name)
    assert _audio.Library(tmp_path).find(nmed_t.song(21).sound_names).name == "song21.flac"


def test_stereo_is_mixed_and_resampled_once(tmp_path):
    time = np.arange(2 * 44100) / 44100
    left, right = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 880 * time)
    soundfile.write(tmp_path / "a.wav", 0.5 * np.stack([left, right], 1), 44100, subtype="FLOAT")
    y = _audio.read(tmp_path / "a.wav")
    time = np.arange(2 * 22050) / 22050
    expected = 0.25 * (np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 880 * time))
    assert y.dtype == np.float32
    assert len(y) == len(expected)
    np.testing.assert_allclose(y[500:-500], expected[500:-500], atol=1e-4)
    np.testing.assert_allclose(_audio.read(tmp_path / "a.wav", lead_in=0.5)[500:-500], expected[11525:-500], atol=1e-4)


def test_a_loud_sound_is_scaled_to_its_peak(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.tile([2.0, -1.0, 0.5], 9000).astype(np.float32), 22050, subtype="FLOAT")
    y = _audio.read(tmp_path / "a.wav")
    assert np.abs(y).max() <= 1
    np.testing.assert_allclose(y[:3], [1, -0.5, 0.25], atol=1e-5)


@pytest.mark.parametrize(("seconds", "kept"), [(7.5, SECONDS), (4.9, 4.9)])
def test_lengths_that_differ_a_little_are_cropped(source, tmp_path, seconds, kept):
    write_sound(source / "audio" / "song21.wav", seconds=seconds, sr=22050)
    report = ingest(source, tmp_path / "s")
    assert report.problems == []
    (line,) = report.warnings
    assert f"6.00 s of EEG and {seconds:.2f} s of sound: both cropped to {kept:.2f} s" in line
    opened = store.open(report.store)
    assert opened.row("S02_song21")["n_times"] == round(kept * 125)
    assert opened.stimuli.iloc[0]["n_samples"] == pytest.approx(kept * 22050, abs=1)
    assert opened.row("S02_song22")["n_times"] == N_TIMES


def test_lengths_that_differ_much_are_refused(source, tmp_path):
    write_sound(source / "audio" / "song21.wav", seconds=9, sr=22050)
    report = ingest(source, tmp_path / "s")
    assert (report.n_recordings, report.n_skipped) == (2, 1)
    assert "differ by 3.00 s, expected at most 2 s" in report.problems[0]
    assert "--offsets" in report.problems[0]
    assert "--max-mismatch" in report.problems[0]
    assert set(store.open(report.store).stimuli["stimulus"]) == {"song22"}
    assert ingest(source, tmp_path / "t", max_mismatch=4).problems == []


def test_offsets_cut_the_lead_in(source, tmp_path):
    y, sr = soundfile.read(write_sound(source / "audio" / "song21.wav", seconds=9, sr=22050))
    (tmp_path / "o.csv").write_text("stimulus,offset\nsong21,3\n")
    report = ingest(source, tmp_path / "s", offsets=tmp_path / "o.csv")
    assert (report.problems, report.warnings) == ([], [])
    np.testing.assert_allclose(store.open(report.store).audio("song21")[0], y[3 * sr :], atol=1e-4)
    assert store.open(report.store).stimuli.iloc[0]["lead_in"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stimulus,offset\nsong99,1\n", "unknown stimulus 'song99'; expected one of song21"),
        ("stimulus,offset\nsong21,-1\n", "song21: expected the seconds ≥ 0 to cut .*found '-1'"),
        ("stimulus,offset\nsong21,soon\n", "found 'soon'"),
        ("song,seconds\nsong21,1\n", "expected the columns stimulus,offset, found song, seconds"),
        ("", "expected a CSV file with the columns stimulus,offset"),
    ],
)
def test_wrong_offsets(source, tmp_path, text, message):
    (tmp_path / "o.csv").write_text(text)
    with pytest.raises((DataError, ParameterError), match=message):
        ingest(source, tmp_path / "s", offsets=tmp_path / "o.csv")


def test_the_second_hearing_shares_the_sound(tmp_path):
    write_song(tmp_path / "in", 21, hearing="_a")
    write_song(tmp_path / "in", 21, hearing="_b", data=eeg_uv(3, n_times=N_TIMES + 50))
    write_sound(tmp_path / "in" / "song21.wav", seconds=7)
    opened = store.open(ingest(tmp_path / "in", tmp_path / "s", dataset="nmed-h").store)
    assert list(opened.recordings["n_times"]) == [N_TIMES] * 4
    assert list(opened.stimuli["n_samples"]) == [SECONDS * 22050]


# ---------------------------------------------------------------- what is refused, and says so


def damaged_sound(path, how):
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"no sound\n" * 99, "cut": data[: len(data) // 3]}[how])


def spoil(source, how):
    """Damage song 21 in one way; song 22 stays fine."""
    file, sound, data = source / "song21_Imputed.mat", source / "audio" / "song21.wav", eeg_uv(1)
    if how == "no data":
        write_song(source, 21, data=None, data21=None, data22=data)
    elif how == "no subs":
        write_song(source, 21, subs21=None)
    elif how == "no fs":
        write_song(source, 21, fs=None)
    elif how == "wrong fs":
        write_song(source, 21, fs=np.array([125.0, 1.0]))
    elif how == "wrong order":
        write_song(source, 21, data=np.transpose(data, (1, 0, 2)))
    elif how == "too many subs":
        write_song(source, 21, data=data, subs=("S02", "S03", "S04"))
    elif how == "double subs":
        write_song(source, 21, subs=("S02", "S02"))
    elif how == "numbers as subs":
        write_song(source, 21, subs21=np.array([[2.0, 3.0]]))
    elif how == "two axes":
        write_song(source, 21, data=data[:, :, 0])
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:70000])
    elif how == "text":
        file.write_text("<html>404 not found</html>")
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "no sound":
        sound.unlink()
    elif how in ("empty sound", "text sound"):
        damaged_sound(sound, how.split()[0])
    elif how == "cut flac":
        sound.unlink()
        damaged_sound(write_sound(sound.with_suffix(".flac")), "cut")
    elif how == "silent sound":
        soundfile.write(sound, np.zeros(SECONDS * SR), SR)
    elif how == "song 31":
        file.rename(source / "song31_Imputed.mat")
    elif how == "twice":
        (source / "copy").mkdir()
        shutil.copy(file, source / "copy")
        return 4
    else:
        raise AssertionError(how)
    return 2


SPOILT = {
    "no data": r"song21_Imputed\.mat: expected the variable data21, found .*data22 \(125, 750, 2\).*original file",
    "no subs": r"expected the variable subs21, found data21",
    "no fs": r"expected the variable fs, found data21",
    "wrong fs": r"expected fs as one rate in Hz \(125\), found \[125.0, 1.0\]",
    "wrong order": r"channel × time × listener \(125, time, 2\), found \(750, 125, 2\).*125 channels",
    "too many subs": r"\(125, time, 3\), found \(125, 750, 2\), which does not fit 3 names in subs21",
    "double subs": r"expected different names in subs21, found S02, S02",
    "numbers as subs": r"expected subs21 as a cell array of strings such as 'S02', found numbers of shape \(1, 2\)",
    "two axes": r"\(125, time, 2\), found \(125, 750, 1\)",
    "truncated": r"song21_Imputed\.mat is damaged or incomplete: expected a readable MATLAB file, found:",
    "text": r"expected a MATLAB file \(v5 or v7.3\), found 26 bytes that begin '<html>",
    "empty": r"expected a MATLAB file \(v5 or v7.3\), found an empty file; download",
    "no sound": r"expected a sound file named song21.wav or 21.wav or First Fires.wav.*found 1 sound files \(song22.wav"
    r" …\).*pass its folder as --audio",
    "empty sound": r"song21\.wav: expected a sound file that libsndfile reads, found",
    "text sound": r"song21\.wav: expected a sound file that libsndfile reads, found",
    "cut flac": r"song21\.flac.*(is damaged: expected 6.0 s|expected a sound file)",
    "silent sound": r"song21\.wav: expected a sound, found 6.0 s of silence",
    "song 31": r"song31_Imputed\.mat: expected a song number from 21 to 30, found 31",
    "twice": r"song21_Imputed\.mat: a file of this name was found already .*keep one of them",
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_is_left_out_and_the_others_are_kept(source, tmp_path, how):
    kept = spoil(source, how)
    report = ingest(source, tmp_path / "s")
    assert report.n_skipped >= 1
    assert len(report.problems) == report.n_skipped
    with pytest.raises(DataError, match=SPOILT[how]):
        raise DataError(report.problems[0])
    opened = store.open(report.store)
    assert report.n_recordings == len(opened.recordings) == kept
    assert {"S02_song22", "S03_song22"} <= set(opened.recordings["recording"])
    assert store.verify(report.store) == []
    assert f"{report.n_skipped} left out" in report.summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.__setitem__((3, 5, 1), np.nan), r"S03: expected finite numbers, found NaN or infinity in E4;"),
        (lambda x: x.__setitem__((slice(0, 30), slice(None), 1), 0), r"at most 20% bad channels, found 30 of 125 \("
         r"30 flat"),
        (lambda x: x.__setitem__((..., 1), x[..., 1] * 1e-6), r"found 7.95e-06 µV when the values are taken as uV; if the"
         r" file is in V, pass --unit V"),
        (lambda x: x.__setitem__((..., 1), x[..., 1] * 1e3), r"expected a median channel standard deviation of 0.5"
         r" to 500 µV, found 7.95e\+03 µV .*nV, pass --unit nV"),
        (lambda x: x.__setitem__((..., 1), 3), r"expected EEG, found 125 of 125 channels constant"),
    ],
)  # fmt: skip
def test_a_spoilt_listener_is_left_out(source, tmp_path, change, message):
    data = np.random.default_rng(0).normal(0, 8, (125, N_TIMES, 2))
    change(data)
    write_song(source, 21, data=data)
    report = ingest(source, tmp_path / "s")
    assert (report.n_recordings, report.n_skipped) == (3, 1)
    with pytest.raises(DataError, match=message):
        raise DataError(report.problems[0])
    assert "song21_Imputed.mat, S03" in report.problems[0]


def test_flat_and_wild_channels_are_marked(source, tmp_path):
    data = eeg_uv(1)
    data[[4, 124], :, 0] = 0
    data[9, :, 0] *= 20
    data[10] += np.linspace(0, 500, N_TIMES)[:, np.newaxis]  # slow drift is no reason
    write_song(source, 21, data=data)
    report = ingest(source, tmp_path / "s")
    assert report.problems == []
    assert store.open(report.store).bads("S02_song21") == ["E5", "E10", "Cz"]
    assert store.open(report.store).bads("S03_song21") == []
    assert any("S02: marked bad" in line and "E5, E10, Cz" in line for line in report.warnings)


def test_a_hostile_subject_is_left_out(source, tmp_path):
    write_song(source, 21, subs=("../../S02", "S03"))
    report = ingest(source, tmp_path / "s")
    assert (report.n_recordings, report.n_skipped) == (3, 1)
    assert "'../../S02_song21' cannot be used as an id" in report.problems[0]
    assert "song21_Imputed.mat" in report.problems[0]


def test_units(tmp_path):
    data = eeg_uv(1)
    write_song(tmp_path / "in", 21, data=data * 1e-6)
    write_sound(tmp_path / "in" / "song21.wav")
    opened = store.open(ingest(tmp_path / "in", tmp_path / "s", unit="V").store)
    np.testing.assert_allclose(opened.eeg("S02_song21"), data[:, :, 0] * 1e-6, rtol=1e-6)
    with pytest.raises(ParameterError, match="--unit 'dB': expected one of V, mV, uV, nV"):
        ingest(tmp_path / "in", tmp_path / "t", unit="dB")
    assert _common.scale("µV") == 1e-6


def test_nothing_fine_leaves_no_store(source, tmp_path):
    for number in (21, 22):
        (source / f"song{number}_Imputed.mat").write_text("text")
    with pytest.raises(DataError, match=r"(?s)no recording could be read, so no store was made:.*song21.*song22"):
        ingest(source, tmp_path / "s")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["source"]


def test_an_empty_or_missing_source(tmp_path):
    with pytest.raises(
        DataError, match=r"expected the folder of the data set, found nothing; get it from https://purl"
    ):
        ingest(tmp_path / "none", tmp_path / "s")
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match=r"expected files named songNN_Imputed\.mat .*, found no file; get them from"):
        ingest(tmp_path / "in", tmp_path / "s")
    (tmp_path / "in" / "song21_a_Imputed.mat").write_text("x")
    with pytest.raises(DataError, match=r"found 1 other files \(song21_a_Imputed\.mat\)"):
        ingest(tmp_path / "in", tmp_path / "s")
    with pytest.raises(DataError, match="--audio .*: expected a folder of sound files, found nothing"):
        ingest(tmp_path / "in", tmp_path / "s", audio=tmp_path / "none")
    with pytest.raises(ParameterError, match="--max-mismatch"):
        ingest(tmp_path / "in", tmp_path / "s", max_mismatch=-1)


# ---------------------------------------------------------------- interrupted


def test_an_interrupted_ingest_continues(source, tmp_path, monkeypatch):
    whole = store.open(ingest(source, tmp_path / "whole").store)
    real, seen = store.Writer.add_recording, []

    def stop_at_three(self, recording, *args, **more):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(recording)
        real(self, recording, *args, **more)

    monkeypatch.setattr(store.Writer, "add_recording", stop_at_three)
    with pytest.raises(KeyboardInterrupt):
        ingest(source, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    first, seen[:] = list(seen), [None] * 4
    report = ingest(source, tmp_path / "s")
    assert first == ["S02_song21", "S03_song21", "S02_song22"]
    assert seen[4:] == ["S03_song22"]
    assert store.open(report.store).fingerprint == whole.fingerprint
    with pytest.raises(ParameterError, match="is already a store"):
        ingest(source, tmp_path / "s")
    assert ingest(source, tmp_path / "s", overwrite=True).n_recordings == 4


def test_a_file_changed_after_an_interruption_is_read_again(source, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.Writer, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            ingest(source, tmp_path / "s")
    data = eeg_uv(99)
    write_song(source, 21, data=data)
    write_sound(source / "audio" / "song22.wav", seed=99, sr=22050)
    opened = store.open(ingest(source, tmp_path / "s").store)
    np.testing.assert_allclose(opened.eeg("S02_song21"), data[:, :, 0] * 1e-6, rtol=1e-6)
    y, _ = soundfile.read(source / "audio" / "song22.wav", dtype="float32")
    np.testing.assert_allclose(opened.audio("song22")[0], y, atol=1e-4)
