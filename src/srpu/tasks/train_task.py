"""Supervised training: `srpu train`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from srpu.data.augment import Augmenter
from srpu.data.dataset import Batch, count_pixels
from srpu.data.index import Record, read_truth_version
from srpu.learn.checkpoint import load_checkpoint, save_checkpoint
from srpu.learn.loop import Course, History, Plan, fit
from srpu.learn.losses import LOSSES, balanced_weights
from srpu.learn.optim import build_optimizer
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.settings import BaseConfig, TrainSettings
from srpu.tasks.cross_validation import FOLDER, RUNNING
from srpu.tasks.promotion import checkpoints, promote
from srpu.tasks.replay import every_record, old_images, with_replay
from srpu.tasks.runs import data_hash
from srpu.tasks.session import kept, open_session, trackers
from srpu.tasks.start import Source, carry, known_images, present, sources
from srpu.tasks.training_job import Job, gather
from srpu.tasks.validation import EpochLines, Validation
from srpu.tasks.wiring import (
    augmenter,
    encoder_weights,
    enough_memory,
    load_records,
    refuse_leaks,
)
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

LEAST_STEPS = 50
"""Steps of an epoch when the labelled area is small, so that patience and epochs mean the same."""


@dataclass(frozen=True)
class Trained:
    """What training gives: the run's folder, the promoted model, and how training went."""

    folder: Path
    model: Path
    history: History


def run(settings: TrainSettings, workspace: Workspace, *, resume: bool = False) -> Trained:
    """Train a model on the index's training images, choosing the best epoch on its validation images.

    Raises:
        IndexingError: Nothing to train on.
        LeakError: A validation or test image is also a training image.
        WorkspaceError: Another training holds the folder, or there is no run to continue.
    """
    folder = model_folder(settings, workspace)
    if resume and (folder / FOLDER / RUNNING).exists():
        log.warning("An interrupted cross-validation is there as well; it is continued with FOLDS as it began.")
    return train(settings, workspace, folder, wanted=sources(settings, workspace), resume=resume)


def model_folder(settings: BaseConfig, workspace: Workspace, verb: str = "train") -> Path:
    """Where all trainings of this network lie."""
    name = f"{verb}_{settings.ENCODER_NAME}_{settings.DECODER_NAME}".replace("/", "-")
    return workspace.path(settings.MODEL_SAVE_DIR) / name


def train(
    settings: TrainSettings,
    workspace: Workspace,
    task_folder: Path,
    *,
    verb: str = "train",
    wanted: Sequence[Source] = (),
    roles: Callable[[list[Record]], list[Record]] | None = None,
    resume: bool = False,
) -> Trained:
    """Train a model whose runs lie in ``task_folder``.

    Args:
        settings: As checked.
        workspace: Whose index is read.
        task_folder: Where its runs lie.
        verb: Who asks, for the manifest and for what is said.
        wanted: Files that the weights may come from, the strongest first.
        roles: For a part of something greater: gives the index's records their splits. Validation images may then be
            missing, its own training images are never replayed as old ones, and who asked says how to go on after an
            interruption.
        resume: Go on with the last run in ``task_folder``.

    Raises:
        IndexingError: Nothing to train on.
        LeakError: A validation or test image is also a training image.
        WorkspaceError: Another training holds the folder, or there is no run to continue.
    """
    session = open_session(settings, task_folder, resume=resume)
    settings, old = session.settings, session.old
    source = None if old else present(wanted, settings.ON_MISSING_WEIGHTS)
    with session.locked("A training of this model"):
        records = load_records(settings, workspace)
        records = roles(records) if roles else records
        replayed = old.manifest.get("replayed", []) if old else []
        if settings.REPLAY_FRACTION:
            every = every_record(settings, workspace)
            replayed = replayed or old_images(known_images(source), every, records if roles else ())
            records = with_replay(records, replayed, every, settings.REPLAY_FRACTION)
        material = gather(settings, workspace, records, validated=roles is None)
        run = session.begin(
            verb,
            "labelled images",
            data_hash(material.records, workspace),
            truth_version=read_truth_version(workspace.path(settings.MASTER_LABELED_JSON)),
            replayed=replayed,
        )
        job = Job(settings, workspace, material, run, session.accelerator, session.precision)
        with kept(run, verb) if roles is None else nullcontext():
            return _train(job, source, resume=resume)


def _train(job: Job, source: Source | None, *, resume: bool) -> Trained:
    model, before, best_score = _first_weights(job, source, resume=resume)
    settings, material, accelerator = job.settings, job.material, job.accelerator
    vary = augmenter(settings)
    sampler = job.sampler(vary)
    plan = _plan(settings, sampler.crops_per_pass, accelerator.num_processes)
    validation = Validation(
        material.validation, material.classes, material.normalisation, job.tiling, accelerator.device, job.precision
    )
    make = checkpoints(model, job, before)
    course = Course(
        batches=lambda start: sampler.batches(
            settings.BATCH_SIZE, start=start, rank=accelerator.process_index, ranks=accelerator.num_processes
        ),
        step=_step(job, vary),
        judge=validation if material.validation else None,
        keep=lambda averaged, epoch, score: save_checkpoint(job.run.best_path, make(averaged, epoch, score)),
        prepare=_freezer(settings) if settings.FREEZE_ENCODER else None,
    )
    _announce(model, job, plan)
    optimizer = build_optimizer(
        model,
        settings.OPTIMIZER,
        settings.LEARNING_RATE,
        settings.WEIGHT_DECAY,
        slow=model.encoder,
        slow_factor=settings.ENCODER_LR_FACTOR,
    )
    lines = EpochLines(settings.NUM_EPOCHS, material.classes, best_score)
    tracker = trackers(settings, job.workspace, job.run, accelerator, lines, lambda: {"validation": validation.picture})
    try:
        with enough_memory("halve BATCH_SIZE, then CROP_SIZE, or TILE_SIZE if an epoch had ended"):
            averaged, history = fit(
                model,
                optimizer,
                course,
                plan,
                accelerator=accelerator,
                state_path=job.run.state_path,
                tracker=tracker,
                resume=resume,
            )
    finally:
        tracker.close()
    promoted = job.run.folder.parent / "best_model.pth"
    if accelerator.is_main_process:
        save_checkpoint(job.run.last_path, make(averaged, history.epoch, history.rows[-1].get("score", math.nan)))
        promote(job, history, promoted, validation)
    accelerator.wait_for_everyone()
    return Trained(job.run.folder, promoted, history)


def _first_weights(job: Job, source: Source | None, *, resume: bool) -> tuple[Segmenter, dict[str, str], float]:
    """The network, the images that its weights have seen before this run, and the run's best score so far."""
    settings, material = job.settings, job.material
    torch.manual_seed(settings.SEED)
    model = build_segmenter(
        settings.ENCODER_NAME,
        settings.DECODER_NAME,
        settings.NUM_CLASSES,
        shrink=settings.SHRINK,
        encoder_weights=None if resume or source else encoder_weights(settings, job.workspace),
    )
    model.to(memory_format=torch.channels_last)
    if resume:  # its weights come with the state
        best = load_checkpoint(job.run.best_path)
        return model, best.trained_on, best.val_dice
    start = carry(model, source, material.classes.names, material.normalisation)
    refuse_leaks(
        start.trained_on, [record for record in material.records if record.split != "train"], "the first weights"
    )
    if job.accelerator.is_main_process:
        job.run.note(start=start.state())
    return model, start.trained_on, -math.inf


def _freezer(settings: TrainSettings) -> Callable[[nn.Module, int], None]:
    """Lets the encoder stand still, its running means of batch normalisation included, until UNFREEZE_EPOCH."""

    def prepare(model: nn.Module, epoch: int) -> None:
        frozen = settings.UNFREEZE_EPOCH is None or epoch < settings.UNFREEZE_EPOCH
        encoder = cast(Segmenter, model).encoder
        encoder.requires_grad_(not frozen)
        if frozen:
            encoder.eval()
        elif epoch == settings.UNFREEZE_EPOCH:
            log.info("From epoch %d on, the encoder is trained too.", epoch)

    return prepare


def _plan(settings: TrainSettings, crops_per_pass: int, processes: int) -> Plan:
    crops_per_step = settings.BATCH_SIZE * processes
    return Plan(
        epochs=settings.NUM_EPOCHS,
        steps_per_epoch=settings.STEPS_PER_EPOCH or max(LEAST_STEPS, math.ceil(crops_per_pass / crops_per_step)),
        images_per_step=crops_per_step,
        warmup_epochs=min(settings.WARMUP_EPOCHS, settings.NUM_EPOCHS / 2),
        patience=settings.EARLY_STOPPING_PATIENCE,
        max_minutes=settings.MAX_MINUTES,
        gradient_clip=settings.GRADIENT_CLIP,
        ema_decay=settings.EMA_DECAY,
        seed=settings.SEED,
    )


def _announce(model: Segmenter, job: Job, plan: Plan) -> None:
    log.info(
        "Training %s + %s (%.1f million weights) on %d images, judged on %d, on %s in %s%s.",
        model.spec["encoder"],
        model.spec["decoder"],
        sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        len(job.material.training),
        len(job.material.validation),
        job.accelerator.device,
        job.precision,
        f" by {job.accelerator.num_processes} processes" if job.accelerator.num_processes > 1 else "",
    )
    log.info("%d epochs of %d steps at most. Run folder: %s", plan.epochs, plan.steps_per_epoch, job.run.folder)


def _step(job: Job, vary: Augmenter) -> Callable[[nn.Module, Batch], Tensor]:
    """From a batch of windows to the loss of the varied crops."""
    settings, device = job.settings, job.accelerator.device
    loss, weights = LOSSES[settings.LOSS_FUNCTION], None
    counts = count_pixels(job.material.training, settings.NUM_CLASSES)
    absent = [name for name, count in zip(job.material.classes.names, counts, strict=True) if count == 0]
    if absent:
        log.warning(
            "No training mask shows %s: the model cannot learn it. Label some, or lower NUM_CLASSES.", ", ".join(absent)
        )
    if settings.CLASS_WEIGHTS == "balanced":
        weights = balanced_weights(torch.from_numpy(counts)).to(device)
    elif settings.CLASS_WEIGHTS is not None:
        weights = torch.tensor(settings.CLASS_WEIGHTS, dtype=torch.float32, device=device)

    def step(model: nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(device)
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        images, ids = vary(batch.images, batch.masks, generator)
        return loss(model(images.contiguous(memory_format=torch.channels_last)), ids, weights)

    return step
