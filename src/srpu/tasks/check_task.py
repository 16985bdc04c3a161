"""Looking for everything that would spoil a training or a score: `srpu check`."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from srpu.data.draw import SPLITS
from srpu.data.groups import file_id, specimen
from srpu.data.index import Record
from srpu.data.leaks import find_leaks
from srpu.data.scan import Facts, Scan
from srpu.errors import PairingError
from srpu.files import write_json
from srpu.settings import Settings
from srpu.tasks import index_task
from srpu.tasks.index_summary import listed
from srpu.tasks.leak_report import leak_sentences, write_leaks
from srpu.tasks.readings import Look, all_records, look, read_each
from srpu.tasks.stats_task import FOLDER
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

UNPAIRED = "Masks that cannot be paired"
UNUSABLE = "Files that cannot be used"
OUTDATED = "The index is out of date; run `srpu index`"
EMPTY = "Masks without any label"
DATABARS = "Data bars that count as image"
CLASSES = "Classes that do not occur"
SPECIMENS = "Specimens in several splits: scores will be too good"
LEAKS = (
    "The same picture in several splits: scores will be too good. Remove the copies, or tell with GROUP_PATTERN "
    "which images belong together, delete the split in json/splits.json, run `srpu index` and train anew"
)

_NOUNS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        kinds: For each kind of problem, one sentence per problem.
        files: What was written.
    """

    kinds: Mapping[str, Sequence[str]]
    files: tuple[Path, ...]

    @property
    def problems(self) -> int:
        """How many problems there are."""
        return sum(map(len, self.kinds.values()))


@dataclass(frozen=True)
class _Disk:
    """What lies on disk: by id, what is known of each image; and why some files cannot be used."""

    facts: Mapping[str, Facts]
    unusable: Mapping[str, str]
    unpaired: Sequence[str] = ()


def run(settings: Settings, workspace: Workspace) -> Checked:
    """Compare the index with the disk, masks with images and classes, and the splits with each other.

    Raises:
        IndexingError: There is no index.
        WorkspaceError: The results cannot be written.
    """
    labelled, _ = all_records(settings, workspace)
    disk = _on_disk(settings, workspace)
    kinds: dict[str, list[str]] = {UNPAIRED: list(disk.unpaired), UNUSABLE: list(disk.unusable.values())}
    if not disk.unpaired:
        kinds[OUTDATED] = _outdated(labelled, disk)
        kinds[EMPTY] = [f"{id_} has a mask in which nothing is labelled." for id_ in _without_label(disk)]
        kinds[CLASSES] = _missing_classes(labelled, disk, settings)
    kinds[SPECIMENS] = _torn_specimens(labelled, settings)
    readable = [record for record in labelled if disk.unpaired or record.id in disk.facts]
    looks, unreadable = read_each(readable, lambda record: look(record, settings, workspace), "reading images")
    kinds[UNUSABLE] += unreadable
    kinds[DATABARS] = _forgotten_databars(looks)
    compared = [record for record in readable if record.id in looks and record.split in SPLITS]
    leaks = find_leaks(
        [str(record.split) for record in compared],
        [record.sha256 for record in compared],
        [looks[record.id].fingerprint for record in compared],
        settings.NEAR_DUPLICATE_CORRELATION,
    )
    folder = workspace.path(FOLDER)
    files = write_leaks(folder / "leaks", leaks, compared, workspace)
    kinds[LEAKS] = leak_sentences(leaks, compared)
    checked = Checked({kind: found for kind, found in kinds.items() if found}, (folder / "check.json", *files))
    write_json(folder / "check.json", checked.kinds)
    _say(checked, len(labelled), workspace)
    return checked


def _on_disk(settings: Settings, workspace: Workspace) -> _Disk:
    """Everything that `srpu index` would find; files that have not changed since are not decoded again."""
    memory = index_task.memory(settings, workspace)
    scan = Scan(memory, class_map(settings), settings.DATABAR_ROWS, workspace.name)
    try:
        pairs = index_task.pair_up(settings, workspace, scan)
    except PairingError as error:
        return _Disk({}, {}, str(error).split("\n  - ")[1:])
    pairs = [pair for pair in pairs if settings.DATASETS is None or pair.dataset in settings.DATASETS]
    pages, problems = scan.read(pairs)
    facts = {}
    for id_, found in pages.items():
        for number, page in enumerate(found, start=1):
            facts[id_ if len(found) == 1 else f"{id_}#{number:04d}"] = page
    return _Disk(facts, problems)


def _outdated(labelled: Sequence[Record], disk: _Disk) -> list[str]:
    known = {record.id: record.sha256 for record in labelled}
    sentences = []
    for id_, sha256 in known.items():
        if id_ in disk.facts:
            if disk.facts[id_].counts is None:
                sentences.append(f"{id_} has no mask any more.")
            elif disk.facts[id_].sha256 != sha256:
                sentences.append(f"{id_} has changed since it was indexed.")
        elif file_id(id_) not in disk.unusable:
            sentences.append(f"{id_} is gone.")
    new = [id_ for id_, facts in disk.facts.items() if any(facts.counts or ()) and id_ not in known]
    return sentences + [f"{id_} has been labelled since." for id_ in new]


def _without_label(disk: _Disk) -> list[str]:
    return [id_ for id_, facts in disk.facts.items() if facts.counts is not None and not any(facts.counts)]


def _missing_classes(labelled: Sequence[Record], disk: _Disk, settings: Settings) -> list[str]:
    """Classes that no mask holds, or none of a split."""
    pixels = {split: [0] * settings.NUM_CLASSES for split in SPLITS if any(r.split == split for r in labelled)}
    for record in labelled:
        facts = disk.facts.get(record.id)
        if facts is not None and facts.counts is not None and record.split in pixels:
            pixels[record.split] = [sum(pair) for pair in zip(pixels[record.split], facts.counts, strict=True)]
    sentences = []
    for id_, name in sorted(settings.CLASS_NAMES.items()):
        absent = [split for split, counts in pixels.items() if not counts[id_]]
        if absent and len(absent) == len(pixels):
            sentences.append(
                f"Class {id_} ({name}) occurs in no mask; label some of it, or take it out of CLASS_NAMES, "
                f"COLOR_MAPPING and NUM_CLASSES."
            )
        elif "train" in absent:
            sentences.append(f"Class {id_} ({name}) occurs in no training mask; it cannot be learned.")
        sentences += [
            f"Class {id_} ({name}) occurs in no {_NOUNS[split]} mask; its score there is n/a."
            for split in absent
            if split != "train" and len(absent) < len(pixels)
        ]
    return sentences


def _torn_specimens(labelled: Sequence[Record], settings: Settings) -> list[str]:
    """Specimens that GROUP_PATTERN names and whose images lie in several splits, as a split fixed by hand may do."""
    if settings.GROUP_PATTERN is None:
        return []
    splits = defaultdict(set)
    for record in labelled:
        name = specimen(settings.GROUP_PATTERN, record.id, record.image)
        if name and record.split in SPLITS:
            splits[name].add(record.split)
    return [
        f"{name} has {' and '.join(_NOUNS[split] for split in SPLITS if split in of)} images."
        for name, of in sorted(splits.items())
        if len(of) > 1
    ]


def _forgotten_databars(looks: Mapping[str, Look]) -> list[str]:
    bars = {id_: look.bar for id_, look in looks.items() if look.bar}
    if not bars:
        return []
    example = next(iter(bars))
    return [
        f"Images with a data bar at the bottom: {len(bars)} (e.g. {example}, {bars[example]} rows); "
        f'set DATABAR_ROWS = "auto" in configs/base.py.'
    ]


def _say(checked: Checked, images: int, workspace: Workspace) -> None:
    for kind, sentences in checked.kinds.items():
        log.warning("%s (%d):%s", kind, len(sentences), listed(sentences))
    if checked.problems:
        files = ", ".join(workspace.name(path) for path in checked.files[:2])
        log.warning("Problems found: %d; all of them: %s.", checked.problems, files)
    else:
        log.info("No problem was found. Labelled images: %d.", images)
