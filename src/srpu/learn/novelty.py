"""Does an image look unlike those that the model was trained on?

An image is described by the mean and deviation of each channel of the encoder, its "style" (Huang and Belongie,
arXiv:1703.06868), each level counting alike. How unlike the training images it is, is how far its nearest neighbours
among them are (Sun et al., arXiv:2204.06507), in units of what is usual among themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped

from srpu.learn.device import Precision, autocast
from srpu.models.segmenter import Segmenter

_EDGE = 256
_LEAST = 0.1  # two views of one specimen differ by as much
_EXPECTED = (
    0.15  # median distance between two images of one kind in four data sets (superalloy, coating, axon, FIB-SEM)
)


@torch.inference_mode()
def pooled_features(
    model: Segmenter,
    image: Shaped[np.ndarray, "h w"],
    shift_scale: tuple[float, float],
    *,
    device: torch.device,
    precision: Precision,
) -> Float32[np.ndarray, " d"]:
    """What the encoder answers at one to four places of ``image``, as a vector of length 1.

    Args:
        model: Lies on ``device``. It is put into evaluation mode.
        image: Grey levels as read, without data bar.
        shift_scale: The network sees ``(image - shift) / scale``.
        device: Where to compute.
        precision: Number format of the forward pass.
    """
    model.eval()
    shift, scale = shift_scale
    rows, columns = (_places(length) for length in image.shape)
    tiles = np.stack([image[row, column] for row in rows for column in columns]).astype(np.float32)
    batch = torch.from_numpy((tiles - shift) / scale)[:, None].to(device, memory_format=torch.channels_last)
    with autocast(device, precision):
        levels = model.encode(batch)
    styles = []
    for level in levels:
        deviation, mean = torch.std_mean(level.float(), dim=(0, 2, 3), correction=0)
        style = torch.cat([mean, deviation])
        styles.append(style / style.norm().clamp_min(1e-12))
    return (torch.cat(styles) / math.sqrt(len(styles))).cpu().numpy()


@dataclass(frozen=True, eq=False)
class Novelty:
    """What the training images look like to the encoder.

    Attributes:
        features: The features of each training image.
        limit: The distance beyond which an image is called unlike them.
    """

    features: Float32[np.ndarray, "n d"]
    limit: float

    @classmethod
    def fit(cls, features: Float[np.ndarray, "n d"]) -> Novelty:
        """Learn from each training image's distance to the others what is usual.

        The limit is twice the median of these distances, or their 90th percentile if that is more. One distance that
        is known from other data sets joins them, and alone decides where there is only one training image.

        Args:
            features: :func:`pooled_features` of one or more training images.
        """
        features = features.astype(np.float32)
        apart = np.stack([np.linalg.norm(features - one, axis=1) for one in features])
        np.fill_diagonal(apart, np.inf)
        nearest = _nearest(apart)
        usual = [*nearest[np.isfinite(nearest)], _EXPECTED]
        return cls(features, max(2 * float(np.median(usual)), float(np.quantile(usual, 0.9)), _LEAST))

    def distance(self, features: Float[np.ndarray, " d"]) -> float:
        """How unlike the training images an image is: beyond 1 it should not be trusted unseen."""
        apart = np.linalg.norm(self.features - features, axis=1)
        return float(_nearest(apart)) / self.limit

    def state(self) -> dict[str, Any]:
        """A tensor and a number, for a checkpoint."""
        return {"features": torch.from_numpy(self.features), "limit": self.limit}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Novelty:
        """What :meth:`state` gave."""
        return cls(state["features"].numpy(), state["limit"])


def _nearest(apart: Float[np.ndarray, "*m n"]) -> Float[np.ndarray, "*m"]:
    """The mean distance to the nearest √n of n images: one alone might be a copy, all would hide a small group.

    >>> float(_nearest(np.array([3.0, 1.0, 9.0, 2.0])))
    1.5
    """
    count = math.isqrt(apart.shape[-1])
    return np.asarray(np.sort(apart, axis=-1)[..., :count].mean(axis=-1))


def _places(length: int) -> list[slice]:
    """The middle of a short axis, the middles of both halves of a long one.

    >>> _places(100), _places(300), _places(1024)
    ([slice(0, 100, None)], [slice(22, 278, None)], [slice(128, 384, None), slice(640, 896, None)])
    """
    edge = min(length, _EDGE)
    middles = [length // 2] if length < 2 * _EDGE else [length // 4, length - length // 4]
    return [slice(middle - edge // 2, middle - edge // 2 + edge) for middle in middles]
