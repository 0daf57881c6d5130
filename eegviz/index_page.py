"""The index of a report: a card a notebook, and one table of every system on every split.

Functions: `write_index`, `systems_table`; `Result` is what a card needs to know.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import headless, page
from .page import escape

COLUMNS = (
    "Model",
    "Verdict",
    "Data set",
    "Split",
    "Score",
    "Chance",
    "p",
    "n",
)  # the verdict is seen without scrolling
NUMBERS = ("Score", "Chance", "p", "n")
VERDICTS = {"the eeg contributed": "ok", "no evidence": "none", "this split cannot tell": "cannot"}


@dataclass(frozen=True)
class Result:
    """One notebook after its run.

    `status` is ``"ok"``, ``"failed"`` (with `message`, and `cell` where it has one), or ``"not possible"``: it ran, and
    all it could show is why the data do not support it. `reasons` holds every such reason, of single sections too.
    """

    name: str
    title: str
    question: str
    status: str
    seconds: float
    page: Path
    notebook: Path
    message: str | None = None
    cell: int | None = None
    reasons: tuple[str, ...] = ()
    thumbnail: bytes | None = None
    alt: str = ""

    @property
    def ok(self) -> bool:
        """False when the notebook failed."""
        return self.status != "failed"


def write_index(
    results: Sequence[Result],
    out: str | Path,
    *,
    title: str,
    intro: str,
    systems: Sequence[Mapping[str, Any]] | None = None,
    simulated: bool | None = False,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``index.html``: a card a notebook, and the table of systems × splits.

    Parameters
    ----------
    results : sequence of Result
    out : path
        Folder of the pages; links are relative to it.
    title, intro : str
    systems : sequence of mapping, optional
        One a run: run, model, eeg, audio, split, label (the split's), metric, score, low, high (interval), chance, p,
        n, verdict, data_set, fingerprint (of the data), simulated (bool). A value that is missing or None prints as n/a.
        Runs of more than one data set get a column that names it and says which are simulated.
    simulated : bool or None
        Whether the pages' data are: all (True), none (False) or some (None). Said on top, with what holds for the
        rows of the table.
    facts : mapping, optional
        For the footer.

    Returns
    -------
    Path
    """
    out = Path(out)
    failed = [result for result in results if not result.ok]
    top = ""
    if failed:
        names = ", ".join(result.title for result in failed)
        top += page.banner("FAILED", f"{len(failed)} of {len(results)} notebooks: {names}", kind="failed")
    top += _simulation(simulated, systems or ())
    cards = "".join(_card(result, out) for result in results)
    parts = [
        f'{top}<h1>{escape(title)}</h1>\n<p class="intro">{escape(intro)}</p>\n',
        f'<h2 class="hidden">Pages</h2>\n<ul class="cards">\n{cards}</ul>\n' if results else "",
        _systems(systems) if systems else "",
    ]
    return headless.write_text(
        out / "index.html",
        page.shell("".join(parts), title=title, description=intro, facts=facts, wide=True),
    )


def systems_table(folder: str | Path) -> list[dict[str, Any]]:
    """One row for `write_index` for every scored run in `folder`; [] when there is no such folder.

    The score is the run's primary metric; the verdict is the one that the evaluation wrote down, and is not made again.
    """
    folder = Path(folder)
    if not any(folder.glob("*/metrics.json")):
        return []
    from . import runs

    rows = []
    for run in runs.listing(folder):
        if not (run.path / "metrics.json").exists():
            continue
        split, primary = run.metrics["split"], run.metrics["metrics"][0]
        rows.append(
            {
                "run": run.path.name,
                "model": run.config["model"]["name"],
                "recipe": run.recipe,
                "eeg": run.config["features"]["eeg"],
                "audio": run.config["features"]["audio"],
                "split": split["spec"],
                "label": split["label"],
                "verdict": run.metrics["verdict"],
                "data_set": run.config["data"]["dataset"],
                "fingerprint": run.config["data"]["fingerprint"],
                "simulated": run.metrics.get("simulated"),
                **{key: primary[key] for key in ("metric", "score", "low", "high", "chance", "p", "n")},
            }
        )
    return sorted(rows, key=lambda row: (row["data_set"], row["fingerprint"]))  # else in the order of `runs.listing`


def _card(result: Result, out: Path) -> str:
    address = escape(page.address(result.page.resolve().relative_to(out.resolve()).as_posix()))
    if result.thumbnail:
        data = base64.b64encode(result.thumbnail).decode()
        picture = f'<div class="picture"><img src="data:image/png;base64,{data}" alt="{escape(result.alt)}"></div>'
    else:
        picture = '<div class="picture none">no picture</div>'
    kind, label = {
        "ok": ("ok", "ran"),
        "failed": ("failed", "FAILED"),
        "not possible": ("impossible", "NOT POSSIBLE"),
    }[result.status]
    told = ""
    if result.message:
        where = f"cell {result.cell}: " if result.cell else ""
        told = f'<p class="reason">{escape(where)}{escape(result.message)}</p>'
    elif result.reasons:
        start = "Not possible" if result.status == "not possible" else "A section is not possible"
        told = "".join(
            f'<p class="reason">{start} on this data because {escape(reason)}</p>' for reason in result.reasons
        )
    state = f'<span class="pill {kind}">{label}</span> <span>{_duration(result.seconds)}</span>'
    return (
        f'<li class="card">{picture}<div class="text"><h3><a href="{address}">{escape(result.title)}</a></h3>'
        f'<p class="question">{escape(_bare_question(result.question))}</p>{told}'
        f'<p class="state">{state}</p></div></li>\n'
    )


def data_sets(systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """The data sets of the rows, each with "simulated" or "recorded", in the order in which they come."""
    return list(dict.fromkeys(f"{row['data_set']} ({_origin(row)})" for row in systems if row.get("data_set")))


def _origin(row: Mapping[str, Any]) -> str:
    return {True: "simulated", False: "recorded"}.get(row.get("simulated"), "not said whether simulated")


def _simulation(pages: bool | None, systems: Sequence[Mapping[str, Any]]) -> str:
    """The banner that says of what on the index and its pages no brain was recorded; empty when of nothing."""
    rows = {row["simulated"] for row in systems if row.get("simulated") is not None}
    if pages is False and True not in rows:
        return ""
    if pages is True and False not in rows:
        text = "No brain was recorded for the numbers on these pages, except under a heading that says real EEG."
        return page.banner("Simulated data.", text, kind="simulated")
    told = {
        True: "No brain was recorded for the pages, except under a heading that says real EEG.",
        False: "The pages are of recorded EEG.",
        None: "Some pages are of simulated data, for which no brain was recorded; they say so on top.",
    }[pages]
    if rows == {True, False}:
        told += " Each row of the table says whether its EEG is recorded or simulated."
    elif rows:
        told += f" All rows of the table are of {'simulated' if True in rows else 'recorded'} EEG."
    return page.banner("Partly simulated data.", told, kind="simulated")


def _systems(systems: Sequence[Mapping[str, Any]]) -> str:
    mixed = len({(row.get("data_set"), row.get("fingerprint"), row.get("simulated")) for row in systems}) > 1
    columns = [column for column in COLUMNS if mixed or column != "Data set"]
    head = "".join(
        f'<th role="columnheader" scope="col"{" class=number" if column in NUMBERS else ""}>{column}</th>'
        for column in columns
    )
    rows = "".join(_system(row, columns) for row in systems)
    caption = (
        "Score: the run's primary metric, with its 95 % interval. Chance: the same metric for an answer without "
        "information. p: permutation test of the score, which takes these listeners as they are; the interval asks "
        "about other listeners too. n: test windows."
    )
    # the roles say again what the elements are, because the narrow layout (blocks, not a grid) would hide it
    return (
        f'<h2 id="systems">Systems and splits</h2>\n<p class="about" id="about-systems">{caption}</p>\n'
        '<div class="scroll" role="region" tabindex="0" aria-labelledby="systems">'
        '<table class="systems" role="table" aria-labelledby="systems" aria-describedby="about-systems">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n<tbody role="rowgroup">\n{rows}</tbody></table></div>\n'
    )


def _system(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    low, high = row.get("low"), row.get("high")
    interval = f"{_number(low)} to {_number(high)}" if low is not None and high is not None else "n/a"
    verdict = row.get("verdict") or "n/a"
    kind = next((kind for start, kind in VERDICTS.items() if str(verdict).lower().startswith(start)), "none")
    pictures = f"{row.get('eeg', 'n/a')} → {row.get('audio', 'n/a')}"
    fingerprint = str(row.get("fingerprint") or "")[:8]
    cells = {
        "Model": f"{escape(row.get('model', 'n/a'))}{_under(pictures)}{_under(row.get('recipe'))}{_under(row.get('run'))}",
        "Verdict": f'<span class="pill {kind}">{escape(verdict)}</span>',
        "Data set": f"{escape(row.get('data_set', 'n/a'))}{_under(_origin(row))}{_under(fingerprint)}",
        "Split": f"{escape(row.get('split', 'n/a'))}{_under(row.get('label'))}",
        "Score": f"{_number(row.get('score'))}{_under(interval)}{_under(row.get('metric'))}",
        "Chance": _number(row.get("chance")),
        "p": _p(row.get("p")),
        "n": escape(row.get("n", "n/a")),
    }
    return f'<tr role="row">{"".join(_cell(column, cells[column]) for column in columns)}</tr>\n'


def _cell(column: str, html: str) -> str:
    if column == "Model":
        return f'<th role="rowheader" scope="row">{html}</th>'
    kind = {"Verdict": ' class="verdict"'} | dict.fromkeys(NUMBERS, ' class="number"')
    return f'<td role="cell"{kind.get(column, "")} data-column="{column}"><div>{html}</div></td>'


def _under(text: Any) -> str:
    return f' <span class="under">{escape(text)}</span>' if text else ""


def _number(value: float | None) -> str:
    return "n/a" if value is None or value != value else f"{value:.3f}"


def _p(value: float | None) -> str:
    return "n/a" if value is None else "&lt;.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _duration(seconds: float) -> str:
    """``41.2`` → ``41 s``; ``125`` → ``2 min 5 s``."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _bare_question(text: str) -> str:
    return text.removeprefix("Question.").removeprefix("Question:").strip()
