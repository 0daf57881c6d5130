"""What a generator makes of EEG: does the condition steer the samples, or would any noise have done?

A generator makes fluent music without any EEG, so that a sample that looks and sounds right says nothing. Three questions
are kept apart here:

- *Is it music?* **Fréchet distance** between the samples and the true test pictures, in the embedding of a frozen music
  encoder: small where the samples as a whole are distributed like music. It asks nothing of the EEG: the row "(no EEG,
  many noises)" shows what a diffusion plays by itself. (All other rows begin from one noise; without EEG they are one sample.)
- *Is it the right music?* **Similarity**: cosine of the sample's embedding and that of its own target.
- *Is it the EEG?* **Conditioning-use gap**: by how much the samples are more similar to their own targets under the EEG
  than under none (zero), a substitute (noise with the same spectra), the EEG of another second of the same recording
  (shuffled) or of another listener at the same second. All of them begin from the same noise, so that they differ by the
  EEG alone; differences are paired within listeners.

Zero and noise are EEG that no training ever held: what they lead to may be unlike any music, and a gap to them alone
proves little. The gap to **shuffled** EEG is the telling one, because only the second is wrong. Another listener's EEG
holds the same second: a decoder that works across listeners has no gap there.

The encoder is the run's own where it has one; else one is fitted on the same training side. Similarities of different
encoders are not comparable. The idea of the gap: Postolache et al. 2025, whose samples fell to chance for a held-out song.

Functions: `check` (a run), `frechet` (two samples), `similarity`, `gap`; `Generation` is what a check found.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from eegviz import controls, memorisation, models, scoring, sides, stats
from eegviz._guided_samples import BLOCK, Samples, drawn
from eegviz._wording import number, wrapped
from eegviz.errors import DataError, ParameterError
from eegviz.models.mel_autoencoder import MelAutoencoder

__all__ = [
    "GUIDANCES", "REAL", "SUBSTITUTES", "Frechet", "Generation", "check", "drawn", "frechet", "gap", "similarity",
]  # fmt: skip
REAL = "real EEG"
SUBSTITUTES = ("zero EEG", "noise EEG", "shuffled", "other listener")
TELLING = "shuffled"  # the gap that the right second alone can give
MUSIC = 512  # samples without any EEG, at most (our choice)
GUIDANCES = (0.0, 1.0, 2.0, 4.0)  # of the sweep (our choice)
SCORES = ("similarity", "frechet", "retrieval")
ENCODER = {"width": 32, "dim": 32}  # of the encoder for runs that have none (our choice)
ENCODER_EPOCHS = 20
MIN_SHARE = 0.5  # of the test windows that a substitute must cover, as elsewhere (our choice)


@dataclass(frozen=True)
class Frechet:
    """Fréchet distance of two samples; made by `frechet`.

    Attributes
    ----------
    distance : float
        Of the Gaussians with the samples' means and covariances.
    n, n_reference : int
        Their sizes.
    dim : int
    """

    distance: float
    n: int
    n_reference: int
    dim: int

    @property
    def caveat(self):
        """What the sizes of the samples do to the distance."""
        smaller = min(self.n, self.n_reference)
        if smaller <= self.dim:
            return (
                f"{smaller} samples in {self.dim} dimensions: a covariance has no full rank and the distance is far too "
                "large; compare it with distances of the same sizes only"
            )
        return (
            f"{smaller} samples in {self.dim} dimensions: estimated from samples the distance is too large, the more so "
            "the fewer they are; compare it with distances of the same sizes only"
        )


@dataclass(frozen=True, eq=False)
class Generation:
    """What a generator makes of EEG; made by `check`.

    Attributes
    ----------
    name : str
        The run's.
    split : str
        With the warning of a split that cannot separate song from recording.
    encoder : str
        In whose embedding.
    table : pandas.DataFrame
        A row each for real EEG, its substitutes, the true training pictures as a reference, and of a diffusion what it plays
        without EEG: ``eeg``, ``n`` windows,
        ``similarity`` (mean over listeners), ``frechet`` (to the true test pictures), ``retrieval`` (within-song
        percentile); None where not defined.
    gaps : dict of str to stats.Paired or None
        Similarity under the real EEG less that under each substitute, paired over listeners; None where `notes` says why.
    sweep : pandas.DataFrame
        A row a guidance: ``guidance, similarity, frechet, retrieval, gap`` (to shuffled EEG) with ``low`` and ``high``.
        Empty for models without guidance.
    oracle : dict or None
        ``similarity, frechet, retrieval`` under the **true** music's embedding: no reconstruction.
    frechet : Frechet
        Of the real EEG's samples, with its caveat.
    memorisation : memorisation.Memorisation
    notes : dict of str to str
        What could not be computed, and why.
    """

    name: str
    split: str
    encoder: str
    table: pd.DataFrame
    gaps: dict
    sweep: pd.DataFrame
    oracle: dict | None
    frechet: Frechet
    memorisation: memorisation.Memorisation
    notes: dict

    @property
    def used(self):
        """Whether the condition is used: the interval of the gap to shuffled EEG is above 0; None where there is no gap."""
        told = self.gaps.get(TELLING)
        return None if told is None else bool(told.difference.low > 0)

    @property
    def sentence(self):
        """What follows, in one sentence."""
        if self.used is None:
            return "Not possible to say on this data whether the samples follow the EEG."
        if self.used:
            return "The samples follow the EEG: they are nearer to their targets than under EEG of another second."
        return "No evidence that the samples follow the EEG: EEG of another second would have done as well."

    def describe(self):
        """All of it as text, at most 76 columns wide."""
        lines = [wrapped(f"{self.name}; split {self.split}"), wrapped(self.sentence), ""]
        lines.append(f"{'samples under':<26}{'n':>7}{'similarity':>12}{'Fréchet':>10}{'retrieval':>11}")
        rows = self.table.to_dict("records")
        if self.oracle:
            rows.append({"eeg": "ORACLE: true music", "n": rows[0]["n"]} | self.oracle)
        for row in rows:
            cells = "".join(
                f"{number(row[c]):>{w}}" for c, w in (("similarity", 12), ("frechet", 10), ("retrieval", 11))
            )
            lines.append(f"{row['eeg']:<26}{row['n']:>7}{cells}")
        lines += ["", "conditioning-use gap, similarity under real EEG less that under:"]
        for name in SUBSTITUTES:
            told = self.gaps.get(name)
            lines.append(
                wrapped(f"  {name}: {told if told is not None else 'n/a, ' + self.notes.get(name, '')}", "      ")
            )
        if len(self.sweep):
            lines += ["", f"{'guidance':<10}{'similarity':>12}{'Fréchet':>10}{'retrieval':>11}{'gap to shuffled':>26}"]
            for row in self.sweep.to_dict("records"):
                between = "n/a" if row["gap"] is None else f"{row['gap']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
                lines.append(
                    f"{row['guidance']:<10g}{number(row['similarity']):>12}{number(row['frechet']):>10}"
                    f"{number(row['retrieval']):>11}{between:>26}"
                )
        lines.append("")
        for note in [
            f"similarity: mean cosine with the own target in the embedding of {self.encoder}; means over listeners",
            f"Fréchet: {self.frechet.n} samples against {self.frechet.n_reference} distinct true test pictures; "
            f"{self.frechet.caveat}",
            "retrieval: within-song percentile of centred pictures, chance .5 (eegviz evaluate)",
            "zero and noise are EEG that no training held; the gap to shuffled EEG is the one that tells",
            *([] if not self.oracle else ["ORACLE: told the embedding of the true music; no reconstruction from EEG"]),
            *(f"{name}: {why}" for name, why in self.notes.items() if name not in SUBSTITUTES),
        ]:
            lines.append(wrapped(note, "    "))
        return "\n".join([*lines, "", self.memorisation.describe()])


def check(run, *, windows=None, store=None, guidances=GUIDANCES, seed=0) -> Generation:
    """Ask a run whether its samples follow the EEG.

    Parameters
    ----------
    run : eegviz.runs.Run
        Complete, a regression run. Of one that is no diffusion, guidance and oracle are n/a.
    windows : Windows, optional
    store : Store, optional
        Those of the run, when they are at hand.
    guidances : sequence of float
        Of the sweep; each costs a pass over the test windows. Empty: no sweep.
    seed : int
        Of the noise EEG, of shuffling, and of the intervals.

    Returns
    -------
    Generation

    Raises
    ------
    ParameterError
        For a classifier.
    """
    if models.module(run.config["model"]["name"]).TASK != "regression":
        raise ParameterError(f"run {run.path.name} is a classifier: it draws no pictures. Choose a regression run.")
    opened = run.store() if store is None else store
    windows = run.windows(opened) if windows is None else windows
    split = run.split(windows)
    net = run.network()
    encoder, named = _encoder(net, windows, split)
    scorer = _Scorer(encoder, windows, split)
    other = controls.Substitute(run, windows, opened, seed=seed)
    order = {
        "shuffled": controls.shuffled(scorer.table, seed=seed),
        "other listener": controls.other_listener(scorer.table),
    }
    made = {REAL: run.predictions, "zero EEG": other.zero(len(scorer.table)), "noise EEG": other.noise(scorer.table)}
    rows, values, notes = [], {}, {}
    for name, pictures in made.items():
        row, values[name] = scorer.row(name, pictures)
        rows.append(row)
    for name, giver in order.items():
        there = giver >= 0
        if there.mean() < MIN_SHARE:
            notes[name] = "fewer than half of the test windows have it"
            continue
        row, values[name] = scorer.row(name, run.predictions, rows=np.flatnonzero(there), giver=giver[there])
        rows.append(row)
    gaps = {name: _gap(values, name, scorer.table, seed, notes) for name in SUBSTITUTES if name in values}
    rows.append({"eeg": "(true training pictures)", "n": scorer.n_training, "similarity": None,
                 "frechet": scorer.reference.distance, "retrieval": None})  # fmt: skip
    sweep, oracle = pd.DataFrame(), None
    if hasattr(net, "oracle"):
        draw = Samples(run, net, windows, split)
        rows.append(scorer.unasked("(no EEG, many noises)", draw.music(min(MUSIC, len(scorer.table)))))
        sweep = _sweep(draw, scorer, guidances, order[TELLING], seed)
        if net.config.music_share:
            row, _ = scorer.row("", draw.oracle())
            oracle = {key: row[key] for key in SCORES}
        else:
            notes["oracle"] = "the ControlNet was never told the music's own embedding (music_share=0)"
    else:
        notes["guidance and oracle"] = f"{run.config['model']['name']} has none"
    label = split.spec + ("" if split.can_separate else f" ({split.label})")
    table = pd.DataFrame(rows).astype(object)
    return Generation(
        run.name, label, named, table.where(table.notna(), None), gaps, sweep, oracle,
        scorer.frechet(run.predictions), memorisation.check(run, windows=windows), notes,
    )  # fmt: skip


def frechet(samples, reference) -> Frechet:
    """Fréchet distance of two samples of embeddings, as of the Gaussians that have their means and covariances.

    ``|μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)``.

    Parameters
    ----------
    samples, reference : array_like, shape (n, dim) and (m, dim)

    Returns
    -------
    Frechet

    Raises
    ------
    ParameterError
        For other shapes, or fewer than two samples.
    DataError
        For NaN or infinite values.

    References
    ----------
    Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X; as a score of generators: Heusel et al. 2017,
    https://doi.org/10.48550/arXiv.1706.08500, of music: Kilgour et al. 2019, doi:10.21437/Interspeech.2019-2219.

    Examples
    --------
    >>> a = np.random.default_rng(0).standard_normal((500, 3))
    >>> round(frechet(a, a + [1, 0, 0]).distance, 6)  # the same shape, one unit away
    1.0
    """
    samples, reference = (np.asarray(one, dtype=float) for one in (samples, reference))
    for name, one in (("samples", samples), ("reference", reference)):
        if one.ndim != 2 or len(one) < 2:
            raise ParameterError(f"{name} have shape {one.shape}, expected (n, dim) with n ≥ 2.")
        if not np.isfinite(one).all():
            raise DataError(f"{name} hold NaN or infinite values; look for a diverged training.")
    if samples.shape[1] != reference.shape[1]:
        raise ParameterError(f"samples have {samples.shape[1]} dimensions, the reference {reference.shape[1]}.")
    (m1, c1), (m2, c2) = ((one.mean(0), np.atleast_2d(np.cov(one.T))) for one in (samples, reference))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ c2 @ root).clip(0)).sum()
    distance = ((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * cross
    return Frechet(float(max(distance, 0.0)), len(samples), len(reference), samples.shape[1])


def similarity(samples, targets):
    """Cosine of each sample's embedding and its target's, ``(n,)``; 0 for one of length zero.

    Examples
    --------
    >>> similarity([[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [1.0, -1.0]]).round(6).tolist()
    [1.0, 0.0]
    """
    samples, targets = (np.asarray(one, dtype=float) for one in (samples, targets))
    if samples.shape != targets.shape or samples.ndim != 2:
        raise ParameterError(f"samples {samples.shape} and targets {targets.shape}: expected both (n, dim).")
    sizes = np.linalg.norm(samples, axis=1) * np.linalg.norm(targets, axis=1)
    return np.divide((samples * targets).sum(1), sizes, out=np.zeros(len(sizes)), where=sizes > 0)


def gap(real, substitute, table, *, seed=0) -> stats.Paired:
    """By how much similarities under the real EEG are above those under a substitute, paired over listeners.

    Parameters
    ----------
    real, substitute : array_like, shape (n,)
        Of each test window; NaN where a substitute has none. Windows without both are left out.
    table : pandas.DataFrame
        Test windows, with ``subject``.
    seed : int
        Of the bootstrap.

    Returns
    -------
    stats.Paired

    Raises
    ------
    ParameterError
        Fewer than two listeners have both.
    """
    frame = pd.DataFrame({"subject": table["subject"].to_numpy(str), "real": real, "other": substitute}).dropna()
    means = frame.groupby("subject")[["real", "other"]].mean()
    return stats.paired(means["real"].to_numpy(), means["other"].to_numpy(), seed=seed)


# --- helpers -----------------------------------------------------------------------------------------------------


class _Scorer:
    """Similarity, Fréchet distance and retrieval of pictures of the test windows."""

    def __init__(self, encoder, windows, split):
        self._encoder = encoder
        self.table = windows.table.iloc[split.test].reset_index(drop=True)
        self._target = windows.target(split.test)
        self.targets = self.embed(self._target)
        self._true = self.targets[self._distinct(self.table)]
        train = windows.table.iloc[split.train].reset_index(drop=True)
        rows = split.train[self._distinct(train)]
        training = np.concatenate(
            [self.embed(windows.target(part)) for part in np.array_split(rows, -(-len(rows) // BLOCK))]
        )
        self.n_training, self.reference = len(rows), frechet(training, self._true)

    @staticmethod
    def _distinct(table):
        """Positions of one window for each second of each song."""
        return np.flatnonzero(~table.duplicated(["stimulus", "second"]).to_numpy())

    def embed(self, pictures):
        with torch.inference_mode():
            blocks = (np.array(pictures[i : i + BLOCK], np.float32) for i in range(0, len(pictures), BLOCK))
            return np.concatenate([self._encoder.embed(torch.from_numpy(block)).double().numpy() for block in blocks])

    def frechet(self, pictures):
        return frechet(self.embed(pictures), self._true)

    def row(self, name, pictures, *, rows=None, giver=None):
        """A row of the table, and the similarity of every test window (NaN where it has none)."""
        rows = np.arange(len(self.table)) if rows is None else rows
        giver = rows if giver is None else giver
        pictures = np.asarray(pictures)[giver]
        embedded = self.embed(pictures)
        values = np.full(len(self.table), np.nan)
        values[rows] = similarity(embedded, self.targets[rows])
        table = self.table.iloc[rows]
        found = scoring.retrieval(pictures, self._target[rows], table)
        listener = table["subject"].to_numpy(str)
        return {
            "eeg": name, "n": len(rows), "similarity": _over_listeners(values[rows], listener),
            "frechet": frechet(embedded, self._true).distance,
            "retrieval": None if found is None else _over_listeners(found.percentile, listener),
        }, values  # fmt: skip

    def unasked(self, name, pictures):
        """A row of pictures that belong to no window: each is held against the target of some window."""
        embedded = self.embed(pictures)
        rows = np.linspace(0, len(self.table) - 1, len(pictures)).astype(int)
        like = similarity(embedded, self.targets[rows])
        return {
            "eeg": name, "n": len(pictures), "similarity": _over_listeners(like, self.table["subject"].to_numpy(str)[rows]),
            "frechet": frechet(embedded, self._true).distance, "retrieval": None,
        }  # fmt: skip


def _encoder(net, windows, split):
    """The frozen music encoder of a network, or one fitted on the same training side; and what to call it."""
    own = getattr(getattr(net, "alignment", net), "autoencoder", None)
    if own is not None:
        return copy.deepcopy(own), "the run's own music encoder"
    made = MelAutoencoder(windows.out_shape, **ENCODER)
    made.fit(sides.training_view(windows, split), epochs=ENCODER_EPOCHS, seed=0)
    return made, "a music encoder fitted on the training pictures"


def _sweep(draw, scorer, guidances, order, seed):
    """A row for each guidance; its gap is to the same samples in another order, whose EEG is of another second."""
    rows, there = [], order >= 0
    for guidance in guidances:
        pictures = draw.at(float(guidance))
        row, real = scorer.row("", pictures)
        told = None
        if there.mean() >= MIN_SHARE:
            _, other = scorer.row("", pictures, rows=np.flatnonzero(there), giver=order[there])
            told = _gap({REAL: real, TELLING: other}, TELLING, scorer.table, seed, {})
        between = dict.fromkeys(("gap", "low", "high"))
        if told is not None:
            between = {"gap": told.difference.estimate, "low": told.difference.low, "high": told.difference.high}
        rows.append({"guidance": float(guidance)} | {key: row[key] for key in SCORES} | between)
    table = pd.DataFrame(rows).astype(object)
    return table.where(table.notna(), None)


def _gap(values, name, table, seed, notes):
    try:
        return gap(values[REAL], values[name], table, seed=seed)
    except ParameterError as error:
        notes[name] = str(error)
        return None


def _over_listeners(values, listeners):
    return float(pd.Series(values).groupby(listeners).mean().mean())
