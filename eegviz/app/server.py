"""The server of the app: one process, one event loop, sounds and pictures beside it as files.

It listens on 127.0.0.1 unless told otherwise. Function: `serve`.
"""

from __future__ import annotations

import gc
import socket

import panel as pn
import panel_material_ui as pmui
import param
from panel.custom import ReactiveESM
from tornado.ioloop import IOLoop
from tornado.web import RedirectHandler

from eegviz import uploads
from eegviz.app.media import ROUTE, Handler, Media
from eegviz.app.page import TITLE, create_app
from eegviz.app.sheet import Form, serve_sheets
from eegviz.errors import ParameterError

ADDRESS, PORT = "127.0.0.1", 5006
UNUSED_S = 30  # seconds after which a session that nobody looks at is given up
TIDY_S = 5  # seconds after a session has ended until its memory is given back


def serve(catalogue, *, port=PORT, address=ADDRESS, allow_origin=(), prefix="", show=False, start=True):
    """Serve the app until it is stopped.

    Parameters
    ----------
    catalogue : eegviz.catalogue.Catalogue
    port : int
        0 takes a free one.
    address : str
        Where it listens; anything but 127.0.0.1 is seen by others.
    allow_origin : sequence of str
        Hosts (``name:port``) that browsers may open it from, beside its own.
    prefix : str
        Path before the page's, when it is served behind another server.
    show : bool
        Open a browser.
    start : bool
        False returns the server before it runs.

    Returns
    -------
    panel.io.server.Server
    """
    port = _checked_port(port, address)
    uploads.sweep(uploads.default_root())  # what a server that was killed left behind
    media = Media()
    serve_sheets(media)
    _forget_unused_components()
    pn.config.nthreads = None
    prefix = _checked_prefix(prefix)
    patterns = [(rf"/{ROUTE}/(.*)", Handler, {"path": str(media.folder)})]
    if prefix:  # addresses on the page are relative to it, so its own has to end in a slash
        patterns.append((r"", RedirectHandler, {"url": f"{prefix}/"}))
    origins = [f"{address}:{port}", f"localhost:{port}", *allow_origin]
    tidy = _Tidy()

    def page():
        pn.state.on_session_destroyed(tidy.soon)
        return create_app(catalogue, media=media)

    server = pn.io.server.get_server(
        {"/": page},
        port=port, address=address, websocket_origin=origins, title={"/": TITLE}, show=show, start=False,
        prefix=prefix, extra_patterns=patterns, unused_session_lifetime_milliseconds=UNUSED_S * 1000,
        check_unused_sessions_milliseconds=5000, keep_alive_milliseconds=30000,
    )  # fmt: skip
    server.eegviz_media = media
    if start:
        print(f"eegviz: http://{address}:{server.port}{prefix}/  (Ctrl-C ends it)", flush=True)
        try:
            server.run_until_shutdown()
        finally:
            media.close()
    return server


class _Tidy:
    """Gives the memory of ended sessions back: each holds itself in circles, which Python looks for seldom."""

    def __init__(self):
        self._asked = False
        gc.collect()
        gc.freeze()  # what is loaded by now stays, and is not looked through again

    def soon(self, *_):
        """A session ended: tidy up in a while, together with those that end until then."""
        if not self._asked:
            self._asked = True
            IOLoop.current().call_later(TIDY_S, self._now)

    def _now(self):
        self._asked = False
        gc.collect()


def _checked_prefix(prefix):
    prefix = prefix.strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ParameterError(f"--prefix {prefix!r}: expected a path such as eegviz or tools/eegviz.")
    return f"/{prefix}" if prefix else ""


def _checked_port(port, address):
    """The port, or a free one for 0; refused before anything is loaded."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((address, port))
        except OSError as error:
            raise ParameterError(
                f"cannot listen on {address}:{port} ({(error.strerror or str(error)).lower()}). Choose another with --port "
                "(0: a free one) or --address."
            ) from None
        return one.getsockname()[1]


def _forget_unused_components():
    """Take the Material components that are not used here out of every document and page.

    Bokeh writes the definition of each data model of the process into each document: those of all Material components are
    150 kB and a third of the time of an opening. Panel looks on the disk for the style sheets of every component of the
    process whenever it writes a page, another third; here they are looked up once. This app uses the page of that library
    and a form of its own.
    """
    from bokeh.core.has_props import _default_resolver
    from bokeh.model import DataModel, Model

    used = {one._data_model for one in (pmui.Page, Form)}
    for one in Model.model_class_reverse_map.values():
        if issubclass(one, DataModel) and one is not DataModel and one not in used:
            _default_resolver.remove(one)
    path, sheets = pmui.Page._bundle_path, pmui.Page._bundle_css
    for one in param.descendents(ReactiveESM):
        one._bundle_css = []
    pmui.Page._bundle_path, pmui.Page._bundle_css = path, sheets
