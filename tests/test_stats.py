"""Statistics: closed forms, SciPy, coverage in simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from eegviz import stats
from eegviz.errors import DataError, ParameterError


def table(n_recordings=3, n_seconds=20):
    return pd.DataFrame(
        [(f"r{i}", s) for i in range(n_recordings) for s in range(n_seconds)], columns=["recording", "second"]
    )


# --- intervals -------------------------------------------------------------------------------------------------------


def test_interval_equals_scipys_percentile_bootstrap_at_the_expanded_level():
    values = np.random.default_rng(0).normal(size=12)
    found = stats.bootstrap_interval(values, np.arange(12), n_boot=20_000, seed=1)
    tail = reference.norm.cdf(-np.sqrt(12 / 11) * reference.t.ppf(0.975, 11))
    expected = reference.bootstrap(
        (values,), np.mean, method="percentile", confidence_level=1 - 2 * tail, n_resamples=20_000, rng=2
    ).confidence_interval
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.04)
    assert found.high == pytest.approx(expected.high, abs=0.04)
    assert (found.n, found.n_groups, found.unit, found.level) == (12, 12, "listeners", 0.95)


def test_many_listeners_give_the_normal_interval():
    values = np.random.default_rng(0).normal(size=2000)
    found = stats.bootstrap_interval(values, np.arange(2000), n_boot=5000)
    half = 1.96 * values.std(ddof=1) / np.sqrt(2000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_listeners_count_alike_and_windows_do_not_narrow_the_interval():
    means = np.array([0.4, 0.5, 0.6, 0.7])
    once = stats.bootstrap_interval(means, list("ABCD"))
    often = stats.bootstrap_interval(np.repeat(means, [1, 1, 1, 97]), np.repeat(list("ABCD"), [1, 1, 1, 97]))
    assert once.estimate == pytest.approx(0.55)
    assert (often.estimate, often.low, often.high) == pytest.approx((once.estimate, once.low, once.high))
    assert often.n == 100


def test_other_statistics():
    values = np.array([1.0, 2, 3, 4, 100])
    found = stats.bootstrap_interval(values, np.arange(5), statistic=np.median)
    assert found.estimate == 3
    assert found.low >= 1
    assert found.high <= 100


def test_one_listener_gives_blocks_and_says_so():
    values = np.random.default_rng(0).normal(size=20)
    with pytest.raises(ParameterError, match="all 20 values are of one of the listeners"):
        stats.bootstrap_interval(values, ["A"] * 20)
    found = stats.bootstrap_interval(values, ["A"] * 20, windows=np.arange(20))
    assert found.unit == "blocks of 5 s, one listener: no interval over listeners"
    assert found.n_groups == 4
    assert "no interval over listeners" in str(found)
    with pytest.raises(ParameterError, match="one block of 5 s"):
        stats.bootstrap_interval(values[:5], ["A"] * 5, windows=np.arange(5))
    with pytest.raises(ParameterError, match="windows has 5 rows"):
        stats.bootstrap_interval(values, ["A"] * 20, windows=np.arange(5))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=12), st.floats(0.1, 10), st.floats(-10, 10))
def test_interval_properties(values, scale, shift):
    """Holds its estimate, lies in the range, repeats, follows scale and shift, widens with the level."""
    values = np.array(values)
    groups = np.arange(len(values))
    found = stats.bootstrap_interval(values, groups, n_boot=200)
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
    assert stats.bootstrap_interval(values, groups, n_boot=200) == found
    moved = stats.bootstrap_interval(scale * values + shift, groups, n_boot=200)
    assert (moved.low, moved.high) == pytest.approx((scale * found.low + shift, scale * found.high + shift), abs=1e-6)
    narrow = stats.bootstrap_interval(values, groups, n_boot=200, level=0.5)
    assert found.low <= narrow.low + 1e-12
    assert narrow.high <= found.high + 1e-12


def coverage(n, n_sets, n_boot=1000):
    hits = 0
    for seed in range(n_sets):
        values = np.random.default_rng(seed).standard_normal(n)
        found = stats.bootstrap_interval(values, np.arange(n), n_boot=n_boot, seed=seed)
        hits += found.low <= 0 <= found.high
    return hits / n_sets


def test_coverage_for_six_listeners():
    """Nominal 95 %: .92 expected here, against .84–.86 of the plain percentile interval."""
    assert 0.88 < coverage(6, 300) < 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("n", "expected"), [(3, 0.75), (4, 0.88), (6, 0.92), (10, 0.95), (20, 0.95)])
def test_coverage_is_what_the_docstring_says(n, expected):
    assert coverage(n, 3000) == pytest.approx(expected, abs=0.02)


def test_interval_refusals():
    with pytest.raises(DataError, match=r"values\[1\] is nan"):
        stats.bootstrap_interval([0.1, np.nan], ["A", "B"])
    with pytest.raises(DataError, match=r"is inf"):
        stats.bootstrap_interval([0.1, np.inf], ["A", "B"])
    with pytest.raises(ParameterError, match="one label for each"):
        stats.bootstrap_interval([0.1, 0.2], ["A"])
    with pytest.raises(ParameterError, match="level=95"):
        stats.bootstrap_interval([0.1, 0.2], ["A", "B"], level=95)
    with pytest.raises(ParameterError, match="n_boot=0"):
        stats.bootstrap_interval([0.1, 0.2], ["A", "B"], n_boot=0)


# --- permutations ----------------------------------------------------------------------------------------------------


def test_blocks_stay_in_recordings():
    windows = table(2, 12)
    found = stats.blocks(windows)
    assert found.max() == 5  # three blocks (5, 5, 2 windows) in each of two recordings
    assert windows.groupby(found)["recording"].nunique().max() == 1
    assert (windows.groupby(found)["second"].agg(np.ptp) < 5).all()
    np.testing.assert_array_equal(stats.blocks([0, 7, 3], length=3), [0, 2, 1])
    with pytest.raises(ParameterError, match="lacks second"):
        stats.blocks(windows[["recording"]])
    with pytest.raises(ParameterError, match="length=0"):
        stats.blocks([0, 1], length=0)
    with pytest.raises(ParameterError, match="finite numbers"):
        stats.blocks([0, np.nan])


@settings(deadline=None, max_examples=40)
@given(
    n_recordings=st.integers(1, 4),
    n_seconds=st.integers(6, 33),
    derange=st.booleans(),
    seed=st.integers(0, 1000),
    shuffle=st.booleans(),
)
def test_permutations_stay_in_recordings(n_recordings, n_seconds, derange, seed, shuffle):
    windows = table(n_recordings, n_seconds)
    if shuffle:
        windows = windows.sample(frac=1, random_state=seed)
    order = stats.permute_within(windows, derange=derange, seed=seed)
    assert sorted(order) == list(range(len(windows)))
    recording = windows["recording"].to_numpy()
    assert (recording[order] == recording).all()
    if derange:
        assert (order != np.arange(len(order))).all()


def test_permutations_move_whole_blocks():
    windows = table(2, 40)
    order = stats.permute_within(windows, seed=3)
    inside = np.diff(stats.blocks(windows)) == 0
    assert (np.diff(order)[inside] == 1).all()
    assert not np.array_equal(order, np.arange(80))


def test_all_permutations_are_equally_likely():
    """Three blocks: six orders, each about a sixth; derangements: two, each about a half."""
    rng = np.random.default_rng(0)
    orders = [tuple(stats.permute_within(np.arange(15), seed=rng)[::5]) for _ in range(1200)]
    counts = pd.Series(orders).value_counts()
    assert len(counts) == 6
    assert reference.chisquare(counts).pvalue > 1e-3
    orders = [tuple(stats.permute_within(np.arange(15), derange=True, seed=rng)[::5]) for _ in range(400)]
    counts = pd.Series(orders).value_counts()
    assert len(counts) == 2
    assert reference.chisquare(counts).pvalue > 1e-3


def test_permute_within_refuses_a_single_block():
    with pytest.raises(ParameterError, match="1 of 1 recordings have one block"):
        stats.permute_within([0, 1, 2])


def test_permutation_p_closed_forms():
    null = np.arange(99)
    assert stats.permutation_p(98, null) == 0.02
    assert stats.permutation_p(1000, null) == 0.01
    assert stats.permutation_p(-1, null) == 1
    assert stats.permutation_p(-1, null, alternative="less") == 0.01
    assert stats.permutation_p(1000, null, alternative="two-sided") == 0.02
    assert stats.permutation_p(0.1 + 0.2, [0.3] * 9) == 1  # rounding does not break a tie
    with pytest.raises(DataError, match="observed"):
        stats.permutation_p(np.nan, null)
    with pytest.raises(DataError, match=r"null\[0\]"):
        stats.permutation_p(0, [np.nan])
    with pytest.raises(ParameterError, match="greater, less, two-sided"):
        stats.permutation_p(0, null, alternative="more")


def test_permutation_p_is_uniform_under_the_null():
    rng = np.random.default_rng(0)
    found = [stats.permutation_p(rng.normal(), rng.normal(size=99)) for _ in range(2000)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert reference.kstest(np.array(found) - 0.005, "uniform").pvalue > 1e-3


# --- many tests, two systems -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from(["bh", "by"]))
def test_fdr_equals_its_definition(values, method):
    p = np.array(values)
    n = len(p)
    scale = sum(1 / k for k in range(1, n + 1)) if method == "by" else 1
    ranked = np.sort(p) * n * scale / np.arange(1, n + 1)
    lowest = np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1)
    found = stats.fdr(p, method=method)
    np.testing.assert_allclose(np.sort(found), np.sort(lowest), atol=1e-12)
    assert (found >= p - 1e-12).all()


def test_fdr_keeps_the_rate_of_false_discoveries():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(500):
        p = rng.random(50)
        p[:10] = rng.beta(0.1, 10, 10)
        rejected = stats.fdr(p) <= 0.1
        shares.append(rejected[10:].sum() / max(rejected.sum(), 1))
    assert np.mean(shares) < 0.1


def test_fdr_refusals():
    with pytest.raises(DataError, match=r"p\[1\] is nan"):
        stats.fdr([0.1, np.nan])
    with pytest.raises(ParameterError, match=r"p\[0\] is 1.5"):
        stats.fdr([1.5, 0.1])
    with pytest.raises(ParameterError, match="bh or by"):
        stats.fdr([0.1], method="holm")
    with pytest.raises(ParameterError, match="n ≥ 1"):
        stats.fdr([])


def test_paired_equals_scipys_exact_sign_flips():
    rng = np.random.default_rng(0)
    for n in (4, 6, 10):
        a, b = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
        found = stats.paired(a, b)
        expected = reference.permutation_test(
            (a, b),
            lambda x, y, axis: (x - y).mean(axis),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=True,
        )
        assert found.p == pytest.approx(expected.pvalue)
        assert (found.exact, found.n_flips) == (True, 2**n)
        assert found.difference.estimate == pytest.approx((a - b).mean())


def test_paired_over_seeds():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.1, 0.1, (3, 20)), rng.normal(0, 0.1, (3, 20))
    found = stats.paired(a, b, seed=3)
    once = stats.paired(a.mean(axis=0), b.mean(axis=0), seed=3)
    for name in ("estimate", "low", "high"):
        assert getattr(found.difference, name) == pytest.approx(getattr(once.difference, name))
    assert found.p == once.p
    assert (found.n_seeds, found.n_listeners, found.exact, found.n_flips) == (3, 20, False, 10_000)
    assert found.seed_spread == pytest.approx((a - b).mean(axis=1).std(ddof=1))
    assert found.n_better == ((a - b).mean(axis=0) > 0).sum()
    assert once.seed_spread is None
    text = str(found)
    assert "over 20 listeners" in text
    assert "10000 random sign flips" in text
    assert "spread over 3 seeds" in text
    assert stats.paired(b, a, seed=3).p == found.p


def test_paired_p_is_valid_under_the_null():
    rng = np.random.default_rng(1)
    found = np.array([stats.paired(*rng.normal(size=(2, 7)), n_boot=10).p for _ in range(1000)])
    for alpha in (0.05, 0.1, 0.5):
        assert (found <= alpha).mean() <= alpha + 0.03


def test_equal_systems_do_not_differ():
    a = np.random.default_rng(0).normal(size=(2, 6))
    found = stats.paired(a, a)
    assert found.p == 1
    assert (found.difference.low, found.difference.high, found.n_better) == (0, 0, 0)


def test_paired_refusals():
    with pytest.raises(ParameterError, match=r"a \(3,\) and b \(4,\)"):
        stats.paired(np.zeros(3), np.zeros(4))
    with pytest.raises(ParameterError, match="one of the listeners only"):
        stats.paired([[0.1], [0.2]], [[0.1], [0.2]])
    with pytest.raises(DataError, match=r"differences\[1\] is nan"):
        stats.paired([0.1, np.nan], [0.1, 0.2])


# --- exact tests -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.data())
def test_binomial_p_is_the_tail(n, chance, data):
    hits = data.draw(st.integers(0, n))
    tail = sum(reference.binom.pmf(k, n, chance) for k in range(hits, n + 1))
    assert stats.binomial_p(hits, n, chance=chance) == pytest.approx(tail, abs=1e-9)


def test_forced_choice_is_a_fair_coin():
    """Two-way choices of independent trials: chance one half."""
    assert stats.binomial_p(15, 20, chance=0.5) == pytest.approx(sum(reference.binom.pmf(np.arange(15, 21), 20, 0.5)))
    assert stats.binomial_p(10, 20, chance=0.5, alternative="two-sided") == 1


def test_critical_accuracy_is_the_first_significant_one():
    for n, chance, alpha in ((40, 0.25, 0.05), (100, 0.5, 0.01), (12, 0.1, 0.05)):
        hits = round(stats.critical_accuracy(n, chance=chance, alpha=alpha) * n)
        assert stats.binomial_p(hits, n, chance=chance) <= alpha < stats.binomial_p(hits - 1, n, chance=chance)
    assert stats.critical_accuracy(3, chance=0.5) > 1


def test_binomial_refusals():
    with pytest.raises(ParameterError, match="Pass hits, not an accuracy"):
        stats.binomial_p(0.8, 10, chance=0.5)
    with pytest.raises(ParameterError, match="hits=11"):
        stats.binomial_p(11, 10, chance=0.5)
    with pytest.raises(ParameterError, match="chance=10"):
        stats.binomial_p(1, 10, chance=10)
    with pytest.raises(ParameterError, match="unknown alternative"):
        stats.binomial_p(1, 10, chance=0.1, alternative="more")
    with pytest.raises(ParameterError, match="alpha=5"):
        stats.critical_accuracy(10, chance=0.1, alpha=5)
