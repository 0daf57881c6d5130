"""Attention for sequences ``(n, n_tokens, width)``: queries, and the keys and values of what they look at, kept apart.

Keeping them apart lets a decoder compute the keys of its source once, and those of earlier frames only once each.

Classes: `Attention`, `FeedForward`; function: `sinusoids`.

Vaswani et al. 2017, "Attention is all you need", https://doi.org/10.48550/arXiv.1706.03762.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Scaled dot-product attention in several heads, with the normalisation of its queries.

    Parameters
    ----------
    width : int
        Units of a token.
    heads : int
        They divide the width.
    dropout : float
        Of the attention weights and of the output.
    """

    def __init__(self, width, heads, *, dropout=0.0):
        super().__init__()
        self.heads = heads
        self.weights_dropout = dropout
        self.normed = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def keys(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the tokens ``(n, n_tokens, width)``: two of ``(n, heads, n_tokens, width / heads)``."""
        return tuple(self._heads(part) for part in self.key_value(source).chunk(2, -1))

    def forward(self, x: Tensor, keys: tuple[Tensor, Tensor], *, causal: bool = False) -> Tensor:
        """Attention of the (normalised) tokens `x` to what `keys` were made of; `causal`: not to later ones."""
        dropout = self.weights_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(self._heads(self.query(x)), *keys, dropout_p=dropout, is_causal=causal)
        return self.dropout(self.out(y.transpose(1, 2).flatten(2)))

    def _heads(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Normalisation, a hidden layer of `units`, and back to the width."""

    def __init__(self, width, units, *, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, units), nn.ReLU(), nn.Linear(units, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def sinusoids(n, width) -> Tensor:
    """Sinusoidal positions: ``sin(t / 10000^(2i / width))`` at even places, the cosine at odd ones.

    Parameters
    ----------
    n : int
        Positions.
    width : int
        Even.

    Returns
    -------
    Tensor [shape=(n, width)]

    Examples
    --------
    >>> sinusoids(2, 4).round(decimals=3).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.841..., 0.540..., 0.00999..., 1.0]]
    """
    angle = torch.arange(n)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
