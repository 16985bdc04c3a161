"""The size of a pixel, as microscopes and ImageJ write it down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from srpu.data.images import image_info

IMAGE = np.arange(120, dtype=np.uint8).reshape(10, 12)


def vendor_tiff(path: Path, tag: int, text: str) -> Path:
    tifffile.imwrite(path, IMAGE, extratags=[(tag, 2, 0, text.encode("cp1252"), True)], metadata=None)
    return path


ZEISS = "\r\n".join(["0", "0.1", "AP_MAG", "Mag = 10.00 K X", "{}", "AP_WD", "WD = 4.9 mm"])
IMAGE_PIXEL = "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {}"
SCREEN_PIXEL = "AP_PIXEL_SIZE\r\nPixel Size = {}"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (IMAGE_PIXEL.format("5.582 nm"), 5.582),
        (IMAGE_PIXEL.format("1.25 µm"), 1250.0),
        (IMAGE_PIXEL.format("930.5 pm"), 0.9305),
        (SCREEN_PIXEL.format("11.16 nm"), 11.16),
        (SCREEN_PIXEL.format("11.16 nm") + "\r\n" + IMAGE_PIXEL.format("5.58 nm"), 5.58),
        (IMAGE_PIXEL.format("0 nm"), None),
        ("AP_TILT\r\nTilt = 0.0 °", None),
    ],
)
def test_zeiss(tmp_path: Path, lines: str, expected: float | None) -> None:
    path = vendor_tiff(tmp_path / "a.tif", 34118, ZEISS.format(lines))
    assert image_info(path).pixel_size_nm == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("tag", [34680, 34682])
@pytest.mark.parametrize("section", ["Scan", "EScan"])
def test_fei(tmp_path: Path, tag: int, section: str) -> None:
    text = f"[User]\r\nDate=1/2/2020\r\n[{section}]\r\nPixelWidth=1.34896e-009\r\nPixelHeight=1.34896e-009\r\n"
    assert image_info(vendor_tiff(tmp_path / "a.tif", tag, text)).pixel_size_nm == pytest.approx(1.34896)


@pytest.mark.parametrize(("unit", "expected"), [("nm", 4.0), ("micron", 4000.0), ("\\u00B5m", 4000.0), ("inch", None)])
def test_imagej(tmp_path: Path, unit: str, expected: float | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(0.25, 0.25), metadata={"unit": unit})
    assert image_info(tmp_path / "a.tif").pixel_size_nm == (None if expected is None else pytest.approx(expected))


def test_ome(tmp_path: Path) -> None:
    scale = {"axes": "YX", "PhysicalSizeX": 12.5, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 12.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, ome=True, metadata=scale)
    assert image_info(tmp_path / "a.ome.tif").pixel_size_nm == 12.5


def test_dots_per_inch_are_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, resolution=(96, 96), resolutionunit="INCH")
    Image.fromarray(IMAGE).save(tmp_path / "a.png", dpi=(96, 96))
    assert image_info(tmp_path / "a.tif").pixel_size_nm is None
    assert image_info(tmp_path / "a.png").pixel_size_nm is None
