"""The synthesiser: its chords are heard again, its parameters follow the ratings, and it neither clicks nor clips."""

import librosa
import numpy as np
import pytest

from eegviz import chords, synthesiser
from eegviz.errors import DataError, ParameterError

SR = 22050
ALL = np.random.default_rng(0).permutation(24)
SOME = [0, 21, 5, 7, 2, 16, 9, 23]
CORNERS = [(1, 1), (1, 9), (5, 5), (9, 1), (9, 9)]


@pytest.mark.parametrize(("valence", "arousal"), CORNERS)
def test_its_chords_are_recognised_at_every_rating(valence, arousal):
    y = synthesiser.render(ALL, valence=valence, arousal=arousal)
    assert (chords.sound_progression(y) == ALL).mean() >= 0.95


def loudness(y):
    return np.sqrt(np.mean(y**2))


def onsets(y):
    return len(librosa.onset.onset_detect(y=y, sr=SR, hop_length=256))


def centroid(y):
    """Centre of the spectrum in overtones of the chord: hertz over the pitch that valence also moves."""
    return float(librosa.feature.spectral_centroid(y=y, sr=SR).mean())


def test_arousal_is_louder_and_denser_and_valence_is_brighter():
    ratings = [1, 3, 5, 7, 9]
    by_arousal = [synthesiser.render(SOME, arousal=one) for one in ratings]
    by_valence = [synthesiser.render(SOME, valence=one) for one in ratings]
    assert (np.diff([loudness(y) for y in by_arousal]) > 0).all()
    assert (np.diff([onsets(y) for y in by_arousal]) >= 0).all()
    assert onsets(by_arousal[-1]) > 2 * onsets(by_arousal[0])
    assert (np.diff([centroid(y) for y in by_valence]) > 0).all()
    levels = [loudness(y) for y in by_valence]
    np.testing.assert_allclose(levels, levels[0], rtol=1e-3)  # valence is not loudness


def test_expression_is_monotone_and_linear():
    steps = [synthesiser.expression(one, one) for one in range(1, 10)]
    for name, (first, last) in synthesiser.EXPRESSION.items():
        values = [getattr(step, name) for step in steps]
        np.testing.assert_allclose(values, np.linspace(first, last, 9))
    assert synthesiser.expression(5, 9).tilt == synthesiser.expression(5, 1).tilt
    assert synthesiser.expression(9, 5).level_db == synthesiser.expression(1, 5).level_db


@pytest.mark.parametrize(("valence", "arousal"), CORNERS)
def test_it_does_not_clip_or_click(valence, arousal):
    y = synthesiser.render(SOME, valence=valence, arousal=arousal)
    assert np.abs(y).max() <= synthesiser.CEILING
    borders = np.arange(1, len(SOME)) * SR
    assert np.abs(y[borders]).max() < 1e-3
    assert np.abs(y[borders - 1]).max() < 1e-3
    assert abs(float(y.mean())) < 1e-2
    # a click holds energy at all frequencies at once: the highest band of the borders is as quiet as elsewhere
    high = np.abs(librosa.stft(y, n_fft=512, hop_length=128))[-40:].sum(0)
    near = np.unique(np.concatenate([borders // 128 + k for k in (-1, 0, 1)]))
    assert high[near].max() <= high.max()


def test_the_same_seed_gives_the_same_bytes_and_another_another_order():
    y = synthesiser.render(SOME, arousal=8, seed=3)
    assert y.tobytes() == synthesiser.render(SOME, arousal=8, seed=3).tobytes()
    assert y.tobytes() != synthesiser.render(SOME, arousal=8, seed=4).tobytes()
    assert y.dtype == np.float32


def test_no_chord_is_silence_and_names_do():
    y = synthesiser.render(["C:maj", "N", "A:min"])
    assert not y[SR : 2 * SR].any()
    np.testing.assert_array_equal(y, synthesiser.render([0, 24, 21]))
    assert not synthesiser.render([24, 24]).any()


def test_one_rating_a_step():
    y = synthesiser.render([0, 0, 0], arousal=[1, 5, 9]).reshape(3, SR)
    assert (np.diff([loudness(part) for part in y]) > 0).all()


def test_pictures_are_played():
    from tests.test_chords import pictures

    y = synthesiser.render(SOME[:4])
    labels, again = synthesiser.from_pictures(pictures(y), valence=7, arousal=[3])
    assert labels.tolist() == SOME[:4]
    assert chords.sound_progression(again).tolist() == SOME[:4]
    assert len(again) == 4 * SR


def test_other_steps_and_rates():
    y = synthesiser.render(SOME, step=0.5, arousal=6)
    assert len(y) == len(SOME) * SR // 2
    assert (chords.sound_progression(y, step=0.5) == SOME).mean() >= 0.85
    assert len(synthesiser.render([0], sr=16000)) == 16000


def test_refuses_what_it_cannot_play():
    with pytest.raises(ParameterError, match="expected ratings from 1 to 9"):
        synthesiser.render([0], valence=0)
    with pytest.raises(ParameterError, match="valence has shape"):
        synthesiser.render([0, 1], valence=[5, 5, 5])
    with pytest.raises(DataError, match="arousal holds NaN"):
        synthesiser.render([0], arousal=np.nan)
    with pytest.raises(ParameterError, match=r"expected \(n_steps,\) with one step or more"):
        synthesiser.render([])
    with pytest.raises(ParameterError, match="a chord lasts"):
        synthesiser.render([0], step=0.1)
    with pytest.raises(ParameterError, match="whole number of hertz"):
        synthesiser.render([0], sr=100)
    with pytest.raises(ParameterError, match="unknown chord 'X'"):
        synthesiser.render(["X"])
