from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srpu.cli import main
from srpu.errors import DataError
from srpu.manual import write_configs
from srpu.settings import FILES, TASKS

VERBS = (
    "init", "demo", "doctor", "config", "index", "stats", "check", "train", "evaluate", "predict", "masks", "active"
)  # fmt: skip

Run = Callable[..., tuple[int, str, str]]
Stub = Callable[..., list[Any]]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_configs(tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; gives the exit code and what it said."""

    def call(*typed: str, verb: tuple[str, ...] = ()) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["srpu", *typed])
        with pytest.raises(SystemExit) as end:
            main(*verb)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Put a stand-in in the place of a task; gives the list of its calls."""

    def put(task: str, result: Any = None, function: str = "run") -> list[Any]:
        calls: list[Any] = []

        def stand_in(*arguments: Any, **flags: Any) -> Any:
            calls.append((arguments, flags))
            if isinstance(result, BaseException):
                raise result
            return result

        module = SimpleNamespace(**{function: stand_in})
        monkeypatch.setitem(sys.modules, f"srpu.tasks.{task}", module)
        monkeypatch.setattr(f"srpu.tasks.{task}", module, raising=False)
        return calls

    return put


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from srpu.cli import main
sys.argv = ["srpu", "--help"]
try:
    main()
except SystemExit as end:
    heavy = {"torch", "numpy", "pydantic", "rich", "cv2", "PIL"} & set(sys.modules)
    sys.exit(f"imported {heavy}" if heavy or end.code else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


def test_version_and_unknown_verb(run: Run) -> None:
    assert run("--version")[:2] == (0, "srpu 0.1.0\n")
    code, _, said = run("trian")
    assert (code, "No such command 'trian'" in said) == (2, True)


def test_a_mistake_of_the_user_is_one_sentence(run: Run, workspace: Path) -> None:
    code, out, said = run("config", "show", "train", "--set", "NUM_EPOCH=3")
    assert (code, out) == (2, "")
    assert said == "Error: --set: NUM_EPOCH = 3: unknown setting; did you mean NUM_EPOCHS?\n"


def test_no_workspace_here(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = run("config", "check")
    assert (code, said) == (
        2,
        f"Error: No SRPU workspace in {tmp_path}: make one with `srpu init DIR` and go there.\n",
    )


def test_a_named_workspace_is_not_searched_for_above(run: Run, workspace: Path) -> None:
    (workspace / "below").mkdir()
    code, _, said = run("config", "check", "--workspace", "below")
    assert (code, said) == (
        2,
        "Error: below is no SRPU workspace: it has no configs/base.py; `srpu init below` makes one.\n",
    )
    assert run("config", "check", "--workspace", str(workspace))[0] == 0


def test_an_error_of_srpu_keeps_its_traceback(run: Run, stub: Stub, workspace: Path) -> None:
    stub("train_task", ZeroDivisionError("oh"))
    code, _, said = run("train")
    assert code == 1
    assert "Traceback" in said
    assert "ZeroDivisionError: oh" in said
    assert said.endswith(
        "This is a mistake in SRPU; please report it with the lines above and what `srpu doctor` says.\n"
    )


def test_errors_of_data_and_ctrl_c(run: Run, stub: Stub, workspace: Path) -> None:
    stub("train_task", DataError("No masks."))
    assert run("train") == (2, "", "Error: No masks.\n")
    stub("train_task", KeyboardInterrupt())
    assert run("train") == (130, "", "Stopped by Ctrl-C.\n")


def test_found_problems_and_failed_files_show_in_the_exit_code(run: Run, stub: Stub, workspace: Path) -> None:
    stub("check_task", SimpleNamespace(problems=2))
    assert run("check")[0] == 1
    stub("check_task", SimpleNamespace(problems=0))
    assert run("check")[0] == 0
    stub("predict_task", SimpleNamespace(failed=1))
    assert run("predict")[0] == 1
    stub("predict_task", SimpleNamespace(failed=0))
    assert run("predict")[0] == 0


def test_flags_reach_the_tasks(run: Run, stub: Stub, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text("NUM_EPOCHS = 4\nCROP_SIZE = 64\n", encoding="utf-8")
    calls = stub("train_task")
    assert run("train", "--resume", "--set", "NUM_EPOCHS=5", "--set", "FLIP.p=0.1", "--config", "more.py")[0] == 0
    (settings, place), flags = calls[0]
    assert (settings.NUM_EPOCHS, settings.FLIP.p, settings.CROP_SIZE) == (5, 0.1, 64)
    assert (place.root, flags) == (workspace, {"resume": True})

    calls = stub("predict_task", SimpleNamespace(failed=0))
    run("predict", "my images", "--overwrite")
    assert calls[0][0][2] == Path("my images")
    assert calls[0][1] == {"overwrite": True}

    calls = stub("evaluate_task")
    run("evaluate", "--against", "old model.pth")
    assert calls[0][0][2] == Path("old model.pth")

    calls = stub("stats_task")
    run("stats", "--show-augmentations")
    assert calls[0][1] == {"show_augmentations": True}

    calls = stub("masks_task", function="repair")
    run("masks", "repair", "a.png", "b.png")
    assert calls[0][0][2] == [Path("a.png"), Path("b.png")]

    calls = stub("demo_task")
    run("demo")
    assert calls == [((Path("demo"),), {})]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ([], ("all", None)),
        (["--mode", "generate_all"], ("all", None)),
        (["--mode", "dataset", "--name", "NMC 811"], ("dataset", "NMC 811")),
        (["--mode", "labeled"], ("labeled", None)),
        (["--mode", "unlabeled"], ("unlabeled", None)),
    ],
)
def test_index_as_the_old_script_took_it(
    run: Run, stub: Stub, workspace: Path, typed: list[str], asked: tuple[str, str | None]
) -> None:
    calls = stub("index_task", SimpleNamespace(truth_grew=False))
    assert run(*typed, verb=("index",))[0] == 0
    assert calls[0][0][2:] == asked
    assert calls[0][1] == {"grow_truth": False}


@pytest.mark.parametrize("grew", [False, True])
def test_the_model_is_scored_again_when_the_truth_grew(run: Run, stub: Stub, workspace: Path, grew: bool) -> None:
    stub("index_task", SimpleNamespace(truth_grew=grew))
    scored = stub("evaluate_task", function="rescore")
    assert run("--grow-truth", verb=("index",))[0] == 0
    assert len(scored) == grew


@pytest.mark.parametrize("task", TASKS)
def test_show_prints_every_setting_untruncated(run: Run, workspace: Path, task: str) -> None:
    code, text, _ = run("config", "show", task, "--set", "SEED=7")
    assert code == 0
    assert "\x1b" not in text
    assert "SEED = 7   (--set)\n" in text
    assert 'CLASS_NAMES = {0: "carbon", 1: "SE", 2: "AM"}   (configs/base.py)\n' in text
    for name, field in TASKS[task][0].model_fields.items():
        assert f"\n{name} = " in text
        assert all(f"    {line}\n" in text for line in (field.description or "").splitlines())


@pytest.mark.parametrize("encoding", ["cp936", "cp1252"])
def test_output_survives_an_old_console(workspace: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "srpu", "config", "show"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "掩膜" not in done.stdout.decode("cp1252", errors="replace")


def test_write_and_check(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said, _ = run("config", "write")
    assert (code, said.count("Written: ")) == (0, len(FILES))
    (tmp_path / "configs" / "base.py").write_text("SEED = 3\n", encoding="utf-8")
    code, said, _ = run("config", "write")
    assert (code, said.count("Kept: ")) == (0, len(FILES))
    assert run("config", "check")[:2] == (0, "All settings are in order.\n")
    assert run("config", "write", "--overwrite")[1].count("Written: ") == len(FILES)
    assert "SEED = 42" in (tmp_path / "configs" / "base.py").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path / "configs" / "train")
    assert run("config", "write")[1].count("Kept: ") == len(FILES)
    assert run("config", "write", "--workspace", str(tmp_path / "other"))[1].count("Written: ") == len(FILES)


def test_doctor_needs_no_workspace(run: Run, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = stub("doctor_task")
    assert run("doctor")[0] == 0
    assert calls == [((None,), {})]
    assert run("doctor", "--workspace", "nowhere")[0] == 2
