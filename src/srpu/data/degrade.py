"""Damage that an autoencoder learns to undo: what microscopes do to images, a whole batch at once on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from srpu.data.augment import OFF, Variation, blurred


@dataclass(frozen=True)
class Degrader:
    """Makes worse copies of images.

    Attributes:
        blur: Gaussian of that many pixels.
        shrink: Made that many times smaller and enlarged again; a whole number is taken.
        noise: Gaussian noise, in standard deviations of the image.
        drop: The share of patches that get the image's mean.
        patch: Edge of such a patch in pixels.
    """

    blur: Variation = OFF
    shrink: Variation = OFF
    noise: Variation = OFF
    drop: Variation = OFF
    patch: int = 16

    def __call__(self, images: Float32[Tensor, "b 1 h w"], generator: torch.Generator) -> Float32[Tensor, "b 1 h w"]:
        """Degrade a batch; the same state of ``generator`` (on the CPU) gives the same result."""
        count, device = len(images), images.device

        def drawn(variation: Variation, neutral: float) -> Tensor:
            return variation.draw(count, neutral, generator).to(device)[:, None, None, None]

        mean = images.mean((2, 3), keepdim=True)
        apart = torch.linalg.vector_norm(images - mean, dim=(2, 3), keepdim=True)
        deviation: Tensor = apart / math.sqrt(images[0].numel())
        worse = blurred(images, drawn(self.blur, 0.0))
        worse = _coarse(worse, self.shrink.draw(count, 1.0, generator).round().long())
        seed = int(torch.randint(2**62, (1,), generator=generator))
        noise = torch.randn(images.shape, device=device, generator=torch.Generator(device).manual_seed(seed))
        worse = worse + deviation * drawn(self.noise, 0.0) * noise
        rows, columns = (math.ceil(side / self.patch) for side in images.shape[-2:])
        share = self.drop.draw(count, 0.0, generator)[:, None, None]
        dropped = (torch.rand(count, rows, columns, generator=generator) < share).to(device)
        dropped = dropped.repeat_interleave(self.patch, dim=1).repeat_interleave(self.patch, dim=2)
        return torch.where(dropped[:, None, : images.shape[-2], : images.shape[-1]], mean, worse)


def _coarse(images: Tensor, factors: Tensor) -> Tensor:
    """Each image made its factor smaller, each pixel the mean of those it stands for, and enlarged again."""
    height, width = images.shape[-2:]
    coarse = images
    for factor in sorted(set(factors.tolist())):
        if factor > 1:
            small = (max(height // factor, 1), max(width // factor, 1))
            chosen = (factors == factor).to(images.device)[:, None, None, None]
            again = F.interpolate(F.interpolate(images, size=small, mode="area"), size=(height, width), mode="bilinear")
            coarse = torch.where(chosen, again, coarse)
    return coarse
