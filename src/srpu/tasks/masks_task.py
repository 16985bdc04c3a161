"""`srpu masks repair`: clean copies of masks whose edges were smoothed or compressed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srpu.data.masks import repair_mask
from srpu.errors import MaskError
from srpu.progress import track
from srpu.settings import Settings
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repairs:
    """What was done.

    Attributes:
        written: The copies.
        failed: How many masks could not be repaired.
    """

    written: tuple[Path, ...]
    failed: int


def repair(settings: Settings, workspace: Workspace, paths: Sequence[Path]) -> Repairs:
    """Write a nearest-colour copy beside each mask; one that cannot be repaired is named and does not stop the others.

    Args:
        settings: What colours and grey levels mean.
        workspace: Where paths are looked for that do not exist from where the user stands.
        paths: Mask files.

    Raises:
        WorkspaceError: A copy cannot be written.
    """
    classes = class_map(settings)
    written: list[Path] = []
    refused: list[str] = []
    for path in track(paths, "repairing masks"):
        try:
            copy, changed = repair_mask(path if path.exists() else workspace.path(path), classes)
        except MaskError as error:
            refused.append(str(error))
            continue
        written.append(copy)
        log.info("%s written: %s pixels got the nearest class; look at it before you use it.", copy, f"{changed:,}")
    for sentence in refused:
        log.error("Not repaired: %s", sentence)
    return Repairs(tuple(written), len(refused))
