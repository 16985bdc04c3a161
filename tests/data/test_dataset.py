"""Crops: where they come from, how often, and that they repeat."""

from collections import Counter
from itertools import islice

import numpy as np
import torch

from srpu.data.dataset import CropSampler, LabelledImage, count_pixels, mean_and_deviation
from srpu.data.masks import IGNORE
from srpu.data.normalisation import Normalisation

RAW = Normalisation("window", (0.0, 1.0))


def labelled(name: str, image: np.ndarray, mask: np.ndarray | None = None, dataset: str = "labeled") -> LabelledImage:
    ids = np.zeros(image.shape, dtype=np.uint8) if mask is None else mask
    return LabelledImage(name, dataset, *image.shape, open_image=lambda: image, open_mask=lambda: ids)


def flat(value: float, size: int = 32, dataset: str = "labeled") -> LabelledImage:
    return labelled(str(value), np.full((size, size), value, dtype=np.float32), dataset=dataset)


def sampler(images: list[LabelledImage], **options: object) -> CropSampler:
    settings = {"crop": 32, "window": 32, "normalisation": RAW, "seed": 5} | options
    return CropSampler(images, **settings)  # type: ignore[arg-type]


def test_every_image_is_seen_once_before_any_is_seen_again() -> None:
    source = sampler([flat(float(number)) for number in range(6)])
    seen = [float(value) for batch in islice(source.batches(2), 6) for value in batch.images[:, 0, 0, 0]]
    assert Counter(seen[:6]) == Counter(range(6))
    assert Counter(seen[6:]) == Counter(range(6))


def test_large_images_are_drawn_in_proportion_to_their_area() -> None:
    source = sampler([flat(0.0, size=32), flat(1.0, size=96)])
    assert source.crops_per_pass == 10
    seen = [float(value) for batch in islice(source.batches(5), 2) for value in batch.images[:, 0, 0, 0]]
    assert Counter(seen) == {0.0: 1, 1.0: 9}


def test_batches_are_balanced_over_data_sets_by_weight() -> None:
    images = [flat(0.0, dataset="a"), flat(1.0, dataset="b"), *[flat(2.0, dataset="c") for _ in range(20)]]
    source = sampler(images, weights={"a": 2.0})
    for batch in islice(source.batches(8), 10):
        assert Counter(batch.images[:, 0, 0, 0].tolist()) == {0.0: 4, 1.0: 2, 2.0: 2}


def test_starting_later_gives_what_would_have_come() -> None:
    random = np.random.default_rng(0)
    images = [labelled(str(n), random.random((50, 70)).astype(np.float32)) for n in range(5)]
    whole = list(islice(sampler(images).batches(3), 6))
    late = list(islice(sampler(images).batches(3, start=4), 2))
    for expected, given in zip(whole[4:], late, strict=True):
        assert torch.equal(expected.images, given.images)
        assert torch.equal(expected.masks, given.masks)


def test_processes_share_a_pass_without_overlap() -> None:
    images = [flat(float(number)) for number in range(8)]
    parts = [next(sampler(images).batches(4, rank=rank, ranks=2)).images[:, 0, 0, 0].tolist() for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(8))


def test_image_and_mask_are_cut_at_the_same_place_and_mirrored_beyond_the_border() -> None:
    random = np.random.default_rng(1)
    levels = random.integers(0, 3, (40, 37)).astype(np.float32)
    source = sampler([labelled("a", levels, levels.astype(np.uint8))], window=64)
    batch = next(source.batches(4))
    assert batch.images.shape == (4, 1, 64, 64)
    assert torch.equal(batch.images[:, 0].byte(), batch.masks)


def test_windows_are_what_mirroring_the_whole_normalised_image_gives() -> None:
    levels = np.arange(40 * 37, dtype=np.uint16).reshape(40, 37)  # every place has its own level
    source = sampler([labelled("a", levels)], window=50, normalisation=Normalisation("window", (7.0, 1007.0)))
    padded = np.pad((levels.astype(np.float32) - np.float32(7)) / np.float32(1000), 50, mode="symmetric")
    for window in next(source.batches(8)).images[:, 0].numpy():
        row, column = divmod(round(float(window[25, 25]) * 1000 + 7), 37)
        top, left = row + 50 - 25, column + 50 - 25
        np.testing.assert_array_equal(window, padded[top : top + 50, left : left + 50])


def test_an_image_of_one_pixel_fills_its_window() -> None:
    batch = next(sampler([labelled("dot", np.full((1, 1), 3.0, np.float32))], window=48).batches(1))
    assert batch.images.unique().tolist() == [3.0]


def test_sparse_labels_are_found() -> None:
    mask = np.full((400, 400), IGNORE, dtype=np.uint8)
    mask[310, 17] = 1
    source = sampler([labelled("sparse", np.zeros((400, 400), np.float32), mask)])
    for batch in islice(source.batches(4), 5):
        assert (batch.masks == 1).flatten(1).any(dim=1).all()


def test_normalisation_is_computed_on_the_whole_image() -> None:
    levels = np.zeros((64, 64), dtype=np.uint8)
    levels[:, 32:] = 200
    source = sampler([labelled("halves", levels)], normalisation=Normalisation("zscore"))
    values = {round(float(value), 4) for batch in islice(source.batches(4), 4) for value in batch.images.unique()}
    assert values == {-1.0, 1.0}


def test_pixels_are_counted_without_ignore() -> None:
    mask = np.array([[0, 1, 1], [2, IGNORE, 1]], dtype=np.uint8)
    assert count_pixels([labelled("a", np.zeros((2, 3), np.float32), mask)], 3).tolist() == [1, 3, 1]


def test_mean_and_deviation_of_all_pixels() -> None:
    assert mean_and_deviation([flat(1.0), flat(3.0)]) == (2.0, 1.0)


def test_crops_of_a_partly_labelled_image_lie_on_its_labels() -> None:
    """A labelled window as large as the crop fills at least a quarter of each crop, and more than half on average."""
    mask = np.full((400, 400), IGNORE, dtype=np.uint8)
    mask[96:128, 200:232] = 1
    source = sampler([labelled("window", np.zeros((400, 400), np.float32), mask)])
    shares = [(crop == 1).float().mean().item() for batch in islice(source.batches(8), 20) for crop in batch.masks]
    assert min(shares) >= 0.25
    assert 0.5 < np.mean(shares) < 0.65


def test_every_label_of_a_partly_labelled_image_is_seen() -> None:
    mask = np.full((300, 300), IGNORE, dtype=np.uint8)
    mask[0, 0], mask[150, 7], mask[299, 299] = 1, 2, 3
    source = sampler([labelled("points", np.zeros((300, 300), np.float32), mask)])
    seen = torch.cat([batch.masks.flatten() for batch in islice(source.batches(8), 8)])
    assert set(seen.unique().tolist()) == {1, 2, 3, IGNORE}
