"""Areas, labels needed and verdicts, by numbers that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.active.curves import Curve, area, cells_won, labels_needed, mean_curve, paired

RISING = Curve((0.01, 0.02, 0.04), (0.5, 0.7, 0.8))


def test_area_is_the_mean_score_over_doublings() -> None:
    assert area(RISING) == pytest.approx((0.6 + 0.75) / 2)


def test_area_over_pixels_weighs_the_longer_second_step_twice() -> None:
    assert area(RISING, logarithmic=False) == pytest.approx((0.6 * 1 + 0.75 * 2) / 3)


def test_the_area_of_one_round_is_its_score() -> None:
    assert area(Curve((0.3,), (0.4,))) == 0.4


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.booleans())
def test_area_lies_between_the_lowest_and_the_highest_score(scores: list[float], logarithmic: bool) -> None:
    labels = tuple(0.01 * (i + 1) for i in range(len(scores)))
    found = area(Curve(labels, tuple(scores)), logarithmic=logarithmic)
    assert min(scores) - 1e-9 <= found <= max(scores) + 1e-9


@pytest.mark.parametrize(
    ("score", "labels"), [(0.4, 0.01), (0.5, 0.01), (0.6, 0.015), (0.75, 0.03), (0.8, 0.04), (0.81, None)]
)
def test_labels_needed_are_read_off_between_rounds(score: float, labels: float | None) -> None:
    assert labels_needed(RISING, score) == labels


def test_a_score_that_was_lost_again_still_counts_as_reached() -> None:
    assert labels_needed(Curve((0.1, 0.2, 0.3), (0.5, 0.9, 0.6)), 0.9) == 0.2


def test_the_mean_curve_ends_where_the_shortest_run_ends() -> None:
    mean = mean_curve([RISING, Curve((0.03, 0.04), (0.7, 0.9))])
    assert mean == Curve((0.02, 0.03), (0.6, 0.8))


@pytest.mark.parametrize(
    ("apart", "verdict"),
    [
        ([0.10, 0.11, 0.12], "yes"),
        ([-0.10, -0.11, -0.12], "no"),
        ([0.3, 0.2, 0.1], "not distinguishable"),
        ([0.3], "not distinguishable"),
    ],
)
def test_verdicts_follow_the_interval(apart: list[float], verdict: str) -> None:
    assert paired(apart, [0.0] * len(apart)).verdict == verdict


def test_the_interval_is_students_t_on_the_differences() -> None:
    found = paired([0.8, 0.8, 0.8], [0.5, 0.6, 0.7])
    reach = 4.30265 * 0.1 / math.sqrt(3)
    np.testing.assert_allclose([found.mean, found.low, found.high], [0.2, 0.2 - reach, 0.2 + reach], atol=1e-5)


def test_cells_are_compared_at_the_same_number_of_labels_without_the_shared_first_round() -> None:
    ours = [Curve((0.1, 0.2, 0.4), (0.5, 0.66, 0.7)), Curve((0.1, 0.3), (0.5, 0.6))]
    theirs = [Curve((0.1, 0.3, 0.4), (0.5, 0.8, 0.7)), Curve((0.1, 0.3), (0.9, 0.61))]
    assert cells_won(ours, theirs) == [1.0, 0.5, 0.0]  # 0.66 against (0.5 + 0.8) / 2
