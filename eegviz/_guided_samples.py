"""Samples of a diffusion run beside its own predictions: at another guidance, without EEG, told the true music.

`eegviz.generation` judges them.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from eegviz import fitting
from eegviz.errors import ParameterError

BLOCK = 256  # pictures at a time


def drawn(run, eeg, *, guidance):
    """Samples of a diffusion run at another guidance, from its one noise.

    Parameters
    ----------
    run : Run
    eeg : np.ndarray [shape=(n, n_times, n_channels)]
        EEG pictures, such as ``windows.pictures(index)``.
    guidance : float, ≥ 0

    Returns
    -------
    np.ndarray [shape=(n, n_frames, n_bins)]

    Raises
    ------
    ParameterError
        A run of a model without guidance, or a guidance below 0.
    """
    net = run.network()
    if not hasattr(net, "oracle"):
        raise ParameterError(
            f"run {run.path.name} is of the model {run.config['model']['name']}, which has no guidance."
        )
    if not guidance >= 0:
        raise ParameterError(f"guidance={guidance}: expected a number, 0 or more.")
    net.config = net.config.model_copy(update={"guidance": float(guidance)})
    compute = fitting.Compute.choose("auto", run.provenance["precision"])
    blocks = fitting.predict(net, lambda rows: (eeg[rows], None), np.arange(len(eeg)), compute=compute)
    return np.concatenate(list(blocks))


class Samples:
    """Samples of a run's test windows at another guidance, and its oracle."""

    def __init__(self, run, net, windows, split):
        self._own, self._predictions, self._net = net.config.guidance, run.predictions, net
        self._windows, self._test = windows, split.test
        self._compute = fitting.Compute.choose("auto", run.provenance["precision"])

    def at(self, guidance):
        if guidance == self._own:
            return self._predictions
        net = copy.copy(self._net)
        net.config = net.config.model_copy(update={"guidance": guidance})
        blocks = fitting.predictor(net, compute=self._compute)
        return np.concatenate(list(blocks(lambda rows: (self._windows.pictures(rows), None), self._test)))

    def music(self, n):
        net = self._net.to(self._compute.device).eval()
        with torch.inference_mode():
            return np.concatenate([
                net.music(min(BLOCK, n - i), seed=i).cpu().numpy() for i in range(0, n, BLOCK)
            ])  # fmt: skip

    def oracle(self):
        device, blocks = self._compute.device, np.array_split(self._test, -(-len(self._test) // fitting.PREDICT_BATCH))
        net = self._net.to(device).eval()
        with torch.inference_mode():
            made = [
                net.oracle(
                    *(torch.from_numpy(a).to(device) for a in (self._windows.pictures(b), self._windows.target(b)))
                )
                for b in blocks
            ]
        return torch.cat(made).float().cpu().numpy()
