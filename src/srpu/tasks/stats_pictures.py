"""The pictures of `srpu stats`: what the data hold, and what training makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from srpu.data.masks import IGNORE, ClassMap, colour
from srpu.data.statistics import Tally
from srpu.pictures import class_label, drawable, panel, stack, to_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RGB = UInt8[np.ndarray, "h w 3"]

_ROWS_SHOWN = 40


def statistics_picture(
    tallies: Mapping[tuple[str, str], Tally],
    sizes: Mapping[tuple[str, int, int, float | None], int],
    classes: ClassMap,
) -> RGB:
    """Class shares and grey levels of each data set and split, and the sizes of images.

    Args:
        tallies: By data set and split.
        sizes: How many images there are of each data set, width, height and pixel size.
        classes: Names and colours.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = _labels({dataset for dataset, _ in tallies} | {dataset for dataset, *_ in sizes})
    shown = list(tallies.items())[:_ROWS_SHOWN]
    figure = Figure(figsize=(15, 3.5 + 0.3 * len(shown)), dpi=110, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 1.2, 1.4))
    rows = [f"{names[dataset]} · {split} ({tally.images})" for (dataset, split), tally in shown]
    _draw_shares(left, [tally for _, tally in shown], classes)
    _draw_grey_levels(middle, [tally for _, tally in shown])
    for axes in (left, middle):
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), rows if axes is left else [""] * len(rows))
    _draw_sizes(right, sizes, names)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def augmentation_sheet(
    images: Float32[np.ndarray, "samples variants h w"],
    masks: UInt8[np.ndarray, "samples variants h w"],
    classes: ClassMap,
) -> RGB:
    """A row for each crop: as it is, then varied, and below each the same with its classes.

    All crops have the same stretch, so that changes of brightness and contrast show.
    """
    low, high = np.percentile(images[:, 0], (1, 99))
    room = 0.15 * max(high - low, 1e-6)
    grey = np.clip((images - low + room) * (255 / (high - low + 2 * room)), 0, 255).astype(np.uint8)
    titles = ["as it is", *(f"varied {number}" for number in range(1, images.shape[1]))]
    rows = []
    for pictures, own in zip(grey, masks, strict=True):
        pairs = zip(pictures, own, strict=True)
        rows.append(panel([np.vstack([to_rgb(crop), _painted(crop, ids, classes)]) for crop, ids in pairs], titles))
    return stack(rows)


def _draw_shares(axes: Axes, tallies: Iterable[Tally], classes: ClassMap) -> None:
    shares = np.nan_to_num(np.array([tally.shares for tally in tallies]).reshape(-1, len(classes)))
    begin = np.zeros(len(shares))
    for id_, rgb in enumerate(classes.colors):
        width = 100 * shares[:, id_]
        face = tuple(level / 255 for level in rgb)
        axes.barh(
            range(len(shares)), width, left=begin, color=face, edgecolor="#374151", label=class_label(classes, id_)
        )
        begin += width
    axes.set(xlabel="% of the labelled pixels", xlim=(0, 100), title="class shares")
    if len(classes) <= 12:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, frameon=False)


def _draw_grey_levels(axes: Axes, tallies: Iterable[Tally]) -> None:
    for row, tally in enumerate(tallies):
        axes.plot([tally.lowest, tally.highest], [row, row], color="#cbd5e1", linewidth=2)
        axes.errorbar(tally.mean, row, xerr=tally.deviation, color="#1f6fb2", marker="o", linewidth=2.5)
    axes.set(xlabel="grey level: mean ± std, min to max", title="grey levels")


def _draw_sizes(axes: Axes, sizes: Mapping[tuple[str, int, int, float | None], int], names: Mapping[str, str]) -> None:
    for dataset in sorted({dataset for dataset, *_ in sizes}):
        own = [(width, height, count) for (of, width, height, _), count in sizes.items() if of == dataset]
        width, height, count = np.array(own).T
        axes.scatter(width, height, s=30 + 12 * np.sqrt(count), alpha=0.6, label=f"{names[dataset]} ({count.sum()})")
    axes.set(xlabel="width in pixels", ylabel="height in pixels", title="image sizes")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def _labels(names: Iterable[str]) -> dict[str, str]:
    """What pictures call data sets: Chinese names become "data set 1"."""
    labels = {}
    for number, name in enumerate(sorted(names), start=1):
        labels[name] = name if drawable(name) == name else f"data set {number}"
    return labels


def _painted(grey: UInt8[np.ndarray, "h w"], ids: UInt8[np.ndarray, "h w"], classes: ClassMap) -> RGB:
    mixed = cv2.addWeighted(to_rgb(grey), 0.6, colour(ids, classes), 0.4, 0)
    return np.where((ids == IGNORE)[..., None], to_rgb(grey), mixed)
