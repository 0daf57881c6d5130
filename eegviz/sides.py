"""The training side of a split, the only thing that may be fitted on.

Scalers, mean pictures, filters, classifiers, alignment, clusters, levels: whatever is estimated from data and then used
on the test is estimated from a `TrainingView`. It is made from windows *and a split*, holds the training rows and
nothing else, and every function of the package that fits takes one and refuses anything else; so a statistic cannot be
fitted on all windows by mistake.

Functions: `training_view` (the only maker), `only_training` (the check that fit functions call).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eegviz.errors import ParameterError

BLOCK = 64  # windows read at a time
_MAKER = object()


@dataclass(frozen=True, eq=False)
class TrainingView:
    """Training windows of a split; made by `training_view`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a training window, in the order of ``split.train``; positions below count in it.
    pictures : callable
        ``pictures(positions)``: inputs ``(len(positions), …)``, float32.
    targets : callable
        ``targets(positions)``: what is to be predicted, ``(len(positions), …)``.
    settings : dict
        Those of the windows, such as ``ch_names`` and ``sfreq``; empty where the windows have none.
    beside : callable or None
        ``beside(positions)``: what else the training knows of them, such as vectors of the music ``(len(positions), dim)``.
    """

    table: pd.DataFrame
    pictures: Callable = field(repr=False)
    targets: Callable = field(repr=False)
    settings: dict = field(repr=False, default_factory=dict)
    beside: Callable | None = field(default=None, repr=False)
    maker: object = field(default=None, repr=False)

    def __post_init__(self):
        if self.maker is not _MAKER:
            raise ParameterError(
                "a TrainingView is made by training_view(windows, split) only, so that it holds no validation and no test "
                "windows."
            )

    def __len__(self):
        return len(self.table)

    def blocks(self, size=None) -> Iterator[np.ndarray]:
        """Positions of all training windows, `size` at a time (`BLOCK` where none is given)."""
        every, size = np.arange(len(self)), size or BLOCK
        return (every[i : i + size] for i in range(0, len(self), size))


def training_view(windows, split, *, pictures=None, targets=None, beside=None) -> TrainingView:
    """The training side of `windows` under `split`.

    Parameters
    ----------
    windows : Windows
        With ``table``, ``pictures(index)`` and ``target(index)``.
    split : Split
    pictures, targets : callable, optional
        Other inputs and targets of the same rows, as functions of **positions in the training side**: predictions of
        the training windows, or class numbers.
    beside : callable, optional
        Further arrays of the same rows, as a function of positions too.

    Returns
    -------
    TrainingView

    Raises
    ------
    ParameterError
        When the split does not belong to these windows, or its training side meets another side.
    """
    train = np.asarray(split.train)
    n = len(windows.table)
    if not len(train) or train.min() < 0 or train.max() >= n:
        raise ParameterError(
            f"{split.spec}: the training side has {len(train)} rows up to {train.max(initial=-1)}, the table {n}. "
            "Was the split made from other windows?"
        )
    both = np.intersect1d(train, np.concatenate([split.validation, split.test]))
    if len(both):
        raise ParameterError(
            f"{split.spec}: row {both[0]} is in the training side and in another one. Use splits.split."
        )
    return TrainingView(
        windows.table.iloc[train].reset_index(drop=True),
        pictures or (lambda positions: windows.pictures(train[positions])),
        targets or (lambda positions: windows.target(train[positions])),
        getattr(windows, "settings", {}),
        beside,
        _MAKER,
    )


def only_training(view, what) -> TrainingView:
    """`view` itself, when it is a `TrainingView`; `what` is fitted, in words.

    Raises
    ------
    ParameterError
        For anything else: arrays, windows, a table.
    """
    if not isinstance(view, TrainingView):
        raise ParameterError(
            f"{what} is fitted on training windows only: expected a TrainingView (sides.training_view(windows, split)), "
            f"found {type(view).__name__}. Statistics of all windows would leak the test."
        )
    return view
