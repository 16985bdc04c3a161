"""How different images are from what is labelled, and how typical of many they are.

All distances are Euclidean, on the features as they are given. Memory grows with the number of images, never with its
square, and the passes over the features run on all cores that numba may use (``NUMBA_NUM_THREADS``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

Features = Shaped[np.ndarray, "_ d"]

NEIGHBOURS = 20
"""Over how many nearest neighbours typicality is taken, as in TypiClust."""

MAX_CLUSTERS = 500
"""Clusters at most, as in TypiClust; more cost time and say little."""

CLUSTER_SIZE = 5
"""Images that a cluster should have on average, for typicality to mean something."""

SMALL_POOL = 10_000
"""Up to here clusters are found with all images at once, beyond with mini-batches."""

MAX_REFERENCES = 2048
"""Neighbours are looked for among so many images of a cluster at most, drawn at random."""

MAX_BLOCK = 1 << 22
"""Distances that are held at once."""

ROWS_PER_THREAD = 2048
"""Fewer images are not worth a thread."""

BLOCK = 16
"""Points that are compared with a centre while it is in the nearest cache."""

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
    return np.sqrt(Reach(features, centres).squared)


class Reach:
    """How far each point is from the nearest centre, kept up to date while points become centres.

    A pass computes distances only where the triangle inequality does not rule out that the new centre is nearer than
    the old one: if it is at least twice as far from the old centre as the point is, it is not.

    Attributes:
        squared: Squared distance to the nearest centre; -1 for points that are centres themselves.
        farthest: The first of the points that are farthest away; without any centre, the one nearest to the mean.
    """

    def __init__(self, features: Features, centres: Features, *, prune: bool = True) -> None:
        self._points, first = as_floats(features), as_floats(centres)
        n, dimensions = self._points.shape
        self._prune = prune
        # Twice what rounding can add up to over all dimensions: pruning never changes a result.
        self._slack = np.float32(4 * (1 + (dimensions + 8) * float(np.finfo(np.float32).eps)))
        threads = max(1, min(numba.get_num_threads(), n // ROWS_PER_THREAD))
        self._parts = [(n * part // threads, n * (part + 1) // threads) for part in range(threads)]
        self._workers = ThreadPoolExecutor(threads)
        self.squared = np.full(n, np.inf, np.float32)
        self._nearest = np.zeros(n, np.int32)
        if len(first):
            self._on_parts(_nearest_of, self._points, first, self.squared, self._nearest)
            used, inverse = np.unique(self._nearest, return_inverse=True)
            self._centres, self._nearest = first[used], inverse.astype(np.int32)
            self.farthest = int(self.squared.argmax()) if n else 0
        else:
            self._centres = first
            self.farthest = self._central() if n else 0
        self._count = len(self._centres)

    def take(self, index: int) -> None:
        """Make a point a centre."""
        centre = self._points[index]
        gaps = np.zeros(max(1, self._count), np.float32)
        if self._prune and self._count:
            _squared_to(self._centres[: self._count], centre, gaps)
        self._append(centre)
        self.squared[index] = -1
        state = (self._points, self.squared, self._nearest, centre, np.int32(self._count - 1), gaps, self._slack)
        best = self._on_parts(_update, *state)
        self.farthest = max(best, key=lambda one: one[0])[1]  # the first of equals: parts are in order

    def _append(self, centre: Float32[np.ndarray, " d"]) -> None:
        if self._count == len(self._centres):
            more = np.empty((max(64, self._count), len(centre)), np.float32)
            self._centres = np.concatenate([self._centres, more])
        self._centres[self._count] = centre
        self._count += 1

    def _central(self) -> int:
        squared = np.empty(len(self._points), np.float32)
        _squared_to(self._points, self._points.mean(axis=0, dtype=np.float64).astype(np.float32), squared)
        return int(squared.argmin())

    def _on_parts(self, kernel: Callable[..., Any], *arguments: Any) -> list[Any]:
        if len(self._parts) == 1:
            return [kernel(*arguments, *self._parts[0])]
        waiting = [self._workers.submit(kernel, *arguments, *part) for part in self._parts]
        return [one.result() for one in waiting]


def as_floats(features: Features) -> Float32[np.ndarray, "n d"]:
    """``features`` as rows of float32, copied only where they are not.

    Raises:
        ValueError: They are no table, or hold something that is no finite number.
    """
    table = np.ascontiguousarray(features, dtype=np.float32)
    if table.ndim != 2:
        raise ValueError(f"features have shape {table.shape}; give one row per image")
    if not np.isfinite(table.sum(dtype=np.float64)):
        raise ValueError("features must be finite numbers")
    return table


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


def _plain_update(  # (best squared distance, where)
    points: Any, squared: Any, nearest: Any, centre: Any, number: Any, gaps: Any, slack: Any, low: int, high: int
) -> Any:
    """One pass: distance to a new centre where it can matter, the minimum with the old one, and the farthest point."""
    best, where = np.float32(-2), low
    for i in range(low, high):
        now = squared[i]
        if now > 0 and gaps[nearest[i]] < slack * now:
            row = points[i]
            total = np.float32(0)
            for j in range(row.size):
                step = row[j] - centre[j]
                total += step * step
            if total < now:
                squared[i], nearest[i] = total, number
                now = total
        if now > best:
            best, where = now, i
    return best, where


def _plain_nearest_of(points: Any, centres: Any, squared: Any, nearest: Any, low: int, high: int) -> None:
    """The nearest of many centres; a few points at a time, so that a centre is read once for all of them."""
    for first in range(low, high, BLOCK):
        for number in range(len(centres)):
            centre = centres[number]
            for i in range(first, min(first + BLOCK, high)):
                row = points[i]
                total = np.float32(0)
                for j in range(row.size):
                    step = row[j] - centre[j]
                    total += step * step
                if total < squared[i]:
                    squared[i], nearest[i] = total, number


def _plain_squared_to(points: Any, centre: Any, squared: Any) -> None:
    """Squared distance of each point to one."""
    for i in range(len(points)):
        row = points[i]
        total = np.float32(0)
        for j in range(row.size):
            step = row[j] - centre[j]
            total += step * step
        squared[i] = total


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code that lets other threads run; sums may be taken in any order, infinity stays infinity."""
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    compiled: Callable[..., Any] = numba.njit(**options)(inspect.unwrap(function))  # without checks of shapes
    return compiled


_update = _compiled(_plain_update)
_nearest_of = _compiled(_plain_nearest_of)
_squared_to = _compiled(_plain_squared_to)
