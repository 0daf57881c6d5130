"""Spatial filters that listeners share: Euclidean alignment, then common spatial patterns (CSP), as one layer.

*Alignment* whitens a listener's EEG with the mean covariance of his or her windows, ``R^(-1/2) x``, after which the
covariances of all listeners are centred at the identity. *CSP* finds, for every song against all others, the
projections whose power differs most; MNE fits it on the aligned windows.

Both are fitted on a `TrainingView` and nothing else. A network is not told who listens, no more than for any EEG file, so
a window is aligned with the reference that its own covariance is nearest to: that of a training listener, or the mean
of all, which stands for listeners who have no training window (our choice; the usual alignment takes the listener's test
windows too).

He & Wu 2020, https://doi.org/10.1109/TBME.2019.2913914; CSP of several classes as in NeuroTalk, Lee et al. 2023,
https://doi.org/10.48550/arXiv.2301.07173.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from eegviz import sides
from eegviz.errors import DataError, ParameterError

SHRINKAGE = 0.01  # of a covariance towards a sphere of the same power: average-referenced EEG has no full rank (ours)


class SpatialFilters(nn.Module):
    """``(n, n_times, n_channels)`` raw EEG → ``(n, n_filters, n_times)`` aligned, filtered, unit variance in training.

    Parameters
    ----------
    n_channels : int
    n_classes : int
        Songs; one that is not in the training side has filters of zero.
    n_listeners : int
    per_class : int
        CSP filters of each song; 0 keeps the aligned channels as they are.
    align : bool
        Without, all windows share the mean reference.
    max_windows : int
        CSP is fitted on at most so many training windows, evenly taken.

    Attributes
    ----------
    references : Tensor [shape=(n_listeners + 1, n_channels, n_channels)]
        Mean covariances, the mean of all last; of trace one.
    filters : Tensor [shape=(n_listeners + 1, n_filters, n_channels)]
    """

    def __init__(self, n_channels, n_classes, n_listeners, *, per_class=8, align=True, max_windows=4000):
        super().__init__()
        self.per_class, self.align, self.max_windows = per_class, align, max_windows
        self.n_filters = per_class * n_classes if per_class else n_channels
        self.register_buffer("references", torch.eye(n_channels).div(n_channels).repeat(n_listeners + 1, 1, 1))
        self.register_buffer("filters", torch.zeros(n_listeners + 1, self.n_filters, n_channels))

    def fit(self, view, classes):
        """Fit on the training side.

        Parameters
        ----------
        view : TrainingView
            Of raw EEG.
        classes : sequence of str
            All songs, in the order of the filters.

        Raises
        ------
        ParameterError
            CSP with fewer than two songs in the training side.
        DataError
            EEG that is silent, NaN or infinite.
        """
        view = sides.only_training(view, "alignment and common spatial patterns")
        songs = view.table["stimulus"].to_numpy(str)
        if self.per_class and len(set(songs)) < 2:
            raise ParameterError(
                f"common spatial patterns tell songs apart and need two or more in the training side, found "
                f"{', '.join(sorted(set(songs)))}. Choose another split, or use --set csp=0."
            )
        references = self._fit_references(view)
        whiten = np.stack([inverse_root(reference) for reference in references])
        n_filters, n_channels = self.filters.shape[1:]
        shared = np.eye(n_channels)
        if self.per_class:
            shared = self._csp(view, songs, list(classes), whiten)
        # the last scaling: unit variance of each filter's output over the training windows
        filters = shared @ whiten
        self.filters.copy_(torch.from_numpy(filters))
        square = n = 0.0
        for block in view.blocks():
            out = self(torch.from_numpy(np.ascontiguousarray(view.pictures(block)))).double()
            square, n = square + (out**2).sum((0, 2)), n + out.shape[0] * out.shape[2]
        scale = torch.where(square > 0, (n / square.clamp_min(1e-30)).sqrt(), 0.0)
        self.filters.mul_(scale[:, None].to(self.filters.dtype))

    def nearest(self, x: Tensor) -> Tensor:
        """Which reference each window's covariance is nearest to, ``(n,)``; distances of matrices of trace one."""
        covariance = x.mT @ x  # (n, n_channels, n_channels)
        trace = covariance.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-30)
        flat = self.references.flatten(1)
        like = (covariance.flatten(1) / trace[:, None]) @ flat.T  # (n, n_listeners + 1)
        return (like - 0.5 * (flat**2).sum(1)).argmax(1)  # |a - b|² = |a|² - 2 (a·b - |b|² / 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            x = x - x.mean(1, keepdim=True)
            if not self.align:
                return self.filters[-1] @ x.mT
            return self.filters[self.nearest(x)] @ x.mT

    def _fit_references(self, view):
        """Mean covariance of each listener's training windows, and the mean over listeners last, as float64."""
        listeners = view.table["subject"].to_numpy(str)
        names, n_channels = np.unique(listeners), self.references.shape[-1]
        sums = {name: np.zeros((n_channels, n_channels)) for name in names}
        for block in view.blocks():
            x = np.asarray(view.pictures(block), np.float64)
            x = x - x.mean(1, keepdims=True)
            for name in np.unique(listeners[block]):
                own = x[listeners[block] == name].reshape(-1, n_channels)
                sums[name] += own.T @ own
        for name, own in sums.items():
            power = np.trace(own)
            if not (np.isfinite(power) and power > 0):
                raise DataError(
                    f"the EEG of listener {name} in the training windows is {'silent' if power == 0 else 'not finite'}; "
                    "alignment needs its covariance. Check the store with eegviz info --verify."
                )
        counts = {name: (listeners == name).sum() * view.pictures(np.arange(1)).shape[1] for name in names}
        found = np.stack([sums[name] / counts[name] for name in names])
        mean = found.mean(0)
        references = np.repeat(mean[None], len(self.references), axis=0)
        references[: len(found)] = found
        if not self.align:
            references[:] = mean
        unit = references / np.trace(references, axis1=1, axis2=2)[:, None, None]
        self.references.copy_(torch.from_numpy(unit))
        return references

    def _csp(self, view, songs, classes, whiten):
        """Filters of the aligned windows, ``(n_filters, n_channels)``: each song against all others."""
        import mne

        every = np.arange(len(view))
        chosen = every[:: max(1, -(-len(every) // self.max_windows))]
        x = torch.from_numpy(np.ascontiguousarray(view.pictures(chosen))).float()
        x = x - x.mean(1, keepdim=True)
        nearest = self.nearest(x).numpy() if self.align else np.full(len(x), -1)
        aligned = np.stack([w @ one.T for w, one in zip(whiten[nearest], x.numpy().astype(np.float64), strict=True)])
        filters = np.zeros((len(classes) * self.per_class, whiten.shape[-1]))
        for i, song in enumerate(classes):
            own = songs[chosen] == song
            if not own.any() or own.all():
                continue
            csp = mne.decoding.CSP(
                self.per_class, reg=SHRINKAGE, transform_into="csp_space", cov_est="concat", rank="full"
            )
            with mne.utils.use_log_level("error"):
                csp.fit(aligned, own.astype(int))
            found = csp.filters_[: self.per_class]
            filters[i * self.per_class : i * self.per_class + len(found)] = found
        return filters


def inverse_root(covariance):
    """``R^(-1/2)`` of a covariance ``(n_channels, n_channels)``, shrunk towards a sphere by `SHRINKAGE`.

    Examples
    --------
    >>> inverse_root(np.diag([4.0, 4.0])).round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    n = len(covariance)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / n * np.eye(n)
    values, vectors = np.linalg.eigh(shrunk)
    return (vectors / np.sqrt(values)) @ vectors.T
