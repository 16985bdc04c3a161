"""Whether a model's probabilities can be trusted, on the images that it is judged on.

A temperature that was fitted on an image flatters that image. So an image that took part in the fit is measured with
the temperature that the others of them give (leave-one-image-out), and any other image with the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from srpu.data.index import Record
from srpu.learn.calibrate import Reliability, Sample, cross_entropies, leave_one_out, reliability
from srpu.pictures import RGB, reliability_picture
from srpu.report import Block, Cell, Picture, Section, Table, Text
from srpu.tasks.scores import json_number

_READING = Text(
    (
        "How to read this. Pixels are sorted by how probable the model calls its most probable class; in each bin this "
        "is compared with how often that class is right. The expected calibration error (ECE) of an image is the mean "
        "difference over its labelled pixels: 0.02 means that probabilities are off by two percentage points. The ECE "
        "of all pixels together, as in the picture, is often lower, because images that are too sure and images that "
        "are not sure enough cancel. Bars below the dashed line: too sure of itself; above: not sure enough.",
        "The temperature changes the probabilities and uncertainty maps of srpu predict; masks and the scores above, "
        "the MicroNet IoU among them, do not depend on it.",
        "怎样阅读：把像素按模型对其最可能类别给出的概率分组，并与该类别实际正确的比例比较。"
        "一幅图像的期望校准误差（ECE）是两者之差在其已标注像素上的平均值：0.02 表示概率平均偏差两个百分点。"
        "全部像素合在一起的 ECE（如图）往往更低，因为过于自信和信心不足的图像会相互抵消。"
        "柱顶低于虚线：模型过于自信；高于虚线：信心不足。",
        "温度只改变 srpu predict 的概率图和不确定度图；掩膜和上面的各项分数（包括 MicroNet IoU）都与它无关。",
    ),
    kind="note",
)


@dataclass(frozen=True)
class Measured:
    """How reliable probabilities are at certain temperatures.

    Attributes:
        temperatures: The one of each image.
        together: Of all images, each counting the same.
        each: The expected calibration error of each image alone.
    """

    temperatures: list[float]
    together: Reliability
    each: list[float]

    @property
    def ece(self) -> float:
        """The mean error of single images: errors in opposite directions do not cancel, as they do in all together."""
        return float(np.mean(self.each))

    @classmethod
    def at(cls, temperatures: Sequence[float], samples: Sequence[Sample]) -> Measured:
        """Measure ``samples``, each at its temperature."""
        each = [reliability([one], [heat]).ece for one, heat in zip(samples, temperatures, strict=True)]
        return cls(list(temperatures), reliability(samples, temperatures), each)


@dataclass(frozen=True)
class Calibration:
    """What is known about the probabilities of a model when every image has been judged.

    Attributes:
        temperature: The model's; exactly 1 if none was fitted.
        names: The images that have labelled pixels.
        left_out: How many of them were measured with the temperature that the others of them give.
        fitted_on: How many of them took part in fitting the model's temperature.
        plain: As the network gives them.
        honest: With the temperature, left out of where it must be.
        stored: With the model's temperature everywhere.
    """

    temperature: float
    names: list[str]
    left_out: int
    fitted_on: int
    plain: Measured
    honest: Measured
    stored: Measured

    @property
    def how(self) -> str:
        """One word, or nearly, for how it was measured."""
        if self.temperature == 1:
            return "not calibrated"
        if self.left_out:
            return "leave-one-image-out" if self.left_out == len(self.names) else "leave-one-image-out where fitted on"
        return "fitted on the same image" if self.fitted_on else "fitted on other images"

    @property
    def line(self) -> str:
        """The result for the terminal."""
        before, after = self.plain.ece, self.honest.ece
        if self.temperature == 1:
            return f"Calibration error of the probabilities: {before:.3f}, no temperature was fitted."
        return (
            f"Calibration error of the probabilities: {after:.3f}, without the temperature {before:.3f} ({self.how})."
        )

    @cached_property
    def picture(self) -> RGB:
        """Accuracy against confidence, before and after."""
        shown = {"as the network gives them": self.plain}
        if self.temperature != 1:
            shown["calibrated"] = self.honest
        bars = {name: way.together for name, way in shown.items()}
        return reliability_picture(
            {
                f"{name}: ECE all together {way.ece:.3f}": (way.confidence, way.accuracy, way.share)
                for name, way in bars.items()
            }
        )


def judge_calibration(
    temperature: float | None, records: Sequence[Record], samples: Sequence[Sample | None], known: Mapping[str, str]
) -> Calibration | None:
    """Measure the probabilities of a model; None for masks, and if no pixel is labelled.

    Args:
        temperature: The model's; None: masks have no probabilities.
        records: The judged images.
        samples: Some labelled pixels of each; None: it has none.
        known: The split in which the model knew each image, by pixel hash.
    """
    pairs = [(record, sample) for record, sample in zip(records, samples, strict=True) if sample is not None]
    if temperature is None or not pairs:
        return None
    drawn = [sample for _, sample in pairs]
    fitted = [i for i, (record, _) in enumerate(pairs) if temperature != 1 and known.get(record.sha256) == "val"]
    temperatures = np.full(len(pairs), temperature)
    left_out = fitted if len(fitted) > 1 else []
    if left_out:
        temperatures[left_out] = leave_one_out(np.stack([cross_entropies(drawn[i]) for i in left_out]))
    return Calibration(
        temperature=temperature,
        names=[record.id for record, _ in pairs],
        left_out=len(left_out),
        fitted_on=len(fitted),
        plain=Measured.at([1.0] * len(pairs), drawn),
        honest=Measured.at(temperatures.tolist(), drawn),
        stored=Measured.at([temperature] * len(pairs), drawn),
    )


def calibration_json(calibration: Calibration) -> dict[str, Any]:
    """The numbers for scores.json."""
    plain, honest = calibration.plain, calibration.honest
    each = zip(calibration.names, honest.temperatures, honest.each, plain.each, strict=True)
    return {
        "temperature": calibration.temperature,
        "how": calibration.how,
        "ece": round(honest.ece, 6),
        "ece_uncalibrated": round(plain.ece, 6),
        "ece_stored_temperature": round(calibration.stored.ece, 6),
        "ece_all_together": round(honest.together.ece, 6),
        "ece_all_together_uncalibrated": round(plain.together.ece, 6),
        "bins": _bins(honest.together),
        "bins_uncalibrated": _bins(plain.together),
        "images": [
            {"id": name, "temperature": heat, "ece": round(after, 6), "ece_uncalibrated": round(before, 6)}
            for name, heat, after, before in each
        ],
    }


def calibration_section(calibration: Calibration) -> Section:
    """What the report says about probabilities."""
    caption = (
        "How often the most probable class is right, by its probability, in all images; below, the share of the pixels."
    )
    blocks: list[Block] = [
        _table(calibration),
        Text([_explanation(calibration)], kind="warning" if calibration.temperature == 1 else "plain"),
        Picture(calibration.picture, caption, "reliability.png", chart=True),
        _READING,
    ]
    return Section("Can the probabilities be trusted?", blocks)


def _table(calibration: Calibration) -> Table:
    rows = [_row("As the network gives them", calibration.plain)]
    if calibration.temperature != 1:
        rows.append(_row("Calibrated", calibration.honest, calibration.how))
        if calibration.left_out:
            rows.append(
                _row("With the model's own temperature", calibration.stored, "fitted on these images: flatters")
            )
    return Table(["Probabilities", "Temperature", "ECE, mean of the images", "Worst image", "All together"], rows)


def _row(name: str, way: Measured, note: str = "") -> list[str | Cell]:
    low, high = min(way.temperatures), max(way.temperatures)
    heat = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    numbers = (way.ece, max(way.each), way.together.ece)
    return [Cell(name, note=note), heat, *(f"{number:.3f}" for number in numbers)]


def _explanation(calibration: Calibration) -> str:
    images, fitted_on = len(calibration.names), calibration.fitted_on
    if calibration.temperature == 1:
        return (
            "No temperature was fitted when this model was trained: that takes two labelled validation images, which "
            "cross-validated models and those of older versions do not have. Its probabilities are used as the network "
            "gives them (T = 1)."
        )
    if calibration.left_out == images:
        return (
            f"The model's temperature was fitted on these {images} images. So that none judges itself, each is "
            "measured with the temperature that the others give."
        )
    if calibration.left_out:
        return (
            f"The model's temperature was fitted on {fitted_on} of these {images} images: each of them is measured "
            "with the temperature that the others of them give, the rest with the model's own."
        )
    if fitted_on:
        return (
            f"The model's temperature was also fitted on one of these {images} images, so its numbers flatter a little."
        )
    return "The model's temperature was fitted on other images, its validation images, and is measured as it is."


def _bins(found: Reliability) -> list[dict[str, float | int | None]]:
    columns = zip(found.pixels, found.share, found.confidence, found.accuracy, strict=True)
    edges = np.linspace(0, 1, len(found.pixels) + 1).round(6).tolist()
    return [
        {
            "low": edges[i],
            "high": edges[i + 1],
            "pixels": int(pixels),
            "share": round(float(share), 6),
            "confidence": json_number(confidence),
            "accuracy": json_number(accuracy),
        }
        for i, (pixels, share, confidence, accuracy) in enumerate(columns)
    ]
