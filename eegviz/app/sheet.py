"""A sheet: one light component that holds a section's headline, controls, news and content.

A page that fifty people open at once cannot afford a widget of its own for every select and slider: each costs a session
some milliseconds and some kilobytes. What a browser sends is checked by the parameters of the state.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import panel as pn
import param
from panel.custom import JSComponent

from eegviz._state_work import Work
from eegviz.app import html

SHEETS = ("app.css", "sheet.css")
_served = {}  # address of a style sheet by its name, once a server has a route to it


@cache
def text(name):
    """A file of the package."""
    return resources.files("eegviz.app").joinpath(name).read_text(encoding="utf-8")


def serve_sheets(media):
    """Let all sheets of this process take their style by address."""
    for name in SHEETS:
        _served[name] = media(text(name).encode(), "text/css")


class Form(JSComponent):
    """What the browser shows: `fields` says which controls there are, `values` what they show; the rest is markup."""

    head = param.String()
    fields = param.List()
    values = param.Dict(default={})
    note = param.String()
    busy = param.Boolean()
    body = param.String()
    ack = param.Integer(doc="Parts of files that were taken: the browser sends the next one then.")
    _esm = text("sheet.js")

    def __init__(self, on_press, on_file, **values):
        super().__init__(**values)
        self._on_press, self._on_file = on_press, on_file

    def _handle_msg(self, message):
        if not isinstance(message, dict):
            return
        if isinstance(message.get("pressed"), str):
            self._on_press(message["pressed"])
        elif isinstance(message.get("file"), dict) and self._on_file is not None:
            part = message["file"]
            name, data = str(part.get("name", "file"))[:300], part.get("data")
            if isinstance(data, str) and self._on_file(name, data, bool(part.get("first")), bool(part.get("last"))):
                self.ack += 1


class Sheet(pn.viewable.Viewer):
    """Headline, controls of some parameters of a state, news of long work, content.

    Parameters
    ----------
    state : param.Parameterized
    fields : dict of str to dict
        By the parameter's name: ``kind`` (select, choice, nav, range, checks, tick, text), ``label``, and what the kind
        needs; ``options``, ``min`` and ``max`` come from the parameter. ``names`` maps values to what a person reads;
        ``hint`` is a line that explains it; controls with the same ``under`` stand below the others, folded under these words.
    head, body : str
        Markup that `eegviz.app.html` made.
    buttons : dict of str to (str, callable) or (str, callable, str), optional
        By name: label, what is done, and the words that the button is folded under.
    show : callable, optional
        Takes the result of long work; default: it is the body.
    file : str, optional
        Label of a control that takes a file, which arrives in parts.
    on_file : callable, optional
        ``on_file(name, base64, first, last) -> bool``: takes a part; whether more may come.
    """

    def __init__(self, state, fields, *, head="", body="", buttons=None, show=None, file="", on_file=None):
        super().__init__()
        self.state, self._fields, self._buttons, self._file = state, fields, buttons or {}, file
        self._show = show or self.put
        self._equal = False
        self._waiting = None  # work that begins when the page is there
        self.work = Work(dispatch=dispatcher())
        sheets = [_served.get(name) or text(name) for name in SHEETS]
        self.form = Form(
            self._pressed, on_file, head=head, fields=self._made(), values=self._now(), body=body, sizing_mode="stretch_width",
            margin=(4, 10), stylesheets=sheets,
        )  # fmt: skip
        self.form.param.watch(self._take, "values")
        self.work.param.watch(self._news, ["status", "message", "done"])
        self._watchers = []
        self._watch()

    def controls(self, fields, buttons, *, equal=False):
        """Show other controls; `equal` buttons are answers, of which none stands out as the first of others does."""
        if (fields, buttons, equal) != (self._fields, self._buttons, self._equal):
            self._fields, self._buttons, self._equal = fields, buttons, equal
            self._watch()
            self._rebuild()

    def put(self, body):
        """Show markup as the content, at once; long work is over."""
        self._waiting = None
        self.work.close()
        self.form.param.update(body=body, note="", busy=False)

    def head(self, markup):
        """Show another headline."""
        self.form.head = markup

    def tell(self, words, *, kind="error"):
        """Show a message above the content."""
        self.form.param.update(note=html.alert(words, kind=kind), busy=False)

    def start(self, steps):
        """Begin long work, see `eegviz._state_work.Work`; on a page that is still loading, when it is there.

        What changes between the moment at which a browser takes a page and the one at which it says that it is ready is
        lost on the way (panel 1.9.4 takes the browser for not connected), so nothing may change then.
        """
        if pn.state.loaded:
            self.work.start(steps)
            return
        self.form.param.update(note=html.progress("loading …", 0), busy=True)
        if self._waiting is None:
            pn.state.onload(self._begin)
        self._waiting = steps

    def _begin(self):
        steps, self._waiting = self._waiting, None
        if steps is not None:
            self.work.start(steps)

    def _watch(self):
        """Follow the parameters that the controls show."""
        for one in self._watchers:
            self.state.param.unwatch(one)
        names = list(self._fields)
        self._watchers = [self.state.param.watch(self._follow, names)] if names else []
        for what in ("objects", "bounds"):
            own = [name for name in names if hasattr(self.state.param[name], what)]
            self._watchers += [self.state.param.watch(self._rebuild, name, what=what) for name in own]

    def _news(self, *_):
        work = self.work
        if work.busy:
            self.form.param.update(note=html.progress(f"{work.message} …", work.done), busy=True)
        elif work.status == "failed":
            self.tell(work.message)
        elif work.status == "cancelled":
            self.tell("Cancelled. Nothing was kept.", kind="info")
        elif work.status == "done":
            self.form.param.update(note="", busy=False)
            self._show(work.result)

    def _made(self):
        rows = [self._field(name, dict(field)) for name, field in self._fields.items()]
        buttons = [
            {
                "name": name,
                "kind": "button",
                "label": label,
                "main": i == 0 and not self._equal,
                "under": "".join(under),
            }
            for i, (name, (label, _, *under)) in enumerate(self._buttons.items())
        ]
        file = [{"name": "file", "kind": "file", "label": self._file}] if self._file else []
        return file + rows + buttons

    def _field(self, name, field):
        own, names = self.state.param[name], field.pop("names", {})
        field |= {"name": name, "label": field.get("label") or own.label}
        if field["kind"] in ("select", "choice", "nav", "checks"):
            field["options"] = [[value, str(names.get(value, value))] for value in own.objects]
        if field["kind"] in ("range", "number"):
            low, high = own.bounds
            field |= {"min": low, "max": high, "step": field.get("step") or own.step or 1}
        return field

    def _now(self):
        return {name: getattr(self.state, name) for name in self._fields}

    def _take(self, event):
        """What the browser sent: a value that the state refuses is put back."""
        for name, value in event.new.items():
            if name in self._fields and value != getattr(self.state, name):
                try:
                    setattr(self.state, name, value)
                except ValueError:
                    self.form.values = self._now()

    def _follow(self, *_):
        now = self._now()
        if now != self.form.values:
            self.form.values = now

    def _rebuild(self, *_):
        self.form.param.update(fields=self._made(), values=self._now())

    def _pressed(self, name):
        if name == "cancel":
            self.work.cancel()
        elif name in self._buttons:
            self._buttons[name][1]()

    def __panel__(self):
        return self.form


def dispatcher():
    """Calls functions in the thread of the session that is being served now; at once where there is none."""
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        return lambda function: function()

    def dispatch(function):
        if document.session_context is not None:
            document.add_next_tick_callback(function)

    return dispatch
