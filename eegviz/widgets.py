"""ipywidgets explorers for JupyterLab: the ref-dB tuner, a look into recordings, a look into runs, a choice of clips.

Each explorer shows a still picture first, an output of its own that stays where there is no kernel (a report, a saved
notebook), and below it the controls. Widgets only show: what they show is computed by `eegviz.tuning`,
`eegviz.exploration` and `eegviz.inspection` and drawn by `eegviz.stills` and `eegviz.listening`.

Functions: `ref_db_tuner`, `recording_explorer`, `run_explorer`, `choice`.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field

import ipywidgets
from IPython.display import Audio, display

from eegviz import exploration, features, inspection, inversion, levels, listening, plots, stills
from eegviz.errors import EegvizError, ParameterError

ITERATIONS = (1, 4, 8, 16, 32, 64, 100)  # of Griffin–Lim; the published code uses 32
RANGES_DB = (40.0, 120.0)  # of max_db; the paper uses 100


@dataclass(frozen=True, eq=False)
class Explorer:
    """A still picture and, below it, controls with a live view.

    Attributes
    ----------
    still : eegviz.plots.Picture
        What is shown first, and what a page without a kernel keeps.
    controls : dict of str to ipywidgets.Widget
    view : ipywidgets.HTML
        What the controls change.
    box : ipywidgets.VBox
        Controls and view.
    """

    still: plots.Picture = field(repr=False)
    controls: dict = field(repr=False)
    view: ipywidgets.HTML = field(repr=False)
    box: ipywidgets.VBox = field(repr=False)

    def _ipython_display_(self):
        display(self.still)
        display(self.box)


def ref_db_tuner(tuner, *, run=None, title=None, start=None):
    """Sliders for ref_dB, range, iterations and scale: spectrogram, waveform, sound and measures follow.

    When only the level changes on the power scale, nothing is inverted again and the view follows within milliseconds.

    Parameters
    ----------
    tuner : eegviz.tuning.Tuner
    run : eegviz.runs.Run, optional
        Where "keep for this song" stores the setting (`eegviz.levels`); without it there is no such button.
    title : str, optional
        Default the tuner's.
    start : float, optional
        ref_dB at first; default the tuner's.

    Returns
    -------
    Explorer
        With the controls ref_db, max_db, n_iter, scale and, given a run, keep.
    """
    title = tuner.title if title is None else title
    low, high = tuner.range
    value = min(max(tuner.start_ref_db if start is None else float(start), low), high)
    wide = {"style": {"description_width": "6.5rem"}, "layout": {"width": "min(32rem, 95%)"}}
    controls = {
        "ref_db": ipywidgets.FloatSlider(value, min=low, max=high, step=0.5, description="ref dB", **wide),
        "max_db": ipywidgets.FloatSlider(
            features.MAX_DB,
            min=RANGES_DB[0],
            max=RANGES_DB[1],
            step=5,
            description="range (dB)",
            continuous_update=False,
            **wide,
        ),
        "n_iter": ipywidgets.SelectionSlider(
            options=ITERATIONS, value=inversion.N_ITER, description="iterations", continuous_update=False, **wide
        ),
        "scale": ipywidgets.ToggleButtons(options=tuner.scales, description="scale", style=wide["style"]),
    }
    view, said = ipywidgets.HTML(), ipywidgets.HTML()

    def setting():
        return {name: controls[name].value for name in ("ref_db", "max_db", "n_iter", "scale")}

    def tuned():
        asked = setting()
        return tuner.at(asked.pop("ref_db"), **asked)

    def follow(change=None):
        # a slider that is dragged asks for every step: on the published scale each is an inversion
        controls["ref_db"].continuous_update = controls["scale"].value == "power"
        said.value = ""
        view.value = _or_message(lambda: listening.tuner_view(tuned(), title=title, live=True))

    for name in ("ref_db", "max_db", "n_iter", "scale"):
        controls[name].observe(follow, names="value")
    follow()
    children = [*controls.values(), view]
    if run is not None:
        if not tuner.stimulus:
            raise ParameterError(
                "a level is kept for a song: give a tuner with stimulus=, such as eegviz.tuning.tuner makes."
            )
        controls["keep"] = ipywidgets.Button(description="keep for this song", tooltip="stores the setting in the run")

        def keep(button):
            said.value = _or_message(lambda: _kept(run, tuner.stimulus, setting()))

        controls["keep"].on_click(keep)
        children += [controls["keep"], said]
    return Explorer(stills.tuned(tuned(), title=title), controls, view, ipywidgets.VBox(children))


def recording_explorer(store, *, recording=None, channel=None, second=None, kind="raw"):
    """One second of one channel of a recording (or of what was heard) in a chosen representation.

    Parameters
    ----------
    store : eegviz.store.Store
    recording, channel, kind : str, optional
    second : int, optional
        What is shown first; see `eegviz.exploration.representation`.

    Returns
    -------
    Explorer
        With the controls recording, channel, second and kind.
    """
    first = exploration.representation(
        store,
        store.recordings["recording"].iloc[0] if recording is None else recording,
        kind=kind,
        channel=channel,
        second=second,
    )
    names = store.recordings["recording"].tolist()
    held = exploration.seconds_of(store, first.recording)
    channels = store.ch_names(first.recording)
    kinds = features.EEG_KINDS + (features.AUDIO_KINDS if first.stimulus else ())
    controls = {
        "recording": ipywidgets.Dropdown(options=names, value=first.recording, description="recording"),
        "channel": ipywidgets.Dropdown(options=channels, value=first.channel or channels[0], description="channel"),
        "second": ipywidgets.IntSlider(
            first.second, min=held.start, max=held.stop - 1, description="second", continuous_update=False
        ),
        "kind": ipywidgets.Dropdown(options=kinds, value=kind, description="seen as"),
    }
    view, busy = ipywidgets.HTML(), []

    def draw():
        asked = {name: controls[name].value for name in ("channel", "second", "kind")}
        return _image(stills.representation(exploration.representation(store, controls["recording"].value, **asked)))

    def follow(change):
        if not busy:
            view.value = _or_message(draw)

    def other(change):
        busy.append(True)  # what another recording offers comes first, then one drawing
        held, channels = exploration.seconds_of(store, change["new"]), store.ch_names(change["new"])
        heard = bool(store.row(change["new"])["stimulus"])
        _offer(controls["channel"], channels)
        _offer(controls["kind"], features.EEG_KINDS + (features.AUDIO_KINDS if heard else ()))
        slider = controls["second"]
        slider.min, slider.max = min(slider.min, held.start), max(slider.max, held.stop - 1)
        slider.value = min(max(slider.value, held.start), held.stop - 1)
        slider.min, slider.max = held.start, held.stop - 1
        busy.clear()
        follow(change)

    controls["recording"].observe(other, names="value")
    for name in ("channel", "second", "kind"):
        controls[name].observe(follow, names="value")
    follow({})
    return Explorer(stills.representation(first), controls, view, ipywidgets.VBox([*controls.values(), view]))


def run_explorer(found, *, store=None, window=0, seed=0):
    """Losses of a run up to an epoch, and one of its test windows: true and drawn, to see and to hear.

    Parameters
    ----------
    found : Run, or sequence of Run
        Regression runs to choose among.
    store : eegviz.store.Store, optional
        Theirs, when it has moved.
    window : int
        Test window at first.
    seed : int
        Of the phase.

    Returns
    -------
    Explorer
        With the controls run, epoch and window.
    """
    found = list(found) if isinstance(found, list | tuple) else [found]
    if not found:
        raise ParameterError("no run to explore: give at least one (eegviz.runs.listing finds those of a folder).")
    opened = {}

    def parts(position):
        """Windows, split and store of a run, opened when it is first chosen."""
        if position not in opened:
            run = found[position]
            own = run.store() if store is None else store
            windows = run.windows(own)
            opened[position] = {"windows": windows, "split": run.split(windows), "store": own}
        return opened[position]

    def pictures(position, epoch, index):
        run = found[position]
        one = inspection.held_out(run, index, seed=seed, **parts(position))
        losses = stills.history(inspection.history(run), epoch=epoch, title=run.name)
        kind = parts(position)["windows"].settings["audio"]
        return one, losses, stills.held_out(one, kind=kind, title=run.name)

    epochs = [inspection.history(run)["epoch"].tolist() for run in found]
    _, _, still = pictures(0, epochs[0][-1], window)
    controls = {
        "run": ipywidgets.Dropdown(
            options=[(f"{i + 1}. {run.name}", i) for i, run in enumerate(found)],
            description="model",
            layout={"width": "95%"},
        ),
        "epoch": ipywidgets.SelectionSlider(
            options=epochs[0], value=epochs[0][-1], description="epoch", continuous_update=False
        ),
        "window": ipywidgets.BoundedIntText(
            window, min=0, max=inspection.n_held_out(found[0]) - 1, description="test window"
        ),
    }
    view, busy = ipywidgets.HTML(), []

    def draw():
        asked = controls["run"].value, controls["epoch"].value, controls["window"].value
        one, losses, both = pictures(*asked)
        players = "".join(
            f"<figure style='margin:.4rem 0'><figcaption>{name}</figcaption>{_player(sound, one.sr, name)}</figure>"
            for name, sound in (("true", one.true_sound), ("drawn from EEG", one.drawn_sound))
        )
        return f"{_image(losses)}{_image(both)}<p>{html.escape(one.describe())}</p>{players}"

    def follow(change):
        if not busy:
            view.value = _or_message(draw)

    def other(change):
        busy.append(True)
        own = epochs[change["new"]]
        controls["epoch"].options, controls["epoch"].value = own, own[-1]
        controls["window"].max = inspection.n_held_out(found[change["new"]]) - 1
        busy.clear()
        follow(change)

    controls["run"].observe(other, names="value")
    for name in ("epoch", "window"):
        controls[name].observe(follow, names="value")
    follow({})
    return Explorer(still, controls, view, ipywidgets.VBox([*controls.values(), view]))


def choice(chooser):
    """The live slider of an `eegviz.listening.Chooser`: picture and player of the chosen clip.

    Returns
    -------
    ipywidgets.VBox
    """
    slider = ipywidgets.SelectionSlider(
        options=[(value, i) for i, value in enumerate(chooser.values)], value=chooser.start, description=chooser.name,
        continuous_update=False,
    )  # fmt: skip
    output = ipywidgets.Output()

    def follow(change):
        clip = chooser.clips[change["new"]]
        output.outputs = ()
        output.append_display_data(plots.Picture(clip.png, clip.alt))
        player = Audio(data=clip.ogg)
        player.mimetype = "audio/ogg"  # it takes all bytes for a WAV
        output.append_display_data(player)

    slider.observe(follow, names="value")
    follow({"new": chooser.start})
    return ipywidgets.VBox([slider, output])


def _kept(run, stimulus, asked):
    level = levels.keep(
        run, stimulus,
        levels.Level(asked["ref_db"], asked["scale"], max_db=asked["max_db"], n_iter=asked["n_iter"], chosen="by ear"),
    )  # fmt: skip
    words = f"kept for {stimulus}: ref dB {level.ref_db:g}, range {level.max_db:g} dB, {level.n_iter} iterations, scale {level.scale}"
    return f"<p role='status'>{html.escape(words)}</p>"


def _offer(control, options):
    """Other options for a dropdown; what was chosen stays chosen where it can."""
    before = control.value
    control.options = options
    control.value = before if before in options else options[0]


def _image(picture):
    data = base64.b64encode(picture.png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(picture.alt)}" style="max-width:100%">'


def _player(sound, sr, name):
    data = base64.b64encode(inversion.encode_sound(sound, sr, format="wav")).decode()
    return f'<audio controls src="data:audio/wav;base64,{data}" aria-label="{html.escape(name)}" style="width:100%"></audio>'


def _or_message(make):
    """What `make` returns, or what went wrong, as text in the same place: an exception in a callback is seen by nobody."""
    try:
        return make()
    except (EegvizError, OSError) as error:
        return f"<p role='alert'>{html.escape(str(error))}</p>"
