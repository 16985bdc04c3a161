"""Optimisers and the course of the learning rate."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from srpu.learn.optim import build_optimizer, warmup_cosine


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_only_matrices_are_decayed(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(model, name, 0.1, 0.5)
    assert type(optimizer).__name__ == name
    decays = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert {parameter.ndim: decay for parameter, decay in decays.items()} == {4: 0.5, 1: 0.0}
    assert len(decays) == 4


def test_frozen_weights_are_left_out() -> None:
    model = nn.Linear(3, 3).requires_grad_(False)
    model.bias.requires_grad_(True)
    groups = build_optimizer(model, "AdamW", 0.1, 0.5).param_groups
    assert [parameter for group in groups for parameter in group["params"]] == [model.bias]


@given(st.floats(0, 1), st.floats(0.01, 0.9))
def test_the_learning_rate_stays_between_zero_and_its_peak(progress: float, warmup: float) -> None:
    assert 0 <= warmup_cosine(progress, warmup) <= 1
    assert warmup_cosine(warmup, warmup) == pytest.approx(1)
    assert warmup_cosine(1.5, warmup) == pytest.approx(0, abs=1e-9)


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert warmup_cosine(0.0, 0.0) == 1.0
    assert torch.isfinite(torch.tensor(warmup_cosine(1.0, 1.0)))
