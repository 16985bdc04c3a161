"""Rounds of active learning on small images, with real training."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srpu.active.entries import AskedQuery
from srpu.config import load_settings
from srpu.data.images import read_image, write_image
from srpu.data.masks import read_mask, write_mask
from srpu.errors import IndexingError, SettingsError, StoreError
from srpu.files import read_json
from srpu.settings import ActiveLearningSettings
from srpu.tasks import active_learning_task as task
from srpu.tasks import train_task
from srpu.tasks.active_choice import choose_first
from srpu.tasks.active_intake import Answers
from srpu.tasks.active_material import Material, read_material, training_records
from srpu.tasks.active_places import Places
from srpu.tasks.answer_line import AnswerLine
from srpu.tasks.truth import model_hash
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

QUICK = (
    "ENCODER_NAME='unet'", "CROP_SIZE=32", "DEVICE='cpu'", "PRECISION='fp32'", "INITIAL_LABELED_SIZE=4",
    "BATCH_SIZE_TO_LABEL=2", "TRAINING_CONFIG.num_epochs_per_round=2", "TRAINING_CONFIG.steps_per_epoch=2",
    "TRAINING_CONFIG.batch_size=2", "NEAR_DUPLICATE_CORRELATION=0.99",
)  # fmt: skip


def settings_of(workspace: Workspace, *changes: str) -> ActiveLearningSettings:
    return load_settings("active", workspace, [*QUICK, *changes]).settings


def open_queries(settings: ActiveLearningSettings, workspace: Workspace) -> list[AskedQuery]:
    with Places(settings, workspace).open_store(read_only=True) as store:
        return store.asked(state="open")


def truth(levels: np.ndarray) -> np.ndarray:
    """The classes of an image of :func:`conftest.blobs`."""
    return (levels // 80).clip(0, 2).astype(np.uint8)


def answer(settings: ActiveLearningSettings, workspace: Workspace, count: int | None = None) -> list[str]:
    """Put right masks of what is asked for into the drop folder, as a person would; gives the names."""
    names = []
    for asked in open_queries(settings, workspace)[:count]:
        ids = truth(read_image(workspace.path("data/raw") / asked.query.id))
        window = asked.query.window
        if window is not None:
            ids = ids.copy()
            outside = np.ones(ids.shape, bool)
            outside[window.slices] = False
            ids[outside] = 255
        path = workspace.path(settings.CORRECTED_DIR) / f"{asked.query.name}_mask.tif"
        write_mask(path, ids, class_map(settings))
        names.append(asked.query.name)
    return names


def run(settings: ActiveLearningSettings, workspace: Workspace, **flags: Any) -> str:
    return task.run(settings, workspace, wait=False, answers=Answers(confirm_unchanged=True), **flags)


def test_a_round_trains_judges_asks_and_takes_in(pool: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_of(pool)
    caplog.set_level(logging.INFO, "srpu")
    assert run(settings, pool) == "waiting"
    asked = open_queries(settings, pool)
    assert len(asked) == 2
    assert all(one.query.id.startswith("unlabelled/") for one in asked)
    assert {"score", "scores", "reason", "rank"} <= set(asked[0].facts)
    _look_at_the_files(settings, pool, [one.query.name for one in asked])
    assert "Round 1: 6 labelled, 2 asked for, 10 left in the pool." in caplog.text

    assert run(settings, pool) == "waiting"  # nothing has come back
    names = answer(settings, pool)
    assert run(settings, pool) == "waiting"  # of round 2
    again = open_queries(settings, pool)
    assert {one.round for one in again} == {2}
    assert not {one.query.name for one in again} & set(names)
    places = Places(settings, pool)
    with places.open_store() as store:
        assert [one.facts["labelled"] for one in store.rounds()] == [4, 6]
        assert {label.state for label in store.current().values()} == {"drawn", "edited"}
        trained = training_records(places, store, read_material(places))
    assert len(trained) == 6
    assert read_json(pool.path("json/active_learning_history.json"))["rounds"][1]["number"] == 2
    for name in names:
        published = pool.path("data/labeled/unlabelled") / f"{name.split('__')[1]}_mask.png"
        assert (read_mask(published, class_map(settings)).ids != 255).all()


def _look_at_the_files(settings: ActiveLearningSettings, workspace: Workspace, names: list[str]) -> None:
    """Everything lies where users look for it."""
    models = workspace.path("models/checkpoints/active_learning_unet_UNet".replace("UNet", settings.DECODER_NAME))
    for name in ("round_1_best.pth", "round_1_final.pth", "best_model.pth", "training_history.json"):
        assert (models / name).is_file(), name
    assert model_hash(models / "best_model.pth") == model_hash(models / "round_1_best.pth")
    statistics = read_json(models / "final_statistics.json")
    assert statistics["current_model"]["round"] == 1
    handed, results = workspace.path("active_learning_predictions/round_1"), workspace.path("active_learning_results")
    for name in names:
        assert read_image(handed / f"{name}.tif").shape == (48, 48)
        assert read_mask(handed / f"{name}_predicted_mask.tif", class_map(settings)).ids.shape == (48, 48)
        assert (handed / f"{name}_predicted_mask.png").is_file()
        assert (results / "round_1" / f"{name}_uncertainty.png").is_file()
    assert [one["name"] for one in read_json(handed / "selection_info.json")["queries"]] == names
    assert (results / "round_1/selection_summary.json").is_file()
    assert names[0] in (results / "round_1/report.html").read_text(encoding="utf-8")
    assert len(read_json(workspace.path("json/round_1/train.json"))["samples"]) == 4


def test_rounds_stop_where_the_rules_say_and_say_why(pool: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_of(pool, "MAX_ACTIVE_LEARNING_ROUNDS=1")
    run(settings, pool)
    answer(settings, pool)
    caplog.set_level(logging.INFO, "srpu")
    assert run(settings, pool) == "stopped"
    assert "The 1 round of MAX_ACTIVE_LEARNING_ROUNDS is done." in caplog.text
    report = pool.path("active_learning_results/round_2/report.html").read_text(encoding="utf-8")
    assert "The 1 round of MAX_ACTIVE_LEARNING_ROUNDS is done." in report
    more = settings_of(pool, "MAX_ACTIVE_LEARNING_ROUNDS=2")
    assert run(more, pool) == "waiting"


def test_single_steps_refuse_what_is_out_of_order(pool: Workspace) -> None:
    settings = settings_of(pool)
    with pytest.raises(StoreError, match="no active learning here yet"):
        task.status(settings, pool)
    with pytest.raises(StoreError, match="srpu active train"):
        task.propose(settings, pool)
    assert task.train(settings, pool) == "judged"
    with pytest.raises(StoreError, match="judged already; `srpu active propose` goes on"):
        task.train(settings, pool)
    assert task.propose(settings, pool) == "asked"
    with pytest.raises(StoreError, match="Round 1 waits for 2 masks"):
        task.train(settings, pool)
    answer(settings, pool)
    assert task.take_in(settings, pool, Answers()) == "closed"
    with pytest.raises(StoreError, match="Round 1 is over"):
        task.propose(settings, pool)


def test_what_is_skipped_is_not_asked_again_and_what_is_given_back_may_be(pool: Workspace) -> None:
    settings = settings_of(pool, "BATCH_SIZE_TO_LABEL=3")
    run(settings, pool)
    first, second, third = (one.query for one in open_queries(settings, pool))
    with pytest.raises(StoreError, match="No mask called nobody is waited for"):
        task.skip(settings, pool, "nobody", "why")
    task.skip(settings, pool, first.name, "out of focus")
    answer(settings, pool, 1)
    task.take_in(settings, pool, Answers())
    task.close(settings, pool)
    everything = settings_of(pool, "BATCH_SIZE_TO_LABEL=20")
    run(everything, pool)
    asked = {one.query.image for one in open_queries(settings, pool)}
    assert len(asked) == 10
    assert not asked & {first.image, second.image}
    assert third.image in asked


def test_undo_takes_back_masks_and_then_the_model(pool: Workspace) -> None:
    settings = settings_of(pool)
    run(settings, pool)
    answer(settings, pool)
    task.take_in(settings, pool, Answers())
    task.undo(settings, pool)
    assert len(open_queries(settings, pool)) == 2
    best = Places(settings, pool).best_model
    assert best.exists()
    task.undo(settings, pool)
    assert not best.exists()
    with pytest.raises(StoreError, match="nothing to take back"):
        task.undo(settings, pool)


def test_a_model_is_trained_anew_when_the_only_one_was_taken_back(pool: Workspace) -> None:
    settings = settings_of(pool)
    assert task.train(settings, pool) == "judged"
    task.undo(settings, pool)
    assert task.propose(settings, pool) == "closed"
    assert task.train(settings, pool) == "judged"
    assert task.propose(settings, pool) == "asked"


def test_masks_that_change_while_training_is_interrupted_do_not_stop_the_rounds(
    pool: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(pool, "DATASET_WEIGHTS={'labeled': 2, 'absent': 3}")
    places, ordinary = Places(settings, pool), train_task.promote

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_task, "promote", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, pool)
    monkeypatch.setattr(train_task, "promote", ordinary)
    judged = read_material(places).validation[0]
    assert judged.mask is not None
    write_mask(pool.path(judged.mask), np.ones((48, 48), np.uint8), class_map(settings))
    assert run(settings, pool) == "waiting"
    assert len(list((places.models / "runs/round_1").glob("*/run.json"))) == 2


def test_a_pool_whose_windows_are_all_labelled_ends_the_rounds(pool: Workspace) -> None:
    settings = settings_of(pool, "QUERY='region'", "REGION_SIZE=64", "BATCH_SIZE_TO_LABEL=20")
    assert run(settings, pool) == "waiting"
    for asked in open_queries(settings, pool):  # a part is left open on purpose, too little to ask for
        ids = truth(read_image(pool.path("data/raw") / asked.query.id))
        ids[:20] = 255
        write_mask(pool.path(settings.CORRECTED_DIR) / f"{asked.query.name}_mask.tif", ids, class_map(settings))
    assert run(settings, pool) == "stopped"
    assert run(settings, pool) == "stopped"


def test_validation_is_drawn_from_specimens_that_are_not_trained_on(pool: Workspace) -> None:
    settings = settings_of(pool, "COLD_START=True", "INITIAL_LABELED_SIZE=0", "VALIDATION_SIZE=20")
    places = Places(settings, pool)
    found = read_material(places)
    labelled = [record for record in found.labelled if record.split == "train"]
    trained, page, *rest = found.unlabelled
    images = [replace(trained, group=labelled[0].group), replace(page, page=3), *rest]
    with places.open_store() as store:
        store.begin_round(0)
        asked = choose_first(places, store, Material(labelled, images))
    assert len(asked) == 5
    assert not {query.image for query, _ in asked} & {trained.sha256, page.sha256}


def test_an_empty_pool_ends_the_rounds(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "srpu")
    assert run(settings_of(workspace), workspace) == "stopped"
    assert "The pool is empty: there is nothing left to ask for." in caplog.text


def test_nothing_labelled_is_one_sentence(bare: Workspace, pool: Workspace) -> None:
    for image in pool.path("data/raw/unlabelled").iterdir():
        (bare.path("data/raw")).mkdir(parents=True, exist_ok=True)
        (bare.path("data/raw") / image.name).write_bytes(image.read_bytes())
    with pytest.raises(IndexingError, match="There is no labelled training image: put masks into"):
        run(settings_of(bare), bare)
    empty = Workspace(bare.root / "other")
    with pytest.raises(IndexingError, match="There is no image"):
        run(settings_of(bare), empty)


def test_a_cold_start_asks_without_a_model(bare: Workspace, pool: Workspace) -> None:
    """Typical images to train on, others by chance to judge on, and then the rounds go on as ever."""
    bare.path("data/raw").mkdir(parents=True)
    for image in pool.path("data/raw/unlabelled").iterdir():
        (bare.path("data/raw") / image.name).write_bytes(image.read_bytes())
    settings = settings_of(bare, "COLD_START=True", "VALIDATION_SIZE=3")
    assert run(settings, bare) == "waiting"
    asked = open_queries(settings, bare)
    assert [one.facts.get("for") for one in asked] == ["validation"] * 3 + [None] * 4
    handed = bare.path("active_learning_predictions/round_0")
    empty = read_mask(handed / f"{asked[0].query.name}_predicted_mask.tif", class_map(settings)).ids
    assert (empty == 255).all()
    answer(settings, bare)
    assert run(settings, bare) == "waiting"
    places = Places(settings, bare)
    assert {one.sha256 for one in read_material(places).validation} == {one.query.image for one in asked[:3]}
    with places.open_store() as store:
        assert store.rounds()[-1].facts["training_images"] == 4
        assert store.rounds()[-1].facts["validation_images"] == 3
    assert {one.round for one in open_queries(settings, bare)} == {1}


def test_regions_are_merged_and_the_rest_stays_unlabelled(pool: Workspace) -> None:
    settings = settings_of(pool, "QUERY='region'", "REGION_SIZE=16", "REGION_CONTEXT=4", "BATCH_SIZE_TO_LABEL=4")
    run(settings, pool)
    asked = open_queries(settings, pool)
    assert all(one.query.window is not None and one.query.window[2:] == (16, 16) for one in asked)
    answer(settings, pool)
    assert run(settings, pool) == "waiting"
    places = Places(settings, pool)
    with places.open_store() as store:
        for image in {one.query.image for one in asked}:
            windows = [one.query.window for one in asked if one.query.image == image]
            labelled = (store.ids(store.current()[image]) != 255).sum()
            assert labelled == 256 * len(windows)


def test_two_loops_in_one_workspace(pool: Workspace) -> None:
    settings = settings_of(pool)
    places = Places(settings, pool)
    with places.open_store(), pytest.raises(StoreError, match="at work on this store already"):
        run(settings, pool)


def test_the_verbs(pool: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What users type arrives."""
    from srpu.cli import main

    monkeypatch.setattr("sys.argv", ["srpu"])
    monkeypatch.chdir(pool.root)
    changes = [part for change in QUICK for part in ("--set", change)]
    for typed, code, says in (
        (["run", "--no-wait", *changes], 0, "Round 1 begins with 4 labelled training images."),
        (["status", *changes], 0, "It waits for 2 masks"),
        (["take-in", *changes], 0, "Still waited for: 2 masks."),
        (["close", *changes], 0, "2 images go back to the pool"),
        (["undo", *changes], 0, "The promotion of the model of round 1 is taken back"),
        (["skip", "x", "--why", "y", *changes], 2, "No mask called x is waited for"),
    ):
        with pytest.raises(SystemExit) as end:
            main("active", *typed)
        said = capsys.readouterr()
        assert (end.value.code or 0) == code, said
        assert says in said.out + said.err


def test_history_is_plain_json(pool: Workspace) -> None:
    settings = settings_of(pool)
    run(settings, pool)
    folder = Places(settings, pool).models
    for path in (pool.path("json/active_learning_history.json"), folder / "training_history.json"):
        json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))


def test_a_new_store_does_not_take_over_models_and_folders_of_an_old_one(pool: Workspace) -> None:
    settings = settings_of(pool)
    run(settings, pool)
    handed = Places(settings, pool).handed(1)
    (handed / "mine.txt").write_text("kept")
    pool.path("active_learning").rename(pool.path("active_learning_old"))
    assert run(settings, pool) == "waiting"
    models = Places(settings, pool).models
    assert len(list(models.glob("runs/round_1/*/run.json"))) == 1
    assert len(list(models.glob("runs/round_1_before_*/*/run.json"))) == 1
    assert not (handed / "mine.txt").exists()
    assert [path.read_text() for path in handed.parent.glob("round_1_before_*/mine.txt")] == ["kept"]


def test_a_lost_store_is_not_begun_anew_and_can_be_put_back(pool: Workspace) -> None:
    settings = settings_of(pool)
    run(settings, pool)
    answer(settings, pool)
    task.take_in(settings, pool, Answers())
    file = pool.path("active_learning/store.db")
    for damage in (lambda: file.write_bytes(b""), file.unlink):
        damage()
        for command in (lambda: task.take_in(settings, pool, Answers()), lambda: task.status(settings, pool)):
            with pytest.raises(StoreError, match="it is gone or empty, and labels are there"):
                command()
    copies = sorted(pool.path("json/backups").glob("store_*_round.db"))
    file.write_bytes(copies[-1].read_bytes())
    with Places(settings, pool).open_store() as store:
        assert len(store.asked(1, "answered")) == 2


def test_a_folder_that_was_deleted_is_handed_out_again(pool: Workspace) -> None:
    settings = settings_of(pool)
    run(settings, pool)
    handed = Places(settings, pool).handed(1)
    shutil.rmtree(handed)
    assert run(settings, pool) == "waiting"
    assert len(list(handed.glob("*_predicted_mask.tif"))) == 2


def test_a_mask_of_an_image_that_was_replaced_is_not_taken(pool: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_of(pool)
    run(settings, pool)
    first = open_queries(settings, pool)[0].query
    answer(settings, pool)
    image = pool.path("data/raw") / first.id
    write_image(image, read_image(image)[::-1].copy())
    task.take_in(settings, pool, Answers())
    assert [one.query for one in open_queries(settings, pool)] == [first]
    assert f"{first.id} has changed or is gone since it was asked for" in caplog.text


def test_other_classes_between_rounds_are_refused_before_anything_is_done(pool: Workspace) -> None:
    settings = settings_of(pool)
    run(settings, pool)
    answer(settings, pool)
    other = settings_of(pool, "CLASS_NAMES={0: 'SE', 1: 'carbon', 2: 'AM'}")
    for command in (lambda: run(other, pool), lambda: task.take_in(other, pool, Answers())):
        with pytest.raises(SettingsError, match="CLASS_NAMES are SE, carbon, AM, and rounds began with carbon, SE, AM"):
            command()
    assert len(open_queries(settings, pool)) == 2


def test_a_waiting_run_bears_that_another_command_is_typed(pool: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits, the store is held by `srpu active skip` for a moment; then the masks come."""
    settings = settings_of(pool, "MAX_ACTIVE_LEARNING_ROUNDS=1", "POLL_SECONDS=0.1")
    places, looks = Places(settings, pool), []

    def wait(line: AnswerLine, seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            exits.enter_context(places.open_store())
        elif len(looks) == 2:
            exits.close()
            answer(settings, pool)

    monkeypatch.setattr(AnswerLine, "wait", wait)
    with ExitStack() as exits:
        assert task.run(settings, pool, answers=Answers()) == "stopped"
    assert len(looks) >= 2
