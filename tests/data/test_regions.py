from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import label

from srpu.data.masks import IGNORE
from srpu.data.regions import class_pixels, fill_holes, remove_specks

MASKS = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 1, 2, IGNORE]),
)
SIZES = st.integers(0, 9)


def ids(*rows: str) -> np.ndarray:
    """A mask drawn in digits; a dot is not labelled."""
    return np.array([[IGNORE if sign == "." else int(sign) for sign in row] for row in rows], np.uint8)


def smallest_region(mask: np.ndarray) -> int:
    regions = label(mask.astype(int), background=IGNORE, connectivity=2)
    return int(np.bincount(regions.ravel())[1:].min())


@pytest.mark.parametrize(
    ("smaller_than", "expected"),
    [
        (0, ("00000", "01020", "00020", "11100", "11100")),
        (2, ("00000", "00020", "00020", "11100", "11100")),
        (3, ("00000", "00000", "00000", "11100", "11100")),
    ],
)
def test_specks_are_given_to_the_region_around_them(smaller_than: int, expected: tuple[str, ...]) -> None:
    mask = ids("00000", "01020", "00020", "11100", "11100")
    np.testing.assert_array_equal(remove_specks(mask, smaller_than), ids(*expected))


def test_a_speck_between_two_regions_goes_to_the_nearer_one() -> None:
    np.testing.assert_array_equal(remove_specks(ids("0000221111"), 3), ids("0000011111"))


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = ids("1000", "0100", "0010")
    np.testing.assert_array_equal(remove_specks(mask, 3), mask)


def test_unlabelled_pixels_stay_and_spread_nowhere() -> None:
    mask = ids("..0000", ".10000", "..0000")
    np.testing.assert_array_equal(remove_specks(mask, 2), ids("..0000", ".00000", "..0000"))


def test_a_mask_of_specks_alone_stays() -> None:
    mask = ids("0112")
    np.testing.assert_array_equal(remove_specks(mask, 100), mask)


def test_holes_of_several_classes_are_filled_by_what_surrounds_them() -> None:
    mask = ids("1111111", "1002111", "1111101", "1111111")
    np.testing.assert_array_equal(fill_holes(mask, 4), np.ones_like(mask))
    np.testing.assert_array_equal(fill_holes(mask, 3), ids("1111111", "1002111", "1111111", "1111111"))


@pytest.mark.parametrize("rows", [("1101", "1111"), ("1111", "10.1", "1111"), ("1101", "1001", "1111")])
def test_what_is_open_to_the_border_or_to_unlabelled_pixels_is_no_hole(rows: tuple[str, ...]) -> None:
    np.testing.assert_array_equal(fill_holes(ids(*rows), 100), ids(*rows))


def test_a_hole_that_meets_the_border_at_a_corner_only_is_filled() -> None:
    np.testing.assert_array_equal(fill_holes(ids("1110", "1001", "1111"), 3), ids("1110", "1111", "1111"))


@given(MASKS, SIZES)
def test_no_speck_is_left(mask: np.ndarray, smaller_than: int) -> None:
    cleaned = remove_specks(mask, smaller_than)
    np.testing.assert_array_equal(cleaned == IGNORE, mask == IGNORE)
    assert set(np.unique(cleaned)) <= set(np.unique(mask))
    regions = label(mask.astype(int), background=IGNORE, connectivity=2)
    large = np.flatnonzero(np.bincount(regions.ravel()) >= smaller_than)
    kept = np.isin(regions, large) & (mask != IGNORE)
    np.testing.assert_array_equal(cleaned[kept], mask[kept])
    if kept.any() and not (mask == IGNORE).any():
        assert smallest_region(cleaned) >= smaller_than


@given(MASKS, SIZES)
def test_filling_holes_twice_changes_no_more(mask: np.ndarray, smaller_than: int) -> None:
    filled = fill_holes(mask, smaller_than)
    np.testing.assert_array_equal(filled == IGNORE, mask == IGNORE)
    np.testing.assert_array_equal(filled[[0, -1]], mask[[0, -1]])
    np.testing.assert_array_equal(fill_holes(filled, smaller_than), filled)


def test_unlabelled_pixels_are_not_counted() -> None:
    assert class_pixels(ids("0011", "..10"), 3).tolist() == [3, 3, 0]
