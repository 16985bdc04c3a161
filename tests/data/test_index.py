from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from srpu.data.index import PixelSizes, Record, read_manifest, read_pixel_sizes, write_manifest
from srpu.errors import IndexingError

RECORD = Record("批次/a.tif", "data/raw/批次/a.tif", None, None, None, "raw", "批次/a.tif", None, 4, 5, 2.5, "00")


def test_a_manifest_is_read_as_it_was_written_sorted_and_one_record_a_line(tmp_path: Path) -> None:
    path = tmp_path / "json" / "索引.json"
    later = replace(RECORD, id="b.tif", page=3, mask="m.tif", mask_page=3, split="train", pixel_size_nm=None)
    other = replace(RECORD, dataset="anode")
    write_manifest(path, [RECORD, later, other], truth_version=2)
    assert read_manifest(path) == [other, later, RECORD]
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["schema_version"], content["truth_version"]) == (1, 2)
    assert content["samples"][2]["id"] == "批次/a.tif"
    assert len(path.read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no index .*run `srpu index`"),
        ("", "is not an index"),
        ("[]", "is not an index"),
        ('{"schema_version": 1}', "is not an index"),
        ('{"schema_version": 1, "samples": [{"id": "a"}]}', "is not an index"),
        ('{"schema_version": 2, "samples": []}', "another version of SRPU"),
        ('{"schema_version": 1, "samples": []}', "is empty"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str | None, sentence: str) -> None:
    path = tmp_path / "index.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(IndexingError, match=sentence):
        read_manifest(path)


def test_an_empty_manifest_can_be_written(tmp_path: Path) -> None:
    write_manifest(tmp_path / "index.json", [])
    assert json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))["samples"] == []


def test_pixel_sizes_are_found_by_path_name_or_stem_in_the_nearest_table(tmp_path: Path) -> None:
    batch = tmp_path / "raw" / "b1"
    batch.mkdir(parents=True)
    (tmp_path / "pixel_sizes.csv").write_text("name,pixel_size_nm\nabove,1\n", encoding="utf-8")
    (tmp_path / "raw/pixel_sizes.csv").write_text(
        "name,pixel_size_nm,remark\r\na.tif,5,\r\nb1\\b.tif,6.5,\r\nc,7,\r\n\r\n", encoding="utf-8-sig"
    )
    (batch / "pixel_sizes.csv").write_text("pixel_size_nm,name\n9,a.tif\n", encoding="utf-8")
    sizes = PixelSizes()
    found = {name: sizes.find(batch / f"{name}.tif", tmp_path / "raw") for name in ("a", "b", "c", "d", "above")}
    assert found == {"a": 9.0, "b": 6.5, "c": 7.0, "d": None, "above": None}
    assert sizes.find(tmp_path / "raw/a.tif", tmp_path / "raw") == 5.0


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("image,pixel_size_nm\na,1\n", "no column name"),
        ("name;pixel_size_nm\na;1\n", "no column name and pixel_size_nm"),
        ("", "no column name and pixel_size_nm"),
        ("name,pixel_size_nm\na,1\nb,0\n", "line 3: the pixel size '0' is not a positive number"),
        ("name,pixel_size_nm\na,\n", "line 2"),
        ("name,pixel_size_nm\na\n", "line 2"),
        ("name,pixel_size_nm\na,nan\n", "line 2"),
        ("name,pixel_size_nm\na,inf\n", "line 2"),
    ],
)
def test_a_wrong_table_of_pixel_sizes_is_refused(tmp_path: Path, table: str, sentence: str) -> None:
    path = tmp_path / "pixel_sizes.csv"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(IndexingError, match=sentence):
        read_pixel_sizes(path)


def test_a_table_that_excel_saved_in_the_systems_own_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pixel_sizes.csv"
    path.write_bytes("name,pixel_size_nm\n样品,5\n".encode("gbk"))
    with pytest.raises(IndexingError, match='save it from Excel as "CSV UTF-8"'):
        read_pixel_sizes(path)
