"""What an encoder's features tell about classes before anything is fine-tuned, and what they look like.

Probes are simple on purpose: what they find must lie in the features. A linear probe is multinomial logistic regression
(Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016); the other probe asks the
nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

Features = Float32[Tensor, "n d"]
Judged = Float32[Tensor, "m d"]
Classes = Int64[Tensor, " n"]

SHRINKAGE = 1e-3
"""Pull of the linear probe's weights towards zero, per weight squared."""

AT_ONCE = 1024
"""Pixels whose neighbours are looked for at once."""


@torch.no_grad()
def features_at(
    encoder: nn.Module, images: Float[Tensor, "b 1 h w"], places: Float[Tensor, "b k 2"]
) -> Float32[Tensor, "b k d"]:
    """The features of single pixels: those of all levels one after the other, interpolated.

    Args:
        encoder: Gives maps of the images; it is put into evaluation mode.
        images: Normalised.
        places: Where, as (x, y) from -1 at the left or upper edge to 1 at the other.
    """
    maps = encoder.eval()(images)
    found = [
        F.grid_sample(level.float(), places[:, None], align_corners=False, padding_mode="border")[:, :, 0]
        for level in maps
    ]
    return torch.cat(found, dim=1).transpose(1, 2)


class Scaler:
    """Takes features to mean 0 and deviation 1, as measured on some."""

    def __init__(self, features: Features) -> None:
        self.mean, self.deviation = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)

    def __call__(self, features: Features) -> Features:
        """The features in these units."""
        return (features - self.mean) / self.deviation


def linear_probe(features: Features, classes: Classes, judged: Judged, count: int) -> UInt8[np.ndarray, " m"]:
    """The classes that logistic regression, fitted on the first two, finds for ``judged``.

    >>> features = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]])
    >>> linear_probe(features, torch.tensor([0, 0, 1, 1]), torch.tensor([[-3.0], [0.5]]), count=2).tolist()
    [0, 1]
    """
    scale = Scaler(features)
    known = scale(features)
    weights = torch.zeros(known.shape[1], count, device=known.device, requires_grad=True)
    bias = torch.zeros(count, device=known.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(known @ weights + bias, classes) + SHRINKAGE * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return (scale(judged) @ weights + bias).argmax(1).to(torch.uint8).cpu().numpy()


def neighbour_probe(
    features: Features, classes: Classes, judged: Judged, count: int, neighbours: int
) -> UInt8[np.ndarray, " m"]:
    """The classes that most of the nearest among ``features``, by the angle between them, have.

    >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> neighbour_probe(features, torch.tensor([0, 0, 1]), torch.tensor([[2.0, 0.3]]), count=2, neighbours=1).tolist()
    [0]
    """
    scale = Scaler(features)
    known = F.normalize(scale(features))
    votes_of = F.one_hot(classes, count).float()
    found = []
    for part in torch.split(scale(judged), AT_ONCE):
        nearest = (F.normalize(part) @ known.T).topk(min(neighbours, len(known)), dim=1).indices
        found.append(votes_of[nearest].sum(1).argmax(1))
    return torch.cat(found).to(torch.uint8).cpu().numpy()


@torch.no_grad()
def component_pictures(
    encoder: nn.Module, images: Float[Tensor, "b 1 h w"], stride: int = 4
) -> list[UInt8[np.ndarray, "h2 w2 3"]]:
    """The three directions in which the features of all ``images`` differ most, as red, green and blue.

    Every level of the encoder counts alike. Colours mean nothing by themselves; what has one colour has like features.

    Args:
        encoder: Gives maps of the images; it is put into evaluation mode.
        images: Normalised.
        stride: Image pixels per pixel of the picture.
    """
    size = (images.shape[-2] // stride, images.shape[-1] // stride)
    levels: Sequence[Tensor] = encoder.eval()(images)
    rows = []
    for level in levels:
        if level.shape[-2] > size[0]:
            fitted = F.adaptive_avg_pool2d(level.float(), size)
        else:
            fitted = F.interpolate(level.float(), size=size, mode="bilinear", align_corners=False)
        flat = fitted.movedim(1, -1).flatten(0, 2)
        rows.append(Scaler(flat)(flat) / flat.shape[1] ** 0.5)
    features = torch.cat(rows, dim=1)
    _, directions = torch.linalg.eigh(features.T @ features)
    parts = (features @ directions[:, -3:].flip(1)).cpu().numpy()
    low, high = np.percentile(parts, (1, 99), axis=0)
    colours = np.clip((parts - low) / np.maximum(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return list(colours.reshape(len(images), size[0], size[1], 3))
