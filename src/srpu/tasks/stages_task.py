"""Training in stages, each from the best model of the one before: `srpu train-stages`, `srpu finetune-stages`.

``models/checkpoints/<verb>_<encoder>_<decoder>/<time>/`` holds ``run.json``, which says how far it is, and a folder of
runs for each stage; ``best_model.pth`` above it is the best model of the last stage of the last one that finished.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srpu.config import Stage, read_stages
from srpu.data.index import read_truth_version
from srpu.errors import SettingsError, SrpuError, WorkspaceError
from srpu.files import locked, read_json, replacing, write_json
from srpu.tasks import train_task
from srpu.tasks.runs import Run, data_hash, start_run
from srpu.tasks.session import as_begun
from srpu.tasks.stage_check import Checked, StagesSettings, check, copies, roles, stage_records
from srpu.tasks.stage_scores import report, stage_scores
from srpu.tasks.start import RANDOM, Source
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Staged:
    """What training in stages gives.

    Attributes:
        folder: What it wrote.
        model: The model that other verbs take.
        models: The best model of each stage.
        scores: The mean Dice of each stage's best model on the validation images of each data set, in [0, 1].
    """

    folder: Path
    model: Path
    models: dict[str, Path]
    scores: dict[str, dict[str, float]]


def run(settings: StagesSettings, workspace: Workspace, verb: str = "train-stages", *, resume: bool = False) -> Staged:
    """Train the stages of STAGES one after the other.

    Args:
        settings: As checked.
        workspace: Whose index is read.
        verb: "train-stages" or "finetune-stages".
        resume: Go on where the last one was interrupted.

    Raises:
        SrpuError: Whatever :func:`srpu.tasks.stage_check.check` finds, before anything is trained.
        WorkspaceError: There is none to continue, labels have changed meanwhile, or another one is at work.
        SettingsError: Several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError(f"`srpu {verb}` trains its stages in one process; start it without torchrun.")
    if settings.FOLDS:
        log.warning("FOLDS is for `srpu train`; the stages train one model.")
    folder = train_task.model_folder(settings, workspace, verb)
    with locked(folder / ".lock", "A training in stages of this model"):
        whole = _to_continue(folder, verb) if resume else None
        if whole is not None:
            settings = as_begun(whole.manifest["settings"], settings)
        stages = read_stages(verb, settings)
        begun = {stage.name for stage in stages if whole and any((whole.folder / stage.name).glob("*/state.pth"))}
        checked = check(stages, settings, workspace, begun | set(whole.manifest["stages"] if whole else ()))
        whole = whole or _begin(folder, settings, stages, workspace, verb)
        if not settings.SAVE_CHECKPOINT:
            log.warning("SAVE_CHECKPOINT = False: after an interruption `srpu %s --resume` will not work.", verb)
        return _Stages(settings, workspace, verb, whole, checked).train(folder / "best_model.pth")


@dataclass
class _Stages:
    """Stages at work."""

    settings: StagesSettings
    workspace: Workspace
    verb: str
    whole: Run
    checked: list[Checked]

    def train(self, promoted: Path) -> Staged:
        """Train what is not trained yet; the last model becomes ``promoted``."""
        for number, each in enumerate(self.checked, 1):
            done: dict[str, Any] = self.whole.manifest["stages"]
            if each.stage.name in done:
                continue
            _refuse_changes(self.whole, [one.stage for one in self.checked], self.workspace)
            with self._kept(number, each.stage.name):
                log.info("Stage %d of %d: %s.", number, len(self.checked), each.stage.name)
                folder = self._train(number, each)
                facts = self._close(each, folder)
                self.whole = self.whole.note(stages={**done, each.stage.name: facts})
        stages = self.whole.manifest["stages"]
        models = {each.stage.name: self._best(each.stage.name) for each in self.checked}
        _copy(models[self.checked[-1].stage.name], promoted)
        scores = {name: facts["scores"] for name, facts in stages.items()}
        write_json(self.whole.folder / "stages.json", stages)
        self.whole.finish()
        report(stages)
        log.info("Model: %s", promoted)
        return Staged(self.whole.folder, promoted, models, scores)

    def _best(self, name: str) -> Path:
        """Where a stage leaves its best model, for the next one."""
        return self.whole.folder / name / "best_model.pth"

    def _train(self, number: int, each: Checked) -> Path:
        """The folder of the stage's run, which goes on where it was interrupted."""
        stage, runs = each.stage, self.whole.folder / each.stage.name
        for manifest in runs.glob("*/run.json"):
            if read_json(manifest)["status"] == "finished":
                return manifest.parent
        wanted = list(each.named)
        if number > 1:
            before = self.checked[number - 2].stage.name
            wanted.append(Source(f"the best model of stage {before}", self._best(before), "model"))
        resume = any(runs.glob("*/state.pth"))
        if not wanted and not resume:
            log.info("Starting from %s.", stage.settings.ENCODER_WEIGHTS or RANDOM)
        trained = train_task.train(
            stage.settings,
            self.workspace,
            runs,
            verb=self.verb,
            wanted=wanted,
            roles=roles(stage, self.workspace),
            resume=resume,
        )
        return trained.folder

    def _close(self, each: Checked, folder: Path) -> dict[str, Any]:
        """Leave the files that SAVE_* ask for, and judge the model; gives what the manifest tells of the stage."""
        stage = each.stage
        self._leave_copies(stage.name, folder)
        if not self.settings.SAVE_CHECKPOINT:
            (folder / "state.pth").unlink(missing_ok=True)
        manifest = read_json(folder / "run.json")
        start = {name: manifest["start"][name] for name in ("named_by", "path") if name in manifest["start"]}
        facts = {name: manifest[name] for name in ("best_epoch", "epochs", "minutes")} | {"judged_on": each.judged_on}
        scores = stage_scores(self._best(stage.name), self.checked, stage, self.workspace)
        return {"folder": self.workspace.name(folder), "start": start, **facts, "scores": scores}

    def _leave_copies(self, name: str, folder: Path) -> None:
        for what, path in copies(name, self.settings, self.workspace).items():
            source = folder / ("state.pth" if what == "checkpoint" else f"{what}.pth")
            if source.exists():
                _copy(source, path)

    @contextmanager
    def _kept(self, number: int, name: str) -> Iterator[None]:
        """After an interruption, say how to go on."""
        try:
            yield
        except (KeyboardInterrupt, SrpuError):
            if not self.settings.SAVE_CHECKPOINT:
                log.warning("Stage %s was interrupted, and SAVE_CHECKPOINT = False: it cannot be continued.", name)
                raise
            states = sorted((self.whole.folder / name).glob("*/state.pth"))
            with suppress(WorkspaceError):  # a full disk, perhaps, which the first error tells of
                if states:
                    _copy(states[-1], copies(name, self.settings, self.workspace)["checkpoint"])
            kept = f"all finished epochs are kept: `srpu {self.verb} --resume` goes on from there"
            log.warning(
                "Stage %d of %d (%s) was interrupted; %s.",
                number,
                len(self.checked),
                name,
                kept if states or number > 1 else "no epoch had ended yet, so start it again",
            )
            raise


def _begin(folder: Path, settings: StagesSettings, stages: Sequence[Stage], workspace: Workspace, verb: str) -> Run:
    return start_run(
        folder,
        settings.RUN_NAME,
        task=verb,
        settings=settings.model_dump(mode="json"),
        data_hash=_hash(stages, workspace),
        truth_version=read_truth_version(workspace.path(settings.MASTER_LABELED_JSON)),
        seed=settings.SEED,
        stages={},
    )


def _to_continue(folder: Path, verb: str) -> Run:
    """The newest one that has ended an epoch, if none has finished since.

    Raises:
        WorkspaceError: There is none, or it cannot be continued.
    """
    every = [Run(path.parent, read_json(path)) for path in folder.glob("*/run.json")]
    every.sort(key=lambda run: str(run.manifest["started"]), reverse=True)
    for whole in every:
        if whole.manifest["status"] == "finished":
            raise WorkspaceError(f"The last run, {whole.folder}, has finished; start a new one without --resume.")
        if not whole.manifest["settings"]["SAVE_CHECKPOINT"]:
            raise WorkspaceError(
                f"{whole.folder} was begun with SAVE_CHECKPOINT = False and cannot be continued; start a new one "
                "without --resume."
            )
        if whole.manifest["stages"] or any(whole.folder.glob("*/*/state.pth")):
            return whole
    if every:
        raise WorkspaceError(f"{every[0].folder} stopped before its first epoch was saved; start a new one.")
    others = sorted(folder.parent.glob(f"{verb}_*/*/run.json"), key=lambda path: path.stat().st_mtime)
    cure = (
        f"the last one of another network lies in {others[-1].parent}: give ENCODER_NAME and DECODER_NAME as then"
        if others
        else "start one without --resume"
    )
    raise WorkspaceError(f"There is no training in stages to continue in {folder}; {cure}.")


def _refuse_changes(whole: Run, stages: Sequence[Stage], workspace: Workspace) -> None:
    """All stages are trained on the labels that were checked."""
    if whole.manifest["data_hash"] != _hash(stages, workspace):
        raise WorkspaceError(
            f"The labelled images have changed since {whole.folder} began; start a new one without --resume."
        )


def _hash(stages: Sequence[Stage], workspace: Workspace) -> str:
    return data_hash([record for stage in stages for record in stage_records(stage, workspace)], workspace)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
