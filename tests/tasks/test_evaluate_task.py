import csv
import errno
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srpu.data.images import pixel_hash, read_image, write_image
from srpu.data.index import Record, write_manifest
from srpu.data.masks import write_mask, write_mask_stack
from srpu.data.normalisation import Normalisation
from srpu.errors import (
    CheckpointError,
    IndexingError,
    LeakError,
    MaskError,
    PairingError,
    SettingsError,
    WorkspaceError,
)
from srpu.pictures import GAINED, WRONG
from srpu.settings import EvaluationSettings
from srpu.tasks import contender, evaluate_task, judging
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

SETTINGS = EvaluationSettings(PREDICTIONS_DIR="masks of others", DEVICE="cpu", PRECISION="fp32")
CLASSES = class_map(SETTINGS)
MODEL = SETTINGS.model_copy(update={"PREDICTIONS_DIR": None})


def striped(seed: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Class ids 0, 1, 2 in slanting bands."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((x + y + 7 * seed) // 16 % 3).astype(np.uint8)


class Bench:
    """A workspace with labelled images, and masks of others to score."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.records: list[Record] = []
        self.others = root / "masks of others"
        self.others.mkdir()

    def add(self, id_: str, truth: np.ndarray, *, group: str = "", split: str | None = "val") -> Record:
        folder = self.workspace.root / "data" / "labeled"
        image, mask = folder / id_, (folder / id_).with_name(f"{Path(id_).stem}_mask.png")
        rng = np.random.default_rng(len(self.records))
        write_image(image, (truth % 3 * 60 + rng.integers(0, 60, truth.shape)).astype(np.uint8))
        write_mask(mask, truth, CLASSES)
        levels = read_image(image)
        names = (self.workspace.name(image), None, self.workspace.name(mask), None)
        record = Record(id_, *names, "labeled", group or id_, split, *levels.shape, None, pixel_hash(levels))
        self.records.append(record)
        return record

    def predict(self, name: str, ids: np.ndarray) -> Path:
        write_mask(self.others / name, ids, CLASSES)
        return self.others / name

    def evaluate(
        self, settings: EvaluationSettings = SETTINGS, against: Path | str | None = None, **changes: object
    ) -> "Outcome":
        write_manifest(self.workspace.path(settings.MASTER_LABELED_JSON), self.records)
        against = None if against is None else Path(against)
        return Outcome(evaluate_task.run(settings.model_copy(update=changes), self.workspace, against).folder)

    def model(
        self, *, classes: int = 3, trained_on: dict[str, str] | None = None, name: str = "train_unet_unet"
    ) -> Path:
        """A model that has learned nothing."""
        import torch

        from srpu.learn.checkpoint import Checkpoint, save_checkpoint
        from srpu.models.segmenter import build_segmenter

        torch.manual_seed(0)
        model = build_segmenter("unet", "unet", classes)
        known = CLASSES if classes == 3 else replace(CLASSES, names=CLASSES.names[:2], colors=CLASSES.colors[:2])
        path = self.workspace.root / "models" / "checkpoints" / name / "best_model.pth"
        state = Checkpoint(
            model.state_dict(), 7, 0.5, model.spec, known, Normalisation("zscore"), trained_on=trained_on or {}
        )
        save_checkpoint(path, state)
        return path


class Outcome:
    """What a run wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = (folder / "report.html").read_text(encoding="utf-8")
        self.json = json.loads((folder / "scores.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
        self.scores = self.json["all"]["scores"]

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def two(bench) -> Bench:
    for seed, name in enumerate(["a", "b"]):
        bench.add(f"{name}.png", striped(seed))
        bench.predict(f"{name}.png", striped(seed))
    return bench


def test_perfect_masks_score_one_everywhere(two):
    outcome = two.evaluate(FOREGROUND_CLASSES=[1, 2])
    assert set(outcome.scores.values()) == {1.0}
    assert outcome.json["all"]["over_groups"]["dice.SE"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert sorted(path.name for path in outcome.folder.iterdir()) == [
        "classes.csv", "confusion.png", "images.csv", "panels", "report.html", "scores.json",
    ]  # fmt: skip
    assert len(list((outcome.folder / "panels").glob("*.png"))) == 2
    assert "validation, n = 2 images in 2 groups" in outcome.page
    assert "Worst" not in outcome.page


def test_errors_are_counted_where_they_are(two):
    wrong = striped(0)
    wrong[:24] = 2
    two.predict("a.png", wrong)
    outcome = two.evaluate(WORST_CASES=1)
    first, second = outcome.rows("images.csv")
    assert (first["id"], second["mean_dice"]) == ("a.png", "1.0")
    assert float(first["recall.AM"]) == 1
    assert float(first["pixel_accuracy"]) == pytest.approx((striped(0) == wrong).mean(), abs=1e-6)
    matrix = np.array(outcome.json["all"]["confusion"]["pixels"])
    assert matrix.sum() == 2 * 48 * 64
    assert matrix[0, 2] == (striped(0)[:24] == 0).sum()
    assert "Worst 1 image<" in outcome.page
    assert "a.png: mean Dice" in outcome.page


def test_a_class_that_nobody_has_is_not_a_success(bench):
    truth = np.minimum(striped(0), 1)
    bench.add("a.png", truth)
    bench.predict("a.png", truth)
    outcome = bench.evaluate()
    assert outcome.scores["dice.AM"] is None
    assert outcome.scores["mean_dice"] == 1
    assert outcome.rows("classes.csv")[2]["dice"] == "n/a"
    assert outcome.rows("images.csv")[0]["boundary_f1.AM"] == "n/a"
    assert "No judged pixel truly is AM" in outcome.page


def test_a_truth_of_one_class(bench):
    bench.add("a.png", np.full((40, 40), 1, np.uint8))
    bench.predict("a.png", np.full((40, 40), 1, np.uint8))
    scores = bench.evaluate().scores
    assert (scores["dice.SE"], scores["boundary_f1.SE"], scores["dice.carbon"]) == (1, None, None)


def test_one_group_has_no_interval(bench):
    for name in ("a.png", "b.png"):
        bench.add(name, striped(0), group="one specimen")
        bench.predict(name, striped(0))
    outcome = bench.evaluate()
    assert outcome.json["all"]["over_groups"]["mean_dice"] == {"mean": 1.0, "low": None, "high": None}
    assert outcome.rows("classes.csv")[0]["dice_low"] == "n/a"
    assert "n = 2 images in 1 group." in outcome.page
    assert "there is no interval" in outcome.page


def test_only_labelled_pixels_are_judged(two):
    truth, sparse = striped(0), np.full((48, 64), 255, np.uint8)
    sparse[10:20, 10:40] = truth[10:20, 10:40]
    two.records.clear()
    two.add("a.png", sparse)
    wrong_elsewhere = np.where(sparse == 255, 1, truth).astype(np.uint8)
    two.predict("a.png", wrong_elsewhere)
    outcome = two.evaluate()
    assert outcome.scores["mean_dice"] == 1
    assert outcome.json["images"][0]["judged_pixels"] == 300


def test_pixels_that_got_no_class_are_wrong(two):
    hole = striped(0)
    hole[:24] = 255
    two.predict("a.png", hole)
    outcome = two.evaluate()
    assert np.array(outcome.json["all"]["confusion"]["pixels"])[:, -1].sum() == 24 * 64
    assert outcome.scores["pixel_accuracy"] == pytest.approx(0.75)


def test_an_image_without_any_label_is_named_and_has_no_score(two, caplog):
    two.add("blank.png", np.full((48, 64), 255, np.uint8))
    two.predict("blank.png", striped(0))
    outcome = two.evaluate()
    assert "blank.png: its mask labels no pixel" in caplog.text
    assert outcome.json["images"][2]["scores"]["mean_dice"] is None
    assert outcome.scores["mean_dice"] == 1


def test_the_data_bar_is_not_judged(bench):
    truth = striped(0)
    bench.add("a.png", truth)
    spoiled = truth.copy()
    spoiled[40:] = (spoiled[40:] + 1) % 3
    bench.predict("a.png", spoiled)
    assert bench.evaluate().scores["mean_dice"] < 1
    assert bench.evaluate(DATABAR_ROWS=8).scores["mean_dice"] == 1
    bench.predict("a.png", truth[:40])
    assert bench.evaluate(DATABAR_ROWS=8).scores["mean_dice"] == 1


def test_data_sets_are_scored_apart_and_together(two):
    two.records[1] = replace(two.records[1], dataset="other")
    two.predict("b.png", np.zeros((48, 64), np.uint8))
    outcome = two.evaluate()
    assert outcome.json["datasets"]["labeled"]["scores"]["mean_dice"] == 1
    assert outcome.json["datasets"]["other"]["scores"]["dice.SE"] == 0
    assert [row["data"] for row in outcome.rows("classes.csv")] == [
        name for name in ("all", "labeled", "other") for _ in range(3)
    ]
    assert "<h2>Data sets</h2>" in outcome.page


def test_nothing_is_overwritten(two):
    first, second = two.evaluate(), two.evaluate()
    assert first.folder != second.folder
    assert first.folder.name.endswith("_masks_masks_of_others")


@pytest.mark.parametrize(
    "name",
    [
        "样品 1.png",
        "样品 1_mask.png",
        "sub folder/样品 1_predicted_mask.png",
        "样品 1_Label.tif",
        "样品 1.png_mask.png",
    ],
)
def test_masks_are_found_by_name(bench, name):
    bench.add("样品 1.png", striped(0))
    bench.predict(name, striped(0))
    outcome = bench.evaluate(FOREGROUND_CLASSES=[1])
    assert outcome.scores["mean_dice"] == 1
    assert [path.name for path in (outcome.folder / "panels").iterdir()] == ["001_样品_1.png"]
    assert "样品 1.png" in outcome.page


def test_equal_names_in_two_folders_are_two_images(bench):
    for seed, batch in enumerate(["batch 1", "batch 2"]):
        bench.add(f"{batch}/x.png", striped(seed))
        bench.predict(f"{batch}/x_mask.png", striped(seed))
    assert bench.evaluate().scores["mean_dice"] == 1
    (bench.others / "batch 2" / "x_mask.png").unlink()
    with pytest.raises(PairingError, match=r"could be of .*batch 1/x\.png or .*batch 2/x\.png"):
        bench.evaluate()


def test_two_masks_for_one_image_are_an_error_with_both_paths(two):
    two.predict("a_mask.png", striped(0))
    with pytest.raises(PairingError, match=r"a\.png has two masks, .*a\.png and .*a_mask\.png"):
        two.evaluate()


def test_missing_masks_are_named(two):
    (two.others / "b.png").unlink()
    with pytest.raises(PairingError, match=r"no mask for 1 of 2 images \(b\.png\)"):
        two.evaluate()
    with pytest.raises(PairingError, match="nowhere, which is not a folder"):
        two.evaluate(PREDICTIONS_DIR="nowhere")
    assert not (two.workspace.root / "evaluation_results").exists()


def test_a_mask_of_another_size_is_refused(two):
    two.predict("a.png", striped(0, (30, 30)))
    with pytest.raises(MaskError, match=r"a\.png .*30 × 30 pixels, its image 64 × 48"):
        two.evaluate()


def test_pages_of_a_stack_are_scored_page_by_page(bench):
    import tifffile

    pages = [striped(seed) for seed in range(3)]
    stack = bench.workspace.root / "stack.tif"
    tifffile.imwrite(stack, np.stack(pages) * 50, photometric="minisblack")
    masks = bench.workspace.root / "stack_mask.tif"
    write_mask_stack(masks, pages, CLASSES)
    write_mask_stack(bench.others / "stack_predicted_mask.tif", pages, CLASSES)
    for page in range(3):
        hash_ = pixel_hash(read_image(stack, page))
        names = (f"stack.tif#{page + 1:04d}", "stack.tif", page, "stack_mask.tif", page)
        bench.records.append(Record(*names, "labeled", "stack", "val", 48, 64, None, hash_))
    outcome = bench.evaluate()
    assert outcome.scores["mean_dice"] == 1
    assert sorted(path.name for path in (outcome.folder / "panels").iterdir())[2] == "003_stack_0003.png"


def test_an_empty_split_says_what_to_do(two):
    with pytest.raises(IndexingError, match=r'"test" \(under 30 groups .*use EVALUATION_SPLIT = "val"'):
        two.evaluate(EVALUATION_SPLIT="test")


def test_foreground_classes_must_exist(two):
    with pytest.raises(SettingsError, match="FOREGROUND_CLASSES holds 3"):
        two.evaluate(FOREGROUND_CLASSES=[1, 3])


def test_a_file_in_the_way_of_the_results_stops_before_the_work(two, monkeypatch):
    monkeypatch.setattr(evaluate_task, "_judge", lambda *_: pytest.fail("worked in vain"))
    (two.workspace.root / "evaluation_results").write_text("")
    with pytest.raises(WorkspaceError, match="a file stands where a folder is needed"):
        two.evaluate()


def test_a_read_only_results_folder_is_one_sentence(two, monkeypatch):
    mkdir = Path.mkdir

    def refuse(path: Path, *args: object, **options: object) -> None:
        if path.parent.name == "evaluation_results":
            raise OSError(errno.EACCES, "forbidden", str(path))
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(WorkspaceError, match="may not write there"):
        two.evaluate()


def test_a_full_disk_is_one_sentence(two, monkeypatch):
    def refuse(_: object) -> bytes:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(judging, "png_bytes", refuse)
    with pytest.raises(WorkspaceError, match=r"Cannot write .*001_a\.png: the disk is full"):
        two.evaluate()
    assert list((two.workspace.root / "evaluation_results").iterdir()) == []


def test_the_newest_best_model_is_named_first(two, caplog):
    caplog.set_level(logging.INFO, "srpu")
    old, new = two.model(name="train_old"), two.model(name="train_new")
    os.utime(old, (1, 1))
    outcome = two.evaluate(MODEL)
    assert caplog.messages[0] == f"Judging the model {new}, the best of the last finished run."
    assert outcome.folder.name.endswith("_unet_unet")
    assert outcome.json["model"] == "models/checkpoints/train_new/best_model.pth"
    assert 0 <= outcome.scores["mean_dice"] < 1
    assert "trained for 7 epochs" in outcome.page
    two.evaluate(MODEL, CHECKPOINT_PATH=str(old))
    assert f"Judging the model {old}." in caplog.messages


def test_unsure_pixels_count_for_the_micronet_iou_alone(two, monkeypatch):
    from srpu.learn.predict import Band

    truths = [striped(0), striped(1)]

    def bands(model, image, *_, **__):
        truth = truths.pop(0)
        probabilities = np.where(np.arange(3)[:, None, None] == truth, 0.45, 0.275).astype(np.float32)
        probabilities[:, 24:] = np.arange(3)[:, None, None] == truth[24:]
        yield Band(0, probabilities[:, :10])
        yield Band(10, probabilities[:, 10:])

    monkeypatch.setattr("srpu.learn.predict.predict_bands", bands)
    two.model()
    scores = two.evaluate(MODEL).scores
    assert scores["mean_dice"] == scores["pixel_accuracy"] == scores["mean_boundary_f1"] == 1
    assert scores["micronet_iou"] == pytest.approx(0.5)


def test_a_judged_image_that_was_trained_on_is_an_error(two):
    two.model(trained_on={two.records[1].sha256: "train", two.records[0].sha256: "val"})
    with pytest.raises(LeakError, match=r"b\.png"):
        two.evaluate(MODEL)


def test_training_images_may_be_judged_and_the_report_says_so(two):
    two.records[1] = replace(two.records[1], split="train")
    two.model(trained_on={two.records[1].sha256: "train", two.records[0].sha256: "val"})
    page = two.evaluate(MODEL, EVALUATION_SPLIT="all").page
    assert "The model was trained on 1 of these 2 images" in page
    assert "The best epoch was chosen on 1 of these 2 images" in page
    assert "trained on" not in two.evaluate(MODEL, EVALUATION_SPLIT="val").page


def test_a_model_of_other_classes_is_refused(two):
    two.model(classes=2)
    with pytest.raises(CheckpointError, match=r"2 classes .*NUM_CLASSES = 3"):
        two.evaluate(MODEL)


def test_classes_of_other_names_are_said(two, caplog):
    two.model()
    two.evaluate(MODEL, CLASS_NAMES={0: "x", 1: "y", 2: "z"})
    assert "knows the classes as carbon, SE, AM, CLASS_NAMES as x, y, z; the results carry the latter." in caplog.text
    with pytest.raises(CheckpointError, match="in the model's order"):
        two.evaluate(MODEL, CLASS_NAMES={0: "SE", 1: "carbon", 2: "AM"})


@pytest.fixture
def blind(monkeypatch) -> list[tuple[int, ...]]:
    """Every model says class 0 everywhere; holds the shape of each image that was predicted."""
    from srpu.learn.predict import Band

    predicted = []

    def bands(model, image, *_, **__):
        predicted.append(image.shape)
        yield Band(0, np.stack([np.full(image.shape, x, np.float32) for x in (0.8, 0.1, 0.1)]))

    monkeypatch.setattr("srpu.learn.predict.predict_bands", bands)
    return predicted


def halves(bench: Bench, count: int) -> None:
    """Images that are class 0 and class 1 in equal parts, with perfect masks of others."""
    truth = np.repeat(np.array([[0, 1]], np.uint8), 32, axis=1).repeat(48, axis=0)
    for number in range(count):
        bench.add(f"{number}.png", truth)
        bench.predict(f"{number}.png", truth)


def test_masks_against_a_model(bench, blind, caplog):
    """All class 0 on two halves: Dice 2 × 0.5 / 1.5 = 2/3 and 0, IoU 1/2 and 0; perfect masks have 1 everywhere."""
    caplog.set_level(logging.INFO, "srpu")
    halves(bench, 5)
    outcome = bench.evaluate(against=bench.model())
    against = outcome.json["against"]
    assert outcome.scores["mean_dice"] == 1
    assert (against["model"], against["verdict"]) == ("models/checkpoints/train_unet_unet/best_model.pth", "better")
    assert {name: score["difference"] for name, score in against["scores"].items()} == {
        "mean_dice": 0.666667, "dice.carbon": 0.333333, "dice.SE": 1, "dice.AM": None, "mean_iou": 0.75,
    }  # fmt: skip
    assert against["images"][4]["dice.carbon"] == {"this": 1, "other": 0.666667}
    assert [row["verdict"] for row in outcome.rows("comparison.csv")] == ["better", "better", "better", "n/a", "better"]
    assert f"<h2>Compared with {against['model']}</h2>" in outcome.page
    assert against["sentence"] in outcome.page.replace("&#39;", "'")
    assert "lose most" not in outcome.page
    assert outcome.page.count('href="compared/') == len(list((outcome.folder / "compared").iterdir())) == 5
    blue, red = drawn(outcome.folder / "compared" / "001_0.png")
    assert blue > 1000 > red
    assert caplog.messages[-2] == (
        "These masks are better than models/checkpoints/train_unet_unet/best_model.pth: mean Dice +0.667 [+0.667, "
        "+0.667] over 5 groups."
    )
    assert len(blind) == 5


def drawn(panel: Path) -> list[int]:
    """Pixels that the panel marks as gained and as lost."""
    sheet = np.asarray(Image.open(panel))
    return [int((sheet == mark).all(axis=-1).sum()) for mark in (GAINED, WRONG)]


def test_the_greatest_losses_are_shown(bench, blind):
    halves(bench, 3)
    for number, wrong in enumerate([2, 0, 1]):
        bench.predict(f"{number}.png", np.full((48, 64), wrong, np.uint8))
    outcome = bench.evaluate(against=bench.model(), WORST_CASES=1)
    page = outcome.page
    blue, red = drawn(outcome.folder / "compared" / "001_0.png")
    assert red > 1000 > blue
    assert "Where these masks lose most:" in page
    assert "0.png: mean Dice 0.000 against 0.333, difference -0.333" in page
    assert "fewer than 5 groups cannot show a gain or a small loss" in page
    assert page.count('href="compared/') == 3 + 1


def test_two_models_each_see_an_image_once(two, blind, caplog):
    caplog.set_level(logging.INFO, "srpu")
    old, new = two.model(name="old"), two.model(name="new")
    os.utime(old, (1, 1))
    outcome = two.evaluate(MODEL, against=old)
    assert len(blind) == 4
    assert outcome.json["model"] == "models/checkpoints/new/best_model.pth"
    assert outcome.json["against"]["verdict"] == "not distinguishable"
    assert caplog.messages[0] == f"Judging the model {new}, the best of the last finished run."
    assert f"Compared with the model {old}." in caplog.messages
    assert "Both sides have the same scores on every image; are they copies of one model?" in caplog.messages
    assert "against" not in two.evaluate(MODEL).json


def test_the_other_model_is_found_from_here_and_in_the_workspace(two, blind, monkeypatch):
    two.model(name="old"), two.model(name="new")
    new = two.workspace.root / "models" / "checkpoints" / "new"
    monkeypatch.chdir(new.parent / "old")
    for name in ("best_model.pth", "models/checkpoints/old/best_model.pth"):
        outcome = two.evaluate(MODEL, against=name, CHECKPOINT_PATH=str(new / "best_model.pth"))
        assert outcome.json["against"]["model"] == "models/checkpoints/old/best_model.pth"


def test_what_cannot_be_compared_is_one_sentence_before_the_work(two, monkeypatch):
    monkeypatch.setattr(evaluate_task, "_judge", lambda *_: pytest.fail("worked in vain"))
    path = two.model()
    with pytest.raises(CheckpointError, match=r"--against names .*best_model\.pth, which is the judged model itself"):
        two.evaluate(MODEL, against=path.parent / ".." / path.parent.name / path.name)
    with pytest.raises(
        CheckpointError, match=r"There is no model at .*gone\.pth; name a checkpoint .* after --against"
    ):
        two.evaluate(MODEL, against=path.parent / "gone.pth")
    with pytest.raises(CheckpointError, match=r"train_unet_unet is a folder; name a checkpoint"):
        two.evaluate(MODEL, against=path.parent)
    other = two.model(name="other", classes=2)
    with pytest.raises(CheckpointError, match=r"other.best_model\.pth tells 2 classes apart .*NUM_CLASSES = 3"):
        two.evaluate(MODEL, against=other, CHECKPOINT_PATH=str(path))
    assert not (two.workspace.root / "evaluation_results").exists()


@pytest.mark.parametrize("guilty", ["this", "other"])
def test_a_leak_into_either_model_names_it(two, guilty):
    leaked = {two.records[0].sha256: "train"}
    this, other = (two.model(name=name, trained_on=leaked if name == guilty else {}) for name in ("this", "other"))
    with pytest.raises(LeakError, match=rf"used to train models/checkpoints/{guilty}/best_model\.pth \(a\.png\)"):
        two.evaluate(MODEL, against=other, CHECKPOINT_PATH=str(this))


def test_unfair_advantages_are_said(two, blind, caplog):
    first, second = (record.sha256 for record in two.records)
    this = two.model(name="this", trained_on={first: "val", second: "val"})
    other = two.model(name="other", trained_on={first: "val"})
    outcome = two.evaluate(MODEL, against=other, CHECKPOINT_PATH=str(this))
    remark = (
        "The best epoch of this model was chosen on 1 of these 2 images, where the model models/checkpoints/other/"
        "best_model.pth had no such help: an unfair advantage of this model."
    )
    assert remark in caplog.messages
    assert remark in outcome.page
    two.records[1] = replace(two.records[1], split="train")
    other = two.model(name="other", trained_on={first: "val", second: "train"})
    remarks = two.evaluate(MODEL, against=other, CHECKPOINT_PATH=str(this), EVALUATION_SPLIT="all").json["against"]
    assert [remark.split(", where")[0] for remark in remarks["remarks"]][1:] == [
        "The model models/checkpoints/other/best_model.pth learned from 1 of these 2 images",
        "Both sides have the same scores on every image; are they copies of one model?",
    ]


def test_without_a_model_training_is_advised(two):
    with pytest.raises(CheckpointError, match="srpu train"):
        two.evaluate(MODEL)


def test_only_so_many_panels_lie_in_the_page(bench, monkeypatch):
    monkeypatch.setattr("srpu.tasks.evaluation_report.EMBEDDED", 3)
    for seed in range(5):
        bench.add(f"{seed}.png", striped(seed))
        bench.predict(f"{seed}.png", striped(seed + 1))
    page = bench.evaluate(WORST_CASES=2).page
    assert page.count("data:image/jpeg") == 3
    assert page.count('href="panels/') == 5 + 3


def test_a_similar_place_tells_whose_mask_it_is(tmp_path):
    record = Record("set/b1/x.png", "x.png", None, "m.png", None, "set", "x", "val", 9, 9, None, "0")
    for name in ("b1/x.png", "b2/x_mask.png"):
        write_mask(tmp_path / name, striped(0), CLASSES)
    assert contender.find_masks(tmp_path, [record]) == {record: tmp_path / "b1" / "x.png"}


@pytest.mark.shared_data
def test_background_everywhere_scores_as_published(bench, shared_data):
    """The MicroNet IoU of "all matrix" on the superalloy test images is 0.314."""
    root = shared_data / "superalloy"
    for name in json.loads((root / "splits.json").read_text(encoding="utf-8"))["super1"]["test"]:
        image, mask = root / "images" / f"{name}.png", root / "masks" / f"{name}.png"
        hash_ = pixel_hash(read_image(image))
        bench.records.append(
            Record(name, str(image), None, str(mask), None, "superalloy", name, "test", 512, 512, None, hash_)
        )
        bench.predict(f"{name}.png", np.zeros((512, 512), np.uint8))
    scores = bench.evaluate(EVALUATION_SPLIT="test").scores
    assert scores["micronet_iou"] == pytest.approx(0.314, abs=5e-4)
