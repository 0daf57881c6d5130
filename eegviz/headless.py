"""Runs notebooks without a screen, and says truthfully whether they ran.

papermill executes; this module adds what papermill does not check:

- a parameter that the notebook does not declare is refused, not ignored;
- a kernel that was killed is a failure (papermill marks the notebook as completed), and so is a notebook that
  ends itself before its last cell, unless it said why the rest is not possible on this data: both are read from the
  cells' own execution state;
- the kernel is always *this* interpreter, whatever kernelspec called ``python3`` the machine holds, in a clean
  profile, with one numerical thread.

Functions: `find_notebooks`, `declared_parameters`, `execute`, `first_failure`, `write_text`.
A *cell number* counts the code cells of the executed notebook from 1, the injected parameters among them.
"""

import ast
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import forked_kernels
from .errors import DataError, MissingDependencyError, ParameterError

if TYPE_CHECKING:
    import nbformat

# One numerical thread a kernel: two kernels on two cores run 2-4 times slower with more.
IMPOSSIBLE = "not possible on this data because"
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # glibc keeps up to 8 arenas a core; two save tens of MB a kernel
    "TQDM_DISABLE": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger is not used; its warning would reach the terminal
}


_COMMAND = [sys.executable, "-m", "ipykernel_launcher"]


@dataclass(frozen=True)
class Execution:
    """An executed notebook: the document, the seconds it took, and the first failure (None when it ran whole)."""

    notebook: "nbformat.NotebookNode"
    seconds: float
    cell: int | None = None
    message: str | None = None


def find_notebooks(wanted: Sequence[str | int | Path] = (), *, folder: str | Path | None = None) -> list[Path]:
    """Notebooks by number, name or path; the whole series when nothing is named.

    Parameters
    ----------
    wanted : sequence of str, int or Path
        ``3``, ``"03"``, ``"training"``, ``"03_training"`` or a path to an ``.ipynb`` file.
    folder : path, optional
        Where the series lies. Default: ``notebooks/`` beside the package (a checkout or an editable install),
        else ``notebooks/`` in the current directory.

    Returns
    -------
    list of Path
        Absolute paths, in the order asked for; the series is in the order of its numbers.

    Raises
    ------
    DataError
        There is no such folder or file.
    ParameterError
        A name fits no notebook, or several.
    """
    found = []
    series: list[Path] | None = None
    for want in wanted:
        if str(want).endswith(".ipynb") and Path(want).is_file():
            found.append(Path(want).resolve())
            continue
        if str(want).endswith(".ipynb") and len(Path(want).parts) > 1:
            raise DataError(f"no notebook at {want}: give the path of an .ipynb file, or a number of the series")
        series = series if series is not None else _series(folder)
        found.append(_pick(str(want).removesuffix(".ipynb"), series))
    if not wanted:
        found = _series(folder)
    repeated = sorted({path.stem for path in found if [p.stem for p in found].count(path.stem) > 1})
    if repeated:
        raise ParameterError(f"each report needs its own name, and {', '.join(repeated)} was given twice")
    return found


def declared_parameters(notebook: "nbformat.NotebookNode") -> dict[str, Any]:
    """Names and default values that the cell tagged ``parameters`` declares.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    dict
        Name → literal default (None for a default that is not a literal); empty without such a cell.

    Examples
    --------
    >>> import nbformat
    >>> cell = nbformat.v4.new_code_cell("seed = 0\\nfast: bool = True", metadata={"tags": ["parameters"]})
    >>> declared_parameters(nbformat.v4.new_notebook(cells=[cell]))
    {'seed': 0, 'fast': True}
    """
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            break
    else:
        return {}
    declared: dict[str, Any] = {}
    for statement in ast.parse(cell.source).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name):
                try:
                    declared[target.id] = ast.literal_eval(statement.value)
                except ValueError:  # computed from something: the name counts, its default is unknown
                    declared[target.id] = None
    return declared


def execute(
    source: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout: float = 1800.0,
    stop: threading.Event | None = None,
) -> Execution:
    """Execute one notebook in a kernel of this interpreter.

    Parameters
    ----------
    source : path
        The ``.ipynb`` file; it is not changed.
    parameters : mapping, optional
        Values for names that the cell tagged ``parameters`` declares.
    timeout : float
        Seconds for the whole notebook; the kernel is killed then.
    stop : threading.Event, optional
        Setting it kills the kernel.

    Returns
    -------
    Execution
        With the outputs so far, also when a cell raised or the kernel died.

    Raises
    ------
    ParameterError
        A parameter is not declared by the notebook.
    DataError
        The file is not a notebook.
    MissingDependencyError
        papermill or ipykernel is not installed.
    """
    require("papermill", "ipykernel")
    import jupyter_core.utils
    import papermill

    logging.getLogger("papermill").addHandler(logging.NullHandler())  # failures are told in the result
    source = Path(source).resolve()
    parameters = dict(parameters or {})
    check_parameters(source, parameters)
    stop = stop if stop is not None else threading.Event()
    problem = None
    with tempfile.TemporaryDirectory(prefix="eegviz-") as scratch, open(Path(scratch) / "kernel.log", "wb+") as log:
        target, copied = Path(scratch) / "executed.ipynb", Path(scratch) / "source.ipynb"
        shutil.copyfile(source, copied)  # papermill takes some names for patterns, addresses and queries
        kernels: list[Any] = []
        done, late = threading.Event(), threading.Event()
        watch = threading.Thread(
            target=_watch, args=(kernels,), kwargs={"timeout": timeout, "stop": stop, "done": done, "late": late}
        )
        watch.start()
        began = time.perf_counter()
        try:
            papermill.execute_notebook(
                _no_braces(copied),
                _no_braces(target),
                parameters=parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                start_timeout=120,
                kernel_manager_class=_kernel_class(scratch, kernels=kernels, log=log),
                resources={"metadata": {"path": str(source.parent)}},
            )
        except papermill.PapermillExecutionError:
            problem = None  # the cell's own error output says it better
        except Exception as error:  # a dead kernel comes as several types, by the moment of its death
            if late.is_set():
                problem = f"stopped after {timeout:g} s, the time allowed for a notebook"
            elif stop.is_set():
                problem = "stopped before its end"
            elif not target.is_file() or not kernels:
                raise
            else:
                problem = f"the kernel died while this cell ran: killed, or out of memory ({_last_words(log) or error})"
        finally:
            seconds = time.perf_counter() - began
            done.set()
            watch.join()
            jupyter_core.utils.ensure_event_loop().close()  # this thread's loop, opened by nbclient
        notebook = _tidy(read_notebook(target), source=source)
    failure = first_failure(notebook, problem=problem)
    return Execution(notebook, seconds, *(failure or (None, None)))


def first_failure(notebook: "nbformat.NotebookNode", *, problem: str | None = None) -> tuple[int, str] | None:
    """The first cell that failed or never ran, from the cells' own execution state.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Executed through papermill.
    problem : str, optional
        What ended the kernel from outside, when something did; it is put on the cell that ran last.

    Returns
    -------
    (int, str) or None
        Cell number and message; None when every code cell ran.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename != "SystemExit":
                return number, _plain(f"{output.ename}: {output.evalue}".strip(": "))
    ran = [bool(cell.metadata.get("papermill", {}).get("start_time")) for cell in code]
    if problem is not None:
        last = max((n for n, r in enumerate(ran, start=1) if r), default=1)
        return last, problem
    missed = [n for n, cell in enumerate(code, start=1) if cell.source.strip() and cell.execution_count is None]
    if missed:
        return missed[0], f"{len(missed)} of {len(code)} code cells never ran: the notebook ended itself before"
    for number, cell in enumerate(code, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.evalue not in ("", "0", "None"):
                return number, _plain(f"SystemExit: {output.evalue}")
    return None


def _ended(cell) -> bool:
    """Whether a notebook ended itself in this cell, without an error."""
    return any(
        one.output_type == "error" and one.ename == "SystemExit" and one.evalue in ("", "0", "None")
        for one in cell.get("outputs", [])
    )


def _said_why(cell) -> bool:
    """Whether the cell in which a notebook ended itself said that the rest is not possible on this data."""
    return any(IMPOSSIBLE in output.get("text", "") for output in cell.get("outputs", []))


def check_parameters(source: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook does not declare (ParameterError names those it does)."""
    declared = declared_parameters(read_notebook(source))
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        known = ", ".join(declared) or "none: it has no cell tagged 'parameters'"
        raise ParameterError(
            f"{source.name} has no parameter {', '.join(map(repr, unknown))}; those it declares: {known}"
        )


def read_notebook(path: str | Path) -> "nbformat.NotebookNode":
    """Read an ``.ipynb`` file as format 4; a DataError says what is wrong with any other file."""
    require("nbformat")
    import nbformat

    try:
        notebook = nbformat.reads(Path(path).read_text(encoding="utf-8"), as_version=4)
    except FileNotFoundError:
        raise DataError(f"no notebook at {path}: give the path of an .ipynb file") from None
    except (OSError, UnicodeDecodeError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise DataError(f"{path} is not a readable notebook: {error}") from error
    except (KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is JSON, but not a notebook: {error}") from error
    if "cells" not in notebook:
        raise DataError(f"{path} is JSON, but not a notebook: it has no cells")
    return notebook


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file so that it is either the old one or the whole new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def require(*modules: str) -> None:
    """Raise MissingDependencyError, with the install command, unless every module can be imported."""
    import importlib.util

    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"reports need {', '.join(missing)}, not installed here: python -m pip install 'eegviz[notebooks]'"
        )


def _series(folder: str | Path | None) -> list[Path]:
    beside = Path(__file__).resolve().parent.parent / "notebooks"
    places = [Path(folder)] if folder is not None else [beside, Path.cwd() / "notebooks"]
    for place in places:
        series = sorted(place.resolve().glob("[0-9][0-9]_*.ipynb"))
        if series:
            return series
    looked = " or ".join(str(place) for place in places)
    raise DataError(
        f"no notebook series (NN_name.ipynb) in {looked}: run from a checkout of the repository, "
        "or give the path of an .ipynb file"
    )


def _pick(want: str, series: list[Path]) -> Path:
    names = [path.stem for path in series]
    if want.isdigit():
        fits = [path for path in series if int(path.stem[:2]) == int(want)]
    else:
        exact = [path for path in series if want in (path.stem, path.stem[3:])]
        fits = exact or [path for path in series if want and want in path.stem]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ParameterError(f"{want!r} fits several notebooks: {', '.join(path.stem for path in fits)}")
    raise ParameterError(f"no notebook {want!r}; the series has {', '.join(names)}")


def _kernel_class(scratch: str, *, kernels: list[Any], log: BinaryIO) -> type:
    """A kernel manager whose kernels run `sys.executable` and keep their files in `scratch` and print into `log`."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    arguments = ["-f", "{connection_file}", "--HistoryManager.enabled=False"]
    environment = {**KERNEL_ENVIRONMENT, "IPYTHONDIR": os.path.join(scratch, "ipython")}

    class OwnKernel(AsyncKernelManager):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.connection_file = os.path.join(scratch, "kernel.json")
            if os.name == "posix" and len(scratch) < 80:  # a socket's path holds about 100 characters
                self.transport = "ipc"  # files only this user can open, where TCP ports are open to all
                self.ip = os.path.join(scratch, "kernel-ipc")
            kernels.append(self)

        def start_kernel(self, **settings: Any) -> Any:
            return super().start_kernel(stdout=log, stderr=log, **settings)

        async def _async_launch_kernel(self, kernel_cmd: list[str], **settings: Any) -> None:
            if not forked_kernels.available():
                await super()._async_launch_kernel(kernel_cmd, **settings)
                return
            local = self.provisioner
            place = {"env": settings["env"], "cwd": settings.get("cwd") or os.getcwd(), "log": log.name}
            local.process = forked_kernels.KernelProcess(kernel_cmd[len(_COMMAND) :], **place)
            local.pid = local.pgid = local.process.pid  # it leads its own group
            local.cwd = place["cwd"]
            self._reconcile_connection_info(local.connection_info)

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=_COMMAND + arguments, env=environment, display_name="eegviz", language="python")

    return OwnKernel


def _watch(
    kernels: list[Any], *, timeout: float, stop: threading.Event, done: threading.Event, late: threading.Event
) -> None:
    """Kill the kernel when its time is over or somebody stops the run; nbclient then reports it dead."""
    deadline = time.monotonic() + timeout
    while not done.wait(0.1):
        if time.monotonic() > deadline:
            late.set()
        if late.is_set() or stop.is_set():
            for kernel in kernels:
                _kill(getattr(kernel.provisioner, "process", None))


def _kill(process: Any) -> None:
    if process is None or process.poll() is not None:
        return
    try:
        if hasattr(os, "killpg"):  # the kernel leads its own group: its worker processes go with it
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        return  # it ended between the look and the kill, as was wanted


def _last_words(log: BinaryIO) -> str:
    """The last line that starts with "Fatal", by which a crashing interpreter says why; else nothing."""
    log.seek(0)
    fatal = [line for line in log.read().decode(errors="replace").splitlines() if line.startswith("Fatal")]
    return fatal[-1] if fatal else ""


def _tidy(notebook: "nbformat.NotebookNode", *, source: Path) -> "nbformat.NotebookNode":
    """Drop papermill's error markers (the page has its own), the paths of this machine, and what was not possible."""
    notebook.cells = [
        cell for cell in notebook.cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])
    ]
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    told = next((i for i in code if _ended(notebook.cells[i]) and _said_why(notebook.cells[i])), None)
    if told is not None:  # a notebook that ended itself, and said why, ends there
        notebook.cells = notebook.cells[: told + 1]
        outputs = notebook.cells[told].outputs
        notebook.cells[told].outputs = [
            one for one in outputs if one.output_type != "error" and one.get("name") != "stderr"
        ]
    record = notebook.metadata.get("papermill", {})
    record["input_path"] = source.name
    record["output_path"] = source.name
    return notebook


def _plain(text: str) -> str:
    """Text without terminal colours."""
    import re

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def _no_braces(path: Path) -> str:
    """papermill formats its paths with `str.format`; a brace in a folder's name must survive that."""
    return str(path).replace("{", "{{").replace("}", "}}")
