"""What weights that were learned without masks bring: ``python benchmarks/pretraining.py``.

Four arms start the same supervised training (the accuracy benchmark's default at its full budget): random weights, an
autoencoder, masked image modelling, and supervised training on generated images. The first three arms share the
protocol's own training-side images as a pool, never a validation or test image. Choices are made on validation;
``--final`` opens the test split. Finished pretrainings and runs are kept in ``benchmarks/runs``.

    python benchmarks/pretraining.py --only super3 --arms random,mae          a part, validation
    python benchmarks/pretraining.py --seeds 3 --arms random,mae --final      the winner, repeated, and test
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rows
from accuracy import FEW, METRICS, PROTOCOLS, RUNS, Run, known

from srpu.config import load_settings
from srpu.files import read_json, write_json
from srpu.manual import write_configs
from srpu.tasks import index_task, ssl_pretrain_task, train_task
from srpu.terminal import speaking
from srpu.workspace import Workspace

ARMS = ("random", "autoencoder", "mae", "synthetic")

JUDGED = {
    "super3": ("macro_miou", "val/iou", ("super3",)),
    "ebc_one_shot": ("oxide_iou", "val/iou/oxide", tuple(name for name in FEW if name.startswith("ebc_one_shot"))),
    "fibsem_few": ("macro_miou", "val/iou", ("fibsem_few",)),
}
"""For each protocol: its score, the curve that is like it, and the runs whose mean it is."""

POOLS = {"superalloy": ("super1", ["images"]), "barrier_coating": ("ebc1", ["images"])}
POOLS["fibsem"] = ("fibsem", ["images", "unlabelled"])
"""For each folder: the protocol with the most training images, and where the images lie."""

MINUTES = 15.0


def main() -> None:
    """Do what is missing, and record every arm."""
    options = _options()
    data = Path(os.environ["SRPU_DATA"]).resolve()
    for protocol in options.only:
        for arm in options.arms:
            with speaking():
                runs = [run for seed in range(options.seeds) for run in _runs(protocol, arm, seed, data, options)]
                for run in runs:
                    run.do(test=options.final)
            report(protocol, arm, runs, options)


def _runs(protocol: str, arm: str, seed: int, data: Path, options: argparse.Namespace) -> list[Run]:
    """The supervised runs of an arm, after its pretraining."""
    made = []
    for name in JUDGED[protocol][2]:
        of = (PROTOCOLS | FEW)[name]
        changes: tuple[str, ...] = ()
        method = "default"
        if arm != "random":
            encoder = pretrained(arm, of.folder, data, options.minutes)
            changes = (f"PRETRAINED_ENCODER_PATH={encoder}", 'ON_MISSING_WEIGHTS="error"')
            method = f"{arm}_{options.minutes:g}min"
        made.append(Run(name, method, options.steps or of.steps, seed, data, changes))
    return made


def pretrained(arm: str, folder: str, data: Path, minutes: float) -> Path:
    """The encoder of an arm for a folder of images, made if it has not been yet."""
    place = RUNS.parent / "pretraining" / ("any" if arm == "synthetic" else folder) / f"{arm}_{minutes:g}min"
    workspace = Workspace(place.resolve())
    done = place / "encoder.json"
    if not done.exists():
        write_configs(workspace.configs, overwrite=True)
        made = (
            _synthetic(workspace, minutes) if arm == "synthetic" else _from_pool(arm, folder, data, workspace, minutes)
        )
        write_json(done, {"encoder": str(made), "minutes": minutes, "commit": rows.commit()})
    return Path(read_json(done)["encoder"])


def _from_pool(arm: str, folder: str, data: Path, workspace: Workspace, minutes: float) -> Path:
    protocol, images = POOLS[folder]
    overrides = [override for override in Run(protocol, "", 0, 0, data, ()).overrides() if "RAW_DIRS" not in override]
    overrides.append(f"RAW_DIRS={json.dumps([str(data / folder / name) for name in images])}")
    index_task.run(_settings("index", workspace, overrides), workspace)
    asked = [f"METHOD={arm}", f"MAX_MINUTES={minutes}", "NUM_EPOCHS=1000", "EARLY_STOPPING_PATIENCE=0"]
    begun = any(workspace.root.glob("models/checkpoints/*/*/state.pth"))
    settings = _settings("pretrain", workspace, [*overrides, *asked])
    return ssl_pretrain_task.run(settings, workspace, resume=begun).encoder


def _synthetic(workspace: Workspace, minutes: float) -> Path:
    asked = ["DATASETS=['synthetic']", f"MAX_MINUTES={minutes}", "NUM_EPOCHS=1000", "EARLY_STOPPING_PATIENCE=0"]
    begun = any(workspace.root.glob("models/checkpoints/*/*/state.pth"))
    settings = _settings("train", workspace, [*asked, "LOGGER=none"])
    return train_task.run(settings, workspace, resume=begun).model


def _settings(task: str, workspace: Workspace, overrides: Sequence[str]) -> Any:
    return load_settings(task, workspace, list(known(task, workspace, overrides))).settings


def report(protocol: str, arm: str, runs: Sequence[Run], options: argparse.Namespace) -> None:
    """Record an arm's score, and against random weights the relative cut of the error and the steps to match."""
    metric, curve, _ = JUDGED[protocol]
    plain = [Run(run.protocol, "default", run.steps, run.seed, run.data, ()) for run in runs]
    shared = {
        "benchmark": "pretraining",
        "protocol": protocol,
        "method": f"{arm}_{runs[0].steps}" + ("" if arm == "random" else f"_after_{options.minutes:g}min"),
        "seeds": options.seeds,
        "budget_steps": runs[0].steps,
        "minutes": round(statistics.mean(read_json(run.folder / "run.json")["minutes"] for run in runs), 2),
    }
    for split in ["val", "test"] if options.final else ["val"]:
        mean, spread = _mean(runs, split, metric, options.seeds)
        rows.record(**shared, split=split, metric=metric, value=round(mean, 4), spread=spread)
        line = f"{protocol} {arm}, {split}: {metric} {mean:.4f}" + (f" ± {spread}" if spread else "")
        if arm != "random" and all((run.folder / f"scores_{split}.json").exists() for run in plain):
            before, _ = _mean(plain, split, metric, options.seeds)
            cut = round((mean - before) / (1 - before), 4)
            rows.record(**shared, split=split, metric="error_cut", value=cut, target=0.20)
            line += f", error cut {cut:.1%}"
            if split == "val":
                share = round(statistics.mean(map(_steps_to_match, runs, plain, [curve] * len(runs))), 4)
                rows.record(**shared, split=split, metric="steps_to_match", value=share, target=0.5)
                line += f", steps to match {share:.0%}"
        print(line, flush=True)


def _mean(runs: Sequence[Run], split: str, metric: str, seeds: int) -> tuple[float, float | None]:
    """The mean over all runs, and the deviation over seeds."""
    name = next(ours for ours, theirs in METRICS.items() if theirs == metric)
    values = [(run.seed, read_json(run.folder / f"scores_{split}.json")[name]) for run in runs]
    by_seed = [statistics.mean(value for seed, value in values if seed == number) for number in range(seeds)]
    return statistics.mean(by_seed), round(statistics.stdev(by_seed), 4) if seeds > 1 else None


def _steps_to_match(run: Run, plain: Run, curve: str) -> float:
    """The share of the budget after which ``run`` has the score that ``plain`` ends with, at most 1."""
    aim = max(_curve(plain, curve))
    reached = [epoch for epoch, value in enumerate(_curve(run, curve), start=1) if value >= aim]
    return reached[0] / len(_curve(run, curve)) if reached else 1.0


def _curve(run: Run, name: str) -> list[float]:
    (path,) = run.folder.glob("models/checkpoints/*/*/metrics.jsonl")
    values = [json.loads(line)[name] for line in path.read_text(encoding="utf-8").splitlines()]
    return [-math.inf if value is None else value for value in values]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(JUDGED), help="protocols")
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of pretraining")
    parser.add_argument("--steps", type=int, help="supervised optimiser steps; by default the protocol's full budget")
    parser.add_argument("--final", action="store_true", help="also open the test split")
    options = parser.parse_args()
    for given, there in ((options.only, JUDGED), (options.arms, ARMS)):
        if unknown := set(given) - set(there):
            parser.error(f"there is no {', '.join(sorted(unknown))}, but {', '.join(there)}")
    if not os.environ.get("SRPU_DATA"):
        parser.error("set SRPU_DATA to the folder of the real images")
    return options


if __name__ == "__main__":
    main()
