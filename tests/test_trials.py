import numpy as np
import pytest

from eegviz import store, training, windowing
from eegviz.datasets import trials
from eegviz.errors import DataError


def write(path, **changes):
    rng = np.random.default_rng(len(path.stem))
    values = {
        "eeg": rng.standard_normal((3, 640, 4)).astype(np.float32),
        "envelope": np.abs(np.random.default_rng(0).standard_normal((640, 1))).astype(np.float32),
        "sfreq": np.float32(32),
    }
    values = {k: v for k, v in (values | changes).items() if v is not None}
    np.savez(path, **values)
    return values


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "trials"
    folder.mkdir()
    write(folder / "listener10.npz")
    write(folder / "listener2b.npz")
    return folder


def test_trials_are_read_with_time_last(folder):
    values = write(folder / "listener03.npz")
    found = trials.open_trials(folder)
    assert [one.name for one in found] == ["listener03", "listener10", "listener2b"]
    one = found[0]
    assert (one.eeg.shape, one.envelope.shape, one.sfreq) == ((3, 4, 640), (640,), 32.0)
    assert np.array_equal(one.eeg[1, 2], values["eeg"][1, :, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"envelope": None}, "found no envelope among eeg, sfreq"),
        ({"eeg": np.zeros((3, 640))}, r"found eeg \(3, 640\)"),
        ({"envelope": np.zeros((600, 1))}, r"envelope \(600,\)"),
        ({"envelope": np.full((640, 1), np.nan)}, "NaN or infinity in envelope"),
        ({"eeg": np.full((3, 640, 4), np.inf)}, "NaN or infinity in eeg"),
        ({"sfreq": np.float32(0)}, "positive sfreq"),
        ({"sfreq": np.array(["64"])}, "expected real numbers"),
        ({"eeg": np.array([None])}, "cannot be read"),
    ],
)
def test_broken_files_say_what_is_wrong(folder, changes, message):
    write(folder / "broken.npz", **changes)
    with pytest.raises(DataError, match=message):
        trials.open_trials(folder)


def test_folders_without_trials_say_where_such_data_can_be_had(tmp_path, folder):
    with pytest.raises(DataError, match="found none. Such data: https://doi.org/10.5281/zenodo.1199011"):
        trials.open_trials(tmp_path)
    with pytest.raises(DataError, match="expected a folder"):
        trials.open_trials(tmp_path / "nowhere")
    (folder / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match="text.npz.*cannot be read"):
        trials.open_trials(folder)


def test_a_folder_becomes_a_store_that_a_model_runs_on(folder, tmp_path):
    write(folder / "other.npz", envelope=np.ones((640, 1)))
    opened = store.open(trials.write_store(folder, tmp_path / "store"))
    assert store.verify(opened.path) == []
    assert opened.manifest["simulated"] is False
    assert "noise that carries the envelope" in opened.manifest["about"]["sound"]
    assert opened.stimuli["stimulus"].tolist() == ["speech1", "speech2"]
    assert opened.recordings["repeat"].tolist() == [1, 2, 3] * 3
    first = trials.open_trials(folder)[0]
    np.testing.assert_allclose(opened.eeg("listener10_t02"), first.eeg[1] * 1e-6, rtol=1e-6)
    sound, sr = opened.audio("speech1")
    assert (len(sound), sr) == (20 * 22050, 22050)
    level = np.abs(sound).reshape(20, -1).mean(1)
    assert np.corrcoef(level, first.envelope.reshape(20, -1).mean(1))[0, 1] > 0.9
    config = training.configure(
        opened, model="ridge", preset="fast", split="blocked:25", settings={"band": [0.5, 8]}, precision="float32"
    )
    run = training.train(opened, config, out=tmp_path / "runs", progress=False)
    assert windowing.gap(run.windows(opened).settings) == 2.3
    assert np.isfinite(run.predictions).all()


@pytest.mark.slow
def test_real_eeg_becomes_a_store_too(shared_data, tmp_path):
    opened = store.open(trials.write_store(shared_data / "speech_eeg", tmp_path / "store"))
    assert len(opened.recordings) == 60
    assert opened.stimuli["stimulus"].tolist() == ["speech1"]
    config = training.configure(opened, model="ridge", split="blocked:50", settings={"band": [0.5, 8.0]})
    run = training.train(opened, config, out=tmp_path / "runs", progress=False)
    assert np.isfinite(run.predictions).all()
