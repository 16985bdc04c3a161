"""Bars that vendors draw are found; scanned material is never taken for one."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from srpu.data.images import databar_rows, find_databar, read_image
from srpu.errors import ImageError


def micrograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Grains with noise, dark pores clipped at zero."""
    rng = np.random.default_rng(seed)
    grains = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 6)
    levels = 110 + 900 * grains + rng.normal(0, 12, (height, width))
    return np.clip(levels, 0, 255).astype(np.uint8)


def bar(width: int, rows: int, vendor: str) -> np.ndarray:
    """What Zeiss, FEI, JEOL and Hitachi draw: text of fields or one line, frames, a scale."""
    paper, ink = {"zeiss": (255, 0), "fei": (0, 255), "jeol": (0, 255), "hitachi": (30, 230)}[vendor]
    drawn = np.full((rows, width), paper, np.uint8)
    size = rows / 110

    def text(words: str, x: float, y: float) -> None:
        place = (int(x * width), int(y * rows))
        cv2.putText(drawn, words, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)

    if vendor in ("zeiss", "fei"):
        for number, (upper, lower) in enumerate(
            [("2 um", "EHT = 5 kV"), ("Mag", "10 K X"), ("WD", "4.9 mm"), ("SE2", "12 Mar")]
        ):
            text(upper, 0.02 + 0.25 * number, 0.4)
            text(lower, 0.02 + 0.25 * number, 0.85)
        if vendor == "zeiss":
            cv2.rectangle(drawn, (2, 2), (width - 3, rows - 3), ink, 1)
        else:
            drawn[0] = drawn[:, :: width // 4] = ink
    else:
        text("SU8010 5.0kV 8.2mm x10.0k SE(U)", 0.01, 0.7)
        for tick in range(11):
            drawn[rows // 5 : rows // 2, int(width * (0.75 + 0.02 * tick))] = ink
    return drawn


@pytest.mark.parametrize("vendor", ["zeiss", "fei", "jeol", "hitachi"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "jpeg"])
@pytest.mark.parametrize(("height", "rows"), [(480, 32), (700, 84)])
def test_drawn_bars_are_found(vendor: str, kind: str, height: int, rows: int) -> None:
    image = micrograph(height, 640)
    image[-rows:] = bar(640, rows, vendor)
    if kind == "jpeg":
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_UNCHANGED)
    elif kind != "uint8":
        image = image.astype(kind) * {"uint16": 257, "float32": np.float32(0.01)}[kind]
    found = find_databar(image)
    assert rows - (2 if kind == "jpeg" else 0) <= found <= rows
    assert databar_rows(image, "auto") == found


@pytest.mark.parametrize("seed", range(3))
def test_scanned_images_have_no_bar(seed: int) -> None:
    plain = micrograph(500, 640, seed)
    layered = plain.copy()
    layered[440:] = 0  # a black substrate below a straight border ...
    rng = np.random.default_rng(seed)
    layered[440 + rng.integers(0, 60, 50), rng.integers(0, 640, 50)] = 255  # ... with bright dust
    rough = plain.copy()
    rows = 440 + (8 * np.sin(np.arange(640) / 30)).astype(int)
    rough[np.arange(500)[:, None] > rows] = 3
    stripes = np.repeat(plain[:, :1] // 2, 640, axis=1)  # curtaining turned by 90 degrees
    for image in (plain, layered, rough, stripes, plain * 0, plain[:, :40], plain[:30], 255 * (plain > 110)):
        assert find_databar(np.ascontiguousarray(image.astype(np.uint8))) == 0


def test_a_bar_as_high_as_the_image_is_refused() -> None:
    assert databar_rows(micrograph(60, 80), 0) == 0
    with pytest.raises(ImageError, match="DATABAR_ROWS = 60 leaves nothing"):
        databar_rows(micrograph(60, 80), 60)


@pytest.mark.shared_data
def test_real_images_have_no_bar() -> None:
    paths = sorted(Path(os.environ["SRPU_DATA"]).glob("*/images/*.png"))
    assert paths
    assert [path.name for path in paths if find_databar(read_image(path))] == []
