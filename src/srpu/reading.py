"""What config files and the command line say about settings, and every mistake in it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from srpu.constants import read_constants
from srpu.errors import SettingsError
from srpu.manual import plain
from srpu.settings import (
    ACTIVE_ALIASES,
    ALIASES,
    FILES,
    STAGE_ALIASES,
    STAGE_SETTINGS,
    TASKS,
    ActiveLearningSettings,
    Settings,
    StageConfig,
)
from srpu.wording import short, wish
from srpu.workspace import Workspace

DEFAULT = "default"
"""The origin of a value that nobody set."""


class Reading:
    """What the files and the command line say, and the mistakes in it."""

    settings: Settings

    def __init__(self, model: type[Settings]) -> None:
        self.model = model
        self.mistakes: list[str] = []
        self.notes: list[str] = []
        self._values: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        self._short: dict[str, tuple[Any, str]] = {}

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
            self._take(target, _changed(current, key, _parsed(written)), "--set", self.model)
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
        for name, (value, origin) in self._short.items():
            self._take_short(name, value, origin)
        try:
            self.settings = self.model.model_validate(self._values)
        except ValidationError as error:
            self.mistakes += self._explain(error)

    def _take_short(self, name: str, value: Any, origin: str) -> None:
        """Take the value of a short name, unless the long one has another value that somebody chose."""
        target, _, key = ACTIVE_ALIASES[name].partition(".")
        before, usual = self.value(target), plain(self.model.model_fields[target].default)
        if key:
            after = {**before, key: value} if isinstance(before, Mapping) else before
        elif name == "UNCERTAINTY_METHODS":
            if not isinstance(value, list) or not all(isinstance(method, str) for method in value):
                self.mistakes.append(f'{origin}: {name} = {short(value)}: must be a list of names, e.g. ["entropy"]')
                return
            names = dict.fromkeys([*(before if isinstance(before, Mapping) else usual), *value])
            after = {one: {**usual.get(one, {}), "enabled": one in value, "weight": 1.0} for one in names}
        else:
            after = value
        long, chosen = (before, before != usual)
        if key and isinstance(before, Mapping):
            long, chosen = before.get(key), before.get(key) != usual[key]
        by_hand = self.origin(target) == "--set"
        if chosen and after != before and by_hand == (origin == "--set"):
            self.mistakes.append(
                f"{origin}: {name} = {short(value)} and {ACTIVE_ALIASES[name]} = {short(long)} are two names of one "
                "setting with different values; keep one of them"
            )
        elif origin == "--set" or not by_hand or not chosen:
            self.set(target, after, origin)

    def _take(self, name: str, value: Any, origin: str, known: type[Settings]) -> None:
        if name in ACTIVE_ALIASES and issubclass(known, ActiveLearningSettings):
            self._short[name] = (value, origin)
            return
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


class StageReading(Reading):
    """One entry of STAGES: its own settings, in lower case, over those of all stages."""

    def __init__(self, task: str, shared: Reading, number: int, entry: Mapping[str, Any]) -> None:
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


def _changed(entries: Mapping[Any, Any], place: str, value: Any) -> dict[Any, Any]:
    """``entries`` with another value at ``place``, a key or, where entries have entries, a dotted path.

    >>> _changed({"a": {"b": 1, "c": 2}}, "a.b", 3), _changed({}, "my.set", 2)
    ({'a': {'b': 3, 'c': 2}}, {'my.set': 2})
    """
    first, _, rest = place.partition(".")
    inner = entries.get(_parsed(first))
    if rest and isinstance(inner, Mapping):
        return {**entries, _parsed(first): _changed(inner, rest, value)}
    return {**entries, _parsed(place): value}


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
