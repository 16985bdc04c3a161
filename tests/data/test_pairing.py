from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srpu.data.pairing import MASK_ENDINGS, Pair, Pairing, bare_stem, find_pairs
from srpu.data.scan import looks_like_mask
from srpu.errors import IndexingError, PairingError

Find = Callable[..., Pairing]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    def search(*raw: str, **others: object) -> Pairing:
        return find_pairs(
            [tmp_path / folder for folder in raw or ("raw",)],
            tmp_path / "labeled",
            tmp_path / "datasets",
            **{"classes": 3, "masks_among": masks_among, **others},
        )

    (tmp_path / "raw").mkdir()
    return search


def masks_among(paths: Sequence[Path]) -> set[Path]:
    return {path for path in paths if looks_like_mask(path)}


def image(path: Path, seed: int | None = None) -> None:
    """A grey picture; another for each name, unless the seed says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(sum(map(ord, path.stem)) if seed is None else seed)
    Image.fromarray(random.integers(0, 256, (24, 24), np.uint8)).save(path)


def mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(24 * 24, dtype=np.uint8).reshape(24, 24) % 3).save(path)


def found(pairing: Pairing, root: Path) -> dict[str, tuple[str, str | None]]:
    """For each id: the data set and the mask's path."""

    def told(pair: Pair) -> tuple[str, str | None]:
        return pair.dataset, pair.mask and pair.mask.path.relative_to(root).as_posix()

    return {pair.id: told(pair) for pair in pairing.pairs}


def test_raw_folders_are_searched_with_their_sub_folders(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/a.tif")
    image(tmp_path / "raw/batch 1/deep/b.PNG")
    assert found(find(), tmp_path) == {"a.tif": ("raw", None), "batch 1/deep/b.PNG": ("raw", None)}


def test_equal_names_in_two_batches_are_two_images(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/b1/a.tif")
    image(tmp_path / "raw/b2/a.tif")
    assert set(found(find(), tmp_path)) == {"b1/a.tif", "b2/a.tif"}


def test_equal_paths_in_several_roots_get_their_roots_names(find: Find, tmp_path: Path) -> None:
    for folder in ("one/raw", "two/raw", "three/more"):
        image(tmp_path / folder / "a.tif")
    assert set(found(find("one/raw", "two/raw", "three/more"), tmp_path)) == {"a.tif", "raw/a.tif", "more/a.tif"}


def test_roots_inside_each_other_find_each_image_once(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "data/raw/b1/a.tif")
    image(tmp_path / "data/b.tif")
    assert set(found(find("data", "data/raw", "data/raw"), tmp_path)) == {"b.tif", "b1/a.tif"}


def test_raw_root_around_everything_takes_no_mask_for_an_image(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/a.tif")
    mask(tmp_path / "labeled/a.png")
    image(tmp_path / "datasets/other/raw_images/b.tif")
    image(tmp_path / "cache/c.png")
    pairs = found(find(".", skip=[tmp_path / "cache"]), tmp_path)
    assert pairs == {"raw/a.tif": ("labeled", "labeled/a.png"), "other/b.tif": ("other", None)}


def test_a_missing_raw_folder_is_said(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/a.tif")
    assert str(tmp_path / "usb") in find("raw", "usb").notes[0]


def test_hidden_files_and_companions_are_passed_over_and_other_formats_counted(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/a.TIF")
    image(tmp_path / "raw/.b.tif")
    image(tmp_path / "raw/._a.tif")
    image(tmp_path / "raw/.cache/c.tif")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "a.roi", "RoiSet.zip", "Results.csv", "a.txt"):
        (tmp_path / "raw" / name).write_bytes(b"x")
    for name in ("a.dm3", "b.dm3", "c.czi"):
        (tmp_path / "raw" / name).write_bytes(b"x")
    pairing = find()
    assert set(found(pairing, tmp_path)) == {"a.TIF"}
    assert pairing.notes == ["Files passed over because they are no PNG, JPEG, BMP or TIFF: .czi (1), .dm3 (2)."]


def test_linked_folders_are_followed_once(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "elsewhere/a.tif")
    try:
        (tmp_path / "raw/link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (tmp_path / "elsewhere/back").symlink_to(tmp_path / "raw", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not allow links")
    assert set(found(find(), tmp_path)) == {"link/a.tif"}


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find: Find) -> None:
    def scandir(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(IndexingError, match="raw cannot be opened"):
        find()


@pytest.mark.parametrize("ending", ["", *MASK_ENDINGS, "_Mask"])
def test_a_mask_finds_its_image_anywhere_under_raw(find: Find, tmp_path: Path, ending: str) -> None:
    image(tmp_path / "raw/b1/粒子 X.tif")
    mask(tmp_path / f"labeled/粒子 X{ending}.png")
    assert found(find(), tmp_path) == {"b1/粒子 X.tif": ("labeled", f"labeled/粒子 X{ending}.png")}


@pytest.mark.parametrize("ending", ["", *MASK_ENDINGS])
def test_a_mask_finds_its_image_beside_it(find: Find, tmp_path: Path, ending: str) -> None:
    image(tmp_path / "labeled/X.tif")
    mask(tmp_path / f"labeled/X{ending}.png")
    assert found(find(), tmp_path) == {"X.tif": ("labeled", f"labeled/X{ending}.png")}


def test_image_and_mask_of_one_stem_are_told_apart_by_content(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "labeled/a.png")
    mask(tmp_path / "labeled/a.tif")
    image(tmp_path / "labeled/b.tif")
    Image.fromarray(np.array([[[0, 0, 255], [0, 255, 255]]], np.uint8)).save(tmp_path / "labeled/b.png")
    assert found(find(), tmp_path) == {
        "a.png": ("labeled", "labeled/a.tif"),
        "b.tif": ("labeled", "labeled/b.png"),
    }


def test_two_images_of_one_stem_without_a_mask_are_refused(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "labeled/a.png")
    image(tmp_path / "labeled/a.tif")
    with pytest.raises(PairingError, match=r"a\.png and .*a\.tif have the same name, and neither looks like a mask"):
        find()


def test_sub_folders_for_images_and_masks(find: Find, tmp_path: Path) -> None:
    for sample in ("s1", "s2"):
        image(tmp_path / f"labeled/{sample}/images/a.png")
        mask(tmp_path / f"labeled/{sample}/masks/a.png")
    assert found(find(), tmp_path) == {
        "s1/images/a.png": ("labeled", "labeled/s1/masks/a.png"),
        "s2/images/a.png": ("labeled", "labeled/s2/masks/a.png"),
    }


def test_suffixes_and_names_may_differ_in_case_and_in_the_writing_of_accents(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/Probe_U\u0308.TIF")
    mask(tmp_path / "labeled/probe_Ü_MASK.PNG")
    assert [pair.mask is not None for pair in find().pairs] == [True]


def test_equal_names_in_batches_are_paired_by_folder(find: Find, tmp_path: Path) -> None:
    for batch in ("b1", "b2"):
        image(tmp_path / f"raw/2024/{batch}/a.tif", seed=len(batch))
        mask(tmp_path / f"labeled/{batch}/a.png")
    assert found(find(), tmp_path) == {
        "2024/b1/a.tif": ("labeled", "labeled/b1/a.png"),
        "2024/b2/a.tif": ("labeled", "labeled/b2/a.png"),
    }


def test_a_mask_takes_the_image_that_no_nearer_mask_claims(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/a.tif")
    image(tmp_path / "raw/b1/a.tif")
    mask(tmp_path / "labeled/a.png")
    mask(tmp_path / "labeled/b1/a.png")
    assert found(find(), tmp_path) == {
        "a.tif": ("labeled", "labeled/a.png"),
        "b1/a.tif": ("labeled", "labeled/b1/a.png"),
    }


def test_every_problem_is_named_at_once_with_its_paths(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/b1/two.tif")
    image(tmp_path / "raw/b2/two.tif")
    mask(tmp_path / "labeled/two.png")
    mask(tmp_path / "labeled/lonely_mask.png")
    image(tmp_path / "raw/both.tif")
    mask(tmp_path / "labeled/both.png")
    mask(tmp_path / "labeled/both_label.png")
    with pytest.raises(PairingError) as refused:
        find()
    text = str(refused.value)
    assert text.startswith("3 problems with masks; nothing was written:")
    for name in ("raw/b1/two.tif", "raw/b2/two.tif", "labeled/two.png"):
        assert str(tmp_path / name) in text
    assert f"{tmp_path / 'labeled/lonely_mask.png'} has no image" in text
    assert f"{tmp_path / 'raw/both.tif'} has 2 masks" in text


def test_a_mask_cannot_share_the_image_of_another(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/b1/a.tif")
    mask(tmp_path / "labeled/b1/a.png")
    mask(tmp_path / "labeled/b2/a.png")
    with pytest.raises(PairingError, match=r"a\.tif has 2 masks"):
        find()


def test_an_image_in_labeled_is_nearer_to_its_mask_than_one_in_raw(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/b1/a.tif")
    image(tmp_path / "labeled/a.tif")
    mask(tmp_path / "labeled/a_mask.png")
    assert found(find(), tmp_path) == {"a.tif": ("labeled", "labeled/a_mask.png"), "b1/a.tif": ("raw", None)}


def test_a_copy_without_a_mask_is_no_mask(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/a.tif")
    (tmp_path / "labeled").mkdir()
    shutil.copy(tmp_path / "raw/a.tif", tmp_path / "labeled/a.tif")
    assert [(pair.dataset, pair.mask) for pair in find().pairs] == [("labeled", None), ("raw", None)]


def test_a_mask_may_be_the_very_same_file_as_its_image(find: Find, tmp_path: Path) -> None:
    """Of one pixel, say."""
    for name in ("raw/a.png", "labeled/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / name)
    assert found(find(), tmp_path) == {"a.png": ("labeled", "labeled/a.png")}


def test_what_can_only_be_a_mask_is_taken_for_one_even_if_it_is_smoothed(find: Find, tmp_path: Path) -> None:
    """Reading it will say what is wrong; taking it for an image would hide it."""
    image(tmp_path / "raw/a.tif")
    image(tmp_path / "labeled/a.png", seed=7)
    assert found(find(), tmp_path) == {"a.tif": ("labeled", "labeled/a.png")}


def test_a_repaired_mask_stands_in_for_the_one_beside_it(find: Find, tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path / f"raw/{name}.tif")
    image(tmp_path / "labeled/a.png", seed=7)
    mask(tmp_path / "labeled/a_repaired.png")
    mask(tmp_path / "labeled/b_mask.png")
    mask(tmp_path / "labeled/b_mask_repaired.png")
    assert found(find(), tmp_path) == {
        "a.tif": ("labeled", "labeled/a_repaired.png"),
        "b.tif": ("labeled", "labeled/b_mask_repaired.png"),
    }


def test_an_image_may_be_called_like_a_mask(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "labeled/x_label.tif")
    mask(tmp_path / "labeled/x_label_mask.png")
    assert found(find(), tmp_path) == {"x_label.tif": ("labeled", "labeled/x_label_mask.png")}


def test_masks_among_raw_images_are_no_images(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "raw/a.tif")
    mask(tmp_path / "raw/a_mask.png")
    mask(tmp_path / "raw/masks/a.png")
    pairing = find()
    assert found(pairing, tmp_path) == {"a.tif": ("raw", None)}
    assert pairing.notes[0].startswith("Masks among raw images, not used: 2 (")


@pytest.mark.parametrize("folder", ["masks_3class", "masks"])
def test_named_data_sets(find: Find, tmp_path: Path, folder: str) -> None:
    image(tmp_path / "datasets/阳极/raw_images/sub/a.tif")
    image(tmp_path / "datasets/阳极/raw_images/b.tif")
    mask(tmp_path / f"datasets/阳极/{folder}/sub/a_label.png")
    assert found(find(), tmp_path) == {
        "阳极/b.tif": ("阳极", None),
        "阳极/sub/a.tif": ("阳极", f"datasets/阳极/{folder}/sub/a_label.png"),
    }


def test_masks_of_another_number_of_classes_are_refused(find: Find, tmp_path: Path) -> None:
    image(tmp_path / "datasets/d/raw_images/a.tif")
    mask(tmp_path / "datasets/d/masks_5class/a.png")
    with pytest.raises(
        PairingError, match="masks_5class holds masks of another number of classes than NUM_CLASSES = 3"
    ):
        find()
    assert found(find(classes=5), tmp_path) == {"d/a.tif": ("d", "datasets/d/masks_5class/a.png")}


def test_a_data_set_without_images_is_said(find: Find, tmp_path: Path) -> None:
    (tmp_path / "datasets/d/images").mkdir(parents=True)
    assert "no folder raw_images" in find().notes[0]


def test_empty_folders_hold_nothing(find: Find) -> None:
    assert find().pairs == []


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=8),
    st.sampled_from(MASK_ENDINGS),
)
def test_an_ending_is_taken_off_whatever_the_stem(stem: str, ending: str) -> None:
    assert bare_stem(stem + ending) == stem
    assert bare_stem(stem + ending + "_repaired") == stem
