"""The demo pages from runs: what stands on them, and what is refused."""

import dataclasses

import bs4
import pytest

from eegviz import evaluation, grid_page, listening, runs, store, training
from eegviz.errors import ParameterError
from eegviz.listening import rows
from tests import page_content
from tests.conftest import make_tiny_store
from tests.test_cli import eegviz


def ridge(opened, out, **options):
    config = training.configure(opened, model="ridge", preset="fast", classifier="fast", **options)
    return training.train(opened, config, out=out, progress=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Four listeners, three songs, two hearings of 12 s."""
    path = tmp_path_factory.mktemp("small") / "store"
    return store.open(make_tiny_store(path, n_subjects=4, n_songs=3, seconds=12, n_channels=4))


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {split: ridge(small, out, split=split) for split in ("repeat", "song:song23", "subject:50", "random")}


def check_media(path, *, rate, samples):
    """No dead link, nothing of another type than stated, and one format, rate and length of all sounds."""
    assert page_content.dead_links(path) == []
    kinds = [(stated, found) for stated, found, _ in page_content.media(path)]
    assert set(kinds) == {("audio/ogg", "audio/ogg"), ("image/png", "image/png")}
    assert kinds.count(("audio/ogg", "audio/ogg")) == kinds.count(("image/png", "image/png"))
    assert set(page_content.sounds(path)) == {("OGG", rate, samples)}


def test_music_has_two_listeners_a_song_and_five_of_an_unseen_one(made, small, tmp_path):
    out = tmp_path / "music.html"
    done = eegviz("page", "music", made["repeat"].path, made["song:song23"].path, "--out", out)
    assert done.stdout.strip() == str(out)
    html = out.read_text(encoding="utf-8")
    tree = bs4.BeautifulSoup(html, "html.parser")
    first, second = tree.find_all("eegviz-grid")
    assert [len(row.find_all("figure")) for row in first.find_all(class_="eg-row")] == [3, 3, 3]
    assert [len(row.find_all("figure")) for row in second.find_all(class_="eg-row")] == [5]  # there are four listeners
    check_media(out, rate=16_000, samples=160_000)
    assert html.count("customElements.define") == 1
    text = tree.get_text()
    for word in ("Simulated data.", "Model. ", "Model without the song. ", "split repeat", "split song:song23", "unseen song",
                 "1 to 9 choose a clip", "chance .50"):  # fmt: skip
        assert word in text
    assert tree.find_all("a", href=lambda address: not address.startswith("#")) == []


def test_music_of_one_run_has_no_unseen_song(made, small):
    html = grid_page.page("music", [made["repeat"]])
    assert html.count("<eegviz-grid") == 1
    assert "An unseen song" not in html


def test_a_clip_is_as_long_as_all_test_seconds_allow(made, small):
    assert rows.common_seconds(made["repeat"], small, wanted=10, n_listeners=2) == 10
    assert 1 <= rows.common_seconds(made["random"], small, wanted=10, n_listeners=2) < 10
    assert rows.shared_seconds({"a": made["repeat"], "b": made["subject:50"]}, small, wanted=5) == 5


def test_segments_have_rows_of_each_piece(made, tmp_path):
    out = grid_page.write("segments", [made["subject:50"].path, made["repeat"].path], out=tmp_path / "segments.html")
    html = out.read_text(encoding="utf-8")
    tree = bs4.BeautifulSoup(html, "html.parser")
    assert len(tree.find_all(class_="eg-row")) == 3 * 2  # two segments of 5 s in 12 s
    names = {tag.get_text() for tag in tree.find_all("b", class_="eg-name")}
    assert names == {"Original", "Listener-independent", "Listener-dependent"}
    check_media(out, rate=16_000, samples=80_000)
    assert "“" not in tree.find("eegviz-grid").get_text()


def test_segments_say_what_each_column_was_trained_with(made, small):
    text = " ".join(
        bs4.BeautifulSoup(grid_page.page("segments", [made["subject:50"], made["repeat"]]), "html.parser")
        .get_text()
        .split()
    )
    assert "by a model that does not know the listener and by one that does" in text
    for name, split in (("Listener-independent", "subject:50"), ("Listener-dependent", "repeat")):
        run = made[split]
        n = len(run.split(run.windows(small)).train)
        assert f"{name}: ridge, preset fast, trained on {n:,} windows, split {split}" in text


def test_segments_of_different_training_are_refused(made):
    one, other = made["subject:50"], made["repeat"]
    model = {**other.config["model"], "preset": "fast", "settings": {"epochs": 2}}
    other = dataclasses.replace(other, config={**other.config, "model": model})
    with pytest.raises(ParameterError, match="epochs differ: listener-independent is .* is") as refused:
        grid_page.page("segments", [one, other])
    assert all(run.path.name in str(refused.value) for run in (one, other))
    other = imagining(made["repeat"])
    with pytest.raises(ParameterError, match="feature condition differ"):
        grid_page.page("segments", [one, other])


@pytest.mark.parametrize(
    ("split", "said", "never"),
    [
        (
            "repeat",
            "recordings that the model was not trained on; the music itself it knows from other hearings.",
            "neither",
        ),
        ("subject:50", "the music itself it knows from other listeners.", "neither"),
        ("random", "the music of those seconds from other listeners or hearings.", "neither"),
    ],
)
def test_a_page_says_what_the_model_knew(made, split, said, never):
    html = grid_page.page("music", [made[split]])
    assert said in html
    assert never not in html


def test_a_page_with_an_unseen_song_says_so_of_that_song_alone(made):
    html = grid_page.page("music", [made["repeat"], made["song:song23"]])
    seen, unseen = (bs4.BeautifulSoup(html, "html.parser").find(id=name).find_next("p").get_text()
                    for name in ("songs-two-listeners-each", "an-unseen-song"))  # fmt: skip
    assert "knows from other hearings" in seen
    assert "neither the recordings nor the music" in unseen


def imagining(run):
    features = {**run.config["features"], "condition": "imagery"}
    return dataclasses.replace(run, config={**run.config, "features": features})


def test_imagined_has_a_column_for_each_condition(made, small, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.Run, "windows", lambda self, opened=None: made_windows[self.path])
    made_windows = {made["repeat"].path: training.windowing.windows(small, **made["repeat"].config["features"])}
    html = grid_page.page("imagined", [imagining(made["repeat"]), made["repeat"]])
    (tmp_path / "imagined.html").write_text(html, encoding="utf-8")
    check_media(tmp_path / "imagined.html", rate=16_000, samples=160_000)
    tree = bs4.BeautifulSoup(html, "html.parser")
    row = tree.find(class_="eg-row")
    assert [tag.get_text() for tag in row.find_all("b", class_="eg-name")] == ["Original", "Perceived", "Imagined"]
    assert [tag.get("data-condition") for tag in row.find_all("figure")] == [None, "Perceived", "Imagined"]


@pytest.mark.parametrize(
    ("kind", "splits", "message"),
    [
        ("music", ("song:song23",), r"takes one run whose split is not song, .*; found \w+ \(ridge, split song:song23"),
        ("music", ("repeat", "random"), "takes one run whose split is not song"),
        ("music", (), "found none"),
        (
            "segments",
            ("repeat", "random"),
            "one run whose split is subject or subject_song and one whose split is another",
        ),
        ("imagined", ("repeat", "random"), "one run of heard recordings and one of imagined ones"),
        ("speech", ("repeat",), "unknown page 'speech'; known are music, imagined, segments"),
    ],
)
def test_wrong_runs_are_refused_in_one_message(made, kind, splits, message):
    with pytest.raises(ParameterError, match=message):
        grid_page.page(kind, [made[split] for split in splits])


def test_of_a_folder_the_best_runs_that_fit_are_taken(made, small, tiny_store, tmp_path):
    folder = made["repeat"].path.parent
    for run in made.values():
        evaluation.evaluate(run, store=small)
    taken = {}
    for kind in ("music", "segments"):
        out = tmp_path / f"{kind}.html"
        assert eegviz("page", kind, folder, "--out", out).stdout.strip() == str(out)
        taken[kind] = {name for name, run in made.items() if run.path.name in out.read_text(encoding="utf-8")}
    assert taken == {"music": {"repeat", "song:song23"}, "segments": {"repeat", "subject:50"}}
    for kind, where, message in (
        (
            "imagined",
            small,
            r"one run of heard recordings and one of imagined ones.*of the 4 scored runs in .* none fit\.",
        ),
        ("music", tiny_store, r"of the 0 scored runs"),
    ):
        with pytest.raises(ParameterError, match=message):
            grid_page.write(kind, [folder], out=tmp_path / "x.html", store=where.path)
    assert not (tmp_path / "x.html").exists()


def test_runs_of_two_stores_and_classifiers_are_refused(made, tiny_store):
    other = dataclasses.replace(made["subject:50"], config={**made["subject:50"].config, "data": {"fingerprint": "0"}})
    with pytest.raises(ParameterError, match="must be of one store"):
        grid_page.page("segments", [made["repeat"], other])
    model = {**made["repeat"].config["model"], "name": "classifier"}
    with pytest.raises(ParameterError, match="a classifier draws nothing"):
        grid_page.page("music", [dataclasses.replace(made["repeat"], config={**made["repeat"].config, "model": model})])


def test_the_help_says_which_runs_each_kind_needs():
    said = " ".join(eegviz("page", "--help").stdout.split())
    for part in ("Needs one run whose split is not song", "--condition imagery", "split is subject or subject_song",
                 "same model, features and training"):  # fmt: skip
        assert part in said
    for kind, seconds in grid_page.SECONDS.items():
        assert f"Clips of {seconds} s." in said.partition(f"{kind}: original")[2].partition(": original")[0]


def test_the_command_refuses_with_one_line(made, tmp_path):
    done = eegviz("page", "music", made["repeat"].path, "--out", tmp_path / "page.txt", ok=False)
    assert "ends in .html" in done.stderr
    done = eegviz("page", "music", made["repeat"].path, "--out", tmp_path / "nope" / "page.html", ok=False)
    assert "does not exist. Make it first" in done.stderr
    assert not (tmp_path / "nope").exists()
    done = eegviz("page", "music", tmp_path, "--out", tmp_path / "page.html", ok=False)
    assert "is not a run" in done.stderr


def test_an_unseen_song_needs_a_split_that_holds_one_out(made, small):
    with pytest.raises(ParameterError, match="holds out no song"):
        listening.unseen_grid(made["repeat"], small)
    grid = listening.unseen_grid(made["song:song23"], small, duration=3)
    assert len(grid.columns) == 5
    assert grid.rows[0][0].endswith("(unseen song)")
    assert {one.listener for one in grid.rows[0][1]} == {"", "S01", "S02", "S03", "S04"}
    assert all(one.score is not None and one.chance == 0.5 for one in grid.rows[0][1][1:])


def test_dead_links_and_wrong_types_are_seen(tmp_path):
    png = "data:image/png;base64,iVBORw0KGgo="
    (tmp_path / "other.html").write_text('<p id="there">x</p>')
    held = ('<p id="a">x</p><a href="#a"></a><a href="#b"></a><a href="other.html#there"></a><a href="other.html#c"></a>'
            '<a href="gone.html"></a><a href="javascript:x"></a><img src="https://x.org/a.png"><a href="https://x.org">x</a>'
            f'<img src="{png}"><audio src="{png.replace("image/png", "audio/ogg")}"></audio>')  # fmt: skip
    path = tmp_path / "page.html"
    path.write_text(held)
    dead = ["#b", "other.html#c", "gone.html", "javascript:x", "https://x.org/a.png"]
    assert page_content.dead_links(path) == dead
    assert [(stated, found) for stated, found, _ in page_content.media(path)] == [
        ("image/png",) * 2,
        ("audio/ogg", "image/png"),
    ]
