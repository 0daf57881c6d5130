"""Settings of the token model, and the channels of the studies that it is compared with; see `eegviz.models.tokens`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eegviz.errors import ParameterError
from eegviz.features import BANDS

# Channels of the studies that the document compares itself with. Miyamoto's 29 hold PO7 and PO8 too, which are not
# among DEAP's 32, so that 27 of 29 are left.
PICKS = {
    "tiraboschi": ("FC5", "FC6", "CP5", "CP6", "PO3", "PO4"),
    "miyamoto": (
        "Fp1", "Fp2", "AF3", "AF4", "F7", "F8", "F3", "Fz", "F4", "FC5", "FC6", "T7", "T8", "C3", "Cz", "C4", "CP5", "CP6",
        "P7", "P8", "P3", "Pz", "P4", "PO3", "PO4", "O1", "O2",
    ),
    "inoue": ("AF3", "AF4", "T7", "T8", "Pz"),
}  # fmt: skip


class Config(BaseModel):
    """Settings of the token model. Published are 4 s, the depth and the kinds of layers; the other numbers are our choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: int = Field(4, ge=1, le=60, description="length of a window")
    steps: int = Field(2, ge=1, le=4, description="steps of a second; each is a token")
    bands: tuple[str, ...] = Field(tuple(BANDS), min_length=1, description="of the differential entropy")
    channels: str | tuple[str, ...] = Field("all", description="all, a pick of another study, or names")
    eeg_input: bool = Field(
        True, description="without, a learned constant stands for the EEG: the baseline of music alone"
    )
    eeg_clusters: bool = Field(True, description="without, an EEG token has its own features, not its entry's")
    audio_clusters: bool = Field(True, description="without, pictures of steps are regressed, not named")
    convolution: bool = Field(True, description="without, tokens have no features of the raw steps")
    sequence: Literal["transformer", "rnn", "lstm", "cnn"] = Field("transformer", description="what translates")
    eeg_eps: float | Literal["knee", "most"] = Field("most", description="radius of DBSCAN, or the rule that finds it")
    audio_eps: float | Literal["knee", "most"] = Field("most", description="the same for audio")
    min_points: int = Field(2, ge=2, description="MinPts of DBSCAN; two like steps make an entry")
    components: int = Field(8, ge=0, description="principal components that DBSCAN sees; 0 = all features")
    max_points: int = Field(2000, ge=10, description="steps that DBSCAN sees, at most, of evenly spaced windows")
    width: int = Field(128, ge=2, description="d_model: units of every token; even")
    depth: int = Field(12, ge=1, le=16, description="layers of encoder and of decoder; recurrent ones two at most")
    heads: int = Field(4, ge=1, description="attention heads; they divide the width")
    feed_forward: int = Field(256, ge=1, description="units of the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="of attention weights and of every layer's output")
    feature_mask: bool = Field(True, description="of the last encoder layer's attention; transformer only")
    mask_ratio: tuple[float, float] = Field((0.5, 1.0), description="share of masked steps, drawn for each window")
    alpha: float = Field(0.1, ge=0, le=1, description="weight of the unmasked steps' loss")
    passes: int = Field(2, ge=1, description="of decoding at test; one where there is no audio dictionary")
    decode: Literal["expected", "nearest"] = Field("expected", description="picture of a step")
    lr: float = Field(3e-4, gt=0, description="Adam's learning rate")
    batch_size: int = Field(32, ge=2)
    epochs: int = Field(100, ge=1)
    patience: int = Field(20, ge=0, description="epochs without a better validation loss; 0 = never stop")

    @field_validator("bands")
    @classmethod
    def _known_bands(cls, bands):
        unknown = sorted(set(bands) - set(BANDS))
        if unknown:
            raise ValueError(f"unknown bands {', '.join(unknown)}; known are {', '.join(BANDS)}")
        return bands

    @field_validator("channels")
    @classmethod
    def _known_channels(cls, channels):
        if isinstance(channels, str) and channels != "all" and channels not in PICKS:
            raise ValueError(f"known picks are all, {', '.join(PICKS)}; or give a list of names")
        if not channels:
            raise ValueError("an empty list of channels")
        return channels

    @field_validator("eeg_eps", "audio_eps")
    @classmethod
    def _positive(cls, eps):
        if not isinstance(eps, str) and not (np.isfinite(eps) and eps > 0):
            raise ValueError("eps must be positive")
        return eps

    @model_validator(mode="after")
    def _fits(self):
        if self.width % 2 or self.width % self.heads:
            raise ValueError(f"the width {self.width} must be even and a multiple of the {self.heads} heads")
        low, high = self.mask_ratio
        if not 0 <= low <= high <= 1 or not high:
            raise ValueError("mask_ratio must rise within 0 and 1")
        return self


def picked(names, ch_names):
    """Positions of the channels `names` among `ch_names`, whatever the case of their letters.

    Raises
    ------
    ParameterError
        Channels that are not there; the message lists them and what there is.

    Examples
    --------
    >>> picked(["Cz", "FP1"], ["Fp1", "Fz", "Cz"]).tolist()
    [2, 0]
    """
    have = {name.lower(): i for i, name in enumerate(ch_names)}
    lacking = [name for name in names if name.lower() not in have]
    if lacking:
        raise ParameterError(
            f"tokens: the data lack the channels {', '.join(lacking)} of those that channels= names; they have "
            f"{', '.join(ch_names) or 'no names'}. Use --set channels=all, or name channels that are there."
        )
    return np.array([have[name.lower()] for name in names])


def names_of(channels):
    """The names of a pick, or the list itself."""
    return PICKS[channels] if isinstance(channels, str) else channels
