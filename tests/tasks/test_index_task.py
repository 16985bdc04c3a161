from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from srpu import files
from srpu.data import scan
from srpu.data.index import Record, read_manifest
from srpu.errors import IndexingError, PairingError, WorkspaceError
from srpu.settings import Settings
from srpu.tasks import index_task
from srpu.tasks.index_task import Indexed
from srpu.workspace import Workspace

COLOURS = np.array([(0, 0, 255), (0, 255, 255), (255, 126, 126)], np.uint8)


class Place:
    """A workspace in a folder with a space and Chinese characters in its name."""

    def __init__(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.root, self._caplog = root, caplog
        caplog.set_level(logging.INFO, logger="srpu")
        (root / "data/raw").mkdir(parents=True)

    def index(self, mode: Any = "all", name: str | None = None, grow_truth: bool = False, **settings: Any) -> Indexed:
        self._caplog.clear()
        return index_task.run(Settings(**settings), Workspace(self.root), mode, name, grow_truth)

    @property
    def said(self) -> str:
        return "\n".join(record.getMessage() for record in self._caplog.records)

    def image(self, name: str, seed: int | None = None, pixels: np.ndarray | None = None) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(list(name.encode()) if seed is None else seed)
        Image.fromarray(random.integers(0, 256, (32, 40), np.uint8) if pixels is None else pixels).save(path)
        return path

    def mask(self, name: str, ids: np.ndarray | None = None) -> Path:
        return self.image(name, pixels=np.arange(32 * 40, dtype=np.uint8).reshape(32, 40) % 3 if ids is None else ids)

    def pairs(self, *names: str) -> None:
        for name in names:
            self.image(f"data/raw/{name}.tif")
            self.mask(f"data/labeled/{name}.png")

    def records(self, file: str = "master_labeled_dataset") -> dict[str, Record]:
        return {record.id: record for record in read_manifest(self.root / f"json/{file}.json")}

    def json(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.root / "json").iterdir())}


@pytest.fixture
def place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Place:
    return Place(tmp_path / "我的 工作区", caplog)


def test_all_indices_are_written(place: Place) -> None:
    place.pairs("b1/粒子 1", "b2/粒子 1")
    place.image("data/raw/b1/more.TIF")
    place.image("datasets/anode/raw_images/c.tif")
    place.mask("datasets/anode/masks_3class/c_mask.png")
    result = place.index()
    assert (result.labelled, result.unlabelled, result.skipped, result.truth_version) == (3, 1, (), 1)
    assert [path.name for path in result.files] == [
        "splits.json", "anode.json", "labeled.json", "raw.json",
        "master_unlabeled_dataset.json", "master_labeled_dataset.json",
    ]  # fmt: skip
    record = place.records()["b1/粒子 1.tif"]
    assert (record.image, record.mask) == ("data/raw/b1/粒子 1.tif", "data/labeled/b1/粒子 1.png")
    assert (record.dataset, record.page, record.height, record.width) == ("labeled", None, 32, 40)
    assert set(place.records("raw")) == set(place.records("master_unlabeled_dataset")) == {"b1/more.TIF"}
    assert set(place.records("anode")) == {"anode/c.tif"}
    assert all(record.split for record in place.records().values())
    assert "data set  labelled  unlabelled  train  val  test  unused  skipped" in place.said


def test_an_index_says_nothing_else_when_nothing_has_changed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.pairs(*"abcdef")
    place.image("data/raw/g.png")
    first = place.index()
    before = place.json()
    monkeypatch.setattr(scan, "read_image", lambda *_: pytest.fail("an unchanged image was read again"))
    monkeypatch.setattr(scan, "read_mask", lambda *_: pytest.fail("an unchanged mask was read again"))
    assert place.index() == first
    assert place.json() == before


def test_the_mode_says_which_indices_are_written(place: Place) -> None:
    place.pairs("a")
    place.image("datasets/anode/raw_images/c.tif")
    names = {
        (mode, name): {path.name for path in place.index(mode, name).files}
        for mode, name in (("labeled", None), ("unlabeled", None), ("dataset", "anode"))
    }
    assert names == {
        ("labeled", None): {"splits.json", "master_labeled_dataset.json"},
        ("unlabeled", None): {"splits.json", "master_unlabeled_dataset.json"},
        ("dataset", "anode"): {"splits.json", "anode.json"},
    }
    with pytest.raises(IndexingError, match="no data set called 'cathode'; there are anode, labeled"):
        place.index("dataset", "cathode")


def test_no_image_at_all_is_an_error_that_says_where_to_put_them(place: Place) -> None:
    with pytest.raises(IndexingError, match=r"There is no image in .*put PNG, TIFF, JPEG or BMP images"):
        place.index()
    assert not (place.root / "json").exists()


def test_no_masks_leave_an_unlabelled_index_and_one_sentence(place: Place) -> None:
    place.image("data/raw/a.png")
    assert place.index().unlabelled == 1
    assert set(place.records("master_unlabeled_dataset")) == {"a.png"}
    assert "no labelled image yet. To train, put masks" in place.said
    assert not (place.root / "json/splits.json").exists()


def test_unreadable_files_are_skipped_counted_and_named(place: Place) -> None:
    place.pairs("good", "wrong_size", "strange_id", "lost")
    (place.root / "data/raw/text.png").write_text("no picture", encoding="utf-8")
    place.mask("data/labeled/wrong_size.png", np.zeros((10, 10), np.uint8))
    place.mask("data/labeled/strange_id.png", np.full((32, 40), 77, np.uint8))
    whole = (place.root / "data/raw/lost.tif").read_bytes()
    (place.root / "data/raw/lost.tif").write_bytes(whole[:700])
    result = place.index()
    assert (result.labelled, result.unlabelled, len(result.skipped)) == (1, 0, 4)
    assert "Skipped files: 4\n" in place.said
    for name in ("text.png", "wrong_size.png", "strange_id.png", "lost.tif"):
        assert name in place.said


def test_broken_links_are_skipped_and_named(place: Place) -> None:
    place.pairs("a", "b")
    try:
        for name in ("data/raw/c.tif", "data/labeled/d.tif"):
            (place.root / name).symlink_to(place.root / "nowhere.tif")
    except OSError:
        pytest.skip("this system does not allow links")
    place.mask("data/labeled/c.png")
    skipped = place.index().skipped
    assert len(skipped) == 2
    assert all("No such file" in sentence for sentence in skipped)


def test_many_skipped_files_are_counted_but_not_all_listed(place: Place) -> None:
    place.image("data/raw/a.png")
    for number in range(25):
        (place.root / f"data/raw/{number}.png").write_text("no picture", encoding="utf-8")
    assert len(place.index().skipped) == 25
    assert "… and 5 more" in place.said


def test_only_unreadable_images_are_an_error(place: Place) -> None:
    (place.root / "data/raw/text.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(IndexingError, match=r"None of the 1 images could be read:\n.*text\.png"):
        place.index()


def test_pairing_problems_stop_before_anything_is_written(place: Place) -> None:
    place.pairs("a")
    place.mask("data/labeled/b.png")
    place.mask("data/labeled/c_mask.png")
    with pytest.raises(PairingError) as refused:
        place.index()
    assert "b.png" in str(refused.value)
    assert "c_mask.png" in str(refused.value)
    assert not (place.root / "json").exists()


def test_a_picture_in_raw_and_labeled_is_one_sample_whatever_its_name(place: Place) -> None:
    place.image("data/raw/b1/original.tif", seed=1)
    place.image("data/labeled/renamed.png", seed=1)
    place.mask("data/labeled/renamed_mask.png")
    place.image("data/raw/b2/again.tif", seed=2)
    place.image("data/labeled/sub/not_yet.tif", seed=2)
    result = place.index()
    assert (result.labelled, result.unlabelled) == (1, 1)
    assert set(place.records("raw")) == {"b2/again.tif"}


def test_equal_pictures_in_two_batches_stay_two_images(place: Place) -> None:
    place.image("data/raw/b1/a.tif", seed=1)
    place.image("data/raw/b2/a.tif", seed=1)
    assert place.index().unlabelled == 2


def test_two_labels_of_one_picture_share_a_split_and_are_said(place: Place) -> None:
    for number in range(6):
        for folder in ("one", "two"):
            place.image(f"datasets/{folder}/raw_images/{number}.tif", seed=number)
            place.mask(f"datasets/{folder}/masks/{number}.png")
    place.index()
    records = place.records()
    assert all(records[f"one/{n}.tif"].split == records[f"two/{n}.tif"].split for n in range(6))
    assert "same pixels as others: 6." in place.said


def test_stacks_give_a_record_for_each_page(place: Place) -> None:
    pages = np.random.default_rng(0).integers(0, 65536, (9, 32, 40), np.uint16)
    ids = np.zeros((9, 32, 40), np.uint8)
    ids[8] = 255
    tifffile.imwrite(place.root / "data/raw/stack.tif", pages, photometric="minisblack")
    (place.root / "data/labeled").mkdir()
    tifffile.imwrite(place.root / "data/labeled/stack_mask.tif", ids, photometric="minisblack")
    result = place.index()
    assert (result.labelled, result.unlabelled) == (8, 1)
    record = place.records()["stack.tif#0003"]
    assert (record.page, record.mask_page, record.group) == (2, 2, "stack.tif")
    assert result.splits == {"train": 5, "val": 2, None: 1}
    assert "not used: 1." in place.said
    bare = place.records("master_unlabeled_dataset")["stack.tif#0009"]
    assert (bare.mask, bare.page, bare.split, bare.group) == (None, 8, None, "stack.tif")


def test_numbered_slices_are_split_in_blocks(place: Place) -> None:
    volume = np.random.default_rng(0).normal(size=(42, 64, 64))
    slices = sum(volume[shift : shift + 20] for shift in range(20))  # neighbours share 19 of 20 parts
    for number, pixels in enumerate(slices):
        grey = (128 + 10 * pixels).clip(0, 255).astype(np.uint8)
        place.image(f"data/raw/z{number:03}.tif", pixels=grey.repeat(4, 0).repeat(4, 1))
        place.mask(f"data/labeled/z{number:03}.png", np.zeros((256, 256), np.uint8))
    place.index()
    records = place.records()
    assert {record.group for record in records.values()} == {"z000.tif"}
    blocks = [records[f"z{number:03}.tif"].split for number in range(20)]
    order = [block for number, block in enumerate(blocks) if number == 0 or block != blocks[number - 1]]
    assert order in (["train", None, "val"], ["val", None, "train"])


def test_the_pixel_size_comes_from_the_file_the_table_or_the_setting(place: Place) -> None:
    tagged = place.root / "data/raw/tagged.tif"
    picture = np.random.default_rng(0).integers(0, 256, (32, 40), np.uint8)
    tifffile.imwrite(tagged, picture, imagej=True, resolution=(1 / 4, 1 / 4), metadata={"unit": "nm"})
    place.image("data/raw/b/listed.png")
    place.image("data/raw/plain.png")
    (place.root / "data/raw/pixel_sizes.csv").write_text(
        "name,pixel_size_nm\nlisted,7.5\ntagged.tif,9\n", encoding="utf-8"
    )
    place.index(PIXEL_SIZE_NM=12)
    sizes = {id_: record.pixel_size_nm for id_, record in place.records("raw").items()}
    assert sizes == {"tagged.tif": pytest.approx(4), "b/listed.png": 7.5, "plain.png": 12}


def test_few_images_are_split_and_said(place: Place) -> None:
    place.pairs("a", "b", "c")
    assert place.index().splits == {"train": 2, "val": 1}


def test_one_image_is_trained_on_and_said_until_there_is_truth(place: Place) -> None:
    place.pairs("a")
    assert place.index().splits == {"train": 1}
    assert "There is no validation image" in place.said
    place.pairs("b", "c")
    assert place.index().splits == {"train": 3}
    assert place.index(grow_truth=True).splits == {"train": 2, "val": 1}


def test_the_split_is_kept_and_new_labels_are_trained_on(place: Place) -> None:
    place.pairs(*"abcdefghij")
    place.index()
    before = {id_: record.split for id_, record in place.records().items()}
    place.pairs(*"klmno")
    (place.root / "data/raw/a.tif").unlink()
    (place.root / "data/labeled/a.png").unlink()
    place.index(TRAIN_RATIO=0.5, VAL_RATIO=0.5, TEST_RATIO=0)
    after = {id_: record.split for id_, record in place.records().items()}
    assert {id_: after[id_] for id_ in before if id_ != "a.tif"} == {i: s for i, s in before.items() if i != "a.tif"}
    assert {after[f"{name}.tif"] for name in "klmno"} == {"train"}
    assert "Newly labelled images: 5 (5 for train)" in place.said
    assert "Split settings have changed" in place.said
    assert '"a.tif"' in (place.root / "json/splits.json").read_text(encoding="utf-8")
    place.pairs("a")
    place.index()
    assert place.records()["a.tif"].split == before["a.tif"]


def test_truth_grows_when_asked(place: Place) -> None:
    place.pairs(*"abcdefghij")
    place.index()
    assert place.index(grow_truth=True).truth_version == 1
    assert "did not grow" in place.said
    place.pairs(*"klmnopqrst")
    result = place.index(grow_truth=True)
    assert (result.truth_version, result.splits) == (2, {"train": 16, "val": 4})
    content = json.loads((place.root / "json/master_labeled_dataset.json").read_text(encoding="utf-8"))
    assert content["truth_version"] == 2


def test_specimens_stay_together_and_late_members_of_judged_ones_wait(place: Place) -> None:
    place.pairs(*(f"s{specimen}_{number}" for specimen in range(6) for number in range(2)))
    place.index(GROUP_PATTERN="(s[0-9]+)_")
    records = place.records()
    assert records["s3_0.tif"].group == "s3"
    assert all(records[f"s{n}_0.tif"].split == records[f"s{n}_1.tif"].split for n in range(6))
    place.pairs(*(f"s{specimen}_2" for specimen in range(6)))
    result = place.index(GROUP_PATTERN="(s[0-9]+)_")
    assert result.splits == {"train": 12, "val": 4, None: 2}
    assert "adds them there: 2 (s" in place.said
    assert place.index(GROUP_PATTERN="(s[0-9]+)_", grow_truth=True).splits == {"train": 12, "val": 6}


def test_a_split_fixed_by_hand_wins_and_leaves_the_stored_one_alone(place: Place) -> None:
    place.pairs("s1_a", "s1_b", "s2_a", "s3_a")
    place.index()
    stored = (place.root / "json/splits.json").read_bytes()
    split = {"mine": {"train": ["s1_a", "s2_a.tif"], "val": ["s1_b"]}}
    (place.root / "my split.json").write_text(json.dumps(split), encoding="utf-8")
    result = place.index(SPLIT_FILE="my split.json#mine", GROUP_PATTERN="(s[0-9]+)_")
    assert result.splits == {"train": 2, "val": 1, None: 1}
    assert place.records()["s1_b.tif"].split == "val"
    assert "parts images of one specimen or stack, so its scores may be too good: s1." in place.said
    assert "SPLIT_FILE does not name and that are not used: 1 (s3_a.tif)" in place.said
    assert (place.root / "json/splits.json").read_bytes() == stored
    with pytest.raises(IndexingError, match="exclude each other"):
        place.index(SPLIT_FILE="my split.json#mine", grow_truth=True)


def test_unknown_names_in_a_split_fixed_by_hand_are_listed(place: Place) -> None:
    place.pairs("a")
    (place.root / "split.json").write_text('{"train": ["a", "b"], "val": ["c.tif"]}', encoding="utf-8")
    with pytest.raises(IndexingError, match=r"no labelled image is called b, c\.tif"):
        place.index(SPLIT_FILE="split.json")
    assert not (place.root / "json").exists()


def test_splits_of_another_version_are_refused_and_nothing_is_written(place: Place) -> None:
    place.pairs("a", "b")
    (place.root / "json").mkdir()
    (place.root / "json/splits.json").write_text('{"schema_version": 9}', encoding="utf-8")
    with pytest.raises(IndexingError, match="schema version 9"):
        place.index()
    assert list(place.json()) == ["splits.json"]


def test_how_masks_were_read_is_said(place: Place) -> None:
    ids = np.arange(32 * 40).reshape(32, 40) % 3
    place.pairs("plain", "colours", "near", "swapped")
    place.image("data/labeled/colours.png", pixels=COLOURS[ids])
    near = COLOURS[ids].copy()
    near[0, 0] += 2
    place.image("data/labeled/near.png", pixels=near)
    place.image("data/labeled/swapped.png", pixels=np.ascontiguousarray(COLOURS[ids][..., ::-1]))
    place.index()
    assert "class ids (1), colours (3)" in place.said
    assert "taken for it: 1 (in 1 of the masks)" in place.said
    assert "read the right way round: 1 (swapped.tif)" in place.said


def test_images_outside_the_workspace_are_named_by_their_whole_path(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "SEM disk"
    place.image(str(outside / "b1/a.png"))
    place.index(RAW_DIRS=["data/raw", str(outside)])
    assert place.records("raw")["b1/a.png"].image == (outside / "b1/a.png").as_posix()


@pytest.mark.parametrize("name", ["raw", "Labeled", "master_labeled_dataset", "splits"])
def test_a_data_set_may_not_have_a_name_of_ours(place: Place, name: str) -> None:
    place.image(f"datasets/{name}/raw_images/a.png")
    with pytest.raises(IndexingError, match="has a name that SRPU uses itself; rename the folder"):
        place.index()


def test_the_index_of_a_data_set_that_is_gone_is_removed_and_other_files_are_not(place: Place) -> None:
    place.pairs("a", "b")
    place.image("data/raw/c.tif")
    place.index()
    (place.root / "json/notes.json").write_text("{}", encoding="utf-8")
    place.mask("data/labeled/c.png")
    place.index()
    assert "raw.json" not in place.json()
    assert "notes.json" in place.json()
    assert "Removed" in place.said


@pytest.mark.parametrize("survivors", range(5))
def test_a_crash_between_two_files_leaves_whole_files_and_the_next_run_mends_all(
    place: Place, monkeypatch: pytest.MonkeyPatch, survivors: int
) -> None:
    place.pairs(*"abcdefgh")
    place.image("data/raw/z.tif")
    written = []
    original = files.open_replacing

    def dying(path: Path):  # type: ignore[no-untyped-def]
        if path.parent.name == "json":
            if len(written) == survivors:
                raise KeyboardInterrupt
            written.append(path)
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "open_replacing", dying)
        with pytest.raises(KeyboardInterrupt):
            place.index()
    for content in place.json().values() if survivors else ():
        json.loads(content)
    half = place.json() if survivors else {}
    place.index()
    assert half.items() <= place.json().items()
    assert len(place.json()) == 5
    assert not list((place.root / "json").glob(".tmp-*"))


def test_a_full_disk_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.pairs("a", "b")
    place.index()
    before = place.json()
    place.pairs("c")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WorkspaceError, match="the disk is full"):
        place.index()
    assert place.json() == before


def test_two_indexings_at_once_are_refused(place: Place) -> None:
    place.image("data/raw/a.png")
    with files.locked(place.root / "cache/index.lock", "test"), pytest.raises(WorkspaceError, match="already running"):
        place.index()


def test_a_folder_that_cannot_be_used_as_cache_is_one_sentence(place: Place) -> None:
    place.image("data/raw/a.png")
    (place.root / "cache").write_text("a file stands here", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="a file stands where a folder is needed"):
        place.index()


@pytest.mark.shared_data
def test_real_slices_are_one_stack_and_real_fields_are_not(place: Place, shared_data: Path) -> None:
    for name in ("fibsem", "superalloy", "barrier_coating", "axon"):
        folder = place.root / "datasets" / name
        folder.mkdir(parents=True)
        (folder / "raw_images").symlink_to(shared_data / name / "images")
        (folder / "masks").symlink_to(shared_data / name / "masks")
    place.index()
    groups = {name: {record.group for record in place.records(name).values()} for name in ("fibsem", "superalloy")}
    assert len(groups["fibsem"]) == 1
    assert len(groups["superalloy"]) == 18
    assert len({record.group for record in place.records("barrier_coating").values()}) == 22
