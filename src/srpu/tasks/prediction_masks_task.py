"""Predicted masks to correct, of any model and any images: `srpu active masks`."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Shaped, UInt8

from srpu.active.handoff import INSTRUCTIONS, instructions
from srpu.active.imagej import CORRECTED, LUT, MACRO, MASK_ENDING, write_lut, write_macro
from srpu.data.images import databar_rows, image_info, read_image, write_image
from srpu.data.index import PixelSizes
from srpu.data.masks import IGNORE, ClassMap, write_mask
from srpu.errors import DataError, ImageError, ModelError, WorkspaceError
from srpu.files import make_folder, read_json, write_json, write_text
from srpu.learn.checkpoint import Checkpoint, load_checkpoint, rebuild_model
from srpu.learn.device import Precision, choose_device, choose_precision
from srpu.learn.predict import Tiling, predict_labels
from srpu.models.segmenter import Segmenter
from srpu.progress import track
from srpu.settings import ActiveLearningSettings, InferenceSettings, Settings
from srpu.tasks.active_places import Places
from srpu.tasks.predict_task import file_hash
from srpu.tasks.prediction_masks_input import Wanted, named_images, unlabelled_images
from srpu.tasks.truth import model_hash
from srpu.tasks.wiring import class_map, enough_memory, newest_checkpoint, same_classes
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

"""Below PREDICTION_MASK_CONFIG["output_dir"], beside the folders of rounds."""

Outcome = Literal["written", "as before", "kept"]


@dataclass(frozen=True)
class PredictedMasks:
    """How it went, in images; each page of a stack is one.

    Attributes:
        written: Predicted now.
        before: Predicted before, with the same model and settings, and not touched since.
        kept: Changed by somebody since they were written, and left as they are.
        failed: Named at the end.
        folder: Where the files lie.
    """

    written: int
    before: int
    kept: int
    failed: int
    folder: Path


@dataclass(frozen=True)
class _Made:
    """What is remembered about a predicted mask.

    Attributes:
        source: The image's path.
        image: sha256 of its file.
        made_with: Of the model and of the settings that change the mask.
        mask: sha256 of the mask's file as it was written.
    """

    source: str
    image: str
    made_with: str
    mask: str


@dataclass(frozen=True)
class _Predictor:
    """A model on its device, and how it is used."""

    model: Segmenter
    checkpoint: Checkpoint
    classes: ClassMap
    tiles: Tiling
    databar: int | Literal["auto"]
    device: torch.device
    precision: Precision
    made_with: str

    def ids(self, image: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """The class of each pixel; 255 on the data bar."""
        ids = np.full(image.shape, IGNORE, np.uint8)
        rows = len(image) - databar_rows(image, self.databar)
        levels = self.checkpoint.normalisation.shift_scale(image[:rows])
        ids[:rows] = predict_labels(
            self.model, image[:rows], levels, self.tiles, device=self.device, precision=self.precision
        )
        return ids


def run(
    settings: ActiveLearningSettings,
    workspace: Workspace,
    sources: Sequence[Path] | None = None,
    *,
    checkpoint: Path | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> PredictedMasks:
    """Write a predicted mask of each image, to be corrected, with the image itself beside it.

    Args:
        settings: As checked.
        workspace: Where the settings' paths begin.
        sources: Files, folders or patterns; None or none: the unlabelled images of the index.
        checkpoint: The model; None: the promoted one of active learning, or else that of the last finished run.
        output: Where the files go; None: the folder "manual" in PREDICTION_MASK_CONFIG["output_dir"].
        overwrite: Write everything anew, also masks that somebody has changed.

    Raises:
        ImageError: There are no images.
        IndexingError: No images are named, and there is no index.
        CheckpointError: There is no model, or it tells other classes apart.
        SettingsError: The images lie in the output folder, or memory is too small.
        WorkspaceError: The files cannot be written; what was finished stays.
    """
    places = Places(settings, workspace)
    folder = _folder(places, output)
    path = _model(places, checkpoint)
    failures: list[str] = []
    wanted = named_images(sources, places, folder, failures) if sources else unlabelled_images(places)
    log.info("Predicting masks of %d images with %s.", len(wanted), path)
    predictor = _load(path, settings)
    make_folder(folder)
    sizes = PixelSizes()
    outcomes: dict[Outcome, list[str]] = {"written": [], "as before": [], "kept": []}
    for one in track(wanted, "predicting masks"):
        try:
            with enough_memory("halve TILE_SIZE and run the same command again: what is done stays"):
                outcome = _do(one, predictor, folder, settings, sizes, overwrite=overwrite)
        except (DataError, ModelError) as error:
            failures.append(str(error) if str(one.path) in str(error) else f"{one.path}: {error}")
            continue
        outcomes[outcome].append(one.name)
    count = sum(map(len, outcomes.values()))
    if count:
        _write_aids(folder, predictor.classes, count, settings)
    written, before, kept = (len(names) for names in outcomes.values())
    done = PredictedMasks(written, before, kept, len(failures), folder)
    _say(done, outcomes["kept"], failures)
    return done


def mask_name(name: str) -> str:
    """The file of the predicted mask of the image that is called ``name``.

    >>> mask_name("s1")
    's1_predicted_mask.tif'
    """
    return f"{name}{MASK_ENDING}"


def _folder(places: Places, output: Path | None) -> Path:
    if output is not None:
        return output.expanduser().absolute()
    return places.handed_by_hand


def _model(places: Places, checkpoint: Path | None) -> Path:
    """The model that was named, the promoted one, or the newest finished one.

    Raises:
        CheckpointError: There is none.
    """
    if checkpoint is not None:
        return checkpoint.absolute() if checkpoint.exists() else places.workspace.path(checkpoint)
    if places.best_model.exists():
        return places.best_model
    shared = {name: getattr(places.settings, name) for name in Settings.model_fields}
    return newest_checkpoint(InferenceSettings(**shared), places.workspace)


def _load(path: Path, settings: ActiveLearningSettings) -> _Predictor:
    checkpoint = load_checkpoint(path, expect_classes=settings.NUM_CLASSES)
    classes = class_map(settings)
    same_classes(path, checkpoint.classes, classes)
    device = choose_device(settings.DEVICE)
    precision = choose_precision(settings.PRECISION, device)
    tiles = Tiling(settings.TILE_SIZE, settings.TILE_OVERLAP, settings.SCORING_BATCH_SIZE)
    chosen = [model_hash(path), classes.state(), tiles.size, tiles.overlap, settings.DATABAR_ROWS, precision]
    return _Predictor(
        model=rebuild_model(checkpoint).to(device).to(memory_format=torch.channels_last),
        checkpoint=checkpoint,
        classes=classes,
        tiles=tiles,
        databar=settings.DATABAR_ROWS,
        device=device,
        precision=precision,
        made_with=hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest(),
    )


def _do(
    wanted: Wanted,
    predictor: _Predictor,
    folder: Path,
    settings: ActiveLearningSettings,
    sizes: PixelSizes,
    *,
    overwrite: bool,
) -> Outcome:
    """One image: predict and write it, unless that is done or somebody has changed the mask.

    Raises:
        ImageError: It cannot be read, or its name is taken by another image.
    """
    mask, memory = folder / mask_name(wanted.name), folder / ".srpu" / f"{wanted.name}.json"
    image_hash = file_hash(wanted.path)
    if mask.exists() and not overwrite:
        made = _remembered(memory)
        if made is None or made.mask != file_hash(mask):
            return "kept"
        if made.source != str(wanted.path) and Path(made.source).exists():
            raise ImageError(
                f"{wanted.path}: {mask} is of {made.source}; choose another --output for this image, or --overwrite."
            )
        if (made.image, made.made_with) == (image_hash, predictor.made_with) and all(
            path.exists() for path in _files(folder, wanted.name, settings)
        ):
            return "as before"
    image = read_image(wanted.path, wanted.page)
    ids = predictor.ids(image)
    told = image_info(wanted.path).pixel_size_nm or wanted.pixel_size_nm or sizes.find(wanted.path, wanted.root)
    write_image(folder / f"{wanted.name}.tif", image, pixel_size_nm=told or settings.PIXEL_SIZE_NM)
    if settings.PREDICTION_MASK_CONFIG.save_colored_masks:
        write_mask(mask.with_suffix(".png"), ids, predictor.classes)
    write_mask(mask, ids, predictor.classes)
    write_json(memory, asdict(_Made(str(wanted.path), image_hash, predictor.made_with, file_hash(mask))))
    return "written"


def _files(folder: Path, name: str, settings: ActiveLearningSettings) -> Iterator[Path]:
    """What lies beside the mask."""
    yield folder / f"{name}.tif"
    if settings.PREDICTION_MASK_CONFIG.save_colored_masks:
        yield (folder / mask_name(name)).with_suffix(".png")


def _remembered(path: Path) -> _Made | None:
    try:
        return _Made(**read_json(path))
    except (FileNotFoundError, WorkspaceError, TypeError):  # then it is as if somebody else had made the mask
        return None


def _write_aids(folder: Path, classes: ClassMap, count: int, settings: ActiveLearningSettings) -> None:
    """Write what helps to correct: the macro, the colours, and what to do."""
    make_folder(folder / CORRECTED)
    write_lut(folder / LUT, classes)
    write_macro(folder / MACRO, classes)
    write_text(folder / INSTRUCTIONS, told(classes, count, settings.CORRECTED_DIR, settings.LABELED_DIR))


def told(classes: ClassMap, count: int, corrected: str, labeled: str) -> str:
    """What to do, as rounds tell it, except where the corrected masks go: no round waits for these.

    Args:
        classes: What is painted.
        count: How many masks there are.
        corrected: CORRECTED_DIR.
        labeled: LABELED_DIR.
    """
    text = instructions(classes, 0, count, regions=False)
    text = text.replace("Round 0 of active learning: ", "").replace("主动学习第 0 轮：", "")
    english = _STEP.format(corrected=corrected, labeled=labeled)
    text = re.sub(r"4\. (?!全).*?(?=With another program)", lambda _: english, text, flags=re.DOTALL)
    chinese = _STEP_CHINESE.format(corrected=corrected, labeled=labeled)
    return re.sub(r"4\. 全.*?(?=使用其他软件)", lambda _: chinese, text, flags=re.DOTALL)


_STEP = """\
4. When all are done, copy what lies in the folder corrected into {corrected} of the workspace and type:

   srpu active take-in

   Or, for `srpu train` alone, into {labeled}; then type srpu index.

"""

_STEP_CHINESE = """\
4. 全部完成后，把文件夹 corrected 中的文件复制到工作区的 {corrected}，并输入：

   srpu active take-in

   若只用 srpu train 训练：复制到 {labeled}，然后输入 srpu index。

"""


def _say(done: PredictedMasks, kept: Sequence[str], failures: Sequence[str]) -> None:
    """How it went, what was left alone, each image that failed, and what is to be done."""
    log.info(
        "Masks predicted: %d; done before: %d; kept because somebody has changed them: %d; failed: %d.",
        done.written,
        done.before,
        done.kept,
        done.failed,
    )
    if kept:
        names = ", ".join(mask_name(name) for name in kept[:5]) + (", …" if len(kept) > 5 else "")
        log.warning("Left as they are: %s; --overwrite predicts them anew.", names)
    for failure in failures:
        log.warning("Failed: %s", failure)
    if done.written + done.before + done.kept:
        log.info("To correct: %s; %s there tells how, and where the corrected masks go.", done.folder, INSTRUCTIONS)
