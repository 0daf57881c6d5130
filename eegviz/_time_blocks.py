"""Blocks of time: reading the times of windows, numbering blocks, shuffling them (for `eegviz.stats` and `eegviz.nulls`)."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegviz.errors import DataError, ParameterError


def times(windows):
    """Recording (numbered in the order of the names) and second of each window."""
    if isinstance(windows, pd.DataFrame):
        missing = [column for column in ("recording", "second") if column not in windows]
        if missing:
            raise ParameterError(f"the table of windows lacks {', '.join(missing)}.")
        recording = pd.factorize(windows["recording"].astype(str), sort=True)[0]
        second = windows["second"]
    else:
        second = np.asarray(windows)
        recording = np.zeros(second.shape, dtype=int)
    second = np.asarray(second, dtype=float)
    if second.ndim != 1 or not len(second) or not np.isfinite(second).all():
        raise ParameterError(f"seconds have shape {second.shape}, expected (n,) finite numbers.")
    return recording, second


def number_blocks(recording, second, length):
    """Consecutive number of the block of time of each window."""
    place = np.floor(second / check_length(length) + 1e-9).astype(np.int64)
    place -= place.min()
    return np.unique(recording * (place.max() + 1) + place, return_inverse=True)[1]


def check_length(length):
    """A finite float above 0."""
    if not (np.isfinite(length) and length > 0):
        raise ParameterError(f"length={length}: expected a number of seconds above 0.")
    return float(length)


def multiples(lengths, table):
    """Lengths of blocks in seconds that hold whole windows: the next multiples of what all the table's seconds divide by."""
    _, second = times(table)
    apart = np.unique(np.diff(np.unique(second)))
    step = math.gcd(*apart.astype(int).tolist()) if (apart == np.rint(apart)).all() else 1
    step = max(step, 1)
    return sorted({float(math.ceil(length / step) * step) for length in lengths}, reverse=True)


def blocks_per_recording(recording, block):
    """How many blocks each recording has."""
    return np.bincount(recording[np.unique(block, return_index=True)[1]])


def derange(order, base, recording, block, rng):
    """Shuffle each recording's blocks until no window keeps its place; turn them round where that is rare."""
    for rows in np.split(base, np.flatnonzero(np.diff(recording[base])) + 1):
        starts = np.flatnonzero(np.diff(block[rows])) + 1
        parts = np.split(rows, starts)
        for _ in range(50):  # about one shuffle in e has no fixed point
            dealt = np.concatenate([parts[i] for i in rng.permutation(len(parts))])
            if (dealt != rows).all():
                break
        else:
            dealt = np.roll(rows, rng.choice(starts))
        order[rows] = dealt


# --- blocks that trade places ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cell:
    """Blocks of one recording that hold as many windows and trade places.

    Attributes
    ----------
    recording : int
        Number of the recording (and song) that the blocks are of.
    rows : ndarray of int, shape (n_blocks, size)
        Rows of the table in each block, in the order of time.
    order : ndarray of int32, shape (n, n_blocks)
        In each permutation, the block whose place each block takes.
    """

    recording: int
    rows: np.ndarray
    order: np.ndarray


def recordings(table, together):
    """Rows and seconds of each recording in time, sorted by name; and with what each shares its order."""
    if not isinstance(table, pd.DataFrame):
        raise ParameterError(f"expected a table of windows (pandas.DataFrame), found {type(table).__name__}.")
    recording, second = times(table)
    song = np.zeros(len(table), dtype=int)
    if "stimulus" in table:
        song = pd.factorize(table["stimulus"].fillna("").astype(str), sort=True)[0]
    elif together:
        raise ParameterError("together=True needs the column stimulus in the table of windows.")
    place = np.lexsort((second, song, recording))
    step = (np.diff(recording[place]) != 0) | (np.diff(song[place]) != 0)
    twice = ~step & (np.diff(second[place]) <= 0)
    if twice.any():
        row = table.iloc[place[int(np.argmax(twice))]]
        raise DataError(f"recording {row['recording']} has second {row['second']:g} twice: expected one row a window.")
    parts = [(rows, second[rows]) for rows in np.split(place, np.flatnonzero(step) + 1)]
    owners = [(song[rows[0]], 0) if together else (song[rows[0]], recording[rows[0]]) for rows, _ in parts]
    return parts, owners


def choose(rows, since, lengths):
    """The first length in which half of the windows can move (the last otherwise).

    Returns the length, the number of each block and the rows of each block.
    """
    for length in lengths:
        number = np.floor(since / length + 1e-9).astype(np.int64)
        starts = np.flatnonzero(np.diff(number)) + 1
        blocks = np.split(rows, starts)
        sizes, count = np.unique([len(block) for block in blocks], return_counts=True)
        if 2 * (sizes * count)[count > 1].sum() >= len(rows):
            break
    return length, number[np.concatenate([[0], starts])], blocks


def groups_of(blocks, rotate, most, lot=None):
    """Which blocks trade places: arrays (n_units, n_blocks of a unit) of block numbers.

    Only blocks that hold as many windows do. With more than `most` of them, `rotate` joins neighbours to longer units,
    and shuffling keeps to small groups, which `lot` (n_blocks,) draws.
    """
    sizes = np.array([len(block) for block in blocks])
    made = []
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        if most is None or len(alike) <= most:
            made.append(alike[:, None])
        elif rotate:
            least = -(-len(alike) // most)
            joined = min(range(least, max(least, len(alike) // 2) + 1)[:4], key=lambda count: len(alike) % count)
            whole = len(alike) - len(alike) % joined
            made += [alike[:whole].reshape(-1, joined), *alike[whole:, None, None]]
        else:
            ranked = alike if lot is None else alike[np.argsort(lot[alike])]
            count = min(-(-len(alike) // most), len(alike) // 2)
            made += [np.sort(group)[:, None] for group in np.array_split(ranked, count)]
    return made


def ways(groups, rotate):
    """Logarithm of the number of different orders of one recording."""
    if rotate:
        return math.log(max(len(group) for group in groups))
    return sum(math.lgamma(len(group) + 1) for group in groups)
