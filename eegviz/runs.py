"""Runs: folders that hold one trained model and all that is needed to trust, repeat and use it.

``config.json`` (what was asked; its hash is the folder's name), ``weights.safetensors``, ``song_classifier.safetensors``
(grades predicted pictures), ``resume.pt`` (only while training is unfinished), ``history.csv``, ``predictions.npy`` (test
windows), ``scores.csv`` (a row a test window), ``metrics.json`` (the verdict and all it rests on), ``provenance.json``
(seed, versions, commit, data hashes, machine, time; written last, so a folder that has it is complete); and, where levels
were chosen by ear or from training clips, ``ref_db.json`` (`eegviz.levels`).

Functions: `open`, `listing`, `find`, `facts`, `compare`, `run_hash`, `file_hash`, `split`, `build`, `settings`, `save_weights`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import _store_files, models, splits, store, windowing
from eegviz.errors import DataError

_PACKAGES = ("eegviz", "torch", "numpy", "scipy", "librosa", "mne", "accelerate", "scikit-image")


@dataclass(frozen=True)
class Run:
    """One run folder, read only. Everything is read when it is first used."""

    path: Path
    config: dict

    @property
    def name(self):
        """Short description: model, features, split and seed."""
        c = self.config
        return (
            f"{c['model']['name']} ({self.recipe}) · {c['features']['eeg']} → {c['features']['audio']} · "
            f"{c['split']['spec']} · seed {c['seed']}"
        )

    @property
    def recipe(self):
        """Preset and what was changed of it, such as ``preset eeg2mel, epochs=8, width=2``."""
        asked = facts(self.config)
        return ", ".join([f"preset {asked['preset']}", *filter(None, [asked["settings"]])])

    @property
    def complete(self):
        """True when training and predictions are finished."""
        return (self.path / "provenance.json").exists()

    @cached_property
    def provenance(self):
        """Seed, versions, commit, data hashes, machine, time, and the path of the store."""
        return _read_json(self.need("provenance.json"))

    @cached_property
    def metrics(self):
        """Scores with chance level, interval, baselines and definitions; written by `eegviz.evaluation.evaluate`."""
        return _read_json(self.need("metrics.json"))

    @cached_property
    def history(self):
        """One row an epoch: epoch, train_loss, validation_loss, seconds."""
        return pd.read_csv(self.need("history.csv"))

    @cached_property
    def scores(self):
        """One row a test window."""
        return pd.read_csv(
            self.need("scores.csv"), dtype=dict.fromkeys(("recording", "subject", "stimulus", "session"), str)
        )

    @cached_property
    def predictions(self):
        """Predicted test spectrograms (or logits), memory-mapped, in the order of ``split().test``."""
        path = self.need("predictions.npy")
        try:
            return np.load(path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise DataError(f"{path} is damaged ({error}). Delete the run's folder and train it again.") from None

    def store(self, path=None):
        """The store of this run: the one it was trained on, or the one at `path`, whose data must be the same."""
        if path is None and not Path(self.provenance["store"]).exists():
            raise DataError(
                f"{self.path} was trained on the store {self.provenance['store']}, which is not there any more. If it has moved, "
                "give its new folder: --store FOLDER."
            )
        opened = store.open(path or self.provenance["store"])
        if opened.fingerprint != self.config["data"]["fingerprint"]:
            raise DataError(
                f"{opened.path} holds other data than {self.path} was trained on (fingerprint "
                f"{opened.fingerprint[:12]}, expected {self.config['data']['fingerprint'][:12]}). Give the store that it was trained on with --store; it was at {self.provenance['store']}."
            )
        return opened

    def windows(self, opened=None):
        """The windows of this run, from its store or from another `opened` one."""
        return windowing.windows(opened or self.store(), **self.config["features"])

    def split(self, windows):
        """The split of this run over its `windows`."""
        return split(self.config, windows)

    def network(self):
        """The trained network, on the CPU, ready to predict."""
        from safetensors.torch import load_file

        net = build(self.config, *self.provenance["shapes"])
        net.load_state_dict(load_file(self.need("weights.safetensors")))
        return net.eval()

    def need(self, name):
        """The path of a file of this run, or a clear refusal."""
        path = self.path / name
        if not path.exists() and self.complete and name not in ("metrics.json", "scores.csv"):
            raise DataError(f"{self.path} has lost its {name}. Delete the folder and train the run again.")
        if not path.exists() and self.complete:
            raise DataError(f"{self.path} has no {name}: score it with eegviz evaluate {self.path}.")
        if not path.exists():
            raise DataError(
                f"{self.path} has no {name}: the run is unfinished. Run the same eegviz train command again; it continues."
            )
        return path


def open(path) -> Run:
    """Open the run folder at `path`.

    Raises
    ------
    DataError
        The folder is not a run.
    """
    path = Path(path)
    config = path / "config.json"
    if not config.exists():
        inside = [p.parent.name for p in path.glob("*/config.json")] if path.is_dir() else []
        hint = f"It holds the runs {', '.join(sorted(inside))}: name one of them." if inside else (
            "Name the folder that eegviz train printed."
        )  # fmt: skip
        raise DataError(f"{path} is not a run: it has no config.json. {hint}")
    return Run(path, _read_json(config))


def listing(folder) -> list[Run]:
    """All complete runs in `folder`, sorted by name; `[]` when there are none."""
    found = [open(p.parent) for p in Path(folder).glob("*/config.json")]
    return sorted((run for run in found if run.complete), key=lambda run: (run.name, run.path.name))


def find(folder, **wanted) -> list[Run]:
    """Complete runs in `folder` whose model name, eeg, audio, split spec, preset or seed are as `wanted`: see `facts`."""
    return [run for run in listing(folder) if all(facts(run.config)[k] == v for k, v in wanted.items())]


def facts(config) -> dict:
    """What a config asks for, in short: model, preset, settings (changed of the preset, as text), eeg, audio, split, seed."""
    model = config["model"]
    return {
        "model": model["name"],
        "preset": model["preset"],
        "settings": ", ".join(f"{key}={value}" for key, value in sorted(model["settings"].items())),
        "eeg": config["features"]["eeg"],
        "audio": config["features"]["audio"],
        "split": config["split"]["spec"],
        "seed": config["seed"],
    }


def compare(found) -> pd.DataFrame:
    """A table of runs: what they are, their verdict and each metric's score; runs that were not evaluated have no scores."""
    rows = []
    for run in found:
        row = {
            "run": run.path.name,
            **facts(run.config),
            "parameters": run.provenance["n_parameters"],
            "training_s": run.provenance["training_s"],
        }
        if (run.path / "metrics.json").exists():
            row |= {"verdict": run.metrics["verdict"]} | {m["metric"]: m["score"] for m in run.metrics["metrics"]}
        rows.append(row)
    return pd.DataFrame(rows)


def file_hash(path) -> str:
    """SHA-256 of a file."""
    return _store_files.sha256(Path(path))


def run_hash(config) -> str:
    """The name of a run's folder: twelve characters of the SHA-256 of its config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def split(config, windows):
    """The split of a run's config over its `windows`, with the gap that their length, band and context need."""
    wanted, gap = config["split"], windowing.gap(windows.settings)
    return splits.split(windows.table, wanted["spec"], seed=wanted["seed"], gap=gap, window=windows.duration)


def build(config, *shapes):
    """The untrained network of a run's config, for the shapes of its input and output and what else its `build` takes."""
    return models.module(config["model"]["name"]).build(settings(config), *map(tuple, shapes))


def settings(config):
    """The validated settings of the model of a run's config: its preset, what was changed, fitted to the kind of EEG."""
    asked = config["model"]
    checked = models.config(asked["name"], asked["preset"], **asked["settings"])
    return models.module(asked["name"]).for_features(checked, config["features"]["eeg"])


def provenance(**facts) -> dict:
    """Where and with what something was made: versions, commit, machine, time, and `facts`."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        **facts,
        "versions": versions,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "git_commit": _commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_json(path, value):
    """Write JSON through a temporary file beside it."""
    _write_text(path, json.dumps(value, indent=1, sort_keys=True))


def write_csv(path, table):
    """Write a table through a temporary file beside it."""
    _write_text(path, table.to_csv(index=False))


def save_weights(net, path):
    """Write a network's weights through a temporary file beside them."""
    from safetensors.torch import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, temporary)
    os.replace(temporary, path)


def _write_text(path, text):
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read_json(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        advice = "Score the run again (eegviz evaluate)" if Path(path).name == "metrics.json" else "Train the run again"
        raise DataError(f"{path} is damaged: expected JSON, found {error}. {advice}.") from None


def _commit():
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
