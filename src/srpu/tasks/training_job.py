"""One training: what was asked for, what it learns from and is judged on, where it writes and what computes it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from accelerate import Accelerator

from srpu.data.augment import Augmenter
from srpu.data.dataset import CropSampler, LabelledImage
from srpu.data.endless import EndlessImages, EndlessSampler
from srpu.data.index import Record
from srpu.data.masks import ClassMap
from srpu.data.normalisation import Normalisation
from srpu.errors import IndexingError, SettingsError
from srpu.learn.device import Precision
from srpu.learn.predict import Tiling
from srpu.settings import TrainSettings
from srpu.tasks.replay import balance
from srpu.tasks.runs import Run
from srpu.tasks.wiring import Opener, class_map, endless_images, generated, normalisation, refuse_leaks
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What is learned from and judged on.

    Attributes:
        records: Training, validation and test images, as the index knows them.
        training: The images that crops are drawn from; of endless ones, the first.
        validation: The images that the best epoch is chosen on.
        classes: What the masks' ids mean.
        normalisation: How every image is normalised.
        endless: Where training images are generated: all of them.
    """

    records: list[Record]
    training: list[LabelledImage]
    validation: list[LabelledImage]
    classes: ClassMap
    normalisation: Normalisation
    endless: EndlessImages | None = None


def by_role(
    settings: TrainSettings, workspace: Workspace, records: Sequence[Record]
) -> tuple[list[Record], list[Record]]:
    """What is trained on, and what is judged on: the validation and test images.

    Raises:
        IndexingError: Nothing to train on, or files are gone.
        LeakError: A validation or test image is also a training image.
        SettingsError: Images are to be generated, and that cannot be.
    """
    training = [record for record in records if record.split == "train"]
    judged = [record for record in records if record.split in ("val", "test")]
    if generated(settings):
        endless_images(settings)
        if training:
            raise SettingsError(
                "Generated images are not mixed with others: set REPLAY_FRACTION = 0 and FOLDS = 0, and name no "
                "train_json."
            )
    elif not training:
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
    endless = endless_images(settings) if generated(settings) else None
    if endless is not None:
        images = endless.pool()
        log.info("Training images are generated without end, %d at a time.", len(images))
    if endless is not None and not validation:
        validation = endless.held_out()
        log.info("There is no labelled validation image: %d generated ones are judged on.", len(validation))
    elif validated and not validation:
        log.warning("There is no validation image: the last epoch is kept, and nothing tells how good it is.")
    return Material(
        training + judged, images, validation, class_map(settings), normalisation(settings, images), endless
    )


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

    def sampler(self, vary: Augmenter) -> CropSampler:
        """Draws the crops that are trained on, with what ``vary`` needs around them."""
        material, seed = self.material, self.settings.SEED
        sizes = {"crop": vary.crop, "window": vary.source_size}
        if material.endless is not None:
            return EndlessSampler(material.endless, **sizes, normalisation=material.normalisation, seed=seed)
        return CropSampler(
            material.training,
            **sizes,
            normalisation=material.normalisation,
            weights=balance(self.settings, material.training),
            seed=seed,
        )
