"""Pictures that lie in training and in validation or test at once, exactly or nearly.

Near duplicates are pictures whose fine structure correlates: the same field saved with another contrast, noise or bit
depth, shifted by drift, mirrored or turned by quarters, crops that overlap, neighbouring frames of a film or slices of
a stack. Where there are too many pairs to correlate all, each judged picture is correlated with those whose Fourier
magnitudes, which do not change when a picture is shifted, are most like its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from scipy import fft, ndimage

from srpu.data.draw import SPLITS
from srpu.data.fingerprint import Fingerprint, Mould, levelled
from srpu.progress import track

EXACT = "the same pixels"
"""How exact copies fit."""

PAIRS_IN_FULL = 5_000
"""Pairs that are correlated, half a minute's work. Beyond, each picture meets its likeliest partners only."""

_LEAST_PARTNERS = 4
_WINDOW = 48
_QUERIES_AT_ONCE = 4  # 45 MB of likenesses for 7,000 pictures


class Leak(NamedTuple):
    """Two pictures, by number, that show the same.

    Attributes:
        first: The one in the split nearer to training.
        second: The other.
        correlation: Of their fine structure, from 0 to 1.
        how: How one must be laid on the other, in words.
    """

    first: int
    second: int
    correlation: float
    how: str


def find_leaks(
    splits: Sequence[str],
    hashes: Sequence[str],
    fingerprints: Sequence[Fingerprint],
    threshold: float,
    pairs_in_full: int = PAIRS_IN_FULL,
) -> list[Leak]:
    """All pairs of different splits that show the same, the surest first.

    Args:
        splits: Of each picture: "train", "val" or "test".
        hashes: Of each picture's pixels; equal ones are the same picture.
        fingerprints: Of each picture.
        threshold: Correlation from which on two pictures count as near duplicates.
        pairs_in_full: How many pairs are correlated at most, 3 ms each; of more, the likeliest.
    """
    members = {split: np.array([n for n, own in enumerate(splits) if own == split], np.int64) for split in SPLITS}
    partners = max(_LEAST_PARTNERS, pairs_in_full // max(len(members["val"]) + len(members["test"]), 1))
    leaks = []
    for number, split in enumerate(SPLITS[1:], start=1):  # each split is compared with those before it
        earlier = np.concatenate([members[name] for name in SPLITS[:number]])
        copies = {hashes[first]: int(first) for first in reversed(earlier)}
        likely = _likely_partners(fingerprints, members[split], earlier, partners)
        for second, firsts in track(likely, f"comparing {split} images with others", len(members[split])):
            if hashes[second] in copies:
                leaks.append(Leak(copies[hashes[second]], second, 1.0, EXACT))
            mould = Mould(fingerprints[second])
            for first in firsts:
                if hashes[first] != hashes[second]:
                    match = mould.fit(fingerprints[first])
                    if match.correlation >= threshold:
                        leaks.append(Leak(int(first), second, *match))
    return sorted(leaks, key=lambda leak: (leak.how != EXACT, -leak.correlation, leak.second, leak.first))


def _likely_partners(
    fingerprints: Sequence[Fingerprint], queries: Int64[np.ndarray, " q"], pool: Int64[np.ndarray, " n"], count: int
) -> Iterator[tuple[int, Int64[np.ndarray, " k"]]]:
    """For each query the ``count`` members of ``pool`` whose Fourier magnitudes are most like its own."""
    if len(pool) <= count:
        yield from ((int(query), pool) for query in queries)
        return
    signatures = np.concatenate([_signatures(fingerprints[number].thumbnail) for number in pool])
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        block = queries[start : start + _QUERIES_AT_ONCE]
        # A half turn changes no magnitude, so four of the eight turns are enough.
        turned = [
            _signatures(np.rot90(thumbnail[:, ::mirror], quarters))
            for thumbnail in (fingerprints[number].thumbnail for number in block)
            for mirror in (1, -1)
            for quarters in (0, 1)
        ]
        likeness = (np.concatenate(turned) @ signatures.T).reshape(len(block), -1, len(signatures)).max(axis=1)
        for query, row in zip(block, likeness.reshape(len(block), len(pool), -1).max(axis=2), strict=True):
            yield int(query), pool[np.argpartition(row, -count)[-count:]]


def _signatures(thumbnail: Shaped[np.ndarray, "h w"]) -> Float32[np.ndarray, "10 d"]:
    """Fourier magnitudes of the whole picture and of nine windows of half its edges, less their smooth course.

    What is left is as good as random for another field, and the same for a shifted one: they are vectors of length 1
    whose product is about 0 for strangers.
    """
    square = cv2.resize(levelled(thumbnail), (2 * _WINDOW, 2 * _WINDOW), interpolation=cv2.INTER_LINEAR)
    places = range(0, _WINDOW + 1, _WINDOW // 2)
    windows = [square[top : top + _WINDOW, left : left + _WINDOW] for top in places for left in places]
    windows.append(cv2.resize(square, (_WINDOW, _WINDOW), interpolation=cv2.INTER_AREA))
    magnitudes = np.sqrt(np.abs(fft.fft2(np.stack(windows) * _TAPER)))
    course = ndimage.gaussian_filter(magnitudes, (0, 3, 3), mode="wrap", truncate=2)
    vectors = magnitudes[:, _BAND] / (course[:, _BAND] + 1e-6) - 1
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _taper() -> Float32[np.ndarray, "n n"]:
    """Falls to zero at the border, whose jump would otherwise look like structure."""
    edge = np.minimum((np.arange(_WINDOW) + 0.5) / (0.15 * _WINDOW), 1.0)
    line = np.sin(edge * np.pi / 2) ** 2 * np.sin(edge[::-1] * np.pi / 2) ** 2
    return np.outer(line, line).astype(np.float32)


def _band() -> Bool[np.ndarray, "n n"]:
    """The frequencies that signatures hold: one half of the plane, for the other mirrors it."""
    wave = np.fft.fftfreq(_WINDOW, 1 / _WINDOW)
    down, right = np.meshgrid(wave, wave, indexing="ij")
    radius = np.hypot(down, right)
    half = (down > 0) | ((down == 0) & (right > 0))
    return np.asarray(half & (radius >= 3) & (radius <= 16))


_TAPER, _BAND = _taper(), _band()
