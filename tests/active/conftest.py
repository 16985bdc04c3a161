"""A store in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from srpu.active.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "active_learning"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.open(folder) as opened:
        yield opened
