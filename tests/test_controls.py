import numpy as np
import pandas as pd
import pytest

from eegviz import controls, store, training
from eegviz.errors import ParameterError
from tests.conftest import make_tiny_store


def table_of(*recordings, seconds=20):
    rows = [(f"{who}_{song}_r{hearing}", who, song, hearing, second)
            for who, song, hearing in recordings for second in range(seconds)]  # fmt: skip
    return pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "repeat", "second"])


def test_shuffled_keeps_the_recording_and_moves_every_second():
    table = table_of(("A", "x", 1), ("B", "x", 1))
    order = controls.shuffled(table)
    assert (order != np.arange(len(table))).all()
    assert (table["recording"].to_numpy()[order] == table["recording"].to_numpy()).all()
    assert sorted(order) == list(range(len(table)))


def test_shuffled_takes_shorter_blocks_where_it_must():
    assert (controls.shuffled(table_of(("A", "x", 1), seconds=5)) >= 0).all()
    assert (controls.shuffled(table_of(("A", "x", 1), seconds=1)) == -1).all()


def test_another_listener_hears_the_same_second():
    table = table_of(("A", "x", 1), ("B", "x", 1), ("C", "x", 1), ("A", "y", 1), ("B", "x", 2))
    partner = controls.other_listener(table)
    there = partner >= 0
    assert there.sum() == 60  # nobody else heard y, or x a second time
    lent = table.iloc[partner[there]].reset_index(drop=True)
    own = table[there].reset_index(drop=True)
    assert (lent[["stimulus", "repeat", "second"]] == own[["stimulus", "repeat", "second"]]).all().all()
    assert (lent["subject"] != own["subject"]).all()
    assert lent["subject"].value_counts().tolist() == [20, 20, 20]


def test_a_shift_takes_later_eeg():
    table = table_of(("A", "x", 1), ("B", "x", 1), seconds=5)
    giver = controls.shifted(table, 2)
    assert giver.tolist() == [2, 3, 4, -1, -1, 7, 8, 9, -1, -1]
    assert controls.shifted(table, 0).tolist() == list(range(10))


def test_phases_at_random_keep_spectra_and_relations():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((3, 2500)).astype(np.float32)
    signal[1] += 0.8 * signal[0]
    fake = controls.phases_at_random(signal, np.random.default_rng(1))
    np.testing.assert_allclose(np.abs(np.fft.rfft(fake)), np.abs(np.fft.rfft(signal)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.corrcoef(fake), np.corrcoef(signal), atol=1e-4)
    assert abs(np.corrcoef(fake[0], signal[0])[0, 1]) < 0.1


@pytest.fixture(scope="module")
def with_silence(tmp_path_factory):
    """A store whose listeners sat in silence before each song, at another rate and with one channel more."""
    path = make_tiny_store(tmp_path_factory.mktemp("quiet") / "s", n_subjects=2, n_songs=2, n_hearings=2, n_channels=4)
    made = store.open(path)
    with store.create(path.with_name("with"), dataset="tiny", title="t", licence="CC0", citation="-",
                      montage="GSN-HydroCel-129", simulated=True) as writer:  # fmt: skip
        for song in made.stimuli["stimulus"]:
            writer.add_stimulus(song, *made.audio(song)[:1], sr=made.audio(song)[1])
        for row in made.recordings.to_dict("records"):
            name = row["recording"]
            writer.add_recording(name, np.array(made.eeg(name)), ch_names=made.ch_names(name),
                                 **{k: row[k] for k in ("subject", "stimulus", "repeat", "session", "sfreq")})  # fmt: skip
            if row["repeat"] == 1:
                quiet = np.random.default_rng(1).standard_normal((5, 4 * 250)).astype(np.float32) * 1e-5
                writer.add_recording(f"{name}_silence", quiet, subject=row["subject"], condition="silence", sfreq=250.0,
                                     ch_names=[*made.ch_names(name), "E9"], before=row["stimulus"])  # fmt: skip
    return store.open(path.with_name("with"))


@pytest.fixture(scope="module")
def substitute(with_silence, tmp_path_factory):
    config = training.configure(
        with_silence, split="repeat", preset="fast", settings={"epochs": 1, "units": 8}, precision="float32"
    )
    run = training.train(with_silence, config, out=tmp_path_factory.mktemp("runs"), progress=False)
    windows = run.windows(with_silence)
    return controls.Substitute(run, windows, with_silence), windows, run.split(windows), run


def test_zero_eeg_gets_one_answer(substitute):
    one, windows, _, _ = substitute
    answers = one.zero(3)
    assert answers.shape == (3, *windows.out_shape)
    np.testing.assert_array_equal(answers[0], answers[2])
    np.testing.assert_allclose(answers[0], one.predict(np.zeros((1, *windows.in_shape), np.float32))[0])


def test_noise_is_another_signal_and_repeatable_in_any_order(substitute):
    one, windows, split, run = substitute
    table = windows.table.iloc[split.test].reset_index(drop=True)
    answers = one.noise(table)
    assert answers.shape == (len(table), *windows.out_shape)
    assert np.abs(answers - run.predictions).max() > 0
    mixed = np.random.default_rng(0).permutation(len(table))
    np.testing.assert_allclose(one.noise(table.iloc[mixed]), answers[mixed], atol=1e-6)


def test_silence_is_that_of_the_song_at_the_runs_rate_and_channels(substitute):
    one, windows, split, _ = substitute
    table = windows.table.iloc[split.test].reset_index(drop=True)
    answers = one.silence(table)
    assert answers.shape == (len(table), *windows.out_shape)
    rows = np.flatnonzero(table["recording"] == table["recording"].iloc[0])
    np.testing.assert_array_equal(answers[rows[:4]], answers[rows[4:8]])  # four quiet seconds, again and again


def test_a_store_without_silence_says_so(substitute, tiny_store):
    _, windows, split, run = substitute
    other = controls.Substitute(run, windows, tiny_store)
    with pytest.raises(ParameterError, match="no recordings of silence"):
        other.silence(windows.table.iloc[split.test])
