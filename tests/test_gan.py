from types import SimpleNamespace

import mne
import numpy as np
import pandas as pd
import pytest
import torch

from eegviz import fitting, models, sides, training, windowing
from eegviz.errors import DataError, ParameterError
from eegviz.models import gan
from eegviz.models.spatial import SpatialFilters, inverse_root

FLOAT32 = fitting.Compute.choose("cpu", "float32")
IN, OUT, GROUPS = (40, 6), (11, 8), (2, 2)
SMALL = {"width": 8, "csp": 2, "receptive_fields": (3,), "dilations": (1, 2), "discriminator_width": 4, "stride": 4}


def build(**settings):
    torch.manual_seed(0)
    settings = SMALL | settings
    return gan.build(models.config("gan", "fast", **settings), IN, OUT, GROUPS)


def batch(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *IN, generator=generator)
    return x, torch.rand(n, *OUT, generator=generator), torch.arange(n) % 2


class Windows:
    """Raw windows of two listeners, whose channels are mixed differently, and two songs, loud in different channels."""

    def __init__(self, n=80, songs=2, seed=0, n_times=IN[0]):
        rng = np.random.default_rng(seed)
        listener, song = np.arange(n) % 2, (np.arange(n) // 2) % songs
        x = rng.standard_normal((n, n_times, IN[1]))
        x[song == 0, :, 0] *= 4
        x[song == 1, :, 1] *= 4
        self.mixing = 10 * rng.standard_normal((2, IN[1], IN[1]))
        self.x = np.einsum("ntc,nkc->ntk", x, self.mixing[listener]).astype(np.float32)
        self.table = pd.DataFrame(
            {
                "recording": [f"r{a}{b}" for a, b in zip(listener, song, strict=True)],
                "subject": [f"S{a}" for a in listener],
                "stimulus": [f"song{b}" for b in song],
                "second": np.arange(n),
            }
        )
        self.target = lambda rows: np.zeros((len(rows), *OUT), np.float32)

    def pictures(self, rows):
        return self.x[rows]

    def view(self, rows=None):
        rows = np.arange(len(self.table)) if rows is None else rows
        none = np.array([], int)
        split = SimpleNamespace(spec="random", train=rows, validation=none, test=none)
        return sides.training_view(self, split)


def fitted(windows, **options):
    filters = SpatialFilters(IN[1], 2, 2, **{"per_class": 0} | options)
    filters.fit(windows.view(), ["song0", "song1"])
    return filters


def test_settings_that_systems_md_gives_are_pinned():
    config = models.config("gan", "eeg2mel-gan")
    assert config == models.config("gan")
    weights = (config.reconstruction_weight, config.adversarial_weight, config.class_weight)
    assert weights == (1, 0.01, 0.01)
    assert (config.betas, config.lr, config.lr_decay) == ((0.8, 0.99), 1e-4, 0.999)
    assert (config.csp, config.receptive_fields, config.dilations) == (8, (3, 7, 11), (1, 3, 5))
    assert config.adversarial
    assert not models.config("gan", "generator").adversarial
    assert len(build().discriminator.down) == 3
    assert build().discriminator.recurrent.bidirectional
    assert build().generator.recurrent.bidirectional


def test_aligned_covariances_are_the_identity_for_every_listener():
    windows = Windows(n_times=1000)
    filters = fitted(windows)
    for listener in ("S0", "S1"):
        own = windows.x[(windows.table["subject"] == listener).to_numpy()]
        aligned = filters(torch.from_numpy(own)).numpy()
        covariance = np.einsum("nct,nkt->ck", aligned, aligned) / aligned.shape[0] / aligned.shape[2]
        assert np.abs(covariance - np.eye(IN[1])).max() < 0.25
    unaligned = fitted(windows, align=False)(torch.from_numpy(own)).numpy()
    covariance = np.einsum("nct,nkt->ck", unaligned, unaligned) / unaligned.shape[0] / unaligned.shape[2]
    assert np.abs(covariance - np.eye(IN[1])).max() > 0.4


def test_a_window_is_aligned_as_the_listener_it_is_like():
    windows = Windows(n_times=1000)
    found = fitted(windows).nearest(torch.from_numpy(windows.x)).numpy()
    assert (found == np.arange(len(found)) % 2).mean() > 0.9


def test_scale_of_the_eeg_does_not_choose_the_listener():
    windows = Windows()
    filters = fitted(windows)
    x = torch.from_numpy(windows.x)
    assert torch.equal(filters.nearest(x), filters.nearest(1e-3 * x))
    assert torch.isfinite(filters(torch.zeros(2, *IN))).all()


def test_inverse_root_whitens():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((5, 50))
    covariance = a @ a.T / 50
    root = inverse_root(covariance)
    np.testing.assert_allclose(root @ covariance @ root, np.eye(5), atol=0.05)  # to within the shrinkage


def test_spatial_patterns_are_mnes():
    windows = Windows()
    filters = fitted(windows, per_class=2, align=False)
    every = windows.x.astype(float)
    every = every - every.mean(1, keepdims=True)
    white = inverse_root(np.einsum("ntc,ntk->ck", every, every) / every.shape[0] / every.shape[1])
    csp = mne.decoding.CSP(2, reg=0.01, transform_into="csp_space", cov_est="concat")
    with mne.utils.use_log_level("error"):
        csp.fit(np.einsum("kc,ntc->nkt", white, every), (windows.table["stimulus"] == "song0").to_numpy().astype(int))
    expected, found = csp.filters_[:2] @ white, filters.filters[-1][:2].numpy()
    for a, b in zip(expected, found, strict=True):
        like = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert abs(like) > 0.999


def test_spatial_patterns_tell_songs_apart_by_power():
    windows = Windows()
    out = fitted(windows, per_class=2)(torch.from_numpy(windows.x)).numpy()
    power = np.log(out.var(2))
    song = (windows.table["stimulus"] == "song1").to_numpy()
    gap = np.abs(power[song].mean(0) - power[~song].mean(0)) / power.std(0)
    assert gap.max() > 1
    np.testing.assert_allclose((out**2).mean((0, 2)), 1, rtol=1e-3)  # unit variance in training


def test_filters_are_fitted_on_the_training_side_only():
    windows = Windows()
    found = []
    for poison in (1.0, 1e3):
        windows.x[60:] *= poison
        filters = SpatialFilters(IN[1], 2, 2, per_class=2)
        filters.fit(windows.view(np.arange(60)), ["song0", "song1"])
        found.append(filters.filters.clone())
    assert torch.equal(*found)
    with pytest.raises(ParameterError, match="expected a TrainingView"):
        filters.fit(windows, ["song0", "song1"])


def test_patterns_of_one_song_are_refused():
    with pytest.raises(ParameterError, match="need two or more in the training side, found song0"):
        fitted(Windows(songs=1), per_class=2)
    fitted(Windows(songs=1), per_class=0)


def test_silent_eeg_is_refused():
    windows = Windows()
    windows.x[(windows.table["subject"] == "S1").to_numpy()] = 0
    with pytest.raises(DataError, match="listener S1 in the training windows is silent"):
        fitted(windows)


def test_spectra_are_refused():
    with pytest.raises(ParameterError, match="filters raw EEG in space; found eeg='welch'"):
        gan.for_features(models.config("gan"), "welch")


@pytest.mark.parametrize("embedding", ["log-variance", "waveform"])
@pytest.mark.parametrize("shapes", [((125, 125), (44, 128)), ((64, 64), (44, 128)), ((125, 8), (44, 1025))])
def test_shapes(embedding, shapes):
    net = gan.build(models.config("gan", "fast", embedding=embedding), *shapes, (3, 5)).eval()
    x, y = (torch.rand(2, *shape) for shape in shapes)
    assert net(x).shape == y.shape
    answer, song = net.discriminator(y)
    assert (answer.shape, song.shape) == ((2,), (2, 3))


@pytest.mark.parametrize("penalty", ["none", "r1", "spectral"])
def test_gradient_reaches_every_parameter_of_its_own_side(penalty):
    net = fit_on_noise(build(penalty=penalty, dropout=0, csp=2))
    for part, side in (("discriminator", net.discriminator), ("generator", net.generator)):
        net.zero_grad(set_to_none=True)
        net.training_loss(net, *batch(), part=part).backward()
        assert [n for n, p in side.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
        if part == "discriminator":
            assert all(p.grad is None for p in net.generator.parameters())


def test_the_penalty_is_half_the_squared_gradient_at_true_pictures():
    plain, smooth = (fit_on_noise(build(penalty=penalty, r1=3e4, dropout=0)) for penalty in ("none", "r1"))
    x, y, song = batch()
    y = y.requires_grad_()
    (gradient,) = torch.autograd.grad(smooth.discriminator(y)[0].sum(), y)
    losses = [net.training_loss(net, x, y, song, part="discriminator").item() for net in (plain, smooth)]
    assert losses[1] - losses[0] == pytest.approx(1.5e4 * (gradient**2).sum((1, 2)).mean().item(), rel=1e-4)


def test_the_generators_loss_has_the_published_weights():
    net = fit_on_noise(build(dropout=0))
    loss = net.training_loss(net, *batch(), part="generator")
    terms = {name: value.item() for name, value in net.logged.items()}
    expected = terms["reconstruction"] + 0.01 * terms["adversarial"] + 0.01 * terms["song"]
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_ablation_has_no_discriminator():
    net = fit_on_noise(build(adversarial=False, dropout=0))
    assert list(net.optimizers()) == ["generator"]
    assert net.discriminator is None
    x, y, song = batch()
    assert net.training_loss(net, x, y, song, part="generator").item() == pytest.approx(net.loss(net(x), y).item())
    assert list(build().optimizers()) == ["discriminator", "generator"]


def test_the_discriminator_learns_to_tell_and_to_name():
    torch.manual_seed(0)
    net = fit_on_noise(build(penalty="r1", r1=0.01, lr=1e-2))
    x, y, song = batch(32)
    y = y * 0.5 + song[:, None, None] * 0.4
    optimizer = net.optimizers()["discriminator"]
    for _ in range(60):
        optimizer.zero_grad()
        net.training_loss(net, x, y, song, part="discriminator").backward()
        optimizer.step()
    assert net.logged["real"] > net.logged["generated"] + 0.4
    assert (net.discriminator(y)[1].argmax(1) == song).float().mean() > 0.9


def test_the_balance_is_in_the_history():
    net = fit_on_noise(build(epochs=2, batch_size=6))
    x, y, song = (a.numpy() for a in batch())
    history = fitting.fit(
        net, lambda i: (x[i], y[i], song[i]), np.arange(12), validation=np.arange(0), settings=net.config, seed=0,
        compute=FLOAT32, progress=False,
    )  # fmt: skip
    names = {"real", "generated", "reconstruction", "spread", "adversarial", "song"}
    assert all(names <= set(row) and np.isfinite([row[name] for name in names]).all() for row in history)


def test_the_spread_tells_one_answer_from_many():
    net = fit_on_noise(build())
    x, y, song = batch()
    torch.nn.init.zeros_(net.generator.last.weight)  # every answer is alike
    for _ in range(60):
        net.training_loss(net, x, y, song, part="generator")
    assert net.facts()["spread"] < 0.02
    lively = fit_on_noise(build(mean_start=False))
    lively.training_loss(lively, x, y, song, part="generator")
    assert lively.facts()["spread"] > 0.1


def test_the_learning_rate_falls_each_epoch(monkeypatch):
    net, rates = fit_on_noise(build(epochs=3, batch_size=12, lr=0.1, lr_decay=0.5)), []
    made = net.optimizers()
    net.optimizers = lambda: made
    loss = net.training_loss
    net.training_loss = lambda *args, part: rates.append(made[part].param_groups[0]["lr"]) or loss(*args, part=part)
    x, y, song = (a.numpy() for a in batch())
    fitting.fit(
        net, lambda i: (x[i], y[i], song[i]), np.arange(12), validation=np.arange(0), settings=net.config, seed=0,
        compute=FLOAT32, progress=False,
    )  # fmt: skip
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


@pytest.mark.parametrize("embedding", ["log-variance", "waveform"])
def test_the_generator_overfits_a_few_windows(embedding):
    net = fit_on_noise(
        build(adversarial=False, dropout=0, width=32, embedding=embedding, batch_size=6, epochs=250, lr=1e-2)
    )
    x, y, song = (a.numpy() for a in batch(6))
    net.fit_output(torch.from_numpy(y.mean(0)))
    history = fitting.fit(
        net, lambda i: (x[i], y[i], song[i]), np.arange(6), validation=np.arange(0), settings=net.config, seed=0,
        compute=FLOAT32, progress=False,
    )  # fmt: skip
    assert history[-1]["train_loss"] < 0.3 * y.var(0).mean()


def test_an_unseen_song_and_an_unseen_listener_can_be_predicted(tiny_store, tmp_path):
    settings = {"width": 4, "csp": 2, "receptive_fields": [3], "dilations": [1], "discriminator_width": 4, "epochs": 1}
    for split in ("subject:30", "song:song22"):
        config = training.configure(tiny_store, model="gan", preset="fast", settings=settings, split=split)
        if split == "song:song22":  # one song is left, and patterns need two
            with pytest.raises(ParameterError, match="need two or more in the training side"):
                training.train(tiny_store, config, out=tmp_path, progress=False)
            continue
        run = training.train(tiny_store, config, out=tmp_path, progress=False)
        assert np.isfinite(run.predictions).all()
        assert np.isfinite(run.provenance["spread"])
        windows = windowing.windows(tiny_store, **config["features"])
        references = run.network().spatial.references
        n_heard = windows.table["subject"].iloc[run.split(windows).train].nunique()
        assert n_heard < len(references) - 1
        assert not torch.allclose(references[0], references[-1])
        for stand_in in references[n_heard:]:  # who never trained is the mean of those who did
            assert torch.equal(stand_in, references[-1])


def fit_on_noise(net):
    windows = Windows()
    net.fit_view(windows.view(), ["song0", "song1"])
    return net
