"""The index: the table of systems and splits, and what is said of simulated and recorded data."""

import json
import re

import pytest

from eegviz import report


def test_systems_table_reads_scored_runs(tmp_path):
    assert report.systems_table(tmp_path / "none") == []
    run = tmp_path / "abc"
    run.mkdir()
    config = {"model": {"name": "cnn", "preset": "fast", "settings": {"width": 4}}, "features": {"eeg": "raw", "audio": "mel-db"},
              "split": {"spec": "interleaved:4", "seed": 0}, "seed": 0,
              "data": {"dataset": "tiny", "fingerprint": "abc123"}}  # fmt: skip
    metric = {"metric": "retrieval", "score": 0.9, "low": 0.8, "high": 1.0, "chance": 0.5, "p": 0.004, "n": 7,
              "unit": "listeners"}  # fmt: skip
    split = {"spec": "interleaved:4", "label": "cannot separate song from recording", "can_separate": False}
    (run / "config.json").write_text(json.dumps(config))
    (run / "provenance.json").write_text("{}")
    (run / "metrics.json").write_text(
        json.dumps({"split": split, "metrics": [metric], "verdict": "This split cannot tell", "simulated": True})
    )
    (row,) = report.systems_table(tmp_path)
    assert (row["verdict"], row["score"], row["model"], row["n"]) == ("This split cannot tell", 0.9, "cnn", 7)
    assert (row["recipe"], row["p"]) == ("preset fast, width=4", 0.004)
    assert (row["data_set"], row["fingerprint"], row["simulated"]) == ("tiny", "abc123", True)
    for stored in (
        "The EEG contributed",
        "No evidence that the EEG contributed",
    ):  # as it was written, not decided again
        (run / "metrics.json").write_text(json.dumps({"split": split, "metrics": [metric], "verdict": stored}))
        assert report.systems_table(tmp_path)[0]["verdict"] == stored


def row(data_set, *, simulated, fingerprint="abcdef0123", verdict="The EEG contributed"):
    return {"run": "r", "model": "cnn", "split": "repeat", "score": 0.7, "verdict": verdict, "data_set": data_set,
            "fingerprint": fingerprint, "simulated": simulated}  # fmt: skip


def index(tmp_path, systems, *, simulated):
    place = report.write_index([], tmp_path, title="T", intro="Why?", systems=systems, simulated=simulated)
    return place.read_text(encoding="utf-8")


def test_runs_of_one_data_set_need_no_column_for_it(tmp_path):
    text = index(tmp_path, [row("demo", simulated=True)] * 2, simulated=True)
    assert "Data set" not in text
    assert "<strong>Simulated data.</strong> No brain was recorded for the numbers on these pages" in text


def test_simulated_and_recorded_runs_are_told_apart_in_column_and_banner(tmp_path):
    rows = [row("demo", simulated=True), row("trials", simulated=False), row("old", simulated=None)]
    text = index(tmp_path, rows, simulated=True)
    assert ">Data set</th>" in text
    for name, kind in (("demo", "simulated"), ("trials", "recorded"), ("old", "not said whether simulated")):
        assert f'<div>{name} <span class="under">{kind}</span> <span class="under">abcdef01</span></div>' in text
    assert "Partly simulated data." in text
    assert "Each row of the table says whether its EEG is recorded or simulated." in text
    assert report.data_sets(rows) == ["demo (simulated)", "trials (recorded)", "old (not said whether simulated)"]


@pytest.mark.parametrize(
    ("pages", "rows", "said"),
    [(False, [False], None), (False, [True], "The pages are of recorded EEG. All rows of the table are of simulated EEG."),
     (True, [False], "All rows of the table are of recorded EEG."), (True, [], "Simulated data."),
     (None, [], "Some pages are of simulated data"), (False, [True, False], "The pages are of recorded EEG. Each row"),
     (False, [None], None)],
)  # fmt: skip
def test_the_banner_is_true_of_pages_and_rows(tmp_path, pages, rows, said):
    text = index(tmp_path, [row(f"d{i}", simulated=kind) for i, kind in enumerate(rows)], simulated=pages)
    assert ("imulated data.</strong>" in text) == (said is not None)
    assert said is None or said in text


def test_one_data_set_in_two_versions_is_told_apart(tmp_path):
    text = index(
        tmp_path, [row("demo", simulated=True, fingerprint=f) for f in ("aaaaaaaa11", "bbbbbbbb22")], simulated=True
    )
    assert "aaaaaaaa</span>" in text
    assert "bbbbbbbb</span>" in text


def test_the_verdict_is_the_second_column_and_each_value_names_its_column(tmp_path):
    text = index(tmp_path, [row("demo", simulated=True), row("trials", simulated=False)], simulated=True)
    heads = re.findall(r'<th role="columnheader"[^>]*>([^<]+)</th>', text)
    assert heads == ["Model", "Verdict", "Data set", "Split", "Score", "Chance", "p", "n"]
    assert re.findall(r'data-column="([^"]+)"', text) == heads[1:] * 2
