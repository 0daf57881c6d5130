"""The registry of models, by name.

A model module has a pydantic ``Config`` (every knob with its published value or a comment that it is our choice),
``PRESETS`` (named settings that tests pin to the papers), ``TASK`` (``"regression"`` or ``"classification"``), ``EEG``
(the kind of EEG features it takes by default), where it wants other sound than `AUDIO` an ``AUDIO`` of its own (see
`default_audio`), ``features(config)`` (what else its pictures must hold: band, context, duration),
``for_features(config, eeg)`` (the settings that fit a kind of EEG, or a refusal) and
``build(config, in_shape, out_shape) -> torch.nn.Module``. The module that it builds has ``forward`` and either
``fit_input`` (or ``fit_view(view, classes)``), ``fit_output`` (statistics of training windows) and ``loss``, or a
closed-form ``solve(view, seed=…)``; what else the training loop asks a module is in `eegviz.fitting.fit`. A module with
``GROUPS``, columns of the table of windows, gets ``build(…, groups)``, how many values each has. One with
``beside(config, windows, store)`` may return a function of window numbers with a ``dim``, such as the vectors of a music encoder
``(n, dim)``: training hands them over after the song, ``view.beside`` has them for the fits, and ``build`` gets ``(dim,)`` last.
"""

from __future__ import annotations

from importlib import import_module

from pydantic import ValidationError

from eegviz.errors import MissingDependencyError, ParameterError

_MODULES = {
    "ridge": "eegviz.models.ridge",
    "cnn": "eegviz.models.cnn",
    "rcnn": "eegviz.models.rcnn",
    "encoder-decoder": "eegviz.models.encoder_decoder",
    "transformer": "eegviz.models.transformer",
    "gan": "eegviz.models.gan",
    "alignment": "eegviz.models.alignment",
    "diffusion": "eegviz.models.diffusion",
    "tokens": "eegviz.models.tokens",
    "classifier": "eegviz.models.classifier",
}
MODELS = tuple(_MODULES)
AUDIO = "mel-db"  # the kind of spectrogram that a model draws unless it or its user says otherwise


def module(name):
    """The module of the model called `name`; an unknown name lists the known ones."""
    if name not in _MODULES:
        raise ParameterError(f"unknown model {name!r}; known are {', '.join(MODELS)}.")
    try:
        return import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the model {name} needs {error.name}, which is not installed. Install it with: "
            'python -m pip install "eegviz[train]"'
        ) from error


def default_audio(name):
    """The kind of spectrogram that the model called `name` draws by default: its module's ``AUDIO``, else `AUDIO`.

    >>> default_audio("cnn"), default_audio("gan")
    ('mel-db', 'mel-80-db')
    """
    return getattr(module(name), "AUDIO", AUDIO)


def config(name, preset=None, /, **settings):
    """The validated settings of a model: a preset, changed by `settings`."""
    model = module(name)
    preset = preset or model.DEFAULT_PRESET
    if preset not in model.PRESETS:
        raise ParameterError(f"model {name} has no preset {preset!r}; known are {', '.join(model.PRESETS)}.")
    return validated(model.Config, {**model.PRESETS[preset], **settings}, what=f"model {name}")


def validated(config_class, values, *, what):
    """A pydantic config from `values`; what is wrong with them becomes one `ParameterError`."""
    unknown = sorted(set(values) - set(config_class.model_fields))
    if unknown:
        raise ParameterError(
            f"{what} has no setting {', '.join(map(repr, unknown))}; known are {', '.join(config_class.model_fields)}."
        )
    try:
        return config_class(**values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}, found {e['input']!r}" for e in error.errors()
        )
        raise ParameterError(f"{what} cannot use these settings: {wrong}.") from None
