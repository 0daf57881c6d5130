"""Strings that would like to be script, as file names, listeners, songs, channels and labels, through every page of a report.

The store here is small: two listeners, two songs, 16 s. The quicker notebooks of the series run on it. 7, 9 and 11 could too,
and train for half a minute each; 10 needs 101 different progressions of chords. What these four show (tables, intervals, maps,
choosers, grids) is fed with all strings by hand, as is everything else that a notebook can put out.
"""

import base64
import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import bs4
import mne
import nbformat
import numpy as np
import pandas as pd
import pytest

from eegviz import (
    grid_page,
    index_page,
    listening,
    maps,
    notebook_page,
    page,
    plots,
    report,
    scripts,
    store,
    training,
    tuning,
)
from eegviz.errors import ParameterError
from eegviz.listening import ability, charts, pretend

from . import app_data, page_content
from .app_data import HOSTILE
from .browser import offline_page, serious_findings
from .cells import code, png, save, shown, v4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FOLDER = "'\"><img src=x onerror=alert(1)> {x} $y$ #a?b%41"
SERIES = [1, 2, 3, 4, 5, 6, 8, 12]
# everything that a person does on a page, and what a browser does by itself
TOUCH = """async () => {
  for (const e of document.querySelectorAll('details')) e.open = true;
  for (const e of document.querySelectorAll('main *, header *, footer *')) {
    for (const kind of ['mouseover', 'pointerenter', 'toggle', 'animationstart'])
      e.dispatchEvent(new Event(kind, {bubbles: true}));
    if (e.matches('a, button, input, select, [tabindex]')) e.focus();
  }
  for (const e of document.querySelectorAll('main button')) e.click();
  for (const e of document.querySelectorAll('main select')) {
    for (let i = 0; i < e.options.length; i++) { e.selectedIndex = i; e.dispatchEvent(new Event('change', {bubbles: true})); }
    e.selectedIndex = 0; e.dispatchEvent(new Event('change', {bubbles: true}));
  }
  for (const e of document.querySelectorAll('main input[type=range]')) {
    e.value = e.max; e.dispatchEvent(new Event('input', {bubbles: true}));
  }
  for (const e of document.querySelectorAll('main input[type=radio], main input[type=checkbox]')) e.click();
  for (const e of document.querySelectorAll("main a[href^='#']")) e.click();
  await new Promise(done => setTimeout(done, 150));
}"""


@pytest.fixture(scope="module")
def hostile_store(tmp_path_factory):
    path = app_data.small_store(tmp_path_factory.mktemp("hostile") / FOLDER)
    app_data.make_hostile(path)
    return store.open(path)


@pytest.fixture(scope="module")
def series(hostile_store, tmp_path_factory):
    """The pages of the series, in a folder with a name as bad as the store's."""
    out = tmp_path_factory.mktemp("out") / FOLDER
    return report.report(SERIES, [hostile_store.path], out=out, jobs=2).parent


def check_in_browser(chromium, path, *, strings=(), axe=False):
    """Nothing runs, nothing fails, nothing is dead, nothing is fetched; `strings` are there to be read, letter by letter."""
    assert page_content.dead_links(path) == []
    with offline_page(chromium, path) as (page_, requests, problems):
        dialogs = []
        page_.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page_.reload(wait_until="load")  # now with somebody who listens for dialogs
        page_.evaluate(TOUCH)
        for key in ("?", "1", "Space", "a", "b", "Escape"):
            page_.keyboard.press(key)
        assert page_.evaluate("window.hacked") is None
        assert dialogs == []
        assert problems == []
        assert [r[:100] for r in requests if not r.startswith(("file:", "data:", "blob:"))] == []
        said = page_.evaluate(
            "[document.documentElement.textContent, ...[...document.querySelectorAll('*')]"
            ".flatMap(e => [...e.attributes].map(a => a.value))].join('\\n')"
        )
        assert [one for one in strings if one not in said] == []
        assert not axe or serious_findings(page_) == []
    with offline_page(chromium, path, width=375, height=800) as (page_, _, _):
        assert page_.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("name", [*SERIES, "index"])
def test_no_page_of_the_series_runs_a_string(hostile_store, series, chromium, name):
    path = series / "index.html" if name == "index" else next(series.glob(f"{name:02d}_*.html"))
    check_in_browser(chromium, path, strings=[hostile_store.manifest["title"]])
    if name != "index":
        shown_by_jupyter(path.with_suffix(".ipynb"))


def shown_by_jupyter(path):
    """No output holds a string as markup: JupyterLab has no content security policy that would stop it."""
    for cell in nbformat.read(path, 4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert "text/markdown" not in data
            assert "application/javascript" not in data or "hacked" not in data["application/javascript"]
            for tag in bs4.BeautifulSoup(data.get("text/html", ""), "html.parser").find_all(True):
                assert not [name for name in tag.attrs if name.startswith("on")]
                assert not str(tag.get("href", "")).startswith("javascript")
                if tag.name == "script" and tag.get("type") != "application/json":
                    assert "hacked" not in tag.get_text()


@pytest.mark.parametrize("kind", ["music", "segments"])
def test_no_demo_page_runs_a_string(hostile_store, chromium, tmp_path, kind):
    made = []
    for split in ("repeat", "subject:50")[: 2 if kind == "segments" else 1]:
        config = training.configure(hostile_store, model="ridge", preset="fast", classifier="fast", split=split)
        made.append(training.train(hostile_store, config, out=tmp_path / FOLDER, progress=False).path)
    out = grid_page.write(kind, made, out=tmp_path / f"{kind} {FOLDER}.html")
    listeners = hostile_store.recordings["subject"].unique()
    about = [hostile_store.manifest[key] for key in ("title", "licence", "citation")]
    check_in_browser(chromium, out, strings=[*about, *(listeners if kind == "music" else [])])
    assert len(set(page_content.sounds(out))) == 1


def pictures():
    """Every string as a title, a channel, a listener, a group, a row, in the pictures that have room for such words."""
    rng, n = np.random.default_rng(0), len(HOSTILE)
    names = [f"{one}{i}" for i, one in enumerate(HOSTILE)]
    yield "traces", plots.traces(rng.standard_normal((n, 99)), 99, HOSTILE, title=HOSTILE[0])
    yield "intervals", plots.intervals([(one, 0.5, 0.4, 0.6) for one in HOSTILE], title=HOSTILE[31], chance=0.5)
    sides = pd.DataFrame({"second": 0, "recording": HOSTILE, "side": "train"})
    yield "timeline", plots.timeline(pd.concat([sides, sides.assign(side="test", second=1)]), title=HOSTILE[32])
    yield "heat", maps.heat(rng.random((n, 4)), rows=HOSTILE, title=HOSTILE[33], unit=HOSTILE[3], xlabel=HOSTILE[4])
    yield "plane", maps.plane(rng.random((n, 2)), rng.random((n, 2)), HOSTILE, title=HOSTILE[34])
    yield "levels", maps.levels({one: ([1, 2], [0.1, 0.2]) for one in HOSTILE}, title=HOSTILE[5])
    yield "histogram", plots.histogram({one: rng.random(9) for one in HOSTILE[:8]}, xlabel=HOSTILE[33])
    info = mne.create_info(names, 100.0, "eeg")
    places = rng.standard_normal((n, 3))
    places = 0.09 * places / np.linalg.norm(places, axis=1, keepdims=True)
    info.set_montage(mne.channels.make_dig_montage(dict(zip(names, np.abs(places), strict=True)), coord_frame="head"))
    yield "sensors", plots.sensors(info, title=HOSTILE[33])
    yield (
        "topographies",
        plots.topographies(
            list(rng.random((3, n))), info, titles=HOSTILE[31:34], unit=HOSTILE[33], suptitle=HOSTILE[31]
        ),
    )
    design = pretend.paper_design(seed=0)
    table = design.table()
    who = dict(zip(sorted({*table["eeg_listener"], *table["song"]}), HOSTILE[::-1], strict=False))
    yield "balance", charts.balance(SimpleNamespace(table=lambda: table.replace(who)))


def summary():
    """Answers of listeners with such names, analysed."""
    made = pretend.play(pretend.paper_design(seed=0), 8, ability=0.8, seed=0)
    names = dict(zip(made.table["participant"].unique(), HOSTILE, strict=False))
    table = made.table.assign(participant=made.table["participant"].map(names))
    people = made.participants.assign(participant=made.participants["participant"].map(names))
    return ability.summarise(dataclasses.replace(made, table=table, participants=people), seed=0)


def bundle(one):
    data, metadata = one._repr_mimebundle_()
    data = {
        kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value for kind, value in data.items()
    }
    return v4.new_output("display_data", data=data, metadata=metadata)


def outputs():
    """Everything that the notebooks put out, with every string in every place of it."""
    table = pd.DataFrame(dict.fromkeys(HOSTILE[:5], HOSTILE), index=pd.Index(HOSTILE, name=HOSTILE[4]))
    with pd.option_context("display.max_colwidth", None):
        html = table._repr_html_()
    yield shown({"text/html": html, "text/plain": repr(table)}, **{"text/html": {"caption": HOSTILE[4]}})
    yield shown({"text/plain": repr(HOSTILE)})
    said = "\n".join([*HOSTILE, *(f"not possible on this data because {one}" for one in HOSTILE), str(summary())])
    yield v4.new_output("stream", name="stdout", text=said)
    yield v4.new_output("stream", name="stderr", text=said)
    yield v4.new_output("error", ename=HOSTILE[0], evalue=HOSTILE[1], traceback=HOSTILE)
    for name, element in pictures():
        yield bundle(plots.picture(element, alt=f"{name}: {'; '.join(HOSTILE)}"))
    sound, picture = np.sin(np.arange(2205) * 0.1).astype(np.float32), np.random.default_rng(0).random((4, 8))
    one = listening.clip("t", sound, 22050, picture, score=0.6, chance=0.5)
    clips = [
        dataclasses.replace(
            one, **dict.fromkeys(("title", "alt", "note", "song", "listener", "condition", "score_name"), text)
        )
        for text in HOSTILE
    ]
    rows = tuple((text, (clip, clip)) for text, clip in zip(HOSTILE, clips, strict=True))
    yield shown({"text/html": listening.Grid(("Original", HOSTILE[2]), rows, "; ".join(HOSTILE))._repr_html_()})
    yield shown(
        {"text/html": listening.Chooser(HOSTILE[2], tuple(HOSTILE), tuple(clips), "; ".join(HOSTILE))._repr_html_()}
    )
    tuner = tuning.Tuner(np.full((1, 44, 128), 0.6, np.float32), title="; ".join(HOSTILE))
    yield shown({"text/html": listening.offline_tuner(tuner, n_iter=1, published=(46,))._repr_html_()})
    yield shown({"text/html": listening.tuner_view(tuner.at(46, n_iter=1), title="; ".join(HOSTILE))})


def test_no_kind_of_output_runs_a_string(chromium, tmp_path):
    listed = list(outputs())
    heads = [v4.new_markdown_cell(f"## {page.escape(one)}") for one in HOSTILE]  # as an author writes a string
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# All\n\nWhat?"), code("x", outputs=listed), *heads])
    facts = {one: [one, {one: one}] for one in HOSTILE} | {"simulated": HOSTILE[0]}
    links = {
        "home": ("page.html", HOSTILE[0]),
        "previous": ("page.html", HOSTILE[1]),
        "following": ("page.html", HOSTILE[2]),
    }
    html = notebook_page.render(notebook, name=HOSTILE[3], failure=(1, "; ".join(HOSTILE)), facts=facts, **links)
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    nbformat.write(notebook, tmp_path / "page.ipynb")
    check_in_browser(chromium, path, strings=HOSTILE, axe=True)
    shown_by_jupyter(tmp_path / "page.ipynb")
    shows = bs4.BeautifulSoup(html, "html.parser").find("main")
    for cells in shows.select("table.dataframe tbody tr"):
        assert {cell.get_text().replace("\\n", "\n") for cell in cells.find_all(["td", "th"])} <= set(HOSTILE)


def test_the_page_holds_where_a_string_is_not_escaped(chromium, tmp_path):
    """Prose and outputs of a notebook may be markup; then the clean-up and the policy stand between it and a script."""
    cells = [v4.new_markdown_cell("# T"), *map(v4.new_markdown_cell, HOSTILE)]
    cells += [
        code("x", outputs=[shown({kind: one})])
        for one in HOSTILE
        for kind in ("text/html", "text/markdown", "image/svg+xml")
    ]
    html = notebook_page.render(v4.new_notebook(cells=cells))
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    with offline_page(chromium, tmp_path / "page.html") as (page_, requests, _):
        page_.evaluate(TOUCH)
        assert page_.evaluate("window.hacked") is None
        assert [r[:100] for r in requests if not r.startswith(("file:", "data:", "blob:"))] == []
    bare = "".join(HOSTILE) + "".join(f"<p>{one}</p>" for one in HOSTILE)  # not cleaned: the policy alone
    (tmp_path / "bare.html").write_text(page.shell(bare, title="T"), encoding="utf-8")
    with offline_page(chromium, tmp_path / "bare.html") as (page_, _, problems):
        page_.evaluate("document.querySelectorAll('[onclick], a').forEach(e => e.dispatchEvent(new Event('click')))")
        assert page_.evaluate("window.hacked") is None
        assert any("Content Security Policy" in problem for problem in problems)


def test_no_card_and_no_row_of_an_index_runs_a_string(chromium, tmp_path):
    results, systems = [], []
    for i, one in enumerate(HOSTILE):
        place = tmp_path / f"{i} {one.replace('/', '∕')[:80]}.html"
        place.write_text(page.shell("<h1>Page</h1>", title=one), encoding="utf-8")
        status = ("ok", "failed", "not possible")[i % 3]
        results.append(
            index_page.Result(
                one, one, one, status, 1.0, place, place, one if status == "failed" else None, 1, (one, one), png(), one
            )
        )
        words = dict.fromkeys(
            ("run", "model", "eeg", "audio", "split", "label", "metric", "recipe", "verdict", "data_set"), one
        )
        systems.append(
            {**words, "fingerprint": one, "n": one, "score": 0.5, "low": 0.4, "high": 0.6, "p": 0.5, "chance": 0.5}
        )
    index = index_page.write_index(
        results,
        tmp_path,
        title="; ".join(HOSTILE),
        intro="; ".join(HOSTILE),
        systems=systems,
        simulated=None,
        facts={"data": HOSTILE},
    )
    check_in_browser(chromium, index, strings=HOSTILE, axe=True)


def test_no_name_of_a_notebook_runs_or_breaks_a_link(chromium, tmp_path):
    folder, out = tmp_path / FOLDER, tmp_path / "out" / FOLDER
    folder.mkdir()
    names = ["<img src=x onerror=alert(1)>", "javascript:alert(1)", "a#b?c%41{x}$y$&amp;'\"", "\u202eevil", "-rf ~"]
    for name in names:
        said = v4.new_markdown_cell(f"[itself]({page.address(name)}.ipynb)")
        save(folder, name, said, code(f"print({name!r})\nprint({HOSTILE[0]!r})\n{{}}[{HOSTILE[1]!r}]"))
    with pytest.raises(report.NotebookFailure):
        report.report([folder / f"{name}.ipynb" for name in names], [app_data.small_store(tmp_path / "s")], out=out)
    check_in_browser(chromium, out / "index.html", strings=HOSTILE[:2])
    for name in names:
        check_in_browser(chromium, out / f"{name}.html", strings=[*HOSTILE[:2]])
    with offline_page(chromium, out / "index.html") as (page_, _, problems):
        for _ in names:
            page_.locator("ul.cards a, nav.series a.next").first.click()
            assert page_.locator("h1").count() == 1
        assert Path(page_.evaluate("decodeURIComponent(location.pathname)")).name == f"{names[-1]}.html"
        assert problems == []
    shutil.copy(folder / f"{names[-1]}.ipynb", folder / "index.ipynb")
    with pytest.raises(ParameterError, match="rename it"):
        report.run_notebooks([folder / "index.ipynb"], out=out)


def test_scripts_have_no_way_to_make_markup_of_text():
    for name in ("page", "listening", "tuner", "chooser"):
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert way not in scripts.element(name)
