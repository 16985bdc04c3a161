from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from srpu.data.synthetic import generate
from srpu.errors import ModelError
from srpu.learn.predict import (
    GRID,
    Band,
    Tiling,
    _spread,
    _weights,
    count_bands,
    predict_bands,
    predict_labels,
    predict_probabilities,
)
from srpu.models.segmenter import build_segmenter

CPU = torch.device("cpu")
SHIFT_SCALE = (100.0, 50.0)


class Conv(nn.Module):
    """Sees ``reach`` pixels in each direction; beyond the border it sees zeros, so that cuts show."""

    def __init__(self, reach: int, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, classes, 2 * reach + 1, padding=reach)

    def forward(self, images: Tensor) -> Tensor:
        return 5 * self.conv(images)


class Strided(nn.Module):
    """A limited view at a coarse step, as in a U-Net: what it answers depends on where its grid lies."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        images = functional.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
        coarse = self.conv(functional.max_pool2d(images, 8))
        return 5 * functional.interpolate(coarse, scale_factor=8, mode="bilinear")[..., :height, :width]


class Spy(nn.Module):
    """Answers zeros and remembers what it was asked."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.asked: list[Tensor] = []
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(images.clone())
        return images.new_zeros(len(images), self.classes, *images.shape[-2:])


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


@torch.inference_mode()
def whole(model: nn.Module, image: np.ndarray) -> np.ndarray:
    shift, scale = SHIFT_SCALE
    levels = torch.from_numpy((image.astype(np.float32) - shift) / scale)[None, None]
    return model(levels).softmax(dim=1)[0].numpy()


def tiled(model: nn.Module, image: np.ndarray, tiling: Tiling) -> np.ndarray:
    return predict_probabilities(model, image, SHIFT_SCALE, tiling, device=CPU, precision="fp32")


@pytest.mark.parametrize("shape", [(512, 512), (513, 370), (150, 1100), (1, 2000)])
@pytest.mark.parametrize("overlap", [0.25, 0.6, 0.75])
def test_tiles_equal_the_whole_image(shape: tuple[int, int], overlap: float) -> None:
    model, image = Conv(reach=7), picture(*shape)
    tiling = Tiling(size=128, overlap=overlap, batch_size=3)
    np.testing.assert_allclose(tiled(model, image, tiling), whole(model, image), atol=1e-4)


@pytest.mark.parametrize("shape", [(640, 640), (519, 803)])
def test_tiles_of_a_strided_network_equal_the_whole_image(shape: tuple[int, int]) -> None:
    model, image = Strided(), picture(*shape)
    np.testing.assert_allclose(tiled(model, image, Tiling(size=256, overlap=0.25)), whole(model, image), atol=1e-4)


def test_a_very_large_image_has_no_seam() -> None:
    model, image = Conv(reach=1, classes=2), picture(8192, 600)
    expected = whole(model, image)
    for band in predict_bands(model, image, SHIFT_SCALE, Tiling(), device=CPU, precision="fp32"):
        rows = slice(band.top, band.top + band.probabilities.shape[1])
        assert np.abs(band.probabilities - expected[:, rows]).max() < 1e-4


def test_contradicting_tiles_fade_into_each_other() -> None:
    class Stubborn(nn.Module):
        answers = 0

        def forward(self, images: Tensor) -> Tensor:
            self.answers += 1
            sign = 20.0 if self.answers % 2 else -20.0
            return torch.stack([images[:, 0] * 0 + sign, images[:, 0] * 0], dim=1)

    probabilities = tiled(Stubborn(), picture(500, 900), Tiling(size=256, overlap=0.25, batch_size=1))
    assert probabilities.min() < 0.01
    assert probabilities.max() > 0.99
    assert np.abs(np.diff(probabilities, axis=1)).max() < 0.08
    assert np.abs(np.diff(probabilities, axis=2)).max() < 0.08


@settings(deadline=None)
@given(
    length=st.integers(1, 5000),
    size=st.sampled_from([64, 96, 256, 512]),
    overlap=st.floats(0, 0.75),
)
def test_tiles_cover_an_axis_with_weights_that_sum_to_one(length: int, size: int, overlap: float) -> None:
    edge, starts = _spread(length, size, overlap)
    weights = _weights(length, edge, starts)
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + edge] += weight
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert weights.min() >= 0
    assert weights[0, 0] == weights[-1, -1] == 1
    assert edge <= size
    assert starts[-1] + edge == length
    assert all(start % GRID == 0 for start in starts)
    steps = np.diff(starts)
    assert ((steps > 0) & (steps <= max(edge - size * overlap, GRID))).all()


def test_little_is_computed_twice() -> None:
    def redundancy(tiling: Tiling, height: int, width: int) -> float:
        (rows, tops), (columns, lefts) = (_spread(n, tiling.size, tiling.overlap) for n in (height, width))
        return rows * len(tops) * columns * len(lefts) / (height * width)

    assert redundancy(Tiling(512, 0.125), 3072, 4096) < 1.32
    assert redundancy(Tiling(512, 0.25), 3072, 4096) < 1.84  # (1 / 0.75)² = 1.78 for an endless image
    assert redundancy(Tiling(512, 0.25), 768, 1024) < 1.54
    assert redundancy(Tiling(512, 0.25), 512, 512) == 1


def test_a_small_image_is_one_tile_of_its_own_size() -> None:
    spy = Spy()
    assert tiled(spy, picture(1, 37), Tiling()).shape == (2, 1, 37)
    assert [tuple(asked.shape) for asked in spy.asked] == [(1, 1, 1, 37)]


def test_batches_are_no_larger_than_asked_and_rows_come_as_soon_as_they_are_done() -> None:
    spy, image, tiling = Spy(), picture(700, 1500), Tiling(size=256, batch_size=4)
    bands = predict_bands(spy, image, SHIFT_SCALE, tiling, device=CPU, precision="fp32")
    assert spy.asked == []
    first = next(bands)
    tiles_in_a_row = sum(len(asked) for asked in spy.asked)
    assert first.top == 0
    assert first.probabilities.shape[1] < 256
    rest = list(bands)
    assert len(rest) + 1 == count_bands(700, tiling)
    assert sum(len(asked) for asked in spy.asked) == tiles_in_a_row * (len(rest) + 1)
    assert max(len(asked) for asked in spy.asked) == 4
    assert _is_gapless([first, *rest], 700)


def _is_gapless(bands: list[Band], height: int) -> bool:
    tops = [band.top for band in bands]
    ends = [band.top + band.probabilities.shape[1] for band in bands]
    return [0, *ends] == [*tops, height]


def test_the_network_sees_normalised_levels_of_any_depth() -> None:
    spy = Spy()
    tiled(spy, np.array([[100, 65535]], np.uint16), Tiling())
    np.testing.assert_allclose(spy.asked[0][0, 0, 0].numpy(), [0, (65535 - 100) / 50])


def test_flip_averaging_is_the_mean_over_four_mirror_images() -> None:
    model, image = Conv(reach=2), picture(40, 50)
    expected = np.mean(
        [
            np.flip(whole(model, np.flip(image, axes).copy()), [axis + 1 for axis in axes])
            for axes in ((), (0,), (1,), (0, 1))
        ],
        axis=0,
    )
    flipped = tiled(model, image, Tiling(flips=True))
    np.testing.assert_allclose(flipped, expected, atol=1e-6)
    assert np.abs(flipped - whole(model, image)).max() > 0.01


def test_bf16_gives_float32_probabilities_close_to_fp32() -> None:
    model, image = Conv(reach=2), picture(64, 64)
    rough = predict_probabilities(model, image, SHIFT_SCALE, Tiling(), device=CPU, precision="bf16")
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough.sum(axis=0), 1, atol=1e-5)
    exact = whole(model, image)
    assert 0 < np.abs(rough - exact).max() < 0.05


def test_labels_are_the_most_probable_classes_and_training_mode_is_left() -> None:
    model, image = nn.Sequential(Conv(reach=2), nn.Dropout(0.9)).train(), picture(300, 70)
    labels = predict_labels(model, image, SHIFT_SCALE, Tiling(size=128), device=CPU, precision="fp32")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, whole(model, image).argmax(axis=0))
    assert not model.training


def test_of_equally_probable_classes_the_first_is_taken() -> None:
    random = np.random.default_rng(0)
    probabilities = random.integers(0, 4, (5, 20, 30)).astype(np.float32)  # many ties
    labels = Band(0, probabilities).labels()
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=0))


def test_a_network_that_answers_nan_is_refused() -> None:
    model = Conv(reach=1)
    nn.init.constant_(model.conv.weight, float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        tiled(model, picture(20, 20), Tiling())


def test_tiles_of_a_real_network_agree_with_the_whole_image() -> None:
    """Its view is wider than any affordable overlap, so single pixels may differ, but no seam."""
    torch.manual_seed(0)
    model = build_segmenter("resnet18", "unet", 3)
    image = generate(320, 1600, seed=1)[0]
    levels = torch.from_numpy((image.astype(np.float32) - 100) / 50)[None, None]
    with torch.no_grad():
        for _ in range(3):  # batch normalisation learns what is usual
            model(levels[..., :320])
        model.head.weight.mul_(10 / model(levels[..., :320]).std())
    model.eval()
    once, parts = whole(model, image), tiled(model, image, Tiling())
    assert len(_spread(1600, 1024, Tiling().overlap)[1]) == 2
    assert np.mean(once.argmax(axis=0) != parts.argmax(axis=0)) < 0.002
    steps, usual = (np.abs(np.diff(part, axis=2)).max(axis=(0, 1)) for part in (parts, once))
    assert (steps <= usual + 0.1).all()
