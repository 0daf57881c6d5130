"""The page: a bar of sections, of which one is shown; the others are made when they are first looked at.

Where only listening tests are open the page has no bar: people who take a test see the test alone.
"""

from __future__ import annotations

from urllib.parse import urlencode

import panel as pn
import panel_material_ui as pmui
from panel.io.resources import LOCAL_DIST
from panel.util import edit_readonly

from eegviz import state as states
from eegviz.app import brain, data, html, listen, listening_test, models, tune, upload
from eegviz.app.media import data_address
from eegviz.app.sheet import Sheet, text

TITLE = "eegviz"
BAR = {".MuiAppBar-root": {"backgroundColor": "#0a4a73", "backgroundImage": "none", "color": "#ffffff"}}
# colours of the bar and of what can be pressed; every pair of text and ground meets WCAG AA (4.5:1)
THEME = {
    "light": {"palette": {"primary": {"main": "#0a5a8c"}}},
    "dark": {"palette": {"primary": {"main": "#84c7f2"}, "background": {"default": "#14171b", "paper": "#14171b"}}},
}
VIEWS = {
    "data": data.DataView, "listen": listen.ListenView, "tune": tune.TuneView, "models": models.ModelsView,
    "brain": brain.BrainView, "test": listening_test.ListeningTestView, "upload": upload.UploadView,
}  # fmt: skip


class App(pn.viewable.Viewer):
    """All sections of one session."""

    def __init__(self, state, media, *, note=""):
        super().__init__()
        self.state, self.media = state, media
        self._views = {}
        sections = {"section": {"kind": "nav", "label": "Sections", "names": states.SECTIONS}}
        self._bar = Sheet(state, {} if state.test_alone else sections, body=note)
        self.page = pmui.Page(
            title=TITLE, main=self._main(), main_width="76rem", sidebar_variant="temporary", sidebar_open=False,
            busy_indicator=None, template=text("page.j2"), theme_config=THEME, sx=BAR,
        )  # fmt: skip
        with edit_readonly(self.page):  # by itself it follows whether any session is busy, which keeps it for ever
            self.page.busy = self._bar.form.param.busy
        state.param.watch(self._turn, "section")

    def _main(self):
        name = self.state.section
        if name not in self._views:
            self._views[name] = VIEWS[name](self.state.of(name), self.media)
        return [self._bar.form, pn.panel(self._views[name])]

    def _turn(self, *_):
        self._bar.put("")
        self.page.main = self._main()  # a change inside the list would not reach the browser

    def close(self):
        """The session is over: long work stops, what is on the disk goes."""
        for view in self._views.values():
            view.sheet.work.close()
            if hasattr(view, "close"):
                view.close()
        self.state.close()

    def __panel__(self):
        return self.page


def create_app(catalogue, *, media=data_address):
    """The page of one session.

    Parameters
    ----------
    catalogue : eegviz.catalogue.Catalogue
        Shared by all sessions.
    media : callable
        ``media(data, mime, name) -> address`` of a sound or picture; default an address that holds the bytes, for Jupyter,
        whose server has no route to them.

    Returns
    -------
    panel_material_ui.Page
    """
    state = states.AppState(catalogue)
    if media is not data_address and pn.state.curdoc is not None:  # also for a session that a web socket begins
        pn.state.curdoc.template_variables["dist_url"] = LOCAL_DIST
    location = pn.state.location
    problems = []
    if location is not None:
        problems = state.apply(location.query_params)
    note = html.alert("\n".join(problems), kind="warning") if problems else ""
    app = App(state, media, note=note)
    if location is not None:
        if not location.search:
            _follow_late(location, state)
        state.watch_shared(lambda: _write(location, state))
    if pn.state.curdoc is not None:
        pn.state.on_session_destroyed(lambda _: app.close())
    return app.page


def _follow_late(location, state):
    """Behind a Jupyter server the browser tells what its address says after the page is made: follow it then, once."""

    def follow(_):
        location.param.unwatch(watcher)
        query = location.query_params
        if location.search == _search(state):
            return
        if pn.state.loaded:
            state.apply(query)
        else:  # see `Sheet.start`
            pn.state.onload(lambda: state.apply(query))

    watcher = location.param.watch(follow, "search")


def _search(state):
    query = urlencode(state.shared())
    return f"?{query}" if query else ""


def _write(location, state):
    search = _search(state)
    if location.search != search:
        location.search = search
