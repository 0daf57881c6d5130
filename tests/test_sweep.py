"""Sweeps: grid files, many tasks on several executors with a worker killed, the table, the command."""

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from eegviz import executors, fitting, runs, store, sweep, training
from eegviz.errors import EegvizError, ParameterError
from tests import workers
from tests.conftest import make_tiny_store

CNN = {"model": "cnn", "preset": "fast", "settings": {"width": 1, "epochs": 1}}
FEW = sweep.expand(
    {"model": "ridge", "split": "repeat", "tmax": 12},
    {"settings.width": [1], "seed": [0, 1]},
    [CNN, {"model": "classifier", "preset": "fast", "settings": {"width": 1, "epochs": 1}}],
)
SAME = (
    "config.json",
    "weights.safetensors",
    "song_classifier.safetensors",
    "predictions.npy",
    "scores.csv",
    "metrics.json",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """2 listeners × 2 songs × 2 hearings × 12 s, 4 channels."""
    path = tmp_path_factory.mktemp("small") / "store"
    return store.open(make_tiny_store(path, n_subjects=2, seconds=12, n_channels=4))


@pytest.fixture(scope="module")
def serial(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("serial")
    return out, sweep.run(small, FEW, out=out)


def content(out):
    """The bytes of every file that must be the same, by run folder and name."""
    found = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in out.glob("*/*") if path.name in SAME}
    assert not list(out.glob("*/resume.pt"))
    return found


def without_times(table):
    return table.drop(columns=list(sweep.TIMES))


def assert_same(out, table, serial):
    assert table["error"].tolist() == [""] * len(table)
    expected, first = serial
    pd.testing.assert_frame_equal(without_times(table), without_times(first), check_exact=True)
    ours, theirs = content(out), content(expected)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_expand_is_the_product_in_the_order_written():
    tasks = sweep.expand(
        {"settings": {"width": 2}, "seed": 4}, {"split": ["repeat", "song"], "settings.epochs": [1, 2]}
    )
    assert [(t["split"], t["settings"], t["seed"]) for t in tasks] == [
        (split, {"width": 2, "epochs": epochs}, 4) for split in ("repeat", "song") for epochs in (1, 2)
    ]
    several = sweep.expand(None, [{"seed": [0, 1]}, {"split": ["song"]}], [{"model": "ridge"}])
    assert several == [{"seed": 0}, {"seed": 1}, {"split": "song"}, {"model": "ridge"}]


def test_options_are_those_of_configure():
    asked = dict(inspect.signature(training.configure).parameters)
    asked.pop("store")
    assert set(sweep._OPTIONS) == set(asked)
    may_be_nothing = {name for name, kinds in sweep._OPTIONS.items() if type(None) in kinds}
    assert may_be_nothing == {name for name, one in asked.items() if one.default is None}


def test_nothing_takes_back_what_the_base_says():
    base = {"audio": "mel-db", "settings": {"epochs": 2}}
    (task,) = sweep.expand(base, None, [{"model": "ridge", "settings": None, "audio": None}])
    assert task == {"model": "ridge", "audio": None}


def test_a_damaged_finished_run_costs_no_other(small, tmp_path):
    tasks = [{"model": "ridge", "split": "repeat", "seed": seed} for seed in (0, 1)]
    table = sweep.run(small, tasks, out=tmp_path, progress=False)
    (tmp_path / table["run"][0] / "predictions.npy").unlink()
    again = sweep.run(small, tasks, out=tmp_path, progress=False)
    assert "has lost its predictions.npy" in again["error"][0]
    assert again["error"][1] == ""


@pytest.mark.parametrize(("options", "message"), [
    ({"settings": {"preset": "fast"}}, "has no setting 'preset'"),
    ({"ref_db": {"song21": "loud"}}, "ref_db expects a level in dB for each stimulus"),
])  # fmt: skip
def test_a_mistake_in_a_task_is_one_message(small, options, message):
    with pytest.raises(ParameterError, match=message):
        sweep.configs(small, [{"model": "ridge", **options}])


def test_a_file_is_read(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(
        "store: data/store\nbase: {split: repeat, eeg: null}\ngrid:\n  settings.lr: [1e-3, 2.5e-4]\n  tmax: [10, 12.5]\n"
        "also:\n  - {model: ridge, split: 'song:30'}\nslurm: {timeout_min: 5}\n"
    )
    found = sweep.read(file)
    assert found.store == tmp_path / "data" / "store"
    assert [task["settings"]["lr"] for task in found.tasks[:4]] == [1e-3, 1e-3, 2.5e-4, 2.5e-4]
    assert found.tasks[4] == {"split": "song:30", "eeg": None, "model": "ridge"}
    assert (len(found.tasks), found.slurm) == (5, {"timeout_min": 5})


def test_the_grid_of_the_readme_is_one(small, tmp_path):
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (tmp_path / "grid.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    found = sweep.read(tmp_path / "grid.yaml")
    assert found.store == tmp_path / "reports" / "demo" / "store"
    assert len(sweep.configs(small, found.tasks)) == 13


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {seed: [0, 1}", "line 1, column 19: not YAML"),
        ("store: a\nbase:\n  seed: 1\n  seed: 2\n", r"line 4, column 3: not YAML: the key 'seed' is there twice"),
        ("", "expected a mapping with the keys store, base, grid, also, slurm; found nothing"),
        ("- a\n- b\n", "found list"),
        ("grids: {seed: [1]}", "unknown key grids; known are store"),
        ("1: 2", "unknown key 1"),
        ("store: [a]\ngrid: {seed: [1]}", "store: expected the path of a store"),
        ("store: a", "nothing to do"),
        ("grid: {}", "nothing to do"),
        ("grid: {seed: []}", "grid: seed expects a list of values"),
        ("grid: {seed: 3}", r"grid: seed expects a list of values, such as \[1, 2\]; found 3"),
        ("grid: {sede: [1]}", "grid: unknown option 'sede'; known are model, preset"),
        ("grid: {model.width: [1]}", "grid: unknown option 'model.width'"),
        ("grid: [{seed: [1]}, {seed: [x]}]", "grid 2: seed expects a whole number; found 'x'"),
        ("grid: {seed: [true]}", "seed expects a whole number; found True"),
        ("grid: {seed: [-1]}", "seed expects a whole number, 0 or more; found -1"),
        ("grid: [3]", "grid expects a mapping"),
        ("grid: {seed: [1]}\nbase: [a]", "base expects a mapping"),
        ("grid: {seed: [1]}\nbase: {tmax: long}", "base: tmax expects a number or nothing; found 'long'"),
        ("grid: {seed: [1]}\nbase: {settings: 3}", "base: settings expects a mapping or nothing; found 3"),
        ("also: {seed: 1}", "also expects a list of tasks"),
        ("also: [seed]", "also, entry 1 expects a mapping"),
        ("grid: {seed: [1]}\nslurm: 3", "slurm expects a mapping"),
        (f"grid: {{seed: {list(range(400))}, split_seed: {list(range(400))}}}", "more than 100000 tasks"),
        ("a: !!python/object:os.system x", "not YAML"),
    ],
)
def test_a_bad_file_is_one_message_that_names_it(text, message, tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    with pytest.raises(ParameterError, match=message) as caught:
        sweep.read(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "grid.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParameterError, match="not YAML"):
        sweep.read(tmp_path / "grid.yaml")


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"model": "vae"}, r"task 3 of 3 \(model: vae\): unknown model 'vae'"),
        ({"model": "ridge", "settings": {"widht": 3}}, "has no setting 'widht'"),
        ({"split": "thirds"}, "unknown split 'thirds'"),
        ({"condition": "sleeping"}, "no recordings of condition sleeping"),
        ({"colour": 1}, "unknown option 'colour'"),
    ],
)
def test_a_mistake_in_the_last_task_fails_before_the_first(last, message, small, tmp_path):
    with pytest.raises(ParameterError, match=message):
        sweep.run(small, [{"model": "ridge"}, {"model": "ridge", "seed": 1}, last], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_table_has_a_row_a_run_in_the_order_of_the_tasks(serial):
    out, table = serial
    assert table["model"].tolist() == ["ridge", "ridge", "cnn", "classifier"]
    assert table["settings"].tolist() == ["width=1"] * 2 + ["epochs=1, width=1"] * 2
    assert table["seed"].tolist() == [0, 1, 0, 0]
    assert (table["error"] == "").all()
    row = table.iloc[2]
    run = runs.open(out / row["run"])
    metrics = {metric["metric"]: metric for metric in run.metrics["metrics"]}
    for name in ("retrieval", "song accuracy", "cosine"):
        assert row[name] == metrics[name]["score"]
        for key in ("low", "high", "p"):
            assert row[f"{name} {key}"] == pytest.approx(metrics[name][key], nan_ok=True)
    for name in ("retrieval", "cosine"):
        for blind in ("mean picture", "song mean"):
            assert row[f"{name} {blind}"] == metrics[name]["baselines"][blind]
    assert (row["retrieval chance"], row["song accuracy chance"]) == (0.5, 0.5)
    assert (row["n_test"], row["verdict"], row["epochs"]) == (run.metrics["split"]["n_test"], run.metrics["verdict"], 1)
    assert row["parameters"] == run.provenance["n_parameters"]
    assert table.iloc[3]["accuracy"] == runs.open(out / table.iloc[3]["run"]).metrics["metrics"][0]["score"]
    kept = pd.read_csv(out / "sweep.csv", keep_default_na=False)
    assert kept["run"].tolist() == table["run"].tolist()


def test_the_printed_table_says_once_what_all_share(serial):
    lines = sweep.describe(serial[1]).splitlines()
    assert lines[0] == "all: audio mel-db, split repeat"
    for word in (
        "run",
        "model",
        "settings",
        "seed",
        "retrieval",
        "95 % interval",
        "chance",
        "p",
        "song mean's",
        "verdict",
    ):
        assert word in lines[1]
    assert "mel-db" not in "".join(lines[1:])
    assert lines[-1] == "Simulated data."


def test_what_is_done_is_skipped_and_the_same_run_is_one(small, serial, monkeypatch):
    out, table = serial
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    again = sweep.run(small, [*FEW, FEW[0], {**FEW[1], "settings": {"width": 1}}], out=out)
    pd.testing.assert_frame_equal(again, table)


def test_two_processes_and_a_killed_one_give_the_same_bytes(small, serial, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_work", workers.work_or_die_once)
    with executors.Processes(2) as executor:
        executor.threads = 1
        table = sweep.run(small, FEW, out=tmp_path, executor=executor)
    assert (tmp_path / "killed").exists()
    assert_same(tmp_path, table, serial)


def test_a_half_trained_run_continues(small, tmp_path, monkeypatch):
    task = CNN | {"split": "repeat", "settings": {"width": 1, "epochs": 3}}
    whole = sweep.run(small, [task], out=tmp_path / "whole")
    save = fitting._State.save

    def stop(state, folder, *args):
        save(state, folder, *args)
        if len(state.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting._State, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(small, [task], out=tmp_path / "half")
    assert len(list((tmp_path / "half").glob("*/resume.pt"))) == 1
    monkeypatch.setattr(fitting._State, "save", save)
    table = sweep.run(small, [task], out=tmp_path / "half")
    assert_same(tmp_path / "half", table, (tmp_path / "whole", whole))


def test_a_task_that_cannot_be_done_costs_no_other(small, tmp_path, monkeypatch):
    tasks = [
        {"model": "ridge", "split": "interleaved"},  # 12 s have no fourth chunk
        {"model": "ridge", "split": "repeat", "seed": 9},
        {"model": "ridge", "split": "repeat"},
    ]
    true = sweep._work

    def work(*task):
        if task[1]["seed"] == 9:
            raise RuntimeError("a mistake of ours")
        return true(*task)

    monkeypatch.setattr(sweep, "_work", work)
    table = sweep.run(small, tasks, out=tmp_path)
    assert table["error"].iloc[0].startswith("interleaved:4: the test side is empty")
    assert table["error"].iloc[1].startswith("RuntimeError: a mistake of ours (see ")
    assert "Traceback" in (tmp_path / f"{table['run'].iloc[1]}.error.txt").read_text()
    assert table["verdict"].notna().tolist() == [False, False, True]
    assert sweep.describe(table).count("not done") == 2
    with pytest.raises(
        EegvizError, match=r"^2 of 3 tasks could not be done:\n  \w+ \(ridge, interleaved, seed 0\): inter"
    ):
        sweep.refuse_failures(table)
    monkeypatch.setattr(sweep, "_work", true)
    again = sweep.run(small, tasks[1:], out=tmp_path)
    assert (again["error"] == "").all()
    assert not list(tmp_path.glob("*.error.txt"))
    sweep.refuse_failures(again)


def test_a_table_without_a_single_run_prints(small, tmp_path):
    table = sweep.run(small, [{"model": "ridge", "split": "interleaved"}], out=tmp_path)
    assert "not done" in sweep.describe(table)


def test_a_worker_that_sees_other_data_says_so(small, tiny_store, tmp_path):
    config = training.configure(small, model="ridge", split="repeat")
    with pytest.raises(EegvizError, match="holds other data for the worker"):
        sweep._work(str(tiny_store.path), config, str(tmp_path), "cpu", False)


def eegviz(*args, code=0, **options):
    done = subprocess.run(
        [sys.executable, "-m", "eegviz.cli", *map(str, args)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def test_by_command_line(small, tmp_path):
    file, out = tmp_path / "grid.yaml", tmp_path / "runs"
    relative = os.path.relpath(small.path, tmp_path)
    text = f"store: {relative}\nbase: {{model: ridge, split: repeat}}\ngrid: {{settings.width: [1, 2]}}\n"
    file.write_text(text)
    printed = eegviz("sweep", file, "--out", out, "--executor", "local:2").stdout.splitlines()
    assert printed[0].startswith("all: model ridge")
    assert printed[-1] == str(out / "sweep.csv")
    assert len(pd.read_csv(out / "sweep.csv")) == 2
    file.write_text(text + "also: [{split: interleaved}]\n")
    found = eegviz("sweep", file, "--out", out, code=2)
    assert found.stderr.startswith("eegviz: 1 of 3 tasks could not be done:\n")
    assert "not done" in found.stdout
    file.write_text("grid: {seed: [1]}")
    assert "no store: name one in the file" in eegviz("sweep", file, "--out", out, code=2).stderr


@pytest.mark.slow
def test_dask_with_a_killed_worker_gives_the_same_bytes(small, serial, tmp_path, monkeypatch, cluster):
    monkeypatch.setattr(sweep, "_work", workers.work_or_die_once)
    with executors.named(f"dask:{cluster.scheduler_address}", folder=tmp_path) as executor:
        table = sweep.run(small, FEW, out=tmp_path, executor=executor)
    assert (tmp_path / "killed").exists()
    assert_same(tmp_path, table, serial)


FIFTY = sweep.expand(
    {"split": "repeat"},
    [
        {"model": ["ridge"], "settings.width": [1, 2, 3, 4], "seed": [0, 1], "tmax": [8, 9, 10, 11, 12]},
        {"model": ["cnn"], "preset": ["fast"], "settings.width": [1], "settings.epochs": [2], "seed": list(range(10))},
    ],
)


@pytest.fixture(scope="module")
def fifty(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("fifty")
    return out, sweep.run(small, FIFTY, out=out)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["processes", "dask"])
def test_fifty_tasks_with_a_killed_worker_are_fifty_runs_with_the_same_bytes(
    where, request, small, fifty, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweep, "_work", workers.work_killed_while_it_trains)
    name = "local:2" if where == "processes" else f"dask:{request.getfixturevalue('cluster').scheduler_address}"
    with executors.named(name, folder=tmp_path) as executor:
        table = sweep.run(small, FIFTY, out=tmp_path, executor=executor)
    assert (tmp_path / "killed").exists()
    assert (len(table), (table["error"] == "").sum()) == (50, 50)
    assert_same(tmp_path, table, fifty)


@pytest.mark.slow
def test_jobs_of_submitit_give_the_same_bytes(small, serial, tmp_path):
    executor = executors.submitit_executor(tmp_path, {"timeout_min": 10}, cluster="local")
    assert_same(tmp_path, sweep.run(small, FEW, out=tmp_path, executor=executor), serial)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "local:2"])
def test_an_interrupt_says_that_the_same_command_continues(executor, small, tmp_path):
    settings = "{width: 1, epochs: 4000, patience: 0}"
    text = f"base: {{split: repeat, model: cnn, preset: fast, settings: {settings}}}\ngrid: {{seed: [0, 1, 2]}}\n"
    (tmp_path / "grid.yaml").write_text(f"store: {small.path}\n{text}")
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import eegviz.cli; eegviz.cli.main()"
    )
    command = ("-c", program, "sweep", tmp_path / "grid.yaml", "--out", tmp_path / "runs", "--executor", executor)
    started = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("runs/*/resume.pt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: everybody hears it
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 130
    assert said == "eegviz: interrupted; the same command continues where it stopped\n"
