"""The images that pretraining learns from: those without a mask and the training images, never those to judge on."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from srpu.data.dataset import LabelledImage
from srpu.data.index import Record, read_manifest
from srpu.data.normalisation import Normalisation
from srpu.data.pool import hold_out, unreadable
from srpu.data.splits import read_splits
from srpu.errors import DataError, IndexingError, WorkspaceError
from srpu.files import read_json
from srpu.progress import track
from srpu.settings import PretrainSettings, Settings
from srpu.tasks.wiring import Opener, normalisation
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

FEW = 10
"""Images below which pretraining hardly helps."""

MEASURED = 200
"""Images that NORMALIZATION = "dataset" is measured on."""


@dataclass(frozen=True)
class Pool:
    """What is learned from, and what the best epoch is chosen on.

    Attributes:
        records: All of them; their split is "pretrain", or "held out".
        learning: The images that crops are drawn from.
        held_out: Those that the best epoch is chosen on.
        normalisation: How every image is normalised.
        unreadable: Why images were left out so far, by id.
    """

    records: list[Record]
    learning: list[LabelledImage]
    held_out: list[LabelledImage]
    normalisation: Normalisation
    unreadable: dict[str, str] = field(default_factory=dict)

    def took_part(self, unreadable: Sequence[str]) -> dict[str, str]:
        """The pixel hashes of all images but the ``unreadable`` ids."""
        return {record.sha256: "pretrain" for record in self.records if record.id not in set(unreadable)}


def gather_pool(settings: PretrainSettings, workspace: Workspace) -> Pool:
    """The pool of the index's images, without every picture that models are judged on, whatever its name.

    Raises:
        IndexingError: There is no index, DATASETS names a data set that it does not hold, or the pool is empty.
    """
    records = _candidates(settings, workspace)
    opener, images, skipped = Opener(settings, workspace), {}, {}
    looked = track(records, "Looking for data bars") if settings.DATABAR_ROWS == "auto" else records
    for record in looked:
        try:
            images[record.id] = opener.unlabelled(record)
        except DataError as error:
            skipped[record.id] = str(error)
    records = [record for record in records if record.id in images]
    if not records:
        raise IndexingError(f"None of the {len(skipped)} images can be read; run `srpu index` again.")

    def readable(number: int) -> bool:
        id_ = records[number].id
        if why := unreadable(images[id_]):
            skipped[id_] = why
        return not why

    held = _held_out(records, settings, readable)
    records = [record for record in records if record.id not in skipped]
    if len(records) < FEW:
        log.warning(
            "Only %d images to learn from: pretraining will hardly help; put more into %s and run `srpu index`.",
            len(records),
            workspace.path(settings.RAW_DIRS[0]) if settings.RAW_DIRS else "a folder of RAW_DIRS",
        )
    if not held:
        log.warning("There is no image to hold out: the last epoch is kept.")
    learning = [images[record.id] for record in records if record.id not in held]
    measured = learning[:: -(-len(learning) // MEASURED)] if settings.NORMALIZATION == "dataset" else []
    return Pool(
        [replace(record, mask=None, split="held out" if record.id in held else "pretrain") for record in records],
        learning,
        [images[record.id] for record in records if record.id in held],
        normalisation(settings, [image for image in measured if not unreadable(image)]),
        skipped,
    )


def _candidates(settings: PretrainSettings, workspace: Workspace) -> list[Record]:
    """Each picture once, sorted; those to judge on left out by their pixels."""
    path = workspace.path(settings.MASTER_UNLABELED_JSON)
    labelled = index_or_nothing(workspace.path(settings.MASTER_LABELED_JSON))
    if not path.exists() and not labelled:
        raise IndexingError(f"There is no index {path}; run `srpu index`.")
    pool = index_or_nothing(path)
    known = {record.dataset for record in [*pool, *labelled]}
    for setting in ("DATASETS", "DATASET_WEIGHTS"):
        if unknown := set(getattr(settings, setting) or ()) - known:
            raise IndexingError(
                f"{setting} names {', '.join(sorted(unknown))}, which the index does not hold; "
                f"it holds {', '.join(sorted(known))}."
            )
    if settings.USE_LABELED_TRAINING_IMAGES:
        pool += [record for record in labelled if record.split == "train"]
    if settings.DATASETS is not None:
        pool = [record for record in pool if record.dataset in settings.DATASETS]
    judged = judged_on(settings, workspace)
    distinct = {record.sha256: record for record in reversed(pool)}
    kept = [record for sha256, record in distinct.items() if sha256 not in judged]
    kept.sort(key=lambda record: (record.dataset, record.id))
    if not kept:
        raise IndexingError(
            f"There is no image to pretrain on in {path}: put images without masks into "
            f"{', '.join(str(workspace.path(folder)) for folder in settings.RAW_DIRS)} and run `srpu index`."
        )
    copies = [record.id for record in pool if record.sha256 in judged and not (settings.FOLDS and record.mask)]
    names = f"{', '.join(copies[:3])}{', …' if len(copies) > 3 else ''}"
    log.info(
        "%d images to pretrain on, %d of them without masks. Kept away: the %d %s%s.",
        len(kept),
        sum(record.mask is None for record in kept),
        len(judged),
        "labelled images, which FOLDS judges on" if settings.FOLDS else "validation and test images",
        f", also under other names: {len(copies)} ({names})" if copies else "",
    )
    return kept


def judged_on(settings: Settings, workspace: Workspace) -> set[str]:
    """The pixel hashes of all validation and test images, also of those whose masks or files are gone for now.

    With FOLDS every labelled image is judged on by some model.
    """
    kept_for = ("train", "val", "test") if settings.FOLDS else ("val", "test")
    labelled = index_or_nothing(workspace.path(settings.MASTER_LABELED_JSON))
    judged = {record.sha256 for record in labelled if record.split in kept_for}
    decided = read_splits(workspace.path(settings.SPLITS_JSON)) if settings.SPLIT_FILE is None else None
    return judged | {entry.sha256 for entry in (decided.entries if decided else ()) if entry.split in kept_for}


def index_or_nothing(path: Path) -> list[Record]:
    """The records of an index that may be empty or missing."""
    try:
        empty = not read_json(path).get("samples")
    except FileNotFoundError:
        return []
    except (AttributeError, WorkspaceError):
        empty = False
    return [] if empty else read_manifest(path)


def _held_out(records: Sequence[Record], settings: PretrainSettings, readable: Callable[[int], bool]) -> set[str]:
    """The ids of the images that the best epoch is chosen on: whole groups where there are several."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, record in enumerate(records):
        groups[f"{record.dataset}/{record.group}"].append(number)
    if len(groups) == 1:  # one stack: its last pages
        groups = {str(number): [number] for number in range(len(records))}
        order = sorted(groups, key=int, reverse=True)
    else:
        order = [str(name) for name in np.random.default_rng(settings.SEED).permutation(sorted(groups))]
    wanted = max(round(settings.HELD_OUT_SHARE * len(records)), 1)
    return {records[number].id for number in hold_out(groups, order, wanted, readable)}
