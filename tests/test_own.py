"""Tests of the reader of own recordings: FIF, BrainVision and EDF files, and a table."""

import numpy as np
import pytest
import soundfile

from eegviz import datasets, store
from eegviz.errors import DataError, ParameterError

NAMES = ["Fp1", "Fz", "Cz", "Pz", "Oz"]
SFREQ, SECONDS = 100.0, 12


def make_raw(seed=0, *, names=NAMES, sfreq=SFREQ, seconds=SECONDS, extra=(), onsets=()):
    import mne

    eeg = np.random.default_rng(seed).normal(0, 8e-6, (len(names) + len(extra), int(sfreq * seconds)))
    types = ["eeg"] * len(names) + [kind for _, kind in extra]
    info = mne.create_info([*names, *(name for name, _ in extra)], sfreq, types, verbose=False)
    raw = mne.io.RawArray(eeg, info, verbose=False)
    if onsets:
        raw.set_annotations(mne.Annotations(onsets, [0.5] * len(onsets), [f"e{i}" for i in range(len(onsets))]))
    return raw


def save_fif(path, **more):
    raw = make_raw(**more)
    path.parent.mkdir(exist_ok=True, parents=True)
    raw.save(path, overwrite=True, verbose=False)
    return raw.get_data()


def save_brainvision(stem, eeg_uv, *, names, sfreq, markers=()):
    """Write the header, the markers and the samples (float32, multiplexed), as the recorder does."""
    stem.parent.mkdir(exist_ok=True, parents=True)
    channels = "\n".join(f"Ch{i}={name},,1,µV" for i, name in enumerate(names, 1))
    stem.with_suffix(".vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={stem.name}.eeg\nMarkerFile={stem.name}.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(names)}\nSamplingInterval={1e6 / sfreq:g}\n\n[Binary Infos]\n"
        f"BinaryFormat=IEEE_FLOAT_32\n\n[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    rows = "\n".join(f"Mk{i}=Stimulus,{label},{at + 1},1,0" for i, (label, at) in enumerate(markers, 1))
    stem.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={stem.name}.eeg\n\n[Marker Infos]\n{rows}\n",
        encoding="utf-8",
    )
    np.ascontiguousarray(eeg_uv.T, "<f4").tofile(stem.with_suffix(".eeg"))


def save_sound(path, *, seconds=10, sr=22050, seed=0):
    path.parent.mkdir(exist_ok=True, parents=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).normal(size=int(seconds * sr)).clip(-4, 4), sr)


def save_table(path, *rows, header="recording,eeg,audio,subject,start"):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    save_sound(tmp_path / "in" / "sounds" / "waltz.wav")
    return tmp_path / "in"


# ---------------------------------------------------------------- what comes out


def test_one_recording(folder, tmp_path, capfd):
    eeg = save_fif(folder / "eeg" / "p1_eeg.fif", onsets=(2.0, 6.0), extra=(("EOG", "eog"), ("STI", "stim")))
    table = save_table(
        folder / "t.csv",
        "01,eeg/p1_eeg.fif,sounds/waltz.wav,P01,0,listening,2,morning,left",
        header="recording,eeg,audio,subject,start,condition,repeat,session,hand",
    )
    report = datasets.ingest("own", table, tmp_path / "s")
    assert (report.n_recordings, report.n_skipped) == (1, 0)
    assert report.warnings == [f"{folder / 'eeg' / 'p1_eeg.fif'} (01): 2.00 s after the sound ends cut off"]
    opened = store.open(report.store)
    assert opened.row("01") == {
        "recording": "01", "subject": "P01", "stimulus": "waltz", "condition": "listening", "repeat": 2,
        "session": "morning", "sfreq": 100.0, "n_channels": 5, "n_times": 1000, "start": 0.0, "eeg_file": "p1_eeg.fif",
        "hand": "left",
    }  # fmt: skip
    np.testing.assert_allclose(opened.eeg("01"), eeg[:5, :1000], rtol=1e-5)
    assert opened.ch_names("01") == NAMES
    assert opened.montage == "biosemi16"
    assert list(opened.raw("01").annotations.onset) == [2.0, 6.0]
    assert opened.audio("waltz")[0].shape == (220500,)
    assert store.verify(report.store) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("start", "kept", "new_start", "first_event"),
    [(-2.5, 950, 0.0, 1.5), (0.0, 1000, 0.0, 4.0), (3.25, 675, 3.25, 4.0), (-2.504, 949, 0.006, 1.49)],
)
def test_start_says_where_in_the_sound_the_file_begins(folder, tmp_path, start, kept, new_start, first_event):
    eeg = save_fif(folder / "p_raw.fif", onsets=(4.0,))
    table = save_table(folder / "t.csv", f"a,p_raw.fif,sounds/waltz.wav,P,{start}")
    opened = store.open(datasets.ingest("own", table, tmp_path / "s").store)
    row = opened.row("a")
    assert (row["n_times"], row["start"]) == (kept, pytest.approx(new_start, abs=1e-9))
    first = round((new_start - start) * SFREQ)
    np.testing.assert_allclose(opened.eeg("a"), eeg[:, first : first + kept], rtol=1e-5)
    assert opened.table("events")["onset"][0] == pytest.approx(first_event, abs=1e-6)


def test_a_piece_in_several_versions_is_held_out_whole(folder, tmp_path):
    from eegviz import audit, splits, windowing

    save_fif(folder / "p_raw.fif")
    rows = []
    for index, (name, piece) in enumerate([("live", "x"), ("studio", "x"), ("other", "y"), ("alone", "")]):
        save_sound(folder / "sounds" / f"{name}.wav", seed=index, seconds=12)
        rows.append(f"P_{name},p_raw.fif,sounds/{name}.wav,P,0,{piece}")
    table = save_table(folder / "t.csv", *rows, header="recording,eeg,audio,subject,start,piece")
    opened = store.open(datasets.ingest("own", table, tmp_path / "s").store)
    assert opened.stimuli.set_index("stimulus")["piece"].to_dict() == {
        "alone": "", "live": "x", "other": "y", "studio": "x",
    }  # fmt: skip
    assert "piece" not in opened.recordings
    seconds = windowing.windows(opened).table
    assert (
        seconds.groupby("stimulus")["piece"].first().to_dict()
        == opened.stimuli.set_index("stimulus")["piece"].to_dict()
    )
    made = splits.split(seconds, "song:live")
    assert set(seconds["stimulus"].iloc[made.test]) == {"live", "studio"}
    assert audit.audit(seconds, made).leaks == []


def test_formats_rates_and_channels_may_differ(folder, tmp_path):
    save_fif(folder / "a_raw.fif")
    eeg_uv = np.random.default_rng(1).normal(0, 8, (3, 3000))
    save_brainvision(folder / "b", eeg_uv, names=["Cz", "C3", "C4"], sfreq=250, markers=[("S  1", 500)])
    table = save_table(
        folder / "recordings.csv",
        "a,a_raw.fif,sounds/waltz.wav,P1,0,listening,1",
        "b,b.vhdr,sounds/waltz.wav,P2,0,imagery,1",
        "rest,a_raw.fif,,P1,0,silence,1",
        header="recording,eeg,audio,subject,start,condition,repeat",
    )
    report = datasets.ingest("own", table.parent, tmp_path / "s")
    assert report.problems == []
    opened = store.open(report.store)
    assert list(opened.recordings["sfreq"]) == [100, 250, 100]
    assert list(opened.recordings["condition"]) == ["listening", "imagery", "silence"]
    assert list(opened.recordings["stimulus"]) == ["waltz", "waltz", ""]
    assert opened.ch_names("b") == ["Cz", "C3", "C4"]
    np.testing.assert_allclose(opened.eeg("b"), eeg_uv[:, :2500] * 1e-6, rtol=1e-5)
    events = opened.table("events")
    assert (events["recording"][0], events["onset"][0], events["label"][0]) == ("b", 2.0, "Stimulus/S  1")
    assert len(opened.stimuli) == 1
    assert opened.row("rest")["n_times"] == 1200


@pytest.mark.parametrize(
    ("names", "montage"),
    [(["E1", "E2", "Cz"], "GSN-HydroCel-32"), (["E100", "E124", "Cz"], "GSN-HydroCel-129"), (["FZ", "cz"], "biosemi16"),
     (["A1", "A2", "B32"], "biosemi64"), (["TPP9h", "Cz"], "standard_1005"), (["mine", "Cz"], None)],
)  # fmt: skip
def test_montage_is_the_smallest_that_fits(folder, tmp_path, names, montage):
    save_fif(folder / "a_raw.fif", names=names)
    table = save_table(folder / "t.csv", "a,a_raw.fif,sounds/waltz.wav,P,0")
    opened = store.open(datasets.ingest("own", table, tmp_path / "s").store)
    assert opened.montage == montage or (montage == "biosemi64" and opened.montage == "biosemi128")
    assert opened.raw("a").ch_names == names


def test_bads_of_the_file_and_found_ones(folder, tmp_path):
    raw = make_raw(names=[f"E{n}" for n in range(1, 21)])
    raw._data[3] = 0
    raw.info["bads"] = ["E2"]
    raw.save(folder / "a_raw.fif", verbose=False)
    table = save_table(folder / "t.csv", "a,a_raw.fif,sounds/waltz.wav,P,0")
    report = datasets.ingest("own", table, tmp_path / "s")
    assert store.open(report.store).bads("a") == ["E2", "E4"]
    assert any("marked bad" in line and "E4" in line for line in report.warnings)


def test_title_and_licence(folder, tmp_path):
    save_fif(folder / "a_raw.fif")
    table = save_table(folder / "t.csv", "a,a_raw.fif,sounds/waltz.wav,P,0")
    report = datasets.ingest("own", table, tmp_path / "s", title="Waltzes", licence="CC0", citation="me")
    manifest = store.open(report.store).manifest
    assert [manifest[key] for key in ("dataset", "title", "licence", "citation")] == ["own", "Waltzes", "CC0", "me"]


def test_the_command_lines_defaults_are_accepted(folder, tmp_path):
    save_fif(folder / "a_raw.fif")
    table = save_table(folder / "t.csv", "a,a_raw.fif,waltz.wav,P,0")
    options = {"unit": "auto", "max_mismatch": 2.0, "offsets": None, "overwrite": False}
    assert datasets.ingest("own", table, tmp_path / "s", audio=folder / "sounds", **options).n_recordings == 1
    with pytest.raises(ParameterError, match="own does not take max_mismatch"):
        datasets.ingest("own", table, tmp_path / "s", max_mismatch=3.0)


def test_a_spreadsheets_csv(folder, tmp_path):
    save_fif(folder / "Ärger raw.fif")
    table = folder / "t.csv"
    table.write_text(
        "\ufeffrecording, eeg, audio, subject, start\r\n007, Ärger raw.fif, sounds/waltz.wav, 02, 0\r\n",
        encoding="utf-8",
    )
    opened = store.open(datasets.ingest("own", table, tmp_path / "s").store)
    assert opened.row("007")["subject"] == "02"


# ---------------------------------------------------------------- what is refused, and says so


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,none_raw.fif,sounds/waltz.wav,P,0", r"line 3: .*none_raw\.fif: expected the file of the column eeg, found"),
        (
            "b,a_raw.fif,sounds/none.wav,P,0",
            r"line 3: .*none\.wav: expected the file of the column audio, found nothing",
        ),
        ("b,sounds,sounds/waltz.wav,P,0", "expected the file of the column eeg, found a folder"),
        ("b,text.fif,sounds/waltz.wav,P,0", r"text\.fif: expected an EEG file that mne.io.read_raw opens"),
        ("b,cut_raw.fif,sounds/waltz.wav,P,0", r"cut_raw\.fif"),
        ("b,stim_raw.fif,sounds/waltz.wav,P,0", r"stim_raw\.fif: expected EEG channels, found only stim"),
        ("b,flat_raw.fif,sounds/waltz.wav,P,0", r"flat_raw\.fif \(b\): expected EEG, found 5 of 5 channels constant"),
        ("b,big_raw.fif,sounds/waltz.wav,P,0", r"taken as V; if the file is in uV, pass --unit uV"),
        ("b,nan_raw.fif,sounds/waltz.wav,P,0", r"expected finite numbers, found NaN or infinity in Fz"),
        ("b,a_raw.fif,text.wav,P,0", r"text\.wav: expected a sound file that libsndfile reads"),
        ("b,a_raw.fif,sounds/waltz.wav,P,99", r"expected at least 1 s of EEG while the sound plays, found 0.00 s"),
        ("b,a_raw.fif,sounds/waltz.wav,P,-99", r"while the sound plays, found 0.00 s; check start"),
        ("b,a_raw.fif,sounds/waltz.wav,P,now", r"line 3: expected seconds in the column start, found 'now'"),
        ("b,a_raw.fif,,P,3", r"line 3: start=3, but there is no sound"),
        ("b,a_raw.fif,sounds/waltz.wav,,0", r"line 3: expected a recording and a subject, found an empty field"),
        ("../b,a_raw.fif,sounds/waltz.wav,P,0", r"line 3: recording '../b' cannot be used as an id"),
        ("b,a_raw.fif,sounds/waltz.wav,../P,0", r"line 3: subject '../P' cannot be used as an id"),
        ("A,a_raw.fif,sounds/waltz.wav,P,0", r"line 3: recording 'A' and 'a' differ only in case"),
    ],
)
@pytest.mark.filterwarnings("ignore:This filename:RuntimeWarning")
def test_a_wrong_row_is_left_out(folder, tmp_path, row, message):
    save_fif(folder / "a_raw.fif")
    (folder / "text.fif").write_text("no EEG" * 99)
    (folder / "text.wav").write_text("no sound" * 99)
    data = (folder / "a_raw.fif").read_bytes()
    (folder / "cut_raw.fif").write_bytes(data[: len(data) // 2])
    save_fif(folder / "stim_raw.fif", names=[], extra=(("STI", "stim"),))
    for name, change in (("flat", lambda x: 0), ("big", lambda x: x * 1e6), ("nan", None)):
        raw = make_raw()
        if change is None:
            raw._data[1, 5] = np.nan
        else:
            raw._data[:] = change(raw._data)
        raw.save(folder / f"{name}_raw.fif", verbose=False)
    table = save_table(folder / "t.csv", "a,a_raw.fif,sounds/waltz.wav,P,0", row)
    report = datasets.ingest("own", table, tmp_path / "s")
    assert (report.n_recordings, report.n_skipped) == (1, 1)
    with pytest.raises(DataError, match=message):
        raise DataError(report.problems[0])
    assert store.verify(report.store) == []


def test_a_wrong_repeat_and_condition(folder, tmp_path):
    save_fif(folder / "a_raw.fif")
    table = save_table(
        folder / "t.csv",
        "a,a_raw.fif,sounds/waltz.wav,P,0,listening,1",
        "b,a_raw.fif,sounds/waltz.wav,P,0,asleep,1",
        "c,a_raw.fif,sounds/waltz.wav,P,0,listening,one",
        header="recording,eeg,audio,subject,start,condition,repeat",
    )
    report = datasets.ingest("own", table, tmp_path / "s")
    assert report.n_skipped == 2
    assert "line 3" in report.problems[0]
    assert "unknown condition 'asleep'; expected one of listening, imagery" in report.problems[0]
    assert "line 4: expected a whole number in the column repeat, found 'one'" in report.problems[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a CSV file with the columns recording,eeg,audio,subject,start, found: No columns"),
        (
            "recording;eeg;audio\n1;2;3\n",
            "found no column recording, eeg, audio, subject, start among recording;eeg;audio",
        ),
        ("recording,eeg,audio,subject,start\n", "expected one row a recording, found none"),
        ("recording,eeg,audio,subject,start\na,x.fif,,P,0\na,x.fif,,P,0\n", "line 3: the recording 'a' was named in"),
        (
            "recording,eeg,audio,subject,start\na,x.fif,1/w.wav,P,0\nb,x.fif,2/w.wav,P,0\n",
            "would both be the stimulus 'w'",
        ),
        (
            "recording,eeg,audio,subject,start,piece\na,x.fif,w.wav,P,0,one\nb,x.fif,w.wav,P,0,two\n",
            "the sound 'w' is of the piece 'two' here and of 'one' before; expected one piece a sound",
        ),
        ("recording,eeg,audio,subject,start\na,x.fif,,P,0\n", "(?s)no recording could be read.*found nothing"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        datasets.ingest("own", tmp_path / "t.csv", tmp_path / "s")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["t.csv"]


def test_no_table(tmp_path):
    with pytest.raises(DataError, match=r"recordings\.csv: expected a CSV file .*, found nothing"):
        datasets.ingest("own", tmp_path, tmp_path / "s")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        datasets.ingest("own", tmp_path / "t.csv", tmp_path / "s")


# ---------------------------------------------------------------- real EEG


@pytest.fixture
def real(shared_data):
    """Ten trials of 50 s of a real listener: (trials, channels, times), with the scale of the file."""
    with np.load(shared_data / "speech_eeg" / "listener01.npz", allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    eeg = next(value for name, value in arrays.items() if "eeg" in name)
    eeg = eeg if eeg.ndim == 3 else eeg[np.newaxis]
    return np.moveaxis(eeg, 2, 1) if eeg.shape[2] < eeg.shape[1] else eeg


def test_real_eeg_as_fif_and_brainvision(real, tmp_path):
    import mne

    names = mne.channels.make_standard_montage("biosemi64").ch_names
    trial = np.asarray(real[0], float)
    trial_uv = trial / np.median(trial.std(axis=1)) * 10  # the published arrays are standardised
    raw = mne.io.RawArray(trial_uv * 1e-6, mne.create_info(names, 64.0, "eeg", verbose=False), verbose=False)
    (tmp_path / "in").mkdir()
    raw.save(tmp_path / "in" / "a_raw.fif", verbose=False)
    save_brainvision(tmp_path / "in" / "b", trial_uv, names=names, sfreq=64)
    save_sound(tmp_path / "in" / "talk.wav", seconds=50, sr=16000)
    table = save_table(tmp_path / "in" / "t.csv", "a,a_raw.fif,talk.wav,L1,0", "b,b.vhdr,talk.wav,L1,0")
    report = datasets.ingest("own", table, tmp_path / "s")
    assert (report.n_recordings, report.problems) == (2, [])
    opened = store.open(report.store)
    assert opened.montage == "biosemi64"
    assert opened.row("a")["n_times"] == opened.row("b")["n_times"] == 3200
    np.testing.assert_allclose(opened.eeg("a"), trial_uv * 1e-6, rtol=1e-4, atol=1e-11)
    np.testing.assert_allclose(opened.eeg("b"), opened.eeg("a"), rtol=1e-4, atol=1e-11)
    assert opened.bads("a") == opened.bads("b")
