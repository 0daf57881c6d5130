"""Small notebooks made by hand: cells with outputs, a picture, a file. Shared by the tests of reports and pages."""

import struct
import zlib

import nbformat

v4 = nbformat.v4


def png(width=40, height=20):
    """A PNG with a ramp, by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(255 * x // width for x in range(width) for _ in range(3)) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def code(source, *tags, outputs=()):
    return v4.new_code_cell(source, metadata={"tags": list(tags)}, outputs=list(outputs))


def shown(data, **metadata):
    return v4.new_output("display_data", data=data, metadata=metadata)


def save(folder, name, *cells, **metadata):
    path = folder / f"{name}.ipynb"
    nbformat.write(v4.new_notebook(cells=list(cells), metadata=metadata), path)
    return path


def notebook(*cells):
    return v4.new_notebook(cells=list(cells))
