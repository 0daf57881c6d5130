"""Headless notebooks and their reports: what ran, what failed, what the index says of it."""

import base64
import os
import re
import sys
import threading
from pathlib import Path

import nbformat
import pytest

from eegviz import headless, index_page, markup, report
from eegviz.errors import DataError, EegvizError, ParameterError

from .cells import code, notebook, png, save, v4

pytestmark = pytest.mark.timeout(300)
PARAMETERS = 'store = "a"\nruns = "b"\nout = "c"\nseed = 0\nfast = True'
KILL = "import os; os.kill(os.getpid(), 9)"
FACTS = {"data_set": "Tiny <store>", "simulated": True, "seed": 3, "versions": {"numpy": "2"}, "git_commit": "abc"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run of six small notebooks, two at a time: sound, raising, killed, ended early, late cells, impossible."""
    folder, out = tmp_path_factory.mktemp("braces {x}"), tmp_path_factory.mktemp("out")
    head = v4.new_markdown_cell("# 1 · A *small* tour\n\n**Question.** Does it <b>run</b>?\n\n## Found")
    picture = base64.b64encode(png()).decode()
    whole = (
        "import os, sys\nfrom IPython.display import display\n"
        "print(sys.executable, os.environ['OMP_NUM_THREADS'], seed, __import__('threading').active_count() > 0)\n"
        f"display({{'image/png': '{picture}'}}, raw=True, metadata={{'image/png': {{'alt': 'a \"ramp\"'}}}})"
    )
    paths = [
        save(folder, "01_whole", head, code(PARAMETERS, "parameters"), code(whole)),
        save(folder, "02_raises", code(PARAMETERS, "parameters"), code("1 / 0  # <here>"), code("print('never')")),
        save(
            folder, "03_killed", code("print('before')\nseed = 1", "parameters"), code(KILL), code("print('after')"),
        ),
        save(folder, "04_exits", code("seed = 1", "parameters"), code("import sys; sys.exit(0)"), code("print('no')")),
        save(
            folder, "05_impossible", v4.new_markdown_cell("# Imagined"), code("seed = 1", "parameters"),
            code("print('not possible on this data because nobody imagined <music>')"),
        ),
        save(folder, "06_killed_last", code("seed = 1", "parameters"), code(KILL)),
    ]  # fmt: skip
    results = report.run_notebooks(paths, out=out, parameters={"seed": 7}, facts=FACTS)
    return {result.name[3:]: result for result in results}, out


def html(result):
    return result.page.read_text(encoding="utf-8")


def test_a_whole_notebook_is_ok_and_ran_in_this_interpreter_with_the_parameters(run):
    result = run[0]["whole"]
    assert (result.status, result.cell, result.message, result.ok) == ("ok", None, None, True)
    text = nbformat.read(result.notebook, 4).cells[-1].outputs[0].text.split()
    assert text[:3] == [sys.executable, "1", "7"]
    assert result.title == "1 · A small tour"
    assert result.question == "Question. Does it run?"
    assert result.seconds > 0


def test_an_error_gives_a_partial_page_stamped_failed(run):
    result = run[0]["raises"]
    assert (result.status, result.cell) == ("failed", 3)
    assert "ZeroDivisionError: division by zero" in result.message
    text = html(result)
    stamp, body = text.index("FAILED"), text.index("<h1>")
    assert stamp < body
    assert 'href="#cell-3"' in text
    assert '<div id="cell-3" class="failure">' in text
    assert "&lt;here&gt;" in text


@pytest.mark.parametrize("name", ["killed", "killed_last"])
def test_a_killed_kernel_is_a_failure_although_papermill_says_completed(run, name):
    result = run[0][name]
    executed = nbformat.read(result.notebook, 4)
    assert {cell.metadata.papermill.status for cell in executed.cells} == {"completed"}
    assert (result.status, result.cell) == ("failed", 3)
    assert "kernel died" in result.message
    assert "FAILED" in html(result)


def test_a_notebook_that_ends_itself_early_is_a_failure(run):
    result = run[0]["exits"]
    assert (result.status, result.cell) == ("failed", 4)
    assert "never ran" in result.message


def test_impossibility_is_a_note_and_a_status_not_a_failure(run):
    result = run[0]["impossible"]
    assert (result.status, result.reasons, result.ok) == ("not possible", ("nobody imagined <music>",), True)
    text = html(result)
    assert 'class="note impossible"' in text
    assert "because nobody imagined &lt;music&gt;" in text
    assert "FAILED" not in text


def test_pages_link_each_other_and_state_where_they_come_from(run):
    text = html(run[0]["raises"])
    for link in ("index.html", "01_whole.html", "03_killed.html"):
        assert f'href="{link}"' in text
    assert "Tiny &lt;store&gt;" in text
    assert "Simulated data." in text
    assert "numpy 2" in text


def test_nothing_half_written_and_no_path_of_the_machine_stays(run):
    results, out = run
    assert not list(out.glob(".*"))
    assert str(out) not in html(results["whole"])
    assert nbformat.read(results["whole"].notebook, 4).metadata.papermill.input_path == "01_whole.ipynb"


def test_index_has_cards_systems_and_banners(run, tmp_path):
    results, out = run
    systems = [
        {"run": "r<1>", "model": "cnn", "eeg": "raw", "audio": "mel-db", "split": "interleaved",
         "label": "cannot separate", "metric": "retrieval", "score": 0.71, "low": 0.69, "high": 0.73,
         "chance": 0.5, "n": 120,
         "verdict": "This split cannot tell"},
        {"run": "r2", "model": "ridge"},
    ]  # fmt: skip
    index = report.write_index(
        list(results.values()), out, title="All <of> it", intro="Why?", systems=systems, simulated=True, facts=FACTS
    )
    text = index.read_text(encoding="utf-8")
    assert text.count('<li class="card">') == 6
    assert text.count('class="pill failed">FAILED') == 4
    assert "4 of 6 notebooks" in text
    assert "All &lt;of&gt; it" in text
    assert "Not possible on this data because nobody imagined &lt;music&gt;" in text
    assert 'alt="a &quot;ramp&quot;"' in text
    for cell in ("0.710", "0.690 to 0.730", "0.500", "cannot separate", "r&lt;1&gt;", "This split cannot tell", "n/a"):
        assert cell in text
    assert "Simulated data." in text
    addresses = re.findall(r'href="([^"#]*)"', text)
    assert all((out / address).is_file() for address in addresses if address and not address.startswith("data:"))


def test_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    path = save(tmp_path, "01_a", code("seed = 0\nfast = True", "parameters"))
    with pytest.raises(ParameterError, match=r"'sead'; those it declares: seed, fast"):
        report.run_notebooks([path], out=tmp_path / "out", parameters={"sead": 1})
    bare = save(tmp_path, "02_b", code("seed = 0"))
    with pytest.raises(ParameterError, match="no cell tagged 'parameters'"):
        report.run_notebooks([bare], out=tmp_path / "out", parameters={"seed": 1})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{}", "no json", '{"cells": 3, "nbformat": 4}'])
def test_damaged_notebook_is_a_data_error(tmp_path, content):
    (tmp_path / "x.ipynb").write_text(content)
    with pytest.raises(DataError, match=r"x\.ipynb"):
        report.run_notebooks([tmp_path / "x.ipynb"], out=tmp_path)


def test_missing_notebook_and_bad_jobs(tmp_path):
    with pytest.raises(DataError, match="no notebook at"):
        report.run_notebooks([tmp_path / "x.ipynb"], out=tmp_path)
    with pytest.raises(ParameterError, match="jobs"):
        report.run_notebooks([], out=tmp_path, jobs=0)
    path = save(tmp_path, "a", code("1"))
    with pytest.raises(ParameterError, match="one each"):
        report.run_notebooks([path], out=tmp_path, facts=[{}, {}])


def test_a_notebook_over_its_time_is_stopped(tmp_path):
    path = save(tmp_path, "01_long", code("import time\ntime.sleep(100)"))
    (result,) = report.run_notebooks([path], out=tmp_path / "out", timeout=4)
    assert (result.status, result.cell) == ("failed", 1)
    assert "stopped after 4 s" in result.message
    assert result.seconds < 30


def test_stopping_kills_the_kernel(tmp_path):
    import psutil

    path = save(tmp_path, "01_long", code("import time\ntime.sleep(100)"))
    stop = threading.Event()
    threading.Timer(2, stop.set).start()
    done = headless.execute(path, stop=stop)
    assert (done.cell, done.message) == (1, "stopped before its end")
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("ipykernel" in command for command in commands)


def test_a_page_over_the_limit_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MAX_PAGE", 10_000)
    (result,) = report.run_notebooks([save(tmp_path, "a", code("print('x')"))], out=tmp_path / "out")
    assert not result.ok
    assert "more than 0.01" in result.message
    assert "FAILED" in html(result)


def test_report_passes_only_what_a_notebook_declares_and_picks_its_store(tmp_path, monkeypatch, tiny_store):
    from eegviz import store

    other = tmp_path / "imagery"
    with store.create(other, dataset="other", title="Other", licence="CC0", citation="none", simulated=False) as writer:
        writer.add_recording(
            "r1", tiny_store.eeg(tiny_store.recordings["recording"].iloc[0])[:2], subject="S1", sfreq=125.0,
            condition="imagery", ch_names=["E1", "E2"],
        )  # fmt: skip
    say = code("print(store, seed, fast)")
    first = save(tmp_path, "01_first", code("store = ''\nseed = 0\nfast = True", "parameters"), say)
    second = save(
        tmp_path, "02_second", code("store = ''\nseed = 0\nfast = True\nout = ''", "parameters"), say,
        code("assert __import__('pathlib').Path(out).is_dir()"), eegviz={"store": ["imagery"]},
    )  # fmt: skip
    out = tmp_path / "out"
    index = report.report([first, second], [tiny_store.path, other], out=out, fast=False, seed=5)
    assert index == out / "index.html"
    said = [nbformat.read(out / f"{name}.ipynb", 4).cells[2].outputs[0].text for name in ("01_first", "02_second")]
    assert said == [f"{Path(tiny_store.path).resolve()} 5 False\n", f"{other.resolve()} 5 False\n"]
    text = index.read_text(encoding="utf-8")
    assert "Partly simulated data.</strong> Some pages are of simulated data" in text
    assert "<dt>simulated</dt><dd>some of the pages</dd>" in text
    for name in ("Tiny, Other", tiny_store.fingerprint[:12], store.open(other).fingerprint[:12]):
        assert name in text
    assert (
        "Simulated data.</strong> No brain was recorded for the numbers below." in (out / "01_first.html").read_text()
    )
    assert "Simulated data." not in (out / "02_second.html").read_text(encoding="utf-8")
    assert (out / "files" / "02_second").is_dir()


def test_a_notebook_may_ask_for_a_second_store(tiny_store):
    from eegviz import store

    place = Path(tiny_store.path).resolve()
    stores = report._stores([tiny_store.path])
    dataset = store.open(place).manifest["dataset"]
    wanted = nbformat.v4.new_notebook(metadata={"eegviz": {"store": ["nowhere"], "songs": ["nowhere", dataset]}})
    places, about = report._fitting(stores, wanted)
    assert places == {"store": str(place), "songs": str(place)}
    assert about["data_set"] == "Tiny"
    assert about["simulated"] is True
    recorded = (place / "other", {**stores[0][1], "data_set": "Other", "simulated": False}, {"other"})
    wanted.metadata["eegviz"]["songs"] = ["other"]
    both = report._fitting([*stores, recorded], wanted)[1]
    assert (both["data_set"], both["simulated"]) == ("Tiny; Other", "some of the data")
    wanted.metadata["eegviz"]["songs"] = ["nowhere"]  # none fits: the notebook's own default stays
    assert report._fitting(stores, wanted)[0] == {"store": str(place)}


def test_report_of_a_failing_notebook_is_an_error_with_all_pages_written(tmp_path, tiny_store):
    bad = save(tmp_path, "01_bad", code("raise ValueError('too <loud>')"))
    with pytest.raises(
        report.NotebookFailure, match=r"1 of 1 notebooks failed. 01_bad \(cell 1\): ValueError"
    ) as caught:
        report.report([bad], [tiny_store.path], out=tmp_path / "out")
    assert isinstance(caught.value, EegvizError)
    assert "too &lt;loud&gt;" in caught.value.index.read_text(encoding="utf-8")
    with pytest.raises(ParameterError, match="at least one store"):
        report.report([bad], [], out=tmp_path)


@pytest.fixture
def series(tmp_path):
    for name in ("01_data_tour", "02_psd_vs_raw", "03_training", "10_training_more"):
        save(tmp_path, name, code("1"))
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(3, "03_training"), ("03", "03_training"), ("training", "03_training"), ("psd", "02_psd_vs_raw"),
     ("01_data_tour.ipynb", "01_data_tour"), (10, "10_training_more")],
)  # fmt: skip
def test_notebooks_are_found_by_number_and_name(series, wanted, expected):
    assert [path.stem for path in headless.find_notebooks([wanted], folder=series)] == [expected]


def test_notebooks_that_cannot_be_found(series, tmp_path):
    assert len(headless.find_notebooks(folder=series)) == 4
    assert headless.find_notebooks([series / "03_training.ipynb"]) == [(series / "03_training.ipynb").resolve()]
    with pytest.raises(ParameterError, match="the series has 01_data_tour, 02_psd"):
        headless.find_notebooks(["99"], folder=series)
    with pytest.raises(ParameterError, match="fits several"):
        headless.find_notebooks(["train"], folder=series)
    with pytest.raises(ParameterError, match="given twice"):
        headless.find_notebooks([1, "01"], folder=series)
    with pytest.raises(DataError, match="no notebook series"):
        headless.find_notebooks(folder=tmp_path / "empty")
    with pytest.raises(DataError, match="no notebook at"):
        headless.find_notebooks([str(tmp_path / "none" / "x.ipynb")])


def test_parameters_are_read_as_literals():
    cell = code("a = 1\nb: str = 'x'\nc = (\n    2,\n    3,\n)\nd = len('x')\n# e = 4", "parameters")
    assert headless.declared_parameters(notebook(code("z = 1"), cell)) == {"a": 1, "b": "x", "c": (2, 3), "d": None}
    assert headless.declared_parameters(notebook(code("z = 1"))) == {}


def test_write_text_is_whole_or_not_at_all(tmp_path, monkeypatch):
    target = headless.write_text(tmp_path / "a" / "x.html", "old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        headless.write_text(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["x.html"]


def test_two_notebooks_at_once_stay_small(tmp_path):
    import psutil

    paths = [save(tmp_path, f"0{i}_n", code("import numpy, time\ntime.sleep(1)")) for i in (1, 2)]
    peak, done = [0], threading.Event()
    me = psutil.Process()
    others = set(me.children(recursive=True))  # such as the process that other tests fork their workers from

    def watch():
        base = me.memory_info().rss
        while not done.wait(0.1):
            total = me.memory_info().rss - base
            for child in set(me.children(recursive=True)) - others:
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        results = report.run_notebooks(paths, out=tmp_path / "out")
    finally:
        done.set()
        watcher.join()
    assert all(result.ok for result in results)
    assert 0 < peak[0] < 500e6


def test_small_helpers():
    assert [index_page._duration(s) for s in (0.4, 59.4, 125)] == ["0 s", "59 s", "2 min 5 s"]
    assert index_page._number(float("nan")) == "n/a"
    soup = markup.parse("<p>a</p>")
    markup.no_network(soup, Path("."))
    assert str(soup) == "<p>a</p>"


def test_the_footer_says_the_settings_without_a_path_of_the_machine(tmp_path, tiny_store):
    path = save(tmp_path, "01_a", code("real = ''\nsize = 1", "parameters"))
    out = tmp_path / "out"
    (tmp_path / "people").mkdir()
    index = report.report([path], [tiny_store.path], out=out, settings={"real": str(tmp_path / "people"), "size": 3})
    for text in (index.read_text(encoding="utf-8"), (out / "01_a.html").read_text(encoding="utf-8")):
        footer = text[text.index("<footer") :]
        assert "<dt>settings</dt><dd>real people, size 3</dd>" in footer
        assert str(tmp_path) not in footer
