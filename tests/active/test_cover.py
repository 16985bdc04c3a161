"""Rare classes are preferred until the batch holds them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from srpu.active.cover import Cover, least_covered

POOL = np.array([[0.9, 0.1], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.8, 0.2]])
"""On average 0.94 and 0.06."""


def test_what_shows_most_of_a_rare_class_comes_first() -> None:
    assert Cover(POOL).scores().tolist() == [0.5, 0.0, 0.0, 0.0, 1.0]


def test_a_class_counts_less_once_the_batch_holds_it() -> None:
    cover = Cover(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
    assert cover.scores().tolist() == [1.0, 0.0, 0.0, 0.0]
    cover.take(0)  # now 0.75 and 1.25
    assert cover.scores().tolist() == [0.0, 1.0, 1.0, 1.0]


def test_a_class_that_is_nowhere_counts_nothing() -> None:
    assert Cover(np.array([[1.0, 0.0], [1.0, 0.0]])).scores().tolist() == [0.0, 0.0]
    assert Cover(np.zeros((3, 2))).scores().tolist() == [0.0, 0.0, 0.0]


def test_stray_pixels_are_no_class() -> None:
    """A class of which the pool holds a millionth does not outweigh half an image of a rare one."""
    shares = np.zeros((100, 3))
    shares[:, 0] = 1
    shares[0] = [0.5, 0.5, 0]
    shares[1] = [1 - 1e-4, 0, 1e-4]
    assert Cover(shares).scores().argmax() == 0


@given(arrays(np.float32, (7, 3), elements=st.floats(0, 1, width=32)), st.integers(0, 6))
def test_scores_stay_between_0_and_1(shares: np.ndarray, taken: int) -> None:
    cover = Cover(shares)
    for _ in range(3):
        scores = cover.scores()
        assert ((scores >= 0) & (scores <= 1)).all()
        cover.take(taken)


def test_the_class_with_least_is_looked_for_where_it_can_be_found() -> None:
    shares = np.array([[1.0, 0.0], [0.5, 0.5]])
    everything, first = np.array([True, True]), np.array([True, False])
    assert least_covered(shares, everything, np.array([1.0, 0.0])) == 1
    assert least_covered(shares, first, np.array([1.0, 0.0])) == 0
    assert least_covered(shares, ~everything, np.zeros(2)) is None
