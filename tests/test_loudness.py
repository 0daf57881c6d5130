"""Level, clipping, crest factor and flatness: closed forms, librosa, and what a gain may change."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import loudness
from eegviz.errors import DataError, ParameterError

SR = 22050


def noise(seed=0, n=SR):
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def test_a_sine_has_its_closed_forms():
    found = loudness.measure(np.sin(2 * np.pi * 441 * np.arange(SR) / SR))
    assert found.level_db == pytest.approx(-3.01, abs=0.01)
    assert found.crest_db == pytest.approx(3.01, abs=0.02)  # 50 samples a period: the peak is .998
    assert found.clipped == 0
    assert found.flatness < 1e-3


def test_white_noise_is_as_flat_as_the_exponential_distribution_is():
    assert loudness.flatness(noise(n=20 * SR)) == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)
    click = np.zeros(2048, np.float32)
    click[1024] = 1
    assert loudness.flatness(click) == pytest.approx(1, abs=1e-6)


def test_flatness_is_librosas():
    y = noise() + 0.1 * np.sin(2 * np.pi * 300 * np.arange(SR) / SR).astype(np.float32)
    theirs = librosa.feature.spectral_flatness(y=y, n_fft=2048, hop_length=512, center=False, amin=1e-12).mean()
    assert loudness.flatness(y) == pytest.approx(float(theirs), rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.floats(-60, 40), st.integers(0, 1000))
def test_a_gain_changes_the_level_and_nothing_of_the_shape(change_db, seed):
    y, gain = noise(seed, 4096), 10 ** (change_db / 20)
    before, after = loudness.measure(y), loudness.measure(y * np.float32(gain))
    assert after.level_db - before.level_db == pytest.approx(change_db, abs=1e-3)
    assert after.crest_db == pytest.approx(before.crest_db, abs=1e-3)
    assert after.flatness == pytest.approx(before.flatness, rel=1e-3)
    short = loudness.at_gain(before, y, gain)
    assert short.level_db == pytest.approx(after.level_db, abs=1e-3)
    assert short.peak == pytest.approx(after.peak, rel=1e-5)
    assert short.clipped == pytest.approx(after.clipped, abs=2 / 4096)


def test_silence_has_a_level_and_no_shape():
    found = loudness.measure(np.zeros(SR))
    assert found.silent
    assert found.level_db == loudness.SILENCE_DB
    assert np.isnan(found.crest_db)
    assert np.isnan(found.flatness)
    assert loudness.at_gain(found, np.zeros(SR), 10.0).level_db == loudness.SILENCE_DB


def test_silence_in_between_does_not_count_as_flat():
    tone = np.sin(2 * np.pi * 441 * np.arange(SR) / SR).astype(np.float32)
    assert loudness.flatness(np.concatenate([np.zeros(SR, np.float32), tone])) < 0.05


@pytest.mark.parametrize("bad", [np.zeros((2, 5)), np.zeros(0), np.zeros(5, int)])
def test_what_is_no_sound_is_refused(bad):
    with pytest.raises(ParameterError, match="one mono sound"):
        loudness.measure(bad)


def test_broken_samples_and_gains_are_refused():
    with pytest.raises(DataError, match="NaN or infinite"):
        loudness.measure(np.array([0.0, np.nan]))
    with pytest.raises(ParameterError, match="gain must be"):
        loudness.at_gain(loudness.measure(noise()), noise(), 0)
