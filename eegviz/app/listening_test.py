"""The section *Listening test*: which of two sounds belongs to the third?"""

from __future__ import annotations

import panel as pn

from eegviz._state_work import told
from eegviz.app import html
from eegviz.app.listen import run_names
from eegviz.app.sheet import Sheet, dispatcher

TITLE = "Listening test"
QUESTION = "Can people tell which reconstruction belongs to a song?"
NONE = "There is no listening test here yet. Make one of a run; its sounds are made once, in less than a minute."
ANOTHER = "For whoever gives the test: make another one"
MADE = "The test of {run} is shown now."
ABOUT = (
    "AB-X, as in EEG2Mel's evaluation: X is five seconds of a song, A and B are two reconstructions from EEG. A person says which "
    "of the two belongs to X, 24 times after 4 for practice. By chance 12 of 24 are right; at least 17 are needed to tell "
    "a listener from chance at 5 % (exact binomial). In some trials the other reconstruction is of the same song, in some of "
    "another. A run that holds out few seconds gets a shorter test."
)


class ListeningTestView(pn.viewable.Viewer):
    """Consent, trials, the end."""

    def __init__(self, state, media):
        super().__init__()
        self.state, self.media = state, media
        self._names = run_names(state.catalogue)
        self.sheet = Sheet(state, {}, head=html.heading(TITLE, QUESTION), show=self._made)
        self._later = None
        self._document = pn.state.curdoc
        self._dispatch = dispatcher()
        state.param.watch(self._turn, "turn")
        self._turn()

    def _turn(self, *_):
        """Show what comes next."""
        self._wait(None)
        state = self.state
        try:
            if state.design is None:
                self._offer()
            elif not state.resume():
                self._ask()
            else:
                trial = state.trial()
                self._end() if trial is None else self._trial(trial)
        except Exception as error:
            self.sheet.controls({}, {"again": ("Begin again", self._again)})
            self.sheet.tell(told(error))

    def _again(self):
        self.state.leave()

    def _above(self, markup):
        """Show this above the controls: what is to be read and heard before the answer."""
        self.sheet.head(html.heading(TITLE, QUESTION) + markup)
        self.sheet.put("")

    def _below(self, markup):
        self.sheet.head(html.heading(TITLE, QUESTION))
        self.sheet.put(markup)

    def _offer(self):
        fields = {"run": {"kind": "select", "names": self._names}}
        self.sheet.controls(fields, {"make": ("Make a test", self._make)})
        self._below(html.alert(NONE, kind="info") + html.paragraph(ABOUT) + html.paragraph(self.state.place))

    def _make(self):
        self.sheet.start(self.state.make())

    def _made(self, path):
        self.sheet.put("")
        self.state.use(path)
        self.sheet.tell(MADE.format(run=self._names.get(path.name, path.name)), kind="info")

    def _ask(self):
        design = self.state.design
        texts = design.texts
        fields = {"test": {"kind": "select", "names": self._names}} if len(self.state.param.test.objects) > 1 else {}
        fields |= {"called": {"kind": "text", "most": 64}, "agreed": {"kind": "tick", "label": texts.agree}}
        buttons = {"begin": ("Begin", self._begin)}
        if self.state.run is not None:  # a page that holds tests alone has no run
            fields |= {"run": {"kind": "select", "names": self._names, "under": ANOTHER}}
            buttons |= {"make": ("Make a test", self._make, ANOTHER)}
        self.sheet.controls(fields, buttons)
        simulated = "The brain waves are simulated: no person was recorded." if design.about.get("simulated") else ""
        loud = next(iter(design.sounds.values()))
        self._above(
            (html.banner(simulated) if simulated else "")
            + html.heading(texts.title, level=3) + html.paragraph(texts.consent) + html.paragraph(texts.headphones)
            + html.paragraph(texts.volume) + html.sound(self.media(loud, "audio/ogg", "volume.ogg"), "Sound for the volume")
            + html.paragraph(texts.task) + html.paragraph(texts.practice)
        )  # fmt: skip

    def _begin(self):
        try:
            self.state.begin()
        except Exception as error:
            self.sheet.tell(told(error))

    def _trial(self, trial):
        number, texts, progress = trial.number, self.state.design.texts, self.state.progress
        choices = {
            name: (texts.choice.replace("{}", name), lambda name=name: self._answer(name, number)) for name in "AB"
        }
        self.sheet.controls({"plays": {"kind": "plays"}}, choices, equal=True)
        begins = trial.block == "test" and progress.block_done == 0
        rows = "".join(
            f'<div class="heard"><b>{html.text(one.label)}</b>'
            + html.sound(
                self.media(one.ogg, "audio/ogg", one.name), f"Sound {one.label} of trial {number}",
                plays=self.state.plays_key(number, one.label),
            )
            + "</div>"
            for one in trial.sounds
        )  # fmt: skip
        minutes = f"{progress.seconds_left / 60:.0f} min of the test left"
        self._above(
            (html.alert(self.state.feedback, kind="info") if self.state.feedback else "")
            + (html.paragraph(texts.begin) if begins else "")
            + html.heading(
                f"{'Practice' if trial.block == 'practice' else 'Trial'} {progress.block_done + 1} of {progress.block_total}",
                trial.question, level=3,
            )
            + rows
            + html.paragraph(f"{trial.seconds_left:.0f} s for this trial, {minutes}.", kind="muted")
        )  # fmt: skip
        self._wait(lambda: self.state.answer(None, number=number), seconds=trial.seconds_left)

    def _answer(self, choice, number):
        try:
            self.state.answer(choice, number=number)
        except Exception as error:
            self.sheet.tell(told(error))

    def _wait(self, act, seconds=0.0):
        """Call `act` when the time of a trial is over; None: no longer."""
        if self._document is None or self._document.session_context is None:
            return
        if self._later is not None:
            self._document.remove_timeout_callback(self._later)
            self._later = None
        if act is not None:

            def late():
                self._later = None
                act()

            self._later = self._document.add_timeout_callback(late, int(1000 * seconds) + 200)

    def _end(self):
        state, texts = self.state, self.state.design.texts
        table = state.csv().encode()
        address = self.media(table, "text/csv", "answers.csv")
        self.sheet.controls({}, {"again": ("Another listener", self._again)})
        over = texts.time_over if state.progress.seconds_left <= 0 else texts.end
        self._above(
            html.heading("The end", level=3) + html.paragraph(over) + html.paragraph(state.result())
            + f'<p><a href="{html.text(address)}" download="answers.csv">Your answers (CSV)</a></p>'
        )  # fmt: skip

    def close(self):
        self.sheet.work.close()
        self.state.close()

    def __panel__(self):
        return self.sheet.form
