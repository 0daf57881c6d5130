"""Kernels forked from one process that has already imported what the notebooks import.

A kernel of its own takes seconds of a processor until its first picture is there, and memory that two at a time cannot
share. `server` keeps the process that they are forked from; `KernelProcess` is one of them, with the methods of
`subprocess.Popen` that a kernel manager calls. Elsewhere than on Linux, or where no server runs, kernels are started as ever.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys

from eegviz import executors

# what nearly every notebook imports, early or late
PRELOAD = (
    "ipykernel.kernelapp", "ipykernel.ipkernel", "pandas", "holoviews.plotting.mpl", "holoviews.plotting.bokeh", "matplotlib.pyplot",
    "mne", "librosa.core.spectrum", "librosa.filters", "librosa.util.utils", "numba", "soundfile", "scipy.signal",
    "safetensors.torch", "IPython.core.completer", "jedi", "eegviz.evaluation", "eegviz.exploration", "eegviz.listening",
    "eegviz.models.cnn", "eegviz.plots", "eegviz.recipes", "eegviz.tuning", "eegviz.widgets",
)  # fmt: skip
_running = 0  # servers that were asked for in this process


@contextlib.contextmanager
def server(environment):
    """While this is open, kernels are forked; elsewhere than on Linux, whose libraries bear it, it does nothing.

    Parameters
    ----------
    environment : dict of str to str
        Variables that must be set when the numerical libraries are loaded.
    """
    global _running
    if sys.platform != "linux":
        yield
        return
    with executors.forking(PRELOAD, environment | {"MPLBACKEND": "agg"}) as can_fork:
        _running += can_fork
        try:
            yield
        finally:
            _running -= can_fork


def available() -> bool:
    """Whether a kernel would be forked now."""
    return _running > 0


class KernelProcess:
    """A forked kernel that leads its own process group.

    Parameters
    ----------
    arguments : list of str
        Of the kernel application, such as ``["-f", connection_file]``.
    env : dict of str to str
        The whole environment.
    cwd : path
    log : path
        What it prints is added there.
    """

    stdin = stdout = stderr = None

    def __init__(self, arguments, *, env, cwd, log):
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_serve, args=(list(arguments), dict(env), str(cwd), str(log)))
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def _serve(arguments, env, cwd, log):
    """Become a kernel."""
    from multiprocessing import forkserver

    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))  # the kernel ends with the process that it was forked from
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    forkserver._forkserver.__init__()  # workers of its own belong to its own group, and end with it
    sys.argv = ["ipykernel_launcher", *arguments]
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(argv=arguments)
