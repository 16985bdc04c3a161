"""From trained weights to the model that other verbs take."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from srpu.data.index import Record
from srpu.errors import CheckpointError
from srpu.learn.checkpoint import Checkpoint, load_checkpoint, rebuild_model, save_checkpoint
from srpu.learn.loop import History
from srpu.learn.novelty import Novelty, pooled_features
from srpu.models.segmenter import Segmenter
from srpu.tasks.temperature import fit_on_validation
from srpu.tasks.training_job import Job
from srpu.tasks.validation import Validation
from srpu.tasks.wiring import PRETRAINED

log = logging.getLogger(__name__)

NOVELTY_IMAGES = 200
"""Training images that the model remembers, to tell whether a new one is unlike them."""


def checkpoints(model: Segmenter, job: Job, before: Mapping[str, str]) -> Callable[[nn.Module, int, float], Checkpoint]:
    """Makes checkpoints of the averaged weights; ``before`` are images that the first weights have seen already."""
    fixed: dict[str, Any] = {
        "model": model.spec,
        "classes": job.material.classes,
        "normalisation": job.material.normalisation,
        "settings": job.settings.model_dump(mode="json"),
        "trained_on": {**before, **{record.sha256: _known_as(record, before) for record in job.material.records}},
    }

    def make(averaged: nn.Module, epoch: int, score: float) -> Checkpoint:
        weights = {name: tensor.detach().cpu() for name, tensor in averaged.state_dict().items()}
        return Checkpoint(weights, epoch, float(score), **fixed)

    return make


def _known_as(record: Record, before: Mapping[str, str]) -> str:
    """The record's split, unless it is judged on and the first weights have seen it without its mask."""
    if record.split != "train" and before.get(record.sha256) == PRETRAINED:
        return PRETRAINED
    return str(record.split)


def promote(job: Job, history: History, promoted: Path, validation: Validation) -> None:
    """Let the best model remember its training images and its temperature, and make it the one other verbs take."""
    best = load_checkpoint(job.run.best_path)
    model = rebuild_model(best).to(job.accelerator.device)
    device, precision = job.accelerator.device, job.precision
    features = []
    for image in job.material.training[:: math.ceil(len(job.material.training) / NOVELTY_IMAGES)]:
        levels = image.open_image()
        shift_scale = job.material.normalisation.shift_scale(levels)
        features.append(pooled_features(model, levels, shift_scale, device=device, precision=precision))
    fitted = fit_on_validation(model, validation)
    best = replace(best, novelty=Novelty.fit(np.stack(features)).state(), temperature=fitted.temperature)
    save_checkpoint(job.run.best_path, best)
    _compare(best, promoted)
    save_checkpoint(promoted, best)
    row = history.rows[history.best_epoch - 1]
    job.run.finish(
        best_epoch=history.best_epoch,
        epochs=history.epoch,
        minutes=round(history.minutes, 2),
        calibration=fitted.facts(),
        scores={name: value if math.isfinite(value) else None for name, value in row.items()},
    )
    chosen = "The best epoch is" if validation.images else "The last epoch is kept,"
    log.info("%s %d of %d, after %.1f minutes.", chosen, history.best_epoch, history.epoch, history.minutes)
    log.info("Model: %s", promoted)


def _compare(best: Checkpoint, promoted: Path) -> None:
    """Say so if the model that is replaced was better on its validation images."""
    with suppress(CheckpointError):  # there is none, or one that nobody can use
        if (before := load_checkpoint(promoted).val_dice) > best.val_dice:
            sentence = "The run before had a validation Dice of %.4f, this one %.4f; CHECKPOINT_PATH can still name it."
            log.warning(sentence, before, best.val_dice)
