"""What Hits@k of a run says, as numbers and in words (public in `eegviz.hits`)."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pandas as pd

from eegviz.verdict import p_value

PRIMARY = {"progressions": 10, "chords": 3}  # the k that the sentence is about: the paper's text has 10; our choice
BLIND = ("mean picture", "training chords", "audio-only run")  # the audio side alone
WIDTH = 76  # columns of `Result.describe`
_ANSWERS = {
    "zero EEG": "the same weights, no signal in any channel",
    "noise EEG": "the same weights, noise with the recording's spectrum",
    "shuffled": "the predictions of other segments of the same recording",
    "other listener": "the prediction of another listener for the same segment",
    "mean picture": "the mean of all training pictures, without EEG",
    "training chords": "how often each chord occurs in the training, without EEG",
    "audio-only run": "a run that hears no EEG",
    "true pictures": "the true pictures in place of predicted ones: what chords of pictures can reach",
}
_SHORT = {"mean picture": "picture", "training chords": "chords", "audio-only run": "run"}


@dataclass(frozen=True, eq=False)
class Result:
    """Hits@k of a run and of all that stands beside it; made by `eegviz.hits.of_run`.

    Attributes
    ----------
    name, spec, label : str
        Of the run and its split.
    can_separate, simulated : bool
    what : {"progressions", "chords"}
    seconds : int
        Of a segment.
    step : float
        Seconds of a chord.
    n, n_left_out, n_listeners : int
        Segments (single chords) that were ranked; those left out because they have no chord; listeners.
    n_candidates, n_pool, n_known : int
        Candidates; progressions that distractors come from; distinct ones of the training before transposition.
    transposed : bool
    scoring : str
    centred : bool
    seed : int
    table : pandas.DataFrame
        A row for each answer and k: ``answer``, ``group`` (this run, EEG, no EEG, music), ``k``, ``hits``, ``low``,
        ``high``, ``unit``, ``chance``, ``p``, ``p_unit``, ``n``, ``note``.
    gains : pandas.DataFrame
        A row for each k: ``k``, ``gain`` of the run over ``against``, ``low``, ``high``, ``p``, ``note``.
    values : dict of str to ndarray, shape (n, len(ks))
        Expected hits of each segment by answer; NaN where an answer has none.
    segments : pandas.DataFrame
        A row for each of the n: recording, subject, stimulus, second, and ``true``, its chords in words.
    """

    name: str
    spec: str
    label: str
    can_separate: bool
    simulated: bool
    what: str
    seconds: int
    step: float
    n: int
    n_left_out: int
    n_listeners: int
    n_candidates: int
    n_pool: int
    n_known: int
    transposed: bool
    scoring: str
    centred: bool
    seed: int
    table: pd.DataFrame
    gains: pd.DataFrame
    values: dict
    segments: pd.DataFrame

    @property
    def ks(self):
        """The k that were asked for."""
        return tuple(self.gains["k"])

    @property
    def primary(self):
        """The k that `sentence` is about."""
        wanted = PRIMARY[self.what]
        return max((k for k in self.ks if k <= wanted), default=min(self.ks))

    def row(self, answer, k):
        """One row of `table` as a dict."""
        found = self.table[(self.table["answer"] == answer) & (self.table["k"] == k)]
        return found.iloc[0].to_dict()

    def sentence(self):
        """What the primary k says: chance, interval, p, gain over the audio side alone."""
        k, mine = self.primary, self.row("this run", self.primary)
        gain = self.gains[self.gains["k"] == k].iloc[0].to_dict()
        said = f"{_in_words(mine, self.n_candidates)}; {_gain_in_words(gain)}."
        if not self.can_separate:
            return f"This split cannot tell: {said} It {self.label}."
        sure = mine["p"] is not None and mine["p"] < 0.05 and gain["low"] is not None and gain["low"] > 0
        shuffled = self.row("shuffled", k)
        gone = shuffled["low"] is not None and shuffled["hits"] < (mine["low"] or 0)
        if sure and gone:
            return f"The EEG adds to what the audio side achieves alone: {said}"
        return f"No evidence that the EEG adds to what the audio side achieves alone: {said}"

    def describe(self):
        """All of it as text, at most 76 columns wide."""
        ks, listeners = self.ks, f"{self.n_listeners} listener{'s' * (self.n_listeners != 1)}"
        lines = [
            f"Hits@k of {'chord progressions' if self.what == 'progressions' else 'single chords'}: {self.name}"
            f"{' [simulated data]' if self.simulated else ''}",
            f"split {self.spec}: {self.label}",
            f"{self.n} {self._items()} of {listeners}"
            + (f"; {self.n_left_out} without a chord are left out" if self.n_left_out else ""),
            self._candidates(),
            "",
            self.sentence(),
            "",
            *(f"{_in_words(self.row('this run', k), self.n_candidates)}." for k in ks),
        ]
        lines = [part for line in lines for part in _wrapped(line)]
        lines += ["", f"{'hits, %':<22}" + "".join(f"{f'@{k}':>8}" for k in ks)]
        lines.append(f"{'chance k/N':<22}" + "".join(f"{100 * k / self.n_candidates:>8.1f}" for k in ks))
        for answer in dict.fromkeys(self.table["answer"]):
            told = [self.row(answer, k)["hits"] for k in ks]
            cells = "".join(f"{'n/a' if value is None else f'{100 * value:.1f}':>8}" for value in told)
            lines.append(f"{answer:<22}{cells}")
        lines += ["", f"{'gain, points':<22}" + "".join(f"{f'@{k}':>8}" for k in ks)]
        for title, column in (("over audio alone", "gain"), ("  from", "low"), ("  to", "high")):
            told = self.gains[column].tolist()
            cells = "".join(f"{'n/a' if value is None else f'{100 * value:+.1f}':>8}" for value in told)
            lines.append(f"{title:<22}{cells}")
        lines.append(f"{'  against':<22}" + "".join(f"{_SHORT.get(one, one):>8}" for one in self.gains["against"]))
        lines.append("")
        return "\n".join([*lines, *(part for note in self._notes() for part in _wrapped(note, "    "))])

    def _items(self):
        if self.what == "chords":
            return f"chords of {self.step:g} s"
        return f"segments of {self.seconds} s ({round(self.seconds / self.step)} chords of {self.step:g} s)"

    def _candidates(self):
        if self.what == "chords":
            return "candidates: 12 major triads, 12 minor triads, no chord"
        return (
            f"candidates: the true progression and {self.n_candidates - 1} distractors, drawn (seed {self.seed}) from "
            f"{self.n_pool} progressions: {self.n_known} of the training{' in all 12 transpositions' if self.transposed else ''}"
        )

    def _notes(self):
        mine = self.table[self.table["answer"] == "this run"].iloc[0]
        notes = [
            "chance k/N: of an answer that knows nothing of music; the audio side alone knows which chords are frequent, "
            "and distractors in other keys are easily told from them"
        ]
        notes += [f"interval: bootstrap over {mine['unit']}" if mine["unit"] else "interval: n/a"]
        notes.append(f"p: {mine['p_unit']}; for each k by itself")
        notes += [
            f"{answer}: {_ANSWERS[answer]}" for answer in dict.fromkeys(self.table["answer"]) if answer in _ANSWERS
        ]
        notes += [
            f"{row['answer']} is n/a: {row['note']}"
            for row in self.table.drop_duplicates("answer").to_dict("records")
            if row["note"]
        ]
        notes += [f"gain: {note}" for note in dict.fromkeys(self.gains["note"]) if note]
        how = (
            "cosine of chroma and chord, each less its mean" if self.scoring == "cosine" else "log-probability of chord"
        )
        if self.centred:
            notes.append("centred: less each recording's mean likeness to each chord, which uses the test recording")
        notes.append(f"score of a candidate: mean over its steps of the {how}; ties count at their expectation")
        notes.append("chords are those of the true sound; of pictures they are found less well: see true pictures")
        return notes


def _in_words(row, n_candidates):
    """``Hits@20 68.2 % where 20 of 101 candidates give 19.8 % by chance``."""
    said = (
        f"Hits@{row['k']} {100 * row['hits']:.1f} % where {row['k']} of {n_candidates} candidates {'gives' if row['k'] == 1 else 'give'} "
        f"{100 * row['chance']:.1f} % by chance"
    )
    if row["low"] is not None:
        said += f", 95 % interval {100 * row['low']:.1f} to {100 * row['high']:.1f} %"
    if row["p"] is not None:
        said += f", p {'= ' if row['p'] >= 0.001 else ''}{p_value(row['p']).replace('<', '< ')}"
    return said


def _gain_in_words(row):
    against = {"mean picture": "the mean picture", "training chords": "the training's chords"}.get(
        row["against"], "the audio-only run"
    )
    said = f"{100 * row['gain']:+.1f} points over the audio side alone ({against})"
    if row["low"] is None:
        return f"{said}, {row['note']}"
    return f"{said}, 95 % interval {100 * row['low']:+.1f} to {100 * row['high']:+.1f}"


def _wrapped(text, indent=""):
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent) or [""]
