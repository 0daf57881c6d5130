"""Embeddings of EEG and music in one space: which second is it, judged there and not by a picture?

A run whose network embeds both (`eegviz.models.alignment`) is asked for the embeddings of its test windows. The EEG
embedding of a window is compared with the music embeddings of all test seconds: of its own song (each recording's mean
taken away, as for pictures, so that what marks song or recording cannot help), or of all songs (nothing taken away, so
that it does help, and says so). Songs that the training knew and songs that it did not are told apart. Beside the score
stand the same weights with other EEG (`eegviz.controls`), a permutation p and an interval over listeners, all by the
functions that score pictures.

A split says what kind of evidence a score is (`EVIDENCE`): ``repeat`` is *listener-dependent* (the listener, and another
hearing of the music, are in the training), ``subject`` is *listener-independent*.

Functions: `has_embeddings`, `retrieval` (the table), `describe` (in words), `plane` (both kinds of embeddings in two
dimensions), `score` (rows of the verdict table). Class: `Space` (embeddings of any windows of a run).
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import nn

from eegviz import controls, fitting, identification, models, runs, scorecard, scoring
from eegviz.errors import ParameterError

SCOPES = ("own song", "all songs")
EVIDENCE = {
    "repeat": "listener-dependent: the listener and another hearing of the music are in the training",
    "condition": "listener-dependent: the listener and the music under another condition are in the training",
    "subject": "listener-independent: the listener is not in the training, the music is",
    "song": "listener-dependent, unseen songs: the listener is in the training, the music is not",
    "subject_song": "listener-independent, unseen songs: neither listener nor music is in the training",
}
WIDTH = 76  # columns of `describe`
BLOCK = 256  # spectrograms embedded at a time
_RETRIEVAL, _ALL = "emb. retrieval", "emb. all songs"


def has_embeddings(run) -> bool:
    """True for runs whose network embeds EEG and music in one space."""
    return bool(getattr(models.module(run.config["model"]["name"]), "EMBEDDINGS", False))


class Space:
    """The space of a trained run.

    Parameters
    ----------
    run : Run
        See `has_embeddings`.
    windows : Windows
    opened : Store

    Raises
    ------
    ParameterError
        A run without embeddings.
    """

    def __init__(self, run, windows, opened):
        if not has_embeddings(run):
            raise ParameterError(
                f"run {run.path.name} is of the model {run.config['model']['name']}, which embeds nothing. Choose a run of the "
                "model alignment or diffusion."
            )
        self._run, self._windows, self._store = run, windows, opened
        self._net = run.network()

    @cached_property
    def other_eeg(self) -> controls.Substitute:
        """Embeddings of EEG that the listeners never had."""
        return controls.Substitute(self._run, self._windows, self._store, net=_EmbedEEG(self._net))

    def eeg(self, index):
        """EEG embeddings of the windows `index`: ``(len(index), shared)``, of unit length."""
        compute = fitting.Compute.choose("auto", self._run.provenance["precision"])
        blocks = fitting.predict(
            _EmbedEEG(self._net), lambda rows: (self._windows.pictures(rows), None), np.asarray(index), compute=compute
        )
        return np.concatenate(list(blocks))

    def music(self, index):
        """Music embeddings of the windows `index`, each distinct second once: ``(len(index), shared)``, of unit length."""
        rows = self._windows.table.iloc[np.asarray(index)]
        second = _numbers(rows)
        _, first, again = np.unique(second, return_index=True, return_inverse=True)
        once = np.asarray(index)[first]
        net, made = self._net.to("cpu").eval(), []
        with torch.inference_mode():
            for start in range(0, len(once), BLOCK):
                block = once[start : start + BLOCK]
                if self._beside is None:
                    made.append(net.embed_music(torch.from_numpy(self._windows.target(block))))
                else:
                    made.append(net.project_music(torch.from_numpy(self._beside(block))))
        return torch.cat(made).numpy()[again]

    @cached_property
    def _beside(self):
        module = models.module(self._run.config["model"]["name"])
        return module.beside(runs.settings(self._run.config), self._windows, self._store)


def retrieval(run, *, store=None, windows=None) -> pd.DataFrame:
    """Which second is each test window's EEG embedding most like?

    Parameters
    ----------
    run : Run
    store : Store, optional
        Where the run's store is now, when it has moved.
    windows : Windows, optional
        Those of the run, when they are at hand.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of ``candidates`` (`SCOPES`), ``songs`` ("all", "seen", "unseen" in the training) and ``eeg``
        ("real", and the controls): ``n`` windows, ``n_candidates`` (mean), ``percentile`` (chance .5) with ``low``,
        ``high`` and ``over`` of its interval, ``p``, ``top-1`` and ``top-5`` with their ``chance-1`` and ``chance-5``,
        ``median_rank`` (1 the best). What is not defined is NaN.

    Raises
    ------
    ParameterError
        A run without embeddings.
    DataError
        A song with one test second only.
    """
    job = _job(run, store, windows)
    space = Space(run, job.windows, job.store)
    eeg, music = space.eeg(job.split.test), space.music(job.split.test)
    seen = np.isin(job.table["stimulus"].to_numpy(str), np.unique(job.view.table["stimulus"].to_numpy(str)))
    groups = {"all": np.ones(len(seen), bool), "seen": seen, "unseen": ~seen}
    groups = {
        name: rows for name, rows in groups.items() if rows.any() and (name != "all" or 0 < seen.sum() < len(seen))
    }
    rows = []
    for scope in SCOPES:
        ranked = _Ranked.of(eeg, music, job.table, scope)
        answers = {"real": ranked.values(np.arange(len(eeg)))} | _answers(space, job, ranked, eeg, music, scope)
        for songs, there in groups.items():
            for name, values in answers.items():
                p = _p(eeg, music, job.table, scope, there) if name == "real" else None
                rows.append({"candidates": scope, "songs": songs, "eeg": name} | _summary(values, there, job.table, p))
    return pd.DataFrame(rows)


def describe(run, table) -> str:
    """The table of `retrieval` in words and columns of at most 76 characters.

    Parameters
    ----------
    run : Run
    table : pandas.DataFrame
        Of `retrieval`.
    """
    spec = run.config["split"]["spec"]
    kind = EVIDENCE.get(spec.partition(":")[0], "this split cannot tell the song from the recording")
    lines = textwrap.wrap(f"Retrieval of embeddings, split {spec}: {kind}", WIDTH)
    for (scope, songs), part in table.groupby(["candidates", "songs"], sort=False):
        n = part["n_candidates"].iloc[0]
        lines += [
            "",
            f"among the test seconds of {'its ' if scope == 'own song' else ''}{scope} ({n:.0f}), {songs} songs:",
        ]
        lines.append(
            f"{'EEG':<15}{'percentile':>11}{'95 % interval':>16}{'top-1':>7}{'top-5':>7}{'med. rank':>10}{'n':>6}"
        )
        for row in part.to_dict("records"):
            span = "n/a" if not np.isfinite(row["low"]) else f"{row['low']:.3f}–{row['high']:.3f}"
            told = "".join(f"{_number(row[f'top-{k}']):>7}" for k in scorecard.TOP)
            lines.append(
                f"{row['eeg']:<15}{_number(row['percentile']):>11}{span:>16}{told}{row['median_rank']:>10.1f}{row['n']:>6}"
            )
        real = part[part["eeg"] == "real"].iloc[0]
        told = "".join(f"{_number(real[f'chance-{k}']):>7}" for k in scorecard.TOP)
        lines.append(f"{'chance':<15}{'0.500':>11}{'':>16}{told}{(n + 1) / 2:>10.1f}")
        p = "n/a" if not np.isfinite(real["p"]) else f"{real['p']:.3f}"
        lines += textwrap.wrap(f"permutation p of the percentile {p}; interval over {real['over']}", WIDTH)
    return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Plane:
    """Both kinds of embeddings of the test windows in two dimensions, to be drawn.

    Attributes
    ----------
    table : pandas.DataFrame
        Test windows.
    eeg, music : np.ndarray [shape=(n, 2)]
        In the order of the table; windows of the same second share their music.
    explained : np.ndarray [shape=(2,)]
        Share of the training embeddings' variance on each axis.
    """

    table: pd.DataFrame = field(repr=False)
    eeg: np.ndarray
    music: np.ndarray
    explained: np.ndarray


def plane(run, *, store=None, windows=None) -> Plane:
    """The principal plane of the **training** embeddings, EEG and music together, with the test embeddings in it.

    Parameters
    ----------
    run, store, windows
        As of `retrieval`.

    Returns
    -------
    Plane
    """
    job = _job(run, store, windows)
    space = Space(run, job.windows, job.store)
    fitted = np.concatenate([space.eeg(job.split.train), space.music(job.split.train)])
    mean = fitted.mean(0)
    _, size, axes = np.linalg.svd(fitted - mean, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2].sum(1, keepdims=True) + 1e-30)  # the sign of an axis is free: sums are positive
    test = [(found(job.split.test) - mean) @ axes.T for found in (space.eeg, space.music)]
    return Plane(job.table, *test, (size**2 / (size**2).sum())[:2])


def score(job: scoring.Job) -> scoring.Scored:
    """Rows of the verdict table for embeddings, and the columns of the windows that go with them.

    Parameters
    ----------
    job : Job
        Of a run with embeddings.

    Returns
    -------
    Scored
        Without controls and shifts, which are those of the primary metric.
    """
    table = job.table
    names = (_RETRIEVAL, *(f"emb. top-{k}" for k in scorecard.TOP), _ALL)
    if table.groupby("stimulus")["second"].nunique().min() < 2:
        return scoring.Scored(
            [scorecard.row(name, None, table, note=scorecard.ONE_SECOND) for name in names], {}, [], []
        )
    space = Space(job.run, job.windows, job.store)
    eeg, music = space.eeg(job.split.test), space.music(job.split.test)
    rows, columns = [], {}
    for scope, wanted in zip(SCOPES, (names[:-1], names[-1:]), strict=True):
        ranked = _Ranked.of(eeg, music, table, scope)
        own, answers = ranked.values(np.arange(len(eeg))), _answers(space, job, ranked, eeg, music, scope)
        tested = scorecard.p_values(table, found=ranked.found)
        for name in wanted:
            key = f"top-{name[-1]}" if "top" in name else "percentile"
            if own[key].isna().all():
                few = int(ranked.found.n_candidates.min())
                rows.append(
                    scorecard.row(name, None, table, note=f"a song has {few} test seconds only, fewer than {key[4:]}")
                )
                continue
            chance = 0.5 if key == "percentile" else float(ranked.found.chance_top_k(int(key[4:])).mean())
            told = {c: scorecard.control(c, v[key].to_numpy(), table)["score"] for c, v in answers.items()}
            beside = {c: value for c, value in told.items() if value is not None}
            p = {name: tested["retrieval" if key == "percentile" else key]}
            values = columns[name] = own[key].to_numpy()
            rows.append(
                scorecard.row(
                    name,
                    values,
                    table,
                    chance=chance,
                    p=p,
                    beside={"baselines": {"mean picture": chance}, "controls": beside},
                )
            )
    return scoring.Scored(rows, columns, [], [])


class _EmbedEEG(nn.Module):
    """A network as the part of it that embeds EEG."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.embed_eeg(x)[0]


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Where the candidates come for each window's embedding."""

    found: identification.Retrieval

    @classmethod
    def of(cls, eeg, music, table, scope):
        labels = {"recordings": table["recording"].to_numpy(str)}
        if scope == "own song":
            labels |= {"songs": table["stimulus"].to_numpy(str), "seconds": table["second"].to_numpy()}
        else:
            labels |= {"songs": np.full(len(table), "all"), "seconds": _numbers(table), "centred": False}
        return cls(identification.retrieval(eeg[:, None], music[:, None], **labels))

    def values(self, giver, taker=None):
        """Scores of the embeddings of rows `giver` for the seconds of rows `taker` (default: their own), a table of all rows."""
        taker = giver if taker is None else taker
        found, n = self.found, len(self.found.percentile)
        place = found.table.start[giver] + found.table.column[taker]
        made = pd.DataFrame(
            np.nan,
            index=np.arange(n),
            columns=["percentile", *(f"top-{k}" for k in scorecard.TOP), "rank", "n_candidates"],
        )
        share = found.candidates()[place]
        made.loc[taker, "percentile"] = share
        made.loc[taker, "rank"] = 1 + (found.n_candidates[giver] - 1) * (1 - share)
        made.loc[taker, "n_candidates"] = found.n_candidates[giver]
        for k in scorecard.TOP:
            if k <= found.n_candidates.min():
                made.loc[taker, f"top-{k}"] = found.candidates(k=k)[place]
        return made


def _answers(space, job, ranked, eeg, music, scope):
    """Scores under each control that the data allow: tables as of `_Ranked.values`, by name."""
    table, part = job.table, np.flatnonzero(job.beside)
    found = {}
    for name, giver in (("shuffled", controls.shuffled), ("other listener", controls.other_listener)):
        which = giver(table)
        taker = np.flatnonzero(which >= 0)
        if len(taker):
            found[name] = ranked.values(which[taker], taker)
    some = table.iloc[part].reset_index(drop=True)
    asked = {"zero EEG": lambda: space.other_eeg.zero(len(some)), "noise EEG": lambda: space.other_eeg.noise(some)}
    if (job.store.recordings["condition"] == "silence").any():
        asked["silence"] = lambda: space.other_eeg.silence(some)
    for name, answer in asked.items():
        try:
            own = _Ranked.of(answer(), music[part], some, scope).values(np.arange(len(part)))
        except ParameterError:  # no silence of a listener: as in the controls of pictures
            continue
        found[name] = own.set_axis(part).reindex(np.arange(len(table)))
    return {name: found[name] for name in controls.CONTROLS if name in found}


def _p(eeg, music, table, scope, there):
    """Permutation p of the percentile of some of the windows; None where it is not defined."""
    if scope == "all songs" and not there.all():
        return None
    own = table[there].reset_index(drop=True)
    found = _Ranked.of(eeg[there], music[there], own, scope).found
    return scorecard.p_values(own, found=found)["retrieval"][0]


def _summary(values, there, table, p):
    """One row of the table of `retrieval`."""
    rows = there & values["percentile"].notna().to_numpy()
    some, nothing = values[rows], float("nan")
    told = {"n": int(rows.sum()), "n_candidates": some["n_candidates"].mean(), "percentile": nothing, "low": nothing}
    told |= {"high": nothing, "over": "", "p": nothing if p is None else p}
    if rows.any():
        interval = scorecard.interval(some["percentile"].to_numpy(), table[rows])
        told |= {"percentile": interval.estimate, "low": interval.low, "high": interval.high}
        told["over"] = f"{interval.n_groups} {interval.unit}"
    for k in scorecard.TOP:
        told |= {f"top-{k}": some[f"top-{k}"].mean(), f"chance-{k}": (k / some["n_candidates"]).mean()}
    return told | {"median_rank": some["rank"].median()}


def _numbers(table):
    """A number for each distinct second of each song, ``(n,)``, in the order of songs and seconds."""
    return table.groupby(["stimulus", "second"], sort=True).ngroup().to_numpy()


def _number(value):
    return "n/a" if not np.isfinite(value) else f"{value:.3f}"


def _job(run, opened, windows):
    opened = run.store() if opened is None else opened
    windows = run.windows(opened) if windows is None else windows
    split = run.split(windows)
    return scoring.Job(run, opened, windows, split, windows.table.iloc[split.test].reset_index(drop=True))
