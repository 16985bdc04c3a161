"""What a finished cross-validation left behind, and how `srpu evaluate` judges it.

``models/checkpoints/<task>_<encoder>_<decoder>/folds/`` holds a folder for each cross-validation, with a folder of runs
for each fold; ``running.json`` says where the one at work lies, ``folds.json`` the last finished one: its settings, the
fold of each image (by pixel hash) and the model of each fold.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from srpu.data.folds import specimens
from srpu.data.index import Record
from srpu.errors import CheckpointError, IndexingError, SettingsError
from srpu.files import read_json
from srpu.learn.checkpoint import load_checkpoint
from srpu.settings import EvaluationSettings
from srpu.tasks.contender import Contender, Ids, Watch, open_model
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
        IndexingError: None of its images is left.
        LeakError: An image of a fold was trained on by the fold's model.
        SettingsError: Another split than validation, or one model, is asked for.
    """
    if settings.EVALUATION_SPLIT != "val" or settings.CHECKPOINT_PATH:
        name = "CHECKPOINT_PATH" if settings.CHECKPOINT_PATH else f'EVALUATION_SPLIT = "{settings.EVALUATION_SPLIT}"'
        raise SettingsError(f"{name} means nothing with FOLDS = {settings.FOLDS}: leave it out, or set FOLDS = 0.")
    path = _finished(settings, workspace)
    log.info("Judging the cross-validation %s: every image by the model that has not seen it.", path)
    state = read_json(path)
    records = _judged(state["fold_of"], load_records(settings, workspace))
    fold_of = {record: state["fold_of"][record.sha256] for record in records}
    models = {int(fold): workspace.path(name) for fold, name in state["models"].items()}
    for fold, model in models.items():
        held_out = [record for record in records if fold_of[record] == fold]
        refuse_leaks(load_checkpoint(model).trained_on, held_out, workspace.name(model))
    opened = {1: open_model(models[1], settings, workspace)}
    facts = opened[1].facts | {"model": f"{len(models)} models of {workspace.name(path)}, each for images it never saw"}

    def predict(record: Record, image: np.ndarray, watch: Watch) -> tuple[Ids, Ids]:
        fold = fold_of[record]
        if fold not in opened:
            opened.clear()  # images come fold by fold, so one model at a time is enough
            opened[fold] = open_model(models[fold], settings, workspace)
        return opened[fold].predict(record, image, watch)

    unseen = {record.sha256: "test" for record in records}
    contender = Contender(f"{len(models)}_folds", facts, predict, unseen, opened[1].temperature)
    width = len(str(len(models)))
    return contender, {record: f"Fold {fold_of[record]:0{width}d}" for record in records}


def _judged(fold_of: Mapping[str, int], records: Sequence[Record]) -> list[Record]:
    """The images that the folds hold, fold by fold; what was labelled, changed or removed since is named."""
    known = sorted((r for r in records if r.sha256 in fold_of), key=lambda record: fold_of[record.sha256])
    gone = len(fold_of) - len({record.sha256 for record in known})
    if not known:
        raise IndexingError(
            "None of the images of the cross-validation is in the index any more; run `srpu train` with FOLDS again."
        )
    new = sum(record.sha256 not in fold_of for group in specimens(records) for record in group)
    for count, what in ((new, "were labelled or changed"), (gone, "are gone or have changed")):
        if count:
            log.warning(
                "%d images %s since the cross-validation and are not judged; `srpu train` makes a new one.", count, what
            )
    return known


def advice(records: Sequence[Record]) -> str:
    """A sentence that advises cross-validation where specimens are few; "" where they are not, or too few for it."""
    groups = len(specimens(records))
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
    later = [path for path in folder.glob(f"*/{FOLDER}/{RUNNING}") if path.stat().st_mtime > found[-1].stat().st_mtime]
    if later:
        log.warning("A later cross-validation was interrupted and is not used; `srpu train --resume` finishes it.")
    if (folds := len(read_json(found[-1])["models"])) != settings.FOLDS:
        raise CheckpointError(
            f"The last finished cross-validation, {found[-1]}, has {folds} folds: set FOLDS = {folds}, or run "
            f"`srpu train{' --resume' if later else ''}` with FOLDS = {settings.FOLDS} first."
        )
    return found[-1]
