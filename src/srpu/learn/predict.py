"""From an image of any size to class probabilities, by overlapping tiles in bounded memory.

Tiles lie on a grid of 32 pixels, the coarsest step of the usual encoders, so that neighbours sample the image at the
same places. The outer quarter of an overlap, where a tile lacks its surroundings, is thrown away; over the middle half
one tile fades into the next. Only one row of tiles is held in memory, so the result comes from top to bottom in bands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from torch import Tensor, nn

from srpu.errors import ModelError
from srpu.learn.device import Precision, autocast

GRID = 32
"""Tiles begin at multiples of this many pixels."""

_MIRRORS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    Attributes:
        size: Longest edge of a tile in pixels, at least 64. An image that is no larger is one tile of its own size.
        overlap: What neighbours have in common at least, as a share of ``size``, in [0, 0.75].
        batch_size: Tiles that are computed at once.
        flips: Average over the four mirror images.
    """

    size: int = 1024
    overlap: float = 0.125
    batch_size: int = 1
    flips: bool = False


@dataclass(frozen=True)
class Band:
    """Finished rows of an image.

    Attributes:
        top: The first row.
        probabilities: float32 (c, rows, w), in [0, 1], summing to 1 over the classes.
    """

    top: int
    probabilities: Float32[np.ndarray, "c rows w"]

    def labels(self) -> UInt8[np.ndarray, "rows w"]:
        """The most probable class id of each pixel; of equals the first. Twice as fast as numpy's argmax."""
        best = self.probabilities[0].copy()
        ids = np.zeros(best.shape, np.uint8)
        for id_, plane in enumerate(self.probabilities[1:], start=1):
            np.putmask(ids, plane > best, np.uint8(id_))
            np.maximum(best, plane, out=best)
        return ids


def predict_tensors(
    model: nn.Module,
    image: Shaped[np.ndarray, "h w"],
    shift_scale: tuple[float, float],
    tiling: Tiling,
    *,
    device: torch.device,
    precision: Precision,
) -> Iterator[tuple[int, Float32[Tensor, "c rows w"]]]:
    """Class probabilities of ``image``, from top to bottom: the first row of each band, and the band on the device.

    Args:
        model: Maps (b, 1, h, w) to logits (b, c, h, w); lies on ``device``. It is put into evaluation mode.
        image: Grey levels as read, without data bar.
        shift_scale: The network sees ``(image - shift) / scale``.
        tiling: How the image is cut.
        device: Where to compute.
        precision: Number format of the forward pass; probabilities are always float32.

    Raises:
        ModelError: The network's output is not a number.
    """
    model.eval()
    height = image.shape[0]
    edge, tops = _spread(height, tiling.size, tiling.overlap)
    down = torch.from_numpy(_weights(height, edge, tops)).to(device)
    waiting: Tensor | None = None
    for top, end, weights in zip(tops, [*tops[1:], height], down, strict=True):
        row = _predict_row(model, image[top : top + edge], shift_scale, tiling, weights, waiting, device, precision)
        done, waiting = row[:, : end - top], row[:, end - top :]
        if not math.isfinite(done.sum()):  # one number that is none makes the sum none
            raise ModelError(
                "The network answers with numbers that are none (NaN): train anew with a lower LEARNING_RATE, or set "
                'PRECISION = "fp32".'
            )
        yield top, done


def predict_bands(
    model: nn.Module,
    image: Shaped[np.ndarray, "h w"],
    shift_scale: tuple[float, float],
    tiling: Tiling,
    *,
    device: torch.device,
    precision: Precision,
) -> Iterator[Band]:
    """All of :func:`predict_tensors`, in the computer's own memory."""
    for top, band in predict_tensors(model, image, shift_scale, tiling, device=device, precision=precision):
        yield Band(top, band.cpu().numpy())


def count_bands(height: int, tiling: Tiling) -> int:
    """How many bands :func:`predict_bands` gives for an image of so many rows."""
    return len(_spread(height, tiling.size, tiling.overlap)[1])


def predict_probabilities(
    model: nn.Module,
    image: Shaped[np.ndarray, "h w"],
    shift_scale: tuple[float, float],
    tiling: Tiling,
    *,
    device: torch.device,
    precision: Precision,
) -> Float32[np.ndarray, "c h w"]:
    """All of :func:`predict_bands` at once."""
    bands = predict_bands(model, image, shift_scale, tiling, device=device, precision=precision)
    return np.concatenate([band.probabilities for band in bands], axis=1)


def predict_labels(
    model: nn.Module,
    image: Shaped[np.ndarray, "h w"],
    shift_scale: tuple[float, float],
    tiling: Tiling,
    *,
    device: torch.device,
    precision: Precision,
) -> UInt8[np.ndarray, "h w"]:
    """The most probable class id of each pixel; of equals the first."""
    bands = predict_bands(model, image, shift_scale, tiling, device=device, precision=precision)
    return np.concatenate([band.labels() for band in bands])


@torch.inference_mode()
def _predict_row(
    model: nn.Module,
    strip: Shaped[np.ndarray, "rows w"],
    shift_scale: tuple[float, float],
    tiling: Tiling,
    down: Float32[Tensor, " rows"],
    waiting: Float32[Tensor, "c above w"] | None,
    device: torch.device,
    precision: Precision,
) -> Float32[Tensor, "c rows w"]:
    """Probabilities of one row of tiles, blended from left to right, and added to what the row above left unfinished.

    Args:
        model: See :func:`predict_tensors`, like the rest.
        strip: The grey levels of the row.
        shift_scale: What normalises them.
        tiling: How the row is cut.
        down: How much each line of the row counts.
        waiting: What the row above gives to the first lines.
        device: Where to compute.
        precision: Number format.
    """
    shift, scale = shift_scale
    width = strip.shape[1]
    edge, lefts = _spread(width, tiling.size, tiling.overlap)
    across = torch.from_numpy(_weights(width, edge, lefts)).to(device)
    row: Tensor | None = None
    for first in range(0, len(lefts), tiling.batch_size):
        chosen = slice(first, first + tiling.batch_size)
        cuts = np.stack([strip[:, left : left + edge] for left in lefts[chosen]]).astype(np.float32)
        batch = torch.from_numpy((cuts - shift) / scale)[:, None].to(device, memory_format=torch.channels_last)
        probabilities = _probabilities(model, batch, tiling.flips, device, precision)
        if row is None:
            row = torch.zeros(probabilities.shape[1], *strip.shape, device=device)
            if waiting is not None:
                row[:, : waiting.shape[1]] = waiting
        for left, weights, tile in zip(lefts[chosen], across[chosen], probabilities, strict=True):
            row[:, :, left : left + edge].addcmul_(tile, down[:, None] * weights)
    assert row is not None  # noqa: S101  (an image has at least one tile)
    return row


def _probabilities(
    model: nn.Module,
    batch: Float32[Tensor, "b 1 h w"],
    flips: bool,
    device: torch.device,
    precision: Precision,
) -> Float32[Tensor, "b c h w"]:
    mirrors = _MIRRORS if flips else _MIRRORS[:1]
    total: Float[Tensor, "b c h w"] | None = None
    for axes in mirrors:
        with autocast(device, precision):
            logits = model(batch.flip(axes) if axes else batch)
        turned = logits.float().softmax(dim=1)
        turned = turned.flip(axes) if axes else turned  # each copy of a tile costs about a percent
        total = turned if total is None else total.add_(turned)
    assert total is not None  # noqa: S101  (there is at least one mirror image)
    return total.div_(len(mirrors)) if flips else total


def _spread(length: int, size: int, overlap: float) -> tuple[int, list[int]]:
    """Edge and first pixels of the tiles along an axis: as few as the overlap allows, and then as small.

    >>> _spread(300, 512, 0.25), _spread(1000, 512, 0.25)
    ((300, [0]), (424, [0, 288, 576]))
    """
    if length <= size:
        return length, [0]

    def steps(edge: int) -> int:
        longest = max(int(edge - size * overlap) // GRID * GRID, GRID)
        return -(-(length - edge) // longest)

    edges = range(size - (size - length) % GRID, 0, -GRID)  # so that the last tile, too, begins on the grid
    fewest = steps(edges[0])
    edge = min(edge for edge in edges if steps(edge) == fewest)
    slack = (length - edge) // GRID
    return edge, [step * slack // fewest * GRID for step in range(fewest + 1)]


def _weights(length: int, edge: int, starts: list[int]) -> Float32[np.ndarray, "n edge"]:
    """How much each tile counts along an axis; the sum over the tiles is 1 at each pixel.

    Towards a neighbour the weight falls smoothly from 1 to 0 over the middle half of the overlap; at the image's own
    borders it stays 1.

    >>> _weights(6, 4, [0, 2])[:, 1:3].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    weights = np.ones((len(starts), edge))
    for i, (before, start) in enumerate(pairwise(starts)):
        shared = before + edge - start
        rise = np.clip(2 * (np.arange(edge) + 0.5) / max(shared, 0.5) - 0.5, 0, 1)
        ramp = rise * rise * (3 - 2 * rise)
        weights[i] *= ramp[::-1]
        weights[i + 1] *= ramp
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + edge] += weight
    return np.stack([w / total[s : s + edge] for s, w in zip(starts, weights, strict=True)]).astype(np.float32)
