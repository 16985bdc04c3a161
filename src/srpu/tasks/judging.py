"""Predicting, scoring and drawing images whose truth is known, one after the other."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from srpu.data.classes import ClassMap, colour
from srpu.data.index import Record
from srpu.files import open_replacing
from srpu.learn import metrics
from srpu.learn.calibrate import PixelSampler, Sample, pixels_each
from srpu.pictures import RGB, error_map, legend, panel, png_bytes, stack, to_8bit
from srpu.progress import track
from srpu.settings import EvaluationSettings
from srpu.tasks.contender import Contender
from srpu.tasks.rival import Rival
from srpu.tasks.scores import ImageScore, Scale, Tally
from srpu.tasks.wiring import Opener, class_map

log = logging.getLogger(__name__)

Ids = UInt8[np.ndarray, "h w"]

PANEL_WIDTH = 3200
"""Pixels across a panel's file; the report shows it smaller."""


def scale_of(settings: EvaluationSettings) -> Scale:
    """What scores are named after."""
    return Scale(class_map(settings), tuple(settings.FOREGROUND_CLASSES))


def judge_images(
    contender: Contender,
    records: Sequence[Record],
    opener: Opener,
    settings: EvaluationSettings,
    folder: Path,
    rival: Rival | None = None,
) -> tuple[list[ImageScore], list[Sample | None]]:
    """Predict, score and draw one image after the other.

    Args:
        contender: Who is judged.
        records: Images with truth.
        opener: Opens them.
        settings: Of `srpu evaluate`.
        folder: Its folder ``panels`` gets a picture of each image.
        rival: Labels the same images.

    Returns:
        The scores of each image, and some of its pixels' probabilities (None: no pixel is labelled, or there are none).
    """
    scale = scale_of(settings)
    judged: list[ImageScore] = []
    samples: list[Sample | None] = []
    for number, record in enumerate(track(records, "judging"), start=1):
        rows = opener.rows(record)
        image, truth = opener.image(record)[:rows], opener.mask(record)[:rows]
        sampler = PixelSampler(truth, pixels_each(len(records), len(scale.classes)))
        labels, sure = contender.predict(record, image, sampler.put)
        samples.append(sampler.sample())
        tally = _tally(truth, labels, sure, len(scale.classes), settings.BOUNDARY_TOLERANCE)
        if not tally.matrix.any():
            log.warning("%s: its mask labels no pixel, so there is nothing to judge.", record.id)
        name = file_name(record.id.replace(Path(record.image).suffix, ""))
        path = folder / "panels" / f"{number:03d}_{name[-80:]}.png"
        write_png(path, draw_panel(image, truth, labels, scale.classes))
        judged.append(ImageScore(record, tally, scale.scores(tally), path))
        if rival:
            rival.judge(judged[-1], image, truth, labels)
    return judged, samples


def draw_panel(image: np.ndarray, truth: Ids, labels: Ids, classes: ClassMap) -> RGB:
    """Image, truth, prediction and errors side by side, with the classes' colours below."""
    pictures = [to_8bit(image), colour(truth, classes), colour(labels, classes), error_map(truth, labels, image)]
    sheet = panel(pictures, ["image", "truth", "prediction", "error"], width=PANEL_WIDTH)
    return stack([sheet, legend(classes, sheet.shape[1])])


def _tally(truth: Ids, labels: Ids, sure: Ids, classes: int, tolerance: float) -> Tally:
    matrix = metrics.confusion(truth, labels, classes)
    sure_matrix = matrix if sure is labels else metrics.confusion(truth, sure, classes)
    return Tally(matrix, sure_matrix, metrics.boundary_hits(truth, labels, classes, tolerance))


def write_png(path: Path, picture: RGB) -> None:
    """Write ``picture`` as a PNG file, atomically."""
    with open_replacing(path) as file:
        file.write(png_bytes(picture))


def file_name(text: str) -> str:
    """``text`` without what file systems object to; letters of any language stay."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "unnamed"
