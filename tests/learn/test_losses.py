"""Losses against numbers made by hand and by torch."""

import math

import pytest
import torch
from torch.nn import functional as F

from srpu.learn.losses import LOSSES, balanced_weights, cross_entropy, dice_loss, focal_loss

IGNORE = 255


def case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 6, 5, generator=generator)
    ids = torch.randint(0, 3, (2, 6, 5), generator=generator)
    ids[0, :3] = IGNORE
    return logits, ids


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_change_nothing(name: str) -> None:
    logits, ids = case()
    other = logits.clone()
    other[0, :, :3] = 1e3
    assert torch.equal(LOSSES[name](logits, ids, None), LOSSES[name](other, ids, None))


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_labels_costs_nothing_and_has_finite_gradients(name: str) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = LOSSES[name](logits, torch.full((1, 4, 4), IGNORE), None)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing(name: str) -> None:
    ids = torch.tensor([[[0, 1], [2, IGNORE]]])
    logits = F.one_hot(ids.clamp(max=2), 3).movedim(-1, 1) * 100.0
    assert LOSSES[name](logits, ids, None).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5])])
def test_cross_entropy_is_torchs(weights: torch.Tensor | None) -> None:
    logits, ids = case()
    expected = F.cross_entropy(logits, ids, weights, ignore_index=IGNORE)
    torch.testing.assert_close(cross_entropy(logits, ids, weights), expected)


def test_dice_by_hand() -> None:
    ids = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.log(torch.tensor([[[[0.5, 1.0, 0.5, 0.0]], [[0.5, 0.0, 0.5, 1.0]]]]) + 1e-30)
    # each class: overlap 1.5, predicted 2, true 2: Dice 3/4
    assert dice_loss(logits, ids).item() == pytest.approx(0.25, abs=1e-5)


def test_dice_leaves_out_classes_that_the_batch_does_not_show() -> None:
    ids = torch.zeros(1, 1, 4, dtype=torch.int64)
    logits = torch.tensor([9.0, -9.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 4)
    two = dice_loss(logits, ids)
    assert two.item() < 0.01


def test_focal_without_focus_on_hard_pixels_is_smaller_than_cross_entropy() -> None:
    logits, ids = case()
    assert focal_loss(logits, ids).item() < cross_entropy(logits, ids).item()
    uniform = torch.zeros(1, 4, 2, 2)
    expected = (3 / 4) ** 2 * math.log(4)
    assert focal_loss(uniform, torch.zeros(1, 2, 2, dtype=torch.int64)).item() == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_make_classes_count_alike() -> None:
    weights = balanced_weights(torch.tensor([900, 90, 10, 0]))
    counted = weights[:3] * torch.tensor([900.0, 90.0, 10.0])
    torch.testing.assert_close(counted, torch.full((3,), 250.0))
    assert weights[3] == 0
