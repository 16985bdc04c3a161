"""Settings as text: what stands in ``configs/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from srpu.files import write_text
from srpu.settings import FILES

_HINT = """\
`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。"""


def write_configs(configs: Path, *, overwrite: bool = False) -> tuple[list[Path], list[Path]]:
    """Write every config file with its defaults.

    Returns:
        The files written, and those left alone because they are there already.
    """
    written, kept = [], []
    for file in FILES:
        path = configs / file
        if path.exists() and not overwrite:
            kept.append(path)
        else:
            write_text(path, config_text(file))
            written.append(path)
    return written, kept


def config_text(file: str) -> str:
    """The config file that ``settings.py`` describes: each setting with its manual and its default.

    Args:
        file: A key of ``settings.FILES``.
    """
    part = FILES[file]
    title = "\n".join(line.strip() for line in (part.__doc__ or "").strip().splitlines())
    blocks = [f'"""{title}\n\n{_HINT}\n"""']
    for name, field in part.model_fields.items():
        manual = "\n".join(f"# {line}" for line in (field.description or "").splitlines())
        blocks.append(f"{manual}\n{name} = {literal(field.default, spread=True)}")
    return "\n\n".join(blocks) + "\n"


def literal(value: Any, *, spread: bool = False) -> str:
    """``value`` as Python source; a dictionary on several lines if ``spread``.

    >>> literal({0: (1, 2), "a": None})
    '{0: [1, 2], "a": None}'
    """
    value = plain(value)
    if isinstance(value, dict):
        pairs = [f"{literal(key)}: {literal(entry)}" for key, entry in value.items()]
        if spread and pairs:
            return "{\n" + "".join(f"    {pair},\n" for pair in pairs) + "}"
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def plain(value: Any) -> Any:
    """``value`` with dictionaries instead of models and lists instead of tuples."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value
