"""Masks whose edges were smoothed or compressed: recognising them, and giving each pixel its class back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from srpu.data.classes import IGNORE, RGB, ClassMap
from srpu.data.palette import write_mask
from srpu.data.rasters import read_header, read_raster
from srpu.data.tones import Tones, all_grey, colours_of, distances, tolerance, whole_numbers
from srpu.errors import ImageError, MaskError

_GUESSABLE = 40  # levels that an area may be off its class's colour
_MANY = 32  # colours in a mask; only compression and resampling make so many
_REACH = 5  # pixels across the neighbourhood that an edge pixel's class is looked for in


def repair_mask(path: Path, classes: ClassMap) -> tuple[Path, int]:
    """Write a clean copy of a mask with blurred edges as ``NAME_repaired.png`` beside it.

    A pixel of no class's colour gets the nearest colour among the classes within two pixels, so that two colours that
    mix to look like a third class leave no rim of it; where there is none, the nearest colour in the mask.

    Returns:
        The copy's path, and how many pixels had another colour.

    Raises:
        MaskError: The copy exists already, or the colours are too far off to guess.
    """
    copy = path.with_name(f"{path.stem}_repaired.png")
    if copy.exists():
        raise MaskError(f"{copy} is there already and is not written over; move it away first.")
    try:
        if read_header(path).pages > 1:
            raise MaskError(f"{path} holds several pages; save them as single files and repair those.")
        raster = read_raster(path)
    except ImageError as error:
        raise MaskError(str(error)) from error
    tones = Tones.of(whole_numbers(path, raster.pixels))
    colours = colours_of(tones.values, raster)
    targets = _targets(colours, classes)
    in_colour = raster.pixels.ndim == 3 and all_grey(np.array(classes.colors))  # though the colours are all grey
    if all_grey(colours) and not classes.mask_values and not in_colour:
        raise MaskError(f"{path} is grey; say in MASK_VALUES which level is which class before it can be repaired.")
    if are_ids(colours, classes):
        raise MaskError(
            f"{path} holds class ids, not the levels of MASK_VALUES, so nothing was guessed; convert it, or empty "
            f"MASK_VALUES if all masks are like it."
        )
    off = distances(colours, list(targets))
    if not _guessable(tones, off):
        raise MaskError(f"{path} has whole areas in colours of no class, so nothing was guessed; check COLOR_MAPPING.")
    chosen = _nearest_around(tones, off, tolerance(list(targets)))
    write_mask(copy, np.array(list(targets.values()), np.uint8)[chosen], classes)
    return copy, int(tones.counts[off.min(axis=1) > 0].sum())


def are_ids(colours: Int[np.ndarray, "n 3"], classes: ClassMap) -> bool:
    """Whether levels that MASK_VALUES does not name are class ids: next to its 0 they would all look like class 0."""
    known = all_grey(colours) and all(classes.id_of(int(level)) is not None for level in colours[:, 0])
    return bool(classes.mask_values) and known and not all(int(level) in classes.mask_values for level in colours[:, 0])


def look_like_edges(tones: Tones, colours: Int[np.ndarray, "n 3"], classes: ClassMap) -> bool:
    """Whether the colours that are no class's are what smoothing or compression leaves where classes meet.

    They are if they are very many, or lie between the colours of two classes and fill no area.
    """
    targets = list(_targets(colours, classes))
    off = distances(colours, targets)
    strange = off.min(axis=1) > tolerance(targets)
    if not _guessable(tones, off):
        return False
    if np.count_nonzero(strange) >= _MANY:
        return True
    if _fill_area(tones, strange):
        return False
    present = np.unique(off[~strange].argmin(axis=1))
    mixed = np.zeros(np.count_nonzero(strange), bool)
    for first, second in itertools.combinations(np.array(targets, float)[present], 2):
        along = second - first
        share = np.clip((colours[strange] - first) @ along / (along @ along), 0, 1)
        mixed |= np.abs(first + share[:, None] * along - colours[strange]).max(axis=1) <= 6
    return bool(tones.counts[strange][mixed].sum() >= 0.9 * tones.counts[strange].sum())


def _targets(colours: Int[np.ndarray, "n 3"], classes: ClassMap) -> dict[RGB, int]:
    """What each class looks like: its grey level if the picture is grey and levels are given, else its colour."""
    if classes.mask_values and all_grey(colours):
        return {(level, level, level): id_ for level, id_ in classes.of_levels().items()}
    return classes.of_colours()


def _guessable(tones: Tones, off: Int[np.ndarray, "n k"]) -> bool:
    """Whether half of the picture is close to classes, and what is not fills no area."""
    far = off.min(axis=1) > _GUESSABLE
    return 2 * int(tones.counts[far].sum()) <= int(tones.counts.sum()) and not _fill_area(tones, far)


def _fill_area(tones: Tones, some: Bool[np.ndarray, " n"]) -> bool:
    """Whether these tones somewhere fill a square of 7 pixels, which no edge does."""
    import cv2

    return bool(cv2.erode(tones.paint(some.astype(np.uint8)), np.ones((7, 7), np.uint8), borderValue=0).any())


def _nearest_around(tones: Tones, off: Int[np.ndarray, "n k"], clean_below: int) -> UInt8[np.ndarray, "h w"]:
    """For each pixel the number of its target: the nearest, for unclear pixels among those in the neighbourhood."""
    import cv2

    nearest = off.argmin(axis=1)
    clean = off.min(axis=1) <= clean_below
    chosen = tones.paint(np.where(clean, nearest, IGNORE).astype(np.uint8))
    unclear = tones.paint(~clean)
    present = np.unique(nearest[clean] if clean.any() else nearest)
    costs = off[tones.paint(np.arange(len(off)))[unclear]][:, present].astype(np.float32)
    square = np.ones((_REACH, _REACH), np.uint8)
    around = [cv2.dilate((chosen == target).astype(np.uint8), square)[unclear] > 0 for target in present]
    missing = ~np.stack(around, axis=1)
    costs[missing & ~missing.all(axis=1, keepdims=True)] = np.inf
    chosen[unclear] = present[costs.argmin(axis=1)]
    return chosen
