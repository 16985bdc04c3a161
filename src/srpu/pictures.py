"""Pictures for people: stretched images, overlays, error maps, panels, curves, confusion matrices and reliability.

Every function returns 8-bit RGB (h, w, 3), ready for a file, a report or a training log.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from srpu.data.classes import IGNORE, ClassMap, colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RGB = UInt8[np.ndarray, "h w 3"]
Grey = UInt8[np.ndarray, "h w"]
PerBin = Float64[np.ndarray, " bins"]

INK = (31, 41, 51)
WRONG = (214, 40, 40)
GAINED = (31, 111, 178)
CURVES = ("#1f6fb2", "#d1495b", "#2e8b57", "#e09f3e", "#6c5b9e", "#4a9ba6", "#8c6239", "#6b7280")
_GAP = 10


def to_8bit(image: Shaped[np.ndarray, "h w"]) -> Grey:
    """Stretch grey levels for display: the 1st percentile becomes black, the 99th white.

    >>> to_8bit(np.arange(101, dtype=np.uint16).reshape(1, -1) * 40)[0, [0, 1, 50, 99, 100]].tolist()
    [0, 0, 128, 255, 255]
    """
    step = max(1, max(image.shape) // 1024)  # percentiles of a sample look the same and cost a fraction
    low, high = np.percentile(image[::step, ::step], (1, 99))
    if high <= low:
        low, high = float(image.min()), float(image.max())
    if high <= low:
        return np.full(image.shape, 128, np.uint8)
    stretched = (image.astype(np.float32) - low) * (255 / (high - low))
    return np.asarray(np.clip(np.rint(stretched), 0, 255), np.uint8)


def overlay(
    image: Shaped[np.ndarray, "h w"], ids: UInt8[np.ndarray, "h w"], classes: ClassMap, opacity: float = 0.4
) -> RGB:
    """The image with the colours of its classes laid over it; pixels without a label stay grey."""
    grey = to_rgb(to_8bit(image))
    mixed = cv2.addWeighted(grey, 1 - opacity, colour(ids, classes), opacity, 0)
    return np.where((ids == IGNORE)[..., None], grey, mixed)


def error_map(
    truth: UInt8[np.ndarray, "h w"],
    prediction: UInt8[np.ndarray, "h w"],
    image: Shaped[np.ndarray, "h w"] | None = None,
) -> RGB:
    """Wrong pixels red, right ones pale, those that the truth leaves open white.

    Args:
        truth: True class ids.
        prediction: Predicted class ids.
        image: Shines faintly through where the prediction is right, to show where one is.
    """
    faint = np.full(truth.shape, 225, np.uint8) if image is None else 170 + to_8bit(image) // 4
    picture = to_rgb(faint)
    picture[truth != prediction] = WRONG
    picture[truth == IGNORE] = 255
    return picture


def change_map(
    truth: UInt8[np.ndarray, "h w"],
    before: UInt8[np.ndarray, "h w"],
    after: UInt8[np.ndarray, "h w"],
    image: Shaped[np.ndarray, "h w"] | None = None,
) -> RGB:
    """Pixels blue that only ``after`` has right, red that only ``before`` has; the others as in :func:`error_map`."""
    picture = error_map(truth, truth, image)
    judged = truth != IGNORE
    picture[judged & (after == truth) & (before != truth)] = GAINED
    picture[judged & (after != truth) & (before == truth)] = WRONG
    return picture


def panel(images: Sequence[RGB | Grey], titles: Sequence[str], *, width: int = 1600) -> RGB:
    """Pictures of one height side by side under their titles.

    Args:
        images: Pictures of the same size, grey or RGB.
        titles: One for each; letters beyond Latin-1 cannot be drawn and appear as "?".
        width: The panel is shrunk to at most this many pixels across.
    """
    room = (width - _GAP * (len(images) - 1)) // len(images)
    tiles = [_fit(to_rgb(image), room) for image in images]
    across = sum(tile.shape[1] for tile in tiles) + _GAP * (len(tiles) - 1)
    strip, font = _lettering(across)
    sheet = Image.new("RGB", (across, strip + tiles[0].shape[0]), "white")
    pen, left = ImageDraw.Draw(sheet), 0
    for tile, title in zip(tiles, titles, strict=True):
        pen.text((left, strip // 2), drawable(title), INK, font, anchor="lm")
        sheet.paste(Image.fromarray(tile), (left, strip))
        left += tile.shape[1] + _GAP
    return np.asarray(sheet)


def legend(classes: ClassMap, width: int) -> RGB:
    """A strip that names the colour of each class, in as many lines as ``width`` asks for."""
    strip, font = _lettering(width)
    side = strip // 2
    entries, left, top = [], 0, 0
    for id_, rgb in enumerate(classes.colors):
        text = class_label(classes, id_)
        needed = int(font.getlength(text)) + 4 * side
        if left and left + needed > width:
            left, top = 0, top + strip
        entries.append((text, rgb, left, top))
        left += needed
    sheet = Image.new("RGB", (width, top + strip), "white")
    pen = ImageDraw.Draw(sheet)
    for text, rgb, x, y in entries:
        pen.rounded_rectangle((x, y + side // 2, x + side, y + side // 2 + side), side // 5, rgb, INK)
        pen.text((x + side * 3 // 2, y + side), text, INK, font, anchor="lm")
    return np.asarray(sheet)


def stack(pictures: Sequence[RGB]) -> RGB:
    """Pictures one below the other, at the left of a white sheet."""
    width = max(picture.shape[1] for picture in pictures)
    return np.vstack(
        [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255) for picture in pictures]
    )


def curves(series: Mapping[str, Sequence[float]], *, x_label: str = "epoch", y_label: str = "") -> RGB:
    """Lines over a common axis that counts from 1; undefined values (NaN) leave gaps.

    Args:
        series: The values of each line, by its name.
        x_label: What is counted.
        y_label: What is measured.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure(7.5, 3.6)
    axes = figure.subplots()
    for (name, values), line_colour in zip(series.items(), cycle(CURVES), strict=False):
        marker = "o" if len(values) < 3 else None
        axes.plot(
            range(1, len(values) + 1), values, label=drawable(name), color=line_colour, marker=marker, linewidth=1.8
        )
    axes.set(xlabel=drawable(x_label), ylabel=drawable(y_label))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if series:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _render(figure)


class Point(NamedTuple):
    """A score, the ends of its interval (NaN: none), and whether it counts on or was left behind."""

    x: float
    y: float
    low: float
    high: float
    counts: bool = True


def growth_picture(
    points: Sequence[Point], *, x_label: str, y_label: str, labels: tuple[str, str], target: float | None = None
) -> RGB:
    """Scores with their intervals against what was spent on them; a line joins those that count.

    Args:
        points: In order; undefined scores (NaN) are left out.
        x_label: What was spent.
        y_label: What is measured.
        labels: What full and hollow marks mean.
        target: Drawn as a dashed line.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure(7.5, 3.6)
    axes = figure.subplots()
    for counts, label, colour_ in zip((True, False), labels, CURVES[:2], strict=True):
        chosen = [point for point in points if point.counts == counts and not np.isnan(point.y)]
        if not chosen:
            continue
        reach = np.nan_to_num([[point.y - point.low, point.high - point.y] for point in chosen]).clip(0).T
        places, scores = [point.x for point in chosen], [point.y for point in chosen]
        face, line = (colour_, "-") if counts else ("white", "none")
        style: dict[str, Any] = {"marker": "o", "markerfacecolor": face, "linestyle": line, "linewidth": 1.8}
        axes.errorbar(places, scores, reach, color=colour_, elinewidth=1, capsize=3, label=drawable(label), **style)
    if target is not None:
        axes.axhline(target, color="#1f2933", linewidth=1, linestyle="--", label=f"target {target:g}")
    axes.set(xlabel=drawable(x_label), ylabel=drawable(y_label))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, round(high) - 2), max(high, round(low) + 2))  # one point alone also gets whole numbers
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _render(figure)


def confusion_picture(matrix: Int64[np.ndarray, "c c+1"], classes: ClassMap) -> RGB:
    """How each true class was predicted, in per cent of its pixels, with the counts below."""
    names = [class_label(classes, id_) for id_ in range(len(classes))]
    columns = [*names, "no class"] if matrix[:, -1].any() else names
    counts = matrix[:, : len(columns)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(1.6 + 0.95 * len(columns), 0.8 + 0.75 * len(names))
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(columns)), columns)
    if max(map(len, columns)) > 12:
        axes.tick_params("x", labelrotation=20)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    if len(names) <= 12:  # beyond, numbers would overlap; the CSV has them
        for row, column in np.ndindex(counts.shape):
            ink = "white" if share[row, column] > 0.55 else "#1f2933"
            axes.text(column, row - 0.1, f"{share[row, column]:.1%}", ha="center", va="center", color=ink, fontsize=10)
            axes.text(column, row + 0.22, f"{counts[row, column]:,}", ha="center", va="center", color=ink, fontsize=7)
    return _render(figure)


def reliability_picture(ways: Mapping[str, tuple[PerBin, PerBin, PerBin]]) -> RGB:
    """Bars of accuracy against confidence, and below them how many pixels each bar stands for.

    Args:
        ways: For each title mean confidence, accuracy and share of the pixels in bins of equal width over 0 to 1; NaN
            in empty bins. They are drawn side by side.
    """
    figure = _figure(0.6 + 3.6 * len(ways), 4.4)
    columns = figure.subplots(2, len(ways), squeeze=False, sharex=True, sharey="row", height_ratios=[3, 1]).T
    for (title, (confidence, accuracy, share)), (upper, lower) in zip(ways.items(), columns, strict=True):
        width = 1 / len(share)
        middles = (np.arange(len(share)) + 0.5) * width
        held, bar = share > 0, {"width": 0.9 * width, "linewidth": 0}
        upper.bar(middles[held], accuracy[held], color=CURVES[0], label="accuracy", **bar)
        ends = middles[held] - 0.45 * width, middles[held] + 0.45 * width
        upper.hlines(confidence[held], *ends, color=CURVES[1], linewidth=2, label="mean confidence")
        upper.plot([0, 1], [0, 1], color="#1f2933", linewidth=1, linestyle="--", label="honest")
        upper.set(title=drawable(title), xlim=(0, 1), ylim=(0, 1))
        upper.title.set_fontsize(10)
        lower.bar(middles[held], share[held], color=CURVES[7], **bar)
        for place, part in zip(middles[held], share[held], strict=True):
            text = f"{part:.0%}" if part >= 0.005 else "<1%"
            lower.text(place, part + 0.02, text, ha="center", va="bottom", fontsize=6, color="#1f2933")
        lower.set(xlabel="confidence")
        lower.margins(y=0.25)
        for axes in (upper, lower):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
    columns[0][0].set_ylabel("accuracy")
    columns[0][1].set_ylabel("pixels")
    columns[0][0].legend(frameon=False, loc="upper left", fontsize=8)
    return _render(figure)


def to_rgb(picture: RGB | Grey) -> RGB:
    """A copy of ``picture`` with three channels."""
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture.copy()


def shrink(picture: RGB, width: int) -> RGB:
    """``picture`` at most ``width`` pixels wide, each pixel the mean of those it stands for."""
    return _fit(picture, width) if picture.shape[1] > width else picture


def png_bytes(picture: RGB) -> bytes:
    """The picture as a PNG file."""
    return _encode(picture, "PNG", compress_level=3)


def jpeg_bytes(picture: RGB) -> bytes:
    """The picture as a JPEG file, for photographs in reports."""
    return _encode(picture, "JPEG", quality=88, subsampling=0)


def class_label(classes: ClassMap, id_: int) -> str:
    """The name of a class as pictures can draw it: Chinese names become "class 0"."""
    name = classes.names[id_]
    return name if drawable(name) == name else f"class {id_}"


def drawable(text: str) -> str:
    """``text`` with "?" for letters that the built-in fonts lack (all beyond Latin-1).

    >>> drawable("Körner 碳")
    'Körner ?'
    """
    return text.encode("latin-1", "replace").decode("latin-1")


def _fit(picture: RGB, width: int) -> RGB:
    """Shrink to ``width``; enlarge small pictures by whole factors, so that pixels stay pixels and titles have room."""
    height, own = picture.shape[:2]
    if own > width:
        return cv2.resize(picture, (width, max(round(height * width / own), 1)), interpolation=cv2.INTER_AREA)
    factor = max(min(width, 256) // own, 1)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _lettering(width: int) -> tuple[int, ImageFont.FreeTypeFont]:
    """Height of a line of text that goes with a picture of this width, and the font."""
    size = max(width // 72, 18)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (Pillow's wheels all have FreeType)
    return size * 5 // 3, font


def _figure(width: float, height: float) -> Figure:
    """A figure of so many inches that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=200, layout="constrained")


def _render(figure: Figure) -> RGB:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def _encode(picture: RGB, file_format: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, file_format, **options)
    return buffer.getvalue()
