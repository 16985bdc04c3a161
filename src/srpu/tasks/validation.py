"""How a model in training does on the validation images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from srpu.data.dataset import LabelledImage
from srpu.data.masks import IGNORE, ClassMap, colour
from srpu.data.normalisation import Normalisation
from srpu.learn import metrics
from srpu.learn.device import Precision
from srpu.learn.predict import Tiling, predict_bands
from srpu.pictures import error_map, panel, to_8bit
from srpu.progress import track

log = logging.getLogger(__name__)


@dataclass
class Validation:
    """Predicts every validation image and scores all of them with one confusion matrix.

    Attributes:
        images: What is judged on.
        classes: What the network's channels mean.
        normalisation: As in training.
        tiling: How images are cut.
        device: Where to compute.
        precision: In which number format.
        picture: The first image beside truth and prediction, after the last call.
    """

    images: Sequence[LabelledImage]
    classes: ClassMap
    normalisation: Normalisation
    tiling: Tiling
    device: torch.device
    precision: Precision
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    _shift_scale: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Dice, IoU and cross-entropy in all, per class and per data set; "score" is the mean Dice over the classes."""
        matrices: dict[str, np.ndarray] = {}
        surprise, labelled = 0.0, 0
        for number, image in enumerate(track(self.images, "Validation")):
            truth = np.asarray(image.open_mask())
            ids, lost = self._predict(model, image, truth)
            matrix = metrics.confusion(truth, ids, len(self.classes))
            matrices[image.dataset] = matrices.get(image.dataset, 0) + matrix
            surprise, labelled = surprise + lost, labelled + int(matrix.sum())
            if number == 0:
                self.picture = self._panel(image, truth, ids)
        total = np.sum(list(matrices.values()), axis=0)
        numbers = {"score": metrics.mean_dice(total), "val/cross_entropy": surprise / max(labelled, 1)}
        numbers |= self._by_class("val", total)
        if len(matrices) > 1:
            for dataset, matrix in matrices.items():
                numbers |= self._by_class(f"val/{dataset}", matrix)
        return numbers

    def _predict(self, model: nn.Module, image: LabelledImage, truth: np.ndarray) -> tuple[np.ndarray, float]:
        """Class ids (h, w), and the cross-entropy summed over the labelled pixels."""
        levels = image.open_image()
        if image.name not in self._shift_scale:
            self._shift_scale[image.name] = self.normalisation.shift_scale(levels)
        ids, lost = np.empty(truth.shape, dtype=np.uint8), 0.0
        shift_scale = self._shift_scale[image.name]
        for band in predict_bands(
            model, levels, shift_scale, self.tiling, device=self.device, precision=self.precision
        ):
            rows = slice(band.top, band.top + band.probabilities.shape[1])
            ids[rows] = band.labels()
            known = truth[rows] != IGNORE
            wanted = np.where(known, truth[rows], 0)[None].astype(np.intp)
            right = np.take_along_axis(band.probabilities, wanted, axis=0)[0][known]
            lost -= float(np.log(np.maximum(right, 1e-12)).sum())
        return ids, lost

    def _panel(self, image: LabelledImage, truth: np.ndarray, ids: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
        pictures = [to_8bit(image.open_image()), colour(truth, self.classes), colour(ids, self.classes)]
        return panel([*pictures, error_map(truth, ids)], ["image", "truth", "prediction", "error"], width=1200)

    def _by_class(self, where: str, matrix: np.ndarray) -> dict[str, float]:
        dice, iou = metrics.dice(matrix), metrics.iou(matrix)
        numbers = {f"{where}/dice": metrics.nan_mean(dice), f"{where}/iou": metrics.nan_mean(iou)}
        for name, class_dice, class_iou in zip(self.classes.names, dice, iou, strict=True):
            numbers |= {f"{where}/dice/{name}": float(class_dice), f"{where}/iou/{name}": float(class_iou)}
        return numbers


@dataclass
class EpochLines:
    """A tracker that says how each epoch went, in one line."""

    epochs: int
    classes: ClassMap
    best: float = float("-inf")

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log the line."""
        line = f"Epoch {step}/{self.epochs}: loss {values['loss']:.4f}"
        if "score" in values:
            each = ", ".join(f"{name} {_shown(values[f'val/dice/{name}'])}" for name in self.classes.names)
            better = values["score"] > self.best
            self.best = max(self.best, values["score"])
            line += f", validation Dice {_shown(values['score'])} ({each}){', best so far' if better else ''}"
        log.info("%s", line)

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """A line holds no picture."""

    def close(self) -> None:
        """Nothing is held back."""


def _shown(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.4f}"
