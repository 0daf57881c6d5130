"""ipywidgets explorers for JupyterLab; a report shows their static picture or offline twin instead."""

from __future__ import annotations

import ipywidgets
from IPython.display import Audio

from eegviz import inversion, plots, tuning


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
        output.append_display_data(Audio(data=clip.ogg))

    slider.observe(follow, names="value")
    follow({"new": chooser.start})
    return ipywidgets.VBox([slider, output])


def ref_db_tuner(inverted, *, title, start=46.0, low=tuning.LOW, high=tuning.HIGH):
    """A slider for ref_dB, from 40 to 60 dB unless told otherwise: the waveform and the player follow at once, because it is only a gain.

    Parameters
    ----------
    inverted : Inverted
        From `eegviz.inversion.invert` on the power scale.
    title : str
    start, low, high : float
        Value at first, and range, in dB; `eegviz.tuning.level_range` has those of other kinds.

    Returns
    -------
    ipywidgets.VBox
    """
    slider = ipywidgets.FloatSlider(start, min=low, max=high, step=0.5, description="ref dB", continuous_update=False)
    output = ipywidgets.Output()

    def follow(change):
        sound = inverted.at(change["new"])
        peak = abs(sound).max()
        note = f", would clip: played {1 / peak:.2f} times as loud" if peak > 1 else ""
        shown = plots.waveform(sound / max(1.0, peak), inverted.sr, title=f"{title}, ref dB {change['new']:g}{note}")
        picture = plots.picture(shown, alt=f"Waveform of {title} at ref dB {change['new']:g}, peak {peak:.2f}")
        player = Audio(data=inversion.encode_sound(sound, inverted.sr))
        output.outputs = ()
        output.append_display_data(picture)
        output.append_display_data(player)

    slider.observe(follow, names="value")
    follow({"new": start})
    return ipywidgets.VBox([slider, output])
