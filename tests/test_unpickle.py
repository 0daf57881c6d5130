"""Tests of the restricted unpickler: what Python 2 and newer wrote comes back, nothing else does, nothing is ever run."""

import builtins
import functools
import io
import operator
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import textwrap

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eegviz.datasets import _matlab, _unpickle
from eegviz.datasets._python2 import python2_pickle
from eegviz.errors import DataError

RNG = np.random.default_rng(0)
ARRAYS = {"labels": RNG.uniform(1, 9, (2, 4)), "data": RNG.normal(size=(2, 40, 300))}


def write(path, data):
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------- what is admitted


def test_the_instructions_of_python_2(tmp_path):
    """Ours are those that Python 2's cPickle writes: the standard library and the walker agree on what they hold."""
    data = python2_pickle(ARRAYS)
    assert data.startswith(
        b"\x80\x02}q\x01(U\x06labelsq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
    )
    assert b"cnumpy\ndtype\nq" in data
    standard = pickle.loads(data, encoding="latin1")
    found = _unpickle.load(write(tmp_path / "s01.dat", data))
    assert list(found) == ["labels", "data"]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(standard[name], array)
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert not found["data"].flags.writeable


def test_a_pickle_that_python_2_wrote(tmp_path):
    """Text of protocol 0, as Python 2 wrote it (from the tests of NumPy, with a name around it)."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\np4\ntp5\nRp6\n(I1\n(I1\ntp7\n"
        b"cnumpy\ndtype\np8\n(S'f8'\np9\nI0\nI1\ntp10\nRp11\n(I3\nS'<'\np12\nNNNI-1\nI-1\nI0\ntp13\nbI00\n"
        b"S'O\\x81\\xb7Z\\xaa:\\xabY'\np14\ntp15\nb"
    )
    found = _unpickle.load(write(tmp_path / "a.dat", b"(dp16\nS'data'\np17\n" + array + b"s."))
    assert found["data"].tolist() == [9e123]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["f8", ">f4", "i2", "u1", "i8", "b1"])
def test_what_python_3_writes(tmp_path, protocol, kind):
    arrays = {
        "data": (100 * RNG.normal(size=(3, 4, 5))).astype(kind),
        "turned": np.asfortranarray(RNG.normal(size=(3, 4)).astype(kind)),
        "empty": np.zeros((0, 3), kind),
        "same": None,
    }
    arrays["same"] = arrays["data"]
    found = _unpickle.load(write(tmp_path / "a.dat", pickle.dumps(arrays, protocol=protocol)))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_a_number_is_an_array_without_axes(tmp_path):
    found = _unpickle.load(write(tmp_path / "a.dat", pickle.dumps({"fs": np.float64(128)}, protocol=2)))
    assert (found["fs"].shape, found["fs"].item()) == ((), 128)


@pytest.mark.parametrize("kind", ["pickle", "matlab"])
def test_slices_of_the_first_axis_through_the_child(tmp_path, kind):
    path = tmp_path / "s01"
    if kind == "pickle":
        write(path, python2_pickle(ARRAYS))
    else:
        import scipy.io

        scipy.io.savemat(path, ARRAYS, appendmat=False)
    with _matlab.Slices(path, "data", ndim=3, small=("labels",), first=True, kind=kind) as slices:
        assert slices.shape == (2, 40, 300)
        np.testing.assert_array_equal(slices.values["labels"], ARRAYS["labels"])
        (part,) = slices.ranges([(1, 2)])
    np.testing.assert_array_equal(part, ARRAYS["data"][1:].astype(np.float32))
    with (
        pytest.raises(DataError, match=r"expected the variable eeg, found labels \(2, 4\), data \(2, 40, 300\)"),
        _matlab.Slices(path, "eeg", ndim=3, kind=kind) if kind == "pickle" else _matlab.Slices(path, "eeg", ndim=3),
    ):
        pass


# ---------------------------------------------------------------- what is refused


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class New:
    """Pickles as NEWOBJ."""

    def __init__(self):
        self.here = 1


class Keyword:
    """Pickles as NEWOBJ_EX."""

    def __new__(cls, *, here=0):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"here": 1}


class Persistent(pickle.Pickler):
    def persistent_id(self, item):
        return "elsewhere" if isinstance(item, New) else None


def text(word):
    return b"\x8c" + bytes([len(word)]) + word.encode()


def array_of(*state):
    """An array whose state is this."""
    head = b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return head + b"".join(state) + b"s."


DTYPE = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def with_torch(zipped):
    import torch

    out = io.BytesIO()
    torch.save({"data": torch.zeros(3)}, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def like_joblib():
    """As joblib.dump begins: an array is an object of joblib's, and its bytes stand between the instructions."""
    head = b"\x80\x03}q\x00X\x04\x00\x00\x00dataq\x01cjoblib.numpy_pickle\nNumpyArrayWrapper\nq\x02)\x81q\x03}q\x04"
    return (
        head
        + b"(X\x05\x00\x00\x00shapeq\x05K\x02K\x04\x86q\x06ub\x10"
        + b"\xff" * 16
        + ARRAYS["labels"].tobytes()
        + b"s."
    )


def in_a_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        data = pickle.dumps({"data": Call(os.getcwd)})
        info = tarfile.TarInfo("storages")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def persistent(protocol):
    out = io.BytesIO()
    Persistent(out, protocol=protocol).dump({"data": New()})
    return out.getvalue()


def objects(*items):
    found = np.empty(len(items), object)
    found[:] = items
    return found


def payloads(canary):
    """Name: bytes. Each would make a file, or be something else than numeric arrays, in the hands of a trusting reader."""
    touch = f'touch "{canary}"'
    code = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    argv = [sys.executable, "-c", code]
    made = {f"os.system, protocol {p}": pickle.dumps(Call(os.system, touch), protocol=p) for p in range(6)}
    made |= {
        f"beside an array, protocol {p}": pickle.dumps(ARRAYS | {"more": Call(os.system, touch)}, protocol=p)
        for p in (0, 2, 4, 5)
    }
    made |= {
        "in a dict in a dict": pickle.dumps({"data": {"data": Call(os.system, touch)}}, protocol=2),
        "as a key": pickle.dumps({Call(os.getcwd): ARRAYS["data"]}, protocol=2),
        "in an array of objects": pickle.dumps({"data": objects(Call(os.system, touch))}, protocol=2),
        "in an array of objects, protocol 5": pickle.dumps({"data": objects(Call(os.system, touch))}, protocol=5),
        "subprocess.Popen": pickle.dumps(Call(subprocess.Popen, argv), protocol=2),
        "eval": pickle.dumps(Call(builtins.eval, code), protocol=4),
        "exec": pickle.dumps(Call(builtins.exec, code), protocol=3),
        "Python 2's eval": b"\x80\x02c__builtin__\neval\nU" + bytes([len(code)]) + code.encode() + b"\x85R.",
        "getattr": pickle.dumps(Call(builtins.getattr, "", "format")),
        "attrgetter": pickle.dumps(Call(operator.attrgetter, "__class__.__base__"), protocol=4),
        "partial": pickle.dumps(functools.partial(os.system, touch), protocol=2),
        "a dotted name": b"\x80\x04" + text("numpy") + text("ndarray.__class__") + b"\x93.",
        "a name of an admitted module": b"\x80\x02cnumpy.core.multiarray\nfromfile\nU\x05a.dat\x85R.",
        "a name put together": b"\x80\x04" + text("os") + b"\x94" + text("system") + b"\x94h\x00h\x01\x93"
        + b"X" + struct.pack("<I", len(touch)) + touch.encode() + b"\x85R.",
        "INST": b"(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'a'\no.",
        "NEWOBJ": pickle.dumps({"data": New()}, protocol=2),
        "NEWOBJ_EX": pickle.dumps({"data": Keyword()}, protocol=4),
        "a persistent id": persistent(0),
        "a binary persistent id": persistent(2),
        "EXT1": b"\x80\x02\x82\x01.", "EXT2": b"\x80\x02\x83\x01\x00.", "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "a set": pickle.dumps({"data": {1}}, protocol=4),
        "an out-of-band buffer": b"\x80\x05\x97.",
        "torch, zip": with_torch(True),
        "torch, before zip": with_torch(False),
        "a tar": in_a_tar(),
        "joblib": like_joblib(),
        "a list": pickle.dumps([ARRAYS["data"]], protocol=2),
        "an array alone": pickle.dumps(ARRAYS["data"], protocol=2),
        "a dict of text": pickle.dumps({"data": "text"}, protocol=2),
        "a number as name": pickle.dumps({1: ARRAYS["data"]}, protocol=2),
        "a name that moves the cursor": pickle.dumps({"a\x1b[2J": ARRAYS["data"]}, protocol=2),
        "objects": pickle.dumps({"data": objects(1, "a")}, protocol=2),
        "complex numbers": pickle.dumps({"data": np.zeros(3, complex)}, protocol=2),
        "text": pickle.dumps({"data": np.array(["a"])}, protocol=2),
        "dates": pickle.dumps({"data": np.zeros(2, "M8[s]")}, protocol=2),
        "fields": pickle.dumps({"data": np.zeros(2, [("a", "f8")])}, protocol=2),
        "a masked array": pickle.dumps({"data": np.ma.array([1.0], mask=[True])}, protocol=2),
        "a matrix": b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nmatrix\nK\x00\x85U\x01b\x87Rs.",
        "a state for the type": b"\x80\x02cnumpy\nndarray\n}U\x05shapeK\x01sb.",
        "slots for the reconstructor": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x08__code__K\x01s\x86b.",
        "an encoding to another code": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        "an array not filled": array_of(),
        "a shape longer than its bytes": array_of(b"(K\x01J\xff\xff\xff\x7f\x85", DTYPE, b"\x89U\x00tb"),
        "a negative shape": array_of(b"(K\x01J\xff\xff\xff\xff\x85", DTYPE, b"\x89U\x00tb"),
        "a shape beyond all": array_of(b"(K\x01(" + b"J\xff\xff\xff\x7f" * 8 + b"t", DTYPE, b"\x89U\x00tb"),
        "no type": array_of(b"(K\x01K\x01\x85N\x89U\x00tb"),
        "8 TB of bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**43) + b"abc.",
        "8 TB of text": b"\x80\x04\x8d" + struct.pack("<Q", 2**43) + b"abc.",
        "8 TB to be filled": b"\x80\x05\x96" + struct.pack("<Q", 2**43) + b"abc.",
        "8 TB of frame": b"\x80\x04\x95" + struct.pack("<Q", 2**43) + b"N.",
        "2 GB of old text": b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"abc.",
        "a negative length": b"\x80\x02T" + struct.pack("<i", -1) + b"abc.",
        "a number of 2 GB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"abc.",
        "a note at place 2**31": b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".",
        "a note at place 10**30": b"Np1" + b"0" * 30 + b"\n.",
        "too many instructions": b"\x80\x02" + b"N0" * 6000 + b"N.",
        "a number of 5000 digits": b"L" + b"9" * 5000 + b"L\n.",
        "protocol 9": b"\x80\x09}.",
        "no pickle": b"subject,video\n1,2\n",
        "zeros": bytes(1000),
        "nothing but a stop": b".",
        "a zip": b"PK\x03\x04" + bytes(100),
    }  # fmt: skip
    return made


NAMES = list(payloads("canary"))


@pytest.mark.parametrize("name", NAMES)
def test_refused_and_never_run(tmp_path, name):
    canary = tmp_path / "canary"
    path = write(tmp_path / "s01.dat", payloads(canary)[name])
    with pytest.raises(_unpickle.Damaged) as caught:
        _unpickle.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert not canary.exists()


def test_the_payloads_would_work_elsewhere(tmp_path):
    """The canary sings for a reader that trusts: otherwise the test above would prove nothing."""
    for number, name in enumerate(("os.system, protocol 2", "eval", "exec", "INST", "a name put together")):
        canary = tmp_path / str(number)
        pickle.loads(payloads(canary)[name])
        assert canary.exists(), name


SOME = ["os.system, protocol 2", "in an array of objects", "joblib", "torch, zip", "8 TB of bytes", "a list"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in SOME else pytest.mark.slow) for n in NAMES])
def test_refused_through_the_child_with_one_message(tmp_path, name):
    canary = tmp_path / "canary"
    path = write(tmp_path / "s01.dat", payloads(canary)[name])
    with (
        pytest.raises(
            DataError, match=r"s01\.dat.*expected a pickle of a dict of numeric arrays and nothing else, found"
        ) as caught,
        _matlab.Slices(path, "data", ndim=3, first=True, kind="pickle", timeout=30),
    ):
        pass
    assert str(caught.value).isprintable()
    assert "died" not in str(caught.value)
    assert not canary.exists()


def test_an_empty_file_and_none(tmp_path):
    for path, message in (
        (write(tmp_path / "a.dat", b""), "found an empty file"),
        (tmp_path / "b.dat", "can be opened"),
    ):
        with pytest.raises(DataError, match=message), _matlab.Slices(path, "data", ndim=3, kind="pickle"):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_the_process_that_reads_cannot_write_start_others_or_take_memory(tmp_path):
    code = """
        import os, sys, subprocess
        from eegviz.datasets import _unpickle
        _unpickle.limit(2**26, 10)
        done = []
        try:
            bytearray(2**30)
        except MemoryError:
            done.append("memory")
        try:
            with open(sys.argv[1], "wb") as file:
                file.write(b"x")
        except OSError:
            done.append("files")
        if os.getuid() == 0:
            done.append("processes")  # the limit does not hold for root
        else:
            try:
                os.fork()
            except OSError:
                done.append("processes")
        print(*done)
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "x")], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["memory", "files", "processes"]
    assert not (tmp_path / "x").exists() or not (tmp_path / "x").stat().st_size


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of computing are Linux's")
def test_what_never_ends_is_stopped(tmp_path):
    """A key that is a pair of pairs of pairs …: to find its place in a dict takes 2**60 steps."""
    key = b"K\x01q\x00" + b"0h\x00h\x00\x86q\x00" * 60
    path = write(tmp_path / "s01.dat", b"\x80\x02}" + key + b"K\x01s.")
    with (
        pytest.raises(DataError, match=r"s01\.dat.*the reading process died of signal"),
        _matlab.Slices(path, "data", ndim=3, first=True, kind="pickle"),
    ):
        pass


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_a_file_of_full_size_takes_memory_once_in_the_child_and_none_here(tmp_path):
    """100 MB, as DEAP's: 40 videos, 40 channels, 8064 samples."""
    path = write(tmp_path / "s01.dat", python2_pickle({"labels": ARRAYS["labels"], "data": np.ones((40, 40, 8064))}))
    code = """
        import resource, sys
        from eegviz.datasets import _matlab
        with _matlab.Slices(sys.argv[1], "data", ndim=3, first=True, kind="pickle") as slices:
            for part in slices.ranges([(i, i + 1) for i in range(40)]):
                pass
        marks = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
        print(int(marks[0]) / 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], capture_output=True, text=True, check=True
    )
    here, there = map(float, shown.stdout.split())
    assert here < 60
    assert there < 300


# ---------------------------------------------------------------- damage

TINY = {"labels": np.full((1, 2), 5.0), "data": np.ones((1, 2, 2))}
WHOLE = {"python 2": python2_pickle(TINY)} | {f"protocol {p}": pickle.dumps(TINY, protocol=p) for p in (0, 2, 4, 5)}


def outcome(path):
    """Arrays, or the one kind of error."""
    try:
        found = _unpickle.load(path)
    except _unpickle.Damaged:
        return "damaged"
    assert all(isinstance(name, str) and array.dtype.kind in "fiub" for name, array in found.items())
    return found


@pytest.mark.parametrize("kind", WHOLE)
def test_cut_short_anywhere(tmp_path, kind):
    for cut in range(len(WHOLE[kind])):
        assert outcome(write(tmp_path / "a.dat", WHOLE[kind][:cut])) == "damaged"


@pytest.mark.parametrize("kind", WHOLE)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bits_flipped(tmp_path, kind, data):
    damaged = bytearray(WHOLE[kind])
    for at in data.draw(st.lists(st.integers(0, 8 * len(damaged) - 1), min_size=1, max_size=6)):
        damaged[at // 8] ^= 1 << at % 8
    outcome(write(tmp_path / "a.dat", bytes(damaged)))


@given(instructions=st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path, instructions):
    outcome(write(tmp_path / "a.dat", b"\x80\x02" + instructions))


def test_damage_through_the_child(tmp_path):
    whole = WHOLE["python 2"]
    for cut in (1, 60, len(whole) - 1):
        path = write(tmp_path / "s01.dat", whole[:cut])
        with (
            pytest.raises(DataError, match=r"s01\.dat is damaged or incomplete.*download or copy it again"),
            _matlab.Slices(path, "data", ndim=3, first=True, kind="pickle"),
        ):
            pass
