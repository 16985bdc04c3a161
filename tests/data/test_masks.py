"""Masks are read for sure or refused with a sentence: never guessed, never class 0 by default."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from srpu.data.masks import (
    IGNORE,
    ClassMap,
    colour,
    fit_mask,
    read_mask,
)
from srpu.errors import MaskError

BLUE, CYAN, PINK, BLACK, RED = (0, 0, 255), (0, 255, 255), (255, 126, 126), (0, 0, 0), (255, 0, 0)
CLASSES = ClassMap(("carbon", "SE", "AM"), (BLUE, CYAN, PINK))
LEVELS = ClassMap(CLASSES.names, CLASSES.colors, mask_values={0: 0, 127: 1, 255: 2})


def phases(height: int = 90, width: int = 120, classes: int = 3, seed: int = 0) -> np.ndarray:
    """Blobs of class ids."""
    field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width)), (0, 0), 5)
    edges = np.quantile(field, np.linspace(0, 1, classes + 1)[1:-1])
    return np.digitize(field, edges).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, palette: dict[int, tuple[int, int, int]] | None = None) -> Path:
    """Write pixels as they are, through a library of the format's own."""
    if path.suffix == ".tif":
        options: dict[str, object] = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack"}
        if palette:
            colormap = np.zeros((3, 256), np.uint16)
            for index, color in palette.items():
                colormap[:, index] = np.array(color) * 257
            options = {"photometric": "palette", "colormap": colormap}
        tifffile.imwrite(path, pixels, compression="zlib", **options)
        return path
    picture = Image.fromarray(pixels)
    if palette:
        colours = np.zeros((256, 3), np.uint8)
        for index, color in palette.items():
            colours[index] = color
        picture.putpalette(colours.tobytes())
    picture.save(path)
    return path


def refused(path: Path, *words: str, classes: ClassMap = CLASSES) -> None:
    with pytest.raises(MaskError) as caught:
        read_mask(path, classes)
    for word in (path.name, *words):
        assert word in str(caught.value)


# Class ids


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_class_ids(tmp_path: Path, dtype: str) -> None:
    ids = phases()
    ids[:4] = 255
    read = read_mask(save(tmp_path / "m.tif", ids.astype(dtype)), CLASSES)
    assert read.how == "class ids"
    np.testing.assert_array_equal(read.ids, ids)


def test_ids_in_equal_channels_are_not_taken_for_nearly_black(tmp_path: Path) -> None:
    ids = phases()
    read = read_mask(save(tmp_path / "m.png", np.repeat(ids[..., None], 3, axis=2)), CLASSES)
    assert read.how == "class ids"
    np.testing.assert_array_equal(read.ids, ids)
    ids[0, :7] = 3
    refused(save(tmp_path / "m.png", np.repeat(ids[..., None], 3, axis=2)), "class ids of no class: 3 (7 pixels)")
    refused(
        save(tmp_path / "m.png", ids, {id_: (id_,) * 3 for id_ in range(4)}),
        "palette indices of no class: 3 (7 pixels)",
    )


def test_another_ignore_index(tmp_path: Path) -> None:
    classes = ClassMap(CLASSES.names, CLASSES.colors, ignore_index=100)
    ids = phases()
    ids[:4] = 100
    path = save(tmp_path / "m.png", ids)
    assert (read_mask(path, classes).ids[:4] == IGNORE).all()
    refused(path, "100 (480 pixels)", "255 for not labelled")
    ids[0] = 255
    refused(save(tmp_path / "m.png", ids), "255 (120 pixels)", "100 for not labelled", classes=classes)


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (2, 2), (255, IGNORE)])
def test_a_mask_of_one_class(tmp_path: Path, level: int, expected: int) -> None:
    for suffix in (".png", ".tif"):
        path = save(tmp_path / f"m{suffix}", np.full((1, 1), level, np.uint8))
        assert read_mask(path, CLASSES).ids.tolist() == [[expected]]


def test_unknown_ids_are_counted_most_frequent_first(tmp_path: Path) -> None:
    ids = phases()
    for row, id_ in enumerate(range(10, 17)):
        ids[row, : 20 + row] = id_
    refused(save(tmp_path / "m.png", ids), "class ids of no class: 16 (26 pixels), 15 (25 pixels)", "and 2 more")


def test_unknown_ids_that_look_like_levels_get_the_line_to_add(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", np.array([0, 127, 255], np.uint8)[phases()])
    refused(path, "127 (", "MASK_VALUES = {0: 0, 127: 1, 255: 2}")


@pytest.mark.parametrize("kind", ["grey", "rgb", "bit", "white is zero", "palette", "tiff"])
def test_black_and_white_is_refused(tmp_path: Path, kind: str) -> None:
    pixels = phases(classes=2) * np.uint8(255)
    path = tmp_path / ("m.tif" if kind in ("tiff", "white is zero") else "m.png")
    if kind == "rgb":
        save(path, np.repeat(pixels[..., None], 3, axis=2))
    elif kind == "bit":
        save(path, pixels > 0)
    elif kind == "white is zero":
        tifffile.imwrite(path, pixels, photometric="miniswhite")
    else:
        save(path, pixels, {0: BLACK, 255: (255, 255, 255)} if kind == "palette" else None)
    classes = ClassMap(CLASSES.names, CLASSES.colors, ignore_color=(9, 9, 9))
    refused(path, "only the levels 0 and 255", "MASK_VALUES = {0: 0, 255: 1}", classes=classes)


@pytest.mark.parametrize("bad", [0.5, -1.0, np.nan, 70000.0])
def test_numbers_that_are_no_ids(tmp_path: Path, bad: float) -> None:
    ids = phases().astype(np.float32)
    ids[2, 3] = bad
    refused(save(tmp_path / "m.tif", ids), "1 values that are no class ids")


def test_ids_where_zero_is_white(tmp_path: Path) -> None:
    """ImageJ's inverted lookup table leaves the numbers as they are."""
    tifffile.imwrite(tmp_path / "m.tif", phases(), photometric="miniswhite")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif", CLASSES).ids, phases())
    tifffile.imwrite(tmp_path / "m.tif", 255 - phases(), photometric="miniswhite")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif", CLASSES).ids, phases())


# Grey levels


@pytest.mark.parametrize("kind", ["grey", "rgb", "palette", "white is zero"])
def test_grey_levels(tmp_path: Path, kind: str) -> None:
    levels = np.array([0, 127, 255], np.uint8)[phases()]
    path = tmp_path / "m.tif"
    if kind == "white is zero":
        tifffile.imwrite(path, 255 - levels, photometric="miniswhite")
    elif kind == "rgb":
        save(path, np.repeat(levels[..., None], 3, axis=2))
    else:
        save(path, levels, {level: (level,) * 3 for level in (0, 127, 255)} if kind == "palette" else None)
    read = read_mask(path, LEVELS)
    assert read.how == "grey levels"
    np.testing.assert_array_equal(read.ids, phases())


def test_a_level_may_mean_not_labelled(tmp_path: Path) -> None:
    classes = ClassMap(CLASSES.names, CLASSES.colors, mask_values={0: 0, 255: 255})
    read = read_mask(save(tmp_path / "m.png", phases(classes=2) * np.uint8(255)), classes)
    assert set(np.unique(read.ids)) == {0, IGNORE}


def test_an_unknown_level(tmp_path: Path) -> None:
    levels = np.array([0, 127, 200], np.uint8)[phases()]
    refused(
        save(tmp_path / "m.png", levels), "grey levels of no class: 200 (3600 pixels)", "MASK_VALUES", classes=LEVELS
    )


# Palettes


def test_a_palette_is_read_by_colour_whatever_its_order(tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".bmp"):
        path = save(tmp_path / f"m{suffix}", phases(), {0: PINK, 1: BLUE, 2: CYAN})
        read = read_mask(path, CLASSES)
        assert read.how == "palette colours"
        np.testing.assert_array_equal(read.ids, np.array([2, 0, 1])[phases()])


def test_a_palette_of_other_colours_is_read_by_index(tmp_path: Path) -> None:
    read = read_mask(save(tmp_path / "m.png", phases(), {0: BLUE, 1: CYAN, 2: RED}), CLASSES)
    assert read.how == "palette indices"
    np.testing.assert_array_equal(read.ids, phases())


def test_unused_palette_entries_do_not_matter(tmp_path: Path) -> None:
    read = read_mask(save(tmp_path / "m.png", phases(), {0: PINK, 1: BLUE, 2: CYAN, 3: RED}), CLASSES)
    assert read.how == "palette colours"


def test_a_number_that_hides_under_a_class_s_colour_is_refused(tmp_path: Path) -> None:
    """What smoothing class ids in ImageJ leaves, where unused entries have class 0's colour."""
    colours = dict.fromkeys(range(256), BLUE) | {1: CYAN, 2: PINK}
    ids = phases()
    ids[0, 0] = 7
    refused(save(tmp_path / "m.tif", ids, colours), "holds the number 7, which is no class but has the colour of 0")


def test_palette_with_ignore(tmp_path: Path) -> None:
    """By colour where the indices are no ids; by index, and said once, where black may be another program's class 0."""
    ids = phases(classes=4)
    read = read_mask(save(tmp_path / "m.png", ids, {0: BLACK, 1: BLUE, 2: CYAN, 3: PINK}), CLASSES)
    assert read.how == "palette colours"
    np.testing.assert_array_equal(read.ids, np.array([IGNORE, 0, 1, 2])[ids])


def test_black_that_is_class_0(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another program gave black to its first class."""
    for name in ("a.png", "b.png"):
        with caplog.at_level(logging.WARNING):
            read = read_mask(save(tmp_path / name, phases(), {0: BLACK, 1: CYAN, 2: PINK}), CLASSES)
        assert read.how == "palette indices"
        np.testing.assert_array_equal(read.ids, phases())
    assert len(caplog.messages) == 1
    assert "read by index" in caplog.text


def test_unknown_palette_index(tmp_path: Path) -> None:
    ids = phases()
    ids[0, :9] = 7
    refused(
        save(tmp_path / "m.png", ids, {0: BLUE, 1: CYAN, 2: PINK, 7: RED}), "palette indices of no class: 7 (9 pixels)"
    )


def test_an_index_beyond_the_palette(tmp_path: Path) -> None:
    ids = phases()
    ids[0, :9] = 7
    picture = Image.fromarray(ids)
    picture.putpalette(bytes([*BLUE, *CYAN, *PINK, *BLACK * 5]))
    picture.save(tmp_path / "m.png")
    whole = (tmp_path / "m.png").read_bytes()
    palette = whole.index(b"PLTE")
    short = struct.pack(">I", 9) + whole[palette : palette + 13]
    rest = whole[palette + 4 + 24 + 4 :]
    (tmp_path / "m.png").write_bytes(whole[: palette - 4] + short + struct.pack(">I", zlib.crc32(short[4:])) + rest)
    refused(tmp_path / "m.png", "7 (9 pixels)")


# Colours


@pytest.mark.parametrize("off", [1, 3])
def test_colours_slightly_off_are_accepted_and_counted(tmp_path: Path, off: int) -> None:
    painted = colour(phases(), CLASSES)
    painted[:2, :, 0] = np.abs(painted[:2, :, 0].astype(int) - off)
    read = read_mask(save(tmp_path / "m.png", painted), CLASSES)
    assert read.near == 240
    np.testing.assert_array_equal(read.ids, phases())
    painted[:2, :, 2] = 250
    refused(save(tmp_path / "m.png", painted), "colours of no class")


def test_close_colours_leave_no_room_to_be_off(tmp_path: Path) -> None:
    classes = ClassMap(("a", "b"), ((10, 10, 10), (12, 12, 12)), ignore_color=(200, 0, 0))
    painted = colour(phases(classes=2), classes)
    assert read_mask(save(tmp_path / "m.png", painted), classes).near == 0
    painted[0] += 2
    refused(save(tmp_path / "m.png", painted), "14 (", classes=classes)


def test_half_transparency_and_depth_do_not_matter(tmp_path: Path) -> None:
    painted = colour(phases(), CLASSES)
    for name, pixels in (
        ("rgba.png", np.dstack([painted, np.maximum(painted[..., 0], 1)])),
        ("empty.png", np.dstack([painted, np.zeros_like(painted[..., 0])])),
        ("deep.png", painted.astype(np.uint16) * 257),
    ):
        (tmp_path / name).write_bytes(imagecodecs.png_encode(pixels))
        np.testing.assert_array_equal(read_mask(tmp_path / name, CLASSES).ids, phases())


def test_red_and_blue_exchanged_is_recognised_and_said(tmp_path: Path) -> None:
    ids = phases()
    ids[:5] = IGNORE
    read = read_mask(save(tmp_path / "m.png", colour(ids, CLASSES)[..., ::-1].copy()), CLASSES)
    assert (read.swapped, read.how) == (True, "colours")
    np.testing.assert_array_equal(read.ids, ids)


def test_exchanged_is_no_excuse_for_unknown_colours(tmp_path: Path) -> None:
    painted = colour(phases(), CLASSES)[..., ::-1].copy()
    painted[:30, :30] = (1, 200, 1)
    refused(save(tmp_path / "m.png", painted), "[1, 200, 1] (900 pixels)", "COLOR_MAPPING")


def test_colours_that_read_both_ways_are_not_exchanged(tmp_path: Path) -> None:
    classes = ClassMap(("red", "blue"), (RED, BLUE))
    read = read_mask(save(tmp_path / "m.png", colour(phases(classes=2), classes)), classes)
    assert not read.swapped
    np.testing.assert_array_equal(read.ids, phases(classes=2))


# What is refused


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_named_as_the_reason(tmp_path: Path, mode: str) -> None:
    Image.fromarray(colour(phases(), CLASSES)).convert(mode).save(tmp_path / "m.jpg")
    refused(tmp_path / "m.jpg", "lossy JPEG", "PNG", "srpu masks repair")
    (tmp_path / "m.jpg").rename(tmp_path / "m.png")
    refused(tmp_path / "m.png", "lossy JPEG")
    tifffile.imwrite(tmp_path / "m.tif", colour(phases(), CLASSES), compression="jpeg", photometric="rgb")
    refused(tmp_path / "m.tif", "lossy JPEG")


def test_broken_files(tmp_path: Path) -> None:
    whole = save(tmp_path / "m.png", colour(phases(), CLASSES)).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"carbon, SE, AM"):
        (tmp_path / "m.png").write_bytes(content)
        refused(tmp_path / "m.png")
    refused(tmp_path / "gone.png", "cannot be opened")


# Size


def test_masks_are_fitted_by_the_data_bar_alone() -> None:
    ids, path = phases(90, 120), Path("m.png")
    assert fit_mask(ids, (90, 120), 10, path) is ids
    fitted = fit_mask(ids, (100, 120), 10, path)
    np.testing.assert_array_equal(fitted[:90], ids)
    assert (fitted[90:] == IGNORE).all()
    for shape, databar, sentence in (
        ((100, 120), 0, "set DATABAR_ROWS = 10"),
        ((100, 120), 12, "set DATABAR_ROWS = 10"),
        ((180, 240), 0, r"120 × 90 pixels, its image 240 × 180: export it at the size"),
        ((80, 120), 10, "export it at the size"),
        ((120, 90), 30, "export it at the size"),
    ):
        with pytest.raises(MaskError, match=sentence):
            fit_mask(ids, shape, databar, path)


@pytest.mark.shared_data
def test_real_masks_are_read_by_index() -> None:
    paths = sorted(Path(os.environ["SRPU_DATA"]).glob("*/masks/*.png"))
    assert paths
    for path in paths:
        np.testing.assert_array_equal(read_mask(path, CLASSES).ids, np.asarray(Image.open(path)))


def test_transparent_pixels_are_not_labelled_whatever_lies_beneath(tmp_path: Path) -> None:
    painted = colour(phases(), CLASSES)
    painted[0, :5] = (12, 200, 7)
    alpha = np.full(painted.shape[:2], 255, np.uint8)
    alpha[0, :5] = 0
    alpha[1, :3] = 0
    for name in ("m.png", "m.tif"):
        stored = np.dstack([painted, alpha])
        if name == "m.png":
            Image.fromarray(stored).save(tmp_path / name)
        else:
            tifffile.imwrite(tmp_path / name, stored, photometric="rgb", extrasamples=["unassalpha"])
        expected = np.where(alpha == 0, 255, phases())
        np.testing.assert_array_equal(read_mask(tmp_path / name, CLASSES).ids, expected)
