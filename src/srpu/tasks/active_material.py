"""What rounds work with: the images of the index, the labels that hold, and what may still be asked for."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from srpu.active.entries import Label, StoredImage
from srpu.active.labels import Ids, ids_hash, label_path
from srpu.active.query import Window
from srpu.active.store import Store
from srpu.data.classes import IGNORE
from srpu.data.index import Record, read_manifest, write_manifest
from srpu.data.pairing import LABELED, RAW
from srpu.data.splits import read_splits
from srpu.errors import DataError, IndexingError, MaskError, WorkspaceError
from srpu.files import read_json, write_json
from srpu.progress import track
from srpu.tasks import index_task
from srpu.tasks.active_places import Places
from srpu.tasks.protected import protected
from srpu.tasks.wiring import KEPT, Opener

log = logging.getLogger(__name__)

_HOME = {RAW, LABELED}


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
    """The images of DATASETS as the indices have them; one that is missing or empty holds none.

    Raises:
        IndexingError: There is no index at all, or one is damaged, or DATASETS names what they do not hold.
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
    return Material(*_chosen(found, settings.DATASETS))


def _chosen(found: Sequence[list[Record]], datasets: Collection[str] | None) -> list[list[Record]]:
    """The images of some data sets; data/raw and data/labeled are one, as labelling leads from one to the other."""
    if datasets is None:
        return list(found)
    known = {record.dataset for records in found for record in records}
    if unknown := sorted(set(datasets) - known - _HOME):
        raise IndexingError(
            f"DATASETS names {', '.join(unknown)}, which the index does not hold; it holds {', '.join(sorted(known))}."
        )
    wanted = set(datasets) | (_HOME if _HOME & set(datasets) else set())
    return [[record for record in records if record.dataset in wanted] for records in found]


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
    """Know every image, and keep masks of the user's folders that were not known yet as labels.

    A mask that was known counts again where its file has been saved since: the user has gone back to it.
    """
    store.remember_images(
        StoredImage(record.sha256, record.id, record.dataset, record.group) for record in material.images.values()
    )
    labels, revoked = store.labels(), set(store.history()["revoked"])
    known = {(label.image, label.mask) for label in labels}
    windows: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        if label.window is not None and label.number not in revoked:
            windows[label.image].append(label)
    current = {sha256: label.mask for sha256, label in store.current().items()}
    before = _seen(places)
    now = dict(before)
    # Masks of images that are waited for are answers, and taken in as such.
    waiting = {asked.query.image for asked in store.asked(state="open")}
    opener = Opener(places.settings, places.workspace)
    for record in track(material.labelled, "reading masks"):
        name = str(record.mask)
        now[name] = _stamp(places, name)
        if record.sha256 in waiting:
            continue
        try:
            ids = opener.mask(record)
        except (MaskError, IndexingError) as error:
            log.warning("Not taken as a label: %s", error)
            continue
        mask, saved_again = ids_hash(ids), name in before and before[name] != now[name]
        if (record.sha256, mask) not in known or (saved_again and current.get(record.sha256) != mask):
            merged = _with_later_windows(ids, windows[record.sha256], now[name], store)
            for one in (ids,) if np.array_equal(merged, ids) else (ids, merged):  # the file itself is known from now on
                store.accept(record.sha256, one, state="drawn", who=annotator(places))
    if now != before:
        write_json(_seen_file(places), now, indent=None)


def _with_later_windows(ids: Ids, windows: Iterable[Label], stamp: Sequence[int], store: Store) -> Ids:
    """A mask of the user's folder with those windows that came back after it had been saved."""
    ids = ids.copy()
    for label in windows:
        if label.window and stamp and datetime.fromisoformat(label.when).timestamp() > stamp[1] / 1e9:
            later = store.ids(label)[label.window.slices]
            ids[label.window.slices] = np.where(later == IGNORE, ids[label.window.slices], later)
    return ids


def _seen(places: Places) -> dict[str, list[int]]:
    with suppress(FileNotFoundError, WorkspaceError, TypeError, ValueError):  # then nothing was seen yet
        return dict(read_json(_seen_file(places)))
    return {}


def _seen_file(places: Places) -> Path:
    """Size and time stamp of each mask in the user's folders when it was looked at; it can be deleted at any time."""
    return places.workspace.path(places.settings.CACHE_DIR) / "masks_seen.json"


def _stamp(places: Places, name: str) -> list[int]:
    with suppress(OSError):
        stat = places.workspace.path(name).stat()
        return [stat.st_size, stat.st_mtime_ns]
    return []


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
    images, splits = material.images, _splits(places, material)
    by_hand = places.settings.SPLIT_FILE is not None
    asked = {one.query.image for one in store.asked()} if by_hand else set()  # such a split need not name them
    return [
        _with_label(images[sha256], label, places)
        for sha256, label in sorted(store.current().items())
        if sha256 in images and label.reviewed and _trains(label, splits.get(sha256, "train"), sha256 in asked)
    ]


def _splits(places: Places, material: Material) -> dict[str, str | None]:
    """What each image is for that has a mask in the user's folders, or had one, or was asked for; by hash."""
    found: list[tuple[str, str | None]] = []
    if places.settings.SPLIT_FILE is None:
        decided = read_splits(places.workspace.path(places.settings.SPLITS_JSON))
        there = {record.sha256 for record in material.labelled}
        found += [(one.sha256, one.split) for one in decided.entries if one.sha256 not in there] if decided else []
    found += [(record.sha256, record.split) for record in material.labelled]
    return dict(sorted(found, key=lambda one: one[1] in ("val", "test")))  # what is judged on in one place is so in all


def _trains(label: Label, split: str | None, asked: bool) -> bool:
    """Whether a label is for training."""
    return split == "train" or (split is None and (asked or label.query is not None))


def _with_label(record: Record, label: Label, places: Places) -> Record:
    mask = places.workspace.name(label_path(places.store, label.mask))
    return replace(record, split="train", mask=mask, mask_page=None, mask_read_by=KEPT)


def write_round_manifests(places: Places, number: int, training: Iterable[Record], material: Material) -> None:
    """Write what a round is trained and judged on to ``json/round_N``."""
    parts: dict[str, Iterable[Record]] = {"train": training, "val": material.validation}
    parts["test"] = [record for record in material.labelled if record.split == "test"]
    for name, records in parts.items():
        write_manifest(places.manifests(number) / f"{name}.json", records)


@dataclass(frozen=True, eq=False)
class Taken(Mapping[str, Ids]):
    """Of images that are labelled in part: class ids (h, w), 255 where something can still be asked for.

    They are read when they are asked for, as all of them together may not fit into memory.

    Attributes:
        store: Holds the masks.
        images: Every image of the index by its hash.
        labels: Of images that are labelled.
        windows: What is waited for, or was skipped.
    """

    store: Store
    images: Mapping[str, Record]
    labels: Mapping[str, Label]
    windows: Mapping[str, Sequence[Window]]

    def __getitem__(self, sha256: str) -> Ids:
        label, windows = self.labels.get(sha256), self.windows.get(sha256, ())
        if label is None and not windows:
            raise KeyError(sha256)
        record = self.images[sha256]
        empty = np.full((record.height, record.width), IGNORE, np.uint8)
        ids: Ids = empty if label is None else self.store.ids(label).copy()
        for window in windows:
            ids[window.slices] = 0
        return ids

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.labels, *self.windows]))

    def __len__(self) -> int:
        return len({*self.labels, *self.windows})


def _is_open(ids: Ids, record: Record, opener: Opener) -> bool:
    """Whether anything above the data bar can still be asked for; an image that cannot be read tells later."""
    with suppress(DataError, OSError):
        ids = ids[: opener.rows(record)]
    return bool((ids == IGNORE).any())


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
    images = material.images
    labels = {sha256: one for sha256, one in store.current().items() if one.reviewed and sha256 in images}
    gone = set() if regions else set(labels)
    windows: dict[str, list[Window]] = defaultdict(list)
    for asked in store.asked():
        if asked.state not in ("open", "skipped") or asked.query.image not in images:
            continue
        if asked.query.window is None:
            gone.add(asked.query.image)
        else:
            windows[asked.query.image].append(asked.query.window)
    taken = Taken(store, images, labels if regions else {}, windows)
    opener = Opener(places.settings, places.workspace)
    gone |= {sha256 for sha256 in taken if sha256 not in gone and not _is_open(taken[sha256], images[sha256], opener)}
    left = [record for sha256, record in images.items() if sha256 not in gone | never]
    left.sort(key=lambda record: record.id)
    why = protected(material.labelled, left, places.settings, places.workspace)
    return Pool([record for record in left if record.sha256 not in why], taken, why)
