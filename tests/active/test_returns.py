"""A returned mask is mended only where one answer is possible, and what was changed is counted rightly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srpu.active.query import Window
from srpu.active.returns import (
    agreement,
    changes,
    cut_out,
    examine,
    fill_rim,
    fill_specks,
    find_gaps,
    find_rim,
    swapped,
)
from srpu.errors import MaskError

NAMES = ("carbon", "SE", "AM")
FILE = Path("a_mask.tif")


def halves(left: int = 0, right: int = 2, size: int = 40) -> np.ndarray:
    """Two classes side by side."""
    ids = np.full((size, size), left, np.uint8)
    ids[:, size // 2 :] = right
    return ids


def grains(size: int = 120) -> np.ndarray:
    """Round AM grains in carbon, and one of SE."""
    ids = np.zeros((size, size), np.uint8)
    for column in (25, 85):
        for row in (25, 85):
            cv2.circle(ids, (column, row), 18, 2, -1)
    cv2.circle(ids, (55, 55), 12, 1, -1)
    return ids


def smoothed(ids: np.ndarray) -> np.ndarray:
    """What smoothing the numbers of a mask makes of it."""
    return np.rint(cv2.blur(ids.astype(np.float32), (3, 3))).astype(np.uint8)


# sizes


def test_a_whole_mask_may_lack_the_data_bar() -> None:
    ids = np.ones((8, 6), np.uint8)
    fitted = cut_out(ids, (10, 6), None, None, 2, FILE)
    assert (fitted[:8] == 1).all()
    assert (fitted[8:] == 255).all()
    with pytest.raises(MaskError, match=r"a_mask.tif has 6 × 8 pixels, its image 6 × 11"):
        cut_out(ids, (11, 6), None, None, 2, FILE)


@pytest.mark.parametrize("kind", ["image", "without bar", "cut", "window"])
def test_a_window_is_cut_out_of_whatever_came_back(kind: str) -> None:
    whole = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    window, cut = Window(4, 6, 5, 7), Window(2, 3, 9, 12)
    returned = {
        "image": whole,
        "without bar": whole[:17],
        "cut": whole[cut.slices],
        "window": whole[window.slices],
    }[kind]
    np.testing.assert_array_equal(cut_out(returned, (20, 30), window, cut, 3, FILE), whole[window.slices])


def test_a_window_of_another_size_is_refused() -> None:
    with pytest.raises(MaskError, match=r"a_mask.tif has 4 × 4 pixels, what was handed out 12 × 9: save it at that"):
        cut_out(np.zeros((4, 4), np.uint8), (20, 30), Window(4, 6, 5, 7), Window(2, 3, 9, 12), 0, FILE)


# gaps


def test_unlabelled_pixels_are_gaps_only_where_the_prediction_had_labels() -> None:
    predicted = halves()
    predicted[:5] = 255
    returned = predicted.copy()
    returned[10:15, 3:8] = 255  # 25 pixels: a speck
    returned[20:26, 3:8] = 255  # 30: an area
    specks, larger = find_gaps(returned, predicted)
    assert (specks.sum(), larger.sum()) == (25, 30)
    specks, larger = find_gaps(returned, None)
    assert (specks.sum(), larger.sum()) == (25, 30 + 5 * 40)


def test_a_speck_gets_the_class_around_it_or_the_predicted_one() -> None:
    predicted = halves(0, 2)
    returned = np.full_like(predicted, 1)
    returned[:, 30:] = 2
    returned[5:7, 5:7] = 255  # inside SE
    returned[20, 29:31] = 255  # where SE and AM meet; predicted AM
    specks, _ = find_gaps(returned, predicted)
    filled = fill_specks(returned, specks, predicted)
    assert filled[5:7, 5:7].tolist() == [[1, 1], [1, 1]]
    assert filled[20, 29:31].tolist() == [2, 2]
    assert fill_specks(returned, specks, None)[20, 29:31].tolist() == [1, 2]  # the nearest
    assert (filled[returned != 255] == returned[returned != 255]).all()


def test_specks_wait_for_a_repair_and_larger_areas_are_taken_as_they_are() -> None:
    predicted = halves(0, 1)
    returned = predicted.copy()
    returned[0:20, 0:10] = 1
    returned[30, 30:33] = 255
    verdict = examine(returned, predicted, NAMES)
    assert verdict.problem == "specks"
    assert verdict.reason.startswith("has 3 unlabelled pixels in specks of at most 25; paint them, or let `srpu active")
    assert verdict.repaired is not None
    verdict = examine(returned, predicted, NAMES, repair=True)
    assert verdict.problem is None
    assert (verdict.ids == np.where(returned == 255, 1, returned)).all()
    returned[20:30, 20:36] = 255  # 160 of 1600 pixels, and the 3
    verdict = examine(returned, predicted, NAMES, repair=True)
    assert verdict.problem is None
    assert verdict.remarks == ("leaves 10.2% of its pixels not labelled; these are not trained on",)
    np.testing.assert_array_equal(verdict.ids, returned)


def test_a_mask_without_labels_is_refused() -> None:
    assert examine(np.full((4, 4), 255, np.uint8), None, NAMES).problem == "empty"


# untouched and swapped


def test_an_untouched_mask_is_told_and_one_that_is_untouched_but_for_mended_specks_too() -> None:
    predicted = halves()
    assert examine(predicted.copy(), predicted, NAMES).problem == "untouched"
    holed = predicted.copy()
    holed[3, 3] = 255
    assert examine(holed, predicted, NAMES, repair=True).problem == "untouched"
    assert examine(holed, None, NAMES, repair=True).problem is None


def test_agreement_counts_what_both_have_labelled() -> None:
    one = np.array([[0, 1, 2, 2, 255]], np.uint8)
    other = np.array([[0, 1, 2, 1, 1]], np.uint8)
    assert agreement(one, other) == 0.75
    assert agreement(one, np.full_like(one, 255)) == 0


def test_swapped_files_are_told_by_the_prediction_that_fits() -> None:
    own, other = halves(0, 2), halves(2, 0)
    returned = other.copy()
    returned[:, :3] = 1  # 3 of 40 columns corrected: 92.5 % as predicted for the other
    assert swapped(returned, own, lambda: [("b", other)]) == "b"
    verdict = examine(returned, own, NAMES, others=lambda: [("b", other), ("c", halves(1, 1))])
    assert verdict.problem == "swapped"
    assert verdict.reason == "fits b and not its own image (0% as predicted); give it the name of the image it shows"
    unclear = halves(0, 1)  # half of it as predicted for its own image, and half as for the other
    assert swapped(unclear, own, lambda: [("b", halves(1, 1))]) is None
    assert "is only 50% as predicted" in examine(unclear, own, NAMES).remarks[-1]
    assert swapped(returned, own, lambda: [("b", other[:20])]) is None  # of another size


def test_predictions_of_others_are_not_read_for_a_mask_that_fits() -> None:
    def never() -> list[tuple[str, np.ndarray]]:
        raise AssertionError

    returned = halves()
    returned[:, :9] = 1
    assert examine(returned, halves(), NAMES, others=never).problem is None


# rims


def test_smoothing_leaves_a_rim_that_is_found_and_mended() -> None:
    predicted = halves()
    returned = smoothed(predicted)
    assert returned[0, 17:23].tolist() == [0, 0, 1, 1, 2, 2]
    rim = find_rim(returned, predicted, 3)
    assert rim is not None
    assert rim.sum() == 80  # two columns
    np.testing.assert_array_equal(fill_rim(returned, rim, predicted), predicted)


def test_a_rim_is_refused_with_what_a_repair_would_make_of_it() -> None:
    predicted = grains()
    returned = predicted.copy()
    cv2.circle(returned, (55, 100), 8, 1, -1)  # what the person drew
    drawn = returned.copy()
    returned = smoothed(returned)
    verdict = examine(returned, predicted, NAMES)
    assert (verdict.problem, verdict.kind) == ("rim", "rim")
    assert "a thin rim of SE (" in verdict.reason
    assert "`srpu active take-in --repair`" in verdict.reason
    verdict = examine(returned, predicted, NAMES, repair=True)
    assert verdict.problem is None
    assert verdict.repaired is not None
    assert (verdict.ids != drawn).mean() < 0.004  # smoothing also rounds corners, which nobody can undo
    assert find_rim(verdict.ids, predicted, 3) is None


def test_a_layer_on_one_grain_of_four_is_a_persons_own() -> None:
    predicted = grains()
    returned = predicted.copy()
    cv2.circle(returned, (25, 25), 19, 1, 2)
    assert find_rim(returned, predicted, 3) is None
    assert examine(returned, predicted, NAMES).problem is None


def test_a_layer_around_every_grain_is_a_persons_own_too() -> None:
    predicted = grains()
    coat = (cv2.dilate((predicted == 2).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & (predicted == 0)
    assert find_rim(np.where(coat, 1, predicted).astype(np.uint8), predicted, 3) is None


@pytest.mark.shared_data
def test_rims_are_told_from_layers_in_real_masks(shared_data: Path) -> None:
    for path in sorted((shared_data / "superalloy" / "masks").glob("*.png"))[:6]:
        with Image.open(path) as picture:
            truth = np.array(picture)
        rim = find_rim(smoothed(truth), truth, 3)
        assert rim is not None
        mended = fill_rim(smoothed(truth), rim, truth)
        assert (mended != truth).mean() < 0.3 * (smoothed(truth) != truth).mean()
        assert find_rim(truth, np.roll(truth, 3, axis=0), 3) is None
        assert find_rim(truth, cv2.medianBlur(truth, 9), 3) is None


def test_a_layer_that_the_prediction_has_is_no_rim() -> None:
    predicted = halves()
    predicted[:, 19:21] = 1
    returned = predicted.copy()
    returned[0:10, 0:10] = 1
    assert find_rim(returned, predicted, 3) is None


def test_a_thick_layer_is_no_rim() -> None:
    returned = halves()
    returned[:, 17:23] = 1
    assert find_rim(returned, halves(), 3) is None


@pytest.mark.parametrize("pair", [(0, 1), (1, 2)])
def test_neighbouring_numbers_leave_no_rim(pair: tuple[int, int]) -> None:
    predicted = halves(*pair)
    returned = smoothed(predicted)
    returned[:, :8] = 2
    assert find_rim(returned, predicted, 3) is None


# changes


def test_a_moved_outline_and_a_new_blob_are_counted_apart() -> None:
    predicted = halves(0, 1)
    returned = predicted.copy()
    returned[:, 18:20] = 1  # moved by two columns of 40
    returned[5:10, 5:10] = 2  # new, far from any predicted outline
    returned[20:24, 30:34] = 255  # not labelled any more: no change of a class
    assert changes(predicted, returned, NAMES) == {
        "carbon": (18 * 40 - 25, 0, 0),
        "SE": (22 * 40 - 16, 80, 0),
        "AM": (25, 0, 25),
    }


def test_a_blob_that_was_removed_is_counted_where_it_was() -> None:
    predicted = np.zeros((30, 30), np.uint8)
    predicted[10:14, 10:14] = 1
    assert changes(predicted, np.zeros_like(predicted), NAMES)["carbon"] == (900, 0, 16)


@given(st.integers(0, 2**32 - 1))
def test_changes_add_up(seed: int) -> None:
    random = np.random.default_rng(seed)
    palette = np.array([0, 1, 2, 255], np.uint8)
    first, second = (palette[random.integers(0, 4, (9, 12))] for _ in range(2))
    found = changes(first, second, NAMES)
    both = (first != 255) & (second != 255)
    assert sum(boundary + blob for _, boundary, blob in found.values()) == (both & (first != second)).sum()
    assert sum(pixels for pixels, _, _ in found.values()) == (second != 255).sum()
    assert all(boundary + blob <= pixels for pixels, boundary, blob in found.values())
