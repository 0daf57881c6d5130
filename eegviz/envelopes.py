"""Decoding the envelope of a sound from trials of EEG: the field's plainest test, on real recordings.

The decoder learns from the first seconds of each trial and is tested on the rest, because trials may share their sound:
left-out trials would hold out nothing. The whole trial is filtered and z-scored before it is cut.

Functions: `decode` (one listener, with its null and its control), `table` (several).

Source: backward models as in Crosse et al. 2016, https://doi.org/10.3389/fnhum.2016.00604; notebook 11 shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eegviz import features, stats
from eegviz.errors import ParameterError
from eegviz.models import lagged

BAND = (0.5, 8.0)  # hertz
MIN_SHIFT = 1.0  # seconds; shorter shifts are too like none at all


@dataclass(frozen=True, eq=False)
class Decoded:
    """One listener's decoder and its score.

    Attributes
    ----------
    name : str
    r : float
        Pearson correlation of decoded and true envelope on the test part, mean over trials.
    p : float
        Share of circular shifts of the envelope (alike for all trials) with as high a mean r.
    null : np.ndarray [shape=(n_shifts,)]
        Mean r of every shift.
    control : float
        r of a decoder that was trained on shifted envelopes: what the method scores without a relation.
    alpha : float
        Lambda, in mTRFpy's scale.
    n_trials : int
    train_s, test_s : float
        Seconds of each trial.
    pattern : np.ndarray [shape=(n_channels, n_lags)]
        Forward pattern (Haufe et al. 2014); `times` are its lags in seconds.
    times : np.ndarray
    """

    name: str
    r: float
    p: float
    null: np.ndarray = field(repr=False)
    control: float
    alpha: float
    n_trials: int
    train_s: float
    test_s: float
    pattern: np.ndarray = field(repr=False)
    times: np.ndarray = field(repr=False)


def decode(trials, *, train_s=25.0, band=BAND, tmin=0.0, tmax=0.4, alphas=lagged.ALPHAS) -> Decoded:
    """Decode the envelope of one listener's trials: train on the first `train_s` seconds of each, test on the rest.

    Parameters
    ----------
    trials : Trials
        See `eegviz.datasets.trials`.
    train_s : float
        Seconds.
    band : tuple of float
        Hertz; zero-phase third-order Butterworth of EEG and envelope.
    tmin, tmax : float
        Seconds; the EEG follows the sound by these.
    alphas : float or sequence of float
        Lambda in mTRFpy's scale; several are cross-validated on the training part, trial by trial.

    Returns
    -------
    Decoded

    Raises
    ------
    ParameterError
        When the training or the test part is shorter than five seconds.
    """
    sfreq = trials.sfreq
    n_times, cut = trials.eeg.shape[-1], int(round(train_s * sfreq))
    if min(cut, n_times - cut) < 5 * sfreq:
        raise ParameterError(
            f"{trials.name}: trials have {n_times / sfreq:.1f} s, so train_s={train_s:g} leaves "
            f"{max(0, n_times - cut) / sfreq:.1f} s to test; expected at least 5 s on both sides."
        )
    eeg = _z(features.bandpass(np.asarray(trials.eeg, float), band=band, sfreq=sfreq))
    sound = _z(features.bandpass(np.asarray(trials.envelope, float), band=band, sfreq=sfreq))
    options = {"sfreq": sfreq, "tmin": tmin, "tmax": tmax}
    train = [one[:, :cut] for one in eeg]
    decoder = lagged.fit(train, [sound[:cut]] * len(train), alphas=alphas, **options)
    true = sound[cut:]
    scores = _shifted_r(np.stack([decoder.predict(one[:, cut:])[:, 0] for one in eeg]), true)
    far = int(round(MIN_SHIFT * sfreq))
    null = scores[far : len(scores) - far + 1]
    elsewhere = lagged.fit(train, [np.roll(sound[:cut], cut // 2)] * len(train), alphas=decoder.alpha, **options)
    control = _shifted_r(np.stack([elsewhere.predict(one[:, cut:])[:, 0] for one in eeg]), true)[0]
    return Decoded(
        trials.name, float(scores[0]), stats.permutation_p(scores[0], null), null, float(control), decoder.alpha,
        len(train), cut / sfreq, len(true) / sfreq, decoder.patterns[:, :, 0], decoder.times,
    )  # fmt: skip


def table(found) -> pd.DataFrame:
    """Several `Decoded` as a table, a row a listener."""
    return pd.DataFrame(
        [
            {"listener": one.name, "r": one.r, "p": one.p, "null, 95 %": float(np.quantile(one.null, 0.95)),
             "control r": one.control, "lambda": one.alpha, "trials": one.n_trials}
            for one in found
        ]
    )  # fmt: skip


def _z(x):
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)


def _shifted_r(decoded, true):
    """Mean over trials of the correlation with the envelope at every circular shift: (n_times,), the first unshifted."""
    spectrum = np.fft.rfft(_z(decoded), axis=1).mean(0)
    return np.fft.irfft(np.conj(np.fft.rfft(_z(true))) * spectrum, len(true)) / len(true)
