"""What a generator makes of EEG: distances with a known answer, and decoders of which it is known whether they listen."""

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import _wording, generation, memorisation, runs, store, training
from eegviz.datasets import demo
from eegviz.errors import DataError, ParameterError
from tests.test_bad_input import predicting

TINY = {"width": 16, "heads": 2, "blocks": 2, "steps": 5, "epochs": 4}


def gaussian(n, mean, covariance, seed=0):
    """A sample that has exactly this mean and this covariance."""
    x = np.random.default_rng(seed).standard_normal((n, len(mean)))
    x -= x.mean(0)
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T)
    return (np.linalg.cholesky(covariance) @ x).T + mean


def test_frechet_is_the_closed_form_of_two_gaussians():
    a = gaussian(200, [0, 0, 0], np.diag([1.0, 4.0, 9.0]))
    b = gaussian(90, [1, 0, 2], np.diag([4.0, 4.0, 1.0]), seed=1)
    found = generation.frechet(a, b)
    assert found.distance == pytest.approx(1 + 4 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2)  # |μ|² and Σ (σ₁ - σ₂)²
    assert (found.n, found.n_reference, found.dim) == (200, 90, 3)


def test_frechet_is_the_square_root_of_scipy():
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((5, 5)) for _ in range(2))
    first, second = (one @ one.T + 0.1 * np.eye(5) for one in (first, second))
    found = generation.frechet(gaussian(60, np.zeros(5), first), gaussian(70, np.ones(5), second))
    wanted = 5 + np.trace(first + second - 2 * scipy.linalg.sqrtm(first @ second).real)
    assert found.distance == pytest.approx(wanted)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.1, 10))
def test_frechet_is_a_distance(seed, dim, scale):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((20, dim)), scale * rng.standard_normal((30, dim)) + rng.standard_normal(dim)
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    distance = generation.frechet(a, b).distance
    assert distance >= 0
    assert generation.frechet(a, a).distance == pytest.approx(0, abs=1e-6)
    assert generation.frechet(b, a).distance == pytest.approx(distance, rel=1e-6, abs=1e-6)
    assert generation.frechet(a @ turn, b @ turn).distance == pytest.approx(distance, rel=1e-6, abs=1e-6)
    assert generation.frechet(scale * a, scale * b).distance == pytest.approx(scale**2 * distance, rel=1e-6, abs=1e-6)


def test_frechet_says_what_few_samples_do():
    rng = np.random.default_rng(0)
    few, many = (generation.frechet(*rng.standard_normal((2, n, 8))) for n in (8, 500))
    assert few.distance > many.distance
    assert few.caveat.startswith("8 samples in 8 dimensions: a covariance has no full rank")
    assert many.caveat.startswith("500 samples in 8 dimensions: estimated from samples")


def test_frechet_refuses():
    with pytest.raises(ParameterError, match=r"samples have shape \(1, 3\), expected \(n, dim\) with n ≥ 2"):
        generation.frechet(np.zeros((1, 3)), np.zeros((4, 3)))
    with pytest.raises(ParameterError, match="samples have 3 dimensions, the reference 4"):
        generation.frechet(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(DataError, match="reference hold NaN"):
        generation.frechet(np.zeros((5, 3)), np.full((5, 3), np.nan))


def test_similarity_is_the_cosine():
    found = generation.similarity([[3, 4], [1, 0], [0, 0]], [[6, 8], [-2, 0], [1, 1]])
    np.testing.assert_allclose(found, [1, -1, 0])
    with pytest.raises(ParameterError, match="expected both"):
        generation.similarity(np.zeros((2, 3)), np.zeros((3, 3)))


def test_the_gap_is_paired_over_listeners():
    table = pd.DataFrame({"subject": ["A", "A", "B", "B", "C"]})
    real, other = np.array([0.5, 0.7, 0.4, 0.4, 0.9]), np.array([0.4, 0.4, 0.1, np.nan, 0.8])
    found = generation.gap(real, other, table)
    assert found.difference.estimate == pytest.approx(np.mean([0.2, 0.3, 0.1]))
    assert (found.n_listeners, found.n_better) == (3, 3)
    with pytest.raises(ParameterError, match="needs two or more"):
        generation.gap(real[:2], other[:2], table[:2])


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    config = training.configure(
        tiny_store, model="diffusion", preset="fast", settings=TINY, split="repeat", precision="float32"
    )
    return training.train(tiny_store, config, out=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_run_is_asked_under_all_eeg(run, tiny_store):
    found = generation.check(run, store=tiny_store, guidances=(0, 2))
    told = found.table.set_index("eeg")
    references = ["(true training pictures)", "(no EEG, many noises)"]
    assert list(told.index) == [generation.REAL, *generation.SUBSTITUTES, *references]
    assert found.encoder == "the run's own music encoder"
    assert list(found.gaps) == list(generation.SUBSTITUTES)
    real = told.loc[generation.REAL]
    for name, between in found.gaps.items():
        assert between.n_listeners == 3
        assert between.difference.estimate == pytest.approx(real["similarity"] - told.loc[name, "similarity"])
    assert told.loc["zero EEG", "retrieval"] == 0.5
    deaf, own = found.sweep.to_dict("records")
    assert deaf["gap"] == pytest.approx(0, abs=1e-6)  # at guidance 0 nothing is heard
    assert [own[key] for key in generation.SCORES] == [real[key] for key in generation.SCORES]
    assert own["gap"] == pytest.approx(found.gaps["shuffled"].difference.estimate)
    assert set(found.oracle) == set(generation.SCORES)
    assert isinstance(found.memorisation, memorisation.Memorisation)
    text = found.describe()
    assert max(map(len, text.splitlines())) <= _wording.WIDTH
    assert "ORACLE: told the embedding of the true music; no reconstruction from EEG" in " ".join(text.split())
    assert f"Fréchet: {found.frechet.n} samples against {found.frechet.n_reference} distinct true test pictures" in text
    assert "nan" not in text.lower().split()


def test_what_listens_and_what_does_not_are_told_apart(run, tiny_store, tmp_path):
    windows = run.windows(tiny_store)
    target = windows.target(run.split(windows).test)
    noise = np.random.default_rng(0).normal(0, 0.02, target.shape)
    listens = runs.open(predicting(run, tmp_path / "a", (target + noise).clip(0, 1).astype(np.float32)))
    found = generation.check(listens, windows=windows, store=tiny_store, guidances=())
    assert found.used
    assert found.sentence.startswith("The samples follow the EEG")
    assert found.table["similarity"][0] > 0.9
    assert abs(found.gaps["other listener"].difference.estimate) < 0.05  # the same second, another brain
    order = np.random.default_rng(1).permutation(len(target))  # music, but not to this EEG
    sings = runs.open(predicting(run, tmp_path / "b", target[order]))
    found = generation.check(sings, windows=windows, store=tiny_store, guidances=())
    assert not found.used
    assert found.sentence.startswith("No evidence")
    assert found.table["frechet"][0] < 0.5


def test_a_model_without_guidance_is_judged_by_an_encoder_of_its_training_side(tiny_store, tmp_path):
    config = training.configure(tiny_store, model="ridge", settings={"alphas": [1.0]}, split="repeat")
    found = generation.check(training.train(tiny_store, config, out=tmp_path, progress=False), store=tiny_store)
    assert found.encoder == "a music encoder fitted on the training pictures"
    assert found.sweep.empty
    assert found.oracle is None
    assert found.notes["guidance and oracle"] == "ridge has none"
    assert "guidance and oracle: ridge has none" in found.describe()


def test_one_listener_has_no_gap(tmp_path):
    from tests.conftest import make_tiny_store

    opened = store.open(make_tiny_store(tmp_path / "store", n_subjects=1))
    config = training.configure(opened, model="ridge", settings={"alphas": [1.0]}, split="repeat")
    found = generation.check(training.train(opened, config, out=tmp_path / "runs", progress=False), store=opened)
    assert found.used is None
    assert found.sentence.startswith("Not possible to say")
    assert "n/a, one of the listeners only" in " ".join(found.describe().split())


def test_a_classifier_is_refused(tiny_store, tmp_path):
    config = training.configure(
        tiny_store, model="classifier", preset="fast", settings={"epochs": 1}, split="repeat", precision="float32"
    )
    with pytest.raises(ParameterError, match="is a classifier: it draws no pictures"):
        generation.check(training.train(tiny_store, config, out=tmp_path, progress=False))


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [1.0, 0.0])
def test_the_gaps_with_and_without_an_answer_to_the_music(coupling, tmp_path):
    """Printed as they are. Asked is the null only: without coupling no interval lies above 0."""
    opened = store.open(
        demo.make_store(tmp_path / "store", n_pieces=3, duration=30.0, coupling=coupling, seed=1, progress=False)
    )
    config = training.configure(opened, model="diffusion", preset="fast", split="repeat")
    run = training.train(opened, config, out=tmp_path / "runs", progress=False)
    found = generation.check(run, store=opened)
    print(f"\ncoupling {coupling:g}, trained in {run.provenance['training_s']:.1f} s\n{found.describe()}")
    if not coupling:
        assert not found.used
