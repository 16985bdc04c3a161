"""Reading all images of an index, and going on where one cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from srpu.data.fingerprint import Fingerprint, fingerprint
from srpu.data.images import databar_rows, find_databar, read_image
from srpu.data.index import Record, read_manifest
from srpu.errors import DataError
from srpu.files import read_json
from srpu.progress import track
from srpu.settings import Settings
from srpu.tasks.wiring import load_records
from srpu.workspace import Workspace

T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """What one image looks like, and how many rows of data bar count as image."""

    fingerprint: Fingerprint
    bar: int


def all_records(settings: Settings, workspace: Workspace) -> tuple[list[Record], list[Record]]:
    """What the indices hold, of the data sets in DATASETS: labelled images, and images without a mask.

    Raises:
        IndexingError: There is no index, or neither holds an image.
    """
    unlabelled: list[Record] = []
    path = workspace.path(settings.MASTER_UNLABELED_JSON)
    if path.is_file() and read_json(path).get("samples"):
        chosen = settings.DATASETS
        unlabelled = [record for record in read_manifest(path) if chosen is None or record.dataset in chosen]
    path = workspace.path(settings.MASTER_LABELED_JSON)
    if unlabelled and path.is_file() and not read_json(path).get("samples"):
        return [], unlabelled
    return load_records(settings, workspace), unlabelled


def look(record: Record, settings: Settings, workspace: Workspace) -> Look:
    """What the record's image looks like, without any data bar.

    Raises:
        ImageError: The file cannot be read.
    """
    image = read_image(workspace.path(record.image), record.page)
    told = databar_rows(image, settings.DATABAR_ROWS)
    found = find_databar(image) if not told else 0  # a bar is the same in all images: it must not be compared
    return Look(fingerprint(image[: len(image) - told - found]), found)


def read_each(records: Sequence[Record], read: Callable[[Record], T], doing: str) -> tuple[dict[str, T], list[str]]:
    """What ``read`` makes of each record, by its id, and one sentence for each that cannot be read.

    Several threads read; of each image only the result is kept.

    Args:
        records: Of an index.
        read: Opens a record's files.
        doing: What the user sees meanwhile.
    """

    def attempt(record: Record) -> T | str:
        try:
            return read(record)
        except DataError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename} cannot be read ({error.strerror}); check that it is there and its permissions."
        except MemoryError:  # a broken header may ask for any size
            return f"{record.image} or its mask does not fit into memory; cut it into smaller images."

    found: dict[str, T] = {}
    problems = []
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as threads:
        try:
            for record, result in zip(records, track(threads.map(attempt, records), doing, len(records)), strict=True):
                if isinstance(result, str):
                    problems.append(result)
                else:
                    found[record.id] = result
        except BaseException:  # Ctrl-C too: do not read on
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    return found, problems
