"""A notebook as a page: what is shown, what is folded or left out, and that nothing is fetched."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from eegviz import markup, notebook_page, page, scripts

from .cells import code, notebook, png, shown, v4


def rendered(*cells, **settings):
    return notebook_page.render(notebook(*cells), **settings)


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


def test_our_scripts_keep_their_text_and_others_are_dropped():
    ours = scripts.element("listening")
    theirs = "<script>if (1 < 2 && '<p>') { run(); }</script>"
    data = '<script class="d" type="application/json">{"a": "\\u003c"}</script>'
    html = rendered(code("g", outputs=[shown({"text/html": f"<div>grid</div>{ours}{theirs}{data}"})]))
    assert ours in html
    assert data in html
    assert "run()" not in html


def test_the_policy_of_a_page_allows_its_scripts_only():
    html = rendered(code("g", outputs=[shown({"text/html": scripts.element("tuner")})]))
    allowed = re.search(r"script-src ([^;]*);", html)[1]
    assert "unsafe" not in allowed
    for text in re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in allowed


@pytest.mark.parametrize(
    "bad",
    [
        "<img src=x onerror=alert(1)>", "<svg ONLOAD=alert(1)></svg>", "<a href='java\nscript:alert(1)'>x</a>",
        "<a href=' JavaScript:alert(1)'>x</a>", "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
        "<form action='javascript:alert(1)'><button formaction=javascript:alert(1)>b</button></form>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>", "<script>alert(1)</script>",
        "<object data='javascript:alert(1)'></object>", "[x](javascript:alert(1))",
    ],
)  # fmt: skip
def test_nothing_of_an_output_or_of_prose_can_run(bad):
    html = rendered(v4.new_markdown_cell(f"# T\n\n{bad}"), code("g", outputs=[shown({"text/html": bad})]))
    body = html[html.index("<main") :]
    for tag in markup.parse(body).find_all(True):
        assert tag.name not in ("iframe", "object")
        assert not [name for name in tag.attrs if name.startswith("on")]
        assert not [v for n, v in tag.attrs.items() if n in ("href", "action", "formaction") and "script" in v]
        assert tag.name != "script" or "alert" not in tag.get_text()


def test_a_text_that_looks_like_an_address_stays():
    said = '<p title="javascript: a song">x</p><img alt="javascript:x" src="data:image/png;base64,AA==">'
    html = rendered(code("g", outputs=[shown({"text/html": said})]))
    assert 'title="javascript: a song"' in html
    assert 'alt="javascript:x"' in html


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


def test_code_that_shows_nothing_is_folded_with_a_neighbour_and_alone_where_there_is_none():
    said = [v4.new_output("stream", name="stdout", text="said")]
    html = rendered(
        v4.new_markdown_cell("# T"),
        code("seed = 0", "parameters"), code("seed = 1", "injected-parameters"), code("import a"), code("b()", outputs=said),
        code("c()"), v4.new_markdown_cell("## Next"), code("d()"),
    )  # fmt: skip
    body = html[html.index("<body>") :]
    folds = re.findall(r'<details class="code">.*?</details>', body, re.DOTALL)
    assert [fold.count("<pre") for fold in folds] == [5, 1]
    assert [fold.count('class="name"') for fold in folds] == [2, 0]
    assert "parameters of this run" in folds[0]
    assert body.index(folds[0]) < body.index("said") < body.index('id="next"') < body.index(folds[1])


def test_a_failed_cell_has_a_fold_of_its_own_that_is_open():
    error = v4.new_output("error", ename="E", evalue="x", traceback=["E: x"])
    html = rendered(code("before()"), code("bad()", outputs=[error]), failure=(2, "E: x"))
    assert html.count('<details class="code">') == 1
    failed = html[html.index('<div id="cell-2" class="failure">') :]
    assert '<details class="code" open>' in failed
    assert "before" not in failed


def test_the_name_of_an_index_stands_beside_the_names_of_the_columns():
    import pandas as pd

    def heads(frame):
        html = rendered(v4.new_markdown_cell("# T"), code("df", outputs=[shown({"text/html": frame._repr_html_()})]))
        return re.findall(r"<th[^>]*>([^<]*)</th>", html[html.index("<thead") : html.index("</thead")]), html

    frame = pd.DataFrame({"score": [0.5], "n": [3]}, index=pd.Index(["random"], name="split"))
    names, html = heads(frame)
    assert names == ["split", "score", "n"]
    assert html[html.index("<thead") : html.index("</thead")].count("<tr") == 1
    wide = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    assert heads(wide)[0] == ["a", "x", "y"]


def test_the_banner_and_the_footer_except_real_eeg_only_where_a_heading_says_so():
    facts = {"simulated": True}
    plain = rendered(v4.new_markdown_cell("# T\n\n## One"), facts=facts)
    mixed = rendered(v4.new_markdown_cell("# T\n\n## One\n\n### In real EEG"), facts=facts)
    assert "No brain was recorded for the numbers below.<" in plain
    assert "No brain was recorded for the numbers below, except under a heading that says real EEG.<" in mixed
    assert "<dd>yes</dd>" in plain
    assert "<dd>yes, except under a heading that says real EEG</dd>" in mixed
    assert facts == {"simulated": True}
