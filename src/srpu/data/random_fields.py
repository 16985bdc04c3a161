"""Random patterns whose look does not depend on the size of the picture: smooth noise and grains."""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], length: float) -> Float32[np.ndarray, "h w"]:
    """Random field of mean 0 and deviation 1 that changes over about ``length`` pixels, at any picture size."""
    cell = max(length / 2, 1.0)
    rows, columns = (math.ceil(side / cell) + 12 for side in shape)
    white = rng.standard_normal((rows, columns), dtype=np.float32)
    coarse = cv2.GaussianBlur(white, (0, 0), 1.0)[4:-4, 4:-4]  # without the border, where blurring mirrors
    fine = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    start = round(2 * cell)
    # A Gaussian of σ = 1 divides the deviation of white noise by 2 √π.
    return np.asarray(fine[start:, start:][: shape[0], : shape[1]] * np.float32(2 * math.sqrt(math.pi)))


def cells(
    shape: tuple[int, int], size: float, rng: np.random.Generator
) -> tuple[Int32[np.ndarray, "h w"], Int32[np.ndarray, "n 2"]]:
    """Voronoi cells of about ``size`` pixels around jittered seeds: label of each pixel, and the seed of each label."""
    rows, columns = (math.ceil(side / size) for side in shape)
    corner = np.indices((rows, columns)).reshape(2, -1).T
    seeds = ((corner + rng.random(corner.shape)) * size).astype(np.int32)
    seeds = seeds[(seeds < shape).all(axis=1)]
    free = np.ones(shape, np.uint8)
    free[seeds[:, 0], seeds[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    by_label = np.zeros((int(labels.max()) + 1, 2), np.int32)
    by_label[labels[seeds[:, 0], seeds[:, 1]]] = seeds
    return labels, by_label


def warped_cells(shape: tuple[int, int], size: float, rng: np.random.Generator) -> Int32[np.ndarray, "h w"]:
    """Cells with curved borders."""
    labels, _ = cells(shape, size, rng)
    y, x = np.indices(shape, np.float32, sparse=True)
    dy, dx = (0.16 * size * smooth_noise(rng, shape, 0.7 * size) for _ in range(2))
    return look_up(labels, y + dy, x + dx)


def look_up(
    labels: Int32[np.ndarray, "r c"], y: Float32[np.ndarray, "h w"], x: Float32[np.ndarray, "h w"]
) -> Int32[np.ndarray, "h w"]:
    """Labels at the given places, mirrored beyond the border."""
    found = cv2.remap(labels.astype(np.float32), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(found).astype(np.int32)


def borders(labels: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """Pixels whose right or lower neighbour has another label."""
    border = np.zeros(labels.shape, bool)
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    border[:-1] |= labels[:-1] != labels[1:]
    return border
