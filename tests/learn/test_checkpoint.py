"""Trained models on disk: they come back as they were, and nothing else is let in."""

import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from srpu.data.masks import ClassMap
from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError, WorkspaceError
from srpu.learn.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_tensors,
    rebuild_model,
    save_checkpoint,
    save_tensors,
)
from srpu.models.segmenter import build_segmenter

CLASSES = ClassMap(("碳", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))


def made(classes: ClassMap = CLASSES) -> Checkpoint:
    torch.manual_seed(0)
    model = build_segmenter("unet", "unet", len(classes))
    return Checkpoint(
        model.state_dict(),
        epoch=7,
        val_dice=0.875,
        model=model.spec,
        classes=classes,
        normalisation=Normalisation("window", (0.0, 4095.0)),
        settings={"CROP_SIZE": 256, "CLASS_NAMES": {"0": "碳"}},
        trained_on={"a" * 64: "train", "b" * 64: "val"},
        temperature=1.375,
    )


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "模型 1" / "best_model.pth", made()
    save_checkpoint(path, checkpoint)
    back = load_checkpoint(path, expect_classes=3)
    for name in (
        "epoch",
        "val_dice",
        "model",
        "classes",
        "normalisation",
        "settings",
        "trained_on",
        "temperature",
        "version",
    ):
        assert getattr(back, name) == getattr(checkpoint, name), name
    image = torch.randn(1, 1, 40, 40)
    original = build_segmenter("unet", "unet", 3)
    original.load_state_dict(checkpoint.model_state_dict)
    assert torch.equal(rebuild_model(back)(image), original.eval()(image))


def test_a_model_from_before_temperatures_has_temperature_one(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    save_checkpoint(path, made())
    content = load_tensors(path)
    del content["temperature"]
    save_tensors(path, content)
    assert load_checkpoint(path).temperature == 1.0


def test_another_number_of_classes_names_both(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pth", made())
    with pytest.raises(CheckpointError, match=r"tells 3 classes apart .*NUM_CLASSES = 4"):
        load_checkpoint(tmp_path / "model.pth", expect_classes=4)


class Evil:
    """What a stranger could put into a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("harm-was-done"),)  # type: ignore[return-value]


@pytest.mark.parametrize("write", [pickle.dump, lambda content, file: torch.save(content, file)])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "model.pth").open("wb") as file:
        write({"model_state_dict": Evil()}, file)
    with pytest.raises(CheckpointError, match="was refused"):
        load_checkpoint(tmp_path / "model.pth")
    assert not Path("harm-was-done").exists()


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="srpu train"):
        load_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize("size", [0, 3, 500, 20_000])
def test_a_truncated_file_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.pth"
    save_checkpoint(path, made())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(3)])
def test_other_files_of_torch_are_no_model(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        load_checkpoint(tmp_path / "model.pth")


def test_weights_of_another_network_are_refused() -> None:
    wrong = replace(made(), model={"encoder": "unet", "decoder": "unet", "classes": 5, "in_channels": 1})
    with pytest.raises(CheckpointError, match="do not fit"):
        rebuild_model(wrong)


def test_a_write_that_breaks_off_keeps_the_old_model(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows cannot limit the size of files")
    path = tmp_path / "best_model.pth"
    save_checkpoint(path, made())
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(WorkspaceError, match="the file is larger than that disk allows"):
            save_checkpoint(path, made())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_during_a_write_stays_ctrl_c(tmp_path: Path) -> None:
    class Interrupts:
        def __reduce__(self) -> object:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_tensors(tmp_path / "state.pth", {"weights": torch.zeros(3), "last": Interrupts()})
    assert not any(tmp_path.iterdir())


def test_whatever_is_wrong_with_a_file_is_one_error(tmp_path: Path) -> None:
    path, random = tmp_path / "model.pth", np.random.default_rng(0)
    torch.save({"model_state_dict": {"weight": torch.zeros(3)}, "epoch": 1}, path)
    whole = bytearray(path.read_bytes())
    for _ in range(300):
        damaged = whole.copy()
        for place in random.integers(0, len(whole), 5):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged[: random.integers(len(whole))] if random.random() < 0.3 else damaged)
        with suppress(CheckpointError):
            load_tensors(path)


def test_a_file_that_only_looks_like_a_model_is_refused(tmp_path: Path) -> None:
    parts = {"model_state_dict": {}, "model": {}, "classes": 3, "palette": None, "normalisation": "zscore"}
    save_tensors(tmp_path / "foreign.pth", parts)
    with pytest.raises(CheckpointError, match="not a model that SRPU trained"):
        load_checkpoint(tmp_path / "foreign.pth")
