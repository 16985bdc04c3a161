"""What a round of active learning shows: whether the new model is better, and what is asked for next."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from PIL import Image

from srpu.data.classes import ClassMap
from srpu.data.images import read_image
from srpu.errors import ImageError
from srpu.learn import metrics
from srpu.pictures import RGB, WRONG, Point, growth_picture, legend, panel, shrink, to_8bit
from srpu.report import Block, Card, Cards, Cell, Legend, Picture, Section, Table, Text, write_report
from srpu.tasks.comparison import BETTER, SAME, Difference, signed
from srpu.tasks.evaluation_report import counted_images, decimal
from srpu.tasks.gate import FIRST
from srpu.tasks.round_facts import STATES, Asked, LabelledAs, RoundFacts
from srpu.tasks.truth import Judged, JudgedImage
from srpu.workspace import Workspace

SHOWN = 12
"""Queries whose pictures stand open on the page; those of further ones open on a click."""

EMBEDDED = 30
"""Queries that are drawn at all, so that the page stays small enough to send."""

_WIDTH = 1600

_READING = Text(
    (
        "How to read this. Every round is judged on the same validation images. The large score counts the pixels of "
        "all of them together; the small one below it is the mean over specimens (groups) with its 95 % confidence "
        "interval. A new model takes the place of the best one so far unless it is worse: a class loses more than "
        "MAX_CLASS_LOSS, and the interval of that difference, widened because there are several classes, leaves out 0. "
        "With fewer than 5 specimens it is worse only if mean Dice falls by more than 0.03. Labels stay in training "
        "either way. Not distinguishable does not mean equal: a wide interval asks for more validation specimens.",
        "The best epoch of a model is chosen on these images too, so the scores are slightly too good; a test split "
        "that is opened once, at the end, is stricter.",
        "怎样阅读：每一轮都在同样的验证图像上评估。大号分数由全部验证图像的像素一起计算；下方小字是各样品（组）的平均值及其"
        "95 % 置信区间。新模型会取代目前最好的模型，除非它更差：某一类别的 Dice 损失超过 MAX_CLASS_LOSS，"
        "且该差值的置信区间（已按类别数放宽）不含 0。样品少于 5 个时，只有平均 Dice 下降超过 0.03 才判为更差。"
        "无论哪种情况，新标注都留在训练集中。“无法区分”（not distinguishable）不等于相同：区间很宽时需要更多验证样品。",
        "模型的最佳轮次也是用这些图像选出的，所以分数略微偏高；只在最后打开一次的测试集更严格。",
    ),
    kind="note",
)


def write_round(path: Path, facts: RoundFacts, workspace: Workspace) -> Path:
    """Write the report of a round to ``path`` and return it.

    Raises:
        WorkspaceError: It cannot be written.
    """
    sections = [Section("Result", [_cards(facts), *_verdict(facts), _READING])]
    if facts.history:
        sections.append(Section("Score against labels", _growth(facts)))
    if facts.judged.images:
        sections.append(Section("Scores per class", [_class_table(facts)]))
    sections += _asked(facts)
    sections += _worst(facts, path.parent, workspace)
    if facts.labels:
        sections.append(Section("Labels", [_label_table(facts)]))
    if facts.corrections:
        sections.append(Section("What was corrected", [_correction_table(facts)]))
    write_report(path, f"Active learning, round {facts.number}", sections, subtitle=_subtitle(facts), facts=facts.facts)
    return path


def _subtitle(facts: RoundFacts) -> str:
    decision = facts.decision
    if not facts.judged.images:
        return "There is no validation image, so nobody can tell how good the new model is."
    if decision.verdict == FIRST:
        return "The first model is judged."
    if decision.verdict == SAME:
        return "The new model cannot be told apart from the best one so far, and takes its place."
    if decision.verdict == BETTER:
        return "The new model is better than the best one so far, and takes its place."
    after = "but takes its place by force" if decision.promoted else "which stays"
    return f"The new model is worse than the best one so far, {after}."


def _cards(facts: RoundFacts) -> Cards:
    judged, mean = facts.judged, facts.decision.mean
    groups = f"{counted_images(len(judged.images))}, {judged.groups} group{'s' * (judged.groups != 1)}"
    cards = [Card("Mean Dice", decimal(judged.mean_dice), f"{_spread(judged, 'mean_dice')} · {groups}")]
    if mean is not None:
        cards.append(Card("Against the best", signed(mean.difference), f"{_ends(mean)} {facts.decision.verdict}"))
    trained = sum(as_.split == "train" and as_.state != "not reviewed" for as_ in facts.labels.values())
    cards.append(Card("Training images", str(facts.history[-1].labels if facts.history else trained), "labelled"))
    cards.append(Card("Asked for now", str(len(facts.asked)), f"{facts.pool} left in the pool"))
    return Cards(cards)


def _verdict(facts: RoundFacts) -> list[Block]:
    """What the gate and the stop rules say."""
    decision, stop = facts.decision, facts.stop
    ends = [" ".join(["The rounds end here.", *stop.reasons])] if stop and stop.reasons else []
    blocks: list[Block] = [Text([decision.reason, *ends])]
    warnings = [*decision.remarks]
    if facts.judged.images and facts.judged.groups < 2:
        warnings.append("All validation images belong to one specimen (group), so there is no interval: n/a.")
    if not facts.judged.images:
        warnings.append("Label some images drawn at random, then run srpu index --grow-truth: it sets some aside.")
    if not decision.promoted or decision.forced or warnings:
        kept = [] if decision.promoted else ["The model before stays the current one; the new labels stay in training."]
        if kept or warnings:
            blocks.append(Text([*kept, *warnings], kind="warning"))
    if stop and stop.notes:
        blocks.append(Text(stop.notes))
    return blocks


def _growth(facts: RoundFacts) -> list[Block]:
    points = [Point(one.labels, one.score, one.low, one.high, one.promoted) for one in facts.history]
    columns = ["Round", "Training images", "Mean Dice over groups", "95 % interval", "Verdict", "Model"]
    rows = [
        [
            str(one.round),
            str(one.labels),
            decimal(one.score),
            "n/a" if math.isnan(one.low) else f"{decimal(one.low)}, {decimal(one.high)}",
            one.verdict,
            "taken" if one.promoted else "not taken",
        ]
        for one in reversed(facts.history)
    ]
    blocks: list[Block] = []
    if any(not math.isnan(point.y) for point in points):
        picture = growth_picture(
            points,
            x_label="labelled training images",
            y_label="mean Dice over groups",
            labels=("taken", "not taken"),
            target=facts.target,
        )
        caption = "Each mark is a round's model on the same validation images, with its 95 % interval over groups."
        blocks.append(Picture(picture, caption, chart=True))
    return [*blocks, Table(columns, rows)]


def _class_table(facts: RoundFacts) -> Table:
    """A row for each class, and one for their mean."""
    judged, best, decision = facts.judged, facts.best, facts.decision
    whole = max(sum(judged.held), 1)
    rows: list[list[str | Cell]] = []
    for of, rgb, held in zip(judged.classes, facts.classes.colors, judged.held, strict=True):
        row: list[str | Cell] = [Cell(of, note="" if held else "unjudged", colour=rgb), f"{held / whole:.1%}"]
        row += [_score_cell(judged, f"iou.{of}", held), _score_cell(judged, f"dice.{of}", held)]
        rows.append([*row, *_against(best, f"dice.{of}", decision.per_class.get(of), held)])
    row = ["Mean", "", _score_cell(judged, "mean_iou"), _score_cell(judged, "mean_dice")]
    rows.append([*row, *_against(best, "mean_dice", decision.mean)])
    columns = ["Class", "Share", "IoU", "Dice", *(["Dice, best so far", "Difference", "Groups"] if best else [])]
    caption = "A class that no validation image holds is unjudged: n/a."
    if best and decision.per_class:
        caption = (
            f"Differences of Dice are means over groups, image by image, of the classes that an image's truth holds; "
            f"those of classes with {decision.level:.1%} intervals, which all hold together with 95 %. {caption}"
        )
    return Table(columns, rows, caption)


def _against(best: Judged | None, name: str, difference: Difference | None, held: int = 1) -> list[str | Cell]:
    if best is None:
        return []
    score = _score_cell(best, name, held)
    if difference is None:
        return [score, "n/a", "0"]
    return [score, Cell(signed(difference.difference), note=_ends(difference)), str(difference.groups)]


def _score_cell(judged: Judged, name: str, held: int = 1) -> Cell:
    score = (judged.scores or {}).get(name, math.nan) if held else math.nan
    if math.isnan(score):
        return Cell("n/a")
    return Cell(decimal(score), note=_spread(judged, name), bar=score)


def _asked(facts: RoundFacts) -> list[Section]:
    """What is asked for and why: a table, and the pictures."""
    if not facts.asked:
        return [Section("Asked for now", [Text(["Nothing is asked for."])])]
    names = list(dict.fromkeys(name for one in facts.asked for name in one.scores))
    rows: list[list[str | Cell]] = [
        [
            Cell(f"{rank}. {one.name}", note=one.reason),
            decimal(one.score),
            *(decimal(one.scores.get(name, math.nan)) for name in names),
        ]
        for rank, one in enumerate(facts.asked, start=1)
    ]
    caption = "The mixed score is what they were chosen by; the others are those of each strategy, 0 to 1."
    table = Table(["Asked for", "Mixed score", *(name.replace("_", " ") for name in names)], rows, caption)
    drawn = [picture for one in facts.asked[:EMBEDDED] if (picture := _asked_picture(one)) is not None]
    colours = Legend(dict(zip(facts.classes.names, facts.classes.colors, strict=True)))
    pictures: list[Block] = [colours, *drawn[:SHOWN]] if drawn else []
    sections = [Section("Asked for now", [table, *pictures])]
    if drawn[SHOWN:]:
        sections.append(
            Section(f"{len(drawn) - SHOWN} more that are asked for", [colours, *drawn[SHOWN:]], folded=True)
        )
    return sections


def _asked_picture(asked: Asked) -> Picture | None:
    """The image, its predicted mask and where the model is unsure, as far as these files can be read."""
    tiles: dict[str, RGB] = {}
    if asked.image is not None:
        try:
            grey = to_8bit(read_image(asked.image, asked.page))
        except (ImageError, OSError):
            return None
        tiles["image"] = np.repeat(grey[..., None], 3, axis=2)
    for title, path in (("predicted mask", asked.mask), ("uncertainty (white: unsure)", asked.uncertainty)):
        with suppress(OSError):  # it is gone or damaged
            if path is not None:
                with Image.open(path) as file:
                    tiles[title] = np.asarray(file.convert("RGB"))
    if not tiles:
        return None
    height, width = next(iter(tiles.values())).shape[:2]
    fitted = [
        tile
        if tile.shape[:2] == (height, width)
        else cv2.resize(tile, (width, height), interpolation=cv2.INTER_NEAREST)
        for tile in tiles.values()
    ]
    return Picture(panel(fitted, list(tiles), width=_WIDTH), f"{asked.name}: {asked.reason}")


def _worst(facts: RoundFacts, folder: Path, workspace: Workspace) -> list[Section]:
    images = [image for image in facts.judged.images if image.scores["mean_dice"] < 1]  # NaN is not
    images.sort(key=lambda image: image.scores["mean_dice"])
    pictures = [
        picture
        for image in images[: facts.worst_cases]
        if (picture := _panel_picture(image, facts.classes, folder, workspace)) is not None
    ]
    if not pictures:
        return []
    colours = Legend({**dict(zip(facts.classes.names, facts.classes.colors, strict=True)), "wrong": WRONG})
    return [Section("Worst validation images", [colours, *pictures])]


def _panel_picture(image: JudgedImage, classes: ClassMap, folder: Path, workspace: Workspace) -> Picture | None:
    path = workspace.path(image.panel)
    if not path.is_file():
        return None
    per_class = ", ".join(f"{of} {decimal(image.scores[f'dice.{of}'])}" for of in classes.names)
    with Image.open(path) as file:
        sheet = np.asarray(file.convert("RGB"))
    bare = sheet[: -legend(classes, sheet.shape[1]).shape[0]]  # the page has a legend of its own
    link = quote(path.relative_to(folder).as_posix()) if path.is_relative_to(folder) else ""
    caption = f"{image.id}: mean Dice {decimal(image.scores['mean_dice'])} ({per_class}), group {image.group}"
    return Picture(shrink(bare, _WIDTH), caption, link)


def _label_table(facts: RoundFacts) -> Table:
    """How labels came about, how many there are in each split, and the scores on validation labels of each kind."""
    counts = Counter(facts.labels.values())
    by_state: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for image in facts.judged.images:
        if image.sha256 in facts.labels:
            by_state[facts.labels[image.sha256].state][image.group].append(image.scores["mean_dice"])
    test = any(as_.split == "test" for as_ in counts)
    rows: list[list[str | Cell]] = []
    for state, meaning in STATES.items():
        splits = [str(counts[LabelledAs(split, state)]) for split in ("train", "val", *(["test"] if test else []))]
        mean, low, high = metrics.interval(by_state[state])
        note = "" if math.isnan(low) else f"[{decimal(low)}, {decimal(high)}]"
        rows.append([Cell(state, note=meaning), *splits, Cell(decimal(mean), note=note)])
    columns = ["Label", "Training", "Validation", *(["Test"] if test else []), "Mean Dice there"]
    caption = (
        "The last column is the new model's mean over groups on the validation images with such labels. Confirmed and "
        "edited predictions resemble the model that made them, so scores on them may be too good."
    )
    return Table(columns, rows, caption)


def _correction_table(facts: RoundFacts) -> Table:
    colours = dict(zip(facts.classes.names, facts.classes.colors, strict=True))
    rows: list[list[str | Cell]] = []
    for of, change in facts.corrections.items():
        whole = max(change.pixels, 1)
        changed = change.boundary + change.blob
        rows.append(
            [
                Cell(of, colour=colours.get(of)),
                f"{change.pixels:,}",
                Cell(f"{changed:,}", note=f"{changed / whole:.1%}"),
                Cell(f"{change.boundary:,}", note=f"{change.boundary / whole:.1%}"),
                Cell(f"{change.blob:,}", note=f"{change.blob / whole:.1%}"),
            ]
        )
    caption = (
        "Pixels of masks that came back corrected. Changes along outlines are a matter of drawing; whole blobs are "
        "what the model had taken for something else."
    )
    return Table(["Class", "Pixels", "Changed", "Along outlines", "Whole blobs"], rows, caption)


def _spread(judged: Judged, name: str) -> str:
    mean, low, high = judged.spread(name)
    return f"{decimal(mean)} [n/a]" if math.isnan(low) else f"{decimal(mean)} [{decimal(low)}, {decimal(high)}]"


def _ends(difference: Difference) -> str:
    return "[n/a]" if math.isnan(difference.low) else f"[{signed(difference.low)}, {signed(difference.high)}]"
