"""Do probabilities mean what they say? One temperature makes them, and reliability shows it.

A network is usually too sure of itself. Dividing its logits by one number, the temperature, leaves every most probable
class as it is and makes the probabilities honest (Guo et al., ICML 2017, arXiv:1706.04599). The logits are those of the
finished probabilities, log p, so what is fitted is what is used, however many tiles and mirror images were averaged:
softmax(log p / T) = p^(1/T) / sum. Each image counts the same, whatever the number of its labelled pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from srpu.data.classes import IGNORE

BOUNDS = (0.5, 5.0)
"""Temperatures beyond these speak of a broken model or of too few pixels, not of calibration."""

PIXELS = 20_000
"""Labelled pixels taken from an image at most: more would hardly change one number."""

BINS = 15
"""Bins of equal width that confidences are sorted into, as in the paper."""

_LOGS = np.linspace(math.log(BOUNDS[0]), math.log(BOUNDS[1]), 47)
_BUDGET = 50_000_000


@dataclass(frozen=True, eq=False)
class Sample:
    """Some labelled pixels of one image.

    Attributes:
        probabilities: What was predicted, in [0, 1].
        truth: The true class ids.
    """

    probabilities: Float32[np.ndarray, "c n"]
    truth: UInt8[np.ndarray, " n"]


class PixelSampler:
    """Draws labelled pixels of one image, all equally likely, while its prediction comes in bands from top to bottom.

    Args:
        truth: Class ids of the image; 255 is not labelled.
        most: How many pixels to draw; all if there are fewer.
        seed: The same seed draws the same pixels.

    >>> sampler = PixelSampler(np.uint8([[0, 255], [1, 1]]), most=9, seed=0)
    >>> for row in ([0.75, 0.5], [0.25, 1.0]):
    ...     sampler.put(np.float32([[row], [1 - np.array(row)]]))
    >>> sampler.sample().probabilities.tolist(), sampler.sample().truth.tolist()
    ([[0.75, 0.25, 1.0], [0.25, 0.75, 0.0]], [0, 1, 1])
    """

    def __init__(self, truth: UInt8[np.ndarray, "h w"], most: int = PIXELS, seed: int = 0) -> None:
        labelled = int(np.count_nonzero(truth != IGNORE))
        random = np.random.default_rng(seed)
        self._ranks = np.sort(random.choice(labelled, min(most, labelled), replace=False))
        self._truth, self._row, self._rank = truth, 0, 0
        self._probabilities: list[Float32[np.ndarray, "c some"]] = []
        self._ids: list[UInt8[np.ndarray, " some"]] = []

    def put(self, probabilities: Float32[np.ndarray, "c rows w"]) -> None:
        """Take the next rows."""
        rows = self._truth[self._row : self._row + probabilities.shape[1]]
        labelled = np.flatnonzero(rows != IGNORE)
        first, last = np.searchsorted(self._ranks, (self._rank, self._rank + len(labelled)))
        chosen = labelled[self._ranks[first:last] - self._rank]
        self._probabilities.append(probabilities.reshape(len(probabilities), -1)[:, chosen])
        self._ids.append(rows.reshape(-1)[chosen])
        self._row, self._rank = self._row + len(rows), self._rank + len(labelled)

    def sample(self) -> Sample | None:
        """What was drawn; None if there was nothing to draw from."""
        if not self._ids or not self._ranks.size:
            return None
        return Sample(np.concatenate(self._probabilities, axis=1), np.concatenate(self._ids))


def pixels_each(images: int, classes: int) -> int:
    """How many pixels of each of so many images fit into 200 MB together, 20,000 at most.

    >>> pixels_each(10, 3), pixels_each(10_000, 5)
    (20000, 1000)
    """
    return max(min(PIXELS, _BUDGET // (images * classes)), 1)


def temper(probabilities: Float32[np.ndarray, "c ..."], temperature: float) -> Float32[np.ndarray, "c ..."]:
    """Probabilities at another temperature: above 1 they are less sure, below 1 surer, at 1 as they were.

    >>> temper(np.float32([[0.9], [0.1]]), 2.0).round(3).tolist() == np.float32([[0.75], [0.25]]).tolist()
    True
    """
    if temperature == 1:
        return probabilities
    powers = _logs(probabilities)
    powers *= np.float32(1 / temperature)
    powers -= powers.max(axis=0)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=0)
    return powers


def cross_entropies(sample: Sample) -> Float64[np.ndarray, " t"]:
    """The mean cross-entropy of a sample over a grid of temperatures, for :func:`fit_temperature`."""
    logs = _logs(sample.probabilities).astype(np.float64)
    logs -= logs.max(axis=0)
    right = np.take_along_axis(logs, sample.truth[None].astype(np.intp), axis=0)[0].mean()
    return np.array(
        [np.log(np.exp(logs / heat).sum(axis=0)).mean() - right / heat for heat in np.exp(_LOGS)], dtype=np.float64
    )


def fit_temperature(curves: Float64[np.ndarray, "images t"]) -> float:
    """The temperature in [0.5, 5] with the lowest cross-entropy, each image counting the same.

    Between the temperatures of the grid, 5 % apart, the curves are so smooth that a spline hits the minimum.

    Args:
        curves: :func:`cross_entropies` of each image.

    Three of four pixels are right where the network said 0.9; the temperature that turns 0.9 into 0.75 is 2:

    >>> sample = Sample(np.float32([[0.9] * 4, [0.1] * 4]), np.uint8([0, 0, 0, 1]))
    >>> round(fit_temperature(cross_entropies(sample)[None]), 3)
    2.0
    """
    from scipy.interpolate import CubicSpline
    from scipy.optimize import minimize_scalar

    curve = CubicSpline(_LOGS, curves.mean(axis=0))
    ends = (float(_LOGS[0]), float(_LOGS[-1]))
    inside = float(minimize_scalar(curve, bounds=ends, method="bounded", options={"xatol": 1e-6}).x)
    lowest = min((*ends, inside), key=lambda log: float(curve(log)))
    return round(math.exp(lowest), 6)


def leave_one_out(curves: Float64[np.ndarray, "images t"]) -> list[float]:
    """For each of two or more images the temperature that the others give."""
    return [fit_temperature(np.delete(curves, left_out, axis=0)) for left_out in range(len(curves))]


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the most probable class is right, by how probable it was said to be.

    Attributes:
        pixels: How many pixels fell into each bin of confidence.
        share: Their share, each image counting the same; sums to 1.
        confidence: The mean probability of the most probable class; NaN in an empty bin.
        accuracy: How often that class is right; NaN in an empty bin.
    """

    pixels: Int64[np.ndarray, " bins"]
    share: Float64[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]
    accuracy: Float64[np.ndarray, " bins"]

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1: |accuracy - confidence| of each bin, weighted by the bin's share."""
        return float(np.nansum(self.share * np.abs(self.accuracy - self.confidence)))


def reliability(samples: Sequence[Sample], temperatures: Sequence[float]) -> Reliability:
    """Sort the pixels of all images by the probability of their most probable class.

    Args:
        samples: One for each image, one image at least.
        temperatures: The temperature for each image.

    Half of what the network is 90 % sure of is right, and all of what it is 60 % sure of:

    >>> sample = Sample(np.float32([[0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.4, 0.4]]), np.uint8([0, 1, 0, 0]))
    >>> round(reliability([sample], [1.0]).ece, 6)  # (0.9 - 0.5) / 2 + (1 - 0.6) / 2
    0.4
    """
    pixels, sums = np.zeros(BINS, np.int64), np.zeros((3, BINS))
    for sample, temperature in zip(samples, temperatures, strict=True):
        confidence = temper(sample.probabilities, temperature).max(axis=0).astype(np.float64)
        right = sample.probabilities.argmax(axis=0) == sample.truth
        bins = np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)
        pixels += np.bincount(bins, minlength=BINS)
        inside = np.stack([np.bincount(bins, values, BINS) for values in (None, confidence, right)])
        sums += inside / (len(right) * len(samples))
    held = np.where(pixels > 0, sums[0], np.nan)
    return Reliability(pixels, sums[0], sums[1] / held, sums[2] / held)


def _logs(probabilities: Float32[np.ndarray, "c ..."]) -> Float32[np.ndarray, "c ..."]:
    """Logarithms, those of nothing being as small as they can be."""
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
