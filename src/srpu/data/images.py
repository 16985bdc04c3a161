"""Reading and writing SEM images: grey levels as the microscope stored them, never stretched, never squashed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from jaxtyping import Shaped
from PIL import Image, PngImagePlugin

from srpu.data.databar import find_databar
from srpu.data.pixel_size import PNG_KEY, pixel_size
from srpu.data.rasters import Raster, read_header, read_raster
from srpu.errors import ImageError
from srpu.files import open_replacing, replacing

__all__ = [
    "SUFFIXES",
    "ImageInfo",
    "databar_rows",
    "find_databar",
    "image_info",
    "pixel_hash",
    "read_image",
    "write_image",
]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""How the names of images and masks end, in lower case."""

_TIFF_TYPES = ("uint8", "uint16", "float32")
_TYPES = {".png": ("uint8", "uint16"), ".tif": _TIFF_TYPES, ".tiff": _TIFF_TYPES}

Grey = Shaped[np.ndarray, "h w"]


@dataclass(frozen=True)
class ImageInfo:
    """What a file says about its images.

    Attributes:
        height: Rows of the first page.
        width: Columns of the first page.
        pages: Images in the file; more than one in a stack.
        dtype: The number type that :func:`read_image` gives: "uint8", "uint16" or "float32".
        pixel_size_nm: Edge of a pixel in nanometres, where the microscope or ImageJ wrote it down.
    """

    height: int
    width: int
    pages: int
    dtype: str
    pixel_size_nm: float | None


def read_image(path: Path, page: int | None = None) -> Grey:
    """Read one grey image: PNG, JPEG, BMP or TIFF of 1 to 16 bits, or floating point.

    Colour files are read if their channels are equal. A TIFF that calls zero white is turned round, so that more is
    always brighter.

    Args:
        path: The file.
        page: Which image of a stack, from 0; None: the first.

    Returns:
        (h, w) of uint8, uint16 or float32. Black and white pictures hold 0 and 255.

    Raises:
        ImageError: The file is missing, broken or truncated, in colour, or holds pixels that are no numbers.
    """
    raster = read_raster(path, page)
    levels = _grey_levels(path, raster)
    if levels.dtype.kind not in "buif":
        raise ImageError(
            f"{path} holds {levels.dtype} numbers; save it as an 8-bit, 16-bit or 32-bit greyscale picture."
        )
    levels = np.ascontiguousarray(_as_stored(levels))
    if levels.dtype == np.float32:
        wrong = levels.size - int(np.count_nonzero(np.isfinite(levels)))
        if wrong:
            raise ImageError(
                f"{path} holds {wrong} pixels that are no numbers (NaN or infinite); give them a value, "
                "e.g. in ImageJ: Process > Math > NaN Background, and save it again."
            )
    return levels


def image_info(path: Path) -> ImageInfo:
    """What ``path`` says about its images; pixels are not decoded.

    Raises:
        ImageError: The file is missing, empty, truncated within its header, or no picture.
    """
    header = read_header(path)
    dtype = _as_stored(np.empty(0, header.dtype)).dtype.name
    return ImageInfo(header.height, header.width, header.pages, dtype, pixel_size(path))


def databar_rows(image: Grey, setting: int | Literal["auto"]) -> int:
    """How many rows at the bottom hold the microscope's data bar, by ``DATABAR_ROWS``.

    Raises:
        ImageError: The bar would leave nothing of the image.

    >>> databar_rows(np.zeros((100, 100), np.uint8), 8)
    8
    """
    rows = find_databar(image) if setting == "auto" else setting
    if rows >= len(image):
        raise ImageError(
            f'DATABAR_ROWS = {rows} leaves nothing of an image of {len(image)} rows; set it lower or to "auto".'
        )
    return rows


def write_image(path: Path, image: Shaped[np.ndarray, "h w *c"], *, pixel_size_nm: float | None = None) -> None:
    """Write a grey (h, w) or 8-bit RGB (h, w, 3) image without loss: PNG or TIFF, as the suffix says.

    TIFF takes uint8, uint16 and float32, PNG the first two. The pixel size is kept where :func:`image_info` and, in a
    TIFF, ImageJ find it.

    Raises:
        ImageError: The format does not hold such an image.
        WorkspaceError: The file cannot be written.
    """
    types = _TYPES.get(path.suffix.lower(), ())
    rgb = image.ndim == 3 and image.shape[2] == 3
    if image.dtype.name not in (types[:1] if rgb else types) or not (rgb or image.ndim == 2):
        raise ImageError(
            f"{path} cannot be written: {path.suffix} holds no {image.dtype} image of shape {image.shape}."
        )
    if path.suffix.lower() == ".png":
        text = PngImagePlugin.PngInfo()
        if pixel_size_nm is not None:
            text.add_text(PNG_KEY, repr(float(pixel_size_nm)))
        with open_replacing(path) as file:
            Image.fromarray(image).save(file, format="PNG", pnginfo=text, compress_level=3)
        return
    options: dict[str, Any] = {"photometric": "rgb" if rgb else "minisblack", "compression": "zlib"}
    if pixel_size_nm is not None:
        options |= {"imagej": True, "resolution": (1 / pixel_size_nm,) * 2, "metadata": {"unit": "nm"}}
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, image, **options)


def pixel_hash(image: Shaped[np.ndarray, "*shape"]) -> str:
    """SHA-256 over number type, shape and pixels: the same for the same picture in another file.

    >>> pixel_hash(np.zeros((2, 3), np.uint8)) == pixel_hash(np.zeros((3, 2), np.uint8))
    False
    """
    little = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{image.dtype.name} {image.shape}".encode())
    digest.update(little.data)
    return digest.hexdigest()


def _grey_levels(path: Path, raster: Raster) -> Grey:
    """The one channel of a picture whose channels are equal."""
    pixels = raster.pixels
    if raster.palette is not None:
        if pixels.size and pixels.max() >= len(raster.palette):
            raise ImageError(
                f"{path} is broken: it uses colours that its palette does not hold; save it again as greyscale."
            )
        pixels = raster.palette[pixels]
    if pixels.ndim == 2:
        return pixels
    red, green, blue = (pixels[..., channel] for channel in range(3))
    unequal = np.count_nonzero((red != green) | (green != blue))
    if unequal:
        raise ImageError(
            f"{path} is a colour picture ({unequal / red.size:.1%} of its pixels are not grey); save it as greyscale, "
            "e.g. in ImageJ: Image > Type > 8-bit, or move it away if it is a mask or an overlay."
        )
    return red


def _as_stored(levels: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """uint8 and uint16 as they are, black and white as uint8, all other numbers as float32."""
    if levels.dtype.name in ("uint8", "uint16"):
        return levels
    if levels.dtype == bool:
        return levels * np.uint8(255)
    with np.errstate(over="ignore"):
        return levels.astype(np.float32)
