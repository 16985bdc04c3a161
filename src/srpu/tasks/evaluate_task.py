"""Judging a model, or anyone's masks, against truth: `srpu evaluate`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from srpu.data.index import Record, read_truth_version
from srpu.errors import CheckpointError, IndexingError, SettingsError
from srpu.files import make_folder, write_json, write_text, writing_to
from srpu.settings import EvaluationSettings
from srpu.tasks.calibration import calibration_json, judge_calibration
from srpu.tasks.comparison import Comparison
from srpu.tasks.comparison_report import comparison_sections
from srpu.tasks.contender import Contender, mask_contender, model_contender
from srpu.tasks.cross_validation import advice, fold_contender
from srpu.tasks.evaluation_report import Evaluation, counted, decimal, remarks, spread, write_evaluation
from srpu.tasks.judging import file_name, judge_images, scale_of, write_png
from srpu.tasks.rival import Rival, open_rival
from srpu.tasks.runs import data_hash, versions
from srpu.tasks.scores import (
    by_part,
    classes_csv,
    image_json,
    images_csv,
    summarise,
    summary_json,
)
from srpu.tasks.wiring import Opener, class_map, enough_memory, load_records, newest_checkpoint, refuse_leaks
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """Where the results lie, and the score that models are chosen by."""

    folder: Path
    report: Path
    mean_dice: float


def run(settings: EvaluationSettings, workspace: Workspace, against: Path | None = None) -> Evaluated:
    """Score a model, or the masks in PREDICTIONS_DIR, on the images of EVALUATION_SPLIT.

    Args:
        settings: Of the verb.
        workspace: Where everything lies.
        against: Another model to compare with on the same images.

    Raises:
        IndexingError: There are no images to judge on.
        CheckpointError: There is no model, it tells another number of classes apart, or both models are the same.
        LeakError: A validation or test image was trained on.
        PairingError: PREDICTIONS_DIR lacks a mask or holds two for one image.
        WorkspaceError: The results cannot be written.
    """
    _check_foreground(settings)
    with enough_memory("halve BATCH_SIZE or TILE_SIZE"):
        contender, records, folds = _contender(settings, workspace)
        if folds and against:
            raise SettingsError("--against compares two models, and FOLDS judges several as one; add --set FOLDS=0.")
        rival = open_rival(against, contender, records, settings, workspace) if against else None
        with _results_folder(workspace.path(settings.EVALUATION_DIR), contender.name) as results:
            evaluation = _judge(contender, records, Opener(settings, workspace), settings, results, rival)
            evaluation = replace(evaluation, **_about_folds(evaluation, folds, settings, workspace))
            comparison = rival.compare(evaluation.judged) if rival else None
            _write_scores(results, evaluation, settings, workspace, comparison)
            sections = comparison_sections(comparison) if comparison else ()
            report = write_evaluation(results / "report.html", evaluation, sections)
    _say(evaluation, report, comparison)
    return Evaluated(results, report, evaluation.summary.scores["mean_dice"])


def _contender(
    settings: EvaluationSettings, workspace: Workspace
) -> tuple[Contender, Sequence[Record], dict[Record, str]]:
    """Who is judged, on which images, and the fold of each if it was cross-validated."""
    if settings.PREDICTIONS_DIR:
        folder = workspace.path(settings.PREDICTIONS_DIR)
        log.info("Judging the masks in %s%s.", folder, "; FOLDS plays no part in that" if settings.FOLDS else "")
        records = _records(settings, workspace)
        return mask_contender(folder, records, class_map(settings)), records, {}
    if settings.FOLDS:
        contender, folds = fold_contender(settings, workspace)
        log.info("Judged on %s.", counted("folds", list(folds)))
        return contender, list(folds), folds
    contender = model_contender(settings, workspace)
    records = _records(settings, workspace)
    judged = [record for record in records if record.split != "train"]
    refuse_leaks(contender.trained_on, judged, contender.facts["model"])
    return contender, records, {}


def rescore(settings: EvaluationSettings, workspace: Workspace) -> None:
    """Score the current model on truth that has grown, so that the next model is compared with it on the same images.

    Raises:
        LeakError: The model was trained on an image that is judged on now.
    """
    try:
        newest_checkpoint(settings, workspace)
    except CheckpointError:
        log.info("No model was scored on the new truth: there is none yet.")
        return
    run(settings.model_copy(update={"FOLDS": 0}), workspace)  # the current model is one, whatever is set


def _write_scores(
    folder: Path,
    evaluation: Evaluation,
    settings: EvaluationSettings,
    workspace: Workspace,
    comparison: Comparison | None,
) -> None:
    """Write scores.json, images.csv, classes.csv, confusion.png, of a model reliability.png, of two comparison.csv."""
    classes, summary = evaluation.scale.classes, evaluation.summary
    content = {
        "schema_version": 1,
        "split": evaluation.split,
        "truth_version": read_truth_version(workspace.path(settings.MASTER_LABELED_JSON)),
        **evaluation.facts,
        "all": summary_json(summary, classes),
        "datasets": {name: summary_json(part, classes) for name, part in evaluation.datasets.items()},
        "folds": {name: summary_json(part, classes) for name, part in evaluation.folds.items()},
        "images": [image_json(image) for image in evaluation.judged],
        **({"calibration": calibration_json(evaluation.calibration)} if evaluation.calibration else {}),
        "all_settings": settings.model_dump(mode="json"),
        "data_hash": data_hash((image.record for image in evaluation.judged), workspace),
        "versions": versions(),
    }
    if comparison:
        content["against"] = comparison.json()
        write_text(folder / "comparison.csv", comparison.csv())
    write_json(folder / "scores.json", content)
    write_text(folder / "images.csv", images_csv(evaluation.judged))
    write_text(folder / "classes.csv", classes_csv({"all": summary, **evaluation.datasets}, classes))
    write_png(folder / "confusion.png", evaluation.confusion)
    if evaluation.calibration:
        write_png(folder / "reliability.png", evaluation.calibration.picture)


def _check_foreground(settings: EvaluationSettings) -> None:
    wrong = [id_ for id_ in settings.FOREGROUND_CLASSES if not 0 <= id_ < settings.NUM_CLASSES]
    if wrong:
        raise SettingsError(
            f"FOREGROUND_CLASSES holds {wrong[0]}, but the ids end at {settings.NUM_CLASSES - 1}; correct the list."
        )


def _about_folds(
    evaluation: Evaluation, folds: dict[Record, str], settings: EvaluationSettings, workspace: Workspace
) -> dict[str, Any]:
    """The scores of each fold where there are folds, or the advice to make some."""
    if folds:
        return {
            "split": "folds",
            "folds": by_part(evaluation.judged, evaluation.scale, lambda image: folds[image.record]),
        }
    if settings.PREDICTIONS_DIR or settings.EVALUATION_SPLIT != "val":
        return {}
    return {"advice": advice(load_records(settings, workspace))}


def _records(settings: EvaluationSettings, workspace: Workspace) -> list[Record]:
    """The images to judge on."""
    split = settings.EVALUATION_SPLIT
    records = load_records(settings, workspace, None if split == "all" else split)
    if not records:
        held = {record.split for record in load_records(settings, workspace)}
        others = [f'EVALUATION_SPLIT = "{name}"' for name in ("val", "test", "train") if name in held]
        why = " (under 30 groups none is set aside)" if split == "test" else ""
        cure = f"use {' or '.join(others)}" if others else "label images and run `srpu index`"
        raise IndexingError(f'The index holds no images for EVALUATION_SPLIT = "{split}"{why}; {cure}.')
    log.info("Judged on %s.", counted(split, records))
    return records


@contextmanager
def _results_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new folder, claimed before the long work begins; it goes away again if the work fails."""
    folder = _new_folder(parent, f"{datetime.now():%Y%m%d-%H%M%S}_{file_name(name)}")
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _new_folder(parent: Path, name: str) -> Path:
    make_folder(parent)
    tries = 0
    while True:
        tries += 1
        folder = parent / (name if tries == 1 else f"{name}-{tries}")
        with writing_to(folder), suppress(FileExistsError):
            folder.mkdir()
            return folder


def _judge(
    contender: Contender,
    records: Sequence[Record],
    opener: Opener,
    settings: EvaluationSettings,
    folder: Path,
    rival: Rival | None,
) -> Evaluation:
    """Predict, score and draw one image after the other."""
    scale = scale_of(settings)
    judged, samples = judge_images(contender, records, opener, settings, folder, rival)
    facts = contender.facts | {
        "settings": f"boundary tolerance {settings.BOUNDARY_TOLERANCE:g} px, data bar {settings.DATABAR_ROWS}",
        "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    }
    return Evaluation(
        split=settings.EVALUATION_SPLIT,
        scale=scale,
        judged=judged,
        summary=summarise(judged, scale),
        datasets=by_part(judged, scale, lambda image: image.record.dataset),
        facts=facts,
        trained_on=contender.trained_on,
        worst_cases=settings.WORST_CASES,
        calibration=judge_calibration(contender.temperature, records, samples, contender.trained_on),
    )


def _say(evaluation: Evaluation, report: Path, comparison: Comparison | None) -> None:
    """The result in the terminal."""
    summary = evaluation.summary
    for name, label in evaluation.headlines().items():
        log.info("%s %s (over groups %s).", label, decimal(summary.scores[name]), spread(summary, name))
    for of in evaluation.scale.classes.names:
        log.info(
            "  %s: Dice %s (over groups %s).", of, decimal(summary.scores[f"dice.{of}"]), spread(summary, f"dice.{of}")
        )
    if evaluation.calibration:
        log.info("%s", evaluation.calibration.line)
    for remark in remarks(evaluation):
        log.warning("%s", remark)
    if comparison:
        comparison.say()
    log.info("Report: %s", report)
