import pytest

from eegviz import fitting, models, recipes, store, training
from eegviz.errors import ParameterError
from tests.conftest import make_tiny_store


def test_table_2_holds_the_published_accuracies():
    assert [pair["published"] for pair in recipes.TABLE_2.values()] == [0.8080, 0.7228, 0.4607, 0.3753]
    assert [(p["eeg"], p["audio"]) for p in recipes.TABLE_2.values()] == [
        ("periodogram", "mel-db"), ("periodogram", "linear-db"), ("raw", "mel-db"), ("raw", "linear-db"),
    ]  # fmt: skip


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_is_a_valid_config(tiny_store, name, fast):
    config = training.configure(tiny_store, **recipes.recipe(tiny_store, name, fast=fast))
    model = config["model"]
    settings = models.config(model["name"], model["preset"], **model["settings"])
    assert settings.width == (40 if model["name"] == "ridge" else 2 if fast else 8)
    published = name in recipes.TABLE_2 or name.endswith("-interleaved")
    assert config["split"]["spec"].startswith(recipes.PUBLISHED_SPLIT) == published
    assert config["classifier"] == ("fast" if fast else "eeg2mel")


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


def test_all_protocols_that_a_store_allows(tmp_path):
    once = store.open(make_tiny_store(tmp_path / "once", n_hearings=1, seconds=20))
    done, missing = recipes.protocols(once, "ridge", out=tmp_path / "runs")
    assert list(done) == ["random", "interleaved", "blocked", "subject", "song", "subject_song"]
    assert "no listener heard a song twice" in missing["repeat"]
