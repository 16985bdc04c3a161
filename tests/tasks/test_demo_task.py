"""The demonstration, made small."""

from pathlib import Path

import pytest

from srpu.errors import WorkspaceError
from srpu.tasks import demo_task

QUICK = {
    "base.py": {"ENCODER_NAME": "unet", "CROP_SIZE": 64, "LOGGER": "none", "PRECISION": "fp32", "DEVICE": "cpu"},
    "dataset_config.py": {"GROUP_PATTERN": "(specimen[0-9]+)_"},
    "train/train_config.py": {"NUM_EPOCHS": 1, "STEPS_PER_EPOCH": 2, "BATCH_SIZE": 2},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_task, "CHANGED", QUICK)
    monkeypatch.setattr(demo_task, "EDGE", 96)
    monkeypatch.setattr(demo_task, "SPECIMENS", 5)
    monkeypatch.setattr(demo_task, "NEW", {"specimen09_new": (100, 120)})


@pytest.mark.usefixtures("small")
def test_it_does_the_whole_job_and_can_be_done_again(tmp_path: Path) -> None:
    folder = tmp_path / "演示 demo"
    shown = demo_task.run(folder)
    page = shown.report.read_text(encoding="utf-8")
    assert "multi-level Otsu" in page
    assert "specimen09_new" in page
    assert f"{shown.model.mean_dice:.3f}" in page
    assert (folder / "data/inference/output/phase_fractions.csv").is_file()
    assert (folder / "data/inference/output/specimen09_new_predicted_mask.png").is_file()
    again = demo_task.run(folder)
    assert again.model.mean_dice == shown.model.mean_dice
    assert again.otsu == shown.otsu


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="holds no demonstration"):
        demo_task.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
