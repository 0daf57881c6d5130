"""Stores whose writing was interrupted, and stores whose files were damaged."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eegviz import store
from eegviz.errors import DataError
from tests.test_store import HEAD, eeg_of, fill, interrupt, make, write

# ---------------------------------------------------------------- interrupted

CHILD = """
    import sys, time
    import numpy as np
    from eegviz import store
    with store.create(sys.argv[1], dataset="x", title="X", licence="CC0", citation="none",
                      identity={"source": sys.argv[2]}) as writer:
        print("resumed" if writer.resumed else "fresh", flush=True)
        for index in range(40):
            name = f"S{index:02d}"
            if writer.has_recording(name):
                continue
            writer.add_events(name, [0.0], ["go"])
            writer.add_recording(name, np.full((20, 20000), 1e-6 * (index + 1)), subject=name, sfreq=100,
                                 ch_names=[str(i) for i in range(20)])
            print("wrote", name, flush=True)
"""


def run_child(path, *, source="a", kill_after=None):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path), source], stdout=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if kill_after is not None and len(lines) > kill_after:
            time.sleep(0.004 * (kill_after % 5))  # somewhere within the next file
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    code = process.wait()
    return code, lines


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_writer_leaves_no_half_store_and_continues(tmp_path):
    code, whole = run_child(tmp_path / "whole")
    assert code == 0
    reference = store.open(tmp_path / "whole").fingerprint
    seen = set()
    for kill_after in (1, 7, 4, 8):
        code, lines = run_child(tmp_path / "s", kill_after=kill_after)
        assert code == -signal.SIGKILL
        assert lines[0] == ("resumed" if seen else "fresh")
        assert not seen & set(lines[1:])  # nothing is done twice
        seen |= set(lines[1:])
        assert not (tmp_path / "s").exists()
        with pytest.raises(DataError, match="unfinished ingest: run the same ingest again"):
            store.open(tmp_path / "s")
    code, lines = run_child(tmp_path / "s")
    assert code == 0
    assert lines[0] == "resumed"
    assert not seen & set(lines[1:])
    assert len(lines) < len(whole)
    assert store.open(tmp_path / "s").fingerprint == reference
    assert store.verify(tmp_path / "s") == []
    assert sorted(item.name for item in tmp_path.iterdir()) == ["s", "whole"]


@pytest.mark.parametrize(
    "other", [{"identity": {"source": "b"}}, {"identity": {"source": "a"}, "montage": "biosemi64"}, {"about": {"n": 1}}]
)
def test_a_partial_of_another_identity_is_not_mixed_in(tmp_path, other):
    interrupt(tmp_path / "s", "S01_song01", identity={"source": "a"})
    with store.create(tmp_path / "s", **HEAD, **other) as writer:
        assert not writer.resumed
        assert not writer.has_recording("S01_song01")
        fill(writer, ("S07_song01",))
    assert list(store.open(tmp_path / "s").recordings["recording"]) == ["S07_song01"]
    assert store.verify(tmp_path / "s") == []


def test_a_torn_journal_and_a_damaged_file_are_done_again(tmp_path):
    interrupt(tmp_path / "s", "S01_song01", "S02_song01", "S03_song01")
    partial = tmp_path / "s.partial"
    journal = (partial / "journal.jsonl").read_bytes()
    (partial / "journal.jsonl").write_bytes(journal[:-40])  # the last line was being written
    with (partial / "eeg" / "S01_song01.npy").open("r+b") as handle:
        handle.seek(200)
        handle.write(b"\xff")
    (partial / "eeg" / "S04_song01.npy.tmp").write_bytes(b"half")
    with store.create(tmp_path / "s", **HEAD) as writer:
        assert writer.resumed
        assert [writer.has_recording(f"S0{n}_song01") for n in (1, 2, 3)] == [False, True, False]
        fill(writer, ("S01_song01", "S02_song01", "S03_song01"))
    np.testing.assert_array_equal(store.open(tmp_path / "s").eeg("S01_song01"), eeg_of(0).astype(np.float32))
    assert store.verify(tmp_path / "s") == []


def test_a_changed_source_is_read_again(tmp_path):
    def body(writer):
        writer.add_recording("r", np.ones((1, 3)), subject="S", sfreq=1, ch_names=["Cz"], stamp="old")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", body)
    with store.create(tmp_path / "s", **HEAD) as writer:
        assert writer.has_recording("r", stamp="old")
        assert not writer.has_recording("r", stamp="new")
        writer.add_recording("r", np.full((1, 3), 2.0), subject="S", sfreq=1, ch_names=["Cz"], stamp="new")
    assert store.open(tmp_path / "s").eeg("r")[0, 0] == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no advisory locks")
def test_two_writers_of_one_store(tmp_path):
    with store.create(tmp_path / "s", **HEAD) as writer:
        fill(writer)
        with pytest.raises(DataError, match="is being written by another process"):
            write(tmp_path / "s", fill)
    assert store.verify(tmp_path / "s") == []


def test_a_full_disk_keeps_what_is_done(tmp_path, monkeypatch):
    import eegviz._store_writer as writing

    def full(*_):
        raise OSError(28, "No space left on device")

    def body(writer):
        fill(writer, ("S01_song01",))
        monkeypatch.setattr(writing.os, "replace", full)
        fill(writer, ("S02_song01",))

    with pytest.raises(store.WriteError, match="cannot be written.*No space left"):
        write(tmp_path / "s", body)
    monkeypatch.undo()
    with store.create(tmp_path / "s", **HEAD) as writer:
        assert writer.has_recording("S01_song01")
        assert not writer.has_recording("S02_song01")


# ---------------------------------------------------------------- damage


def test_verify_finds_missing_changed_and_extra_files(tmp_path):
    path = tmp_path / "s"
    make(path)
    (path / "eeg" / "S01_song01.npy").unlink()
    file = path / "eeg" / "S02_song01.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with (path / "stimuli.csv").open("a") as handle:
        handle.write("more\n")
    (path / "eeg" / "notes.txt").write_text("x")
    (path / "cache").mkdir()
    (path / "cache" / "features.npy").write_text("made from the store")
    assert store.verify(path) == [
        "eeg/S01_song01.npy is missing",
        "eeg/S02_song01.npy was changed: its sha-256 differs from the manifest's",
        f"stimuli.csv has {(path / 'stimuli.csv').stat().st_size} bytes, "
        f"expected {(path / 'stimuli.csv').stat().st_size - 5}",
        "eeg/notes.txt does not belong to the store",
    ]
    with pytest.raises(DataError, match=r"S01_song01\.npy cannot be read"):
        store.open(path).eeg("S01_song01")


def test_verify_finds_a_changed_manifest(tmp_path):
    make(tmp_path / "s", simulated=True)
    file = tmp_path / "s" / "manifest.json"
    file.write_text(file.read_text().replace('"simulated": true', '"simulated": false'))
    assert [line[:46] for line in store.verify(tmp_path / "s")] == ["manifest.json was changed after it was written"]
    assert store.verify(tmp_path)[0].endswith("make one with `eegviz ingest` or `eegviz demo`")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_is_found(tmp_path, data):
    path = tmp_path / "s"
    if not path.exists():
        make(path)
    file = data.draw(st.sampled_from(sorted(item for item in path.rglob("*") if item.is_file())))
    whole = file.read_bytes()
    at, flip = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
    try:
        problems = store.verify(path)
    finally:
        file.write_bytes(whole)
    same_json = file.name == "manifest.json" and not problems  # one kind of white space became another
    assert problems or same_json


@pytest.mark.parametrize("name", ["channels.json", "recordings.csv", "stimuli.csv", "eeg/S01_song01.npy"])
@pytest.mark.parametrize("cut", [0, 1, 30, 0.5])
def test_truncated_files_give_a_clear_error(tmp_path, name, cut):
    make(tmp_path / "s")
    file = tmp_path / "s" / name
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * cut) if isinstance(cut, float) else cut])

    def read_all():
        opened = store.open(tmp_path / "s")
        opened.audio("song01")
        return [opened.eeg(recording) for recording in opened.recordings["recording"]]

    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        read_all()
