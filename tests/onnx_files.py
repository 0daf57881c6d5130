"""Tiny networks in the ONNX format, written by hand: the format is protobuf, and needs no package to be written.

Field numbers are those of onnx.proto3, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import numpy as np

FLOAT, INT64 = 1, 7


def varint(n):
    """A whole number, seven bits a byte, the lowest first."""
    n, out = n & (2**64 - 1), b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    """One field: numbers as they are, text and messages with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, array):
    kind = INT64 if array.dtype == np.int64 else FLOAT
    return (
        b"".join(field(1, int(size)) for size in array.shape)
        + field(2, kind)
        + field(8, name)
        + field(9, array.tobytes())
    )


def value(name, shape):
    """Name, type and shape of an input or output; a size is a number or, where it is free, a name."""
    sizes = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, sizes)))


def node(kind, inputs, outputs):
    return b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs) + field(4, kind)


def write(path, *, nodes, inputs, outputs, constants=None, sample_rate=None):
    """Write a network of nodes ``(operation, inputs, outputs)``; returns its path."""
    graph = b"".join(field(1, node(*one)) for one in nodes) + field(2, "tiny")
    graph += b"".join(field(5, tensor(name, array)) for name, array in (constants or {}).items())
    graph += b"".join(field(11, value(*one)) for one in inputs) + b"".join(field(12, value(*one)) for one in outputs)
    model = field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))
    if sample_rate is not None:
        model += field(14, field(1, "sample_rate") + field(2, str(sample_rate)))
    path.write_bytes(model)
    return path


def frames_network(path, *, hop=100, dim=3, length="samples", sample_rate=8000, seed=0):
    """Sound ``(n, length, 1)`` → ``(n, frames, dim)``: each `hop` samples, weighted; the layout of basic-pitch."""
    weights = np.random.default_rng(seed).standard_normal((hop, dim)).astype(np.float32)
    made = write(
        path, nodes=[("Reshape", ("sound", "shape"), ("cut",)), ("MatMul", ("cut", "weights"), ("frames",))],
        inputs=[("sound", ("n", length, 1))], outputs=[("frames", ("n", "t", dim))],
        constants={"shape": np.array([0, -1, hop], np.int64), "weights": weights}, sample_rate=sample_rate,
    )  # fmt: skip
    return made, weights
