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

COLUMNS = ("Model", "EEG → audio", "Split", "Score", "95 % interval", "Chance", "p", "n", "Verdict")
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
    simulated: bool = False,
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
        n, verdict. A value that is missing or None prints as n/a.
    simulated : bool
        Say so on top.
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
    if simulated:
        top += page.banner(
            "Simulated data.",
            "No brain was recorded for the numbers on these pages, except under a heading that says real EEG.",
            kind="simulated",
        )
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
                **{key: primary[key] for key in ("metric", "score", "low", "high", "chance", "p", "n")},
            }
        )
    return rows


def _card(result: Result, out: Path) -> str:
    address = escape(result.page.resolve().relative_to(out.resolve()).as_posix())
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


def _systems(systems: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(
        f'<th scope="col"{" class=number" if column in ("Score", "Chance", "p", "n") else ""}>{column}</th>'
        for column in COLUMNS
    )
    rows = "".join(_system(row) for row in systems)
    caption = (
        "All systems and splits. Score: the run's primary metric, with its 95 % interval; chance: the same metric for "
        "an answer without information; p: permutation test of the score; n: test windows."
    )
    return (
        '<h2 id="systems">Systems and splits</h2>\n'
        '<div class="scroll" role="region" tabindex="0" aria-labelledby="systems"><table class="systems">'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )


def _system(row: Mapping[str, Any]) -> str:
    low, high = row.get("low"), row.get("high")
    interval = f"{_number(low)} to {_number(high)}" if low is not None and high is not None else "n/a"
    verdict = row.get("verdict") or "n/a"
    kind = next((kind for start, kind in VERDICTS.items() if str(verdict).lower().startswith(start)), "none")
    return (
        f'<tr><th scope="row">{escape(row.get("model", "n/a"))}{_under(row.get("recipe"))}{_under(row.get("run"))}</th>'
        f"<td>{escape(row.get('eeg', 'n/a'))} → {escape(row.get('audio', 'n/a'))}</td>"
        f"<td>{escape(row.get('split', 'n/a'))}{_under(row.get('label'))}</td>"
        f'<td class="number">{_number(row.get("score"))}{_under(row.get("metric"))}</td><td>{interval}</td>'
        f'<td class="number">{_number(row.get("chance"))}</td><td class="number">{_p(row.get("p"))}</td>'
        f'<td class="number">{escape(row.get("n", "n/a"))}</td>'
        f'<td class="verdict"><span class="pill {kind}">{escape(verdict)}</span></td></tr>\n'
    )


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
