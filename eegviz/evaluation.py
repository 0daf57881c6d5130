"""The evaluation of a run: every score beside its baselines, controls, ceiling, chance, interval and p, and a verdict.

A score that stands alone says nothing: a picture that never saw EEG can have a cosine above .8. The primary score is
**within-song retrieval**: is the prediction more like its own second than like the song's other seconds? Around it lie
three groups of answers (`eegviz.baselines`), the same weights with other EEG (`eegviz.controls`), permutation nulls
(`eegviz.nulls`), what the sides of the split share (`eegviz.audit`), a linear decoder of the same windows, and one of
three verdicts (`eegviz.verdict`). All of it is computed once, kept in ``metrics.json`` and ``scores.csv`` of the run
folder, and read from there by every page.

Functions: `evaluate` (score a run, once), `is_scored`, `linear_decoder` (what stands beside it), `primary`, `by_listener`, `by_song`, `by_bin`,
`pool` (folds), `compare` (two systems over seeds).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from eegviz import audit, embeddings, models, nulls, runs, scorecard, scoring, stats, training
from eegviz import verdict as verdicts
from eegviz.errors import DataError, ParameterError

FORMAT = 4  # raise when the meaning of metrics.json changes


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
        What ``metrics.json`` holds: ``verdict`` (one of three sentences), ``reasons``, ``split``, ``metrics`` (a row each:
        metric, score, low, high, unit, n, chance, p, p_unit, baselines, oracle, beside, controls, definition, note),
        ``controls`` and ``shifts`` (the primary score under each), ``spread`` (`eegviz.scoring.spread`) and
        ``collapsed`` (the same in words, or ""), ``audit``, ``simulated``, ``predictions`` (the SHA-256 of the file that was
        scored: what changed since is scored again).

    Raises
    ------
    DataError
        Predictions that are NaN or do not fit the windows, or a store with other data.

    Notes
    -----
    The linear decoder (`eegviz.models.ridge`) of the same windows and split stands beside the run, in a folder of its own;
    `eegviz.training.train` makes it, once for all runs that share it.
    """
    kept = None if force else _kept(run)
    if kept is not None:
        return kept
    opened = run.store() if store is None else store
    windows = run.windows(opened) if windows is None else windows
    job = _job(run, opened, windows)
    split, table = job.split, job.table
    is_classifier = models.module(run.config["model"]["name"]).TASK == "classification"
    theirs, why = {}, ""
    if is_classifier:
        scored = scoring.score_classifier(job)
    else:
        # songs are scored in threads of our own: more of them in every product of matrices doubles the time on two cores
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(1) as pool:
            # the linear decoder beside it: at the same time where threads are allowed, else after
            beside, linear = run.config["model"]["name"] != training.LINEAR, None
            if beside and scoring.THREADS > 1:
                linear = pool.submit(linear_scores, run, opened)
            scored = scoring.score_regressor(job)
            if beside and linear is None:
                linear = pool.submit(linear_scores, run, opened)
        try:
            theirs = linear.result() if linear else {}
        except ParameterError as error:
            why = str(error)
        if linear:
            for row in scored.rows:
                row["beside"]["linear decoder"] = theirs.get(row["metric"])
        if embeddings.has_embeddings(run):
            more = embeddings.score(job)
            scored = replace(scored, rows=[*scored.rows, *more.rows], columns=scored.columns | more.columns)
    decided = verdicts.decide(
        scored.rows[0], scored.controls, shifts=scored.shifts, can_separate=bool(split.can_separate), label=split.label
    )
    result = {
        "format": FORMAT,
        "run": run.path.name,
        "name": run.name,
        "seed": run.config["seed"],
        "dataset": run.config["data"]["dataset"],
        "data_fingerprint": run.config["data"]["fingerprint"],
        "store": run.provenance["store"],
        "simulated": run.provenance["simulated"],
        "verdict": decided["sentence"],
        "reasons": decided["reasons"],
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
        "metrics": scored.rows,
        "controls": scored.controls,
        "shifts": scored.shifts,
        "spread": scored.spread,
        "collapsed": scorecard.collapse(scored.spread),
        "n_beside": int(job.beside.sum()),
        "no_linear_decoder": why,
        "audit": audit.audit(windows.table, split).to_dict(),
        "predictions": runs.file_hash(run.path / "predictions.npy"),
    }
    runs.write_csv(run.path / "scores.csv", table.assign(**scored.columns))
    runs.write_json(run.path / "metrics.json", result)
    run.__dict__.pop("metrics", None)  # what was read before is old
    return result


def is_scored(run: runs.Run) -> bool:
    """True when the run folder holds an evaluation of its predictions as they are now."""
    return _kept(run) is not None


def linear_decoder(run: runs.Run, opened) -> runs.Run:
    """The linear decoder of the same windows, split and pictures as `run`: trained where it is not there, and scored."""
    linear = _linear(run, opened)
    evaluate(linear, store=opened)
    return linear


def linear_scores(run: runs.Run, opened) -> dict:
    """Scores of the linear decoder of the same windows, split and pictures as `run`: by metric.

    Read from its evaluation where it has one; else the same scores, without all that stands beside them there.
    """
    linear = _linear(run, opened)
    kept = _kept(linear)
    if kept is not None:
        return {row["metric"]: row["score"] for row in kept["metrics"]}
    return scoring.own_scores(_job(linear, opened, linear.windows(opened)))


def primary(result):
    """The row of the primary metric: retrieval, or accuracy for a classifier."""
    return result["metrics"][0]


def by_listener(run: runs.Run, metric):
    """Mean of a metric of ``scores.csv`` for each listener, sorted by name: a pandas Series."""
    return run.scores.groupby("subject")[metric].mean()


def by_song(run: runs.Run, metric):
    """Mean of a metric of ``scores.csv`` for each song, sorted by name: a pandas Series."""
    return run.scores.groupby("stimulus")[metric].mean()


def by_bin(run: runs.Run, *, windows=None, split=None) -> pd.DataFrame:
    """Centred correlation of every mel bin over the test windows, with its p and the p corrected for their number.

    Returns
    -------
    pandas.DataFrame
        As `eegviz.nulls.by_bin` returns it: bin, correlation, null mean, p, p FDR (Benjamini & Hochberg).
    """
    windows = run.windows() if windows is None else windows
    split = run.split(windows) if split is None else split
    table = windows.table.iloc[split.test].reset_index(drop=True)
    orders = nulls.orders(table, n=scorecard.PERMUTATIONS)
    return nulls.by_bin(
        lambda rows: run.predictions[rows], lambda rows: windows.target(split.test[rows]), orders, table["subject"]
    )


def pool(folds, *, store=None) -> dict:
    """Scores of runs that each held out another listener, song or hearing, as one result over all of them.

    Windows of all folds count together, so that few listeners still give an interval over listeners, and the primary
    metric is permuted again over all of them; chance levels, baselines and controls are means over the windows.

    Parameters
    ----------
    folds : list of Run
        Scored runs of one config that differ in the split only.
    store : Store, optional
        Where their store is now, when it has moved.

    Returns
    -------
    dict
        As `evaluate` returns it; what is shared between the sides (``audit``) is the first fold's.
    """
    results = [fold.metrics for fold in folds]
    scores = pd.concat([fold.scores for fold in folds], ignore_index=True)
    weights = np.array([result["split"]["n_test"] for result in results], float)
    p = _pooled_p(folds, scores, store)
    rows = []
    for parts in zip(*(result["metrics"] for result in results), strict=True):
        name, note = parts[0]["metric"], next((part["note"] for part in parts if part["score"] is None), "")
        if note:
            rows.append(scorecard.row(name, None, scores, note=note))
            continue
        chance = (
            None if parts[0]["chance"] is None else float(np.average([q["chance"] for q in parts], weights=weights))
        )
        beside = {group: _mean_of([part[group] for part in parts], weights) for group in _GROUPS}
        if "named_song" in scores and name in ("song accuracy", "accuracy", "kappa"):
            named = scorecard.song_rows({"": scores["named_song"].to_numpy(str)}, scores, p, _NAMED[name])
            rows.append(named[name == "kappa"] | beside)
        else:
            rows.append(scorecard.row(name, scores[name].to_numpy(float), scores, chance=chance, p=p, beside=beside))
    shown = []
    for name in (control["name"] for control in results[0]["controls"]):
        column = scores.get(f"{rows[0]['metric']} | {name}")
        shown.append(
            scorecard.control(name, None if column is None else column.to_numpy(float), scores, "not in all folds")
        )
    split = results[0]["split"] | {
        "spec": f"{results[0]['split']['spec'].partition(':')[0]}, {len(folds)} folds pooled",
        "n_train": round(np.mean([r["split"]["n_train"] for r in results])),
        "n_validation": round(np.mean([r["split"]["n_validation"] for r in results])),
        "n_test": len(scores),
        "n_listeners": int(scores["subject"].nunique()),
    }
    shifts = [
        _pooled_shift([parts[i] for parts in (result["shifts"] for result in results)])
        for i in range(len(results[0]["shifts"]))
    ]
    spread = _mean_of([{"spread": result.get("spread")} for result in results], weights).get("spread")
    decided = verdicts.decide(rows[0], shown, shifts=shifts, can_separate=split["can_separate"], label=split["label"])
    return results[0] | {
        "run": [f.path.name for f in folds], "split": split, "metrics": rows, "controls": shown, "shifts": shifts,
        "spread": spread, "collapsed": scorecard.collapse(spread),
        "n_beside": sum(result["n_beside"] for result in results),
        "verdict": decided["sentence"], "reasons": decided["reasons"],
    }  # fmt: skip


def compare(first, second, metric="retrieval") -> stats.Paired:
    """Two systems on the same split: the paired difference over listeners, each with several seeds.

    Parameters
    ----------
    first, second : list of Run
        Scored runs of each system, one a seed; the same number of both, on the same split of the same data.
    metric : str
        A column of ``scores.csv``.

    Returns
    -------
    Paired
        Mean difference (first − second), interval over listeners, spread over seeds, sign-flip p.

    Raises
    ------
    ParameterError
        Runs of different data or splits, or different numbers of seeds.
    """
    if not first or len(first) != len(second):
        raise ParameterError(
            f"compare needs as many runs of both systems, one a seed; found {len(first)} and {len(second)}."
        )
    asked = {(run.config["data"]["fingerprint"], str(run.config["split"])) for run in (*first, *second)}
    if len(asked) > 1:
        raise ParameterError(
            "compare needs runs of the same data on the same split (and split seed); found "
            f"{', '.join(sorted({run.config['split']['spec'] for run in (*first, *second)}))}."
        )
    tables = [[by_listener(run, metric) for run in system] for system in (first, second)]
    return stats.paired(*(np.stack([one.to_numpy() for one in system]) for system in tables))


_GROUPS = ("baselines", "oracle", "beside", "controls")
_NAMED = {"song accuracy": "song accuracy", "accuracy": "accuracy", "kappa": "song accuracy"}


def _kept(run):
    """The evaluation in the run folder; None where there is none, it is damaged, or it is of other predictions."""
    try:
        kept = run.metrics
    except DataError:
        return None
    own = run.need("predictions.npy")
    return kept if kept.get("format") == FORMAT and kept["predictions"] == runs.file_hash(own) else None


def _linear(run, opened):
    return training.train(opened, training.linear_config(opened, run.config), out=run.path.parent, progress=False)


def _job(run, opened, windows):
    split = run.split(windows)
    table = windows.table.iloc[split.test].reset_index(drop=True)
    _check_predictions(run, table)
    return scoring.Job(run, opened, windows, split, table)


def _check_predictions(run, table):
    predictions = run.predictions
    if len(predictions) != len(table):
        raise DataError(
            f"{run.path / 'predictions.npy'} holds {len(predictions)} windows, the test side of its split {len(table)}. "
            "Train the run again."
        )
    for start in range(0, len(predictions), 256):
        block = np.asarray(predictions[start : start + 256])
        if not np.isfinite(block).all():
            bad = start + int(np.argmin(np.isfinite(block).reshape(len(block), -1).all(1)))
            where = table.iloc[bad]
            raise DataError(
                f"{run.path / 'predictions.npy'}: the prediction of {where['recording']}, second {where['second']} holds "
                f"NaN or infinite values, which must never score. {_why_not_finite(run)}"
            )


def _why_not_finite(run):
    if "lr" in models.module(run.config["model"]["name"]).Config.model_fields:
        return "The training diverged, or the file was changed: lower the learning rate (--set lr=…) and train again."
    return "The file was changed: delete the run's folder and train it again."


def _mean_of(groups, weights):
    """Means of what all folds have."""
    shared = [key for key in groups[0] if all(group.get(key) is not None for group in groups)]
    return {key: float(np.average([group[key] for group in groups], weights=weights)) for key in shared}


def _pooled_shift(parts):
    """Mean over the windows of all folds that have the shifted second; without an interval."""
    there = [part for part in parts if part["score"] is not None]
    n = sum(part["n"] for part in there)
    score = float(np.average([p["score"] for p in there], weights=[p["n"] for p in there])) if there else None
    return parts[0] | {"score": score, "low": None, "high": None, "n": n}


def _pooled_p(folds, scores, opened):
    """Permutation p of which second and which song over all folds; the metrics of pictures are not permuted again."""
    named = scores["named_song"].to_numpy(str) if "named_song" in scores else None
    found = None
    if "retrieval" in scores:
        windows = folds[0].windows(opened)
        test = np.concatenate([fold.split(windows).test for fold in folds])
        found = scoring.retrieval(np.concatenate([fold.predictions for fold in folds]), windows.target(test), scores)
    return scorecard.p_values(scores, named=named, found=found)
