"""One person takes a listening test: trials one after another, each answer saved before the next is shown.

A session knows nothing of screens. Whoever shows it needs this much::

    one = session.begin(design, folder, consent=True)   # or session.resume(design, folder, participant) after a reload
    while (trial := one.current()) is not None:
        for sound in trial.sounds: ...                  # .label "X", "A", "B" in this order; .name neutral; .ogg bytes
        said = one.answer("A", 12.5, replays={"X": 2})  # or answer(None) when the time ran out
        ...                                             # said.feedback: text after practice, else ""
    one.progress                                        # .done, .total, .block, .seconds_left
    one.closing                                         # the text after the last trial
    one.csv()                                           # all answers, with the right ones: offer it after the end

Rules
-----
* An answer is one line of JSON in ``folder/<hash>.jsonl``, written and flushed to the disk before `answer` returns; a
  killed program loses nothing (see `eegviz.listening._journal`).
* A trial takes one answer. `answer` goes to the trial that this object's `current` gave last, and refuses a second one.
* A trial's minute begins when it is first shown and goes on over a reload. Time that ran out is recorded as no answer
  (``reason`` "time"), which counts as not right. `GRACE_S` is left for the network.
* The test's 30 minutes begin with the first trial. Time away, between the last record and a `resume`, does not count. When
  they are over, the trial that is shown may still be answered within its minute; every later one is recorded as no answer (``reason`` "end").
* A participant is an id, chosen or random. It never becomes a path: the file is named by its hash. Nothing else that is
  personal is stored.

Functions: `begin`, `resume`, `delete`; `eegviz.listening.answers` reads what was saved.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from eegviz.errors import DataError, ParameterError
from eegviz.listening import _journal, answers
from eegviz.listening.abx import MAIN, PRACTICE, Design
from eegviz.listening.answers import LABELS

GRACE_S = 3.0  # for the way of an answer from the listener to here
MOST_PLAYS = 9_999  # of a sound in one trial
MAX_ID = 64  # characters of a participant's id
REASONS = {"time": "the trial's time ran out", "end": "the test's time was over"}


@dataclass(frozen=True)
class Sound:
    """One of a trial's three sounds: label "X", "A" or "B", a file name without meaning, OGG bytes."""

    label: str
    name: str
    ogg: bytes = field(repr=False)


@dataclass(frozen=True)
class Trial:
    """What a listener is shown; it does not hold the answer.

    Attributes
    ----------
    number, of : int
        Place in the session, from 1, and the number of all trials.
    block : {"practice", "test"}
        Attention checks look like any other trial.
    question : str
    sounds : tuple of Sound
        X, A and B, in the order in which they are offered.
    seconds_left : float
        Of this trial, when it was handed out.
    """

    number: int
    of: int
    block: str
    question: str
    sounds: tuple[Sound, ...]
    seconds_left: float


@dataclass(frozen=True)
class Outcome:
    """What became of an answer: `feedback` is a text after practice and late answers, else ''; `correct` is told in practice only."""

    number: int
    feedback: str
    correct: bool | None
    timed_out: bool


@dataclass(frozen=True)
class Progress:
    """How far a session is.

    Attributes
    ----------
    done, total : int
        Trials with a record, and all.
    block : {"practice", "test", "done"}
        Of the next trial.
    block_done, block_total : int
        Within that block.
    seconds_left : float
        Of the whole test.
    no_answer : int
        Trials whose time ran out.
    """

    done: int
    total: int
    block: str
    block_done: int
    block_total: int
    seconds_left: float
    no_answer: int


def begin(
    design: Design, folder=None, *, participant=None, version=None, consent=False, simulated=False, clock=time.time
) -> Session:
    """Begin a session; it fails when the participant has one already.

    Parameters
    ----------
    design : Design
    folder : path, optional
        Where answers are kept, a file a participant; made when needed. None: in memory only, for pretend listeners.
    participant : str, optional
        An id; default a random one.
    version : int, optional
        Default the one with the fewest participants so far.
    consent : bool
        True when the listener has agreed to `Texts.consent`; nothing is stored otherwise.
    simulated : bool
        A pretend listener; every table and sentence then says so.
    clock : callable
        Seconds since 1970.

    Raises
    ------
    ParameterError
        No consent, no sounds, an id that cannot be, or one that is taken.
    """
    if consent is not True:
        raise ParameterError(
            "the listener has not agreed to take part, so nothing is stored. Show the design's texts.consent and call "
            "begin(…, consent=True) after a yes."
        )
    if not design.sounds and not simulated:
        raise ParameterError("the design has no sounds yet: make them with abx.make_sounds, or open a saved test.")
    participant = f"p-{secrets.token_urlsafe(9)}" if participant is None else _check_id(participant)
    if folder is None:
        journal = _journal.Memory()
    else:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        version = version or _least_used(design, folder)
    number = version or 1
    play = design.playlist(number, participant)
    if folder is not None:
        file = _file(folder, participant)
        if file.exists() and not _journal.parse(file.read_bytes(), file)[0]:
            file.unlink()  # killed before its first whole line: it holds no consent and no answer
        try:
            journal = _journal.Journal(file, create=True)
        except FileExistsError:
            raise ParameterError(
                f"participant {participant!r} has begun this test already. Resume it with resume(…), or choose another id."
            ) from None
    journal.append(
        {
            "kind": "begin", "format": 1, "participant": participant, "version": number, "design": design.fingerprint,
            "task": design.task, "n_main": design.count(MAIN), "total": len(play), "consent": True, "simulated": bool(simulated),
            "time": _iso(clock()), "elapsed": 0.0, "run": design.about.get("run"), "split": design.about.get("split"),
            "label": design.about.get("label"), "can_separate": design.about.get("can_separate"),
        }
    )  # fmt: skip
    return Session(design, journal, clock=clock, play=play)


def resume(design: Design, folder, participant, *, clock=time.time) -> Session:
    """Go on with a session after a reload or a crash.

    `Session.statement` says when a torn last line was found; the answers before it are all there.

    Raises
    ------
    DataError
        There is no session of this id, or it is of another design.
    """
    file = _file(Path(folder), _check_id(participant))
    if not file.is_file():
        raise DataError(
            f"participant {participant!r} has not begun this test: no answers of that id in {folder}. Check the id."
        )
    journal = _journal.Journal(file)
    statement = journal.load()
    if not journal.records or journal.records[0]["kind"] != "begin":
        raise DataError(
            f"{file.name} ends before its first whole line, so it holds no answer. Begin again (participant {participant!r})."
        )
    if journal.records[0]["design"] != design.fingerprint:
        raise DataError(
            f"participant {participant!r} has begun another test in {folder}, with other trials. Give each test a folder of its own."
        )
    return Session(design, journal, clock=clock, statement=statement)


def delete(folder, participant):
    """Delete all that is stored of a participant, who may ask for it.

    Raises
    ------
    DataError
        Nothing is stored under this id.
    """
    file = _file(Path(folder), _check_id(participant))
    if not file.is_file():
        raise DataError(f"nothing is stored of participant {participant!r} in {folder}. Check the id.")
    file.unlink()


class Session:
    """A session of one participant; made by `begin` and `resume`. See the module for how it is used.

    Attributes
    ----------
    design : Design
    participant : str
    version : int
    statement : str
        What a resume had to mend, in a sentence; else ''.
    """

    def __init__(self, design, journal, *, clock, statement="", play=None):
        self.design, self._journal, self._clock = design, journal, clock
        head = journal.records[0]
        self.participant, self.version, self.statement = head["participant"], head["version"], statement
        self._play = play or design.playlist(self.version, self.participant)
        self._base, self._since = journal.records[-1].get("elapsed", self._last("elapsed")), clock()
        self._answered, self._begun, self._known = {}, {}, 0  # by number
        self._learn()
        self._shown = None  # number of the trial that this object handed out last

    def current(self) -> Trial | None:
        """The trial that waits for an answer, or None after the last one. Trials whose time ran out are recorded first."""
        self._catch_up()
        while (number := self._next()) is not None:
            begun = self._begun.get(number)
            if begun is None and self._elapsed() > self.design.total_s:
                self._record(number, None, reason="end", seconds=0.0)
            elif begun is not None and self._clock() - begun > self.design.trial_s + GRACE_S:
                self._record(number, None, reason="time", seconds=self.design.trial_s)
            else:
                return self._hand_out(number, begun)
        return None

    def answer(self, choice, seconds=None, *, replays=None) -> Outcome:
        """Save the answer to the trial that `current` gave last.

        Parameters
        ----------
        choice : {"A", "B", None}
            None: the time ran out.
        seconds : float, optional
            From the moment the trial was shown, as the listener's side measured; default as measured here.
        replays : dict of str to int, optional
            How often each of X, A and B was played.

        Returns
        -------
        Outcome

        Raises
        ------
        ParameterError
            A second answer to a trial, an answer before `current`, or one that is neither A nor B.
        """
        if choice not in ("A", "B", None):
            raise ParameterError(f"choice {choice!r}: expected 'A', 'B', or None when the time ran out.")
        replays = _check_replays(replays)
        self._catch_up()
        number = self._shown
        if number is None:
            raise ParameterError("there is no trial to answer yet: call current() first.")
        if number in self._answered:
            raise ParameterError(
                f"trial {number} has its answer already; it keeps the first one. Call current() for the next."
            )
        here = max(0.0, self._clock() - self._begun.get(number))
        seconds = here if seconds is None else _check_seconds(seconds)
        limit = self.design.trial_s
        late = choice is None or seconds > limit or here > limit + GRACE_S
        return self._record(
            number, None if late else choice, reason="time" if late else None, seconds=min(seconds, limit) if late else seconds,
            replays=replays, late_choice=choice if late else None,
        )  # fmt: skip

    @property
    def progress(self) -> Progress:
        """How far the session is."""
        records = self._answered
        number = self._next()
        block = "done" if number is None else _shown_block(self._play[number - 1][0].block)
        within = [i for i, (one, _) in enumerate(self._play, 1) if _shown_block(one.block) == block]
        left = max(0.0, self.design.total_s - self._elapsed())
        return Progress(
            len(records), len(self._play), block, sum(i in records for i in within), len(within), left,
            sum(one["choice"] is None for one in records.values()),
        )  # fmt: skip

    @property
    def finished(self):
        """True when every trial has its record."""
        return self._next() is None

    @property
    def closing(self):
        """The text after the last trial, '' before: `Texts.end`, or `Texts.time_over` when the test's time was over."""
        if not self.finished:
            return ""
        over = any(one["reason"] == "end" for one in self._answered.values())
        return self.design.texts.time_over if over else self.design.texts.end

    def table(self):
        """The answers so far, a row each, in the columns of `eegviz.listening.answers.COLUMNS`."""
        return answers.table_of([self._journal.records])

    def csv(self) -> str:
        """The answers so far as CSV text, safe to open in a spreadsheet. It tells the right answers: offer it after the end."""
        return answers.to_csv(self.table())

    @property
    def records(self):
        """All records, as they are on the disk: for programs, not for participants."""
        return self._journal.records

    def at(self, number):
        """The planned trial with its answer, and the side of the right one: for programs, not for participants."""
        return self._play[number - 1]

    def close(self):
        """Close the file; the session can be resumed."""
        self._journal.close()

    def _catch_up(self):
        if self._journal.changed():  # another window of the same participant
            self.statement = self._journal.load() or self.statement
            self._answered, self._begun, self._known = {}, {}, 0
            self._learn()

    def _learn(self):
        """Take in the records that are new: the first answer to each trial, and when each was first shown."""
        for one in self._journal.records[self._known :]:
            if one["kind"] == "answer":
                self._answered.setdefault(one["number"], one)
            elif one["kind"] == "shown":
                self._begun.setdefault(one["number"], one["at"])
        self._known = len(self._journal.records)

    def _next(self):
        """Number of the first trial without a record, or None; they are answered in order."""
        return len(self._answered) + 1 if len(self._answered) < len(self._play) else None

    def _elapsed(self):
        if not self._begun:
            return 0.0
        return self._base + max(0.0, self._clock() - self._since)

    def _last(self, key):
        return next(one[key] for one in reversed(self._journal.records) if key in one)

    def _hand_out(self, number, begun):
        if begun is None:
            begun = self._clock()
            if number == 1:
                self._base, self._since = 0.0, begun
            self._journal.append(
                {
                    "kind": "shown",
                    "number": number,
                    "at": begun,
                    "time": _iso(begun),
                    "elapsed": round(self._elapsed(), 3),
                }
            )
            self._learn()
        planned, side = self._play[number - 1]
        x, right, wrong = planned.keys(self.design.task)
        keys = (x, right, wrong) if side == "A" else (x, wrong, right)
        sounds = tuple(
            Sound(label, f"trial-{number:02d}-{label}.ogg", self.design.sound(key))
            for label, key in zip(LABELS, keys, strict=True)
        )
        self._shown = number
        return Trial(
            number, len(self._play), _shown_block(planned.block), self.design.texts.question, sounds,
            max(0.0, self.design.trial_s - (self._clock() - begun)),
        )  # fmt: skip

    def _record(self, number, choice, *, reason, seconds, replays=None, late_choice=None):
        planned, side = self._play[number - 1]
        correct = None if choice is None else choice == side
        now = self._clock()
        self._journal.append(
            {
                "kind": "answer", "number": number, "choice": choice, "correct": correct, "right_side": side, "reason": reason,
                "seconds": round(seconds, 3), "replays": replays, "late_choice": late_choice, "time": _iso(now),
                "elapsed": round(self._elapsed(), 3), **planned.facts,
            }
        )  # fmt: skip
        self._learn()
        words = self.design.texts
        practice = planned.block == PRACTICE
        feedback = words.late if reason else (words.right if correct else words.wrong) if practice else ""
        return Outcome(number, feedback, correct if practice else None, reason == "time")


def _least_used(design, folder):
    counts = dict.fromkeys(range(1, design.n_versions + 1), 0)
    for file in folder.glob("*.jsonl"):
        with contextlib.suppress(DataError):  # a damaged file is told by `read`; here it only does not count
            records, _ = _journal.parse(file.read_bytes(), file)
            if records and records[0].get("version") in counts:
                counts[records[0]["version"]] += 1
    return min(counts, key=counts.get)


def _shown_block(block):
    return PRACTICE if block == PRACTICE else "test"


def _file(folder, participant):
    return folder / f"{hashlib.sha256(participant.encode()).hexdigest()[:24]}.jsonl"


def _check_id(participant):
    text = participant.strip() if isinstance(participant, str) else ""
    if not text or len(text) > MAX_ID or not text.isprintable():
        raise ParameterError(
            f"participant {str(participant)[:80]!r}: expected an id of 1 to {MAX_ID} printable characters, such as P07 or a word."
        )
    return text


def _check_seconds(seconds):
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise ParameterError(f"seconds {seconds!r}: expected the response time, a finite number of 0 or more.")
    return float(seconds)


def _check_replays(replays):
    for label, n in (replays or {}).items():
        if label not in LABELS or not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= MOST_PLAYS:
            raise ParameterError(f"replays {label!r}: {n!r}: expected counts of 0 or more for {', '.join(LABELS)}.")
    return dict(replays) if replays else None


def _iso(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
