"""What a newcomer meets: entry files, make, the lock, and nothing that names the machine it was made on."""

from __future__ import annotations

import importlib.metadata
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")

ENTRIES = {
    "tasks/train_task.py": "train",
    "tasks/finetune_task.py": "finetune",
    "tasks/inference_task.py": "predict",
    "tasks/evaluation_task.py": "evaluate",
    "tasks/ssl_pretrain_task.py": "pretrain",
    "tasks/ssl_inspect_task.py": "inspect",
    "tasks/active_learning_task.py": "active run",
    "tasks/generate_prediction_masks.py": "active masks",
    "pipelines/multistage_train_pipeline.py": "train-stages",
    "pipelines/multistage_finetune_pipeline.py": "finetune-stages",
    "utils/json_generator_util.py": "index",
    "utils/dataset_statistics_calculation_util.py": "stats",
    "utils/image_sizes_util.py": "stats",
}


def git_files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, encoding="utf-8").stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize(("path", "verb"), ENTRIES.items())
def test_entry_file_calls_its_verb(path: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr("srpu.cli.main", lambda *argv: called.append(argv))
    runpy.run_path(str(ROOT / path))
    assert called == []  # workers import the file again; only the program itself may start
    runpy.run_path(str(ROOT / path), run_name="__main__")
    assert called == [tuple(verb.split())]


def test_there_is_no_other_entry_file() -> None:
    there = {
        path.relative_to(ROOT).as_posix()
        for folder in ("tasks", "pipelines", "utils")
        for path in (ROOT / folder).glob("*.py")
    }
    assert there == {*ENTRIES, "utils/uncertainty_util.py"}  # the last holds functions of the user's, and is no program


@pytest.mark.parametrize("arguments", [["tasks/train_task.py"], ["-m", "tasks.train_task"], ["-m", "srpu", "train"]])
def test_three_ways_to_start_training(arguments: list[str]) -> None:
    command = [sys.executable, *arguments, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: srpu train [OPTIONS]")


def test_the_command_is_installed() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="srpu")
    assert script.value == "srpu.cli:main"
    assert importlib.metadata.version("srpu") == runpy.run_path(str(ROOT / "src/srpu/__init__.py"))["__version__"]


def test_makefile_offers_what_the_documents_promise() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    assert targets == {"help", "venv", "demo", "test", "lock", "configs"}
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets
    for tool in ("ruff check", "ruff format --check", "mypy", "pytest -n auto"):
        assert f"$(BIN)/{tool}\n" in text


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")
def test_make_understands_its_file() -> None:
    done = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pytest" in done.stdout


def test_lock_names_every_direct_dependency_with_hashes() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==([^ ]+)[^\n]* \\\n    --hash=sha256:", LOCK, re.MULTILINE))
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    wanted += chain.from_iterable(project["optional-dependencies"].values())
    names = {match[0] for requirement in wanted if (match := re.match(r"[\w.-]+", requirement))}
    assert names <= set(pinned)
    assert len(re.findall(r"^\w", LOCK, re.MULTILINE)) == len(
        re.findall(r"^[\w.-]+==[^\n]* \\\n    --hash=", LOCK, re.MULTILINE)
    )


def test_lock_holds_on_every_system() -> None:
    for system in ("linux", "win32", "darwin"):
        assert re.search(rf"^torch==[^\n]*sys_platform == '{system}'", LOCK, re.MULTILINE)
    assert re.search(r"^nvidia-cudnn[^\n]*; sys_platform == 'linux' ", LOCK, re.MULTILINE)


def test_conda_environment_installs_the_package() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "name: SRPU-Model\n" in text
    assert "--editable ." in text


FOREIGN = {
    "a package registry": r"pypi\.(org|python)|python[h]osted|anaconda\.(org|com)|download\.pytorch|/simple/?[\"'\s]",
    "a path of one machine": r"(?<![\w.$}])/(work|root|home|Users|opt)/\w|[A-Z]:\\+Users",
    "a folder beside the checkout": r"\.\./shared",
    "an order that only its makers know": r"\b[Ii]ssue #?\d",
}
"""What no file of the project may name, and a pattern that finds it (and does not match itself)."""


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize("what", FOREIGN)
def test_no_file_names_what_others_do_not_have(what: str) -> None:
    found = []
    for path in git_files():
        name = path.relative_to(ROOT).as_posix()
        if name == ".ci/run" and what == "a folder beside the checkout":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        found += [f"{name}: {match[0]}" for match in re.finditer(FOREIGN[what], text)]
    assert found == []


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout")
def test_nothing_large_is_committed() -> None:
    assert [path for path in git_files() if path.stat().st_size > 1_000_000] == []
