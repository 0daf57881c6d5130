"""Pretend listeners: computer programs that take a listening test, to see what the test and its statistics do.

They take the real thing: trials, order and sides of the design, `session.begin`, `current` and `answer`, with a clock of their
own and without files. Whatever is made of their answers is called SIMULATED.

Functions: `play`, `false_alarms`, `paper_design`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eegviz.errors import ParameterError
from eegviz.listening import ability as abilities
from eegviz.listening import abx, answers, session
from eegviz.listening._balance import POSITIONS, Example

MARGIN = 1.96  # standard errors of a simulated share


@dataclass(frozen=True)
class Calibration:
    """Pretend listeners of one ability, and how many the test calls able.

    Attributes
    ----------
    ability : float
    n_listeners, n_able : int
    n_trials, needed : int
        Right answers needed of how many.
    expected : float
        Exact share of such listeners who reach it.
    scores : np.ndarray of int [shape=(n_listeners,)]
        Right answers of each.
    """

    ability: float
    n_listeners: int
    n_able: int
    n_trials: int
    needed: int
    expected: float
    scores: np.ndarray

    @property
    def share(self):
        """Share called able."""
        return self.n_able / self.n_listeners

    @property
    def margin(self):
        """1.96 standard errors of the share, at the expected one."""
        return MARGIN * float(np.sqrt(self.expected * (1 - self.expected) / self.n_listeners))

    def __str__(self):
        return (
            f"{self.n_listeners} SIMULATED listeners who are right with probability {self.ability:g}: {100 * self.share:.1f} % called "
            f"able ({self.needed} of {self.n_trials} right needed); exact {100 * self.expected:.1f} % ± {100 * self.margin:.1f}"
        )


def play(
    design, n=1000, *, ability=0.5, spread=0.0, attention=1.0, no_answer=0.0, seed=0, folder=None
) -> answers.Answers:
    """Let pretend listeners take a test.

    Parameters
    ----------
    design : Design
        With or without sounds: nobody hears them.
    n : int
        Listeners, dealt to the versions in turn.
    ability : float or dict of str to float
        Probability of a right answer, or one for each kind of foil, such as ``{"other song": 0.9, "same song": 0.6}``.
    spread : float
        Standard deviation of ability over listeners; held within 0 and 1.
    attention : float
        Probability of a right answer in an attention check.
    no_answer : float
        Share of trials whose time runs out.
    seed : int
    folder : path, optional
        Keep their answers as real ones are kept; default in memory.

    Returns
    -------
    Answers

    Raises
    ------
    ParameterError
        Probabilities outside 0 to 1, or an unknown kind of foil.
    """
    if n != int(n) or n < 1:
        raise ParameterError(f"{n!r} pretend listeners: expected a whole number, 1 or more.")
    kinds = (abx.OTHER_SONG, abx.SAME_SONG)
    chances = dict(ability) if isinstance(ability, dict) else dict.fromkeys(kinds, ability)
    if set(chances) != set(kinds):
        raise ParameterError(
            f"ability {ability!r}: expected a number, or one for each of {', '.join(map(repr, kinds))}."
        )
    for name, value in {
        **{f"ability ({k})": v for k, v in chances.items()},
        "attention": attention,
        "no_answer": no_answer,
    }.items():
        if not 0 <= value <= 1:
            raise ParameterError(f"{name} {value!r}: expected a probability from 0 to 1.")
    lists = []
    for i in range(int(n)):
        rng = np.random.default_rng([seed, i])
        lists.append(_one(design, i, chances, rng.normal(0, spread), attention, no_answer, rng, folder))
    return answers.collect(lists)


def false_alarms(design, n=1000, *, ability=abilities.CHANCE, alpha=abilities.ALPHA, seed=0) -> Calibration:
    """How many of `n` pretend listeners of one ability the test calls able, beside the exact binomial's share.

    At ability 0.5 these are false alarms; at any other, the power.
    """
    abilities.check_rules(alpha=alpha)
    found = abilities.listeners(play(design, n, ability=ability, seed=seed), alpha=alpha)
    trials = design.count(abx.MAIN)
    return Calibration(
        ability, int(n), int(found["able"].sum()), trials, abilities.needed(trials, alpha=alpha),
        abilities.power(ability, n=trials, alpha=alpha), found["right"].to_numpy(int),
    )  # fmt: skip


def paper_design(*, n_songs=4, n_listeners=12, seed=0, **options) -> abx.Design:
    """The paper's test without sounds, over made-up songs that all EEG listeners heard; `options` as in `abx.arrange`.

    >>> paper_design().count("main"), len(paper_design().playlist(1, "somebody"))
    (24, 30)
    """
    pool = [
        Example(f"song{song + 1}", f"E{who + 1:02d}", f"E{who + 1:02d}_song{song + 1}", start, POSITIONS[start // 80])
        for song in range(n_songs) for who in range(n_listeners) for start in range(15, 240, 20)  # every 4th chunk of 5 s
    ]  # fmt: skip
    return abx.arrange(pool, seed=seed, **options)


def _one(design, i, chances, offset, attention, no_answer, rng, folder):
    """The records of one pretend listener."""
    now = [1.7e9 + 3600.0 * i]
    one = session.begin(
        design, folder, participant=f"pretend-{i + 1:04d}", version=i % design.n_versions + 1, consent=True, simulated=True,
        clock=lambda: now[0],
    )  # fmt: skip
    while (trial := one.current()) is not None:
        planned, side = one.at(trial.number)
        p = attention if planned.block == abx.ATTENTION else chances[planned.foil_kind] + offset
        seconds = min(max(rng.lognormal(2.6, 0.4), 5.0), design.trial_s - 1)
        if rng.random() < no_answer:
            now[0] += design.trial_s
            one.answer(None, design.trial_s)
        else:
            now[0] += seconds
            right = rng.random() < p
            one.answer(side if right else "AB"[side == "A"], seconds)
    records = one.records
    one.close()
    return records
