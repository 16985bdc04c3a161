"""What is picked is what the slow way picks, and what is typical is what lies among many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from srpu.active import diversity, reach
from srpu.active.diversity import (
    ClusterBased,
    CoreSet,
    clusters,
    distances_to,
    k_centers,
    ranks,
    standing,
    typical,
    typicality,
)
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
        for one in (pruned, full):
            one.take(one.farthest)
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


def crowds(*sizes: int, spread: float = 1.0) -> np.ndarray:
    """Crowds of points, far from each other, each of so many."""
    random = np.random.default_rng(0)
    return np.concatenate(
        [random.normal((100 * number, 0), spread, (size, 2)) for number, size in enumerate(sizes)]
    ).astype(np.float32)


def crowd(points: np.ndarray) -> list[int]:
    return np.rint(points[:, 0] / 100).astype(int).tolist()


NOTHING = np.zeros((0, 2), np.float32)


def test_typical_points_come_from_the_biggest_clusters_first() -> None:
    points = crowds(30, 90, 60)
    picks = typical(points, NOTHING, 3, np.random.default_rng(0))
    assert crowd(points[picks]) == [1, 2, 0]
    middles = np.array([[100, 0], [200, 0], [0, 0]])
    assert np.linalg.norm(points[picks] - middles, axis=1).max() < 1


def test_typical_points_avoid_clusters_with_labels() -> None:
    points = crowds(30, 90, 60)
    picks = typical(points, np.array([[100, 0]], np.float32), 2, np.random.default_rng(0))
    assert set(crowd(points[picks])) <= {0, 1, 2}
    assert crowd(points[picks])[0] == 2


def test_outliers_wait() -> None:
    points = np.concatenate([crowds(20, 30), [[900, 0], [0, 900]]]).astype(np.float32)
    assert crowd(points[typical(points, NOTHING, 4, np.random.default_rng(0))]) == [1, 0, 1, 0]


def test_typical_points_can_be_all_and_may_clash() -> None:
    points = crowds(3, 2)
    assert sorted(typical(points, NOTHING, 99, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3, 4]
    same = typical(points, NOTHING, 99, np.random.default_rng(0), clash=lambda a, b: (a < 3) == (b < 3))
    assert sorted(crowd(points[same])) == [0, 1]
    assert typical(points[:0], points, 3, np.random.default_rng(0)).tolist() == []
    assert typical(points, NOTHING, 0, np.random.default_rng(0)).tolist() == []
    assert typical(np.ones((6, 2)), NOTHING, 2, np.random.default_rng(0)).tolist() == [0, 1]


def test_the_seed_decides() -> None:
    points = np.random.default_rng(0).normal(size=(400, 4))
    picks = [typical(points, points[:2], 20, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]


def test_large_pools_are_clustered_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "SMALL_POOL", 100)
    monkeypatch.setattr(diversity, "MINI_BATCH", 64)
    points = crowds(60, 200, 120)
    group, held = clusters(points, np.array([[0, 0]], np.float32), 2, np.random.default_rng(0))
    assert [len(set(group[low:high])) for low, high in ((0, 60), (60, 260), (260, 380))] == [1, 1, 1]
    assert held.tolist() == [int(number == group[0]) for number in range(3)]


def test_typicality_is_one_over_the_mean_distance_to_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(5, 1, (70, 6)).astype(np.float32)
    every = np.sort(np.linalg.norm(points[:, None].astype(float) - points, axis=2), axis=1)
    slow = 1 / every[:, 1 : diversity.NEIGHBOURS + 1].mean(axis=1)
    one = np.zeros(70, int)
    np.testing.assert_allclose(typicality(points, one), slow, rtol=1e-4)
    monkeypatch.setattr(diversity, "MAX_BLOCK", 140)  # two rows at once
    np.testing.assert_allclose(typicality(points, one), slow, rtol=1e-4)


def test_in_large_clusters_typicality_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(0, 1, (2000, 2)).astype(np.float32)
    one = np.zeros(2000, int)
    exact = typicality(points, one)
    monkeypatch.setattr(diversity, "MAX_REFERENCES", 1000)
    assert np.corrcoef(ranks(exact), ranks(typicality(points, one)))[0, 1] > 0.9


def test_a_cluster_counts_half_once_it_has_a_pick() -> None:
    part = ClusterBased(crowds(20, 40), NOTHING, 2)
    before = part.scores()
    best = int(before.argmax())
    assert (best >= 20, before[best]) == (True, pytest.approx(39 / 40))
    part.take(best)
    np.testing.assert_allclose(part.scores()[20:], before[20:] / 2)
    np.testing.assert_allclose(part.scores()[:20], before[:20])


def test_a_point_alone_is_not_typical() -> None:
    part = ClusterBased(np.concatenate([crowds(20, 40), [[9000, 0]]]), NOTHING, 3)
    assert part.scores()[-1] == 0


def test_without_any_centre_no_point_is_far() -> None:
    part = CoreSet(Reach(crowds(5), NOTHING))
    assert part.scores().tolist() == [0] * 5
    part.take(0)
    assert part.scores()[0] == 0
    assert part.scores().max() == 1


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1e6, width=32)))
def test_standings_keep_the_order(values: np.ndarray) -> None:
    found = standing(values)[np.argsort(values, kind="stable")]
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    assert (np.diff(found) >= -1e-6).all()


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    alone = k_centers(points, points[:4], 40)
    monkeypatch.setattr(reach, "ROWS_PER_THREAD", 100)
    monkeypatch.setattr(reach.numba, "get_num_threads", lambda: 3)
    np.testing.assert_array_equal(k_centers(points, points[:4], 40), alone)
