"""Identification: equal to its definition, scikit-learn and closed forms; what is dead gets chance, a NaN never scores."""

import numpy as np
import pytest

from eegviz import identification
from eegviz.errors import DataError, ParameterError


def session(n_subjects=3, n_songs=2, n_seconds=12, seed=0):
    """Targets and labels of a test set: every listener hears every song."""
    rng = np.random.default_rng(seed)
    songs = {k: rng.random((n_seconds, 6, 5)).astype(np.float32) for k in range(n_songs)}
    order = [(s, k) for s in range(n_subjects) for k in range(n_songs)]
    target = np.concatenate([songs[k] for _, k in order])
    labels = {
        "recordings": np.repeat([f"S{s}_{k}" for s, k in order], n_seconds),
        "songs": np.repeat([f"song{k}" for _, k in order], n_seconds),
        "seconds": np.tile(np.arange(n_seconds), len(order)),
    }
    return target, labels


def slow_percentiles(prediction, target, recordings, songs, seconds):
    """The definition, one window at a time."""
    found = np.empty(len(target))
    for i in range(len(target)):
        mine = prediction[recordings == recordings[i]].astype(float)
        own = (prediction[i] - mine.mean(axis=0)).ravel()
        rows = [np.flatnonzero((songs == songs[i]) & (seconds == s))[0] for s in np.unique(seconds[songs == songs[i]])]
        bank = target[rows].astype(float)
        bank = (bank - bank.mean(axis=0)).reshape(len(rows), -1)
        like = np.array([np.corrcoef(own, candidate)[0, 1] for candidate in bank])
        true = seconds[rows] == seconds[i]
        found[i] = np.mean((like[~true] < like[true]) + 0.5 * (like[~true] == like[true]))
    return found


def test_retrieval_equals_its_definition():
    target, labels = session()
    prediction = (target + np.random.default_rng(1).normal(0, 0.5, target.shape)).astype(np.float32)
    found = identification.retrieval(prediction, target, **labels)
    expected = slow_percentiles(prediction, target, **labels)
    np.testing.assert_allclose(found.percentile, expected, atol=1e-12)
    assert identification.retrieval_percentile(prediction, target, **labels) == pytest.approx(expected.mean())
    assert (found.n_candidates == 12).all()
    np.testing.assert_allclose(found.rank_accuracy, found.percentile)
    np.testing.assert_allclose(found.two_way, found.percentile)
    np.testing.assert_array_equal(found.top_k(1), found.rank == 1)


def test_retrieval_of_the_truth_is_one_and_of_its_negative_zero():
    target, labels = session()
    assert identification.retrieval_percentile(target, target, **labels) == 1
    found = identification.retrieval(1 - target, target, **labels)
    assert found.percentile.max() == 0
    assert (found.rank == 12).all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1e-20])
def test_a_dead_prediction_gets_exactly_one_half(value):
    target, labels = session()
    prediction = np.full_like(target, value)
    found = identification.retrieval(prediction, target, **labels)
    assert (found.percentile == 0.5).all()
    np.testing.assert_allclose(found.top_k(3), 3 / 12)
    np.testing.assert_allclose(found.chance_top_k(3), 3 / 12)
    picture = np.random.default_rng(2).random(target.shape[1:]).astype(np.float32)
    assert identification.retrieval_percentile(picture + 0 * target, target, **labels) == 0.5  # a mean picture
    by_song = np.where((labels["songs"] == "song0")[:, None, None], picture, picture[::-1])
    assert identification.retrieval_percentile(by_song, target, **labels) == 0.5  # a song mean
    assert identification.retrieval_percentile(np.float32(0.1) * by_song, target, **labels) == 0.5


def test_equal_candidates_tie_exactly():
    target, labels = session(1, 1, 8)
    target[4:] = 0  # silence
    found = identification.retrieval(target, target, **labels)
    assert (found.tied == [0, 0, 0, 0, 3, 3, 3, 3]).all()
    np.testing.assert_allclose(found.percentile, [1] * 4 + [(7 - 1.5) / 7] * 4)
    np.testing.assert_allclose(found.top_k(1), [1] * 4 + [0.25] * 4)


def test_retrieval_is_blind_to_gain_offset_and_the_songs_mean():
    target, labels = session()
    rng = np.random.default_rng(3)
    prediction = target + rng.normal(0, 0.5, target.shape)
    plain = identification.retrieval(prediction, target, **labels).percentile
    marks = {name: rng.random((6, 5)) for name in np.unique(labels["recordings"])}
    marked = 0.01 * prediction + np.stack([marks[name] for name in labels["recordings"]])
    np.testing.assert_allclose(identification.retrieval(marked, target, **labels).percentile, plain)


def test_retrieval_does_not_depend_on_the_order_of_rows():
    target, labels = session()
    prediction = target + np.random.default_rng(3).normal(0, 0.5, target.shape)
    order = np.random.default_rng(4).permutation(len(target))
    mixed = identification.retrieval(prediction[order], target[order], **{k: v[order] for k, v in labels.items()})
    np.testing.assert_allclose(
        mixed.percentile, identification.retrieval(prediction, target, **labels).percentile[order]
    )


def test_chance_is_one_half_for_noise():
    target, labels = session(8, 4, 40)
    noise = np.random.default_rng(5).random(target.shape)
    found = identification.retrieval(noise, target, **labels)
    assert abs(found.percentile.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(target))
    assert abs(found.top_k(1).mean() - 1 / 40) < 0.02


def test_reassigned_scores_another_second():
    target, labels = session()
    prediction = target + np.random.default_rng(6).normal(0, 0.5, target.shape)
    found = identification.retrieval(prediction, target, **labels)
    np.testing.assert_allclose(found.reassigned(np.arange(len(target))), found.percentile, atol=1e-6)
    order = np.concatenate([part[::-1] for part in np.split(np.arange(len(target)), 6)])
    other = identification.retrieval(prediction[order], target, **labels).percentile  # prediction[order[i]] at second i
    np.testing.assert_allclose(found.reassigned(order)[order], other, atol=1e-6)
    with pytest.raises(ParameterError, match="second of another recording"):
        found.reassigned(np.roll(np.arange(len(target)), 1))


def test_uncentred_retrieval_is_offered():
    target, labels = session()
    found = identification.retrieval(target, target, **labels, centred=False)
    assert not found.centred
    assert found.percentile.mean() == 1


def test_retrieval_refusals():
    target, labels = session()
    bad = target.copy()
    bad[7, 0, 0] = np.nan
    with pytest.raises(DataError, match="window 7 holds NaN"):
        identification.retrieval(bad, target, **labels)
    with pytest.raises(DataError, match="one test second only"):
        identification.retrieval(target[:1], target[:1], **{k: v[:1] for k, v in labels.items()})
    with pytest.raises(DataError, match="different targets"):
        identification.retrieval(target, target, **{**labels, "songs": np.array(["song0"] * len(target))})
    with pytest.raises(ParameterError, match="one label for each of the 72 windows"):
        identification.retrieval(target, target, **{**labels, "songs": ["song0"]})
    with pytest.raises(ParameterError, match="seconds must be finite"):
        identification.retrieval(target, target, **{**labels, "seconds": labels["songs"]})


def test_top_k_needs_k_candidates():
    target, labels = session(1, 2, 4)
    found = identification.retrieval(target, target, **labels)
    np.testing.assert_array_equal(found.top_k(4), 1)
    for ask in (found.top_k, found.chance_top_k, lambda k: found.candidates(k=k)):
        with pytest.raises(ParameterError, match="top-5 needs 5 candidates, and a song has only 4 test seconds"):
            ask(5)


def test_candidates_score_every_second():
    target, labels = session(2, 2, 7)
    target[:7] = target[0]  # silence: ties
    target[14:21] = target[0]
    prediction = target + np.random.default_rng(6).normal(0, 0.5, target.shape)
    found = identification.retrieval(prediction, target, **labels)
    place = found.table.start + found.table.column
    np.testing.assert_array_equal(found.candidates()[place], found.percentile)
    for k in (1, 3):
        np.testing.assert_allclose(found.candidates(k=k)[place], found.top_k(k))
        np.testing.assert_allclose([found.candidates(k=k)[start : start + 7].sum() for start in found.table.start], k)
        np.testing.assert_allclose(found.reassigned(np.arange(28), k=k), found.top_k(k))


# --- match–mismatch --------------------------------------------------------------------------------------------------


def test_match_mismatch_compares_the_two_centred_correlations():
    target, labels = session(2, 2, 12)
    prediction = target + np.random.default_rng(1).normal(0, 0.8, target.shape)
    found = identification.match_mismatch(prediction, target, **labels, seed=3)
    assert (np.abs(found.imposter - labels["seconds"]) >= 2).all()
    songs = {song: target[labels["songs"] == song][:12].astype(float) for song in np.unique(labels["songs"])}
    for i in range(len(target)):
        mine = prediction[labels["recordings"] == labels["recordings"][i]]
        bank = songs[labels["songs"][i]] - songs[labels["songs"][i]].mean(axis=0)
        own = (prediction[i] - mine.mean(axis=0)).ravel()
        true, other = (np.corrcoef(own, bank[int(s)].ravel())[0, 1] for s in (labels["seconds"][i], found.imposter[i]))
        assert found.right[i] == (true > other)
    assert 0.6 < found.accuracy < 1
    assert identification.match_mismatch(target, target, **labels).accuracy == 1
    assert identification.match_mismatch(1 - target, target, **labels).accuracy == 0


def test_every_imposter_is_as_likely_and_expected_accuracy_is_the_percentile():
    target, labels = session(2, 1, 8)
    prediction = target + np.random.default_rng(1).normal(0, 0.8, target.shape)
    found = identification.retrieval(prediction, target, **labels)
    drawn = [
        identification.match_mismatch(prediction, target, **labels, found=found, apart=1, seed=s) for s in range(800)
    ]
    counts = np.unique([one.imposter[3] for one in drawn], return_counts=True)
    np.testing.assert_array_equal(counts[0], [0, 1, 2, 4, 5, 6, 7])
    assert counts[1].min() > 70
    np.testing.assert_allclose(np.mean([one.right for one in drawn], axis=0), found.percentile, atol=0.09)
    assert abs(np.mean([one.side for one in drawn]) - 0.5) < 0.02


@pytest.mark.parametrize("n_seconds", [12, 11])
def test_answering_by_side_gets_chance(n_seconds):
    target, labels = session(4, 3, n_seconds)
    found = identification.match_mismatch(np.full_like(target, 0.3), target, **labels)  # ties answer the first
    np.testing.assert_array_equal(found.right, found.side == 0)
    by_recording = [found.side[labels["recordings"] == name].sum() for name in np.unique(labels["recordings"])]
    assert set(by_recording) <= {n_seconds // 2, -(-n_seconds // 2)}
    if n_seconds % 2 == 0:
        assert found.accuracy == 0.5
    else:
        rates = [identification.match_mismatch(0 * target, target, **labels, seed=s).accuracy for s in range(100)]
        assert np.mean(rates) == pytest.approx(0.5, abs=0.005)
    assert found.chance == 0.5


def test_match_mismatch_does_not_depend_on_the_order_of_rows():
    target, labels = session()
    prediction = target + np.random.default_rng(3).normal(0, 0.5, target.shape)
    order = np.random.default_rng(4).permutation(len(target))
    plain = identification.match_mismatch(prediction, target, **labels)
    mixed = identification.match_mismatch(prediction[order], target[order], **{k: v[order] for k, v in labels.items()})
    for name in ("right", "side", "imposter"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(plain, name)[order])


def test_match_mismatch_refusals():
    target, labels = session(1, 1, 2)
    with pytest.raises(DataError, match="song0 has no test second 2 s or more away from second 0"):
        identification.match_mismatch(target, target, **labels)
    assert identification.match_mismatch(target, target, **labels, apart=1).accuracy == 1
    with pytest.raises(DataError, match="one test second only"):
        identification.match_mismatch(target[:1], target[:1], **{k: v[:1] for k, v in labels.items()})
    with pytest.raises(ParameterError, match="apart=0"):
        identification.match_mismatch(target, target, **labels, apart=0)
    bad = target.copy()
    bad[1] = np.nan
    with pytest.raises(DataError, match="window 1 holds NaN"):
        identification.match_mismatch(bad, target, **labels)


# --- classes ------------------------------------------------------------------------------------------------


def test_kappa_and_accuracy_equal_scikit_learn():
    from sklearn.metrics import accuracy_score, cohen_kappa_score

    rng = np.random.default_rng(0)
    for n_classes in (2, 5):
        true = rng.integers(n_classes, size=200)
        predicted = np.where(rng.random(200) < 0.5, true, rng.integers(n_classes, size=200))
        assert identification.accuracy(predicted, true) == pytest.approx(accuracy_score(true, predicted))
        assert identification.kappa(predicted, true) == pytest.approx(cohen_kappa_score(true, predicted))
    assert np.isnan(identification.kappa(["a", "a"], ["a", "a"]))
    assert identification.kappa(["a", "a"], ["b", "b"]) == 0


def test_chance_levels():
    true = ["a"] * 6 + ["b"] * 3 + ["c"]
    assert identification.chance_accuracy(true) == 0.6
    assert identification.chance_accuracy(true, kind="uniform") == pytest.approx(1 / 3)
    with pytest.raises(ParameterError, match="largest or uniform"):
        identification.chance_accuracy(true, kind="smallest")


def test_hits_at_k():
    scores = np.random.default_rng(0).random((500, 40))
    true = np.random.default_rng(1).integers(40, size=500)
    rank = 1 + (scores > scores[np.arange(500), true][:, None]).sum(axis=1)
    for k in (1, 3, 20, 40):
        found = identification.hits_at_k(scores, true, k=k)
        assert found.value == pytest.approx((rank <= k).mean())
        assert found.chance == k / 40
    dead = identification.hits_at_k(np.zeros((10, 40)), true[:10], k=20)
    assert dead.value == 0.5
    assert str(dead) == "Hits@20 0.500 (chance 20/40 = 0.500, n = 10)"
    with pytest.raises(DataError, match="NaN has no rank"):
        identification.hits_at_k([[0.1, np.nan]], [0], k=1)
    with pytest.raises(ParameterError, match="larger than the number of candidates"):
        identification.hits_at_k(scores, true, k=41)
    with pytest.raises(ParameterError, match="columns from 0 to 39"):
        identification.hits_at_k(scores, true + 1, k=3)
    with pytest.raises(ParameterError, match="expected"):
        identification.hits_at_k(scores[0], true, k=3)


def test_class_refusals():
    with pytest.raises(ParameterError, match="Take their argmax"):
        identification.accuracy(np.zeros((4, 3)), [0, 1, 2, 0])
    with pytest.raises(DataError, match="a NaN is no class"):
        identification.accuracy([np.nan, 1.0], [0, 1])
