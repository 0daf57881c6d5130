"""Guided diffusion of music: EEG and music are aligned, then the EEG steers a diffusion transformer that knows only music.

The second stage of "Echoes of the Brain", of which neither code nor numbers are public; what its page says is followed:

1. **Stage I**, the earlier epochs: the alignment network (`eegviz.models.alignment`) learns to lay EEG and music into one
   space. At the same time the *backbone*, a diffusion transformer over frames, learns the training music without any EEG.
2. **Stage II**, the later epochs: both are frozen. A *ControlNet*, copies of the first half of the backbone's blocks joined to
   it by linear layers that start at zero, learns to steer it by the embedding that stage I predicts **from the EEG**, its
   pooled value and its course in time. The listener enters as a token.

A spectrogram is sampled from noise in a few steps, with classifier-free guidance: at `guidance` 0 nothing is told of the
EEG, at 1 the condition is followed as it was trained, above 1 it is exaggerated. All windows begin from **one noise**, that
of `sample_seed`, and the steps are deterministic, so that two answers of one seed differ by their EEG alone. A generator
makes fluent music from any noise: whether the EEG has a say is asked in `eegviz.generation`.

The condition at prediction is always made from EEG. The embedding of the *true* music is an oracle: `Diffusion.oracle`,
which is given true pictures, shows what a perfect alignment would yield, and nothing of it ever reaches the predictions of
a run. For it the ControlNet is also trained, in `music_share` of the windows, on the music's own embedding (the page: "EEG
and music embeddings as conditioning inputs").

Noise schedule and sampler are those of diffusers: a cosine schedule (Nichol & Dhariwal 2021,
https://doi.org/10.48550/arXiv.2102.09672), velocity prediction (Salimans & Ho 2022,
https://doi.org/10.48550/arXiv.2202.00512) and DDIM (Song et al. 2021, https://doi.org/10.48550/arXiv.2010.02502); guidance:
Ho & Salimans 2022, https://doi.org/10.48550/arXiv.2207.12598. All of these are our choice; notebook 09.

Functions: `build`, `scheduler`.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz import sides
from eegviz.errors import MissingDependencyError, ParameterError
from eegviz.models import alignment
from eegviz.models._dit import Backbone, Condition, ControlNet

EEG = "raw"
TASK = "regression"
GROUPS = ("stimulus", "subject")
EMBEDDINGS = True  # those of the alignment inside, which `eegviz.embeddings` can judge
CLIP = 4.0  # of an estimated clean sample, in standard deviations of the training (our choice)
CHECKED = (0.25, 0.5, 0.75)  # parts of the schedule at which validation asks (our choice)
CHECK_SEED = 0  # of the noise that validation adds


class Config(BaseModel):
    """Settings of the guided diffusion. The page publishes the shape of it and the 24 blocks; every other number is ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["latent", "mel"] = Field(
        "latent", description="what is drawn from noise: latents of the music encoder, or frames of the spectrogram"
    )
    width: int = Field(512, ge=4, description="units of a token of the transformer; even")
    heads: int = Field(8, ge=1, description="attention heads; they divide the width")
    blocks: int = Field(24, ge=2, description="of the backbone; the ControlNet copies the first half")
    seconds: int = Field(5, ge=1, description="whole seconds of a window; the page's segments have 5.12")
    prediction: Literal["velocity", "sample"] = Field("velocity", description="what the denoiser answers")
    train_steps: int = Field(1000, ge=1, description="of the noise schedule")
    steps: int = Field(50, ge=1, description="of the sampler; they divide train_steps")
    guidance: float = Field(2.0, ge=0, description="0 = nothing of the EEG, 1 = as trained, above = exaggerated")
    drop_condition: float = Field(0.1, ge=0, lt=1, description="share of training windows of which nothing is told")
    drop_listener: float = Field(0.2, ge=0, le=1, description="share whose listener counts as unknown")
    music_share: float = Field(0.2, ge=0, lt=1, description="share told the music's own embedding; 0 = no oracle")
    sample_seed: int = Field(0, ge=0, description="of the one noise that all windows begin from")
    alignment: Literal["echoes", "fast"] = Field("echoes", description="preset of the alignment network")
    lr: float = Field(2e-4, gt=0, description="AdamW's learning rate")
    lr_decay: float = Field(1.0, gt=0, le=1, description="of the learning rate, each epoch")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's")
    batch_size: int = Field(32, ge=2)
    epochs: int = Field(200, ge=2, description="of both stages")
    control_epochs: int = Field(0, ge=0, description="of the second stage, the last ones; 0 = the later half")
    patience: Literal[0] = Field(0, description="the stages have their numbers of epochs: no early stop")

    @model_validator(mode="after")
    def _fits(self):
        if self.width % (2 * self.heads):
            raise ValueError(f"the width {self.width} must be an even multiple of the {self.heads} heads")
        if self.steps > self.train_steps:
            raise ValueError(f"the sampler cannot take {self.steps} steps of a schedule of {self.train_steps}")
        if self.train_steps % self.steps:
            raise ValueError(f"{self.steps} steps do not divide the schedule's {self.train_steps}")
        if self.control_epochs >= self.epochs:
            raise ValueError(f"control_epochs={self.control_epochs} of {self.epochs} epochs leave the first stage none")
        return self

    @property
    def first_epochs(self):
        """Epochs of the first stage."""
        return self.epochs - (self.control_epochs or self.epochs // 2)


# "echoes" is named for the page; "fast" is ours, for two cores.
PRESETS = {
    "echoes": {},
    "fast": {
        "width": 48, "heads": 4, "blocks": 2, "seconds": 1, "steps": 5, "alignment": "fast", "batch_size": 24, "epochs": 12,
        "lr": 5e-3,
    },
}  # fmt: skip
DEFAULT_PRESET = "echoes"
# What the alignment inside has otherwise than its own preset: it shares the epochs with a generator, which wants latents
# that hold more, and was better so (our choice, measured on the demonstration's listeners).
ALIGNMENTS = {"echoes": {}, "fast": {"latent": 16, "autoencoder_epochs": 60, "dropout": 0.1, "stride": 4}}


class Diffusion(nn.Module):
    """``(n, n_times, n_channels)`` raw EEG → ``(n, n_frames, n_bins)`` spectrograms, drawn from one noise."""

    def __init__(self, config, in_shape, out_shape, groups):
        super().__init__()
        self.config = config
        settings = _alignment(config)
        self.alignment = alignment.build(settings, in_shape, out_shape, groups)
        n_frames, n_bins = out_shape
        latents = (self.alignment.autoencoder.n_latents, settings.latent)
        self.shape = latents if config.space == "latent" else (n_frames, n_bins)
        self.backbone = Backbone(*self.shape, width=config.width, heads=config.heads, blocks=config.blocks)
        self.control = ControlNet(self.backbone, settings.shared, self.alignment.frame_dim, groups[1])
        self.register_buffer("mean", torch.zeros(n_bins))  # of the spectrogram's frames, for space "mel"
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("top", torch.ones(()))  # of a spectrogram: 1, of power the largest in training
        self.scheduler = scheduler(config)
        self.stage = 2
        self.logged = {}

    # --- fitting ---------------------------------------------------------------------------------------------------

    def fit_view(self, view, classes):
        """Fit what the alignment needs (spatial filters, music encoder) and the scale of the spectrograms."""
        view = sides.only_training(view, "the music encoder and the alignment")
        self.alignment.fit_view(view, classes)
        n, total, square, top = 0, 0.0, 0.0, 1.0
        for block in view.blocks():
            y = torch.from_numpy(view.targets(block)).double()
            n, total, square = n + len(y) * y.shape[1], total + y.sum((0, 1)), square + (y**2).sum((0, 1))
            top = max(top, float(y.max()))
        mean = total / n
        self.mean.copy_(mean)
        self.top.fill_(top)
        self.scale.copy_((square / n - mean**2).mean().clamp_min(1e-12).sqrt())

    def fit_output(self, mean):
        """The alignment's mean training picture."""
        self.alignment.fit_output(mean)

    def optimizers(self):
        """One AdamW for all parts; a stage gives gradients to its own."""
        parameters = [p for part in (1, 2) for p in self._parameters_of(part)]
        return {"": torch.optim.AdamW(parameters, lr=self.config.lr, weight_decay=self.config.weight_decay, fused=True)}

    def begin_epoch(self, epoch):
        """Train what belongs to the stage of this epoch, which counts from 0, and nothing else; True where stage II begins."""
        begins = epoch == self.config.first_epochs
        self.stage = 1 if epoch < self.config.first_epochs else 2
        for stage in (1, 2):
            for parameter in self._parameters_of(stage):
                parameter.requires_grad_(stage == self.stage)
        if begins:
            self.control.copy_from(self.backbone)
        return begins

    def train(self, mode=True):
        """What is frozen answers as it will at prediction, without dropout."""
        super().train(mode)
        self.alignment.autoencoder.eval()
        if self.stage == 2:
            self.alignment.eval()
        return self

    def training_loss(self, run, x: Tensor, y: Tensor, song: Tensor, *, part: str = "") -> Tensor:
        """Loss of the stage: contrastive and denoising without EEG, then denoising under control; `run` computes ``forward``."""
        terms = run(x, y)
        self.logged = {name: term.detach() for name, term in terms.items()}
        if "contrastive" in terms:
            self.logged |= self.alignment.logged
        return sum(terms.values())

    def validation_loss(self, run, x: Tensor, y: Tensor, song: Tensor) -> Tensor:
        """The same terms at fixed times of the noise and with fixed noise, which costs one look and no sampling."""
        return sum(run(x, y).values())

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of sampled spectrograms."""
        return F.mse_loss(output, target)

    def _losses(self, x, y):
        z = self.encode(y)
        n, last = len(z), self.config.train_steps
        if self.training:
            t, noise = torch.randint(0, last, (n,), device=z.device), torch.randn_like(z)
        else:  # every window at every checked time
            z = z.repeat(len(CHECKED), 1, 1)
            t = torch.tensor([int(part * last) for part in CHECKED], device=z.device).repeat_interleave(n)
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(CHECK_SEED)).to(z.device)
        control = condition = None
        terms = {}
        if self.stage == 1:
            terms["contrastive"] = self.alignment.contrastive(x, y)
        else:
            condition = self._training_condition(x, y) if self.training else self.condition(x)
            condition = condition if self.training else condition.repeated(len(CHECKED))
            control = self.control
        answer = self.backbone(self.scheduler.add_noise(z, noise, t), t, control, condition)
        wanted = z if self.config.prediction == "sample" else self.scheduler.get_velocity(z, noise, t)
        return terms | {"denoising": F.mse_loss(answer.float(), wanted)}

    def _training_condition(self, x, y):
        """Mostly of the EEG; in some windows of the music, of nothing, or of a listener that nobody knows."""
        n, device = len(x), x.device
        is_music, unknown, nothing = (
            torch.rand(n, device=device) < share
            for share in (self.config.music_share, self.config.drop_listener, self.config.drop_condition)
        )
        with torch.no_grad():
            eeg = self.condition(x)
            pooled = eeg.pooled.clone()
            if is_music.any():
                pooled[is_music] = self.alignment.embed_music(y[is_music]).float()
        listener = torch.where(unknown, self.control.listeners.num_embeddings - 1, eeg.listener)
        return Condition(pooled, eeg.frames, listener, ~is_music, nothing)

    def _parameters_of(self, stage):
        if stage == 2:
            return list(self.control.parameters())
        frozen = set(map(id, self.alignment.autoencoder.parameters()))
        return [p for p in self.alignment.parameters() if id(p) not in frozen] + list(self.backbone.parameters())

    # --- sampling --------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, y: Tensor | None = None):
        """Spectrograms of the EEG; in training and validation, which have the truth `y`, the terms of the loss."""
        return self.sample(x) if y is None else self._losses(x, y)

    def sample(self, x: Tensor, *, guidance=None, steps=None, seed=None) -> Tensor:
        """Spectrograms drawn from noise under the EEG's guidance.

        Parameters
        ----------
        x : Tensor [shape=(n, n_times, n_channels)]
        guidance : float, optional
        steps, seed : int, optional
            Without them, those of the settings.

        Returns
        -------
        Tensor [shape=(n, n_frames, n_bins)], in [0, 1]

        Raises
        ------
        ParameterError
            Guidance below 0, or steps that do not divide the schedule.
        """
        return self.draw(self.condition(x), guidance=guidance, steps=steps, seed=seed)

    def oracle(self, x: Tensor, y: Tensor, **options) -> Tensor:
        """An **oracle**, no reconstruction: sampled under the embedding of the true spectrograms `y`, not of the EEG.

        It has their one embedding in the shared space, not its course in time; the listener is still told from the EEG.
        Options as of `sample`.

        Raises
        ------
        ParameterError
            The ControlNet was never told the music's own embedding (``music_share=0``).
        """
        if not self.config.music_share:
            raise ParameterError(
                "the oracle is told the music's own embedding, which this ControlNet never met in training "
                "(music_share=0). Train with --set music_share=0.2."
            )
        return self.draw(self.music_condition(x, y), **options)

    def draw(self, condition: Condition, *, guidance=None, steps=None, seed=None) -> Tensor:
        """Spectrograms ``(n, n_frames, n_bins)`` for any condition; options as of `sample`."""
        guidance = self.config.guidance if guidance is None else float(guidance)
        if not 0 <= guidance < float("inf"):
            raise ParameterError(f"guidance={guidance:g}: expected a number, 0 or more.")
        both = guidance not in (0.0, 1.0)
        told = condition.nothing() if guidance == 0 else condition
        told = told.joined(condition.nothing()) if both else told

        def answer(z, t):
            if not both:
                return self.backbone(z, t, self.control, told)
            with_eeg, without = self.backbone(torch.cat([z, z]), torch.cat([t, t]), self.control, told).chunk(2)
            return without + guidance * (with_eeg - without)

        z = self.noise(self.config.sample_seed if seed is None else seed, condition.pooled.device)
        return self._denoised(z.expand(len(condition.pooled), -1, -1), answer, steps)

    def music(self, n, *, steps=None, seed=0) -> Tensor:
        """What the backbone plays without any EEG: `n` spectrograms, each from a noise of its own.

        No window has a say in them: as many fluent pictures as there are noises.
        """
        generator, device = torch.Generator().manual_seed(seed), self.mean.device
        z = torch.randn(n, *self.shape, generator=generator).to(device)
        return self._denoised(z, self.backbone, steps)

    def _denoised(self, z, answer, steps):
        """Spectrograms of the noise `z`, led by ``answer(z, t)``."""
        sampler = copy.copy(self.scheduler) if steps is None else scheduler(self.config, steps=steps)
        sampler.alphas_cumprod = sampler.alphas_cumprod.to(z.device)
        for t in sampler.timesteps:
            z = sampler.step(answer(z, t.to(z.device).expand(len(z))).float(), t, z).prev_sample
        return self.decode(z)

    def noise(self, seed, device="cpu") -> Tensor:
        """The noise of a seed, ``(1, n_tokens, dim)``: one for all windows."""
        return torch.randn(1, *self.shape, generator=torch.Generator().manual_seed(seed)).to(device)

    def embed_eeg(self, x: Tensor):
        """As of the alignment inside."""
        return self.alignment.embed_eeg(x)

    def embed_music(self, y: Tensor) -> Tensor:
        """As of the alignment inside."""
        return self.alignment.embed_music(y)

    def condition(self, x: Tensor) -> Condition:
        """What the EEG tells: the embeddings that stage I predicts from it, and the listener whom it is most like."""
        nearest = self._nearest(x)
        pooled, _ = self.alignment.embed_eeg(x, who=nearest)
        frames = self.alignment.linear(x)  # what a network learnt by heart of the training would mislead the ControlNet
        no = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return Condition(pooled.float(), frames.float(), self._known(nearest), ~no, no)

    def music_condition(self, x: Tensor, y: Tensor) -> Condition:
        """What true spectrograms would tell: their embedding, without a course in time."""
        pooled = self.alignment.embed_music(y).float()
        no = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        nothing = pooled.new_zeros(len(x), self.alignment.n_steps, self.alignment.frame_dim)
        return Condition(pooled, nothing, self.listener(x), no, no)

    def listener(self, x: Tensor) -> Tensor:
        """Number of the training listener whom each window is most like, ``(n,)``; the last one stands for all others."""
        return self._known(self._nearest(x))

    def _nearest(self, x):
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return self.alignment.spatial.nearest(x - x.mean(1, keepdim=True))

    def _known(self, nearest):
        """The references of listeners without a training window are the mean's."""
        references = self.alignment.spatial.references
        unknown = (references == references[-1]).flatten(1).all(1)
        return torch.where(unknown[nearest], len(references) - 1, nearest)

    def encode(self, y: Tensor) -> Tensor:
        """Spectrograms → frames that are diffused, ``(n, n_tokens, dim)``, of about unit variance."""
        with torch.no_grad(), torch.autocast(y.device.type, enabled=False):
            if self.config.space == "latent":
                return self.alignment.autoencoder.encode(y.float()).mT
            return (y.float() - self.mean) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """Frames that were diffused → spectrograms in [0, 1] (of power: up to the largest in training)."""
        with torch.autocast(z.device.type, enabled=False):
            y = self.alignment.autoencoder.decode(z.mT) if self.config.space == "latent" else z * self.scale + self.mean
            return y.clamp(min=0).minimum(self.top)

    def facts(self):
        """What the provenance of a run says: the parameters of each part, and what steers at prediction."""
        parts = {
            "alignment": sum(p.numel() for p in self.alignment.parameters()),
            "backbone": sum(p.numel() for p in self.backbone.parameters()),
            "control": sum(p.numel() for p in self.control.parameters()),
        }
        return {
            "n_parameters": sum(parts.values()),
            **{f"n_parameters_{name}": n for name, n in parts.items()},
            "condition": "embedding predicted from EEG",
            "guidance": self.config.guidance,
            "sample_seed": self.config.sample_seed,
        }


def scheduler(config, *, steps=None):
    """The sampler of diffusers for these settings, with its timesteps set.

    Parameters
    ----------
    config : Config
    steps : int, optional
        Instead of the settings'.

    Returns
    -------
    diffusers.DDIMScheduler

    Raises
    ------
    ParameterError
        Steps that do not divide the schedule.
    MissingDependencyError
        diffusers is not installed.

    Examples
    --------
    >>> [int(t) for t in scheduler(Config(steps=4)).timesteps]
    [999, 749, 499, 249]
    """
    steps = config.steps if steps is None else steps
    if steps != int(steps) or not 1 <= steps <= config.train_steps or config.train_steps % steps:
        raise ParameterError(
            f"steps={steps}: expected a whole number that divides the {config.train_steps} steps of the schedule."
        )
    try:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the model diffusion needs {error.name}, which is not installed. Install it with: "
            'python -m pip install "eegviz[train]"'
        ) from error
    made = DDIMScheduler(
        num_train_timesteps=config.train_steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample" if config.prediction == "sample" else "v_prediction",
        clip_sample_range=CLIP,
        timestep_spacing="trailing",  # the first step is the noise alone (Lin et al. 2024, arXiv:2305.08891)
    )
    made.set_timesteps(int(steps))
    return made


def build(config, in_shape, out_shape, groups):
    """A `Diffusion` for raw EEG of `in_shape`, spectrograms of `out_shape` and ``(n_songs, n_listeners)``."""
    return Diffusion(config, in_shape, out_shape, groups)


def features(config):
    """What the EEG pictures must hold: what the alignment asks for, and the seconds of a window."""
    return alignment.features(_alignment(config))


def for_features(config, eeg):
    """The settings as they are; the alignment filters raw EEG in space and refuses spectra."""
    if eeg != "raw":
        raise ParameterError(f"diffusion aligns raw EEG; found eeg={eeg!r}. Use --eeg raw.")
    return config


def _alignment(config):
    """Settings of the alignment network inside."""
    inside = alignment.PRESETS[config.alignment] | ALIGNMENTS[config.alignment]
    return alignment.Config(**inside | {"duration": config.seconds})


def beside(config, windows, opened):
    """Nothing: the music encoder is inside."""
    return
