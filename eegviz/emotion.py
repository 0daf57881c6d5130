"""Valence and arousal from EEG: a linear predictor, fitted on some listeners and scored on others.

Emotional music from EEG (https://doi.org/10.3389/fnbot.2024.1437737) sets its synthesiser "based on the emotional features in
the EEG signals" and publishes neither these features nor how well they tell emotion. Here both are stated, and what a
listener's rating can be guessed from *without* his EEG stands beside them.

Conventions
-----------
- Ratings are those of DEAP: valence and arousal from 1 to 9 (`SCALE`), one of each a recording; the four *quadrants* are
  high or low in both, high above `MIDDLE`.
- Features are the differential entropies of each channel in each band (`eegviz.features.differential_entropy`), averaged over
  the segments of a recording; or any other numbers a row, such as the tokens of a run.
- Features are standardised **within each listener**, by default: entropies of two heads differ more than those of two
  emotions. For the test listeners this uses all their recordings, though never their ratings (transductive).
- Fitting sees the ratings of the training listeners only; the strength of the ridge is chosen on folds of whole training
  listeners. Scores are of whole recordings: r within each test listener, then their mean, so that a listener who rates
  everything high gains nothing.
- **No EEG**: the mean rating of the same piece by the training listeners. It knows the piece, which the predictor does not,
  and is hard to beat: an EEG predictor below it says less about a listener's emotion than the piece's name does.
- p: ratings change places among the recordings of a listener, alike for all listeners where they heard the same pieces.

Functions: `of_store` (features of a store, fitted and scored), `score` (of any features), `fit` (a `Predictor`),
`entropies` (of a store), `quadrants`, `check_ratings`.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz import _checks, features, nulls, scorecard, stats, windowing
from eegviz._ratings import (
    ALPHAS,
    MIDDLE,
    QUADRANTS,
    RATINGS,
    SCALE,
    Predictor,
    check_ratings,
    fit,
    quadrants,
    rated,
)
from eegviz.errors import DataError, ParameterError
from eegviz.verdict import p_value

__all__ = [
    "ALPHAS",
    "MIDDLE",
    "QUADRANTS",
    "RATINGS",
    "SCALE",
    "Emotion",
    "Predictor",
    "check_ratings",
    "entropies",
    "fit",
    "of_store",
    "quadrants",
    "score",
]
SEGMENT = 4.0  # seconds (paper)
LEAST = 3  # recordings of a listener, for his r
WIDTH = 76  # columns of `Emotion.describe`


@dataclass(frozen=True, eq=False)
class Emotion:
    """How well ratings of test listeners are predicted; made by `score`.

    Attributes
    ----------
    table : pandas.DataFrame
        A row a test recording: recording, subject, stimulus, valence, arousal, ``predicted_valence``,
        ``predicted_arousal``, quadrant, ``predicted_quadrant``, ``piece_valence`` and ``piece_arousal`` (mean ratings of
        the piece by the training listeners; NaN where none heard it).
    rows : pandas.DataFrame
        A row a score: ``what`` (valence r, arousal r, quadrant accuracy), ``score``, ``low``, ``high``, ``unit``,
        ``chance``, ``p``, ``p_unit``, ``no_eeg`` (the same score of the piece's mean rating), ``gain`` over it with
        ``gain_low`` and ``gain_high``, ``n`` recordings, ``note``.
    predictor : Predictor
    majority : float
        Share of test recordings in the quadrant that is most frequent in the training.
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    predictor: Predictor
    majority: float | None

    def row(self, what):
        """One row of `rows` as a dict."""
        return self.rows[self.rows["what"] == what].iloc[0].to_dict()

    def describe(self):
        """The scores as text, at most 76 columns wide."""
        listeners = self.table["subject"].nunique()
        lines = [
            f"Valence and arousal of {len(self.table)} recordings of {listeners} test listener{'s' * (listeners != 1)}, from "
            f"{len(self.predictor.listeners)} training listeners"
        ]
        for row in self.rows.to_dict("records"):
            lines.append(_in_words(row, self.majority))
        lines.append("r: within each listener over his recordings, then the mean of the listeners")
        lines.append("no EEG: the mean rating of the same piece by the training listeners, which knows the piece")
        for unit in dict.fromkeys(row["p_unit"] for row in self.rows.to_dict("records") if row["p"] is not None):
            lines.append(f"p: permutation of {unit}")
        return "\n".join(part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="    "))


def score(
    values, table, *, test, within_listener=True, alphas=ALPHAS, n_permutations=scorecard.PERMUTATIONS, seed=0
) -> Emotion:
    """Fit on all listeners but the test listeners, and score these.

    Parameters
    ----------
    values : array_like, shape (n, n_features)
        Features of rows; rows of one recording are averaged.
    table : pandas.DataFrame
        One row each: ``recording``, ``subject``, ``stimulus``, ``valence``, ``arousal``.
    test : sequence of str
        Listeners that are held out.
    within_listener, alphas
        As in `fit`.
    n_permutations : int
    seed : int

    Returns
    -------
    Emotion

    Raises
    ------
    ParameterError
        Unknown test listeners, or none left to train on.
    DataError
        Ratings that are missing, or differ within a recording; features that are not finite.
    """
    values, table = _by_recording(values, table)
    known, test = set(table["subject"]), [str(one) for one in ([test] if isinstance(test, str) else test)]
    if not test or set(test) - known:
        raise ParameterError(
            f"unknown test listener {(set(test) - known) or '(none)'}; known are {', '.join(sorted(known))}."
        )
    held = table["subject"].isin(test).to_numpy()
    if held.all():
        raise ParameterError(f"all {len(known)} listeners are test listeners: none is left to train on.")
    train = table[~held]
    predictor = fit(values[~held], train, within_listener=within_listener, alphas=alphas)
    found = table[held].reset_index(drop=True)
    subjects = found["subject"].to_numpy(str)
    predicted = predictor.predict(values[held], subjects)
    quadrant = quadrants(train["valence"], train["arousal"])
    kinds, counts = np.unique(quadrant, return_counts=True)
    piece = train.groupby("stimulus")[list(RATINGS)].mean().reindex(found["stimulus"]).to_numpy()
    found = found.assign(
        predicted_valence=predicted[:, 0], predicted_arousal=predicted[:, 1],
        quadrant=quadrants(found["valence"], found["arousal"]),
        predicted_quadrant=predictor.name(values[held], subjects), piece_valence=piece[:, 0], piece_arousal=piece[:, 1],
    )  # fmt: skip
    majority = float((found["quadrant"] == kinds[counts.argmax()]).mean())
    rows = [_correlated(found, name, n_permutations, seed) for name in RATINGS]
    rows.append(_named(found, majority, n_permutations, seed))
    rows = pd.DataFrame(rows).astype(object)
    return Emotion(found, rows.where(rows.notna(), None), predictor, majority)


def entropies(store, *, condition="listening", segment=SEGMENT, bands=None):
    """Differential entropies of the rated recordings of a store.

    Parameters
    ----------
    store : eegviz.store.Store
        With columns ``valence`` and ``arousal`` in its recordings.
    condition : str
        Recordings of this condition; several separated by commas.
    segment : float
        Seconds; entropies are averaged over a recording's segments.
    bands : dict of str to tuple of float, optional
        Hertz; default those of `eegviz.features.BANDS` that lie below half the rate.

    Returns
    -------
    values : ndarray, shape (n_recordings, n_channels · n_bands)
    table : pandas.DataFrame
        A row each: recording, subject, stimulus, valence, arousal.

    Raises
    ------
    DataError
        A store without ratings, or recordings with different channels.
    ParameterError
        A recording that is shorter than a segment.
    """
    told = check_ratings(store.recordings, where=f"the store {store.path}")
    rows = windowing.recordings(store, condition)
    rows = rows[rows["recording"].isin(told["recording"])]
    if rows.empty:
        raise DataError(f"the store {store.path} has no rated recording of condition {condition!r}.")
    rows = rows.assign(
        **{name: told.set_index("recording").loc[rows["recording"], name].to_numpy() for name in RATINGS}
    )
    names, out = store.ch_names(rows["recording"].iloc[0]), []
    for row in rows.to_dict("records"):
        if store.ch_names(row["recording"]) != names:
            raise DataError(
                f"{store.path}: recording {row['recording']} has other channels than {rows['recording'].iloc[0]}."
            )
        n_times = round(segment * row["sfreq"])
        signal = windowing.signal(store, row["recording"])
        n = signal.shape[1] // n_times if n_times > 0 else 0
        if n < 1:
            raise ParameterError(
                f"recording {row['recording']} has {signal.shape[1] / row['sfreq']:g} s, shorter than a segment of {segment:g} s."
            )
        parts = signal[:, : n * n_times].reshape(len(signal), n, n_times).swapaxes(0, 1) * features.MICROVOLT
        asked = {k: b for k, b in features.BANDS.items() if b[1] < row["sfreq"] / 2} if bands is None else bands
        found = features.differential_entropy(parts, sfreq=row["sfreq"], bands=asked)
        out.append(found.mean(0, dtype=float).ravel())
    columns = ["recording", "subject", "stimulus", *RATINGS]
    return np.stack(out), rows[columns].reset_index(drop=True)


def of_store(store, *, test, condition="listening", segment=SEGMENT, bands=None, **options) -> Emotion:
    """Predict the ratings of a store's test listeners from differential entropies; `options` are those of `score`."""
    values, table = entropies(store, condition=condition, segment=segment, bands=bands)
    return score(values, table, test=test, **options)


# --- helpers -----------------------------------------------------------------------------------------------------


def _by_recording(values, table):
    """One row a recording, sorted by listener and recording."""
    missing = [name for name in ("recording", "subject", "stimulus") if name not in table]
    if missing:
        raise ParameterError(f"the table lacks {', '.join(missing)}.")
    table = rated(table, values).reset_index(drop=True)
    table = table.assign(subject=table["subject"].astype(str))
    values = np.asarray(values, float)
    groups = table.groupby(["subject", "recording"], sort=True)
    differ = groups[list(RATINGS)].nunique().gt(1).any(axis=1)
    if differ.any():
        raise DataError(f"recording {differ[differ].index[0][1]} has several ratings: expected one of each.")
    firsts = groups.head(1).sort_values(["subject", "recording"])
    means = np.stack(
        [values[groups.indices[key]].mean(0) for key in zip(firsts["subject"], firsts["recording"], strict=True)]
    )
    return means, firsts[["recording", "subject", "stimulus", *RATINGS]].reset_index(drop=True)


def _correlated(found, name, n, seed):
    """The row of one rating."""
    row = _empty(f"{name} r", len(found), chance=0.0)
    own = _listener_r(found, f"predicted_{name}", name)
    if not len(own):
        return row | {
            "note": f"no test listener has {LEAST} recordings with different ratings",
        }
    row |= {"score": float(own.mean())} | _interval(own.to_numpy(), own.index)
    theirs = _listener_r(found.dropna(subset=[f"piece_{name}"]), f"piece_{name}", name)
    row |= _beside(own, theirs, seed)
    kept = found[found["subject"].isin(own.index)]
    orders, unit = _orders(kept, n, seed)
    if orders is None:
        return row | {"p_unit": unit}
    total, inside = np.zeros(len(orders)), np.empty(len(kept), int)
    for places in kept.reset_index(drop=True).groupby("subject").indices.values():
        mine, true = (_unit(kept[column].to_numpy()[places]) for column in (f"predicted_{name}", name))
        inside[places] = np.arange(len(places))
        moved = inside[orders[:, places]]
        total += (true[moved] * mine).sum(1)
    p = stats.permutation_p(row["score"], total / len(own))
    return row | {"p": p, "p_unit": unit}


def _named(found, majority, n, seed):
    """The row of quadrants."""
    row = _empty("quadrant accuracy", len(found), chance=1 / len(QUADRANTS))
    right = (found["predicted_quadrant"] == found["quadrant"]).astype(float)
    own = right.groupby(found["subject"]).mean()
    row |= {"score": float(own.mean())} | _interval(own.to_numpy(), own.index)
    told = found.dropna(subset=["piece_valence", "piece_arousal"])
    if len(told):
        named = quadrants(told["piece_valence"], told["piece_arousal"]) == told["quadrant"].to_numpy()
        theirs = pd.Series(named.astype(float), index=told.index).groupby(told["subject"]).mean()
        row |= _beside(own, theirs, seed)
    try:
        null = nulls.labels(found["predicted_quadrant"], found["quadrant"], found, n=n, seed=seed)
    except ParameterError:
        return row | {"p_unit": "all test recordings are of one quadrant, so that nothing can be permuted"}
    unit = null.unit.replace("songs of recordings", "quadrants of recordings").replace("two songs", "two quadrants")
    return row | {"p": stats.permutation_p(null.observed_accuracy, null.accuracy), "p_unit": unit}


def _empty(what, n, *, chance):
    keys = ("score", "low", "high", "p", "no_eeg", "gain", "gain_low", "gain_high")
    return {"what": what} | dict.fromkeys(keys) | {"chance": chance, "n": n, "unit": "", "p_unit": "", "note": ""}


def _interval(values, listeners):
    if len(values) < scorecard.MIN_LISTENERS:
        return {"unit": f"{len(values)} listener{'s' * (len(values) != 1)}"}
    found = stats.bootstrap_interval(values, np.asarray(listeners))
    few = f" (few: covers about {scorecard.COVERAGE[len(values)]} %)" if len(values) in scorecard.COVERAGE else ""
    return {"low": found.low, "high": found.high, "unit": f"{len(values)} listeners{few}"}


def _beside(own, theirs, seed):
    """The piece's mean rating, and the gain over it listener by listener."""
    both = own.index.intersection(theirs.index)
    if not len(both):
        return {}
    told = {"no_eeg": float(theirs[both].mean()), "gain": float((own[both] - theirs[both]).mean())}
    if len(both) >= scorecard.MIN_LISTENERS:
        found = stats.paired(own[both].to_numpy(), theirs[both].to_numpy(), seed=seed)
        told |= {"gain_low": found.difference.low, "gain_high": found.difference.high}
    return told


def _listener_r(table, predicted, true):
    """Pearson's r within each listener who has enough recordings."""
    found = {}
    for one, rows in table.groupby("subject"):
        a, b = _unit(rows[predicted].to_numpy()), _unit(rows[true].to_numpy())
        if len(rows) >= LEAST and b.any():  # predictions that do not vary have r = 0
            found[one] = float(a @ b)
    return pd.Series(found, dtype=float)


def _unit(values):
    """Values less their mean, at length 1; zeros where they do not vary."""
    centred = np.asarray(values, float) - np.mean(values)
    size = np.linalg.norm(centred)
    return centred / size if size > 1e-9 * (1 + np.abs(values).max()) else np.zeros_like(centred)


def _orders(table, n, seed):
    """Which recording's rating each recording gets: (n, n_recordings) within listeners, and the unit in words."""
    n, rng = _checks.count(n, "n_permutations"), np.random.default_rng(seed)
    table = table.reset_index(drop=True)
    teams = list(table.groupby("subject", sort=True).indices.values())
    stimuli = table["stimulus"].to_numpy(str)
    heard = [team[np.argsort(stimuli[team], kind="stable")] for team in teams]
    size = len(heard[0])
    alike = all(len(team) == size and (stimuli[team] == stimuli[heard[0]]).all() for team in heard)
    if alike and len(set(stimuli[heard[0]])) == size and math.lgamma(size + 1) >= math.log(n):
        order = rng.random((n, size)).argsort(axis=1)
        out = np.empty((n, len(table)), int)
        for team in heard:
            out[:, team] = team[order]
        return out, f"ratings of recordings within listeners, alike for all listeners of a piece, {n} permutations"
    ways = sum(math.lgamma(len(team) + 1) for team in teams)
    if ways <= 0:
        return None, "no test listener has two recordings, so that nothing can be permuted"
    out = np.empty((n, len(table)), int)
    for team in heard:
        out[:, team] = team[rng.random((n, len(team))).argsort(axis=1)]
    few = f" ({round(math.exp(ways))} different orders)" if ways < math.log(n) else ""
    return out, f"ratings of recordings within listeners, {n} permutations{few}"


def _in_words(row, majority):
    if row["score"] is None:
        return f"{row['what']}: n/a, {row['note']}"
    interval = "no interval" if row["low"] is None else f"95 % interval {row['low']:.3f} to {row['high']:.3f}"
    p = "" if row["p"] is None else f", p {'= ' if row['p'] >= 0.001 else ''}{p_value(row['p']).replace('<', '< ')}"
    chance = "chance 0" if row["chance"] == 0 else f"chance {row['chance']:.2f}, most frequent quadrant {majority:.3f}"
    said = f"{row['what']} {row['score']:.3f} ({interval} over {row['unit']}{p}; {chance})"
    if row["no_eeg"] is None:
        return f"{said}; no test piece was rated by training listeners"
    gain = f"; gain {row['gain']:+.3f}"
    if row["gain_low"] is not None:
        gain += f" [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}]"
    return f"{said}; no EEG {row['no_eeg']:.3f}{gain}"
