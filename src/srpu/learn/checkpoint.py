"""One format for trained models: tensors and plain values only, so that reading one can never run code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srpu import __version__
from srpu.data.masks import ClassMap
from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError, ModelError, SettingsError
from srpu.files import open_replacing
from srpu.models.segmenter import Segmenter, rebuild_segmenter
from srpu.models.weights import read_torch_file


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and everything that is needed to use it.

    Attributes:
        model_state_dict: The weights.
        epoch: How many epochs had ended.
        val_dice: Mean Dice over the classes on validation, in [0, 1]; NaN without validation.
        model: How to rebuild the network, see :func:`srpu.models.segmenter.rebuild_segmenter`.
        classes: What the network's channels mean; in the file the names are "classes", the colours "palette".
        normalisation: How images must be normalised.
        settings: All settings of the run, for the record.
        trained_on: The pixel hash of each image and its split, to find leaks.
        novelty: What training images look like to the encoder; None if unknown.
        temperature: What makes the probabilities honest, see :mod:`srpu.learn.calibrate`; 1 leaves them as they are.
        version: The SRPU that wrote it.
    """

    model_state_dict: dict[str, Tensor]
    epoch: int
    val_dice: float
    model: dict[str, Any]
    classes: ClassMap
    normalisation: Normalisation
    settings: dict[str, Any] = field(default_factory=dict)
    trained_on: dict[str, str] = field(default_factory=dict)
    novelty: dict[str, Any] | None = None
    temperature: float = 1.0
    version: str = __version__


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` atomically."""
    content = {
        **vars(checkpoint),
        "classes": list(checkpoint.classes.names),
        "palette": [list(color) for color in checkpoint.classes.colors],
        "normalisation": checkpoint.normalisation.state(),
    }
    save_tensors(path, content)


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values atomically."""
    with open_replacing(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # Closing the half-written archive fails too, and hides what broke it off: Ctrl-C, a full disk.
            raise error.__context__ or error from None


def load_checkpoint(path: Path, *, expect_classes: int | None = None) -> Checkpoint:
    """Read a checkpoint that SRPU wrote.

    Args:
        path: The ``.pth`` file.
        expect_classes: How many classes the settings name; None: any.

    Raises:
        CheckpointError: The file is missing, not a checkpoint, holds code, or has another number of classes.
    """
    content = load_tensors(path)
    missing = {"model_state_dict", "model", "classes", "palette", "normalisation"} - set(content)
    if missing:
        raise CheckpointError(
            f"{path} is not a model that SRPU trained: it lacks {', '.join(sorted(missing))}; name a best_model.pth."
        )
    known = {name: content[name] for name in Checkpoint.__dataclass_fields__ if name in content}
    try:
        known["classes"] = ClassMap(tuple(content["classes"]), tuple((r, g, b) for r, g, b in content["palette"]))
        known["normalisation"] = Normalisation.from_state(content["normalisation"])
        checkpoint = Checkpoint(**known)
    except (SettingsError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a model that SRPU trained ({_first_line(error)}); name a best_model.pth."
        ) from error
    if expect_classes is not None and len(checkpoint.classes) != expect_classes:
        raise CheckpointError(
            f"{path} tells {len(checkpoint.classes)} classes apart ({', '.join(checkpoint.classes.names)}), but "
            f"NUM_CLASSES = {expect_classes}: use another model or change NUM_CLASSES and CLASS_NAMES."
        )
    return checkpoint


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values; anything that could run code is refused.

    Raises:
        CheckpointError: The file is missing, damaged, or holds more than tensors and plain values.
    """
    content = read_torch_file(path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds {type(content).__name__}, not a model; use a file written by `srpu train`."
        )
    return content


def rebuild_model(checkpoint: Checkpoint) -> Segmenter:
    """The network with its trained weights, ready to predict.

    Raises:
        CheckpointError: The weights do not fit the network that the checkpoint describes.
    """
    try:
        model = rebuild_segmenter(checkpoint.model)
        model.load_state_dict(checkpoint.model_state_dict)
    except (ModelError, RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(f"The weights do not fit the network {checkpoint.model}: {_first_line(error)}") from error
    return model.eval()


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
