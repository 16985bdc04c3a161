from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srpu.active.uncertainty import own_strategies
from srpu.config import check_configs
from srpu.errors import WorkspaceError
from srpu.tasks import init_task
from srpu.workspace import Workspace


def test_a_new_workspace_is_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "my 正极 images"
    with caplog.at_level("INFO"):
        workspace = init_task.run(folder)
    assert Workspace.find(folder / "data" / "raw") == workspace == Workspace(folder)
    check_configs(workspace)
    assert all((folder / name).is_dir() for name in init_task.FOLDERS)
    readme = (folder / "README.txt").read_text(encoding="utf-8")
    for verb in ("index", "check", "train", "evaluate", "predict"):
        assert f"srpu {verb} " in readme
    assert str(folder) in caplog.text


def test_a_folder_of_images_keeps_all_it_holds(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "a.tif").write_bytes(b"image")
    (tmp_path / "README.txt").write_text("mine", encoding="utf-8")
    init_task.run(tmp_path)
    assert (tmp_path / "data" / "raw" / "a.tif").read_bytes() == b"image"
    assert (tmp_path / "README.txt").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "configs" / "base.py").is_file()


def test_a_workspace_is_not_made_twice(tmp_path: Path) -> None:
    (tmp_path / "configs" / "train").mkdir(parents=True)
    mine = tmp_path / "configs" / "train" / "train_config.py"
    mine.write_text("NUM_EPOCHS = 1\n", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"is a workspace already .*nothing was changed"):
        init_task.run(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_a_file_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    with pytest.raises(WorkspaceError, match="a file stands where a folder is needed"):
        init_task.run(tmp_path / "here")


def test_own_strategies_are_those_of_the_repository(tmp_path: Path) -> None:
    init_task.run(tmp_path)
    theirs = (Path(__file__).parents[2] / "utils" / "uncertainty_util.py").read_text(encoding="utf-8")
    assert (tmp_path / "utils" / "uncertainty_util.py").read_text(encoding="utf-8") == theirs


def test_own_strategies_that_exist_are_kept(tmp_path: Path) -> None:
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "uncertainty_util.py").write_text("mine = 1\n", encoding="utf-8")
    init_task.run(tmp_path)
    assert (tmp_path / "utils" / "uncertainty_util.py").read_text(encoding="utf-8") == "mine = 1\n"


def test_the_examples_of_own_strategies_work(tmp_path: Path) -> None:
    own = own_strategies(init_task.run(tmp_path).path(init_task.OWN_STRATEGIES))
    assert sorted(own) == ["grain_boundaries", "one_class"]
    pixels = torch.tensor([[0.5, 0.5, 0.0], [0.7, 0.1, 0.2], [0.0, 1.0, 0.0]]).T.reshape(1, 3, 1, 3)
    torch.testing.assert_close(own["one_class"](pixels), torch.tensor([[[1.0, 0.36, 0.0]]]))  # 4 · 0.1 · 0.9
    halves = torch.zeros(1, 3, 1, 20)
    halves[:, :, :, :10] = torch.tensor([0.6, 0.3, 0.1]).reshape(1, 3, 1, 1)
    halves[:, :, :, 10:] = torch.tensor([0.1, 0.8, 0.1]).reshape(1, 3, 1, 1)
    expected = torch.tensor([[[0.0] * 7 + [0.7] * 3 + [0.3] * 3 + [0.0] * 7]])  # 3 pixels on both sides
    torch.testing.assert_close(own["grain_boundaries"](halves), expected)
