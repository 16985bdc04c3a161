"""Cross-validated training: `srpu train` with FOLDS = k."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from srpu.data.folds import draw_folds
from srpu.data.index import Record
from srpu.errors import SettingsError, SrpuError, WorkspaceError
from srpu.files import locked, read_json, write_json, writing_to
from srpu.settings import TrainSettings
from srpu.tasks import train_task
from srpu.tasks.cross_validation import FINISHED, FOLDER, RUNNING
from srpu.tasks.runs import data_hash
from srpu.tasks.session import as_begun
from srpu.tasks.start import sources
from srpu.tasks.wiring import load_records
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossValidated:
    """The manifest of a finished cross-validation, and its models by fold."""

    manifest: Path
    models: list[Path]


def run(settings: TrainSettings, workspace: Workspace, *, resume: bool = False) -> CrossValidated:
    """Train a model for each fold on all images outside it; nothing is chosen on the fold, so the last epoch is kept.

    Raises:
        IndexingError: There are fewer specimens than folds.
        WorkspaceError: There is none to continue, labels have changed meanwhile, or another one is at work.
        SettingsError: Several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError("FOLDS trains one model after the other in one process; start it without torchrun.")
    folder = train_task.model_folder(settings, workspace) / FOLDER
    with locked(folder / ".lock", "A cross-validation of this model"):
        if resume:
            state = _to_continue(folder)
            settings = as_begun(state["settings"], settings)
        else:
            state = _begin(folder, settings, workspace)
        for fold in range(1, settings.FOLDS + 1):
            if str(fold) not in state["models"]:
                _refuse_changes(folder, state, settings, workspace)
                with _kept(fold, settings.FOLDS):
                    model = _train(fold, state, folder / state["folder"] / f"fold_{fold}", settings, workspace)
                state["models"][str(fold)] = workspace.name(model)
                write_json(folder / RUNNING, state)
        with writing_to(folder / FINISHED):
            (folder / RUNNING).replace(folder / FINISHED)
    log.info("All %d folds are trained; `srpu evaluate` with FOLDS = %d judges them.", settings.FOLDS, settings.FOLDS)
    log.info("They serve to judge. For one model to predict with: `srpu train` with FOLDS = 0.")
    return CrossValidated(folder / FINISHED, [workspace.path(model) for model in state["models"].values()])


def _refuse_changes(folder: Path, state: dict[str, Any], settings: TrainSettings, workspace: Workspace) -> None:
    """All folds are to be trained on the same labels."""
    if state["data_hash"] != data_hash(load_records(settings, workspace), workspace):
        raise WorkspaceError(
            f"The labelled images have changed since the cross-validation {folder / state['folder']} began; start a "
            "new one without --resume."
        )


@contextmanager
def _kept(fold: int, folds: int) -> Iterator[None]:
    """Say how to go on after an interruption."""
    try:
        yield
    except (KeyboardInterrupt, SrpuError):
        log.warning(
            "Fold %d of %d was interrupted; what is finished is kept: `srpu train --resume` goes on.", fold, folds
        )
        raise


def _begin(folder: Path, settings: TrainSettings, workspace: Workspace) -> dict[str, Any]:
    if (folder / RUNNING).exists():
        log.warning(
            "An interrupted cross-validation is given up for this new one; its models stay in %s.",
            folder / read_json(folder / RUNNING)["folder"],
        )
    records = load_records(settings, workspace)
    state = {
        "folder": f"{datetime.now():%Y%m%d-%H%M%S}",
        "settings": settings.model_dump(mode="json"),
        "data_hash": data_hash(records, workspace),
        "fold_of": draw_folds(records, settings.FOLDS, settings.SPLIT_SEED),
        "models": {},
    }
    write_json(folder / RUNNING, state)
    return state


def _to_continue(folder: Path) -> dict[str, Any]:
    """What the interrupted cross-validation wrote down."""
    if not (folder / RUNNING).exists():
        why = "the last one has finished" if (folder / FINISHED).exists() else "there is none"
        raise WorkspaceError(f"No cross-validation in {folder} can be continued, {why}; start one without --resume.")
    state: dict[str, Any] = read_json(folder / RUNNING)
    return state


def _train(fold: int, state: dict[str, Any], runs: Path, settings: TrainSettings, workspace: Workspace) -> Path:
    """Train without the images of ``fold``, going on with a run that was interrupted; gives the model."""
    splits = {sha256: "test" if other == fold else "train" for sha256, other in state["fold_of"].items()}

    def roles(records: list[Record]) -> list[Record]:
        return [replace(record, split=splits.get(record.sha256)) for record in records]

    held_out = list(splits.values()).count("test")
    log.info(
        "Fold %d of %d: trained on %d images, %d held out.", fold, settings.FOLDS, len(splits) - held_out, held_out
    )
    for manifest in runs.glob("*/run.json"):
        if read_json(manifest)["status"] == "finished":
            return manifest.parent / "best_model.pth"
    begun = any(runs.glob("*/state.pth"))
    wanted = sources(settings, workspace)
    trained = train_task.train(settings, workspace, runs, wanted=wanted, roles=roles, resume=begun)
    return trained.folder / "best_model.pth"
