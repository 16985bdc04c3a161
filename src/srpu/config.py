"""Config files become checked settings.

What counts, from the weakest to the strongest: the defaults in settings.py; base.py; the augmentation, dataset, json
and wandb files; the task's own files; ``--config FILE``; ``--set``. Every mistake is reported at once.
"""

from __future__ import annotations

import ast
import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from srpu.constants import read_constants
from srpu.errors import SettingsError
from srpu.manual import literal, plain
from srpu.settings import (
    ALIASES,
    FILES,
    STAGE_ALIASES,
    STAGE_SETTINGS,
    TASKS,
    Settings,
    StageConfig,
    TrainSettings,
)
from srpu.wording import short, wish
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

DEFAULT = "default"
"""The origin of a value that nobody set."""


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


def _read(task: str, workspace: Workspace, overrides: Sequence[str] = (), config: Path | None = None) -> _Reading:
    if task not in TASKS:
        raise SettingsError(f"No task is called {task}; there are {', '.join(TASKS)}.")
    model, own = TASKS[task]
    reading = _Reading(model)
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
    reading = _Reading(type(settings))
    for name in type(settings).model_fields:
        reading.set(name, plain(getattr(settings, name)), "STAGES")
    stages, mistakes = _read_stages(task, reading)
    if mistakes:
        raise SettingsError(_sentence(mistakes))
    return stages


def _read_stages(task: str, shared: _Reading) -> tuple[list[Stage], list[str]]:
    """The stages without mistakes, and the mistakes in the others; none of either where STAGES is no list at all."""
    entries = shared.value("STAGES")
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return [], []
    stages: list[Stage] = []
    mistakes: list[str] = []
    names: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        reading = _StageReading(task, shared, number, entry)
        reading.check()
        mistakes += reading.mistakes
        first = names.setdefault(str(entry.get("name")).casefold(), number)
        if first < number and "name" in entry:
            mistakes.append(f"{reading.place}: stage {first} has this name already, and names files by it")
        if not reading.mistakes:
            stages.append(Stage(reading.own.name, reading.settings, reading.own))  # type: ignore[arg-type]
    return stages, mistakes


class _Reading:
    """What the files and the command line say, and the mistakes in it."""

    settings: Settings

    def __init__(self, model: type[Settings]) -> None:
        self.model = model
        self.mistakes: list[str] = []
        self.notes: list[str] = []
        self._values: dict[str, Any] = {}
        self._origins: dict[str, str] = {}

    def take_file(self, path: Path, origin: str, workspace: Workspace, known: type[Settings]) -> None:
        """Take every constant of a file."""
        try:
            constants = read_constants(path, workspace.configs)
        except SettingsError as error:
            self.mistakes.append(str(error).replace(str(path), origin, 1))
            return
        for name, value in constants.items():
            if ALIASES.get(name) in constants:
                self.mistakes.append(f"{origin}: {name} is the old name of {ALIASES[name]}; keep one of them")
            else:
                self._take(name, value, origin, known)

    def take_override(self, text: str) -> None:
        """Take one ``NAME=VALUE`` of the command line."""
        target, equals, written = text.partition("=")
        target, _, key = target.strip().partition(".")
        if not equals:
            self.mistakes.append(f"--set {text}: write it as NAME=VALUE")
        elif not key or target not in self.model.model_fields:
            self._take(target, _parsed(written), "--set", self.model)
        elif isinstance(current := self.value(target), Mapping):
            self._take(target, {**current, _parsed(key): _parsed(written)}, "--set", self.model)
        else:
            self.mistakes.append(f"--set {text}: {target} has no parts; write {target}=VALUE")

    def set(self, name: str, value: Any, origin: str) -> None:
        """Take a value that is known to be in order."""
        self._values[name] = value
        self._origins[name] = origin

    def origin(self, name: str) -> str:
        """Where the value of ``name`` came from."""
        return self._origins.get(name, DEFAULT)

    def check(self) -> None:
        """Check all values together."""
        try:
            self.settings = self.model.model_validate(self._values)
        except ValidationError as error:
            self.mistakes += self._explain(error)

    def _take(self, name: str, value: Any, origin: str, known: type[Settings]) -> None:
        if name in ALIASES:
            new = ALIASES[name]
            self.notes.append(f"{name} ({origin}) is read as {new}: images are never resized, only cropped.")
            name, value = new, _edge(value)
        if name not in known.model_fields:
            self.mistakes.append(f"{origin}: {name} = {short(value)}: {_unknown(name, known)}")
            return
        current = self.value(name)
        if isinstance(known.model_fields[name].default, BaseModel) and isinstance(value, Mapping):
            # A switch that is only turned off keeps its p and its range.
            value = {**(current if isinstance(current, Mapping) else {}), **value}
        self.set(name, value, origin)

    def value(self, name: str) -> Any:
        """The value so far, as plain Python."""
        return self._values.get(name, plain(self.model.model_fields[name].default))

    def _explain(self, error: ValidationError) -> list[str]:
        """One line per place; where several kinds of value are allowed, what each of them asks for."""
        lines: dict[str, list[str]] = {}
        for mistake in error.errors(include_url=False):
            name, *rest = mistake["loc"]
            value, wanted = mistake["input"], wish(mistake)
            if mistake["type"] == "missing":
                rest.pop()
            if mistake["type"] == "extra_forbidden":
                wanted = f"unknown; there are {', '.join(plain(self.model.model_fields[str(name)].default))}"
            # pydantic also lists which of several allowed kinds it tried; only keys and positions mean something
            # to the user.
            given = self.value(str(name))
            keys = [part for part in rest if isinstance(part, int) or (isinstance(given, Mapping) and part in given)]
            place = ".".join(map(str, [name, *keys]))
            origin = self._origins.get(str(name), f"{_home(str(name), self.model)} (default)")
            lines.setdefault(f"{origin}: {place} = {short(value)}", []).append(wanted)
        return [f"{place}: {' or '.join(wishes)}" for place, wishes in lines.items()]


class _StageReading(_Reading):
    """One entry of STAGES: its own settings, in lower case, over those of all stages."""

    def __init__(self, task: str, shared: _Reading, number: int, entry: Mapping[str, Any]) -> None:
        super().__init__(TASKS[task.removesuffix("-stages")][0])
        origin = shared.origin("STAGES")
        if origin == DEFAULT:
            origin = f"configs/{TASKS[task][1][-1]} (default)"
        self.place = f"{origin}: STAGES, stage {number}" + (f" ({entry['name']})" if "name" in entry else "")
        for name in self.model.model_fields:
            self.set(name, shared.value(name), DEFAULT)
        self.own: StageConfig
        self._own: dict[str, Any] = {}
        for key, value in entry.items():
            if STAGE_ALIASES.get(key) in entry:
                self.mistakes.append(f"{self.place}: {key} means {STAGE_ALIASES[key]}; keep one of them")
            else:
                self._take_key(str(key), value)

    def _take_key(self, key: str, value: Any) -> None:
        value = _edge(value) if key == "image_size" else value
        key = STAGE_ALIASES.get(key, key)
        if key in StageConfig.model_fields:
            self._own[key] = value
        elif key.islower() and key.upper() in STAGE_SETTINGS:
            self._take(key.upper(), value, self.place, self.model)
        elif key.islower() and key.upper() in self.model.model_fields:
            home = _home(key.upper(), self.model)
            self.mistakes.append(f"{self.place}: {key} = {short(value)}: {_shared_by_all(key.upper(), home)}")
        else:
            keys = [*StageConfig.model_fields, *STAGE_ALIASES, *map(str.lower, sorted(STAGE_SETTINGS))]
            near = difflib.get_close_matches(key.lower(), keys, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.mistakes.append(f"{self.place}: {key} = {short(value)}: unknown key{meant}")

    def check(self) -> None:
        """Check all values together; mistakes that are not the stage's own are told elsewhere."""
        try:
            self.own = StageConfig(**self._own)
        except ValidationError as error:
            self.mistakes += [
                f"{self.place}: it has no name"
                if mistake["type"] == "missing"
                else f"{self.place}: {mistake['loc'][0]} = {short(mistake['input'])}: {wish(mistake)}"
                for mistake in error.errors(include_url=False)
            ]
        try:
            self.settings = self.model.model_validate(self._values)
        except ValidationError as error:
            lines = [line for line in self._explain(error) if line.startswith(self.place)]
            for line in lines:
                name, mark, rest = line.removeprefix(f"{self.place}: ").partition(" ")
                self.mistakes.append(f"{self.place}: {name.lower()}{mark}{rest}")


def _sentence(mistakes: Sequence[str]) -> str:
    if len(mistakes) == 1:
        return mistakes[0]
    return "\n  ".join([f"{len(mistakes)} mistakes in the settings:", *mistakes])


def _home(name: str, model: type[Settings]) -> str:
    """The config file of ``model`` that ``name`` belongs in; of a class and what it is made from, the former's."""
    return [f"configs/{file}" for file, part in FILES.items() if issubclass(model, part) and name in part.model_fields][
        -1
    ]


def _shared_by_all(name: str, home: str) -> str:
    if name in ("ENCODER_NAME", "DECODER_NAME"):
        return f"all stages share one network; set {name} in {home}"
    return f"one value holds for all stages; set {name} in {home}"


def _unknown(name: str, known: type[Settings]) -> str:
    if home := " or ".join(f"configs/{file}" for file, part in FILES.items() if name in part.model_fields):
        return f"it belongs in {home}"
    near = difflib.get_close_matches(name.upper(), known.model_fields, n=1)
    return "unknown setting" + (f"; did you mean {near[0]}?" if near else "")


def _parsed(text: str) -> Any:
    """A value of the command line: Python if it is Python, text otherwise.

    >>> _parsed("0.3"), _parsed("[1, 2]"), _parsed("None"), _parsed("resnet18")
    (0.3, [1, 2], None, 'resnet18')
    """
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError):
        return text


def _edge(value: Any) -> Any:
    """The edge of a square: old files give it as a pair.

    >>> _edge((512, 512)), _edge(256), _edge([512, 256])
    (512, 256, [512, 256])
    """
    return value[0] if isinstance(value, Sequence) and len(value) == 2 and value[0] == value[1] else value
