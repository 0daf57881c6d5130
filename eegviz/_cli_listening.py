"""The commands of ``eegviz listening-test``: make a test, read its answers, let pretend listeners take it."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from eegviz.errors import DataError, EegvizError

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make a listening test, and read what its answers show."
)

Test = Annotated[Path, typer.Argument(metavar="TEST", help="Folder that eegviz listening-test make wrote.")]
Seed = Annotated[int, typer.Option(min=0)]
OPTIONS = {  # what the library calls a parameter: the option
    "n_trials": "--trials", "n_practice": "--practice", "n_attention": "--attention", "n_versions": "--versions",
    "same_song": "--same-song", "min_attention": "--min-attention",
}  # fmt: skip
FIRST = {"alpha": "--alpha", "duration": "--duration", "ability": "--ability"}  # words, too: where they begin a message


@contextlib.contextmanager
def _options_named():
    """Messages name the options that were typed, not the parameters of the library."""
    try:
        yield
    except EegvizError as error:
        words = re.sub(rf"\b({'|'.join(OPTIONS)})\b(=?)", lambda m: OPTIONS[m[1]] + (" " if m[2] else ""), str(error))
        words = re.sub(rf"^({'|'.join(FIRST)})\b(?: \([^)]*\))?", lambda m: FIRST[m[1]], words)
        raise type(error)(words) from error


@app.command()
def make(
    run: Annotated[Path, typer.Argument(help="Run folder that eegviz train printed.")],
    out: Annotated[Path, typer.Option(help="New folder for the test: design, sounds, later the answers.")],
    store: Annotated[Path | None, typer.Option(help="Store of the run, when it has moved.")] = None,
    task: Annotated[str, typer.Option(help="abx (the paper's) or 2afc.")] = "abx",
    trials: Annotated[int, typer.Option(help="Of each listener, without practice.")] = 24,
    practice: Annotated[int, typer.Option(help="Trials with feedback at first.")] = 4,
    attention: Annotated[int, typer.Option(help="Checks in which A or B is X.")] = 2,
    versions: Annotated[int, typer.Option(help="Tests of other examples, given in turn.")] = 2,
    same_song: Annotated[float, typer.Option(help="Share of foils of the same song, 0 to 1.")] = 0.5,
    duration: Annotated[int, typer.Option(help="Whole seconds of a sound.")] = 5,
    seed: Seed = 0,
):
    """Make a test from the test seconds of a run; its folder holds the answers' key."""
    from eegviz import runs
    from eegviz.listening import abx

    options = {
        "task": task, "n_trials": trials, "n_practice": practice, "n_attention": attention, "n_versions": versions,
        "same_song": same_song, "duration": duration,
    }  # fmt: skip
    with _options_named():
        abx.check_options(**options)
        abx.check_new(out)
        opened = runs.open(run)
        made = abx.design(opened, opened.store(store), seed=seed, **options)
    print(made.describe())
    print(abx.save(made, out))
    print(f"eegviz app {shlex.quote(str(out))}   # give people this page")


@app.command()
def summary(
    test: Test,
    alpha: Annotated[float, typer.Option(help="Level of each listener's test.")] = 0.05,
    min_attention: Annotated[float, typer.Option(help="Share of attention checks that must be right.")] = 1.0,
    csv: Annotated[Path | None, typer.Option(help="Write all answers there, a row each.")] = None,
    seed: Seed = 0,
):
    """Print what the answers show: listeners, pooled estimate, songs, positions, foils, each with chance."""
    from eegviz import headless
    from eegviz.listening import ability, abx, answers

    with _options_named():
        ability.check_rules(alpha=alpha, min_attention=min_attention)
        folder = test / "answers" if (test / "answers").is_dir() else test
        if folder == test and not any(test.glob("*.jsonl")):
            abx.check_is_test(test)
        found = answers.read(folder)
    if csv is not None:  # before the statistics, which may find nobody to count
        print(headless.write_text(csv, answers.to_csv(found.table)))
    with _options_named():
        try:
            print(ability.summarise(found, alpha=alpha, min_attention=min_attention, seed=seed))
        except DataError as error:
            raise (
                error if csv is None else DataError(f"the CSV is written, but no statistics follow: {error}")
            ) from None


@app.command()
def simulate(
    test: Annotated[
        Path | None,
        typer.Argument(metavar="[TEST]", help="Folder of a test; default the paper's design, without sounds."),
    ] = None,
    listeners: Annotated[int, typer.Option(help="Pretend listeners.")] = 1000,
    ability: Annotated[float, typer.Option(help="Probability of a right answer; .5 is none.")] = 0.5,
    alpha: Annotated[float, typer.Option(help="Level of each listener's test.")] = 0.05,
    seed: Seed = 0,
):
    """Let pretend listeners take a test: how many are called able, beside the exact share."""
    from eegviz.listening import ability as abilities
    from eegviz.listening import abx, pretend

    with _options_named():
        abilities.check_rules(alpha=alpha)
        design = abx.open(test) if test else pretend.paper_design(seed=seed)
        print(pretend.false_alarms(design, listeners, ability=ability, alpha=alpha, seed=seed))
