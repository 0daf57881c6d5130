"""Tests of the store: what is written comes back, a killed writer leaves no half store, damage is found."""

import json
import os
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eegviz import store
from eegviz.errors import DataError, ParameterError

HEAD = {"dataset": "x", "title": "X", "licence": "CC0", "citation": "none"}
NAMES = ["E1", "E2", "Cz"]


def eeg_of(seed, n_times=250):
    return np.random.default_rng(seed).normal(0, 1e-5, (len(NAMES), n_times))


def fill(writer, recordings=("S01_song01", "S02_song01")):
    if not writer.has_stimulus("song01"):
        writer.add_stimulus("song01", np.linspace(-1, 1, 22050), sr=22050, title="One", artist="1999", bpm=120.5)
    for index, name in enumerate(recordings):
        if not writer.has_recording(name):
            writer.add_events(name, [0.5, 1.0], ["tick", "tock"])
            writer.add_recording(
                name, eeg_of(index), subject=name[:3], stimulus="song01", sfreq=125, ch_names=NAMES, bads=["E2"]
            )


def write(path, body, **more):
    with store.create(path, **HEAD, **more) as writer:
        body(writer)


def interrupt(path, *names, **more):
    def body(writer):
        fill(writer, names)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, body, **more)


def make(path, **more):
    with store.create(path, **HEAD, montage="GSN-HydroCel-129", **more) as writer:
        fill(writer)
    return store.open(path)


# ---------------------------------------------------------------- round trip


def test_what_is_written_comes_back(tmp_path):
    opened = make(tmp_path / "s", about={"note": "n"})
    assert list(opened.recordings["recording"]) == ["S01_song01", "S02_song01"]
    assert tuple(opened.recordings.columns) == store.RECORDING_COLUMNS
    row = opened.row("S02_song01")
    assert row == {
        "recording": "S02_song01", "subject": "S02", "stimulus": "song01", "condition": "listening", "repeat": 1,
        "session": "", "sfreq": 125.0, "n_channels": 3, "n_times": 250, "start": 0.0,
    }  # fmt: skip
    eeg = opened.eeg("S01_song01")
    assert isinstance(eeg, np.memmap)
    assert not eeg.flags.writeable
    np.testing.assert_array_equal(eeg, eeg_of(0).astype(np.float32))
    y, sr = opened.audio("song01")
    assert (y.dtype, y.shape, sr) == (np.float32, (22050,), 22050)
    np.testing.assert_allclose(y, np.linspace(-1, 1, 22050), atol=1 / 32768)
    assert opened.stimuli.iloc[0].to_dict() == {
        "stimulus": "song01", "title": "One", "sr": 22050, "n_samples": 22050, "duration": 1.0, "artist": "1999",
        "bpm": 120.5,
    }  # fmt: skip
    assert opened.ch_names("S01_song01") == NAMES
    assert opened.bads("S01_song01") == ["E2"]
    assert opened.montage == "GSN-HydroCel-129"
    assert opened.manifest["about"] == {"note": "n"}
    assert opened.manifest["simulated"] is False
    assert store.verify(tmp_path / "s") == []
    assert not list(tmp_path.glob("*.partial"))
    assert not (tmp_path / "s" / "journal.jsonl").exists()


def test_raw_has_volts_montage_bads_and_annotations(tmp_path, capfd):
    raw = make(tmp_path / "s").raw("S01_song01")
    np.testing.assert_array_equal(raw.get_data(), eeg_of(0).astype(np.float32))
    assert raw.info["sfreq"] == 125
    assert raw.info["bads"] == ["E2"]
    assert raw.get_montage().ch_names == NAMES
    assert np.all(np.isfinite(raw.get_montage().get_positions()["ch_pos"]["E1"]))
    assert list(raw.annotations.onset) == [0.5, 1.0]
    assert list(raw.annotations.description) == ["tick", "tock"]
    assert raw.get_channel_types() == ["eeg"] * 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["standard_1005", "standard_1020", "biosemi64", "GSN-HydroCel-129"])
def test_stable_montage_names(name):
    assert "Cz" in store.make_montage(name).ch_names


def test_unknown_montage():
    with pytest.raises(ParameterError, match="unknown montage 'nope'.*GSN-HydroCel-129"):
        store.make_montage("nope")


def test_ids_and_text_stay_text(tmp_path):
    with store.create(tmp_path / "s", **HEAD) as writer:
        for name in ("01", "NA", "1e5", "Ü 1"):
            writer.add_stimulus(name, np.zeros(10), sr=100, title="007")
            writer.add_recording(
                name, np.ones((1, 5)), subject="002", stimulus=name, sfreq=5, ch_names=["1"], session="03", code="04"
            )
        writer.add_table(
            "participants", pd.DataFrame({"subject": ["002", "nan"], "age": [31, None], "ok": [True, False]})
        )
    opened = store.open(tmp_path / "s")
    assert list(opened.recordings["recording"]) == ["01", "NA", "1e5", "Ü 1"]
    assert set(opened.recordings["subject"]) == {"002"}
    assert set(opened.recordings["session"]) == {"03"}
    assert set(opened.recordings["code"]) == {"04"}
    assert set(opened.stimuli["title"]) == {"007"}
    assert opened.eeg("Ü 1").shape == (1, 5)
    table = opened.table("participants")
    assert list(table["subject"]) == ["002", "nan"]
    assert table["age"].dtype == float
    assert np.isnan(table["age"][1])
    assert table["ok"].dtype == bool
    mine = opened.recordings
    mine.loc[0, "subject"] = "changed"  # a copy
    assert opened.recordings["subject"][0] == "002"


def test_layouts_are_shared_and_may_differ(tmp_path):
    with store.create(tmp_path / "s", **HEAD) as writer:
        for name, names in (("a", ["E1", "E2"]), ("b", ["Cz"]), ("c", ["E1", "E2"])):
            writer.add_recording(name, np.ones((len(names), 9)), subject="S", sfreq=float(len(names)), ch_names=names)
    opened = store.open(tmp_path / "s")
    assert opened.ch_names("c") == ["E1", "E2"]
    assert opened.ch_names("b") == ["Cz"]
    assert len(json.loads((tmp_path / "s" / "channels.json").read_text())["layouts"]) == 2


def test_fingerprint_is_of_the_content(tmp_path):
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 64
    with store.create(tmp_path / "c", **HEAD, montage="GSN-HydroCel-129") as writer:
        fill(writer, ("S01_song01",))
    assert store.open(tmp_path / "c").fingerprint != first.fingerprint


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_id_round_trips_or_is_refused(tmp_path, data):
    name = data.draw(st.text(max_size=12))
    path = tmp_path / f"s{time.monotonic_ns()}"
    with store.create(path, **HEAD) as writer:
        writer.add_recording("fine", np.ones((1, 3)), subject="S", sfreq=1, ch_names=["Cz"])
        try:
            writer.add_recording(name, np.full((1, 3), 2.0), subject="S", sfreq=1, ch_names=["Cz"])
        except ParameterError:
            name = None
    opened = store.open(path)
    assert len(opened.recordings) == (1 if name is None else 2)
    if name is not None:
        assert opened.recordings["recording"][1] == name
        assert opened.eeg(name)[0, 0] == 2
    assert store.verify(path) == []


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "a\\b", "/etc/passwd", " a", "a ", ".hidden", "end.", "a:b", "CON", "com1.x",
     "x" * 201, "é" * 101, "tab\t", "nul\0", "line\n", "\ud800"],
)  # fmt: skip
def test_hostile_ids_are_refused(tmp_path, name):
    with store.create(tmp_path / "s", **HEAD) as writer:
        writer.add_recording("fine", np.ones((1, 3)), subject="S", sfreq=1, ch_names=["Cz"])
        with pytest.raises(ParameterError, match=r"cannot be used as an id|control characters|not valid Unicode"):
            writer.add_recording(name, np.ones((1, 3)), subject="S", sfreq=1, ch_names=["Cz"])
        with pytest.raises(ParameterError):
            writer.add_stimulus(name, np.zeros(9), sr=9)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["s"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eeg": np.ones(9)}, r"expected real numbers \(n_channels, n_times\), found float64 \(9,\)"),
        ({"eeg": np.ones((1, 0))}, "expected real numbers"),
        ({"eeg": np.ones((1, 9)) * 1j}, "expected real numbers"),
        ({"eeg": np.full((1, 9), np.nan)}, "channel Cz holds 9 values that are not finite"),
        ({"eeg": np.full((1, 9), 1e300)}, "not finite"),
        ({"ch_names": ["a", "b"]}, "expected 1 different channel names, found 2"),
        ({"bads": ["Pz"]}, r"bads \['Pz'\] are not among"),
        ({"condition": "sleep"}, "unknown condition 'sleep'; expected one of listening, imagery"),
        ({"sfreq": 0}, "expected sfreq > 0"),
        ({"start": np.inf}, "finite start"),
        ({"repeat": 1.5}, "whole number as repeat"),
        ({"n_times": 3}, "fills the columns n_times itself"),
        ({"extra": [1]}, "column extra must be text or a number"),
        ({"recording": 3}, "must be a str"),
    ],
)
def test_wrong_recordings_are_refused(tmp_path, change, message):
    given = {
        "recording": "a", "eeg": np.ones((1, 9)), "subject": "S", "sfreq": 3, "ch_names": ["Cz"], **change,
    }  # fmt: skip
    with store.create(tmp_path / "s", **HEAD) as writer:
        with pytest.raises(ParameterError, match=message):
            writer.add_recording(given.pop("recording"), given.pop("eeg"), **given)
        writer.add_stimulus("x", np.zeros(9), sr=9)
    assert len(store.open(tmp_path / "s").recordings) == 0
    assert store.verify(tmp_path / "s") == []


@pytest.mark.parametrize(
    ("audio", "sr", "message"),
    [
        (np.zeros((2, 9)), 9, r"mono array of real numbers \(n,\), found float64 \(2, 9\)"),
        (np.zeros(0), 9, "mono array"),
        (np.full(9, 1.5), 9, "found a peak of 1.5; divide by the peak"),
        (np.full(9, np.nan), 9, r"expected values in \[-1, 1\]"),
        (np.zeros(9), 22050.5, "whole rate"),
    ],
)
def test_wrong_sounds_are_refused(tmp_path, audio, sr, message):
    with store.create(tmp_path / "s", **HEAD) as writer:
        with pytest.raises(ParameterError, match=message):
            writer.add_stimulus("x", audio, sr=sr)
        fill(writer)


def test_doubles_and_case_are_refused(tmp_path):
    with store.create(tmp_path / "s", **HEAD) as writer:
        fill(writer)
        with pytest.raises(ParameterError, match="'S01_song01' was added already"):
            writer.add_recording("S01_song01", eeg_of(0), subject="S01", sfreq=125, ch_names=NAMES)
        with pytest.raises(ParameterError, match="differ only in case"):
            writer.add_recording("s01_SONG01", eeg_of(0), subject="S01", sfreq=125, ch_names=NAMES)
        with pytest.raises(ParameterError, match="writes the table 'events' itself"):
            writer.add_table("events", pd.DataFrame({"a": [1]}))
        with pytest.raises(ParameterError, match="2 onsets, 2 durations, 1 labels"):
            writer.add_events("S01_song01", [0, 1], ["a"])


def test_what_is_named_must_have_been_added(tmp_path):
    def without_stimulus(writer):
        writer.add_recording("r", np.ones((1, 3)), subject="S", stimulus="gone", sfreq=1, ch_names=["Cz"])

    def without_recording(writer):
        fill(writer)
        writer.add_events("typo", [0], ["a"])

    with pytest.raises(ParameterError, match="name stimuli that were not added: gone"):
        write(tmp_path / "a", without_stimulus)
    with pytest.raises(ParameterError, match="events of recordings that were not added: typo"):
        write(tmp_path / "b", without_recording)
    with pytest.raises(ParameterError, match="nothing was added"):
        write(tmp_path / "c", lambda writer: None)
    assert not (tmp_path / "c.partial").exists()


def test_unknown_names_show_near_ones(tmp_path):
    opened = make(tmp_path / "s")
    for call in (opened.eeg, opened.raw, opened.row, opened.ch_names, opened.bads):
        with pytest.raises(ParameterError, match="no recording 'S01_song02'; it has 2, such as S01_song01"):
            call("S01_song02")
    with pytest.raises(ParameterError, match="no stimulus"):
        opened.audio("../manifest")
    with pytest.raises(ParameterError, match="no table 'ratings'; it has 3, such as"):
        opened.table("ratings")


def test_opening_what_is_no_store(tmp_path):
    with pytest.raises(DataError, match="is not a store: expected a folder with manifest.json, found nothing"):
        store.open(tmp_path / "none")
    with pytest.raises(DataError, match="found a folder without it"):
        store.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        store.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format_version": 99}')
    with pytest.raises(DataError, match="expected format version 1, found 99"):
        store.open(tmp_path)


# ---------------------------------------------------------------- replacing


def test_a_finished_store_is_not_overwritten_by_accident(tmp_path):
    first = make(tmp_path / "s").fingerprint
    with pytest.raises(ParameterError, match="is already a store"):
        store.create(tmp_path / "s", **HEAD)
    interrupt(tmp_path / "s", "S09_song01", overwrite=True)
    assert store.open(tmp_path / "s").fingerprint == first  # the old one is there until the end
    with store.create(tmp_path / "s", **HEAD, overwrite=True) as writer:
        assert writer.resumed
        fill(writer, ("S09_song01",))
    assert list(store.open(tmp_path / "s").recordings["recording"]) == ["S09_song01"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["s"]
    assert store.verify(tmp_path / "s") == []


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ParameterError, match="exists and is not a store"):
            store.create(tmp_path / "thesis", **HEAD, overwrite=overwrite)
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "mine.txt").write_text("x")
    with pytest.raises(ParameterError, match="stands in the way"):
        write(tmp_path / "new", fill)
    assert (tmp_path / "new.partial" / "mine.txt").exists()
    (tmp_path / "empty").mkdir()
    assert len(make(tmp_path / "empty").recordings) == 2


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path):
    first = make(tmp_path / "s").fingerprint
    os.rename(tmp_path / "s", tmp_path / "s.old")
    with pytest.raises(DataError, match=r"s\.old is the store that was being replaced"):
        store.open(tmp_path / "s")
    with pytest.raises(ParameterError, match="is already a store"):
        store.create(tmp_path / "s", **HEAD)
    assert store.open(tmp_path / "s").fingerprint == first
