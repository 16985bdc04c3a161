"""Cross-validation as a user runs it: every image judged by a model that has not seen it, and crashes survived."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from srpu.config import load_settings
from srpu.data.masks import write_mask
from srpu.errors import CheckpointError, IndexingError, SettingsError, WorkspaceError
from srpu.files import read_json, write_json
from srpu.learn.checkpoint import load_checkpoint
from srpu.learn.tracker import LinesTracker
from srpu.tasks import evaluate_task, folds_task, train_task
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

QUICK = [
    *("ENCODER_NAME=unet", "CROP_SIZE=32", "BATCH_SIZE=1", "NUM_EPOCHS=1", "STEPS_PER_EPOCH=2"),
    *("LOGGER=none", "PRECISION=fp32", "DEVICE=cpu"),
]


def train(workspace: Workspace, *overrides: str, resume: bool = False) -> folds_task.CrossValidated:
    settings = load_settings("train", workspace, [*QUICK, "FOLDS=3", *overrides]).settings
    return folds_task.run(settings, workspace, resume=resume)


def evaluate(workspace: Workspace, *overrides: str) -> evaluate_task.Evaluated:
    settings = load_settings("evaluate", workspace, ["DEVICE=cpu", "PRECISION=fp32", *overrides]).settings
    return evaluate_task.run(settings, workspace)


def test_every_image_is_judged_by_the_model_that_has_not_seen_it(workspace: Workspace) -> None:
    validated = train(workspace)
    samples = read_json(workspace.path("json/master_labeled_dataset.json"))["samples"]
    everything = {sample["sha256"] for sample in samples}
    held_out: list[str] = []
    for path in validated.models:
        known = load_checkpoint(path).trained_on
        assert set(known) == everything
        assert "val" not in known.values()
        held_out += [sha256 for sha256, split in known.items() if split == "test"]
    assert sorted(held_out) == sorted(everything)
    assert not (workspace.path("models/checkpoints/train_unet_unet") / "best_model.pth").exists()
    evaluated = evaluate(workspace, "FOLDS=3")
    scores = read_json(evaluated.folder / "scores.json")
    assert scores["split"] == "folds"
    assert len(scores["images"]) == 6
    assert {name: part["images"] for name, part in scores["folds"].items()} == {f"Fold {n}": 2 for n in (1, 2, 3)}
    page = evaluated.report.read_text(encoding="utf-8")
    assert "cross-validation, n = 6 images in 6 groups" in page
    assert "The best epoch was chosen on" not in page
    with pytest.raises(CheckpointError, match="serve to judge only, so train one with `srpu train --set FOLDS=0`"):
        evaluate(workspace)
    # One model alone cannot judge the images that it was trained on.
    one = validated.models[0]
    with pytest.raises(SettingsError, match="CHECKPOINT_PATH means nothing with FOLDS = 3"):
        evaluate(workspace, "FOLDS=3", f"CHECKPOINT_PATH={one}")
    with pytest.raises(SettingsError, match='EVALUATION_SPLIT = "test" means nothing'):
        evaluate(workspace, "FOLDS=3", "EVALUATION_SPLIT=test")
    with pytest.raises(CheckpointError, match="has 3 folds: set FOLDS = 3"):
        evaluate(workspace, "FOLDS=2")
    # A finished one is not continued.
    with pytest.raises(WorkspaceError, match="the last one has finished"):
        train(workspace, resume=True)


@pytest.mark.parametrize("moment", ["before training", "while training", "between folds"])
def test_a_killed_cross_validation_goes_on_where_it_stopped(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    begun: list[Path] = []
    real_train, real_numbers = train_task.train, LinesTracker.numbers

    def dying(settings: object, at: object, folder: Path, **rest: object) -> train_task.Trained:
        begun.append(folder)
        if moment == "before training" and len(begun) == 2:
            raise KeyboardInterrupt
        trained = real_train(settings, at, folder, **rest)  # type: ignore[arg-type]
        if moment == "between folds" and len(begun) == 2:
            raise KeyboardInterrupt
        return trained

    def dying_in_an_epoch(self: LinesTracker, step: int, values: Mapping[str, float]) -> None:
        if moment == "while training" and len(begun) == 2 and step == 2:
            raise KeyboardInterrupt
        real_numbers(self, step, values)

    monkeypatch.setattr(train_task, "train", dying)
    monkeypatch.setattr(LinesTracker, "numbers", dying_in_an_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(workspace, "NUM_EPOCHS=2")
    assert "Fold 2 of 3 was interrupted; what is finished is kept" in caplog.text
    assert "nothing to go on from" not in caplog.text
    with pytest.raises(CheckpointError, match="srpu train --resume"):
        evaluate(workspace, "FOLDS=3")
    first = next(begun[0].glob("*/best_model.pth"))
    validated = train(workspace, "NUM_EPOCHS=2", resume=True)
    assert validated.models[0] == first
    assert len(validated.models) == 3
    expected = [1, 2, 3] if moment == "between folds" else [1, 2, 2, 3]
    assert [int(folder.name[-1]) for folder in begun] == expected
    assert len(list(begun[1].glob("*/run.json"))) == 1, "the interrupted run was continued, not begun anew"


def test_labels_that_change_between_folds_stop_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real, classes = train_task.train, class_map(load_settings("train", workspace).settings)

    def changing(*arguments: object, **rest: object) -> train_task.Trained:
        trained = real(*arguments, **rest)  # type: ignore[arg-type]
        write_mask(workspace.path("data/labeled/image 0.png"), np.zeros((48, 48), np.uint8), classes)
        return trained

    monkeypatch.setattr(train_task, "train", changing)
    with pytest.raises(WorkspaceError, match="labelled images have changed"):
        train(workspace)


def test_images_that_came_or_went_since_are_named(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    train(workspace)
    index = workspace.path("json/master_labeled_dataset.json")
    content = read_json(index)
    renewed = [content["samples"][0] | {"sha256": "other pixels"}, *content["samples"][2:]]
    write_json(index, content | {"samples": renewed})
    evaluated = evaluate(workspace, "FOLDS=3")
    assert len(read_json(evaluated.folder / "scores.json")["images"]) == 4
    assert "1 images were labelled or changed since" in caplog.text
    assert "2 images are gone or have changed since" in caplog.text
    write_json(index, content | {"samples": renewed[:1]})
    with pytest.raises(IndexingError, match="None of the images of the cross-validation"):
        evaluate(workspace, "FOLDS=3")


def test_other_labels_or_too_few_specimens_are_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IndexingError, match=r"FOLDS = 7 needs 7 .* has 6 outside the test split: set FOLDS = 6"):
        train(workspace, "FOLDS=7")
    with pytest.raises(WorkspaceError, match="there is none; start one without --resume"):
        train(workspace, resume=True)
    monkeypatch.setattr(train_task, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(workspace)
    index = workspace.path("json/master_labeled_dataset.json")
    content = read_json(index)
    write_json(index, content | {"samples": content["samples"][1:]})
    with pytest.raises(WorkspaceError, match="labelled images have changed"):
        train(workspace, resume=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="without torchrun"):
        train(workspace)


def test_a_score_on_few_specimens_advises_cross_validation(workspace: Workspace) -> None:
    settings = load_settings("train", workspace, QUICK).settings
    train_task.run(settings, workspace)
    page = evaluate(workspace).report.read_text(encoding="utf-8")
    assert "of 6 specimens (groups) only" in page
    assert "set FOLDS = 5 in configs/dataset_config.py" in page
    before = len(list(workspace.path("evaluation_results").iterdir()))
    evaluate_task.rescore(load_settings("evaluate", workspace, ["FOLDS=3", "DEVICE=cpu"]).settings, workspace)
    results = sorted(workspace.path("evaluation_results").iterdir())
    assert len(results) == before + 1
    assert read_json(results[-1] / "scores.json")["split"] == "val", "grown truth re-scores the one current model"
