"""A split that was fixed by hand: a JSON file that names images."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from srpu.data.draw import SPLITS, Split
from srpu.data.groups import Labelled, file_id
from srpu.errors import IndexingError, WorkspaceError
from srpu.files import read_json


def read_hand_split(location: str, folder: Path) -> dict[Split, list[str]]:
    """Read ``SPLIT_FILE``: {"train": [names], "val": [names], "test": [names]}.

    Args:
        location: The file, absolute or from ``folder``; "FILE#KEY" takes what the file holds under KEY.
        folder: The workspace.

    Raises:
        IndexingError: The file is missing, or it does not hold a split.
    """
    path, key = folder / location, ""
    if not path.is_file() and "#" in location:
        name, key = location.rsplit("#", 1)
        path = folder / name
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise IndexingError(
            f"There is no file {path}, which SPLIT_FILE names; correct the setting or add it."
        ) from error
    except WorkspaceError as error:
        raise IndexingError(f"SPLIT_FILE: {error}") from error
    if key:
        if not isinstance(content, dict) or key not in content:
            raise IndexingError(f"{path} has no part {key!r}, which SPLIT_FILE asks for; it has {_keys(content)}.")
        content = content[key]
    parts: dict[Split, list[str]] = {}
    for split in SPLITS:
        names = content.get(split, []) if isinstance(content, dict) and set(content) <= set(SPLITS) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise IndexingError(
                f'{location} must hold {{"train": [names], "val": [names], "test": [names]}}; it holds '
                f"{_keys(content)}. A part of a file is taken by SPLIT_FILE = FILE#KEY."
            )
        parts[split] = names
    return parts


def apply_hand_split(images: Iterable[Labelled], parts: Mapping[Split, Iterable[str]]) -> dict[str, Split]:
    """The split by id, of the images that are named.

    A name is an id, a file name, or one of them without its suffix; the name of a stack means all of its pages.

    Raises:
        IndexingError: Lists every name that no labelled image has, that several have, or that is in several splits.
    """
    called: dict[str, dict[str, list[str]]] = defaultdict(dict)  # name → file → ids of its pages
    for image in images:
        file = file_id(image.id)
        for name in _names(image.id) | _names(file) | _names(file.removeprefix(f"{image.dataset}/")):
            called[name].setdefault(file, []).append(image.id)
    wanted = [(split, name, called.get(_plain(name), {})) for split, names in parts.items() for name in names]
    unknown = [name for _, name, files in wanted if not files]
    problems = [f"no labelled image is called {', '.join(unknown)}"] if unknown else []
    problems += [
        f"{name} could be {' or '.join(sorted(files))}; write it so" for _, name, files in wanted if len(files) > 1
    ]
    of: dict[str, Split] = {}
    for split, id_ in (
        (split, id_) for split, _, files in wanted if len(files) == 1 for id_ in next(iter(files.values()))
    ):
        if of.setdefault(id_, split) != split:
            problems.append(f"{id_} is in both {of[id_]} and {split}")
    if problems:
        raise IndexingError(f"SPLIT_FILE does not fit the labelled images: {'; '.join(problems)}.")
    return of


def _names(id_: str) -> set[str]:
    path = PurePosixPath(_plain(id_))
    return {path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem}


def _plain(name: str) -> str:
    """As ids are written, whatever system the name comes from."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _keys(content: Any) -> str:
    return ", ".join(map(repr, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
