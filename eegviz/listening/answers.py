"""Answers to a listening test: those of one session or of a folder of participants, as a table and as CSV.

Functions: `read` (a folder), `collect` (records in memory), `table_of`, `to_csv`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eegviz.errors import DataError
from eegviz.listening import _journal

LABELS = ("X", "A", "B")
COLUMNS = (
    "participant", "version", "number", "trial", "block", "time", "choice", "right_side", "correct", "reason", "seconds",
    *(f"replays_{label}" for label in LABELS), "song", "eeg_listener", "recording", "start", "position", "foil_kind", "foil_song",
    "foil_listener", "foil_start", "late_choice", "simulated",
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """The answers of all participants of a folder.

    Attributes
    ----------
    table : pd.DataFrame
        A row an answer (or no answer), in the columns of `COLUMNS`.
    participants : pd.DataFrame
        A row a participant: participant, version, begun, answered (trials with a record), total, n_main, finished, simulated.
    about : dict
        Task, run, split and its label, of the first participant.
    statements : tuple of str
        Files that were torn or held nothing.
    """

    table: pd.DataFrame
    participants: pd.DataFrame
    about: dict
    statements: tuple[str, ...] = ()

    @property
    def simulated(self):
        """True when any participant is a pretend listener."""
        return bool(self.participants["simulated"].any())


def read(folder) -> Answers:
    """Read the answers of all participants; nothing is changed.

    Raises
    ------
    DataError
        The folder holds no answers, those of several tests, or a damaged file.
    """
    folder = Path(folder)
    lists, statements = [], []
    for file in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
        records, torn = _journal.parse(file.read_bytes(), file)
        if torn:
            statements.append(
                f"{file.name}: the last line is torn; the {_n_answers(records)} answers before it are counted"
            )
        if records and records[0]["kind"] == "begin":
            lists.append(records)
        else:
            statements.append(f"{file.name}: no whole line, left out")
    if not lists:
        raise DataError(f"{folder} holds no answers: expected a .jsonl file a participant. Has anybody taken the test?")
    return collect(lists, statements=statements, where=folder)


def collect(lists, *, statements=(), where="the answers") -> Answers:
    """Bring the records of several sessions together, each a list that begins with its ``begin`` record."""
    heads = [records[0] for records in lists]
    if len({head["design"] for head in heads}) > 1:
        raise DataError(
            f"{where}: expected answers to one test, found {len({head['design'] for head in heads})}. Give each test a folder of its own."
        )
    people = []
    for records, head in zip(lists, heads, strict=True):
        n = _n_answers(records)
        people.append(
            {
                "participant": head["participant"], "version": head["version"], "begun": head["time"], "answered": n,
                "total": head["total"], "n_main": head["n_main"], "finished": n >= head["total"], "simulated": head["simulated"],
            }
        )  # fmt: skip
    about = {key: heads[0].get(key) for key in ("task", "run", "split", "label", "can_separate", "design")}
    return Answers(table_of(lists), pd.DataFrame(people), about, tuple(statements))


def to_csv(table) -> str:
    """A table of answers as CSV text; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    safe = table.copy()
    for name in safe.columns[
        [pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind) for kind in safe.dtypes]
    ]:
        safe[name] = [f"'{v}" if isinstance(v, str) and v[:1] in tuple("=+-@\t\r") and v else v for v in safe[name]]
    stream = io.StringIO()
    safe.to_csv(stream, index=False)
    return stream.getvalue()


def table_of(lists):
    """The answers of lists of records as a table in the columns of `COLUMNS`; the first answer to a trial counts."""
    rows = []
    for records in lists:
        head, seen = records[0], set()
        for one in records:
            if one["kind"] != "answer" or one["number"] in seen:
                continue
            seen.add(one["number"])
            replays = one.get("replays") or {}
            rows.append(
                {**one, "participant": head["participant"], "version": head["version"], "simulated": head["simulated"]}
                | {f"replays_{label}": replays.get(label) for label in LABELS}
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _n_answers(records):
    return len({one["number"] for one in records if one["kind"] == "answer"})
