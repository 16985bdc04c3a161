"""Segmenting images and measuring what is in them: `srpu predict`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8

from srpu.data.folders import Found
from srpu.data.images import databar_rows, image_info, read_image
from srpu.data.index import PixelSizes
from srpu.data.masks import IGNORE, ClassMap
from srpu.data.regions import class_pixels, fill_holes, remove_specks
from srpu.errors import DataError, ImageError, ModelError
from srpu.learn.calibrate import temper
from srpu.learn.checkpoint import Checkpoint, load_checkpoint, rebuild_model
from srpu.learn.device import Precision, choose_device, choose_precision
from srpu.learn.novelty import Novelty, pooled_features
from srpu.learn.predict import count_bands, predict_bands
from srpu.models.segmenter import Segmenter
from srpu.progress import track
from srpu.settings import InferenceSettings
from srpu.tasks.inputs import find_images, result_names
from srpu.tasks.prediction_files import Page, Planes, file_names, write_pages
from srpu.tasks.predictions import Prediction, Predictions
from srpu.tasks.wiring import class_map, enough_memory, newest_checkpoint, same_classes, tiling
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

Row = dict[str, Any]


class Device(TypedDict):
    """Where and how to compute."""

    device: torch.device
    precision: Precision


OUTPUT_SETTINGS = {
    "CLASS_NAMES", "COLOR_MAPPING", "DATABAR_ROWS", "FLIP_AVERAGING", "IGNORE_COLOR", "IGNORE_INDEX", "MASK_FORMAT",
    "MIN_HOLE_PIXELS", "MIN_SPECK_PIXELS", "PIXEL_SIZE_NM", "PRECISION", "SAVE_COLORED", "SAVE_OVERLAY",
    "SAVE_PROBABILITIES", "SAVE_UNCERTAINTY", "TILE_OVERLAP", "TILE_SIZE",
}  # fmt: skip
"""Settings that change what is written: with another value, an image is segmented again."""


@dataclass(frozen=True)
class Predicted:
    """How a run of `srpu predict` went, in image files.

    Attributes:
        done: Segmented now.
        skipped: Segmented before, with the same model and settings.
        failed: Named at the end.
        unlike: Of those segmented now, how many hold a page unlike the training images.
        table: The area fractions of all images in the output folder.
    """

    done: int
    skipped: int
    failed: int
    unlike: int
    table: Path


@dataclass(frozen=True)
class Predictor:
    """A model on its device, and what it is told to do."""

    model: Segmenter
    checkpoint: Checkpoint
    name: str
    novelty: Novelty | None
    classes: ClassMap
    settings: InferenceSettings
    device: torch.device
    precision: Precision
    pixel_sizes: PixelSizes = field(default_factory=PixelSizes)


def run(
    settings: InferenceSettings, workspace: Workspace, source: Path | None = None, overwrite: bool = False
) -> Predicted:
    """Segment the images in ``source``; those that are done already, with the same model and settings, are skipped.

    Args:
        settings: What to write, and where.
        workspace: Where the settings' paths begin.
        source: A file, a folder or a pattern such as ``photos/*.tif``; None: INPUT_DIR.
        overwrite: Do everything again.

    Raises:
        ImageError: There are no images.
        SettingsError: The input lies in the output folder, or the device's memory is too small.
        CheckpointError: There is no model, or it tells other classes apart.
        WorkspaceError: The results cannot be written; what was finished stays.
    """
    path = newest_checkpoint(settings, workspace)
    log.info("Segmenting with %s%s.", path, "" if settings.CHECKPOINT_PATH else ", the best of the last finished run")
    output = workspace.path(settings.OUTPUT_DIR)
    source = workspace.path(settings.INPUT_DIR) if source is None else source.expanduser().absolute()
    images = result_names(find_images(source, output))
    predictor = _load(path, settings, workspace)
    made_with = _made_with(path, settings)
    predictions = Predictions(output)
    done, unlike, skipped, failures = 0, 0, 0, list[str]()
    try:
        for name, found in track(images.items(), "Segmenting"):
            try:
                image_sha256 = file_hash(found.path)
                scale = _pixel_size(found, predictor)
                if not overwrite and _is_done(predictions, name, found, image_sha256, made_with, scale):
                    skipped += 1
                    continue
                with enough_memory("halve BATCH_SIZE or TILE_SIZE and run the same command again: what is done stays"):
                    files, rows = _segment_file(found, name, predictor, predictions)
            except (DataError, ModelError) as error:
                failures.append(str(error) if str(found.path) in str(error) else f"{found.path}: {error}")
                continue
            predictions.forget(name, files)
            predictions.keep(name, Prediction(str(found.path), image_sha256, made_with, files, rows))
            done, unlike = done + 1, unlike + any(row["unlike_training_images"] == "yes" for row in rows)
            log.info("%s: %s", found.id, _summary(rows, predictor.classes))
    finally:
        table = predictions.write_table()
    result = Predicted(done, skipped, len(failures), unlike, table)
    _say(result, failures, output)
    return result


def _load(path: Path, settings: InferenceSettings, workspace: Workspace) -> Predictor:
    checkpoint = load_checkpoint(path, expect_classes=settings.NUM_CLASSES)
    classes = class_map(settings)
    same_classes(path, checkpoint.classes, classes)
    device = choose_device(settings.DEVICE)
    return Predictor(
        model=rebuild_model(checkpoint).to(device).to(memory_format=torch.channels_last),
        checkpoint=checkpoint,
        name=workspace.name(path),
        novelty=Novelty.from_state(checkpoint.novelty) if checkpoint.novelty else None,
        classes=classes,
        settings=settings,
        device=device,
        precision=choose_precision(settings.PRECISION, device),
    )


def _made_with(checkpoint: Path, settings: InferenceSettings) -> str:
    """Hash of the model and of all settings that change the results."""
    chosen = settings.model_dump(mode="json", include=OUTPUT_SETTINGS)
    return hashlib.sha256((file_hash(checkpoint) + json.dumps(chosen, sort_keys=True)).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _is_done(
    predictions: Predictions, name: str, found: Found, image_sha256: str, made_with: str, pixel_size: float | None
) -> bool:
    """Whether ``name`` holds this image's results, made in the same way.

    Raises:
        ImageError: It holds the results of another image that still exists.
    """
    known = predictions.find(name)
    if known is None:
        return False
    if known.image_sha256 != image_sha256:
        if known.source != str(found.path) and Path(known.source).exists():
            raise ImageError(
                f"{found.path}: {predictions.output / known.files[0]} already holds the results of {known.source}; "
                f"choose another OUTPUT_DIR for this image, or --overwrite."
            )
        return False
    same_scale = all(row["pixel_size_nm"] == pixel_size for row in known.rows)
    return known.made_with == made_with and same_scale and predictions.is_whole(known)


def _pixel_size(found: Found, predictor: Predictor) -> float | None:
    """In nanometres, by the file itself, by a table beside it, or by the settings."""
    told = image_info(found.path).pixel_size_nm or predictor.pixel_sizes.find(found.path, found.root)
    return told or predictor.settings.PIXEL_SIZE_NM


def _segment_file(
    found: Found, name: str, predictor: Predictor, predictions: Predictions
) -> tuple[list[str], list[Row]]:
    """Segment all pages of one file; gives the files written, the mask first, and a table row for each page."""
    settings = predictor.settings
    info, pixel_size = image_info(found.path), _pixel_size(found, predictor)
    rows: list[Row] = []

    def pages() -> Generator[Page]:
        for number in range(info.pages):
            image = read_image(found.path, number)
            with _planes(image.shape, predictor, predictions.hidden) as planes:
                page, distance = _segment(image, predictor, planes)
                rows.append(
                    {"file": found.id, "page": number + 1 if info.pages > 1 else None}
                    | _measure(page.ids, pixel_size, predictor.classes)
                    | _novelty(distance)
                    | {"model": predictor.name}
                )
                yield page

    files = file_names(name, info.pages, settings)
    paths = {kind: predictions.output / file for kind, file in files.items()}
    try:
        with closing(pages()) as stream:
            write_pages(paths, stream, predictor.classes, info.pages * info.height * info.width)
    except MemoryError as error:  # a broken header may ask for any size
        raise ImageError(f"{found.path} does not fit into memory; cut it into smaller images.") from error
    return list(files.values()), rows


def _planes(shape: tuple[int, int], predictor: Predictor, folder: Path) -> AbstractContextManager[Planes | None]:
    """Where probabilities are kept, if they are wanted."""
    wanted = predictor.settings.SAVE_PROBABILITIES
    return closing(Planes(folder, len(predictor.classes), shape)) if wanted else nullcontext()


def _segment(
    image: Shaped[np.ndarray, "h w"], predictor: Predictor, planes: Planes | None
) -> tuple[Page, float | None]:
    """Segment one image; gives the result, and how unlike the training images it is.

    Args:
        image: Grey levels as read.
        predictor: The model, and what it is told to do.
        planes: Takes the probabilities; None: they are not wanted.
    """
    settings, model = predictor.settings, predictor.model
    where: Device = {"device": predictor.device, "precision": predictor.precision}
    visible = image[: len(image) - databar_rows(image, settings.DATABAR_ROWS)]
    shift_scale = predictor.checkpoint.normalisation.shift_scale(visible)
    ids = np.full(image.shape, IGNORE, np.uint8)
    uncertainty = np.zeros(image.shape, np.uint8)
    tiles = tiling(settings)
    bands = predict_bands(model, visible, shift_scale, tiles, **where)
    for band in track(bands, "Rows of tiles", count_bands(len(visible), tiles)):
        rows = slice(band.top, band.top + band.probabilities.shape[1])
        ids[rows] = band.labels()
        if settings.SAVE_UNCERTAINTY or planes:
            honest = temper(band.probabilities, predictor.checkpoint.temperature)
            if settings.SAVE_UNCERTAINTY:
                uncertainty[rows] = np.rint(255 * _entropy(honest))
            if planes:
                planes.put(band.top, honest)
    cleaned = remove_specks(ids[: len(visible)], settings.MIN_SPECK_PIXELS)
    ids[: len(visible)] = fill_holes(cleaned, settings.MIN_HOLE_PIXELS)
    distance = None
    if predictor.novelty:
        distance = predictor.novelty.distance(pooled_features(model, visible, shift_scale, **where))
    return Page(image, ids, uncertainty, planes or ()), distance


def _entropy(probabilities: Float32[np.ndarray, "c h w"]) -> Float32[np.ndarray, "h w"]:
    """Shannon entropy over the classes, divided by log(c): 0 is certain, 1 knows nothing.

    >>> _entropy(np.float32([[[1, 0.5]], [[0, 0.5]]])).tolist()
    [[0.0, 1.0]]
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    entropy = (probabilities * -logs).sum(axis=0) / np.log(np.float32(len(probabilities)))
    return np.asarray(np.clip(entropy, 0, 1))


def _measure(ids: UInt8[np.ndarray, "h w"], pixel_size_nm: float | None, classes: ClassMap) -> Row:
    """Size, area fractions (in labelled pixels) and, where the pixel size is known, areas in square micrometres."""
    pixels = class_pixels(ids, len(classes))
    shares = pixels / pixels.sum()
    areas = pixels * (pixel_size_nm / 1000) ** 2 if pixel_size_nm else [None] * len(classes)
    return (
        {"height": ids.shape[0], "width": ids.shape[1], "pixel_size_nm": pixel_size_nm}
        | {f"{name}_fraction": round(float(share), 6) for name, share in zip(classes.names, shares, strict=True)}
        | {
            f"{name}_area_um2": None if area is None else float(f"{area:.6g}")
            for name, area in zip(classes.names, areas, strict=True)
        }
    )


def _novelty(distance: float | None) -> Row:
    if distance is None:
        return {"novelty": None, "unlike_training_images": None}
    return {"novelty": round(distance, 3), "unlike_training_images": "yes" if distance > 1 else "no"}


def _summary(rows: list[Row], classes: ClassMap) -> str:
    """One image in a few words: the mean area fractions, and whether it is unlike the training images."""
    shares = [f"{name} {np.mean([row[f'{name}_fraction'] for row in rows]):.1%}" for name in classes.names]
    pages = [f"{len(rows)} pages"] if len(rows) > 1 else []
    unlike = sum(row["unlike_training_images"] == "yes" for row in rows)
    doubt = ["looks unlike the training images"] if unlike else []
    if unlike and len(rows) > 1:
        doubt = [f"{unlike} look unlike the training images"]
    return ", ".join(pages + shares + doubt)


def _say(result: Predicted, failures: list[str], output: Path) -> None:
    """How it went, and each image that failed."""
    log.info("Images segmented: %d; done before: %d; failed: %d.", result.done, result.skipped, result.failed)
    if result.skipped and not result.done and not result.failed:
        log.info("Nothing has changed since; --overwrite does everything again.")
    if result.unlike:
        log.warning("Unlike the training images: %d; look at the results before you trust them.", result.unlike)
    for failure in failures:
        log.warning("Failed: %s", failure)
    log.info("Results: %s; area fractions: %s", output, result.table)
