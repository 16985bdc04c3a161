"""How the model of each stage does on the validation images of every data set that a stage is judged on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srpu.config import Stage
from srpu.learn.checkpoint import load_checkpoint
from srpu.tasks.finetune_task import dice_by_dataset
from srpu.tasks.stage_check import Checked
from srpu.tasks.wiring import SYNTHETIC, Opener, endless_images
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


def stage_scores(model: Path, checked: Sequence[Checked], stage: Stage, workspace: Workspace) -> dict[str, float]:
    """The mean Dice of a stage's model on each data set that any stage is judged on, in [0, 1]."""
    opener = Opener(stage.settings, workspace)
    judged = {record.id: record for each in checked for record in each.validation}
    images = [opener.labelled(record) for record in judged.values()]
    for each in checked:
        if each.judged_on == [SYNTHETIC]:  # the same images for the models of all stages
            images += endless_images(each.stage.settings).held_out()
            break
    scores = dice_by_dataset(load_checkpoint(model), images, stage.settings)
    return {name: dice for name, dice in scores.items() if math.isfinite(dice)}


def report(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Log a table: a line for each stage, a column for each data set.

    Args:
        stages: What the manifest tells of each stage.
    """
    columns = sorted({name for facts in stages.values() for name in facts["scores"]})
    if not columns:
        return
    log.info("Mean Dice on validation images, by the best model of each stage:")
    width = max(len(name) for name in ["stage", *stages])
    log.info(
        "  %s  %s  started from; best epoch chosen on",
        "stage".ljust(width),
        "  ".join(name.rjust(8) for name in columns),
    )
    for name, facts in stages.items():
        cells = [
            (f"{facts['scores'][column]:.4f}" if column in facts["scores"] else "–").rjust(max(8, len(column)))
            for column in columns
        ]
        chosen = ", ".join("generated images" if on == SYNTHETIC else on for on in facts["judged_on"]) or "nothing"
        start = f"{facts['start']['named_by']}; {chosen}"
        log.info("  %s  %s  %s", name.ljust(width), "  ".join(cells), start)
