"""Layers that more than one model needs: Keras-like padding, activations, input and output statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": nn.ReLU, "swish": nn.SiLU, "mish": nn.Mish}
PSD_FLOOR = 1e-3  # µV²/Hz added before the logarithm (our choice: about the noise of an amplifier)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: output size ``ceil(size / stride)``, also for even kernels.

    The published layers use 4 × 4 kernels, for which "same" pads one more at the end than at the beginning; PyTorch
    offers that only for stride 1.

    One input channel whose padded width is the kernel's own is computed in float32 also under bf16: on processors with
    AMX, oneDNN (of PyTorch 2.13) then leaves memory that nobody wrote in the output. It concerns recordings of one or two
    channels, and models of width 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(
            reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        x = F.pad(x, pads)
        if self.in_channels == 1 and x.shape[-1] == self.kernel_size[1]:
            with torch.autocast(x.device.type, enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class InputScaling(nn.Module):
    """Scaling of EEG pictures by statistics of the training windows.

    Parameters
    ----------
    kind : {"none", "zscore", "log-zscore"}
        ``none`` is the published code. ``zscore`` removes the mean and divides by the standard deviation of each row
        and channel; ``log-zscore`` takes ``log10(x + PSD_FLOOR)`` first and silences the row of 0 Hz (our choice).
    shape : tuple
        ``(n_rows, n_channels)``.
    """

    def __init__(self, kind, shape):
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def _log(self, x):
        return torch.log10(x.clamp_min(0) + PSD_FLOOR) if self.kind == "log-zscore" else x

    def fit(self, batches):
        """Set mean and scale from an iterable of ``(n, n_rows, n_channels)`` training pictures."""
        if self.kind == "none":
            return
        n, total, square = 0, 0.0, 0.0
        for x in batches:
            x = self._log(x.double())
            n, total, square = n + len(x), total + x.sum(0), square + (x**2).sum(0)
        mean = total / n
        std = (square / n - mean**2).clamp_min(0).sqrt()
        scale = torch.where(std > 1e-6 * std.max(), 1 / std.clamp_min(1e-30), torch.zeros_like(std))
        if self.kind == "log-zscore":
            scale[0] = 0  # 0 Hz holds nothing: the mean of each window is removed
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "none":
            return x
        return (self._log(x) - self.mean) * self.scale


def he_uniform(module):
    """Initialise the weights of every convolution and linear layer as He et al. (uniform), biases at zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


def start_at(layer, mean):
    """Let a linear layer start at the mean training target: bias = `mean`, kernel × .1 (our choice)."""
    with torch.no_grad():
        layer.bias.copy_(mean)
        layer.weight.mul_(0.1)


def scaling_for(config, eeg):
    """Settings whose `scaling` fits a kind of EEG: raw voltages and entropies have a sign, so they get no logarithm."""
    if eeg in ("raw", "de") and config.scaling == "log-zscore":
        return config.model_copy(update={"scaling": "zscore"})
    return config


def l2_penalty(module, strength):
    """Keras' kernel regulariser: ``strength`` × the sum of squared kernel weights, biases left out."""
    if not strength:
        return 0.0
    return strength * sum((m.weight**2).sum() for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def n_parameters(module):
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
