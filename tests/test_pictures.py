import io

import numpy as np
import pytest
from PIL import Image

from srpu import pictures
from srpu.data.classes import ClassMap
from srpu.pictures import (
    GAINED,
    WRONG,
    Point,
    change_map,
    class_label,
    confusion_picture,
    curves,
    error_map,
    growth_picture,
    jpeg_bytes,
    legend,
    overlay,
    panel,
    png_bytes,
    reliability_picture,
    shrink,
    stack,
    to_8bit,
    to_rgb,
)

CLASSES = ClassMap(("carbon", "SE", "正极"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_depth_is_stretched_to_the_whole_range(dtype):
    image = np.linspace(20, 120, 10_000).reshape(100, 100).astype(dtype)
    shown = to_8bit(image)
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)
    assert (np.diff(shown.astype(int)) >= 0).all()


def test_a_flat_image_is_grey_and_one_odd_pixel_does_not_matter():
    flat = np.full((50, 50), 7, np.uint16)
    assert (to_8bit(flat) == 128).all()
    flat[3, 3] = 60_000
    assert sorted(np.unique(to_8bit(flat))) == [0, 255]


def test_the_overlay_leaves_unlabelled_pixels_grey():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    ids = np.zeros((10, 10), np.uint8)
    ids[5:] = 255
    picture = overlay(image, ids, CLASSES, opacity=0.5)
    assert (picture[5:] == to_rgb(to_8bit(image))[5:]).all()
    assert (picture[:5, :, 2] > picture[:5, :, 0]).all()


def test_errors_are_red_and_unjudged_pixels_white():
    truth = np.array([[0, 1, 255]], np.uint8)
    picture = error_map(truth, np.array([[0, 2, 1]], np.uint8))
    assert tuple(picture[0, 1]) == WRONG
    assert (picture[0, 2] == 255).all()
    assert len(set(picture[0, 0])) == 1
    faint = error_map(truth, truth, np.array([[0, 90, 200]], np.uint8))
    assert (faint[0] >= 170).all()


def test_what_was_gained_is_blue_and_what_was_lost_red():
    truth = np.array([[1, 1, 1, 1, 255, 255]], np.uint8)
    before, after = np.array([[1, 0, 1, 0, 255, 0]], np.uint8), np.array([[1, 1, 0, 2, 0, 255]], np.uint8)
    picture = change_map(truth, before, after)[0]
    assert [tuple(pixel) for pixel in picture[1:3]] == [GAINED, WRONG]
    assert (picture[[0, 3]] == error_map(truth, truth)[0, [0, 3]]).all()
    assert (picture[4:] == 255).all()


@pytest.mark.parametrize("shape", [(512, 512), (1, 1), (3, 2000), (2000, 30), (40, 50)])
def test_panels_of_any_size_keep_to_the_width(shape):
    grey = np.zeros(shape, np.uint8)
    sheet = panel([grey, to_rgb(grey)], ["image", "真值"], width=700)
    assert sheet.shape[1] <= 700
    assert sheet.shape[0] > 30
    assert sheet.dtype == np.uint8


def test_small_pictures_are_enlarged_pixel_by_pixel():
    sheet = panel([np.array([[0, 255]], np.uint8)], ["x"], width=600)
    assert set(np.unique(sheet[30:])) == {0, 255}
    assert sheet.shape[1] == 256


def test_every_picture_needs_a_title():
    with pytest.raises(ValueError, match="zip"):
        panel([np.zeros((5, 5), np.uint8)] * 2, ["only one"])


def test_the_legend_shows_every_colour_and_wraps():
    wide, narrow = legend(CLASSES, 1000), legend(CLASSES, 120)
    for sheet in (wide, narrow):
        shown = set(map(tuple, sheet.reshape(-1, 3).tolist()))
        assert shown.issuperset(CLASSES.colors)
    assert narrow.shape[0] == 3 * wide.shape[0]


def test_names_that_cannot_be_drawn_become_numbers():
    assert [class_label(CLASSES, id_) for id_ in range(3)] == ["carbon", "SE", "class 2"]


def test_pictures_are_stacked_on_white():
    sheet = stack([np.zeros((2, 4, 3), np.uint8), np.zeros((1, 2, 3), np.uint8)])
    assert sheet.shape == (3, 4, 3)
    assert (sheet[2, 2:] == 255).all()


def test_curves_take_gaps_one_point_and_nothing():
    drawn = curves({"碳": [0.1, float("nan"), 0.3], "one": [0.5]}, y_label="Dice")
    empty = curves({})
    assert drawn.shape[2] == empty.shape[2] == 3
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > len(np.unique(empty.reshape(-1, 3), axis=0))


@pytest.mark.parametrize(
    "points",
    [
        [],
        [Point(10, float("nan"), float("nan"), float("nan"))],
        [Point(10, 0.5, float("nan"), float("nan"))],
        [Point(10, 0.5, 0.4, 0.6), Point(20, 0.4, 0.3, 0.5, False), Point(30, 0.6, 0.5, 0.7)],
    ],
)
def test_growth_takes_gaps_one_point_and_nothing(points):
    picture = growth_picture(points, x_label="labels", y_label="Dice", labels=("taken", "left"), target=0.9)
    assert picture.ndim == 3
    blue = (picture == (31, 111, 178)).all(axis=2).any()
    assert blue == any(not np.isnan(point.y) for point in points)
    assert (picture == (209, 73, 91)).all(axis=2).any() == any(not point.counts for point in points)


def test_growth_of_one_round_has_whole_numbers_of_labels(monkeypatch):
    monkeypatch.setattr(pictures, "_render", lambda figure: figure)
    (axes,) = growth_picture([Point(6, 0.5, 0.4, 0.6)], x_label="n", y_label="Dice", labels=("a", "b")).axes
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_the_confusion_picture_has_a_column_for_no_class_only_if_used():
    matrix = np.array([[90, 10, 0, 0], [5, 45, 0, 0], [0, 0, 0, 0]])
    without = confusion_picture(matrix, CLASSES)
    matrix[0, 3] = 7
    assert confusion_picture(matrix, CLASSES).shape[1] > without.shape[1]
    many = ClassMap(tuple(map(str, range(20))), tuple((i, i, i) for i in range(20)))
    assert confusion_picture(np.eye(20, 21, dtype=np.int64), many).ndim == 3


def test_files_hold_the_picture():
    picture = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png_bytes(picture)))) == picture).all()
    assert np.asarray(Image.open(io.BytesIO(jpeg_bytes(picture)))).shape == picture.shape


def test_shrinking_averages_and_never_enlarges():
    stripes = np.tile(np.array([0, 255], np.uint8), (4, 4))
    assert (shrink(to_rgb(stripes), 4) == 128).all()
    assert shrink(to_rgb(stripes), 100).shape == (4, 8, 3)


def test_reliability_is_drawn_for_each_way_even_with_empty_bins() -> None:
    confidence, accuracy, share = np.array([np.nan, 0.4, 0.9]), np.array([np.nan, 0.5, 0.6]), np.array([0, 0.25, 0.75])
    one, two = (
        reliability_picture(dict.fromkeys(names, (confidence, accuracy, share))) for names in (["a"], ["a", "碳"])
    )
    assert one.shape[0] == two.shape[0]
    assert two.shape[1] > 1.7 * one.shape[1]
    assert len(np.unique(one.reshape(-1, 3), axis=0)) > 10
