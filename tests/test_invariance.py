"""Results never depend on the order of files, the number of workers or threads, or the batch size."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from eegviz import evaluation, fitting, recipes, runs, scoring, sides, training
from eegviz.models import ridge
from tests.test_windowing import in_order

MODELS = {
    "ridge": {"model": "ridge", "preset": "fast"},
    "cnn": {"model": "cnn", "preset": "fast", "settings": {"epochs": 1, "width": 1, "units": 16}},
}


def trained(opened, out, model="ridge"):
    config = training.configure(opened, split="repeat", precision="float32", **MODELS[model])
    return training.train(opened, config, out=out, progress=False)


def evaluated(run, opened):
    """What ``metrics.json`` holds, read from the file, and ``scores.csv``; places and hashes are left out."""
    evaluation.evaluate(run, store=opened, force=True)
    result = json.loads((run.path / "metrics.json").read_text())
    for name in ("run", "store", "data_fingerprint", "predictions"):
        result.pop(name)
    return result, runs.open(run.path).scores


def numbers(value, path=""):
    """Leaves of a nested result by their path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, one in items for k, v in numbers(one, f"{path}/{key}").items()}
    return {path: value}


def assert_same(one, other, tolerance):
    (one, scores), (other, scores_too) = one, other
    one, other = numbers(one), numbers(other)
    assert len(one) > 300
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, float):
            assert value == pytest.approx(other[key], abs=tolerance, rel=tolerance), key
        else:
            assert value == other[key], key
    assert scores.columns.tolist() == scores_too.columns.tolist()
    for name in scores:
        if scores[name].dtype.kind == "f":
            np.testing.assert_allclose(scores[name], scores_too[name], atol=tolerance, rtol=tolerance, err_msg=name)
        else:
            assert scores[name].equals(scores_too[name]), name


@pytest.fixture(scope="module")
def base(tiny_store, tmp_path_factory):
    """A run of each model, with its result."""
    out = tmp_path_factory.mktemp("base")
    made = {model: trained(tiny_store, out, model) for model in MODELS}
    return {model: (run, evaluated(run, tiny_store)) for model, run in made.items()}


@pytest.mark.parametrize("model", MODELS)
def test_the_order_of_files(tiny_store, tmp_path, model):
    names = tiny_store.recordings["recording"].tolist()
    results = []
    for i, order in enumerate((names, names[7:] + names[:7][::-1])):
        opened = in_order(tmp_path / f"store{i}", tiny_store, order)
        results.append(evaluated(trained(opened, tmp_path / f"runs{i}", model), opened))
    assert_same(*results, 1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_batch_size_of_scoring(base, tiny_store, model, monkeypatch):
    run, result = base[model]
    monkeypatch.setattr(fitting, "PREDICT_BATCH", 7)
    monkeypatch.setattr(sides, "BLOCK", 11)
    assert_same(result, evaluated(run, tiny_store), 1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_the_number_of_windows_read_at_a_time_in_training(base, tiny_store, model, monkeypatch, tmp_path):
    run, result = base[model]
    monkeypatch.setattr(fitting, "PREDICT_BATCH", 7)
    monkeypatch.setattr(sides, "BLOCK", 11)
    monkeypatch.setattr(ridge, "BLOCK", 5)
    again = trained(tiny_store, tmp_path, model)
    np.testing.assert_allclose(again.predictions, run.predictions, atol=1e-5)
    assert_same(result, evaluated(again, tiny_store), 1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_the_number_of_threads_of_scoring(base, tiny_store, model, monkeypatch):
    run, result = base[model]
    for threads in (1, 4):
        monkeypatch.setattr(scoring, "THREADS", threads)
        assert_same(result, evaluated(run, tiny_store), 0.0)


def test_matrix_products_take_one_thread_while_songs_are_scored_in_several(base, tiny_store, monkeypatch):
    run, result = base["ridge"]
    score, seen = scoring.score_regressor, []

    def watched(job):
        seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return score(job)

    monkeypatch.setattr(scoring, "score_regressor", watched)
    with threadpool_limits(2, user_api="blas"):
        assert_same(result, evaluated(run, tiny_store), 0.0)
    assert set(seen) == {1}


def test_scoring_again_gives_the_same_file(base, tiny_store):
    run, _ = base["cnn"]
    before = (run.path / "metrics.json").read_bytes(), (run.path / "scores.csv").read_bytes()
    evaluation.evaluate(runs.open(run.path), store=tiny_store, force=True)
    assert ((run.path / "metrics.json").read_bytes(), (run.path / "scores.csv").read_bytes()) == before


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_number_of_worker_processes(tiny_store, tmp_path):
    """Two recipes in one process, or each in its own at the same time, sharing a folder: the same bytes."""
    wanted, spawn = ("main", "raw-mel"), multiprocessing.get_context("spawn")
    for workers, folder in ((1, "one"), (2, "two")):
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            tasks = [pool.submit(recipes.run_alone, tiny_store.path, name, out=tmp_path / folder) for name in wanted]
            for task in tasks:
                task.result()
    one, two = ({run.path.name: run for run in runs.listing(tmp_path / name)} for name in ("one", "two"))
    assert sorted(run.config["model"]["name"] for run in one.values()) == ["cnn", "cnn", "ridge", "ridge"]
    assert one.keys() == two.keys()
    for name, run in one.items():
        assert np.array_equal(run.predictions, two[name].predictions), run.name
        if run.config["model"]["name"] == "cnn":
            assert run.metrics == two[name].metrics
