"""Pickles as Python 2 wrote them, for files in the layout of DEAP (:func:`eegviz.datasets.demo_deap.write_files`).

Python 3 cannot write them: it has no instruction for Python 2's text, and its arrays are pickled in other words.

Functions: :func:`python2_pickle`. What reads them is ``_unpickle``.
"""

import numpy as np


def python2_pickle(arrays):
    """Pickle a dict of arrays with the instructions that Python 2's cPickle writes (protocol 2).

    Parameters
    ----------
    arrays : dict of str to ndarray

    Returns
    -------
    data : bytes

    Examples
    --------
    >>> import pickle
    >>> pickle.loads(python2_pickle({"labels": np.eye(2)}), encoding="latin1")["labels"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    parts, memo = [b"\x80\x02}"], {}

    def note(name):
        memo[name] = len(memo) + 1
        parts.append(b"q" + bytes([memo[name]]))

    def once(name, *data):
        """Write it the first time, refer to it later."""
        if name in memo:
            parts.append(b"h" + bytes([memo[name]]))
        else:
            parts.extend(data)
            note(name)

    def text(data):
        parts.append(b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + len(data).to_bytes(4, "little"))
        parts.append(data)

    def integer(value):
        small, middle = value < 2**8, value < 2**16
        parts.append(
            b"K" + bytes([value]) if small else b"M" + value.to_bytes(2, "little") if middle
            else b"J" + value.to_bytes(4, "little")
        )  # fmt: skip

    note("dict")
    parts.append(b"(")
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        text(name.encode("latin1"))
        note(f"name {name}")
        once("reconstruct", b"cnumpy.core.multiarray\n_reconstruct\n")
        once("ndarray", b"cnumpy\nndarray\n")
        once("empty", b"K\x00\x85")
        once("b", b"U\x01b")
        parts.append(b"\x87")
        note(f"arguments {name}")
        parts.append(b"R")
        note(f"array {name}")
        parts.append(b"(K\x01")
        if array.ndim > 3:
            parts.append(b"(")
        for length in array.shape:
            integer(length)
        parts.append({1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(array.ndim, b"t"))
        note(f"shape {name}")
        kind = array.dtype.str[1:].encode("latin1")
        if kind in memo:
            once(kind)
        else:
            once("dtype", b"cnumpy\ndtype\n")
            text(kind)
            parts.append(b"K\x00K\x01\x87R")
            note(kind)
            order = array.dtype.str[0].encode("latin1")
            parts.append(b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        parts.append(b"\x89")
        text(array.tobytes())
        parts.append(b"tb")
    parts.append(b"u.")
    return b"".join(parts)
