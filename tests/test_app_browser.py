"""The app in a real browser: every section, the tuner's sound, the link, phones, dark, axe, and strings that would be script."""

import csv
import json
import urllib.request
from urllib.parse import urlencode, urljoin

import pytest

from eegviz import levels, runs
from eegviz import state as states
from eegviz.app.listening_test import ANOTHER
from eegviz.listening import abx

from . import app_data
from .app_pages import ERRORS, TEXT, Seen
from .browser import serious_findings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECTIONS = ("data", "listen", "tune", "models", "brain", "test", "upload")
SOUND = """() => { let found = ''; const walk = (root) => { for (const node of root.querySelectorAll('*')) { if (node.shadowRoot)
  walk(node.shadowRoot); if (node.matches('.tuned audio')) found = node.getAttribute('src'); } }; walk(document); return found; }"""


# What axe finds in the library's own page, which no option of it names: rule and what its element is called.
LIBRARY = {"aria-progressbar-name": "MuiLinearProgress-root"}


def findings(page):
    """Of axe, serious or critical, less those of the library."""
    return [
        one
        for one in serious_findings(page)
        if not any(f" {rule}: " in one and mark in one for rule, mark in LIBRARY.items())
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Store, run and listening test, all with hostile strings."""
    folder = tmp_path_factory.mktemp("app")
    app_data.small_store(folder / "store")
    run = app_data.trained(folder / "store", out=folder / "runs")
    few = {"n_trials": 2, "n_practice": 2, "n_attention": 0, "n_versions": 1, "duration": 1, "same_song": 0.0}
    abx.save(abx.design(run, run.store(), progress=False, **few), folder / "listening")
    app_data.make_hostile(folder / "store", run)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with app_data.served(folder) as (address, _):
        yield address


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The address of a store with three runs."""
    folder = tmp_path_factory.mktemp("several")
    app_data.small_store(folder / "store")
    for split in ("repeat", "random:80/10/10", "subject"):
        app_data.trained(folder / "store", out=folder / "runs", split=split)
    with app_data.served(folder) as (address, _):
        yield address


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_opens_and_no_hostile_string_runs(chromium, address, section):
    with Seen(chromium) as seen:
        seen.open(address, f"section={section}")
        assert seen.page.evaluate("window.hacked") is None
        assert seen.problems == []
        assert seen.outside == []
        assert findings(seen.page) == []
        for view in ("Raw EEG", "Spectrum") if section == "data" else ():
            seen.page.get_by_role("button", name=view, exact=True).click()
            seen.page.wait_for_timeout(3000)
            assert seen.page.evaluate(ERRORS) == []
            assert seen.page.evaluate("window.hacked") is None
            assert seen.problems == []


def test_each_tab_shows_its_section(chromium, address):
    with Seen(chromium) as seen:
        seen.open(address, "section=data")
        for section in (*SECTIONS[1:], SECTIONS[0]):
            seen.page.get_by_role("navigation").get_by_role("button", name=states.SECTIONS[section], exact=True).click()
            seen.page.get_by_role("heading", level=2, name=states.SECTIONS[section], exact=True).wait_for(
                timeout=60_000
            )
            seen.until(lambda: len(seen.page.evaluate(TEXT)) > 20)
            assert seen.page.get_by_role("heading", level=2).count() == 1
            assert seen.page.evaluate(ERRORS) == []
        assert seen.problems == []


def test_a_folder_with_only_a_test_shows_the_test_alone(chromium, folder):
    with app_data.served(folder / "listening") as (address, _):
        for query in ("", "section=models", "section=tune&run=x"):
            with Seen(chromium, width=375) as seen:
                seen.open(address, query)
                seen.page.get_by_role("button", name="Begin").wait_for(timeout=60_000)
                assert [one.inner_text() for one in seen.page.get_by_role("heading", level=2).all()] == [
                    "Listening test"
                ]
                assert seen.page.get_by_role("navigation").count() == 0
                assert seen.page.get_by_text(ANOTHER).count() == 0
                assert seen.page.evaluate("document.documentElement.scrollWidth") <= 375
                assert (seen.problems, findings(seen.page)) == ([], [])


def test_beside_a_test_another_can_be_made(chromium, folder, tmp_path):
    size = {"n_trials": 2, "n_practice": 2, "n_attention": 0, "n_versions": 1, "duration": 1}
    before = "\n".join(
        (
            f"import os; os.chdir({str(tmp_path)!r})",
            f"from eegviz import _state_test as one; one.SIZES = ({size},)",  # the run holds out few seconds
            "plan = one.abx.plan; one.abx.plan = lambda *a, **k: plan(*a, **(k | {'same_song': 0.0}))",
        )
    )
    with app_data.served(folder, before=before) as (address, _), Seen(chromium) as seen:
        seen.open(address, "section=test")
        make = seen.page.get_by_role("button", name="Make a test")
        seen.page.get_by_role("button", name="Begin").wait_for(timeout=60_000)
        assert not make.is_visible()
        seen.page.get_by_text(ANOTHER).click()
        assert seen.page.get_by_label("Run to make a test of").is_visible()
        make.click()
        seen.page.get_by_text("is shown now").wait_for(timeout=60_000)
        assert seen.page.locator("[data-name='test'] option").count() == 2
        (made,) = (tmp_path / "reports" / "listening-tests").glob("*/design.json")
        assert made.parent.name == next((folder / "runs").glob("*/config.json")).parent.name
        seen.page.get_by_label("I have read this and want to take part").check()
        seen.page.get_by_role("button", name="Begin").click()
        seen.until(lambda: "Practice 1 of 2" in seen.page.evaluate(TEXT))
        assert seen.page.get_by_text(ANOTHER).count() == 0
        assert (seen.problems, seen.page.evaluate("window.hacked"), findings(seen.page)) == ([], None, [])


def test_the_raw_browser_is_the_first_thing_that_a_server_draws(chromium, folder):
    with app_data.served(folder) as (address, _), Seen(chromium, width=375, dark=True) as seen:
        seen.page.goto(f"{address}/?section=data&view=Raw+EEG&start=2&n_channels=4", timeout=90_000)
        seen.page.locator(".bk-Figure").nth(1).wait_for(timeout=60_000)
        assert seen.page.get_by_label("From second").input_value() == "2"
        seen.page.get_by_label("From second").fill("5")
        seen.page.keyboard.press("Tab")
        seen.until(lambda: "start=5" in seen.page.url)
        assert seen.page.evaluate(ERRORS) == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 375
        assert (seen.problems, seen.outside, findings(seen.page)) == ([], [], [])


@pytest.mark.parametrize("section", SECTIONS)
def test_hostile_strings_in_a_link_are_shown_as_text(chromium, address, section):
    keys = {"data": "recording", "test": "participant", "models": "compared"}
    for string in app_data.HOSTILE[:: 8 if section == "test" else 13]:
        with Seen(chromium) as seen:
            key = keys.get(section, "run")
            seen.page.goto(
                f"{address}/?{urlencode({'section': section, key: string, '<svg onload=alert(1)>': string})}"
            )
            if section == "test":
                seen.page.get_by_role("button").first.wait_for(timeout=30_000)
                seen.page.wait_for_timeout(1500)
            else:
                seen.page.get_by_text("which is not there").first.wait_for(timeout=30_000)
            assert seen.page.evaluate("window.hacked") is None
            assert seen.problems == []


def test_hostile_names_of_listeners_of_a_test(chromium, address):
    for string in app_data.HOSTILE[3::12]:
        with Seen(chromium) as seen:
            seen.open(address, "section=test")
            seen.page.get_by_label("Name or number").fill(string[:64])
            seen.page.get_by_label("I have read this and want to take part").check()
            seen.page.get_by_role("button", name="Begin").click()
            seen.until(lambda seen=seen: "Practice 1 of 2" in seen.page.evaluate(TEXT) or seen.page.evaluate(ERRORS))
            seen.page.reload()
            seen.until(lambda seen=seen: "Practice 1 of 2" in seen.page.evaluate(TEXT) or seen.page.evaluate(ERRORS))
            assert seen.page.evaluate("window.hacked") is None
            assert seen.problems == []


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_scrolls_sideways(chromium, address, dark):
    with Seen(chromium, width=375, dark=dark) as seen:
        for section in ("data", "listen", "brain"):
            seen.open(address, f"section={section}")
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= 375
            wide = "() => { const main = document.querySelector('main') || document.body; return main.scrollWidth; }"
            assert seen.page.evaluate(wide) <= 375
            seen.page.wait_for_timeout(500)
            assert findings(seen.page) == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_box_that_goes_on_says_so_and_one_that_does_not_is_silent(chromium, address, dark):
    sideways, down = "Goes on to the right: scroll sideways", "48 rows: scroll down for more"
    with Seen(chromium, width=375, dark=dark) as seen:
        seen.open(address, "section=data")
        table = seen.page.locator(".scroll").first
        for box in (table, seen.page.locator("figure.picture").first):
            hint = box.locator("xpath=preceding-sibling::*[1][contains(@class, 'wider')]")
            hint.wait_for(timeout=30_000)
            assert sideways in hint.inner_text()
        assert down not in seen.page.evaluate(TEXT)
        table.locator("tbody").evaluate(
            "one => { for (let i = 0; i < 40; i++) one.append(one.rows[0].cloneNode(true)); }"
        )
        seen.page.get_by_text(down).wait_for(timeout=10_000)
        buttons = [one.bounding_box() for one in seen.page.locator(".choice button").all()]
        assert [len({one[side] for one in buttons}) for side in "xy"] == [2, 2]  # two rows of two, in columns
        assert len({one["width"] for one in buttons}) == 1
        seen.page.set_viewport_size({"width": 1400, "height": 900})
        seen.until(lambda: seen.page.locator("figure.picture").first.evaluate("one => !one.previousElementSibling"))
        assert (seen.problems, findings(seen.page)) == ([], [])


def test_behind_a_prefix_sections_open_and_sounds_come(chromium, folder):
    options = {"options": ("--prefix", "tools/eegviz"), "prefix": "/tools/eegviz"}
    with app_data.served(folder, **options) as (address, _), Seen(chromium) as seen:
        seen.open(address, "section=tune")
        seen.until(lambda: seen.page.evaluate(SOUND))
        sound = urljoin(f"{address}/", seen.page.evaluate(SOUND))
        assert sound.startswith(f"{address}/media/")
        with urllib.request.urlopen(sound, timeout=30) as reply:
            assert reply.headers["Content-Type"] == "audio/ogg"
        seen.page.get_by_role("button", name=states.SECTIONS["models"], exact=True).click()
        seen.page.get_by_role("heading", level=2, name=states.SECTIONS["models"], exact=True).wait_for(timeout=60_000)
        assert f"{address}/?section=models" in seen.page.url
        assert [one for one in seen.problems if "404" not in one] == []  # of panel, see README's notes


def test_dark_follows_the_system(chromium, address):
    grounds = []
    for dark in (False, True):
        with Seen(chromium, dark=dark) as seen:
            seen.open(address, "section=data")
            seen.page.wait_for_timeout(1500)
            grounds.append(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_chosen_runs_are_the_first_of_the_list(chromium, several):
    with Seen(chromium) as seen:
        seen.open(several, "section=models")
        boxes = seen.page.get_by_role("checkbox")
        fold = seen.page.get_by_text("Choose runs to compare")
        fold.click()
        names = [one.inner_text() for one in seen.page.locator(".ticks label").all()]
        assert [one.is_checked() for one in boxes.all()] == [True, True, False]
        boxes.nth(0).uncheck()
        boxes.nth(2).check()
        assert [one.is_checked() for one in boxes.all()] == [False, True, True]  # nothing moves under the pointer
        seen.until(lambda: "compared=" in seen.page.url)
        fold.click()
        fold.click()
        seen.until(lambda: [one.is_checked() for one in boxes.all()] == [True, True, False])
        now = [one.inner_text() for one in seen.page.locator(".ticks label").all()]
        assert sorted(now) == sorted(names)
        assert now[-1] == names[0]
        assert seen.problems == []


def test_runs_side_by_side_begin_with_the_list_of_runs(chromium, several):
    with Seen(chromium) as seen:
        seen.open(several, "section=listen")
        assert seen.page.get_by_label("Listeners").is_visible()
        assert seen.page.get_by_role("checkbox").count() == 0
        seen.page.get_by_role("button", name="Runs side by side").click()
        second = seen.page.get_by_role("checkbox").nth(1)
        second.wait_for()
        assert seen.page.get_by_label("Listeners").count() == 0
        second.check()
        seen.until(lambda: "beside=" in seen.page.url)
        assert second.is_visible()
        seen.page.wait_for_timeout(500)
        seen.page.locator('.body[aria-busy="true"]').wait_for(state="detached")
        assert seen.page.evaluate(ERRORS) == []
        assert (seen.problems, findings(seen.page)) == ([], [])
        seen.page.get_by_role("button", name="Original and listeners").click()
        seen.page.get_by_label("Listeners").wait_for()


def test_the_slider_changes_the_sound_and_the_link_brings_it_back(chromium, address):
    with Seen(chromium) as seen:
        seen.open(address, "section=tune")
        first = seen.until(lambda: seen.page.evaluate(SOUND))
        seen.page.get_by_label("ref dB").focus()
        for _ in range(6):
            seen.page.keyboard.press("ArrowRight")
        second = seen.until(lambda: (now := seen.page.evaluate(SOUND)) != first and now)
        link = seen.until(lambda: "ref_db=" in seen.page.url and seen.page.url)
        reply = seen.page.request.get(f"{address}/{second}", headers={"Range": "bytes=0-99"})
        assert (reply.status, reply.headers["content-type"], len(reply.body())) == (206, "audio/ogg", 100)
    with Seen(chromium) as again:
        again.open(address, link.partition("?")[2])
        assert again.until(lambda: again.page.evaluate(SOUND)) == second


def test_the_level_that_is_kept_for_a_song_is_named_and_the_controls_say_what_they_do(chromium, folder, address):
    (path,) = (one.parent for one in (folder / "runs").glob("*/config.json"))
    songs = [f"song{21 + i}" for i in range(2)]
    for song in songs:
        levels.keep(runs.open(path), song, levels.Level(56.5, chosen=app_data.HOSTILE[2]))
    try:
        with Seen(chromium, width=375) as seen:
            seen.open(address, "section=tune")
            level = seen.page.get_by_label("ref dB")
            assert level.input_value() == "56.5"
            told = level.evaluate(
                "one => one.getRootNode().getElementById(one.getAttribute('aria-describedby')).innerText"
            )
            assert told == f"kept for this song: 56.5 dB, {app_data.HOSTILE[2]}"
            assert seen.page.get_by_text("Griffin–Lim looks for one").is_visible()
            assert seen.page.get_by_role("button", name="As in the published code").is_visible()
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= 375
            assert (seen.problems, seen.page.evaluate("window.hacked"), findings(seen.page)) == ([], None, [])
        with Seen(chromium) as seen:
            seen.open(address, "section=tune&ref_db=50")
            assert seen.page.get_by_label("ref dB").input_value() == "50"
    finally:
        levels.forget(runs.open(path))


def play(seen, *labels):
    """Play sounds of the trial to their end, one after another."""
    for label in labels:
        player = seen.page.get_by_label(f"Sound {label} of trial")
        player.evaluate("one => one.play()")
        seen.until(lambda player=player: player.evaluate("one => one.ended"))
    seen.page.wait_for_timeout(300)  # the server takes changes together, so the last start may be on its way


def test_a_listening_test_survives_a_reload(chromium, address, folder):
    with Seen(chromium) as seen:
        seen.open(address, "section=test")
        seen.page.get_by_label("I have read this and want to take part").check()
        seen.page.get_by_role("button", name="Begin").click()
        seen.until(lambda: "Practice 1 of 2" in seen.page.evaluate(TEXT))
        play(seen, "X", "A")
        seen.page.get_by_role("button", name="A belongs to X").click()
        seen.until(lambda: seen.page.evaluate(ERRORS) == ["Listen to X, A and B first."])
        play(seen, "X", "B")
        seen.page.get_by_role("button", name="A belongs to X").click()
        seen.until(lambda: "Practice 2 of 2" in seen.page.evaluate(TEXT))
        assert seen.page.evaluate(ERRORS) == []
        play(seen, "X", "A", "B")
        seen.page.get_by_role("button", name="A belongs to X").click()
        seen.until(lambda: "Trial 1 of 2" in seen.page.evaluate(TEXT))
        seen.page.reload()
        seen.until(lambda: "Trial 1 of 2" in seen.page.evaluate(TEXT))
        for n in (1, 2):
            seen.until(lambda n=n: f"Trial {n} of 2" in seen.page.evaluate(TEXT))
            play(seen, *"XABB")
            seen.page.get_by_role("button", name="B belongs to X").click()
        seen.until(lambda: "Your answers (CSV)" in seen.page.evaluate(TEXT))
        assert "of 2 trials. By chance 1 are right" in seen.page.evaluate(TEXT)
        with seen.page.expect_download() as download:
            seen.page.get_by_text("Your answers (CSV)").click()
        rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
        assert [row["choice"] for row in rows] == ["A", "A", "B", "B"]
        plays = [[float(row[f"replays_{label}"]) for label in "XAB"] for row in rows]
        assert plays == [[2, 1, 1], [1, 1, 1], [1, 1, 2], [1, 1, 2]]
        participant = rows[0]["participant"]
        seen.page.get_by_role("button", name="Another listener").click()
        seen.page.get_by_role("button", name="Begin").wait_for()
        assert seen.problems == []
    found = [one.read_text() for one in (folder / "listening" / "answers").glob("*.jsonl")]
    (answers,) = [text for text in found if json.dumps(participant) in text]
    assert answers.count('"choice"') == 4
