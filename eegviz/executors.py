"""Where many calls run: one after another, in fresh processes, or on whatever a `concurrent.futures` executor reaches.

A worker may die (memory, a node that is switched off): its call is made again, and no other one is lost. What a call
itself raises is an answer, not a loss: it comes back as a `Failure` and is not tried again.

Functions: `outcomes` (make many calls, answers as they come), `named` (an executor by its name on the command line);
`Processes` is an executor of fresh processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from eegviz.errors import DataError, EegvizError, MissingDependencyError, ParameterError

POLL = 0.5  # seconds between looks at jobs that cannot be waited for (submitit)
IN_FLIGHT = 1000  # calls that an executor has at a time: SLURM limits the jobs of a user (our choice)
DASK_TIMEOUT = "10s"  # for the first answer of a scheduler
NAMES = ("serial", "local:N", "dask:ADDRESS", "slurm")
# what training and scoring import, also late (an optimiser brings torch._dynamo): once, in the process that others are forked
# from, where the system has that
_PRELOAD = (
    "eegviz.sweep", "eegviz.models.cnn", "eegviz.models.ridge", "accelerate", "librosa.core.spectrum", "librosa.filters",
    "librosa.util.utils",
    "numba", "sklearn.discriminant_analysis", "soundfile", "safetensors.torch", "torch._dynamo",
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """What a call raised: one message, and a traceback where nobody expected the error."""

    message: str
    trace: str = ""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int | None:
    """Numerical threads that a call should take: its share in a process of `Processes`, None anywhere else."""
    return _threads


_threads = None
_users, _server_lock = 0, threading.Lock()  # executors that use the process that others are forked from


class WorkerLostError(EegvizError):
    """A worker process ended before it answered."""


class Processes(ThreadPoolExecutor):
    """An executor that makes each call in a fresh process, some at a time.

    A process that dies takes its own call with it and nothing else, and memory is gone when a call is over. As with
    every process that is not forked, a script that uses it needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    n : int
        Processes at a time.

    Attributes
    ----------
    threads : int
        Numerical threads that each process should take, so that all of them share the processor.

    Examples
    --------
    >>> with Processes(1) as executor:
    ...     executor.submit(divmod, 7, 2).result()
    (3, 1)
    """

    def __init__(self, n=2):
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ParameterError(f"Processes: n={n!r}: expected a whole number, 1 or more.")
        super().__init__(n)
        self.threads = max(1, cores() // n)
        forkserver = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if forkserver else "spawn")
        self._uses_server = forkserver
        if forkserver:
            self._context.set_forkserver_preload(list(_PRELOAD))
            _start_server()
        self._alive, self._killed, self._lock = set(), False, threading.Lock()

    def submit(self, function, /, *args, **kwargs):
        """Make ``function(*args, **kwargs)`` in a process of its own; raises `WorkerLostError` when that dies."""
        return super().submit(self._in_process, function, args, kwargs)

    def kill(self):
        """Interrupt the calls that are running, for good; they raise `WorkerLostError`."""
        with self._lock:
            self._killed = True
            for process in self._alive:
                _interrupt(process)

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            self.kill()
        return super().__exit__(kind, value, trace)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """As of every executor; the process that others are forked from ends with the last one that is waited for."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait and self._uses_server:
            self._uses_server = False
            _leave_server()

    def _in_process(self, function, args, kwargs):
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_answer, args=(sender, function, args, kwargs, self.threads), daemon=True
        )
        with self._lock:
            process.start()
        sender.close()  # the process holds the other end, so that its death is the end of the file
        with receiver:
            try:
                receiver.recv()  # it is ready to be interrupted
                with self._lock:
                    self._alive.add(process)
                    if self._killed:
                        _interrupt(process)
                returned, value = receiver.recv()
            except (EOFError, OSError):
                returned = None
        process.join()
        with self._lock:
            self._alive.discard(process)
        code = process.exitcode
        process.close()
        if returned is None:
            how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
            raise WorkerLostError(f"the worker process ended with {how}")
        if not returned:
            raise value
        return value


def outcomes(function, calls, *, executor=None, retries=2):
    """Make many calls of a function; yield ``(position, answer)`` as they end.

    Parameters
    ----------
    function : callable
        Importable by name, so that another process finds it.
    calls : sequence of tuple
        The arguments of each call.
    executor : concurrent.futures.Executor, callable or None
        None: here, one after another. An executor, or what behaves like one (submitit's). Or a function that makes one: then
        it is shut down at the end, and made again when it breaks, as a ``ProcessPoolExecutor`` does whose worker dies.
    retries : int
        How often a call is made again after its worker was lost. When a pool breaks nobody knows whose fault it was: all
        calls in it are made again, and those that were there too often are made alone at the end.

    Yields
    ------
    tuple of int and object
        The position in `calls`; what the function returned, or a `Failure`.

    Raises
    ------
    ParameterError
        An executor that is none, or a broken one that cannot be made again.
    EegvizError
        An executor that takes no call although it has none.

    Examples
    --------
    >>> list(outcomes(divmod, [(7, 2), (7, 0)]))
    [(0, (3, 1)), (1, Failure(message='ZeroDivisionError: ...', trace='Traceback ...'))]
    """
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ParameterError(f"retries={retries!r}: expected a whole number, 0 or more.")
    calls = list(calls)
    if executor is None:
        for position, args in enumerate(calls):
            yield position, _call(function, args, 1)
        return
    pool, running = _Pool(executor), {}
    waiting, suspects, losses = deque(range(len(calls))), deque(), Counter()
    try:
        while waiting or suspects or running:
            if not waiting and not running:  # one at a time now, in a pool of its own
                pool.renew(broken=False)
                waiting.append(suspects.popleft())
            while waiting and len(running) < IN_FLIGHT:
                position = waiting.popleft()
                try:
                    running[pool.submit(_call, function, calls[position], losses[position] + 1)] = position
                except (RuntimeError, OSError) as error:  # such as a queue that is full
                    if not running:
                        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                        raise EegvizError(
                            f"the executor takes no task ({told}). What is done is kept; the same command continues."
                        ) from error
                    waiting.appendleft(position)
                    break
            for future in _ended(running):
                position = running.pop(future)
                try:
                    answer = future.result()
                except Exception as error:  # what a call raises is answered: this is the worker's end
                    losses[position] += retries + 1 if isinstance(error, _NOT_LOST) else 1
                    if losses[position] <= retries:
                        waiting.append(position)
                        continue
                    if isinstance(error, BrokenExecutor) and losses[position] == retries + 1 and pool.make:
                        suspects.append(position)
                        continue
                    answer = Failure(_lost(losses[position], error))
                yield position, answer
    finally:
        for future in running:
            future.cancel()
        pool.close(wait=not running)


@contextlib.contextmanager
def named(name, *, folder, slurm=None):
    """The executor that a name on the command line means, for as long as it is needed.

    Parameters
    ----------
    name : str
        ``"serial"``; ``"local:2"``, two fresh processes at a time on this machine; ``"dask:tcp://host:8786"``, the workers of
        that scheduler; ``"slurm"``, a job each.
    folder : path
        Where SLURM's jobs keep their files: ``folder/slurm``.
    slurm : dict, optional
        Of the jobs: ``timeout_min``, ``mem_gb``, ``cpus_per_task``, ``gpus_per_node`` and what sbatch knows, such as
        ``partition`` and ``account``.

    Yields
    ------
    concurrent.futures.Executor or None

    Raises
    ------
    ParameterError
        An unknown name, options that SLURM's jobs do not have.
    MissingDependencyError
        Dask or submitit is not installed.
    DataError
        Nobody answers at the address; no SLURM here.
    """
    kind, colon, rest = str(name).partition(":")
    if kind == "local" and rest.isdecimal() and int(rest):
        with Processes(int(rest)) as executor:
            yield executor
    elif kind == "dask" and rest:
        with _dask(rest) as client:
            yield client.get_executor()
    elif kind == "slurm" and not colon:
        if shutil.which("sbatch") is None:
            raise DataError(
                "there is no SLURM here: the command sbatch was not found. Run this on a login node of the cluster, or use "
                "--executor local:N."
            )
        yield submitit_executor(folder, slurm)
    elif name == "serial":
        yield None
    else:
        raise ParameterError(f"unknown executor {name!r}; known are {', '.join(NAMES)}, with N = 1 or more.")


def submitit_executor(folder, options=None, *, cluster="slurm"):
    """submitit's executor with `options` of its jobs (see `named`); ``cluster="local"`` runs them on this machine."""
    try:
        import submitit
    except ModuleNotFoundError:
        raise _missing("slurm", "submitit") from None
    made = submitit.AutoExecutor(Path(folder) / "slurm", cluster=cluster)
    shared = made._typed_parameters()
    given = {k if k in shared or k.startswith("slurm_") else f"slurm_{k}": v for k, v in (options or {}).items()}
    try:
        made.update_parameters(**given)
    except (NameError, AssertionError) as error:
        raise ParameterError(f"slurm: {' '.join(str(error).split())}") from None
    return made


class _Pool:
    """The executor in use; made again when it is broken and a function makes it."""

    def __init__(self, executor):
        self.make = None if hasattr(executor, "submit") and not isinstance(executor, type) else executor
        if self.make and not callable(self.make):
            raise ParameterError(
                f"executor={executor!r}: expected an executor (with submit), a function that makes one, or None."
            )
        self.executor = self.make() if self.make else executor

    def submit(self, *args):
        while True:
            try:
                return self.executor.submit(*args)
            except BrokenExecutor as error:
                self.renew(broken=error)

    def renew(self, *, broken):
        if self.make:
            self.close(wait=not broken)
            self.executor = self.make()
        elif broken:
            raise ParameterError(
                f"the executor is broken ({broken}) and cannot be made again: give a function that makes one. What is done "
                "is kept; the same call continues."
            ) from None

    def close(self, *, wait):
        if self.make:
            self.executor.shutdown(wait=wait, cancel_futures=True)


def _call(function, args, attempt):
    """In the worker. `attempt` makes repeated calls different, for an executor that knows answers by arguments (Dask)."""
    try:
        return function(*args)
    except EegvizError as error:
        return Failure(str(error))
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())


@contextlib.contextmanager
def forking(preload, environment):
    """Keep the process that others are forked from, with some modules imported, where the system has one.

    Parameters
    ----------
    preload : sequence of str
        Modules. They are imported only where that process does not run already.
    environment : dict of str to str
        Variables that are set when it starts.

    Yields
    ------
    bool
        Whether processes can be forked.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        yield False
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(preload))
    _start_server(environment)
    try:
        yield True
    finally:
        _leave_server()


def _start_server(environment=None):
    """Start the process that others are forked from without the current folder on its path: it may hold another eegviz."""
    global _users
    from multiprocessing import forkserver

    with _server_lock:
        _users += 1
        wanted = {**(environment or {}), "PYTHONSAFEPATH": "1"}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            forkserver.ensure_running()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _leave_server():
    """End that process when no executor is left that uses it: what it has imported takes 0.4 GB."""
    global _users
    from multiprocessing import forkserver

    with _server_lock:
        _users -= 1
        if not _users:
            forkserver._forkserver._stop()  # the next executor starts it again


def _answer(sender, function, args, kwargs, share):
    global _threads  # of this process, which makes one call
    _threads = share
    signal.signal(signal.SIGINT, _once)  # a shell's background job inherits one that is ignored
    try:
        sender.send("ready")
        answer = (True, function(*args, **kwargs))
    except Exception as error:
        error.add_note(traceback.format_exc())
        answer = (False, error)
    except KeyboardInterrupt:  # of the whole program, which says so itself
        sys.exit(130)
    sender.send(answer)
    sender.close()


def _once(number, frame):
    """Raise the first interrupt and ignore the next: a terminal's goes to everybody, and the program passes it on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _interrupt(process):
    if os.name == "nt":
        process.terminate()
        return
    with contextlib.suppress(ProcessLookupError):  # it may have ended just now
        os.kill(process.pid, signal.SIGINT)  # so that it tidies up


def _ended(running):
    if all(isinstance(future, Future) for future in running):
        return list(wait(running, return_when=FIRST_COMPLETED).done)
    while not (ended := [future for future in running if future.done()]):
        time.sleep(POLL)
    return ended


# what a worker says that lives: it cannot read the call, or lacks a library
_NOT_LOST = (ImportError, pickle.PicklingError, TypeError, AttributeError)


def _lost(times, error):
    told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if isinstance(error, _NOT_LOST):
        return (
            f"its worker cannot do it ({told}). Workers need the same packages, in the same versions, as this process."
        )
    return (
        f"its worker was lost {times} time{'s' if times != 1 else ''} ({told}). Give workers more memory (and a queue's jobs "
        "more time), or run fewer at a time; the same command continues."
    )


@contextlib.contextmanager
def _dask(address):
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise _missing("dask", "distributed") from None
    try:
        client = Client(address, timeout=DASK_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"no Dask scheduler answers at {address} ({' '.join(str(error).split())[:200]}). Start one with `dask scheduler`, "
            f"and workers with `dask worker {address} --nthreads 1`."
        ) from None
    with client:
        yield client


def _missing(name, package):
    return MissingDependencyError(
        f"the executor {name} needs {package}, which is not installed. Install it with: "
        'python -m pip install "eegviz[cluster]"'
    )
