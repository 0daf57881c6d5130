"""Grading predicted pictures by their song, as EEG2Mel's Table 2 does.

A small classifier learns the songs from the **predicted pictures of the training windows** and then names the song of
predicted test pictures. It belongs to the run: it is trained with it and kept in its folder.

Functions: `train`, `namer`.

Ramirez-Aristizabal & Kello 2022, https://doi.org/10.48550/arXiv.2207.13845; notebook 02 shows it at work.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from eegviz import _arrays, fitting, models, runs, sides

FILE = "song_classifier.safetensors"


def train(net, view, split, windows, *, preset, folder, compute, seed=0):
    """Train the grading classifier of a run and keep it in its folder.

    Parameters
    ----------
    net : torch.nn.Module
        The trained network of the run.
    view : TrainingView
        The windows that it was trained on.
    split : Split
    windows : Windows
    preset : str
        Of `eegviz.models.classifier`.
    folder : path
    compute : Compute
    seed : int

    Returns
    -------
    list of str or None
        The songs that it can name; None where a test song is not in the training side, so that no classifier can know it,
        and where there is one song: nothing is kept then.
    """
    sides.only_training(view, "the classifier that grades pictures")
    songs = view.table["stimulus"].to_numpy(str)
    classes = np.unique(songs)
    if len(classes) < 2 or not set(windows.table["stimulus"].to_numpy(str)[split.test]) <= set(classes):
        return None
    own, every = np.searchsorted(classes, songs).astype(np.int64), np.arange(len(songs))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".predicted-") as temporary:
        path = Path(temporary) / "train.npy"
        blocks = fitting.predict(net, lambda rows: (view.pictures(rows), None), every, compute=compute)
        _arrays.write(path, (len(own), *windows.out_shape), blocks)
        drawn = sides.training_view(
            windows, split, pictures=lambda rows: _arrays.read_rows(path, rows), targets=own.__getitem__
        )
        torch.manual_seed(seed)
        classifier = _build(preset, windows.out_shape, len(classes))
        fitting.fit_statistics(classifier, drawn)
        fitting.fit(
            classifier, lambda rows: (drawn.pictures(rows), drawn.targets(rows)), every, validation=every[:0],
            settings=classifier.config, seed=seed, compute=compute, progress=False,
        )  # fmt: skip
    runs.save_weights(classifier, Path(folder) / FILE)
    return classes.tolist()


def namer(run: runs.Run):
    """The grading classifier of a run as a function ``pictures (n, n_frames, n_bins) -> songs (n,)``; None without one."""
    from safetensors.torch import load_file

    classes = run.provenance["graded_songs"]
    if classes is None:
        return None
    net = _build(run.config["classifier"], run.provenance["shapes"][1], len(classes))
    net.load_state_dict(load_file(run.path / FILE))
    blocks = fitting.predictor(net, compute=fitting.Compute.choose("auto", run.provenance["precision"]))

    def name(pictures):
        given = blocks(lambda rows: (np.asarray(pictures[rows], np.float32), None), np.arange(len(pictures)))
        return np.array(classes)[np.concatenate(list(given)).argmax(1)]

    return name


def _build(preset, shape, n_classes):
    return models.module("classifier").build(models.config("classifier", preset), tuple(shape), (n_classes,))
