"""What `srpu index` says at the end."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from srpu.data.draw import SPLITS, Rule
from srpu.data.groups import Labelled
from srpu.data.index import Record
from srpu.data.pairing import Pair
from srpu.data.scan import Facts
from srpu.data.splits import Assigned, Splits

log = logging.getLogger(__name__)

_LISTED, _SHOWN = 20, 5


def say_hand_split(images: Sequence[Labelled], of: Mapping[str, str], location: str) -> None:
    """What the split fixed by hand means for the labelled images."""
    parts, copies = defaultdict(set), defaultdict(list)
    for image in images:
        if image.id in of:
            parts[image.group].add(of[image.id])
            copies[image.sha256].append(image.id)
    leaks = [" = ".join(ids) for ids in copies.values() if len({of[id_] for id_ in ids}) > 1]
    crossing = sorted(group for group, splits in parts.items() if len(splits) > 1)
    log.info("The split is the one fixed by hand in %s.", location)
    if crossing:
        log.warning(
            "SPLIT_FILE parts images of one specimen or stack, so its scores may be too good: %s.", _some(crossing)
        )
    if leaks:
        log.warning(
            "SPLIT_FILE puts the same picture into several splits, so training and evaluation will refuse it: %s; "
            "take one name of each out of it. `srpu check` shows them.",
            _some(leaks),
        )
    unnamed = sorted(image.id for image in images if image.id not in of)
    if unnamed:
        log.warning(
            "Labelled images that SPLIT_FILE does not name and that are not used: %d (%s).",
            len(unnamed),
            _some(unnamed),
        )


def say_split(assigned: Assigned, before: Splits | None, rule: Rule, path: Path, grow_truth: bool) -> None:
    """What was decided, and what the user may want to know about it."""
    if before is None:
        log.info("The split was decided and is kept in %s.", path)
    elif assigned.splits.rule != rule:
        log.warning("Split settings have changed, but the split was decided before and holds: %s.", path)
    new = Counter(assigned.of[id_] for id_ in assigned.new)
    if before is not None and assigned.new:
        counts = ", ".join(f"{new[split]} for {split}" for split in SPLITS if new[split])
        log.info("Newly labelled images: %d (%s).", len(assigned.new), counts or "in the gaps of stacks")
    if grow_truth and before is not None and assigned.splits.truth_version == before.truth_version:
        log.warning("Validation and test did not grow: no image was labelled since the last `srpu index`.")
    if assigned.waiting:
        log.warning(
            "Newly labelled images of groups kept for validation or test, not used until "
            "`srpu index --grow-truth` adds them there: %d (%s).",
            len(assigned.waiting),
            _some(assigned.waiting),
        )
    unused = sum(split is None for split in assigned.of.values()) - len(assigned.waiting)
    if unused:
        log.info("Slices in the gaps between the blocks of stacks, not used: %d.", unused)
    if assigned.of and "val" not in assigned.of.values():
        log.warning(
            "There is no validation image, so no score can be trusted: label images of more specimens, "
            "then run `srpu index --grow-truth`."
        )


def say_masks(facts: Sequence[Facts], ids: Sequence[str], refused: int) -> None:
    """How masks were read, or what to do if there are none.

    Args:
        facts: Of the labelled images.
        ids: Of the same.
        refused: Images left out because they or their masks cannot be used.
    """
    if not facts and refused:
        log.warning("No mask can be used: %d are refused, for the reasons below.", refused)
        return
    if not facts:
        log.warning(
            "There is no labelled image yet. To train, put masks called like their images (X.tif with X.png or "
            "X_mask.png) into the folder LABELED_DIR and run `srpu index` again."
        )
        return
    how = Counter(fact.how for fact in facts)
    log.info("Masks were read by %s.", ", ".join(f"{way} ({count})" for way, count in sorted(how.items(), key=str)))
    near = [fact.near for fact in facts if fact.near]
    if near:
        log.info(
            "Mask pixels up to 3 levels off a class's colour, taken for it: %d (in %d of the masks).",
            sum(near),
            len(near),
        )
    swapped = [id_ for id_, fact in zip(ids, facts, strict=True) if fact.swapped]
    if swapped:
        log.info("Masks with red and blue swapped, read the right way round: %d (%s).", len(swapped), _some(swapped))


def say_table(
    pairs: Iterable[Pair], labelled: Sequence[Record], unlabelled: Sequence[Record], problems: Mapping[str, str]
) -> None:
    """How many images each data set has, and what was skipped."""
    heads = ("labelled", "unlabelled", "train", "val", "test", "unused", "skipped")
    rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in labelled:
        rows[record.dataset].update(["labelled", record.split or "unused"])
    for record in unlabelled:
        rows[record.dataset]["unlabelled"] += 1
    for pair in pairs:
        rows[pair.dataset]["skipped"] += pair.id in problems
    if len(rows) > 1:
        rows["all"] = sum(rows.values(), Counter())
    width = max(len(name) for name in ("data set", *rows))
    log.info("  ".join([f"{'data set':{width}}", *heads]))
    for name, row in rows.items():
        log.info("  ".join([f"{name:{width}}", *(f"{row[head]:{len(head)}}" for head in heads)]))
    if problems:
        log.warning("Skipped files: %d%s", len(problems), listed(problems.values()))


def listed(sentences: Iterable[str]) -> str:
    """The first sentences, one a line."""
    sentences = list(sentences)
    rest = len(sentences) - _LISTED
    lines = [*sentences[:_LISTED], *([f"… and {rest} more"] if rest > 0 else [])]
    return "".join(f"\n  - {line}" for line in lines)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
