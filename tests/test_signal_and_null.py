"""What the demonstration promises: with coupling 1 the decoder finds the second, with coupling 0 it does not."""

import pytest

from eegviz import evaluation, recipes, store
from eegviz.datasets import demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {c: store.open(demo.make_store(folder / f"coupling-{c}", coupling=c)) for c in (0, 1)}


def score(opened, seed, out):
    run = recipes.run(opened, "main", out=out, seed=seed)
    row = evaluation.primary(run.metrics)
    cosine = next(r for r in run.metrics["metrics"] if r["metric"] == "cosine")
    print(f"\n{evaluation.sentence(run.metrics)} training {run.provenance['training_s']} s; "
          f"cosine {cosine['score']:.3f}, song mean {cosine['baselines']['song mean']:.3f}")  # fmt: skip
    return run, row


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coupling_1_is_found(stores, seed, tmp_path):
    run, row = score(stores[1], seed, tmp_path)
    assert run.config["split"]["spec"] == "repeat"
    assert row["score"] >= 0.60
    assert row["low"] > 0.5
    assert run.provenance["training_s"] <= 60


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coupling_0_is_chance(stores, seed, tmp_path):
    _, row = score(stores[0], seed, tmp_path)
    assert row["low"] <= 0.5 <= row["high"]
