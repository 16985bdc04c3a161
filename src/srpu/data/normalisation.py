"""Making grey levels comparable: the shift and scale that take an image's levels to what a network sees.

They are found on the whole image, never on a crop or tile, and are the same in training and prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from srpu.errors import SettingsError

Levels = Shaped[np.ndarray, "h w"]
Window = tuple[float, float]

_ENOUGH = 2_000_000  # pixels that tell percentiles well enough


@dataclass(frozen=True)
class Normalisation:
    """One of the named ways to normalise: normalised = (image - shift) / scale.

    Attributes:
        method: "zscore" (mean 0, deviation 1), "percentile" (1st to 99th percentile to 0..1), "window" (``window`` to
            0..1), "dataset" (the training set's mean and deviation, given as ``window``), or "none" (the range of the
            number type to 0..1; floating point as it is).
        window: Two levels for "window"; mean and deviation for "dataset".

    Raises:
        SettingsError: There is no such method, or it lacks its window.
    """

    method: str
    window: Window | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingsError(f'NORMALIZATION = "{self.method}" does not exist; choose one of {", ".join(METHODS)}.')
        if self.method in ("window", "dataset") and self.window is None:
            raise SettingsError(f'NORMALIZATION = "{self.method}" needs two numbers; set NORMALIZATION_WINDOW.')

    def shift_scale(self, image: Levels) -> tuple[float, float]:
        """What to subtract and then divide by; a flat image gets the scale 1.

        Args:
            image: All of one image, without its data bar.

        >>> Normalisation("zscore").shift_scale(np.array([[10, 30]], np.uint8))
        (20.0, 10.0)
        >>> Normalisation("none").shift_scale(np.array([[10, 30]], np.uint8))
        (0.0, 255.0)
        """
        shift, scale = METHODS[self.method](image, self.window or (0.0, 1.0))
        return shift, scale if scale > 0 else 1.0

    def state(self) -> dict[str, Any]:
        """Plain values, to be stored in a checkpoint."""
        return {"method": self.method, "window": None if self.window is None else list(self.window)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Normalisation:
        """The inverse of :meth:`state`."""
        return cls(state["method"], None if state["window"] is None else tuple(state["window"]))


def _zscore(image: Levels, _: Window) -> tuple[float, float]:
    mean = float(image.mean(dtype=np.float64))
    # Row by row: a large image is never copied in double precision.
    deviation = math.sqrt(sum(float(np.square(row - mean).sum()) for row in image) / image.size)
    return mean, deviation if deviation > 1e-9 * abs(mean) else 0.0


def _percentile(image: Levels, _: Window) -> tuple[float, float]:
    stride = math.ceil(math.sqrt(image.size / _ENOUGH))
    low, high = (float(level) for level in np.percentile(image[::stride, ::stride], (1, 99)))
    if low == high:  # nearly all of the image is one level
        low, high = float(image.min()), float(image.max())
    return low, high - low


def _window(_: Levels, window: Window) -> tuple[float, float]:
    return window[0], window[1] - window[0]


def _dataset(_: Levels, window: Window) -> tuple[float, float]:
    return window


def _none(image: Levels, _: Window) -> tuple[float, float]:
    return 0.0, float(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else 1.0


METHODS: dict[str, Callable[[Levels, Window], tuple[float, float]]] = {
    "zscore": _zscore,
    "percentile": _percentile,
    "window": _window,
    "dataset": _dataset,
    "none": _none,
}
