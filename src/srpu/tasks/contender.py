"""Who is judged by `srpu evaluate`: a trained model, or masks that someone or something else made."""

from __future__ import annotations

import logging
import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from srpu.data.folders import Found, find_files
from srpu.data.index import Record
from srpu.data.masks import IGNORE, ClassMap, fit_mask, read_mask
from srpu.data.pairing import bare_stem
from srpu.errors import PairingError
from srpu.settings import EvaluationSettings
from srpu.tasks.wiring import class_map, newest_checkpoint, same_classes, tiling
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

Ids = UInt8[np.ndarray, "h w"]
Watch = Callable[[Float32[np.ndarray, "c rows w"]], None]
"""Sees the probabilities of an image, not calibrated, in bands from top to bottom."""

Predict = Callable[[Record, Shaped[np.ndarray, "h w"], Watch], tuple[Ids, Ids]]


@dataclass(frozen=True)
class Contender:
    """What is judged, and how it labels an image.

    Attributes:
        name: For the run's folder.
        facts: What the report's head says about it.
        predict: From a record and its grey levels without data bar to the most probable class of each pixel, and the
            same with 255 where no class is more probable than 0.5. The MicroNet IoU, for which that is, is defined on
            what the network says, so no temperature is applied. A watch sees the probabilities where there are any.
        trained_on: The split in which it knew each image, by pixel hash.
        temperature: What makes its probabilities honest; None: it has no probabilities.
    """

    name: str
    facts: dict[str, str]
    predict: Predict
    trained_on: dict[str, str] = field(default_factory=dict)
    temperature: float | None = None


def model_contender(settings: EvaluationSettings, workspace: Workspace) -> Contender:
    """The model of CHECKPOINT_PATH, or the newest best one.

    Raises:
        CheckpointError: There is no model, or it tells another number of classes apart.
    """
    path = newest_checkpoint(settings, workspace)
    log.info("Judging the model %s%s.", path, "" if settings.CHECKPOINT_PATH else ", the best of the last finished run")
    return open_model(path, settings, workspace)


def open_model(path: Path, settings: EvaluationSettings, workspace: Workspace) -> Contender:
    """The model at ``path``.

    Raises:
        CheckpointError: It cannot be read, or it tells another number of classes apart.
    """
    from srpu.learn.checkpoint import load_checkpoint, rebuild_model
    from srpu.learn.device import choose_device, choose_precision
    from srpu.learn.predict import predict_bands

    checkpoint = load_checkpoint(path, expect_classes=settings.NUM_CLASSES)
    same_classes(path, checkpoint.classes, class_map(settings))
    device = choose_device(settings.DEVICE)
    precision = choose_precision(settings.PRECISION, device)
    model = rebuild_model(checkpoint).to(device)
    tiles = tiling(settings)

    def predict(record: Record, image: np.ndarray, watch: Watch) -> tuple[Ids, Ids]:
        labels, sure = np.empty(image.shape, np.uint8), np.empty(image.shape, np.uint8)
        levels = checkpoint.normalisation.shift_scale(image)
        for band in predict_bands(model, image, levels, tiles, device=device, precision=precision):
            rows = slice(band.top, band.top + band.probabilities.shape[1])
            labels[rows] = band.labels()
            sure[rows] = np.where(band.probabilities.max(axis=0) > 0.5, labels[rows], IGNORE)
            watch(band.probabilities)
        return labels, sure

    network = f"{checkpoint.model['encoder']}_{checkpoint.model['decoder']}"
    chosen = "" if math.isnan(checkpoint.val_dice) else f", validation Dice {checkpoint.val_dice:.3f}"
    facts = {
        "model": workspace.name(path),
        "network": f"{network}, trained for {checkpoint.epoch} epoch{'s' * (checkpoint.epoch != 1)}{chosen}",
        "prediction": f"tiles of {tiles.size} px, overlap {tiles.overlap:.1%}, flip averaging "
        f"{'on' if tiles.flips else 'off'}, {precision} on {device}",
    }
    return Contender(network, facts, predict, checkpoint.trained_on, checkpoint.temperature)


def mask_contender(folder: Path, records: Iterable[Record], classes: ClassMap) -> Contender:
    """The masks in ``folder``, each found before the first is judged.

    Raises:
        PairingError: The folder does not exist, masks are missing, or an image has two.
    """
    found = find_masks(folder, records)

    def predict(record: Record, image: np.ndarray, watch: Watch) -> tuple[Ids, Ids]:
        path, rows = found[record], len(image)
        ids = read_mask(path, classes, record.page).ids
        labels = fit_mask(ids, (record.height, record.width), record.height - rows, path)[:rows]
        return labels, labels

    return Contender(f"masks_{folder.name}", {"masks": str(folder)}, predict)


def find_masks(folder: Path, records: Iterable[Record]) -> dict[Record, Path]:
    """The mask of each record in ``folder`` or below: the image's name, with or without suffix and "_mask" or the like.

    Where several sub-folders hold a mask of that name, the one whose place is most like the image's counts.

    Raises:
        PairingError: The folder does not exist, masks are missing, or it is not clear which mask is whose.
    """
    if not folder.is_dir():
        raise PairingError(f"PREDICTIONS_DIR leads to {folder}, which is not a folder; correct the path.")
    named: dict[str, list[Found]] = defaultdict(list)
    for file in find_files(folder):
        named[_name(file.stem)].append(file)
    found: dict[Record, Path] = {}
    owners: dict[Path, str] = {}
    missing = []
    for record in records:
        image = PurePosixPath(record.image)
        candidates = _nearest(record, named[_name(image.name)] or named[_name(image.stem)])
        if not candidates:
            missing.append(record.id)
            continue
        found[record] = path = candidates[0].path
        if len(candidates) > 1:
            raise PairingError(f"{record.id} has two masks, {path} and {candidates[1].path}; move one of them away.")
        if owners.setdefault(path, record.image) != record.image:
            raise PairingError(
                f"{path} could be of {owners[path]} or {record.image}; sort masks into sub-folders as the images are."
            )
    if missing:
        raise PairingError(
            f"{folder} holds no mask for {len(missing)} of {len(missing) + len(found)} images ({', '.join(missing[:5])}"
            f"{', …' if len(missing) > 5 else ''}); name each mask like its image, or choose another EVALUATION_SPLIT."
        )
    return found


def _nearest(record: Record, candidates: list[Found]) -> list[Found]:
    """The candidates whose folder differs least from the record's, counted from the file upwards."""

    def apart(file: Found) -> int:
        ours, theirs = PurePosixPath(record.id).parent.parts[::-1], file.folder[::-1]
        common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False))))
        return len(ours) + len(theirs) - 2 * common

    least = min(map(apart, candidates), default=0)
    return [file for file in candidates if apart(file) == least]


def _name(stem: str) -> str:
    """What an image and its mask have in common, however the system writes capitals and accents."""
    return unicodedata.normalize("NFC", bare_stem(stem)).casefold()
