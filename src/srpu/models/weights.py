"""Files of weights: torch's and safetensors', whoever wrote them, read without running any code in them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srpu.errors import CheckpointError

WRAPPERS = ("model_state_dict", "state_dict", "model", "teacher", "student")
"""Entries under which training programs keep the weights."""

_SCALARS: list[Callable[..., Any]] = [
    type(np.dtype(kind)) for kind in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
]
_scalar: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
_SAFE: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    np.dtype,
    *_SCALARS,
    (_scalar, "numpy._core.multiarray.scalar"),
    (_scalar, "numpy.core.multiarray.scalar"),  # its name in NumPy 1
]
"""NumPy's numbers, which many programs write as scores and epochs, and which can do no harm."""


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        path: The file.
        tensors: The weights by name, as in the file.
        facts: What else stands beside them; a checkpoint of ours tells its network and its classes there.
    """

    path: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)


def read_weights(path: Path) -> Weights:
    """The named tensors in a ``.safetensors`` or torch file, bare or under one of :data:`WRAPPERS`.

    Raises:
        CheckpointError: No such file, unreadable, no named tensors, or it holds more than tensors and plain values.
    """
    if path.suffix.lower() == ".safetensors":
        return Weights(path, _read_safetensors(path))
    return named_tensors(path, read_torch_file(path))


def read_torch_file(path: Path) -> Any:
    """The tensors and plain values that ``torch.save`` wrote; NumPy's numbers pass for plain values.

    Raises:
        CheckpointError: No such file, damaged, or it holds anything that could run code; the type is named.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_SAFE):
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what follows is refused, and says so
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"There is no file {path}; correct the path, or train a model with `srpu train`."
        ) from error
    except pickle.UnpicklingError as error:
        if kinds := _refused(path, error):
            raise CheckpointError(
                f"{path} was refused because it holds {kinds}, and such a file could run a stranger's code: if you "
                f"trust who made it, `srpu weights convert {path.name} NEW.pth --trust` takes the weights out of it."
            ) from error
        raise CheckpointError(
            f"{path} was refused: it is damaged or holds more than weights, which could run a stranger's code; copy it "
            "again from where it was made."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # on broken files torch raises whatever it stumbles over
        raise CheckpointError(
            f"{path} cannot be read as weights ({type(error).__name__}); copy it again from where it was made."
        ) from error


def read_trusted(path: Path) -> Any:
    """What ``torch.save`` wrote, running whatever code the file asks for: only for files whose maker is trusted.

    Raises:
        CheckpointError: No such file, damaged, or it needs a program that is not here.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except FileNotFoundError as error:
        raise _no_file(path) from error
    except Exception as error:  # a stranger's code can raise anything
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CheckpointError(
            f"{path} cannot be read even when trusted ({type(error).__name__}: {reason}); convert it where the program "
            "that made it is installed."
        ) from error


def named_tensors(path: Path, content: Any) -> Weights:
    """The weights in what a file holds, without its wrapping.

    Raises:
        CheckpointError: There are no named tensors.
    """
    facts = {}
    if isinstance(content, nn.Module):  # only a trusted file holds one
        content = content.state_dict()
    while isinstance(content, Mapping) and (key := next((k for k in WRAPPERS if _wraps(content.get(k))), None)):
        facts = {name: value for name, value in content.items() if name != key}
        content = content[key].state_dict() if isinstance(content[key], nn.Module) else content[key]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not named weights; save a state_dict.")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        some = ", ".join(map(str, list(content)[:3]))
        raise CheckpointError(
            f"{path} holds no weights{f', only {some}' if some else ''}; name the file of a trained model."
        )
    return Weights(path, tensors, facts)


def _wraps(value: Any) -> bool:
    """Whether an entry is the weights or leads to them, and not a description such as our "model"."""
    if isinstance(value, nn.Module):
        return True
    return isinstance(value, Mapping) and any(isinstance(part, Tensor) or _wraps(part) for part in value.values())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"There is no file {path}; correct the path, or train a model with `srpu train`."
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights ({type(error).__name__}); copy it again from where it was made."
        ) from error
    return tensors


def _no_file(path: Path) -> CheckpointError:
    return CheckpointError(f"There is no file {path}; correct the path, or train a model with `srpu train`.")


def _refused(path: Path, error: pickle.UnpicklingError) -> str:
    """The types in a file that torch does not read, in words; empty if that is not what is wrong with it."""
    try:
        kinds = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (
        ValueError,
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
    ):  # files of torch 1.5 and older, or damaged ones
        kinds = re.findall(r"GLOBAL ([\w.]+)", str(error))
    kinds = [kind for kind in kinds if not kind.startswith("numpy.dtype") and not kind.endswith("multiarray.scalar")]
    return " and ".join(dict.fromkeys(kinds))
