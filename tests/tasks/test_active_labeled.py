"""Accepted masks in the labelled folder and in the split."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from srpu.active.entries import AskedQuery
from srpu.active.query import Query, Window
from srpu.active.store import Store
from srpu.config import load_settings
from srpu.data.index import Record, read_manifest
from srpu.data.masks import read_mask, write_mask
from srpu.data.splits import read_splits
from srpu.errors import IndexingError
from srpu.tasks import active_labeled
from srpu.tasks.active_intake import Answers
from srpu.tasks.active_labeled import VALIDATION, publish
from srpu.tasks.active_material import read_material, renew, training_records
from srpu.tasks.active_places import Places
from srpu.tasks.active_steps import Steps
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

MASK = "data/labeled/unlabelled/扫描 03_mask.png"


@pytest.fixture
def places(pool: Workspace) -> Places:
    return Places(load_settings("active", pool).settings, pool)


@pytest.fixture
def store(places: Places) -> Iterator[Store]:
    with places.open_store() as opened:
        renew(places, opened)
        opened.begin_round(1)
        yield opened


def record_of(places: Places, id_: str) -> Record:
    return next(one for one in read_material(places).images.values() if one.id == id_)


def answer(places: Places, store: Store, id_: str, class_: int = 1, **facts: object) -> Record:
    """Ask for an image, and accept a mask of one class for it."""
    record = record_of(places, id_)
    asked = store.ask(1, [(Query(record.sha256, record.id), facts)])[-1]
    accept(store, asked, class_)
    publish(places, store, read_material(places).images)
    return record


def accept(store: Store, asked: AskedQuery, class_: int) -> None:
    ids = np.full((48, 48), class_, np.uint8)
    store.accept(asked.query.image, ids, state="edited", who="me", query=asked, batch="b")


def ids_in(places: Places, name: str) -> np.ndarray:
    return read_mask(places.workspace.path(name), class_map(places.settings)).ids


def test_an_answer_lies_in_the_labelled_folder_and_is_trained_on(places: Places, store: Store) -> None:
    record = answer(places, store, "unlabelled/扫描 03.tif")
    assert (ids_in(places, MASK) == 1).all()
    material = renew(places, store)
    assert [one.split for one in material.labelled if one.sha256 == record.sha256] == ["train"]
    assert record.sha256 in {one.sha256 for one in training_records(places, store, material)}
    assert len(store.current()) == 7  # the copy that was written is no further label


def test_an_answer_that_was_drawn_for_validation_is_judged_on(places: Places, store: Store) -> None:
    before = read_splits(places.workspace.path(places.settings.SPLITS_JSON))
    record = answer(places, store, "unlabelled/扫描 03.tif", **{"for": VALIDATION})
    material = renew(places, store)
    assert record.sha256 in {one.sha256 for one in material.validation}
    assert record.sha256 not in {one.sha256 for one in training_records(places, store, material)}
    after = read_splits(places.workspace.path(places.settings.SPLITS_JSON))
    assert before is not None
    assert after is not None
    assert after.truth_version == before.truth_version + 1


def test_a_mask_taken_back_leaves_the_folder_and_training(places: Places, store: Store) -> None:
    record = answer(places, store, "unlabelled/扫描 03.tif")
    store.undo(who="me")
    publish(places, store, read_material(places).images)
    assert not places.workspace.path(MASK).exists()
    assert record.sha256 not in {one.sha256 for one in training_records(places, store, renew(places, store))}


def test_a_better_mask_replaces_the_copy_but_never_a_file_of_the_users(places: Places, store: Store) -> None:
    record = answer(places, store, "unlabelled/扫描 03.tif")
    again = store.ask(1, [(Query(record.sha256, record.id), {})])[-1]
    accept(store, again, 2)
    publish(places, store, read_material(places).images)
    assert (ids_in(places, MASK) == 2).all()
    write_mask(places.workspace.path(MASK), np.zeros((48, 48), np.uint8), class_map(places.settings))
    accept(store, store.ask(1, [(Query(record.sha256, record.id), {})])[-1], 1)
    publish(places, store, read_material(places).images)
    assert (ids_in(places, MASK) == 0).all()
    store.undo(who="me")
    publish(places, store, read_material(places).images)
    assert (ids_in(places, MASK) == 0).all()


def test_a_mask_of_the_users_is_not_written_over(places: Places, store: Store) -> None:
    answer(places, store, "image 0.tif", class_=2)
    assert not places.workspace.path("data/labeled/image 0_mask.png").exists()
    renew(places, store)


def test_a_copy_stays_while_its_image_is_away(places: Places, store: Store) -> None:
    answer(places, store, "unlabelled/扫描 03.tif")
    publish(places, store, {})
    assert (ids_in(places, MASK) == 1).all()
    store.undo(who="me")
    publish(places, store, {})
    assert not places.workspace.path(MASK).exists()


def test_a_copy_that_was_cut_off_while_it_was_written_is_written_again(
    places: Places, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = answer(places, store, "unlabelled/扫描 03.tif")
    accept(store, store.ask(1, [(Query(record.sha256, record.id), {})])[-1], 2)
    written = active_labeled.write_mask

    def killed(*arguments: Any) -> None:
        written(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(active_labeled, "write_mask", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(places, store, read_material(places).images)
    monkeypatch.setattr(active_labeled, "write_mask", written)
    assert (ids_in(places, MASK) == 2).all()
    store.undo(who="me")  # both masks came back together
    publish(places, store, read_material(places).images)
    assert not places.workspace.path(MASK).exists()


def test_a_validation_image_whose_mask_is_gone_is_not_trained_on(places: Places, store: Store) -> None:
    judged = read_material(places).validation[0]
    assert judged.mask is not None
    places.workspace.path(judged.mask).unlink()
    material = renew(places, store)
    assert judged.sha256 in {one.sha256 for one in material.unlabelled}
    assert judged.sha256 not in {one.sha256 for one in training_records(places, store, material)}


def test_a_mask_that_the_user_goes_back_to_counts_again(places: Places, store: Store) -> None:
    record = next(one for one in read_material(places).labelled if one.split == "train")
    path, classes = places.workspace.path(str(record.mask)), class_map(places.settings)
    first = read_mask(path, classes).ids
    for ids in (np.ones_like(first), first):
        write_mask(path, ids, classes)
        renew(places, store)
        assert store.is_same(store.current()[record.sha256], ids)


def test_a_window_that_came_back_later_outlives_a_change_of_the_users(places: Places, store: Store) -> None:
    record = answer(places, store, "unlabelled/扫描 03.tif")
    path, window = places.workspace.path(MASK), Window(0, 0, 8, 8)
    write_mask(path, np.zeros((48, 48), np.uint8), class_map(places.settings))
    os.utime(path, (time.time() - 60, time.time() - 60))
    store.accept(record.sha256, np.full((8, 8), 2, np.uint8), state="edited", who="me", window=window, batch="c")
    renew(places, store)
    ids = store.ids(store.current()[record.sha256])
    assert (ids[window.slices] == 2).all()
    assert (ids == 0).sum() == ids.size - 64


def test_only_the_chosen_data_sets_are_worked_with(places: Places) -> None:
    chosen = Places(places.settings.model_copy(update={"DATASETS": ["labeled"]}), places.workspace)
    assert read_material(chosen).images == read_material(places).images  # the pool in data/raw belongs to them
    other = Places(places.settings.model_copy(update={"DATASETS": ["other"]}), places.workspace)
    with pytest.raises(IndexingError, match="DATASETS names other, which the index does not hold; it holds"):
        read_material(other)


def test_indices_are_copied_before_they_change_and_not_again(places: Places, store: Store) -> None:
    def copies() -> int:
        return sum(path.is_dir() for path in places.backups.iterdir())

    renew(places, store)
    before = copies()
    renew(places, store)
    assert copies() == before
    answer(places, store, "unlabelled/扫描 03.tif")  # noted in the split
    renew(places, store)
    assert copies() == before + 1


def test_an_answer_for_validation_is_judged_on_though_the_process_was_killed_before_it_was_published(
    places: Places, store: Store
) -> None:
    record = record_of(places, "unlabelled/扫描 03.tif")
    accept(store, store.ask(1, [(Query(record.sha256, record.id), {"for": VALIDATION})])[-1], 1)
    number, facts = Steps(places, store, Answers()).begin()
    assert (number, facts["labelled"]) == (2, 4)
    parts = {part: read_manifest(places.manifests(2) / f"{part}.json") for part in ("train", "val")}
    assert record.sha256 in {one.sha256 for one in parts["val"]}
    assert record.sha256 not in {one.sha256 for one in parts["train"]}
