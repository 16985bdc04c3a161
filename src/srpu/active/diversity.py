"""How different images are from what is labelled, and how typical of many they are.

All distances are Euclidean, on the features as they are given. Memory grows with the number of images, never with its
square.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

from srpu.active.reach import Features, Reach, as_floats, nearest

NEIGHBOURS = 20
"""Over how many nearest neighbours typicality is taken, as in TypiClust."""

MAX_CLUSTERS = 500
"""Clusters at most, as in TypiClust; more cost time and say little."""

CLUSTER_SIZE = 5
"""Images that a cluster should have, for typicality to mean something."""

SMALL_POOL = 10_000
"""Up to here clusters are found with all images at once, beyond with mini-batches."""

MINI_BATCH = 4096
"""Images that mini-batch k-means looks at in one step."""

MAX_REFERENCES = 2048
"""Neighbours are looked for among so many images of a cluster at most, drawn at random."""

SAME = np.float32(1e-30)
"""Points whose neighbours are nearer than this are as typical as can be."""

MAX_BLOCK = 1 << 22
"""Distances that are held at once."""

BINS = 1024
"""Steps in which :func:`standing` tells values apart."""


def k_centers(
    features: Features, labelled: Features, count: int, *, start: int | None = None
) -> Int[np.ndarray, " picks"]:
    """The greedy k-centre of core-set selection: again and again the point that is farthest from all centres.

    Exact, with ties going to the first point (Sener & Savarese, arXiv:1708.00489, without the mixed integer program).
    The maximal distance of any point to its centre is at most twice the best possible.

    Args:
        features: Of the pool, finite.
        labelled: Features of what is labelled already: centres from the start; may have no rows.
        count: How many points to pick; all of them if there are not so many.
        start: The first pick; None: the farthest point, or the one nearest to the mean where nothing is labelled.

    >>> line = np.array([[0], [1], [5], [9], [10]], np.float32)
    >>> k_centers(line, np.zeros((1, 1), np.float32), 3).tolist()
    [4, 2, 1]
    """
    reach = Reach(features, labelled)
    picks: list[int] = []
    for _ in range(min(count, len(features))):
        picks.append(reach.farthest if picks or start is None else start)
        reach.take(picks[-1])
    return np.array(picks, np.intp)


def distances_to(features: Features, centres: Features) -> Float32[np.ndarray, " n"]:
    """The distance of each point to the nearest centre; infinite where there is none.

    >>> distances_to(np.array([[0.0], [3]]), np.array([[1.0], [10]])).tolist()
    [1.0, 2.0]
    """
    distances: Float32[np.ndarray, " n"] = np.sqrt(nearest(features, centres)[0])
    return distances


def standing(values: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """The share of the pool that lies below each value, in steps of a thousandth of the largest.

    >>> [round(float(one), 2) for one in standing(np.array([0.0, 1, 2, 4]))]
    [0.0, 0.25, 0.5, 1.0]
    """
    top = float(values.max(initial=0))
    if not 0 < top < np.inf:
        return np.zeros(len(values), np.float32)
    place = values * (BINS / top)
    step = np.minimum(place.astype(np.int32), BINS - 1)
    held = np.bincount(step, minlength=BINS)
    below = (np.cumsum(held) - held).astype(np.float32)
    return ((below[step] + held.astype(np.float32)[step] * (place - step)) / len(values)).astype(np.float32)


def typical(
    features: Features,
    labelled: Features,
    count: int,
    random: np.random.Generator,
    *,
    clash: Callable[[int, int], bool] | None = None,
) -> Int[np.ndarray, " picks"]:
    """Points that stand for many others, each from another cluster as long as there are enough: no model is needed.

    From the clusters of which the fewest points are labelled or picked, the biggest first, the most typical point
    (TypiClust, Hacohen et al., arXiv:2202.02794). Clusters of fewer than :data:`CLUSTER_SIZE` points, often what went
    wrong at the microscope, wait until the others are empty.

    Args:
        features: Of the pool, finite.
        labelled: Features of what is labelled already; may have no rows.
        count: How many points to pick; fewer come back where there are not so many, or where they clash.
        random: Where the clusters begin.
        clash: Whether two points must not be picked both.
    """
    points = as_floats(features)
    group, held = clusters(points, labelled, count, random)
    order = np.lexsort((np.arange(len(points)), -typicality(points, group)))
    waiting = [list(order[group[order] == one][::-1]) for one in range(len(held))]  # the most typical one is last
    sizes = [len(members) for members in waiting]
    picks: list[int] = []
    while len(picks) < count and any(waiting):
        left = (number for number, members in enumerate(waiting) if members)
        best = min(left, key=lambda one: (sizes[one] < CLUSTER_SIZE, held[one], -sizes[one]))
        pick = int(waiting[best].pop())
        if clash is None or not any(clash(pick, other) for other in picks):
            picks.append(pick)
            held[best] += 1
    return np.array(picks, np.intp)


def clusters(
    features: Features, labelled: Features, count: int, random: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " k"]]:
    """The cluster of each point, and how many labelled points lie in each cluster.

    There are as many as leave ``count`` of them without a label, but no more than :data:`MAX_CLUSTERS`, and no more
    than ``count`` where they would have fewer than :data:`CLUSTER_SIZE` points.
    """
    points, old = as_floats(features), as_floats(labelled)
    if not len(points):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    wanted = max(1, min(len(old) + count, max(count, len(points) // CLUSTER_SIZE), MAX_CLUSTERS, len(points)))
    centres = _k_means(points, wanted, random)
    return _assigned(points, centres), np.bincount(_assigned(old, centres), minlength=len(centres))


def typicality(features: Features, group: Int[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """One over the mean distance to the nearest neighbours in the same cluster; 0 without neighbours.

    Args:
        features: Of the pool.
        group: The cluster of each point.

    >>> typicality(np.array([[0.0], [1], [5], [9]]), np.array([0, 0, 0, 1])).tolist()[1:]
    [0.4000000059604645, 0.2222222238779068, 0.0]
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    points = as_floats(features)
    found = np.zeros(len(points), np.float32)
    random = np.random.default_rng(0)  # the same answer for the same points
    with threadpool_limits(1, user_api="blas"):  # on a busy machine threads wait for each other in each small product
        for members in _members(group):
            if len(members) > 1:
                found[members] = _typicality(points[members], random)
    return found


class CoreSet:
    """How far each point of the pool is from all that is labelled or picked, as a standing in the pool."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def scores(self) -> Float32[np.ndarray, " n"]:
        """In [0, 1]; all 0 while nothing is labelled or picked."""
        return standing(np.sqrt(np.maximum(self._reach.squared, 0)))

    def take(self, index: int) -> None:
        """A point was picked."""
        self._reach.take(index)


class ClusterBased:
    """How typical each point is of its cluster, divided by 1 + the cluster's points that are labelled or picked.

    The share of the cluster that is less typical: large clusters reach more than small ones, and a point that is
    alone has 0.
    """

    def __init__(self, features: Features, labelled: Features, count: int) -> None:
        points = as_floats(features)
        self._group, self._held = clusters(points, labelled, count, np.random.default_rng(0))
        typical = typicality(points, self._group)
        self._typical = np.zeros(len(points), np.float32)
        for members in _members(self._group):
            self._typical[members] = ranks(typical[members]) - 0.5 / max(1, len(members))

    def scores(self) -> Float32[np.ndarray, " n"]:
        """In [0, 1]."""
        shared: Float32[np.ndarray, " n"] = self._typical / (1 + self._held[self._group]).astype(np.float32)
        return shared

    def take(self, index: int) -> None:
        """A point was picked."""
        self._held[self._group[index]] += 1


def ranks(values: Shaped[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """The share of the pool that lies below each value, equals counting half.

    >>> ranks(np.array([0.1, 0.9, 0.9, 0.2])).tolist()
    [0.125, 0.75, 0.75, 0.375]
    """
    _, inverse, held = np.unique(values, return_inverse=True, return_counts=True)
    middle = (np.cumsum(held) - held / 2) / max(1, len(values))
    return middle[inverse].astype(np.float32)


def _assigned(points: Float32[np.ndarray, "n d"], centres: Float32[np.ndarray, "k d"]) -> Int[np.ndarray, " n"]:
    """The nearest centre of each point, by products of matrices: several times faster than by differences."""
    found = np.zeros(len(points), np.intp)
    lengths = np.square(centres).sum(axis=1) / 2
    rows = max(1, MAX_BLOCK // len(centres))
    for low in range(0, len(points), rows):
        found[low : low + rows] = (lengths - points[low : low + rows] @ centres.T).argmin(axis=1)
    return found


def _members(group: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " _"]]:
    """The points of each cluster."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _typicality(members: Float32[np.ndarray, "n d"], random: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Typicality in one cluster; in a large one, among some of its points drawn at random."""
    members = members - members.mean(axis=0)  # small numbers: the products below lose no digits
    others = np.arange(len(members))
    if len(members) > MAX_REFERENCES:
        others = np.sort(random.choice(len(members), MAX_REFERENCES, replace=False))
    among, lengths = members[others], np.square(members).sum(axis=1)
    near = min(max(1, round(NEIGHBOURS * len(others) / len(members))), len(others) - 1)
    rows = max(1, MAX_BLOCK // len(others))
    found = np.empty(len(members), np.float32)
    for low in range(0, len(members), rows):
        squared = lengths[low : low + rows, None] + lengths[others] - 2 * (members[low : low + rows] @ among.T)
        own = np.flatnonzero((others >= low) & (others < low + rows))
        squared[others[own] - low, own] = np.inf  # no point is its own neighbour
        closest = np.partition(squared, near - 1, axis=1)[:, :near]
        found[low : low + rows] = np.sqrt(np.maximum(closest, 0)).mean(axis=1)
    return 1 / np.maximum(found, SAME)


def _k_means(points: Float32[np.ndarray, "n d"], count: int, random: np.random.Generator) -> Float32[np.ndarray, "k d"]:
    """Centres of at most ``count`` clusters; fewer where fewer points differ."""
    from sklearn.cluster import KMeans, MiniBatchKMeans  # half a second, needed only here

    sample = points
    if len(points) > SMALL_POOL:
        sample = points[np.sort(random.choice(len(points), SMALL_POOL, replace=False))]
    seeds = _seeds(sample, count, random)
    if len(seeds) < 2:
        return seeds
    shared = {"init": seeds, "n_init": 1, "random_state": int(random.integers(2**31))}
    with warnings.catch_warnings():  # equal points, and what Windows' MKL is known for
        warnings.simplefilter("ignore")
        if len(points) > SMALL_POOL:
            found = MiniBatchKMeans(len(seeds), batch_size=MINI_BATCH, max_iter=2, compute_labels=False, **shared)
        else:
            found = KMeans(len(seeds), max_iter=50, **shared)
        found.fit(points)
    return np.ascontiguousarray(found.cluster_centers_, np.float32)


def _seeds(points: Float32[np.ndarray, "n d"], count: int, random: np.random.Generator) -> Float32[np.ndarray, "k d"]:
    """Where k-means begins: points drawn with the squared distance to those drawn before (k-means++)."""
    reach = Reach(points, points[:0])
    drawn: list[int] = []
    for _ in range(count):
        weights = np.maximum(reach.squared, 0).astype(np.float64) if drawn else np.ones(len(points))
        if not weights.sum() > 0:
            break
        drawn.append(int(random.choice(len(points), p=weights / weights.sum())))
        reach.take(drawn[-1])
    return points[drawn]
