"""What the images and masks hold: `srpu stats`."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srpu.data.draw import SPLITS
from srpu.data.images import databar_rows, read_image
from srpu.data.index import Record
from srpu.data.masks import ClassMap, fit_mask, read_mask
from srpu.data.statistics import Tally
from srpu.errors import IndexingError
from srpu.files import open_replacing, write_json, write_text
from srpu.pictures import png_bytes
from srpu.settings import Settings
from srpu.tasks.index_summary import listed
from srpu.tasks.readings import all_records, read_each
from srpu.tasks.stats_pictures import augmentation_sheet, statistics_picture
from srpu.tasks.wiring import Opener, augmenter, class_map, load_records, normalisation
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

FOLDER = "statistics"
ALL = "all"
UNUSED = "unused"

_SAMPLES, _VARIANTS = 4, 5
_SIZES_SHOWN = 10

Tallies = dict[tuple[str, str], Tally]
"""By data set and split."""

Sizes = Counter[tuple[str, int, int, float | None]]
"""How many images there are of each data set, width, height and pixel size in nanometres."""


@dataclass(frozen=True)
class Statistics:
    """What was found.

    Attributes:
        tallies: By data set and split; "all" joins several.
        sizes: How many images there are of each data set, width, height and pixel size in nanometres.
        skipped: Why images were left out, one sentence each.
        files: What was written.
    """

    tallies: Tallies
    sizes: Sizes
    skipped: tuple[str, ...]
    files: tuple[Path, ...]


def run(settings: Settings, workspace: Workspace, show_augmentations: bool = False) -> Statistics:
    """Measure grey levels and class shares of the labelled images, and the sizes of all.

    Args:
        settings: Of the verb.
        workspace: Where index and images are.
        show_augmentations: Also draw what training makes of a few images.

    Raises:
        IndexingError: There is no index, or nothing to draw augmentations of.
        WorkspaceError: The results cannot be written.
    """
    labelled, unlabelled = all_records(settings, workspace)
    classes = class_map(settings)
    measured, skipped = read_each(labelled, lambda it: _measure(it, settings, workspace, classes), "measuring images")
    tallies = _tallies([(record, measured[record.id]) for record in labelled if record.id in measured])
    sizes = Counter((r.dataset, r.width, r.height, r.pixel_size_nm) for r in [*labelled, *unlabelled])
    files = _write(workspace.path(FOLDER), tallies, sizes, skipped, classes)
    if show_augmentations:
        files.append(_show_augmentations(settings, workspace))
    _say(tallies, sizes, skipped, classes)
    log.info("Written: %s.", ", ".join(workspace.name(path) for path in files))
    return Statistics(tallies, sizes, tuple(skipped), tuple(files))


def _measure(record: Record, settings: Settings, workspace: Workspace, classes: ClassMap) -> Tally:
    image = read_image(workspace.path(record.image), record.page)
    bar = databar_rows(image, settings.DATABAR_ROWS)
    path = workspace.path(record.mask or "")
    ids = fit_mask(read_mask(path, classes, record.mask_page).ids, image.shape, bar, path)
    rows = len(image) - bar
    return Tally.of(image[:rows], ids[:rows], len(classes))


def _tallies(measured: Iterable[tuple[Record, Tally]]) -> Tallies:
    """Sums over each data set and split, and over all of them where there are several."""
    sums: Tallies = {}
    for record, tally in measured:
        split = record.split or UNUSED
        for key in ((record.dataset, split), (record.dataset, ALL), (ALL, split), (ALL, ALL)):
            sums[key] = sums[key] + tally if key in sums else tally
    splits = [split for split in (*SPLITS, UNUSED) if (ALL, split) in sums]
    datasets = sorted({dataset for dataset, _ in sums} - {ALL})
    splits += [ALL] * (len(splits) > 1)
    datasets += [ALL] * (len(datasets) > 1)
    return {
        (dataset, split): sums[dataset, split] for dataset in datasets for split in splits if (dataset, split) in sums
    }


def _write(folder: Path, tallies: Tallies, sizes: Sizes, skipped: Sequence[str], classes: ClassMap) -> list[Path]:
    rows = [_row(*key, tally, classes) for key, tally in tallies.items()]
    columns = ("data_set", "width", "height", "pixel_size_nm", "images")
    size_rows = [dict(zip(columns, (*size, count), strict=True)) for size, count in _sorted(sizes)]
    content = {"classes": list(classes.names), "statistics": rows, "image_sizes": size_rows, "skipped": list(skipped)}
    files = [folder / name for name in ("statistics.json", "statistics.csv", "image_sizes.csv", "statistics.png")]
    write_json(files[0], content)
    write_text(files[1], _csv(rows))
    write_text(files[2], _csv(size_rows))
    with open_replacing(files[3]) as file:
        file.write(png_bytes(statistics_picture(tallies, sizes, classes)))
    return files


def _row(dataset: str, split: str, tally: Tally, classes: ClassMap) -> dict[str, Any]:
    """What JSON and CSV say about a tally; shares of classes are of the labelled pixels."""
    shares = [None if math.isnan(share) else round(share, 6) for share in tally.shares.tolist()]
    return {
        "data_set": dataset,
        "split": split,
        "images": tally.images,
        "grey_levels": " ".join(sorted(tally.depths)),
        "mean": round(tally.mean, 6),
        "std": round(tally.deviation, 6),
        "min": tally.lowest,
        "max": tally.highest,
        "pixels": tally.pixels,
        "labelled_share": round(1 - tally.ignored / tally.pixels, 6),
        **{f"share {name}": share for name, share in zip(classes.names, shares, strict=True)},
        **{f"pixels {name}": count for name, count in zip(classes.names, tally.counts.tolist(), strict=True)},
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Comma-separated lines, with the mark by which Excel knows that they are UTF-8."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return "\ufeff" + text.getvalue()


def _sorted(sizes: Sizes) -> list[tuple[tuple[str, int, int, float | None], int]]:
    return sorted(sizes.items(), key=lambda item: (item[0][0], -item[1], item[0][1:3], item[0][3] or 0))


def _say(tallies: Tallies, sizes: Sizes, skipped: Sequence[str], classes: ClassMap) -> None:
    """The tables in the terminal."""
    table = [["data set", "split", "images", "mean", "std", *classes.names, "not labelled"]]
    for (dataset, split), tally in tallies.items():
        shares = ["n/a" if math.isnan(share) else f"{share:.1%}" for share in tally.shares.tolist()]
        grey = [f"{tally.mean:.4g}", f"{tally.deviation:.4g}"]
        table.append([dataset, split, str(tally.images), *grey, *shares, f"{tally.ignored / tally.pixels:.1%}"])
    _say_table(table)
    rows = _sorted(sizes)
    table = [["data set", "width", "height", "nm per pixel", "images"]]
    for (dataset, width, height, pixel_size), count in rows[:_SIZES_SHOWN]:
        table.append([dataset, str(width), str(height), f"{pixel_size:.4g}" if pixel_size else "?", str(count)])
    _say_table(table)
    if len(rows) > _SIZES_SHOWN:
        log.info("… and %d more sizes, all in %s/image_sizes.csv.", len(rows) - _SIZES_SHOWN, FOLDER)
    if skipped:
        log.warning("Images left out: %d; `srpu check` tells more:%s", len(skipped), listed(skipped))


def _say_table(table: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        log.info("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _show_augmentations(settings: Settings, workspace: Workspace) -> Path:
    """Draw crops of training images as they are, and as training varies them.

    Raises:
        IndexingError: There is no training image.
    """
    import torch

    from srpu.data.dataset import CropSampler

    records = load_records(settings, workspace, "train")
    if not records:
        raise IndexingError("There is no training image to vary; label images and run `srpu index`.")
    opener, vary = Opener(settings, workspace), augmenter(settings)
    images = [opener.labelled(record) for record in records]
    sampler = CropSampler(
        images,
        crop=vary.crop,
        window=vary.source_size,
        normalisation=normalisation(settings, images),
        weights=settings.DATASET_WEIGHTS,
        seed=settings.SEED,
    )
    batch = next(sampler.batches(_SAMPLES))
    generator = torch.Generator().manual_seed(settings.SEED)
    margin = (vary.source_size - vary.crop) // 2
    middle = slice(margin, margin + vary.crop)
    columns = [(batch.images[..., middle, middle], batch.masks[..., middle, middle])]
    columns += [vary(batch.images, batch.masks, generator) for _ in range(_VARIANTS)]
    sheet = augmentation_sheet(
        torch.stack([images[:, 0] for images, _ in columns], 1).numpy(),
        torch.stack([masks.byte() for _, masks in columns], 1).numpy(),
        class_map(settings),
    )
    path = workspace.path(FOLDER) / "augmentations.png"
    with open_replacing(path) as file:
        file.write(png_bytes(sheet))
    return path
