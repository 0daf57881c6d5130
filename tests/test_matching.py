"""Tests of matching: an unknown recording gets the channels, rate, reference and length that a run wants, or a reason."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import eeg_files, matching, windowing
from eegviz import store as stores
from eegviz.errors import DataError
from tests.conftest import make_tiny_store

RUN = SimpleNamespace(config={"features": {}})
N = 30


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A store of 30 channels of the net, so that three may be missing."""
    path = tmp_path_factory.mktemp("net") / "store"
    return stores.open(make_tiny_store(path, n_subjects=2, n_songs=1, n_hearings=1, seconds=4, n_channels=N))


@pytest.fixture(scope="module")
def smooth(net):
    """A recording whose channels lie on one smooth field of the head, so that a missing one can be told from the others."""
    places = stores.make_montage(net.montage).get_positions()["ch_pos"]
    names = net.ch_names("S01_song21_r1")
    xyz = np.array([places[name] for name in names])
    xyz = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    sources = np.random.default_rng(0).normal(0, 10e-6, (4, 500))
    eeg = np.c_[xyz, np.ones(len(xyz))] @ sources
    return eeg_files.Recording(eeg.astype(np.float32), 125.0, tuple(names), name="P01.edf")


def test_what_fits_is_left_alone(net):
    eeg = np.array(net.eeg("S01_song21_r1"))
    given_ = eeg_files.Recording(eeg, 125.0, tuple(net.ch_names("S01_song21_r1")))
    made = matching.match(given_, RUN, store=net)
    np.testing.assert_array_equal(made.eeg, eeg)
    assert made.interpolated == ()
    assert made.settings == windowing.settings(net)
    assert "own reference is kept" in " ".join(made.notes)


@given(st.permutations(range(N)))
@settings(max_examples=15, deadline=None)
def test_order_and_spelling_do_not_matter(net, order):
    eeg, names = np.array(net.eeg("S01_song21_r1")), net.ch_names("S01_song21_r1")
    shuffled = eeg_files.Recording(eeg[list(order)], 125.0, tuple(f"EEG {names[i]}-REF" for i in order))
    np.testing.assert_array_equal(matching.match(shuffled, RUN, store=net).eeg, eeg)


@pytest.mark.parametrize("lost", [["E5"], ["E5", "E12", "E20"]])
def test_missing_channels_are_interpolated(net, smooth, lost):
    keep = [i for i, name in enumerate(smooth.ch_names) if name not in lost]
    fewer = eeg_files.Recording(smooth.eeg[keep], 125.0, tuple(smooth.ch_names[i] for i in keep))
    made = matching.match(fewer, RUN, store=net)
    assert made.interpolated == tuple(lost)
    assert f"{len(lost)} of 30 channels interpolated from the others: {', '.join(lost)}" in " ".join(made.notes)
    for name in lost:
        at = smooth.ch_names.index(name)
        assert np.corrcoef(made.eeg[at], smooth.eeg[at])[0, 1] > 0.95
    np.testing.assert_allclose(made.eeg[keep], smooth.eeg[keep], rtol=1e-5, atol=1e-12)


def test_interpolation_is_that_of_the_stores_own_bad_channels(net, smooth):
    raw = net.raw("S01_song21_r1")
    raw._data[:] = smooth.eeg
    raw.info["bads"] = ["E5"]
    expected = raw.interpolate_bads(verbose="error").get_data()
    marked = eeg_files.Recording(smooth.eeg, 125.0, smooth.ch_names, bads=("E5",))
    np.testing.assert_allclose(matching.match(marked, RUN, store=net).eeg, expected, rtol=1e-5, atol=1e-11)


def test_flat_and_wild_channels_count_as_missing(net, smooth):
    eeg = smooth.eeg.copy()
    eeg[3], eeg[7] = 1e-6, eeg[7] * 100
    made = matching.match(eeg_files.Recording(eeg, 125.0, smooth.ch_names), RUN, store=net)
    assert made.interpolated == ("E4", "E8")
    assert "flat, wild or marked as bad: E4, E8" in " ".join(made.notes)


def test_too_many_missing_are_listed(net, smooth):
    names = (*smooth.ch_names[:24], "F7", "F8", "A1", "x", "y", "z")
    with pytest.raises(
        DataError, match=r"P01 lacks 6 of the 30 channels .*\(E25, .*, Cz\); at most 3 .*It has E1, E2.*Rename"
    ):
        matching.match(eeg_files.Recording(smooth.eeg, 125.0, names, name="P01"), RUN, store=net)
    eeg = smooth.eeg.copy()
    eeg[:4] = 0
    with pytest.raises(
        DataError, match=r"lacks 4 of the 30 .*of these 4 are flat, wild or marked as bad: E1, E2, E3, E4"
    ):
        matching.match(eeg_files.Recording(eeg, 125.0, smooth.ch_names), RUN, store=net)
    with pytest.raises(DataError, match="found 20 of 30 channels constant"):
        matching.match(eeg_files.Recording(eeg * (np.arange(30) > 19)[:, None], 125.0, smooth.ch_names), RUN, store=net)


def test_without_places_nothing_is_interpolated(tiny_store, smooth, tmp_path):
    with stores.create(tmp_path / "s", dataset="x", title="X", licence="CC0", citation="none") as writer:
        writer.add_stimulus("a", np.zeros(22050 * 4), sr=22050, title="A")
        writer.add_recording("r", smooth.eeg, sfreq=125.0, ch_names=list(smooth.ch_names), subject="S", stimulus="a")
    plain = stores.open(tmp_path / "s")
    fewer = eeg_files.Recording(smooth.eeg[1:], 125.0, smooth.ch_names[1:])
    with pytest.raises(DataError, match=r"lacks 1 of the 30 .*\(E1\); the place of E1 on the head is not known"):
        matching.match(fewer, RUN, store=plain)


@pytest.mark.parametrize(("sfreq", "n"), [(250.0, 1000), (500.0, 2000), (62.5, 250)])
def test_the_rate_is_the_models(net, sfreq, n):
    time, wanted = np.arange(n) / sfreq, np.arange(500) / 125
    phases = np.random.default_rng(1).uniform(0, 6, (N, 1))
    eeg = 1e-5 * np.sin(2 * np.pi * 7 * time + phases)
    made = matching.match(
        eeg_files.Recording(eeg.astype(np.float32), sfreq, tuple(net.ch_names("S01_song21_r1"))), RUN, store=net
    )
    assert made.eeg.shape == (N, 500)
    true = 1e-5 * np.sin(2 * np.pi * 7 * wanted + phases)
    np.testing.assert_allclose(made.eeg[:, 60:-60], true[:, 60:-60], atol=6e-7)
    assert f"resampled from {sfreq:g} to 125 Hz" in " ".join(made.notes)
    assert ("nothing lies above 31.25 Hz" in " ".join(made.notes)) == (sfreq < 125)


def test_the_average_is_taken_off_where_training_was_so_referenced(tmp_path, smooth):
    names, rng = list(smooth.ch_names), np.random.default_rng(2)
    eeg = rng.normal(0, 5e-6, (N, 500)).astype(np.float32)
    eeg -= eeg.mean(0)
    with stores.create(
        tmp_path / "s", dataset="x", title="X", licence="CC0", citation="none", montage="GSN-HydroCel-129"
    ) as writer:
        writer.add_stimulus("a", np.zeros(22050 * 4), sr=22050, title="A")
        writer.add_recording("r", eeg, sfreq=125.0, ch_names=names, subject="S", stimulus="a")
    average = stores.open(tmp_path / "s")
    drift = rng.normal(0, 20e-6, 500).astype(np.float32) + 4e-3  # another reference, and the offset of an amplifier
    made = matching.match(eeg_files.Recording(eeg + drift, 125.0, tuple(names)), RUN, store=average)
    np.testing.assert_allclose(made.eeg, eeg - eeg.mean(1, keepdims=True), atol=2e-8)
    told = " ".join(made.notes)
    assert "referenced to the average of all channels, as the training recordings are" in told
    assert "each channel's mean taken off" in told


def test_too_short_and_no_volts(net, smooth):
    with pytest.raises(
        DataError, match=r"expected at least 1 s of EEG, the length of one window of this run, found 0\.80 s"
    ):
        matching.match(eeg_files.Recording(smooth.eeg[:, :100], 125.0, smooth.ch_names), RUN, store=net)
    four = SimpleNamespace(config={"features": {"eeg": "raw", "duration": 4}})
    with pytest.raises(DataError, match=r"at least 4 s .* found 2\.00 s"):
        matching.match(eeg_files.Recording(smooth.eeg[:, :250], 125.0, smooth.ch_names), four, store=net)
    with pytest.raises(
        DataError, match=r"median channel standard deviation of 0\.5 to 500 µV .* found .*name the unit"
    ):
        matching.match(eeg_files.Recording(smooth.eeg * 1e6, 125.0, smooth.ch_names), RUN, store=net)
    twice = ("E1-A1", "E1-A2", *smooth.ch_names[2:])
    with pytest.raises(DataError, match="P02: .* could all be E1"):
        matching.match(eeg_files.Recording(smooth.eeg, 125.0, twice, name="P02"), RUN, store=net)


def test_the_given_recording_is_not_changed(net, smooth):
    before = smooth.eeg.copy()
    matching.match(eeg_files.Recording(smooth.eeg, 125.0, smooth.ch_names, bads=("E3",)), RUN, store=net)
    np.testing.assert_array_equal(smooth.eeg, before)
