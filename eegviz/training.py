"""Training: one visible loop, a checkpoint after every epoch, and resuming that changes nothing.

An interrupted run continues from its last epoch and ends, on a CPU, with the same bytes as an uninterrupted one: each
epoch draws its order and its dropout from the seed and its own number. The weights kept are those of the epoch with
the best **validation** loss; the test windows are never looked at.

Functions: `configure`, `train`, `fit`, `predict`.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from eegviz import features, models, runs, splits, windowing
from eegviz.errors import DataError, ParameterError
from eegviz.models.layers import n_parameters
from eegviz.store import Store

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None

PRECISIONS = ("auto", "bf16", "float32")
PREDICT_BATCH = 64  # windows


def configure(
    store: Store,
    *,
    model="cnn",
    preset=None,
    settings=None,
    eeg="periodogram",
    audio="mel-db",
    split="interleaved",
    seed=0,
    split_seed=0,
    condition="listening",
    tmin=0.0,
    tmax=None,
    ref_db=None,
    max_db=features.MAX_DB,
    precision="auto",
    classifier=None,
):
    """The complete config of a run, checked before anything is computed.

    Parameters
    ----------
    store : Store
    model, preset : str
        See `eegviz.models`; without a preset the model's default one.
    settings : dict, optional
        Changes to the preset, such as ``{"width": 2}``.
    eeg, audio, condition, tmin, tmax, ref_db, max_db
        See `eegviz.windowing.windows`.
    split : str
        See `eegviz.splits.split`.
    seed, split_seed : int
        Of initialisation, order and dropout; of the split.
    precision : {"auto", "bf16", "float32"}
        ``auto`` takes bf16 where the processor multiplies it natively.
    classifier : str, optional
        Preset of the song classifier that grades the predictions: the published one, or ``"fast"``, which is the
        default for a run whose own preset is fast.

    Returns
    -------
    dict
        JSON-ready; its hash names the run's folder.
    """
    module = models.module(model)
    preset = preset or module.DEFAULT_PRESET
    settings = dict(settings or {})
    models.config(model, preset, **settings)
    classifier = classifier or ("fast" if preset == "fast" else "eeg2mel")
    models.config("classifier", classifier)
    for name, value, known in (
        ("precision", precision, PRECISIONS),
        ("eeg", eeg, features.EEG_KINDS),
        ("audio", audio, features.AUDIO_KINDS),
    ):
        if value not in known:
            raise ParameterError(f"unknown {name} {value!r}; known are {', '.join(known)}.")
    return {
        "format": 1,
        "data": {"dataset": store.manifest["dataset"], "fingerprint": store.fingerprint},
        "features": {
            "eeg": eeg,
            "audio": audio,
            "condition": condition,
            "tmin": float(tmin),
            "tmax": None if tmax is None else float(tmax),
            "ref_db": {k: float(v) for k, v in ref_db.items()} if isinstance(ref_db, dict) else ref_db,
            "max_db": float(max_db),
        },
        "split": {"spec": split, "seed": split_seed},
        "model": {"name": model, "preset": preset, "settings": settings},
        "classifier": classifier,
        "precision": precision,
        "seed": seed,
    }


def train(store: Store, config, *, out, device="auto", progress=True) -> runs.Run:
    """Train the run of `config` into ``out/<hash>``, continue it where it stopped, or return it when it is done.

    Parameters
    ----------
    store : Store
    config : dict
        From `configure`.
    out : path
        The folder of runs.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        One progress line with the time left, on terminals.

    Returns
    -------
    Run
        Complete but not scored: see `eegviz.evaluation.evaluate`.
    """
    Compute.choose(device, config["precision"])  # a device that is not there is refused before anything else
    folder = Path(out) / runs.run_hash(config)
    with _only_one(folder):
        if not (folder / "provenance.json").exists():
            _train(store, config, folder, device, progress)
    return runs.open(folder)


def _train(store, config, folder, device, progress):
    windows = windowing.windows(store, **config["features"])
    split = splits.split(windows.table, config["split"]["spec"], seed=config["split"]["seed"])
    classes = windows.songs
    is_classifier = models.module(config["model"]["name"]).TASK == "classification"
    if is_classifier and len(classes) < 2:
        raise ParameterError(f"{store.path} has one stimulus ({classes[0]}); a classifier needs at least two songs.")
    shapes = [list(windows.in_shape), [len(classes)] if is_classifier else list(windows.out_shape)]
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "config.json", config)

    torch.manual_seed(config["seed"])
    net = runs.build(config, *shapes)
    labels = np.searchsorted(classes, windows.table["stimulus"].to_numpy(str)).astype(np.int64)
    target = labels.__getitem__ if is_classifier else windows.target

    def batches(index):
        return windows.pictures(index), target(index)

    fit_statistics(net, batches, split.train)
    compute = Compute.choose(device, config["precision"])
    start = time.monotonic()
    history = fit(
        net,
        batches,
        split.train,
        validation=split.validation,
        settings=net.config,
        seed=config["seed"],
        folder=folder,
        compute=compute,
        progress=progress,
        description=f"{config['model']['name']} {folder.name}",
    )
    seconds = time.monotonic() - start
    _save_weights(net, folder)
    _predict_into(folder / "predictions.npy", net, batches, split.test, compute=compute)
    facts = {
        "seed": config["seed"],
        "store": str(store.path.resolve()),
        "data": config["data"],
        "simulated": bool(store.manifest.get("simulated")),
        "shapes": shapes,
        "classes": classes,
        "n_parameters": n_parameters(net),
        "n_windows": {k: len(getattr(split, k)) for k in ("train", "validation", "test")},
        "epochs": len(history),
        "training_s": round(seconds, 2),
        "device": str(compute.device),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
    }
    runs.write_json(folder / "provenance.json", runs.provenance(**facts))
    (folder / "resume.pt").unlink(missing_ok=True)


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


def fit_statistics(net, batches, train):
    """Give the network the statistics of its **training** windows: input scaling, mean target."""
    blocks = [train[i : i + PREDICT_BATCH] for i in range(0, len(train), PREDICT_BATCH)]
    net.fit_input(torch.from_numpy(batches(block)[0]) for block in blocks)
    total = sum(batches(block)[1].astype(np.float64).sum(0) for block in blocks)
    net.fit_output(torch.as_tensor(total / len(train)))


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
        With ``loss(output, target)``. Changed in place; ends with the weights of the best validation epoch.
    batches : callable
        ``batches(index) -> (x, y)`` arrays of the windows `index`.
    train, validation : np.ndarray of int
        Window indices. An empty validation keeps the last epoch.
    settings : object
        With ``lr batch_size epochs patience``.
    seed : int
    folder : path, optional
        Where ``resume.pt`` and ``history.csv`` go after every epoch, and are continued from.
    compute : Compute, optional
    progress : bool
    description : str

    Returns
    -------
    list of dict
        One row an epoch: epoch, train_loss, validation_loss, seconds.
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
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.lr)
    wrapped, optimizer = accelerator.prepare(net, optimizer)
    state = _State.load(folder, net, optimizer) if folder else _State()
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
        wrapped.train()
        losses, weights = [], []
        for i in range(0, len(order), settings.batch_size):
            index = np.sort(order[i : i + settings.batch_size])
            bar.update()
            if len(index) < 2:  # batch normalisation needs two
                continue
            x, y = _to(batches(index), accelerator.device)
            loss = net.loss(wrapped(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            weights.append(len(index))
        mean_loss = (torch.stack(losses).cpu() * torch.tensor(weights)).sum().item() / sum(weights)
        validation_loss = _mean_loss(wrapped, net, batches, validation, accelerator.device)
        if not np.isfinite(mean_loss):
            raise DataError(
                f"training diverged: the loss of epoch {epoch + 1} is {mean_loss}. Lower the learning rate (--set lr=…)."
            )
        row = {
            "epoch": epoch + 1,
            "train_loss": mean_loss,
            "validation_loss": validation_loss,
            "seconds": round(time.monotonic() - start, 3),
        }
        state.update(row, net)
        bar.set_postfix(train=f"{mean_loss:.4g}", validation=f"{validation_loss:.4g}")
        if folder:
            state.save(folder, net, optimizer)
    bar.close()
    if state.best is not None:
        net.load_state_dict(state.best)
    net.to("cpu")
    return state.history


def predict(net, batches, index, *, compute=None):
    """Outputs of `net` for the windows `index`, in order: an iterator of ``(n, …)`` float32 arrays."""
    compute = compute or Compute.choose()
    net = net.to(compute.device, memory_format=torch.channels_last).eval()
    with torch.inference_mode(), torch.autocast(compute.device.type, torch.bfloat16, compute.precision == "bf16"):
        for i in range(0, len(index), PREDICT_BATCH):
            x = torch.from_numpy(np.ascontiguousarray(batches(index[i : i + PREDICT_BATCH])[0]))
            yield net(x.to(compute.device)).float().cpu().numpy()


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

    def save(self, folder, net, optimizer):
        value = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), **vars(self)}
        temporary = Path(folder) / f".resume.{os.getpid()}.partial"
        with temporary.open("wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, Path(folder) / "resume.pt")
        pd.DataFrame(self.history).to_csv(Path(folder) / "history.csv", index=False)

    @classmethod
    def load(cls, folder, net, optimizer):
        path = Path(folder) / "resume.pt"
        if not path.exists():
            return cls()
        try:
            value = torch.load(path, weights_only=True, map_location="cpu")
            net.load_state_dict(value.pop("net"))
            optimizer.load_state_dict(value.pop("optimizer"))
        except Exception as error:
            raise DataError(
                f"{path} cannot be continued ({type(error).__name__}: {error}). Delete it; the run then starts afresh."
            ) from error
        return cls(**value)


def _mean_loss(wrapped, net, batches, index, device):
    if not len(index):
        return float("nan")
    wrapped.eval()
    total = 0.0
    with torch.inference_mode():
        for i in range(0, len(index), PREDICT_BATCH):
            block = index[i : i + PREDICT_BATCH]
            x, y = _to(batches(block), device)
            total += net.loss(wrapped(x), y).item() * len(block)
    return total / len(index)


def _to(arrays, device) -> tuple[Tensor, Tensor]:
    return tuple(torch.from_numpy(np.ascontiguousarray(a)).to(device, non_blocking=True) for a in arrays)


def _cpu_has_bf16():
    # torch has no public question for this; where the private one is missing, float32 is right
    question = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(question and question())


@contextlib.contextmanager
def _only_one(folder):
    """Let one process at a time work on a run folder; a second one waits and finds it done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _save_weights(net, folder):
    from safetensors.torch import save_file

    temporary = folder / f".weights.{os.getpid()}.partial"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, temporary)
    os.replace(temporary, folder / "weights.safetensors")


def _predict_into(path, net, batches, index, *, compute):
    blocks = predict(net, batches, index, compute=compute)
    first = next(blocks)
    windowing.write_npy(path, (len(index), *first.shape[1:]), (b for part in ([first], blocks) for b in part))
