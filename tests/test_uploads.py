"""Tests of uploads: what is sent is heard, what should not be sent is refused in words, and nothing stays on the disk."""

import errno
import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import _upload_folders, _upload_types, eeg_files, evaluation, reconstruction, training, uploads
from eegviz import store as stores
from eegviz.datasets import _child
from eegviz.errors import DataError, ParameterError
from tests import eeg_files as files
from tests.conftest import make_tiny_store

RECORDING = "S01_song21_r1"
SMALL = uploads.Limits(file_bytes=2**20, session_files=3, session_bytes=3 * 2**20 // 2, server_bytes=2 * 2**20)
HOSTILE = [
    "../../etc/passwd", "..\\..\\windows\\system32\\x.edf", "/etc/passwd", "C:\\x.edf", "a\0b.edf", "\0", "", ".", "..", "/", "\\",
    "x" * 5000 + ".edf", "x/" * 500, "a\nb.edf", "a\rb", "\x1b[31mred.edf", "\u202efde.exe", "\u200b\u200b", "con", "NUL.edf",
    "<script>alert(1)</script>.edf", "<img src=x onerror=alert(1)>.fif", '"><svg onload=alert(1)>', "'; DROP TABLE x; --",
    "$(touch /tmp/pwned).edf", "`id`.edf", "| id", "; rm -rf ~", "-rf", "--help", "%2e%2e%2fetc", "%00.edf", "{{7*7}}", "${7*7}",
    "\ud800.edf", "ｆｕｌｌ/ｗｉｄｔｈ.edf", "a\u0301" * 200, "😀" * 100 + ".edf", "recording.vhdr", "owner.json", "~/.ssh/id_rsa",
    "file:///etc/passwd",
]  # fmt: skip


def snapshot(folder):
    """Every file below a folder and its size."""
    return sorted((str(one.relative_to(folder)), one.lstat().st_size) for one in folder.rglob("*"))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "uploads"


@pytest.fixture
def session(root):
    with uploads.Session(root, limits=SMALL) as made:
        yield made


@pytest.fixture
def refused(session, root):
    """Receive and read what must be refused, and see that nothing of it stays."""

    def refuse(name, data, message, *, session=session):
        before = snapshot(root)
        with pytest.raises(DataError, match=message) as caught:
            uploads.read(session.receive(name, data))
        assert snapshot(root) == before
        text = str(caught.value)
        assert str(root) not in text
        assert "\n" not in text
        return text

    return refuse


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


# ---------------------------------------------------------------- the type


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.edf", b"", "found an empty file, although its name says EDF. Export"),
        ("a.fif", b"Dear diary, today I", "found text that begins 'Dear diary, today I', although its name says FIF"),
        (
            "a.mat",
            b"RIFF\x00\x00\x00\x00WAVEfmt ",
            r"found a sound or video \(RIFF\), although its name says MATLAB\. The EEG is",
        ),
        ("a.bdf", b"\x89PNG\r\n\x1a\n" + bytes(99), r"found a picture \(PNG\), although its name says BDF"),
        (
            "a.vhdr",
            b"Brain Vision Data Exchange Header File Version 1.0",
            "Send .vhdr, .eeg and .vmrk together as one zip",
        ),
        ("a.fif.gz", b"\x1f\x8b\x08" + bytes(99), "a file packed with gzip. Unpack it first"),
        ("a.zip", bytes(500), "500 bytes that begin with zeros, although its name says zip"),
        ("a.exe", b"MZ\x90\x00", "found a program. The EEG is wanted here"),
        ("a", b"\x80\x04\x95cos\nsystem", "a pickle, which could run a program. Export the recording as FIF"),
        ("a.edf", b"\x93NUMPY\x01\x00", "a NumPy array, although its name says EDF. Export"),
    ],
)
def test_a_right_name_with_a_wrong_content(refused, name, data, message):
    refused(name, data, message)


@pytest.mark.parametrize(
    ("name", "note"), [("a.txt", "its name does not say so"), ("a.mat", "its name says MATLAB, its content is EDF")]
)
def test_a_wrong_name_with_a_right_content(session, name, note):
    upload = session.receive(name, EDF)
    assert upload.kind == "EDF"
    assert note in upload.notes[0]
    assert uploads.read(upload).eeg.shape == (8, 500)


# ---------------------------------------------------------------- zips


def zipped(**changes):
    return files.zipped(
        files.brainvision(*files.some_eeg()) | {name.replace("_", "."): data for name, data in changes.items()}
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (files.bad_bomb(2**24), "the zip would unpack to 16 MB, at most 1 MB are accepted"),
        (files.bad_lying_bomb(), "a damaged or unusual one|unpacks to more than the zip says"),
        (files.bad_symlink(), r"holds a link or device \(P01\.eeg\), expected plain files"),
        (zipped(inner_zip=b"PK\x05\x06" + bytes(18)), r"holds another archive \(inner\.zip\)"),
        (zipped(P01_eeg=EDF and files.zipped({"a": b"b"})), "holds another zip under the name P01.eeg"),
        (files.zipped({"../P01.vhdr": b"x"}), "a file whose name leads elsewhere"),
        (files.zipped({"/etc/x.vhdr": b"x"}), "a file whose name leads elsewhere"),
        (files.zipped({"C:\\x.vhdr": b"x"}), "a file whose name leads elsewhere"),
        (files.zipped({f"{i}.txt": b"x" for i in range(99)}), "expected at most 16 files in the zip, found 99"),
        (files.zipped({f"{i}.txt": b"x" for i in range(5000)}), "expected at most 16 files|list of members is too long"),
        (files.zipped({"a.edf": EDF}), r"found 0 headers and 0 files of data \(a\.edf\). Pack these three files"),
        (files.zipped({}), "found 0 headers and 0 files of data. Pack"),
        (zipped(P02_vhdr=b"x"), "found 2 headers and 1 files of data"),
        (zipped(P01_vhdr=b"[Common Infos]\nDataFile=P01.eeg"), "P01.vhdr is no BrainVision header, although its name says so"),
        (zipped(P01_vhdr=b"Brain Vision Data Exchange Header File\n"), "the header names no DataFile"),
        (zipped(P01_vhdr=b"Brain Vision Data Exchange Header File\n" + b";" * 2**20), r"to 1 MB, at most 1 MB are accepted"),
        (files.zipped(files.brainvision(*files.some_eeg()))[:-30], "a damaged or unusual one"),
        (files.zipped(files.brainvision(*files.some_eeg(), data_file="Q.eeg") | {"R.eeg": b"x"}), "names the data q.eeg, which is not"),
        (zipped(P01_eeg=bytes(1001)), r"the data are cut off: 1001 bytes are not whole samples of 8 channels \(32 bytes\)"),
    ],
)  # fmt: skip
def test_zips_that_are_refused(refused, data, message):
    refused("a.zip", data, message)


def test_a_bomb_below_the_limit_of_bytes_is_told_by_its_ratio(root, refused):
    with uploads.Session(root) as wide:
        refused(
            "a.zip", files.bad_bomb(2**24), r"would unpack to \d+ times its size, as no recording does", session=wide
        )


@pytest.mark.parametrize(
    "line", ["DataFile=/etc/passwd", "DataFile=../../../../etc/passwd", "DataFile: /etc/passwd\nDataFile=x"]
)
def test_a_header_cannot_name_a_file_of_the_machine(session, line):
    content = files.brainvision(*files.some_eeg())
    content["P01.vhdr"] = content["P01.vhdr"].replace(b"DataFile=P01.eeg", line.encode())
    upload = session.receive("a.zip", files.zipped(content))
    assert b"passwd" not in upload.path.read_bytes()
    assert {one.name for one in upload.path.parent.iterdir()} == {"recording.vhdr", "recording.eeg", "recording.vmrk"}


def test_folders_junk_and_renamed_files_do_no_harm(session):
    content = files.brainvision(*files.some_eeg(), data_file="old_name.eeg")
    inside = {f"P01/{name}": data for name, data in content.items() if name != "P01.vmrk"}
    upload = session.receive(
        "a.zip", files.zipped({"P01/": b"", "__MACOSX/._P01.eeg": b"x", "P01/.DS_Store": b"x", **inside})
    )
    assert upload.notes == (
        "no .vmrk in the zip: markers are not needed here",
        "the header names the data old_name.eeg; P01.eeg, the only one in the zip, was taken",
    )
    assert uploads.read(upload).ch_names[-1] == "Cz"


def test_random_damage_of_a_zip_is_one_error_or_none(session, root):
    whole = files.brainvision_zip(*files.some_eeg(n_channels=2, seconds=1))
    rng, empty = np.random.default_rng(8), snapshot(root)
    n_refused = 0
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(4, len(damaged)))
            damaged[at : at + int(rng.integers(1, 5))] = rng.bytes(int(rng.integers(0, 5)))
        try:
            uploads.remove(session.receive("a.zip", bytes(damaged)))
        except DataError:
            n_refused += 1
        assert snapshot(root) == empty
    assert n_refused > 50


# ---------------------------------------------------------------- damage, and what reads too much


def with_values(**changes):
    """An NMED file with other content."""
    out = io.BytesIO()
    base = {"data21": np.random.default_rng(0).normal(0, 5, (125, 300, 1)), "fs": 125.0}
    scipy.io.savemat(out, {key: value for key, value in (base | changes).items() if value is not None})
    return out.getvalue()


def nan_fif():
    import mne

    eeg, sfreq, names = files.some_eeg()
    eeg[2, 7] = np.nan
    return files.fif(mne.io.RawArray(eeg, mne.create_info(names, sfreq, "eeg"), verbose="error"))


def meg_fif():
    import mne

    eeg, sfreq, names = files.some_eeg()
    return files.fif(mne.io.RawArray(eeg, mne.create_info(names, sfreq, "mag"), verbose="error"))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.mat", files.bad_crash, "a.mat is damaged or incomplete.*the reading process died of signal|a.mat is damaged"),
        ("a.mat", lambda: with_values()[:4000], "a.mat is damaged or incomplete.*cut off|a.mat is damaged"),
        ("a.mat", lambda: files.bad_external_hdf5(__file__), "X is stored in another file; nothing in it was run"),
        ("a.mat", lambda: with_values(data21=None, EEG=np.zeros((3, 3))), r"expected a MATLAB file of NMED .*found fs \(1, 1\), EEG"),
        pytest.param("a.mat", lambda: with_values(fs=-1.0), "expected fs as one rate in Hz", marks=pytest.mark.slow),
        pytest.param("a.mat", lambda: with_values(data21=np.zeros((64, 300, 2))), r"expected data21 as channel × time .*found \(64, 300, 2\)", marks=pytest.mark.slow),
        ("a.mat", lambda: with_values(data21=np.full((125, 300), np.inf)), "found NaN or infinity in E1, E2.*and 115 more"),
        ("a.mat", lambda: with_values(data21=np.ones((125, 300))), "found all 125 channels constant"),
        pytest.param("a.mat", lambda: with_values(data21=np.random.default_rng(0).normal(0, 1e4, (125, 300))), "found none: their median", marks=pytest.mark.slow),
        ("a.edf", lambda: EDF[:-10], "the file is cut off: its header promises 4 records, 10304 bytes in all, the file has 10294"),
        pytest.param("a.edf", lambda: EDF[:900], "within its header", marks=pytest.mark.slow),
        ("a.edf", lambda: files.edf(*files.some_eeg(), n_records=10**7), "its header promises 10000000 records"),
        pytest.param("a.edf", lambda: EDF[:252] + b"9999" + EDF[256:], "a header of 2304 bytes does not fit 9999 signals", marks=pytest.mark.slow),
        pytest.param("a.edf", lambda: EDF[:236] + b"many    " + EDF[244:], "number of records: expected a whole number", marks=pytest.mark.slow),
        ("a.fif", nan_fif, "found NaN or infinity in E3. Repair or interpolate"),
        pytest.param("a.fif", meg_fif, "expected EEG channels, found only mag: set the channel types", marks=pytest.mark.slow),
        ("a.fif", lambda: meg_fif()[:3000], "the file is cut off: "),
        pytest.param("a.fif", lambda: struct.pack(">4i", 100, 31, 20, 0) + bytes(20), "a.fif is damaged or incomplete", marks=pytest.mark.slow),
        ("a.fif", lambda: struct.pack(">4i", 100, 31, 20, 36) + bytes(20) + struct.pack(">4i", 1, 1, 2**30, 0), "is cut off: a tag"),
        pytest.param("a.fif", lambda: struct.pack(">4i", 100, 31, 20, 36) + bytes(20) + struct.pack(">4i", 1, 1, 0, 36), "leads back", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(refused, name, make, message):
    refused(name, make(), message)


def test_scipy_really_dies_of_this_file(tmp_path):
    (tmp_path / "a.mat").write_bytes(files.bad_crash())
    code = f"import scipy.io; scipy.io.loadmat({str(tmp_path / 'a.mat')!r}, variable_names=['fs'])"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=tmp_path, preexec_fn=_no_core
    ).returncode
    assert ended != 0
    if ended == 1:
        pytest.skip("this SciPy refuses the file in words")
    assert ended < 0


def _no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


ENDS = {
    "segfault": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the reading process died of signal 11"),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the reading process died of signal 9"),
    "memory": ("got = bytearray(2**34)", "reading it took more than 512 MB of memory; cut it to the minutes"),
    "computing": ("while True: pass", "reading it took more than 1 s of processor time; cut it"),
    "no end": ("import time; time.sleep(99)", "no answer of the reading process within 0.5 s"),
    "an error": ("raise RuntimeError('odd\\nbytes')", "found: RuntimeError: odd bytes; download or copy it again"),
    "a file": ("path.with_name('mine').write_bytes(b'x' * 9)", r"OSError: \[Errno 27\] File too large"),
}


@pytest.mark.parametrize(
    "end", [pytest.param(end, marks=[pytest.mark.slow] * (end in ("killed", "computing"))) for end in ENDS]
)
def test_whatever_the_reader_does_is_one_error(root, refused, monkeypatch, end):
    """A reader that does this by itself, under the limits of an upload: no content has to be found that makes it."""
    code, message = ENDS[end]
    program = textwrap.dedent(
        f"""
        from eegviz.datasets import _eeg_child, _matlab_child
        def __init__(self, path):
            import pathlib
            path = pathlib.Path(path)
            exec({code!r}, dict(path=path))
        _eeg_child.Reader.__init__ = __init__
        _matlab_child._main()
        """
    )
    real = subprocess.Popen
    monkeypatch.setattr(
        _child.subprocess, "Popen", lambda command, **more: real([sys.executable, "-c", program], **more)
    )
    limits = uploads.Limits(memory=2**29, cpu_s=1, wall_s=0.5 if end == "no end" else 300)
    with uploads.Session(root, limits=limits) as session:
        refused("a.edf", EDF, message, session=session)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"seconds": 2}, "expected at most 2 s, found 4 s; cut it to the minutes"),
        pytest.param({"channels": 7}, "at most 7 channels, found 8; leave out the others", marks=pytest.mark.slow),
        pytest.param({"array_bytes": 9999}, "8 channels × 500 samples take 0 MB, at most 0", marks=pytest.mark.slow),
        ({"memory": 2**20}, "memory|damaged"),
    ],
)
def test_more_than_is_read(root, refused, limits, message):
    with uploads.Session(root, limits=uploads.Limits(**limits)) as session:
        refused("a.edf", EDF, message, session=session)


def test_limits_and_bounds_are_positive():
    with pytest.raises(ParameterError, match="limit file_bytes must be more than 0, found 0"):
        uploads.Limits(file_bytes=0)
    with pytest.raises(ParameterError, match="cpu_s of a reading process must be more than 0"):
        eeg_files.Bounds(cpu_s=-1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", files.FORMATS)
def test_random_damage_is_one_error_or_none(root, kind):
    """Bytes changed, cut out or doubled anywhere: a recording or a DataError, and the process lives on."""
    eeg, sfreq, names = files.some_eeg(n_channels=6, seconds=3)
    if kind == "fif":
        import mne

        whole = files.fif(mne.io.RawArray(eeg, mne.create_info(names, sfreq, "eeg"), verbose="error"))
    else:
        whole = {"edf": files.edf, "bdf": files.bdf, "brainvision": files.brainvision_zip, "mat": files.mat}[kind](
            eeg, sfreq, names
        )
    rng = np.random.default_rng(7)
    with uploads.Session(root, limits=uploads.Limits(wall_s=30, cpu_s=10)) as session:
        empty = snapshot(root)
        for _ in range(6):
            damaged = bytearray(whole)
            for _ in range(rng.integers(1, 6)):
                at = int(rng.integers(0, min(len(damaged), 4000)))
                damaged[at : at + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(0, 9)))
            told = ""
            try:
                upload = session.receive(f"a.{kind}", bytes(damaged))
                made = uploads.read(upload)
                uploads.remove(upload)
            except DataError as error:
                told = str(error)
            assert snapshot(root) == empty
            assert str(root) not in told
            assert told or np.isfinite(made.eeg).all()


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
