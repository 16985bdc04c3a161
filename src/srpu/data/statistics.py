"""What the images and masks of a data set hold: grey levels and class shares."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8

from srpu.data.classes import IGNORE


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over some images, without their data bars; two are joined by ``+``.

    Attributes:
        images: How many images.
        depths: Number types of their grey levels ("uint8", "uint16", "float32").
        pixels: How many pixels.
        mean: Of all grey levels.
        spread: Sum over all pixels of the squared distance from the mean.
        lowest: Least grey level.
        highest: Greatest grey level.
        counts: Labelled pixels of each class.
        ignored: Pixels that are not labelled.
    """

    images: int
    depths: frozenset[str]
    pixels: int
    mean: float
    spread: float
    lowest: float
    highest: float
    counts: Int64[np.ndarray, " c"]
    ignored: int

    @classmethod
    def of(cls, image: Shaped[np.ndarray, "h w"], ids: UInt8[np.ndarray, "h w"], classes: int) -> Tally:
        """The tally of one image and its mask.

        >>> tally = Tally.of(np.array([[10, 20]], np.uint8), np.array([[1, 255]], np.uint8), classes=2)
        >>> tally.mean, tally.deviation, tally.shares.tolist(), tally.ignored
        (15.0, 5.0, [0.0, 1.0], 1)
        """
        mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(image))
        every = np.bincount(ids.ravel(), minlength=256)
        return cls(
            images=1,
            depths=frozenset([image.dtype.name]),
            pixels=image.size,
            mean=mean,
            spread=deviation**2 * image.size,
            lowest=float(image.min()),
            highest=float(image.max()),
            counts=every[:classes],
            ignored=int(every[IGNORE]),
        )

    def __add__(self, other: Tally) -> Tally:
        pixels, apart = self.pixels + other.pixels, other.mean - self.mean
        return Tally(
            images=self.images + other.images,
            depths=self.depths | other.depths,
            pixels=pixels,
            mean=self.mean + apart * other.pixels / pixels,
            # Chan, Golub, LeVeque 1983: exact where a sum of squares would cancel
            spread=self.spread + other.spread + apart**2 * self.pixels * other.pixels / pixels,
            lowest=min(self.lowest, other.lowest),
            highest=max(self.highest, other.highest),
            counts=self.counts + other.counts,
            ignored=self.ignored + other.ignored,
        )

    @property
    def deviation(self) -> float:
        """Standard deviation of all grey levels."""
        return float(np.sqrt(self.spread / self.pixels))

    @property
    def shares(self) -> Float64[np.ndarray, " c"]:
        """Share of each class in the labelled pixels, from 0 to 1; NaN where none is labelled."""
        labelled = self.counts.sum()
        return self.counts / labelled if labelled else np.full(len(self.counts), np.nan)
