"""Windows of predicted spectrograms, put together to one continuous spectrogram.

A one-second window has frames at multiples of the hop, 512 (or 256) samples, which do not divide a second: its last frame
lies 34 samples before the next second begins. Two ways lead from windows to the frame grid of one long sound:

- `join`: windows end to end, one each second, as they are scored. Frames at a seam saw only a part of their samples; they
  are mended, and all frames are interpolated to the grid.
- `cross_fade`: windows that overlap. They begin **on the grid**, at a whole number of hops (`first_frames`), so that nothing
  is interpolated. A window's first and last two frames, which saw the cut, are left out where another window has them,
  and the rest is faded with a Hann taper whose sum is divided out. For true windows the result is the continuous
  spectrogram itself.

Pictures are cross-faded **on the scale that the model predicts**, decibels for the decibel kinds, which is our choice: true
windows agree, so for them the scale makes no difference, and on predictions of simulated listeners decibels, amplitude
and power came within .04 dB of one another (the networks' mel error: 15.45, 15.43, 15.42 dB). The sound changed at the
seams 1.8 to 2.3 times as fast as elsewhere end to end, and 1.0 to 1.1 times cross-faded, at the same mel error.

Functions: `join`, `first_frames`, `cross_fade`. `eegviz.reconstruction` uses them.
"""

from __future__ import annotations

import numpy as np

from eegviz import features
from eegviz.errors import ParameterError
from eegviz.features import SR

SPRAY_ABOVE = np.float32(4)  # see join; noise stays untouched at 4, not at 2; our choice
CUT = 2  # frames at each end of a window whose samples the cut touches: half a frame is two hops
OVERLAPS = (0.1, 0.9)  # below, only frames that saw the cut would lie at some seams; above, nothing is gained


def join(power, *, sr=SR, n_samples=None, kind="mel"):
    """Join consecutive one-second power spectrograms on the frame grid of one continuous spectrogram.

    The last and the first frame of neighbouring windows each saw only one half of their samples (the rest was
    zero padding). The two halves meet at the seam, so their powers **add** to the frame centred there: exactly
    so for its total energy, by Parseval. Cutting a tone also sprays power over all bins, alike on both sides,
    while an onset shows on one side only: where the sum exceeds both clean neighbours four times, the part
    common to both sides is taken away. Frames are then interpolated, linearly in amplitude, to multiples of
    the hop, which on music came closer to the continuous spectrogram than power or decibels did.

    Parameters
    ----------
    power : np.ndarray [shape=(n_windows, n_frames, n_bins)], non-negative
        Power spectrograms of consecutive seconds, ``n_frames = 1 + sr // hop_length``.
    sr : int
        Hertz.
    n_samples : int, optional
        Length of the sound described; default ``n_windows * sr``.
    kind : str
        Whose hop it is; see `eegviz.features.layout`.

    Returns
    -------
    np.ndarray [shape=(1 + n_samples // hop_length, n_bins)], float32

    Examples
    --------
    Five seconds have 216 frames, not 5 × 44 = 220:

    >>> join(np.ones((5, 44, 128))).shape
    (216, 128)
    """
    hop_length = features.layout(kind).hop_length
    power = np.array(power, np.float32)
    if power.ndim != 3 or power.shape[1] != 1 + round(sr) // hop_length:
        expected = f"(n_windows, {1 + round(sr) // hop_length}, n_bins)"
        raise ParameterError(f"join expects windows of one second, {expected} at {sr:g} Hz; found {power.shape}.")
    n_windows, n_frames, _ = power.shape
    n_samples = round(n_windows * sr) if n_samples is None else n_samples
    times = np.arange(n_windows)[:, None] * float(sr) + np.arange(n_frames) * hop_length
    clean = SPRAY_ABOVE * np.maximum(power[:-1, -3], power[1:, 2])
    spray = np.minimum(power[:-1, -1], power[1:, 0])
    seam = power[:-1, -1] + power[1:, 0]
    power[1:, 0] = np.maximum(seam - 2 * spray, np.minimum(seam, clean))
    for frame in (power[:-1, -2], power[1:, 1]):  # cut where the Hann window is about half as high
        frame[:] = np.maximum(frame - spray / 4, np.minimum(frame, clean))
    times[1:, 0] = (times[1:, 0] + times[:-1, -1]) / 2
    keep = np.ones((n_windows, n_frames), bool)
    keep[:-1, -1] = False  # merged into the next window's first frame
    times, amplitude = times[keep], np.sqrt(power[keep])
    wanted = np.arange(1 + n_samples // hop_length) * hop_length
    left = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(times) - 2)
    part = np.clip((wanted - times[left]) / (times[left + 1] - times[left]), 0, 1).astype(np.float32)[:, None]
    return np.square(amplitude[left] * (1 - part) + amplitude[left + 1] * part)


def first_frames(n_samples, *, overlap, kind="mel"):
    """Frames of the continuous grid at which overlapping one-second windows begin.

    Spaced evenly and as far apart as `overlap` allows, the first at 0, the last so that it ends where the sound ends.

    Parameters
    ----------
    n_samples : int
        Length of the sound described, at 22 050 Hz; a second or more.
    overlap : float
        Share of a window that its neighbour also covers: 0.1 to 0.9.
    kind : str
        See `eegviz.features.layout`.

    Returns
    -------
    np.ndarray of int [shape=(n_windows,)]

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> first_frames(3 * 22050, overlap=0.5).tolist()
    [0, 22, 43, 64, 86]
    """
    check_overlap(overlap)
    layout = features.layout(kind)
    last = 1 + int(n_samples) // layout.hop_length - layout.n_frames
    if overlap == 0 or last < 0:
        raise ParameterError(
            f"windows that overlap need a share from {OVERLAPS[0]:g} to {OVERLAPS[1]:g} and a second of sound; found "
            f"overlap={overlap:g} and {n_samples} samples. Windows end to end are put together by join."
        )
    step = (1 - overlap) * SR / layout.hop_length
    return np.rint(np.linspace(0, last, 1 + int(np.ceil(last / step - 1e-9)))).astype(int)


def cross_fade(pictures, first):
    """Cross-fade overlapping windows to one continuous picture.

    Parameters
    ----------
    pictures : np.ndarray [shape=(n_windows, n_frames, n_bins)]
    first : sequence of int [shape=(n_windows,)]
        Frame at which each window begins, from `first_frames`.

    Returns
    -------
    np.ndarray [shape=(first[-1] + n_frames, n_bins)], float32

    Raises
    ------
    ParameterError
        Windows that do not begin at 0, do not rise, or leave a frame without a window that saw it whole.

    Examples
    --------
    >>> ramp = np.arange(65.0)[:, None] * np.ones(3)
    >>> made = cross_fade([ramp[:44], ramp[21:]], [0, 21])
    >>> made.shape, bool(np.allclose(made, ramp, rtol=1e-6))
    ((65, 3), True)
    """
    pictures, first = np.asarray(pictures, np.float32), np.asarray(first)
    n_windows, n_frames = pictures.shape[:2] if pictures.ndim == 3 else (0, 0)
    if n_frames <= 2 * CUT or first.shape != (n_windows,) or first.dtype.kind not in "iu":
        raise ParameterError(
            f"cross_fade expects windows (n_windows, n_frames > {2 * CUT}, n_bins) and a whole first frame of each; found "
            f"{pictures.shape} and {first.dtype} {first.shape}."
        )
    if first[0] != 0 or (np.diff(first) < 1).any() or (np.diff(first) > n_frames - 2 * CUT).any():
        raise ParameterError(
            f"windows must begin at frame 0 and each from 1 to {n_frames - 2 * CUT} frames after the one before; found "
            f"{first[:8].tolist()}."
        )
    taper = np.sin(np.pi * (np.arange(n_frames) - CUT + 1) / (n_frames - 2 * CUT + 1)) ** 2
    taper[:CUT] = taper[-CUT:] = 0
    total = np.zeros((first[-1] + n_frames, pictures.shape[2]))
    weights = np.zeros(len(total))
    for i, (picture, start) in enumerate(zip(pictures, first, strict=True)):
        weight = taper.copy()
        if i == 0:
            weight[:CUT] = taper[CUT]
        if i == n_windows - 1:
            weight[-CUT:] = taper[CUT]
        total[start : start + n_frames] += weight[:, None] * picture
        weights[start : start + n_frames] += weight
    return (total / weights[:, None]).astype(np.float32)


def check_overlap(overlap):
    """Refuse an overlap that is neither 0 nor in `OVERLAPS`."""
    low, high = OVERLAPS
    if not (overlap == 0 or low <= overlap <= high):
        raise ParameterError(
            f"overlap must be 0 (windows end to end) or from {low:g} to {high:g} of a window; found {overlap:g}. "
            "0.5 lets every moment but the first and last half second lie in two windows."
        )
