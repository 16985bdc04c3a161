"""Varied crops: image and mask stay aligned, and each variation does what its name says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srpu.data.augment import Augmenter, Variation

ALWAYS = Variation(1.0)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(augmenter: Augmenter, count: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth blobs, and the mask that says where they are bright."""
    size = augmenter.source_size
    coarse = torch.rand(count, 1, 5, 5, generator=random(seed))
    images = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return images, (images[:, 0] > 0.5).byte()


def test_nothing_switched_on_changes_nothing() -> None:
    augmenter = Augmenter(crop=32)
    images, masks = windows(augmenter)
    varied, ids = augmenter(images, masks, random())
    torch.testing.assert_close(varied, images, atol=1e-4, rtol=0)
    assert torch.equal(ids, masks.long())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), degrees=st.floats(0, 180), low=st.floats(0.5, 1), high=st.floats(1, 2))
def test_image_and_mask_stay_aligned(seed: int, degrees: float, low: float, high: float) -> None:
    augmenter = Augmenter(
        crop=32,
        flip=Variation(0.5),
        flip_vertical=Variation(0.5),
        rotate_90=Variation(0.5),
        rotate=Variation(1.0, -degrees, degrees),
        scale=Variation(1.0, low, high),
    )
    images, masks = windows(augmenter, seed=seed)
    varied, ids = augmenter(images, masks, random(seed))
    clear = (varied[:, 0] - 0.5).abs() > 0.1  # away from the edge, where nearest and bilinear may differ
    assert torch.equal((varied[:, 0] > 0.5)[clear], (ids == 1)[clear])


def test_a_mask_keeps_its_ids_and_ignore() -> None:
    augmenter = Augmenter(crop=32, rotate=Variation(1.0, 30, 30))
    size = augmenter.source_size
    masks = torch.randint(0, 3, (2, size, size), generator=random(), dtype=torch.uint8)
    masks[:, ::3] = 255
    _, ids = augmenter(torch.zeros(2, 1, size, size), masks, random())
    assert set(ids.unique().tolist()) <= {0, 1, 2, 255}


def test_a_quarter_turn_is_exact() -> None:
    augmenter = Augmenter(crop=32, rotate_90=ALWAYS)
    images, masks = windows(augmenter, count=16)
    _, ids = augmenter(images, masks, random())
    for before, after in zip(masks, ids, strict=True):
        assert any(torch.equal(torch.rot90(before, turns).long(), after) for turns in (1, 2, 3))


@pytest.mark.parametrize(
    ("augmenter", "axes"),
    [(Augmenter(crop=32, flip=ALWAYS), (2,)), (Augmenter(crop=32, flip_vertical=ALWAYS), (1,))],
)
def test_flips_are_exact(augmenter: Augmenter, axes: tuple[int, ...]) -> None:
    images, masks = windows(augmenter)
    _, ids = augmenter(images, masks, random())
    assert torch.equal(ids, masks.flip(axes).long())


def test_windows_are_large_enough_for_any_turn_and_scale() -> None:
    augmenter = Augmenter(crop=64, rotate=Variation(1.0, -45, 45), scale=Variation(1.0, 0.5, 2.0))
    assert augmenter.source_size >= 64 * math.sqrt(2) / 0.5
    assert augmenter.source_size % 2 == 0
    assert Augmenter(crop=64).source_size == 64


def test_the_same_seed_gives_the_same_crops_and_another_does_not() -> None:
    augmenter = Augmenter(
        crop=32, gain=Variation(1, 0.5, 2), offset=Variation(1, -1, 1), gamma=Variation(1, 0.5, 2),
        blur=Variation(1, 0.5, 2), noise=Variation(1, 0.1, 0.2), rotate=Variation(1, -45, 45),
    )  # fmt: skip
    images, masks = windows(augmenter)
    first, again, other = (augmenter(images, masks, random(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "strength", "change"),
    [
        ("gain", 2.0, lambda x: x.mean((2, 3), keepdim=True) + 2 * (x - x.mean((2, 3), keepdim=True))),
        ("offset", 0.5, lambda x: x + 0.5 * x.std((2, 3), keepdim=True)),
        ("gamma", 1.0, lambda x: x),
    ],
)
def test_tones_are_bent_as_named(name: str, strength: float, change) -> None:  # type: ignore[no-untyped-def]
    augmenter = Augmenter(crop=32, **{name: Variation(1.0, strength, strength)})  # type: ignore[arg-type]
    images, masks = windows(augmenter)
    varied, _ = augmenter(images, masks, random())
    torch.testing.assert_close(varied, change(images), atol=1e-3, rtol=0)


def test_gamma_keeps_black_and_white_and_darkens_the_middle() -> None:
    augmenter = Augmenter(crop=32, gamma=Variation(1.0, 2.0, 2.0))
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32).contiguous()
    varied, _ = augmenter(ramp, torch.zeros(1, 32, 32, dtype=torch.uint8), random())
    assert varied.min().item() == pytest.approx(-1, abs=1e-3)
    assert varied.max().item() == pytest.approx(1, abs=1e-3)
    assert varied[0, 0, 0, 16].item() == pytest.approx(2 * (16.5 / 32) ** 2 - 1, abs=0.05)


def test_noise_has_the_named_deviation() -> None:
    augmenter = Augmenter(crop=128, noise=Variation(1.0, 0.3, 0.3))
    images, masks = windows(augmenter, count=1)
    varied, _ = augmenter(images, masks, random())
    assert (varied - images).std().item() == pytest.approx(0.3 * images.std().item(), rel=0.05)


def test_blur_keeps_the_mean_and_takes_detail_away() -> None:
    augmenter = Augmenter(crop=64, blur=Variation(1.0, 2.0, 2.0))
    images = torch.randn(2, 1, 64, 64, generator=random())
    varied, _ = augmenter(images, torch.zeros(2, 64, 64, dtype=torch.uint8), random())
    assert varied.std().item() == pytest.approx(1 / (2 * math.sqrt(math.pi) * 2), rel=0.15)
