"""Retrieval of embeddings: on embeddings with a known answer, and of runs, end to end by the command line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from eegviz import embeddings, evaluation, runs, scorecard, sides, store, training
from eegviz.datasets import demo
from eegviz.errors import ParameterError
from tests.test_cli import eegviz

SMALL = {
    "width": 8, "heads": 2, "feed_forward": 8, "hidden": 16, "shared": 8, "latent": 4, "autoencoder_width": 8,
    "autoencoder_epochs": 5, "epochs": 4, "batch_size": 32,
}  # fmt: skip


def trained(opened, out, split="repeat", **options):
    config = training.configure(
        opened,
        **{"model": "alignment", "preset": "fast", "settings": SMALL, "split": split, "precision": "float32"} | options,
    )
    return training.train(opened, config, out=out, progress=False)


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"))


class Known:
    """A space with a known answer in place of a network's."""

    def __init__(self, how):
        self.how = how

    def __call__(self, run, windows, opened):
        table = windows.table
        number = embeddings._numbers(table)
        rng = np.random.default_rng(0)
        music = rng.standard_normal((number.max() + 1, 16))[number]
        noise = rng.standard_normal(music.shape)
        eeg = {"perfect": music, "noise": noise, "constant": np.ones_like(music)}[self.how]
        other = type("Other", (), {
            "zero": staticmethod(lambda n: np.ones((n, 16))),
            "noise": staticmethod(lambda table: np.random.default_rng(1).standard_normal((len(table), 16))),
        })  # fmt: skip
        return type("Space", (), {"eeg": lambda _, i: eeg[i], "music": lambda _, i: music[i], "other_eeg": other})()


def asked(table, **wanted):
    rows = table
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    (row,) = rows.to_dict("records")
    return row


def test_perfect_embeddings(run, tiny_store, monkeypatch):
    monkeypatch.setattr(embeddings, "Space", Known("perfect"))
    table = embeddings.retrieval(run, store=tiny_store)
    assert set(table["songs"]) == {"seen"}
    for scope, n in (("own song", 20), ("all songs", 40)):
        row = asked(table, candidates=scope, eeg="real")
        assert (row["percentile"], row["top-1"], row["median_rank"], row["n_candidates"]) == (1, 1, 1, n)
        assert (row["chance-1"], row["chance-5"]) == pytest.approx((1 / n, 5 / n))
        assert asked(table, candidates=scope, eeg="other listener")["percentile"] == 1  # all hear the same second
        assert asked(table, candidates=scope, eeg="zero EEG")["percentile"] == pytest.approx(0.5)
        assert asked(table, candidates=scope, eeg="shuffled")["top-1"] == 0
        assert asked(table, candidates=scope, eeg="noise EEG")["percentile"] == pytest.approx(0.5, abs=0.1)
    assert asked(table, candidates="own song", eeg="real")["p"] < 0.05
    assert row["low"] == row["high"] == 1


def test_constant_embeddings_are_at_chance_to_the_digit(run, tiny_store, monkeypatch):
    monkeypatch.setattr(embeddings, "Space", Known("constant"))
    table = embeddings.retrieval(run, store=tiny_store)
    row = asked(table, candidates="own song", eeg="real")
    assert (row["percentile"], row["top-1"], row["median_rank"]) == pytest.approx((0.5, 1 / 20, 10.5))
    assert row["p"] == 1
    assert asked(table, candidates="all songs", eeg="real")["percentile"] == pytest.approx(0.5)


def test_noise_is_near_chance(run, tiny_store, monkeypatch):
    monkeypatch.setattr(embeddings, "Space", Known("noise"))
    row = asked(embeddings.retrieval(run, store=tiny_store), candidates="own song", eeg="real")
    assert row["percentile"] == pytest.approx(0.5, abs=0.08)
    assert row["p"] > 0.01


def test_the_table_and_its_words(run, tiny_store):
    table = embeddings.retrieval(run, store=tiny_store)
    assert set(table["eeg"]) == {"real", "zero EEG", "noise EEG", "shuffled", "other listener"}
    assert np.isfinite(table["percentile"]).all()
    assert asked(table, candidates="own song", eeg="zero EEG")["percentile"] == 0.5
    said = embeddings.describe(run, table)
    assert max(map(len, said.splitlines())) <= 76
    for words in (
        "listener-dependent",
        "test seconds of its own song (20), seen songs",
        "all songs (40)",
        "permutation p",
    ):
        assert words in " ".join(said.split())


def test_unseen_songs_are_told_apart(tiny_store, tmp_path):
    run = trained(tiny_store, tmp_path, split="song:song22")
    table = embeddings.retrieval(run, store=tiny_store)
    assert set(table["songs"]) == {"unseen"}
    said = embeddings.describe(run, table)
    assert "unseen songs" in said
    assert evaluation.evaluate(run, store=tiny_store)["verdict"]
    subject = dataclasses.replace(run, config=run.config | {"split": {"spec": "subject:30", "seed": 0}})
    assert "listener-independent" in embeddings.describe(subject, table)


def test_embeddings_of_a_second_are_one(run, tiny_store):
    windows = run.windows(tiny_store)
    space = embeddings.Space(run, windows, tiny_store)
    index = np.flatnonzero((windows.table["stimulus"] == "song21") & (windows.table["second"] == 3))
    assert len(np.unique(space.music(index), axis=0)) == 1
    np.testing.assert_allclose(np.linalg.norm(space.eeg(index), axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(space.music(index[::-1]), space.music(index), atol=1e-6)


def test_the_plane_is_that_of_the_training(run, tiny_store):
    windows = run.windows(tiny_store)
    split = run.split(windows)
    found = embeddings.plane(run, store=tiny_store)
    assert found.eeg.shape == found.music.shape == (len(split.test), 2)
    assert len(found.table) == len(split.test)
    assert 1 >= found.explained[0] >= found.explained[1] > 0
    space = embeddings.Space(run, windows, tiny_store)
    fitted = np.concatenate([space.eeg(split.train), space.music(split.train)])
    _, size, axes = np.linalg.svd(fitted - fitted.mean(0), full_matrices=False)
    expected = np.abs((space.eeg(split.test) - fitted.mean(0)) @ axes[:2].T)
    np.testing.assert_allclose(np.abs(found.eeg), expected, atol=1e-5)


def test_the_verdict_shows_them_beside_the_pictures(run, tiny_store):
    result = evaluation.evaluate(run, store=tiny_store)
    rows = {row["metric"]: row for row in result["metrics"]}
    assert list(rows)[0] == "retrieval"  # the rule stays with the picture
    assert list(rows)[-4:] == list(scorecard.EMBEDDED)
    table = embeddings.retrieval(run, store=tiny_store)
    own, every = (asked(table, candidates=scope, eeg="real") for scope in embeddings.SCOPES)
    assert rows["emb. retrieval"]["score"] == pytest.approx(own["percentile"])
    assert rows["emb. top-5"]["score"] == pytest.approx(own["top-5"])
    assert rows["emb. all songs"]["score"] == pytest.approx(every["percentile"])
    assert rows["emb. top-1"]["chance"] == pytest.approx(1 / 20)
    assert rows["emb. retrieval"]["controls"]["zero EEG"] == 0.5
    assert rows["emb. retrieval"]["p"] == pytest.approx(own["p"])
    assert set(scorecard.EMBEDDED) <= set(run.scores.columns)
    view = sides.training_view(run.windows(tiny_store), run.split(run.windows(tiny_store)))
    assert run.provenance["bank_seconds"] == len(view.table.drop_duplicates(["stimulus", "second"]))


@pytest.mark.slow
def test_folds_are_pooled(tiny_store, tmp_path):
    folds = [trained(tiny_store, tmp_path, split=f"repeat:{hearing}") for hearing in (1, 2)]
    for fold in folds:
        evaluation.evaluate(fold, store=tiny_store)
    pooled = {row["metric"]: row for row in evaluation.pool(folds, store=tiny_store)["metrics"]}
    means = [{row["metric"]: row["score"] for row in fold.metrics["metrics"]}["emb. retrieval"] for fold in folds]
    assert pooled["emb. retrieval"]["score"] == pytest.approx(np.mean(means))


def test_other_models_have_none(tiny_store, tmp_path):
    config = training.configure(tiny_store, model="ridge", preset="fast", split="repeat")
    run = training.train(tiny_store, config, out=tmp_path, progress=False)
    assert not embeddings.has_embeddings(run)
    with pytest.raises(ParameterError, match="of the model ridge, which embeds nothing"):
        embeddings.retrieval(run, store=tiny_store)


def test_from_training_to_sound_by_the_command_line(tiny_store, tmp_path):
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    said = eegviz(
        "train",
        tiny_store.path,
        "--model",
        "alignment",
        "--preset",
        "fast",
        "--split",
        "repeat",
        "--out",
        tmp_path,
        *settings,
    ).stdout
    folder = Path(said.strip().splitlines()[-1])
    assert runs.open(folder).complete
    printed = eegviz("evaluate", folder).stdout
    assert max(map(len, printed.splitlines())) <= 76
    for words in ("emb. retrieval", "emb. all songs", "emb. top-1: Hits@1 of embeddings"):
        assert words in printed
    result = json.loads(eegviz("evaluate", folder, "--json").stdout)
    assert {row["metric"] for row in result["metrics"]} >= set(scorecard.EMBEDDED)
    file = tmp_path / "x.wav"
    eegviz("reconstruct", folder, "--recording", "S01_song21_r2", "--duration", 3, "--out", file)
    assert file.stat().st_size > 3 * 22050
    wrong = eegviz(
        "train", tiny_store.path, "--model", "alignment", "--set", "encoder=wav2vec", "--out", tmp_path, ok=False
    )
    assert "known are mel, clap:folder" in wrong.stderr


# ------------------------------------------------------------------------------------------ on data with a known answer


def row_of(coupling, folder, seed=0):
    opened = store.open(
        demo.make_store(folder / "store", n_pieces=3, duration=30.0, coupling=coupling, seed=seed, progress=False)
    )
    config = training.configure(opened, model="alignment", preset="fast", split="repeat")
    run = training.train(opened, config, out=folder / "runs", progress=False)
    result = evaluation.evaluate(run, store=opened)
    print(f"\ncoupling {coupling}, training {run.provenance['training_s']} s")
    print(embeddings.describe(run, embeddings.retrieval(run, store=opened)))
    return next(row for row in result["metrics"] if row["metric"] == "emb. retrieval"), run


@pytest.mark.slow
def test_coupling_1_is_found(tmp_path):
    row, run = row_of(1, tmp_path)
    assert row["low"] > 0.5
    assert row["p"] < 0.05
    assert row["controls"]["shuffled"] < row["low"]
    assert run.provenance["training_s"] <= 60  # 6 s of one core; this leaves room for a busy machine


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_coupling_0_is_chance(tmp_path, seed):
    row, _ = row_of(0, tmp_path, seed)
    assert row["low"] <= 0.5 <= row["high"]
