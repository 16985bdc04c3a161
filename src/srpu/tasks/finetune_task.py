"""Fine-tuning: `srpu finetune`. The same training from other weights, and what it did to old and new images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srpu.data.dataset import LabelledImage
from srpu.errors import CheckpointError
from srpu.files import read_json
from srpu.learn.checkpoint import Checkpoint, load_checkpoint, rebuild_model
from srpu.learn.device import choose_device, choose_precision
from srpu.learn.predict import Tiling
from srpu.settings import FinetuneSettings, TrainSettings
from srpu.tasks import train_task
from srpu.tasks.replay import every_record
from srpu.tasks.runs import Run
from srpu.tasks.start import sources
from srpu.tasks.validation import Validation
from srpu.tasks.wiring import Opener, class_map
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """The mean Dice on the validation images of one data set, in [0, 1]: the old model's, and the new one's.

    Attributes:
        dataset: Its name.
        images: How many images.
        old: Whether these are images that only the model to start from was made for.
        before: None where the old model tells other classes apart.
        after: The new model's.
    """

    dataset: str
    images: int
    old: bool
    before: float | None
    after: float


@dataclass(frozen=True)
class Finetuned(train_task.Trained):
    """What fine-tuning gives: training's result, and what changed on each data set."""

    changes: list[Change]


def run(settings: FinetuneSettings, workspace: Workspace, *, resume: bool = False) -> Finetuned:
    """Train from PRETRAINED_MODEL_PATH or PRETRAINED_ENCODER_PATH, and compare before and after.

    Raises:
        CheckpointError: The weights do not fit.
        IndexingError: Nothing to train on.
        LeakError: A validation or test image is also a training image, now or of the old model.
        SettingsError: REPLAY_FRACTION is set, and there is nothing to replay.
        WorkspaceError: Another training holds the folder, or there is no run to continue.
    """
    if settings.FOLDS:
        log.warning("FOLDS is for `srpu train`; one model is fine-tuned.")
    wanted = sources(settings, workspace)
    if not wanted and not resume:
        log.warning("Neither PRETRAINED_MODEL_PATH nor PRETRAINED_ENCODER_PATH names a file: it starts from nothing.")
    folder = train_task.model_folder(settings, workspace, "finetune")
    trained = train_task.train(settings, workspace, folder, verb="finetune", wanted=wanted, resume=resume)
    manifest = read_json(trained.folder / "run.json")
    start = manifest.get("start", {})
    old = Path(start["path"]) if start.get("part") == "model" else None
    changes = compare(settings, workspace, old, trained.folder / "best_model.pth")
    Run(trained.folder, manifest).note(changes=[vars(change) for change in changes])
    report(changes)
    return Finetuned(trained.folder, trained.model, trained.history, changes)


def compare(settings: TrainSettings, workspace: Workspace, old: Path | None, new: Path) -> list[Change]:
    """Judge both models on the validation images of the data sets that either was made for."""
    after = load_checkpoint(new)
    before = _comparable(old, after)
    known = before.trained_on if before else {}
    judged = [record for record in every_record(settings, workspace) if record.split == "val"]
    ours = [record for record in judged if settings.DATASETS is None or record.dataset in settings.DATASETS]
    chosen = {record.dataset for record in ours}
    theirs = [record for record in judged if record.dataset not in chosen and record.sha256 in known]
    opener = Opener(settings, workspace)
    images = [opener.labelled(record) for record in [*ours, *theirs]]
    scores = [dice_by_dataset(model, images, settings) if model else {} for model in (before, after)]
    return [
        Change(
            name,
            sum(record.dataset == name for record in [*ours, *theirs]),
            name not in chosen,
            scores[0].get(name),
            dice,
        )
        for name, dice in sorted(scores[1].items(), key=lambda item: (item[0] in chosen, item[0]))
    ]


def report(changes: Sequence[Change]) -> None:
    """Log a table: a line for each data set."""
    if not changes:
        return
    log.info("Mean Dice on validation images, before and after fine-tuning:")
    for change in changes:
        before = "     –" if change.before is None else f"{change.before:.4f}"
        moved = "" if change.before is None else f" ({change.after - change.before:+.4f})"
        kind = "old" if change.old else "new"
        log.info(
            "  %s %s: %s → %.4f%s, %d image%s",
            kind,
            change.dataset,
            before,
            change.after,
            moved,
            change.images,
            "s" * (change.images != 1),
        )


def _comparable(path: Path | None, new: Checkpoint) -> Checkpoint | None:
    """The old model, if it is one of ours and tells the same classes apart."""
    if path is None:
        return None
    try:
        old = load_checkpoint(path)
    except CheckpointError as error:  # weights of another program carry over, and cannot be judged alone
        log.info("No scores from before: %s", error)
        return None
    return old if old.classes.names == new.classes.names else None


def dice_by_dataset(
    checkpoint: Checkpoint, images: Sequence[LabelledImage], settings: TrainSettings
) -> dict[str, float]:
    """The mean Dice of a model on the images of each data set."""
    device = choose_device(settings.DEVICE)
    model = rebuild_model(checkpoint).to(device)
    scores = {}
    for name in sorted({image.dataset for image in images}):
        validation = Validation(
            [image for image in images if image.dataset == name],
            class_map(settings),
            checkpoint.normalisation,
            Tiling(settings.TILE_SIZE, settings.TILE_OVERLAP),
            device,
            choose_precision(settings.PRECISION, device),
        )
        scores[name] = validation(model)["score"]
    return scores
