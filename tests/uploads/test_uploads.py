"""Tests of uploads: what is sent is heard, what should not be sent is refused in words, and nothing stays on the disk."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import _upload_folders, _upload_types, eeg_files, evaluation, reconstruction, training, uploads
from eegviz import store as stores
from eegviz.errors import DataError, ParameterError
from tests import eeg_files as files
from tests.conftest import make_tiny_store

from .cases import SMALL, snapshot

RECORDING = "S01_song21_r1"
HOSTILE = [
    "../../etc/passwd", "..\\..\\windows\\system32\\x.edf", "/etc/passwd", "C:\\x.edf", "a\0b.edf", "\0", "", ".", "..", "/", "\\",
    "x" * 5000 + ".edf", "x/" * 500, "a\nb.edf", "a\rb", "\x1b[31mred.edf", "\u202efde.exe", "\u200b\u200b", "con", "NUL.edf",
    "<script>alert(1)</script>.edf", "<img src=x onerror=alert(1)>.fif", '"><svg onload=alert(1)>', "'; DROP TABLE x; --",
    "$(touch /tmp/pwned).edf", "`id`.edf", "| id", "; rm -rf ~", "-rf", "--help", "%2e%2e%2fetc", "%00.edf", "{{7*7}}", "${7*7}",
    "\ud800.edf", "ｆｕｌｌ/ｗｉｄｔｈ.edf", "a\u0301" * 200, "😀" * 100 + ".edf", "recording.vhdr", "owner.json", "~/.ssh/id_rsa",
    "file:///etc/passwd",
]  # fmt: skip


EDF = files.edf(*files.some_eeg())


# ---------------------------------------------------------------- receiving


def test_a_file_lies_under_a_name_of_our_own_only_while_the_session_lasts(root):
    with uploads.Session(root) as session:
        upload = session.receive("my brain.edf", EDF)
        assert (upload.name, upload.kind, upload.n_bytes, upload.notes) == ("my brain.edf", "EDF", len(EDF), ())
        assert upload.path.read_bytes() == EDF
        assert upload.path.parent.parent == session.folder
        assert "brain" not in str(upload.path.relative_to(root))
        assert session.folder.stat().st_mode & 0o077 == 0
        assert uploads.usage(session.folder) == (len(EDF), 1)
    assert snapshot(root) == []
    session.close()


@pytest.mark.parametrize("stream", [io.BytesIO, lambda data: iter([data[:1000], data[1000:]]), bytearray, memoryview])
def test_bytes_arrive_in_any_way(session, stream):
    assert session.receive("a.edf", stream(EDF)).path.read_bytes() == EDF


def test_an_oversize_file(refused):
    refused(
        "a.edf",
        EDF + bytes(2**20),
        r"a\.edf: at most 1 MB a file are accepted, found 1\.01 MB or more\. Cut the recording",
    )


def test_a_stream_is_stopped_at_the_limit(session, root):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield bytes(2**18)

    before = snapshot(root)
    with pytest.raises(DataError, match="at most 1 MB a file are accepted, found 1\\.25 MB or more"):
        session.receive("a.edf", endless())
    assert len(taken) == 5
    assert snapshot(root) == before


def test_a_stream_that_breaks_leaves_nothing(session, root):
    def broken():
        yield EDF[:1000]
        raise ConnectionResetError("gone")

    before = snapshot(root)
    with pytest.raises(ConnectionResetError):
        session.receive("a.edf", broken())
    assert snapshot(root) == before
    with pytest.raises(ParameterError, match="bytes, a binary file or an iterable"):
        session.receive("a.edf", "text")


def test_a_file_comes_in_parts(session, root):
    before = snapshot(root)
    with session.begin("a.edf") as arrival:
        for at in range(0, len(EDF), 3000):
            arrival.write(EDF[at : at + 3000])
        upload = arrival.finish()
    assert upload.path.read_bytes() == EDF
    with pytest.raises(DataError, match="was finished or refused already"):
        arrival.write(b"more")
    uploads.remove(upload)
    with session.begin("a.edf") as arrival:
        arrival.write(EDF[:3000])  # and then the browser is closed
    assert snapshot(root) == before
    arrival = session.begin("a.edf")
    arrival.write(bytes(2**20))
    with pytest.raises(DataError, match="at most 1 MB a file"):
        arrival.write(b"x")
    assert snapshot(root) == before
    with pytest.raises(DataError, match="was finished or refused already"):
        arrival.finish()


def test_a_full_disk_is_told(session, root, monkeypatch):
    def full(self, *more):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = snapshot(root)
    with monkeypatch.context() as patched:
        patched.setattr(uploads._upload_folders, "usage", full)
        with pytest.raises(DataError, match="the disk of the server is full"):
            session.receive("a.edf", EDF)
    assert snapshot(root) == before


def test_too_many_files(session, refused):
    kept = [session.receive(f"{i}.edf", EDF) for i in range(3)]
    refused("4.edf", EDF, r"4\.edf: a session holds at most 3 files, found 3 already\. Remove one")
    uploads.remove(kept[0])
    session.receive("4.edf", EDF)


def test_too_many_bytes_of_a_session_and_of_a_server(session, root, refused):
    big = files.edf(*files.some_eeg(seconds=400))
    session.receive("1.edf", big)
    refused("2.edf", big, r"2\.edf: your session may hold 1\.5 MB of files, 0\.7\d+ MB are taken and 0\.7")
    with uploads.Session(root, limits=SMALL) as second:
        second.receive("2.edf", big)
        with uploads.Session(root, limits=SMALL) as third:
            refused("3.edf", big, "all sessions of this server may hold 2 MB .* Remove a file, or try", session=third)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_never_a_path(session, root, name):
    upload = session.receive(name, EDF)
    assert upload.path.resolve().is_relative_to(session.folder.resolve())
    assert upload.path.name == "recording.edf"
    assert all("/" not in one and "\\" not in one for one in [upload.name])
    assert len(upload.name) <= 80
    assert upload.name.isprintable()
    assert not (root.parent / "etc").exists()
    uploads.remove(upload)
    with pytest.raises(DataError, match="expected FIF"):
        session.receive(name, b"nothing of the kind")
    assert uploads.usage(root)[1] == 0


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_name_is_short_printable_text(name):
    text = _upload_types.shown(name)
    assert 0 < len(text) <= 80
    assert text.isprintable()
    assert not set(text) & set("/\\\0")
    assert text not in (".", "..")
    assert _upload_types.shown(text) == text
    text.encode()


# ---------------------------------------------------------------- units, listeners


def test_values_that_can_only_be_microvolts_are_taken_so(session):
    eeg, sfreq, names = files.some_eeg()
    upload = session.receive("a.edf", files.edf(eeg, sfreq, names).replace(b"uV      ", b"V       "))
    made = uploads.read(upload)
    assert np.median(made.eeg.std(axis=1)) == pytest.approx(5e-6, rel=0.1)
    assert (
        "values taken as uV: as V, which such a file should hold, their median spread would be 4.98e+06 µV"
        in made.notes[0]
    )
    with pytest.raises(ParameterError, match="unit 'kV': expected one of auto, V"):
        uploads.read(upload, unit="kV")
    with pytest.raises(DataError, match="found none: their median is .* when the values are taken as V. Is it EEG"):
        uploads.read(upload, unit="V")


def test_a_listener_of_several(root):
    data = files.mat(
        np.random.default_rng(0).normal(0, 5e-6, (125, 300)), 125.0, [f"E{i}" for i in range(1, 125)] + ["Cz"]
    )
    with uploads.Session(root) as session:
        upload = session.receive("song21_Imputed.mat", data)
        second = uploads.read(upload, listener="S03")
        assert second.listeners == ("S02", "S03")
        assert second.notes == (
            "listener S03 of the file; it also has S02",
            "values taken as uV, as in the original files",
        )
        assert second.eeg[0].std() == pytest.approx(5e-6, rel=0.2)
        with pytest.raises(DataError, match="no listener 'S99'; it has S02, S03"):
            uploads.read(upload, listener="S99")


# ---------------------------------------------------------------- folders


def test_only_a_sessions_folder_is_written_to_or_removed(tmp_path, root):
    other = tmp_path / "photographs"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"x")
    for refuse in (lambda: uploads.discard(other), lambda: uploads.receive(other, "a.edf", EDF)):
        with pytest.raises(DataError, match="expected the folder of an upload session, found none"):
            refuse()
    assert (other / "a.jpg").exists()
    (tmp_path / "link").symlink_to(other)
    with pytest.raises(ParameterError, match="found a link or someone else's"):
        uploads.Session(tmp_path / "link")
    uploads.discard(root / "gone")


def test_a_forgotten_session_leaves_nothing(root):
    session = uploads.Session(root)
    session.receive("a.edf", EDF)
    del session
    assert snapshot(root) == []


def test_a_killed_servers_folders_go_at_the_next_start(root):
    code = f"""
        import os, signal
        from eegviz import _upload_folders
        folder = _upload_folders.make({str(root)!r})
        (folder / "0a1b").mkdir()
        (folder / "0a1b" / "recording.edf").write_bytes(bytes(1000))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -signal.SIGKILL
    assert uploads.usage(root) == (1000, 1)
    with uploads.Session(root) as alive:
        alive.receive("b.edf", EDF)
        assert uploads.sweep(root) == 1
        assert [one.name for one in root.iterdir()] == [alive.folder.name]
        assert uploads.sweep(root, max_age_s=0) == 1
    assert uploads.sweep(root / "never") == 0
    assert snapshot(root) == []


def test_what_is_stale(root, monkeypatch):
    session = uploads.Session(root)
    note = session.folder / "owner.json"
    owner = json.loads(note.read_text())
    note.write_text(json.dumps(owner | {"host": "elsewhere", "pid": 1}))
    assert uploads.sweep(root) == 0  # on a shared disk only the age tells
    note.write_text(json.dumps(owner | {"started": 1}))
    assert uploads.sweep(root) == 1  # another process has the number of the one that made it
    session = uploads.Session(root)
    (session.folder / "owner.json").write_text("{")
    assert uploads.sweep(root) == 0  # perhaps about to be written
    os.utime(session.folder, (time.time() - 99, time.time() - 99))
    assert uploads.sweep(root) == 1
    assert _upload_folders.default_root().name.startswith("eegviz-uploads-")


# ---------------------------------------------------------------- from file to sound


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A linear decoder of the net's 125 channels: one run on hearings, one on listeners, both judged."""
    folder = tmp_path_factory.mktemp("trained")
    store = stores.open(
        make_tiny_store(folder / "store", n_subjects=4, n_songs=1, n_hearings=2, seconds=12, n_channels=125)
    )
    made = {}
    for split in ("repeat", "subject:50"):
        config = training.configure(store, model="ridge", preset="fast", split=split, precision="float32")
        made[split.partition(":")[0]] = training.train(store, config, out=folder / "runs", progress=False)
    evaluation.evaluate(made["subject"], store=store)
    return store, made


@pytest.mark.parametrize(
    ("kind", "atol"),
    [
        ("fif", 1e-5),
        ("edf", 5e-3),
        pytest.param("bdf", 1e-4, marks=pytest.mark.slow),
        ("brainvision", 1e-5),
        ("mat", 1e-5),
    ],
)
def test_a_recording_sounds_the_same_in_every_format(trained, root, kind, atol):
    store, made = trained
    run = made["repeat"]
    expected = reconstruction.reconstruct(run, RECORDING, start=2, duration=3, store=store, windows=run.windows(store))
    with uploads.Session(root) as session:
        upload = session.receive(files.FORMATS[kind], files.export(store, RECORDING, kind))
        matched = uploads.match(uploads.read(upload), run, store=store)
        found = uploads.reconstruct(matched, run, start=2, duration=3)
    assert matched.interpolated == ()
    np.testing.assert_allclose(found.pictures, expected.pictures, atol=atol)
    assert found.sr == expected.sr == 22050
    assert np.corrcoef(found.sound, expected.sound)[0, 1] > 0.999
    assert found.notes == matched.notes
    assert snapshot(root) == []


def test_the_verdict_for_an_unknown_listener(trained, tmp_path):
    store, made = trained
    own = uploads.unknown_listener(made["subject"])
    assert own.is_own
    assert own.text.startswith("For listeners it never met, this run was judged: ")
    assert "chance" in own.text
    assert "for other music nothing is known" in own.text.lower()
    other = uploads.unknown_listener(made["repeat"])
    assert not other.is_own
    assert other.run.path == made["subject"].path
    assert "split repeat, where the listeners of the test are also in training" in other.text
    assert "The same model, judged on listeners it never met" in other.text
    alone = uploads.unknown_listener(made["repeat"], tmp_path)
    assert alone.run is None
    assert "is not known" in alone.text


def test_too_short_for_what_was_asked(trained):
    store, made = trained
    recording = eeg_files.Recording(
        np.array(store.eeg(RECORDING)), 125.0, tuple(store.ch_names(RECORDING)), name="P01.edf"
    )
    matched = uploads.match(recording, made["repeat"], store=store)
    with pytest.raises(ParameterError, match=r"P01\.edf has 12\.0 s; 20 s from second 0 are not all there"):
        uploads.reconstruct(matched, made["repeat"], duration=20)
