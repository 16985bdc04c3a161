"""Finding the masks that have come back, and reading them; blurred colours are mended where that is no guessing."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from srpu.active.entries import AskedQuery
from srpu.active.imagej import CORRECTED, MASK_ENDING
from srpu.active.intake import HandedOut, Names, Target
from srpu.active.query import Query
from srpu.data.folders import find_files
from srpu.data.index import Record
from srpu.data.masks import ClassMap, colour, read_mask, repair_mask
from srpu.data.rasters import read_raster
from srpu.errors import ImageError, IndexingError, MaskError
from srpu.pictures import RGB, to_rgb
from srpu.tasks.active_places import Places
from srpu.tasks.wiring import Opener

log = logging.getLogger(__name__)

NEWEST = 2
"""Rounds whose folders are looked into though they wait for nothing: somebody may save a mask once more."""

_OFF = 3  # levels that a colour may be off without being drawn as changed
_PREDICTED = Path(MASK_ENDING).stem


class Said:
    """Sentences about files, each said once in a process for each time that its file is written.

    Args:
        before: What was said already; grows.
    """

    def __init__(self, before: set[str]) -> None:
        self._before = before

    def __call__(self, path: Path, sentence: str, level: int = logging.WARNING) -> bool:
        """Say it; gives whether it was new."""
        when = path.stat().st_mtime_ns if level > logging.INFO and path.exists() else 0
        key = f"{when} {sentence}" if when else sentence
        if key in self._before:
            return False
        self._before.add(key)
        log.log(level, "%s", sentence)
        return True


@dataclass(frozen=True)
class Search:
    """Looks for returned masks.

    Attributes:
        places: Settings and folders.
        images: Every image of the index by its hash.
        asked: Every query.
        handed: What each round handed out.
        classes: What ids in files mean.
        say: Says what is wrong with a file's name.
    """

    places: Places
    images: Mapping[str, Record]
    asked: Sequence[AskedQuery]
    handed: Mapping[int, HandedOut]
    classes: ClassMap
    say: Said

    def find(self) -> dict[Target, list[Path]]:
        """The files that may be news, by what they belong to.

        Raises:
            IndexingError: A folder cannot be opened.
        """
        names = Names(self.asked, [(sha256, record.id) for sha256, record in self.images.items()])
        newest = sorted({one.round for one in self.asked})[-NEWEST:]
        rounds = sorted({one.round for one in self.asked if one.state == "open"} | set(newest))
        found: dict[Target, dict[Path, None]] = defaultdict(dict)
        corrected = self.places.workspace.path(self.places.settings.CORRECTED_DIR)
        manual = self.places.handed_by_hand / CORRECTED
        for folder in [*(self.places.handed(number) / CORRECTED for number in rounds), manual, corrected]:
            for file in find_files(folder):
                if target := self._one(file.path, names.find(file.parts)):
                    found[target][file.path] = None
        for target, path in [*self._in_round_folders(rounds, names), *self._in_labeled(names)]:
            found[target][path] = None
        return {target: list(paths) for target, paths in found.items()}

    def _one(self, path: Path, targets: Sequence[Target]) -> Target | None:
        if not targets:
            example = next((one.query.name for one in self.asked if one.state == "open"), "NAME")
            self.say(path, f"{path} is not called like any image; call it like its own, as in {example}_mask.tif.")
        elif len(targets) > 1:
            several = " or ".join(target.query.name for target in targets[:3])
            self.say(path, f"{path} could belong to {several}; call it like one of them, ending in _mask.")
        return targets[0] if len(targets) == 1 else None

    def _in_round_folders(self, rounds: Sequence[int], names: Names) -> Iterator[tuple[Target, Path]]:
        """Masks beside those that were handed out, and those themselves where they were edited."""
        for number in rounds:
            folder = self.places.handed(number)
            for file in find_files(folder, [(folder / CORRECTED).resolve()]):
                targets = names.find(file.parts)
                is_mask = file.stem.lower().endswith("_mask") and len(file.parts) == 1
                if is_mask and len(targets) == 1 and self._is_edited(file.path, targets[0]):
                    yield targets[0], file.path

    def _is_edited(self, path: Path, target: Target) -> bool:
        if not path.stem.endswith(_PREDICTED):
            return True
        if target.asked is None or path.suffix == ".png":  # the same in colours, to look at
            return False
        try:
            ids = read_mask(path, self.classes).ids
        except MaskError:  # saved in a way that is to be mended or refused
            return True
        return bool(self.known(target)) and not self.was_handed_out(target, ids)

    def known(self, target: Target) -> list[HandedOut]:
        """The rounds that asked for the same, as far as it is known what they handed out."""
        rounds = [self.handed[one.round] for one in self.asked if one.query == target.query]
        return [handed for handed in rounds if handed.knows(target.query)]

    def was_handed_out(self, target: Target, ids: UInt8[np.ndarray, "h w"]) -> bool:
        """Whether any of them handed out just this."""
        return any(handed.was_written(target.query, ids) for handed in self.known(target))

    def _in_labeled(self, names: Names) -> Iterator[tuple[Target, Path]]:
        """Masks in the user's folder that answer something, or belong to an image that has none; the rest is known."""
        own = {self.places.workspace.path(record.image) for record in self.images.values()}
        for file in find_files(self.places.labeled):
            targets = [] if file.path in own else names.find(file.parts)
            if len(targets) != 1:  # the index tells about names that fit nothing
                continue
            record = self.images.get(targets[0].query.image)
            if record is not None and (targets[0].is_open or record.mask is None):
                yield targets[0], file.path


@dataclass(frozen=True)
class Reading:
    """A returned mask as read.

    Attributes:
        ids: Class ids of the whole file.
        trouble: What would have to be mended; "": nothing.
        before: The colours in the file, if something has to be mended.
        changed: Where they are not those of a class.
    """

    ids: UInt8[np.ndarray, "h w"]
    trouble: str = ""
    before: RGB | None = None
    changed: Bool[np.ndarray, "h w"] | None = None


@dataclass(frozen=True)
class ReturnedFile:
    """A returned file, and when it was last written, in seconds since 1970."""

    path: Path
    written: float


@dataclass(frozen=True)
class Part:
    """What a file says about what was asked for.

    Attributes:
        record: The image.
        ids: Of the image or window, 255 where nothing is labelled.
        rows: Of it above the data bar.
        reading: The whole file.
    """

    record: Record
    ids: UInt8[np.ndarray, "h w"]
    rows: int
    reading: Reading


def shown_by(query: Query, images: Mapping[str, Record], opener: Opener, path: Path) -> Record:
    """The image that a mask at ``path`` answers for, which must be there as it was when it was asked for.

    Raises:
        ImageError: It is another one now, or gone.
    """
    record = images.get(query.image)
    if record is not None:
        with suppress(IndexingError):  # it was replaced or removed since the index was made
            opener.image(record)
            return record
    raise ImageError(
        f"{path} is not taken: {query.id} has changed or is gone since it was asked for; put it back, or type "
        f'`srpu active skip {query.name} --why "..."`.'
    )


def read_returned(path: Path, classes: ClassMap) -> Reading:
    """Read a mask; one with blurred or compressed edges as its nearest colours, together with what is wrong with it.

    Raises:
        MaskError: It cannot be read, or mending it would be guessing.
    """
    try:
        return Reading(read_mask(path, classes).ids)
    except MaskError as error:
        trouble = error
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        try:
            shutil.copyfile(path, copy)
            mended, _ = repair_mask(copy, classes)
            ids, raster = read_mask(mended, classes).ids, read_raster(path)
        except (MaskError, ImageError, OSError):  # what was wrong at first tells more
            raise trouble from None
    before = raster.pixels
    if raster.palette is not None:
        before = raster.palette[before]
    before = to_rgb(np.clip(before, 0, 255).astype(np.uint8))
    if raster.pixels.ndim == 2 and raster.palette is None:
        changed = ~np.isin(raster.pixels, list(classes.of_levels()))
    else:
        changed = np.abs(before.astype(int) - colour(ids, classes)).max(axis=2) > _OFF
    return Reading(ids, str(trouble), before, changed)
