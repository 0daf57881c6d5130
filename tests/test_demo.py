"""The demonstration data set: what it writes, that it repeats and continues, and that its truth can be found."""

import numpy as np
import pytest
import soundfile
from scipy.io import loadmat

from eegviz import music, simulate, store
from eegviz.datasets import demo, nmed_h, nmed_t
from eegviz.errors import ParameterError

SR = 22050
SMALL = {"n_subjects": 2, "n_pieces": 2, "duration": 4.0, "progress": False}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return store.open(demo.make_store(tmp_path_factory.mktemp("demo") / "store", **SMALL))


def test_recordings_stimuli_and_participants(small):
    table = small.recordings
    assert table["recording"].tolist() == [
        f"S0{s}_{song}_r{r}" for song in ("song21", "song30") for s in (1, 2) for r in (1, 2)
    ]
    assert set(table["condition"]) == {"listening"}
    assert set(zip(table["repeat"], table["session"], strict=True)) == {(1, "a"), (2, "b")}
    assert (table["n_channels"] == 125).all()
    assert (table["n_times"] == 500).all()
    assert small.stimuli["bpm"].tolist() == [55.97, 150.0]
    assert small.stimuli["title"].tolist() == [music.PIECES[0].title, music.PIECES[9].title]
    people = small.table("participants")
    assert people["subject"].tolist() == ["S01", "S02"]
    assert people["N100_s"].tolist() == [one.latencies[1] for one in simulate.listeners(2)]


def test_manifest_says_simulated_with_every_dial(small):
    manifest = small.manifest
    assert manifest["simulated"] is True
    assert manifest["dataset"] == "demo"
    assert "CC0" in manifest["licence"]
    assert "imulated" in manifest["title"]
    assert "not recorded" in manifest["citation"]
    about = manifest["about"]
    assert about["dials"] == {
        "coupling": 1.0, "drift": 0.0, "session_drift": 0.0, "strength": "base", "evoked": 3.0, "gamma": 2.0,
        "beta": 2.0, "alpha": 6.0, "background": 8.0, "sensor": 1.0, "depth": 6.0,
    }  # fmt: skip
    assert "kinder than recordings" in about["strength"]
    assert about["seed"] == 0


def test_store_is_whole_and_mne_reads_it(small):
    assert store.verify(small.path) == []
    raw = small.raw("S01_song21_r1")
    assert raw.ch_names == list(simulate.NMED_CHANNELS)
    deviation = np.median(raw.get_data().std(axis=1)) * 1e6
    assert 5 < deviation < 60


def test_eeg_and_sound_are_those_of_the_simulator(small):
    y = music.piece("song30", duration=4.0)
    expected = simulate.simulate(
        y, SR, listener=simulate.listeners(2)[1], hearing=2, stimulus="song30", dials=simulate.Dials()
    )
    np.testing.assert_array_equal(small.eeg("S02_song30_r2"), expected)
    audio, sr = small.audio("song30")
    assert sr == SR
    np.testing.assert_allclose(audio, y, atol=1 / 32768)


def test_same_seed_same_bytes_and_another_seed_others(small, tmp_path):
    again = store.open(demo.make_store(tmp_path / "again", **SMALL))
    assert again.fingerprint == small.fingerprint
    other = store.open(demo.make_store(tmp_path / "other", seed=1, **SMALL))
    assert other.fingerprint != small.fingerprint


def test_a_stopped_making_continues(small, tmp_path, monkeypatch):
    honest, calls = demo._eeg, []

    def stops(*args, **keys):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return honest(*args, **keys)

    monkeypatch.setattr(demo, "_eeg", stops)
    with pytest.raises(KeyboardInterrupt):
        demo.make_store(tmp_path / "store", **SMALL)
    assert not (tmp_path / "store").exists()
    demo.make_store(tmp_path / "store", **SMALL)
    assert len(calls) == 4 + 5  # three recordings were kept
    assert store.open(tmp_path / "store").fingerprint == small.fingerprint


def test_five_pieces_spread_over_the_tempi(tmp_path):
    path = demo.make_store(tmp_path / "store", n_subjects=1, n_pieces=5, n_hearings=1, duration=1.0, progress=False)
    tempi = store.open(path).stimuli["bpm"].to_numpy()
    assert len(tempi) == 5
    assert np.all(np.diff(tempi) > 15)


def test_session_drift_puts_both_hearings_of_a_piece_in_one_session(tmp_path):
    path = demo.make_store(tmp_path / "store", session_drift=0.1, **SMALL)
    table = store.open(path).recordings
    assert (table["session"] == table["stimulus"]).all()


def test_tracks_of_the_user(tmp_path):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 44100) / 44100)
    file = tmp_path / "my tune.wav"
    soundfile.write(file, np.stack([tone, tone], axis=1), 44100)
    noise = 0.1 * np.random.default_rng(0).normal(size=5 * SR)
    made = store.open(
        demo.make_store(
            tmp_path / "store", n_subjects=1, n_hearings=1, duration=None, tracks={"mine": file, "noise": noise},
            progress=False,
        )
    )  # fmt: skip
    assert made.stimuli["title"].tolist() == ["my tune", "noise"]
    assert made.stimuli["duration"].tolist() == [3.0, 5.0]
    assert made.recordings["n_times"].tolist() == [375, 625]
    assert "own licences" in made.manifest["licence"]


# ------------------------------------------------------------------ the layouts of NMED


def test_nmed_t_layout(tmp_path):
    folder = demo.write_nmed(tmp_path, **SMALL)
    values = loadmat(folder / "song30_Imputed.mat")
    assert {name for name in values if not name.startswith("__")} == {"data30", "subs30", "fs"}
    assert values["data30"].shape == (125, 500, 2)
    assert values["data30"].dtype == np.float64
    assert values["subs30"].shape == (1, 2)
    assert [cell.item() for cell in values["subs30"][0]] == ["S01", "S02"]
    assert values["fs"].item() == 125
    assert 5 < np.median(values["data30"].std(axis=1)) < 60  # microvolts
    assert soundfile.info(folder / "audio" / "song30.wav").samplerate == SR
    assert "SIMULATED" in (folder / "README.txt").read_text(encoding="utf-8")


def test_nmed_h_layout(tmp_path):
    folder = demo.write_nmed(tmp_path, layout="nmed-h", **SMALL)
    assert sorted(file.name for file in folder.glob("*.mat")) == [
        f"song{n}_{letter}_Imputed.mat" for n in (21, 30) for letter in "ab"
    ]
    values = loadmat(folder / "song21_b_Imputed.mat")
    assert values["data21_b"].shape == (125, 500, 2)
    assert values["subs21_b"].shape == (1, 2)


@pytest.mark.parametrize(("layout", "reader", "n_hearings"), [("nmed-t", nmed_t, 1), ("nmed-h", nmed_h, 2)])
def test_readers_give_back_the_eeg_of_make_store(tmp_path, small, layout, reader, n_hearings):
    folder = demo.write_nmed(tmp_path / "files", layout=layout, **SMALL)
    report = reader.ingest(folder, tmp_path / "store", audio=folder / "audio")
    assert report.problems == []
    read = store.open(tmp_path / "store")
    assert len(read.recordings) == 4 * n_hearings
    expected = small.recordings.set_index(["subject", "stimulus", "repeat"])["recording"]
    for row in read.recordings.itertuples():
        wanted = small.eeg(expected[row.subject, row.stimulus, row.repeat])
        np.testing.assert_allclose(read.eeg(row.recording), wanted, rtol=3e-7, atol=1e-12)
    for stimulus in ("song21", "song30"):
        np.testing.assert_allclose(read.audio(stimulus)[0], small.audio(stimulus)[0], atol=1.5 / 32768)


def test_failures(tmp_path):
    with pytest.raises(ParameterError, match="n_pieces must lie between 1 and 10"):
        demo.make_store(tmp_path / "s", n_pieces=11)
    with pytest.raises(ParameterError, match="n_hearings must lie between"):
        demo.make_store(tmp_path / "s", n_hearings=0)
    with pytest.raises(ParameterError, match="duration must be at least 1 s"):
        demo.make_store(tmp_path / "s", duration=0.5)
    with pytest.raises(ParameterError, match="tracks is empty"):
        demo.make_store(tmp_path / "s", tracks={})
    with pytest.raises(ParameterError, match="'loud'.*mono array"):
        demo.make_store(tmp_path / "s", tracks={"loud": np.full(SR, 3.0)}, progress=False)
    with pytest.raises(ParameterError, match="unknown layout 'bids'; expected one of nmed-t, nmed-h"):
        demo.write_nmed(tmp_path / "f", layout="bids")
    with pytest.raises(ParameterError, match="nmed-t has the songs song21 to song30, found 'tune'"):
        demo.write_nmed(tmp_path / "f", tracks={"tune": np.zeros(SR)})
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "f").exists()


# ------------------------------------------------------------------ the truth can be found, and the null is one


def retrieval(predicted, target):
    """Share of the other seconds that a centred prediction is less like than its own; ties at half."""
    predicted, target = predicted - predicted.mean(axis=0), target - target.mean(axis=0)
    likeness = (predicted @ target.T) / np.outer(np.linalg.norm(predicted, axis=1), np.linalg.norm(target, axis=1))
    own = np.diag(likeness)[:, None]
    below = (likeness < own).sum(axis=1) + 0.5 * ((likeness == own).sum(axis=1) - 1)
    return below.mean() / (len(target) - 1)


def ridge_retrieval(*, coupling, strength, n_subjects=4, numbers=(21, 25, 30), seed=0, drift=0.0):
    """Train on the first hearing, test on the second: log periodograms → principal components → mel pictures."""
    import librosa

    dials = simulate.Dials(coupling=coupling, strength=strength, drift=drift)
    x, y = {1: [], 2: []}, []
    for number in numbers:
        sound = music.piece(number, seed=seed)
        mel = librosa.feature.melspectrogram(y=sound.reshape(40, SR), sr=SR, n_fft=2048, hop_length=512, n_mels=128)
        y.append(np.clip((20 * np.log10(np.maximum(1e-5, mel)) + 54) / 100, 0, 1).reshape(40, -1))
        drive = simulate.drive(sound, SR)
        for listener in simulate.listeners(n_subjects, seed=seed):
            for hearing in (1, 2):
                eeg = simulate.respond(drive, listener, hearing=hearing, stimulus=str(number), seed=seed, dials=dials)
                seconds = 1e6 * eeg.reshape(125, 40, 125).swapaxes(0, 1)
                spectrum = np.abs(np.fft.rfft(seconds - seconds.mean(axis=-1, keepdims=True))) ** 2 * 2 / 125**2
                x[hearing].append(np.log10(spectrum + 1e-3).reshape(40, -1))
    train, targets = np.concatenate(x[1]), np.concatenate(np.repeat(y, n_subjects, axis=0))
    mean, scale, middle = train.mean(axis=0), train.std(axis=0) + 1e-9, targets.mean(axis=0)
    train = (train - mean) / scale
    values, vectors = np.linalg.eigh(train @ train.T)
    values, vectors = values[-250:], vectors[:, -250:]
    axes = train.T @ vectors / np.sqrt(values)
    weights = (vectors * np.sqrt(values) / (values + 1e4)[None]).T @ (targets - middle)
    tests = [((one - mean) / scale) @ axes @ weights for one in x[2]]
    return np.mean([retrieval(p, t) for p, t in zip(tests, np.repeat(y, n_subjects, axis=0), strict=True)])


@pytest.mark.parametrize("strength", ["base", "strong"])
def test_a_ridge_regression_finds_the_second_with_coupling_one(strength):
    assert ridge_retrieval(coupling=1.0, strength=strength) > 0.68


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_and_is_at_chance_with_coupling_zero(drift):
    scores = [ridge_retrieval(coupling=0.0, strength="strong", drift=drift, seed=seed) for seed in range(2)]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.04)


@pytest.mark.slow
def test_full_demonstration_in_bounded_time_and_memory(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, time\nstart = time.perf_counter()\nfrom eegviz.datasets import demo\n"
        "demo.make_store(sys.argv[1], progress=False)\n"
        "marks = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "print(time.perf_counter() - start, int(marks[0]) / 1024)"  # ru_maxrss would count the parent's memory too
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], check=True, capture_output=True, text=True
    )
    seconds, megabytes = map(float, shown.stdout.split())
    assert seconds < 20
    assert megabytes < 600
