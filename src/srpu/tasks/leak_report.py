"""Images of different splits that show the same: sentences, a table and pictures side by side."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from srpu.data.images import read_image
from srpu.data.index import Record
from srpu.data.leaks import EXACT, Leak
from srpu.files import open_replacing, write_text, writing_to
from srpu.pictures import panel, png_bytes, to_8bit
from srpu.progress import track
from srpu.workspace import Workspace

TABLE = "leaks.csv"

PICTURES = 50
"""Leaks that are drawn."""

_EDGE = 700


def leak_sentences(leaks: Sequence[Leak], records: Sequence[Record]) -> list[str]:
    """One for each image that is judged on: what it has in common with which image."""
    of: defaultdict[int, list[Leak]] = defaultdict(list)
    for leak in leaks:
        of[leak.second].append(leak)
    numbers = _numbers(leaks)
    sentences = []
    for second, found in of.items():
        surest, judged = found[0], records[second]
        how = "exactly" if surest.how == EXACT else f"correlation {surest.correlation:.2f}, {surest.how}"
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        drawn = f" See leaks/{_file(numbers[surest])}." if surest in numbers else ""
        first = records[surest.first]
        sentences.append(f"{judged.split} {judged.id} shows the same as {first.split} {first.id} ({how}){more}.{drawn}")
    return sentences


def write_leaks(folder: Path, leaks: Sequence[Leak], records: Sequence[Record], workspace: Workspace) -> list[Path]:
    """Write all leaks as a table, and the surest one of each image as a picture; what an earlier check wrote goes.

    Raises:
        WorkspaceError: The folder cannot be written.
    """
    for old in [*folder.glob("leak_*.png"), *folder.glob(TABLE)]:
        with writing_to(old):
            old.unlink()
    if not leaks:
        return []
    numbers = _numbers(leaks)
    write_text(folder / TABLE, _table(leaks, records, numbers))
    files = [folder / TABLE]
    for leak, number in track(numbers.items(), "drawing leaks", len(numbers)):
        first, second = records[leak.first], records[leak.second]
        sides = [_thumb(record, workspace) for record in (first, second)]
        titles = [f"{first.split}: {first.id}", f"{second.split}: {second.id} ({leak.correlation:.2f}, {leak.how})"]
        files.append(folder / _file(number))
        with open_replacing(files[-1]) as file:
            file.write(png_bytes(panel(sides, titles)))
    return files


def _numbers(leaks: Sequence[Leak]) -> dict[Leak, int]:
    """The leaks that are drawn, the surest of each judged image, and the numbers of their pictures."""
    surest: dict[int, Leak] = {}
    for leak in leaks:
        surest.setdefault(leak.second, leak)
    return {leak: number for number, leak in enumerate(list(surest.values())[:PICTURES], start=1)}


def _file(number: int) -> str:
    return f"leak_{number:03d}.png"


def _table(leaks: Sequence[Leak], records: Sequence[Record], numbers: dict[Leak, int]) -> str:
    """Comma-separated lines, with the mark by which Excel knows that they are UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["first_split", "first", "second_split", "second", "correlation", "how", "picture"])
    for leak in leaks:
        first, second = records[leak.first], records[leak.second]
        picture = _file(numbers[leak]) if leak in numbers else ""
        writer.writerow([first.split, first.id, second.split, second.id, f"{leak.correlation:.3f}", leak.how, picture])
    return "\ufeff" + text.getvalue()


def _thumb(record: Record, workspace: Workspace) -> UInt8[np.ndarray, "e e"]:
    """The image, shrunk into a square."""
    image = to_8bit(read_image(workspace.path(record.image), record.page))
    zoom = _EDGE / max(image.shape)
    height, width = (max(1, round(edge * zoom)) for edge in image.shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_NEAREST)
    return np.pad(small, ((0, _EDGE - height), (0, _EDGE - width)), constant_values=255)
