import builtins
import json

import numpy as np
import pytest
import torch

from eegviz import music_encoders, store, windowing
from eegviz.errors import DataError, MissingDependencyError, ParameterError
from tests import onnx_files
from tests.conftest import make_tiny_store


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory):
    """A CLAP of random weights with the layers of a real one, small, for clips of 1 s at 48 kHz."""
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

    folder = tmp_path_factory.mktemp("clap")
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 8}
    text = ClapTextConfig(**small, vocab_size=20, max_position_embeddings=10)
    audio = ClapAudioConfig(
        spec_size=64, num_mel_bins=16, hidden_size=16, patch_embeds_hidden_size=8, depths=[1, 1], window_size=4,
        num_attention_heads=[2, 2], num_hidden_layers=2, patch_size=4, patch_stride=[4, 4],
    )  # fmt: skip
    torch.manual_seed(0)
    ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=12)).save_pretrained(
        folder
    )
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=48000,
        hop_length=480,
        max_length_s=2,
        fft_window_size=1024,
        truncation="rand_trunc",
    ).save_pretrained(folder)
    return folder


def sounds(n, n_samples, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((n, n_samples)).astype(np.float32)


def copied(folder, to):
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_names():
    assert music_encoders.parse("onnx:a/b:c.onnx") == ("onnx", "a/b:c.onnx")
    for name in ("mel:x", "clap", "clap:", "encodec:x", ""):
        with pytest.raises(ParameterError, match="known are mel, clap:FOLDER"):
            music_encoders.parse(name)
    with pytest.raises(ParameterError, match="lives inside it: use embed_music"):
        music_encoders.open("mel")


# ------------------------------------------------------------------------------------------------------- CLAP


def test_clap_gives_what_transformers_gives(clap_folder):
    from transformers import ClapFeatureExtractor, ClapModel

    encoder, y = music_encoders.open(f"clap:{clap_folder}"), sounds(3, 48000)
    assert encoder.sr == 48000
    found = encoder.embed(y)
    model, extractor = ClapModel.from_pretrained(clap_folder).eval(), ClapFeatureExtractor.from_pretrained(clap_folder)
    with torch.inference_mode():
        expected = model.get_audio_features(
            **extractor(list(y), sampling_rate=48000, return_tensors="pt")
        ).pooler_output
    np.testing.assert_allclose(found.vectors, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    assert found.vectors.shape == (3, 12)
    assert found.frames.shape[0] == 3
    assert found.frames.shape[2] == 12


def test_clap_frames_are_those_of_the_clip_without_its_repetitions(clap_folder):
    encoder = music_encoders.open(f"clap:{clap_folder}")
    assert encoder.embed(sounds(1, 48000)).frames.shape[1] * 2 == encoder.embed(sounds(1, 96000)).frames.shape[1]


def test_clap_refuses_clips_that_would_be_cut_at_random(clap_folder):
    with pytest.raises(ParameterError, match="takes clips of 2 s at most, found windows of 3 s"):
        music_encoders.open(f"clap:{clap_folder}").embed(sounds(1, 3 * 48000))


def test_missing_weights_are_refused_and_never_drawn_at_random(clap_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = copied(clap_folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    lost = sorted(name for name in weights if name.startswith("audio_projection"))
    for name in lost:
        del weights[name]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        DataError, match=f"lacks {len(lost)} of the model's weights .{lost[0]}.*would be random numbers.*again"
    ):
        music_encoders.open(f"clap:{broken}").embed(sounds(1, 48000))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_folder_without_a_file_is_refused(clap_folder, tmp_path, file):
    broken = copied(clap_folder, tmp_path / "broken")
    (broken / file).unlink()
    with pytest.raises(DataError, match=r"clap:.*broken cannot be read .*Expected a folder that save_pretrained"):
        music_encoders.open(f"clap:{broken}").embed(sounds(1, 48000))


def test_weights_of_another_size_are_refused(clap_folder, tmp_path):
    broken = copied(clap_folder, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    config["projection_dim"] = config["audio_config"]["projection_dim"] = config["text_config"]["projection_dim"] = 24
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"clap:.*(cannot be read|lacks)"):
        music_encoders.open(f"clap:{broken}").embed(sounds(1, 48000))


def test_a_folder_that_is_not_there_is_no_id_of_a_hub(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        music_encoders.open(f"clap:{tmp_path}/nothing")


def test_an_id_that_cannot_be_fetched_says_what_to_do(monkeypatch):
    from transformers import ClapModel

    def offline(place, **options):
        assert options["local_files_only"] is False
        raise OSError(f"cannot reach the hub for {place}")

    monkeypatch.setattr(ClapModel, "from_pretrained", offline)
    with pytest.raises(
        DataError, match="clap:laion/x cannot be read .cannot reach the hub for laion/x.*Expected a folder"
    ):
        music_encoders.open("clap:laion/x").embed(sounds(1, 48000))


# ------------------------------------------------------------------------------------------------------- ONNX


def test_frames_of_an_onnx_network(tmp_path):
    path, weights = onnx_files.frames_network(tmp_path / "net.onnx")
    encoder, y = music_encoders.open(f"onnx:{path}"), sounds(11, 8000)
    assert encoder.sr == 8000
    found = encoder.embed(y)
    expected = y.reshape(11, 80, 100) @ weights
    np.testing.assert_allclose(found.frames, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.vectors, expected.mean(1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(600, 6), (1000, 10), (2500, 25)])
def test_a_fixed_length_is_padded_or_cut_and_the_padding_left_out(tmp_path, n_samples, n_frames):
    path, weights = onnx_files.frames_network(tmp_path / "net.onnx", length=1000)
    y = sounds(2, n_samples)
    found = music_encoders.open(f"onnx:{path}").embed(y)
    np.testing.assert_allclose(found.frames, y.reshape(2, n_frames, 100) @ weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [("n", 100), (1, 100), (100,), ("n", 1, 100)])
def test_layouts_of_the_input(tmp_path, shape):
    weights = np.eye(100, 4, dtype=np.float32)
    out = (*shape[:-1], 4)
    nodes = [("MatMul", ("sound", "weights"), ("y",))]
    if len(shape) == 3:
        nodes, out = [("MatMul", ("sound", "weights"), ("z",)), ("Reshape", ("z", "flat"), ("y",))], ("n", 4)
    constants = {"weights": weights, "flat": np.array([-1, 4], np.int64)}
    if len(shape) < 3:
        del constants["flat"]
    path = onnx_files.write(
        tmp_path / "net.onnx", nodes=nodes, inputs=[("sound", shape)], outputs=[("y", out)], constants=constants
    )
    encoder, y = music_encoders.open(f"onnx:{path}"), sounds(3, 100)
    found = encoder.embed(y)
    np.testing.assert_allclose(found.vectors, y[:, :4], rtol=1e-5)
    assert found.frames is None
    assert encoder.sr == 22050


@pytest.mark.parametrize("shape", [("n", 2, 100), ("n", 3, 4, 5), (4, 100)])
def test_inputs_that_are_no_sound_are_refused(tmp_path, shape):
    path = onnx_files.write(
        tmp_path / "net.onnx",
        nodes=[("Identity", ("sound",), ("y",))],
        inputs=[("sound", shape)],
        outputs=[("y", shape)],
    )
    with pytest.raises(
        DataError, match=r"expected one input of sound, float of shape \(n, n_samples\).*found sound tensor"
    ):
        music_encoders.open(f"onnx:{path}").embed(sounds(1, 100))


def test_outputs_that_are_no_vectors_are_refused(tmp_path):
    path = onnx_files.write(
        tmp_path / "net.onnx", nodes=[("Reshape", ("sound", "shape"), ("y",))], inputs=[("sound", ("n", 100))],
        outputs=[("y", (5, 20))], constants={"shape": np.array([-1, 20], np.int64)},
    )  # fmt: skip
    with pytest.raises(DataError, match=r"expected outputs of shape \(n, dim\).*n = 1 windows; found \(5, 20\)"):
        music_encoders.open(f"onnx:{path}").embed(sounds(1, 100))


def test_files_that_are_no_network_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        music_encoders.open(f"onnx:{tmp_path}/none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(DataError, match="cannot be read as a network"):
        music_encoders.open(f"onnx:{tmp_path}/text.onnx").embed(sounds(1, 100))
    path, _ = onnx_files.frames_network(tmp_path / "fast.onnx", sample_rate="quick")
    with pytest.raises(DataError, match="expected a sample_rate in hertz in its metadata, found 'quick'"):
        _ = music_encoders.open(f"onnx:{path}").sr


@pytest.mark.parametrize("bad", [np.zeros(100), np.zeros((0, 100)), np.full((1, 100), np.nan)])
def test_what_is_no_sound_is_refused(tmp_path, bad):
    path, _ = onnx_files.frames_network(tmp_path / "net.onnx")
    with pytest.raises((ParameterError, DataError), match="windows of sound"):
        music_encoders.open(f"onnx:{path}").embed(bad)


@pytest.mark.parametrize(("kind", "package"), [("clap", "transformers"), ("onnx", "onnxruntime")])
def test_a_package_that_is_not_there_is_named(monkeypatch, tmp_path, kind, package):
    path = tmp_path if kind == "clap" else onnx_files.frames_network(tmp_path / "net.onnx")[0]
    importing = builtins.__import__

    def without(name, *args, **options):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return importing(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=rf"needs {package}, which is not installed.*eegviz\[encoders\]"):
        music_encoders.open(f"{kind}:{path}").embed(sounds(1, 8000))


# -------------------------------------------------------------------------------------------- windows of a store


def test_vectors_of_windows_are_made_once_a_stimulus_and_kept(tmp_path, monkeypatch):
    opened = store.open(make_tiny_store(tmp_path / "store", seconds=5, n_hearings=1))
    windows = windowing.windows(opened, eeg="raw")
    path, _ = onnx_files.frames_network(tmp_path / "net.onnx")
    found = music_encoders.of_windows(windows, opened, f"onnx:{path}")
    assert found.dim == 3
    assert {name: array.shape for name, array in found.stimuli.items()} == {"song21": (5, 3), "song22": (5, 3)}
    index = np.array([7, 0, 5])
    for row, vector in zip(index, found(index), strict=True):
        where = windows.table.iloc[row]
        np.testing.assert_array_equal(vector, found.stimuli[where["stimulus"]][where["second"]])
    same = windows.table.index[(windows.table["stimulus"] == "song21") & (windows.table["second"] == 2)]
    assert len(same) == 3
    assert len(np.unique(found(same), axis=0)) == 1
    monkeypatch.setattr(music_encoders.Onnx, "embed", lambda *_: pytest.fail("encoded again"))
    again = music_encoders.of_windows(windows, opened, f"onnx:{path}")
    np.testing.assert_array_equal(again(index), found(index))


def test_another_file_is_another_encoder(tmp_path):
    opened = store.open(make_tiny_store(tmp_path / "store", seconds=3, n_hearings=1, n_subjects=1))
    windows = windowing.windows(opened, eeg="raw")
    path, _ = onnx_files.frames_network(tmp_path / "net.onnx", seed=0)
    first = music_encoders.of_windows(windows, opened, f"onnx:{path}")([0])
    onnx_files.frames_network(path, seed=1)
    assert not np.allclose(music_encoders.of_windows(windows, opened, f"onnx:{path}")([0]), first)
