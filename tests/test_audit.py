"""Leak audit: counts by hand for every protocol, and for splits that no protocol allows."""

import dataclasses
import json
import time

import numpy as np
import pandas as pd
import pytest

from eegviz import splits
from eegviz.audit import audit
from eegviz.errors import DataError, ParameterError


def table(n_listeners=6, n_songs=4, repeats=(1, 2), seconds=80, session="1"):
    rows = [
        (f"S{i}_{k}_{r}", f"S{i}", f"song{k}", r, session, s)
        for i in range(n_listeners)
        for k in range(n_songs)
        for r in repeats
        for s in range(seconds)
    ]
    return pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "repeat", "session", "second"])


def statuses(found):
    return dict(zip(found.table["kind"], found.table["status"], strict=True))


def row(found, kind):
    return found.table.set_index("kind").loc[kind]


@pytest.mark.parametrize(
    ("spec", "leaks", "caveats"),
    [
        ("random", ["recordings", "neighbouring seconds", "hearings of the same second"], ["sessions"]),
        ("interleaved", ["recordings", "neighbouring seconds"], ["sessions"]),
        ("blocked", ["recordings"], ["sessions"]),
        ("repeat", [], ["sessions"]),
        ("subject", [], []),
        ("song", [], []),
        ("subject_song", [], []),
    ],
)
def test_protocols(spec, leaks, caveats):
    windows = table()
    split = splits.split(windows, spec)
    found = audit(windows, split)
    assert found.leaks == leaks
    assert [kind for kind, status in statuses(found).items() if status == "caveat"] == caveats
    assert statuses(found)["windows"] == "none"
    assert (found.n_test, found.n_training) == (len(split.test), len(split.train) + len(split.validation))
    text = found.describe()
    assert max(map(len, text.splitlines())) <= 76
    assert split.spec in text
    assert json.loads(json.dumps(found.to_dict()))["leaks"] == leaks
    assert len(found.sentences) == max(1, len(leaks) + len(caveats) + (spec in ("repeat", "subject")))
    touched = found.table["status"].isin(["leak", "caveat", "by design"])
    assert (found.table["n_test"][touched] > 0).all()
    assert (found.table["why"][touched] != "").all()


def test_interleaved_counts():
    windows = table(2, 2, (1,))
    found = audit(windows, splits.split(windows, "interleaved"))
    assert found.n_test == 4 * 20
    assert row(found, "recordings")["share"] == 1
    assert row(found, "recordings")["names"] == "S0_0_1, S0_1_1, S1_0_1, …"
    near = row(found, "neighbouring seconds")  # the first and the last second of each chunk; the song ends with one
    assert near["n_test"] == 4 * (3 * 2 + 1)
    assert near["names"].startswith("S0_0_1 15 s, S0_0_1 19 s")
    assert near["sides"] == "training and validation"
    wide = audit(windows, dataclasses.replace(splits.split(windows, "interleaved"), gap=2.0))
    assert row(wide, "neighbouring seconds")["n_test"] == 4 * (3 * 4 + 2)
    assert "LEAK       28 neighbouring seconds shared with training and validation" in found.describe()


def test_repeat_says_that_the_music_is_known():
    windows = table(2, 2)
    found = audit(windows, splits.split(windows, "repeat"))
    heard = row(found, "hearings of the same second")
    assert heard["status"] == "by design"
    assert heard["share"] > 0.9
    assert "second-by-second mean" in heard["why"]
    assert row(found, "sessions")["names"] == "S0 1, S1 1"
    apart = windows.assign(session=windows["repeat"].astype(str))
    assert statuses(audit(apart, splits.split(apart, "repeat")))["sessions"] == "none"
    unknown = windows.drop(columns="session")
    assert statuses(audit(unknown, splits.split(unknown, "repeat")))["sessions"] == "n/a"


def test_one_sound_for_all_trials_leaks_the_stimulus():
    windows = table(1, 1, range(1, 11), 50)
    for name in ("repeat:10", "repeat"):
        found = audit(windows, splits.split(windows, name))
        assert found.leaks == ["hearings of the same second"]
        assert "Every recording plays the same sound" in found.sentences[0]
    late = audit(windows, splits.split(windows, "blocked:50"))
    assert statuses(late)["hearings of the same second"] == "none"
    assert late.leaks == ["recordings"]


def test_a_split_that_check_refuses_is_audited():
    windows = table(3, 2, (1,), 20)
    made = splits.split(windows, "subject:S0,")
    bad = dataclasses.replace(made, test=made.train[::2], validation=made.train[:5])
    with pytest.raises(ParameterError):
        splits.check(windows, bad)
    found = audit(windows, bad)
    assert found.leaks == ["windows", "recordings", "neighbouring seconds", "listeners", "sessions"]
    assert row(found, "windows")["n_test"] == len(bad.test)
    by_hand = dataclasses.make_dataclass("Split", ["train", "validation", "test"])
    found = audit(windows, by_hand(np.arange(5), np.arange(0), np.arange(10, 20)))
    assert found.leaks == ["recordings"]
    assert row(found, "songs")["sides"] == "training"


def test_the_order_of_rows_does_not_matter():
    windows = table(2, 2)
    split = splits.split(windows, "random")
    mixed = np.random.default_rng(0).permutation(len(windows))
    back = np.argsort(mixed)
    moved = dataclasses.replace(split, **{k: back[getattr(split, k)] for k in ("train", "validation", "test")})
    pd.testing.assert_frame_equal(audit(windows.iloc[mixed], moved).table, audit(windows, split).table)


def test_windows_without_music():
    windows = table(2, 2, (1,)).assign(stimulus="")
    found = audit(windows, splits.split(windows, "interleaved"))
    assert statuses(found)["songs"] == statuses(found)["hearings of the same second"] == "n/a"
    assert "its column stimulus is missing or empty" in " ".join(found.describe().split())


def test_forty_thousand_windows_take_less_than_a_second():
    windows = table(20, 10, (1,), 200)
    split = splits.split(windows, "random")
    start = time.perf_counter()
    audit(windows, split)
    assert time.perf_counter() - start < 1


def test_refusals():
    windows = table(2, 2)
    split = splits.split(windows, "interleaved")
    empty = np.empty(0, dtype=int)
    with pytest.raises(ParameterError, match="the test side is empty"):
        audit(windows, dataclasses.replace(split, test=empty))
    with pytest.raises(ParameterError, match="the training side is empty"):
        audit(windows, dataclasses.replace(split, train=empty, validation=empty))
    with pytest.raises(ParameterError, match="made from another table"):
        audit(windows.iloc[:50], split)
    with pytest.raises(DataError, match="lacks second"):
        audit(windows.drop(columns="second"), split)
    with pytest.raises(DataError, match="row 3: second is nan"):
        audit(windows.assign(second=windows["second"].astype(float).where(windows.index != 3)), split)
    with pytest.raises(DataError, match="table of windows"):
        audit([1, 2], split)


def test_another_version_of_a_piece_in_training_leaks():
    windows = table(n_songs=4)
    split = splits.split(windows, "song:song3")
    windows["piece"] = windows["stimulus"].map({"song0": "a", "song1": "b", "song2": "c", "song3": "c"})
    found = audit(windows, split)
    assert found.leaks == ["pieces"]
    assert row(found, "pieces")["names"] == "c"
    assert row(found, "pieces")["share"] == 1
    assert "other versions of these pieces" in found.sentences[0]
    assert audit(windows, splits.split(windows, "song:song3")).leaks == []
    assert row(audit(windows, splits.split(windows, "subject")), "pieces")["status"] == "by design"
    assert "pieces" not in statuses(audit(windows.drop(columns="piece"), split))
