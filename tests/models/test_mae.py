"""Learning by restoring: what is hidden stays hidden, and only what is hidden is judged."""

from __future__ import annotations

import pytest
import torch

from srpu.errors import CheckpointError
from srpu.models.autoencoder import Autoencoder
from srpu.models.encoders import build_encoder
from srpu.models.mae import Hider, MaskedImages, MaskedTokens, build_restorer, rebuild_restorer


def hide(images: torch.Tensor, ratio: float = 0.6, patch: int = 16, seed: int = 0) -> torch.Tensor:
    return Hider(ratio, patch)(images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("ratio", "hidden"), [(0.6, 10), (0.01, 1), (0.99, 15)])
def test_every_image_hides_the_same_number_of_other_patches(ratio: float, hidden: int) -> None:
    images = torch.zeros(5, 1, 64, 64)
    mask = hide(images, ratio)
    assert mask.shape == (5, 4, 4)
    assert mask.sum(dim=(1, 2)).tolist() == [hidden] * 5
    assert torch.equal(mask, hide(images, ratio))
    if ratio == 0.6:
        assert not torch.equal(mask, hide(images, ratio, seed=1))
        assert len({tuple(each.flatten().tolist()) for each in mask}) > 1


@pytest.mark.parametrize("name", ["unet", "test_resnet"])
def test_hidden_patches_do_not_reach_a_convolution_and_alone_are_judged(name: str) -> None:
    torch.manual_seed(0)
    model = build_restorer("mae", name).eval()
    assert isinstance(model, MaskedImages)
    images = torch.randn(2, 1, 64, 64)
    mask = hide(images, patch=8)
    pixels = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    first = model(images, mask)
    other = torch.where(pixels, torch.randn_like(images), images)
    second = model(other, mask)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0][~pixels], images[~pixels])
    assert seen[0][pixels].unique().tolist() == [model.fill.item()]
    answer = model.restore(seen[0])
    expected = (answer - images).abs()[pixels].mean()
    torch.testing.assert_close(first.loss, expected)
    assert second.loss != first.loss
    torch.testing.assert_close(first.restored, torch.where(pixels, answer, images))


@pytest.mark.parametrize(("name", "width"), [("test_vit", 64), ("vit_pe_core_tiny_patch16_384", 192)])
def test_a_transformer_gets_the_visible_tokens_only(name: str, width: int) -> None:
    torch.manual_seed(0)
    model = build_restorer("mae", name).eval()
    assert isinstance(model, MaskedTokens)
    images = torch.randn(2, 1, 64, 96)
    mask = hide(images)
    hidden = mask.flatten(1)
    lengths = []
    model.encoder.body.blocks[0].register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    tokens, keep = model.visible(model.encoder.for_body(images), hidden)
    shown = 24 - round(0.6 * 24)
    assert tokens.shape[1] == shown
    assert tokens.shape[2] == width
    assert lengths == [shown + model.prefix]
    assert not hidden.gather(1, keep).any()
    pixels = mask.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None]
    other = torch.where(pixels, torch.randn_like(images), images)
    torch.testing.assert_close(model.visible(model.encoder.for_body(other), hidden)[0], tokens)
    whole = model.encoder(images)  # afterwards nothing is dropped any more
    assert whole[3].shape[-2:] == (4, 6)


def test_a_transformers_loss_is_that_of_hidden_patches_normalised() -> None:
    torch.manual_seed(0)
    model = build_restorer("mae", "test_vit").eval()
    images = torch.randn(2, 1, 64, 64)
    mask = hide(images)
    restored = model(images, mask)
    pixels = mask.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None]
    torch.testing.assert_close(restored.restored[~pixels], images[~pixels])
    assert (restored.seen[pixels] == 0).all()
    brighter = model(torch.where(pixels, 3 * images + 2, images), mask)
    torch.testing.assert_close(brighter.loss, restored.loss)  # each hidden patch is normalised by itself
    restored.loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert all(p.requires_grad for p in model.encoder.body.parameters())


@pytest.mark.parametrize("name", ["unet", "test_resnet", "test_vit", "test_convnext"])
def test_an_autoencoder_is_judged_on_all_pixels_and_learns_with_all_weights(name: str) -> None:
    torch.manual_seed(0)
    model = build_restorer("autoencoder", name)
    assert isinstance(model, Autoencoder)
    images = torch.randn(2, 1, 64, 96)
    worse = images + torch.randn_like(images)
    restored = model(images, worse)
    assert restored.restored.shape == images.shape
    torch.testing.assert_close(restored.loss, (restored.restored - images).abs().mean())
    restored.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("method", ["mae", "autoencoder"])
@pytest.mark.parametrize("name", ["unet", "test_vit"])
def test_a_network_comes_back_from_its_description(method: str, name: str) -> None:
    model = build_restorer(method, name)
    again = rebuild_restorer(model.spec)
    again.load_state_dict(model.state_dict())
    assert type(again) is type(model)
    assert set(model.encoder.state_dict()) == set(build_encoder(name).state_dict())
    assert set(model.encoder.state_dict()) == set(build_encoder(name, coarsest=16).state_dict())


def test_a_description_that_lacks_its_method_is_refused() -> None:
    with pytest.raises(CheckpointError, match="does not say how its network was pretrained"):
        rebuild_restorer({"encoder": "unet"})
