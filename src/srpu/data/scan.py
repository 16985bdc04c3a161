"""What is known of every picture and mask on disk, remembered so that unchanged files are not decoded again.

A file is unchanged if its size and its time of change are. What a mask says also depends on the classes and on the
data bar, so another setting reads the masks anew. The memory can be deleted at any time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
from jaxtyping import Float32, Shaped

from srpu.data.images import databar_rows, find_databar, image_info, pixel_hash, read_image
from srpu.data.masks import ClassMap, fit_mask, read_mask
from srpu.data.pairing import Pair
from srpu.data.rasters import read_raster
from srpu.errors import DataError, ImageError, MaskError, WorkspaceError
from srpu.files import read_json, write_json
from srpu.progress import track

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
FEW_LEVELS = 32
"""Micrographs have more grey levels than this, masks fewer."""

_EDGE = 32

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Facts:
    """What is remembered of one image (a page, in a stack) and its mask.

    Attributes:
        height: In pixels, with the data bar.
        width: In pixels.
        sha256: Of the decoded pixels.
        pixel_size_nm: Edge of a pixel, where the file tells it.
        counts: Labelled pixels of each class above the data bar; None without a mask.
        how: How the mask was read ("class ids", "palette colours", …).
        near: Mask pixels up to 3 levels off their colour.
        swapped: Whether the mask had red and blue swapped.
        detail: The image's fine structure, for :func:`likeness`; labelled images only.
    """

    height: int
    width: int
    sha256: str
    pixel_size_nm: float | None
    counts: tuple[int, ...] | None = None
    how: str | None = None
    near: int = 0
    swapped: bool = False
    detail: str | None = None


class Scan:
    """Reads pictures and masks in several threads, each only until its facts are known.

    Args:
        memory: The file that remembers facts from one scan to the next.
        classes: What masks hold.
        databar: ``DATABAR_ROWS``.
        name: What the memory calls a path.
    """

    def __init__(
        self, memory: Path, classes: ClassMap, databar: int | Literal["auto"], name: Callable[[Path], str] = str
    ) -> None:
        self._memory, self._classes, self._databar, self._name = memory, classes, databar, name
        reading = json.dumps([classes.state(), databar], sort_keys=True, default=str)
        self._reading = hashlib.sha256(reading.encode()).hexdigest()
        self._known = _load(memory)
        self._seen: dict[str, Any] = {}

    def masks_among(self, paths: Sequence[Path]) -> set[Path]:
        """Those of ``paths`` that :func:`looks_like_mask`."""
        results = self._map(self._looks_like_mask, paths, "telling masks from images")
        return {path for path, is_mask in results if is_mask}

    def read(self, pairs: Sequence[Pair]) -> tuple[dict[str, list[Facts]], dict[str, str]]:
        """The facts of every page, and why some could not be had.

        Args:
            pairs: Images, with their masks.

        Returns:
            By the pair's id: one entry per page; and for those that cannot be used, one sentence.
        """
        facts: dict[str, list[Facts]] = {}
        problems: dict[str, str] = {}
        for pair, result in self._map(self._facts_or_problem, pairs, "reading images"):
            if isinstance(result, str):
                problems[pair.id] = result
            else:
                facts[pair.id] = result
        return facts, problems

    def save(self) -> None:
        """Remember what this scan has seen, and nothing else."""
        if self._seen != self._known:
            write_json(self._memory, {"schema_version": SCHEMA_VERSION, "files": self._seen}, indent=None)

    def _map(self, work: Callable[[T], R], items: Sequence[T], doing: str) -> Iterator[tuple[T, R]]:
        """Each item with its result, in order, computed in several threads."""
        with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as threads:
            try:
                results = threads.map(work, items)
                yield from zip(items, track(results, doing, len(items)), strict=True)
            except BaseException:  # Ctrl-C too: what has been read is kept for the next time
                threads.shutdown(wait=True, cancel_futures=True)
                self._seen = self._known | self._seen
                self.save()
                raise

    def _looks_like_mask(self, path: Path) -> bool:
        try:
            key, stamp = f"{self._name(path)}?", _stamp(path)
        except OSError:  # a broken link, say: reading the file will tell
            return False
        entry = self._known.get(key)
        if entry is None or entry[0] != stamp:
            entry = [stamp, looks_like_mask(path)]
        self._seen[key] = entry
        return bool(entry[1])

    def _facts_or_problem(self, pair: Pair) -> list[Facts] | str:
        try:
            return self._facts(pair)
        except DataError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename} cannot be read ({error.strerror}); check its permissions."
        except MemoryError:  # a broken header may ask for any size
            return f"{pair.image.path} or its mask does not fit into memory; cut it into smaller images."

    def _facts(self, pair: Pair) -> list[Facts]:
        image, mask = pair.image.path, pair.mask.path if pair.mask else None
        key, stamp = self._name(image), _stamp(image)
        if mask:
            stamp += [self._name(mask), *_stamp(mask), self._reading]
        entry = self._known.get(key)
        if entry is None or entry[0] != stamp:
            entry = [stamp, [list(astuple(facts)) for facts in self._pages(image, mask)]]
        self._seen[key] = entry
        return [_facts_from(row) for row in entry[1]]

    def _pages(self, image: Path, mask: Path | None) -> Iterable[Facts]:
        info = image_info(image)
        if mask and (pages := image_info(mask).pages) != info.pages:
            raise MaskError(f"{mask} has {pages} pages, its image {image} has {info.pages}; give each page its mask.")
        for page in range(info.pages):
            pixels = read_image(image, page if info.pages > 1 else None)
            height, width = pixels.shape
            facts = Facts(height, width, pixel_hash(pixels), info.pixel_size_nm)
            yield facts if mask is None else self._with_mask(facts, pixels, mask, page if info.pages > 1 else None)

    def _with_mask(self, facts: Facts, pixels: Shaped[np.ndarray, "h w"], path: Path, page: int | None) -> Facts:
        mask = read_mask(path, self._classes, page)
        bar = databar_rows(pixels, self._databar)
        ids = fit_mask(mask.ids, (facts.height, facts.width), bar, path)[: facts.height - bar]
        counts = np.bincount(ids.ravel(), minlength=256)[: len(self._classes)]
        return replace(
            facts,
            counts=tuple(counts.tolist()),
            how=mask.how,
            near=mask.near,
            swapped=mask.swapped,
            detail=_detail(pixels),
        )


def looks_like_mask(path: Path) -> bool:
    """Whether a picture is coloured or has so few grey levels that it must be a mask; False if it is unreadable."""
    try:
        raster = read_raster(path)
    except ImageError:
        return False
    pixels = raster.pixels
    if raster.palette is not None:
        pixels = raster.palette[np.minimum(pixels, len(raster.palette) - 1)]
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            return True
        pixels = pixels[..., 0]
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize < 4:
        return int(np.count_nonzero(np.bincount(pixels.ravel()))) <= FEW_LEVELS
    return len(np.unique(pixels)) <= FEW_LEVELS


def read_facts(memory: Path) -> dict[str, list[Facts]]:
    """What the last scan knew of each image that it could read, by its path as in an index; one entry per page."""
    return {name: [_facts_from(row) for row in rows] for name, (_, rows) in _load(memory).items() if name[-1] != "?"}


def likeness(first: Facts, second: Facts) -> float:
    """How well the fine structure of two images agrees at every place, from -1 to 1; 0 for strangers and flat images.

    Shading and broad layers, which fields of one specimen share, do not count; in slices of a stack it is about 0.8.
    """
    a, b = (_from_text(facts.detail) for facts in (first, second))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


def _load(memory: Path) -> dict[str, Any]:
    try:
        content = read_json(memory)
    except FileNotFoundError:
        return {}
    except WorkspaceError:
        log.info("%s is damaged; all images are read again.", memory)
        return {}
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        return {}
    return dict(content["files"])


def _facts_from(row: Sequence[Any]) -> Facts:
    height, width, sha256, pixel_size, counts, *rest = row
    return Facts(height, width, sha256, pixel_size, None if counts is None else tuple(counts), *rest)


def _stamp(path: Path) -> list[Any]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _detail(pixels: Shaped[np.ndarray, "h w"]) -> str:
    """The image without data bar, made small, less its blurred self; a byte per pixel, as text."""
    above = pixels[: len(pixels) - find_databar(pixels)].astype(np.float32)
    small = cv2.resize(above, (_EDGE, _EDGE), interpolation=cv2.INTER_AREA)
    fine = small - cv2.GaussianBlur(small, (0, 0), 1.5)
    levels = np.clip(np.rint(fine / (fine.std() + 1e-12) * 30), -127, 127) if fine.std() > 0 else np.zeros_like(fine)
    return base64.b64encode(levels.astype(np.int8).tobytes()).decode()


def _from_text(detail: str | None) -> Float32[np.ndarray, " n"]:
    levels = np.frombuffer(base64.b64decode(detail or ""), np.int8).astype(np.float32)
    return levels if levels.size else np.zeros(_EDGE * _EDGE, np.float32)
