"""Training as a user starts it: it learns, is honest about its data, and survives being killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from srpu.config import load_settings
from srpu.data.masks import write_mask
from srpu.errors import IndexingError, LeakError, SettingsError, WorkspaceError
from srpu.files import locked, read_json, write_json
from srpu.learn.checkpoint import load_checkpoint, load_tensors, rebuild_model
from srpu.tasks import index_task, train_task
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

SMALL = [
    "ENCODER_NAME=unet",
    "CROP_SIZE=32",
    "BATCH_SIZE=2",
    "NUM_EPOCHS=2",
    "STEPS_PER_EPOCH=3",
    "LOGGER=none",
    "PRECISION=fp32",
    "DEVICE=cpu",
    "TILE_SIZE=64",
]


def train(workspace: Workspace, *overrides: str, resume: bool = False) -> train_task.Trained:
    settings = load_settings("train", workspace, [*SMALL, *overrides]).settings
    return train_task.run(settings, workspace, resume=resume)


def test_training_writes_a_model_that_works_and_a_record(workspace: Workspace) -> None:
    trained = train(workspace)
    checkpoint = load_checkpoint(trained.model, expect_classes=3)
    assert checkpoint.classes.names == ("carbon", "SE", "AM")
    assert sorted(checkpoint.trained_on.values()) == ["train"] * 4 + ["val"] * 2
    assert checkpoint.novelty is not None
    assert checkpoint.val_dice == trained.history.best_score
    logits = rebuild_model(checkpoint)(torch.zeros(1, 1, 33, 47))
    assert logits.shape == (1, 3, 33, 47)
    manifest = read_json(trained.folder / "run.json")
    assert manifest["status"] == "finished"
    assert manifest["settings"]["CROP_SIZE"] == 32
    assert {"versions", "data_hash", "seed", "precision", "device", "minutes", "scores"} <= set(manifest)
    lines = (trained.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [1, 2]
    assert {"loss", "learning_rate", "images_per_second", "val/dice", "val/iou/SE", "val/dice/AM"} <= set(rows[0])
    assert {path.name for path in trained.folder.iterdir()} >= {"best_model.pth", "last_model.pth", "state.pth"}


def test_the_temperature_is_fitted_on_validation_and_changes_no_score(workspace: Workspace) -> None:
    trained = train(workspace)
    checkpoint = load_checkpoint(trained.model)
    told = read_json(trained.folder / "run.json")["calibration"]
    assert (told["temperature"], told["images"]) == (checkpoint.temperature, 2)
    assert 0.5 <= checkpoint.temperature <= 5
    assert checkpoint.temperature != 1
    assert load_checkpoint(trained.folder / "best_model.pth").temperature == checkpoint.temperature
    assert checkpoint.val_dice == trained.history.best_score


def test_one_validation_image_is_too_few_for_a_temperature(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    index = workspace.path("json/master_labeled_dataset.json")
    content = read_json(index)
    judged = [sample["id"] for sample in content["samples"] if sample["split"] == "val"]
    content["samples"] = [sample for sample in content["samples"] if sample["id"] != judged[0]]
    write_json(index, content)
    with caplog.at_level(logging.INFO):
        trained = train(workspace)
    assert load_checkpoint(trained.model).temperature == 1.0
    told = read_json(trained.folder / "run.json")["calibration"]
    assert (told["temperature"], told["images"]) == (1.0, 1)
    assert "that takes 2 labelled validation images, and there is 1" in told["how"]
    assert told["how"] in caplog.text


def test_it_learns_three_grey_levels(workspace: Workspace) -> None:
    trained = train(workspace, "NUM_EPOCHS=3", "STEPS_PER_EPOCH=25", "BATCH_SIZE=4", "LEARNING_RATE=0.003")
    assert trained.history.best_score > 0.9


def test_typing_the_command_twice_makes_two_runs_and_one_best_model(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = train(workspace, "STEPS_PER_EPOCH=30"), train(workspace, "SEED=7", "LEARNING_RATE=1e-9")
    assert f"had a validation Dice of {first.history.best_score:.4f}, this one" in caplog.text
    assert first.folder != second.folder
    assert first.model == second.model
    assert load_checkpoint(second.model).settings["SEED"] == 7


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """One process has one precision, unless Accelerate is made to forget it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_ends_with_the_same_bits(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    asked = ("NUM_EPOCHS=3", f"PRECISION={precision}")
    first = train(workspace, *asked)
    whole = load_tensors(first.folder / "state.pth")
    real, calls = train_task.Validation.__call__, []

    def dying(self: train_task.Validation, model: torch.nn.Module) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, model)

    monkeypatch.setattr(train_task.Validation, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        train(workspace, *asked)
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt):  # a start that was not meant, stopped at once, hides nothing
        monkeypatch.setattr(train_task, "_train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        train(workspace, *asked)
    monkeypatch.undo()
    resumed = train(workspace, *asked, resume=True)
    again = load_tensors(resumed.folder / "state.pth")
    for part in ("model", "average"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, again[part][name]), name
    for number, moments in whole["optimizer"]["state"].items():
        assert torch.equal(moments["exp_avg_sq"], again["optimizer"]["state"][number]["exp_avg_sq"])
    best = [load_checkpoint(run.folder / "best_model.pth").model_state_dict for run in (first, resumed)]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())
    losses = [[row["loss"] for row in state["history"]["rows"]] for state in (whole, again)]
    assert losses[0] == losses[1]


def test_kill_9_loses_at_most_the_current_epoch(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "srpu", "train", "--workspace", str(workspace.root)]
    overrides = [*SMALL, "NUM_EPOCHS=50", "EARLY_STOPPING_PATIENCE=0"]
    command += [part for override in overrides for part in ("--set", override)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Epoch 3/"):
                break
        process.kill()
    state = max(workspace.path("models/checkpoints").glob("*/*/state.pth"))
    ended = load_tensors(state)["history"]["epoch"]
    assert ended >= 2
    assert not list(workspace.path("models/checkpoints").glob("*/best_model.pth"))
    resumed = train(workspace, f"NUM_EPOCHS={ended + 1}", resume=True)
    assert resumed.folder == state.parent
    assert resumed.history.epoch == 50
    assert load_checkpoint(resumed.model).epoch == resumed.history.best_epoch


def test_a_run_is_not_continued_on_other_labels_or_by_more_processes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_task, "promote", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(workspace)
    monkeypatch.undo()
    manifest = next(workspace.path("models/checkpoints").glob("*/*/run.json"))
    content = read_json(manifest)
    write_json(manifest, content | {"processes": 2})
    with pytest.raises(WorkspaceError, match="begun by 2 processes"):
        train(workspace, resume=True)
    write_json(manifest, content)
    mask = workspace.path("data/labeled/image 0.png")
    before = mask.read_bytes()
    write_mask(mask, np.zeros((48, 48), np.uint8), class_map(load_settings("index", workspace).settings))
    with pytest.raises(WorkspaceError, match="changed since"):
        train(workspace, resume=True)
    mask.write_bytes(before)
    _relabel(workspace)
    with pytest.raises(WorkspaceError, match="changed since"):
        train(workspace, resume=True)


def _relabel(workspace: Workspace) -> None:
    index = workspace.path("json/master_labeled_dataset.json")
    content = read_json(index)
    content["samples"] = [sample for sample in content["samples"] if not sample["id"].endswith("0.tif")]
    write_json(index, content)


def test_settings_that_changed_are_named_when_a_run_is_continued(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(train_task, "promote", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(workspace)
    monkeypatch.undo()
    with caplog.at_level(logging.WARNING):
        resumed = train(workspace, "LEARNING_RATE=0.5", resume=True)
    assert "LEARNING_RATE" in caplog.text
    assert load_checkpoint(resumed.model).settings["LEARNING_RATE"] == 1e-3


def test_resume_without_a_run_or_after_its_end_is_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="no run to continue"):
        train(workspace, resume=True)
    train(workspace)
    with pytest.raises(WorkspaceError, match="give ENCODER_NAME and DECODER_NAME as then"):
        train(workspace, "ENCODER_NAME=resnet18", resume=True)
    with pytest.raises(WorkspaceError, match="has finished"):
        train(workspace, resume=True)


def test_two_trainings_at_once_are_refused(workspace: Workspace) -> None:
    lock = workspace.path("models/checkpoints/train_unet_unet/.lock")
    with locked(lock, "A training of this model"), pytest.raises(WorkspaceError, match="already running"):
        train(workspace)


def test_an_image_in_training_and_validation_stops(workspace: Workspace) -> None:
    index = workspace.path("json/master_labeled_dataset.json")
    content = read_json(index)
    train_sample = next(sample for sample in content["samples"] if sample["split"] == "train")
    content["samples"].append(train_sample | {"id": "copy.tif", "split": "val"})
    write_json(index, content)
    with pytest.raises(LeakError, match=r"copy\.tif"):
        train(workspace)


def test_too_little_memory_and_images_that_are_gone_are_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_task, "fit", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(SettingsError, match="not enough memory; halve BATCH_SIZE"):
        train(workspace)
    workspace.path("data/raw/image 1.tif").unlink()
    with pytest.raises(IndexingError, match=r"1 images are gone \(data/raw/image 1\.tif\)"):
        train(workspace)


def test_no_training_image_says_what_to_do(workspace: Workspace) -> None:
    with pytest.raises(IndexingError, match="DATASETS names other"):
        train(workspace, 'DATASETS=["other"]')


def test_a_split_without_validation_is_warned_of(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    index = workspace.path("json/master_labeled_dataset.json")
    content = read_json(index)
    samples = [sample | {"split": sample["split"].replace("val", "test")} for sample in content["samples"]]
    write_json(index, content | {"samples": samples})
    assert load_checkpoint(train(workspace).model).epoch == 2
    assert "There is no validation image: the last epoch is kept" in caplog.text


def test_three_labelled_images_are_enough(workspace: Workspace) -> None:
    for number in range(3, 6):
        workspace.path(f"data/raw/image {number}.tif").unlink()
        workspace.path(f"data/labeled/image {number}.png").unlink()
    workspace.path("json/splits.json").unlink()
    index_task.run(load_settings("index", workspace).settings, workspace)
    assert np.isfinite(train(workspace).history.best_score)


def test_a_class_that_no_mask_shows_is_named(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    classes = class_map(load_settings("index", workspace).settings)
    for path in workspace.path("data/labeled").iterdir():
        write_mask(path, np.zeros((48, 48), np.uint8), classes)
    index_task.run(load_settings("index", workspace).settings, workspace)
    with caplog.at_level(logging.WARNING):
        trained = train(workspace)
    assert "No training mask shows SE, AM" in caplog.text
    assert trained.history.best_score <= 1.0


@pytest.mark.parametrize("weights", ["balanced", "[1, 2, 3]"])
def test_class_weights_are_taken(workspace: Workspace, weights: str) -> None:
    plain, weighted = train(workspace), train(workspace, f"CLASS_WEIGHTS={weights}")
    assert plain.history.rows[0]["loss"] != weighted.history.rows[0]["loss"]


def test_two_processes_train_together(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "srpu"]
    command += ["train", "--workspace", str(workspace.root)]
    command += [part for override in SMALL for part in ("--set", override)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Epoch 2/2") == 1
    assert "by 2 processes" in done.stdout
    (model,) = workspace.path("models/checkpoints").glob("*/best_model.pth")
    assert load_checkpoint(model).epoch in (1, 2)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_with_one_sentence(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "srpu", "train", "--workspace", str(workspace.root)]
    command += [part for override in [*SMALL, "NUM_EPOCHS=500"] for part in ("--set", override)]
    # A suite that a script started in the background ignores Ctrl-C, and its children would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("Epoch 2/"):
                break
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "All finished epochs are kept: `srpu train --resume` goes on from there." in error
    assert "Traceback" not in error


def test_wandb_works_offline_without_an_account(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "srpu", "train", "--workspace", str(workspace.root)]
    command += [part for override in [*SMALL, "LOGGER=wandb"] for part in ("--set", override)]
    quiet = {**os.environ, "WANDB_SILENT": "true", "WANDB_API_KEY": "", "HOME": str(workspace.root)}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=quiet, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (record,) = workspace.path("wandb").glob("offline-run-*/run-*.wandb")
    assert record.stat().st_size > 1000
