"""Where active learning keeps and writes things in a workspace."""

from __future__ import annotations

import filecmp
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from srpu.active.store import Store
from srpu.files import make_folder, replacing, writing_to
from srpu.settings import ActiveLearningSettings
from srpu.tasks.train_task import model_folder
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

RESULTS = "active_learning_results"
STORE = "active_learning"


@dataclass(frozen=True)
class Places:
    """Every folder and file, from the settings and the workspace."""

    settings: ActiveLearningSettings
    workspace: Workspace

    @property
    def store(self) -> Path:
        """What is remembered: ``store.db``, ``labels/``, ``judged/``."""
        return self.workspace.path(STORE)

    @property
    def judged(self) -> Path:
        """What models reached, by model and truth."""
        return self.store / "judged"

    @property
    def backups(self) -> Path:
        """Copies of indices and of an older store, made before they change."""
        return self.workspace.path(self.settings.JSON_DIR) / "backups"

    @property
    def history(self) -> Path:
        """All rounds as plain JSON."""
        return self.workspace.path(self.settings.JSON_DIR) / "active_learning_history.json"

    @property
    def models(self) -> Path:
        """Models of this network; ``best_model.pth`` there is the promoted one."""
        return model_folder(self.settings, self.workspace, "active_learning")

    @property
    def best_model(self) -> Path:
        """The promoted model, under the name that other verbs look for."""
        return self.models / "best_model.pth"

    @property
    def labeled(self) -> Path:
        """Where users keep their masks."""
        return self.workspace.path(self.settings.LABELED_DIR)

    def manifests(self, number: int) -> Path:
        """What a round was trained and judged on."""
        return self.workspace.path(self.settings.JSON_DIR) / f"round_{number}"

    def results(self, number: int) -> Path:
        """The report and pictures of a round."""
        return self.workspace.path(RESULTS) / f"round_{number}"

    def handed(self, number: int) -> Path:
        """The folder to copy: what a round asks for."""
        return self.workspace.path(self.settings.PREDICTION_MASK_CONFIG.output_dir) / f"round_{number}"

    @property
    def handed_by_hand(self) -> Path:
        """The folder to copy: what `srpu active masks` makes."""
        return self.workspace.path(self.settings.PREDICTION_MASK_CONFIG.output_dir) / "manual"

    def round_model(self, number: int, kind: str) -> Path:
        """The "best" or "final" model of a round."""
        return self.models / f"round_{number}_{kind}.pth"

    @contextmanager
    def open_store(self, *, read_only: bool = False) -> Iterator[Store]:
        """The store.

        Raises:
            StoreError: It is damaged, from a newer SRPU, in use, or missing and ``read_only``.
        """
        with Store.open(self.store, read_only=read_only, backups=self.backups) as store:
            yield store

    def back_up_indices(self) -> Path | None:
        """Copy the indices and the split aside, before they change; gives the folder, None if there is nothing yet.

        If the newest copy is the same, there is no further one.
        """
        folder = self.workspace.path(self.settings.JSON_DIR)
        files = sorted(set(folder.glob("*.json")) - {self.history})
        if not files:
            return None
        newest = max((path for path in self.backups.glob("*") if path.is_dir()), default=None)
        if newest is not None and all(_same(file, newest / file.name) for file in files):
            return newest
        aside = self.backups / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        for file in files:
            copy(file, aside / file.name)
        return aside


def _same(file: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(file, other, shallow=False)


def set_aside(folder: Path) -> None:
    """Call a folder otherwise, for one of its name is to be made; nothing in it is lost.

    Raises:
        WorkspaceError: It cannot be renamed.
    """
    aside = folder.with_name(f"{folder.name}_before_{datetime.now():%Y%m%d-%H%M%S-%f}")
    with writing_to(folder):
        folder.rename(aside)
    log.warning("%s belongs to an earlier store and is now called %s.", folder, aside.name)


def copy(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` is whole or as it was.

    Raises:
        WorkspaceError: It cannot be written.
    """
    make_folder(target.parent)
    with replacing(target) as temporary, writing_to(target):
        shutil.copyfile(source, temporary)
