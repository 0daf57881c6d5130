"""The song classifier of EEG2Mel's Table 2: three convolutions of stride 2, global average pooling, a dense layer.

It names the song of a picture: of a predicted spectrogram, as the paper uses it to grade its regressors, or of EEG, as
the study it comes from did. For ten songs it has 179 134 trainable parameters, which a test asserts.

Ramirez-Aristizabal, Ebrahimpour & Kello 2022 (image-based EEG classification), https://arxiv.org/abs/2202.03265.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz.models.layers import ACTIVATIONS, InputScaling, SameConv2d, he_uniform, l2_penalty

EEG = "periodogram"
TASK = "classification"


class Config(BaseModel):
    """Settings of the classifier; the defaults are the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(32, ge=1, description="filters of the first convolution; doubled at each of the next two")
    units: int = Field(100, ge=1, description="units of the dense layer")
    activation: Literal["relu", "swish", "mish"] = "relu"
    l2: float = Field(1.14e-4, ge=0, description="kernel penalty")
    scaling: Literal["none", "zscore", "log-zscore"] = Field("none", description="of the pictures")
    lr: float = Field(9e-3, gt=0, description="Adam's learning rate")
    batch_size: int = Field(500, ge=2)
    epochs: int = Field(200, ge=1)
    patience: int = Field(0, ge=0, description="epochs without a better validation loss; 0 = never stop")


# "fast" is ours: an eighth of the filters and fewer, smaller batches, for two cores.
PRESETS = {
    "eeg2mel": {},
    "fast": {"width": 4, "units": 32, "epochs": 6, "batch_size": 64, "lr": 5e-3, "scaling": "zscore"},
}
DEFAULT_PRESET = "eeg2mel"


class Classifier(nn.Module):
    """``(n, n_rows, n_columns)`` pictures → ``(n, n_classes)`` logits."""

    def __init__(self, config, in_shape, n_classes):
        super().__init__()
        self.config = config
        self.scaling = InputScaling(config.scaling, in_shape)
        activation = ACTIVATIONS[config.activation]
        layers, n_in = [], 1
        for n_out in (config.width, 2 * config.width, 4 * config.width):
            layers += [SameConv2d(n_in, n_out, 4, stride=2), activation(), nn.BatchNorm2d(n_out)]
            n_in = n_out
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(n_in, config.units), activation(), nn.BatchNorm1d(config.units))
        self.last = nn.Linear(config.units, n_classes)
        he_uniform(self)

    def fit_input(self, batches):
        """Fit the input scaling on training pictures."""
        self.scaling.fit(batches)

    def fit_output(self, mean):
        """Nothing to fit: the classes start equal."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.scaling(x).unsqueeze(1))  # (n, 4 width, n_rows / 8, n_columns / 8)
        return self.last(self.head(x.mean((2, 3)))).float()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the true song, plus the kernel penalty."""
        return F.cross_entropy(output, target) + l2_penalty(self, self.config.l2)


def build(config, in_shape, out_shape):
    """A `Classifier` for pictures of `in_shape`; `out_shape` is ``(n_classes,)``."""
    return Classifier(config, in_shape, out_shape[0])


def features(config):
    """What the EEG pictures must hold beside their second: nothing."""
    return {}


def for_features(config, eeg):
    """The settings that fit the EEG features: spectra of EEG span decades, so a z-score takes their logarithm."""
    if eeg in ("periodogram", "welch") and config.scaling == "zscore":
        return config.model_copy(update={"scaling": "log-zscore"})
    return config
