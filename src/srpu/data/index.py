"""JSON indices: one record per image, and the pixel sizes that a CSV file beside images tells."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srpu.errors import IndexingError, WorkspaceError
from srpu.files import read_json, write_text

SCHEMA_VERSION = 1

PIXEL_SIZES = "pixel_sizes.csv"
"""Beside images or above them: a table with the columns ``name`` and ``pixel_size_nm``."""


@dataclass(frozen=True)
class Record:
    """One image, or one page of a stack.

    Attributes:
        id: Its path below the folder that was searched, after the data set's name if it has one; ``#0003`` is the
            third page of a stack. No two records have the same.
        image: Path of the file, relative to the workspace where possible.
        page: Page of the file, from 0; None: the file holds one image.
        mask: Path of the mask's file; None: not labelled.
        mask_page: Page of the mask's file.
        dataset: "labeled", "raw" or the name of a data set.
        group: The specimen or stack; images of one group are alike.
        split: "train", "val", "test"; None: not labelled, or labelled and used for nothing (the gap in a stack).
        height: In pixels, with the data bar.
        width: In pixels.
        pixel_size_nm: Edge of a pixel, None if nobody told it.
        sha256: Of the decoded pixels.
        mask_read_by: What the mask's file was read by: "class ids", "palette colours", "palette indices", "colours" or
            "grey levels".
    """

    id: str
    image: str
    page: int | None
    mask: str | None
    mask_page: int | None
    dataset: str
    group: str
    split: str | None
    height: int
    width: int
    pixel_size_nm: float | None
    sha256: str
    mask_read_by: str | None = None


def read_manifest(path: Path) -> list[Record]:
    """The records of an index, sorted by data set and id.

    Raises:
        IndexingError: The index is missing, empty, unreadable or of another version of SRPU.
    """
    try:
        content = read_json(path)
        if content["schema_version"] != SCHEMA_VERSION:
            raise IndexingError(f"{path} was written by another version of SRPU; run `srpu index` to write it anew.")
        records = [Record(**sample) for sample in content["samples"]]
    except FileNotFoundError as error:
        raise IndexingError(f"There is no index {path}; run `srpu index`.") from error
    except (WorkspaceError, KeyError, TypeError) as error:
        raise IndexingError(
            f"{path} is not an index, such as json/master_labeled_dataset.json; name another file, or let `srpu index` "
            "write that one anew."
        ) from error
    if not records:
        raise IndexingError(f"The index {path} is empty; add images (and masks), then run `srpu index`.")
    return records


def read_truth_version(path: Path) -> int:
    """The version of the validation and test images in an index that :func:`read_manifest` reads; 0 without any."""
    return int(read_json(path)["truth_version"]) if path.exists() else 0


def write_manifest(path: Path, records: Iterable[Record], truth_version: int = 1) -> None:
    """Write an index, atomically, one record a line.

    Args:
        path: The JSON file.
        records: In any order; they are written by data set and id.
        truth_version: Of the validation and test images.
    """
    ordered = sorted(records, key=lambda record: (record.dataset, record.id))
    write_rows(path, {"schema_version": SCHEMA_VERSION, "truth_version": truth_version}, map(asdict, ordered))


def write_rows(path: Path, head: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> None:
    """Write ``head`` and, under "samples", one sample a line, so that versions can be compared by eye."""
    rows = ",\n".join(json.dumps(sample, ensure_ascii=False, allow_nan=False) for sample in samples)
    start = json.dumps(dict(head), ensure_ascii=False, allow_nan=False)[:-1]
    write_text(path, f'{start}, "samples": [\n{rows}\n]}}\n')


class PixelSizes:
    """Looks up pixel sizes in the ``pixel_sizes.csv`` nearest above an image."""

    def __init__(self) -> None:
        self._tables: dict[Path, dict[str, float] | None] = {}

    def find(self, image: Path, root: Path) -> float | None:
        """The pixel size in nanometres that a table in the image's folder, or above it up to ``root``, tells.

        A table names an image by its path from the table's folder, by its file name or by its stem.

        Raises:
            IndexingError: A table cannot be read.
        """
        for folder in image.parents:
            if folder not in self._tables:
                table = folder / PIXEL_SIZES
                self._tables[folder] = read_pixel_sizes(table) if table.is_file() else None
            if sizes := self._tables[folder]:
                for name in (image.relative_to(folder).as_posix(), image.name, image.stem):
                    if name in sizes:
                        return sizes[name]
            if folder == root:
                break
        return None


def read_pixel_sizes(path: Path) -> dict[str, float]:
    """Read a CSV table with the columns ``name`` and ``pixel_size_nm``.

    Raises:
        IndexingError: The table lacks a column, or a size is not a positive number.
    """
    sizes = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := {"name", "pixel_size_nm"} - set(rows.fieldnames or ()):
                raise IndexingError(
                    f"{path} has no column {' and '.join(sorted(missing))}; its first line must be name,pixel_size_nm."
                )
            for row in rows:
                if not row["name"]:
                    continue
                sizes[row["name"].replace("\\", "/")] = _positive(row["pixel_size_nm"], path, rows.line_num)
    except UnicodeDecodeError as error:
        raise IndexingError(f'{path} is not in UTF-8; save it from Excel as "CSV UTF-8".') from error
    return sizes


def _positive(text: str | None, path: Path, line: int) -> float:
    try:
        size = float(text or "")
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise IndexingError(f"{path}, line {line}: the pixel size {text!r} is not a positive number of nanometres.")
    return size
