"""Folders sorted into stores and runs, and results that are made once."""

import threading
import time

import pytest

from eegviz import catalogue
from eegviz.errors import DataError


def test_a_store_is_found_by_its_folder_and_by_the_folder_above(tiny_store):
    for path in (tiny_store.path, tiny_store.path.parent):
        found = catalogue.find([path])
        assert list(found.stores) == [tiny_store.path.name]
        assert found.store(tiny_store.path.name).fingerprint == tiny_store.fingerprint


def test_the_same_folder_twice_counts_once(tiny_store):
    assert len(catalogue.find([tiny_store.path, tiny_store.path.parent]).stores) == 1


def test_what_is_neither_is_refused_with_what_was_expected(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file: expected the folder"):
        catalogue.find([tmp_path / "file"])
    with pytest.raises(DataError, match=r"holds no store \(manifest.json\), no run"):
        catalogue.find([tmp_path])
    with pytest.raises(DataError, match="is not there"):
        catalogue.find([tmp_path / "nothing"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no demonstration at reports/demo.*eegviz demo"):
        catalogue.find()


def test_an_unknown_store_or_run_is_refused(tiny_store):
    found = catalogue.find([tiny_store.path])
    with pytest.raises(DataError, match="no store 'other'"):
        found.store("other")
    with pytest.raises(DataError, match="no run 'abc'"):
        found.run("abc")


def test_many_who_ask_at_once_wait_for_one():
    shelf, made = catalogue.Shelf(2), []

    def make():
        made.append(1)
        time.sleep(0.05)
        return len(made)

    threads = [threading.Thread(target=lambda: shelf.get("a", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_shelf_forgets_the_oldest_and_tries_again_after_an_error():
    shelf = catalogue.Shelf(1)
    with pytest.raises(ZeroDivisionError):
        shelf.get("a", lambda: 1 / 0)
    assert shelf.get("a", lambda: 2) == 2
    assert shelf.get("b", lambda: 3) == 3
    assert "a" not in shelf
    assert len(shelf) == 1


def test_runs_are_listed_scored_first_with_labels_of_their_own(tiny_store, tmp_path):
    from eegviz import _state_listen, evaluation
    from tests.test_evaluation import trained

    blocked, plain = trained(tiny_store, tmp_path, split="blocked"), trained(tiny_store, tmp_path)
    evaluation.evaluate(blocked, store=tiny_store)
    found = catalogue.find([tiny_store.path, tmp_path])
    table = found.table  # the linear decoder that was trained beside it is there too, not scored
    assert [row["scored"] for row in table] == [True, *[False] * (len(table) - 1)]
    assert (table[0]["run"], table[0]["label"]) == (
        blocked.path.name,
        "tiny · cnn · periodogram · blocked · cannot tell",
    )
    assert len({row["label"] for row in table}) == len(table)
    assert "tiny · cnn · periodogram · repeat · not scored" in {row["label"] for row in table}
    head, line, *others = catalogue.describe(found).splitlines()
    assert head.split()[:7] == ["run", "data", "model", "input", "sound", "split", "verdict"]
    assert line.startswith(f"{blocked.path.name}  tiny  cnn")
    assert [line.index(word) for word in ("mel-db", "blocked  ", "cannot tell")] == [
        head.index(word) for word in ("sound", "split", "verdict")
    ]
    assert any(one.startswith(plain.path.name) for one in others)
    assert others[-1] == f"{len(table) - 1} of {len(table)} runs have no verdict yet: eegviz evaluate RUN scores one."
    assert _state_listen.first_choice(found, list(found.run_paths)) == blocked.path.name


def test_a_label_says_what_tells_a_run_from_the_others():
    row = {
        "dataset": "d",
        "model": "gan",
        "eeg": "raw",
        "split": "repeat",
        "verdict": "No evidence that the EEG contributed",
    }
    row |= {"preset": "fast", "settings": "", "audio": "mel", "condition": "listening"}
    found = [
        row | {"run": "1"},
        row | {"run": "2", "condition": "imagery"},
        row | {"run": "3"},
        row | {"run": "4", "model": "cnn"},
    ]
    start = "d · gan · raw · repeat · no evidence"
    assert catalogue.labels(found) == [
        f"{start} · 1", "d · gan · raw, imagery · repeat · no evidence", f"{start} · 3", "d · cnn · raw · repeat · no evidence",
    ]  # fmt: skip


def test_the_first_choice_is_a_readable_run_whose_eeg_contributed():
    from types import SimpleNamespace

    from eegviz._state_listen import first_choice

    row = {"store": "s", "model": "cnn", "scored": True, "condition": "listening", "verdict": "The EEG contributed"}
    rows = [
        row | {"run": "a", "split": "subject:50", "n_test": 900}, row | {"run": "b", "split": "repeat", "n_test": 100},
        row | {"run": "c", "split": "repeat", "n_test": 500},
        row | {"run": "d", "split": "repeat", "n_test": 800, "verdict": "No evidence that the EEG contributed"},
    ]  # fmt: skip
    assert first_choice(SimpleNamespace(table=rows), ["a", "b", "c", "d"]) == "c"
