"""How well SRPU segments real SEM images from random weights: ``python benchmarks/accuracy.py``.

Every run goes through the public verbs: a workspace, ``index``, ``train``, ``evaluate``. Methods are the defaults and
named changes of them; they are chosen on validation, and ``--final`` opens the test split of the methods that it names.
Finished runs are kept in ``benchmarks/runs`` and not done again, so the command can be stopped and typed again at any
time. ``SRPU_DATA`` names the folder of images, whose README describes the protocols.

    python benchmarks/accuracy.py --only super3,axon --steps 320          choose: short runs, validation
    python benchmarks/accuracy.py --final                                 the table: full budgets, validation and test
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rows

from srpu.config import load_settings
from srpu.files import read_json, write_json
from srpu.manual import write_configs
from srpu.tasks import evaluate_task, index_task, train_task
from srpu.terminal import speaking
from srpu.workspace import Workspace

RUNS = Path(__file__).parent / "runs" / "accuracy"
STEPS_PER_EPOCH = 50


@dataclass(frozen=True)
class Protocol:
    """A data set with a fixed split.

    Attributes:
        folder: Below ``SRPU_DATA``.
        classes: Their names.
        targets: The scores that are aimed at on test.
        published: The best published scores.
        steps: Optimiser steps of a full run (8 crops of 256² each).
        settings: What a user who knows the images would set.
    """

    folder: str
    classes: tuple[str, ...]
    targets: dict[str, float]
    published: dict[str, float] = field(default_factory=dict)
    steps: int = 600
    settings: tuple[str, ...] = ()
    part: int | None = None
    """Which of the splits under the protocol's name, where there are several."""


_SUPER = ("superalloy", ("matrix", "secondary", "tertiary"))
_COATING = ("barrier_coating", ("background", "oxide", "crack"))
_OXIDE = (
    "FOREGROUND_CLASSES=[1, 2]",
    "FLIP_VERTICAL.enabled=False",  # layers on a substrate: up means something
    "ROTATE_90.enabled=False",
    "ROTATE.range=[-10, 10]",
)

PROTOCOLS = {
    "super1": Protocol(*_SUPER, {"micronet_iou": 0.966}, {"micronet_iou": 0.9643}),
    "super2": Protocol(*_SUPER, {"micronet_iou": 0.963}, {"micronet_iou": 0.9606}),
    "super3": Protocol(*_SUPER, {"micronet_iou": 0.958, "macro_miou": 0.90}, {"micronet_iou": 0.9350}, steps=800),
    "ebc1": Protocol(*_COATING, {"oxide_iou": 0.96}, {"oxide_iou": 0.9800}, settings=_OXIDE),
    "ebc2": Protocol(*_COATING, {"oxide_iou": 0.90}, {"oxide_iou": 0.9282}, settings=_OXIDE),
    "axon": Protocol(
        "axon", ("outside", "shell", "core"), {"macro_miou": 0.80}, settings=("GROUP_PATTERN=(rat[0-9]+)_",)
    ),
    "fibsem": Protocol("fibsem", ("interior", "boundary"), {"macro_miou": 0.72}),
}

FEW = {
    "fibsem_few": Protocol("fibsem", ("interior", "boundary"), {}),
    **{f"ebc_one_shot/{part}": Protocol(*_COATING, {}, settings=_OXIDE, part=part) for part in range(4)},
}
"""Protocols with a handful of labels, which the benchmarks of pretraining and of label efficiency judge on."""

METRICS = {"micronet_iou": "micronet_iou", "foreground_iou": "oxide_iou", "mean_iou": "macro_miou"}
"""What ``srpu evaluate`` calls a score, and what the rows call it."""

COLOURS = ([0, 0, 255], [0, 255, 255], [255, 126, 126])


def main() -> None:
    """Do what is missing, and record every method that it concerns."""
    options = _options()
    data = Path(os.environ["SRPU_DATA"]).resolve()
    for name in options.only:
        for seed in range(options.seeds):
            steps = options.steps or PROTOCOLS[name].steps
            run = Run(name, options.method, steps, seed, data, tuple(options.set), options.flips)
            with speaking():
                run.do(test=options.final)
        report(name, options.method, options.steps or PROTOCOLS[name].steps, flips=options.flips)


@dataclass(frozen=True)
class Run:
    """One training, and its scores."""

    protocol: str
    method: str
    steps: int
    seed: int
    data: Path
    changes: tuple[str, ...]
    flips: bool = False

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return RUNS / self.protocol / f"{self.method}_{self.steps}" / f"seed{self.seed}"

    def do(self, *, test: bool) -> None:
        """Train and judge, as far as that has not been done.

        Raises:
            SystemExit: The folder holds a run of the same name with other changes.
        """
        done = self.folder / "run.json"
        if done.exists() and read_json(done)["changes"] != list(self.changes):
            raise SystemExit(f"{self.folder} was made with {read_json(done)['changes']}; choose another --method.")
        workspace = self._workspace()
        if not done.exists():
            index_task.run(self._settings("index", workspace), workspace)
            begun = any(self.folder.glob("models/checkpoints/*/*/state.pth"))
            trained = train_task.run(self._settings("train", workspace), workspace, resume=begun)
            (trained.folder / "state.pth").unlink()
            minutes = round(trained.history.minutes, 2)
            write_json(done, {"changes": list(self.changes), "minutes": minutes, "commit": rows.commit()})
        for split in ["val", "test"] if test else ["val"]:
            if not self._scores(split).exists():
                asked = (f"EVALUATION_SPLIT={split}", f"FLIP_AVERAGING={self.flips}")
                settings = self._settings("evaluate", workspace, *asked)
                scores = read_json(evaluate_task.run(settings, workspace).folder / "scores.json")
                write_json(self._scores(split), scores["all"]["scores"])

    def _scores(self, split: str) -> Path:
        return self.folder / _scores_file(split, flips=self.flips)

    def _workspace(self) -> Workspace:
        workspace = Workspace(self.folder.resolve())
        write_configs(workspace.configs, overwrite=True)
        return workspace

    def _settings(self, task: str, workspace: Workspace, *more: str) -> Any:
        """The defaults, what the protocol fixes, and the method's changes as far as the task knows them."""
        overrides = self.overrides()
        if task == "train":
            epochs = max(self.steps // STEPS_PER_EPOCH, 1)
            overrides += [f"NUM_EPOCHS={epochs}", f"STEPS_PER_EPOCH={STEPS_PER_EPOCH}", "EARLY_STOPPING_PATIENCE=0"]
        overrides += self.changes
        return load_settings(task, workspace, [*known(task, workspace, overrides), *more]).settings

    def overrides(self) -> list[str]:
        """What the protocol fixes."""
        protocol = (PROTOCOLS | FEW)[self.protocol]
        ids = range(len(protocol.classes))
        folder = self.data / protocol.folder
        return [
            f"NUM_CLASSES={len(ids)}",
            f"CLASS_NAMES={dict(zip(ids, protocol.classes, strict=True))}",
            f"COLOR_MAPPING={dict(zip(ids, COLOURS, strict=False))}",
            f"RAW_DIRS={json.dumps([str(folder / 'images')])}",
            f"LABELED_DIR={folder / 'masks'}",
            f"SPLIT_FILE={self._split_file(folder / 'splits.json')}",
            f"CACHE_DIR={RUNS.resolve() / 'cache' / protocol.folder}",
            f"SEED={self.seed}",
            "LOGGER=none",
            *protocol.settings,
        ]

    def _split_file(self, splits: Path) -> str:
        """The protocol's split; one of several under its name is written into the run's folder."""
        protocol = (PROTOCOLS | FEW)[self.protocol]
        if protocol.part is None:
            return f"{splits}#{self.protocol}"
        path = self.folder.resolve() / "split.json"
        write_json(path, read_json(splits)[self.protocol.partition("/")[0]][protocol.part])
        return str(path)


def known(task: str, workspace: Workspace, overrides: Iterable[str]) -> Iterator[str]:
    """Those that name a setting of ``task``."""
    known = type(load_settings(task, workspace).settings).model_fields
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] in known:
            yield override


def _scores_file(split: str, *, flips: bool) -> str:
    return f"scores_{split}{'_flips' if flips else ''}.json"


def report(protocol: str, method: str, steps: int, *, flips: bool = False) -> None:
    """Record the mean over all finished seeds of a method."""
    known, folder = PROTOCOLS[protocol], RUNS / protocol / f"{method}_{steps}"
    for split in ("val", "test"):
        name = _scores_file(split, flips=flips)
        runs = [path for path in sorted(folder.glob("seed*")) if (path / name).exists()]
        if not runs:
            continue
        scores = [read_json(path / name) for path in runs]
        facts = [read_json(path / "run.json") for path in runs]
        shared = {
            "benchmark": "accuracy",
            "protocol": protocol,
            "method": f"{method}_{steps}" + ("_flips" if flips else ""),
            "seeds": len(runs),
            "split": split,
            "budget_steps": steps,
            "minutes": round(statistics.mean(fact["minutes"] for fact in facts), 2),
            "commit": facts[-1]["commit"],
        }
        print(f"{protocol} {method} {steps} steps, {split}, {len(runs)} seeds:", end="")
        for key, metric in _metrics(scores[0]).items():
            values = [score[key] for score in scores if score[key] is not None]
            spread = round(statistics.stdev(values), 4) if len(values) > 1 else None
            value = round(statistics.mean(values), 4)
            aims = known.targets.get(metric) if split == "test" else None
            best = known.published.get(metric) if split == "test" else None
            rows.record(**shared, metric=metric, value=value, spread=spread, target=aims, published=best)
            print(f" {metric} {value:.4f}" + (f" ± {spread:.4f}" if spread is not None else ""), end="")
        print(f" ({shared['minutes']} min)", flush=True)


def _metrics(scores: dict[str, Any]) -> dict[str, str]:
    """The scores that are recorded, and what the rows call them."""
    classes = {name: name.replace("iou.", "iou_") for name in scores if name.startswith("iou.")}
    return {name: metric for name, metric in METRICS.items() if name in scores} | classes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PROTOCOLS), help="protocols")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--method", default="default", help="a name for the changes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a change of the defaults")
    parser.add_argument("--steps", type=int, help="optimiser steps; by default the protocol's full budget")
    parser.add_argument("--flips", action="store_true", help="judge the average over four mirror images")
    parser.add_argument("--final", action="store_true", help="also open the test split")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PROTOCOLS):
        parser.error(f"no protocol is called {', '.join(sorted(unknown))}; there are {', '.join(PROTOCOLS)}")
    if not os.environ.get("SRPU_DATA"):
        parser.error("set SRPU_DATA to the folder of the real images")
    return options


if __name__ == "__main__":
    main()
