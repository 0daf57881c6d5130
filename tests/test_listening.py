"""The listening grid as HTML: every text escaped, numbers said, files embedded or by address, one script for a page."""

import re

import bs4
import numpy as np
import pytest

from eegviz import listening, notebook_page
from eegviz.errors import ParameterError
from eegviz.listening import markup

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
SOUND = (0.4 * np.sin(np.arange(22050) * 0.1)).astype(np.float32)
PICTURE = np.random.default_rng(0).random((43, 128))


def clip(title="song21, reconstruction from S01", **options):
    return listening.clip(title, SOUND, 22050, PICTURE, **options)


def grid(*clips, label="song21", caption="caption"):
    return listening.Grid(tuple(f"column {i}" for i in range(len(clips))), ((label, clips),), caption)


def soup(html):
    return bs4.BeautifulSoup(html, "html.parser")


def test_every_text_is_escaped():
    one = clip(EVIL, note=EVIL, song=EVIL, listener=EVIL, condition=EVIL, score=0.5, chance=0.5, score_name=EVIL)
    made = listening.Grid((EVIL,), ((EVIL, (one,)),), EVIL)
    for html in (made.html(assets=False), made.html(lambda data, mime, name: f"files/{name}?{EVIL}", assets=False)):
        tree = soup(html)
        assert len(tree.find_all("img")) == 1
        assert tree.find_all("script") == []
        assert [tag.attrs for tag in tree.find_all(True) if any(name.startswith("on") for name in tag.attrs)] == []
        assert tree.figure["data-listener"] == EVIL
        assert EVIL in tree.get_text()


def test_a_clip_says_its_numbers():
    one = clip(reference=SOUND * 0.5, score=0.62, chance=0.5, score_name="retrieval", note="listener S01")
    assert one.gain_db == pytest.approx(-6.02, abs=0.01)
    assert one.seconds == 1.0
    assert one.alt.startswith("Spectrogram of song21, reconstruction from S01: 1 s, 128 bins, mean level 0.5")
    tree = soup(grid(one).html(assets=False))
    assert tree.img["alt"] == one.alt
    assert tree.figcaption.get_text() == "column 0retrieval .62 (chance .50) · listener S01 · level matched, −6 dB"
    facts = {"data-score": "0.62", "data-chance": "0.5", "data-gain": "-6.021", "data-seconds": "1"}
    assert facts.items() <= tree.figure.attrs.items()


def test_a_clip_that_was_raised_far_says_so():
    for share, said in ((0.05, "raised by 26 dB: far softer than the original"), (0.25, "level matched, +12 dB")):
        one = listening.clip("x", SOUND * share, 22050, PICTURE, reference=SOUND)
        assert said in soup(grid(one).html(assets=False)).figcaption.get_text()


def test_a_legend_below_a_grid_names_the_axes():
    text = soup(grid(clip()).html(assets=False)).find(class_="eg-legend").get_text()
    assert (
        text
        == "Pictures: time to the right, 1 s; upwards 128 mel bins from 0 to 11 kHz, low at the bottom; bright is loud."
    )
    bare = grid(listening.Clip("x", b"", b"", ""))
    assert soup(bare.html(assets=False)).find(class_="eg-legend") is None


def test_a_clip_without_numbers_says_none():
    tree = soup(grid(clip()).html(assets=False))
    assert tree.figcaption.get_text() == "column 0"
    assert not {"data-score", "data-chance", "data-gain", "data-song"} & set(tree.figure.attrs)
    assert "data-score" not in soup(grid(clip(score=float("nan"))).html(assets=False)).figure.attrs


def test_a_clip_built_by_hand_needs_five_fields_only():
    made = listening.Grid(("a",), (("row", (listening.Clip("title", b"OggS", b"png", "alt"),)),), "")
    assert made.html(assets=False).count("<audio") == 1


def test_embedded_sounds_and_pictures_have_their_types():
    tree = soup(grid(clip(), None, clip()).html(assets=False))
    assert [tag["src"][:22] for tag in tree.find_all("audio")] == ["data:audio/ogg;base64,"] * 2
    assert [tag["src"][:22] for tag in tree.find_all("img")] == ["data:image/png;base64,"] * 2
    assert {tag["preload"] for tag in tree.find_all("audio")} == {"metadata"}


def test_media_are_asked_for_by_unlike_names_and_loaded_late():
    kept = {}

    def media(data, mime, name):
        assert name not in kept
        kept[name] = mime, data[:4]
        return f"media/{name}"

    tree = soup(grid(clip(), clip()).html(media, assets=False))
    assert {mime for mime, _ in kept.values()} == {"audio/ogg", "image/png"}
    assert {head for mime, head in kept.values() if mime == "audio/ogg"} == {b"OggS"}
    assert {tag["src"].removeprefix("media/") for tag in tree.find_all(["audio", "img"])} == set(kept)
    assert {tag["preload"] for tag in tree.find_all("audio")} == {"none"}
    assert {tag["loading"] for tag in tree.find_all("img")} == {"lazy"}
    assert "base64" not in str(tree)
    twice = soup(grid(clip(), clip("song21, reconstruction from S01")).html(assets=False))
    assert len({tag["data-file"] for tag in twice.find_all("figure")}) == 2


def test_the_script_asks_nobody_and_guards_itself():
    assets = listening.Grid.assets()
    assert assets.count("<script") == assets.count("</script>") == 1
    assert 'if (customElements.get("eegviz-grid")) return;' in assets
    assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacentHTML|eval\(|document\.write", assets)
    assert not re.search(r"url\(|@import", assets)
    assert grid(clip())._repr_html_().startswith(assets)


def test_a_report_keeps_the_script_of_the_first_grid_only():
    from nbformat import v4

    outputs = [v4.new_output("display_data", {"text/html": grid(clip(), caption=c)._repr_html_()}) for c in "ab"]
    cells = [v4.new_markdown_cell("# Title"), *(v4.new_code_cell("g", outputs=[one]) for one in outputs)]
    html = notebook_page.render(v4.new_notebook(cells=cells))
    assert html.count("<eegviz-grid") == 2
    assert html.count("customElements.define") == 1
    assert html.count(".eegviz-grid figure") == 1
    tree = soup(html)
    (script,) = tree.find_all("script", attrs={"data-once": "listening"})
    assert script.get_text() == soup(listening.Grid.assets()).script.get_text()  # the page's clean-up left it as it is
    assert len({tag["data-key"] for tag in tree.find_all("eegviz-grid")}) == 2


def test_the_key_of_a_grid_is_that_of_its_texts():
    one, same, other = (soup(grid(clip(), label=label).html(assets=False)) for label in ("a", "a", "b"))
    assert one.find("eegviz-grid")["data-key"] == same.find("eegviz-grid")["data-key"]
    assert one.find("eegviz-grid")["data-key"] != other.find("eegviz-grid")["data-key"]


def test_a_row_has_a_clip_or_none_for_each_column():
    with pytest.raises(ParameterError, match="1 clips for 2 columns; give None"):
        listening.Grid(("a", "b"), (("row", (clip(),)),), "")
    assert markup.figure("a", None) == ""
