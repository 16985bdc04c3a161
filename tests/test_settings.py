from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from srpu.manual import REFERENCES, Language, config_text, manual_in, reference_text
from srpu.settings import ALIASES, FILES, TASKS, Settings

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "srpu"


@pytest.mark.parametrize("file", FILES)
def test_committed_config_is_what_the_settings_say(file: str) -> None:
    committed = (ROOT / "configs" / file).read_text(encoding="utf-8")
    assert committed == config_text(file), "type `make configs`"


@pytest.mark.parametrize("language", REFERENCES)
def test_committed_reference_is_what_the_settings_say(language: Language) -> None:
    committed = (ROOT / "docs" / REFERENCES[language]).read_text(encoding="utf-8")
    assert committed == reference_text(language), "type `make configs`"


@pytest.mark.parametrize("file", FILES)
def test_config_text_gives_the_defaults(file: str) -> None:
    namespace: dict[str, object] = {}
    exec(config_text(file), namespace)
    constants = {name: value for name, value in namespace.items() if name.isupper()}
    assert FILES[file](**constants) == FILES[file]()
    assert set(constants) == set(FILES[file].model_fields)


def test_there_is_no_other_config_file() -> None:
    assert {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.py")} == set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_every_setting_is_explained_in_two_languages(file: str) -> None:
    for name, field in FILES[file].model_fields.items():
        assert manual_in("en", field.description or ""), name
        assert re.search("[一-鿿]", manual_in("zh", field.description or "")), name
        assert name.isupper()


def test_a_name_means_one_thing_in_a_task() -> None:
    for model, own in TASKS.values():
        shared = [name for file in FILES.values() if issubclass(Settings, file) for name in file.model_fields]
        names = shared + [name for file in own for name in FILES[file].model_fields]
        assert sorted(names) == sorted(set(names)) == sorted(model.model_fields)


def test_old_names_lead_to_settings() -> None:
    assert set(ALIASES.values()) <= set(Settings.model_fields)
    assert not set(ALIASES) & set(Settings.model_fields)


def names_read(tree: ast.AST) -> Iterator[str]:
    """What is read as ``settings.NAME``, or handed as text to something that reads it; lists of names do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        if isinstance(node, ast.Call):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def test_every_setting_is_read_by_some_code() -> None:
    paths = [path for path in SOURCE.rglob("*.py") if path.name != "settings.py"]
    read = {name for path in paths for name in names_read(ast.parse(path.read_text(encoding="utf-8")))}
    settings = {name for part in FILES.values() for name in part.model_fields}
    assert sorted(settings - read) == []
