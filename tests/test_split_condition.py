"""The split by condition: learnt from what was heard, tested on what was imagined."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import typer.testing

from eegviz import audit, cli, controls, splits, store
from eegviz.datasets import demo_mos
from eegviz.errors import DataError, ParameterError
from tests.conftest import make_tiny_store
from tests.test_splits import parts, values, windows


def several(conditions=("listening", "imagery"), **options):
    """The same recordings once in each condition."""
    table = windows(**{"n_subjects": 3, "n_songs": 2, "n_seconds": 40, "n_repeats": 2} | options)
    tables = [table.assign(condition=one, recording=table["recording"] + f"_{one}") for one in conditions]
    return pd.concat(tables, ignore_index=True)


def test_all_recordings_of_the_condition_are_the_test():
    table = several()
    made = splits.split(table, "condition:imagery")
    assert np.array_equal(made.test, np.flatnonzero(table["condition"] == "imagery"))
    assert values(table, np.r_[made.train, made.validation], "condition") == {"listening"}
    assert made.can_separate
    assert made.holds_out == "all recordings of imagery"
    assert made.label == (
        "separates song from recording: another condition (imagery), songs and listeners known from training; sessions "
        "are not given, and drift of a shared one could still mark the song"
    )
    default = splits.split(table, "condition")
    assert default.spec == "condition:imagery"
    assert all(np.array_equal(a, b) for a, b in zip(parts(made), parts(default), strict=True))
    assert values(table, splits.split(table, "condition:listening").test, "condition") == {"listening"}


def test_validation_shares_no_music_with_training():
    table = several()
    made = splits.split(table, "condition")
    music = table["stimulus"] + table["second"].astype(str)
    assert not set(music.iloc[made.validation]) & set(music.iloc[made.train])
    assert set(music.iloc[made.test]) >= set(music.iloc[made.train])


def test_label_says_what_is_shared():
    table = several()
    shared = splits.split(table.assign(session="a"), "condition").label
    assert shared.endswith("; conditions share a session, whose drift could still mark the song")
    assert splits.split(table.assign(session=table["condition"]), "condition").label.endswith("known from training")
    fewer = table[(table["condition"] == "imagery") | (table["stimulus"] == "song0")]
    assert "some songs are not in training" in splits.split(fewer, "condition").label
    fewer = fewer[(fewer["condition"] == "imagery") | (fewer["subject"] == "S01")]
    assert "some songs and listeners are not in training" in splits.split(fewer, "condition").label


def test_several_conditions_can_be_held_out():
    table = several(("a", "b", "c"))
    made = splits.split(table, "condition:c, a")
    assert made.spec == "condition:a,c"
    assert values(table, made.train, "condition") == {"b"}


@pytest.mark.parametrize(
    ("conditions", "spec", "match"),
    [
        (("listening",), "condition", r"only one condition \(listening\); .* such as listening,imagery"),
        (("listening",), "condition:imagery", "only one condition"),
        (("a", "b"), "condition", "which one is held out. The table has a, b: write e.g. condition:a"),
        (("a", "b", "imagery"), "condition", "which one is held out"),
        (("listening", "imagery"), "condition:dreaming", "unknown 'dreaming'; expected one of imagery, listening"),
        (("listening", "imagery"), "condition:,", "unknown"),
        (("listening", "imagery"), "condition:imagery,listening", "holds out all 2"),
        (("listening", "imagery"), "condition:", "colon and no options: expected e.g. 'condition:imagery'"),
        (("", "imagery"), "condition:imagery", "some windows have no condition"),
    ],
)
def test_refuses_what_the_table_cannot_give(conditions, spec, match):
    with pytest.raises(ParameterError, match=match):
        splits.split(several(conditions), spec)


def test_refuses_a_table_without_conditions_and_folds():
    with pytest.raises(DataError, match="lacks condition"):
        splits.split(several().drop(columns="condition"), "condition")
    with pytest.raises(ParameterError, match="'condition:imagery' has no folds.*leave out --folds"):
        splits.folds(several(), "condition:imagery")


def test_check_and_audit_know_it():
    table = several().assign(session="a")
    made = splits.split(table, "condition")
    splits.check(table, made)
    moved = dataclasses.replace(made, train=np.sort(np.r_[made.train, made.test[0]]), test=made.test[1:])
    with pytest.raises(ParameterError, match="condition imagery is on two sides"):
        splits.check(table, moved)
    status = audit.audit(table, made).table.set_index("kind")["status"]
    assert status["hearings of the same second"] == status["songs"] == status["listeners"] == "by design"
    assert status["recordings"] == "none"
    assert status["sessions"] == "caveat"


def test_other_splits_keep_conditions_apart_in_a_mixed_table():
    table = several()
    made = splits.split(table, "repeat")
    for condition in ("listening", "imagery"):
        here = np.flatnonzero(table["condition"] == condition)
        assert values(table, np.intersect1d(here, made.test), "repeat") == {2}
        assert values(table, np.intersect1d(here, made.train), "repeat") == {1}
    for spec, column in (("subject:50", "subject"), ("song:50", "stimulus")):
        made = splits.split(table, spec)
        assert not values(table, made.test, column) & values(table, np.r_[made.train, made.validation], column)
    lent = controls.other_listener(table)
    assert (lent >= 0).all()
    same = ["stimulus", "condition", "repeat", "second"]
    assert (table[same].to_numpy() == table[same].to_numpy()[lent]).all()
    assert (table["subject"].to_numpy() != table["subject"].to_numpy()[lent]).all()


def test_heard_melodies_teach_and_imagined_ones_test_from_the_command_line(tmp_path):
    path = demo_mos.make_store(
        tmp_path / "store", n_subjects=2, n_repeats=2, melodies=[19, 101], duration=16.0, progress=False
    )
    runner = typer.testing.CliRunner()
    common = ["train", str(path), "--model", "ridge", "--preset", "fast", "--out", str(tmp_path / "runs")]
    done = runner.invoke(cli.app, [*common, "--condition", "listening,imagery", "--split", "condition:imagery"])
    assert done.exit_code == 0, done.output
    found = runner.invoke(cli.app, ["evaluate", done.output.split()[-1]])
    printed = " ".join(found.output.split())
    assert "split condition:imagery: separates song from recording: another condition (imagery)" in printed
    assert "VERDICT: " in printed
    assert "conditions share a session" in printed
    assert "nan" not in printed.lower().split()
    done = runner.invoke(cli.app, [*common, "--split", "condition"])
    assert isinstance(done.exception, ParameterError)
    assert "only one condition (listening)" in str(done.exception)


def test_a_store_without_imagery_says_so_once(tmp_path):
    path = make_tiny_store(tmp_path / "store")
    assert set(store.open(path).recordings["condition"]) == {"listening"}
    asked = ["--model", "ridge", "--condition", "listening,imagery", "--split", "condition:imagery"]
    done = typer.testing.CliRunner().invoke(cli.app, ["train", str(path), *asked, "--out", str(tmp_path / "runs")])
    assert isinstance(done.exception, ParameterError)
    assert str(done.exception).count("\n") == 0
    assert "has no recordings of condition imagery; it has listening" in str(done.exception)
