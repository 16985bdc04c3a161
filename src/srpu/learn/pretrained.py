"""What pretraining without masks leaves behind: the network that restores, and its encoder alone, for a segmenter.

Both files hold tensors and plain values only. The encoder's has the entry ``encoder.<name>`` for each of its tensors,
so :func:`srpu.models.transfer.transfer_encoder` finds all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srpu import __version__
from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError, ModelError, SettingsError
from srpu.learn.checkpoint import load_tensors, save_tensors
from srpu.models.autoencoder import Restorer
from srpu.models.mae import rebuild_restorer

MODEL_FILE = "best_ssl_model.pth"
ENCODER_FILE = "best_ssl_encoder.pth"

KIND = "ssl_model"


@dataclass(frozen=True)
class Pretrained:
    """A network that restores images, and everything that is needed to use it.

    Attributes:
        model_state_dict: Its weights.
        model: How to rebuild it, see :func:`srpu.models.mae.rebuild_restorer`; its "method" is METHOD.
        epoch: How many epochs had ended.
        loss: Of restoring the held-out images; NaN without any.
        normalisation: How images must be normalised.
        settings: All settings of the run.
        pretrained_on: The pixel hashes of the images that took part, each with "pretrain".
        version: The SRPU that wrote it.
    """

    model_state_dict: dict[str, Tensor]
    model: dict[str, Any]
    epoch: int
    loss: float
    normalisation: Normalisation
    settings: dict[str, Any] = field(default_factory=dict)
    pretrained_on: dict[str, str] = field(default_factory=dict)
    version: str = __version__


def save_pretrained(path: Path, pretrained: Pretrained) -> None:
    """Write the whole network atomically."""
    content = {**vars(pretrained), "normalisation": pretrained.normalisation.state(), "kind": KIND}
    save_tensors(path, content)


def save_encoder(path: Path, pretrained: Pretrained) -> None:
    """Write the encoder alone, for PRETRAINED_ENCODER_PATH, atomically."""
    weights = {name: tensor for name, tensor in pretrained.model_state_dict.items() if name.startswith("encoder.")}
    content = {
        **vars(pretrained),
        **{name: pretrained.model[name] for name in ("encoder", "in_channels", "method")},
        "model_state_dict": weights,
        "normalisation": pretrained.normalisation.state(),
        "kind": "ssl_encoder",
    }
    del content["model"]
    save_tensors(path, content)


def load_pretrained(path: Path) -> Pretrained:
    """Read what :func:`save_pretrained` wrote.

    Raises:
        CheckpointError: The file is missing, damaged, holds code or is something else.
    """
    content = load_tensors(path)
    if content.get("kind") != KIND:
        raise CheckpointError(
            f"{path} is no network that `srpu pretrain` wrote; name its {MODEL_FILE}, which lies beside {ENCODER_FILE}."
        )
    known = {name: content[name] for name in Pretrained.__dataclass_fields__ if name in content}
    try:
        return Pretrained(**known | {"normalisation": Normalisation.from_state(content["normalisation"])})
    except (SettingsError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} lacks what `srpu pretrain` writes ({error}); run it again.") from error


def rebuild(pretrained: Pretrained) -> Restorer:
    """The network with its weights, ready to restore.

    Raises:
        CheckpointError: The weights do not fit the network that the file describes.
    """
    try:
        model = rebuild_restorer(pretrained.model)
        model.load_state_dict(pretrained.model_state_dict)
    except (ModelError, RuntimeError, TypeError, KeyError) as error:
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"The weights do not fit the network {pretrained.model}: {reason}") from error
    return model.eval()


def settled(pretrained: Pretrained, images: Iterable[Tensor], device: torch.device) -> Pretrained:
    """The same with the encoder's batch statistics measured on undamaged ``images``, as a segmenter will see them.

    Hidden patches and noise shift the statistics that were gathered while learning; an encoder that is frozen, or
    probed, would answer to whole images with features that it has never had. Without batch normalisation nothing
    changes.
    """
    model = rebuild(pretrained).to(device)
    measure_statistics(model.encoder, images, device)
    return replace(pretrained, model_state_dict={k: v.detach().cpu() for k, v in model.state_dict().items()})


@torch.no_grad()
def measure_statistics(encoder: nn.Module, images: Iterable[Tensor], device: torch.device) -> None:
    """Set every batch normalisation of ``encoder`` to the mean and variance that ``images`` (b, 1, h, w) give."""
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    encoder.eval()
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
        layer.train()
    for batch in images:
        encoder(batch.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.zero_()  # as in a new encoder: a loader that leaves out counters changes nothing
    encoder.eval()
