"""How weights are changed: optimisers and the course of the learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn


def build_optimizer(
    model: nn.Module,
    name: str,
    learning_rate: float,
    weight_decay: float,
    *,
    slow: nn.Module | None = None,
    slow_factor: float = 1.0,
) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum; biases and normalisation weights are not decayed.

    Args:
        model: Whose weights are changed.
        name: "AdamW" or "SGD".
        learning_rate: At its highest.
        weight_decay: Pull towards zero per step, times the learning rate.
        slow: A part of ``model`` with a learning rate of its own, such as a pretrained encoder.
        slow_factor: That learning rate, in units of the others'.
    """
    apart = set(map(id, slow.parameters())) if slow is not None and slow_factor != 1 else set()
    groups = []
    for factor, chosen in ((1.0, False), (slow_factor, True)):
        weights = [p for p in model.parameters() if p.requires_grad and (id(p) in apart) is chosen]
        if weights:
            groups += [
                {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
                {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
            ]
            for group in groups[-2:]:
                group["lr"] = learning_rate * factor
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
