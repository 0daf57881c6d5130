"""A diffusion transformer over frames and the ControlNet that steers it (for `eegviz.models.diffusion`).

*Backbone*: tokens are frames (of latents or of a spectrogram); every block is told the time of the noise through adaptive
layer normalisation whose gates start at zero, so that a new block changes nothing (Peebles & Xie 2023,
https://doi.org/10.48550/arXiv.2212.09748). It knows no EEG.

*ControlNet*: trainable copies of the first half of the blocks hear the condition, and what each copy says is added behind
its original through a linear layer that starts at zero (Zhang et al. 2023, https://doi.org/10.48550/arXiv.2302.05543; in
a transformer: Chen et al. 2024, https://doi.org/10.48550/arXiv.2401.05252). So a new ControlNet changes nothing either,
to the bit.

Classes: `Backbone`, `ControlNet`, `Condition`, `Block`, `NoiseTime`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz.models.attention import Attention, sinusoids

EXPANSION = 4  # hidden units of a block, in widths, as in Peebles & Xie
LONGEST = 10_000.0  # period of the slowest sinusoid of the noise time


@dataclass(frozen=True)
class Condition:
    """What steers the samples of n windows.

    Attributes
    ----------
    pooled : Tensor [shape=(n, dim)]
        One embedding of each window, of unit length.
    frames : Tensor [shape=(n, n_steps, dim)]
        Embeddings in time; as many steps as there are, they are interpolated to the tokens.
    listener : Tensor of int [shape=(n,)]
    has_frames : Tensor of bool [shape=(n,)]
        Where the course in time is told too.
    is_null : Tensor of bool [shape=(n,)]
        Where nothing is told: embeddings and listener are left out.
    """

    pooled: Tensor
    frames: Tensor
    listener: Tensor
    has_frames: Tensor
    is_null: Tensor

    def joined(self, other):
        """These windows, then those of `other`."""
        return Condition(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))

    def repeated(self, times):
        """All windows, `times` times over."""
        return Condition(*(part.repeat(times, *[1] * (part.ndim - 1)) for part in vars(self).values()))

    def nothing(self):
        """As many windows of which nothing is told."""
        return replace(self, is_null=torch.ones_like(self.is_null))


class Block(nn.Module):
    """Attention and a feed-forward layer, each scaled, shifted and gated by what the tokens are told."""

    def __init__(self, width, heads):
        super().__init__()
        self.own = Attention(width, heads)
        self.normed = nn.LayerNorm(width)
        self.hidden = nn.Sequential(
            nn.Linear(width, EXPANSION * width), nn.GELU(approximate="tanh"), nn.Linear(EXPANSION * width, width)
        )
        self.told = nn.Sequential(nn.SiLU(), zero_linear(width, 6 * width))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Tokens ``(n, n_tokens, width)`` and what they are told ``(n, width)`` → tokens."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.told(told)[:, None].chunk(6, -1)
        y = self.own.normed(x) * (1 + scale) + shift
        x = x + gate * self.own(y, self.own.keys(y))
        return x + gate_2 * self.hidden(self.normed(x) * (1 + scale_2) + shift_2)


class NoiseTime(nn.Module):
    """Steps of the noise ``(n,)`` → ``(n, width)``: sinusoids, then two layers."""

    def __init__(self, width):
        super().__init__()
        frequencies = torch.exp(-math.log(LONGEST) * torch.arange(width // 2) / (width // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angle = t.float()[:, None] * self.frequencies
        return self.layers(torch.cat([angle.cos(), angle.sin()], -1))


class Backbone(nn.Module):
    """``(n, n_tokens, dim)`` noisy frames and steps ``(n,)`` → what the denoiser is to say of them, ``(n, n_tokens, dim)``.

    Parameters
    ----------
    n_tokens, dim : int
        Frames and values of a frame.
    width, heads, blocks : int
        Units of a token (even), attention heads (they divide the width), blocks.
    """

    def __init__(self, n_tokens, dim, *, width, heads, blocks):
        super().__init__()
        self.tokens_in = nn.Linear(dim, width)
        self.time = NoiseTime(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.normed = nn.LayerNorm(width)
        self.told = nn.Sequential(nn.SiLU(), zero_linear(width, 2 * width))
        self.last = zero_linear(width, dim)
        self.register_buffer("positions", sinusoids(n_tokens, width), persistent=False)

    def enter(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the noisy frames, and what the time tells every block."""
        return self.tokens_in(z) + self.positions, self.time(t)

    def forward(self, z: Tensor, t: Tensor, control: ControlNet | None = None, condition: Condition | None = None):
        """Without a `control` the backbone alone, which knows no EEG."""
        x, told = self.enter(z, t)
        added = () if control is None else control(x, told, condition)
        for i, block in enumerate(self.blocks):
            x = block(x, told)
            if i < len(added):
                x = x + added[i]
        shift, scale = self.told(told)[:, None].chunk(2, -1)
        return self.last(self.normed(x) * (1 + scale) + shift)


class ControlNet(nn.Module):
    """Copies of the first half of a backbone's blocks, which hear the condition.

    The listener enters as a token of its own, frames of the condition are added to the tokens, the pooled embedding to the
    time of the noise; EEG and music share its entrance, as they share its space.

    Parameters
    ----------
    backbone : Backbone
    dim, frame_dim : int
        Of the pooled embedding, and of a frame of the condition.
    n_listeners : int
        Training listeners; one token more is for everybody else.
    """

    def __init__(self, backbone, dim, frame_dim, n_listeners):
        super().__init__()
        n, width = max(1, len(backbone.blocks) // 2), backbone.tokens_in.out_features
        self.blocks = copy.deepcopy(backbone.blocks[:n])
        self.joints = nn.ModuleList(zero_linear(width, width) for _ in range(n))
        self.pooled_in = nn.Linear(dim, width)
        self.frames_in = nn.Linear(frame_dim, width)
        self.listeners = nn.Embedding(n_listeners + 1, width)
        self.no_pooled, self.no_frames, self.no_listener = (nn.Parameter(torch.zeros(width)) for _ in range(3))

    def copy_from(self, backbone):
        """Begin with the weights that the backbone's blocks have now."""
        for own, theirs in zip(self.blocks, backbone.blocks, strict=False):
            own.load_state_dict(theirs.state_dict())

    def forward(self, x: Tensor, told: Tensor, condition: Condition) -> list[Tensor]:
        """What is added behind each of the backbone's first blocks, ``(n, n_tokens, width)`` each."""
        null = condition.is_null[:, None]
        pooled = self.pooled_in(condition.pooled * condition.pooled.shape[1] ** 0.5)  # of about unit variance
        pooled = torch.where(null, self.no_pooled.to(pooled.dtype), pooled)
        frames = F.interpolate(self.frames_in(condition.frames).mT, x.shape[1], mode="linear", align_corners=False).mT
        without = (condition.is_null | ~condition.has_frames)[:, None, None]
        frames = torch.where(without, self.no_frames.to(frames.dtype), frames)
        listener = torch.where(null, self.no_listener, self.listeners(condition.listener))
        x, told = torch.cat([listener[:, None].to(x.dtype), x + frames], 1), told + pooled
        added = []
        for block, joint in zip(self.blocks, self.joints, strict=True):
            x = block(x, told)
            added.append(joint(x[:, 1:]))
        return added


def zero_linear(n_in, n_out):
    """A linear layer that answers zero until it is trained.

    Examples
    --------
    >>> zero_linear(3, 2)(torch.ones(1, 3)).tolist()
    [[0.0, 0.0]]
    """
    layer = nn.Linear(n_in, n_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
