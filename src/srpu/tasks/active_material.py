"""What rounds work with: the images of the index, the labels that hold, and what may still be asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from srpu.active.entries import Label, StoredImage
from srpu.active.labels import Ids, ids_hash, label_path
from srpu.active.store import Store
from srpu.data.classes import IGNORE
from srpu.data.index import Record, read_manifest, write_manifest
from srpu.errors import IndexingError, MaskError
from srpu.progress import track
from srpu.tasks import index_task
from srpu.tasks.active_places import Places
from srpu.tasks.protected import protected
from srpu.tasks.wiring import KEPT, Opener

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """The images of the index.

    Attributes:
        labelled: With a mask in the user's folders, with their splits.
        unlabelled: Without.
    """

    labelled: list[Record]
    unlabelled: list[Record]

    @property
    def images(self) -> dict[str, Record]:
        """Every image by its hash."""
        return {record.sha256: record for record in [*self.unlabelled, *self.labelled]}

    @property
    def judged(self) -> list[Record]:
        """What models are judged on: never trained on, never asked for."""
        return [record for record in self.labelled if record.split in ("val", "test")]

    @property
    def validation(self) -> list[Record]:
        """What rounds are judged on."""
        return [record for record in self.labelled if record.split == "val"]


def read_material(places: Places) -> Material:
    """The images as the indices have them; one that is missing or empty holds none.

    Raises:
        IndexingError: There is no index at all, or one is damaged.
    """
    settings, workspace = places.settings, places.workspace
    found = []
    for name in (settings.MASTER_LABELED_JSON, settings.MASTER_UNLABELED_JSON):
        path = workspace.path(name)
        found.append(read_manifest(path) if _holds_any(path) else [])
    if not any(found):
        raise IndexingError(
            f"There is no image in the index ({workspace.path(settings.JSON_DIR)}); put images into data/raw and run "
            "`srpu index`."
        )
    return Material(*found)


def _holds_any(path: Path) -> bool:
    return path.exists() and '"id"' in path.read_text(encoding="utf-8")


def renew(places: Places, store: Store) -> Material:
    """Index the folders anew, after a copy of the indices as they are, and know what they hold.

    Raises:
        IndexingError: There is no image; or PairingError: masks and images that cannot be paired.
    """
    places.back_up_indices()
    index_task.run(places.settings, places.workspace)
    material = read_material(places)
    remember(places, store, material)
    return material


def remember(places: Places, store: Store, material: Material) -> None:
    """Know every image, and keep masks of the user's folders that were not known yet as labels."""
    store.remember_images(
        StoredImage(record.sha256, record.id, record.dataset, record.group) for record in material.images.values()
    )
    known = {(label.image, label.mask) for label in store.labels()}
    waiting = {
        asked.query.image for asked in store.asked(state="open")
    }  # their masks are answers, and taken in as such
    opener = Opener(places.settings, places.workspace)
    for record in track([one for one in material.labelled if one.sha256 not in waiting], "reading masks"):
        try:
            ids = opener.mask(record)
        except (MaskError, IndexingError) as error:
            log.warning("Not taken as a label: %s", error)
            continue
        if (record.sha256, ids_hash(ids)) not in known:
            store.accept(record.sha256, ids, state="drawn", who=annotator(places))


def annotator(places: Places) -> str:
    """Who labels, for the record."""
    import getpass

    if places.settings.ANNOTATOR:
        return places.settings.ANNOTATOR
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a computer without login names, as in containers
        return "unknown"


def training_records(places: Places, store: Store, material: Material) -> list[Record]:
    """What is trained on: every image with a reviewed label, except those that are judged on or stand in a gap."""
    images = material.images
    splits = {record.sha256: record.split for record in material.labelled}
    return [
        _with_label(images[sha256], label, places)
        for sha256, label in sorted(store.current().items())
        if sha256 in images and label.reviewed and _trains(label, splits.get(sha256, "train"))
    ]


def _trains(label: Label, split: str | None) -> bool:
    """Whether a label is for training; an answer is, though a split fixed by hand does not name its image."""
    return split == "train" or (split is None and label.query is not None)


def _with_label(record: Record, label: Label, places: Places) -> Record:
    mask = places.workspace.name(label_path(places.store, label.mask))
    return replace(record, split="train", mask=mask, mask_page=None, mask_read_by=KEPT)


def write_round_manifests(places: Places, number: int, training: Iterable[Record], material: Material) -> None:
    """Write what a round is trained and judged on to ``json/round_N``."""
    parts: dict[str, Iterable[Record]] = {"train": training, "val": material.validation}
    parts["test"] = [record for record in material.labelled if record.split == "test"]
    for name, records in parts.items():
        write_manifest(places.manifests(number) / f"{name}.json", records)


def read_part(places: Places, number: int, part: str) -> list[Record]:
    """What a round has in its "train", "val" or "test" part."""
    path = places.manifests(number) / f"{part}.json"
    return read_manifest(path) if _holds_any(path) else []


@dataclass(frozen=True)
class Pool:
    """What may be asked for.

    Attributes:
        records: The images.
        taken: Of images that are labelled in part: class ids (h, w), 255 where something can still be asked for.
        refused: Images that may not be asked for, because models are judged on them or their like, and why.
    """

    records: list[Record]
    taken: Mapping[str, Ids]
    refused: Mapping[str, str] = field(default_factory=dict)


def read_pool(places: Places, store: Store, material: Material) -> Pool:
    """Every image that is not labelled, not asked for already and not like one that is judged on.

    With QUERY = "region", images that are labelled in part are in the pool too.
    """
    regions = places.settings.QUERY == "region"
    never = {record.sha256 for record in material.labelled if record.split != "train"}
    labels = {sha256: label for sha256, label in store.current().items() if label.reviewed}
    taken = {sha256: store.ids(label).copy() for sha256, label in labels.items()} if regions else {}
    gone = set() if regions else set(labels)
    images = material.images
    for asked in store.asked():
        if asked.state not in ("open", "skipped") or asked.query.image not in images:
            continue
        if asked.query.window is None:
            gone.add(asked.query.image)
        else:
            record = images[asked.query.image]
            blocked = taken.setdefault(record.sha256, np.full((record.height, record.width), IGNORE, np.uint8))
            blocked[asked.query.window.slices] = 0
    gone |= {sha256 for sha256, ids in taken.items() if not (ids == IGNORE).any()}
    left = [record for sha256, record in images.items() if sha256 not in gone | never]
    left.sort(key=lambda record: record.id)
    why = protected(material.labelled, left, places.settings, places.workspace)
    return Pool([record for record in left if record.sha256 not in why], taken, why)
