"""How large a pixel is, where a file tells it: tags of Zeiss and FEI/Thermo microscopes, ImageJ, OME, and our own PNGs.

A plain TIFF resolution (dots per inch) is a matter of printing and is not taken for a pixel size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tifffile
from PIL import Image

from srpu.data.rasters import decoding, is_tiff

PNG_KEY = "pixel_size_nm"
"""The text entry under which :func:`srpu.data.images.write_image` keeps the pixel size in a PNG file."""

_NANOMETRES = {
    "pm": 1e-3,
    "å": 0.1,
    "angstrom": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "µm": 1e3,
    "um": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
}


def pixel_size(path: Path) -> float | None:
    """The edge of a pixel in nanometres, or None if the file does not tell it.

    Raises:
        ImageError: The file is not a readable picture.
    """
    with decoding(path):
        if not is_tiff(path):
            with Image.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
                return in_nanometres(picture.info.get(PNG_KEY), "nm")
        with tifffile.TiffFile(path) as tif:
            for told in (_zeiss, _fei, _imagej, _ome):
                size = told(tif)
                if size is not None:
                    return size
    return None


def in_nanometres(length: Any, unit: str) -> float | None:
    """Convert a positive length; anything else, or an unknown unit, is None.

    >>> in_nanometres("2.5", "µm")
    2500.0
    >>> in_nanometres(0, "nm"), in_nanometres(1, "inch")
    (None, None)
    """
    # ImageJ escapes µ, and Unicode knows two of them.
    unit = unit.strip().lower().replace("\\u00b5", "µ").replace("\u03bc", "µ")
    try:
        size = float(length) * _NANOMETRES[unit]
    except (KeyError, TypeError, ValueError):
        return None
    return size if 0 < size < float("inf") else None


def _zeiss(tif: tifffile.TiffFile) -> float | None:
    """SmartSEM. AP_PIXEL_SIZE can belong to the screen; AP_IMAGE_PIXEL_SIZE belongs to the stored image."""
    tags = tif.sem_metadata or {}
    for name in ("ap_image_pixel_size", "ap_pixel_size"):
        entry = tags.get(name, ())
        if len(entry) == 3 and (size := in_nanometres(entry[1], entry[2])):
            return size
    return None


def _fei(tif: tifffile.TiffFile) -> float | None:
    """FEI/Thermo: metres, in the section of the scan (its name depends on the beam)."""
    sections = tif.fei_metadata or {}
    for name in ("Scan", "EScan", "IScan"):
        section = sections.get(name)
        if isinstance(section, dict) and (size := in_nanometres(section.get("PixelWidth"), "m")):
            return size
    return None


def _imagej(tif: tifffile.TiffFile) -> float | None:
    """ImageJ: pixels per unit in XResolution, the unit in its own metadata."""
    first: Any = tif.pages[0]
    resolution = first.tags.get("XResolution")
    unit = (tif.imagej_metadata or {}).get("unit")
    if resolution is None or not isinstance(unit, str) or 0 in resolution.value:
        return None
    pixels, units = resolution.value
    return in_nanometres(units / pixels, unit)


def _ome(tif: tifffile.TiffFile) -> float | None:
    """OME-XML: PhysicalSizeX of the first image, in micrometres unless it says otherwise."""
    if tif.ome_metadata is None:
        return None
    images = tifffile.xml2dict(tif.ome_metadata).get("OME", {}).get("Image", {})
    pixels = (images[0] if isinstance(images, list) else images).get("Pixels", {})
    return in_nanometres(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
