"""A run: its folder, its manifest, and which of them can be continued.

``models/checkpoints/<task>_<encoder>_<decoder>/<time>/`` holds what one run wrote; ``best_model.pth`` above it belongs
to the last run that finished.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from srpu import __version__
from srpu.data.index import Record
from srpu.errors import IndexingError, WorkspaceError
from srpu.files import make_folder, read_json, write_json
from srpu.workspace import Workspace

_MANIFEST = "run.json"


@dataclass(frozen=True)
class Run:
    """One run's folder and what its manifest says."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def state_path(self) -> Path:
        """Everything needed to continue the run."""
        return self.folder / "state.pth"

    @property
    def best_path(self) -> Path:
        """The run's best model."""
        return self.folder / "best_model.pth"

    @property
    def last_path(self) -> Path:
        """The model of the run's last epoch."""
        return self.folder / "last_model.pth"

    def note(self, **facts: Any) -> Run:
        """Add ``facts`` to the manifest; gives the run that has them."""
        manifest = read_json(self.folder / _MANIFEST) | facts
        write_json(self.folder / _MANIFEST, manifest)
        return Run(self.folder, manifest)

    def finish(self, **scores: Any) -> None:
        """Mark the run as finished and note its ``scores``."""
        self.note(status="finished", ended=_now(), **scores)


def start_run(task_folder: Path, name: str | None, **facts: Any) -> Run:
    """Make the folder of a new run; ``facts`` go into its manifest."""
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}" + (f"_{name}" if name else "")
    folder, tries = task_folder / stamp, 1
    while folder.exists():
        tries += 1
        folder = task_folder / f"{stamp}-{tries}"
    manifest = {"status": "running", "started": _now(), "versions": versions(), **facts}
    run = Run(make_folder(folder), manifest)
    write_json(folder / _MANIFEST, manifest)
    return run


def unfinished_run(task_folder: Path) -> Run:
    """The newest run that has ended an epoch, if none has finished since.

    Raises:
        WorkspaceError: There is no run, the newest has finished, or none has ended its first epoch.
    """
    runs = [Run(path.parent, read_json(path)) for path in task_folder.glob(f"*/{_MANIFEST}")]
    if not runs:
        task = task_folder.name.partition("_")[0]
        states = sorted(task_folder.parent.glob(f"{task}_*/*/state.pth"), key=lambda path: path.stat().st_mtime)
        cure = (
            f"the last run of another network lies in {states[-1].parent}: give ENCODER_NAME and DECODER_NAME as then"
            if states
            else "start one without --resume"
        )
        raise WorkspaceError(f"There is no run to continue in {task_folder}; {cure}.")
    runs.sort(key=lambda run: str(run.manifest["started"]), reverse=True)
    for run in runs:
        if run.manifest["status"] == "finished":
            raise WorkspaceError(f"The last run, {run.folder}, has finished; start a new one without --resume.")
        if run.state_path.exists():
            return run
    raise WorkspaceError(
        f"{runs[0].folder} stopped before its first epoch was saved; start a new one without --resume."
    )


def data_hash(records: Iterable[Record], workspace: Workspace) -> str:
    """One hash for a set of images, what their masks' files hold, and their splits.

    Raises:
        IndexingError: A mask is gone.
    """
    masks: dict[str | None, str] = {None: ""}
    lines = []
    for record in records:
        if record.mask not in masks:
            masks[record.mask] = _file_hash(workspace.path(record.mask or ""))
        lines.append(f"{record.sha256} {record.split} {masks[record.mask]} {record.mask_page}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise IndexingError(f"The mask {path} cannot be read ({error.strerror}); run `srpu index` again.") from error


def versions() -> dict[str, str]:
    """What the run was computed with."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "timm", "segmentation-models-pytorch")}
    return {"srpu": __version__, "python": platform.python_version(), "system": platform.platform(), **packages}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
