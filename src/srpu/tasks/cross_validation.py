"""What a finished cross-validation left behind, and how `srpu evaluate` judges it.

``models/checkpoints/<task>_<encoder>_<decoder>/folds/`` holds a folder for each cross-validation, with a folder of runs
for each fold; ``running.json`` says where the one at work lies, ``folds.json`` the last finished one: its settings, the
fold of each image (by pixel hash) and the model of each fold.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from srpu.data.index import Record
from srpu.errors import CheckpointError, SettingsError
from srpu.files import read_json
from srpu.settings import EvaluationSettings
from srpu.tasks.contender import Contender, Ids, Watch, model_contender
from srpu.tasks.wiring import load_records, refuse_leaks
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

FOLDER = "folds"
"""Below the folder of a network's runs."""

RUNNING = "running.json"
FINISHED = "folds.json"

USUAL = 5
"""Folds that are advised, if there are as many specimens."""

ENOUGH_GROUPS = 15
"""Specimens from which on one validation split will do."""


def fold_contender(settings: EvaluationSettings, workspace: Workspace) -> tuple[Contender, dict[Record, str]]:
    """The models of the last finished cross-validation as one contender, and the fold of each image that it judges.

    Raises:
        CheckpointError: There is none with that many folds, or a model of it is gone.
        LeakError: An image of a fold was trained on by the fold's model.
        SettingsError: Another split than validation, or one model, is asked for.
    """
    if settings.EVALUATION_SPLIT != "val" or settings.CHECKPOINT_PATH:
        name = "CHECKPOINT_PATH" if settings.CHECKPOINT_PATH else f'EVALUATION_SPLIT = "{settings.EVALUATION_SPLIT}"'
        raise SettingsError(f"{name} means nothing with FOLDS = {settings.FOLDS}: leave it out, or set FOLDS = 0.")
    path = _finished(settings, workspace)
    state = read_json(path)
    fold_of: dict[str, int] = state["fold_of"]
    records = [record for record in load_records(settings, workspace) if record.sha256 in fold_of]
    models: dict[int, Contender] = {}
    for fold, name in state["models"].items():
        models[int(fold)] = model_contender(settings.model_copy(update={"CHECKPOINT_PATH": name}), workspace)
        held_out = [record for record in records if fold_of[record.sha256] == int(fold)]
        refuse_leaks(models[int(fold)].trained_on, held_out)

    def predict(record: Record, image: np.ndarray, watch: Watch) -> tuple[Ids, Ids]:
        return models[fold_of[record.sha256]].predict(record, image, watch)

    facts = models[1].facts | {"model": f"{len(models)} models, each for the images it has not seen"}
    unseen = dict.fromkeys(fold_of, "test")
    contender = Contender(f"{len(models)}_folds", facts, predict, unseen, models[1].temperature)
    width = len(str(len(models)))
    return contender, {record: f"Fold {fold_of[record.sha256]:0{width}d}" for record in records}


def advice(records: Sequence[Record]) -> str:
    """A sentence that advises cross-validation where specimens are few; "" where they are not, or too few for it."""
    groups = len({record.group for record in records if record.split != "test"})
    if not 2 <= groups < ENOUGH_GROUPS:
        return ""
    folds = min(USUAL, groups)
    return (
        f"The labelled images are of {groups} specimens (groups) only, so this score depends on which of them are "
        f"judged: set FOLDS = {folds} in configs/dataset_config.py, then `srpu train` and `srpu evaluate` judge all."
    )


def _finished(settings: EvaluationSettings, workspace: Workspace) -> Path:
    """The manifest of the last finished cross-validation, if it has as many folds as asked for."""
    folder = workspace.path(settings.MODEL_SAVE_DIR)
    found = sorted(folder.glob(f"*/{FOLDER}/{FINISHED}"), key=lambda path: path.stat().st_mtime)
    if not found:
        running = any(folder.glob(f"*/{FOLDER}/{RUNNING}"))
        raise CheckpointError(
            f"There is no finished cross-validation in {folder}; run `srpu train{' --resume' if running else ''}` with "
            f"FOLDS = {settings.FOLDS}."
        )
    if (folds := len(read_json(found[-1])["models"])) != settings.FOLDS:
        raise CheckpointError(
            f"The last cross-validation, {found[-1]}, has {folds} folds: set FOLDS = {folds}, or run `srpu train` with "
            f"FOLDS = {settings.FOLDS} first."
        )
    return found[-1]
