from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from eegviz import features, fitting, models, sides
from eegviz.errors import DataError, ParameterError
from eegviz.models import _token_parts as parts
from eegviz.models import tokens
from eegviz.models.layers import n_parameters

FLOAT32 = fitting.Compute.choose("cpu", "float32")
SFREQ, SECONDS, CHANNELS = 64, 2, ("Fz", "T7", "T8", "AF3", "AF4", "Pz")
IN, OUT = (SECONDS * SFREQ, len(CHANNELS)), (SECONDS * 44, 16)
SMALL = {
    "seconds": SECONDS,
    "bands": ("theta", "alpha", "beta"),
    "width": 16,
    "heads": 2,
    "feed_forward": 16,
    "depth": 1,
}
VARIANTS = {
    "whole": {},
    "rnn": {"sequence": "rnn"},
    "lstm": {"sequence": "lstm", "depth": 3},
    "cnn": {"sequence": "cnn"},
    "without CNN": {"convolution": False},
    "without EEG clusters": {"eeg_clusters": False},
    "without audio clusters": {"audio_clusters": False},
    "without clusters": {"eeg_clusters": False, "audio_clusters": False},
    "without EEG": {"eeg_input": False},
    "without feature mask": {"feature_mask": False},
    "nearest": {"decode": "nearest"},
    "pick": {"channels": "inoue"},
}


class Windows:
    """Windows whose steps are of four kinds: loud in one of four mel ranges, with the EEG loud in one of four channels."""

    def __init__(self, n=60, seed=0):
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 4, (n, SECONDS * 2))  # of each half second
        self.kind = kind
        y = np.full((n, SECONDS * 2, 22, OUT[1]), 0.1) + 0.01 * rng.standard_normal((n, SECONDS * 2, 22, OUT[1]))
        x = rng.standard_normal((n, SECONDS * 2, SFREQ // 2, IN[1]))
        for i, j in np.ndindex(kind.shape):
            y[i, j, :, 4 * kind[i, j] : 4 * kind[i, j] + 4] += 0.7
            x[i, j, :, kind[i, j]] *= 5
        self.x = (10 * x.reshape(n, *IN)).astype(np.float32)
        self.y = np.clip(y.reshape(n, *OUT), 0, 1).astype(np.float32)
        self.settings = {"ch_names": list(CHANNELS), "sfreq": float(SFREQ)}
        self.table = pd.DataFrame(
            {
                "subject": [f"S{i % 3}" for i in range(n)],
                "stimulus": [f"song{i % 2}" for i in range(n)],
                "second": SECONDS * np.arange(n),
            }
        )

    def pictures(self, rows):
        return self.x[rows]

    def target(self, rows):
        return self.y[rows]

    def view(self, n_train=None):
        rows, none = np.arange(len(self.table)), np.array([], int)
        n = n_train or len(rows)
        return sides.training_view(self, SimpleNamespace(spec="random", train=rows[:n], validation=none, test=rows[n:]))


def build(windows=None, preset="fast", **settings):
    torch.manual_seed(0)
    net = tokens.build(models.config("tokens", preset, **SMALL | settings), IN, OUT)
    windows = windows or Windows()
    net.fit_view(windows.view(), ["song0", "song1"])
    net.fit_output(torch.from_numpy(windows.y.mean(0)))
    return net


def tensors(windows, rows=slice(None)):
    return torch.from_numpy(windows.x[rows]), torch.from_numpy(windows.y[rows])


def fit(net, windows, **options):
    return fitting.fit(
        net, lambda i: (windows.x[i], windows.y[i]), np.arange(len(windows.x)), validation=np.arange(0),
        settings=net.config, seed=0, compute=FLOAT32, progress=False, **options,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ settings


def test_what_the_document_gives_is_pinned():
    config = models.config("tokens", "tokens")
    assert config == models.config("tokens")
    assert (config.seconds, config.depth, config.sequence, config.convolution) == (4, 12, "transformer", True)
    assert (config.eeg_clusters, config.audio_clusters, config.channels, config.eeg_input) == (True, True, "all", True)
    for depth in (8, 10, 12, 14, 16):  # table 4
        assert models.config("tokens", depth=depth).depth == depth
    assert tokens.features(config) == {"duration": 4}
    assert {name: len(pick) for name, pick in tokens.PICKS.items()} == {"tiraboschi": 6, "miyamoto": 27, "inoue": 5}
    assert tokens.PICKS["inoue"] == ("AF3", "AF4", "T7", "T8", "Pz")
    assert not {"PO7", "PO8"} & set(tokens.PICKS["miyamoto"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 17}, "less than or equal to 16"),
        ({"width": 15, "heads": 1}, "must be even"),
        ({"heads": 3}, "multiple of the 3 heads"),
        ({"bands": ["mu"]}, "unknown bands mu; known are delta, theta, alpha, beta, gamma"),
        ({"channels": "sony"}, "known picks are all, tiraboschi, miyamoto, inoue"),
        ({"channels": []}, "empty list"),
        ({"mask_ratio": (0.9, 0.1)}, "must rise"),
        ({"eeg_eps": 0.0}, "eps must be positive"),
        ({"audio_eps": "elbow"}, "found 'elbow'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ParameterError, match=message):
        models.config("tokens", **settings)


def test_spectra_and_frames_that_do_not_come_out_even_are_refused():
    with pytest.raises(ParameterError, match="entropies of raw EEG itself; found eeg='welch'"):
        tokens.for_features(models.config("tokens"), "welch")
    with pytest.raises(ParameterError, match="cuts 348 frames into 8 equal steps.*steps=1"):
        tokens.build(models.config("tokens"), (500, 8), (4 * 87, 80))
    assert tokens.build(models.config("tokens", "fast", steps=1), (500, 8), (4 * 87, 80)).picture == (87, 80)


def test_bands_above_half_the_rate_are_refused():
    with pytest.raises(ParameterError, match="30–45 Hz: expected 0 < low < high < 32 Hz"):
        tokens.build(models.config("tokens", "fast"), (4 * 64, 8), (176, 128))


# -------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_its_shape_and_learns_in_all_its_parts(name):
    windows = Windows()
    net = build(windows, dropout=0, **VARIANTS[name])
    x, y = tensors(windows, slice(0, 12))
    net.training_loss(net, x, y).backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unused == []
    net.eval()
    with torch.inference_mode():
        out = net(x)
    assert out.shape == y.shape
    assert torch.isfinite(out).all()
    if net.config.audio_clusters:  # a mean of true pictures' means
        assert out.min() >= 0
        assert out.max() <= 1


@pytest.mark.parametrize(("in_shape", "n_channels"), [((500, 125), 125), ((512, 32), 32)])
def test_shapes_of_nmed_and_deap(in_shape, n_channels):
    net = tokens.build(models.config("tokens", "fast"), in_shape, (176, 128)).eval()
    assert net.n_steps == 8
    assert net.picture == (22, 128)
    assert net.eeg.mean.shape == (5 * n_channels,)
    assert net(torch.randn(2, *in_shape)).shape == (2, 176, 128)


def test_depth_is_layers_on_either_side():
    def count(depth):
        return n_parameters(tokens.build(models.config("tokens", "fast", **SMALL | {"depth": depth}), IN, OUT))

    width, hidden = 16, 16
    attention = 2 * width + 4 * (width**2 + width)  # normalisation, query, key, value, out
    forward = 2 * width + width * hidden + hidden + hidden * width + width
    assert count(12) - count(8) == 4 * ((attention + forward) + (2 * attention + forward))
    assert len(tokens.build(models.config("tokens"), (500, 8), (176, 128)).sequence.encoder) == 12


def test_entropies_are_those_of_the_features():
    x = torch.from_numpy(Windows().x[:3])
    net = build()
    found = net.entropy(net._picked(x)[:, net.cut])  # (3, 4, bands * channels)
    bands = {name: features.BANDS[name] for name in SMALL["bands"]}
    step = x[1, 32:64].numpy().T[None]  # the second half second, (1, n_channels, 32)
    expected = features.differential_entropy(step, sfreq=SFREQ, bands=bands)[0].T.ravel()
    np.testing.assert_allclose(found[1, 1].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_four_kinds_become_the_four_entries():
    windows = Windows()
    net = build(windows, audio_eps=1.0, components=4)
    _, y = tensors(windows)
    entries = net.audio.nearest(parts.pooled(net._audio_steps(y))).numpy()
    assert len(net.audio) == 4
    pairs = set(zip(windows.kind.ravel().tolist(), entries.ravel().tolist(), strict=True))
    assert len(pairs) == 4
    picture = net.audio.pictures[entries[0, 0]].numpy()
    like = windows.y.reshape(-1, 22, 16)[windows.kind.ravel() == windows.kind[0, 0]]
    np.testing.assert_allclose(picture, like.mean(0), atol=1e-3)
    facts = net.facts()
    assert facts["audio_entries"] == 4
    assert facts["audio_noise"] < 0.05
    assert facts["audio_eps"] == 1.0
    assert facts["audio_points"] == facts["audio_points_total"] == 60 * 4
    assert facts["eeg_entries"] >= 2
    assert 1 / 3 < facts["eeg_one_listener"] <= 1


def test_dictionaries_see_the_training_side_only():
    windows = Windows()
    found = []
    for poison in (1.0, 100.0):
        windows.x[40:] *= poison
        windows.y[40:] /= poison
        net = tokens.build(models.config("tokens", "fast", **SMALL), IN, OUT)
        net.fit_view(windows.view(40), [])
        found.append({k: v for k, v in net.state_dict().items() if k.startswith(("eeg.", "audio.", "scale"))})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])
    with pytest.raises(ParameterError, match="expected a TrainingView"):
        net.fit_view(windows, [])


def test_music_counts_once_however_many_heard_it():
    windows = Windows()
    windows.table["second"] = SECONDS * (np.arange(60) // 6)
    windows.table["stimulus"] = "song0"
    assert build(windows).facts()["audio_points_total"] == 10 * 4


def test_a_dictionary_that_cannot_be_names_its_side():
    with pytest.raises(ParameterError, match="a dictionary of music: at eps 0.0001"):
        build(audio_eps=1e-4)
    with pytest.raises(ParameterError, match="a dictionary of EEG: .*one cluster"):
        build(eeg_eps=1e4)
    windows = Windows()
    windows.x[:] = 0
    with pytest.raises(DataError, match="the EEG of the training windows is silent"):
        build(windows)


# ---------------------------------------------------------------------------------------- channels


def test_picks_are_found_by_name():
    net = build(channels="inoue")
    assert [CHANNELS[i] for i in net.pick] == list(tokens.PICKS["inoue"])
    net = build(channels=["pz", "fz"]).eval()
    assert net.pick.tolist() == [5, 0]
    x, _ = tensors(Windows())
    other = x.clone()
    other[:, :, 1:5] = 7
    assert torch.equal(net(x), net(other))  # the rest is not looked at


def test_a_pick_that_the_data_lack_is_refused():
    with pytest.raises(ParameterError, match="lack the channels FC5, FC6, CP5, CP6, PO3, PO4 .*they have Fz, T7"):
        build(channels="tiraboschi")


def test_without_eeg_the_eeg_changes_nothing():
    x, _ = tensors(Windows())
    net = build(eeg_input=False).eval()
    assert torch.equal(net(x), net(torch.randn_like(x)))
    assert not any(name.startswith("eeg") for name, _ in net.named_parameters())
    assert not any(name.startswith("eeg") for name in net.facts())
    whole = build().eval()
    assert not torch.allclose(whole(x), whole(torch.randn_like(x)))


# ------------------------------------------------------------------------- the loss, masks, decoding


def test_the_loss_is_equation_13_with_the_sign_that_14_lacks():
    windows = Windows()
    net = build(windows, dropout=0, alpha=0.3)
    x, y = tensors(windows, slice(0, 10))
    torch.manual_seed(1)
    loss = net.training_loss(net, x, y)
    torch.manual_seed(1)
    answers, masked, _ = net(x, teacher=y)
    entries = net.audio.nearest(parts.pooled(net._audio_steps(y)))
    minus_log_p = -torch.log_softmax(answers, -1).gather(-1, entries.unsqueeze(-1))[..., 0]
    expected = 0.7 * minus_log_p[masked].mean() + 0.3 * minus_log_p[~masked].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.item() > 0
    assert net.logged["masked"].item() == pytest.approx(minus_log_p[masked].mean().item(), rel=1e-5)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 1.5), (1.0, 6.0), (0.5, 3.75)])
def test_alpha_weighs_masked_and_unmasked(alpha, expected):
    losses, masked = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[True, True, False]])
    assert float(parts.weighted_losses(losses, masked, alpha)[0]) == pytest.approx(expected)
    every = torch.ones(1, 3, dtype=torch.bool)
    assert float(parts.weighted_losses(losses, every, alpha)[0]) == pytest.approx((1 - alpha) * 3)


def test_the_share_of_masked_steps_is_drawn_within_its_range():
    torch.manual_seed(0)
    masked = parts.mask_steps(4000, 8, 0.5, 1.0).float()
    counts = masked.sum(1)
    assert (counts.min(), counts.max()) == (5, 8) or (counts.min(), counts.max()) == (4, 8)
    assert torch.allclose(masked.mean(0), masked.mean().expand(8), atol=0.03)  # every step alike
    assert parts.mask_steps(50, 8, 1.0, 1.0).all()
    assert (parts.mask_steps(50, 8, 0.0, 0.0).sum(1) == 1).all()


def test_a_masked_step_is_hidden_from_the_decoder():
    windows = Windows()
    net = build(windows).eval()
    x, y = tensors(windows, slice(0, 6))
    changed = y.clone().unflatten(1, (4, 22))
    torch.manual_seed(5)
    answers, masked, _ = net(x, teacher=y)
    changed[masked] = torch.rand_like(changed[masked])
    torch.manual_seed(5)
    again, _, _ = net(x, teacher=changed.flatten(1, 2))
    assert torch.equal(answers, again)
    changed[~masked] = torch.rand_like(changed[~masked])
    torch.manual_seed(5)
    assert not torch.allclose(net(x, teacher=changed.flatten(1, 2))[0], answers)


def test_free_decoding_does_not_see_the_target_and_draws_nothing():
    windows = Windows()
    net = build(windows, passes=3).eval()
    x, y = tensors(windows, slice(0, 6))
    torch.manual_seed(1)
    free = net(x)
    net(x, teacher=y)
    torch.manual_seed(2)
    assert torch.equal(net(x), free)
    assert torch.allclose(net(x[:1]), free[:1], atol=1e-6)  # nor the other windows of its batch


def test_decoding_keeps_what_it_is_surest_of():
    probabilities = torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.1, 0.9]]])
    assert parts.most_certain(probabilities, 2).tolist() == [[True, False, False, True]]
    assert parts.most_certain(probabilities, 1).tolist() == [[True, False, False, False]]  # of equals the earlier
    windows = Windows()
    once, twice = (build(windows, passes=n, decode="nearest").eval() for n in (1, 2))
    twice.load_state_dict(once.state_dict())
    x, _ = tensors(windows, slice(0, 20))
    probabilities = once._answers(None, None, once._encode(x)).softmax(-1)
    kept = parts.most_certain(probabilities, 2)
    steps, refined = once._write(once._encode(x)), twice._write(twice._encode(x))
    assert torch.equal(steps[kept], refined[kept])


def test_pictures_are_expected_or_nearest():
    windows = Windows()
    expected, nearest = (build(windows, passes=1, decode=decode).eval() for decode in ("expected", "nearest"))
    x, _ = tensors(windows, slice(0, 4))
    probabilities = expected._answers(None, None, expected._encode(x)).softmax(-1)
    flat = expected.audio.pictures.flatten(1)
    assert torch.allclose(expected(x), (probabilities @ flat).reshape(4, *OUT), atol=1e-6)
    assert torch.equal(nearest(x), flat[probabilities.argmax(-1)].reshape(4, *OUT))


def test_the_feature_mask_is_the_attention_that_a_step_receives():
    net = build().eval()
    torch.manual_seed(0)
    x = torch.randn(3, 4, 16)
    share = parts.received(net.sequence.encoder[-1].own, x)
    assert torch.allclose(share.sum(1), torch.ones(3))
    attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)  # the same weights in PyTorch's own layer
    own = net.sequence.encoder[-1].own
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([own.query.weight, own.key_value.weight]))
        attention.in_proj_bias.copy_(torch.cat([own.query.bias, own.key_value.bias]))
    normed = own.normed(x)
    _, weights = attention(normed, normed, normed)
    assert torch.allclose(share, weights.mean(1), atol=1e-6)
    masked, plain = net.sequence, build(feature_mask=False).eval().sequence
    plain.load_state_dict(masked.state_dict())
    assert torch.allclose(masked.encode(x), plain.encode(x) * (4 * share).unsqueeze(-1), atol=1e-6)


# ------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("settings", [{}, {"audio_clusters": False}])
def test_it_learns_what_the_eeg_says(settings):
    windows, test = Windows(80), Windows(40, seed=1)
    net = build(windows, epochs=15, lr=5e-3, batch_size=8, dropout=0, convolution=False, audio_eps=1.0, **settings)
    history = fit(net, windows)
    assert history[-1]["masked"] < 0.5 * history[0]["masked"]
    x, y = tensors(test)
    with torch.inference_mode():
        error = net.eval().loss(net(x), y).item()
    assert error < 0.5 * float(((y - torch.from_numpy(windows.y.mean(0))) ** 2).mean())


def test_music_alone_learns_no_more_than_the_mean():
    windows, test = Windows(80), Windows(40, seed=1)
    net = build(windows, epochs=6, lr=1e-2, eeg_input=False, audio_eps=1.0)
    fit(net, windows)
    x, y = tensors(test)
    error = net.eval().loss(net(x), y).item()
    assert error > 0.9 * float(((y - torch.from_numpy(windows.y.mean(0))) ** 2).mean())


def test_it_overfits_one_batch():
    windows = Windows(8)
    net = build(windows, dropout=0, epochs=100, lr=5e-3, batch_size=8, passes=1)
    history = fit(net, windows)
    assert history[-1]["accuracy"] == 1
    assert history[-1]["masked"] < 0.05 * history[0]["masked"]


def test_the_same_seed_gives_the_same_network():
    windows = Windows()
    one, two = (build(windows, epochs=2) for _ in range(2))
    fit(one, windows)
    fit(two, windows)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_activity_is_a_row_a_channel_and_a_column_an_entry():
    windows = Windows()
    net = build(windows, eeg_eps="most")
    table = tokens.activity(net, CHANNELS)
    assert table.shape == (len(CHANNELS), len(net.eeg))
    assert list(table.index) == list(CHANNELS)
    np.testing.assert_allclose(table.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(table.std(axis=1, ddof=0), 1, atol=1e-6)
    with pytest.raises(ParameterError, match="no dictionary of EEG"):
        tokens.activity(build(windows, eeg_clusters=False))
