"""Finding, pairing and splitting all images: `srpu index`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from srpu.data.draw import Rule
from srpu.data.folders import subfolders
from srpu.data.groups import Labelled, file_id, grouped, specimen
from srpu.data.hand_split import apply_hand_split, read_hand_split
from srpu.data.index import PixelSizes, Record, read_manifest, write_manifest
from srpu.data.pairing import LABELED, RAW, Pair, find_pairs
from srpu.data.scan import Facts, Scan, likeness
from srpu.data.splits import Splits, assign, read_splits, write_splits
from srpu.errors import IndexingError
from srpu.files import locked, writing_to
from srpu.settings import BaseConfig, Settings
from srpu.tasks.index_summary import listed, say_hand_split, say_masks, say_split, say_table
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

Mode = Literal["all", "dataset", "labeled", "unlabeled"]


@dataclass(frozen=True)
class Indexed:
    """What was found.

    Attributes:
        labelled: Images with a mask; pages of a stack count singly.
        unlabelled: Images without.
        splits: How many labelled images are "train", "val", "test", and None: used for nothing.
        skipped: Why files were left out, one sentence each.
        truth_version: Of the validation and test images.
        truth_grew: Whether validation or test got new images, which starts a new version.
        files: What was written.
    """

    labelled: int
    unlabelled: int
    splits: dict[str | None, int]
    skipped: tuple[str, ...]
    truth_version: int
    truth_grew: bool
    files: tuple[Path, ...]


def run(
    settings: Settings, workspace: Workspace, mode: Mode = "all", name: str | None = None, grow_truth: bool = False
) -> Indexed:
    """Index all images of the workspace; files that have not changed are not read again.

    Everything is looked at in every mode, so that indices agree with each other; the mode says which are written.

    Args:
        settings: Of the verb.
        workspace: Where the images are.
        mode: "all" indices, that of one "dataset", of all "labeled" or of all "unlabeled" images.
        name: The data set, for mode "dataset".
        grow_truth: Whether new images may join validation and test.

    Raises:
        IndexingError: There is no image, SPLIT_FILE does not fit, or the data set does not exist.
        PairingError: Masks and images that cannot be paired; nothing is written.
        WorkspaceError: An index cannot be written, or is being written by another process.
    """
    if grow_truth and settings.SPLIT_FILE is not None:
        raise IndexingError("--grow-truth and SPLIT_FILE exclude each other: a split fixed by hand grows in its file.")
    with locked(workspace.path(settings.CACHE_DIR) / "index.lock", "`srpu index`"):
        scan = Scan(memory(settings, workspace), class_map(settings), settings.DATABAR_ROWS, workspace.name)
        pairs = pair_up(settings, workspace, scan)
        datasets = sorted({pair.dataset for pair in pairs})
        if mode == "dataset" and name not in datasets:
            raise IndexingError(f"There is no data set called {name!r}; there are {', '.join(datasets)}.")
        facts, problems = scan.read(pairs)
        scan.save()
        records, facts_of = _records(pairs, facts, settings, workspace)
        labelled, unlabelled = _told_apart(records)
        if not records:
            raise IndexingError(f"None of the {len(pairs)} images could be read:{listed(problems.values())}")
        before = read_splits(workspace.path(settings.SPLITS_JSON))
        labelled, splits = _split(labelled, facts_of, before, settings, workspace, grow_truth)
        files = _write(settings, workspace, [*labelled, *unlabelled], datasets, splits, mode, name)
    refused = sum(pair.mask is not None and pair.id in problems for pair in pairs)
    say_masks([facts_of[record.id] for record in labelled], [record.id for record in labelled], refused)
    say_table(pairs, labelled, unlabelled, problems)
    counts = dict(Counter(record.split for record in labelled))
    version = splits.truth_version if splits else 1
    grew = before is not None and version > before.truth_version
    return Indexed(len(labelled), len(unlabelled), counts, tuple(problems.values()), version, grew, tuple(files))


def memory(settings: Settings, workspace: Workspace) -> Path:
    """The file that remembers what the last indexing read; :func:`srpu.data.scan.read_facts` reads it."""
    return workspace.path(settings.CACHE_DIR) / "scan.json"


def pair_up(settings: Settings, workspace: Workspace, scan: Scan) -> list[Pair]:
    """Every image in the folders that the settings name, with its mask if it has one.

    Raises:
        IndexingError: There is no image, or a data set has a name that SRPU uses itself.
        PairingError: Names leave open what belongs together.
    """
    raw_dirs = [workspace.path(folder) for folder in settings.RAW_DIRS]
    labeled_dir, datasets_dir = workspace.path(settings.LABELED_DIR), workspace.path(settings.DATASETS_DIR)
    for name, folders in {"RAW_DIRS": raw_dirs, "LABELED_DIR": [labeled_dir], "DATASETS_DIR": [datasets_dir]}.items():
        if getattr(settings, name) != BaseConfig.model_fields[name].default and (
            missing := [path for path in folders if not path.is_dir()]
        ):
            raise IndexingError(f"{name} names {missing[0]}, which is no folder; correct it or make that folder.")
    taken = {RAW, LABELED} | {
        workspace.path(file).stem.casefold()
        for file in (settings.MASTER_LABELED_JSON, settings.MASTER_UNLABELED_JSON, settings.SPLITS_JSON)
    }
    for folder in subfolders(datasets_dir):
        if folder.name.casefold() in taken:
            raise IndexingError(f"The data set {folder} has a name that SRPU uses itself; rename the folder.")
    pairing = find_pairs(
        raw_dirs,
        labeled_dir,
        datasets_dir,
        classes=settings.NUM_CLASSES,
        masks_among=scan.masks_among,
        skip=[workspace.path(folder) for folder in (settings.CACHE_DIR, settings.JSON_DIR, settings.MODEL_SAVE_DIR)],
    )
    for note in pairing.notes:
        log.warning(note)
    if not pairing.pairs:
        places = ", ".join(map(str, [*raw_dirs, labeled_dir, datasets_dir]))
        raise IndexingError(
            f"There is no image in {places}; put PNG, TIFF, JPEG or BMP images into one of them, "
            "or name your own folder in RAW_DIRS in configs/base.py."
        )
    return pairing.pairs


def _records(
    pairs: Iterable[Pair], facts: Mapping[str, Sequence[Facts]], settings: Settings, workspace: Workspace
) -> tuple[list[Record], dict[str, Facts]]:
    """One record for each page of each pair that could be read, and its facts by id; no split yet."""
    sizes, records, facts_of = PixelSizes(), [], {}
    for pair in pairs:
        pages = facts.get(pair.id, ())
        image = pair.image.path
        told = sizes.find(image, pair.image.root) if pages else None
        for number, page in enumerate(pages):
            in_stack = number if len(pages) > 1 else None
            id_ = pair.id if in_stack is None else f"{pair.id}#{number + 1:04d}"
            mask = workspace.name(pair.mask.path) if pair.mask and any(page.counts or ()) else None
            name = workspace.name(image)
            record = Record(
                id=id_,
                image=name,
                page=in_stack,
                mask=mask,
                mask_page=in_stack if mask else None,
                dataset=pair.dataset,
                group=_specimen(settings, id_, name),
                split=None,
                height=page.height,
                width=page.width,
                pixel_size_nm=page.pixel_size_nm or told or settings.PIXEL_SIZE_NM,
                sha256=page.sha256,
                mask_read_by=page.how if mask else None,
            )
            records.append(record)
            facts_of[id_] = page
    return records, facts_of


def _specimen(settings: Settings, id_: str, image: str) -> str:
    found = specimen(settings.GROUP_PATTERN, id_, image) if settings.GROUP_PATTERN else None
    return found or file_id(id_)


def _told_apart(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Labelled and unlabelled images; a picture that lies in several places counts where it is labelled, or in raw."""
    labelled = [record for record in records if record.mask]
    pictures = {record.sha256 for record in labelled}
    if len(pictures) < len(labelled):
        log.warning("Labelled images with the same pixels as others: %d.", len(labelled) - len(pictures))
    raw = {record.sha256 for record in records if record.dataset == RAW}
    unlabelled = [
        record
        for record in records
        if not record.mask
        and record.sha256 not in pictures
        and not (record.dataset == LABELED and record.sha256 in raw)
    ]
    copies = len(records) - len(labelled) - len(unlabelled)
    if copies:
        log.info("Images without a mask that have the same pixels as others and are left out: %d.", copies)
    return labelled, unlabelled


def _split(
    records: Sequence[Record],
    facts_of: Mapping[str, Facts],
    before: Splits | None,
    settings: Settings,
    workspace: Workspace,
    grow_truth: bool,
) -> tuple[list[Record], Splits | None]:
    """The labelled records with group and split, and what to remember of it; None for a split fixed by hand."""
    images = [
        Labelled(record.id, record.sha256, record.image, record.page, record.dataset, facts_of[record.id].counts or ())
        for record in records
    ]
    images = grouped(images, settings.GROUP_PATTERN, lambda one, other: likeness(facts_of[one.id], facts_of[other.id]))
    if settings.SPLIT_FILE is not None:
        of = apply_hand_split(images, read_hand_split(settings.SPLIT_FILE, workspace.root))
        say_hand_split(images, of, settings.SPLIT_FILE)
        groups = {image.id: image.group for image in images}
        return [replace(r, group=groups[r.id], split=of.get(r.id)) for r in records], None
    rule = split_rule(settings)
    path = workspace.path(settings.SPLITS_JSON)
    if not images and before is None:
        return [], None
    assigned = assign(images, before, rule, grow_truth=grow_truth)
    say_split(assigned, before, rule, path, grow_truth)
    return [replace(r, group=assigned.groups[r.id], split=assigned.of[r.id]) for r in records], assigned.splits


def split_rule(settings: Settings) -> Rule:
    """How a split is decided."""
    return Rule(
        settings.TRAIN_RATIO, settings.VAL_RATIO, settings.TEST_RATIO, settings.SPLIT_SEED, settings.GROUP_PATTERN
    )


def _write(
    settings: Settings,
    workspace: Workspace,
    records: Sequence[Record],
    datasets: Iterable[str],
    splits: Splits | None,
    mode: Mode,
    name: str | None,
) -> list[Path]:
    """Write what the mode asks for: what was decided first, the indices that other verbs read last."""
    folder = workspace.path(settings.JSON_DIR)
    indices: dict[Path, list[Record]] = {}
    for dataset in datasets:
        if mode == "all" or dataset == name:
            indices[folder / f"{dataset}.json"] = [record for record in records if record.dataset == dataset]
    if mode in ("all", "unlabeled"):
        indices[workspace.path(settings.MASTER_UNLABELED_JSON)] = [record for record in records if not record.mask]
    if mode in ("all", "labeled"):
        indices[workspace.path(settings.MASTER_LABELED_JSON)] = [record for record in records if record.mask]
    files = list(indices)
    if splits is not None:
        files.insert(0, workspace.path(settings.SPLITS_JSON))
        write_splits(files[0], splits)
    for path, samples in indices.items():
        write_manifest(path, samples, splits.truth_version if splits else 1)
    if mode == "all":
        _remove_outdated(folder, files)
    return files


def _remove_outdated(folder: Path, written: Sequence[Path]) -> None:
    """Delete the indices of data sets that are gone, lest somebody reads them."""
    for path in sorted(set(folder.glob("*.json")) - set(written)):
        try:
            outdated = all(record.dataset == path.stem for record in read_manifest(path))
        except IndexingError:  # somebody else's file
            continue
        if outdated:
            with writing_to(path):
                path.unlink()
            log.info("Removed %s: the data set has no images any more.", path)
