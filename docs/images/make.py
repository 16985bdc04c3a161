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

from srpu.data.classes import IGNORE, ClassMap, colour
from srpu.data.draw import Rule, decide
from srpu.data.groups import Labelled
from srpu.data.masks import read_mask, repair_mask
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


def write(path: Path, picture: RGB) -> None:
    """Write a small PNG file: at most 256 colours."""
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    with open_replacing(path) as file:
        file.write(buffer.getvalue())


if __name__ == "__main__":
    main()
