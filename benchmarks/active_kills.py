"""Does kill -9 lose a label or a round of active learning: ``python benchmarks/active_kills.py``.

Rounds with real training run on small generated images in a process of their own, which is killed at random moments and
started again. A second workspace of the same images is never disturbed. After each kill every mask that was accepted
must be there, and every round that was finished as it was; at the end both workspaces must have asked for the same
images, hold the same masks and have the same scores, but for rounding: a second training in one process can differ from
one in a fresh process in the last digits.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from srpu.active.entries import Round
from srpu.active.store import Store
from srpu.config import load_settings
from srpu.data.images import read_image, write_image
from srpu.data.masks import write_mask
from srpu.manual import write_configs
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

CHANGES = (
    "ENCODER_NAME='unet'", "CROP_SIZE=32", "DEVICE='cpu'", "PRECISION='fp32'", "BATCH_SIZE_TO_LABEL=2",
    "INITIAL_LABELED_SIZE=4", "EXPLORATION=0.0",
    "TRAINING_CONFIG.num_epochs_per_round=2", "TRAINING_CONFIG.steps_per_epoch=2", "TRAINING_CONFIG.batch_size=2",
    "NEAR_DUPLICATE_CORRELATION=0.99",
)  # fmt: skip
"""A network and rounds that take seconds."""

ROUNDING = 0.005
"""Dice by which two trainings on the same images may differ."""

LONGEST = 6.0
"""Seconds within which a process is killed: about two rounds."""


HEAVY = [
    "srpu.tasks.active_learning_task", "srpu.tasks.round_report", "srpu.active.select", "torch._dynamo",
    "sklearn.cluster", "matplotlib.figure", "matplotlib.backends.backend_agg",
]  # fmt: skip
"""What a process would otherwise import anew each time."""


def main() -> None:
    """Kill, look, and tell."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        kills, workspaces, problems = 0, 0, list[str]()
        calm = _workspace(Path(folder) / "calm")
        _child(calm, options.rounds).join()
        while kills < options.kills and not problems:
            workspaces += 1
            disturbed = _workspace(Path(folder) / f"disturbed_{workspaces}")
            done, found = disturb(
                disturbed, options.rounds, options.kills - kills, np.random.default_rng((options.seed, workspaces))
            )
            kills += done
            problems = found or compare(disturbed, calm)
    print(f"{kills} kills in {workspaces} workspaces: {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    if options.record:
        import rows

        rows.record(
            benchmark="active_kills", protocol="real training", method="kill -9", metric="problems",
            value=len(problems), seeds=kills, target=0,
        )  # fmt: skip
    sys.exit(1 if problems else 0)


def disturb(workspace: Workspace, rounds: int, kills: int, random: np.random.Generator) -> tuple[int, list[str]]:
    """Kill until the rounds are over, at most so often; gives how often, and what was lost."""
    done, told, finished = 0, dict[str, str](), dict[int, Any]()
    while True:
        child = _child(workspace, rounds)
        if done < kills:
            child.join(random.uniform(0, LONGEST))
            if child.is_alive():
                child.kill()
                done += 1
        child.join()
        if child.exitcode not in (0, -9):
            return done, [f"the process ended with {child.exitcode}"]
        if (workspace.root / "active_learning/store.db").exists():
            with Store.open(workspace.root / "active_learning") as store:
                current = {image: label.mask for image, label in store.current().items()}
                closed = {one.number: one.facts for one in store.rounds() if one.phase == "closed"}
                for label in store.current().values():
                    store.ids(label)
            lost = [f"the label of {image} is lost" for image, mask in told.items() if current.get(image) != mask]
            lost += [f"round {number} has changed" for number, facts in finished.items() if closed.get(number) != facts]
            if lost:
                return done, lost
            told, finished = current, closed
        if child.exitcode == 0:
            return done, []


def compare(one: Workspace, other: Workspace) -> list[str]:
    """What differs between two finished workspaces."""
    mine, theirs = _summary(one), _summary(other)
    found = [f"{key}: {mine[key]} instead of {theirs[key]}" for key in mine if mine[key] != theirs[key]]
    scores = [[one.facts["mean_dice"] for one in _rounds(workspace)] for workspace in (one, other)]
    if len(scores[0]) != len(scores[1]) or np.abs(np.subtract(*scores)).max() > ROUNDING:
        found.append(f"scores: {scores[0]} instead of {scores[1]}")
    return found


def _rounds(workspace: Workspace) -> list[Round]:
    with Store.open(workspace.root / "active_learning", read_only=True) as store:
        return store.rounds()


def _summary(workspace: Workspace) -> dict[str, Any]:
    with Store.open(workspace.root / "active_learning", read_only=True) as store:
        return {
            "asked": [(one.round, one.query.id, one.state) for one in store.asked()],
            "labels": {image: label.mask for image, label in store.current().items()},
            "promoted": [one.round for one in store.promotions()],
        }


def _child(workspace: Workspace, rounds: int) -> Any:
    """A process that goes through all rounds; it forks from a server that has imported everything."""
    context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
    if sys.platform != "win32":
        context.set_forkserver_preload(HEAVY)
    child = context.Process(target=_go, args=(str(workspace.root), rounds))
    child.start()
    return child


def _go(root: str, rounds: int) -> None:
    """Rounds without waiting, whose masks are answered at once and rightly."""
    from srpu.tasks import active_learning_task as task
    from srpu.tasks.active_intake import Answers

    workspace = Workspace(Path(root))
    settings = load_settings("active", workspace, [*CHANGES, f"MAX_ACTIVE_LEARNING_ROUNDS={rounds}"]).settings
    answers = Answers(confirm_unchanged=True)
    while task.run(settings, workspace, wait=False, answers=answers) != "stopped":
        _answer(workspace)
        time.sleep(0.05)


def _answer(workspace: Workspace) -> None:
    classes = class_map(load_settings("index", workspace).settings)
    with Store.open(workspace.root / "active_learning", read_only=True) as store:
        for asked in store.asked(state="open"):
            levels = read_image(workspace.root / "data/raw" / asked.query.id)
            target = workspace.root / "active_learning/corrected" / f"{asked.query.name}_mask.tif"
            if not target.exists():
                write_mask(target, truth(levels), classes)


def truth(levels: np.ndarray) -> np.ndarray:
    """The classes of an image of :func:`picture`."""
    return (levels // 80).astype(np.uint8)


def picture(seed: int) -> np.ndarray:
    """Blocks of three classes, which differ in brightness."""
    random = np.random.default_rng(seed)
    ids = np.kron(random.integers(0, 3, (6, 6)), np.ones((8, 8), int))
    return (ids * 80 + random.integers(0, 60, ids.shape)).astype(np.uint8)


def _workspace(root: Path) -> Workspace:
    workspace = Workspace(root)
    write_configs(workspace.configs)
    classes = class_map(load_settings("index", workspace).settings)
    for number in range(20):
        levels = picture(number)
        write_image(root / f"data/raw/image_{number:02d}.tif", levels)
        if number < 8:
            write_mask(root / f"data/labeled/image_{number:02d}.png", truth(levels), classes)
    return workspace


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how many")
    parser.add_argument("--rounds", type=int, default=3, help="of each workspace")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--record", action="store_true", help="write a row of results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
