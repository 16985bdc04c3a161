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
from srpu.errors import WorkspaceError
from srpu.files import make_folder, read_json, write_json

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

    def finish(self, **scores: Any) -> None:
        """Mark the run as finished and note its ``scores``."""
        write_json(self.folder / _MANIFEST, self.manifest | {"status": "finished", "ended": _now()} | scores)


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
    """The newest run, if it has not finished.

    Raises:
        WorkspaceError: There is no run, or the newest has finished, or it stopped before its first epoch ended.
    """
    manifests = sorted(task_folder.glob(f"*/{_MANIFEST}"), key=lambda path: read_json(path)["started"])
    if not manifests:
        raise WorkspaceError(f"There is no run to continue in {task_folder}; start one without --resume.")
    run = Run(manifests[-1].parent, read_json(manifests[-1]))
    if run.manifest["status"] == "finished":
        raise WorkspaceError(f"The last run, {run.folder}, has finished; start a new one without --resume.")
    if not run.state_path.exists():
        raise WorkspaceError(f"{run.folder} stopped before its first epoch ended; start a new one without --resume.")
    return run


def data_hash(records: Iterable[Record]) -> str:
    """One hash for a set of images, their masks' places and their splits."""
    lines = sorted(f"{record.sha256} {record.split} {record.mask}" for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def versions() -> dict[str, str]:
    """What the run was computed with."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "timm", "segmentation-models-pytorch")}
    return {"srpu": __version__, "python": platform.python_version(), "system": platform.platform(), **packages}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
