"""What every verb understands: settings for this run, a further config file, the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from srpu.errors import WorkspaceError
from srpu.workspace import Workspace

PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None}
"""How groups of verbs behave."""

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Change one setting for this run, e.g. NUM_EPOCHS=5 or FLIP.p=0.3."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A further file of settings, stronger than configs/.")
]
Folder = Annotated[
    Path | None, typer.Option("--workspace", metavar="DIR", help="The workspace; by default the folder you are in.")
]


def open_workspace(folder: Path | None) -> Workspace:
    """The workspace that was named, or the one that the current folder lies in.

    Raises:
        WorkspaceError: It is none.
    """
    found = Workspace.find(folder or Path.cwd())
    if folder is not None and found.root != folder.resolve():
        raise WorkspaceError(
            f"{folder} is no SRPU workspace: it has no configs/base.py; `srpu init {folder}` makes one."
        )
    return found


def workspace_if_any() -> Workspace | None:
    """The workspace that the current folder lies in."""
    try:
        return open_workspace(None)
    except WorkspaceError:
        return None


def load(task: str, overrides: list[str] | None, config: Path | None, folder: Path | None) -> tuple[Any, Workspace]:
    """The checked settings of ``task``, and the workspace they come from.

    Raises:
        SettingsError: Names every mistake in them.
    """
    from srpu.config import load_settings

    workspace = open_workspace(folder)
    return load_settings(task, workspace, overrides or (), config).settings, workspace
