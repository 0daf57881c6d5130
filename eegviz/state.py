"""What a person looks at in the app: parameters without views, and what they mean, without Panel.

One `AppState` a session holds a state for each section. What is worth sharing goes into the address of the page: `shared`
says it, `apply` takes it back and tells what it cannot follow.
"""

from __future__ import annotations

import json

import param

from eegviz._state_data import DataState
from eegviz._state_listen import ListenState
from eegviz._state_models import BrainState, ModelsState
from eegviz._state_test import ListeningTestState
from eegviz._state_tune import TuneState
from eegviz._state_upload import UploadState
from eegviz._state_work import Work

__all__ = [
    "SECTIONS",
    "AppState",
    "BrainState",
    "DataState",
    "ListenState",
    "ListeningTestState",
    "ModelsState",
    "TuneState",
    "UploadState",
    "Work",
]

SECTIONS = {  # name in the address → title
    "data": "Data", "listen": "Listen", "tune": "Tune", "models": "Models", "brain": "Is it the brain?",
    "test": "Listening test", "upload": "Upload",
}  # fmt: skip
_KINDS = {
    "data": DataState, "listen": ListenState, "tune": TuneState, "models": ModelsState, "brain": BrainState,
    "test": ListeningTestState, "upload": UploadState,
}  # fmt: skip


class AppState(param.Parameterized):
    """The section that is shown, and the state of each.

    `test_alone` is True where listening tests are open and nothing else: then there is no other section, and a link to one
    comes back to the test.
    """

    section = param.Selector(objects=list(SECTIONS), default="data")

    def __init__(self, catalogue, **values):
        super().__init__(**values)
        self.catalogue = catalogue
        # where nothing else is open, all that can be done is to take the test
        self.test_alone = bool(catalogue.tests) and not catalogue.stores and not catalogue.run_paths
        if self.test_alone:
            self.param.section.objects = ["test"]
            self.section = "test"
        self._states, self._at_first = {}, {}
        self._listeners = []

    def of(self, section):
        """The state of a section, made when it is first asked for."""
        if section not in self._states:
            made = self._states[section] = _KINDS[section](self.catalogue)
            made.param.watch(self._changed, list(made.SHARED))
            self._at_first[section] = {name: getattr(made, name) for name in made.SHARED}
        return self._states[section]

    def shared(self):
        """What the address says: the section, and what in it is not as at first. A dict of str to str."""
        state = self.of(self.section)  # which notes how it was at first
        found = {"section": self.section}
        at_first = self._at_first[self.section] | getattr(state, "at_first", {})  # what follows from other values
        for name in state.SHARED:
            value = getattr(state, name)
            if value != at_first[name]:
                found[name] = value if isinstance(value, str) else json.dumps(value)
        return found

    def apply(self, query):
        """Take what an address says; what cannot be followed is told in words: a list of str."""
        problems = []
        section = "test" if self.test_alone else query.get("section", self.section)
        if section not in SECTIONS:
            return [f"The link names a section {section!r} that is not there; there are {', '.join(SECTIONS)}."]
        self.section = section
        state = self.of(section)
        for name in state.SHARED:  # in their order: a store before its recordings
            if name not in query:
                continue
            value = _read(state.param[name], query[name])
            try:
                setattr(state, name, value)
            except ValueError:
                problems.append(
                    f"The link asks for {name} {str(query[name])!r}, which is not there; the rest is shown."
                )
        return problems

    def close(self):
        """The session is over: what it keeps on the disk goes."""
        for state in self._states.values():
            if hasattr(state, "close"):
                state.close()

    def watch_shared(self, listener):
        """Call `listener()` whenever `shared` may have changed."""
        self._listeners.append(listener)
        self.param.watch(self._changed, "section")

    def _changed(self, *_):
        for listener in self._listeners:
            listener()


def _read(parameter, value):
    """A value of an address as its parameter has it: numbers and lists are JSON, text is itself."""
    if isinstance(parameter, param.Integer | param.Number | param.List | param.ListSelector | param.Boolean):
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)
