"""Training in stages as a user starts it: weights are handed on, mistakes are told before, and crashes survived."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srpu.config import load_settings, read_stages
from srpu.data.images import write_image
from srpu.data.index import read_manifest, write_manifest
from srpu.data.masks import write_mask
from srpu.errors import CheckpointError, IndexingError, LeakError, ModelError, SettingsError, WorkspaceError
from srpu.files import read_json
from srpu.learn.checkpoint import load_checkpoint, load_tensors
from srpu.learn.tracker import LinesTracker
from srpu.models.segmenter import build_segmenter
from srpu.tasks import evaluate_task, index_task, stages_task, train_task
from srpu.tasks.stage_check import check
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

SMALL = [
    *("ENCODER_NAME=unet", "CROP_SIZE=32", "BATCH_SIZE=2", "NUM_EPOCHS=2", "STEPS_PER_EPOCH=1", "TILE_SIZE=64"),
    *("LOGGER=none", "PRECISION=fp32", "DEVICE=cpu", "EARLY_STOPPING_PATIENCE=0"),
]
TWO = [{"name": "base"}, {"name": "own images", "datasets": ["labeled"], "base_lr": 1e-4}]

Stages = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def little_disk(tmp_path: Path) -> Iterator[None]:
    """The models of a test, up to a gigabyte, go when it ends."""
    yield
    for models in tmp_path.glob("*/models"):
        shutil.rmtree(models)


@pytest.fixture
def two(workspace: Workspace) -> Workspace:
    """The workspace with a second data set, "other"."""
    classes = class_map(load_settings("index", workspace).settings)
    for number in range(4):
        ids = np.kron(np.random.default_rng(number).permutation(9).reshape(3, 3) % 3, np.ones((16, 16))).astype(
            np.uint8
        )
        image = ids * 80 + 10 * number
        write_image(workspace.path(f"datasets/other/raw_images/{number}.tif"), image)
        write_mask(workspace.path(f"datasets/other/masks_3class/{number}.png"), ids, classes)
    workspace.path("json/splits.json").unlink()
    index_task.run(load_settings("index", workspace).settings, workspace)
    return workspace


def train(
    workspace: Workspace, stages: Stages, *overrides: str, verb: str = "train-stages", resume: bool = False
) -> stages_task.Staged:
    settings = load_settings(verb, workspace, [*SMALL, f"STAGES={stages!r}", *overrides]).settings
    return stages_task.run(settings, workspace, verb, resume=resume)


def starts(staged: stages_task.Staged) -> list[str]:
    """Who named each stage's weights."""
    return [facts["start"]["named_by"] for facts in read_json(staged.folder / "run.json")["stages"].values()]


def test_each_stage_begins_with_the_best_model_of_the_one_before(
    two: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[tuple[Any, Any]] = []
    real = train_task.train

    def watched(settings: Any, workspace: Workspace, folder: Path, **rest: Any) -> train_task.Trained:
        begun.append((settings, rest["wanted"]))
        return real(settings, workspace, folder, **rest)

    monkeypatch.setattr(train_task, "train", watched)
    with caplog.at_level(logging.INFO):
        staged = train(two, TWO, "SAVE_LAST_MODEL=True")
    (first, _), (second, wanted) = begun
    assert (first.DATASETS, first.LEARNING_RATE) == (None, 1e-3)
    assert (second.DATASETS, second.LEARNING_RATE, second.NUM_EPOCHS) == (["labeled"], 1e-4, 2)
    assert wanted[0].path == staged.models["base"]
    assert starts(staged) == ["random weights", "the best model of stage base"]
    folder = two.path("models/checkpoints")
    assert {path.name for path in folder.glob("*.pth")} == {
        f"{stage}_{what}.pth" for stage in ("base", "own images") for what in ("best_model", "last_model", "checkpoint")
    }
    last = load_checkpoint(staged.models["own images"])
    promoted = load_checkpoint(folder / "train-stages_unet_unet/best_model.pth")
    assert all(torch.equal(value, promoted.model_state_dict[name]) for name, value in last.model_state_dict.items())
    assert sorted(last.trained_on.values()).count("train") > 4, "it remembers the images of both stages"
    assert load_tensors(folder / "base_checkpoint.pth")["history"]["epoch"] == 2
    assert staged.scores == {name: facts["scores"] for name, facts in read_json(staged.folder / "stages.json").items()}
    assert {tuple(scores) for scores in staged.scores.values()} == {("labeled", "other")}
    assert staged.scores["own images"]["labeled"] == pytest.approx(last.val_dice)
    assert "Mean Dice on validation images" in caplog.text
    evaluated = evaluate_task.run(load_settings("evaluate", two, ["DEVICE=cpu"]).settings, two)
    assert read_json(evaluated.folder / "scores.json")["images"]
    with pytest.raises(WorkspaceError, match="has finished; start a new one"):
        train(two, TWO, resume=True)


def test_stages_hand_over_whatever_is_saved(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    stages = [{"name": "a"}, {"name": "b", "freeze_encoder": True}]
    staged = train(workspace, stages, "SAVE_BEST_MODEL=False", "SAVE_CHECKPOINT=False")
    assert not list(workspace.path("models/checkpoints").glob("*.pth"))
    assert not list(staged.folder.rglob("state.pth"))
    assert starts(staged)[1] == "the best model of stage a"
    models = [load_checkpoint(staged.models[name]).model_state_dict for name in "ab"]
    encoders = [
        {key: value for key, value in model.items() if key.startswith("encoder.") and "batches" not in key}
        for model in models
    ]
    assert all(torch.equal(value, encoders[1][key]) for key, value in encoders[0].items())
    assert "SAVE_CHECKPOINT = False: after an interruption `srpu train-stages --resume` will not work." in caplog.text


def dying(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Let the second stage, or what comes before it, be interrupted."""
    begun: list[Path] = []
    real_train, real_numbers = train_task.train, LinesTracker.numbers

    def dying_between(settings: Any, at: Workspace, folder: Path, **rest: Any) -> train_task.Trained:
        begun.append(folder)
        return real_train(settings, at, folder, **rest)

    def dying_in_an_epoch(self: LinesTracker, step: int, values: Mapping[str, float]) -> None:
        epoch = {"in stage 1": 2, "in stage 2": 1002, "in the first epoch of stage 2": 1001}.get(moment)
        if step + 1000 * (len(begun) - 1) == epoch:
            raise KeyboardInterrupt
        real_numbers(self, step, values)

    def dying_after(*_: object) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_task, "train", dying_between)
    monkeypatch.setattr(LinesTracker, "numbers", dying_in_an_epoch)
    if moment == "between stages":
        monkeypatch.setattr(stages_task, "stage_scores", dying_after)


MOMENTS = ["in stage 1", "between stages", "in the first epoch of stage 2", "in stage 2"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_one_ends_with_the_same_bits(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    stages = [{"name": "a"}, {"name": "b"}]
    whole = train(workspace, stages)
    dying(monkeypatch, moment)
    with pytest.raises(KeyboardInterrupt):
        train(workspace, stages)
    assert "`srpu train-stages --resume` goes on from there" in caplog.text
    assert ("(b) was interrupted" in caplog.text) == ("stage 2" in moment)
    monkeypatch.undo()
    resumed = train(workspace, stages, resume=True)
    assert resumed.folder != whole.folder
    for name in "ab":
        runs = list((resumed.folder / name).glob("*/run.json"))
        assert len(runs) == 1 + (name == "b" and moment == "in the first epoch of stage 2")
        once, again = (load_tensors(next(one.folder.glob(f"{name}/*/state.pth"))) for one in (whole, resumed))
        for part in ("model", "average"):
            assert all(torch.equal(value, again[part][key]) for key, value in once[part].items())
        assert [row["loss"] for row in once["history"]["rows"]] == [row["loss"] for row in again["history"]["rows"]]
    models = [load_checkpoint(one.folder / "b/best_model.pth").model_state_dict for one in (whole, resumed)]
    assert all(torch.equal(value, models[1][key]) for key, value in models[0].items())
    assert resumed.scores == whole.scores


def test_kill_9_loses_at_most_the_current_epoch(workspace: Workspace) -> None:
    stages = [{"name": "a"}, {"name": "b", "num_epochs": 15}]
    command = [sys.executable, "-m", "srpu", "train-stages", "--workspace", str(workspace.root)]
    command += [part for override in [*SMALL, f"STAGES={stages!r}"] for part in ("--set", override)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Epoch 3/15"):
                break
        process.kill()
    (state,) = workspace.path("models/checkpoints").glob("*/*/b/*/state.pth")
    ended = load_tensors(state)["history"]["epoch"]
    assert ended >= 2
    settings = load_settings("evaluate", workspace, ["DEVICE=cpu"]).settings
    with pytest.raises(CheckpointError, match="srpu train-stages --resume"):
        evaluate_task.run(settings, workspace)
    staged = train(workspace, stages, resume=True)
    assert len(list(staged.folder.glob("a/*/run.json"))) == 1
    assert load_tensors(state)["history"]["epoch"] == 15


def test_what_cannot_be_continued_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WorkspaceError, match=r"no training in stages to continue .* start one without --resume"):
        train(workspace, TWO, resume=True)
    dying(monkeypatch, "in stage 2")
    with pytest.raises(KeyboardInterrupt):
        train(workspace, TWO, "SAVE_CHECKPOINT=False")
    assert "SAVE_CHECKPOINT = False: it cannot be continued" in caplog.text
    monkeypatch.undo()
    with pytest.raises(WorkspaceError, match="begun with SAVE_CHECKPOINT = False and cannot be continued"):
        train(workspace, TWO, resume=True)
    with pytest.raises(WorkspaceError, match="give ENCODER_NAME and DECODER_NAME as then"):
        train(workspace, TWO, "ENCODER_NAME=resnet18", resume=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="start it without torchrun"):
        train(workspace, TWO)


def test_changed_labels_and_settings_are_not_taken(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dying(monkeypatch, "in stage 2")
    with pytest.raises(KeyboardInterrupt):
        train(workspace, TWO)
    monkeypatch.undo()
    mask = workspace.path("data/labeled/image 0.png")
    before = mask.read_bytes()
    write_mask(mask, np.zeros((48, 48), np.uint8), class_map(load_settings("index", workspace).settings))
    with pytest.raises(WorkspaceError, match="labelled images have changed"):
        train(workspace, TWO, resume=True)
    mask.write_bytes(before)
    staged = train(workspace, [{"name": "another"}], resume=True)
    assert list(staged.models) == ["base", "own images"]
    assert "not taken: STAGES" in caplog.text


@pytest.mark.parametrize(
    ("stage", "there", "use", "winner"),
    [
        ({}, "", False, "random weights"),
        ({}, "model", True, "PRETRAINED_MODEL_PATH"),
        ({}, "model", False, "random weights"),
        ({}, "encoder", True, "PRETRAINED_ENCODER_PATH"),
        ({}, "model encoder", True, "PRETRAINED_MODEL_PATH"),
        ({}, "model encoder", False, "PRETRAINED_ENCODER_PATH"),
        ({"pretrained_model_path": "own.pth"}, "own model encoder", True, "pretrained_model_path of stage s"),
        ({"pretrained_model_path": "own.pth"}, "own", False, "pretrained_model_path of stage s"),
        ({"pretrained_model_path": "own.pth"}, "model encoder", True, "PRETRAINED_MODEL_PATH"),
        ({"pretrained_model_path": "own.pth"}, "encoder", True, "PRETRAINED_ENCODER_PATH"),
        ({"pretrained_model_path": "own.pth"}, "", True, "random weights"),
        ({"pretrained_encoder_path": "own.pth"}, "own model", True, "PRETRAINED_MODEL_PATH"),
        ({"pretrained_encoder_path": "own.pth"}, "own encoder", True, "pretrained_encoder_path of stage s"),
        ({"pretrained_encoder_path": "own.pth"}, "encoder", True, "PRETRAINED_ENCODER_PATH"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_weights_by_priority(
    workspace: Workspace,
    caplog: pytest.LogCaptureFixture,
    stage: dict[str, Any],
    there: str,
    use: bool,
    winner: str,
    later: bool,
) -> None:
    for name in there.split():
        torch.save(build_segmenter("unet", "unet", 3).state_dict(), workspace.path(f"{name}.pth"))
    stages: Stages = [{"name": "first"}] * later + [{"name": "s", **stage}]
    overrides = [
        "PRETRAINED_MODEL_PATH=model.pth",
        "PRETRAINED_ENCODER_PATH=encoder.pth",
        f"USE_PRETRAINED_MODEL={use}",
    ]
    if later:
        winner = f"{next(iter(stage))} of stage s" if "own" in there else "the best model of stage first"
    named = chosen(workspace, stages, *overrides)[-1]
    assert (named[0] if named else ("the best model of stage first" if later else "random weights")) == winner
    if stage and "own" not in there:
        assert f"{next(iter(stage))} of stage s: there is no file" in caplog.text
        with pytest.raises(CheckpointError, match="correct the path"):
            chosen(workspace, stages, *overrides, "ON_MISSING_WEIGHTS=error")
        if later:
            assert "own.pth; what is taken instead: the best model of stage first." in caplog.text


def chosen(workspace: Workspace, stages: Stages, *overrides: str) -> list[list[str]]:
    """Who names each stage's weights, from the first that is there."""
    settings = load_settings("train-stages", workspace, [*SMALL, f"STAGES={stages!r}", *overrides]).settings
    checked = check(read_stages("train-stages", settings), settings, workspace)
    return [[source.named_by for source in each.named] for each in checked]


def test_a_stage_may_start_from_the_file_that_one_before_leaves(workspace: Workspace) -> None:
    path = "models/checkpoints/a_last_model.pth"
    stages = [{"name": "a"}, {"name": "b"}, {"name": "c", "pretrained_model_path": path}]
    staged = train(workspace, stages, "SAVE_LAST_MODEL=True", "NUM_EPOCHS=1")
    assert starts(staged)[2] == "pretrained_model_path of stage c"


def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a stage was trained before all of them were checked")

    monkeypatch.setattr(train_task, "train", refuse)


@pytest.mark.parametrize(
    ("stage", "kind", "told"),
    [
        (
            {"datasets": ["missing"]},
            IndexingError,
            r"Stage bad: DATASETS names missing, which .* it holds labeled, other",
        ),
        ({"train_json": "json/missing.json"}, IndexingError, r"Stage bad: There is no index .*missing\.json"),
        ({"val_json": "json/only_train.json"}, IndexingError, r'holds no image whose "split" is "val"'),
        ({"pretrained_model_path": "broken.pth"}, CheckpointError, r"Stage bad: .*broken\.pth"),
        ({"pretrained_model_path": "other.pth"}, CheckpointError, r"Stage bad: .*other\.pth"),
        ({"pretrained_encoder_path": "other.pth"}, CheckpointError, r"Stage bad: .*other\.pth"),
        ({"pretrained_model_path": "strange.pth"}, CheckpointError, r"Stage bad: .*strange\.pth"),
        ({"pretrained_model_path": "encoder.pth"}, CheckpointError, "holds an encoder only"),
        ({"train_json": "json/leak.json"}, LeakError, "Stage last: .* used to train an earlier stage"),
    ],
)
def test_what_is_wrong_with_a_later_stage_is_told_before_the_first_epoch(
    two: Workspace, monkeypatch: pytest.MonkeyPatch, stage: dict[str, Any], kind: type[Exception], told: str
) -> None:
    records = read_manifest(two.path("json/master_labeled_dataset.json"))
    write_manifest(two.path("json/only_train.json"), [record for record in records if record.split == "train"])
    leak = [{**vars(record), "split": "train"} for record in records if record.dataset == "other"]
    write_manifest(two.path("json/leak.json"), [type(records[0])(**fields) for fields in leak])
    two.path("broken.pth").write_bytes(b"no weights")
    torch.save({"strange.weight": torch.zeros(3)}, two.path("strange.pth"))
    torch.save({"encoder.stages.0.0.weight": torch.zeros(3)}, two.path("encoder.pth"))
    if "other.pth" in str(stage):
        torch.save(build_segmenter("resnet18", "unet", 3).state_dict(), two.path("other.pth"))
    nothing_is_trained(monkeypatch)
    first, bad = {"name": "base", "datasets": ["labeled"]}, {"name": "bad", "datasets": ["labeled"], **stage}
    with pytest.raises(kind, match=told):
        train(two, [first, bad, {"name": "last", "datasets": ["other"]}])
    assert not list(two.path("models/checkpoints/train-stages_unet_unet").glob("*/run.json"))


def test_several_stages_that_cannot_be_trained_are_told_at_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_is_trained(monkeypatch)
    with pytest.raises(IndexingError, match=r"2 stages cannot be trained:\n  Stage a: .*\n  Stage b: "):
        train(workspace, [{"name": "a", "datasets": ["x"]}, {"name": "b", "datasets": ["y"]}])
    with pytest.raises(ModelError):
        train(workspace, TWO, "ENCODER_NAME=unknown_net")


def test_index_files_of_a_stage_replace_those_of_the_index(two: Workspace) -> None:
    stages = [{"name": "a", "train_json": "json/other.json", "val_json": "json/labeled.json"}]
    staged = train(two, stages)
    known = load_checkpoint(staged.model).trained_on
    records = read_manifest(two.path("json/master_labeled_dataset.json"))
    for split, dataset in (("train", "other"), ("val", "labeled")):
        wanted = {record.sha256 for record in records if (record.split, record.dataset) == (split, dataset)}
        assert {sha256 for sha256, as_ in known.items() if as_ == split} == wanted


def test_fine_tuning_in_stages(two: Workspace) -> None:
    made = train(two, [{"name": "made", "datasets": ["other"]}])
    own: dict[str, Any] = {"datasets": ["labeled"], "replay_fraction": 0.5}
    stages = [{"name": "decoder", "freeze_encoder": True, **own}, {"name": "everything", **own}]
    staged = train(two, stages, f"PRETRAINED_MODEL_PATH={made.model}", verb="finetune-stages")
    assert starts(staged) == ["PRETRAINED_MODEL_PATH", "the best model of stage decoder"]
    assert staged.model.parent.name == "finetune-stages_unet_unet"
    records = read_manifest(two.path("json/other.json"))
    old = sorted(record.sha256 for record in records if record.split == "train")
    for name in ("decoder", "everything"):
        run = read_json(next(staged.folder.glob(f"{name}/*/run.json")))
        assert sorted(run["replayed"]) == old
        assert run["settings"]["LEARNING_RATE"] == 3e-4
    with pytest.raises(SettingsError, match=r"Stage decoder: REPLAY_FRACTION = 0\.5 needs images"):
        train(two, stages, verb="finetune-stages")
