"""What every network that predicts pictures must do, whatever its architecture: train, resume, score, sound."""

import numpy as np
import pytest
import torch

from eegviz import evaluation, features, fitting, models, reconstruction, runs, training

SMALL = {
    "rcnn": {"width": 1, "units": 8},
    "encoder-decoder": {"width": 1, "units": 8},
    "transformer": {"width": 8, "feed_forward": 8, "heads": 2},
    "gan": {"width": 4, "csp": 2, "receptive_fields": [3], "dilations": [1], "discriminator_width": 4},
    "alignment": {
        "width": 8,
        "heads": 2,
        "feed_forward": 8,
        "hidden": 16,
        "shared": 8,
        "latent": 4,
        "autoencoder_width": 8,
        "autoencoder_epochs": 5,
    },
    "diffusion": {"width": 16, "heads": 2, "blocks": 2, "steps": 5},
}
FIT = {"epochs": 3, "batch_size": 16, "patience": 0}
NETWORKS = tuple(SMALL)


def configure(store, name, **options):
    settings = SMALL[name] | FIT | options.pop("settings", {})
    return training.configure(
        store,
        **{
            "model": name,
            "preset": "fast",
            "split": "repeat",
            "settings": settings,
            "precision": "float32",
            "classifier": "fast",
        }
        | options,
    )


@pytest.fixture(scope="module", params=NETWORKS)
def run(request, tiny_store, tmp_path_factory):
    config = configure(tiny_store, request.param)
    return training.train(tiny_store, config, out=tmp_path_factory.mktemp(request.param), progress=False)


def test_it_trains(run):
    assert np.isfinite(run.predictions).all()
    layout = features.layout(models.default_audio(run.config["model"]["name"]))
    assert run.predictions.shape[1:] == (layout.n_frames, layout.n_bins)
    assert run.history["validation_loss"].iloc[-1] < run.history["validation_loss"].iloc[0] * 1.1
    torch.manual_seed(run.config["seed"])
    start = dict(runs.build(run.config, *run.provenance["shapes"]).named_parameters())
    moved = [not torch.equal(value, start[name]) for name, value in run.network().named_parameters()]
    assert np.mean(moved) > 0.9


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resuming_gives_the_same_bytes(run, tiny_store, tmp_path, monkeypatch, stop_after):
    save = fitting._State.save

    def save_then_stop(state, folder, *args):
        save(state, folder, *args)
        if len(state.history) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting._State, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(tiny_store, run.config, out=tmp_path, progress=False)
    assert not runs.open(tmp_path / run.path.name).complete
    monkeypatch.setattr(fitting._State, "save", save)
    resumed = training.train(tiny_store, run.config, out=tmp_path, progress=False)
    for file in ("weights.safetensors", "predictions.npy"):
        assert (resumed.path / file).read_bytes() == (run.path / file).read_bytes()
    losses = [c for c in run.history if c != "seconds"]
    assert resumed.history[losses].equals(run.history[losses])


def test_another_seed_gives_another_network(run, tiny_store, tmp_path):
    config = run.config | {"seed": 1}
    other = training.train(tiny_store, config, out=tmp_path, progress=False)
    assert not np.allclose(other.predictions, run.predictions)


def test_it_is_scored_and_sounds_like_any_other(run, tiny_store):
    result = evaluation.evaluate(run, store=tiny_store)
    assert result["verdict"]
    assert 0 <= next(m["score"] for m in result["metrics"] if m["metric"] == "retrieval") <= 1
    recording = tiny_store.recordings["recording"].iloc[1]
    made = reconstruction.reconstruct(run, recording, duration=2, windows=run.windows(tiny_store))
    assert made.sound.shape == (2 * made.sr,)
    assert np.isfinite(made.sound).all()


def test_it_trains_in_bf16_and_on_raw_eeg(run, tiny_store, tmp_path):
    config = configure(tiny_store, run.config["model"]["name"], precision="bf16", eeg="raw", settings={"epochs": 2})
    trained = training.train(tiny_store, config, out=tmp_path, progress=False)
    assert trained.provenance["precision"] == "bf16"
    assert np.isfinite(trained.predictions).all()


def test_stored_weights_make_the_stored_predictions(run, tiny_store):
    windows = run.windows(tiny_store)
    test = run.split(windows).test
    torch.manual_seed(7)  # a trained network draws nothing
    blocks = fitting.predict(
        run.network(), lambda i: (windows.eeg[i], None), test, compute=fitting.Compute.choose("cpu", "float32")
    )
    np.testing.assert_allclose(np.concatenate(list(blocks)), run.predictions, atol=1e-6)
