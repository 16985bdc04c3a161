"""The folder that a round hands out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srpu.active.handoff import INSTRUCTIONS, SELECTION, Handed, Handover, cut_around, instructions, mask_to_correct
from srpu.active.labels import ids_hash
from srpu.active.query import Query, Window
from srpu.data.classes import ClassMap
from srpu.data.images import image_info, read_image
from srpu.data.masks import read_mask, write_mask
from srpu.files import read_json

CLASSES = ClassMap(("碳", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
IMAGE = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 50
IDS = np.tile(np.array([0, 1, 2, 255], np.uint8), (30, 10))
HANDED = Handed(Query("a" * 64, "试 样/s1.tif"), Window(0, 0, 30, 40), 1, 0.25, "because")


def begun(folder: Path, names: set[str] | None = None) -> Handover:
    return Handover(folder, 3, "m" * 64, CLASSES, names or {HANDED.name})


def test_folder_holds_what_is_needed(tmp_path: Path) -> None:
    """One folder with image, mask, colours, macro and instructions."""
    folder = begun(tmp_path)
    assert folder.write(HANDED, IMAGE, IDS, pixel_size_nm=12.5)
    folder.write_aids()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "INSTRUCTIONS.txt", "SRPU_correct_masks.ijm", "SRPU_labels.lut", "corrected", "selection_info.json",
        "试 样__s1.tif", "试 样__s1_predicted_mask.png", "试 样__s1_predicted_mask.tif",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "试 样__s1.tif"), IMAGE)
    assert image_info(tmp_path / "试 样__s1.tif").pixel_size_nm == pytest.approx(12.5)
    for ending in ("tif", "png"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"试 样__s1_predicted_mask.{ending}", CLASSES).ids, IDS)
    info = read_json(tmp_path / SELECTION)
    assert (info["round"], info["model"], info["classes"][2]) == (
        3,
        "m" * 64,
        {"id": 2, "name": "AM", "color": [255, 126, 126]},
    )
    assert info["queries"] == [
        {
            "name": "试 样__s1",
            "id": "试 样/s1.tif",
            "image": "a" * 64,
            "window": None,
            "cut": [0, 0, 30, 40],
            "files": {
                "image": "试 样__s1.tif",
                "mask": "试 样__s1_predicted_mask.tif",
                "corrected": "corrected/试 样__s1_mask.tif",
                "colored": "试 样__s1_predicted_mask.png",
            },
            "rank": 1,
            "score": 0.25,
            "reason": "because",
            "written": [ids_hash(IDS)],
        }
    ]


def test_written_again_after_a_crash(tmp_path: Path) -> None:
    """What is missing or untouched is written anew, also with another prediction."""
    begun(tmp_path).write(HANDED, IMAGE, IDS)
    (tmp_path / "试 样__s1.tif").unlink()
    other = np.where(IDS == 1, np.uint8(2), IDS)
    assert begun(tmp_path).write(HANDED, IMAGE, other)
    np.testing.assert_array_equal(read_image(tmp_path / "试 样__s1.tif"), IMAGE)
    np.testing.assert_array_equal(read_mask(tmp_path / HANDED.files["mask"], CLASSES).ids, other)
    assert read_json(tmp_path / SELECTION)["queries"][0]["written"] == [ids_hash(IDS), ids_hash(other)]


def test_killed_between_note_and_mask(tmp_path: Path) -> None:
    """A mask of an older note that is on the disk is not taken for an edited one."""
    begun(tmp_path).write(HANDED, IMAGE, IDS)
    other = np.where(IDS == 1, np.uint8(2), IDS)
    begun(tmp_path).write(HANDED, IMAGE, other)
    write_mask(tmp_path / HANDED.files["mask"], IDS, CLASSES)  # as if the second one had not been written
    assert begun(tmp_path).write(HANDED, IMAGE, other)
    np.testing.assert_array_equal(read_mask(tmp_path / HANDED.files["mask"], CLASSES).ids, other)


def test_edited_mask_stays(tmp_path: Path) -> None:
    """What somebody painted is never written over, and what had been handed out stays noted."""
    begun(tmp_path).write(HANDED, IMAGE, IDS)
    painted = IDS.copy()
    painted[0, 0] = 2
    write_mask(tmp_path / HANDED.files["mask"], painted, CLASSES)
    for _ in range(2):
        folder = begun(tmp_path)
        assert not folder.write(HANDED, IMAGE, np.zeros_like(IDS))
        np.testing.assert_array_equal(read_mask(tmp_path / HANDED.files["mask"], CLASSES).ids, painted)
        assert read_json(tmp_path / SELECTION)["queries"][0]["written"] == [ids_hash(IDS)]


@pytest.mark.parametrize("damage", ["", "{}", '{"queries": [1]}', "[]"])
def test_damaged_notes_keep_masks(tmp_path: Path, damage: str) -> None:
    """Where nobody knows what was handed out, a mask counts as edited."""
    begun(tmp_path).write(HANDED, IMAGE, IDS)
    (tmp_path / SELECTION).write_text(damage)
    assert not begun(tmp_path).write(HANDED, IMAGE, np.zeros_like(IDS))
    np.testing.assert_array_equal(read_mask(tmp_path / HANDED.files["mask"], CLASSES).ids, IDS)


def test_damaged_mask_stays(tmp_path: Path) -> None:
    """A file that cannot be read may hold somebody's work."""
    begun(tmp_path).write(HANDED, IMAGE, IDS)
    (tmp_path / HANDED.files["mask"]).write_bytes(b"half a mask")
    assert not begun(tmp_path).write(HANDED, IMAGE, IDS)
    assert (tmp_path / HANDED.files["mask"]).read_bytes() == b"half a mask"


def test_other_queries_are_forgotten(tmp_path: Path) -> None:
    """Notes of queries that are not asked any more leave the folder's list."""
    begun(tmp_path).write(HANDED, IMAGE, IDS)
    later = Handed(Query("b" * 64, "s2.tif"), Window(0, 0, 30, 40), 1)
    begun(tmp_path, {"s2"}).write(later, IMAGE, IDS)
    assert [one["name"] for one in read_json(tmp_path / SELECTION)["queries"]] == ["s2"]


def test_no_colours_where_none_are_wanted(tmp_path: Path) -> None:
    """save_colored_masks = False leaves the PNG out."""
    plain = Handed(HANDED.query, HANDED.cut, 1, colored=False)
    begun(tmp_path).write(plain, IMAGE, IDS)
    assert not (tmp_path / "试 样__s1_predicted_mask.png").exists()
    assert "colored" not in read_json(tmp_path / SELECTION)["queries"][0]["files"]


def test_cut_ends_at_the_image() -> None:
    """Context is cut off at the edges, and a whole image has none."""
    assert cut_around(Window(30, 40, 20, 20), (55, 100), 10) == Window(20, 30, 35, 40)
    assert cut_around(None, (55, 100), 10) == Window(0, 0, 55, 100)


def test_mask_shows_prediction_and_labels() -> None:
    """Labels stand over the prediction; the data bar stays open."""
    predicted = np.ones((4, 5), np.uint8)
    labelled = np.full((4, 5), 255, np.uint8)
    labelled[0, :2] = 2
    expected = np.array([[2, 2, 1, 1, 1], [1] * 5, [1] * 5, [255] * 5])
    np.testing.assert_array_equal(mask_to_correct((4, 5), 3, predicted, labelled, None), expected)


def test_mask_of_a_window() -> None:
    """Around the window all is 255, also what is labelled; without a prediction it is 255 too."""
    labelled = np.full((4, 5), 255, np.uint8)
    labelled[:2] = 2
    ids = mask_to_correct((4, 5), 3, np.ones((3, 5), np.uint8), labelled, Window(1, 1, 3, 2))
    expected = np.full((4, 5), 255)
    expected[1, 1:3], expected[2, 1:3] = 2, 1
    np.testing.assert_array_equal(ids, expected)
    assert (mask_to_correct((4, 5), 3, None, None, Window(1, 1, 3, 2)) == 255).all()


def test_instructions_name_colours_and_verbs() -> None:
    """Each class with its colour, in both languages, and what to type afterwards."""
    text = instructions(CLASSES, 4, 7, regions=True)
    english, chinese = text.split("-" * 72)
    assert "Round 4 of active learning: 7 masks" in english
    assert "  0  blue (0, 0, 255): 碳" in english
    assert "  2  pink (255, 126, 126): AM" in english
    assert "255  black (0, 0, 0): not labelled" in english
    assert "2  粉红色 (255, 126, 126)：AM" in chinese
    assert "主动学习第 4 轮：7 个" in chinese
    for part in (english, chinese):
        assert "srpu active take-in --unchanged" in part
        assert "SRPU_correct_masks.ijm" in part
    assert "window" in english
    assert "window" not in instructions(CLASSES, 4, 7, regions=False)


def test_windows_are_framed(tmp_path: Path) -> None:
    """The macro knows where in what is shown the window lies."""
    folder = begun(tmp_path, {"s1__r00010_c00020_8x9"})
    cut = Window(6, 16, 30, 40)
    folder.write(Handed(Query("a" * 64, "s1.tif", Window(10, 20, 8, 9)), cut, 1), IMAGE, IDS)
    folder.write_aids()
    text = (tmp_path / "SRPU_correct_masks.ijm").read_text()
    assert 'var framed = newArray("s1__r00010_c00020_8x9");' in text
    assert "var frames = newArray(4, 4, 9, 8);" in text
    assert "yellow frame" in (tmp_path / INSTRUCTIONS).read_text(encoding="utf-8")


def test_instructions_are_in_the_folder(tmp_path: Path) -> None:
    """They count what is there."""
    folder = begun(tmp_path)
    folder.write(HANDED, IMAGE, IDS)
    folder.write_aids()
    assert (tmp_path / INSTRUCTIONS).read_text(encoding="utf-8").startswith("Round 3 of active learning: 1 mask to")
