"""What simulated rounds have in common: images whose masks are known but hidden, and images that judge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from accelerate import Accelerator
from torch import nn

from srpu.active.query import Query
from srpu.active.replay import grid
from srpu.active.uncertainty import STRATEGIES, Strategy
from srpu.active.windows import MOST
from srpu.data.dataset import LabelledImage
from srpu.data.normalisation import Normalisation
from srpu.errors import IndexingError
from srpu.learn.device import Precision, choose_device, choose_precision
from srpu.learn.predict import Tiling
from srpu.settings import ActiveLearningSettings
from srpu.tasks.pool_scores import chosen_ways
from srpu.tasks.validation import Validation
from srpu.tasks.wiring import Opener, class_map, load_records, normalisation, refuse_leaks
from srpu.workspace import Workspace


@dataclass(frozen=True)
class Plan:
    """How rounds are played.

    Attributes:
        rounds: Rounds after the first model.
        batch: How many images, or windows, each asks for.
        first: How many are labelled before, drawn by chance.
        steps: Optimiser steps for the first model and for each round.
        full: Steps of the model that has all labels, in units of the steps of a whole run.
        split: What judges.
        shortlist: The mix chooses among so many windows of each image, the most uncertain ones, as real rounds do.
    """

    rounds: int = 5
    batch: int = 3
    first: int = 2
    steps: int = 200
    full: float = 2.0
    split: Literal["val", "test"] = "val"
    shortlist: int = MOST


@dataclass(frozen=True)
class Step:
    """A model and what it was trained on.

    Attributes:
        share: Labelled pixels as a share of the pool's, 0 to 1.
        pixels: Labelled pixels.
        scores: "iou", "dice", and both per class, on the images that judge; NaN where a class does not occur.
        asked: What was labelled for it, by name.
    """

    share: float
    pixels: int
    scores: dict[str, float]
    asked: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        """Plain values."""
        scores = {name: None if math.isnan(score) else score for name, score in self.scores.items()}
        return asdict(self) | {"scores": scores, "asked": list(self.asked)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Step:
        """What :meth:`state` gave."""
        scores = {name: math.nan if score is None else score for name, score in state["scores"].items()}
        return cls(state["share"], state["pixels"], scores, tuple(state["asked"]))


@dataclass(frozen=True)
class Ground:
    """What all runs share.

    Attributes:
        settings: As checked.
        workspace: Whose files they name.
        pool: Images by hash, with their true masks.
        groups: The specimen of each.
        validation: Scores a model on the images that judge.
        normalisation: How images are normalised.
        ways: The uncertainty strategies that are switched on.
        accelerator: Trains.
        precision: Number format.
    """

    settings: ActiveLearningSettings
    workspace: Workspace
    pool: Mapping[str, LabelledImage]
    groups: Mapping[str, str]
    validation: Validation
    normalisation: Normalisation
    ways: Mapping[str, Strategy]
    accelerator: Accelerator
    precision: Precision

    @property
    def tiling(self) -> Tiling:
        """How images are cut."""
        return _tiling(self.settings)

    @cached_property
    def queries(self) -> list[Query]:
        """All that can be asked for: whole images, or windows that cover them once."""
        every = []
        for sha256, image in self.pool.items():
            if self.settings.QUERY == "region":
                windows = grid(image.height, image.width, self.settings.REGION_SIZE)
                every += [Query(sha256, image.name, window) for window in windows]
            else:
                every.append(Query(sha256, image.name))
        return every

    def judge(self, model: nn.Module) -> dict[str, float]:
        """Mean IoU and Dice of ``model``, and both of each class."""
        found = self.validation(model)
        names = self.validation.classes.names
        wanted = ["iou", "dice", *(f"{score}/{name}" for score in ("iou", "dice") for name in names)]
        return {name: found[f"val/{name}"] for name in wanted}


def lay_out(settings: ActiveLearningSettings, workspace: Workspace, split: str) -> Ground:
    """The training images of the index as the pool, and those of ``split`` as judges.

    Raises:
        IndexingError: There is no index, or it lacks images of either kind.
        LeakError: An image that judges is in the pool as well.
        SettingsError: A strategy does not exist, or the device does not.
    """
    records = load_records(settings, workspace)
    pool = [record for record in records if record.split == "train"]
    judges = [record for record in records if record.split == split]
    if not pool or not judges:
        raise IndexingError(
            f"The index holds {len(pool)} labelled training images and {len(judges)} labelled {split} images; a replay "
            f"needs both, so put masks into {workspace.path(settings.LABELED_DIR)} and run `srpu index`."
        )
    refuse_leaks({record.sha256: "train" for record in pool}, judges)
    opener = Opener(settings, workspace)
    images = {record.sha256: opener.labelled(record) for record in pool}
    device = choose_device(settings.DEVICE)
    precision = choose_precision(settings.PRECISION, device)
    way = normalisation(settings, list(images.values()))
    judged = [opener.labelled(record) for record in judges]
    return Ground(
        settings,
        workspace,
        images,
        {record.sha256: record.group for record in pool},
        Validation(judged, class_map(settings), way, _tiling(settings), device, precision),
        way,
        {**STRATEGIES, **chosen_ways(settings, workspace)},
        Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no"),
        precision,
    )


def _tiling(settings: ActiveLearningSettings) -> Tiling:
    return Tiling(settings.TILE_SIZE, settings.TILE_OVERLAP, settings.SCORING_BATCH_SIZE)
