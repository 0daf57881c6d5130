"""Parts of the token model: entries of a dictionary as a layer, tokens, and the sequences that translate them.

Shapes: `n` windows of `n_steps` steps, each token of `width` units. A pair of sequences has ``encode(tokens) -> memory``
(EEG) and ``decode(tokens, memory) -> hidden`` (audio), all ``(n, n_steps, width)``.

Classes: `Entries`, `BandEntropy`, `Convolution`, `Tokens`, `TransformerPair`, `RecurrentPair`, `ConvolutionPair`;
functions: `received`, `mask_steps`, `most_certain`, `weighted_losses`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz.features import BANDS, DE_FLOOR, band_weights
from eegviz.models.attention import sinusoids
from eegviz.models.transformer import DecoderLayer, EncoderLayer

RECURRENT_LAYERS = 2  # at most, whatever the depth: deeper recurrent layers do not train (our choice)
SUMMARY = ("noise", "agreement", "eps", "points", "points_total")  # of a dictionary, kept beside its entries


class Entries(nn.Module):
    """Standardisation of features and the entries of a dictionary; `discrete` says whether there are any.

    Parameters
    ----------
    n_features, components : int
        Length of a feature vector; principal components that distances are taken on, 0 for all features.
    picture : tuple, optional
        Shape of an entry's representative picture; none is kept without.
    discrete : bool
        Without, a vector is the standardised features themselves, and there are no entries.
    """

    def __init__(self, n_features, *, components, picture=None, discrete=True):
        super().__init__()
        self.discrete = discrete
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        if discrete:
            n_components = min(components or n_features, n_features)
            self.register_buffer("components", torch.zeros(n_features, n_components))
            self.register_buffer("vectors", torch.zeros(2, n_features))
            self.register_buffer("pictures", torch.zeros(2, *picture) if picture else None)
            self.register_buffer("summary", torch.zeros(len(SUMMARY), dtype=torch.float64))

    def __len__(self):
        return len(self.vectors) if self.discrete else 0

    def resize(self, n):
        """Make room for `n` entries."""
        self.vectors = self.vectors.new_zeros(n, *self.vectors.shape[1:])
        if self.pictures is not None:
            self.pictures = self.pictures.new_zeros(n, *self.pictures.shape[1:])

    def fill(self, made):
        """Take the entries of an `eegviz.dictionary.Dictionary`."""
        self.resize(len(made))
        self.fill_scale(made.mean, made.scale)
        self.components.copy_(torch.from_numpy(made.components))
        self.vectors.copy_(torch.from_numpy((made.centroids - made.mean) * made.scale))
        if self.pictures is not None:
            self.pictures.copy_(torch.from_numpy(made.pictures))
        facts = made.facts()
        self.summary.copy_(torch.tensor([float(facts[name]) for name in SUMMARY]))

    def fill_scale(self, mean, scale):
        """Take the standardisation of features."""
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(scale))

    def standard(self, features: Tensor) -> Tensor:
        """Standardised features, the same shape."""
        return (features - self.mean) * self.scale

    def nearest(self, features: Tensor) -> Tensor:
        """Number of the nearest entry: ``(…, n_features)`` → ``(…,)``."""
        centres = self.vectors @ self.components  # (n_entries, n_components)
        projected = self.standard(features) @ self.components
        return ((centres**2).sum(1) - 2 * projected @ centres.T).argmin(-1)

    def vector(self, features: Tensor) -> Tensor:
        """What a token is made of: the nearest entry's standardised centroid, or the standardised features."""
        return self.vectors[self.nearest(features)] if self.discrete else self.standard(features)

    def facts(self, prefix):
        """The dictionary's size, noise and eps by name, none without entries."""
        if not self.discrete:
            return {}
        found = {"entries": len(self)} | dict(zip(SUMMARY, self.summary.tolist(), strict=True))
        whole = ("entries", "points", "points_total")
        return {f"{prefix}_{name}": int(value) if name in whole else value for name, value in found.items()}


class BandEntropy(nn.Module):
    """``(…, n_times, n_channels)`` EEG in µV → ``(…, n_bands * n_channels)``: `eegviz.features.differential_entropy`.

    The few frequencies that bands hold are one matrix product, which is faster than a transform of all.
    """

    def __init__(self, n_times, sfreq, bands):
        super().__init__()
        taper, weights = band_weights(n_times, sfreq=sfreq, bands={name: BANDS[name] for name in bands})
        used = np.flatnonzero(weights.any(0))
        waves = taper * np.exp(-2j * np.pi * used[:, None] * np.arange(n_times) / n_times)  # (n_used, n_times)
        waves = np.concatenate([waves.real, waves.imag])
        waves -= waves.mean(1, keepdims=True)  # as if the mean of the signal were removed
        self.register_buffer("waves", torch.from_numpy(waves).float(), persistent=False)
        self.register_buffer("weights", torch.from_numpy(np.tile(weights[:, used], 2)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        variance = self.weights @ (self.waves @ x) ** 2  # (…, n_bands, n_channels)
        return (0.5 * torch.log(2 * math.pi * math.e * variance.clamp_min(DE_FLOOR))).flatten(-2)


class Convolution(nn.Module):
    """Features of raw steps ``(n, n_steps, length, n_in)`` → ``(n, n_steps, width)``.

    A convolution over channels (or bins) at each moment, then two along the length, and their mean.
    """

    def __init__(self, n_in, width):
        super().__init__()
        self.across = nn.Linear(n_in, width)  # one moment long
        self.along = nn.Sequential(
            nn.Conv1d(width, width, 7, stride=3, padding=3),
            nn.GroupNorm(1, width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.ReLU(),
        )

    def forward(self, steps: Tensor) -> Tensor:
        x = self.across(steps).flatten(0, 1).mT  # (n * n_steps, width, length)
        return self.along(x).mean(-1).unflatten(0, steps.shape[:2])


class Tokens(nn.Module):
    """Vectors with positions (the document's ``F_space``), joined with convolutional features of the raw steps.

    Joined means: laid side by side and mixed by a linear layer (our choice).
    """

    def __init__(self, n_features, n_in, n_steps, width, *, convolution):
        super().__init__()
        self.vector = nn.Linear(n_features, width)
        self.register_buffer("positions", sinusoids(n_steps, width), persistent=False)
        self.convolution = Convolution(n_in, width) if convolution else None
        self.join = nn.Linear(2 * width, width) if convolution else None

    def forward(self, vectors: Tensor, steps: Tensor) -> Tensor:
        space = self.vector(vectors) + self.positions
        if self.convolution is None:
            return space
        return self.join(torch.cat([space, self.convolution(steps)], -1))


class TransformerPair(nn.Module):
    """Encoder and decoder of `depth` layers each; every audio step sees every other and all EEG."""

    def __init__(self, config):
        super().__init__()
        self.feature_mask = config.feature_mask
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)

    def encode(self, tokens: Tensor) -> Tensor:
        for layer in self.encoder[:-1]:
            tokens = layer(tokens)
        last = self.encoder[-1]
        memory = self.encoder_norm(last(tokens))
        if not self.feature_mask:
            return memory
        share = received(last.own, tokens)  # (n, n_steps)
        return memory * (share.shape[1] * share).unsqueeze(-1)

    def decode(self, tokens: Tensor, memory: Tensor) -> Tensor:
        for layer in self.decoder:
            tokens = layer(tokens, layer.source.keys(memory), causal=False)
        return self.decoder_norm(tokens)


class RecurrentPair(nn.Module):
    """Bidirectional recurrent layers on either side; the audio side reads the EEG side's output of the same step."""

    def __init__(self, config, cell):
        super().__init__()
        layers = min(config.depth, RECURRENT_LAYERS)
        options = {
            "num_layers": layers, "batch_first": True, "bidirectional": True,
            "dropout": config.dropout if layers > 1 else 0.0,
        }  # fmt: skip
        self.encoder = cell(config.width, config.width // 2, **options)
        self.decoder = cell(2 * config.width, config.width // 2, **options)

    def encode(self, tokens: Tensor) -> Tensor:
        return self.encoder(tokens)[0]

    def decode(self, tokens: Tensor, memory: Tensor) -> Tensor:
        return self.decoder(torch.cat([tokens, memory], -1))[0]


class ConvolutionPair(nn.Module):
    """Residual convolutions over three steps on either side; the audio side reads the EEG side's output of the same step."""

    def __init__(self, config):
        super().__init__()
        width = config.width
        self.join = nn.Linear(2 * width, width)
        for name in ("encoder", "decoder"):
            blocks = (
                nn.Sequential(
                    nn.GroupNorm(1, width), nn.Conv1d(width, width, 3, padding=1), nn.ReLU(), nn.Dropout(config.dropout)
                )
                for _ in range(config.depth)
            )
            setattr(self, name, nn.ModuleList(blocks))

    def encode(self, tokens: Tensor) -> Tensor:
        return _residual(self.encoder, tokens)

    def decode(self, tokens: Tensor, memory: Tensor) -> Tensor:
        return _residual(self.decoder, self.join(torch.cat([tokens, memory], -1)))


def _residual(blocks, tokens):
    x = tokens.mT
    for block in blocks:
        x = x + block(x)
    return x.mT


def received(attention, x: Tensor) -> Tensor:
    """Attention that each token receives in a self-attention layer, mean over heads and queries: ``(n, n_tokens)``, sums to 1.

    Parameters
    ----------
    attention : eegviz.models.attention.Attention
    x : Tensor [shape=(n, n_tokens, width)]
        What goes into the layer, before its normalisation.
    """
    x = attention.normed(x)
    query = attention.query(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    key, _ = attention.keys(x)
    scores = (query @ key.mT).float() / math.sqrt(query.shape[-1])
    return scores.softmax(-1).mean((1, 2))


def mask_steps(n, n_steps, low, high, *, device="cpu") -> Tensor:
    """Which steps are masked, ``(n, n_steps)``: of each window a share between `low` and `high`, one step or more."""
    share = low + (high - low) * torch.rand(n, 1, device=device)
    wanted = (share * n_steps).ceil().clamp(1, n_steps)
    return torch.rand(n, n_steps, device=device).argsort(1).argsort(1) < wanted


def most_certain(probabilities: Tensor, n_kept) -> Tensor:
    """The `n_kept` steps of each window whose most probable entry is the most probable: bool ``(n, n_steps)``.

    Of equals the earlier step is kept.
    """
    order = probabilities.amax(-1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(1) < n_kept


def weighted_losses(losses: Tensor, masked: Tensor, alpha) -> tuple[Tensor, Tensor, Tensor]:
    """Equation 13: ``(1 - α) L_masked + α L_unmasked``, each the mean over its steps (0 without any), and the two.

    Parameters
    ----------
    losses : Tensor [shape=(n, n_steps)]
        ``-log p`` of the true entry; equation 14 prints it without the minus sign.
    masked : Tensor of bool [shape=(n, n_steps)]
    alpha : float in [0, 1]

    Examples
    --------
    >>> losses, masked = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[True, True, False]])
    >>> [round(float(part), 2) for part in weighted_losses(losses, masked, 0.1)]
    [1.95, 1.5, 6.0]
    """
    of_masked, of_others = (
        (losses * which).sum() / which.sum().clamp_min(1)
        for which in (masked.to(losses.dtype), (~masked).to(losses.dtype))
    )
    return (1 - alpha) * of_masked + alpha * of_others, of_masked, of_others


def pair(config):
    """The pair of sequences that the settings name."""
    if config.sequence == "transformer":
        return TransformerPair(config)
    if config.sequence == "cnn":
        return ConvolutionPair(config)
    return RecurrentPair(config, {"rnn": nn.RNN, "lstm": nn.LSTM}[config.sequence])


def pooled(steps: Tensor) -> Tensor:
    """Features of audio steps ``(…, n_frames, n_bins)``: means of up to 2 × 32 parts, ``(…, n_parts)``."""
    shape = min(2, steps.shape[-2]), min(32, steps.shape[-1])
    return F.adaptive_avg_pool2d(steps.flatten(0, -3).unsqueeze(1), shape).flatten(1).unflatten(0, steps.shape[:-2])
