"""What a score must be read beside: answers without EEG, with the true music, and from the recording's fingerprint.

Three groups, never to be mixed:

- **no EEG** (from training windows only): the mean picture, the mean of the song, the song's constant spectrum, a random
  training second of the song. A decoder that uses the brain must beat them.
- **stimulus oracle** (uses the true test music): the previous second; the *ceiling*, the true picture through the same
  inversion to sound and back; and the run's own prediction with the *song told*: the mean of the true song in place of the
  overall mean. The song mean knows the song without EEG, so this is what shows whether EEG adds to it.
- **fingerprint** (uses EEG, not music): a classifier that tells recordings apart by the power of their channels and
  answers with the song of the recording. It shows how far gain and electrodes alone go under a split.

What a split cannot define is absent and prints n/a: an unseen song has no mean in the training.

Functions and classes: `NoEEG`, `Fingerprint` (both fitted on a `TrainingView`), `no_eeg`, `previous_second`, `ceiling`.
"""

from __future__ import annotations

import numpy as np

from eegviz import features, inversion, sides, windowing

NO_EEG = ("mean picture", "song mean", "song spectrum", "random second")
ORACLE = ("previous second", "ceiling", "song told")
CEILING_SECONDS = 8  # seconds of each song that go through the inversion, at most (our choice: it takes 30 ms each)
_FLOOR = 1e-12  # µV² or µV²/Hz, so that a silent channel has a logarithm


class NoEEG:
    """Pictures that never saw EEG, fitted on training windows.

    Parameters
    ----------
    view : TrainingView
        Targets are the true pictures.
    seed : int
        Of the random seconds.

    Attributes
    ----------
    mean : np.ndarray [shape=(n_frames, n_bins)]
        Of all training windows.
    songs : dict of str to np.ndarray [shape=(n_frames, n_bins)]
        Mean of each training song.
    """

    def __init__(self, view, *, seed=0):
        self._view = sides.only_training(view, "a mean picture")
        self._seed = seed
        names, song = np.unique(view.table["stimulus"].to_numpy(str), return_inverse=True)
        totals, counts = 0.0, np.bincount(song)
        for block in view.blocks():
            targets = view.targets(block)
            totals = totals + np.stack([targets[song[block] == i].sum(0, dtype=float) for i in range(len(names))])
        self.mean = (totals.sum(0) / len(view)).astype(np.float32)
        self.songs = {n: (totals[i] / counts[i]).astype(np.float32) for i, n in enumerate(names)}
        self._rows = {n: np.flatnonzero(song == i) for i, n in enumerate(names)}
        self._seconds = view.table["second"].to_numpy()

    def pictures(self, song, seconds):
        """Answers for windows of a song that begin at `seconds` ``(n,)``: a dict of ``(n, n_frames, n_bins)``.

        Those that are constant are read only. A random second is never the window's own, which a split may well hold in
        training too: that is the true music, no answer without EEG. There is none where training has no other.
        """
        seconds = np.asarray(seconds)
        n = len(seconds)
        result = {"mean picture": np.broadcast_to(self.mean, (n, *self.mean.shape))}
        if song in self.songs:
            mean = self.songs[song]
            result["song mean"] = np.broadcast_to(mean, (n, *mean.shape))
            result["song spectrum"] = np.broadcast_to(mean.mean(0), (n, *mean.shape))
            drawn = self._other_seconds(song, seconds)
            if drawn is not None:
                result["random second"] = self._view.targets(drawn)
        return result

    def _other_seconds(self, song, seconds):
        """A random training window of the song for each of `seconds`, never of the same one; None: there is no other."""
        rows = self._rows[song]
        known = np.unique(self._seconds[rows])
        if len(known) == 1 and known[0] in seconds:
            return None
        rng = np.random.default_rng([self._seed, *song.encode()])
        drawn = rng.choice(rows, len(seconds))
        while (same := self._seconds[drawn] == seconds).any():
            drawn[same] = rng.choice(rows, same.sum())
        return drawn

    def song_told(self, song, prediction):
        """Predictions with the mean of the true song in place of the overall mean."""
        return prediction - self.mean + self.songs[song]


def no_eeg(windows, split, *, seed=0):
    """The answers without EEG for all test windows at once: a dict of ``(n_test, n_frames, n_bins)``.

    For notebooks: in memory, and only those that exist for every test song.
    """
    fitted = NoEEG(sides.training_view(windows, split), seed=seed)
    test = windows.table.iloc[split.test]
    songs, seconds = test["stimulus"].to_numpy(str), test["second"].to_numpy()
    result = {}
    for song in np.unique(songs):
        here = songs == song
        for name, pictures in fitted.pictures(song, seconds[here]).items():
            result.setdefault(name, np.full((len(songs), *fitted.mean.shape), np.nan, np.float32))[here] = pictures
    return {name: pictures for name, pictures in result.items() if np.isfinite(pictures).all()}


class Fingerprint:
    """A classifier of recordings by the logarithmic power of their channels: what the amplifier and the skin tell.

    Linear discriminant analysis with a shrunk covariance (scikit-learn), from training windows.

    Parameters
    ----------
    view : TrainingView
        Pictures are EEG pictures.
    kind : str
        EEG features of the pictures, see `eegviz.features.EEG_KINDS`.
    """

    def __init__(self, view, *, kind):
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        sides.only_training(view, "the fingerprint classifier")
        self._kind = kind
        recordings = view.table["recording"].to_numpy(str)
        self._song = dict(zip(recordings, view.table["stimulus"].to_numpy(str), strict=True))
        self._only = recordings[0] if len(self._song) == 1 else None
        if self._only is None:
            power = np.concatenate([log_power(view.pictures(block), kind) for block in view.blocks()])
            self._classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(power, recordings)

    def songs(self, pictures):
        """Song of the recording that each EEG picture is most like: array of n names."""
        if self._only is not None:
            return np.full(len(pictures), self._song[self._only])
        named = self._classifier.predict(log_power(pictures, self._kind))
        return np.array([self._song[recording] for recording in named])


def log_power(pictures, kind):
    """Natural logarithm of each channel's power in each picture: ``(n, n_channels)``."""
    if kind == "de":  # an entropy is half a logarithm already
        return 2 * pictures.mean(1)
    power = pictures.var(1) if kind == "raw" else pictures.mean(1)
    return np.log(power + _FLOOR)


def previous_second(windows, song, seconds):
    """The true pictures of the windows before (of the second one for the first): ``(n, n_frames, n_bins)``."""
    seconds, length = np.asarray(seconds), windows.duration
    last = len(windows.sounds[song]) // length - 1
    return windows.picture(song, np.where(seconds >= length, seconds - length, min(1, last) * length))


def ceiling(windows, song, seconds, *, seed=0):
    """True pictures through the same inversion: to sound, and back to pictures; kept beside the features of the windows.

    Parameters
    ----------
    windows : Windows
    song : str
    seconds : array of int
        Seconds in which the song's test windows begin; neighbours from their middle are taken that hold `CEILING_SECONDS`,
        or all when they are fewer.

    Returns
    -------
    seconds : np.ndarray [shape=(n,)]
        Those taken.
    pictures : np.ndarray [shape=(n, n_frames, n_bins)]
    """
    seconds, count = np.unique(seconds), max(1, CEILING_SECONDS // windows.duration)
    first = max(0, (len(seconds) - count) // 2)
    taken = seconds[first : first + count]
    level = {"ref_db": features.ref_db_of(windows.settings["ref_db"], song), "max_db": windows.settings["max_db"]}

    def there_and_back():
        kind = windows.settings["audio"]
        every = (taken[:, None] + np.arange(windows.duration)).ravel()
        sound = inversion.reconstruct(windows.picture(song, every, duration=1), audio=kind, seed=seed, **level)
        power = features.spectrogram(sound.reshape(len(every), -1), kind=kind.removesuffix("-db"))
        again = features.to_db(power) if kind.endswith("-db") else power
        return features.normalise(again, kind=kind, **level).astype(np.float32).reshape(len(taken), *windows.out_shape)

    made_of = {**level, "seconds": taken.tolist(), "seed": seed, "inversion": inversion.FORMAT}
    made_of |= {"duration": windows.duration} if windows.duration > 1 else {}
    return taken, windowing.kept("ceiling", made_of, there_and_back, beside=windows.sounds[song])
