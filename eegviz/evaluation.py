"""Scores of a run: each with its definition, n, chance level, interval, baselines and the split's label.

A score that stands alone says nothing: a picture that never saw EEG can have a cosine above .8. Each metric is
therefore shown beside the mean training picture (of all songs, and of the true song) and its chance level, and the
primary one is **within-song retrieval**: is the prediction more like its own second than like the song's other
seconds?

Functions: `evaluate` (score a run, once), `describe`, `sentence` and `beside_baselines` (say it), `by_listener`, `pool`, `baselines`,
`song_identification` (Table 2's classifier).
"""

from __future__ import annotations

import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eegviz import identification, metrics, models, runs, stats, training, windowing

FORMAT = 1  # raise when the meaning of metrics.json changes

DEFINITIONS = {
    "retrieval": (
        "within-song retrieval percentile: share of the song's other test seconds that the prediction is less like "
        "than its own (correlation of pictures; each recording's mean prediction and the candidates' mean removed, "
        "which uses the test recording; ties at half)"
    ),
    "top-1": "share of windows whose own second is the most alike of all test seconds of the song",
    "song accuracy": (
        "a classifier trained on the predicted training pictures names the song of the predicted test pictures "
        "(protocol of EEG2Mel's Table 2)"
    ),
    "kappa": "Cohen's kappa of that classifier: 0 at chance, 1 when always right",
    "cosine": "cosine of predicted and true picture, per window",
    "correlation": "Pearson correlation of predicted and true picture, per window",
    "SSI": f"structural similarity of the whole picture, uniform window {metrics.SSI_WINDOW}, data range 1",
    "PSNR": "peak signal-to-noise ratio of the whole picture in dB, data range 1",
    "MSE": "mean squared error of the normalised picture (lower is better)",
    "accuracy": "share of windows whose song the network names",
}
WIDTH = 76  # columns of printed tables: what a page of the report shows without scrolling
BASELINES = ("mean picture", "song mean")
MIN_LISTENERS = 3  # fewer give no interval over listeners (our choice); below about 8 it is somewhat too narrow
_PICTURE = {
    "cosine": metrics.cosine,
    "correlation": metrics.correlation,
    "SSI": metrics.ssi,
    "PSNR": metrics.psnr,
    "MSE": metrics.mse,
}


def evaluate(run: runs.Run, *, store=None, windows=None, force=False):
    """Score a run on its test windows and keep the result in the run folder.

    Parameters
    ----------
    run : Run
        Complete.
    store : Store, optional
        Where the run's store is now, when it has moved.
    windows : Windows, optional
        Those of the run, when they are at hand.
    force : bool
        Score again although ``metrics.json`` is there.

    Returns
    -------
    dict
        What ``metrics.json`` holds: ``run``, ``split`` (spec, label, n), ``metrics`` (a row each: metric, score, low,
        high, unit, n, chance, baselines, definition), ``simulated``.
    """
    path = run.path / "metrics.json"
    if path.exists() and not force and run.metrics.get("format") == FORMAT:
        return run.metrics
    windows = run.windows(store) if windows is None else windows
    split = run.split(windows)
    table = windows.table.iloc[split.test].reset_index(drop=True)
    is_classifier = models.module(run.config["model"]["name"]).TASK == "classification"
    score = _score_classifier if is_classifier else _score_regressor
    rows, columns = score(run, windows, split, table)
    result = {
        "format": FORMAT,
        "run": run.path.name,
        "name": run.name,
        "dataset": run.config["data"]["dataset"],
        "simulated": run.provenance["simulated"],
        "split": {
            "spec": split.spec,
            "label": split.label,
            "can_separate": bool(split.can_separate),
            "holds_out": split.holds_out,
            "n_train": len(split.train),
            "n_validation": len(split.validation),
            "n_test": len(split.test),
            "n_listeners": int(table["subject"].nunique()),
        },
        "metrics": rows,
    }
    table.assign(**columns).to_csv(run.path / "scores.csv", index=False)
    runs.write_json(path, result)
    return result


def describe(result) -> str:
    """The scores as a table in plain text, with the split's label above and the definitions below."""
    split = result["split"]
    lines = [
        *textwrap.wrap(f"{result['name']}{'  [simulated data]' if result['simulated'] else ''}", WIDTH),
        *textwrap.wrap(f"split {split['spec']}: {split['label']}", WIDTH),
        f"train {split['n_train']}, validation {split['n_validation']}, test {split['n_test']} windows "
        f"of {split['n_listeners']} listener{'s' if split['n_listeners'] != 1 else ''}",
        "",
        f"{'metric':<13} {'score':>7} {'95 % interval':>18} {'chance':>6} {'mean picture':>12} {'song mean':>9} {'n':>5}",
    ]
    for row in result["metrics"]:
        interval = "n/a" if row["low"] is None else f"[{row['low']:.3f}, {row['high']:.3f}]"
        base = row["baselines"]
        lines.append(
            f"{row['metric']:<13} {_number(row['score']):>7} {interval:>18} {_number(row['chance']):>6} "
            f"{_number(base.get('mean picture')):>12} {_number(base.get('song mean')):>9} {row['n']:>5}"
        )
    units = sorted({row["unit"] for row in result["metrics"] if row["unit"]})
    lines += ["", f"interval: bootstrap over {'; '.join(units)}" if units else "interval: n/a"]
    notes = ["mean picture, song mean: the mean training picture of all songs, of the true song (no EEG)"]
    notes += [f"{row['metric']}: {row['definition']}" for row in result["metrics"]]
    notes += [f"{row['metric']} is n/a: {row['note']}" for row in result["metrics"] if row["note"]]
    return "\n".join(lines + [line for note in notes for line in textwrap.wrap(note, WIDTH, subsequent_indent="    ")])


def beside_baselines(result) -> str:
    """Which picture scores are better than the mean picture of the true song (else of all songs), in one sentence."""
    better, worse, against = [], [], ""
    for row in result["metrics"]:
        against = "song mean" if "song mean" in row["baselines"] else "mean picture"
        if row["metric"] not in _PICTURE or against not in row["baselines"]:
            continue
        gain = row["score"] - row["baselines"][against]
        is_better = gain < 0 if row["metric"] == "MSE" else gain > 0
        (better if is_better else worse).append(f"{row['metric']} {row['score']:.3f} ({row['baselines'][against]:.3f})")
    return (
        f"Better than the {against} without EEG (in brackets): {', '.join(better) or 'nothing'}; "
        f"not better: {', '.join(worse) or 'nothing'}."
    )


def primary(result):
    """The row of the primary metric: retrieval, or accuracy for a classifier."""
    return result["metrics"][0]


def sentence(result) -> str:
    """The primary score in one sentence: what, on which split, how sure, and on which side of chance it lies."""
    row, split = primary(result), result["split"]
    if row["score"] is None:
        return f"{row['metric']} is not defined on split {split['spec']}: {row['note']}."
    where = "includes" if row["low"] <= row["chance"] <= row["high"] else (
        "lies above" if row["low"] > row["chance"] else "lies below"
    )  # fmt: skip
    return (
        f"{row['metric']} {row['score']:.3f}, 95 % interval [{row['low']:.3f}, {row['high']:.3f}] over {row['unit']}, "
        f"which {where} chance ({row['chance']:.3f}); n = {row['n']} windows; split {split['spec']} ({split['label']})"
        f"{'; simulated data' if result['simulated'] else ''}."
    )


def by_listener(run: runs.Run, metric):
    """Mean of a metric of ``scores.csv`` for each listener, sorted by name: a pandas Series."""
    return run.scores.groupby("subject")[metric].mean()


def pool(folds) -> dict:
    """Scores of runs that each held out another listener, song or hearing, as one result over all of them.

    Windows of all folds count together, so that few listeners still give an interval over listeners; chance levels and
    baselines are their means over the windows.

    Parameters
    ----------
    folds : list of Run
        Scored runs of one config that differ in the split only.

    Returns
    -------
    dict
        As `evaluate` returns it.
    """
    results = [fold.metrics for fold in folds]
    scores = pd.concat([fold.scores for fold in folds], ignore_index=True)
    weights = [result["split"]["n_test"] for result in results]
    rows = []
    for name in (row["metric"] for row in results[0]["metrics"]):
        parts = [next(row for row in result["metrics"] if row["metric"] == name) for result in results]
        if any(part["score"] is None for part in parts):
            rows.append(_empty(name, len(scores), parts[0]["note"] or "it is not defined in every fold"))
            continue
        chance = (
            None if parts[0]["chance"] is None else float(np.average([p["chance"] for p in parts], weights=weights))
        )
        base = {
            k: float(np.average([p["baselines"][k] for p in parts], weights=weights))
            for k in BASELINES
            if all(k in p["baselines"] for p in parts)
        }
        if name == "kappa":
            kappa = float(identification.kappa(scores["named_song"], scores["stimulus"]))
            rows.append(_empty(name, len(scores), "") | {"score": kappa, "chance": 0.0})
        else:
            named = name in ("song accuracy", "accuracy")
            values = (scores["named_song"] == scores["stimulus"]) if named else scores[name]
            rows.append(_row(name, values.to_numpy(float), scores, chance=chance, base=base))
    split = results[0]["split"] | {
        "spec": f"{results[0]['split']['spec'].partition(':')[0]}, {len(folds)} folds pooled",
        "n_train": round(np.mean([r["split"]["n_train"] for r in results])),
        "n_validation": round(np.mean([r["split"]["n_validation"] for r in results])),
        "n_test": len(scores),
        "n_listeners": int(scores["subject"].nunique()),
    }
    return results[0] | {"run": [f.path.name for f in folds], "split": split, "metrics": rows}


def baselines(windows, split):
    """Pictures that never saw EEG, one per test window, from training windows only.

    Returns
    -------
    dict of np.ndarray [shape=(n_test, n_frames, n_bins)]
        ``"mean picture"`` of all training windows, and ``"song mean"`` of the true song, which is absent where a test
        song is not in the training side.
    """
    means = _song_means(windows, split)
    songs = windows.table["stimulus"].to_numpy(str)[split.test]
    mean = means["mean picture"]
    result = {"mean picture": np.broadcast_to(mean, (len(songs), *mean.shape))}
    if set(songs) <= set(means["song mean"]):
        names, which = np.unique(songs, return_inverse=True)
        result["song mean"] = np.stack([means["song mean"][name] for name in names])[which]
    return result


def song_identification(run: runs.Run, windows, split, *, seed=0):
    """Table 2's protocol: train the song classifier on predicted training pictures, test it on predicted test ones.

    Parameters
    ----------
    run : Run
    windows : Windows
    split : Split
    seed : int

    Returns
    -------
    np.ndarray [shape=(n_test,)] of str, or None
        The named songs; None where a test song is not in the training side, so that no classifier can know it.
    """
    songs = windows.table["stimulus"].to_numpy(str)
    classes = np.unique(songs[split.train])
    if len(classes) < 2 or not set(songs[split.test]) <= set(classes):
        return None
    config = models.config("classifier", run.config["classifier"])
    compute = training.Compute.choose("auto", run.config["precision"])
    labels = np.searchsorted(classes, songs).astype(np.int64)
    with tempfile.TemporaryDirectory(dir=run.path, prefix=".predicted-") as folder:
        path = Path(folder) / "train.npy"
        blocks = training.predict(run.network(), lambda i: (windows.pictures(i), None), split.train, compute=compute)
        windowing.write_npy(path, (len(split.train), *windows.out_shape), blocks)
        own = labels[split.train]
        torch.manual_seed(seed)
        net = models.module("classifier").build(config, windows.out_shape, (len(classes),))

        def batches(index):
            return windowing.read_rows(path, index), own[index]

        everything = np.arange(len(own))
        training.fit_statistics(net, batches, everything)
        training.fit(
            net, batches, everything, validation=everything[:0], settings=config, seed=seed, compute=compute,
            description=f"song classifier {run.path.name}",
        )  # fmt: skip
        predicted = run.predictions
        logits = training.predict(net, lambda i: (predicted[i], None), np.arange(len(predicted)), compute=compute)
        return classes[np.concatenate(list(logits)).argmax(1)]


def _score_regressor(run, windows, split, table):
    columns = _window_scores(run, windows, split, table)
    rows = [
        _row("retrieval", columns["retrieval"], table, chance=0.5, base={"mean picture": 0.5, "song mean": 0.5}),
        _row("top-1", columns["top-1"], table, chance=float(np.mean(columns.pop("chance top-1")))),
    ]
    rows += _accuracy_rows(song_identification(run, windows, split), table, columns)
    for name in _PICTURE:
        base = {k: columns.pop(f"{name}, {k}", None) for k in BASELINES}
        base = {k: float(np.mean(v)) for k, v in base.items() if v is not None}
        rows.append(_row(name, columns[name], table, base=base))
    return rows, columns


def _window_scores(run, windows, split, table):
    """Every per-window score, song by song, so that memory holds the pictures of one song at a time."""
    means = _song_means(windows, split)
    known = set(table["stimulus"]) <= set(means["song mean"])
    columns = {}
    for song, rows in table.groupby("stimulus").indices.items():
        mine = table.iloc[rows]
        prediction, target = run.predictions[rows], windows.target(split.test[rows])
        found = identification.retrieval(
            prediction, target, recordings=mine["recording"], songs=mine["stimulus"], seconds=mine["second"]
        )
        scores = {
            "retrieval": found.percentile,
            "top-1": found.top_k(1),
            "chance top-1": found.chance_top_k(1),
        }
        blind = {"mean picture": means["mean picture"]} | ({"song mean": means["song mean"][song]} if known else {})
        for name, metric in _PICTURE.items():
            scores[name] = metric(prediction, target)
            for baseline, picture in blind.items():
                scores[f"{name}, {baseline}"] = metric(np.broadcast_to(picture, target.shape), target)
        for name, values in scores.items():
            columns.setdefault(name, np.empty(len(table)))[rows] = values
    return columns


def _score_classifier(run, windows, split, table):
    classes = np.array(run.provenance["classes"])
    named = classes[np.asarray(run.predictions).argmax(1)]
    columns = {}
    rows = _accuracy_rows(named, table, columns)
    rows[0] |= {"metric": "accuracy", "definition": DEFINITIONS["accuracy"]}
    return rows, columns


def _accuracy_rows(named, table, columns):
    songs = table["stimulus"].to_numpy(str)
    if named is None:
        note = "a test song is not in the training side, or there is one song only"
        return [_empty("song accuracy", len(table), note), _empty("kappa", len(table), note)]
    columns["named_song"] = named
    right = (named == songs).astype(float)
    chance = float(identification.chance_accuracy(songs, kind="largest"))
    kappa = _empty("kappa", len(table), "")
    kappa |= {"score": float(identification.kappa(named, songs)), "chance": 0.0}
    return [_row("song accuracy", right, table, chance=chance), kappa]


def _row(metric, values, table, *, chance=None, base=None, note=""):
    interval = _interval(values, table)
    return {
        "metric": metric,
        "score": float(interval.estimate),
        "low": _finite(interval.low),
        "high": _finite(interval.high),
        "unit": f"{interval.n_groups} {interval.unit}",
        "n": len(values),
        "chance": chance,
        "baselines": base or {},
        "definition": DEFINITIONS[metric],
        "note": note,
    }


def _interval(values, table):
    """Over listeners; over blocks of time where there are fewer than MIN_LISTENERS, whose range says nothing."""
    n_listeners = table["subject"].nunique()
    if n_listeners >= MIN_LISTENERS:
        return stats.bootstrap_interval(values, table["subject"])
    interval = stats.bootstrap_interval(values, np.zeros(len(table), int), windows=table)
    plural = "one listener" if n_listeners == 1 else f"{n_listeners} listeners"
    return replace(interval, unit=f"blocks of {stats.BLOCK:g} s, {plural}: no interval over listeners")


def _empty(metric, n, note):
    return {
        "metric": metric, "score": None, "low": None, "high": None, "unit": "", "n": n, "chance": None,
        "baselines": {}, "definition": DEFINITIONS[metric], "note": note,
    }  # fmt: skip


def _song_means(windows, split):
    """The mean training picture, and a dict of those of each training song."""
    songs = windows.table["stimulus"].to_numpy(str)
    own, total = {}, 0.0
    for song in np.unique(songs[split.train]):
        index = split.train[songs[split.train] == song]
        mean = _mean_target(windows, index)
        own[song] = mean.astype(np.float32)
        total = total + mean * (len(index) / len(split.train))
    return {"mean picture": total.astype(np.float32), "song mean": own}


def _mean_target(windows, index):
    total = 0.0
    for i in range(0, len(index), 128):
        total = total + windows.target(index[i : i + 128]).sum(0, dtype=np.float64)
    return total / len(index)


def _finite(value):
    return None if value is None or not np.isfinite(value) else float(value)


def _number(value):
    return "n/a" if value is None else f"{value:.3f}"
