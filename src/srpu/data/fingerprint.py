"""How alike two pictures are, however they were shifted, mirrored, turned, recoloured or cropped.

What is compared is fine structure. Layers and shading, which all fields of one specimen share, are taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Complex64, Float16, Float32, Shaped
from scipy import fft

THUMBNAIL = 96
"""Longest edge of a thumbnail. Less blurs fine textures away; with more, one degree of turn makes another field."""

MIN_OVERLAP = 0.2
"""Share of the smaller picture that the other must show too; in less, chance looks like structure."""

MIN_OVERLAP_PIXELS = 1200
"""The same in pixels of thumbnails; a picture that is smaller must lie in the other nearly whole."""

TURNS = tuple((mirrored, quarters) for mirrored in (False, True) for quarters in range(4))
"""The eight ways to lay one picture on another."""

_PADDED = 2 * THUMBNAIL
_LEAST_EDGE = 24  # a thumbnail that is smaller could fit anywhere
_LEAST_CONTRAST = 0.3


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is remembered of a picture: at most 20 kB.

    Attributes:
        thumbnail: The picture with mean 0 and deviation 1, its longest edge at most ``THUMBNAIL`` pixels.
        scale: Edge of a thumbnail's pixel, in pixels of the picture.
    """

    thumbnail: Float16[np.ndarray, "h w"]
    scale: float


class Match(NamedTuple):
    """Two pictures where they fit best.

    Attributes:
        correlation: From 0, strangers reach 0.5, to 1, the same structure.
        how: How one must be laid on the other, in words.
    """

    correlation: float
    how: str


def fingerprint(image: Shaped[np.ndarray, "h w"]) -> Fingerprint:
    """The memory of an image of any depth, given without its data bar."""
    scale = max(1.0, max(image.shape) / THUMBNAIL)
    height, width = (max(1, round(edge / scale)) for edge in image.shape)
    small = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
    mean, deviation = small.mean(), small.std()
    if deviation <= 1e-6 * abs(mean):  # what a blank image differs by is rounding
        return Fingerprint(np.zeros(small.shape, np.float16), scale)
    return Fingerprint(((small - mean) / deviation).astype(np.float16), scale)


class Mould:
    """One picture in all turns, ready to be compared with many."""

    def __init__(self, own: Fingerprint) -> None:
        self._own = own
        self._turned: dict[float, tuple[list[np.ndarray], np.ndarray]] = {}

    def fit(self, other: Fingerprint) -> Match:
        """How well ``other`` fits, at equal pixel size and at equal width of field."""
        ratio = other.scale / self._own.scale
        zooms = [(1.0, 1.0)]
        if abs(ratio - 1) > 0.01:  # one may be a crop of the other: bring both to the coarser one's pixels
            zooms.append((min(1 / ratio, 1.0), min(ratio, 1.0)))
        return max(self._fit_at(other, *zoom) for zoom in zooms)

    def _fit_at(self, other: Fingerprint, own_zoom: float, other_zoom: float) -> Match:
        theirs = levelled(other.thumbnail, other_zoom)
        pictures, spectra = self._turns(own_zoom)
        products = fft.irfft2(spectra * np.conj(_spectrum(theirs)), (_PADDED, _PADDED), workers=-1)
        fits = [_best_correlation(mine, theirs, product) for mine, product in zip(pictures, products, strict=True)]
        best = int(np.argmax(np.abs(fits)))
        return Match(abs(fits[best]), _describe(*TURNS[best], inverted=fits[best] < 0))

    def _turns(self, zoom: float) -> tuple[list[np.ndarray], np.ndarray]:
        if zoom not in self._turned:
            flat = levelled(self._own.thumbnail, zoom)
            pictures = [np.rot90(flat[:, ::-1] if mirrored else flat, quarters) for mirrored, quarters in TURNS]
            self._turned[zoom] = pictures, np.stack([_spectrum(picture) for picture in pictures])
        return self._turned[zoom]


def levelled(thumbnail: Shaped[np.ndarray, "h w"], zoom: float = 1.0) -> Float32[np.ndarray, "h2 w2"]:
    """Fine structure alone: no shading, no level layers, the same contrast everywhere; deviation 1, or 0 if flat."""
    picture: np.ndarray = thumbnail.astype(np.float32)
    if zoom < 1:
        size = [max(1, round(edge * zoom)) for edge in picture.shape]
        picture = cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    detail = _blurred(picture, 1) - _blurred(picture, 3)
    detail = detail - np.median(detail, axis=1, keepdims=True)
    detail = detail - np.median(detail, axis=0, keepdims=True)
    power = _blurred(detail**2, 4)
    detail = detail / np.sqrt(power + 0.1 * power.mean() + 1e-9)
    # Clipped, a few pores count no more than all the weak structure around them.
    detail = np.clip(detail / max(float(detail.std()), 1e-3), -1.5, 1.5)
    return np.asarray(detail / max(float(detail.std()), 1e-3))


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))


def _spectrum(picture: np.ndarray) -> Complex64[np.ndarray, "p q"]:
    return np.asarray(fft.rfft2(picture, (_PADDED, _PADDED)))


def _best_correlation(a: np.ndarray, b: np.ndarray, products: Float32[np.ndarray, "p p"]) -> float:
    """The correlation of largest size, over the shifts at which ``a`` and ``b`` overlap enough."""
    if min(*a.shape, *b.shape) < _LEAST_EDGE:
        return 0.0
    place = int(np.argmax(np.abs(products) * _weights(a.shape, b.shape)))
    down, right = (shift - _PADDED if shift >= THUMBNAIL else shift for shift in divmod(place, _PADDED))
    mine = a[max(down, 0) : b.shape[0] + down, max(right, 0) : b.shape[1] + right]
    theirs = b[max(-down, 0) : a.shape[0] - down, max(-right, 0) : a.shape[1] - right]
    mine, theirs = mine - mine.mean(), theirs - theirs.mean()
    # Contrast below the usual counts as such, or the noise of two blank corners could fit.
    contrast = [max(float(np.mean(part * part)), _LEAST_CONTRAST) for part in (mine, theirs)]
    return float(np.clip(np.mean(mine * theirs) / np.sqrt(contrast[0] * contrast[1]), -1, 1))


@lru_cache(maxsize=64)
def _weights(a: tuple[int, int], b: tuple[int, int]) -> Float32[np.ndarray, "p p"]:
    """For each shift, in the order of the transform, one by the pixels that overlap; 0 where they are too few."""
    shift = np.fft.fftfreq(_PADDED, 1 / _PADDED)
    rows, columns = (
        np.clip(np.minimum(m, n + shift) - np.maximum(0, shift), 0, None) for m, n in zip(a, b, strict=True)
    )
    common, smaller = np.outer(rows, columns), min(a[0] * a[1], b[0] * b[1])
    enough = min(max(MIN_OVERLAP * smaller, MIN_OVERLAP_PIXELS), 0.8 * smaller)
    return np.where(common >= enough, 1 / np.maximum(common, 1), 0).astype(np.float32)


def _describe(mirrored: bool, quarters: int, inverted: bool) -> str:
    """How a picture was changed, in words.

    >>> _describe(True, 1, False)
    'mirrored, turned by 90°'
    """
    words = ["mirrored"] * mirrored + [f"turned by {90 * quarters}°"] * (quarters > 0) + ["inverted"] * inverted
    return ", ".join(words) or "same way up"
