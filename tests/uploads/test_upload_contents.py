"""Tests of what uploads hold: type by content, zips, damage, and what reads too much; each is refused in words."""

import io
import resource
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import scipy.io

from eegviz import eeg_files, uploads
from eegviz.datasets import _child
from eegviz.errors import DataError, ParameterError
from tests import eeg_files as files

from .cases import snapshot

EDF = files.edf(*files.some_eeg())


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
