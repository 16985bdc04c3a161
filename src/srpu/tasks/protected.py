"""Which images may not be asked for, because models are judged on them, on their specimen or on the same field.

What was compared is remembered in the cache folder, so that each round compares only what is new. The memory can be
deleted at any time; then nobody can tell any more what looks like a judged image whose file is gone.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from srpu.data.fingerprint import THUMBNAIL, Fingerprint
from srpu.data.groups import file_id
from srpu.data.index import Record
from srpu.data.leaks import find_leaks
from srpu.data.splits import read_splits
from srpu.errors import WorkspaceError
from srpu.files import open_replacing, read_json, write_json
from srpu.settings import Settings
from srpu.tasks.readings import look, read_each
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

AT_ONCE = 4000
"""Images of the pool that are held as thumbnails together: 140 MB."""

PAIRS_IN_FULL = 60_000
"""Pairs up to which each image of the pool is correlated with each judged one: three minutes, once."""

LIKELIEST = 5_000
"""Of more, so many pairs of each part of the pool."""

UNSURE = False
"""In place of nothing found: the image has met its likeliest partners only."""

_NOUNS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class JudgedOn:
    """An image that models are judged on; ``record`` is None where the file is gone for now."""

    id: str
    sha256: str
    group: str
    split: str
    record: Record | None = None

    def __str__(self) -> str:
        return f"the {_NOUNS[self.split]} image {self.id}"


@dataclass
class _Memory:
    """What was compared already.

    Attributes:
        made_with: Of everything that the results depend on.
        alike: Of each image of the pool, by hash: which judged image it is like, how much and how; None: none; or
            UNSURE.
    """

    made_with: str
    alike: dict[str, list[Any] | bool | None] = field(default_factory=dict)


def protected(
    records: Sequence[Record], pool: Sequence[Record], settings: Settings, workspace: Workspace, *, exact: bool = False
) -> dict[str, str]:
    """The images of ``pool`` that may not be asked for, by hash, and one sentence why.

    A group counts whatever its data set, as where the split is decided. In a stack, whose split is cut into blocks, a
    page may be asked for if its nearest labelled pages on both sides are trained on.

    Args:
        records: Every labelled image, with its split.
        pool: Images without a mask.
        settings: Of the verb.
        workspace: Where the images and the cache are.
        exact: Correlate every pair however many there are, as with the few images that are about to be asked for; else
            a large pool meets its likeliest partners only.

    Raises:
        IndexingError: json/splits.json is damaged.
    """
    decided = list(_decided(records, settings, workspace))
    judged = {one.sha256: one for one in decided if one.split in _NOUNS}
    if not judged:
        return {}
    groups: dict[str, list[JudgedOn]] = defaultdict(list)
    for one in decided:
        groups[one.group].append(one)
    why: dict[str, str] = {}
    for record in pool:
        kin = groups.get(record.group, [])
        if record.sha256 in judged:
            why[record.sha256] = f"{record.id} has the same pixels as {judged[record.sha256]}."
        elif any(one.split in _NOUNS for one in kin) and (sentence := _kept_with(record, kin)):
            why[record.sha256] = sentence
    left = {record.sha256: record for record in pool if record.sha256 not in why}
    return why | _alike(list(left.values()), list(judged.values()), settings, workspace, exact=exact)


def _decided(records: Sequence[Record], settings: Settings, workspace: Workspace) -> Iterator[JudgedOn]:
    """Every labelled image and its split ("None": in a gap), also of those that are gone."""
    there = {record.sha256: record for record in records}
    for record in records:
        yield JudgedOn(record.id, record.sha256, record.group, str(record.split), record)
    if settings.SPLIT_FILE is None and (splits := read_splits(workspace.path(settings.SPLITS_JSON))):
        for entry in splits.entries:
            if entry.sha256 not in there or entry.split in _NOUNS:
                yield JudgedOn(entry.id, entry.sha256, entry.group, str(entry.split), there.get(entry.sha256))


def _kept_with(record: Record, kin: Sequence[JudgedOn]) -> str:
    """Why an image is kept with its group, part of which is judged on; "" if it need not be."""
    page = _page(record.id)
    if page is None or record.group != file_id(record.id):
        split = next(_NOUNS[one.split] for one in kin if one.split in _NOUNS)
        return f"{record.id} belongs to {record.group}, which is kept for {split}."
    pages = [(number, one) for one in kin if (number := _page(one.id)) is not None and number != page]
    before = max((pair for pair in pages if pair[0] < page), key=lambda pair: pair[0], default=None)
    after = min((pair for pair in pages if pair[0] > page), key=lambda pair: pair[0], default=None)
    neighbours = [pair[1] for pair in (before, after) if pair is not None]
    judged = [one for one in neighbours if one.split in _NOUNS]
    if judged:
        return f"{record.id} lies beside {judged[0]} in its stack."
    if any(one.split != "train" for one in neighbours):
        return f"{record.id} lies in the gap between training and validation pages of its stack."
    return ""


def _page(id_: str) -> int | None:
    number = re.search(r"#(\d+)$", id_)
    return int(number[1]) if number else None


def _alike(
    pool: Sequence[Record], judged: Sequence[JudgedOn], settings: Settings, workspace: Workspace, *, exact: bool
) -> dict[str, str]:
    """The images of ``pool`` that show the same field as a judged one, or that cannot be compared."""
    folder = workspace.path(settings.CACHE_DIR) / "likeness"
    known = _fingerprints(folder, judged, settings, workspace)
    memory = _remembered(folder, known, settings)
    problems: dict[str, str] = {}
    waiting = [r for r in pool if r.sha256 not in memory.alike or (exact and memory.alike[r.sha256] is UNSURE)]
    if known:
        in_full = exact or len(waiting) * len(known) <= PAIRS_IN_FULL
        for start in range(0, len(waiting), AT_ONCE):
            chunk = waiting[start : start + AT_ONCE]
            looks, _ = read_each(chunk, lambda record: look(record, settings, workspace), "reading the pool")
            problems |= {r.sha256: f"{r.id} cannot be read or compared." for r in chunk if r.id not in looks}
            prints = {r.sha256: looks[r.id].fingerprint for r in chunk if r.id in looks}
            found = _compare(prints, known, settings.NEAR_DUPLICATE_CORRELATION, in_full=in_full)
            memory.alike |= {sha256: found.get(sha256, None if in_full else UNSURE) for sha256 in prints}
            write_json(folder / "pool.json", vars(memory), indent=None)
    named = {one.sha256: str(one) for one in judged}
    return problems | {
        record.sha256: f"{record.id} shows nearly the same as {named[like[0]]} (correlation {like[1]:.2f}, {like[2]})."
        for record in pool
        if isinstance(like := memory.alike.get(record.sha256), list)
    }


def _compare(
    pool: Mapping[str, Fingerprint], judged: Mapping[str, Fingerprint], threshold: float, *, in_full: bool
) -> dict[str, list[Any]]:
    """For each image of the pool that is like a judged one: the surest."""
    hashes = [*pool, *judged]
    splits = ["train"] * len(pool) + ["val"] * len(judged)
    found: dict[str, list[Any]] = {}
    limit = len(pool) * len(judged) if in_full else LIKELIEST
    for leak in find_leaks(splits, hashes, [*pool.values(), *judged.values()], threshold, limit):  # the surest first
        found.setdefault(hashes[leak.first], [hashes[leak.second], round(leak.correlation, 4), leak.how])
    return found


def _remembered(folder: Path, judged: Iterable[str], settings: Settings) -> _Memory:
    """What the last round found, if it was found with the same settings against the same images."""
    facts = (settings.NEAR_DUPLICATE_CORRELATION, settings.DATABAR_ROWS, THUMBNAIL, sorted(judged))
    made_with = hashlib.sha256(repr(facts).encode()).hexdigest()
    with suppress(FileNotFoundError, WorkspaceError, KeyError, TypeError):  # without a memory, all is compared anew
        content = read_json(folder / "pool.json")
        if content["made_with"] == made_with:
            return _Memory(made_with, dict(content["alike"]))
    return _Memory(made_with)


def _fingerprints(
    folder: Path, judged: Sequence[JudgedOn], settings: Settings, workspace: Workspace
) -> dict[str, Fingerprint]:
    """What judged images look like, as far as their files are there or were once."""
    path = folder / "judged.npz"
    known: dict[str, Fingerprint] = {}
    bars = str(settings.DATABAR_ROWS)
    with (
        suppress(OSError, EOFError, ValueError, KeyError, BadZipFile),
        np.load(path) as kept,
    ):  # else they are read anew
        if str(kept["bars"]) == bars:
            hashes = [name for name in kept.files if name not in ("bars", "scales")]
            known = {
                name: Fingerprint(kept[name], float(scale)) for name, scale in zip(hashes, kept["scales"], strict=True)
            }
    records = [one.record for one in judged if one.record is not None and one.sha256 not in known]
    looks, _ = read_each(records, lambda record: look(record, settings, workspace), "reading judged images")
    if looks:
        known |= {record.sha256: looks[record.id].fingerprint for record in records if record.id in looks}
        arrays: dict[str, Any] = {name: one.thumbnail for name, one in known.items()}
        arrays |= {"bars": np.array(bars), "scales": np.array([one.scale for one in known.values()])}
        with open_replacing(path) as file:
            np.savez(file, **arrays)
    unknown = [one.id for one in judged if one.sha256 not in known]
    if unknown:
        log.warning(
            "%d images to judge on cannot be read (%s%s): nobody can tell which images of the pool are like them.",
            len(unknown),
            ", ".join(unknown[:3]),
            ", …" if len(unknown) > 3 else "",
        )
    return {one.sha256: known[one.sha256] for one in judged if one.sha256 in known}
