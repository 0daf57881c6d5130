import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from eegviz import evaluation, fitting, models, sides, training
from eegviz.errors import ParameterError
from eegviz.models import alignment
from eegviz.models.contrast import NEVER, info_nce, rank_loss, same_pictures
from eegviz.models.layers import n_parameters
from tests import onnx_files

FLOAT32 = fitting.Compute.choose("cpu", "float32")
IN, OUT, GROUPS = (50, 6), (11, 8), (2, 3)
SMALL = {
    "width": 8, "blocks": 1, "heads": 2, "feed_forward": 8, "hidden": 16, "shared": 8, "latent": 4, "autoencoder_width": 8,
    "autoencoder_epochs": 2, "kernel": 5, "stride": 4,
}  # fmt: skip


def config(**settings):
    return models.config("alignment", "fast", **SMALL | settings)


def build(**settings):
    torch.manual_seed(0)
    return alignment.build(config(**settings), IN, OUT, GROUPS)


class Windows:
    """Three listeners hear the same seconds of two songs; the picture of a second drives two channels of the EEG."""

    def __init__(self, seconds=12, seed=0, noise=0.3):
        rng = np.random.default_rng(seed)
        rows = [(s, song, second) for s in range(3) for song in range(2) for second in range(seconds)]
        self.table = pd.DataFrame(
            {
                "recording": [f"r{s}{song}" for s, song, _ in rows], "subject": [f"S{s}" for s, _, _ in rows],
                "stimulus": [f"song{song}" for _, song, _ in rows], "second": [second for *_, second in rows],
            }
        )  # fmt: skip
        self.seconds = rng.random((2, seconds, *OUT)).astype(np.float32)
        course = np.repeat(self.seconds[..., :2].mean(-1), 5, axis=2)[..., : IN[0]]  # (2, seconds, n_times)
        x = noise * rng.standard_normal((len(rows), *IN))
        for row, (_, song, second) in enumerate(rows):
            x[row, :, 0] += 5 * course[song, second, : IN[0]]
            x[row, :, 1] += 5 * self.seconds[song, second, 0, :5].repeat(10)
        self.x = x.astype(np.float32)

    def pictures(self, rows):
        return self.x[rows]

    def target(self, rows):
        own = self.table.iloc[rows]
        return self.seconds[own["stimulus"].str[-1].astype(int).to_numpy(), own["second"].to_numpy()]

    def songs(self, rows):
        return self.table["stimulus"].str[-1].astype(int).to_numpy()[rows]

    def view(self, rows=None, **options):
        rows = np.arange(len(self.table)) if rows is None else rows
        none = np.array([], int)
        split = SimpleNamespace(spec="random", train=rows, validation=none, test=none)
        return sides.training_view(self, split, **options)


def fitted(windows=None, rows=None, **settings):
    net = build(**settings)
    net.fit_view((windows or Windows()).view(rows), ["song0", "song1"])
    return net


def batch(windows, rows=None):
    rows = np.arange(len(windows.table)) if rows is None else rows
    return tuple(torch.from_numpy(a) for a in (windows.x[rows], windows.target(rows), windows.songs(rows)))


# ---------------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("n", [2, 5, 64])
@pytest.mark.parametrize("scale", [0.0, 1.0, 14.3, 100.0])
def test_identical_pairs(n, scale):
    """Own pairs alike, others orthogonal: log(1 + (n - 1) e^-s), which at scale 0 is log n."""
    found = info_nce(scale * torch.eye(n), torch.eye(n, dtype=torch.bool))
    assert float(found) == pytest.approx(math.log1p((n - 1) * math.exp(-scale)), rel=1e-5, abs=1e-7)


def test_permuted_pairs():
    """Every EEG is like another one's music: log(1 + (n - 2) + e^s)."""
    n, scale = 6, 3.0
    like = scale * torch.eye(n).roll(1, 0)
    found = info_nce(like, torch.eye(n, dtype=torch.bool))
    assert float(found) == pytest.approx(math.log(1 + (n - 2) + math.exp(scale)), rel=1e-5)


def test_it_is_torchs_cross_entropy_where_all_seconds_differ():
    like = torch.randn(7, 7, generator=torch.Generator().manual_seed(0)) * 5
    entropy = torch.nn.functional.cross_entropy
    expected = (entropy(like, torch.arange(7)) + entropy(like.T, torch.arange(7))) / 2
    assert float(info_nce(like, torch.eye(7, dtype=torch.bool))) == pytest.approx(float(expected), rel=1e-5)


def test_seconds_that_occur_twice_are_positives_and_never_negatives():
    n, scale = 4, 2.0
    same = torch.eye(n, dtype=torch.bool).repeat(2, 2)  # every second twice
    like = scale * same.float()
    assert float(info_nce(like, same)) == pytest.approx(math.log1p(2 * (n - 1) * math.exp(-scale)), rel=1e-5)
    naive = info_nce(like, torch.eye(2 * n, dtype=torch.bool))  # the twins as negatives: worse, and wrong
    assert naive > info_nce(like, same) + 0.3
    every = torch.ones(3, 3, dtype=torch.bool)
    assert float(info_nce(torch.randn(3, 3), every)) == 0  # nothing to tell apart


def test_no_gradient_pushes_twins_apart():
    same = torch.eye(3, dtype=torch.bool).repeat(2, 2)
    like = torch.zeros(6, 6, requires_grad=True)
    info_nce(like, same).backward()
    assert (like.grad[same] < 0).all()
    assert (like.grad[~same] > 0).all()


def test_hard_negatives_count_for_the_eeg_only():
    like, same = 2 * torch.eye(3), torch.eye(3, dtype=torch.bool)
    one_way = math.log1p(2 * math.exp(-2))
    found = info_nce(like, same, hard=torch.zeros(3, 4))
    assert float(found) == pytest.approx((math.log1p(6 * math.exp(-2)) + one_way) / 2, rel=1e-5)
    never = torch.full((3, 4), NEVER)
    assert float(info_nce(like, same, hard=never)) == pytest.approx(one_way, rel=1e-5)


def test_the_rank_that_validation_goes_by():
    generator = torch.Generator().manual_seed(0)
    same = torch.eye(40, dtype=torch.bool).repeat_interleave(2, 0).repeat_interleave(2, 1)
    noise = torch.rand(40, 40, generator=generator).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert rank_loss(noise, same).item() == pytest.approx(0.5, abs=0.1)
    assert rank_loss(noise + 2 * same, same).item() == 0
    assert rank_loss(noise, torch.ones_like(same)).item() == 0.5  # nothing to tell apart
    assert rank_loss(100 * noise, same) == rank_loss(noise, same)


def test_pictures_are_the_same_to_the_last_bit():
    y = torch.rand(4, 3, 2)
    y[2] = y[0]
    y[3] = y[0]
    y[3, 2, 1] += 1e-6
    assert same_pictures(y).int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


# ------------------------------------------------------------------------------------------------------- the network


def test_settings():
    echoes = models.config("alignment")
    assert echoes == models.config("alignment", "echoes")
    assert (echoes.encoder, echoes.listeners, echoes.hard_negatives, echoes.duration) == ("mel", True, 0, 1)
    assert models.default_audio("alignment") == "mel-db"
    assert alignment.GROUPS == ("stimulus", "subject")
    assert alignment.features(echoes) == {"band": [0.5, 15.0], "context": 0.4}
    assert alignment.features(config(band=None, context=0, duration=4)) == {"duration": 4}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 10, "heads": 4}, "multiple of the 4 heads"), ({"width": 9, "heads": 3}, "must be even"),
        ({"kernel": 4}, "kernel must be odd"), ({"encoder": "wav2vec"}, "known are mel, clap:folder"),
        ({"band": (20, 5)}, "band must rise"), ({"align": False}, "so align must be true"), ({"temperature": 0}, "temperature"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ParameterError, match=message):
        config(**settings)


def test_spectra_are_refused():
    with pytest.raises(ParameterError, match="needs? raw EEG|filters raw EEG in space and time; found eeg='welch'"):
        alignment.for_features(models.config("alignment"), "welch")
    assert alignment.for_features(config(), "raw") == config()


@pytest.mark.parametrize("preset", ["fast", "echoes"])
@pytest.mark.parametrize(
    ("in_shape", "out_shape"), [((175, 125), (44, 128)), ((125, 8), (87, 80)), ((550, 32), (176, 128))]
)
def test_shapes(preset, in_shape, out_shape):
    net = alignment.build(models.config("alignment", preset), in_shape, out_shape, (3, 5)).eval()
    x, y = torch.randn(2, *in_shape), torch.rand(2, *out_shape)
    z, frames = net.embed_eeg(x)
    assert z.shape == (2, net.shared) == net.embed_music(y).shape
    assert frames.shape == (2, net.n_steps, net.frame_dim)
    assert net.n_steps * net.frame_dim == net.bank.music.shape[1]
    assert torch.allclose(z.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(net.embed_music(y).norm(dim=1), torch.ones(2), atol=1e-5)
    assert net(x).shape == (2, *out_shape)
    assert net.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)


def test_number_of_parameters():
    net = build()
    w, hidden, shared, latent = 8, 16, 8, 4
    attention = (w * w + w) + (2 * w * w + 2 * w) + (w * w + w) + 2 * w
    feed_forward = 2 * w + (w * 8 + 8) + (8 * w + w)
    expected = (
        (6 * w + w) + 4 * (w * w + w) + (5 * w * w + w) + (5 * w * w + w) + 2 * 2 * w
    )  # filters, listeners, convolutions
    expected += attention + feed_forward + 2 * w + (alignment.LAGS * w * latent + latent) + 1  # the gate
    expected += 3 * latent * hidden + hidden
    expected += 2 * hidden + (hidden * hidden + hidden) + (hidden * shared + shared) + 1
    frozen = sum(p.numel() for p in net.linear.parameters())
    assert n_parameters(net) in (expected, expected + frozen)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == expected


def test_the_scale_has_a_limit():
    net = build()
    with torch.no_grad():
        net.log_scale.fill_(10.0)
    assert net.scale.item() == 100


def test_eeg_and_music_go_through_the_same_projector_and_the_eeg_begins_at_the_linear_decoder():
    net = fitted(dropout=0).eval()
    x = torch.randn(2, *IN)
    z, frames = net.embed_eeg(x)
    assert torch.equal(frames, net.linear(x))
    music = frames.flatten(1) * net.bank.spread + net.bank.mean
    assert torch.allclose(z, net.project_music(music), atol=1e-5)
    with torch.no_grad():
        net.gate.fill_(1.0)
    assert not torch.allclose(net.embed_eeg(x)[1], frames)


def test_tokens_are_read_behind_the_music():
    reading = alignment._reading(2, 14, 1, 0.4)  # tokens of a tenth of a second
    assert torch.allclose(reading.sum(2), torch.ones(2, alignment.LAGS))
    centres = (reading * (torch.arange(14) + 0.5) / 10).sum(2)
    assert torch.allclose(centres[0], 0.25 + torch.linspace(0, 0.4, alignment.LAGS), atol=1e-5)
    assert torch.allclose(centres[1], 0.75 + torch.linspace(0, 0.4, alignment.LAGS), atol=1e-5)


def test_the_linear_decoder_finds_what_is_linear():
    windows = Windows()
    net = fitted(windows)
    vectors = net.bank.standardised(net.music_vectors(torch.from_numpy(windows.target(np.arange(72)))))
    found = net.linear(torch.from_numpy(windows.x)).flatten(1)
    assert ((found - vectors) ** 2).mean() <= 1.05 * (vectors**2).mean()  # never much worse than the mean


def test_the_bank_holds_the_distinct_training_seconds():
    windows = Windows()
    rows = np.flatnonzero(windows.table["second"] < 9)
    net = fitted(windows, rows)
    assert net.bank.pictures.shape == (18, *OUT)
    assert net.bank.songs.tolist() == [0] * 9 + [1] * 9
    assert torch.equal(net.bank.pictures[9], torch.from_numpy(windows.seconds[1, 0]))
    music = net.bank.standardised(net.bank.music)
    assert torch.allclose(music.mean(0), torch.zeros(music.shape[1]), atol=1e-4)
    assert torch.equal(net.bank.music, net.music_vectors(net.bank.pictures))


def test_the_picture_is_the_mean_over_the_bank_weighted_by_likeness():
    windows = Windows()
    net = fitted(windows, dropout=0).eval()
    x = torch.from_numpy(windows.x[:5])
    z, _ = net.embed_eeg(x)
    like = net.scale.item() * z @ net.embed_music(net.bank.pictures).T
    expected = torch.einsum("nm,mfb->nfb", like.softmax(1), net.bank.pictures)
    assert torch.allclose(net(x), expected, atol=1e-5)
    assert net(x).min() >= 0
    assert net(x).max() <= 1


def test_a_file_of_weights_brings_its_bank_along():
    net = fitted(Windows())
    other = build()
    other.load_state_dict(net.state_dict())
    x = torch.randn(3, *IN)
    assert torch.equal(net.eval()(x), other.eval()(x))


def test_the_listener_is_the_one_whose_covariance_is_nearest():
    windows = Windows()
    windows.x[windows.table["subject"] == "S1"] *= np.array([1, 1, 9, 1, 1, 1], np.float32)
    net = fitted(windows, dropout=0).eval()
    x = torch.from_numpy(windows.x[windows.table["subject"] == "S1"])
    who = net.spatial.nearest(x - x.mean(1, keepdim=True))
    assert (who == 1).float().mean() > 0.5  # others are like the mean of all
    x = x[who == 1]
    with torch.no_grad():
        net.gate.fill_(1.0)
    before = net.embed_eeg(x)[0]
    with torch.no_grad():
        net.listener_bias[0] += 1
    assert torch.equal(net.embed_eeg(x)[0], before)
    with torch.no_grad():
        net.listener_bias[1] += 1
    assert not torch.allclose(net.embed_eeg(x)[0], before)


def test_without_layers_for_listeners_there_are_none():
    assert build(listeners=False).listener_weight.numel() == 0
    net = fitted(listeners=False, align=False).eval()
    assert torch.isfinite(net(torch.randn(2, *IN))).all()


def test_zero_eeg_has_an_answer():
    assert torch.isfinite(fitted().eval()(torch.zeros(2, *IN))).all()


def test_it_is_fitted_on_the_training_side_only():
    windows, found = Windows(), []
    with pytest.raises(ParameterError, match="fitted on training windows only: expected a TrainingView"):
        build().fit_view(windows, ["song0", "song1"])
    rows = np.flatnonzero(windows.table["second"] < 9)
    for poison in (1.0, 50.0):
        windows.x[windows.table["second"] >= 9] *= poison
        windows.seconds[:, 9:] *= poison
        found.append(fitted(windows, rows).state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_encoder_of_music_stays_frozen():
    windows = Windows()
    net = fitted(windows, epochs=1)
    frozen = {name: value.clone() for name, value in net.autoencoder.state_dict().items()}
    vectors = net.bank.music.clone()
    train(net, windows)
    assert all(torch.equal(frozen[name], value) for name, value in net.autoencoder.state_dict().items())
    assert torch.equal(vectors, net.bank.music)


def test_gradient_reaches_every_parameter_that_is_trained():
    windows = Windows()
    net = fitted(windows, dropout=0, hard_negatives=2).train()
    with torch.no_grad():
        net.gate.fill_(1.0)  # at zero nothing of the network is heard
    x, y, song = batch(windows)
    net.training_loss(net, x, y, song).backward()
    silent = [
        n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)
    ]
    # a shift of all tokens is taken away by batch normalisation, and keys' by softmax
    assert [n for n in silent if not n.endswith(("first.bias", "second.bias", "key_value.bias"))] == []


def train(net, windows, rows=None):
    rows = np.arange(len(windows.table)) if rows is None else rows
    return fitting.fit(
        net, lambda i: (windows.x[i], windows.target(i), windows.songs(i)), rows, validation=rows[:0], settings=net.config,
        seed=0, compute=FLOAT32, progress=False,
    )  # fmt: skip


def test_it_overfits_one_batch():
    windows = Windows()
    net = fitted(windows, dropout=0, epochs=60, batch_size=72, lr=5e-3, lr_decay=1.0, listeners=False, regression=0)
    with torch.no_grad():
        net.gate.fill_(1.0)
    history = train(net, windows)
    assert history[0]["train_loss"] > 1
    assert history[-1]["train_loss"] < 0.1
    assert history[-1]["found"] > 0.95
    assert {"found", "temperature"} <= set(history[0])
    error = ((net.eval()(torch.from_numpy(windows.x)).detach().numpy() - windows.target(np.arange(72))) ** 2).mean()
    assert error < 0.1 * windows.seconds.var()


def test_hard_negatives_are_other_seconds_of_the_same_song():
    net = fitted()
    chosen = net.bank.draw(torch.tensor([0, 1, 1]), 50)
    assert chosen.shape == (3, 50)
    assert (net.bank.songs[chosen] == torch.tensor([0, 1, 1])[:, None]).all()
    windows = Windows()
    x, y, song = batch(windows)
    plain, hard = (fitted(windows, dropout=0, hard_negatives=k).train() for k in (0, 8))
    losses = [net.training_loss(net, x, y, song) for net in (plain, hard)]
    assert losses[1] > losses[0]  # more to tell apart
    losses = [net.eval().validation_loss(net, x, y, song) for net in (plain, hard)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


def test_validation_asks_which_second_and_leaves_the_network_as_it_was():
    windows = Windows()
    net = fitted(windows).eval()
    loss = fitting.mean_loss(net, net, lambda i: (windows.x[i], windows.target(i), windows.songs(i)), np.arange(24))
    x, y, song = batch(windows, np.arange(24))
    assert loss == pytest.approx(
        rank_loss(net.embed_eeg(x)[0] @ net.embed_music(y).T, same_pictures(y)).item(), rel=1e-5
    )
    assert np.isnan(fitting.mean_loss(net, net, None, np.arange(0)))


# ------------------------------------------------------------------------------------------------ encoders of sound


def test_an_encoder_outside_gives_its_vectors(tiny_store, tmp_path):
    path, _ = onnx_files.frames_network(tmp_path / "net.onnx", dim=5)
    settings = SMALL | {"encoder": f"onnx:{path}", "epochs": 2}
    asked = training.configure(
        tiny_store, model="alignment", preset="fast", settings=settings, split="repeat", precision="float32"
    )
    run = training.train(tiny_store, asked, out=tmp_path / "runs", progress=False)
    assert run.provenance["shapes"][-1] == [5]
    assert run.provenance["encoder"] == f"onnx:{path}"
    assert np.isfinite(run.predictions).all()
    net = run.network()
    assert net.autoencoder is None
    assert net.bank.music.shape[1] == 5
    with pytest.raises(ParameterError, match="hears sound, no pictures"):
        net.embed_music(torch.rand(1, 44, 128))
    rows = {row["metric"]: row for row in evaluation.evaluate(run, store=tiny_store)["metrics"]}
    assert 0 <= rows["emb. retrieval"]["score"] <= 1


def test_an_encoder_outside_must_be_there_and_say_its_size(tiny_store, tmp_path):
    with pytest.raises(ParameterError, match="needs the size of its vectors"):
        build(encoder="onnx:x")
    with pytest.raises(ParameterError, match="with the encoder mel needs no size"):
        alignment.build(config(), IN, OUT, GROUPS, (4,))
    net = alignment.build(config(encoder="onnx:x"), IN, OUT, GROUPS, (4,))
    with pytest.raises(ParameterError, match=r"no vectors of it: make it with training_view\(…, beside"):
        net.fit_view(Windows().view(), ["song0", "song1"])
    net.fit_view(Windows().view(beside=lambda rows: np.ones((len(rows), 4))), ["song0", "song1"])
    assert net.bank.music.shape == (24, 4)
