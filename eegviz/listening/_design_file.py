"""A listening test on disk: ``design.json``, which holds the answers, and sounds under random names (for `abx`)."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from eegviz import runs
from eegviz.errors import DataError
from eegviz.listening._balance import Example
from eegviz.listening._design import Design, Planned, as_json
from eegviz.listening.texts import Texts

_FILE = re.compile(r"[0-9a-f]{16}\.ogg")


def check_new(folder) -> Path:
    """The folder as a path, or a DataError where it holds a test already or cannot be a folder."""
    there = next(one for one in (Path(folder).absolute(), *Path(folder).absolute().parents) if one.exists())
    if not there.is_dir():
        raise DataError(f"{folder} cannot be a folder: {there} is a file. Choose another folder for the test.")
    if (Path(folder) / "design.json").exists():
        raise DataError(
            f"{folder} holds a listening test already. Choose another folder, so that its answers stay true."
        )
    return Path(folder)


def check_is_test(folder) -> Path:
    """The file of a test's design, or a DataError where the folder is not a listening test."""
    path = Path(folder) / "design.json"
    if not path.is_file():
        raise DataError(
            f"{folder} is not a listening test: expected a folder with design.json. eegviz listening-test make makes one."
        )
    return path


def save(made, folder) -> Path:
    """Write a test with its sounds into a new folder: ``design.json`` (with all answers: not for participants) and ``sounds/``.

    Sounds have random names. The design is written last, so a folder that has it is complete.

    Raises
    ------
    DataError
        The folder holds a test already, or sounds are missing.
    """
    folder = check_new(folder)
    keys = sorted({key for one in made.trials for key in one.keys(made.task)})
    if lost := [key for key in keys if key not in made.sounds]:
        raise DataError(f"{len(lost)} of the {len(keys)} sounds are not made; make all with make_sounds before saving.")
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    files = []
    for key in keys:
        name = f"{secrets.token_hex(8)}.ogg"
        (folder / "sounds" / name).write_bytes(made.sounds[key])
        files.append([*key, name])
    runs.write_json(folder / "design.json", {"format": 1, **as_json(made), "files": files})
    return folder


def open(folder) -> Design:
    """Open a saved test; sounds are read when they are asked for.

    Raises
    ------
    DataError
        The folder is not a listening test, or is damaged.
    """
    path = check_is_test(folder)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        files = {tuple(key): name for *key, name in held["files"]}
        if bad := [name for name in files.values() if not _FILE.fullmatch(name)]:
            raise DataError(f"{path} is damaged: {bad[0]!r} is not the name of a sound. Make the test again.")
        trials = tuple(
            Planned(**one | {"target": Example(**one["target"]), "foil": Example(**one["foil"])})
            for one in held["trials"]
        )
        settings = {k: held[k] for k in ("task", "n_versions", "duration", "trial_s", "total_s", "seed", "about", "sr")}
        return Design(
            trials=trials, texts=Texts(**held["texts"]), notes=tuple(held["notes"]),
            sounds=_Folder(Path(folder) / "sounds", files), **settings,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}). Make the test again.") from None


class _Folder(Mapping):
    """Sounds on disk, read when asked for."""

    def __init__(self, folder, files):
        self._folder, self._files = folder, files

    def __getitem__(self, key):
        return (self._folder / self._files[key]).read_bytes()

    def __iter__(self):
        return iter(self._files)

    def __len__(self):
        return len(self._files)
