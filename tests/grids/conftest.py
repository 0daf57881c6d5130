"""A page with two grids, and that page in a browser."""

import pytest

from eegviz import listening, page
from tests.browser import offline_page

from .cases import chirp, row


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    columns = ("Original", "Listener 1", "Listener 2")
    songs = (("song21", (0.6, 0.7), ("S02", "S01")), ("song25", (0.9, 0.4), ("S01", "S03")))
    rows = tuple(row(song, listeners=who, scores=scores, reference=chirp(400)) for song, scores, who in songs)
    first = listening.Grid(columns, rows, "Two songs")
    second = listening.Grid(columns, rows[:1], "One song")
    main = f'<h1>Grids</h1><h2 id="one">One</h2>{first._repr_html_()}<h2 id="two">Two</h2>{second._repr_html_()}'
    made = tmp_path_factory.mktemp("grid") / "grid.html"
    made.write_text(page.shell(main, title="Grids", contents=[(2, "one", "One"), (2, "two", "Two")]))
    return made


@pytest.fixture
def opened(chromium, path):
    with offline_page(chromium, path) as (shown, requests, problems):
        yield shown
        assert problems == []
        assert [r[:100] for r in requests if not r.startswith(("file:", "data:", "blob:"))] == []
