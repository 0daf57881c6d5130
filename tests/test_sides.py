import numpy as np
import pytest

from eegviz import sides, splits, windowing
from eegviz.errors import ParameterError


@pytest.fixture(scope="module")
def made(tiny_store):
    windows = windowing.windows(tiny_store)
    return windows, splits.split(windows.table, "repeat")


def test_a_view_holds_the_training_side_and_nothing_else(made):
    windows, split = made
    view = sides.training_view(windows, split)
    assert len(view) == len(split.train)
    assert view.table.equals(windows.table.iloc[split.train].reset_index(drop=True))
    assert set(view.table["repeat"]) == {1}
    positions = np.array([5, 0, 9])
    assert np.array_equal(view.pictures(positions), windows.pictures(split.train[positions]))
    assert np.array_equal(view.targets(positions), windows.target(split.train[positions]))


def test_blocks_cover_every_position_once(made):
    view = sides.training_view(*made)
    assert np.array_equal(np.concatenate(list(view.blocks(7))), np.arange(len(view)))
    assert max(map(len, view.blocks())) <= sides.BLOCK


def test_other_inputs_and_targets_of_the_same_rows(made):
    windows, split = made
    view = sides.training_view(windows, split, pictures=lambda rows: -rows, targets=lambda rows: rows % 2)
    assert view.pictures(np.array([3])).tolist() == [-3]
    assert view.targets(np.array([3])).tolist() == [1]
    assert view.beside is None
    view = sides.training_view(windows, split, beside=lambda rows: 2 * rows)
    assert view.beside(np.array([3])).tolist() == [6]


def test_a_view_cannot_be_made_by_hand(made):
    windows, split = made
    with pytest.raises(ParameterError, match=r"made by training_view\(windows, split\) only"):
        sides.TrainingView(windows.table, windows.pictures, windows.target)
    with pytest.raises(ParameterError, match="input scaling is fitted on training windows only.*found ndarray"):
        sides.only_training(np.zeros(3), "input scaling")
    view = sides.training_view(windows, split)
    assert sides.only_training(view, "input scaling") is view


def test_splits_that_do_not_fit_or_leak_are_refused(made):
    import dataclasses

    windows, split = made
    with pytest.raises(ParameterError, match="made from other windows"):
        sides.training_view(windows, dataclasses.replace(split, train=split.train + len(windows)))
    with pytest.raises(ParameterError, match="the training side has 0 rows"):
        sides.training_view(windows, dataclasses.replace(split, train=split.train[:0]))
    with pytest.raises(ParameterError, match=f"row {split.test[0]} is in the training side and in another one"):
        sides.training_view(windows, dataclasses.replace(split, train=np.append(split.train, split.test[0])))
