"""Which device computes, and in which number format."""

from __future__ import annotations

from typing import Literal

import torch

from srpu.errors import SettingsError

Precision = Literal["bf16", "fp32"]


def choose_device(name: str) -> torch.device:
    """The device that ``name`` asks for; "auto" takes a GPU if there is one.

    Raises:
        SettingsError: The device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f'DEVICE = "{name}" is not available here ({_first_line(error)}); use "auto" or "cpu".'
        ) from error
    return device


def choose_precision(name: str, device: torch.device) -> Precision:
    """The number format that ``name`` asks for; "auto" takes bf16 where ``device`` computes it in hardware."""
    if name == "bf16" or (name == "auto" and _has_fast_bf16(device)):
        return "bf16"
    return "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which forwards run."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":  # torch has no public name for this in every version that we support
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")
