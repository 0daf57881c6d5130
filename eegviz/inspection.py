"""Looking into a run: its losses up to an epoch, and one held-out window beside what was drawn of it.

Functions: `history` (epochs and losses), `held_out` (one test window: pictures, sounds, score), `n_held_out`.

`eegviz.widgets.run_explorer` shows them; a score stands with its chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eegviz import features, inversion, levels, reconstruction
from eegviz.errors import ParameterError

LOSSES = ("train_loss", "validation_loss")
CHANCE = 0.5  # of the retrieval percentile


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One test window of a run, true and drawn.

    Attributes
    ----------
    recording, subject, stimulus : str
    second : int
        In which the window begins.
    true, drawn : np.ndarray [shape=(n_frames, n_bins)]
        Normalised spectrograms.
    true_sound, drawn_sound : np.ndarray [shape=(n_samples,)]
        The stimulus itself, and the drawn picture as sound at `ref_db`.
    sr : int
        Hertz.
    ref_db : float
    score : float or None
        Retrieval percentile of this window, `CHANCE` by chance; None where the run was not scored.
    """

    recording: str
    subject: str
    stimulus: str
    second: int
    true: np.ndarray = field(repr=False)
    drawn: np.ndarray = field(repr=False)
    true_sound: np.ndarray = field(repr=False)
    drawn_sound: np.ndarray = field(repr=False)
    sr: int
    ref_db: float
    score: float | None = None

    def describe(self):
        """One line: what it is, and its score with chance."""
        score = "not scored" if self.score is None else f"retrieval {self.score:.2f} (chance {CHANCE:.2f}, one window)"
        return (
            f"test second {self.second} of {self.stimulus}, heard by {self.subject} ({self.recording}); {score}; "
            f"ref dB {self.ref_db:g}"
        )


def history(run) -> pd.DataFrame:
    """Epoch and losses of a run: the columns ``epoch``, ``train_loss`` and, where it was measured, ``validation_loss``."""
    table = run.history
    there = [name for name in LOSSES if name in table and table[name].notna().any()]
    return table[["epoch", *there]]


def n_held_out(run) -> int:
    """How many test windows a run has predictions for."""
    _check(run)
    return len(run.predictions)


def held_out(run, index, *, windows=None, split=None, store=None, seed=0) -> HeldOut:
    """The test window at a position of the run's test side.

    Parameters
    ----------
    run : Run
        A regression run.
    index : int
        0 to ``n_held_out(run) - 1``.
    windows, split, store : optional
        Those of the run, when they are at hand.
    seed : int
        Of the phase.

    Returns
    -------
    HeldOut

    Raises
    ------
    ParameterError
        A classifier, or a position that is not there.
    """
    n = n_held_out(run)
    if isinstance(index, bool) or int(index) != index or not 0 <= index < n:
        raise ParameterError(f"run {run.path.name} has test windows 0 to {n - 1}; found {index!r}.")
    opened = run.store() if store is None else store
    windows = run.windows(opened) if windows is None else windows
    split = run.split(windows) if split is None else split
    position = int(split.test[int(index)])
    row = windows.table.iloc[position]
    settings, song, second = windows.settings, str(row["stimulus"]), int(row["second"])
    level = levels.of(run, song) or levels.Level(
        features.ref_db_of(settings["ref_db"], song), max_db=settings["max_db"], chosen="that of training"
    )
    drawn = np.array(run.predictions[int(index)], np.float32)
    seconds = drawn.reshape(windows.duration, -1, drawn.shape[-1])
    sound = inversion.reconstruct(
        seconds, audio=settings["audio"], ref_db=level.ref_db, max_db=level.max_db, n_iter=level.n_iter, seed=seed
    )
    true_sound, _ = reconstruction.original(run, song, start=second, duration=windows.duration, opened=opened)
    return HeldOut(
        str(row["recording"]), str(row["subject"]), song, second, windows.target([position])[0], drawn, true_sound, sound,
        features.SR, float(level.ref_db), _score(run, row),
    )  # fmt: skip


def _score(run, row):
    if not (run.path / "scores.csv").exists() or "retrieval" not in run.scores:
        return None
    scores = run.scores
    own = scores[(scores["recording"] == str(row["recording"])) & (scores["second"] == row["second"])]
    return float(own["retrieval"].iloc[0]) if len(own) else None


def _check(run):
    if run.config["model"]["name"] == "classifier":
        raise ParameterError(
            f"run {run.path.name} is a classifier: it names songs and draws no spectrogram. Choose a regression run."
        )
