"""Generated training images without end: widely varied three-phase sections, a function of seed and number alone.

Shapes say which phase is which; brightness does not, since in half of the images the phases swap their grey levels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from threading import Lock

import cv2
import numpy as np
from jaxtyping import UInt8

from srpu.data.dataset import CropSampler, LabelledImage
from srpu.data.normalisation import Normalisation
from srpu.data.synthetic import Recipe, generate

SYNTHETIC = "synthetic"
"""What the data set is called."""

CLASSES = 3

POOL = 64
"""Images that crops are drawn from at a time."""

CROPS_EACH = 4
"""Crops drawn from an image, on average, before a new one takes its place in the pool."""

HELD_OUT = 8
"""Images to judge on where no real ones are."""

_LEAST_EDGE = 96


class EndlessImages:
    """Generated images by number, the last ones kept in memory.

    Args:
        crop: Edge in pixels of the crops that are drawn; images are half as large again.
        seed: The same seed and number give the same image.
    """

    def __init__(self, crop: int, seed: int) -> None:
        self._edge, self._seed = max(crop * 3 // 2, _LEAST_EDGE), seed
        self._kept: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = Lock()

    def __getitem__(self, number: int) -> LabelledImage:
        """Image ``number`` to train on."""
        return self._labelled(0, number)

    def pool(self) -> list[LabelledImage]:
        """The images that the first crops come from."""
        return [self[number] for number in range(POOL)]

    def held_out(self) -> list[LabelledImage]:
        """Images that are never trained on."""
        return [self._labelled(1, number) for number in range(HELD_OUT)]

    def _labelled(self, stream: int, number: int) -> LabelledImage:
        return LabelledImage(
            f"{SYNTHETIC}/{'held-out ' * stream}{number}",
            SYNTHETIC,
            self._edge,
            self._edge,
            open_image=lambda: self._made(stream, number)[0],
            open_mask=lambda: self._made(stream, number)[1],
        )

    def _made(self, stream: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            if (stream, number) not in self._kept:
                self._kept[stream, number] = generate_any(self._edge, (self._seed, stream, number))
            self._kept.move_to_end((stream, number))
            if len(self._kept) > 2 * POOL:
                self._kept.popitem(last=False)
            return self._kept[stream, number]


class EndlessSampler(CropSampler):
    """Draws crops from a pool of generated images that moves on: after every few crops, a new one replaces the oldest.

    Args:
        images: The images by number.
        crop: As of :class:`CropSampler`.
        window: As of :class:`CropSampler`.
        normalisation: As of :class:`CropSampler`.
        seed: The same seed draws the same batches.
    """

    def __init__(
        self, images: EndlessImages, *, crop: int, window: int, normalisation: Normalisation, seed: int = 0
    ) -> None:
        super().__init__((), crop=crop, window=window, normalisation=normalisation, seed=seed)
        self._endless = images

    @property
    def crops_per_pass(self) -> int:
        """How many crops use up as many images as the pool holds."""
        return POOL * CROPS_EACH

    def _drawn(self) -> Iterator[int]:
        for crop in count():
            place = np.random.default_rng((self._seed, crop)).integers(POOL)
            yield crop // CROPS_EACH + int(place)

    def _image(self, number: int) -> LabelledImage:
        return self._endless[number]


def generate_any(edge: int, seed: tuple[int, ...]) -> tuple[UInt8[np.ndarray, "n n"], UInt8[np.ndarray, "n n"]]:
    """An image of ``edge`` × ``edge`` pixels and its class ids: any material, any microscope, any brightness."""
    random = np.random.default_rng(seed)
    recipe = wide_recipe(random)
    image, ids = generate(edge, edge, seed=int(random.integers(2**31)), recipe=recipe)
    if random.random() < 0.5:
        image = _swapped(image, ids, recipe.defocus_px, random)
    return (255 - image if random.random() < 0.25 else image), ids


def wide_recipe(random: np.random.Generator) -> Recipe:
    """A material and a microscope from wide ranges.

    >>> wide_recipe(np.random.default_rng(1)) == wide_recipe(np.random.default_rng(1))
    True
    """

    def even(low: float, high: float) -> float:
        return float(random.uniform(low, high))

    def times(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    return Recipe(
        am_fraction=even(0.15, 0.62),
        carbon_fraction=even(0.03, 0.2),
        mean_particle_um=times(1.5, 8),
        particle_spread=even(0.15, 0.6),
        primary_grain_um=times(0.25, 1),
        crack_um=times(0.03, 0.3),
        broken_share=even(0, 0.4),
        se_grain_um=times(0.6, 4),
        carbon_film_um=times(0.12, 0.5),
        pixel_size_nm=times(25, 90),
        dose=times(40, 900),
        gain=even(0.45, 0.85),
        offset=even(0, 0.15),
        defocus_px=even(0.3, 2),
        channelling=even(0, 0.15),
        se_unevenness=even(0, 0.25),
        relief=even(0, 0.35),
        charging=even(0, 0.45),
        curtaining=times(0.005, 0.2),
        shading=even(0, 0.2),
        drift_px=even(0, 3),
        line_noise=even(0, 0.015),
    )


def _swapped(
    image: UInt8[np.ndarray, "h w"], ids: UInt8[np.ndarray, "h w"], blur: float, random: np.random.Generator
) -> UInt8[np.ndarray, "h w"]:
    """The image with the mean grey levels of its phases in another order; texture and noise stay."""
    there = [id_ for id_ in range(CLASSES) if (ids == id_).any()]
    means = np.array([image[ids == id_].mean() for id_ in there])
    shift = np.zeros(256, np.float32)
    shift[there] = random.permutation(means) - means
    moved = image + cv2.GaussianBlur(shift[ids], (0, 0), blur)
    levels: np.ndarray = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return levels
