"""Where things lie on disk: a workspace is a folder with ``configs/`` in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from srpu.errors import WorkspaceError


@dataclass(frozen=True)
class Workspace:
    """A user's folder. Settings name paths below it; absolute ones may lead elsewhere."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> Workspace:
        """The workspace that ``start`` or one of its parents is.

        Raises:
            WorkspaceError: No folder from ``start`` upwards holds ``configs/``.
        """
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / "configs" / "base.py").is_file():
                return cls(folder)
        raise WorkspaceError(f"No SRPU workspace in {start}: make one with `srpu init DIR` and go there.")

    @property
    def configs(self) -> Path:
        """The folder of config files."""
        return self.root / "configs"

    def path(self, name: str | Path) -> Path:
        """The absolute path of what a setting or an index calls ``name``."""
        return self.root / Path(name).expanduser()

    def name(self, path: Path) -> str:
        """How an index calls ``path``: relative to the workspace where possible, with ``/`` on every system."""
        path = path.absolute()
        return (path.relative_to(self.root) if path.is_relative_to(self.root) else path).as_posix()
