import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from eegviz.datasets import trials
from eegviz.errors import DataError, ParameterError
from eegviz.models import lagged

SFREQ = 64
# mTRFpy 2.1.2 on real EEG (see the README of the data): listener: r, lambda
REFERENCE = {
    1: (0.2425, 1e2),
    3: (0.1777, 1e1),
    5: (0.0809, 1e3),
    7: (0.2849, 1e1),
    9: (0.1258, 1e2),
    11: (0.1292, 1e1),
}


def make(n_trials=4, n_times=300, n_channels=5, n_outputs=1, seed=0):
    """EEG that follows the target by 1 to 6 samples, differently on each channel, in noise."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((n_trials, n_times, n_outputs))
    eeg = rng.standard_normal((n_trials, n_channels, n_times))
    for channel in range(n_channels):
        eeg[:, channel] += np.roll(target[..., channel % n_outputs], 1 + channel, axis=1)
    return list(eeg), list(target)


def design(eeg, lags):
    """The lagged matrix, sample by sample, zeros outside: the definition."""
    n_channels, n_times = eeg.shape
    out = np.zeros((n_times, len(lags), n_channels))
    for t in range(n_times):
        for i, lag in enumerate(lags):
            if 0 <= t + lag < n_times:
                out[t, i] = eeg[:, t + lag]
    return out.reshape(n_times, -1)


@settings(max_examples=40, deadline=None)
@given(
    first=st.integers(-9, 9), n_lags=st.integers(1, 6), step=st.integers(1, 4), n_times=st.integers(30, 50),
    n_channels=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_lagged_sums_are_those_of_the_lagged_matrix(first, n_lags, step, n_times, n_channels, seed):
    rng = np.random.default_rng(seed)
    eeg, target = rng.standard_normal((n_channels, n_times)), rng.standard_normal((n_times, 2))
    lags = first + step * np.arange(n_lags)
    found, expected = lagged.lagged_sums(eeg, target, lags), lagged.Sums.of(design(eeg, lags), target)
    for name in ("xx", "xy", "yy", "x", "y"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-10, err_msg=name)
    assert found.n == expected.n


@pytest.mark.parametrize("n_alphas", [1, 3, 30])
def test_weights_are_those_of_scikit_learn(n_alphas):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x, y = 3 + rng.standard_normal((200, 12)), rng.standard_normal((200, 3)) - 5
    sums = lagged.Sums.of(x, y)
    alphas = np.logspace(-3, 3, n_alphas)
    for alpha, weights in zip(alphas, lagged.path(sums, alphas), strict=True):
        reference = Ridge(alpha=alpha * len(x)).fit(x, y)
        np.testing.assert_allclose(weights, reference.coef_.T, atol=1e-9)
    weights, intercept = lagged.solve(sums, alphas[-1])
    np.testing.assert_allclose(intercept, reference.intercept_, atol=1e-9)


def test_no_penalty_is_least_squares_of_smallest_norm():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4))
    x = np.column_stack([x, x[:, 0], np.full(50, 7.0)])  # a doubled and a constant feature
    y = x[:, :2].sum(1) + 2
    weights, intercept = lagged.solve(lagged.Sums.of(x, y), 0.0)
    np.testing.assert_allclose(weights[:, 0], [0.5, 1, 0, 0, 0.5, 0], atol=1e-7)
    np.testing.assert_allclose(intercept, 2, atol=1e-6)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_cross_validation_from_sums_is_the_explicit_one(n_outputs):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((120, 6))
    y = x @ rng.standard_normal((6, n_outputs)) + 2 * rng.standard_normal((120, n_outputs)) + 1
    parts = np.array_split(np.arange(120), 4)
    alphas = [1e-3, 0.1, 10.0]
    found = lagged.cross_validate([lagged.Sums.of(x[i], y[i]) for i in parts], alphas)
    r, mse = np.zeros((4, 3)), np.zeros((4, 3))
    for k, held in enumerate(parts):
        rest = np.setdiff1d(np.arange(120), held)
        for j, alpha in enumerate(alphas):
            weights, intercept = lagged.solve(lagged.Sums.of(x[rest], y[rest]), alpha)
            predicted = x[held] @ weights + intercept
            r[k, j] = np.mean([np.corrcoef(predicted[:, q], y[held][:, q])[0, 1] for q in range(n_outputs)])
            mse[k, j] = ((predicted - y[held]) ** 2).mean()
    np.testing.assert_allclose(found.r, r.mean(0), atol=1e-10)
    np.testing.assert_allclose(found.mse, mse.mean(0), atol=1e-10)
    assert found.alpha == alphas[int(r.mean(0).argmax())]
    by_mse = lagged.cross_validate([lagged.Sums.of(x[i], y[i]) for i in parts], alphas, criterion="mse")
    assert by_mse.alpha == alphas[int(mse.mean(0).argmin())]


def test_constant_targets_score_nought_and_ties_take_the_larger_alpha():
    x = np.random.default_rng(0).standard_normal((40, 3))
    found = lagged.cross_validate([lagged.Sums.of(x[i::2], np.full(20, 3.0)) for i in range(2)], [1.0, 10.0])
    assert found.r.tolist() == [0, 0]
    assert found.alpha == 10
    np.testing.assert_allclose(found.mse, 0, atol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_same_lambda_and_lags_give_mtrfpys_weights_and_correlation(n_outputs):
    model = pytest.importorskip("mtrf.model")
    eeg, target = make(n_outputs=n_outputs)
    ours = lagged.fit(eeg, target, sfreq=SFREQ, tmax=0.1, alphas=3.0)
    theirs = model.TRF(direction=-1)
    theirs.train([y.copy() for y in target], [x.T.copy() for x in eeg], SFREQ, 0, 0.1, 3.0, verbose=False)
    assert len(theirs.times) == len(ours.lags)
    np.testing.assert_allclose(ours.weights, theirs.weights[:, ::-1] / SFREQ, atol=1e-10)  # its lags fall, ours rise
    np.testing.assert_allclose(ours.intercept, theirs.bias.ravel() / SFREQ, atol=1e-10)
    other_eeg, other = make(n_outputs=n_outputs, seed=1)
    _, r = theirs.predict([y.copy() for y in other], [x.T.copy() for x in other_eeg])
    assert ours.score(other_eeg, other).mean() == pytest.approx(r, abs=1e-8)


def test_cross_validation_agrees_with_mtrfpys():
    model = pytest.importorskip("mtrf.model")
    eeg, target = make(n_outputs=2)
    alphas = [1e-1, 1e1, 1e3]
    ours = lagged.fit(eeg, target, sfreq=SFREQ, tmax=0.1, alphas=alphas)
    theirs = model.TRF(direction=-1)
    scores = theirs.train([y.copy() for y in target], [x.T.copy() for x in eeg], SFREQ, 0, 0.1, alphas, verbose=False)
    np.testing.assert_allclose(list(ours.scores.values()), scores, atol=1e-8)
    assert ours.alpha == theirs.regularization


def test_a_known_response_is_recovered_and_its_pattern_is_the_response():
    """EEG = gain × target 3 samples before + noise that channels share: weights cancel the noise, the pattern does not."""
    rng = np.random.default_rng(0)
    target, noise = rng.standard_normal(20000), 3 * rng.standard_normal(20000)
    eeg = np.stack([2 * np.roll(target, 3) + noise, noise])
    decoder = lagged.fit([eeg], [target], sfreq=100, tmax=0.05, alphas=1e-6)
    assert decoder.times.tolist() == [0, 0.01, 0.02, 0.03, 0.04, 0.05]
    expected = np.zeros((2, 6))
    expected[:, 3] = 0.5, -0.5
    np.testing.assert_allclose(decoder.weights[..., 0], expected, atol=1e-3)
    np.testing.assert_allclose(decoder.patterns[:, 3, 0], [2, 0], atol=0.1)
    assert np.abs(np.delete(decoder.patterns[..., 0], 3, axis=1)).max() < 0.15
    assert decoder.score([eeg], [target])[0, 0] > 0.99


def test_patterns_are_haufes_formula():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)) @ rng.standard_normal((5, 5))
    y = x @ rng.standard_normal((5, 2)) + rng.standard_normal((300, 2))
    sums = lagged.Sums.of(x, y)
    weights, _ = lagged.solve(sums, 0.1)
    predicted = x @ weights
    expected = np.cov(x.T) @ weights @ np.linalg.inv(np.cov(predicted.T))
    np.testing.assert_allclose(lagged.haufe(sums, weights), expected, atol=1e-8)


def test_the_order_of_trials_changes_nothing():
    eeg, target = make()
    alphas = [1.0, 100.0]
    first = lagged.fit(eeg, target, sfreq=SFREQ, tmax=0.1, alphas=alphas)
    turned = lagged.fit(eeg[::-1], target[::-1], sfreq=SFREQ, tmax=0.1, alphas=alphas)
    np.testing.assert_allclose(first.weights, turned.weights, atol=1e-12)
    np.testing.assert_allclose(list(first.scores.values()), list(turned.scores.values()), atol=1e-12)


def test_one_trial_is_folded_in_time_and_one_alpha_needs_no_folds():
    eeg, target = make(n_trials=1, n_times=500)
    decoder = lagged.fit(eeg, target, sfreq=SFREQ, tmax=0.1, alphas=[1.0, 1e6])
    assert decoder.alpha == 1
    assert set(decoder.scores) == {1.0, 1e6}
    assert lagged.fit(eeg, [y[:, 0] for y in target], sfreq=SFREQ, tmax=0.1, alphas=1.0).scores == {}


def test_a_constant_channel_does_no_harm():
    eeg, target = make()
    with_constant = [np.vstack([one, np.zeros(one.shape[1])]) for one in eeg]
    plain = lagged.fit(eeg, target, sfreq=SFREQ, tmax=0.1, alphas=[1.0, 10.0])
    padded = lagged.fit(with_constant, target, sfreq=SFREQ, tmax=0.1, alphas=[1.0, 10.0])
    np.testing.assert_allclose(padded.weights[:-1], plain.weights, atol=1e-10)
    np.testing.assert_allclose(padded.weights[-1], 0, atol=1e-12)


def bad(eeg=None, target=None, **options):
    good = make()
    return lagged.fit(
        good[0] if eeg is None else eeg, good[1] if target is None else target, **{"sfreq": SFREQ} | options
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"eeg": [np.full((5, 300), np.nan)] * 4}, DataError, "NaN or infinity"),
        ({"target": [np.zeros((299, 1))] * 4}, ParameterError, "trial 0: .*same n_times, found \\(5, 300\\)"),
        ({"target": make()[1][:3]}, ParameterError, "as many targets as EEG trials.*found 3 and 4"),
        ({"eeg": [], "target": []}, ParameterError, "one or more; found 0"),
        ({"eeg": make(3)[0] + make(1, n_channels=4)[0]}, ParameterError, "trial 3 has 4 channels"),
        ({"tmax": 5.0}, ParameterError, "300 samples is too short for lags from 0 to 320"),
        ({"tmin": 0.5}, ParameterError, "tmin <= tmax"),
        ({"folds": 1}, ParameterError, "folds of 2 or more and at most the 4 trials; found 1"),
        ({"folds": 5, "by": "trials"}, ParameterError, "at most the 4 trials; found 5"),
        ({"by": "songs"}, ParameterError, "known are trials, blocks"),
        ({"alphas": [-1.0, 1.0]}, ParameterError, "not negative"),
        ({"alphas": []}, ParameterError, "one or more"),
        ({"criterion": "auc"}, ParameterError, "known are r, mse"),
        ({"sfreq": 0}, ParameterError, "sfreq must be positive"),
        ({"step": 0.5}, ParameterError, "whole number of samples"),
    ],
)
def test_bad_requests_say_what_is_wrong(options, error, message):
    with pytest.raises(error, match=message):
        bad(**options)


def test_bad_sums_and_channels_say_what_is_wrong():
    one = lagged.Sums.of(np.eye(3), np.arange(3.0))
    with pytest.raises(ParameterError, match="two folds or more, found 1"):
        lagged.cross_validate([one], [1.0])
    with pytest.raises(ParameterError, match="cannot be joined"):
        one + lagged.Sums.of(np.eye(2), np.arange(2.0))
    with pytest.raises(ParameterError, match=r"found \(3, 3\) and \(2, 1\)"):
        lagged.Sums.of(np.eye(3), np.arange(2.0))
    with pytest.raises(ParameterError, match="two rows or more, found 1"):
        lagged.solve(lagged.Sums.of(np.ones((1, 2)), [1.0]), 1.0)
    with pytest.raises(ParameterError, match="fitted on 5 channels"):
        bad(alphas=1.0).predict(np.zeros((4, 100)))


def filtered(listener):
    """Trials as the reference has them: whole trials are filtered, then z-scored, and cut in halves afterwards."""
    sos = butter(3, (0.5, 8), "bandpass", fs=listener.sfreq, output="sos")

    def clean(values):
        values = sosfiltfilt(sos, values.astype(float), axis=-1)
        return (values - values.mean(-1, keepdims=True)) / values.std(-1, keepdims=True)

    return clean(listener.eeg), clean(listener.envelope)


def halves(listener):
    eeg, envelope = filtered(listener)
    cut = int(25 * listener.sfreq)
    same = [envelope] * len(eeg)
    return (list(eeg[..., :cut]), [y[:cut] for y in same]), (list(eeg[..., cut:]), [y[cut:] for y in same])


@pytest.fixture(scope="module")
def listeners(shared_data):
    return {int(one.name.removeprefix("listener")): one for one in trials.open_trials(shared_data / "speech_eeg")}


@pytest.mark.parametrize("number", REFERENCE)
def test_real_eeg_gives_the_reference_values(listeners, number):
    """With the same lambda, ± .005; with the target turned by many seconds, nothing."""
    r, alpha = REFERENCE[number]
    train, test = halves(listeners[number])
    decoder = lagged.fit(*train, sfreq=SFREQ, alphas=alpha)
    assert decoder.score(*test).mean() == pytest.approx(r, abs=0.005)
    predicted = np.mean([decoder.predict(eeg)[:, 0] for eeg in test[0]], 0)
    turns = [np.roll(test[1][0], shift) for shift in range(3 * SFREQ, 22 * SFREQ, 8)]
    null = np.array([np.corrcoef(predicted, one)[0, 1] for one in turns])
    assert abs(null.mean()) < 0.03
    assert np.corrcoef(predicted, test[1][0])[0, 1] > np.quantile(null, 0.95)


@pytest.mark.slow
def test_real_eeg_with_its_own_lambda(listeners):
    scores = []
    for number, (r, alpha) in REFERENCE.items():
        train, test = halves(listeners[number])
        decoder = lagged.fit(*train, sfreq=SFREQ)
        scores.append(decoder.score(*test).mean())
        turned = lagged.fit(train[0], [np.roll(y, 11 * SFREQ) for y in train[1]], sfreq=SFREQ, alphas=alpha)
        print(f"\nlistener {number}: r {scores[-1]:.4f} at {decoder.alpha:g} (reference {r} at {alpha:g}), "
              f"trained on turned targets {turned.score(*test).mean():.4f}")  # fmt: skip
    assert np.mean(scores) >= np.mean([r for r, _ in REFERENCE.values()]) - 1e-3
