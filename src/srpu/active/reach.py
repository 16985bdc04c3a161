"""Distances from many points to a few, in passes over the points that run on all cores.

The number of threads is numba's (``NUMBA_NUM_THREADS``); results do not depend on it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from jaxtyping import Float32, Int, Shaped

Features = Shaped[np.ndarray, "_ d"]

ROWS_PER_THREAD = 2048
"""Fewer images are not worth a thread."""

BLOCK = 16
"""Points that are compared with a centre while it is in the nearest cache."""


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
        self._passes = Passes(n)
        self.squared, number = nearest(self._points, first)
        used, number = np.unique(number, return_inverse=True) if len(first) else (number[:0], number)
        self._centres, self._nearest = first[used], number.astype(np.int32)
        self.farthest = 0
        if n:
            self.farthest = int(self.squared.argmax()) if len(first) else self._central()
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
        best = self._passes(_update, *state)
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


class Passes:
    """Runs a kernel over parts of the points, one in each thread."""

    def __init__(self, count: int) -> None:
        threads = max(1, min(numba.get_num_threads(), count // ROWS_PER_THREAD))
        self._parts = [(count * part // threads, count * (part + 1) // threads) for part in range(threads)]
        self._workers = ThreadPoolExecutor(threads)

    def __call__(self, kernel: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``kernel(*arguments, low, high)`` gives for each part, in order."""
        if len(self._parts) == 1:
            return [kernel(*arguments, *self._parts[0])]
        waiting = [self._workers.submit(kernel, *arguments, *part) for part in self._parts]
        return [one.result() for one in waiting]


def nearest(points: Features, centres: Features) -> tuple[Float32[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The squared distance of each point to the nearest centre, and which that is; infinite where there is none."""
    points, centres = as_floats(points), as_floats(centres)
    squared, number = np.full(len(points), np.inf, np.float32), np.zeros(len(points), np.int32)
    Passes(len(points))(_nearest_of, points, centres, squared, number)
    return squared, number


def as_floats(features: Features) -> Float32[np.ndarray, "n d"]:
    """``features`` as rows of float32, copied only where they are not.

    Raises:
        ValueError: They hold something that is no finite number.
    """
    table = np.ascontiguousarray(features, dtype=np.float32)
    if not np.isfinite(table.sum(dtype=np.float64)):
        raise ValueError("features must be finite numbers")
    return table


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
    """Machine code that lets other threads run, of the function without checks of its arguments."""
    sums_in_any_order = {"reassoc", "contract", "nsz"}
    compiled: Callable[..., Any] = numba.njit(nogil=True, fastmath=sums_in_any_order)(inspect.unwrap(function))
    return compiled


_update = _compiled(_plain_update)
_nearest_of = _compiled(_plain_nearest_of)
_squared_to = _compiled(_plain_squared_to)
