"""What encoders promise, and where their weights come from."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from srpu.errors import CheckpointError, ModelError
from srpu.models.encoders import build_encoder
from srpu.models.promise import Encoder


def shape_of(encoder: Encoder, height: int = 64, width: int = 96) -> list[tuple[int, ...]]:
    with torch.inference_mode():
        return [tuple(feature.shape) for feature in encoder.eval()(torch.randn(1, encoder.in_channels, height, width))]


@pytest.mark.parametrize(
    ("name", "coarsest", "strides"),
    [
        ("unet", 32, (1, 2, 4, 8, 16)),
        ("resnet18", 32, (2, 4, 8, 16, 32)),
        ("resnet18", 16, (2, 4, 8, 16, 16)),
        ("efficientnet_b0", 16, (2, 4, 8, 16, 16)),
        ("test_convnext", 32, (4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", 16, (4, 8, 16, 32)),
        ("dinov2_vits14", 32, (2, 4, 8, 16, 32)),
        ("dinov2_vits14", 16, (2, 4, 8, 16)),
    ],
)
def test_the_promise_is_kept(name: str, coarsest: int, strides: tuple[int, ...]) -> None:
    encoder = build_encoder(name, coarsest=coarsest)
    assert encoder.strides == strides
    promised = [(1, c, 64 // s, 96 // s) for c, s in zip(encoder.out_channels, strides, strict=True)]
    assert shape_of(encoder) == promised


def test_a_transformer_sees_fine_edges() -> None:
    encoder = build_encoder("test_vit").eval()
    image = torch.zeros(1, 1, 64, 64)
    image[..., 20, 20] = 1
    with torch.inference_mode():
        difference = (encoder(image)[0] - encoder(torch.zeros_like(image))[0]).abs().sum(dim=1)[0]
    assert difference.nonzero().tolist() == [[10, 10]]  # one pixel in, one out, at half the resolution


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_18", "did you mean 'resnet18'"),
        ("zzz", "no such encoder. Choose one of unet, resnet18"),
        ("test_mambaout0", "did you mean 'test_mambaout'"),
        ("levit_128s", r"cannot be an encoder for images of any size \(.+\); choose one of unet"),
    ],
)
def test_unknown_and_unfit_names(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_encoder(name)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("unet", "imagenet", "nobody offers pretrained weights for the plain 'unet'"),
        ("resnet18", "a9_in1k", "no such weights for 'resnet18', but imagenet, a1_in1k"),
        ("efficientnet_b7", "imagenet", "no such weights for 'efficientnet_b7', but some for efficientnet_b5"),
    ],
)
def test_weights_that_nobody_has(name: str, weights: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_encoder(name, weights=weights)


def test_without_internet_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"needs internet.+HF_ENDPOINT.+path of a file") as caught:
        build_encoder("resnet18", weights="imagenet")
    assert "\n" not in str(caught.value)


def colour_weights(name: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    weights: dict[str, Tensor] = timm.create_model(name, num_classes=10).state_dict()
    return weights


@pytest.mark.parametrize(("name", "suffix"), [("test_resnet", ".pth"), ("test_efficientnet", ".safetensors")])
def test_timm_weights_for_colour_give_the_same_features_in_grey(
    name: str, suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights, path = colour_weights(name), tmp_path / f"权重 1{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save({"state_dict": weights}, path)
    with caplog.at_level(logging.INFO):
        grey = build_encoder(name, weights=str(path)).eval()
    colour = timm.create_model(name, features_only=True).eval()
    colour.load_state_dict(weights, strict=False)
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        for ours, theirs in zip(grey(image), colour(image.expand(1, 3, 64, 64)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert "100.0 % of the parameters" in caplog.text


def official_dinov2(width: int = 384, depth: int = 12) -> dict[str, Tensor]:
    """Random weights under the names and shapes of the official ViT-S/14 file."""
    block = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "ls1.gamma": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (4 * width, width),
        "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width),
        "mlp.fc2.bias": (width,),
        "ls2.gamma": (width,),
    }
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 37 * 37, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        **{f"blocks.{n}.{name}": shape for n in range(depth) for name, shape in block.items()},
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_official_dinov2_weights_all_arrive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights, path = official_dinov2(), tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save(weights, path)
    with caplog.at_level(logging.INFO):
        encoder = build_encoder("dinov2_vits14", weights=str(path))
    loaded = encoder.body.state_dict()
    assert "1 unexpected (mask_token), 0 of another shape." in caplog.text
    assert all(record.levelno == logging.INFO for record in caplog.records)
    assert torch.equal(loaded["pos_embed"], weights["pos_embed"])
    assert torch.equal(loaded["blocks.11.ls2.gamma"], weights["blocks.11.ls2.gamma"])
    colour = weights["patch_embed.proj.weight"]
    torch.testing.assert_close(loaded["patch_embed.proj.weight"], colour.sum(dim=1, keepdim=True))
    assert set(loaded) == set(weights) - {"mask_token"}


def test_a_position_embedding_of_another_size_is_resampled(tmp_path: Path) -> None:
    weights, path = colour_weights("test_vit"), tmp_path / "vit.pth"
    prefix = weights["pos_embed"][:, :1]
    weights["pos_embed"] = torch.cat([prefix, torch.full((1, 81, prefix.shape[-1]), 0.5)], dim=1)
    torch.save(weights, path)
    loaded = build_encoder("test_vit", weights=str(path)).body.state_dict()["pos_embed"]
    assert torch.equal(loaded[:, :1], prefix)
    torch.testing.assert_close(loaded[:, 1:], torch.full_like(loaded[:, 1:], 0.5))


@pytest.mark.parametrize("name", ["unet", "test_resnet", "test_vit"])
def test_our_own_encoder_comes_back_whole(name: str, tmp_path: Path) -> None:
    trained, path = build_encoder(name), tmp_path / "best_model.pth"
    state = {f"encoder.{key}": value for key, value in trained.state_dict().items()}
    torch.save({"model_state_dict": {**state, "head.weight": torch.zeros(1)}, "epoch": 3}, path)
    again = build_encoder(name, weights=str(path)).state_dict()
    assert all(torch.equal(again[key], value) for key, value in trained.state_dict().items())


def test_weights_of_half_the_encoder_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "half.pth"
    weights = build_encoder("unet").state_dict()
    torch.save({key: value for key, value in weights.items() if not key.startswith("levels.4")}, path)
    build_encoder("unet", weights=str(path))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "missing (levels.4.0.0.weight" in record.getMessage()


def test_files_that_are_no_weights_for_this_encoder(tmp_path: Path) -> None:
    cases = {
        "other.pth": (
            {"fc.weight": torch.zeros(2)},
            "no weights for this encoder: it has fc.weight, wanted are levels",
        ),
        "shape.pth": (
            {"levels.0.0.0.weight": torch.zeros(2, 1, 3, 3)},
            "another model: 1 of its weights have another shape, levels.0.0.0.weight",
        ),
        "list.pth": ([torch.zeros(2)], "holds a list, not named weights"),
    }
    for name, (content, message) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match=message):
            build_encoder("unet", weights=str(tmp_path / name))


def test_unreadable_and_unsafe_files(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights", encoding="utf-8")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(tmp_path / "harm"), protocol=2))
    torch.save({"weight": Evil(tmp_path / "harm")}, tmp_path / "evil_zip.pth")
    for path in tmp_path.iterdir():
        with pytest.raises(CheckpointError, match=r"cannot be read as weights|was refused"):
            build_encoder("unet", weights=str(path))
    assert not (tmp_path / "harm").exists()
    with pytest.raises(CheckpointError, match="There is no file"):
        build_encoder("unet", weights=str(tmp_path / "missing.pth"))


class Evil:
    """Would write a file if a loader let it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)
