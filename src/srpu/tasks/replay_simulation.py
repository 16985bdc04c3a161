"""Rounds of active learning played again on images whose masks are known: train, ask, show, train on.

Every way of asking begins, seed by seed, with the same labels and the same model, and spends the same steps on each
round, so that only what was asked for differs.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srpu.active.query import Query
from srpu.active.replay import Oracle, first_queries
from srpu.data.augment import Augmenter
from srpu.data.dataset import Batch, CropSampler, LabelledImage, count_pixels
from srpu.learn.loop import Course, fit
from srpu.learn.loop import Plan as FitPlan
from srpu.learn.losses import LOSSES, balanced_weights
from srpu.learn.optim import build_optimizer
from srpu.learn.tracker import Trackers
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.progress import reporter
from srpu.tasks.replay_ground import Ground, Plan, Step
from srpu.tasks.replay_strategies import Turn, ask
from srpu.tasks.wiring import augmenter, encoder_weights

WARMUP = 0.1
"""Share of a round's steps in which the learning rate rises."""


def first_model(ground: Ground, seed: int) -> Segmenter:
    """The network with the weights that ``seed`` draws, or those of ENCODER_WEIGHTS."""
    settings = ground.settings
    torch.manual_seed(seed)
    model = build_segmenter(
        settings.ENCODER_NAME,
        settings.DECODER_NAME,
        settings.NUM_CLASSES,
        shrink=settings.SHRINK,
        encoder_weights=encoder_weights(settings, ground.workspace),
    )
    model.to(memory_format=torch.channels_last)
    return model


def train_on(ground: Ground, model: Segmenter, images: Sequence[LabelledImage], steps: int, seed: int) -> Segmenter:
    """A copy of ``model`` after so many steps on ``images``, by the same loop as `srpu train`.

    Raises:
        TrainingError: The loss is no number any more.
    """
    config = ground.settings.TRAINING_CONFIG
    vary, model = augmenter(ground.settings), copy.deepcopy(model)
    sampler = CropSampler(
        images, crop=vary.crop, window=vary.source_size, normalisation=ground.normalisation, seed=seed
    )
    course = Course(
        batches=lambda start: sampler.batches(config.batch_size, start=start),
        step=_Loss(ground, vary, images),
        judge=None,
        keep=lambda averaged, epoch, score: None,
    )
    optimizer = build_optimizer(
        model,
        config.optimizer,
        config.learning_rate,
        config.weight_decay,
        slow=model.encoder,
        slow_factor=config.encoder_lr_factor,
    )
    plan = FitPlan(
        epochs=1,
        steps_per_epoch=steps,
        images_per_step=config.batch_size,
        warmup_epochs=WARMUP,
        gradient_clip=config.gradient_clip,
        ema_decay=config.ema_decay,
        seed=seed,
    )
    with _in_silence(), tempfile.TemporaryDirectory() as folder:
        averaged, _ = fit(
            model,
            optimizer,
            course,
            plan,
            accelerator=ground.accelerator,
            state_path=Path(folder) / "state.pth",
            tracker=Trackers(),
        )
    ground.accelerator.free_memory()  # else it would hold every model of every round
    assert isinstance(averaged, Segmenter)  # noqa: S101  (what is averaged is a copy of what was given)
    return averaged


class _Loss:
    """From a batch of windows to the loss of the varied crops."""

    def __init__(self, ground: Ground, vary: Augmenter, images: Sequence[LabelledImage]) -> None:
        config, self._device = ground.settings.TRAINING_CONFIG, ground.accelerator.device
        self._vary, self._loss, weights = vary, LOSSES[config.loss_function], None
        if config.class_weights == "balanced":
            weights = balanced_weights(torch.from_numpy(count_pixels(images, ground.settings.NUM_CLASSES)))
        elif config.class_weights is not None:
            weights = torch.tensor(config.class_weights, dtype=torch.float32)
        self._weights = None if weights is None else weights.to(self._device)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(self._device)
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        crops, ids = self._vary(batch.images, batch.masks, generator)
        return self._loss(model(crops.contiguous(memory_format=torch.channels_last)), ids, self._weights)


@contextmanager
def _in_silence() -> Iterator[None]:
    """Without the loop's forecasts and bars, one for each of many short trainings."""
    logger = logging.getLogger("srpu.learn.loop")
    before, watched = logger.level, reporter.set(None)
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        reporter.reset(watched)


@dataclass
class Player:
    """Plays the runs of one seed, which share the first labels and the first model.

    Attributes:
        ground: What all runs share.
        plan: How rounds are played.
        seed: Of weights, crops and first labels.
    """

    ground: Ground
    plan: Plan
    seed: int

    @cached_property
    def first(self) -> tuple[list[Query], Segmenter, Step]:
        """The first labels, the first model and its scores."""
        drawn = first_queries(self.ground.queries, self.plan.first, np.random.default_rng(self.seed))
        oracle = self._oracle(drawn)
        model = self._train(first_model(self.ground, self.seed), oracle, 0, self.plan.steps)
        return drawn, model, self._step(model, oracle, drawn)

    def play(self, strategy: str) -> Iterator[Step]:
        """The first model, then one after each round; a run ends early when nothing is left to ask for."""
        drawn, model, step = self.first
        yield step
        oracle, labelled = self._oracle(drawn), list(drawn)
        for number in range(1, self.plan.rounds + 1):
            done = set(labelled)
            left = [query for query in self.ground.queries if query not in done]
            if not left:
                return
            random = np.random.default_rng((self.seed, number))
            turn = Turn(left, labelled, self.plan.batch, number, self.plan.rounds, random)
            asked = ask(self.ground, strategy, model, turn, self.plan.shortlist)
            oracle.answer(asked)
            labelled += asked
            model = self._train(model, oracle, number, self.plan.steps)
            yield self._step(model, oracle, asked)

    def full(self) -> Step:
        """What a model reaches that has all labels, and as many steps as the plan says."""
        oracle = self._oracle(self.ground.queries)
        steps = round(self.plan.full * self.plan.steps * (self.plan.rounds + 1))
        return self._step(self._train(first_model(self.ground, self.seed), oracle, 0, steps), oracle, ())

    def _oracle(self, queries: Sequence[Query]) -> Oracle:
        """One that has answered ``queries``."""
        oracle = Oracle({sha256: np.asarray(image.open_mask()) for sha256, image in self.ground.pool.items()})
        oracle.answer(queries)
        return oracle

    def _train(self, model: Segmenter, oracle: Oracle, number: int, steps: int) -> Segmenter:
        pool = self.ground.pool
        images = [
            replace(pool[sha256], open_mask=partial(oracle.shown.__getitem__, sha256)) for sha256 in oracle.labelled
        ]
        return train_on(self.ground, model, images, steps, seed=1000 * self.seed + number)

    def _step(self, model: Segmenter, oracle: Oracle, asked: Sequence[Query]) -> Step:
        scores = self.ground.judge(model)
        return Step(oracle.share, oracle.pixels, scores, tuple(query.name for query in asked))
