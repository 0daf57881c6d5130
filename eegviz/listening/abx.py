"""The design of a listening test: does a listener hear which reconstruction belongs to a piece of music?

The task of EEG2Mel's evaluation [1]_, AB-X: X is five seconds of a song; A and B are two reconstructions from EEG, one of
the seconds of X, the other (the foil) of other music; the listener says which belongs to X. 24 trials and 4 for practice; two
versions of other examples; as many trials of every song and of the beginning, middle and end of songs; reconstructions from
different EEG listeners; one minute a trial, 30 minutes in all, as many replays as wanted. Not published, hence our choice and a
parameter here: how foils were chosen, the attention checks, level, fades and rate of the sounds.

``task="2afc"`` turns it round, as identification does: X is a reconstruction, A and B are two originals. Both tasks have chance 1/2.

A foil of **another song** asks what a song classifier is asked. A foil of the **same song**, five other seconds, asks whether
the second can be heard, which a song's mean sound cannot answer; where songs repeat themselves, so may the foil.
`Planned.foil_kind` records which it is; participants are not told.

Practice and attention checks have music of their own, which no scored trial plays, as long as the trials stay as evenly
spread without it; where they would not, `Design.notes` says how many moments come again.

Reconstructions are made of TEST seconds of the run only. What a test can prove rests on its split: from an interleaved
split a listener may recognise what the model knows of the recording, without the brain. `Design.about` carries the label.

Functions: `plan` (from a run, without sounds), `arrange` (from any examples), `examples`, `make_sounds` (`sound_steps`: one by one), `design` (both), `save`,
`open`.

References
----------
.. [1] Ramirez-Aristizabal & Kello 2022, doi:10.48550/arXiv.2207.13845, section 3.4; 16 listeners were right in 85 % of
   trials (66.67 to 95.83).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from eegviz.errors import ParameterError
from eegviz.listening import _balance
from eegviz.listening._balance import OTHER_SONG, POSITIONS, SAME_SONG, Example
from eegviz.listening._design import ATTENTION, MAIN, PRACTICE, Design, Planned
from eegviz.listening._design_file import check_is_test, check_new, open, save
from eegviz.listening._test_sounds import examples, make_sounds, sound_steps
from eegviz.listening.texts import QUESTIONS, texts

__all__ = [
    "ATTENTION", "MAIN", "OTHER_SONG", "POSITIONS", "PRACTICE", "PUBLISHED", "SAME_SONG", "TASKS", "Design", "Example", "Planned",
    "arrange", "check_is_test", "check_new", "check_options", "design", "examples", "make_sounds", "open", "plan", "save", "sound_steps",
]  # fmt: skip
TASKS = tuple(QUESTIONS)
PUBLISHED = {"mean": 0.85, "low": 0.6667, "high": 0.9583, "n_listeners": 16, "n_trials": 24}  # the paper's AB-X


def arrange(
    pool, *, task="abx", n_trials=24, n_practice=4, n_attention=2, n_versions=2, same_song=0.5, duration=5.0, trial_s=60.0,
    total_s=1800.0, seed=0, about=None, notes=(), own_texts=None,
) -> Design:  # fmt: skip
    """Arrange examples to a test without sounds; parameters as in `plan`, `pool` is a sequence of `Example`."""
    check_options(
        task=task, n_trials=n_trials, n_practice=n_practice, n_attention=n_attention, n_versions=n_versions,
        same_song=same_song, duration=duration, trial_s=trial_s, total_s=total_s,
    )  # fmt: skip
    trials = _own_music(
        pool, n_practice=n_practice, n_attention=n_attention, n_trials=n_trials, n_versions=n_versions, same_song=same_song,
        duration=duration, seed=seed,
    )  # fmt: skip
    made = Design(
        task, tuple(trials), n_versions, duration, trial_s, total_s, seed,
        own_texts or texts(
            task, n_practice=n_practice, n_trials=n_trials, n_attention=n_attention, duration=duration, trial_s=trial_s,
            total_s=total_s,
        ),
        about or {},
    )  # fmt: skip
    return replace(made, notes=(*notes, *_shortfalls(made)))


def plan(
    run, store, *, task="abx", n_trials=24, n_practice=4, n_attention=2, n_versions=2, same_song=0.5, duration=5,
    trial_s=60.0, total_s=1800.0, songs=None, seed=0, own_texts=None, windows=None, split=None,
) -> Design:  # fmt: skip
    """Plan a listening test from the test seconds of a run; `make_sounds` then makes its sounds.

    Parameters
    ----------
    run : Run
    store : Store
    task : {"abx", "2afc"}
    n_trials, n_practice, n_attention : int
        Of each participant; the paper has 24 and 4 and no attention checks. In an attention check A or B **is** X.
    n_versions : int
        Tests of other examples; participants are dealt to them in turn.
    same_song : float
        Share of trials whose foil is of the same song, 0 to 1 (unpublished; our choice). Practice trials have foils of
        another song unless it is 1.
    duration : int
        Whole seconds of each sound.
    trial_s, total_s : float
        Limits in seconds.
    songs : sequence of str, optional
        Default all in the test side.
    seed : int
    own_texts : Texts, optional
    windows, split : optional
        Those of the run, when they are at hand.

    Returns
    -------
    Design
        With `notes` on what the data could not balance.

    Raises
    ------
    ParameterError
        Too few songs, seconds or listeners for what is asked, or a run that reconstructs nothing.
    """
    check_options(
        task=task, n_trials=n_trials, n_practice=n_practice, n_attention=n_attention, n_versions=n_versions,
        same_song=same_song, duration=duration, trial_s=trial_s, total_s=total_s,
    )  # fmt: skip
    if run.config["model"]["name"] == "classifier":
        raise ParameterError(
            f"run {run.path.name} is a classifier: it names songs and reconstructs nothing. Choose a regression run."
        )
    windows = run.windows(store) if windows is None else windows
    split = run.split(windows) if split is None else split
    pool, notes = examples(run, store, windows=windows, split=split, duration=duration, songs=songs)
    about = {
        "run": run.path.name, "model": run.name, "split": split.spec, "label": split.label, "can_separate": split.can_separate,
        "title": store.manifest.get("title") or store.manifest["dataset"], "simulated": bool(store.manifest["simulated"]),
        "data": store.fingerprint,
    }  # fmt: skip
    return arrange(
        pool, task=task, n_trials=n_trials, n_practice=n_practice, n_attention=n_attention, n_versions=n_versions,
        same_song=same_song, duration=duration, trial_s=trial_s, total_s=total_s, seed=seed, about=about, notes=notes,
        own_texts=own_texts,
    )  # fmt: skip


def design(run, store, *, progress=None, **options) -> Design:
    """`plan` and `make_sounds` in one call; options as in `plan`."""
    windows = options.pop("windows", None) or run.windows(store)
    split = options.pop("split", None) or run.split(windows)
    planned = plan(run, store, windows=windows, split=split, **options)
    return make_sounds(planned, run, store, windows=windows, split=split, progress=progress)


def _own_music(pool, *, n_practice, n_attention, duration, seed, **options):
    """All trials. Practice and checks have music of their own, where the scored trials are as even without it."""
    options |= {"n_practice": n_practice, "n_attention": n_attention, "duration": duration, "seed": seed}
    wanted = n_practice + n_attention
    first = _trials(pool, pool, **options)
    own = {one.target.moment for one in first if one.block != MAIN}
    if len(own) == wanted and not _again(first, duration=duration):
        return first
    rng = np.random.default_rng(seed)
    aside = _balance.set_aside(pool, max(2, wanted), duration=duration, rng=rng) if wanted else []
    for n in range(len(aside), 1, -1):  # practice needs two moments: the foil is of the other
        try:
            made = _trials(pool, _balance.apart(pool, aside[:n], duration=duration), **options)
        except ParameterError:
            continue
        as_even = all(new <= old for new, old in zip(_evenness(made, pool), _evenness(first, pool), strict=True))
        if as_even and not _again(made, duration=duration):
            return made
    return first


def _trials(pool, scored, *, n_trials, n_practice, n_attention, n_versions, same_song, duration, seed):
    """All trials, those that count out of the examples `scored`, the others where it can be of music that does not count."""
    rng = np.random.default_rng(seed)
    versions = _balance.choose(scored, [n_trials] * n_versions, rng=rng)
    used = [one for chosen in versions for one in chosen]
    free = _balance.apart(pool, {one.moment for one in used}, duration=duration)
    used += set(pool) - set(free)  # better no example of their music, either
    (practice,) = _balance.choose(_enough(n_practice, pool, free), [n_practice], used=used, rng=rng)
    new = _balance.apart(free, {one.moment for one in practice}, duration=duration)
    (checks,) = _balance.choose(_enough(n_attention, pool, new, free), [n_attention], used=used + practice, rng=rng)
    trials = []
    for version, targets in [(0, practice), *enumerate(versions, 1)]:
        block, n_same = (
            (MAIN, round(same_song * n_trials)) if version else (PRACTICE, 0 if same_song < 1 else n_practice)
        )
        name = f"{version}-{{:02d}}" if version else "practice-{}"
        trials += _with_foils(targets, n_same, block=block, version=version, name=name, duration=duration, rng=rng)
    return [*trials, *_checks(checks, free, pool, duration=duration, rng=rng)]


def _enough(n, pool, *better):
    """The first of some lists of examples that has `n` and as many songs as a foil needs; else the pool."""
    songs = min(2, len({one.song for one in pool}))
    return next((some for some in better if len(some) >= n and len({one.song for one in some}) >= songs), pool)


def _again(trials, *blocks, duration):
    """The moments of practice and checks (or `blocks`) that share seconds with those of scored trials."""
    pairs = [(one.block, example) for one in trials for example in (one.target, one.foil)]
    others = {example for block, example in pairs if block in (blocks or (PRACTICE, ATTENTION))}
    scored = {example.moment for block, example in pairs if block == MAIN}
    return {one.moment for one in others - set(_balance.apart(others, scored, duration=duration))}


def _evenness(trials, pool):
    """What `_balance.unevenness` says of each version."""
    main = {}
    for one in trials:
        if one.block == MAIN:
            main.setdefault(one.version, []).append(one)
    return [
        value
        for some in main.values()
        for value in _balance.unevenness([one.target for one in some], [one.foil for one in some], pool)
    ]


def _with_foils(targets, n_same, *, block, version, name, duration, rng):
    if not targets:
        return []
    if len({one.song for one in targets}) == 1 and block == PRACTICE:
        n_same = len(targets)
    same = _balance.mix_kinds(targets, n_same, duration=duration, rng=rng)
    foils = _balance.pair_foils(targets, same, duration=duration, rng=rng)
    return [
        Planned(name.format(i), version, block, one, foil, SAME_SONG if kind else OTHER_SONG)
        for i, (one, foil, kind) in enumerate(zip(targets, foils, same, strict=True), 1)
    ]


def _checks(targets, free, pool, *, duration, rng):
    """Attention checks: the original against that of another song, or where there is none of other seconds; out of `free` first."""
    made = []
    for i, one in enumerate(targets, 1):
        others, kind = [], OTHER_SONG
        for some in (free, pool):
            others = others or [other for other in some if other.song != one.song]
        for some in (free, pool) if not others else ():
            others, kind = others or _balance.apart(some, [one.moment], duration=duration), SAME_SONG
        if not others:
            raise ParameterError(
                "the test seconds hold one stretch only: nothing to compare it with. Ask for shorter clips."
            )
        made.append(Planned(f"check-{i}", 0, ATTENTION, one, sorted(others)[rng.integers(len(others))], kind))
    return made


def _shortfalls(made):
    """Sentences on what is balanced less than asked for."""
    notes, main = [], [one for one in made.trials if one.block == MAIN]
    for what, of in (("songs", "song"), ("positions", "position"), ("EEG listeners", "listener")):
        for version in range(1, made.n_versions + 1):
            counts = Counter(getattr(one.target, of) for one in main if one.version == version)
            if counts and max(counts.values()) - min(counts.values()) > 0:
                spread = f"{min(counts.values())} to {max(counts.values())}"
                notes.append(f"version {version}: {what} have {spread} trials, not all the same")
    reuse = Counter(one.target for one in main)
    if again := sum(n - 1 for n in reuse.values()):
        notes.append(f"{again} examples are in more than one version: the test seconds hold too few for other ones")
    practice = {one.target for one in made.trials if one.block == PRACTICE}
    if again := len(practice & set(reuse)):
        notes.append(f"{again} of {len(practice)} practice examples are in the test too")
    for what, block in (("practice uses", PRACTICE), ("attention checks use", ATTENTION)):
        if n := len(_again(made.trials, block, duration=made.duration)):
            notes.append(
                f"{what} {n} moment{'s' * (n != 1)} that come{'s' * (n == 1)} again in scored trials, so that whoever has heard "
                f"{'them' if n != 1 else 'it'} may know more: the test seconds hold too few for both"
            )
    listeners = {one.target.listener for one in main}
    if made.task == "abx":
        if len(listeners) == 1:
            notes.append("all reconstructions are from one EEG listener")
        elif alike := sum(one.target.listener == one.foil.listener for one in main):
            notes.append(f"in {alike} of {len(main)} trials both reconstructions are from one EEG listener")
    most = Counter((one.version, one.foil) for one in main).most_common(1)
    if most and most[0][1] > 1:
        notes.append(
            f"a foil is heard up to {most[0][1]} times in a version: not every reconstruction could be a foil once"
        )
    moments = Counter((one.version, one.target.moment) for one in main)
    if again := sum(n > 1 for n in moments.values()):
        notes.append(
            f"{again} of {len(moments)} moments of songs come in more than one trial of a version, from other EEG listeners"
        )
    n, n_listeners = made.count(MAIN), len(listeners)
    if n_listeners < n:
        notes.append(f"{n} trials and {n_listeners} EEG listeners: a listener's reconstructions are in several trials")
    return notes


def check_options(
    *, task="abx", n_trials=24, n_practice=4, n_attention=2, n_versions=2, same_song=0.5, duration=5, trial_s=60.0,
    total_s=1800.0,
):  # fmt: skip
    """A ParameterError where no data could make such a test, before anything is computed; parameters as in `plan`."""
    if task not in TASKS:
        raise ParameterError(f"unknown task {task!r}; known are {', '.join(TASKS)}.")
    for name, value, least in (
        ("n_trials", n_trials, 2), ("n_practice", n_practice, 0), ("n_attention", n_attention, 0), ("n_versions", n_versions, 1)
    ):  # fmt: skip
        if value != int(value) or value < least:
            raise ParameterError(f"{name} must be a whole number, {least} or more; found {value!r}.")
    if n_practice == 1:
        raise ParameterError("n_practice=1: a foil is another practice example, so there must be none or two or more.")
    if not 0 <= same_song <= 1:
        raise ParameterError(f"same_song is a share of trials, 0 to 1; found {same_song!r}.")
    if duration != int(duration) or duration < 1:
        raise ParameterError(f"duration must be a whole number of seconds, 1 or more; found {duration!r}.")
    if not 3 * duration <= trial_s <= total_s:
        raise ParameterError(
            f"a trial of {trial_s:g} s must hold its three sounds once ({3 * duration:g} s) and fit into the test of {total_s:g} s. "
            "Ask for a shorter duration."
        )
