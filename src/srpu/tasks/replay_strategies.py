"""Ways of asking that simulated rounds compare: the configured mix, single strategies, and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32

from srpu.active.query import Query
from srpu.errors import SettingsError
from srpu.learn.novelty import pooled_features
from srpu.learn.predict import predict_probabilities
from srpu.models.segmenter import Segmenter
from srpu.settings import weights
from srpu.tasks.replay_ground import Ground

if TYPE_CHECKING:  # it takes seconds to import
    from srpu.active.select import Candidate, Mix

MIX = "mix"
RANDOM = "random"
STRATIFIED = "stratified"
BASELINES = (RANDOM, STRATIFIED)
"""What the others are compared with: pure chance, and chance that takes every predicted class in turn."""

DIVERSE = ("core_set", "cluster_based")


@dataclass(frozen=True)
class Turn:
    """One round's question.

    Attributes:
        left: What can still be asked for.
        labelled: What is labelled.
        count: How many to ask for.
        number: The round, from 1.
        rounds: How many there will be.
        random: Draws where chance decides.
    """

    left: Sequence[Query]
    labelled: Sequence[Query]
    count: int
    number: int
    rounds: int
    random: np.random.Generator


def known_strategies(ground: Ground) -> tuple[str, ...]:
    """Every name that :func:`ask` takes."""
    return (MIX, *ground.ways, *DIVERSE, *BASELINES)


def check_strategies(ground: Ground, names: Sequence[str]) -> None:
    """Refuse names that do not exist.

    Raises:
        SettingsError: Says which exist.
    """
    if unknown := [name for name in names if name not in known_strategies(ground)]:
        raise SettingsError(f"There is no strategy {unknown[0]}; there are {', '.join(known_strategies(ground))}.")


def ask(ground: Ground, name: str, model: Segmenter, turn: Turn, shortlist: int) -> list[Query]:
    """What the strategy ``name`` asks for in this round, at most ``turn.count``.

    Args:
        ground: Images and settings.
        name: One of :func:`known_strategies`.
        model: The model of the round before.
        turn: The question.
        shortlist: How many windows of an image the mix chooses among.
    """
    from srpu.active import select

    settings, count, random = ground.settings, turn.count, turn.random
    classes = tuple(settings.CLASS_NAMES[id_] for id_ in range(settings.NUM_CLASSES))
    if name == RANDOM:
        blank = np.zeros(settings.NUM_CLASSES, np.float32)
        unseen = [select.Candidate(query, {}, blank, ground.groups[query.image]) for query in turn.left]
        return [pick.query for pick in select.by_chance(unseen, count, random)]
    mix = _mix(ground, name, turn)
    candidates = _candidates(ground, model, turn.left, {} if mix is None else mix.uncertainty)
    if mix is None:
        return [pick.query for pick in select.by_class(candidates, count, random, classes=classes)]
    if name == MIX and settings.QUERY == "region" and mix.uncertainty:
        candidates = _most_uncertain(candidates, mix.uncertainty, shortlist)
    features = _features(ground, model, [one.query for one in candidates])
    labelled = _features(ground, model, turn.labelled)
    picks = select.choose(candidates, features, labelled, mix, count, random, classes=classes)
    return [pick.query for pick in picks]


def _mix(ground: Ground, name: str, turn: Turn) -> Mix | None:
    """How much of what counts; None for chance that takes the classes in turn."""
    from srpu.active.select import Mix, exploration

    settings = ground.settings
    if name == STRATIFIED:
        return None
    if name != MIX:
        diverse = name in DIVERSE
        return Mix({} if diverse else {name: 1.0}, {name: 1.0} if diverse else {}, False, 0.0)
    return Mix(
        {way: weight for way, weight in weights(settings.UNCERTAINTY_STRATEGIES).items() if way in ground.ways},
        weights(settings.DIVERSITY_STRATEGIES),
        settings.BALANCE_CLASSES,
        exploration(settings.EXPLORATION, turn.number, turn.rounds),
    )


def _candidates(
    ground: Ground, model: Segmenter, queries: Sequence[Query], wanted: Mapping[str, float]
) -> list[Candidate]:
    """Each query with its mean uncertainties and the shares of the predicted classes, image by image."""
    from srpu.active.select import Candidate

    by_image: dict[str, list[Query]] = {}
    for query in queries:
        by_image.setdefault(query.image, []).append(query)
    made = []
    for sha256, asked in by_image.items():
        levels = ground.pool[sha256].open_image()
        probabilities = predict_probabilities(
            model,
            levels,
            ground.normalisation.shift_scale(levels),
            ground.tiling,
            device=ground.accelerator.device,
            precision=ground.precision,
        )
        ids = probabilities.argmax(axis=0)
        batch = torch.from_numpy(probabilities)[None]
        maps = {name: ground.ways[name](batch)[0].numpy() for name in wanted}
        for query in asked:
            here = query.window.slices if query.window else (slice(None), slice(None))
            counts = np.bincount(ids[here].ravel(), minlength=len(probabilities)).astype(np.float32)
            scores = {name: float(map_[here].mean()) for name, map_ in maps.items()}
            made.append(Candidate(query, scores, counts / counts.sum(), ground.groups[sha256]))
    return made


def _most_uncertain(candidates: Sequence[Candidate], weights: Mapping[str, float], most: int) -> list[Candidate]:
    """At most so many windows of each image, those with the highest weighted mean score."""
    by_image: dict[str, list[Candidate]] = {}
    for one in candidates:
        by_image.setdefault(one.query.image, []).append(one)

    def score(one: Candidate) -> float:
        return -sum((weight * one.scores[name] for name, weight in weights.items()), 0.0)

    return [one for ones in by_image.values() for one in sorted(ones, key=score)[:most]]


def _features(ground: Ground, model: Segmenter, queries: Sequence[Query]) -> Float32[np.ndarray, "n d"]:
    """What the encoder answers to each query, as real rounds have it."""
    rows = []
    for query in queries:
        levels = ground.pool[query.image].open_image()
        here = levels[query.window.slices] if query.window else levels
        rows.append(
            pooled_features(
                model,
                here,
                ground.normalisation.shift_scale(levels),
                device=ground.accelerator.device,
                precision=ground.precision,
            )
        )
    return np.stack(rows).astype(np.float32)
