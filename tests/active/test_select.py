"""What is chosen, in which order, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.active.query import Query, Window
from srpu.active.select import Candidate, Mix, Pick, by_chance, by_class, choose, exploration, overlap

NOTHING = np.zeros((0, 2), np.float32)
UNSURE = Mix({"entropy": 1.0}, balance=False)


def pool(entropy: Sequence[float], shares: Sequence[Sequence[float]] = ()) -> list[Candidate]:
    return [
        Candidate(
            Query(f"sha{n}", f"{n}.tif"),
            {"entropy": one},
            np.array(shares[n] if len(shares) else [], np.float32),
            f"g{n}",
        )
        for n, one in enumerate(entropy)
    ]


def windows(image: str, *places: tuple[int, int, int, int]) -> list[Candidate]:
    return [Candidate(Query(image, image, Window(*one)), {"entropy": 0.5}, np.array([]), image) for one in places]


def at(*places: float) -> np.ndarray:
    """Points on a line in the plane."""
    return np.array([[place, 0] for place in places], np.float32)


def pick(
    candidates: Sequence[Candidate],
    features: np.ndarray | None = None,
    labelled: np.ndarray = NOTHING,
    mix: Mix = UNSURE,
    count: int = 20,
    seed: int = 0,
    **more: object,
) -> list[Pick]:
    features = np.zeros((len(candidates), 2), np.float32) if features is None else features
    return choose(candidates, features, labelled, mix, count, np.random.default_rng(seed), **more)  # type: ignore[arg-type]


def indices(picks: Sequence[Pick]) -> list[int]:
    return [one.index for one in picks]


def test_the_most_uncertain_comes_first() -> None:
    picks = pick(pool([0.1, 0.9, 0.4]), count=2)
    assert indices(picks) == [1, 2]
    assert [one.rank for one in picks] == [1, 2]
    assert [one.query.id for one in picks] == ["1.tif", "2.tif"]
    assert picks[0].scores == {"entropy": 0.9}
    assert picks[0].score == pytest.approx(5 / 6)  # two of three lie below, and itself counts half


def test_a_weight_means_the_same_whatever_the_scale_of_a_score() -> None:
    candidates = [
        Candidate(Query(f"{n}", f"{n}"), {"entropy": a, "margin": b}, np.array([]), "")
        for n, (a, b) in enumerate([(0.001, 0.9), (0.002, 0.5), (0.003, 0.1)])
    ]
    assert indices(pick(candidates, mix=Mix({"entropy": 2.0, "margin": 1.0}))) == [2, 1, 0]
    assert indices(pick(candidates, mix=Mix({"entropy": 1.0, "margin": 2.0}))) == [0, 1, 2]
    assert indices(pick(candidates, mix=Mix({"entropy": 1.0, "margin": 0.0}))) == [2, 1, 0]


def test_the_core_set_alone_is_the_greedy_k_centre() -> None:
    picks = pick(pool([0.5] * 5), at(0, 1, 5, 9, 10), at(0), Mix({}, {"core_set": 1.0}, balance=False), 3)
    assert indices(picks) == [4, 2, 1]
    assert picks[0].scores["core_set"] == 1


def test_after_a_pick_its_neighbours_wait() -> None:
    """By entropy alone it would be the two at the left."""
    mix = Mix({"entropy": 1.0}, {"core_set": 1.0}, balance=False)
    assert indices(pick(pool([0.9, 0.8, 0.5]), at(0, 0.1, 8), mix=mix, count=2)) == [0, 2]


def test_clusters_take_turns_and_what_is_typical_comes_first() -> None:
    random = np.random.default_rng(0)
    crowd, few = random.normal(0, 1, (60, 2)), random.normal(40, 1, (20, 2))
    features = np.concatenate([crowd, few, [[0, 0], [40, 40]]]).astype(np.float32)
    picks = pick(pool([0.5] * 82), features, mix=Mix({}, {"cluster_based": 1.0}, balance=False), count=2)
    assert sorted(int(one.index in range(60, 80) or one.index == 81) for one in picks) == [0, 1]
    middles = features[indices(picks)]
    assert np.abs(middles - np.where(middles > 20, 40, 0)).max() < 1


def test_rare_classes_are_preferred_and_all_are_covered() -> None:
    shares = [[1, 0, 0]] * 8 + [[0.6, 0.4, 0], [0.6, 0.4, 0], [0.7, 0, 0.3], [0.7, 0, 0.3]]
    picks = pick(pool([0.5] * 12, shares), count=2, mix=Mix({"entropy": 1.0}), classes=("carbon", "SE", "AM"))
    assert {one.index // 2 for one in picks} == {4, 5}
    assert "holds much of class AM (30 %)" in {one.reason for one in picks} | {picks[1].reason}
    assert any("class SE (40 %)" in one.reason for one in picks)


def test_without_chance_the_answer_does_not_depend_on_the_seed() -> None:
    random = np.random.default_rng(0)
    candidates, features = pool(random.random(300), random.random((300, 3))), random.normal(size=(300, 2))
    mix = Mix({"entropy": 1.0}, {"core_set": 0.5, "cluster_based": 0.3})
    first, second = (pick(candidates, features, features[:9], mix, 30, seed) for seed in (1, 2))
    assert first == second
    assert len(set(indices(first))) == 30


def test_chance_falls_with_the_place() -> None:
    """With exploration 1 the places 1, 2, 3 are drawn as 1 : 1/2 : 1/3, with 1/2 as 1 : 1/4 : 1/9."""
    candidates = pool([0.9, 0.5, 0.1])
    for amount, expected in [(1.0, np.array([6, 3, 2]) / 11), (0.5, np.array([36, 9, 4]) / 49)]:
        mix = Mix({"entropy": 1.0}, balance=False, exploration=amount)
        drawn = Counter(pick(candidates, mix=mix, count=1, seed=seed)[0].index for seed in range(1000))
        np.testing.assert_allclose([drawn[n] / 1000 for n in range(3)], expected, atol=0.05)


def test_luck_is_told() -> None:
    mix = Mix({"entropy": 1.0}, balance=False, exploration=1.0)
    picks = [pick(pool(np.linspace(0, 1, 50)), mix=mix, count=1, seed=seed)[0] for seed in range(40)]
    assert all(("chance" in one.reason) == (one.index != 49) for one in picks)
    assert len({one.index for one in picks}) > 5


def test_exploration_fades_on_a_line() -> None:
    assert [exploration(2.0, number, 5) for number in range(7)] == [2.0, 2.0, 1.5, 1.0, 0.5, 0.0, 0.0]
    assert exploration(2.0, 1, 1) == 0


def test_what_clashes_is_not_asked_for_together() -> None:
    asked: list[tuple[int, int]] = []

    def clash(one: int, other: int) -> bool:
        asked.append((one, other))
        return abs(one - other) == 1

    picks = pick(pool([0.9, 0.8, 0.7, 0.6, 0.5]), clash=clash)
    assert indices(picks) == [0, 2, 4]
    assert len(asked) <= 5 * 3  # only for what is about to be picked


def test_overlapping_windows_are_never_asked_for_together() -> None:
    candidates = [
        *windows("a", (0, 0, 8, 8), (4, 4, 8, 8), (0, 8, 8, 8)),
        *windows("b", (4, 4, 8, 8)),
    ]
    for picks in (
        pick(candidates),
        by_chance(candidates, 9, np.random.default_rng(0)),
        by_class(candidates, 9, np.random.default_rng(0)),
    ):
        chosen = [one.query for one in picks]
        assert not any(overlap(one, other) for n, one in enumerate(chosen) for other in chosen[:n])
    assert indices(pick(candidates)) == [0, 2, 3]


@given(
    st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2),
    st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2),
)
def test_windows_overlap_where_they_share_a_pixel(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    drawn = np.zeros((2, 12, 12), bool)
    drawn[0][Window(*one).slices] = drawn[1][Window(*other).slices] = True
    assert overlap(Query("a", "a", Window(*one)), Query("a", "a", Window(*other))) == drawn.all(axis=0).any()
    assert not overlap(Query("a", "a", Window(*one)), Query("b", "b", Window(*other)))


def test_the_reasons_name_what_counts() -> None:
    entropy = np.linspace(0.02, 0.61, 100)
    mix = Mix({"entropy": 1.0}, {"core_set": 0.5}, balance=False)
    (best,) = pick(pool(entropy), at(*range(100)), at(0), mix, 1)
    assert best.reason == "unsure (entropy 0.61, top 1 % of the pool); far from all that is labelled"
    equal = pick(pool([0.5] * 10), count=1)[0]
    assert equal.reason == "the best of what is left, all in all"


@pytest.mark.parametrize("draw", [by_chance, by_class])
def test_chance_picks_each_once_and_the_seed_decides(draw: object) -> None:
    candidates = pool(np.linspace(0, 1, 30), [[0.5, 0.5]] * 30)

    def drawn(seed: int, count: int) -> list[int]:
        return indices(draw(candidates, count, np.random.default_rng(seed)))  # type: ignore[operator]

    assert sorted(drawn(0, 99)) == list(range(30))
    assert drawn(0, 5) == drawn(0, 5)
    assert drawn(0, 5) != drawn(1, 5)


def test_by_chance_each_is_as_likely() -> None:
    candidates = pool([0.0, 0.0, 1.0, 1.0])
    drawn = Counter(by_chance(candidates, 1, np.random.default_rng(seed))[0].index for seed in range(2000))
    np.testing.assert_allclose([drawn[n] / 2000 for n in range(4)], 0.25, atol=0.04)


def test_by_class_the_rare_class_gets_its_turn() -> None:
    """One of a hundred shows class 1, and a batch of two has it."""
    shares = [[1.0, 0.0]] * 99 + [[0.5, 0.5]]
    for seed in range(20):
        picks = by_class(pool([0.5] * 100, shares), 2, np.random.default_rng(seed), classes=("carbon", "SE"))
        assert 99 in indices(picks)
    reasons = {one.reason for one in picks}
    assert "drawn at random among what shows class SE (50 %)" in reasons


def test_nothing_gives_nothing() -> None:
    assert pick([]) == []
    assert by_chance([], 3, np.random.default_rng(0)) == by_class([], 3, np.random.default_rng(0)) == []
    assert pick(pool([0.5]), count=0) == []


def test_no_number_counts_as_the_least() -> None:
    assert indices(pick(pool([float("nan"), 0.1, 0.2]))) == [2, 1, 0]


def test_features_belong_to_candidates() -> None:
    with pytest.raises(ValueError, match="3 candidates and 2 rows"):
        pick(pool([0.1, 0.2, 0.3]), at(0, 1))
