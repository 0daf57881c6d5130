"""The tuner's offline twin in a real browser: the slider moves volume, waveform and text; the scale swaps the sound."""

import re

import pytest

from eegviz import listening, page, tuning

from .browser import offline_page, serious_findings, wait_until
from .test_tuning import picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
BOX = "document.querySelectorAll('.eegviz-tuner-offline')[0]"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    beside = tuning.Reference(-20.0, 14.0, 0.01, clips=(("S01", 0), ("S01", 5)))
    made = tuning.Tuner(picture(seconds=2), title="band", reference=beside)
    twins = [listening.offline_tuner(made), listening.offline_tuner(made, title=EVIL, published=(45.0,))]
    main = "<h1>Tuner</h1>" + "".join(twin._repr_html_() for twin in twins)  # the script stands twice, as in a notebook
    out = tmp_path_factory.mktemp("twin") / "twin.html"
    out.write_text(page.shell(main, title="Tuner"), encoding="utf-8")
    untrusted = re.sub(r"(?s)<script.*?</script>", "", page.shell("<h1>Tuner</h1>" + twins[0]._repr_html_(), title="T"))
    (out.parent / "untrusted.html").write_text(untrusted, encoding="utf-8")
    return out


def slide(shown, value, event="input"):
    """Move the first slider; volume, texts, points of the waveform and length of the sound's address after it."""
    shown.evaluate(
        f"v => {{ const r = {BOX}.querySelector('input[type=range]'); r.value = v; r.dispatchEvent(new Event('{event}')); }}",
        value,
    )
    return shown.evaluate(
        f"""() => {{ const b = {BOX}; return {{
          volume: b.querySelector('audio').volume, text: [...b.querySelectorAll('dd')].map(d => d.textContent),
          output: b.querySelector('output').textContent, wave: b.querySelector('polygon').getAttribute('points'),
          label: b.querySelector('svg').getAttribute('aria-label'),
          sound: b.querySelector('audio').src, picture: b.querySelector('img').src, alt: b.querySelector('img').alt,
          note: b.querySelector('.eegviz-tuner-note').textContent }}; }}"""
    )


def test_the_slider_moves_volume_waveform_and_text(chromium, path):
    with offline_page(chromium, path) as (shown, requests, problems):
        soft, loud = slide(shown, "40"), slide(shown, "44")
        assert loud["volume"] / soft["volume"] == pytest.approx(10 ** (4 / 40), rel=1e-3)
        assert (soft["output"], loud["output"]) == ("40.0", "44.0")
        assert soft["wave"] != loud["wave"]
        assert loud["label"] == "Waveform of band at ref dB 44.0"
        level = [float(re.match(r"(-?[\d.]+) dB", one["text"][0]).group(1)) for one in (soft, loud)]
        assert level[1] - level[0] == pytest.approx(2, abs=0.11)
        assert soft["text"][2:] == loud["text"][2:]  # crest factor and flatness: a gain changes neither
        assert "training clips 14.0 dB" in soft["text"][2]
        highest = slide(shown, "60")
        assert highest["volume"] == 1
        assert "% of samples; played" in highest["text"][1]
        assert highest["sound"] == soft["sound"]
        assert problems == []
        assert [r for r in requests if not r.startswith(("file:", "data:", "blob:"))] == []


def test_the_published_scale_is_another_sound_at_each_value(chromium, path):
    with offline_page(chromium, path) as (shown, _, problems):
        power = slide(shown, "50")
        shown.evaluate(f"{BOX}.querySelector('input[value=published]').click()")
        seen = [slide(shown, value) for value in ("40", "50", "60")]
        assert len({one["sound"] for one in [power, *seen]}) == 4
        assert len({one["picture"] for one in [power, *seen]}) == 4
        assert len({one["text"][2] for one in seen}) == 3  # the crest factor differs too
        assert "this page holds 40, 50, 60 dB" in seen[0]["note"]
        near = slide(shown, "47")
        assert near["sound"] == seen[1]["sound"]
        assert near["output"] == "50.0"
        assert "nearest of them to 47.0 dB" in near["note"]
        wait_until(shown, f"{BOX}.querySelector('audio').readyState >= 1")
        shown.evaluate(f"{BOX}.querySelector('audio').play()")
        wait_until(shown, f"{BOX}.querySelector('audio').currentTime > 0.2")
        shown.evaluate(f"{BOX}.querySelector('input[value=power]').click()")
        wait_until(shown, f"!{BOX}.querySelector('audio').paused && {BOX}.querySelector('audio').currentTime > 0.2")
        assert slide(shown, "50")["text"] == power["text"]
        assert problems == []


def test_the_keyboard_moves_it(chromium, path):
    with offline_page(chromium, path) as (shown, _, _):
        wait_until(shown, f"{BOX}.dataset.ready === 'yes'")
        slider = shown.locator(".eegviz-tuner-offline input[type=range]").first
        slider.focus()
        before = float(slider.input_value())
        shown.keyboard.press("ArrowRight")
        assert float(slider.input_value()) == before + 0.5
        assert shown.locator(".eegviz-tuner-offline output").first.inner_text() == f"{before + 0.5:.1f}"


def test_hostile_titles_are_text(chromium, path):
    with offline_page(chromium, path) as (shown, _, problems):
        dialogs = []
        shown.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        shown.evaluate("document.querySelectorAll('.eegviz-tuner-offline input[value=published]')[1].click()")
        shown.wait_for_timeout(200)
        assert dialogs == []
        assert problems == []
        assert EVIL in shown.inner_text("main")


def test_without_script_player_picture_and_measures_remain(chromium, path):
    with offline_page(chromium, path.parent / "untrusted.html") as (shown, _, problems):
        assert shown.locator(".eegviz-tuner input").count() == 3
        assert not shown.locator(".eegviz-tuner input[type=range]").is_visible()
        assert shown.locator(".eegviz-tuner audio").is_visible()
        assert shown.locator(".eegviz-tuner img").is_visible()
        assert "training clips" in shown.inner_text(".eegviz-tuner dl")
        shown.evaluate("document.querySelector('audio').play()")
        wait_until(shown, "document.querySelector('audio').currentTime > 0.1")
        assert problems == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1100, 375])
def test_accessible_and_no_sideways_scroll(chromium, path, dark, width):
    with offline_page(chromium, path, width=width, height=800, dark=dark) as (shown, _, problems):
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_findings(shown) == []
        assert problems == []
