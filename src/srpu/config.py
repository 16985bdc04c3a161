"""Config files become checked settings.

What counts, from the weakest to the strongest: the defaults in settings.py; base.py; the augmentation, dataset, json
and wandb files; the task's own files; ``--config FILE``; ``--set``. Every mistake is reported at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srpu.errors import SettingsError
from srpu.manual import literal, plain
from srpu.reading import Reading, StageReading
from srpu.settings import (
    FILES,
    TASKS,
    Settings,
    StageConfig,
    TrainSettings,
)
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """The checked settings of a task."""

    settings: Any
    """An instance of the class that ``settings.TASKS`` names for the task."""
    origins: dict[str, str]
    """Where each value came from: "default", a config file, or "--set"."""


@dataclass(frozen=True)
class Stage:
    """One entry of STAGES.

    Attributes:
        name: Its name.
        settings: What the stage is trained with.
        own: What it says about index files and weights, as written.
    """

    name: str
    settings: TrainSettings
    own: StageConfig


@dataclass(frozen=True)
class Entry:
    """One setting as ``srpu config show`` prints it."""

    file: str
    name: str
    value: str
    origin: str
    manual: str


def load_settings(task: str, workspace: Workspace, overrides: Sequence[str] = (), config: Path | None = None) -> Loaded:
    """Read and check all that the config files and the command line say about ``task``.

    Args:
        task: A key of ``settings.TASKS``.
        workspace: Whose ``configs/`` is read; a file that is not there leaves its settings at their defaults.
        overrides: ``NAME=VALUE``, dotted for one entry of a dictionary (``FLIP.p=0.3``); text needs no quotes.
        config: A further file of constants, stronger than those in ``configs/``.

    Raises:
        SettingsError: One sentence that lists every mistake.
    """
    reading = _read(task, workspace, overrides, config)
    if reading.mistakes:
        raise SettingsError(_sentence(reading.mistakes))
    for note in reading.notes:
        log.info(note)
    return Loaded(reading.settings, {name: reading.origin(name) for name in reading.model.model_fields})


def check_configs(workspace: Workspace) -> None:
    """Check the config files of every task.

    Raises:
        SettingsError: One sentence that lists every mistake.
    """
    readings = [_read(task, workspace) for task in TASKS]
    mistakes = [mistake for reading in readings for mistake in reading.mistakes]
    for path in sorted(workspace.configs.rglob("*.py")):
        name = path.relative_to(workspace.configs).as_posix()
        if name not in FILES and path.name != "__init__.py":
            mistakes.append(f"{workspace.name(path)}: no verb reads a file of this name")
    if mistakes:
        raise SettingsError(_sentence(list(dict.fromkeys(mistakes))))
    for note in dict.fromkeys(note for reading in readings for note in reading.notes):
        log.info(note)


def entries(task: str, loaded: Loaded) -> Iterator[Entry]:
    """Every setting of ``task``, file by file, with its value as one would write it, its origin and its manual."""
    own = TASKS[task][1]
    for file, part in FILES.items():
        if issubclass(Settings, part) or file in own:
            for name, field in part.model_fields.items():
                value = literal(getattr(loaded.settings, name))
                yield Entry(f"configs/{file}", name, value, loaded.origins[name], field.description or "")


def _read(task: str, workspace: Workspace, overrides: Sequence[str] = (), config: Path | None = None) -> Reading:
    if task not in TASKS:
        raise SettingsError(f"No task is called {task}; there are {', '.join(TASKS)}.")
    model, own = TASKS[task]
    reading = Reading(model)
    owners = {files[-1]: owner for owner, files in TASKS.values() if files}
    for file, part in FILES.items():
        if issubclass(Settings, part) or file in own:
            # A shared file may not set what only one task knows: another task would have to refuse it.
            path = workspace.configs / file
            if path.exists():
                reading.take_file(path, workspace.name(path), workspace, owners.get(file, Settings))
    if config is not None:
        reading.take_file(config, str(config), workspace, model)
    for override in overrides:
        reading.take_override(override)
    reading.check()
    if "STAGES" in model.model_fields:
        reading.mistakes += _read_stages(task, reading)[1]
    return reading


def read_stages(task: str, settings: Settings) -> list[Stage]:
    """The stages of checked ``settings``.

    Args:
        task: "train-stages" or "finetune-stages".
        settings: What was read for it.

    Raises:
        SettingsError: One sentence that lists every mistake in STAGES.
    """
    reading = Reading(type(settings))
    for name in type(settings).model_fields:
        reading.set(name, plain(getattr(settings, name)), "STAGES")
    stages, mistakes = _read_stages(task, reading)
    if mistakes:
        raise SettingsError(_sentence(mistakes))
    return stages


def _read_stages(task: str, shared: Reading) -> tuple[list[Stage], list[str]]:
    """The stages without mistakes, and the mistakes in the others; none of either where STAGES is no list at all."""
    entries = shared.value("STAGES")
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return [], []
    stages: list[Stage] = []
    mistakes: list[str] = []
    names: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        reading = StageReading(task, shared, number, entry)
        reading.check()
        mistakes += reading.mistakes
        first = names.setdefault(str(entry.get("name")).casefold(), number)
        if first < number and "name" in entry:
            mistakes.append(f"{reading.place}: stage {first} has this name already, and names files by it")
        if not reading.mistakes:
            stages.append(Stage(reading.own.name, reading.settings, reading.own))  # type: ignore[arg-type]
    return stages, mistakes


def _sentence(mistakes: Sequence[str]) -> str:
    if len(mistakes) == 1:
        return mistakes[0]
    return "\n  ".join([f"{len(mistakes)} mistakes in the settings:", *mistakes])
