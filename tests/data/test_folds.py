"""Folds for cross-validation: specimens stay whole, every image has one, sizes are even."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.data.folds import draw_folds
from srpu.data.index import Record
from srpu.errors import IndexingError


def record(number: int, group: str, split: str | None = "train", sha256: str = "") -> Record:
    name = f"image{number}.png"
    return Record(name, name, None, name, None, "labeled", group, split, 8, 8, None, sha256 or f"hash{number}")


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(2, 5), st.integers(0, 9))
def test_specimens_stay_whole_and_no_fold_is_empty(groups: list[int], folds: int, seed: int) -> None:
    records = [record(number, f"specimen{group}") for number, group in enumerate(groups)]
    if len(set(groups)) < folds:
        with pytest.raises(IndexingError, match="needs"):
            draw_folds(records, folds, seed)
        return
    of = draw_folds(records, folds, seed)
    assert set(of.values()) == set(range(1, folds + 1))
    assert set(of) == {one.sha256 for one in records}
    for group in set(groups):
        assert len({of[one.sha256] for one in records if one.group == f"specimen{group}"}) == 1


def test_folds_of_single_images_are_even() -> None:
    of = draw_folds([record(number, f"g{number}") for number in range(11)], 4, seed=1)
    assert sorted(list(of.values()).count(fold) for fold in (1, 2, 3, 4)) == [2, 3, 3, 3]


def test_a_picture_that_two_specimens_share_keeps_them_in_one_fold() -> None:
    for seed in range(10):
        of = draw_folds([record(0, "a"), record(1, "a", sha256="same"), record(2, "b", sha256="same"), record(3, "b"),
                         record(4, "c")], 2, seed)  # fmt: skip
        assert of["hash0"] == of["hash3"] == of["same"] != of["hash4"]


def test_specimens_of_the_test_split_belong_to_no_fold() -> None:
    records = [record(0, "a"), record(1, "b", "val"), record(2, "c", "test"), record(3, "c", None)]
    assert set(draw_folds(records, 2, seed=0)) == {"hash0", "hash1"}
    with pytest.raises(IndexingError, match=r"FOLDS = 3 needs 3 specimens .* 2 outside the test split: set FOLDS = 2"):
        draw_folds(records, 3, seed=0)
    with pytest.raises(IndexingError, match="label another specimen"):
        draw_folds(records[:1], 2, seed=0)
