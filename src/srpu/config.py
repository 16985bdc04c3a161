"""Config files become checked settings.

What counts, from the weakest to the strongest: the defaults in settings.py; base.py; the augmentation, dataset, json
and wandb files; the task's own file; ``--config FILE``; ``--set``. Every mistake is reported at once.
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
from srpu.settings import ALIASES, FILES, TASKS, Settings
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

DEFAULT = "default"
"""The origin of a value that nobody set."""

_WORDING = {
    "bool_parsing": "must be True or False",
    "bool_type": "must be True or False",
    "dict_type": "must be a dictionary, e.g. {{0: ...}}",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "list_type": "must be a list, e.g. [...]",
    "literal_error": "must be {expected}",
    "model_type": 'must be a dictionary, e.g. {{"enabled": True, "p": 0.5}}',
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_type": "must be text in quotes",
    "too_long": "has {actual_length} entries instead of {max_length}",
    "tuple_type": "must be a list, e.g. [...]",
}
"""What pydantic calls a mistake, and what the user reads."""


@dataclass(frozen=True)
class Loaded:
    """The checked settings of a task."""

    settings: Any
    """An instance of the class that ``settings.TASKS`` names for the task."""
    origins: dict[str, str]
    """Where each value came from: "default", a config file, or "--set"."""


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
        if issubclass(Settings, part) or file == own:
            for name, field in part.model_fields.items():
                value = literal(getattr(loaded.settings, name))
                yield Entry(f"configs/{file}", name, value, loaded.origins[name], field.description or "")


def _read(task: str, workspace: Workspace, overrides: Sequence[str] = (), config: Path | None = None) -> _Reading:
    if task not in TASKS:
        raise SettingsError(f"No task is called {task}; there are {', '.join(TASKS)}.")
    model, own = TASKS[task]
    reading = _Reading(model)
    for file, part in FILES.items():
        if issubclass(Settings, part) or file == own:
            # A shared file may not set what only one task knows: another task would have to refuse it.
            known = model if file == own else Settings
            path = workspace.configs / file
            if path.exists():
                reading.take_file(path, workspace.name(path), workspace, known)
    if config is not None:
        reading.take_file(config, str(config), workspace, model)
    for override in overrides:
        reading.take_override(override)
    reading.check()
    return reading


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
        elif isinstance(current := self._current(target), Mapping):
            self._take(target, {**current, _parsed(key): _parsed(written)}, "--set", self.model)
        else:
            self.mistakes.append(f"--set {text}: {target} has no parts; write {target}=VALUE")

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
            self.mistakes.append(f"{origin}: {name} = {_short(value)}: {_unknown(name, known)}")
            return
        current = self._current(name)
        if isinstance(known.model_fields[name].default, BaseModel) and isinstance(value, Mapping):
            # A switch that is only turned off keeps its p and its range.
            value = {**(current if isinstance(current, Mapping) else {}), **value}
        self._values[name] = value
        self._origins[name] = origin

    def _current(self, name: str) -> Any:
        """The value so far, as plain Python."""
        return self._values.get(name, plain(self.model.model_fields[name].default))

    def _explain(self, error: ValidationError) -> list[str]:
        """One line per place; where several kinds of value are allowed, what each of them asks for."""
        lines: dict[str, list[str]] = {}
        for mistake in error.errors(include_url=False):
            name, *rest = mistake["loc"]
            value, wish = mistake["input"], _wish(mistake)
            if mistake["type"] == "missing":
                rest.pop()
            if mistake["type"] == "extra_forbidden":
                wish = f"unknown; there are {', '.join(plain(self.model.model_fields[str(name)].default))}"
            # pydantic also lists which of several allowed kinds it tried; only keys and positions mean something
            # to the user.
            given = self._current(str(name))
            keys = [part for part in rest if isinstance(part, int) or (isinstance(given, Mapping) and part in given)]
            place = ".".join(map(str, [name, *keys]))
            origin = self._origins.get(str(name), f"{_home(str(name), self.model)} (default)")
            lines.setdefault(f"{origin}: {place} = {_short(value)}", []).append(wish)
        return [f"{place}: {' or '.join(wishes)}" for place, wishes in lines.items()]


def _sentence(mistakes: Sequence[str]) -> str:
    if len(mistakes) == 1:
        return mistakes[0]
    return "\n  ".join([f"{len(mistakes)} mistakes in the settings:", *mistakes])


def _home(name: str, model: type[Settings]) -> str:
    """The config file of ``model`` that ``name`` belongs in; of a class and what it is made from, the former's."""
    return [f"configs/{file}" for file, part in FILES.items() if issubclass(model, part) and name in part.model_fields][
        -1
    ]


def _unknown(name: str, known: type[Settings]) -> str:
    if home := " or ".join(f"configs/{file}" for file, part in FILES.items() if name in part.model_fields):
        return f"it belongs in {home}"
    near = difflib.get_close_matches(name.upper(), known.model_fields, n=1)
    return "unknown setting" + (f"; did you mean {near[0]}?" if near else "")


def _wish(mistake: Any) -> str:
    """What the value should have been, in the user's words."""
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "has too few entries"
    return _WORDING[kind].format(**context) if kind in _WORDING else str(mistake["msg"])


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


def _short(value: Any) -> str:
    text = literal(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
