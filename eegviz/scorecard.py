"""The rows of the verdict table, from a score of every test window: interval, chance, permutation p, definition.

Functions: `picture_metrics` (by name), `row` (of any metric), `song_rows` (accuracy and kappa of named songs), `control`
(the primary score under other EEG), `collapse` (constant predictions, in words), `interval`, `p_values` (the permutation p
of every metric).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from eegviz import identification, metrics, nulls, stats
from eegviz.errors import ParameterError

PERMUTATIONS = 1000
MAX_PAIRS = 20_000  # pairs of pictures scored for the nulls of picture metrics (our choice: seconds on two cores)
MIN_LISTENERS = 3  # fewer give no interval over listeners (our choice); below about 8 it is somewhat too narrow
COVERAGE = {2: 50, 3: 76, 4: 87}  # per cent, of a "95 %" interval over so few (simulated, normal); from 5 on above 92
MIN_SHARE = 0.5  # of the windows that a control must cover; below it prints n/a (our choice)
COLLAPSE = 0.02  # of the variation of the true pictures: predictions that vary less are called collapsed (our choice)
TOP = (1, 5)
PICTURE = ("cosine", "correlation", "SSI", "PSNR", "MSE")  # see picture_metrics
WHICH_SECOND = ("retrieval", *(f"top-{k}" for k in TOP), "match-mismatch")
EMBEDDED = {  # see eegviz.embeddings
    "emb. retrieval": (
        "retrieval as above, of embeddings: share of the song's other test seconds whose music embedding the EEG embedding is "
        "less like than its own"
    ),
    **{f"emb. top-{k}": f"Hits@{k} of embeddings among the song's test seconds; chance {k}/N" for k in TOP},
    "emb. all songs": (
        "retrieval of embeddings among the test seconds of all songs, no mean removed: what marks the song helps too, and the "
        "permutation, which stays within recordings, asks what goes beyond it"
    ),
}
DEFINITIONS = {
    "retrieval": (
        "within-song retrieval percentile = rank accuracy = 2-way forced choice: share of the song's other test seconds "
        "that the prediction is less like than its own (correlation of pictures; each recording's mean prediction and the "
        "candidates' mean removed, which uses the test recording; ties at half)"
    ),
    **{
        f"top-{k}": f"Hits@{k}: share of windows whose own second is {'the' if k == 1 else f'among the {k}'} most alike of the "
        f"song's test seconds; chance {k}/N"
        for k in TOP
    },
    "match-mismatch": (
        "share of windows more like their true second than like one imposter second of the song, shown on random sides"
    ),
    "song accuracy": (
        "a classifier trained on the predicted training pictures names the song of the predicted test pictures "
        "(protocol of EEG2Mel's Table 2); chance: the most frequent song"
    ),
    "kappa": "Cohen's kappa of that classifier: 0 at chance, 1 when always right",
    "cosine": "cosine of predicted and true picture, per window",
    "correlation": "Pearson correlation of predicted and true picture, per window",
    "SSI": f"structural similarity of the whole picture, uniform window {metrics.SSI_WINDOW}, data range 1 (of power: its largest value)",
    "PSNR": "peak signal-to-noise ratio of the whole picture in dB, data range 1 (of power: its largest value)",
    "MSE": "mean squared error of the normalised picture (lower is better)",
    **EMBEDDED,
    "accuracy": "share of windows whose song the network names; chance: the most frequent song",
}
ONE_SECOND = "a song has one test second only, so there is nothing to tell it from"
NO_SONG = "a test song is not in the training side, or there is one song only"
NO_IMPOSTER = "a song has no test seconds two seconds apart"


def picture_metrics(data_range=1.0) -> dict:
    """The metrics that say how like two pictures are, by name: ``metric(prediction, target)`` → one value a picture.

    Parameters
    ----------
    data_range : float
        Range of the pictures, which SSI and PSNR need: ``Windows.data_range``.
    """
    return {
        "cosine": metrics.cosine, "correlation": metrics.correlation, "SSI": partial(metrics.ssi, data_range=data_range),
        "PSNR": partial(metrics.psnr, data_range=data_range), "MSE": metrics.mse,
    }  # fmt: skip


def row(metric, values, table, *, chance=None, p=None, beside=None, note=""):
    """One row of the verdict table.

    Parameters
    ----------
    metric : str
    values : array [shape=(n,)] or None
        Score of each test window; None: the metric is not defined, and `note` says why.
    table : pandas.DataFrame
        Test windows.
    chance : float, optional
    p : dict, optional
        Of `p_values`.
    beside : dict, optional
        ``baselines``, ``oracle``, ``beside``, ``controls``: scores by name.
    note : str

    Returns
    -------
    dict
        JSON-ready.
    """
    value, unit = (p or {}).get(metric, (None, "not tested"))
    result = {
        "metric": metric, "score": None, "low": None, "high": None, "unit": "", "n": len(table), "chance": chance,
        "p": None, "p_unit": unit, "better": "low" if metric == "MSE" else "high",
        "baselines": {}, "oracle": {}, "beside": {}, "controls": {}, "definition": DEFINITIONS[metric], "note": note,
    }  # fmt: skip
    if values is None:
        return result
    found = interval(values, table)
    return result | (beside or {}) | {
        "score": float(found.estimate), "low": finite(found.low), "high": finite(found.high),
        "unit": _over(found), "p": value,
    }  # fmt: skip


def song_rows(named, table, p, metric):
    """The rows of song identification: accuracy and Cohen's kappa.

    Parameters
    ----------
    named : dict of str to array [shape=(n,)] of str
        Songs named by the run (under ``""``), by the fingerprint and under controls; an empty name is no answer.
    table : pandas.DataFrame
    p : dict
        Of `p_values`.
    metric : {"song accuracy", "accuracy"}

    Returns
    -------
    list of two dict
    """
    songs = table["stimulus"].to_numpy(str)
    if "" not in named:
        return [row(metric, None, table, note=NO_SONG), row("kappa", None, table, note=NO_SONG)]
    chance = float(identification.chance_accuracy(songs, kind="largest"))
    rights, kappas = {}, {}
    for name, who in named.items():
        who = np.asarray(who, dtype=str)
        told = who != ""
        if told.sum() >= max(1, MIN_SHARE * _asked(told, table).sum()):
            rights[name] = float((who == songs)[told].mean())
            kappas[name] = finite(identification.kappa(who[told], songs[told]))

    def beside(values, blind):
        return {
            "baselines": {"mean picture": blind},  # without EEG nothing beats the most frequent song
            "beside": {"fingerprint": values.get("fingerprint")},
            "controls": {name: value for name, value in values.items() if name not in ("", "fingerprint")},
        }

    right = (np.asarray(named[""], dtype=str) == songs).astype(float)
    first = row(metric, right, table, chance=chance, p=p, beside=beside(rights, chance))
    value, unit = p.get("kappa", (None, "not tested"))
    second = row("kappa", None, table, chance=0.0) | beside(kappas, 0.0)
    second |= {"score": kappas[""], "p": value, "p_unit": unit}
    if kappas[""] is not None and kappas[""] < 1 and first["low"] is not None:
        # kappa is accuracy on another scale, given how often each song is heard and named: so is its interval
        agreed = (float(right.mean()) - kappas[""]) / (1 - kappas[""])
        second |= {end: (first[end] - agreed) / (1 - agreed) for end in ("low", "high")} | {"unit": first["unit"]}
    return [first, second]


def control(name, values, table, note=""):
    """The primary score under one control, with its interval; n/a with a `note` where too few windows can have it."""
    there = np.zeros(len(table), bool) if values is None else np.isfinite(values)
    result = {"name": name, "score": None, "low": None, "high": None, "n": int(there.sum()), "note": note}
    if not there.any() or there.sum() < MIN_SHARE * _asked(there, table).sum():
        return result | {"note": note or "fewer than half of the test windows can have it"}
    found = interval(np.asarray(values)[there], table[there])
    return result | {"score": float(found.estimate), "low": finite(found.low), "high": finite(found.high), "note": ""}


def collapse(spread) -> str:
    """What to say of predictions that are nearly the same for all test windows; "" where they are not.

    It stands below the reasons of a verdict, whose rule does not ask for it: which second a prediction is most like does
    not depend on its size.

    Parameters
    ----------
    spread : float or None
        Of `eegviz.scoring.spread`.

    Examples
    --------
    >>> collapse(0.5), collapse(None)
    ('', '')
    >>> collapse(0.001)[:46]
    'collapsed: the predictions vary 0.1 % as much '
    """
    if spread is None or spread >= COLLAPSE:
        return ""
    return (
        f"collapsed: the predictions vary {100 * spread:.2g} % as much from window to window as the true pictures "
        f"(below {100 * COLLAPSE:g} %): nearly one answer for all EEG"
    )


def interval(values, table):
    """Over listeners; over blocks of time where there are fewer than MIN_LISTENERS, whose range says nothing."""
    n_listeners = table["subject"].nunique()
    if n_listeners >= MIN_LISTENERS:
        return stats.bootstrap_interval(values, table["subject"])
    unit = "one listener" if n_listeners == 1 else f"{n_listeners} listeners"
    try:
        found = stats.bootstrap_interval(values, np.zeros(len(table), int), windows=table)
    except ParameterError:  # all windows lie in one block of time
        found = stats.Interval(float(np.mean(values)), np.nan, np.nan, 0.95, 1, "", len(values))
    blocks = "block" if found.n_groups == 1 else "blocks"
    return replace(found, unit=f"{blocks} of {stats.BLOCK:g} s, {unit}: no interval over listeners")


def p_values(
    table, *, named=None, found=None, matched=None, observed=None, prediction=None, target=None, data_range=1.0
) -> dict:
    """Permutation p of every metric: ``{metric: (p, unit)}``; p is None where the unit says why.

    Parameters
    ----------
    table : pandas.DataFrame
        Test windows.
    named : array of str, optional
        Songs that were named.
    found : Retrieval, optional
    matched : MatchMismatch, optional
    observed : dict of array, optional
        Scores of the windows by the metrics of pictures, with
    prediction, target : callable, optional
        rows of the table → pictures.
    data_range : float
        Of the pictures.
    """
    result, listeners = {}, table["subject"].to_numpy(str)
    if named is not None:
        names = ("song accuracy", "accuracy", "kappa")
        try:
            null = nulls.labels(named, table["stimulus"].to_numpy(str), table, n=PERMUTATIONS)
        except ParameterError as error:
            result |= dict.fromkeys(names, (None, str(error)))
        else:
            p = stats.permutation_p(null.observed_accuracy, null.accuracy), null.unit
            result |= dict.fromkeys(names[:2], p)
            result["kappa"] = stats.permutation_p(null.observed_kappa, null.kappa), null.unit
    if found is None and observed is None:
        return result
    try:
        orders = nulls.orders(table, n=PERMUTATIONS)
        few = nulls.orders(table, n=PERMUTATIONS, max_pairs=max(MAX_PAIRS, 2 * len(table)))
    except ParameterError as error:
        return result | dict.fromkeys((*WHICH_SECOND, *PICTURE), (None, str(error)))

    def add(name, values, null, unit, alternative="greater"):
        mean = nulls.listener_mean(values, listeners)
        result[name] = stats.permutation_p(mean, null, alternative=alternative), unit

    if found is not None:
        add("retrieval", found.percentile, nulls.retrieval(found, orders, listeners), orders.unit)
        for k in (k for k in TOP if k <= found.n_candidates.min()):
            add(f"top-{k}", found.top_k(k), nulls.top_k(found, orders, listeners, k), orders.unit)
    if matched is not None:
        add("match-mismatch", matched.right, nulls.match_mismatch(matched, found, orders, listeners), orders.unit)
    scores = picture_metrics(data_range)
    for name, values in (observed or {}).items():
        null = nulls.pairs(scores[name], prediction, target, few, listeners, max_pairs=max(MAX_PAIRS, 2 * len(table)))
        add(name, values, null, few.unit, "less" if name == "MSE" else "greater")
    return result


def _asked(there, table):
    """Windows of the recordings that were scored at all."""
    return table["recording"].isin(table["recording"][there])


def _over(found):
    """What an interval was drawn over, and how far to trust it: ``3 listeners (few: covers about 76 %)``."""
    what, comma, rest = found.unit.partition(",")
    few = f" (few: covers about {COVERAGE[found.n_groups]} %)" if found.n_groups in COVERAGE else ""
    return f"{found.n_groups} {what}{few}{comma}{rest}"


def finite(value):
    """A float for JSON: None for NaN, infinity and None."""
    return None if value is None or not np.isfinite(value) else float(value)
