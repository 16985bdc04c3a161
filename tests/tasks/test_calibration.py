"""Whether probabilities can be trusted: no image is measured with a temperature that it gave itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from srpu.data.images import pixel_hash, write_image
from srpu.data.index import Record, write_manifest
from srpu.data.masks import write_mask
from srpu.data.normalisation import Normalisation
from srpu.learn.calibrate import Sample, cross_entropies, fit_temperature
from srpu.settings import EvaluationSettings
from srpu.tasks import evaluate_task
from srpu.tasks.calibration import Calibration, calibration_json, judge_calibration
from srpu.tasks.temperature import Fitted
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

SETTINGS = EvaluationSettings(DEVICE="cpu", PRECISION="fp32")


def record(name: str, sha256: str = "") -> Record:
    names = (f"{name}.png", f"data/{name}.png", None, f"data/{name}_mask.png", None)
    return Record(*names, "labeled", name, "val", 8, 8, None, sha256 or name)


def sample(right: int, sure: float = 0.9) -> Sample:
    """Eight pixels that are said to be class 0, of which so many are."""
    truth = (np.arange(8) >= right).astype(np.uint8)
    return Sample(np.tile(np.float32([[sure], [1 - sure]]), 8), truth)


def fitted(*samples: Sample) -> float:
    return fit_temperature(np.stack([cross_entropies(one) for one in samples]))


def judged(temperature: float, known: dict[str, str], *samples: Sample | None) -> Calibration:
    records = [record(name) for name, _ in zip("abcdef", samples, strict=False)]
    found = judge_calibration(temperature, records, samples, known)
    assert found is not None
    return found


def test_images_that_the_temperature_was_fitted_on_are_left_out_one_by_one() -> None:
    samples = [sample(6), sample(6), sample(4)]
    found = judged(2.5, dict.fromkeys("abc", "val"), *samples)
    assert found.how == "leave-one-image-out"
    others = [fitted(*samples[:place], *samples[place + 1 :]) for place in range(3)]
    assert found.honest.temperatures == pytest.approx(others)
    assert others[2] == pytest.approx(2, abs=1e-3)
    assert found.honest.each[2] == pytest.approx(0.25, abs=1e-3)  # 0.9 becomes 0.75, and half is right
    assert found.plain.together.ece == pytest.approx(0.9 - (0.75 + 0.75 + 0.5) / 3, abs=1e-6)
    assert found.stored.temperatures == [2.5] * 3


def test_images_that_are_wrong_in_opposite_directions_do_not_cancel() -> None:
    found = judged(1.0, {}, sample(8), sample(6, sure=0.95))
    assert found.plain.ece == pytest.approx((0.1 + 0.2) / 2, abs=1e-6)
    found = judged(1.0, {}, sample(8), sample(6))  # both in one bin: right in 1 and in 3 of 4, and 0.9 is said of both
    assert found.plain.ece == pytest.approx((0.1 + 0.15) / 2, abs=1e-6)
    assert found.plain.together.ece == pytest.approx(0.025, abs=1e-6)


def test_other_images_are_measured_with_the_temperature_of_the_model() -> None:
    found = judged(2.0, {"x": "val", "a": "train"}, sample(6), sample(6))
    assert (found.how, found.honest.temperatures) == ("fitted on other images", [2.0, 2.0])
    assert found.honest.together.ece == pytest.approx(0, abs=1e-6)
    told = calibration_json(found)
    assert (told["ece"], told["ece_uncalibrated"], told["ece_stored_temperature"]) == (0.0, 0.15, 0.0)
    assert sum(held["pixels"] for held in told["bins"]) == 16
    assert [held["low"] for held in told["bins"] if held["pixels"]] == [pytest.approx(11 / 15, abs=1e-6)]


def test_a_mixture_leaves_out_where_it_must() -> None:
    found = judged(2.0, {"a": "val", "c": "val"}, sample(6), sample(6), sample(4))
    assert found.honest.temperatures == pytest.approx([fitted(sample(4)), 2.0, fitted(sample(6))])
    assert found.how == "leave-one-image-out where fitted on"
    alone = judged(2.0, {"a": "val"}, sample(6), sample(6))
    assert (alone.how, alone.honest.temperatures) == ("fitted on the same image", [2.0, 2.0])


def test_without_a_temperature_nothing_is_called_calibrated() -> None:
    found = judged(1.0, dict.fromkeys("abc", "val"), sample(6), None, sample(4))
    assert (found.how, found.names) == ("not calibrated", ["a.png", "c.png"])
    assert found.honest.temperatures == [1.0, 1.0]
    assert "no temperature was fitted" in found.line


def test_masks_and_unlabelled_images_have_no_calibration() -> None:
    assert judge_calibration(None, [record("a")], [sample(6)], {}) is None
    assert judge_calibration(2.0, [record("a")], [None], {}) is None


@pytest.mark.parametrize(
    ("temperature", "images", "words"),
    [
        (1.0, 0, "there are none"),
        (1.0, 1, "there is 1"),
        (1.5, 4, "1.500, fitted on 4 validation images: the network was too sure"),
        (0.8, 2, "not sure enough"),
        (5.0, 2, "do not trust"),
    ],
)
def test_how_it_was_fitted_is_said_in_words(temperature: float, images: int, words: str) -> None:
    assert words in Fitted(temperature, images).facts()["how"]


@pytest.mark.parametrize(
    ("temperature", "known", "words"),
    [
        (1.5, "val", "each is measured with the temperature that the others give"),
        (1.5, "", "was fitted on other images"),
        (1.0, "val", "No temperature was fitted"),
    ],
)
def test_the_report_says_whether_probabilities_can_be_trusted(
    tmp_path: Path, temperature: float, known: str, words: str
) -> None:
    outcomes = [evaluated(tmp_path / str(heat), heat, known) for heat in (temperature, 1.0)]
    page, told = outcomes[0]
    assert "Can the probabilities be trusted?" in page
    assert "期望校准误差" in page
    assert words in page
    assert ("flatters" in page) == (temperature != 1 and known == "val")
    assert told["calibration"]["temperature"] == temperature
    assert told["calibration"]["ece_uncalibrated"] == outcomes[1][1]["calibration"]["ece"]
    assert told["all"] == outcomes[1][1]["all"]  # no score depends on it, the MicroNet IoU included


def evaluated(root: Path, temperature: float, known: str) -> tuple[str, dict]:  # type: ignore[type-arg]
    """The report and the scores of a model that has learned nothing."""
    import torch

    from srpu.learn.checkpoint import Checkpoint, save_checkpoint
    from srpu.models.segmenter import build_segmenter

    workspace, classes = Workspace(root), class_map(SETTINGS)
    records = []
    for seed, name in enumerate("ab"):
        random = np.random.default_rng(seed)
        levels = random.integers(0, 255, (48, 64)).astype(np.uint8)
        write_image(workspace.path(f"data/{name}.png"), levels)
        write_mask(workspace.path(f"data/{name}_mask.png"), (levels // 86).astype(np.uint8), classes)
        names = (f"{name}.png", f"data/{name}.png", None, f"data/{name}_mask.png", None)
        records.append(Record(*names, "labeled", name, "val", 48, 64, None, pixel_hash(levels)))
    write_manifest(workspace.path(SETTINGS.MASTER_LABELED_JSON), records)
    torch.manual_seed(0)
    model = build_segmenter("unet", "unet", 3)
    seen = {one.sha256: known for one in records} if known else {}
    path = workspace.path("models/checkpoints/train_unet_unet/best_model.pth")
    facts = (model.state_dict(), 7, 0.5, model.spec, classes, Normalisation("zscore"))
    save_checkpoint(path, Checkpoint(*facts, trained_on=seen, temperature=temperature))
    folder = evaluate_task.run(SETTINGS, workspace).folder
    assert (folder / "reliability.png").is_file()
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return (folder / "report.html").read_text(encoding="utf-8"), scores
