"""What a model reaches on the frozen validation images; remembered, so that none is judged twice on the same truth."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srpu.data.index import Record
from srpu.errors import CheckpointError, WorkspaceError
from srpu.files import read_json, write_json
from srpu.settings import EvaluationSettings, Settings
from srpu.tasks.comparison import Difference, paired_scores
from srpu.tasks.contender import open_model
from srpu.tasks.gate import Decision, Paired, decide, mean_gain
from srpu.tasks.judging import judge_images, scale_of
from srpu.tasks.runs import data_hash
from srpu.tasks.scores import ImageScore, Scores, json_number, summarise
from srpu.tasks.wiring import Opener, class_map, refuse_leaks
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class JudgedImage:
    """What a model reached on one image.

    Attributes:
        id: What the index calls it.
        sha256: Of its pixels.
        group: Its data set and specimen.
        scores: All scores by name, see :mod:`srpu.tasks.scores`; NaN where one is not defined.
        paired: Those by which models are compared: of the classes that the truth holds.
        panel: The file that shows it, as the workspace calls it.
    """

    id: str
    sha256: str
    group: str
    scores: Scores
    paired: Scores
    panel: str


@dataclass(frozen=True)
class Judged:
    """What a model reached on all of them.

    Attributes:
        model: sha256 of its file.
        truth: Hash of the images, their masks and how they are judged; scores of two truths are not compared.
        classes: Names of the classes.
        images: Each image; empty without validation.
        scores: Of all pixels together.
        over_groups: For each score the mean over groups and both ends of its 95 % interval.
        held: Labelled pixels of each class, in the order of ``classes``.
    """

    model: str
    truth: str
    classes: tuple[str, ...]
    images: tuple[JudgedImage, ...] = ()
    scores: Scores | None = None
    over_groups: Mapping[str, tuple[float, float, float]] | None = None
    held: tuple[int, ...] = ()

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes, of all pixels together; NaN without validation."""
        return self.scores["mean_dice"] if self.scores else math.nan

    @property
    def groups(self) -> int:
        """How many specimens."""
        return len({image.group for image in self.images})

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Classes that no image holds."""
        return tuple(of for of, pixels in zip(self.classes, self.held, strict=True) if not pixels)

    def spread(self, name: str = "mean_dice") -> tuple[float, float, float]:
        """Mean of a score over groups and both ends of its 95 % interval; NaN where it is not defined."""
        return (self.over_groups or {}).get(name, (math.nan, math.nan, math.nan))

    def by_image(self) -> dict[str, Paired]:
        """What models are compared by."""
        return {image.sha256: Paired(image.group, image.paired) for image in self.images}

    def json(self) -> dict[str, Any]:
        """Plain values; what is not defined is None."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "truth": self.truth,
            "classes": list(self.classes),
            "held": list(self.held),
            "scores": None if self.scores is None else _plain(self.scores),
            "over_groups": {
                name: [json_number(end) for end in ends] for name, ends in (self.over_groups or {}).items()
            },
            "images": [
                {**vars(image), "scores": _plain(image.scores), "paired": _plain(image.paired)} for image in self.images
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Judged:
        """What :meth:`json` gave.

        Raises:
            KeyError: It is something else; or TypeError, ValueError.
        """
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {content['schema_version']}")
        return cls(
            model=content["model"],
            truth=content["truth"],
            classes=tuple(content["classes"]),
            images=tuple(
                JudgedImage(**{**image, "scores": _scores(image["scores"]), "paired": _scores(image["paired"])})
                for image in content["images"]
            ),
            scores=None if content["scores"] is None else _scores(content["scores"]),
            over_groups={
                name: (_score(mean), _score(low), _score(high))
                for name, (mean, low, high) in content["over_groups"].items()
            },
            held=tuple(content["held"]),
        )


def judge(
    model: Path, records: Sequence[Record], settings: Settings, workspace: Workspace, *, memory: Path, panels: Path
) -> Judged:
    """What the model reaches on the validation images among ``records``; read from ``memory`` if it is known.

    Args:
        model: A checkpoint.
        records: Of the labelled images; only those whose split is "val" count.
        settings: Of the verb; how images are judged is that of `srpu evaluate` unless they say otherwise.
        workspace: Where the images are.
        memory: A folder of what was judged before.
        panels: A folder whose folder ``panels`` gets a picture of each image.

    Raises:
        CheckpointError: The model is missing, or tells other classes apart.
        LeakError: It was trained on one of the images.
        IndexingError: A validation image or its mask is gone or has changed since it was indexed.
    """
    validation = [record for record in records if record.split == "val"]
    chosen = evaluation_settings(settings)
    names = tuple(class_map(chosen).names)
    known_as, truth = model_hash(model), truth_hash(validation, chosen, workspace)
    if not validation:
        return Judged(known_as, truth, names, held=(0,) * len(names))
    path = memory / f"{known_as[:20]}_{truth[:20]}.json"
    with suppress(FileNotFoundError, WorkspaceError, KeyError, TypeError, ValueError):  # a damaged one is made anew
        remembered = Judged.from_json(read_json(path))
        if (remembered.model, remembered.truth) == (known_as, truth):
            return remembered
    contender = open_model(model, chosen, workspace)
    refuse_leaks(contender.trained_on, validation, workspace.name(model))
    images, _ = judge_images(contender, validation, Opener(chosen, workspace), chosen, panels)
    summary = summarise(images, scale_of(chosen))
    judged = Judged(
        known_as,
        truth,
        names,
        tuple(_judged_image(image, chosen, workspace) for image in images),
        summary.scores,
        summary.over_groups,
        tuple(int(pixels) for pixels in summary.tally.matrix.sum(axis=1)),
    )
    write_json(path, judged.json())
    return Judged.from_json(judged.json())  # as it will be read next time, to the last digit


def compare_judged(new: Judged, best: Judged | None, *, max_class_loss: float = 0.01, forced: bool = False) -> Decision:
    """Whether the new model takes the place of the best one so far, see :func:`srpu.tasks.gate.decide`.

    Raises:
        ValueError: They were judged on other truths.
    """
    if best is not None and best.truth != new.truth:
        raise ValueError("the best model was judged on another truth than the new one; judge it again on this one")
    others = None if best is None else best.by_image()
    return decide(new.by_image(), others, new.classes, max_class_loss=max_class_loss, forced=forced)


def gain(new: Judged, old: Judged) -> Difference:
    """How much mean Dice differs on the images that both were judged on, with its interval over groups."""
    return mean_gain(new.by_image(), old.by_image())


def evaluation_settings(settings: Settings) -> EvaluationSettings:
    """How `srpu evaluate` judges validation images, where the verb's settings do not say otherwise."""
    shared = {name: getattr(settings, name) for name in Settings.model_fields}
    own = {
        name: getattr(settings, name) for name in ("BOUNDARY_TOLERANCE", "FLIP_AVERAGING") if hasattr(settings, name)
    }
    own["BATCH_SIZE"] = getattr(settings, "SCORING_BATCH_SIZE", 1)
    return EvaluationSettings(**shared, **own, EVALUATION_SPLIT="val")


def model_hash(path: Path) -> str:
    """sha256 of a model's file.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"The model {path} cannot be read ({error.strerror}); restore it from a copy, or train anew."
        ) from error


def truth_hash(records: Sequence[Record], settings: EvaluationSettings, workspace: Workspace) -> str:
    """One hash for images, their masks and groups, and all that changes what a model reaches on them.

    Raises:
        IndexingError: A mask is gone.
    """
    ways = settings.model_dump(
        mode="json",
        include={
            "NUM_CLASSES",
            "CLASS_NAMES",
            "COLOR_MAPPING",
            "MASK_VALUES",
            "IGNORE_INDEX",
            "IGNORE_COLOR",
            "DATABAR_ROWS",
            "TILE_SIZE",
            "TILE_OVERLAP",
            "FLIP_AVERAGING",
            "BOUNDARY_TOLERANCE",
            "PRECISION",
        },
    )
    groups = sorted(f"{record.sha256} {record.dataset}/{record.group} {record.mask_read_by}" for record in records)
    facts = (data_hash(records, workspace), groups, sorted(ways.items()))
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _judged_image(image: ImageScore, settings: EvaluationSettings, workspace: Workspace) -> JudgedImage:
    paired = paired_scores(image.tally.matrix, class_map(settings))
    panel = workspace.name(image.panel)
    return JudgedImage(image.record.id, image.record.sha256, image.group, image.scores, paired, panel)


def _plain(scores: Scores) -> dict[str, float | None]:
    return {name: json_number(score) for name, score in scores.items()}


def _scores(plain: Mapping[str, float | None]) -> Scores:
    return {name: _score(value) for name, value in plain.items()}


def _score(value: float | None) -> float:
    return math.nan if value is None else float(value)
