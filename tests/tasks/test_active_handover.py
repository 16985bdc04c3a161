"""What a round asks for is written for people, whatever happens in between."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from srpu.active.entries import AskedQuery, Promotion
from srpu.active.labels import Ids
from srpu.active.query import Query, Window
from srpu.active.store import Store
from srpu.config import load_settings
from srpu.data.images import read_image, write_image
from srpu.data.index import Record
from srpu.data.masks import read_mask, write_mask
from srpu.data.normalisation import Normalisation
from srpu.files import read_json
from srpu.learn.checkpoint import Checkpoint, save_checkpoint
from srpu.models.segmenter import build_segmenter
from srpu.tasks import active_handover
from srpu.tasks.active_handover import hand_over
from srpu.tasks.active_material import Material, read_material
from srpu.tasks.active_places import Places
from srpu.tasks.pool_models import read_member
from srpu.tasks.pool_scores import look_at
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

from .conftest import blobs

NAME = "unlabelled__扫描 00"
WINDOW = Window(8, 16, 16, 24)


class Site:
    """A round that has chosen, and a model that finds class 1 everywhere."""

    def __init__(self, workspace: Workspace, store: Store, *changes: str) -> None:
        self.places = Places(load_settings("active", workspace, list(changes)).settings, workspace)
        self.store, self.material = store, read_material(self.places)
        self.records = {record.id: record for record in self.material.images.values()}
        self.classes = class_map(self.places.settings)

    def ask(self, *numbers: int, window: Window | None = None, round_: int = 1) -> list[AskedQuery]:
        self.store.begin_round(round_, pool=12, histogram=[3, 9])
        ids = [f"unlabelled/扫描 {number:02d}.tif" for number in numbers]
        facts = {"score": 0.5, "scores": {"entropy": 0.75}, "reason": "unsure 不确定"}
        return self.store.ask(round_, [(Query(self.records[id_].sha256, id_, window), facts) for id_ in ids])

    def promote(self) -> None:
        self.store.promote(1, "model.pth", "m" * 64)

    def hand_over(self, asked: list[AskedQuery], round_: int = 1, material: Material | None = None) -> None:
        hand_over(self.places, self.store, material or self.material, round_, asked)

    def mask(self, name: str = NAME, round_: int = 1) -> Ids:
        return read_mask(self.places.handed(round_) / f"{name}_predicted_mask.tif", self.classes).ids


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for models: class 1 everywhere, more and more unsure to the right; gives what was looked at."""
    seen: list[str] = []

    def looker(places: Places, model: Promotion | None) -> active_handover.Looker | None:
        def look(record: Record, taken: Ids | None) -> SimpleNamespace:
            seen.append(record.id)
            ids = np.ones((record.height, record.width), np.uint8)
            return SimpleNamespace(ids=ids, uncertainty=np.tile(np.linspace(0, 1, record.width), (record.height, 1)))

        return None if model is None else look  # type: ignore[return-value]

    monkeypatch.setattr(active_handover, "looker", looker)
    return seen


@pytest.fixture
def store(pool: Workspace) -> Iterator[Store]:
    with Store.open(pool.path("active_learning")) as opened:
        yield opened


def test_images_and_predictions(pool: Workspace, store: Store, looks: list[str]) -> None:
    """Each query has its image, its predicted mask in ids and colours, and a picture of uncertainty."""
    site = Site(pool, store)
    site.promote()
    site.hand_over(site.ask(0, 3))
    folder, results = site.places.handed(1), site.places.results(1)
    np.testing.assert_array_equal(read_image(folder / f"{NAME}.tif"), blobs(100)[0])
    np.testing.assert_array_equal(read_image(folder / "unlabelled__扫描 03.tif"), blobs(103)[0])
    assert set(site.mask().flat) == {1}
    assert set(read_mask(folder / f"{NAME}_predicted_mask.png", site.classes).ids.flat) == {1}
    assert set(np.array(Image.open(results / f"{NAME}_predicted.png")).flat) == {1}
    shades = np.array(Image.open(results / f"{NAME}_uncertainty.png"))[0]
    assert (shades[0].tolist(), shades[-1].tolist(), len(shades)) == ([0, 0, 0], [255, 255, 255], 48)
    assert looks == ["unlabelled/扫描 00.tif", "unlabelled/扫描 03.tif"]
    info = read_json(folder / "selection_info.json")
    assert (info["round"], info["model"]) == (1, "m" * 64)
    assert [(one["rank"], one["name"], one["score"]) for one in info["queries"]] == [
        (1, NAME, 0.5),
        (2, "unlabelled__扫描 03", 0.5),
    ]
    for name in ("SRPU_labels.lut", "SRPU_correct_masks.ijm", "INSTRUCTIONS.txt", "corrected"):
        assert (folder / name).exists()


def test_summary_tells_why(pool: Workspace, store: Store, looks: list[str]) -> None:
    """Every strategy's score, the reason, and the pool's histogram."""
    site = Site(pool, store)
    site.promote()
    site.hand_over(site.ask(0))
    summary = read_json(site.places.results(1) / "selection_summary.json")
    assert (summary["pool"], summary["histogram"]) == (12, [3, 9])
    assert summary["queries"] == [
        {
            "rank": 1,
            "name": NAME,
            "id": "unlabelled/扫描 00.tif",
            "window": None,
            "score": 0.5,
            "scores": {"entropy": 0.75},
            "reason": "unsure 不确定",
        }
    ]


@pytest.mark.parametrize("round_", [0, 1])
def test_without_a_model_masks_are_empty(pool: Workspace, store: Store, looks: list[str], round_: int) -> None:
    """A cold start hands out masks in which nothing is labelled, and no uncertainty."""
    site = Site(pool, store)
    if round_ == 0:
        site.promote()  # of a time before; the cold start asks without it
    site.hand_over(site.ask(0, round_=round_), round_)
    assert set(site.mask(round_=round_).flat) == {255}
    assert not list(site.places.results(round_).glob("*_uncertainty.png"))
    assert looks == []
    assert read_json(site.places.handed(round_) / "selection_info.json")["model"] is None


def test_windows(pool: Workspace, store: Store, looks: list[str]) -> None:
    """A region comes with context, which is not labelled."""
    site = Site(pool, store, 'QUERY="region"', "REGION_CONTEXT=4")
    site.promote()
    site.hand_over(site.ask(0, window=WINDOW))
    name = f"{NAME}__r00008_c00016_16x24"
    np.testing.assert_array_equal(read_image(site.places.handed(1) / f"{name}.tif"), blobs(100)[0][4:28, 12:44])
    expected = np.full((24, 32), 255)
    expected[4:20, 4:28] = 1
    np.testing.assert_array_equal(site.mask(name), expected)
    assert np.array(Image.open(site.places.results(1) / f"{name}_uncertainty.png")).shape == (24, 32, 3)
    (entry,) = read_json(site.places.handed(1) / "selection_info.json")["queries"]
    assert (entry["window"], entry["cut"]) == ([8, 16, 16, 24], [4, 12, 24, 32])


def test_labels_and_data_bar(pool: Workspace, store: Store, looks: list[str]) -> None:
    """What is labelled is shown as it is, an unreviewed prediction is not, and the data bar stays open."""
    site = Site(pool, store, "DATABAR_ROWS=8")
    site.promote()
    asked = site.ask(0, 1)
    labelled = np.full((48, 48), 255, np.uint8)
    labelled[:10] = 2
    store.accept(asked[0].query.image, labelled, state="drawn", who="me")
    store.accept(asked[1].query.image, labelled, state="not reviewed", who="me")
    site.hand_over(asked)
    expected = np.full((48, 48), 255)
    expected[:40] = 1
    np.testing.assert_array_equal(site.mask("unlabelled__扫描 01"), expected)
    expected[:10] = 2
    np.testing.assert_array_equal(site.mask(), expected)


@pytest.mark.parametrize(
    ("name", "labelled", "colored"), [("generate_prediction_masks", 255, True), ("save_colored_masks", 1, False)]
)
def test_switches(pool: Workspace, store: Store, looks: list[str], name: str, labelled: int, colored: bool) -> None:
    """PREDICTION_MASK_CONFIG leaves out the prediction or the colours."""
    site = Site(pool, store, f'PREDICTION_MASK_CONFIG={{"{name}": False}}')
    site.promote()
    site.hand_over(site.ask(0))
    assert set(site.mask().flat) == {labelled}
    assert (site.places.handed(1) / f"{NAME}_predicted_mask.png").exists() == colored
    assert (site.places.results(1) / f"{NAME}_uncertainty.png").exists()


def test_twice(pool: Workspace, store: Store, looks: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Done again after a crash, missing files come back and edited masks stay."""
    site = Site(pool, store)
    site.promote()
    asked = site.ask(0, 1)
    site.hand_over(asked)
    painted = site.mask()
    painted[5] = 2
    write_mask(site.places.handed(1) / f"{NAME}_predicted_mask.tif", painted, site.classes)
    (site.places.handed(1) / "unlabelled__扫描 01_predicted_mask.tif").unlink()
    with caplog.at_level(logging.INFO):
        site.hand_over(asked)
    np.testing.assert_array_equal(site.mask(), painted)
    assert set(site.mask("unlabelled__扫描 01").flat) == {1}
    assert f"because somebody has edited them: {NAME}" in caplog.text
    assert set(np.array(Image.open(site.places.results(1) / f"{NAME}_predicted.png")).flat) == {1}


def test_unreadable_image_is_named(
    pool: Workspace, store: Store, looks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The others are written."""
    site = Site(pool, store)
    site.promote()
    asked = site.ask(0, 1, 2)
    pool.path("data/raw/unlabelled/扫描 00.tif").write_bytes(b"no image")
    write_image(pool.path("data/raw/unlabelled/扫描 01.tif"), blobs(7)[0])
    site.hand_over(asked)
    for number in (0, 1):
        assert f"unlabelled/扫描 {number:02d}.tif is asked for, and not written: " in caplog.text
    names = [one["name"] for one in read_json(site.places.handed(1) / "selection_info.json")["queries"]]
    assert names == ["unlabelled__扫描 02"]


def test_image_that_left_the_index(
    pool: Workspace, store: Store, looks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, with what to do."""
    site = Site(pool, store)
    asked = site.ask(0, 1)
    left = [record for record in site.material.unlabelled if record.id != "unlabelled/扫描 00.tif"]
    site.hand_over(asked, material=Material(site.material.labelled, left))
    assert "扫描 00.tif is asked for, and not written: it is not in the index any more" in caplog.text
    assert set(site.mask("unlabelled__扫描 01").flat) == {255}


def test_real_model(pool: Workspace, store: Store) -> None:
    """A trained file is asked, and its answer is what is written."""
    site = Site(pool, store, 'DEVICE="cpu"')
    network = build_segmenter("unet", "unet", 3)
    known = Checkpoint(network.state_dict(), 1, 0.5, network.spec, site.classes, Normalisation("zscore"))
    save_checkpoint(pool.path("model.pth"), known)
    site.promote()
    asked = site.ask(0)
    site.hand_over(asked)
    member = read_member(pool.path("model.pth"), site.places.settings)
    look = look_at(site.records[asked[0].query.id], [member], site.places.settings, pool)
    np.testing.assert_array_equal(site.mask(), look.ids)
