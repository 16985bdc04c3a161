"""The training loop: the only place that steps an optimiser.

An epoch is a fixed number of steps, then the running average of the weights is judged and everything is written down.
What happens in a step is a function of the seed and the step's number, so a run that is continued from the last
finished epoch goes on as if it had never stopped.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from srpu.errors import CheckpointError, TrainingError
from srpu.learn.checkpoint import load_tensors, save_tensors
from srpu.learn.optim import warmup_cosine
from srpu.learn.tracker import Tracker
from srpu.progress import track

log = logging.getLogger(__name__)

B = TypeVar("B")

Numbers = dict[str, float]

TIMED_STEPS = range(2, 6)
"""The first steps that the forecast of the duration is made from; the very first is slower than the rest."""


@dataclass(frozen=True)
class Plan:
    """How long training goes on, and how.

    Attributes:
        epochs: Epochs at most.
        steps_per_epoch: Optimiser steps in an epoch.
        images_per_step: Crops that all processes together take in a step.
        warmup_epochs: Epochs over which the learning rate rises.
        patience: Epochs without a better score after which training ends; 0: never.
        max_minutes: Training ends after this long, its learning rate having fallen to zero; None: no limit.
        gradient_clip: Longest gradient; 0: any.
        ema_decay: Decay per step of the running average that is judged and kept; 0: the weights themselves.
        seed: The same seed gives the same run.
    """

    epochs: int
    steps_per_epoch: int
    images_per_step: int = 1
    warmup_epochs: float = 1.0
    patience: int = 0
    max_minutes: float | None = None
    gradient_clip: float = 1.0
    ema_decay: float = 0.99
    seed: int = 0


@dataclass
class History:
    """How a run went so far.

    Attributes:
        epoch: Epochs that have ended.
        minutes: Time spent, interruptions left out.
        best_epoch: The epoch with the highest score, counted from 1; 0: none yet.
        best_score: Its score; NaN without validation.
        rows: The numbers of each epoch.
    """

    epoch: int = 0
    minutes: float = 0.0
    best_epoch: int = 0
    best_score: float = math.nan
    rows: list[Numbers] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """What :func:`fit` calls on its way.

    Attributes:
        batches: Gives the endless batches from a step on.
        step: Takes the model and a batch, gives the loss.
        judge: Takes the averaged model, gives numbers; "score" decides which epoch is best. None: the last is best.
        keep: Takes the averaged model, the epoch and its score whenever an epoch is the best so far.
        prepare: Takes the model and the epoch that begins, counted from 1; freezes parts of it, for example.
    """

    batches: Callable[[int], Iterator[Any]]
    step: Callable[[nn.Module, Any], Tensor]
    judge: Callable[[nn.Module], Numbers] | None
    keep: Callable[[nn.Module, int, float], None]
    prepare: Callable[[nn.Module, int], None] | None = None


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    course: Course,
    plan: Plan,
    *,
    accelerator: Accelerator,
    state_path: Path,
    tracker: Tracker,
    resume: bool = False,
) -> tuple[nn.Module, History]:
    """Train ``model``; gives the averaged model of the last epoch, and how it went.

    Args:
        model: Changed in place.
        optimizer: Over the model's parameters, its learning rate at the highest.
        course: Where batches come from and what is done with them.
        plan: How long, and how.
        accelerator: Devices, precision and processes.
        state_path: Everything needed to go on is written here after each epoch.
        tracker: Takes the numbers of each epoch.
        resume: Go on from ``state_path``.

    Raises:
        TrainingError: The loss is no number any more.
        CheckpointError: ``state_path`` belongs to another model.
    """
    model.to(accelerator.device)  # before it is copied, so that the average lies there too
    average = AveragedModel(model, multi_avg_fn=_average(plan.ema_decay), use_buffers=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    peaks = [group["lr"] for group in optimizer.param_groups]
    history = _restore(state_path, accelerator.unwrap_model(model), optimizer, average) if resume else History()
    batches = course.batches(history.epoch * plan.steps_per_epoch)
    clock = _Clock(plan, history, accelerator)
    while not _is_over(history, plan):
        began = time.perf_counter()
        loss, steps = _epoch(model, optimizer, average, course, plan, accelerator, batches, history.epoch, clock, peaks)
        numbers = {"loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]}
        numbers["images_per_second"] = steps * plan.images_per_step / (time.perf_counter() - began)
        judged = _judged(course, average.module, accelerator)
        history.epoch += 1
        history.rows.append(numbers | judged)
        history.minutes = clock.minutes()
        _close_epoch(history, average, optimizer, model, course, accelerator, state_path, tracker)
        clock.epoch_ended(history.epoch, time.perf_counter() - began)
    return average.module, history


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel,
    course: Course,
    plan: Plan,
    accelerator: Accelerator,
    batches: Iterator[Any],
    epoch: int,
    clock: _Clock,
    peaks: Sequence[float],
) -> tuple[float, int]:
    """One epoch of steps; gives the mean loss, and how many steps there was time for."""
    model.train()
    if course.prepare is not None:
        course.prepare(accelerator.unwrap_model(model), epoch + 1)
    total, steps = torch.zeros((), device=accelerator.device), 0
    warmup = plan.warmup_epochs / plan.epochs
    doing = f"Epoch {epoch + 1}/{plan.epochs}"
    for batch in track(islice(batches, plan.steps_per_epoch), doing, plan.steps_per_epoch):
        step = epoch * plan.steps_per_epoch + steps
        chance = (plan.seed * 1_000_003 + step) * accelerator.num_processes + accelerator.process_index
        torch.manual_seed(chance)
        progress = clock.progress(step)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * warmup_cosine(progress, warmup)
        loss = course.step(model, batch)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        if plan.gradient_clip:
            accelerator.clip_grad_norm_(model.parameters(), plan.gradient_clip)
        optimizer.step()
        average.update_parameters(accelerator.unwrap_model(model))
        total, steps = total + loss.detach(), steps + 1
        if progress >= 1:
            break
    mean = float(accelerator.reduce(total, "mean")) / steps
    if not math.isfinite(mean):
        raise TrainingError(
            f'The loss is no number any more in epoch {epoch + 1}: halve LEARNING_RATE, or set PRECISION = "fp32"; '
            f"the best model so far is kept."
        )
    return mean, steps


class _Clock:
    """How far training is, by steps or by time, the same in every process."""

    def __init__(self, plan: Plan, history: History, accelerator: Accelerator) -> None:
        self._plan, self._accelerator = plan, accelerator
        self._before, self._began = history.minutes, time.perf_counter()
        self._marks: list[float] = []
        self._epochs_timed = False

    def minutes(self) -> float:
        """Time spent in this run, interruptions left out."""
        return self._before + (time.perf_counter() - self._began) / 60

    def progress(self, step: int) -> float:
        """The share of training that is done before ``step``."""
        total = self._plan.epochs * self._plan.steps_per_epoch
        self._time_steps(total - step)
        if self._plan.max_minutes is None:
            return step / total
        done = [max(step / total, self.minutes() / self._plan.max_minutes)]
        return float(_shared(self._accelerator, done)[0])

    def epoch_ended(self, epoch: int, seconds: float) -> None:
        """After the first epoch, which took so many seconds with its validation, say how long the rest may take."""
        left = self._plan.epochs - epoch
        if not self._epochs_timed and left:
            log.info("With validation: about %s more at most.", self._told(seconds * left / 60))
        self._epochs_timed = True

    def _time_steps(self, left: int) -> None:
        """Once some steps are timed, say how long those that are left may take."""
        if self._epochs_timed or len(self._marks) > TIMED_STEPS.stop:
            return
        self._marks.append(time.perf_counter())
        if len(self._marks) == TIMED_STEPS.stop:
            seconds = (self._marks[-1] - self._marks[TIMED_STEPS.start]) / (len(TIMED_STEPS) - 1)
            rest = self._told(seconds * left / 60)
            log.info("%.2f s a step: about %s at most, validation not counted.", seconds, rest)

    def _told(self, minutes: float) -> str:
        """So many minutes, or what the limit leaves, in words."""
        limit = self._plan.max_minutes
        whole = max(math.ceil(minutes if limit is None else min(minutes, limit - self.minutes())), 1)
        return f"{whole} minute{'s' * (whole > 1)}"


def _close_epoch(
    history: History,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    course: Course,
    accelerator: Accelerator,
    state_path: Path,
    tracker: Tracker,
) -> None:
    """Keep the model if it is the best, then write down everything needed to go on."""
    score = history.rows[-1].get("score", math.nan)
    best = -math.inf if math.isnan(history.best_score) else history.best_score
    better = course.judge is None or not history.best_epoch or score > best
    if better:
        history.best_epoch, history.best_score = history.epoch, score
    if accelerator.is_main_process:
        if better:
            course.keep(average.module, history.epoch, score)
        tracker.numbers(history.epoch, history.rows[-1])
        state = {
            "model": accelerator.unwrap_model(model).state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": asdict(history),
        }
        save_tensors(state_path, state)
    accelerator.wait_for_everyone()


def _is_over(history: History, plan: Plan) -> bool:
    if history.epoch >= plan.epochs:
        return True
    if plan.max_minutes is not None and history.minutes >= plan.max_minutes:
        return True
    return bool(plan.patience and history.epoch - history.best_epoch >= plan.patience)


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: AveragedModel) -> History:
    state = load_tensors(path)
    try:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        return History(**state["history"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} belongs to another model ({str(error).splitlines()[0]}); start a new run."
        ) from error


def _average(decay: float) -> Callable[[Any, Any, Any], None]:
    """A running mean whose memory grows with the steps done, up to ``decay``; whole numbers are copied."""

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        new = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, new)
            else:
                mean.copy_(value)

    return update


def _judged(course: Course, model: nn.Module, accelerator: Accelerator) -> Numbers:
    """What the first process finds, in every process."""
    if course.judge is None:
        return {}
    return dict(_shared(accelerator, [course.judge(model) if accelerator.is_main_process else {}])[0])


def _shared(accelerator: Accelerator, values: list[Any]) -> list[Any]:
    """The first process's ``values``, in every process."""
    if accelerator.num_processes > 1:
        broadcast_object_list(values)
    return values
