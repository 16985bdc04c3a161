from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from srpu.data import scan as room
from srpu.data.folders import Found
from srpu.data.masks import ClassMap
from srpu.data.pairing import Pair
from srpu.data.scan import Facts, Scan, likeness, looks_like_mask, read_facts

CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pair(image: Path, mask: Path | None = None) -> Pair:
    return Pair(image.name, "raw", *(file and Found(file.parent, (file.name,)) for file in (image, mask)))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of images and masks, as they are decoded."""
    names = []
    for function in ("read_image", "read_mask"):
        original = getattr(room, function)

        def noted(path: Path, *rest: object, original=original) -> object:  # type: ignore[no-untyped-def]
            names.append(path.name)
            return original(path, *rest)

        monkeypatch.setattr(room, function, noted)
    return names


def once(
    tmp_path: Path, *pairs: Pair, classes: ClassMap = CLASSES, databar: int | str = 0
) -> tuple[dict[str, list[Facts]], dict[str, str]]:
    scan = Scan(tmp_path / "cache/scan.json", classes, databar)  # type: ignore[arg-type]
    result = scan.read(pairs)
    scan.save()
    return result


def test_an_image_and_its_mask_are_measured(tmp_path: Path) -> None:
    ids = np.zeros((40, 50), np.uint8)
    ids[10:, :] = 2
    ids[:, 40:] = 255
    facts, problems = once(tmp_path, pair(save(tmp_path / "a.png", NOISE), save(tmp_path / "m.png", ids)), databar=10)
    assert not problems
    (fact,) = facts["a.png"]
    assert (fact.height, fact.width, fact.counts, fact.how) == (40, 50, (400, 0, 800), "class ids")


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, reads: list[str]) -> None:
    pairs = [
        pair(save(tmp_path / "a.png", NOISE), save(tmp_path / "m.png", NOISE % 3)),
        pair(save(tmp_path / "b.png", NOISE)),
    ]
    first = once(tmp_path, *pairs)
    assert sorted(reads) == ["a.png", "b.png", "m.png"]
    reads.clear()
    assert once(tmp_path, *pairs) == first
    assert reads == []


@pytest.mark.parametrize("name", ["a.png", "m.png"])
def test_what_has_changed_is_read_again(tmp_path: Path, reads: list[str], name: str) -> None:
    pairs = [
        pair(save(tmp_path / "a.png", NOISE), save(tmp_path / "m.png", NOISE % 3)),
        pair(save(tmp_path / "b.png", NOISE)),
    ]
    once(tmp_path, *pairs)
    reads.clear()
    os.utime(tmp_path / name, ns=(1, 1))
    once(tmp_path, *pairs)
    assert sorted(reads) == ["a.png", "m.png"]


def test_other_classes_or_another_data_bar_read_labelled_images_again(tmp_path: Path, reads: list[str]) -> None:
    pairs = [
        pair(save(tmp_path / "a.png", NOISE), save(tmp_path / "m.png", NOISE % 2)),
        pair(save(tmp_path / "b.png", NOISE)),
    ]
    once(tmp_path, *pairs)
    for change in ({"databar": 4}, {"classes": ClassMap(CLASSES.names[:2], CLASSES.colors[:2])}):
        reads.clear()
        once(tmp_path, *pairs, **change)  # type: ignore[arg-type]
        assert sorted(reads) == ["a.png", "m.png"]


def test_an_image_that_gets_a_mask_is_read_again(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", NOISE)
    assert once(tmp_path, pair(image))[0]["a.png"][0].counts is None
    assert once(tmp_path, pair(image, save(tmp_path / "m.png", NOISE % 3)))[0]["a.png"][0].counts is not None


@pytest.mark.parametrize("content", ["{broken", "[]", '{"schema_version": 0, "files": {"x": 1}}'])
def test_a_damaged_memory_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/scan.json").write_text(content, encoding="utf-8")
    facts, _ = once(tmp_path, pair(save(tmp_path / "a.png", NOISE)))
    assert read_facts(tmp_path / "cache/scan.json") == {str(tmp_path / "a.png"): facts["a.png"]}


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    once(tmp_path, pair(save(tmp_path / "a.png", NOISE)), pair(save(tmp_path / "b.png", NOISE)))
    once(tmp_path, pair(tmp_path / "b.png"))
    assert list(read_facts(tmp_path / "cache/scan.json")) == [str(tmp_path / "b.png")]


def test_an_interrupted_scan_keeps_what_it_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    pairs = [pair(save(tmp_path / f"{number}.png", NOISE)) for number in range(20)]

    def interrupted(items, doing, total):  # type: ignore[no-untyped-def]
        for number, item in enumerate(items):
            if number == 5:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(room, "track", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Scan(tmp_path / "cache/scan.json", CLASSES, 0).read(pairs)
    kept = len(read_facts(tmp_path / "cache/scan.json"))
    assert kept >= 5
    reads.clear()
    assert len(once(tmp_path, *pairs)[0]) == 20
    assert len(reads) == 20 - kept


def test_bad_files_are_told_and_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    good = save(tmp_path / "good.png", NOISE)
    tifffile.imwrite(tmp_path / "nan.tif", np.full((8, 8), np.nan, np.float32))
    pairs = [
        pair(tmp_path / "text.png"),
        pair(tmp_path / "nan.tif"),
        pair(tmp_path / "gone.png"),
        pair(good, save(tmp_path / "small_mask.png", NOISE[:30] % 3)),
        pair(save(tmp_path / "whole.png", NOISE)),
    ]
    facts, problems = once(tmp_path, *pairs)
    assert list(facts) == ["whole.png"]
    assert set(problems) == {"text.png", "nan.tif", "gone.png", "good.png"}
    for id_, part in (
        ("text.png", "text.png"),
        ("nan.tif", "64 pixels"),
        ("gone.png", "gone.png"),
        ("good.png", "DATABAR_ROWS = 10"),
    ):
        assert part in problems[id_]


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, *rest: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(room, "read_image", forbidden)
    _, problems = once(tmp_path, pair(save(tmp_path / "a.png", NOISE)))
    assert "a.png cannot be read (Permission denied)" in problems["a.png"]


def test_an_image_beyond_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(path: Path, *rest: object) -> None:
        raise MemoryError

    monkeypatch.setattr(room, "read_image", too_large)
    _, problems = once(tmp_path, pair(save(tmp_path / "a.png", NOISE)))
    assert "does not fit into memory" in problems["a.png"]


def test_every_page_of_a_stack_is_read_with_its_mask(tmp_path: Path) -> None:
    pages = np.random.default_rng(1).integers(0, 4096, (3, 16, 20), np.uint16)
    ids = np.stack([np.full((16, 20), id_, np.uint8) for id_ in (0, 1, 255)])
    tifffile.imwrite(tmp_path / "s.tif", pages, photometric="minisblack")
    tifffile.imwrite(tmp_path / "m.tif", ids, photometric="minisblack")
    facts, _ = once(tmp_path, pair(tmp_path / "s.tif", tmp_path / "m.tif"))
    assert [fact.counts for fact in facts["s.tif"]] == [(320, 0, 0), (0, 320, 0), (0, 0, 0)]
    assert len({fact.sha256 for fact in facts["s.tif"]}) == 3
    tifffile.imwrite(tmp_path / "m.tif", ids[:2], photometric="minisblack")
    _, problems = once(tmp_path, pair(tmp_path / "s.tif", tmp_path / "m.tif"))
    assert "m.tif has 2 pages" in problems["s.tif"]


def test_masks_are_told_from_images(tmp_path: Path) -> None:
    wheel = np.zeros((40, 50, 3), np.uint8)
    wheel[..., 0] = NOISE
    palette = Image.fromarray(NOISE % 3)
    palette.putpalette([0, 0, 255, 0, 255, 255, 255, 126, 126])
    palette.save(tmp_path / "palette.png")
    grey_palette = Image.fromarray(NOISE)
    grey_palette.putpalette([level for level in range(256) for _ in range(3)])
    grey_palette.save(tmp_path / "grey_palette.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    tifffile.imwrite(tmp_path / "float.tif", NOISE.astype(np.float32))
    tifffile.imwrite(tmp_path / "deep.tif", NOISE.astype(np.uint16) * 16)
    save(tmp_path / "ids.png", NOISE % 3)
    save(tmp_path / "colour.png", wheel)
    save(tmp_path / "grey.png", np.repeat(NOISE[..., None], 3, axis=2))
    expected = {
        "palette.png": True, "ids.png": True, "colour.png": True,
        "grey_palette.png": False, "broken.png": False, "float.tif": False, "deep.tif": False, "grey.png": False,
    }  # fmt: skip
    assert {name: looks_like_mask(tmp_path / name) for name in expected} == expected


def test_what_looks_like_a_mask_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "m.png", NOISE % 3)
    scan = Scan(tmp_path / "scan.json", CLASSES, 0)
    assert scan.masks_among([path, save(tmp_path / "a.png", NOISE)]) == {path}
    scan.save()
    monkeypatch.setattr(room, "looks_like_mask", lambda path: pytest.fail("read again"))
    assert Scan(tmp_path / "scan.json", CLASSES, 0).masks_among([path]) == {path}
    assert json.loads((tmp_path / "scan.json").read_text(encoding="utf-8"))["files"]
    assert read_facts(tmp_path / "scan.json") == {}


def test_likeness_sees_the_same_field_but_not_common_shading(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    shading = np.linspace(0, 3, 256)[:, None]
    field, other = random.normal(size=(2, 64, 64)).repeat(4, axis=1).repeat(4, axis=2)
    noisy = field + 0.5 * random.normal(size=field.shape)
    details = {
        name: Facts(256, 256, "", None, detail=room._detail((picture + shading).astype(np.float32)))
        for name, picture in {"field": field, "noisy": 3 * noisy, "other": other}.items()
    }
    assert likeness(details["field"], details["noisy"]) > 0.9
    assert abs(likeness(details["field"], details["other"])) < 0.2
    assert likeness(Facts(1, 1, "", None, detail=room._detail(np.zeros((1, 1), np.uint8))), details["field"]) == 0
