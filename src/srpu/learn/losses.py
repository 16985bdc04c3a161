"""What training makes small. Every loss takes logits and class ids, and does not see pixels that are ignored."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def cross_entropy(
    logits: Float[Tensor, "b c h w"], ids: Int64[Tensor, "b h w"], weights: Float[Tensor, " c"] | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy, averaged over the labelled pixels (each counted by its class's weight).

    >>> cross_entropy(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)).item()  # -log(1/2)
    0.6931471824645996
    """
    picked = F.cross_entropy(logits.float(), ids, weights, ignore_index=IGNORE, reduction="sum")
    labelled = ids != IGNORE
    counted = labelled.sum() if weights is None else weights[ids[labelled]].sum()
    return picked / counted.clamp(min=1e-6)


def dice_loss(
    logits: Float[Tensor, "b c h w"], ids: Int64[Tensor, "b h w"], weights: Float[Tensor, " c"] | None = None
) -> Float[Tensor, ""]:
    """One minus soft Dice over the whole batch, averaged over the classes that occur in it.

    Milletari et al., V-Net, 2016. A class that the batch does not show is left out, so that it is not pushed down.

    >>> sure = torch.tensor([[[[50.0]], [[-50.0]]]])
    >>> dice_loss(sure, torch.zeros(1, 1, 1, dtype=torch.int64)).item()
    0.0
    """
    labelled = (ids != IGNORE).unsqueeze(1)
    probabilities = logits.float().softmax(dim=1) * labelled
    truth = F.one_hot(ids.where(ids != IGNORE, 0), logits.shape[1]).movedim(-1, 1) * labelled
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    total = (probabilities + truth).sum(dim=(0, 2, 3))
    share = (truth.sum(dim=(0, 2, 3)) > 0).float()
    if weights is not None:
        share = share * weights
    return (share * (1 - 2 * overlap / total.clamp(min=1e-6))).sum() / share.sum().clamp(min=1e-6)


def dice_cross_entropy(
    logits: Float[Tensor, "b c h w"], ids: Int64[Tensor, "b h w"], weights: Float[Tensor, " c"] | None = None
) -> Float[Tensor, ""]:
    """The sum of :func:`dice_loss` and :func:`cross_entropy`."""
    return dice_loss(logits, ids, weights) + cross_entropy(logits, ids, weights)


def focal_loss(
    logits: Float[Tensor, "b c h w"], ids: Int64[Tensor, "b h w"], weights: Float[Tensor, " c"] | None = None
) -> Float[Tensor, ""]:
    """Focal loss with exponent 2: pixels that are already right count little. Lin et al., 2017.

    >>> round(focal_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)).item(), 4)  # 0.25 * log 2
    0.1733
    """
    labelled = ids != IGNORE
    surprise = F.cross_entropy(logits.float(), ids, ignore_index=IGNORE, reduction="none")[labelled]
    factor = torch.ones_like(surprise) if weights is None else weights[ids[labelled]]
    return (factor * (1 - torch.exp(-surprise)) ** 2 * surprise).sum() / factor.sum().clamp(min=1e-6)


LOSSES: dict[str, Loss] = {
    "CELoss": cross_entropy,
    "DiceLoss": dice_loss,
    "DiceCELoss": dice_cross_entropy,
    "FocalLoss": focal_loss,
}


def balanced_weights(counts: Int64[Tensor, " c"]) -> Float[Tensor, " c"]:
    """Weights that make every class count alike: total / (classes x pixels of the class).

    A class that never occurs gets 0.

    >>> balanced_weights(torch.tensor([30, 10]))
    tensor([0.6667, 2.0000])
    """
    total = counts.sum().float()
    return torch.where(counts > 0, total / (len(counts) * counts.clamp(min=1)), 0.0)
