"""Whether active learning saves labels: ``python benchmarks/active.py``.

Rounds are played on the training images of a protocol, whose masks are hidden until they are asked for: windows are
asked for, models start from those of the round before, and the images that judge take no part in any choice. Every
strategy of a seed begins with the same labels and the same model. ``SRPU_DATA`` names the folder of images.

    python benchmarks/active.py                        superalloy and axon, judged on validation: to choose by
    python benchmarks/active.py --final                coating and FIB-SEM, which nothing was chosen on, judged on test
    python benchmarks/active.py --report               rows from what is finished, at any time

Runs are kept in ``benchmarks/runs/active``; the same command goes on with what is missing.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rows
from accuracy import RUNS, Run, known

from srpu.config import load_settings
from srpu.files import make_folder, read_json, write_json
from srpu.manual import write_configs
from srpu.tasks import index_task
from srpu.tasks.active_replay_task import read_replay, run
from srpu.tasks.replay_ground import Plan
from srpu.tasks.replay_report import lines
from srpu.tasks.replay_results import Replayed
from srpu.terminal import speaking
from srpu.workspace import Workspace

FOLDER = RUNS.parent / "active"

EDGES = {"super1": 128, "axon": 256, "ebc1": 256, "fibsem": 125}
"""Of a window in pixels: 130 to 300 windows in each pool."""

CHOICE, HELD_OUT = ("super1", "axon"), ("ebc1", "fibsem")

ROUNDS = 5
SHARE = 0.02
"""Of the pool, asked for in each round; as much is drawn by chance before. After the last round 12 % are labelled."""

LAST = 0.10
"""Share of the pixels by which 98 % of the full-label score is to be reached."""

TRAINING = {"batch_size": 6, "learning_rate": 1e-3, "weight_decay": 1e-4, "ema_decay": 0.95, "warm_start": True}

AIMS = {"share_of_cells_better_than_random": 0.8, "share_of_cells_better_than_stratified_random": 0.8}
AGAINST = {"random": "share_of_cells_better_than_random", "stratified": "share_of_cells_better_than_stratified_random"}


def main() -> None:
    """Do what is missing, seed by seed, so that something can be compared early; record what is finished."""
    options = _options()
    if not options.report:
        with speaking():
            for seeds in range(1, options.seeds + 1):
                for name in options.only:
                    _play(name, seeds, options)
                    report(options)
    report(options)


def _play(name: str, seeds: int, options: argparse.Namespace) -> None:
    workspace = Workspace((FOLDER / "workspaces" / name).resolve())
    write_configs(workspace.configs, overwrite=True)
    data = Path(os.environ["SRPU_DATA"]).resolve()
    asked = [
        *Run(name, "", 0, 0, data, ()).overrides(),
        "QUERY=region",
        f"REGION_SIZE={EDGES[name]}",
        "CROP_SIZE=128",
        *(f"TRAINING_CONFIG.{key}={value}" for key, value in TRAINING.items()),
        *options.set,
    ]
    if not (workspace.root / "json").exists():
        index_task.run(_settings("index", workspace, asked), workspace)
    settings = _settings("active", workspace, asked)
    _take_over(name, options)
    run(
        settings,
        workspace,
        strategies=options.strategies,
        seeds=seeds,
        folder=_folder(name, options),
        **_plan(workspace, settings, options),
    )


def _take_over(name: str, options: argparse.Namespace) -> None:
    """Chance, and the model with all labels, as another method played them; what does not fit is played anew."""
    here = _folder(name, options) / "cells"
    for path in sorted(FOLDER.glob(f"*_{_split(options)}/{name}/cells/*.json")):
        if path.stem.rpartition("_seed")[0] in (*AGAINST, "all_labels") and not (here / path.name).exists():
            write_json(make_folder(here) / path.name, read_json(path))


def _plan(workspace: Workspace, settings: Any, options: argparse.Namespace) -> dict[str, Any]:
    from srpu.tasks.replay_ground import lay_out

    batch = max(round(SHARE * len(lay_out(settings, workspace, _split(options)).queries)), 1)
    return {
        "rounds": ROUNDS,
        "batch": batch,
        "first": batch,
        "steps": options.steps,
        "full": options.full,
        "split": _split(options),
        "shortlist": options.shortlist,
    }


def _settings(task: str, workspace: Workspace, overrides: Sequence[str]) -> Any:
    return load_settings(task, workspace, list(known(task, workspace, overrides))).settings


def _folder(name: str, options: argparse.Namespace) -> Path:
    return FOLDER / f"{options.method}_{_split(options)}" / name


def _split(options: argparse.Namespace) -> str:
    return "test" if options.final else "val"


def report(options: argparse.Namespace) -> None:
    """Record every strategy over all cells that are finished, for each data set and for all together."""
    found = {name: one for name in options.only if (one := _read(name, options)) is not None and one.runs}
    for name, one in found.items():
        print(f"\n{name}, {_split(options)}", *lines(one), sep="\n", flush=True)
    strategies = dict.fromkeys(strategy for one in found.values() for strategy in one.runs if strategy not in AGAINST)
    for strategy in strategies:
        for against, metric in AGAINST.items():
            for name, one in found.items():
                _record_cells(name, strategy, against, metric, [one], options)
            if set(found) >= set(HELD_OUT if options.final else CHOICE):
                _record_cells("all", strategy, against, metric, list(found.values()), options)
        _record_saved(strategy, found, options)


def _read(name: str, options: argparse.Namespace) -> Replayed | None:
    folder = _folder(name, options)
    strategies = sorted({path.stem.rpartition("_seed")[0] for path in folder.glob("cells/*.json")} - {"all_labels"})
    strategies.sort(key=lambda strategy: strategy != "mix")
    plan = Plan(ROUNDS, steps=options.steps, full=options.full, split=_split(options))  # type: ignore[arg-type]
    return read_replay(folder, plan, lambda strategy: None, strategies, options.seeds) if strategies else None


def _record_cells(
    protocol: str, strategy: str, against: str, metric: str, parts: Sequence[Replayed], options: argparse.Namespace
) -> None:
    compared = [one for part in parts if (one := part.compare(strategy, against)) is not None]
    if not compared:
        return
    seeds = min(one.difference.seeds for one in compared)
    shared = _shared(strategy, protocol, seeds, options)
    weights = [one.difference.seeds for one in compared]
    won = sum(one.cells_won * weight for one, weight in zip(compared, weights, strict=True)) / sum(weights)
    rows.record(**shared, metric=metric, value=round(won, 4), target=AIMS[metric] if protocol == "all" else None)
    print(f"{protocol}: {strategy} wins {won:.0%} of the cells against {against}", flush=True)
    if protocol != "all":
        apart = compared[0].difference
        spread = round(apart.high - apart.mean, 4) if apart.seeds > 1 else None
        name = f"area_gain_over_{against}"
        rows.record(**shared, metric=name, value=round(apart.mean, 4), spread=spread)


def _record_saved(strategy: str, found: dict[str, Replayed], options: argparse.Namespace) -> None:
    """The pixels that were not needed for 98 % of the score of all labels; 0 where it was not reached."""
    saved = {}
    for name, one in found.items():
        if one.full_score is not None:
            share = one.needed(strategy, 0.98)
            saved[name] = 0.0 if share is None else 1 - share
            shared = _shared(strategy, name, len(one.full), options)
            rows.record(**shared, metric="pixels_saved_at_98", value=round(saved[name], 4))
    if len(saved) < len(options.only) or len(saved) < 2:
        return
    best = sorted(saved.values(), reverse=True)[:2]
    seeds = min(len(one.full) for one in found.values())
    shared = _shared(strategy, "best_two_sets", seeds, options)
    value = round(statistics.mean(best), 4)
    rows.record(**shared, metric="pixels_saved_at_98", value=value, target=1 - LAST)


def _shared(strategy: str, protocol: str, seeds: int, options: argparse.Namespace) -> dict[str, Any]:
    cells = FOLDER.glob(f"{options.method}_{_split(options)}/*/cells/{strategy}_seed*.json")
    minutes = [cell["minutes"] for cell in map(read_json, cells) if cell["finished"]]
    return {
        "benchmark": "active",
        "protocol": protocol,
        "method": strategy + ("" if options.method == "default" else f"_{options.method}"),
        "seeds": seeds,
        "split": _split(options),
        "budget_steps": options.steps * (ROUNDS + 1),
        "minutes": round(statistics.mean(minutes), 2) if minutes else None,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), help="protocols")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", type=lambda text: text.split(","), default=["mix"], help="besides chance")
    parser.add_argument("--method", default="default", help="a name for the changes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a change of the defaults")
    parser.add_argument("--steps", type=int, default=50, help="optimiser steps of each round")
    parser.add_argument("--full", type=float, default=1.5, help="steps with all labels, in units of a whole run's")
    parser.add_argument("--shortlist", type=int, default=8, help="windows of an image that the mix chooses among")
    parser.add_argument("--final", action="store_true", help="the held-out data sets, judged on test")
    parser.add_argument("--report", action="store_true", help="only record what is finished")
    options = parser.parse_args()
    options.only = options.only or list(HELD_OUT if options.final else CHOICE)
    if unknown := set(options.only) - set(EDGES):
        parser.error(f"no protocol is called {', '.join(sorted(unknown))}; there are {', '.join(EDGES)}")
    if not options.report and not os.environ.get("SRPU_DATA"):
        parser.error("set SRPU_DATA to the folder of the real images")
    return options


if __name__ == "__main__":
    main()
