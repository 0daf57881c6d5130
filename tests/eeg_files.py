"""EEG files for tests, written byte by byte: what a person may upload, and what an attacker may.

`export` writes a store's recording in each format that is accepted; the `bad_*` functions write files that must be refused.
"""

import binascii
import io
import struct
import zipfile

import h5py
import numpy as np
import scipy.io

FORMATS = {
    "fif": "P01_raw.fif",
    "edf": "P01.edf",
    "bdf": "P01.bdf",
    "brainvision": "P01.zip",
    "mat": "song21_Imputed.mat",
}


def export(store, recording, kind):
    """A recording of a store as the bytes of a file of this kind (a key of `FORMATS`)."""
    raw = store.raw(recording)
    eeg, sfreq, names = np.array(store.eeg(recording)), raw.info["sfreq"], raw.ch_names
    if kind == "fif":
        return fif(raw)
    return {"edf": edf, "bdf": bdf, "brainvision": brainvision_zip, "mat": mat}[kind](eeg, sfreq, names)


def fif(raw):
    """FIF, as MNE writes it."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x_raw.fif"
        raw.save(path, fmt="single", verbose="error")
        return path.read_bytes()


def edf(eeg, sfreq, names, *, n_records=None, bits=16):
    """EDF (16 bit) or BDF (24 bit) of records of one second; volts in, µV in the file. A last part of a second is dropped."""
    n, per = len(eeg), round(sfreq)
    seconds = eeg.shape[1] // per
    uv = np.asarray(eeg, np.float64)[:, : seconds * per] * 1e6
    top = np.ceil(np.abs(uv).max(axis=1) + 1)
    high = 2 ** (bits - 1) - 1
    mark = b"0".ljust(8) if bits == 16 else b"\xffBIOSEMI"

    def column(values, width):
        return b"".join(str(value)[:width].encode().ljust(width) for value in values)

    head = mark + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80) + b"01.01.2401.00.00"
    head += column([256 * (n + 1)], 8) + (b"24BIT" if bits == 24 else b"").ljust(44)
    head += column([seconds if n_records is None else n_records, 1, n], 8)[:16] + str(n).encode().ljust(4)
    head += column([f"EEG {name}" for name in names], 16) + column(["AgCl"] * n, 80) + column(["uV"] * n, 8)
    head += column([f"-{one:.0f}" for one in top], 8) + column([f"{one:.0f}" for one in top], 8)
    head += (
        column([-high] * n, 8)
        + column([high] * n, 8)
        + column([""] * n, 80)
        + column([per] * n, 8)
        + column([""] * n, 32)
    )
    digital = np.rint(uv / top[:, None] * high).astype("<i4").reshape(n, seconds, per).transpose(1, 0, 2)
    if bits == 16:
        return head + digital.astype("<i2").tobytes()
    return head + np.ascontiguousarray(digital).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def bdf(eeg, sfreq, names):
    """BDF; see `edf`."""
    return edf(eeg, sfreq, names, bits=24)


def brainvision(eeg, sfreq, names, *, data_file="P01.eeg", marker_file="P01.vmrk"):
    """The three files of a BrainVision recording, float32 in µV: bytes by name."""
    rows = "\n".join(f"Ch{i + 1}={name},,1,µV" for i, name in enumerate(names))
    header = (
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={data_file}\nMarkerFile={marker_file}\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(names)}\nSamplingInterval={1e6 / sfreq:.12g}\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n"
        f"[Channel Infos]\n{rows}\n"
    )
    markers = (
        f"Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nDataFile={data_file}\n[Marker Infos]\n"
    )
    data = np.ascontiguousarray(np.asarray(eeg, np.float64).T * 1e6, "<f4").tobytes()
    return {"P01.vhdr": header.encode(), "P01.eeg": data, "P01.vmrk": markers.encode()}


def base64(data):
    """Bytes as text, to hand over to a script."""
    return binascii.b2a_base64(data, newline=False).decode()


def zipped(files, *, method=zipfile.ZIP_DEFLATED):
    """A zip of bytes by name (or by ZipInfo)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def brainvision_zip(eeg, sfreq, names, **more):
    """A zip of a BrainVision recording."""
    return zipped(brainvision(eeg, sfreq, names, **more))


def mat(eeg, sfreq, names, *, n_listeners=2):
    """A cleaned file of NMED: channel × time × listener in µV; the recording is that of the first listener, S02."""
    full = np.zeros((125, eeg.shape[1], n_listeners))
    rng = np.random.default_rng(0)
    places = {f"E{i}": i - 1 for i in range(1, 125)} | {"Cz": 124}
    full += rng.normal(0, 5, full.shape)
    for name, row in zip(names, eeg, strict=True):
        full[places[name], :, 0] = row.astype(np.float64) * 1e6
    subs = np.empty((1, n_listeners), object)
    subs[0] = [f"S{2 + k:02d}" for k in range(n_listeners)]
    out = io.BytesIO()
    scipy.io.savemat(out, {"data21": full, "subs21": subs, "fs": float(sfreq)})
    return out.getvalue()


# ---------------------------------------------------------------- what must be refused


def some_eeg(n_channels=8, seconds=4, sfreq=125.0, seed=0):
    """Noise of 5 µV: volts, rate, names of the tiny store's channels."""
    eeg = np.random.default_rng(seed).normal(0, 5e-6, (n_channels, round(seconds * sfreq)))
    return eeg, sfreq, [f"E{i + 1}" for i in range(n_channels - 1)] + ["Cz"]


def bad_bomb(size=2**28):
    """A zip of a BrainVision recording whose data are zeros without end: a thousandth of their size."""
    files = brainvision(*some_eeg())
    return zipped(files | {"P01.eeg": bytes(size)})


def bad_lying_bomb():
    """The same, but the archive says that the data unpack to 1000 bytes."""
    content = bytearray(zipped(brainvision(*some_eeg()) | {"P01.eeg": bytes(2**22)}))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = 0
        while (at := content.find(mark, at)) >= 0:
            if struct.unpack_from("<I", content, at + offset)[0] == 2**22:
                struct.pack_into("<I", content, at + offset, 1000)
            at += 4
    return bytes(content)


def bad_symlink(target="/etc/passwd"):
    """A zip whose data are a symbolic link."""
    files = brainvision(*some_eeg())
    link = zipfile.ZipInfo("P01.eeg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    return zipped({"P01.vhdr": files["P01.vhdr"], link: target.encode(), "P01.vmrk": files["P01.vmrk"]})


def bad_external_hdf5(path):
    """A MATLAB 7.3 file whose EEG would be read from another file of the machine."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("X", (100, 129), "i1", external=[(str(path), 0, h5py.h5f.UNLIMITED)])
        file["fs"] = np.array([[1000.0]])
    return out.getvalue()


def bad_crash():
    """A MATLAB file, cut short and its lengths mended, that kills the process in which SciPy reads it.

    The last variable ends early, where its own length says that it should; and the number ``fs`` says that its values are of
    the type of a whole variable (14) instead of doubles (9), for which SciPy looks up a size behind the end of its table.
    """
    out = io.BytesIO()
    eeg = np.random.default_rng(0).normal(size=(125, 250, 1))
    scipy.io.savemat(out, {"fs": 125.5, "data21": eeg})
    content = bytearray(out.getvalue())
    at = content.find(struct.pack("<Id", 8, 125.5))
    assert struct.unpack_from("<I", content, at - 4) == (9,)
    struct.pack_into("<I", content, at - 4, 14)
    second = 128 + 8 + struct.unpack_from("<I", content, 132)[0]
    kept = struct.unpack_from("<I", content, second + 4)[0] // 2
    struct.pack_into("<I", content, second + 4, kept)
    return bytes(content[: second + 8 + kept])
