"""Permutation nulls: equal to scoring each permutation, uniform without a signal, 1/1001 with one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from scipy import stats as reference

from eegviz import identification, metrics, nulls, stats
from eegviz.errors import DataError, ParameterError


def table(n_listeners=3, n_songs=2, seconds=range(20)):
    rows = [(f"S{i}_{k}", f"S{i}", f"song{k}", s) for i in range(n_listeners) for k in range(n_songs) for s in seconds]
    return pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "second"])


def pictures(windows, coupling=0.0, rho=0.0, shape=(8, 7), seed=0):
    """Predictions and targets whose pictures are autoregressive from one second to the next."""
    rng = np.random.default_rng(seed)
    n = windows["second"].nunique()

    def course():
        noise = rng.normal(size=(n + 60, *shape))
        return 0.5 + 0.1 * signal.lfilter([1], [1, -rho], noise, axis=0)[60:]

    songs = {song: course() for song in sorted(set(windows["stimulus"]))}
    hearings = windows.groupby("recording", sort=False)["stimulus"].first()
    target = np.concatenate([songs[song] for song in hearings])
    prediction = np.concatenate([coupling * songs[song] + (1 - coupling) * course() for song in hearings])
    return prediction, target


def labels(windows):
    return {"recordings": windows["recording"], "songs": windows["stimulus"], "seconds": windows["second"]}


def retrieval_p(windows, prediction, target, **options):
    found = identification.retrieval(prediction, target, **labels(windows))
    null = nulls.retrieval(found, nulls.orders(windows, **options), windows["subject"])
    return stats.permutation_p(nulls.listener_mean(found.percentile, windows["subject"]), null)


# --- orders ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    seconds=st.sets(st.integers(0, 60), min_size=2, max_size=40),
    how=st.sampled_from(["auto", "rotate", "shuffle"]),
    together=st.sampled_from([None, True, False]),
    limited=st.booleans(),
    seed=st.integers(0, 99),
)
def test_orders_are_permutations_within_recordings(seconds, how, together, limited, seed):
    windows = table(2, 2, sorted(seconds)).sample(frac=1, random_state=seed)
    most = 3 * len(windows) if limited else None
    found = nulls.orders(windows, n=20, how=how, together=together, max_pairs=most, seed=seed)
    index = found.index
    assert index.shape == (20, len(windows))
    assert index.dtype == np.int32
    np.testing.assert_array_equal(np.sort(index, axis=1), np.tile(np.arange(len(windows)), (20, 1)))
    recording = windows["recording"].to_numpy()
    assert (recording[index] == recording).all()
    if limited:
        met = {(i, j) for order in index for i, j in enumerate(order)}
        assert len(met) <= most


def test_blocks_move_whole():
    windows = table(2, 2, range(40))
    inside = np.diff(stats.blocks(windows)) == 0
    for how in ("rotate", "shuffle"):
        index = nulls.orders(windows, n=50, how=how, together=False).index
        assert (np.diff(index, axis=1)[:, inside] == 1).all()
        assert len(np.unique(index, axis=0)) > 40


def test_rotations_keep_the_order_of_time_and_all_are_equally_likely():
    index = nulls.orders(table(1, 1, range(20)), n=4000, how="rotate").index
    assert set(np.unique((index - np.arange(20)) % 20)) == {0, 5, 10, 15}
    assert reference.chisquare(np.unique(index[:, 0], return_counts=True)[1]).pvalue > 1e-3


def test_all_shuffles_are_equally_likely():
    index = nulls.orders(table(1, 1, range(15)), n=6000, how="shuffle").index
    counts = np.unique(index[:, ::5], axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert reference.chisquare(counts).pvalue > 1e-3


def test_recordings_of_a_song_move_together_when_asked():
    windows = table(3, 2, range(40))
    for how in ("rotate", "shuffle"):
        index = nulls.orders(windows, n=30, how=how, together=True).index.reshape(30, 3, 2, 40)
        local = index - index.min(axis=-1, keepdims=True)
        assert (local == local[:, :1]).all()
        assert (local[:, 0, 0] != local[:, 0, 1]).any()
        index = nulls.orders(windows, n=30, how=how, together=False).index.reshape(30, 3, 2, 40)
        local = index - index.min(axis=-1, keepdims=True)
        assert (local != local[:, :1]).any()


def test_the_unit_says_what_was_permuted():
    assert nulls.orders(table(6, 5, range(40))).unit == (
        "blocks of 5 s rotated within recordings, alike for all recordings of a song, 1000 permutations"
    )
    few = nulls.orders(table(3, 2, range(40)), n=1000)  # 8² rotations together are too few
    assert few.unit == "blocks of 5 s shuffled within recordings, alike for all recordings of a song, 1000 permutations"
    assert nulls.orders(table(1, 1, range(10)), lengths=(5,)).unit == (
        "blocks of 5 s shuffled within recordings, 1000 permutations (2 different orders)"
    )
    mixed = pd.concat([table(1, 3, range(40)), table(2, 1, range(7)).query("subject == 'S1'")])
    found = nulls.orders(mixed, how="shuffle", together=False)
    assert found.unit == (
        "blocks of 5 s (2 s in 1 of 4 recordings) shuffled within recordings (1 of 127 windows stay in place), "
        "1000 permutations"
    )
    assert (found.length, found.n_moving) == (5, 126)
    assert "in groups of up to 2" in nulls.orders(table(1, 3, range(40)), how="shuffle", max_pairs=240).unit
    assert "in 4 longer units" in nulls.orders(table(1, 6, range(40)), how="rotate", max_pairs=960).unit


def test_windows_at_random_move_by_blocks_with_as_many():
    rng = np.random.default_rng(0)
    windows = table(2, 2, range(100)).iloc[np.sort(rng.permutation(400)[:80])]
    found = nulls.orders(windows, n=50)
    assert found.n_moving > 60
    since = windows["second"] - windows.groupby("stimulus")["second"].transform("min")
    block = stats.blocks(windows.assign(second=since))
    sizes = np.bincount(block)[block]
    assert (sizes[found.index] == sizes).all()


def test_orders_refuse():
    with pytest.raises(ParameterError, match="none of the 6 recordings has two windows"):
        nulls.orders(table(3, 2, range(1)))
    with pytest.raises(ParameterError, match="lacks second"):
        nulls.orders(table()[["recording"]])
    with pytest.raises(ParameterError, match="needs the column stimulus"):
        nulls.orders(table()[["recording", "second"]], together=True)
    with pytest.raises(ParameterError, match="table of windows"):
        nulls.orders(np.arange(10))
    with pytest.raises(DataError, match="S0_0 has second 3 twice"):
        nulls.orders(pd.concat([table(), table().iloc[[3]]]))
    with pytest.raises(ParameterError, match="falling order"):
        nulls.orders(table(), lengths=(1, 5))
    with pytest.raises(ParameterError, match="rotate or shuffle"):
        nulls.orders(table(), how="deal")
    with pytest.raises(ParameterError, match="less than two for each of the 120 windows"):
        nulls.orders(table(), max_pairs=200)
    with pytest.raises(ParameterError, match="n=0"):
        nulls.orders(table(), n=0)


# --- scores under each order -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored():
    windows = pd.concat([table(2, 2), table(3, 1, range(12)).query("subject == 'S2'")], ignore_index=True)
    windows.loc[windows["subject"] == "S2", "stimulus"] = "song0"
    rng = np.random.default_rng(1)
    songs = rng.random((2, 20, 8, 7)).astype(np.float32)
    song = windows["stimulus"].str[-1].astype(int).to_numpy()
    target = songs[song, windows["second"].to_numpy()]
    prediction = np.clip(0.3 * target + 0.7 * rng.random(target.shape), 0, 1).astype(np.float32)
    return windows, prediction, target, nulls.orders(windows, n=40)


def test_retrieval_and_top_k_equal_reassigned_windows(scored):
    windows, prediction, target, orders = scored
    found = identification.retrieval(prediction, target, **labels(windows))
    for k, null in ((None, nulls.retrieval(found, orders, windows["subject"])),
                    (3, nulls.top_k(found, orders, windows["subject"], 3))):  # fmt: skip
        back = np.argsort(orders.index, axis=1)  # the prediction of order[i] for the second of i
        expected = [nulls.listener_mean(found.reassigned(order, k=k), windows["subject"]) for order in back]
        np.testing.assert_allclose(null, expected, atol=1e-12)
    with pytest.raises(ParameterError, match="top-13 needs 13 candidates"):
        nulls.top_k(identification.retrieval(prediction[-12:], target[-12:], **labels(windows[-12:])), orders, [], 13)
    with pytest.raises(ParameterError, match="make both from the same table"):
        nulls.retrieval(found, nulls.orders(windows[:60]), windows["subject"])


@pytest.mark.parametrize("name", ["cosine", "correlation", "ssi", "psnr", "mse"])
def test_pairs_equal_scoring_each_permutation(scored, name):
    windows, prediction, target, orders = scored
    score = getattr(metrics, name)
    null = nulls.pairs(score, prediction, target, orders, windows["subject"])
    expected = [nulls.listener_mean(score(prediction[order], target), windows["subject"]) for order in orders.index]
    np.testing.assert_allclose(null, expected, rtol=1e-9)


def test_pairs_read_memory_maps_and_functions(scored, tmp_path):
    windows, prediction, target, orders = scored
    np.save(tmp_path / "p.npy", prediction)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    expected = nulls.pairs(metrics.mse, prediction, target, orders, windows["subject"])
    found = nulls.pairs(metrics.mse, mapped, lambda rows: target[rows], orders, windows["subject"])
    np.testing.assert_array_equal(found, expected)


def test_match_mismatch_equals_its_definition(scored):
    windows, prediction, target, orders = scored
    found = identification.retrieval(prediction, target, **labels(windows))
    matched = identification.match_mismatch(prediction, target, **labels(windows), found=found)
    null = nulls.match_mismatch(matched, found, orders, windows["subject"])
    for k in range(3):
        other = prediction[orders.index[k]]
        again = identification.match_mismatch(other, target, **labels(windows))
        np.testing.assert_array_equal(again.imposter, matched.imposter)
        assert nulls.listener_mean(again.right, windows["subject"]) == pytest.approx(null[k], abs=1e-12)


def test_by_bin_equals_its_definition(scored):
    windows, prediction, target, orders = scored
    found = nulls.by_bin(prediction, target, orders, windows["subject"])
    p, t = prediction.astype(float), target.astype(float)
    for rows in windows.groupby("recording").indices.values():
        p[rows] -= p[rows].mean(axis=0)
        t[rows] -= t[rows].mean(axis=0)

    def score(p):
        bins = []
        for rows in windows.groupby("subject").indices.values():
            a, b = p[rows], t[rows]
            bins.append((a * b).sum((0, 1)) / np.sqrt((a**2).sum((0, 1)) * (b**2).sum((0, 1))))
        return np.mean(bins, axis=0)

    np.testing.assert_allclose(found["correlation"], score(p))
    null = np.array([score(p[order]) for order in orders.index])
    np.testing.assert_allclose(found["null mean"], null.mean(axis=0))
    np.testing.assert_allclose(found["p"], [stats.permutation_p(*pair) for pair in zip(score(p), null.T, strict=True)])
    np.testing.assert_allclose(found["p FDR"], stats.fdr(found["p"]))


def test_labels_equal_their_definition():
    windows = table(3, 3, range(4))
    rng = np.random.default_rng(0)
    true = windows["stimulus"].to_numpy()
    named = np.where(rng.random(36) < 0.5, true, rng.permutation(true))
    found = nulls.labels(named, true, windows, n=2000)
    assert found.observed_accuracy == pytest.approx((named == true).mean())
    assert found.observed_kappa == pytest.approx(identification.kappa(named, true))
    assert found.unit == "songs of recordings within listeners, 2000 permutations (216 different orders)"
    every, songs = [], np.unique(true)
    from itertools import permutations, product

    for orders in product(permutations(songs), repeat=3):
        given_songs = np.repeat(np.array(orders).ravel(), 4)
        every.append(((named == given_songs).mean(), identification.kappa(named, given_songs)))
    every = np.array(every)
    assert found.accuracy.mean() == pytest.approx(every[:, 0].mean(), abs=0.01)
    assert set(found.accuracy.round(9)) <= set(every[:, 0].round(9))
    assert set(found.kappa.round(9)) <= set(every[:, 1].round(9))


def test_labels_of_one_recording_a_listener_go_among_all():
    windows = table(4, 2, range(3)).query("recording in ('S0_0', 'S1_1', 'S2_0', 'S3_1')")
    found = nulls.labels(windows["stimulus"], windows["stimulus"], windows)
    assert found.unit.startswith(
        "songs of recordings among all recordings (no listener has two songs in the test), 1000"
    )
    assert stats.permutation_p(found.observed_accuracy, found.accuracy) == pytest.approx(1 / 6, abs=0.04)
    with pytest.raises(ParameterError, match="all 2 test recordings are of one song"):
        nulls.labels(["a"] * 6, ["a"] * 6, windows.query("stimulus == 'song0'"))
    with pytest.raises(DataError, match="recording S0_0 has two songs"):
        nulls.labels(np.arange(12), np.arange(12), windows)


# --- a signal, none, and what is dead --------------------------------------------------------------------------------


def test_a_signal_gives_the_smallest_p():
    windows = table(4, 3, range(40))
    prediction, target = pictures(windows, coupling=0.3, rho=0.5)
    assert retrieval_p(windows, prediction, target) == 1 / 1001
    orders, listeners = nulls.orders(windows), windows["subject"]
    for name in ("cosine", "ssi", "psnr"):
        score = getattr(metrics, name)
        null = nulls.pairs(lambda p, t, score=score: score(p, t), prediction, np.clip(target, 0, 1), orders, listeners)
        observed = nulls.listener_mean(score(prediction, np.clip(target, 0, 1)), listeners)
        assert stats.permutation_p(observed, null) == 1 / 1001
    assert (nulls.by_bin(prediction, target, orders, listeners)["p FDR"] < 0.01).all()


def test_p_is_uniform_without_a_signal():
    """Autoregressive predictions and targets, correlation .5 from one second to the next."""
    windows = table(3, 3, range(40))
    found = [
        retrieval_p(windows, *pictures(windows, rho=0.5, shape=(4, 5), seed=seed), n=199, seed=seed)
        for seed in range(100)
    ]
    assert reference.kstest(found, "uniform").pvalue > 1e-3
    assert np.mean(np.array(found) <= 0.05) <= 0.12


@pytest.mark.slow
def test_slow_courses_need_blocks_that_keep_their_shape():
    """What the docstring of `orders` says: false positives of single windows, shuffled and rotated blocks."""
    windows = table(4, 3, range(40))
    rates = {}
    for name, options in {
        "window": {"how": "shuffle", "together": False, "lengths": (1,)},
        "block": {"how": "shuffle", "together": False},
        "rotation": {"how": "rotate", "together": True},
    }.items():
        p = [
            retrieval_p(windows, *pictures(windows, rho=0.8, shape=(4, 6), seed=seed), n=199, seed=seed, **options)
            for seed in range(300)
        ]
        rates[name] = np.mean(np.array(p) <= 0.05)
    assert rates["rotation"] < 0.09
    assert rates["rotation"] < rates["block"] < rates["window"]
    assert rates["window"] > 0.13


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_dead_prediction_is_never_significant(value):
    windows = table(3, 2, range(20))
    _, target = pictures(windows)
    target, prediction = np.clip(target, 0, 1), np.full(target.shape, value, dtype=np.float32)
    orders, listeners = nulls.orders(windows), windows["subject"]
    found = identification.retrieval(prediction, target, **labels(windows))
    assert nulls.listener_mean(found.percentile, listeners) == 0.5
    assert set(nulls.retrieval(found, orders, listeners)) == {0.5}
    assert (
        stats.permutation_p(nulls.listener_mean(found.top_k(3), listeners), nulls.top_k(found, orders, listeners, 3))
        == 1
    )
    for name in ("cosine", "correlation", "ssi", "psnr", "mse"):
        score = getattr(metrics, name)
        null = nulls.pairs(score, prediction, target, orders, listeners)
        assert stats.permutation_p(nulls.listener_mean(score(prediction, target), listeners), null) == 1
    bins = nulls.by_bin(prediction, target, orders, listeners)
    assert (bins["correlation"] == 0).all()
    assert (bins["p"] == 1).all()
    named = nulls.labels(["song0"] * len(windows), windows["stimulus"], windows)
    assert stats.permutation_p(named.observed_accuracy, named.accuracy) == 1
    assert stats.permutation_p(named.observed_kappa, named.kappa) == 1


def test_the_order_of_rows_does_not_matter():
    windows = table(3, 2, range(20))
    prediction, target = pictures(windows, coupling=0.05)
    mixed = np.random.default_rng(5).permutation(len(windows))
    results = []
    for rows in (np.arange(len(windows)), mixed):
        own, p, t = windows.iloc[rows], prediction[rows], target[rows]
        orders, listeners = nulls.orders(own, n=200), own["subject"]
        found = identification.retrieval(p, t, **labels(own))
        results.append(
            [
                nulls.retrieval(found, orders, listeners),
                nulls.top_k(found, orders, listeners, 2),
                nulls.pairs(metrics.cosine, p, t, orders, listeners),
                nulls.by_bin(p, t, orders, listeners)["null mean"],
                nulls.labels(own["stimulus"], own["stimulus"], own, n=200).accuracy,
            ]
        )
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_one_listener_has_a_p():
    windows = table(1, 3, range(40))
    prediction, target = pictures(windows, coupling=0.4)
    assert retrieval_p(windows, prediction, target) == 1 / 1001


def test_refusals(scored):
    windows, prediction, target, orders = scored
    bad = prediction.copy()
    bad[7, 0, 0] = np.nan
    for function in (nulls.pairs, nulls.by_bin):
        arguments = (metrics.mse,) if function is nulls.pairs else ()
        with pytest.raises(DataError, match="window 7 holds NaN"):
            function(*arguments, bad, target, orders, windows["subject"])
        with pytest.raises(ParameterError, match="n_windows=92"):
            function(*arguments, prediction[:5], target, orders, windows["subject"])
        with pytest.raises(ParameterError, match="listeners has shape"):
            function(*arguments, prediction, target, orders, ["A"])
    with pytest.raises(ParameterError, match="more than max_pairs=100"):
        nulls.pairs(metrics.mse, prediction, target, orders, windows["subject"], max_pairs=100)
    with pytest.raises(DataError, match="not finite"):
        nulls.pairs(lambda p, t: np.full(len(p), np.nan), prediction, target, orders, windows["subject"])
