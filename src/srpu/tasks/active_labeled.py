"""Accepted masks where users and other verbs look for them: in the labelled folder, and in the split.

Only files that were written here are ever replaced or removed, and only while they are as they were written.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from srpu.active.entries import Label
from srpu.active.labels import ids_hash
from srpu.active.store import Store
from srpu.data.index import Record
from srpu.data.masks import read_mask, write_mask
from srpu.data.pairing import LABELED, RAW
from srpu.data.splits import Entry, Splits, read_splits, write_splits
from srpu.errors import MaskError
from srpu.files import make_folder, read_json, write_json, writing_to
from srpu.tasks.active_places import Places
from srpu.tasks.index_task import split_rule
from srpu.tasks.wiring import class_map

log = logging.getLogger(__name__)

VALIDATION = "validation"
"""What a query is for, among its facts; else it is for training."""


def publish(places: Places, store: Store, images: Mapping[str, Record]) -> None:
    """Write each label that was taken in to the labelled folder, and say in the split what it is for.

    A page of a stack is not written, for the mask of a stack is a stack; rounds train on it all the same.

    Args:
        places: Settings and folders.
        store: Whose labels they are.
        images: Every image of the index by its hash.

    Raises:
        WorkspaceError: A file cannot be written.
    """
    came_back = set(store.history()["taken in"])
    current = {
        sha256: label
        for sha256, label in store.current().items()
        if label.number in came_back and label.reviewed and sha256 in images
    }
    decide(places, store, images, current)
    ledger = places.store / "published.json"
    written: dict[str, dict[str, str]] = read_json(ledger) if ledger.exists() else {}
    stems = Counter(_place(record) for record in images.values())
    for sha256, label in sorted(current.items()):
        record, known = images[sha256], written.get(sha256)
        if stems[_place(record)] > 1 or record.page is not None or (known is not None and known["ids"] == label.mask):
            continue
        path = _target(places, record)
        if _may_write(path, known, record, places):
            written[sha256] = {"file": places.workspace.name(path), "ids": known["ids"] if known else ""}
            written[sha256]["next"] = label.mask  # as the process may be killed while it writes
            write_json(ledger, written)
            make_folder(path.parent)
            write_mask(path, store.ids(label), class_map(places.settings))
            written[sha256] = {"file": places.workspace.name(path), "ids": label.mask}
            write_json(ledger, written)
    holding = _holding(store)
    for sha256, known in sorted(written.items()):
        if sha256 not in current and not holding & {(sha256, known["ids"]), (sha256, known.get("next", ""))}:
            _withdraw(places.workspace.path(known["file"]), known, places)
            del written[sha256]
            write_json(ledger, written)


def _holding(store: Store) -> set[tuple[str, str]]:
    """Images and their masks, old ones too, that were never taken back."""
    revoked = set(store.history()["revoked"])
    return {(label.image, label.mask) for label in store.labels() if label.number not in revoked}


def decide(places: Places, store: Store, images: Mapping[str, Record], current: Mapping[str, Label]) -> None:
    """Note in the split what answered images are for, before an index decides it by chance."""
    if places.settings.SPLIT_FILE is not None or not current:
        return
    path = places.workspace.path(places.settings.SPLITS_JSON)
    before = read_splits(path)
    purpose = {one.number: one.facts.get("for") for one in store.asked()}
    there = {entry.sha256 for entry in before.entries} if before else set()
    new = [
        Entry(images[sha256].id, images[sha256].group, "val" if _judges(label, purpose) else "train", sha256)
        for sha256, label in current.items()
        if sha256 not in there
    ]
    if not new:
        return
    splits = before or Splits(split_rule(places.settings))
    grown = before is not None and any(entry.split == "val" for entry in new)
    entries = tuple(sorted([*splits.entries, *new], key=lambda entry: entry.id))
    write_splits(path, replace(splits, truth_version=splits.truth_version + grown, entries=entries))


def _judges(label: Label, purpose: Mapping[int, Any]) -> bool:
    return label.query is not None and purpose.get(label.query) == VALIDATION


def _place(record: Record) -> tuple[str, str]:
    """Where its mask would lie: two images with one such place could not be told apart."""
    path = PurePosixPath(record.id.partition("#")[0])
    return record.dataset if record.dataset not in (RAW, LABELED) else LABELED, str(path.with_suffix("")).casefold()


def _target(places: Places, record: Record) -> Path:
    path = PurePosixPath(record.id)
    name = f"{path.stem}_mask.png"
    if record.dataset in (RAW, LABELED):
        return places.labeled / path.parent / name
    folder = places.workspace.path(places.settings.DATASETS_DIR) / record.dataset
    classes = folder / f"masks_{places.settings.NUM_CLASSES}class"
    masks = classes if classes.is_dir() or not (folder / "masks").is_dir() else folder / "masks"
    return masks / path.relative_to(record.dataset).parent / name


def _may_write(path: Path, known: Mapping[str, str] | None, record: Record, places: Places) -> bool:
    """Whether there is no mask of the user's for this image."""
    if known is None:
        return record.mask is None and not path.exists()
    return not path.exists() or _is_as_written(path, known, places)


def _withdraw(path: Path, known: Mapping[str, str], places: Places) -> None:
    """Remove a copy whose label was taken back; the label itself stays in the store."""
    if path.exists() and _is_as_written(path, known, places):
        with writing_to(path):
            path.unlink()
    elif path.exists():
        log.warning("%s was changed by hand and stays, though its label was taken back.", path)


def _is_as_written(path: Path, known: Mapping[str, str], places: Places) -> bool:
    try:
        return ids_hash(read_mask(path, class_map(places.settings)).ids) in (known["ids"], known.get("next"))
    except MaskError:
        return False
