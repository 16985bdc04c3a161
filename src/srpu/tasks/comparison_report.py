"""What the report says about two models on the same images: the verdicts, how to read them, and the greatest losses."""

from __future__ import annotations

import math
from urllib.parse import quote

import numpy as np
from PIL import Image

from srpu.pictures import GAINED, WRONG, legend, shrink
from srpu.report import Block, Cell, Legend, Picture, Section, Table, Text
from srpu.tasks.comparison import Comparison, signed
from srpu.tasks.evaluation_report import decimal
from srpu.tasks.scores import ImageScore, Scores

_READING = Text(
    (
        "How to read this. Both sides labelled the same images. A difference is this side's score minus the other's on "
        "the same image, averaged within each specimen (group), then over specimens; in brackets its 95 % confidence "
        "interval (Student's t). Better or worse: the interval leaves out 0. With fewer than 5 specimens "
        "nothing is called better, and worse only what loses on every specimen and more than 0.05 on average.",
        "The verdict as a whole is that of mean Dice; among many classes, chance alone may make one look better or "
        "worse. An image counts for the classes that its truth holds; with fewer than two such specimens: "
        "n/a. Not distinguishable does not mean equal: a wide interval asks for more specimens.",
        "怎样阅读：双方标注同样的图像。差值是本方分数减去对方在同一图像上的分数，先在每个样品（组）内平均，再对各样品平均；"
        "方括号内是差值的 95 % 置信区间（按样品的 Student t）。区间不含 0 才判为更好（better）或更差（worse）。"
        "样品少于 5 个时从不判为更好；只有每个样品都变差、且平均损失超过 0.05，才判为更差。",
        "总结论以平均 Dice 为准；类别很多时，个别类别可能只是偶然显得更好或更差。图像只计入其真值中出现的类别；"
        "这样的样品少于两个时为 n/a。“无法区分”（not distinguishable）不等于相同：区间很宽时需要更多样品。",
    ),
    kind="note",
)


def comparison_sections(comparison: Comparison) -> list[Section]:
    """The verdict with the greatest losses, and every image on a click."""
    pairs = sorted(zip(comparison.judged, comparison.theirs, strict=True), key=lambda pair: _order(*pair))
    worst = [pair for pair in pairs if _gain(*pair) < 0][: comparison.worst_cases]
    blocks: list[Block] = [Text([comparison.sentence])]
    if comparison.remarks:
        blocks.append(Text(comparison.remarks, kind="warning"))
    blocks += [_score_table(comparison), _READING]
    if worst:
        colours = dict(zip(comparison.classes.names, comparison.classes.colors, strict=True))
        blocks.append(Text([f"Where {comparison.this} lose{'' if comparison.this == 'these masks' else 's'} most:"]))
        blocks.append(Legend({**colours, "gained: only this side is right": GAINED, "lost: only the other is": WRONG}))
        blocks += [_picture(comparison, *pair) for pair in worst]
    rows = [_image_row(comparison, *pair) for pair in pairs]
    caption = "Score of this side minus the other's; each name leads to the panel of both."
    table = Table(["Image", *map(comparison.label, comparison.scores)], rows, caption)
    return [
        Section(f"Compared with {comparison.other}", blocks),
        Section("Differences, image by image", [table], folded=True),
    ]


def _score_table(comparison: Comparison) -> Table:
    colours = {f"dice.{of}": rgb for of, rgb in zip(comparison.classes.names, comparison.classes.colors, strict=True)}
    rows: list[list[str | Cell]] = [
        [
            Cell(comparison.label(name), colour=colours.get(name)),
            decimal(score.this),
            decimal(score.other),
            str(score),
            str(score.groups),
            score.verdict,
        ]
        for name, score in comparison.scores.items()
    ]
    columns = ["Score", comparison.this.capitalize(), "Other", "Difference", "Groups", "Verdict"]
    return Table(columns, rows, "Means over groups; of each image, the classes that its truth holds.")


def _image_row(comparison: Comparison, image: ImageScore, theirs: Scores) -> list[str | Cell]:
    gains = [signed(image.scores[name] - theirs[name]) for name in comparison.scores]
    return [Cell(image.record.id, note=f"group {image.record.group}", link=_link(image)), *gains]


def _picture(comparison: Comparison, image: ImageScore, theirs: Scores) -> Picture:
    sides = f"{decimal(image.scores['mean_dice'])} against {decimal(theirs['mean_dice'])}"
    with Image.open(image.panel.parent.with_name("compared") / image.panel.name) as file:
        sheet = np.asarray(file)
    bare = sheet[: -legend(comparison.classes, sheet.shape[1]).shape[0]]  # the page has a legend of its own
    caption = f"{image.record.id}: mean Dice {sides}, difference {signed(_gain(image, theirs))}"
    return Picture(shrink(bare, 1600), caption, _link(image))


def _gain(image: ImageScore, theirs: Scores) -> float:
    return image.scores["mean_dice"] - theirs["mean_dice"]


def _order(image: ImageScore, theirs: Scores) -> float:
    """The greatest loss first, images without a score last."""
    gain = _gain(image, theirs)
    return math.inf if math.isnan(gain) else gain


def _link(image: ImageScore) -> str:
    return quote(f"compared/{image.panel.name}")
