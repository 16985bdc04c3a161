"""Settings as text: what stands in ``configs/``, and the settings reference in ``docs/``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from srpu.files import write_text
from srpu.settings import FILES

_HINT = """\
`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。"""

Language = Literal["en", "zh"]

REFERENCES: dict[Language, str] = {"en": "settings.md", "zh": "settings.zh-CN.md"}
"""The pages of the settings reference."""

_PAGE: dict[Language, tuple[str, ...]] = {
    "en": (
        "# Settings",
        "English | [简体中文](settings.zh-CN.md)",
        "Every setting, file by file, as `srpu config write` writes them into `configs/`. Change a value there, or for "
        "one run: `srpu train --set NAME=VALUE`. `srpu config show train` tells what holds and where it comes from; "
        "`srpu config check` finds all mistakes at once. This page is made from `src/srpu/settings.py`.",
        "| setting | default | allowed | meaning |",
    ),
    "zh": (
        "# 设置参考",
        "[English](settings.md) | 简体中文",
        "全部设置，按文件排列，与 `srpu config write` 写入 `configs/` 的内容一致。"
        "可以直接修改文件，也可以只对一次运行生效：`srpu train --set 名称=值`。"
        "`srpu config show train` 显示实际生效的值及其来源，`srpu config check` 一次找出所有错误。"
        "本页由 `src/srpu/settings.py` 生成。",
        "| 设置 | 默认值 | 允许的值 | 含义 |",
    ),
}

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`True` or `False`",
        "null": "`None`",
        "or": " or ",
        "list": "list of {}",
        "several": "list of {} × {}",
        "each": "for each key: {}",
        "any": "dictionary",
        "multipleOf": ", a multiple of {:g}",
    },
    "zh": {
        "integer": "整数",
        "number": "数",
        "string": "文字",
        "boolean": "`True` 或 `False`",
        "null": "`None`",
        "or": " 或 ",
        "list": "列表，每项为{}",
        "several": "列表，{} 个{}",
        "each": "每个键对应：{}",
        "any": "字典",
        "multipleOf": "，{:g} 的倍数",
    },
}

_LIMITS = {"minimum": "≥ {:g}", "exclusiveMinimum": "> {:g}", "maximum": "≤ {:g}", "exclusiveMaximum": "< {:g}"}


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
    if part.EXAMPLE:
        blocks.append("\n".join(f"# {line}" for line in part.EXAMPLE.splitlines()))
    return "\n\n".join(blocks) + "\n"


def write_references(folder: Path) -> list[Path]:
    """Write the settings reference, a page for each language, into ``folder``; gives the files."""
    paths = []
    for language, name in REFERENCES.items():
        write_text(folder / name, reference_text(language))
        paths.append(folder / name)
    return paths


def reference_text(language: Language) -> str:
    """The settings reference in Markdown: name, default, allowed values and manual of each setting, file by file."""
    *start, head = _PAGE[language]
    blocks = list(start)
    for file, part in FILES.items():
        title = manual_in(language, part.__doc__ or "")
        schema = part.model_json_schema()
        rows = [head, "|---|---|---|---|"]
        for name, field in part.model_fields.items():
            cells = [
                f"`{name}`",
                f"`{literal(field.default)}`",
                _allowed(schema["properties"][name], schema, language),
                manual_in(language, field.description or ""),
            ]
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        blocks += [f"## `configs/{file}`", title, "\n".join(rows)]
    return "\n\n".join(blocks) + "\n"


def manual_in(language: Language, text: str) -> str:
    r"""The part of a manual in one language, as one line; Chinese begins with the first line that holds any.

    >>> manual_in("en", "How many:\n2 or more.\n数目。"), manual_in("zh", "How many:\n2 or more.\n数目。")
    ('How many: 2 or more.', '数目。')
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if re.search("[一-鿿]", line)), len(lines))
    joined = ("\n" if language == "zh" else " \n").join(lines[:first] if language == "en" else lines[first:])
    return re.sub(r"(?<=[:;：；]) ?\n(?=[\"'])", "<br>", joined).replace("\n", "")


def _allowed(schema: Mapping[str, Any], whole: Mapping[str, Any], language: Language) -> str:
    """What a JSON schema allows, in words."""
    words = _WORDS[language]
    if "$ref" in schema:
        return _allowed(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, language)
    if "anyOf" in schema:
        return words["or"].join(_allowed(each, whole, language) for each in schema["anyOf"])
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{literal(choice)}`" for choice in choices)
    if "properties" in schema:
        parts = [f"`{literal(name)}`: {_allowed(part, whole, language)}" for name, part in schema["properties"].items()]
        return "<br>".join(parts)
    if schema.get("additionalProperties") is True:
        return words["any"]
    if schema["type"] == "object":
        return words["each"].format(_allowed(schema["additionalProperties"], whole, language))
    if "prefixItems" in schema:
        each = schema["prefixItems"]
        return words["several"].format(len(each), _allowed(each[0], whole, language))
    if schema["type"] == "array":
        return words["list"].format(_allowed(schema["items"], whole, language))
    limits = ", ".join(sign.format(schema[limit]) for limit, sign in _LIMITS.items() if limit in schema)
    multiple = words["multipleOf"].format(schema["multipleOf"]) if "multipleOf" in schema else ""
    return f"{words[schema['type']]} {limits}".rstrip() + multiple


def literal(value: Any, *, spread: bool = False) -> str:
    """``value`` as Python source; a dictionary, or a list of them, on several lines if ``spread``.

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
        if spread and any(isinstance(entry, dict) for entry in value):
            return "[\n" + "".join(f"    {literal(entry)},\n" for entry in value) + "]"
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
