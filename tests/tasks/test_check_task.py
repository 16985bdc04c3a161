from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srpu.data.images import write_image
from srpu.data.masks import write_mask
from srpu.errors import IndexingError
from srpu.settings import Settings
from srpu.tasks import check_task, index_task
from srpu.tasks.check_task import Checked
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

SETTINGS = Settings()


def field(seed: int, height: int = 120, width: int = 150) -> np.ndarray:
    grains = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width)), (0, 0), 3)
    return np.where(grains > 0, 180, 70).astype(np.uint8)


def thirds(height: int = 120, width: int = 150) -> np.ndarray:
    return np.tile(np.arange(width) * 3 // width, (height, 1)).astype(np.uint8)


class Place:
    """A workspace in a folder with a space and Chinese characters in its name."""

    def __init__(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        root.mkdir()
        self.root, self.workspace, self._caplog = root, Workspace(root), caplog
        caplog.set_level(logging.INFO, logger="srpu")

    def pair(self, name: str, image: np.ndarray, ids: np.ndarray | None = None) -> None:
        write_image(self.root / "data/raw" / f"{name}.tif", image)
        self.mask(name, thirds(*image.shape) if ids is None else ids)

    def mask(self, name: str, ids: np.ndarray) -> None:
        write_mask(self.root / "data/labeled" / f"{name}.png", ids, class_map(SETTINGS))

    def index(self, **split: list[str]) -> None:
        (self.root / "split.json").write_text(json.dumps(split), encoding="utf-8")
        index_task.run(SETTINGS.model_copy(update={"SPLIT_FILE": "split.json"}), self.workspace)

    def check(self, **settings: object) -> Checked:
        self._caplog.clear()
        return check_task.run(SETTINGS.model_copy(update=settings), self.workspace)

    def sole(self, kind: str, **settings: object) -> str:
        """The only problem, which must be of this kind, and must be said."""
        checked = self.check(**settings)
        assert list(checked.kinds) == [kind]
        (sentence,) = checked.kinds[kind]
        assert checked.problems == 1
        assert kind in self.said
        assert sentence in self.said
        written = json.loads((self.root / "statistics/check.json").read_text(encoding="utf-8"))
        assert written == {kind: [sentence]}
        return sentence

    @property
    def said(self) -> str:
        return self._caplog.text


@pytest.fixture
def place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Place:
    """Two training images and one of validation, all well."""
    place = Place(tmp_path / "my 工作", caplog)
    for seed, name in enumerate(("alpha", "beta", "碳 3")):
        place.pair(name, field(seed))
    place.index(train=["alpha", "beta"], val=["碳 3"])
    return place


def test_all_is_well(place: Place) -> None:
    checked = place.check()
    assert checked.problems == 0
    assert "No problem was found. Labelled images: 3." in place.said
    assert not (place.root / "statistics/leaks").exists()


def test_a_broken_image_is_named_once(place: Place) -> None:
    path = place.root / "data/raw/alpha.tif"
    path.write_bytes(path.read_bytes()[:200])
    assert "alpha.tif" in place.sole(check_task.UNUSABLE)


def test_a_text_file_that_was_never_indexed_is_named(place: Place) -> None:
    (place.root / "data/raw/notes.png").write_text("no picture", encoding="utf-8")
    assert "notes.png" in place.sole(check_task.UNUSABLE)


def test_a_mask_shorter_by_the_data_bar_says_so(place: Place) -> None:
    place.mask("beta", thirds(108))
    assert "set DATABAR_ROWS = 12" in place.sole(check_task.UNUSABLE)


def test_a_mask_with_a_strange_id_is_named(place: Place) -> None:
    Image.fromarray(np.full((120, 150), 7, np.uint8)).save(place.root / "data/labeled/beta.png")
    assert "beta.png" in place.sole(check_task.UNUSABLE)


def test_masks_that_cannot_be_paired_are_named_and_leaks_are_sought_nevertheless(place: Place) -> None:
    place.mask("nobody", thirds())
    write_image(place.root / "data/raw/碳 3.tif", field(0))
    checked = place.check()
    assert list(checked.kinds) == [check_task.UNPAIRED, check_task.LEAKS]
    assert "nobody" in checked.kinds[check_task.UNPAIRED][0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda place: write_image(place.root / "data/raw/alpha.tif", field(9)), "alpha.tif has changed"),
        (lambda place: (place.root / "data/labeled/alpha.png").unlink(), "alpha.tif has no mask any more"),
        (lambda place: place.pair("new", field(8)), "new.tif has been labelled since"),
    ],
)
def test_an_index_out_of_date_is_told(place: Place, change: object, sentence: str) -> None:
    change(place)  # type: ignore[operator]
    assert sentence in place.sole(check_task.OUTDATED)


def test_an_image_that_is_gone_is_told(place: Place) -> None:
    for path in ("data/raw/alpha.tif", "data/labeled/alpha.png"):
        (place.root / path).unlink()
    assert place.sole(check_task.OUTDATED) == "alpha.tif is gone."


def test_a_mask_without_a_label_is_told(place: Place) -> None:
    place.pair("blank", field(8), np.full((120, 150), 255, np.uint8))
    assert "blank.tif" in place.sole(check_task.EMPTY)


def test_classes_that_never_occur_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Place(tmp_path / "classes", caplog)
    place.pair("a", field(1), np.zeros((120, 150), np.uint8))
    place.pair("b", field(2), thirds() % 2)
    place.index(train=["a"], val=["b"])
    assert place.check().kinds == {
        check_task.CLASSES: [
            "Class 1 (SE) occurs in no training mask; it cannot be learned.",
            "Class 2 (AM) occurs in no mask; label some of it, or take it out of CLASS_NAMES, COLOR_MAPPING and "
            "NUM_CLASSES.",
        ]
    }


def test_a_class_that_validation_lacks_is_told(place: Place) -> None:
    place.mask("碳 3", thirds() % 2)
    assert place.sole(check_task.CLASSES) == "Class 2 (AM) occurs in no validation mask; its score there is n/a."


def test_specimens_that_a_hand_made_split_tears_are_told(place: Place) -> None:
    for seed, name in ((5, "cell7_a"), (6, "cell7_b")):
        place.pair(name, field(seed))
    place.index(train=["alpha", "beta", "cell7_a"], val=["碳 3", "cell7_b"])
    sentence = place.sole(check_task.SPECIMENS, GROUP_PATTERN="(cell[0-9]+)_")
    assert sentence == "cell7 has training and validation images."


def with_bar(image: np.ndarray) -> np.ndarray:
    bar = np.zeros((24, image.shape[1]), np.uint8)
    bar[6:18, 10 : image.shape[1] - 40 : 4] = 255
    return np.vstack([image, bar])


def test_a_data_bar_that_nobody_told_of_is_found_and_does_not_make_duplicates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(tmp_path / "bars", caplog)
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        place.pair(name, with_bar(field(seed, 200, 260)))
    place.index(train=["alpha", "beta"], val=["gamma"])
    assert "Images with a data bar at the bottom: 3" in place.sole(check_task.DATABARS)
    assert place.check(DATABAR_ROWS="auto").problems == 0


def test_leaks_are_told_and_drawn_and_forgotten_when_mended(place: Place) -> None:
    copy = (field(0)[:, ::-1] // 2 + 40).astype(np.uint16) * 100
    place.pair("exact", field(1))
    place.pair("near", copy)
    place.index(train=["alpha", "beta"], val=["碳 3", "exact"], test=["near"])
    checked = place.check()
    exact, near = checked.kinds[check_task.LEAKS]
    assert exact == "val exact.tif shows the same as train beta.tif (exactly). See leaks/leak_001.png."
    assert near.startswith("test near.tif shows the same as train alpha.tif (correlation 1.00, mirrored).")
    folder = place.root / "statistics/leaks"
    with Image.open(folder / "leak_002.png") as picture:
        assert picture.width > picture.height
    rows = list(csv.DictReader((folder / "leaks.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["first"], row["second"], row["picture"]) for row in rows] == [
        ("beta.tif", "exact.tif", "leak_001.png"),
        ("alpha.tif", "near.tif", "leak_002.png"),
    ]
    for name in ("exact", "near"):
        (place.root / f"data/raw/{name}.tif").unlink()
        (place.root / f"data/labeled/{name}.png").unlink()
    place.index(train=["alpha", "beta"], val=["碳 3"])
    assert place.check().problems == 0
    assert list(folder.iterdir()) == []


def test_the_threshold_is_a_setting(place: Place) -> None:
    assert check_task.LEAKS in place.check(NEAR_DUPLICATE_CORRELATION=0.01).kinds


def test_frames_of_one_film_in_training_and_test_are_leaks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Place(tmp_path / "film", caplog)
    film, rng = field(3, 160, 300), np.random.default_rng(0)
    names = [f"{name} frame" for name in ("first", "second", "third", "fourth")]
    for number, name in enumerate(names):
        frame = film[:, 10 * number : 10 * number + 200] + rng.normal(0, 20, (160, 200))
        place.pair(name, np.clip(frame, 0, 255).astype(np.uint8))
    place.index(train=[names[0], names[2]], test=[names[1], names[3]])
    assert len(place.check().kinds[check_task.LEAKS]) == 2


def test_without_an_index_one_sentence_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(IndexingError, match="srpu index"):
        Place(tmp_path / "empty", caplog).check()
