"""Reports: the notebooks run headless, as pages that open offline, with an index of results and systems.

`report` is the whole of ``eegviz report``; `run_notebooks` and `write_index` are its two halves. A notebook that fails
still gets its page, with FAILED and the reason on top; then the run as a whole fails (`NotebookFailure`). Each file is
written through a temporary one beside it, so a page is never half of one.

Notebooks may carry metadata ``{"eegviz": {"store": ["openmiir", "imagery"]}}``: words that name, best first, a data
set, a condition or a table of the stores that suit them. Without any, or where none suits, they get the first store. A
notebook of two stores names the parameter of each: ``{"store": ["imagery"], "songs": ["demo", "nmed-t"]}``; one other than
``store`` keeps its default where no store suits.
"""

import contextlib
import io
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import forked_kernels, headless, notebook_page, page
from .errors import EegvizError, ParameterError
from .index_page import Result, data_sets, systems_table, write_index
from .notebook_page import not_possible

if TYPE_CHECKING:
    import nbformat

__all__ = ["NotebookFailure", "Result", "not_possible", "report", "run_notebooks", "systems_table", "write_index"]

MAX_PAGE = 10_000_000  # bytes; what a browser on a phone still opens without trouble
THUMBNAIL = (640, 360)  # pixels
INTRO = (
    "Can music be heard in what the brain does? Each page asks one question, shows the pictures and the sounds, and "
    "says what the data can and cannot tell."
)
PACKAGES = ("eegviz", "numpy", "scipy", "torch", "mne", "librosa", "scikit-image")


class NotebookFailure(EegvizError):
    """At least one notebook failed; all pages and the index are written. Has `results` and `index`."""

    def __init__(self, results: Sequence[Result], index: Path) -> None:
        self.results, self.index = list(results), index
        failed = [result for result in results if not result.ok]
        told = "; ".join(f"{r.name}{f' (cell {r.cell})' if r.cell else ''}: {r.message}" for r in failed)
        super().__init__(f"{len(failed)} of {len(results)} notebooks failed. {told}. What there is: {index}")


def report(
    notebooks: Sequence[str | int | Path] | None,
    stores: Sequence[str | Path],
    *,
    out: str | Path,
    runs: str | Path | None = None,
    fast: bool = True,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    jobs: int = 2,
    timeout: float = 1800.0,
    title: str = "Music from EEG",
) -> Path:
    """Run notebooks of the series headless and write their pages and an index.

    Parameters
    ----------
    notebooks : sequence of str, int or Path, or None
        Numbers, names or paths (`headless.find_notebooks`); None or empty is the whole series.
    stores : sequence of path
        At least one store; each notebook takes the one that fits it.
    out : path
        Folder of the pages. Files that a notebook writes go to ``out/files/<notebook>``.
    runs : path, optional
        Folder of runs. Default ``out/runs``.
    fast, seed : bool, int
        Passed to the notebooks that declare them.
    settings : mapping, optional
        Further parameters, for the notebooks that declare them, such as ``{"real": folder}`` for notebook 11.
    jobs : int
        Notebooks at a time.
    timeout : float
        Seconds a notebook may take.
    title : str
        Title of the index.

    Returns
    -------
    Path
        ``out/index.html``.

    Raises
    ------
    NotebookFailure
        A notebook failed; everything is written first.
    ParameterError, DataError
        No such notebook; no store; a setting that none of the notebooks declares.
    """
    if not stores:
        raise ParameterError("a report needs data: name at least one store (eegviz demo makes one)")
    out = Path(out).resolve()
    runs = Path(runs).resolve() if runs is not None else out / "runs"
    paths = headless.find_notebooks(notebooks or (), folder=None)
    opened = _stores(stores)
    settings = {key: _absolute(value) for key, value in (settings or {}).items()}
    parameters, facts, unknown = [], [], set(settings)
    for path in paths:
        notebook = headless.read_notebook(path)
        declared = headless.declared_parameters(notebook)
        places, about = _fitting(opened, notebook)
        own = out / "files" / path.stem
        values = {**places, "runs": str(runs), "out": str(own), "seed": seed, "fast": fast}
        values |= settings
        unknown -= set(declared)
        parameters.append({name: value for name, value in values.items() if name in declared})
        if "out" in declared:
            own.mkdir(parents=True, exist_ok=True)
        taken = {name: _shown(value) for name, value in settings.items() if name in declared}
        facts.append({**about, "settings": taken or None, "seed": seed, "fast": fast, **_origin()})
    if unknown:
        raise ParameterError(
            f"none of the notebooks {', '.join(path.stem for path in paths)} has a parameter {', '.join(sorted(unknown))}. "
            "Look at the cell tagged parameters at the top of a notebook."
        )
    results = run_notebooks(paths, out=out, parameters=parameters, facts=facts, jobs=jobs, timeout=timeout)
    systems, kinds = systems_table(runs), {fact["simulated"] for fact in facts}
    index = write_index(
        results,
        out,
        title=title,
        intro=INTRO,
        systems=systems,
        simulated=kinds.pop() if kinds in ({True}, {False}) else None,
        facts={**facts[0], **_of_all(facts), "runs_in_the_table": data_sets(systems) or None},
    )
    if not all(result.ok for result in results):
        raise NotebookFailure(results, index)
    return index


def run_notebooks(
    notebooks: Sequence[str | Path],
    *,
    out: str | Path,
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    facts: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    jobs: int = 2,
    timeout: float = 1800.0,
) -> list[Result]:
    """Execute notebooks, some at a time, and write each as ``<name>.ipynb`` and ``<name>.html``.

    Parameters
    ----------
    notebooks : sequence of path
    out : path
        Folder of the executed notebooks and pages.
    parameters, facts : mapping, or one mapping a notebook, optional
        Parameters to inject, and what stands in the page's footer (``simulated`` True adds a banner).
    jobs : int
        Kernels at a time. This process only waits for them, so a thread a kernel is enough.
    timeout : float
        Seconds a notebook may take before its kernel is killed.

    Returns
    -------
    list of Result
        In the order of `notebooks`; a failed notebook is a result too.

    Raises
    ------
    ParameterError
        A notebook does not declare a parameter, or is called index; nothing has run then.
    DataError
        A file is not a notebook.
    """
    if jobs < 1:
        raise ParameterError(f"jobs must be at least 1, found {jobs}")
    headless.require("papermill", "ipykernel", "nbconvert", "PIL")
    out = Path(out).resolve()
    paths = [Path(notebook).resolve() for notebook in notebooks]
    each = _one_each(parameters, len(paths), name="parameters")
    each_facts = _one_each(facts, len(paths), name="facts")
    if any(path.stem == "index" for path in paths):
        raise ParameterError("a notebook called index.ipynb has no page: index.html is the report's own; rename it")
    links = []
    for path, values in zip(paths, each, strict=True):
        headless.check_parameters(path, values)
        links.append(
            (page.address(f"{path.stem}.html"), notebook_page.title(headless.read_notebook(path), name=path.stem))
        )
    out.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()

    def one(i: int) -> Result:
        run = headless.execute(paths[i], each[i], timeout=timeout, stop=stop)
        return _write(
            run,
            paths[i],
            out,
            previous=links[i - 1] if i > 0 else None,
            following=links[i + 1] if i + 1 < len(links) else None,
            facts=each_facts[i],
        )

    from tqdm.auto import tqdm

    results: dict[int, Result] = {}
    several = len(paths) > 2  # else what they share costs more than it saves
    forked = forked_kernels.server(headless.KERNEL_ENVIRONMENT) if several else contextlib.nullcontext()
    with forked, ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="notebook") as pool:
        # the last ones compare most runs and take longest: they start first, so that none is left to run alone
        tasks = {pool.submit(one, i): i for i in reversed(range(len(paths)))}
        try:
            with tqdm(total=len(tasks), desc="notebooks", unit="notebook", disable=None) as bar:
                for task in as_completed(tasks):
                    results[tasks[task]] = task.result()
                    bar.update()
        except BaseException:  # Ctrl-C among them: no kernel may outlive the report
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [results[i] for i in range(len(paths))]


def _write(
    run: headless.Execution,
    source: Path,
    out: Path,
    *,
    previous: page.Link | None,
    following: page.Link | None,
    facts: Mapping[str, Any],
) -> Result:
    """Write the executed notebook and its page; what they hold is the result."""
    import nbformat

    stem, notebook = source.stem, run.notebook
    written = headless.write_text(out / f"{stem}.ipynb", nbformat.writes(notebook))
    failure = (run.cell, run.message) if run.message is not None else None
    settings = {"name": stem, "folder": source.parent, "home": ("index.html", "All pages"), "facts": facts}
    settings |= {"previous": previous, "following": following}
    html = notebook_page.render(notebook, failure=failure, **settings)
    size = len(html.encode())
    if size > MAX_PAGE and failure is None:
        failure = (
            None,
            f"the page has {size / 1e6:.1f} MB, more than {MAX_PAGE / 1e6:g}: show fewer sounds or pictures",
        )
        html = notebook_page.render(notebook, failure=failure, **settings)
    place = headless.write_text(out / f"{stem}.html", html)
    reasons = tuple(notebook_page.impossibilities(notebook))
    picture, alt = next(notebook_page.pictures(notebook), (None, ""))
    shows = picture is not None or "<audio" in html
    result = Result(
        name=stem,
        title=notebook_page.title(notebook, name=stem),
        question=notebook_page.question(notebook),
        status="not possible" if reasons and not shows else "ok",
        seconds=run.seconds,
        page=place,
        notebook=written,
        reasons=reasons,
        thumbnail=_thumbnail(picture) if picture else None,
        alt=alt,
    )
    return result if failure is None else replace(result, status="failed", cell=failure[0], message=failure[1])


def _thumbnail(picture: bytes) -> bytes:
    """A small PNG (at most `THUMBNAIL`, doubled for dense screens is not worth the bytes) on white."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.convert("RGBA").getchannel("A"))
    ground.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    small = io.BytesIO()
    ground.quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _absolute(value: Any) -> Any:
    """A path that exists from here as an absolute one, for a notebook that runs elsewhere; anything else as it is."""
    return str(Path(value).resolve()) if isinstance(value, str) and value and Path(value).exists() else value


def _shown(value: Any) -> Any:
    """A setting for the footer: of a path, the last part only."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _one_each(value: Any, count: int, *, name: str) -> list[Mapping[str, Any]]:
    if value is None or isinstance(value, Mapping):
        return [value or {}] * count
    if len(value) != count:
        raise ParameterError(f"{name}: one mapping for all notebooks, or one each ({count}), found {len(value)}")
    return list(value)


def _stores(stores: Sequence[str | Path]) -> list[tuple[Path, dict[str, Any], set[str]]]:
    """Each store's folder, what the footer says of it, and the words that a notebook may ask for."""
    from . import store as opener

    found = []
    for place in stores:
        opened = opener.open(place)
        about = {
            "data_set": opened.manifest.get("title") or opened.manifest["dataset"],
            "simulated": bool(opened.manifest.get("simulated")),
            "data_fingerprint": opened.fingerprint[:12],
        }
        tables = {path.stem for path in Path(place).glob("*.csv")}
        words = {opened.manifest["dataset"], *opened.recordings["condition"].unique(), *tables}
        found.append((Path(place).resolve(), about, words))
    return found


def _fitting(
    stores: list[tuple[Path, dict[str, Any], set[str]]], notebook: "nbformat.NotebookNode"
) -> tuple[dict[str, str], dict[str, Any]]:
    """The stores of a notebook by parameter, and what the footer says of them."""
    wanted = {"store": [], **notebook.metadata.get("eegviz", {})}
    found = {}
    for name, words in wanted.items():
        fits = (one for word in words for one in stores if word in one[2])
        chosen = next(fits, stores[0] if name == "store" else None)
        if chosen is not None:
            found[name] = chosen
    places = {name: str(place) for name, (place, _, _) in found.items()}
    every = [about for _, about, _ in found.values()]
    simulated = {about["simulated"] for about in every}
    return places, {
        **{name: "; ".join(dict.fromkeys(about[name] for about in every)) for name in ("data_set", "data_fingerprint")},
        "simulated": simulated.pop() if len(simulated) == 1 else "some of the data",
    }


def _of_all(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the footer of the index says of the pages' data: of every data set, not of the first page's only."""
    about = {name: list(dict.fromkeys(fact[name] for fact in facts)) for name in ("data_set", "data_fingerprint")}
    kinds = {fact["simulated"] for fact in facts}
    settings = {name: value for fact in facts for name, value in (fact["settings"] or {}).items()}
    return {**about, "simulated": kinds.pop() if len(kinds) == 1 else "some of the pages", "settings": settings or None}


def _origin() -> dict[str, Any]:
    """Versions and commit. (`eegviz.runs.provenance` says more, but loads torch into this waiting process.)"""
    import platform
    from importlib import metadata

    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    root = Path(__file__).resolve().parent.parent
    commit = ""
    if (root / ".git").exists() and shutil.which("git"):
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
        )
        commit = asked.stdout.strip()
    return {"versions": versions, "git_commit": commit or "not a git checkout, or no commit yet"}
