from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from eegviz import sides
from eegviz.errors import DataError, ParameterError
from eegviz.models.layers import n_parameters
from eegviz.models.mel_autoencoder import MelAutoencoder, unique_seconds

OUT = (11, 8)


class Windows:
    """Two listeners who hear the same 20 seconds of a song whose pictures rise and fall in two bins."""

    def __init__(self, n=20, scale=1.0):
        rng = np.random.default_rng(0)
        level = rng.random((n, 2))
        self.seconds = np.zeros((n, *OUT), np.float32)
        self.seconds[:, :, 2], self.seconds[:, :, 5] = scale * level[:, :1], scale * level[:, 1:]
        self.table = pd.DataFrame(
            {"stimulus": "a", "second": np.tile(np.arange(n), 2), "subject": np.repeat(["S2", "S1"], n)}
        )

    def pictures(self, rows):
        return np.zeros((len(rows), 3, 2), np.float32)

    def target(self, rows):
        return self.seconds[self.table["second"].to_numpy()[rows]]

    def view(self, rows=None):
        rows = np.arange(len(self.table)) if rows is None else rows
        none = np.array([], int)
        return sides.training_view(self, SimpleNamespace(spec="random", train=rows, validation=none, test=none))


def fitted(epochs=60, seed=0, windows=None):
    net = MelAutoencoder(OUT, width=16, dim=4)
    return net.fit((windows or Windows()).view(), epochs=epochs, seed=seed)


@pytest.mark.parametrize(("out_shape", "n_latents"), [((44, 128), 11), ((87, 80), 22), ((176, 128), 44), ((5, 3), 2)])
def test_shapes(out_shape, n_latents):
    net, y = MelAutoencoder(out_shape, width=4, dim=6), torch.rand(2, *out_shape)
    z = net.encode(y)
    assert z.shape == (2, 6, n_latents)
    assert net.n_latents == n_latents
    assert net.decode(z).shape == y.shape == net(y).shape
    assert torch.equal(net.frames(y), z.mT)
    assert torch.allclose(net.embed(y), z.mean(2))


def test_distinct_seconds_are_taken_once_and_sorted():
    windows = Windows()
    once = unique_seconds(windows.view())
    assert windows.table.loc[once, "second"].tolist() == list(range(20))
    half = unique_seconds(windows.view(np.arange(30, 40)))  # positions in the training side, not in the table
    assert half.tolist() == list(range(10))


def test_it_learns_the_pictures():
    windows = Windows()
    net = fitted(epochs=300)
    y = torch.from_numpy(windows.seconds)
    assert float(net.error) == pytest.approx(float(((net(y) - y) ** 2).mean()), rel=1e-4)
    assert float(net.error) < 0.1 * float(y.var(0, correction=0).mean())


def test_latents_are_standard_over_the_training_pictures():
    z = fitted().encode(torch.from_numpy(Windows().seconds))
    assert torch.allclose(z.mean((0, 2)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(z.std((0, 2), correction=0), torch.ones(4), atol=1e-3)


def test_it_is_frozen_before_and_after():
    for net in (MelAutoencoder(OUT, width=4, dim=2), fitted(epochs=1)):
        assert n_parameters(net) == 0
        assert all(p.grad is None for p in net.parameters())


def test_the_seed_decides_and_the_global_generator_does_not():
    torch.manual_seed(1)
    first = fitted(epochs=3).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    net = MelAutoencoder(OUT, width=16, dim=4)
    state = torch.get_rng_state()
    again = net.fit(Windows().view(), epochs=3, seed=0).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = fitted(epochs=3, seed=1).state_dict()
    assert not torch.equal(first["encoder.0.weight"], other["encoder.0.weight"])


def test_it_is_fitted_on_the_training_side_only():
    windows = Windows()
    net = MelAutoencoder(OUT, width=4, dim=2)
    with pytest.raises(ParameterError, match="the autoencoder of the music is fitted on training windows only"):
        net.fit(windows, epochs=1, seed=0)
    found = []
    for poison in (1.0, 50.0):
        windows.seconds[15:] *= poison
        found.append(
            MelAutoencoder(OUT, width=4, dim=2).fit(windows.view(np.arange(15)), epochs=2, seed=0).state_dict()
        )
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ParameterError, match="needs one epoch or more, found 0"):
        fitted(epochs=0)
    windows = Windows()
    windows.seconds[3] = np.nan
    with pytest.raises(DataError, match="the autoencoder of the music diverged.*over 20 training seconds is nan"):
        fitted(epochs=1, windows=windows)
