"""Pretraining an encoder on images without masks: `srpu pretrain`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from srpu.data.augment import OFF
from srpu.data.dataset import Batch
from srpu.data.pool import PoolSampler
from srpu.errors import SettingsError
from srpu.learn.device import Precision
from srpu.learn.loop import Course, History, Plan, fit
from srpu.learn.optim import build_optimizer
from srpu.learn.pretrained import (
    ENCODER_FILE,
    MODEL_FILE,
    Pretrained,
    load_pretrained,
    save_encoder,
    save_pretrained,
    settled,
)
from srpu.models.autoencoder import Restorer
from srpu.models.mae import build_restorer
from srpu.models.vit import TOKEN_STRIDE, TokenPyramid
from srpu.settings import PretrainSettings
from srpu.tasks.restoration import HeldOut, RestorationLines, damage, shrunk
from srpu.tasks.runs import Run, data_hash
from srpu.tasks.session import kept, open_session, trackers
from srpu.tasks.ssl_pool import Pool, gather_pool
from srpu.tasks.wiring import augmenter, encoder_weights, enough_memory
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

STEPS = (50, 500)
"""Fewest and most steps of an epoch, so that epochs mean about the same for small and large pools."""

HELD_OUT_CROPS = 128
"""Crops of the held-out images that an epoch is judged on, at most."""

MEASURED_BATCHES = 32
"""Batches that the encoder's batch statistics are measured on at the end."""


@dataclass(frozen=True)
class Outcome:
    """What pretraining gives: the run's folder, the encoder's file, and how training went."""

    folder: Path
    encoder: Path
    history: History


@dataclass(frozen=True)
class Task:
    """One pretraining: what was asked for, what it learns from, where it writes and what computes it."""

    settings: PretrainSettings
    workspace: Workspace
    pool: Pool
    run: Run
    accelerator: Accelerator
    precision: Precision


def run(settings: PretrainSettings, workspace: Workspace, *, resume: bool = False) -> Outcome:
    """Pretrain an encoder on the images of the index, choosing the best epoch on some that are held out.

    Raises:
        IndexingError: There is no image to learn from.
        SettingsError: CROP_SIZE does not fit the encoder.
        WorkspaceError: Another pretraining holds the folder, or there is no run to continue.
    """
    folder = ssl_folder(settings, workspace)
    session = open_session(settings, folder, resume=resume)
    settings = session.settings
    with session.locked("A pretraining of this encoder"):
        pool = gather_pool(settings, workspace)
        begun = session.begin("pretrain", "images to pretrain on", data_hash(pool.records, workspace))
        task = Task(settings, workspace, pool, begun, session.accelerator, session.precision)
        with kept(begun, "pretrain"):
            return _pretrain(task, resume=resume)


def ssl_folder(settings: PretrainSettings, workspace: Workspace) -> Path:
    """Where all pretrainings of this encoder lie."""
    return workspace.path(settings.MODEL_SAVE_DIR) / f"ssl_pretrained_{settings.ENCODER_NAME}".replace("/", "-")


def _pretrain(task: Task, *, resume: bool) -> Outcome:
    settings, accelerator, run = task.settings, task.accelerator, task.run
    torch.manual_seed(settings.SEED)
    model = build_restorer(
        settings.METHOD, settings.ENCODER_NAME, encoder_weights=encoder_weights(settings, task.workspace)
    ).to(memory_format=torch.channels_last)
    _refuse_crop(settings, model)
    vary = replace(augmenter(settings), blur=OFF, noise=OFF)  # nobody can restore noise
    sampler = _sampler(task, vary.source_size)
    plan = _plan(settings, sampler.crops_per_pass, accelerator.num_processes)
    judge = _held_out(task, model)

    def step(network: nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(accelerator.device)
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        images = shrunk(vary(batch.images, batch.masks, generator)[0], settings.SHRINK)
        images = images.contiguous(memory_format=torch.channels_last)
        loss: Tensor = network(images, damaging(images, generator)).loss
        return loss

    damaging, make, best = damage(settings, model), _pretrained(model, task), run.folder / MODEL_FILE
    course = Course(
        batches=lambda start: sampler.batches(
            settings.BATCH_SIZE, start=start, rank=accelerator.process_index, ranks=accelerator.num_processes
        ),
        step=step,
        judge=judge,
        keep=lambda averaged, epoch, score: save_pretrained(best, make(averaged, epoch, -score)),
    )
    _announce(model, task, plan)
    optimizer = build_optimizer(model, "AdamW", settings.LEARNING_RATE, settings.WEIGHT_DECAY)
    lines = RestorationLines(settings.NUM_EPOCHS, load_pretrained(best).loss if resume else math.inf)
    tracker = trackers(
        settings, task.workspace, run, accelerator, lines, lambda: {"restoration": judge.picture} if judge else {}
    )
    try:
        with enough_memory("halve BATCH_SIZE, then CROP_SIZE"):
            _, history = fit(
                model,
                optimizer,
                course,
                plan,
                accelerator=accelerator,
                state_path=run.state_path,
                tracker=tracker,
                resume=resume,
            )
    finally:
        tracker.close()
    if accelerator.is_main_process:
        _promote(task, history, sampler)
    accelerator.wait_for_everyone()
    return Outcome(run.folder, run.folder.parent / ENCODER_FILE, history)


def _refuse_crop(settings: PretrainSettings, model: Restorer) -> None:
    """The crops have to be a whole number of feature pixels and of patches."""
    least = 2 * model.encoder.strides[-1]
    multiple = max(model.encoder.strides[-1], TOKEN_STRIDE if isinstance(model.encoder, TokenPyramid) else 1)
    multiple = max(multiple, settings.PATCH_SIZE) * settings.SHRINK  # all are powers of two
    least = max(least * settings.SHRINK, multiple)
    if least > settings.CROP_SIZE or settings.CROP_SIZE % multiple:
        raise SettingsError(
            f"CROP_SIZE = {settings.CROP_SIZE} does not suit pretraining {settings.ENCODER_NAME} with SHRINK = "
            f"{settings.SHRINK}; use a multiple of {multiple}, at least {least}."
        )


def _sampler(task: Task, window: int) -> PoolSampler:
    settings = task.settings
    return PoolSampler(
        task.pool.learning,
        crop=settings.CROP_SIZE,
        window=window,
        normalisation=task.pool.normalisation,
        weights=settings.DATASET_WEIGHTS,
        seed=settings.SEED,
    )


def _held_out(task: Task, model: Restorer) -> HeldOut | None:
    """Judges on the held-out images, if there are any."""
    settings, images = task.settings, task.pool.held_out
    if not images:
        return None
    sampler = PoolSampler(
        images,
        crop=settings.CROP_SIZE,
        window=settings.CROP_SIZE,
        normalisation=task.pool.normalisation,
        seed=settings.SEED,
    )
    return HeldOut(
        sampler,
        crops=min(max(sampler.crops_per_pass, settings.BATCH_SIZE), HELD_OUT_CROPS),
        batch_size=min(settings.BATCH_SIZE, HELD_OUT_CROPS),
        damage=damage(settings, model),
        shrink=settings.SHRINK,
        device=task.accelerator.device,
        precision=task.precision,
        seed=settings.SEED,
    )


def _plan(settings: PretrainSettings, crops_per_pass: int, processes: int) -> Plan:
    crops_per_step = settings.BATCH_SIZE * processes
    once = min(max(math.ceil(crops_per_pass / crops_per_step), STEPS[0]), STEPS[1])
    return Plan(
        epochs=settings.NUM_EPOCHS,
        steps_per_epoch=settings.STEPS_PER_EPOCH or once,
        images_per_step=crops_per_step,
        warmup_epochs=min(settings.WARMUP_EPOCHS, settings.NUM_EPOCHS / 2),
        patience=settings.EARLY_STOPPING_PATIENCE,
        max_minutes=settings.MAX_MINUTES,
        gradient_clip=settings.GRADIENT_CLIP,
        ema_decay=settings.EMA_DECAY,
        seed=settings.SEED,
    )


def _pretrained(model: Restorer, task: Task) -> Callable[[nn.Module, int, float], Pretrained]:
    """Makes what is saved of the averaged weights."""

    def make(averaged: nn.Module, epoch: int, loss: float) -> Pretrained:
        weights = {name: tensor.detach().cpu() for name, tensor in averaged.state_dict().items()}
        settings = task.settings.model_dump(mode="json")
        took_part = task.pool.took_part(list(task.pool.unreadable))
        return Pretrained(weights, model.spec, epoch, loss, task.pool.normalisation, settings, took_part)

    return make


def _announce(model: Restorer, task: Task, plan: Plan) -> None:
    log.info(
        "Pretraining %s by %s (%.1f million weights, %.1f of them the encoder's) on %d images, judged on %d, on %s in "
        "%s%s.",
        task.settings.ENCODER_NAME,
        task.settings.METHOD,
        sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        sum(parameter.numel() for parameter in model.encoder.parameters()) / 1e6,
        len(task.pool.learning),
        len(task.pool.held_out),
        task.accelerator.device,
        task.precision,
        f" by {task.accelerator.num_processes} processes" if task.accelerator.num_processes > 1 else "",
    )
    log.info("%d epochs of %d steps at most. Run folder: %s", plan.epochs, plan.steps_per_epoch, task.run.folder)


def _promote(task: Task, history: History, sampler: PoolSampler) -> None:
    """Make the best epoch's encoder the one for PRETRAINED_ENCODER_PATH, and say which files could not be read."""
    run, settings = task.run, task.settings
    names = [image.name for image in task.pool.learning]
    skipped = task.pool.unreadable | {names[number]: why for number, why in sampler.unreadable.items()}
    best = replace(load_pretrained(run.folder / MODEL_FILE), pretrained_on=task.pool.took_part(list(skipped)))
    save_pretrained(run.folder / MODEL_FILE, best)
    whole = _sampler(task, settings.CROP_SIZE)
    batches = islice(whole.batches(settings.BATCH_SIZE), min(MEASURED_BATCHES, whole.crops_per_pass))
    images = (shrunk(batch.images, settings.SHRINK) for batch in batches)
    encoder = settled(best, images, task.accelerator.device)
    above = run.folder.parent
    save_encoder(run.folder / ENCODER_FILE, encoder)
    save_pretrained(above / MODEL_FILE, best)
    save_encoder(above / ENCODER_FILE, encoder)
    run.finish(
        best_epoch=history.best_epoch,
        epochs=history.epoch,
        minutes=round(history.minutes, 2),
        unreadable=skipped,
        scores={name: value for name, value in history.rows[history.best_epoch - 1].items() if math.isfinite(value)},
    )
    chosen = "The best epoch is" if task.pool.held_out else "The last epoch is kept,"
    log.info("%s %d of %d, after %.1f minutes.", chosen, history.best_epoch, history.epoch, history.minutes)
    if skipped:
        log.warning("%d images were left out: %s", len(skipped), " ".join(list(skipped.values())[:5]))
    log.info("Encoder: %s", above / ENCODER_FILE)
    log.info(
        'Next: `srpu inspect` shows what it has learned; PRETRAINED_ENCODER_PATH = "%s" starts training from it.',
        task.workspace.name(above / ENCODER_FILE),
    )
