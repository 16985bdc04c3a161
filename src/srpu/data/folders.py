"""Finding the pictures below a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from srpu.data.images import SUFFIXES
from srpu.errors import IndexingError

_COMPANIONS = {".csv", ".db", ".hdr", ".ini", ".json", ".log", ".md", ".pdf", ".roi", ".txt", ".xml", ".zip"}
"""Files that microscopes, ImageJ and operating systems put beside pictures."""


@dataclass(frozen=True)
class Found:
    """A file, by the folder that was searched and its way from there.

    Attributes:
        root: The folder that was searched.
        parts: The names from there to the file.
    """

    root: Path
    parts: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.root.joinpath(*self.parts)

    @property
    def id(self) -> str:
        """The way from the root, with ``/`` on every system."""
        return "/".join(self.parts)

    @property
    def folder(self) -> tuple[str, ...]:
        """The names from the root to the file's folder."""
        return self.parts[:-1]

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return Path(self.parts[-1]).stem


def find_files(root: Path, skip: Collection[Path] = (), strangers: Counter[str] | None = None) -> list[Found]:
    """The pictures below ``root``, sorted; hidden files and folders are passed over, links are followed once.

    Args:
        root: Where to search; a folder that does not exist holds nothing.
        skip: Resolved folders that are not entered.
        strangers: Counts the suffixes of files that are neither pictures nor their usual companions.

    Raises:
        IndexingError: A folder cannot be opened.
    """

    def refuse(error: OSError) -> None:
        raise IndexingError(f"The folder {error.filename} cannot be opened ({error.strerror}).") from error

    found = []
    entered = set(skip)
    for name, folders, files in os.walk(root, followlinks=True, onerror=refuse if root.is_dir() else None):
        here = Path(name).resolve()
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders[:] = sorted(folder for folder in folders if not _is_hidden(folder))
        parts = Path(name).relative_to(root).parts
        for file in files:
            suffix = Path(file).suffix.lower()
            if _is_hidden(file):
                continue
            if suffix in SUFFIXES:
                found.append(Found(root, (*parts, file)))
            elif strangers is not None and suffix not in _COMPANIONS:
                strangers[suffix or "no suffix"] += 1
    return sorted(found, key=lambda file: file.parts)


def subfolders(folder: Path) -> list[Path]:
    """The folders in ``folder``, sorted, without hidden ones; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "~")) or name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
