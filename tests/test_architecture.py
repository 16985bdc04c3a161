"""The house stands as STRUCTURE.md draws it: imports go down, files are short, only the front desk prints."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "srpu"
FILES = sorted(SOURCE.rglob("*.py"))

GROUND = {"errors", "files", "progress", "workspace"}
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "progress": set(),
    "workspace": {"errors"},
    "constants": {"errors"},
    "settings": {"errors"},
    "manual": GROUND | {"settings"},
    "wording": {"manual"},
    "reading": GROUND | {"constants", "settings", "manual", "wording"},
    "config": GROUND | {"settings", "manual", "reading"},
    "data": GROUND,
    "models": GROUND,
    "learn": GROUND | {"data", "models"},
    "active": GROUND | {"data"},
    "pictures": GROUND | {"data"},
    "report": GROUND | {"pictures"},
    "tasks": GROUND | {"settings", "manual", "config", "data", "models", "learn", "active", "pictures", "report"},
    "terminal": {"progress"},
    "cli": GROUND | {"settings", "manual", "reading", "config", "tasks", "terminal", "cli_options", "cli_active"},
    "cli_options": GROUND | {"config"},
    "cli_active": {"cli_options", "tasks"},
    "__main__": {"cli"},
}
"""For each room, or file beside the rooms, which others it may import."""

LONG = {"settings.py"}
"""One place for every setting and its manual is worth a long file."""


def module_name(path: Path) -> str:
    return ".".join(("srpu", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(nodes: Iterator[ast.AST] | list[ast.stmt]) -> set[str]:
    """Full names of what is imported; ``from srpu.tasks import x`` is ``srpu.tasks.x`` if that is a module."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"import from {node.module} by its full name"
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (parts & set(MODULES)) or {str(node.module)}
    return found


def own_imports(module: str) -> set[str]:
    return {name for name in imports(ast.walk(MODULES[module])) if name.split(".")[0] == "srpu"}


def test_rooms_import_only_downwards() -> None:
    upwards = {
        f"{module} imports {name}"
        for module in MODULES
        for name in own_imports(module)
        if room(name) not in {"", room(module)} | ALLOWED[room(module)]
    }
    assert upwards == set()


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module: own_imports(module) - {"srpu"} for module in MODULES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("srpu.errors") < order.index("srpu.cli")


def imported_at_once(module: str) -> set[str]:
    """What importing ``module`` imports, all the way down; what waits inside a function does not count."""
    seen: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in MODULES:
            waiting |= imports(MODULES[name].body) - seen
    return {name.split(".")[0] for name in seen}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("srpu.cli", {"numpy", "torch", "pydantic", "rich", "cv2"}),
        ("srpu.config", {"numpy", "torch"}),
        ("srpu.data.images", {"torch", "scipy", "skimage", "matplotlib"}),
        ("srpu.data.masks", {"torch", "scipy", "skimage", "matplotlib"}),
        ("srpu.data.index", {"torch", "scipy", "skimage", "matplotlib"}),
        ("srpu.models.unet", {"timm", "segmentation_models_pytorch"}),
        ("srpu.models.segmenter", {"timm", "segmentation_models_pytorch"}),
        ("srpu.learn.loop", {"timm", "segmentation_models_pytorch", "matplotlib", "sklearn", "wandb"}),
    ],
)
def test_heavy_imports_wait(module: str, heavy: set[str]) -> None:
    assert imported_at_once(module) & heavy == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_file_reads_well(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = MODULES[module_name(path)]
    assert len(text.splitlines()) <= 400 or path.name in LONG
    assert ast.get_docstring(tree), "say what the file is for"
    if path.name not in {"__init__.py", "__main__.py", "errors.py"}:
        assert "from __future__ import annotations" in text
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "print" not in calls or path.name == "cli.py"
    assert path.stem not in {"utils", "common", "helpers", "manager"}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is long"


def test_shapes_in_signatures_are_checked_while_testing() -> None:
    import numpy as np
    from jaxtyping import TypeCheckError

    from srpu.data.masks import fit_mask

    with pytest.raises(TypeCheckError):
        fit_mask(np.zeros((2, 2, 2), np.uint8), (2, 2), 0, Path("a.png"))
