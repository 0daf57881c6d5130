"""EEG2Mel: the convolutional regressor from a picture of EEG to a spectrogram.

Table 1 of the paper, with what only its code shows (a second dense layer, batch normalisation around the pooling): for
periodogram → mel 9 831 784 trainable parameters, which a test asserts. Width, depth, dropout, L2 and the activation
are settings; the paper tried Swish and Mish and saw no advantage.

Ramirez-Aristizabal & Kello 2022, https://doi.org/10.48550/arXiv.2207.13845; notebook 03 shows it at work.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz.models.layers import ACTIVATIONS, InputScaling, SameConv2d, he_uniform, l2_penalty, scaling_for, start_at

EEG = "periodogram"
TASK = "regression"


class Config(BaseModel):
    """Settings of the regressor; the defaults are the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(8, ge=1, description="filters of the first convolution; doubled at each of the next")
    depth: int = Field(4, ge=1, le=6, description="convolutions of stride 1, before the one of stride 2")
    kernel: int = Field(4, ge=1, description="side of each convolution's kernel")
    units: int = Field(128, ge=1, description="units of the two dense layers")
    activation: Literal["relu", "swish", "mish"] = "relu"
    dropout: float = Field(0.1, ge=0, lt=1, description="after each convolution")
    dense_dropout: float = Field(0.15, ge=0, lt=1, description="after the first dense layer")
    l2: float = Field(0.0, ge=0, description="kernel penalty; the paper tried it and dropped it")
    scaling: Literal["none", "zscore", "log-zscore"] = Field("none", description="of the EEG; the code has none")
    mean_start: bool = Field(
        False, description="start from the mean training picture: output bias = mean, last kernel × .1 (our choice)"
    )
    lr: float = Field(1.5e-3, gt=0, description="Adam's learning rate")
    batch_size: int = Field(60, ge=2)
    epochs: int = Field(100, ge=1, description="the paper trained 100-300, until the loss was flat")
    patience: int = Field(20, ge=0, description="epochs without a better validation loss; 0 = never stop (our choice)")


# "eeg2mel" is the published recipe. On signals of realistic size it can die to a constant picture, so
# "eeg2mel-stable" is ours: logarithm and z-score of the input from training data, a mean start, a
# smaller step. "fast" shrinks the stable one to seconds on two cores, for the demonstration and tests.
_STABLE = {"scaling": "log-zscore", "mean_start": True, "lr": 5e-4, "batch_size": 32}
PRESETS = {
    "eeg2mel": {},
    "eeg2mel-stable": _STABLE,
    "fast": {**_STABLE, "width": 2, "depth": 2, "units": 64, "epochs": 8, "patience": 0, "lr": 1e-3},
}
DEFAULT_PRESET = "eeg2mel-stable"


class Regressor(nn.Module):
    """``(n, n_rows, n_channels)`` EEG pictures → ``(n, n_frames, n_bins)`` spectrograms."""

    def __init__(self, config, in_shape, out_shape):
        super().__init__()
        self.config = config
        self.out_shape = tuple(out_shape)
        # raw voltages have a sign: the logarithm is of power only, so they get the plain z-score
        self.scaling = InputScaling(config.scaling, in_shape)
        activation = ACTIVATIONS[config.activation]
        layers, n_in = [], 1
        for i in range(config.depth):
            n_out = config.width * 2**i
            layers += [
                SameConv2d(n_in, n_out, config.kernel),
                activation(),
                nn.BatchNorm2d(n_out),
                nn.Dropout(config.dropout),
            ]
            n_in = n_out
        n_out = config.width * 2**config.depth
        layers += [
            SameConv2d(n_in, n_out, config.kernel, stride=2),  # (n, 128, 32, 63) for a periodogram
            activation(),
            nn.ZeroPad2d(1),  # (n, 128, 34, 65)
            nn.BatchNorm2d(n_out),
            nn.MaxPool2d(2),  # (n, 128, 17, 32)
            nn.BatchNorm2d(n_out),
            nn.Dropout(config.dropout),
        ]
        self.body = nn.Sequential(*layers)
        n_flat = n_out * math.prod((-(-side // 2) + 2) // 2 for side in in_shape)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_flat, config.units),
            activation(),
            nn.BatchNorm1d(config.units),
            nn.Dropout(config.dense_dropout),
            nn.Linear(config.units, config.units),
            activation(),
            nn.BatchNorm1d(config.units),
        )
        self.last = nn.Linear(config.units, math.prod(out_shape))
        he_uniform(self)

    def fit_input(self, batches):
        """Fit the input scaling on training pictures."""
        self.scaling.fit(batches)

    def fit_output(self, mean):
        """Start at the mean training spectrogram, when the settings say so."""
        if self.config.mean_start:
            start_at(self.last, mean.reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.scaling(x).unsqueeze(1)  # (n, 1, n_rows, n_channels)
        x = self.last(self.head(self.body(x)))
        return x.float().view(-1, *self.out_shape)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error, plus the kernel penalty when there is one."""
        return F.mse_loss(output, target) + l2_penalty(self, self.config.l2)


def build(config, in_shape, out_shape):
    """A `Regressor` for EEG pictures of `in_shape` and spectrograms of `out_shape`."""
    return Regressor(config, in_shape, out_shape)


def features(config):
    """What the EEG pictures must hold beside their second: nothing."""
    return {}


def for_features(config, eeg):
    """The settings that fit the EEG features: raw voltages are z-scored without a logarithm, which needs power."""
    return scaling_for(config, eeg)
