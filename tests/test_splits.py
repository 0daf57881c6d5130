"""Splits: exact sizes, no leaks, independence of the order of rows, clear refusals."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import splits
from eegviz.errors import DataError, ParameterError

COLUMNS = ["recording", "subject", "stimulus", "condition", "repeat", "session", "second"]
SPECS = ["random", "interleaved", "blocked", "repeat", "subject", "song", "subject_song"]


def windows(n_subjects=4, n_songs=4, n_seconds=60, n_repeats=1, session=""):
    """A table like Windows.table: every listener hears every song `n_repeats` times."""
    rows = [
        (f"S{s:02d}_song{k}_r{r}", f"S{s:02d}", f"song{k}", "listening", r, session, second)
        for s in range(n_subjects)
        for k in range(n_songs)
        for r in range(1, n_repeats + 1)
        for second in range(n_seconds)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def parts(split):
    return split.train, split.validation, split.test


def values(table, rows, column):
    return set(table[column].iloc[rows])


@pytest.mark.parametrize(
    ("n_subjects", "n_songs", "training", "test"),
    [(20, 10, 36_000, 12_000), (12, 4, 8_640, 2_880)],
    ids=["NMED-T", "NMED-H"],
)
def test_interleaved_has_the_published_sizes(n_subjects, n_songs, training, test):
    table = windows(n_subjects, n_songs, 240)
    made = splits.split(table, "interleaved")
    assert (len(made.train) + len(made.validation), len(made.test)) == (training, test)
    assert len(made.validation) == pytest.approx(training / 10, rel=0.03)  # whole chunks
    chunk = table["second"].iloc[made.test] // 5
    assert set(chunk) == set(range(3, 48, 4))


def test_random_has_the_replications_sizes():
    table = windows(20, 10, 270)
    assert len(table) == 54_000
    assert [len(part) for part in parts(splits.split(table, "random"))] == [43_200, 5_400, 5_400]
    assert [len(part) for part in parts(splits.split(table, "random:70/10/20"))] == [37_800, 5_400, 10_800]


def test_random_validation_is_whole_chunks_less_the_test():
    table = windows(3, 2, 100)
    made = splits.split(table, "random")
    cell = table["recording"] + (table["second"] // 5).astype(str)
    assert not set(cell.iloc[made.validation]) & set(cell.iloc[made.train])


@pytest.mark.parametrize("every", [2, 3, 4, 7])
def test_interleaved_takes_every_nth_chunk(every):
    table = windows(2, 2, 5 * every * 3)
    made = splits.split(table, f"interleaved:{every}")
    assert len(made.test) * every == len(table)
    assert set((table["second"].iloc[made.test] // 5) % every) == {every - 1}


def test_chunks_count_from_the_first_second_of_the_stimulus():
    table = windows(2, 1, 40)
    moved = table.assign(second=table["second"] + 17)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            parts(splits.split(table, "interleaved")), parts(splits.split(moved, "interleaved")), strict=True
        )
    )


@pytest.mark.parametrize(("spec", "share"), [("blocked", 0.25), ("blocked:50", 0.5), ("blocked:10%", 0.1)])
@pytest.mark.parametrize("gap", [1.0, 3.0])
def test_blocked_holds_out_the_last_part_after_a_gap(spec, share, gap):
    table = windows(3, 2, 120)
    made = splits.split(table, spec, gap=gap)
    second = table["second"].to_numpy()
    assert second[made.test].min() == 120 * (1 - share)
    assert len(made.test) == share * len(table)
    for song in ("song0", "song1"):
        rows = np.flatnonzero(table["stimulus"] == song)
        train, validation, test = (np.unique(second[np.intersect1d(rows, part)]) for part in parts(made))
        for one, other in ((train, validation), (train, test), (validation, test)):
            assert np.abs(one[:, None] - other).min() >= 1 + gap
        whole = np.unique(validation // 5)
        np.testing.assert_array_equal(validation, (5 * whole[:, None] + np.arange(5)).ravel())
        assert (np.diff(whole) == 1).all()  # one run


def test_validation_under_repeat_shares_no_music_with_training():
    table = windows(3, 2, 60, 2)
    made = splits.split(table, "repeat")
    music = table["stimulus"] + table["second"].astype(str)
    assert not set(music.iloc[made.validation]) & set(music.iloc[made.train])
    assert set(music.iloc[made.test]) >= set(music.iloc[made.train])  # by design: another hearing
    assert set(table["repeat"].iloc[made.test]) == {2}
    assert set(table["repeat"].iloc[np.r_[made.train, made.validation]]) == {1}


def test_repeat_takes_the_hearing_that_is_asked_for():
    table = windows(2, 2, 40, 3)
    assert values(table, splits.split(table, "repeat:2").test, "repeat") == {2}
    assert values(table, splits.split(table, "repeat").test, "repeat") == {3}
    fewer = table[(table["subject"] != "S01") | (table["repeat"] == 2)].reset_index(drop=True)
    made = splits.split(fewer, "repeat:2")  # S01 heard songs once: on neither side
    assert values(fewer, made.test, "subject") == {"S00"}
    assert values(fewer, made.train, "subject") == {"S00"}
    made = splits.split(fewer, "repeat")  # a single hearing stays in training
    assert values(fewer, made.train, "subject") == {"S00", "S01"}


def test_repeat_says_when_a_session_is_shared():
    made = splits.split(windows(2, 2, 40, 2, session="1"), "repeat")
    assert "share a session" in made.label
    apart = windows(2, 2, 40, 2).assign(session=lambda t: t["repeat"].astype(str))
    assert splits.split(apart, "repeat").label.endswith("known from training")


@pytest.mark.parametrize(("spec", "column"), [("subject:30", "subject"), ("song:30", "stimulus")])
@pytest.mark.parametrize("n", [3, 10])
def test_units_are_on_one_side(spec, column, n):
    table = windows(n, n, 30)
    made = splits.split(table, spec)
    test, rest = values(table, made.test, column), values(table, np.r_[made.train, made.validation], column)
    assert len(test) == max(1, round(0.3 * n))
    assert not test & rest
    assert len(test | rest) == n
    whole = n == 10  # five or more units are left: validation is whole units
    assert (not values(table, made.train, column) & values(table, made.validation, column)) == whole


def test_subject_song_holds_out_both():
    table = windows(10, 8, 30)
    made = splits.split(table, "subject_song:20/25")
    for column, n in (("subject", 2), ("stimulus", 2)):
        assert len(values(table, made.test, column)) == n
        assert not values(table, made.test, column) & values(table, np.r_[made.train, made.validation], column)
    assert not values(table, made.validation, "stimulus") & values(table, made.train, "stimulus")


def test_names_can_be_given():
    table = windows(4, 4, 30)
    assert values(table, splits.split(table, "subject:S03,S01").test, "subject") == {"S01", "S03"}
    assert values(table, splits.split(table, "song:song2").test, "stimulus") == {"song2"}
    made = splits.split(table, "subject_song:S03/song1,song2")
    assert values(table, made.test, "recording") == {"S03_song1_r1", "S03_song2_r1"}
    numbered = table.assign(subject=table["subject"].map({"S00": "0", "S01": "10", "S02": "20", "S03": "30"}))
    assert values(numbered, splits.split(numbered, "subject:20,").test, "subject") == {"20"}
    assert len(values(numbered, splits.split(numbered, "subject:20%").test, "subject")) == 1
    with pytest.raises(ParameterError, match="a percentage and a name"):
        splits.split(numbered, "subject:20")


@pytest.mark.parametrize("spec", SPECS)
def test_spec_of_a_split_makes_it_again(spec):
    table = windows(6, 6, 40, 2)
    made = splits.split(table, spec, seed=3)
    again = splits.split(table, made.spec, seed=3)
    assert again.spec == made.spec
    assert all(np.array_equal(a, b) for a, b in zip(parts(made), parts(again), strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_labels_and_fields(spec):
    table = windows(6, 6, 40, 2)
    made = splits.split(table, spec)
    assert made.name == spec
    leaky = spec in ("random", "interleaved", "blocked")
    assert made.can_separate is not leaky
    assert (made.label == "cannot separate song from recording") is leaky
    assert made.holds_out
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.seed = 1


@settings(deadline=None, max_examples=40)
@given(
    spec=st.sampled_from(SPECS),
    seed=st.integers(0, 2**32 - 1),
    n_subjects=st.integers(2, 7),
    n_songs=st.integers(2, 7),
    n_seconds=st.integers(40, 70),
    shuffle=st.integers(0, 100),
    gap=st.sampled_from([1.0, 2.0, 2.5]),
)
def test_properties(spec, seed, n_subjects, n_songs, n_seconds, shuffle, gap):
    """Sorted, disjoint, not empty, repeatable, and the same windows for any order of the rows."""
    table = windows(n_subjects, n_songs, n_seconds, 2)
    made = splits.split(table, spec, seed=seed, gap=gap)
    rows = np.concatenate(parts(made))
    assert len(set(rows)) == len(rows)
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts(made))
    mixed = table.sample(frac=1, random_state=shuffle)  # a shuffled index too: positions count, labels do not
    other = splits.split(mixed, spec, seed=seed, gap=gap)
    for one, two in zip(parts(made), parts(other), strict=True):
        left, right = table.iloc[one], mixed.iloc[two]
        assert set(zip(left["recording"], left["second"], strict=True)) == set(
            zip(right["recording"], right["second"], strict=True)
        )
    both = values(table, made.train, "recording") & values(table, made.validation, "recording")
    if spec not in ("random", "interleaved") and both:
        for song in values(table, made.validation, "stimulus"):
            train, held = (
                table.iloc[part].loc[lambda t, song=song: t["stimulus"] == song, "second"].unique()
                for part in (made.train, made.validation)
            )
            assert not len(train) or np.abs(train[:, None] - held).min() >= 1 + gap


def test_another_seed_gives_another_choice():
    table = windows(10, 10, 30)
    for spec in ("random", "subject", "song"):
        assert not np.array_equal(splits.split(table, spec, seed=0).test, splits.split(table, spec, seed=1).test)


def test_windows_without_a_stimulus_can_be_split_by_recording():
    table = windows(4, 1, 60).assign(stimulus="")
    for spec in ("random", "interleaved", "blocked", "subject"):
        splits.split(table, spec)
    for spec in ("song", "repeat", "subject_song"):
        with pytest.raises(ParameterError, match="no stimulus"):
            splits.split(table, spec)


def test_longer_windows_keep_the_gap():
    table = windows(3, 2, 100)
    made = splits.split(table, "blocked", window=4, gap=4)
    second = table["second"].to_numpy()
    assert second[made.test].min() - second[np.r_[made.train, made.validation]].max() >= 8
    with pytest.raises(ParameterError, match="straddle"):
        splits.split(table, "interleaved", window=4, gap=4)
    with pytest.raises(ParameterError, match="straddle"):
        splits.split(table, "random", window=4, gap=4)


def test_folds_leave_each_unit_out_once():
    table = windows(5, 4, 40)
    for spec, column, n in (("subject", "subject", 5), ("song", "stimulus", 4), ("subject:50", "subject", 2)):
        made = splits.folds(table, spec, seed=2)
        assert len(made) == n
        tested = np.sort(np.concatenate([fold.test for fold in made]))
        assert np.array_equal(tested, np.arange(len(table)))
        seen = [values(table, fold.test, column) for fold in made]
        assert sum(map(len, seen)) == len(set().union(*seen))
    assert [fold.spec for fold in splits.folds(table, "subject:S01,S03")] == ["subject:S01", "subject:S03"]
    assert len(splits.folds(windows(2, 2, 40, 3), "repeat")) == 3
    with pytest.raises(ParameterError, match="has no folds"):
        splits.folds(table, "interleaved")


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("intreleaved", "random, interleaved, blocked, repeat, condition, subject, song, subject_song"),
        ("", "unknown split"),
        ("random:80/10", "three percentages"),
        ("random:80/10/5", "sum to 95"),
        ("random:90/0/10", "not a percentage"),
        ("random:a/b/c", "not a percentage"),
        ("interleaved:1", "whole number, 2 or more"),
        ("interleaved:x", "whole number"),
        ("interleaved:", "colon and no options"),
        ("interleaved:50", "the test side is empty"),
        ("blocked:0", "not a percentage"),
        ("blocked:100", "not a percentage"),
        ("blocked:nan", "not a percentage"),
        ("blocked:99", "the train side is empty"),
        ("repeat", "no listener heard a song twice"),
        ("subject:S99", "unknown 'S99'"),
        ("subject:S00,S01,S02,S03", "holds out all 4"),
        ("song:120", "not a percentage"),
        ("subject_song:20", "expected listeners/songs"),
        ("subject_song:20/30/40", "expected listeners/songs"),
    ],
)
def test_refuses_a_wrong_spec(spec, match):
    with pytest.raises(ParameterError, match=match):
        splits.split(windows(), spec)


def test_refuses_what_the_data_cannot_give():
    with pytest.raises(ParameterError, match="no such hearing beside another; expected one of 1, 2"):
        splits.split(windows(2, 2, 40, 2), "repeat:3")
    with pytest.raises(ParameterError, match=r"only one listener \(S00\)"):
        splits.split(windows(1), "subject")
    with pytest.raises(ParameterError, match="only one song"):
        splits.split(windows(4, 1), "song")
    with pytest.raises(ParameterError, match="the validation side is empty"):
        splits.split(windows(2, 2, 5, 2), "repeat")
    for wrong, match in (({"gap": 0.5}, "shorter than one window"), ({"gap": np.nan}, "seconds above 0")):
        with pytest.raises(ParameterError, match=match):
            splits.split(windows(), "blocked", **wrong)
    with pytest.raises(ParameterError, match="validation=0.9"):
        splits.split(windows(), "blocked", validation=0.9)
    with pytest.raises(ParameterError, match="seed=-1"):
        splits.split(windows(), "blocked", seed=-1)


def test_refuses_a_damaged_table():
    table = windows(2, 2, 40)
    with pytest.raises(DataError, match="lacks subject"):
        splits.split(table.drop(columns="subject"), "subject")
    with pytest.raises(DataError, match="S00_song0_r1 has second 0 twice"):
        splits.split(pd.concat([table, table.iloc[:1]]), "random")
    with pytest.raises(DataError, match="row 0: second is 'x'"):
        splits.split(table.assign(second=["x", *table["second"][1:]]), "random")
    with pytest.raises(DataError, match="row 0: repeat"):
        splits.split(table.assign(repeat=1.5), "repeat")
    with pytest.raises(DataError, match="empty"):
        splits.split(table.iloc[:0], "random")
    with pytest.raises(DataError, match="found list"):
        splits.split([1, 2], "random")
    half = table.assign(second=table["second"] + 0.5 * (table["second"] >= 4))
    with pytest.raises(ParameterError, match=r"straddles the boundary between two chunks"):
        splits.split(half, "interleaved")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("subject", "listener"),
        ("song", "song"),
        ("subject_song", "listener"),
        ("repeat", "recording"),
        ("interleaved", "chunk"),
    ],
)
def test_check_refuses_a_group_on_both_sides(spec, word):
    table = windows(4, 4, 40, 2)
    made = splits.split(table, spec)
    splits.check(table, made)
    moved = dataclasses.replace(made, train=np.sort(np.r_[made.train, made.test[0]]), test=made.test[1:])
    with pytest.raises(ParameterError, match=f"{word} .*on two sides"):
        splits.check(table, moved)


def test_check_refuses_other_leaks():
    table = windows(2, 2, 100)
    made = splits.split(table, "blocked")
    with pytest.raises(ParameterError, match="expected a gap of 2 s"):
        splits.check(table, dataclasses.replace(made, gap=2.0))
    with pytest.raises(ParameterError, match="the validation side is empty"):
        splits.check(table, dataclasses.replace(made, validation=made.validation[:0]))
    with pytest.raises(ParameterError, match="on two sides"):
        splits.check(table, dataclasses.replace(made, validation=made.train))
    with pytest.raises(ParameterError, match="sorted, different row positions"):
        splits.check(table.iloc[:50], made)
    with pytest.raises(ParameterError, match="sorted, different row positions"):
        splits.check(table, dataclasses.replace(made, train=made.train[::-1]))
    made = splits.split(table, "subject")  # two listeners: validation is runs of chunks, with a gap
    with pytest.raises(ParameterError, match="train and validation are 1 s apart"):
        splits.check(table, dataclasses.replace(made, gap=2.0))
    made = splits.split(table, "random")
    shared = np.sort(np.r_[made.validation, made.train[:1]])
    with pytest.raises(ParameterError, match="chunk .* on two sides"):
        splits.check(table, dataclasses.replace(made, train=made.train[1:], validation=shared))


def test_the_table_is_not_changed():
    table = windows(2, 2, 40, 2)
    before = table.copy()
    for spec in SPECS:
        splits.split(table, spec)
    pd.testing.assert_frame_equal(table, before)


def versions(n_songs=6, n_subjects=4):
    """Songs 0 and 1, 2 and 3 … are two versions of a piece each."""
    table = windows(n_subjects, n_songs)
    return table.assign(piece="piece" + (table["stimulus"].str[4:].astype(int) // 2).astype(str))


@pytest.mark.parametrize("spec", ["song", "song:30", "song:song3", "subject_song", "subject_song:S01/song3"])
def test_versions_of_a_piece_are_held_out_together(spec):
    table = versions()
    made = splits.split(table, spec)
    tested, known = values(table, made.test, "piece"), values(table, made.train, "piece")
    assert len(tested) == 1
    assert not tested & (known | values(table, made.validation, "piece"))
    assert len(values(table, made.test, "stimulus")) == 2
    assert "unseen songs (in any version)" in made.label


def test_a_named_song_takes_its_versions_with_it():
    table = versions()
    made = splits.split(table, "song:song3")
    assert made.spec == "song:song2,song3"
    assert made.holds_out == "whole songs: song2, song3"
    leak = dataclasses.replace(
        made,
        test=np.flatnonzero(table["stimulus"] == "song3"),
        train=np.sort(np.concatenate([made.train, np.flatnonzero(table["stimulus"] == "song2")])),
    )
    with pytest.raises(ParameterError, match="piece piece1 is on two sides"):
        splits.check(table, leak)


def test_folds_are_pieces():
    table = versions()
    assert [one.spec for one in splits.folds(table, "song")] == [
        "song:song0,song1", "song:song2,song3", "song:song4,song5",
    ]  # fmt: skip
    assert [one.spec for one in splits.folds(table, "song:song0,song1,song5")] == [
        "song:song0,song1",
        "song:song4,song5",
    ]
    assert len(splits.folds(table, "song:50")) == 2


def test_whole_pieces_are_taken_for_validation():
    table = versions(14)
    made = splits.split(table, "song:song0")
    assert len(values(table, made.validation, "stimulus")) == 2
    assert not values(table, made.validation, "piece") & values(table, made.train, "piece")


def test_a_table_that_names_no_pieces_is_split_as_before():
    table = windows(4, 6)
    for spec in SPECS:
        if spec != "repeat":
            plain, empty = splits.split(table, spec, seed=3), splits.split(table.assign(piece=""), spec, seed=3)
            own = splits.split(table.assign(piece=table["stimulus"]), spec, seed=3)
            assert plain.label == empty.label == own.label
            assert all(np.array_equal(a, b) for a, b in zip(parts(plain), parts(empty), strict=True))
            assert all(np.array_equal(a, b) for a, b in zip(parts(plain), parts(own), strict=True))


def test_pieces_that_cannot_be_held_out():
    with pytest.raises(ParameterError, match="are versions of one piece; another piece must stay"):
        splits.split(versions(2), "song:50")
    with pytest.raises(ParameterError, match="holds out all 3 pieces"):
        splits.split(versions(), "song:song0,song2,song4")
