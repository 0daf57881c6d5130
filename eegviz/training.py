"""Training a run: from a store and a config to a folder with weights, predictions and where they come from.

A network is fitted by the loop of `eegviz.fitting`, which an interruption does not change; a model with a closed form (the
linear decoder) is solved from the training windows in one go. The classifier that grades predicted pictures
(`eegviz.grading`) belongs to the run and is trained with it. Test windows are predicted once, at the end.

Functions: `configure`, `train`.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eegviz import _arrays, features, fitting, grading, models, runs, sides, splits, windowing
from eegviz.errors import ParameterError
from eegviz.models.layers import n_parameters
from eegviz.store import Store

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None
LINEAR = "ridge"  # the model that stands beside every other


def configure(
    store: Store,
    *,
    model="cnn",
    preset=None,
    settings=None,
    eeg=None,
    audio=None,
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
        See `eegviz.windowing.windows`. Without `eeg` the model's own kind: raw for the linear decoder and the
        gan, else the periodogram; without `audio` too: mel-80-db for the gan, else mel-db. Scores of different kinds are not
        comparable: name one kind for runs that shall stand in one table. Band and context follow from the model.
    split : str
        See `eegviz.splits.split`.
    seed, split_seed : int
        Of initialisation, order and dropout; of the split.
    precision : {"auto", "bf16", "float32"}
        ``auto`` takes bf16 where the processor multiplies it natively.
    classifier : str, optional
        Preset of the song classifier that grades the predictions: the published one, or ``"fast"``, which is the
        default for the linear decoder and for a run whose own preset is fast.

    Returns
    -------
    dict
        JSON-ready; its hash names the run's folder.
    """
    module = models.module(model)
    preset = preset or module.DEFAULT_PRESET
    settings = dict(settings or {})
    checked = models.config(model, preset, **settings)
    eeg = module.EEG if eeg is None else eeg
    audio = models.default_audio(model) if audio is None else audio
    classifier = classifier or ("fast" if preset == "fast" or model == LINEAR else "eeg2mel")
    models.config("classifier", classifier)
    for name, value, known in (
        ("precision", precision, fitting.PRECISIONS),
        ("eeg", eeg, features.EEG_KINDS),
        ("audio", audio, features.AUDIO_KINDS),
    ):
        if value not in known:
            raise ParameterError(f"unknown {name} {value!r}; known are {', '.join(known)}.")
    if isinstance(ref_db, dict) and not all(isinstance(v, (int, float)) and math.isfinite(v) for v in ref_db.values()):
        raise ParameterError(f"ref_db expects a level in dB for each stimulus; found {ref_db}.")
    checked = module.for_features(checked, eeg)
    splits.check_spec(split)
    windowing.recordings(store, condition)  # refuses a condition that the store does not have
    return {
        "format": 2,  # raise when the order of the windows or the content of a run folder changes
        "data": {"dataset": store.manifest["dataset"], "fingerprint": store.fingerprint},
        "features": {
            "eeg": eeg,
            "audio": audio,
            "condition": condition,
            "tmin": float(tmin),
            "tmax": None if tmax is None else float(tmax),
            "ref_db": {k: float(v) for k, v in ref_db.items()} if isinstance(ref_db, dict) else ref_db,
            "max_db": float(max_db),
            **module.features(checked),
        },
        "split": {"spec": split, "seed": split_seed},
        "model": {"name": model, "preset": preset, "settings": settings},
        "classifier": classifier,
        "precision": precision,
        "seed": seed,
    }


def train(store: Store, config, *, out, device="auto", progress=True) -> runs.Run:
    """Train the run of `config` into ``out/<hash>``, continue it where it stopped, or return it when it is done.

    The linear decoder of the same windows and split, which every evaluation shows beside it, is trained along with it
    unless it is there.

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
    fitting.Compute.choose(device, config["precision"])  # a device that is not there is refused before anything else
    folder = Path(out) / runs.run_hash(config)
    with _only_one(folder):
        if not (folder / "provenance.json").exists():
            _train(store, config, folder, device, progress)
    name = config["model"]["name"]
    if name != LINEAR and models.module(name).TASK == "regression":
        # where it cannot be trained (songs too short for its gap), the evaluation says why
        with contextlib.suppress(ParameterError):
            train(store, linear_config(store, config), out=out, device=device, progress=progress)
    return runs.open(folder)


def linear_config(store: Store, config):
    """The config of the linear decoder of the same windows, split and pictures as a run's `config`."""
    asked = config["features"]
    kept = {key: asked[key] for key in ("audio", "condition", "tmin", "tmax", "ref_db", "max_db")}
    nyquist = store.recordings["sfreq"].min() / 2
    band = models.config(LINEAR).band
    settings = {} if band[1] < nyquist else {"band": (band[0], 0.9 * float(nyquist))}
    linear = configure(
        store, model=LINEAR, settings=settings, split=config["split"]["spec"], split_seed=config["split"]["seed"],
        classifier=config["classifier"], **kept,
    )  # fmt: skip
    linear["features"] |= {key: asked[key] for key in ("duration",) if key in asked}
    return linear


def _train(store, config, folder, device, progress):
    windows = windowing.windows(store, **config["features"])
    split = runs.split(config, windows)
    classes = windows.songs
    module = models.module(config["model"]["name"])
    is_classifier, groups = module.TASK == "classification", getattr(module, "GROUPS", ())
    if is_classifier and len(classes) < 2:
        raise ParameterError(f"{store.path} has one stimulus ({classes[0]}); a classifier needs at least two songs.")
    shapes = [list(windows.in_shape), [len(classes)] if is_classifier else list(windows.out_shape)]
    if groups:
        shapes.append([windows.table[column].nunique() for column in groups])
    given = module.beside(runs.settings(config), windows, store) if hasattr(module, "beside") else None
    if given is not None:
        shapes.append([given.dim])
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "config.json", config)

    torch.manual_seed(config["seed"])
    net = runs.build(config, *shapes)
    labels = np.searchsorted(classes, windows.table["stimulus"].to_numpy(str)).astype(np.int64)
    target = labels.__getitem__ if is_classifier else windows.target

    def batches(index):
        more = [labels[index]] if groups else []
        return windows.pictures(index), target(index), *more, *([] if given is None else [given(index)])

    view = sides.training_view(
        windows, split, targets=lambda rows: target(split.train[rows]),
        beside=None if given is None else lambda rows: given(split.train[rows]),
    )  # fmt: skip
    compute = fitting.Compute.choose(device, config["precision"])
    start = time.monotonic()
    if hasattr(net, "solve"):
        history = _solve(net, view, batches, split, seed=config["seed"], folder=folder)
    else:
        fitting.fit_statistics(net, view, classes=classes)
        history = fitting.fit(
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
    runs.save_weights(net, folder / "weights.safetensors")
    _predict_into(folder / "predictions.npy", net, batches, split.test, compute=compute)
    graded = None
    if not is_classifier:
        graded = grading.train(net, view, split, windows, preset=config["classifier"], folder=folder, compute=compute)
    facts = {
        "seed": config["seed"],
        "store": str(store.path.resolve()),
        "data": config["data"],
        "simulated": bool(store.manifest.get("simulated")),
        "shapes": shapes,
        "classes": classes,
        "graded_songs": graded,
        "n_parameters": n_parameters(net),
        "n_windows": {k: len(getattr(split, k)) for k in ("train", "validation", "test")},
        "gap_s": split.gap,
        "epochs": len(history),
        "training_s": round(seconds, 2),
        "device": str(compute.device),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        **(net.facts() if hasattr(net, "facts") else {}),
    }
    runs.write_json(folder / "provenance.json", runs.provenance(**facts))
    (folder / "resume.pt").unlink(missing_ok=True)


def _solve(net, view, batches, split, *, seed, folder):
    """The closed form: one row of history, with the losses of the solution."""
    start = time.monotonic()
    net.solve(view, seed=seed)
    row = {
        "epoch": 1,
        "train_loss": fitting.mean_loss(net, net, batches, split.train),
        "validation_loss": fitting.mean_loss(net, net, batches, split.validation),
        "seconds": round(time.monotonic() - start, 3),
    }
    pd.DataFrame([row]).to_csv(folder / "history.csv", index=False)
    return [row]


@contextlib.contextmanager
def _only_one(folder):
    """Let one process at a time work on a run folder; a second one waits and finds it done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _predict_into(path, net, batches, index, *, compute):
    blocks = fitting.predict(net, batches, index, compute=compute)
    first = next(blocks)
    _arrays.write(path, (len(index), *first.shape[1:]), (b for part in ([first], blocks) for b in part))
