"""Generated training images: endless, the same again for the same seed, of many materials, and cheap."""

from itertools import islice

import numpy as np
import pytest
import torch

from srpu.data.dataset import Batch
from srpu.data.endless import CROPS_EACH, HELD_OUT, POOL, EndlessImages, EndlessSampler, generate_any
from srpu.data.normalisation import Normalisation


def sampler(seed: int = 3) -> EndlessSampler:
    images = EndlessImages(crop=32, seed=seed)
    return EndlessSampler(images, crop=32, window=48, normalisation=Normalisation("zscore"), seed=seed)


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    whole = list(islice(sampler().batches(2), 4))
    later = list(islice(sampler().batches(2, start=2), 2))
    assert whole[0].images.shape == (2, 1, 48, 48)
    assert all(equal(*pair) for pair in zip(whole[2:], later, strict=True))
    assert not equal(whole[0], next(sampler(seed=4).batches(2)))
    # Two processes share what one would draw.
    halves = [next(sampler().batches(1, rank=rank, ranks=2)) for rank in (0, 1)]
    assert halves[0].masks.shape == (1, 48, 48)
    assert not torch.equal(halves[0].masks, halves[1].masks)


def test_the_pool_moves_on_without_end() -> None:
    numbers = list(islice(sampler()._drawn(), 40 * CROPS_EACH))
    for start in (0, 20, 39):
        drawn = numbers[start * CROPS_EACH : (start + 1) * CROPS_EACH]
        assert all(start <= number < start + POOL for number in drawn)
    assert max(numbers) > POOL
    assert sampler().crops_per_pass == POOL * CROPS_EACH


def test_held_out_images_are_others() -> None:
    images = EndlessImages(crop=32, seed=0)
    held_out = images.held_out()
    assert len(held_out) == HELD_OUT
    trained = {images[number].open_image().tobytes() for number in range(HELD_OUT)}
    assert not trained & {image.open_image().tobytes() for image in held_out}
    assert {image.name for image in held_out}.isdisjoint(image.name for image in images.pool())
    assert images[0].open_image() is images[0].open_image(), "kept in memory"


def test_materials_and_brightness_vary_widely() -> None:
    shares, brightest = [], set()
    for seed in range(24):
        image, ids = generate_any(96, (seed,))
        assert set(np.unique(ids)) <= {0, 1, 2}
        shares.append((ids == 2).mean())
        present = [id_ for id_ in range(3) if (ids == id_).any()]
        brightest.add(max(present, key=lambda id_, image=image, ids=ids: image[ids == id_].mean()))
    assert brightest == {0, 1, 2}
    assert np.ptp(shares) > 0.3


@pytest.mark.parametrize("crop", [32, 256])
def test_images_are_half_as_large_again_as_crops(crop: int) -> None:
    image = EndlessImages(crop, seed=0)[5]
    assert image.open_image().shape == image.open_mask().shape == (image.height, image.width)
    assert image.height == {32: 96, 256: 384}[crop]
