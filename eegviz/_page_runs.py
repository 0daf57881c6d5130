"""Which runs a demo page takes: those that were named, or the best pair in a folder of runs.

Functions: `named`, `choose`, `one_model`.
"""

from __future__ import annotations

from itertools import product

from eegviz import catalogue, models, runs
from eegviz import store as stores
from eegviz.errors import EegvizError, ParameterError
from eegviz.listening import rows

TRIES = 40  # pairs in a folder of runs that are looked at, the best first; our choice
ENOUGH = 15  # seconds of a song that a page can show: three segments of five


def _imagines(run):
    return "imagery" in run.config["features"]["condition"].split(",")


def _strangers(run):
    return run.config["split"]["spec"].partition(":")[0] in ("subject", "subject_song")


PARTS = {  # of each page: what a run must be, by the part that it plays
    "music": {"seen": lambda run: not rows.holds_out_songs(run), "unseen": rows.holds_out_songs},
    "imagined": {"Perceived": lambda run: not _imagines(run), "Imagined": _imagines},
    "segments": {"Listener-independent": _strangers, "Listener-dependent": lambda run: not _strangers(run)},
}
OPTIONAL = {"unseen"}
EXPECTED = {
    "music": "one run whose split is not song, and if wanted one whose split is song or subject_song",
    "imagined": "one run of heard recordings and one of imagined ones (--condition imagery, or split condition:imagery)",
    "segments": "one run whose split is subject or subject_song and one whose split is another",
}


def named(kind, found):
    """The runs by the part they play on a page, or a refusal that says what was expected and what came."""
    parts = {name: [run for run in found if fits(run)] for name, fits in PARTS[kind].items()}
    fine = all(len(some) <= 1 for some in parts.values()) and all(parts[name] for name in set(parts) - OPTIONAL)
    talking = [run for run in found if not _draws(run)]
    if not fine or talking:
        came = "; ".join(
            f"{run.path.name} ({run.config['model']['name']}, split {run.config['split']['spec']}, condition "
            f"{run.config['features']['condition']})"
            for run in found
        )
        what = "a classifier draws nothing" if talking and fine else f"found {came or 'none'}"
        raise ParameterError(f"eegviz page {kind} takes {EXPECTED[kind]}; {what}. Or name one folder that holds runs.")
    return {name: some[0] for name, some in parts.items() if some}


def choose(kind, folder, *, store, fits):
    """The runs in a folder that make the best page.

    First come those of one model, then those with more music that they hold out together, then those whose EEG contributed.

    Parameters
    ----------
    kind : {"music", "imagined", "segments"}
    folder : path
        Of runs.
    store : path or None
        The store of the runs, when it has moved.
    fits : callable
        ``fits(named, store)`` raises where such runs make no page together.

    Returns
    -------
    list of Run

    Raises
    ------
    ParameterError
        None fit; with what the best ones lacked.
    """
    paths = catalogue.runs_of(folder)
    opened = [run for run in map(runs.open, paths) if (run.path / "metrics.json").exists() and _draws(run)]
    if store is not None:
        fingerprint = stores.open(store).fingerprint
        opened = [run for run in opened if run.config["data"]["fingerprint"] == fingerprint]
    parts = [[run for run in opened if right(run)] for right in PARTS[kind].values()]
    tries = [pair for pair in product(*parts) if len({run.config["data"]["fingerprint"] for run in pair}) == 1]
    if OPTIONAL & set(PARTS[kind]):
        tries += [(run,) for run in parts[0]]
    held = {run.path: _held(run) for run in opened}
    tries.sort(key=lambda pair: _order(kind, pair, held))
    if kind == "segments":
        tries = [pair for pair in tries if _trained(pair[0].config) == _trained(pair[1].config)]
    why = None
    for pair in tries[:TRIES]:
        try:
            fits(named(kind, pair), pair[0].store(store))
        except EegvizError as error:
            why = why or error
        else:
            return list(pair)
    lacking = f" The best ones do not: {why}" if why else ""
    raise ParameterError(
        f"eegviz page {kind} takes {EXPECTED[kind]}; of the {len(opened)} scored runs in {folder} none fit.{lacking}"
    )


def one_model(found):
    """Refuse runs whose model, features or training differ: a difference between them would not be the listener's.

    How many windows train cannot be the same where one split holds out listeners; it stands in the caption.
    """
    (one, first), (other, second) = found.items()
    ours, theirs = _trained(first.config), _trained(second.config)
    differ = [what for what in ours | theirs if ours.get(what) != theirs.get(what)]

    def told(found):
        return ", ".join(f"{what} {found.get(what, 'as in the preset')}" for what in differ)

    if differ:
        raise ParameterError(
            "eegviz page segments compares listeners, so its runs must be of one model, with the same features and training; "
            f"{', '.join(differ)} differ: {one.lower()} is {first.path.name} ({told(ours)}), {other.lower()} is "
            f"{second.path.name} ({told(theirs)}). Train both with the same settings and another --split, or name the folder "
            "of runs alone: fitting ones are looked for."
        )


def _order(kind, pair, held):
    """What comes first: one model, sound for a whole page, EEG that contributed, fewer settings of its own."""
    sides = [[one] for one in pair] if kind == "music" else [pair]
    rank = {verdict: i for i, verdict in enumerate(catalogue.VERDICTS)}
    facts = [runs.facts(run.config) for run in pair]
    return (
        len({one["model"] for one in facts}), -sum(_seconds([held[run.path] for run in side]) for side in sides),
        sum(rank.get(run.metrics["verdict"], len(rank)) for run in pair), sum(len(one["settings"]) for one in facts),
        [run.path.name for run in pair],
    )  # fmt: skip


def _held(run):
    """Test seconds of a run by song and listener."""
    return {key: set(own["second"]) for key, own in run.scores.groupby(["stimulus", "subject"])}


def _seconds(held):
    """Seconds of sound that runs have together: of each song those that all hold out of one listener, at most `ENOUGH`."""
    best = {}
    for key in set.intersection(*map(set, held)):
        shared = len(set.intersection(*(one[key] for one in held)))
        best[key[0]] = max(best.get(key[0], 0), min(shared, ENOUGH))
    return sum(best.values())


def _draws(run):
    return models.module(run.config["model"]["name"]).TASK == "regression"


def _trained(config):
    """What a run was trained with, but for the split and the seed, by name."""
    model = config["model"]
    settings = {"model": model["name"], "preset": model["preset"], **model["settings"]}
    return {**settings, **{f"feature {name}": value for name, value in config["features"].items()}}
