"""Speed of a training step on the CPU: ``python -m pytest tests/benchmarks/bench_training.py -s``."""

import time

import numpy as np
import pytest
import torch

from eegviz import models
from eegviz.fitting import Compute


def step_seconds(*, precision, channels_last):
    """Median seconds of a step of the published regressor on a batch of 60."""
    torch.manual_seed(0)
    net = models.module("cnn").build(models.config("cnn", "eeg2mel"), (63, 125), (44, 128))
    if channels_last:
        net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters())
    x, y, times = torch.rand(60, 63, 125), torch.rand(60, 44, 128), []
    for _ in range(4):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
            output = net(x)
        net.loss(output, y).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def test_bf16_is_twice_as_fast_as_float32():
    if Compute.choose("cpu", "auto").precision != "bf16":
        pytest.skip("this processor does not multiply bf16 natively; training then takes float32")
    plain = step_seconds(precision="float32", channels_last=False)
    ours = step_seconds(precision="bf16", channels_last=True)
    print(f"\none step of the published CNN, batch 60: float32 {plain:.2f} s, bf16 and channels_last {ours:.2f} s: "
          f"{plain / ours:.1f} × (bar 2)")  # fmt: skip
    assert plain >= 2 * ours
