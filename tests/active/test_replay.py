"""An oracle shows what it is asked for and no pixel more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.active.query import Query, Window
from srpu.active.replay import Oracle, first_queries, grid
from srpu.data.classes import IGNORE


@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 128))
def test_windows_cover_every_pixel_once(height: int, width: int, edge: int) -> None:
    seen = np.zeros((height, width), int)
    for window in grid(height, width, edge):
        seen[window.slices] += 1
    assert (seen == 1).all()


def test_windows_are_as_large_as_asked_where_the_image_divides_evenly() -> None:
    assert {(one.height, one.width) for one in grid(512, 256, 128)} == {(128, 128)}


@pytest.fixture
def oracle() -> Oracle:
    second = np.ones((4, 4), np.uint8)
    second[0] = IGNORE
    return Oracle({"a": np.zeros((4, 8), np.uint8), "b": second})


def test_nothing_is_shown_before_it_is_asked_for(oracle: Oracle) -> None:
    assert (oracle.pixels, oracle.total, oracle.labelled) == (0, 32 + 12, [])


def test_a_window_is_shown_and_the_rest_stays_hidden(oracle: Oracle) -> None:
    oracle.answer([Query("a", "a.tif", Window(0, 4, 4, 2))])
    assert oracle.shown["a"].tolist() == [[IGNORE] * 4 + [0, 0] + [IGNORE] * 2] * 4
    assert (oracle.pixels, oracle.labelled) == (8, ["a"])


def test_asking_twice_costs_once_and_unknown_pixels_cost_nothing(oracle: Oracle) -> None:
    oracle.answer([Query("b", "b.tif"), Query("b", "b.tif", Window(0, 0, 2, 2))])
    assert oracle.pixels == 12
    assert oracle.share == pytest.approx(12 / 44)


def test_the_truth_itself_is_not_changed_by_what_is_shown() -> None:
    truth = np.zeros((2, 2), np.uint8)
    oracle = Oracle({"a": truth})
    oracle.answer([Query("a", "a")])
    oracle.shown["a"][:] = 9
    assert (truth == 0).all()


def test_first_labels_are_spread_over_images_and_repeat_with_the_seed() -> None:
    queries = [Query(image, image, Window(0, left, 8, 8)) for image in "abc" for left in range(0, 80, 8)]
    drawn = first_queries(queries, 4, np.random.default_rng(3))
    assert {query.image for query in drawn} == set("abc")
    assert drawn == first_queries(queries, 4, np.random.default_rng(3))
    assert drawn != first_queries(queries, 4, np.random.default_rng(4))
