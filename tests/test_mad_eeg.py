"""Tests of the MAD-EEG reader on small files in the exact layout, whole and damaged."""

import h5py
import numpy as np
import pytest
import yaml

from eegviz import datasets, store
from eegviz.datasets import mad_eeg
from eegviz.errors import DataError, ParameterError

SECONDS, SFREQ, SR = 6, 256, 44100
CHANNELS = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz",
            "Pz", "Oz"]  # fmt: skip
STIMULI = (
    "pop_mixtape_duo_GtVx_theme1_stereo_Gt",
    "pop_mixtape_duo_GtVx_theme1_stereo_Vx",
    "classique_trio_Co_theme2 Co",
)

DUO = "pop_mixtape_duo_GtVx_theme1_stereo"


def response(listener, stimulus, seconds=SECONDS):
    seed = [int(listener), STIMULI.index(stimulus)]
    return np.random.default_rng(seed).normal(0, 9, (20, seconds * SFREQ))


def sound(stimulus, seconds=SECONDS):
    """A tone to the left, another to the right; both duos have the same."""
    time = np.arange(seconds * SR) / SR
    pitch = 330 if "duo" in stimulus else 500
    return 0.5 * np.stack([np.sin(2 * np.pi * pitch * time), np.sin(2 * np.pi * 2 * pitch * time)])


def facts(stimulus, **eeg_info):
    return {
        "target": stimulus[-2:], "instruments": ["Gt", "Vx"], "ensemble": "duo", "genre": "pop", "song": "mixtape",
        "theme": 1, "spatial": "stereo", "eeg_info": {"sfreq": SFREQ, "ch_names": CHANNELS} | eeg_info,
        "wav_info": {"sfreq": SR},
    }  # fmt: skip


def write(folder, *, listeners=("0001", "0003"), stimuli=STIMULI, about=True, change=None, **eeg_info):
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "madeeg_preprocessed.hdf5", "w") as file:
        for listener in listeners:
            for stimulus in stimuli:
                group = file.create_group(f"{listener}/{stimulus}")
                values = {"response": response(listener, stimulus), "stimulus": sound(stimulus)}
                values["soli"] = np.zeros((3, 10))
                for key, value in (values | (change or {})).items():
                    if value is not None:
                        group[key] = value
    if about:
        content = {listener: {stimulus: facts(stimulus, **eeg_info) for stimulus in stimuli} for listener in listeners}
        (folder / "madeeg_preprocessed.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mad")
    report = datasets.ingest("mad-eeg", write(folder / "in"), folder / "s")
    return report, store.open(report.store)


def test_recordings(read):
    report, opened = read
    assert (report.problems, report.warnings) == ([], [])
    assert store.verify(opened.path) == []
    assert len(opened.recordings) == 6
    assert opened.manifest["licence"] == "CC BY-SA 4.0"
    for listener in ("0001", "0003"):
        for stimulus in STIMULI:
            row = opened.row(f"{listener}_{stimulus.replace(' ', '-')}")
            assert (row["subject"], row["sfreq"], row["n_times"]) == (listener, 256.0, SECONDS * SFREQ)
            assert row["target"] == stimulus[-2:]
            eeg = opened.eeg(row["recording"])  # volts
            np.testing.assert_allclose(eeg, 1e-6 * response(listener, stimulus), rtol=1e-6)


def test_channels_and_montage(read):
    opened = read[1]
    assert opened.ch_names(f"0001_{STIMULI[0]}") == CHANNELS
    assert opened.montage == "biosemi32"


def test_stimuli_are_the_mean_of_both_sides(read):
    opened = read[1]
    assert opened.stimuli["stimulus"].tolist() == ["classique_trio_Co_theme2-Co", DUO]
    y, sr = opened.audio(DUO)
    assert (len(y), sr) == (SECONDS * 22050, 22050)
    time = np.arange(len(y)) / sr
    expected = 0.25 * (np.sin(2 * np.pi * 330 * time) + np.sin(2 * np.pi * 660 * time))
    np.testing.assert_allclose(y[500:-500], expected[500:-500], atol=3e-4)
    row = opened.stimuli.set_index("stimulus").loc[DUO]
    assert (row["instruments"], row["genre"]) == ("Gt Vx", "pop")


def test_the_same_mixture_with_another_target_is_the_same_stimulus(read):
    table = read[1].recordings.set_index(["subject", "trial"])
    for listener in ("0001", "0003"):
        pair = table.loc[[(listener, STIMULI[0]), (listener, STIMULI[1])]]
        assert pair["stimulus"].tolist() == [DUO] * 2
        assert pair["repeat"].tolist() == [1, 2]
        assert pair["target"].tolist() == ["Gt", "Vx"]


def test_without_the_yaml_file(tmp_path):
    report = datasets.ingest("mad-eeg", write(tmp_path / "in", about=False, stimuli=STIMULI[:1]), tmp_path / "s")
    opened = store.open(report.store)
    assert opened.montage is None
    assert opened.ch_names(f"0001_{STIMULI[0]}")[:2] == ["EEG001", "EEG002"]
    assert any("no madeeg_preprocessed.yaml beside it" in line for line in report.warnings)


def test_sounds_of_one_name_that_differ(tmp_path):
    folder = write(tmp_path / "in", stimuli=STIMULI[:1])
    with h5py.File(folder / "madeeg_preprocessed.hdf5", "r+") as file:
        file[f"0003/{STIMULI[0]}/stimulus"][:, :1000] = 0
    report = datasets.ingest("mad-eeg", folder, tmp_path / "s")
    opened = store.open(report.store)
    assert opened.stimuli["stimulus"].tolist() == [DUO, f"{DUO}_0003"]
    assert opened.stimuli["piece"].tolist() == ["pop mixtape"] * 2
    assert any("differs from an earlier one of this name" in line for line in report.warnings)


def test_a_killed_ingest_continues(tmp_path, monkeypatch, read):
    write(tmp_path / "in")
    original, calls = store.Writer.add_recording, []

    def stop(self, *args, **kwargs):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(args)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(store.Writer, "add_recording", stop)
    with pytest.raises(KeyboardInterrupt):
        datasets.ingest("mad-eeg", tmp_path / "in", tmp_path / "s")
    monkeypatch.undo()
    datasets.ingest("mad-eeg", tmp_path / "in", tmp_path / "s")
    assert store.open(tmp_path / "s").fingerprint == read[1].fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response": None}, "expected response and stimulus, found soli, stimulus"),
        ({"response": np.ones((900, 20))}, r"channel × time \(20, M\), found \(900, 20\), which is time × channel"),
        ({"stimulus": np.zeros(9)}, r"expected stimulus as stereo sound \(2, N\), found \(9,\)"),
        ({"stimulus": np.zeros((2, SR * SECONDS))}, "expected a sound in stimulus, found silence"),
        ({"response": np.random.default_rng(0).normal(0, 1e-6, (20, 1536))}, "pass --unit V"),
        ({"stimulus": sound("duo", 9)}, "6.00 s of EEG and 9.00 s of sound differ by 3.00 s"),
        ({"response": np.full((20, 1536), np.nan)}, "found NaN or infinity"),
    ],
)
def test_damaged_trials(tmp_path, change, message):
    folder = write(tmp_path / "in", listeners=("0001",), stimuli=STIMULI[:1], change=change)
    with pytest.raises(DataError, match=message):
        datasets.ingest("mad-eeg", folder, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_the_yaml_file_says_must_fit(tmp_path):
    folder = write(tmp_path / "a", listeners=("0001",), stimuli=STIMULI[:1], ch_names=CHANNELS[:3])
    with pytest.raises(DataError, match="20 rows of response and 3 ch_names"):
        datasets.ingest("mad-eeg", folder, tmp_path / "s")
    folder = write(tmp_path / "b", listeners=("0001",), stimuli=STIMULI[:1], sfreq="fast")
    with pytest.raises(DataError, match="expected eeg_info: sfreq as a rate in Hz.*found 'fast'"):
        datasets.ingest("mad-eeg", folder, tmp_path / "s")
    for text, message in (("[1, 2]", "expected listener: stimulus: facts, found list"), ("a: [", "expected YAML")):
        (folder / "madeeg_preprocessed.yaml").write_text(text)
        with pytest.raises(DataError, match=message):
            datasets.ingest("mad-eeg", folder, tmp_path / "s")


def test_what_is_missing_and_damaged_files(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(
        DataError, match="expected madeeg_preprocessed.hdf5, found no file; get them from https://doi.org"
    ):
        datasets.ingest("mad-eeg", tmp_path / "in", tmp_path / "s")
    with pytest.raises(DataError, match="nowhere: expected the folder of the data set, found nothing"):
        datasets.ingest("mad-eeg", tmp_path / "nowhere", tmp_path / "s")
    file = tmp_path / "in" / "madeeg_preprocessed.hdf5"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="expected an HDF5 file, found 19 other bytes"):
        datasets.ingest("mad-eeg", tmp_path / "in", tmp_path / "s")
    write(tmp_path / "in", stimuli=STIMULI[:1])
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(DataError, match="is damaged or incomplete: expected an HDF5 file, found"):
        datasets.ingest("mad-eeg", tmp_path / "in", tmp_path / "s")
    with h5py.File(file, "w") as made:
        made["x"] = np.zeros(3)
    with pytest.raises(DataError, match="expected groups listener / stimulus, found x"):
        datasets.ingest("mad-eeg", tmp_path / "in", tmp_path / "s")


def test_ids():
    assert mad_eeg._identifier("classique trio/Co.") == "classique-trio-Co"


def test_mixtures_of_one_song_are_one_piece(read, tmp_path):
    pieces = read[1].stimuli.set_index("stimulus")["piece"]
    assert set(pieces) == {"pop mixtape"}  # genre and song of the YAML file
    from eegviz import splits, windowing

    table = windowing.windows(read[1], cache=tmp_path).table
    with pytest.raises(ParameterError, match="all songs of the table .* are versions of one piece"):
        splits.split(table, f"song:{DUO}")


def test_trials_of_one_sound_that_end_at_different_times_share_it(tmp_path):
    folder = write(tmp_path / "in", stimuli=STIMULI[:1])
    with h5py.File(folder / "madeeg_preprocessed.hdf5", "r+") as file:
        short = file[f"0001/{STIMULI[0]}/response"][:, : 5 * SFREQ]
        del file[f"0001/{STIMULI[0]}/response"]
        file[f"0001/{STIMULI[0]}/response"] = short
    report = datasets.ingest("mad-eeg", folder, tmp_path / "s")
    opened = store.open(report.store)
    assert opened.stimuli["stimulus"].tolist() == [DUO]
    assert opened.stimuli["duration"].tolist() == [SECONDS]
    assert opened.recordings["n_times"].tolist() == [5 * SFREQ, SECONDS * SFREQ]
    (line,) = report.warnings
    assert "5.00 s of EEG and 6.00 s of sound: the trial ends at 5.00 s" in line


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "x"])
def test_a_mismatch_that_is_none(tmp_path, value):
    folder = write(tmp_path / "in", listeners=("0001",), stimuli=STIMULI[:1])
    with pytest.raises(ParameterError, match="--max-mismatch .*: expected seconds ≥ 0"):
        datasets.ingest("mad-eeg", folder, tmp_path / "s", max_mismatch=value)


def test_fields_of_the_yaml_file_that_were_left_blank(tmp_path):
    folder = write(tmp_path / "in", listeners=("0001",), stimuli=STIMULI[:1])
    blank = facts(STIMULI[0]) | {"instruments": None, "target": None, "genre": None}
    (folder / "madeeg_preprocessed.yaml").write_text(yaml.safe_dump({"0001": {STIMULI[0]: blank}}))
    report = datasets.ingest("mad-eeg", folder, tmp_path / "s")
    assert report.problems == []
    opened = store.open(report.store)
    row = opened.stimuli.iloc[0]
    assert (row["instruments"], row["piece"]) == ("", "mixtape")
    assert opened.recordings["target"].tolist() == [""]
