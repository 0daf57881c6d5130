"""Headless notebooks and their pages: what ran, what failed, and that a page needs nothing but itself."""

import base64
import os
import re
import struct
import sys
import threading
import zlib
from pathlib import Path

import nbformat
import pytest

from eegviz import headless, index_page, markup, notebook_page, page, report
from eegviz.errors import DataError, EegvizError, ParameterError

pytestmark = pytest.mark.timeout(300)
v4 = nbformat.v4
PARAMETERS = 'store = "a"\nruns = "b"\nout = "c"\nseed = 0\nfast = True'
KILL = "import os; os.kill(os.getpid(), 9)"
FACTS = {"data_set": "Tiny <store>", "simulated": True, "seed": 3, "versions": {"numpy": "2"}, "git_commit": "abc"}


def png(width=40, height=20):
    """A PNG with a ramp, by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(255 * x // width for x in range(width) for _ in range(3)) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def code(source, *tags, outputs=()):
    return v4.new_code_cell(source, metadata={"tags": list(tags)}, outputs=list(outputs))


def shown(data, **metadata):
    return v4.new_output("display_data", data=data, metadata=metadata)


def save(folder, name, *cells, **metadata):
    path = folder / f"{name}.ipynb"
    nbformat.write(v4.new_notebook(cells=list(cells), metadata=metadata), path)
    return path


def notebook(*cells):
    return v4.new_notebook(cells=list(cells))


def rendered(*cells, **settings):
    return notebook_page.render(notebook(*cells), **settings)


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
    assert "Simulated data." in text
    assert "Simulated data." not in (out / "02_second.html").read_text(encoding="utf-8")
    assert (out / "files" / "02_second").is_dir()


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


def test_systems_table_reads_scored_runs(tmp_path):
    assert report.systems_table(tmp_path / "none") == []
    import json

    run = tmp_path / "abc"
    run.mkdir()
    config = {"model": {"name": "cnn", "preset": "fast", "settings": {"width": 4}}, "features": {"eeg": "raw", "audio": "mel-db"},
              "split": {"spec": "interleaved:4", "seed": 0}, "seed": 0}  # fmt: skip
    metric = {"metric": "retrieval", "score": 0.9, "low": 0.8, "high": 1.0, "chance": 0.5, "p": 0.004, "n": 7,
              "unit": "listeners"}  # fmt: skip
    split = {"spec": "interleaved:4", "label": "cannot separate song from recording", "can_separate": False}
    (run / "config.json").write_text(json.dumps(config))
    (run / "provenance.json").write_text("{}")
    (run / "metrics.json").write_text(
        json.dumps({"split": split, "metrics": [metric], "verdict": "This split cannot tell"})
    )
    (row,) = report.systems_table(tmp_path)
    assert (row["verdict"], row["score"], row["model"], row["n"]) == ("This split cannot tell", 0.9, "cnn", 7)
    assert (row["recipe"], row["p"]) == ("preset fast, width=4", 0.004)
    for stored in (
        "The EEG contributed",
        "No evidence that the EEG contributed",
    ):  # as it was written, not decided again
        (run / "metrics.json").write_text(json.dumps({"split": split, "metrics": [metric], "verdict": stored}))
        assert report.systems_table(tmp_path)[0]["verdict"] == stored


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


def test_live_views_are_dropped_beside_a_picture_and_noted_without_one():
    live = shown({"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "IntSlider()"})
    script = shown({"application/javascript": "alert(1)", "text/html": "<script>alert(1)</script>"})
    still = shown({"image/png": base64.b64encode(png()).decode()}, **{"image/png": {"alt": "ramp"}})
    together = rendered(code("w", outputs=[live, script, still]))
    assert notebook_page.LIVE_NOTE not in together
    assert 'alt="ramp"' in together
    alone = rendered(code("w", outputs=[live, script]))
    assert alone.count(notebook_page.LIVE_NOTE) == 1
    for text in (together, alone):
        assert "alert(1)" not in text
        assert "IntSlider" not in text


def test_a_still_of_a_live_view_and_a_library_announcing_itself():
    still = f'<div><script>x()</script><img src="data:image/png;base64,{base64.b64encode(png()).decode()}"></div>'
    html = rendered(code("p", outputs=[shown({"application/vnd.holoviews_exec.v0+json": "", "text/html": still})]))
    assert '<figure class="picture"><img' in html
    assert "x()" not in html
    loader = shown({"application/vnd.holoviews_load.v0+json": "", "application/javascript": "load()"})
    assert notebook_page.LIVE_NOTE not in rendered(code("hv.extension()", outputs=[loader]))


def test_nothing_is_fetched():
    prose = (
        '# A\n\n<script src="https://x.org/a.js"></script><link rel="stylesheet" href="http://x.org/a.css">'
        '<img src="https://x.org/a.png" srcset="//x.org/b.png 2x"> <iframe src="https://x.org"></iframe>\n\n'
        "![p](http://x.org/p.png) [paper](https://doi.org/10.1/x) [next](03_training.ipynb#found)"
    )
    styled = '<style>@import "http://x.org/s.css"; p {background: url(//x.org/q.png)}</style><p style="background:url(http://x.org/r.png)">t</p>'
    html = rendered(v4.new_markdown_cell(prose), code("s", outputs=[shown({"text/html": styled})]))
    body = html[html.index("<body>") :]
    assert re.findall(r'(?:src|srcset|data|action)="(?!data:)[^"]*"', body) == []
    assert re.findall(r"url\((?!data:|#)", body) == []
    assert "@import" not in body
    assert "[a picture that is not part of this page: https://x.org/a.png]" in body
    assert re.findall(r'<a[^>]*href="(https?:[^"]*)"', body) == ["https://doi.org/10.1/x"]
    assert 'href="03_training.html#found"' in body
    assert "default-src 'none'" in html


def test_relative_pictures_are_embedded_and_only_from_the_folder(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    html = rendered(v4.new_markdown_cell("![a](a.png)\n\n<img src='../secret.png'>"), folder=inside)
    assert html.count("data:image/png;base64") == 1
    assert "not part of this page: ../secret.png" in html


def test_attached_pictures_are_embedded():
    cell = v4.new_markdown_cell("# T\n\n![a](attachment:p.png)")
    cell["attachments"] = {"p.png": {"image/png": base64.b64encode(png()).decode()}}
    assert "data:image/png;base64,iVBOR" in rendered(cell)


def test_tables_scroll_and_have_caption_and_scopes():
    import pandas as pd

    frame = pd.DataFrame({"score": [0.5, -1.25], "name": ["<a>", "b"]}, index=["S01", "S02"])
    cell = code("df", outputs=[shown({"text/html": frame._repr_html_()}, **{"text/html": {"caption": "Two scores"}})])
    html = rendered(v4.new_markdown_cell("# T"), cell)
    assert '<div aria-label="Two scores" class="scroll" role="region" tabindex="0">' in html
    assert "<caption>Two scores</caption>" in html
    assert html.count('scope="col"') == 2
    assert html.count('scope="row"') == 2
    assert 'class="number">-1.25' in html
    assert "&lt;a&gt;" in html
    assert "<style scoped" not in html
    unnamed = rendered(
        v4.new_markdown_cell("# T\n\n## Scores"), code("df", outputs=[shown({"text/html": frame._repr_html_()})])
    )
    assert '<caption class="hidden">Table 1, Scores</caption>' in unnamed


def test_headings_make_title_contents_and_anchors():
    html = rendered(v4.new_markdown_cell("# Ti<tle\n\nWhy?\n\n## One\n\n### Sub\n\n# Two\n\n## One"))
    assert "<title>Ti&lt;tle</title>" in html
    assert html.count("<h1") == 1
    assert re.findall(r'<li class="level-(\d)"><a href="#([^"]+)">', html) == [
        ("2", "one"), ("3", "sub"), ("2", "two"), ("2", "one-2"),
    ]  # fmt: skip
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert '<html lang="en">' in html
    assert '<main id="main"' in html
    assert 'href="#main"' in html


def test_tags_hide_parts_and_code_is_folded():
    said = [v4.new_output("stream", name="stdout", text="said <this>")]
    html = rendered(
        code("hidden_source()", "remove-input", outputs=said),
        code("shown_source()", "remove-output", outputs=[v4.new_output("stream", name="stdout", text="hidden words")]),
        code("gone()", "remove-cell", outputs=said),
    )
    assert "hidden_source" not in html
    assert "said &lt;this&gt;" in html
    assert "hidden words" not in html
    assert "gone" not in html[html.index("<body>") :]
    assert '<details class="code"><summary>' in html


def test_terminal_text_is_plain():
    outputs = [
        v4.new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m\n10 %\r100 %\n"),
        v4.new_output("stream", name="stderr", text="a warning"),
        v4.new_output("stream", name="stdout", text="x" * 30_000),
    ]
    html = rendered(code("p", outputs=outputs))
    assert "red\n100 %" in html
    assert "10 %\r" not in html
    assert "<summary>messages</summary>" in html
    assert "10000 more characters in the notebook" in html


def test_audio_has_a_name():
    html = rendered(
        v4.new_markdown_cell("# T\n\n## Ear"), code("a", outputs=[shown({"text/html": "<audio controls></audio>"})])
    )
    assert 'aria-label="Sound 1, Ear"' in html


def test_own_scripts_keep_their_text():
    script = "<script>if (1 < 2 && '<p>') { run(); }</script>"
    assert script in rendered(code("g", outputs=[shown({"text/html": f"<div>grid</div>{script}"})]))


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


def test_every_text_colour_meets_wcag_aa_in_light_and_dark():
    css = Path(page.__file__).with_name("page.css").read_text(encoding="utf-8")
    blocks = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in css.split("}")[:2]]

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for colours in blocks:
        plain = ["ink", "muted", "accent", *(name for name in colours if name.startswith("code-"))]
        pairs = [(name, ground) for name in plain for ground in ("ground", "raised")]
        pairs += [(name, f"{name}-ground") for name in ("good", "bad", "warn", "note")]
        assert len(pairs) == 22
        for name, ground in pairs:
            high, low = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def test_two_notebooks_at_once_stay_small(tmp_path):
    import psutil

    paths = [save(tmp_path, f"0{i}_n", code("import numpy, time\ntime.sleep(1)")) for i in (1, 2)]
    peak, done = [0], threading.Event()

    def watch():
        me = psutil.Process()
        base = me.memory_info().rss
        while not done.wait(0.1):
            total = me.memory_info().rss - base
            for child in me.children(recursive=True):
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
