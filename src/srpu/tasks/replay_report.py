"""What is shown of simulated rounds: lines for the terminal, a picture, a page and a file of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
from jaxtyping import UInt8

from srpu.active.curves import Curve, mean_curve
from srpu.files import make_folder, open_replacing, write_json
from srpu.pictures import CURVES, drawable, png_bytes
from srpu.report import Picture, Section, Table, Text, write_report
from srpu.tasks.replay_results import PARTS, Replayed

RGB = UInt8[np.ndarray, "h w 3"]

COLUMNS = ("strategy", "seeds", "last score", *(f"labels for {part:.0%}" for part in PARTS))

AGAINST = ("strategy", "against", "difference", "cells won", "better")


def write_replay(replayed: Replayed, facts: Mapping[str, str]) -> None:
    """Write ``replay.json``, ``curves.png`` and ``report.html`` into the replay's folder.

    Args:
        replayed: What was found.
        facts: For the head of the page.

    Raises:
        WorkspaceError: They cannot be written.
    """
    folder = make_folder(replayed.folder)
    write_json(folder / "replay.json", replayed.state())
    picture = curves_picture(replayed)
    with open_replacing(folder / "curves.png") as file:
        file.write(png_bytes(picture))
    caption = "Mean over seeds; the band reaches from the lowest to the highest. The dashed line has all labels."
    sections = [
        Section("Score against labels", [Picture(picture, caption, chart=True), Table(COLUMNS, table(replayed))]),
        Section(
            "Against chance", [Table(("strategy", "against", "difference", "cells won", "better"), _against(replayed))]
        ),
        Section("How to read this", [Text(_MEANING)], folded=True),
    ]
    write_report(
        folder / "report.html", "Active learning, played again", sections, subtitle=replayed.sentence(), facts=facts
    )


_MEANING = (
    "Labelled training images were taken as a pool with hidden masks. Each strategy began, seed by seed, with the same "
    "labels and the same model, and trained as many steps in each round.",
    "The difference is that of the areas under the curves of mean IoU, over the logarithm of the labelled pixels, with "
    "its 95 % interval over seeds. A cell is a round of one seed; it is won with the better score for as many labels.",
    "The validation images judged every round and took no part in any choice. Training was short; longer training may "
    "rank strategies differently where they are close.",
)


def table(replayed: Replayed) -> list[tuple[str, ...]]:
    """For each strategy: seeds, last score, and the labelled share that parts of the full score took."""
    rows: list[tuple[str, ...]] = []
    for name in replayed.runs:
        curves = list(replayed.curves(name).values())
        if curves:
            last = mean_curve(curves)
            needed = [replayed.needed(name, part) for part in PARTS]
            beyond = "n/a" if replayed.full_score is None else f"> {last.labels[-1]:.1%}"
            shares = [beyond if share is None else f"{share:.1%}" for share in needed]
            rows.append((name, str(len(curves)), f"{last.scores[-1]:.4f} at {last.labels[-1]:.1%}", *shares))
    if replayed.full_score is not None:
        rows.append(
            ("all labels", str(len(replayed.full)), f"{replayed.full_score:.4f} at 100.0%", *("",) * len(PARTS))
        )
    return rows


def lines(replayed: Replayed) -> list[str]:
    """The same for the terminal, and the sentence."""
    rows = [COLUMNS, *table(replayed)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    laid = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    against = [f"{one[0]} against {one[1]}: {one[2]}, {one[3]} of the cells won" for one in _against(replayed)]
    return [*laid, *against, replayed.sentence()]


def curves_picture(replayed: Replayed) -> RGB:
    """The mean score of each strategy against the labelled share, in a band from the lowest to the highest seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.8), dpi=200, layout="constrained")
    axes = figure.subplots()
    for name, colour in zip(replayed.runs, cycle(CURVES), strict=False):
        curves = list(replayed.curves(name).values())
        if not curves:
            continue
        mean = mean_curve(curves)
        places = 100 * np.asarray(mean.labels)
        low, high = _band(mean, curves)
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(places, mean.scores, color=colour, marker="o", markersize=4, linewidth=1.8, label=drawable(name))
    if replayed.full_score is not None:
        axes.axhline(replayed.full_score, color="#1f2933", linewidth=1, linestyle="--", label="all labels")
    axes.set(xlabel="labelled pixels, % of the pool", ylabel="mean IoU")
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def _band(mean: Curve, curves: list[Curve]) -> tuple[list[float], list[float]]:
    each = [curve.scores[: len(mean.labels)] for curve in curves]
    return [min(scores) for scores in zip(*each, strict=True)], [max(scores) for scores in zip(*each, strict=True)]


def _against(replayed: Replayed) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one in replayed.comparisons():
        apart = one.difference
        spread = f" [{apart.low:+.4f}, {apart.high:+.4f}]" if apart.seeds > 1 else ""
        rows.append((one.strategy, one.against, f"{apart.mean:+.4f}{spread}", f"{one.cells_won:.0%}", apart.verdict))
    return rows
