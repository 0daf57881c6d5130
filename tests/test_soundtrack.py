"""Tests of the sound's preparation: parts that add up, gains in closed form, and what ffmpeg is asked for."""

import math
import stat
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import soundtrack
from eegviz.errors import DataError, MissingDependencyError, ParameterError

SR = 22050


def tone(frequency, seconds):
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * SR)) / SR)).astype(np.float32)


def clicks(seconds, every=0.5):
    y = np.zeros(round(seconds * SR), np.float32)
    y[:: round(every * SR)] = 0.8
    return y


def db(part, whole):
    return 10 * np.log10(np.mean(np.square(part)) / np.mean(np.square(whole)))


# ---------------------------------------------------------------- harmonic and percussive


def test_a_tone_and_clicks_are_told_apart():
    held, struck = tone(440, 3.0), clicks(3.0)
    harmonic, percussive = soundtrack.harmonic_and_percussive(held + struck, SR)
    np.testing.assert_allclose(harmonic + percussive, held + struck, atol=2e-6)
    inside = slice(SR // 2, -SR // 2)
    assert db((harmonic - held)[inside], held[inside]) < -15
    assert db((percussive - struck)[inside], struck[inside]) < -6
    assert np.corrcoef(harmonic[inside], held[inside])[0, 1] > 0.98


def test_a_margin_leaves_a_rest():
    both = tone(440, 2.0) + clicks(2.0)
    strict = soundtrack.harmonic_and_percussive(both, SR, margin=4.0)
    plain = soundtrack.harmonic_and_percussive(both, SR)
    assert all(np.mean(a**2) <= np.mean(b**2) for a, b in zip(strict, plain, strict=True))


# ---------------------------------------------------------------- vocals


@pytest.fixture(scope="module")
def song():
    """A loop of .4 s, over and over, and a voice that never says the same."""
    rng = np.random.default_rng(0)
    loop = np.concatenate([tone(f, 0.2) for f in (220, 330)]) + clicks(0.4, every=0.2)
    accompaniment = np.tile(loop, 20)
    voice, at = np.zeros_like(accompaniment), SR * 3
    phase = 2 * np.pi * np.cumsum(700 + 300 * np.cumsum(rng.normal(size=2 * SR)) / 300) / SR
    voice[at : at + len(phase)] = 0.25 * np.sin(phase)
    return accompaniment, voice


def test_what_repeats_is_accompaniment_what_does_not_is_voice(song):
    accompaniment, voice = song
    vocals, rest = soundtrack.separate_vocals(accompaniment + voice, SR)
    np.testing.assert_allclose(vocals + rest, accompaniment + voice, atol=1e-6)
    sung = voice != 0
    assert np.corrcoef(vocals[sung], voice[sung])[0, 1] > 0.9
    assert np.corrcoef(rest, accompaniment)[0, 1] > 0.97
    only = soundtrack.prepare(accompaniment + voice, SR, vocals="only")
    np.testing.assert_allclose(only, vocals / max(1, np.abs(vocals).max()), atol=1e-6)
    assert np.mean(vocals[~sung] ** 2) < 0.05 * np.mean(vocals[sung] ** 2)


def test_silence_has_no_vocals():
    vocals, rest = soundtrack.separate_vocals(np.zeros(5 * SR, np.float32), SR)
    assert not vocals.any()
    assert not rest.any()
    half = np.concatenate([np.zeros(3 * SR, np.float32), tone(300, 3.0)])
    vocals, rest = soundtrack.separate_vocals(half, SR)
    assert np.isfinite(vocals).all()
    assert np.isfinite(rest).all()


# ---------------------------------------------------------------- reverberation


def test_a_decaying_tail_is_lowered_to_the_floor_and_what_is_early_stays():
    """A tone with the decay of the stated room: all that is late is reverberation, so its gain is the floor."""
    t60, floor = 0.5, 0.1
    time = np.arange(2 * SR) / SR
    y = np.concatenate([np.zeros(SR, np.float32), tone(1000, 2.0) * (10 ** (-3 * time / t60)).astype(np.float32)])
    dry = soundtrack.dereverberate(y, SR, t60=t60, floor=floor)
    late = slice(SR + round(0.2 * SR), SR + round(0.7 * SR))
    early = slice(SR, SR + round(0.03 * SR))
    assert db(dry[late], y[late]) == pytest.approx(20 * np.log10(floor), abs=0.5)
    assert db(dry[early], y[early]) > -1.5
    drier = soundtrack.dereverberate(
        y, SR, t60=0.1, floor=floor
    )  # for a room that decays faster, less is reverberation
    assert db(drier[late], y[late]) > -3
    slower = soundtrack.dereverberate(y, SR, t60=2.0, floor=floor)
    assert db(slower[late], y[late]) == pytest.approx(20 * np.log10(floor), abs=0.5)


@given(t60=st.floats(0.2, 5.0), early=st.floats(0.03, 0.3))
@settings(max_examples=8, deadline=None)
def test_a_steady_tone_is_lowered_by_the_gain_of_the_formula(t60, early):
    held = tone(1000, 3.0)
    hops = max(1, round(early * SR / soundtrack.HOP))
    gain = 1 - math.exp(-3 * math.log(10) / t60 * hops * soundtrack.HOP / SR)
    inside = slice(SR + SR // 2, 2 * SR + SR // 2)
    dry = soundtrack.dereverberate(held, SR, t60=t60, early=early, floor=0.0)
    np.testing.assert_allclose(dry[inside], gain * held[inside], atol=2e-3)


# ---------------------------------------------------------------- all steps


def test_nothing_asked_nothing_done():
    y = tone(300, 1.0)
    assert soundtrack.prepare(y, SR) is y
    assert soundtrack.check_options() == ""


def test_the_steps_follow_each_other(song):
    y = song[0] + song[1]
    made = soundtrack.prepare(y, SR, vocals="remove", harmonic=True, dereverberate=0.4)
    by_hand = soundtrack.dereverberate(y, SR, t60=0.4)
    by_hand = soundtrack.separate_vocals(by_hand, SR)[1]
    by_hand = soundtrack.harmonic_and_percussive(by_hand, SR)[0]
    np.testing.assert_array_equal(made, by_hand / max(1, np.abs(by_hand).max()))
    assert made.shape == y.shape
    assert made.dtype == np.float32
    said = soundtrack.check_options(vocals="only", harmonic=True, dereverberate=True)
    assert said == "late reverberation of 0.6 s taken off, vocals alone, harmonic part"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocals": "loud"}, "vocals='loud': expected one of keep, remove, only"),
        ({"harmonic": 1}, "harmonic=1: expected true or false"),
        ({"dereverberate": "yes"}, "expected true, false or a reverberation time"),
        ({"dereverberate": 100.0}, "expected true, false or a reverberation time"),
    ],
)
def test_options_that_are_unknown(options, message):
    with pytest.raises(ParameterError, match=message):
        soundtrack.prepare(tone(300, 1.0), SR, **options)


def test_sounds_that_cannot_be_prepared():
    for y in (np.zeros((2, SR), np.float32), np.zeros(100, np.float32), np.zeros(SR, int)):
        with pytest.raises(ParameterError, match=r"expected a mono sound \(n,\) of floats"):
            soundtrack.prepare(y, SR, harmonic=True)
    with pytest.raises(DataError, match="NaN or infinite"):
        soundtrack.prepare(np.full(SR, np.nan, np.float32), SR)
    with pytest.raises(ParameterError, match="2.00 s of sound, expected 4 s or more"):
        soundtrack.separate_vocals(tone(300, 2.0), SR)
    with pytest.raises(ParameterError, match="margin=0.5: expected 1 or more"):
        soundtrack.harmonic_and_percussive(tone(300, 1.0), SR, margin=0.5)
    with pytest.raises(ParameterError, match="expected .01 to .5 s"):
        soundtrack.dereverberate(tone(300, 1.0), SR, early=2.0)


# ---------------------------------------------------------------- videos


def fake_ffmpeg(path, code):
    """A program that stands for ffmpeg, which the machine that tests may not have."""
    path.write_text(f"#!{sys.executable}\nimport sys\n{textwrap.dedent(code)}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


COPY = """
    import pathlib, shutil
    source = sys.argv[sys.argv.index("-i") + 1].removeprefix("file:")
    shutil.copy(source, sys.argv[-1].removeprefix("file:"))
    pathlib.Path(sys.argv[-1].removeprefix("file:")).with_suffix(".argv").write_text("\\n".join(sys.argv))
"""


def test_what_ffmpeg_is_asked_for(tmp_path):
    video = tmp_path / "-video 01;.mp4"
    video.write_bytes(b"film")
    made = soundtrack.extract(video, tmp_path / "out.wav", ffmpeg=fake_ffmpeg(tmp_path / "ffmpeg", COPY))
    assert made.read_bytes() == b"film"
    asked = (tmp_path / "out.argv").read_text().splitlines()
    assert asked[1] == "-nostdin"
    assert f"file:{video.resolve()}" in asked  # no name is an option or another protocol
    assert asked[asked.index("-protocol_whitelist") + 1] == "file"
    assert asked[asked.index("-map") + 1] == "0:a:0"


def test_ffmpeg_is_looked_for_on_the_path(tmp_path, monkeypatch):
    video = tmp_path / "video01.mp4"
    video.write_bytes(b"film")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(
        MissingDependencyError, match=r"sound of video01\.mp4 .*ffmpeg, which is not installed: install it"
    ):
        soundtrack.extract(video, tmp_path / "out.wav")
    fake_ffmpeg(tmp_path / "bin" / "ffmpeg", COPY)
    assert soundtrack.extract(video, tmp_path / "out.wav").is_file()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "print('Output file does not contain any stream', file=sys.stderr); sys.exit(1)",
            "ended with code 1 .*any stream",
        ),
        ("sys.exit(0)", "ended with code 0"),
        ("import time; time.sleep(60)", "did not finish within 0.5 s"),
    ],
)
def test_what_ffmpeg_cannot_do_is_one_message(tmp_path, code, message):
    video = tmp_path / "video01.mp4"
    video.write_bytes(b"film")
    with pytest.raises(DataError, match=message):
        soundtrack.extract(
            video,
            tmp_path / "out.wav",
            ffmpeg=fake_ffmpeg(tmp_path / "ffmpeg", code),
            timeout=0.5 if "sleep" in code else 20,
        )
    with pytest.raises(DataError, match="expected a video file, found nothing"):
        soundtrack.extract(tmp_path / "none.mp4", tmp_path / "out.wav", ffmpeg="ffmpeg")
