"""Latent alignment: EEG and music in one space, learned by contrast (stage one of "Echoes of the Brain").

A **frozen** music encoder gives a vector for every second of music; an EEG encoder is trained so that a second of EEG lies
near the second of music that was heard and far from the others, by the symmetric InfoNCE loss with a learned
temperature. After one linear layer for each modality, both go through the same projector. Sizes and losses of the paper are
not public: all numbers here are our choice.

- *EEG*: two ways to the vector of the music that is heard, added: a **linear decoder at lags** (`eegviz.models.ridge`,
  solved once on the training side, its penalty by cross-validation), and a network whose part begins at zero: aligned
  channels (`eegviz.models.spatial`), a spatial filter that all listeners share, an affine layer for each training listener,
  convolutions in time, self-attention. A few hundred windows are enough for the one and by far too few for the other (our
  choice: without the linear start the network learnt the training by heart and found .55 of 1 where it now finds .88, on
  three simulated songs of 20 s). Nobody tells the network who listens: in training as later, a
  window takes the layer of the listener whose covariance its own is nearest to.
- *Music*: by default the latents of an autoencoder of spectrograms (`eegviz.models.mel_autoencoder`), which is trained on
  the training seconds before anything else and stays as it is. The paper's is CLAP: ``encoder=clap:FOLDER``, see
  `eegviz.music_encoders`.
- *The same second twice*: other listeners who heard the same second, and seconds with the same picture (silence, loops), are
  positives of each other and never negatives (`eegviz.models.contrast.info_nce`).
- *Picture*: an alignment has no decoder. ``net(x)`` is the mean of the training seconds' pictures, weighted by how
  likely each is given the EEG, ``softmax(scale · z_eeg · z_music)``: the bank is all that it can draw from, and a second
  that is not in it comes out as a mixture. That picture is scored like any model's; the embeddings themselves are
  judged by `eegviz.embeddings`.

The likeness of the two vectors is trained too: squared error beside the contrast (`regression`).

Function: `build`. Class: `Alignment`. Losses and bank: `eegviz.models.contrast`.

Page: "Echoes of the Brain: Reconstructing Music from EEG via Latent Space Alignment and Guided Diffusion" (no code, no
numbers); InfoNCE: van den Oord et al. 2018, https://doi.org/10.48550/arXiv.1807.03748; the symmetric loss and the learned
temperature: Radford et al. 2021, https://doi.org/10.48550/arXiv.2103.00020; a layer for each listener: Défossez et al.
2023, https://doi.org/10.1038/s42256-023-00714-5; notebook 09.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz import music_encoders, sides
from eegviz.errors import ParameterError
from eegviz.features import frame_times
from eegviz.models import ridge
from eegviz.models.attention import sinusoids
from eegviz.models.contrast import NEVER, Bank, info_nce, rank_loss, same_pictures
from eegviz.models.mel_autoencoder import MelAutoencoder, unique_seconds
from eegviz.models.spatial import SpatialFilters
from eegviz.models.transformer import EncoderLayer

EEG = "raw"
AUDIO = "mel-db"
TASK = "regression"
GROUPS = ("stimulus", "subject")  # the columns whose numbers of values the network is built for
EMBEDDINGS = True  # `eegviz.embeddings` can judge it
MAX_SCALE = 100.0  # of the likenesses, as in CLIP
BLOCK = 256  # pictures at a time
LAGS = 5  # at which the tokens are read, from 0 to the context (our choice)
STEPS = 11  # of a second, where the music vector has no course in time (our choice)


class Config(BaseModel):
    """Settings of the alignment. Published are its parts; every number is our choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(128, ge=2, description="spatial filters, channels of the convolutions, units of a token; even")
    encoder: str = Field("mel", description="of the music: mel, clap:FOLDER_OR_ID or onnx:FILE")
    align: bool = Field(True, description="Euclidean alignment of each listener; else one reference for all")
    listeners: bool = Field(True, description="an affine layer for each training listener")
    kernel: int = Field(17, ge=1, description="EEG samples of the first convolution; odd")
    stride: int = Field(4, ge=1, description="EEG samples to a step after it; the second convolution halves once more")
    blocks: int = Field(4, ge=0, le=24, description="of self-attention")
    heads: int = Field(4, ge=1, description="attention heads; they divide the width")
    feed_forward: int = Field(256, ge=1, description="units of the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="of filters, attention weights and layers")
    hidden: int = Field(256, ge=1, description="units between a modality's linear layer and the shared space")
    shared: int = Field(128, ge=2, description="dimensions of the shared space")
    pooling: Literal["mean", "time"] = Field(
        "time", description="of mel latents: their mean, or all in their order, which keeps when in the second"
    )
    latent: int = Field(32, ge=1, description="numbers of a latent of the music autoencoder")
    autoencoder_width: int = Field(128, ge=1, description="its channels")
    autoencoder_epochs: int = Field(100, ge=1, description="over the distinct training seconds")
    regression: float = Field(
        1.0, ge=0, description="weight of the squared error of the music vector that the EEG predicts"
    )
    temperature: float = Field(0.07, gt=0, description="at the start; learned")
    hard_negatives: int = Field(0, ge=0, description="for each window: other seconds of its song, drawn from the bank")
    band: tuple[float, float] | None = Field((0.5, 15.0), description="hertz, zero-phase filter of the recording")
    context: float = Field(0.4, ge=0, le=2, description="seconds of EEG after the window: responses come late")
    duration: int = Field(1, ge=1, le=10, description="seconds of a window; the paper's decoder takes 5.12")
    lr: float = Field(5e-4, gt=0, description="AdamW's learning rate")
    lr_decay: float = Field(0.98, gt=0, le=1, description="of the learning rate, each epoch")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's")
    batch_size: int = Field(128, ge=2, description="windows; all others of a batch are its negatives")
    epochs: int = Field(100, ge=1)
    patience: int = Field(0, ge=0, description="epochs without a better validation loss; 0 = never stop")

    @field_validator("encoder")
    @classmethod
    def _known(cls, encoder):
        music_encoders.parse(encoder)
        return encoder

    @model_validator(mode="after")
    def _fits(self):
        if self.width % 2 or self.width % self.heads:
            raise ValueError(f"the width must be even and a multiple of the {self.heads} heads; found {self.width}")
        if not self.kernel % 2:
            raise ValueError(f"the kernel must be odd; found {self.kernel}")
        if self.listeners and not self.align:
            raise ValueError("a layer for each listener needs their references, so align must be true")
        if self.band is not None and not 0 < self.band[0] < self.band[1]:
            raise ValueError("band must rise from above 0 hz")
        return self


# "echoes" is named for the page, which publishes no size: all numbers are ours. "fast" is ours too, for two cores.
PRESETS = {
    "echoes": {},
    "fast": {
        "width": 32,
        "stride": 8,
        "blocks": 1,
        "heads": 2,
        "feed_forward": 64,
        "hidden": 64,
        "shared": 32,
        "latent": 16,
        "autoencoder_width": 48,
        "autoencoder_epochs": 40,
        "dropout": 0.1,
        "batch_size": 32,
        "epochs": 16,
        "lr": 3e-3,
        "lr_decay": 0.9,
    },
}
DEFAULT_PRESET = "echoes"


class Alignment(nn.Module):
    """``(n, n_times, n_channels)`` raw EEG → ``(n, n_frames, n_bins)``: the likely seconds of the training, mixed.

    Attributes
    ----------
    autoencoder : MelAutoencoder or None
        Frozen; None with an encoder of sound outside.
    bank : Bank
        The distinct training seconds.
    scale : Tensor, scalar
        Of the likenesses: 1 / temperature, `MAX_SCALE` at most.
    shared : int
        Dimensions of the shared space.
    n_tokens : int
        Steps in time of the EEG's frames.
    """

    def __init__(self, config, in_shape, out_shape, groups, music=None):
        super().__init__()
        self.config = config
        n_times, n_channels = in_shape
        n_songs, n_listeners = groups
        width, self.shared = config.width, config.shared
        self.spatial = SpatialFilters(n_channels, n_songs, n_listeners, per_class=0, align=config.align)
        self.filters = nn.Linear(n_channels, width)
        n_layers = n_listeners + 1 if config.listeners else 0
        self.listener_weight = nn.Parameter(torch.zeros(n_layers, width, width))  # what is added to the identity
        self.listener_bias = nn.Parameter(torch.zeros(n_layers, width))
        self.first = nn.Conv1d(width, width, config.kernel, stride=config.stride, padding=config.kernel // 2)
        self.second = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(2))
        self.blocks = nn.ModuleList(EncoderLayer(config) for _ in range(config.blocks))
        self.tokens_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.n_tokens = math.ceil(math.ceil(n_times / config.stride) / 2)
        seconds = math.ceil(frame_times(out_shape[0])[-1])
        self.register_buffer("positions", sinusoids(self.n_tokens, width), persistent=False)
        self.autoencoder, n_music = None, music
        if config.encoder == "mel":
            self.autoencoder = MelAutoencoder(out_shape, width=config.autoencoder_width, dim=config.latent)
            n_music = config.latent * (self.autoencoder.n_latents if config.pooling == "time" else 1)
        self.bank = Bank(out_shape, n_music)
        # the EEG is read at steps in the music's course, each at lags from 0 to the context
        self.in_time = self.autoencoder is not None and config.pooling == "time"
        self.n_steps = self.autoencoder.n_latents if self.in_time else STEPS * seconds
        self.frame_dim = n_music // self.n_steps if self.in_time else n_music
        self.register_buffer(
            "reading", _reading(self.n_steps, self.n_tokens, seconds, config.context), persistent=False
        )
        self.from_eeg = nn.Linear(LAGS * width, self.frame_dim)
        self.gate = nn.Parameter(torch.zeros(()))  # of the network's part
        times = (np.arange(self.n_steps) + 0.5) * seconds / self.n_steps
        self.linear = ridge.Ridge(
            ridge.Config(tmax=config.context), in_shape, (self.n_steps, self.frame_dim), times=times
        ).requires_grad_(False)
        self.from_music = nn.Linear(n_music, config.hidden)
        self.projector = nn.Sequential(
            nn.LayerNorm(config.hidden), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(config.hidden, config.hidden),
            nn.GELU(), nn.Linear(config.hidden, config.shared),
        )  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / config.temperature)))
        self.logged = {}

    @property
    def scale(self) -> Tensor:
        """1 / temperature."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    # ------------------------------------------------------------------------------------------ fitted statistics

    def fit_view(self, view, classes):
        """Fit alignment, music autoencoder and bank on the training side; `classes` are all songs.

        Raises
        ------
        ParameterError
            No `TrainingView`; or, with an encoder outside, one that does not give its vectors.
        """
        view = sides.only_training(view, "alignment, music encoder and bank")
        self.spatial.fit(view, classes)
        self._start_at_components()
        once = unique_seconds(view)
        if self.autoencoder is None:
            if view.beside is None:
                raise ParameterError(
                    f"the encoder {self.config.encoder} is outside of the network, and the training view has no vectors "
                    "of it: make it with training_view(…, beside=music_encoders.of_windows(…))."
                )
            music = torch.from_numpy(np.ascontiguousarray(view.beside(once), np.float32))
        else:
            seed = int(torch.randint(2**31, ()))  # from the run's seed
            self.autoencoder.fit(view, epochs=self.config.autoencoder_epochs, seed=seed)
        pictures = torch.from_numpy(np.ascontiguousarray(view.targets(once), np.float32))
        if self.autoencoder is not None:
            music = torch.cat([self.music_vectors(block) for block in pictures.split(BLOCK)])
        songs = np.searchsorted(np.asarray(classes, str), view.table["stimulus"].to_numpy(str)[once])
        self.bank.fill(pictures, music, torch.from_numpy(songs.astype(np.int64)))
        self.linear.solve(dataclasses.replace(view, targets=lambda rows: self._steps(view, rows)))

    def _steps(self, view, rows):
        """Standardised music vectors of training windows at each step; one without a course in time is the same at all."""
        if self.autoencoder is None:
            music = torch.from_numpy(np.ascontiguousarray(view.beside(rows), np.float32))
        else:
            music = self.music_vectors(torch.from_numpy(np.ascontiguousarray(view.targets(rows), np.float32)))
        music = self.bank.standardised(music)
        return (
            music.unflatten(1, (self.n_steps, -1)) if self.in_time else music[:, None].expand(-1, self.n_steps, -1)
        ).numpy()

    def _whole(self, frames):
        """Steps ``(n, n_steps, frame_dim)`` as one music vector ``(n, n_music)``."""
        return frames.flatten(1) if self.in_time else frames.mean(1)

    def _start_at_components(self):
        """Let the spatial filters start at the principal components of the mean training covariance, the largest first."""
        _, axes = torch.linalg.eigh(self.spatial.references[-1].double())
        axes = axes.flip(1)[:, : len(self.filters.weight)].T
        with torch.no_grad():
            self.filters.weight[: len(axes)] = (axes * axes.sum(1, keepdim=True).sign()).float()
            self.filters.bias.zero_()

    def fit_output(self, mean):
        """Nothing: the pictures come from the bank."""

    # ---------------------------------------------------------------------------------------------- embeddings

    def embed_eeg(self, x: Tensor, *, who: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """EEG in the shared space.

        Parameters
        ----------
        x : Tensor [shape=(n, n_times, n_channels)]
            Raw EEG in µV.
        who : Tensor of int [shape=(n,)], optional
            Numbers of the references that the windows are nearest to, where they are known already.

        Returns
        -------
        z : Tensor [shape=(n, shared)]
            Of unit length.
        frames : Tensor [shape=(n, n_steps, frame_dim)]
            The standardised music vector as the EEG tells it, step by step.
        """
        straight = self.linear(x)  # (n, n_steps, frame_dim)
        x = self._filtered(x, who)  # (n, width, n_times)
        for convolution, norm in zip((self.first, self.second), self.norms, strict=True):
            x = self.dropout(F.gelu(norm(convolution(x))))
        tokens = x.mT + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.tokens_norm(tokens)
        read = torch.einsum("skt,ntw->nskw", self.reading.to(tokens.dtype), tokens).flatten(
            2
        )  # (n, n_steps, LAGS · width)
        frames = straight + self.gate * self.from_eeg(read).float()
        return self._unit(self.projector(self.from_music(self._whole(frames)))), frames

    def music_vectors(self, y: Tensor) -> Tensor:
        """What the frozen encoder says of spectrograms ``(n, n_frames, n_bins)``: ``(n, n_music)``.

        Raises
        ------
        ParameterError
            The encoder is outside and hears sound, no pictures.
        """
        if self.autoencoder is None:
            raise ParameterError(
                f"the encoder {self.config.encoder} hears sound, no pictures: take its vectors from "
                "music_encoders.of_windows and give them to project_music."
            )
        with torch.no_grad(), torch.autocast(y.device.type, enabled=False):
            y = y.float()
            return self.autoencoder.frames(y).flatten(1) if self.config.pooling == "time" else self.autoencoder.embed(y)

    def project_music(self, music: Tensor) -> Tensor:
        """Vectors of the frozen encoder ``(n, n_music)`` in the shared space: ``(n, shared)``, of unit length."""
        return self._unit(self.projector(self.from_music(self.bank.standardised(music))))

    def embed_music(self, y: Tensor) -> Tensor:
        """Spectrograms ``(n, n_frames, n_bins)`` in the shared space: ``(n, shared)``, of unit length."""
        return self.project_music(self.music_vectors(y))

    def forward(self, x: Tensor, *, embed: bool = False):
        """The posterior mean picture ``(n, n_frames, n_bins)``; with `embed` what `embed_eeg` returns."""
        z, frames = self.embed_eeg(x)
        if embed:
            return z, frames
        with torch.autocast(x.device.type, enabled=False):
            return self.bank.mean_picture(self.posterior(z))

    def posterior(self, z: Tensor) -> Tensor:
        """How likely each second of the bank is, given EEG embeddings ``(n, shared)``: ``(n, n_seconds)``."""
        return (self.scale * z @ self.project_music(self.bank.music).T).softmax(1)

    def _filtered(self, x, who=None):
        """Aligned, spatially filtered, and through the layer of the listener that the window is like."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            x = x - x.mean(1, keepdim=True)
            kernels, bias = self.filters.weight @ self.spatial.filters, self.filters.bias  # (n_references, width, …)
            if not self.config.align:
                return kernels[-1] @ x.mT + bias[:, None]
            who = self.spatial.nearest(x) if who is None else who
            if self.config.listeners:
                layers = torch.eye(len(bias), device=x.device) + self.listener_weight
                kernels, bias = layers @ kernels, layers @ bias + self.listener_bias
            else:
                bias = bias.expand(len(kernels), -1)
            return torch.baddbmm(bias[who][:, :, None], kernels[who], x.mT)

    def _unit(self, z):
        return F.normalize(z.float(), dim=-1)

    # ------------------------------------------------------------------------------------------------ training

    def contrastive(self, x: Tensor, y: Tensor, *, music=None, song=None, run=None) -> Tensor:
        """The symmetric InfoNCE loss of windows of EEG and the spectrograms that were heard.

        Parameters
        ----------
        x : Tensor [shape=(n, n_times, n_channels)]
        y : Tensor [shape=(n, n_frames, n_bins)]
            Windows with the same picture are positives of each other.
        music : Tensor [shape=(n, n_music)], optional
            Vectors of an encoder outside; else those of the autoencoder.
        song : Tensor of int [shape=(n,)], optional
            For hard negatives, which are drawn in training only.
        run : callable, optional
            Computes ``forward``; default the network itself.
        """
        z, frames = (run or self)(x, embed=True)
        music = self.music_vectors(y) if music is None else music
        heard = self.project_music(music)
        error = F.mse_loss(self._whole(frames), self.bank.standardised(music))
        like, same, hard = self.scale * z @ heard.T, same_pictures(y), None
        if self.training and song is not None and self.config.hard_negatives:
            chosen = self.bank.draw(song, self.config.hard_negatives)  # (n, hard_negatives)
            other = (self.bank.pictures[chosen] != y[:, None]).flatten(2).any(2) & (
                self.bank.songs[chosen] == song[:, None]
            )
            hard = self.scale * torch.einsum("nd,nkd->nk", z, self.project_music(self.bank.music[chosen]))
            hard = hard.masked_fill(~other, NEVER)
        with torch.no_grad():
            found = same.gather(1, like.argmax(1, keepdim=True)).float().mean()
        self.logged |= {"found": found, "temperature": 1 / self.scale.detach(), "error": error.detach()}
        return info_nce(like, same, hard=hard) + self.config.regression * error

    def training_loss(self, run, x: Tensor, y: Tensor, song: Tensor, music=None, *, part: str = "") -> Tensor:
        """The contrastive loss; `run` computes ``forward``."""
        return self.contrastive(x, y, music=music, song=song, run=run)

    def validation_loss(self, run, x: Tensor, y: Tensor, song: Tensor, music=None) -> Tensor:
        """Share of the other seconds among these windows whose music each EEG is more like than its own, ties at half.

        It is what the test will ask. The contrastive loss of few windows goes by how sure the network is of them, and would
        stop it long before its order of the seconds is best.
        """
        z, _ = run(x, embed=True)
        like = z @ self.project_music(self.music_vectors(y) if music is None else music).T
        return rank_loss(like, same_pictures(y))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of posterior mean pictures; nothing is trained or chosen by it."""
        return F.mse_loss(output, target)

    def optimizers(self):
        """AdamW over what is trained; the autoencoder is frozen."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return {"": torch.optim.AdamW(trained, lr=self.config.lr, weight_decay=self.config.weight_decay)}

    def facts(self):
        """What the provenance of a run says: encoder, seconds of the bank, temperature, error of the autoencoder."""
        told = {
            "encoder": self.config.encoder,
            "bank_seconds": len(self.bank.songs),
            "temperature": float(1 / self.scale.detach()),
        }
        return told if self.autoencoder is None else told | {"autoencoder_mse": float(self.autoencoder.error)}


def _reading(n_steps, n_tokens, seconds, context):
    """Weights ``(n_steps, LAGS, n_tokens)`` that read tokens, linearly between them, at lags behind each step of the music."""
    at = (np.arange(n_steps) + 0.5)[:, None] * seconds / n_steps + np.linspace(0, context, LAGS)
    place = np.clip(at / (seconds + context) * n_tokens - 0.5, 0, n_tokens - 1)
    low = np.floor(place).astype(int)
    share = place - low
    weights = np.zeros((n_steps, LAGS, n_tokens))
    rows, lags = np.indices(low.shape)
    weights[rows, lags, low] += 1 - share
    weights[rows, lags, np.minimum(low + 1, n_tokens - 1)] += share
    return torch.from_numpy(weights).float()


def beside(config, windows, opened):
    """What training needs of a window beside EEG and picture: None, or the vectors of an encoder of sound."""
    return None if config.encoder == "mel" else music_encoders.of_windows(windows, opened, config.encoder)


def build(config, in_shape, out_shape, groups, music=None):
    """An `Alignment` for raw EEG of `in_shape`, spectrograms of `out_shape` and ``(n_songs, n_listeners)``.

    Parameters
    ----------
    config : Config
    in_shape, out_shape, groups : tuple
    music : tuple, optional
        ``(n_music,)`` of an encoder outside.
    """
    if (config.encoder == "mel") != (music is None):
        raise ParameterError(
            f"an alignment with the encoder {config.encoder} {'needs no' if music else 'needs the'} size of its vectors."
        )
    return Alignment(config, in_shape, out_shape, groups, None if music is None else music[0])


def features(config):
    """What the EEG pictures must hold: a band, EEG after the window, and the seconds of a window."""
    found = {} if config.band is None else {"band": list(config.band)}
    found |= {"context": config.context} if config.context else {}
    return found | ({"duration": config.duration} if config.duration > 1 else {})


def for_features(config, eeg):
    """The settings as they are; spatial filters and convolutions in time need raw EEG and refuse spectra."""
    if eeg != "raw":
        raise ParameterError(f"alignment filters raw EEG in space and time; found eeg={eeg!r}. Use --eeg raw.")
    return config
