"""Weights from other programs' files: `srpu weights convert`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from srpu.errors import WorkspaceError
from srpu.files import open_replacing
from srpu.learn.checkpoint import save_tensors
from srpu.models.weights import Weights, named_tensors, read_trusted, read_weights

log = logging.getLogger(__name__)


def convert(old: Path, new: Path, *, trust: bool) -> Weights:
    """Copy the weights of ``old``, and plain values beside them, into ``new``; gives what was written.

    Args:
        old: Any file that torch or safetensors wrote.
        new: A ``.pth`` or ``.safetensors`` file; the latter holds weights only.
        trust: Let ``old`` run its code if it cannot be read otherwise.

    Raises:
        CheckpointError: ``old`` cannot be read, or not without trust.
        WorkspaceError: ``new`` is there already, or has another suffix.
    """
    if new.suffix.lower() not in (".pth", ".pt", ".safetensors"):
        raise WorkspaceError(f"{new} would be of no known format; give it the suffix .pth or .safetensors.")
    if new.exists():
        raise WorkspaceError(f"{new} is there already; choose another name or delete it.")
    if trust and old.suffix.lower() != ".safetensors":
        weights = named_tensors(old, read_trusted(old))
    else:
        weights = read_weights(old)
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in weights.tensors.items()}
    facts = {name: value for name, value in weights.facts.items() if _is_plain(value)}
    dropped = sorted(set(weights.facts) - set(facts))
    if new.suffix.lower() == ".safetensors":
        from safetensors.torch import save

        dropped, facts = sorted(weights.facts), {}
        with open_replacing(new) as file:
            file.write(save(tensors))
    else:
        save_tensors(new, {**facts, "model_state_dict": tensors})
    log.info("Written: %s, %d weights.", new, len(tensors))
    if dropped:
        log.info(
            "Left out, because %s: %s.",
            "only weights fit in" if not facts else "they are no plain values",
            ", ".join(dropped),
        )
    return Weights(new, tensors, facts)


def _is_plain(value: Any) -> bool:
    """Whether a value can be read back without running code."""
    if isinstance(value, Mapping):
        return type(value) is dict and all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(_is_plain, value))
    return value is None or isinstance(value, np.number | np.bool_) or type(value) in (bool, int, float, str, Tensor)
