"""What STRUCTURE.md and the guides show is true: examples run, and links lead somewhere."""

from __future__ import annotations

import importlib
import re
import sys
import types
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import pytest
import torch
from typer.testing import CliRunner

import srpu.tasks
from srpu import cli
from srpu.config import load_settings
from srpu.data.images import write_image
from srpu.data.masks import ClassMap, write_mask
from srpu.data.synthetic import generate
from srpu.learn.losses import LOSSES
from srpu.models import decoders, encoders
from srpu.models.segmenter import build_segmenter
from srpu.settings import TrainConfig
from srpu.tasks import index_task, init_task
from srpu.workspace import Workspace

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
STRUCTURE = (ROOT / "STRUCTURE.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", STRUCTURE, re.MULTILINE | re.DOTALL)
"""The file that each block of code belongs into, and the code."""


@pytest.fixture
def registries() -> Iterator[None]:
    """What examples add is taken away again."""
    kept: list[tuple[Any, Any]] = [(table, dict(table)) for table in (LOSSES, encoders.OWN, decoders.OWN)]
    verbs = list(cli.app.registered_commands)
    yield
    for table, before in kept:
        table.clear()
        table.update(before)
    cli.app.registered_commands[:] = verbs


def run(file: str, code: str, namespace: dict[str, Any]) -> None:
    """Run ``code`` as if it stood at the end of ``file``."""
    module = file.removeprefix("src/").removesuffix(".py").replace("/", ".")
    if file.startswith("tests/"):
        exec(compile(code, file, "exec"), namespace)
    elif (ROOT / file).exists():
        exec(compile(code, file, "exec"), dict(vars(importlib.import_module(module))))
    else:
        made = types.ModuleType(module)
        exec(compile(code, file, "exec"), vars(made))
        sys.modules[module] = made
        setattr(srpu.tasks, module.rpartition(".")[2], made)


@pytest.mark.usefixtures("registries")
def test_examples_of_structure_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace: Workspace = init_task.run(tmp_path)
    monkeypatch.setattr(srpu.tasks, "count_task", None, raising=False)
    monkeypatch.setitem(sys.modules, "srpu.tasks.count_task", types.ModuleType("count_task"))
    names = {"workspace": workspace, "CLASSES": CLASSES, "torch": torch, "build_segmenter": build_segmenter}
    names |= {"generate": generate, "write_image": write_image, "write_mask": write_mask}
    names |= {"index_task": index_task, "load_settings": load_settings}
    for file, code in EXAMPLES:
        run(file, code, dict(names))
    uncertain = LOSSES["BrierLoss"](torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 255]]]), None)
    assert uncertain.item() == pytest.approx(0.5)  # (1 - 1/2)^2 + (1/2)^2, and nothing for the ignored pixel
    done = CliRunner().invoke(cli.app, ["count", "--workspace", str(tmp_path)])
    assert (done.exit_code, done.exception) == (0, None)
    assert srpu.tasks.count_task.run(load_settings("index", workspace).settings, workspace) == {"generated": 3}


def test_structure_shows_how_to_add_each_part() -> None:
    assert [file for file, _ in EXAMPLES if file.startswith("src/")] == [
        "src/srpu/learn/losses.py",
        "src/srpu/models/encoders.py",
        "src/srpu/models/decoders.py",
        "src/srpu/tasks/count_task.py",
        "src/srpu/cli.py",
    ]


def test_every_loss_can_be_chosen() -> None:
    assert set(get_args(TrainConfig.model_fields["LOSS_FUNCTION"].annotation)) == set(LOSSES)


def anchors(page: Path) -> set[str]:
    """The places that a link can lead to, as GitHub calls them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    kept = ["".join(c for c in title.lower() if c in " -_" or unicodedata.category(c)[0] in "LNM") for title in titles]
    return {title.replace(" ", "-") for title in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, place = unquote(link).partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (place and place not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.zh-CN.md"))], ids=lambda page: page.name
)
def test_both_languages_tell_the_same(page: Path) -> None:
    def skeleton(path: Path) -> list[str]:
        """Headings by depth, pictures, code and tables, in order."""
        found = re.findall(r"^(#+) |^!\[[^]]*\](\(.*\))|^ *(```)|^(\|)", path.read_text(encoding="utf-8"), re.MULTILINE)
        return ["".join(parts) for parts in found]

    assert skeleton(page) == skeleton(page.with_name(page.name.replace(".zh-CN", "")))
