"""The design of a listening test as data: its trials with their answers, their order for a participant (for `abx`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from eegviz import _wording, features
from eegviz.errors import DataError, ParameterError
from eegviz.listening import _balance
from eegviz.listening._balance import SAME_SONG, Example
from eegviz.listening.texts import Texts

PRACTICE, MAIN, ATTENTION = "practice", "main", "attention"


@dataclass(frozen=True)
class Planned:
    """One trial of a design, with its answer: the target is right, the foil is wrong.

    Attributes
    ----------
    trial : str
        Name without meaning, such as ``2-07``.
    version : int
        From 1; practice trials and attention checks belong to all versions and have 0.
    block : {"practice", "main", "attention"}
    target, foil : Example
    foil_kind : {"other song", "same song"}
    """

    trial: str
    version: int
    block: str
    target: Example
    foil: Example
    foil_kind: str

    def keys(self, task):
        """Keys of the sounds X, the right one and the wrong one in `Design.sounds`."""
        original, wrong = ("original", *self.target.moment), ("original", *self.foil.moment)
        if self.block == ATTENTION:  # X is one of both
            return original, original, wrong
        made = ("reconstruction", self.target.recording, self.target.start)
        foil = ("reconstruction", self.foil.recording, self.foil.start)
        return (original, made, foil) if task == "abx" else (made, original, wrong)

    @property
    def facts(self):
        """What the answers' table says of a trial."""
        target, foil = self.target, self.foil
        return {
            "trial": self.trial, "block": self.block, "song": target.song, "eeg_listener": target.listener,
            "recording": target.recording, "start": target.start, "position": target.position, "foil_kind": self.foil_kind,
            "foil_song": foil.song, "foil_listener": foil.listener, "foil_start": foil.start,
        }  # fmt: skip


@dataclass(frozen=True)
class Design:
    """A listening test: its trials with their answers, limits, texts, and sounds when they are made.

    Attributes
    ----------
    task : {"abx", "2afc"}
    trials : tuple of Planned
        Of all versions, practice first.
    n_versions : int
    duration : float
        Seconds of a sound.
    trial_s, total_s : float
        Limits of a trial and of all trials, in seconds.
    seed : int
        Of the choice of trials and of each participant's order.
    texts : Texts
    about : dict
        Run, split and its label, data set, whether its EEG is simulated.
    notes : tuple of str
        What is balanced less than asked for, and why.
    sounds : mapping of key to OGG bytes
        By `Planned.keys`; empty before `make_sounds`.
    sr : int
        Rate of the sounds, Hz.
    """

    task: str
    trials: tuple[Planned, ...]
    n_versions: int
    duration: float
    trial_s: float
    total_s: float
    seed: int
    texts: Texts
    about: dict = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sounds: Mapping = field(default_factory=dict, repr=False, compare=False)
    sr: int = features.SR

    def version(self, number):
        """The trials of version `number`: practice, main and attention checks."""
        if number not in range(1, self.n_versions + 1):
            raise ParameterError(f"version {number!r}: expected a number from 1 to {self.n_versions}.")
        return tuple(one for one in self.trials if one.version in (0, number))

    def sound(self, key):
        """OGG bytes of a sound by its key; empty in a design without any sounds, which only pretend listeners take."""
        try:
            return self.sounds[key] if self.sounds else b""
        except (KeyError, OSError) as error:
            raise DataError(
                f"a sound of this test is missing ({error}). Make all sounds, or make the test again."
            ) from None

    @property
    def volume_sound(self):
        """OGG bytes of the sound for setting the volume: an original of the practice, as loud as every sound of the test."""
        first = min(self.version(1), key=lambda one: (one.block != PRACTICE, one.trial))
        return self.sound(("original", *first.target.moment))

    def count(self, block):
        """How many trials of a block one participant gets."""
        return sum(one.block == block for one in self.version(1))

    @cached_property
    def fingerprint(self):
        """SHA-256 of all that a participant's answers rest on: trials, task, limits and seed."""
        held = as_json(replace(self, sounds={}))
        return hashlib.sha256(
            json.dumps({k: v for k, v in held.items() if k != "texts"}, sort_keys=True).encode()
        ).hexdigest()

    def playlist(self, version, participant):
        """The trials of one participant in order, each with the side of its right answer.

        Practice comes first. Attention checks lie evenly among the main trials. Order and sides are drawn from the design's seed
        and the participant's id: every participant has others.

        Returns
        -------
        list of (Planned, {"A", "B"})
        """
        digest = int(hashlib.sha256(participant.encode()).hexdigest()[:12], 16)
        rng = np.random.default_rng([self.seed, version, digest])
        lists = {}
        for block in (PRACTICE, MAIN, ATTENTION):
            own = [one for one in self.version(version) if one.block == block]
            sides = _balance.sides([(one.foil_kind, one.target.song) for one in own], rng=rng)
            marks = [(one.target.song, one.target.listener, side) for one, side in zip(own, sides, strict=True)]
            lists[block] = [(own[i], sides[i]) for i in _balance.order(marks, rng=rng)]
        main = lists[MAIN]
        for k, check in reversed(list(enumerate(lists[ATTENTION]))):  # from the end, so that places stay true
            low, high = (round(len(main) * (k + part) / len(lists[ATTENTION])) for part in (0.25, 0.75))
            main = [*main[: (at := int(rng.integers(low, high + 1)))], check, *main[at:]]
        return [*lists[PRACTICE], *main]

    def table(self):
        """The trials as a table, a row each, with their answers: not for participants."""
        return pd.DataFrame([{"version": one.version, **one.facts} for one in self.trials])

    def describe(self):
        """What the test is, what it is balanced over, and what is balanced less than asked for."""
        main = self.table().query("block == 'main'")
        same = int((main["foil_kind"] == SAME_SONG).sum())
        about = self.about
        lines = [
            f"{self.task.upper()}: {self.count(MAIN)} trials, {self.count(PRACTICE)} for practice, {self.count(ATTENTION)} attention "
            f"checks; {self.n_versions} version(s); {self.duration:g} s a sound; limits {self.trial_s:g} s a trial, "
            f"{self.total_s / 60:g} min in all; chance 50 %",
            f"{main['song'].nunique()} songs, {main['eeg_listener'].nunique()} EEG listeners, "
            f"{len(main.drop_duplicates(['recording', 'start']))} different examples for {len(main)} trials; foils: "
            f"{len(main) - same} of another song, {same} of the same song",
        ]
        if about:
            kind = "SIMULATED EEG" if about["simulated"] else "EEG"
            lines.append(
                f"{kind} of {about['title']}, run {about['run']}, test seconds of split {about['split']}: {about['label']}"
            )
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(_wording.wrapped(line, "  ") for line in lines)


def as_json(made):
    """A design without its sounds, as JSON would give it back."""
    held = asdict(replace(made, sounds={}))
    del held["sounds"]
    return json.loads(json.dumps(held))
