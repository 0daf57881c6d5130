"""What Hits@k of a run asks: segments, their true chords, candidates, and the likeness of pictures (for `eegviz.hits`)."""

from __future__ import annotations

import numpy as np

from eegviz import _checks, chords, windowing
from eegviz._hit_ranks import SEGMENT, Segments, candidates, hit_values, pool, ranks, scores, segments
from eegviz.errors import ParameterError

_BLOCK = 64  # windows read at a time


def question(opened, windows, split, what, segment, step, n_distractors, transposed, scoring, seed):
    """Test segments that have chords, the training's progressions, what is ranked, and how many segments were left out."""
    duration = windows.duration
    seconds = _checks.count(segment if segment is not None else (duration if duration > 1 else SEGMENT), "segment")
    if abs(seconds / step - round(seconds / step)) > 1e-9:
        raise ParameterError(f"a segment of {seconds} s does not hold whole steps of {step:g} s.")
    found = segments(windows.table.iloc[split.test].reset_index(drop=True), seconds=seconds, duration=duration)
    truth = _Truth(opened, windows, step, seconds)
    true = truth.of(found.table)
    kept = (true != chords.NONE).any(1)
    if not kept.any():
        raise ParameterError(f"none of the {len(found)} test segments has a chord: there is no progression to find.")
    known = truth.of(_training(windows, split, seconds, duration).table)
    found = Segments(found.table[kept].reset_index(drop=True), found.rows[kept], seconds)
    task = Task(found, true[kept], known, what, scoring, n_distractors, transposed, seed, step)
    return found, known, task, int((~kept).sum())


class _Truth:
    """Chords of the true sounds, each stimulus once; kept beside its spectrogram."""

    def __init__(self, opened, windows, step, seconds):
        self._store, self._sounds, self._step, self._seconds, self._known = opened, windows.sounds, step, seconds, {}

    def of(self, table):
        """Progressions of segments: (n, n_steps)."""
        n = round(self._seconds / self._step)
        firsts = np.rint(table["second"].to_numpy() / self._step).astype(int)
        return np.stack(
            [self._stimulus(name)[first : first + n] for name, first in zip(table["stimulus"], firsts, strict=True)]
        )

    def _stimulus(self, name):
        def make():
            sound, sr = self._store.audio(name)
            return chords.sound_progression(sound, sr=sr, step=self._step)

        if name not in self._known:
            made_of = {"step": float(self._step), "chords": chords.FORMAT}
            found = windowing.kept("chords", made_of, make, beside=self._sounds[name])
            self._known[name] = found.astype(int)
        return self._known[name]


def _training(windows, split, seconds, duration):
    """The distinct training segments: one for each (stimulus, second)."""
    train = windows.table.iloc[split.train].drop_duplicates(["stimulus", "second"])
    train = train.assign(recording=train["stimulus"]).reset_index(drop=True)  # seconds of any hearing make a segment
    try:
        return segments(train, seconds=seconds, duration=duration)
    except ParameterError as error:
        raise ParameterError(f"the training side has no segment to draw distractors from: {error}") from None


class Likeness:
    """Pictures of windows → likeness of segments to the 25 chords, (n, n_steps, 25)."""

    def __init__(self, windows, step, scoring):
        self._settings, self._step, self._scoring = windows.settings, step, scoring

    def of(self, read, rows):
        """`read`: positions → pictures; `rows`: positions (n, n_windows) of each segment's windows."""
        n_windows = rows.shape[1]
        each = max(1, _BLOCK // n_windows)
        blocks = [rows[i : i + each] for i in range(0, len(rows), each)]
        return np.concatenate([self.pictures(read(block.ravel()), n_windows) for block in blocks])

    def constant(self, picture, shape):
        """Of one picture of a window that stands for all; `shape`: segments and windows of each."""
        return np.repeat(self.pictures(np.stack([picture] * shape[1]), shape[1]), shape[0], axis=0)

    def pictures(self, pictures, n_windows):
        """Of pictures that are at hand, `n_windows` for each segment."""
        pictures = np.asarray(pictures, np.float32)
        joined = pictures.reshape(-1, n_windows * pictures.shape[1], pictures.shape[2])
        chroma = chords.picture_chroma(
            joined, kind=self._settings["audio"], step=self._step, max_db=self._settings["max_db"]
        )
        like = chords.likeness(chroma)
        return like if self._scoring == "cosine" else chords.log_probability(like)


class Task:
    """What is ranked: items with their true chords and candidates, one item a segment, or one a step."""

    def __init__(self, found, true, known, what, scoring, n_distractors, transposed, seed, step):
        self.what, self.n_left_out = what, 0
        if what == "progressions":
            drawn_from = pool(known, transposed=transposed)
            self.table, self.true, self.n_pool = found.table, true, len(drawn_from)
            self.candidates = candidates(true, drawn_from, n_distractors=n_distractors, seed=seed)
            self._keep = None
        else:
            n_steps = true.shape[1]
            self._keep = true.ravel() != chords.NONE
            self.n_left_out, self.n_pool = int((~self._keep).sum()), chords.NONE + 1
            table = found.table.loc[found.table.index.repeat(n_steps)].reset_index(drop=True)
            table["second"] = table["second"] + np.tile(np.arange(n_steps) * step, len(true))
            self.table, self.true = table[self._keep].reset_index(drop=True), true.ravel()[self._keep][:, None]
            others = (self.true + np.arange(25)) % 25  # the true one first, then all others
            self.candidates = others[:, :, None]
        self.seconds = found.seconds if what == "progressions" else step
        self.scoring = scoring

    @property
    def n_candidates(self):
        return self.candidates.shape[1]

    def items(self, like):
        """Likeness of segments (n, n_steps, 25) as that of items."""
        return like if self._keep is None else like.reshape(-1, 1, 25)[self._keep]

    def values(self, like, ks):
        """Expected hits (n, len(ks)); NaN where the likeness is."""
        like = self.items(like)
        there = np.isfinite(like).all(axis=(1, 2))
        out = np.full((len(like), len(ks)), np.nan)
        if there.any():
            place = ranks(scores(like[there], self.candidates[there]))
            out[there] = hit_values(place.rank, ks, self.n_candidates, tied=place.tied)
        return out
