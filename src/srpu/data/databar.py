"""Finding the data bar that microscopes draw below an image: magnification, voltage, scale, logo.

A bar is drawn, not scanned: most of it is exactly one tone, it begins at one row across the full width, and it holds
text. Scanned material never does all three, so an image without a bar gets 0 even where its bottom is black.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

_HEIGHTS = (0.025, 0.2)  # of the image's; vendors draw 3 to 15 %
_TOLERANCE = 0.025  # of the range of levels; JPEG ripples by this much
_BORDER_ROWS = 4  # that a frame line or JPEG's 8 x 8 blocks may blur


def find_databar(image: Shaped[np.ndarray, "h w"]) -> int:
    """Rows at the bottom that look like a microscope's data bar; 0 if none do.

    >>> image = np.random.default_rng(0).normal(120, 20, (200, 300)).astype(np.uint8)
    >>> image[180:] = 0
    >>> image[185:195, 20:200:4] = 255
    >>> find_databar(image)
    20
    """
    height, width = image.shape
    lowest, highest = (round(share * height) for share in _HEIGHTS)
    if lowest < 4 or width < 64:
        return 0
    bottom = image[height - highest - 2 * _BORDER_ROWS :].astype(np.float32)
    span = float(bottom.max() - bottom.min())
    if span == 0:
        return 0
    tone = _commonest(bottom[-lowest:])
    off_tone = np.abs(bottom - tone) > _TOLERANCE * span
    plain = 1 - off_tone.mean(axis=1)
    top = _top_row(bottom, plain, span)
    rows = len(bottom) - top
    if not lowest <= rows <= min(highest, width // 3):
        return 0
    return rows if _holds_text(off_tone[top + _BORDER_ROWS :]) else 0


def _commonest(levels: Float[np.ndarray, "h w"]) -> float:
    """The middle of the fullest of 256 bins."""
    counts, edges = np.histogram(levels, bins=256)
    fullest = int(np.argmax(counts))
    inside = levels[(levels >= edges[fullest]) & (levels <= edges[fullest + 1])]
    return float(np.median(inside))


def _top_row(bottom: Float[np.ndarray, "h w"], plain: Float[np.ndarray, " h"], span: float) -> int:
    """The row where the bar begins: plain below, not plain above, within a few rows across the full width.

    Args:
        bottom: The lowest rows of the image.
        plain: For each row, the share of pixels that have the bar's tone.
        span: Range of the levels.

    Returns:
        The row's number in ``bottom``; its length if no bar begins.
    """
    ruled = bottom.max(axis=1) - bottom.min(axis=1) <= _TOLERANCE * span  # a frame line, drawn across
    for row in range(_BORDER_ROWS, len(bottom) - _BORDER_ROWS):
        above, below = plain[row - _BORDER_ROWS : row], plain[row : row + _BORDER_ROWS]
        begins = plain[row] >= 0.8 > plain[row - 1] and np.median(below) >= 0.8 and np.median(above) <= 0.4
        if begins and np.mean(plain[row:] >= 0.3) >= 0.9 and plain[row:].mean() >= 0.6:
            while row > 0 and ruled[row - 1]:
                row -= 1
            return row
    return len(bottom)


def _holds_text(ink: Shaped[np.ndarray, "h w"]) -> bool:
    """Whether strokes, not a few specks, stand on the bar: many changes along some rows, over part of the width."""
    strokes = np.count_nonzero(ink[:, 1:] != ink[:, :-1], axis=1)
    columns = ink.any(axis=0).mean()
    return bool(np.count_nonzero(strokes >= 16) >= 4 and columns >= 0.1 and ink.mean() >= 0.005)
