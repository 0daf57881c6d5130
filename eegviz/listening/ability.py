"""What answers to a listening test show: who can tell, how well all can, on which songs and which part of them.

Conventions
-----------
* Chance is 1/2. A trial without an answer counts as **not right** and stays in n: it cannot make anyone look able.
* A listener is *able* when the exact binomial p of the right answers is ≤ alpha (17 of 24 at 5 %, which luck reaches in
  3.2 %). Among many listeners some are able by luck, so q stands beside p: adjusted by Benjamini and Hochberg
  (`eegviz.stats.fdr`).
* The pooled estimate is the mean of the listeners' shares; its interval is the bootstrap **over listeners**
  (`eegviz.stats.bootstrap_interval`), which says nothing about other sounds; beside it stands one over examples.
* The pooled p is the exact binomial of all answers: under the null that **no** listener can tell, answers are independent
  flips of a coin, because sides are drawn anew for each listener.
* Left out, and named: listeners who failed attention checks (`min_attention`), and those who did not finish.

Functions: `needed`, `power`, `table_of_needed`, `listeners`, `by`, `summarise`.

References
----------
Combrisson & Jerbi 2015, doi:10.1016/j.jneumeth.2015.01.010 (chance of few trials); Clopper & Pearson 1934,
doi:10.1093/biomet/26.4.404 (a listener's interval).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz import _checks, _wording, stats
from eegviz.errors import DataError, ParameterError
from eegviz.listening.abx import ATTENTION, MAIN, PUBLISHED

CHANCE = 0.5
ALPHA = 0.05
ABLE = "The listeners could tell"
NO_EVIDENCE = "No evidence that the listeners could tell"
RULE = "could tell: exact binomial p of all answers < .05 and, with two or more listeners, interval over listeners above chance"
GROUPS = {
    "song": "song",
    "position": "part of the song",
    "foil_kind": "foil",
    "right_side": "right answer on side",
    "eeg_listener": "EEG listener",
}


def needed(n, *, alpha=ALPHA):
    """Right answers of `n` that are above chance at level `alpha`, exact binomial; `n` + 1 where even all are not.

    >>> needed(24), needed(24, alpha=0.01), needed(4)
    (17, 19, 5)
    """
    return round(stats.critical_accuracy(n, chance=CHANCE, alpha=alpha) * n)


def power(ability, *, n=24, alpha=ALPHA):
    """Probability that a listener who is right with probability `ability` is called able after `n` trials.

    Parameters
    ----------
    ability : float or array_like
        0 to 1; 0.5 gives the rate of false alarms.
    n : int
    alpha : float

    Returns
    -------
    float or np.ndarray

    Examples
    --------
    >>> power([0.5, 0.85]).round(4).tolist()
    [0.032, 0.9801]
    """
    from scipy.stats import binom

    ability = np.asarray(ability, float)
    if not ((ability >= 0) & (ability <= 1)).all():
        raise ParameterError(f"ability {ability.tolist()}: expected probabilities from 0 to 1.")
    found = binom.sf(needed(n, alpha=alpha) - 1, n, ability)
    return float(found) if found.ndim == 0 else found


def table_of_needed(trials=(12, 16, 20, 24, 32, 48, 96), *, alpha=ALPHA) -> pd.DataFrame:
    """For several numbers of trials: right answers needed, how often luck reaches them, and power at some abilities."""
    rows = [
        {"trials": n, "needed": needed(n, alpha=alpha), "by luck": power(CHANCE, n=n, alpha=alpha)}
        | {f"power at {one:.2f}": power(one, n=n, alpha=alpha) for one in (0.6, 0.7, 0.85)}
        for n in trials
    ]
    return pd.DataFrame(rows)


def check_rules(*, alpha=ALPHA, min_attention=1.0):
    """A ParameterError where a level or a share is none; parameters as in `listeners`."""
    if not 0 <= min_attention <= 1:
        raise ParameterError(f"min_attention {min_attention!r}: expected a share from 0 to 1.")
    _checks.share(alpha, "alpha", "probability between 0 and 1")


def listeners(answers, *, alpha=ALPHA, min_attention=1.0) -> pd.DataFrame:
    """The listeners of a test, a row each.

    Parameters
    ----------
    answers : eegviz.listening.answers.Answers
    alpha : float
    min_attention : float
        Share of attention checks that must be right, 0 to 1; a listener with fewer is left out of all that is pooled.

    Returns
    -------
    pd.DataFrame
        participant, version, right, n, no_answer, share, low, high (exact 95 % interval), p, q (None where left out), able,
        attention (share right, None without checks), left_out ('' or why).
    """
    check_rules(alpha=alpha, min_attention=min_attention)
    rows = []
    of = dict(tuple(answers.table.groupby("participant", sort=False)))
    for person in answers.participants.itertuples():
        own = of.get(person.participant, answers.table.iloc[:0])
        block, right = own["block"].to_numpy(), _right(own)
        main, checks = block == MAIN, right[block == ATTENTION]
        attention = float(checks.mean()) if len(checks) else None
        why = "" if person.finished else f"not finished ({person.answered} of {person.total} trials answered)"
        if not why and attention is not None and attention < min_attention:
            why = f"attention checks: {int(checks.sum())} of {len(checks)} right"
        rows.append(
            {
                "participant": person.participant, "version": person.version, "right": int(right[main].sum()),
                "n": int(main.sum()), "no_answer": int(own["choice"].isna().to_numpy()[main].sum()), "attention": attention,
                "left_out": why,
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    share, low, high, p = _exact(table["right"].to_numpy(), table["n"].to_numpy())
    for place, (name, values) in enumerate((("share", share), ("low", low), ("high", high), ("p", p)), 5):
        table.insert(place, name, values)
    table.insert(10, "able", p <= alpha)
    table.insert(9, "q", None)
    kept = (table["left_out"] == "").to_numpy() & table["p"].notna().to_numpy()
    if kept.any():
        q = np.full(len(table), np.nan)
        q[kept] = stats.fdr(table.loc[kept, "p"].astype(float))
        table["q"] = pd.Series(q, dtype=object).where(kept, None)
    return table


def by(answers, name, *, participants=None, seed=0) -> pd.DataFrame:
    """Share of right answers in groups of main trials, such as songs, with intervals over listeners.

    Parameters
    ----------
    answers : Answers
    name : {"song", "position", "foil_kind", "right_side", "eeg_listener"}
    participants : sequence of str, optional
        Only these; default all.
    seed : int

    Returns
    -------
    pd.DataFrame
        group, share, low, high (None with one listener), chance, n, listeners.
    """
    if name not in GROUPS:
        raise ParameterError(f"unknown group {name!r}; known are {', '.join(GROUPS)}.")
    main = _main(answers, participants)
    rows = []
    for group in sorted(main[name].unique(), key=_rank):
        own = main[main[name] == group]
        found = _interval(_right(own), own["participant"].to_numpy(str), "listeners", seed)
        rows.append(
            {
                "group": group, "share": found[0], "low": found[1], "high": found[2], "chance": CHANCE, "n": len(own),
                "listeners": own["participant"].nunique(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Summary:
    """A listening test in numbers; `str` prints all of it.

    Attributes
    ----------
    listeners : pd.DataFrame
        See `listeners`.
    share, low, high : float
        Pooled estimate and its interval over listeners (None with one).
    examples : (float, float, float) or None
        Share and interval over examples, each example's answers averaged.
    p : float
        Exact binomial of all answers.
    n, right, n_listeners, n_able, n_able_corrected : int
        Answers, right ones, listeners that count, those with p ≤ alpha, and with q ≤ alpha.
    expected_able : float
        Listeners whom luck alone would have made able.
    groups : dict of str to pd.DataFrame
        See `by`.
    verdict : str
    simulated : bool
    about : dict
    notes : tuple of str
    alpha : float
    """

    listeners: pd.DataFrame
    share: float
    low: float | None
    high: float | None
    examples: tuple | None
    p: float
    n: int
    right: int
    n_listeners: int
    n_able: int
    n_able_corrected: int
    expected_able: float
    groups: dict
    verdict: str
    simulated: bool
    about: dict
    notes: tuple[str, ...]
    alpha: float

    @property
    def sentence(self):
        """The pooled result in a sentence, with chance, interval, p and n."""
        who = f"{self.n_listeners} {'SIMULATED ' if self.simulated else ''}listener{'s' * (self.n_listeners != 1)}"
        span = "no interval over listeners: one only" if self.low is None else (
            f"95 % interval over listeners {100 * self.low:.1f} to {100 * self.high:.1f}"
        )  # fmt: skip
        return (
            f"{who}: {100 * self.share:.1f} % right (chance 50 %; {span}; exact binomial p {_wording.relation(self.p)}, "
            f"{self.right} of {self.n} answers)."
        )

    def __str__(self):
        lines = [self.sentence, f"VERDICT: {self.verdict}", f"rule: {RULE}"]
        if self.examples is not None:
            share, low, high = (100 * one for one in self.examples)
            lines.append(f"over examples instead of listeners: {share:.1f} %, 95 % interval {low:.1f} to {high:.1f}")
        lines.append(
            f"listeners above chance at {100 * self.alpha:g} %: {self.n_able} of {self.n_listeners} (by luck {self.expected_able:.1f}); "
            f"after correction for {self.n_listeners} tests (Benjamini-Hochberg): {self.n_able_corrected}"
        )
        head = [_wording.wrapped(line, "  ") for line in lines]
        tables = [
            _shown(
                self.listeners,
                ("participant", "version", "right", "n", "no_answer", "share", "low", "high", "p", "q", "left_out"),
            )
        ]
        tables += [
            f"by {GROUPS[name]} (chance .500)\n{_shown(table, table.columns)}" for name, table in self.groups.items()
        ]
        return "\n".join(
            [*head, "", "\n\n".join(tables), "", *(_wording.wrapped(f"note: {one}", "  ") for one in self.notes)]
        )


def summarise(answers, *, alpha=ALPHA, min_attention=1.0, seed=0) -> Summary:
    """All that the answers of a folder show.

    Parameters
    ----------
    answers : Answers
        From `eegviz.listening.answers.read`.
    alpha : float
    min_attention : float
        See `listeners`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Summary

    Raises
    ------
    DataError
        No listener is left who finished and passed the checks.
    """
    people = listeners(answers, alpha=alpha, min_attention=min_attention)
    kept = people[people["left_out"] == ""]
    if not len(kept):
        reasons = "; ".join(f"{one.participant}: {one.left_out}" for one in people.head(8).itertuples())
        failed = answers.participants["finished"].any()
        raise DataError(
            f"no listener's answers count ({reasons}). "
            + (
                "Wait for another listener, or lower min_attention."
                if failed
                else "Wait until one has answered all trials."
            )
        )
    names = kept["participant"].tolist()
    main = _main(answers, names)
    right = _right(main)
    share, low, high = _interval(right, main["participant"].to_numpy(str), "listeners", seed)
    items = (main["recording"] + "@" + main["start"].astype(str)).to_numpy(str)
    p = stats.binomial_p(int(right.sum()), len(right), chance=CHANCE)
    told = p < ALPHA and (low is None or low > CHANCE)
    below = low is not None and high < CHANCE
    verdict = (
        f"{ABLE}."
        if told
        else f"{NO_EVIDENCE}." + (" They were below chance: check the key of the test." if below else "")
    )
    luck = sum(power(CHANCE, n=n, alpha=alpha) for n in kept["n"])
    return Summary(
        people, share, low, high, _interval(right, items, "examples", seed) if len(np.unique(items)) > 1 else None, p, len(right),
        int(right.sum()), len(kept), int(kept["able"].sum()), int((kept["q"] <= alpha).sum()), luck,
        {name: by(answers, name, participants=names, seed=seed) for name in ("song", "position", "foil_kind", "right_side")},
        verdict, answers.simulated, answers.about, tuple(_notes(answers, people, main, min_attention)), alpha,
    )  # fmt: skip


def _notes(answers, people, main, min_attention):
    out = people[people["left_out"] != ""]
    for one in out.head(20).itertuples():
        yield f"left out: {one.participant}, {one.left_out}; had {one.right} of {one.n} right"
    if len(out) > 20:
        yield f"left out: {len(out) - 20} more"
    if people["attention"].notna().any():
        yield f"rule for attention checks, set before: {100 * min_attention:g} % right; who guesses passes k checks with probability 1/2^k"
    if n := int(main["choice"].isna().sum()):
        yield f"{n} of {len(main)} trials had no answer in time; they count as not right"
    yield "the interval over listeners is for other listeners and these sounds; the one over examples for other sounds of this kind"
    about = answers.about
    if about.get("split"):
        tells = (
            "" if about.get("can_separate") else ": being right may rest on the recording and not on the music heard"
        )
        yield f"the sounds are of run {about['run']}, split {about['split']}, {about['label']}{tells}"
    yield (
        f"EEG2Mel's AB-X: {100 * PUBLISHED['mean']:.0f} % ({100 * PUBLISHED['low']:.2f} to {100 * PUBLISHED['high']:.2f}) of "
        f"{PUBLISHED['n_listeners']} listeners, {PUBLISHED['n_trials']} trials each, chance 50 %, split interleaved"
    )
    yield from answers.statements


def _main(answers, participants):
    main = answers.table[answers.table["block"] == MAIN]
    return main if participants is None else main[main["participant"].isin(list(participants))]


def _right(rows):
    """1 for a right answer, 0 for a wrong one or none."""
    return (rows["correct"] == True).to_numpy(float)  # noqa: E712  None is neither


def _exact(right, n):
    """Share, exact 95 % interval (Clopper and Pearson) and one-sided binomial p of counts; NaN where n is 0."""
    from scipy.stats import beta, binom

    k, n = np.asarray(right, float), np.asarray(n, float)
    there = n > 0
    share = np.divide(k, n, out=np.full(len(n), np.nan), where=there)
    low, high = beta.ppf(0.025, k, n - k + 1), beta.ppf(0.975, k + 1, n - k)
    low, high = np.where(k > 0, low, 0.0), np.where(k < n, high, 1.0)
    return share, *(np.where(there, one, np.nan) for one in (low, high, binom.sf(k - 1, n, CHANCE)))


def _interval(values, groups, unit, seed):
    if len(np.unique(groups)) < 2:
        return float(np.mean(values)), None, None
    found = stats.bootstrap_interval(values, groups, unit=unit, seed=seed)
    return found.estimate, found.low, found.high


def _rank(group):
    order = ("beginning", "middle", "end")
    return (order.index(group), "") if group in order else (len(order), str(group))


def _shown(table, columns):
    digits = {"p": _wording.p_value, "q": _wording.p_value}
    shown = table.head(40)[list(columns)].copy()
    for name in columns:
        if name in digits:
            shown[name] = [digits[name](v if v is None or v == v else None) for v in shown[name]]
        elif name in ("share", "low", "high", "chance"):
            shown[name] = [_wording.number(None if v is None or v != v else v) for v in shown[name]]
    more = f"\n… and {len(table) - 40} more" if len(table) > 40 else ""
    return shown.to_string(index=False) + more
