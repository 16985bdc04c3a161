"""One training: what was asked for, what it learns from and is judged on, where it writes and what computes it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from accelerate import Accelerator

from srpu.data.dataset import LabelledImage
from srpu.data.index import Record
from srpu.data.masks import ClassMap
from srpu.data.normalisation import Normalisation
from srpu.errors import IndexingError
from srpu.learn.device import Precision
from srpu.learn.predict import Tiling
from srpu.settings import TrainSettings
from srpu.tasks.runs import Run
from srpu.tasks.wiring import Opener, class_map, normalisation, refuse_leaks
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What is learned from and judged on.

    Attributes:
        records: Training, validation and test images, as the index knows them.
        training: The images that crops are drawn from.
        validation: The images that the best epoch is chosen on.
        classes: What the masks' ids mean.
        normalisation: How every image is normalised.
    """

    records: list[Record]
    training: list[LabelledImage]
    validation: list[LabelledImage]
    classes: ClassMap
    normalisation: Normalisation


def by_role(
    settings: TrainSettings, workspace: Workspace, records: Sequence[Record]
) -> tuple[list[Record], list[Record]]:
    """What is trained on, and what is judged on: the validation and test images.

    Raises:
        IndexingError: Nothing to train on, or files are gone.
        LeakError: A validation or test image is also a training image.
    """
    training = [record for record in records if record.split == "train"]
    judged = [record for record in records if record.split in ("val", "test")]
    if not training:
        raise IndexingError(
            f"{workspace.path(settings.MASTER_LABELED_JSON)} holds no training image: put masks into "
            f"{workspace.path(settings.LABELED_DIR)} and run `srpu index`."
        )
    gone = [record.image for record in records if record.split and not workspace.path(record.image).is_file()]
    if gone:
        raise IndexingError(f"{len(gone)} images are gone ({', '.join(gone[:5])}); run `srpu index` again.")
    refuse_leaks({record.sha256: "train" for record in training}, judged)
    return training, judged


def gather(
    settings: TrainSettings, workspace: Workspace, records: Sequence[Record], *, validated: bool = True
) -> Material:
    """The images of ``records`` by their splits; without validation images it warns, unless that is meant to be.

    Raises:
        IndexingError: Nothing to train on, or files are gone.
        LeakError: A validation or test image is also a training image.
    """
    training, judged = by_role(settings, workspace, records)
    opener = Opener(settings, workspace)
    images = [opener.labelled(record) for record in training]
    validation = [opener.labelled(record) for record in judged if record.split == "val"]
    if validated and not validation:
        log.warning("There is no validation image: the last epoch is kept, and nothing tells how good it is.")
    return Material(training + judged, images, validation, class_map(settings), normalisation(settings, images))


@dataclass(frozen=True)
class Job:
    """One training: what was asked for, what it learns from, where it writes and what computes it."""

    settings: TrainSettings
    workspace: Workspace
    material: Material
    run: Run
    accelerator: Accelerator
    precision: Precision

    @property
    def tiling(self) -> Tiling:
        """How validation images are cut."""
        return Tiling(self.settings.TILE_SIZE, self.settings.TILE_OVERLAP)
