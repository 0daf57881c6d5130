"""Raw recordings and behavioural tables of NMED-T, and the memory that reading takes."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

from eegviz import store
from eegviz.datasets import _nmed_t_extras
from eegviz.errors import DataError
from tests.test_matlab import write_v5, write_v73
from tests.test_nmed import SECONDS, ingest, write_song, write_sound, write_source


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source")


# ---------------------------------------------------------------- the extras of NMED-T


def write_raw(folder, name="02_1_raw.mat", *, seed=5, triggers=None, n_times=24_000, **change):
    """129 channels at 1 kHz: DI11 at 1 s, song 21 from 3 s, a tick, DI11 at 10 s, song 22 from 12.5 s."""
    if triggers is None:
        triggers = [("DI11", 1001), ("DI21", 3001), ("D128", 5001), ("DI11", 10001), ("DI22", 12501)]
    din = np.empty((4, len(triggers)), object)
    for index, (code, sample) in enumerate(triggers):
        din[:, index] = [code, np.array([[float(sample)]]), "x", np.array([[0.0]])]
    x = np.random.default_rng(seed).normal(0, 8, (129, n_times)).astype(np.float32)
    x[128] = 0  # the reference
    folder.mkdir(exist_ok=True, parents=True)
    write_v73(folder / name, {"X": x, "fs": 1000.0, "DIN_1": din, **change})
    return x


def test_raw_recordings_give_songs_and_silences(source, tmp_path):
    x = write_raw(source / "raw")
    report = ingest(source, tmp_path / "s")
    assert report.problems == []
    opened = store.open(report.store)
    raw = opened.recordings[opened.recordings["subject"].eq("S02") & opened.recordings["condition"].ne("listening")]
    assert list(raw["recording"]) == ["S02_song21_raw", "S02_song21_silence", "S02_song22_raw", "S02_song22_silence"]
    assert list(raw["condition"]) == ["raw", "silence"] * 2
    assert list(raw["stimulus"]) == ["song21", "", "song22", ""]
    assert list(raw["before"]) == ["", "song21", "", "song22"]
    assert set(raw["session"]) == {"1"}
    assert list(raw["n_times"]) == [6000, 2000, 6000, 2500]
    np.testing.assert_allclose(opened.eeg("S02_song21_raw"), x[:, 3000:9000] * 1e-6, rtol=1e-6)
    np.testing.assert_allclose(opened.eeg("S02_song22_silence"), x[:, 10000:12500] * 1e-6, rtol=1e-6)
    assert opened.ch_names("S02_song21_raw") == [f"E{n}" for n in range(1, 129)] + ["Cz"]
    assert opened.bads("S02_song21_raw") == ["Cz"]
    events = opened.table("events")
    mine = events[events["recording"] == "S02_song21_raw"]
    assert list(mine["label"]) == ["DI21", "D128"]
    assert list(mine["onset"]) == [0.0, 2.0]
    assert opened.raw("S02_song21_raw").info["sfreq"] == 1000


def test_raw_alone_and_too_short(tmp_path):
    write_raw(tmp_path / "in")
    write_sound(tmp_path / "in" / "song21.wav")
    write_sound(tmp_path / "in" / "song22.wav", seconds=30)
    report = ingest(tmp_path / "in", tmp_path / "s")
    assert report.n_skipped == 1
    assert "11.50 s of EEG and 30.00 s of sound differ by 18.50 s" in report.problems[0]
    opened = store.open(report.store)
    assert "S02_song22_raw" not in set(opened.recordings["recording"])
    assert list(opened.stimuli["n_samples"]) == [SECONDS * 22050]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triggers": [("D128", 1), ("DI11", 5)]}, "expected triggers DI21 … DI30 in DIN_1, found D128, DI11"),
        ({"triggers": [("DI21", 99_000)]}, r"expected the triggers within X \(24000 samples\), found samples 98999"),
        ({"triggers": [("DI31", 1001)]}, "trigger DI31: expected a song number from 21 to 30"),
        (
            {"DIN_1": np.zeros((2, 3))},
            r"expected DIN_1 as cells.*found cells of shape \(2, 3\)|expected DIN_1 as cells",
        ),
        ({"X": np.zeros((24_000, 129))}, r"expected X as channel × time \(129, time\), found \(24000, 129\)"),
    ],
)
def test_wrong_raw_files(source, tmp_path, change, message):
    write_raw(source, **change)
    report = ingest(source, tmp_path / "s")
    assert (report.n_recordings, report.n_skipped) == (4, 1)
    with pytest.raises(DataError, match=message):
        raise DataError(report.problems[0])


def test_a_restarted_song_counts_where_it_is_longer():
    trials = _nmed_t_extras.find_trials(
        ["DI11", "DI21", "DI11", "DI21", "DI22"], np.array([0, 10, 20, 30, 90]), 200, path="x"
    )
    assert trials == [
        {"song": 21, "open": 20, "onset": 30, "stop": 90},
        {"song": 22, "open": None, "onset": 90, "stop": 200},
    ]


@pytest.mark.parametrize("as_array", [True, False])
def test_behavioural_tables(source, tmp_path, as_array):
    ratings = np.random.default_rng(0).integers(1, 10, (20, 10, 2)).astype(float)
    write_v73(source / "behavioralRatings.mat", {"behavioralRatings": ratings})
    rows = [{"id": f"S{n:02d}", "age": 20.0 + n, "nYearsTraining": 1.0, "weeklyListening": 9.5} for n in (2, 3)]
    info = rows if as_array else {key: np.array([[row[key] for row in rows]], object) for key in rows[0]}
    write_v5(source / "participantInfo.mat", {"participantInfo": info})
    taps = np.empty((20, 10), object)
    for index in np.ndindex(taps.shape):
        taps[index] = np.arange(1.0 + sum(index))
    write_v5(source / "TapIt.mat", {"allTappedResponse": taps})
    report = ingest(source, tmp_path / "s")
    assert report.problems == []
    opened = store.open(report.store)
    table = opened.table("ratings")
    assert len(table) == 200
    row = table[(table["subject"] == "S23") & (table["stimulus"] == "song30")].iloc[0]
    assert (row["familiarity"], row["enjoyment"]) == tuple(ratings[19, 9])
    pd.testing.assert_frame_equal(
        opened.table("participants"),
        pd.DataFrame({"subject": ["S02", "S03"], "age": [22.0, 23.0], "nYearsTraining": [1.0, 1.0],
                      "weeklyListening": [9.5, 9.5]}),
        check_dtype=False,
    )  # fmt: skip
    assert opened.table("taps")["n_taps"].tolist()[:3] == [1, 2, 3]


def test_wrong_behavioural_tables(source, tmp_path):
    write_v5(source / "behavioralRatings.mat", {"r": np.zeros((10, 20, 2))})
    write_v5(source / "participantInfo.mat", {"age": 3.0})
    write_v5(source / "TapIt.mat", {"allTappedResponse": np.zeros((20, 10))})
    report = ingest(source, tmp_path / "s")
    assert (report.n_recordings, report.n_skipped) == (4, 3)
    assert "expected one variable of shape (20, 10, 2) (familiarity, enjoyment)" in report.problems[0]
    assert "expected a struct with the fields id, age" in report.problems[1]
    assert "expected allTappedResponse as (20, 10) cells" in report.problems[2]


# ---------------------------------------------------------------- memory

MEASURE = """
    import json, resource, sys
    from eegviz import datasets
    datasets.ingest("nmed-t", sys.argv[1], sys.argv[2])
    # ru_maxrss of a process counts what its parent held when it was started: the kernel's own mark does not
    marks = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(json.dumps([int(marks[0]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


def peak_mb(source, path):
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(source), str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return np.array(json.loads(out.stdout)) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_memory_scales_with_one_song(source, tmp_path):
    base = peak_mb(source, tmp_path / "a")
    data = np.random.default_rng(0).standard_normal((125, 4000, 12)) * 8
    for number in (21, 22, 23):  # 48 MB each
        write_song(tmp_path / "large", number, data=data, subs=[f"S{n:02d}" for n in range(12)])
        write_sound(tmp_path / "large" / f"song{number}.wav", seconds=32, sr=22050)
    growth = peak_mb(tmp_path / "large", tmp_path / "b") - base
    growth /= data.nbytes / 2**20
    assert growth.sum() < 1.5
    assert growth[0] < 0.5  # the parent holds one listener and the sound
