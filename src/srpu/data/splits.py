"""Which labelled images are trained on, which models are chosen on, and which are kept for the final score.

The split is decided once and kept in a file that only grows. What is labelled later is trained on, unless its group is
kept for judging: then it waits until validation and test are allowed to grow, which starts a new version of the truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from srpu.data.draw import SPLITS, Rule, Split, decide, draw_more
from srpu.data.groups import Labelled, in_order
from srpu.data.index import write_rows
from srpu.errors import IndexingError, WorkspaceError
from srpu.files import read_json

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """What was decided about one image; it holds even while the image is gone.

    Attributes:
        id: What the index calls it.
        group: What it belongs to.
        split: "train", "val", "test"; None: in the gap of a stack.
        sha256: Of its pixels, by which it is known again under another name.
    """

    id: str
    group: str
    split: Split | None
    sha256: str


@dataclass(frozen=True)
class Splits:
    """All that was ever decided.

    Attributes:
        rule: How the first decision was made.
        truth_version: Grows when validation or test do.
        entries: One for each image that was ever labelled, sorted by id.
    """

    rule: Rule
    truth_version: int = 1
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Assigned:
    """The split of every labelled image, and what there is to remember.

    Attributes:
        of: Split by id; None: used for nothing.
        groups: Group by id.
        splits: To be written.
        new: Ids decided just now.
        waiting: Ids of new images whose group is kept for validation or test.
    """

    of: dict[str, Split | None]
    groups: dict[str, str]
    splits: Splits
    new: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def assign(images: Sequence[Labelled], before: Splits | None, rule: Rule, *, grow_truth: bool = False) -> Assigned:
    """The split of each image: as decided before, or decided now.

    Args:
        images: All labelled images, with groups.
        before: What was decided; None: nothing yet.
        rule: For what is decided now.
        grow_truth: Whether new images may join validation and test. If these are empty so far, all is decided anew:
            no score stands on it yet.
    """
    images = sorted(images, key=lambda image: image.id)
    anew = before is None or (grow_truth and not any(entry.split in ("val", "test") for entry in before.entries))
    known = _recognise(images, () if before is None or anew else before.entries)
    images = _with_known_groups(images, known)
    new = [image for image in images if image.id not in known]
    of = {id_: entry.split for id_, entry in known.items()}
    pixels = {image.id: image.sha256 for image in images}
    copies = {
        id_
        for id_, entry in known.items()
        if entry.id != id_ and pixels.get(entry.id) == entry.sha256 and entry.split in ("val", "test")
        if not grow_truth
    }
    waiting: set[str] = set()
    if anew:
        of = decide(images, rule)
    else:
        joined, waiting = _join_groups(new, images, of, grow_truth)
        of |= joined
        of = {id_: split for id_, split in of.items() if id_ not in copies}
        waiting |= copies  # a further label of a judged picture would change the truth
        fresh = [image for image in new if image.id not in of and image.id not in waiting]
        of |= draw_more(fresh, images, of, rule) if grow_truth else {image.id: "train" for image in fresh}
    return Assigned(
        of={image.id: of.get(image.id) for image in images},
        groups={image.id: image.group for image in images},
        splits=_remembered(images, of, before, {image.id for image in new}, rule if anew else None),
        new=tuple(image.id for image in new if image.id in of),
        waiting=tuple(sorted(waiting)),
    )


def read_splits(path: Path) -> Splits | None:
    """What was decided, or None if nothing was yet.

    Raises:
        IndexingError: The file is damaged or of another version of SRPU.
    """
    cure = "restore a copy, or move it away to decide the split anew (old scores are then not comparable)"
    try:
        content = read_json(path)
        if content["schema_version"] != SCHEMA_VERSION:
            raise IndexingError(
                f"{path} has the schema version {content['schema_version']}, this SRPU reads {SCHEMA_VERSION}; "
                f"use the SRPU that wrote it, or {cure}."
            )
        if wrong := {str(sample["split"]) for sample in content["samples"]} - {*SPLITS, "None"}:
            raise IndexingError(f"{path} holds the unknown split {wrong.pop()}; {cure}.")
        entries = tuple(Entry(**sample) for sample in content["samples"])
        splits = Splits(Rule(**content["rule"]), int(content["truth_version"]), entries)
    except FileNotFoundError:
        return None
    except (WorkspaceError, KeyError, TypeError, ValueError) as error:
        raise IndexingError(f"{path} is damaged; {cure}.") from error
    return splits


def write_splits(path: Path, splits: Splits) -> None:
    """Write what was decided, atomically, one image a line."""
    head: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "truth_version": splits.truth_version,
        "rule": asdict(splits.rule),
    }
    write_rows(path, head, map(asdict, splits.entries))


def _recognise(images: Sequence[Labelled], entries: Iterable[Entry]) -> dict[str, Entry]:
    """What was decided about each image: by its pixels, or by its id if no other image has the old pixels."""
    present = {image.sha256 for image in images}
    exact = {(entry.id, entry.sha256): entry for entry in entries}
    by_pixels = {entry.sha256: entry for entry in entries}
    by_id = {entry.id: entry for entry in entries if entry.sha256 not in present}
    known = {}
    for image in images:
        entry = exact.get((image.id, image.sha256)) or by_pixels.get(image.sha256) or by_id.get(image.id)
        if entry is not None:
            known[image.id] = entry
    return known


def _with_known_groups(images: Sequence[Labelled], known: Mapping[str, Entry]) -> list[Labelled]:
    """A series is called after its first image, and keeps that name when an earlier one is labelled."""
    names: dict[str, str] = {}
    for image in images:
        if image.place is not None and image.id in known:
            names.setdefault(image.group, known[image.id].group)
    return [replace(image, group=names.get(image.group, image.group)) for image in images]


def _join_groups(
    new: Sequence[Labelled], images: Sequence[Labelled], of: Mapping[str, Split | None], grow_truth: bool
) -> tuple[dict[str, Split | None], set[str]]:
    """New images of groups that are already decided: their split, and those that wait.

    In a stack, a slice goes with its decided neighbours on both sides; where these differ or lie in a gap, it widens
    the gap. Elsewhere, it goes with its group. What would join validation or test waits unless they may grow.
    """
    members = defaultdict(list)
    for image in images:
        members[image.group].append(image)
    joined: dict[str, Split | None] = {}
    waiting = set()
    for image in new:
        kin = in_order([other for other in members[image.group] if other.id in of])
        if not kin:
            continue
        if image.place is not None:
            before = [other for other in kin if other.place is not None and other.place < image.place][-1:]
            after = [other for other in kin if other.place is not None and other.place > image.place][:1]
            kin = before + after or kin
        splits = {of[other.id] for other in kin}
        if len(splits) > 1 and image.place is not None:
            joined[image.id] = None
            continue
        split = next(name for name in ("test", "val", None, "train") if name in splits)
        if split in ("val", "test") and not grow_truth:
            waiting.add(image.id)
        else:
            joined[image.id] = split
    return joined, waiting


def _remembered(
    images: Sequence[Labelled],
    of: Mapping[str, Split | None],
    before: Splits | None,
    new: Collection[str],
    new_rule: Rule | None,
) -> Splits:
    """What there is to write: images on disk as they are called now, and those that are gone."""
    entries = [Entry(image.id, image.group, of[image.id], image.sha256) for image in images if image.id in of]
    if before is None:
        return Splits(new_rule or Rule(), entries=tuple(entries))
    ids, pixels = {entry.id for entry in entries}, {entry.sha256 for entry in entries}
    grown = any(entry.id in new and entry.split in ("val", "test") for entry in entries)
    entries += [entry for entry in before.entries if entry.id not in ids and entry.sha256 not in pixels]
    ordered = tuple(sorted(entries, key=lambda entry: entry.id))
    return Splits(new_rule or before.rule, before.truth_version + grown, ordered)
