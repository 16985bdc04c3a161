"""Corrected masks are taken from wherever they lie, once; what is wrong with one is said, and nothing is lost."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srpu.active.handoff import Handed, Handover
from srpu.active.query import Query, Window
from srpu.active.store import Store
from srpu.config import load_settings
from srpu.data.images import write_image
from srpu.data.index import read_manifest, write_manifest
from srpu.data.masks import colour, read_mask, write_mask
from srpu.errors import WorkspaceError
from srpu.manual import write_configs
from srpu.tasks import index_task
from srpu.tasks.active_intake import Answers, take_in
from srpu.tasks.active_material import read_material
from srpu.tasks.active_places import Places
from srpu.tasks.wiring import Opener, class_map
from srpu.workspace import Workspace

from .conftest import blobs

NAME = "unlabelled__扫描 00"
WINDOW = Window(8, 16, 16, 24)
CUT = Window(4, 12, 24, 32)


@dataclass
class Site:
    """A round that waits for masks."""

    places: Places
    store: Store
    answers: Answers

    def __post_init__(self) -> None:
        self.classes = class_map(self.places.settings)
        self.records = {record.id: record for record in read_material(self.places).images.values()}

    def predicted(self, number: int) -> np.ndarray:
        return blobs(100 + number)[1]

    def ask(
        self,
        *numbers: int,
        window: Window | None = None,
        cut: Window | None = None,
        round_: int = 1,
        model: str | None = "model",
    ) -> None:
        """Ask for images of the pool, and hand out their true masks as predictions, or without a model empty ones."""
        if not any(one.number == round_ for one in self.store.rounds()):
            self.store.begin_round(round_)
        ids = [f"unlabelled/扫描 {number:02d}.tif" for number in numbers]
        queries = [Query(self.records[id_].sha256, id_, window) for id_ in ids]
        asked = self.store.ask(round_, [(query, {}) for query in queries])
        names = [one.query.name for one in asked]
        folder = Handover(self.places.handed(round_), round_, model, self.classes, names)
        opener = Opener(self.places.settings, self.places.workspace)
        for rank, (number, one) in enumerate(zip(numbers, asked[-len(numbers) :], strict=True), start=1):
            shown = cut or Window(0, 0, 48, 48)
            mask = np.full((48, 48), 255, np.uint8)
            if model is not None:
                mask[window.slices if window else ...] = self.predicted(number)[window.slices if window else ...]
            image = opener.image(self.records[one.query.id])
            folder.write(Handed(one.query, shown, rank), image[shown.slices], mask[shown.slices])
            write_image(self.places.results(round_) / f"{one.query.name}_predicted.png", mask[shown.slices].copy())
        self.store.note(round_, "waiting")

    def give_back(self, name: str, ids: np.ndarray, folder: Path | None = None, *, age: float = 100) -> Path:
        """Save a mask, as if so many seconds ago."""
        path = (folder or self.places.handed(1) / "corrected") / name
        write_mask(path, ids.astype(np.uint8), self.classes)
        return aged(path, age)

    def take(self) -> int:
        return take_in(self.places, self.store, self.answers)

    def open(self) -> list[str]:
        return [one.query.name for one in self.store.asked(state="open")]


def aged(path: Path, age: float) -> Path:
    written = time.time() - age
    os.utime(path, (written, written))
    return path


def corrected(ids: np.ndarray) -> np.ndarray:
    """With a square of 8 by 8 pixels of another class."""
    ids = ids.copy()
    ids[16:24, 16:24] = (ids[16:24, 16:24] + 1) % 3
    return ids


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Six labelled images, two of them for validation, and six without masks."""
    made = Workspace(tmp_path_factory.mktemp("indexed"))
    write_configs(made.configs)
    classes = class_map(load_settings("index", made).settings)
    for number in range(6):
        image, ids = blobs(number)
        write_image(made.path(f"data/raw/image {number}.tif"), image)
        write_mask(made.path(f"data/labeled/image {number}.png"), ids, classes)
        write_image(made.path(f"data/raw/unlabelled/扫描 {number:02d}.tif"), blobs(100 + number)[0])
    index_task.run(load_settings("index", made).settings, made)
    return made


@pytest.fixture
def site(indexed: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    made = Workspace(Path(shutil.copytree(indexed.root, tmp_path / "工作 区")))
    caplog.set_level(logging.INFO)
    places = Places(load_settings("active", made).settings, made)
    with places.open_store() as store:
        yield Site(places, store, Answers())


def test_a_corrected_mask_answers_its_query(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0, 1)
    ids = corrected(site.predicted(0))
    site.give_back(f"{NAME}_mask.tif", ids)
    assert site.take() == 1
    assert site.open() == ["unlabelled__扫描 01"]
    (label,) = site.store.labels()
    assert (label.state, label.prediction, label.round, label.query) == ("edited", "model", 1, 1)
    np.testing.assert_array_equal(site.store.ids(label), ids)
    facts = site.store.rounds()[0].facts
    assert site.store.rounds()[0].phase == "waiting"
    (found,) = facts["corrections"].values()
    assert sum(boundary + blob for _, boundary, blob in found.values()) == 64
    assert sum(pixels for pixels, _, _ in found.values()) == 48 * 48
    assert f"{NAME}: taken as edited, 2.8% changed: " in caplog.text
    before = len(caplog.records)
    assert site.take() == 0  # the same file again is nothing new, also for another process
    site.answers = Answers()
    assert site.take() == 0
    assert len(caplog.records) == before


@pytest.mark.parametrize("kind", ["beside", "edited in place", "CORRECTED_DIR", "labeled", "labeled sub-folder"])
def test_masks_are_found_wherever_they_lie(site: Site, kind: str) -> None:
    site.ask(0)
    folder, name = {
        "beside": (site.places.handed(1), f"{NAME}_mask.png"),
        "edited in place": (site.places.handed(1), f"{NAME}_predicted_mask.tif"),
        "CORRECTED_DIR": (site.places.workspace.path("active_learning/corrected"), f"{NAME}.png"),
        "labeled": (site.places.labeled, f"{NAME}_mask.png"),
        "labeled sub-folder": (site.places.labeled / "unlabelled", "扫描 00_mask.png"),
    }[kind]
    ids = corrected(site.predicted(0))
    site.give_back(name, ids, folder)
    assert site.take() == 1
    (label,) = site.store.labels()
    assert (label.state, label.query) == ("edited", 1)
    assert site.open() == []


def test_what_was_handed_out_and_the_image_beside_it_are_no_answers(site: Site) -> None:
    site.ask(0)
    for path in site.places.handed(1).glob(f"{NAME}*"):
        aged(path, 100)
    (site.places.handed(1) / "corrected").mkdir(exist_ok=True)
    shown = site.places.handed(1) / f"{NAME}.tif"
    aged(Path(shown.rename(site.places.handed(1) / "corrected" / f"{NAME}.tif")), 100)
    site.answers.confirm_unchanged = True
    assert site.take() == 0
    assert site.answers.said == set()


def test_what_an_earlier_round_predicted_is_no_answer(site: Site) -> None:
    """Asked for, given back and asked for again: the first round's folder still holds its prediction."""
    site.ask(0)
    site.store.give_back(site.store.asked(), "closed")
    site.predicted = lambda number: corrected(blobs(100 + number)[1])  # type: ignore[method-assign]
    site.ask(0, round_=2)
    for path in [*site.places.handed(1).glob("*.tif"), *site.places.handed(2).glob("*.tif")]:
        aged(path, 100)
    aged(site.give_back(f"{NAME}_mask.tif", blobs(100)[1]), 50)
    site.answers.confirm_unchanged = True
    assert site.take() == 0
    aged(site.give_back(f"{NAME}_mask.tif", corrected(site.predicted(0))), 20)
    assert site.take() == 1
    assert site.store.labels()[-1].state == "edited"


def test_masks_of_the_folder_of_wanted_predictions_are_found(site: Site) -> None:
    site.ask(0)
    ids = corrected(site.predicted(0))
    path = site.places.handed_by_hand / "corrected" / f"{NAME}_mask.tif"
    write_mask(path, ids, site.classes)
    aged(path, 100)
    assert site.take() == 1


def test_an_untouched_mask_is_taken_only_where_that_was_asked_for(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    path = site.give_back(f"{NAME}_mask.tif", site.predicted(0))
    assert [site.take(), site.take()] == [0, 0]
    assert [record.message for record in caplog.records] == [
        f"{path} is the prediction as it was handed out; correct it, or let `srpu active take-in --unchanged` take it "
        "as found right."
    ]
    site.answers = Answers(confirm_unchanged=True)
    assert site.take() == 1
    (label,) = site.store.labels()
    assert (label.state, label.prediction) == ("confirmed", "model")


def test_a_corrected_mask_goes_before_a_newer_untouched_one(site: Site) -> None:
    site.ask(0)
    site.answers.confirm_unchanged = True
    site.give_back(f"{NAME}_mask.tif", corrected(site.predicted(0)), age=200)
    site.give_back(f"{NAME}_predicted_mask.tif", site.predicted(0), age=100)
    assert site.take() == 1
    assert site.store.labels()[0].state == "edited"


def test_of_two_corrected_masks_the_newer_is_taken_and_the_older_is_said(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.ask(0)
    newer = 2 - site.predicted(0) // 2
    old = site.give_back(f"{NAME}_mask.tif", corrected(site.predicted(0)), age=200)
    site.give_back(f"{NAME}_mask.png", newer, site.places.labeled, age=100)
    assert [site.take(), site.take()] == [1, 0]
    np.testing.assert_array_equal(site.store.ids(site.store.labels()[0]), newer)
    assert f"{old} is older than the mask that was taken, and is passed over" in caplog.text


def test_a_mask_that_is_corrected_again_is_taken_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0, 1)
    first = corrected(site.predicted(0))
    second = np.roll(corrected(np.roll(first, 8, axis=1)), -8, axis=1)
    site.give_back(f"{NAME}_mask.tif", first)
    assert site.take() == 1
    site.give_back(f"{NAME}_mask.tif", second, age=-10)
    site.answers.still = Still()
    assert site.take() == 1
    assert "was not waited for any more; taken" in caplog.text
    np.testing.assert_array_equal(site.store.ids(next(iter(site.store.current().values()))), second)


class Still:
    """Finds every file whole."""

    def sort(self, paths: list[Path]) -> tuple[dict[Path, tuple[int, int]], list[Path]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}, []


def test_a_mask_that_is_edited_in_place_once_more_is_taken_again(site: Site) -> None:
    site.ask(0)
    first, second = corrected(site.predicted(0)), 2 - site.predicted(0) // 2
    site.give_back(f"{NAME}_predicted_mask.tif", first, site.places.handed(1))
    assert (site.take(), site.open()) == (1, [])
    site.give_back(f"{NAME}_predicted_mask.tif", second, site.places.handed(1), age=-10)
    site.answers.still = Still()
    assert [site.take(), site.take()] == [1, 0]
    np.testing.assert_array_equal(site.store.ids(next(iter(site.store.current().values()))), second)


def test_a_growing_file_is_waited_for(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    path = site.give_back(f"{NAME}_mask.tif", corrected(site.predicted(0)))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])

    def grow(seconds: float) -> None:
        path.write_bytes(path.read_bytes() + whole[len(path.read_bytes()) :][:50])

    site.answers.still = type(site.answers.still)(pause=grow)
    assert [site.take(), site.take()] == [0, 0]
    assert [record.message for record in caplog.records] == [f"{path} is still being written; it is looked at again."]
    path.write_bytes(whole)
    aged(path, 100)
    assert site.take() == 1


def test_a_broken_file_is_refused_once_and_taken_when_it_is_whole(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    path = site.give_back(f"{NAME}_mask.tif", corrected(site.predicted(0)))
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    aged(path, 90)
    assert [site.take(), site.take()] == [0, 0]
    assert len(caplog.records) == 1
    path.write_bytes(whole)
    aged(path, 80)
    assert site.take() == 1


def test_a_crash_between_two_masks_loses_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ask(0, 1)
    for number in (0, 1):
        site.give_back(f"unlabelled__扫描 {number:02d}_mask.tif", corrected(site.predicted(number)))
    accept, calls = site.store.accept, []

    def break_down(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise WorkspaceError("the disk is full")
        return accept(*args, **kwargs)

    monkeypatch.setattr(site.store, "accept", break_down)
    with pytest.raises(WorkspaceError):
        site.take()
    assert len(site.store.labels()) == 1
    monkeypatch.undo()
    site.answers = Answers()
    assert site.take() == 1
    assert len(site.store.labels()) == 2
    assert site.open() == []
    assert len(site.store.rounds()[0].facts["corrections"]) == 2


def test_one_undo_takes_back_all_of_a_call_and_the_same_files_are_left_out_after_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.ask(0, 1)
    ids = corrected(site.predicted(0))
    path = site.give_back(f"{NAME}_mask.tif", ids)
    site.give_back("unlabelled__扫描 01_mask.tif", corrected(site.predicted(1)))
    assert site.take() == 2
    assert site.store.undo(who="Li").startswith("Masks taken back: 2;")
    site.answers = Answers()
    assert site.take() == 0
    assert (
        f"{path} is the mask that was taken back; correct it, or save it anew, to have it taken again." in caplog.text
    )
    site.give_back(f"{NAME}_mask.tif", ids, age=-10)
    site.answers.still = Still()
    assert site.take() == 1
    assert site.open() == ["unlabelled__扫描 01"]


def test_a_mask_that_was_not_asked_for_is_taken_and_said(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    ids = site.predicted(5)
    path = site.give_back("扫描 05_mask.tif", ids, site.places.workspace.path("active_learning/corrected"))
    assert site.take() == 1
    (label,) = site.store.labels()
    assert (label.state, label.prediction, label.query) == ("drawn", None, None)
    assert f"unlabelled__扫描 05 was not asked for; taken from {path}" in caplog.text
    assert site.open() == [NAME]
    assert site.take() == 0


def test_a_mask_of_an_image_that_models_are_judged_on_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    judged = next(record for record in site.records.values() if record.split == "val")
    stem = Path(judged.id).stem
    path = site.give_back(f"{stem}_mask.tif", np.ones((48, 48)))
    assert site.take() == 0
    assert site.store.labels() == []
    assert f"{path} is not taken: models are judged on {judged.id}, and its mask changes only with" in caplog.text
    assert path.exists()


def test_a_mask_of_an_image_of_a_judged_specimen_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    judged = next(record for record in site.records.values() if record.split == "val")
    opener = Opener(site.places.settings, site.places.workspace)
    twin = opener.image(judged).copy()
    twin[0, 0] += 1  # other pixels, the same field
    write_image(site.places.workspace.path("data/raw/twin.tif"), twin)
    index_task.run(load_settings("index", site.places.workspace).settings, site.places.workspace)
    caplog.clear()
    path = site.give_back("twin_mask.tif", np.ones((48, 48)))
    assert site.take() == 0
    assert f"{path} is not taken: twin.tif shows nearly the same as the validation image {judged.id}" in caplog.text


def test_masks_of_the_users_folder_that_the_index_knows_are_no_news(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.ask(0)
    assert site.take() == 0
    assert caplog.text == ""
    assert site.store.labels() == []


def test_names_that_fit_nothing_or_two_things_are_said_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    write_image(site.places.workspace.path("data/raw/other/扫描 00.tif"), blobs(300)[0])
    index_task.run(load_settings("index", site.places.workspace).settings, site.places.workspace)
    site.__post_init__()
    site.store.begin_round(1)
    for id_ in ("unlabelled/扫描 00.tif", "other/扫描 00.tif"):
        site.store.ask(1, [(Query(site.records[id_].sha256, id_), {})])
    caplog.clear()
    site.give_back("what_mask.tif", site.predicted(0))
    site.give_back("扫描 00_mask.tif", site.predicted(0))
    assert [site.take(), site.take()] == [0, 0]
    folder = site.places.handed(1) / "corrected"
    assert sorted(record.message for record in caplog.records) == [
        f"{folder / 'what_mask.tif'} is not called like any image; call it like its own, as in {NAME}_mask.tif.",
        f"{folder / '扫描 00_mask.tif'} could belong to {NAME} or other__扫描 00; call it like one of them, ending in "
        "_mask.",
    ]


def test_swapped_files_are_refused_and_both_names_said(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0, 1)
    path = site.give_back(f"{NAME}_mask.tif", corrected(site.predicted(1)))
    assert site.take() == 0
    assert f"{path} fits unlabelled__扫描 01 and not its own image (" in caplog.text


def test_a_mask_of_another_size_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    path = site.give_back(f"{NAME}_mask.tif", np.ones((24, 24)))
    assert site.take() == 0
    assert f"The mask {path} has 24 × 24 pixels, its image 48 × 48" in caplog.text


def test_a_rim_is_refused_with_a_picture_and_mended_on_demand(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    predicted = site.predicted(0)
    drawn = predicted.copy()
    drawn[:, 40:] = 1
    smoothed = np.rint(cv2.blur(drawn.astype(np.float32), (3, 3)))
    path = site.give_back(f"{NAME}_mask.tif", smoothed)
    assert site.take() == 0
    picture = site.places.results(1) / f"{NAME}_rim.png"
    assert f"{path} has a thin rim of SE (" in caplog.text
    assert f"{picture} shows it." in caplog.text
    with Image.open(picture) as shown:
        assert shown.size[0] > 700
    site.answers = Answers(repair=True)
    assert site.take() == 1
    (label,) = site.store.labels()
    assert (site.store.ids(label) != drawn).mean() < (smoothed != drawn).mean() / 2
    assert label.state == "edited"
    np.testing.assert_array_equal(read_mask(path, site.classes).ids, smoothed)  # the file stays as it was
    site.answers = Answers()
    assert site.take() == 0
    assert caplog.text.count("older than") == 0


def test_blurred_colours_are_mended_on_demand_and_the_file_stays(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    ids = corrected(site.predicted(0))
    enlarged = colour(ids, site.classes).astype(np.float32)
    blurred = cv2.addWeighted(enlarged, 0.8, cv2.blur(enlarged, (3, 3)), 0.2, 0)
    path = site.places.handed(1) / "corrected" / f"{NAME}_mask.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.rint(blurred).astype(np.uint8)).save(path)
    content = aged(path, 100).read_bytes()
    assert site.take() == 0
    picture = site.places.results(1) / f"{NAME}_repair.png"
    assert f"`srpu active take-in --repair` takes it so: {picture}" in caplog.text
    site.answers = Answers(repair=True)
    assert site.take() == 1
    np.testing.assert_array_equal(site.store.ids(site.store.labels()[0]), ids)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    site.answers = Answers()
    before = len(caplog.records)
    assert site.take() == 0
    assert len(caplog.records) == before


def test_specks_are_filled_on_demand(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    whole = corrected(site.predicted(0))
    holed = whole.copy()
    holed[3, 3] = holed[30, 30] = 255
    site.give_back(f"{NAME}_mask.tif", holed)
    assert site.take() == 0
    assert "has 2 unlabelled pixels in specks" in caplog.text
    site.answers = Answers(repair=True)
    assert site.take() == 1
    np.testing.assert_array_equal(site.store.ids(site.store.labels()[0]), whole)


@pytest.mark.parametrize("kind", ["cut", "window", "image"])
def test_a_window_comes_back_with_or_without_what_lies_around_it(site: Site, kind: str) -> None:
    site.ask(0, window=WINDOW, cut=CUT)
    (name,) = site.open()
    assert name == f"{NAME}__r00008_c00016_16x24"
    whole = np.full((48, 48), 255, np.uint8)
    whole[WINDOW.slices] = corrected(site.predicted(0))[WINDOW.slices]
    part = {"cut": whole[CUT.slices], "window": whole[WINDOW.slices], "image": whole}[kind]
    site.give_back(f"{name}_mask.tif", part)
    assert site.take() == 1
    (label,) = site.store.labels()
    assert (label.window, label.state) == (WINDOW, "edited")
    np.testing.assert_array_equal(site.store.ids(label), whole)
    site.answers = Answers()
    assert site.take() == 0
    assert len(site.store.labels()) == 1


def test_the_published_labels_of_one_window_do_not_answer_another(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0, window=WINDOW, cut=CUT)
    site.give_back(f"{site.open()[0]}_mask.tif", corrected(site.predicted(0))[CUT.slices])
    assert site.take() == 1
    (label,) = site.store.labels()
    site.give_back("扫描 00_mask.png", site.store.ids(label), site.places.labeled / "unlabelled", age=-1)
    site.ask(0, window=Window(24, 24, 16, 16), cut=Window(20, 20, 24, 24), round_=2)
    site.answers = Answers(still=Still())
    before = len(caplog.records)
    assert site.take() == 0
    assert len(caplog.records) == before
    assert len(site.open()) == 1


def test_an_answer_to_an_older_window_is_told_from_those_to_others(site: Site) -> None:
    other = Window(24, 24, 16, 16)
    site.ask(0, window=WINDOW, cut=CUT)
    site.ask(0, window=other, cut=Window(20, 20, 24, 24), round_=2)
    first, second = site.open()
    site.give_back(f"{second}_mask.tif", 2 - site.predicted(0)[other.slices] // 2, site.places.labeled, age=100)
    assert site.take() == 1
    site.give_back(f"{first}_mask.tif", corrected(site.predicted(0))[WINDOW.slices], age=200)
    assert site.take() == 1
    ids = site.store.ids(next(iter(site.store.current().values())))
    assert (ids != 255).sum() == 16 * 24 + 16 * 16
    assert site.open() == []


def test_without_a_model_masks_are_drawn(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0, 1, round_=0, model=None)
    folder = site.places.handed(0) / "corrected"
    site.give_back(f"{NAME}_mask.tif", site.predicted(0), folder)
    empty = site.give_back("unlabelled__扫描 01_mask.tif", np.full((48, 48), 255), folder)
    assert site.take() == 1
    (label,) = site.store.labels()
    assert (label.state, label.prediction, label.round) == ("drawn", None, 0)
    assert site.store.rounds()[0].facts.get("corrections", {}) == {}
    assert f"{empty} holds no labelled pixel; paint it, or leave it out with `srpu active skip`." in caplog.text


def test_a_mask_may_end_above_the_data_bar_and_nothing_below_it_counts(site: Site) -> None:
    site.places = Places(site.places.settings.model_copy(update={"DATABAR_ROWS": 8}), site.places.workspace)
    site.ask(0, 1)
    ids = corrected(site.predicted(0))
    site.give_back(f"{NAME}_mask.tif", ids[:40])
    under = site.predicted(1).copy()
    under[40:] = 255
    site.give_back("unlabelled__扫描 01_mask.tif", under)
    site.answers.confirm_unchanged = True
    assert site.take() == 2
    first, second = site.store.labels()
    assert (first.state, second.state) == ("edited", "confirmed")
    np.testing.assert_array_equal(site.store.ids(first)[:40], ids[:40])
    assert (site.store.ids(first)[40:] == 255).all()


def test_a_mask_without_any_label_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.ask(0)
    site.give_back(f"{NAME}_mask.tif", np.full((48, 48), 255))
    assert site.take() == 0
    assert "holds no labelled pixel" in caplog.text


def test_a_mask_of_a_specimen_that_has_become_validation_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.ask(0)
    path = site.give_back(f"{NAME}_mask.tif", corrected(site.predicted(0)))
    index = site.places.workspace.path(site.places.settings.MASTER_LABELED_JSON)
    labelled = read_manifest(index)
    asked = site.records["unlabelled/扫描 00.tif"]
    write_manifest(index, [replace(one, group=asked.group) if one.split == "val" else one for one in labelled])
    assert site.take() == 0
    assert f"{path} is not taken: {asked.id} belongs to {asked.group}, which is kept for judging models." in caplog.text
