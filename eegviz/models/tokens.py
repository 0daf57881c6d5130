"""Music from tokens: EEG and music as entries of two dictionaries, and a Transformer that translates one into the other.

A window of 4 s is cut into steps. *EEG token*: differential entropy of each band and channel → nearest entry of a
dictionary that DBSCAN made (`eegviz.dictionary`) → its centroid with a sinusoidal position, joined with convolutional
features of the raw step. *Audio token*: the same of a step of the spectrogram. An encoder reads the EEG tokens; a *feature
mask* made of its last attention weighs its output; a decoder reads audio tokens, some of them masked, attends to the
EEG, and names the entry of every step. The loss is ``(1 - α) L_masked + α L_unmasked`` (equation 13) of ``-log p``; the
document prints equation 14 without the minus sign.

At test **no audio is given**: all steps are masked, the decoder fills them in, keeps those it is surest of, masks the
others again and repeats (`passes`). A picture is the mean of the entries' representative pictures, weighted with their
probabilities (`decode="expected"`), or that of the most probable one (``"nearest"``).

Our choice, because the document says nothing of it: the length of a step; eps, MinPts and how they are found; the entropy
of audio (means of the picture over 2 × 32 parts of a step: on a logarithmic scale that is the entropy of its bands but for
a constant and a factor); the feature mask's rule (each EEG step's output times the attention that it receives, mean 1);
d_model, heads, share of masked steps, α; decoding in passes. Refining decoding: Ghazvininejad et al. 2019,
https://doi.org/10.18653/v1/D19-1633.

The rows of the document's tables are settings: `sequence` (rnn, lstm, cnn in the Transformer's place), ``convolution=False``
(Transformer without CNN), `eeg_clusters`, `audio_clusters` (no dictionary: the features themselves; audio is then
regressed, in one pass), `channels` (the picks of other studies, `PICKS`), and ours, ``eeg_input=False``: a learned constant in
the place of the EEG, which shows what the music alone gives.

The document: "Clustering and Transformer" for emotional music on DEAP, https://doi.org/10.3389/fnbot.2024.1437737;
notebook 10. Functions: `build`, `activity`, `picked`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegviz import dictionary, sides
from eegviz.errors import DataError, ParameterError
from eegviz.models._token_config import PICKS, Config, names_of, picked
from eegviz.models._token_parts import (
    BandEntropy,
    Entries,
    Tokens,
    mask_steps,
    most_certain,
    pair,
    pooled,
    weighted_losses,
)
from eegviz.models.layers import start_at

__all__ = ["PICKS", "PRESETS", "Config", "TokenModel", "activity", "build", "picked"]
EEG = "raw"
TASK = "regression"
SCALED_ON = 256  # training windows that the EEG's scale is taken from, evenly spaced

# "tokens" has the document's windows and best depth. "fast" is ours, for two cores.
PRESETS = {
    "tokens": {},
    "fast": {
        "width": 32,
        "depth": 2,
        "heads": 2,
        "feed_forward": 64,
        "epochs": 8,
        "batch_size": 16,
        "lr": 2e-3,
        "patience": 0,
    },
}
DEFAULT_PRESET = "tokens"


class TokenModel(nn.Module):
    """``(n, n_times, n_channels)`` raw EEG in µV → ``(n, n_frames, n_bins)`` spectrograms, decoded from the EEG alone."""

    def __init__(self, config, in_shape, out_shape):
        super().__init__()
        self.config = config
        n_times, n_channels = in_shape
        n_frames, n_bins = out_shape
        self.n_steps = config.seconds * config.steps
        if n_frames % self.n_steps:
            raise ParameterError(
                f"tokens cuts {n_frames} frames into {self.n_steps} equal steps, which does not come out even. Use "
                "--set steps=1, or --audio mel-db, whose seconds have 44 frames."
            )
        self.picture = n_frames // self.n_steps, n_bins  # of a step
        n_parts = min(2, self.picture[0]) * min(32, n_bins)
        self.audio = Entries(
            n_parts, components=config.components, picture=self.picture, discrete=config.audio_clusters
        )
        joined = {"convolution": config.convolution}
        self.audio_tokens = Tokens(n_parts, n_bins, self.n_steps, config.width, **joined)
        self.masked = nn.Parameter(0.02 * torch.randn(config.width))
        if config.eeg_input:
            n_picked = n_channels if config.channels == "all" else len(names_of(config.channels))
            length = n_times // self.n_steps  # samples of a step; steps begin at the nearest sample
            begins = (np.arange(self.n_steps) * n_times / self.n_steps).astype(int)
            self.register_buffer("cut", torch.from_numpy(begins[:, None] + np.arange(length)), persistent=False)
            self.register_buffer("pick", torch.arange(n_picked) % n_channels)
            self.register_buffer("scale", torch.ones(n_picked))  # of each channel
            self.entropy = BandEntropy(length, n_times / config.seconds, config.bands)
            n_entropies = len(config.bands) * n_picked
            self.eeg = Entries(n_entropies, components=config.components, discrete=config.eeg_clusters)
            self.eeg_tokens = Tokens(n_entropies, n_picked, self.n_steps, config.width, **joined)
        else:
            self.constant = nn.Parameter(0.02 * torch.randn(config.width))
        self.sequence = pair(config)
        self.dropout = nn.Dropout(config.dropout)
        self.last = nn.Linear(config.width, 2 if config.audio_clusters else self.picture[0] * n_bins)
        self.logged, self._found = {}, {}
        self.register_load_state_dict_pre_hook(_make_room)

    # ------------------------------------------------------------------------------------ what is fitted

    def fit_view(self, view, classes):
        """Make the dictionaries, on the training side; where a modality has none, its standardisation only."""
        view = sides.only_training(view, "the dictionaries of EEG and of music")
        with torch.no_grad():
            if self.config.eeg_input:
                self._fit_eeg(view)
            self._fit_audio(view)

    def _fit_eeg(self, view):
        every = np.arange(len(view))
        if self.config.channels != "all":
            self.pick.copy_(torch.from_numpy(picked(names_of(self.config.channels), view.settings.get("ch_names", []))))
        square = n = 0.0
        for rows in np.array_split(every[:: -(-len(every) // SCALED_ON)], 8):
            if len(rows):
                x = self._picked(torch.from_numpy(np.ascontiguousarray(view.pictures(rows)))).double()
                square, n = square + (x**2).sum((0, 1)), n + x.shape[0] * x.shape[1]
        if not torch.isfinite(square).all() or not square.any():
            state = "silent" if torch.isfinite(square).all() else "not finite"
            raise DataError(f"the EEG of the training windows is {state}. Check the store with eegviz info --verify.")
        self.scale.copy_(torch.where(square > 0, (n / square.clamp_min(1e-30)).sqrt(), 0.0))

        def read(rows):
            x = self._picked(torch.from_numpy(np.ascontiguousarray(view.pictures(rows))))
            found = self.entropy(x[:, self.cut]).numpy()
            return found, found

        made = self._fill(self.eeg, view, read, eps=self.config.eeg_eps, what="EEG")
        if made is not None:
            subjects = pd.Series(view.table["subject"].to_numpy(str)[made.rows])
            commonest = subjects.groupby(made.entries).transform(lambda own: own.mode()[0])
            self._found["eeg_one_listener"] = float((commonest == subjects).mean())

    def _fit_audio(self, view):
        first = ~view.table.duplicated(["stimulus", "second"]).to_numpy()  # music counts once, however many heard it

        def read(rows):
            steps = self._audio_steps(torch.from_numpy(np.ascontiguousarray(view.targets(rows), np.float32)))
            return pooled(steps).numpy(), steps.numpy()

        made = self._fill(self.audio, view, read, rows=np.flatnonzero(first), eps=self.config.audio_eps, what="music")
        if made is not None:  # start at how often each entry occurs
            self.last = nn.Linear(self.config.width, len(made))
            counts = torch.from_numpy(np.bincount(made.entries, minlength=len(made)) + 1.0)
            start_at(self.last, torch.log(counts / counts.sum()))

    def _fill(self, entries, view, read, *, eps, what, rows=None):
        """Fill `entries`: the dictionary that was made, or None where there shall be none."""
        options = {"rows": rows, "max_points": self.config.max_points, "what": what}
        if not entries.discrete:
            entries.fill_scale(*dictionary.scaling(dictionary.sample(view, read, **options).points))
            return None
        made = dictionary.fit(
            view, read, eps=eps, min_points=self.config.min_points, components=self.config.components, **options
        )
        entries.fill(made)
        return made

    def fit_output(self, mean):
        """Without an audio dictionary, start at the mean training picture of a step."""
        if not self.config.audio_clusters:
            start_at(self.last, mean.reshape(self.n_steps, -1).mean(0))

    def facts(self):
        """What the provenance of a run says: size, noise, eps of each dictionary, and how far EEG entries are listeners."""
        found = self.eeg.facts("eeg") if self.config.eeg_input else {}
        return found | self.audio.facts("audio") | self._found

    # ------------------------------------------------------------------------------------ what is computed

    def forward(self, x: Tensor, *, teacher: Tensor | None = None):
        """Spectrograms, decoded from the EEG alone; with a `teacher` what training needs.

        Parameters
        ----------
        x : Tensor [shape=(n, n_times, n_channels)]
        teacher : Tensor, optional
            True spectrograms, of which some steps are masked: training only.

        Returns
        -------
        Tensor [shape=(n, n_frames, n_bins)], or with a teacher three tensors [shape=(n, n_steps, …)]
            Scores of the entries of every step, which steps were masked, and the true entries; without an audio
            dictionary pictures in the place of scores and of entries.
        """
        memory = self._encode(x)
        if teacher is None:
            return self._write(memory).flatten(1, 2)
        low, high = self.config.mask_ratio
        masked = mask_steps(len(x), self.n_steps, low, high, device=x.device)
        steps = self._audio_steps(teacher)
        with torch.autocast(x.device.type, enabled=False):
            parts = pooled(steps.float())
            wanted = self.audio.nearest(parts) if self.config.audio_clusters else steps.flatten(2)
            vectors = self.audio.vectors[wanted] if self.config.audio_clusters else self.audio.standard(parts)
        return self._answers(self.audio_tokens(vectors, steps), masked, memory), masked, wanted

    def training_loss(self, run, x: Tensor, y: Tensor, *, part: str = "") -> Tensor:
        """Equation 13 of a batch whose steps are masked at random; `run` computes ``forward``."""
        answers, masked, wanted = run(x, teacher=y)
        if self.config.audio_clusters:
            losses = F.cross_entropy(answers.mT, wanted, reduction="none")
            right = (answers.argmax(-1) == wanted).float()
            self.logged["accuracy"] = (right * masked).sum().detach() / masked.sum()
        else:
            losses = ((answers - wanted) ** 2).mean(-1)
        loss, of_masked, of_others = weighted_losses(losses, masked, self.config.alpha)
        self.logged |= {"masked": of_masked.detach(), "unmasked": of_others.detach()}
        return loss

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of freely decoded pictures, which validation goes by."""
        return F.mse_loss(output, target)

    def _picked(self, x):
        """The picked channels, each window's mean removed."""
        x = x.float()
        if self.config.channels != "all":
            x = x[:, :, self.pick]
        return x - x.mean(1, keepdim=True)

    def _audio_steps(self, y):
        return y.unflatten(1, (self.n_steps, -1))

    def _encode(self, x):
        """What the decoder attends to, ``(n, n_steps, width)``."""
        if not self.config.eeg_input:
            return self.sequence.encode((self.constant + self.audio_tokens.positions).expand(len(x), -1, -1))
        with torch.autocast(x.device.type, enabled=False):
            steps = self._picked(x)[:, self.cut]  # (n, n_steps, length, n_picked)
            vectors = self.eeg.vector(self.entropy(steps))
            steps = steps * self.scale
        return self.sequence.encode(self.dropout(self.eeg_tokens(vectors, steps)))

    def _answers(self, tokens, masked, memory):
        """Scores of every step's entries (or its picture), from tokens of which those of masked steps are hidden."""
        hidden = self.masked + self.audio_tokens.positions
        tokens = hidden.expand(len(memory), -1, -1) if tokens is None else (
            torch.where(masked.unsqueeze(-1), hidden.to(tokens.dtype), tokens)
        )  # fmt: skip
        return self.last(self.sequence.decode(self.dropout(tokens), memory)).float()

    def _write(self, memory):
        """Decode freely: pictures of the steps, ``(n, n_steps, frames, n_bins)``."""
        answers = self._answers(None, None, memory)
        if not self.config.audio_clusters:
            return answers.unflatten(-1, self.picture)
        probabilities = answers.softmax(-1)
        passes = min(self.config.passes, self.n_steps)
        for done in range(1, passes):
            kept = most_certain(probabilities, self.n_steps * done // passes)
            entries = probabilities.argmax(-1)
            tokens = self.audio_tokens(self.audio.vectors[entries], self.audio.pictures[entries])
            again = self._answers(tokens, ~kept, memory).softmax(-1)
            probabilities = torch.where(kept.unsqueeze(-1), probabilities, again)
        if self.config.decode == "nearest":
            return self.audio.pictures[probabilities.argmax(-1)]
        with torch.autocast(memory.device.type, enabled=False):
            return (probabilities @ self.audio.pictures.flatten(1)).unflatten(-1, self.picture)


def activity(net, ch_names=None) -> pd.DataFrame:
    """The document's figure 3: how active each channel is in each entry of the EEG dictionary.

    The activity is the mean differential entropy over bands of the entry's members, z-scored over the entries for each
    channel.

    Parameters
    ----------
    net : TokenModel
        Trained, as `eegviz.runs.Run.network` returns it.
    ch_names : sequence of str, optional
        All channels of the store, ``windows.settings["ch_names"]``; else they are numbered.

    Returns
    -------
    pandas.DataFrame [shape=(n_channels, n_entries)]
        A row a channel, a column an entry.

    Raises
    ------
    ParameterError
        A network without a dictionary of EEG.
    """
    if not (net.config.eeg_input and net.config.eeg_clusters):
        raise ParameterError(
            "this network has no dictionary of EEG (eeg_input or eeg_clusters is off), so no activity."
        )
    spread = torch.where(net.eeg.scale > 0, 1 / net.eeg.scale, 0.0)
    entropies = (net.eeg.vectors * spread + net.eeg.mean).unflatten(1, (len(net.config.bands), -1)).mean(1)
    values = entropies.T.double().numpy()  # (n_channels, n_entries)
    values = values - values.mean(1, keepdims=True)
    values = values / np.maximum(values.std(1, keepdims=True), 1e-12)
    numbers = net.pick.tolist()
    return pd.DataFrame(values, index=[ch_names[i] for i in numbers] if ch_names is not None else numbers)


def _make_room(net, state_dict, prefix, *_):
    """Give dictionaries and the last layer the sizes of the weights that are about to be loaded."""
    for name, entries in (("eeg", getattr(net, "eeg", None)), ("audio", net.audio)):
        stored = state_dict.get(f"{prefix}{name}.vectors")
        if entries is not None and entries.discrete and stored is not None and len(stored) != len(entries):
            entries.resize(len(stored))
    stored = state_dict.get(f"{prefix}last.bias")
    if stored is not None and len(stored) != net.last.out_features:
        net.last = nn.Linear(net.config.width, len(stored))


def build(config, in_shape, out_shape):
    """A `TokenModel` for raw EEG of `in_shape` and spectrograms of `out_shape`, both of ``config.seconds`` seconds."""
    return TokenModel(config, in_shape, out_shape)


def features(config):
    """What the windows must be: of several seconds."""
    return {"duration": config.seconds}


def for_features(config, eeg):
    """The settings as they are; tokens are made of raw EEG, and spectra are refused."""
    if eeg != "raw":
        raise ParameterError(f"tokens takes entropies of raw EEG itself; found eeg={eeg!r}. Use --eeg raw.")
    return config
