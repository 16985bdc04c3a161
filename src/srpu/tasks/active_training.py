"""The training of a round: the same training as `srpu train`, on the labels that active learning keeps."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from srpu.active.store import Store
from srpu.active.uncertainty import ENSEMBLE
from srpu.data.index import Record, read_manifest
from srpu.files import read_json, write_json
from srpu.learn.checkpoint import load_checkpoint
from srpu.settings import ActiveLearningSettings, Settings, TrainSettings, weights
from srpu.tasks.active_material import Material, read_material
from srpu.tasks.active_places import Places, copy, set_aside
from srpu.tasks.runs import data_hash
from srpu.tasks.start import Source, sources
from srpu.tasks.train_task import train
from srpu.tasks.truth import model_hash

log = logging.getLogger(__name__)

VERB = "active"


def training_settings(
    settings: ActiveLearningSettings, manifest: str, seed: int, datasets: Collection[str]
) -> TrainSettings:
    """How `srpu train` would be asked for the same.

    Args:
        settings: As checked.
        manifest: The index of the round's training images.
        seed: Of the training.
        datasets: Those that are trained on, for a round may lack one that has a weight.
    """
    shared = {name: getattr(settings, name) for name in Settings.model_fields}
    shared["DATASETS"] = None  # the manifest holds those alone
    told = settings.DATASET_WEIGHTS
    shared["DATASET_WEIGHTS"] = {name: weight for name, weight in told.items() if name in datasets}
    config = settings.TRAINING_CONFIG.model_dump(exclude={"warm_start", "num_epochs_per_round"})
    own = {name.upper(): value for name, value in config.items()}
    own |= {name: getattr(settings, name) for name in TrainSettings.model_fields if name in _SOURCES}
    own["NUM_EPOCHS"] = settings.TRAINING_CONFIG.num_epochs_per_round
    return TrainSettings(**{**shared, **own, "MASTER_LABELED_JSON": manifest, "SEED": seed})


_SOURCES = ("USE_PRETRAINED_MODEL", "PRETRAINED_MODEL_PATH", "PRETRAINED_ENCODER_PATH")


def train_round(places: Places, store: Store, number: int) -> dict[str, Any]:
    """Train the model of a round on what it began with, or finish that; gives what the round should know."""
    material = read_material(places)
    training = [_where_it_is(record, material) for record in read_manifest(places.manifests(number) / "train.json")]
    judged = material.judged
    records = [*training, *judged]
    folder = _train(places, store, records, number, 0)
    copy(folder / "last_model.pth", places.round_model(number, "final"))
    copy(folder / "best_model.pth", places.round_model(number, "best"))
    members = [_train(places, store, records, number, member) for member in range(1, ensemble_size(places.settings))]
    best = places.round_model(number, "best")
    run = read_json(folder / "run.json")
    validated = any(record.split == "val" for record in judged)
    return {
        "training_images": len(training),
        "validation_images": sum(record.split == "val" for record in judged),
        "path": places.workspace.name(best),
        "model": model_hash(best),
        "members": [places.workspace.name(member / "best_model.pth") for member in members],
        "epochs": run.get("epochs"),
        "minutes": run.get("minutes"),
        "training_loss": run.get("scores", {}).get("loss"),
        "validation_dice": load_checkpoint(best).val_dice if validated else None,
    }


def _where_it_is(record: Record, material: Material) -> Record:
    """A training image, which may have been moved since the round began."""
    now = material.images.get(record.sha256, record)
    return replace(record, image=now.image, page=now.page)


def ensemble_size(settings: ActiveLearningSettings) -> int:
    """How many models a round trains."""
    return settings.ENSEMBLE_SIZE or 1 if ENSEMBLE in weights(settings.UNCERTAINTY_STRATEGIES) else 1


def _train(places: Places, store: Store, records: Sequence[Record], number: int, member: int) -> Path:
    """One training, in a folder of its own; a finished one is not done again, an interrupted one goes on."""
    folder = places.models / "runs" / (f"round_{number}_member_{member}" if member else f"round_{number}")
    manifest = places.workspace.name(places.manifests(number) / "train.json")
    trained_on = {record.dataset for record in records if record.split == "train"}
    settings = training_settings(places.settings, manifest, places.settings.SEED + member, trained_on)
    _leave_to_others(folder, next(one.begun for one in store.rounds() if one.number == number))
    begun = [path.parent for path in sorted(folder.glob("*/run.json"))]
    for run in begun:
        if read_json(run / "run.json")["status"] == "finished":
            return run
    trained = train(
        settings,
        places.workspace,
        folder,
        verb=VERB,
        wanted=_wanted(places, store, settings),
        roles=lambda _: list(records),
        resume=_goes_on(begun, records, places),
    )
    (trained.folder / "state.pth").unlink(missing_ok=True)  # large, and the run is over
    return trained.folder


def _goes_on(begun: Sequence[Path], records: Sequence[Record], places: Places) -> bool:
    """Whether there is an interrupted run on the same images and masks; on others, one begins anew."""
    left = [run for run in begun if (run / "state.pth").exists()]
    if not left:
        return False
    same = bool(read_json(left[-1] / "run.json")["data_hash"] == data_hash(records, places.workspace))
    if not same:
        log.warning("Images or masks have changed since %s was interrupted, so it begins anew.", left[-1])
    return same


def _leave_to_others(folder: Path, begun: str) -> None:
    """Move trainings aside that belong to a round of another store, for this one did not order them."""
    ours = folder / "round.json"
    if folder.is_dir() and not (ours.exists() and read_json(ours) == {"begun": begun}):
        set_aside(folder)
    write_json(ours, {"begun": begun})


def _wanted(places: Places, store: Store, settings: TrainSettings) -> list[Source]:
    """Where the first weights come from: with warm_start the promoted model, else what the settings name."""
    current = store.current_model()
    if places.settings.TRAINING_CONFIG.warm_start and current is not None:
        return [Source("TRAINING_CONFIG.warm_start", places.workspace.path(current.path), "model")]
    return sources(settings, places.workspace)
