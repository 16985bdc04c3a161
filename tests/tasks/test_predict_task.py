from __future__ import annotations

import csv
import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor, nn

from srpu.data.images import read_image, write_image
from srpu.data.masks import IGNORE, ClassMap, colour, read_mask
from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError, ImageError, SettingsError, WorkspaceError
from srpu.learn.checkpoint import Checkpoint, save_checkpoint
from srpu.learn.novelty import Novelty, pooled_features
from srpu.models.promise import Decoder, Encoder
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.settings import InferenceSettings
from srpu.tasks import predict_task
from srpu.tasks.predict_task import Predicted
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

SETTINGS = InferenceSettings(
    CHECKPOINT_PATH="model.pth",
    DEVICE="cpu",
    PRECISION="fp32",
    TILE_SIZE=64,
    CLASS_NAMES={0: "carbon", 1: "SE", 2: "活性 AM"},
)
CLASSES = class_map(SETTINGS)
DARK, GREY, BRIGHT = 20, 127, 230


class Levels(Encoder):
    """The image and its negative, as they are."""

    in_channels, out_channels, strides = 1, (2,), (1,)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.cat([images, 1 - images], dim=1)]


class Same(Decoder):
    out_channels, least_side = 2, 1

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


def thresholds(_: Checkpoint) -> Segmenter:
    """Dark is class 0, grey class 1, bright class 2."""
    model = Segmenter(Levels(), Same(), {"classes": 3})
    with torch.no_grad():
        model.head.weight[:, :, 0, 0] = torch.tensor([[0.0, 0.0], [60.0, 0.0], [120.0, 0.0]])
        model.head.bias[:] = torch.tensor([0.0, -20.0, -60.0])
    return model.eval()


@dataclass
class Bench:
    """A workspace with a model that tells grey levels apart."""

    root: Path
    settings: InferenceSettings = SETTINGS

    @property
    def input(self) -> Path:
        return self.root / "data" / "inference" / "input"

    @property
    def output(self) -> Path:
        return self.root / "data" / "inference" / "output"

    def put(self, name: str, image: np.ndarray, **about: Any) -> Path:
        write_image(self.input / name, image, **about)
        return self.input / name

    def run(self, source: Path | None = None, overwrite: bool = False, **changes: Any) -> Predicted:
        settings = self.settings.model_copy(update=changes)
        return predict_task.run(settings, Workspace(self.root), source, overwrite)

    def mask(self, name: str, page: int | None = None) -> np.ndarray:
        return read_mask(self.output / name, CLASSES, page).ids

    def table(self) -> list[dict[str, str]]:
        with (self.output / "phase_fractions.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def files(self) -> list[str]:
        found = (path for path in self.output.rglob("*") if path.is_file())
        names = [path.relative_to(self.output).as_posix() for path in found]
        return sorted(name for name in names if not name.startswith(".srpu/"))


def save_model(path: Path, classes: ClassMap = CLASSES, **known: Any) -> None:
    save_checkpoint(path, Checkpoint({}, 1, 0.5, {}, classes, Normalisation("none"), **known))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(predict_task, "rebuild_model", thresholds)
    save_model(tmp_path / "model.pth")
    return Bench(tmp_path)


def striped(height: int = 40, width: int = 60) -> np.ndarray:
    """A third each of classes 0, 1 and 2, from left to right."""
    return np.repeat(np.array([[DARK, GREY, BRIGHT]], np.uint8), width // 3, axis=1).repeat(height, axis=0)


STRIPED = np.repeat(np.repeat(np.array([[0, 1, 2]], np.uint8), 20, axis=1), 40, axis=0)


def test_a_folder_is_segmented_and_measured(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put("a.png", striped(), pixel_size_nm=500.0)
    bench.put("批次 1/图 像.tif", np.full((30, 100), BRIGHT, np.uint8))
    assert bench.run() == Predicted(2, 0, 0, 0, bench.output / "phase_fractions.csv")
    assert bench.files() == [
        "a_colored.png",
        "a_overlay.png",
        "a_predicted_mask.png",
        "phase_fractions.csv",
        "批次 1/图 像_colored.png",
        "批次 1/图 像_overlay.png",
        "批次 1/图 像_predicted_mask.png",
    ]
    np.testing.assert_array_equal(bench.mask("a_predicted_mask.png"), STRIPED)
    first, second = bench.table()
    assert first == {
        "file": "a.png", "page": "", "height": "40", "width": "60", "pixel_size_nm": "500.0",
        "carbon_fraction": "0.333333", "SE_fraction": "0.333333", "活性 AM_fraction": "0.333333",
        "carbon_area_um2": "200.0", "SE_area_um2": "200.0", "活性 AM_area_um2": "200.0",
        "novelty": "", "unlike_training_images": "", "model": "model.pth",
    }  # fmt: skip
    assert (second["file"], second["活性 AM_fraction"], second["SE_area_um2"]) == ("批次 1/图 像.tif", "1.0", "")
    assert caplog.messages[0] == f"Segmenting with {bench.root / 'model.pth'}."
    assert "a.png: carbon 33.3%, SE 33.3%, 活性 AM 33.3%" in caplog.messages


def test_all_pictures_that_are_asked_for(bench: Bench) -> None:
    image = striped()
    bench.put("a.png", image)
    bench.run(MASK_FORMAT="tiff", SAVE_PROBABILITIES=True, SAVE_UNCERTAINTY=True)
    np.testing.assert_array_equal(bench.mask("a_predicted_mask.tif"), STRIPED)
    colored = tifffile_or_png(bench.output / "a_colored.png")
    np.testing.assert_array_equal(colored, colour(STRIPED, CLASSES))
    probabilities = tifffile.imread(bench.output / "a_probabilities.tif")
    assert (probabilities.shape, probabilities.dtype) == ((3, 40, 60), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=0), STRIPED)
    uncertainty = read_image(bench.output / "a_uncertainty.png")
    p = probabilities.astype(np.float64)
    np.testing.assert_allclose(uncertainty, -255 * (p * np.log(p)).sum(axis=0) / np.log(3), atol=0.51)


def test_the_temperature_calms_probabilities_and_changes_no_mask(bench: Bench) -> None:
    bench.put("a.png", np.linspace(0, 255, 40 * 60).reshape(40, 60).astype(np.uint8))
    wanted = {"MASK_FORMAT": "tiff", "SAVE_PROBABILITIES": True, "SAVE_UNCERTAINTY": True}
    seen = []
    for temperature in (1.0, 2.0):
        save_model(bench.root / "model.pth", temperature=temperature)
        assert bench.run(**wanted).done == 1
        probabilities = tifffile.imread(bench.output / "a_probabilities.tif")
        seen.append((bench.mask("a_predicted_mask.tif"), probabilities, read_image(bench.output / "a_uncertainty.png")))
    (mask, plain, sure), (same, calm, unsure) = seen
    np.testing.assert_array_equal(mask, same)
    np.testing.assert_allclose(calm, np.sqrt(plain) / np.sqrt(plain).sum(axis=0), atol=1e-6)
    assert unsure.mean() > sure.mean()


def tifffile_or_png(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))


def test_a_stack_stays_a_stack(bench: Bench) -> None:
    pages = np.stack([striped(), striped()[:, ::-1], np.full((40, 60), GREY, np.uint8)])
    bench.input.mkdir(parents=True)
    tifffile.imwrite(bench.input / "film.tif", pages, photometric="minisblack")
    bench.run(SAVE_PROBABILITIES=True, SAVE_UNCERTAINTY=True)
    for page, expected in enumerate([STRIPED, STRIPED[:, ::-1], np.ones_like(STRIPED)]):
        np.testing.assert_array_equal(bench.mask("film_predicted_mask.tif", page), expected)
    assert tifffile.imread(bench.output / "film_colored.tif").shape == (3, 40, 60, 3)
    assert tifffile.imread(bench.output / "film_overlay.tif").shape == (3, 40, 60, 3)
    assert tifffile.imread(bench.output / "film_uncertainty.tif").shape == (3, 40, 60)
    probabilities = tifffile.imread(bench.output / "film_probabilities.tif").reshape(3, 3, 40, 60)
    np.testing.assert_array_equal(probabilities[1].argmax(axis=0), STRIPED[:, ::-1])
    assert [(row["page"], row["SE_fraction"]) for row in bench.table()] == [
        ("1", "0.333333"),
        ("2", "0.333333"),
        ("3", "1.0"),
    ]


def test_what_is_done_is_skipped_until_image_model_or_settings_change(bench: Bench) -> None:
    bench.put("a.png", striped())
    bench.put("b.png", striped())
    assert bench.run().done == 2
    (bench.output / "phase_fractions.csv").unlink()
    assert (bench.run().done, bench.run().skipped) == (0, 2)
    assert [row["file"] for row in bench.table()] == ["a.png", "b.png"]
    assert bench.run(BATCH_SIZE=1).done == 0
    assert bench.run(overwrite=True).done == 2
    bench.put("b.png", striped()[::2])
    assert (bench.run().done, len(bench.mask("b_predicted_mask.png"))) == (1, 20)
    (bench.output / "a_overlay.png").unlink()
    assert bench.run().done == 1
    assert bench.run(MIN_HOLE_PIXELS=3).done == 2
    save_model(bench.root / "model.pth", novelty={})
    assert bench.run(MIN_HOLE_PIXELS=3).done == 2
    assert len(bench.table()) == 2


def test_results_that_were_deleted_leave_the_table(bench: Bench) -> None:
    path = bench.put("a.png", striped())
    bench.put("b.png", striped())
    bench.run()
    (bench.output / "a_predicted_mask.png").unlink()
    path.unlink()
    bench.run()
    assert [row["file"] for row in bench.table()] == ["b.png"]


def test_a_bad_file_is_named_at_the_end_and_stops_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put("a.png", striped())
    (bench.input / "b.png").write_text("no picture", encoding="utf-8")
    tifffile.imwrite(bench.input / "c.tif", np.full((4, 4), np.nan, np.float32))
    (bench.input / "d.tif").write_bytes((tifffile_bytes())[:200])
    (bench.input / "notes.txt").write_text("x", encoding="utf-8")
    bench.put("e.png", striped())
    result = bench.run()
    assert (result.done, result.failed) == (2, 3)
    failures = [message for message in caplog.messages if message.startswith("Failed: ")]
    assert [name in failure for name, failure in zip(("b.png", "c.tif", "d.tif"), failures, strict=True)] == [True] * 3
    assert caplog.messages[-2] in failures
    assert [row["file"] for row in bench.table()] == ["a.png", "e.png"]
    assert not [name for name in bench.files() if name.startswith(("b", "c", "d"))]


def tifffile_bytes() -> bytes:
    import io

    file = io.BytesIO()
    tifffile.imwrite(file, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    return file.getvalue()


def test_a_page_that_is_broken_leaves_no_half_of_a_stack(bench: Bench) -> None:
    bench.input.mkdir(parents=True)
    tifffile.imwrite(
        bench.input / "film.tif",
        np.stack([np.zeros((8, 8)), np.full((8, 8), np.nan)]).astype(np.float32),
        photometric="minisblack",
    )
    assert bench.run(SAVE_PROBABILITIES=True).failed == 1
    assert bench.files() == ["phase_fractions.csv"]


@pytest.mark.parametrize("name", ["input", "input/x.png", "input/*.png", "input/**/x*"])
def test_source_is_a_folder_a_file_or_a_pattern(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put("x.png", striped())
    monkeypatch.chdir(bench.input.parent)
    assert bench.run(Path(name)).done == 1
    assert "x_predicted_mask.png" in bench.files()


def test_a_pattern_keeps_folders_and_takes_no_more_than_it_says(bench: Bench) -> None:
    for name in ("one/a.png", "two/a.png", "two/b.png", "three/deep/a.png"):
        bench.put(name, striped())
    assert bench.run(bench.input / "t*" / "a.png").done == 1
    assert "two/a_predicted_mask.png" in bench.files()
    assert bench.run(bench.input / "t*").done == 2
    assert "three/deep/a_predicted_mask.png" in bench.files()
    assert "one/a_predicted_mask.png" not in bench.files()


def test_images_of_one_name_do_not_overwrite_each_other(bench: Bench) -> None:
    bench.put("x.png", striped())
    bench.put("x.tif", np.full((8, 8), DARK, np.uint8))
    assert bench.run().done == 2
    assert bench.mask("x.png_predicted_mask.png").shape == (40, 60)
    assert bench.mask("x.tif_predicted_mask.png").shape == (8, 8)
    assert bench.run().skipped == 2


def test_another_folder_does_not_overwrite_results(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put("x.png", striped())
    bench.run()
    other = bench.root / "other" / "x.png"
    write_image(other, np.full((8, 8), DARK, np.uint8))
    assert bench.run(other.parent).failed == 1
    assert any("already holds the results of" in message for message in caplog.messages)
    assert bench.mask("x_predicted_mask.png").shape == (40, 60)
    assert bench.run(other.parent, overwrite=True).done == 1
    assert bench.mask("x_predicted_mask.png").shape == (8, 8)


def test_an_image_that_moved_is_not_done_again(bench: Bench) -> None:
    path = bench.put("x.png", striped())
    bench.run()
    other = bench.root / "other" / "x.png"
    other.parent.mkdir()
    path.rename(other)
    assert bench.run(other.parent).skipped == 1


def test_results_are_not_taken_for_images(bench: Bench) -> None:
    bench.put("a.png", striped())
    inside = {"OUTPUT_DIR": "data/inference/input/results"}
    assert bench.run(**inside).done == 1
    assert bench.run(**inside) == Predicted(0, 1, 0, 0, bench.input / "results" / "phase_fractions.csv")
    for folder in ("data/inference/input", "data/inference"):
        with pytest.raises(SettingsError, match="choose another OUTPUT_DIR"):
            bench.run(OUTPUT_DIR=folder)


def test_the_data_bar_is_not_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    image = striped()
    image[30:] = BRIGHT
    bench.put("a.png", image)
    bench.run(DATABAR_ROWS=10, SAVE_UNCERTAINTY=True, SAVE_PROBABILITIES=True)
    mask = bench.mask("a_predicted_mask.png")
    np.testing.assert_array_equal(mask[:30], STRIPED[:30])
    assert (mask[30:] == IGNORE).all()
    assert bench.table()[0]["活性 AM_fraction"] == "0.333333"
    assert not read_image(bench.output / "a_uncertainty.png")[30:].any()
    assert not tifffile.imread(bench.output / "a_probabilities.tif")[:, 30:].any()
    assert bench.run(DATABAR_ROWS=40).failed == 1
    assert any(message.startswith(f"Failed: {bench.input / 'a.png'}: DATABAR_ROWS = 40") for message in caplog.messages)


def test_specks_go_and_holes_are_filled(bench: Bench) -> None:
    image = np.full((20, 20), DARK, np.uint8)
    image[5, 5] = BRIGHT
    image[10:12, 10] = GREY
    image[12, 10] = BRIGHT
    bench.put("a.png", image)
    bench.run()
    assert np.count_nonzero(bench.mask("a_predicted_mask.png")) == 4
    bench.run(MIN_SPECK_PIXELS=2)
    assert set(np.unique(bench.mask("a_predicted_mask.png"))) == {0, 1}
    bench.run(MIN_HOLE_PIXELS=3)
    assert np.count_nonzero(bench.mask("a_predicted_mask.png")) == 3
    bench.run(MIN_HOLE_PIXELS=4)
    assert bench.table()[0]["carbon_fraction"] == "1.0"


def test_images_unlike_the_training_images_are_flagged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    where: dict[str, Any] = {"device": torch.device("cpu"), "precision": "fp32"}
    seen = [np.full((16, 16), level, np.uint8) for level in (115, 125, 135)]
    model = thresholds(Checkpoint({}, 1, 0.5, {}, CLASSES, Normalisation("none")))
    features = [pooled_features(model, image, (0.0, 255.0), **where) for image in seen]
    save_model(bench.root / "model.pth", novelty=Novelty.fit(np.stack(features)).state())
    bench.put("like.png", np.full((16, 16), GREY, np.uint8))
    bench.put("unlike.png", np.full((16, 16), BRIGHT, np.uint8))
    assert bench.run().unlike == 1
    like, unlike = bench.table()
    assert (like["unlike_training_images"], unlike["unlike_training_images"]) == ("no", "yes")
    assert float(like["novelty"]) < 1 < float(unlike["novelty"])
    assert any(message.startswith("Unlike the training images: 1;") for message in caplog.messages)


def test_a_pixel_size_is_taken_from_the_settings_where_files_have_none(bench: Bench) -> None:
    bench.put("a.png", striped())
    bench.run(PIXEL_SIZE_NM=1000.0)
    assert (bench.table()[0]["pixel_size_nm"], bench.table()[0]["SE_area_um2"]) == ("1000.0", "800.0")


def test_one_pixel_is_an_image(bench: Bench) -> None:
    bench.put("a.png", np.full((1, 1), BRIGHT, np.uint8))
    assert bench.run().done == 1
    assert bench.mask("a_predicted_mask.png").tolist() == [[2]]


def test_no_images_are_an_error(bench: Bench) -> None:
    with pytest.raises(ImageError, match="There is no file or folder"):
        bench.run()
    bench.input.mkdir(parents=True)
    with pytest.raises(ImageError, match="There are no images in"):
        bench.run()
    for pattern in ("*.png", "*/x"):
        with pytest.raises(ImageError, match="There are no images in"):
            bench.run(bench.input / pattern)


def test_a_missing_model_and_other_classes_are_errors(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put("a.png", striped())
    with pytest.raises(CheckpointError, match="no finished model"):
        bench.run(CHECKPOINT_PATH=None)
    save_model(bench.root / "model.pth", replace(CLASSES, names=CLASSES.names[:2], colors=CLASSES.colors[:2]))
    with pytest.raises(CheckpointError, match="2 classes"):
        bench.run()
    save_model(bench.root / "model.pth", replace(CLASSES, names=("SE", "carbon", "活性 AM")))
    with pytest.raises(CheckpointError, match="in the model's order"):
        bench.run()
    save_model(bench.root / "model.pth", replace(CLASSES, names=("pores", "SE", "活性 AM")))
    assert bench.run().done == 1
    assert any("pores" in record.message for record in caplog.records if record.levelname == "WARNING")


def test_a_file_in_the_way_of_the_output_folder_is_named(bench: Bench) -> None:
    bench.put("a.png", striped())
    bench.output.write_text("", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="a file stands where a folder is needed"):
        bench.run()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_read_only_output_folder_fails_before_work_is_done(bench: Bench) -> None:
    bench.put("a.png", striped())
    bench.output.mkdir()
    bench.output.chmod(0o555)
    with pytest.raises(WorkspaceError, match="you may not write there"):
        bench.run()


def test_a_full_disk_stops_with_a_sentence_and_keeps_what_is_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        bench.put(name, striped())
    fsync, full = os.fsync, [False]

    def track(items: Iterable[Any], doing: str, *_: Any) -> Iterator[Any]:
        for number, item in enumerate(items):
            full[0] = full[0] or (number == 1 and doing == "Segmenting")
            yield item

    def fail(handle: int) -> None:
        if full[0]:
            full[0] = False
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch, pytest.raises(WorkspaceError, match="the disk is full"):
        patch.setattr(predict_task, "track", track)
        patch.setattr(os, "fsync", fail)
        bench.run(SAVE_COLORED=False, SAVE_OVERLAY=False)
    assert [row["file"] for row in bench.table()] == ["a.png"]
    assert bench.files() == ["a_predicted_mask.png", "phase_fractions.csv"]
    assert bench.run(SAVE_COLORED=False, SAVE_OVERLAY=False).skipped == 1
    assert len(bench.table()) == 3


def test_a_device_without_memory_is_told_what_to_change(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(predict_task, "rebuild_model", lambda _: Greedy())
    bench.put("a.png", striped())
    with pytest.raises(SettingsError, match="halve BATCH_SIZE"):
        bench.run()


def test_a_real_network_predicts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_segmenter("unet", "unet", 3)
    image = np.random.default_rng(0).integers(0, 4096, (70, 101), dtype=np.uint16)
    seen = pooled_features(model, image, (2000.0, 1000.0), device=torch.device("cpu"), precision="fp32")
    novelty = Novelty.fit(seen[None]).state()
    checkpoint = Checkpoint(model.state_dict(), 1, 0.5, model.spec, CLASSES, Normalisation("zscore"), novelty=novelty)
    save_checkpoint(tmp_path / "models" / "checkpoints" / "train_unet_unet" / "best_model.pth", checkpoint)
    bench = Bench(tmp_path, SETTINGS.model_copy(update={"CHECKPOINT_PATH": None}))
    bench.put("a.tif", image)
    assert bench.run(FLIP_AVERAGING=True, PRECISION="bf16").done == 1
    assert bench.mask("a_predicted_mask.png").shape == (70, 101)
    assert bench.table()[0]["unlike_training_images"] == "no"


def test_predicting_imports_no_heavy_libraries() -> None:
    code = "import sys, srpu.tasks.predict_task; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"skimage", "scipy", "sklearn", "matplotlib", "timm", "segmentation_models_pytorch", "accelerate", "pandas"}
    assert "torch" in loaded
    assert not heavy & set(loaded)


def test_a_pixel_size_is_taken_from_the_table_beside_the_images(bench: Bench) -> None:
    bench.put("a.png", striped())
    table = bench.input / "pixel_sizes.csv"
    table.write_text("name,pixel_size_nm\na.png,500\n", encoding="utf-8")
    bench.run(PIXEL_SIZE_NM=7.0)
    assert bench.table()[0]["pixel_size_nm"] == "500.0"
    assert bench.run(PIXEL_SIZE_NM=7.0).skipped == 1
    table.write_text("name,pixel_size_nm\na.png,250\n", encoding="utf-8")
    assert bench.run(PIXEL_SIZE_NM=7.0).done == 1
    assert bench.table()[0]["pixel_size_nm"] == "250.0"


def test_an_image_beyond_memory_does_not_stop_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        bench.put(name, striped())
    real = predict_task.read_image

    def read(path: Path, page: int | None = None) -> np.ndarray:
        if path.name == "a.png":
            raise MemoryError
        return real(path, page)

    monkeypatch.setattr(predict_task, "read_image", read)
    result = bench.run()
    assert (result.done, result.failed) == (1, 1)


def test_pictures_of_an_earlier_prediction_do_not_stay_beside_the_new_mask(bench: Bench) -> None:
    bench.put("a.png", striped())
    bench.run(SAVE_PROBABILITIES=True)
    assert "a_probabilities.tif" in bench.files()
    bench.run(SAVE_PROBABILITIES=False)
    assert "a_probabilities.tif" not in bench.files()
