"""Runs of the clustering Transformer on a store: trained, continued, scored and heard by command line."""

import numpy as np
import pytest
import torch

from eegviz import fitting, runs, training

from .test_cli import eegviz

FLOAT32 = fitting.Compute.choose("cpu", "float32")
ASKED = (
    "--model",
    "tokens",
    "--preset",
    "fast",
    "--split",
    "repeat",
    "--precision",
    "float32",
    "--set",
    "width=16",
    "--epochs",
    3,
)


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    """Trained by command line."""
    out = tmp_path_factory.mktemp("tokens")
    return runs.open(eegviz("train", tiny_store.path, *ASKED, "--out", out).stdout.strip().splitlines()[-1])


def test_a_run_says_what_its_dictionaries_are(run):
    facts = run.provenance
    assert facts["shapes"] == [[500, 8], [176, 128]]
    assert run.predictions.shape[1:] == (176, 128)
    assert np.isfinite(run.predictions).all()
    assert facts["audio_entries"] >= 2
    assert 0 <= facts["eeg_noise"] < 1
    assert {"masked", "unmasked", "accuracy"} <= set(run.history)
    net = run.network()
    assert len(net.audio) == facts["audio_entries"] == net.last.out_features
    assert net.facts()["eeg_eps"] == pytest.approx(facts["eeg_eps"])


def test_resuming_gives_the_same_bytes(run, tiny_store, tmp_path, monkeypatch):
    save = fitting._State.save

    def save_then_stop(state, folder, *args):
        save(state, folder, *args)
        if len(state.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting._State, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(tiny_store, run.config, out=tmp_path, progress=False)
    monkeypatch.setattr(fitting._State, "save", save)
    resumed = training.train(tiny_store, run.config, out=tmp_path, progress=False)
    for file in ("weights.safetensors", "predictions.npy"):
        assert (resumed.path / file).read_bytes() == (run.path / file).read_bytes()


def test_stored_weights_make_the_stored_predictions(run, tiny_store):
    windows = run.windows(tiny_store)
    test = run.split(windows).test
    torch.manual_seed(7)
    blocks = fitting.predict(run.network(), lambda i: (windows.eeg[i], None), test, compute=FLOAT32)
    np.testing.assert_allclose(np.concatenate(list(blocks)), run.predictions, atol=1e-6)


def test_it_trains_in_bf16(run, tiny_store, tmp_path):
    config = run.config | {"precision": "bf16"}
    trained = training.train(tiny_store, config, out=tmp_path, progress=False)
    assert np.isfinite(trained.predictions).all()


def test_by_command_line_it_is_scored_and_sounds(run, tiny_store, tmp_path):
    assert run.config["features"]["duration"] == 4
    assert run.metrics["verdict"]
    asked = ("--recording", "S01_song21_r2", "--start", 4, "--duration", 8, "--out", tmp_path / "x.wav")
    assert "8 test" in eegviz("reconstruct", run.path, *asked).stdout


def test_a_pick_that_a_store_lacks_ends_the_command_with_one_message(tiny_store, tmp_path):
    refused = eegviz("train", tiny_store.path, *ASKED, "--set", "channels=inoue", "--out", tmp_path, ok=False)
    assert refused.returncode == 2
    assert "lack the channels AF3, AF4, T7, T8, Pz" in refused.stderr
