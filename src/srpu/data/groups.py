"""Which labelled images belong together: of one specimen, or neighbours in a stack.

Images of one group are alike; a model that was trained on some of them is not tested by the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

ALIKE = 0.4
"""Neighbours whose fine structure agrees better than this are slices of one stack: measured 0.8 for slices 20 nm apart,
below 0.3 for different fields of one specimen."""

_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


@dataclass(frozen=True)
class Labelled:
    """A labelled image, as splitting sees it.

    Attributes:
        id: What the index calls it.
        sha256: Of its pixels.
        image: Path of its file.
        page: Its page in a stack, from 0; None: its file holds one image.
        dataset: Its data set.
        counts: Labelled pixels of each class.
        group: What it belongs to; "" until :func:`grouped` says so.
        place: Where it stands in its stack or series; None outside one.
    """

    id: str
    sha256: str
    image: str
    page: int | None
    dataset: str
    counts: tuple[int, ...] = ()
    group: str = ""
    place: int | None = None


def grouped(
    images: Iterable[Labelled], pattern: str | None, likeness: Callable[[Labelled, Labelled], float]
) -> list[Labelled]:
    """The images, sorted by id, with their groups.

    Args:
        images: Labelled images.
        pattern: ``GROUP_PATTERN``. Where it finds nothing, the pages of a file and runs of numbered files whose
            neighbours look alike are groups, whose images have a place; every other image is a group of its own.
        likeness: How well two images agree, from -1 to 1; asked for neighbours in a numbered series only.
    """
    images = sorted(images, key=lambda image: image.id)
    groups: dict[str, tuple[str, int | None]] = {}
    for image in images:
        if pattern is not None and (name := specimen(pattern, image.id, image.image)):
            groups[image.id] = (name, None)
    for series in _series(image for image in images if image.id not in groups):
        for run in _alike(series, likeness):
            name = file_id(run[0].id) if run[0].page is not None else run[0].id
            groups |= {image.id: (name, place if len(run) > 1 else None) for place, image in enumerate(run)}
    places = [groups.get(image.id, (image.id, None)) for image in images]
    return [replace(image, group=group, place=place) for image, (group, place) in zip(images, places, strict=True)]


def specimen(pattern: str, id_: str, image: str) -> str | None:
    """What the first bracket of ``pattern`` finds in an image's id, or else in its path; None if it finds nothing.

    >>> specimen("(sample[0-9]+)_", "batch/sample12_003.tif", "data/raw/batch/sample12_003.tif")
    'sample12'
    """
    found = re.search(pattern, id_) or re.search(pattern, image)
    return found[1] if found and found[1] else None


def file_id(id_: str) -> str:
    """The id of a page's file.

    >>> file_id("batch/stack.tif#0003")
    'batch/stack.tif'
    """
    return re.sub(r"#\d+$", "", id_)


def in_order(images: Iterable[Labelled]) -> list[Labelled]:
    """The images of a stack by their place; those without one come last."""
    return sorted(images, key=lambda image: (image.place is None, image.place or 0))


def _series(images: Iterable[Labelled]) -> list[list[Labelled]]:
    """Pages of one file, and files that differ in their last number only, each in order."""
    series = defaultdict(list)
    for image in images:
        path = PurePosixPath(file_id(image.id))
        number = _LAST_NUMBER.fullmatch(path.stem)
        if image.page is not None:
            series[image.image, "", ""].append((image.page, image))
        elif number:
            before, digits, after = number.groups()
            series[f"{path.parent}/{before}", after, path.suffix.lower()].append((int(digits), image))
    return [[image for _, image in sorted(members, key=lambda member: member[0])] for members in series.values()]


def _alike(series: Sequence[Labelled], likeness: Callable[[Labelled, Labelled], float]) -> list[list[Labelled]]:
    """The series, cut where two neighbours look different; pages of one file are never cut."""
    runs = [[series[0]]]
    for before, image in pairwise(series):
        if image.page is not None or likeness(before, image) > ALIKE:
            runs[-1].append(image)
        else:
            runs.append([image])
    return runs
