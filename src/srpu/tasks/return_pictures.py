"""Before and after: what a repair makes of a returned mask, as a picture to look at."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from srpu.data.classes import ClassMap, colour
from srpu.pictures import RGB, WRONG, legend, overlay, panel, stack, to_8bit, to_rgb

DETAIL = 96
"""Pixels across the part that is shown enlarged: the one with the most changes."""

WIDTH = 1600


def draw_repair(
    image: Shaped[np.ndarray, "h w"],
    before: RGB | UInt8[np.ndarray, "h w"],
    after: UInt8[np.ndarray, "h w"],
    changed: Bool[np.ndarray, "h w"],
    classes: ClassMap,
) -> RGB:
    """The whole mask with what changes in red, and a part of it enlarged: image, before, after.

    Args:
        image: What the mask shows.
        before: As returned: class ids, or the colours of a file that holds others.
        after: As repaired.
        changed: Which pixels change.
        classes: Their names and colours.
    """
    old = colour(before, classes) if before.ndim == 2 else before
    marked = overlay(image, after, classes)
    marked[changed] = WRONG
    part = _busiest(changed)
    rows = [
        panel([marked, old, colour(after, classes)], ["changes (red)", "as returned", "repaired"], width=WIDTH),
        panel(
            [_enlarged(picture[part]) for picture in (to_rgb(to_8bit(image)), old, colour(after, classes))],
            ["a part, enlarged", "as returned", "repaired"],
            width=WIDTH,
        ),
    ]
    return stack([*rows, legend(classes, rows[0].shape[1])])


def _enlarged(picture: RGB) -> RGB:
    """By a whole factor, to about a third of the width."""
    factor = max(WIDTH // 3 // picture.shape[1], 1)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _busiest(changed: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """The square of DETAIL pixels, or less in a small picture, in which most changes."""
    height, width = (min(DETAIL, side) for side in changed.shape)
    counts = cv2.boxFilter(
        changed.astype(np.float32), -1, (width, height), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    top = int(np.clip(row - height // 2, 0, changed.shape[0] - height))
    left = int(np.clip(column - width // 2, 0, changed.shape[1] - width))
    return slice(top, top + height), slice(left, left + width)
