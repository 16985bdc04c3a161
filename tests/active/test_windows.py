"""Windows of an image: where they lie, which are best, and sums over them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.active.query import Window
from srpu.active.windows import Lattice, best, edge, grid

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@given(SHAPES, st.integers(16, 40))
def test_windows_cover_the_image_and_lie_in_it(shape: tuple[int, int], size: int) -> None:
    seen = np.zeros(shape, int)
    for window in grid(shape, size):
        assert (window.height, window.width) == (min(size, shape[0]), min(size, shape[1]))
        assert seen[window.slices].shape == (window.height, window.width)
        seen[window.slices] += 1
    assert seen.min() >= 1


@given(SHAPES, st.integers(16, 40))
def test_neighbours_overlap_by_half_or_more(shape: tuple[int, int], size: int) -> None:
    tops = sorted({window.top for window in grid(shape, size)})
    assert all(0 < later - top <= size / 2 for top, later in pairwise(tops))


@given(SHAPES, st.integers(16, 40), st.integers(0, 9), st.integers(1, 5))
def test_the_best_windows_do_not_overlap_and_leave_no_better_one(
    shape: tuple[int, int], size: int, seed: int, most: int
) -> None:
    windows = grid(shape, size)
    scores = np.random.default_rng(seed).random(len(windows))
    chosen = best(windows, scores, np.ones(len(windows)), most)
    seen = np.zeros(shape, int)
    for number in chosen:
        seen[windows[number].slices] += 1
    assert seen.max() == 1
    assert 1 <= len(chosen) <= most
    assert chosen == sorted(chosen, key=lambda number: -scores[number])
    assert chosen[0] == scores.argmax()
    if len(chosen) < most:  # nothing that is free is left
        assert all(seen[window.slices].any() for window in windows)


def test_a_window_that_is_wholly_free_comes_before_a_better_one_that_is_not() -> None:
    windows = grid((16, 48), 16)  # at 0, 8, 16, 24, 32
    scores = np.array([0.1, 0.9, 0.2, 0.3, 0.4])
    assert best(windows, scores, np.array([0, 0.5, 1, 1, 1.0])) == [4, 2]


def test_where_no_window_is_wholly_free_half_is_enough() -> None:
    windows = grid((16, 48), 16)
    scores = np.array([0.1, 0.9, 0.2, 0.3, 0.4])
    assert best(windows, scores, np.array([0, 0.49, 0, 0.5, 0.4])) == [3]
    assert best(windows, scores, np.full(5, 0.4)) == []


def test_the_edge_follows_the_size_of_a_pixel() -> None:
    assert edge(256, 1000, 10) == 100
    assert edge(256, 1000, 1000) == 16
    assert edge(256, 1000) == edge(256, None, 10) == 256


@given(SHAPES, st.integers(16, 40), st.integers(1, 30), st.integers(0, 9))
def test_sums_in_bands_are_the_sums_over_windows(shape: tuple[int, int], size: int, rows: int, seed: int) -> None:
    windows = grid(shape, size)
    lattice = Lattice(shape, windows)
    image = np.random.default_rng(seed).integers(0, 9, shape).astype(np.float32)
    cells = np.zeros(lattice.shape)
    for top in range(0, shape[0], rows):
        band = image[top : top + rows]
        cells += lattice.down(top, len(band)) @ band @ lattice.across()
    np.testing.assert_array_equal(lattice.windows(cells), [image[window.slices].sum() for window in windows])
    np.testing.assert_array_equal(
        lattice.windows(lattice.count(image > 4)), [(image[window.slices] > 4).sum() for window in windows]
    )
    assert set(lattice.windows(lattice.areas())) == {windows[0].height * windows[0].width}


@pytest.mark.parametrize("size", [100, 41])
def test_a_window_larger_than_the_image_is_the_image(size: int) -> None:
    assert grid((40, 41), size) == [Window(0, 0, 40, 41)]
