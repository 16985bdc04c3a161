"""A workspace to train in: six small images of three grey levels, each its own specimen, two of them for validation."""

from pathlib import Path

import numpy as np
import pytest

from srpu.config import load_settings
from srpu.data.images import write_image
from srpu.data.masks import write_mask
from srpu.manual import write_configs
from srpu.tasks import index_task
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace


def blobs(seed: int, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ in brightness."""
    random = np.random.default_rng(seed)
    ids = np.kron(random.integers(0, 3, (size // 8, size // 8)), np.ones((8, 8), int)).astype(np.uint8)
    return (ids * 80 + random.integers(0, 30, ids.shape)).astype(np.uint8), ids


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "工作 区")
    write_configs(made.configs)
    classes = class_map(load_settings("index", made).settings)
    for number in range(6):
        image, ids = blobs(number)
        write_image(made.path(f"data/raw/image {number}.tif"), image)
        write_mask(made.path(f"data/labeled/image {number}.png"), ids, classes)
    index_task.run(load_settings("index", made).settings, made)
    return made


@pytest.fixture
def pool(workspace: Workspace) -> Workspace:
    """The workspace with twelve images more, without masks."""
    for number in range(12):
        write_image(workspace.path(f"data/raw/unlabelled/扫描 {number:02d}.tif"), blobs(100 + number)[0])
    index_task.run(load_settings("index", workspace).settings, workspace)
    return workspace


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """A workspace without any image."""
    made = Workspace(tmp_path / "empty")
    write_configs(made.configs)
    return made
