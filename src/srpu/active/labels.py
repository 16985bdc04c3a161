"""Accepted masks as files: class ids as they are inside, each called after its own hash and never written over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from srpu.errors import StoreError
from srpu.files import open_replacing

Ids = UInt8[np.ndarray, "h w"]


def ids_hash(ids: Ids) -> str:
    """sha256 of shape and class ids.

    >>> ids_hash(np.zeros((2, 3), np.uint8)) == ids_hash(np.zeros((3, 2), np.uint8))
    False
    """
    ids = np.ascontiguousarray(ids, np.uint8)
    return hashlib.sha256(repr(ids.shape).encode() + ids.tobytes()).hexdigest()


def label_path(folder: Path, sha256: str) -> Path:
    """Where the mask of that hash lies below the store's ``folder``."""
    return folder / "labels" / f"{sha256}.png"


def write_label(folder: Path, ids: Ids) -> str:
    """Keep ``ids``, as a grey PNG of the ids themselves (255: not labelled); gives their hash.

    Raises:
        WorkspaceError: The file cannot be written.
    """
    sha256 = ids_hash(ids)
    path = label_path(folder, sha256)
    if not path.exists():
        with open_replacing(path) as file:
            Image.fromarray(np.ascontiguousarray(ids, np.uint8)).save(file, format="PNG", compress_level=4)
    return sha256


def read_label(path: Path) -> Ids:
    """The class ids of a kept mask.

    Raises:
        StoreError: The file is gone, or is not what was kept.
    """
    try:
        with Image.open(path) as picture:
            ids = np.array(picture)
    except (OSError, SyntaxError) as error:  # Pillow calls a damaged PNG a SyntaxError
        raise StoreError(
            f"The kept mask {path} cannot be read ({error}); restore active_learning/labels from a copy, or take the "
            "mask in again."
        ) from error
    if ids.dtype != np.uint8 or ids.ndim != 2 or ids_hash(ids) != path.stem:
        raise StoreError(
            f"The kept mask {path} is not what was accepted; restore active_learning/labels from a copy, or take the "
            "mask in again."
        )
    return ids
