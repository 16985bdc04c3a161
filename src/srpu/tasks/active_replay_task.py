"""Does active learning save labels on these images: `srpu active replay`.

Rounds are played on the labelled training images, whose masks are hidden until they are asked for. Each run is one
strategy with one seed and is kept as it goes; what is finished is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from srpu.active.uncertainty import ENSEMBLE
from srpu.active.windows import MOST
from srpu.errors import SettingsError
from srpu.files import locked, make_folder, read_json, write_json
from srpu.settings import ActiveLearningSettings, AugmentationConfig, weights
from srpu.tasks.active_places import RESULTS
from srpu.tasks.replay_ground import Ground, Plan, Step, lay_out
from srpu.tasks.replay_report import lines, write_replay
from srpu.tasks.replay_results import SCORE, Replayed
from srpu.tasks.replay_simulation import Player
from srpu.tasks.replay_strategies import BASELINES, MIX, check_strategies
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

FULL = "all_labels"
"""The run that has every label."""

LEAST_BATCHES = 12
"""A round asks by default for no more than this part of all there is."""

_MIX_SETTINGS = ("UNCERTAINTY_STRATEGIES", "DIVERSITY_STRATEGIES", "BALANCE_CLASSES", "EXPLORATION")
"""What changes the mix, and no other strategy."""

_SHARED_SETTINGS = (
    *("ENCODER_NAME", "DECODER_NAME", "ENCODER_WEIGHTS", "NUM_CLASSES", "SHRINK", "NORMALIZATION"),
    *("NORMALIZATION_WINDOW", "CROP_SIZE", "TILE_SIZE", "TILE_OVERLAP", "TRAINING_CONFIG", "QUERY", "REGION_SIZE"),
    *AugmentationConfig.model_fields,
)
"""What changes every run."""


def run(
    settings: ActiveLearningSettings,
    workspace: Workspace,
    *,
    strategies: Sequence[str] | None = None,
    seeds: int = 3,
    rounds: int = 5,
    batch: int | None = None,
    first: int | None = None,
    steps: int = 200,
    full: float = 2.0,
    split: Literal["val", "test"] = "val",
    shortlist: int = MOST,
    folder: Path | None = None,
) -> Replayed:
    """Play rounds on the labelled training images, and tell whether what was asked for beats chance.

    Args:
        settings: As checked; QUERY says whether images or windows are asked for, TRAINING_CONFIG how models train.
        workspace: Whose index is read.
        strategies: "mix" (as configured), the name of one strategy, "core_set", "cluster_based"; None: the mix and
            every uncertainty strategy that is on. "random" and "stratified" are always played.
        seeds: How often everything is repeated, with other weights and first labels.
        rounds: Rounds after the first model.
        batch: How many images or windows each round asks for; None: BATCH_SIZE_TO_LABEL, or a twelfth of all there are
            if that is less.
        first: How many are labelled before; None: as many as a round asks for.
        steps: Optimiser steps of each round.
        full: Steps of the model that has all labels, in units of a whole run's.
        split: The images that judge.
        shortlist: How many windows of an image the mix chooses among.
        folder: Where results go; None: active_learning_results/replay.

    Raises:
        IndexingError: There is no labelled image to learn from, or none to judge.
        SettingsError: A strategy does not exist, or the pool is too small.
        WorkspaceError: Another replay is at work here, or the disk is full.
    """
    folder = make_folder(folder or workspace.path(RESULTS) / "replay")
    ground = lay_out(settings, workspace, split)
    names = _names(ground, strategies)
    plan = _plan(ground, batch, first)
    plan = replace(plan, rounds=rounds, steps=steps, full=full, split=split, shortlist=shortlist)
    with locked(folder / ".lock", "`srpu active replay`"):
        desk = _Desk(folder, ground, plan)
        for seed in range(seeds):
            desk.play(seed, names)
        replayed = read_replay(folder, plan, desk.facts, names, seeds)
    write_replay(replayed, _head(ground, plan))
    for line in lines(replayed):
        log.info("%s", line)
    log.info("Report: %s", folder / "report.html")
    return replayed


def read_replay(
    folder: Path, plan: Plan, facts: Callable[[str], str | None], names: Sequence[str], seeds: int
) -> Replayed:
    """The finished runs of a replay, which may still be going on.

    Args:
        folder: Where they lie.
        plan: How they were played.
        facts: Gives the hash of all that a strategy's runs depend on; others are left out.
        names: Of strategies.
        seeds: How many.
    """
    runs: dict[str, dict[int, Sequence[Step]]] = {}
    for name in [*names, FULL]:
        found = {seed: _finished(cell_path(folder, name, seed), facts(name)) for seed in range(seeds)}
        runs[name] = {seed: steps for seed, steps in found.items() if steps}
    full = {seed: steps[-1] for seed, steps in runs.pop(FULL).items()}
    ordered = [name for name in names if name not in BASELINES] + [name for name in names if name in BASELINES]
    return Replayed(folder, plan, {name: runs[name] for name in ordered if runs[name]}, full)


def cell_path(folder: Path, strategy: str, seed: int) -> Path:
    """Where the run of a strategy with a seed is kept."""
    return folder / "cells" / f"{strategy}_seed{seed}.json"


def _finished(path: Path, facts: str | None) -> tuple[Step, ...]:
    """The steps of a run that went to its end, with these facts; none otherwise."""
    if not path.exists():
        return ()
    cell = read_json(path)
    if not cell["finished"] or (facts is not None and cell["facts"] != facts):
        return ()
    return tuple(Step.from_state(step) for step in cell["steps"])


@dataclass(frozen=True)
class _Desk:
    """Plays what is missing and writes it down."""

    folder: Path
    ground: Ground
    plan: Plan

    def facts(self, strategy: str) -> str:
        """A hash of all that a run of ``strategy`` depends on."""
        settings = self.ground.settings.model_dump(mode="json")
        used = {name: settings[name] for name in _SHARED_SETTINGS}
        plan = asdict(self.plan)
        if strategy == MIX:
            used |= {name: settings[name] for name in _MIX_SETTINGS}
        else:
            del plan["shortlist"]
        if strategy != FULL:
            del plan["full"]
        judged = [image.name for image in self.ground.validation.images]
        facts = [used, plan, sorted(self.ground.pool), judged]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]

    def play(self, seed: int, names: Sequence[str]) -> None:
        """All runs of a seed that are not finished."""
        player = Player(self.ground, self.plan, seed)
        for name in [*names, FULL]:
            path = cell_path(self.folder, name, seed)
            if _finished(path, self.facts(name)):
                continue
            log.info("%s, seed %d", name, seed)
            steps: list[Step] = []
            began = time.perf_counter()
            played = iter([player.full()]) if name == FULL else player.play(name)
            for step in played:
                steps.append(step)
                self._keep(path, name, seed, steps, began, finished=False)
                log.info("  %.1f%% labelled: mean IoU %.4f", 100 * step.share, step.scores[SCORE])
            self._keep(path, name, seed, steps, began, finished=True)

    def _keep(self, path: Path, name: str, seed: int, steps: Sequence[Step], began: float, *, finished: bool) -> None:
        cell: dict[str, Any] = {
            "strategy": name,
            "seed": seed,
            "facts": self.facts(name),
            "finished": finished,
            "minutes": round((time.perf_counter() - began) / 60, 2),
            "steps": [step.state() for step in steps],
        }
        make_folder(path.parent)
        write_json(path, cell)


def _names(ground: Ground, strategies: Sequence[str] | None) -> list[str]:
    """What is played, chance first.

    Raises:
        SettingsError: A strategy does not exist.
    """
    on = list(weights(ground.settings.UNCERTAINTY_STRATEGIES))
    alone = [name for name in on if name != ENSEMBLE]
    wanted = list(strategies) if strategies is not None else [MIX, *alone]
    check_strategies(ground, wanted)
    if MIX in wanted and ENSEMBLE in on:
        log.warning('The mix is played without "ensemble", which takes several models.')
    return list(dict.fromkeys([*BASELINES, *wanted]))


def _plan(ground: Ground, batch: int | None, first: int | None) -> Plan:
    """How many are asked for.

    Raises:
        SettingsError: The pool is too small for it.
    """
    there = len(ground.queries)
    batch = batch or max(min(ground.settings.BATCH_SIZE_TO_LABEL, there // LEAST_BATCHES), 1)
    plan = Plan(batch=batch, first=first or batch)
    if plan.first + plan.batch > there:
        raise SettingsError(
            f"There are {there} labelled training images or windows, and the first two rounds take "
            f'{plan.first + plan.batch}; ask for fewer, or set QUERY = "region".'
        )
    return plan


def _head(ground: Ground, plan: Plan) -> dict[str, str]:
    settings = ground.settings
    unit = "windows" if settings.QUERY == "region" else "images"
    return {
        "network": f"{settings.ENCODER_NAME} + {settings.DECODER_NAME}",
        "pool": f"{len(ground.queries)} {unit} of {len(ground.pool)} labelled images",
        "judged on": f"{len(ground.validation.images)} images ({plan.split})",
        "rounds": f"{plan.first} {unit} by chance, then {plan.rounds} rounds of {plan.batch}",
        "training": f"{plan.steps} steps a round, {settings.TRAINING_CONFIG.batch_size} crops of {settings.CROP_SIZE}²",
    }
