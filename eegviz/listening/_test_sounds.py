"""The sounds of a listening test: equal length, rate and level, and what test seconds there are (for `abx`)."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np

from eegviz import features, inversion, reconstruction, sound
from eegviz.errors import DataError, ParameterError
from eegviz.listening._balance import POSITIONS, Example
from eegviz.listening._design import Design
from eegviz.listening.rows import _seconds, _segments

LEVEL_DB = -26.0  # root mean square of every sound, dB of full scale (our choice)
PEAK = 0.89  # largest sample (-1 dB), so that the encoder does not clip
FADE_S = 0.02  # in and out, so that a cut does not click (our choice)
SILENCE_DB = -70.0  # an original below this level cannot be asked about


def examples(run, store, *, windows, split, duration=5, songs=None):
    """The stretches of test seconds that a test can be made of, end to end in each recording.

    Returns
    -------
    (list of Example, list of str)
        And notes: songs and thirds of songs without test seconds, silent stretches that were left out.

    Raises
    ------
    ParameterError
        No stretch is long enough, or an unknown song.
    """
    table, length = windows.table, windows.duration
    test = table.iloc[split.test]
    known = sorted(test["stimulus"].unique())
    if unknown := sorted(set(songs or ()) - set(known)):
        raise ParameterError(
            f"song {unknown[0]!r} has no test seconds in run {run.path.name}; those that have: {', '.join(known)}."
        )
    pool, notes = [], []
    for song in songs or known:
        begins = table.loc[table["stimulus"] == song, "second"]
        low, high = int(begins.min()), int(begins.max()) + length
        own, found, silent = test[test["stimulus"] == song], [], set()
        for recording, rows in own.groupby("recording", sort=True):
            listener = str(rows["subject"].iloc[0])
            for start in _segments(sorted(_seconds(rows["second"], length)), duration):
                third = min(2, int(3 * (start + duration / 2 - low) / (high - low)))
                found.append(Example(str(song), listener, str(recording), int(start), POSITIONS[third]))
        for start in sorted({one.start for one in found}):
            if (
                _level_db(reconstruction.original(run, song, start=start, duration=duration, opened=store)[0])
                < SILENCE_DB
            ):
                silent.add(start)
        if silent:
            notes.append(f"{song}: silent from second {', '.join(map(str, sorted(silent)))}, left out")
        found = [one for one in found if one.start not in silent]
        there = {one.position for one in found}
        if found and len(there) < 3:
            lost = " and ".join(position for position in POSITIONS if position not in there)
            notes.append(f"{song}: no {duration} test seconds in a row in its {lost}")
        if not found:
            notes.append(f"{song}: no {duration} test seconds in a row, left out")
        pool += found
    if not pool:
        raise ParameterError(
            f"run {run.path.name} holds out no {duration} seconds in a row of any song that can be heard. Ask for a shorter "
            "duration, or take a run of another split."
        )
    return pool, notes


def make_sounds(planned, run, store, *, trials=None, sr=None, windows=None, split=None, progress=None) -> Design:
    """Make the sounds of a planned test: equal length, rate and level, faded in and out, as OGG.

    All sounds get one root mean square, `LEVEL_DB` or as much lower as the sound with the largest peak needs, so that
    loudness tells nothing; reference levels (`ref_db`) therefore do not matter here.

    Parameters
    ----------
    planned : Design
    run, store : Run, Store
        Those that it was planned from.
    trials : sequence of Planned, optional
        Only the sounds of these; default all.
    sr : int, optional
        Hertz; default that of the spectrograms, 22 050.
    windows, split : optional
    progress : bool, optional
        False: no bar.

    Returns
    -------
    Design

    Raises
    ------
    DataError
        The run is not the one that the test was planned from, or a reconstruction is silent.
    """
    from tqdm.auto import tqdm

    steps = sound_steps(planned, run, store, trials=trials, sr=sr, windows=windows, split=split)
    with tqdm(desc="sounds", unit="sound", disable=None if progress is None else not progress) as bar:
        while True:
            try:
                bar.n, bar.total = next(steps)
            except StopIteration as end:
                bar.n = bar.total
                return end.value
            bar.refresh()


def sound_steps(planned, run, store, *, trials=None, sr=None, windows=None, split=None):
    """What `make_sounds` does, sound by sound: yields (sounds made, sounds in all), returns the Design."""
    if planned.about.get("run") != run.path.name:
        raise DataError(
            f"the test was planned from run {planned.about.get('run')}, not {run.path.name}. Plan it again."
        )
    windows = run.windows(store) if windows is None else windows
    split = run.split(windows) if split is None else split
    sr = features.SR if sr is None else sound.check_rate(sr)
    options = {"duration": planned.duration, "sr": sr}
    keys = sorted({key for one in (planned.trials if trials is None else trials) for key in one.keys(planned.task)})
    made, encoded = {}, {}
    for i, (kind, name, start) in enumerate(keys):
        yield i, len(keys)
        if kind == "original":
            y, _ = reconstruction.original(run, name, start=start, opened=store, **options)
        else:
            one = reconstruction.reconstruct(
                run, name, start=start, windows=windows, split=split, store=store, **options
            )
            y = _only_test(one)
        made[kind, name, start] = _faded(_exactly(y, round(planned.duration * sr)), sr)
    for (kind, name, start), y in made.items():
        if _level_db(y) < SILENCE_DB:
            raise DataError(
                f"the {kind} of {name} from second {start} is silent: its level cannot be matched. Was the model trained? "
                "See its history, or choose another run."
            )
    # the sound with the largest peak for its level limits all
    crest = max((float(np.abs(y).max()) / _rms(y) for y in made.values()), default=1.0)
    level = min(10 ** (LEVEL_DB / 20), PEAK / crest)
    for key, y in made.items():
        yield len(keys), len(keys)
        encoded[key] = _encoded(y, level, sr)
    return replace(planned, sounds={**planned.sounds, **encoded} if trials is not None else encoded, sr=sr)


def _encoded(y, level, sr):
    """OGG bytes that have this root mean square when they are played: what the encoder leaves out is made up for."""
    import soundfile

    ogg = inversion.encode_sound(y * np.float32(level / _rms(y)), sr)
    played, _ = soundfile.read(io.BytesIO(ogg), dtype="float32")
    return inversion.encode_sound(y * np.float32(level / _rms(y) * level / _rms(played)), sr)


def _only_test(made):
    if other := {side: n for side, n in made.seen.items() if side != "test" and n}:
        raise DataError(f"{made.describe()}: expected test seconds only, found {other}.")
    return made.sound


def _exactly(y, n):
    return np.pad(y[:n], (0, max(0, n - len(y))))


def _faded(y, sr):
    n = round(FADE_S * sr)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / n)).astype(np.float32)
    y = y.astype(np.float32, copy=True)
    y[:n] *= ramp
    y[-n:] *= ramp[::-1]
    return y


def _rms(y):
    return max(float(np.sqrt(np.mean(np.square(y, dtype=np.float64)))), 1e-12)


def _level_db(y):
    return 20 * np.log10(_rms(y))
