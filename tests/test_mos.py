"""Tests of the MOS reader on small files in both layouts, with every trap of the originals, whole and damaged."""

import re
import shutil

import numpy as np
import pytest
import soundfile
import typer.testing

from eegviz import chorales, cli, datasets, store
from eegviz.datasets import _audio, _mos_sound, mos
from eegviz.errors import DataError, ParameterError
from tests.test_matlab import WRITERS, write_v5

SFREQ, SR, SECONDS, LEAD = 64, 44100, 7.0, 4.8
N_TIMES, REPEATS = int(SECONDS * SFREQ), 2
NAMES = store.make_montage("biosemi64").ch_names
LABELS = [f"{name} ({'AB'[i // 32]}{i % 32 + 1})" for i, name in enumerate(NAMES)]
ORDER = ("chor-096", "chor-038", "chor-101", "chor-019")


def melody(name, seconds=SECONDS):
    return chorales.render(name, duration=seconds, sr=SR)


def write_sound(folder, name, *, lead=LEAD, tail=1.0, swapped=False, mono=False):
    """A sound as in the data set: stereo, left the metronome, right the melody, which begins after two bars."""
    folder.mkdir(parents=True, exist_ok=True)
    right = np.concatenate([np.zeros(round(lead * SR)), melody(name, SECONDS + tail)])
    left = np.zeros_like(right)
    left[:: round(0.6 * SR)] = 0.5
    sides = [right, left] if swapped else [left, right]
    soundfile.write(folder / f"{name}.wav", right if mono else np.stack(sides, 1), SR)


def envelope(name):
    return _mos_sound.envelope(melody(name), sr=SR, sfreq=SFREQ)


def expectation(name):
    vector = np.zeros(N_TIMES)
    onsets = [round(note.onset * SFREQ) for note in chorales.notes(name, duration=SECONDS)]
    vector[onsets[1:]] = 2.0  # the first note has no expectation
    return vector


def trial(number, trial_index):
    """EEG of a listener's trial: time × channel, µV."""
    return np.random.default_rng([number, trial_index]).normal(0, 8, (N_TIMES, 64))


def cell(rows):
    out = np.empty((1, len(rows)), object)
    for index, row in enumerate(rows):
        out[0, index] = row
    return out


def grid(*rows):
    out = np.empty((len(rows), len(rows[0])), object)
    for i, row in enumerate(rows):
        for j, item in enumerate(row):
            out[i, j] = item
    return out


def design(conditions=("Listening", "Imagery"), numbers=(1, 2, 3, 4)):
    index = [number for _ in conditions for number in numbers for _ in range(REPEATS)]
    names = [ORDER[number - 1] for number in index]
    return {
        "stimIdxs": np.array(index, float)[None],
        "condIdxs": np.repeat(np.arange(1.0, len(conditions) + 1), len(numbers) * REPEATS)[None],
        "condNames": cell(conditions),
        "data": grid([envelope(n)[:, None] for n in names], [expectation(n)[:, None] for n in names]),
        "names": cell(["Acoustic Envelope", "Expectation Vector"]),
        "fs": 64.0,
    }


def subject(number, n_trials=8 * REPEATS, **changes):
    position = np.random.default_rng(number).permutation(n_trials) + 1.0
    eeg = {
        "dataType": "EEG",
        "data": cell([trial(number, k) for k in range(n_trials)]),
        "origTrialPosition": position[None],
        "fs": 64.0,
        "chanlocs": [{"labels": label, "theta": 1.0} for label in LABELS],
    }
    return {key: value for key, value in (eeg | changes).items() if value is not None}


def struct(value):
    """A struct with a struct array inside, as SciPy wants it."""
    rows = value.get("chanlocs")
    if isinstance(rows, list):
        array = np.zeros((1, len(rows)), [(key, object) for key in rows[0]])
        for index, row in enumerate(rows):
            for key, item in row.items():
                array[0, index][key] = item
        value = value | {"chanlocs": array}
    return value


def write_mat(path, name, value, kind="v5"):
    WRITERS[kind](path, {name: value if kind == "v7.3" else struct(value)})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The CND layout with two listeners, written once."""
    folder = tmp_path_factory.mktemp("mos")
    (folder / "dataCND").mkdir()
    write_mat(folder / "dataCND" / "dataStim.mat", "stim", design())
    for number in (1, 2):
        write_mat(folder / "dataCND" / f"dataSub{number}.mat", "eeg", subject(number))
    for name in ORDER:
        write_sound(folder / "stimuli" / "audio", name)
    return folder


@pytest.fixture(scope="module")
def one_melody(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    write_mat(folder / "dataStim.mat", "stim", design(numbers=(4,)))
    write_mat(folder / "dataSub2.mat", "eeg", subject(2, 4))
    write_sound(folder, "chor-019")
    return folder


@pytest.fixture
def source(one_melody, tmp_path):
    """One listener, one melody, two repeats: a copy that a test may damage."""
    return shutil.copytree(one_melody, tmp_path / "in")


@pytest.fixture(scope="module")
def read(made, tmp_path_factory):
    report = datasets.ingest("mos", made, tmp_path_factory.mktemp("store") / "s")
    return report, store.open(report.store)


def write_dryad(folder, **changes):
    orders = {p: np.random.default_rng(p).permutation(np.repeat(ORDER, REPEATS)) for p in (0, 1)}
    eeg = cell([cell([cell([trial(10 * p + c, t) for t in range(8)]) for c in (0, 1)]) for p in (0, 1)])
    stim = cell([cell([cell([expectation(n)[:, None] for n in orders[p]]) for _ in (0, 1)]) for p in (0, 1)])
    folder.mkdir(exist_ok=True)
    write_v5(folder / "ImageryData.mat", {"eeg": eeg, "stim": stim, "downFs": 64.0} | changes, do_compression=True)
    return orders


# ---------------------------------------------------------------- the CND layout


def test_recordings_conditions_repeats(read):
    report, opened = read
    assert report.problems == []
    assert store.verify(opened.path) == []
    table = opened.recordings
    assert len(table) == report.n_recordings == 2 * 16
    assert table.groupby(["subject", "stimulus", "condition"])["repeat"].apply(sorted).tolist() == [[1, 2]] * 16
    assert set(table["condition"]) == {"listening", "imagery"}
    assert set(table["sfreq"]) == {64.0}
    assert opened.manifest["licence"] == "CC0-1.0"
    assert opened.manifest["simulated"] is False


def test_melody_condition_and_presentation_order_of_each_trial(read):
    _, opened = read
    positions = subject(2)["origTrialPosition"][0]
    for index in range(16):
        name, condition = ORDER[index % 8 // 2], ("listening", "imagery")[index // 8]
        pair = positions[index // 2 * 2 : index // 2 * 2 + 2]
        repeat = 1 + int(positions[index] > pair.min())
        row = opened.row(f"S02_{name}_{condition}_r{repeat:02d}")
        assert row["position"] == positions[index]  # counted from 1, as in the file
        eeg = opened.eeg(row["recording"])
        assert eeg.shape == (64, N_TIMES)
        np.testing.assert_allclose(eeg, trial(2, index).T * 1e-6, rtol=1e-6)  # volts, time last


def test_channels_without_brackets_and_montage(read):
    _, opened = read
    assert opened.ch_names("S01_chor-019_imagery_r01") == NAMES
    assert opened.montage == "biosemi64"


def test_the_melody_is_the_right_channel_from_its_beginning_on(read):
    report, opened = read
    for name in ORDER:
        y, sr = opened.audio(name)
        assert (len(y), sr) == (round(SECONDS * 22050), 22050)
        expected = chorales.render(name, duration=SECONDS + 1, sr=22050)[: len(y)]
        lags = range(-500, 501, 5)
        r = [np.corrcoef(np.roll(np.abs(expected), lag), np.abs(y))[0, 1] for lag in lags]
        assert max(r) > 0.9
        assert abs(lags[int(np.argmax(r))]) <= 22050 / 64  # to a sample of the EEG
        row = opened.stimuli.set_index("stimulus").loc[name]
        assert row["lead_in"] == pytest.approx(LEAD, abs=1 / 64)
        assert (row["title"], row["bpm"]) == (chorales.find(name).title, 100)
    assert sum("envelope fits best from second 4." in line for line in report.warnings) == 4


@pytest.mark.parametrize("kind", [pytest.param("v7", marks=pytest.mark.slow), "v7.3"])
def test_other_versions_of_the_format_give_the_same(source, tmp_path, kind):
    write_mat(source / "dataStim.mat", "stim", design(numbers=(4,)), kind)
    write_mat(source / "dataSub2.mat", "eeg", subject(2, 4), kind)
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.problems == []
    opened = store.open(report.store)
    assert opened.ch_names("S02_chor-019_imagery_r01") == NAMES
    order = opened.recordings.sort_values(["condition", "position"], ascending=[False, True])["recording"]
    positions = subject(2, 4)["origTrialPosition"][0]
    for name in order:
        index = int(np.flatnonzero(positions == opened.row(name)["position"])[0])
        np.testing.assert_allclose(opened.eeg(name), trial(2, index).T * 1e-6, rtol=1e-6)


def test_a_folder_of_matlab_files_finds_the_sounds_beside_it(made, tmp_path, read):
    report = datasets.ingest("mos", made / "dataCND", tmp_path / "s")
    assert report.problems == []
    assert store.open(report.store).fingerprint == read[1].fingerprint


def test_offsets_are_taken_instead_of_found(source, tmp_path):
    offsets = tmp_path / "offsets.csv"
    offsets.write_text("stimulus,offset\nchor-019,4.5\n")
    report = datasets.ingest("mos", source, tmp_path / "s", offsets=offsets)
    assert store.open(report.store).stimuli["lead_in"].tolist() == [4.5]
    assert report.warnings == []


def test_without_an_envelope_the_notes_place_the_sound(source, tmp_path):
    stim = design(numbers=(4,))
    stim["names"], stim["data"] = cell(["Expectation Vector"]), stim["data"][1:]
    write_mat(source / "dataStim.mat", "stim", stim)
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.problems == []
    assert store.open(report.store).stimuli["lead_in"].to_numpy() == pytest.approx(LEAD, abs=1.5 / 64)
    assert any("the pitches of chor-019 fit best" in line for line in report.warnings)


@pytest.mark.slow
def test_an_interrupted_ingest_continues(made, tmp_path, monkeypatch, read):
    original, calls = store.Writer.add_recording, []

    def stop(self, *args, **kwargs):
        if len(calls) == 20:
            raise KeyboardInterrupt
        calls.append(args)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(store.Writer, "add_recording", stop)
    with pytest.raises(KeyboardInterrupt):
        datasets.ingest("mos", made, tmp_path / "s")
    monkeypatch.undo()
    assert not (tmp_path / "s").exists()
    datasets.ingest("mos", made, tmp_path / "s")
    assert store.open(tmp_path / "s").fingerprint == read[1].fingerprint


def test_listening_without_imagery_is_said(source, tmp_path):
    write_mat(source / "dataStim.mat", "stim", design(("Listening",), (4,)))
    write_mat(source / "dataSub2.mat", "eeg", subject(2, 2))
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.problems == []
    assert any("no trial of imagery" in line and "found listening only" in line for line in report.warnings)
    from eegviz import windowing

    with pytest.raises(ParameterError, match="no recordings of condition imagery; it has listening"):
        windowing.windows(store.open(report.store), condition="imagery")


# ---------------------------------------------------------------- the Dryad layout


def test_dryad_layout(made, tmp_path):
    orders = write_dryad(tmp_path / "in")
    report = datasets.ingest("mos", tmp_path / "in", tmp_path / "s", audio=made / "stimuli" / "audio")
    assert report.problems == []
    assert any("names no channels: taken in BioSemi's order" in line for line in report.warnings)
    opened = store.open(report.store)
    assert len(opened.recordings) == 2 * 2 * 8
    assert opened.montage == "biosemi64"
    for p, order in orders.items():
        for c, condition in enumerate(("listening", "imagery")):
            seen = {}
            for t, name in enumerate(order):
                seen[name] = seen.get(name, 0) + 1
                found = f"S{p + 1:02d}_{name}_{condition}_r{seen[name]:02d}"
                assert opened.row(found)["position"] == t + 1
                np.testing.assert_allclose(opened.eeg(found), trial(10 * p + c, t).T * 1e-6, rtol=1e-6)
    assert opened.stimuli["lead_in"].to_numpy() == pytest.approx(LEAD, abs=1.5 / 64)


@pytest.mark.slow
def test_dryad_numbers_of_the_converter(made, tmp_path):
    eeg = cell([cell([cell([40 * trial(0, t) for t in range(8)]) for _ in (0, 1)])])
    stim = cell([cell([cell([expectation(n) for n in np.repeat(ORDER, 2)]) for _ in (0, 1)])])
    write_dryad(tmp_path / "in", eeg=eeg, stim=stim)
    audio = made / "stimuli" / "audio"
    report = datasets.ingest("mos", tmp_path / "in", tmp_path / "a", audio=audio)
    assert sum("much for cleaned EEG" in line and "--unit biosemi" in line for line in report.warnings) == 1
    report = datasets.ingest("mos", tmp_path / "in", tmp_path / "b", audio=audio, unit="biosemi")
    assert not any("much for cleaned EEG" in line for line in report.warnings)
    np.testing.assert_allclose(
        store.open(report.store).eeg("S01_chor-096_listening_r01"), 40 * trial(0, 0).T * 31.25e-9, rtol=1e-6
    )


def test_dryad_odd_trials_do_not_decide_for_the_others(made, tmp_path):
    """The first trial is empty, the second was cut, the third lies on its side."""
    odd = [np.zeros((0, 0)), trial(0, 1)[:200], trial(0, 2).T, trial(0, 3), trial(0, 4)]
    eeg = cell([cell([cell(odd), cell([trial(1, t) for t in range(5)])])])
    stim = cell([cell([cell([expectation("chor-019")[:, None] for _ in range(5)]) for _ in (0, 1)])])
    write_dryad(tmp_path / "in", eeg=eeg, stim=stim)
    report = datasets.ingest("mos", tmp_path / "in", tmp_path / "s", audio=made / "stimuli" / "audio")
    opened = store.open(report.store)
    assert opened.stimuli["duration"].tolist() == [pytest.approx(SECONDS)]
    n_times = opened.recordings.groupby("condition")["n_times"].apply(sorted)
    assert n_times["listening"] == [200, N_TIMES, N_TIMES]
    assert n_times["imagery"] == [N_TIMES] * 5
    text = "\n".join(report.warnings)
    assert "eeg{1}{1}{1}: empty, left out" in text
    assert f"eeg{{1}}{{1}}{{2}}: 200 samples, while most trials of chor-019 have {N_TIMES}" in text
    (line,) = report.problems
    assert "eeg{1}{1}{3}: expected time × channel (time, 64), found (64, 448), which is channel × time" in line


def test_eeg_that_ends_before_the_first_note():
    with pytest.raises(DataError, match="chor-019: expected EEG that lasts until its first note, found 0.05 s"):
        _mos_sound.offset_by_notes(np.zeros(22050), "chor-019", 3, sr=22050, sfreq=64)


def test_dryad_failures(made, tmp_path):
    audio = made / "stimuli" / "audio"
    write_dryad(tmp_path / "a", stim=cell([cell([cell([np.ones(N_TIMES) for _ in range(8)])] * 2)] * 2))
    with pytest.raises(DataError, match=r"eeg\{1\}\{1\}\{1\}: expected a vector that is not 0 at the note onsets"):
        datasets.ingest("mos", tmp_path / "a", tmp_path / "s", audio=audio)
    write_dryad(tmp_path / "b", stim=cell([1.0]))
    with pytest.raises(DataError, match=r"expected eeg and stim as cells.*found 2 cells and 1 cells"):
        datasets.ingest("mos", tmp_path / "b", tmp_path / "s", audio=audio)
    write_dryad(tmp_path / "c", eeg=np.zeros((3, 4)))
    with pytest.raises(DataError, match="found no cells and 2 cells"):
        datasets.ingest("mos", tmp_path / "c", tmp_path / "s", audio=audio)


# ---------------------------------------------------------------- failures of the CND layout


DAMAGES = [
    ({"data": None}, "expected eeg with the fields data, fs, found no data among"),
    ({"data": cell([trial(1, 0)] * 3)}, r"expected eeg.data as 4 cells, one a trial of dataStim.mat, found 3"),
    ({"data": cell([trial(1, 0).T] * 4)}, r"expected time × channel \(time, 64\), found \(64, 448\), which is channel"),
    ({"data": cell([trial(1, 0)[:, :9]] * 4)}, r"expected time × channel \(time, 64\), found \(448, 9\)"),
    ({"data": cell([1e6 * trial(1, 0)] * 4)}, "expected a median channel standard deviation"),
    ({"data": cell([np.full((N_TIMES, 64), np.nan)] * 4)}, "found NaN or infinity"),
    ({"origTrialPosition": np.arange(4.0)[None]}, "4 different places counted from 1, .*, which is counted from 0"),
    ({"origTrialPosition": np.ones((1, 4))}, "4 different places counted from 1"),
    ({"fs": 0.0}, r"expected eeg.fs as one rate in Hz \(64\), found \[0.0\]"),
]


def test_damaged_listeners_are_left_out_one_clear_line_each(source, tmp_path):
    for number, (changes, _) in enumerate(DAMAGES, start=3):
        write_mat(source / f"dataSub{number}.mat", "eeg", subject(number, 4, **changes))
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.n_recordings == 4  # those of listener 2
    for number, (_, message) in enumerate(DAMAGES, start=3):
        lines = [line for line in report.problems if f"dataSub{number}.mat" in line]
        assert any(re.search(message, line) for line in lines), (message, lines)


def test_a_damaged_first_listener_does_not_end_the_ingest(source, tmp_path):
    (source / "dataSub1.mat").write_bytes((source / "dataSub2.mat").read_bytes()[:500])
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.n_recordings == 4  # those of listener 2
    assert len(report.problems) == 1
    assert "dataSub1.mat" in report.problems[0]
    assert store.open(report.store).montage == "biosemi64"


def test_numbers_of_the_converter_are_guessed_before_nanovolts(source, tmp_path):
    loud = cell([75 * trial(2, k) for k in range(4)])  # a spread of 600
    write_mat(source / "dataSub2.mat", "eeg", subject(2, 4, data=loud))
    with pytest.raises(DataError, match="in steps of BioSemi's converter or nV, pass --unit biosemi"):
        datasets.ingest("mos", source, tmp_path / "s")


def test_channel_labels_that_cannot_be(source, tmp_path):
    with pytest.raises(DataError, match="expected different channel names"):
        mos.channel_names([{"labels": "Cz (A1)"}, {"labels": "Cz (A2)"}], "x.mat")
    with pytest.raises(DataError, match="expected eeg.chanlocs as a struct array.*found none"):
        mos.channel_names(None, "x.mat")
    few = [{"labels": label} for label in LABELS[:-1]]
    write_mat(source / "dataSub3.mat", "eeg", subject(3, 4, chanlocs=few))
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.n_recordings == 4  # those of the other listener
    assert any(r"expected time × channel (time, 63), found (448, 64)" in line for line in report.problems)


def test_unpresented_order_and_empty_trials_are_said(source, tmp_path):
    data = subject(2, 4)["data"]
    data[0, 3] = np.zeros((0, 0))
    write_mat(source / "dataSub2.mat", "eeg", subject(2, 4, data=data, origTrialPosition=None))
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.problems == []
    assert report.n_recordings == 3
    assert any("trial 4: empty, left out" in line for line in report.warnings)
    assert any("no eeg.origTrialPosition" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stimIdxs": np.arange(4.0)[None]},
            r"expected stim.stimIdxs from 1 to 4, found \[0.0\] \(0: counted from 0\?\)",
        ),
        ({"stimIdxs": np.full((1, 4), 7.0)}, "expected stim.stimIdxs from 1 to 4, found"),
        ({"condIdxs": np.full((1, 4), 3.0)}, "expected stim.condIdxs from 1 to 2"),
        ({"condIdxs": np.ones((1, 3))}, "4 stim.stimIdxs and 3 stim.condIdxs"),
        ({"condNames": cell(["Listening", "Resting"])}, "expected the conditions Listening and Imagery.*'Resting'"),
        ({"data": cell([np.zeros(3)])}, r"expected stim.data as cells \(features, 4 trials\), found \(1, 1\)"),
    ],
)
def test_a_damaged_design_is_refused(source, tmp_path, changes, message):
    write_mat(source / "dataStim.mat", "stim", design(numbers=(4,)) | changes)
    with pytest.raises(DataError, match=message):
        mos._read_design(source / "dataStim.mat")


def test_sounds_that_are_not_the_melody(made, tmp_path):
    source = shutil.copytree(made, tmp_path / "in")
    audio = source / "stimuli" / "audio"
    write_sound(audio, "chor-019", swapped=True)
    write_sound(audio, "chor-038", mono=True)
    (audio / "chor-096.wav").write_bytes(b"no sound")
    (audio / "chor-101.wav").unlink()
    report = datasets.ingest("mos", source, tmp_path / "s")
    assert report.n_recordings == 2 * 4  # of one melody
    assert len(report.problems) == 3  # one a melody, not one a listener
    text = "\n".join(report.problems)
    assert "expected the melody chor-019 in the right channel" in text
    assert "chor-096.wav: expected a sound file that libsndfile reads" in text
    assert "expected a sound file named chor-101.wav" in text
    assert "the four sounds belong to the data set" in text
    assert any("one channel, taken as the melody" in line for line in report.warnings)


def test_a_sound_that_ends_too_early(source, tmp_path):
    write_sound(source, "chor-019", tail=-1.0)
    report = datasets.ingest("mos", source, tmp_path / "s")
    opened = store.open(report.store)
    assert opened.stimuli["duration"].to_numpy() == pytest.approx(SECONDS - 1, abs=0.02)
    assert set(opened.recordings["n_times"]) <= {N_TIMES - 64, N_TIMES - 65, N_TIMES - 63}
    assert any("both cropped" in line for line in report.warnings)
    with pytest.raises(DataError, match="differ by 1.0. s, expected at most 0.5 s"):
        datasets.ingest("mos", source, tmp_path / "t", max_mismatch=0.5)


def test_what_is_missing_and_where_to_get_it(source, tmp_path, made):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match="expected dataStim.mat and dataSub1.mat …, or ImageryData.mat, found no file.*dryad"
    ):
        datasets.ingest("mos", tmp_path / "empty", tmp_path / "s")
    (source / "dataStim.mat").unlink()
    with pytest.raises(DataError, match="expected dataStim.mat beside dataSub2.mat, found none.*dryad"):
        datasets.ingest("mos", source, tmp_path / "s")
    with pytest.raises(DataError, match="nowhere: expected the folder of the data set, found nothing; get it from"):
        datasets.ingest("mos", tmp_path / "nowhere", tmp_path / "s")
    runner = typer.testing.CliRunner()
    done = runner.invoke(cli.app, ["ingest", "mos", str(tmp_path / "empty"), str(tmp_path / "s")])
    assert isinstance(done.exception, DataError)  # main() turns it into one message and exit code 2


def test_channels_of_a_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.tile([[0.25, -0.5]], (9000, 1)), 22050)
    assert np.all(_audio.read(tmp_path / "a.wav", channel=1) == -0.5)
    assert np.all(_audio.read(tmp_path / "a.wav", channel=0) == 0.25)
    with pytest.raises(DataError, match="expected 3 channels, found 2"):
        _audio.read(tmp_path / "a.wav", channel=2)


def test_melodies_are_told_by_their_onsets(shared_data):
    for name in ORDER:
        vector = np.load(shared_data / "mos_midi" / f"{name}_fs-64Hz_midi_exp_cue_env.npy")[1]
        assert _mos_sound.which_melody(vector, sfreq=64, where="stim") == name
