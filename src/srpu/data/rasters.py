"""Decoding picture files: the pixels as the file holds them, before anyone says what they mean.

:mod:`srpu.data.images` makes grey images of them, :mod:`srpu.data.masks` class ids. The format is told by a file's
first bytes, not by its name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, UnidentifiedImageError

from srpu.errors import ImageError

Image.MAX_IMAGE_PIXELS = None  # stitched micrographs are larger than what Pillow takes for an attack
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said here, in a sentence

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_MOST_PACKED = 1100  # bytes that a byte of a PNG or BMP may stand for
_START = 30  # bytes that tell the format and its depth
_CHANNELS = {"MINISBLACK": (1,), "MINISWHITE": (1,), "PALETTE": (1,), "RGB": (3, 4), "YCBCR": (3,)}
_LOSSY_TIFF = ("JPEG", "JP2000", "WEBP", "LERC")


@dataclass(frozen=True)
class Raster:
    """What one page of a file holds.

    Attributes:
        pixels: Grey levels, palette indices (h, w), or red, green, blue (h, w, 3); transparency is left out.
        palette: The colour of each index, or None if ``pixels`` are no indices.
        lossy: JPEG or the like: levels are not exactly those that were saved.
        inverted: The file says that zero is white; ``pixels`` have been turned so that zero is black.
        hidden: Where the file says that a pixel is wholly transparent; None: it says nothing.
    """

    pixels: Shaped[np.ndarray, "h w *c"]
    palette: UInt8[np.ndarray, "n 3"] | None = None
    lossy: bool = False
    inverted: bool = False
    hidden: Bool[np.ndarray, "h w"] | None = None


@dataclass(frozen=True)
class Header:
    """What a file says about its first page: shape, the pixels' number type, and how many pages follow it."""

    height: int
    width: int
    pages: int
    dtype: np.dtype[Any]


def read_raster(path: Path, page: int | None = None) -> Raster:
    """Decode one page of a PNG, JPEG, BMP or TIFF file.

    Args:
        path: The file.
        page: Which page of a stack, from 0; None: the first.

    Raises:
        ImageError: The file is missing, empty, truncated, no picture, of an unknown kind, or has no such page.
    """
    start = _first_bytes(path)
    with decoding(path):
        if start[:4] in _TIFF_STARTS:
            return _read_tiff(path, page or 0)
        if page:
            raise ImageError(f"{path} has no page {page + 1}: only TIFF files hold several pages.")
        if start.startswith(_PNG_START) and start[24:25] == b"\x10" and start[25:26] in b"\2\4\6":
            return _read_deep_png(path)
        return _read_with_pillow(path)


def read_header(path: Path) -> Header:
    """What ``path`` says about itself, without decoding its pixels.

    Raises:
        ImageError: As :func:`read_raster`, as far as the header shows it.
    """
    start = _first_bytes(path)
    with decoding(path):
        if start[:4] in _TIFF_STARTS:
            with tifffile.TiffFile(path) as tif:
                first = _first_page(path, tif)
                axes = dict(zip(first.axes, first.shape, strict=True))
                return Header(axes["Y"], axes["X"], _count_pages(path, tif), first.dtype)
        with Image.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
            deep = start.startswith(_PNG_START) and start[24:25] == b"\x10"
            return Header(picture.height, picture.width, 1, np.dtype(np.uint16 if deep else np.uint8))


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder says about a broken ``path`` into one :class:`ImageError`."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is no PNG, JPEG, BMP or TIFF picture, whatever its name says; save it as TIFF or PNG."
        ) from error
    except Exception as error:  # on broken files decoders raise whatever they stumble over
        reason = "the file is truncated" if "truncated" in str(error).lower() else str(error) or type(error).__name__
        raise ImageError(
            f"{path} cannot be read ({reason}); copy it again from where it was made, or save it as TIFF or PNG."
        ) from error


def is_tiff(path: Path) -> bool:
    """Whether ``path`` starts like a TIFF file, whatever its name."""
    return _first_bytes(path)[:4] in _TIFF_STARTS


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError as error:
        raise ImageError(f"{path} cannot be opened ({error.strerror}); check its name and permissions.") from error
    if not start:
        raise ImageError(f"{path} is empty (0 bytes); copy it again from where it was made.")
    return start


def _read_with_pillow(path: Path) -> Raster:
    with Image.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
        if picture.width * picture.height > 8 * _MOST_PACKED * path.stat().st_size:
            raise ImageError(
                f"{path} is broken: its header promises {picture.width} × {picture.height} pixels, for which the file "
                f"is too short; copy it again from where it was made."
            )
        lossy = picture.format not in ("PNG", "BMP")
        if picture.format == "BMP" and picture.mode == "1" and _first_bytes(path)[28:30] != b"\1\0":
            # Pillow takes the bytes of a black and white palette for bits.
            raise ImageError(f"{path} is a BMP of two colours in several bits, which is not read; save it as PNG.")
        if picture.mode == "P":
            colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
            return Raster(np.array(picture), colours, lossy)
        if picture.mode in ("CMYK", "YCbCr"):
            pixels = np.array(picture.convert("RGB"))
        else:
            stored = np.array(picture)
            pixels, hidden = _without_alpha(stored), _hidden(stored)
            return Raster(pixels * np.uint8(255) if pixels.dtype == bool else pixels, None, lossy, hidden=hidden)
    return Raster(pixels, None, lossy)


def _read_deep_png(path: Path) -> Raster:
    """PNG of 16 bits and several channels, which Pillow would squash to 8 bits."""
    import imagecodecs

    stored = imagecodecs.png_decode(path.read_bytes())
    return Raster(_without_alpha(stored), hidden=_hidden(stored))


def _read_tiff(path: Path, number: int) -> Raster:
    with tifffile.TiffFile(path) as tif:
        first = _first_page(path, tif)
        count = 1 if number == 0 else _count_pages(path, tif)
        if not 0 <= number < count:
            raise ImageError(f"{path} has no page {number + 1}: it has {count}.")
        hidden = number > 0 and len(tif.pages) == 1
        page = first if hidden else tif.pages[number]
        size = path.stat().st_size
        end = max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        if size < end + (number * page.nbytes if hidden else 0) or not all(page.databytecounts):
            raise ImageError(
                f"{path} is truncated: pixels are missing at its end; copy it again from where it was made."
            )
        if hidden:
            stored = first.dtype.newbyteorder(tif.byteorder)
            offset = first.dataoffsets[0] + number * first.nbytes
            pixels = np.fromfile(path, stored, first.size, offset=offset).astype(first.dtype).reshape(first.shape)
        else:
            pixels = page.asarray()
        return _interpret_tiff(path, page, pixels)


def _interpret_tiff(path: Path, page: Any, pixels: Shaped[np.ndarray, "*shape"]) -> Raster:
    """Bring a TIFF page to (h, w) or (h, w, 3), zero being black."""
    lossy = any(word in tifffile.COMPRESSION(page.compression).name for word in _LOSSY_TIFF)
    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise ImageError(f"{path} holds a volume in one page (axes {page.axes}); save it as a stack of images.")
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    # A fourth channel of a colour picture is transparency; a second grey one only if the file says so.
    see_through = channels == 2 and page.extrasamples[0].name != "UNSPECIFIED"
    if channels not in _CHANNELS.get(photometric, ()) and not (see_through and photometric.startswith("MINIS")):
        raise ImageError(f"{path} holds {channels} channels ({photometric}); save one of them as a greyscale picture.")
    alpha = page.extrasamples and page.extrasamples[0].name != "UNSPECIFIED"
    hidden = _hidden(pixels) if alpha else None
    pixels = _without_alpha(pixels)
    if photometric == "PALETTE":
        # Some programs write 0..255 where the standard asks for 0..65535.
        levels = page.colormap if page.colormap.max() < 256 else page.colormap >> 8
        return Raster(pixels.astype(np.uint8), levels.T.astype(np.uint8), lossy)
    inverted = photometric == "MINISWHITE"
    if inverted and pixels.dtype.kind not in "bu":
        raise ImageError(f"{path} counts from white to black in {pixels.dtype} numbers; save it with zero as black.")
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if inverted:
        pixels = (255 if page.bitspersample == 1 else 2**page.bitspersample - 1) - pixels
    return Raster(pixels, None, lossy, inverted, hidden)


def _first_page(path: Path, tif: tifffile.TiffFile) -> Any:
    try:
        return tif.pages[0]
    except IndexError as error:
        raise ImageError(f"{path} is truncated: it holds no picture; copy it again from where it was made.") from error


def _count_pages(path: Path, tif: tifffile.TiffFile) -> int:
    """Pages of a stack; a thumbnail or smaller copies behind the first page are none."""
    count = len(tif.pages)
    file = tif.filehandle
    file.seek(tif.pages.next_page_offset or 0)
    following = int.from_bytes(file.read(tif.tiff.offsetsize), "little" if tif.byteorder == "<" else "big")
    if following > file.size:
        raise ImageError(f"{path} is truncated after page {count}; copy it again from where it was made.")
    if count > 1:
        second: Any = tif.pages[1]
        return 1 if second.is_reduced else count
    first = _first_page(path, tif)
    if (tif.is_imagej or tif.is_shaped) and first.compression == 1:
        # Stacks above 4 GB: one page's header stands for all, whose pixels follow each other.
        return max(1, math.prod(tif.series[0].shape) // int(first.size))
    return count


def _hidden(stored: Shaped[np.ndarray, "h w *c"]) -> Bool[np.ndarray, "h w"] | None:
    """Where a second or fourth channel is 0; None if it is so nowhere, or everywhere, which some programs write."""
    if stored.ndim == 2 or stored.shape[2] not in (2, 4):
        return None
    hidden: Bool[np.ndarray, "h w"] = stored[..., -1] == 0
    return hidden if hidden.any() and not hidden.all() else None


def _without_alpha(pixels: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "h w *grey_or_rgb"]:
    """Drop a fourth or second channel, and the last axis if one channel remains."""
    if pixels.ndim == 2:
        return pixels
    return pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
