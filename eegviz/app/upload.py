"""The section *Upload*: hear what a run makes of your own EEG."""

from __future__ import annotations

import base64
import binascii

import panel as pn

from eegviz._state_work import told
from eegviz.app import html
from eegviz.app.listen import run_names
from eegviz.app.sheet import Sheet
from eegviz.listening import Grid

TITLE = "Upload"
QUESTION = "What does a run make of your own EEG, and what is that worth?"
NONE = "There is no file yet; what the run makes of it will stand here, with what that is worth."
ABOUT = (
    "FIF, EDF, BDF, BrainVision (a zip of .vhdr, .eeg and .vmrk) or NMED's .mat, at most {megabytes:.0f} MB. Channels are matched by "
    "name; up to 10 % missing ones are interpolated. The file is read in a process of its own, nothing of it leaves this "
    "server, and it is removed when you close the page."
)


NOT_YOURS = "This was found on recordings that the run was tested with. Of your own file nothing was judged."


class UploadView(pn.viewable.Viewer):
    """One file, one run, one sound."""

    def __init__(self, state, media):
        super().__init__()
        self.state, self.media, self._made = state, media, []
        self._refused = ""
        fields = {
            "run": {"kind": "select", "names": run_names(state.catalogue)}, "start": {"kind": "number"},
            "duration": {"kind": "range", "unit": "s"},
        }  # fmt: skip
        about = html.paragraph(ABOUT.format(megabytes=state.limits.file_bytes / 2**20), kind="muted wide")
        self.sheet = Sheet(
            state, fields, head=html.heading(TITLE, QUESTION) + about, show=self._show, body=html.paragraph(NONE, kind="muted"), file="Your EEG file",
            on_file=self._arrive, buttons={"again": ("Listen", self._listen), "forget": ("Remove the file", self._forget)},
        )  # fmt: skip

    def _arrive(self, name, data, first, last):
        """A part of a file; True when more may come."""
        if first:  # what stood here was of another file
            self._refused = ""
            self._discard()
            self.sheet.put(html.paragraph(NONE, kind="muted"))
        try:
            received = self.state.arrive(name, base64.b64decode(data, validate=True), first=first, last=last)
        except binascii.Error:
            return self._refuse(f"{name}: a part of the file was damaged on the way. Choose it again.")
        except Exception as error:
            return self._refuse(told(error))
        if received is not None:
            self._listen()
        return True

    def _refuse(self, words):
        self._refused = words
        self.sheet.put("")
        self.sheet.tell(words)
        return False

    def _listen(self):
        work = self.sheet.work
        refused = self._refused or (work.message if work.status == "failed" else "")
        if self.state.held is None and refused:
            self.sheet.tell(refused)
        elif self.state.held is None:
            self.sheet.tell("Choose a file first.", kind="info")
        else:
            self._discard()
            self.sheet.put("")  # what stood here may be of another run or other seconds
            self.sheet.start(self.state.steps())

    def _forget(self):
        self.close()
        self.sheet.put(html.paragraph(NONE, kind="muted"))
        self.sheet.tell("The file and its sound are removed.", kind="info")

    def _show(self, heard):
        self._discard()
        shown = Grid(("Reconstruction",), ((heard.name, (heard.clip,)),), "")
        name = run_names(self.state.catalogue).get(heard.run, heard.run)
        self.sheet.put(
            html.heading(f"{heard.name}, as the run {name} reconstructs it", level=3)
            + html.alert(heard.verdict, kind="warning") + html.paragraph(NOT_YOURS) + shown.html(media=self._address)
            + html.heading("What was read, and what was done to it", level=3) + html.items(heard.facts)
        )  # fmt: skip

    def _address(self, data, mime, name):
        address = self.media(data, mime, name)
        self._made.append(address)
        return address

    def _discard(self):
        if hasattr(self.media, "discard"):
            for address in self._made:
                self.media.discard(address)
        self._made = []

    def close(self):
        """Remove the file and what was made of it."""
        self.sheet.work.close()
        self._discard()
        self.state.close()

    def __panel__(self):
        return self.sheet.form
