"""Variation of training crops, a whole batch at once on the device that trains.

Geometry (mirror, turn, scale) is one resampling: bilinear for images, nearest for masks, so both stay aligned and no
class is mixed. Grey levels are bent the way detectors do it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Variation:
    """One kind of variation: the share of crops that it meets, and the range that its strength is drawn from."""

    p: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def draw(self, count: int, neutral: float, generator: torch.Generator) -> Float32[Tensor, " b"]:
        """A strength for each of ``count`` crops; ``neutral`` for those that are spared."""
        chosen = torch.rand(count, generator=generator) < self.p
        strength = torch.empty(count).uniform_(self.low, self.high, generator=generator)
        return torch.where(chosen, strength, neutral)


OFF = Variation()


@dataclass(frozen=True)
class Augmenter:
    """Turns windows into varied crops.

    Attributes:
        crop: Edge in pixels of the crops that come out.
        flip: Mirrored left-right.
        flip_vertical: Mirrored top-bottom.
        rotate_90: Turned by 90, 180 or 270 degrees.
        rotate: Turned by degrees.
        scale: Enlarged by a factor.
        gain: Contrast multiplied by a factor.
        offset: Brightness moved, in standard deviations of the crop.
        gamma: Tone curve bent by an exponent.
        blur: Gaussian of that many pixels.
        noise: Gaussian noise, in standard deviations of the crop.
    """

    crop: int
    flip: Variation = OFF
    flip_vertical: Variation = OFF
    rotate_90: Variation = OFF
    rotate: Variation = OFF
    scale: Variation = OFF
    gain: Variation = OFF
    offset: Variation = OFF
    gamma: Variation = OFF
    blur: Variation = OFF
    noise: Variation = OFF

    @property
    def source_size(self) -> int:
        """Edge in pixels of the windows that go in: large enough for any turn and scale, even like the crop."""
        turned = 0.0 if self.rotate.p == 0 else math.radians(min(max(abs(self.rotate.low), abs(self.rotate.high)), 45))
        reach = math.cos(turned) + math.sin(turned)
        reach /= 1.0 if self.scale.p == 0 else min(self.scale.low, 1.0)
        return 2 * math.ceil(self.crop * reach / 2)

    def __call__(
        self,
        images: Float32[Tensor, "b 1 source source"],
        masks: UInt8[Tensor, "b source source"],
        generator: torch.Generator,
    ) -> tuple[Float32[Tensor, "b 1 crop crop"], Int64[Tensor, "b crop crop"]]:
        """Vary a batch; the same state of ``generator`` (on the CPU) gives the same result."""
        images, masks = self._move(images, masks, generator)
        return self._tint(images, generator), masks

    def _move(self, images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        count, source = len(images), images.shape[-1]
        mirrored = torch.tensor([self.flip.p, self.flip_vertical.p])
        sides = 1 - 2 * (torch.rand(count, 2, generator=generator) < mirrored).float()
        quarters = torch.randint(1, 4, (count,), generator=generator)
        quarters = quarters * (torch.rand(count, generator=generator) < self.rotate_90.p)
        turn = quarters * (math.pi / 2) + torch.deg2rad(self.rotate.draw(count, 0.0, generator))
        scale = self.scale.draw(count, 1.0, generator)
        cosine, sine = torch.cos(turn) / scale, torch.sin(turn) / scale
        rows = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
        matrix = torch.zeros(count, 2, 3)
        matrix[:, :, :2] = rows * sides[:, None, :] * (self.crop / source)
        grid = F.affine_grid(matrix.to(images.device), [count, 1, self.crop, self.crop], align_corners=False)
        moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        ids = F.grid_sample(
            masks[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
        )
        return moved, ids[:, 0].long()

    def _tint(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, device = len(images), images.device

        def drawn(variation: Variation, neutral: float) -> Tensor:
            return variation.draw(count, neutral, generator).to(device)[:, None, None, None]

        low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
        span = (high - low).clamp(min=1e-6)
        images = low + span * ((images - low) / span).clamp(0, 1) ** drawn(self.gamma, 1.0)
        middle = images.mean((2, 3), keepdim=True)
        apart = images - middle
        # torch.std takes ten times as long on a CPU
        deviation: Tensor = torch.linalg.vector_norm(apart, dim=(2, 3), keepdim=True) / math.sqrt(apart[0].numel() - 1)
        images = middle + apart * drawn(self.gain, 1.0) + deviation * drawn(self.offset, 0.0)
        images = blurred(images, drawn(self.blur, 0.0))
        seed = int(torch.randint(2**62, (1,), generator=generator))
        noise = torch.randn(images.shape, device=device, generator=torch.Generator(device).manual_seed(seed))
        return images + deviation * drawn(self.noise, 0.0) * noise


def blurred(images: Float32[Tensor, "b 1 h w"], sigma: Float32[Tensor, "b 1 1 1"]) -> Float32[Tensor, "b 1 h w"]:
    """Gaussian blur of each image by its own ``sigma`` in pixels; 0 leaves it as it is."""
    radius = math.ceil(3 * float(sigma.max()))
    if radius == 0:
        return images
    radius = min(radius, images.shape[-1] - 1)
    places = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (places / sigma[:, 0].clamp(min=1e-3)) ** 2)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    stacked = F.pad(images.movedim(0, 1), [radius] * 4, mode="reflect")
    stacked = F.conv2d(stacked, kernel[:, :, None], groups=len(images))
    return F.conv2d(stacked, kernel[:, :, :, None], groups=len(images)).movedim(1, 0)
