from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srpu.learn.checkpoint import load_tensors, save_tensors
from srpu.learn.device import Precision
from srpu.learn.novelty import Novelty, pooled_features
from srpu.models.segmenter import Segmenter, build_segmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    return build_segmenter("unet", "unet", 2).eval()


def grains(seed: int, size: tuple[int, int] = (200, 256), blur: int = 3) -> np.ndarray:
    """A texture; a larger blur makes it coarser."""
    import cv2

    noise = np.random.default_rng(seed).normal(size=size)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def look(model: Segmenter, image: np.ndarray, precision: Precision = "fp32") -> np.ndarray:
    shift_scale = float(image.mean()), float(image.std()) or 1.0
    return pooled_features(model, image, shift_scale, device=CPU, precision=precision)


@pytest.mark.parametrize("n", [3, 12])
def test_another_texture_is_unlike_and_the_same_is_not(model: Segmenter, n: int) -> None:
    novelty = Novelty.fit(np.stack([look(model, grains(seed)) for seed in range(n)]))
    alike = [novelty.distance(look(model, grains(seed))) for seed in (100, 101)]
    unlike = [novelty.distance(look(model, grains(100, blur=40))), novelty.distance(look(model, striped()))]
    assert max(alike) < 1 < min(unlike)


def test_one_training_image_is_enough_to_tell_which_image_is_less_like_it(model: Segmenter) -> None:
    novelty = Novelty.fit(look(model, grains(0))[None])
    alike, coarse, striped_one = (
        novelty.distance(look(model, image)) for image in (grains(1), grains(1, blur=40), striped())
    )
    assert alike < 0.5
    assert alike < coarse < striped_one


def striped() -> np.ndarray:
    return np.tile(np.array([0, 255], np.uint8), (200, 128))


def test_brightness_and_contrast_that_normalisation_removes_do_not_count(model: Segmenter) -> None:
    image = grains(0)
    np.testing.assert_allclose(look(model, image), look(model, image.astype(np.uint16) * 100 + 7), atol=1e-4)


def test_features_have_length_one_and_hardly_depend_on_the_precision(model: Segmenter) -> None:
    exact, rough = look(model, grains(0)), look(model, grains(0), "bf16")
    assert exact.dtype == np.float32
    assert np.linalg.norm(exact) == pytest.approx(1, abs=1e-5)
    assert 0 < np.linalg.norm(exact - rough) < 0.01


@pytest.mark.parametrize("size", [(1, 1), (5, 700), (512, 512)])
def test_images_of_any_size_have_features(model: Segmenter, size: tuple[int, int]) -> None:
    features = look(model, grains(0, size) if min(size) > 1 else np.full(size, 7, np.uint8))
    assert np.isfinite(features).all()


def test_at_most_four_places_are_looked_at(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Size] = []
    monkeypatch.setattr(model, "encode", lambda batch: seen.append(batch.shape) or [batch.expand(-1, 3, -1, -1)])
    look(model, grains(0, (2000, 3000)))
    assert seen == [torch.Size([4, 1, 256, 256])]


def points(seed: int, n: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = np.full(64, 1 / 8)
    return (centre + rng.normal(size=(n, 64)) * spread / 8).astype(np.float32)


@given(st.integers(1, 60), st.floats(0.02, 0.3), st.integers(0, 1000))
def test_few_new_images_of_the_same_kind_are_called_unlike(n: int, spread: float, seed: int) -> None:
    novelty = Novelty.fit(points(seed, n, spread))
    new = points(seed + 1, 20, spread)
    assert np.mean([novelty.distance(one) > 1 for one in new]) <= (1 if n == 1 else 0.1)
    assert novelty.distance(new[0] + 1) > 1


def test_one_odd_training_image_does_not_make_everything_usual() -> None:
    training = points(0, 16, 0.1)
    training[3] += 1
    assert Novelty.fit(training).distance(points(1, 1, 0.1)[0] + 0.2) > 1


def test_copies_of_one_image_do_not_make_everything_unlike() -> None:
    novelty = Novelty.fit(np.repeat(points(0, 1, 0.1), 5, axis=0))
    assert novelty.distance(points(0, 1, 0.1)[0]) == 0
    assert novelty.distance(points(0, 1, 0.1)[0] + 0.01) < 1
    assert novelty.distance(points(0, 1, 0.1)[0] + 0.05) > 1


def test_a_thousand_training_images_survive_a_checkpoint(tmp_path: Path) -> None:
    novelty = Novelty.fit(points(0, 1000, 0.1))
    save_tensors(tmp_path / "model.pth", {"novelty": novelty.state()})
    again = Novelty.from_state(load_tensors(tmp_path / "model.pth")["novelty"])
    one = points(1, 1, 0.1)[0]
    assert again.distance(one) == novelty.distance(one)
