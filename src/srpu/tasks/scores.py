"""The scores of images, of data sets and of all together, and how they are written down.

A score's name is "mean_dice" where it belongs to a whole image and "dice.carbon" where it belongs to a class; the same
names stand in the JSON and CSV files. A score that is not defined is NaN here, null in JSON and "n/a" in CSV.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from srpu.data.classes import ClassMap
from srpu.data.index import Record
from srpu.learn import metrics

Scores = dict[str, float]


@dataclass(frozen=True, eq=False)
class Tally:
    """What was counted on one image, or on several together.

    Attributes:
        matrix: Confusion of the most probable class.
        sure: The same, where a pixel without a class above probability 0.5 counts as "no class" (for the MicroNet IoU).
        hits: What :func:`srpu.learn.metrics.boundary_hits` counts.
    """

    matrix: metrics.Matrix
    sure: metrics.Matrix
    hits: metrics.Hits

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.matrix + other.matrix, self.sure + other.sure, self.hits + other.hits)


PER_CLASS: dict[str, Callable[[Tally], metrics.PerClass]] = {
    "dice": lambda tally: metrics.dice(tally.matrix),
    "iou": lambda tally: metrics.iou(tally.matrix),
    "precision": lambda tally: metrics.precision(tally.matrix),
    "recall": lambda tally: metrics.recall(tally.matrix),
    "boundary_f1": lambda tally: metrics.boundary_score(tally.hits),
}
"""The scores that each class has; "mean_dice" and so on are their means over the classes that occur."""

BY_IMAGE = ("micronet_iou", "foreground_iou")
"""Scores that are published as the mean over images; all others of a set come from its one confusion matrix."""


@dataclass(frozen=True)
class Scale:
    """What scores are named after."""

    classes: ClassMap
    foreground: Sequence[int] = ()

    def scores(self, tally: Tally) -> Scores:
        """Every score of ``tally``."""
        per_class = {name: score(tally) for name, score in PER_CLASS.items()}
        scores = {f"mean_{name}": metrics.nan_mean(values) for name, values in per_class.items()}
        scores["pixel_accuracy"] = metrics.pixel_accuracy(tally.matrix)
        scores["micronet_iou"] = metrics.micronet_iou(tally.sure)
        if self.foreground:
            scores["foreground_iou"] = metrics.foreground_iou(tally.matrix, self.foreground)
        for name, values in per_class.items():
            scores |= {f"{name}.{of}": float(x) for of, x in zip(self.classes.names, values, strict=True)}
        return scores


@dataclass(frozen=True, eq=False)
class ImageScore:
    """One judged image; ``panel`` is the file that shows it."""

    record: Record
    tally: Tally
    scores: Scores
    panel: Path

    @property
    def group(self) -> str:
        """The specimen; equal names in two data sets are two specimens."""
        return f"{self.record.dataset}/{self.record.group}"


@dataclass(frozen=True)
class Summary:
    """Several images together.

    Attributes:
        images: How many.
        groups: Of how many specimens.
        tally: All that was counted.
        scores: Of all pixels together, except :data:`BY_IMAGE`.
        over_groups: For each score the mean over groups and both ends of its 95 % interval.
    """

    images: int
    groups: int
    tally: Tally
    scores: Scores
    over_groups: dict[str, tuple[float, float, float]]


def summarise(judged: Sequence[ImageScore], scale: Scale) -> Summary:
    """The scores of all ``judged`` images together, of which there is at least one."""
    tally = reduce(Tally.__add__, (image.tally for image in judged))
    groups: dict[str, list[Scores]] = defaultdict(list)
    for image in judged:
        groups[image.group].append(image.scores)
    over_groups = {
        name: metrics.interval({group: [scores[name] for scores in images] for group, images in groups.items()})
        for name in judged[0].scores
    }
    by_image = {
        name: metrics.nan_mean([image.scores[name] for image in judged]) for name in BY_IMAGE if name in over_groups
    }
    return Summary(len(judged), len(groups), tally, scale.scores(tally) | by_image, over_groups)


def by_part(judged: Sequence[ImageScore], scale: Scale, part_of: Callable[[ImageScore], str]) -> dict[str, Summary]:
    """The summary of each part, by name: of each data set, or of each fold."""
    parts: dict[str, list[ImageScore]] = defaultdict(list)
    for image in judged:
        parts[part_of(image)].append(image)
    return {name: summarise(parts[name], scale) for name in sorted(parts)}


def worst_first(judged: Sequence[ImageScore]) -> list[ImageScore]:
    """Images by mean Dice, the lowest first; images where nothing could be judged come last."""
    return sorted(judged, key=lambda image: np.nan_to_num(image.scores["mean_dice"], nan=math.inf))


def summary_json(summary: Summary, classes: ClassMap) -> dict[str, Any]:
    """Plain values of a summary."""
    return {
        "images": summary.images,
        "groups": summary.groups,
        "scores": _plain(summary.scores),
        "over_groups": {
            name: _plain({"mean": mean, "low": low, "high": high})
            for name, (mean, low, high) in summary.over_groups.items()
        },
        "confusion": {
            "rows": [f"true {name}" for name in classes.names],
            "columns": [*(f"predicted {name}" for name in classes.names), "no class"],
            "pixels": summary.tally.matrix.tolist(),
        },
    }


def image_json(image: ImageScore) -> dict[str, Any]:
    """Plain values of one image."""
    record = image.record
    return {
        "id": record.id,
        "dataset": record.dataset,
        "group": record.group,
        "split": record.split,
        "image": record.image,
        "mask": record.mask,
        "judged_pixels": int(image.tally.matrix.sum()),
        "scores": _plain(image.scores),
        "confusion": image.tally.matrix.tolist(),
    }


def images_csv(judged: Sequence[ImageScore]) -> str:
    """A line for each image."""
    facts = ["id", "dataset", "group", "split"]
    rows = [
        [
            *(str(getattr(image.record, fact)) for fact in facts),
            str(int(image.tally.matrix.sum())),
            *_texts(image.scores),
        ]
        for image in judged
    ]
    return _csv([[*facts, "judged_pixels", *judged[0].scores], *rows])


def classes_csv(summaries: Mapping[str, Summary], classes: ClassMap) -> str:
    """A line for each set of images and class: its score from all pixels, the mean over groups and its interval."""
    rows = [["data", "class", "truth_pixels"]]
    rows[0] += [f"{name}{part}" for name in PER_CLASS for part in ("", "_group_mean", "_low", "_high")]
    for data, summary in summaries.items():
        for id_, of in enumerate(classes.names):
            row = [data, of, str(int(summary.tally.matrix[id_].sum()))]
            for name in PER_CLASS:
                mean, low, high = summary.over_groups[f"{name}.{of}"]
                row += _texts({"": summary.scores[f"{name}.{of}"], "mean": mean, "low": low, "high": high})
            rows.append(row)
    return _csv(rows)


def table_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """A line for each of ``rows``, of which there is at least one; None is written as n/a."""
    lines = [["n/a" if value is None else str(value) for value in row.values()] for row in rows]
    return _csv([list(rows[0]), *lines])


def json_number(score: float) -> float | None:
    """A score as JSON holds it: six decimals, null where it is not defined."""
    return None if math.isnan(score) else round(float(score), 6)


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: json_number(score) for name, score in scores.items()}


def _texts(scores: Mapping[str, float]) -> list[str]:
    return ["n/a" if score is None else str(score) for score in _plain(scores).values()]


def _csv(rows: Sequence[Sequence[str]]) -> str:
    """Comma-separated lines, with the mark by which Excel knows that they are UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return "\ufeff" + text.getvalue()
