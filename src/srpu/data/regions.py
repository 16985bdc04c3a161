"""Regions of a mask: specks, holes, and how many pixels each class has.

Regions hang together over edges and corners (8 neighbours), holes over edges only (4 neighbours), so a line of one
class that is one pixel thin parts what lies on its two sides. Pixels without a label (255) are never changed, and no
class grows into them.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from srpu.data.masks import IGNORE

Ids = UInt8[np.ndarray, "h w"]


def remove_specks(ids: Ids, smaller_than: int) -> Ids:
    """Give regions of fewer than ``smaller_than`` pixels to the nearest larger region.

    A mask that consists of specks alone stays as it is.

    >>> remove_specks(np.uint8([[0, 0, 0], [0, 2, 1], [0, 0, 1]]), 2).tolist()
    [[0, 0, 0], [0, 0, 1], [0, 0, 1]]
    """
    if smaller_than <= 1:
        return ids
    specks = np.zeros(ids.shape, bool)
    for id_ in _present(ids):
        labels, stats = _regions(ids == id_, 8)
        specks |= (stats[:, cv2.CC_STAT_AREA] < smaller_than)[labels] & (labels > 0)
    kept = ~specks & (ids != IGNORE)
    if not specks.any() or not kept.any():
        return ids
    _, nearest = cv2.distanceTransformWithLabels(
        (~kept).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    id_of = np.zeros(nearest.max() + 1, np.uint8)
    id_of[nearest[kept]] = ids[kept]
    return np.where(specks, id_of[nearest], ids)


def fill_holes(ids: Ids, smaller_than: int) -> Ids:
    """Give holes of fewer than ``smaller_than`` pixels to the class that surrounds them, whatever they hold.

    What touches the border of the mask, or a pixel without a label, is no hole. Classes are filled in the order of
    their ids.

    >>> fill_holes(np.uint8([[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 0]]), 3).tolist()
    [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    """
    if smaller_than <= 1:
        return ids
    filled = ids.copy()
    for id_ in _present(ids):
        labels, stats = _regions(filled != id_, 4)
        holes = stats[:, cv2.CC_STAT_AREA] < smaller_than
        holes[labels[filled == IGNORE]] = False
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            holes[edge] = False
        holes[0] = False  # label 0 is the class itself
        filled[holes[labels]] = id_
    return filled


def class_pixels(ids: Ids, classes: int) -> Int64[np.ndarray, " c"]:
    """How many pixels each class has; those without a label are not counted.

    >>> class_pixels(np.uint8([[0, 2, 255], [2, 2, 255]]), 3).tolist()
    [1, 0, 3]
    """
    counts = np.zeros(256, np.int64)
    for row in ids:  # bincount widens its input to 8 bytes a pixel; row by row that does not matter
        counts += np.bincount(row, minlength=256)
    return counts[:classes]


def _present(ids: Ids) -> list[int]:
    """The class ids that occur."""
    return [int(id_) for id_ in np.flatnonzero(class_pixels(ids, IGNORE))]


def _regions(
    inside: Bool[np.ndarray, "h w"], neighbours: int
) -> tuple[np.ndarray, np.ndarray]:  # int32 (h, w) and (n + 1, 5)
    """Number of each pixel's region (0: outside), and OpenCV's table of their sizes."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=neighbours)
    return labels, stats
