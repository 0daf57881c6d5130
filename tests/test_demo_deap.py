"""Tests of the DEAP-like demonstration: its design, its music with known chords, its dials, and its null."""

import pickle

import numpy as np
import pytest
import scipy.io

from eegviz import music, simulate, store
from eegviz.datasets import _deap_music, _unpickle, deap, demo_deap
from eegviz.errors import ParameterError

SMALL = {"n_subjects": 2, "n_videos": 4, "duration": 6, "progress": False}
SR = 22050


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return store.open(demo_deap.make_store(tmp_path_factory.mktemp("deap") / "store", **SMALL))


# ---------------------------------------------------------------- the store


def test_design(small):
    table = small.recordings
    assert len(table) == 8
    assert small.manifest["simulated"] is True
    assert "simulated" in small.manifest["title"]
    assert small.manifest["about"]["dials"]["coupling"] == 1.0
    assert small.montage == "biosemi32"
    assert tuple(small.ch_names("S02_video04")) == deap.CHANNELS
    assert set(table["sfreq"]) == {128.0}
    assert set(table["n_times"]) == {6 * 128}
    assert set(table["start"]) == {0.0}
    for scale in ("valence", "arousal", "dominance", "liking"):
        assert table[scale].between(1, 9).all()
    assert table["familiarity"].between(1, 5).all()
    assert table.groupby("subject")["trial"].apply(sorted).tolist() == [[1, 2, 3, 4]] * 2
    assert all("simulated" in title for title in small.stimuli["title"])
    assert 3 < 1e6 * np.median(small.eeg("S01_video01").std(axis=1)) < 60  # microvolts
    assert store.verify(small.path) == []


def test_ratings_lie_around_what_is_meant():
    videos = _deap_music.compose(8, duration=8)
    people = simulate.listeners(12)
    assert [video.quadrant for video in videos] == list(_deap_music.QUADRANTS) * 2
    for video in videos:
        rated = [demo_deap.rate(video, one, seed=0) for one in people]
        for scale, high in (("valence", video.quadrant[0]), ("arousal", video.quadrant[2])):
            values = np.array([row[scale] for row in rated])
            assert values.std() > 0.2
            assert abs(values.mean() - getattr(video, scale)) < 0.8
            assert (values.mean() > 5) == (high == "H")


def test_the_same_seed_gives_the_same_bytes_and_a_stopped_making_continues(tmp_path, small, monkeypatch):
    original, calls = store.Writer.add_recording, []

    def stop(self, *args, **kwargs):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(args)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(store.Writer, "add_recording", stop)
    with pytest.raises(KeyboardInterrupt):
        demo_deap.make_store(tmp_path / "s", **SMALL)
    monkeypatch.undo()
    assert store.open(demo_deap.make_store(tmp_path / "s", **SMALL)).fingerprint == small.fingerprint


def test_failures(tmp_path):
    for options, message in (
        ({"duration": 2}, "duration must be whole seconds from 4 to 600, found 2"),
        ({"duration": 7.5}, "duration must be whole seconds"),
        ({"n_videos": 0}, "n_videos must lie between 1 and 40, found 0"),
        ({"n_videos": 41}, "n_videos must lie between 1 and 40"),
        ({"n_subjects": 0}, "n_subjects must lie between 1 and 32"),
        ({"coupling": -1.0}, "coupling must be a finite number"),
    ):
        with pytest.raises(ParameterError, match=message):
            demo_deap.make_store(tmp_path / "s", **(SMALL | options))
    with pytest.raises(ParameterError, match="unknown layout 'raw'; expected one of python, matlab"):
        demo_deap.write_files(tmp_path / "f", layout="raw", **SMALL)
    assert not (tmp_path / "s").exists()


# ---------------------------------------------------------------- the music


def chord_by_spectrum(y, second):
    """The triad whose tones hold most of a second's spectrum, folded into an octave."""
    part = y[second * SR : (second + 1) * SR] * np.hanning(SR)
    magnitude, frequency = np.abs(np.fft.rfft(part)), np.arange(SR // 2 + 1)
    used = (frequency > 150) & (frequency < 1000)
    classes = np.rint(69 + 12 * np.log2(frequency[used] / 440)).astype(int) % 12
    chroma = np.bincount(classes, magnitude[used] ** 2, minlength=12)
    chroma = np.sqrt(chroma / chroma.max())
    names = {}
    for root in range(12):
        for kind, third in (("maj", 4), ("min", 3)):
            tones = [root, (root + third) % 12, (root + 7) % 12]
            rest = [tone for tone in range(12) if tone not in tones]
            names[f"{_deap_music.NAMES[root]}:{kind}"] = chroma[tones].mean() - chroma[rest].mean()
    return max(names, key=names.get)


def test_every_second_has_the_chord_of_the_table(small):
    table = small.table("chords")
    assert len(table) == 4 * 6
    hits = []
    for stimulus, rows in table.groupby("stimulus"):
        y = small.audio(stimulus)[0]
        hits += [
            chord_by_spectrum(y, second) == chord for second, chord in zip(rows["second"], rows["chord"], strict=True)
        ]
    assert np.mean(hits) > 0.85  # chance is 1 / 24


def test_chords_belong_to_the_key_and_change_every_two_seconds():
    for video in _deap_music.compose(12, duration=60, seed=3):
        scale = {(video.tonic + step) % 12 for step in music.SCALES[video.mode]}
        assert len(video.chords) == 30
        assert len(set(video.labels)) >= 3
        assert all(a != b for a, b in zip(video.labels, video.labels[1:], strict=False))
        for root, kind in video.chords:
            assert {(video.tonic + root + step) % 12 for step in (0, 4 if kind == "maj" else 3, 7)} <= scale
        assert video.chord_at(0) == video.chord_at(1.99) == f"{_deap_music.NAMES[video.tonic]}:{video.mode[:3]}"
    assert _deap_music.compose(3, duration=60)[:2] == _deap_music.compose(2, duration=60)


def test_what_the_mood_does_to_the_music():
    videos = _deap_music.compose(8, duration=8)
    sounds = {video: _deap_music.render(video, duration=8, sr=SR) for video in videos}
    for video, y in sounds.items():
        assert y.shape == (8 * SR,)
        assert y.dtype == np.float32
        assert np.abs(y).max() < 1
        assert abs(music.loudness(y, SR) - (-21 + 2 * (video.arousal - 5))) < 0.6
        assert video.mode == ("major" if video.valence > 5 else "minor")

    def mean(value, quadrant):
        return np.mean([value(video) for video in videos if quadrant(video.quadrant)])

    def centroid(video):
        power = np.abs(np.fft.rfft(sounds[video])) ** 2
        return np.sum(np.fft.rfftfreq(8 * SR, 1 / SR) * power) / power.sum()

    assert mean(lambda v: v.bpm, lambda q: q[2] == "H") > mean(lambda v: v.bpm, lambda q: q[2] == "L")
    assert mean(centroid, lambda q: q[0] == "H") > mean(centroid, lambda q: q[0] == "L")
    np.testing.assert_array_equal(sounds[videos[0]], _deap_music.render(videos[0], duration=8, sr=SR))


# ---------------------------------------------------------------- the traces of the ratings


def band_power(eeg, low, high):
    power = np.abs(np.fft.rfft(eeg, axis=1)) ** 2
    frequency = np.fft.rfftfreq(eeg.shape[1], 1 / 128)
    return power[:, (frequency >= low) & (frequency <= high)].sum(axis=1)


def test_alpha_and_beta_follow_the_rating_by_the_stated_decibels():
    listener, n = simulate.listeners(1)[0], 384 + 60 * 128
    rated = {"valence": 9.0, "arousal": 5.0}
    made = {
        name: demo_deap.affect(ratings, listener, n_times=n, key=[0, 1], coupling=coupling)[:, 384:]
        for name, ratings, coupling in (
            ("pleasant", rated, 1.0), ("none", rated, 0.0), ("excited", {"valence": 5.0, "arousal": 9.0}, 1.0),
            ("middle", {"valence": 5.0, "arousal": 5.0}, 1.0),
        )
    }  # fmt: skip
    np.testing.assert_array_equal(made["none"], made["middle"])
    left, right = deap.CHANNELS.index("F3"), deap.CHANNELS.index("F4")
    alpha = {name: 10 * np.log10(band_power(eeg, 7, 13)) for name, eeg in made.items()}
    beta = {name: 10 * np.log10(band_power(eeg, 14, 26)) for name, eeg in made.items()}

    def asymmetry(name):
        return alpha[name][right] - alpha[name][left]

    assert 4 < asymmetry("pleasant") - asymmetry("middle") < 9  # 8 dB at the sources, less where they mix
    assert beta["pleasant"] == pytest.approx(beta["middle"], abs=0.02)
    assert (beta["excited"] - beta["middle"])[left] == pytest.approx(8, abs=0.1)
    assert (alpha["excited"] - alpha["middle"])[left] == pytest.approx(-4, abs=0.1)


def test_before_the_video_nothing_was_felt():
    listener = simulate.listeners(1)[0]
    made = [
        demo_deap.affect({"valence": v, "arousal": v}, listener, n_times=1024, key=[0], coupling=1.0) for v in (1, 9)
    ]
    np.testing.assert_allclose(made[0][:, :384], made[1][:, :384], rtol=1e-5, atol=1e-12)
    assert not np.allclose(made[0][:, 384:], made[1][:, 384:], atol=1e-7)


def test_with_coupling_zero_neither_sound_nor_rating_leaves_a_trace(tmp_path, monkeypatch):
    options = SMALL | {"n_videos": 2, "coupling": 0.0}
    one = store.open(demo_deap.make_store(tmp_path / "a", **options))
    rate, render = demo_deap.rate, _deap_music.render
    monkeypatch.setattr(demo_deap, "rate", lambda *a, **k: rate(*a, **k) | {"valence": 9.0, "arousal": 1.0})
    monkeypatch.setattr(_deap_music, "render", lambda video, **k: render(_deap_music.compose(6, duration=6)[5], **k))
    other = store.open(demo_deap.make_store(tmp_path / "b", **options))
    for name in one.recordings["recording"]:
        np.testing.assert_array_equal(one.eeg(name), other.eeg(name))
    monkeypatch.undo()
    coupled = store.open(demo_deap.make_store(tmp_path / "c", **(options | {"coupling": 1.0})))
    assert not np.allclose(one.eeg("S01_video01"), coupled.eeg("S01_video01"), atol=1e-7)


# ---------------------------------------------------------------- the same as files


@pytest.mark.parametrize("layout", demo_deap.LAYOUTS)
def test_the_files_have_the_layout_of_deap(tmp_path, layout):
    folder = demo_deap.write_files(tmp_path, layout=layout, **SMALL)
    assert (folder / "README.txt").read_text().startswith("SIMULATED EEG")
    if layout == "python":
        path = folder / "data_preprocessed_python" / "s02.dat"
        found = pickle.loads(path.read_bytes(), encoding="latin1")
        assert set(_unpickle.load(path)) == {"data", "labels"}
    else:
        found = scipy.io.loadmat(folder / "data_preprocessed_matlab" / "s02.mat")
    assert found["data"].shape == (4, 40, 384 + 6 * 128)
    assert found["data"].dtype == np.float64
    assert found["labels"].shape == (4, 4)
    assert np.all((found["labels"] >= 1) & (found["labels"] <= 9))
    assert np.all(found["data"].std(axis=2) > 0)
    assert 1 < np.median(found["data"][:, :32].std(axis=2)) < 60  # microvolts


@pytest.mark.slow
def test_made_in_six_seconds_and_600_megabytes(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, time\nstart = time.process_time()\nfrom eegviz.datasets import demo_deap\n"
        "demo_deap.make_store(sys.argv[1], progress=False)\n"
        "marks = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "print(time.process_time() - start, int(marks[0]) / 1024)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], check=True, capture_output=True, text=True
    )
    seconds, megabytes = map(float, shown.stdout.split())
    assert seconds < 6
    assert megabytes < 600


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [1.0, 0.0])
def test_music_and_mood_are_found_and_the_null_not(tmp_path, coupling):
    from eegviz import evaluation, training, verdict

    opened = store.open(demo_deap.make_store(tmp_path / "s", coupling=coupling, progress=False))
    rows = opened.recordings
    left, right = deap.CHANNELS.index("F3"), deap.CHANNELS.index("F4")
    alpha = np.array([10 * np.log10(band_power(opened.eeg(name), 8, 12)) for name in rows["recording"]])
    asymmetry = (
        rows.assign(x=alpha[:, right] - alpha[:, left]).groupby("subject")["x"].transform(lambda x: x - x.mean())
    )
    r = np.corrcoef(asymmetry, rows["valence"])[0, 1]
    assert r > 0.7 if coupling else abs(r) < 0.45  # 48 recordings: the 99.9 % level of chance is .46
    config = training.configure(opened, model="ridge", preset="fast", split="song")
    result = evaluation.evaluate(training.train(opened, config, out=tmp_path / "runs", progress=False))
    says = verdict.sentence(result)
    assert says.startswith("The EEG contributed" if coupling else "No evidence that the EEG contributed"), says
