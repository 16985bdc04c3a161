"""What `srpu evaluate` shows: the scores, where the worst errors are, and how to read both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from srpu.data.index import Record
from srpu.pictures import RGB, WRONG, confusion_picture, legend, shrink
from srpu.report import Block, Card, Cards, Cell, Legend, Picture, Section, Table, Text, write_report
from srpu.tasks.calibration import Calibration, calibration_section
from srpu.tasks.scores import ImageScore, Scale, Summary, worst_first

SPLITS = {
    "val": "validation",
    "test": "test",
    "train": "training",
    "all": "all labelled images",
    "folds": "cross-validation",
}
"""What people call a split."""

HEADLINES = {
    "mean_dice": "Mean Dice",
    "mean_iou": "Macro mIoU",
    "mean_boundary_f1": "Boundary F1",
    "pixel_accuracy": "Pixel accuracy",
    "micronet_iou": "MicroNet IoU",
    "foreground_iou": "Foreground IoU",
}
"""The scores of images as a whole, and what people call them."""

LABELS = {"dice": "Dice", "iou": "IoU", "precision": "Precision", "recall": "Recall", "boundary_f1": "Boundary F1"}
"""The same for the scores of classes."""

EMBEDDED = 30
"""Panels in the page itself; all others are files beside it, so that the page stays small enough to send."""

_WIDTH = 1600

_READING = Text(
    (
        "How to read this. Every score runs from 0 (all wrong) to 1 (perfect). A large number counts the pixels of all "
        "images together. The small one below it is the mean over specimens (groups) with its 95 % confidence "
        "interval; few specimens make it wide, one makes it n/a. A class that neither truth nor prediction holds has "
        "no score (n/a).",
        "Dice and IoU compare areas, so thin and small phases lose more by the same one-pixel error; boundary F1 "
        "compares outlines. MicroNet and foreground IoU are means over images. Low precision: the class is drawn too "
        "often; low recall: it is missed. In the panels red pixels are wrong; white ones are not labelled, not judged.",
        "怎样阅读：分数介于 0（全错）和 1（完全正确）之间。大号数字由全部图像的像素一起计算；下方小字是各样品（组）的"
        "平均值及其 95 % 置信区间，样品少则区间宽，只有一个样品时没有区间（n/a）。"
        "真值和预测中都没有的类别不计分（n/a）。",
        "Dice 和 IoU 比较面积，同样一个像素的偏差，细小的相扣分更多；边界 F1 比较轮廓。"
        "MicroNet IoU 与前景 IoU 是各图像的平均值。精确率低：该类别画得过多；召回率低：漏画。"
        "图中红色像素是错误，白色像素未标注、不评估。",
    ),
    kind="note",
)


_FOLDS = Text(
    (
        "Each fold was predicted by a model that was trained on all other folds, to its last epoch: no image was used "
        "to train or to choose the model that is judged on it. The scores above count all folds together.",
        "每一折都由只用其他折训练到最后一轮的模型预测：评估某幅图像的模型，在训练和选择时都没有用过它。"
        "上面的分数由所有折一起计算。",
    ),
    kind="note",
)


@dataclass(frozen=True)
class Evaluation:
    """All that is known when every image has been judged.

    Attributes:
        split: Which images.
        scale: What scores are named after.
        judged: One for each image.
        summary: Of all images.
        datasets: Of each data set.
        facts: What was judged, how and when.
        trained_on: The split in which the model knew each image, by pixel hash.
        worst_cases: How many of the worst images come first.
        folds: Of each fold, where the model was cross-validated.
        advice: What would tell more.
        calibration: Whether the probabilities can be trusted; None: there are none.
    """

    split: str
    scale: Scale
    judged: Sequence[ImageScore]
    summary: Summary
    datasets: Mapping[str, Summary]
    facts: dict[str, str]
    trained_on: Mapping[str, str]
    worst_cases: int
    folds: Mapping[str, Summary] = field(default_factory=dict)
    advice: str = ""
    calibration: Calibration | None = None

    def headlines(self) -> dict[str, str]:
        """The whole-image scores there are, and what people call them."""
        return {name: label for name, label in HEADLINES.items() if name in self.summary.scores}

    @cached_property
    def confusion(self) -> RGB:
        """The confusion matrix as a picture."""
        return confusion_picture(self.summary.tally.matrix, self.scale.classes)


def write_evaluation(path: Path, evaluation: Evaluation, further: Sequence[Section] = ()) -> Path:
    """Write the report, with ``further`` sections below the result, to ``path`` and return it."""
    classes, summary = evaluation.scale.classes, evaluation.summary
    worst = [image for image in worst_first(evaluation.judged) if image.scores["mean_dice"] < 1]
    shown = worst[: evaluation.worst_cases]
    others = [image for image in evaluation.judged if image not in shown][: max(EMBEDDED - len(shown), 0)]
    colours = Legend({**dict(zip(classes.names, classes.colors, strict=True)), "wrong": WRONG})
    sections = [
        Section("Result", [_cards(evaluation), *_warning(evaluation), _READING]),
        *further,
        Section("Scores per class", [_class_table(evaluation, summary)]),
        Section("What was taken for what", [_confusion(evaluation)]),
    ]
    if evaluation.folds:
        sections.append(Section("Folds", [_FOLDS, _part_table(evaluation, "Fold", evaluation.folds)]))
    if evaluation.calibration:
        sections.append(calibration_section(evaluation.calibration))
    if len(evaluation.datasets) > 1:
        tables: list[Block] = [_part_table(evaluation, "Data set", evaluation.datasets)]
        tables += [_class_table(evaluation, part, name) for name, part in evaluation.datasets.items()]
        sections.append(Section("Data sets", tables))
    if shown:
        pictures: list[Block] = [_picture(evaluation, image, path.parent) for image in shown]
        sections.append(Section(f"Worst {counted_images(len(shown))}", [colours, *pictures]))
    sections.append(Section("Every image", [_image_table(evaluation, path.parent)]))
    if others:
        pictures = [_picture(evaluation, image, path.parent) for image in others]
        sections.append(Section(f"{len(others)} more panels", [colours, *pictures], folded=True))
    subtitle = f"Judged on {counted(evaluation.split, [image.record for image in evaluation.judged])}."
    facts = {name.capitalize(): value for name, value in evaluation.facts.items()}
    facts["Data sets"] = ", ".join(evaluation.datasets)
    write_report(path, "Evaluation", sections, subtitle=subtitle, facts=facts)
    return path


def counted(split: str, records: Sequence[Record]) -> str:
    """How many images of how many specimens, as in "validation, n = 4 images in 2 groups"."""
    groups = len({(record.dataset, record.group) for record in records})
    return f"{SPLITS[split]}, n = {counted_images(len(records))} in {groups} group{'s' * (groups != 1)}"


def counted_images(count: int) -> str:
    """A number of images in words."""
    return f"{count} image{'s' * (count != 1)}"


def decimal(score: float) -> str:
    """A score as people read it.

    >>> decimal(0.91234), decimal(float("nan"))
    ('0.912', 'n/a')
    """
    return "n/a" if math.isnan(score) else f"{score:.3f}"


def spread(summary: Summary, name: str) -> str:
    """The mean of a score over groups with its interval.

    >>> spread(Summary(2, 2, None, {}, {"iou": (0.5, 0.25, 0.75)}), "iou")
    '0.500 [0.250, 0.750]'
    """
    mean, low, high = summary.over_groups[name]
    if math.isnan(low):
        return f"{decimal(mean)} [n/a]"
    return f"{decimal(mean)} [{decimal(low)}, {decimal(high)}]"


def _cards(evaluation: Evaluation) -> Cards:
    summary = evaluation.summary
    cards = [
        Card(label, decimal(summary.scores[name]), spread(summary, name))
        for name, label in evaluation.headlines().items()
    ]
    return Cards(cards)


def remarks(evaluation: Evaluation) -> list[str]:
    """What the reader must know before trusting a number."""
    records = [image.record for image in evaluation.judged]
    known = [evaluation.trained_on.get(record.sha256) for record in records]
    trained, chosen = known.count("train"), known.count("val")
    said = []
    if trained:
        said.append(
            f"The model was trained on {trained} of these {len(records)} images: their scores say how well it "
            "remembers, not how well it does on new images."
        )
    if chosen:
        said.append(
            f"The best epoch was chosen on {chosen} of these {len(records)} images, so the scores are slightly too "
            "good; a test split that is opened once, at the end, is stricter."
        )
    if evaluation.summary.groups < 2:
        said.append("All images belong to one specimen (group), so there is no interval: n/a.")
    if evaluation.advice:
        said.append(evaluation.advice)
    absent = [
        of
        for of, pixels in zip(evaluation.scale.classes.names, evaluation.summary.tally.matrix.sum(axis=1), strict=True)
        if not pixels
    ]
    if absent:
        said.append(f"No judged pixel truly is {' or '.join(absent)}; these images cannot tell how well it is found.")
    return said


def _warning(evaluation: Evaluation) -> list[Block]:
    said = remarks(evaluation)
    return [Text(said, kind="warning")] if said else []


def _class_table(evaluation: Evaluation, summary: Summary, caption: str = "") -> Table:
    """A row for each class and one for their mean."""
    classes, matrix = evaluation.scale.classes, summary.tally.matrix
    share = matrix.sum(axis=1) / max(matrix.sum(), 1)
    rows: list[list[str | Cell]] = []
    for id_, of in enumerate(classes.names):
        cells = [_cell(summary, f"{name}.{of}") for name in LABELS]
        rows.append([Cell(of, colour=classes.colors[id_]), f"{share[id_]:.1%}", *cells])
    rows.append(["Mean", "", *(_cell(summary, f"mean_{name}") for name in LABELS)])
    return Table(["Class", "Share", *LABELS.values()], rows, caption)


def _cell(summary: Summary, name: str) -> Cell:
    score = summary.scores[name]
    return Cell(decimal(score), note=spread(summary, name), bar=None if math.isnan(score) else score)


def _confusion(evaluation: Evaluation) -> Picture:
    caption = "Each row is a true class; the share of its pixels that was predicted as each class, and the count below."
    return Picture(evaluation.confusion, caption, "confusion.png", chart=True)


def _part_table(evaluation: Evaluation, what: str, parts: Mapping[str, Summary]) -> Table:
    names = evaluation.headlines()
    rows: list[list[str | Cell]] = [
        [part_name, str(part.images), str(part.groups), *(_cell(part, name) for name in names)]
        for part_name, part in parts.items()
    ]
    return Table([what, "Images", "Groups", *names.values()], rows)


def _image_table(evaluation: Evaluation, folder: Path) -> Table:
    classes = evaluation.scale.classes.names
    names = [*evaluation.headlines(), *(f"dice.{of}" for of in classes)]
    rows: list[list[str | Cell]] = [
        [
            Cell(
                image.record.id,
                note=f"group {image.record.group}",
                link=_link(image.panel, folder),
            ),
            *(decimal(image.scores[name]) for name in names),
        ]
        for image in evaluation.judged
    ]
    columns = ["Image", *evaluation.headlines().values(), *(f"Dice {of}" for of in classes)]
    return Table(columns, rows, "Each name leads to the image's panel in the folder beside this page.")


def _picture(evaluation: Evaluation, image: ImageScore, folder: Path) -> Picture:
    per_class = ", ".join(f"{of} {decimal(image.scores[f'dice.{of}'])}" for of in evaluation.scale.classes.names)
    caption = f"{image.record.id}: mean Dice {decimal(image.scores['mean_dice'])} ({per_class})"
    with Image.open(image.panel) as file:
        sheet = np.asarray(file)
    bare = sheet[: -legend(evaluation.scale.classes, sheet.shape[1]).shape[0]]  # the page has a legend of its own
    return Picture(shrink(bare, _WIDTH), caption, _link(image.panel, folder))


def _link(panel: Path, folder: Path) -> str:
    return quote(panel.relative_to(folder).as_posix())
