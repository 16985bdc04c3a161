"""`srpu active masks`: predicted masks of any model and any images, to be corrected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor

from srpu.active.query import Query
from srpu.config import load_settings
from srpu.data.images import image_info, read_image, write_image
from srpu.data.masks import IGNORE, colour, read_mask, write_mask
from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError, ImageError, IndexingError, SettingsError
from srpu.learn.checkpoint import Checkpoint, save_checkpoint
from srpu.models.promise import Decoder, Encoder
from srpu.models.segmenter import Segmenter
from srpu.tasks import index_task
from srpu.tasks import prediction_masks_task as task
from srpu.tasks.active_material import read_material
from srpu.tasks.active_places import Places
from srpu.tasks.prediction_masks_task import PredictedMasks
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

DARK, GREY, BRIGHT = 20, 127, 230


class Levels(Encoder):
    """The image as it is."""

    in_channels, out_channels, strides = 1, (1,), (1,)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class Same(Decoder):
    """The finest map as it is."""

    out_channels, least_side = 1, 1

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


def thresholds(_: Checkpoint) -> Segmenter:
    """Dark is class 0, grey class 1, bright class 2."""
    model = Segmenter(Levels(), Same(), {"classes": 3})
    with torch.no_grad():
        model.head.weight[:, 0, 0, 0] = torch.tensor([0.0, 60.0, 120.0])
        model.head.bias[:] = torch.tensor([0.0, -20.0, -60.0])
    return model.eval()


@dataclass
class Bench:
    """A workspace whose models tell grey levels apart."""

    workspace: Workspace
    overrides: tuple[str, ...] = ("DEVICE=cpu", "PRECISION=fp32", "TILE_SIZE=64")

    @property
    def settings(self) -> Any:
        return load_settings("active", self.workspace, list(self.overrides)).settings

    @property
    def folder(self) -> Path:
        return self.workspace.path("active_learning_predictions/manual")

    def model(self, run: str = "train_resnet18_unet", epoch: int = 1) -> Path:
        path = self.workspace.path(f"models/checkpoints/{run}/best_model.pth")
        save_checkpoint(path, Checkpoint({}, epoch, 0.5, {}, class_map(self.settings), Normalisation("none")))
        return path

    def put(self, name: str, image: np.ndarray, **about: Any) -> Path:
        path = self.workspace.path(name)
        write_image(path, image, **about)
        return path

    def run(self, *sources: Path, **about: Any) -> PredictedMasks:
        return task.run(self.settings, self.workspace, sources, **about)

    def ids(self, name: str) -> np.ndarray:
        return read_mask(self.folder / f"{name}_predicted_mask.tif", class_map(self.settings)).ids


@pytest.fixture
def bench(pool: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level("INFO")
    monkeypatch.setattr(task, "rebuild_model", thresholds)
    made = Bench(pool)
    made.model()
    return made


def counts(done: PredictedMasks) -> tuple[int, int, int, int]:
    return done.written, done.before, done.kept, done.failed


def striped(height: int = 40, width: int = 60) -> np.ndarray:
    """A third each of classes 0, 1 and 2, from left to right."""
    return np.repeat(np.array([[DARK, GREY, BRIGHT]], np.uint8), width // 3, axis=1).repeat(height, axis=0)


STRIPED = np.repeat(np.repeat(np.array([[0, 1, 2]], np.uint8), 20, axis=1), 40, axis=0)


def test_without_paths_the_unlabelled_images_are_predicted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    done = bench.run()
    assert counts(done) == (12, 0, 0, 0)
    assert done.folder == bench.folder
    assert {path.name for path in bench.folder.glob("扫描 03*")} == {
        "扫描 03.tif",
        "扫描 03_predicted_mask.tif",
        "扫描 03_predicted_mask.png",
    }
    original = bench.workspace.path("data/raw/unlabelled/扫描 03.tif")
    np.testing.assert_array_equal(read_image(bench.folder / "扫描 03.tif"), read_image(original))
    assert not list(bench.folder.glob("image *"))  # those have masks
    assert f"To correct: {bench.folder}; INSTRUCTIONS.txt there tells how" in caplog.messages[-1]


def test_what_helps_to_correct_lies_beside_the_masks(bench: Bench) -> None:
    bench.overrides += ("CORRECTED_DIR=回来",)
    bench.run(bench.put("elsewhere/a.png", striped()))
    assert (bench.folder / "SRPU_labels.lut").stat().st_size == 768
    assert "a_predicted_mask" not in (bench.folder / "SRPU_correct_masks.ijm").read_text(encoding="utf-8")
    assert (bench.folder / "corrected").is_dir()
    text = (bench.folder / "INSTRUCTIONS.txt").read_text(encoding="utf-8")
    assert text.startswith("1 mask to correct\n")
    assert "\n1 个待修改的掩膜\n" in text
    assert "Round 0" not in text
    assert "第 0 轮" not in text
    assert text.count("回来") == 2
    assert text.count("srpu active take-in\n") == 2
    for other in ("--unchanged", "srpu active skip"):  # only rounds wait for answers
        assert other not in text
    for kept in ("With another program: ", "使用其他软件：", "Key s saves", "按 s：保存"):
        assert text.count(kept) == 1


def test_masks_hold_ids_and_pictures_colours(bench: Bench) -> None:
    assert counts(bench.run(bench.put("elsewhere/a.png", striped()))) == (1, 0, 0, 0)
    np.testing.assert_array_equal(bench.ids("a"), STRIPED)
    with Image.open(bench.folder / "a_predicted_mask.png") as picture:
        np.testing.assert_array_equal(np.array(picture.convert("RGB")), colour(STRIPED, class_map(bench.settings)))
    with tifffile.TiffFile(bench.folder / "a_predicted_mask.tif") as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), STRIPED)  # class ids, which ImageJ shows in colours
        assert page.colormap[:, 1].tolist() == [0, 255 * 257, 255 * 257]


def test_depth_pixel_size_and_data_bar_are_kept(bench: Bench) -> None:
    bench.overrides += ("DATABAR_ROWS=10", "PREDICTION_MASK_CONFIG.save_colored_masks=False")
    deep = striped().astype(np.uint16) * 257 + 1
    bench.run(bench.put("elsewhere/deep.tif", deep, pixel_size_nm=12.5))
    np.testing.assert_array_equal(read_image(bench.folder / "deep.tif"), deep)
    assert image_info(bench.folder / "deep.tif").pixel_size_nm == pytest.approx(12.5)
    ids = bench.ids("deep")
    np.testing.assert_array_equal(ids[:30], STRIPED[:30])
    assert (ids[30:] == IGNORE).all()
    assert not (bench.folder / "deep_predicted_mask.png").exists()


def test_what_is_done_is_not_done_twice_and_what_is_edited_stays(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    images = [bench.put(f"elsewhere/{name}.png", striped()) for name in "abc"]
    bench.run(*images)
    assert counts(bench.run(*images)) == (0, 3, 0, 0)
    edited = np.zeros_like(STRIPED)
    write_mask(bench.folder / "b_predicted_mask.tif", edited, class_map(bench.settings))
    (bench.folder / "c_predicted_mask.png").unlink()
    assert counts(bench.run(*images)) == (1, 1, 1, 0)
    np.testing.assert_array_equal(bench.ids("b"), edited)
    assert "Left as they are: b_predicted_mask.tif; --overwrite predicts them anew." in caplog.messages
    assert counts(bench.run(*images, overwrite=True)) == (3, 0, 0, 0)
    np.testing.assert_array_equal(bench.ids("b"), STRIPED)


def test_a_mask_that_nobody_remembers_is_kept(bench: Bench) -> None:
    image = bench.put("elsewhere/a.png", striped())
    write_mask(bench.folder / "a_predicted_mask.tif", np.zeros_like(STRIPED), class_map(bench.settings))
    assert counts(bench.run(image)) == (0, 0, 1, 0)
    assert not bench.ids("a").any()


def test_another_model_or_image_is_predicted_anew(bench: Bench) -> None:
    image = bench.put("elsewhere/a.png", striped())
    bench.run(image)
    bench.model(epoch=2)
    assert counts(bench.run(image)) == (1, 0, 0, 0)
    bench.put("elsewhere/a.png", striped()[:, ::-1])
    assert counts(bench.run(image)) == (1, 0, 0, 0)
    np.testing.assert_array_equal(bench.ids("a"), STRIPED[:, ::-1])


def test_the_promoted_model_goes_before_the_newest_and_the_named_before_both(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    image = bench.put("elsewhere/a.png", striped())

    def used(**about: Any) -> str:
        caplog.clear()
        bench.run(image, **about)
        return next(message for message in caplog.messages if message.startswith("Predicting masks of 1 image"))

    newest = bench.workspace.path("models/checkpoints/train_resnet18_unet/best_model.pth")
    assert used().endswith(f"{newest}.")
    promoted = bench.model("active_learning_resnet18_unet")
    bench.model("train_unet_unet")
    assert used().endswith(f"{promoted}.")
    assert used(checkpoint=Path("models/checkpoints/train_resnet18_unet/best_model.pth")).endswith(f"{newest}.")
    assert used(checkpoint=newest).endswith(f"{newest}.")


def test_without_a_model_nothing_is_done(bench: Bench) -> None:
    bench.model().unlink()
    with pytest.raises(CheckpointError, match=r"There is no finished model .*run `srpu train` first"):
        bench.run()
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        bench.run(checkpoint=Path("none.pth"))
    assert not bench.folder.exists()


def test_a_file_that_cannot_be_read_does_not_stop_the_others(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    folder = bench.put("elsewhere/a.png", striped()).parent
    (folder / "broken.tif").write_bytes(b"no picture")
    write_image(folder / "mask.png", np.dstack([striped(), striped().T[:40, :1].repeat(60, 1), striped()]))
    assert counts(bench.run(folder)) == (1, 0, 0, 2)
    failed = [message for message in caplog.messages if message.startswith("Failed: ")]
    assert len(failed) == 2
    assert str(folder / "broken.tif") in failed[0]
    assert "mask.png is a colour picture" in failed[1]


def test_each_page_of_a_stack_has_its_own_mask(bench: Bench) -> None:
    path = bench.put("elsewhere/a.png", striped()).parent / "film.tif"
    tifffile.imwrite(path, np.stack([striped(), striped()[:, ::-1]]), photometric="minisblack")
    assert counts(bench.run(path)) == (2, 0, 0, 0)
    np.testing.assert_array_equal(bench.ids("elsewhere__film__p0001"), STRIPED)
    np.testing.assert_array_equal(bench.ids("elsewhere__film__p0002"), STRIPED[:, ::-1])
    np.testing.assert_array_equal(read_image(bench.folder / "elsewhere__film__p0002.tif"), striped()[:, ::-1])


def test_an_image_of_the_index_has_one_name_however_it_is_found(bench: Bench) -> None:
    film = bench.put("data/raw/批 1/a.png", striped()).parent / "film.tif"
    tifffile.imwrite(film, np.stack([striped(), striped()[:, ::-1]]), photometric="minisblack")
    bench.put("data/raw/批 2/a.png", striped())
    index_task.run(load_settings("index", bench.workspace).settings, bench.workspace)
    assert counts(bench.run()) == (16, 0, 0, 0)
    for named in (film, film.parent / "a.png", bench.workspace.path("data/raw/批 2"), Path("data/raw/unlabelled")):
        done = bench.run(named)
        assert (done.written, done.failed) == (0, 0)
    records = read_material(Places(bench.settings, bench.workspace)).unlabelled
    pages = {Query(record.sha256, record.id).name for record in records if record.page is not None}
    assert pages == {"批 1__film__p0001", "批 1__film__p0002"}
    assert all((bench.folder / task.mask_name(name)).exists() for name in [*pages, "批 1__a", "批 2__a", "扫描 00"])


def test_images_of_one_name_in_two_folders_are_told_apart(bench: Bench) -> None:
    first = bench.put("elsewhere/批次 1/x.png", striped())
    second = bench.put("elsewhere/批次 2/X.png", striped()[:, ::-1])
    assert counts(bench.run(first.parent.parent)) == (2, 0, 0, 0)
    np.testing.assert_array_equal(bench.ids("elsewhere__批次 1__x"), STRIPED)
    np.testing.assert_array_equal(bench.ids("elsewhere__批次 2__X"), STRIPED[:, ::-1])
    assert counts(bench.run(first, second.parent)) == (2, 0, 0, 0)
    np.testing.assert_array_equal(bench.ids("批次 2__X"), STRIPED[:, ::-1])


def test_images_of_one_name_in_one_folder_keep_their_suffix(bench: Bench) -> None:
    folder = bench.put("elsewhere/x.png", striped()).parent
    bench.put("elsewhere/x.tif", striped()[:, ::-1])
    assert counts(bench.run(folder)) == (2, 0, 0, 0)
    np.testing.assert_array_equal(bench.ids("elsewhere__x.tif"), STRIPED[:, ::-1])


def test_one_image_never_takes_the_name_of_another(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    first = bench.put("elsewhere/1/x.png", striped())
    second = bench.put("elsewhere/2/x.png", striped()[:, ::-1])
    bench.run(first)
    assert counts(bench.run(second)) == (0, 0, 0, 1)
    assert f"x_predicted_mask.tif is of {first}; choose another --output" in caplog.text
    np.testing.assert_array_equal(bench.ids("x"), STRIPED)
    other = bench.workspace.path("other folder")
    assert counts(bench.run(second, output=other)) == (1, 0, 0, 0)
    assert (other / "x_predicted_mask.tif").is_file()
    first.rename(first.with_name("gone.png"))
    assert counts(bench.run(second)) == (1, 0, 0, 0)  # the image of the mask is no more


def test_an_image_that_is_named_twice_is_one(bench: Bench) -> None:
    path = bench.put("elsewhere/a.png", striped())
    assert counts(bench.run(path, path.parent, Path("elsewhere"), path.parent / "*.png")) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("nowhere/a.tif", ImageError, "There is no file or folder .*; correct the path"),
        ("json", ImageError, "There are no images in "),
        ("active_learning_predictions/manual", SettingsError, "where the masks go: .*choose another --output"),
    ],
)
def test_paths_that_lead_to_no_images(bench: Bench, source: str, error: type[Exception], says: str) -> None:
    bench.folder.mkdir(parents=True)
    with pytest.raises(error, match=says):
        bench.run(Path(source))


def test_without_unlabelled_images_a_path_is_asked_for(workspace: Workspace, bare: Workspace) -> None:
    done = Bench(workspace)
    done.model()
    with pytest.raises(ImageError, match="has a mask already; name the images to predict, `srpu active masks PATH`"):
        done.run()
    empty = Bench(bare)
    empty.model()
    with pytest.raises(IndexingError, match="put images into data/raw"):
        empty.run()
