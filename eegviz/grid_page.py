"""The demo pages of the field, from runs: one HTML file with all sounds and pictures inside.

Three kinds, as EEG2Mel-GAN's and Echoes of the Brain's pages lay them out:

- ``music``: original, listener A, listener B for every song; with a second run that held out a song, a row of five
  listeners for it;
- ``imagined``: original, perceived, imagined for every melody;
- ``segments``: original, listener-independent, listener-dependent; three segments of each of three pieces.

All sounds of a page have one rate, and one length where the test seconds allow it. Beyond the demo pages: each clip has
its score and chance, each run its split and verdict.

Functions: `page`, `write`. Notebook 6 shows the same grids.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eegviz import _page_runs, catalogue, evaluation, listening, runs, splits, verdict
from eegviz.errors import ParameterError
from eegviz.headless import write_text
from eegviz.listening import rows
from eegviz.page import banner, escape, shell, slug
from eegviz.sound import check_folder

SR = 16_000  # Hz, of all sounds of a page: the rate of the published clips
SECONDS = {
    "music": 10,
    "imagined": 10,
    "segments": 5,
}  # of a clip where the test seconds allow it; published: 10, 10, 5.12
OVERLAP = 0.5  # of one-second windows, but for segments: longer clips sound smoother so
UNSEEN_LISTENERS = 5
MAX_BYTES = 10e6
ABOUT = {
    "music": (
        "Heard music, reconstructed from EEG",
        "Would you have known the song? The original beside what a model makes of the brain activity of two people "
        "who listened to it.",
    ),
    "imagined": (
        "Heard and imagined melodies, reconstructed from EEG",
        "Does an imagined melody sound like the heard one? The original beside what a model makes of one person's brain "
        "activity while listening, and while only imagining.",
    ),
    "segments": (
        "Segments of music, by a model that does not know the listener and by one that does",
        "How much does a model need to know the listener? Both models draw from the same EEG. One never met this listener; "
        "the other was trained with other EEG of the same person.",
    ),
}
READING = (
    "Each picture is a spectrogram; the line below each grid names its axes. Levels are matched to the original, because the louder of two sounds is "
    "taken for the better one; “as reconstructed” takes that back.",
    "Below each clip stands its retrieval: the share of the song's other test seconds whose music is less like the drawn "
    "picture than the true second's is, averaged over the n seconds of the clip, and what guessing gives. A "
    "clip that sounds like music need not come from the brain: the verdict below each grid says what the EEG added.",
)
PLAYING = (
    "Play a clip and change to another while it plays: it goes on at the same place. Click on a picture to go there, drag "
    "along it to loop a part. With the keyboard: space plays, 1 to 9 choose a clip, arrows move, a and b set the loop, "
    "? shows all keys. The address of this page keeps what you hear, so a finding can be sent as a link."
)


@dataclass(frozen=True)
class _Part:
    """A section of a page: heading, what it holds, its grid, and the runs it rests on by name."""

    title: str
    text: str
    grid: listening.Grid
    runs: dict


def write(kind, paths, *, out, store=None):
    """Make a page from run folders and write it.

    Parameters
    ----------
    kind : {"music", "imagined", "segments"}
    paths : sequence of path
        Run folders; see `page` for which. Or one folder that holds runs: the best that fit are taken, see
        `eegviz._page_runs.choose`.
    out : path
        The file to write, ``.html``.
    store : path, optional
        The store of the runs, when it has moved.

    Returns
    -------
    Path

    Raises
    ------
    ParameterError
        An unknown kind, wrong runs, runs of different data, a name that is no HTML file or whose folder is not there.
    """
    _check_kind(kind)
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise ParameterError(f"--out {str(out)!r}: expected the name of a page that ends in .html.")
    check_folder(out)
    if len(paths) == 1 and not (Path(paths[0]) / catalogue.CONFIG).exists() and catalogue.runs_of(paths[0]):
        found = _page_runs.choose(kind, paths[0], store=store, fits=SECONDS_OF[kind])
    else:
        found = [runs.open(path) for path in paths]
    return write_text(out, page(kind, found, store=store))


def page(kind, found, *, store=None):
    """A whole page, as HTML.

    Parameters
    ----------
    kind : {"music", "imagined", "segments"}
    found : sequence of Run
        ``music``: one of any split but song and, if wanted, one that holds out songs. ``imagined``: one of heard and one of
        imagined recordings. ``segments``: one that holds out listeners and one that does not.
    store : path, optional
        The store of the runs, when it has moved.

    Returns
    -------
    str

    Raises
    ------
    ParameterError
        As in `write`; or the page would be larger than 10 MB.
    """
    _check_kind(kind)
    named = _page_runs.named(kind, found)
    data = _one_store(found, store)
    told = {run.path: verdict.sentence(evaluation.evaluate(run, store=data)) for run in found}
    html = _html(kind, PARTS[kind](named, data), told, found, data)
    if len(html.encode()) > MAX_BYTES:
        raise ParameterError(
            f"the page would have {len(html.encode()) / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g}: this store has too many "
            "songs for one page. Make a grid of some of them in a notebook: listening.listeners_grid(run, store, songs=…)."
        )
    return html


def _music_seconds(named, store):
    """Length of the clips: as published, or the most that all can have."""
    return min(
        rows.common_seconds(run, store, wanted=SECONDS["music"], n_listeners=2 if part == "seen" else UNSEEN_LISTENERS)
        for part, run in named.items()
    )


def _imagined_seconds(named, store):
    return rows.shared_seconds(named, store, wanted=SECONDS["imagined"])


def _segments_seconds(named, store):
    _page_runs.one_model(named)
    return rows.shared_seconds(named, store, wanted=SECONDS["segments"])


SECONDS_OF = {"music": _music_seconds, "imagined": _imagined_seconds, "segments": _segments_seconds}


def _music(named, store):
    seen, unseen = named["seen"], named.get("unseen")
    seconds = _music_seconds(named, store)
    options = {"duration": seconds, "sr": SR, "overlap": _overlap(named.values())}
    parts = [
        _Part(
            "Songs, two listeners each",
            "What the model draws here is held out of its training. The listeners are named below the clips.",
            listening.listeners_grid(seen, store, n_listeners=2, **options),
            {"Model": seen},
        )
    ]
    if unseen is not None:
        made = listening.unseen_grid(unseen, store, n_listeners=UNSEEN_LISTENERS, **options)
        text = (
            f"A second model was trained without this song. Here it meets it, from {len(made.columns) - 1} listeners."
        )
        parts.append(_Part("An unseen song", text, made, {"Model without the song": unseen}))
    return parts


def _imagined(named, store):
    seconds = _imagined_seconds(named, store)
    made = listening.conditions_grid(named, store, duration=seconds, sr=SR, overlap=_overlap(named.values()))
    text = "One listener a row, whose heard and imagined recordings are both held out, at the same seconds."
    return [_Part("Melodies", text, made, dict(named))]


def _segments(named, store):
    seconds = _segments_seconds(named, store)
    made = listening.segments_grid(named, store, duration=seconds, sr=SR)
    text = (
        "Up to three segments of each of up to three pieces; one listener a piece, at seconds held out by both models."
    )
    return [_Part("Segments", text, made, dict(named))]


PARTS = {"music": _music, "imagined": _imagined, "segments": _segments}


def _one_store(found, store):
    data = {run.config["data"]["fingerprint"]: run for run in found}
    if len(data) > 1:
        told = ", ".join(f"{run.path.name} of {run.provenance['store']}" for run in data.values())
        raise ParameterError(f"the runs of a page must be of one store; found {told}. Train them on the same one.")
    return found[0].store(store)


def _overlap(found):
    """Windows of several seconds cannot overlap."""
    return OVERLAP if all(run.config["features"].get("duration", 1) == 1 for run in found) else 0.0


def _html(kind, parts, told, found, store):
    title, question = ABOUT[kind]
    manifest, used, contents = store.manifest, {"main"}, []

    def heading(text):
        name = slug(text, used=used)
        contents.append((2, name, text))
        return f'<h2 id="{escape(name)}">{escape(text)}</h2>\n'

    html = [f"<h1>{escape(title)}</h1>\n<p>{escape(question)}</p>\n"]
    if manifest["simulated"]:
        html.insert(0, banner("Simulated data.", "No brain was recorded for anything on this page.", kind="simulated"))
    html += [heading("What you see and hear"), *(f"<p>{escape(text)}</p>\n" for text in (*READING, PLAYING))]
    html.append(listening.Grid.assets())
    for part in parts:
        said = " ".join([part.text, *_untrained(part.runs)])
        html += [heading(part.title), f"<p>{escape(said)}</p>\n", part.grid.html(assets=False), "\n"]
        html += [_verdict(name, told[run.path]) for name, run in part.runs.items()]
    facts = {
        "data_set": manifest["title"], "licence": manifest["licence"], "citation": manifest["citation"],
        "sounds": f"OGG, {SR} Hz", "runs": [f"{run.path.name}: {run.name}" for run in found],
        "data_fingerprint": store.fingerprint[:12], "versions": {"eegviz": found[0].provenance["versions"]["eegviz"]},
        "simulated": bool(manifest["simulated"]),
    }  # fmt: skip
    return shell("".join(html), title=title, description=question, contents=contents, facts=facts)


def _untrained(named):
    """What is new in the clips of each run, and what its model knows: once where it is the same for all."""
    said = {name: splits.untrained(run.config["split"]["spec"]) for name, run in named.items()}
    if len(set(said.values())) == 1:
        return list(said.values())[:1]
    return [f"{name}: {text[0].lower()}{text[1:]}" for name, text in said.items()]


def _verdict(name, sentence):
    """What the EEG contributed, as a box: the sentence that every page about this run has."""
    head, _, rest = sentence.partition(": ")
    return banner(f"{name}. {head}:", rest, kind="note")


def _check_kind(kind):
    if kind not in PARTS:
        raise ParameterError(f"unknown page {kind!r}; known are {', '.join(PARTS)}.")
