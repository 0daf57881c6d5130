"""What the two recurrent models of the replication study share: their settings, convolutions and recurrent layers.

A picture of EEG ``(n_rows, n_channels)`` goes through convolutions and pooling; what is left is read as a sequence
whose steps are the rows (time for raw EEG, frequency for a spectrum) and whose features are filters × channels. The
models are `eegviz.models.rcnn` and `eegviz.models.encoder_decoder`.

The study names the layers that it varied (filters, kernels, pooling, LSTM layers and units) and publishes none of their
sizes, so every number here is our choice.

Bakirci, Cam, Hassan & Mohammed-Paige, "Reconstructing Sound From Brain Responses To Music Stimuli" (USC).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from eegviz.models.layers import ACTIVATIONS, SameConv2d

POOLING = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Settings(BaseModel):
    """Settings of both models. Published are the kinds of layers only; the sizes are our choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(32, ge=1, description="filters of the first convolution; doubled at each of the next")
    depth: int = Field(2, ge=1, le=5, description="convolutions")
    kernel: int = Field(3, ge=1, description="side of each convolution's kernel")
    pooling: Literal["max", "average", "none"] = Field("max", description="after each convolution")
    pool: int = Field(
        2, ge=1, description="side of each pooling; a side of the picture that is shorter is pooled whole"
    )
    activation: Literal["relu", "swish", "mish"] = "relu"
    cell: Literal["lstm", "gru"] = "lstm"
    layers: int = Field(1, ge=1, le=4, description="recurrent layers; of the encoder, where there are two sides")
    units: int = Field(256, ge=1, description="of each recurrent layer, in each direction")
    dropout: float = Field(0.2, ge=0, lt=1, description="after each convolution and between recurrent layers")
    scaling: Literal["none", "zscore", "log-zscore"] = Field("log-zscore", description="of the EEG")
    mean_start: bool = Field(True, description="start from the mean training picture: output bias = mean, kernel × .1")
    lr: float = Field(1e-3, gt=0, description="Adam's learning rate")
    batch_size: int = Field(32, ge=2)
    epochs: int = Field(100, ge=1)
    patience: int = Field(20, ge=0, description="epochs without a better validation loss; 0 = never stop")


class ConvSequence(nn.Module):
    """``(n, n_rows, n_channels)`` pictures → ``(n, n_steps, n_features)``: convolutions, pooling, rows as steps.

    Parameters
    ----------
    config : Settings
    in_shape : tuple
        ``(n_rows, n_channels)``.

    Attributes
    ----------
    shape : tuple
        ``(n_steps, n_features)``.
    """

    def __init__(self, config, in_shape):
        super().__init__()
        layers, n_in, sides = [], 1, tuple(in_shape)
        for i in range(config.depth):
            n_out = config.width * 2**i
            layers += [
                SameConv2d(n_in, n_out, config.kernel),
                ACTIVATIONS[config.activation](),
                nn.BatchNorm2d(n_out),
            ]
            if config.pooling != "none":
                pool = tuple(min(config.pool, side) for side in sides)
                layers.append(POOLING[config.pooling](pool))
                sides = tuple(side // by for side, by in zip(sides, pool, strict=True))
            layers.append(nn.Dropout(config.dropout))
            n_in = n_out
        self.body = nn.Sequential(*layers)
        self.shape = (sides[0], n_in * sides[1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x.unsqueeze(1))  # (n, n_filters, n_steps, n_channels / pool)
        return x.transpose(1, 2).flatten(2)


def recurrent(config, n_in, *, layers, bidirectional=False):
    """The recurrent layers of the settings, for sequences ``(n, n_steps, n_in)``."""
    return CELLS[config.cell](
        n_in,
        config.units,
        num_layers=layers,
        batch_first=True,
        bidirectional=bidirectional,
        dropout=config.dropout if layers > 1 else 0.0,
    )
