"""Rows of the verdict table: closed forms, and what is not defined says why."""

import json

import numpy as np
import pandas as pd
import pytest

from eegviz import identification, scorecard
from eegviz.errors import DataError


def table_of(n_listeners=3, n_songs=2, n_seconds=10):
    rows = [
        (f"S{i}_song{k}", f"S{i}", f"song{k}", 1, second)
        for i in range(n_listeners)
        for k in range(n_songs)
        for second in range(n_seconds)
    ]
    return pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "repeat", "second"])


def pictures(table, seed=0):
    """True pictures: those of a second of a song are the same for all listeners."""
    songs = np.random.default_rng(seed).random((9, 99, 6, 5)).astype(np.float32)
    return songs[table["stimulus"].str[-1].astype(int), table["second"]]


def found_in(prediction, target, table):
    labels = {"recordings": table["recording"], "songs": table["stimulus"], "seconds": table["second"]}
    return identification.retrieval(prediction, target, **labels)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_every_listener_counts_alike():
    table = table_of().drop(index=range(10))  # the first listener has half the windows
    values = table["subject"].map({"S0": 0.0, "S1": 0.3, "S2": 0.9}).to_numpy()
    row = scorecard.row("cosine", values, table, chance=0.1, p={"cosine": (0.02, "blocks")})
    assert row["score"] == pytest.approx(0.4)
    assert 0 <= row["low"] < 0.4 < row["high"] <= 0.9
    assert (row["unit"], row["n"], row["chance"], row["p"], row["p_unit"]) == (
        "3 listeners (few: covers about 76 %)",
        50,
        0.1,
        0.02,
        "blocks",
    )
    assert row["better"] == "high"
    assert scorecard.row("MSE", values, table)["better"] == "low"
    assert scorecard.row("MSE", values, table)["p_unit"] == "not tested"


def test_what_is_the_same_everywhere_has_no_spread():
    table = table_of()
    row = scorecard.row("SSI", np.full(len(table), 0.25), table)
    assert (row["low"], row["score"], row["high"]) == (0.25, 0.25, 0.25)


def test_what_is_not_defined_is_na_and_says_why():
    row = scorecard.row("top-5", None, table_of(), chance=0.5, note="too few")
    assert row["score"] is row["low"] is row["high"] is row["p"] is None
    assert (row["note"], row["unit"], row["n"]) == ("too few", "", 60)
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("n_listeners", "unit"),
    [
        (1, "4 blocks of 5 s (few: covers about 87 %), one listener: no interval over listeners"),
        (2, "8 blocks of 5 s, 2 listeners: no interval"),
    ],
)
def test_few_listeners_get_an_interval_over_blocks(n_listeners, unit):
    table = table_of(n_listeners)
    row = scorecard.row("cosine", np.random.default_rng(0).random(len(table)), table)
    assert row["unit"].startswith(unit)
    assert row["low"] < row["score"] < row["high"]


def test_one_block_has_a_score_and_no_interval():
    table = table_of(1, 1, 4)
    row = scorecard.row("cosine", [0.1, 0.2, 0.3, 0.4], table)
    assert row["score"] == pytest.approx(0.25)
    assert row["low"] is row["high"] is None
    assert row["unit"] == "1 block of 5 s, one listener: no interval over listeners"
    json.dumps(row, allow_nan=False)


def test_values_that_are_not_finite_never_score():
    values = np.ones(60)
    for bad in (np.nan, np.inf):
        values[7] = bad
        with pytest.raises(DataError):
            scorecard.row("cosine", values, table_of())


# --- songs -----------------------------------------------------------------------------------------------------------


def test_naming_every_song_is_one_and_one_song_for_all_is_chance():
    table = table_of()
    true = table["stimulus"].to_numpy(str)
    right, kappa = scorecard.song_rows({"": true}, table, {}, "song accuracy")
    assert (right["score"], right["low"], right["chance"], kappa["score"], kappa["chance"]) == (1, 1, 0.5, 1, 0)
    blind, kappa = scorecard.song_rows({"": np.full(60, "song1")}, table, {}, "song accuracy")
    assert (blind["score"], blind["low"], blind["high"], kappa["score"]) == (0.5, 0.5, 0.5, 0)
    assert right["baselines"] == {"mean picture": 0.5}
    assert kappa["baselines"] == {"mean picture": 0}


def test_kappa_is_accuracy_on_another_scale():
    table, rng = table_of(), np.random.default_rng(0)
    true = table["stimulus"].to_numpy(str)
    named = np.where(rng.random(60) < 0.3, "song0", true)
    first, second = scorecard.song_rows({"": named}, table, {"kappa": (0.01, "songs")}, "accuracy")
    right = (named == true).mean()
    assert first["score"] == pytest.approx(right)
    assert second["score"] == pytest.approx(2 * right - 1)  # two songs heard equally often: chance agreement is a half
    assert second["low"] == pytest.approx(2 * first["low"] - 1)
    assert second["high"] == pytest.approx(2 * first["high"] - 1)
    assert (second["unit"], second["p"]) == (first["unit"], 0.01)


def test_songs_named_under_controls_stand_beside():
    table = table_of()
    true = table["stimulus"].to_numpy(str)
    half = np.where(np.arange(60) % 2, true, "")  # answers for every other window of each recording
    few = np.where(np.arange(60) % 5 == 0, true, "")
    named = {"": true, "fingerprint": true, "zero EEG": np.full(60, "song0"), "noise EEG": half, "silence": few}
    first, _ = scorecard.song_rows(named, table, {}, "song accuracy")
    assert first["beside"] == {"fingerprint": 1.0}
    assert first["controls"] == {"zero EEG": 0.5, "noise EEG": 1.0}


def test_songs_that_cannot_be_named_say_why():
    rows = scorecard.song_rows({}, table_of(), {}, "song accuracy")
    assert [row["metric"] for row in rows] == ["song accuracy", "kappa"]
    assert all(row["score"] is None and row["note"] == scorecard.NO_SONG for row in rows)


def test_one_song_has_no_kappa():
    table = table_of(n_songs=1)
    first, second = scorecard.song_rows({"": np.full(30, "song0")}, table, {}, "accuracy")
    assert (first["score"], first["chance"]) == (1, 1)
    assert second["score"] is None
    json.dumps([first, second], allow_nan=False)


# --- controls --------------------------------------------------------------------------------------------------------


def test_a_control_is_over_the_windows_that_can_have_it():
    table = table_of()
    values = np.where(table["second"] < 8, 0.4, np.nan)
    shown = scorecard.control("shuffled", values, table, "not told where there is a score")
    assert shown == {"name": "shuffled", "score": pytest.approx(0.4), "low": pytest.approx(0.4),
                     "high": pytest.approx(0.4), "n": 48, "note": ""}  # fmt: skip


def test_recordings_that_were_not_asked_do_not_count_as_missing():
    table = table_of()
    values = np.where(table["recording"] == "S0_song0", 0.4, np.nan)
    assert scorecard.control("noise EEG", values, table)["n"] == 10


@pytest.mark.parametrize(
    ("values", "note", "said"),
    [
        (None, "the store has none", "the store has none"),
        (None, "", "fewer than half of the test windows can have it"),
        (np.full(60, np.nan), "", "fewer than half of the test windows can have it"),
        (np.where(np.arange(60) % 10 < 4, 0.5, np.nan), "far apart", "far apart"),
    ],
)
def test_a_control_that_few_windows_can_have_is_na(values, note, said):
    shown = scorecard.control("silence", values, table_of(), note)
    assert shown["score"] is shown["low"] is None
    assert shown["note"] == said


# --- p ---------------------------------------------------------------------------------------------------------------


def test_the_truth_has_the_smallest_p_and_a_constant_has_one():
    table = table_of(n_seconds=20)
    target = pictures(table)
    truth = found_in(target, target, table)
    p = scorecard.p_values(table, found=truth, named=table["stimulus"].to_numpy(str))
    assert set(p) == {"retrieval", "top-1", "top-5", "song accuracy", "accuracy", "kappa"}
    for name in ("retrieval", "top-1", "top-5"):
        assert p[name][0] == pytest.approx(1 / (scorecard.PERMUTATIONS + 1)), name
        assert "permutations" in p[name][1]
    flat = scorecard.p_values(table, found=found_in(np.full_like(target, 0.3), target, table))
    assert [flat[name][0] for name in ("retrieval", "top-1", "top-5")] == [1, 1, 1]


def test_a_smaller_error_is_the_better_one():
    table = table_of(n_seconds=20)
    target = pictures(table)
    made = target + np.random.default_rng(1).normal(0, 0.1, target.shape).astype(np.float32)
    observed = {name: metric(made, target) for name, metric in scorecard.picture_metrics().items() if name != "SSI"}
    p = scorecard.p_values(table, observed=observed, prediction=lambda r: made[r], target=lambda r: target[r])
    assert set(p) == {"cosine", "correlation", "PSNR", "MSE"}
    assert all(value < 0.05 for value, _ in p.values())
    worse = {"MSE": 2 + 0 * observed["MSE"]}
    p = scorecard.p_values(table, observed=worse, prediction=lambda r: made[r], target=lambda r: target[r])
    assert p["MSE"][0] == 1


def test_what_cannot_be_permuted_says_why():
    table = table_of(1, 1, 1)
    p = scorecard.p_values(table, named=["song0"], observed={"cosine": [1.0]})
    assert p["cosine"][0] is p["retrieval"][0] is p["song accuracy"][0] is None
    assert all(len(unit) > 20 for _, unit in p.values())
    row = scorecard.row("cosine", [1.0], table, p=p)
    assert row["p"] is None
    assert row["p_unit"] == p["cosine"][1]


@pytest.mark.parametrize(
    ("value", "told"), [(1, 1.0), (np.float32(0.5), 0.5), (np.nan, None), (np.inf, None), (None, None)]
)
def test_json_holds_finite_numbers_only(value, told):
    assert scorecard.finite(value) == told
