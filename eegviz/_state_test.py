"""What the section *Listening test* does: a person agrees, hears trials, answers; a reload goes on where it was."""

from __future__ import annotations

from pathlib import Path

import param

from eegviz._state_listen import first_choice, playable
from eegviz.catalogue import Shelf
from eegviz.errors import DataError, ParameterError
from eegviz.listening import ability, abx, session
from eegviz.listening.answers import LABELS
from eegviz.listening.session import MOST_PLAYS

FOLDER = Path("reports/listening-tests")  # where tests go that are made in the app
ANSWERS = "answers"  # in the folder of a test
SIZES = (  # the paper's, and smaller ones for a run that holds out less; the first that there are examples for is made
    {"n_trials": 24, "n_practice": 4, "n_attention": 2, "n_versions": 2},
    {"n_trials": 24, "n_practice": 4, "n_attention": 2, "n_versions": 1},
    {"n_trials": 16, "n_practice": 4, "n_attention": 2, "n_versions": 1},
    {"n_trials": 12, "n_practice": 4, "n_attention": 2, "n_versions": 1},
    {"n_trials": 8, "n_practice": 2, "n_attention": 1, "n_versions": 1},
)
_designs = Shelf(4)


class ListeningTestState(param.Parameterized):
    """One participant's session: consent, trials, end."""

    test = param.Selector(objects=[None], label="Test")
    run = param.Selector(objects=[None], label="Run to make a test of")
    called = param.String("", label="Name or number (may be empty)")
    agreed = param.Boolean(False, label="I have read this and want to take part")
    participant = param.String("", doc="Of the session that goes on; in the address, so that a reload goes on too.")
    plays = param.Dict({}, doc="How often the browser says that each sound of the trial was started, by `plays_key`.")
    turn = param.Integer(0, doc="Goes up whenever something else is to be shown.")
    SHARED = ("test", "participant")

    def __init__(self, catalogue, *, folder=FOLDER, **values):
        super().__init__(**values)
        self.catalogue, self.folder = catalogue, Path(folder)
        self._session = None
        self.feedback = ""
        if catalogue.tests:
            self.param.test.objects = list(catalogue.tests)
            self.test = next(iter(catalogue.tests))
        rows = playable(catalogue)
        if rows:
            self.param.run.objects = rows
            held_out = {row["run"]: row["n_test"] for row in catalogue.table}
            most = max(held_out[name] for name in rows)  # a test needs many different seconds
            self.run = first_choice(catalogue, [name for name in rows if 2 * held_out[name] >= most])

    @property
    def design(self):
        """The test, or None where there is none yet."""
        if self.test is None:
            return None
        path = self.catalogue.tests[self.test]
        return _designs.get(str(path), lambda: abx.open(path))

    @property
    def answers(self):
        """Folder of the answers."""
        return self.catalogue.tests[self.test] / ANSWERS

    @property
    def place(self):
        """Where `make` writes a test, in a sentence; without the machine's own folders, which are no business of a visitor."""
        base = "" if self.folder.is_absolute() else ", below the folder in which eegviz app was started"
        return (
            f"The test goes to {self.folder.as_posix()}/ and a folder of the run's name{base}; the answers are kept in it too. "
            "eegviz app with that folder gives people the test alone."
        )

    def make(self):
        """Make a test of the run, see `eegviz._state_work.Work`."""
        if self.run is None:
            raise DataError("No run here reconstructs sound: train one with eegviz train, or run eegviz demo.")
        name = self.run
        path = self.folder / name
        if not (path / "design.json").exists():
            yield 0.05, "choosing trials"
            run, store = self.catalogue.run(name), self.catalogue.store_of(name)
            windows, split = self.catalogue.windows(name)
            planned = yield from _planned(run, store, windows, split)
            sounds = abx.sound_steps(planned, run, store, windows=windows, split=split)
            made = yield from _told(sounds)
            yield 0.95, "writing"
            abx.save(made, path)
        return path

    def use(self, path):
        """Take a test that was made."""
        name = Path(path).name
        self.catalogue.tests[name] = Path(path)
        self.param.test.objects = list(self.catalogue.tests)
        self.test = name
        self.turn += 1

    def begin(self):
        """Begin, with the consent that was given."""
        if not self.agreed:
            raise ParameterError("Please agree first, with the tick above the button: without it nothing is stored.")
        self._session = session.begin(self.design, self.answers, participant=self.called.strip() or None, consent=True)
        self.feedback, self.plays = "", {}
        self.participant = self._session.participant
        self.turn += 1

    def resume(self):
        """Go on with the session that the address names; True where there is one."""
        if self._session is None and self.participant and self.design is not None:
            self._session = session.resume(self.design, self.answers, self.participant)
        return self._session is not None

    def trial(self):
        """The trial that waits, or None after the last one."""
        return self._session.current()

    @property
    def progress(self):
        return self._session.progress

    def answer(self, choice, *, number):
        """Save an answer to trial `number`; None: its time ran out. One to a trial that is over is left alone.

        Raises
        ------
        ParameterError
            X, A and B were not all played yet; the trial goes on.
        """
        waiting = self._session.current()
        if waiting is None or waiting.number != number:
            self.turn += 1
            return
        plays = self._plays(number)
        if choice is not None and len(plays) < len(LABELS):
            raise ParameterError("Listen to X, A and B first.")
        self.feedback = self._session.answer(choice, replays=plays).feedback
        self.plays = {}
        self.turn += 1

    @staticmethod
    def plays_key(number, label):
        """What the plays of a sound are counted under; it names the trial, so that a count that comes late is not the next one's."""
        return f"{number}-{label}"

    def _plays(self, number):
        """How often each sound of a trial was played, by label; what no browser of ours sends counts as not played."""
        sent = {label: self.plays.get(self.plays_key(number, label)) for label in LABELS}
        return {label: min(n, MOST_PLAYS) for label, n in sent.items() if type(n) is int and n > 0}

    def csv(self):
        """The answers of this participant."""
        return self._session.csv()

    def result(self):
        """What the answers of this participant show, in a sentence with chance."""
        table = self._session.table()
        main = table[table["block"] == abx.MAIN]
        n, right = len(main), int((main["correct"] == True).sum())  # noqa: E712  None is no answer
        need = ability.needed(n)
        beside = (
            "so few trials cannot tell a listener from chance at 5 %, even if all are right"
            if need > n
            else f"{need} or more tell a listener from chance at 5 %: your answers {'do' if right >= need else 'do not'}"
        )
        return f"You were right in {right} of {n} trials. By chance {n / 2:g} are right; {beside}."

    def leave(self):
        """End this session here, so that another listener can begin."""
        self.close()
        self.feedback = ""
        self.param.update(participant="", called="", agreed=False)
        self.turn += 1

    def close(self):
        """Close the file; the session can be resumed."""
        if self._session is not None:
            self._session.close()
            self._session = None


def _planned(run, store, windows, split):
    """The largest test that the run's test seconds are enough for."""
    why = None
    for same_song in (0.5, 1.0):  # a run that holds out one song has foils of that song only
        for size in SIZES:
            yield 0.05, f"choosing {size['n_trials']} trials"
            try:
                return abx.plan(run, store, windows=windows, split=split, same_song=same_song, **size)
            except ParameterError as error:
                why = why or error
    raise ParameterError(f"No test can be made of this run: {why}")


def _told(sounds):
    """The steps of `abx.sound_steps` as `eegviz._state_work.Work` has them."""
    while True:
        try:
            n, total = next(sounds)
        except StopIteration as end:
            return end.value
        said = f"making sound {n + 1} of {total}" if n < total else "bringing all sounds to one level"
        yield 0.1 + 0.8 * n / max(1, total), said
