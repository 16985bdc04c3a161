"""Crops of images without masks, also where some files cannot be read."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from srpu.data.dataset import LabelledImage
from srpu.data.normalisation import Normalisation
from srpu.data.pool import PoolSampler
from srpu.errors import ImageError, IndexingError


def picture(number: int, broken: bool = False, edge: int = 64) -> LabelledImage:
    def levels() -> np.ndarray:
        if broken:
            raise ImageError(f"{number}.tif cannot be read.")
        return np.full((edge, edge), number, np.float32)

    def mask() -> np.ndarray:
        return np.broadcast_to(np.uint8(0), (edge, edge))

    return LabelledImage(f"{number}.tif", "raw", edge, edge, levels, mask)


def sampler(images: list[LabelledImage]) -> PoolSampler:
    return PoolSampler(images, crop=32, window=48, normalisation=Normalisation("none"), seed=3)


def drawn(source: PoolSampler, start: int, steps: int) -> list[torch.Tensor]:
    return [batch.images for batch in islice(source.batches(3, start=start), steps)]


def test_large_images_are_drawn_more_often() -> None:
    source = sampler([picture(0), picture(1, edge=128)])
    assert source.crops_per_pass == 4 + 16
    numbers = torch.cat(drawn(source, 0, 20)).amax((1, 2, 3))
    assert int((numbers == 1).sum()) == 48


def test_the_next_image_stands_in_for_one_that_cannot_be_read() -> None:
    source = sampler([picture(0), picture(1, broken=True), picture(2)])
    batches = drawn(source, 0, 8)
    assert {float(value) for value in torch.cat(batches).unique()} == {0.0, 2.0}
    assert source.unreadable == {1: "1.tif cannot be read."}
    again = sampler([picture(0), picture(1, broken=True), picture(2)])
    for one, other in zip(drawn(again, 5, 3), batches[5:], strict=True):
        assert torch.equal(one, other)


def test_nothing_readable_is_an_error() -> None:
    with pytest.raises(IndexingError, match="None of the 2 images can be read"):
        drawn(sampler([picture(0, broken=True), picture(1, broken=True)]), 0, 1)
