"""Small simulated data sets with a known answer, and the fast decoder that scores them (for `eegviz.calibration`).

One set: four listeners hear four excerpts twice each, 30 s a hearing (32 recordings, 960 windows). Excerpts, listeners
and noise differ from set to set; the music is rendered once. What is true of a set is known: with coupling 0 nothing of
the music is in the EEG.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from eegviz import (
    controls,
    features,
    identification,
    music,
    nulls,
    scorecard,
    scoring,
    sides,
    simulate,
    splits,
    stats,
    verdict,
)  # fmt: skip
from eegviz.models import lagged

HONEST = {"repeat": "repeat", "subject": "subject:25", "song": "song:25", "subject_song": "subject_song:50/50"}
LEAKY = {"random": "random:70/10/20", "interleaved": "interleaved:4", "blocked": "blocked:25"}
UNSEEN = ("song", "subject_song")  # their test songs are not in the training: a classifier of songs cannot name them

N_LISTENERS, N_SONGS, N_HEARINGS, SECONDS = 4, 4, 2, 30
POOL = ("song22", "song25", "song27", "song28", "song30")  # pieces that begin within seconds; our choice
PIECE_SECONDS = 48  # of which a set takes 30 in a row
SFREQ = 64.0  # Hz; enough for the evoked response, which is what the fast decoder uses
CHANNELS = simulate.NMED_CHANNELS[::5]  # 25 of the 125
CHANNELS_LEAK = simulate.NMED_CHANNELS[::2]  # 63: more channels tell recordings apart better
DRIFT = 0.1  # root-mean-square relative deviation of each channel's gain, in each recording
RISE = 0.5  # by which the gain of every recording has grown at its end, where all of them change slowly
BUILD_UP = 0.3  # of the pictures' range, by which the highest band has meanwhile come in
BAND = (0.5, 15.0)  # Hz
LAGS = np.arange(0, 28, 4)  # samples: 0 to .375 s
GAP = 2.0  # seconds between the sides: one window, the longest lag, and room for the filter
N_FRAMES, N_BANDS = 11, 16  # of the coarse pictures: means of 4 mel frames and 8 mel bins
ALPHAS = tuple(10.0**k for k in range(-2, 4))
ALPHA_POWER = 0.01  # of the classifier of log power, whose columns have variance 1


@dataclass(frozen=True, eq=False)
class Material:
    """What all sets share: drives and coarse pictures of the pieces, and the head models by their channels."""

    drives: dict
    pictures: dict
    heads: dict


@dataclass(frozen=True, eq=False)
class SimulatedSet:
    """Windows of one set, as `eegviz.sides.training_view` reads them.

    ``eeg`` is (n_recordings, n_channels, n_times) in microvolts; ``table`` has one row a window.
    """

    table: pd.DataFrame
    eeg: np.ndarray
    truth: np.ndarray

    def pictures(self, index):
        """Windows of EEG, (n, n_channels, n_times), microvolts."""
        n_recordings, n_channels, _ = self.eeg.shape
        seconds = self.eeg.reshape(n_recordings, n_channels, SECONDS, -1).swapaxes(1, 2)
        return seconds.reshape(n_recordings * SECONDS, n_channels, -1)[index]

    def target(self, index):
        """Coarse normalised mel pictures, (n, 11, 16)."""
        return self.truth[index]


def material() -> Material:
    """Render the pieces and make the head models (about 3 s)."""
    drives, pictures = {}, {}
    for name in POOL:
        sound = music.piece(name, duration=PIECE_SECONDS, sr=features.SR)
        power = features.spectrogram(sound.reshape(PIECE_SECONDS, features.SR))
        fine = features.normalise(features.to_db(power))
        parts = (PIECE_SECONDS, N_FRAMES, features.N_FRAMES // N_FRAMES, N_BANDS, features.N_MELS // N_BANDS)
        pictures[name] = fine.reshape(parts).mean(axis=(2, 4))
        drives[name] = simulate.drive(sound, features.SR, sfreq=SFREQ)
    heads = {names: simulate.head(names) for names in (CHANNELS, CHANNELS_LEAK)}
    return Material(drives, pictures, heads)


def seed_of(seed, *parts) -> int:
    """A seed of its own for every set and purpose."""
    words = [zlib.crc32(str(part).encode()) for part in parts]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1)[0])


def make(shared: Material, seed, *, coupling=0.0, drift=0.0, channels=CHANNELS) -> SimulatedSet:
    """Simulate one set; the same seed gives the same excerpts, listeners and noise at any coupling."""
    rng = np.random.default_rng(seed)
    songs = [POOL[i] for i in rng.choice(len(POOL), N_SONGS, replace=False)]
    starts = rng.integers(PIECE_SECONDS - SECONDS + 1, size=N_SONGS).tolist()
    dials = simulate.Dials(coupling=coupling, drift=drift)
    rows, eeg, truth = [], [], []
    for listener in simulate.listeners(N_LISTENERS, seed=seed):
        for song, start in zip(songs, starts, strict=True):
            drive = _excerpt(shared.drives[song], start)
            for hearing in range(1, N_HEARINGS + 1):
                one = simulate.respond(
                    drive,
                    listener,
                    hearing=hearing,
                    stimulus=song,
                    seed=seed,
                    dials=dials,
                    model=shared.heads[channels],
                )
                eeg.append(one * np.float32(features.MICROVOLT))
                truth.append(shared.pictures[song][start : start + SECONDS])
                name = f"{listener.id}_{song}_r{hearing}"
                rows.append((name, listener.id, song, hearing, f"{listener.id}{hearing}"))
    table = pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "repeat", "session"])
    table = table.loc[table.index.repeat(SECONDS)].reset_index(drop=True)
    table["second"] = np.tile(np.arange(SECONDS), len(rows))
    return SimulatedSet(table, np.stack(eeg), np.concatenate(truth))


def _excerpt(drive, start):
    part = slice(round(start * SFREQ), round((start + SECONDS) * SFREQ))
    fields = (drive.onset, drive.level, drive.loudness, drive.brightness)
    return simulate.Drive(drive.sfreq, *(field[..., part] for field in fields))


def lagged_eeg(made: SimulatedSet) -> np.ndarray:
    """Band-passed EEG of 25 channels at the frame times and after: (n_windows, 11, n_channels · n_lags), float32."""
    import scipy.signal

    some = np.linspace(0, made.eeg.shape[1] - 1, len(CHANNELS)).round().astype(int)
    sections = scipy.signal.butter(2, BAND, "bandpass", fs=SFREQ, output="sos")
    filtered = scipy.signal.sosfiltfilt(sections, made.eeg[:, some], axis=-1)
    padded = np.pad(filtered, ((0, 0), (0, 0), (0, int(LAGS[-1]) + 1)))  # after the end: zero, its mean
    group = features.N_FRAMES // N_FRAMES
    middle = (group * np.arange(N_FRAMES) + (group - 1) / 2) * features.HOP_LENGTH / features.SR
    at = np.rint((np.arange(SECONDS)[:, None] + middle) * SFREQ).astype(int)
    lagged_at = at[..., None] + LAGS
    seen = padded[:, :, lagged_at].transpose(0, 2, 3, 1, 4)
    return np.ascontiguousarray(seen.reshape(len(made.table), N_FRAMES, -1), dtype=np.float32)


def fit_decoder(view, validation_x, validation_y):
    """Ridge from lagged EEG to the bands of a frame; the penalty is the best of a grid on the validation side.

    Returns
    -------
    predict : callable
        Lagged EEG (n, 11, p) → pictures (n, 11, 16).
    """
    view = sides.only_training(view, "the linear decoder")
    every = np.arange(len(view))
    x, y = view.pictures(every), view.targets(every)
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    mean, scale = x.mean(axis=0), x.std(axis=0)
    sums = lagged.Sums.of((x - mean) / scale, y)
    held = (validation_x - mean) / scale
    best = None
    for weights in lagged.path(sums, ALPHAS):
        intercept = (sums.y - sums.x @ weights) / sums.n
        error = float(np.mean((held @ weights + intercept - validation_y) ** 2))
        if best is None or error <= best[0]:  # of equals the larger penalty
            best = error, weights, intercept
    _, weights, intercept = best
    return lambda seen: ((seen - mean) / scale) @ weights + intercept


def fit_song_classifier(view):
    """Linear classifier of songs from the EEG's log power in each channel, by ridge regression to class indicators.

    Returns
    -------
    name : callable
        Windows of EEG (n, n_channels, n_times) → songs (n,).
    """
    view = sides.only_training(view, "the classifier of songs")
    every = np.arange(len(view))
    power = log_power(view.pictures(every))
    songs, code = np.unique(view.targets(every), return_inverse=True)
    mean, scale = power.mean(axis=0), power.std(axis=0)
    weights, intercept = lagged.solve(lagged.Sums.of((power - mean) / scale, np.eye(len(songs))[code]), ALPHA_POWER)
    return lambda eeg: songs[((log_power(eeg) - mean) / scale @ weights + intercept).argmax(axis=1)]


def log_power(eeg):
    """Logarithm of each channel's variance in each window, (n, n_channels)."""
    return np.log(eeg.var(axis=-1, dtype=np.float64))


def retrieval(made, seen, split, *, n_permutations, seed):
    """Retrieval percentile of the decoder on the test side, and its permutation p (None without permutations)."""
    view = sides.training_view(made, split, pictures=lambda positions: seen[split.train[positions]])
    predict = fit_decoder(view, seen[split.validation], made.target(split.validation))
    test = made.table.iloc[split.test].reset_index(drop=True)
    found = identification.retrieval(
        predict(seen[split.test]), made.target(split.test),
        recordings=test["recording"], songs=test["stimulus"], seconds=test["second"],
    )  # fmt: skip
    score = nulls.listener_mean(found.percentile, test["subject"])
    if not n_permutations:
        return score, None
    orders = nulls.orders(test, n=n_permutations, seed=seed)
    return score, stats.permutation_p(score, nulls.retrieval(found, orders, test["subject"]))


def score_honest(shared, number, *, seed, coupling, n_permutations) -> list[dict]:
    """Score one set under the four honest protocols: rows set, coupling, protocol, score, p, n."""
    own = seed_of(seed, "set", number)
    made = make(shared, own, coupling=coupling)
    seen = lagged_eeg(made)
    rows = []
    for name, spec in HONEST.items():
        split = splits.split(made.table, spec, seed=own, gap=GAP)
        score, p = retrieval(made, seen, split, n_permutations=n_permutations, seed=seed_of(own, name))
        rows.append(
            {"set": number, "coupling": coupling, "protocol": name, "score": score, "p": p, "n": len(split.test)}
        )
    return rows


def score_leak(shared, number, *, seed) -> list[dict]:
    """Score one set with drift and without coupling under all seven protocols.

    Every listener and every hearing is left out in turn, and the folds are pooled: one listener has few recordings.
    """
    own = seed_of(seed, "leak", number)
    made = make(shared, own, drift=DRIFT, channels=CHANNELS_LEAK)
    seen = lagged_eeg(made)
    songs = made.table["stimulus"].to_numpy()
    rows = []
    for name, spec in {**LEAKY, **HONEST}.items():
        if name in ("repeat", "subject"):
            parts = splits.folds(made.table, name, seed=own, gap=GAP)
        else:
            parts = [splits.split(made.table, spec, seed=own, gap=GAP)]
        test = np.concatenate([part.test for part in parts])
        sizes = [len(part.test) for part in parts]
        found = [retrieval(made, seen, part, n_permutations=0, seed=own)[0] for part in parts]
        row = {"set": number, "protocol": name, "label": parts[0].label, "can_separate": parts[0].can_separate}
        row |= {"accuracy": np.nan, "votes": np.nan, "kappa": np.nan, "chance": np.nan}
        row |= {"retrieval": float(np.average(found, weights=sizes)), "n": len(test)}
        row["n_recordings"] = made.table["recording"].iloc[test].nunique()
        if name not in UNSEEN:
            named = np.concatenate([_named(made, songs, part) for part in parts])
            row["accuracy"] = identification.accuracy(named, songs[test])
            row["kappa"] = identification.kappa(named, songs[test])
            row["chance"] = 1 / len(set(songs))
            row["votes"] = _votes(named, songs[test], made.table["recording"].to_numpy()[test])
        rows.append(row)
    return rows


def score_slow(shared, number, *, seed) -> list[dict]:
    """Judge one null set that changes slowly, alike in all recordings: rows set, protocol, score, p, away, four, contributed.

    The gain of every recording rises, the music builds up, nothing of the music is in the EEG, and a ridge regression from
    the EEG's log power finds the time. ``four`` says whether the first four conditions of `eegviz.verdict` hold,
    ``contributed`` whether all do; ``away`` is the mean score with EEG from some seconds away.
    """
    own = seed_of(seed, "slow", number)
    made = _changing(make(shared, own))
    power = np.repeat(log_power(made.pictures(np.arange(len(made.table))))[:, None], N_FRAMES, axis=1)
    rows = []
    for name, spec in HONEST.items():
        split = splits.split(made.table, spec, seed=own, gap=GAP)
        view = sides.training_view(made, split, pictures=lambda positions, split=split: power[split.train[positions]])
        predict = fit_decoder(view, power[split.validation], made.target(split.validation))
        test = made.table.iloc[split.test].reset_index(drop=True)
        which = scoring.WhichSecond.of(predict(power[split.test]), made.target(split.test), test)
        every = np.arange(len(test))
        row = scorecard.row(
            "retrieval", which.scores()["retrieval"], test, chance=0.5, p=scorecard.p_values(test, found=which.found)
        )
        moved = which.scores_of(controls.shuffled(test), every)["retrieval"]
        shifts = which.shifts(test)
        judged = verdict.decide(
            row, [scorecard.control("shuffled", moved, test)], shifts=shifts, can_separate=True, label=split.label
        )
        holds = [reason["holds"] for reason in judged["reasons"]]
        away = np.mean([s["score"] for s in shifts if abs(s["seconds"]) in verdict.AWAY and s["score"] is not None])
        rows.append(
            {
                "set": number, "protocol": name, "score": row["score"], "p": row["p"], "away": float(away),
                "four": all(holds[:-1]), "contributed": judged["sentence"] == verdict.CONTRIBUTED,
            }
        )  # fmt: skip
    return rows


def _changing(made):
    """The same set with a gain that rises in every recording while the higher bands of the music come in."""
    gain = 1 + RISE * np.linspace(0, 1, made.eeg.shape[2], dtype=np.float32)
    grown = made.table["second"].to_numpy()[:, None, None] / (SECONDS - 1)
    return replace(made, eeg=made.eeg * gain, truth=made.truth + BUILD_UP * grown * np.linspace(0, 1, N_BANDS))


def _named(made, songs, split):
    """Songs that a classifier of the training side names on the test side."""
    view = sides.training_view(made, split, targets=lambda positions: songs[split.train[positions]])
    return fit_song_classifier(view)(made.pictures(split.test))


def _votes(named, true, recordings):
    """Share of recordings whose windows mostly name their song; a tie among several songs counts by its share."""
    hits = []
    for recording in np.unique(recordings):
        own = recordings == recording
        names, counts = np.unique(named[own], return_counts=True)
        first = names[counts == counts.max()]
        hits.append(float(true[own][0] in first) / len(first))
    return float(np.mean(hits))
