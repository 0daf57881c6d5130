import subprocess
import sys

from eegviz import demonstration, recipes, runs, training


def test_full_size_says_what_it_needs_before_it_starts(tmp_path):
    notice = demonstration.full_size_notice()
    assert "108000 windows" in notice  # twice NMED-T: 20 listeners × 10 songs × 2 hearings × 270 s
    for word in ("Disk: 6.8 GB", "Memory:", "Time:", "GPU"):
        assert word in notice
    asked = subprocess.run(
        [sys.executable, "-m", "eegviz.cli", "demo", "--full", "--out", tmp_path / "x"],
        input="n\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert notice in asked.stdout
    assert not (tmp_path / "x").exists()


def test_every_shared_run_is_in_one_share(tiny_store):
    """Names of the same run (`recipes.NAMES` has some) are made once."""

    def hashes(names):
        return [runs.run_hash(training.configure(tiny_store, **recipes.recipe(tiny_store, name))) for name in names]

    made = hashes(sum(demonstration._SHARES, ()))
    assert len(set(made)) == len(made)
    assert set(made) == set(hashes(recipes.NAMES))
