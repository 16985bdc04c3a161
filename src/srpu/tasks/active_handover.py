"""What a round asks for, written so that people can answer: images, masks to correct, and why they were chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srpu.active.entries import AskedQuery, Promotion
from srpu.active.handoff import Handed, Handover, cut_around, heat, mask_to_correct
from srpu.active.labels import Ids
from srpu.active.store import Store
from srpu.data.images import write_image
from srpu.data.index import Record
from srpu.errors import DataError, IndexingError
from srpu.files import write_json
from srpu.progress import track
from srpu.tasks.active_material import Material
from srpu.tasks.active_places import Places
from srpu.tasks.wiring import Opener, class_map, enough_memory

if TYPE_CHECKING:  # it imports torch, which the first round of a cold start does not need
    from srpu.tasks.pool_scores import Look

log = logging.getLogger(__name__)

Looker = Callable[[Record, Ids | None], "Look"]

SUMMARY = "selection_summary.json"

COLD = 0
"""The round that asks without a model."""


def hand_over(places: Places, store: Store, material: Material, number: int, asked: Sequence[AskedQuery]) -> None:
    """Write the folder of a round, and what the model is unsure about into the round's results.

    It can be done again: a mask in the folder that somebody has edited is left as it is. An image that cannot be read
    is named in a warning, and the others are written.

    Args:
        places: Settings and folders.
        store: Knows the current model, and what is labelled already.
        material: The images of the index.
        number: Of the round.
        asked: What it asks for, the most wanted first.

    Raises:
        CheckpointError: The current model cannot be read.
        StoreError: A kept mask cannot be read.
        SettingsError: The memory is too small.
        WorkspaceError: The files cannot be written.
    """
    model = store.current_model() if number > COLD else None
    classes = class_map(places.settings)
    folder = Handover(
        places.handed(number), number, model.model if model else None, classes, {one.query.name for one in asked}
    )
    writer = _Writer(places, store, material.images, folder, places.results(number), looker(places, model))
    kept = []
    for rank, one in enumerate(track(asked, "writing what is asked for"), start=1):
        try:
            if not writer.write(rank, one):
                kept.append(one.query.name)
        except (DataError, OSError) as error:
            log.warning("%s is asked for, and not written: %s", one.query.id, error)
    folder.note()
    folder.write_aids()
    _write_summary(places, store, number, asked)
    if kept:
        log.info("Left as they are, because somebody has edited them: %s", ", ".join(kept))
    log.info("To correct: %s; INSTRUCTIONS.txt there tells how.", folder.folder)


def looker(places: Places, model: Promotion | None) -> Looker | None:
    """What tells what the model says about an image; None: there is no model.

    Raises:
        CheckpointError: It cannot be read.
    """
    if model is None:
        return None
    from srpu.tasks.pool_models import read_member
    from srpu.tasks.pool_scores import look_at

    members = [read_member(places.workspace.path(model.path), places.settings)]

    def look(record: Record, taken: Ids | None) -> Look:
        with enough_memory("halve SCORING_BATCH_SIZE or TILE_SIZE"):
            return look_at(record, members, places.settings, places.workspace, taken)

    return look


class _Writer:
    """Writes one query after the other."""

    def __init__(
        self,
        places: Places,
        store: Store,
        images: Mapping[str, Record],
        folder: Handover,
        results: Path,
        look: Looker | None,
    ) -> None:
        self._store, self._images, self._folder, self._results, self._look = store, images, folder, results, look
        self._settings = places.settings
        self._opener = Opener(places.settings, places.workspace)
        self._labels = {sha256: label for sha256, label in store.current().items() if label.reviewed}

    def write(self, rank: int, asked: AskedQuery) -> bool:
        """Write what belongs to a query; False: its mask was edited, and is left.

        Raises:
            DataError: Its image cannot be read, or has changed.
        """
        query, masks = asked.query, self._settings.PREDICTION_MASK_CONFIG
        record = self._images.get(query.image)
        if record is None:
            raise IndexingError("it is not in the index any more; put it back and run `srpu index`.")
        image, rows = self._opener.image(record), self._opener.rows(record)
        label = self._labels.get(query.image)
        labelled = None if label is None else self._store.ids(label)
        look = None if self._look is None else self._look(record, labelled)
        predicted = look.ids if look is not None and masks.generate_prediction_masks else None
        ids = mask_to_correct(image.shape, rows, predicted, labelled, query.window)
        cut = cut_around(query.window, image.shape, self._settings.REGION_CONTEXT)
        facts = asked.facts
        handed = Handed(query, cut, rank, facts.get("score"), facts.get("reason", ""), masks.save_colored_masks)
        written = self._folder.write(handed, image[cut.slices], ids[cut.slices], pixel_size_nm=record.pixel_size_nm)
        if written:
            write_image(self._results / f"{query.name}_predicted.png", np.ascontiguousarray(ids[cut.slices]))
        if look is not None:
            write_image(self._results / f"{query.name}_uncertainty.png", heat(look.uncertainty[cut.slices]))
        return written


def _write_summary(places: Places, store: Store, number: int, asked: Sequence[AskedQuery]) -> None:
    """Why each was chosen, and how all of the pool scored."""
    round_ = next((one for one in store.rounds() if one.number == number), None)
    facts = round_.facts if round_ else {}
    model = store.current_model() if number > COLD else None
    summary = {
        "round": number,
        "model": model.model if model else None,
        "pool": facts.get("pool"),
        "histogram": facts.get("histogram"),
        "queries": [
            {
                "rank": rank,
                "name": one.query.name,
                "id": one.query.id,
                "window": None if one.query.window is None else list(one.query.window),
                "score": one.facts.get("score"),
                "scores": one.facts.get("scores", {}),
                "reason": one.facts.get("reason", ""),
            }
            for rank, one in enumerate(asked, start=1)
        ],
    }
    write_json(places.results(number) / SUMMARY, summary)
