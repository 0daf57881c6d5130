"""Encoder–decoder of the replication study: two convolutions and an LSTM, its latent vector repeated, an LSTM, a dense layer.

The encoder ends in one vector, its recurrent layer's last state; the decoder gets that vector at every frame, and a
dense layer shared by all frames turns each of its states into a column of the spectrogram. Published: these layers, two
convolutions, and a cosine of .7302; the sizes are our choice. See `eegviz.models.recurrent`.

Bakirci, Cam, Hassan & Mohammed-Paige, "Reconstructing Sound From Brain Responses To Music Stimuli" (USC); notebook 07.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz.models.layers import InputScaling, scaling_for, start_at
from eegviz.models.recurrent import ConvSequence, Settings, recurrent

EEG = "periodogram"
TASK = "regression"


class Config(Settings):
    """Settings of the encoder–decoder."""

    decoder_layers: int = Field(1, ge=1, le=4, description="recurrent layers of the decoder")


# "usc" is named for the study: two convolutions and one LSTM on each side are published, every size is ours (see Settings).
# "fast" is ours too: fewer filters and units, for seconds on two cores.
PRESETS = {
    "usc": {},
    "fast": {"width": 4, "units": 64, "epochs": 8, "patience": 0},
}
DEFAULT_PRESET = "usc"


class EncoderDecoder(nn.Module):
    """``(n, n_rows, n_channels)`` EEG pictures → ``(n, n_frames, n_bins)`` spectrograms."""

    def __init__(self, config, in_shape, out_shape):
        super().__init__()
        self.config = config
        self.n_frames, n_bins = out_shape
        self.scaling = InputScaling(config.scaling, in_shape)
        self.body = ConvSequence(config, in_shape)
        self.encoder = recurrent(config, self.body.shape[1], layers=config.layers)
        self.decoder = recurrent(config, config.units, layers=config.decoder_layers)
        self.last = nn.Linear(config.units, n_bins)  # of every frame

    def fit_input(self, batches):
        """Fit the input scaling on training pictures."""
        self.scaling.fit(batches)

    def fit_output(self, mean):
        """Start at the mean training spectrum, when the settings say so; the frames share one bias."""
        if self.config.mean_start:
            start_at(self.last, mean.mean(0))

    def encode(self, x: Tensor) -> Tensor:
        """The latent vector ``(n, units)`` of EEG pictures."""
        states, _ = self.encoder(self.body(self.scaling(x)))
        return states[:, -1]

    def forward(self, x: Tensor) -> Tensor:
        repeated = self.encode(x).unsqueeze(1).expand(-1, self.n_frames, -1)
        states, _ = self.decoder(repeated)  # (n, n_frames, units)
        return self.last(states).float()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(output, target)


def build(config, in_shape, out_shape):
    """An `EncoderDecoder` for EEG pictures of `in_shape` and spectrograms of `out_shape`."""
    return EncoderDecoder(config, in_shape, out_shape)


def features(config):
    """What the EEG pictures must hold beside their second: nothing."""
    return {}


def for_features(config, eeg):
    """The settings that fit the EEG features: raw voltages are z-scored without a logarithm."""
    return scaling_for(config, eeg)
