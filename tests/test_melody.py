"""Melody scores: the tracker against known notes, closed forms of the scores, chance, and clips of a run."""

import warnings

import librosa
import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import chorales, melody, runs, store, training
from eegviz.datasets import demo_mos
from eegviz.errors import DataError, ParameterError
from tests.test_bad_input import trained

SR = 22050
TUNES = [one.id for one in chorales.CHORALES]


def sine(*tones, sr=SR):
    """Tones one after another, (hertz, seconds) each, faded in and out; 0 Hz is silence."""
    parts = []
    for hertz, seconds in tones:
        t = np.arange(round(seconds * sr)) / sr
        fade = np.minimum(1, np.minimum(t, t[::-1]) / 0.06)
        parts.append(0.5 * fade * (np.sin(2 * np.pi * hertz * t) + 0.3 * np.sin(4 * np.pi * hertz * t)) * (hertz > 0))
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def tracks():
    return {one: melody.track(chorales.render(one)) for one in TUNES}


@pytest.fixture(scope="module")
def tunes():
    """Tracks of the first eight seconds."""
    return {one: melody.track(chorales.render(one, duration=8.0)) for one in TUNES}


def score_of(one, times):
    """The contour that the score asks for: hertz, 0 where no note is held."""
    contour = np.zeros(len(times))
    for note in chorales.notes(one):
        contour[(times >= note.onset) & (times < note.onset + chorales.RELEASED * note.duration)] = note.frequency
    return contour


# --- the tracker, without which nothing below means anything ----------------------------------------------------------


@pytest.mark.parametrize("one", TUNES)
def test_the_tracker_finds_the_written_notes(tracks, one):
    found, notes = tracks[one], chorales.notes(one)
    true = score_of(one, found.times)
    cents = mir_eval.melody.hz2cents
    contours = (true > 0, cents(true), found.voiced, cents(found.frequency))
    assert mir_eval.melody.raw_pitch_accuracy(*contours) > 0.98  # .991 to .998
    assert found.voiced[true > 0].mean() > 0.99
    onsets = np.array([note.onset for note in notes])
    assert mir_eval.onset.f_measure(onsets, found.onsets, window=0.05)[0] > 0.95  # 1
    intervals = np.array([[note.onset, note.onset + note.duration] for note in notes])
    starts = np.stack([found.starts, found.ends], 1)
    pitches = np.array([note.frequency for note in notes])
    told = mir_eval.transcription.precision_recall_f1_overlap(
        intervals, pitches, starts, found.pitches, offset_ratio=None
    )
    assert told[2] > 0.95  # 1
    only = mir_eval.transcription.onset_precision_recall_f1(intervals, starts, onset_tolerance=0.05)
    assert only[2] == pytest.approx(mir_eval.onset.f_measure(onsets, found.starts, window=0.05)[0], abs=0.02)


def test_yin_alone_is_worse_than_the_tracker_that_was_taken():
    y = chorales.render(38)
    frequency = librosa.yin(
        y, fmin=melody.FMIN, fmax=melody.FMAX, sr=SR, frame_length=melody.FRAME, hop_length=melody.HOP
    )
    times = np.arange(len(frequency)) * melody.HOP / SR
    true = score_of(38, times)
    right = mir_eval.melody.raw_pitch_accuracy(
        true > 0, mir_eval.melody.hz2cents(true), np.ones(len(true), bool), mir_eval.melody.hz2cents(frequency)
    )
    assert right < 0.96


def test_tones_become_notes():
    found = melody.track(sine((0, 0.5), (440, 0.5), (550, 0.4), (0, 0.3), (550, 0.5)))
    np.testing.assert_allclose(found.starts, [0.5, 1.0, 1.7], atol=0.05)
    np.testing.assert_allclose(found.pitches, [440, 550, 550], rtol=0.005)
    np.testing.assert_allclose(found.ends, [1.0, 1.4, 2.2], atol=0.06)
    assert not found.voiced[found.times < 0.4].any()


# --- closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", TUNES)
def test_a_melody_agrees_with_itself_and_a_gain_changes_nothing(one):
    y = chorales.render(one, duration=4.0)
    for other in (y, 0.1 * y):
        found = melody.compare(y, other)
        assert [getattr(found, name) for name in (*melody.METRICS, "voiced")] == [1.0] * 5
        assert found.reasons == {}


def test_half_of_the_tones_right_is_half_of_the_score():
    true = sine((440, 1), (550, 1), (440, 1), (550, 1))
    made = sine((440, 1), (660, 1), (440, 1), (660, 1))
    found = melody.compare(true, made)
    assert found.raw_pitch == pytest.approx(0.5, abs=0.03)
    assert found.raw_chroma == pytest.approx(0.5, abs=0.03)
    assert found.onset_f > 0.85
    assert found.note_f == 0.5


def test_an_octave_is_a_chroma():
    true = sine((440, 1), (550, 1))
    found = melody.compare(true, sine((220, 1), (275, 1)))
    assert found.raw_pitch < 0.02
    assert found.raw_chroma > 0.95
    assert found.onset_f > 0.6
    assert found.note_f == 0


def test_frames_in_which_both_are_silent_do_not_count():
    short, long = ((440, 1), (0, 0.2)), ((440, 1), (0, 3))
    made = sine((440, 0.5), (660, 0.5), (0, 3))
    found = [melody.compare(sine(*one), made[: len(sine(*one))]).raw_pitch for one in (short, long)]
    assert found[0] == pytest.approx(found[1], abs=0.01)
    assert found[0] == pytest.approx(0.5, abs=0.05)


def test_the_longer_sound_is_cut():
    y = chorales.render(101, duration=4.0)
    assert melody.compare(y, y[: 3 * SR]).raw_pitch == pytest.approx(1, abs=0.03)
    assert melody.compare(y[: 3 * SR], y).onset_f == pytest.approx(1, abs=0.1)


def test_silence_and_constant_tones_have_defined_scores():
    y = chorales.render(96, duration=4.0)
    tune, silence, tone = melody.track(y), np.zeros(4 * SR), sine((440, 4))
    for made in (silence, 1e-7 * y):
        found = melody.compare(tune, made)
        assert [getattr(found, name) for name in melody.METRICS] == [0, 0, 0, 0]
        assert found.reasons["raw_pitch"] == "the reconstruction has no pitch"
        assert found.voiced == 0
    for made in (tune, silence):
        found = melody.compare(silence, made)
        assert [getattr(found, name) for name in (*melody.METRICS, "voiced")] == [None] * 5
        assert found.reasons["onset_f"] == "the original has no onset"
    found = melody.compare(tune, tone)
    right = np.isclose(tune.frequency[tune.voiced], 440, rtol=0.02).mean()
    assert found.raw_pitch == pytest.approx(right, abs=0.02)
    assert found.onset_f < 0.4
    noise = np.random.default_rng(0).normal(size=4 * SR)
    found = melody.compare(tune, noise)
    assert found.voiced < 0.2
    assert found.raw_pitch < 0.2


# --- chance -----------------------------------------------------------------------------------------------------------


def test_chance_is_far_below_the_truth_and_where_wrong_melodies_are(tunes):
    for one, true in tunes.items():
        others = [other for name, other in tunes.items() if name != one]
        beside = melody.chance(true, true, others=others)
        assert (beside["shifted"].n_foils, beside["other"].n_foils) == (melody.N_SHIFTS, 3)
        for name in melody.METRICS:
            # all four have the same beat, so onsets of other melodies are often right: chance must be seen beside them
            most = 0.9 if name == "onset_f" else 0.4
            assert getattr(beside["shifted"], name) < most
            assert getattr(beside["other"], name) < most


def test_a_constant_tone_is_exactly_at_its_chance(tunes):
    true, made = tunes["chor-096"], melody.track(sine((466.16, 8)))
    made = melody.compare(true, made).raw_pitch, melody.chance(true, made)["shifted"].raw_pitch
    assert made[0] == pytest.approx(made[1], abs=0.02)
    assert made[0] > 0.05


def test_chance_says_what_is_missing(tunes):
    true = tunes["chor-019"]
    found = melody.chance(true, true, n_shifts=1)
    assert found["other"].raw_pitch is None
    assert found["other"].reasons["raw_pitch"] == "there is no other melody"
    silence = melody.track(np.zeros(8 * SR))
    assert melody.chance(silence, true)["shifted"].reasons["note_f"] == "the original has no note with a pitch"
    for wrong in (0, 1.5):
        with pytest.raises(ParameterError, match="n_shifts"):
            melody.chance(true, true, n_shifts=wrong)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 688), st.sampled_from(TUNES))
def test_shifting_both_alike_changes_no_pitch_score(tunes, n_frames, one):
    true, made = tunes[one], tunes["chor-101"]
    before = melody.compare(true, made)
    after = melody.compare(melody._shifted(true, n_frames), melody._shifted(made, n_frames))
    assert after.raw_pitch == pytest.approx(before.raw_pitch)
    assert after.raw_chroma == pytest.approx(before.raw_chroma)
    assert 0 <= after.onset_f <= 1


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_refuses_what_has_no_melody():
    y = chorales.render(19, duration=3.0)
    with pytest.raises(ParameterError, match="expected mono samples"):
        melody.track(np.stack([y, y]))
    with pytest.raises(ParameterError, match="a melody needs two frames, 4096, or more"):
        melody.track(y[:4000])
    with pytest.raises(DataError, match="NaN or infinity at sample 7"):
        melody.track(np.where(np.arange(len(y)) == 7, np.nan, y))
    with pytest.raises(ParameterError, match="do not fit frames of 2048 samples at 22050 Hz"):
        melody.track(y, fmin=20)
    with pytest.raises(ParameterError, match="expected a hop between 1 and the frame"):
        melody.track(y, hop_length=0)
    with pytest.raises(ParameterError, match="hops of"):
        melody.compare(melody.track(y), melody.track(y, hop_length=512))


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("melodies")
    opened = store.open(
        demo_mos.make_store(
            folder / "store", n_subjects=3, n_repeats=2, melodies=[38, 101], duration=17.0, progress=False
        )
    )
    return trained(opened, folder / "runs", split="repeat")


@pytest.fixture(scope="module")
def table(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return melody.score_run(run, seconds=4)


def test_a_row_for_each_listener_and_melody_beside_chance_and_ceiling(table, run):
    assert table[["subject", "stimulus"]].drop_duplicates().shape[0] == len(table) == 6
    assert set(table["condition"]) == {"listening"}
    assert set(table["recording"].str[-2:]) == {"r2"}
    assert table["start"].nunique() == 1
    for name in melody.METRICS:
        for column in (name, f"{name}_shifted", f"{name}_other", f"{name}_ceiling"):
            assert table[column].dropna().between(0, 1).all()
    assert (table["raw_pitch_ceiling"] > 0.95).all()


@pytest.mark.slow
def test_true_pictures_score_as_the_ceiling(run, monkeypatch):
    """A run that predicts the truth has the tune."""
    from eegviz import features, inversion, joining, reconstruction

    windows, made = run.windows(), reconstruction.reconstruct
    kind = windows.settings["audio"]

    def perfect(run, recording, *, start, duration, seed, windows, split, overlap, store, ref_db):
        found = made(run, recording, start=start, duration=duration, windows=windows, split=split)
        frames = joining.first_frames(duration * features.SR, overlap=overlap, kind=kind)
        sound, _ = reconstruction.original(run, found.stimulus, start=start, duration=duration)
        power = features.spectrogram(np.stack([sound[f * 512 :][: features.SR] for f in frames]), kind=kind[:-3])
        level = {"ref_db": windows.settings["ref_db"][found.stimulus], "kind": kind}
        picture = joining.cross_fade(features.normalise(features.to_db(power), **level), frames)
        sound = inversion.reconstruct(picture, audio=kind, ref_db=level["ref_db"], seed=seed, n_samples=len(sound))
        return type(found)(sound, found.sr, found.pictures, start, recording, found.stimulus, found.seen, found.ref_db)

    monkeypatch.setattr(reconstruction, "reconstruct", perfect)
    table = melody.score_run(run, seconds=4, windows=windows)
    told = melody.summary(table).set_index("metric")
    assert told.loc["raw_pitch", "score"] == pytest.approx(told.loc["raw_pitch", "ceiling"], abs=0.02)
    assert told.loc["raw_pitch", "score"] > 0.98
    assert told.loc["raw_pitch", "gain_low"] > 0.5
    assert told.loc["raw_pitch", "shifted"] < 0.35


def test_summary_has_intervals_over_listeners_and_no_nan(table):
    told = melody.summary(table)
    assert told["metric"].tolist() == list(melody.METRICS)
    assert set(told["unit"]) <= {"3 listeners", ""}
    row = told.set_index("metric").loc["raw_pitch"]
    assert row["low"] <= row["score"] <= row["high"]
    assert row["gain"] == pytest.approx(row["score"] - row["shifted"])
    one = melody.summary(table[table["subject"] == "S01"]).set_index("metric").loc["raw_pitch"]
    assert "no interval over listeners" in one["unit"] or one["low"] is None
    empty = melody.summary(table.assign(**dict.fromkeys(melody.METRICS, np.nan)))
    assert empty["score"].tolist() == [None] * 4


def test_more_clips_take_new_seconds_first(run):
    windows = run.windows()
    test = windows.table.iloc[run.split(windows).test]
    two = melody._clips(test, 2, 4, 0)
    assert len(two) == 12
    assert len({clip["start"] for clip in two}) == 2
    assert len(melody._clips(test, 99, 4, 0)) == 6 * 4
    assert {clip["start"] for clip in melody._clips(test, 99, 4, 0)} == {0, 4, 8, 12}


def test_refuses_runs_that_cannot_give_clips(run, tmp_path):
    with pytest.raises(ParameterError, match="no test recording has 30 held-out seconds in a row.*longest stretch: 17"):
        melody.score_run(run, seconds=30)
    for wrong in ({"clips": 0}, {"seconds": 1.5}):
        with pytest.raises(ParameterError, match="whole number, 1 or more"):
            melody.score_run(run, **wrong)
    opened = run.store()
    config = training.configure(
        opened, model="classifier", preset="fast", settings={"epochs": 1}, split="repeat", precision="float32"
    )
    classifier = training.train(opened, config, out=tmp_path, progress=False)
    with pytest.raises(ParameterError, match="is a classifier"):
        melody.score_run(runs.open(classifier.path), seconds=4)
