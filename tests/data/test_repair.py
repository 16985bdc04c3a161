"""Blurred edges are recognised and repaired; what would be a guess is refused."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srpu.data.masks import ClassMap, colour, read_mask, repair_mask, write_mask_stack
from srpu.errors import MaskError

CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
LEVELS = ClassMap(CLASSES.names, CLASSES.colors, mask_values={0: 0, 127: 1, 255: 2})


def phases(height: int = 90, width: int = 120, classes: int = 3, seed: int = 0) -> np.ndarray:
    """Blobs of class ids."""
    field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width)), (0, 0), 5)
    edges = np.quantile(field, np.linspace(0, 1, classes + 1)[1:-1])
    return np.digitize(field, edges).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def smoothed(painted: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(painted, (3, 3), 0.8)


@pytest.mark.parametrize("kind", ["anti-aliased", "palette", "jpeg", "jpeg saved as png", "levels"])
def test_blurred_edges_are_recognised_and_repaired(tmp_path: Path, kind: str) -> None:
    ids, classes, path = phases(), CLASSES, tmp_path / "m 1.png"
    if kind == "levels":
        classes = LEVELS
        save(path, smoothed(np.array([0, 127, 255], np.uint8)[ids]))
    elif kind == "anti-aliased":
        save(path, smoothed(colour(ids, CLASSES)))
    elif kind == "palette":
        Image.fromarray(smoothed(colour(ids, CLASSES))).quantize(200, Image.Quantize.MAXCOVERAGE).save(path)
    else:
        path = tmp_path / "m 1.jpg"
        Image.fromarray(colour(ids, CLASSES)).save(path, quality=85)
        if kind == "jpeg saved as png":
            Image.open(path).save(tmp_path / "m 1.png")
            path = tmp_path / "m 1.png"
    before = path.read_bytes()
    with pytest.raises(MaskError, match=re.escape(f'srpu masks repair "{path}"')):
        read_mask(path, classes)
    copy, changed = repair_mask(path, classes)
    assert copy == tmp_path / "m 1_repaired.png"
    assert path.read_bytes() == before
    assert 0 < changed <= ids.size
    assert (read_mask(copy, classes).ids == ids).mean() > 0.97
    with pytest.raises(MaskError, match="not written over"):
        repair_mask(path, classes)


def test_thin_unknown_lines_are_not_taken_for_edges(tmp_path: Path) -> None:
    """A drawn crack must not be repaired away."""
    painted = colour(phases(), CLASSES)
    painted[40:42] = (255, 0, 0)
    with pytest.raises(MaskError) as caught:
        read_mask(save(tmp_path / "m.png", painted), CLASSES)
    assert "[255, 0, 0] (240 pixels)" in str(caught.value)
    assert "repair" not in str(caught.value)


def test_repair_leaves_no_rim_of_a_third_class(tmp_path: Path) -> None:
    """Halfway between 0 and 255 lies 127, which is another class's level."""
    ids = np.where(np.hypot(*np.mgrid[-40:40, -40:40]) < 25, 2, 0)
    image = cv2.GaussianBlur((ids * 127.5).astype(np.uint8), (3, 3), 0.8)
    image[image == 127] = 126
    image[:10] = 127  # class 1 is in the picture, but not near
    copy, _ = repair_mask(save(tmp_path / "m.png", image), LEVELS)
    assert not (read_mask(copy, LEVELS).ids[14:] == 1).any()


def test_repair_counts_what_it_changes(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", colour(phases(), CLASSES))
    assert repair_mask(path, CLASSES)[1] == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("photograph", "whole areas in colours of no class"),
        ("unknown class", "whole areas in colours of no class"),
        ("exchanged", "whole areas in colours of no class"),
        ("ids", "say in MASK_VALUES"),
        ("rgb ids", "say in MASK_VALUES"),
        ("text", "no PNG"),
        ("stack", "several pages"),
    ],
)
def test_what_cannot_be_repaired(tmp_path: Path, content: str, sentence: str) -> None:
    path, painted = tmp_path / "m.png", colour(phases(), CLASSES)
    if content == "text":
        path.write_text("mask", encoding="utf-8")
    elif content == "stack":
        write_mask_stack(path, [phases(), phases()], CLASSES)
    elif content == "photograph":
        save(path, np.random.default_rng(0).integers(0, 255, (50, 60, 3)).astype(np.uint8))
    elif content == "ids":
        save(path, phases() * np.uint8(40))
    elif content == "rgb ids":
        save(path, np.repeat(phases()[..., None], 3, axis=2))
    else:
        painted[20:40, 20:40] = (20, 220, 20)
        save(path, painted if content == "unknown class" else painted[..., ::-1].copy())
    with pytest.raises(MaskError, match=sentence):
        repair_mask(path, CLASSES)
    assert [file.name for file in tmp_path.iterdir()] == ["m.png"]


def test_class_ids_are_not_repaired_into_the_first_level(tmp_path: Path) -> None:
    classes = ClassMap(
        ("a", "b", "c"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)), mask_values={0: 0, 127: 1, 255: 2}
    )
    Image.fromarray(np.array([[0, 1, 2]] * 3, np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(MaskError, match="They look like class ids"):
        read_mask(tmp_path / "m.png", classes)
    with pytest.raises(MaskError, match="holds class ids, not the levels of MASK_VALUES"):
        repair_mask(tmp_path / "m.png", classes)
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]
