"""What each stage of a training in stages learns from and starts with; all of it is checked before the first epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from srpu.config import Stage
from srpu.data.index import Record, read_manifest
from srpu.errors import IndexingError, SrpuError
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.settings import FinetuneStagesSettings, TrainSettings, TrainStagesSettings
from srpu.tasks.replay import every_record, old_images, with_replay
from srpu.tasks.start import RANDOM, Source, known_images, load, present, sources
from srpu.tasks.training_job import by_role
from srpu.tasks.wiring import SYNTHETIC, class_map, generated, load_records, refuse_leaks
from srpu.workspace import Workspace

StagesSettings = TrainStagesSettings | FinetuneStagesSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """A stage that can be trained.

    Attributes:
        stage: Its settings.
        validation: Its validation images.
        named: Files that its weights may come from, the strongest first; the first is there, or will be by then.
    """

    stage: Stage
    validation: list[Record]
    named: list[Source]

    @property
    def judged_on(self) -> list[str]:
        """The data sets that its best epoch is chosen on; ["synthetic"]: on generated images."""
        none = [SYNTHETIC] if generated(self.stage.settings) else []
        return sorted({record.dataset for record in self.validation}) or none


def check(
    stages: Sequence[Stage], settings: StagesSettings, workspace: Workspace, begun: Collection[str] = ()
) -> list[Checked]:
    """Everything that can be known to go wrong is told now, all of it at once.

    Args:
        stages: In their order.
        settings: Which files they leave behind.
        workspace: Whose index is read.
        begun: Stages that have their weights already.

    Raises:
        IndexingError: A stage names data sets that are not there, or has no training images.
        CheckpointError: Weights that are there do not fit.
        LeakError: A validation or test image is one that the stage, or one before it, trains on.
        ModelError: The network does not exist.
        SettingsError: There is nothing to replay, or generated images cannot be had so.
    """
    first = stages[0].settings
    model = build_segmenter(first.ENCODER_NAME, first.DECODER_NAME, first.NUM_CLASSES, shrink=first.SHRINK)
    checked: list[Checked] = []
    known: dict[str, str] = {}
    made: set[Path] = set()
    found: list[SrpuError] = []
    for number, stage in enumerate(stages):
        with _told(stage.name, found):
            records = stage_records(stage, workspace)
            training, judged = by_role(stage.settings, workspace, records)
            validation = [record for record in judged if record.split == "val"]
            if not validation and not generated(stage.settings):
                log.warning("Stage %s has no validation image: its last epoch is kept.", stage.name)
            named: list[Source] = []
            seen = known
            if stage.name not in begun:
                before = f"the best model of stage {stages[number - 1].name}" if number else RANDOM
                named = _that_are_there(named_sources(stage, number == 0, workspace), stage, model, made, before)
                if named and named[0].path not in made:
                    seen = known_images(named[0])
                    refuse_leaks(seen, judged, named[0].named_by)
                    known |= {sha256: split for sha256, split in seen.items() if split == "train"}
                if stage.settings.REPLAY_FRACTION:
                    _refuse_no_replay(stage.settings, workspace, records, seen)
            refuse_leaks(known, judged, "an earlier stage")
            known |= {record.sha256: "train" for record in training}
            checked.append(Checked(stage, validation, named))
        made |= set(copies(stage.name, settings, workspace).values())
    if len(found) == 1:
        raise found[0]
    if found:
        raise type(found[0])("\n  ".join([f"{len(found)} stages cannot be trained:", *map(str, found)]))
    return checked


def copies(name: str, settings: StagesSettings, workspace: Workspace) -> dict[str, Path]:
    """The files in MODEL_SAVE_DIR that a stage leaves behind, by the name of what they are copies of."""
    wanted = {
        "best_model": settings.SAVE_BEST_MODEL,
        "last_model": settings.SAVE_LAST_MODEL,
        "checkpoint": settings.SAVE_CHECKPOINT,
    }
    folder = workspace.path(settings.MODEL_SAVE_DIR)
    return {what: folder / f"{name}_{what}.pth" for what, wish in wanted.items() if wish}


def stage_records(stage: Stage, workspace: Workspace) -> list[Record]:
    """What the stage learns from and is judged on.

    Raises:
        IndexingError: An index file or a data set is not there.
    """
    return roles(stage, workspace)(load_records(stage.settings, workspace))


def roles(stage: Stage, workspace: Workspace) -> Callable[[list[Record]], list[Record]]:
    """Puts the images of ``train_json`` and ``val_json`` in the place of the index's."""
    files = {"train": stage.own.train_json, "val": stage.own.val_json}
    others = {split: _of_split(workspace.path(file), split) for split, file in files.items() if file}

    def assign(records: list[Record]) -> list[Record]:
        kept = [record for record in records if record.split not in others]
        return [*kept, *(record for those in others.values() for record in those)]

    return assign


def named_sources(stage: Stage, first: bool, workspace: Workspace) -> list[Source]:
    """The files that someone names for a stage's weights, the strongest first.

    Of the first stage: its own model, PRETRAINED_MODEL_PATH, its own encoder, PRETRAINED_ENCODER_PATH, then random
    weights. Of later ones: its own model, its own encoder, then the best model of the stage before.
    """
    own, found = stage.own, []
    if own.pretrained_model_path:
        path = workspace.path(own.pretrained_model_path)
        found.append(Source(f"pretrained_model_path of stage {stage.name}", path, "model"))
    if own.pretrained_encoder_path:
        path = workspace.path(own.pretrained_encoder_path)
        found.append(Source(f"pretrained_encoder_path of stage {stage.name}", path, "encoder"))
    if first:
        found += sources(stage.settings, workspace)
    return sorted(found, key=lambda source: source.part == "encoder")


def _that_are_there(
    named: list[Source], stage: Stage, model: Segmenter, made: Collection[Path], otherwise: str
) -> list[Source]:
    """From the first source on that is there, or that an earlier stage makes; weights that are there fit ``model``."""
    chosen = present(named, stage.settings.ON_MISSING_WEIGHTS, made=made, otherwise=otherwise)
    if chosen is None:
        return []
    if chosen.path not in made:
        load(model, chosen, class_map(stage.settings).names)
    return named[named.index(chosen) :]


def _refuse_no_replay(
    settings: TrainSettings, workspace: Workspace, records: list[Record], trained_on: Mapping[str, str]
) -> None:
    every = every_record(settings, workspace)
    with_replay(records, old_images(trained_on, every, records), every, settings.REPLAY_FRACTION)


def _of_split(path: Path, split: str) -> list[Record]:
    records = [record for record in read_manifest(path) if record.split == split]
    if not records:
        raise IndexingError(f'{path} holds no image whose "split" is "{split}"; name another index file.')
    return records


@contextmanager
def _told(name: str, found: list[SrpuError]) -> Iterator[None]:
    """Collect what is wrong with a stage, under its name."""
    try:
        yield
    except SrpuError as error:
        found.append(type(error)(f"Stage {name}: {error}"))
