"""Every family of encoders with every decoder, on images of odd sizes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from srpu.errors import CheckpointError, ModelError
from srpu.models import decoders
from srpu.models.segmenter import Segmenter, build_segmenter, rebuild_segmenter

FAMILIES = ("unet", "resnet18", "efficientnet_b0", "test_vit")
"""test_vit is timm's miniature of the transformers; DINOv2 itself is tested in test_encoders.py."""


def small(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return build_segmenter("test_vit", "unet", classes=3)


@pytest.mark.parametrize("decoder", decoders.NAMES)
@pytest.mark.parametrize("encoder", FAMILIES)
def test_any_size_and_a_gradient_for_every_weight(encoder: str, decoder: str) -> None:
    torch.manual_seed(0)
    model = build_segmenter(encoder, decoder, classes=3)

    logits = model(torch.randn(1, 1, 33, 47))  # a batch of one small crop is the hardest for batch normalisation
    functional.cross_entropy(logits, torch.randint(0, 3, (1, 33, 47))).backward()

    assert logits.shape == (1, 3, 33, 47)
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    unused = {name.split(".")[1] for name, gradient in gradients.items() if gradient is None}
    tokens_only = (encoder, decoder) == ("test_vit", "pspnet")  # it looks at the coarsest map alone
    assert unused == ({"detail", "detail_to_4", "to_8", "to_4"} if tokens_only else set())
    assert all(gradient.isfinite().all() for gradient in gradients.values() if gradient is not None)

    model.eval()
    with torch.inference_mode():
        for height, width in ((1, 1), (97, 64), (130, 130)):
            assert model(torch.randn(1, 1, height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize("encoder", FAMILIES)
def test_bfloat16_and_channels_last(encoder: str) -> None:
    model = build_segmenter(encoder, "unet", classes=3).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = functional.cross_entropy(model(torch.randn(2, 1, 64, 64)), torch.randint(0, 3, (2, 64, 64)))
    loss.backward()
    assert model.head.weight.grad is not None
    assert model.head.weight.grad.isfinite().all()


@pytest.mark.parametrize(("height", "width", "mode"), [(60, 50, "reflect"), (20, 64, "replicate"), (64, 64, "reflect")])
def test_images_are_continued_beyond_the_edge(height: int, width: int, mode: str) -> None:
    model = small().eval()
    image = torch.randn(2, 1, height, width)
    padded = functional.pad(image, (0, 64 - width, 0, 64 - height), mode=mode)
    with torch.inference_mode():
        torch.testing.assert_close(model(image), model(padded)[..., :height, :width])


def test_features_are_at_hand_between_encoding_and_decoding() -> None:
    model = small().eval()
    image = torch.randn(1, 1, 50, 70)
    with torch.inference_mode():
        features = model.encode(image)
        assert features[-1].shape[-2:] == (2, 3)
        assert torch.equal(model.decode(features, (50, 70)), model(image))


def test_the_same_seed_gives_the_same_model() -> None:
    image = torch.randn(1, 1, 40, 40)
    first, again, other = small(0)(image), small(0)(image), small(1)(image)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("encoder", "decoder"), [("unet", "unet"), ("resnet18", "deeplabv3plus"), ("test_vit", "fpn")])
def test_rebuilt_from_its_spec(encoder: str, decoder: str) -> None:
    model = build_segmenter(encoder, decoder, classes=4).eval()
    again = rebuild_segmenter(model.spec)
    again.load_state_dict(model.state_dict())
    image = torch.randn(1, 1, 20, 30)
    with torch.inference_mode():
        assert torch.equal(again.eval()(image), model(image))


def test_a_spec_without_an_entry_is_refused() -> None:
    with pytest.raises(CheckpointError, match="does not say which decoder"):
        rebuild_segmenter({"encoder": "unet", "classes": 3, "in_channels": 1})


def test_a_wrong_decoder_is_refused_before_the_encoder_is_built() -> None:
    with pytest.raises(ModelError, match="did you mean 'deeplabv3plus'"):
        build_segmenter("no such encoder", "deeplabv3_plus", classes=3)


def test_a_combination_that_cannot_work_names_those_that_do() -> None:
    with pytest.raises(ModelError, match=r"strides 1, 2, 4, 8, 16, 32; decoders that can: unet, unetplusplus, fpn"):
        build_segmenter("vgg11", "deeplabv3plus", classes=3)


def test_a_plain_unet_needs_neither_timm_nor_the_decoder_library() -> None:
    program = (
        "import sys; from srpu.models.segmenter import build_segmenter; build_segmenter('unet', 'unet', 3);"
        "raise SystemExit(bool({'timm', 'segmentation_models_pytorch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
