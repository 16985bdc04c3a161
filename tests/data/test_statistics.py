from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from srpu.data.statistics import Tally

PICTURES = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
)


def tally(image: np.ndarray, id_: int = 0) -> Tally:
    return Tally.of(image, np.full(image.shape, id_, np.uint8), classes=3)


@given(st.lists(PICTURES, min_size=1, max_size=5))
def test_joined_tallies_are_those_of_all_pixels_together(pictures: list[np.ndarray]) -> None:
    joined = tally(pictures[0])
    for picture in pictures[1:]:
        joined = joined + tally(picture)
    pixels = np.concatenate([picture.ravel() for picture in pictures]).astype(np.float64)
    assert joined.mean == pytest.approx(pixels.mean(), abs=1e-6)
    assert joined.deviation == pytest.approx(pixels.std(), rel=1e-6, abs=1e-2)
    assert (joined.lowest, joined.highest) == (pixels.min(), pixels.max())
    assert (joined.images, joined.pixels) == (len(pictures), len(pixels))


def test_shares_are_of_the_labelled_pixels_alone() -> None:
    ids = np.array([[0, 0, 0, 1, 255, 255]], np.uint8)
    one = Tally.of(np.zeros(ids.shape, np.uint8), ids, classes=3)
    np.testing.assert_allclose(one.shares, [0.75, 0.25, 0])
    assert one.ignored == 2


def test_without_a_label_shares_are_undefined() -> None:
    assert np.isnan(tally(np.zeros((2, 2), np.uint8), id_=255).shares).all()


def test_depths_are_remembered() -> None:
    both = tally(np.zeros((2, 2), np.uint8)) + tally(np.full((2, 2), 60_000, np.uint16))
    assert both.depths == {"uint8", "uint16"}
    assert both.mean == 30_000


def test_small_contrast_on_a_high_level_is_kept() -> None:
    parts = [tally(np.array([[50_000.0, 50_001.0]], np.float32)) for _ in range(3)]
    assert (parts[0] + parts[1] + parts[2]).deviation == pytest.approx(0.5, abs=1e-3)
