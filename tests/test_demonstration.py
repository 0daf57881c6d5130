import subprocess
import sys

import pytest

from eegviz import demonstration, recipes, runs, training
from eegviz import store as stores
from eegviz.datasets import demo_deap, demo_mos


def test_full_size_says_what_it_needs_before_it_starts(tmp_path):
    notice = demonstration.full_size_notice()
    assert "108000 windows" in notice  # twice NMED-T: 20 listeners × 10 songs × 2 hearings × 270 s
    assert "1848 trials" in notice  # 21 listeners × 4 melodies × 11 repeats, heard and imagined
    for word in ("Disk: 8.9 GB", "Memory:", "Time:", "GPU"):
        assert word in notice
    asked = subprocess.run(
        [sys.executable, "-m", "eegviz.cli", "demo", "--full", "--out", tmp_path / "x"],
        input="n\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert notice in asked.stdout
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("store", [demonstration.SONGS, demonstration.MELODIES, demonstration.EMOTIONS])
def test_every_shared_run_is_made_once(tiny_store, store, tmp_path):
    """Names of the same run (`recipes.NAMES` has some) are trained once, the linear pictures never at once."""

    if store == demonstration.MELODIES:
        few = {"n_subjects": 1, "n_repeats": 2, "melodies": [19, 38], "duration": 4.0}
        tiny_store = stores.open(demo_mos.make_store(tmp_path / "melodies", progress=False, **few))

    if store == demonstration.EMOTIONS:
        few = {"n_subjects": 2, "n_videos": 4, "duration": 16}
        tiny_store = stores.open(demo_deap.make_store(tmp_path / "emotions", progress=False, **few))

    def hashes(names):
        return [runs.run_hash(training.configure(tiny_store, **recipes.recipe(tiny_store, name))) for name in names]

    tasks = demonstration._tasks(fast=True)
    made = hashes([name for place, names in tasks if place == store for name in names])
    assert len(set(made)) == len(made)
    assert set(made) == set(
        hashes({"store": recipes.SONGS, "melodies": recipes.MELODIES, "emotions": recipes.tokens()}[store])
    )
    linear = [names for _, names in tasks if any("linear" in name for name in names)]
    assert len(linear) == 1
