"""Dictionaries: continuous features as discrete entries, the clusters that DBSCAN finds in the training side.

Conventions
-----------
* A *point* is the feature vector of one step (part of a window). Points are standardised and projected on their first
  principal components before distances are taken: in hundreds of dimensions all points are alike far from each other.
* An *entry* is a cluster: the centroid of its members' features, and their mean picture, which represents it.
* ``eps`` is the radius of a neighbourhood, ``min_points`` how many points, itself among them, make a point a core point.
* **Noise points** belong to no cluster. They make no entry and change none; as tokens they take the nearest entry, and
  their share is reported.
* A new point takes the entry whose centroid is nearest, also where its cluster is long and thin; how many members of
  clusters have their own centroid nearest is reported as ``agreement``.

No source publishes eps and MinPts, so both are parameters. ``eps="knee"`` takes the knee of the sorted distances to the
`min_points`-th neighbour, which is where Ester et al. read it off by eye; ``eps="most"`` the one of those distances that
gives the most entries. The second rule, the projection and the number of points that are looked at are our choice.

Functions: `sample` (points of the training side), `fit`, `scaling`, `k_distances`, `knee`.

Ester et al. 1996, DBSCAN, https://dl.acm.org/doi/10.5555/3001460.3001507; the knee of a curve: Satopaa et al. 2011,
https://doi.org/10.1109/ICDCSW.2011.20.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from eegviz import sides
from eegviz.errors import DataError, ParameterError

MIN_POINTS = 4  # Ester et al. for two dimensions
MAX_POINTS = 2000  # DBSCAN's neighbourhoods may hold every pair of points: 2000² of 8 bytes are 32 MB
COMPONENTS = 8
QUANTILES = np.arange(1, 20) / 20  # of the distances that eps="most" tries
RULES = ("knee", "most")


@dataclass(frozen=True, eq=False)
class Sample:
    """Points of the training side and their pictures; made by `sample`.

    Attributes
    ----------
    points : np.ndarray [shape=(n, n_features)], float64
    pictures : np.ndarray [shape=(n, …)], float32
    rows : np.ndarray of int [shape=(n,)]
        Which training window each point is a part of.
    n_total : int
        Points that the training side has; `n` of them were taken, from windows evenly spaced.
    """

    points: np.ndarray
    pictures: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    n_total: int

    def __len__(self):
        return len(self.points)


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Entries and how features are compared with them; made by `fit`.

    Attributes
    ----------
    centroids : np.ndarray [shape=(n_entries, n_features)]
        Mean features of each cluster's members, in the units of the features.
    pictures : np.ndarray [shape=(n_entries, …)]
        Mean picture of each cluster's members: the representative features.
    mean, scale : np.ndarray [shape=(n_features,)]
        Of the standardisation ``(points - mean) * scale``.
    components : np.ndarray [shape=(n_features, n_components)]
        Principal directions of the standardised points.
    counts : np.ndarray of int [shape=(n_entries,)]
        Members, without noise.
    entries : np.ndarray of int [shape=(n_points,)]
        Nearest entry of every point that was looked at, noise too.
    rows : np.ndarray of int [shape=(n_points,)]
        Which training window each of those points is a part of.
    eps : float
    noise, agreement : float
        Share of noise points; share of the others whose nearest entry is their own cluster.
    n_points, n_total : int
        Points looked at, and points in the training side.
    """

    centroids: np.ndarray
    pictures: np.ndarray = field(repr=False)
    mean: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    components: np.ndarray = field(repr=False)
    counts: np.ndarray
    entries: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    eps: float
    noise: float
    agreement: float
    n_points: int
    n_total: int

    def __len__(self):
        return len(self.centroids)

    def project(self, points):
        """Standardised points on the principal components: ``(n, n_components)``; distances are taken there."""
        return ((np.asarray(points, np.float64) - self.mean) * self.scale) @ self.components

    def nearest(self, points):
        """Number of the entry that each point is nearest to: ``(n,)``."""
        return _nearest(self.project(points), self.project(self.centroids))

    def vectors(self, points):
        """Centroid of the entry that each point is nearest to: ``(n, n_features)``, in the units of the features."""
        return self.centroids[self.nearest(points)]

    def facts(self):
        """Number of entries, share of noise, eps and the rest, by name; for the provenance of a run."""
        return {
            "entries": len(self),
            "noise": self.noise,
            "agreement": self.agreement,
            "eps": self.eps,
            "points": self.n_points,
            "points_total": self.n_total,
        }


def sample(view, read, *, rows=None, max_points=MAX_POINTS, what="features") -> Sample:
    """Points of the training side, from evenly spaced windows, so that there are at most `max_points`.

    Parameters
    ----------
    view : TrainingView
        From `eegviz.sides.training_view`; anything else is refused.
    read : callable
        ``read(positions) -> (points, pictures)`` of those windows, ``(len(positions), n_steps, …)`` each.
    rows : np.ndarray of int, optional
        Positions in the view that may be taken, such as one listener's of each second; default all.
    max_points : int
        At least one window is taken.
    what : str
        In words, for messages.

    Returns
    -------
    Sample
    """
    sides.only_training(view, f"a dictionary of {what}")
    rows = np.arange(len(view)) if rows is None else np.asarray(rows)
    n_steps = read(rows[:1])[0].shape[1]
    wanted = max(1, min(len(rows), max_points // n_steps))
    chosen = rows[np.linspace(0, len(rows) - 1, wanted).round().astype(int)]
    read_blocks = [read(chosen[i : i + sides.BLOCK]) for i in range(0, len(chosen), sides.BLOCK)]
    points, pictures = (np.concatenate(parts) for parts in zip(*read_blocks, strict=True))
    points = points.reshape(-1, points.shape[-1]).astype(np.float64)
    if not np.isfinite(points).all():
        raise DataError(
            f"{what} of the training windows are not finite, so that nothing can be clustered. "
            "Check the store with eegviz info --verify."
        )
    return Sample(points, pictures.reshape(-1, *pictures.shape[2:]), np.repeat(chosen, n_steps), len(rows) * n_steps)


def fit(
    view,
    read,
    *,
    rows=None,
    eps="knee",
    min_points=MIN_POINTS,
    components=COMPONENTS,
    max_points=MAX_POINTS,
    what="features",
) -> Dictionary:
    """The dictionary of the training side: DBSCAN's clusters.

    Parameters
    ----------
    view, read, rows, max_points
        As of `sample`.
    eps : float or {"knee", "most"}
        Radius of a neighbourhood, in the standardised features; or the rule that finds it, see the module.
    min_points : int >= 2
        MinPts: points, itself among them, that make a point a core point.
    components : int >= 0
        Principal components that distances are taken on; 0 = the standardised features themselves.
    what : str
        In words, for messages.

    Returns
    -------
    Dictionary

    Raises
    ------
    ParameterError
        All points are noise, or all are one cluster: a dictionary needs two entries or more.
    DataError
        Features that are not finite.
    """
    found = sample(view, read, rows=rows, max_points=max_points, what=what)
    n = len(found)
    _check(n, eps, min_points, what)
    mean, scale = scaling(found.points)
    directions = _principal((found.points - mean) * scale, components)
    projected = ((found.points - mean) * scale) @ directions
    distances = k_distances(projected, min_points)
    eps = _eps(eps, projected, distances, min_points)
    labels = _dbscan(projected, eps, min_points)
    n_entries, n_noise = labels.max() + 1, int((labels < 0).sum())
    _check_clusters(n_entries, n_noise, n, eps=eps, min_points=min_points, distances=distances, what=what)
    one_hot = np.eye(n_entries)[labels[labels >= 0]]  # (n_members, n_entries)
    counts = one_hot.sum(0)
    centroids = one_hot.T @ found.points[labels >= 0] / counts[:, None]
    pictures = found.pictures[labels >= 0].reshape(n - n_noise, -1).astype(np.float64)
    pictures = (one_hot.T @ pictures / counts[:, None]).reshape(n_entries, *found.pictures.shape[1:])
    entries = _nearest(projected, ((centroids - mean) * scale) @ directions)
    return Dictionary(
        centroids.astype(np.float32),
        pictures.astype(np.float32),
        mean,
        scale,
        directions,
        counts.astype(int),
        entries,
        found.rows,
        float(eps),
        n_noise / n,
        float((entries == labels)[labels >= 0].mean()),
        n,
        found.n_total,
    )


def scaling(points):
    """Mean and reciprocal standard deviation of each feature; a feature that does not vary is scaled to zero.

    Parameters
    ----------
    points : np.ndarray [shape=(n, n_features)]

    Returns
    -------
    mean, scale : np.ndarray [shape=(n_features,)]
    """
    mean, std = points.mean(0), points.std(0)
    return mean, np.where(std > 1e-6 * max(std.max(), 1e-30), 1 / np.maximum(std, 1e-30), 0.0)


def k_distances(points, k):
    """Distance of each point to its `k`-th nearest, itself the first, sorted: the smallest eps that makes it a core point.

    >>> k_distances(np.array([[0.0], [1.0], [3.0], [7.0]]), 2).tolist()
    [1.0, 1.0, 2.0, 4.0]
    """
    from sklearn.neighbors import NearestNeighbors

    return np.sort(NearestNeighbors(n_neighbors=k).fit(points).kneighbors(points)[0][:, -1])


def knee(curve):
    """Position of the knee of a rising convex curve: where it is farthest below the line between its ends.

    >>> knee(np.array([0.0, 0.1, 0.2, 0.3, 3.0, 6.0]))
    3
    """
    curve = np.asarray(curve, float)
    rise = curve[-1] - curve[0]
    if len(curve) < 2 or rise <= 0:
        return len(curve) - 1
    return int(np.argmax(np.linspace(0, 1, len(curve)) - (curve - curve[0]) / rise))


def _eps(eps, projected, distances, min_points):
    if not isinstance(eps, str):
        return float(eps)
    least = np.finfo(float).tiny  # DBSCAN wants a radius above 0, also where points coincide
    if eps == "knee":
        return max(float(distances[knee(distances)]), least)
    tried = np.unique(np.maximum(np.quantile(distances, QUANTILES), least))
    counts = [_dbscan(projected, radius, min_points).max() + 1 for radius in tried]
    return float(
        tried[len(counts) - 1 - int(np.argmax(counts[::-1]))]
    )  # of equals the largest, which has the least noise


def _dbscan(points, eps, min_points):
    from sklearn.cluster import DBSCAN

    return DBSCAN(eps=eps, min_samples=min_points).fit_predict(points)


def _principal(standard, components):
    """Directions of the most variance, ``(n_features, n_components)``; each points to where its largest weight is positive."""
    if not components:
        return np.eye(standard.shape[1])
    values, vectors = np.linalg.eigh(standard.T @ standard)
    kept = vectors[:, ::-1][:, : min(components, standard.shape[1])]
    return kept * np.sign(kept[np.abs(kept).argmax(0), np.arange(kept.shape[1])])


def _nearest(projected, centres):
    square = (centres**2).sum(1) - 2 * projected @ centres.T
    return square.argmin(1)


def _check(n, eps, min_points, what):
    if isinstance(eps, str) and eps not in RULES:
        raise ParameterError(f"eps is a positive number or one of {', '.join(RULES)}; found {eps!r}.")
    if not isinstance(eps, str) and not (np.isfinite(eps) and eps > 0):
        raise ParameterError(f"eps must be a positive number; found {eps}.")
    if not 2 <= min_points <= n:
        raise ParameterError(
            f"a dictionary of {what}: expected 2 <= min_points <= {n}, the points of the training side; found {min_points}."
        )


def _check_clusters(n_entries, n_noise, n, *, eps, min_points, distances, what):
    low, middle, high = np.quantile(distances, [0, 0.5, 1])
    where = f"The distances to neighbour number {min_points} go from {low:.3g} to {high:.3g}, half of them up to {middle:.3g}"
    if n_entries == 0:
        raise ParameterError(
            f"a dictionary of {what}: at eps {eps:.3g} and min_points {min_points} all {n} points are noise. "
            f"{where}: choose a larger eps, or fewer min_points."
        )
    if n_entries == 1:
        raise ParameterError(
            f"a dictionary of {what}: at eps {eps:.3g} and min_points {min_points} all points but {n_noise} of {n} are one "
            f"cluster, and a dictionary needs two entries or more. {where}: choose a smaller eps, fewer min_points, or "
            "eps='most'."
        )
