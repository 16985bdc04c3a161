"""Damage for autoencoders: repeatable, and of the kind that was asked for."""

import torch

from srpu.data.augment import Variation
from srpu.data.degrade import Degrader


def degrade(degrader: Degrader, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return degrader(images, torch.Generator().manual_seed(seed))


def test_without_damage_images_stay() -> None:
    images = torch.randn(3, 1, 32, 48)
    torch.testing.assert_close(degrade(Degrader(), images), images)


def test_the_same_seed_does_the_same_damage() -> None:
    images = torch.randn(4, 1, 32, 48)
    every = Variation(1.0, 0.2, 0.8)
    degrader = Degrader(blur=every, shrink=Variation(0.5, 2.0, 4.0), noise=every, drop=every, patch=8)
    assert torch.equal(degrade(degrader, images), degrade(degrader, images))
    assert not torch.equal(degrade(degrader, images), degrade(degrader, images, seed=1))


def test_shrinking_leaves_no_detail_within_a_pixel_of_the_smaller_image() -> None:
    board = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float().expand(2, 1, -1, -1)
    coarse = degrade(Degrader(shrink=Variation(1.0, 2.0, 2.0)), board)
    torch.testing.assert_close(coarse, torch.full_like(coarse, 0.5))


def test_noise_is_in_standard_deviations_of_the_image() -> None:
    images = torch.randn(2, 1, 128, 128) * torch.tensor([1.0, 100.0])[:, None, None, None]
    noise = degrade(Degrader(noise=Variation(1.0, 0.5, 0.5)), images) - images
    torch.testing.assert_close(noise.std((1, 2, 3)), torch.tensor([0.5, 50.0]), rtol=0.05, atol=0)


def test_dropped_patches_hold_the_mean() -> None:
    images = torch.randn(1, 1, 64, 64) + 5
    worse = degrade(Degrader(drop=Variation(1.0, 0.5, 0.5), patch=16), images)
    changed = (worse != images)[0, 0].reshape(4, 16, 4, 16).float().mean((1, 3))
    assert set(changed.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(worse[worse != images].unique(), images.mean()[None])
