"""Random orders of the windows of a table (public as `eegviz.nulls.orders`)."""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eegviz import _checks
from eegviz import _time_blocks as time_blocks
from eegviz._time_blocks import Cell
from eegviz.errors import ParameterError

LENGTHS = (5.0, 2.0, 1.0)  # seconds; the first in which half of a recording's windows can move


@dataclass(frozen=True, eq=False)
class Orders:
    """Random orders of the windows of a table; made by `orders`.

    Attributes
    ----------
    n, n_windows, n_moving : int
        Orders; windows; windows that can change places.
    length : float
        Seconds in a block (the longest, where recordings differ).
    arrangements : float
        How many different orders there are, at most 1e304 (at least so many, where the recordings of a song differ in
        length); p cannot get much below one over it.
    unit : str
        What was permuted, in words.
    cells : tuple of Cell
        Every row of the table is in one of them.
    """

    n: int
    n_windows: int
    n_moving: int
    length: float
    arrangements: float
    unit: str
    cells: tuple = field(repr=False)

    @property
    def index(self):
        """Row whose place each row takes, int32 (n, n_windows): ``prediction[index[k]]`` is the k-th permutation."""
        index = np.empty((self.n, self.n_windows), dtype=np.int32)
        for cell in self.cells:
            index[:, cell.rows.ravel()] = cell.rows[cell.order].reshape(self.n, -1)
        return index


def orders(table, *, n=1000, seed=0, lengths=None, how="auto", together=None, max_pairs=None):
    """Random orders of windows: whole blocks of time change places within their recordings.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a window: ``recording``, ``second`` and, where it is known, ``stimulus``.
    n : int
        Permutations; 1000 or more for a report.
    seed : int or numpy.random.Generator
    lengths : sequence of float, optional
        Seconds in a block, in falling order: each recording takes the first in which half of its windows can move. By
        default `LENGTHS`, or where all windows begin at multiples of some seconds, as windows of 4 s do, the next multiples.
    how : {"auto", "rotate", "shuffle"}
        ``"rotate"``: a recording is turned round by a random number of blocks, so that slow courses keep their shape.
        ``"shuffle"``: its blocks are dealt at random; many more orders.
    together : bool, optional
        True: the recordings of a song are put in the same order (needs ``stimulus``), so that a course which predictions
        of several listeners have in common and which is not the music's (the start of a trial, fatigue) meets the song
        once and not once a listener. False: each recording has an order of its own.
    max_pairs : int, optional
        Let fewer and longer blocks (or smaller groups of them) change places, so that `pairs` meets at most this many
        pairs of pictures. The test stays exact; it loses a little power.

    Returns
    -------
    Orders

    Raises
    ------
    ParameterError
        When no window can move, or an argument does not fit.
    DataError
        When the table holds a window twice.

    Notes
    -----
    What is left open is chosen by the table alone: the first of *rotate together*, *shuffle together*, *rotate each*,
    *shuffle each* that has at least `n` different orders, the last when none has. `unit` says which it was.

    False positives at 5 % for recordings of 40 s whose pictures are autoregressive and hold no signal (300 sets of 3 songs
    × 4 listeners; correlation .5, .8, .95 from one second to the next): single windows .10, .20, .26; shuffled blocks of 5 s
    .07, .10, .14; rotated ones .06, .06, .07. Where half of each listener's prediction was a course common to all: .16 with
    an order for each recording, .05 together.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"recording": "r", "stimulus": "a", "second": range(20)})
    >>> found = orders(table, n=100)
    >>> found.unit
    'blocks of 5 s shuffled within recordings, 100 permutations (24 different orders)'
    >>> found.index.shape
    (100, 20)
    """
    lengths = time_blocks.multiples(LENGTHS, table) if lengths is None else lengths
    n, lengths = _checks.count(n, "n"), [time_blocks.check_length(length) for length in lengths]
    if not lengths or sorted(lengths, reverse=True) != lengths:
        raise ParameterError(f"lengths={lengths}: expected seconds in falling order, such as (5, 2, 1).")
    if how not in ("auto", "rotate", "shuffle"):
        raise ParameterError(f"unknown how={how!r}: expected auto, rotate or shuffle.")
    most = None if max_pairs is None else _checks.count(max_pairs, "max_pairs") // len(table)
    if most is not None and most < 2:
        raise ParameterError(
            f"max_pairs={max_pairs} is less than two for each of the {len(table)} windows: nothing could change places. "
            "Raise it, or score fewer windows."
        )
    for plan in _plans(table, lengths, how, together, most):
        if plan.ways >= math.log(n):
            break
    rng, drawn = np.random.default_rng(seed), {}
    for key in sorted(plan.numbers):
        number = np.array(sorted(plan.numbers[key]))
        drawn[key] = number, rng.random(n), rng.random((n, len(number))), rng.random(len(number))
    cells = []
    for recording, (owner, (length, number, blocks)) in enumerate(zip(plan.owners, plan.chosen, strict=True)):
        known, turn, keys, lot = drawn[owner, length]
        column = np.searchsorted(known, number)
        for group in time_blocks.groups_of(blocks, plan.rotate, most, lot[column]):
            rows = np.stack([np.concatenate([blocks[block] for block in unit]) for unit in group])
            if plan.rotate:
                order = (np.arange(len(group)) + (turn[:, None] * len(group)).astype(int)) % len(group)
            else:
                order = keys[:, column[group[:, 0]]].argsort(axis=1)
            cells.append(Cell(recording, rows, order.astype(np.int32)))
    moving = sum(cell.rows.size for cell in cells if len(cell.rows) > 1)
    if not moving:
        raise ParameterError(
            f"nothing can be permuted: none of the {len(plan.owners)} recordings has two windows, and a permutation p "
            "needs recordings with two or more."
        )
    used = [length for length, number, _ in plan.chosen if len(number) > 1]
    unit = f"{_unit(plan, used, len(table) - moving, len(table), cells)}, {n} permutations{few(plan.ways, n)}"
    return Orders(n, len(table), moving, max(used), float(np.rint(np.exp(min(plan.ways, 700.0)))), unit, tuple(cells))


@dataclass(frozen=True)
class _Plan:
    """A way to permute: whose order each recording has, its blocks, and the logarithm of the number of orders."""

    rotate: bool
    together: bool
    owners: list
    chosen: list
    numbers: dict
    ways: float


def _plans(table, lengths, how, together, most):
    """Ways to permute, the best first."""
    has_song = isinstance(table, pd.DataFrame) and "stimulus" in table
    for joint in (True, False) if together is None and has_song else (bool(together),):
        parts, owners = time_blocks.recordings(table, joint)
        start, numbers = {}, {}
        for owner, (_, second) in zip(owners, parts, strict=True):
            start[owner] = min(start.get(owner, np.inf), second[0])
        chosen = [
            time_blocks.choose(rows, second - start[owner], lengths)
            for owner, (rows, second) in zip(owners, parts, strict=True)
        ]
        for owner, (length, number, _) in zip(owners, chosen, strict=True):
            numbers.setdefault((owner, length), set()).update(number.tolist())
        for rotate in (True, False) if how == "auto" else (how == "rotate",):
            ways = {}
            for owner, (_, _, blocks) in zip(owners, chosen, strict=True):
                own = time_blocks.ways(time_blocks.groups_of(blocks, rotate, most), rotate)
                ways[owner] = max(ways.get(owner, 0.0), own)
            yield _Plan(rotate, joint, owners, chosen, numbers, sum(ways.values()))


def _unit(plan, lengths, n_still, n_windows, cells):
    """What is permuted, in words."""
    sizes, counts = np.unique(lengths, return_counts=True)
    words = f"blocks of {sizes[-1]:g} s"
    if len(sizes) > 1:
        shorter = ", ".join(f"{size:g} s in {count}" for size, count in zip(sizes[-2::-1], counts[-2::-1], strict=True))
        words += f" ({shorter} of {len(lengths)} recordings)"
    words += f" {'rotated' if plan.rotate else 'shuffled'} within recordings"
    if plan.together and len(plan.owners) > len(set(plan.owners)):
        words += ", alike for all recordings of a song"
    whole = max(
        len(group) for _, _, blocks in plan.chosen for group in time_blocks.groups_of(blocks, plan.rotate, None)
    )
    largest = max(len(cell.rows) for cell in cells)
    if largest < whole:
        words += f", in {largest} longer units" if plan.rotate else f", in groups of up to {largest}"
    if n_still:
        words += f" ({n_still} of {n_windows} windows stay in place)"
    return words


def few(ways, n):
    """Words where there are fewer different orders than permutations; `ways` is the logarithm of their number."""
    return f" ({round(math.exp(ways))} different orders)" if ways < math.log(n) else ""
