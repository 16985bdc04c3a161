"""Pretraining as a user starts it: it never sees what is judged on, goes on after a stop, and its weights arrive."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from srpu.config import load_settings
from srpu.data.images import read_image, write_image
from srpu.errors import IndexingError, SettingsError, WorkspaceError
from srpu.files import locked, read_json, write_json
from srpu.learn.checkpoint import load_tensors
from srpu.learn.pretrained import load_pretrained, rebuild
from srpu.models.segmenter import build_segmenter
from srpu.tasks import index_task, ssl_pretrain_task
from srpu.tasks.ssl_pool import gather_pool
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
]


def index(workspace: Workspace) -> None:
    index_task.run(load_settings("index", workspace).settings, workspace)


def texture(seed: int, size: int = 48) -> np.ndarray:
    random = np.random.default_rng(1000 + seed)
    return np.kron(random.integers(0, 255, (size // 4, size // 4)), np.ones((4, 4))).astype(np.uint8)


def settings_of(workspace: Workspace, *overrides: str):  # type: ignore[no-untyped-def]
    return load_settings("pretrain", workspace, [*SMALL, *overrides]).settings


def pretrain(workspace: Workspace, *overrides: str, resume: bool = False) -> ssl_pretrain_task.Outcome:
    return ssl_pretrain_task.run(settings_of(workspace, *overrides), workspace, resume=resume)


def samples(workspace: Workspace, *splits: str) -> list[dict[str, str]]:
    content = read_json(workspace.path("json/master_labeled_dataset.json"))["samples"]
    return [sample for sample in content if sample["split"] in splits]


@pytest.mark.parametrize("method", ["mae", "autoencoder"])
@pytest.mark.parametrize(
    ("encoder", "decoder"), [("unet", "unet"), ("test_resnet", "deeplabv3plus"), ("test_vit", "deeplabv3plus")]
)
def test_every_tensor_arrives_in_a_segmenter(
    pool: Workspace, caplog: pytest.LogCaptureFixture, method: str, encoder: str, decoder: str
) -> None:
    asked = (f"ENCODER_NAME={encoder}", "CROP_SIZE=64", f"METHOD={method}", "NUM_EPOCHS=1", "STEPS_PER_EPOCH=1")
    done = pretrain(pool, *asked)
    assert done.encoder == pool.path(f"models/checkpoints/ssl_pretrained_{encoder}/best_ssl_encoder.pth")
    content = load_tensors(done.encoder)
    assert (content["kind"], content["method"], content["encoder"]) == ("ssl_encoder", method, encoder)
    assert (content["in_channels"], content["epoch"]) == (1, 1)
    assert content["normalisation"] == {"method": "zscore", "window": None}
    assert content["settings"]["METHOD"] == method
    assert set(content["pretrained_on"].values()) == {"pretrain"}
    assert all(name.startswith("encoder.") for name in content["model_state_dict"])
    with caplog.at_level(logging.INFO):
        segmenter = build_segmenter(encoder, decoder, 3, encoder_weights=str(done.encoder))
    ours = segmenter.encoder.state_dict()
    assert {f"encoder.{name}" for name in ours} == set(content["model_state_dict"])
    for name in ours:
        assert torch.equal(ours[name], content["model_state_dict"][f"encoder.{name}"]), name
    assert "100.0 % of the parameters" in caplog.text
    assert "random stay" not in caplog.text


def test_the_whole_network_is_kept_for_inspection(pool: Workspace) -> None:
    done = pretrain(pool)
    above = load_pretrained(done.folder.parent / "best_ssl_model.pth")
    assert above.epoch == done.history.best_epoch
    assert above.loss == -done.history.best_score
    encoder = load_tensors(done.encoder)["model_state_dict"]
    learned = [name for name in encoder if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert all(torch.equal(encoder[name], above.model_state_dict[name]) for name in learned)
    assert not torch.equal(
        encoder["encoder.levels.0.0.1.running_var"], above.model_state_dict["encoder.levels.0.0.1.running_var"]
    )  # measured anew, without hidden patches
    assert rebuild(above).spec == {"method": "mae", "encoder": "unet", "in_channels": 1}
    manifest = read_json(done.folder / "run.json")
    assert (manifest["status"], manifest["task"], manifest["unreadable"]) == ("finished", "pretrain", {})
    assert not list(
        pool.path("models/checkpoints").glob("*/**/best_model.pth")
    )  # no other verb may take it for a model


def test_it_learns_to_restore(pool: Workspace) -> None:
    done = pretrain(
        pool, "METHOD=autoencoder", "NUM_EPOCHS=4", "STEPS_PER_EPOCH=25", "WARMUP_EPOCHS=0.2", "LEARNING_RATE=0.004"
    )
    losses = [row["held_out/loss"] for row in done.history.rows]
    assert losses[-1] < 0.85 * losses[0]
    assert done.history.best_epoch == 4


def test_what_is_judged_on_is_left_out_under_any_name(pool: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    judged = samples(pool, "val", "test")
    index_file = pool.path("json/master_unlabeled_dataset.json")
    content = read_json(index_file)
    copy = content["samples"][0] | {"id": "copy.tif", "image": judged[0]["image"], "sha256": judged[0]["sha256"]}
    write_json(index_file, content | {"samples": [*content["samples"], copy]})
    with caplog.at_level(logging.INFO):
        done = pretrain(pool)
    hashes = set(load_tensors(done.encoder)["pretrained_on"])
    assert hashes.isdisjoint({sample["sha256"] for sample in judged})
    assert {sample["sha256"] for sample in samples(pool, "train")} <= hashes
    assert len(hashes) == 12 + 4
    assert "16 images to pretrain on, 12 of them without masks" in caplog.text
    assert "Kept away: the 2 validation and test images, also under other names: 1 (copy.tif)." in caplog.text


def test_a_validation_image_whose_mask_is_gone_stays_out(pool: Workspace) -> None:
    judged = samples(pool, "val")[0]
    pool.path(judged["mask"]).unlink()
    index(pool)
    unlabelled = read_json(pool.path("json/master_unlabeled_dataset.json"))["samples"]
    assert judged["sha256"] in {sample["sha256"] for sample in unlabelled}
    pool_hashes = {record.sha256 for record in gather_pool(settings_of(pool), pool).records}
    assert judged["sha256"] not in pool_hashes


def test_labelled_training_images_can_be_left_out_and_data_sets_chosen(pool: Workspace) -> None:
    only = gather_pool(settings_of(pool, "USE_LABELED_TRAINING_IMAGES=False"), pool)
    assert len(only.records) == 12
    chosen = gather_pool(settings_of(pool, 'DATASETS=["labeled"]'), pool)
    assert {record.dataset for record in chosen.records} == {"labeled"}
    with pytest.raises(IndexingError, match=r"DATASETS names nowhere, which the index does not hold; it holds"):
        gather_pool(settings_of(pool, 'DATASETS=["nowhere"]'), pool)


def test_with_folds_no_labelled_image_takes_part(pool: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        gathered = gather_pool(settings_of(pool, "FOLDS=2"), pool)
    assert len(gathered.records) == 12
    assert "Kept away: the 6 labelled images, which FOLDS judges on." in caplog.text


def test_whole_groups_are_held_out(pool: Workspace) -> None:
    gathered = gather_pool(settings_of(pool, "HELD_OUT_SHARE=0.25"), pool)
    assert len(gathered.held_out) == 4
    held = {record.group for record in gathered.records if record.split == "held out"}
    assert held.isdisjoint({record.group for record in gathered.records if record.split == "pretrain"})
    again = gather_pool(settings_of(pool, "HELD_OUT_SHARE=0.25"), pool)
    assert [record.id for record in again.records] == [record.id for record in gathered.records]


@pytest.mark.parametrize("method", ["mae", "autoencoder"])
def test_a_resumed_pretraining_ends_with_the_same_bits(
    pool: Workspace, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    asked = ("NUM_EPOCHS=3", f"METHOD={method}")
    first = pretrain(pool, *asked)
    real, calls = ssl_pretrain_task.HeldOut.__call__, []

    def dying(self: ssl_pretrain_task.HeldOut, model: torch.nn.Module) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, model)

    monkeypatch.setattr(ssl_pretrain_task.HeldOut, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        pretrain(pool, *asked)
    monkeypatch.undo()
    resumed = pretrain(pool, *asked, resume=True)
    assert resumed.folder != first.folder
    whole, again = (load_tensors(run.folder / "state.pth") for run in (first, resumed))
    for part in ("model", "average"):
        assert all(torch.equal(tensor, again[part][name]) for name, tensor in whole[part].items())
    files = [load_tensors(run.folder / "best_ssl_encoder.pth")["model_state_dict"] for run in (first, resumed)]
    assert all(torch.equal(tensor, files[1][name]) for name, tensor in files[0].items())
    numbers = [[(row["loss"], row["score"]) for row in state["history"]["rows"]] for state in (whole, again)]
    assert numbers[0] == numbers[1]


def test_resuming_keeps_the_settings_and_refuses_other_images(
    pool: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WorkspaceError, match="no run to continue"):
        pretrain(pool, resume=True)
    monkeypatch.setattr(ssl_pretrain_task, "_promote", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pretrain(pool)
    assert "`srpu pretrain --resume` goes on" in caplog.text
    monkeypatch.undo()
    assert not pool.path("models/checkpoints/ssl_pretrained_unet/best_ssl_encoder.pth").exists()
    write_image(pool.path("data/raw/new.tif"), texture(99))
    index(pool)
    with pytest.raises(WorkspaceError, match="have changed since"):
        pretrain(pool, resume=True)
    pool.path("data/raw/new.tif").unlink()
    index(pool)
    done = pretrain(pool, "METHOD=autoencoder", resume=True)
    assert "not taken: METHOD" in caplog.text
    assert load_tensors(done.encoder)["method"] == "mae"
    with pytest.raises(WorkspaceError, match="has finished"):
        pretrain(pool, resume=True)


def test_two_pretrainings_at_once_are_refused(pool: Workspace) -> None:
    lock = pool.path("models/checkpoints/ssl_pretrained_unet/.lock")
    with locked(lock, "A pretraining of this encoder"), pytest.raises(WorkspaceError, match="already running"):
        pretrain(pool)


@pytest.mark.parametrize("databar", ["0", "auto"])
def test_unreadable_files_are_skipped_and_named(
    pool: Workspace, caplog: pytest.LogCaptureFixture, databar: str
) -> None:
    pool.path("data/raw/unlabelled/扫描 03.tif").write_bytes(b"broken")
    write_image(pool.path("data/raw/unlabelled/扫描 05.tif"), texture(77))
    pool.path("data/raw/unlabelled/扫描 07.tif").unlink()
    done = pretrain(pool, "STEPS_PER_EPOCH=10", "BATCH_SIZE=4", f"DATABAR_ROWS={databar}")
    assert "3 images were left out:" in caplog.text
    assert "扫描 03.tif" in caplog.text
    assert len(read_json(done.folder / "run.json")["unreadable"]) == 3
    assert len(load_tensors(done.encoder)["pretrained_on"]) == 12 + 4 - 3


def test_nothing_readable_is_one_sentence(pool: Workspace) -> None:
    for path in pool.path("data/raw").rglob("*.tif"):
        path.unlink()
    with pytest.raises(IndexingError, match="can be read; run `srpu index` again"):
        pretrain(pool)


def test_three_images_are_used_with_a_warning(bare: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        write_image(bare.path(f"data/raw/{number}.tif"), texture(number))
    index(bare)
    done = pretrain(bare)
    assert "Only 3 images to learn from: pretraining will hardly help; put more into" in caplog.text
    assert done.encoder.is_file()


def test_one_image_cannot_be_held_out(bare: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    write_image(bare.path("data/raw/1.tif"), texture(1))
    index(bare)
    done = pretrain(bare)
    assert "no image to hold out: the last epoch is kept" in caplog.text
    assert done.history.best_epoch == 2


def test_the_last_pages_of_a_single_stack_are_held_out(bare: Workspace) -> None:
    import tifffile

    bare.path("data/raw").mkdir(parents=True)
    tifffile.imwrite(bare.path("data/raw/stack.tif"), np.stack([texture(page) for page in range(6)]))
    index(bare)
    gathered = gather_pool(settings_of(bare), bare)
    assert [record.id for record in gathered.records if record.split == "held out"] == ["stack.tif#0006"]


def test_an_empty_pool_says_what_to_do(pool: Workspace, bare: Workspace) -> None:
    with pytest.raises(IndexingError, match="There is no index"):
        pretrain(bare)
    for path in pool.path("data/raw/unlabelled").iterdir():
        path.unlink()
    index(pool)
    with pytest.raises(IndexingError, match=r"no image to pretrain on in .+ put images without masks into .+raw"):
        pretrain(pool, "USE_LABELED_TRAINING_IMAGES=False")


@pytest.mark.parametrize("override", ["ENCODER_NAME=test_resnet", "SHRINK=2", "SHRINK=4"])
def test_a_crop_that_does_not_fit_is_told(pool: Workspace, override: str) -> None:
    with pytest.raises(SettingsError, match=r"CROP_SIZE = 32 does not suit pretraining .+ use a multiple of \d+, at"):
        pretrain(pool, override)


def test_shrink_and_dataset_normalisation(pool: Workspace) -> None:
    done = pretrain(pool, "SHRINK=2", "CROP_SIZE=64", "NORMALIZATION=dataset", "NUM_EPOCHS=1")
    stored = load_tensors(done.encoder)["normalisation"]
    levels = np.concatenate([read_image(path).ravel() for path in pool.path("data/raw").rglob("*.tif")])
    assert stored["method"] == "dataset"
    assert abs(stored["window"][0] - levels.mean()) < 10


def test_tensorboard_gets_a_picture(pool: Workspace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = pretrain(pool, "LOGGER=tensorboard", "NUM_EPOCHS=1")
    events = EventAccumulator(str(pool.path(f"tensorboard/ssl_pretrained_unet_{done.folder.name}"))).Reload()
    assert "restoration" in events.Tags()["images"]
    assert "held_out/loss" in events.Tags()["scalars"]


def test_a_limit_of_minutes_ends_it(pool: Workspace) -> None:
    done = pretrain(pool, "NUM_EPOCHS=1000", "STEPS_PER_EPOCH=2", "MAX_MINUTES=0.02")
    assert done.history.epoch < 1000
    assert done.encoder.is_file()
