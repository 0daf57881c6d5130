"""MAD-EEG: eight people attend to one instrument of short pieces of music for one, two or three.

Source: Cantisani, Trégoat, Essid, Richard (2019), "MAD-EEG: an EEG dataset for decoding auditory attention to a target
instrument in polyphonic music", Speech, Music and Mind; https://doi.org/10.5281/zenodo.4537751, CC BY-SA.

``madeeg_preprocessed.hdf5`` holds groups listener / stimulus with ``response`` (20, M) at 256 Hz, ``stimulus`` (2, N) at
44 100 Hz, the stereo sound, and ``soli`` (3, N), the instruments alone. Its twin ``madeeg_preprocessed.yaml`` says of
each: ``target`` (the instrument attended to), ``instruments``, ``ensemble``, ``genre``, rates. The data set ships its
sound: no ``--audio`` is needed.

Trials whose sound is the same to the byte (the same mixture, another target, another listener) share **one stimulus**,
so that no split puts a sound on both sides while calling it new; other mixtures and themes of a song are the same ``piece``,
which splits by song hold out together. ``repeat`` counts a listener's trials of a stimulus, and ``target`` and ``trial`` are
columns of the recordings. A stimulus is called as its first trial, without the target; where two sounds of one name differ,
the second gets its listener's number behind it.
Channels are named as the YAML file says (``ch_names`` in ``eeg_info``); without that they are numbered. Values are taken
as µV. The file is read in a child process, one array at a time.
"""

import hashlib
import re
from functools import partial
from pathlib import Path
from sys import modules

import numpy as np

from eegviz.datasets import _audio, _common, _matlab, _nmed, own
from eegviz.errors import DataError

NAME = "mad-eeg"
TITLE = "MAD-EEG: attention to an instrument in polyphonic music"
LICENCE = "CC BY-SA 4.0"
CITATION = (
    "Cantisani, G., Trégoat, G., Essid, S., Richard, G. (2019). MAD-EEG: an EEG dataset for decoding auditory attention "
    "to a target instrument in polyphonic music. Speech, Music and Mind. https://doi.org/10.5281/zenodo.4537751"
)
WHERE = "https://doi.org/10.5281/zenodo.4537751"
SFREQ, SR = 256.0, 44100  # Hz, where the YAML file does not say
COLUMNS = ("ensemble", "genre", "song", "theme", "spatial")  # of the YAML file, kept where they are there
MAX_YAML = 16 * 2**20  # bytes


def ingest(source, store_path, *, unit="uV", max_mismatch=_audio.MAX_MISMATCH, overwrite=False):
    """Read MAD-EEG into a store.

    Parameters
    ----------
    source : str or Path
        ``madeeg_preprocessed.hdf5`` or its folder; the YAML file is looked for beside it.
    store_path : str or Path
    unit : {"uV", "V", "mV", "nV"}
    max_mismatch : float
        Seconds by which EEG and sound may differ in length.
    overwrite : bool

    Returns
    -------
    eegviz.datasets.IngestReport

    Raises
    ------
    DataError
        When nothing could be read.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: expected the folder of the data set, found nothing; get it from {WHERE}")
    files, doubles = _nmed.find_files(source, r"madeeg_.*\.(hdf5|h5)")
    if not files:
        raise _nmed.nothing_found(source, "madeeg_preprocessed.hdf5", WHERE)
    path = files[0][0]
    factor, max_mismatch = _common.scale(unit), _audio.check_mismatch(max_mismatch)
    with _matlab.Tree(path, "/", hdf5=True) as tree:
        outline = tree.tree
    if not outline or not all(isinstance(item, dict) and item for item in outline.values()):
        raise DataError(
            f"{path}: expected groups listener / stimulus, found {', '.join(list(outline)[:5]) or 'nothing'}"
        )
    yaml, about = _read_yaml(path)
    names = next((_names(about, *place) for place in _places(outline) if _names(about, *place)), None)
    known = {}
    jobs = [partial(_nmed.complain, line) for line in doubles]
    jobs += [partial(_nmed.complain, f"{file}: a second file of the data set; read it alone") for file, _ in files[1:]]
    if yaml is None:
        jobs.append(
            partial(_note, f"{path}: no {path.stem}.yaml beside it, so targets, pieces and channel names are unknown")
        )
    elif names is None:
        jobs.append(partial(_note, f"{yaml}: no ch_names in eeg_info, so channels are numbered"))
    for listener in outline:
        jobs.append(
            partial(_ingest_listener, path, listener, outline[listener], about, known, factor, unit, max_mismatch)
        )
    return _common.run(
        store_path, jobs, module=modules[__name__], montage=own.montage_of(names or []),
        identity={"source": str(path.resolve()), "unit": unit, "max_mismatch": max_mismatch}, overwrite=overwrite,
    )  # fmt: skip


def _ingest_listener(path, listener, group, about, known, factor, unit, max_mismatch, writer, notes):
    """Add the trials of a listener: the sound first, then the EEG."""
    subject = _identifier(listener)
    plans, heard = {}, {}
    for stimulus, item in group.items():
        where = f"{path}, {listener}/{stimulus}"
        with notes.keep_going():
            plans[stimulus] = _plan(item, about.get(listener, {}).get(stimulus, {}), where)
    paths = [(listener, stimulus, name) for stimulus in plans for name in ("response", "stimulus")]
    with _matlab.Tree(path, "/", hdf5=True) as tree:
        response = None
        for (_, stimulus, kind), array in tree.take(paths):
            if kind == "response":
                response = array
                continue
            where = f"{path}, {listener}/{stimulus}"
            with notes.keep_going(where):
                _add(
                    subject, stimulus, response, array, plans[stimulus], known, heard, where,
                    factor=factor, unit=unit, max_mismatch=max_mismatch, stamp=_common.stamp(path), writer=writer,
                    notes=notes,
                )  # fmt: skip


def _plan(item, facts, where):
    """Check the shapes of a trial and return what the YAML file says of it."""
    if not isinstance(item, dict) or not {"response", "stimulus"} <= set(item):
        found = ", ".join(item) if isinstance(item, dict) else "an array"
        raise DataError(f"{where}: expected response and stimulus, found {found}; download the file again")
    shape = item["response"].shape
    if not item["response"].numeric or len(shape) != 2 or shape[0] >= shape[1]:
        hint = ", which is time × channel" if len(shape) == 2 and shape[0] > shape[1] else ""
        raise DataError(
            f"{where}: expected response as channel × time (20, M), found {shape}{hint}; use the original file"
        )
    shape = item["stimulus"].shape
    if not item["stimulus"].numeric or len(shape) != 2 or not 1 <= shape[0] <= 2 < shape[1]:
        raise DataError(f"{where}: expected stimulus as stereo sound (2, N), found {shape}; use the original file")
    return facts if isinstance(facts, dict) else {}


def _add(
    subject, stimulus, response, sound, facts, known, heard, where, *, factor, unit, max_mismatch, stamp, writer, notes
):
    sfreq = _rate(facts, "eeg_info", SFREQ, where)
    sr = _rate(facts, "wav_info", SR, where)
    eeg = response * np.float32(factor)
    ch_names = _names({"": {"": facts}}, "", "") or [f"EEG{k + 1:03d}" for k in range(len(eeg))]
    if len(ch_names) != len(eeg):
        raise DataError(f"{where}: {len(eeg)} rows of response and {len(ch_names)} ch_names; use files of one version")
    bads = _common.check_channels(eeg, ch_names=ch_names, sfreq=sfreq, where=where, unit=unit)
    if bads:
        notes.warn(_common.note_bads(bads, where))
    y = _sound(sound, round(sr), where)
    seconds, warning = _audio.align(
        eeg.shape[1] / sfreq, len(y) / _audio.SR, max_mismatch=max_mismatch, where=where, then="the trial ends at"
    )
    notes.warn(warning)
    eeg = eeg[:, : round(seconds * sfreq)]
    digest = hashlib.sha256(y.tobytes()).hexdigest()  # of the whole sound: trials of it may end at different times
    target, instruments = facts.get("target") or "", facts.get("instruments") or []
    called = _identifier(stimulus).removesuffix(f"_{target}" if target else "")
    name = known.get(digest)
    if name is None:
        name = called
        if name in known.values():
            notes.warn(f"{where}: the sound differs from an earlier one of this name; kept as {name}_{subject}")
            name = _identifier(f"{name}_{subject}" if f"{name}_{subject}" not in known.values() else stimulus)
        known[digest] = name
    heard[name] = heard.get(name, 0) + 1
    if not writer.has_stimulus(name, stamp=digest):
        extra = {key: str(facts[key]) for key in COLUMNS if facts.get(key) is not None}
        extra["piece"] = (
            " ".join(extra[key] for key in ("genre", "song") if key in extra) if "song" in extra else called
        )
        writer.add_stimulus(
            name, y, sr=_audio.SR, title=str(stimulus), stamp=digest,
            instruments=" ".join(map(str, instruments if isinstance(instruments, list) else [instruments])), **extra,
        )  # fmt: skip
    recording = f"{subject}_{_identifier(stimulus)}"
    if not writer.has_recording(recording, stamp=f"{stamp}|{digest}"):
        writer.add_recording(
            recording, eeg, subject=subject, stimulus=name, repeat=heard[name], sfreq=sfreq, ch_names=ch_names, bads=bads,
            stamp=f"{stamp}|{digest}", target=str(target), trial=str(stimulus),
        )  # fmt: skip


def _sound(stereo, sr, where):
    """Stereo (2, N) to mono at the store's rate."""
    import soxr

    y = stereo.mean(axis=0, dtype=np.float32)
    if not np.all(np.isfinite(y)) or not np.any(y):
        raise DataError(
            f"{where}: expected a sound in stimulus, found {'silence' if not np.any(y) else 'NaN or infinity'}"
        )
    if sr != _audio.SR:
        y = soxr.resample(y, sr, _audio.SR, quality="HQ")
    peak = float(np.abs(y).max())
    return (y / max(1.0, peak * (1 + 2**-20))).astype(np.float32)


def _read_yaml(path):
    """Return the path and content of the YAML twin, or None and an empty dict."""
    found = [path.with_suffix(end) for end in (".yaml", ".yml") if path.with_suffix(end).is_file()]
    if not found:
        return None, {}
    import yaml

    file = found[0]
    advice = "download it again, or move it away to read without it"
    if file.stat().st_size > MAX_YAML:
        raise DataError(f"{file}: expected at most {MAX_YAML} bytes of YAML, found {file.stat().st_size}; {advice}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{file}: expected YAML, found: {' '.join(str(error).split())[:200]}; {advice}") from error
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise DataError(f"{file}: expected listener: stimulus: facts, found {type(content).__name__}; {advice}")
    return file, {str(key): {str(name): facts for name, facts in value.items()} for key, value in content.items()}


def _places(outline):
    return ((listener, stimulus) for listener, group in outline.items() for stimulus in group)


def _names(about, listener, stimulus):
    """Channel names of a trial in the YAML file, or None."""
    facts = about.get(listener, {}).get(stimulus)
    info = facts.get("eeg_info") if isinstance(facts, dict) else None
    names = info.get("ch_names") if isinstance(info, dict) else None
    return [str(name) for name in names] if isinstance(names, list) and names else None


def _rate(facts, key, usual, where):
    info = facts.get(key)
    value = info.get("sfreq", usual) if isinstance(info, dict) else usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not 16 <= value <= 200000:
        raise DataError(
            f"{where}: expected {key}: sfreq as a rate in Hz ({usual:g}), found {value!r}; check the YAML file"
        )
    return float(value)


def _identifier(name):
    """A name as an id of the store: what cannot stand in a file name becomes "-"."""
    return re.sub(r"[^\w.-]+", "-", str(name)).strip("-.") or "unnamed"


def _note(line, writer, notes):
    notes.warn(line)
