"""The linear decoder as a model: ridge regression from filtered EEG at several lags to every frame of the spectrogram.

Each of a second's frames is decoded from the EEG at its own time and for `tmax` seconds after it, linearly: channels are
reduced to their principal components, and components × lags are weighted. It has a closed form, no epochs and no seed,
trains in seconds, and is the baseline beside every deep model: what a network finds beyond it is what depth adds.

The penalty is chosen by cross-validation over 5-s chunks **of the song**, all listeners' windows of the same music in
one fold, so that a fold never knows the music that it is scored on. Everything is fitted on the training side.

Sources: the lagged decoder of the mTRF toolbox, Crosse et al. 2016, https://doi.org/10.3389/fnhum.2016.00604; patterns,
Haufe et al. 2014, https://doi.org/10.1016/j.neuroimage.2013.10.067. On arrays: `eegviz.models.lagged`; notebook 11.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz import sides
from eegviz.errors import DataError, ParameterError
from eegviz.features import frame_times
from eegviz.models import lagged

EEG = "raw"
TASK = "regression"
CHUNK = 5  # seconds of a song that stay in one fold
BLOCK = 32  # windows read at a time


class Config(BaseModel):
    """Settings of the linear decoder; all are our choice, near what decoders of envelopes take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(40, ge=1, description="principal components of the channels that are kept")
    band: tuple[float, float] = Field((0.5, 15.0), description="hertz, zero-phase filter of the whole recording")
    tmax: float = Field(0.4, ge=0, le=2, description="seconds of EEG after each frame that it is decoded from")
    step: float = Field(0.032, gt=0, description="seconds between lags: four samples at 125 Hz")
    alphas: tuple[float, ...] = Field(
        tuple(10.0**k for k in range(-4, 4)),
        min_length=1,
        description="penalties tried, in mean variances of a feature",
    )
    folds: int = Field(5, ge=2, description="of the cross-validation, made of chunks of the songs")

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas):
        if not all(np.isfinite(a) and a > 0 for a in alphas):
            raise ValueError("penalties must be positive and finite")
        return alphas

    @model_validator(mode="after")
    def _rising(self):
        if not 0 < self.band[0] < self.band[1]:
            raise ValueError("band must rise from above 0 hz")
        return self


# All settings are our choice, for no source decodes mel pictures so. "fast" takes half the components and every second lag.
PRESETS = {"eegviz": {}, "fast": {"width": 20, "step": 0.064}}
DEFAULT_PRESET = "eegviz"


class Ridge(nn.Module):
    """``(n, n_times, n_channels)`` raw EEG of ``1 + tmax`` seconds → ``(n, n_frames, n_bins)`` spectrograms, not clipped.

    Parameters
    ----------
    config : Config
    in_shape, out_shape : tuple of int
    times : sequence of float [shape=(n_frames,)], optional
        Seconds of the window at which the frames lie; default those of a spectrogram of so many.

    Attributes
    ----------
    weights : Tensor [shape=(n_lags * width, n_bins)]
    intercept : Tensor [shape=(n_bins,)]
    components : Tensor [shape=(n_channels, width)]
    patterns : Tensor [shape=(n_lags, n_channels)]
        Forward pattern of the decoded loudness (mean over bins): µV at each lag and channel per unit of the picture,
        through the kept components.
    lag_times : Tensor [shape=(n_lags,)]
        Seconds.
    alpha : Tensor, scalar
        The chosen penalty, in mean variances of a feature.
    scores : Tensor [shape=(n_alphas,)]
        Cross-validated mean squared errors; NaN when one penalty was given.
    """

    def __init__(self, config, in_shape, out_shape, times=None):
        super().__init__()
        self.config = config
        n_times, n_channels = in_shape
        n_frames, n_bins = out_shape
        times = frame_times(n_frames) if times is None else np.asarray(times)
        sfreq = n_times / (max(1, math.ceil(times[-1])) + config.tmax)  # to within half a sample at the end
        lags = np.arange(0, config.tmax + 1e-9, config.step)
        at = sfreq * (times[:, None] + lags)  # (n_frames, n_lags) samples
        before = np.clip(np.floor(at), 0, n_times - 1)
        width = min(config.width, n_channels)
        for name, values in (
            ("before", torch.as_tensor(before.ravel(), dtype=torch.int64)),
            ("after", torch.as_tensor(np.minimum(before + 1, n_times - 1).ravel(), dtype=torch.int64)),
            ("share", torch.as_tensor((at - before).ravel(), dtype=torch.float32)[:, None]),
        ):
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("components", torch.eye(n_channels, width))
        self.register_buffer("patterns", torch.zeros(len(lags), n_channels))
        self.register_buffer("lag_times", torch.as_tensor(lags, dtype=torch.float32))
        self.register_buffer("alpha", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scores", torch.full((len(config.alphas),), torch.nan, dtype=torch.float64))
        self.weights = nn.Parameter(torch.zeros(len(lags) * width, n_bins))
        self.intercept = nn.Parameter(torch.zeros(n_bins))
        self.n_frames = n_frames

    def features(self, x: Tensor) -> Tensor:
        """Components at each frame's lags: ``(n, n_times, n_channels)`` → ``(n, n_frames, n_lags * width)``."""
        z = (x - self.mean) @ self.components
        z = torch.lerp(z[:, self.before], z[:, self.after], self.share)  # between samples
        return z.reshape(len(x), self.n_frames, -1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would cost more than it saves
            return self.features(x.float()) @ self.weights + self.intercept

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(output, target)

    def solve(self, view, *, seed=0):
        """Fit everything on the training side, in two readings of its pictures; memory does not grow with them.

        Parameters
        ----------
        view : TrainingView
        seed : int
            Not used: a closed form has no randomness.

        Raises
        ------
        DataError
            NaN or infinity in the pictures or targets, or EEG that is silent.
        ParameterError
            Too little music for two folds.
        """
        view = sides.only_training(view, "the linear decoder")
        with torch.no_grad():
            self._fit_components(view)
            groups = [None] if len(self.config.alphas) == 1 else self._folds(view.table)
            sums = [self._sums(view, np.arange(len(view)) if rows is None else rows) for rows in groups]
            total = lagged.total_of(sums)
            xx, _, _ = total.centred()
            unit = float(np.trace(xx) / len(xx) / total.n)
            if not unit > 0:
                raise DataError(
                    "the EEG of the training windows is silent on every channel: nothing to decode from. Check the store "
                    "with eegviz info --verify."
                )
            alpha = self.config.alphas[0]
            if len(sums) > 1:
                found = lagged.cross_validate(sums, [a * unit for a in self.config.alphas], criterion="mse")
                alpha = self.config.alphas[int(np.flatnonzero(found.alphas == found.alpha)[0])]
                self.scores.copy_(torch.from_numpy(found.mse))
            weights, intercept = lagged.solve(total, alpha * unit)
            pattern = lagged.haufe(total, weights.mean(1, keepdims=True)).reshape(len(self.lag_times), -1)
            self.patterns.copy_(torch.from_numpy(pattern) @ self.components.double().T)
            self.weights.copy_(torch.from_numpy(weights))
            self.intercept.copy_(torch.from_numpy(intercept))
            self.alpha.fill_(alpha)

    def facts(self):
        """What the provenance of a run says about the solution."""
        scores = [float(s) for s in self.scores]
        return {
            "alpha": float(self.alpha),
            "cross_validated_mse": None
            if np.isnan(scores).any()
            else dict(zip(map(str, self.config.alphas), scores, strict=True)),
        }

    def _fit_components(self, view):
        n, total, square = 0, 0.0, 0.0
        for block in view.blocks(BLOCK):
            x = torch.from_numpy(np.asarray(view.pictures(block), np.float64)).flatten(0, 1)
            n, total, square = n + len(x), total + x.sum(0), square + x.T @ x
        mean = (total / n).numpy()
        covariance = (square / n).numpy() - np.outer(mean, mean)
        if not np.isfinite(covariance).all():
            raise DataError("EEG of the training windows: expected finite numbers, found NaN or infinity.")
        _, vectors = scipy.linalg.eigh(covariance)
        vectors = vectors[:, ::-1][:, : self.components.shape[1]]
        sign = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
        self.mean.copy_(torch.from_numpy(mean))
        self.components.copy_(torch.from_numpy(vectors * sign))

    def _folds(self, table):
        """Rows of each fold: chunks of the songs, dealt in turn, for all listeners alike."""
        chunk = table["second"].to_numpy() // CHUNK
        piece = table.groupby([table["stimulus"], chunk], sort=True).ngroup().to_numpy()
        count = min(self.config.folds, piece.max() + 1)
        if count < 2:
            raise ParameterError(
                f"the training side holds one {CHUNK}-s chunk of music; choosing the penalty needs two. Give more music, "
                "or one penalty (--set alphas=…)."
            )
        return [np.flatnonzero(piece % count == k) for k in range(count)]

    def _sums(self, view, rows):
        total = None
        for i in range(0, len(rows), BLOCK):
            block = rows[i : i + BLOCK]
            x = self.features(torch.from_numpy(np.asarray(view.pictures(block), np.float32)))
            y = np.asarray(view.targets(block))
            part = lagged.Sums.of(x.flatten(0, 1).numpy(), y.reshape(-1, y.shape[-1]))
            total = part if total is None else total + part
        return total


def build(config, in_shape, out_shape):
    """A `Ridge` for raw EEG of `in_shape` (with its context) and spectrograms of `out_shape`."""
    return Ridge(config, in_shape, out_shape)


def features(config):
    """What the EEG pictures must hold beside their second: the band, and the EEG that the last frame's lags reach."""
    return {"band": list(config.band), "context": config.tmax}


def for_features(config, eeg):
    """The settings themselves for raw EEG; a refusal for spectra, which have no lags."""
    if eeg != "raw":
        raise ParameterError(
            f"model ridge decodes raw EEG at lags; found eeg={eeg!r}, whose pictures hold no time. Use --eeg raw, or leave "
            "it out."
        )
    return config
