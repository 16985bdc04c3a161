from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.data.draw import GAP, Rule, decide
from srpu.data.groups import Labelled
from srpu.data.splits import Entry, Splits, assign, read_splits, write_splits
from srpu.errors import IndexingError

RULE = Rule()


def singles(numbers: Iterable[int], dataset: str = "labeled") -> list[Labelled]:
    ids = [f"{dataset}/{number:03}.tif" for number in numbers]
    return [Labelled(id_, f"pixels of {id_}", id_, None, dataset, (100, 50, 10), id_) for id_ in ids]


def stack(slices: int, name: str = "s.tif") -> list[Labelled]:
    return [
        Labelled(f"{name}#{number:04}", f"{name} {number}", name, number, "labeled", (9, 1, 0), name, number)
        for number in range(slices)
    ]


def counts(of: dict[str, str | None]) -> tuple[int, int, int]:
    found = Counter(of.values())
    return found["train"], found["val"], found["test"]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (1, (1, 0, 0)),
        (2, (1, 1, 0)),
        (3, (2, 1, 0)),
        (4, (3, 1, 0)),
        (5, (3, 2, 0)),
        (10, (8, 2, 0)),
        (29, (23, 6, 0)),
        (30, (21, 6, 3)),
        (100, (70, 20, 10)),
    ],
)
def test_how_many_images_each_split_gets(images: int, expected: tuple[int, int, int]) -> None:
    assert counts(decide(singles(range(images)), RULE)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(1, 0, 0), (40, 0, 0)),
        (Rule(0, 1, 0), (0, 40, 0)),
        (Rule(0, 0, 1), (0, 0, 40)),
        (Rule(0.5, 0.5, 0), (20, 20, 0)),
        (Rule(0.9, 0, 0.1), (36, 0, 4)),
    ],
)
def test_a_share_of_nothing_is_nothing(rule: Rule, expected: tuple[int, int, int]) -> None:
    assert counts(decide(singles(range(40)), rule)) == expected


def test_a_set_that_is_only_judged_on_needs_no_thirty_groups() -> None:
    assert counts(decide(singles(range(3)), Rule(0, 0, 1))) == (0, 0, 3)


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_files() -> None:
    images = singles(range(20))
    assert decide(images, RULE) == decide(images[::-1], RULE)
    assert len({tuple(decide(images, Rule(seed=seed)).items()) for seed in range(5)}) > 1


@given(st.lists(st.integers(1, 6), min_size=1, max_size=45), st.integers(0, 3))
def test_groups_never_part(sizes: list[int], seed: int) -> None:
    images = [
        Labelled(f"{group}-{number}", f"{group}-{number}", "", None, "d", (1, group, 0), str(group))
        for group, size in enumerate(sizes)
        for number in range(size)
    ]
    of = decide(images, Rule(seed=seed))
    splits_of = {image.group: {of[other.id] for other in images if other.group == image.group} for image in images}
    assert all(len(splits) == 1 for splits in splits_of.values())
    judged = sum(splits == {"val"} for splits in splits_of.values())
    assert judged >= (2 if len(sizes) >= 5 else 1 if len(sizes) >= 2 else 0)
    assert ({"test"} in splits_of.values()) == (len(sizes) >= 30)
    assert {"train"} in splits_of.values()


def test_copies_of_one_picture_stay_together() -> None:
    images = singles(range(10))
    copies = [replace(image, id=f"other/{image.id}", group=f"other/{image.id}") for image in images]
    of = decide([*images, *copies], RULE)
    assert all(of[image.id] == of[copy.id] for image, copy in zip(images, copies, strict=True))
    assert counts(of) == (16, 4, 0)


def test_shares_of_images_data_sets_and_classes_are_even() -> None:
    random = np.random.default_rng(0)
    images = []
    for number, image in enumerate([*singles(range(40)), *singles(range(10), "few")]):
        rare = 1000 if number % 5 == 0 else 0
        images += [
            replace(image, id=f"{image.id}-{part}", sha256=f"{image.id}-{part}", counts=(5000, 3000, rare))
            for part in range(random.integers(1, 5))
        ]
    of = decide(images, RULE)
    for chosen in (lambda image: True, lambda image: image.dataset == "few", lambda image: image.counts[2]):
        part = [of[image.id] for image in images if chosen(image)]
        assert 0.1 <= part.count("val") / len(part) <= 0.3


@pytest.mark.parametrize("slices", [5, 6, 12, 40, 125])
@pytest.mark.parametrize("others", [0, 29])
def test_a_stack_is_cut_into_blocks_with_gaps(slices: int, others: int) -> None:
    images = stack(slices)
    of = decide([*images, *singles(range(others))], RULE)
    blocks = [of[image.id] for image in images]
    blocks = blocks if blocks[0] == "train" else blocks[::-1]
    order = [block for number, block in enumerate(blocks) if number == 0 or block != blocks[number - 1]]
    assert order == (["train", None, "val", None, "test"] if others == 29 else ["train", None, "val"])
    gaps = len(order) // 2
    assert blocks.count(None) == gaps * max(1, round(GAP * slices))
    if slices >= 40:
        used = slices - blocks.count(None)
        assert abs(blocks.count("val") / used - (0.2 if others == 29 else 2 / 9)) < 0.02


def test_a_stack_runs_either_way() -> None:
    first = {decide(stack(10), Rule(seed=seed))["s.tif#0000"] for seed in range(8)}
    assert first == {"train", "val"}


def test_a_short_stack_stays_whole() -> None:
    of = decide([*stack(4), *singles(range(3))], RULE)
    assert len({of[image.id] for image in stack(4)}) == 1


def test_a_split_is_decided_once_and_new_images_are_trained_on() -> None:
    first = assign(singles(range(10)), None, RULE)
    assert set(first.new) == set(first.of)
    again = assign(singles(range(25)), first.splits, Rule(0.1, 0.8, 0.1, seed=7))
    assert {id_: again.of[id_] for id_ in first.of} == first.of
    assert {again.of[id_] for id_ in again.new} == {"train"}
    assert len(again.new) == 15
    assert again.splits.truth_version == 1
    assert again.splits.rule == RULE


def test_nothing_new_changes_nothing() -> None:
    first = assign(singles(range(10)), None, RULE)
    assert assign(singles(range(10)), first.splits, RULE).splits == first.splits
    assert assign(singles(range(10)), first.splits, RULE, grow_truth=True).splits == first.splits


def test_images_that_are_gone_keep_their_entry_and_come_back() -> None:
    first = assign(singles(range(10)), None, RULE)
    less = assign(singles(range(3)), first.splits, RULE)
    assert less.splits == first.splits
    assert assign(singles(range(10)), less.splits, RULE).of == first.of


def test_a_renamed_image_keeps_its_split_and_its_entry_is_renamed() -> None:
    images = singles(range(10))
    first = assign(images, None, RULE)
    renamed = [replace(image, id=f"renamed/{image.id}", group=f"renamed/{image.id}") for image in images]
    second = assign(renamed, first.splits, RULE)
    assert {id_.removeprefix("renamed/"): split for id_, split in second.of.items()} == first.of
    assert len(second.splits.entries) == 10
    assert second.new == ()


def test_a_new_picture_under_an_old_name_does_not_inherit_the_split_of_the_one_that_moved() -> None:
    images = singles(range(10))
    first = assign(images, None, RULE)
    judged = next(image for image in images if first.of[image.id] == "val")
    moved = replace(judged, id="moved.tif", group="moved.tif")
    intruder = replace(judged, sha256="another picture")
    second = assign([moved, intruder, *(image for image in images if image != judged)], first.splits, RULE)
    assert (second.of["moved.tif"], second.of[judged.id]) == ("val", "train")


def test_a_picture_that_was_saved_anew_keeps_its_split() -> None:
    first = assign(singles(range(10)), None, RULE)
    saved = [replace(image, sha256=f"{image.sha256}, 16 bit") for image in singles(range(10))]
    assert assign(saved, first.splits, RULE).of == first.of


def test_truth_grows_only_when_asked() -> None:
    first = assign(singles(range(10)), None, RULE)
    grown = assign(singles(range(20)), first.splits, RULE, grow_truth=True)
    assert {id_: grown.of[id_] for id_ in first.of} == first.of
    assert counts(grown.of) == (16, 4, 0)
    assert grown.splits.truth_version == 2
    assert {id_ for id_, split in grown.of.items() if split == "val"} - {
        id_ for id_, split in first.of.items() if split == "val"
    } <= set(grown.new)


def test_a_test_split_can_begin_when_there_are_thirty_groups() -> None:
    first = assign(singles(range(20)), None, RULE)
    assert counts(assign(singles(range(40)), first.splits, RULE, grow_truth=True).of) == (28, 8, 4)


def test_one_new_image_can_grow_validation() -> None:
    first = assign(singles(range(10)), None, RULE)
    assert counts(assign(singles(range(11)), first.splits, RULE, grow_truth=True).of) == (8, 3, 0)


def test_without_any_truth_growing_decides_anew() -> None:
    first = assign(singles(range(1)), None, RULE)
    later = assign(singles(range(10)), first.splits, RULE)
    assert counts(later.of) == (10, 0, 0)
    grown = assign(singles(range(10)), later.splits, RULE, grow_truth=True)
    assert counts(grown.of) == (8, 2, 0)
    assert grown.splits.truth_version == 2


def test_a_new_image_of_a_judged_specimen_waits_until_truth_may_grow() -> None:
    images = [replace(image, group=f"specimen {number % 6}") for number, image in enumerate(singles(range(12)))]
    first = assign(images, None, RULE)
    judged = next(image for image in images if first.of[image.id] == "val")
    trained = next(image for image in images if first.of[image.id] == "train")
    new = [replace(judged, id="new 1", sha256="new 1"), replace(trained, id="new 2", sha256="new 2")]
    second = assign([*images, *new], first.splits, RULE)
    assert (second.of["new 1"], second.of["new 2"], second.waiting) == (None, "train", ("new 1",))
    assert "new 1" not in {entry.id for entry in second.splits.entries}
    third = assign([*images, *new], second.splits, RULE, grow_truth=True)
    assert (third.of["new 1"], third.of["new 2"], third.waiting) == ("val", "train", ())
    assert third.splits.truth_version == 2


def test_a_new_slice_goes_with_its_neighbours() -> None:
    every = stack(40)
    first = assign(every[::2], None, RULE)
    second = assign(every, first.splits, RULE)
    grown = assign(every, first.splits, RULE, grow_truth=True)
    seen = set()
    for number in range(1, 39, 2):
        before, now, after = every[number - 1].id, every[number].id, every[number + 1].id
        around = {first.of[before], first.of[after]}
        seen |= around
        expected = around.pop() if len(around) == 1 else None
        assert second.of[now] == (None if expected == "val" else expected)
        assert grown.of[now] == expected
        assert (now in second.waiting) == (expected == "val")
    assert seen == {"train", "val", None}


def test_a_series_keeps_the_name_of_its_group_when_it_grows() -> None:
    series = [replace(image, group="z005") for image in stack(10)]
    first = assign(series[2:], None, RULE)
    assert set(assign([replace(image, group="z001") for image in series], first.splits, RULE).groups.values()) == {
        "z005"
    }


@given(st.data())
def test_whatever_comes_and_goes_no_split_ever_changes(data: st.DataObject) -> None:
    """Images are labelled, removed and brought back in any order, with truth growing now and then."""
    pool = [*singles(range(12)), *stack(9)]
    splits, seen = None, {}
    for _ in range(data.draw(st.integers(1, 4))):
        present = data.draw(st.lists(st.sampled_from(pool), unique=True, min_size=1))
        started = splits is not None and any(entry.split in ("val", "test") for entry in splits.entries)
        assigned = assign(present, splits, RULE, grow_truth=started and data.draw(st.booleans()))
        splits = assigned.splits
        decided = {entry.id: entry.split for entry in splits.entries}
        assert seen.items() <= decided.items()
        assert set(assigned.of) == {image.id for image in present}
        assert all(assigned.of[id_] == decided.get(id_) for id_ in assigned.of)
        seen = decided


def test_splits_are_read_as_they_were_written(tmp_path: Path) -> None:
    splits = Splits(
        Rule(pattern="(样品[0-9]+)"), 3, (Entry("样品 1.tif", "g", "val", "00"), Entry("b", "g", None, "11"))
    )
    write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json") == splits
    assert read_splits(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 2}, "has the schema version 2, this SRPU reads 1; .*move it away"),
        ({"samples": [{"id": "a"}]}, "is damaged; restore a copy"),
        ({"samples": [{"id": "a", "group": "a", "split": "dev", "sha256": ""}]}, "unknown split dev"),
        ({"rule": {"mood": "good"}}, "is damaged"),
        ({"truth_version": "new"}, "is damaged"),
    ],
)
def test_what_is_no_split_is_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    path = tmp_path / "splits.json"
    write_splits(path, Splits(RULE))
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(IndexingError, match=sentence):
        read_splits(path)


def test_a_broken_file_of_splits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text("{", encoding="utf-8")
    with pytest.raises(IndexingError, match="is damaged"):
        read_splits(tmp_path / "splits.json")


@pytest.mark.parametrize("seed", range(20))
def test_specimens_that_share_a_picture_stay_whole_and_together(seed: int) -> None:
    images = [
        replace(image, id=f"{image.id}-{part}", sha256=f"{image.id}-{part}")
        for image in singles(range(6))
        for part in "abc"
    ]
    copy = replace(images[0], id=images[-1].id, group=images[-1].group)
    of = decide([*images[:-1], copy], Rule(seed=seed))
    splits_of = {image.group: {of[other.id] for other in images if other.group == image.group} for image in images}
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert splits_of[images[0].group] == splits_of[copy.group]


def test_a_stack_of_which_one_slice_lies_elsewhere_too_is_still_cut() -> None:
    slices = stack(20)
    copy = replace(slices[3], id="0 copy", group="0 copy", place=None)
    of = decide([copy, *slices], RULE)
    assert {of[image.id] for image in slices} == {"train", "val", None}
    assert of[copy.id] == of[slices[3].id]


def test_a_second_label_of_a_validation_picture_does_not_join_it() -> None:
    images = singles(range(10))
    before = assign(images, None, RULE)
    judged = next(image for image in images if before.of[image.id] == "val")
    twin = replace(judged, id="twin", group="twin")
    after = assign([*images, twin], before.splits, RULE)
    assert after.of["twin"] is None
    assert after.waiting == ("twin",)
    assert after.splits == before.splits
