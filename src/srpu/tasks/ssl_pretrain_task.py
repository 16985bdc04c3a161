"""Pretraining an encoder on images without masks: `srpu pretrain`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn

from srpu.data.augment import OFF
from srpu.data.dataset import Batch
from srpu.data.pool import PoolSampler
from srpu.errors import SettingsError, SrpuError, WorkspaceError
from srpu.files import locked
from srpu.learn.device import Precision, choose_device, choose_precision
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
from srpu.learn.tracker import LinesTracker, TensorBoardTracker, Tracker, Trackers, WandbTracker
from srpu.models.autoencoder import Restorer
from srpu.models.mae import build_restorer
from srpu.models.vit import TOKEN_STRIDE, TokenPyramid
from srpu.settings import PretrainSettings
from srpu.tasks.restoration import HeldOut, RestorationLines, damage, shrunk
from srpu.tasks.runs import Run, data_hash, start_run, unfinished_run
from srpu.tasks.ssl_pool import Pool, gather_pool
from srpu.tasks.train_task import LONGEST_VALIDATION, PATHS
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
    device = choose_device(settings.DEVICE)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    old = unfinished_run(folder) if resume else None
    if old is not None:
        settings = _as_begun(old.manifest["settings"], settings)
    precision = old.manifest["precision"] if old else choose_precision(settings.PRECISION, device)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_VALIDATION)],
    )
    if not accelerator.is_main_process:
        logging.getLogger("srpu").setLevel(logging.ERROR)
    with locked(folder / ".lock", "A pretraining of this encoder") if accelerator.is_main_process else nullcontext():
        pool = gather_pool(settings, workspace)
        begun = old or _begin(folder, settings, pool, workspace, accelerator, precision)
        _refuse_changes(begun, pool, workspace, accelerator)
        task = Task(settings, workspace, pool, begun, accelerator, precision)
        try:
            return _pretrain(task, resume=resume)
        except (KeyboardInterrupt, SrpuError):
            kept = "All finished epochs are kept: `srpu pretrain --resume` goes on from there."
            log.warning(
                kept if begun.state_path.exists() else "No epoch had ended yet; there is nothing to go on from."
            )
            raise


def ssl_folder(settings: PretrainSettings, workspace: Workspace) -> Path:
    """Where all pretrainings of this encoder lie."""
    return workspace.path(settings.MODEL_SAVE_DIR) / f"ssl_pretrained_{settings.ENCODER_NAME}".replace("/", "-")


def _as_begun(settings: Mapping[str, Any], now: PretrainSettings) -> PretrainSettings:
    """The ``settings`` that a run began with; those that have changed since are named and left aside."""
    current = now.model_dump(mode="json")
    begun = {**settings, **{name: current[name] for name in PATHS}}
    if changed := sorted(name for name in begun if begun[name] != current.get(name)):
        log.warning(
            "The run is continued as it began; these settings have changed since and are not taken: %s.",
            ", ".join(changed),
        )
    return PretrainSettings(**begun)


def _begin(
    folder: Path,
    settings: PretrainSettings,
    pool: Pool,
    workspace: Workspace,
    accelerator: Accelerator,
    precision: Precision,
) -> Run:
    """A new run, the same in every process."""
    shared: list[Run | None] = [None]
    if accelerator.is_main_process:
        shared[0] = start_run(
            folder,
            settings.RUN_NAME,
            task="pretrain",
            settings=settings.model_dump(mode="json"),
            data_hash=data_hash(pool.records, workspace),
            seed=settings.SEED,
            device=str(accelerator.device),
            processes=accelerator.num_processes,
            precision=precision,
        )
    if accelerator.num_processes > 1:
        broadcast_object_list(shared)
    assert shared[0] is not None  # noqa: S101 - the first process always makes one
    return shared[0]


def _refuse_changes(run: Run, pool: Pool, workspace: Workspace, accelerator: Accelerator) -> None:
    """A run is continued on the same images, by as many processes."""
    if run.manifest["data_hash"] != data_hash(pool.records, workspace):
        raise WorkspaceError(
            f"The images to pretrain on have changed since {run.folder} began; start a new run without --resume."
        )
    if run.manifest["processes"] != accelerator.num_processes:
        raise WorkspaceError(
            f"{run.folder} was begun by {run.manifest['processes']} processes, and each would now see other "
            f"crops than before; continue it with as many."
        )


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
    tracker = _tracker(task, judge, load_pretrained(best).loss if resume else math.inf)
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


def _tracker(task: Task, judge: HeldOut | None, best: float) -> Trackers:
    """Where the numbers go: the terminal, a plain file, and what LOGGER names; ``best`` is the best loss so far."""
    if not task.accelerator.is_main_process:
        return Trackers()
    settings, run = task.settings, task.run
    name = "_".join(run.folder.relative_to(task.workspace.path(settings.MODEL_SAVE_DIR)).parts)
    trackers: list[Tracker] = [
        RestorationLines(settings.NUM_EPOCHS, best),
        LinesTracker(run.folder / "metrics.jsonl"),
    ]
    if settings.LOGGER == "tensorboard":
        trackers.append(TensorBoardTracker(task.workspace.path("tensorboard") / name))
    elif settings.LOGGER == "wandb":
        options = {
            "project": settings.WANDB_PROJECT,
            "entity": settings.WANDB_ENTITY,
            "mode": settings.WANDB_MODE,
            "tags": settings.WANDB_TAGS,
            "config": settings.model_dump(mode="json"),
        }
        trackers.append(WandbTracker(task.workspace.root, name, options))
    return Trackers(*trackers, pictures=lambda: {"restoration": judge.picture} if judge else {})


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
