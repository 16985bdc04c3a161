"""How much a model loses when brightness and contrast change: ``python benchmarks/brightness.py``.

The model of ``accuracy.py`` on super1 (trained if it has not been) is judged on its validation images under gamma, gain
and offset, each applied to 8-bit levels and clipped to 8 bits again, as a microscope would. ``SRPU_DATA`` names the
folder of images.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rows
from accuracy import PROTOCOLS, RUNS, Run, known

from srpu.config import load_settings
from srpu.data.images import read_image, write_image
from srpu.files import make_folder, read_json, write_json
from srpu.manual import write_configs
from srpu.tasks import evaluate_task, index_task
from srpu.terminal import speaking
from srpu.workspace import Workspace

TARGET = 0.010
"""Macro mIoU that may be lost."""

Levels = np.ndarray

CHANGES: dict[str, Callable[[Levels], Levels]] = {
    "gamma 0.6": lambda x: x**0.6,
    "gamma 1.6": lambda x: x**1.6,
    "gain 0.7": lambda x: x * 0.7,
    "gain 1.3": lambda x: x * 1.3,
    "offset -0.25": lambda x: x - 0.25,
    "offset +0.25": lambda x: x + 0.25,
}
"""From grey levels in [0, 1] to what is clipped to [0, 1]."""


def main() -> None:
    """Judge the model on every change, and record what it loses."""
    options = _options()
    run = Run("super1", options.method, options.steps, 0, Path(os.environ["SRPU_DATA"]).resolve(), tuple(options.set))
    with speaking():
        run.do(test=False)
        plain = read_json(run.folder / "scores_val.json")["mean_iou"]
        lost = {name: plain - _score(run, name, change) for name, change in CHANGES.items()}
    for name, value in {**lost, "worst": max(lost.values())}.items():
        print(f"{name}: {100 * value:+.2f} points lost (of {100 * plain:.2f})")
        rows.record(
            benchmark="brightness",
            protocol="super1",
            method=f"{options.method}_{options.steps}",
            metric=f"macro_miou_lost_{name.replace(' ', '_')}",
            value=round(value, 4),
            split="val",
            budget_steps=options.steps,
            target=TARGET,
        )


def _score(run: Run, name: str, change: Callable[[Levels], Levels]) -> float:
    """Macro mIoU on the changed validation images, in a workspace of their own."""
    workspace = Workspace((RUNS.parent / "brightness" / f"{run.method}_{run.steps}" / name.replace(" ", "_")).resolve())
    write_configs(workspace.configs, overwrite=True)
    folder = run.data / PROTOCOLS[run.protocol].folder
    names = read_json(folder / "splits.json")[run.protocol]["val"]
    for stem in names:
        image = read_image(folder / "images" / f"{stem}.png")
        levels = np.clip(change(image / 255.0), 0, 1) * 255
        write_image(workspace.path(f"data/raw/{stem}.png"), np.round(levels).astype(np.uint8))
        masks = make_folder(workspace.path("data/labeled"))
        shutil.copyfile(folder / "masks" / f"{stem}.png", masks / f"{stem}.png")
    write_json(workspace.path("splits.json"), {"train": [], "val": names, "test": []})
    model = next(run.folder.glob("models/checkpoints/*/best_model.pth"))
    places = ['RAW_DIRS=["data/raw"]', "LABELED_DIR=data/labeled", "SPLIT_FILE=splits.json"]
    changes = [*places, f"CHECKPOINT_PATH={model}"]

    def settings(task: str) -> object:
        overrides = known(task, workspace, [*run.overrides(), *run.changes, *changes])
        return load_settings(task, workspace, list(overrides)).settings

    index_task.run(settings("index"), workspace)  # type: ignore[arg-type]
    evaluated = evaluate_task.run(settings("evaluate"), workspace)  # type: ignore[arg-type]
    return float(read_json(evaluated.folder / "scores.json")["all"]["scores"]["mean_iou"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="default", help="a method of accuracy.py")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="what that method changes")
    parser.add_argument("--steps", type=int, default=PROTOCOLS["super1"].steps, help="its optimiser steps")
    options = parser.parse_args()
    if not os.environ.get("SRPU_DATA"):
        parser.error("set SRPU_DATA to the folder of the real images")
    return options


if __name__ == "__main__":
    main()
