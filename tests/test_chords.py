"""Chords of sounds and pictures: closed forms, known triads, what changes nothing, and what has no chord."""

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import chords, features
from eegviz.datasets import _deap_music
from eegviz.errors import DataError, ParameterError

SR = 22050


def triad(number, *, octave=4, partials=1, seconds=1.0, decay=0.6):
    """A chord of sinusoids, each with its overtones."""
    t = np.arange(round(seconds * SR)) / SR
    fade = np.minimum(1, np.minimum(t, t[::-1]) / 0.01)
    y = np.zeros(len(t))
    for step in chords.TRIADS["maj" if number < 12 else "min"]:
        pitch = 440.0 * 2 ** ((12 * (octave + 1) + number % 12 + step - 69) / 12)
        y += sum(decay**k * np.sin(2 * np.pi * (k + 1) * pitch * t) for k in range(partials))
    return (0.1 * fade * y).astype(np.float32)


def pictures(sound, kind="mel-db"):
    """The normalised picture of each second, joined."""
    power = features.spectrogram(sound.reshape(-1, SR), kind=kind.removesuffix("-db"))
    values = features.to_db(power) if kind.endswith("-db") else power
    made = features.normalise(values, kind=kind, ref_db=features.default_ref_db(kind))
    return made.reshape(1, -1, made.shape[2])


def test_templates_are_those_of_mir_eval():
    for name, row in zip(chords.LABELS[:24], chords.templates(), strict=True):
        root, bitmap, _ = mir_eval.chord.encode(name)
        np.testing.assert_array_equal(row, np.roll(bitmap, root))
    assert mir_eval.chord.encode(chords.LABELS[chords.NONE])[0] == -1


def test_names_and_numbers_are_inverses():
    assert chords.numbers(chords.LABELS).tolist() == list(range(25))
    assert chords.names(np.arange(25)) == list(chords.LABELS)
    assert chords.numbers([["C:maj", "N"]]).shape == (1, 2)


@pytest.mark.parametrize("octave", [3, 4, 5])
def test_all_pure_triads_of_a_sound_are_recognised(octave):
    y = np.concatenate([triad(number, octave=octave) for number in range(24)])
    assert chords.sound_progression(y).tolist() == list(range(24))


@pytest.mark.parametrize("partials", [4, 8])
@pytest.mark.parametrize("octave", [3, 4])
def test_all_triads_with_overtones_are_recognised_in_sound_and_picture(octave, partials):
    y = np.concatenate([triad(number, octave=octave, partials=partials) for number in range(24)])
    assert chords.sound_progression(y).tolist() == list(range(24))
    assert chords.picture_progression(pictures(y))[0].tolist() == list(range(24))


@pytest.mark.parametrize("kind", ["mel", "linear-db", "linear", "mel-80-db"])
def test_other_kinds_of_pictures(kind):
    y = np.concatenate([triad(number, partials=6) for number in range(24)])
    found = chords.picture_progression(pictures(y, kind), kind=kind)[0]
    assert (found == np.arange(24)).mean() >= 0.95


def test_music_whose_chords_are_known():
    """The demonstration in the design of DEAP: drums, bass and melody around a chord of two seconds."""
    right = np.zeros(2)
    for video in _deap_music.compose(8, duration=12):
        y = _deap_music.render(video, duration=12, sr=SR)
        true = chords.numbers([video.chord_at(second) for second in range(12)])
        right += [
            (found == true).mean()
            for found in (chords.sound_progression(y), chords.picture_progression(pictures(y))[0])
        ]
    assert right[0] / 8 > 0.97  # .99
    assert right[1] / 8 > 0.8  # .9


def test_level_and_reference_change_nothing():
    y = np.concatenate([triad(number, partials=6) for number in (0, 21, 5, 7)])
    for other in (0.1 * y, 3 * y):
        np.testing.assert_array_equal(chords.sound_progression(other), [0, 21, 5, 7])
    picture = pictures(y)
    np.testing.assert_allclose(
        chords.picture_chroma(picture, ref_db=46), chords.picture_chroma(picture, ref_db=20), atol=1e-3
    )


def test_steps_of_half_a_second_and_of_two():
    y = np.concatenate([triad(number, seconds=0.5, partials=6) for number in (0, 21, 5, 7)])
    assert chords.sound_progression(y, step=0.5).tolist() == [0, 21, 5, 7]
    slow = np.concatenate([triad(number, seconds=2.0, partials=6) for number in (0, 21)])
    assert chords.picture_progression(pictures(slow), step=2)[0].tolist() == [0, 21]
    assert chords.sound_progression(slow, step=2).tolist() == [0, 21]


def test_silence_and_noise_have_no_chord():
    rng = np.random.default_rng(0)
    silence, noise = np.zeros(2 * SR, np.float32), 0.1 * rng.standard_normal(20 * SR).astype(np.float32)
    assert chords.sound_progression(silence).tolist() == [chords.NONE] * 2
    assert chords.picture_progression(pictures(silence)).tolist() == [[chords.NONE] * 2]
    assert (chords.sound_progression(noise) == chords.NONE).mean() > 0.8
    assert not chords.sound_chroma(silence).any()


def test_likeness_of_templates_is_one_at_its_own_chord():
    like = chords.likeness(chords.templates())
    np.testing.assert_allclose(np.diag(like[:, :24]), 1)
    np.testing.assert_array_equal(like.argmax(1), np.arange(24))
    assert (like[:, chords.NONE] == chords.NO_CHORD).all()
    flat = chords.likeness(np.full(12, 1 / 12))
    assert flat[chords.NONE] == 1
    assert (flat[:24] == 0).all()
    np.testing.assert_allclose(np.exp(chords.log_probability(like)).sum(1), 1)
    np.testing.assert_array_equal(chords.log_probability(like).argmax(1), like.argmax(1))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=12, max_size=12), st.integers(-24, 24))
def test_a_transposed_chroma_has_the_transposed_chord(shares, semitones):
    chroma = np.array(shares)
    like, moved = chords.likeness(chroma), chords.likeness(np.roll(chroma, semitones))
    order = chords.transpose(np.arange(25), semitones)
    np.testing.assert_allclose(moved[order], like, atol=1e-9)
    np.testing.assert_allclose(chords.likeness(5 * chroma), like, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 24), min_size=1, max_size=8), st.integers(-12, 12), st.integers(-12, 12))
def test_transpositions_add_up(labels, one, other):
    twice = chords.transpose(chords.transpose(labels, one), other)
    np.testing.assert_array_equal(twice, chords.transpose(labels, one + other))
    np.testing.assert_array_equal(chords.transpose(labels, 12), labels)


def test_refuses_what_has_no_chords():
    with pytest.raises(ParameterError, match="expected mono samples"):
        chords.sound_chroma(np.zeros((2, SR), np.float32))
    with pytest.raises(ParameterError, match=r"a sound of 0\.5 s has no step of 1 s"):
        chords.sound_chroma(np.zeros(SR // 2, np.float32))
    with pytest.raises(DataError, match="NaN or infinity at sample 7"):
        chords.sound_chroma(np.where(np.arange(SR) == 7, np.nan, 0.1))
    with pytest.raises(ParameterError, match=r"expected \(n, n_frames, 128\) for mel-db"):
        chords.picture_chroma(np.zeros((1, 128, 44)))
    with pytest.raises(ParameterError, match="do not hold whole steps of 1 s"):
        chords.picture_chroma(np.zeros((1, 50, 128)))
    with pytest.raises(DataError, match="picture 70 holds NaN"):
        chords.picture_chroma(np.where(np.arange(90)[:, None, None] == 70, np.nan, np.zeros((90, 44, 128))))
    with pytest.raises(ParameterError, match="unknown chord 'H:maj'; known are C:maj"):
        chords.numbers(["H:maj"])
    with pytest.raises(ParameterError, match="whole numbers from 0 to 24"):
        chords.transpose([25], 1)
    with pytest.raises(ParameterError, match=r"expected \(…, 12\)"):
        chords.likeness(np.zeros(11))
    with pytest.raises(DataError, match="negative"):
        chords.likeness(-np.ones(12))
