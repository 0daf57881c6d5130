"""Tests of the chorale melodies: the notes are those of the study, the sound plays them."""

import numpy as np
import pytest

from eegviz import _synth, chorales, music
from eegviz.errors import ParameterError

IDS = [one.id for one in chorales.CHORALES]


def read_midi(path):
    """Notes (onset s, duration s, pitch) of a one-track MIDI file, by the standard's own rules."""
    data = path.read_bytes()
    division = int.from_bytes(data[12:14], "big")
    end = 22 + int.from_bytes(data[18:22], "big")
    at, ticks, status, tempo, sounding, found = 22, 0, 0, 0, {}, []
    while at < end:
        delta = 0
        while True:
            byte, at = data[at], at + 1
            delta = delta << 7 | byte & 0x7F
            if byte < 0x80:
                break
        ticks += delta
        if data[at] == 0xFF:
            kind, length = data[at + 1], data[at + 2]
            if kind == 0x51:
                tempo = int.from_bytes(data[at + 3 : at + 3 + length], "big")
            at += 3 + length
            continue
        if data[at] & 0x80:
            status, at = data[at], at + 1
        if status >> 4 == 0xC:
            at += 1
            continue
        pitch, velocity, at = data[at], data[at + 1], at + 2
        if status >> 4 == 9 and velocity:
            sounding[pitch] = ticks
        else:
            start = sounding.pop(pitch)
            found.append((start, ticks - start, pitch))
    second = tempo / 1e6 / division
    return [(start * second, length * second, pitch) for start, length, pitch in sorted(found)]


@pytest.mark.parametrize("name", IDS)
def test_the_notes_are_those_of_the_study(shared_data, name):
    expected = read_midi(shared_data / "mos_midi" / f"{name}.mid")
    found = [(note.onset, note.duration, note.pitch) for note in chorales.notes(name, duration=None)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", IDS)
def test_onsets_and_envelope_fit_the_study_at_64_hz(shared_data, name):
    pitch, expectation, _, envelope = np.load(shared_data / "mos_midi" / f"{name}_fs-64Hz_midi_exp_cue_env.npy")
    assert pitch.size / 64 == chorales.DURATION
    inside = chorales.notes(name)
    at = np.flatnonzero(pitch > 1)
    assert len(at) == len(inside)
    np.testing.assert_allclose(at / 64, [note.onset for note in inside], atol=1 / 64)
    assert pitch[at].tolist() == [note.pitch for note in inside]
    assert set(np.flatnonzero(expectation)) <= set(at)
    y = np.abs(chorales.render(name))
    mine = np.add.reduceat(y, np.arange(1803) * 22050 // 64)
    assert np.corrcoef(mine, envelope)[0, 1] > 0.25  # another instrument plays the same notes


@pytest.mark.parametrize("name", IDS)
def test_notes_are_in_order_and_on_the_half_beat(name):
    played = chorales.notes(name, duration=None)
    onsets = np.array([note.onset for note in played])
    assert np.all(np.diff(onsets) >= 0.3 - 1e-9)
    np.testing.assert_allclose(onsets / 0.3, np.round(onsets / 0.3), atol=1e-6)
    assert all(60 <= note.pitch <= 78 for note in played)
    inside = chorales.notes(name)
    assert inside[-1].onset + inside[-1].duration <= chorales.DURATION + 1e-9


@pytest.mark.parametrize(("name", "index"), [("chor-019", 0), ("chor-038", 5), ("chor-096", 7), ("chor-101", 20)])
def test_the_sound_has_the_pitch_of_the_note(name, index):
    note, y, sr = chorales.notes(name)[index], chorales.render(name), 22050
    part = y[round((note.onset + 0.05) * sr) : round((note.onset + 0.9 * note.duration) * sr)]
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)), 2**16))
    frequency = np.fft.rfftfreq(2**16, 1 / sr)
    low = (frequency > 200) & (frequency < 1.5 * note.frequency)
    assert 1200 * abs(np.log2(frequency[low][power[low].argmax()] / note.frequency)) < 50  # cents


def test_sound_is_bounded_level_and_repeatable():
    y = chorales.render("chor-038")
    assert (y.dtype, len(y)) == (np.float32, round(chorales.DURATION * 22050))
    assert np.abs(y).max() < 1
    assert music.loudness(y, 22050) == pytest.approx(-16, abs=0.3)
    assert np.array_equal(y, chorales.render(38))
    assert not np.any(y[: round(1.79 * 22050)])  # three beats of rest
    assert np.array_equal(np.flatnonzero(y[: 2 * 22050])[:1] >= round(1.8 * 22050), [True])


def test_failures():
    with pytest.raises(
        ParameterError, match="unknown melody 20; expected one of chor-019, chor-038, chor-096, chor-101"
    ):
        chorales.find(20)
    with pytest.raises(ParameterError, match="duration must lie between 3 and 60 s, found 1"):
        chorales.render(19, duration=1)
    with pytest.raises(ParameterError, match="sr must lie between"):
        chorales.render(19, sr=100)
    with pytest.raises(ParameterError, match="unknown voice 'harp'; expected one of " + next(iter(_synth.VOICES))):
        chorales.render(19, voice="harp")
