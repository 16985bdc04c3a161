"""Scores of a pool: numbers by hand, what counts, what is remembered, and windows."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from srpu.active.query import Window
from srpu.active.store import Store
from srpu.config import load_settings
from srpu.data.classes import IGNORE
from srpu.data.images import read_image, write_image
from srpu.data.index import Record, read_manifest
from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError, ImageError, SettingsError
from srpu.learn.calibrate import temper
from srpu.learn.checkpoint import Checkpoint, save_checkpoint
from srpu.learn.novelty import pooled_features
from srpu.models.promise import Decoder, Encoder
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.tasks import index_task, pool_images
from srpu.tasks.pool_maps import tempered
from srpu.tasks.pool_models import Member, read_member, untrained_member
from srpu.tasks.pool_scores import Scored, chosen_ways, features_of, look_at, score_pool
from srpu.tasks.truth import model_hash
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

CPU = torch.device("cpu")
DARK = {"entropy": 1.5 * math.log(2) / math.log(3), "confidence": 0.75, "margin": 0.75}
"""What the plain model's 0.25, 0.5, 0.25 at dark pixels mean; at bright ones it is certain of class 2."""


class Through(Encoder):
    """Gives the image itself."""

    in_channels, out_channels, strides = 1, (1,), (1,)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class First(Decoder):
    """Gives the finest map."""

    out_channels = 1

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[0]


def plain(hash_: str = "plain", temperature: float = 1.0, *, dark: tuple[float, ...] = (0.25, 0.5, 0.25)) -> Member:
    """A model that looks at each pixel alone: at level 0 it says ``dark``, at level 255 class 2."""
    model = Segmenter(Through(), First(), {"classes": 3})
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([0.0, 0.0, 60.0]).reshape(3, 1, 1, 1))
        assert model.head.bias is not None
        model.head.bias.copy_(torch.tensor(dark).log())
    return Member(model.eval(), Normalisation("window", (0.0, 255.0)), temperature, hash_, CPU, "fp32")


def made(root: Path, images: dict[str, np.ndarray]) -> tuple[Workspace, list[Record]]:
    """A workspace with these images, none of them labelled."""
    from srpu.manual import write_configs

    workspace = Workspace(root / "工作 区")
    write_configs(workspace.configs)
    for name, image in images.items():
        write_image(workspace.path(f"data/raw/{name}.tif"), image)
    index_task.run(load_settings("index", workspace).settings, workspace)
    return workspace, read_manifest(workspace.path("json/master_unlabeled_dataset.json"))


def settings_of(workspace: Workspace, *changes: str) -> Any:
    return load_settings("active", workspace, ["DEVICE=cpu", "PRECISION=fp32", *changes]).settings


def ways(**weights: float) -> str:
    return "UNCERTAINTY_STRATEGIES=" + repr(
        {name: {"enabled": True, "weight": weight} for name, weight in weights.items()}
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def half_dark(share: float, size: int = 40) -> np.ndarray:
    """The first columns are dark, the others bright."""
    image = np.full((size, size), 255, np.uint8)
    image[:, : round(share * size)] = 0
    return image


def same(one: Scored, other: Scored) -> bool:
    return (
        (one.query, one.scores) == (other.query, other.scores)
        and np.array_equal(one.shares, other.shares)
        and np.array_equal(one.features, other.features)
    )


class Counting(Segmenter):
    """A model that counts how many tiles it is asked about."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__(model.encoder, model.decoder, model.spec)
        self.head = model.head
        self.asked = 0

    def encode(self, images: Tensor) -> list[Tensor]:
        self.asked += len(images)
        return super().encode(images)


def counted(member: Member) -> tuple[Member, Counting]:
    counting = Counting(member.model).eval()
    return replace(member, model=counting), counting


def test_scores_and_shares_by_hand(tmp_path, store):
    workspace, pool = made(tmp_path, {"b": half_dark(0.25), "a": half_dark(0.5)})
    found = list(score_pool([plain()], pool[::-1], settings_of(workspace), workspace, store))
    assert [one.query.id for one in found] == ["a.tif", "b.tif"]
    for one, share in zip(found, (0.5, 0.25), strict=True):
        assert one.query.window is None
        assert one.scores == pytest.approx({name: share * value for name, value in DARK.items()}, abs=1e-6)
        np.testing.assert_allclose(one.shares, [0, share, 1 - share], atol=1e-6)
        assert one.features.dtype == np.float16
        assert np.linalg.norm(one.features.astype(float)) == pytest.approx(1, abs=1e-3)
    # mean and deviation of the image itself, of which half is 1: 0.5 and 0.5, as a vector of length 1
    np.testing.assert_allclose(found[0].features.astype(float), [0.5**0.5, 0.5**0.5], atol=1e-3)


def test_tiles_give_the_scores_of_the_whole_image(tmp_path, store):
    random = np.random.default_rng(0).integers(0, 2, (300, 210)).astype(np.uint8) * 255
    workspace, pool = made(tmp_path, {"a": random})
    whole = next(score_pool([plain()], pool, settings_of(workspace), workspace, store))
    tiled = next(score_pool([plain()], pool, settings_of(workspace, "TILE_SIZE=64"), workspace, store))
    assert tiled.scores == pytest.approx(whole.scores, abs=1e-5)
    assert whole.scores["margin"] == pytest.approx(0.75 * float((random == 0).mean()), abs=1e-5)
    np.testing.assert_allclose(tiled.shares, whole.shares, atol=1e-6)


def test_the_temperature_of_the_model_counts(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(1.0)})
    found = next(score_pool([plain(temperature=0.5)], pool, settings_of(workspace), workspace, store))
    # 0.25, 0.5, 0.25 squared and summing to 1: 1/6, 2/3, 1/6
    assert found.scores["margin"] == pytest.approx(0.5, abs=1e-6)
    assert found.scores["confidence"] == pytest.approx(0.5, abs=1e-6)


def test_the_tensor_way_to_temper_is_the_numpy_way():
    probabilities = np.random.default_rng(0).dirichlet([0.1, 1, 3], (7, 5)).transpose(2, 0, 1).astype(np.float32)
    for temperature in (0.6, 1.0, 2.5):
        ours = tempered(torch.from_numpy(probabilities.copy()), temperature).numpy()
        np.testing.assert_allclose(ours, temper(probabilities, temperature), atol=1e-6)


def test_the_data_bar_never_counts(tmp_path, store):
    image = half_dark(0.25)
    barred = np.vstack([image, np.zeros((10, 40), np.uint8)])
    workspace, pool = made(tmp_path, {"a": image, "barred": barred})
    member = replace(plain(), normalisation=Normalisation("zscore"))
    settings = settings_of(workspace)
    without = next(score_pool([member], [pool[0]], settings, workspace, store))
    settings = settings_of(workspace, "DATABAR_ROWS=10")
    found = next(score_pool([member], [pool[1]], settings, workspace, store))
    assert found.scores == without.scores
    assert np.array_equal(found.shares, without.shares)
    assert np.array_equal(found.features, without.features)
    look = look_at(pool[1], [member], settings, workspace)
    assert (look.ids[40:] == IGNORE).all() and (look.uncertainty[40:] == 0).all()
    assert (look.ids[:40] != IGNORE).all()


def test_what_is_taken_never_counts(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5)})
    settings, sha256 = settings_of(workspace), pool[0].sha256
    taken = np.full((40, 40), IGNORE, np.uint8)
    taken[:, 10:20] = 0  # half of the dark pixels
    found = next(score_pool([plain()], pool, settings, workspace, store, {sha256: taken}))
    assert found.scores["margin"] == pytest.approx(0.75 / 3, abs=1e-6)
    np.testing.assert_allclose(found.shares, [0, 1 / 3, 2 / 3], atol=1e-6)
    taken[:] = 1
    assert list(score_pool([plain()], pool, settings, workspace, store, {sha256: taken})) == []
    all_free = next(score_pool([plain()], pool, settings, workspace, store))
    assert all_free.scores["margin"] == pytest.approx(0.75 / 2, abs=1e-6)


def test_work_that_was_broken_off_goes_on_and_gives_the_same(tmp_path, store):
    workspace, pool = made(tmp_path, {f"{n}": half_dark(n / 10) for n in range(1, 8)})
    settings = settings_of(workspace)
    with Store.open(tmp_path / "other") as other:
        straight = list(score_pool([plain()], pool, settings, workspace, other))
    member, counting = counted(plain())
    begun = score_pool([member], pool, settings, workspace, store)
    for _ in range(3):
        next(begun)
    begun.close()
    assert counting.asked == 3
    resumed = list(score_pool([member], pool, settings, workspace, store))
    assert counting.asked == 7
    again = list(score_pool([member], pool, settings, workspace, store))
    assert counting.asked == 7
    assert len(straight) == len(resumed) == len(again) == 7
    for one, second, third in zip(straight, resumed, again, strict=True):
        assert same(one, second) and same(one, third)


def test_a_killed_process_has_kept_what_it_found(tmp_path, store, monkeypatch):
    """Nothing is closed here, as nothing is when a process is killed."""
    workspace, pool = made(tmp_path, {f"{n}": half_dark(n / 10) for n in range(1, 6)})
    settings = settings_of(workspace)
    monkeypatch.setattr(pool_images, "SECONDS", 0)
    member, counting = counted(plain())
    killed = score_pool([member], pool, settings, workspace, store)
    before = [next(killed) for _ in range(3)]
    resumed = list(score_pool([member], pool, settings, workspace, store))
    assert (len(resumed), counting.asked) == (5, 5)
    assert all(same(one, other) for one, other in zip(before, resumed, strict=False))


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ("TILE_SIZE=96", True),
        ("DATABAR_ROWS=3", True),
        (ways(margin=1), True),
        ("QUERY=region", True),
        (ways(entropy=1, confidence=1, margin=5), False),
        ("SCORING_BATCH_SIZE=4", False),
        ("EXPLORATION=0.5", False),
    ],
)
def test_only_settings_that_change_numbers_make_work(tmp_path, store, change, anew):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5)})
    member, counting = counted(plain())
    list(score_pool([member], pool, settings_of(workspace), workspace, store))
    before = counting.asked
    list(score_pool([member], pool, settings_of(workspace, change), workspace, store))
    assert (counting.asked > before) == anew


def test_another_model_and_another_label_make_work(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5), "b": half_dark(0.25)})
    settings = settings_of(workspace)
    member, counting = counted(plain())
    list(score_pool([member], pool, settings, workspace, store))
    taken = np.full((40, 40), IGNORE, np.uint8)
    taken[:5] = 1
    found = list(score_pool([member], pool, settings, workspace, store, {pool[0].sha256: taken}))
    assert (len(found), counting.asked) == (2, 3)
    list(score_pool([replace(member, hash="another")], pool, settings, workspace, store))
    assert counting.asked == 5


def test_unreadable_images_are_named_at_the_end_and_left_out(tmp_path, store, caplog):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5), "b": half_dark(0.25), "c": half_dark(0.75)})
    workspace.path("data/raw/a.tif").write_bytes(b"no image")
    workspace.path("data/raw/c.tif").unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = list(score_pool([plain()], pool, settings_of(workspace), workspace, store))
    assert [one.query.id for one in found] == ["b.tif"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "2 of 3" in said[0] and "a.tif" in said[1] and "c.tif" in said[2]
    workspace.path("data/raw/b.tif").unlink()
    with pytest.raises(ImageError, match="None of 3 images"), Store.open(tmp_path / "new") as new:
        list(score_pool([plain()], pool, settings_of(workspace), workspace, new))


def test_an_own_strategy_counts_and_a_changed_one_is_computed_anew(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5)})
    path = workspace.path("utils/uncertainty_util.py")
    path.parent.mkdir(exist_ok=True)
    path.write_text("def third(p):\n    return p[:, 2]\n", encoding="utf-8")
    settings = settings_of(workspace, ways(third=1, margin=1))
    found = next(score_pool([plain()], pool, settings, workspace, store))
    assert found.scores == pytest.approx({"third": 0.625, "margin": 0.375}, abs=1e-6)  # half of 0.25 and of 1
    path.write_text("def third(p):\n    return p[:, 2] / 5\n", encoding="utf-8")
    found = next(score_pool([plain()], pool, settings, workspace, store))
    assert found.scores["third"] == pytest.approx(0.125, abs=1e-6)


def test_a_strategy_that_does_not_exist_is_named(tmp_path, store):
    workspace, _ = made(tmp_path, {"a": half_dark(0.5)})
    with pytest.raises(
        SettingsError, match="there is no bald; there are boundary, confidence, ensemble, entropy, margin"
    ):
        chosen_ways(settings_of(workspace, ways(bald=1)), workspace)
    assert sorted(chosen_ways(settings_of(workspace), workspace)) == ["confidence", "entropy", "margin"]
    assert list(chosen_ways(settings_of(workspace, ways(margin=1, entropy=0, ensemble=1)), workspace)) == ["margin"]


def test_windows_are_the_most_uncertain_ones_and_do_not_overlap(tmp_path, store):
    image = np.full((64, 96), 255, np.uint8)
    image[32:64, 48:80] = 0
    workspace, pool = made(tmp_path, {"a": image})
    settings = settings_of(workspace, "QUERY=region", "REGION_SIZE=32")
    found = list(score_pool([plain()], pool, settings, workspace, store))
    assert found[0].query.window == Window(32, 48, 32, 32)
    assert found[0].scores == pytest.approx(DARK, abs=1e-6)
    np.testing.assert_allclose(found[0].shares, [0, 1, 0], atol=1e-6)
    seen = np.zeros(image.shape, int)
    for one in found:
        seen[one.query.window.slices] += 1
    assert seen.max() == 1
    again = list(score_pool([plain()], pool, settings, workspace, store))
    assert all(same(one, other) for one, other in zip(found, again, strict=True))


def test_windows_do_not_overlap_what_is_taken(tmp_path, store):
    image = np.full((64, 96), 255, np.uint8)
    image[32:64, 48:80] = 0
    workspace, pool = made(tmp_path, {"a": image})
    settings = settings_of(workspace, "QUERY=region", "REGION_SIZE=32")
    taken = np.full(image.shape, IGNORE, np.uint8)
    taken[32:64, 48:80] = 0
    found = list(score_pool([plain()], pool, settings, workspace, store, {pool[0].sha256: taken}))
    assert len(found) >= 3
    for one in found:
        assert (taken[one.query.window.slices] == IGNORE).all()
        assert one.scores["margin"] == pytest.approx(0, abs=1e-6)


def test_scores_of_a_window_are_those_of_the_image_that_it_is(tmp_path, store):
    random = np.random.default_rng(3).integers(0, 2, (70, 90)).astype(np.uint8) * 255
    workspace, pool = made(tmp_path, {"a": random})
    settings = settings_of(workspace, "QUERY=region", "REGION_SIZE=32", "TILE_SIZE=64")
    for one in score_pool([plain()], pool, settings, workspace, store):
        dark = float((random[one.query.window.slices] == 0).mean())
        assert one.scores["margin"] == pytest.approx(0.75 * dark, abs=1e-5)
        np.testing.assert_allclose(one.shares, [0, dark, 1 - dark], atol=1e-5)


def test_windows_in_nanometres(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5, 64)})
    settings = settings_of(workspace, "QUERY=region", "REGION_SIZE=32", "REGION_SIZE_NM=200")
    known = replace(pool[0], pixel_size_nm=10.0)
    assert next(score_pool([plain()], [known], settings, workspace, store)).query.window[2:] == (20, 20)
    assert next(score_pool([plain()], pool, settings, workspace, store)).query.window[2:] == (32, 32)


def test_an_ensemble_of_two_that_disagree(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5)})
    settings = settings_of(workspace, ways(ensemble=1), "ENSEMBLE_SIZE=2")
    pair = [plain("one", dark=(1, 1e-9, 1e-9)), plain("two", dark=(1e-9, 1, 1e-9))]
    found = next(score_pool(pair, pool, settings, workspace, store))
    assert found.scores["ensemble"] == pytest.approx(0.5 * math.log(2) / math.log(3), abs=1e-5)
    np.testing.assert_allclose(found.shares, [0.5, 0, 0.5], atol=1e-6)  # of the current model
    alone = next(score_pool(pair[:1], pool, settings, workspace, store))
    assert alone.scores["ensemble"] == pytest.approx(0, abs=1e-5)  # it looks at each pixel alone, mirrored or not


def test_mirror_images_have_the_same_disagreement(tmp_path, store):
    random = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    workspace, pool = made(tmp_path, {"a": random, "b": random[:, ::-1].copy(), "c": random[::-1].copy()})
    torch.manual_seed(0)
    member = replace(plain(), model=build_segmenter("unet", "unet", 3).eval(), normalisation=Normalisation("zscore"))
    settings = settings_of(workspace, ways(ensemble=1))
    first, second, third = (one.scores["ensemble"] for one in score_pool([member], pool, settings, workspace, store))
    assert first > 1e-6
    assert first == pytest.approx(second, rel=1e-3) == pytest.approx(third, rel=1e-3)


def test_a_look_has_the_mean_that_the_score_is_the_mean_of(tmp_path, store):
    random = np.random.default_rng(1).integers(0, 256, (64, 80), dtype=np.uint8)
    workspace, pool = made(tmp_path, {"a": random})
    settings = settings_of(workspace, ways(entropy=1, margin=3, ensemble=2))
    scored = next(score_pool([plain()], pool, settings, workspace, store))
    look = look_at(pool[0], [plain()], settings, workspace)
    mean = (scored.scores["entropy"] + 3 * scored.scores["margin"] + 2 * scored.scores["ensemble"]) / 6
    assert look.uncertainty.dtype == np.float32
    assert look.uncertainty.mean() == pytest.approx(mean, abs=1e-5)
    np.testing.assert_allclose(np.bincount(look.ids.ravel(), minlength=3) / look.ids.size, scored.shares, atol=1e-6)
    taken = np.full(random.shape, IGNORE, np.uint8)
    taken[:10] = 1
    assert (look_at(pool[0], [plain()], settings, workspace, taken).uncertainty[:10] == 0).all()


def test_features_are_those_of_the_scores_and_are_remembered(tmp_path, store):
    images = {n: np.random.default_rng(ord(n)).integers(0, 256, (70, 150), dtype=np.uint8) for n in "ab"}
    workspace, pool = made(tmp_path, images)
    settings = settings_of(workspace, "TILE_SIZE=64")
    torch.manual_seed(0)
    member = replace(plain(), model=build_segmenter("unet", "unet", 3).eval(), normalisation=Normalisation("zscore"))
    member, counting = counted(member)
    scored = list(score_pool([member], pool, settings, workspace, store))
    before = counting.asked
    found = list(features_of(member, pool, settings, workspace, store))
    assert [query for query, _ in found] == [one.query for one in scored]
    for one, (_, features) in zip(scored, found, strict=True):
        np.testing.assert_array_equal(one.features, features)
    assert counting.asked == 2 * before
    list(features_of(member, pool, settings, workspace, store))
    assert counting.asked == 2 * before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_of_a_small_image_are_those_that_novelty_looks_at(tmp_path, store, precision):
    workspace, pool = made(tmp_path, {"a": np.random.default_rng(0).integers(0, 256, (96, 128), dtype=np.uint8)})
    settings = settings_of(workspace, "ENCODER_NAME=unet", "DECODER_NAME=unet", f"PRECISION={precision}")
    member = untrained_member(settings, workspace)
    image = read_image(workspace.path(pool[0].image))
    _, found = next(features_of(member, pool, settings, workspace, store))
    levels = member.normalisation.shift_scale(image)
    known = pooled_features(member.model, image, levels, device=CPU, precision=precision)
    np.testing.assert_allclose(found.astype(float), known, atol=2e-4)


def test_features_of_windows(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5), "b": half_dark(0.25)})
    settings = settings_of(workspace)
    windows = {pool[0].sha256: [Window(0, 0, 16, 16), Window(0, 12, 16, 16)]}
    found = list(features_of(plain(), pool, settings, workspace, store, windows))
    assert [query.window for query, _ in found] == [*windows[pool[0].sha256], None]
    np.testing.assert_allclose(found[0][1].astype(float), [0, 0], atol=1e-3)  # all is level 0
    np.testing.assert_allclose(found[1][1].astype(float), [0.5**0.5, 0.5**0.5], atol=1e-3)  # half is bright
    regions = settings_of(workspace, "QUERY=region", "REGION_SIZE=16")
    scored = next(score_pool([plain()], pool, regions, workspace, store))
    windows = {scored.query.image: [scored.query.window]}
    _, features = next(features_of(plain(), pool, regions, workspace, store, windows))
    np.testing.assert_array_equal(features, scored.features)


def test_a_checkpoint_becomes_a_member(workspace):
    settings = settings_of(workspace)
    network = build_segmenter("unet", "unet", 3)
    path = workspace.path("models/a.pth")
    classes = class_map(settings)
    save_checkpoint(
        path,
        Checkpoint(network.state_dict(), 1, 0.5, network.spec, classes, Normalisation("percentile"), temperature=1.5),
    )
    member = read_member(path, settings)
    assert (member.hash, member.temperature, member.normalisation.method) == (model_hash(path), 1.5, "percentile")
    assert not member.model.training
    two = settings.model_copy(update={"NUM_CLASSES": 2})
    with pytest.raises(CheckpointError, match="3 classes"):
        read_member(path, two)


@pytest.mark.parametrize(
    "naming",
    [
        ["PRETRAINED_ENCODER_PATH=models/a.pth"],
        ["PRETRAINED_MODEL_PATH=models/a.pth", "USE_PRETRAINED_MODEL=True"],
        ["ENCODER_WEIGHTS=models/a.pth"],
    ],
)
def test_an_untrained_network_takes_the_named_encoder(workspace, naming):
    plain_settings = settings_of(workspace, "ENCODER_NAME=unet", "DECODER_NAME=unet")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, again = untrained_member(plain_settings, workspace), untrained_member(plain_settings, workspace)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.hash == again.hash
    torch.manual_seed(7)
    network = build_segmenter("unet", "unet", 3)
    path = workspace.path("models/a.pth")
    save_checkpoint(
        path,
        Checkpoint(network.state_dict(), 1, 0.5, network.spec, class_map(plain_settings), Normalisation("percentile")),
    )
    named = settings_of(workspace, "ENCODER_NAME=unet", "DECODER_NAME=unet", *naming)
    member = untrained_member(named, workspace)
    assert member.hash != one.hash
    assert member.normalisation.method == "percentile"
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, member.model.encoder.state_dict()[name])


def test_a_window_that_is_mostly_taken_is_not_asked_for(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5, 32)})
    settings = settings_of(workspace, "QUERY=region", "REGION_SIZE=32")
    taken = np.full((32, 32), IGNORE, np.uint8)
    taken[:17] = 0
    member, counting = counted(plain())
    assert list(score_pool([member], pool, settings, workspace, store, {pool[0].sha256: taken})) == []
    assert counting.asked == 0
    taken[16] = IGNORE
    found = list(score_pool([member], pool, settings, workspace, store, {pool[0].sha256: taken}))
    assert [one.query.window for one in found] == [Window(0, 0, 32, 32)]


def test_a_model_that_answers_no_number_is_told_of(tmp_path, store):
    workspace, pool = made(tmp_path, {"a": half_dark(0.5)})
    broken = plain()
    with torch.no_grad():
        broken.model.head.weight.fill_(math.nan)
    with pytest.raises(ImageError, match=r"None of 1 images can be looked at: a.tif: The network answers"):
        list(score_pool([broken], pool, settings_of(workspace), workspace, store))
