"""Tests of the reader of DEAP's raw recordings: BioSemi files of two sites, whose channels stand in different orders."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest

from eegviz import datasets, store
from eegviz.datasets import _deap_raw, deap, demo_deap
from eegviz.errors import DataError

CHANNELS_OF = {"Twente": _deap_raw.TWENTE, "Geneva": _deap_raw.CHANNELS}


def write_bdf(path, values, names, status, *, sfreq, status_name="Status"):
    """A BioSemi file: 24-bit numbers, channels of µV at 1/32 a step and a status channel, records of one second."""
    n_records = values.shape[1] // sfreq
    names = [*names, status_name]
    fields = (
        (16, names), (80, [""] * len(names)), (8, ["uV"] * len(values) + ["Boolean"]),
        (8, [-262144] * len(values) + [-8388608]), (8, [262143] * len(values) + [8388607]),
        (8, [-8388608] * len(names)), (8, [8388607] * len(names)), (80, [""] * len(names)), (8, [sfreq] * len(names)),
        (32, [""] * len(names)),
    )  # fmt: skip
    head = (
        b"\xffBIOSEMI"
        + b" " * 160
        + b"01.01.1110.00.00"
        + f"{256 * (len(names) + 1):<8}".encode()
        + f"{'24BIT':<44}".encode()
    )
    head += f"{n_records:<8}{1:<8}{len(names):<4}".encode()
    head += b"".join(f"{item!s:<{width}}".encode() for width, items in fields for item in items)
    digital = np.concatenate([np.rint(values * 32), np.asarray(status)[None]]).astype("<i4")
    digital = digital[:, : n_records * sfreq].reshape(len(names), n_records, sfreq).swapaxes(0, 1)
    path.write_bytes(head + np.ascontiguousarray(digital).view(np.uint8).reshape(-1, 4)[:, :3].tobytes())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The simulation that the raw files are made of."""
    path = tmp_path_factory.mktemp("deap") / "python"
    return demo_deap.write_files(path, n_subjects=2, n_videos=3, duration=5, progress=False)


@pytest.fixture
def raw(files, tmp_path):
    """Listener 1 of Twente and listener 23 of Geneva, as raw files of 128 Hz; the third, unnamed status of BioSemi."""
    folder = tmp_path / "raw"
    shutil.copytree(files, folder, ignore=shutil.ignore_patterns("*.dat"))
    (folder / "data_original").mkdir()
    table = pd.read_csv(folder / "metadata_csv" / "participant_ratings.csv")
    table.loc[table["Participant_id"] == 2, "Participant_id"] = 23
    table.to_csv(folder / "metadata_csv" / "participant_ratings.csv", index=False)
    made = {}
    for number, written in ((1, 1), (2, 23)):
        path = files / "data_preprocessed_python" / f"s{number:02d}.dat"
        data = pickle.loads(path.read_bytes(), encoding="latin1")["data"][:, :32]
        order = table[table["Participant_id"] == written].sort_values("Trial")["Experiment_id"].tolist()
        gap = np.tile(data[:1, :, :128], (1, 1, 2))[0]
        parts, codes = [gap], [np.full(256, 2)]
        for video in order:
            trial = data[video - 1]
            parts += [trial, gap]
            codes += [np.full(384, 3), np.full(trial.shape[1] - 384, 4), np.full(256, 5)]
        values, status = np.concatenate(parts, axis=1), np.concatenate(codes)
        if written == 23:
            status = status + 0xFF00  # bits that BioSemi sets
        names = CHANNELS_OF[_deap_raw.site(written)]
        values = (
            values[[deap.CHANNELS.index(name) for name in names]] + 5000 * np.arange(32)[:, None]
        )  # electrode offsets
        extra = 50 * np.random.default_rng(0).normal(size=(3, values.shape[1]))
        write_bdf(
            folder / "data_original" / f"s{written:02d}.bdf", np.concatenate([values, extra]),
            [*names, "EXG1", "GSR1", "Temp"], status, sfreq=128, status_name="Status" if written == 1 else "",
        )  # fmt: skip
        made[written] = data
    return folder, made


def test_raw_channels_by_name_and_trials_by_the_table(raw, tmp_path):
    folder, made = raw
    report = datasets.ingest("deap", folder, tmp_path / "s", baseline=True)
    assert report.problems == []
    assert not any("order" in line for line in report.warnings)
    opened = store.open(report.store)
    assert opened.manifest["about"]["unit"] == "values taken as V"
    rows = opened.recordings.set_index("recording")
    assert len(rows) == 12
    for number, data in made.items():
        for video in (1, 2, 3):
            name = f"S{number:02d}_video{video:02d}"
            eeg = opened.eeg(name)
            assert tuple(opened.ch_names(name)) == deap.CHANNELS
            assert eeg.shape == (32, 5 * 128)
            expected = data[video - 1, :, 384:]
            found = 1e6 * (eeg - np.median(eeg, axis=1, keepdims=True))
            np.testing.assert_allclose(found, expected - np.median(expected, axis=1, keepdims=True), atol=0.06)
            before = opened.eeg(f"{name}_silence")
            assert before.shape == (32, 384)
            assert 1 <= rows.loc[name, "valence"] <= 9
    assert set(rows["site"]) == {"simulated"}


def test_raw_failures(raw, tmp_path):
    folder, _ = raw
    path = folder / "data_original" / "s23.bdf"
    shutil.copy(folder / "data_original" / "s01.bdf", path)  # a file of Twente under a number of Geneva
    report = datasets.ingest("deap", folder, tmp_path / "s")
    assert any("not in the order of Geneva's recordings" in line for line in report.warnings)
    path.write_bytes(path.read_bytes().replace(b"PO3             ", b"XYZ             ", 1))
    report = datasets.ingest("deap", folder, tmp_path / "t")
    assert "expected the 32 EEG channels of DEAP by name, found no PO3" in report.problems[0]
    table = folder / "metadata_csv" / "participant_ratings.csv"
    rows = pd.read_csv(table)
    rows[~((rows["Participant_id"] == 1) & (rows["Trial"] == 3))].to_csv(table, index=False)
    with pytest.raises(DataError, match=r"expected 2 starts of videos \(code 4 in Status\).*found 3"):
        datasets.ingest("deap", folder, tmp_path / "u")
    table.unlink()
    with pytest.raises(DataError, match=r"expected participant_ratings\.csv beside the \.bdf files"):
        datasets.ingest("deap", folder, tmp_path / "v")


def test_the_channel_orders_are_those_of_the_documents_table():
    """Its columns of numbers, Geneva's place of Twente's channels and the other way round."""
    to_geneva = [_deap_raw.CHANNELS.index(name) + 1 for name in _deap_raw.TWENTE]
    to_twente = [_deap_raw.TWENTE.index(name) + 1 for name in _deap_raw.CHANNELS]
    printed_first = [1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 16, 13, 14, 15, 32, 31, 29, 30, 27, 28, 25, 26, 22, 23, 20,
                     21, 18, 17, 19, 24]  # fmt: skip
    printed_second = [1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 15, 16, 13, 30, 29, 31, 27, 28, 25, 26, 32, 23, 24, 21,
                      22, 19, 20, 18, 17]  # fmt: skip
    assert to_geneva == printed_first
    assert to_twente == printed_second
    biosemi = store.make_montage("biosemi32").ch_names
    assert set(biosemi) == set(_deap_raw.CHANNELS) == set(_deap_raw.TWENTE)
