"""A demonstration in the design of "The music of silence": four melodies, heard and imagined by simulated listeners.

All EEG here is **simulated** (`eegviz.simulate`) and says so in the manifest, together with every dial. As in Marion, Di
Liberto and Shamma (2021) each listener hears and imagines each of four chorale melodies (`eegviz.chorales`) several
times: 64 channels (BioSemi's cap) at 64 Hz, 1803 samples a trial, conditions "listening" and "imagery". Recordings are
called ``S01_chor-019_listening_r1``.

What an imagined melody leaves in the EEG is modelled as what a heard one leaves, weaker (``imagery``) and beginning
early or late by another amount in each trial (``jitter``). **Both numbers are our choice**, for no source gives them;
the kinder they are, the more an analysis finds. Notebook 08 shows the store.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from eegviz import chorales, simulate, store
from eegviz.datasets import _audio, demo
from eegviz.errors import ParameterError

NAME = "demo-mos"
TITLE = "eegviz demonstration: chorale melodies heard and imagined (simulated EEG, synthesised music)"
LICENCE = demo.LICENCE
CITATION = (
    "Simulated, not recorded: cite the package eegviz. The design follows Marion, Di Liberto and Shamma (2021), The "
    "music of silence, https://doi.org/10.1523/JNEUROSCI.0183-21.2021."
)
SR = _audio.SR
SFREQ = 64.0  # Hz
MONTAGE = "biosemi64"
CONDITIONS = ("listening", "imagery")
IMAGERY = 0.6  # of the coupling when listening; our choice
JITTER = 0.06  # seconds, standard deviation of the beginning of an imagined melody; our choice
IMAGINED = 1000  # added to a repeat's number: imagining has other noise than hearing


def make_store(
    path,
    *,
    n_subjects: int = 4,
    n_repeats: int = 4,
    melodies=None,
    duration: float = chorales.DURATION,
    coupling: float = 1.0,
    imagery: float = IMAGERY,
    jitter: float = JITTER,
    drift: float = 0.0,
    session_drift: float = 0.0,
    seed: int = 0,
    strength: str = "base",
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write a store of simulated listeners who hear and imagine the four melodies.

    Parameters
    ----------
    path : str or Path
        Folder to make. A stopped call continues where it was.
    n_subjects : int
    n_repeats : int
        Trials of each melody in each condition (the study: 11).
    melodies : sequence of str or int, optional
        Some of the four; all of them when not given.
    duration : float
        Seconds of each melody, 3 to 60.
    coupling, drift, session_drift, strength
        Dials, see `eegviz.simulate.Dials`; ``coupling=0`` is the null of both conditions.
    imagery : float
        Coupling while imagining, as a part of ``coupling``: 0 = imagining leaves no trace, 1 = as strong as hearing.
    jitter : float
        Seconds: standard deviation of the beginning of an imagined melody around its time, drawn anew for each trial.
    seed : int
        Of the listeners, the noise and the jitter.
    overwrite : bool
        Replace a finished store.
    progress : bool or None
        Show a progress bar; None: on a terminal only.

    Returns
    -------
    path : Path
        Of the store. Its column ``onset_shift`` holds the seconds by which each trial's response begins late: the
        truth, which no analysis of recordings would know.

    Raises
    ------
    ParameterError
        When a number is out of range, a melody is unknown, or ``path`` is taken.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> few = {"n_subjects": 1, "n_repeats": 1, "melodies": [19], "duration": 4.0}
    >>> made = make_store(folder.name + "/store", progress=False, **few)
    >>> store.open(made).recordings["recording"].tolist()
    ['S01_chor-019_listening_r1', 'S01_chor-019_imagery_r1']
    >>> folder.cleanup()
    """
    dials = simulate.Dials(coupling=coupling, drift=drift, session_drift=session_drift, strength=strength)
    for name, value in (("imagery", imagery), ("jitter", jitter)):
        if not (np.isfinite(value) and value >= 0):
            raise ParameterError(f"demo_mos.make_store: {name} must be a finite number ≥ 0, found {value!r}")
    if not 1 <= n_repeats < IMAGINED:
        raise ParameterError(f"demo_mos.make_store: n_repeats must lie between 1 and 999, found {n_repeats!r}")
    people = simulate.listeners(n_subjects, seed=seed)
    chosen = [chorales.find(one) for one in (chorales.CHORALES if melodies is None else melodies)]
    if not chosen or len(set(chosen)) != len(chosen):
        raise ParameterError("demo_mos.make_store: expected one or more different melodies")
    coupled = {"listening": dials, "imagery": replace(dials, coupling=coupling * imagery)}
    about = {
        "simulated": "EEG simulated by eegviz.simulate from the sound; no person was recorded",
        "dials": asdict(dials), "imagery": imagery, "jitter": jitter,
        "our choice": "imagery and jitter: no source says how strong or how punctual imagined melodies are",
        "seed": seed, "n_subjects": n_subjects, "n_repeats": n_repeats, "duration": duration,
        "music": "eegviz.chorales",
    }  # fmt: skip
    with store.create(
        path, dataset=NAME, title=TITLE, licence=LICENCE, citation=CITATION, montage=MONTAGE, simulated=True,
        about=about, overwrite=overwrite,
    ) as writer, demo._bar(len(chosen) * n_subjects * n_repeats * 2, progress) as bar:  # fmt: skip
        ch_names = tuple(store.make_montage(MONTAGE).ch_names)
        model = simulate.head(ch_names, montage=MONTAGE)
        writer.add_table("participants", demo._participants(people))
        for one in chosen:
            y = chorales.render(one, duration=duration, sr=SR)
            if not writer.has_stimulus(one.id):
                writer.add_stimulus(one.id, y, sr=SR, title=one.title, bpm=chorales.BPM)
            sound = simulate.drive(y, SR, sfreq=SFREQ)
            for listener in people:
                for condition in CONDITIONS:
                    for repeat in range(1, n_repeats + 1):
                        name = f"{listener.id}_{one.id}_{condition}_r{repeat}"
                        bar.update()
                        if writer.has_recording(name):
                            continue
                        hearing, late = repeat, 0
                        if condition == "imagery":
                            hearing = IMAGINED + repeat
                            late = _lateness(jitter, seed=seed, listener=listener, melody=one, repeat=repeat)
                        eeg = simulate.respond(
                            delayed(sound, late), listener, hearing=hearing, stimulus=one.id, session="a", seed=seed,
                            dials=coupled[condition], model=model,
                        )  # fmt: skip
                        writer.add_recording(
                            name, eeg, subject=listener.id, stimulus=one.id, condition=condition, repeat=repeat,
                            session="a", sfreq=SFREQ, ch_names=ch_names, onset_shift=late / SFREQ,
                        )  # fmt: skip
    return Path(path)


def delayed(sound: simulate.Drive, samples: int) -> simulate.Drive:
    """A drive that begins ``samples`` later (earlier when negative), of the same length: edges are held, without onsets.

    Examples
    --------
    >>> sound = simulate.drive(np.random.default_rng(0).normal(size=22050), 22050, sfreq=64.0)
    >>> bool(np.array_equal(delayed(sound, 3).loudness[3:], sound.loudness[:-3]))
    True
    """
    if samples == 0:
        return sound
    at = np.arange(sound.n_times) - samples
    inside = (at >= 0) & (at < sound.n_times)
    at = np.clip(at, 0, sound.n_times - 1)
    moved = {name: getattr(sound, name)[..., at] for name in ("level", "loudness", "brightness")}
    return simulate.Drive(sound.sfreq, onset=np.where(inside, sound.onset[:, at], 0.0), **moved)


def _lateness(jitter, *, seed, listener, melody, repeat):
    """Samples by which an imagined melody begins late, within a bar."""
    rng = np.random.default_rng([seed, listener.number, melody.number, repeat, IMAGINED])
    return round(float(np.clip(jitter * rng.standard_normal(), -chorales.BAR, chorales.BAR)) * SFREQ)
