"""Hits@k of chord progressions: does the predicted picture of a segment find the true progression among many?

The paper on emotional music from EEG tokens (https://doi.org/10.3389/fnbot.2024.1437737) scores by Hits@k, the share of
segments whose true progression is among the k best candidates (its equation 15), and publishes neither the candidates nor
how chords were found. Both are stated here, because k/N is what a decoder without EEG gets.

Conventions
-----------
* A *segment* is four seconds of a recording, its *progression* the chords (`eegviz.chords`) of its four steps in the true
  sound. Windows of one second are joined to segments, so that every model can be scored. Segments without any chord are left
  out, and counted.
* *Candidates* are the true progression and N − 1 distractors, drawn with a seed from the distinct progressions of the
  training segments in all twelve transpositions, never equal to the true one. The same progression has the same distractors.
* A prediction scores a candidate by the mean over the steps of the likeness of its chroma to the candidate's chord: the
  cosine of chroma and template, each less its mean, or the logarithm of a probability (`eegviz.chords.log_probability`).
* Ties count at their expectation: what is the same for all candidates gets exactly k/N. A constant prediction is *not* the
  same for all candidates: music keeps to few keys, distractors are in all twelve, and who knows nothing but which chords are
  frequent in the training can have 100 % Hits@20 where k/N is 20 %. Hence the *audio side alone* beside every score: the mean
  picture of the training, the frequency of its chords, or a run that hears no EEG.
* Single chords have 25 candidates, so that Hits@20 would be 80 % by chance: k above 5 is refused there.
* Means are over listeners; p permutes segments within recordings (`eegviz.nulls.orders`); the gain over the audio side alone
  is paired listener by listener (`eegviz.stats.paired`).

Functions: `hits` (from ranks), `ranks` (from scores), `segments`, `pool`, `candidates`, `scores`, `of_run` (all of it, beside
zero, noise, shuffled EEG, another listener's, and the audio side alone), `compare` (several runs).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from eegviz import _checks, baselines, chords, controls, models, nulls, runs, scorecard, sides, stats
from eegviz._hit_ranks import (
    DISTRACTORS,
    SEGMENT,
    Ranks,
    Segments,
    candidates,
    hit_values,
    hits,
    pool,
    ranks,
    scores,
    segments,
)
from eegviz._hit_result import BLIND, PRIMARY, Result
from eegviz._hit_task import Likeness, question
from eegviz.errors import ParameterError

__all__ = [
    "DISTRACTORS",
    "KS",
    "PRIMARY",
    "SEGMENT",
    "Ranks",
    "Result",
    "Segments",
    "candidates",
    "compare",
    "hit_values",
    "hits",
    "of_run",
    "pool",
    "ranks",
    "scores",
    "segments",
]
KS = {"progressions": (1, 3, 5, 10, 20), "chords": (1, 3, 5)}  # the paper's; of 25 single chords no more than 5
SCORINGS = ("cosine", "log-probability")
MAX_SINGLE = 5  # k of 25 single chords


def of_run(
    run: runs.Run,
    *,
    what="progressions",
    blind=None,
    segment=None,
    step=chords.STEP,
    ks=None,
    n_distractors=DISTRACTORS,
    transposed=True,
    scoring="cosine",
    centred=False,
    n_permutations=scorecard.PERMUTATIONS,
    seed=0,
    store=None,
    windows=None,
) -> Result:
    """Hits@k of a run's test predictions, beside its controls and the audio side alone.

    Parameters
    ----------
    run : Run
        Complete, a regression run.
    what : {"progressions", "chords"}
        Progressions of segments among distractors, or single steps among the 25 chords.
    blind : Run, optional
        A run of the same split of the same data that hears no EEG. The audio side alone is the best of the mean picture, the
        training's chords and this run, at each k.
    segment : int, optional
        Seconds; default the run's windows where they are longer than one second, else four.
    step : float
        Seconds of a chord.
    ks : sequence of int, optional
        Default 1, 3, 5, 10, 20; of single chords 1, 3, 5, and none above.
    n_distractors : int
    transposed : bool
        Whether distractors come from all twelve transpositions of the training's progressions, or from these alone: of the
        same keys, they are harder for an answer that knows which chords are frequent.
    scoring : {"cosine", "log-probability"}
    centred : bool
        True: the mean likeness of each recording's segments to each chord, step by step, is taken away first
        (**transductive**: it is the mean over the test segments themselves). What is the same for all segments then scores exactly k/N, so that
        all that is left above chance says which segment it is.
    n_permutations : int
    seed : int
        Of distractors and controls.
    store, windows : optional
        Those of the run, when they are at hand.

    Returns
    -------
    Result

    Raises
    ------
    ParameterError
        A classifier; a k below 1, above the candidates, or above 5 for single chords; a test or training side without whole
        segments; too small a pool; an audio-only run of another split.
    DataError
        Predictions that hold NaN.
    """
    n_distractors, ks = _asked(run, what, n_distractors, ks, scoring)
    opened = run.store() if store is None else store
    windows = run.windows(opened) if windows is None else windows
    split = run.split(windows)
    found, known, task, left_out = question(
        opened, windows, split, what, segment, step, n_distractors, transposed, scoring, seed
    )
    seconds, reader = found.seconds, Likeness(windows, step, scoring)
    likes, notes = _answers(run, opened, windows, split, found, reader, known, seed)
    if blind is not None:
        likes["audio-only run"] = _of_blind(blind, run, opened, windows, found, step, scoring)
    if centred:
        likes = {name: _centred(like, found.table) for name, like in likes.items()}
    values = {name: task.values(like, ks) for name, like in likes.items()}
    unit, p = _permuted(task, likes["this run"], values["this run"], ks, n_permutations, seed)
    table = _table(task, values, notes, ks, unit, p)
    return Result(
        name=run.name, spec=split.spec, label=split.label, can_separate=bool(split.can_separate),
        simulated=bool(run.provenance["simulated"]), what=what, seconds=seconds, step=float(step), n=len(task.table),
        n_left_out=task.n_left_out if what == "chords" else left_out, n_listeners=int(task.table["subject"].nunique()),
        n_candidates=task.n_candidates, n_pool=task.n_pool, n_known=len(pool(known, transposed=False)),
        transposed=bool(transposed), scoring=scoring, centred=bool(centred), seed=seed,
        table=table, gains=_gains(task, values, ks, seed), values=values,
        segments=task.table.assign(true=[" ".join(chords.names(one)) for one in task.true]),
    )  # fmt: skip


def compare(
    found,
    *,
    store,
    ks=KS["progressions"],
    segment=None,
    step=chords.STEP,
    n_distractors=DISTRACTORS,
    transposed=True,
    scoring="cosine",
    centred=False,
    seed=0,
) -> pd.DataFrame:
    """Hits@k of the progressions of several runs on the same segments and candidates, one row each, and chance.

    Parameters
    ----------
    found : dict of str to Run
        Regression runs of the same split of the same data, by the name of their row.
    store : Store
    ks, segment, step, n_distractors, transposed, scoring, centred, seed
        As in `of_run`.

    Returns
    -------
    pandas.DataFrame
        For each k ``hits@k``, ``low@k``, ``high@k`` (95 % interval over listeners) and the same as text, ``@k`` and ``95 %
        interval @k``; ``n`` segments. The last three rows are the mean picture of the training and the frequency of its chords
        (of the first run's windows), which hear no EEG, and ``chance``, k/N.

    Raises
    ------
    ParameterError
        As in `of_run`; runs of different splits.
    """
    first = next(iter(found.values()))
    n_distractors, ks = _asked(first, "progressions", n_distractors, ks, scoring)
    windows = first.windows(store)
    split = first.split(windows)
    asked, known, task, _ = question(
        store, windows, split, "progressions", segment, step, n_distractors, transposed, scoring, seed
    )
    likes = {name: _of_blind(run, first, store, windows, asked, step, scoring) for name, run in found.items()}
    blind = _no_eeg(windows, split, asked, Likeness(windows, step, scoring), known)
    rows = {}
    for name, like in (likes | {f"no EEG: {name}": like for name, like in blind.items()}).items():
        values = task.values(_centred(like, asked.table) if centred else like, ks)
        row = {}
        for i, k in enumerate(ks):
            told = scorecard.interval(values[:, i], task.table)
            span = f"{told.low:.3f} to {told.high:.3f}" if np.isfinite(told.low) else "n/a"  # one block of time
            row |= {f"@{k}": f"{told.estimate:.3f}", f"95 % interval @{k}": span}
            row |= {f"hits@{k}": told.estimate, f"low@{k}": told.low, f"high@{k}": told.high}
        rows[name] = row | {"n": len(task.table)}
    chance = {f"hits@{k}": k / task.n_candidates for k in ks} | {f"@{k}": f"{k / task.n_candidates:.3f}" for k in ks}
    rows["chance"] = dict.fromkeys(row, "") | chance | {"n": f"k/{task.n_candidates}"}
    return pd.DataFrame.from_dict(rows, orient="index")


# --- helpers -----------------------------------------------------------------------------------------------------


def _asked(run, what, n_distractors, ks, scoring):
    for name, value, known in (("what", what, tuple(KS)), ("scoring", scoring, SCORINGS)):
        if value not in known:
            raise ParameterError(f"unknown {name}={value!r}; known are {', '.join(known)}.")
    if models.module(run.config["model"]["name"]).TASK != "regression":
        raise ParameterError(f"{run.path} is a classifier: it predicts no pictures, so it has no chords.")
    n_distractors = _checks.count(n_distractors, "n_distractors")
    ks = tuple(_checks.count(k, "k") for k in (KS[what] if ks is None else ks))
    if not ks:
        raise ParameterError("ks is empty: name one k or more, such as (1, 3, 5, 10, 20).")
    if what == "chords" and max(ks) > MAX_SINGLE:
        raise ParameterError(
            f"k={max(ks)} of 25 single chords is {100 * max(ks) / 25:.0f} % by chance: k is {MAX_SINGLE} at most there. "
            "Ask for progressions, which have more candidates."
        )
    size = 25 if what == "chords" else 1 + n_distractors
    if max(ks) > size:
        raise ParameterError(f"k={max(ks)} is larger than the number of candidates ({size}): all would be hits.")
    return n_distractors, ks


def _answers(run, opened, windows, split, found, reader, known, seed):
    """Likeness of the run's segments and of all that stands beside it, and why something is missing."""
    mine = reader.of(lambda rows: run.predictions[rows], found.rows)
    likes, notes = {"this run": mine}, {}
    substitute = controls.Substitute(run, windows, opened, seed=seed)

    likes["zero EEG"] = reader.constant(substitute.zero(1)[0], found.rows.shape)
    likes["noise EEG"] = _of_noise(substitute, windows.table.iloc[split.test].reset_index(drop=True), found, reader)
    for name, giver in (
        ("shuffled", controls.shuffled(found.table, seed=seed)),
        ("other listener", controls.other_listener(found.table)),
    ):
        likes[name] = np.where((giver >= 0)[:, None, None], mine[giver], np.nan)
        if (giver < 0).any():
            notes[name] = _ALONE[name]
    likes |= _no_eeg(windows, split, found, reader, known)
    likes["true pictures"] = reader.of(lambda rows: windows.target(split.test[rows]), found.rows)
    return likes, notes


def _no_eeg(windows, split, found, reader, known):
    """Likeness of the mean picture of the training, and the frequency of its chords."""
    mean = baselines.NoEEG(sides.training_view(windows, split)).mean
    counts = np.bincount(known.ravel(), minlength=25) + 1.0  # one more of each, so that none is impossible
    often = np.broadcast_to(np.log(counts / counts.sum()), (len(found), known.shape[1], 25))
    return {"mean picture": reader.constant(mean, found.rows.shape), "training chords": often}


def _centred(like, table):
    """Likeness (n, n_steps, 25) less its mean over the segments of each recording."""
    out = np.array(like, float)
    for places in table.groupby("recording").indices.values():
        there = places[np.isfinite(out[places]).all(axis=(1, 2))]
        out[there] -= out[there].mean(axis=0)
    return out


_ALONE = {
    "shuffled": "a recording has one test segment only",
    "other listener": "no other test listener has the same segment of the same song and hearing",
}


def _of_noise(substitute, test, found, reader):
    """One recording after another, so that memory holds the pictures of one."""
    out = None
    for _, places in found.table.groupby("recording", sort=True).indices.items():
        rows = found.rows[places]
        like = reader.pictures(substitute.noise(test.iloc[rows.ravel()].reset_index(drop=True)), rows.shape[1])
        out = np.empty((len(found), *like.shape[1:])) if out is None else out
        out[places] = like
    return out


def _of_blind(blind, run, opened, windows, found, step, scoring):
    """Likeness of the same segments by another run."""
    if models.module(blind.config["model"]["name"]).TASK != "regression":
        raise ParameterError(f"{blind.path} is a classifier: it predicts no pictures.")
    for name in ("data", "split"):
        if blind.config[name] != run.config[name]:
            raise ParameterError(
                f"the audio-only run has other {name} ({blind.config[name]}) than the run ({run.config[name]}): the gain is "
                "over the same segments. Train it on the same split of the same store."
            )
    theirs = blind.windows(opened)
    split, duration = blind.split(theirs), theirs.duration
    other = segments(theirs.table.iloc[split.test].reset_index(drop=True), seconds=found.seconds, duration=duration)
    keys = [list(zip(one.table["recording"], one.table["second"], strict=True)) for one in (found, other)]
    place = {key: i for i, key in enumerate(keys[1])}
    missing = [key for key in keys[0] if key not in place]
    if missing:
        raise ParameterError(
            f"the audio-only run has no test segment at second {missing[0][1]:g} of {missing[0][0]}: its split differs."
        )
    rows = other.rows[[place[key] for key in keys[0]]]
    return Likeness(theirs, step, scoring).of(lambda at: blind.predictions[at], rows)


def _permuted(task, like, values, ks, n, seed):
    """Unit and p of each k: predictions of other segments of the recording against each segment's candidates."""
    listeners = task.table["subject"].to_numpy(str)
    try:
        lengths = (float(task.seconds),) if task.what == "progressions" else nulls.LENGTHS
        orders = nulls.orders(task.table, n=n, seed=seed, lengths=lengths, max_pairs=_pairs(task))
    except ParameterError as error:
        return str(error), dict.fromkeys(ks)
    like, found = task.items(like), {}
    other = task.candidates.transpose(0, 2, 1)  # (n, n_steps, n_candidates): pairs reads three axes

    for i, k in enumerate(ks):

        def score(predicted, offered, k=k):
            place = ranks(scores(predicted, offered.transpose(0, 2, 1)))
            return hit_values(place.rank, (k,), task.n_candidates, tied=place.tied)[:, 0]

        null = nulls.pairs(score, like, other, orders, listeners, max_pairs=_pairs(task))
        found[k] = stats.permutation_p(nulls.listener_mean(values[:, i], listeners), null)
    unit = orders.unit.replace("blocks", "segments", 1) if task.what == "progressions" else orders.unit
    return f"permutation of {unit.replace('windows', task.what)}", found


def _pairs(task):
    return max(nulls.MAX_PAIRS, 2 * len(task.table))


def _table(task, values, notes, ks, p_unit, p):
    rows = []
    for name, own in values.items():
        group = "this run" if name == "this run" else "no EEG" if name in BLIND else (
            "music" if name == "true pictures" else "EEG"
        )  # fmt: skip
        for i, k in enumerate(ks):
            told = scorecard.control(name, own[:, i], task.table, notes.get(name, ""))
            there = np.isfinite(own[:, i])
            unit = _unit(own[there, i], task.table[there]) if told["score"] is not None else ""
            rows.append(
                {"answer": name, "group": group, "k": k, "hits": told["score"], "low": told["low"], "high": told["high"],
                 "unit": unit, "chance": k / task.n_candidates, "p": p[k] if name == "this run" else None,
                 "p_unit": p_unit if name == "this run" else "", "n": told["n"], "note": told["note"]}
            )  # fmt: skip
    return pd.DataFrame(rows).astype(object).where(lambda found: found.notna(), None)


def _unit(values, table):
    found = scorecard.interval(values, table)
    return f"{found.n_groups} {found.unit}"


def _gains(task, values, ks, seed):
    """The run less the audio side alone, listener by listener."""
    listeners, rows = task.table["subject"].to_numpy(str), []
    names = np.unique(listeners)
    for i, k in enumerate(ks):
        means = {
            name: np.array([own[listeners == one, i].mean() for one in names])
            for name, own in values.items()
            if name in (*BLIND, "this run")
        }
        against = max((name for name in BLIND if name in means), key=lambda name: means[name].mean())
        row = {"k": k, "gain": float((means["this run"] - means[against]).mean()), "low": None, "high": None, "p": None,
               "against": against, "note": ""}  # fmt: skip
        if len(names) < 2:
            row["note"] = "one listener only, so that no interval over listeners can be given"
        else:
            found = stats.paired(means["this run"], means[against], seed=seed)
            row |= {"low": found.difference.low, "high": found.difference.high, "p": found.p}
            row["note"] = f"interval paired over {len(names)} listeners"
            if len(names) in scorecard.COVERAGE:
                row["note"] += f" (few: covers about {scorecard.COVERAGE[len(names)]} %)"
        rows.append(row)
    return pd.DataFrame(rows).astype(object).where(lambda found: found.notna(), None)
