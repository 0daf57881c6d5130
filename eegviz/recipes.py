"""The runs that the notebook series shows, by name, so that every page, the demonstration and the tests share them.

A recipe is a dict for `eegviz.training.configure`. ``fast`` shrinks models and epochs (our choice, for two cores);
otherwise the settings are the published ones where the name says so. `run` trains a recipe once and then reuses it.

Functions: `recipe`, `honest_split`, `protocols`, `run`, `run_folds`, `run_alone`.
"""

from __future__ import annotations

from eegviz import evaluation, models, runs, splits, training, windowing
from eegviz.errors import ParameterError
from eegviz.store import Store

PUBLISHED_SPLIT = "interleaved"
# Table 2 of EEG2Mel: the four pairs and their published accuracies (ten songs, chance 10 %)
TABLE_2 = {
    "psd-mel": {"eeg": "periodogram", "audio": "mel-db", "published": 0.8080},
    "psd-linear": {"eeg": "periodogram", "audio": "linear-db", "published": 0.7228},
    "raw-mel": {"eeg": "raw", "audio": "mel-db", "published": 0.4607},
    "raw-linear": {"eeg": "raw", "audio": "linear-db", "published": 0.3753},
}
SIDE_EPOCHS = 4  # linear pictures are eight times larger; our choice, for two cores
# Every split with the two models that notebook 11 judges on all of them; half of the listeners are held out, so that even
# six leave three for an interval over listeners (our choice).
PROTOCOL_MODELS = ("cnn", "ridge")
PROTOCOL_SPECS = {
    "random": "random", "interleaved": "interleaved", "blocked": "blocked", "repeat": "repeat", "subject": "subject:50",
    "song": "song:{last}", "subject_song": "subject_song:50/40",
}  # fmt: skip
# "main" is judged on what the store's best split holds out; "published" takes the paper's own training
# recipe on the same split; "unseen-song" holds out the last song.
FAST = ("width", "depth", "units", "epochs", "patience")  # what "fast" takes from the preset of that name
NAMES = (
    *TABLE_2, "main", "published", "unseen-song", *(f"{m}-{s}" for m in PROTOCOL_MODELS for s in PROTOCOL_SPECS)
)  # fmt: skip


def honest_split(store: Store, condition="listening"):
    """The strongest split that a store allows: another hearing, else new listeners, else a block of time."""
    rows = store.recordings
    rows = rows[(rows["condition"] == condition) & (rows["stimulus"] != "")]
    if rows["repeat"].nunique() > 1:
        return "repeat"
    if rows["subject"].nunique() > 1:
        return "subject"
    return "blocked"


def recipe(store: Store, name, *, fast=True, seed=0):
    """The options of the recipe called `name` for a store, ready for `eegviz.training.configure`."""
    if name not in NAMES:
        raise ParameterError(f"unknown recipe {name!r}; known are {', '.join(NAMES)}.")
    options = {"model": "cnn", "seed": seed, "preset": "fast" if fast else "eeg2mel-stable"}
    options["classifier"] = "fast" if fast else "eeg2mel"  # the linear decoder is graded like the networks beside it
    if name in TABLE_2:
        pair = TABLE_2[name]
        if fast:
            options["settings"] = {"epochs": SIDE_EPOCHS}
        return options | {"eeg": pair["eeg"], "audio": pair["audio"], "split": PUBLISHED_SPLIT}
    options |= {"eeg": "periodogram", "audio": "mel-db"}
    last = max(s for s in store.recordings["stimulus"].unique() if s)
    if name == "unseen-song":
        if fast:
            options["settings"] = {"epochs": SIDE_EPOCHS}
        return options | {"split": f"song:{last}"}
    model, _, protocol = name.partition("-")
    if protocol in PROTOCOL_SPECS:
        options["split"] = PROTOCOL_SPECS[protocol].format(last=last)
        if model == "ridge":
            return options | {"model": "ridge", "eeg": None, "preset": None, "seed": 0}  # nothing in it is drawn
        if fast and options["split"] != honest_split(store):  # there it is "main", which is trained longer
            options["settings"] = {"epochs": SIDE_EPOCHS}
        return options
    if name == "published":  # the paper's input, start, step and batch; shrunk like the others when fast
        options["preset"] = "eeg2mel"
        if fast:
            options["settings"] = {k: models.module("cnn").PRESETS["fast"][k] for k in FAST}
    return options | {"split": honest_split(store)}


def run(store: Store, name, *, out, fast=True, seed=0, device="auto") -> runs.Run:
    """The trained and scored run of a recipe in the folder of runs `out`; trained only when it is not there."""
    config = training.configure(store, **recipe(store, name, fast=fast, seed=seed))
    done = training.train(store, config, out=out, device=device)
    evaluation.evaluate(done, store=store)
    return done


def protocols(store: Store, model, *, out, fast=True, seed=0):
    """The scored runs of a model on every split that the store allows.

    Returns
    -------
    runs : dict of str to Run
        By the name of the split.
    missing : dict of str to str
        The splits that this store cannot have, and why.
    """
    done, missing = {}, {}
    for protocol in PROTOCOL_SPECS:
        try:
            done[protocol] = run(store, f"{model}-{protocol}", out=out, fast=fast, seed=seed)
        except ParameterError as error:
            missing[protocol] = str(error)
    return done, missing


def run_folds(store: Store, config, *, out, device="auto") -> list[runs.Run]:
    """Train and score a config once per held-out listener, song or hearing (see `eegviz.splits.folds`).

    Raises
    ------
    ParameterError
        The split of the config has no folds.
    """
    table = windowing.windows(store, **config["features"]).table
    specs = [fold.spec for fold in splits.folds(table, config["split"]["spec"], seed=config["split"]["seed"])]
    done = []
    for spec in specs:
        fold = config | {"split": config["split"] | {"spec": spec}}
        done.append(training.train(store, fold, out=out, device=device))
        evaluation.evaluate(done[-1], store=store)
    return done


def run_alone(store_path, name, *, out, fast=True, seed=0, threads=1):
    """`run` for a worker process: it takes a path, limits itself to some threads and returns nothing."""
    import torch

    from eegviz import scoring, store

    torch.set_num_threads(threads)
    scoring.THREADS = threads  # several workers share the processor and the memory already
    run(store.open(store_path), name, out=out, fast=fast, seed=seed)
