"""Files are waited for until they are whole, and belong to what their names say or to nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srpu.active.entries import AskedQuery
from srpu.active.intake import APART, QUIET, HandedOut, Names, Stillness
from srpu.active.labels import ids_hash
from srpu.active.query import Query, Window
from srpu.data.classes import ClassMap
from srpu.data.masks import write_mask
from srpu.files import write_json

CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))


class Clock:
    """Time that only passes while somebody pauses; then ``during`` happens."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now, self.pauses, self.during = now, 0, lambda: None

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1
        self.during()


def write(path: Path, size: int, written: float) -> Path:
    path.write_bytes(bytes(size))
    os.utime(path, (written, written))
    return path


def test_an_old_file_is_whole_at_once(tmp_path: Path) -> None:
    clock = Clock()
    path = write(tmp_path / "a", 5, clock.now - QUIET - 1)
    whole, young = Stillness(clock, clock.pause).sort([path])
    assert (whole, young) == ({path: (5, int((clock.now - QUIET - 1) * 1e9))}, [])
    assert clock.pauses == 0


@pytest.mark.parametrize("ahead", [0, 3600])  # also where the file server's clock is ahead
def test_a_young_file_that_stays_as_it_is_is_whole_after_one_pause(tmp_path: Path, ahead: int) -> None:
    clock = Clock()
    path = write(tmp_path / "a", 5, clock.now + ahead)
    whole, young = Stillness(clock, clock.pause).sort([path])
    assert (list(whole), young, clock.pauses) == ([path], [], 1)


def test_a_growing_file_is_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    still = Stillness(clock, clock.pause)
    path = write(tmp_path / "a", 5, clock.now)
    clock.during = lambda: write(path, 9, clock.now) and None
    assert still.sort([path]) == ({}, [path])
    clock.during = lambda: None
    clock.now += 10 * APART  # the next look: it is as it was, and older than QUIET
    assert list(still.sort([path])[0]) == [path]


def test_a_file_of_the_same_size_and_another_time_still_grows(tmp_path: Path) -> None:
    clock = Clock()
    path = write(tmp_path / "a", 5, clock.now)
    clock.during = lambda: write(path, 5, clock.now) and None
    assert Stillness(clock, clock.pause).sort([path]) == ({}, [path])


def test_a_file_that_is_gone_is_neither_whole_nor_growing(tmp_path: Path) -> None:
    clock = Clock()
    assert Stillness(clock, clock.pause).sort([tmp_path / "gone"]) == ({}, [])


# names

WINDOW = Window(0, 16, 16, 16)
OPEN = [
    AskedQuery(1, 1, Query("sa", "b1/s 1.tif"), {}),
    AskedQuery(2, 1, Query("sb", "b2/s 1.tif"), {}),
    AskedQuery(3, 1, Query("sc", "s 3.tif"), {}),
    AskedQuery(4, 1, Query("sd", "s 4.tif", WINDOW), {}),
    AskedQuery(5, 1, Query("sd", "s 4.tif", Window(16, 16, 16, 16)), {}),
]
IMAGES = [("sa", "b1/s 1.tif"), ("sb", "b2/s 1.tif"), ("sc", "s 3.tif"), ("sd", "s 4.tif"), ("se", "b1/扫描 5.tif")]


def found(*parts: str) -> list[str]:
    return [target.query.name for target in Names(OPEN, IMAGES).find(parts)]


@pytest.mark.parametrize("ending", ["", "_mask", "_predicted_mask", "_Label", "_mask_repaired"])
@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".png", ".bmp"])
def test_a_mask_is_called_like_its_query(ending: str, suffix: str) -> None:
    assert found(f"b1__s 1{ending}{suffix}") == ["b1__s 1"]
    assert found(f"s 4__r00000_c00016_16x16{ending}{suffix}") == ["s 4__r00000_c00016_16x16"]


def test_a_mask_may_be_called_like_its_image_where_that_is_clear() -> None:
    assert found("S 3_mask.tif") == ["s 3"]
    assert found("s 1_mask.tif") == ["b1__s 1", "b2__s 1"]
    assert found("b2", "s 1_mask.tif") == ["b2__s 1"]
    assert found("扫描 5.png") == ["b1__扫描 5"]
    assert found("nothing_mask.tif") == []


def test_the_name_of_an_image_is_that_of_its_only_open_window() -> None:
    assert found("s 4_mask.tif") == ["s 4__r00000_c00016_16x16", "s 4__r00016_c00016_16x16"]
    (target,) = Names(OPEN[:4], IMAGES).find(["s 4_mask.tif"])
    assert target.asked == OPEN[3]
    (target,) = Names(OPEN[:3], IMAGES).find(["s 4_mask.tif"])
    assert (target.query, target.asked) == (Query("sd", "s 4.tif"), None)


def test_of_a_query_that_was_asked_twice_the_open_one_counts() -> None:
    query = Query("sa", "b1/s 1.tif")
    asked = [AskedQuery(1, 1, query, {}, "returned"), AskedQuery(2, 2, query, {})]
    (target,) = Names(asked, IMAGES).find(["b1__s 1_mask.tif"])
    assert target.asked == asked[1]
    over = [AskedQuery(1, 1, query, {}, "returned"), AskedQuery(2, 2, query, {}, "answered")]
    (target,) = Names(over, IMAGES).find(["b1__s 1_mask.tif"])
    assert target.asked == over[1]


# what was handed out


def test_an_edited_prediction_is_none_and_a_copy_of_it_is(tmp_path: Path) -> None:
    query, ids = Query("s" * 64, "a.tif"), np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    entry = {"name": "a", "image": "s" * 64, "cut": [0, 0, 3, 4], "written": ["other", ids_hash(ids)]}
    write_json(tmp_path / "selection_info.json", {"model": "m", "queries": [entry]})
    handed = HandedOut(tmp_path, tmp_path / "results", CLASSES)
    write_mask(handed.file(query), ids, CLASSES)
    predicted = handed.predicted(query)
    assert predicted is not None
    np.testing.assert_array_equal(predicted, ids)
    assert (handed.model, handed.cut(query), handed.was_written(query, ids)) == ("m", Window(0, 0, 3, 4), True)
    edited = np.ones_like(ids)
    write_mask(handed.file(query), edited, CLASSES)
    assert handed.predicted(query) is None
    assert not handed.was_written(query, edited)
    (tmp_path / "results").mkdir()
    Image.fromarray(ids).save(tmp_path / "results" / "a_predicted.png")
    predicted = handed.predicted(query)
    assert predicted is not None
    np.testing.assert_array_equal(predicted, ids)


def test_an_empty_mask_is_no_prediction(tmp_path: Path) -> None:
    empty = np.full((3, 4), 255, np.uint8)
    write_json(
        tmp_path / "selection_info.json", {"model": None, "queries": [{"name": "a", "written": [ids_hash(empty)]}]}
    )
    handed = HandedOut(tmp_path, tmp_path, CLASSES)
    write_mask(handed.file(Query("x", "a.tif")), empty, CLASSES)
    assert handed.predicted(Query("x", "a.tif")) is None
    assert (handed.model, handed.was_blank(Query("x", "a.tif"))) == (None, True)


def test_without_a_folder_nothing_is_known(tmp_path: Path) -> None:
    handed, query = HandedOut(tmp_path, tmp_path, CLASSES), Query("x", "a.tif")
    assert (handed.predicted(query), handed.model, handed.cut(query)) == (None, None, None)
    (tmp_path / "selection_info.json").write_text("{", encoding="utf-8")
    assert HandedOut(tmp_path, tmp_path, CLASSES).model is None
    assert not handed.knows(query)
