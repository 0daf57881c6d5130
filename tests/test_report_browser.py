"""The pages in a real browser: pictures show, sounds play, nothing is fetched, nothing scrolls sideways."""

import nbformat
import pytest

from eegviz import report

from .browser import missing, offline_page, serious_findings, wait_until

v4 = nbformat.v4
pytestmark = pytest.mark.timeout(300)

SOURCE = """
import base64, io
import numpy as np, pandas as pd
import matplotlib.pyplot as plt
from IPython.display import Audio, display
rng = np.random.default_rng(seed)
figure, axes = plt.subplots(figsize=(6, 3))
axes.imshow(rng.random((20, 40)))
file = io.BytesIO(); figure.savefig(file, format="png"); plt.close(figure)
picture = base64.b64encode(file.getvalue()).decode()
display({"image/png": picture}, raw=True, metadata={"image/png": {"alt": "noise, 20 × 40"}})
display(pd.DataFrame(rng.normal(size=(4, 14)), columns=[f"channel {i}" for i in range(14)]))
display(Audio(0.2 * np.sin(2 * np.pi * 440 * np.arange(22050 * 3) / 22050), rate=22050))
print("a very long line " * 40)
"""
PROSE = (
    "# Look and listen\n\n**Question.** Does it show?\n\n## First\n\nText with `code`.\n\n"
    "## Second\n\n| a | b |\n|-|-|\n| 1 | 2 |"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("out")
    parameters = v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    code = "def f(x):  # a comment\n    return 'text', 3.5 + len(x)\nf('')"
    cells = {
        "01_look": [v4.new_markdown_cell(PROSE), parameters, v4.new_code_cell(SOURCE), v4.new_code_cell(code)],
        "02_fails": [v4.new_markdown_cell("# Fails\n\nWhy?"), parameters, v4.new_code_cell("{}['a long key ' * 30]")],
    }
    paths = []
    for name, content in cells.items():
        paths.append(folder / f"{name}.ipynb")
        nbformat.write(v4.new_notebook(cells=content), paths[-1])
    facts = {"data_set": "Tiny", "simulated": True, "seed": 1, "git_commit": "abc1234"}
    results = report.run_notebooks(paths, out=out, parameters={"seed": 1}, facts=facts)
    systems = [
        {"run": "abcdef123456", "model": "cnn", "eeg": "raw", "audio": "mel-db", "split": split, "label": "a label",
         "metric": "retrieval", "score": 0.7, "low": 0.6, "high": 0.8, "chance": 0.5, "n": 100, "verdict": verdict}
        for split, verdict in (("repeat", "The EEG contributed"), ("random", "This split cannot tell"), ("song", None))
    ]  # fmt: skip
    report.write_index(results, out, title="Pages", intro="Why?", systems=systems, simulated=True, facts=facts)
    return out


def offline(requests):
    return [address[:200] for address in requests if not address.startswith(("file:", "data:", "blob:"))] == []


def test_picture_shows_and_sound_plays(chromium, pages):
    with offline_page(chromium, pages / "01_look.html") as (page, requests, problems):
        image = page.evaluate(
            """async () => { const i = document.querySelector('figure img'); await i.decode();
            const c = document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight;
            const g = c.getContext('2d'); g.drawImage(i, 0, 0);
            const d = g.getImageData(0, 0, c.width, c.height).data; let low = 255, high = 0;
            for (let k = 0; k < d.length; k += 4) { low = Math.min(low, d[k]); high = Math.max(high, d[k]); }
            return {width: i.naturalWidth, low, high, alt: i.alt}; }"""
        )
        assert image["width"] > 0
        assert image["high"] - image["low"] > 100
        assert image["alt"] == "noise, 20 × 40"
        wait_until(page, "document.querySelector('audio').readyState >= 1")
        duration = page.evaluate("document.querySelector('audio').duration")
        assert duration == pytest.approx(3, abs=0.1)
        page.evaluate("document.querySelector('audio').play()")
        wait_until(page, "document.querySelector('audio').currentTime > 0.2")
        assert problems == []
        assert offline(requests)


@pytest.mark.parametrize("name", ["01_look", "02_fails", "index"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 375])
def test_accessible_and_no_sideways_scroll(chromium, pages, name, dark, width):
    with offline_page(chromium, pages / f"{name}.html", width=width, height=800, dark=dark) as (
        page,
        requests,
        problems,
    ):
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_findings(page) == []
        assert problems == []
        assert offline(requests)


def test_dark_mode_has_other_colours(chromium, pages):
    colours = []
    for dark in (False, True):
        with offline_page(chromium, pages / "01_look.html", dark=dark) as (page, _, _):
            style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor];"
            colours.append(page.evaluate(f"(() => {{ {style} }})()"))
    assert colours[0][0] != colours[1][0]
    assert colours[0][1] != colours[1][1]


def test_keyboard_reaches_the_content_and_the_code(chromium, pages):
    with offline_page(chromium, pages / "01_look.html") as (page, _, _):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        assert page.locator("details.code[open]").count() == 0
        page.get_by_role("button", name="Show all code").click()
        assert page.locator("details.code:not([open])").count() == 0


def test_index_leads_to_pages_and_on(chromium, pages):
    with offline_page(chromium, pages / "index.html") as (page, _, problems):
        page.get_by_role("link", name="Look and listen").click()
        assert page.title() == "Look and listen"
        page.get_by_role("link", name="Next").first.click()
        assert page.title() == "Fails"
        page.get_by_role("link", name="Go to cell 3.").click()
        assert page.url.endswith("02_fails.html#cell-3")
        page.get_by_role("link", name="All pages").first.click()
        assert page.title() == "Pages"
        assert problems == []


def test_prints_without_navigation(chromium, pages):
    with offline_page(chromium, pages / "01_look.html") as (page, _, _):
        page.emulate_media(media="print")
        assert not page.locator("header.top").is_visible()
        assert not page.locator("nav.contents").is_visible()
        assert page.locator("figure img").is_visible()


def test_without_a_browser_tests_skip_here_and_fail_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        missing("no browser")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        missing("no browser")
