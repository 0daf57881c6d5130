"""Listening: grids of players over pictures, as the field's demo pages have them, and the ref-dB slider's offline twin."""

from eegviz.listening.chooser import Chooser
from eegviz.listening.grid import Clip, Grid, clip
from eegviz.listening.rows import conditions_grid, listeners_grid, picture_clip, segments_grid, unseen_grid
from eegviz.listening.samples import emotions_grid, guidance_clips, other_eeg_clips
from eegviz.listening.tuner import OfflineTuner, offline_tuner, tuner_assets, tuner_view

__all__ = [
    "Chooser",
    "Clip",
    "Grid",
    "OfflineTuner",
    "clip",
    "conditions_grid",
    "emotions_grid",
    "guidance_clips",
    "listeners_grid",
    "offline_tuner",
    "other_eeg_clips",
    "picture_clip",
    "segments_grid",
    "unseen_grid",
    "tuner_assets",
    "tuner_view",
]
