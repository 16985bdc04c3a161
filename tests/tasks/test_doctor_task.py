from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from srpu.data.index import Record, write_manifest
from srpu.tasks import doctor_task, init_task
from srpu.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with an index that is newer than its data."""
    made = init_task.run(tmp_path)
    records = [record(name, split) for name, split in (("a", "train"), ("b", "train"), ("c", "val"), ("d", None))]
    write_manifest(made.root / "json" / "master_labeled_dataset.json", records)
    age(made.root / "data", 100)
    return made


def record(name: str, split: str | None) -> Record:
    return Record(name, f"{name}.tif", None, f"{name}.png", None, "labeled", name, split, 8, 8, None, name)


def age(folder: Path, seconds: float) -> None:
    for path in (folder, *folder.rglob("*")):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def problems(workspace: Workspace) -> tuple[str, ...]:
    """What is wrong in the workspace, whatever the machine lacks."""
    return tuple(
        line for line in doctor_task.run(workspace).problems if "GPU" not in line and "GB are free" not in line
    )


def test_a_healthy_machine_and_workspace(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert problems(workspace) == ()
    for said in (
        "SRPU 0.1.0",
        f"torch {metadata.version('torch')}",
        "CPU: ",
        "Disk: ",
        'DEVICE = "auto"',
        str(workspace.root),
    ):
        assert said in caplog.text
    assert "Index: 4 labelled images (2 train, 1 val, 1 in no split)" in caplog.text


def test_without_a_workspace(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        doctor_task.run(None)
    assert "Workspace: none here; `srpu init DIR` makes one." in caplog.messages


def test_mistakes_in_config_files(workspace: Workspace) -> None:
    (workspace.configs / "base.py").write_text("SEAD = 1\n", encoding="utf-8")
    assert problems(workspace) == ("configs/base.py: SEAD = 1: unknown setting; did you mean SEED?",)


def test_no_index_yet(workspace: Workspace) -> None:
    (workspace.root / "json" / "master_labeled_dataset.json").unlink()
    (problem,) = problems(workspace)
    assert "`srpu index`" in problem


def test_images_that_came_after_the_index(workspace: Workspace) -> None:
    (workspace.root / "data" / "raw" / "new.tif").touch()
    (problem,) = problems(workspace)
    assert problem.startswith("Files have changed since the index was made")


def test_missing_folders(workspace: Workspace) -> None:
    (workspace.root / "data" / "raw").rmdir()
    (workspace.root / "data" / "labeled").rmdir()
    (workspace.root / "datasets").rmdir()
    age(workspace.root / "data", 100)
    assert problems(workspace) == (
        "RAW_DIRS names data/raw, which is not there; make that folder or correct configs/base.py.",
        "There is neither data/labeled nor datasets; masks belong into one of them.",
    )


def test_leftovers_of_a_killed_process(workspace: Workspace) -> None:
    left = workspace.root / "models" / ".tmp-abc.pth"
    left.parent.mkdir()
    left.write_bytes(bytes(3_000_000))
    (problem,) = problems(workspace)
    assert problem.startswith(f"Interrupted commands left 1 unfinished files (3 MB), e.g. {left}; delete them")


def test_newest_model_is_named(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    for name, seconds in (("train_a", 50), ("train_b", 0)):
        path = workspace.root / "models" / "checkpoints" / name / "best_model.pth"
        path.parent.mkdir(parents=True)
        path.touch()
        age(path.parent, seconds)
    with caplog.at_level("INFO"):
        problems(workspace)
    assert f"Trained models: 2, the newest is {workspace.root}" in caplog.text.replace("train_b", "")
    assert "train_b" in caplog.text


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["nosuchlibrary>=1", "other; extra == 'dev'"])
    assert doctor_task.run(None).problems[0].startswith("nosuchlibrary is not installed")


def test_little_room_and_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1e9, total=5e11))
    monkeypatch.setattr("os.access", lambda *_: False)
    found = "\n".join(doctor_task.run(None).problems)
    assert "Less than 5 GB are free" in found
    assert "You may not write in" in found
