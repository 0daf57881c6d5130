"""RCNN of the replication study: convolutions, then recurrent layers over their rows, then the spectrogram.

Published: "extracted features were then reshaped and passed through recurrent layers"; a cosine of .7392. Not published:
every size, the direction of the layers and how the spectrogram is read from their states; here the states of all steps
go through one dense layer. See `eegviz.models.recurrent`.

Bakirci, Cam, Hassan & Mohammed-Paige, "Reconstructing Sound From Brain Responses To Music Stimuli" (USC); notebook 07.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz.models.layers import InputScaling, scaling_for, start_at
from eegviz.models.recurrent import ConvSequence, Settings, recurrent

EEG = "periodogram"
TASK = "regression"


class Config(Settings):
    """Settings of the RCNN."""

    bidirectional: bool = Field(True, description="read the rows in both directions (our choice)")


# "usc" is named for the study; it publishes the order of the layers only, so all of its sizes are ours (see Settings).
# "fast" is ours too, for two cores: fewer filters and units; pooling by the mean, which learned more from less here.
PRESETS = {
    "usc": {},
    "fast": {"width": 4, "units": 16, "pooling": "average", "epochs": 5, "patience": 0},
}
DEFAULT_PRESET = "usc"


class RCNN(nn.Module):
    """``(n, n_rows, n_channels)`` EEG pictures → ``(n, n_frames, n_bins)`` spectrograms."""

    def __init__(self, config, in_shape, out_shape):
        super().__init__()
        self.config = config
        self.out_shape = tuple(out_shape)
        self.scaling = InputScaling(config.scaling, in_shape)
        self.body = ConvSequence(config, in_shape)
        n_steps, n_features = self.body.shape
        self.recurrent = recurrent(config, n_features, layers=config.layers, bidirectional=config.bidirectional)
        n_states = n_steps * config.units * (2 if config.bidirectional else 1)
        self.last = nn.Linear(n_states, math.prod(out_shape))

    def fit_input(self, batches):
        """Fit the input scaling on training pictures."""
        self.scaling.fit(batches)

    def fit_output(self, mean):
        """Start at the mean training spectrogram, when the settings say so."""
        if self.config.mean_start:
            start_at(self.last, mean.reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(self.body(self.scaling(x)))  # (n, n_steps, units of both directions)
        return self.last(states.flatten(1)).float().view(-1, *self.out_shape)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(output, target)


def build(config, in_shape, out_shape):
    """An `RCNN` for EEG pictures of `in_shape` and spectrograms of `out_shape`."""
    return RCNN(config, in_shape, out_shape)


def features(config):
    """What the EEG pictures must hold beside their second: nothing."""
    return {}


def for_features(config, eeg):
    """The settings that fit the EEG features: raw voltages are z-scored without a logarithm."""
    return scaling_for(config, eeg)
