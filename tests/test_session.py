"""A listener's session: one answer at a time on the disk, resumed after a reload or a crash, within its time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eegviz.errors import DataError, ParameterError
from eegviz.listening import _journal, answers, pretend, session

NAMES = (
    "../../etc/passwd", "..", "/abs/olute", "C:\\temp\\x", "a/b", "<script>alert(1)</script>", "=HYPERLINK(\"x\")", "名前", "nul",
    "a" * 64, "%2e%2e%2f", "'; DROP TABLE",
)  # fmt: skip


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 1.7e9

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def design():
    return pretend.paper_design()


@pytest.fixture
def clock():
    return Clock()


def begin(design, folder, clock, name="anna", **options):
    return session.begin(design, folder, participant=name, consent=True, simulated=True, clock=clock, **options)


def files(folder):
    return sorted(Path(folder).glob("*"))


def test_from_start_to_csv(design, tmp_path, clock):
    one = begin(design, tmp_path, clock, version=2)
    shown = []
    while (trial := one.current()) is not None:
        assert [sound.label for sound in trial.sounds] == ["X", "A", "B"]
        assert [sound.name for sound in trial.sounds] == [f"trial-{trial.number:02d}-{label}.ogg" for label in "XAB"]
        assert trial.seconds_left == 60
        assert (trial.number, trial.of) == (len(shown) + 1, 30)
        planned, side = one.at(trial.number)
        clock.now += 7
        said = one.answer(side if trial.number % 3 else "AB"[side == "A"], 6.5, replays={"X": 2, "A": 1})
        if trial.block == "practice":
            assert said.correct is bool(trial.number % 3)
            assert said.feedback == (design.texts.right if said.correct else design.texts.wrong)
        else:  # nothing of the answer is told, and attention checks look like the others
            assert (said.correct, said.feedback, trial.block) == (None, "", "test")
        shown.append(trial.number)
    assert shown == list(range(1, 31))
    assert one.finished
    assert one.closing == design.texts.end
    assert (one.progress.done, one.progress.total, one.progress.block) == (30, 30, "done")
    assert one.progress.seconds_left == 1800 - 30 * 7
    table = one.table()
    assert list(table.columns) == list(answers.COLUMNS)
    assert table["correct"].tolist() == [bool(number % 3) for number in shown]
    assert set(table["seconds"]) == {6.5}
    assert table["replays_X"].tolist() == [2] * 30
    assert (table["version"] == 2).all()
    text = one.csv().splitlines()
    assert len(text) == 31
    assert text[0] == ",".join(answers.COLUMNS)
    (file,) = files(tmp_path)
    assert len(file.read_bytes().splitlines()) == 1 + 2 * 30
    assert answers.read(tmp_path).table.equals(table)


def test_progress_within_blocks(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    assert (one.progress.block, one.progress.block_done, one.progress.block_total) == ("practice", 0, 4)
    for _ in range(5):
        one.current()
        one.answer("A")
    assert (one.progress.block, one.progress.block_done, one.progress.block_total) == ("test", 1, 26)


def test_a_reload_goes_on_where_it_was(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    for _ in range(3):
        one.current()
        one.answer("B")
    fourth = one.current()
    clock.now += 20
    again = session.resume(design, tmp_path, "anna", clock=clock)
    assert again.statement == ""
    trial = again.current()
    assert (trial.number, trial.sounds, trial.seconds_left) == (4, fourth.sounds, 40)  # the minute goes on
    again.answer("A")
    with pytest.raises(ParameterError, match="trial 4 has its answer already; it keeps the first one"):
        one.answer("B")  # the other window
    assert one.current().number == 5
    assert answers.read(tmp_path).table["choice"].tolist() == ["B", "B", "B", "A"]


def test_a_second_answer_is_refused(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    with pytest.raises(ParameterError, match="call current"):
        one.answer("A")
    one.current()
    one.answer("A")
    with pytest.raises(ParameterError, match="trial 1 has its answer already"):
        one.answer("B")
    assert one.table()["choice"].tolist() == ["A"]


@pytest.mark.parametrize(
    ("choice", "options", "message"),
    [
        ("C", {}, "choice 'C': expected 'A', 'B', or None"),
        ("A", {"seconds": -1}, "seconds -1"),
        ("A", {"seconds": float("nan")}, "seconds nan"),
        ("A", {"seconds": "5"}, "seconds '5'"),
        ("A", {"replays": {"Y": 1}}, "replays 'Y'"),
        ("A", {"replays": {"X": 1.5}}, "replays 'X': 1.5"),
        ("A", {"replays": {"X": -1}}, "replays 'X': -1"),
    ],
)
def test_answers_that_cannot_be(design, tmp_path, clock, choice, options, message):
    one = begin(design, tmp_path, clock)
    one.current()
    with pytest.raises(ParameterError, match=message):
        one.answer(choice, **options)
    assert not len(one.table())


# ------------------------------------------------------------------ time


def test_a_trial_that_ran_out_is_no_answer_and_called_so(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    one.current()
    clock.now += 60
    said = one.answer(None)  # the page's own clock
    assert said.timed_out
    assert said.feedback == design.texts.late
    one.current()
    clock.now += 90  # an answer that comes too late is kept as late
    said = one.answer("A", 30.0)
    assert said.timed_out
    one.current()
    assert one.answer("B", 61.0).timed_out
    one.current()
    clock.now += 200  # nobody answers at all; the next look records it
    assert one.current().number == 5
    table = one.table()
    assert table["choice"].isna().all()
    assert table["correct"].isna().all()
    assert table["reason"].tolist() == ["time"] * 4
    assert table["late_choice"].tolist()[1:3] == ["A", "B"]
    assert one.progress.no_answer == 4


def test_the_whole_test_ends_after_half_an_hour_and_counts_the_rest(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    clock.now += 5000  # the time to read before the first trial does not count
    for _ in range(10):
        one.current()
        clock.now += 30
        one.answer("A")
        clock.now += 160  # a pause between trials does
    assert one.closing == ""
    assert one.current() is None
    assert one.finished
    assert one.closing == design.texts.time_over
    table = one.table()
    assert table["reason"].fillna("").tolist() == [""] * 10 + ["end"] * 20
    assert len(table) == 30


def test_time_away_does_not_count(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    one.current()
    clock.now += 10
    one.answer("A")
    clock.now += 86400
    again = session.resume(design, tmp_path, "anna", clock=clock)
    assert again.current().number == 2
    assert again.progress.seconds_left == pytest.approx(1790)


# ------------------------------------------------------------------ crashes

CHILD = """
import sys
from eegviz.listening import pretend, session
one = session.begin(pretend.paper_design(), sys.argv[1], participant="anna", consent=True, simulated=True)
while (trial := one.current()) is not None:
    one.answer("AB"[trial.number % 2], 1.0)
    print(trial.number, flush=True)
"""


def test_kill_9_between_answers_loses_nothing(design, tmp_path):
    """A child says each answer after it is saved; whatever it said before it was killed is on the disk."""
    with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE, text=True) as running:
        said = [int(running.stdout.readline()) for _ in range(11)]
        os.kill(running.pid, signal.SIGKILL)
        said += [int(line) for line in running.stdout.read().split()]
    saved = answers.read(tmp_path).table
    assert saved["number"].tolist()[: len(said)] == said
    assert len(saved) - len(said) <= 1  # saved, and killed before it was said
    one = session.resume(design, tmp_path, "anna")
    assert one.current().number == len(saved) + 1


def test_a_line_torn_at_any_byte_is_mended(design, tmp_path, clock):
    one = begin(design, tmp_path / "whole", clock)
    for _ in range(3):
        one.current()
        one.answer("A")
    (file,) = files(tmp_path / "whole")
    data = file.read_bytes()
    last = data.rstrip(b"\n").rindex(b"\n") + 1
    folder = tmp_path / "torn"
    folder.mkdir()
    torn = folder / file.name
    for cut in [*range(last + 1, len(data) - 1, 37), len(data) - 2]:
        torn.write_bytes(data[:cut])
        assert "the last line is torn; the 2 answers before it are counted" in answers.read(folder).statements[0]
        again = session.resume(design, folder, "anna", clock=clock)
        assert f"torn ({cut - last} bytes" in again.statement
        assert again.table()["number"].tolist() == [1, 2]
        assert again.current().number == 3
        again.answer("B")
        assert torn.read_bytes().startswith(data[:cut])  # nothing is taken away
        assert session.resume(design, folder, "anna", clock=clock).statement == ""
        assert answers.read(folder).table["choice"].tolist() == ["A", "A", "B"]
        assert answers.read(folder).statements == ()
    torn.write_bytes(data[:-1])  # only the line's end is lost: the answer is whole
    again = session.resume(design, folder, "anna", clock=clock)
    assert again.statement == ""
    assert again.current().number == 4
    again.answer("B")
    assert answers.read(folder).table["choice"].tolist() == ["A", "A", "A", "B"]


def test_a_file_that_was_killed_at_its_first_line_begins_again(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    one.close()
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match="ends before its first whole line"):
        session.resume(design, tmp_path, "anna")
    file.write_bytes(file.read_bytes()[:40])
    assert begin(design, tmp_path, clock).current().number == 1


def test_a_damaged_line_in_the_middle_is_said_and_nothing_is_dropped(design, tmp_path, clock):
    one = begin(design, tmp_path, clock)
    one.current()
    one.answer("A")
    (file,) = files(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = b"\x00\xff garbage\n"
    file.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match="line 2: expected a record"):
        answers.read(tmp_path)
    with pytest.raises(DataError, match="line 2: expected a record"):
        session.resume(design, tmp_path, "anna")


def test_every_record_is_synced_before_the_call_returns(design, tmp_path, clock, monkeypatch):
    synced, honest = [], os.fsync
    monkeypatch.setattr(_journal.os, "fsync", lambda handle: (synced.append(handle), honest(handle)))
    one = begin(design, tmp_path, clock)
    one.current()
    before = len(synced)
    one.answer("A")
    assert len(synced) == before + 1


# ------------------------------------------------------------------ participants


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_never_become_paths(design, tmp_path, clock, name):
    inside = tmp_path / "deep" / "answers"
    one = begin(design, inside, clock, name)
    one.current()
    one.answer("A")
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.parent == inside
    assert set(file.stem) <= set("0123456789abcdef")
    assert session.resume(design, inside, name, clock=clock).participant == name
    assert answers.read(inside).participants["participant"].tolist() == [name]
    first = one.csv().splitlines()[1]
    assert not first.startswith(("=", '"=', "@", "+", "-"))
    session.delete(inside, name)
    assert not list(inside.iterdir())


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "a\nb", "a\x00b", "\u202eabc", 7])
def test_ids_that_cannot_be(design, tmp_path, clock, name):
    with pytest.raises(ParameterError, match="expected an id of 1 to 64 printable characters"):
        begin(design, tmp_path, clock, name)


def test_no_consent_nothing_stored(design, tmp_path):
    for consent in (False, None, "yes"):
        with pytest.raises(ParameterError, match="has not agreed to take part, so nothing is stored"):
            session.begin(design, tmp_path, consent=consent, simulated=True)
    assert not files(tmp_path)


def test_people_need_sounds(design, tmp_path):
    with pytest.raises(ParameterError, match="the design has no sounds yet"):
        session.begin(design, tmp_path, consent=True)


def test_several_participants_are_dealt_to_the_versions(design, tmp_path, clock):
    made = [session.begin(design, tmp_path, consent=True, simulated=True, clock=clock) for _ in range(6)]
    assert [one.version for one in made] == [1, 2, 1, 2, 1, 2]
    assert len({one.participant for one in made}) == 6
    assert len(files(tmp_path)) == 6
    read = answers.read(tmp_path).participants
    assert sorted(read["version"]) == [1, 1, 1, 2, 2, 2]
    assert not read["finished"].any()
    with pytest.raises(ParameterError, match="has begun this test already"):
        begin(design, tmp_path, clock, made[0].participant)


def test_only_the_id_is_personal(design, tmp_path, clock):
    begin(design, tmp_path, clock).current()
    (file,) = files(tmp_path)
    head, shown = (json.loads(line) for line in file.read_text().splitlines())
    assert set(head) == {
        "kind", "format", "participant", "version", "design", "task", "n_main", "total", "consent", "simulated", "time", "elapsed",
        "run", "split", "label", "can_separate",
    }  # fmt: skip
    assert set(shown) == {"kind", "number", "at", "time", "elapsed"}
    assert file.stat().st_mode & 0o077 == 0  # for its owner only


def test_folders_and_ids_that_are_not_there(design, tmp_path, clock):
    with pytest.raises(DataError, match="has not begun this test"):
        session.resume(design, tmp_path, "anna")
    with pytest.raises(DataError, match="nothing is stored of participant 'anna'"):
        session.delete(tmp_path, "anna")
    with pytest.raises(DataError, match="holds no answers"):
        answers.read(tmp_path / "nothing")
    begin(design, tmp_path, clock)
    other = pretend.paper_design(seed=5)
    with pytest.raises(DataError, match="has begun another test"):
        session.resume(other, tmp_path, "anna")
    begin(other, tmp_path, clock, "bert")
    with pytest.raises(DataError, match="expected answers to one test, found 2"):
        answers.read(tmp_path)


def test_an_answer_takes_little_time(design, tmp_path):
    one = session.begin(design, tmp_path, consent=True, simulated=True)
    began = time.process_time()
    while one.current() is not None:
        one.answer("A", 1.0)
    assert time.process_time() - began < 1.0  # 30 trials, 61 records
