"""From settings and an index to arrays."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from srpu.config import load_settings
from srpu.data.images import read_image, write_image
from srpu.data.masks import IGNORE, write_mask
from srpu.errors import CheckpointError, IndexingError, LeakError, MaskError, SettingsError
from srpu.manual import write_configs
from srpu.settings import InferenceSettings, TrainSettings
from srpu.tasks import index_task
from srpu.tasks.wiring import (
    Opener,
    augmenter,
    class_map,
    encoder_weights,
    enough_memory,
    load_records,
    newest_checkpoint,
    refuse_leaks,
)
from srpu.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    write_configs(made.configs)
    classes = class_map(load_settings("index", made).settings)
    random = np.random.default_rng(0)
    for number in range(3):
        write_image(made.path(f"data/raw/{number}.tif"), random.integers(0, 4096, (40, 30)).astype(np.uint16))
        write_mask(made.path(f"data/labeled/{number}.png"), random.integers(0, 3, (40, 30)).astype(np.uint8), classes)
    index_task.run(load_settings("index", made).settings, made)
    return made


def settings(workspace: Workspace, *overrides: str) -> TrainSettings:
    return load_settings("train", workspace, overrides).settings


def test_the_data_bar_is_cut_off_for_training_alone(workspace: Workspace) -> None:
    asked = settings(workspace, "DATABAR_ROWS=8")
    opener, record = Opener(asked, workspace), load_records(asked, workspace)[0]
    image = opener.labelled(record)
    assert (image.height, image.width) == (32, 30)
    assert image.open_image().shape == image.open_mask().shape == (32, 30)
    assert opener.image(record).shape == opener.mask(record).shape == (40, 30)
    assert image.open_image().dtype == np.uint16


def test_a_mask_that_ends_above_the_bar_is_filled_with_ignore(workspace: Workspace) -> None:
    asked = settings(workspace, "DATABAR_ROWS=8")
    write_mask(workspace.path("data/labeled/0.png"), np.zeros((32, 30), np.uint8), class_map(asked))
    index_task.run(load_settings("index", workspace, ["DATABAR_ROWS=8"]).settings, workspace)
    record = next(record for record in load_records(asked, workspace) if record.id == "0.tif")
    mask = Opener(asked, workspace).mask(record)
    assert (mask[32:] == IGNORE).all()
    with pytest.raises(MaskError, match="DATABAR_ROWS = 8"):
        Opener(settings(workspace), workspace).mask(record)


def test_an_image_that_changed_since_indexing_is_named(workspace: Workspace) -> None:
    record = load_records(settings(workspace), workspace)[0]
    write_image(workspace.path(record.image), np.zeros((40, 30), np.uint16))
    with pytest.raises(IndexingError, match=r"has changed since it was indexed; run `srpu index`"):
        Opener(settings(workspace), workspace).image(record)


def test_a_corrected_mask_is_read_anew(workspace: Workspace) -> None:
    asked = settings(workspace)
    record = load_records(asked, workspace)[0]
    before = np.array(Opener(asked, workspace).mask(record))
    assert record.mask is not None
    write_mask(workspace.path(record.mask), (2 - before).astype(np.uint8), class_map(asked))
    np.testing.assert_array_equal(Opener(asked, workspace).mask(record), 2 - before)


def test_a_deleted_mask_is_named(workspace: Workspace) -> None:
    record = load_records(settings(workspace), workspace)[0]
    assert record.mask is not None
    workspace.path(record.mask).unlink()
    with pytest.raises(IndexingError, match="is gone; run `srpu index`"):
        Opener(settings(workspace), workspace).mask(record)


def test_unknown_data_sets_are_named_beside_those_there_are(workspace: Workspace) -> None:
    with pytest.raises(IndexingError, match=r"DATASETS names other.*it holds labeled"):
        load_records(settings(workspace, 'DATASETS=["labeled", "other"]'), workspace)


def test_a_judged_image_that_was_trained_on_is_a_leak(workspace: Workspace) -> None:
    records = load_records(settings(workspace), workspace, "val")
    refuse_leaks({records[0].sha256: "val"}, records)
    with pytest.raises(LeakError, match=records[0].id):
        refuse_leaks({records[0].sha256: "train"}, records)


def test_the_newest_best_model_is_taken(workspace: Workspace) -> None:
    asked = InferenceSettings()
    with pytest.raises(CheckpointError, match="srpu train"):
        newest_checkpoint(asked, workspace)
    for age, name in enumerate(("new", "old")):
        path = workspace.path(f"models/checkpoints/{name}/best_model.pth")
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert newest_checkpoint(asked, workspace).parent.name == "new"
    named = InferenceSettings(CHECKPOINT_PATH="my model.pth")
    assert newest_checkpoint(named, workspace) == workspace.path("my model.pth")


def test_switched_off_augmentations_are_off(workspace: Workspace) -> None:
    off = [
        f"{name}.enabled=False"
        for name in ("FLIP", "FLIP_VERTICAL", "ROTATE_90", "ROTATE", "SCALE", "GAIN", "OFFSET", "GAMMA")
    ]
    made = augmenter(settings(workspace, *off, "BLUR.p=0.25", "NOISE.range=[0.1, 0.3]"))
    assert made.source_size == made.crop == 256
    assert made.gain.p == made.flip.p == made.flip_vertical.p == 0
    assert made.blur.p == 0.25
    assert (made.noise.low, made.noise.high) == (0.1, 0.3)


def test_weights_in_the_workspace_are_found_wherever_one_stands(workspace: Workspace) -> None:
    workspace.path("resnet.pth").touch()
    assert encoder_weights(settings(workspace, "ENCODER_WEIGHTS=resnet.pth"), workspace) == str(
        workspace.path("resnet.pth")
    )
    assert encoder_weights(settings(workspace, "ENCODER_WEIGHTS=imagenet"), workspace) == "imagenet"


def test_an_image_that_was_replaced_is_noticed_though_it_is_cached(workspace: Workspace) -> None:
    opener, record = Opener(settings(workspace), workspace), load_records(settings(workspace), workspace)[0]
    opener.image(record)
    path = workspace.path(record.image)
    write_image(path, read_image(path)[::-1].copy())
    with pytest.raises(IndexingError, match="has changed since it was indexed"):
        Opener(settings(workspace), workspace).image(record)


def test_weights_of_a_data_set_that_is_not_there_are_refused(workspace: Workspace) -> None:
    with pytest.raises(IndexingError, match=r"DATASET_WEIGHTS names labelled, .* it holds labeled"):
        load_records(settings(workspace, 'DATASET_WEIGHTS={"labelled": 5}'), workspace)


def test_an_interrupted_run_is_named_where_a_model_is_missing(workspace: Workspace) -> None:
    path = workspace.path("models/checkpoints/train_unet_unet/20260101-000000/best_model.pth")
    path.parent.mkdir(parents=True)
    path.touch()
    path.with_name("state.pth").touch()
    with pytest.raises(CheckpointError, match=r"srpu train --resume.*20260101-000000"):
        newest_checkpoint(InferenceSettings(), workspace)


def test_a_later_run_that_was_interrupted_is_named(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    folder = workspace.path("models/checkpoints/train_unet_unet")
    for number, name in enumerate(
        ["best_model.pth", "1/best_model.pth", "1/last_model.pth", "2/best_model.pth", "2/state.pth"]
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
        os.utime(folder / name, (number, number))
    assert newest_checkpoint(InferenceSettings(), workspace) == folder / "best_model.pth"
    assert f"CHECKPOINT_PATH takes its {folder / '2' / 'best_model.pth'}" in caplog.text


def test_exhausted_memory_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="not enough memory; halve BATCH_SIZE"), enough_memory("halve BATCH_SIZE"):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="another"), enough_memory("halve BATCH_SIZE"):
        raise RuntimeError("another")
