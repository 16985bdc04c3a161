"""The macro and the colours for ImageJ; with ImageJ itself where it is installed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srpu.active.imagej import CORRECTED, LUT, MACRO, macro, painting_colours, write_lut, write_macro
from srpu.active.query import Window
from srpu.data.classes import ClassMap
from srpu.data.images import write_image
from srpu.data.masks import read_mask, write_mask
from srpu.data.synthetic import generate

CLASSES = ClassMap(("carbon", 'SE "电解质"', "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
JAR = "/usr/share/java/ij.jar"
SECONDS = 60


def test_unused_ids_look_like_class_0() -> None:
    """Whatever colour somebody paints with, the nearest entry with the lowest id means something."""
    colours = painting_colours(CLASSES).astype(int)
    random = np.random.default_rng(0)
    for chosen in [*random.integers(0, 256, (300, 3)), *colours]:
        nearest = int(((colours - chosen) ** 2).sum(axis=1).argmin())
        assert nearest in (0, 1, 2, 255)


def test_ignore_index_of_ones_own() -> None:
    """The entry of pixels that are not labelled is where the files have it."""
    classes = ClassMap(CLASSES.names, CLASSES.colors, ignore_color=(9, 9, 9), ignore_index=3)
    assert painting_colours(classes)[[3, 255]].tolist() == [[9, 9, 9], [0, 0, 255]]


def test_lut_file(tmp_path: Path) -> None:
    """256 reds, 256 greens, 256 blues."""
    write_lut(tmp_path / LUT, CLASSES)
    levels = (tmp_path / LUT).read_bytes()
    assert len(levels) == 768
    assert [levels[2], levels[256 + 2], levels[512 + 2]] == [255, 126, 126]


def test_macro_is_ascii_and_finds_its_folder() -> None:
    """No path is written into it, and no letter that ImageJ could misread."""
    text = macro(CLASSES)
    assert text.isascii()
    assert set(re.findall(r'"(/[^"]*)"', text)) == {"/", "/corrected/"}
    assert "$" not in text  # every blank is filled
    assert "var ids = newArray(0, 1, 2, 255);" in text
    assert """ "SE '" + fromCharCode(30005, 35299, 36136) + "'" """.strip() in text


@pytest.mark.parametrize(("count", "keys"), [(2, 2), (12, 10)])
def test_each_class_has_a_key(count: int, keys: int) -> None:
    """The digits are classes; there are ten."""
    classes = ClassMap(tuple(f"c{n}" for n in range(count)), tuple((n, 255, n) for n in range(count)))
    assert len(re.findall(r'macro "Paint class \d+ \[\d\]"', macro(classes))) == keys


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A display that nobody sees."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    with os.fdopen(read) as file:
        number = file.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


def run_imagej(folder: Path, display: str, painter: str = "") -> str:
    """Open and save every mask of ``folder``, and paint in between; gives what ImageJ printed."""
    script = folder.parent / "painter.ijm"
    script.write_text(painter)
    done = subprocess.run(
        ["java", f"-Duser.home={folder.parent}", "-cp", JAR, "ij.ImageJ", "-batch", folder / MACRO, f"batch{script}"],
        env={**os.environ, "DISPLAY": display, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout


def hand_out(folder: Path, classes: ClassMap, *images: np.ndarray) -> np.ndarray:
    """A folder as a round writes it; gives the ids of each mask."""
    ids = generate(60, 80, seed=3)[1]
    ids[-8:] = 255
    for number, image in enumerate(images):
        write_image(folder / f"样品 {number}.tif", image)
        write_mask(folder / f"样品 {number}_predicted_mask.tif", ids, classes)
    write_lut(folder / LUT, classes)
    write_macro(folder / MACRO, classes)
    return ids


@pytest.mark.imagej
@pytest.mark.parametrize("ignore_index", [255, 3])
def test_imagej_keeps_ids(tmp_path: Path, display: str, ignore_index: int) -> None:
    """Images of every number type: the mask comes back with the same ids and colours."""
    classes = ClassMap(CLASSES.names, CLASSES.colors, ignore_index=ignore_index)
    grey = generate(60, 80, seed=3)[0]
    folder = tmp_path / "第 1 轮 [a"
    ids = hand_out(folder, classes, grey, grey.astype(np.uint16) * 99, grey.astype(np.float32) / 7)
    assert "SRPU: done" in run_imagej(folder, display)
    for number in range(3):
        mask = read_mask(folder / CORRECTED / f"样品 {number}_mask.tif", classes)
        np.testing.assert_array_equal(mask.ids, ids)
        assert (mask.how, mask.near) == ("palette colours", 0)


@pytest.mark.imagej
def test_imagej_paints_classes_only(tmp_path: Path, display: str) -> None:
    """The colours of classes paint their ids; any other colour paints the nearest class."""
    folder = tmp_path / "round"
    ids = hand_out(folder, CLASSES, generate(60, 80, seed=3)[0].astype(np.uint16) * 99)
    colours = [(0, 0, 255), (0, 255, 255), (255, 126, 126), (0, 0, 0), (255, 255, 255), (130, 128, 128), (200, 90, 80)]
    run_imagej(
        folder,
        display,
        "".join(
            f'setForegroundColor{rgb}; makeRectangle({10 * place}, 0, 10, 20); run("Fill", "slice");\n'
            for place, rgb in enumerate(colours)
        )
        + "setColor(255, 126, 126); setLineWidth(5); drawLine(5, 30, 70, 45);\n",
    )
    painted = read_mask(folder / CORRECTED / "样品 0_mask.tif", CLASSES).ids
    expected = [0, 1, 2, 255, 2, 2, 2]
    for place, id_ in enumerate(expected):
        assert set(painted[:20, 10 * place : 10 * place + 10].flat) == {id_}
    line = painted[25:52] != ids[25:52]
    assert line.any()
    assert set(painted[25:52][line].flat) == {2}
    np.testing.assert_array_equal(painted[20:25], ids[20:25])


@pytest.mark.imagej
def test_imagej_shows_the_image_over_the_mask(tmp_path: Path, display: str) -> None:
    """The SEM image is an overlay of the mask's window, stretched for contrast, and is not saved with the mask."""
    folder = tmp_path / "round"
    grey = generate(60, 80, seed=3)[0].astype(np.uint16) * 9
    hand_out(folder, CLASSES, grey)
    printed = run_imagej(
        folder,
        display,
        'print("overlays " + Overlay.size + ", " + getTitle() + ", " + bitDepth());\n'
        'selectWindow("SEM image"); getMinAndMax(low, high); print("contrast " + low + " " + high);\n',
    )
    assert "overlays 1, 样品 0 - mask, 8" in printed
    low, high = map(float, re.findall(r"contrast (\S+) (\S+)", printed)[0])
    assert grey.min() < low < high < grey.max()
    assert (folder / CORRECTED / "样品 0_mask.tif").stat().st_size < 60 * 80 + 4000


@pytest.mark.imagej
def test_imagej_frames_what_is_asked_for(tmp_path: Path, display: str) -> None:
    """A window has a frame, which is neither painted nor saved; what is asked for as a whole has none."""
    folder = tmp_path / "round"
    grey = generate(60, 80, seed=3)[0]
    ids = hand_out(folder, CLASSES, grey, grey)
    write_macro(folder / MACRO, CLASSES, {"样品 1": Window(8, 16, 20, 30)})
    printed = run_imagej(
        folder,
        display,
        'text = getArgument() + ":" + Overlay.size;\n'
        "if (Overlay.size > 1) { Overlay.activateSelection(1); getSelectionBounds(x, y, width, height);\n"
        'text = text + " " + x + "," + y + "," + width + "," + height; }\n'
        "print(text);\n",
    )
    assert "样品 0:1\n" in printed
    assert "样品 1:2 16,8,30,20\n" in printed
    np.testing.assert_array_equal(read_mask(folder / CORRECTED / "样品 1_mask.tif", CLASSES).ids, ids)


@pytest.mark.imagej
def test_imagej_goes_on_where_it_was(tmp_path: Path, display: str) -> None:
    """What is corrected already is left alone."""
    folder = tmp_path / "round"
    grey = generate(60, 80, seed=3)[0]
    hand_out(folder, CLASSES, grey, grey)
    write_mask(folder / CORRECTED / "样品 0_mask.tif", np.zeros((60, 80), np.uint8), CLASSES)
    run_imagej(folder, display)
    assert not read_mask(folder / CORRECTED / "样品 0_mask.tif", CLASSES).ids.any()
    assert (folder / CORRECTED / "样品 1_mask.tif").exists()


@pytest.mark.imagej
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ('run("Add...", "value=5");', "which is no class"),
        ('run("RGB Color"); rename(getArgument() + " - mask");', "no 8-bit mask any more"),
    ],
)
def test_imagej_refuses_to_save_what_is_no_mask(tmp_path: Path, display: str, spoil: str, says: str) -> None:
    """A filter that makes other values is told at once."""
    folder = tmp_path / "round"
    hand_out(folder, CLASSES, generate(60, 80, seed=3)[0])
    assert says in run_imagej(folder, display, spoil)
    assert not (folder / CORRECTED / "样品 0_mask.tif").exists()


@pytest.mark.imagej
def test_imagej_runs_the_macro_of_the_guide(tmp_path: Path, display: str) -> None:
    """Closing and filling one class fills its holes and changes nothing else."""
    guide = (Path(__file__).parents[2] / "docs" / "ACTIVE_LEARNING_MASK_GUIDE.md").read_text(encoding="utf-8")
    (painter,) = re.findall(r"^```\n(id = 2;.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    folder = tmp_path / "round"
    hand_out(folder, CLASSES, np.zeros((60, 80), np.uint8))
    ids = np.ones((60, 80), np.uint8)
    ids[:, 70:], ids[50:] = 0, 255
    ids[10:40, 10:40] = 2
    ids[20:26, 20:26] = 0
    write_mask(folder / "样品 0_predicted_mask.tif", ids, CLASSES)
    run_imagej(folder, display, painter)
    ids[20:26, 20:26] = 2
    np.testing.assert_array_equal(read_mask(folder / CORRECTED / "样品 0_mask.tif", CLASSES).ids, ids)
