"""Tests of the MATLAB reader: both formats give the same, damage is one clear error, memory stays small."""

import itertools
import json
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import scipy.io

from eegviz.datasets import _child, _matlab
from eegviz.errors import DataError, ParameterError

HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."


_COUNT = itertools.count()


def write_v73(path, values):
    """Write values as MATLAB's v7.3 does: axes reversed, text as uint16, cells as references, a header of 512 bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        for name, value in values.items():
            _put(file, refs, name, value)
    with path.open("r+b") as handle:
        handle.write(HEADER.ljust(116) + b"\0" * 8 + b"\x00\x02IM")
    return path


def _put(group, refs, name, value):
    if isinstance(value, dict):
        item = group.create_group(name)
        item.attrs["MATLAB_class"] = np.bytes_("struct")
        for key, field in value.items():
            _put(item, refs, key, field)
        return
    if isinstance(value, list) and value and isinstance(value[0], dict):  # a struct array: references, field by field
        item = group.create_group(name)
        item.attrs["MATLAB_class"] = np.bytes_("struct")
        for key in value[0]:
            item.create_dataset(key, data=_references(refs, np.array([[row[key] for row in value]], object)))
        return
    if isinstance(value, str):
        codes = np.array([[ord(character)] for character in value], np.uint16)
        item = group.create_dataset(name, data=codes if value else np.array([0, 0], np.uint64))
        item.attrs["MATLAB_class"] = np.bytes_("char")
        item.attrs["MATLAB_int_decode"] = np.int32(2)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        item = group.create_dataset(name, data=_references(refs, value))
        item.attrs["MATLAB_class"] = np.bytes_("cell")
    else:
        value = np.atleast_2d(np.asarray(value))
        item = group.create_dataset(name, data=value.T if value.size else np.array(value.shape, np.uint64))
        item.attrs["MATLAB_class"] = np.bytes_({"f8": "double", "f4": "single", "i2": "int16"}[value.dtype.str[1:]])
    if not np.size(value) or (isinstance(value, str) and not value):
        item.attrs["MATLAB_empty"] = np.uint8(1)


def _references(refs, cells):
    out = np.empty(cells.T.shape, h5py.ref_dtype)
    for index, value in np.ndenumerate(cells.T):
        name = f"r{next(_COUNT)}"
        _put(refs, refs, name, value)
        out[index] = refs[name].ref
    return out


def write_v5(path, values, **more):
    values = {key: _struct_array(value) if isinstance(value, list) else value for key, value in values.items()}
    scipy.io.savemat(path, values, **more)
    return path


def _struct_array(rows):
    out = np.zeros((1, len(rows)), [(key, object) for key in rows[0]])
    for index, row in enumerate(rows):
        for key, value in row.items():
            out[0, index][key] = value
    return out


def cells(*items):
    out = np.empty((1, len(items)), object)
    out[0] = items
    return out


VALUES = {
    "data21": np.random.default_rng(0).normal(0, 9, (5, 7, 3)),
    "single": np.arange(6, dtype=np.float32).reshape(2, 3),
    "whole": np.arange(6, dtype=np.int16).reshape(3, 2),
    "fs": 125.0,
    "subs21": cells("S02", "S03", "S20"),
    "word": "Canopée",
    "nothing": np.zeros((0, 0)),
    "info": {"id": "S02", "age": 25.0},
    "people": [{"id": "S02", "age": 25.0}, {"id": "S03", "age": 31.0}],
    "nested": cells("DI11", np.array([[4.0]]), cells("a", "b")),
}
WRITERS = {
    "v5": write_v5,
    "v7": lambda path, values: write_v5(path, values, do_compression=True),
    "v7.3": write_v73,
}


@pytest.fixture(params=WRITERS)
def mat(request, tmp_path):
    return WRITERS[request.param](tmp_path / "a.mat", VALUES)


def test_shapes_are_in_matlabs_order(mat):
    found = _matlab.variables(mat)
    assert set(found) == set(VALUES)
    assert found["data21"] == (5, 7, 3)
    assert found["whole"] == (3, 2)
    assert found["subs21"] == (1, 3)


def test_small_values(mat):
    found = _matlab.read(mat, VALUES)
    np.testing.assert_array_equal(found["data21"], VALUES["data21"])
    np.testing.assert_array_equal(found["single"], VALUES["single"])
    np.testing.assert_array_equal(found["whole"], VALUES["whole"])
    assert found["fs"].item() == 125
    assert found["subs21"].shape == (1, 3)
    assert found["subs21"].ravel().tolist() == ["S02", "S03", "S20"]
    assert found["word"] == "Canopée"
    assert found["nothing"].size == 0
    assert found["info"]["id"] == "S02"
    assert found["info"]["age"].item() == 25
    assert [row["id"] for row in found["people"]] == ["S02", "S03"]
    assert [row["age"].item() for row in found["people"]] == [25, 31]
    assert found["nested"][0, 0] == "DI11"
    assert found["nested"][0, 1].item() == 4
    assert found["nested"][0, 2].ravel().tolist() == ["a", "b"]


def test_slices_come_one_at_a_time(mat):
    with _matlab.Slices(mat, "data21", ndim=3) as slices:
        assert slices.shape == (5, 7, 3)
        parts = list(slices.ranges([(0, 1), (2, 3)]))
    assert [part.shape for part in parts] == [(5, 7, 1)] * 2
    assert {part.dtype.str for part in parts} == {"<f4"}
    assert all(part.flags.c_contiguous and part.flags.writeable for part in parts)
    np.testing.assert_array_equal(parts[0][..., 0], VALUES["data21"][..., 0].astype(np.float32))
    np.testing.assert_array_equal(parts[1][..., 0], VALUES["data21"][..., 2].astype(np.float32))


def test_ranges_of_a_matrix_and_trailing_axes(mat, monkeypatch):
    with _matlab.Slices(mat, "single", ndim=2) as slices:
        (part,) = slices.ranges([(1, 3)])
    np.testing.assert_array_equal(part, VALUES["single"][:, 1:])
    with _matlab.Slices(mat, "single", ndim=3) as slices:  # one listener only: MATLAB drops the third axis
        assert slices.shape == (2, 3, 1)
        (part,) = slices.ranges([(0, 1)])
    np.testing.assert_array_equal(part[..., 0], VALUES["single"])


def test_a_long_range_arrives_in_pieces(tmp_path):
    wide = np.random.default_rng(0).normal(size=(200, 100_000)).astype(np.float32)  # 80 MB in pieces of 32
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["X"] = wide.T
    with _matlab.Slices(tmp_path / "a.mat", "X", ndim=2) as slices:
        (part,) = slices.ranges([(10, 99_990)])
    np.testing.assert_array_equal(part, wide[:, 10:99_990])


def test_stopping_early_ends_the_child(mat):
    with _matlab.Slices(mat, "data21", ndim=3) as slices:
        next(slices.ranges([(0, 1), (1, 2), (2, 3)]))
        process = slices._child.process
    assert process.returncode is not None


# ---------------------------------------------------------------- refusals


def test_missing_variable_names_what_is_there(mat):
    with pytest.raises(DataError, match=r"a\.mat: expected the variable data22, found .*data21 \(5, 7, 3\)"):
        _matlab.read(mat, ["data22"])
    with pytest.raises(DataError, match="expected the variable data22"), _matlab.Slices(mat, "data22", ndim=3):
        pass


def test_an_array_of_another_kind(mat):
    with (
        pytest.raises(DataError, match=r"expected subs21 as a real array of 3 axes, found no real numbers"),
        _matlab.Slices(mat, "subs21", ndim=3),
    ):
        pass
    with (
        pytest.raises(DataError, match=r"real array of 2 axes, found numbers of shape \(5, 7, 3\)"),
        _matlab.Slices(mat, "data21", ndim=2),
    ):
        pass
    with (
        _matlab.Slices(mat, "data21", ndim=3) as slices,
        pytest.raises(ParameterError, match="slice 3:4 does not lie"),
    ):
        next(slices.ranges([(3, 4)]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"subject,song\n1,2\n", "found 17 bytes that begin 'subject,song"),
        (b"\x00" * 4000, "found 4000 bytes that begin"),
        (b"MATLAB 5.0 MAT-file" + b" " * 50, "found 69 bytes that begin 'MATLAB 5.0"),
        (b"PK\x03\x04" + b"x" * 999, "expected a MATLAB file"),
    ],
)
def test_what_is_no_matlab_file(tmp_path, content, message):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=message):
        _matlab.variables(tmp_path / "a.mat")


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="found none that can be opened"):
        _matlab.variables(tmp_path / "none.mat")
    with pytest.raises(DataError, match="found none that can be opened"):
        _matlab.variables(tmp_path)


def test_a_variable_too_long_for_read(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("X", (2**24, 2), "f8")  # never written, so it takes no room
    with pytest.raises(DataError, match="should be small has shape"):
        _matlab.read(tmp_path / "a.mat", ["X"])


# ---------------------------------------------------------------- the child's death


def dying(monkeypatch, code):
    """Replace the child's program."""
    real = subprocess.Popen

    def start(command, **more):
        return real([sys.executable, "-c", textwrap.dedent(code)], **more)

    monkeypatch.setattr(_child.subprocess, "Popen", start)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the reading process died of signal 11"),
        ("import sys; sys.stderr.write('out of luck'); sys.exit(3)", "ended with code 3 out of luck"),
        ("import sys; sys.stdout.write('abc')", "ended with code 0"),
        ("import time; time.sleep(60)", "no answer of the reading process within 0.5 s"),
    ],
)
def test_a_child_that_dies_is_one_error(tmp_path, monkeypatch, code, message):
    write_v5(tmp_path / "a.mat", {"fs": 1.0})
    dying(monkeypatch, code)
    with pytest.raises(DataError, match=rf"a\.mat is damaged or incomplete.*{message}.*download or copy it again"):
        _matlab.variables(tmp_path / "a.mat", timeout=0.5 if "sleep" in code else 20)


def outcome(path):
    """Read everything as an ingest does; an error must be a DataError that names the file."""
    try:
        values = _matlab.read(path, ["fs", "subs21"], timeout=30)
        with _matlab.Slices(path, "data21", ndim=3, timeout=30) as slices:
            count = sum(part.size for part in slices.ranges([(i, i + 1) for i in range(min(slices.shape[-1], 50))]))
        return len(values), count
    except DataError as error:
        return "DataError" if "a.mat" in str(error) else f"a nameless {error}"


SONG = {name: VALUES[name] for name in ("data21", "subs21", "fs")}


@pytest.mark.parametrize("kind", WRITERS)
def test_truncated_anywhere(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "a.mat", SONG)
    whole = path.read_bytes()
    for cut in np.unique(np.linspace(1, len(whole) - 1, 9).astype(int)):
        path.write_bytes(whole[:cut])
        assert outcome(path) == "DataError", cut


@pytest.mark.parametrize("kind", WRITERS)
def test_random_bytes_changed(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "a.mat", SONG)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(20)
    for _ in range(6):
        damaged = whole.copy()
        at = rng.integers(128, len(whole), 3)
        damaged[at] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        assert outcome(path) in ("DataError", (2, 105))


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_many_random_bytes_changed(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "a.mat", SONG)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(21)
    for _ in range(60):
        damaged = whole.copy()
        at = rng.integers(0, len(whole), rng.integers(1, 20))
        damaged[at] = rng.integers(0, 256, len(at))
        path.write_bytes(damaged.tobytes())
        assert "nameless" not in str(outcome(path))


# ---------------------------------------------------------------- memory

MEASURE = """
    import json, resource, sys
    from eegviz.datasets import _matlab
    with _matlab.Slices(sys.argv[1], "data21", ndim=3) as slices:
        for part in slices.ranges([(i, i + 1) for i in range(slices.shape[-1])]):
            pass
    # ru_maxrss of a process counts what its parent held when it was started: the kernel's own mark does not
    marks = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(json.dumps([int(marks[0]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


def peak_mb(path):
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(path)], capture_output=True, text=True, check=True
    )
    return [value / 1024 for value in json.loads(out.stdout)]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(("kind", "most"), [("v5", 1.3), ("v7", 1.3), ("v7.3", 0.45)])
def test_memory_is_one_array_at_most(tmp_path, kind, most):
    # what grows between a tiny file and one of 32 MB: parent and child together
    tiny = WRITERS[kind](tmp_path / "tiny.mat", {"data21": np.zeros((4, 4, 20))})
    data = np.random.default_rng(0).standard_normal((125, 1600, 20), np.float32).astype(np.float64)
    large = WRITERS[kind](tmp_path / "large.mat", {"data21": data})
    growth = sum(peak_mb(large)) - sum(peak_mb(tiny))
    assert growth / (data.nbytes / 2**20) < most


# ---------------------------------------------------------------- trees: many arrays, one at a time


def _tree_values():
    big = [np.random.default_rng(k).normal(size=(100, 64)) for k in range(4)]
    trials = cells(*big[:3], np.zeros((0, 0)))
    chanlocs = [{"labels": "Fp1 (A1)", "theta": 1.0}, {"labels": "Iz (A28)", "theta": 2.0}]
    return big, {"data": trials, "fs": 64.0, "chanlocs": chanlocs, "extChan": {"data": cells(big[3])}}


def _for_scipy(value):
    return value | {"chanlocs": _struct_array(value["chanlocs"])}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_tree_is_outlined_and_its_arrays_come_one_by_one(tmp_path, kind):
    big, eeg = _tree_values()
    eeg = eeg if kind == "v7.3" else _for_scipy(eeg)
    WRITERS[kind](tmp_path / "a.mat", {"before": np.ones((70, 80)), "eeg": eeg, "fs": 64.0})
    with _matlab.Tree(tmp_path / "a.mat", "eeg", small=("fs",)) as tree:
        assert tree.values["fs"].item() == 64
        assert set(tree.tree) == set(eeg)
        assert [item.shape for item in tree.tree["data"].ravel()] == [(100, 64)] * 3 + [(0, 0)]
        assert [row["labels"] for row in tree.tree["chanlocs"]] == ["Fp1 (A1)", "Iz (A28)"]
        assert isinstance(tree.tree["data"][0, 0], _matlab.Leaf)
        wanted = [("data", 0), ("data", 2), ("extChan", "data", 0), ("chanlocs", 1, "theta")]
        found = dict(tree.take(wanted))
    assert set(found) == set(wanted)
    for path, expected in zip(wanted, (big[0], big[2], big[3], [[2.0]]), strict=True):
        assert found[path].dtype == np.float32
        np.testing.assert_array_equal(found[path], np.float32(expected))


@pytest.mark.parametrize("kind", WRITERS)
def test_nested_cells(tmp_path, kind):
    leaf = [np.full((90, 50), float(k)) for k in range(8)]
    nested = cells(*(cells(*(cells(*leaf[4 * p + 2 * c : 4 * p + 2 * c + 2]) for c in (0, 1))) for p in (0, 1)))
    WRITERS[kind](tmp_path / "a.mat", {"eeg": nested})
    with _matlab.Tree(tmp_path / "a.mat", "eeg") as tree:
        assert tree.tree[0, 1][0, 0][0, 1].shape == (90, 50)
        paths = [(p, c, t) for p in (0, 1) for c in (0, 1) for t in (0, 1)]
        assert [array[0, 0] for _, array in tree.take(paths)] == list(range(8))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_path_that_is_not_there_is_an_error(tmp_path, kind):
    WRITERS[kind](tmp_path / "a.mat", {"eeg": cells(np.zeros((90, 50)))})
    with (
        _matlab.Tree(tmp_path / "a.mat", "eeg") as tree,
        pytest.raises(DataError, match="a.mat is damaged or incomplete"),
    ):
        list(tree.take([(0,), (7,)]))


def test_a_tree_cut_short_is_an_error(tmp_path):
    for kind in ("v5", "v7"):
        rng = np.random.default_rng(0)
        file = WRITERS[kind](tmp_path / "a.mat", {"eeg": cells(*(rng.normal(size=(90, 50)) for _ in range(9)))})
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(DataError, match="a.mat is damaged or incomplete"), _matlab.Tree(file, "eeg"):
            pass


def test_other_types(tmp_path):
    """A tree of whole numbers, truth values, text of two rows and complex numbers."""
    values = cells(
        np.arange(6, dtype=np.int16).reshape(2, 3), np.array(["ab", "cd"]), np.ones((2, 2)) * 1j, np.uint8(7)
    )
    write_v5(tmp_path / "a.mat", {"x": values})
    with _matlab.Tree(tmp_path / "a.mat", "x") as tree:
        whole, text, complex_, byte = tree.tree.ravel()
    assert whole.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert text == ["ab", "cd"]
    assert not complex_.numeric
    assert byte.item() == 7


def test_plain_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["0001/piece/response"] = np.arange(6.0).reshape(2, 3)
        file["0001/piece/name"] = "text"
    with _matlab.Tree(tmp_path / "a.hdf5", "/", hdf5=True) as tree:
        assert tree.tree["0001"]["piece"]["response"] == _matlab.Leaf((2, 3))
        assert not tree.tree["0001"]["piece"]["name"].numeric
        ((path, array),) = tree.take([("0001", "piece", "response")])
    assert path == ("0001", "piece", "response")
    np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))  # axes as they are


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["v5", "v7"])
def test_a_large_tree_in_little_memory(tmp_path, kind):
    """300 MB of trials in one cell array; neither process holds more than a few trials."""
    one = np.random.default_rng(0).normal(size=(1803, 64))
    WRITERS[kind](tmp_path / "a.mat", {"eeg": cells(*[one] * 330)})
    code = textwrap.dedent(
        """
        import sys, json
        from eegviz.datasets import _matlab
        with _matlab.Tree(sys.argv[1], "eeg") as tree:
            n = sum(array.size for _, array in tree.take([(k,) for k in range(330)]))
            marks = [l.split()[1] for who in ("self", tree._child.process.pid) for l in open(f"/proc/{who}/status") if "VmHWM" in l]
        print(json.dumps([n, *map(int, marks)]))
        """
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.mat")], check=True, capture_output=True, text=True
    )
    n, mine, *childs = json.loads(shown.stdout)
    assert n == 330 * one.size
    assert mine < 200 * 1024
    assert all(child < 250 * 1024 for child in childs)
