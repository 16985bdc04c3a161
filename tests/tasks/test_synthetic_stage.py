"""A stage on generated images: judged on real ones where there are any, continued bit by bit, mistakes told."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from srpu.config import load_settings
from srpu.data import endless
from srpu.errors import IndexingError, LeakError, SettingsError
from srpu.files import read_json, write_json
from srpu.learn.checkpoint import load_checkpoint, load_tensors
from srpu.learn.tracker import LinesTracker
from srpu.tasks import stages_task, train_task
from srpu.workspace import Workspace

SMALL = [
    *("ENCODER_NAME=unet", "CROP_SIZE=32", "BATCH_SIZE=2", "NUM_EPOCHS=2", "STEPS_PER_EPOCH=1", "TILE_SIZE=64"),
    *("LOGGER=none", "PRECISION=fp32", "DEVICE=cpu", "EARLY_STOPPING_PATIENCE=0"),
]
STAGES = [{"name": "generated", "datasets": ["synthetic"]}, {"name": "real"}]


@pytest.fixture(autouse=True)
def little_disk(tmp_path: Path) -> Iterator[None]:
    """The models of a test, up to a gigabyte, go when it ends."""
    yield
    for models in tmp_path.glob("*/models"):
        shutil.rmtree(models)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endless, "POOL", 4)
    monkeypatch.setattr(endless, "HELD_OUT", 2)


def train(workspace: Workspace, stages: list[dict[str, Any]], *overrides: str, resume: bool = False) -> Any:
    settings = load_settings("train-stages", workspace, [*SMALL, f"STAGES={stages!r}", *overrides]).settings
    return stages_task.run(settings, workspace, resume=resume)


def test_generated_images_are_judged_by_real_ones_and_handed_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        whole = train(workspace, STAGES)
    facts = read_json(whole.folder / "stages.json")
    assert facts["generated"]["judged_on"] == ["labeled"]
    assert set(whole.scores["generated"]) == {"labeled"}
    assert "Training images are generated without end" in caplog.text
    known = load_checkpoint(whole.models["generated"]).trained_on
    assert sorted(known.values()) == ["val", "val"]

    real = LinesTracker.numbers

    def dying(self: LinesTracker, step: int, values: Mapping[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt
        real(self, step, values)

    monkeypatch.setattr(LinesTracker, "numbers", dying)
    with pytest.raises(KeyboardInterrupt):
        train(workspace, STAGES)
    monkeypatch.setattr(LinesTracker, "numbers", real)
    resumed = train(workspace, STAGES, resume=True)
    for name in ("generated", "real"):
        once, again = (load_tensors(next(one.folder.glob(f"{name}/*/state.pth"))) for one in (whole, resumed))
        assert all(torch.equal(value, again["model"][key]) for key, value in once["model"].items())


def test_without_real_images_held_out_generated_ones_are_judged_on(
    bare: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        staged = train(bare, STAGES[:1])
    assert set(staged.scores["generated"]) == {"synthetic"}
    assert "no labelled validation image: 2 generated ones are judged on" in caplog.text
    assert "random weights; generated images" in caplog.text
    with pytest.raises(IndexingError, match="Stage real: There is no index"):
        train(bare, STAGES)


def test_one_training_on_generated_images_needs_no_stages(bare: Workspace) -> None:
    settings = load_settings("train", bare, [*SMALL, 'DATASETS=["synthetic"]']).settings
    assert train_task.run(settings, bare).history.best_score > 0


@pytest.mark.parametrize(
    ("stage", "overrides", "told"),
    [
        (
            {},
            ["NUM_CLASSES=2", "CLASS_NAMES={0: 'a', 1: 'b'}", "COLOR_MAPPING={0: [0, 0, 1], 1: [0, 0, 2]}"],
            "Stage generated: .* of 3 classes, and NUM_CLASSES = 2",
        ),
        ({"datasets": ["synthetic", "labeled"]}, [], 'not mixed with others; give "synthetic" a stage of its own'),
        ({"train_json": "json/labeled.json"}, [], "not mixed with others: .* name no train_json"),
    ],
)
def test_what_cannot_be_generated_is_told_before_the_first_epoch(
    workspace: Workspace, stage: dict[str, Any], overrides: list[str], told: str
) -> None:
    with pytest.raises((SettingsError, LeakError), match=told):
        train(workspace, [{**STAGES[0], **stage}], *overrides)


def test_a_data_set_of_the_same_name_is_refused(workspace: Workspace) -> None:
    index = workspace.path("json/master_labeled_dataset.json")
    content = read_json(index)
    samples = [sample | {"dataset": "synthetic"} for sample in content["samples"]]
    write_json(index, content | {"samples": samples})
    with pytest.raises(SettingsError, match="give its folder another name"):
        train(workspace, STAGES[:1])
