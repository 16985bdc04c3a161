"""`srpu masks repair` on files the user names."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srpu.data.masks import colour, read_mask
from srpu.settings import Settings
from srpu.tasks.masks_task import repair
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

CLASSES = class_map(Settings())


def test_repair(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = np.zeros((60, 60), np.uint8)
    ids[20:40, 20:40] = 2
    ids[50:] = 1
    blurred = cv2.GaussianBlur(colour(ids, CLASSES), (3, 3), 0.8)
    labeled = tmp_path / "data" / "labeled"
    labeled.mkdir(parents=True)
    for name in ("a.png", "b 样品.png"):
        Image.fromarray(blurred).save(labeled / name)
    (labeled / "text.png").write_text("no mask", encoding="utf-8")
    names = [labeled / "a.png", labeled / "text.png", Path("data/labeled/b 样品.png")]
    with caplog.at_level(logging.INFO):
        result = repair(Settings(), Workspace(tmp_path), names)
    assert result.failed == 1
    assert [copy.name for copy in result.written] == ["a_repaired.png", "b 样品_repaired.png"]
    assert "text.png is no PNG" in caplog.text
    for copy in result.written:
        np.testing.assert_array_equal(read_mask(copy, CLASSES).ids, ids)
