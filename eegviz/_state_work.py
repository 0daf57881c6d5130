"""Long work of the app: it runs in a thread, tells how far it is, and can be cancelled.

What is done is a generator: it yields ``(share done, what comes next)`` and returns its result. Between two yields it can be
cancelled. One thread draws and computes for the whole process (matplotlib and HoloViews are not made for several), so that a
person who cancels makes room for the others.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import param

from eegviz.errors import EegvizError

log = logging.getLogger("eegviz.app")
_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="eegviz-app")
UNEXPECTED = (
    "Something went wrong that should not: {kind}. What you see elsewhere is not affected; the server's log says more."
)


class Work(param.Parameterized):
    """One piece of long work at a time.

    `status` is ``"idle"``, ``"waiting"``, ``"running"``, ``"done"``, ``"cancelled"`` or ``"failed"``; `message` says
    what is being done, or why it failed, in plain text; `done` is the share that is done, 0 to 1; `result` what came out.
    """

    status = param.Selector(objects=["idle", "waiting", "running", "done", "cancelled", "failed"], default="idle")
    message = param.String()
    done = param.Number(0.0, bounds=(0, 1))
    result = param.Parameter()

    def __init__(self, *, dispatch=None, **values):
        """`dispatch(function)` calls a function where parameters may change: the thread of a session; default at once."""
        super().__init__(**values)
        self._dispatch = dispatch or (lambda function: function())
        self._stop = threading.Event()

    @property
    def busy(self):
        return self.status in ("waiting", "running")

    def start(self, steps, *, message="waiting for other work", wait=False):
        """Begin with the generator `steps`; work that is under way is cancelled first.

        Parameters
        ----------
        steps : generator
            Yields ``(share, message)``, returns the result.
        message : str
            What is said until it begins.
        wait : bool
            Do it here and now, without a thread.
        """
        self._stop.set()
        self._stop = stop = threading.Event()
        self.param.update(status="waiting", message=message, done=0.0)
        if wait:
            self._run(steps, stop)
        else:
            _pool.submit(self._run, steps, stop)

    def cancel(self):
        """Stop at the next step; nothing is kept."""
        if self.busy:
            self._stop.set()
            self.param.update(status="cancelled", message="cancelled")

    def close(self):
        """Stop, and say nothing more: the session is over."""
        self._stop.set()

    def _run(self, steps, stop):
        try:
            while not stop.is_set():
                try:
                    share, message = next(steps)
                except StopIteration as end:
                    self._say(stop, status="done", message="", done=1.0, result=end.value)
                    return
                self._say(stop, status="running", message=message, done=min(1.0, max(0.0, share)))
            steps.close()
        except Exception as error:  # the thread is not the place where it is seen
            self._say(stop, status="failed", message=told(error))

    def _say(self, stop, **values):
        self._dispatch(lambda: None if stop.is_set() else self.param.update(**values))


def told(error):
    """What a person is told about an error: our own message; of any other only its kind, and the log has the rest."""
    if isinstance(error, EegvizError):
        return str(error)
    log.error("unexpected error", exc_info=error)
    return UNEXPECTED.format(kind=type(error).__name__)
