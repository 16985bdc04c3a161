"""Training curves."""

import json
import logging
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from srpu.errors import SettingsError
from srpu.learn.tracker import LinesTracker, TensorBoardTracker, Trackers, WandbTracker

PICTURE = np.full((8, 8, 3), 200, dtype=np.uint8)


def test_lines_are_json_and_undefined_numbers_are_null(tmp_path: Path) -> None:
    tracker = LinesTracker(tmp_path / "run" / "metrics.jsonl")
    tracker.numbers(1, {"loss": 0.5, "dice": float("nan")})
    tracker.numbers(2, {"loss": 0.25, "dice": 0.75})
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert lines == [{"step": 1, "loss": 0.5, "dice": None}, {"step": 2, "loss": 0.25, "dice": 0.75}]


def test_tensorboard_files_hold_curves_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoardTracker(tmp_path / "run")
    tracker.numbers(1, {"loss": 0.5, "dice": float("nan")})
    tracker.numbers(2, {"loss": 0.25})
    tracker.picture(2, "validation", PICTURE)
    tracker.close()
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    assert events.Tags()["scalars"] == ["loss"]
    assert events.Tags()["images"] == ["validation"]


def test_pictures_follow_each_row_of_numbers(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    class Notes(LinesTracker):
        def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
            seen.append((step, name))

    pictures: dict[str, np.ndarray | None] = {"validation": None}
    trackers = Trackers(Notes(tmp_path / "a.jsonl"), pictures=lambda: pictures)
    trackers.numbers(1, {"loss": 1.0})
    pictures["validation"] = PICTURE
    trackers.numbers(2, {"loss": 0.5})
    trackers.close()
    assert seen == [(2, "validation")]


def test_a_missing_wandb_is_named_even_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    (tmp_path / "wandb").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(SettingsError, match="pip install"):
        WandbTracker(tmp_path, "run", {})
