"""EEG2Mel-GAN: aligned EEG, common spatial patterns, a generator of spectrograms, and a discriminator that judges them.

From the page's figure: Euclidean alignment → CSP → generator → mel, with the losses ``L_rec``, ``L_adv(G; D)`` and
``L_adv(D; G)``. No paper text or code is public, so the layers follow its likely ancestor NeuroTalk: the generator is a
convolution, a bidirectional GRU, upsampling and multi-receptive-field residual blocks; the discriminator is three
downsampling convolutions and a bidirectional GRU with a head for real or generated and one for the song. NeuroTalk's are
also the loss weights, AdamW, 8 patterns a class, an embedding of about 16 steps (at 125 Hz; it has a step
every `stride` samples), kernels and dilations; other sizes,
the least-squares form of the adversarial loss and the squared reconstruction error are our choice. Spectrograms are by
default in NeuroTalk's layout too (``mel-80-db``: 87 frames of 80 bins a second), on the decibel scale of every other
model. Scores of pictures in different layouts are not comparable: for one table with the other models, and for their
song classifier, train with ``audio="mel-db"`` (``--audio mel-db``).

``adversarial=False`` trains the generator alone, the ablation that shows what the discriminator adds. What the two sides
make of each other is in the run's history: ``reconstruction``, ``adversarial``, ``song``, the discriminator's mean answers
``real`` (wants 1) and ``generated`` (wants 0), and ``spread``, the variation between generated pictures as a share of
that between true ones, with the dropout of training. Whether the trained generator answers everything alike
(`eegviz.scorecard.collapse`) is said by the evaluation of its predictions.

The page: "Reconstruction of perceived and imagined music from non-invasive EEG with generative adversarial networks";
NeuroTalk: Lee et al. 2023, https://doi.org/10.48550/arXiv.2301.07173; notebook 08.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from eegviz import sides
from eegviz.errors import ParameterError
from eegviz.models.layers import start_at
from eegviz.models.spatial import SpatialFilters

EEG = "raw"
AUDIO = "mel-80-db"  # NeuroTalk's layout, see eegviz.features.LAYOUTS; inferred, the page publishes none
TASK = "regression"
GROUPS = ("stimulus", "subject")  # the columns whose numbers of values the network is built for
MEMORY = 0.9  # of the running mean of the spread, in steps
SLOPE = 0.1  # of the leaky ReLU
POWER_FLOOR = 1e-3  # of a pattern's training variance, before the logarithm


class Config(BaseModel):
    """Settings of the GAN: NeuroTalk's where it has them, which is inferred for the page; the sizes are our choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(128, ge=2, description="channels of the generator after its GRU; halved at each upsampling")
    align: bool = Field(True, description="Euclidean alignment of each listener; else one reference for all")
    csp: int = Field(8, ge=0, description="spatial patterns of each song; 0 = the aligned channels")
    embedding: Literal["log-variance", "waveform"] = Field(
        "log-variance", description="of each pattern: its power, or its course as it is"
    )
    stride: int = Field(8, ge=1, description="EEG samples to a step of the embedding")
    upsampling: tuple[int, ...] = Field((2, 2), max_length=4, description="factors after the GRU")
    receptive_fields: tuple[int, ...] = Field((3, 7, 11), min_length=1, description="kernels of the residual blocks")
    dilations: tuple[int, ...] = Field((1, 3, 5), min_length=1, description="of the convolutions of each block")
    discriminator_width: int = Field(64, ge=1, description="channels of the discriminator's first convolution")
    dropout: float = Field(0.1, ge=0, lt=1, description="after the first convolution and the GRU")
    adversarial: bool = Field(True, description="without, the generator is trained alone")
    reconstruction_weight: float = Field(1.0, ge=0, description="of the mean squared error")
    adversarial_weight: float = Field(0.01, ge=0, description="of looking real")
    class_weight: float = Field(0.01, ge=0, description="of the song that the discriminator hears")
    penalty: Literal["none", "r1", "spectral"] = Field("r1", description="what keeps the discriminator smooth (ours)")
    r1: float = Field(1.0, ge=0, description="weight of half the squared gradient at true pictures")
    mean_start: bool = Field(True, description="start from the mean training spectrum: output bias = mean, kernel × .1")
    lr: float = Field(1e-4, gt=0, description="AdamW's learning rate, both sides")
    betas: tuple[float, float] = Field((0.8, 0.99), description="AdamW's")
    lr_decay: float = Field(0.999, gt=0, le=1, description="of the learning rate, each epoch")
    batch_size: int = Field(32, ge=2)
    epochs: int = Field(200, ge=1)
    patience: int = Field(0, ge=0, description="epochs without a better validation loss; 0 = never stop")


# "eeg2mel-gan" is named for the page; its loss weights and AdamW are NeuroTalk's. "generator" is the same without the
# discriminator. "fast" is ours, for two cores.
PRESETS = {
    "eeg2mel-gan": {},
    "generator": {"adversarial": False},
    "fast": {
        "width": 32,
        "csp": 4,
        "receptive_fields": (3, 7),
        "dilations": (1, 3),
        "discriminator_width": 16,
        "epochs": 6,
        "lr": 2e-3,
    },
}
DEFAULT_PRESET = "eeg2mel-gan"


class GAN(nn.Module):
    """``(n, n_times, n_channels)`` raw EEG → ``(n, n_frames, n_bins)`` spectrograms, and the discriminator beside it."""

    def __init__(self, config, in_shape, out_shape, groups):
        super().__init__()
        self.config = config
        n_classes, n_listeners = groups
        self.spatial = SpatialFilters(in_shape[1], n_classes, n_listeners, per_class=config.csp, align=config.align)
        self.generator = Generator(config, self.spatial.n_filters, out_shape)
        self.discriminator = Discriminator(config, out_shape[1], n_classes) if config.adversarial else None
        self.register_buffer("spread", torch.ones(()))
        self.logged = {}
        self._made = None

    def fit_view(self, view, classes):
        """Fit alignment and spatial patterns on the training side; `classes` are all songs."""
        view = sides.only_training(view, "alignment and common spatial patterns")
        self.spatial.fit(view, classes)

    def fit_output(self, mean):
        """Start at the mean training spectrum, when the settings say so."""
        if self.config.mean_start:
            start_at(self.generator.last, mean.mean(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.generator(self.spatial(x)).float()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error: the reconstruction term alone, which validation goes by."""
        return F.mse_loss(output, target)

    def optimizers(self):
        """AdamW for each side that is trained, in the order in which they learn from a batch."""
        settings = {"lr": self.config.lr, "betas": self.config.betas}
        parts = {"generator": self.generator}
        if self.discriminator is not None:
            parts = {"discriminator": self.discriminator} | parts
        return {name: torch.optim.AdamW(part.parameters(), **settings) for name, part in parts.items()}

    def training_loss(self, run, x: Tensor, y: Tensor, song: Tensor, *, part: str) -> Tensor:
        """The loss of one side; `run` computes ``forward``, and both sides see the same generated pictures.

        Parameters
        ----------
        run : callable
        x, y : Tensor
            EEG and true spectrograms.
        song : Tensor of int [shape=(n,)]
        part : {"discriminator", "generator"}
        """
        if part == "discriminator":
            self._made = run(x)
            return self._judging(y, song, self._made.detach())
        made = run(x) if self._made is None else self._made
        self._made = None
        reconstruction = self.loss(made, y)
        self._note(reconstruction=reconstruction)
        with torch.no_grad():
            share = made.std(0).mean() / y.std(0).mean().clamp_min(1e-12)
            self.spread.lerp_(share, 1 - MEMORY)
        self._note(spread=share)
        loss = self.config.reconstruction_weight * reconstruction
        if self.discriminator is None:
            return loss
        answer, named = self.discriminator(made)
        adversarial, of_song = ((answer - 1) ** 2).mean(), F.cross_entropy(named, song)
        self._note(adversarial=adversarial, song=of_song)
        return loss + self.config.adversarial_weight * adversarial + self.config.class_weight * of_song

    def _judging(self, y, song, made):
        """Loss of the discriminator: true pictures 1, generated 0, the song of true ones, and the gradient penalty."""
        with_penalty = self.config.penalty == "r1" and self.config.r1 > 0
        y = y.detach().requires_grad_(with_penalty)
        with torch.backends.cudnn.flags(enabled=not with_penalty):  # its GRU has no second derivative
            real, named = self.discriminator(y)
            generated, _ = self.discriminator(made)
            self._note(real=real.mean(), generated=generated.mean())
            loss = ((real - 1) ** 2).mean() + (generated**2).mean() + F.cross_entropy(named, song)
            if with_penalty:
                (gradient,) = torch.autograd.grad(real.sum(), y, create_graph=True)
                loss = loss + 0.5 * self.config.r1 * (gradient**2).sum((1, 2)).mean()
        return loss

    def _note(self, **values):
        self.logged |= {name: value.detach() for name, value in values.items()}

    def facts(self):
        """What the provenance of a run says about the balance: the spread at the end of training."""
        return {"spread": float(self.spread)}


class Generator(nn.Module):
    """``(n, n_filters, n_times)`` → ``(n, n_frames, n_bins)``: convolution, BiGRU, upsampling with residual blocks."""

    def __init__(self, config, n_filters, out_shape):
        super().__init__()
        self.n_frames, n_bins = out_shape
        self.embedding, self.stride, width = config.embedding, config.stride, config.width
        stride = 1 if config.embedding == "log-variance" else config.stride
        self.first = nn.Conv1d(n_filters, width, 2 * stride + 1, stride=stride, padding=stride)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = nn.GRU(width, -(-width // 2), batch_first=True, bidirectional=True)
        n_in, stages = 2 * -(-width // 2), []
        for factor in config.upsampling:
            n_out = max(n_in // 2, 2)
            stages.append(nn.Upsample(scale_factor=factor, mode="linear"))
            stages.append(nn.Conv1d(n_in, n_out, 3, padding=1))
            stages.append(ReceptiveFields(n_out, config.receptive_fields, config.dilations))
            n_in = n_out
        self.stages = nn.Sequential(*stages)
        self.last = nn.Linear(n_in, n_bins)  # of every frame

    def forward(self, x: Tensor) -> Tensor:
        if self.embedding == "log-variance":  # in windows of two steps; of unit variance in training, so 0 on average
            power = F.avg_pool1d(x**2, 2 * self.stride, self.stride, padding=self.stride, count_include_pad=False)
            x = torch.log(power + POWER_FLOOR)
        x = self.dropout(F.leaky_relu(self.norm(self.first(x)), SLOPE))  # (n, width, n_times / stride)
        states, _ = self.recurrent(x.mT)
        x = self.stages(self.dropout(states).mT)
        x = F.interpolate(x, self.n_frames, mode="linear", align_corners=True)
        return self.last(F.leaky_relu(x, SLOPE).mT)


class ReceptiveFields(nn.Module):
    """Mean of residual blocks of several kernels, each with dilated convolutions (HiFi-GAN's multi-receptive-field fusion)."""

    def __init__(self, width, kernels, dilations):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(width, width, kernel, dilation=dilation, padding="same") for dilation in dilations)
            for kernel in kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for block in self.blocks:
            y = x
            for convolution in block:
                y = y + convolution(F.leaky_relu(y, SLOPE))
            outputs.append(y)
        return torch.stack(outputs).mean(0)


class Discriminator(nn.Module):
    """``(n, n_frames, n_bins)`` → real or generated ``(n,)``, and the song ``(n, n_classes)``."""

    def __init__(self, config, n_bins, n_classes):
        super().__init__()
        smooth = spectral_norm if config.penalty == "spectral" else lambda layer: layer
        sizes = [n_bins] + [config.discriminator_width * 2**i for i in range(3)]
        self.down = nn.ModuleList(
            smooth(nn.Conv1d(n_in, n_out, 5, stride=2, padding=2))
            for n_in, n_out in zip(sizes, sizes[1:], strict=False)
        )
        self.recurrent = nn.GRU(sizes[-1], config.discriminator_width, batch_first=True, bidirectional=True)
        self.is_real = smooth(nn.Linear(2 * config.discriminator_width, 1))
        self.song = smooth(nn.Linear(2 * config.discriminator_width, n_classes))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x = y.mT
        for convolution in self.down:
            x = F.leaky_relu(convolution(x), SLOPE)  # each halves the frames
        states, _ = self.recurrent(x.mT)
        summary = states.mean(1)
        return self.is_real(summary)[:, 0], self.song(summary)


def build(config, in_shape, out_shape, groups):
    """A `GAN` for raw EEG of `in_shape`, spectrograms of `out_shape` and ``(n_songs, n_listeners)``."""
    return GAN(config, in_shape, out_shape, groups)


def features(config):
    """What the EEG pictures must hold beside their second: nothing."""
    return {}


def for_features(config, eeg):
    """The settings as they are; spatial filters need raw EEG and refuse spectra."""
    if eeg != "raw":
        raise ParameterError(f"gan filters raw EEG in space; found eeg={eeg!r}. Use --eeg raw.")
    return config
