"""Fine-tuning as a user starts it: where weights come from, what stands still, what is not forgotten."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tasks.conftest import blobs
from torch import Tensor

from srpu.config import load_settings
from srpu.data.images import write_image
from srpu.data.index import read_manifest
from srpu.data.masks import write_mask
from srpu.errors import CheckpointError, LeakError, SettingsError
from srpu.files import read_json
from srpu.learn.checkpoint import load_checkpoint, save_tensors
from srpu.learn.loop import Course
from srpu.models.encoders import build_encoder
from srpu.tasks import finetune_task, index_task, train_task, training_job
from srpu.tasks.replay import REPLAYED, balance, with_replay
from srpu.tasks.start import Source, present, sources
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
OLD = "models/checkpoints/train_unet_unet/best_model.pth"


def train(workspace: Workspace, *overrides: str) -> train_task.Trained:
    return train_task.run(load_settings("train", workspace, [*SMALL, *overrides]).settings, workspace)


def finetune(workspace: Workspace, *overrides: str, resume: bool = False) -> finetune_task.Finetuned:
    settings = load_settings("finetune", workspace, [*SMALL, *overrides]).settings
    return finetune_task.run(settings, workspace, resume=resume)


@pytest.fixture
def two(workspace: Workspace) -> Workspace:
    """The workspace with a second data set, "other", and a model that has seen only the first."""
    classes = class_map(load_settings("index", workspace).settings)
    for number in range(6):
        image, ids = blobs(100 + number)
        write_image(workspace.path(f"datasets/other/raw_images/o{number}.tif"), 255 - image)
        write_mask(workspace.path(f"datasets/other/masks_3class/o{number}.png"), ids, classes)
    index_task.run(load_settings("index", workspace).settings, workspace, grow_truth=True)
    train(workspace, "DATASETS=['labeled']", "STEPS_PER_EPOCH=20", "LEARNING_RATE=0.003")
    return workspace


def encoder(path: Path) -> dict[str, Tensor]:
    weights = load_checkpoint(path).model_state_dict
    return {name: value for name, value in weights.items() if name.startswith("encoder.")}


def test_a_frozen_encoder_arrives_whole_and_stays_as_it_was(two: Workspace) -> None:
    tuned = finetune(two, f"PRETRAINED_MODEL_PATH={OLD}", "DATASETS=['other']", "FREEZE_ENCODER=True")
    before, after = encoder(two.path(OLD)), encoder(tuned.model)
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # running means included
    assert not torch.equal(
        load_checkpoint(two.path(OLD)).model_state_dict["head.weight"],
        load_checkpoint(tuned.model).model_state_dict["head.weight"],
    )
    start = read_json(tuned.folder / "run.json")["start"]
    assert (start["named_by"], start["share"], start["missing"]) == ("PRETRAINED_MODEL_PATH", 1.0, 0)


def test_the_encoder_is_trained_from_the_epoch_that_is_named(two: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tuned = finetune(
            two, f"PRETRAINED_MODEL_PATH={OLD}", "DATASETS=['other']", "FREEZE_ENCODER=True", "UNFREEZE_EPOCH=2"
        )
    assert "From epoch 2 on, the encoder is trained too." in caplog.text
    before, last = encoder(two.path(OLD)), encoder(tuned.folder / "last_model.pth")
    assert any(not torch.equal(value, last[name]) for name, value in before.items())


def test_old_and_new_data_sets_are_judged_before_and_after(two: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tuned = finetune(two, f"PRETRAINED_MODEL_PATH={OLD}", "DATASETS=['other']", "STEPS_PER_EPOCH=20")
    old, new = tuned.changes
    assert (old.dataset, old.old, new.dataset, new.old) == ("labeled", True, "other", False)
    assert old.before == pytest.approx(load_checkpoint(two.path(OLD)).val_dice)
    assert new.after == pytest.approx(load_checkpoint(tuned.model).val_dice)
    assert new.before is not None
    assert new.after > new.before  # the tones are inverted there, which the old model has not seen
    assert f"new other: {new.before:.4f} → {new.after:.4f}" in caplog.text
    assert [change["dataset"] for change in read_json(tuned.folder / "run.json")["changes"]] == ["labeled", "other"]


def test_replay_mixes_old_training_images_into_every_batch(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = training_job.CropSampler

    def watched(images, **options):  # type: ignore[no-untyped-def]
        seen.append(([(image.name, image.dataset) for image in images], options["weights"]))
        return real(images, **options)

    monkeypatch.setattr(training_job, "CropSampler", watched)
    tuned = finetune(two, f"PRETRAINED_MODEL_PATH={OLD}", "DATASETS=['other']", "REPLAY_FRACTION=0.25")
    ((images, weights),) = seen
    kinds = [dataset for _, dataset in images]
    assert (kinds.count(REPLAYED), kinds.count("other")) == (4, 5)
    assert weights[REPLAYED] / (weights[REPLAYED] + weights["other"]) == pytest.approx(0.25)
    assert len(read_json(tuned.folder / "run.json")["replayed"]) == 4
    manifest = read_manifest(two.path("json/master_labeled_dataset.json"))
    old_validation = {record.sha256 for record in manifest if record.dataset == "labeled" and record.split == "val"}
    trained_on = load_checkpoint(tuned.model).trained_on
    assert {trained_on[sha256] for sha256 in old_validation} == {"val"}  # what the old model knew is not forgotten


def test_new_images_of_the_same_data_set_are_told_from_the_old_ones(two: Workspace) -> None:
    settings = load_settings("finetune", two, ["REPLAY_FRACTION=0.5"]).settings
    records = [r for r in read_manifest(two.path("json/master_labeled_dataset.json")) if r.dataset == "labeled"]
    old = [record.sha256 for record in records if record.split == "train"][:3]
    joined = with_replay(records, old, records, 0.5)
    assert len(joined) == len(records)
    assert sorted(r.dataset for r in joined if r.split == "train") == ["labeled"] + [REPLAYED] * 3
    with pytest.raises(SettingsError, match="there is nothing new to mix them into"):
        with_replay(records, [record.sha256 for record in records if record.split == "train"], records, 0.5)
    with pytest.raises(SettingsError, match=r"REPLAY_FRACTION = 0.5 needs images .* the index holds none"):
        with_replay(records, [], records, 0.5)
    assert balance(settings, []) == {}


def test_a_slower_encoder_has_its_own_learning_rate(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[float] = []
    real = train_task.build_optimizer

    def watched(*args, **options):  # type: ignore[no-untyped-def]
        optimizer = real(*args, **options)
        groups.extend(group["lr"] for group in optimizer.param_groups)
        return optimizer

    monkeypatch.setattr(train_task, "build_optimizer", watched)
    finetune(two, f"PRETRAINED_MODEL_PATH={OLD}", "ENCODER_LR_FACTOR=0.1", "LEARNING_RATE=0.001", "NUM_EPOCHS=1")
    assert groups == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_the_same_bits_after_an_interruption(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (
        f"PRETRAINED_MODEL_PATH={OLD}",
        "DATASETS=['other']",
        "REPLAY_FRACTION=0.5",
        "FREEZE_ENCODER=True",
        "UNFREEZE_EPOCH=3",
        "NUM_EPOCHS=3",
    )
    whole = finetune(two, *asked)
    real, calls = train_task.Validation.__call__, []

    def dying(self: train_task.Validation, model: torch.nn.Module) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, model)

    monkeypatch.setattr(train_task.Validation, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        finetune(two, *asked)
    monkeypatch.undo()
    two.path(OLD).rename(two.path("moved.pth"))  # a run that goes on does not need it any more
    resumed = finetune(two, *asked, resume=True)
    weights = [load_checkpoint(run.folder / "last_model.pth") for run in (whole, resumed)]
    assert all(
        torch.equal(value, weights[1].model_state_dict[name]) for name, value in weights[0].model_state_dict.items()
    )
    assert weights[0].trained_on == weights[1].trained_on


@pytest.mark.parametrize(
    ("named", "there", "winner"),
    [
        (["model", "encoder"], ["model", "encoder"], "PRETRAINED_MODEL_PATH"),
        (["model", "encoder"], ["encoder"], "PRETRAINED_ENCODER_PATH"),
        (["encoder"], ["encoder"], "PRETRAINED_ENCODER_PATH"),
        (["model", "encoder"], [], None),
        (["model"], [], None),
        ([], [], None),
    ],
)
def test_the_first_file_that_is_there_wins(
    workspace: Workspace, named: list[str], there: list[str], winner: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    for part in there:
        save_tensors(workspace.path(f"{part}.pth"), {})
    overrides = [f"PRETRAINED_{part.upper()}_PATH={part}.pth" for part in named]
    wanted = sources(load_settings("finetune", workspace, overrides).settings, workspace)
    source = present(wanted, "warn")
    assert (source.named_by if source else None) == winner
    missing = [part for part in named if part not in there]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(missing)
    for part in missing:
        assert f"PRETRAINED_{part.upper()}_PATH: there is no file {workspace.path(f'{part}.pth')}" in caplog.text
    if missing:
        with pytest.raises(CheckpointError, match="there is no file"):
            present(wanted, "error")


def test_a_model_path_without_the_switch_is_said_not_to_be_used(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings("train", workspace, ["PRETRAINED_MODEL_PATH=a.pth"]).settings
    assert sources(settings, workspace) == []
    assert "PRETRAINED_MODEL_PATH is not used, because USE_PRETRAINED_MODEL = False." in caplog.text
    settings = load_settings("train", workspace, ["PRETRAINED_MODEL_PATH=a.pth", "USE_PRETRAINED_MODEL=True"]).settings
    assert sources(settings, workspace) == [Source("PRETRAINED_MODEL_PATH", workspace.path("a.pth"), "model")]


def test_a_file_that_does_not_fit_stops_before_the_first_epoch(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("an epoch has begun")

    monkeypatch.setattr(train_task, "Course", lambda **options: Course(**{**options, "step": never}))  # type: ignore[arg-type]
    two.path("broken.pth").write_bytes(two.path(OLD).read_bytes()[:1000])
    save_tensors(two.path("other.pth"), {"state_dict": {"a": torch.ones(2)}})
    for path, message in {
        "broken.pth": "broken.pth",
        "other.pth": "holds an encoder only|holds no weights for this model",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            finetune(two, f"PRETRAINED_MODEL_PATH={path}")
    with pytest.raises(CheckpointError, match=r"is a unet \+ unet, not resnet18 \+ unet"):
        finetune(two, f"PRETRAINED_MODEL_PATH={OLD}", "ENCODER_NAME=resnet18")


def test_images_that_the_first_weights_were_trained_on_cannot_judge(two: Workspace) -> None:
    records = read_manifest(two.path("json/master_labeled_dataset.json"))
    judged = next(record for record in records if record.dataset == "other" and record.split == "val")
    content = torch.load(two.path(OLD), weights_only=True)
    content["trained_on"][judged.sha256] = "train"
    save_tensors(two.path("leaky.pth"), content)
    with pytest.raises(LeakError, match="used to train the first weights"):
        finetune(two, "PRETRAINED_MODEL_PATH=leaky.pth", "DATASETS=['other']")


def test_judging_on_images_of_the_pretraining_is_warned_of(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    records = read_manifest(workspace.path("json/master_labeled_dataset.json"))
    judged = [record.sha256 for record in records if record.split == "val"]
    state = {f"encoder.{name}": value for name, value in build_encoder("unet").state_dict().items()}
    content = {"kind": "ssl_encoder", "encoder": "unet", "model_state_dict": state}
    save_tensors(workspace.path("encoder.pth"), {**content, "pretrained_on": {judged[0]: "pretrain"}})
    trained = train(workspace, "PRETRAINED_ENCODER_PATH=encoder.pth", "NUM_EPOCHS=1")
    assert "1 images to judge on took part in pretraining, without their masks" in caplog.text
    assert load_checkpoint(trained.model).trained_on[judged[0]] == "pretrain"
    start = read_json(trained.folder / "run.json")["start"]
    assert (start["named_by"], start["share"]) == ("PRETRAINED_ENCODER_PATH", 1.0)
    caplog.clear()
    trained = train(workspace, "ENCODER_WEIGHTS=encoder.pth", "NUM_EPOCHS=1")  # the older way to name it is as honest
    assert "took part in pretraining" in caplog.text
    assert read_json(trained.folder / "run.json")["start"]["named_by"] == "ENCODER_WEIGHTS"


def test_another_normalisation_is_warned_of(two: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    finetune(two, f"PRETRAINED_MODEL_PATH={OLD}", "NORMALIZATION=none", "NUM_EPOCHS=1")
    assert "These weights know images normalised by 'zscore', here it is 'none'" in caplog.text


def test_without_any_weights_it_says_that_it_starts_from_nothing(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    tuned = finetune(workspace, "NUM_EPOCHS=1")
    assert "names a file: it starts from nothing" in caplog.text
    assert read_json(tuned.folder / "run.json")["start"] == {"named_by": "random weights"}
    assert np.isfinite(tuned.changes[0].after)
    assert tuned.changes[0].before is None
