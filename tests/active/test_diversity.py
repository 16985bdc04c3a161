"""What is picked is what the slow way picks, and what is typical is what lies among many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from srpu.active.diversity import distances_to, k_centers
from srpu.active.reach import Reach

WHOLE = st.integers(-8, 8)
"""Whole numbers: their distances are exact in float32, and ties are frequent."""


def tables(rows: int, columns: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(
        np.float32, array_shapes(min_dims=1, max_dims=1, max_side=rows).map(lambda n: (n[0], columns)), elements=WHOLE
    )


def slowly(features: np.ndarray, labelled: np.ndarray, count: int, start: int | None) -> list[int]:
    """By the definition, in float64."""
    pool, centres = features.astype(np.float64), list(labelled.astype(np.float64))
    picks: list[int] = []
    for _ in range(min(count, len(pool))):
        if not picks and start is not None:
            pick = start
        else:
            nearest = np.min([np.square(pool - centre).sum(axis=1) for centre in centres], axis=0)
            nearest[picks] = -1
            pick = int(nearest.argmax())
        picks.append(pick)
        centres.append(pool[pick])
    return picks


@given(st.data(), st.integers(1, 4), st.integers(1, 12))
def test_picks_are_those_of_the_definition(data: st.DataObject, columns: int, count: int) -> None:
    features, labelled = data.draw(tables(30, columns)), data.draw(tables(5, columns))
    start = data.draw(st.none() | st.integers(0, len(features) - 1))
    assert k_centers(features, labelled, count, start=start).tolist() == slowly(features, labelled, count, start)


@given(st.data(), st.integers(1, 12))
def test_without_labels_picks_begin_where_they_are_told(data: st.DataObject, count: int) -> None:
    features = data.draw(tables(30, 2))
    start = data.draw(st.integers(0, len(features) - 1))
    nothing = np.zeros((0, 2), np.float32)
    assert k_centers(features, nothing, count, start=start).tolist() == slowly(features, nothing, count, start)


def test_without_labels_the_first_pick_is_nearest_to_the_mean() -> None:
    line = np.array([[0], [4], [9]], np.float32)
    assert k_centers(line, np.zeros((0, 1), np.float32), 2).tolist() == [1, 2]


def test_pruning_changes_no_bit() -> None:
    random = np.random.default_rng(0)
    middles = random.normal(0, 10, (12, 32))
    points = (middles[random.integers(0, 12, 9000)] + random.normal(0, 1, (9000, 32))).astype(np.float32)
    pruned, full = Reach(points, points[:3] + 1), Reach(points, points[:3] + 1, prune=False)
    for _ in range(60):
        assert pruned.farthest == full.farthest
        for reach in (pruned, full):
            reach.take(reach.farthest)
        np.testing.assert_array_equal(pruned.squared, full.squared)


def test_half_precision_is_widened_once() -> None:
    features = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float16)
    wide = features.astype(np.float32)
    assert k_centers(features, features[:2], 9).tolist() == k_centers(wide, wide[:2], 9).tolist()


def test_more_than_there_are_gives_all() -> None:
    same = np.ones((4, 3), np.float32)
    assert k_centers(same, same[:1], 9).tolist() == [0, 1, 2, 3]
    assert k_centers(same[:0], same, 9).tolist() == []


@given(st.data(), st.integers(1, 4))
def test_distances_are_those_to_the_nearest(data: st.DataObject, columns: int) -> None:
    features, centres = data.draw(tables(40, columns)), data.draw(tables(20, columns))
    slow = np.sqrt(np.square(features[:, None] - centres).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(distances_to(features, centres), slow, rtol=1e-6)


def test_features_must_be_numbers() -> None:
    with pytest.raises(ValueError, match="finite"):
        distances_to(np.array([[1.0], [np.nan]]), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="one row per image"):
        distances_to(np.zeros(3), np.zeros((1, 1)))
