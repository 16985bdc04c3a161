"""Cross-validation: which part of the specimens each model does without."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from srpu.data.draw import units_of
from srpu.data.groups import Labelled
from srpu.data.index import Record
from srpu.errors import IndexingError


def specimens(records: Iterable[Record]) -> list[list[Labelled]]:
    """The images that may be judged, by specimen; specimens that share a picture are one.

    Specimens of which an image is kept for the final test are left out.
    """
    records = list(records)
    tested = {record.group for record in records if record.split == "test"}
    return units_of(
        Labelled(record.id, record.sha256, record.image, record.page, record.dataset, group=record.group)
        for record in records
        if record.group not in tested
    )


def draw_folds(records: Iterable[Record], folds: int, seed: int) -> dict[str, int]:
    """The fold of each image that may be judged, by its pixel hash, counted from 1.

    Specimens never part, and folds get nearly equal numbers of images.

    Raises:
        IndexingError: There are fewer specimens than folds.
    """
    units = specimens(records)
    if len(units) < folds:
        raise IndexingError(
            f"FOLDS = {folds} needs {folds} specimens (groups), and the index has {len(units)} outside the test split: "
            + (f"set FOLDS = {len(units)}." if len(units) > 1 else "label another specimen, or set FOLDS = 0.")
        )
    order = np.random.default_rng(seed).permutation(len(units))
    sizes = [0] * folds
    of: dict[str, int] = {}
    for number in sorted(order, key=lambda number: -len(units[number])):
        fold = int(np.argmin(sizes))
        sizes[fold] += len(units[number])
        of |= {image.sha256: fold + 1 for image in units[number]}
    return of
