"""Masks that have come back from people: what may be wrong with one, what can be mended, and what was changed.

Nothing is mended by guessing where two answers are possible, and nothing without being asked. All masks here are class
ids (h, w) without the rows of a data bar, 255 where nothing is labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from srpu.active.query import Window
from srpu.data.classes import IGNORE
from srpu.data.masks import fit_mask
from srpu.errors import MaskError

Ids = UInt8[np.ndarray, "h w"]
Where = Bool[np.ndarray, "h w"]
Problem = Literal["empty", "untouched", "swapped", "rim", "specks"]

SPECK = 25
"""Unlabelled pixels that hang together up to which they look forgotten; more look left out on purpose."""

RIM_WIDTH = 3
"""Pixels across most of a false rim."""

RIM_LENGTH = 20
"""Fewer pixels are no rim."""

RIM_LEFT, RIM_THIN, RIM_REBUILT = 0.1, 0.5, 0.7
"""A rim comes from smoothing if at most this part of the outlines between the two classes is left without it, at least
this part of it is no wider than RIM_WIDTH, and smoothing the repaired mask brings at least this part of it back: on
real masks 0.73 to 0.96 after means over 3 or 5 pixels and Gaussians of 1 to 2, and below 0.68 for thin layers drawn."""

OWN, BETTER, STRANGE = 0.75, 0.2, 0.6
"""Files were swapped if a mask agrees less than OWN with its own prediction, and by BETTER more with another one; what
agrees less than STRANGE is told."""

NEAR = 3
"""Pixels on either side of an outline that count as changed along it."""


@dataclass(frozen=True)
class Verdict:
    """What is to be done with a returned mask.

    Attributes:
        ids: As returned, or repaired.
        problem: Why it is not taken; None: it is taken.
        reason: The same in words, after the file's name; it ends without a full stop.
        remarks: What is worth a sentence though it is taken, after the file's name.
        repaired: What a repair makes, or made, of it; None: there was nothing to repair.
        kind: What was repaired.
    """

    ids: Ids
    problem: Problem | None = None
    reason: str = ""
    remarks: tuple[str, ...] = ()
    repaired: Ids | None = None
    kind: Literal["rim", "repair"] | None = None


def examine(
    returned: Ids,
    predicted: Ids | None,
    classes: Sequence[str],
    *,
    repair: bool = False,
    others: Callable[[], Iterable[tuple[str, Ids]]] = tuple,
) -> Verdict:
    """Check a returned mask against what was handed out.

    Args:
        returned: What came back.
        predicted: What was handed out; None: nothing.
        classes: Their names.
        repair: Take what a repair makes of it.
        others: The other predictions of the round with their names; asked only where the mask fits its own badly.
    """
    if (returned == IGNORE).all():
        return Verdict(returned, "empty", "holds no labelled pixel; paint it, or leave it out with `srpu active skip`")
    if predicted is not None and np.array_equal(returned, predicted):
        return Verdict(returned, "untouched", "is the prediction as it was handed out")
    if predicted is not None and (other := swapped(returned, predicted, others)):
        own = agreement(returned, predicted)
        reason = f"fits {other} and not its own image ({own:.0%} as predicted); give it the name of the image it shows"
        return Verdict(returned, "swapped", reason)
    verdict = _without_rim(Verdict(returned), predicted, classes, repair=repair)
    if predicted is not None and (own := agreement(returned, predicted)) < STRANGE:
        remark = f"is only {own:.0%} as predicted; if it shows another image, `srpu active undo` takes it back"
        verdict = replace(verdict, remarks=(*verdict.remarks, remark))
    if verdict.problem is None:
        verdict = _without_specks(verdict, predicted, repair=repair)
    if verdict.problem is None and predicted is not None and np.array_equal(verdict.ids, predicted):
        return replace(verdict, problem="untouched", reason="is, repaired, the prediction as it was handed out")
    return verdict


def _without_rim(verdict: Verdict, predicted: Ids | None, classes: Sequence[str], *, repair: bool) -> Verdict:
    rim = None if predicted is None else find_rim(verdict.ids, predicted, len(classes))
    if rim is None or predicted is None:
        return verdict
    names = ", ".join(classes[id_] for id_ in np.unique(verdict.ids[rim]))
    said = f"a thin rim of {names} ({rim.sum()} pixels) where the prediction has none"
    repaired = fill_rim(verdict.ids, rim, predicted)
    if repair:
        remark = f"had {said}; these pixels were given to the nearer of the classes on both sides"
        return replace(verdict, ids=repaired, repaired=repaired, kind="rim", remarks=(*verdict.remarks, remark))
    reason = (
        f"has {said}: smoothing or scaling a mask makes it; save it anew without that, or let "
        "`srpu active take-in --repair` give these pixels to the nearer class"
    )
    return replace(verdict, problem="rim", reason=reason, repaired=repaired, kind="rim")


def _without_specks(verdict: Verdict, predicted: Ids | None, *, repair: bool) -> Verdict:
    specks, larger = find_gaps(verdict.ids, predicted)
    remarks = verdict.remarks
    if larger.any():
        remarks = (*remarks, f"leaves {larger.mean():.1%} of its pixels not labelled; these are not trained on")
    if not specks.any() or larger.any():  # who leaves areas out may leave specks out too
        return replace(verdict, remarks=remarks)
    said = f"{specks.sum()} unlabelled pixels in specks of at most {SPECK}"
    repaired = fill_specks(verdict.ids, specks, predicted)
    kind = verdict.kind or "repair"
    if repair:
        remark = f"had {said}; they were filled from what lies around them"
        return replace(verdict, ids=repaired, repaired=repaired, kind=kind, remarks=(*remarks, remark))
    reason = f"has {said}; paint them, or let `srpu active take-in --repair` fill them from what lies around them"
    return replace(verdict, problem="specks", reason=reason, repaired=repaired, kind=kind)


def cut_out(
    ids: Ids, shape: tuple[int, int], window: Window | None, cut: Window | None, databar: int, path: Path
) -> Ids:
    """The part of a returned mask that was asked for.

    Args:
        ids: As read: the image, what was handed out of it, or the window alone.
        shape: Height and width of the image.
        window: What was asked for; None: the image.
        cut: What was handed out: the window and what lies around it; None: nobody knows.
        databar: Rows of the image's data bar, which a mask may lack.
        path: The file, for the error.

    Raises:
        MaskError: The size is none of these.
    """
    if window is None:
        return fit_mask(ids, shape, databar, path)
    if ids.shape == (window.height, window.width):
        return ids
    if cut is not None and ids.shape == (cut.height, cut.width):
        return ids[window.top - cut.top :, window.left - cut.left :][: window.height, : window.width]
    if ids.shape in (shape, (shape[0] - databar, shape[1])):
        return fit_mask(ids, shape, databar, path)[window.slices]
    wanted = cut or window
    raise MaskError(
        f"{path} has {ids.shape[1]} × {ids.shape[0]} pixels, what was handed out {wanted.width} × {wanted.height}: "
        "save it at that size, neither scaled nor cropped."
    )


def agreement(first: Ids, second: Ids) -> float:
    """The share of equal pixels among those that are labelled in both; 0 where there are none.

    >>> agreement(np.array([[0, 1, 2, 255]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8))
    0.6666666666666666
    """
    both = (first != IGNORE) & (second != IGNORE)
    return float((first[both] == second[both]).mean()) if both.any() else 0.0


def swapped(returned: Ids, own: Ids, others: Callable[[], Iterable[tuple[str, Ids]]]) -> str | None:
    """The name of another prediction that a mask fits far better than its own; None: there is none."""
    agrees = agreement(returned, own)
    if agrees >= OWN:
        return None
    fits = [(agreement(returned, other), name) for name, other in others() if other.shape == returned.shape]
    best, name = max(fits, default=(0.0, ""))
    return name if best - agrees > BETTER else None


def find_gaps(returned: Ids, predicted: Ids | None) -> tuple[Where, Where]:
    """Pixels that are not labelled though the prediction had labelled them: in specks, and in larger areas."""
    open_ = returned == IGNORE
    if predicted is not None:
        open_ &= predicted != IGNORE
    number, areas, facts, _ = cv2.connectedComponentsWithStats(open_.astype(np.uint8), connectivity=8)
    small = np.zeros(number, bool)
    small[1:] = facts[1:, cv2.CC_STAT_AREA] <= SPECK
    specks: Where = small[areas]
    return specks, open_ & ~specks


def fill_specks(returned: Ids, specks: Where, predicted: Ids | None) -> Ids:
    """Give each speck the class around it, or where there are several the predicted or else the nearest one."""
    filled = returned.copy()
    nearest, _ = _nearest(returned, returned != IGNORE)
    number, areas, facts, _ = cv2.connectedComponentsWithStats(specks.astype(np.uint8), connectivity=8)
    for area in range(1, number):
        left, top, width, height = (int(value) for value in facts[area, :4])
        part = slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)
        here = areas[part] == area
        around = (cv2.dilate(here.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & (returned[part] != IGNORE)
        one_class = len(np.unique(returned[part][around])) == 1
        source = nearest if one_class or predicted is None else predicted
        filled[part][here] = source[part][here]
    return filled


def find_rim(returned: Ids, predicted: Ids, classes: int) -> Where | None:
    """The rim that smoothing the numbers of a mask leaves between two classes; None: there is none.

    Between class 0 and class 2 the mean is 1: a thin line of class 1 appears that nobody drew, wherever the prediction
    has the two classes side by side. Layers that a person draws leave some of these places out, are thick elsewhere, or
    are not what smoothing gives.
    """
    rim = np.zeros(returned.shape, bool)
    for id_ in range(1, classes - 1):
        sides, outline = _sides(returned, id_), _touching(*_sides(predicted, id_))
        added = (returned == id_) & (predicted != id_) & (predicted != IGNORE)
        new = added & _within(sides[0], RIM_WIDTH + 1) & _within(sides[1], RIM_WIDTH + 1)
        thick = added & ~_thin(returned == id_) & _within(outline, 2 * RIM_WIDTH)
        if new.sum() < RIM_LENGTH or (new & ~thick).sum() < RIM_THIN * (new | thick).sum():
            continue
        left = _touching(*sides) & _within(outline, RIM_WIDTH)
        if left.sum() <= RIM_LEFT * outline.sum() and _rebuilt(fill_rim(returned, new, predicted), new) >= RIM_REBUILT:
            rim |= new
    return rim if rim.any() else None


def _sides(ids: Ids, id_: int) -> tuple[Where, Where]:
    """Pixels of the classes below and above."""
    return ids < id_, (ids > id_) & (ids != IGNORE)


def _rebuilt(repaired: Ids, rim: Where) -> float:
    """How much of a rim some smoothing of the repaired mask gives: what both have over what either has."""
    numbers = np.where(repaired == IGNORE, 0, repaired).astype(np.float32)
    smooth = [cv2.blur(numbers, (side, side)) for side in (3, 5)]
    smooth += [cv2.GaussianBlur(numbers, (0, 0), sigma) for sigma in (1.0, 1.5, 2.0)]
    near = _within(rim, RIM_WIDTH)
    best = 0.0
    for one in smooth:
        again = (np.rint(one) != repaired) & near
        best = max(best, float((again & rim).sum() / (again | rim).sum()))
    return best


def fill_rim(returned: Ids, rim: Where, predicted: Ids) -> Ids:
    """Give each pixel of a rim the class of the nearer side; of two equally near ones the predicted one."""
    filled = returned.copy()
    for id_ in np.unique(returned[rim]):
        here = rim & (returned == id_)
        sources = (returned != IGNORE) & ~rim
        below, to_below = _nearest(returned, sources & (returned < id_))
        above, to_above = _nearest(returned, sources & (returned > id_))
        chosen = np.where(to_below < to_above, below, above)
        open_ = (to_below == to_above) & (predicted == below)
        filled[here] = np.where(open_, below, chosen)[here]
    return filled


def changes(predicted: Ids, returned: Ids, classes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """How much people changed, by the class that the pixels have now.

    A changed pixel lies along an outline if outlines of both masks are within 3 pixels of it: the outline was moved.
    Else something was added or removed.

    Args:
        predicted: What was handed out.
        returned: What came back.
        classes: Their names.

    Returns:
        For each class its pixels in the returned mask, those changed along outlines, and those changed elsewhere.

    >>> before = np.zeros((5, 20), np.uint8)
    >>> before[:, 10:] = 1
    >>> after = before.copy()
    >>> after[:, 8:10] = 1
    >>> changes(before, after, ("pore", "grain"))
    {'pore': (40, 0, 0), 'grain': (60, 10, 0)}
    """
    changed = (predicted != returned) & (predicted != IGNORE) & (returned != IGNORE)
    along = changed & _within(_outlines(predicted), NEAR - 1) & _within(_outlines(returned), NEAR - 1)
    found = {}
    for id_, name in enumerate(classes):
        here = returned == id_
        boundary = int((here & along).sum())
        found[name] = (int(here.sum()), boundary, int((here & changed).sum()) - boundary)
    return found


def told(found: Mapping[str, tuple[int, int, int]], ids: Ids) -> str:
    """What :func:`changes` found, to follow a mask's name; "" if nothing was changed.

    >>> told({"pore": (40, 0, 0), "grain": (60, 10, 0)}, np.zeros((5, 20), np.uint8))
    ', 10.0% changed: grain 10 pixels along outlines and 0 elsewhere'
    """
    total = sum(boundary + blob for _, boundary, blob in found.values())
    if not total:
        return ""
    parts = [f"{name} {b} pixels along outlines and {c} elsewhere" for name, (_, b, c) in found.items() if b or c]
    return f", {total / max(int((ids != IGNORE).sum()), 1):.1%} changed: {'; '.join(parts)}"


def _nearest(ids: Ids, sources: Where) -> tuple[Ids, Float64[np.ndarray, "h w"]]:
    """For each pixel the id of the nearest of ``sources``, and how far it is; without any sources infinitely."""
    from scipy.ndimage import distance_transform_edt

    if not sources.any():
        return ids, np.full(ids.shape, np.inf)
    far, (rows, columns) = distance_transform_edt(~sources, return_indices=True)
    return ids[rows, columns], far


def _within(some: Where, reach: float) -> Where:
    """Pixels at most so far from one of ``some``."""
    if not some.any():
        return np.zeros(some.shape, bool)
    far = cv2.distanceTransform((~some).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near: Where = far <= reach
    return near


def _thin(some: Where) -> Where:
    """What no square of RIM_WIDTH + 1 pixels fits into."""
    room, side = RIM_WIDTH + 1, RIM_WIDTH + 1
    padded = np.pad(some, room, mode="edge").astype(np.uint8)  # a rim goes on beyond the picture, and so does an area
    square = np.ones((side, side), np.uint8)
    eroded = cv2.erode(padded, square, anchor=(0, 0))
    thick = cv2.dilate(eroded, square, anchor=(side - 1, side - 1))  # mirrored, so that nothing moves
    thin: Where = some & (thick[room:-room, room:-room] == 0)
    return thin


def _touching(first: Where, second: Where) -> Where:
    """Pixels of either that have one of the other above, below, left or right of them."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    near_first = cv2.dilate(first.astype(np.uint8), cross) > 0
    near_second = cv2.dilate(second.astype(np.uint8), cross) > 0
    touching: Where = (first & near_second) | (second & near_first)
    return touching


def _outlines(ids: Ids) -> Where:
    """Pixels with one of another class above, below, left or right of them."""
    edge = np.zeros(ids.shape, bool)
    across = (ids[:, 1:] != ids[:, :-1]) & (ids[:, 1:] != IGNORE) & (ids[:, :-1] != IGNORE)
    down = (ids[1:] != ids[:-1]) & (ids[1:] != IGNORE) & (ids[:-1] != IGNORE)
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
