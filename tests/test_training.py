import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from eegviz import fitting, models, runs, sides, splits, training, windowing
from eegviz.errors import DataError, ParameterError

SMALL = {"width": 1, "units": 16, "epochs": 3, "batch_size": 16, "patience": 0}


def configure(store, **options):
    settings = SMALL | options.pop("settings", {})
    return training.configure(
        store, **{"split": "repeat", "settings": settings, "precision": "float32", "classifier": "fast"} | options
    )


def weights(run):
    return {k: v.clone() for k, v in run.network().state_dict().items()}


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return training.train(tiny_store, configure(tiny_store), out=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_run_folder_holds_what_it_should(run, tiny_store):
    names = {p.name for p in run.path.iterdir()}
    assert names == {
        "config.json", "weights.safetensors", "song_classifier.safetensors", "history.csv", "predictions.npy",
        "provenance.json",
    }  # fmt: skip
    assert run.path.name == runs.run_hash(run.config)
    split = run.split(run.windows(tiny_store))
    assert run.predictions.shape == (len(split.test), 44, 128)
    assert run.provenance["n_windows"]["test"] == len(split.test)
    assert run.provenance["simulated"] is True
    assert run.provenance["versions"]["torch"]
    assert run.history["epoch"].tolist() == [1, 2, 3]
    assert np.isfinite(run.history["validation_loss"]).all()


def test_loss_falls(run):
    assert run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0]


def test_stored_weights_make_the_stored_predictions(run, tiny_store):
    windows = run.windows(tiny_store)
    test = run.split(windows).test
    compute = fitting.Compute.choose("cpu", "float32")
    blocks = fitting.predict(run.network(), lambda i: (windows.eeg[i], None), test, compute=compute)
    np.testing.assert_allclose(np.concatenate(list(blocks)), run.predictions, atol=1e-6)


class First(torch.nn.Module):
    def forward(self, given):
        return given[0]


def test_threads_share_one_predictor():
    compute, eeg = fitting.Compute.choose("cpu", "float32"), np.ones((300, 4, 3), np.float32)
    net = torch.nn.Sequential(torch.nn.GRU(3, 5, batch_first=True), First())
    blocks, switching = fitting.predictor(net, compute=compute), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            found = list(
                pool.map(lambda _: np.concatenate(list(blocks(lambda i: (eeg[i], None), range(300)))), range(200))
            )
    finally:
        sys.setswitchinterval(switching)
    assert all((one == found[0]).all() for one in found)


def test_same_config_is_reused(run, tiny_store):
    before = (run.path / "weights.safetensors").stat().st_mtime_ns
    again = training.train(tiny_store, run.config, out=run.path.parent, progress=False)
    assert again.path == run.path
    assert (run.path / "weights.safetensors").stat().st_mtime_ns == before


def test_same_seed_same_bytes_other_seed_other_bytes(run, tiny_store, tmp_path):
    again = training.train(tiny_store, run.config, out=tmp_path, progress=False)
    assert (again.path / "weights.safetensors").read_bytes() == (run.path / "weights.safetensors").read_bytes()
    other = training.train(tiny_store, configure(tiny_store, seed=1), out=tmp_path, progress=False)
    assert other.path.name != run.path.name
    assert not np.allclose(other.predictions, run.predictions)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resuming_gives_the_same_weights(run, tiny_store, tmp_path, monkeypatch, stop_after):
    save = fitting._State.save

    def save_then_stop(state, folder, net, optimizer):
        save(state, folder, net, optimizer)
        if len(state.history) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting._State, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(tiny_store, run.config, out=tmp_path, progress=False)
    folder = tmp_path / run.path.name
    assert (folder / "resume.pt").exists()
    assert not runs.open(folder).complete
    with pytest.raises(DataError, match="continues"):
        _ = runs.open(folder).provenance
    monkeypatch.setattr(fitting._State, "save", save)
    resumed = training.train(tiny_store, run.config, out=tmp_path, progress=False)
    assert (resumed.path / "weights.safetensors").read_bytes() == (run.path / "weights.safetensors").read_bytes()
    assert resumed.history["epoch"].tolist() == [1, 2, 3]


def test_a_damaged_checkpoint_says_so(tiny_store, tmp_path):
    config = configure(tiny_store)
    folder = tmp_path / runs.run_hash(config)
    folder.mkdir()
    (folder / "resume.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="Delete it"):
        training.train(tiny_store, config, out=tmp_path, progress=False)


def test_early_stopping_keeps_the_best_epoch():
    torch.manual_seed(0)
    config = models.config("cnn", "eeg2mel", width=1, units=4, epochs=50, patience=2, batch_size=8, lr=0.05)
    net = models.module("cnn").build(config, (8, 4), (2, 2))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 8, 4), np.float32), rng.standard_normal((40, 2, 2), np.float32)
    history = fitting.fit(
        net, lambda i: (x[i], y[i]), np.arange(30), validation=np.arange(30, 40), settings=config, seed=0,
        compute=fitting.Compute.choose("cpu", "float32"), progress=False,
    )  # fmt: skip
    losses = [row["validation_loss"] for row in history]
    best = int(np.argmin(losses))
    assert len(history) == best + 1 + 2
    with torch.inference_mode():
        loss = float(net.eval().loss(net(torch.from_numpy(x[30:])), torch.from_numpy(y[30:])))
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_statistics_come_from_training_windows_only(tiny_store):
    config = models.config("cnn", "eeg2mel-stable", width=1, units=4)
    windows = windowing.windows(tiny_store)
    split = splits.split(windows.table, "repeat")
    held_out = np.setdiff1d(np.arange(len(windows)), split.train)
    fitted = []
    for poison in (0.0, 1e6):
        net = models.module("cnn").build(config, windows.in_shape, windows.out_shape)
        eeg = np.array(windows.eeg)
        eeg[held_out] += poison
        pictures = lambda rows, eeg=eeg: eeg[split.train[rows]]  # noqa: E731
        fitting.fit_statistics(net, sides.training_view(windows, split, pictures=pictures))
        fitted.append(net.scaling.mean.clone())
    assert torch.equal(*fitted)
    with pytest.raises(ParameterError, match="expected a TrainingView .*found Windows"):
        fitting.fit_statistics(net, windows)


def test_classifier_trains_on_eeg(tiny_store, tmp_path):
    config = configure(tiny_store, model="classifier", preset="fast", settings={"width": 2, "units": 8, "epochs": 2})
    run = training.train(tiny_store, config, out=tmp_path, progress=False)
    assert run.provenance["classes"] == ["song21", "song22"]
    assert run.predictions.shape[1:] == (2,)


def test_bf16_trains_too(tiny_store, tmp_path):
    run = training.train(
        tiny_store, configure(tiny_store, precision="bf16", settings={"epochs": 1}), out=tmp_path, progress=False
    )
    assert run.provenance["precision"] == "bf16"
    assert np.isfinite(run.predictions).all()


def test_bad_settings_are_refused_before_work(tiny_store, tmp_path):
    with pytest.raises(ParameterError, match="unknown precision 'fp8'"):
        configure(tiny_store, precision="fp8")
    with pytest.raises(ParameterError, match="no setting 'depht'"):
        configure(tiny_store, settings={"depht": 3})
    with pytest.raises(ParameterError, match="unknown eeg"):
        configure(tiny_store, eeg="wavelet")
    with pytest.raises(ParameterError, match="unknown device 'tpu9'"):
        fitting.Compute.choose("tpu9")


def test_opening_what_is_no_run(run, tmp_path):
    with pytest.raises(DataError, match="eegviz train printed"):
        runs.open(tmp_path)
    with pytest.raises(DataError, match=f"It holds the runs {run.path.name}"):
        runs.open(run.path.parent)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        runs.open(broken)


def test_another_store_is_refused(run, tmp_path):
    from tests.conftest import make_tiny_store

    other = make_tiny_store(tmp_path / "other", n_subjects=2, n_songs=1, seconds=12)
    with pytest.raises(DataError, match="other data"):
        run.store(other)


def test_the_model_says_which_features_it_needs(tiny_store):
    plain = training.configure(tiny_store, model="cnn")["features"]
    assert plain["eeg"] == "periodogram"
    assert not {"band", "context"} & set(plain)
    ridge = training.configure(tiny_store, model="ridge", settings={"tmax": 0.2, "band": [1, 9]})["features"]
    assert (ridge["eeg"], ridge["band"], ridge["context"]) == ("raw", [1.0, 9.0], 0.2)
    with pytest.raises(ParameterError, match="ridge decodes raw EEG at lags; found eeg='welch'"):
        training.configure(tiny_store, model="ridge", eeg="welch")
    with pytest.raises(ParameterError, match="no setting 'epochs'; known are width, band"):
        training.configure(tiny_store, model="ridge", settings={"epochs": 3})


def test_a_split_has_the_gap_that_the_features_need(tiny_store, tmp_path):
    config = training.configure(tiny_store, model="ridge", preset="fast", split="blocked:25")
    run = training.train(tiny_store, config, out=tmp_path, progress=False)
    windows = run.windows(tiny_store)
    split = run.split(windows)
    assert split.gap == windowing.gap(windows.settings) == run.provenance["gap_s"] == 2.1
    second = windows.table["second"].to_numpy()
    assert second[split.test].min() - second[split.train].max() >= 1 + 2.1
    assert runs.split(configure(tiny_store), windowing.windows(tiny_store)).gap == 1


def test_configs_are_json(tiny_store):
    config = configure(tiny_store, ref_db={"song21": 50, "song22": 46.0})
    assert json.loads(json.dumps(config)) == config
