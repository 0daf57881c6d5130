"""Data sets: each is read once into a store (:mod:`eegviz.store`), and everything later is the same code for all.

A data set's module states ``NAME, TITLE, LICENCE, CITATION, WHERE`` (where to get it) and a function ``ingest``. The
modules are imported when they are asked for.

========  ===============================================================
nmed-t    NMED-T: 20 listeners × 10 songs, 125 channels (:mod:`.nmed_t`)
nmed-h    NMED-H: 48 listeners, 16 stimuli, two hearings (:mod:`.nmed_h`)
mos       MOS: 21 listeners hear and imagine four melodies (:mod:`.mos`)
openmiir  OpenMIIR: 10 listeners hear and imagine 12 pieces (:mod:`.openmiir`)
mad-eeg   MAD-EEG: 8 listeners attend to an instrument (:mod:`.mad_eeg`)
deap      DEAP: 32 people watch 40 music videos and rate them (:mod:`.deap`)
own       your recordings, named in a table (:mod:`.own`)
========  ===============================================================

Functions: :func:`names`, :func:`get`, :func:`ingest`. Shown in notebook 01 (data tour).
"""

import difflib
import importlib
import inspect
from dataclasses import dataclass, field
from pathlib import Path

from eegviz.errors import ParameterError

_DEFAULTS = {"unit": "auto", "max_mismatch": 2.0}  # an option with this value counts as not given
_MODULES = {
    "nmed-t": "nmed_t",
    "nmed-h": "nmed_h",
    "mos": "mos",
    "openmiir": "openmiir",
    "mad-eeg": "mad_eeg",
    "deap": "deap",
    "own": "own",
}


@dataclass(frozen=True)
class IngestReport:
    """What became of an ingest.

    Attributes
    ----------
    store : Path
        The finished store.
    n_recordings : int
        Recordings in the store.
    n_skipped : int
        Files, recordings or tables that were left out; one line each in ``problems``.
    problems, warnings : list of str
        What was left out and why; what was kept and is worth knowing (cropped, bad channels).
    """

    store: Path
    n_recordings: int
    n_skipped: int = 0
    problems: list = field(default_factory=list)
    warnings: list = field(default_factory=list)

    def summary(self):
        """Return the report as text, one line each."""
        lines = [f"{self.store}: {self.n_recordings} recordings, {self.n_skipped} left out"]
        lines += [f"left out: {line}" for line in self.problems] + [f"note: {line}" for line in self.warnings]
        return "\n".join(lines)


def names():
    """Return the names of the data sets.

    Examples
    --------
    >>> names()
    ['nmed-t', 'nmed-h', 'mos', 'openmiir', 'mad-eeg', 'deap', 'own']
    """
    return list(_MODULES)


def get(name):
    """Return the module of a data set.

    Raises
    ------
    ParameterError
        When the name is unknown.

    Examples
    --------
    >>> get("nmed-t").LICENCE
    'CC BY'
    """
    key = str(name).lower().replace("_", "-")
    if key not in _MODULES:
        near = difflib.get_close_matches(key, _MODULES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParameterError(f"unknown data set {name!r}: expected one of {', '.join(_MODULES)}{hint}")
    return importlib.import_module(f"{__name__}.{_MODULES[key]}")


def ingest(dataset, source, store_path, *, audio=None, **options):
    """Read a data set into a store.

    Parameters
    ----------
    dataset : str
        One of :func:`names`.
    source : str or Path
        Folder of the original files (``own``: the table).
    store_path : str or Path
        Folder to make. A killed ingest continues when it is started again.
    audio : str or Path, optional
        Folder of the stimuli's sounds; when it is not given, they are looked for in ``source``.
    **options
        Keywords of the data set's own ``ingest``, such as ``unit``, ``max_mismatch``, ``offsets``, ``overwrite``;
        None, ``unit="auto"`` and ``max_mismatch=2.0`` leave a data set's own default.

    Returns
    -------
    IngestReport

    Raises
    ------
    ParameterError
        When the data set or an option is unknown, or the store exists already.
    DataError
        When nothing at all could be read. No store is left then.
    """
    module = get(dataset)
    options["audio"] = audio
    options = {key: value for key, value in options.items() if value is not None and value != _DEFAULTS.get(key)}
    allowed = [
        name for name, item in inspect.signature(module.ingest).parameters.items() if item.kind == item.KEYWORD_ONLY
    ]
    if unknown := sorted(set(options) - set(allowed)):
        raise ParameterError(
            f"{module.NAME} does not take {', '.join(unknown)}; it takes {', '.join(allowed) or 'no options'}"
        )
    return module.ingest(source, store_path, **options)
