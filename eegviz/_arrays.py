"""Arrays of windows in ``.npy`` files: written block by block, read row by row, so that memory does not grow with them."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np

from eegviz.errors import DataError


def read_rows(path, index):
    """Rows of a float32 ``.npy`` file, read rather than mapped, so that the pages do not stay in memory.

    Parameters
    ----------
    path : path
    index : array of int [shape=(n,)]

    Returns
    -------
    np.ndarray [shape=(n, …)], float32
    """
    with Path(path).open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
        begin = file.tell()
        out = np.empty((len(index), *shape[1:]), np.float32)
        size = out[:1].nbytes
        for row, i in enumerate(index):
            file.seek(begin + int(i) * size)
            file.readinto(memoryview(out[row]).cast("B"))
    return out


def write(path, shape, blocks):
    """Write float32 blocks one after another as one .npy, through a temporary name beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    try:
        needed, free = 4 * math.prod(shape), shutil.disk_usage(path.parent).free
        if needed > free:
            raise DataError(
                f"{path.parent}: the features need {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free. "
                "Free some space, or name another folder in EEGVIZ_CACHE."
            )
        written = 0
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                block = np.ascontiguousarray(block, np.float32)
                written += len(block)
                file.write(block.data)
            file.flush()
            os.fsync(file.fileno())
        if written != shape[0]:
            raise DataError(
                f"{path}: expected {shape[0]} windows, made {written}. Check the store with eegviz info --verify."
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
