"""The command line: each command is a few lines over the library.

Exit code 0 only when all of it worked; 2 for a user's mistake, with one clear message and no traceback unless
``--debug`` is given before the command.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from eegviz import __version__, _cli_listening
from eegviz.errors import EegvizError, ParameterError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Reconstruct music from EEG, and see, hear and doubt the result.",
)
app.add_typer(_cli_listening.app, name="listening-test")
_debug = False

Store = Annotated[Path, typer.Argument(help="Folder that eegviz ingest or eegviz demo made.")]
RunFolder = Annotated[Path, typer.Argument(help="Run folder that eegviz train printed.")]


def main():
    """Entry point: user errors become one message on stderr and exit code 2."""
    try:
        app(standalone_mode=True)
    except EegvizError as error:
        if _debug:
            raise
        print(f"eegviz: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if _debug or (error.name or "").startswith("eegviz"):
            raise
        print(
            f"eegviz: this command needs {error.name}, which is not installed. Install everything with: "
            'python -m pip install "eegviz[all]"',
            file=sys.stderr,
        )
        sys.exit(2)
    except OSError as error:
        if _debug or error.filename is None:
            raise
        print(
            f"eegviz: cannot read or write {error.filename}: {(error.strerror or str(error)).lower()}. "
            "Check the path, or choose another.",
            file=sys.stderr,
        )
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            print("eegviz: interrupted; the same command continues where it stopped", file=sys.stderr)
        raise


def _version(value: bool):
    if value:
        print(f"eegviz {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
):
    global _debug
    _debug = debug


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where stores, runs and pages go.")] = Path("reports/demo"),
    full: Annotated[bool, typer.Option(help="NMED-T size instead of minutes; meant for a GPU.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --full: do not ask before starting.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of simulation and training.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks and trainings at a time.")] = 2,
):
    """Run everything on simulated listeners.

    Simulates a data set, trains on it, runs the notebook series and writes HTML. No data needed, no network.
    """
    from eegviz import demonstration

    if full:
        print(demonstration.full_size_notice())
        if not yes and not typer.confirm("Start?"):
            raise typer.Exit(0)
    index = demonstration.run(out, full=full, seed=seed, jobs=jobs)
    print(index)


@app.command()
def ingest(
    dataset: Annotated[str, typer.Argument(help="nmed-t, nmed-h, mos, openmiir, mad-eeg, deap or own.")],
    source: Annotated[Path, typer.Argument(help="Folder of the original files (own: a CSV).")],
    store: Annotated[Path, typer.Argument(help="Folder to make.")],
    audio: Annotated[Path | None, typer.Option(help="Folder with the sound of each stimulus.")] = None,
    offsets: Annotated[Path | None, typer.Option(help="CSV stimulus,offset: seconds to cut before the music.")] = None,
    max_mismatch: Annotated[float, typer.Option(help="Seconds by which EEG and sound may differ in length.")] = 2.0,
    unit: Annotated[str, typer.Option(help="Unit of the EEG in the files: uV, mV, V or biosemi.")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the data set, e.g. missing=skip for deap.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing store.")] = False,
):
    """Read original files into a store.

    An interrupted ingest continues. Exit code 2 when files were left out, although the store holds the rest.
    """
    from eegviz import datasets

    options = {"offsets": offsets, "max_mismatch": max_mismatch, "unit": unit, "overwrite": overwrite}
    settings = _settings(set_)
    if twice := sorted({"audio", *options} & set(settings)):
        raise ParameterError(f"--set {twice[0]}: give it as --{twice[0].replace('_', '-')}.")
    report = datasets.ingest(dataset, source, store, audio=audio, **options, **settings)
    print(report.summary())
    if report.n_skipped:
        raise typer.Exit(2)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a store, or one that holds runs.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check every checksum of a store.")] = False,
):
    """Show what a store holds, or the runs in a folder.

    Of a run: its folder, data set, model, input, split, verdict.
    """
    from eegviz import catalogue, exploration, store

    if not (path / catalogue.MANIFEST).exists() and (there := catalogue.runs_of(path)):
        if verify:
            raise ParameterError(f"--verify checks a store; {path} is a folder of runs.")
        print(catalogue.describe(catalogue.find(there)))
        return
    print(exploration.describe(store.open(path)))
    if verify:
        problems = store.verify(path)
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems:
            raise typer.Exit(2)
        print("verified: every file has the checksum of the manifest")


@app.command()
def train(
    store: Store,
    out: Annotated[Path, typer.Option(help="Folder of runs; the run goes to OUT/<hash>.")],
    model: Annotated[
        str,
        typer.Option(
            help="cnn, rcnn, encoder-decoder, transformer, gan, alignment, diffusion, tokens, ridge (linear) or classifier."
        ),
    ] = "cnn",
    eeg: Annotated[
        str | None,
        typer.Option(
            help="raw, periodogram, welch or de (default: periodogram; raw for ridge, gan, alignment, diffusion and tokens)."
        ),
    ] = None,
    audio: Annotated[
        str | None,
        typer.Option(
            help="mel, mel-db, linear, linear-db, mel-80 or mel-80-db (default: mel-80-db for gan, else mel-db; "
            "give the same one to runs that you compare)."
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="interleaved, random, blocked, repeat, condition, subject, song or subject_song; e.g. random:70/10/20."
        ),
    ] = "interleaved",
    preset: Annotated[
        str | None, typer.Option(help="Of the model, such as fast; an unknown one lists the known.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the model, e.g. width=4.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=N.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initialisation, order and dropout.")] = 0,
    condition: Annotated[str, typer.Option(help="Of the recordings; several with commas.")] = "listening",
    tmin: Annotated[float, typer.Option(help="First second of each stimulus.")] = 0.0,
    tmax: Annotated[float | None, typer.Option(help="Last second; EEG2Mel uses 240.")] = None,
    ref_db: Annotated[float | None, typer.Option(help="Level of 1.0, dB (default: 46; linear 66; mel-80 34).")] = None,
    max_db: Annotated[float, typer.Option(help="Range of the pictures, dB.")] = 100.0,
    precision: Annotated[str, typer.Option(help="auto, bf16 or float32.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    folds: Annotated[
        bool, typer.Option("--folds", help="Hold out each listener, song or hearing in turn; pool the scores.")
    ] = False,
):
    """Train and score a model; prints the run folder last."""
    from eegviz import evaluation, training, verdict
    from eegviz import store as stores

    opened = stores.open(store)
    settings = _settings(set_) | ({} if epochs is None else {"epochs": epochs})
    config = training.configure(
        opened, model=model, preset=preset, settings=settings, eeg=eeg, audio=audio, split=split, seed=seed,
        condition=condition, tmin=tmin, tmax=tmax, ref_db=ref_db, max_db=max_db, precision=precision,
    )  # fmt: skip
    if folds:
        from eegviz import recipes

        made = recipes.run_folds(opened, config, out=out, device=device)
        print(verdict.describe(evaluation.pool(made, store=opened)))
        print(*(run.path for run in made), sep="\n")
        return
    run = training.train(opened, config, out=out, device=device)
    print(verdict.sentence(evaluation.evaluate(run, store=opened)))
    print(run.path)


@app.command()
def sweep(
    grid: Annotated[Path, typer.Argument(metavar="GRID.yaml", help="Store, base, grid and also, as below.")],
    out: Annotated[Path, typer.Option(help="Folder of runs and of the table, sweep.csv.")],
    store: Annotated[Path | None, typer.Option(help="Instead of the store that the file names.")] = None,
    executor: Annotated[str, typer.Option(help="serial, local:N (processes), dask:ADDRESS or slurm.")] = "serial",
    retries: Annotated[int, typer.Option(min=0, help="Times that a lost worker's task is done again.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
):
    """Train and score many models, print one table.

    What is done is skipped. A grid file: {store: stores/a, base: {preset: fast, split: repeat}, grid: {model: [cnn, rcnn],
    settings.width: [1, 2], seed: [0, 1, 2]}, also: [{model: ridge, preset: eegviz}]}
    """
    from eegviz import executors, sweep

    asked = sweep.read(grid)
    with executors.named(executor, folder=out, slurm=asked.slurm) as workers:
        made = sweep.run(asked.open(store), asked.tasks, out=out, executor=workers, retries=retries, device=device)
    print(sweep.describe(made), out / "sweep.csv", sep="\n")
    sweep.refuse_failures(made)


@app.command()
def evaluate(
    run: RunFolder,
    store: Annotated[Path | None, typer.Option(help="Store of the run, when it has moved.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run's metrics.json.")] = False,
):
    """Print the verdict table.

    Each score beside baselines, controls, ceiling, chance, interval and p; what the split's sides share; the verdict.
    """
    from eegviz import evaluation, runs, verdict

    opened = runs.open(run)
    result = evaluation.evaluate(opened, store=opened.store(store) if store else None)
    print((opened.path / "metrics.json").read_text(encoding="utf-8") if as_json else verdict.describe(result))


@app.command()
def reconstruct(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Sound file to write: .wav, .flac or .ogg.")],
    recording: Annotated[str | None, typer.Option(help="Recording of the run's store.")] = None,
    eeg: Annotated[
        Path | None, typer.Option(help="Any EEG file that MNE reads, or NMED's .mat, instead of --recording.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Of the values in --eeg: auto, V, mV, uV or nV.")] = "auto",
    listener: Annotated[str | None, typer.Option(help="Of --eeg that holds several (default: the first).")] = None,
    store: Annotated[Path | None, typer.Option(help="Store of the run, when it has moved.")] = None,
    start: Annotated[float | None, typer.Option(help="First second (default: held-out seconds).")] = None,
    duration: Annotated[float, typer.Option(help="Whole seconds.")] = 5.0,
    overlap: Annotated[float, typer.Option(help="Of the windows, 0.1 to 0.9; 0: end to end.")] = 0.0,
    sr: Annotated[int | None, typer.Option(help="Rate of the sound, 8000 to 48000 Hz (default: 22050).")] = None,
    ref_db: Annotated[
        float | None, typer.Option(help="Level of 1.0, dB (default: kept for the song, else of training).")
    ] = None,
    scale: Annotated[str, typer.Option(help="power (right) or published (the published code's defect).")] = "power",
    seed: Annotated[int, typer.Option(min=0, help="Of the phase.")] = 0,
):
    """Turn EEG into a sound file."""
    from eegviz import reconstruction, runs, sound

    if (recording is None) == (eeg is None):
        raise ParameterError("give either --recording ID (of the run's store) or --eeg FILE.")
    if eeg is None and (listener is not None or unit != "auto"):
        raise ParameterError(
            "--listener and --unit are of --eeg FILE; a recording of the store has its own: leave them out."
        )
    sound.check_sound_path(out)
    sound.check_folder(out)
    opened = runs.open(run)
    kept = opened.store(store)
    options = {"duration": duration, "overlap": overlap, "sr": sr, "ref_db": ref_db, "scale": scale, "seed": seed}
    if eeg is not None:
        made = reconstruction.reconstruct_file(
            opened, eeg, start=start or 0, unit=unit, listener=listener, store=kept, **options
        )
    else:
        windows = opened.windows(kept)
        made = reconstruction.reconstruct(opened, recording, start=start, windows=windows, store=kept, **options)
    written = sound.write_sound(out, made.sound, made.sr)
    print(made.describe())
    simulated = kept.manifest["simulated"]
    if eeg is not None:
        from eegviz import uploads

        trained = ("The run was trained on SIMULATED EEG.",) if simulated else ()
        print(*(f"  {note}" for note in made.notes), *trained, uploads.unknown_listener(opened).text, sep="\n")
    else:
        print(*(("SIMULATED EEG.",) if simulated else ()), reconstruction.worth(opened, made), sep="\n")
    level = f", level {written.gain_db:+.1f} dB so that nothing clips" if written.gain_db else ""
    print(f"{written.path} ({written.seconds:.3f} s{level})")


@app.command()
def report(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers, names or paths; default all.")] = None,
    store: Annotated[list[Path], typer.Option(help="Store; may be given several times.")] = ...,
    out: Annotated[Path, typer.Option(help="Where the pages go.")] = Path("reports/latest"),
    runs: Annotated[Path | None, typer.Option(help="Folder of runs (default OUT/runs).")] = None,
    full: Annotated[bool, typer.Option("--full", help="Full-size models instead of fast ones.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of training.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the notebooks, e.g. real=FOLDER for notebook 11.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at a time.")] = 2,
):
    """Run notebooks headless, write HTML pages.

    The pages are self-contained and have an index; models that are not in --runs are trained first.
    """
    from eegviz import report as reports

    settings = _settings(set_)
    _check_kinds(settings, notebooks)
    index = reports.report(
        notebooks or None, store, out=out, runs=runs, fast=not full, seed=seed, settings=settings, jobs=jobs
    )
    print(index)


@app.command()
def page(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="music, imagined or segments.")],
    run: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of one store; or one folder that holds runs.")
    ],
    out: Annotated[Path, typer.Option(help="Page to write: FILE.html.")],
    store: Annotated[Path | None, typer.Option(help="Store of the runs, when it has moved.")] = None,
):
    """Write a demo page: originals beside reconstructions.

    music: original and two listeners a song. Needs one run whose split is not song or subject_song; with a second run of
    one of those, five listeners of each unseen song follow. Clips of 10 s.

    imagined: original, perceived, imagined. Needs one run of heard recordings and one of imagined ones (trained with
    --condition imagery, or --split condition:imagery). Clips of 10 s.

    segments: original, listener-independent, listener-dependent; up to three segments of each of up to three pieces. Needs
    one run whose split is subject or subject_song and one whose split is another, of the same model, features and training.
    Clips of 5 s.

    Of one folder that holds many runs the best that fit are taken: of one model where there are such, with much held-out music, whose EEG contributed. Clips are shorter
    where not all test seconds allow these lengths; all sounds have 16 kHz. A page of more than 10 MB is refused.
    """
    from eegviz import grid_page

    print(grid_page.write(kind, run, out=out, store=store))


@app.command("app")
def app_(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[STORE, RUN or TEST]...",
            help="Stores, runs, listening tests, or folders of them (default: reports/demo).",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 5006,
    address: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets others in.")] = "127.0.0.1",
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="HOST:PORT that browsers open it from, when not its own; several times.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Path before the page's, behind another server.")] = "",
    max_upload_mb: Annotated[
        float, typer.Option(min=0.01, help="Largest EEG file that people may upload; one of NMED-T has about 700 MB.")
    ] = 200.0,
    show: Annotated[bool, typer.Option("--show", help="Open a browser.")] = False,
):
    """Look, listen and doubt in a browser.

    Serves the app on this machine only, unless told otherwise. With the folder of a listening test it is the page on
    which people take the test: eegviz app tests/mine
    """
    from eegviz import catalogue, uploads
    from eegviz.app import serve

    found = catalogue.find(paths or ())
    found.limits = uploads.Limits.of_files(max_upload_mb)
    serve(
        found,
        port=port,
        address=address,
        allow_origin=allow_origin or (),
        prefix=prefix,
        show=show,
    )


def _settings(pairs):
    """``["width=4", "activation=mish"]`` to a dict with numbers as numbers."""
    settings = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ParameterError(f"--set expects KEY=VALUE, such as width=4; found {pair!r}.")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
    return settings


def _check_kinds(settings, notebooks):
    """Refuse values of another kind than the default that a notebook declares for them."""
    from eegviz import headless

    for path in headless.find_notebooks(notebooks or (), folder=None) if settings else ():
        declared = headless.declared_parameters(headless.read_notebook(path))
        for key in settings.keys() & declared.keys():
            value, default = settings[key], declared[key]
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            kind, fits = {
                bool: ("true or false", isinstance(value, bool)),
                int: ("a whole number", is_number and isinstance(value, int)),
                float: ("a number", is_number),
                str: ("text (a folder whose name is a number: ./2024)", isinstance(value, str)),
            }.get(type(default), ("", True))
            if not fits:
                raise ParameterError(
                    f"--set {key}={value if isinstance(value, str) else json.dumps(value)}: notebook {path.stem} expects {kind}."
                )


if __name__ == "__main__":
    main()
