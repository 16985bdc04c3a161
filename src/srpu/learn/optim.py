"""How weights are changed: optimisers and the course of the learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn


def build_optimizer(model: nn.Module, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum; biases and normalisation weights are not decayed."""
    weights = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "SGD":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=learning_rate)


def warmup_cosine(progress: float, warmup: float) -> float:
    """The share of the highest learning rate at ``progress`` through training.

    It rises in a line over the share ``warmup`` of training, then falls along a cosine to zero. Loshchilov and Hutter,
    SGDR, 2017.

    >>> [round(warmup_cosine(p, 0.2), 3) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    rest = (min(progress, 1.0) - warmup) / max(1.0 - warmup, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * rest))
