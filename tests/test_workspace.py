"""Where things lie."""

from pathlib import Path

import pytest

from srpu.errors import WorkspaceError
from srpu.workspace import Workspace


def test_a_workspace_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "base.py").touch()
    (tmp_path / "data" / "raw").mkdir(parents=True)
    assert Workspace.find(tmp_path / "data" / "raw").root == tmp_path.resolve()


def test_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="srpu init DIR"):
        Workspace.find(tmp_path)


def test_names_are_relative_inside_and_absolute_outside(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    assert workspace.name(tmp_path / "work" / "data" / "raw" / "a b.tif") == "data/raw/a b.tif"
    outside = tmp_path / "elsewhere" / "a.tif"
    assert workspace.path(workspace.name(outside)) == outside
