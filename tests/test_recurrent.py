import numpy as np
import pytest
import torch

from eegviz import fitting, models
from eegviz.errors import ParameterError

NAMES = ("rcnn", "encoder-decoder")
EPOCHS = {"rcnn": 80, "encoder-decoder": 250}  # in which they overfit a few windows
SHAPES = [((63, 125), (44, 128)), ((125, 125), (44, 128)), ((63, 125), (44, 1025)), ((33, 64), (44, 128))]


def build(name, in_shape=(12, 10), out_shape=(6, 8), **settings):
    torch.manual_seed(0)
    return models.module(name).build(models.config(name, "fast", **settings), in_shape, out_shape)


def test_the_studys_layers_are_pinned():
    for name in NAMES:
        config = models.config(name, "usc")
        assert config == models.config(name)
        # published: convolutions (two in the encoder-decoder), pooling, LSTM layers, dropout
        assert (config.depth, config.cell, config.pooling) == (2, "lstm", "max")
        assert models.module(name).EEG == "periodogram"
    assert (models.config("encoder-decoder").layers, models.config("encoder-decoder").decoder_layers) == (1, 1)


def test_the_encoder_decoder_is_built_of_what_the_study_names():
    net = build("encoder-decoder")
    kinds = [type(m).__name__ for m in net.modules()]
    assert kinds.count("SameConv2d") == 2
    assert kinds.count("LSTM") == 2
    assert (net.last.in_features, net.last.out_features) == (64, 8)  # the dense layer is per frame


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("in_shape", "out_shape"), SHAPES)
def test_shapes(name, in_shape, out_shape):
    net = build(name, in_shape, out_shape, width=1, units=4).eval()
    assert net(torch.rand(2, *in_shape)).shape == (2, *out_shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "settings",
    [
        {"pooling": "average", "pool": 3},
        {"pooling": "none"},
        {"depth": 5},  # more poolings than the picture has channels for
        {"cell": "gru", "layers": 2},
        {"kernel": 4, "activation": "mish"},
        {"bidirectional": False},
        {"decoder_layers": 2},
    ],
)
def test_what_the_study_varied_is_a_setting(name, settings):
    if not set(settings) <= set(models.module(name).Config.model_fields):
        with pytest.raises(ParameterError, match=f"{name} has no setting"):
            build(name, **settings)
        return
    net = build(name, (64, 10), units=4, width=2, **settings)
    x, y = torch.rand(3, 64, 10), torch.rand(3, 6, 8)
    assert net(x).shape == y.shape
    net.loss(net(x), y).backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_the_latent_vector_is_all_that_the_decoder_gets():
    net = build("encoder-decoder").eval()
    x = torch.rand(2, 12, 10)
    latent = net.encode(x)
    assert latent.shape == (2, 64)
    states, _ = net.decoder(latent[:, None].repeat(1, 6, 1))
    assert torch.allclose(net.last(states), net(x), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_training_starts_at_the_mean_picture(name):
    net = build(name).eval()
    mean = torch.rand(8).expand(6, 8)
    net.fit_output(mean)
    assert (net(torch.rand(4, 12, 10)) - mean).abs().mean() < 0.05
    plain = build(name, mean_start=False).eval()
    before = plain(torch.ones(1, 12, 10))
    plain.fit_output(mean)
    assert torch.equal(plain(torch.ones(1, 12, 10)), before)


@pytest.mark.parametrize("name", NAMES)
def test_raw_voltage_gets_no_logarithm(name):
    module = models.module(name)
    assert module.for_features(models.config(name), "raw").scaling == "zscore"
    assert module.for_features(models.config(name), "welch").scaling == "log-zscore"


@pytest.mark.parametrize("name", NAMES)
def test_overfits_a_few_windows(name):
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 12, 10), np.float32), rng.random((6, 6, 8), np.float32)
    net = build(name, dropout=0, width=2, batch_size=6, epochs=EPOCHS[name], lr=1e-2, scaling="none", mean_start=False)
    net.fit_output(torch.from_numpy(y.mean(0)))
    history = fitting.fit(
        net, lambda i: (x[i], y[i]), np.arange(6), validation=np.arange(0), settings=net.config, seed=0,
        compute=fitting.Compute.choose("cpu", "float32"), progress=False,
    )  # fmt: skip
    assert history[-1]["train_loss"] < 0.05 * y.var(0).mean()
