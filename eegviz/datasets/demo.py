"""The demonstration data set: the project's own music, heard by simulated listeners.

All EEG here is **simulated** (`eegviz.simulate`) and says so in the manifest, together with every dial. The
design is that of NMED-H: each listener hears each piece twice (recordings ``S01_song21_r1`` and ``…_r2``), 125
channels at 125 Hz. The pieces are those of `eegviz.music`, or any sound files through ``tracks``.

`make_store` writes a store; `write_nmed` writes the same EEG as files in the layouts of NMED-T and NMED-H, with
WAV files beside them, so that the readers of those data sets can be tried without the data sets. Pieces are
made one at a time and recordings one by one: memory does not grow with their number.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import music, simulate, store
from eegviz.datasets import _audio
from eegviz.errors import ParameterError

NAME = "demo"
TITLE = "eegviz demonstration (simulated EEG, synthesised music)"
LICENCE = "CC0-1.0 (output of the BSD-3-Clause package eegviz: its own synthesised music and simulated EEG)"
LICENCE_TRACKS = "Simulated EEG: CC0-1.0. The sound files were given by the user and keep their own licences."
CITATION = (
    "Simulated, not recorded: cite the package eegviz. The design follows Kaneshiro et al. (2016), NMED-H, and the "
    "tempi Losorelli et al. (2017), NMED-T."
)
SR = _audio.SR
LAYOUTS = {"nmed-t": ("",), "nmed-h": ("a", "b")}  # the hearings' letters in file names
NUMBERS = {"nmed-t": range(21, 31), "nmed-h": range(21, 37)}


@dataclass(frozen=True)
class _Track:
    """A stimulus before it is rendered: a piece of our own, a path, or an array at SR."""

    id: str
    title: str
    columns: dict
    source: object
    duration: float | None
    seed: int

    def sound(self) -> np.ndarray:
        """Mono float32 at SR, in [-1, 1]."""
        if isinstance(self.source, music.Piece):
            return music.piece(self.source, duration=self.duration, sr=SR, seed=self.seed)
        if isinstance(self.source, str | Path):
            y = _audio.read(self.source, sr=SR)
        else:
            y = np.asarray(self.source, dtype=np.float32)
            if y.ndim != 1 or not y.size or not np.max(np.abs(y)) <= 1:
                raise ParameterError(
                    f"demo: track {self.id!r}: expected a path, or a mono array (n,) in [-1, 1] at {SR} Hz, "
                    f"found shape {y.shape}"
                )
        return y if self.duration is None else y[: round(self.duration * SR)]


def make_store(
    path,
    *,
    n_subjects: int = 6,
    n_pieces: int = 5,
    n_hearings: int = 2,
    duration: float | None = 40.0,
    coupling: float = 1.0,
    drift: float = 0.0,
    session_drift: float = 0.0,
    seed: int = 0,
    strength: str = "base",
    tracks: dict | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write a store of simulated listeners.

    Parameters
    ----------
    path : str or Path
        Folder to make. A stopped call continues where it was.
    n_subjects, n_pieces, n_hearings : int
        Pieces (1 to 10) are spread over the ten tempi.
    duration : float or None
        Seconds of each piece; None takes the whole of given tracks and 40 s of our own pieces.
    coupling, drift, session_drift, strength
        Dials, see `eegviz.simulate.Dials`. ``strength="strong"`` is a teaching setting and not
        physiological; the default is kinder than recordings too.
    seed : int
        Of the music, the listeners and the noise.
    tracks : dict, optional
        ``{id: path or mono array at 22050 Hz}``: these sounds in place of our own pieces.
    overwrite : bool
        Replace a finished store.
    progress : bool or None
        Show a progress bar; None: on a terminal only.

    Returns
    -------
    path : Path
        Of the store. ``session`` is the hearing (``a``, ``b`` …), one sitting for all pieces; with
        ``session_drift`` it is the piece, since then both hearings of a piece share a sitting and its drift,
        which leaks into a held-out hearing.

    Raises
    ------
    ParameterError
        When a number is out of range, or ``path`` is taken.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> few = {"n_subjects": 1, "n_pieces": 1, "n_hearings": 1}
    >>> made = make_store(folder.name + "/store", duration=2.0, progress=False, **few)
    >>> store.open(made).recordings["recording"].tolist()
    ['S01_song21_r1']
    >>> folder.cleanup()
    """
    dials = simulate.Dials(coupling=coupling, drift=drift, session_drift=session_drift, strength=strength)
    people = simulate.listeners(n_subjects, seed=seed)
    if not 1 <= n_hearings <= 26:
        raise ParameterError(f"demo.make_store: n_hearings must lie between 1 and 26, found {n_hearings!r}")
    chosen = _tracks(tracks, n_pieces, duration, seed)
    about = {
        "simulated": "EEG simulated by eegviz.simulate from the sound; no person was recorded",
        "dials": asdict(dials),
        "strength": (
            "teaching setting, not physiological" if strength == "strong" else "base: kinder than recordings"
        ),
        "seed": seed, "n_subjects": n_subjects, "n_pieces": len(chosen), "n_hearings": n_hearings, "duration": duration,
        "music": "eegviz.music" if tracks is None else "given by the user",
    }  # fmt: skip
    with store.create(
        path, dataset=NAME, title=TITLE, licence=LICENCE if tracks is None else LICENCE_TRACKS, citation=CITATION,
        montage=simulate.MONTAGE, simulated=True, about=about, identity=_identity(tracks), overwrite=overwrite,
    ) as writer, _bar(len(chosen) * n_subjects * n_hearings, progress) as bar:  # fmt: skip
        writer.add_table("participants", _participants(people))
        for track in chosen:
            y = track.sound()
            if not writer.has_stimulus(track.id):
                writer.add_stimulus(track.id, y, sr=SR, title=track.title, **track.columns)
            sound = simulate.drive(y, SR)
            for listener in people:
                for hearing in range(1, n_hearings + 1):
                    name = f"{listener.id}_{track.id}_r{hearing}"
                    session = _session(track, hearing, dials)
                    if not writer.has_recording(name):
                        eeg = _eeg(sound, listener, track, hearing=hearing, seed=seed, dials=dials)
                        writer.add_recording(
                            name, eeg, subject=listener.id, stimulus=track.id, repeat=hearing, session=session,
                            sfreq=simulate.SFREQ, ch_names=simulate.NMED_CHANNELS,
                        )  # fmt: skip
                    bar.update()
    return Path(path)


def write_nmed(
    folder,
    *,
    layout: str = "nmed-t",
    tracks: dict | None = None,
    n_subjects: int = 6,
    n_pieces: int = 5,
    duration: float | None = 40.0,
    coupling: float = 1.0,
    drift: float = 0.0,
    session_drift: float = 0.0,
    seed: int = 0,
    strength: str = "base",
    progress: bool | None = None,
) -> Path:
    """Write simulated listeners as files in the exact layout of NMED-T or NMED-H.

    The EEG is that of `make_store` with the same arguments (NMED-T: the first hearing only).

    Parameters
    ----------
    folder : str or Path
        Gets ``songNN_Imputed.mat`` (NMED-T) or ``songNN_a_Imputed.mat`` and ``songNN_b_Imputed.mat`` (NMED-H),
        the sounds as ``audio/songNN.wav`` (16 bit, 22050 Hz), and ``README.txt``, which says that all of it is
        simulated.
    layout : {"nmed-t", "nmed-h"}
    tracks : dict, optional
        ``{"song21": path or mono array at 22050 Hz}``; ids song21 … song30 (NMED-H: … song36).
    n_subjects, n_pieces, duration, coupling, drift, session_drift, seed, strength, progress
        As in `make_store`.

    Returns
    -------
    folder : Path

    Raises
    ------
    ParameterError
        When the layout, an id or a number is unknown or out of range.

    Notes
    -----
    MATLAB v5: ``dataNN`` (125, T, n_subjects) doubles in microvolts, ``subsNN`` (1, n_subjects) cell of
    strings, ``fs`` 125; NMED-H appends ``_a`` or ``_b`` to the first two. One song at a time is in memory: 125
    · T · n_subjects · 8 bytes.

    Examples
    --------
    >>> import tempfile
    >>> temporary = tempfile.TemporaryDirectory()
    >>> made = write_nmed(temporary.name, n_subjects=1, n_pieces=1, duration=2.0, progress=False)
    >>> sorted(file.name for file in made.rglob("*.*"))
    ['README.txt', 'song21.wav', 'song21_Imputed.mat']
    >>> temporary.cleanup()
    """
    import soundfile
    from scipy.io import savemat

    if layout not in LAYOUTS:
        raise ParameterError(f"demo.write_nmed: unknown layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
    dials = simulate.Dials(coupling=coupling, drift=drift, session_drift=session_drift, strength=strength)
    people = simulate.listeners(n_subjects, seed=seed)
    chosen = _tracks(tracks, n_pieces, duration, seed)
    known = [f"song{number}" for number in NUMBERS[layout]]
    if unknown := [track.id for track in chosen if track.id not in known]:
        raise ParameterError(
            f"demo.write_nmed: {layout} has the songs {known[0]} to {known[-1]}, found {', '.join(map(repr, unknown))}"
        )
    folder = Path(folder)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    subjects = np.array([[listener.id for listener in people]], dtype=object)
    letters = LAYOUTS[layout]
    with _bar(len(chosen) * len(letters) * n_subjects, progress) as bar:
        for track in chosen:
            y = track.sound()
            soundfile.write(folder / "audio" / f"{track.id}.wav", y, SR, subtype="PCM_16")
            sound, number = simulate.drive(y, SR), track.id.removeprefix("song")
            data = np.empty((len(simulate.NMED_CHANNELS), sound.n_times, n_subjects), order="F")
            for hearing, letter in enumerate(letters, start=1):
                for column, listener in enumerate(people):
                    data[:, :, column] = _eeg(sound, listener, track, hearing=hearing, seed=seed, dials=dials)
                    bar.update()
                data *= 1e6
                suffix = f"_{letter}" if letter else ""
                values = {f"data{number}{suffix}": data, f"subs{number}{suffix}": subjects, "fs": simulate.SFREQ}
                savemat(folder / f"song{number}{suffix}_Imputed.mat", values, format="5")
    licence = LICENCE if tracks is None else LICENCE_TRACKS
    says = f"SIMULATED EEG in the layout of {layout}; no person was recorded."
    (folder / "README.txt").write_text(
        "\n".join((says, licence, CITATION, f"{dials}, seed {seed}", "")), encoding="utf-8"
    )
    return folder


def _tracks(tracks, n_pieces, duration, seed):
    """What is heard: the given tracks, or pieces spread over the ten tempi."""
    if duration is not None and not duration >= 1:
        raise ParameterError(f"demo: duration must be at least 1 s, found {duration!r}")
    if tracks is not None:
        if not tracks:
            raise ParameterError("demo: tracks is empty; expected {id: path or array}, or None for our own pieces")
        titles = {name: Path(source).stem for name, source in tracks.items() if isinstance(source, str | Path)}
        return [
            _Track(str(name), titles.get(name, str(name)), {}, source, duration, seed)
            for name, source in tracks.items()
        ]
    if not 1 <= n_pieces <= len(music.PIECES):
        raise ParameterError(f"demo: n_pieces must lie between 1 and {len(music.PIECES)}, found {n_pieces!r}")
    picks = np.linspace(0, len(music.PIECES) - 1, n_pieces).astype(int)
    return [
        _Track(one.id, one.title, {"bpm": one.bpm, "key": one.key}, one, 40.0 if duration is None else duration, seed)
        for one in (music.PIECES[pick] for pick in picks)
    ]


def _eeg(sound, listener, track, *, hearing, seed, dials):
    return simulate.respond(
        sound, listener, hearing=hearing, stimulus=track.id, session=track.id, seed=seed, dials=dials
    )


def _session(track, hearing, dials):
    return track.id if dials.session_drift > 0 else chr(ord("a") + hearing - 1)


def _identity(tracks):
    """What tells two interrupted makings apart beside the dials: the given sounds."""
    import hashlib

    def mark(source):
        if isinstance(source, str | Path):
            return str(Path(source).resolve())
        return hashlib.sha256(np.ascontiguousarray(source).tobytes()).hexdigest()

    return {} if tracks is None else {str(name): mark(source) for name, source in tracks.items()}


def _participants(people):
    """The simulated listeners' known parameters: the truth that an analysis may be checked against."""
    rows = [
        {"subject": one.id, "simulated": True, "alpha_hz": one.alpha_hz}
        | {f"{name}_s": latency for name, latency in zip(simulate.COMPONENTS, one.latencies, strict=True)}
        | {f"{name}_gain": gain for name, gain in zip(simulate.COMPONENTS, one.gains, strict=True)}
        for one in people
    ]
    return pd.DataFrame(rows)


def _bar(total, progress):
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="simulating", unit="recording", disable=None if progress is None else not progress)
