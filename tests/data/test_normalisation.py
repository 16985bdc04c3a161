"""Normalisation does what its name says, whatever gain and offset the detector had."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from srpu.data.normalisation import METHODS, Normalisation
from srpu.errors import SettingsError

IMAGES = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 4095))
quick = settings(max_examples=40, deadline=None)


def applied(normalisation: Normalisation, image: np.ndarray) -> np.ndarray:
    shift, scale = normalisation.shift_scale(image)
    return (image.astype(np.float64) - shift) / scale


@pytest.mark.parametrize("method", ["zscore", "percentile"])
@given(image=IMAGES, gain=st.integers(1, 8), offset=st.integers(0, 30000))
@quick
def test_gain_and_offset_do_not_matter(method: str, image: np.ndarray, gain: int, offset: int) -> None:
    other = (image * gain + offset).astype(np.uint16)
    normalisation = Normalisation(method)
    np.testing.assert_allclose(applied(normalisation, other), applied(normalisation, image), atol=1e-6)
    as_float = other.astype(np.float32)
    np.testing.assert_allclose(applied(normalisation, as_float), applied(normalisation, other), atol=1e-6)


@given(image=IMAGES)
@quick
def test_zscore_has_mean_0_and_deviation_1(image: np.ndarray) -> None:
    levels = applied(Normalisation("zscore"), image)
    assert levels.mean() == pytest.approx(0, abs=1e-9)
    assert levels.std() == pytest.approx(0 if image.min() == image.max() else 1)


def test_percentiles_become_0_and_1() -> None:
    image = np.arange(101, dtype=np.uint8).reshape(1, 101)
    assert Normalisation("percentile").shift_scale(image) == (1.0, 98.0)


def test_large_images_are_sampled_for_percentiles() -> None:
    rows = np.arange(2400, dtype=np.uint16)
    shift, scale = Normalisation("percentile").shift_scale(rows[:, None] + np.zeros(2000, np.uint16))
    assert shift == pytest.approx(24, abs=2)
    assert shift + scale == pytest.approx(2375, abs=2)


def test_an_image_that_is_nearly_one_level_keeps_small_numbers() -> None:
    image = np.zeros((50, 50), np.uint16)
    image[0, :5] = 60000
    assert Normalisation("percentile").shift_scale(image) == (0.0, 60000.0)


def test_given_numbers() -> None:
    image = np.array([[1000, 3000]], np.uint16)
    assert Normalisation("window", (1000.0, 5000.0)).shift_scale(image) == (1000.0, 4000.0)
    assert Normalisation("dataset", (1000.0, 50.0)).shift_scale(image) == (1000.0, 50.0)


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255.0), ("uint16", 65535.0), ("float32", 1.0)])
def test_none_is_the_range_of_the_number_type(dtype: str, scale: float) -> None:
    assert Normalisation("none").shift_scale(np.ones((2, 2), dtype)) == (0.0, scale)


@pytest.mark.parametrize("method", ["zscore", "percentile"])
@pytest.mark.parametrize("level", [0.0, 0.1, 1234.567, -1e-9])
@pytest.mark.parametrize("size", [1, 333])
def test_a_flat_image_has_scale_1(method: str, level: float, size: int) -> None:
    image = np.full((size, size), level, np.float32)
    shift, scale = Normalisation(method).shift_scale(image)
    assert (shift, scale) == (pytest.approx(level), 1.0)


def test_a_flat_training_set_has_scale_1() -> None:
    assert Normalisation("dataset", (7.0, 0.0)).shift_scale(np.ones((2, 2), np.uint8)) == (7.0, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_state_survives_json(method: str) -> None:
    normalisation = Normalisation(method, (1.5, 2.5) if method in ("window", "dataset") else None)
    assert Normalisation.from_state(json.loads(json.dumps(normalisation.state()))) == normalisation


def test_unknown_method_and_missing_window() -> None:
    with pytest.raises(SettingsError, match='"minmax" does not exist; choose one of zscore, percentile'):
        Normalisation("minmax")
    with pytest.raises(SettingsError, match="NORMALIZATION_WINDOW"):
        Normalisation("window")
