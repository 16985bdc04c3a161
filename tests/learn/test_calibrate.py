"""One temperature: found again where it is known, fair to every image, and no mask changes with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from srpu.learn.calibrate import (
    BINS,
    BOUNDS,
    PixelSampler,
    Sample,
    cross_entropies,
    fit_temperature,
    leave_one_out,
    reliability,
    temper,
)


def observed(seed: int, heat: float, pixels: int = 20_000, classes: int = 3) -> Sample:
    """Pixels whose truth is drawn from honest probabilities, seen by a network that is ``heat`` times too sure."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (classes, pixels))
    honest = softmax(logits, axis=0)
    truth = (random.random(pixels) > np.cumsum(honest, axis=0)[:-1]).sum(axis=0)
    return Sample(softmax(logits * heat, axis=0).astype(np.float32), truth.astype(np.uint8))


def fitted(*samples: Sample) -> float:
    return fit_temperature(np.stack([cross_entropies(sample) for sample in samples]))


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), heat=st.floats(0.6, 4.5), classes=st.integers(2, 4))
def test_a_known_temperature_is_found_again_and_makes_probabilities_honest(
    seed: int, heat: float, classes: int
) -> None:
    sample = observed(seed, heat, classes=classes)
    assert fitted(sample) == pytest.approx(heat, rel=0.06)
    assert reliability([sample], [heat]).ece < 0.025


@pytest.mark.parametrize("heat", [0.7, 1.0, 2.3])
def test_the_grid_finds_what_a_direct_search_finds(heat: float) -> None:
    sample = observed(1, heat)

    def loss(log: float) -> float:
        probabilities = softmax(np.log(sample.probabilities.astype(np.float64)) / np.exp(log), axis=0)
        return -float(np.log(np.take_along_axis(probabilities, sample.truth[None].astype(int), axis=0)).mean())

    direct = np.exp(minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-8}).x)
    assert fitted(sample) == pytest.approx(direct, rel=1e-4)


def test_a_temperature_never_leaves_its_bounds() -> None:
    always_right = Sample(np.tile(np.float32([[0.9], [0.1]]), 50), np.zeros(50, np.uint8))
    always_wrong = Sample(always_right.probabilities, np.ones(50, np.uint8))
    assert (fitted(always_right), fitted(always_wrong)) == BOUNDS


def test_probabilities_of_exactly_one_and_zero_are_survived() -> None:
    certain = Sample(np.tile(np.float32([[1], [0], [0]]), 4), np.uint8([0, 0, 0, 1]))
    assert fitted(certain) == BOUNDS[1]
    calmed = temper(certain.probabilities, 5.0)
    assert np.isfinite(calmed).all()
    np.testing.assert_allclose(calmed.sum(axis=0), 1, rtol=1e-6)
    assert np.isfinite(cross_entropies(certain)).all()


def test_an_image_with_a_hundred_times_more_pixels_counts_no_more() -> None:
    sure, unsure = observed(0, 3.0, pixels=400), observed(1, 0.8, pixels=400)
    many = Sample(np.tile(sure.probabilities, 100), np.tile(sure.truth, 100))
    assert fitted(many, unsure) == pytest.approx(fitted(sure, unsure), rel=1e-6)
    assert fitted(sure, unsure) < 0.9 * fitted(sure)
    one, other = (reliability([first, unsure], [1.0, 1.0]) for first in (sure, many))
    np.testing.assert_allclose(one.share, other.share)
    assert one.ece == pytest.approx(other.ece)
    assert other.pixels.sum() == 40_400


def test_an_image_is_left_out_of_its_own_temperature() -> None:
    samples = [observed(seed, heat) for seed, heat in enumerate([1.0, 1.0, 3.0])]
    first, second, third = leave_one_out(np.stack([cross_entropies(sample) for sample in samples]))
    assert third == pytest.approx(fitted(*samples[:2])) == pytest.approx(1.0, rel=0.05)
    assert first == pytest.approx(fitted(*samples[1:]))
    assert first > 1.3
    assert second == pytest.approx(fitted(samples[0], samples[2]))


@given(st.integers(0, 2**32), st.floats(*BOUNDS))
def test_the_most_probable_class_stays(seed: int, temperature: float) -> None:
    before = observed(seed, 2.0, pixels=100).probabilities
    after = temper(before, temperature)
    ahead = np.diff(np.sort(before, axis=0)[-2:], axis=0)[0] > 1e-5  # closer ones may round to a tie
    np.testing.assert_array_equal(after.argmax(axis=0)[ahead], before.argmax(axis=0)[ahead])
    np.testing.assert_allclose(after.sum(axis=0), 1, rtol=1e-5)
    assert temper(before, 1.0) is before


def test_each_confidence_falls_into_the_bin_that_ends_with_it() -> None:
    top = np.float32([1 / 2, 0.6, 0.61, 1.0])
    found = reliability([Sample(np.stack([top, 1 - top]), np.zeros(4, np.uint8))], [1.0])
    assert {int(place): int(found.pixels[place]) for place in np.flatnonzero(found.pixels)} in (
        {7: 1, 8: 1, 9: 1, 14: 1},
        {7: 1, 9: 2, 14: 1},  # 0.6 as float32 is a little more than 9 / 15
    )
    assert np.isnan(found.accuracy[0])
    assert found.share.sum() == pytest.approx(1)
    assert len(found.share) == BINS
    assert found.ece == pytest.approx((0.5 + 0.4 + 0.39 + 0) / 4)


@given(
    seed=st.integers(0, 2**32),
    most=st.integers(1, 200),
    band=st.integers(1, 11),
    labelled=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_labelled_pixels_alone_are_drawn_once_each_however_the_bands_fall(
    seed: int, most: int, band: int, labelled: float
) -> None:
    random = np.random.default_rng(seed)
    truth = np.where(random.random((11, 13)) < labelled, random.integers(0, 3, (11, 13)), 255).astype(np.uint8)
    place = np.arange(truth.size, dtype=np.float32).reshape(1, *truth.shape)
    sampler, again = PixelSampler(truth, most, seed), PixelSampler(truth, most, seed)
    for top in range(0, 11, band):
        sampler.put(place[:, top : top + band])
    again.put(place)
    sample, whole = sampler.sample(), again.sample()
    if not (truth != 255).any():
        assert sample is None
        return
    assert sample is not None
    assert whole is not None
    places = sample.probabilities[0].astype(int)
    assert len(set(places.tolist())) == len(places) == min(most, int((truth != 255).sum()))
    np.testing.assert_array_equal(truth.ravel()[places], sample.truth)
    np.testing.assert_array_equal(sample.probabilities, whole.probabilities)


def test_nothing_seen_is_nothing_drawn() -> None:
    assert PixelSampler(np.zeros((3, 3), np.uint8)).sample() is None
