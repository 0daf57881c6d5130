import numpy as np
import pytest

from eegviz import envelopes
from eegviz.datasets import trials
from eegviz.errors import ParameterError

REFERENCE = {"listener01": 0.2425, "listener03": 0.1777, "listener05": 0.0809, "listener07": 0.2849,
             "listener09": 0.1258, "listener11": 0.1292}  # fmt: skip
LAMBDA = {"listener01": 1e2, "listener03": 1e1, "listener05": 1e3, "listener07": 1e1, "listener09": 1e2,
          "listener11": 1e1}  # fmt: skip


def simulated(coupling, seed=0, n_trials=4, seconds=24, sfreq=64):
    rng = np.random.default_rng(seed)
    n = seconds * sfreq
    envelope = np.abs(np.convolve(rng.standard_normal(n), np.hanning(12), "same")).astype(np.float32)
    eeg = rng.standard_normal((n_trials, 6, n)).astype(np.float32)
    eeg[:, 0] += coupling * 3 * np.roll((envelope - envelope.mean()) / envelope.std(), 6)
    return trials.Trials("someone", eeg, envelope, float(sfreq))


def test_a_coupled_brain_is_found_and_its_pattern_shows_where_and_when():
    found = envelopes.decode(simulated(1), train_s=12, alphas=1.0)
    assert found.r > 0.5
    assert found.p < 0.01
    assert abs(found.control) < 0.15
    channel, lag = np.unravel_index(np.abs(found.pattern).argmax(), found.pattern.shape)
    assert channel == 0
    assert found.times[lag] == pytest.approx(6 / 64, abs=1 / 64)


def test_no_coupling_is_not_found():
    p = [envelopes.decode(simulated(0, seed), train_s=12, alphas=10.0).p for seed in range(20)]
    assert 0.25 < np.mean(p) < 0.75
    assert np.mean(np.array(p) < 0.05) <= 0.2


def test_shifts_are_circular_correlations():
    rng = np.random.default_rng(0)
    decoded, true = rng.standard_normal((3, 40)), rng.standard_normal(40)
    found = envelopes._shifted_r(decoded, true)
    for shift in (0, 1, 17):
        direct = np.mean([np.corrcoef(one, np.roll(true, shift))[0, 1] for one in decoded])
        assert found[shift] == pytest.approx(direct)


def test_parts_that_are_too_short_are_refused():
    with pytest.raises(ParameterError, match=r"trials have 24.0 s, so train_s=22 leaves 2.0 s to test"):
        envelopes.decode(simulated(0), train_s=22)


@pytest.mark.slow
def test_real_eeg_gives_the_reference_values(shared_data):
    found = [envelopes.decode(one) for one in trials.open_trials(shared_data / "speech_eeg")]
    print(envelopes.table(found).to_string())
    for one in found:
        assert one.r == pytest.approx(REFERENCE[one.name], abs=0.005)
        assert one.alpha == LAMBDA[one.name]
        assert abs(one.control) < np.quantile(np.abs(one.null), 0.99)
    assert np.mean([one.r for one in found]) >= np.mean(list(REFERENCE.values())) - 1e-4
