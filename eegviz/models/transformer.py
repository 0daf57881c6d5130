"""Transformer of the replication study: an encoder over the EEG, a causal decoder that writes the spectrogram frame by frame.

Everything that the study lists is here, each as a setting: sinusoidal positions (`positions`), the causal mask
(`causal_mask`), teacher forcing (`teacher_forcing`, the share of true frames that the decoder is fed at first),
scheduled sampling (`schedule`, how that share falls to `teacher_forcing_end`), autoregressive decoding (`decoding`), the encoder's output
interpolated to the decoder's length (`interpolate`) and the zero start (`start`). All sizes were tuned and none published.

A decoder that is fed the true previous frames solves another, easier task than reconstruction from EEG: it continues
music. So ``net(x)`` always decodes **freely**, from the EEG alone; what true frames would give is only to be had from
`Transformer.forced`, and `frame_errors` shows one against the other. The study's transformer failed when decoding freely.

Functions: `build`, `frame_errors`, `forced_pictures`, `truth_share`.

Vaswani et al. 2017, https://doi.org/10.48550/arXiv.1706.03762; scheduled sampling: Bengio et al. 2015,
https://doi.org/10.48550/arXiv.1506.03099; the study: Bakirci, Cam, Hassan & Mohammed-Paige (USC); notebook 07.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz.errors import ParameterError
from eegviz.features import frame_times
from eegviz.models.attention import Attention, FeedForward, sinusoids
from eegviz.models.layers import InputScaling, scaling_for, start_at

EEG = "periodogram"
TASK = "regression"
SIGMOID_STEEPNESS = 10.0  # of the inverse sigmoid: .993 at the start, .5 in the middle, .007 at the end
EXPONENTIAL_END = 1e-2  # what the exponential has fallen to at the end, before it is stretched to reach the end exactly


class Config(BaseModel):
    """Settings of the transformer. Published are the techniques; every number is our choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(128, ge=2, description="d_model: units of every token; even")
    heads: int = Field(4, ge=1, description="attention heads; they divide the width")
    encoder_layers: int = Field(2, ge=1, le=12)
    decoder_layers: int = Field(2, ge=1, le=12)
    feed_forward: int = Field(256, ge=1, description="units of the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="of attention weights and of every layer's output")
    positions: Literal["sinusoidal", "none"] = Field("sinusoidal", description="added to EEG rows and to frames")
    causal_mask: bool = Field(
        True, description="a frame attends to earlier ones only; without, a forced frame sees its own truth"
    )
    decoding: Literal["autoregressive", "parallel"] = Field(
        "autoregressive", description="frames one by one, each fed back; or all at once from start frames only"
    )
    teacher_forcing: float = Field(
        1.0, ge=0, le=1, description="share of true frames fed to the decoder in the first epoch of training"
    )
    teacher_forcing_end: float = Field(0.0, ge=0, le=1, description="the same in the last epoch")
    schedule: Literal["constant", "linear", "exponential", "sigmoid"] = Field(
        "linear", description="how the share goes from first to last; constant stays at the first"
    )
    interpolate: bool = Field(True, description="the encoder's output is interpolated to the number of frames")
    start: Literal["zeros", "mean"] = Field("zeros", description="the frame before the first")
    scaling: Literal["none", "zscore", "log-zscore"] = Field("log-zscore", description="of the EEG")
    mean_start: bool = Field(True, description="start from the mean training spectrum: output bias = mean, kernel × .1")
    lr: float = Field(5e-4, gt=0, description="Adam's learning rate")
    batch_size: int = Field(32, ge=2)
    epochs: int = Field(100, ge=1)
    patience: int = Field(0, ge=0, description="epochs without a better validation loss; 0 = never stop")

    @field_validator("width")
    @classmethod
    def _even(cls, width):
        if width % 2:
            raise ValueError("sinusoidal positions need an even width")
        return width

    @model_validator(mode="after")
    def _fits(self):
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the width {self.width}")
        if self.decoding == "parallel" and self.teacher_forcing:
            raise ValueError("parallel decoding is fed no frames, so teacher_forcing must be 0")
        return self


# "usc" is named for the study and has all that it lists; it publishes no size, so all numbers are ours (see Config).
# "usc-forced" trains with true frames to the end, the cause of failure that the study names. "fast" is ours, for two cores.
PRESETS = {
    "usc": {},
    "usc-forced": {"schedule": "constant"},
    "fast": {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 64, "epochs": 6, "lr": 2e-3},
}
DEFAULT_PRESET = "usc"


class Transformer(nn.Module):
    """``(n, n_rows, n_channels)`` EEG pictures → ``(n, n_frames, n_bins)`` spectrograms, decoded freely.

    Each row of the picture is a token of the encoder. The layers are normalised before attention, not after, which trains
    without a warm-up (our choice).
    """

    def __init__(self, config, in_shape, out_shape):
        super().__init__()
        self.config = config
        n_rows, n_channels = in_shape
        self.n_frames, self.n_bins = out_shape
        self.scaling = InputScaling(config.scaling, in_shape)
        self.rows_in = nn.Linear(n_channels, config.width)
        self.frames_in = nn.Linear(self.n_bins, config.width)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.last = nn.Linear(config.width, self.n_bins)
        with_positions = config.positions == "sinusoidal"
        for name, n in (("row_positions", n_rows), ("frame_positions", self.n_frames)):
            table = sinusoids(n, config.width) if with_positions else torch.zeros(n, config.width)
            self.register_buffer(name, table, persistent=False)
        self.register_buffer("first", torch.zeros(self.n_bins))
        self.share = truth_share(config, 0)

    def fit_input(self, batches):
        """Fit the input scaling on training pictures."""
        self.scaling.fit(batches)

    def fit_output(self, mean):
        """Start at the mean training spectrum, and feed it as the first frame, when the settings say so."""
        if self.config.mean_start:
            start_at(self.last, mean.mean(0))
        if self.config.start == "mean":
            self.first.copy_(mean.mean(0))

    def begin_epoch(self, epoch):
        """Set the share of true frames for the training epoch `epoch`, which counts from 0."""
        self.share = truth_share(self.config, epoch)

    def forward(self, x: Tensor, *, teacher: Tensor | None = None, share: float = 1.0) -> Tensor:
        """Decode freely; with a `teacher` ``(n, n_frames, n_bins)`` only in training and in `forced`.

        Parameters
        ----------
        x : Tensor [shape=(n, n_rows, n_channels)]
        teacher : Tensor, optional
            True spectrograms, of which each frame is fed to the decoder with probability `share`, else its own output.
        share : float in [0, 1]
        """
        memory = self.encode(x)
        if self.config.decoding == "parallel":
            return self._decode(self.first.expand(len(x), self.n_frames, -1), memory).float()
        if teacher is None:
            return self._write(memory)[0]
        if share < 1:
            # Bengio et al. feed an output back without its gradient, so what is fed can be drawn first and learned at once
            with torch.no_grad():
                own, is_true = self._write(memory, teacher, share)
            teacher = torch.where(is_true, teacher, own)
        fed = torch.cat([self.first.expand(len(x), 1, -1), teacher[:, :-1].to(self.first.dtype)], 1)
        return self._decode(fed, memory).float()

    def forced(self, x: Tensor, y: Tensor) -> Tensor:
        """**Teacher-forced** output: every frame is decoded from the true frames before it. No reconstruction from EEG.

        Parameters
        ----------
        x : Tensor [shape=(n, n_rows, n_channels)]
        y : Tensor [shape=(n, n_frames, n_bins)]
            The truth.

        Raises
        ------
        ParameterError
            The decoder is fed nothing (parallel decoding).
        """
        if self.config.decoding == "parallel":
            raise ParameterError("parallel decoding is fed no frames, so there is no teacher-forced output.")
        return self(x, teacher=y)

    def encode(self, x: Tensor) -> Tensor:
        """What the decoder attends to: ``(n, n_frames, width)``, or ``(n, n_rows, width)`` when not interpolated."""
        tokens = self.dropout(self.rows_in(self.scaling(x)) + self.row_positions)
        for layer in self.encoder:
            tokens = layer(tokens)
        tokens = self.encoder_norm(tokens)
        if self.config.interpolate:
            tokens = F.interpolate(tokens.mT, self.n_frames, mode="linear", align_corners=True).mT
        return tokens

    def _decode(self, fed, memory):
        """All frames at once from the frames that are fed, ``(n, n_frames, n_bins)``."""
        tokens = self.dropout(self.frames_in(fed) + self.frame_positions)
        for layer in self.decoder:
            tokens = layer(tokens, layer.source.keys(memory), causal=self.config.causal_mask)
        return self.last(self.decoder_norm(tokens))

    def _write(self, memory, teacher=None, share=0.0):
        """Frame by frame: the outputs, and which frames of the teacher were fed on ``(n, n_frames, 1)``.

        What earlier frames give to attention is kept, so that each step computes one frame only.
        """
        n = len(memory)
        sources = [layer.source.keys(memory) for layer in self.decoder]
        pasts = [None] * len(self.decoder)
        is_true = torch.rand(n, self.n_frames, 1, device=memory.device) < share
        frame, frames = self.first.expand(n, -1), []
        for t in range(self.n_frames):
            token = self.dropout(self.frames_in(frame) + self.frame_positions[t]).unsqueeze(1)
            for i, layer in enumerate(self.decoder):
                token, pasts[i] = layer.step(token, sources[i], pasts[i])
            frame = self.last(self.decoder_norm(token))[:, 0].float()
            frames.append(frame)
            if teacher is not None:
                frame = torch.where(is_true[:, t], teacher[:, t], frame)
        return torch.stack(frames, 1), is_true

    def training_loss(self, run, x: Tensor, y: Tensor, *, part: str = "") -> Tensor:
        """The loss that training minimises, with the epoch's share of true frames; `run` computes ``forward``."""
        if self.config.decoding == "parallel":
            return self.loss(run(x), y)
        return self.loss(run(x, teacher=y, share=self.share), y)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error; validation has it of the free output."""
        return F.mse_loss(output, target)


class EncoderLayer(nn.Module):
    """Self-attention over all tokens, then a feed-forward layer; each added to what came in."""

    def __init__(self, config):
        super().__init__()
        self.own = Attention(config.width, config.heads, dropout=config.dropout)
        self.forward_layer = FeedForward(config.width, config.feed_forward, dropout=config.dropout)

    def forward(self, x):
        own = self.own.normed(x)
        x = x + self.own(own, self.own.keys(own))
        return x + self.forward_layer(x)


class DecoderLayer(nn.Module):
    """Self-attention over earlier frames, attention to the EEG, then a feed-forward layer; each added to what came in."""

    def __init__(self, config):
        super().__init__()
        self.own = Attention(config.width, config.heads, dropout=config.dropout)
        self.source = Attention(config.width, config.heads, dropout=config.dropout)
        self.forward_layer = FeedForward(config.width, config.feed_forward, dropout=config.dropout)

    def forward(self, x, source, *, causal):
        own = self.own.normed(x)
        x = x + self.own(own, self.own.keys(own), causal=causal)
        return self._rest(x, source)

    def step(self, x, source, past):
        """One frame ``(n, 1, width)``, after the frames whose keys are `past`; returns it and the keys with its own."""
        own = self.own.normed(x)
        keys = self.own.keys(own)
        if past is not None:
            keys = tuple(torch.cat(pair, 2) for pair in zip(past, keys, strict=True))
        return self._rest(x + self.own(own, keys), source), keys

    def _rest(self, x, source):
        x = x + self.source(self.source.normed(x), source)
        return x + self.forward_layer(x)


def truth_share(config, epoch) -> float:
    """Share of true frames fed to the decoder in the training epoch `epoch`, which counts from 0.

    Parameters
    ----------
    config : Config
    epoch : int

    Examples
    --------
    >>> [round(truth_share(Config(epochs=5), epoch), 2) for epoch in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    >>> [round(truth_share(Config(epochs=5, schedule="exponential"), epoch), 2) for epoch in range(5)]
    [1.0, 0.31, 0.09, 0.02, 0.0]
    >>> [round(truth_share(Config(epochs=5, schedule="sigmoid"), epoch), 2) for epoch in range(5)]
    [1.0, 0.93, 0.5, 0.07, 0.0]
    """
    first, last = config.teacher_forcing, config.teacher_forcing_end
    if config.schedule == "constant":
        return first
    done = min(epoch / max(config.epochs - 1, 1), 1.0)
    left = {
        "linear": lambda t: 1 - t,
        "exponential": lambda t: EXPONENTIAL_END**t,
        "sigmoid": lambda t: 1 / (1 + math.exp(SIGMOID_STEEPNESS * (t - 0.5))),
    }[config.schedule]
    high, low = left(0.0), left(1.0)
    return last + (first - last) * (left(done) - low) / (high - low)


def frame_errors(net, blocks) -> pd.DataFrame:
    """Mean squared error of each decoded frame, teacher-forced against free.

    An error that grows from frame to frame in free decoding and not in forced decoding is the accumulation that the
    study saw: the decoder learned to continue true music and is fed its own.

    Parameters
    ----------
    net : Transformer
        Trained, as `eegviz.runs.Run.network` returns it.
    blocks : iterable of (x, y)
        EEG pictures ``(n, n_rows, n_channels)`` and true spectrograms ``(n, n_frames, n_bins)``.

    Returns
    -------
    pandas.DataFrame
        One row a frame: frame (from 0), seconds (of its centre), forced, free. Draw it with `eegviz.plots.curves`.

    Raises
    ------
    ParameterError
        No windows, or a network that decodes in parallel.

    Examples
    --------
    >>> config = Config(width=4, heads=1, encoder_layers=1, decoder_layers=1, feed_forward=4)
    >>> _ = torch.manual_seed(0)
    >>> x, y = np.ones((2, 6, 3), np.float32), np.ones((2, 5, 8), np.float32)
    >>> table = frame_errors(build(config, (6, 3), (5, 8)), [(x, y)])
    >>> list(table), len(table), bool(abs(table["forced"][0] - table["free"][0]) < 1e-6)
    (['frame', 'seconds', 'forced', 'free'], 5, True)
    """
    net.eval()
    n, sums = 0, {"forced": 0.0, "free": 0.0}
    with torch.inference_mode():
        for x, y in _tensors(blocks):
            for name, output in (("forced", net.forced(x, y)), ("free", net(x))):
                sums[name] = sums[name] + ((output - y).double() ** 2).mean(2).sum(0).numpy()
            n += len(x)
    frames = np.arange(net.n_frames)
    return pd.DataFrame({"frame": frames, "seconds": frame_times(net.n_frames)} | {k: v / n for k, v in sums.items()})


def forced_pictures(net, blocks) -> np.ndarray:
    """**Teacher-forced** spectrograms: what true frames, and not the EEG alone, let the decoder write.

    Parameters
    ----------
    net, blocks
        As of `frame_errors`.

    Returns
    -------
    np.ndarray [shape=(n, n_frames, n_bins)], float32
    """
    net.eval()
    with torch.inference_mode():
        return np.concatenate([net.forced(x, y).numpy() for x, y in _tensors(blocks)])


def _tensors(blocks):
    n = 0
    for n, block in enumerate(blocks, 1):  # noqa: B007
        yield tuple(torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in block)
    if not n:
        raise ParameterError("the transformer's frames are decoded of one window or more; found none.")


def build(config, in_shape, out_shape):
    """A `Transformer` for EEG pictures of `in_shape` and spectrograms of `out_shape`."""
    return Transformer(config, in_shape, out_shape)


def features(config):
    """What the EEG pictures must hold beside their second: nothing."""
    return {}


def for_features(config, eeg):
    """The settings that fit the EEG features: raw voltages are z-scored without a logarithm."""
    return scaling_for(config, eeg)
