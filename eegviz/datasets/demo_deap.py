"""A demonstration in the design of DEAP: music with a mood, simulated listeners who rate it, chords that are known.

All EEG, all ratings and all peripheral channels here are **simulated** and say so in the manifest, together with every
dial. The music (`._deap_music`) is made by the project: two pieces in each quarter of the plane of valence and arousal. The
EEG has DEAP's 32 channels (BioSemi, Geneva's order) at 128 Hz; recordings are called ``S01_video01``, with the columns
``valence, arousal, dominance, liking`` (1 to 9), ``familiarity`` (1 to 5) and ``trial``, as `.deap` gives them.

The EEG is that of `eegviz.simulate`, which follows the sound, and besides two traces of the listener's own rating
(:func:`affect`): frontal alpha is weaker on the left than on the right when valence is high (Davidson's asymmetry), and when
arousal is high alpha is weaker and beta stronger. **How strong they are is our choice** and far kinder than recordings, where
they are disputed: within a simulated listener the asymmetry of a minute correlates with the rated valence by about .9.
``coupling`` multiplies both: 0 is the null, in which neither the sound nor the rating leaves a trace.

The table ``chords`` holds the chord of each second of each piece: the truth, which no recording of music would come with.

Functions: :func:`make_store`, :func:`write_files` (the same as files in DEAP's layouts), :func:`affect`, :func:`rate`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import simulate, store
from eegviz.datasets import _audio, _deap_music, _python2, deap, demo
from eegviz.errors import ParameterError

NAME = "demo-deap"
TITLE = "eegviz demonstration: music with a mood, rated (simulated EEG and ratings, synthesised music)"
LICENCE = demo.LICENCE
CITATION = (
    "Simulated, not recorded: cite the package eegviz. The design follows Koelstra et al. (2012), DEAP, "
    "https://doi.org/10.1109/T-AFFC.2011.15."
)
SR = _audio.SR
SFREQ = deap.SFREQ
MONTAGE = deap.MONTAGE
CHANNELS = deap.CHANNELS
LEAD_IN = deap.BASELINE / deap.SFREQ  # seconds before each video
LAYOUTS = {"python": "data_preprocessed_python", "matlab": "data_preprocessed_matlab"}
ALPHA_UV, BETA_UV = 5.0, 2.5  # microvolts of the frontal rhythms at their best electrode; our choice
DEPTH = 8.0  # decibels of amplitude from the middle of a scale to its end; our choice
BETA = (15.0, 25.0)  # Hz
REACH = 0.05  # metres: standard deviation of a frontal rhythm's spread over the scalp
_RATING, _AFFECT, _ORDER, _PERIPHERAL = 901, 902, 903, 904  # keys of the random streams


def make_store(
    path,
    *,
    n_subjects: int = 6,
    n_videos: int = 8,
    duration: int = 60,
    coupling: float = 1.0,
    drift: float = 0.0,
    session_drift: float = 0.0,
    seed: int = 0,
    strength: str = "base",
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write a store of simulated listeners who watch and rate videos.

    Parameters
    ----------
    path : str or Path
        Folder to make. A stopped call continues where it was.
    n_subjects : int
        1 to 32.
    n_videos : int
        1 to 40; eight are two in each quadrant.
    duration : int
        Whole seconds of each video, 4 to 600.
    coupling, drift, session_drift, strength
        Dials, see `eegviz.simulate.Dials`; ``coupling`` multiplies the traces of the ratings too, 0 is the null.
    seed : int
        Of the music, the listeners, the ratings and the noise.
    overwrite : bool
        Replace a finished store.
    progress : bool or None
        Show a progress bar; None: on a terminal only.

    Returns
    -------
    path : Path
        Of the store. Tables: ``chords`` (stimulus, second, chord) and ``participants``.

    Raises
    ------
    ParameterError
        When a number is out of range, or ``path`` is taken.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> made = make_store(folder.name + "/store", n_subjects=1, n_videos=1, duration=4, progress=False)
    >>> opened = store.open(made)
    >>> opened.recordings["recording"].tolist(), len(opened.table("chords"))
    (['S01_video01'], 4)
    >>> folder.cleanup()
    """
    made = _Making(n_subjects, n_videos, duration, coupling, drift, session_drift, seed, strength)
    about = {
        "simulated": "EEG simulated by eegviz.simulate from the sound, ratings drawn at random; no person was recorded",
        "dials": asdict(made.dials), "alpha_uv": ALPHA_UV, "beta_uv": BETA_UV, "depth_db": DEPTH,
        "our choice": "what the mood does to the music, and how strongly ratings show in alpha and beta",
        "seed": seed, "n_subjects": n_subjects, "n_videos": n_videos, "duration": duration,
        "music": "eegviz.datasets._deap_music",
    }  # fmt: skip
    with store.create(
        path, dataset=NAME, title=TITLE, licence=LICENCE, citation=CITATION, montage=MONTAGE, simulated=True, about=about,
        overwrite=overwrite,
    ) as writer, demo._bar(n_videos * n_subjects, progress) as bar:  # fmt: skip
        writer.add_table("participants", demo._participants(made.people))
        writer.add_table("chords", chords(made.videos, duration))
        for video in made.videos:
            y = made.sound(video)
            if not writer.has_stimulus(video.id):
                writer.add_stimulus(
                    video.id, y, sr=SR, title=f"Mood {video.number} ({video.quadrant}, simulated)", bpm=video.bpm,
                    key=video.key, quadrant=video.quadrant, valence_meant=video.valence, arousal_meant=video.arousal,
                )  # fmt: skip
            driving = simulate.drive(y, SR, sfreq=SFREQ)
            for listener in made.people:
                name = f"{listener.id}_{video.id}"
                if not writer.has_recording(name):
                    rated = made.ratings[listener.number, video.number]
                    writer.add_recording(
                        name, made.eeg(driving, listener, video)[:, deap.BASELINE :], subject=listener.id,
                        stimulus=video.id, sfreq=SFREQ, ch_names=CHANNELS, **rated,
                        trial=made.trials[listener.number].index(video.number) + 1, site="simulated",
                    )  # fmt: skip
                bar.update()
    return Path(path)


def write_files(
    folder,
    *,
    layout: str = "python",
    n_subjects: int = 6,
    n_videos: int = 8,
    duration: int = 60,
    coupling: float = 1.0,
    drift: float = 0.0,
    session_drift: float = 0.0,
    seed: int = 0,
    strength: str = "base",
    progress: bool | None = None,
) -> Path:
    """Write the same simulation as files in the layout of DEAP, so that its reader can be tried without DEAP.

    Parameters
    ----------
    folder : str or Path
        Gets ``data_preprocessed_python/s01.dat`` … (or ``data_preprocessed_matlab/s01.mat`` …), ``audio/video01.wav`` …,
        ``metadata_csv/participant_ratings.csv`` and ``README.txt``, which says that all of it is simulated.
    layout : {"python", "matlab"}
    n_subjects, n_videos, duration, coupling, drift, session_drift, seed, strength, progress
        As in `make_store`.

    Returns
    -------
    folder : Path

    Raises
    ------
    ParameterError
        When the layout is unknown or a number out of range.

    Notes
    -----
    ``data`` is (n_videos, 40, 384 + 128 · duration), double, µV: 3 s before the video, 32 channels of EEG, eight simulated
    peripheral ones. The pickle has the instructions that Python 2 writes (protocol 2). DEAP's own files have 40 videos
    of 60 s.

    Examples
    --------
    >>> import tempfile
    >>> temporary = tempfile.TemporaryDirectory()
    >>> made = write_files(temporary.name, n_subjects=1, n_videos=1, duration=4, progress=False)
    >>> sorted(file.name for file in made.rglob("*.*"))
    ['README.txt', 'participant_ratings.csv', 's01.dat', 'video01.wav']
    >>> temporary.cleanup()
    """
    import soundfile
    from scipy.io import savemat

    if layout not in LAYOUTS:
        raise ParameterError(f"demo_deap.write_files: unknown layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
    made = _Making(n_subjects, n_videos, duration, coupling, drift, session_drift, seed, strength)
    folder = Path(folder)
    for name in ("audio", "metadata_csv", LAYOUTS[layout]):
        (folder / name).mkdir(parents=True, exist_ok=True)
    driving = []
    for video in made.videos:
        y = made.sound(video)
        pcm = np.minimum(np.rint(y * 32768), 32767).astype(np.int16)  # as a store keeps it
        soundfile.write(folder / "audio" / f"{video.id}.wav", pcm, SR, subtype="PCM_16")
        driving.append(simulate.drive(y, SR, sfreq=SFREQ))
    made.table().to_csv(folder / "metadata_csv" / "participant_ratings.csv", index=False)
    with demo._bar(n_subjects * n_videos, progress) as bar:
        for listener in made.people:
            data = np.empty((n_videos, deap.SHAPE[1], deap.BASELINE + round(duration * SFREQ)))
            for row, (video, sound) in enumerate(zip(made.videos, driving, strict=True)):
                data[row, : len(CHANNELS)] = made.eeg(sound, listener, video)
                data[row, len(CHANNELS) :] = made.peripheral(listener, video, data.shape[2])
                bar.update()
            data *= 1e6
            scales = [[made.ratings[listener.number, video.number][one] for one in _SCALES] for video in made.videos]
            values = {"labels": np.array(scales), "data": data}
            stem = folder / LAYOUTS[layout] / f"s{listener.number:02d}"
            if layout == "matlab":
                savemat(stem.with_suffix(".mat"), values, format="5", do_compression=False)
            else:
                stem.with_suffix(".dat").write_bytes(_python2.python2_pickle(values))
    says = "SIMULATED EEG in the layout of DEAP; no person was recorded, and none rated anything."
    (folder / "README.txt").write_text(
        "\n".join((says, LICENCE, CITATION, f"{made.dials}, seed {seed}", "")), encoding="utf-8"
    )
    return folder


def chords(videos, duration):
    """Return the chord of each second of each piece.

    Parameters
    ----------
    videos : sequence of Video
    duration : int
        Seconds.

    Returns
    -------
    table : DataFrame
        Columns stimulus, second, chord (``"C:maj"``, ``"A:min"``).
    """
    rows = [(video.id, second, video.chord_at(second)) for video in videos for second in range(duration)]
    return pd.DataFrame(rows, columns=["stimulus", "second", "chord"])


def rate(video, listener, *, seed):
    """Draw what a simulated listener rates a video.

    Parameters
    ----------
    video : Video
    listener : eegviz.simulate.Listener
    seed : int

    Returns
    -------
    ratings : dict
        valence, arousal, dominance, liking (1 to 9) and familiarity (1 to 5): what is meant, moved by the listener's own
        habit (standard deviation .4) and by chance (.7).
    """
    habit = np.random.default_rng([seed, listener.number, _RATING]).normal(0, 0.4, 2)
    chance = np.random.default_rng([seed, listener.number, video.number, _RATING]).normal(0, 0.7, 4)
    valence, arousal = np.array([video.valence, video.arousal]) + habit + chance[:2]
    values = {
        "valence": valence,
        "arousal": arousal,
        "dominance": 5 + 0.4 * (valence - 5) + chance[2],
        "liking": 5.5 + 0.6 * (valence - 5) + chance[3],
    }
    ratings = {name: round(float(np.clip(value, 1, 9)), 2) for name, value in values.items()}
    unlike = np.random.default_rng([seed, listener.number, video.number, _ORDER])
    return ratings | {"familiarity": float(unlike.integers(1, 6))}


def affect(ratings, listener, *, n_times, key, coupling):
    """Frontal rhythms that show what a listener rated, from the video's first sample on.

    Parameters
    ----------
    ratings : dict
        With valence and arousal, 1 to 9.
    listener : eegviz.simulate.Listener
        Its alpha frequency is used.
    n_times : int
        Samples at 128 Hz, the 384 before the video included: there the rhythms are as for a rating of 5.
    key : sequence of int
        Of the random stream.
    coupling : float
        0: the rhythms are there, and the same whatever was rated.

    Returns
    -------
    eeg : ndarray, float32 [shape=(32, n_times)]
        Volts.

    Notes
    -----
    With v and a the ratings from -1 to 1, alpha's amplitude changes by ``coupling · 8 dB`` times -(v + a) / 2 on the left
    and (v - a) / 2 on the right, beta's by that times a.
    """
    valence, arousal = ((ratings[name] - 5) / 4 for name in ("valence", "arousal"))
    rng = np.random.default_rng(key)
    size = _fast_length(n_times)
    alpha = simulate._noise(rng, 2, size, SFREQ, low=listener.alpha_hz - 1.2, high=listener.alpha_hz + 1.2)[:, :n_times]
    beta = simulate._noise(rng, 2, size, SFREQ, low=BETA[0], high=BETA[1])[:, :n_times]
    steps = coupling * DEPTH / 20 * np.array([-(valence + arousal) / 2, (valence - arousal) / 2, arousal, arousal])
    gain = np.ones((4, n_times), np.float32)
    gain[:, deap.BASELINE :] = (10**steps).astype(np.float32)[:, None]
    patterns = _frontal()
    sources = np.concatenate([ALPHA_UV * alpha, BETA_UV * beta]).astype(np.float32) * gain
    return (np.concatenate([patterns, patterns], axis=1) @ sources) * np.float32(1e-6)


# ---------------------------------------------------------------- what both make

_SCALES = ("valence", "arousal", "dominance", "liking")


@dataclass
class _Making:
    """The parameters of a making, checked, and what follows from them."""

    n_subjects: int
    n_videos: int
    duration: int
    coupling: float
    drift: float
    session_drift: float
    seed: int
    strength: str

    def __post_init__(self):
        if int(self.duration) != self.duration or not 4 <= self.duration <= 600:
            raise ParameterError(f"demo_deap: duration must be whole seconds from 4 to 600, found {self.duration!r}")
        if not 1 <= self.n_subjects <= 32:
            raise ParameterError(f"demo_deap: n_subjects must lie between 1 and 32, found {self.n_subjects!r}")
        self.duration = int(self.duration)
        self.dials = simulate.Dials(
            coupling=self.coupling, drift=self.drift, session_drift=self.session_drift, strength=self.strength
        )
        self.people = simulate.listeners(self.n_subjects, seed=self.seed)
        self.videos = _deap_music.compose(self.n_videos, duration=self.duration, seed=self.seed)
        self.ratings = {
            (listener.number, video.number): rate(video, listener, seed=self.seed)
            for listener in self.people
            for video in self.videos
        }
        numbers = [video.number for video in self.videos]
        self.trials = {
            listener.number: np.random.default_rng([self.seed, listener.number, _ORDER]).permutation(numbers).tolist()
            for listener in self.people
        }

    def sound(self, video):
        """Mono float32 at SR."""
        return _deap_music.render(video, duration=self.duration, sr=SR)

    def eeg(self, driving, listener, video):
        """Volts (32, 384 + 128 · duration): three seconds before the video, then the video."""
        model = simulate.head(CHANNELS, montage=MONTAGE)
        eeg = simulate.respond(
            driving, listener, stimulus=video.id, session="a", seed=self.seed, dials=self.dials, lead_in=LEAD_IN,
            model=model,
        )  # fmt: skip
        eeg += affect(
            self.ratings[listener.number, video.number], listener, n_times=eeg.shape[1], coupling=self.coupling,
            key=[self.seed, listener.number, video.number, _AFFECT],
        )  # fmt: skip
        return eeg

    def peripheral(self, listener, video, n_times):
        """Volts (8, n_times): slow noise, so that the files have DEAP's 40 channels."""
        rng = np.random.default_rng([self.seed, listener.number, video.number, _PERIPHERAL])
        size = _fast_length(n_times)
        return (
            20e-6 * simulate._noise(rng, len(deap.PERIPHERAL), size, SFREQ, low=0.1, high=10.0, slope=-0.5)[:, :n_times]
        )

    def table(self):
        """``participant_ratings``, with DEAP's column names."""
        rows = []
        for listener in self.people:
            for trial, number in enumerate(self.trials[listener.number], start=1):
                rated = self.ratings[listener.number, number]
                rows.append(
                    {
                        "Participant_id": listener.number, "Trial": trial, "Experiment_id": number,
                        "Start_time": round((trial - 1) * (self.duration + LEAD_IN) * 1e6),
                        **{name.capitalize(): rated[name] for name in _SCALES},
                        "Familiarity": int(rated["familiarity"]),
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)


def _fast_length(n):
    from scipy import fft

    return fft.next_fast_len(n, real=True)


def _frontal():
    """Scalp patterns (32, 2) of the left and right frontal rhythm: bells around F3 and F4, average reference, peak 1."""
    positions = store.make_montage(MONTAGE).get_positions()["ch_pos"]
    places = np.array([positions[name] for name in CHANNELS])
    patterns = np.stack(
        [np.exp(-0.5 * np.square(places - positions[name]).sum(axis=1) / REACH**2) for name in ("F3", "F4")], axis=1
    )
    patterns -= patterns.mean(axis=0)
    return (patterns / np.abs(patterns).max(axis=0)).astype(np.float32)
