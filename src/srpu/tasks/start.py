"""Where a training's weights come from: the first named file that is there, or random numbers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError
from srpu.models.segmenter import Segmenter
from srpu.models.transfer import Transfer, transfer_encoder, transfer_model
from srpu.models.weights import read_weights
from srpu.settings import ActiveLearningSettings, TrainSettings
from srpu.tasks.wiring import PRETRAINED
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

RANDOM = "random weights"
"""What comes after every file."""


@dataclass(frozen=True)
class Source:
    """A file that weights may come from: who names it, and what is taken from it."""

    named_by: str
    path: Path
    part: Literal["model", "encoder"]


@dataclass(frozen=True)
class Start:
    """Where the weights came from, and what arrived; None: they are random, or fetched as ENCODER_WEIGHTS says."""

    named_by: str = RANDOM
    transfer: Transfer | None = None

    def state(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return {"named_by": self.named_by, **(self.transfer.state() if self.transfer else {})}

    @property
    def trained_on(self) -> dict[str, str]:
        """The split in which the weights have seen each image, by pixel hash; "pretrain" is without its mask."""
        facts = self.transfer.facts if self.transfer else {}
        pretrained = dict.fromkeys(facts.get("pretrained_on") or (), PRETRAINED)
        return {**pretrained, **(facts.get("trained_on") or {})}


def sources(settings: TrainSettings | ActiveLearningSettings, workspace: Workspace) -> list[Source]:
    """The files that the settings name, the strongest first."""
    found = []
    if settings.USE_PRETRAINED_MODEL and settings.PRETRAINED_MODEL_PATH:
        found.append(Source("PRETRAINED_MODEL_PATH", workspace.path(settings.PRETRAINED_MODEL_PATH), "model"))
    elif settings.PRETRAINED_MODEL_PATH:
        log.warning("PRETRAINED_MODEL_PATH is not used, because USE_PRETRAINED_MODEL = False.")
    if settings.PRETRAINED_ENCODER_PATH:
        found.append(Source("PRETRAINED_ENCODER_PATH", workspace.path(settings.PRETRAINED_ENCODER_PATH), "encoder"))
    if settings.ENCODER_WEIGHTS and workspace.path(settings.ENCODER_WEIGHTS).is_file():
        found.append(Source("ENCODER_WEIGHTS", workspace.path(settings.ENCODER_WEIGHTS), "encoder"))
    return found


def present(
    wanted: Sequence[Source], on_missing: str, *, made: Collection[Path] = (), otherwise: str = RANDOM
) -> Source | None:
    """The first source whose file is there; those before it are named in a warning.

    Args:
        wanted: The strongest first.
        on_missing: What a missing file does: "warn" or "error".
        made: Files that will be there by then.
        otherwise: What comes after the last source, in words.

    Raises:
        CheckpointError: A file is missing and ``on_missing`` is "error".
    """
    for number, source in enumerate(wanted):
        if source.path.is_file() or source.path in made:
            return source
        if on_missing == "error":
            raise CheckpointError(
                f"{source.named_by}: there is no file {source.path}; correct the path, or let ON_MISSING_WEIGHTS = "
                '"warn" take what comes next.'
            )
        following = wanted[number + 1].named_by if number + 1 < len(wanted) else otherwise
        log.warning("%s: there is no file %s; what is taken instead: %s.", source.named_by, source.path, following)
    return None


def known_images(source: Source | None) -> dict[str, str]:
    """The split in which the weights of ``source`` have seen each image, by pixel hash."""
    return dict(read_weights(source.path).facts.get("trained_on") or {}) if source else {}


def load(model: Segmenter, source: Source, classes: Sequence[str]) -> Transfer:
    """Load the weights of ``source`` into ``model``.

    Raises:
        CheckpointError: The file is unreadable, of another architecture, or matches no weight.
    """
    if source.part == "model":
        return transfer_model(model, model.spec, source.path, classes)
    return transfer_encoder(model.encoder, source.path, model.spec["encoder"])


def carry(model: Segmenter, source: Source | None, classes: Sequence[str], normalisation: Normalisation) -> Start:
    """Load the weights of ``source`` into ``model`` and say what arrived.

    Raises:
        CheckpointError: The file is unreadable, of another architecture, or matches no weight.
    """
    if source is None:
        return Start()
    log.info("Starting from %s.", source.named_by)
    transfer = load(model, source, classes)
    transfer.report()
    then = transfer.facts.get("normalisation")
    if isinstance(then, Mapping) and then.get("method") != normalisation.method:
        log.warning(
            "These weights know images normalised by %r, here it is %r; set NORMALIZATION as it was, if you can.",
            then.get("method"),
            normalisation.method,
        )
    return Start(source.named_by, transfer)
