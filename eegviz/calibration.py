"""Does the evaluation tell the truth? Calibration on simulated data whose answer is known.

Three questions, three panels (`eegviz.plots.calibration`):

1. **Nothing is there: how often does the test say that something is?** Null data sets (coupling 0: nothing of the music
   is in the EEG) are decoded under each *honest* protocol, one whose split separates song from recording. The p-values
   of a valid test are uniform, and 5 % of the sets are called significant at the 5 % level.
2. **Nothing is there but drifting electrodes: which protocols are fooled?** With a gain drift of 10 % in every
   recording and coupling 0, a classifier of songs is trained on the EEG's power. Where training and test share
   recordings (random, interleaved, blocked) it looks brilliant, because it knows the recording, not the song.
   A change that *all* recordings share is worse: their gain rises while the music builds up. `Calibration.slow_change`
   counts how often the verdict believes a decoder of the EEG's power then, with and without its condition on EEG from
   seconds away.
3. **Something is there: does the score rise with it?** The retrieval percentile against the simulator's coupling.

All data here are **simulated**. A set is small (`N_LISTENERS` listeners, `N_SONGS` excerpts, `N_HEARINGS` hearings of
`SECONDS` s) and the decoder is a fast one: ridge regression from the EEG (0.5-15 Hz, 25 channels, lags to .375 s) to 16
mel bands, its penalty chosen on the validation side. What is calibrated is therefore the *evaluation* (the splits, the
score, the permutation test); on recordings, noise that is not like the simulator's may behave otherwise.

Functions: `calibrate`, `load`. See notebook 11.
"""

from __future__ import annotations

import json
import os
import textwrap
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import _calibration_sets as sets
from eegviz import runs, stats
from eegviz._calibration_sets import HONEST, LEAKY, N_HEARINGS, N_LISTENERS, N_SONGS, SECONDS
from eegviz.errors import DataError, ParameterError

__all__ = [
    "COUPLINGS", "FAST", "FULL", "HONEST", "LEAKY", "N_HEARINGS", "N_LISTENERS", "N_SONGS", "SECONDS",
    "Calibration", "calibrate", "load",
]  # fmt: skip

FORMAT = 2  # raise when the meaning of the file changes
ALPHA = 0.05
COUPLINGS = (0.0, 0.25, 0.5, 1.0)
FAST = {"n_sets": 12, "n_permutations": 200, "n_leak": 2, "n_coupling": 2}  # what notebooks show
FULL = {"n_sets": 200, "n_permutations": 1000, "n_leak": 40, "n_coupling": 24}
_TABLES = ("null", "leak", "slow", "coupling")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Result of `calibrate`: a row a set and protocol in each table.

    Attributes
    ----------
    null : pandas.DataFrame
        ``set, protocol, score, p, n``: retrieval percentile of null data and its permutation p; n test windows.
    leak : pandas.DataFrame
        ``set, protocol, label, can_separate, accuracy, votes, kappa, chance, retrieval, n, n_recordings``: songs named
        from the EEG's power, per window and as the vote of each recording (NaN where the songs of the test are unseen),
        and the retrieval percentile, with drift and without coupling. Under repeat and subject every hearing or listener
        is left out in turn, and the folds are pooled.
    slow : pandas.DataFrame
        ``set, protocol, score, p, away, four, contributed``: a slow change of all recordings without coupling; retrieval
        percentile, the same with EEG from seconds away, whether the first four conditions of the verdict hold, and all.
    coupling : pandas.DataFrame
        ``set, coupling, protocol, score, n``; coupling 0 are the first null sets, the others the same sets (excerpts,
        listeners and noise) with music in the EEG.
    settings : dict
        ``n_sets, n_permutations, n_leak, n_coupling, couplings, seed``.
    """

    null: pd.DataFrame
    leak: pd.DataFrame
    slow: pd.DataFrame
    coupling: pd.DataFrame
    settings: dict

    def uniformity(self) -> pd.DataFrame:
        """Panel 1, a row a protocol: the Kolmogorov-Smirnov test of uniform p-values, and the rejections at 5 %.

        ``expected low`` and ``expected high`` are the exact binomial 99 % range of rejections for a valid test.
        """
        from scipy.stats import binom, kstest

        rows = []
        for name, own in self.null.groupby("protocol", sort=False):
            test, n = kstest(own["p"], "uniform"), len(own)
            low, high = binom.interval(0.99, n, ALPHA)
            rows.append(
                {
                    "protocol": name,
                    "sets": n,
                    "mean score": own["score"].mean(),
                    "KS": float(test.statistic),
                    "KS p": float(test.pvalue),
                    "rejections": int((own["p"] <= ALPHA).sum()),
                    "expected low": int(low),
                    "expected high": int(high),
                }
            )
        return pd.DataFrame(rows)

    def leakage(self) -> pd.DataFrame:
        """Panel 2, a row a protocol: mean accuracy with its 95 % interval over sets, chance, votes, retrieval.

        Accuracies of protocols whose test songs are unseen are NaN: they are not defined.
        """
        rows = []
        for name, own in self.leak.groupby("protocol", sort=False):
            accuracy, retrieval = (_over_sets(own, column) for column in ("accuracy", "retrieval"))
            rows.append(
                {
                    "protocol": name,
                    "can_separate": bool(own["can_separate"].iloc[0]),
                    "label": own["label"].iloc[0],
                    "accuracy": accuracy[0],
                    "low": accuracy[1],
                    "high": accuracy[2],
                    "chance": own["chance"].mean(),
                    "kappa": own["kappa"].mean(),
                    "votes": own["votes"].mean(),
                    "retrieval": retrieval[0],
                    "retrieval low": retrieval[1],
                    "retrieval high": retrieval[2],
                    "sets": len(own),
                    "recordings": int(own["n_recordings"].sum()),
                    "windows": int(own["n"].sum()),
                }
            )
        return pd.DataFrame(rows)

    def slow_change(self) -> pd.DataFrame:
        """A row a protocol: mean score, the same seconds away, and how many sets the verdict would believe, and believes."""
        rows = [
            {
                "protocol": name,
                "sets": len(own),
                "score": own["score"].mean(),
                "seconds away": own["away"].mean(),
                "contributed without the condition": int(own["four"].sum()),
                "contributed": int(own["contributed"].sum()),
            }
            for name, own in self.slow.groupby("protocol", sort=False)
        ]
        return pd.DataFrame(rows)

    def sensitivity(self) -> pd.DataFrame:
        """Panel 3, a row a protocol and coupling: mean retrieval percentile with its 95 % interval over sets."""
        rows = []
        for (name, coupling), own in self.coupling.groupby(["protocol", "coupling"], sort=False):
            score, low, high = _over_sets(own, "score")
            rows.append(
                {"protocol": name, "coupling": coupling, "score": score, "low": low, "high": high, "sets": len(own)}
            )
        order = {name: i for i, name in enumerate(HONEST)}
        return pd.DataFrame(rows).sort_values(
            ["protocol", "coupling"], key=lambda c: c.map(order).fillna(c), ignore_index=True
        )

    def summary(self) -> str:
        """What the three panels say, with all numbers; also the picture's alt text."""
        first, second, third, slow = self.uniformity(), self.leakage(), self.sensitivity(), self.slow_change()
        tests = "; ".join(
            f"{r['protocol']} {r['rejections']} of {r['sets']} at 5 % (KS p {r['KS p']:.2g}, mean score {r['mean score']:.3f})"
            for _, r in first.iterrows()
        )
        low, high = first["expected low"].iloc[0], first["expected high"].iloc[0]
        songs = "; ".join(_leak_words(r) for _, r in second.iterrows())
        ends = "; ".join(
            f"{name} " + ", ".join(f"{r['score']:.2f} at {r['coupling']:g}" for _, r in own.iterrows())
            for name, own in third.groupby("protocol", sort=False)
        )
        chance = second["chance"].dropna().iloc[0]
        given = self.settings
        paragraphs = (
            f"SIMULATED EEG, {N_LISTENERS} listeners × {N_SONGS} excerpts × {N_HEARINGS} hearings × {SECONDS} s a set.",
            f"1. Nothing there: rejections in {given['n_sets']} null sets with {given['n_permutations']} permutations of 5-s "
            f"blocks (a valid test gives {low} to {high} in 99 % of cases): {tests}.",
            f"2. Nothing there but a gain drift of {100 * sets.DRIFT:g} % in each recording: accuracy of naming the song from "
            f"the EEG's power, mean of {given['n_leak']} sets with its 95 % interval, chance {chance:.2f}: {songs}. "
            f"The retrieval percentile of the decoder stays between {second['retrieval'].min():.2f} and "
            f"{second['retrieval'].max():.2f} under all seven (chance .5).",
            f"A gain that rises by {100 * sets.RISE:g} % in all recordings while the music builds up: retrieval from the EEG's "
            f"power {slow['score'].min():.2f} to {slow['score'].max():.2f}; the verdict's first four conditions hold in "
            f"{slow['contributed without the condition'].sum()} of {slow['sets'].sum()} cases under the honest protocols, "
            f"with the one on EEG from seconds away in {slow['contributed'].sum()}.",
            f"3. Something there: mean retrieval percentile of {given['n_coupling']} sets (chance .5) at each coupling: {ends}.",
        )
        return "\n".join(textwrap.fill(paragraph, 76) for paragraph in paragraphs)

    def save(self, path) -> Path:
        """Write everything as one JSON file and give its path."""
        path = Path(path)
        tables = {name: _plain(getattr(self, name)) for name in _TABLES}
        runs.write_json(path, {"format": FORMAT, "settings": self.settings, **tables})
        return path


def load(path) -> Calibration:
    """Read what `Calibration.save` wrote.

    Raises
    ------
    DataError
        The file is not there, or is not of this format.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Make it with calibrate().save(path).")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["format"] != FORMAT:
            raise DataError(f"{path} has format {read['format']}, expected {FORMAT}. Make it again with calibrate().")
        tables = [pd.DataFrame(read[name]["rows"], columns=read[name]["columns"]) for name in _TABLES]
        return Calibration(*tables, read["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a calibration: {type(error).__name__} {error}. Make it again.") from None


def calibrate(
    *, n_sets=FAST["n_sets"], n_permutations=FAST["n_permutations"], n_leak=FAST["n_leak"], n_coupling=FAST["n_coupling"],
    couplings=COUPLINGS, seed=0, jobs=1, progress=None,
) -> Calibration:  # fmt: skip
    """Simulate, decode and test data sets whose answer is known.

    Parameters
    ----------
    n_sets : int ≥ 2
        Null data sets. The defaults are `FAST` (about 16 s on one core); ``calibrate(**FULL)`` is for a report that claims
        a false-positive rate.
    n_permutations : int ≥ 20
        Of 5-s blocks within recordings, for each p.
    n_leak, n_coupling : int ≥ 2
        Sets with drift, and with a slow change of all recordings; sets at each coupling, not more than `n_sets`.
    couplings : sequence of float
        Rising, the first one 0.
    seed : int
    jobs : int ≥ 1
        Processes; the result is the same for any number.
    progress : bool, optional
        Show a progress line; by default where there is a terminal.

    Returns
    -------
    Calibration

    Raises
    ------
    ParameterError
        For numbers that are too small, or couplings that do not rise from 0.
    """
    for name, value, least in (
        ("n_sets", n_sets, 2), ("n_permutations", n_permutations, 20), ("n_leak", n_leak, 2), ("n_coupling", n_coupling, 2),
        ("jobs", jobs, 1), ("seed", seed, 0),
    ):  # fmt: skip
        if value != int(value) or value < least:
            raise ParameterError(f"calibrate: {name}={value}: expected a whole number, {least} or more.")
    couplings = [float(value) for value in couplings]
    if not couplings or couplings[0] != 0 or not (np.diff(couplings) > 0).all() or not np.isfinite(couplings).all():
        raise ParameterError(f"calibrate: couplings={couplings}: expected rising numbers that begin with 0.")
    if n_coupling > n_sets:
        raise ParameterError(
            f"calibrate: n_coupling={n_coupling} is more than n_sets={n_sets}; coupling 0 is taken from the null sets."
        )
    tasks = [("honest", number, 0.0, n_permutations) for number in range(n_sets)]
    tasks += [("leak", number, 0.0, 0) for number in range(n_leak)]
    tasks += [("slow", number, 0.0, 0) for number in range(n_leak)]
    tasks += [("honest", number, coupling, 0) for coupling in couplings[1:] for number in range(n_coupling)]
    done = _all([(seed, *task) for task in tasks], jobs, progress)
    rows = {kind: [] for kind in ("honest", "leak", "slow")}
    for (kind, *_), found in zip(tasks, done, strict=True):
        rows[kind] += found
    honest = pd.DataFrame(rows["honest"])
    tested = honest["p"].notna()
    null = honest[tested].astype({"p": float})[["set", "protocol", "score", "p", "n"]].reset_index(drop=True)
    paired = honest[~tested | (honest["set"] < n_coupling)]
    paired = paired[["set", "coupling", "protocol", "score", "n"]].reset_index(drop=True)
    settings = {
        "n_sets": n_sets, "n_permutations": n_permutations, "n_leak": n_leak, "n_coupling": n_coupling,
        "couplings": couplings, "seed": seed,
    }  # fmt: skip
    return Calibration(null, pd.DataFrame(rows["leak"]), pd.DataFrame(rows["slow"]), paired, settings)


def _all(tasks, jobs, progress):
    """Results of all tasks, in their order."""
    from tqdm.auto import tqdm

    quiet = True if os.environ.get("TQDM_DISABLE") else None if progress is None else not progress
    shared = sets.material()
    with tqdm(total=len(tasks), desc="calibrating", unit="set", disable=quiet) as bar:
        if jobs == 1:
            return [_counted(_score(shared, task), bar) for task in tasks]
        # spawn: workers begin fresh, on every system and under any threads
        pool = ProcessPoolExecutor(min(jobs, len(tasks)), get_context("spawn"), _receive, (shared,))
        with pool:
            return [_counted(found, bar) for found in pool.map(_score_received, tasks, chunksize=2)]


def _counted(found, bar):
    bar.update()
    return found


def _score(shared, task):
    seed, kind, number, coupling, n_permutations = task
    if kind == "leak":
        return sets.score_leak(shared, number, seed=seed)
    if kind == "slow":
        return sets.score_slow(shared, number, seed=seed)
    return sets.score_honest(shared, number, seed=seed, coupling=coupling, n_permutations=n_permutations)


_received = []  # the material of a worker process


def _receive(shared):
    _received.append(shared)


def _score_received(task):
    return _score(_received[-1], task)


def _plain(table):
    """Columns and rows as JSON has them; NaN becomes null."""
    cells = table.astype(object).where(table.notna(), None)
    return {"columns": list(table), "rows": cells.to_numpy().tolist()}


def _over_sets(table, column):
    """Mean and 95 % bootstrap interval over sets; NaN where the column is not defined."""
    if table[column].isna().any():
        return (np.nan,) * 3
    found = stats.bootstrap_interval(table[column], table["set"].astype(str), unit="sets")
    return found.estimate, found.low, found.high


def _leak_words(row):
    if np.isnan(row["accuracy"]):
        return f"{row['protocol']} n/a (the songs of the test are unseen)"
    flag = "" if row["can_separate"] else f", {row['label']}"
    return f"{row['protocol']} {row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]{flag}"
