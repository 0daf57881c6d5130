"""Tests of the interactive picture of raw EEG."""

import holoviews as hv
import numpy as np
from bokeh.models import PlainText

from eegviz import eeg_browser


def test_names_between_dollar_signs_are_no_formulas():
    names = ["$$\\frac{1}{2}$$", "\\(x\\)", "E3"]
    eeg = np.random.default_rng(0).normal(size=(3, 1250))
    figure = hv.render(eeg_browser.traces(eeg, 125.0, names, title="$$x$$ of a listener"), backend="bokeh")
    shown = figure.children[0][0] if isinstance(figure.children[0], tuple) else figure.children[0]
    while not hasattr(shown, "yaxis"):
        shown = shown.children[0]
        shown = shown[0] if isinstance(shown, tuple) else shown
    labels = list(shown.yaxis[0].major_label_overrides.values())
    assert all(isinstance(label, PlainText) for label in labels)
    assert [label.text for label in labels] == names
    assert isinstance(shown.title.text, PlainText)
    assert shown.title.text.text == "$$x$$ of a listener"
