import pytest

from eegviz import fitting, models, recipes, store, training
from eegviz.datasets import demo_mos
from eegviz.errors import ParameterError
from tests.conftest import make_tiny_store


def test_table_2_holds_the_published_accuracies():
    assert [pair["published"] for pair in recipes.TABLE_2.values()] == [0.8080, 0.7228, 0.4607, 0.3753]
    assert [(p["eeg"], p["audio"]) for p in recipes.TABLE_2.values()] == [
        ("periodogram", "mel-db"), ("periodogram", "linear-db"), ("raw", "mel-db"), ("raw", "linear-db"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def melodies(tmp_path_factory):
    place = tmp_path_factory.mktemp("melodies") / "store"
    few = {"n_subjects": 1, "n_repeats": 2, "melodies": [19, 38], "duration": 4.0}
    return store.open(demo_mos.make_store(place, progress=False, **few))


WIDTHS = {  # of the fast preset, and of the study's size
    "ridge": (40, 40), "cnn": (2, 8), "rcnn": (4, 32), "encoder-decoder": (4, 32), "transformer": (32, 128), "gan": (32, 128),
    "alignment": (32, 128), "diffusion": (48, 512), "tokens": (32, 128),
}  # fmt: skip


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_is_a_valid_config(tiny_store, melodies, name, fast):
    opened = melodies if name in recipes.MELODIES else tiny_store
    config = training.configure(opened, **recipes.recipe(opened, name, fast=fast))
    model = config["model"]
    settings = models.config(model["name"], model["preset"], **model["settings"])
    assert settings.width == WIDTHS[model["name"]][not fast]
    published = name in recipes.TABLE_2 or name.endswith("-interleaved")
    assert config["split"]["spec"].startswith(recipes.PUBLISHED_SPLIT) == published
    assert config["classifier"] == ("fast" if fast else "eeg2mel")
    assert (config["features"]["tmax"] is None) or fast  # the studies' sizes take every second


def test_the_echoes_stand_on_the_three_kinds_of_evidence(tiny_store):
    splits = {name: recipes.recipe(tiny_store, name)["split"].split(":")[0] for name in recipes.ECHOES}
    assert splits == {"dependent-diffusion": "repeat", "independent-diffusion": "subject", "unseen-alignment": "song"}


def test_the_documents_tables_of_tokens_are_whole():
    names = set(recipes.tokens(fast=False))
    assert {"RNN", "LSTM", "Tiraboschi", "Miyamoto", "Inoue", "ours"} <= {
        name.removeprefix("tokens ") for name in names
    }
    for model in ("CNN", "Transformer", "LSTM", "ours"):  # Table 3
        assert {
            f"tokens {model}{w}" for w in ("", " without EEG clusters", " without audio clusters", " without clusters")
        } <= names
    assert {f"tokens depth {depth}" for depth in (8, 10, 12, 14, 16)} <= names  # Table 4
    assert "tokens music alone" in names
    assert not {f"tokens depth {depth}" for depth in recipes.DEPTHS[True]} & names
    assert set(recipes.tokens()) - names == {f"tokens depth {depth}" for depth in recipes.DEPTHS[True]}


def test_the_study_is_a_full_grid_of_its_cnn_and_its_other_networks_once():
    cnn = [asked[1:] for asked in recipes.STUDY.values() if asked[0] == "cnn" and asked[3] != "best"]
    assert len(set(cnn)) == 2 * 2 * 2
    for split in ("random:80/10/10", "best"):
        networks = {asked[0] for asked in recipes.STUDY.values() if asked[3] == split}
        assert networks >= {"cnn", "rcnn", "encoder-decoder", "transformer"}


def test_the_published_recipe_keeps_the_papers_step_and_input(tiny_store):
    model = training.configure(tiny_store, **recipes.recipe(tiny_store, "published"))["model"]
    settings = models.config(model["name"], model["preset"], **model["settings"])
    assert (settings.scaling, settings.mean_start, settings.lr, settings.batch_size) == ("none", False, 1.5e-3, 60)


def test_the_strongest_split_that_the_data_allow(tiny_store, tmp_path):
    assert recipes.honest_split(tiny_store) == "repeat"
    once = store.open(make_tiny_store(tmp_path / "once", n_hearings=1, seconds=6))
    assert recipes.honest_split(once) == "subject"
    alone = store.open(make_tiny_store(tmp_path / "alone", n_hearings=1, n_subjects=1, seconds=6))
    assert recipes.honest_split(alone) == "blocked"


def test_unknown_recipes_list_the_known(tiny_store):
    with pytest.raises(ParameterError, match="known are psd-mel"):
        recipes.recipe(tiny_store, "best")


def test_a_recipe_is_trained_once(tiny_store, tmp_path, monkeypatch):
    monkeypatch.setitem(models.module("cnn").PRESETS, "fast", models.module("cnn").PRESETS["fast"] | {"epochs": 1})
    first = recipes.run(tiny_store, "main", out=tmp_path)
    monkeypatch.setattr(fitting, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert recipes.run(tiny_store, "main", out=tmp_path).path == first.path


def test_protocols_share_runs_with_the_other_recipes(tiny_store):
    def config(name):
        return training.configure(tiny_store, **recipes.recipe(tiny_store, name))

    assert config("cnn-repeat") == config("main")
    assert config("cnn-interleaved") == config("psd-mel")
    assert config("cnn-song") == config("unseen-song")
    assert config("cnn-random") == config("study cnn periodogram mel-db random:80/10/10")


def test_all_protocols_that_a_store_allows(tmp_path):
    once = store.open(make_tiny_store(tmp_path / "once", n_hearings=1, seconds=20))
    done, missing = recipes.protocols(once, "ridge", out=tmp_path / "runs")
    assert list(done) == ["random", "interleaved", "blocked", "subject", "song", "subject_song"]
    assert "no listener heard a song twice" in missing["repeat"]
