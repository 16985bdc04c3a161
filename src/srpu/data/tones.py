"""The distinct levels, indices or colours of a mask file: counting, comparing and replacing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from srpu.data.classes import RGB
from srpu.data.rasters import Raster
from srpu.errors import MaskError

_NEAR = 3  # levels per channel that a colour may be off


@dataclass(frozen=True)
class Tones:
    """The n distinct values of a picture and where they are.

    Masks consist of long runs of equal pixels, so runs are counted and painted, not pixels: 12 million of them take a
    tenth of a second.

    Attributes:
        values: Each level (n,), or each colour (n, 3).
        counts: Pixels of each.
    """

    values: Int[np.ndarray, "n ..."]
    counts: Int[np.ndarray, " n"]
    _of_run: Int[np.ndarray, " runs"]
    _lengths: Int[np.ndarray, " runs"]
    _shape: tuple[int, int]

    @classmethod
    def of(cls, pixels: Shaped[np.ndarray, "h w *c"]) -> Tones:
        """Find the distinct levels of (h, w), or 8-bit colours of (h, w, 3)."""
        flat = (pixels if pixels.ndim == 2 else _packed(pixels)).ravel()
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        lengths = np.diff(starts, append=flat.size)
        values, of_run = np.unique(flat[starts], return_inverse=True)
        counts = np.bincount(of_run, weights=lengths).astype(np.int64)
        values = values.astype(np.int64)
        if pixels.ndim == 3:
            values = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1)
        return cls(values, counts, of_run, lengths, (pixels.shape[0], pixels.shape[1]))

    def paint(self, new: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, "h w"]:
        """The picture with each value replaced by its entry in ``new``."""
        painted: Shaped[np.ndarray, "h w"] = np.repeat(new[self._of_run], self._lengths).reshape(self._shape)
        return painted


def distances(colours: Int[np.ndarray, "n 3"], targets: Sequence[RGB]) -> Int[np.ndarray, "n k"]:
    """How far each colour is from each target: the largest difference of a channel.

    >>> distances(np.array([[10, 0, 0]]), [(12, 0, 1), (0, 0, 0)])
    array([[ 2, 10]])
    """
    columns = [np.abs(colours - np.array(target)).max(axis=1) for target in targets]
    return np.stack(columns, axis=1)


def tolerance(targets: Sequence[RGB]) -> int:
    """How far off a colour may be and still be told: 3 levels, less where targets lie closer than 7 to each other."""
    apart = distances(np.array(targets), targets) + 256 * np.eye(len(targets), dtype=int)
    return min(_NEAR, (int(apart.min()) - 1) // 2)


def colours_of(values: Int[np.ndarray, "n ..."], raster: Raster) -> Int[np.ndarray, "n 3"]:
    """The colour of each level, index or colour; far from any if the palette does not hold an index."""
    if raster.palette is None:
        return values if values.ndim == 2 else np.repeat(values[:, None], 3, axis=1)
    table = np.full((256, 3), -1000)
    table[: len(raster.palette)] = raster.palette[:256]
    colours: Int[np.ndarray, "n 3"] = table[values]
    return colours


def all_grey(colours: Int[np.ndarray, "n 3"]) -> bool:
    """Whether red, green and blue are equal in all of them."""
    return bool((colours == colours[:, :1]).all())


def whole_numbers(path: Path, pixels: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "h w *c"]:
    """Levels as uint8 or uint16, colours as uint8.

    Raises:
        MaskError: Some pixels are no whole numbers from 0 to 65535.
    """
    if pixels.dtype.name not in ("uint8", "uint16"):
        fine = (pixels >= 0) & (pixels <= 65535) & (pixels == np.round(pixels))
        if not fine.all():
            wrong = pixels[~fine]
            raise MaskError(
                f"{path} holds {wrong.size} values that are no class ids, the first {wrong[0]}; "
                "save the mask as an 8-bit picture of whole numbers."
            )
        pixels = pixels.astype(np.uint16)
    if pixels.ndim == 3 and pixels.max() > 255:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels


def _packed(colours: Shaped[np.ndarray, "h w 3"]) -> Shaped[np.ndarray, "h w"]:
    """Red, green and blue in one number."""
    packed = colours[..., 0].astype(np.uint32)
    for channel in (1, 2):
        packed <<= 8
        packed |= colours[..., channel]
    return packed
