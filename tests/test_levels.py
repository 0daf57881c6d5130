"""ref_db.json: kept whole or not at all, read back, refused when damaged, used by every reconstruction."""

import json
import shutil
import threading

import numpy as np
import pytest

from eegviz import levels, reconstruction, runs
from eegviz.errors import DataError, ParameterError
from tests.test_cli import eegviz
from tests.test_evaluation import trained

HEARD = {"start": 0, "duration": 2}


@pytest.fixture(scope="module")
def made(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(made, tmp_path):
    return runs.open(shutil.copytree(made.path, tmp_path / made.path.name))


def test_what_is_kept_is_read_back(run):
    assert levels.kept(run) == {}
    level = levels.Level(51.5, "published", max_db=80.0, n_iter=16, chosen="by <ear>", clips=(("S01_song21_r1", 5),))
    first = levels.keep(run, "song21", level)
    second = levels.keep(run, "song22", np.float32(44))
    assert levels.kept(run) == {"song21": first, "song22": second}
    assert first.time.endswith("+00:00")
    assert (first.ref_db, first.max_db, first.n_iter, first.clips) == (51.5, 80, 16, (("S01_song21_r1", 5),))
    assert levels.of(run, "song21") is None
    assert levels.of(run, "song21", scale="published") == first
    assert [path.name for path in run.path.glob("*.partial")] == []
    levels.forget(run, "song21")
    assert list(levels.kept(run)) == ["song22"]
    levels.forget(run)
    assert not (run.path / levels.FILE).exists()


def test_the_folder_keeps_its_name_and_the_run_stays_as_it_was(run):
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    levels.keep(run, "song21", 50)
    after = {path.name: path.read_bytes() for path in run.path.iterdir()}
    assert set(after) - set(before) == {"ref_db.json"}
    assert {name: after[name] for name in before} == before
    opened = runs.open(run.path)
    assert opened.config == run.config
    assert runs.run_hash(opened.config) == run.path.name


def test_sessions_at_once_lose_nothing(run):
    threads = [threading.Thread(target=levels.keep, args=(run, f"song{i}", 40.0 + i)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {song: one.ref_db for song, one in levels.kept(run).items()} == {f"song{i}": 40.0 + i for i in range(12)}


def test_a_reconstruction_uses_what_is_kept_and_says_so(run):
    plain = reconstruction.reconstruct(run, "S01_song21_r2", **HEARD)
    assert plain.ref_db == 46
    assert "ref_db 46 (that of training)" in plain.describe()
    levels.keep(run, "song21", 52, chosen="matched to 4 training clips")
    levels.keep(run, "song22", levels.Level(58.0, "published"))
    tuned = reconstruction.reconstruct(run, "S01_song21_r2", **HEARD)
    np.testing.assert_allclose(tuned.sound, plain.sound * 10 ** (6 / 40), rtol=1e-4, atol=1e-6)
    assert "ref_db 52 (kept for this song: matched to 4 training clips)" in tuned.describe()
    asked = reconstruction.reconstruct(run, "S01_song21_r2", ref_db=40, **HEARD)
    assert "ref_db 40 (as asked for)" in asked.describe()
    other = reconstruction.reconstruct(run, "S01_song22_r2", **HEARD)  # kept for the other scale only
    assert other.ref_db == 46
    published = reconstruction.reconstruct(run, "S01_song22_r2", scale="published", **HEARD)
    assert published.ref_db == 58


def test_the_range_and_iterations_that_were_heard_are_kept_too(run):
    plain = reconstruction.reconstruct(run, "S01_song21_r2", **HEARD)
    levels.keep(run, "song21", levels.Level(46.0, max_db=60.0, n_iter=4))
    other = reconstruction.reconstruct(run, "S01_song21_r2", **HEARD)
    assert np.corrcoef(plain.sound, other.sound)[0, 1] < 0.99


def test_a_file_whose_song_nobody_knows_gets_the_mean(run, tiny_store, tmp_path):
    path = tmp_path / "x_raw.fif"
    tiny_store.raw("S01_song21_r2").save(path, verbose="error")
    assert reconstruction.reconstruct_file(run, path, duration=1).ref_db == 46
    levels.keep(run, "song21", 52)
    levels.keep(run, "a song of another run", 99)
    made = reconstruction.reconstruct_file(run, path, duration=1)
    assert made.ref_db == 49
    assert "mean of 2 songs, 1 of them with a kept level" in made.describe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "found no JSON"),
        (b"\xff\xfe", "bytes that are not text"),
        (b"[]", "no table of songs"),
        (b'{"format": 2, "songs": {}}', "no table of songs in format 1"),
        (b'{"format": 1, "songs": {"song21": 52}}', "no ref_db for 'song21'"),
        (b'{"format": 1, "songs": {"song21": {"ref_db": "loud"}}}', "ref_db must be a number of dB"),
        (b'{"format": 1, "songs": {"song21": {"ref_db": NaN}}}', "ref_db must be a number of dB"),
        (b'{"format": 1, "songs": {"song21": {"ref_db": 1e9}}}', "from -100 to 200"),
        (b'{"format": 1, "songs": {"song21": {"ref_db": 46, "scale": "x"}}}', "unknown scale"),
        (b'{"format": 1, "songs": {"song21": {"ref_db": 46, "n_iter": 0}}}', "n_iter"),
        (b'{"format": 1, "songs": {"song21": {"ref_db": 46, "clips": [1]}}}', "for 'song21'"),
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(run, content, message):
    (run.path / levels.FILE).write_bytes(content)
    for use in (
        lambda: levels.kept(run),
        lambda: levels.keep(run, "song22", 50),
        lambda: reconstruction.reconstruct(run, "S01_song21_r2", **HEARD),
    ):
        with pytest.raises(DataError, match=rf"(?s)ref_db.json is damaged.*{message}.*Delete the file"):
            use()
    assert (run.path / levels.FILE).read_bytes() == content
    reconstruction.reconstruct(run, "S01_song21_r2", ref_db=46, **HEARD)  # what is asked for needs no file


@pytest.mark.parametrize("bad", [float("nan"), 1000, -500, True, "46"])
def test_what_cannot_be_a_level_is_not_kept(run, bad):
    with pytest.raises(ParameterError, match="ref_db must be a number"):
        levels.keep(run, "song21", bad)
    assert not (run.path / levels.FILE).exists()


def test_a_level_belongs_to_a_song(run):
    with pytest.raises(ParameterError, match="belongs to a stimulus"):
        levels.keep(run, "", 46)


def test_the_command_line_uses_it_says_so_and_refuses_damage(run, tmp_path):
    asked = ("reconstruct", run.path, "--recording", "S01_song21_r2", "--duration", 2, "--out", tmp_path / "x.wav")
    levels.keep(run, "song21", 53.5, chosen="by ear")
    assert "ref_db 53.5 (kept for this song: by ear)" in eegviz(*asked).stdout
    assert "ref_db 41 (as asked for)" in eegviz(*asked, "--ref-db", 41).stdout
    (run.path / levels.FILE).write_text(json.dumps({"format": 1}))
    found = eegviz(*asked, ok=False)
    assert found.returncode == 2
    assert "ref_db.json is damaged" in found.stderr
    assert "Traceback" not in found.stderr
