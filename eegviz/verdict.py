"""The verdict on a run: one of three sentences, by a fixed rule, with the reasons; and the table that is printed.

Rule, on the primary metric (within-song retrieval of centred predictions; accuracy for a classifier of songs):

- *This split cannot tell*: on random, interleaved and blocked splits, always. Neighbouring seconds and the recording
  itself are on both sides there.
- *The EEG contributed*: on a split that separates song from recording, when all of it holds: permutation p < .05; the
  95 % interval lies above chance; and above the best answer without EEG; and the score is gone when the EEG is shuffled
  within the song (its interval reaches down to chance, and it lies below the run's interval); and it is gone with EEG
  from `AWAY` seconds before and after, where the test holds such seconds (their mean lies below the run's interval, and
  has lost more than half of what lay above chance). This last condition is ours: a slow change that all recordings share,
  such as an amplitude that rises from start to end under music that builds up, passes all others (`eegviz.calibration`).
- *No evidence that the EEG contributed*: otherwise on such a split.

Functions: `decide`, `describe` (the printed table), `sentence`, `beside_baselines`, `ladder` (the primary score and all that
stands beside it), `overview` (several runs in one table).
"""

from __future__ import annotations

from eegviz._wording import listed, number, p_value, relation, wrapped

CONTRIBUTED = "The EEG contributed"
NO_EVIDENCE = "No evidence that the EEG contributed"
CANNOT_TELL = "This split cannot tell"
ALPHA = 0.05
AWAY = (1, 2, 5)  # seconds, either way (our choice): a response has passed, a slow change has hardly begun; several,
# because music that repeats itself is alike at some of them
JUDGES = {"retrieval": "shuffled", "accuracy": "noise EEG"}  # the control that must be gone, by primary metric


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
        The primary score under time shifts: seconds, score. Those of `AWAY` must be gone, where there are any.

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
            f"permutation p {relation(p)} ({row['p_unit']})" if p is not None else f"no permutation p: {row['p_unit']}",
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
    asked = _away(shifts)
    away = [shift for shift in shifts if abs(shift["seconds"]) in asked and shift["score"] is not None]
    if away:
        mean = sum(shift["score"] for shift in away) / len(away)
        gone = mean < low and mean - chance < (row["score"] - chance) / 2
        *most, last = (str(s) for s in sorted({abs(shift["seconds"]) for shift in away}))
        seconds = f"{', '.join(most)} and {last}" if most else last
        told = "gone" if gone else "not gone" + ", as after a slow change of all recordings" * (low > chance)
        reasons.append(_reason(gone, f"EEG from {seconds} s away: {mean:.3f}, {told}"))
    holds = all(reason["holds"] for reason in reasons)
    return {"sentence": CONTRIBUTED if holds else NO_EVIDENCE, "reasons": reasons}


def describe(result, *, brief=False) -> str:
    """The verdict table in plain text: verdict and reasons, scores, baselines, controls, time shift, what is shared.

    Parameters
    ----------
    result : dict
        Of `eegviz.evaluation.evaluate`, or of `eegviz.evaluation.pool`.
    brief : bool
        Verdict, reasons and scores only.

    Returns
    -------
    str
        Lines of at most `WIDTH` columns. What prints n/a, or is left out because nothing in it is defined, has its
        reason below its table.
    """
    rows, without = [_without_same_song(row) for row in result["metrics"]], {}
    parts = [
        *_head(result),
        "",
        f"VERDICT: {result['verdict']}.",
        *(wrapped(f"[{'x' if r['holds'] else ' '}] {r['text']}", "    ") for r in result["reasons"]),
        *_rule(result),
        *([wrapped(result["collapsed"], "    ")] if result.get("collapsed") else []),
        "",
        *_scores(rows),
        *_undefined(result, rows),
    ]
    if brief:
        columns = [(name, *_COLUMNS[name][:2]) for name in ("shuffled", "ceiling")]
        return "\n".join(parts + _why_missing(result, rows, columns, without))
    shown = []
    for title, names, width in _TABLES:
        columns = [(name, *_COLUMNS[name][:2]) for name in names]
        there = [c for c in columns if any(row[c[1]].get(c[2]) is not None for row in rows)]
        shown += [name for name, *_ in there]
        if there:
            parts += ["", f"{title}:", *_columns(rows, there, width), *_why_missing(result, rows, columns, without)]
        else:
            parts += _why_missing(result, rows, columns, without)
    if any(shift["score"] is not None for shift in result["shifts"]):
        parts += ["", f"EEG shifted against the sound by seconds: {rows[0]['metric']}", *_shifts(result["shifts"])]
    return "\n".join([*parts, "", *_notes(result, rows, shown)])


def sentence(result) -> str:
    """The verdict and the primary score in one sentence: what, on which split, how sure, on which side of chance.

    Where a score above chance is no evidence, the first reason that does not hold is named.
    """
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
    p = "" if row["p"] is None else f"; p {relation(row['p'])}"
    if result["verdict"] == NO_EVIDENCE and row["low"] is not None and row["low"] > row["chance"]:
        failed = [reason["text"] for reason in result["reasons"] if not reason["holds"]]
        p += f"; what does not hold: {failed[0]}" if failed else ""
    elif result["verdict"] == NO_EVIDENCE and None not in (row["low"], row["p"]) and row["p"] < ALPHA:
        p += f" alone is not enough: the interval over {row['unit'].partition(':')[0]} must lie above chance too"
    return (
        f"{result['verdict']}: {row['metric']} {row['score']:.3f}, {interval}{p}; n = {row['n']} windows; split "
        f"{split['spec']} ({split['label']}){'; simulated data' if result['simulated'] else ''}."
    )


def beside_baselines(result) -> str:
    """Which picture scores are better than the mean picture of the true song (else of all songs), in plain words."""
    better, worse = [], []
    rows = [row for row in result["metrics"] if row["metric"] in _LIKENESS and row["score"] is not None]
    if not rows:
        return "How like the true picture is not asked: nothing here predicts pictures."
    against = "song mean" if "song mean" in rows[0]["baselines"] else "mean picture"
    for row in rows:
        if row["baselines"].get(against) is None:
            continue
        name, blind = row["metric"], row["baselines"][against]
        is_better = row["score"] < blind if row["better"] == "low" else row["score"] > blind
        (better if is_better else worse).append(f"{name} {number(row['score'], name)} ({number(blind, name)})")
    told = [
        f"{row['metric']} {number(row['oracle']['song told'], row['metric'])}"
        for row in rows
        if row["oracle"].get("song told") is not None
    ]
    return (
        "The verdict is about which second it is. Another question is how like the true picture a prediction is, where a "
        f"mean picture, which knows no EEG, is hard to beat. Better than the {against} (in brackets): "
        f"{', '.join(better) or 'nothing'}; not better: {', '.join(worse) or 'nothing'}."
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
_WHICH_SONG = ("song accuracy", "accuracy", "kappa")
_EMBEDDED = "emb. "  # how the metrics of eegviz.embeddings begin
_SAME_SONG = ("shuffled", "other listener")  # controls that give a window EEG of its own song
# a column: group of the row, name in the group, what it is
_COLUMNS = {
    "mean picture": ("baselines", "mean picture", "the mean of all training pictures"),
    "song mean": ("baselines", "song mean", "the mean of the true song's training pictures"),
    "song spectrum": ("baselines", "song spectrum", "the song mean without time: each bin constant"),
    "random second": ("baselines", "random second", "another second of the true song, drawn from training"),
    "prev second": ("oracle", "previous second", "the true picture of the second before"),
    "ceiling": ("oracle", "ceiling", "true pictures to sound and back, on up to 8 seconds of each song"),
    "song told": ("oracle", "song told", "the prediction with the mean of the true song in place of the overall mean"),
    "fingerprint": (
        "beside", "fingerprint", "the song of the training recording whose channels' power is most like the window's",
    ),
    "linear": ("beside", "linear decoder", "the linear decoder, a ridge regression of the same windows and split"),
    "zero": ("controls", "zero EEG", "no signal in any channel"),
    "noise": ("controls", "noise EEG", "noise with the recording's spectrum and its relations between channels"),
    "shuffled": ("controls", "shuffled", "EEG of other seconds of the same recording"),
    "other": (
        "controls", "other listener",
        "EEG of another listener at the same second of the music; the mean is the run's own where all have every second",
    ),
    "silence": ("controls", "silence", "EEG from before the song"),
}  # fmt: skip
_FEW = "fewer than half of the test windows have a test second so far away"
_TABLES = (
    ("Without EEG (from training data only)", ("mean picture", "song mean", "song spectrum", "random second"), 15),
    ("With the true music", ("prev second", "ceiling", "song told"), 12),
    ("Other answers from the EEG", ("fingerprint", "linear"), 12),
    ("Controls: the same weights, other EEG", ("zero", "noise", "shuffled", "other", "silence"), 10),
)


def _reason(holds, text):
    return {"holds": bool(holds), "text": text}


def _is_pooled(result):
    return isinstance(result["run"], list)


def _head(result):
    """What was scored, on which split, with how many windows."""
    split, name = result["split"], result["name"]
    listeners = f"{split['n_listeners']} listener{'s' if split['n_listeners'] != 1 else ''}"
    sides = f"train {split['n_train']}, validation {split['n_validation']}"
    if _is_pooled(result):
        parts = name.split(" · ")
        name = " · ".join([*parts[:2], parts[-1]])  # without the split, which is that of one fold
        sides += f" (mean of {len(result['run'])} folds)"
    return [
        wrapped(f"{name}{'  [simulated data]' if result['simulated'] else ''}"),
        wrapped(f"split {split['spec']}: {split['label']}"),
        wrapped(f"{sides}, test {split['n_test']} windows of {listeners}"),
    ]


def _rule(result):
    """What the rule asks, below its reasons."""
    row = result["metrics"][0]
    if not result["split"]["can_separate"]:
        text = "the rule asks for a split that separates song from recording: repeat, condition, subject, song or subject_song"
        return [wrapped(text, "    ")]
    if row["score"] is None or row["low"] is None:
        return []
    judge = JUDGES[row["metric"]].removesuffix(" EEG")
    there = [shift["seconds"] for shift in result["shifts"] if shift["score"] is not None]
    seconds = sorted({abs(s) for s in there} & _away(result["shifts"]))
    away = f"{listed([str(s) for s in seconds])} s away" if seconds else ""
    asked = (
        f"all must hold: p < {f'{ALPHA:g}'.removeprefix('0')}; the interval above chance and above the best answer "
        f"without EEG; {judge} EEG gone{f'; EEG from {away} gone' if seconds else ''}"
    )
    gone = f"gone, {judge} EEG: its interval reaches down to chance, and its score is below the run's interval"
    far = f"gone, EEG from {away}: below the run's interval, and more than half of what lay above chance is lost"
    return [wrapped(text, "    ") for text in (asked, gone, *([far] if seconds else []))]


def _without_same_song(row):
    """The row without what is the same by construction: the song named, under EEG of the same song."""
    if row["metric"] not in _WHICH_SONG:
        return row
    return row | {"controls": {name: v for name, v in row["controls"].items() if name not in _SAME_SONG}}


def _scores(rows):
    lines = [
        f"{'metric':<14}{'score':>6}{'95 % interval':>14}{'chance':>7}{'no EEG':>7}{'shuffled':>9}{'ceiling':>8}{'p':>6}{'n':>5}"
    ]
    for row in rows:
        name, blind = row["metric"], [value for value in row["baselines"].values() if value is not None]
        interval = "n/a" if row["low"] is None else f"{number(row['low'], name)}–{number(row['high'], name)}"
        best = None if not blind else (min if row["better"] == "low" else max)(blind)
        beside = (best, row["controls"].get("shuffled"), row["oracle"].get("ceiling"))
        lines.append(
            f"{name:<14}{number(row['score'], name):>6}{interval:>14}{number(row['chance']):>7}"
            + "".join(f"{number(value, name):>{width}}" for value, width in zip(beside, (7, 9, 8), strict=True))
            + f"{p_value(row['p']):>6}{row['n']:>5}"
        )
    return lines


def _undefined(result, rows):
    """Why scores, intervals, chance levels and p are n/a: below the table of scores."""
    scored, reasons = [row for row in rows if row["score"] is not None], {}
    for row in rows:
        if row["score"] is None:
            reasons.setdefault(("", row["note"] or "not defined in this test"), []).append(row["metric"])
    for row in scored:
        if row["low"] is None:
            why = row["unit"].partition(", ")[2] or row["unit"] or "it cannot be resampled here"
            reasons.setdefault(("interval of ", why), []).append(row["metric"])
        if row["p"] is None:
            why = "not permuted again over the folds" if _is_pooled(result) else row["p_unit"]
            reasons.setdefault(("p of ", why), []).append(row["metric"])
        if row["chance"] is None:
            why = "how like pictures are has no chance level; read it beside the answers without EEG"
            reasons.setdefault(("chance of ", why), []).append(row["metric"])
    return [_na(f"{what}{listed(names)}", len(names) > 1 and not what, why) for (what, why), names in reasons.items()]


def _columns(rows, columns, width):
    lines = [f"{'metric':<14}" + "".join(f"{name:>{width}}" for name, _, _ in columns)]
    for row in rows:
        values = [number(row[group].get(key), row["metric"]) for _, group, key in columns]
        if set(values) != {"n/a"}:
            lines.append(f"{row['metric']:<14}" + "".join(f"{value:>{width}}" for value in values))
    return lines


def _why_missing(result, rows, columns, told):
    """Why columns are left out, and cells print n/a: a line for each reason; `told` collects those that were said."""
    scored = [row for row in rows if row["score"] is not None]
    whole, cells = {}, {}
    for name, group, key in columns:
        missing = [row for row in scored if row[group].get(key) is None]
        if missing and len(missing) == len(scored):
            asked = [row for row in missing if not row["metric"].startswith(_EMBEDDED)] or missing
            whole.setdefault(_why(result, asked[-1], group, key), []).append(name)
            continue
        reasons = {}
        for row in missing:
            reasons.setdefault(_why(result, row, group, key), []).append(row["metric"])
        for why, metrics in reasons.items():
            cells.setdefault((why, tuple(metrics)), []).append(name)
    lines = [_na(listed(names), len(names) > 1, why) for why, names in whole.items()]
    lines += [
        _na(f"{listed(metrics)} under {listed(names)}", len(metrics) > 1, why)
        for (why, metrics), names in cells.items()
    ]
    return [told.setdefault(line, line) for line in lines if line not in told]


def _why(result, row, group, key):
    """Why a cell of the table is not defined."""
    which_song = row["metric"] in _WHICH_SONG
    if group == "controls":
        if which_song and key in _SAME_SONG:
            return "that EEG is of the same song, so the songs named are the same by construction"
        note = next((c["note"] for c in result["controls"] if c["name"] == key and c["score"] is None), "")
        if note:
            return note
        if which_song and result["n_beside"] < result["split"]["n_test"]:
            return f"asked of {result['n_beside']} of the windows only, fewer than half"
        if row["metric"] == "match-mismatch" and key in _SAME_SONG:
            return "the one imposter belongs to the window's own prediction; see retrieval"
    if group != "controls" and row["metric"].startswith(_EMBEDDED):
        return "asked of pictures only"
    if key == "linear decoder":
        mine = (
            "this run is the linear decoder"
            if result["name"].startswith("ridge ")
            else "it predicts pictures, not songs"
        )
        return result["no_linear_decoder"] or mine
    if key == "fingerprint":
        return "a test song is not in the training side, or each recording trains with one window only"
    if group == "baselines" and which_song:
        return "without EEG the best answer is the most frequent song, as under mean picture"
    if group == "oracle" and which_song:
        return "the true music names its song by itself"
    if key == "song told" and row["metric"] not in _LIKENESS:
        return "one picture for all seconds of a song does not change which second it is"
    if key in ("song mean", "song spectrum", "random second", "song told"):
        return "no test song is in the training side"
    return "not in all folds" if _is_pooled(result) else "not defined in this test"


def _away(shifts):
    """`AWAY`, or for windows of several seconds their next multiples."""
    step = min((abs(shift["seconds"]) for shift in shifts if shift["seconds"]), default=1)
    return {-(-seconds // step) * step for seconds in AWAY}


def _shifts(shifts):
    missing = [f"{shift['seconds']:+d} s" for shift in shifts if shift["score"] is None]
    return [
        f"{'seconds':<14}" + "".join(f"{s['seconds']:>+6d}" for s in shifts),
        f"{'score':<14}" + "".join(f"{number(s['score'])[:5]:>6}" for s in shifts),
        f"{'n':<14}" + "".join(f"{s['n']:>6}" for s in shifts),
        *([_na(listed(missing), len(missing) > 1, _FEW)] if missing else []),
    ]


def _notes(result, rows, shown):
    """Footnotes: what interval, p and columns are, how metrics are defined, what the sides share."""
    scored = [row for row in rows if row["score"] is not None]
    units = sorted({row["unit"] for row in scored if row["unit"]})
    tested = {}
    for row in scored:
        if row["p"] is not None:
            tested.setdefault(row["p_unit"], []).append(row["metric"])
    lines = [f"interval: bootstrap over {'; '.join(units)}" if units else "interval: n/a"]
    lines += [f"p of {', '.join(metrics)}: permutation of {unit}" for unit, metrics in tested.items()]
    unsure = [
        row["metric"] for row in scored
        if None not in (row["p"], row["low"], row["chance"]) and row["p"] < ALPHA and row["low"] <= row["chance"] <= row["high"]
    ]  # fmt: skip
    if unsure:
        lines.append(
            f"p < .05 beside an interval that includes chance ({', '.join(unsure)}): the permutation takes these listeners "
            "as they are and asks whether the order of the seconds matters; the interval asks about other listeners"
        )
    lines.append("no EEG: the best of the answers without EEG")
    lines += [f"{name}: {_COLUMNS[name][2]}" for name in shown]
    part = [name for name in ("random second", "fingerprint", "noise", "silence") if name in shown]
    if result["n_beside"] < result["split"]["n_test"] and part:
        lines.append(
            f"{', '.join(part)}, and pictures under shuffled and other EEG: from {result['n_beside']} of the windows (whole "
            "recordings, spread over listeners and songs)"
        )
    lines += [f"{row['metric']}: {row['definition']}" for row in rows]
    lines += [f"{row['metric']}: {row['note']}" for row in scored if row["note"]]
    lines += [f"Shared between the sides{', first fold' if _is_pooled(result) else ''}:", *result["audit"]["text"]]
    return [wrapped(line, "    ") for line in lines]


def _na(what, many, why):
    return wrapped(f"{what} {'are' if many else 'is'} n/a: {why}", "    ")
