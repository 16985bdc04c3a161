"""Every weight that is carried over is accounted for, whatever the file looks like."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from srpu.errors import CheckpointError
from srpu.models import transfer
from srpu.models.encoders import build_encoder
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.models.transfer import Transfer, transfer_encoder
from srpu.models.weights import read_weights

CLASSES = ("carbon", "SE", "AM")


def made(seed: int, classes: int = 3, encoder: str = "test_vit", decoder: str = "unet", channels: int = 1) -> Segmenter:
    torch.manual_seed(seed)
    return build_segmenter(encoder, decoder, classes, in_channels=channels)


def saved(path: Path, model: Segmenter, **facts: Any) -> Path:
    torch.save({"model_state_dict": model.state_dict(), "model": model.spec, "classes": list(CLASSES), **facts}, path)
    return path


def transfer_model(model: Segmenter, path: Path, classes: tuple[str, ...]) -> Transfer:
    return transfer.transfer_model(model, model.spec, path, classes)


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor], part: str = "") -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items() if name.startswith(part))


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict", "bare", "safetensors"])
def test_a_whole_model_arrives_whole(tmp_path: Path, prefix: str, wrapper: str) -> None:
    old, new = made(1), made(2)
    state = {prefix + name: value.contiguous() for name, value in old.state_dict().items()}
    path = tmp_path / ("旧 模型.safetensors" if wrapper == "safetensors" else "旧 模型.pth")
    if wrapper == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if wrapper == "bare" else {wrapper: state, "epoch": np.int64(3)}, path)
    arrived = transfer_model(new, path, CLASSES)
    assert equal(new.state_dict(), old.state_dict())
    assert (arrived.share, arrived.missing, arrived.unexpected, arrived.mismatched) == (1.0, (), (), ())


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "module.encoder.", "model.encoder."])
def test_an_encoder_arrives_whole(tmp_path: Path, prefix: str) -> None:
    old, new = build_encoder("test_vit"), build_encoder("test_vit")
    torch.save({prefix + name: value for name, value in old.state_dict().items()}, tmp_path / "encoder.pth")
    arrived = transfer_encoder(new, tmp_path / "encoder.pth")
    assert equal(new.state_dict(), old.state_dict())
    assert arrived.share == 1.0


def test_the_encoder_of_a_whole_model_is_taken_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = made(1), made(2)
    with caplog.at_level(logging.INFO):
        transfer_encoder(new.encoder, saved(tmp_path / "best_model.pth", old), "test_vit").report()
    assert equal(new.encoder.state_dict(), old.encoder.state_dict())
    assert "holds a whole model; only its encoder was taken" in caplog.text


def test_a_class_added_later_keeps_the_old_rows_by_name(tmp_path: Path) -> None:
    old, new = made(1), made(2, classes=4)
    before = new.head.weight.detach().clone()
    arrived = transfer_model(new, saved(tmp_path / "old.pth", old), ("AM", "carbon", "SE", "pore"))
    assert torch.equal(new.head.weight[:3], old.head.weight[[2, 0, 1]])
    assert torch.equal(new.head.bias[:3], old.head.bias[[2, 0, 1]])
    assert torch.equal(new.head.weight[3], before[3])
    assert arrived.notes == ("The head keeps what the file knows of AM, carbon, SE, pore starts anew",)
    assert arrived.mismatched == ()


def test_other_classes_get_a_new_head(tmp_path: Path) -> None:
    old, new = made(1), made(2, classes=2)
    before = new.head.weight.detach().clone()
    arrived = transfer_model(new, saved(tmp_path / "old.pth", old), ("matrix", "particle"))
    assert torch.equal(new.head.weight, before)
    assert equal(new.decoder.state_dict(), old.decoder.state_dict())
    assert arrived.mismatched == ("head.weight", "head.bias")
    (note,) = arrived.notes
    assert note == (
        "The file tells 3 classes (carbon, SE, AM) apart, here there are 2 (matrix, particle): the head starts anew"
    )


def test_first_layers_for_colour_and_grey(tmp_path: Path) -> None:
    grey, colour = made(1, encoder="test_resnet"), made(2, encoder="test_resnet", channels=3)
    name = next(key for key, value in colour.state_dict().items() if value.ndim == 4)
    (told,) = transfer_model(colour, saved(tmp_path / "grey.pth", grey), CLASSES).notes
    assert "spread from one channel over three" in told
    torch.testing.assert_close(colour.state_dict()[name].sum(1, keepdim=True), grey.state_dict()[name])
    again = made(3, encoder="test_resnet")
    transfer_model(again, saved(tmp_path / "colour.pth", colour), CLASSES)
    torch.testing.assert_close(again.state_dict()[name], grey.state_dict()[name])


def test_what_is_missing_and_unexpected_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = made(1), made(2)
    state = old.state_dict()
    missing = [name for name in state if name.startswith("decoder.levels.0.0") and not name.endswith("tracked")]
    torch.save(
        {name: value for name, value in state.items() if name not in missing} | {"ema": torch.ones(1)},
        tmp_path / "a.pth",
    )
    arrived = transfer_model(new, tmp_path / "a.pth", CLASSES)
    lacking = sum(state[name].numel() for name in missing)
    whole = sum(value.numel() for name, value in state.items() if not name.endswith("tracked"))
    assert arrived.missing == tuple(missing)
    assert arrived.unexpected == ("ema",)
    assert arrived.share == pytest.approx(1 - lacking / whole)
    assert arrived.state()["missing"] == len(missing)
    with caplog.at_level(logging.INFO):
        arrived.report()
    assert f"{len(missing)} missing (decoder.levels.0.0.0.weight" in caplog.text
    assert "1 unexpected (ema), 0 of another shape." in caplog.text


def test_files_that_do_not_fit_stop(tmp_path: Path) -> None:
    old = made(1)
    encoder = {f"encoder.{name}": value for name, value in old.encoder.state_dict().items()}
    torch.save({"model_state_dict": encoder, "encoder": "test_vit"}, tmp_path / "encoder.pth")
    torch.save(old.encoder.state_dict(), tmp_path / "bare.pth")
    torch.save({**encoder, "segmentation_head.0.weight": torch.ones(1)}, tmp_path / "smp.pth")
    saved(tmp_path / "whole.pth", old)
    torch.save({"model_state_dict": {}}, tmp_path / "empty.pth")
    for name, message in {
        "encoder.pth": "holds an encoder only, and a whole model is needed here: name it as PRETRAINED_ENCODER_PATH",
        "bare.pth": "holds no weights for this model: it has .*PRETRAINED_ENCODER_PATH if it is an encoder",
        "smp.pth": "has another decoder than unet, only its encoder fits",
        "empty.pth": "holds no weights, only model_state_dict",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            transfer_model(made(2), tmp_path / name, CLASSES)
    with pytest.raises(
        CheckpointError, match=r"is a test_vit \+ unet, not unet \+ unet: set ENCODER_NAME = 'test_vit'"
    ):
        transfer_model(made(2, encoder="unet"), tmp_path / "whole.pth", CLASSES)
    with pytest.raises(CheckpointError, match="holds a test_vit encoder, not unet"):
        transfer_encoder(build_encoder("unet"), tmp_path / "encoder.pth", "unet")


def test_numbers_of_numpy_pass_and_other_types_are_named(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2)}
    torch.save({"state_dict": tensors, "best": np.float32(0.5), "epoch": np.int64(3)}, tmp_path / "numbers.pth")
    assert read_weights(tmp_path / "numbers.pth").facts == {"best": 0.5, "epoch": 3}
    for old in (False, True):
        torch.save(
            {"state_dict": tensors, "args": Namespace(lr=1)},
            tmp_path / "args.pth",
            _use_new_zipfile_serialization=not old,
        )
        with pytest.raises(
            CheckpointError, match=r"holds argparse\.Namespace.*`srpu weights convert args\.pth NEW\.pth"
        ):
            read_weights(tmp_path / "args.pth")


def test_a_deeper_network_is_warned_of_and_broken_numbers_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deeper = build_encoder("resnet34").body.state_dict()
    torch.save({**deeper, "fc.weight": torch.ones(2, 2)}, tmp_path / "resnet34.pth")
    transfer_encoder(build_encoder("resnet18"), tmp_path / "resnet34.pth", "resnet18").report()
    assert "it may belong to a deeper one" in caplog.text
    caplog.clear()
    torch.save({**build_encoder("resnet18").body.state_dict(), "fc.weight": torch.ones(2, 2)}, tmp_path / "own.pth")
    transfer_encoder(build_encoder("resnet18"), tmp_path / "own.pth", "resnet18").report()
    assert "deeper" not in caplog.text
    broken = {name: value * float("nan") for name, value in made(1).state_dict().items()}
    torch.save(broken, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match="holds numbers that are none"):
        transfer_model(made(2), tmp_path / "nan.pth", CLASSES)
