from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srpu.data.groups import Labelled, file_id
from srpu.data.hand_split import apply_hand_split, read_hand_split
from srpu.errors import IndexingError

IDS = ("axon/b1/a.tif", "axon/b2/a.tif", "axon/b.v2.tif", "c.tif#0001", "c.tif#0002", "样品 1.png")


def images() -> list[Labelled]:
    return [Labelled(id_, id_, file_id(id_), None, "axon" if id_.startswith("axon") else "labeled") for id_ in IDS]


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("axon/b1/a.tif", {"axon/b1/a.tif"}),
        ("axon/b1/a", {"axon/b1/a.tif"}),
        ("b1/a.tif", {"axon/b1/a.tif"}),
        ("b1\\a.tif", {"axon/b1/a.tif"}),
        ("b.v2", {"axon/b.v2.tif"}),
        ("b.v2.tif", {"axon/b.v2.tif"}),
        ("c", {"c.tif#0001", "c.tif#0002"}),
        ("c.tif", {"c.tif#0001", "c.tif#0002"}),
        ("c.tif#0002", {"c.tif#0002"}),
        ("样品 1", {"样品 1.png"}),
    ],
)
def test_names_are_ids_file_names_or_stems(name: str, ids: set[str]) -> None:
    assert apply_hand_split(images(), {"val": [name]}) == dict.fromkeys(ids, "val")


def test_every_wrong_name_is_told_at_once() -> None:
    with pytest.raises(IndexingError) as refused:
        apply_hand_split(images(), {"train": ["x", "a", "c"], "val": ["y.tif"], "test": ["c.tif#0001"]})
    text = str(refused.value)
    assert "no labelled image is called x, y.tif" in text
    assert "a could be axon/b1/a.tif or axon/b2/a.tif" in text
    assert "c.tif#0001 is in both train and test" in text


def test_a_part_of_a_file_is_taken_by_its_key(tmp_path: Path) -> None:
    file = tmp_path / "my #1 splits.json"
    file.write_text(json.dumps({"few": {"train": ["a"], "val": ["b"]}}), encoding="utf-8")
    assert read_hand_split("my #1 splits.json#few", tmp_path) == {"train": ["a"], "val": ["b"], "test": []}
    assert read_hand_split(f"{file}#few", Path("elsewhere"))["train"] == ["a"]
    with pytest.raises(IndexingError, match="has no part 'many', which SPLIT_FILE asks for; it has 'few'"):
        read_hand_split("my #1 splits.json#many", tmp_path)
    with pytest.raises(IndexingError, match=r"it holds 'few'.*FILE#KEY"):
        read_hand_split("my #1 splits.json", tmp_path)


@pytest.mark.parametrize("content", [[], {"train": "a"}, {"train": [1]}, {"train": ["a"], "valid": ["b"]}])
def test_what_is_no_split_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "split.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(IndexingError, match="must hold"):
        read_hand_split("split.json", tmp_path)


def test_a_missing_or_broken_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match=r"no file .*split\.json, which SPLIT_FILE names"):
        read_hand_split("split.json#a", tmp_path)
    (tmp_path / "split.json").write_text("{", encoding="utf-8")
    with pytest.raises(IndexingError, match="not valid JSON"):
        read_hand_split("split.json", tmp_path)
