"""Models judged on frozen images, and images that may not be asked for."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from srpu.config import load_settings
from srpu.data.draw import Rule
from srpu.data.fingerprint import Fingerprint
from srpu.data.images import pixel_hash, read_image, write_image
from srpu.data.index import Record, read_manifest
from srpu.data.masks import write_mask
from srpu.data.normalisation import Normalisation
from srpu.data.splits import Entry, Splits, read_splits, write_splits
from srpu.errors import CheckpointError, IndexingError, LeakError
from srpu.files import read_json
from srpu.learn.checkpoint import Checkpoint, save_checkpoint
from srpu.models.segmenter import build_segmenter
from srpu.settings import Settings
from srpu.tasks import judging, truth
from srpu.tasks import protected as protection
from srpu.tasks.contender import open_model
from srpu.tasks.gate import FIRST
from srpu.tasks.protected import protected
from srpu.tasks.truth import Judged, compare_judged, gain, judge
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

_COMPARE = protection._compare


@pytest.fixture
def settings(workspace: Workspace) -> Settings:
    return load_settings("active", workspace, ["DEVICE=cpu", "PRECISION=fp32"]).settings


def labelled(workspace: Workspace) -> list[Record]:
    return read_manifest(workspace.path("json/master_labeled_dataset.json"))


def model(workspace: Workspace, seed: int = 0, trained_on: dict[str, str] | None = None) -> Path:
    torch.manual_seed(seed)
    network = build_segmenter("unet", "unet", 3)
    path = workspace.path(f"models/checkpoints/active_learning_unet_unet/round_{seed}_best.pth")
    classes = class_map(load_settings("active", workspace).settings)
    known = trained_on or {}
    save_checkpoint(
        path, Checkpoint(network.state_dict(), 1, 0.5, network.spec, classes, Normalisation("zscore"), trained_on=known)
    )
    return path


def judged(workspace: Workspace, settings: Settings, path: Path, records: list[Record] | None = None) -> Judged:
    folder = workspace.path("active_learning_results/round_1")
    memory = workspace.path("active_learning/judged")
    records = labelled(workspace) if records is None else records
    return judge(path, records, settings, workspace, memory=memory, panels=folder)


def test_validation_images_alone_are_judged_and_drawn(workspace, settings):
    found = judged(workspace, settings, model(workspace))
    validation = [record for record in labelled(workspace) if record.split == "val"]
    assert [image.id for image in found.images] == [record.id for record in validation]
    assert (found.groups, found.classes, found.unjudged) == (2, ("carbon", "SE", "AM"), ())
    assert 0 <= found.mean_dice <= 1
    for image in found.images:
        assert image.group.startswith("labeled/")
        assert image.scores["mean_dice"] == pytest.approx(
            np.nanmean([image.scores[f"dice.{of}"] for of in found.classes]), abs=1e-5
        )
        assert workspace.path(image.panel).is_file()
    assert sum(found.held) == 2 * 48 * 48


def test_an_unchanged_model_is_not_judged_twice(workspace, settings, monkeypatch):
    path = model(workspace)
    first = judged(workspace, settings, path)
    monkeypatch.setattr(truth, "open_model", lambda *_: pytest.fail("judged again"))
    again = judged(workspace, settings, path)
    assert json.dumps(again.json()) == json.dumps(first.json())
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        judged(workspace, settings, model(workspace, 1))


@pytest.mark.parametrize("change", ["mask", "images", "tiles", "groups", "memory"])
def test_what_changes_the_scores_asks_for_judging_again(workspace, settings, monkeypatch, change):
    path, records = model(workspace), labelled(workspace)
    before = judged(workspace, settings, path)
    if change == "mask":
        record = next(record for record in records if record.split == "val")
        write_mask(workspace.path(record.mask), np.zeros((48, 48), np.uint8), class_map(settings))
    elif change == "images":
        records = [replace(record, split="val") for record in records]
    elif change == "tiles":
        settings = settings.model_copy(update={"TILE_SIZE": 64})
    elif change == "groups":
        records = [replace(record, group="one") for record in records]
    else:
        (kept,) = workspace.path("active_learning/judged").iterdir()
        kept.write_text("{", encoding="utf-8")
    asked: list[Path] = []
    monkeypatch.setattr(truth, "open_model", lambda path, *rest: asked.append(path) or open_model(path, *rest))
    after = judged(workspace, settings, path, records)
    assert asked == [path]
    assert (after.truth == before.truth) == (change == "memory")
    if change != "memory":
        with pytest.raises(ValueError, match="another truth"):
            compare_judged(after, before)


def test_undefined_scores_are_null_in_json_and_come_back(workspace, settings):
    record = next(record for record in labelled(workspace) if record.split == "val")
    ids = np.full((48, 48), 255, np.uint8)
    ids[:8] = 0
    write_mask(workspace.path(record.mask), ids, class_map(settings))
    found = judged(workspace, settings, model(workspace), [record])
    text = json.dumps(found.json(), allow_nan=False)
    back = Judged.from_json(json.loads(text))
    assert json.dumps(back.json()) == text
    assert math.isnan(back.images[0].paired["dice.SE"])
    assert math.isnan(back.spread()[1])
    assert (back.held, back.unjudged) == ((8 * 48, 0, 0), ("SE", "AM"))
    decision = compare_judged(back, found)
    assert decision.unjudged == ("SE", "AM")
    assert "SE or AM" in decision.remarks[0]


def test_models_are_compared_by_what_they_reach(workspace, settings):
    one, two = (judged(workspace, settings, model(workspace, seed)) for seed in (0, 1))
    assert compare_judged(one, None).verdict == FIRST
    decision = compare_judged(two, one)
    assert decision.groups == 2
    expected = np.mean(
        [a.paired["mean_dice"] - b.paired["mean_dice"] for a, b in zip(two.images, one.images, strict=True)]
    )
    assert decision.mean.difference == pytest.approx(expected)
    assert decision.promoted == (expected >= -0.03)
    assert gain(two, one).difference == pytest.approx(expected)


def test_a_model_that_was_trained_on_validation_is_refused(workspace, settings):
    sha256 = next(record.sha256 for record in labelled(workspace) if record.split == "val")
    with pytest.raises(LeakError, match="worthless"):
        judged(workspace, settings, model(workspace, trained_on={sha256: "train"}))


def test_without_validation_nothing_is_judged(workspace, settings):
    records = [record for record in labelled(workspace) if record.split == "train"]
    found = judged(workspace, settings, model(workspace), records)
    assert (found.images, found.groups, found.unjudged) == ((), 0, ("carbon", "SE", "AM"))
    assert math.isnan(found.mean_dice)
    assert math.isnan(found.spread("dice.SE")[0])
    assert json.dumps(Judged.from_json(found.json()).json()) == json.dumps(found.json())
    assert compare_judged(found, found).promoted


def test_a_missing_model_and_a_damaged_picture_are_one_sentence(workspace, settings, monkeypatch):
    with pytest.raises(CheckpointError, match="cannot be read"):
        judged(workspace, settings, workspace.path("models/none.pth"))
    path = model(workspace)
    record = next(record for record in labelled(workspace) if record.split == "val")
    write_image(workspace.path(record.image), np.zeros((48, 48), np.uint8))
    with pytest.raises(IndexingError, match="has changed since it was indexed"):
        judged(workspace, settings, path)
    assert not list(workspace.path("active_learning").glob("judged/*"))


def test_a_judging_that_breaks_off_is_not_remembered(workspace, settings, monkeypatch):
    monkeypatch.setattr(judging, "draw_panel", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judged(workspace, settings, model(workspace))
    assert not list(workspace.path("active_learning").glob("judged/*"))


# which images may not be asked for


def texture(seed: int, height: int = 160, width: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(0, 2, (height // 8, width // 8)), np.ones((8, 8)))
    return (60 + 100 * coarse + rng.normal(0, 6, coarse.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def bench(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def put(
    workspace: Workspace, id_: str, image: np.ndarray, split: str | None, *, group: str = "", dataset: str = "labeled"
) -> Record:
    path = workspace.path(f"data/{dataset}/{id_.partition('#')[0]}")
    if "#" in id_:
        path = path.with_name(f"{id_[-4:]}.tif")
    write_image(path, image)
    sha256 = pixel_hash(read_image(path))
    names = (id_, workspace.name(path), None, None, None, dataset, group or id_)
    return Record(*names, split, *image.shape, None, sha256)


def pool_of(workspace: Workspace, **images: np.ndarray) -> list[Record]:
    return [put(workspace, f"{name}.tif", image, None, dataset="raw") for name, image in images.items()]


def test_copies_and_near_duplicates_are_protected_and_strangers_are_not(bench):
    records = [put(bench, "v.tif", texture(1), "val"), put(bench, "t.tif", texture(2), "test")]
    records.append(put(bench, "l.tif", texture(3), "train"))
    again = (texture(1).astype(int) // 2 + 40).astype(np.uint8)[:, ::-1]
    pool = pool_of(bench, copy=texture(2), mirrored=again, like_training=texture(3) // 2, stranger=texture(4))
    found = protected(records, pool, Settings(), bench)
    by_id = {record.id: found.get(record.sha256) for record in pool}
    assert by_id["copy.tif"] == "copy.tif has the same pixels as the test image t.tif."
    assert by_id["mirrored.tif"].startswith("mirrored.tif shows nearly the same as the validation image v.tif")
    assert "mirrored" in by_id["mirrored.tif"].rpartition("(")[2]
    assert (by_id["like_training.tif"], by_id["stranger.tif"]) == (None, None)


def test_a_specimen_that_is_judged_on_is_protected_in_every_data_set(bench):
    records = [put(bench, "s1_a.tif", texture(1), "val", group="s1"), put(bench, "s2_a.tif", texture(2), "train")]
    pool = [
        put(bench, "s1_b.tif", texture(3), None, group="s1", dataset="raw"),
        put(bench, "s2_b.tif", texture(4), None, group="s2", dataset="raw"),
    ]
    found = protected(records, pool, Settings(), bench)
    assert found == {pool[0].sha256: "s1_b.tif belongs to s1, which is kept for validation."}


def test_pages_of_a_stack_may_be_asked_for_among_training_pages_only(bench):
    splits = {1: "train", 4: "train", 6: None, 8: "val", 10: "val"}
    records = [put(bench, f"s.tif#{page:04d}", texture(page), split, group="s.tif") for page, split in splits.items()]
    pool = [
        put(bench, f"s.tif#{page:04d}", texture(page), None, group="s.tif", dataset="raw")
        for page in (2, 3, 5, 7, 9, 11)
    ]
    entries = tuple(Entry(r.id, r.group, r.split, r.sha256) for r in records)
    write_splits(bench.path("json/splits.json"), Splits(Rule(), 1, entries))
    found = protected(records, pool, Settings(), bench)
    why = {int(record.id[-4:]): found.get(record.sha256, "") for record in pool}
    assert (why[2], why[3]) == ("", "")
    assert "in the gap" in why[5]
    for page in (7, 9, 11):
        assert "beside the validation image s.tif#00" in why[page]


def test_judged_images_that_are_gone_still_protect(pool):
    """Their hashes and groups lie in json/splits.json; what they look like, in the cache."""
    settings = load_settings("active", pool).settings
    entry = next(e for e in read_splits(pool.path("json/splits.json")).entries if e.split == "val")
    copy = put(pool, "again.tif", read_image(pool.path(f"data/raw/{entry.id}")), None, dataset="raw")
    assert copy.sha256 == entry.sha256
    kin = replace(copy, id="kin.tif", sha256="0" * 64, group=entry.group)
    rest = [record for record in labelled(pool) if record.sha256 != entry.sha256]
    found = protected(rest, [copy, kin], settings, pool)
    assert found[copy.sha256] == f"again.tif has the same pixels as the validation image {entry.id}."
    assert found[kin.sha256] == f"kin.tif belongs to {entry.group}, which is kept for validation."


def test_the_look_of_a_judged_image_is_remembered_when_it_is_gone(bench):
    records = [put(bench, "v.tif", texture(1), "val"), put(bench, "w.tif", texture(2), "val")]
    assert protected(records, pool_of(bench, stranger=texture(4)), Settings(), bench) == {}
    entries = tuple(Entry(r.id, r.group, "val", r.sha256) for r in records)
    write_splits(bench.path("json/splits.json"), Splits(Rule(), 1, entries))
    (alike,) = pool_of(bench, alike=texture(1) // 2)
    found = protected(records[1:], [alike], Settings(), bench)
    assert "validation image v.tif" in found[alike.sha256]


def test_only_new_images_are_compared(bench, monkeypatch):
    records = [put(bench, "v.tif", texture(1), "val")]
    pool = pool_of(bench, alike=texture(1) // 2, stranger=texture(4))
    first = protected(records, pool, Settings(), bench)
    read: list[str] = []
    look = protection.look
    monkeypatch.setattr(protection, "look", lambda record, *rest: read.append(record.id) or look(record, *rest))
    assert protected(records, pool, Settings(), bench) == first
    assert read == []
    more = [*pool, *pool_of(bench, further=texture(5), alike2=texture(1) // 3)]
    second = protected(records, more, Settings(), bench)
    assert sorted(read) == ["alike2.tif", "further.tif"]
    assert len(second) == 2
    grown = [*records, put(bench, "w.tif", texture(5), "val")]
    assert len(protected(grown, more, Settings(), bench)) == 3
    assert len(read) == 2 + 1 + 3


@pytest.mark.parametrize("file", ["pool.json", "judged.npz"])
def test_a_damaged_memory_is_made_anew(bench, file):
    records = [put(bench, "v.tif", texture(1), "val")]
    pool = pool_of(bench, alike=texture(1) // 2)
    first = protected(records, pool, Settings(), bench)
    bench.path(f"cache/likeness/{file}").write_bytes(b"half a fi")
    assert protected(records, pool, Settings(), bench) == first
    assert len(first) == 1


def test_an_image_that_cannot_be_read_is_not_asked_for(bench):
    records = [put(bench, "v.tif", texture(1), "val")]
    (broken,) = pool_of(bench, broken=texture(4))
    bench.path(broken.image).write_bytes(b"no picture")
    assert "cannot be read" in protected(records, [broken], Settings(), bench)[broken.sha256]


def test_a_judged_image_that_cannot_be_read_is_named(bench, caplog):
    records = [put(bench, "v.tif", texture(1), "val")]
    bench.path(records[0].image).unlink()
    assert protected(records, pool_of(bench, stranger=texture(4)), Settings(), bench) == {}
    assert "1 images to judge on cannot be read (v.tif)" in caplog.text


def test_large_pools_are_compared_in_parts(bench, monkeypatch):
    monkeypatch.setattr(protection, "AT_ONCE", 2)
    records = [put(bench, "v.tif", texture(1), "val")]
    pool = pool_of(bench, a=texture(2), b=texture(3), c=texture(4), d=texture(1) // 2, e=texture(5))
    parts: list[int] = []

    def watched(part: dict[str, Fingerprint], *rest: object, in_full: bool) -> dict[str, list[object]]:
        parts.append(len(part))
        return _COMPARE(part, *rest, in_full=in_full)

    monkeypatch.setattr(protection, "_compare", watched)
    assert list(protected(records, pool, Settings(), bench)) == [pool[3].sha256]
    assert parts == [2, 2, 1]
    assert len(read_json(bench.path("cache/likeness/pool.json"))["alike"]) == 5


def test_a_pool_too_large_for_every_pair_is_compared_exactly_before_it_is_asked_for(bench, monkeypatch):
    """The likeliest partners of each judged image come first; whoever is about to be asked for meets all of them."""
    monkeypatch.setattr(protection, "PAIRS_IN_FULL", 3)
    monkeypatch.setattr(protection, "_compare", lambda *parts, in_full: {} if not in_full else compare(*parts))
    compare = functools.partial(_COMPARE, in_full=True)
    records = [put(bench, "v.tif", texture(1), "val")]
    pool = pool_of(bench, a=texture(2), b=texture(3), c=texture(4), missed=texture(1) // 2)
    assert protected(records, pool, Settings(), bench) == {}
    assert protected(records, pool, Settings(), bench) == {}
    assert list(protected(records, pool[2:], Settings(), bench, exact=True)) == [pool[3].sha256]
    alike = read_json(bench.path("cache/likeness/pool.json"))["alike"]
    assert [alike[record.sha256] for record in pool[:3]] == [False, False, None]
    assert list(protected(records, pool, Settings(), bench)) == [pool[3].sha256]


def test_nothing_is_protected_where_nothing_is_judged(bench):
    records = [put(bench, "l.tif", texture(1), "train")]
    assert protected(records, pool_of(bench, copy=texture(1)), Settings(), bench) == {}
    assert not bench.path("cache").exists()
