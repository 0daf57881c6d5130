"""The runs that the notebook series shows, by name, so that every page, the demonstration and the tests share them.

A recipe is a dict for `eegviz.training.configure`. ``fast`` shrinks models and epochs (our choice, for two cores);
otherwise the settings are the published ones where the name says so. `run` trains a recipe once and then reuses it.
Only what trains loads torch.

Functions: `recipe`, `honest_split`, `protocols`, `some`, `tokens`, `run`, `run_folds`, `run_alone`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eegviz import models
from eegviz.errors import ParameterError
from eegviz.store import Store

if TYPE_CHECKING:
    from eegviz import runs

PUBLISHED_SPLIT = "interleaved"
# Table 2 of EEG2Mel: the four pairs and their published accuracies (ten songs, chance 10 %)
TABLE_2 = {
    "psd-mel": {"eeg": "periodogram", "audio": "mel-db", "published": 0.8080},
    "psd-linear": {"eeg": "periodogram", "audio": "linear-db", "published": 0.7228},
    "raw-mel": {"eeg": "raw", "audio": "mel-db", "published": 0.4607},
    "raw-linear": {"eeg": "raw", "audio": "linear-db", "published": 0.3753},
}
# What is trained beside the main run takes part of each song and fewer epochs when fast; our choice, for two cores.
SIDE_SECONDS = 16.0
SIDE_EPOCHS = 4
LINEAR_EPOCHS = 2  # of pictures that are eight times larger
# Every split with the two models that notebook 11 judges on all of them; half of the listeners are held out, so that even
# six leave three for an interval over listeners (our choice).
PROTOCOL_MODELS = ("cnn", "ridge")
PROTOCOL_SPECS = {
    "random": "random:80/10/10", "interleaved": "interleaved", "blocked": "blocked", "repeat": "repeat", "subject": "subject:50",
    "song": "song:{last}", "subject_song": "subject_song:50/40",
}  # fmt: skip
# The replication study (notebook 07), name → model, features, split: its CNN on every pair of features and both
# partitions; its other networks on the best pair; all of them, and a transformer that is fed the truth to the end
# ("-forced"), on the store's best split.
_PAIRS = (("periodogram", "mel-db"), ("periodogram", "mel"), ("welch", "mel-db"), ("welch", "mel"))
_PARTITIONS = ("random:80/10/10", "random:70/10/20")
STUDY_MODELS = ("cnn", "rcnn", "encoder-decoder", "transformer")
STUDY = {
    " ".join(("study", *asked)): asked
    for asked in (
        *(("cnn", *pair, split) for split in _PARTITIONS for pair in _PAIRS),
        *((model, *_PAIRS[0], _PARTITIONS[0]) for model in STUDY_MODELS[1:]),
        *((model, *_PAIRS[0], "best") for model in (*STUDY_MODELS, "transformer-forced")),
    )
}
STUDY_SECONDS = 8.0  # of each song, when fast; our choice
STUDY_FAST = {
    "cnn": {"epochs": 5, "depth": 1},
    "encoder-decoder": {"epochs": 6},
    "transformer": {"epochs": 4},
}  # when fast
# EEG2Mel-GAN (notebook 08): heard and imagined melodies, and from one to the other; the generator without its
# discriminator; the linear decoder.
CONDITIONS = {
    "heard": {"condition": "listening", "split": "repeat"},
    "imagined": {"condition": "imagery", "split": "repeat"},
    "transfer": {"condition": "listening,imagery", "split": "condition:imagery"},
}
MELODIES = (
    *(f"{which}-{model}" for which in CONDITIONS for model in ("gan", "ridge")), "heard-generator"
)  # fmt: skip
# Echoes of the Brain (notebook 09): alignment alone, and the diffusion that it steers, on the page's two kinds of evidence
# and on a song that nobody had heard.
EVIDENCE = {"dependent": "repeat", "independent": "subject:50", "unseen": "song:{last}"}
ECHOES = ("dependent-diffusion", "independent-diffusion", "unseen-alignment")  # the diffusions hold an alignment each
# Emotional music from tokens (notebook 10), the document's tables by row: models and channels of other studies, what is left
# without either dictionary, and depth; "music alone" is ours: the same network without any EEG.
TOKEN_SPLIT = {
    True: "subject:50",
    False: "subject:20",
}  # the document's 8:2; half of six listeners when fast, for an interval
TABLE_OF_MODELS = {
    "RNN": {"sequence": "rnn"}, "LSTM": {"sequence": "lstm"}, "Tiraboschi": {"channels": "tiraboschi"},
    "Miyamoto": {"channels": "miyamoto"}, "Inoue": {"channels": "inoue"}, "ours": {},
}  # fmt: skip
_WITHOUT = {
    "": {}, " without EEG clusters": {"eeg_clusters": False}, " without audio clusters": {"audio_clusters": False},
    " without clusters": {"eeg_clusters": False, "audio_clusters": False},
}  # fmt: skip
TABLE_OF_ABLATIONS = {
    f"{model}{without}": settings | change
    for model, settings in (
        ("CNN", {"sequence": "cnn"}), ("Transformer", {"convolution": False}), ("LSTM", {"sequence": "lstm"}), ("ours", {})
    )
    for without, change in _WITHOUT.items()
}  # fmt: skip
DEPTHS = {
    False: (8, 10, 12, 14, 16),
    True: (1, 2, 3),
}  # by fast: the document's, and what two cores can do (our choice)
MUSIC_ALONE = {"music alone": {"eeg_input": False}}
TOKENS = {f"tokens {row}": s for row, s in (TABLE_OF_MODELS | TABLE_OF_ABLATIONS | MUSIC_ALONE).items()}
TOKENS |= {f"tokens depth {depth}": {"depth": depth} for depths in DEPTHS.values() for depth in depths}
TOKEN_SECONDS = 20.0  # of each piece, when fast; our choice
# "main" is judged on what the store's best split holds out; "published" takes the paper's own training
# recipe on the same split; "unseen-song" and "unseen-gan" hold out the last song.
MELODY_SECONDS = 12.0  # of each melody or song, when fast; our choice: more than the demo page's ten
FAST = ("width", "depth", "units", "epochs", "patience")  # what "fast" takes from the preset of that name
SONGS = (
    *TABLE_2, "main", "published", "unseen-song", "unseen-gan",
    *(f"{m}-{s}" for m in PROTOCOL_MODELS for s in PROTOCOL_SPECS), *STUDY, *ECHOES,
)  # fmt: skip
NAMES = (*SONGS, *MELODIES, *TOKENS)  # of stores of songs, of melodies heard and imagined, of rated pieces


def recipe(store: Store, name, *, fast=True, seed=0):
    """The options of the recipe called `name` for a store, ready for `eegviz.training.configure`."""
    if name not in NAMES:
        raise ParameterError(f"unknown recipe {name!r}; known are {', '.join(NAMES)}.")
    if name in STUDY:
        return _study(store, *STUDY[name], fast=fast, seed=seed)
    if name in TOKENS:
        return {
            "model": "tokens", "preset": "fast" if fast else "tokens", "settings": TOKENS[name], "seed": seed,
            "split": TOKEN_SPLIT[fast], "classifier": "fast" if fast else "eeg2mel", "tmax": TOKEN_SECONDS if fast else None,
        }  # fmt: skip
    if name in ECHOES:
        which, _, model = name.partition("-")
        return {
            "model": model, "preset": "fast" if fast else "echoes", "seed": seed, "classifier": "fast" if fast else "eeg2mel",
            "split": EVIDENCE[which].format(last=_last(store)), "tmax": SIDE_SECONDS if fast else None,
        }  # fmt: skip
    if name in MELODIES:
        which, _, model = name.partition("-")
        return _gan(model, fast=fast, seed=seed) | CONDITIONS[which]
    side = {"settings": {"epochs": SIDE_EPOCHS}, "tmax": SIDE_SECONDS} if fast else {}
    options = {"model": "cnn", "preset": "fast" if fast else "eeg2mel-stable", "seed": seed, "eeg": "periodogram"}
    options["classifier"] = "fast" if fast else "eeg2mel"  # the linear decoder is graded like the networks beside it
    last = _last(store)
    model, _, protocol = name.partition("-")
    if name in TABLE_2:
        pair = {key: TABLE_2[name][key] for key in ("eeg", "audio")}
        if fast and pair["audio"] == "linear-db":
            side = side | {"settings": {"epochs": LINEAR_EPOCHS}}
        return options | side | pair | {"split": PUBLISHED_SPLIT}
    if name == "unseen-song":
        return options | side | {"split": f"song:{last}"}
    if name == "unseen-gan":
        return _gan("gan", fast=fast, seed=seed) | {"split": f"song:{last}"}
    if protocol in PROTOCOL_SPECS:
        options["split"] = PROTOCOL_SPECS[protocol].format(last=last)
        if options["split"] != honest_split(store):  # there it is "main", which is trained longer and on all seconds
            options |= side
        if fast and protocol == "random":  # the first run of the study, since neither can tell song from recording
            options |= {"settings": STUDY_FAST["cnn"], "tmax": STUDY_SECONDS}
        # nothing in the linear decoder is drawn
        ridge = {"model": "ridge", "eeg": None, "preset": None, "settings": None, "seed": 0}
        return options | (ridge if model == "ridge" else {})
    if name == "published":  # the paper's input, start, step and batch; shrunk like the others when fast
        options["preset"] = "eeg2mel"
        if fast:
            small = {k: models.module("cnn").PRESETS["fast"][k] for k in FAST}
            options |= {"settings": small, "tmax": SIDE_SECONDS}
    return options | {"split": honest_split(store)}


def _last(store):
    return max(s for s in store.recordings["stimulus"].unique() if s)


def _study(store, name, eeg, audio, split, *, fast, seed):
    model = name.removesuffix("-forced")
    settings = {} if model == name else {"schedule": "constant"}
    if fast:
        settings |= STUDY_FAST.get(model, {})
    return {
        "model": model, "preset": "fast" if fast else None, "settings": settings, "eeg": eeg, "audio": audio,
        "split": honest_split(store) if split == "best" else split, "seed": seed, "classifier": "fast" if fast else "eeg2mel",
        "tmax": STUDY_SECONDS if fast else None,
    }  # fmt: skip


def _gan(name, *, fast, seed):
    """The GAN, its generator alone, or the linear decoder of the same pictures."""
    options = {"audio": models.module("gan").AUDIO, "classifier": "fast" if fast else "eeg2mel"}
    if fast:
        options["tmax"] = MELODY_SECONDS
    if name == "ridge":
        return options | {"model": "ridge"}
    settings = {"adversarial": False} if name == "generator" else {}
    return options | {"model": "gan", "preset": "fast" if fast else "eeg2mel-gan", "settings": settings, "seed": seed}


def honest_split(store: Store, condition="listening"):
    """The strongest split that a store allows: another hearing, else new listeners, else a block of time."""
    rows = store.recordings
    rows = rows[(rows["condition"] == condition) & (rows["stimulus"] != "")]
    if rows["repeat"].nunique() > 1:
        return "repeat"
    if rows["subject"].nunique() > 1:
        return "subject"
    return "blocked"


def run(store: Store, name, *, out, fast=True, seed=0, device="auto", score=True) -> runs.Run:
    """The trained and scored run of a recipe in the folder of runs `out`; trained only when it is not there.

    ``score=False`` leaves the verdict table to whoever asks for it.
    """
    from eegviz import evaluation, training

    config = training.configure(store, **recipe(store, name, fast=fast, seed=seed))
    done = training.train(store, config, out=out, device=device)
    if score:
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
    names = {f"{model}-{protocol}": protocol for protocol in PROTOCOL_SPECS}
    found = some(store, names, out=out, fast=fast, seed=seed)
    return tuple({names[name]: value for name, value in one.items()} for one in found)


def some(store: Store, names, *, out, fast=True, seed=0, score=True):
    """The runs of several recipes by name, and why some of them are not possible on this store; options as in `run`."""
    done, missing = {}, {}
    for name in names:
        try:
            done[name] = run(store, name, out=out, fast=fast, seed=seed, score=score)
        except ParameterError as error:
            missing[name] = str(error)
    return done, missing


def tokens(fast=True):
    """The names of the recipes that notebook 10 shows: `TOKENS` with the depths of its kind."""
    other = {f"tokens depth {depth}" for depth in DEPTHS[not fast]} - {
        f"tokens depth {depth}" for depth in DEPTHS[fast]
    }
    return [name for name in TOKENS if name not in other]


def run_folds(store: Store, config, *, out, device="auto") -> list[runs.Run]:
    """Train and score a config once per held-out listener, song or hearing (see `eegviz.splits.folds`).

    Raises
    ------
    ParameterError
        The split of the config has no folds.
    """
    from eegviz import evaluation, splits, training, windowing

    table = windowing.windows(store, **config["features"]).table
    specs = [fold.spec for fold in splits.folds(table, config["split"]["spec"], seed=config["split"]["seed"])]
    done = []
    for spec in specs:
        fold = config | {"split": config["split"] | {"spec": spec}}
        done.append(training.train(store, fold, out=out, device=device))
        evaluation.evaluate(done[-1], store=store)
    return done


def run_alone(store_path, name, *, out, fast=True, seed=0, threads=1, score=True):
    """`run` for a worker process: it takes a path, limits itself to some threads and returns nothing."""
    import torch

    from eegviz import scoring, store

    torch.set_num_threads(threads)
    scoring.THREADS = threads  # several workers share the processor and the memory already
    run(store.open(store_path), name, out=out, fast=fast, seed=seed, score=score)
