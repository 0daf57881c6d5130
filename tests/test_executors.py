"""Calls on executors: answers, failures that are answers, workers that die, executors by name."""

import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from eegviz import executors
from eegviz.errors import DataError, EegvizError, MissingDependencyError, ParameterError
from tests import workers

SQUARES = [(x, x * x) for x in range(6)]


def pool(n=2):
    return ProcessPoolExecutor(n, mp_context=get_context("forkserver"))


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(2), lambda: ThreadPoolExecutor(1)])
def test_every_call_is_answered_with_its_position(executor):
    assert sorted(executors.outcomes(workers.square, [(x,) for x in range(6)], executor=executor)) == SQUARES


def test_what_a_call_raises_is_its_answer_and_costs_no_other():
    answers = dict(executors.outcomes(divmod, [(7, 2), (7, 0), (9, 3)], executor=ThreadPoolExecutor(2)))
    assert (answers[0], answers[2]) == ((3, 1), (3, 0))
    assert answers[1].message.startswith("ZeroDivisionError: ")
    assert "Traceback" in answers[1].trace

    def refuse():
        raise DataError("no such thing")

    assert list(executors.outcomes(refuse, [()])) == [(0, executors.Failure("no such thing"))]


@pytest.mark.parametrize("make", [lambda: executors.Processes(2), pool])
def test_a_killed_workers_call_is_made_again(make, tmp_path):
    calls = [(x, tmp_path / "killed") for x in range(6)]
    assert sorted(executors.outcomes(workers.square_or_die_once, calls, executor=make)) == SQUARES
    assert (tmp_path / "killed").exists()


@pytest.mark.parametrize("make", [lambda: executors.Processes(2), pool])
def test_a_call_that_always_kills_its_worker_fails_alone(make):
    calls = [(x,) for x in range(6)]
    answers = dict(executors.outcomes(workers.square_or_always_die, calls, executor=make, retries=1))
    failure = answers.pop(3)
    assert sorted(answers.items()) == [pair for pair in SQUARES if pair[0] != 3]
    assert "its worker was lost" in failure.message
    assert "the same command continues" in failure.message


class Full(ThreadPoolExecutor):
    """A queue that takes two calls at a time, or none."""

    room = 2

    def submit(self, function, /, *args):
        if self._work_queue.qsize() >= self.room:
            raise RuntimeError("the queue is full")
        return super().submit(function, *args)


def test_a_full_queue_is_waited_for_and_one_that_takes_nothing_is_told(monkeypatch):
    with Full(1) as executor:
        assert sorted(executors.outcomes(workers.square, [(x,) for x in range(6)], executor=executor)) == SQUARES
    monkeypatch.setattr(Full, "room", 0)
    with Full(1) as executor, pytest.raises(EegvizError, match=r"takes no task \(RuntimeError: the queue is full\)"):
        list(executors.outcomes(workers.square, [(1,)], executor=executor))


def test_a_class_makes_the_executor_and_its_processes_know_their_share():
    ((_, share),) = executors.outcomes(executors.threads, [()], executor=executors.Processes)
    assert share == max(1, executors.cores() // 2)
    assert executors.threads() is None


def test_a_worker_that_cannot_read_a_call_is_not_asked_again():
    ((_, failure),) = executors.outcomes(lambda: 1, [()], executor=pool, retries=5)
    assert "its worker cannot do it" in failure.message


def test_a_lost_process_says_how_it_ended():
    with executors.Processes(1) as executor, pytest.raises(executors.WorkerLostError, match="signal SIGKILL"):
        executor.submit(workers.die).result()
    with executors.Processes(1) as executor, pytest.raises(executors.WorkerLostError, match="exit code 3"):
        executor.submit(sys.exit, 3).result()


def test_what_is_raised_in_a_process_is_raised_here():
    with executors.Processes(1) as executor, pytest.raises(ZeroDivisionError) as caught:
        executor.submit(divmod, 7, 0).result()
    assert "Traceback" in caught.value.__notes__[0]


def test_an_interrupt_ends_what_runs_and_cancels_the_rest():
    start, submitted = time.monotonic(), []

    def interrupted():
        with executors.Processes(1) as executor:
            submitted.extend(executor.submit(time.sleep, 60) for _ in range(2))
            while not executor._alive:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    running, waiting = submitted
    assert waiting.cancelled()
    with pytest.raises(executors.WorkerLostError, match="exit code 130"):
        running.result()
    assert time.monotonic() - start < 30


def test_a_broken_executor_that_cannot_be_made_again_is_refused():
    calls = [(x,) for x in range(6)]
    with pool(1) as executor, pytest.raises(ParameterError, match="give a function that makes one"):
        list(executors.outcomes(workers.square_or_always_die, calls, executor=executor))


def test_submitits_executor_is_one(tmp_path):
    made = executors.submitit_executor(tmp_path, {"timeout_min": 5, "partition": "gpu"}, cluster="local")
    assert dict(executors.outcomes(workers.square, [(2,), (3,)], executor=made)) == {0: 4, 1: 9}
    with pytest.raises(ParameterError, match="slurm: .*Unknown argument 'speed'"):
        executors.submitit_executor(tmp_path, {"speed": 9}, cluster="local")
    with pytest.raises(ParameterError, match='slurm: Parameter "timeout_min" expected type'):
        executors.submitit_executor(tmp_path, {"timeout_min": "long"}, cluster="local")


def test_dasks_executor_is_one_and_a_killed_workers_call_is_made_again(cluster, tmp_path):
    calls = [(x, tmp_path / "killed") for x in range(6)]
    with executors.named(f"dask:{cluster.scheduler_address}", folder=tmp_path) as made:
        assert sorted(executors.outcomes(workers.square_or_die_once, calls, executor=made)) == SQUARES
    assert (tmp_path / "killed").exists()


def test_a_dask_call_that_always_kills_its_worker_fails_alone(cluster, tmp_path):
    calls = [(x,) for x in range(6)]
    with executors.named(f"dask:{cluster.scheduler_address}", folder=tmp_path) as made:
        answers = dict(executors.outcomes(workers.square_or_always_die, calls, executor=made, retries=1))
    assert "its worker was lost 2 times (KilledWorker" in answers.pop(3).message
    assert sorted(answers.items()) == [pair for pair in SQUARES if pair[0] != 3]


def test_nobody_at_the_address_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "DASK_TIMEOUT", "0.3s")
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1"):
        wanted = f"no Dask scheduler answers at {address} .*dask scheduler"
        with pytest.raises(DataError, match=wanted), executors.named(f"dask:{address}", folder=tmp_path):
            pass


@pytest.mark.slow
def test_a_killed_job_of_submitit_is_made_again(tmp_path):
    made = executors.submitit_executor(tmp_path, cluster="local")
    calls = [(x, tmp_path / "killed") for x in range(2, 4)]
    assert dict(executors.outcomes(workers.square_or_die_once, calls, executor=made)) == {0: 4, 1: 9}
    assert (tmp_path / "killed").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("threads", "unknown executor 'threads'; known are serial, local:N, dask:ADDRESS, slurm"),
        ("local", "unknown executor 'local'"),
        ("local:0", "unknown executor 'local:0'"),
        ("local:-1", "unknown executor"),
        ("dask:", "unknown executor"),
        ("slurm:gpu", "unknown executor"),
    ],
)
def test_an_unknown_name_lists_the_known(name, message, tmp_path):
    with pytest.raises(ParameterError, match=message), executors.named(name, folder=tmp_path):
        pass


def test_names_of_executors(tmp_path):
    with executors.named("serial", folder=tmp_path) as executor:
        assert executor is None
    with executors.named("local:3", folder=tmp_path) as executor:
        assert executor._max_workers == 3
        assert executor.threads >= 1


def test_no_slurm_no_dask_and_what_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(DataError, match="no SLURM here: .*sbatch was not found"),
        executors.named("slurm", folder=tmp_path),
    ):
        pass
    (tmp_path / "sbatch").touch(mode=0o755)
    monkeypatch.setitem(sys.modules, "submitit", None)
    wanted = r'slurm needs submitit.*"eegviz\[cluster\]"'
    with pytest.raises(MissingDependencyError, match=wanted), executors.named("slurm", folder=tmp_path):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    wanted = r'dask needs distributed.*"eegviz\[cluster\]"'
    with pytest.raises(MissingDependencyError, match=wanted), executors.named("dask:tcp://a:1", folder=tmp_path):
        pass


def test_wrong_arguments():
    with pytest.raises(ParameterError, match="expected an executor"):
        list(executors.outcomes(workers.square, [(1,)], executor="local:2"))
    with pytest.raises(ParameterError, match="retries=-1"):
        list(executors.outcomes(workers.square, [(1,)], retries=-1))
    with pytest.raises(ParameterError, match="n=0"):
        executors.Processes(0)


def test_another_folder_of_that_name_where_one_stands_is_no_package(tmp_path):
    (tmp_path / "here" / "eegviz").mkdir(parents=True)
    script = tmp_path / "script.py"
    script.write_text(
        "from eegviz import executors\n"
        "if __name__ == '__main__':\n"
        "    with executors.Processes(1) as executor:\n"
        "        print(executor.submit(executors.cores).result())\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path / "here", capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(executors.cores()), done.stderr


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no such process here")
def test_the_process_that_others_are_forked_from_ends_with_the_last_executor():
    code = """
import os, psutil
from multiprocessing import forkserver
from eegviz import executors
with executors.Processes(1) as outer:
    inner = executors.Processes(1)
    assert inner.submit(os.getpid).result() != os.getpid()
    inner.shutdown()
    inner.shutdown()
    server = forkserver._forkserver._forkserver_pid
    assert psutil.pid_exists(server)
    assert outer.submit(divmod, 7, 2).result() == (3, 1)
assert not psutil.pid_exists(server)
with executors.Processes(1) as again:
    assert again.submit(divmod, 7, 2).result() == (3, 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
