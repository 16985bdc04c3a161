"""Labelled images as training sees them: crops, drawn so that every batch is a function of the seed and the step alone.

Nothing is remembered between batches, so a run that is continued after a crash sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from srpu.data.masks import IGNORE
from srpu.data.normalisation import Normalisation

_TRIES = 10

SPARSE = 0.5
"""Share of labelled pixels below which crops are put on a labelled pixel instead of anywhere that shows one."""


@dataclass(frozen=True)
class LabelledImage:
    """An image and its mask, opened when they are needed; without the data bar.

    Attributes:
        name: What the index calls it.
        dataset: The data set that it belongs to.
        height: In pixels.
        width: In pixels.
        open_image: Gives the grey levels (h, w), often a memory map.
        open_mask: Gives the class ids uint8 (h, w); 255 is not labelled.
    """

    name: str
    dataset: str
    height: int
    width: int
    open_image: Callable[[], np.ndarray]
    open_mask: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Normalised image crops and their masks."""

    images: Float32[Tensor, "b 1 h w"]
    masks: UInt8[Tensor, "b h w"]

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``."""
        return Batch(self.images.to(device, non_blocking=True), self.masks.to(device, non_blocking=True))


class CropSampler:
    """Draws batches of crops, balanced over data sets, covering every image before any is seen again.

    Each image has as many tickets as crops cover its labels once. The tickets of a data set are shuffled anew in each
    pass; batches take them in turn, in the proportion of the data sets' weights.

    Args:
        images: What crops are drawn from.
        crop: Edge in pixels of the crop whose place is drawn.
        window: Edge in pixels of what is read around it (``>= crop``), so that it can be turned and scaled; beyond the
            image's border the picture is mirrored.
        normalisation: Computed on each whole image.
        weights: How often each data set appears; those not named weigh 1.
        seed: The same seed draws the same batches.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        *,
        crop: int,
        window: int,
        normalisation: Normalisation,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self._images, self._crop, self._window, self._seed = images, crop, window, seed
        self._normalisation = normalisation
        self._shift_scale: dict[int, tuple[float, float]] = {}
        self._sparse: dict[int, np.ndarray] = {}
        names = sorted({image.dataset for image in images})
        self._tickets = [self._tickets_of(name) for name in names]
        shares = np.array([(weights or {}).get(name, 1.0) for name in names])
        self._shares = shares / shares.sum()
        self._passes: dict[tuple[int, int], np.ndarray] = {}

    @property
    def crops_per_pass(self) -> int:
        """How many crops cover the labelled area once."""
        return sum(map(len, self._tickets))

    def batches(self, batch_size: int, *, start: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """Endless batches from step ``start``; each is read while the one before is computed.

        Of ``ranks`` processes that train together, number ``rank`` gets its own part.
        """
        drawn = self._drawn()
        for _ in range(start * batch_size * ranks):
            next(drawn)

        def picked() -> list[int]:
            every = [next(drawn) for _ in range(batch_size * ranks)]
            return every[rank * batch_size : (rank + 1) * batch_size]

        with ThreadPoolExecutor(max_workers=1) as reader:
            step = start
            ahead = reader.submit(self._read, picked(), (self._seed, step, rank))
            while True:
                step += 1
                ready, ahead = ahead, reader.submit(self._read, picked(), (self._seed, step, rank))
                yield ready.result()

    def _image(self, number: int) -> LabelledImage:
        return self._images[number]

    def _tickets_of(self, dataset: str) -> list[int]:
        tickets = []
        for number, image in enumerate(self._images):
            if image.dataset == dataset:
                mask = image.open_mask()
                tickets += [number] * max(_labelled_cells(mask, self._crop), 1)
                upto = np.cumsum((np.asarray(mask) != IGNORE).sum(axis=1, dtype=np.int64))
                if 0 < upto[-1] < SPARSE * mask.size:
                    self._sparse[number] = upto
        return tickets

    def _drawn(self) -> Iterator[int]:
        """The image of each crop, for ever: the data set that is furthest behind its share comes next."""
        counts = np.zeros(len(self._tickets), dtype=np.int64)
        while True:
            dataset = int(np.argmax(self._shares * (counts.sum() + 1) - counts))
            turn, place = divmod(int(counts[dataset]), len(self._tickets[dataset]))
            counts[dataset] += 1
            yield int(self._shuffled(dataset, turn)[place])

    def _shuffled(self, dataset: int, turn: int) -> np.ndarray:
        if (dataset, turn) not in self._passes:
            self._passes.pop((dataset, turn - 1), None)
            order = np.random.default_rng((self._seed, dataset, turn)).permutation(self._tickets[dataset])
            self._passes[dataset, turn] = order
        return self._passes[dataset, turn]

    def _read(self, numbers: Sequence[int], seed: tuple[int, ...]) -> Batch:
        random = np.random.default_rng(seed)
        images = np.empty((len(numbers), 1, self._window, self._window), dtype=np.float32)
        masks = np.empty((len(numbers), self._window, self._window), dtype=np.uint8)
        for slot, number in enumerate(numbers):
            labelled = self._image(number)
            image, mask = labelled.open_image(), labelled.open_mask()
            rows, columns = self._place(mask, random, self._sparse.get(number))
            shift, scale = self._shift_scale_of(number, image)
            np.subtract(_cut(image, rows, columns), shift, out=images[slot, 0], dtype=np.float32)
            images[slot] /= scale
            masks[slot] = _cut(mask, rows, columns)
        return Batch(torch.from_numpy(images), torch.from_numpy(masks))

    def _shift_scale_of(self, number: int, image: np.ndarray) -> tuple[float, float]:
        if number not in self._shift_scale:
            self._shift_scale[number] = self._normalisation.shift_scale(image)
        return self._shift_scale[number]

    def _place(
        self, mask: np.ndarray, random: np.random.Generator, upto: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of a window whose middle, the crop, lies in the image and shows at least one label.

        Args:
            mask: Class ids.
            random: Draws the place.
            upto: Of an image with few labels: how many there are down to each row. The crop's middle is one of them,
                as near as the border allows.
        """
        height, width = mask.shape
        if upto is not None:
            row, column = _labelled_pixel(mask, upto, int(random.integers(upto[-1])))
            return self._around(row, column, height, width)
        for _ in range(_TRIES):
            top = int(random.integers(0, max(height - self._crop, 0) + 1))
            left = int(random.integers(0, max(width - self._crop, 0) + 1))
            if (mask[top : top + self._crop, left : left + self._crop] != IGNORE).any():
                break
        else:  # few labels in a large image: put one of them into the middle
            labelled = np.flatnonzero(np.asarray(mask) != IGNORE)
            row, column = divmod(int(random.choice(labelled)), width) if len(labelled) else (0, 0)
            return self._around(row, column, height, width)
        return self._span(top, height), self._span(left, width)

    def _around(self, row: int, column: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for a crop with this pixel in its middle, as far as the border allows."""
        top = int(np.clip(row - self._crop // 2, 0, max(height - self._crop, 0)))
        left = int(np.clip(column - self._crop // 2, 0, max(width - self._crop, 0)))
        return self._span(top, height), self._span(left, width)

    def _span(self, first: int, length: int) -> np.ndarray:
        """Rows, or columns, of the window around the crop that begins at ``first``."""
        return _mirrored(first + np.arange(self._window) - (self._window - self._crop) // 2, length)


def _labelled_cells(mask: np.ndarray, edge: int) -> int:
    """How many cells of a grid of ``edge`` pixels hold a label.

    >>> _labelled_cells(np.array([[0, 255, 255], [255, 255, 255]]), edge=2)
    1
    """
    labelled = np.asarray(mask) != IGNORE
    rows, columns = (np.arange(0, length, edge) for length in mask.shape)
    cells = np.logical_or.reduceat(np.logical_or.reduceat(labelled, rows, axis=0), columns, axis=1)
    return int(np.count_nonzero(cells))


def _labelled_pixel(mask: np.ndarray, upto: np.ndarray, number: int) -> tuple[int, int]:
    """Row and column of labelled pixel ``number``, where there are ``upto`` of them down to each row.

    >>> _labelled_pixel(np.array([[255, 0], [255, 255], [1, 1]]), np.array([1, 1, 3]), 2)
    (2, 1)
    """
    row = int(np.searchsorted(upto, number, side="right"))
    columns = np.flatnonzero(np.asarray(mask[row]) != IGNORE)
    return row, int(columns[number - int(upto[row - 1] if row else 0)])


def _mirrored(places: np.ndarray, size: int) -> np.ndarray:
    """Places beyond the border, reflected into ``[0, size)``: d c b a | a b c d | d c b a."""
    places = places % (2 * size)
    return np.where(places < size, places, 2 * size - 1 - places)


def _cut(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The window of ``picture``; reads the bounding box once, then mirrors in memory."""
    top, left = rows.min(), columns.min()
    box = np.asarray(picture[top : rows.max() + 1, left : columns.max() + 1])
    for axis, places in enumerate((rows - top, columns - left)):
        if len(places) > box.shape[axis] or places[0] > places[-1]:  # copied only where it is mirrored
            box = box.take(places, axis=axis)
    return box


def count_pixels(images: Sequence[LabelledImage], classes: int) -> np.ndarray:
    """Labelled pixels of each class, int64 (classes,)."""
    counts = np.zeros(256, dtype=np.int64)
    for image in images:
        counts += np.bincount(np.asarray(image.open_mask()).ravel(), minlength=256)
    return counts[:classes]


def mean_and_deviation(images: Sequence[LabelledImage]) -> tuple[float, float]:
    """Mean and standard deviation of all grey levels of all images, pixel by pixel."""
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        levels = np.asarray(image.open_image(), dtype=np.float64)
        count, total, squares = count + levels.size, total + levels.sum(), squares + np.square(levels).sum()
    mean = total / count
    return float(mean), float(np.sqrt(max(squares / count - mean**2, 0.0)))
