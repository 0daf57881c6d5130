import numpy as np
import pytest
import torch

from eegviz import models
from eegviz.errors import ParameterError
from eegviz.models.layers import InputScaling, SameConv2d, n_parameters

TABLE_2 = [((63, 125), (44, 128)), ((63, 125), (44, 1025)), ((125, 125), (44, 128)), ((125, 125), (44, 1025))]


def test_published_regressor_has_its_parameters():
    config = models.config("cnn", "eeg2mel")
    net = models.module("cnn").build(config, (63, 125), (44, 128))
    assert n_parameters(net) == 9_831_784
    statistics = sum(b.numel() for n, b in net.named_buffers() if "running" in n)
    assert n_parameters(net) + statistics == 9_833_048


def test_published_classifier_has_its_parameters():
    net = models.module("classifier").build(models.config("classifier"), (44, 128), (10,))
    assert n_parameters(net) == 179_134
    assert n_parameters(net) + sum(b.numel() for n, b in net.named_buffers() if "running" in n) == 179_782


def test_published_settings_are_pinned():
    cnn = models.config("cnn", "eeg2mel")
    assert (cnn.width, cnn.depth, cnn.kernel, cnn.units, cnn.activation) == (8, 4, 4, 128, "relu")
    assert (cnn.dropout, cnn.dense_dropout, cnn.l2, cnn.scaling, cnn.mean_start) == (0.1, 0.15, 0, "none", False)
    assert (cnn.lr, cnn.batch_size) == (1.5e-3, 60)
    assert 100 <= cnn.epochs <= 300
    classifier = models.config("classifier", "eeg2mel")
    assert (classifier.width, classifier.units, classifier.l2) == (32, 100, 1.14e-4)
    assert (classifier.lr, classifier.batch_size, classifier.epochs) == (9e-3, 500, 200)


@pytest.mark.parametrize(("in_shape", "out_shape"), TABLE_2)
@pytest.mark.parametrize("activation", ["relu", "swish", "mish"])
def test_all_pairs_of_table_2(in_shape, out_shape, activation):
    config = models.config("cnn", "eeg2mel", width=1, units=8, activation=activation)
    net = models.module("cnn").build(config, in_shape, out_shape)
    assert net(torch.rand(2, *in_shape)).shape == (2, *out_shape)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth_is_a_setting(depth):
    config = models.config("cnn", "eeg2mel", width=1, depth=depth)
    net = models.module("cnn").build(config, (33, 64), (44, 128))
    assert net(torch.rand(2, 33, 64)).shape == (2, 44, 128)


@pytest.mark.parametrize(("size", "stride", "expected"), [((63, 125), 1, (63, 125)), ((63, 125), 2, (32, 63))])
def test_same_padding_is_tensorflows(size, stride, expected):
    layer = SameConv2d(1, 1, 4, stride=stride, bias=False)
    torch.nn.init.ones_(layer.weight)
    out = layer(torch.ones(1, 1, *size)).detach()
    assert out.shape[2:] == expected
    # one row and column of zeros before and two after (stride 1): the first corner sees 3 × 3 ones, the last 2 × 2
    if stride == 1:
        assert float(out[0, 0, 0, 0]) == 9
        assert float(out[0, 0, -1, -1]) == 4


def test_unknown_names_list_the_known():
    with pytest.raises(
        ParameterError,
        match="unknown model 'vae'; known are ridge, cnn, rcnn, encoder-decoder, transformer, gan, alignment, diffusion, "
        "tokens, classifier",
    ):
        models.config("vae")
    with pytest.raises(ParameterError, match="no preset 'best'; known are eeg2mel, eeg2mel-stable, fast"):
        models.config("cnn", "best")
    with pytest.raises(ParameterError, match="no setting 'widht'; known are width"):
        models.config("cnn", widht=3)
    with pytest.raises(ParameterError, match="width: .*greater than or equal to 1, found 0"):
        models.config("cnn", width=0)
    with pytest.raises(ParameterError, match="activation: .*found 'elu'"):
        models.config("cnn", activation="elu")


def test_scaling_uses_what_it_was_fitted_on():
    rng = np.random.default_rng(0)
    x = torch.from_numpy((10 ** rng.normal(0, 1, (200, 6, 4))).astype(np.float32))
    scaling = InputScaling("log-zscore", (6, 4))
    scaling.fit(iter(x.split(64)))
    z = scaling(x)
    assert torch.allclose(z[:, 1:].mean(0), torch.zeros(5, 4), atol=1e-4)
    assert torch.allclose(z[:, 1:].std(0, correction=0), torch.ones(5, 4), atol=1e-3)
    assert (z[:, 0] == 0).all()


def test_a_constant_column_scales_to_zero_not_nan():
    scaling = InputScaling("zscore", (3, 2))
    x = torch.rand(50, 3, 2)
    x[:, 1, 1] = 7
    scaling.fit([x])
    assert torch.isfinite(scaling(x)).all()
    assert (scaling(x)[:, 1, 1] == 0).all()


def test_raw_voltage_gets_no_logarithm():
    cnn = models.module("cnn")
    assert cnn.for_features(models.config("cnn"), "raw").scaling == "zscore"
    assert cnn.for_features(models.config("cnn"), "welch").scaling == "log-zscore"
    assert cnn.for_features(models.config("cnn"), "de").scaling == "zscore"
    assert cnn.for_features(models.config("cnn", "eeg2mel"), "raw").scaling == "none"


def test_overfits_one_batch():
    torch.manual_seed(0)
    net = models.module("cnn").build(
        models.config("cnn", "eeg2mel", width=2, dropout=0, dense_dropout=0), (63, 8), (44, 16)
    )
    x, y = torch.rand(8, 63, 8), torch.rand(8, 44, 16)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    first = net.loss(net(x), y).item()
    for _ in range(150):
        optimizer.zero_grad()
        net.loss(net(x), y).backward()
        optimizer.step()
    assert net.loss(net(x), y).item() < 0.05 * first


def test_l2_adds_the_kernels_squares():
    torch.manual_seed(0)
    module = models.module("cnn")
    plain = module.build(models.config("cnn", "eeg2mel", width=1), (16, 8), (4, 4))
    torch.manual_seed(0)
    heavy = module.build(models.config("cnn", "eeg2mel", width=1, l2=0.5), (16, 8), (4, 4))
    squares = sum((p**2).sum().item() for n, p in plain.named_parameters() if p.ndim > 1)
    zeros = torch.zeros(2, 4, 4)
    assert (heavy.loss(zeros, zeros) - plain.loss(zeros, zeros)).item() == pytest.approx(0.5 * squares, rel=1e-4)


@pytest.mark.parametrize("width", [1, 2])
def test_a_convolution_as_narrow_as_its_kernel_is_whole_under_bf16(width):
    """Memory that nobody wrote would show: it is filled with NaN before."""
    layer = SameConv2d(1, 4, 4, stride=2).to(memory_format=torch.channels_last)
    x = torch.randn(16, 1, 32, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = layer(x)
        for _ in range(3):
            junk = [torch.full((size,), float("nan")) for size in (100, 1000, 10_000) for _ in range(40)]
            del junk
            with torch.autocast("cpu", torch.bfloat16):
                assert torch.allclose(layer(x).float(), exact, atol=0.05)
