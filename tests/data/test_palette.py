"""Masks come back as they were written, whatever the classes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from srpu.data.masks import IGNORE, ClassMap, colour, read_mask, write_mask, write_mask_stack
from srpu.errors import MaskError

CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
quick = settings(max_examples=25, deadline=None)


def phases(height: int = 90, width: int = 120, classes: int = 3, seed: int = 0) -> np.ndarray:
    """Blobs of class ids."""
    field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width)), (0, 0), 5)
    edges = np.quantile(field, np.linspace(0, 1, classes + 1)[1:-1])
    return np.digitize(field, edges).astype(np.uint8)


@st.composite
def class_maps(draw: st.DrawFn) -> dict[str, object]:
    """The arguments of one; to be made outside, because checking its types draws random numbers."""
    count = draw(st.integers(2, 12))
    level = st.integers(0, 255)
    colours = draw(st.lists(st.tuples(level, level, level), min_size=count + 1, max_size=count + 1, unique=True))
    return {
        "names": tuple(map(str, range(count))),
        "colors": tuple(colours[1:]),
        "ignore_color": colours[0],
        "ignore_index": draw(st.sampled_from([255, 100, count])),
    }


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@given(data=st.data())
@quick
def test_what_is_written_is_read(suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    classes = ClassMap(**data.draw(class_maps()))
    ids = st.sampled_from([*range(len(classes)), IGNORE])
    mask = data.draw(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=ids))
    path = tmp_path_factory.mktemp("written") / f"mask{suffix}"
    write_mask(path, mask, classes)
    read = read_mask(path, classes)
    np.testing.assert_array_equal(read.ids, mask)
    assert (read.ids.dtype, read.near, read.swapped) == (np.uint8, 0, False)


@given(data=st.data())
@quick
def test_colours_are_read_as_painted(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    classes = ClassMap(**data.draw(class_maps()))
    ids = st.sampled_from([*range(len(classes)), IGNORE])
    mask = data.draw(hnp.arrays(np.uint8, (5, 7), elements=ids))
    path = tmp_path_factory.mktemp("colours") / data.draw(st.sampled_from(["m.png", "m.tif", "m.bmp"]))
    Image.fromarray(colour(mask, classes)).save(path)
    read = read_mask(path, classes)
    assert (read.how, read.near, read.swapped) == ("colours", 0, False)
    np.testing.assert_array_equal(read.ids, mask)


@pytest.mark.parametrize("classes", [2, 254])
def test_few_and_many_classes(tmp_path: Path, classes: int) -> None:
    many = ClassMap(tuple(map(str, range(classes))), tuple((id_, 255 - id_, 60) for id_ in range(classes)))
    ids = np.arange(30 * 40, dtype=np.int64).reshape(30, 40) % classes
    write_mask(tmp_path / "m.png", ids.astype(np.uint8), many)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", many).ids, ids)


def test_stack(tmp_path: Path) -> None:
    stack = [phases(seed=seed) for seed in range(3)]
    stack[1][:5] = IGNORE
    write_mask_stack(tmp_path / "m.tif", iter(stack), CLASSES)
    for page, ids in enumerate(stack):
        np.testing.assert_array_equal(read_mask(tmp_path / "m.tif", CLASSES, page).ids, ids)
    with pytest.raises(MaskError, match="no page 4"):
        read_mask(tmp_path / "m.tif", CLASSES, 3)


def test_any_name_will_do(tmp_path: Path) -> None:
    path = tmp_path / "标注 结果" / "样品 1_mask.png"
    write_mask(path, phases(), CLASSES)
    np.testing.assert_array_equal(read_mask(path, CLASSES).ids, phases())


def test_files_show_the_colours(tmp_path: Path) -> None:
    ids = phases()
    ids[:9] = IGNORE
    write_mask(tmp_path / "m.png", ids, CLASSES)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.png").convert("RGB")), colour(ids, CLASSES))
    assert np.asarray(Image.open(tmp_path / "m.png")).max() == 255


def test_only_png_and_tiff_are_written(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"m\.jpg cannot be written"):
        write_mask(tmp_path / "m.jpg", phases(), CLASSES)


def test_ids_that_are_no_class_never_read_back_as_one(tmp_path: Path) -> None:
    ids = phases()
    ids[0, :7] = 9
    write_mask(tmp_path / "m.png", ids, CLASSES)
    with pytest.raises(MaskError, match=r"m\.png .* 9 \(7 pixels\)"):
        read_mask(tmp_path / "m.png", CLASSES)
