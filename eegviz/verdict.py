"""The verdict on a run: one of three sentences, by a fixed rule, with the reasons; and the table that is printed.

Rule, on the primary metric (within-song retrieval of centred predictions; accuracy for a classifier of songs):

- *This split cannot tell*: on random, interleaved and blocked splits, always. Neighbouring seconds and the recording
  itself are on both sides there.
- *The EEG contributed*: on a split that separates song from recording, when all of it holds: permutation p < .05; the
  95 % interval lies above chance; and above the best answer without EEG; and the score is gone when the EEG is shuffled
  within the song (its interval reaches down to chance, and it lies below the run's interval); and it is gone when the EEG
  is `FAR` seconds away, where the test holds such seconds (on average it lies below the run's interval, and has lost more
  than half of what lay above chance). This last condition is ours: a slow change that all recordings share, such as an
  amplitude that rises from start to end under music that builds up, passes all others (`eegviz.calibration`).
- *No evidence that the EEG contributed*: otherwise on such a split.

Functions: `decide`, `describe` (the printed table), `sentence`, `beside_baselines`, `ladder` (the primary score and all that
stands beside it), `overview` (several runs in one table).
"""

from __future__ import annotations

import textwrap

from eegviz.baselines import NO_EEG, ORACLE
from eegviz.controls import CONTROLS

CONTRIBUTED = "The EEG contributed"
NO_EVIDENCE = "No evidence that the EEG contributed"
CANNOT_TELL = "This split cannot tell"
ALPHA = 0.05
FAR = (5, 10)  # seconds, either way: far enough from the window's own second that its response has passed (our choice)
JUDGES = {"retrieval": "shuffled", "accuracy": "noise EEG"}  # the control that must be gone, by primary metric
WIDTH = 76  # columns of printed tables: what a page of the report shows without scrolling


def decide(row, controls, *, can_separate, label, shifts=()) -> dict:
    """The verdict from the primary row.

    Parameters
    ----------
    row : dict
        Of the primary metric: score, low, chance, p, baselines.
    controls : list of dict
        The primary score under each control: name, score, low, high, note. That of `JUDGES` must be gone.
    can_separate : bool
    label : str
        Of the split.
    shifts : list of dict
        The primary score under time shifts: seconds, score. Those of `FAR` must be gone, where there are any.

    Returns
    -------
    dict
        ``sentence`` (one of three) and ``reasons``, a list of ``{"holds": bool, "text": str}``.
    """
    if not can_separate:
        text = f"the split {label}: neighbouring seconds, and the recording itself, are on both sides"
        return {"sentence": CANNOT_TELL, "reasons": [{"holds": False, "text": text}]}
    if row["score"] is None:
        text = f"{row['metric']} is not defined here: {row['note']}"
        return {"sentence": NO_EVIDENCE, "reasons": [{"holds": False, "text": text}]}
    low, chance, p = row["low"], row["chance"], row["p"]
    if low is None:
        text = f"no interval can be given over {row['unit'].partition(':')[0]}"
        return {"sentence": NO_EVIDENCE, "reasons": [_reason(False, text)]}
    interval = f"interval [{low:.3f}, {row['high']:.3f}]"
    reasons = [
        _reason(
            p is not None and p < ALPHA,
            f"permutation p = {p_value(p)} ({row['p_unit']})"
            if p is not None
            else f"no permutation p: {row['p_unit']}",
        ),
        _reason(low > chance, f"{interval} over {row['unit']}; chance {chance:.3f}"),
    ]
    blind = {k: v for k, v in row["baselines"].items() if v is not None}
    if blind:
        best = max(blind, key=blind.get)
        reasons.append(_reason(low > blind[best], f"best answer without EEG: {best}, {blind[best]:.3f}"))
    control = next(one for one in controls if one["name"] == JUDGES[row["metric"]])
    name = control["name"].removesuffix(" EEG")
    if control["score"] is None:
        reasons.append(_reason(False, f"no control with {name} EEG: {control['note']}"))
    else:
        gone = control["low"] is not None and control["low"] <= chance and control["score"] < low
        seen = f"{control['score']:.3f} [{number(control['low'])}, {number(control['high'])}]"
        reasons.append(_reason(gone, f"{name} EEG: {seen}, {'gone' if gone else 'not gone'}"))
    far = [shift for shift in shifts if abs(shift["seconds"]) in FAR and shift["score"] is not None]
    if far:
        mean = sum(shift["score"] for shift in far) / len(far)
        gone = mean < low and mean - chance < (row["score"] - chance) / 2
        seconds = " and ".join(sorted({str(abs(shift["seconds"])) for shift in far}, key=int))
        told = "gone" if gone else "not gone, as after a slow change of all recordings"
        reasons.append(_reason(gone, f"EEG from {seconds} s away: {mean:.3f}, {told}"))
    holds = all(reason["holds"] for reason in reasons)
    return {"sentence": CONTRIBUTED if holds else NO_EVIDENCE, "reasons": reasons}


def describe(result, *, brief=False) -> str:
    """The verdict table in plain text: verdict and reasons, scores, baselines, controls, time shift, what is shared.

    Parameters
    ----------
    result : dict
        Of `eegviz.evaluation.evaluate`.
    brief : bool
        Verdict, reasons and scores only.
    """
    split = result["split"]
    listeners = f"{split['n_listeners']} listener{'s' if split['n_listeners'] != 1 else ''}"
    parts = [
        _wrapped(f"{result['name']}{'  [simulated data]' if result['simulated'] else ''}"),
        _wrapped(f"split {split['spec']}: {split['label']}"),
        f"train {split['n_train']}, validation {split['n_validation']}, test {split['n_test']} windows of {listeners}",
        "",
        f"VERDICT: {result['verdict']}.",
        *(_wrapped(f"[{'x' if r['holds'] else ' '}] {r['text']}", "    ") for r in result["reasons"]),
        "",
        *_scores(result["metrics"]),
    ]
    if brief:
        return "\n".join(parts)
    parts += [
        "",
        "Without EEG (from training data only):",
        *_columns(result["metrics"], [(name, "baselines", name) for name in NO_EEG], 15),
        "",
        "With the true music (previous second, ceiling), the run told the song,",
        "the recording's fingerprint (EEG, no music), and a linear decoder:",
        *_columns(
            result["metrics"],
            [
                ("prev second", "oracle", ORACLE[0]),
                ("ceiling", "oracle", ORACLE[1]),
                ("song told", "oracle", ORACLE[2]),
                ("fingerprint", "beside", "fingerprint"),
                ("linear", "beside", "linear decoder"),
            ],
            12,
        ),
    ]
    if result["no_linear_decoder"]:
        parts.append(_wrapped(f"linear decoder is n/a: {result['no_linear_decoder']}", "    "))
    if any(row["controls"] for row in result["metrics"]):
        part = result["n_beside"] < split["n_test"]
        parts += [
            "",
            "Controls: the same weights, other EEG:",
            *_columns(result["metrics"], [(name.partition(" ")[0], "controls", name) for name in CONTROLS], 10),
            *(
                _wrapped(f"{c['name']} is n/a: {c['note']}", "    ")
                for c in result["controls"]
                if c["score"] is None and c["note"]
            ),
        ]
        if part:
            text = (
                f"random second, fingerprint, noise, silence, and pictures under shuffled and other EEG: from "
                f"{result['n_beside']} of the windows (whole recordings, spread over listeners and songs)"
            )
            parts.append(_wrapped(text, "    "))
    if any(shift["score"] is not None for shift in result["shifts"]):
        parts += [
            "",
            f"EEG shifted against the sound by seconds: {result['metrics'][0]['metric']}",
            *_shifts(result["shifts"]),
        ]
    parts += ["", *_notes(result)]
    return "\n".join(parts)


def sentence(result) -> str:
    """The verdict and the primary score in one sentence: what, on which split, how sure, on which side of chance."""
    row, split = result["metrics"][0], result["split"]
    if row["score"] is None:
        return f"{result['verdict']}: {row['metric']} is not defined on split {split['spec']}: {row['note']}."
    if row["low"] is None:
        interval = f"no interval over {row['unit'].partition(':')[0]}; chance ({row['chance']:.3f})"
    else:
        where = "includes" if row["low"] <= row["chance"] <= row["high"] else (
            "lies above" if row["low"] > row["chance"] else "lies below"
        )  # fmt: skip
        interval = (
            f"95 % interval [{row['low']:.3f}, {row['high']:.3f}] over {row['unit']}, which {where} chance "
            f"({row['chance']:.3f})"
        )
    p = "" if row["p"] is None else f"; p {_relation(row['p'])}"
    return (
        f"{result['verdict']}: {row['metric']} {row['score']:.3f}, {interval}{p}; n = {row['n']} windows; split "
        f"{split['spec']} ({split['label']}){'; simulated data' if result['simulated'] else ''}."
    )


def beside_baselines(result) -> str:
    """Which picture scores are better than the mean picture of the true song (else of all songs), in one sentence."""
    better, worse = [], []
    rows = [row for row in result["metrics"] if row["metric"] in _LIKENESS and row["score"] is not None]
    against = "song mean" if rows and "song mean" in rows[0]["baselines"] else "mean picture"
    for row in rows:
        if against not in row["baselines"]:
            continue
        gain = row["score"] - row["baselines"][against]
        is_better = gain < 0 if row["better"] == "low" else gain > 0
        (better if is_better else worse).append(f"{row['metric']} {row['score']:.3f} ({row['baselines'][against]:.3f})")
    told = [f"{row['metric']} {row['oracle']['song told']:.3f}" for row in rows if "song told" in row["oracle"]]
    return (
        f"Better than the {against} without EEG (in brackets): {', '.join(better) or 'nothing'}; "
        f"not better: {', '.join(worse) or 'nothing'}."
        + (f" Told the song, as the song mean is: {', '.join(told)}." if told else "")
    )


def ladder(result) -> list:
    """The primary score and what stands beside it, as rows ``(name, score, low, high)`` for `eegviz.plots.intervals`.

    Answers without EEG and of the oracle have no interval; what is not defined is left out.
    """
    row = result["metrics"][0]
    rows = [("this run", row["score"], row["low"], row["high"])]
    rows += [
        (f"{c['name']} EEG".replace("EEG EEG", "EEG"), c["score"], c["low"], c["high"]) for c in result["controls"]
    ]
    beside = row["beside"] | {f"{name} (no EEG)": score for name, score in row["baselines"].items()}
    rows += [(name, score, None, None) for name, score in (beside | row["oracle"]).items()]
    return [one for one in rows if one[1] is not None]


def overview(results) -> list:
    """Several results as rows for one table: split, model, score, interval, p, best answer without EEG, verdict."""
    rows = []
    for result in results:
        row = result["metrics"][0]
        cosine = next((r for r in result["metrics"] if r["metric"] == "cosine"), None)
        split = result["split"]
        rows.append(
            {
                "split": split["spec"],
                "song from recording": "separates" if split["can_separate"] else "cannot separate",
                "model": result["name"].partition(" ")[0],
                "verdict": result["verdict"],
                row["metric"]: row["score"],
                "95 % interval": "n/a" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}",
                "p": p_value(row["p"]),
                "cosine": cosine and cosine["score"],
                "song mean's": cosine and cosine["baselines"].get("song mean"),
                "n": row["n"],
            }
        )
    return rows


_LIKENESS = ("cosine", "correlation", "SSI", "PSNR", "MSE")


def p_value(p) -> str:
    """``0.000999`` → ``.001``; what is not defined prints n/a."""
    return "n/a" if p is None else f"{p:.3f}".removeprefix("0") if p >= 0.001 else "<.001"


def _relation(p):
    """``= .012`` or ``< .001``."""
    return f"= {p_value(p)}" if p >= 0.001 else "< .001"


def _reason(holds, text):
    return {"holds": bool(holds), "text": text}


def _scores(rows):
    lines = [
        f"{'metric':<14}{'score':>7}{'95 % interval':>14}{'chance':>7}{'no EEG':>7}{'shuffled':>9}{'ceiling':>8}{'p':>6}{'n':>5}"
    ]
    for row in rows:
        interval = "n/a" if row["low"] is None else f"{row['low']:.3f}–{row['high']:.3f}"
        blind = [value for value in row["baselines"].values() if value is not None]
        best = None if not blind else (min if row["better"] == "low" else max)(blind)
        lines.append(
            f"{row['metric']:<14}{number(row['score']):>7}{interval:>14}{number(row['chance']):>7}{number(best):>7}"
            f"{number(row['controls'].get('shuffled')):>9}{number(row['oracle'].get('ceiling')):>8}{p_value(row['p']):>6}"
            f"{row['n']:>5}"
        )
    return lines


def _columns(rows, columns, width):
    head = f"{'metric':<14}" + "".join(f"{name:>{width}}" for name, _, _ in columns)
    lines = [head.rstrip()]
    for row in rows:
        values = [number(row[group].get(key)) for _, group, key in columns]
        if set(values) != {"n/a"}:
            lines.append(f"{row['metric']:<14}" + "".join(f"{value:>{width}}" for value in values))
    return lines


def _shifts(shifts):
    return [
        f"{'seconds':<14}" + "".join(f"{s['seconds']:>+6d}" for s in shifts),
        f"{'score':<14}" + "".join(f"{number(s['score'])[:5]:>6}" for s in shifts),
        f"{'n':<14}" + "".join(f"{s['n']:>6}" for s in shifts),
    ]


def _notes(result):
    rows = result["metrics"]
    units = sorted({row["unit"] for row in rows if row["unit"]})
    tested = sorted({row["p_unit"] for row in rows if row["p"] is not None})
    lines = [f"interval: bootstrap over {'; '.join(units)}" if units else "interval: n/a"]
    lines += [f"p: permutation of {text}" for text in tested]
    lines += ["no EEG: the best of the four answers without EEG; shuffled: EEG of other seconds of the recording"]
    lines += ["song told: the prediction with the mean of the true song in place of the overall mean"]
    lines += [f"{row['metric']}: {row['definition']}" for row in rows]
    lines += [f"{row['metric']} is n/a: {row['note']}" for row in rows if row["note"] and row["score"] is None]
    lines += [f"{row['metric']}: {row['note']}" for row in rows if row["note"] and row["score"] is not None]
    lines += ["Shared between the sides:", *result["audit"]["text"]]
    return [_wrapped(line, "    ") for line in lines]


def _wrapped(text, indent=""):
    return "\n".join(textwrap.wrap(text, WIDTH, subsequent_indent=indent))


def number(value) -> str:
    """Three decimals, or n/a."""
    return "n/a" if value is None else f"{value:.3f}"
