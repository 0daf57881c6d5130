"""Calls for worker processes of the tests: importable by name, some of them deadly."""

import os
import signal
from pathlib import Path


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def once(marker):
    """True for the one call that finds no marker file; atomic between processes."""
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def square(x):
    return x * x


def square_or_die_once(x, marker):
    if x == 3 and once(marker):
        die()
    return x * x


def square_or_always_die(x):
    if x == 3:
        die()
    return x * x


def work_or_die_once(*task):
    """`sweep._work`, whose first worker that has the second seed is killed before it is through."""
    from eegviz import sweep

    _, config, out, *_ = task
    if config["seed"] == 1 and once(Path(out) / "killed"):
        die()
    return sweep._work(*task)


def work_killed_while_it_trains(*task):
    """`sweep._work`, killed once while a network is being fitted: after the first checkpoint of its run."""
    from eegviz import fitting, sweep

    _, _, out, *_ = task
    save = fitting._State.save

    def save_and_die(state, folder, *args):
        save(state, folder, *args)
        if len(state.history) == 1 and (folder / "config.json").exists() and once(Path(out) / "killed"):
            die()

    fitting._State.save = save_and_die
    return sweep._work(*task)
