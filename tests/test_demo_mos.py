"""Tests of the demonstration of melodies heard and imagined: its design, its dials, the truth in it and its null."""

import numpy as np
import pytest
import typer.testing

from eegviz import chorales, cli, simulate, store, training, verdict
from eegviz.datasets import demo_mos
from eegviz.errors import ParameterError

SMALL = {"n_subjects": 2, "n_repeats": 2, "melodies": [19, 101], "duration": 6.0, "progress": False}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return store.open(demo_mos.make_store(tmp_path_factory.mktemp("mos") / "store", **SMALL))


def test_design(small):
    table = small.recordings
    assert len(table) == 2 * 2 * 2 * 2
    assert small.manifest["simulated"] is True
    assert "simulated" in small.manifest["title"]
    assert (small.manifest["about"]["imagery"], small.manifest["about"]["jitter"]) == (0.6, 0.06)
    assert table.groupby(["subject", "stimulus", "condition"])["repeat"].apply(sorted).tolist() == [[1, 2]] * 8
    assert small.montage == "biosemi64"
    assert len(small.ch_names("S01_chor-019_imagery_r1")) == 64
    assert set(table["n_times"]) == {6 * 64}
    assert small.stimuli["title"].tolist() == ["O Haupt voll Blut und Wunden", "Jesu, der du meine Seele"]
    assert store.verify(small.path) == []
    assert 3 < 1e6 * np.median(small.eeg("S01_chor-019_listening_r1").std(axis=1)) < 60  # microvolts


def test_the_whole_melody_has_the_length_of_the_study():
    assert simulate.drive(chorales.render(19), 22050, sfreq=64.0).n_times == 1803


def test_only_imagined_melodies_begin_early_or_late(small):
    table = small.recordings
    shift = table.groupby("condition")["onset_shift"]
    assert shift.get_group("listening").eq(0).all()
    assert shift.get_group("imagery").nunique() > 3
    assert shift.get_group("imagery").abs().max() < 0.3


def test_dials_of_imagery(tmp_path, small):
    """Without weakening and jitter, imagining differs from hearing by its noise alone; with imagery=0 it is the null."""
    heard = small.eeg("S01_chor-019_listening_r1")
    strong = store.open(demo_mos.make_store(tmp_path / "a", imagery=1.0, jitter=0.0, **SMALL))
    none = store.open(demo_mos.make_store(tmp_path / "b", imagery=0.0, **SMALL))
    null = store.open(demo_mos.make_store(tmp_path / "c", coupling=0.0, **SMALL))
    name = "S01_chor-019_imagery_r1"
    assert np.array_equal(strong.eeg("S01_chor-019_listening_r1"), heard)  # the dials leave hearing as it is
    assert np.array_equal(none.eeg(name), null.eeg(name))
    assert not np.array_equal(strong.eeg(name), small.eeg(name))
    answer = heard - null.eeg("S01_chor-019_listening_r1")  # the noise of a trial is the same under every dial
    imagined = strong.eeg(name) - null.eeg(name)
    low = [
        np.apply_along_axis(lambda x: np.convolve(x, np.ones(6) / 6, "same"), 1, part) for part in (answer, imagined)
    ]
    assert np.corrcoef(low[0].ravel(), low[1].ravel())[0, 1] > 0.5


def test_a_delayed_drive():
    sound = simulate.drive(chorales.render(96, duration=4.0), 22050, sfreq=64.0)
    late, early = demo_mos.delayed(sound, 10), demo_mos.delayed(sound, -10)
    assert demo_mos.delayed(sound, 0) is sound
    assert late.n_times == early.n_times == sound.n_times
    assert np.array_equal(late.onset[:, 10:], sound.onset[:, :-10])
    assert not late.onset[:, :10].any()
    assert np.array_equal(early.level[:, :-10], sound.level[:, 10:])
    assert not early.onset[:, -10:].any()


def test_the_same_seed_gives_the_same_bytes_and_a_stopped_making_continues(tmp_path, small, monkeypatch):
    original, calls = store.Writer.add_recording, []

    def stop(self, *args, **kwargs):
        if len(calls) == 9:
            raise KeyboardInterrupt
        calls.append(args)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(store.Writer, "add_recording", stop)
    with pytest.raises(KeyboardInterrupt):
        demo_mos.make_store(tmp_path / "s", **SMALL)
    monkeypatch.undo()
    assert store.open(demo_mos.make_store(tmp_path / "s", **SMALL)).fingerprint == small.fingerprint


def test_failures(tmp_path):
    for options, message in (
        ({"imagery": -1}, "imagery must be a finite number ≥ 0, found -1"),
        ({"jitter": float("nan")}, "jitter must be a finite number"),
        ({"n_repeats": 0}, "n_repeats must lie between 1 and 999"),
        ({"melodies": [20]}, "unknown melody 20; expected one of chor-019"),
        ({"melodies": []}, "expected one or more different melodies"),
        ({"melodies": [19, "chor-019"]}, "expected one or more different melodies"),
        ({"n_subjects": 0}, "n must be at least 1"),
    ):
        with pytest.raises(ParameterError, match=message):
            demo_mos.make_store(tmp_path / "s", **(SMALL | options))
    with pytest.raises(ParameterError, match="duration must lie between 3 and 60 s"):
        demo_mos.make_store(tmp_path / "s", **(SMALL | {"duration": 1.0}))
    assert not (tmp_path / "s").exists()


# ------------------------------------------------------------------ at 64 Hz, by condition, end to end


def test_each_condition_trains_and_scores_from_the_command_line(tmp_path):
    path = demo_mos.make_store(
        tmp_path / "store", n_subjects=2, n_repeats=2, melodies=[19, 101], duration=16.0, progress=False
    )
    runner = typer.testing.CliRunner()
    for condition in demo_mos.CONDITIONS:
        command = [
            "train",
            str(path),
            "--model",
            "ridge",
            "--preset",
            "fast",
            "--split",
            "repeat",
            "--condition",
            condition,
        ]
        done = runner.invoke(cli.app, [*command, "--out", str(tmp_path / "runs")])
        assert done.exit_code == 0, done.output
        run = done.output.strip().splitlines()[-1]
        done = runner.invoke(cli.app, ["evaluate", run])
        assert done.exit_code == 0, done.output
        assert "simulated" in done.output
    done = runner.invoke(
        cli.app, ["train", str(path), "--model", "ridge", "--condition", "dreaming", "--out", str(tmp_path)]
    )
    assert isinstance(done.exception, ParameterError)
    assert "no recordings of condition dreaming; it has imagery, listening" in str(done.exception)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coupling", "condition"), [(1, "listening"), (1, "imagery"), (0, "listening"), (0, "imagery")]
)
def test_hearing_is_found_imagining_less_and_the_null_not(tmp_path, coupling, condition):
    from eegviz import evaluation

    opened = store.open(demo_mos.make_store(tmp_path / "s", coupling=float(coupling), progress=False))
    config = training.configure(opened, model="ridge", split="repeat", condition=condition)
    result = evaluation.evaluate(training.train(opened, config, out=tmp_path / "runs", progress=False))
    says = verdict.sentence(result)
    assert says.startswith("The EEG contributed" if coupling else "No evidence that the EEG contributed"), says


@pytest.mark.slow
def test_made_in_ten_seconds_and_600_megabytes(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, time\nstart = time.perf_counter()\nfrom eegviz.datasets import demo_mos\n"
        "demo_mos.make_store(sys.argv[1], progress=False)\n"
        "marks = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "print(time.perf_counter() - start, int(marks[0]) / 1024)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], check=True, capture_output=True, text=True
    )
    seconds, megabytes = map(float, shown.stdout.split())
    assert seconds < 10
    assert megabytes < 600
