"""How well a network in pretraining restores the held-out images, and what that looks like."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional

from srpu.data.pool import PoolSampler
from srpu.learn.device import Precision, autocast
from srpu.models.autoencoder import Restored, Restorer
from srpu.models.mae import Hider
from srpu.models.vit import TOKEN_STRIDE, TokenPyramid
from srpu.pictures import RGB, panel, stack
from srpu.progress import track
from srpu.settings import PretrainSettings
from srpu.tasks.wiring import degrader

log = logging.getLogger(__name__)

Damage = Callable[[Tensor, torch.Generator], Tensor]
"""From images (b, 1, h, w) to what is done to them, as the method's network understands it."""

SHOWN = 3
"""Crops in a picture."""


def damage(settings: PretrainSettings, model: Restorer) -> Damage:
    """What the network has to undo."""
    if settings.METHOD == "autoencoder":
        return degrader(settings)
    transformer = isinstance(model.encoder, TokenPyramid)
    return Hider(settings.MASK_RATIO, TOKEN_STRIDE if transformer else settings.PATCH_SIZE)


def shrunk(images: Tensor, factor: int) -> Tensor:
    """The images as the network sees them: SHRINK times smaller."""
    return functional.avg_pool2d(images, factor) if factor > 1 else images


@dataclass
class HeldOut:
    """Restores the same crops of the held-out images, damaged in the same way, each time.

    Attributes:
        sampler: Draws the crops.
        crops: How many.
        batch_size: How many at once.
        damage: What is done to them.
        shrink: SHRINK.
        device: Where to compute.
        precision: In which number format.
        seed: Of the damage.
        picture: Some crops beside what the network saw and made of it, after the last call.
    """

    sampler: PoolSampler
    crops: int
    batch_size: int
    damage: Damage
    shrink: int
    device: torch.device
    precision: Precision
    seed: int
    picture: UInt8[np.ndarray, "h w 3"] | None = None

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The mean loss; "score", which decides which epoch is best, is its negative."""
        losses = []
        for images, restored in self.restored(model):
            losses.append(float(restored.loss))
            if len(losses) == 1:
                self.picture = restoration_picture(images[:SHOWN], restored)
        loss = float(np.mean(losses))
        return {"score": -loss, "held_out/loss": loss}

    @torch.no_grad()
    def restored(self, model: nn.Module) -> Iterator[tuple[Tensor, Restored]]:
        """Each batch of crops, and what the network makes of it."""
        model.eval()
        steps = math.ceil(self.crops / self.batch_size)
        batches = islice(self.sampler.batches(self.batch_size), steps)
        for number, batch in enumerate(track(batches, "Held-out images", steps)):
            images = shrunk(batch.images.to(self.device), self.shrink)
            images = images.contiguous(memory_format=torch.channels_last)
            done = self.damage(images, torch.Generator().manual_seed(self.seed * 1_000_003 + number))
            with autocast(self.device, self.precision):
                yield images, model(images, done)


def restoration_picture(images: Tensor, restored: Restored, width: int = 800) -> RGB:
    """One crop a row: as it is, as the network saw it, and as it restored it, in the same grey levels."""
    rows = []
    for number in range(len(images)):
        original, seen, answer = (
            part[number, 0].float().cpu().numpy() for part in (images, restored.seen, restored.restored)
        )
        low, high = np.percentile(original, (1, 99))
        rows.append([_grey(part, float(low), float(high)) for part in (original, seen, answer)])
    sheets = [panel(row, ["original", "damaged", "restored"], width=width) for row in rows]
    return stack(sheets)


def _grey(levels: np.ndarray, low: float, high: float) -> UInt8[np.ndarray, "h w"]:
    return np.clip(np.rint((levels - low) * (255 / max(high - low, 1e-6))), 0, 255).astype(np.uint8)


@dataclass
class RestorationLines:
    """A tracker that says how each epoch went, in one line."""

    epochs: int
    best: float = math.inf

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log the line."""
        line = f"Epoch {step}/{self.epochs}: loss {values['loss']:.4f}"
        if "held_out/loss" in values:
            better = values["held_out/loss"] < self.best
            self.best = min(self.best, values["held_out/loss"])
            line += f", on held-out images {values['held_out/loss']:.4f}{', best so far' if better else ''}"
        log.info("%s", line)

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """A line holds no picture."""

    def close(self) -> None:
        """Nothing is held back."""
