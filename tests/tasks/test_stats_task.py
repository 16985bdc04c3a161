from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srpu.data.images import write_image
from srpu.data.masks import write_mask
from srpu.errors import IndexingError, WorkspaceError
from srpu.settings import Settings
from srpu.tasks import index_task, stats_task
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

SETTINGS = Settings(CROP_SIZE=32)


class Place:
    """A workspace in a folder with a space and Chinese characters in its name."""

    def __init__(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        root.mkdir()
        self.root, self.workspace, self._caplog = root, Workspace(root), caplog
        caplog.set_level(logging.INFO, logger="srpu")

    def pair(self, name: str, image: np.ndarray, ids: np.ndarray, dataset: str = "") -> None:
        images, masks = (
            (f"datasets/{dataset}/raw_images", f"datasets/{dataset}/masks_3class")
            if dataset
            else ("data/raw", "data/labeled")
        )
        write_image(self.root / images / f"{name}.tif", image)
        write_mask(self.root / masks / f"{name}.png", ids, class_map(SETTINGS))

    def index(self, **split: list[str]) -> None:
        (self.root / "split.json").write_text(json.dumps(split), encoding="utf-8")
        index_task.run(SETTINGS.model_copy(update={"SPLIT_FILE": "split.json"}), self.workspace)

    def stats(self, show_augmentations: bool = False) -> stats_task.Statistics:
        self._caplog.clear()
        return stats_task.run(SETTINGS, self.workspace, show_augmentations)

    def table(self, name: str) -> list[dict[str, str]]:
        text = (self.root / "statistics" / name).read_text(encoding="utf-8-sig")
        return list(csv.DictReader(text.splitlines()))

    @property
    def said(self) -> str:
        return self._caplog.text


@pytest.fixture
def place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Place:
    return Place(tmp_path / "my 工作", caplog)


def halves(first: int, second: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    ids = np.full(shape, first, np.uint8)
    ids[:, shape[1] // 2 :] = second
    return ids


def steps(low: int, high: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    """Half the rows dark, half bright: mean in the middle, deviation half the step."""
    image = np.full(shape, low, np.uint8)
    image[shape[0] // 2 :] = high
    return image


def fill(place: Place) -> None:
    place.pair("a", steps(10, 30), halves(0, 1))
    place.pair("b", steps(50, 90), halves(1, 1))
    place.pair("c", steps(0, 200, (60, 50)), halves(2, 255, (60, 50)), dataset="正极")
    place.index(train=["a", "b"], val=["c"])


def test_shares_and_grey_levels_of_each_data_set_and_split(place: Place) -> None:
    fill(place)
    found = place.stats()
    assert list(found.tallies) == [("labeled", "train"), ("labeled", "all"), ("正极", "val"), ("正极", "all")] + [
        ("all", split) for split in ("train", "val", "all")
    ]
    rows = {(row["data_set"], row["split"]): row for row in place.table("statistics.csv")}
    train, val = rows["labeled", "train"], rows["正极", "val"]
    assert (float(train["mean"]), float(train["min"]), float(train["max"])) == (45.0, 10.0, 90.0)
    assert float(train["std"]) == pytest.approx(np.std([10, 30, 50, 90]))
    assert [float(train[f"share {name}"]) for name in ("carbon", "SE", "AM")] == [0.25, 0.75, 0]
    assert (float(val["share AM"]), float(val["labelled_share"]), val["pixels AM"]) == (1.0, 0.5, "1500")
    assert rows["all", "all"]["images"] == "3"
    assert "carbon" in place.said


def test_json_holds_the_same_and_the_sizes(place: Place) -> None:
    fill(place)
    write_image(place.root / "data/raw/unlabelled.png", np.arange(70 * 30, dtype=np.uint16).reshape(70, 30))
    place.index(train=["a", "b"], val=["c"])
    place.stats()
    content = json.loads((place.root / "statistics/statistics.json").read_text(encoding="utf-8"))
    assert [row["data_set"] for row in content["image_sizes"]] == ["labeled", "raw", "正极"]
    assert {(row["width"], row["height"], row["images"]) for row in content["image_sizes"]} == {
        (50, 40, 2),
        (30, 70, 1),
        (50, 60, 1),
    }
    assert [row["width"] for row in place.table("image_sizes.csv")] == ["50", "30", "50"]
    assert content["skipped"] == []


def test_the_picture_is_drawn_also_with_chinese_names(place: Place) -> None:
    fill(place)
    place.stats()
    with Image.open(place.root / "statistics/statistics.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 20


def test_rows_of_the_data_bar_do_not_count(place: Place) -> None:
    image = np.vstack([steps(100, 200), np.zeros((10, 50), np.uint8)])
    place.pair("a", image, np.vstack([halves(0, 1), halves(2, 2)[:10]]))
    place.index(train=["a"])
    settings = SETTINGS.model_copy(update={"DATABAR_ROWS": 10})
    tally = stats_task.run(settings, place.workspace).tallies["labeled", "train"]
    assert (tally.mean, tally.counts.tolist()) == (150.0, [1000, 1000, 0])


def test_an_image_that_broke_since_is_named_and_left_out(place: Place) -> None:
    fill(place)
    (place.root / "data/raw/a.tif").write_bytes(b"broken")
    found = place.stats()
    assert len(found.skipped) == 1
    assert "a.tif" in found.skipped[0]
    assert "Images left out: 1;" in place.said
    assert found.tallies["labeled", "train"].images == 1


def test_a_file_that_is_gone_is_named(place: Place) -> None:
    fill(place)
    (place.root / "data/labeled/b.png").unlink()
    assert "b.png" in place.stats().skipped[0]


def test_without_masks_sizes_are_told(place: Place) -> None:
    write_image(place.root / "data/raw/x.png", steps(0, 9))
    index_task.run(SETTINGS, place.workspace)
    found = place.stats()
    assert found.tallies == {}
    assert found.sizes["raw", 50, 40, None] == 1


def test_without_an_index_one_sentence_says_so(place: Place) -> None:
    with pytest.raises(IndexingError, match="srpu index"):
        place.stats()


def test_a_folder_that_cannot_be_written_is_one_sentence(place: Place) -> None:
    fill(place)
    (place.root / "statistics").write_text("in the way", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="statistics"):
        place.stats()


def test_augmentations_are_drawn(place: Place) -> None:
    fill(place)
    found = place.stats(show_augmentations=True)
    assert found.files[-1] == place.root / "statistics/augmentations.png"
    with Image.open(found.files[-1]) as sheet:
        pixels = np.asarray(sheet)
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3)[::7].tolist()}
    assert any(red == green == blue for red, green, blue in colours)
    assert any(blue > red + 50 for red, _, blue in colours), "the classes are painted below"


def test_augmentations_need_a_training_image(place: Place) -> None:
    place.pair("a", steps(0, 9), halves(0, 1))
    place.index(val=["a"])
    with pytest.raises(IndexingError, match="no training image"):
        place.stats(show_augmentations=True)
