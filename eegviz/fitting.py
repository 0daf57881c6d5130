"""Fitting and predicting: one visible loop, a checkpoint after every epoch, and resuming that changes nothing.

An interrupted fit continues from its last epoch and ends, on a CPU, with the same bytes as an uninterrupted one: each
epoch draws its order and its dropout from the seed and its own number. The weights kept are those of the epoch with
the best **validation** loss; the test windows are never looked at.

Functions: `fit_statistics`, `fit`, `predict`, `mean_loss`; `Compute` says where and how precisely.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from eegviz import sides
from eegviz.errors import DataError, ParameterError

PRECISIONS = ("auto", "bf16", "float32")
PREDICT_BATCH = 64  # windows


@dataclass(frozen=True)
class Compute:
    """Where and how precisely to compute: a torch device and ``"bf16"`` or ``"float32"``."""

    device: torch.device
    precision: str

    @classmethod
    def choose(cls, device="auto", precision="auto"):
        """Resolve ``"auto"``: a GPU when there is one; bf16 where the processor multiplies it natively."""
        if precision not in PRECISIONS:
            raise ParameterError(f"unknown precision {precision!r}; known are {', '.join(PRECISIONS)}.")
        try:
            chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        except RuntimeError:
            raise ParameterError(f"unknown device {device!r}; known are auto, cpu, cuda, cuda:N.") from None
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise ParameterError(f"device {device!r} asked for, but torch finds no GPU here. Use --device cpu.")
        if precision == "auto":
            native = torch.cuda.is_bf16_supported() if chosen.type == "cuda" else _cpu_has_bf16()
            precision = "bf16" if native else "float32"
        return cls(chosen, precision)


def fit_statistics(net, view, *, classes=()):
    """Give the network the statistics of its **training** windows: input scaling, mean target.

    Parameters
    ----------
    net : torch.nn.Module
        With ``fit_input(blocks)``, or ``fit_view(view, classes)`` where it needs to know who hears what; and
        ``fit_output(mean)``.
    view : TrainingView
        From `eegviz.sides.training_view`; anything else is refused.
    classes : sequence of str
        All songs, those of the test too.
    """
    view = sides.only_training(view, "the input scaling and the mean target")
    if hasattr(net, "fit_view"):
        net.fit_view(view, classes)
    else:
        blocks = (view.pictures(block) for block in view.blocks(PREDICT_BATCH))
        net.fit_input(torch.from_numpy(np.ascontiguousarray(block)) for block in blocks)
    total = sum(np.asarray(view.targets(block), np.float64).sum(0) for block in view.blocks(PREDICT_BATCH))
    net.fit_output(torch.as_tensor(total / len(view)))


def fit(
    net,
    batches,
    train,
    *,
    validation,
    settings,
    seed,
    folder=None,
    compute=None,
    progress=True,
    description="training",
):
    """The training loop.

    Parameters
    ----------
    net : torch.nn.Module
        With ``loss(output, target)``. Changed in place; ends with the weights of the best validation epoch. Where
        training is more than the loss of an output, it has some of: ``training_loss(run, x, y, …, part=…)``, which computes
        its ``forward`` through `run`; ``validation_loss(run, x, y, …)``, the same for validation; ``begin_epoch(epoch)``, told
        from 0, which returns True where a new stage begins, whose losses mean something else: no epoch before it is the
        best any more; ``optimizers()``, one for each part, which learn from a batch in turn; ``logged``, a dict of tensors
        of the last step, whose means go into the history.
    batches : callable
        ``batches(index) -> (x, y, …)`` arrays of the windows `index`.
    train, validation : np.ndarray of int
        Window indices. An empty validation keeps the last epoch.
    settings : object
        With ``lr batch_size epochs patience``, and ``lr_decay`` where the learning rate falls by a factor an epoch.
    seed : int
    folder : path, optional
        Where ``resume.pt`` and ``history.csv`` go after every epoch, and are continued from.
    compute : Compute, optional
    progress : bool
    description : str

    Returns
    -------
    list of dict
        One row an epoch: epoch, train_loss (of the last part), validation_loss, seconds, and what the network logs.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if len(train) < 2:
        raise ParameterError(f"training needs two windows or more, found {len(train)}. Choose another split or range.")
    compute = compute or Compute.choose()
    AcceleratorState._reset_state(reset_partial_state=True)  # one process may train several runs in turn
    accelerator = Accelerator(
        cpu=compute.device.type == "cpu", mixed_precision="bf16" if compute.precision == "bf16" else "no"
    )
    net.to(memory_format=torch.channels_last)
    optimizers = net.optimizers() if hasattr(net, "optimizers") else {
        "": torch.optim.Adam(net.parameters(), lr=settings.lr)
    }  # fmt: skip
    wrapped = accelerator.prepare(net)
    optimizers = {part: accelerator.prepare(optimizer) for part, optimizer in optimizers.items()}
    training_loss = getattr(net, "training_loss", lambda run, x, y, part: net.loss(run(x), y))
    state = _State.load(folder, net, optimizers) if folder else _State()
    steps = max(1, -(-len(train) // settings.batch_size))
    bar = tqdm(
        total=settings.epochs * steps,
        initial=len(state.history) * steps,
        desc=description,
        disable=None if progress and not os.environ.get("TQDM_DISABLE") else True,  # None: quiet without a terminal
        unit="step",
    )
    while len(state.history) < settings.epochs and not (settings.patience and state.stale >= settings.patience):
        start, epoch = time.monotonic(), len(state.history)
        order = np.random.default_rng([seed, epoch]).permutation(train)
        torch.manual_seed(int(np.random.default_rng([seed, epoch, 1]).integers(2**31)))  # of the dropout
        if hasattr(net, "begin_epoch") and net.begin_epoch(epoch):
            state.forget_best()
        for group in (group for optimizer in optimizers.values() for group in optimizer.param_groups):
            group["lr"] = settings.lr * getattr(settings, "lr_decay", 1.0) ** epoch
        wrapped.train()
        losses, weights, logged = [], [], []
        for i in range(0, len(order), settings.batch_size):
            index = np.sort(order[i : i + settings.batch_size])
            bar.update()
            if len(index) < 2:  # batch normalisation needs two
                continue
            batch = _to(batches(index), accelerator.device)
            for part, optimizer in optimizers.items():
                loss = training_loss(wrapped, *batch, part=part)
                accelerator.backward(loss)
                optimizer.step()
                for every in optimizers.values():  # a generator's loss leaves gradients in its discriminator
                    every.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            logged.append(dict(getattr(net, "logged", {})))
            weights.append(len(index))
        train_loss = _mean(losses, weights)
        validation_loss = mean_loss(wrapped, net, batches, validation, accelerator.device)
        if not np.isfinite(train_loss):
            raise DataError(
                f"training diverged: the loss of epoch {epoch + 1} is {train_loss}. Lower the learning rate (--set lr=…)."
            )
        row = {
            "epoch": epoch + 1,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "seconds": round(time.monotonic() - start, 3),
            **{name: _mean([step[name] for step in logged], weights) for name in logged[0]},
        }
        state.update(row, net)
        bar.set_postfix(train=f"{train_loss:.4g}", validation=f"{validation_loss:.4g}")
        if folder:
            state.save(folder, net, optimizers)
    bar.close()
    if state.best is not None:
        net.load_state_dict(state.best)
    net.to("cpu")
    return state.history


def predictor(net, *, compute=None):
    """A function ``(batches, index) -> blocks`` as `predict` is for one network, which threads may call side by side.

    The network is moved to its device here and never again: moving one rebuilds what its recurrent layers read.
    """
    compute = compute or Compute.choose()
    net = net.to(compute.device, memory_format=torch.channels_last).eval()

    def blocks(batches, index):
        with torch.inference_mode(), torch.autocast(compute.device.type, torch.bfloat16, compute.precision == "bf16"):
            for i in range(0, len(index), PREDICT_BATCH):
                x = torch.from_numpy(np.ascontiguousarray(batches(index[i : i + PREDICT_BATCH])[0]))
                yield net(x.to(compute.device)).float().cpu().numpy()

    return blocks


def predict(net, batches, index, *, compute=None):
    """Outputs of `net` for the windows `index`, in order: an iterator of ``(n, …)`` float32 arrays."""
    return predictor(net, compute=compute)(batches, index)


@dataclass
class _State:
    """What a checkpoint holds beside the weights."""

    history: list = None
    best: dict = None
    best_loss: float = float("inf")
    stale: int = 0

    def __post_init__(self):
        self.history = self.history or []

    def update(self, row, net):
        self.history.append(row)
        loss = row["validation_loss"]
        if np.isnan(loss) or loss < self.best_loss:
            self.best_loss, self.stale = loss, 0
            self.best = {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}
        else:
            self.stale += 1

    def forget_best(self):
        self.best, self.best_loss, self.stale = None, float("inf"), 0

    def save(self, folder, net, optimizers):
        states = {part: optimizer.state_dict() for part, optimizer in optimizers.items()}
        value = {"net": net.state_dict(), "optimizers": states, **vars(self)}
        temporary = Path(folder) / f".resume.{os.getpid()}.partial"
        with temporary.open("wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, Path(folder) / "resume.pt")
        pd.DataFrame(self.history).to_csv(Path(folder) / "history.csv", index=False)

    @classmethod
    def load(cls, folder, net, optimizers):
        path = Path(folder) / "resume.pt"
        if not path.exists():
            return cls()
        try:
            value = torch.load(path, weights_only=True, map_location="cpu")
            net.load_state_dict(value.pop("net"))
            states = value.pop("optimizers")
            for part, optimizer in optimizers.items():
                optimizer.load_state_dict(states[part])
        except Exception as error:
            raise DataError(
                f"{path} cannot be continued ({type(error).__name__}: {error}). Delete it; the run then starts afresh."
            ) from error
        return cls(**value)


def mean_loss(wrapped, net, batches, index, device="cpu"):
    """Mean of `net.loss`, or of `net.validation_loss`, over the windows `index`; NaN without any.

    It is computed by `wrapped`, the network or what runs it.
    """
    if not len(index):
        return float("nan")
    wrapped.eval()
    judged = getattr(net, "validation_loss", lambda run, x, y, *_: net.loss(run(x), y))
    total = 0.0
    with torch.inference_mode():
        for i in range(0, len(index), PREDICT_BATCH):
            block = index[i : i + PREDICT_BATCH]
            total += judged(wrapped, *_to(batches(block), device)).item() * len(block)
    return total / len(index)


def _mean(values, weights):
    return (torch.stack(values).cpu() * torch.tensor(weights)).sum().item() / sum(weights)


def _to(arrays, device) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(a)).to(device, non_blocking=True) for a in arrays)


def _cpu_has_bf16():
    # torch has no public question for this; where the private one is missing, float32 is right
    question = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(question and question())
