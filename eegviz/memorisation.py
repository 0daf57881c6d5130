"""Memorisation: is a predicted picture the picture of a training second? The nearest one beside each prediction.

Conventions
-----------
* Likeness is Pearson's correlation of flattened pictures, less the mean picture of the training seconds: what all music
  has in common makes nothing alike.
* Candidates are the true pictures of the distinct training seconds (stimulus, second), however many recordings of them
  there are. Validation seconds are none.
* A prediction is *nearer* to the training when another second of it is more like it than its own true picture.

How to read it
--------------
What a near training picture means depends on what the training knew (column ``known``):

- ``second``: the true second itself is in the training (another hearing, another listener, another condition). Then
  the nearest picture *should* be exactly that second: this is what a good decoder does, and no memorisation.
- ``song``: other seconds of the song are in the training. A nearest picture is another second by necessity;
  predictions that lie on one (likeness near 1) repeat the training.
- ``new``: the song is not in the training. Predictions that lie on a training picture are memorised.

Being nearer to *some* training picture is not yet memorisation: there are many of them and one truth, so that a
decoder that knows nothing is nearer in K/(K + 1) of the windows (``chance``). Memorised pictures are those that are
more like their nearest training picture than **true test pictures** are like theirs. The same is asked of the true
pictures, of the song mean, which never saw EEG, and of the predictions *centred*: less the mean prediction of their
recording, as in `eegviz.identification.retrieval`. A decoder whose predictions are all much alike, with a fault that
all share, has one nearest picture for all of them; what changes with the EEG is seen in the centred ones.

Functions: `check` (a run), `nearest` (any pictures of the test windows).
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz import scorecard
from eegviz._pictures import check_finite, unit
from eegviz.errors import ParameterError

BLOCK = 256  # pictures held at a time, of each kind
TIE = 1e-9  # of a correlation: nearer by less is rounding
WIDTH = 76  # columns of `Memorisation.describe`
KNOWN = {
    "second": (
        "the true second is in the training too (another hearing of the same music): a nearest picture that is exactly the "
        "true second is what a good decoder finds, and no memorisation"
    ),
    "song": (
        "other seconds of the song are in the training, the true one is not: a prediction that lies on a training "
        "picture repeats the training"
    ),
    "new": "the song is not in the training: a prediction that lies on a training picture is memorised",
}
SOURCES = ("predictions", "centred", "true pictures", "song mean")
_COLUMNS = ["recording", "subject", "stimulus", "condition", "second"]


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Nearest training seconds of a run's predictions; made by `check`.

    Attributes
    ----------
    spec : str
        The split.
    table : pandas.DataFrame
        A row a test window, as `nearest` returns it, of the predictions.
    summary : pandas.DataFrame
        A row for each ``known`` and ``source`` (`SOURCES`): ``n`` windows that count, ``nearest`` (mean likeness to
        the nearest training picture), ``own`` (to the true picture), ``nearer`` (share nearer to the training than to
        the truth) with ``low``, ``high`` and ``unit`` of its interval and its ``chance``, ``same_song`` and
        ``same_second`` (shares of the nearest) with ``chance_song`` and ``chance_second``; ``note`` says why something
        is None. Means are over listeners.
    n_candidates : int
        Distinct training seconds.
    """

    spec: str
    table: pd.DataFrame
    summary: pd.DataFrame
    n_candidates: int

    @property
    def cases(self):
        """Which reading applies to how many of the test windows: a list of str."""
        counts = self.table["known"].value_counts()
        return [
            f"{counts[known]} of {len(self.table)} test windows: {KNOWN[known]}." for known in KNOWN if known in counts
        ]

    def describe(self):
        """Cases and summary as text, at most 76 columns wide."""
        head = f"Nearest of {self.n_candidates} training seconds, split {self.spec}"
        lines = textwrap.wrap(head, WIDTH)
        for case in self.cases:
            lines += textwrap.wrap(case, WIDTH, subsequent_indent="    ")
        lines.append(
            f"{'known':<7}{'pictures':<15}{'n':>6}{'nearest':>9}{'own':>7}{'nearer':>8}{'chance':>8}{'song':>7}{'second':>8}"
        )
        for row in self.summary.to_dict("records"):
            cells = [("nearest", 9), ("own", 7), ("nearer", 8), ("chance", 8), ("same_song", 7), ("same_second", 8)]
            told = "".join(f"{'n/a' if row[c] is None else f'{row[c]:.3f}':>{width}}" for c, width in cells)
            lines.append(f"{row['known']:<7}{row['source']:<15}{row['n']:>6}{told}")
        notes = dict.fromkeys(
            f"{row['source']}: {row['note']}" for row in self.summary.to_dict("records") if row["note"]
        )
        for note in [
            *notes,
            "nearest, own: mean correlation with the nearest training picture and with the true one, less the "
            "training's mean picture",
            "centred: predictions less the mean prediction of their recording",
            "nearer: share of windows with another training second more alike than the truth; chance: knowing nothing",
            "song, second: share whose nearest is of the same song, and exactly the true second",
        ]:
            lines += textwrap.wrap(note, WIDTH, subsequent_indent="    ")
        return "\n".join(lines)


def check(run, *, windows=None) -> Memorisation:
    """Compare a run's test predictions with the training pictures.

    Parameters
    ----------
    run : eegviz.runs.Run
        Complete, a regression run.
    windows : Windows, optional
        Those of the run, when they are at hand.

    Returns
    -------
    Memorisation

    Raises
    ------
    ParameterError
        For a classifier, or predictions that do not fit the test windows.
    DataError
        For NaN or infinite predictions.
    """
    if run.config["model"]["name"] == "classifier":
        raise ParameterError(f"run {run.path.name} is a classifier: it predicts no pictures. Choose a regression run.")
    windows = run.windows() if windows is None else windows
    split = run.split(windows)
    _check_shape(np.shape(run.predictions), windows, split)
    candidates = _Candidates(windows, split)
    test = windows.table.iloc[split.test].reset_index(drop=True)
    found = {
        "predictions": _nearest(_reader(run.predictions), windows, split, candidates),
        "centred": _nearest(_centred(run.predictions, test, candidates.mean), windows, split, candidates),
        "true pictures": _nearest(lambda rows: windows.target(split.test[rows]), windows, split, candidates),
    }
    if set(test["stimulus"]) & set(candidates.stimuli):
        means = candidates.song_means(sorted(set(test["stimulus"])))
        songs = test["stimulus"].to_numpy(str)
        found["song mean"] = _nearest(
            lambda rows: np.stack([means[s] for s in songs[rows]]), windows, split, candidates
        )
    rows = [
        _row(known, source, found.get(source), candidates)
        for known in KNOWN
        if (found["predictions"]["known"] == known).any()
        for source in SOURCES
    ]
    summary = pd.DataFrame(rows).astype(object)
    return Memorisation(split.spec, found["predictions"], summary.where(summary.notna(), None), len(candidates.seconds))


def nearest(pictures, windows, split) -> pd.DataFrame:
    """The training second that each picture of a test window is most like.

    Parameters
    ----------
    pictures : ndarray, shape (n_test, n_frames, n_bins)
        In the order of ``split.test``; may be memory-mapped.
    windows : Windows
    split : Split

    Returns
    -------
    pandas.DataFrame
        A row a test window: ``recording, subject, stimulus, condition, second``; ``known`` ("second", "song" or "new",
        see `KNOWN`); ``nearest_stimulus``, ``nearest_second`` and ``similarity``, the nearest training second and the
        likeness to it; ``own``, the likeness to the true picture; ``same_song``, ``same_second``, ``nearer``. A
        picture that is nothing but the training's mean is like nothing: its nearest is "" and -1, its likeness NaN.

    Raises
    ------
    ParameterError
        When the pictures do not fit the test windows.
    DataError
        For NaN or infinite values.
    """
    _check_shape(np.shape(pictures), windows, split)
    return _nearest(_reader(pictures), windows, split, _Candidates(windows, split))


# --- helpers -----------------------------------------------------------------------------------------------------


def _check_shape(shape, windows, split):
    wanted = (len(split.test), *windows.out_shape)
    if shape != wanted:
        raise ParameterError(f"the pictures have shape {shape}, the test windows {wanted}.")


class _Candidates:
    """The distinct training seconds: who they are, and their true pictures in blocks."""

    def __init__(self, windows, split):
        train = windows.table.iloc[split.train][["stimulus", "second"]].drop_duplicates()
        train = train.sort_values(["stimulus", "second"], ignore_index=True)
        self.stimuli, self.seconds = train["stimulus"].to_numpy(str), train["second"].to_numpy(int)
        self._windows = windows
        self.place = {key: i for i, key in enumerate(zip(self.stimuli.tolist(), self.seconds.tolist(), strict=True))}
        self.mean = sum(block.sum(0) for _, block in self.blocks()) / len(self.seconds)

    def blocks(self, size=BLOCK):
        """(positions, pictures as float64 (n, n_frames · n_bins))."""
        for first in range(0, len(self.seconds), size):
            rows = np.arange(first, min(first + size, len(self.seconds)))
            out = np.empty((len(rows), int(np.prod(self._windows.out_shape))))
            for stimulus in np.unique(self.stimuli[rows]):
                here = self.stimuli[rows] == stimulus
                out[here] = self._windows.picture(stimulus, self.seconds[rows[here]]).reshape(here.sum(), -1)
            yield rows, out

    def song_means(self, songs):
        """Mean training picture of each song, the training's mean where there is none: ``(n_frames · n_bins,)``."""
        total = dict.fromkeys(songs, (0.0, 0))
        for rows, block in self.blocks():
            for song in set(self.stimuli[rows]) & total.keys():
                here = self.stimuli[rows] == song
                total[song] = total[song][0] + block[here].sum(0), total[song][1] + here.sum()
        return {song: sum_ / n if n else self.mean for song, (sum_, n) in total.items()}


def _reader(pictures):
    def read(rows):
        block = np.asarray(pictures[rows], float)
        check_finite(block, 0, "prediction", rows)
        return block

    return read


def _centred(predictions, test, mean):
    """Predictions with the mean of the training in place of that of their recording."""
    read, recordings = _reader(predictions), test["recording"].to_numpy(str)
    own = {}
    for recording, rows in test.groupby("recording").indices.items():
        blocks = np.array_split(rows, -(-len(rows) // BLOCK))
        own[recording] = sum(read(block).sum(0) for block in blocks) / len(rows) - mean.reshape(predictions.shape[1:])
    return lambda rows: read(rows) - np.stack([own[name] for name in recordings[rows]])


def _nearest(read, windows, split, candidates):
    table = windows.table.iloc[split.test].reset_index(drop=True)[_COLUMNS]
    n = len(table)
    keys = list(zip(table["stimulus"], table["second"].astype(int), strict=True))
    own_place = np.array([candidates.place.get(key, -1) for key in keys])
    songs = set(candidates.stimuli)
    known = np.where(own_place >= 0, "second", np.where(table["stimulus"].isin(songs), "song", "new"))
    best, place, other, own = np.full(n, -np.inf), np.full(n, -1), np.full(n, -np.inf), np.zeros(n)
    alive = np.zeros(n, bool)
    for first in range(0, n, BLOCK):
        rows = np.arange(first, min(first + BLOCK, n))
        mine = unit(read(rows).reshape(len(rows), -1), candidates.mean)
        true = unit(windows.target(split.test[rows]).astype(float).reshape(len(rows), -1), candidates.mean)
        own[rows], alive[rows] = (mine * true).sum(1), mine.any(1)
        for positions, block in candidates.blocks():
            like = mine @ unit(block, candidates.mean).T
            _keep_largest(like, positions, rows, best, place)
            like[own_place[rows, None] == positions] = -np.inf  # what is left: other seconds
            np.maximum.at(other, rows, like.max(1))
    exact = (own_place >= 0) & (best - own <= TIE)  # its own second, whatever else is alike
    place[exact] = own_place[exact]
    place[~alive] = -1
    there = place >= 0
    return table.assign(
        known=known,
        nearest_stimulus=np.where(there, candidates.stimuli[place], ""),
        nearest_second=np.where(there, candidates.seconds[place], -1),
        similarity=np.where(there, best, np.nan),
        own=np.where(there, own, np.nan),
        same_song=there & (candidates.stimuli[place] == table["stimulus"].to_numpy(str)),
        same_second=there & (place == own_place),
        nearer=there & (other > own + TIE),
    )


def _keep_largest(like, positions, rows, best, place):
    column = like.argmax(1)
    value = like[np.arange(len(rows)), column]
    larger = value > best[rows]
    best[rows[larger]], place[rows[larger]] = value[larger], positions[column[larger]]


def _row(known, source, found, candidates):
    columns = (
        "nearest",
        "own",
        "nearer",
        "low",
        "high",
        "chance",
        "same_song",
        "same_second",
        "chance_song",
        "chance_second",
    )
    row = {"known": known, "source": source, "n": 0} | dict.fromkeys(columns) | {"unit": "", "note": ""}
    if found is None or (source == "song mean" and known == "new"):
        return row | {
            "note": "no test song is in the training" if found is None else "an unseen song has no mean in the training"
        }
    mine = found[found["known"] == known]
    there = mine[mine["nearest_stimulus"] != ""]
    k = len(candidates.seconds)
    others = k - (known == "second")
    if len(there) < len(mine):
        row["note"] = f"{len(mine) - len(there)} windows are left out: nothing but the mean picture of the training"
    if not len(there):
        return row
    nearer = scorecard.interval(there["nearer"].to_numpy(float), there)
    means = there.groupby("subject")[["similarity", "own", "same_song", "same_second"]].mean().mean()
    share = pd.Series(candidates.stimuli).value_counts(normalize=True)
    return row | {
        "n": len(there),
        "nearest": float(means["similarity"]),
        "own": float(means["own"]),
        "nearer": float(nearer.estimate),
        "low": scorecard.finite(nearer.low),
        "high": scorecard.finite(nearer.high),
        "unit": f"{nearer.n_groups} {nearer.unit}",
        "chance": others / (others + 1),
        "same_song": float(means["same_song"]),
        "same_second": float(means["same_second"]),
        "chance_song": float(share.reindex(there["stimulus"]).fillna(0).mean()),
        "chance_second": 1 / k if known == "second" else 0.0,
    }
