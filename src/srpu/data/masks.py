"""Reading masks: class ids, palettes, colours or grey levels in files, class ids inside.

Inside, a mask is uint8 (h, w) with ids from 0 and ``IGNORE`` = 255, whatever the files use. What cannot be told for
sure is an error, never class 0.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from srpu.data.classes import IGNORE, ClassMap, colour
from srpu.data.palette import write_mask, write_mask_stack
from srpu.data.rasters import Raster, read_raster
from srpu.data.repair import are_ids, look_like_edges, repair_mask
from srpu.data.tones import Tones, all_grey, colours_of, distances, tolerance, whole_numbers
from srpu.errors import ImageError, MaskError

__all__ = [
    "IGNORE",
    "ClassMap",
    "Mask",
    "colour",
    "fit_mask",
    "read_mask",
    "repair_mask",
    "write_mask",
    "write_mask_stack",
]

log = logging.getLogger(__name__)

_UNKNOWN = -1


@dataclass(frozen=True)
class Mask:
    """A mask and how it was read.

    Attributes:
        ids: Class ids, with ``IGNORE`` where nothing is labelled.
        how: "class ids", "palette colours", "palette indices", "colours" or "grey levels".
        near: Pixels whose colour was up to 3 levels off that of their class.
        swapped: The colours were found with red and blue exchanged.
    """

    ids: UInt8[np.ndarray, "h w"]
    how: str
    near: int = 0
    swapped: bool = False


@dataclass(frozen=True)
class _Reading:
    """One way to read the n tones of a mask: the id of each or ``_UNKNOWN``, and which are slightly off."""

    how: str
    ids: Int[np.ndarray, " n"]
    off: Bool[np.ndarray, " n"] | None = None
    swapped: bool = False

    @property
    def known(self) -> Bool[np.ndarray, " n"]:
        known: Bool[np.ndarray, " n"] = self.ids != _UNKNOWN
        return known


def read_mask(path: Path, classes: ClassMap, page: int | None = None) -> Mask:
    """Read one mask as class ids.

    Palette images are read by colour if all colours in use are those of classes, else by index; RGB images by colour;
    grey images through ``classes.mask_values`` or, without, as class ids. Transparent pixels are not labelled.

    Args:
        path: The file.
        classes: What ids, colours and levels mean.
        page: Which mask of a stack, from 0; None: the first.

    Raises:
        MaskError: The file is broken, a lossy JPEG, or holds an id, level or colour that belongs to no class.
    """
    try:
        raster = read_raster(path, page)
    except ImageError as error:
        raise MaskError(str(error)) from error
    if raster.lossy:
        raise MaskError(
            f"{path} is a lossy JPEG, which changes ids and colours along every border; save the mask as PNG where it "
            f'was drawn, or let `srpu masks repair "{path}"` write a nearest-colour copy.'
        )
    pixels = whole_numbers(path, raster.pixels)
    if raster.hidden is not None:  # erased in an editor; what colour lies beneath means nothing
        pixels = pixels.copy()
        pixels[raster.hidden] = pixels[~raster.hidden][0]
    tones = Tones.of(pixels)
    colours = colours_of(tones.values, raster)
    if raster.palette is not None:
        reading = _read_palette(path, tones.values, colours, classes)
    elif raster.pixels.ndim == 3:
        reading = _read_colours(path, colours, classes)
    else:
        reading = _read_levels(path, tones.values, classes, raster)
    if not reading.known.all():
        raise MaskError(_unknown(path, tones, colours, reading, classes))
    near = 0 if reading.off is None else int(tones.counts[reading.off].sum())
    ids = tones.paint(reading.ids.astype(np.uint8))
    if raster.hidden is not None:
        ids[raster.hidden] = IGNORE
    return Mask(ids, reading.how, near, reading.swapped)


def fit_mask(
    ids: UInt8[np.ndarray, "h w"], shape: tuple[int, int], databar: int, path: Path
) -> UInt8[np.ndarray, "h2 w"]:
    """Bring a mask to its image's size: one that lacks the rows of the data bar is filled up with ``IGNORE``.

    Args:
        ids: The mask.
        shape: Height and width of the image.
        databar: Rows of the image's data bar.
        path: The mask's file, for the error.

    Raises:
        MaskError: The sizes differ in any other way.
    """
    (rows, columns), (height, width) = ids.shape, shape
    if (rows, columns) == (height, width):
        return ids
    missing = height - rows
    if columns == width and missing == databar:
        return np.pad(ids, ((0, missing), (0, 0)), constant_values=IGNORE)
    cure = "export it at the size of its image, neither scaled nor cropped"
    if columns == width and 0 < missing <= 0.25 * height:
        cure = f"if the {missing} missing rows are the microscope's data bar, set DATABAR_ROWS = {missing}"
    raise MaskError(f"The mask {path} has {columns} × {rows} pixels, its image {width} × {height}: {cure}.")


def _read_palette(
    path: Path, indices: Int[np.ndarray, " n"], colours: Int[np.ndarray, "n 3"], classes: ClassMap
) -> _Reading:
    """By colour if all colours are those of classes, else through grey levels, else by index.

    The ignore colour, usually black, is also what other programs give to their class 0. Where it is in use and the
    indices are ids as well, the indices decide.
    """
    by_colour = _match_colours(colours, classes, "palette colours")
    by_index = _match_ids(indices, classes, "palette indices")
    if by_colour.known.all():
        _refuse_twins(path, indices, colours, by_index)
        if IGNORE not in by_colour.ids or not by_index.known.all() or np.array_equal(by_colour.ids, by_index.ids):
            return by_colour
        _say_ambiguous(path.parent)
    elif all_grey(colours):
        by_level = _match_levels(colours[:, 0], classes)
        if classes.mask_values and by_level.known.all():
            return by_level
        _refuse_black_and_white(path, indices, classes)
    return by_index


def _refuse_twins(
    path: Path, indices: Int[np.ndarray, " n"], colours: Int[np.ndarray, "n 3"], by_index: _Reading
) -> None:
    """A filter on class ids makes numbers between them, which unused palette entries would hide under a class's colour.

    Raises:
        MaskError: A number that is no class id looks like one that is.
    """
    tones = [(tuple(tone), int(index)) for tone, index in zip(colours, indices, strict=True)]
    own = {tone: index for (tone, index), known in zip(tones, by_index.known, strict=True) if known}
    for (tone, index), known in zip(tones, by_index.known, strict=True):
        if tone in own and not known:
            raise MaskError(
                f"{path} holds the number {index}, which is no class but has the colour of {own[tone]}, as filters on "
                "class ids leave it; undo the filter, or repaint the mask and save it with the macro."
            )


def _read_colours(path: Path, colours: Int[np.ndarray, "n 3"], classes: ClassMap) -> _Reading:
    """By colour; with red and blue exchanged only if that alone explains all; grey ones as levels."""
    reading = _match_colours(colours, classes, "colours")
    if reading.known.all():
        return reading
    if all_grey(colours):
        return _read_levels(path, colours[:, 0], classes)
    exchanged = _match_colours(colours[:, ::-1], classes, "colours", swapped=True)
    return exchanged if exchanged.known.all() else reading


def _read_levels(
    path: Path, levels: Int[np.ndarray, " n"], classes: ClassMap, raster: Raster | None = None
) -> _Reading:
    """Through ``mask_values``, or as ids: these are the stored numbers even where the file says that zero is white."""
    if classes.mask_values:
        return _match_levels(levels, classes)
    _refuse_black_and_white(path, levels, classes)
    if raster is not None and raster.inverted:
        stored = _match_ids(np.iinfo(raster.pixels.dtype).max - levels, classes, "class ids")
        if stored.known.all():
            return stored
    return _match_ids(levels, classes, "class ids")


def _match_colours(colours: Int[np.ndarray, "n 3"], classes: ClassMap, how: str, *, swapped: bool = False) -> _Reading:
    targets = classes.of_colours()
    off = distances(colours, list(targets))
    least = off.min(axis=1)
    # Ids 0, 1, 2 painted as greys would all be nearly black, which usually means not labelled.
    only_greys = all_grey(colours) and not all_grey(np.array(classes.colors))
    ids = np.array(list(targets.values()))[off.argmin(axis=1)]
    ids[least > (0 if only_greys else tolerance(list(targets)))] = _UNKNOWN
    return _Reading(how, ids, least > 0, swapped)


def _match_ids(numbers: Int[np.ndarray, " n"], classes: ClassMap, how: str) -> _Reading:
    ids = [classes.id_of(int(number)) for number in numbers]
    return _Reading(how, np.array([_UNKNOWN if id_ is None else id_ for id_ in ids]))


def _match_levels(levels: Int[np.ndarray, " n"], classes: ClassMap) -> _Reading:
    table = classes.of_levels()
    return _Reading("grey levels", np.array([table.get(int(level), _UNKNOWN) for level in levels]))


def _refuse_black_and_white(path: Path, levels: Int[np.ndarray, " n"], classes: ClassMap) -> None:
    if not classes.mask_values and sorted(levels.tolist()) == [0, 255]:
        raise MaskError(
            f"{path} holds only the levels 0 and 255; say in configs/base.py what they are: MASK_VALUES = "
            f"{{0: 0, 255: 1}}, or MASK_VALUES = {{0: 0, 255: {classes.ignore_index}}} if 255 is not labelled."
        )


@functools.cache
def _say_ambiguous(folder: Path) -> None:
    """Once for a folder."""
    log.warning(
        "Masks in %s use the ignore colour at an index that is a class: read by index. If they are meant by colour, "
        "save them as RGB.",
        folder,
    )


def _unknown(path: Path, tones: Tones, colours: Int[np.ndarray, "n 3"], reading: _Reading, classes: ClassMap) -> str:
    """The sentence about tones that belong to no class: the most frequent ones, and what to do about them."""
    strange = np.flatnonzero(~reading.known)
    strange = strange[np.argsort(-tones.counts[strange], kind="stable")]
    in_colour = reading.how == "colours"
    names = tones.values if in_colour or tones.values.ndim == 1 else colours[:, 0]
    shown = ", ".join(f"{names[tone].tolist()} ({tones.counts[tone]} pixels)" for tone in strange[:5])
    more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
    what = f"{path} holds {reading.how} of no class: {shown}{more}"
    if are_ids(colours, classes):
        return f"{what}. They look like class ids; convert this mask, or empty MASK_VALUES if all masks are like it."
    if reading.how != "class ids" and look_like_edges(tones, colours, classes):
        return (
            f"{what}. These are smoothed or compressed edges (anti-aliasing): "
            f'`srpu masks repair "{path}"` writes a nearest-colour copy.'
        )
    if in_colour or reading.how == "grey levels":
        return f"{what}; add them to {'COLOR_MAPPING' if in_colour else 'MASK_VALUES'} or repaint them."
    last = len(classes) - 1
    what = f"{what}; with NUM_CLASSES = {last + 1} ids are 0 to {last}, and {classes.ignore_index} for not labelled"
    if reading.how == "palette indices":
        return f"{what}. Its colours are not those of COLOR_MAPPING either."
    levels = names.tolist() if len(names) <= len(classes) else [255 * id_ // last for id_ in range(last + 1)]
    example = ", ".join(f"{level}: {id_}" for id_, level in enumerate(levels))
    return f"{what}. If it is painted in grey levels, say which is which class, e.g. MASK_VALUES = {{{example}}}."
