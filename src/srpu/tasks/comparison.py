"""Two models on the same images: what `srpu evaluate --against OTHER.pth` finds out.

A difference is a score of the judged side minus the other's on the same image, averaged within each specimen (group),
and then over specimens. An image counts for a class where both sides have a score for it.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from srpu.data.classes import ClassMap
from srpu.learn import metrics
from srpu.tasks.scores import ImageScore, Scores, json_number, table_csv

log = logging.getLogger(__name__)

BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "not distinguishable", "n/a"

ENOUGH_GROUPS = 5
"""With fewer specimens no gain is claimed: so few numbers say little about the next specimen."""

PLAIN_LOSS = 0.05
"""With fewer specimens only that is worse which loses on every one, and more than this on average."""


@dataclass(frozen=True)
class Difference:
    """One score of both sides: means over groups, the interval of the difference, and what follows from it."""

    this: float
    other: float
    difference: float
    low: float
    high: float
    groups: int
    verdict: str

    def __str__(self) -> str:
        ends = UNKNOWN if math.isnan(self.low) else f"{signed(self.low)}, {signed(self.high)}"
        return f"{signed(self.difference)} [{ends}]"

    def plain(self) -> dict[str, Any]:
        """Plain values; what is not defined is None."""
        return {name: json_number(value) if isinstance(value, float) else value for name, value in vars(self).items()}


def verdict(differences: Mapping[str, Sequence[float]], level: float = 0.95) -> str:
    """What the differences of each group say: "better", "worse", "not distinguishable", or "n/a" without two groups.

    Args:
        differences: By group.
        level: Of the interval that must leave out 0.

    >>> verdict({"a": [0.02], "b": [0.03], "c": [0.02], "d": [0.03], "e": [0.02]})
    'better'
    >>> verdict({"a": [0.2], "b": [0.3], "c": [0.2], "d": [0.3]}), verdict({"a": [-0.02], "b": [-0.1]})
    ('not distinguishable', 'worse')
    """
    defined = (metrics.nan_mean(values) for values in differences.values())
    means = [mean for mean in defined if not math.isnan(mean)]
    if len(means) < 2:
        return UNKNOWN
    if len(means) < ENOUGH_GROUPS:
        return WORSE if max(means) < 0 and metrics.nan_mean(means) < -PLAIN_LOSS else SAME
    _, low, high = metrics.difference_interval(differences, level)
    return BETTER if low > 0 else WORSE if high < 0 else SAME


def paired_scores(matrix: metrics.Matrix, classes: ClassMap) -> Scores:
    """The scores of one image that are compared: of the classes that its truth holds.

    A class that only one side imagines would change what that side's mean is taken over; what it costs is seen in the
    classes whose pixels it took.
    """
    held = matrix.sum(axis=1) > 0
    dice, iou = (np.where(held, score(matrix), np.nan) for score in (metrics.dice, metrics.iou))
    per_class = {f"dice.{of}": float(score) for of, score in zip(classes.names, dice, strict=True)}
    return {"mean_dice": metrics.nan_mean(dice), **per_class, "mean_iou": metrics.nan_mean(iou)}


def compare(this: Iterable[float], other: Iterable[float], groups: Iterable[str], level: float = 0.95) -> Difference:
    """Compare a score of both sides, given image by image with the group of each image; ``level`` is the interval's."""
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for ours, theirs, group in zip(this, other, groups, strict=True):
        if not math.isnan(ours - theirs):
            pairs[group].append((ours, theirs))
    apart = {group: [ours - theirs for ours, theirs in pair] for group, pair in pairs.items()}
    means = np.array([np.mean(pair, axis=0) for pair in pairs.values()] or [(math.nan, math.nan)]).mean(axis=0)
    ends = metrics.difference_interval(apart, level)
    return Difference(float(means[0]), float(means[1]), *ends, len(apart), verdict(apart, level))


def signed(difference: float) -> str:
    """A difference as people read it.

    >>> signed(0.0312), signed(-0.0001), signed(float("nan"))
    ('+0.031', '+0.000', 'n/a')
    """
    return UNKNOWN if math.isnan(difference) else f"{round(difference, 3) + 0:+.3f}"


@dataclass(frozen=True)
class Comparison:
    """All that is known when both sides have labelled every image.

    Attributes:
        this: Who is judged: "this model" or "these masks".
        other: The other model's path.
        classes: What scores are named after.
        scores: The difference of each score, by its name.
        judged: This side's images.
        theirs: The other's scores on the same images.
        remarks: What the reader must know before trusting the verdict.
        worst_cases: How many of the greatest losses the report shows.
    """

    this: str
    other: str
    classes: ClassMap
    scores: Mapping[str, Difference]
    judged: Sequence[ImageScore]
    theirs: Sequence[Scores]
    remarks: Sequence[str]
    worst_cases: int

    @property
    def verdict(self) -> str:
        """That of mean Dice; with less than two groups nothing can be told apart."""
        said = self.scores["mean_dice"].verdict
        return SAME if said == UNKNOWN else said

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        total = self.scores["mean_dice"]
        are = "are" if self.this == "these masks" else "is"
        words = f"{self.verdict} {'from' if self.verdict == SAME else 'than'}"
        groups = f"{total.groups} group{'s' * (total.groups != 1)}"
        parts = [f"{self.this.capitalize()} {are} {words} {self.other}: mean Dice {total} over {groups}"]
        if total.groups < ENOUGH_GROUPS:
            lost = f"every group loses, more than {PLAIN_LOSS} on average"
            parts.append(
                lost
                if self.verdict == WORSE
                else f"fewer than {ENOUGH_GROUPS} groups cannot show a gain or a small loss"
            )
        for word in (BETTER, WORSE):
            names = [of for of in self.classes.names if self.scores[f"dice.{of}"].verdict == word]
            if names and word != self.verdict:
                parts.append(f"{word} for {', '.join(names)}")
        return "; ".join(parts) + "."

    def say(self) -> None:
        """The result in the terminal."""
        log.info("Compared with %s:", self.other)
        for name, score in self.scores.items():
            sides = f"{score.this:.3f} against {score.other:.3f}, difference " if score.groups else ""
            log.info("  %s: %s%s: %s.", self.label(name), sides, score, score.verdict)
        for remark in self.remarks:
            log.warning("%s", remark)
        log.info("%s", self.sentence)

    @staticmethod
    def label(name: str) -> str:
        """What people call a score."""
        return {"mean_dice": "Mean Dice", "mean_iou": "Macro mIoU"}.get(name, name.replace("dice.", "Dice ", 1))

    def json(self) -> dict[str, Any]:
        """Plain values."""
        images = [
            {"id": image.record.id, "group": image.group}
            | {name: {"this": json_number(image.scores[name]), "other": json_number(score[name])} for name in score}
            for image, score in zip(self.judged, self.theirs, strict=True)
        ]
        return {
            "model": self.other,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "remarks": list(self.remarks),
            "scores": {name: score.plain() for name, score in self.scores.items()},
            "images": images,
        }

    def csv(self) -> str:
        """A line for each score."""
        return table_csv([{"score": name, **score.plain()} for name, score in self.scores.items()])
