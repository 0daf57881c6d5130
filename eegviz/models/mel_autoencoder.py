"""A small autoencoder of spectrograms: a music encoder that needs no download, and the decoder of its latents.

Frames are reduced to their principal components, convolved in time, and halved twice: ``F`` frames become ``ceil(F / 4)``
latents.
It is trained on the **distinct** seconds of the training side, however many listeners heard them, and frozen: what is
aligned or generated later rests on latents that no later loss can bend. Latents are standardised over the training
pictures, so that a diffusion may start from a standard normal. Sizes, loss and optimiser are our choice.

`unique_seconds` (rows of the distinct seconds of a training side), `MelAutoencoder`.

Used by `eegviz.models.alignment`, where it stands in for CLAP; notebook 09.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz import sides
from eegviz.errors import DataError, ParameterError

LR = 3e-3  # Adam's, falling to nothing over the epochs as half a cosine
BATCH = 32  # pictures
BLOCK = 256  # pictures encoded at a time
SHRINK = 4  # frames to a latent
LEAST_SCALE = 1e-4  # of a latent that does not vary


class MelAutoencoder(nn.Module):
    """``(n, n_frames, n_bins)`` spectrograms ↔ ``(n, dim, n_latents)`` latents; frozen except in `fit`.

    Parameters
    ----------
    out_shape : tuple
        ``(n_frames, n_bins)``.
    width : int
        Channels of the convolutions.
    dim : int
        Numbers of a latent.

    Attributes
    ----------
    n_latents : int
        ``ceil(n_frames / 4)``.
    mean, scale : Tensor [shape=(dim, 1)]
        Of the raw latents of the training pictures.
    error : Tensor, scalar
        Mean squared error of the training pictures; NaN before `fit`.

    Examples
    --------
    >>> net = MelAutoencoder((44, 128), width=8, dim=6)
    >>> y = torch.zeros(2, 44, 128)
    >>> net.encode(y).shape, net.embed(y).shape, net.frames(y).shape, net.decode(net.encode(y)).shape
    (torch.Size([2, 6, 11]), torch.Size([2, 6]), torch.Size([2, 11, 6]), torch.Size([2, 44, 128]))
    """

    def __init__(self, out_shape, *, width, dim):
        super().__init__()
        self.n_frames, n_bins = out_shape
        self.dim, self.n_latents = dim, -(-self.n_frames // SHRINK)
        self.encoder = nn.Sequential(
            nn.Conv1d(n_bins, width, 1),
            nn.Conv1d(width, width, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv1d(width, dim, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv1d(dim, width, 3, padding=1), nn.GELU(),
            nn.Upsample(-(-self.n_frames // 2), mode="linear"), nn.Conv1d(width, width, 3, padding=1), nn.GELU(),
            nn.Upsample(self.n_frames, mode="linear"), nn.Conv1d(width, width, 3, padding=1),
            nn.Conv1d(width, n_bins, 1),
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(dim, 1))
        self.register_buffer("scale", torch.ones(dim, 1))
        self.register_buffer("error", torch.tensor(torch.nan))
        self.requires_grad_(False)

    def encode(self, y: Tensor) -> Tensor:
        """Standardised latents: ``(n, n_frames, n_bins)`` → ``(n, dim, n_latents)``."""
        return (self.encoder(y.mT) - self.mean) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """Spectrograms of latents: ``(n, dim, n_latents)`` → ``(n, n_frames, n_bins)``, not clipped."""
        return self.decoder(z * self.scale + self.mean).mT

    def frames(self, y: Tensor) -> Tensor:
        """The latents in the order of time: ``(n, n_latents, dim)``."""
        return self.encode(y).mT

    def embed(self, y: Tensor) -> Tensor:
        """One vector a spectrogram, the mean over its latents: ``(n, dim)``."""
        return self.encode(y).mean(2)

    def forward(self, y: Tensor) -> Tensor:
        """There and back: ``(n, n_frames, n_bins)``."""
        return self.decode(self.encode(y))

    def fit(self, view, *, epochs, seed):
        """Train on the distinct seconds of a training side, standardise the latents, and freeze.

        The weights are drawn anew from the seed, and the state of the global generator is left as it was: the same view,
        epochs and seed give the same weights.

        Parameters
        ----------
        view : TrainingView
            Targets are normalised spectrograms.
        epochs, seed : int

        Returns
        -------
        MelAutoencoder
            Itself.

        Raises
        ------
        ParameterError
            No `TrainingView`, or no epochs.
        DataError
            Training that diverged, as it does on pictures that are not finite.
        """
        view = sides.only_training(view, "the autoencoder of the music")
        if epochs < 1:
            raise ParameterError(f"the autoencoder of the music needs one epoch or more, found {epochs}.")
        pictures = torch.from_numpy(np.ascontiguousarray(view.targets(unique_seconds(view)), np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._train(pictures, epochs)
        with torch.no_grad():
            blocks = pictures.split(BLOCK)
            raw = torch.cat([self.encoder(block.mT) for block in blocks])
            self.mean.copy_(raw.mean((0, 2))[:, None])
            self.scale.copy_(raw.std((0, 2), correction=0).clamp_min(LEAST_SCALE)[:, None])
            errors = torch.cat([((self(block) - block) ** 2).mean((1, 2)) for block in blocks])
            self.error.copy_(errors.mean())
        if not torch.isfinite(self.error):
            raise DataError(
                f"the autoencoder of the music diverged: its error over {len(pictures)} training seconds is "
                f"{float(self.error)}. Check the store with eegviz info --verify."
            )
        return self

    def _train(self, pictures, epochs):
        self.mean.zero_()
        self.scale.fill_(1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d):
                layer.reset_parameters()
        self._start_at_components(pictures.flatten(0, 1))
        self.requires_grad_(True)
        optimizer = torch.optim.Adam(self.parameters(), lr=LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for rows in torch.randperm(len(pictures)).split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                F.mse_loss(self(pictures[rows]), pictures[rows]).backward()
                optimizer.step()
            schedule.step()
        self.requires_grad_(False)
        for parameter in self.parameters():
            parameter.grad = None

    def _start_at_components(self, spectra):
        """Let the first layer take the principal components of the frames, and the last draw them around the mean."""
        first, last, mean = self.encoder[0], self.decoder[-1], spectra.mean(0)
        covariance = torch.cov(spectra.T.double(), correction=0)
        power, axes = torch.linalg.eigh(torch.nan_to_num(covariance))
        axes = axes.flip(1)[:, : len(first.weight)].float()
        axes = axes * axes.sum(0).sign()
        size = power[-1].clamp_min(LEAST_SCALE**2).sqrt().float()  # of the largest: it gets unit variance
        with torch.no_grad():
            first.weight[: axes.shape[1], :, 0] = axes.T / size
            first.bias.zero_()
            first.bias[: axes.shape[1]] = -(axes.T @ mean) / size
            last.weight[:, : axes.shape[1], 0] = axes * size
            last.bias.copy_(mean)


def unique_seconds(view) -> np.ndarray:
    """Positions in a training side of one row for each distinct (stimulus, second), sorted by both.

    Parameters
    ----------
    view : TrainingView

    Returns
    -------
    np.ndarray of int [shape=(n_seconds,)]
    """
    view = sides.only_training(view, "what rests on distinct training seconds")
    once = view.table.reset_index(drop=True).drop_duplicates(["stimulus", "second"])
    return once.sort_values(["stimulus", "second"], kind="stable").index.to_numpy()
