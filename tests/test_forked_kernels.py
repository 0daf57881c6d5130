"""Kernels that are forked: the same pages, the same failures, no process left."""

import os
import sys

import nbformat
import psutil
import pytest

from eegviz import forked_kernels, headless

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux")


def notebook(folder, *cells):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = folder / "01_x.ipynb"
    nbformat.write(made, path)
    return path


def test_forked_kernels_run_see_their_own_environment_and_end(tmp_path, monkeypatch):
    monkeypatch.setattr(forked_kernels, "PRELOAD", ("ipykernel.kernelapp", "decimal"))
    asks = (
        "import os, sys\nprint(os.getpid(), os.getpgid(0) == os.getpid(), os.getcwd(), os.environ['OMP_NUM_THREADS'])"
    )
    path = notebook(tmp_path, asks, "'decimal' in sys.modules", "import multiprocessing as m; m.Pool(1).map(abs, [-2])")
    assert not forked_kernels.available()
    with forked_kernels.server(headless.KERNEL_ENVIRONMENT):
        assert forked_kernels.available()
        found = headless.execute(path)
        assert found.message is None, found.message
        pid, leads, *where, threads = found.notebook.cells[0].outputs[0].text.split()
        assert (leads, " ".join(where), threads) == ("True", str(tmp_path.resolve()), "1")
        assert found.notebook.cells[1].outputs[0].data["text/plain"] == "True"
        assert found.notebook.cells[2].outputs[0].data["text/plain"] == "[2]"
        assert int(pid) != os.getpid()
        assert not psutil.pid_exists(int(pid))
    assert not forked_kernels.available()


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the kernel died while this cell ran"),
        ("import time; time.sleep(60)", "stopped after 3 s"),
    ],
)
def test_failures_of_forked_kernels_are_told(tmp_path, monkeypatch, cell, told):
    monkeypatch.setattr(forked_kernels, "PRELOAD", ("ipykernel.kernelapp",))
    with forked_kernels.server(headless.KERNEL_ENVIRONMENT):
        found = headless.execute(notebook(tmp_path, "1", cell, "2"), timeout=3 if "sleep" in cell else 60)
    assert found.cell == 2
    assert told in found.message
