"""Python files of UPPER_CASE constants: what a user's config file says.

A file is executed by itself: neither ``sys.path`` nor ``sys.modules`` learns of it. Functions, imported modules and
lower-case names in it are its own business.
"""

from __future__ import annotations

import ast
import builtins
import copy
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from srpu.errors import SettingsError


def read_constants(path: Path, configs: Path) -> dict[str, Any]:
    """The UPPER_CASE constants that the file ``path`` sets.

    ``from configs.base import *`` and ``from .base import *`` work below the folder ``configs``; a name that is only
    imported does not count as set.

    Raises:
        SettingsError: The file cannot be read or executed; the sentence names the line.
    """
    tree = _parse(path)
    imports = _Imports(path, configs)
    namespace: dict[str, Any] = {
        "__name__": path.stem,
        "__file__": str(path),
        "__builtins__": {**vars(builtins), "__import__": imports},
    }
    try:
        exec(compile(tree, str(path), "exec"), namespace)  # noqa: S102  a config file is the user's own program
    except SettingsError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's file raises is the user's to mend
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", 1)  # `return` outside a function has no frame
        reason = error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
        raise SettingsError(f"{path}, line {line}: {reason}") from error
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {
        name: value
        for name, value in namespace.items()
        if name.isupper() and not name.startswith("_") and not callable(value) and not isinstance(value, ModuleType)
        if name in assigned or name not in imports.seen or value != imports.seen[name]
    }


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8-sig"), str(path))
    except SyntaxError as error:
        shown = f" in: {error.text.strip()}" if error.text else ""
        raise SettingsError(f"{path}, line {error.lineno}: {error.msg}{shown}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text; open it in an editor and save it as UTF-8.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}).") from error


class _Imports:
    """Stands in for ``__import__`` in a config file: reads other config files, leaves the rest to Python."""

    def __init__(self, path: Path, configs: Path) -> None:
        self._path = path
        self._configs = configs
        self.seen: dict[str, Any] = {}

    def __call__(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        parts = name.split(".") if name else []
        if level == 0 and parts[0] != "configs":
            return builtins.__import__(name, globals, locals, fromlist, level)
        if not fromlist:
            raise ImportError(f"write `from {name} import *`")
        target = self._path.parents[level - 1].joinpath(*parts) if level else self._configs.joinpath(*parts[1:])
        if not target.is_dir():
            return self._module(target)
        package = ModuleType(name)
        for part in fromlist:
            setattr(package, part, self._module(target / part))
        return package

    def _module(self, target: Path) -> ModuleType:
        constants = read_constants(target.with_suffix(".py"), self._configs)
        self.seen |= copy.deepcopy(constants)
        module = ModuleType(target.stem)
        vars(module).update(constants)
        return module
