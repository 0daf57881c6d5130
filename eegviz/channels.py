"""Which channel of a file is which channel of a model: by name, however the two were written.

Amplifiers and file formats write one place on the head in many ways: ``Fp1``, ``FP1``, ``EEG Fp1-REF``, ``Fp1.``, ``EEG FP1-LE``;
``E12``, ``E012``, ``EEG 012``, ``12`` on EGI's nets; T3, T4, T5, T6 in the old names of the 10–20 system for T7, T8, P7, P8
(Klem et al. 1999, https://pubmed.ncbi.nlm.nih.gov/10590970/). Names are compared in four rounds, strict ones first, and a
channel that was taken is not taken again. A pair such as ``Fp1-F7`` is a difference of two electrodes and matches neither.

Functions: `canonical` (a name without what says nothing), `pair` (a file's names to a model's).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from eegviz.errors import DataError

OLD_NAMES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
# What may stand behind an electrode's name without changing which electrode it is: the reference, never a second electrode
# of the scalp.
REFERENCES = (
    "ref", "refs", "reference", "le", "re", "avg", "av", "ave", "average", "ar", "car", "a1", "a2", "a1a2", "m1", "m2",
    "m1m2", "lm", "linked", "org", "common",
)  # fmt: skip
NETS = (33, 65, 129, 257)  # of EGI: the last electrode is the reference at the vertex, Cz
VERTEX_NAMES = ("vref", "vertex", "vertexreference", "vertexref")
_PREFIX = re.compile(r"^(eeg|ch|channel|chan)(?=[\s_:.-]+\S|\d)[\s_:.-]*")
_SUFFIX = re.compile(rf"[\s_:/-]+({'|'.join(REFERENCES)})$")
_NUMBER = re.compile(r"e?0*([1-9]\d{0,2})")
_EGI = re.compile(r"[eE][1-9]\d{0,2}")


@dataclass(frozen=True)
class Pairing:
    """Which channel of a file stands for which channel of a model.

    Attributes
    ----------
    found : dict of str to int
        For each of the model's channels that is there, its position in the file.
    missing : tuple of str
        Of the model's channels.
    unused : tuple of str
        Of the file's channels.
    renamed : dict of str to str
        The model's name, and what the file calls it, where more than upper and lower case differs.
    """

    found: dict
    missing: tuple
    unused: tuple
    renamed: dict


def canonical(name):
    """A channel's name in lower case, without prefix, reference and leading zeros.

    Examples
    --------
    >>> canonical("EEG Fp1-REF"), canonical("Fc5."), canonical("E012"), canonical("Fp1 (A1)"), canonical("Fp1-F7")
    ('fp1', 'fc5', 'e12', 'fp1', 'fp1-f7')
    """
    text = unicodedata.normalize("NFKC", str(name)).strip().lower()
    text = re.sub(r"\s*\(.*\)$", "", text)
    text = text.rstrip(". ")
    text = _PREFIX.sub("", text) or text
    text = _SUFFIX.sub("", text) or text
    match = _NUMBER.fullmatch(text)
    if match and text.startswith("e"):
        return f"e{match[1]}"
    return match[1] if match else re.sub(r"\s+", "", text)


def pair(names, wanted, *, net=None):
    """Find a model's channels among a file's.

    Parameters
    ----------
    names : sequence of str
        Of the file.
    wanted : sequence of str
        Of the model.
    net : int, optional
        Electrodes of the EGI net that the model was trained on: the numbers of a larger net lie elsewhere on the head.

    Returns
    -------
    Pairing

    Raises
    ------
    DataError
        Two channels of the file that could both be one of the model's, or a file of a larger net.

    Examples
    --------
    >>> made = pair(["EEG T3-REF", "EEG CZ-REF", "ECG"], ["Cz", "T7", "Pz"])
    >>> made.found, made.missing, made.unused
    ({'Cz': 1, 'T7': 0}, ('Pz',), ('ECG',))
    """
    names, wanted = [str(name) for name in names], list(wanted)
    found, free = {}, set(range(len(names)))
    is_egi = sum(bool(_EGI.fullmatch(name)) for name in wanted) > len(wanted) / 2
    last = max((_number(name) for name in names), default=0) if is_egi else 0
    if net and last > net:
        raise DataError(
            f"its channels are numbered up to {last}, the model's net has {net} electrodes, and a number means another place "
            "there; send a recording of that net, or one with names of the 10–20 system and a model trained on them"
        )
    for key in (str, str.lower, canonical, lambda name: _place(name, is_egi, last if last in NETS else 0)):
        by_key = {}
        for index in sorted(free):
            by_key.setdefault(key(names[index]), []).append(index)
        for name in wanted:
            here = by_key.get(key(name), []) if name not in found else []
            if len(here) > 1:
                raise DataError(
                    f"the channels {', '.join(repr(names[i][:40]) for i in here[:4])} could all be {name}, expected one; "
                    "rename or leave out the others"
                )
            if here and here[0] in free:
                found[name] = here[0]
                free.discard(here[0])
    return Pairing(
        found={name: found[name] for name in wanted if name in found},
        missing=tuple(name for name in wanted if name not in found),
        unused=tuple(names[index] for index in sorted(free)),
        renamed={name: names[at] for name, at in found.items() if names[at].lower() != name.lower()},
    )


def _number(name):
    match = _NUMBER.fullmatch(canonical(name))
    return int(match[1]) if match else 0


def _place(name, is_egi, vertex):
    """The place on the head: old names of the 10–20 system become new ones; on EGI's nets a bare number is an electrode."""
    text = canonical(name)
    if not is_egi:
        return OLD_NAMES.get(text, text)
    number = _number(text)
    return "cz" if text in VERTEX_NAMES or (number and number == vertex) else f"e{number}" if number else text
