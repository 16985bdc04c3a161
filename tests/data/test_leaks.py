from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from srpu.data import leaks
from srpu.data.fingerprint import Match, Mould, fingerprint
from srpu.data.images import read_image
from srpu.data.leaks import EXACT, Leak, find_leaks
from srpu.data.microstructure import make_section
from srpu.data.sem_physics import quantise, take_picture
from srpu.data.synthetic import Recipe, vary
from srpu.settings import Settings

THRESHOLD = Settings().NEAR_DUPLICATE_CORRELATION

Change = Callable[[np.ndarray], np.ndarray]


def field(seed: int, height: int = 320, width: int = 400) -> np.ndarray:
    """Grains with sharp edges, uneven light and noise."""
    rng = np.random.default_rng(seed)
    grains = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 7)
    shading = np.linspace(0, 40, width)
    return np.clip(90 + 60 * (grains > 0) + shading + rng.normal(0, 8, grains.shape), 0, 255).astype(np.uint8)


def correlate(first: np.ndarray, second: np.ndarray) -> Match:
    return Mould(fingerprint(second)).fit(fingerprint(first))


def noisy(image: np.ndarray) -> np.ndarray:
    return image + np.random.default_rng(9).normal(0, 60, image.shape).astype(np.float32)


CHANGES: dict[str, tuple[Change, str]] = {
    "contrast": (lambda image: (image // 3 + 100).astype(np.uint8), "same way up"),
    "gamma": (lambda image: (255 * (image / 255) ** 2.2).astype(np.uint8), "same way up"),
    "noise": (noisy, "same way up"),
    "blur": (lambda image: cv2.GaussianBlur(image, (0, 0), 2), "same way up"),
    "16 bit": (lambda image: image.astype(np.uint16) * 257, "same way up"),
    "float": (lambda image: image.astype(np.float32) / 1e4 - 3, "same way up"),
    "clipped": (lambda image: np.clip(image, 100, 190), "same way up"),
    "half the pixels": (lambda image: cv2.resize(image, None, fx=0.5, fy=0.5), "same way up"),
    "drift": (lambda image: image[20:, 30:], "same way up"),
    "mirrored": (lambda image: image[:, ::-1], "mirrored"),
    "turned": (lambda image: np.rot90(image, 3), "turned by 90°"),
    "turned and mirrored, shifted, noisy": (
        lambda image: noisy(np.rot90(image[:300, 25:])[:, ::-1]),
        "mirrored, turned by 270°",
    ),
    "inverted": (lambda image: 255 - image, "inverted"),
    "a crop": (lambda image: image[60:240, 150:350], "same way up"),
    "turned a little": (
        lambda image: cv2.warpAffine(
            image, cv2.getRotationMatrix2D((200, 160), 1, 1), (400, 320), borderMode=cv2.BORDER_REFLECT
        ),
        "same way up",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_field_is_found_however_it_was_changed(name: str) -> None:
    change, how = CHANGES[name]
    image = field(1)
    match = correlate(image, change(image))
    assert match.correlation > THRESHOLD + 0.1
    assert match.how == how


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_crops_that_overlap_are_found(share: float) -> None:
    whole = field(2, 300, 600)
    apart = round(300 * (1 - share))
    assert correlate(whole[:, :300], whole[:, apart : apart + 300]).correlation > THRESHOLD


def test_slices_of_a_stack_are_found_if_they_are_near() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 200, 200))
    stack = [cv2.GaussianBlur(noise[place : place + 8].sum(axis=0), (0, 0), 3) for place in range(32)]
    assert correlate(stack[0], stack[1]).correlation > THRESHOLD
    assert correlate(stack[0], stack[20]).correlation < THRESHOLD


def test_other_fields_are_no_duplicates() -> None:
    fields = [fingerprint(field(seed)) for seed in range(9)]
    found = [Mould(one).fit(other).correlation for one in fields[:3] for other in fields[3:]]
    assert max(found) < THRESHOLD - 0.1


def test_layers_that_all_fields_share_are_no_duplicates() -> None:
    layers = np.repeat([40, 200, 120], [120, 60, 140])[:, None]
    fields = [(0.3 * field(seed) + layers).astype(np.float32) for seed in (1, 2, 3)]
    assert np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1] > 0.9
    assert max(correlate(fields[0], other).correlation for other in fields[1:]) < THRESHOLD


def test_fields_of_a_generated_cathode_are_no_duplicates_but_two_pictures_of_one_are() -> None:
    recipe = vary(Recipe(), 1)

    def picture(place: int, microscope: int) -> np.ndarray:
        section = make_section(recipe, 256, 256, np.random.default_rng(place))
        shot = take_picture(section, recipe, recipe.pixel_size_nm, np.random.default_rng(microscope))
        return quantise(shot[0], 8)

    assert correlate(picture(1, 1), picture(1, 2)).correlation > THRESHOLD
    assert correlate(picture(1, 1), picture(2, 1)).correlation < THRESHOLD


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (20, 20), (300, 300)])
def test_blank_and_tiny_images_are_like_nothing(shape: tuple[int, int]) -> None:
    blank = np.full(shape, 7, np.uint8)
    assert correlate(blank, blank).correlation == 0
    assert correlate(blank, field(1)).correlation < THRESHOLD
    assert correlate(field(1), field(2, *np.minimum(shape, 20))).correlation < THRESHOLD


def test_pairs_are_sought_across_splits_only_and_the_surest_come_first() -> None:
    a, b, c = field(1), field(2), field(3)
    pictures = [a, a + 1, b, b[::-1], c, a]
    splits = ["train", "train", "val", "val", "test", "test"]
    hashes = ["a", "a'", "b", "b'", "c", "a"]
    found = find_leaks(splits, hashes, [fingerprint(picture) for picture in pictures], THRESHOLD)
    assert found[0] == Leak(0, 5, 1.0, EXACT)
    assert [(leak.first, leak.second) for leak in found] == [(0, 5), (1, 5)]


def test_validation_is_compared_with_test() -> None:
    picture = fingerprint(field(1))
    found = find_leaks(["test", "val"], ["x", "y"], [picture, picture], THRESHOLD)
    assert [(leak.first, leak.second) for leak in found] == [(1, 0)]


@pytest.mark.parametrize("splits", [[], ["train"], ["val"], ["train", "train"]])
def test_nothing_to_compare(splits: list[str]) -> None:
    pictures = [fingerprint(field(1))] * len(splits)
    assert find_leaks(splits, [str(n) for n in range(len(splits))], pictures, THRESHOLD) == []


def test_among_many_images_the_likeliest_partners_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PAIRS_IN_FULL", 0)
    fields = [field(seed, 256, 256) for seed in range(40)]
    whole = field(99, 256, 512)
    changed = [
        np.rot90(fields[3][:, ::-1]),
        noisy(np.roll(fields[5], 30, axis=1)),
        255 - fields[7],
        whole[:, 140:396],
        field(100),
    ]
    training = [*fields, whole[:, :256]]
    found = find_leaks(
        ["train"] * len(training) + ["val"] * len(changed),
        [str(number) for number in range(len(training) + len(changed))],
        [fingerprint(picture) for picture in [*training, *changed]],
        THRESHOLD,
    )
    assert {(leak.first, leak.second) for leak in found} == {(3, 41), (5, 42), (7, 43), (40, 44)}


def test_an_exact_copy_of_a_blank_image_is_found_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PAIRS_IN_FULL", 0)
    blank = fingerprint(np.zeros((64, 64), np.uint8))
    hashes = [str(number) for number in range(12)] + ["3"]
    found = find_leaks(["train"] * 12 + ["test"], hashes, [blank] * 13, THRESHOLD)
    assert found == [Leak(3, 12, 1.0, EXACT)]


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["superalloy", "barrier_coating"])
def test_real_fields_of_one_material_are_no_duplicates(shared_data: Path, name: str) -> None:
    paths = sorted((shared_data / name / "images").iterdir())
    pictures = [fingerprint(read_image(path)) for path in paths]
    splits = ["train" if number % 2 else "val" for number in range(len(paths))]
    assert find_leaks(splits, [path.name for path in paths], pictures, THRESHOLD) == []


@pytest.mark.shared_data
def test_real_slices_are_duplicates_of_their_neighbours(shared_data: Path) -> None:
    paths = sorted((shared_data / "fibsem" / "images").iterdir())[::5]
    pictures = [fingerprint(read_image(path)) for path in paths]
    near = [fingerprint(read_image(path.with_name(f"z{int(path.stem[1:]) + 2:03d}.png"))) for path in paths[:-1]]
    assert min(Mould(one).fit(next_).correlation for one, next_ in zip(pictures, near, strict=False)) > THRESHOLD
    assert max(Mould(one).fit(far).correlation for one, far in zip(pictures, pictures[2:], strict=False)) < THRESHOLD
