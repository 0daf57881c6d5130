"""What the demonstration promises: with coupling 1 the EEG contributes, with coupling 0 nothing does, and drift tells songs."""

import pytest

from eegviz import evaluation, recipes, store, verdict
from eegviz.datasets import demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {c: store.open(demo.make_store(folder / f"coupling-{c}", coupling=c, progress=False)) for c in (0, 1)}


def score(opened, recipe, out, **options):
    run = recipes.run(opened, recipe, out=out, **options)
    row = evaluation.primary(run.metrics)
    cosine = next(r for r in run.metrics["metrics"] if r["metric"] == "cosine")
    print(f"\n{run.name}\n{verdict.sentence(run.metrics)} training {run.provenance['training_s']} s; "
          f"cosine {cosine['score']:.3f}, song mean {cosine['baselines'].get('song mean', float('nan')):.3f}")  # fmt: skip
    return run, row


def test_the_linear_decoder_finds_coupling_1(stores, tmp_path):
    run, row = score(stores[1], "ridge-repeat", tmp_path)
    assert run.config["split"]["spec"] == "repeat"
    assert run.metrics["verdict"] == verdict.CONTRIBUTED
    assert row["score"] >= 0.85


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_linear_decoder_finds_nothing_in_coupling_0(seed, tmp_path):
    opened = store.open(demo.make_store(tmp_path / "store", coupling=0, seed=seed, progress=False))
    run, row = score(opened, "ridge-repeat", tmp_path / "runs")
    assert run.metrics["verdict"] == verdict.NO_EVIDENCE
    assert row["low"] <= 0.5 <= row["high"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coupling_1_is_found(stores, seed, tmp_path):
    run, row = score(stores[1], "main", tmp_path, seed=seed)
    assert run.config["split"]["spec"] == "repeat"
    assert run.metrics["verdict"] == verdict.CONTRIBUTED
    assert row["score"] >= 0.60
    assert row["low"] > 0.5
    assert row["beside"]["linear decoder"] >= 0.85
    assert run.provenance["training_s"] <= 60


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coupling_0_is_chance(stores, seed, tmp_path):
    run, row = score(stores[0], "main", tmp_path, seed=seed)
    assert run.metrics["verdict"] == verdict.NO_EVIDENCE
    assert row["low"] <= 0.5 <= row["high"]


def test_drift_without_coupling_tells_songs_where_recordings_are_shared(tmp_path):
    opened = store.open(demo.make_store(tmp_path / "store", coupling=0, drift=0.1, progress=False))
    told = {}
    for split in ("interleaved", "repeat"):
        run, _ = score(opened, f"ridge-{split}", tmp_path / "runs")
        row = next(r for r in run.metrics["metrics"] if r["metric"] == "song accuracy")
        told[split] = run.metrics["verdict"], row["beside"]["fingerprint"], row["chance"]
        print(f"song accuracy of the fingerprint {told[split][1]:.3f}, chance {row['chance']:.3f}")
    assert told["interleaved"][0] == verdict.CANNOT_TELL
    assert told["interleaved"][1] >= 0.8
    assert told["repeat"][0] == verdict.NO_EVIDENCE
    assert told["repeat"][1] == pytest.approx(told["repeat"][2], abs=0.2)
