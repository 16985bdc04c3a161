"""The draw that splits labelled images: by group, seeded, as even as it gets.

A stack is cut into contiguous blocks with a gap between them, for its neighbouring slices are alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from srpu.data.groups import Labelled, in_order

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

GROUPS_FOR_A_TEST = 30
"""With fewer groups, a test split would leave too little to train on and say too little itself."""

SHORTEST_STACK = 5
"""Slices from which on a stack is cut into blocks; a shorter one stays whole."""

GAP = 0.08
"""Share of a stack's slices between two blocks, at least one slice, that is used for nothing."""

_DRAWS = 256


@dataclass(frozen=True)
class Rule:
    """How a split is decided.

    Attributes:
        train: Share of the groups that is trained on.
        val: Share that models are chosen on.
        test: Share that is kept for the final score.
        seed: Of the draw.
        pattern: ``GROUP_PATTERN``.
    """

    train: float = 0.7
    val: float = 0.2
    test: float = 0.1
    seed: int = 42
    pattern: str | None = None


def decide(images: Sequence[Labelled], rule: Rule) -> dict[str, Split | None]:
    """Split by group, for the first time: the same images, rule and seed give the same split.

    Under 30 groups there is no test split; validation has 2 groups if there are 5. Among many draws, the one is taken
    whose splits have the most even shares of images, data sets and class pixels. Copies of one picture stay together.
    """
    images = sorted(images, key=lambda image: image.id)
    random = np.random.default_rng(rule.seed)
    units = units_of(images)
    rule = _without_test_if_few(rule, len(units))
    of: dict[str, Split | None] = {}
    whole = []
    for unit in units:
        in_one_stack = all(image.place is not None and image.group == unit[0].group for image in unit)
        if len(unit) >= SHORTEST_STACK and in_one_stack:
            blocks = _cut(len(unit), rule)
            blocks = blocks[::-1] if random.random() < 0.5 else blocks
            of |= {image.id: split for image, split in zip(in_order(unit), blocks, strict=True)}
        else:
            whole.append(unit)
    of |= _draw(whole, *_how_many(len(whole), rule), random)
    return _with_copies(images, of)


def draw_more(
    fresh: Sequence[Labelled], images: Sequence[Labelled], of: Mapping[str, Split | None], rule: Rule
) -> dict[str, Split | None]:
    """Split new groups so that validation and test reach their shares again; validation gets at least one.

    Args:
        fresh: New images, of groups of which nothing is decided.
        images: All images.
        of: What is decided.
        rule: Shares and seed.
    """
    if not fresh:
        return {}
    groups = {split: {image.group for image in images if of.get(image.id) == split} for split in SPLITS}
    units = units_of(fresh)
    total = len({image.group for image in images})
    val, test = _how_many(total, _without_test_if_few(rule, total))
    val = min(max(val - len(groups["val"]), 1), len(units))
    test = min(max(test - len(groups["test"]), 0), len(units) - val)
    return _with_copies(fresh, _draw(units, val, test, np.random.default_rng(rule.seed)))


def units_of(images: Iterable[Labelled]) -> list[list[Labelled]]:
    """The images that must not part: those of a group, and of groups that share a picture.

    Of copies of one picture there is only one, that in a stack if there is one.
    """
    pictures: dict[str, Labelled] = {}
    leader: dict[str, str] = {}

    def led(group: str) -> str:
        while leader.setdefault(group, group) != group:
            group = leader[group]
        return group

    for image in images:
        copy = pictures.setdefault(image.sha256, image)
        leader[led(image.group)] = led(copy.group)
        if copy.place is None:
            pictures[image.sha256] = image
    units = defaultdict(list)
    for image in pictures.values():
        units[led(image.group)].append(image)
    return list(units.values())


def _with_copies(images: Iterable[Labelled], of: Mapping[str, Split | None]) -> dict[str, Split | None]:
    """The splits of all images, given those of the first copies."""
    images = list(images)
    by_pixels = {image.sha256: of[image.id] for image in images if image.id in of}
    return {image.id: by_pixels[image.sha256] for image in images}


def _without_test_if_few(rule: Rule, groups: int) -> Rule:
    """The rule, its test share given to the others where groups are too few for a test split."""
    rest = rule.train + rule.val
    if groups >= GROUPS_FOR_A_TEST or rest == 0:
        return rule
    return replace(rule, train=rule.train / rest, val=rule.val / rest, test=0.0)


def _how_many(groups: int, rule: Rule) -> tuple[int, int]:
    """Groups for validation and for test.

    >>> [_how_many(n, Rule(7 / 9, 2 / 9, 0)) for n in (1, 2, 3, 5, 10)]
    [(0, 0), (1, 0), (1, 0), (2, 0), (2, 0)]
    """
    if rule.train == 0:
        test = round(groups * rule.test)
        return groups - test, test
    most = max(groups - 1, 0)
    val = max(round(groups * rule.val), 2 if groups >= 5 else 1) if rule.val else 0
    test = max(round(groups * rule.test), 1) if rule.test else 0
    val = min(val, most)
    return val, min(test, most - val)


def _cut(slices: int, rule: Rule) -> list[Split | None]:
    """The blocks of a stack, with gaps.

    >>> _cut(6, Rule(0.75, 0.25, 0))
    ['train', 'train', 'train', 'train', None, 'val']
    """
    shares: dict[Split, float] = {"train": rule.train, "val": rule.val, "test": rule.test}
    parts = [split for split in SPLITS if shares[split] > 0]
    gap = max(1, round(GAP * slices))
    usable = slices - gap * (len(parts) - 1)
    sizes = dict.fromkeys(parts, 1)
    for split in parts[1:]:
        sizes[split] += min(max(round(usable * shares[split]) - 1, 0), usable - sum(sizes.values()))
    sizes[parts[0]] = usable - sum(sizes[split] for split in parts[1:])
    blocks: list[Split | None] = []
    for split in parts:
        blocks += [None] * gap if blocks else []
        blocks += [split] * sizes[split]
    return blocks


def _draw(
    units: Sequence[Sequence[Labelled]], val: int, test: int, random: np.random.Generator
) -> dict[str, Split | None]:
    """Choose ``val`` and ``test`` groups: of many draws, the one with the most even shares."""
    if not units:
        return {}
    shares = _shares(units)
    wanted = {"val": val / len(units), "test": test / len(units)}
    best, least = np.arange(len(units)), np.inf
    for _ in range(_DRAWS):
        order = random.permutation(len(units))
        off = np.abs(shares[order[:val]].sum(0) - wanted["val"]).sum()
        off += np.abs(shares[order[val : val + test]].sum(0) - wanted["test"]).sum()
        if off < least:
            best, least = order, off
    of: dict[str, Split | None] = {image.id: "train" for unit in units for image in unit}
    of |= {image.id: "val" for number in best[:val] for image in units[int(number)]}
    of |= {image.id: "test" for number in best[val : val + test] for image in units[int(number)]}
    return of


def _shares(units: Sequence[Sequence[Labelled]]) -> Float64[np.ndarray, "units amounts"]:
    """Of each group (row), its share of all images, of each data set's images and of each class's pixels (columns)."""
    datasets = sorted({image.dataset for unit in units for image in unit})
    amounts = np.zeros((len(units), 1 + len(datasets) + len(units[0][0].counts)))
    for row, unit in zip(amounts, units, strict=True):
        for image in unit:
            row[0] += 1
            row[1 + datasets.index(image.dataset)] += 1
            row[1 + len(datasets) :] += image.counts
    return np.asarray(amounts / np.maximum(amounts.sum(axis=0), 1))
