"""Frozen encoders of sound, by a string: what turns the seconds of a stimulus into vectors that EEG is aligned with.

- ``mel``: the autoencoder of `eegviz.models.mel_autoencoder`. It reads pictures, is trained on the training side and lives
  inside the network; nothing here opens it.
- ``clap:FOLDER`` or ``clap:ORGANISATION/NAME``: the audio side of a CLAP that `transformers` reads, at the rate of its
  feature extractor (48 kHz). Weights that are missing are refused, for they would be drawn at random.
- ``onnx:FILE``: any network in the ONNX format that takes sound and gives arrays, run by `onnxruntime`. Its input is
  ``(n, n_samples)``, with an axis of one channel before or after the samples or without the axis of windows; its outputs
  are ``(n, dim)`` or ``(n, n_frames, dim)``, those of one kind side by side. The rate is the file's metadata entry
  ``sample_rate``, else 22 050 Hz, which is basic-pitch's.

All give one vector a window, ``(n, dim)``, and where they can one a frame, ``(n, n_frames, dim)``. A stimulus is encoded
once, however many listeners heard it, and kept beside its spectrogram (`eegviz.windowing.kept`).

Functions: `parse` (what a name asks for), `open` (an encoder), `of_windows` (the vectors of windows).
Classes: `Embedded`, `Clap`, `Onnx`, `Seconds`.

CLAP: Wu et al. 2023, https://doi.org/10.48550/arXiv.2211.06687; basic-pitch: Bittner et al. 2022,
https://doi.org/10.48550/arXiv.2203.09893.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import _store_files, features, sound, windowing
from eegviz.errors import DataError, MissingDependencyError, ParameterError

KINDS = ("mel", "clap", "onnx")
SR_ONNX = 22050  # Hz, of a file that does not say; basic-pitch's
BATCH = 8  # windows encoded at a time
_FORMAT = 1  # raise when the numbers that are kept change
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_EXPECTED = (
    "Expected a folder that save_pretrained of transformers' ClapModel and ClapFeatureExtractor wrote (config.json, "
    "model.safetensors, preprocessor_config.json), or the id of one, such as laion/clap-htsat-unfused"
)


@dataclass(frozen=True, eq=False)
class Embedded:
    """What an encoder says of windows of sound.

    Attributes
    ----------
    vectors : np.ndarray [shape=(n, dim)], float32
    frames : np.ndarray [shape=(n, n_frames, dim_frames)], float32, or None
        In the order of time; None where the encoder has none.
    """

    vectors: np.ndarray
    frames: np.ndarray | None


def parse(name) -> tuple[str, str]:
    """Kind and place of an encoder.

    Raises
    ------
    ParameterError
        An unknown kind, or one without its place.

    Examples
    --------
    >>> parse("mel"), parse("clap:laion/clap-htsat-unfused")
    (('mel', ''), ('clap', 'laion/clap-htsat-unfused'))
    """
    kind, _, place = str(name).partition(":")
    if kind not in KINDS or (kind == "mel") != (not place):
        raise ParameterError(
            f"unknown encoder of music {name!r}; known are mel, clap:FOLDER (or clap:ORGANISATION/NAME) and onnx:FILE."
        )
    return kind, place


def open(name):
    """The encoder called `name`; its weights are read when they are first needed.

    Parameters
    ----------
    name : str
        ``"clap:…"`` or ``"onnx:…"``.

    Returns
    -------
    Clap or Onnx
        With ``sr`` (hertz), ``made_of`` (what its numbers follow from) and ``embed(sounds)``.

    Raises
    ------
    ParameterError
        ``"mel"``, which lives inside the network, or an unknown name.
    DataError
        A folder or file that is not there.
    """
    kind, place = parse(name)
    if kind == "mel":
        raise ParameterError(
            "the encoder mel is trained with the network and lives inside it: use embed_music of the trained network."
        )
    return {"clap": Clap, "onnx": Onnx}[kind](place)


class Clap:
    """The audio side of a CLAP of `transformers`: vectors of unit length in the space that it shares with text.

    Parameters
    ----------
    place : str
        A folder, or an id, which `transformers` looks up in its cache and then on its hub.

    Notes
    -----
    A window shorter than the model's longest clip (10 s) is repeated to fill it, as the extractor's settings say; longer
    ones are refused, because the extractor would cut at random. A model with fusion is told that no clip is longer,
    where the extractor would draw one at random.
    """

    def __init__(self, place):
        self.place = str(place)
        self.is_folder = Path(place).is_dir()
        if not self.is_folder and (Path(place).exists() or not _HUB.fullmatch(self.place)):
            raise DataError(f"clap:{place}: there is no such folder. {_EXPECTED}.")

    @cached_property
    def made_of(self):
        """What the numbers follow from: the files of the folder, or the id."""
        if not self.is_folder:
            return {"clap": self.place}
        files = sorted(
            p for p in Path(self.place).iterdir() if p.suffix in (".json", ".safetensors", ".bin") and p.is_file()
        )
        return {"clap": {path.name: _store_files.sha256(path) for path in files}}

    @property
    def sr(self):
        """Hertz."""
        return int(self._loaded[1].sampling_rate)

    def embed(self, sounds) -> Embedded:
        """Vectors of windows of sound at `sr`.

        Parameters
        ----------
        sounds : np.ndarray [shape=(n, n_samples)]

        Returns
        -------
        Embedded
            Frames are those of the clip itself, without its repetitions, projected as the vector is.

        Raises
        ------
        ParameterError
            Windows longer than the model's longest clip.
        DataError
            A folder that is no CLAP, or has not all of its weights.
        """
        import torch

        sounds = _check_sounds(sounds)
        model, extractor = self._loaded
        longest = int(extractor.nb_max_samples)
        if sounds.shape[1] > longest:
            raise ParameterError(
                f"clap:{self.place} takes clips of {longest / self.sr:g} s at most, found windows of "
                f"{sounds.shape[1] / self.sr:g} s. Use shorter windows."
            )
        vectors, frames = [], []
        for start in range(0, len(sounds), BATCH):
            given = extractor(list(sounds[start : start + BATCH]), sampling_rate=self.sr, return_tensors="pt")
            never = torch.zeros_like(torch.as_tensor(given["is_longer"]))
            with torch.inference_mode():
                heard = model.audio_model(input_features=given["input_features"].float(), is_longer=never)
                projected = model.audio_projection(heard.pooler_output)
                own = heard.last_hidden_state.mean(2).mT  # (n, n_frames, hidden), over the bands
                n_own = max(1, round(own.shape[1] * sounds.shape[1] / longest))
                frames.append(model.audio_projection(own[:, :n_own]).numpy())
                vectors.append(torch.nn.functional.normalize(projected, dim=-1).numpy())
        return Embedded(*(np.concatenate(part).astype(np.float32, copy=False) for part in (vectors, frames)))

    @cached_property
    def _loaded(self):
        try:
            import torch  # noqa: F401
            from transformers import ClapFeatureExtractor, ClapModel
        except ModuleNotFoundError as error:
            raise _missing(f"clap:{self.place}", error) from error
        try:
            model, info = ClapModel.from_pretrained(
                self.place, output_loading_info=True, local_files_only=self.is_folder
            )
            extractor = ClapFeatureExtractor.from_pretrained(self.place, local_files_only=self.is_folder)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            first = str(error).strip().partition("\n")[0]
            raise DataError(f"clap:{self.place} cannot be read ({first}). {_EXPECTED}; save it there again.") from error
        lost = sorted(info["missing_keys"]) + [str(key[0]) for key in info["mismatched_keys"]]
        if lost:
            raise DataError(
                f"clap:{self.place} lacks {len(lost)} of the model's weights ({', '.join(lost[:3])}"
                f"{', …' if len(lost) > 3 else ''}), which would be random numbers. {_EXPECTED}; save or fetch it again."
            )
        return model.eval().requires_grad_(False), extractor


class Onnx:
    """A network in a file of the ONNX format that takes sound.

    Parameters
    ----------
    place : path

    Notes
    -----
    A file that takes a fixed number of samples gets windows padded with silence, or cut into parts of that length; frames
    of the padding are left out. The vector is the mean over the frames where the network gives no vector of its own.
    """

    def __init__(self, place):
        self.place = Path(place)
        if not self.place.is_file():
            raise DataError(f"onnx:{place}: there is no such file. Expected a network in the ONNX format (.onnx).")

    @cached_property
    def made_of(self):
        """What the numbers follow from: the file."""
        return {"onnx": _store_files.sha256(self.place)}

    @cached_property
    def sr(self):
        """Hertz."""
        told = self._session.get_modelmeta().custom_metadata_map.get("sample_rate", SR_ONNX)
        try:
            return sound.check_rate(float(told))
        except ValueError:
            raise DataError(
                f"onnx:{self.place}: expected a sample_rate in hertz in its metadata, found {told!r}."
            ) from None

    def embed(self, sounds) -> Embedded:
        """Vectors of windows of sound ``(n, n_samples)`` at `sr`.

        Raises
        ------
        DataError
            A file that onnxruntime cannot run, or whose inputs or outputs are no sound and no vectors.
        """
        sounds = _check_sounds(sounds)
        axes, length = self._input
        n, n_samples = sounds.shape
        length = length or n_samples
        n_parts = -(-n_samples // length)
        padded = np.pad(sounds, ((0, 0), (0, n_parts * length - n_samples))).reshape(n * n_parts, length)
        step = 1 if axes[0] == 1 else BATCH
        blocks = [self._run(padded[start : start + step], axes) for start in range(0, len(padded), step)]
        vectors, frames = (_joined([block[kind] for block in blocks]) for kind in (0, 1))
        if frames is not None:
            frames = frames.reshape(n, -1, frames.shape[-1])
            frames = frames[:, : max(1, round(frames.shape[1] * n_samples / (n_parts * length)))]
        if vectors is None:
            vectors = frames.mean(1)
        elif n_parts > 1:
            vectors = vectors.reshape(n, n_parts, -1).mean(1)
        return Embedded(vectors, frames)

    @cached_property
    def _session(self):
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise _missing(f"onnx:{self.place}", error) from error
        try:
            return onnxruntime.InferenceSession(str(self.place), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes have no common base but this
            first = str(error).strip().partition("\n")[0]
            raise DataError(f"onnx:{self.place} cannot be read as a network ({first}). Export it again.") from error

    @cached_property
    def _input(self):
        """Shape that a block takes, -1 for the windows and 0 for the samples; and the samples, 0 for any number."""
        given = self._session.get_inputs()
        shape = given[0].shape if len(given) == 1 else []
        sizes = [size if isinstance(size, int) and size > 0 else 0 for size in shape]
        told = "; ".join(f"{one.name} {one.type} {one.shape}" for one in given)
        layouts = {1: (0,), 2: (-1, 0), 3: (-1, 1, 0) if sizes[1:2] == [1] else (-1, 0, 1)}
        axes = layouts.get(len(sizes))
        is_sound = axes is not None and "float" in given[0].type and (len(sizes) < 3 or sizes[axes.index(1)] == 1)
        if not is_sound or (len(sizes) > 1 and sizes[0] not in (0, 1)):
            raise DataError(
                f"onnx:{self.place}: expected one input of sound, float of shape (n, n_samples), (n, n_samples, 1), "
                f"(n, 1, n_samples) or (n_samples,), with n free or 1; found {told or 'none'}."
            )
        length = sizes[axes.index(0)]
        if len(sizes) == 1 or sizes[0] == 1:  # one window at a time
            axes = tuple(1 if axis == -1 else axis for axis in axes) if len(sizes) > 1 else (1, 0)
        return axes, length

    def _run(self, block, axes):
        """Vectors and frames of some windows of the length that the network takes; None for what it does not give."""
        one = self._session.get_inputs()[0]
        alone = len(one.shape) == 1
        given = block[0] if alone else block.reshape([block.shape[1] if axis == 0 else axis for axis in axes])
        kind = np.float16 if "float16" in one.type else np.float64 if "double" in one.type else np.float32
        try:
            made = self._session.run(None, {one.name: np.ascontiguousarray(given, kind)})
        except Exception as error:  # see _session
            first = str(error).strip().partition("\n")[0]
            raise DataError(f"onnx:{self.place} cannot take windows of {block.shape[1]} samples ({first}).") from error
        made = [np.asarray(array, np.float32)[None] if alone else np.asarray(array, np.float32) for array in made]
        vectors = [array for array in made if array.ndim == 2 and len(array) == len(block)]
        frames = [array for array in made if array.ndim == 3 and len(array) == len(block)]
        if len(vectors) + len(frames) < len(made) or len({array.shape[1] for array in frames}) > 1:
            raise DataError(
                f"onnx:{self.place}: expected outputs of shape (n, dim) or (n, n_frames, dim), the frames alike, for "
                f"n = {len(block)} windows; found {', '.join(str(array.shape) for array in made)}."
            )
        return tuple(np.concatenate(part, -1) if part else None for part in (vectors, frames))


@dataclass(frozen=True, eq=False)
class Seconds:
    """Vectors of the windows of a table, looked up by stimulus and second; made by `of_windows`.

    Attributes
    ----------
    dim : int
        Numbers of a vector.
    stimuli : dict of str to np.ndarray [shape=(n_windows, dim)]
        Once a stimulus.
    """

    dim: int
    stimuli: dict[str, np.ndarray]
    table: pd.DataFrame = field(repr=False)
    duration: int = 1

    def __call__(self, index):
        """Vectors of the windows `index`: ``(len(index), dim)``, float32."""
        rows = self.table.iloc[np.asarray(index)]
        names, seconds = rows["stimulus"].to_numpy(str), rows["second"].to_numpy() // self.duration
        out = np.empty((len(rows), self.dim), np.float32)
        for name in np.unique(names):
            here = names == name
            out[here] = self.stimuli[name][seconds[here]]
        return out


def of_windows(windows, opened, name) -> Seconds:
    """The vectors of the sounds of windows, one encoding a stimulus.

    Parameters
    ----------
    windows : Windows
    opened : Store
        That they were cut from.
    name : str
        Of the encoder: ``"clap:…"`` or ``"onnx:…"``.

    Returns
    -------
    Seconds

    Raises
    ------
    DataError
        Vectors that are not finite; see `open` for the rest.
    """
    encoder = open(name)
    duration = int(windows.settings.get("duration", 1))
    made_of = {"format": _FORMAT, "duration": duration, **encoder.made_of}
    found = {}
    for stimulus in windows.songs:

        def make(stimulus=stimulus):
            seconds = windowing.sound_seconds(opened, stimulus)
            n = len(seconds) // duration
            y = sound.resample(seconds[: n * duration].ravel(), features.SR, to=encoder.sr)
            return encoder.embed(y.reshape(n, -1)).vectors

        vectors = windowing.kept(f"music-{parse(name)[0]}", made_of, make, beside=windows.sounds[stimulus])
        if not np.isfinite(vectors).all():
            raise DataError(f"{name} gives vectors that are not finite for the sound of {stimulus}.")
        found[stimulus] = vectors
    return Seconds(next(iter(found.values())).shape[1], found, windows.table, duration)


def _check_sounds(sounds):
    sounds = np.asarray(sounds, np.float32)
    if sounds.ndim != 2 or not sounds.size:
        raise ParameterError(f"expected windows of sound, (n, n_samples); found shape {sounds.shape}.")
    if not np.isfinite(sounds).all():
        raise DataError("the windows of sound hold NaN or infinity.")
    return sounds


def _joined(parts):
    return None if parts[0] is None else np.concatenate(parts)


def _missing(name, error):
    return MissingDependencyError(
        f"the encoder {name} needs {error.name}, which is not installed. Install it with: "
        'python -m pip install "eegviz[encoders]"'
    )
