"""Decoded pictures on disk, so that training reads crops without reading whole files."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import numpy as np

from srpu.errors import WorkspaceError
from srpu.files import replacing

log = logging.getLogger(__name__)

OPEN_AT_ONCE = 256
"""Memory maps held open; each costs a file handle."""

DECODED_AT_ONCE = 8
"""Pictures held in memory when the cache folder may not grow."""


class Cache:
    """A folder of ``.npy`` files, opened as memory maps.

    Args:
        folder: Where decoded pictures lie; it can be deleted at any time.
        limit_bytes: Beyond this much, pictures are decoded each time.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._room = limit_bytes - _bytes_in(folder)
        self._maps: OrderedDict[str, np.ndarray] = OrderedDict()
        self._decoded: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = Lock()
        self._said = False

    def get(self, key: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The picture called ``key``, read-only; ``decode`` makes it the first time."""
        with self._lock:
            for opened in (self._maps, self._decoded):
                if key in opened:
                    opened.move_to_end(key)
                    return opened[key]
            path = self._folder / f"{key}.npy"
            picture = self._open(path)
            if picture is None:
                picture = self._store(path, decode())
            return self._remember(key, picture)

    @staticmethod
    def _open(path: Path) -> np.ndarray | None:
        try:
            picture: np.ndarray = np.load(path, mmap_mode="r")
        except (
            FileNotFoundError,
            ValueError,
            EOFError,
        ):  # a file that a crash left half written is made again
            return None
        return picture

    def _store(self, path: Path, picture: np.ndarray) -> np.ndarray:
        if picture.nbytes > self._room:
            if not self._said:
                log.info(
                    "The cache %s has reached CACHE_LIMIT_GB; further images are decoded each time they are needed, "
                    "which is slower.",
                    self._folder,
                )
                self._said = True
            return picture
        self._room -= picture.nbytes
        try:
            with replacing(path) as temporary:
                np.save(temporary, picture)
        except WorkspaceError:
            if not path.exists():  # if it does, another process was quicker, and Windows guards what it has open
                raise
        opened = self._open(path)
        return picture if opened is None else opened

    def _remember(self, key: str, picture: np.ndarray) -> np.ndarray:
        mapped = isinstance(picture, np.memmap)
        opened, limit = (self._maps, OPEN_AT_ONCE) if mapped else (self._decoded, DECODED_AT_ONCE)
        opened[key] = picture
        if len(opened) > limit:
            opened.popitem(last=False)
        return picture


def _bytes_in(folder: Path) -> int:
    """What the pictures in ``folder`` take; another process may be adding some."""
    total = 0
    for path in folder.glob("*.npy"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
