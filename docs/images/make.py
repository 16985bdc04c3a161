"""The pictures of the guides, from generated cathodes: `python docs/images/make.py` writes them beside this file."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from skimage.filters import threshold_multiotsu

from srpu.active.returns import fill_rim, find_rim
from srpu.data.classes import IGNORE, ClassMap, colour
from srpu.data.draw import Rule, decide
from srpu.data.groups import Labelled
from srpu.data.masks import read_mask, repair_mask
from srpu.data.regions import fill_holes, remove_specks
from srpu.data.synthetic import Recipe, generate, vary
from srpu.files import open_replacing
from srpu.learn import metrics
from srpu.pictures import INK, RGB, confusion_picture, error_map, legend, overlay, panel, stack, to_8bit, to_rgb

HERE = Path(__file__).parent
CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
LEVELS = np.array([0, 127, 255], np.uint8)
Ids = UInt8[np.ndarray, "h w"]


def main() -> None:
    """Write every picture."""
    image, ids = generate(240, 240, seed=7, recipe=vary(Recipe(), 5))
    few = strokes(ids)
    pictures = {
        "image-mask-overlay": with_legend(
            [to_8bit(image), colour(ids, CLASSES), overlay(image, ids, CLASSES)], ["image", "mask", "mask over image"]
        ),
        "mask-formats": mask_formats(ids),
        "sparse-mask": with_legend(
            [to_8bit(image), colour(few, CLASSES), overlay(image, few, CLASSES)],
            ["image", "sparse mask", "over the image"],
        ),
        "blurred-edges": blurred_edges(ids),
        "databar": databar(),
        "stack-split": stack_split(),
        **report_pictures(),
        "mask-correction": mask_correction(),
        "mask-smoothed": mask_smoothed(),
        "mask-one-class": mask_one_class(),
        "mask-gaps": mask_gaps(),
    }
    for name, picture in pictures.items():
        write(HERE / f"{name}.png", picture)


def with_legend(pictures: list[np.ndarray], titles: list[str], width: int = 900) -> RGB:
    """Pictures side by side, with the classes' colours below."""
    sheet = panel(pictures, titles, width=width)
    return stack([sheet, legend(CLASSES, sheet.shape[1])])


def mask_formats(ids: Ids) -> RGB:
    """One mask as a viewer shows it in each format."""
    shown = [to_rgb(ids), colour(ids, CLASSES), colour(ids, CLASSES), to_rgb(LEVELS[ids])]
    return panel(shown, ["class ids", "palette", "RGB colours", "grey levels"], width=1000)


def strokes(ids: Ids) -> Ids:
    """What somebody labels who draws a few strokes."""
    drawn = np.zeros(ids.shape, np.uint8)
    rng = np.random.default_rng(3)
    for _ in range(9):
        start, reach = rng.integers(10, 230, 2), rng.integers(-60, 60, 2)
        cv2.line(drawn, start.tolist(), (start + reach).tolist(), 1, 7)
    return np.where(drawn, ids, IGNORE).astype(np.uint8)


def blurred_edges(ids: Ids) -> RGB:
    """A corner of a mask: as drawn, after JPEG, repaired."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.jpg"
        Image.fromarray(colour(ids, CLASSES)).save(path, quality=60)
        compressed = np.asarray(Image.open(path))
        repaired = read_mask(repair_mask(path, CLASSES)[0], CLASSES).ids
    corners = [picture[20:80, 172:232] for picture in (colour(ids, CLASSES), compressed, colour(repaired, CLASSES))]
    enlarged = [corner.repeat(4, axis=0).repeat(4, axis=1) for corner in corners]
    return panel(enlarged, ["as drawn", "saved as JPEG", "srpu masks repair"], width=760)


def databar() -> RGB:
    """An image as a microscope saves it, and what counts."""
    image, _ = generate(260, 380, seed=11, recipe=vary(Recipe(), 8))
    bar = np.zeros((30, 380), np.uint8)
    cv2.putText(bar, "5.00 kV  WD 4.1 mm  x 5.00k", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 255, 1)
    cv2.line(bar, (290, 15), (365, 15), 255, 3)
    saved = np.vstack([to_8bit(image), bar])
    counted = to_rgb(saved)
    counted[260:] = (214, 40, 40)
    return panel([saved, counted], ["as the microscope saves it", "red: left out by DATABAR_ROWS"], width=800)


def stack_split() -> RGB:
    """How the slices of a stack are split."""
    slices = [
        Labelled(f"stack.tif#{n:04d}", str(n), "stack.tif", n, "labeled", group="stack", place=n) for n in range(20)
    ]
    of = decide(slices, Rule())
    tones = {"train": (116, 169, 207), None: (225, 225, 225), "val": (253, 174, 97)}
    names = {"train": "training", None: "gap: not used", "val": "validation"}
    sheet = np.full((78, 20 * 42, 3), 255, np.uint8)
    for number, slice_ in enumerate(slices):
        left = number * 42
        sheet[6:40, left + 2 : left + 40] = tones[of[slice_.id]]
        cv2.putText(sheet, str(number + 1), (left + 12, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
    for number, (block, text) in enumerate(names.items()):
        left = 2 + number * 170
        sheet[54:70, left : left + 16] = tones[block]
        cv2.putText(sheet, text, (left + 24, 67), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return sheet


def report_pictures() -> dict[str, RGB]:
    """A panel and a confusion matrix as in a report; the prediction is made by thresholds, so that there are errors."""
    image, truth = generate(260, 260, seed=21, recipe=vary(Recipe(), 3))
    bins = np.digitize(cv2.GaussianBlur(image, (0, 0), 1.5), threshold_multiotsu(image, classes=3))
    labels = bins.astype(np.uint8)
    pictures = [to_8bit(image), colour(truth, CLASSES), colour(labels, CLASSES), error_map(truth, labels, image)]
    confusion = confusion_picture(metrics.confusion(truth, labels, 3), CLASSES)
    return {
        "report-panel": with_legend(pictures, ["image", "truth", "prediction", "error"], width=1100),
        "report-confusion": cv2.resize(confusion, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    }


def mask_correction() -> RGB:
    """A predicted mask, how ImageJ shows it, and what somebody makes of it."""
    image, truth = generate(240, 240, seed=21, recipe=vary(Recipe(), 3))
    predicted = rough(image)
    shown = overlay(image, predicted, CLASSES, opacity=0.6)
    changed = colour(truth, CLASSES)
    changed[truth == predicted] = 255 - (255 - changed[truth == predicted]) // 4
    return with_legend(
        [to_8bit(image), shown, colour(truth, CLASSES), changed],
        ["image", "predicted", "corrected", "what was changed"],
        width=1100,
    )


def rough(image: np.ndarray) -> Ids:
    """What a weak model may find: thresholds, without the smallest specks."""
    bins = np.digitize(cv2.GaussianBlur(image, (0, 0), 2), threshold_multiotsu(image, classes=3))
    return remove_specks(bins.astype(np.uint8), 12)


def mask_smoothed() -> RGB:
    """What smoothing the ids makes of the edge between carbon and active material, and the repair."""
    drawn = np.zeros((48, 64), np.uint8)
    cv2.circle(drawn, (40, 22), 19, 2, -1)
    drawn[:, :12] = 1
    smoothed = np.rint(cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), 1.6)).astype(np.uint8)
    rim = find_rim(smoothed, drawn, 3)
    repaired = smoothed if rim is None else fill_rim(smoothed, rim, drawn)
    sheets = [colour(ids, CLASSES) for ids in (drawn, smoothed, repaired)]
    enlarged = [sheet.repeat(4, axis=0).repeat(4, axis=1) for sheet in sheets]
    return with_legend(enlarged, ["as drawn", "ids smoothed: a rim of SE", "take-in --repair"], width=800)


def mask_one_class() -> RGB:
    """Closing and filling holes, of one class alone."""
    image, _ = generate(200, 200, seed=21, recipe=vary(Recipe(), 3))
    rough_ids = rough(image)
    one = (rough_ids == 2).astype(np.uint8)
    closed = cv2.morphologyEx(one, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    filled = fill_holes(closed, 60)
    after = np.where(filled == 1, np.uint8(2), rough_ids)
    return with_legend(
        [colour(rough_ids, CLASSES), to_rgb(one * 255), to_rgb(filled * 255), colour(after, CLASSES)],
        ["mask", "AM alone", "closed and filled", "put back"],
        width=1000,
    )


def mask_gaps() -> RGB:
    """Pixels without a label: forgotten specks, and an area left out."""
    image, ids = generate(200, 200, seed=7, recipe=vary(Recipe(), 5))
    forgotten, left_out = ids.copy(), ids.copy()
    for column, row in np.random.default_rng(1).integers(15, 185, (14, 2)).tolist():
        cv2.circle(forgotten, (column, row), 2, IGNORE, -1)
    cv2.ellipse(left_out, (70, 110), (48, 30), 20, 0, 360, IGNORE, -1)
    return with_legend(
        [to_8bit(image), colour(forgotten, CLASSES), colour(left_out, CLASSES)],
        ["image", "specks: not taken", "area left out: taken"],
        width=800,
    )


def write(path: Path, picture: RGB) -> None:
    """Write a small PNG file: at most 256 colours."""
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    with open_replacing(path) as file:
        file.write(buffer.getvalue())


if __name__ == "__main__":
    main()
