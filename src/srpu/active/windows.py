"""Windows of an image that may be asked for, and sums over many windows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from srpu.active.query import Window

MOST = 8
"""Windows of one image that are looked at further."""

LEAST_FREE = 0.5
"""Share of a window's pixels that must be free, where no window is free altogether."""

LEAST_EDGE = 16
"""Pixels that a window's edge has at least, however large a pixel is."""


def edge(size: int, size_nm: float | None = None, pixel_size_nm: float | None = None) -> int:
    """The edge of a window in pixels: ``size_nm`` where it and the pixel's size in nanometres are known, else ``size``.

    >>> edge(256), edge(256, 1000, 2.5), edge(256, 1000, None), edge(256, 10, 5)
    (256, 400, 256, 16)
    """
    if size_nm is None or pixel_size_nm is None:
        return size
    return max(round(size_nm / pixel_size_nm), LEAST_EDGE)


def grid(shape: tuple[int, int], size: int) -> list[Window]:
    """Windows of ``size`` pixels, smaller where the image is, that cover the image and overlap by half or more.

    >>> [(window.top, window.left) for window in grid((16, 36), 16)]
    [(0, 0), (0, 8), (0, 16), (0, 20)]
    """
    height, width = min(size, shape[0]), min(size, shape[1])
    return [Window(top, left, height, width) for top in _starts(shape[0], height) for left in _starts(shape[1], width)]


def best(
    windows: Sequence[Window], scores: Float[np.ndarray, " n"], free: Float[np.ndarray, " n"], most: int = MOST
) -> list[int]:
    """Which windows have the highest scores without overlapping each other, the best first.

    Only windows that are wholly free are taken; where there is none, those that are free for the greater part or half.

    Args:
        windows: Of one image.
        scores: The higher, the better; of equals the first one is taken.
        free: The share of each window that may be asked for, in [0, 1].
        most: How many to take.

    >>> windows = [Window(0, left, 8, 8) for left in (0, 4, 8)]
    >>> best(windows, np.array([0.2, 0.9, 0.5]), np.array([1.0, 1.0, 1.0]))
    [1]
    >>> best(windows, np.array([0.2, 0.9, 0.5]), np.array([1.0, 0.5, 1.0]))
    [2, 0]
    """
    allowed = free >= (1 if (free >= 1).any() else LEAST_FREE)
    chosen: list[int] = []
    for number in np.argsort(-scores, kind="stable"):
        if len(chosen) == most:
            break
        if allowed[number] and not any(_overlap(windows[number], windows[other]) for other in chosen):
            chosen.append(int(number))
    return chosen


class Lattice:
    """The lines along which windows begin and end.

    What lies between two lines is summed once, so sums over all windows cost one pass over the image, which may come
    in bands, and memory that does not grow with it.

    Args:
        shape: Height and width of the image.
        windows: In it.
    """

    def __init__(self, shape: tuple[int, int], windows: Sequence[Window]) -> None:
        self._tops = np.array([window.top for window in windows])
        self._lefts = np.array([window.left for window in windows])
        self._bottoms = self._tops + [window.height for window in windows]
        self._rights = self._lefts + [window.width for window in windows]
        self._rows = np.unique([0, shape[0], *self._tops, *self._bottoms])
        self._columns = np.unique([0, shape[1], *self._lefts, *self._rights])

    @property
    def shape(self) -> tuple[int, int]:
        """How many cells lie between the lines, down and across."""
        return len(self._rows) - 1, len(self._columns) - 1

    def down(self, top: int, rows: int) -> Float32[np.ndarray, "cells rows"]:
        """1 where a row of the image belongs to a cell, for the rows from ``top`` on: it sums when multiplied with."""
        return _belongs(self._rows, top, rows)

    def across(self) -> Float32[np.ndarray, "width cells"]:
        """1 where a column of the image belongs to a cell."""
        return np.ascontiguousarray(_belongs(self._columns, 0, int(self._columns[-1])).T)

    def count(self, pixels: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, "down across"]:
        """How many of ``pixels`` lie in each cell."""
        rows = np.add.reduceat(pixels, self._columns[:-1], axis=1, dtype=np.int64)
        counted: Int64[np.ndarray, "down across"] = np.add.reduceat(rows, self._rows[:-1], axis=0)
        return counted

    def areas(self) -> Int64[np.ndarray, "down across"]:
        """How many pixels lie in each cell."""
        return np.outer(np.diff(self._rows), np.diff(self._columns)).astype(np.int64)

    def windows(
        self, cells: Float[np.ndarray, "down across"] | Int64[np.ndarray, "down across"]
    ) -> Float64[np.ndarray, " n"]:
        """The sum over each window of what was summed over each cell.

        >>> lattice = Lattice((2, 4), [Window(0, 0, 2, 3), Window(0, 1, 2, 3)])
        >>> lattice.windows(lattice.areas()).tolist()
        [6.0, 6.0]
        """
        total = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1))
        total[1:, 1:] = cells.astype(np.float64).cumsum(axis=0).cumsum(axis=1)
        top, bottom = (np.searchsorted(self._rows, line) for line in (self._tops, self._bottoms))
        left, right = (np.searchsorted(self._columns, line) for line in (self._lefts, self._rights))
        summed: Float64[np.ndarray, " n"] = (
            total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        )
        return summed


def _belongs(lines: Int64[np.ndarray, " lines"], first: int, count: int) -> Float32[np.ndarray, "cells count"]:
    cells = np.searchsorted(lines, np.arange(first, first + count), side="right") - 1
    belongs = np.zeros((len(lines) - 1, count), np.float32)
    belongs[cells, np.arange(count)] = 1
    return belongs


def _starts(length: int, window: int) -> list[int]:
    return [*range(0, length - window, max(window // 2, 1)), length - window]


def _overlap(one: Window, other: Window) -> bool:
    return (
        one.top < other.top + other.height
        and other.top < one.top + one.height
        and one.left < other.left + other.width
        and other.left < one.left + one.width
    )
