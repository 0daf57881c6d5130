"""Tests of the pairing of channels: whoever wrote the names, the same electrode is found, and never another."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import channels
from eegviz.errors import DataError

TEN_TWENTY = [
    "Fp1",
    "Fp2",
    "F7",
    "F3",
    "Fz",
    "F4",
    "F8",
    "T7",
    "C3",
    "Cz",
    "C4",
    "T8",
    "P7",
    "P3",
    "Pz",
    "P4",
    "P8",
    "O1",
    "O2",
]
NET = [f"E{n}" for n in range(1, 129)] + ["Cz"]
OLD = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
PREFIXES = ["", "EEG ", "eeg_", "EEG-", "EEG:"]
SUFFIXES = ["", "-REF", "-Ref", "_ref", " REF", "-LE", "-A1", "-A2", "-M1", "-AVG", ".", "..", " (A7)", " "]
CASES = [str, str.upper, str.lower]


@st.composite
def written(draw, wanted, *, egi=False):
    """The wanted names in another order and spelling, beside channels of other kinds, and which is which."""
    kept = draw(st.permutations(wanted))
    kept = kept[: draw(st.integers(1, len(kept)))]
    prefix, suffix, case = (
        draw(st.sampled_from(PREFIXES)),
        draw(st.sampled_from(SUFFIXES)),
        draw(st.sampled_from(CASES)),
    )
    use_old = draw(st.booleans())
    spell = draw(st.sampled_from(["E{}", "E{:03d}", "{}", "{:03d}", "EEG {:03d}"])) if egi else None

    def one(name):
        if egi and name != "Cz":
            return spell.format(int(name[1:]))
        return prefix + case(OLD.get(name, name) if use_old else name) + suffix

    names = [one(name) for name in kept]
    extra = draw(
        st.lists(st.sampled_from(["ECG", "EOG L", "EMG-1", "Status", "Fp1-F7", "C3-P3", "X99", "SpO2"]), unique=True)
    )
    order = draw(st.permutations(range(len(names) + len(extra))))
    everything = names + extra
    return [everything[i] for i in order], {name: order.index(i) for i, name in enumerate(kept)}


@given(written(TEN_TWENTY))
@settings(max_examples=60, deadline=None)
def test_names_of_the_ten_twenty_system_are_found_however_written(case):
    names, true = case
    made = channels.pair(names, TEN_TWENTY)
    assert made.found == true
    assert set(made.missing) == set(TEN_TWENTY) - set(true)
    assert len(made.unused) == len(names) - len(true)


@given(written(NET, egi=True))
@settings(max_examples=30, deadline=None)
def test_electrodes_of_a_net_are_found_by_number(case):
    names, true = case
    made = channels.pair(names, NET, net=129)
    assert made.found == true


@given(st.lists(st.text(max_size=12), max_size=30), st.sampled_from([TEN_TWENTY, NET]))
@settings(max_examples=40, deadline=None)
def test_any_text_is_paired_once_or_refused(names, wanted):
    try:
        made = channels.pair(names, wanted)
    except DataError:
        return
    assert len(set(made.found.values())) == len(made.found)
    assert set(made.found) | set(made.missing) == set(wanted)
    assert len(made.unused) + len(made.found) == len(names)


@given(st.sampled_from(TEN_TWENTY), st.sampled_from(TEN_TWENTY))
def test_a_pair_of_scalp_electrodes_is_neither(first, second):
    made = channels.pair([f"{first}-{second}", f"EEG {first}-{second}"], TEN_TWENTY)
    assert made.found == {}


def test_the_strict_name_wins():
    made = channels.pair(["T3", "T7", "EEG Cz-REF", "Cz"], ["T7", "Cz"])
    assert made.found == {"T7": 1, "Cz": 3}
    assert made.unused == ("T3", "EEG Cz-REF")
    assert made.renamed == {}


@pytest.mark.parametrize("last", ["E129", "129", "VREF", "Vertex Reference", "Cz"])
def test_the_reference_of_a_net_is_its_vertex(last):
    made = channels.pair([f"E{n}" for n in range(1, 129)] + [last], NET, net=129)
    assert made.missing == ()
    assert made.found["Cz"] == 128


def test_a_number_below_the_last_is_no_vertex():
    made = channels.pair([f"E{n}" for n in range(1, 129)], NET, net=129)
    assert made.missing == ("Cz",)
    assert made.found["E65"] == 64


def test_what_cannot_be_told_is_refused():
    with pytest.raises(DataError, match=r"'EEG Fp1-A1', 'EEG Fp1-A2' could all be Fp1, expected one"):
        channels.pair(["EEG Fp1-A1", "EEG Fp1-A2"], ["Fp1"])
    with pytest.raises(DataError, match="numbered up to 256, the model's net has 129 electrodes"):
        channels.pair([f"E{n}" for n in range(1, 257)], NET, net=129)
