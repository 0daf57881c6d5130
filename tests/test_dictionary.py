from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import dictionary, sides
from eegviz.errors import DataError, ParameterError


def view_of(points, n_test=0):
    """The training side of windows that are one step each: the point itself; the last `n_test` are no training windows."""
    n = len(points)
    table = pd.DataFrame({"subject": ["S"] * n, "stimulus": ["a"] * n, "second": np.arange(n)})
    windows = SimpleNamespace(table=table, pictures=lambda rows: points[rows], target=lambda rows: points[rows])
    rows, none = np.arange(n), np.array([], int)
    split = SimpleNamespace(spec="random", train=rows[: n - n_test], validation=none, test=rows[n - n_test :])
    return sides.training_view(windows, split)


def fit(points, n_test=0, **options):
    view = view_of(np.asarray(points, float), n_test)

    def read(rows):
        found = view.pictures(rows)[:, None]  # (n, 1 step, n_features)
        return found, found.astype(np.float32)

    return dictionary.fit(view, read, **options)


def blobs(noise=((2.5, 2.5),), seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 0.1, (20, 2)), rng.normal(5, 0.1, (30, 2)), np.reshape(noise, (-1, 2))])


@pytest.mark.parametrize("eps", [0.5, "knee", "most"])
def test_two_blobs_and_noise(eps):
    points = blobs()
    made = fit(points, eps=eps)
    assert len(made) == 2 if eps != "most" else len(made) >= 2
    if eps != "most":
        assert made.counts.tolist() == [20, 30]
        assert made.noise == pytest.approx(1 / 51)
        # entries are the means of members, in the units of the features; noise changes none of them
        np.testing.assert_allclose(made.centroids, [points[:20].mean(0), points[20:50].mean(0)], rtol=1e-5)
        np.testing.assert_allclose(made.pictures, made.centroids, rtol=1e-5)
        assert made.entries[:50].tolist() == [0] * 20 + [1] * 30
        assert made.agreement == 1
    assert made.noise + made.counts.sum() / 51 == pytest.approx(1)


def test_noise_and_new_points_take_the_nearest_entry():
    points = blobs(noise=[(2.0, 2.0), (3.5, 3.5)])
    made = fit(points, eps=0.5)
    assert made.noise == pytest.approx(2 / 52)
    assert made.entries[50:].tolist() == [0, 1]
    assert made.nearest([[0.3, -9], [9, 9.0]]).tolist() == [0, 1]
    np.testing.assert_array_equal(made.vectors([[9, 9.0]]), made.centroids[1:])


def test_it_is_scikit_learns_dbscan():
    from sklearn.cluster import DBSCAN

    points = np.random.default_rng(0).normal(size=(200, 3))
    made = fit(points, eps=0.5, min_points=5, components=0)
    labels = DBSCAN(eps=0.5, min_samples=5).fit_predict((points - points.mean(0)) / points.std(0))
    assert made.counts.tolist() == np.bincount(labels[labels >= 0]).tolist()
    assert made.noise == (labels < 0).mean()
    for k, centroid in enumerate(made.centroids):
        np.testing.assert_allclose(centroid, points[labels == k].mean(0), rtol=1e-4, atol=1e-6)


def test_the_knee_is_where_the_curve_turns():
    flat, steep = np.linspace(0, 0.1, 80), np.linspace(0.1, 3, 21)[1:]
    assert dictionary.knee(np.concatenate([flat, steep])) == 79
    assert dictionary.knee(np.full(10, 2.0)) == 9
    # of two dense blobs and a far point, the knee is at the last point of the blobs
    made = fit(blobs(noise=[(20.0, -20.0)]))
    assert (len(made), made.noise) == (2, pytest.approx(1 / 51))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(0, 5))
def test_k_distance_is_the_least_radius_of_a_core_point(k, seed):
    points = np.random.default_rng(seed).normal(size=(15, 2))
    every = np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), axis=1)
    np.testing.assert_allclose(dictionary.k_distances(points, k), np.sort(every[:, k - 1]), atol=1e-12)


def test_most_gives_no_fewer_entries_than_the_other_rule():
    points = np.random.default_rng(1).normal(size=(300, 3)) * [1, 2, 3]
    points[:150] += 8
    assert len(fit(points, eps="most")) >= len(fit(points, eps="knee"))


def test_all_noise_and_one_cluster_say_what_to_change():
    with pytest.raises(
        ParameterError, match=r"music: at eps 0.001 and min_points 4 all 51 points are noise.*larger eps"
    ):
        fit(blobs(), eps=0.001, what="music")
    with pytest.raises(ParameterError, match=r"all points but 0 of 51 are one cluster.*smaller eps.*eps='most'"):
        fit(blobs(), eps=50.0)
    with pytest.raises(ParameterError, match="all points but 0 of 20 are one cluster"):
        fit(np.zeros((20, 3)))  # silence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": "elbow"}, "one of knee, most; found 'elbow'"),
        ({"eps": -1.0}, "positive number; found -1"),
        ({"eps": float("nan")}, "positive number"),
        ({"min_points": 1}, "2 <= min_points <= 51, the points of the training side; found 1"),
        ({"min_points": 52}, "found 52"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ParameterError, match=message):
        fit(blobs(), **options)


def test_features_that_are_not_finite_are_refused():
    points = blobs()
    points[3] = np.nan
    with pytest.raises(DataError, match="music of the training windows are not finite"):
        fit(points, what="music")


def test_only_the_training_side_is_seen():
    points = blobs(noise=np.random.default_rng(5).normal(100, 1, (30, 2)))
    with_test, alone = fit(points, n_test=30, eps=0.5), fit(points[:50], eps=0.5)
    assert np.array_equal(with_test.centroids, alone.centroids)
    with pytest.raises(ParameterError, match="expected a TrainingView"):
        dictionary.fit(points, None)
    with pytest.raises(ParameterError, match="a dictionary of music is fitted on training windows only"):
        dictionary.sample(points, None, what="music")


def test_the_number_of_points_is_bounded_and_said():
    points = np.random.default_rng(0).normal(size=(1000, 2))
    points[::2] += 9
    made = fit(points, eps=0.5, max_points=101)
    assert (made.n_points, made.n_total) == (101, 1000)
    assert made.facts()["points"] == 101
    assert made.rows[[0, 50, 100]].tolist() == [0, 500, 999]  # evenly spaced, both ends


def test_chosen_rows_only():
    points = blobs()
    made = fit(points, rows=np.arange(0, 50, 2), eps=0.5)
    assert made.n_total == 25
    assert set(made.rows) == set(range(0, 50, 2))


def test_the_projection_keeps_distances_where_it_keeps_all_components():
    points = np.random.default_rng(0).normal(size=(60, 4))
    points[:30] += 6
    all_of_them, projected = fit(points, components=0, eps=2.0), fit(points, components=4, eps=2.0)
    assert np.array_equal(all_of_them.entries, projected.entries)
    assert projected.project(points).shape == (60, 4)
    assert fit(points, components=2, eps=2.0).project(points).shape == (60, 2)
