"""Files that come back: waiting until one is whole, telling by its name what it answers, and what was handed out."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from srpu.active.entries import AskedQuery
from srpu.active.handoff import SELECTION
from srpu.active.imagej import MASK_ENDING
from srpu.active.labels import Ids, ids_hash
from srpu.active.query import Query, Window
from srpu.data.classes import IGNORE, ClassMap
from srpu.data.masks import read_mask
from srpu.data.pairing import bare_stem
from srpu.errors import MaskError, WorkspaceError
from srpu.files import read_json

QUIET = 3.0
"""Seconds after which a file that nobody has written to is whole."""

APART = 1.0
"""Seconds between two looks that find a younger file unchanged."""

Size = tuple[int, int]


class Stillness:
    """Tells files that are whole from those that are still being written or copied.

    Args:
        clock: Seconds since 1970.
        pause: Waits so many seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time, pause: Callable[[float], None] = time.sleep) -> None:
        self._clock, self._pause = clock, pause
        self._seen: dict[Path, tuple[Size, float]] = {}

    def sort(self, paths: Iterable[Path]) -> tuple[dict[Path, Size], list[Path]]:
        """Files that are whole, each with its size in bytes and time stamp in ns, and those that still grow.

        A file is whole if it is older than ``QUIET``, or looked the same ``APART`` seconds ago; for young files that
        were never seen like this, one such pause is made. A file that is gone is neither.
        """
        whole, young, changed = self._look(paths)
        if changed:
            self._pause(APART)
            later, young, _ = self._look(young)
            whole |= later
        return whole, young

    def _look(self, paths: Iterable[Path]) -> tuple[dict[Path, Size], list[Path], bool]:
        whole: dict[Path, Size] = {}
        young, changed = [], False
        for path in paths:
            try:
                stat = path.stat()
            except OSError:  # gone between listing and looking, or not readable for the moment
                continue
            now, size = self._clock(), (stat.st_size, stat.st_mtime_ns)
            before, since = self._seen.get(path, (None, now))
            since = since if before == size else now
            self._seen[path] = size, since
            if now - stat.st_mtime > QUIET or now - since >= APART:
                whole[path] = size
            else:
                young.append(path)
                changed |= before != size
        return whole, young, changed


@dataclass(frozen=True)
class Target:
    """What a mask belongs to.

    Attributes:
        query: The image, or the window of it.
        asked: The query as it was asked, whatever became of it; None: it never was.
    """

    query: Query
    asked: AskedQuery | None = field(default=None, hash=False)

    @property
    def is_open(self) -> bool:
        """Whether an answer is waited for."""
        return self.asked is not None and self.asked.state == "open"


class Names:
    """What files may be called.

    A mask is called like its query, or like its image where only one thing can be meant; behind that may stand one of
    ``MASK_ENDINGS``. In folders that mirror those of the images, the folders' names count too.

    Args:
        asked: Every query, the oldest first.
        images: Hash and id of every image of the index.
    """

    def __init__(self, asked: Sequence[AskedQuery], images: Iterable[tuple[str, str]]) -> None:
        open_ = [Target(one.query, one) for one in asked if one.state == "open"]
        over = [Target(one.query, one) for one in asked if one.state != "open"]
        known = [Target(Query(sha256, id_)) for sha256, id_ in images]
        self._tables = [
            _table(open_, _own_name),
            _table(open_, _name_of_image),
            _table(over, _own_name),
            _table(known, _own_name),
            _table(open_, _stem),
            _table(known, _stem),
        ]

    def find(self, parts: Sequence[str]) -> list[Target]:
        """What the file with these names from the searched folder on can belong to; several: it is not clear."""
        for table in self._tables:
            for stem in _spellings(parts):
                if found := table.get(_key(stem)):
                    return list(found.values())
        return []


def _spellings(parts: Sequence[str]) -> list[str]:
    """The names that a file may go by, the most telling first."""
    stem = Path(parts[-1]).stem
    stems = dict.fromkeys((stem, bare_stem(stem)))
    below = ["__".join((*parts[start:-1], stem)) for start in range(len(parts)) for stem in stems]
    return list(dict.fromkeys(below))


def _table(targets: Iterable[Target], name: Callable[[Query], str]) -> dict[str, dict[Query, Target]]:
    """By name the targets; of a query that was asked twice the last."""
    table: dict[str, dict[Query, Target]] = {}
    for target in targets:
        table.setdefault(_key(name(target.query)), {})[target.query] = target
    return table


def _own_name(query: Query) -> str:
    return query.name


def _name_of_image(query: Query) -> str:
    return Query(query.image, query.id).name


def _stem(query: Query) -> str:
    return PurePosixPath(query.id.partition("#")[0]).stem


def _key(name: str) -> str:
    """As Windows and macOS compare names."""
    return unicodedata.normalize("NFC", name).casefold()


class HandedOut:
    """What a round handed out; what is missing or damaged is unknown, for people may tidy these folders.

    Args:
        folder: That was handed out.
        results: The round's folder of results.
        classes: What ids in files mean.
    """

    def __init__(self, folder: Path, results: Path, classes: ClassMap) -> None:
        self.folder = folder
        self._results, self._classes = results, classes

    @cached_property
    def _info(self) -> Mapping[str, Any]:
        try:
            info = read_json(self.folder / SELECTION)
        except (FileNotFoundError, WorkspaceError):
            return {}
        return info if isinstance(info, dict) else {}

    def _entry(self, query: Query) -> Mapping[str, Any]:
        entries = self._info.get("queries", ())
        return next((one for one in entries if one.get("name") == query.name), {})

    @property
    def model(self) -> str | None:
        """Hash of the model that predicted; None: there was none."""
        model = self._info.get("model")
        return str(model) if model else None

    def cut(self, query: Query) -> Window | None:
        """What was shown of the query's image."""
        cut = self._entry(query).get("cut")
        return Window(*cut) if cut else None

    def file(self, query: Query) -> Path:
        """The mask to be corrected."""
        return self.folder / f"{query.name}{MASK_ENDING}"

    def predicted(self, query: Query) -> Ids | None:
        """The predicted mask as it was written, of the size that was shown; None: there was none, or it was edited."""
        ids = self._known(query)
        return None if ids is None or self.was_blank(query) else ids

    def was_blank(self, query: Query) -> bool:
        """Whether what was handed out held no prediction."""
        ids = self._known(query)
        return self.model is None or (ids is not None and bool((ids == IGNORE).all()))

    def _known(self, query: Query) -> Ids | None:
        copy = self._copy(query)
        if copy is not None:
            return copy
        try:
            ids = read_mask(self.file(query), self._classes).ids
        except MaskError:
            return None
        return ids if ids_hash(ids) in self._hashes(query) else None

    def knows(self, query: Query) -> bool:
        """Whether it is known what was handed out for ``query``."""
        return self._copy(query) is not None or bool(self._hashes(query))

    def was_written(self, query: Query, ids: Ids) -> bool:
        """Whether ``ids`` are what was handed out for ``query``."""
        copy = self._copy(query)
        return ids_hash(ids) in self._hashes(query) or (copy is not None and np.array_equal(ids, copy))

    def _copy(self, query: Query) -> Ids | None:
        try:
            with Image.open(self._results / f"{query.name}_predicted.png") as picture:
                ids = np.array(picture)
        except (OSError, SyntaxError):  # Pillow calls a damaged PNG a SyntaxError
            return None
        return ids if ids.dtype == np.uint8 and ids.ndim == 2 else None

    def _hashes(self, query: Query) -> set[str]:
        """Of all that was ever written for it."""
        return set(self._entry(query).get("written", ()))
