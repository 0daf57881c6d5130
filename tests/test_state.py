"""The app's state without views: parameters are set, states asserted, and Panel is never loaded."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from eegviz import catalogue, levels, state
from eegviz._state_work import Work, told
from eegviz.errors import DataError, ParameterError
from eegviz.listening import abx, pretend

from . import app_data

ROOT = Path(__file__).parents[1]


@pytest.fixture
def app(tiny_store):
    return state.AppState(catalogue.find([tiny_store.path]))


def test_states_load_no_panel():
    code = "import eegviz.state, sys; print([m for m in ('panel', 'bokeh.server', 'tornado') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "panel" not in done.stdout


def test_only_the_app_imports_panel():
    named = [path for path in (ROOT / "eegviz").rglob("*.py") if "import panel" in path.read_text()]
    assert {path.parent.name for path in named} == {"app"}


def test_a_store_brings_its_recordings(app, tiny_store):
    data = app.of("data")
    names = tiny_store.recordings["recording"].tolist()
    assert data.param.recording.objects == names
    assert data.recording == names[0]
    table, n = data.table()
    assert n == len(names)
    assert table["seconds"].tolist() == [20.0] * n
    data.start = 7
    data.recording = names[3]
    assert data.start == 7
    with pytest.raises(ValueError, match="nobody"):
        data.recording = "nobody"


def test_pictures_say_their_numbers_and_are_drawn_once(app):
    data = app.of("data")
    assert not data.ready
    first = data.picture()
    assert first.png.startswith(b"\x89PNG")
    assert "µV" in first.alt
    assert data.ready
    assert data.picture() is first
    data.view = "Spectrum"
    assert "µV²/Hz at 10 Hz" in data.picture().alt


def test_what_is_shared_comes_back(app, tiny_store):
    data = app.of("data")
    assert app.shared() == {"section": "data"}
    data.param.update(recording=tiny_store.recordings["recording"].iloc[5], view="Spectrum", start=3)
    said = app.shared()
    assert said == {"section": "data", "recording": data.recording, "view": "Spectrum", "start": "3"}
    other = state.AppState(app.catalogue)
    assert other.apply(said) == []
    assert (other.of("data").recording, other.of("data").start) == (data.recording, 3)
    assert other.shared() == said


def test_a_link_that_cannot_be_followed_says_so_and_the_rest_is_shown(app):
    problems = app.apply({"section": "data", "recording": "<b>", "view": "Spectrum", "start": "many"})
    assert len(problems) == 2
    assert "recording '<b>'" in problems[0]
    assert app.of("data").view == "Spectrum"
    assert "section 'nowhere'" in app.apply({"section": "nowhere"})[0]


def test_listeners_hear_of_changes(app):
    heard = []
    app.watch_shared(lambda: heard.append(app.shared()))
    app.of("data").view = "Spectrum"
    app.section = "models"
    assert heard == [{"section": "data", "view": "Spectrum"}, {"section": "models"}]


@pytest.mark.parametrize("section", ["listen", "tune", "upload"])
def test_without_runs_a_section_says_what_to_do(app, section):
    steps = app.of(section).steps()
    with pytest.raises((DataError, ParameterError), match="eegviz train|choose one"):
        list(steps)


def test_without_scored_runs_there_is_no_verdict(app):
    with pytest.raises(DataError, match="eegviz evaluate"):
        app.of("brain").verdict()
    assert app.of("models").listed() == []


def counting(n, *, stop_at=None, work=None):
    for i in range(n):
        yield i / n, f"step {i}"
        if i == stop_at:
            work.cancel()
    return n


def test_work_tells_how_far_it_is_and_gives_its_result():
    work, seen = Work(), []
    work.param.watch(lambda *_: seen.append((work.status, work.message)), ["status", "message"])
    work.start(counting(2), wait=True)
    assert (work.status, work.result, work.done) == ("done", 2, 1.0)
    assert ("running", "step 1") in seen


def test_cancelled_work_keeps_nothing():
    work = Work()
    work.start(counting(5, stop_at=2, work=work), wait=True)
    assert (work.status, work.result, work.busy) == ("cancelled", None, False)


def test_new_work_takes_the_place_of_the_old():
    work, go, over = Work(), threading.Event(), threading.Event()

    def slow():
        yield 0, "slow"
        go.wait(10)
        yield 0.5, "slow still"
        return "old"

    def quick():
        yield 0, "quick"
        return "new"

    work.param.watch(lambda event: over.set() if event.new == "done" else None, "status")
    work.start(slow())
    work.start(quick())
    go.set()
    assert over.wait(10)
    assert work.result == "new"


def test_errors_are_told_in_words():
    def fails(error):
        yield 0, "trying"
        raise error

    work = Work()
    work.start(fails(DataError("the file <x> is damaged")), wait=True)
    assert (work.status, work.message) == ("failed", "the file <x> is damaged")
    work.start(fails(KeyError("secret/path")), wait=True)
    assert "KeyError" in work.message
    assert "secret" not in work.message
    assert told(ParameterError("no")) == "no"


def test_a_file_that_is_too_large_is_refused_while_it_arrives(app, tmp_path):
    from eegviz import uploads
    from eegviz._state_upload import UploadState

    made = UploadState(app.catalogue, limits=uploads.Limits(file_bytes=1000), root=tmp_path / "uploads")
    assert made.arrive("a.edf", b"x" * 600, first=True) is None
    with pytest.raises(DataError, match="a.edf: at most"):
        made.arrive("a.edf", b"x" * 600)
    with pytest.raises(ParameterError, match="without its beginning"):
        made.arrive("a.edf", b"x" * 10, last=True)
    with pytest.raises(DataError, match=r"\.\./a.edf|a.edf"):
        made.arrive("../a.edf", b"Dear diary", first=True, last=True)
    made.close()
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file() and "a.edf" in path.name] == []


# ------------------------------------------------------------------ the level of a song


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory):
    return app_data.trained(tiny_store.path, out=tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def tuned(trained, tiny_store):
    """The session of a run that has levels for its songs."""
    levels.keep(trained, "song21", levels.Level(56.5, max_db=80.0, n_iter=16, chosen="<b>by ear</b>"))
    levels.keep(trained, "song22", levels.Level(51.0, scale="published"))
    yield state.AppState(catalogue.find([tiny_store.path, trained.path]))
    levels.forget(trained)


def named(tune, song):
    return [one for one in tune.param.recording.objects if song in one]


def test_tuning_starts_at_the_level_that_is_kept_for_the_song(tuned):
    tune = tuned.of("tune")
    assert "song21" in tune.recording
    assert (tune.ref_db, tune.max_db, tune.n_iter, tune.scale) == (56.5, 80.0, 16, "power")
    assert (tune.kept.ref_db, tune.kept.chosen) == (56.5, "<b>by ear</b>")
    assert tuned.shared() == {"section": "data"}
    tune.ref_db = 44.0
    tune.recording = named(tune, "song21")[1]
    assert tune.ref_db == 44.0  # the same song: what a person has set stays
    tune.recording = named(tune, "song22")[0]
    assert (tune.ref_db, tune.max_db, tune.n_iter) == (46.0, 100.0, 32)  # nothing is kept on this scale
    assert tune.kept is None
    tune.scale = "published"
    assert tune.kept.ref_db == 51.0


def test_a_link_says_a_level_that_is_not_the_songs_own_and_it_wins(tuned):
    tuned.section = "tune"
    tune = tuned.of("tune")
    first, second = tune.recording, named(tune, "song22")[0]
    assert tuned.shared() == {"section": "tune"}
    tune.recording = second
    assert tuned.shared() == {"section": "tune", "recording": second}
    tune.ref_db = 56.5  # where the other song begins
    assert tuned.shared() == {"section": "tune", "recording": second, "ref_db": "56.5"}
    other = state.AppState(tuned.catalogue)
    assert other.apply(tuned.shared()) == []
    assert (other.of("tune").recording, other.of("tune").ref_db) == (second, 56.5)
    another = state.AppState(tuned.catalogue)
    assert another.apply({"section": "tune", "recording": first, "ref_db": "50"}) == []
    assert (another.of("tune").ref_db, another.of("tune").kept.ref_db) == (50, 56.5)


def test_damaged_levels_are_told_when_the_sound_is_made(tuned, trained):
    (trained.path / levels.FILE).write_text("{")
    tune = state.AppState(tuned.catalogue).of("tune")
    assert (tune.kept, tune.ref_db) == (None, 46.0)
    with pytest.raises(DataError, match="ref_db.json is damaged"):
        list(tune.steps())
    (trained.path / levels.FILE).unlink()


# ------------------------------------------------------------------ the listening test


@pytest.fixture
def listening(app, tmp_path):
    """The section with a test whose sounds are a few bytes, after consent."""
    design = pretend.paper_design(n_trials=8, n_practice=2, n_attention=0, n_versions=1)
    keys = {key for one in design.trials for key in one.keys(design.task)}
    abx.save(replace(design, sounds=dict.fromkeys(keys, b"OggS")), tmp_path / "test")
    test = app.of("test")
    test.use(tmp_path / "test")
    test.agreed = True
    test.begin()
    yield test
    test.close()


def test_where_only_a_test_is_open_people_come_to_it_at_once(listening, app):
    path = listening.catalogue.tests[listening.test]
    assert state.AppState(catalogue.find([path])).section == "test"
    assert state.AppState(app.catalogue).section == "data"


def test_where_only_a_test_is_open_links_to_other_sections_come_back_to_it(listening):
    path = listening.catalogue.tests[listening.test]
    alone = state.AppState(catalogue.find([path]))
    for section in ("models", "upload", "nowhere"):
        assert alone.apply({"section": section, "model": "cnn"}) == []
        assert alone.section == "test"
    assert alone.apply({"section": "models", "participant": "p1"}) == []
    assert alone.shared() == {"section": "test", "participant": "p1"}
    with pytest.raises(ValueError, match="data"):
        alone.section = "data"


def test_the_page_says_where_a_test_is_written(app):
    place = app.of("test").place
    assert "reports/listening-tests/" in place
    assert str(Path.cwd()) not in place


def heard(test, number, **plays):
    test.plays = {test.plays_key(number, label): n for label, n in plays.items()}


def test_an_answer_before_all_sounds_were_played_is_not_taken(listening):
    assert listening.trial().number == 1
    for plays in (
        {},
        {"X": 3, "A": 1},
        {"X": 1, "A": 1, "B": 0},
        {"X": 1, "A": 1, "B": "2"},
        {"X": 1, "A": 1, "B": True},
    ):
        heard(listening, 1, **plays)
        with pytest.raises(ParameterError, match=r"^Listen to X, A and B first\.$"):
            listening.answer("A", number=1)
    heard(listening, 2, X=1, A=1, B=1)  # of another trial
    with pytest.raises(ParameterError, match="first"):
        listening.answer("A", number=1)
    assert listening.progress.done == 0
    heard(listening, 1, X=2, A=1, B=10**9)
    listening.answer("A", number=1)
    assert listening.progress.done == 1
    assert listening.plays == {}


def test_plays_are_stored_and_a_trial_whose_time_is_over_needs_none(listening):
    heard(listening, 1, X=2, A=1, B=4)
    listening.trial()
    listening.answer("B", number=1)
    listening.trial()
    heard(listening, 2, X=1)
    listening.answer(None, number=2)
    rows = listening.csv().splitlines()
    places = [rows[0].split(",").index(f"replays_{label}") for label in "XAB"]
    assert [[float(row.split(",")[i] or 0) for i in places] for row in rows[1:]] == [[2, 1, 4], [1, 0, 0]]
