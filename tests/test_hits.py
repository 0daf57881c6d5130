"""Hits@k: closed forms, candidates, and a run whose music is known chords."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import chords, hits, identification, recipes, runs, store, synthesiser, training
from eegviz._hit_task import Task
from eegviz.datasets import demo_deap
from eegviz.errors import DataError, ParameterError
from tests.test_bad_input import predicting, trained
from tests.test_cli import eegviz

SR = 22050


# --- ranks and hits ---------------------------------------------------------------------------------------------------


def test_hits_of_known_ranks():
    found = hits.hits([1, 2, 3, 4], (1, 2, 4), 4)
    assert [one.value for one in found] == [0.25, 0.5, 1.0]
    assert [one.chance for one in found] == [0.25, 0.5, 1.0]
    assert [one.value for one in hits.hits(np.arange(1, 102), (1, 20, 101), 101)] == pytest.approx(
        [1 / 101, 20 / 101, 1]
    )
    assert str(hits.hits([1], (20,), 101)[0]) == "Hits@20 1.000 (chance 20/101 = 0.198, n = 1)"


def test_ties_count_at_their_expectation():
    place = hits.ranks(np.zeros((3, 101)))
    assert (place.rank == 51).all()
    assert (place.tied == 100).all()
    for one in hits.hits(place.rank, (1, 5, 20), 101, tied=place.tied):
        assert one.value == pytest.approx(one.k / 101, abs=1e-12)
    place = hits.ranks([[0.5, 0.5, 0.9, 0.1]])
    assert (place.rank[0], place.tied[0]) == (2.5, 1)
    assert [one.value for one in hits.hits(place.rank, (1, 2, 3), 4, tied=place.tied)] == [0, 0.5, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 12))
def test_ranks_and_hits_agree_with_identification(seed, n, size):
    rng = np.random.default_rng(seed)
    scores, true = rng.integers(0, 4, (n, size)).astype(float), rng.integers(0, size, n)
    place, ks = hits.ranks(scores, true=true), (1, max(1, size // 2), size)
    for one in hits.hits(place.rank, ks, size, tied=place.tied):
        assert one == identification.hits_at_k(scores, true, k=one.k)
    values = [one.value for one in hits.hits(place.rank, ks, size, tied=place.tied)]
    assert values == sorted(values)
    assert values[-1] == 1


def test_random_scores_are_at_chance():
    rng = np.random.default_rng(0)
    place = hits.ranks(rng.random((20_000, 101)))
    for one in hits.hits(place.rank, (1, 3, 5, 10, 20), 101):
        assert one.value == pytest.approx(one.chance, abs=4 * np.sqrt(one.chance / 20_000))


def test_refuses_ranks_and_k_that_cannot_be():
    with pytest.raises(ParameterError, match=r"k=20 is larger than the number of candidates \(10\)"):
        hits.hits([1], (1, 20), 10)
    with pytest.raises(ParameterError, match="k=0"):
        hits.hits([1], (0,), 10)
    with pytest.raises(ParameterError, match="ks is empty"):
        hits.hits([1], (), 10)
    for rank in ([0], [11]):
        with pytest.raises(ParameterError, match="among 10 candidates they lie from 1 to 10"):
            hits.hits(rank, (1,), 10)
    with pytest.raises(DataError, match="must be finite"):
        hits.hits([np.nan], (1,), 10)
    with pytest.raises(DataError, match="scores of segment 1 hold NaN"):
        hits.ranks([[1, 2], [np.nan, 1]])
    with pytest.raises(ParameterError, match="columns from 0 to 1"):
        hits.ranks([[1, 2]], true=2)


# --- candidates -------------------------------------------------------------------------------------------------------


def test_candidates_hold_the_truth_once_and_depend_on_it_alone():
    rng = np.random.default_rng(1)
    pool = hits.pool(rng.integers(0, 24, (30, 4)))
    true = np.concatenate([pool[:5], rng.integers(0, 24, (5, 4)), pool[:2]])
    found = hits.candidates(true, pool, n_distractors=100, seed=3)
    assert found.shape == (12, 101, 4)
    np.testing.assert_array_equal(found[:, 0], true)
    assert not (found[:, 1:] == true[:, None]).all(2).any()
    assert all(len(np.unique(one, axis=0)) == 101 for one in found)
    np.testing.assert_array_equal(found[:2], found[10:])
    np.testing.assert_array_equal(hits.candidates(true[::-1], pool, n_distractors=100, seed=3), found[::-1])
    assert (hits.candidates(true, pool, n_distractors=100, seed=4) != found).any()


def test_the_pool_is_closed_under_transposition():
    pool = hits.pool([[0, 7, 24, 21], [24, 24, 24, 24], [2, 9, 24, 23]])
    assert len(pool) == 12  # the second has no chord, the third is the first, two semitones up
    moved = chords.transpose(pool, 5)
    assert {tuple(one) for one in moved} == {tuple(one) for one in pool}
    assert len(hits.pool([[0, 7, 24, 21], [24] * 4, [2, 9, 24, 23]], transposed=False)) == 2


def test_refuses_too_small_a_pool():
    with pytest.raises(ParameterError, match="12 distinct progressions to draw from, 11 beside a true one: too few"):
        hits.candidates([[0, 7]], hits.pool([[0, 7]]), n_distractors=100)
    with pytest.raises(ParameterError, match="n_distractors=0"):
        hits.candidates([[0, 7]], hits.pool([[0, 7]]), n_distractors=0)
    with pytest.raises(ParameterError, match="expected \\(n, n_steps\\)"):
        hits.candidates([0, 7], hits.pool([[0, 7]]))


def test_scores_are_means_over_the_steps():
    like = np.random.default_rng(0).random((2, 3, 25))
    offered = np.array([[[0, 1, 2], [3, 4, 5]], [[24, 0, 0], [1, 1, 1]]])
    found = hits.scores(like, offered)
    assert found[0, 1] == pytest.approx((like[0, 0, 3] + like[0, 1, 4] + like[0, 2, 5]) / 3)
    assert found[1, 0] == pytest.approx((like[1, 0, 24] + like[1, 1, 0] + like[1, 2, 0]) / 3)
    with pytest.raises(ParameterError, match="expected"):
        hits.scores(like, offered[:, :, :2])


def test_a_perfect_chroma_finds_its_progression():
    rng = np.random.default_rng(2)
    true = rng.integers(0, 24, (40, 4))
    like = chords.likeness(chords.templates()[true])
    place = hits.ranks(hits.scores(like, hits.candidates(true, hits.pool(true))))
    assert hits.hits(place.rank, (1,), 101, tied=place.tied)[0].value == 1


# --- segments ---------------------------------------------------------------------------------------------------------


def test_segments_begin_at_multiples_and_are_whole():
    table = pd.DataFrame({"recording": ["b"] * 10 + ["a"] * 9, "second": [*range(3, 13), *range(8), 9]})
    found = hits.segments(table, seconds=4)
    assert list(zip(found.table["recording"], found.table["second"], strict=True)) == [
        ("a", 0),
        ("a", 4),
        ("b", 4),
        ("b", 8),
    ]
    np.testing.assert_array_equal(table["second"].to_numpy()[found.rows[2]], [4, 5, 6, 7])
    whole = pd.DataFrame({"recording": "a", "second": [0, 4, 8]})
    assert hits.segments(whole, seconds=4, duration=4).rows.tolist() == [[0], [1], [2]]
    assert hits.segments(whole, seconds=8, duration=4).rows.tolist() == [[0, 1]]
    with pytest.raises(ParameterError, match="windows of 4 s do not fill segments of 6 s"):
        hits.segments(whole, seconds=6, duration=4)
    with pytest.raises(ParameterError, match="no recording has 4 seconds in a row"):
        hits.segments(pd.DataFrame({"recording": "a", "second": [0, 2, 4]}), seconds=4)


@pytest.mark.slow
def test_p_of_predictions_without_signal_is_not_small_too_often():
    """150 sets of 3 songs × 4 listeners; likeness is autoregressive noise, .8 from one segment to the next."""
    small, n_sets = np.zeros(2), 150
    rows = [(f"S{s}_{m}", f"S{s}", f"m{m}", 4 * i) for s in range(4) for m in range(3) for i in range(12)]
    table = pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "second"])
    for seed in range(n_sets):
        rng = np.random.default_rng(seed)
        songs = rng.choice([0, 2, 5, 7, 9, 14, 16, 21], (3, 12, 4))
        true, like = np.concatenate([songs.reshape(36, 4)] * 4), rng.normal(size=(len(table), 4, 25))
        for places in table.groupby("recording").indices.values():
            for before, here in zip(places, places[1:], strict=False):
                like[here] = 0.8 * like[before] + 0.6 * like[here]
        segments = hits.Segments(table, np.arange(len(table))[:, None], 4)
        task = Task(segments, true, songs.reshape(36, 4), "progressions", "cosine", 100, True, seed, 1.0)
        _, p = hits._permuted(task, like, task.values(like, (5, 10)), (5, 10), 199, seed)
        small += [p[5] <= 0.05, p[10] <= 0.05]
    assert (small / n_sets <= 0.09).all()  # .04, .03


# --- a run ------------------------------------------------------------------------------------------------------------


def make_chord_store(path, *, n_subjects=3, n_songs=2, seconds=32, seed=0):
    """Listeners hear chord progressions of the synthesiser twice; their EEG is noise."""
    names = ["Fz", "Cz", "Pz", "Oz"]
    with store.create(path, dataset="chords", title="Chords", licence="CC0", citation="none", simulated=True) as writer:
        for song in range(n_songs):
            rng = np.random.default_rng([seed, song])
            labels = rng.choice([0, 2, 5, 7, 9, 14, 16, 21], seconds)
            writer.add_stimulus(f"song{song}", synthesiser.render(labels, seed=song), sr=SR, title=f"Song {song}")
            for subject in range(n_subjects):
                for hearing in (1, 2):
                    rng = np.random.default_rng([seed, song, subject, hearing])
                    writer.add_recording(
                        f"S{subject}_song{song}_r{hearing}", (1e-5 * rng.standard_normal((4, seconds * 128))).astype(np.float32),
                        subject=f"S{subject}", stimulus=f"song{song}", repeat=hearing, session=str(hearing), sfreq=128.0,
                        ch_names=names,
                    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return store.open(make_chord_store(tmp_path_factory.mktemp("chords") / "store"))


@pytest.fixture(scope="module")
def run(opened, tmp_path_factory):
    return trained(opened, tmp_path_factory.mktemp("runs"), split="repeat")


@pytest.fixture(scope="module")
def new_listener(opened, tmp_path_factory):
    """A run of another split, by the command line."""
    out = tmp_path_factory.mktemp("new")
    settings = ("--model", "ridge", "--preset", "fast", "--set", "alphas=[1.0]", "--split", "subject:S2")
    return runs.open(eegviz("train", opened.path, *settings, "--out", out).stdout.split()[-1])


@pytest.fixture(scope="module")
def found(run):
    return hits.of_run(run)


def test_noise_eeg_is_at_chance_and_says_so(found):
    assert (found.n_candidates, found.n_listeners, found.seconds, found.ks) == (101, 3, 4, (1, 3, 5, 10, 20))
    assert found.n == 3 * 2 * 8
    for answer in (
        "this run",
        "shuffled",
        "other listener",
        "zero EEG",
        "noise EEG",
        "mean picture",
        "training chords",
    ):
        row = found.row(answer, 20)
        assert row["chance"] == pytest.approx(20 / 101)
        assert 0 <= row["low"] <= row["hits"] <= row["high"] <= 1
    assert found.row("this run", 10)["p"] > 0.01
    assert found.row("true pictures", 1)["hits"] > 0.9
    assert found.sentence().startswith("No evidence that the EEG adds to what the audio side achieves alone: Hits@10 ")
    assert "where 10 of 101 candidates give 9.9 % by chance" in found.sentence()


def test_the_text_says_what_it_rests_on(found):
    text = found.describe()
    assert max(map(len, text.splitlines())) <= 76
    assert "nan" not in text.lower().split()
    flat = " ".join(text.split())
    for part in (
        "where 20 of 101 candidates give 19.8 % by chance",
        "[simulated data]",
        "100 distractors, drawn (seed 0) from",
        "in all 12 transpositions",
        "over audio alone",
        "few: covers about 76 %",
        "p: permutation of segments of 4 s",
        "ties count at their expectation",
    ):
        assert part in flat, part


def test_values_are_those_of_the_table_and_repeat(found, run):
    means = pd.Series(found.values["this run"][:, 3]).groupby(found.segments["subject"]).mean()
    assert found.row("this run", 10)["hits"] == pytest.approx(means.mean())
    gain = found.gains.set_index("k").loc[10]
    blind = found.row(gain["against"], 10)["hits"]
    assert gain["gain"] == pytest.approx(means.mean() - blind)
    again = hits.of_run(run)
    pd.testing.assert_frame_equal(found.table, again.table)
    assert found.describe() == again.describe()
    assert len(found.segments["true"].iloc[0].split()) == 4


def test_true_pictures_as_predictions_find_everything(run, opened, tmp_path):
    windows = run.windows()
    target = windows.target(run.split(windows).test)
    perfect = runs.open(predicting(run, tmp_path, target))
    found = hits.of_run(perfect, windows=windows, store=opened)
    for k in found.ks:
        assert found.row("this run", k)["hits"] == found.row("true pictures", k)["hits"]
    mine = found.row("this run", 1)
    assert mine["hits"] > 0.9
    assert mine["p"] < 0.01
    assert found.row("shuffled", 1)["hits"] < 0.5
    assert found.row("other listener", 1)["hits"] == pytest.approx(mine["hits"])
    assert found.gains.set_index("k").loc[[1, 3, 5, 10], "low"].min() > 0
    assert found.sentence().startswith("The EEG adds to what the audio side achieves alone: Hits@10 ")
    single = hits.of_run(perfect, what="chords", windows=windows, store=opened, n_permutations=99)
    assert (single.n_candidates, single.ks, single.n) == (25, (1, 3, 5), 4 * found.n)
    assert single.row("this run", 1)["hits"] > 0.95
    assert "where 5 of 25 candidates give 20.0 % by chance" in " ".join(single.describe().split())
    other = hits.of_run(perfect, scoring="log-probability", windows=windows, store=opened, n_permutations=99)
    assert other.row("this run", 1)["hits"] > 0.9


def test_centred_answers_without_eeg_get_exactly_chance(run, opened):
    found = hits.of_run(run, centred=True, store=opened, n_permutations=99)
    for k in found.ks:
        for answer in ("zero EEG", "mean picture", "training chords"):
            assert found.row(answer, k)["hits"] == pytest.approx(k / 101)
    assert found.row("true pictures", 3)["hits"] > 0.9
    assert "centred: less each recording's mean likeness" in " ".join(found.describe().split())


def test_runs_in_one_table_with_the_audio_side_and_chance(run, opened, found):
    table = hits.compare({"ridge": run, "again": run}, store=opened)
    assert table.index.tolist() == ["ridge", "again", "no EEG: mean picture", "no EEG: training chords", "chance"]
    for k in found.ks:
        assert table.loc["ridge", f"hits@{k}"] == pytest.approx(found.row("this run", k)["hits"])
        assert table.loc["no EEG: training chords", f"hits@{k}"] == pytest.approx(
            found.row("training chords", k)["hits"]
        )
        assert table.loc["chance", f"hits@{k}"] == pytest.approx(k / 101)


def test_who_knows_the_frequent_chords_stands_beside_an_audio_only_run(run, opened, found):
    again = hits.of_run(run, blind=run, store=opened, n_permutations=99)
    for k in (5, 20):
        best = max(again.row(name, k)["hits"] for name in ("audio-only run", "training chords", "mean picture"))
        assert again.row("this run", k)["hits"] - best == pytest.approx(again.gains.set_index("k").loc[k, "gain"])
    assert again.row("audio-only run", 20)["hits"] == found.row("this run", 20)["hits"]
    table = hits.compare({"ridge": run}, store=opened, centred=True)
    assert table.loc["no EEG: training chords", "hits@5"] == pytest.approx(5 / 101)


def test_distractors_of_the_same_keys_are_harder_for_who_knows_the_frequent_chords(run, opened, found):
    """With all transpositions the frequency of the training's chords finds nearly everything, without any EEG."""
    asked = {"n_distractors": 8, "ks": (3,), "store": opened, "n_permutations": 99}
    wide, narrow = (hits.of_run(run, transposed=one, **asked) for one in (True, False))
    assert narrow.n_pool == narrow.n_known < wide.n_pool
    blind = [one.row("training chords", 3)["hits"] for one in (wide, narrow)]
    assert blind[0] > blind[1]
    assert found.row("training chords", 20)["hits"] > 0.9
    assert "in all 12 transpositions" not in " ".join(narrow.describe().split())


def test_constant_predictions_get_what_the_mean_picture_gets(run, opened, tmp_path):
    windows = run.windows()
    split = run.split(windows)
    from eegviz import baselines, sides

    mean = baselines.NoEEG(sides.training_view(windows, split)).mean
    constant = runs.open(predicting(run, tmp_path, np.broadcast_to(mean, (len(split.test), *mean.shape))))
    found = hits.of_run(constant, windows=windows, store=opened)
    for k in found.ks:
        mine = found.row("this run", k)
        assert mine["hits"] == found.row("mean picture", k)["hits"] == found.row("shuffled", k)["hits"]
        assert mine["p"] == 1 or mine["hits"] > 0
    assert found.sentence().startswith("No evidence")
    silent = tmp_path / "silent"
    shutil.copytree(run.path, silent)
    np.save(silent / "predictions.npy", np.zeros((len(split.test), *mean.shape), np.float32))
    nothing = hits.of_run(runs.open(silent), windows=windows, store=opened, n_permutations=99)
    for k in nothing.ks:
        assert nothing.row("this run", k)["hits"] == pytest.approx(k / 101)


def test_an_audio_only_run_takes_the_place_of_the_audio_side(run, opened, new_listener, tmp_path):
    windows = run.windows()
    split = run.split(windows)
    perfect = runs.open(predicting(run, tmp_path, windows.target(split.test)))
    found = hits.of_run(run, blind=perfect, windows=windows, store=opened)
    assert set(found.gains.set_index("k").loc[[1, 3, 5], "against"]) == {"audio-only run"}
    assert found.gains["high"].max() < 0
    assert "audio-only run: a run that hears no EEG" in found.describe()
    with pytest.raises(ParameterError, match="the audio-only run has other split"):
        hits.of_run(run, blind=new_listener, windows=windows, store=opened)


def test_windows_of_four_seconds(opened, tmp_path):
    config = training.configure(
        opened, model="tokens", preset="fast", settings={"epochs": 1}, split="repeat", precision="float32"
    )
    run = training.train(opened, config, out=tmp_path, progress=False)
    assert run.predictions.shape[1:] == (176, 128)
    found = hits.of_run(run, centred=True, store=opened, n_distractors=50)
    assert found.n == 3 * 2 * 8
    for answer in ("mean picture", "training chords"):
        assert found.row(answer, 20)["hits"] == pytest.approx(20 / 51)
    assert found.row("true pictures", 3)["hits"] > 0.9
    music = synthesiser.of_run(run, "S2_song0_r2", store=opened)
    assert music.labels.shape == (32,)


def test_a_leaky_split_cannot_tell(opened, tmp_path):
    blocked = trained(opened, tmp_path, split="blocked:50")
    found = hits.of_run(blocked, n_distractors=20, ks=(1, 5))
    assert found.sentence().startswith("This split cannot tell: Hits@5 ")
    assert found.n_candidates == 21


def test_refuses_what_cannot_be_scored(run):
    with pytest.raises(ParameterError, match="k=20 of 25 single chords is 80 % by chance: k is 5 at most"):
        hits.of_run(run, what="chords", ks=(1, 20))
    with pytest.raises(ParameterError, match=r"k=20 is larger than the number of candidates \(11\)"):
        hits.of_run(run, n_distractors=10)
    with pytest.raises(ParameterError, match="n_distractors=0"):
        hits.of_run(run, n_distractors=0)
    with pytest.raises(ParameterError, match="k=0"):
        hits.of_run(run, ks=(0,))
    with pytest.raises(ParameterError, match="unknown what='songs'; known are progressions, chords"):
        hits.of_run(run, what="songs")
    with pytest.raises(ParameterError, match="unknown scoring='r'"):
        hits.of_run(run, scoring="r")
    with pytest.raises(ParameterError, match="too few for n_distractors=5000"):
        hits.of_run(run, n_distractors=5000)
    with pytest.raises(ParameterError, match="does not hold whole steps"):
        hits.of_run(run, step=3)
    classifier = dataclasses.replace(run, config=run.config | {"model": run.config["model"] | {"name": "classifier"}})
    with pytest.raises(ParameterError, match="is a classifier: it predicts no pictures"):
        hits.of_run(classifier)


def test_from_the_command_line_to_hits_and_music(new_listener):
    run = new_listener
    found = hits.of_run(run)
    assert found.n_listeners == 1
    assert found.gains["low"].tolist() == [None] * 5
    assert "one listener" in found.describe()
    music = synthesiser.of_run(run, "S2_song0_r1", valence=7.5, arousal=3)
    assert len(music.sound) == 32 * SR
    assert music.labels.shape == (32,)
    heard = chords.sound_progression(music.sound)
    assert (heard == music.labels).mean() >= 0.95
    assert "played at valence 7.5 and arousal 3.0 of 9" in music.describe()
    with pytest.raises(ParameterError, match="recording 'S0_song0_r1' has no test windows"):
        synthesiser.of_run(run, "S0_song0_r1")


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [1.0, 0.0])
def test_the_tokens_gain_with_and_without_an_answer_to_the_music(coupling, tmp_path):
    """Printed as it is. Asked is the null only: without coupling the EEG adds nothing."""
    opened = store.open(
        demo_deap.make_store(tmp_path / "store", coupling=coupling, seed=1, duration=32, progress=False)
    )
    ours, alone = (
        recipes.run(opened, f"tokens {row}", out=tmp_path / "runs", score=False) for row in ("ours", "music alone")
    )
    found = hits.of_run(ours, blind=alone, store=opened)
    print(f"\ncoupling {coupling:g}, trained in {ours.provenance['training_s']:.1f} s\n{found.describe()}")
    assert found.row("true pictures", 10)["hits"] > 2 * 10 / 101  # the question itself can be answered
    if not coupling:
        assert found.sentence().startswith("No evidence")
