"""The listening grid where it lives: without script, in a report, with hostile texts, by address, in a shadow tree."""

import http.server
import threading

import numpy as np
import pytest

from eegviz import listening, notebook_page, page
from tests.browser import offline_page, wait_until

from .cases import GRID, SR, chirp, focus, playing, press, row, state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_without_script_players_pictures_and_words_stand(chromium, path):
    context = chromium.new_context(offline=True, java_script_enabled=False)
    shown = context.new_page()
    shown.goto(path.as_uri())
    assert shown.locator("audio").count() == 9
    assert shown.locator("audio").first.is_visible()
    assert shown.locator("figure img").first.is_visible()
    assert "retrieval .60 (chance .50)" in shown.locator("eegviz-grid").first.inner_text()
    context.close()


def test_it_plays_in_a_report(chromium, path, tmp_path):
    from nbformat import v4

    rows = (row("song21", listeners=("S01",), scores=(0.6,), reference=chirp(400)),)
    grids = [listening.Grid(("Original", "Listener 1"), rows, caption)._repr_html_() for caption in "ab"]
    outputs = [v4.new_output("display_data", {"text/html": grid}) for grid in grids]
    cells = [v4.new_markdown_cell("# Title"), *(v4.new_code_cell("g", outputs=[one]) for one in outputs)]
    made = tmp_path / "report.html"
    made.write_text(notebook_page.render(v4.new_notebook(cells=cells)), encoding="utf-8")
    with offline_page(chromium, made) as (shown, _, problems):
        focus(shown, grid=1)
        press(shown, " ")
        playing(shown, grid=1)
        assert problems == []


def test_hostile_texts_stay_texts(chromium, tmp_path):
    evil = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'
    rng = np.random.default_rng(0)
    marks = {
        "listener": evil,
        "condition": evil,
        "score": 0.6,
        "score_name": evil,
        "reference": chirp(400),
        "note": evil,
    }
    clips = [
        listening.clip(evil, chirp(400 * i), SR, rng.random((172, 128)), song=f"{evil}{i}", **marks) for i in (1, 2)
    ]
    rows = tuple((evil, (one, one)) for one in clips)
    made = tmp_path / "evil.html"
    made.write_text(page.shell(listening.Grid((evil, evil), rows, evil).html(), title=evil), encoding="utf-8")
    with offline_page(chromium, made) as (shown, _, problems):
        said = []
        shown.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        shown.evaluate(f"{GRID}.fold.open = true")
        shown.locator("eegviz-grid").get_by_role("combobox", name="song", exact=True).select_option(f"{evil}2")
        focus(shown, row=1)
        press(shown, "2", "ArrowRight", "a", "?", "Escape")
        shown.wait_for_timeout(300)
        shown.goto(shown.url.replace(".song=", ".sort=%3Cimg+src=x%3E&x.song=").replace(".at=", ".at=Infinity&y.at="))
        shown.reload()
        assert shown.evaluate("document.querySelectorAll('img').length") == 4
        assert said == []
        assert problems == []


@pytest.fixture
def server(tmp_path):
    """A grid whose sounds and pictures are files of a web server; yields its address and what was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *args):
            asked.append(self.path)

    def media(data, mime, name):
        (tmp_path / name).write_bytes(data)
        return name

    rows = (row("song21", listeners=("S01", "S02"), scores=(0.6, 0.7), reference=chirp(400)),)
    grid = listening.Grid(("Original", "Listener 1", "Listener 2"), rows, "By address").html(media)
    (tmp_path / "page.html").write_text(f'<!DOCTYPE html><link rel="icon" href="data:,"><title>t</title>{grid}')
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/page.html", asked
    running.shutdown()
    thread.join()
    running.server_close()


def test_sounds_by_address_are_fetched_when_they_are_played(chromium, server):
    address, asked = server
    context = chromium.new_context()
    shown = context.new_page()
    shown.goto(address)
    wait_until(shown, f"{GRID}.ready")
    assert [name for name in asked if name.endswith(".ogg")] == []
    focus(shown)
    press(shown, " ")
    playing(shown)
    assert len([name for name in asked if name.endswith(".ogg")]) == 3
    press(shown, "3")
    assert state(shown)["playing"]
    assert state(shown)["chosen"] == 2
    context.close()


def test_it_works_in_a_shadow_tree_put_there_later(opened):
    """As Panel does: markup set at once, in a tree of its own, long after the page was read."""
    opened.evaluate("""() => {
      const host = document.createElement('div'), first = document.querySelector('eegviz-grid');
      document.querySelector('main').prepend(host);
      const markup = `<eegviz-grid data-key="abc">${[...first.querySelectorAll('.eg-row')].map(r => `<div class="eg-row" role="group"
        aria-label="row"><div class="eg-cells">${[...r.querySelectorAll('figure')].map(f => { const c = f.cloneNode(true);
        c.querySelectorAll('.eg-head,.eg-region,.eg-cursor').forEach(n => n.remove()); return c.outerHTML; }).join('')}</div></div>`).join('')}</eegviz-grid>`;
      host.attachShadow({mode: 'open'}).innerHTML = markup;
      window.shadowGrid = host.shadowRoot.querySelector('eegviz-grid');
      window.shadowGrid.rows[1].node.focus();
    }""")
    press(opened, "2", " ")
    wait_until(opened, "window.shadowGrid.rows[1].playing && window.shadowGrid.rows[1].here > 0.2")
    assert opened.evaluate("window.shadowGrid.rows[1].track.chosen") == 1
    opened.evaluate("window.shadowGrid.getRootNode().host.remove()")
    assert opened.evaluate("window.shadowGrid.player.running") is None
