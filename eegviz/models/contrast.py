"""Contrast: losses of likenesses between two kinds of embeddings, and the bank of seconds that they are compared with.

Functions: `info_nce` (what training minimises), `rank_loss` (what validation goes by), `same_pictures`. Class: `Bank`.

InfoNCE: van den Oord et al. 2018, https://doi.org/10.48550/arXiv.1807.03748; symmetric: Radford et al. 2021,
https://doi.org/10.48550/arXiv.2103.00020. Several positives, none of them a negative of another, are our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEVER = -1e9  # logit of what is no negative


def info_nce(like, same, *, hard=None) -> Tensor:
    """The symmetric InfoNCE loss with several positives.

    For a row ``i`` and each of its positives ``p``: ``-log(exp(like[i, p]) / (exp(like[i, p]) + sum over negatives n of
    exp(like[i, n])))``, so that positives never stand against each other; the mean over positives, then over rows. The loss
    is the mean of that over rows (each EEG among the music) and over columns (each music among the EEG).

    Parameters
    ----------
    like : Tensor [shape=(n, n)]
        Likenesses of EEG (rows) and music (columns), times the scale.
    same : Tensor of bool [shape=(n, n)]
        Which pairs are of the same second.
    hard : Tensor [shape=(n, k)], optional
        Likenesses of further negatives of each row.

    Returns
    -------
    Tensor, scalar

    Examples
    --------
    Pairs that are alike at scale s and all others orthogonal: ``log(1 + (n - 1) exp(-s))``.

    >>> import math
    >>> round(float(info_nce(2 * torch.eye(3), torch.eye(3, dtype=torch.bool))), 4) == round(math.log(1 + 2 * math.exp(-2)), 4)
    True
    """
    with torch.autocast(like.device.type, enabled=False):
        like = like.float()
        rows = _one_way(like, same, hard)
        return (rows + _one_way(like.T, same.T, None)) / 2


def _one_way(like, same, more):
    against = like.masked_fill(same, NEVER)
    if more is not None:
        against = torch.cat([against, more.float()], 1)
    lost = F.softplus(against.logsumexp(1, keepdim=True) - like)  # -log(e^p / (e^p + Σ e^n)) = softplus(log Σ e^n - p)
    counts = same.sum(1)
    each = (lost * same).sum(1) / counts.clamp_min(1)
    return each.sum() / (counts > 0).sum().clamp_min(1)


def rank_loss(like, same) -> Tensor:
    """Mean share of the negatives of a row that are more alike than its positives, ties at half: .5 by chance.

    Parameters
    ----------
    like : Tensor [shape=(n, n)]
    same : Tensor of bool [shape=(n, n)]
        As in `info_nce`.

    Returns
    -------
    Tensor, scalar

    Examples
    --------
    >>> same = torch.eye(3, dtype=torch.bool)
    >>> float(rank_loss(torch.eye(3), same)), float(rank_loss(-torch.eye(3), same)), float(rank_loss(torch.ones(3, 3), same))
    (0.0, 1.0, 0.5)
    """
    like = like.float()
    own = (like * same).sum(1, keepdim=True) / same.sum(1, keepdim=True)
    above = (like > own).float() + (like == own).float() / 2
    asked = (~same).sum(1)
    return (
        ((above * ~same).sum(1) / asked.clamp_min(1))[asked > 0].mean() if (asked > 0).any() else like.new_tensor(0.5)
    )


def same_pictures(y) -> Tensor:
    """Which of the pictures ``(n, n_frames, n_bins)`` are equal to the last bit: bool ``(n, n)``.

    Examples
    --------
    >>> same_pictures(torch.tensor([0.0, 1.0, 0.0])[:, None, None]).int().tolist()
    [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """
    _, number = torch.unique(y.flatten(1), dim=0, return_inverse=True)
    return number[:, None] == number


class Bank(nn.Module):
    """The distinct training seconds: pictures, music vectors and songs; as many as the training side or a file has.

    Attributes
    ----------
    pictures : Tensor [shape=(n_seconds, n_frames, n_bins)]
    music : Tensor [shape=(n_seconds, n_music)]
        What the frozen encoder says of them.
    songs : Tensor of int [shape=(n_seconds,)]
    mean, spread : Tensor [shape=(n_music,)]
        Of `music`.
    """

    def __init__(self, out_shape, n_music):
        super().__init__()
        self.register_buffer("pictures", torch.zeros(1, *out_shape))
        self.register_buffer("music", torch.zeros(1, n_music))
        self.register_buffer("songs", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(n_music))
        self.register_buffer("spread", torch.ones(n_music))

    def fill(self, pictures, music, songs):
        """Take the distinct seconds of the training side."""
        self.pictures, self.music, self.songs = pictures, music, songs
        self.mean.copy_(music.mean(0))
        deviation = music.std(0, correction=0)
        self.spread.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def standardised(self, music):
        """Music vectors ``(…, n_music)`` of mean 0 and deviation 1 over the bank."""
        return (music - self.mean) / self.spread

    def mean_picture(self, weights):
        """Mixtures of the pictures: ``(n, n_seconds)`` → ``(n, n_frames, n_bins)``."""
        return (weights @ self.pictures.flatten(1)).unflatten(1, self.pictures.shape[1:])

    def draw(self, songs, n):
        """`n` random seconds of each of the `songs` ``(m,)``: rows ``(m, n)``; of any song where the bank has none."""
        own = (self.songs == songs[:, None]).float()  # (m, n_seconds)
        own = torch.where(own.any(1, keepdim=True), own, torch.ones_like(own))
        return torch.multinomial(own, n, replacement=True)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in ("pictures", "music", "songs"):  # their number is the file's
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.mean.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
