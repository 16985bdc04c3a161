"""Simulated rounds: the same start for every strategy, labels only where they are asked for, nothing played twice."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from srpu.config import load_settings
from srpu.errors import IndexingError, SettingsError
from srpu.settings import ActiveLearningSettings
from srpu.tasks.active_replay_task import cell_path, run
from srpu.tasks.replay_results import Replayed
from srpu.workspace import Workspace

STRATEGIES = ("mix", "entropy", "core_set")
SMALL = ("QUERY=region", "REGION_SIZE=24", "CROP_SIZE=32", "TRAINING_CONFIG.batch_size=1", "PRECISION=fp32")


def settings_of(workspace: Workspace, *more: str) -> ActiveLearningSettings:
    settings = load_settings("active", workspace, [*SMALL, *more]).settings
    assert isinstance(settings, ActiveLearningSettings)
    return settings


def play(
    workspace: Workspace, *more: str, strategies: tuple[str, ...] = ("mix",), seeds: int = 1, rounds: int = 1
) -> Replayed:
    settings = settings_of(workspace, *more)
    plan = {"rounds": rounds, "batch": 3, "first": 2, "steps": 1, "full": 0.5}
    return run(settings, workspace, strategies=strategies, seeds=seeds, **plan)  # type: ignore[arg-type]


def test_every_strategy_starts_from_the_same_model_and_labels_what_it_asks_for(workspace: Workspace) -> None:
    replayed = play(workspace, strategies=STRATEGIES, rounds=2)
    assert set(replayed.runs) == {*STRATEGIES, "random", "stratified"}
    starts = {json.dumps(runs[0][0].state()) for runs in replayed.runs.values()}
    assert len(starts) == 1
    for runs in replayed.runs.values():
        steps = runs[0]
        assert [step.pixels for step in steps] == [2 * 24 * 24, 5 * 24 * 24, 8 * 24 * 24]
        asked = [name for step in steps for name in step.asked]
        assert len(set(asked)) == len(asked) == 8
    assert replayed.full[0].share == 1


def test_what_is_finished_is_not_played_again_and_the_rest_is(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken run is played again, alike; another mix plays only the mix again; a further seed only that seed."""
    caplog.set_level(logging.INFO, "srpu.tasks.active_replay_task")

    def played() -> list[str]:
        found = [line for line in caplog.messages if ", seed " in line]
        caplog.clear()
        return found

    first = play(workspace)
    assert played() == [f"{name}, seed 0" for name in ("random", "stratified", "mix", "all_labels")]
    broken = cell_path(first.folder, "mix", 0)
    cell = json.loads(broken.read_text(encoding="utf-8"))
    broken.write_text(json.dumps(cell | {"finished": False, "steps": cell["steps"][:1]}), encoding="utf-8")
    again = play(workspace)
    assert played() == ["mix, seed 0"]
    assert again.state()["runs"] == first.state()["runs"]
    play(workspace, "EXPLORATION=0")
    assert played() == ["mix, seed 0"]
    two = play(workspace, "EXPLORATION=0", seeds=2)
    assert played() == [f"{name}, seed 1" for name in ("random", "stratified", "mix", "all_labels")]
    says_what_it_found(two, workspace)


def says_what_it_found(replayed: Replayed, workspace: Workspace) -> None:
    """A sentence, a picture and numbers."""
    assert replayed.sentence().startswith("Did active learning save labels here: ")
    folder = workspace.path("active_learning_results/replay")
    told = json.loads((folder / "replay.json").read_text(encoding="utf-8"))
    assert told["sentence"] == replayed.sentence()
    assert [one["difference"]["seeds"] for one in told["comparisons"]] == [2, 2]
    assert replayed.sentence() in (folder / "report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_whole_images_can_be_asked_for(workspace: Workspace, tmp_path: Path) -> None:
    settings, folder = settings_of(workspace, "QUERY=image"), tmp_path / "elsewhere"
    replayed = run(settings, workspace, strategies=["mix"], seeds=1, rounds=1, batch=1, first=1, steps=1, folder=folder)
    assert (folder / "cells" / "mix_seed0.json").exists()
    steps = replayed.runs["mix"][0]
    assert [step.pixels for step in steps] == [48 * 48, 2 * 48 * 48]


def test_a_run_ends_when_nothing_is_left_to_ask_for(workspace: Workspace) -> None:
    settings = settings_of(workspace, "QUERY=image")
    replayed = run(settings, workspace, strategies=[], seeds=1, rounds=9, batch=2, first=1, steps=1, full=0.1)
    assert replayed.runs["random"][0][-1].share == 1
    assert len(replayed.runs["random"][0]) < 10
    assert replayed.sentence().endswith("because no strategy was played beside chance.")


def test_an_unknown_strategy_is_refused_with_those_that_exist(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="no strategy entropie; there are mix, entropy"):
        play(workspace, strategies=("entropie",))


def test_too_small_a_pool_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="labelled training images or windows"):
        run(settings_of(workspace, "QUERY=image"), workspace, rounds=1, batch=99)


def test_a_replay_without_judges_is_refused(workspace: Workspace) -> None:
    with pytest.raises(IndexingError, match="0 labelled test images"):
        run(settings_of(workspace), workspace, split="test")
