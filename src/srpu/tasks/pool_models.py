"""Models that look through a pool: trained ones, and an untrained network whose encoder tells images apart."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float64
from torch import Tensor, nn

from srpu.data.normalisation import Normalisation
from srpu.errors import SettingsError
from srpu.learn.checkpoint import load_checkpoint, rebuild_model
from srpu.learn.device import Precision, choose_device, choose_precision
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.settings import ActiveLearningSettings
from srpu.tasks.start import RANDOM, load, present, sources
from srpu.tasks.truth import model_hash
from srpu.tasks.wiring import class_map, encoder_weights, same_classes
from srpu.workspace import Workspace

CACHED_ROWS = 4096
"""Places of a feature map whose channels are summed together on the CPU."""


@dataclass(frozen=True, eq=False)
class Member:
    """A network on its device; several of them are an ensemble.

    Attributes:
        model: In evaluation mode.
        normalisation: How it wants to see images.
        temperature: What makes its probabilities honest.
        hash: sha256 of its file; of an untrained network's encoder, of the weights.
        device: Where it lies.
        precision: Number format of its forward passes.
    """

    model: Segmenter
    normalisation: Normalisation
    temperature: float
    hash: str
    device: torch.device
    precision: Precision


def read_member(path: Path, settings: ActiveLearningSettings) -> Member:
    """The trained model at ``path``.

    Raises:
        CheckpointError: It cannot be read, or tells other classes apart.
    """
    checkpoint = load_checkpoint(path, expect_classes=settings.NUM_CLASSES)
    same_classes(path, checkpoint.classes, class_map(settings))
    return _placed(
        rebuild_model(checkpoint), checkpoint.normalisation, checkpoint.temperature, model_hash(path), settings
    )


def untrained_member(settings: ActiveLearningSettings, workspace: Workspace) -> Member:
    """A network whose encoder starts where training would start; its predictions mean nothing, its features do.

    Raises:
        CheckpointError: The named weights cannot be read or belong to another network.
        ModelError: ENCODER_WEIGHTS must be fetched, and there is no internet.
    """
    source = present(
        sources(settings, workspace), "warn", otherwise="ENCODER_WEIGHTS" if settings.ENCODER_WEIGHTS else RANDOM
    )
    with torch.random.fork_rng(devices=[]):  # whoever trains later draws the same numbers as without this
        torch.manual_seed(settings.SEED)
        model = build_segmenter(
            settings.ENCODER_NAME,
            settings.DECODER_NAME,
            settings.NUM_CLASSES,
            shrink=settings.SHRINK,
            encoder_weights=None if source else encoder_weights(settings, workspace),
        )
    facts: Mapping[str, Any] = {}
    if source is not None:
        facts = load(model, source, class_map(settings).names).facts
    digest = hashlib.sha256()
    for name, tensor in sorted(model.encoder.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return _placed(model.eval(), _known_normalisation(facts, settings), 1.0, digest.hexdigest(), settings)


def _known_normalisation(facts: Mapping[str, Any], settings: ActiveLearningSettings) -> Normalisation:
    """How the weights know images; else the setting's way, or zscore where that needs training images."""
    with suppress(KeyError, TypeError, ValueError, SettingsError):  # other programs' files do not tell
        return Normalisation.from_state(facts["normalisation"])
    if settings.NORMALIZATION == "dataset":
        return Normalisation("zscore")
    return Normalisation(settings.NORMALIZATION, settings.NORMALIZATION_WINDOW)


def _placed(
    model: Segmenter, normalisation: Normalisation, temperature: float, hash_: str, settings: ActiveLearningSettings
) -> Member:
    device = choose_device(settings.DEVICE)
    model = model.to(device).to(memory_format=torch.channels_last)
    return Member(model, normalisation, temperature, hash_, device, choose_precision(settings.PRECISION, device))


class Styles:
    """The mean and deviation of each channel of the encoder over all tiles of an image, each level counting alike.

    It is what :func:`srpu.learn.novelty.pooled_features` looks at in one to four places, here in the whole image.
    """

    def __init__(self) -> None:
        self._sums: list[Float64[Tensor, "2 channels"]] = []
        self._pixels = 0

    def add(self, levels: list[Tensor], pixels: int) -> None:
        """The encoder's answer to some tiles of so many pixels together."""
        means = [_mean_and_square(level) for level in levels]
        weighted = [pixels * mean for mean in means]
        self._sums = [old + new for old, new in zip(self._sums, weighted, strict=True)] if self._sums else weighted
        self._pixels += pixels

    def features(self) -> Float16[np.ndarray, " d"]:
        """A vector of length 1."""
        styles = []
        for total in self._sums:
            mean, square = total / self._pixels
            style = torch.cat([mean, (square - mean.square()).clamp_min(0).sqrt()])
            styles.append(style / style.norm().clamp_min(1e-12))
        return (torch.cat(styles) / math.sqrt(len(styles))).numpy().astype(np.float16)


def _mean_and_square(level: Float[Tensor, "b c h w"]) -> Float64[Tensor, "2 c"]:
    """The mean of each channel, and of its square.

    On the CPU in pieces that fit into its cache: that is twenty times faster than torch.var_mean.
    """
    rows = level.permute(0, 2, 3, 1).reshape(-1, level.shape[1])
    total = torch.zeros(2, level.shape[1], dtype=torch.float64)
    with torch.autocast(level.device.type, enabled=False):  # else the sums, too, are computed in bf16
        for piece in torch.split(rows, CACHED_ROWS if level.device.type == "cpu" else len(rows)):
            values = piece.float()
            ones = values.new_ones(1, len(values))
            total += torch.cat([ones @ values, ones @ values.square()]).cpu().double()
    return total / len(rows)


class Listener(nn.Module):
    """A model whose encoder is listened to while it predicts.

    Args:
        model: The model.
        decodes: False: only the encoder is asked, and every logit is 0.
    """

    def __init__(self, model: Segmenter, *, decodes: bool = True) -> None:
        super().__init__()
        self.model = model
        self.styles = Styles()
        self._decodes = decodes

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """The model's logits."""
        levels = self.model.encode(images)
        self.styles.add(levels, images.numel())
        if not self._decodes:
            return images.new_zeros(images.shape)
        return self.model.decode(levels, (images.shape[-2], images.shape[-1]))


class Mirrored(nn.Module):
    """A model that sees images mirrored, and whose answer is mirrored back."""

    def __init__(self, model: Segmenter, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self._axes = axes

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """The model's logits."""
        logits: Tensor = self.model(images.flip(self._axes))
        return logits.flip(self._axes)
