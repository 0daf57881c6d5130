"""The design of a listening test: balance, foils, order and sides; its sounds; the folder it is kept in."""

import io
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz.errors import DataError, ParameterError
from eegviz.listening import _balance, abx, pretend
from eegviz.listening._balance import Example
from tests.test_cli import eegviz
from tests.test_evaluation import trained


def pool(n_songs=4, n_listeners=6, n_starts=9, duration=5):
    """Songs that all EEG listeners heard, `n_starts` examples end to end in each."""
    return [
        Example(f"song{s}", f"E{who}", f"E{who}_song{s}", duration * k, abx.POSITIONS[3 * k // n_starts])
        for s in range(n_songs) for who in range(n_listeners) for k in range(n_starts)
    ]  # fmt: skip


def main_of(design, version):
    return [one for one in design.version(version) if one.block == abx.MAIN]


def spread(values):
    counts = Counter(values)
    return max(counts.values()) - min(counts.values())


@pytest.fixture(scope="module")
def run(tiny_store, tmp_path_factory):
    return trained(tiny_store, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def made(run, tiny_store):
    return abx.design(run, tiny_store, n_trials=8, duration=3, same_song=0.5, progress=False, n_versions=2)


# ------------------------------------------------------------------ balance


def test_the_papers_test_is_balanced_over_songs_positions_and_listeners():
    design = pretend.paper_design()
    everything = [one.target for v in (1, 2) for one in main_of(design, v)]
    assert len(set(everything)) == 48  # two versions of other examples
    for version in (1, 2):
        targets = [one.target for one in main_of(design, version)]
        assert set(Counter((t.song, t.position) for t in targets).values()) == {2}  # 4 songs × 3 thirds × 2
        assert set(Counter(t.listener for t in targets).values()) == {2}
        foils = [one.foil for one in main_of(design, version)]
        assert Counter(foils) == Counter(targets)  # each reconstruction once right, once wrong
        assert sum(one.foil_kind == abx.SAME_SONG for one in main_of(design, version)) == 12
        assert all(one.target.listener != one.foil.listener for one in main_of(design, version))
    assert (design.count(abx.PRACTICE), design.count(abx.MAIN), design.count(abx.ATTENTION)) == (4, 24, 2)
    practice = {one.target for one in design.trials if one.block == abx.PRACTICE}
    assert len(practice) == 4
    assert not practice & set(everything)
    assert "chance 50 %" in design.describe()


@settings(max_examples=40, deadline=None)
@given(
    n_songs=st.integers(2, 6), n_listeners=st.integers(2, 8), n_trials=st.integers(4, 24), share=st.sampled_from([0, 0.5]),
    n_versions=st.integers(1, 2), seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_design_is_as_even_as_its_numbers_allow(n_songs, n_listeners, n_trials, share, n_versions, seed):
    n_trials = max(n_trials, 2 * n_songs)
    there = pool(n_songs, n_listeners, n_starts=12)
    design = abx.arrange(there, n_trials=n_trials, n_versions=n_versions, same_song=share, seed=seed)
    for version in range(1, n_versions + 1):
        main = main_of(design, version)
        targets = [one.target for one in main]
        assert len(set(targets)) == n_trials
        assert spread([t.song for t in targets]) <= 1
        assert spread([t.position for t in targets] + list(abx.POSITIONS)) <= 1
        for song in {t.song for t in targets}:
            assert spread([t.position for t in targets if t.song == song] + list(abx.POSITIONS)) <= 1
        if len({t.listener for t in targets}) == n_listeners:
            assert spread([t.listener for t in targets]) <= 2
        assert sum(one.foil_kind == abx.SAME_SONG for one in main) == round(share * n_trials)
        for one in main:
            same = one.target.song == one.foil.song
            assert same == (one.foil_kind == abx.SAME_SONG)
            assert not same or abs(one.target.start - one.foil.start) >= 5  # never the seconds of X


# ------------------------------------------------------------------ practice has music of its own


def seconds_of(examples, duration=5):
    """All seconds of music that some examples play."""
    return {(one.song, second) for one in examples for second in range(one.start, one.start + duration)}


def shared_seconds(design, block):
    """The seconds of music of a block's X, A and B that are X, A or B of a scored trial, too."""
    main, own = ([one for one in design.trials if one.block == wanted] for wanted in (abx.MAIN, block))
    scored, mine = (seconds_of(e for one in some for e in (one.target, one.foil)) for some in (main, own))
    return scored & mine


@settings(max_examples=40, deadline=None)
@given(
    n_songs=st.integers(2, 5), n_listeners=st.integers(6, 8), n_starts=st.sampled_from([6, 9, 12, 24]),
    n_practice=st.sampled_from([0, 2, 4]), n_attention=st.integers(0, 2), task=st.sampled_from(abx.TASKS), seed=st.integers(0, 1000),
)  # fmt: skip
def test_practice_and_checks_play_no_music_of_a_scored_trial(
    n_songs, n_listeners, n_starts, n_practice, n_attention, task, seed
):
    there = pool(n_songs, n_listeners, n_starts)
    n_trials = 3 * n_songs if n_songs * n_starts < 24 else 24  # each third of a song can do without one moment
    design = abx.arrange(there, task=task, n_trials=n_trials, n_practice=n_practice, n_attention=n_attention, seed=seed)
    assert not shared_seconds(design, abx.PRACTICE)
    assert not shared_seconds(design, abx.ATTENTION)
    assert "again in scored trials" not in " ".join(design.notes)
    practice = [one.target.moment for one in design.trials if one.block == abx.PRACTICE]
    assert len(set(practice)) == n_practice


def test_the_music_of_practice_takes_nothing_from_the_balance():
    there = pool(3, 6, 6)  # 18 moments: less than one for each of the 24 trials
    design = abx.arrange(there)
    assert not shared_seconds(design, abx.PRACTICE) | shared_seconds(design, abx.ATTENTION)
    assert len({one.target for v in (1, 2) for one in main_of(design, v)}) == 48
    for version in (1, 2):
        targets = [one.target for one in main_of(design, version)]
        assert (
            set(Counter(t.song for t in targets).values()) == set(Counter(t.position for t in targets).values()) == {8}
        )
        assert set(Counter(t.listener for t in targets).values()) == {4}
        assert spread([(t.song, t.position) for t in targets]) == 1


@settings(max_examples=40, deadline=None)
@given(
    n_songs=st.integers(2, 4), n_listeners=st.integers(1, 4), n_starts=st.integers(4, 8), n_trials=st.integers(4, 8),
    shift=st.sampled_from([0, 2]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_music_that_comes_again_is_counted_in_a_note(n_songs, n_listeners, n_starts, n_trials, shift, seed):
    there = [
        replace(one, start=one.start + shift * (one.listener == "E0")) for one in pool(n_songs, n_listeners, n_starts)
    ]
    design = abx.arrange(there, n_trials=n_trials, same_song=0, seed=seed)
    for block, words in ((abx.PRACTICE, "practice uses"), (abx.ATTENTION, "attention checks use")):
        shared = shared_seconds(design, block)
        own = {e for one in design.trials if one.block == block for e in (one.target, one.foil)}
        n = len({e.moment for e in own if seconds_of([e]) & shared})
        said = [note for note in design.notes if note.startswith(words)]
        assert [note.split()[2 if block == abx.PRACTICE else 3] for note in said] == ([str(n)] if n else [])


def test_a_pool_without_moments_to_spare_says_so():
    design = abx.arrange(pool(3, 6, 3))  # one moment in each third of each song
    note = "practice uses 4 moments that come again in scored trials, so that whoever has heard them may know more"
    assert note in " ".join(design.notes)
    assert f"note: {note[:40]}" in design.describe()
    for version in (1, 2):
        assert spread([(one.target.song, one.target.position) for one in main_of(design, version)]) == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), who=st.text(min_size=1, max_size=20), n_trials=st.integers(6, 30))
def test_sides_are_balanced_for_every_participant(seed, who, n_trials):
    design = abx.arrange(pool(), n_trials=n_trials, seed=seed)
    play = design.playlist(1, who)
    assert sorted(one.trial for one, _ in play) == sorted(one.trial for one in design.version(1))
    assert [one.block for one, _ in play[:4]] == ["practice"] * 4
    right = Counter(side for one, side in play if one.block == abx.MAIN)
    assert abs(right["A"] - right["B"]) <= 1
    for kind in (abx.OTHER_SONG, abx.SAME_SONG):
        of = Counter(side for one, side in play if one.block == abx.MAIN and one.foil_kind == kind)
        assert abs(of["A"] - of["B"]) <= 1
    assert Counter(side for one, side in play if one.block == abx.PRACTICE)["A"] == 2
    checks = [i for i, (one, _) in enumerate(play) if one.block == abx.ATTENTION]
    assert len(checks) == 2
    assert 4 <= checks[0] < 4 + (n_trials + 2) / 2 <= checks[1] + 1


def test_same_seed_same_test_and_each_participant_has_an_own_order():
    one, again, other = pretend.paper_design(), pretend.paper_design(), pretend.paper_design(seed=1)
    assert one == again
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.playlist(1, "anna") == again.playlist(1, "anna") != one.playlist(1, "bert")
    sides = [[side for planned, side in sorted(one.playlist(1, f"p{i}"), key=lambda p: p[0].trial)] for i in range(400)]
    share = (np.array(sides) == "A").mean(axis=0)
    assert np.abs(share - 0.5).max() < 0.12  # no trial has a favourite side: 4 standard errors are .10


def test_long_rows_of_one_side_are_rare():
    rng = np.random.default_rng(0)
    marks = [(f"s{i % 4}", f"e{i % 12}", "AB"[i % 2]) for i in range(24)]
    ordered = [marks[i] for i in _balance.order(marks, rng=rng)]
    assert sorted(ordered) == sorted(marks)
    sides = "".join(side for _, _, side in ordered)
    assert "AAAAA" not in sides
    assert "BBBBB" not in sides


# ------------------------------------------------------------------ what is missing is said


def test_what_is_balanced_less_is_said():
    notes = " ".join(abx.arrange(pool(3, 1, 9), n_trials=12, n_versions=2, same_song=0).notes)
    assert "all reconstructions are from one EEG listener" in notes
    assert "practice examples are in the test too" not in notes  # 27 examples for 24 + 4: one too few
    assert (
        abx.arrange(pool(3, 1, 9), n_trials=13, n_versions=2, same_song=0)
        .notes[0]
        .startswith("version 1: songs have 4 to 5")
    )
    reused = " ".join(abx.arrange(pool(2, 2, 3), n_trials=8, n_versions=2, same_song=0).notes)
    assert "4 examples are in more than one version" in reused
    assert "practice examples are in the test too" in reused
    assert "8 trials and 2 EEG listeners" in reused
    skewed = abx.arrange([*pool(1, 6, 9), *pool(2, 1, 3)], n_trials=20, n_versions=1, same_song=0)
    assert "a foil is heard up to" in " ".join(skewed.notes)


@pytest.mark.parametrize(
    ("there", "options", "message"),
    [
        (pool(2, 1, 3), {}, "24 trials need as many different examples, and the test seconds hold 6"),
        (pool(1, 6, 9), {}, "all examples are of song song0: a foil of another song needs two songs. Ask for same_song=1"),
        (pool(30, 1, 1), {"same_song": 1}, "trials are to have a foil of the same song, and only 0 have another"),
        (pool(), {"task": "abc"}, "unknown task 'abc'; known are abx, 2afc"),
        (pool(), {"same_song": 1.5}, "same_song is a share of trials, 0 to 1; found 1.5"),
        (pool(), {"n_trials": 1}, "n_trials must be a whole number, 2 or more; found 1"),
        (pool(), {"n_practice": 1}, "none or two or more"),
        (pool(), {"duration": 2.5}, "whole number of seconds"),
        (pool(), {"trial_s": 10}, r"must hold its three sounds once \(15 s\)"),
        (pool(1, 1, 30), {"n_trials": 3, "n_practice": 0, "same_song": 1, "duration": 200, "trial_s": 900}, "only 0 have another"),
    ],
)  # fmt: skip
def test_failures(there, options, message):
    with pytest.raises(ParameterError, match=message):
        abx.arrange(there, **options)
    with pytest.raises(ParameterError, match="version 3: expected a number from 1 to 2"):
        pretend.paper_design().version(3)


def test_one_song_is_enough_for_foils_of_the_same_song():
    design = abx.arrange(pool(1, 6, 9), same_song=1)
    assert {one.foil_kind for one in design.trials} == {abx.SAME_SONG}


def test_stretches_that_are_silent_or_too_short_are_left_out(run, tiny_store, monkeypatch):
    windows = run.windows(tiny_store)
    split = run.split(windows)
    with pytest.raises(ParameterError, match="holds out no 30 seconds in a row"):
        abx.plan(run, tiny_store, duration=30, trial_s=100)
    with pytest.raises(ParameterError, match="song 'song99' has no test seconds .* those that have: song21, song22"):
        abx.plan(run, tiny_store, songs=["song99"])
    honest = abx.examples.__globals__["reconstruction"].original

    def silent(run, song, *, start, **options):
        y, sr = honest(run, song, start=start, **options)
        return (0 * y if start < 5 and song == "song21" else y), sr

    monkeypatch.setattr(abx.examples.__globals__["reconstruction"], "original", silent)
    found, notes = abx.examples(run, tiny_store, windows=windows, split=split, duration=5)
    assert min(one.start for one in found if one.song == "song21") == 5
    assert notes[0] == "song21: silent from second 0, left out"
    assert notes[1] == "song21: no 5 test seconds in a row in its beginning"


def test_a_classifier_reconstructs_nothing(run, tiny_store):
    other = replace(run, config=run.config | {"model": run.config["model"] | {"name": "classifier"}})
    with pytest.raises(ParameterError, match="is a classifier"):
        abx.plan(other, tiny_store)


# ------------------------------------------------------------------ sounds


def decoded(ogg):
    y, sr = soundfile.read(io.BytesIO(ogg), dtype="float32")
    return y, sr


def test_sounds_have_one_length_rate_and_level(made):
    sounds = {key: decoded(ogg) for key, ogg in made.sounds.items()}
    assert {sr for _, sr in sounds.values()} == {22050}
    assert {len(y) for y, _ in sounds.values()} == {3 * 22050}
    levels = np.array([20 * np.log10(np.sqrt(np.mean(y.astype(float) ** 2))) for y, _ in sounds.values()])
    assert np.ptp(levels) < 0.1  # also after the encoder
    assert max(float(np.abs(y).max()) for y, _ in sounds.values()) <= 1
    assert {key for one in made.trials for key in one.keys("abx")} == set(sounds)


def test_x_is_the_music_and_the_right_one_is_of_the_same_seconds(made, run, tiny_store):
    for one in made.trials:
        x, right, wrong = one.keys("abx")
        assert x == ("original", one.target.song, one.target.start)
        if one.block == abx.ATTENTION:
            assert right == x != wrong
        else:
            assert right == ("reconstruction", one.target.recording, one.target.start)
            assert wrong[1:] != right[1:]
            assert one.target.recording.endswith("r2")  # the hearing that the split holds out
    x, right, wrong = made.trials[0].keys("2afc")
    assert (x[0], right[0], wrong[0]) == ("reconstruction", "original", "original")
    music, sr = tiny_store.audio(made.trials[0].target.song)
    start = made.trials[0].target.start
    heard, _ = decoded(made.sounds[made.trials[0].keys("abx")[0]])
    part = music[int(start * sr) : int((start + 3) * sr)]
    assert np.corrcoef(heard[2000:-2000], part[2000:-2000])[0, 1] > 0.9  # noise, through the encoder


def test_seconds_of_the_training_are_refused(made, run, tiny_store):
    windows = run.windows(tiny_store)
    split = run.split(windows)
    one = made.trials[0]
    seen = replace(one, target=replace(one.target, recording=one.target.recording.replace("r2", "r1")))
    with pytest.raises(DataError, match="expected test seconds only, found"):
        abx.make_sounds(made, run, tiny_store, trials=[seen], windows=windows, split=split, progress=False)
    with pytest.raises(DataError, match="was planned from run nothing, not"):
        abx.make_sounds(replace(made, about={"run": "nothing"}), run, tiny_store)


def test_the_volume_is_set_with_a_sound_of_the_practice(made):
    moments = {one.target.moment for one in made.trials if one.block == abx.PRACTICE}
    assert made.volume_sound in [made.sounds["original", *moment] for moment in moments]
    assert pretend.paper_design().volume_sound == b""


def test_another_rate(made, run, tiny_store):
    few = abx.make_sounds(replace(made, sounds={}), run, tiny_store, trials=made.trials[:1], sr=16000, progress=False)
    assert {decoded(ogg)[1] for ogg in few.sounds.values()} == {16000}
    assert {len(decoded(ogg)[0]) for ogg in few.sounds.values()} == {48000}


# ------------------------------------------------------------------ the folder


def test_a_saved_test_is_the_same_and_its_names_tell_nothing(made, tmp_path):
    folder = abx.save(made, tmp_path / "test")
    again = abx.open(folder)
    assert again == made
    assert again.fingerprint == made.fingerprint
    assert dict(again.sounds) == made.sounds
    names = {file.stem for file in (folder / "sounds").iterdir()}
    assert len(names) == len(made.sounds)
    assert all(set(name) <= set("0123456789abcdef") and len(name) == 16 for name in names)
    with pytest.raises(DataError, match="holds a listening test already"):
        abx.save(made, folder)
    with pytest.raises(DataError, match="sounds are not made"):
        abx.save(pretend.paper_design(), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (next((folder / "sounds").iterdir())).unlink()
    with pytest.raises(DataError, match="a sound of this test is missing"):
        [again.sound(key) for key in again.sounds]


@pytest.mark.parametrize(
    "damage",
    [
        lambda held: held["files"][0].__setitem__(-1, "../../secret.ogg"),
        lambda held: held.pop("task"),
        lambda held: held["trials"][0].pop("target"),
        lambda held: held["texts"].pop("consent"),
    ],
)
def test_a_damaged_design_is_refused(made, tmp_path, damage):
    folder = abx.save(made, tmp_path / "test")
    held = json.loads((folder / "design.json").read_text())
    damage(held)
    (folder / "design.json").write_text(json.dumps(held))
    with pytest.raises(DataError, match="is damaged"):
        abx.open(folder)
    (folder / "design.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        abx.open(folder)
    with pytest.raises(DataError, match="is not a listening test"):
        abx.open(tmp_path)


def test_the_texts_say_the_numbers_of_the_test(made):
    words = made.texts
    assert "It has 8 trials, 2 checks of attention and 4 for practice, and takes" in words.consent
    assert "Now 8 trials that count, and among them 2 checks of attention." in words.begin
    few = pretend.paper_design(n_trials=8, n_practice=0, n_attention=0, n_versions=1).texts
    assert "It has 8 trials, and takes" in few.consent
    assert "Now 8 trials that count. From" in few.begin
    assert "at most 30 minutes" in words.consent
    assert "how often you played each sound, the date and time of each answer, and the name" in words.consent
    assert "3 seconds" in words.task
    assert "after 60 seconds" in words.task
    assert "headphones" in words.headphones
    assert "volume" in words.volume
    assert words.question == "Which of the two, A or B, belongs to X?"
    assert words.choice == "{} belongs to X"
    assert "the other from people who heard other music, or another part of the same song." in words.task
    other = pretend.paper_design(task="2afc").texts
    assert "A and B are two pieces of music" in other.task
    assert other.question == "Which of the two, A or B, does X belong to?"
    assert other.choice == "X belongs to {}"


def test_by_command_the_other_way_round(run, tmp_path):
    options = ("--task", "2afc", "--trials", 4, "--versions", 1, "--duration", 3, "--practice", 2, "--same-song", 0)
    said = eegviz("listening-test", "make", run.path, "--out", tmp_path / "test", *options).stdout
    assert said.startswith("2AFC: 4 trials, 2 for practice, 2 attention checks; 1 version(s)")
    assert "SIMULATED EEG of Tiny" in said
    assert said.splitlines()[-1] == f"eegviz app {tmp_path / 'test'}   # give people this page"
    made = abx.open(tmp_path / "test")
    for one in made.trials:
        x, right, wrong = one.keys("2afc")
        assert right == ("original", *one.target.moment) != wrong
        assert all(made.sound(key)[:4] == b"OggS" for key in (x, right, wrong))
    again = eegviz("listening-test", "make", run.path, "--out", tmp_path / "test", ok=False)
    assert "holds a listening test already" in again.stderr


# ------------------------------------------------------------------ trials on a page


def test_trials_on_a_page_are_heard_and_the_answers_are_folded(made):
    from eegviz.listening import charts

    trials = made.playlist(1, "anna")[:2]
    shown = charts.trial_grid(made, trials)
    assert len({one.png for _, clips in shown.rows for one in clips}) == 1  # no picture tells X from A and B
    assert all("its spectrogram would give the answer away" in one.alt for _, clips in shown.rows for one in clips)
    folded = charts.answers(made, trials)
    assert folded.startswith('<details class="more"><summary>')
    assert folded.count("<img") == 6
    for number, (_, side) in enumerate(trials, 1):
        assert f"Trial {number}: {side}" in folded
    silent = charts.answers(pretend.paper_design(), pretend.paper_design().playlist(1, "anna")[:2])
    assert "<img" not in silent
