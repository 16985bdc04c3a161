"""Old images among the new ones, so that a model that is adapted to the latter does not forget the former."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from srpu.data.dataset import LabelledImage
from srpu.data.index import Record
from srpu.errors import SettingsError
from srpu.settings import TrainSettings
from srpu.tasks.wiring import load_records
from srpu.workspace import Workspace

REPLAYED = "replayed"
"""The data set that all old training images belong to, so that they are balanced against the new ones as a whole."""


def every_record(settings: TrainSettings, workspace: Workspace) -> list[Record]:
    """All labelled images of the index, whatever DATASETS says."""
    return load_records(settings.model_copy(update={"DATASETS": None, "DATASET_WEIGHTS": {}}), workspace)


def old_images(trained_on: Mapping[str, str], records: Iterable[Record], without: Iterable[Record] = ()) -> list[str]:
    """The pixel hashes of the training images among ``records`` that the model to start from was trained on.

    Those ``without`` are left out.
    """
    new = {record.sha256 for record in without}
    training = [record.sha256 for record in records if record.split == "train" and record.sha256 not in new]
    return [sha256 for sha256 in training if trained_on.get(sha256) == "train"]


def with_replay(records: list[Record], old: Collection[str], every: Iterable[Record], fraction: float) -> list[Record]:
    """``records`` with all ``old`` images among them, which then belong to :data:`REPLAYED`.

    Raises:
        SettingsError: There are no old images, or nothing else.
    """
    if not old:
        raise SettingsError(
            f"REPLAY_FRACTION = {fraction:g} needs images that the model to start from was trained on, and the index "
            "holds none; put them into datasets/NAME and run `srpu index`, or set it to 0."
        )
    old, known = set(old), {record.sha256 for record in records}
    joined = [*records, *(record for record in every if record.sha256 in old and record.sha256 not in known)]
    joined = [replace(record, dataset=REPLAYED) if record.sha256 in old else record for record in joined]
    if all(record.dataset == REPLAYED for record in joined if record.split == "train"):
        raise SettingsError(
            f"REPLAY_FRACTION = {fraction:g}: the model to start from was trained on all of these images already, so "
            "there is nothing new to mix them into; set it to 0, or DATASETS to the new ones."
        )
    return joined


def balance(settings: TrainSettings, images: Iterable[LabelledImage]) -> dict[str, float]:
    """How often each data set appears: as DATASET_WEIGHTS says, with REPLAY_FRACTION of all for the old images."""
    names = {image.dataset for image in images}
    weights = {name: settings.DATASET_WEIGHTS.get(name, 1.0) for name in names}
    if REPLAYED in names:
        new = sum(weight for name, weight in weights.items() if name != REPLAYED)
        weights[REPLAYED] = new * settings.REPLAY_FRACTION / (1 - settings.REPLAY_FRACTION)
    return weights
