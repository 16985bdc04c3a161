"""`srpu demo`: the whole job on images that SRPU makes itself, and one report about it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from srpu.config import load_settings
from srpu.data.classes import ClassMap, colour
from srpu.data.images import read_image, write_image
from srpu.data.masks import read_mask, write_mask
from srpu.data.synthetic import Recipe, generate, vary
from srpu.errors import WorkspaceError
from srpu.files import read_json, write_text
from srpu.learn import metrics
from srpu.manual import config_text
from srpu.pictures import curves, overlay, panel, shrink, to_8bit
from srpu.progress import track
from srpu.report import Card, Cards, Legend, Picture, Section, Table, Text, write_report
from srpu.tasks import evaluate_task, index_task, init_task, predict_task, train_task
from srpu.tasks.wiring import Opener, class_map, load_records
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

SPECIMENS, VIEWS, EDGE = 8, 2, 384
"""Labelled images: so many specimens, so many views of each, so many pixels on a side."""

NEW = {"specimen09_new": (768, 1024), "specimen10_new": (600, 800), "specimen11_new": (768, 1024)}
"""Images that nobody labelled, and their height and width."""

CHANGED: dict[str, dict[str, Any]] = {
    "base.py": {"CROP_SIZE": 192},
    "dataset_config.py": {"GROUP_PATTERN": "(specimen[0-9]+)_"},
    "train/train_config.py": {"NUM_EPOCHS": 12, "STEPS_PER_EPOCH": 30, "LEARNING_RATE": 2e-3, "MAX_MINUTES": 4.0},
    "inference/inference_config.py": {"SAVE_UNCERTAINTY": True},
}
"""Settings that differ from the defaults, so that the demonstration takes minutes."""


@dataclass(frozen=True)
class Scored:
    """How one method does on the validation images."""

    mean_dice: float
    dice: dict[str, float]


@dataclass(frozen=True)
class Demonstrated:
    """Where to look, and the scores of the model and of thresholds."""

    report: Path
    model: Scored
    otsu: Scored


def run(folder: Path) -> Demonstrated:
    """Make a workspace in ``folder`` with generated images, index, train, evaluate, predict, and report.

    Raises:
        WorkspaceError: ``folder`` holds something else.
    """
    workspace = _workspace(folder)
    log.info("1/5 Making %d labelled and %d new images of composite cathodes.", SPECIMENS * VIEWS, len(NEW))
    settings = load_settings("train", workspace).settings
    classes = class_map(settings)
    _make_images(workspace, classes)
    log.info("2/5 Indexing: which images are learned from, which are judged on.")
    index_task.run(load_settings("index", workspace).settings, workspace)
    log.info("3/5 Training.")
    trained = train_task.run(settings, workspace)
    log.info("4/5 Judging the model on images that it did not learn from.")
    evaluated = evaluate_task.run(load_settings("evaluate", workspace).settings, workspace)
    scores = read_json(evaluated.folder / "scores.json")["all"]["scores"]
    model = Scored(scores["mean_dice"], {name: scores[f"dice.{name}"] for name in classes.names})
    otsu = _score_otsu(settings, workspace, classes)
    log.info("5/5 Segmenting the new images.")
    inference = load_settings("predict", workspace).settings
    predict_task.run(inference, workspace, overwrite=True)
    report = workspace.path("demo_report.html")
    masks = workspace.path(inference.OUTPUT_DIR)
    sections = [
        Section("What happened", [_story(settings)]),
        Section("Is it any good?", [_cards(model, otsu), _table(model, otsu, classes)]),
        Section("How it learned", [_curves(trained.history.rows)]),
        Section("Validation images", [_legend(classes), *_panels(evaluated.folder)]),
        Section("New images", [_legend(classes), *_predictions(workspace, masks, classes)]),
        Section("What next", [_next(workspace)]),
    ]
    write_report(report, "SRPU demonstration", sections, subtitle="Composite cathodes, generated, segmented, judged.")
    _say(report, evaluated.report, masks, model, otsu)
    return Demonstrated(report, model, otsu)


def _workspace(folder: Path) -> Workspace:
    """A workspace with the demonstration's settings; an earlier demonstration is done again."""
    workspace = Workspace(folder.resolve())
    note = workspace.path("data/raw/demo.txt")
    if not note.exists():
        if folder.exists() and any(folder.iterdir()):
            raise WorkspaceError(f"{folder} is not empty and holds no demonstration; name another: `srpu demo DIR`.")
        init_task.run(folder)
        write_text(note, "Images made by `srpu demo`; the whole folder can be deleted.\n")
    for file, values in CHANGED.items():
        lines = [f"{name} = {value!r}".replace("'", '"') for name, value in values.items()]
        changed = "\n".join(["", "# Changed for the demonstration. 演示所用的设置。", *lines, ""])
        write_text(workspace.configs / file, config_text(file) + changed)
    return workspace


def _make_images(workspace: Workspace, classes: ClassMap) -> None:
    """Labelled 16-bit images in data/raw with masks in data/labeled, new ones in data/inference/input."""
    views = [(specimen, view) for specimen in range(1, SPECIMENS + 1) for view in range(1, VIEWS + 1)]
    for specimen, view in track(views, "Making images"):
        recipe = vary(Recipe(), specimen)
        image, ids = generate(EDGE, EDGE, seed=100 * specimen + view, recipe=recipe, bits=16)
        name = f"specimen{specimen:02d}_view{view}"
        write_image(workspace.path(f"data/raw/{name}.tif"), image, pixel_size_nm=recipe.pixel_size_nm)
        write_mask(workspace.path(f"data/labeled/{name}.png"), ids, classes)
    for number, (name, (height, width)) in enumerate(track(NEW.items(), "Making new images", len(NEW))):
        recipe = vary(Recipe(), 1000 + number)
        image, _ = generate(height, width, seed=9000 + number, recipe=recipe, bits=16)
        path = workspace.path(f"data/inference/input/{name}.tif")
        write_image(path, image, pixel_size_nm=recipe.pixel_size_nm)


def _score_otsu(settings: Any, workspace: Workspace, classes: ClassMap) -> Scored:
    """Multi-level Otsu (Liao et al., 2001) on the validation images, its bins named in the most favourable way."""
    from skimage.filters import threshold_multiotsu

    opener = Opener(settings, workspace)
    pairs = []
    for record in load_records(settings, workspace, "val"):
        image = np.asarray(opener.image(record), dtype=np.float32)  # of integers every level would be tried
        thresholds = threshold_multiotsu(image, classes=len(classes))  # type: ignore[no-untyped-call]
        pairs.append((np.asarray(opener.mask(record)), np.digitize(image, thresholds)))
    matrices = []
    for names in permutations(range(len(classes))):
        named = np.array(names, dtype=np.uint8)
        matrices.append(np.sum([metrics.confusion(truth, named[bins], len(classes)) for truth, bins in pairs], axis=0))
    best = max(matrices, key=metrics.mean_dice)
    dice = dict(zip(classes.names, metrics.dice(best).tolist(), strict=True))
    return Scored(metrics.mean_dice(best), dice)


def _story(settings: Any) -> Text:
    return Text(
        [
            f"SRPU made {SPECIMENS * VIEWS} images of composite cathodes with known masks, {VIEWS} of each of "
            f"{SPECIMENS} specimens, each specimen with its own contrast, dose and particle sizes. It set some "
            f"specimens aside, trained {settings.ENCODER_NAME} + {settings.DECODER_NAME} from random weights on the "
            f"others, chose the best epoch on the specimens set aside, and then segmented {len(NEW)} larger images of "
            f"new specimens.",
            "The score is a validation score: the best epoch was chosen on the same images. With more specimens SRPU "
            "keeps a test split for the final number.",
        ]
    )


def _cards(model: Scored, otsu: Scored) -> Cards:
    return Cards(
        [
            Card("Mean Dice of the model", f"{model.mean_dice:.3f}", "on validation images"),
            Card("Mean Dice of thresholds", f"{otsu.mean_dice:.3f}", "multi-level Otsu, same images"),
            Card("Gain", f"{model.mean_dice - otsu.mean_dice:+.3f}"),
        ]
    )


def _table(model: Scored, otsu: Scored, classes: ClassMap) -> Table:
    rows = [[name, f"{model.dice[name]:.3f}", f"{otsu.dice[name]:.3f}"] for name in classes.names]
    return Table(["Class", "Dice of the model", "Dice of multi-level Otsu"], rows)


def _curves(rows: list[dict[str, float]]) -> Picture:
    series = {
        "loss (training)": [row["loss"] for row in rows],
        "mean Dice (validation)": [row["score"] for row in rows],
    }
    return Picture(curves(series), "Loss falls and validation Dice rises with each epoch.", chart=True)


def _legend(classes: ClassMap) -> Legend:
    return Legend(dict(zip(classes.names, classes.colors, strict=True)))


def _panels(folder: Path) -> list[Picture]:
    """The evaluation's own pictures: image, truth, prediction, error."""
    paths = sorted((folder / "panels").glob("*.png"))[:4]
    return [Picture(shrink(_read_rgb(path), 1600), path.stem) for path in paths]


def _predictions(workspace: Workspace, masks: Path, classes: ClassMap) -> list[Picture]:
    pictures = []
    for name in NEW:
        image = to_8bit(read_image(workspace.path(f"data/inference/input/{name}.tif")))
        ids = read_mask(masks / f"{name}_predicted_mask.png", classes).ids
        sheet = panel([image, colour(ids, classes), overlay(image, ids, classes)], ["image", "mask", "overlay"])
        pictures.append(Picture(sheet, name))
    return pictures


def _read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _next(workspace: Workspace) -> Text:
    return Text(
        [
            f"Everything lies in {workspace.root}: configs/ holds the settings, models/checkpoints the model, "
            f"evaluation_results the full report, data/inference/output the masks and phase_fractions.csv.",
            "With your own images: `srpu init my_work`, images into my_work/data/raw, masks into my_work/data/labeled, "
            "then `srpu index`, `srpu train`, `srpu evaluate` and `srpu predict` there.",
            "使用自己的图像：运行 `srpu init my_work`，把图像放入 my_work/data/raw，"
            "掩膜放入 my_work/data/labeled，"
            "然后依次运行 `srpu index`、`srpu train`、`srpu evaluate` 和 `srpu predict`。",
        ]
    )


def _say(report: Path, evaluation: Path, masks: Path, model: Scored, otsu: Scored) -> None:
    each = ", ".join(f"{name} {dice:.3f}" for name, dice in model.dice.items())
    log.info("Validation mean Dice %.3f (%s); multi-level Otsu reaches %.3f.", model.mean_dice, each, otsu.mean_dice)
    log.info("Look at:")
    for what, path in {"report": report, "scores in detail": evaluation, "masks of new images": masks}.items():
        log.info("  %-20s %s", what, path)
